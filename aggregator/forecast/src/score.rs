//! The evaluation of public series: rows and an origin in, one line of forecast out.
//!
//! The scorer's bins are means and its bins are aligned to the Unix epoch. Only rows stamped before the origin are used:
//! they are cut off before anything else looks at them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::contest::Contest;
use crate::model::Pool;
use crate::series::{Aggregate, Series};
use crate::types::{ForecastError, Options};

/// The levels the scorer reads.
pub const LEVELS: [f64; 9] = [0.01, 0.025, 0.05, 0.1, 0.5, 0.9, 0.95, 0.975, 0.99];

/// The file of origins: every program is scored on the same ones.
#[derive(Debug, Clone, Deserialize)]
pub struct Origins {
    /// The series, each with its origins.
    pub series: Vec<SeriesOrigins>,
}

/// The origins of one series.
#[derive(Debug, Clone, Deserialize)]
pub struct SeriesOrigins {
    /// Its name: `NAME.csv` holds its rows.
    pub series: String,
    /// Seconds of one bin.
    pub interval_seconds: u32,
    /// Bins to forecast.
    pub horizon_steps: usize,
    /// The starts of the first forecast bins, RFC 3339.
    pub origins: Vec<String>,
}

/// One line of the scorer's format.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// Who made it.
    pub model: String,
    /// The series' name.
    pub series: String,
    /// The start of the first bin, RFC 3339.
    pub origin: String,
    /// How many bins.
    pub horizon_steps: usize,
    /// Seconds of one bin.
    pub interval_seconds: u32,
    /// CPU seconds it took, if measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// Level → path.
    pub quantiles: BTreeMap<String, Vec<f64>>,
}

/// What to score: the whole pool or one model of it.
pub fn options(interval_seconds: u32, horizon_steps: usize, only: Option<&str>) -> Options {
    Options {
        step_seconds: interval_seconds,
        horizon_steps,
        levels: LEVELS.to_vec(),
        aggregate: Aggregate::Mean,
        only: only.map(str::to_owned),
        ..Options::default()
    }
}

/// The quantile paths of the bins from `origin` (Unix seconds) on, from the `(unix seconds, value)` rows before it.
///
/// # Errors
/// As for [`next`].
pub fn quantiles(
    rows: &[(i64, f64)],
    origin: i64,
    options: &Options,
) -> Result<BTreeMap<String, Vec<f64>>, ForecastError> {
    quantiles_from(&Pool::default(), rows, origin, options)
}

/// As [`quantiles`], with the models of this pool.
///
/// # Errors
/// As for [`next`].
pub fn quantiles_from(
    pool: &Pool,
    rows: &[(i64, f64)],
    origin: i64,
    options: &Options,
) -> Result<BTreeMap<String, Vec<f64>>, ForecastError> {
    next(&mut Contest::new(pool, options)?, rows, origin)
}

/// The same with a contest that has seen earlier origins of the same rows; the answer is the same, for less.
///
/// # Errors
/// [`ForecastError`] as for [`Contest::forecast`]; also when the origin does not lie on the grid of steps.
pub fn next(
    contest: &mut Contest,
    rows: &[(i64, f64)],
    origin: i64,
) -> Result<BTreeMap<String, Vec<f64>>, ForecastError> {
    let options = contest.options();
    let known: Vec<(i64, f64)> = rows.iter().copied().filter(|(at, _)| *at < origin).collect();
    let mut history = Series::resample(&known, options.step_seconds, options.aggregate);
    // Rows may end before the origin: what lies between is a gap, not a reason to answer for another time.
    let step = i64::from(options.step_seconds.max(1));
    let missing = (origin - history.end()).div_euclid(step).clamp(0, 100_000);
    history.values.extend(std::iter::repeat_n(None, missing as usize));
    let made = contest.forecast(&history)?;
    if made.start != origin {
        return Err(ForecastError::Options(format!("origin {origin} is not a multiple of {step} s")));
    }
    Ok(made.levels.iter().map(|level| level.to_string()).zip(made.paths).collect())
}
