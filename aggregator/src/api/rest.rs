//! The REST handlers that answer at once.

use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use foreshadow_proto::convert::Id;
use foreshadow_proto::v1;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ApiState;
use super::ask::{Asked, Known, part_of, wrong};
use super::problem::Problem;
use crate::act::{Judged, Kind, Lead, Standing, Stranded, Verdict, overdue_warnings};
use crate::decision::{Decision, Kept};
use crate::fleet::{HeardBy, Notice};
use crate::identity::{AuditEntry, Caller, Role};
use crate::leash::{LimitsShown, loopback_warning};
use crate::observe::MemberSnapshot;
use crate::rounds::PredictError;
use crate::shadow::{ShadowConfig, ShadowError, ShadowSession};
use crate::store::Minute;
use crate::traces::TraceId;

/// Plans and audit entries given at once, at most and by default.
const MOST: u32 = 500;
const USUAL: u32 = 20;
/// Minutes given at once: a month.
const MOST_MINUTES: i64 = 31 * 1_440;
/// InfluxDB is this far behind in the ordinary course of things: a few seconds of commits.
const BEHIND_TICKS: i64 = 100;
/// Three rounds: a plan that is older was not followed by another.
const PLAN_OVERDUE_SECONDS: i64 = 30;
/// A JSON body is never longer.
pub(super) const BODY_BYTES: usize = 256 * 1_024;

/// The process is alive.
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "alive", body = String)))]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the product can do its work, with reasons where it cannot.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Readiness {
    ready: bool,
    /// Why not.
    reasons: Vec<String>,
    /// What is not right and can wait: an inventory that is partial, an InfluxDB that is behind.
    warnings: Vec<String>,
    store: Value,
}

/// Ready, or why not.
#[utoipa::path(get, path = "/readyz", responses(
    (status = 200, description = "ready", body = Readiness), (status = 503, description = "not ready", body = Readiness)))]
pub async fn readyz(State(state): State<ApiState>) -> Response {
    let health = state.store.health().await;
    let mut reasons = Vec::new();
    if !state.running.load(Ordering::Relaxed) {
        reasons.push("starting or stopping".to_owned());
    }
    if !state.timeline.is_read() {
        reasons.push("the inventory was never read completely".to_owned());
    }
    reasons.extend(health.refusing.as_ref().map(|why| format!("the store refuses samples: {why}")));
    let mut warnings = state.timeline.problems();
    warnings.extend(state.refused.warning());
    let now = state.clock.wall_seconds();
    for report in state.board.reports().iter().filter(|report| !report.summary.simulated) {
        let made = report.plan.as_deref().and_then(|plan| plan.get("made_at")?.as_i64());
        warnings.extend(overdue(&report.summary.name, made, now));
    }
    warnings.extend(state.callers.enrolments().warnings(state.clock.wall_micros()));
    let sessions = state.sessions.sessions().await;
    warnings.extend(overdue_warnings(&state.act, &state.timeline, &sessions, state.clock.now()));
    warnings.extend(state.act.stranded().iter().map(Stranded::warning));
    let leash = state.act.leash();
    warnings.extend(leash.warnings(|group| super::steer::bounds(&state, group)));
    warnings.extend(leash.loopback_sources().iter().map(|source| loopback_warning(source)));
    if let Some(behind) = health.forward_lag_ticks.filter(|behind| *behind > BEHIND_TICKS) {
        warnings.push(format!("InfluxDB is {behind} commits behind"));
    }
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, reasons, warnings, store: json!(health) })).into_response()
}

/// A group that gets no plan is an alarm: whatever stops its rounds, nothing is scaled meanwhile.
fn overdue(group: &str, made: Option<i64>, now: i64) -> Option<String> {
    let age = now - made?;
    (age > PLAN_OVERDUE_SECONDS).then(|| format!("{group} has had no plan for {age} s: the log says why"))
}

/// Metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "text format", body = String)))]
pub async fn metrics(State(state): State<ApiState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.metrics.render())
}

/// All groups.
#[utoipa::path(get, path = "/groups", responses((status = 200, description = "found", body = v1::ListGroupsResponse)))]
pub async fn groups(State(state): State<ApiState>, asked: Asked) -> Result<Json<v1::ListGroupsResponse>, Problem> {
    asked.only(&[])?;
    let groups = state.board.reports().iter().map(|report| report.summary.clone()).collect();
    Ok(Json(v1::ListGroupsResponse { groups }))
}

/// One group with its members and forecasts.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct GroupDetail {
    summary: v1::Group,
    members: Vec<MemberSnapshot>,
    forecasts: Vec<v1::Forecast>,
    plan: Option<Value>,
    /// How far Foreshadow may go, who said so and why.
    standing: Standing,
    /// What the planner looks ahead by, with what was measured.
    lead_times: LeadTimes,
    /// What of the configuration file waits to be accepted.
    limits: LimitsShown,
    /// The installation that may change the group.
    owner: Option<String>,
}

/// The two leads of a group.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LeadTimes {
    launch: Lead,
    reattach: Lead,
}

/// One group.
#[utoipa::path(get, path = "/groups/{group}", params(("group" = String, Path)), responses(
    (status = 200, description = "found", body = GroupDetail), (status = 404, description = "not known", body = Problem)))]
pub async fn group(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Json<GroupDetail>, Problem> {
    asked.only(&[])?;
    let group = known_group(&state, &name)?;
    let report = state.board.report(&group).ok_or_else(|| unknown_group(&name))?;
    let (members, owner) =
        state.timeline.group(&group).map(|snapshot| (snapshot.members, snapshot.owner)).unwrap_or_default();
    // The plan's own leads: measured ones, or what the policy says.
    let (launch, reattach) = report.leads;
    Ok(Json(GroupDetail {
        summary: report.summary.clone(),
        members,
        owner,
        standing: state.act.control().standing(&group),
        limits: state.act.leash().of(&group, super::steer::bounds(&state, &group)),
        lead_times: LeadTimes {
            launch: state.act.lead(&group, Kind::Launch, launch),
            reattach: state.act.lead(&group, Kind::Reattach, reattach),
        },
        forecasts: report.forecasts.values().cloned().collect(),
        plan: report.plan.as_deref().cloned(),
    }))
}

pub(super) fn known_group(state: &ApiState, name: &str) -> Result<Id, Problem> {
    let group = Id::new("group", name).map_err(|_| unknown_group(name))?;
    if is_known(state, &group) { Ok(group) } else { Err(unknown_group(name)) }
}

pub(super) fn is_known(state: &ApiState, group: &Id) -> bool {
    state.board.report(group).is_some() || state.timeline.group(group).is_some()
}

/// What was found of a group. Nothing of a group that nobody knows is a name written otherwise: it must not read as "all is well".
/// What is left of a group that is no more is shown.
pub(super) fn found_of<T>(state: &ApiState, group: Option<&Id>, found: Vec<T>) -> Result<Vec<T>, Problem> {
    match group {
        Some(group) if found.is_empty() && !is_known(state, group) => Err(unknown_group(group.as_str())),
        _ => Ok(found),
    }
}

fn unknown_group(name: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, PredictError::UnknownGroup(name.to_owned()).to_string())
        .field("group", "is not known")
}

/// Minute rollups of a group: gross demand before the idle baseline is taken off.
#[utoipa::path(get, path = "/groups/{group}/minutes", params(
    ("group" = String, Path), ("metric" = Option<String>, Query, description = "cpu unless told"),
    ("from" = Option<String>, Query, description = "RFC 3339, seconds since 1970 or like -6h; an hour ago unless told"),
    ("to" = Option<String>, Query, description = "likewise; now unless told")),
    responses((status = 200, description = "found", body = Value), (status = 400, description = "a parameter or a field is wrong", body = Problem), (status = 404, description = "not known", body = Problem)))]
pub async fn minutes(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Json<Vec<Minute>>, Problem> {
    let asked = asked.only(&["metric", "from", "to"])?;
    let group = known_group(&state, &name)?;
    let metric = asked.text("metric").unwrap_or("cpu");
    metric.parse::<planner::policy::Metric>().map_err(|problem| wrong("metric", &problem))?;
    let now = state.clock.wall_seconds();
    let to = asked.time("to", now)?.unwrap_or(now);
    let from = asked.time("from", now)?.unwrap_or(to - 3_600);
    if from >= to || to - from > MOST_MINUTES * 60 {
        return Err(wrong("from", "must be before `to`, by 31 days at most"));
    }
    let minutes = state.store.minutes(&group, metric, from, to).await;
    Ok(Json(minutes.map_err(|error| Problem::unavailable(&error))?))
}

/// How many entries are asked for.
pub(super) fn limit_of(asked: &Known) -> Result<u32, Problem> {
    let limit = asked.number("limit")?.unwrap_or(USUAL);
    if (1..=MOST).contains(&limit) { Ok(limit) } else { Err(wrong("limit", &format!("must be 1 to {MOST}"))) }
}

/// The latest plans of a group, newest first.
#[utoipa::path(get, path = "/plans", params(
    ("group" = String, Query), ("limit" = Option<u32>, Query, description = "20 unless told, 500 at most"),
    ("to" = Option<String>, Query, description = "made then or before: RFC 3339, seconds since 1970 or like -6h; now unless told")),
    responses((status = 200, description = "found", body = Value), (status = 400, description = "a parameter or a field is wrong", body = Problem),
        (status = 404, description = "not known", body = Problem)))]
pub async fn plans(State(state): State<ApiState>, asked: Asked) -> Result<Json<Vec<Value>>, Problem> {
    let asked = asked.only(&["group", "limit", "to"])?;
    let name = asked.text("group").ok_or_else(|| wrong("group", "is missing"))?.to_owned();
    let limit = limit_of(&asked)?;
    let to = asked.time("to", state.clock.wall_seconds())?;
    let group = known_group(&state, &name)?;
    let stored =
        state.plans.plans(&group, to.unwrap_or(i64::MAX), limit).await.map_err(|error| Problem::unavailable(&error))?;
    if stored.is_empty() && to.is_none() {
        // A simulated group's plans are not kept.
        let latest = state.board.report(&group).and_then(|report| report.plan.as_deref().cloned());
        return Ok(Json(latest.into_iter().collect()));
    }
    Ok(Json(stored))
}

/// One plan of a group. Plans that say the same as the one before are not kept, unless they changed something.
#[utoipa::path(get, path = "/plans/{generation}", params(("generation" = u64, Path), ("group" = String, Query)),
    responses((status = 200, description = "found", body = Value),
        (status = 400, description = "a parameter or a field is wrong", body = Problem),
        (status = 404, description = "not known, or not kept", body = Problem)))]
pub async fn plan(
    State(state): State<ApiState>,
    Path(generation): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, Problem> {
    let asked = asked.only(&["group"])?;
    let name = asked.text("group").ok_or_else(|| wrong("group", "is missing"))?.to_owned();
    let number = generation.parse().map_err(|_| wrong("generation", "must be a whole number"))?;
    let group = known_group(&state, &name)?;
    let found = state.plans.plan(&group, number).await.map_err(|error| Problem::unavailable(&error))?;
    let (first, last) = match found {
        Ok(plan) => return Ok(Json(plan)),
        Err(span) => span,
    };
    // One that acts and says what the one before said is in no log but that of decisions.
    let record = state.act.decisions().decision(&group, number).await.map_err(|error| Problem::unavailable(&error))?;
    let trace = state.act.traces().id(&group, number);
    record.and_then(|record| plan_of(record, trace)).map(Json).ok_or_else(|| {
        let kept =
            format!("generation {number} is not kept; those between {first} and {last} that said something new are");
        Problem::new(StatusCode::NOT_FOUND, kept).field("generation", "is not kept")
    })
}

/// The plan of a decision's record as the plan log would show it; `None` of a record that this version cannot read.
fn plan_of(record: Value, trace: Option<TraceId>) -> Option<Value> {
    let Decision { plan, judged, .. } = serde_json::from_value(record).ok()?;
    let holds: Vec<String> = plan.holds.iter().map(ToString::to_string).collect();
    let verdicts: Vec<Verdict> = judged.into_iter().map(Judged::verdict).collect();
    let mut shown = serde_json::to_value(&plan).ok()?;
    let object = shown.as_object_mut()?;
    // Nothing is recorded of a simulated group.
    object.insert("simulated".to_owned(), false.into());
    object.insert("holds_in_words".to_owned(), holds.into());
    object.insert("verdicts".to_owned(), serde_json::to_value(verdicts).ok()?);
    if let Some(trace) = trace {
        object.insert("trace_id".to_owned(), trace.to_string().into());
    }
    Some(shown)
}

/// The decisions that are kept with all their evidence, newest first: every round that changed something, and one an hour.
#[utoipa::path(get, path = "/decisions", params(
    ("group" = String, Query), ("limit" = Option<u32>, Query, description = "20 unless told, 500 at most"),
    ("at" = Option<String>, Query, description = "made at or before: RFC 3339, seconds since 1970 or like -6h; now unless told")),
    responses((status = 200, description = "found", body = Vec<Kept>), (status = 400, description = "a parameter or a field is wrong", body = Problem),
        (status = 404, description = "not known", body = Problem)))]
pub async fn decisions(State(state): State<ApiState>, asked: Asked) -> Result<Json<Vec<Kept>>, Problem> {
    let asked = asked.only(&["group", "limit", "at"])?;
    let name = asked.text("group").ok_or_else(|| wrong("group", "is missing"))?.to_owned();
    let (limit, at) = (limit_of(&asked)?, asked.time("at", state.clock.wall_seconds())?);
    let group = known_group(&state, &name)?;
    let kept = state.act.decisions().latest(&group, at.unwrap_or(i64::MAX), limit).await;
    Ok(Json(kept.map_err(|error| Problem::unavailable(&error))?))
}

/// One decision with all it was made from, and the calls it led to. `foreshadow replay` makes it again.
#[utoipa::path(get, path = "/decisions/{generation}", params(("generation" = u64, Path), ("group" = String, Query)),
    responses((status = 200, description = "found", body = Value),
        (status = 400, description = "a parameter or a field is wrong", body = Problem),
        (status = 404, description = "not known, or not kept", body = Problem)))]
pub async fn decision(
    State(state): State<ApiState>,
    Path(generation): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, Problem> {
    let asked = asked.only(&["group"])?;
    let name = asked.text("group").ok_or_else(|| wrong("group", "is missing"))?.to_owned();
    let number = generation.parse().map_err(|_| wrong("generation", "must be a whole number"))?;
    let group = known_group(&state, &name)?;
    let found = state.act.decisions().decision(&group, number).await.map_err(|error| Problem::unavailable(&error))?;
    let Some(decision) = found else {
        let why = format!("the evidence of plan {number} is not kept; GET /decisions lists what is");
        return Err(Problem::new(StatusCode::NOT_FOUND, why).field("generation", "is not kept"));
    };
    let calls = state.act.intents().of_plan(&group, number).await.map_err(|error| Problem::unavailable(&error))?;
    Ok(Json(json!({ "decision": decision, "calls": calls })))
}

/// Capacity a group needs at a time, with its evidence.
#[utoipa::path(get, path = "/predict/capacity", params(
    ("group" = String, Query),
    ("at" = Option<String>, Query, description = "RFC 3339, seconds since 1970 or like +15m; now unless told"),
    ("confidence" = Option<f64>, Query, description = "one-sided quantile; the policy's unless told")),
    responses((status = 200, description = "found", body = v1::PredictCapacityResponse), (status = 400, description = "a parameter or a field is wrong", body = Problem),
        (status = 404, description = "not known", body = Problem)))]
pub async fn predict_capacity(
    State(state): State<ApiState>,
    asked: Asked,
) -> Result<Json<v1::PredictCapacityResponse>, Problem> {
    let asked = asked.only(&["group", "at", "confidence"])?;
    let request = v1::PredictCapacityRequest {
        group: asked.text("group").unwrap_or_default().to_owned(),
        at_seconds: asked.time("at", state.clock.wall_seconds())?.unwrap_or_default(),
        confidence: asked.number("confidence")?.unwrap_or_default(),
    };
    state.board.predict(&request).map(Json).map_err(|error| {
        let (status, field) = match &error {
            PredictError::UnknownGroup(_) => (StatusCode::NOT_FOUND, "group"),
            PredictError::NoGroup => (StatusCode::BAD_REQUEST, "group"),
            PredictError::Confidence(_) => (StatusCode::BAD_REQUEST, "confidence"),
            PredictError::Past { .. } | PredictError::BeyondHorizon { .. } => (StatusCode::BAD_REQUEST, "at"),
        };
        Problem::new(status, error.to_string()).field(field, error.to_string())
    })
}

/// How long shadows are measured.
#[utoipa::path(get, path = "/shadow/config", responses((status = 200, description = "found", body = ShadowConfig)))]
pub async fn shadow_config(State(state): State<ApiState>, asked: Asked) -> Result<Json<ShadowConfig>, Problem> {
    asked.only(&[])?;
    Ok(Json(state.sessions.config().await))
}

/// A new shadow configuration. A longer lease anywhere needs an admin and a reason.
#[utoipa::path(put, path = "/shadow/config", request_body = ShadowConfig,
    params(("reason" = Option<String>, Query, description = "why; needed where a lease grows")),
    responses((status = 200, description = "found", body = ShadowConfig), (status = 400, description = "a parameter or a field is wrong", body = Problem), (status = 403, description = "the role does not suffice", body = Problem)))]
pub async fn put_shadow_config(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    asked: Asked,
    body: Bytes,
) -> Result<Json<ShadowConfig>, Problem> {
    let asked = asked.only(&["reason"])?;
    let reason = asked.text("reason").unwrap_or_default().trim();
    let config: ShadowConfig = json_body(&body)?;
    let current = state.sessions.config().await;
    if config.is_looser_than(&current) {
        if caller.role < Role::Admin {
            return Err(Problem::new(StatusCode::FORBIDDEN, "a longer lease needs the role admin"));
        }
        if reason.is_empty() {
            return Err(wrong("reason", "a longer lease needs a reason"));
        }
    }
    let problems = config.problems();
    if !problems.is_empty() {
        let problem = Problem::bad("the shadow configuration cannot be used");
        return Err(problems.into_iter().fold(problem, |all, one| all.field(&one.field, one.problem)));
    }
    let detail = serde_json::to_string(&config).unwrap_or_default();
    let written = state.audit.write(state.clock.wall_micros(), &caller, "put_shadow_config", &detail, reason).await;
    written.map_err(|error| Problem::unavailable(&error))?;
    match state.sessions.put_config(config.clone()).await {
        Ok(()) => Ok(Json(config)),
        Err(error @ ShadowError::Invalid(_)) => Err(Problem::bad(error.to_string())),
        Err(error) => Err(Problem::unavailable(&error)),
    }
}

/// Reads a JSON body strictly: every key once, no unknown one, nothing behind it.
pub(super) fn json_body<T: for<'de> Deserialize<'de>>(body: &Bytes) -> Result<T, Problem> {
    if body.len() > BODY_BYTES {
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has {BODY_BYTES} bytes at most")));
    }
    serde_json::from_slice(body).map_err(|error| Problem::bad(format!("the body: {error}")))
}

/// A hint that an instance was detached.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Detached {
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    instance: Option<String>,
}

/// A hint: the group, or everything where none is known, is described at once. Nothing in it is believed. An instance that was heard
/// of within a quarter of an hour (a minute, by this call alone) is the same move: it asks for nothing more.
#[utoipa::path(post, path = "/shadow/detached", request_body = Detached,
    responses((status = 202, description = "taken as a hint", body = Value), (status = 400, description = "a parameter or a field is wrong", body = Problem)))]
pub async fn detached(State(state): State<ApiState>, body: Bytes) -> Result<Response, Problem> {
    let Detached { group, instance } = json_body(&body)?;
    let id = |field, value: Option<String>| {
        value.map(|value| Id::new(field, &value).map_err(|error| wrong(field, &error.to_string()))).transpose()
    };
    let (group, instance) = (id("group", group)?, id("instance", instance)?);
    tracing::info!(?group, ?instance, "a detachment is hinted at");
    let group = group.or_else(|| state.timeline.member_of(instance.as_ref()?));
    match (group.filter(|group| state.timeline.group(group).is_some()), instance) {
        (Some(group), Some(instance)) => {
            let notice = Notice { group, instance, activity: None, heard_by: HeardBy::Caller, why: None };
            state.hint.notice(&notice, state.clock.wall_seconds());
        }
        (Some(group), None) => state.hint.group(&group),
        (None, _) => state.hint.give(),
    }
    Ok((StatusCode::ACCEPTED, Json(json!({ "accepted": true }))).into_response())
}

/// Shadow sessions: open ones and those of the last seven days.
#[utoipa::path(get, path = "/shadow/sessions", params(("group" = Option<String>, Query),
    ("from" = Option<String>, Query, description = "that had not ended by then: RFC 3339, seconds since 1970 or like -6h; the oldest unless told"),
    ("to" = Option<String>, Query, description = "that had begun by then, likewise; the newest unless told"),
    ("open" = Option<bool>, Query, description = "true: those alone that have not ended"),
    ("limit" = Option<u32>, Query, description = "so many, those that began last, newest first; all unless told, 500 at most")),
    responses((status = 200, description = "found", body = Vec<ShadowSession>,
            headers(("x-total-count" = u64, description = "how many there are: more than the list holds where the limit left some off"))),
        (status = 400, description = "a parameter is wrong", body = Problem),
        (status = 404, description = "nothing of it, and the group is not known", body = Problem)))]
pub async fn shadow_sessions(State(state): State<ApiState>, asked: Asked) -> Result<Response, Problem> {
    let asked = asked.only(&["group", "from", "to", "open", "limit"])?;
    let (group, stood) = (asked.id("group")?, asked.between(state.clock.wall_seconds())?);
    let open = match asked.text("open") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(wrong("open", "must be true or false")),
    };
    let limit = asked.text("limit").map(|_| limit_of(&asked)).transpose()?;
    let mut sessions = state.sessions.sessions().await;
    sessions.retain(|session| group.as_ref().is_none_or(|group| session.group == *group));
    // Of a group that is known by its sessions alone: none in this range is an answer.
    let mut sessions = found_of(&state, group.as_ref(), sessions)?;
    sessions.retain(|session| {
        session.started <= *stood.end()
            && session.ended.is_none_or(|ended| ended >= *stood.start())
            && (!open || session.ended.is_none())
    });
    let total = sessions.len();
    if let Some(limit) = limit {
        sessions.sort_by_key(|session| std::cmp::Reverse(session.started));
        sessions.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    Ok(part_of(total, &sessions))
}

/// The latest changes, newest first.
#[utoipa::path(get, path = "/audit", params(("limit" = Option<u32>, Query)),
    responses((status = 200, description = "found", body = Vec<AuditEntry>)))]
pub async fn audit(State(state): State<ApiState>, asked: Asked) -> Result<Json<Vec<AuditEntry>>, Problem> {
    let limit = limit_of(&asked.only(&["limit"])?)?;
    Ok(Json(state.audit.latest(limit).await.map_err(|error| Problem::unavailable(&error))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_without_plans_is_an_alarm() {
        assert_eq!(overdue("web", Some(1_000), 1_030), None);
        let said = overdue("web", Some(1_000), 1_031).expect("an alarm");
        assert!(said.contains("web has had no plan for 31 s"), "{said}");
        assert_eq!(overdue("new", None, 1_031), None, "its first round is yet to come");
    }
}
