//! Who may call and who may speak as an instance: tokens and certificates, made, listed and ended. Every change is in
//! the audit log before it takes effect, but for a revocation: that works first and is written down then.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use foreshadow_proto::convert::Id;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ApiState;
use super::ask::{Asked, wrong};
use super::problem::Problem;
use super::rest::json_body;
use super::steer::{Reason, audited, given};
use crate::identity::{Caller, Enrolled, Kind, Role, TokenEntry, Wanted};

/// Hours a join token is good for, at most and unless told: a quarter of a year, a day.
const JOIN_HOURS: (u32, u32) = (2_160, 24);
/// Hours a caller's token is good for at most: ten years.
const BEARER_HOURS: u32 = 87_600;
/// Agents that one join token lets in, at most.
const MOST_USES: u32 = 100_000;
const NAME_BYTES: usize = 100;

/// A token that a caller will bring.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Whose it is; shown in the audit log.
    name: String,
    role: Role,
    /// Without it the token is good until it is revoked.
    #[serde(default)]
    expires_hours: Option<u32>,
}

/// A token that lets agents in.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewJoinToken {
    /// What it is for; shown in the list.
    name: String,
    /// Agents it lets in; 1 unless told.
    #[serde(default)]
    uses: Option<u32>,
    /// 24 unless told.
    #[serde(default)]
    expires_hours: Option<u32>,
    /// Only instances that the inventory knows as members of this group.
    #[serde(default)]
    group: Option<String>,
}

/// A new token, told once.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MadeToken {
    #[serde(flatten)]
    entry: TokenEntry,
    token: String,
}

/// Makes a token for a caller. It is in this answer and nowhere else.
#[utoipa::path(post, path = "/tokens", request_body = NewToken, responses((status = 201, description = "made", body = MadeToken),
    (status = 400, description = "a field is wrong", body = Problem)))]
pub async fn create_token(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Response, Problem> {
    let new: NewToken = json_body(&body)?;
    let expires =
        new.expires_hours.map(|hours| hours_from("expires_hours", hours, BEARER_HOURS, &state)).transpose()?;
    let (name, role) = (named(&new.name)?, new.role);
    let wanted = Wanted { kind: Kind::Bearer, name, role, expires_micros: expires, uses: None, group: None };
    make(&state, &caller, wanted).await
}

/// Makes a join token. It is in this answer and nowhere else.
#[utoipa::path(post, path = "/tokens/join", request_body = NewJoinToken, responses((status = 201, description = "made", body = MadeToken),
    (status = 400, description = "a field is wrong", body = Problem)))]
pub async fn create_join_token(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Response, Problem> {
    let new: NewJoinToken = json_body(&body)?;
    let expires = hours_from("expires_hours", new.expires_hours.unwrap_or(JOIN_HOURS.1), JOIN_HOURS.0, &state)?;
    let uses = new.uses.unwrap_or(1);
    if !(1..=MOST_USES).contains(&uses) {
        return Err(wrong("uses", &format!("must be 1 to {MOST_USES}")));
    }
    let group = new.group.map(|group| Id::new("group", &group)).transpose();
    let wanted = Wanted {
        kind: Kind::Join,
        name: named(&new.name)?,
        role: Role::Agent,
        expires_micros: Some(expires),
        uses: Some(i64::from(uses)),
        group: group.map_err(|error| wrong("group", &error.to_string()))?,
    };
    make(&state, &caller, wanted).await
}

async fn make(state: &ApiState, caller: &Caller, wanted: Wanted) -> Result<Response, Problem> {
    let action = if wanted.kind == Kind::Join { "create_join_token" } else { "create_token" };
    let detail = json!({ "name": wanted.name, "role": wanted.role, "uses": wanted.uses, "group": wanted.group,
        "expires_micros": wanted.expires_micros });
    audited(state, caller, action, &detail.to_string(), "").await?;
    let made =
        state.callers.managed().create(wanted, &caller.name, crate::supervise::random(), state.clock.wall_micros());
    let (entry, token) = made.await.map_err(|error| Problem::unavailable(&error))?;
    // No cache on the way keeps it.
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, headers, Json(MadeToken { entry, token })).into_response())
}

fn named(name: &str) -> Result<String, Problem> {
    let name = name.trim();
    let good = !name.is_empty() && name.len() <= NAME_BYTES && !name.chars().any(char::is_control);
    if good {
        Ok(name.to_owned())
    } else {
        Err(wrong("name", &format!("must be 1 to {NAME_BYTES} printable characters")))
    }
}

fn hours_from(field: &str, hours: u32, most: u32, state: &ApiState) -> Result<i64, Problem> {
    if (1..=most).contains(&hours) {
        Ok(state.clock.wall_micros() + i64::from(hours) * 3_600_000_000)
    } else {
        Err(wrong(field, &format!("must be 1 to {most}")))
    }
}

/// Every managed token, without itself. Those of the token file are not managed and not listed.
#[utoipa::path(get, path = "/tokens", responses((status = 200, description = "found", body = Vec<TokenEntry>)))]
pub async fn tokens(State(state): State<ApiState>, asked: Asked) -> Result<Json<Vec<TokenEntry>>, Problem> {
    asked.only(&[])?;
    Ok(Json(state.callers.managed().list()))
}

/// Ends a token at once.
#[utoipa::path(delete, path = "/tokens/{token}", params(("token" = String, Path, description = "its id"), ("reason" = String, Query, description = "why")),
    responses((status = 200, description = "revoked", body = TokenEntry), (status = 400, description = "a parameter is wrong", body = Problem),
        (status = 404, description = "no such token, or it is over already", body = Problem)))]
pub async fn revoke_token(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    asked: Asked,
) -> Result<Json<TokenEntry>, Problem> {
    let asked = asked.only(&["reason"])?;
    let reason = given(asked.text("reason").unwrap_or_default())?;
    let revoked = state.callers.managed().revoke(&id, state.clock.wall_micros()).await;
    let revoked = revoked.map_err(|error| Problem::unavailable(&error))?;
    let entry = revoked.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "no such token, or it is over already"))?;
    audited(&state, &caller, "revoke_token", &format!("{} {}", entry.id, entry.name), reason).await?;
    tracing::warn!(token = entry.id, name = entry.name, by = caller.name, reason, "token revoked");
    Ok(Json(entry))
}

/// Which instances have certificates, and until when.
#[utoipa::path(get, path = "/certificates", responses((status = 200, description = "found", body = Vec<Enrolled>)))]
pub async fn certificates(State(state): State<ApiState>, asked: Asked) -> Result<Json<Vec<Enrolled>>, Problem> {
    asked.only(&[])?;
    Ok(Json(state.callers.enrolments().list()))
}

/// Revokes an instance's certificates at once, ends its stream, and gives it no other until its id is released.
#[utoipa::path(post, path = "/certificates/{instance}/revoke", params(("instance" = String, Path)), request_body = Reason,
    responses((status = 200, description = "revoked", body = Value), (status = 400, description = "a field is wrong", body = Problem),
        (status = 404, description = "it has no certificate", body = Problem)))]
pub async fn revoke_certificates(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let instance = Id::new("instance", &name).map_err(|error| wrong("instance", &error.to_string()))?;
    let reason: Reason = json_body(&body)?;
    let reason = given(&reason.reason)?;
    let found = state.callers.enrolments().revoke(&instance, state.clock.wall_micros()).await;
    if !found.map_err(|error| Problem::unavailable(&error))? {
        return Err(unknown(&instance));
    }
    let ended = state.ingest.end_stream(&instance);
    audited(&state, &caller, "revoke_certificates", instance.as_str(), reason).await?;
    tracing::warn!(%instance, by = caller.name, reason, stream_ended = ended, "certificates revoked");
    Ok(Json(json!({ "instance": instance, "revoked": true, "stream_ended": ended })))
}

/// Frees an instance's id: who comes next with a join token has it.
#[utoipa::path(post, path = "/certificates/{instance}/release", params(("instance" = String, Path)), request_body = Reason,
    responses((status = 200, description = "released", body = Value), (status = 400, description = "a field is wrong", body = Problem),
        (status = 404, description = "it has no certificate", body = Problem)))]
pub async fn release_certificates(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let instance = Id::new("instance", &name).map_err(|error| wrong("instance", &error.to_string()))?;
    let reason: Reason = json_body(&body)?;
    let reason = given(&reason.reason)?;
    if !state.callers.enrolments().is_enrolled(&instance) {
        return Err(unknown(&instance));
    }
    audited(&state, &caller, "release_certificates", instance.as_str(), reason).await?;
    let found = state.callers.enrolments().release(&instance).await;
    found.map_err(|error| Problem::unavailable(&error))?;
    let ended = state.ingest.end_stream(&instance);
    tracing::warn!(%instance, by = caller.name, reason, "instance id released");
    Ok(Json(json!({ "instance": instance, "released": true, "stream_ended": ended })))
}

fn unknown(instance: &Id) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("{instance} has no certificate"))
        .field("instance", "has no certificate")
}

/// The certificate of the authority that signs agents' certificates, PEM.
#[utoipa::path(get, path = "/authority", responses((status = 200, description = "PEM", body = String),
    (status = 404, description = "without TLS there is none", body = Problem)))]
pub async fn authority(State(state): State<ApiState>, asked: Asked) -> Result<Response, Problem> {
    asked.only(&[])?;
    let none =
        || Problem::new(StatusCode::NOT_FOUND, "there is no authority: certificates need TLS (listen.certificate)");
    let pem = state.enrol.authority().ok_or_else(none)?.to_owned();
    Ok(([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response())
}
