//! Windows of histories to learn from, and others to judge by.

use forecast::history::{Grid, History, WEEK};
use forecast::{Aggregate, Series};

use crate::contract::{Contract, Feature, LIMIT};
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

    /// The load of a seed: `count` series made up.
    pub fn generated(contract: Contract, seed: u64, count: usize) -> Self {
        let mut all = Self::new(contract);
        for index in 0..count {
            all.add(&crate::load::series(seed, index), HoldOut::Series);
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
            let Some(shown) = self.contract.window(&known) else { continue };
            for (step, values) in shown.inputs.chunks_exact(features).enumerate() {
                let at = (step * rows + row) * features;
                batch.inputs[at..at + features].copy_from_slice(values);
            }
            for ahead in 0..horizon {
                let at = row * horizon + ahead;
                batch.known[at] = known_of(&all, origin.known + ahead);
                let value = all.values.get(origin.known + ahead).copied().unwrap_or_default();
                batch.actual[at] = (((value - shown.centre) / shown.scale) as f32).clamp(-LIMIT, LIMIT);
            }
        }
        batch
    }
}

fn known_of(all: &History<'_>, at: usize) -> Known {
    match (all.observed.get(at), all.saturated.get(at)) {
        (Some(true), Some(true)) => Known::AtLeast,
        (Some(true), _) => Known::Value,
        _ => Known::Nothing,
    }
}

/// What seasonal naive scores on windows: yesterday's load, with the errors it made on other windows as its quantiles.
pub fn naive_score(shape: &Shape, data: &Dataset, learned: &[Origin], judged: &[Origin]) -> f64 {
    let contract = &shape.contract;
    let levels = contract.levels.len();
    let Some(anchor) = contract.position(Feature::DayAhead) else { return f64::NAN };
    let yesterday = |batch: &Batch<f32>, at: usize| {
        let (row, ahead) = (at / contract.horizon, at % contract.horizon);
        let step = contract.window - contract.horizon + ahead;
        batch.inputs[(step * batch.rows + row) * contract.features.len() + anchor]
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
}
