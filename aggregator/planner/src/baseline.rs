//! The idle baseline b: what an instance uses when it does nothing. It is dangerous, since a b near
//! the target asks for nobody, so it is bounded on every side and zero in doubt.
//!
//! One agent in ten may say whatever it likes: medians throughout, and the lowest tenth sets no cap.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Shadows needed before their median counts.
pub const SHADOWS_NEEDED: usize = 3;
/// A regression must agree with the shadows this closely, points.
pub const AGREEMENT_POINTS: f64 = 3.0;
/// b may move this much in an hour, points.
pub const POINTS_PER_HOUR: f64 = 1.0;
/// Points that a regression looks at, at most: it compares each with each.
const REGRESSION_POINTS: usize = 100;
/// The middle half of the traffic must vary by this share of its median: about a fifth, as standard deviation.
const VARIATION: f64 = 0.27;

/// The baseline in use, with where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
pub struct Baseline {
    /// Points; 0 while there is no evidence.
    pub points: f64,
    /// Median utilisation of the shadows.
    pub from_shadows: Option<f64>,
    pub shadows: u32,
    /// Intercept of utilisation over traffic, serving instances.
    pub from_regression: Option<f64>,
    /// Minutes of an instance that the line goes through.
    #[serde(default)]
    pub regression_minutes: u32,
}

/// Utilisation at no traffic, by the line through minutes of those that serve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Intercept {
    pub points: f64,
    /// Minutes of an instance that the line goes through.
    pub minutes: u32,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Measured {
    /// Mean utilisation of each shadow that is past draining and silent, points.
    pub shadows: Vec<f64>,
    /// The same by instance type.
    pub of_types: Vec<OfType>,
    /// Of all that serve, by [`regression`].
    pub regression: Option<Intercept>,
    /// Utilisation of the serving instances, points.
    pub serving: Vec<f64>,
}

/// What the shadows of one instance type use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfType {
    pub instance_type: String,
    /// Their median, points.
    pub points: f64,
    /// From the lowest of them to the highest, points.
    pub spread: f64,
    pub shadows: u32,
    /// Ten-second readings behind it.
    pub readings: u32,
    /// What those of the type that serve say of it.
    #[serde(default)]
    pub regression: Option<Intercept>,
}

impl OfType {
    fn disagrees(&self) -> bool {
        self.regression.is_some_and(|line| (self.points - line.points).abs() > AGREEMENT_POINTS)
    }
}

/// Idle use by instance type, from the type, mean use (points) and number of readings of each shadow, and the line of those of the
/// type that serve.
pub fn of_types(shadows: &[(Option<&str>, f64, u32)], line: impl Fn(Option<&str>) -> Option<Intercept>) -> Vec<OfType> {
    let mut types: BTreeMap<Option<&str>, (Vec<f64>, u32)> = BTreeMap::new();
    for (kind, points, readings) in shadows {
        let (all, number) = types.entry(*kind).or_default();
        all.push(*points);
        *number = number.saturating_add(*readings);
    }
    let of_type = |(kind, (all, readings)): (Option<&str>, (Vec<f64>, u32))| {
        let all = clean(&all);
        Some(OfType {
            instance_type: kind.unwrap_or("unknown").to_owned(),
            points: quantile(&all, 0.5)?,
            spread: all.last()? - all.first()?,
            shadows: u32::try_from(all.len()).unwrap_or(u32::MAX),
            readings,
            regression: line(kind),
        })
    };
    types.into_iter().filter_map(of_type).collect()
}

/// Why b is zero although something was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    /// Fewer than three shadows, and no regression to agree with.
    TooFewShadows,
    /// Shadows and regression are more than three points apart, of the group or of one type.
    Disagreement,
    /// Nothing serving reports: no cap can be set.
    NoServing,
}

/// Bounds what was measured: the next baseline from the previous one, `hours` later.
pub fn bounded(previous: &Baseline, measured: &Measured, target: f64, hours: f64) -> (Baseline, Option<Doubt>) {
    let shadows = clean(&measured.shadows);
    // Of several types the one that idles with least: a b that is right for one is too much for the other.
    let least = measured.of_types.iter().map(|it| it.points).filter(|points| points.is_finite());
    let from_shadows = quantile(&shadows, 0.5).map(|median| least.fold(median, f64::min));
    let line = measured.regression.filter(|line| line.points.is_finite() && line.points >= 0.0);
    let from_regression = line.map(|line| line.points);
    let evidence = |points| Baseline {
        points,
        from_shadows,
        shadows: u32::try_from(shadows.len()).unwrap_or(u32::MAX),
        from_regression,
        regression_minutes: line.map_or(0, |line| line.minutes),
    };
    if measured.of_types.iter().any(OfType::disagrees) {
        return (evidence(0.0), Some(Doubt::Disagreement));
    }
    let wanted = match (from_shadows, from_regression) {
        (Some(idle), Some(intercept)) if (idle - intercept).abs() <= AGREEMENT_POINTS => idle.min(intercept),
        (Some(_), Some(_)) if !shadows.is_empty() => return (evidence(0.0), Some(Doubt::Disagreement)),
        (Some(idle), None) if shadows.len() >= SHADOWS_NEEDED => idle,
        (None, None) => return (evidence(0.0), None),
        _ => return (evidence(0.0), Some(Doubt::TooFewShadows)),
    };
    let serving = clean(&measured.serving);
    // Of ten that serve one may lie: the lowest one in ten is not asked.
    let honest = serving.get(serving.len() / 10..).unwrap_or_default();
    let Some(lowest) = honest.first() else {
        return (evidence(0.0), Some(Doubt::NoServing));
    };
    let cap = lowest.min(target / 2.0);
    let most = previous.points + POINTS_PER_HOUR * hours.clamp(0.0, 1.0);
    // Downwards it may go at once: a lower b only buys.
    (evidence(wanted.min(cap).min(most).max(0.0)), None)
}

/// Intercept of utilisation over traffic: `(traffic, utilisation)` per serving instance and minute. The slope is the
/// median of the slopes between any two (Theil and Sen), which a tenth of the points cannot bend. `None` when the
/// traffic hardly varies.
pub fn regression(points: &[(f64, f64)]) -> Option<Intercept> {
    let points: Vec<_> = points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    if points.len() < 30 {
        return None;
    }
    let points: Vec<_> = points.iter().step_by(points.len().div_ceil(REGRESSION_POINTS)).collect();
    let traffic = sorted(points.iter().map(|(x, _)| *x));
    let [low, middle, high] = [0.25, 0.5, 0.75].map(|q| quantile(&traffic, q).unwrap_or_default());
    // Without variation the line may point anywhere.
    if middle <= 0.0 || high - low < VARIATION * middle {
        return None;
    }
    let pairs = points.iter().enumerate().flat_map(|(at, a)| points.iter().skip(at + 1).map(move |b| (a, b)));
    let slopes = pairs.filter(|(a, b)| (a.0 - b.0).abs() > 1e-3 * middle).map(|(a, b)| (a.1 - b.1) / (a.0 - b.0));
    let slope = quantile(&sorted(slopes), 0.5)?;
    let intercept = quantile(&sorted(points.iter().map(|(x, y)| y - slope * x)), 0.5)?;
    let line = Intercept { points: intercept, minutes: u32::try_from(points.len()).unwrap_or(u32::MAX) };
    (slope > 0.0 && intercept >= 0.0).then_some(line)
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn clean(values: &[f64]) -> Vec<f64> {
    let mut values: Vec<f64> = values.iter().copied().filter(|v| (0.0..=100.0).contains(v)).collect();
    values.sort_by(f64::total_cmp);
    values
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((q * last as f64).floor() as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_long(measured: &Measured) -> (Baseline, Option<Doubt>) {
        let mut baseline = Baseline::default();
        let mut doubt = None;
        for _ in 0..100 {
            (baseline, doubt) = bounded(&baseline, measured, 60.0, 1.0);
        }
        (baseline, doubt)
    }

    #[test]
    fn three_shadows_count_and_two_do_not() {
        let serving = vec![50.0; 20];
        let (three, none) = after_long(&Measured {
            shadows: vec![8.0; 3],
            regression: None,
            serving: serving.clone(),
            ..Measured::default()
        });
        assert_eq!((three.points, none), (8.0, None));
        let (two, doubt) =
            after_long(&Measured { shadows: vec![8.0; 2], regression: None, serving, ..Measured::default() });
        assert_eq!((two.points, doubt), (0.0, Some(Doubt::TooFewShadows)));
    }

    #[test]
    fn each_type_idles_by_itself_and_the_least_of_them_counts() {
        let told =
            [(Some("m5.large"), 4.0, 60), (Some("m5.large"), 6.0, 50), (Some("c5.large"), 9.0, 40), (None, 8.0, 1)];
        let line = |kind: Option<&str>| kind.filter(|kind| *kind == "m5.large").and_then(|_| line_at(5.0));
        let types = of_types(&told, line);
        let shown: Vec<_> =
            types.iter().map(|it| (it.instance_type.as_str(), it.points, it.spread, it.shadows, it.readings)).collect();
        assert_eq!(shown, [("unknown", 8.0, 0.0, 1, 1), ("c5.large", 9.0, 0.0, 1, 40), ("m5.large", 4.0, 2.0, 2, 110)]);
        assert_eq!(types.iter().map(|it| it.regression).collect::<Vec<_>>(), [None, None, line_at(5.0)]);
        let shadows = told.iter().map(|(_, points, _)| *points).collect();
        let mut measured = Measured { shadows, of_types: types, regression: None, serving: vec![50.0; 20] };
        assert_eq!(after_long(&measured).0.points, 4.0);
        // One type of which shadows and those that serve say different things is enough to believe none.
        for (points, doubt) in [(7.0, None), (7.1, Some(Doubt::Disagreement)), (0.9, Some(Doubt::Disagreement))] {
            measured.of_types[2].regression = line_at(points);
            assert_eq!(after_long(&measured).1, doubt, "{points}");
        }
    }

    #[test]
    fn disagreement_is_zero() {
        let measured = Measured {
            shadows: vec![8.0; 5],
            regression: line_at(20.0),
            serving: vec![50.0; 20],
            ..Measured::default()
        };
        assert_eq!(after_long(&measured).1, Some(Doubt::Disagreement));
        assert_eq!(after_long(&measured).0.points, 0.0);
    }

    #[test]
    fn it_is_capped_by_serving_and_by_half_the_target() {
        let low = Measured { shadows: vec![40.0; 3], regression: None, serving: vec![12.0; 20], ..Measured::default() };
        assert_eq!(after_long(&low).0.points, 12.0);
        let high =
            Measured { shadows: vec![55.0; 3], regression: None, serving: vec![90.0; 20], ..Measured::default() };
        assert_eq!(after_long(&high).0.points, 30.0);
    }

    #[test]
    fn it_rises_a_point_an_hour_and_one_wild_shadow_moves_nothing() {
        let measured = Measured {
            shadows: vec![8.0, 8.0, 8.0, 100.0],
            regression: None,
            serving: vec![50.0; 20],
            ..Measured::default()
        };
        let (first, _) = bounded(&Baseline::default(), &measured, 60.0, 0.5);
        assert_eq!(first.points, 0.5);
        assert_eq!(after_long(&measured).0.points, 8.0);
    }

    #[test]
    fn the_intercept_is_found_only_where_traffic_varies() {
        let varied: Vec<_> = (1..=60).map(|x| (f64::from(x), 7.0 + 0.5 * f64::from(x))).collect();
        let found = regression(&varied).expect("a line");
        assert!((found.points - 7.0).abs() < 1e-9 && found.minutes == 60, "{found:?}");
        let flat: Vec<_> = (1..=60).map(|x| (100.0 + f64::from(x % 2), 50.0)).collect();
        assert_eq!(regression(&flat), None);
    }

    #[allow(clippy::unnecessary_wraps, reason = "as it is measured")]
    const fn line_at(points: f64) -> Option<Intercept> {
        Some(Intercept { points, minutes: 60 })
    }

    fn shadows_of_eight(regression: Option<f64>) -> Measured {
        let regression = regression.and_then(line_at);
        Measured { shadows: vec![8.0; 3], regression, serving: vec![50.0; 20], ..Measured::default() }
    }

    #[test]
    fn what_agrees_takes_the_lower_of_both() {
        for (intercept, b) in [(5.0, 5.0), (6.0, 6.0), (11.0, 8.0)] {
            let (baseline, doubt) = after_long(&shadows_of_eight(Some(intercept)));
            assert_eq!((baseline.points, doubt), (b, None), "{intercept}");
            assert_eq!((baseline.from_regression, baseline.regression_minutes), (Some(intercept), 60));
        }
        for intercept in [4.9, 11.1] {
            assert_eq!(after_long(&shadows_of_eight(Some(intercept))).1, Some(Doubt::Disagreement), "{intercept}");
        }
    }

    #[test]
    fn an_intercept_that_cannot_be_is_none() {
        for impossible in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1] {
            let (baseline, doubt) = after_long(&shadows_of_eight(Some(impossible)));
            assert_eq!((baseline.points, baseline.from_regression, doubt), (8.0, None, None), "{impossible}");
        }
    }

    #[test]
    fn readings_that_cannot_be_are_left_out() {
        let impossible = [f64::NAN, f64::INFINITY, -50.0, 150.0];
        let shadows = [vec![8.0; 3], impossible.to_vec()].concat();
        let serving = [vec![50.0; 20], impossible.to_vec()].concat();
        let (baseline, _) = after_long(&Measured { shadows, serving, ..Measured::default() });
        assert_eq!((baseline.points, baseline.shadows), (8.0, 3));
        for (edge, b) in [(0.0, 0.0), (100.0, 30.0)] {
            let measured = Measured { shadows: vec![edge; 3], serving: vec![100.0; 20], ..Measured::default() };
            let (baseline, _) = after_long(&measured);
            assert_eq!((baseline.points, baseline.shadows), (b, 3), "{edge}");
        }
        let told = impossible.map(|points| (Some("m5.large"), points, 10));
        assert_eq!(of_types(&told, |_| None), []);
    }

    #[test]
    fn a_type_whose_idle_use_is_no_number_is_not_the_least() {
        for points in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let of_type = OfType {
                instance_type: "m5.large".to_owned(),
                points,
                spread: 0.0,
                shadows: 1,
                readings: 1,
                regression: None,
            };
            let measured = Measured { of_types: vec![of_type], ..shadows_of_eight(None) };
            assert_eq!(after_long(&measured).0.points, 8.0, "{points}");
        }
    }

    #[test]
    fn nothing_measured_is_no_doubt_and_nobody_serving_is() {
        assert_eq!(after_long(&Measured::default()), (Baseline::default(), None));
        let alone = Measured { regression: line_at(8.0), serving: vec![50.0; 20], ..Measured::default() };
        assert_eq!((after_long(&alone).0.points, after_long(&alone).1), (0.0, Some(Doubt::TooFewShadows)));
        let idle = Measured { serving: vec![f64::NAN], ..shadows_of_eight(None) };
        assert_eq!((after_long(&idle).0.points, after_long(&idle).1), (0.0, Some(Doubt::NoServing)));
    }

    #[test]
    fn one_in_ten_of_those_that_serve_sets_no_cap_and_two_do() {
        let liars = |liars: usize| {
            let serving = [vec![1.0; liars], vec![50.0; 10 - liars]].concat();
            after_long(&Measured { shadows: vec![8.0; 3], serving, ..Measured::default() }).0.points
        };
        assert_eq!((liars(1), liars(2)), (8.0, 1.0));
    }

    #[test]
    fn a_long_silence_is_an_hour_and_a_clock_that_went_back_takes_nothing() {
        let previous = Baseline { points: 5.0, ..Baseline::default() };
        for (hours, b) in [(24.0, 6.0), (1.0, 6.0), (0.0, 5.0), (-3.0, 5.0)] {
            assert_eq!(bounded(&previous, &shadows_of_eight(None), 60.0, hours).0.points, b, "{hours}");
        }
        let below = Baseline { points: -5.0, ..Baseline::default() };
        assert_eq!(bounded(&below, &shadows_of_eight(None), 60.0, 1.0).0.points, 0.0, "never below zero");
    }

    /// Sixty minutes of traffic from 1 to 60.
    fn line(use_of: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        (1..=60).map(|x| (f64::from(x), use_of(f64::from(x)))).collect()
    }

    #[test]
    fn a_line_needs_thirty_points_that_are_numbers() {
        let mut points = line(|x| 7.0 + 0.5 * x);
        points.truncate(29);
        points.extend([(f64::NAN, 30.0), (30.0, f64::NAN), (f64::INFINITY, 30.0), (30.0, f64::INFINITY)]);
        assert_eq!(regression(&points), None);
        points.push((30.0, 22.0));
        assert!((regression(&points).expect("a line").points - 7.0).abs() < 1e-9);
        // Half of them infinite would put the line anywhere.
        points.extend([(f64::INFINITY, 30.0); 30]);
        points.extend([(30.0, f64::NEG_INFINITY); 30]);
        assert!((regression(&points).expect("a line").points - 7.0).abs() < 1e-9);
    }

    #[test]
    fn there_is_no_line_without_traffic_nor_along_flat_traffic() {
        // A burst now and then, and nothing in between.
        let bursts: Vec<_> = (1..=60).map(|x| if x % 3 == 0 { x } else { 0 }).map(f64::from).collect();
        assert_eq!(regression(&bursts.iter().map(|x| (*x, 7.0 + 0.5 * x)).collect::<Vec<_>>()), None);
        let flat = line(|x| x % 10.0).into_iter().map(|(_, x)| (100.0 + x, 7.0 + 0.5 * (100.0 + x)));
        assert_eq!(regression(&flat.collect::<Vec<_>>()), None);
    }

    #[test]
    fn a_line_that_falls_or_begins_below_zero_is_none() {
        assert_eq!(regression(&line(|x| 90.0 - 0.5 * x)), None);
        assert_eq!(regression(&line(|x| 0.5 * x - 5.0)), None);
    }

    #[test]
    fn minutes_of_the_same_traffic_say_nothing_of_the_slope() {
        // Two loads, and use that sank meanwhile: among minutes of one load it falls by infinitely much per traffic.
        let points: Vec<_> = (0..60)
            .map(|minute| {
                let (x, sank) = (if minute < 30 { 10.0 } else { 20.0 }, f64::from(minute % 30) / 15.0 - 1.0);
                (x, 7.0 + 0.5 * x - sank)
            })
            .collect();
        assert!((regression(&points).expect("a line").points - 7.0).abs() < 0.5, "{:?}", regression(&points));
    }
}
