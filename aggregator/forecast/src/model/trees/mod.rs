//! Gradient-boosted quantile trees.

mod boost;
mod features;

use self::boost::{Boosted, Cuts, Growth, Rows};
use self::features::{Features, WIDTH};
use super::seasonal::season;
use super::{FitError, Fitted, Model, Prediction};
use crate::history::{DAY, History};
use crate::quantile::{Weighted, quantiles};

const LEARN_SECONDS: u64 = 42 * DAY;

pub(super) fn env(name: &str, default: f64) -> f64 {
    std::env::var(name).ok().and_then(|t| t.parse().ok()).unwrap_or(default)
}

/// The model.
#[derive(Debug, Clone, Copy)]
pub struct Trees;

impl Model for Trees {
    fn name(&self) -> &'static str {
        "trees"
    }

    fn replay_every(&self) -> usize {
        env("EVERY", 2.0) as usize
    }

    fn fit(&self, history: &History<'_>, horizon: usize) -> Result<Box<dyn Fitted>, FitError> {
        let day = season(history, DAY)?;
        let need = 3 * day + day / 2;
        if history.len() < need {
            return Err(FitError::TooShort { need, have: history.len() });
        }
        let recent = history.last(history.steps(LEARN_SECONDS));
        let linear = if env("BASE", 1.0) >= 2.0 { Some(super::regression::Fit::learn(history, horizon)?) } else { None };
        let features = Features::new(&recent, day, linear.clone());
        let bags = env("BAGS", 3.0) as usize;
        let count = env("ROWS", 2000.0) as usize;
        let reach = horizon.min(day);
        let first = 2 * day;
        let span = recent.len() - first;
        let mut values = Vec::new();
        let mut targets = Vec::new();
        let mut censored = Vec::new();
        let mut folds = Vec::new();
        let mut scales = Vec::new();
        let mut reaches = Vec::new();
        let near = env("NEAR", 0.6);
        for turn in 0..count {
            // Golden-ratio steps spread rows evenly over time and horizon without chance.
            let at = first + ((turn as f64 + 0.5) / count as f64 * span as f64) as usize;
            let u = (turn as f64 * 0.618_033_988_749_895).fract();
            let within = if u < near {
                ((reach as f64).powf(u / near) - 1.0) as usize
            } else {
                ((u - near) / (1.0 - near) * reach as f64) as usize
            }
            .min(reach - 1);
            let Some(origin) = at.checked_sub(within).filter(|origin| *origin >= day + day / 2) else { continue };
            if !recent.observed[at] {
                continue;
            }
            let scale = features.scale(origin);
            values.extend(features.row(origin, within));
            targets.push((recent.values[at] - features.base(origin, within)) / scale);
            censored.push(recent.saturated[at]);
            let block = (day as f64 * env("BLOCK", 1.0)) as usize;
            folds.push((recent.len() - 1 - at) / block % bags);
            scales.push(scale);
            reaches.push(within);
        }
        let cuts = Cuts::learn(&values, WIDTH);
        let mut bins = Vec::with_capacity(values.len());
        for row in values.chunks_exact(WIDTH) {
            cuts.bin(row, &mut bins);
        }
        let rows = Rows { width: WIDTH, bins, targets, censored };
        let growth = Growth {
            level: 0.5,
            trees: env("TREES", 40.0) as usize,
            leaves: env("LEAVES", 12.0) as usize,
            least_rows: env("LEAST", 20.0) as usize,
            rate: env("RATE", 0.1),
        };
        let mut out = vec![0.0; folds.len()];
        let mut ensembles = Vec::new();
        for bag in 0..bags {
            let of: Vec<u32> = (0..folds.len()).filter(|row| folds[*row] != bag).map(|row| row as u32).collect();
            let ensemble = Boosted::learn(&rows, &of, &growth);
            for row in 0..folds.len() {
                if folds[row] == bag {
                    out[row] = rows.targets[row] - ensemble.predict_row(&rows, row);
                }
            }
            ensembles.push(ensemble);
        }
        let rows = Rows { targets: out.iter().map(|miss| miss.abs()).collect(), ..rows };
        let spread_growth = Growth {
            level: env("SLEVEL", 0.6),
            trees: env("STREES", 20.0) as usize,
            leaves: env("SLEAVES", 8.0) as usize,
            least_rows: env("SLEAST", 30.0) as usize,
            rate: env("SRATE", 0.1),
        };
        let all: Vec<u32> = (0..folds.len() as u32).collect();
        let spread = Boosted::learn(&rows, &all, &spread_growth);
        let mut sorted = rows.targets.clone();
        sorted.sort_by(f64::total_cmp);
        let floor = (sorted.get(sorted.len() / 2).copied().unwrap_or(0.0) * 0.1).max(1e-9);
        let mut misses = Vec::new();
        for row in 0..out.len() {
            let s = spread.predict_row(&rows, row).max(floor);
            misses.push((reaches[row], Weighted { value: out[row] / s, weight: 1.0, censored: rows.censored[row] }));
        }
        Ok(Box::new(Fit { day, cuts, ensembles, spread, floor, linear, misses }))
    }
}

#[derive(Debug)]
struct Fit {
    day: usize,
    cuts: Cuts,
    ensembles: Vec<Boosted>,
    spread: Boosted,
    floor: f64,
    linear: Option<super::regression::Fit>,
    misses: Vec<(usize, Weighted)>,
}

impl Fitted for Fit {
    fn predict(&self, history: &History<'_>, horizon: usize, levels: &[f64]) -> Result<Prediction, FitError> {
        let recent = history.last(history.steps(LEARN_SECONDS));
        let features = Features::new(&recent, self.day, self.linear.clone());
        let origin = recent.len();
        let scale = features.scale(origin);
        let hour = history.steps(3_600);
        let edges = [hour, 3 * hour, 8 * hour, usize::MAX];
        let mut tables = Vec::new();
        for (i, edge) in edges.iter().enumerate() {
            let from = if i == 0 { 0 } else { edges[i - 1] };
            let mut seen: Vec<Weighted> =
                self.misses.iter().filter(|(r, _)| *r >= from && *r < *edge).map(|(_, m)| *m).collect();
            if seen.len() < 50 {
                seen = self.misses.iter().map(|(_, m)| *m).collect();
            }
            tables.push(quantiles(&mut seen, levels).ok_or_else(|| FitError::Failed("none".into()))?);
        }
        let mut paths = vec![Vec::with_capacity(horizon); levels.len()];
        let mut median = Vec::new();
        for step in 0..horizon {
            let within = step % self.day;
            let mut row = Vec::with_capacity(WIDTH);
            self.cuts.bin(&features.row(origin, within), &mut row);
            let middle =
                self.ensembles.iter().map(|e| e.predict(&row)).sum::<f64>() / self.ensembles.len().max(1) as f64;
            let spread = self.spread.predict(&row).max(self.floor);
            let base = features.base(origin, within);
            median.push((base + scale * middle).max(0.0));
            let table = &tables[edges.iter().position(|e| within < *e).unwrap_or(3)];
            for (path, z) in paths.iter_mut().zip(table) {
                path.push((base + scale * (middle + spread * z)).max(0.0));
            }
        }
        if env("PATH_ONLY", 0.0) > 0.0 { Ok(Prediction::Path(median)) } else { Ok(Prediction::Quantiles(paths)) }
    }
}
