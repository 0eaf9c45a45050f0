//! The seam every model fits through, and the pool of models there are.

pub mod arima;
pub mod climate;
pub mod level;
mod pool;
pub mod prophet;
pub mod regression;
pub mod seasonal;
pub mod smoothing;
pub mod trees;

use std::fmt::Debug;

use crate::events::Response;
use crate::history::{DAY, History};
pub use pool::Pool;

/// What the names of the seasonal floor begin with.
pub const SEASONAL_NAIVE: &str = "seasonal_naive";

/// What a fitted model says of the steps after an origin.
#[derive(Debug, Clone, PartialEq)]
pub enum Prediction {
    /// One path; the selection dresses it with the errors the model made on the replayed past.
    Path(Vec<f64>),
    /// `[level][step]` at the levels asked for.
    Quantiles(Vec<Vec<f64>>),
}

/// Why a model does not take part.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitError {
    /// The history is too short for this model.
    #[error("too short: {have} steps, {need} needed")]
    TooShort {
        /// Steps needed.
        need: usize,
        /// Steps there are.
        have: usize,
    },
    /// The model cannot express this series (for instance a step that does not divide a day).
    #[error("unsuitable: {0}")]
    Unsuitable(String),
    /// Fitting failed, or gave something outside sanity bounds.
    #[error("failed: {0}")]
    Failed(String),
}

/// A model before it has seen a history. Deterministic: the same history gives the same prediction, to the bit.
pub trait Model: Debug + Send + Sync {
    /// The name it carries in the champion, in the API and in `--model`.
    fn name(&self) -> &str;

    /// Replayed at every n-th origin only; more than 1 for models that are dear.
    fn replay_every(&self) -> usize {
        1
    }

    /// Whether it takes part only when it is asked for by name: it costs more than it brings to the others.
    fn on_request(&self) -> bool {
        false
    }

    /// Seconds a fit lasts before the model learns anew; longer for models that are dear. (Less while the history is short.)
    fn refit_seconds(&self) -> u64 {
        DAY / 2
    }

    /// Learns from `history`, and from nothing else.
    ///
    /// # Errors
    /// A model may refuse, with a reason; it then gets no weight.
    fn fit(&self, history: &History<'_>, horizon: usize) -> Result<Box<dyn Fitted>, FitError>;
}

/// A fitted model. It may be asked at later origins than the one it was fitted at: `history` is then the fitted one, grown.
pub trait Fitted: Debug + Send + Sync {
    /// Predicts the `horizon` steps after the end of `history`.
    ///
    /// # Errors
    /// As for [`Model::fit`].
    fn predict(&self, history: &History<'_>, horizon: usize, levels: &[f64]) -> Result<Prediction, FitError>;

    /// What it says of events that took place in `history` (as for [`Fitted::predict`]); nothing for a model that does not take them
    /// as regressors. No prediction has it in it: see [`crate::events`].
    fn responses(&self, _history: &History<'_>) -> Vec<Response> {
        Vec::new()
    }
}

/// The sum of products.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    // Four sums side by side: one alone waits for each addition.
    let mut sums = [0.0; 4];
    let (a4, b4) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest: f64 = a4.remainder().iter().zip(b4.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a4.zip(b4) {
        for i in 0..4 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Grid;
    use crate::series::Series;

    const DAY: usize = 48;

    fn grid(steps: usize, value: impl Fn(usize) -> f64) -> Grid {
        Grid::new(&Series::new(0, 1_800, (0..steps).map(|index| Some(value(index))).collect()), u64::MAX).unwrap()
    }

    fn shape(index: usize) -> f64 {
        50.0 + 40.0 * (index as f64 / DAY as f64 * std::f64::consts::TAU).sin()
    }

    /// The path, or the middle quantile.
    fn middle(said: &Prediction) -> &[f64] {
        match said {
            Prediction::Path(path) => path,
            Prediction::Quantiles(paths) => &paths[1],
        }
    }

    #[test]
    fn every_model_repeats_a_clean_season_or_stays_level() {
        let grid = grid(22 * DAY + 5, shape);
        let history = grid.all();
        for model in Pool::default().models().filter(|model| model.name() != "climate_found") {
            let said = model.fit(&history, DAY).unwrap().predict(&history, DAY, &[0.1, 0.5, 0.9]).unwrap();
            let path = middle(&said);
            let miss = path.iter().enumerate().map(|(step, value)| (value - shape(history.len() + step)).abs());
            let mean = miss.sum::<f64>() / DAY as f64;
            let seasonal = !["level", "auto_ets"].contains(&model.name());
            assert!(path.len() == DAY && (!seasonal || mean < 4.0), "{}: {mean}", model.name());
        }
    }

    #[test]
    fn every_model_says_the_same_whether_fitted_now_or_asked_later_with_more_history() {
        let grid = grid(22 * DAY, |index| shape(index) + (index % 7) as f64);
        let (early, late) = (grid.first(20 * DAY), grid.all());
        for model in Pool::default().models().filter(|model| model.name() != "climate_found") {
            let fitted = model.fit(&early, DAY).unwrap();
            let said = fitted.predict(&late, DAY, &[0.1, 0.5, 0.9]).unwrap();
            // Not the same to the bit (coefficients are older), but about the same times.
            let fresh = model.fit(&late, DAY).unwrap().predict(&late, DAY, &[0.1, 0.5, 0.9]).unwrap();
            let apart = middle(&said).iter().zip(middle(&fresh)).map(|(a, b)| (a - b).abs()).sum::<f64>() / DAY as f64;
            assert!(apart < 6.0, "{}: {apart}", model.name());
        }
    }

    #[test]
    fn every_model_refuses_what_is_too_short_for_it_with_a_reason() {
        let grid = grid(DAY / 2, shape);
        for model in Pool::default().models() {
            let answer = model.fit(&grid.first(5), DAY);
            let seasonal = !["level", "auto_ets"].contains(&model.name());
            match answer {
                Err(FitError::TooShort { need, have }) => assert!(need > have && have == 5, "{}", model.name()),
                Ok(_) => assert!(!seasonal, "{}", model.name()),
                Err(other) => panic!("{}: {other}", model.name()),
            }
        }
    }

    #[test]
    fn a_season_that_is_neither_a_day_nor_a_week_is_repeated_by_the_models_that_look_for_one() {
        // 35 hours; neither yesterday nor last week look like it.
        let season = 70;
        let load = |index: usize| {
            let own = if index % season < 14 { 60.0 } else { 0.0 };
            shape(index) + own + (index * 31 % 11) as f64 / 4.0
        };
        let grid = grid(25 * DAY + 5, load);
        let history = grid.all();
        let miss = |model: &dyn Model| {
            let said = model.fit(&history, DAY).unwrap().predict(&history, DAY, &[0.1, 0.5, 0.9]).unwrap();
            let path = middle(&said);
            path.iter().enumerate().map(|(step, value)| (value - load(history.len() + step)).abs()).sum::<f64>()
                / DAY as f64
        };
        let of = |model: &dyn Model, most: f64| assert!(miss(model) < most, "{}: {}", model.name(), miss(model));
        // Without the season 11 and 18.
        of(&arima::AutoArima, 4.0);
        of(&smoothing::Mstl, 6.0);
        let alone = self::grid(25 * DAY + 5, |index| 50.0 + load(index) - shape(index));
        let history = alone.all();
        let said = climate::FoundClimate.fit(&history, DAY).unwrap().predict(&history, DAY, &[0.1, 0.5, 0.9]).unwrap();
        let (Prediction::Quantiles(paths), first) = (said, history.len()) else { panic!("quantiles") };
        for (step, ((low, middle), high)) in paths[0].iter().zip(&paths[1]).zip(&paths[2]).enumerate() {
            let came = 50.0 + load(first + step) - shape(first + step);
            assert!((middle - came).abs() < 3.0 && high - low < 4.0, "{step}: {low} {middle} {high}, {came} came");
        }
        let none = climate::FoundClimate.fit(&self::grid(900, shape).all(), DAY);
        assert!(matches!(none, Err(FitError::Unsuitable(_))), "{none:?}");
    }

    #[test]
    fn names_are_unique_and_the_floor_comes_first() {
        let pool = Pool::default();
        let names: Vec<_> = pool.names().collect();
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
        assert!(names[0].starts_with(SEASONAL_NAIVE));
    }

    #[test]
    fn ets_follows_a_trend_and_does_not_run_away_on_spikes() {
        let rising = grid(200, |index| 10.0 + index as f64);
        let said = smoothing::Ets.fit(&rising.all(), 10).unwrap().predict(&rising.all(), 10, &[]).unwrap();
        assert!((middle(&said)[9] - 219.0).abs() < 5.0, "{:?}", middle(&said));
        let spiky = grid(300, |index| if index % 41 == 0 { 900.0 } else { 1.0 + (index % 3) as f64 });
        let said = smoothing::Ets.fit(&spiky.all(), 500).unwrap().predict(&spiky.all(), 500, &[]).unwrap();
        assert!(middle(&said).iter().all(|value| (-900.0..2_700.0).contains(value)));
    }

    #[test]
    fn climate_knows_which_hours_are_restless() {
        let restless = |index: usize| index % DAY < 12;
        let grid = grid(20 * DAY, |index| if restless(index) { 10.0 * (index * 31 % 11) as f64 } else { 50.0 });
        let said = climate::Climate.fit(&grid.all(), DAY).unwrap();
        let Ok(Prediction::Quantiles(paths)) = said.predict(&grid.all(), DAY, &[0.1, 0.9]) else { panic!("quantiles") };
        assert!(paths[1][6] - paths[0][6] > 50.0, "{} {}", paths[0][6], paths[1][6]);
        assert!(paths[1][30] - paths[0][30] < 1.0);
    }
}
