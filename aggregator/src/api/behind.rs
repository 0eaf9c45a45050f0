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

/// An instance with its group.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct InstanceShown {
    #[schema(value_type = String)]
    group: Id,
    #[serde(flatten)]
    member: MemberSnapshot,
}

/// Instances of every group, or of one: mode, agent, and how its samples come in.
#[utoipa::path(get, path = "/instances", params(("group" = Option<String>, Query)),
    responses((status = 200, description = "found", body = Vec<InstanceShown>),
        (status = 400, description = "a parameter is wrong", body = Problem),
        (status = 404, description = "not known", body = Problem)))]
pub async fn instances(State(state): State<ApiState>, asked: Asked) -> Result<Json<Vec<InstanceShown>>, Problem> {
    let asked = asked.only(&["group"])?;
    let groups = match asked.text("group") {
        Some(name) => vec![known_group(&state, name)?],
        None => state.timeline.groups(),
    };
    let found = groups.into_iter().filter_map(|group| Some((state.timeline.group(&group)?.members, group)));
    let instances = found.flat_map(|(members, group)| {
        members.into_iter().map(move |member| InstanceShown { group: group.clone(), member })
    });
    Ok(Json(instances.collect()))
}
