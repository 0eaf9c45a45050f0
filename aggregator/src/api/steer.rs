//! What an operator tells the product to do, or not to do. Every call has a reason and is in the audit
//! log before it takes effect; what loosens needs an admin.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::{Extension, Json};
use foreshadow_proto::convert::Id;
use planner::policy::Mode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiState;
use super::ask::{Asked, part_of, wrong};
use super::problem::Problem;
use super::rest::{found_of, json_body, known_group, limit_of};
use crate::act::{Leave, Standing, Stranded, call};
use crate::clock::read_time;
use crate::identity::Caller;
use crate::leash::LimitsShown;
use crate::observe::STANDBY;
use crate::shadow::{Origin, ShadowError, ShadowSession};
use crate::supervise;

/// Leave is given for so long at most, seconds.
const LONGEST_LEAVE: i64 = 7 * 86_400;

/// Why.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    pub(super) reason: String,
}

/// How far a group may go, and why.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModeWanted {
    /// `observe`, `scale-out` or `full`.
    #[schema(value_type = String)]
    mode: Mode,
    reason: String,
}

pub(super) fn given(reason: &str) -> Result<&str, Problem> {
    match reason.trim() {
        "" => Err(wrong("reason", "must say why: whoever is woken tonight reads it")),
        reason if reason.len() > 500 => Err(wrong("reason", "has 500 characters at most")),
        reason => Ok(reason),
    }
}

pub(super) async fn audited(
    state: &ApiState,
    caller: &Caller,
    action: &str,
    detail: &str,
    reason: &str,
) -> Result<(), Problem> {
    let written = state.audit.write(state.clock.wall_micros(), caller, action, detail, reason).await;
    written.map_err(|error| Problem::unavailable(&error))
}

/// How far Foreshadow may go in a group. Only this call loosens it.
#[utoipa::path(post, path = "/groups/{group}/mode", params(("group" = String, Path)), request_body = ModeWanted,
    responses((status = 200, description = "what holds now", body = Standing),
        (status = 400, description = "a field is wrong", body = Problem),
        (status = 404, description = "not known", body = Problem),
        (status = 409, description = "the group cannot be acted on", body = Problem)))]
pub async fn mode(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Standing>, Problem> {
    let group = known_group(&state, &name)?;
    let wanted: ModeWanted = json_body(&body)?;
    let reason = given(&wanted.reason)?;
    let control = state.act.control();
    let at_most = control.standing(&group).at_most;
    if wanted.mode > at_most {
        return Err(wrong("mode", &format!("the configuration file allows {at_most} at most")));
    }
    let source = state.timeline.group(&group).and_then(|snapshot| snapshot.source);
    let fleet = state.act.fleet(source).filter(|_| wanted.mode > Mode::Observe);
    if wanted.mode > Mode::Observe && fleet.is_none() {
        if !state.timeline.is_read() {
            let why = "the group is in no inventory that was read since the start: ask again in some seconds";
            return Err(Problem::new(StatusCode::CONFLICT, why));
        }
        let why = format!(
            "{} can describe the group and not change it: put it under [inventory.aws], .command or .webhook \
             (docs/fleets.md)",
            source.unwrap_or("its agents' claim")
        );
        return Err(Problem::new(StatusCode::CONFLICT, why).field("mode", "observe is all that is possible"));
    }
    audited(&state, &caller, "set_mode", &format!("{group} {}", wanted.mode), reason).await?;
    let now = state.clock.wall_seconds();
    let held = match wanted.mode {
        Mode::Observe => Ok(()),
        _ => state.act.leash().hold_from_now(&group, now, &caller.name, reason).await,
    };
    held.map_err(|error| Problem::unavailable(&error))?;
    let said = control.set_mode(&group, wanted.mode, now, &caller.name, reason).await;
    said.map_err(|error| Problem::unavailable(&error))?;
    tracing::warn!(%group, mode = %wanted.mode, by = caller.name, reason, "mode");
    let standing = control.standing(&group);
    // Its first plan claims it where this fails.
    if let Some(fleet) = fleet.filter(|_| !standing.paused).cloned() {
        let owner = state.act.owner();
        tokio::spawn(async move {
            if let Err(error) = call::claim(&*fleet, &group, &owner).await {
                tracing::warn!(%group, error, "not claimed yet");
            }
        });
    }
    Ok(Json(standing))
}

/// Until when a group may go below what it needed in the same hour a week ago, and why.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveWanted {
    /// RFC 3339, seconds since 1970, or like `+12h`; seven days ahead at most. A time that is over takes the leave back.
    until: String,
    reason: String,
}

/// Gives leave to go below what was needed in the same hour a week ago: after a launch, a sale, an incident that will not come
/// again. Everything else holds as before.
#[utoipa::path(post, path = "/groups/{group}/below-last-week", params(("group" = String, Path)), request_body = LeaveWanted,
    responses((status = 200, description = "what holds now", body = Standing),
        (status = 400, description = "a field is wrong", body = Problem),
        (status = 404, description = "not known", body = Problem)))]
pub async fn below_last_week(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Standing>, Problem> {
    let group = known_group(&state, &name)?;
    let wanted: LeaveWanted = json_body(&body)?;
    let reason = given(&wanted.reason)?;
    let now = state.clock.wall_seconds();
    let until = read_time(&wanted.until, now).map_err(|problem| wrong("until", &problem))?;
    if until > now + LONGEST_LEAVE {
        return Err(wrong("until", "is seven days ahead at most: by then last week is another"));
    }
    audited(&state, &caller, "below_last_week", &format!("{group} until {until}"), reason).await?;
    let leave = Leave { until, at: now, by: caller.name.clone(), reason: reason.to_owned() };
    let control = state.act.control();
    control.give_leave(&group, leave).await.map_err(|error| Problem::unavailable(&error))?;
    state.act.follow_leaves();
    tracing::warn!(%group, until, by = caller.name, reason, "leave to go below last week's need");
    Ok(Json(control.standing(&group)))
}

/// Which limits hold, and what of the configuration file waits to be accepted.
#[utoipa::path(get, path = "/limits", responses((status = 200, description = "of all groups at once, then of each", body = Vec<LimitsShown>)))]
pub async fn limits(State(state): State<ApiState>, asked: Asked) -> Result<Json<Vec<LimitsShown>>, Problem> {
    asked.only(&[])?;
    let leash = state.act.leash();
    let groups = state.timeline.groups().into_iter().map(|group| leash.of(&group, bounds(&state, &group)));
    Ok(Json(std::iter::once(leash.of_all()).chain(groups).collect()))
}

/// Minimum and maximum of a group as its source has them.
pub(super) fn bounds(state: &ApiState, group: &Id) -> Option<(u32, u32)> {
    let snapshot = state.timeline.group(group).filter(|snapshot| snapshot.taken_micros > 0)?;
    Some((snapshot.minimum, snapshot.maximum))
}

/// Accepts what the configuration file says of a group, also where it is looser. Only this call does.
#[utoipa::path(post, path = "/groups/{group}/limits", params(("group" = String, Path)), request_body = Reason,
    responses((status = 200, description = "what holds now", body = LimitsShown),
        (status = 400, description = "a field is wrong", body = Problem),
        (status = 404, description = "not known", body = Problem)))]
pub async fn accept_limits(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<LimitsShown>, Problem> {
    let group = known_group(&state, &name)?;
    accepted(&state, &caller, Some(&group), &body).await
}

/// Accepts what the configuration file says of all groups at once, also where it is looser. Only this call does.
#[utoipa::path(post, path = "/limits", request_body = Reason,
    responses((status = 200, description = "what holds now", body = LimitsShown), (status = 400, description = "a field is wrong", body = Problem)))]
pub async fn accept_all_limits(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<LimitsShown>, Problem> {
    accepted(&state, &caller, None, &body).await
}

async fn accepted(
    state: &ApiState,
    caller: &Caller,
    group: Option<&Id>,
    body: &Bytes,
) -> Result<Json<LimitsShown>, Problem> {
    let reason: Reason = json_body(body)?;
    let reason = given(&reason.reason)?;
    let leash = state.act.leash();
    let shown = || group.map_or_else(|| leash.of_all(), |group| leash.of(group, bounds(state, group)));
    let loosened: Vec<String> =
        shown().held.iter().map(|held| format!("{} {} to {}", held.field, held.holds, held.file)).collect();
    let whom = group.map_or("everything", Id::as_str);
    audited(state, caller, "accept_limits", &format!("{whom}: {}", loosened.join("; ")), reason).await?;
    let accepted = leash.accept(group, state.clock.wall_seconds(), &caller.name, reason).await;
    accepted.map_err(|error| Problem::unavailable(&error))?;
    if group.is_none() {
        let common = leash.common();
        state.timeline.set_patience(supervise::patience(&common));
        state.sessions.follow_file(common.shadow).await;
        state.act.follow_safety();
    }
    tracing::warn!(whom, by = caller.name, reason, ?loosened, "limits accepted");
    // Told anew, so that what counts them knows.
    drop(leash.warnings(|group| bounds(state, group)));
    Ok(Json(shown()))
}

async fn paused(
    state: &ApiState,
    caller: &Caller,
    group: Option<&Id>,
    paused: bool,
    body: &Bytes,
) -> Result<Value, Problem> {
    let reason: Reason = json_body(body)?;
    let reason = given(&reason.reason)?;
    let word = if paused { "pause" } else { "resume" };
    let whom = group.map_or("everything", Id::as_str);
    let control = state.act.control();
    let now = state.clock.wall_seconds();
    if paused {
        // The red button works before it is written down: a full disk must not keep it from working.
        control.pause(group, true, now, &caller.name, reason).await.map_err(|error| Problem::unavailable(&error))?;
        audited(state, caller, word, whom, reason).await?;
    } else {
        audited(state, caller, word, whom, reason).await?;
        control.pause(group, false, now, &caller.name, reason).await.map_err(|error| Problem::unavailable(&error))?;
    }
    tracing::warn!(whom, by = caller.name, reason, word);
    let everything = control.everywhere().is_some_and(|said| said.paused);
    Ok(json!({ "paused": paused, "whom": whom, "reason": reason, "everything_paused": everything,
        "paused_groups": control.paused_groups() }))
}

/// Stops everything everywhere: from now on nothing is changed in any group.
#[utoipa::path(post, path = "/pause", request_body = Reason,
    responses((status = 200, description = "paused", body = Value), (status = 400, description = "a field is wrong", body = Problem)))]
pub async fn pause_all(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    paused(&state, &caller, None, true, &body).await.map(Json)
}

/// Ends the pause of everything; groups that are paused by themselves stay so.
#[utoipa::path(post, path = "/resume", request_body = Reason,
    responses((status = 200, description = "resumed", body = Value), (status = 400, description = "a field is wrong", body = Problem)))]
pub async fn resume_all(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    paused(&state, &caller, None, false, &body).await.map(Json)
}

/// Stops everything in a group.
#[utoipa::path(post, path = "/groups/{group}/pause", params(("group" = String, Path)), request_body = Reason,
    responses((status = 200, description = "paused", body = Value), (status = 400, description = "a field is wrong", body = Problem), (status = 404, description = "not known", body = Problem)))]
pub async fn pause(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let group = known_group(&state, &name)?;
    paused(&state, &caller, Some(&group), true, &body).await.map(Json)
}

/// Ends the pause of a group.
#[utoipa::path(post, path = "/groups/{group}/resume", params(("group" = String, Path)), request_body = Reason,
    responses((status = 200, description = "resumed", body = Value), (status = 400, description = "a field is wrong", body = Problem), (status = 404, description = "not known", body = Problem)))]
pub async fn resume(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let group = known_group(&state, &name)?;
    paused(&state, &caller, Some(&group), false, &body).await.map(Json)
}

/// Takes a group over from another installation. Only this call does.
#[utoipa::path(post, path = "/groups/{group}/owner", params(("group" = String, Path)), request_body = Reason,
    responses((status = 200, description = "taken over", body = Value), (status = 400, description = "a field is wrong", body = Problem), (status = 404, description = "not known", body = Problem),
        (status = 409, description = "the group cannot be acted on", body = Problem)))]
pub async fn owner(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let group = known_group(&state, &name)?;
    let reason: Reason = json_body(&body)?;
    let reason = given(&reason.reason)?;
    let snapshot = state.timeline.group(&group);
    let fleet = state.act.fleet(snapshot.as_ref().and_then(|snapshot| snapshot.source));
    let fleet = fleet.ok_or_else(|| Problem::new(StatusCode::CONFLICT, "no source that can act has the group"))?;
    let before = snapshot.and_then(|snapshot| snapshot.owner);
    audited(&state, &caller, "take_over", &format!("{group} from {before:?}"), reason).await?;
    fleet
        .tag_group(&group, &call::taken_over(&state.act.owner()))
        .await
        .map_err(|error| Problem::unavailable(&error))?;
    state.hint.give();
    Ok(Json(json!({ "group": group, "owner": state.act.owner(), "before": before })))
}

/// Makes a foreign shadow ours: from now on it may be re-attached and terminated.
#[utoipa::path(post, path = "/shadow/sessions/{instance}/adopt", params(("instance" = String, Path)), request_body = Reason,
    responses((status = 200, description = "adopted", body = ShadowSession), (status = 400, description = "a field is wrong", body = Problem), (status = 409, description = "not possible as it stands", body = Problem)))]
pub async fn adopt(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<ShadowSession>, Problem> {
    let (instance, why) = lease(&state, &caller, "adopt_shadow", &name, &body).await?;
    if let Some(session) = state.sessions.open_of(&instance).await.filter(|session| session.origin == Origin::Foreign) {
        let snapshot = state.timeline.group(&session.group);
        let member = snapshot.iter().flat_map(|it| &it.members).find(|member| member.instance == instance);
        if let Some(word) = member.and_then(|member| member.out_of_service).filter(|word| *word != STANDBY) {
            let why = format!("{instance} is {word}: its provider ends it or has it ended, and nothing of ours could");
            return Err(Problem::new(StatusCode::CONFLICT, why));
        }
        let source = snapshot.and_then(|snapshot| snapshot.source);
        let marked = state.act.mark_adopted(&session, source).await;
        marked.map_err(|why| Problem::new(StatusCode::CONFLICT, why))?;
    }
    followed(&state, state.sessions.adopt(&instance, &why).await).await
}

/// Instances that carry a lease which is over and that no plan will ever end: another installation's, or of a group that is no more.
#[utoipa::path(get, path = "/shadow/stranded", responses((status = 200, description = "found", body = Vec<Stranded>)))]
pub async fn stranded(State(state): State<ApiState>, asked: Asked) -> Result<Json<Vec<Stranded>>, Problem> {
    asked.only(&[])?;
    Ok(Json(state.act.stranded()))
}

/// Into which group, and why.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TakeWanted {
    group: String,
    reason: String,
}

/// Makes a stranded shadow ours, of a group that is there: what becomes of it is for that group's plan. Only this call does.
#[utoipa::path(post, path = "/shadow/stranded/{instance}/take", params(("instance" = String, Path)), request_body = TakeWanted,
    responses((status = 200, description = "taken over", body = Value), (status = 400, description = "a field is wrong", body = Problem),
        (status = 404, description = "not known", body = Problem), (status = 409, description = "not possible as it stands", body = Problem)))]
pub async fn take_stranded(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let instance = Id::new("instance", &name).map_err(|error| wrong("instance", &error.to_string()))?;
    let wanted: TakeWanted = json_body(&body)?;
    let (group, reason) = (known_group(&state, &wanted.group)?, given(&wanted.reason)?);
    let found = state.act.stranded().into_iter().find(|stranded| stranded.instance == instance);
    let found = found.ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, format!("{instance} is not among the stranded: foreshadow shadow stranded"))
    })?;
    let source = state.timeline.group(&group).and_then(|snapshot| snapshot.source);
    let fleet = state.act.fleet(source);
    let fleet = fleet.ok_or_else(|| Problem::new(StatusCode::CONFLICT, "no source that can act has the group"))?;
    let detail = format!("{instance} of {:?} into {group}", found.owner);
    audited(&state, &caller, "take_stranded", &detail, reason).await?;
    let seconds = state.sessions.config().await.seconds(&group, None);
    let now = state.clock.now();
    let taken = state.act.take_stranded(&**fleet, &group, &instance, now.wall + i64::from(seconds)).await;
    taken.map_err(|why| Problem::new(StatusCode::CONFLICT, why))?;
    let one = std::slice::from_ref(&instance);
    state.sessions.mark_ours(one, &format!("{}: taken over: {reason}", caller.name)).await;
    state.timeline.orphan(&instance, &group, now.wall * 1_000_000);
    Ok(Json(json!({ "instance": instance, "group": group, "before": found.owner })))
}

/// Extends the lease of a shadow of ours by its own length, up to its hard limit.
#[utoipa::path(post, path = "/shadow/sessions/{instance}/extend", params(("instance" = String, Path)), request_body = Reason,
    responses((status = 200, description = "extended", body = ShadowSession), (status = 400, description = "a field is wrong", body = Problem), (status = 409, description = "not possible as it stands", body = Problem)))]
pub async fn extend(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<ShadowSession>, Problem> {
    let (instance, why) = lease(&state, &caller, "extend_shadow", &name, &body).await?;
    followed(&state, state.sessions.extend(&instance, &why, state.clock.now()).await).await
}

/// Stops measuring a shadow; it is left running, and nothing here touches it any more.
#[utoipa::path(post, path = "/shadow/sessions/{instance}/release", params(("instance" = String, Path)), request_body = Reason,
    responses((status = 200, description = "released", body = ShadowSession), (status = 400, description = "a field is wrong", body = Problem), (status = 409, description = "not possible as it stands", body = Problem)))]
pub async fn release(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<ShadowSession>, Problem> {
    let (instance, why) = lease(&state, &caller, "release_shadow", &name, &body).await?;
    followed(&state, state.sessions.release(&instance, &why, state.clock.now()).await).await
}

async fn lease(
    state: &ApiState,
    caller: &Caller,
    action: &str,
    name: &str,
    body: &Bytes,
) -> Result<(Id, String), Problem> {
    let instance = Id::new("instance", name).map_err(|error| wrong("instance", &error.to_string()))?;
    let reason: Reason = json_body(body)?;
    let reason = given(&reason.reason)?;
    audited(state, caller, action, instance.as_str(), reason).await?;
    Ok((instance, format!("{}: {reason}", caller.name)))
}

/// The tags in the cloud follow what was said of a lease.
async fn followed(
    state: &ApiState,
    changed: Result<ShadowSession, ShadowError>,
) -> Result<Json<ShadowSession>, Problem> {
    let session = changed.map_err(|error| conflict(&error))?;
    let source = state.timeline.group(&session.group).and_then(|snapshot| snapshot.source);
    if session.origin == Origin::Ours {
        state.act.follow_lease(&session, source).await;
    }
    Ok(Json(session))
}

fn conflict(error: &ShadowError) -> Problem {
    match error {
        ShadowError::Session(error) => Problem::new(StatusCode::CONFLICT, error.to_string()),
        error => Problem::unavailable(error),
    }
}

/// The journal: what was done to the cloud, what is being done, what was refused. Newest first.
#[utoipa::path(get, path = "/intents", params(("group" = Option<String>, Query),
    ("from" = Option<String>, Query, description = "written then or later: RFC 3339, seconds since 1970 or like -6h; the oldest unless told"),
    ("to" = Option<String>, Query, description = "written then or before, likewise; the newest unless told"),
    ("limit" = Option<u32>, Query, description = "20 unless told, 500 at most")),
    responses((status = 200, description = "the newest of them", body = Value,
            headers(("x-total-count" = u64, description = "how many there are: more than the list holds where the limit left some off"))), (status = 400, description = "a parameter is wrong", body = Problem),
        (status = 404, description = "nothing of it, and the group is not known", body = Problem)))]
pub async fn intents(State(state): State<ApiState>, asked: Asked) -> Result<Response, Problem> {
    let asked = asked.only(&["group", "from", "to", "limit"])?;
    let (group, limit) = (asked.id("group")?, limit_of(&asked)?);
    let written = asked.between(state.clock.wall_seconds())?;
    let intents = state.act.intents();
    let lines = intents.between(group.as_ref(), written.clone(), limit).await;
    let lines = lines.map_err(|error| Problem::unavailable(&error))?;
    // What is written between the two is counted, and not told as left off.
    let count = intents.count(group.as_ref(), written).await.map_err(|error| Problem::unavailable(&error))?;
    let lines = found_of(&state, group.as_ref(), lines)?;
    let full = lines.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let total = if full { usize::try_from(count).unwrap_or(usize::MAX).max(lines.len()) } else { lines.len() };
    Ok(part_of(total, &lines))
}
