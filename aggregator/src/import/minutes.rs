//! From readings of another system to minutes of a group. Absent is not zero: a minute that has no reading, or whose
//! number of instances is not known, is not made.

use std::collections::BTreeMap;

use super::log::Imported;

/// One reading: the mean of a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Start of the stretch, seconds since the Unix epoch.
    pub at: i64,
    pub value: f64,
    /// How many served; `None` where the source did not say.
    pub instances: Option<f64>,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Meaning {
    /// Mean utilisation of the serving instances, %.
    Utilisation,
    /// The sum of their utilisations, points.
    Sum,
    /// Load of the whole group in a unit of its own, of which an instance serves so much at 100 %.
    Load(f64),
    /// Load of the whole group, of a declared metric: in its own unit.
    Own,
}

/// A value that cannot be what it is said to be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unfit {
    #[error(
        "{0} is no mean utilisation in percent (0 to 100); with --sum it is taken for the sum over the instances, with --capacity for load in a unit of its own"
    )]
    Utilisation(f64),
    #[error("{0} is no load: it must be a number of at least 0")]
    Load(f64),
    #[error("{0} is no number of instances")]
    Instances(f64),
}

impl Meaning {
    /// Gross demand in points and the weight it stands for; `None` where the instances are needed and not known.
    ///
    /// # Errors
    /// When the numbers cannot be what they are said to be.
    pub fn demand(self, value: f64, instances: Option<f64>) -> Result<Option<(f64, f64)>, Unfit> {
        if let Some(count) = instances.filter(|count| !(0.0..=1e6).contains(count)) {
            return Err(Unfit::Instances(count));
        }
        match self {
            // A hair above 100 is what averages of averages give.
            Self::Utilisation if !(0.0..=100.5).contains(&value) => Err(Unfit::Utilisation(value)),
            Self::Utilisation => Ok(instances.map(|count| (value.min(100.0) * count, count))),
            Self::Own if !planner::demand::is_load(value) => Err(Unfit::Load(value)),
            // Nothing of it is idle.
            Self::Own => Ok(Some((value, 0.0))),
            _ if !(0.0..=1e9).contains(&value) => Err(Unfit::Load(value)),
            Self::Sum => Ok(instances.map(|count| (value, count))),
            // Requests have no idle part: nothing is taken off for instances that wait.
            Self::Load(capacity) => Ok(Some((100.0 * value / capacity, 0.0))),
        }
    }
}

/// How long a reading stands for: what lies between most of them, in whole minutes and at most an hour.
pub fn usual_period(readings: &[Reading]) -> i64 {
    let mut gaps: Vec<i64> = readings.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    gaps.sort_unstable();
    let usual = gaps.get(gaps.len() / 2).copied().unwrap_or(60);
    ((usual + 30).div_euclid(60) * 60).clamp(60, 3_600)
}

/// Minutes in `[from, to)`. Readings within a minute become their mean; one that stands for longer is written to each minute it
/// stands for.
///
/// # Errors
/// The first reading that cannot be, with its time.
pub fn minutes(
    readings: &[Reading],
    period: i64,
    meaning: Meaning,
    from: i64,
    to: i64,
) -> Result<Vec<Imported>, (i64, Unfit)> {
    let mut made: BTreeMap<i64, (f64, f64, f64)> = BTreeMap::new();
    for reading in readings {
        let found = meaning.demand(reading.value, reading.instances).map_err(|unfit| (reading.at, unfit))?;
        let Some((gross, weight)) = found else { continue };
        let first = reading.at.div_euclid(60) * 60;
        let mut start = first.max(from);
        while start < (first + period).min(to) {
            let minute = made.entry(start).or_default();
            *minute = (minute.0 + gross, minute.1 + weight, minute.2 + 1.0);
            start += 60;
        }
    }
    let mean = |(start, (gross, weight, count)): (i64, (f64, f64, f64))| Imported {
        start,
        gross: exact(gross / count),
        weight: exact(weight / count),
    };
    Ok(made.into_iter().map(mean).collect())
}

/// To the millionth: what is sent stays short, and nobody measures closer.
fn exact(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(at: i64, value: f64, instances: impl Into<Option<f64>>) -> Reading {
        Reading { at, value, instances: instances.into() }
    }

    #[test]
    fn a_value_becomes_demand_by_what_it_means() {
        assert_eq!(Meaning::Utilisation.demand(50.0, Some(4.0)), Ok(Some((200.0, 4.0))));
        assert_eq!(Meaning::Utilisation.demand(50.0, None), Ok(None), "of how many is not known");
        assert_eq!(Meaning::Sum.demand(900.0, Some(12.0)), Ok(Some((900.0, 12.0))));
        assert_eq!(Meaning::Load(200.0).demand(500.0, None), Ok(Some((250.0, 0.0))));
        assert_eq!(Meaning::Utilisation.demand(143.0, Some(1.0)), Err(Unfit::Utilisation(143.0)));
        assert_eq!(Meaning::Sum.demand(-1.0, Some(1.0)), Err(Unfit::Load(-1.0)));
        assert_eq!(Meaning::Sum.demand(1.0, Some(-1.0)), Err(Unfit::Instances(-1.0)));
        assert!(Meaning::Load(1.0).demand(f64::NAN, None).is_err());
    }

    #[test]
    fn short_readings_are_averaged_long_ones_spread_and_gaps_stay() {
        let readings = [reading(600, 10.0, 2.0), reading(630, 30.0, 2.0), reading(720, 50.0, 2.0)];
        let made = minutes(&readings, 60, Meaning::Utilisation, 0, 900).expect("minutes");
        let short: Vec<_> = made.iter().map(|minute| (minute.start, minute.gross)).collect();
        assert_eq!(short, [(600, 40.0), (720, 100.0)]);
        let made = minutes(&[reading(600, 7.0, 1.0)], 300, Meaning::Sum, 660, 840).expect("minutes");
        let spread: Vec<_> = made.iter().map(|minute| (minute.start, minute.gross)).collect();
        assert_eq!(spread, [(660, 7.0), (720, 7.0), (780, 7.0)]);
        let unknown = [reading(600, 10.0, None), reading(660, 10.0, 3.0)];
        assert_eq!(minutes(&unknown, 60, Meaning::Utilisation, 0, 900).expect("minutes").len(), 1);
        assert_eq!(
            minutes(&[reading(600, 101.0, 1.0)], 60, Meaning::Utilisation, 0, 900),
            Err((600, Unfit::Utilisation(101.0)))
        );
    }

    #[test]
    fn a_reading_stands_for_as_long_as_is_usual() {
        let every = |seconds: i64| (0..10).map(|index| reading(index * seconds, 1.0, 1.0)).collect::<Vec<_>>();
        for (seconds, period) in [(1, 60), (60, 60), (61, 60), (300, 300), (3_600, 3_600), (86_400, 3_600)] {
            assert_eq!(usual_period(&every(seconds)), period, "{seconds}");
        }
        assert_eq!(usual_period(&[]), 60);
        let holed: Vec<Reading> = every(60).into_iter().chain([reading(90_000, 1.0, 1.0)]).collect();
        assert_eq!(usual_period(&holed), 60);
    }
}
