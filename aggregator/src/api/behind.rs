//! What stands behind a group's numbers: what its plans came to over time, its models, its instances.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use foreshadow_proto::convert::Id;
use serde::Serialize;

use super::ApiState;
use super::ask::{Asked, wrong};
use super::problem::Problem;
use super::rest::known_group;
use crate::observe::MemberSnapshot;
use crate::rounds::{Course, GroupReport, MetricReport};

/// Plans are kept this long, seconds.
const LONGEST: i64 = 31 * 86_400;
/// Without `from`, seconds.
const USUAL: i64 = 86_400;

/// What a group's plans came to, and what the forecast asks for from now on.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct GroupCourse {
    #[serde(flatten)]
    course: Course,
    minimum: u32,
    maximum: u32,
    /// One-sided quantile that is provisioned for.
    confidence: f64,
    ahead: Option<Ahead>,
}

/// Need at the policy's confidence, by step.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Ahead {
    /// Start of the first step, seconds since the Unix epoch.
    start: i64,
    step_seconds: u32,
    need: Vec<Option<u32>>,
}

/// The same answer as `GET /predict/capacity`, for every step of the forecast that is not over.
fn ahead(report: &GroupReport, now: i64) -> Option<Ahead> {
    let forecast = report.forecasts.values().next()?;
    let step = i64::from(forecast.step_seconds.max(1));
    let steps = i64::try_from(forecast.paths.first()?.demand.len()).ok()?;
    let first = (now - forecast.start_seconds).div_euclid(step).max(0);
    let at = |index: i64| forecast.start_seconds + index * step;
    let need = |index: i64| report.evidence.capacity_at(Some(at(index).max(now)), None).ok().and_then(|it| it.need);
    Some(Ahead { start: at(first), step_seconds: forecast.step_seconds, need: (first..steps).map(need).collect() })
}

/// What a group's plans came to over time: plans that say the same are one stretch.
#[utoipa::path(get, path = "/groups/{group}/course", params(("group" = String, Path),
    ("from" = Option<String>, Query, description = "RFC 3339, seconds since 1970 or like -7d; a day ago unless told"),
    ("to" = Option<String>, Query, description = "likewise; now unless told")),
    responses((status = 200, description = "found", body = GroupCourse),
        (status = 400, description = "a parameter is wrong", body = Problem),
        (status = 404, description = "not known", body = Problem)))]
pub async fn course(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Json<GroupCourse>, Problem> {
    let asked = asked.only(&["from", "to"])?;
    let group = known_group(&state, &name)?;
    let now = state.clock.wall_seconds();
    let to = asked.time("to", now)?.unwrap_or(now + 1);
    let from = asked.time("from", now)?.unwrap_or(to - USUAL);
    if from >= to || to - from > LONGEST {
        return Err(wrong("from", "must be before `to`, by 31 days at most"));
    }
    let course = state.plans.course(&group, from, to).await.map_err(|error| Problem::unavailable(&error))?;
    let report = state.board.report(&group);
    let (minimum, maximum) = report.as_deref().map(|report| report.bounds).unwrap_or_default();
    let confidence = report.as_deref().map(|report| report.confidence).unwrap_or_default();
    // The simulated group of the demo has a clock of its own.
    let clock = report.as_deref().and_then(|report| report.plan.as_deref()?["made_at"].as_i64());
    let ahead = report.as_deref().and_then(|report| ahead(report, clock.unwrap_or(now)));
    Ok(Json(GroupCourse { course, minimum, maximum, confidence, ahead }))
}

/// What stands behind a group's forecasts, by metric: models with their shares and losses, what came of them by
/// the hour, trust by its parts, and the idle baseline with its evidence.
#[utoipa::path(get, path = "/groups/{group}/models", params(("group" = String, Path)),
    responses((status = 200, description = "found", body = BTreeMap<String, MetricReport>),
        (status = 404, description = "not known", body = Problem)))]
pub async fn models(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Json<BTreeMap<String, MetricReport>>, Problem> {
    asked.only(&[])?;
    let group = known_group(&state, &name)?;
    // A group that was not planned yet has nothing behind it.
    let mut metrics = state.board.report(&group).map(|report| report.metrics.clone()).unwrap_or_default();
    for (metric, declared) in state.readings.declared() {
        if let Some(report) = metrics.get_mut(metric.as_str()) {
            report.declared = Some(declared.clone());
        }
    }
    // The rounds know the newest; of the demo's simulated group nothing is kept.
    let kept = state.forecast_hours.of(&group).await.map_err(|error| Problem::unavailable(&error))?;
    for (metric, hours) in kept {
        if let Some(report) = metrics.get_mut(&metric) {
            report.hours = hours.into();
        }
    }
    Ok(Json(metrics))
}

/// Of whom nothing newer is known than this, that one is late, µs.
const LATE_MICROS: i64 = 30_000_000;

/// An instance with its group.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct InstanceShown {
    #[schema(value_type = String)]
    group: Id,
    #[serde(flatten)]
    member: MemberSnapshot,
    /// Its newest sample is older than half a minute.
    late: bool,
}

impl InstanceShown {
    fn new((group, member): (Id, MemberSnapshot), now_micros: i64) -> Self {
        let late = member.spool.newest_micros.is_some_and(|newest| now_micros - newest > LATE_MICROS);
        Self { group, member, late }
    }

    pub(super) const fn instance(&self) -> &Id {
        &self.member.instance
    }

    /// Says something that the other does not. The time of the newest sample alone is no news: it is another with each.
    fn is_news_after(&mut self, told: &Self) -> bool {
        let newest = std::mem::replace(&mut self.member.spool.newest_micros, told.member.spool.newest_micros);
        let differs = self != told;
        self.member.spool.newest_micros = newest;
        differs
    }
}

/// Those of every group, or of one, as they are now.
pub(super) fn shown(state: &ApiState, group: Option<&Id>) -> Vec<InstanceShown> {
    let now = state.clock.wall_micros();
    let found = match group {
        Some(group) => {
            let members = state.timeline.group(group).map(|snapshot| snapshot.members).unwrap_or_default();
            members.into_iter().map(|member| (group.clone(), member)).collect()
        }
        None => state.timeline.members(),
    };
    found.into_iter().map(|member| InstanceShown::new(member, now)).collect()
}

/// What changed of instances since the event before.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct InstanceChanges {
    /// Those that are new or different; at first all of them.
    instances: Vec<InstanceShown>,
    /// Those that are no more.
    #[schema(value_type = Vec<String>)]
    gone: Vec<Id>,
}

/// What a stream has told of instances.
#[derive(Debug, Default)]
pub(super) struct InstancesTold(Option<BTreeMap<Id, InstanceShown>>);

impl InstancesTold {
    /// What is new in them, if anything is.
    pub fn news(&mut self, found: Vec<InstanceShown>) -> Option<InstanceChanges> {
        let at_first = self.0.is_none();
        let mut before = self.0.take().unwrap_or_default();
        let (mut told, mut instances) = (BTreeMap::new(), Vec::new());
        for mut one in found {
            match before.remove(one.instance()) {
                Some(was) if !one.is_news_after(&was) => told.insert(was.instance().clone(), was),
                _ => {
                    instances.push(one.clone());
                    told.insert(one.instance().clone(), one)
                }
            };
        }
        self.0 = Some(told);
        let gone: Vec<Id> = before.into_keys().collect();
        (at_first || !instances.is_empty() || !gone.is_empty()).then_some(InstanceChanges { instances, gone })
    }
}

/// Instances of every group, or of one: mode, agent, and how its samples come in.
#[utoipa::path(get, path = "/instances", params(("group" = Option<String>, Query)),
    responses((status = 200, description = "found", body = Vec<InstanceShown>),
        (status = 400, description = "a parameter is wrong", body = Problem),
        (status = 404, description = "not known", body = Problem)))]
pub async fn instances(State(state): State<ApiState>, asked: Asked) -> Result<Json<Vec<InstanceShown>>, Problem> {
    let asked = asked.only(&["group"])?;
    let group = asked.text("group").map(|name| known_group(&state, name)).transpose()?;
    Ok(Json(shown(&state, group.as_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{InstanceMode, Spool};

    fn one(name: &str, newest: i64, waiting: u64, now: i64) -> InstanceShown {
        let member = MemberSnapshot {
            instance: name.parse().expect("an id"),
            mode: InstanceMode::Serving,
            since_micros: 0,
            instance_type: None,
            zone: None,
            version: None,
            protected: false,
            cpu_credits: None,
            out_of_service: None,
            connected: true,
            ready: None,
            agent_version: None,
            claimed_state: None,
            claim_disagrees: false,
            spool: Spool { newest_micros: Some(newest * 1_000_000), waiting, ..Spool::default() },
            proven: None,
        };
        InstanceShown::new(("web".parse().expect("an id"), member), now * 1_000_000)
    }

    #[test]
    fn of_instances_only_what_changed_is_told_and_a_newer_sample_is_no_change() {
        let mut told = InstancesTold::default();
        let mut news = |found: Vec<InstanceShown>| {
            told.news(found).map(|changes| {
                let names = changes.instances.iter().map(|one| one.instance().to_string()).collect::<Vec<_>>();
                (names.join(" "), changes.gone.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            })
        };
        let said = |instances: &str, gone: &str| Some((instances.to_owned(), gone.to_owned()));
        assert_eq!(news(Vec::new()), said("", ""), "that there is none is news at first");
        assert_eq!(news(Vec::new()), None);
        assert_eq!(news(vec![one("i-1", 10, 0, 10), one("i-2", 10, 0, 10)]), said("i-1 i-2", ""));
        assert_eq!(news(vec![one("i-1", 20, 0, 20), one("i-2", 11, 0, 20)]), None);
        assert_eq!(news(vec![one("i-1", 30, 7, 30), one("i-2", 11, 0, 30)]), said("i-1", ""), "its spool fills");
        assert_eq!(news(vec![one("i-1", 31, 7, 42), one("i-2", 11, 0, 42)]), said("i-2", ""), "no sample for 31 s");
        assert_eq!(news(vec![one("i-1", 71, 7, 72), one("i-2", 72, 0, 72)]), said("i-2", ""), "it is back");
        assert_eq!(news(vec![one("i-2", 73, 0, 73)]), said("", "i-1"));
    }
}
