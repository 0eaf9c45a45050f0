//! The forecasts a live group would have had, step by step: made once for a load, given to every policy.
//!
//! This is the only place of the backtest that forecasts, and it does so through the live round. Demand net of the idle
//! baseline does not depend on how many instances carry it, so one set of forecasts serves every policy. (A group so short
//! that its instances are saturated would have seen less than the load; its own history would say "at least".)

use std::collections::BTreeMap;
use std::sync::Arc;

use forecast::{Forecast, Options};
use foreshadow_proto::convert::Id;
use planner::policy::{Metric, Policy};

use super::Setting;
use super::load::Load;
use crate::rounds::{GroupRound, KEPT_MINUTES};
use crate::store::Minute;

/// Name of the group in a backtest.
pub const GROUP: &str = "backtest";
/// Instances that are said to carry the load: without a baseline the number says nothing.
const CARRIERS: u32 = 1;

/// A forecast for every step, by its start; absent where nothing could be forecast.
#[derive(Debug, Clone, Default)]
pub struct Foresight {
    pub by_step: BTreeMap<i64, Arc<Forecast>>,
    /// Why there was none at the end of the lead-in.
    pub refused: Option<String>,
}

impl Foresight {
    /// The newest forecast that was there at `now`.
    pub fn at(&self, now: i64) -> Option<&Arc<Forecast>> {
        self.by_step.range(..=now).next_back().map(|(_, forecast)| forecast)
    }
}

/// Forecasts of every step from minute `from` on, each whole: what the largest minute of a window may be is seen by all of it.
/// `tell` hears of every minute.
pub fn foresee(load: &Load, setting: &Setting, from: usize, options: &Options, mut tell: impl FnMut(u64)) -> Foresight {
    let mut round = GroupRound::new(Policy::new(GROUP), options.clone(), true, 0);
    let minute = |index: usize| recorded(load.at(index), load.demand(index, setting), CARRIERS, false);
    let minutes = |range: std::ops::Range<usize>| range.filter_map(minute).collect::<Vec<_>>();
    round.take(&minutes(from.saturating_sub(KEPT_MINUTES)..from));
    let mut foresight = Foresight::default();
    for index in from..load.minutes.len() {
        let now = load.at(index);
        if index == from || now % i64::from(options.step_seconds) == 0 {
            round.forecast(now);
            if let Some(own) = round.own_forecast(Metric::Cpu) {
                foresight.by_step.entry(own.start).or_insert(own);
            }
        }
        round.take(&minutes(index..index + 1));
        tell(1);
    }
    foresight
}

/// A minute as the rollup would have it.
pub fn recorded(start: i64, gross: f64, serving: u32, lower_bound: bool) -> Option<Minute> {
    Some(Minute {
        group: Id::new("group", GROUP).ok()?,
        metric: Metric::Cpu.to_string(),
        start,
        gross_mean: gross,
        gross_maximum: gross,
        weight: f64::from(serving),
        serving,
        reporting: serving,
        lower_bound,
    })
}
