//! Demand forecasts with honest intervals. Pure: no clock, no IO, no randomness; the same history gives the same forecast.
//!
//! A [`Contest`] replays the past at fixed times, a few new ones with every hour that passes, and keeps, as a [`Champion`],
//! what each model of the [`Pool`] has earned in each horizon band, how its errors are spread, and whether the intervals
//! held; its [`Contest::forecast`] is cheap, every step. [`select`] and [`forecast`] are the same from nothing. [`Tracker`]
//! says afterwards what the published intervals held. [`events`] takes what was announced out of the history, and puts it
//! onto the forecast.

pub mod adaptive;
mod conformal;
mod contest;
pub mod events;
pub mod history;
pub mod model;
mod origins;
pub mod quantile;
mod replay;
pub mod score;
mod seasons;
pub mod selection;
pub mod series;
mod shift;
pub mod tracking;
pub mod trust;
pub mod types;
pub mod windows;
pub mod zone;

pub use adaptive::Adaptive;
pub use contest::{Contest, forecast, forecast_from, select, select_from};
pub use model::Pool;
pub use selection::Champion;
pub use series::{Aggregate, Announced, Series};
pub use tracking::{Hour, Tracker, WideHour};
pub use types::{Band, BandCoverage, Forecast, ForecastError, MINIMUM_HISTORY_SECONDS, Options, Trust, WideCoverage};
pub use windows::WindowSpread;
pub use zone::{Transition, Zone};
