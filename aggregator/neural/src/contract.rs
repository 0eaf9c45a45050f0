//! What a network is shown and what it answers. Scale-free: the same network serves a group of two and one of two thousand.
//!
//! Input: one tensor `[series, window, features]`, oldest step first, of 32-bit floats. Output: one tensor `[series, horizon, levels]`
//! in the same units as the input's `value`: load = centre + scale × output.
//!
//! Centre is the mean, scale the standard deviation (at least 2 % of the mean) of what the window shows: the
//! values of its steps, and the load a week before the steps to forecast. Inputs are limited to ±[`LIMIT`].

use forecast::history::{DAY, History, WEEK, steps_of};
use serde::{Deserialize, Serialize};

/// Scaled inputs beyond this say no more than this.
pub const LIMIT: f32 = 10.0;
/// The scale is at least this part of the mean: below it, wobble is noise.
const SMALLEST_SCALE: f64 = 0.02;
/// No event adds more than so many times what was announced.
pub(crate) const LARGEST_SHARE: f64 = 10.0;
/// Longest window and horizon, most features and levels a contract may name.
const MOST: [usize; 4] = [2_048, 1_024, 16, 32];

/// What one feature tells of a step `t` of the window. In all of them, what is not known is filled in as the history fills it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Load at `t`, scaled.
    Value,
    /// 1 where the load at `t` was measured, 0 where it was filled in.
    Observed,
    /// 1 where an event made the load at `t` (the value is then what there would have been without it), else 0.
    Event,
    /// Sine of the time of day of `t`, UTC.
    DaySin,
    /// Cosine of the time of day of `t`, UTC.
    DayCos,
    /// Sine of the time of the week of `t`, UTC, from Thursday 0:00 as the Unix epoch does.
    WeekSin,
    /// Cosine of the time of the week of `t`.
    WeekCos,
    /// Scaled load one horizon after `t`, but whole days earlier, as many as it takes to be known: the last `horizon` steps of the window show
    /// yesterday's load at the steps to forecast. Zero (the centre) where the history does not reach back.
    DayAhead,
    /// The same a whole week (or more) earlier; what `day_ahead` says where the history does not reach back.
    WeekAhead,
    /// Natural logarithm of the factor (load over load without it) that was announced for `t`, where one event alone made its load; else 0.
    EventIntensity,
    /// Known ahead: what an event is announced to add one horizon after `t`, scaled: (factor − 1) × the load without it, which is the mean of
    /// what `day_ahead` and `week_ahead` show. 0 where there is none, and where that step is past.
    EventAhead,
    /// The same times the share of the announced addition that the same event came to before, in the mean over its times.
    EventBefore,
}

impl Feature {
    /// The word in a manifest.
    pub fn word(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Observed => "observed",
            Self::Event => "event",
            Self::DaySin => "day_sin",
            Self::DayCos => "day_cos",
            Self::WeekSin => "week_sin",
            Self::WeekCos => "week_cos",
            Self::DayAhead => "day_ahead",
            Self::WeekAhead => "week_ahead",
            Self::EventIntensity => "event_intensity",
            Self::EventAhead => "event_ahead",
            Self::EventBefore => "event_before",
        }
    }
}

/// The sizes and meanings of a network's input and output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// Seconds of one step.
    pub step_seconds: u32,
    /// Steps of history it is shown.
    pub window: usize,
    /// Steps it forecasts.
    pub horizon: usize,
    /// What it is shown of each step, in this order.
    pub features: Vec<Feature>,
    /// Quantile levels it answers with, ascending.
    pub levels: Vec<f64>,
}

impl Default for Contract {
    /// Two days of quarters of an hour, one day ahead, with events as known-future inputs.
    fn default() -> Self {
        use Feature::{
            DayAhead, DayCos, DaySin, EventAhead, EventBefore, EventIntensity, Observed, Value, WeekAhead, WeekCos,
            WeekSin,
        };
        Self {
            step_seconds: 900,
            window: 192,
            horizon: 96,
            features: vec![
                Value,
                Observed,
                EventIntensity,
                DaySin,
                DayCos,
                WeekSin,
                WeekCos,
                DayAhead,
                WeekAhead,
                EventAhead,
                EventBefore,
            ],
            levels: vec![0.01, 0.05, 0.1, 0.5, 0.9, 0.95, 0.99],
        }
    }
}

/// An event at a step to forecast that took place before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// Load over load without it, as announced; above 1.
    pub factor: f64,
    /// The part of the announced addition that it came to before, in the mean over its times.
    pub share: f64,
}

impl Expected {
    /// What a history says of an event, announced with a factor; `None` when it never took place in it.
    pub fn of(history: &History<'_>, event: i64, factor: f64) -> Option<Self> {
        let shares = history.shares(event);
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        mean.is_finite().then_some(Self { factor, share: mean.clamp(0.0, LARGEST_SHARE) })
    }
}

/// A window ready for a network, and how to read its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// `[step][feature]`, one after the other.
    pub inputs: Vec<f32>,
    /// What 0 stands for.
    pub centre: f64,
    /// What 1 stands for, beyond the centre.
    pub scale: f64,
    /// `[horizon]`: the load that events ahead are taken to add to; `None` where the history does not reach back.
    pub without: Vec<Option<f64>>,
}

impl Contract {
    /// Whether the sizes make sense.
    ///
    /// # Errors
    /// The first field that does not, with what it may be.
    pub fn validate(&self) -> Result<(), String> {
        let step = u64::from(self.step_seconds);
        if step < 60 || !DAY.is_multiple_of(step) {
            return Err(format!(
                "step_seconds {}: at least 60, and a whole number of them makes a day",
                self.step_seconds
            ));
        }
        let sizes = [self.window, self.horizon, self.features.len(), self.levels.len()];
        for ((name, size), most) in ["window", "horizon", "features", "levels"].iter().zip(sizes).zip(MOST) {
            if size == 0 || size > most {
                return Err(format!("{name}: {size} of them, 1 to {most} can be served"));
            }
        }
        if self.horizon > self.window {
            return Err(format!("horizon {} is longer than window {}", self.horizon, self.window));
        }
        let mut unique = self.features.clone();
        unique.sort_by_key(|feature| *feature as u8);
        unique.dedup();
        if unique.len() != self.features.len() || !self.features.contains(&Feature::Value) {
            return Err("features: each at most once, and \"value\" among them".to_owned());
        }
        if self.levels.iter().any(|level| !(*level > 0.0 && *level < 1.0))
            || self.levels.windows(2).any(|pair| pair[0] >= pair[1])
        {
            return Err("levels: within (0, 1), ascending".to_owned());
        }
        Ok(())
    }

    /// Inputs of one series.
    pub fn inputs(&self) -> usize {
        self.window * self.features.len()
    }

    /// Outputs of one series.
    pub fn outputs(&self) -> usize {
        self.horizon * self.levels.len()
    }

    /// Where a feature stands in the input.
    pub fn position(&self, feature: Feature) -> Option<usize> {
        self.features.iter().position(|own| *own == feature)
    }

    /// The contract of networks that know events only as steps whose load is filled in: version 1 of the manifest.
    pub fn without_events() -> Self {
        use Feature::{DayAhead, DayCos, DaySin, Event, Observed, Value, WeekAhead, WeekCos, WeekSin};
        let features = vec![Value, Observed, Event, DaySin, DayCos, WeekSin, WeekCos, DayAhead, WeekAhead];
        Self { features, ..Self::default() }
    }

    /// Whether events at the steps to forecast are among the features.
    pub fn takes_events(&self) -> bool {
        [Feature::EventAhead, Feature::EventBefore].iter().any(|feature| self.position(*feature).is_some())
    }

    /// The newest window of a history whose step is the contract's, with no event ahead; a young history is preceded by its first value, not
    /// observed.
    ///
    /// `None` when there is no step at all.
    pub fn window(&self, history: &History<'_>) -> Option<Window> {
        self.window_with(history, &[])
    }

    /// As [`Contract::window`], with the events `ahead`: `[horizon]`, steps that are missing have none.
    pub fn window_with(&self, history: &History<'_>, ahead: &[Option<Expected>]) -> Option<Window> {
        let first = *history.values.first()?;
        let length = history.len() as i64;
        let day = steps_of(DAY, self.step_seconds)? as i64;
        let week = steps_of(WEEK, self.step_seconds)? as i64;
        let horizon = self.horizon as i64;
        let value = |at: i64| usize::try_from(at).ok().and_then(|at| history.values.get(at)).copied();
        let from = length - self.window as i64;
        let earlier = |at: i64, season: i64| value(at + horizon - season * (horizon + season - 1).div_euclid(season));
        let day_ahead = |at: i64| earlier(at, day);
        let week_ahead = |at: i64| earlier(at, week).or_else(|| day_ahead(at));
        let shown = (from.max(0)..length).filter_map(value);
        let last_week = (length - horizon..length).filter_map(week_ahead);
        let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
        // About the first value, so that large loads with small wobbles lose no digits.
        for load in shown.chain(last_week) {
            count += 1.0;
            sum += load - first;
            squares += (load - first) * (load - first);
        }
        let mean: f64 = sum / count;
        let centre = first + mean;
        let spread = (squares / count - mean * mean).max(0.0).sqrt();
        let scale = spread.max(SMALLEST_SCALE * centre.abs()).max(f64::MIN_POSITIVE.sqrt());
        let scaled = |load: f64| (((load - centre) / scale) as f32).clamp(-LIMIT, LIMIT);
        let flag = |marks: &[bool], at: i64| {
            let set = usize::try_from(at).ok().and_then(|at| marks.get(at)).copied().unwrap_or(false);
            if set { 1.0 } else { 0.0 }
        };
        let angle = |at: i64, season: i64| {
            let start = history.start.div_euclid(i64::from(self.step_seconds));
            ((start + at).rem_euclid(season) as f64 / season as f64 * std::f64::consts::TAU) as f32
        };
        let intensity = |at: i64| {
            let happened = usize::try_from(at).ok().and_then(|at| *history.happened.get(at)?);
            happened.map_or(0.0, |happened| happened.announced.factor.ln() as f32)
        };
        let without = |at: i64| {
            let known = [day_ahead(at), week_ahead(at)];
            let count = known.iter().flatten().count();
            (count > 0).then(|| known.iter().flatten().sum::<f64>() / count as f64)
        };
        let adds = |at: i64, share: fn(&Expected) -> f64| {
            let expected = usize::try_from(at + horizon - length).ok().and_then(|step| *ahead.get(step)?);
            let load = |expected: Expected| Some((expected.factor - 1.0) * share(&expected) * without(at)?);
            expected.and_then(load).map_or(0.0, |load| ((load / scale) as f32).clamp(-LIMIT, LIMIT))
        };
        let mut inputs = Vec::with_capacity(self.inputs());
        for at in from..length {
            inputs.extend(self.features.iter().map(|feature| match feature {
                Feature::Value => scaled(value(at).unwrap_or(first)),
                Feature::Observed => flag(history.observed, at),
                Feature::Event => flag(history.set_aside, at),
                Feature::DaySin => angle(at, day).sin(),
                Feature::DayCos => angle(at, day).cos(),
                Feature::WeekSin => angle(at, week).sin(),
                Feature::WeekCos => angle(at, week).cos(),
                Feature::DayAhead => day_ahead(at).map_or(0.0, scaled),
                Feature::WeekAhead => week_ahead(at).map_or(0.0, scaled),
                Feature::EventIntensity => intensity(at),
                Feature::EventAhead => adds(at, |_| 1.0),
                Feature::EventBefore => adds(at, |expected| expected.share),
            }));
        }
        let sound = inputs.iter().all(|input| input.is_finite()) && centre.is_finite() && scale.is_finite();
        let without = (length - horizon..length).map(without).collect();
        sound.then_some(Window { inputs, centre, scale, without })
    }
}

#[cfg(test)]
mod tests {
    use forecast::history::Grid;
    use forecast::{Announced, Series};

    use super::*;

    fn grid(steps: usize, load: impl Fn(usize) -> f64) -> Grid {
        Grid::new(&Series::new(0, 900, (0..steps).map(|at| Some(load(at))).collect()), u64::MAX).unwrap()
    }

    fn column(contract: &Contract, window: &Window, feature: Feature) -> Vec<f32> {
        let position = contract.position(feature).unwrap();
        window.inputs.iter().skip(position).step_by(contract.features.len()).copied().collect()
    }

    #[test]
    fn the_last_steps_show_yesterday_and_last_week_at_the_steps_to_forecast() {
        let contract = Contract::default();
        let load = |at: usize| 100.0 + at as f64;
        let grid = grid(8 * 96 + 10, load);
        let window = contract.window(&grid.all()).unwrap();
        let of = |at: usize| ((load(at) - window.centre) / window.scale) as f32;
        let length = grid.all().len();
        assert_eq!(column(&contract, &window, Feature::Value)[191], of(length - 1));
        assert_eq!(
            column(&contract, &window, Feature::DayAhead)[96],
            of(length - 96),
            "yesterday at the first step to forecast"
        );
        assert_eq!(column(&contract, &window, Feature::WeekAhead)[96], of(length - 7 * 96));
        assert_eq!(column(&contract, &window, Feature::WeekAhead)[191], of(length - 6 * 96 - 1));
    }

    #[test]
    fn events_are_shown_where_they_were_and_where_they_are_ahead() {
        let contract = Contract::default();
        // Half as much again in the hour after noon of each second day, announced as twice the load.
        let (sold, load) =
            (|at: usize| at / 96 % 2 == 1 && (48..52).contains(&(at % 96)), |at: usize| 10.0 + (at % 96) as f64);
        let value = |at: usize| Some(load(at) * if sold(at) { 1.5 } else { 1.0 });
        let mut series = Series::new(0, 900, (0..15 * 96).map(value).collect());
        series.set_aside = (0..15 * 96).map(sold).collect();
        let announced = Announced { event: 3, factor: 2.0 };
        series.announced = (0..15 * 96).map(|at| sold(at).then_some(announced)).collect();
        let grid = Grid::new(&series, u64::MAX).unwrap();
        let (history, plain) = (grid.all(), contract.window(&grid.all()).unwrap());
        let intensity = column(&contract, &plain, Feature::EventIntensity);
        for (at, shown) in intensity.iter().enumerate() {
            assert_eq!(*shown, if sold(13 * 96 + at) { 2.0_f32.ln() } else { 0.0 }, "{at}");
        }
        assert!(column(&contract, &plain, Feature::EventAhead).iter().all(|shown| *shown == 0.0));
        let expected = Expected::of(&history, 3, 2.0).unwrap();
        assert!((expected.share - 0.5).abs() < 1e-9, "{expected:?}");
        assert_eq!(Expected::of(&history, 4, 2.0), None, "it never took place");
        let ahead: Vec<_> = (0..96).map(|step| (48..52).contains(&step).then_some(expected)).collect();
        let shown = contract.window_with(&history, &ahead).unwrap();
        for (feature, share) in [(Feature::EventAhead, 1.0), (Feature::EventBefore, 0.5)] {
            for (at, own) in column(&contract, &shown, feature).into_iter().enumerate() {
                let adds = if (144..148).contains(&at) { share * load(at) / shown.scale } else { 0.0 };
                assert!((f64::from(own) - adds).abs() < 1e-5, "{at}: {own} {adds}");
            }
        }
        assert_eq!((shown.centre, shown.scale), (plain.centre, plain.scale));
    }

    #[test]
    fn the_same_load_in_another_unit_is_the_same_window() {
        let contract = Contract::default();
        let load = |at: usize| 10.0 + (at % 96) as f64;
        let (small, large) = (grid(900, load), grid(900, |at| 1024.0 * load(at)));
        let (small, large) = (contract.window(&small.all()).unwrap(), contract.window(&large.all()).unwrap());
        assert_eq!(small.inputs, large.inputs);
        assert_eq!(large.scale, 1024.0 * small.scale);
    }

    #[test]
    fn young_constant_and_silent_histories_give_finite_windows() {
        let contract = Contract::default();
        for (steps, load) in [(1, 5.0), (3, 0.0), (400, 7.0), (50, 1e99)] {
            let grid = grid(steps, |_| load);
            let window = contract.window(&grid.all()).unwrap();
            assert!(window.inputs.len() == contract.inputs() && window.inputs.iter().all(|input| input.is_finite()));
            let observed: f32 = column(&contract, &window, Feature::Observed).iter().sum();
            assert_eq!(observed as usize, steps.min(192));
        }
    }

    #[test]
    fn sizes_that_make_no_sense_are_named() {
        let of = |change: fn(&mut Contract)| {
            let mut contract = Contract::default();
            change(&mut contract);
            contract.validate().err().unwrap_or_default()
        };
        assert_eq!(of(|_| {}), "");
        assert!(of(|it| it.step_seconds = 7).starts_with("step_seconds 7"));
        assert!(of(|it| it.window = 50).starts_with("horizon 96 is longer"));
        assert!(of(|it| it.horizon = 0).starts_with("horizon: 0"));
        assert!(of(|it| it.features.push(Feature::Value)).starts_with("features"));
        assert!(of(|it| it.levels = vec![0.5, 0.5]).starts_with("levels"));
        assert!(of(|it| it.window = usize::MAX).starts_with("window"));
    }
}
