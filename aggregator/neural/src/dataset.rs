//! Windows of histories to learn from, and others to judge by.

use forecast::history::{Grid, History, WEEK};
use forecast::{Aggregate, Series};

use crate::contract::{Contract, Expected, Feature, LIMIT, Window};
use crate::lstm::{Batch, Known, Shape};
use crate::random::Random;

/// Origins lie this many steps apart.
const STRIDE: usize = 4;
/// The first origin of a series, so that there is something to see.
const FIRST_ORIGIN_SECONDS: u64 = 12 * 3_600;
/// This part of each series, its newest, is held out.
const HELD_OUT: f64 = 0.2;
/// Of series that are held out whole: every so manieth.
const HELD_SERIES: usize = 8;
/// Most windows that judge: more say little more, and cost.
const MOST_HELD: usize = 2_000;
/// Most values kept in memory, all series together (a value takes 11 bytes): at most about 350 MB.
pub const MOST_VALUES: usize = 32_000_000;

/// What is held out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldOut {
    /// The newest fifth of every series: the network is judged as it will be used.
    Newest,
    /// Every eighth series, whole.
    Series,
}

/// A window: which series, and how many of its steps are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    series: usize,
    known: usize,
}

/// Histories at the step of a contract.
#[derive(Debug)]
pub struct Dataset {
    contract: Contract,
    series: Vec<Grid>,
    values: usize,
    train: Vec<Origin>,
    held: Vec<Origin>,
}

impl Dataset {
    /// Without any history yet.
    pub fn new(contract: Contract) -> Self {
        Self { contract, series: Vec::new(), values: 0, train: Vec::new(), held: Vec::new() }
    }

    /// The load of a seed: `count` series made up, with events where the contract has them.
    pub fn generated(contract: Contract, seed: u64, count: usize) -> Self {
        let series = if contract.takes_events() { crate::load::with_events } else { crate::load::series };
        let mut all = Self::new(contract);
        for index in 0..count {
            all.add(&series(seed, index), HoldOut::Series);
        }
        all
    }

    /// Adds a history, folded (by means) or repeated to the contract's step. Says how many windows it gave: none when it is
    /// too short, or memory is full.
    pub fn add(&mut self, series: &Series, hold_out: HoldOut) -> usize {
        let folded = series.coarser(self.contract.step_seconds, Aggregate::Mean);
        let Some(grid) = Grid::new(&folded, u64::MAX) else { return 0 };
        let length = grid.all().len();
        let first = grid.all().steps(FIRST_ORIGIN_SECONDS);
        if length < first + self.contract.horizon || self.values + length > MOST_VALUES {
            return 0;
        }
        let series = self.series.len();
        let origins = (first..=length - self.contract.horizon).step_by(STRIDE).map(|known| Origin { series, known });
        let (train, held): (Vec<_>, Vec<_>) = match hold_out {
            HoldOut::Series if series % HELD_SERIES == HELD_SERIES - 1 => (Vec::new(), origins.collect()),
            HoldOut::Series => (origins.collect(), Vec::new()),
            HoldOut::Newest => {
                let cut = length - (HELD_OUT * length as f64) as usize;
                // What is learned from ends before what is judged begins.
                let old = origins.clone().filter(|origin| origin.known + self.contract.horizon <= cut);
                (old.collect(), origins.filter(|origin| origin.known >= cut).collect())
            }
        };
        let count = train.len() + held.len();
        self.train.extend(train);
        self.held.extend(held);
        self.values += length;
        self.series.push(grid);
        count
    }

    /// What the windows are made for.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// How many series, windows to learn from, and windows held out.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.series.len(), self.train.len(), self.held.len())
    }

    /// First and last time (Unix seconds) of what is learned from and judged by.
    pub fn span(&self) -> Option<(i64, i64)> {
        let starts = self.series.iter().map(|grid| grid.all().start).min();
        starts.zip(self.series.iter().map(|grid| grid.all().end()).max())
    }

    /// Windows to learn from in one epoch: at most `most`, in an order of their own.
    pub fn epoch(&self, seed: u64, epoch: usize, most: usize) -> Vec<Origin> {
        let mut order = self.train.clone();
        Random::new(seed, 1_000_000 + epoch as u64).shuffle(&mut order);
        order.truncate(most);
        order
    }

    /// The windows that judge.
    pub fn held(&self) -> Vec<Origin> {
        let every = self.held.len().div_ceil(MOST_HELD).max(1);
        self.held.iter().step_by(every).copied().collect()
    }

    /// Windows side by side, as the network reads them.
    pub fn batch(&self, origins: &[Origin]) -> Batch<f32> {
        let (rows, horizon) = (origins.len(), self.contract.horizon);
        let (window, features) = (self.contract.window, self.contract.features.len());
        let mut batch = Batch {
            rows,
            inputs: vec![0.0; rows * window * features],
            actual: vec![0.0; rows * horizon],
            known: vec![Known::Nothing; rows * horizon],
        };
        for (row, origin) in origins.iter().enumerate() {
            let all = self.series[origin.series].all();
            // As much history as a window can show: older steps would only be copied.
            let known = all.first(origin.known).last(window + 2 * all.steps(WEEK) + horizon);
            let expected = self.expected(&all, origin.known);
            let Some(shown) = self.contract.window_with(&known, &expected) else { continue };
            for (step, values) in shown.inputs.chunks_exact(features).enumerate() {
                let at = (step * rows + row) * features;
                batch.inputs[at..at + features].copy_from_slice(values);
            }
            for (ahead, expected) in expected.into_iter().enumerate() {
                let at = row * horizon + ahead;
                batch.known[at] = known_of(&all, origin.known + ahead);
                let mut value = all.values.get(origin.known + ahead).copied().unwrap_or_default();
                if let Some(measured) = self.made(&all, &shown, ahead, origin.known, expected) {
                    (value, batch.known[at]) = (measured, Known::Value);
                }
                batch.actual[at] = (((value - shown.centre) / shown.scale) as f32).clamp(-LIMIT, LIMIT);
            }
        }
        batch
    }

    /// `[horizon]`: the events after the first `known` steps that took place before them; none where the contract does not ask.
    fn expected(&self, all: &History<'_>, known: usize) -> Vec<Option<Expected>> {
        let mut found: Vec<(i64, Option<Expected>)> = Vec::new();
        let mut of = |at: usize| {
            let announced = all.happened.get(at).copied().flatten()?.announced;
            let expected = found.iter().find(|(event, _)| *event == announced.event).map(|(_, expected)| *expected);
            let expected = expected.unwrap_or_else(|| {
                let expected = Expected::of(&all.first(known), announced.event, announced.factor);
                found.push((announced.event, expected));
                expected
            });
            Some(Expected { factor: announced.factor, ..expected? })
        };
        let takes = self.contract.takes_events();
        (known..known + self.contract.horizon).map(|at| if takes { of(at) } else { None }).collect()
    }

    /// What was measured while an event lasted, where the window shows it; nothing where that was cut off, for then it says too little.
    fn made(
        &self,
        all: &History<'_>,
        shown: &Window,
        ahead: usize,
        known: usize,
        expected: Option<Expected>,
    ) -> Option<f64> {
        let (expected, without) = (expected?, shown.without.get(ahead).copied().flatten()?);
        let measured = all.happened.get(known + ahead).copied().flatten()?.measured;
        let added = (expected.factor - 1.0) * expected.share.max(1.0) * without / shown.scale;
        let within = |scaled: f64| scaled.abs() < f64::from(LIMIT);
        (within(added) && within((measured - shown.centre) / shown.scale)).then_some(measured)
    }
}

fn known_of(all: &History<'_>, at: usize) -> Known {
    match (all.observed.get(at), all.saturated.get(at)) {
        (Some(true), Some(true)) => Known::AtLeast,
        (Some(true), _) => Known::Value,
        _ => Known::Nothing,
    }
}

/// What seasonal naive scores on windows: yesterday's load and what events are announced to add, with the errors it made on other windows as its quantiles.
pub fn naive_score(shape: &Shape, data: &Dataset, learned: &[Origin], judged: &[Origin]) -> f64 {
    let contract = &shape.contract;
    let levels = contract.levels.len();
    let Some(anchor) = contract.position(Feature::DayAhead) else { return f64::NAN };
    let yesterday = |batch: &Batch<f32>, at: usize| {
        let (row, ahead) = (at / contract.horizon, at % contract.horizon);
        let step = contract.window - contract.horizon + ahead;
        let of = |feature: usize| batch.inputs[(step * batch.rows + row) * contract.features.len() + feature];
        of(anchor) + contract.position(Feature::EventAhead).map_or(0.0, of)
    };
    let mut errors = Vec::new();
    for origins in learned.chunks(64) {
        let batch = data.batch(origins);
        let known = (0..batch.actual.len()).filter(|at| batch.known[*at] == Known::Value);
        errors.extend(known.map(|at| batch.actual[at] - yesterday(&batch, at)));
    }
    errors.sort_by(f32::total_cmp);
    let error = |level: f64| {
        let at = (level * errors.len() as f64) as usize;
        errors.get(at.min(errors.len().saturating_sub(1))).copied().unwrap_or(0.0)
    };
    let spread: Vec<f32> = contract.levels.iter().map(|level| error(*level)).collect();
    let (mut sum, mut count) = (0.0, 0);
    for origins in judged.chunks(64) {
        let batch = data.batch(origins);
        let mut answers = Vec::with_capacity(batch.actual.len() * levels);
        for at in 0..batch.actual.len() {
            answers.extend(spread.iter().map(|error| yesterday(&batch, at) + error));
        }
        let (part, of) = crate::lstm::losses(shape, &answers, &batch);
        sum += part;
        count += of;
    }
    if count == 0 { f64::NAN } else { sum / count as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_judged_by_is_never_learned_from() {
        let mut data = Dataset::new(Contract::default());
        let values = (0..30 * 96).map(|at| Some(50.0 + (at % 96) as f64)).collect();
        assert!(data.add(&Series::new(0, 900, values), HoldOut::Newest) > 400);
        let cut = data.held.iter().map(|origin| origin.known).min().unwrap();
        assert!(data.train.iter().all(|origin| origin.known + 96 <= cut));
        assert_eq!(data.add(&Series::new(0, 900, vec![Some(1.0); 100]), HoldOut::Newest), 0, "too short");
        let (series, train, held) = Dataset::generated(Contract::default(), 1, 16).counts();
        assert_eq!((series, held), (16, train / 7));
    }

    #[test]
    fn gaps_and_events_are_not_learned_from_and_lower_bounds_are_marked() {
        let mut values: Vec<Option<f64>> = (0..300).map(|at| Some(at as f64)).collect();
        values[250] = None;
        let mut series = Series::new(0, 900, values);
        series.saturated = (0..300).map(|at| at == 251).collect();
        series.set_aside = (0..300).map(|at| at == 252).collect();
        let mut data = Dataset::new(Contract::default());
        data.add(&series, HoldOut::Series);
        let batch = data.batch(&[Origin { series: 0, known: 204 }]);
        assert_eq!(batch.known[45..50], [Known::Value, Known::Nothing, Known::AtLeast, Known::Nothing, Known::Value]);
    }

    #[test]
    fn an_event_that_took_place_before_is_learned_and_the_first_time_is_not() {
        let sold = |at: usize| (40..44).contains(&(at % 96)) && at >= 2 * 96;
        // Three times the load, announced as twice it.
        let value = |at: usize| Some((50.0 + (at % 96) as f64) * if sold(at) { 3.0 } else { 1.0 });
        let mut series = Series::new(0, 900, (0..5 * 96).map(value).collect());
        series.set_aside = (0..5 * 96).map(sold).collect();
        let announced = forecast::Announced { event: 1, factor: 2.0 };
        series.announced = (0..5 * 96).map(|at| sold(at).then_some(announced)).collect();
        let of = |contract: Contract, known: usize| {
            let mut data = Dataset::new(contract);
            data.add(&series, HoldOut::Series);
            data.batch(&[Origin { series: 0, known }])
        };
        let (first, second) = (of(Contract::default(), 2 * 96), of(Contract::default(), 3 * 96));
        let before = of(Contract::without_events(), 3 * 96);
        for step in 40..44 {
            assert_eq!(first.known[step], Known::Nothing, "nobody knows what it will come to");
            assert_eq!(second.known[step], Known::Value);
            assert_eq!(before.known[step], Known::Nothing, "who does not see it is not asked for it");
            assert!(second.actual[step] > before.actual[step] + 1.0);
        }
        let features = Contract::default().features.len();
        let at = |batch: &Batch<f32>, step: usize, back: usize| batch.inputs[(96 + step + 1) * features - back];
        assert!((at(&second, 41, 1) / at(&second, 41, 2) - 2.0).abs() < 1e-5, "twice the addition came before");
        assert_eq!(at(&second, 50, 2), 0.0);
    }
}
