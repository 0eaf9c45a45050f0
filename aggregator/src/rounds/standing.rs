//! What stands behind a metric's forecast, for people: its models with what each has earned, what the intervals held, and
//! the idle baseline with its evidence.

use std::sync::Arc;

use forecast::{BandCoverage, Champion, Forecast, Hour, Trust};
use planner::baseline::{Baseline, Doubt, OfType};
use serde::Serialize;

use crate::config::Declared;

/// Models, coverage and trust of the newest forecast. Made anew with every forecast, not with every round.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = ForecastStanding)]
pub struct Standing {
    /// The model, or the models with their shares in the first hour.
    model: String,
    /// Seconds since the Unix epoch: the first step of the forecast.
    made_at: i64,
    /// Seconds since the Unix epoch: the end of the history the selection was made on.
    trained_at: i64,
    /// Seconds of observations behind it.
    history_seconds: u64,
    #[schema(value_type = serde_json::Value)]
    trust: Trust,
    /// Promised and measured, by band, events left out.
    #[schema(value_type = Vec<serde_json::Value>)]
    coverage: Vec<BandCoverage>,
    /// Loss of the ensemble over that of seasonal naive in the replay, by band; absent where there is none yet.
    skill: Vec<Option<f64>>,
    members: Vec<MemberShown>,
}

/// One model of the pool. Lists are by band: up to 1 h, 6 h, and further ahead.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct MemberShown {
    model: String,
    /// Its share; those of a band add up to 1.
    weights: Vec<f64>,
    /// Its pinball loss beside that of seasonal naive: below 1 is better. Absent where it could not be replayed.
    losses: Vec<Option<f64>>,
}

/// One metric after its latest round.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct MetricReport {
    /// Points an instance may be used; of a declared metric how much of it one carries.
    pub target: f64,
    /// Of a declared metric: of what it is told, its unit and its title.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub declared: Option<Declared>,
    /// Absent while nothing is forecast.
    #[schema(value_type = Option<Standing>)]
    pub standing: Option<Arc<Standing>>,
    /// Why nothing is forecast.
    pub refused: Option<String>,
    /// The idle baseline in use, points, with what it comes from.
    #[schema(value_type = serde_json::Value)]
    pub baseline: Baseline,
    /// Why the baseline is taken as zero.
    #[schema(value_type = Option<String>)]
    pub doubt: Option<Doubt>,
    /// What came of the forecasts by hour and by how far ahead they were made, oldest first: whether the interval held, and the
    /// pinball loss beside that of the load a day before. Thirty days of it, over restarts too.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub hours: Arc<[Hour]>,
    /// What shadows use by instance type: median and spread, points, with how many shadows and readings are behind it, and what
    /// the line through those that serve says.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub idle: Vec<OfType>,
}

impl Standing {
    pub(super) fn new(forecast: &Forecast, champion: &Champion) -> Self {
        let members = champion.members.iter().map(|member| MemberShown {
            model: member.model.clone(),
            weights: member.weights.clone(),
            losses: member.losses.clone(),
        });
        Self {
            model: forecast.model.clone(),
            made_at: forecast.start,
            trained_at: forecast.trained_at,
            history_seconds: forecast.history_seconds,
            trust: forecast.trust,
            coverage: forecast.coverage.clone(),
            skill: champion.skill.clone(),
            members: members.collect(),
        }
    }

    pub fn model(&self) -> &str {
        &self.model
    }
}
