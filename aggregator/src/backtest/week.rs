//! The last week, lived again in another mode: the load that a group recorded, under the live planner, beside what happened.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use planner::policy::{Metric, Mode};
use serde::Serialize;

use super::Setting;
use super::compare::FORECAST_WORK;
use super::foresight::foresee;
use super::live::{self, Path, Regime, Source};
use super::load::Load;
use super::yardstick::{self, Lived, need};
use crate::fleet::Reach;
use crate::store::Minute;

/// As long as what is lived again, days …
const DAYS: f64 = 7.0;
/// … and what is left of a shorter past to learn from first, minutes; at most as much as is lived again.
const LEARNED: usize = 1_440;
/// How much of the past is asked for, seconds: a month to learn from.
pub const BACK: i64 = 28 * 86_400;
/// Columns of the picture, minutes.
const COLUMN: usize = 5;
/// Utilisation above which users wait, a share.
const SLOW: f64 = 0.90;

/// A metric that has a target: what asks for instances.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Driver {
    pub metric: Metric,
    /// Points an instance may be used; of a declared metric how much of it one carries.
    pub target: f64,
    /// What an idle instance shows of it; nothing of a declared metric.
    pub idle: f64,
}

impl Driver {
    /// How many instances at the target the demand of a minute asks for, as a figure.
    fn asks(&self, minute: &Minute) -> f64 {
        (minute.gross_mean - self.idle * minute.weight).max(0.0) / (self.target - self.idle)
    }
}

/// What is to be lived.
#[derive(Debug, Clone)]
pub struct Question {
    pub mode: Mode,
    /// What the group is like. Its load is what its metrics ask for, in points of an instance that is used to the target.
    pub setting: Setting,
    /// One-sided quantile that is provisioned for.
    pub confidence: f64,
    pub lease_seconds: u32,
}

/// What a week came to.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Came {
    /// Share of minutes above the target, %.
    above_target: f64,
    /// Share of minutes above 90 %, %; absent where a declared metric or several drive the group: of what nobody could say.
    #[serde(skip_serializing_if = "Option::is_none")]
    above_90: Option<f64>,
    /// Everything that ran, shadows in full.
    instance_hours: f64,
}

/// The week as it was and as it would have been.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Week {
    #[schema(value_type = String)]
    mode: Mode,
    /// Seconds since the Unix epoch.
    from: i64,
    until: i64,
    /// Minutes of it in which each metric asked for the most; of several the larger need counts, as in a plan.
    driven_by: BTreeMap<&'static str, u32>,
    /// Minutes of it that nobody measured: bridged by straight lines, and as it was on average where that counts.
    bridged: usize,
    /// Absent where nobody knows how many served.
    #[serde(skip_serializing_if = "Option::is_none")]
    was: Option<Came>,
    would: Came,
    /// Of `would`, those of shadows.
    shadow_hours: f64,
    /// Instances by what would have been done with them: `launch`, `reattach`, `detach`, …
    steps: BTreeMap<&'static str, u32>,
    /// Minutes in which a hold kept machines that present demand did not need, by the hold.
    holds: BTreeMap<&'static str, u32>,
    column_seconds: usize,
    /// By column: the most that were needed at the target, and the fewest that served, would have served, stood in shadow.
    need: Vec<u32>,
    served: Vec<Option<u32>>,
    would_serve: Vec<u32>,
    shadows: Vec<u32>,
}

/// A minute as its metrics tell it together.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Asked {
    /// Instances at the target that the metric which asks for the most asks for, as a figure.
    instances: f64,
    by: Metric,
    /// How many served, and their weight; `None` where nobody knows.
    served: Option<(u32, f64)>,
}

/// The minutes that are known of every metric. One that was told and is not is no smaller need: such a minute is not known.
fn asked(pasts: &[(Driver, Vec<Minute>)]) -> BTreeMap<i64, Asked> {
    let begun: Vec<i64> = pasts.iter().filter_map(|(_, past)| past.first()).map(|first| first.start).collect();
    let mut found: BTreeMap<i64, (Asked, usize)> = BTreeMap::new();
    for (driver, past) in pasts {
        for minute in past {
            // What was imported without instances says nothing of them.
            let known = !minute.is_imported() || minute.weight > 0.0;
            let served = known.then_some((minute.serving, minute.weight));
            let asks = Asked { instances: driver.asks(minute), by: driver.metric, served };
            let entry = found.entry(minute.start);
            let (most, told) = entry.or_insert((asks, 0));
            *told += 1;
            if asks.instances > most.instances {
                *most = Asked { served: asks.served.or(most.served), ..asks };
            } else {
                most.served = most.served.or(asks.served);
            }
        }
    }
    let whole = |start: i64, told: usize| told >= begun.iter().filter(|first| **first <= start).count();
    found
        .into_iter()
        .filter(|(start, (_, told))| whole(*start, *told))
        .map(|(start, (asked, _))| (start, asked))
        .collect()
}

/// Lives the newest week again of minutes (ascending) of the metrics that drive a group. `tell` hears the share that is done.
///
/// # Errors
/// When there is too little of a past.
pub fn lived(pasts: &[(Driver, Vec<Minute>)], question: &Question, tell: impl Fn(f64)) -> Result<Week> {
    let mut setting =
        Setting { capacity: Some(100.0 * (1.0 - question.setting.idle)), days: DAYS, ..question.setting.clone() };
    let pasts: Vec<_> = pasts.iter().filter(|(_, past)| !past.is_empty()).cloned().collect();
    let minutes = asked(&pasts);
    // Points net of what is idle, so that so many instances are used to the target.
    let each = 100.0 * (setting.target - setting.idle);
    let rows: Vec<(i64, f64)> = minutes.iter().map(|(start, it)| (*start, it.instances * each)).collect();
    let (first, last) = rows.first().zip(rows.last()).context("nothing was recorded yet")?;
    #[allow(clippy::cast_precision_loss, reason = "minutes of a month")]
    let all = ((last.0 - first.0) / 60) as f64;
    setting.share = (1.0 - LEARNED as f64 / all.max(1.0)).max(0.5);
    let load = Load::new(&rows, &setting)?;
    ensure!(load.minutes.len() > load.from, "nothing was recorded yet");

    let begin = live::begins(&load);
    let (planned, forecast) = ((load.minutes.len() - begin) as f64, FORECAST_WORK as f64);
    let whole = planned * (forecast + 1.0);
    let mut done = 0.0;
    let options = forecast::Options::default();
    let foresight = foresee(&load, &setting, begin, &options, |more| {
        done += more as f64 * forecast;
        tell(done / whole);
    });
    let policy = planner::policy::Policy { mode: question.mode, ..live::policy(&setting, question.confidence) };
    let regime = Regime {
        policy,
        limits: checker::Limits::default(),
        lease_seconds: question.lease_seconds,
        forecast: options,
        reach: Reach::Cloud,
        // Where we only scale out, somebody has to scale in.
        provider: (question.mode == Mode::ScaleOut).then_some(setting.target),
        mode: question.mode,
        begins_with: minutes
            .range(load.at(begin)..)
            .next()
            .and_then(|(_, it)| it.served)
            .map(|(serving, _)| serving.clamp(setting.minimum, setting.maximum)),
    };
    let path = live::live(&load, &setting, &regime, Source::Given(&foresight), false, |more| {
        done += more as f64;
        tell(done / whole);
    })?;
    let drivers: Vec<Metric> = pasts.iter().map(|(driver, _)| driver.metric).collect();
    Ok(week(&minutes, &drivers, &load, &setting, question.mode, path))
}

fn week(
    minutes: &BTreeMap<i64, Asked>,
    drivers: &[Metric],
    load: &Load,
    setting: &Setting,
    mode: Mode,
    path: Path,
) -> Week {
    let (score, lived) = yardstick::ordered(load.scored(), &path.orders, setting);
    let from = load.at(load.from);
    let until = from + 60 * i64::try_from(lived.len()).unwrap_or_default();
    let recorded = || minutes.range(from..until).map(|(_, it)| it);
    let mut driven_by: BTreeMap<&'static str, u32> = drivers.iter().map(|driver| (driver.as_str(), 0)).collect();
    recorded().for_each(|it| *driven_by.entry(it.by.as_str()).or_default() += 1);
    // Only what is a share of an instance, and alone, is its use.
    let is_use = matches!(drivers, [driver] if !driver.is_custom());
    let mut steps = BTreeMap::new();
    for decision in path.decisions.iter().filter(|it| it.refused.is_empty()) {
        *steps.entry(decision.step).or_default() += decision.instances;
    }
    let starts: Vec<usize> = (0..lived.len()).step_by(COLUMN).collect();
    let column = |start: usize| start..(start + COLUMN).min(lived.len());
    let fewest = |start: usize, of: fn(&Lived) -> u32| lived[column(start)].iter().map(of).min().unwrap_or_default();
    let served = |start: usize| {
        let within = column(start).filter_map(|minute| minutes.get(&(from + 60 * minute as i64))?.served);
        within.map(|(serving, _)| serving).min()
    };
    let needed = |start: usize| load.scored()[column(start)].iter().map(|load| need(*load, setting)).max();
    Week {
        mode,
        from,
        until,
        driven_by,
        bridged: lived.len() - recorded().count().min(lived.len()),
        was: was(recorded(), lived.len(), setting, is_use),
        would: Came {
            above_target: score.above_target,
            above_90: is_use.then_some(score.above_90),
            instance_hours: score.instance_hours,
        },
        shadow_hours: lived.iter().map(|minute| f64::from(minute.shadow)).sum::<f64>() / 60.0,
        steps,
        holds: path.holds,
        column_seconds: 60 * COLUMN,
        need: starts.iter().map(|start| needed(*start).unwrap_or_default()).collect(),
        served: starts.iter().map(|start| served(*start)).collect(),
        would_serve: starts.iter().map(|start| fewest(*start, |it| it.serving)).collect(),
        shadows: starts.iter().map(|start| fewest(*start, |it| it.shadow)).collect(),
    }
}

/// As it was measured, whoever scaled, over `all` minutes: where nobody measured, it was what it was on average.
fn was<'a>(minutes: impl Iterator<Item = &'a Asked>, all: usize, setting: &Setting, is_use: bool) -> Option<Came> {
    let (mut count, mut hot, mut slow, mut hours) = (0.0, 0.0, 0.0, 0.0);
    for (instances, (serving, weight)) in minutes.filter_map(|it| Some((it.instances, it.served?))) {
        // Of the target, and beside what is idle.
        let used = setting.idle + (setting.target - setting.idle) * instances / weight.max(1e-9);
        count += 1.0;
        hot += f64::from(u8::from(used > setting.score_target + 1e-9));
        slow += f64::from(u8::from(used > SLOW));
        hours += f64::from(serving) / 60.0;
    }
    let share = |of: f64| 100.0 * of / count;
    (count > 0.0).then(|| Came {
        above_target: share(hot),
        above_90: is_use.then(|| share(slow)),
        instance_hours: hours * all as f64 / count,
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::foresight::recorded;
    use super::*;

    const START: i64 = 1_800_000_000;

    /// Twelve instances all day for a load that needs from two to ten.
    fn past(hours: i64) -> Vec<Minute> {
        let minute = |at: i64| {
            let load = 300.0 - 200.0 * (std::f64::consts::TAU * at as f64 / 86_400.0).cos();
            let restless = 0.96 + 0.08 * ((at / 60 * 7_919) % 101) as f64 / 101.0;
            recorded(START + at, load * restless + 12.0 * 8.0, 12, false)
        };
        (0..hours * 60).filter_map(|minute_of| minute(60 * minute_of)).collect()
    }

    fn question(mode: Mode) -> Question {
        Question { mode, setting: Setting::default(), confidence: 0.9, lease_seconds: 1_800 }
    }

    fn minutes_of(week: &Week) -> usize {
        usize::try_from((week.until - week.from) / 60).expect("ahead")
    }

    const CPU: Driver = Driver { metric: Metric::Cpu, target: 60.0, idle: 8.0 };

    fn of_cpu(minutes: Vec<Minute>) -> [(Driver, Vec<Minute>); 1] {
        [(CPU, minutes)]
    }

    /// Of which one carries 200; `serving` as it is told.
    fn requests(start: i64, value: f64, serving: u32, reporting: u32) -> Minute {
        let metric = Metric::declare("requests").expect("a name").to_string();
        let told = recorded(start, value, serving, false).expect("a minute");
        Minute { metric, reporting, ..told }
    }

    fn by_requests() -> Driver {
        Driver { metric: Metric::declare("requests").expect("a name"), target: 200.0, idle: 0.0 }
    }

    #[test]
    fn a_group_that_was_too_large_would_have_cost_less_and_the_picture_says_when() {
        let (told, most) = (Cell::new(0), Cell::new(0.0_f64));
        let tell = |share: f64| {
            told.set(told.get() + 1);
            assert!(share >= most.get() && share <= 1.0 + 1e-9, "{share} after {}", most.get());
            most.set(share);
        };
        let week = lived(&of_cpu(past(96)), &question(Mode::Full), tell).expect("a past");
        assert!(told.get() > 1_000 && most.get() > 0.999, "{told:?} {most:?}");
        let was = week.was.clone().expect("it was measured");
        assert_eq!((was.above_target, was.instance_hours.round()), (0.0, 864.0), "three days of twelve");
        assert!(week.would.instance_hours < was.instance_hours, "{week:?}");
        assert!(week.would.above_90 < Some(0.5) && week.steps["detach"] > 0, "{week:?}");
        assert_eq!(week.driven_by, BTreeMap::from([("cpu", minutes_of(&week) as u32)]));
        assert_eq!((week.until, week.served.len(), week.would_serve.len()), (START + 96 * 3_600, 864, 864));
        assert_eq!((week.served[0], week.bridged), (Some(12), 0));
        assert!(week.need.iter().all(|need| (2..=10).contains(need)), "{:?}", week.need);
        // Where we do not scale in, whoever does is beside us.
        let out = lived(&of_cpu(past(48)), &question(Mode::ScaleOut), |_| {}).expect("a past");
        assert_eq!((out.steps.get("detach"), out.shadow_hours), (None, 0.0));
        assert!(out.was.is_some_and(|was| out.would.instance_hours < was.instance_hours));
    }

    #[test]
    fn minutes_that_nobody_measured_cost_what_the_others_do() {
        let mut minutes = past(96);
        let hole = START + 80 * 3_600..START + 86 * 3_600;
        minutes.retain(|minute| !hole.contains(&minute.start));
        let week = lived(&of_cpu(minutes), &question(Mode::Full), |_| {}).expect("a past");
        let hours = week.was.expect("it was measured").instance_hours;
        assert_eq!((hours.round(), week.bridged), (864.0, 360), "not a sixth of a day for nothing");
        assert_eq!(week.served.iter().filter(|served| served.is_none()).count(), 71, "columns that lie within it");
    }

    #[test]
    fn a_load_of_its_own_unit_is_lived_as_it_drives_its_group_whatever_the_unit() {
        let setting = Setting { idle: 0.0, target: 0.25, score_target: 0.25, ..Setting::default() };
        let own = Question { setting, ..question(Mode::Full) };
        // The same wave as requests per second, of which one carries 200: from 3 to 16 are needed, and nine serve all day.
        let wave = |minute: &Minute| (minute.gross_mean - 96.0) * 6.0;
        let told: Vec<Minute> = past(96).iter().map(|it| requests(it.start, wave(it), 9, 9)).collect();
        let week = lived(&[(by_requests(), told.clone())], &own, |_| {}).expect("a past");
        let lived_again = &told[told.len() - minutes_of(&week)..];
        assert_eq!((lived_again[0].start, lived_again.len() / 60), (week.from, 71), "three days less a minute");
        assert_eq!(week.driven_by, BTreeMap::from([("requests", lived_again.len() as u32)]));
        let asked: Vec<u32> = lived_again.iter().map(|it| (it.gross_mean / 200.0 - 1e-9).ceil() as u32).collect();
        let most: Vec<u32> = asked.chunks(5).filter_map(|five| five.iter().copied().max()).collect();
        assert_eq!(week.need, most, "what the planner of the live group would need");
        let was = week.was.clone().expect("who served is told");
        let hot = lived_again.iter().filter(|it| it.gross_mean > 9.0 * 200.0).count();
        let share = 100.0 * hot as f64 / lived_again.len() as f64;
        assert!((was.above_target - share).abs() < 1e-9 && hot > 500, "{was:?} and {share}");
        assert!(week.would.above_target < was.above_target / 4.0, "{week:?}");
        assert_eq!((was.above_90, week.would.above_90), (None, None), "of what?");
        assert!(week.steps["launch"] > 0 && week.steps["detach"] > 0, "{week:?}");

        // Imported, nobody knows how many served: that is no group that stood idle, nor one of nobody.
        let nobody = |it: &Minute| Minute { weight: 0.0, ..requests(it.start, it.gross_mean, 0, 0) };
        let imported = told[..2_160].iter().map(nobody).collect();
        let week = lived(&[(by_requests(), imported)], &own, |_| {}).expect("a past");
        assert_eq!((week.was, week.bridged), (None, 0));
        assert!(week.served.iter().all(Option::is_none));
    }

    #[test]
    fn of_several_metrics_the_larger_need_counts_and_one_that_is_silent_is_no_small_one() {
        let at = |minute: i64| START + 60 * minute;
        // Three instances' worth of processor; requests ask for two and for five, and are not told in one minute.
        let cpu: Vec<Minute> = (0..4).filter_map(|it| recorded(at(it), 3.0 * 52.0 + 4.0 * 8.0, 4, false)).collect();
        let told = vec![requests(at(1), 400.0, 4, 4), requests(at(3), 1_000.0, 4, 4)];
        let found = asked(&[(CPU, cpu), (by_requests(), told)]);
        let found: Vec<_> = found.iter().map(|(start, it)| (*start, it.instances, it.by.as_str(), it.served)).collect();
        let four = Some((4, 4.0));
        assert_eq!(
            found,
            [(at(0), 3.0, "cpu", four), (at(1), 3.0, "cpu", four), (at(3), 5.0, "requests", four)],
            "before it was first told the other speaks alone"
        );
    }

    #[test]
    fn without_a_past_nothing_is_lived_again() {
        for minutes in [Vec::new(), past(1)] {
            assert!(lived(&of_cpu(minutes), &question(Mode::Full), |_| {}).is_err());
        }
    }
}
