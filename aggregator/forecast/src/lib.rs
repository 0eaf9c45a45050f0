//! Demand forecasts with honest intervals. Pure: no clock, no IO, no randomness; the same history gives the same forecast.
//!
//! [`select`] replays the past (rolling origins) and keeps, as a [`Champion`], what each model of the pool has earned in each
//! horizon band, how its errors are spread, and whether the intervals held. [`forecast`] uses a champion on the newest
//! history: cheap, every step. [`Tracker`] says afterwards what the published intervals held. [`events`] takes what was
//! announced out of the history, and puts it onto the forecast.

mod conformal;
pub mod events;
pub mod history;
pub mod model;
pub mod quantile;
mod replay;
pub mod score;
pub mod selection;
pub mod series;
pub mod tracking;
pub mod trust;
pub mod types;

pub use model::Pool;
pub use selection::{Champion, forecast, forecast_from, select, select_from};
pub use series::{Aggregate, Series};
pub use tracking::Tracker;
pub use types::{Band, BandCoverage, Forecast, ForecastError, MINIMUM_HISTORY_SECONDS, Options, Trust};
