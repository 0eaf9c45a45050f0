//! What the latest round of every group found, for whoever asks: REST, gRPC, the demo's view.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use foreshadow_proto::convert::{self, Id};
use foreshadow_proto::v1;
use planner::policy::Metric;
use serde::Serialize;
use tokio::sync::watch;

use super::{MeasuredFactor, MetricReport};

/// One group after its latest round. Immutable; a new round publishes a new one.
#[derive(Debug, Clone)]
pub struct GroupReport {
    pub summary: v1::Group,
    /// By metric.
    pub forecasts: BTreeMap<String, v1::Forecast>,
    /// Launch and re-attach lead that were looked ahead by, seconds.
    pub leads: (u32, u32),
    /// What past events turned out to be, with the metric.
    pub measured_events: Vec<(String, MeasuredFactor)>,
    /// What stands behind each metric's forecast.
    pub metrics: BTreeMap<String, MetricReport>,
    /// Start and gross demand by CPU of the newest minute that was measured.
    pub newest_minute: Option<(i64, f64)>,
    /// Minimum and maximum.
    pub bounds: (u32, u32),
    /// One-sided quantile that is provisioned for.
    pub confidence: f64,
    /// The latest plan as the API shows it.
    pub plan: Option<Arc<serde_json::Value>>,
    /// Answers capacity questions from the evidence of this round.
    pub evidence: Arc<dyn AnswersCapacity>,
}

impl GroupReport {
    /// Says one thing more of the latest plan.
    pub fn add_to_plan(&mut self, key: &str, value: serde_json::Value) {
        if let Some(plan) = self.plan.as_mut().and_then(|plan| Arc::make_mut(plan).as_object_mut()) {
            plan.insert(key.to_owned(), value);
        }
    }
}

/// Capacity at a time from fixed evidence.
pub trait AnswersCapacity: fmt::Debug + Send + Sync {
    /// `at` in seconds since the Unix epoch or `None` for now; `confidence` checked or the policy's.
    fn capacity_at(
        &self,
        at: Option<i64>,
        confidence: Option<f64>,
    ) -> Result<v1::PredictCapacityResponse, PredictError>;

    /// How many instances another autoscaler should have now, by all metrics or one of them; `confidence` checked or the
    /// policy's. `None` where there is no evidence of present demand.
    fn scaled_to(&self, metric: Option<Metric>, confidence: Option<f64>) -> Option<u32>;
}

/// Why a capacity question has no answer.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictError {
    #[error("group: is missing")]
    NoGroup,
    #[error(
        "group: {0:?} is not known; foreshadow groups or GET /groups lists the known ones, a new one answers after its first round (10 s)"
    )]
    UnknownGroup(String),
    #[error("{0}")]
    Confidence(String),
    #[error("at: {at} is in the past (now is {now}); what is ahead can be asked for, as +10m")]
    Past { at: i64, now: i64 },
    #[error("at: {at} is beyond the forecast, which ends at {until}")]
    BeyondHorizon { at: i64, until: i64 },
}

/// The latest report of every group. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<RwLock<BTreeMap<Id, watch::Sender<Arc<GroupReport>>>>>);

impl Board {
    /// Replaces a group's report and wakes its watchers.
    pub fn publish(&self, group: &Id, report: GroupReport) {
        let report = Arc::new(report);
        let mut groups = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match groups.get(group) {
            Some(sender) => drop(sender.send_replace(report)),
            None => drop(groups.insert(group.clone(), watch::Sender::new(report))),
        }
    }

    /// Forgets a group that is no more; its watchers end.
    pub fn withdraw(&self, group: &Id) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(group);
    }

    /// Every known group, by name.
    pub fn reports(&self) -> Vec<Arc<GroupReport>> {
        let groups = self.0.read().unwrap_or_else(PoisonError::into_inner);
        groups.values().map(|sender| sender.borrow().clone()).collect()
    }

    pub fn report(&self, group: &Id) -> Option<Arc<GroupReport>> {
        self.watch(group).map(|receiver| receiver.borrow().clone())
    }

    /// Follows a group's reports.
    pub fn watch(&self, group: &Id) -> Option<watch::Receiver<Arc<GroupReport>>> {
        let groups = self.0.read().unwrap_or_else(PoisonError::into_inner);
        groups.get(group).map(watch::Sender::subscribe)
    }

    /// The one validation of a capacity question, for REST and gRPC alike.
    pub fn predict(&self, asked: &v1::PredictCapacityRequest) -> Result<v1::PredictCapacityResponse, PredictError> {
        if asked.group.is_empty() {
            return Err(PredictError::NoGroup);
        }
        let unknown = || PredictError::UnknownGroup(asked.group.clone());
        let group = Id::new("group", &asked.group).map_err(|_| unknown())?;
        let report = self.report(&group).ok_or_else(unknown)?;
        let confidence = match asked.confidence {
            0.0 => None,
            given => Some(convert::confidence(given).map_err(PredictError::Confidence)?),
        };
        let at = (asked.at_seconds != 0).then_some(asked.at_seconds);
        report.evidence.capacity_at(at, confidence)
    }
}
