//! Taking back samples of an instance that lied.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use foreshadow_proto::convert::Id;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiState;
use super::ask::wrong;
use super::problem::Problem;
use super::rest::json_body;
use super::steer::{audited, given};
use crate::clock::read_time;
use crate::identity::Caller;
use crate::store::Retraction;

/// Which samples, and why.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Retracting {
    /// RFC 3339, whole seconds since 1970, or like `-6h`: from then on.
    from: String,
    /// The same: before then. Now at the latest; what an instance may not say at all is a matter of its certificate.
    to: String,
    reason: String,
}

/// Samples of an instance count no more: they are in no answer from now on, whether they are stored already or come
/// later, and the minutes that they had a part in are made anew.
#[utoipa::path(post, path = "/instances/{instance}/retract", params(("instance" = String, Path)), request_body = Retracting,
    responses((status = 200, description = "retracted; `new` is false when it was told before", body = Value),
        (status = 400, description = "a field is wrong", body = Problem),
        (status = 404, description = "nothing is known of the instance", body = Problem)))]
pub async fn retract(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let instance = Id::new("instance", &name).map_err(|error| wrong("instance", &error.to_string()))?;
    let wanted: Retracting = json_body(&body)?;
    let reason = given(&wanted.reason)?;
    let now = state.clock.wall_seconds();
    let time = |field: &'static str, text: &str| read_time(text, now).map_err(|problem| wrong(field, &problem));
    let (from, to) = (time("from", &wanted.from)?, time("to", &wanted.to)?);
    if to > now {
        return Err(wrong(
            "to",
            "must not be ahead of now: what comes from now on is ended by revoking the certificate",
        ));
    }
    if from >= to {
        return Err(wrong("from", "must be before to"));
    }
    let unreadable = |error: crate::store::StoreError| Problem::unavailable(&error);
    let micros = |seconds: i64| seconds.saturating_mul(1_000_000);
    let stored = state.store.samples(&instance, micros(from), micros(to)).await.map_err(unreadable)?.len();
    if stored == 0 && state.timeline.placement_at(&instance, micros(to)).is_none() {
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("nothing is known of {instance} in that time"))
            .field("instance", "is not known"));
    }
    let detail = format!("{instance} from {from} to {to}, {stored} samples");
    audited(&state, &caller, "retract_samples", &detail, reason).await?;
    let retraction = Retraction {
        instance: instance.clone(),
        from_micros: micros(from),
        to_micros: micros(to),
        at_micros: state.clock.wall_micros(),
        reason: reason.to_owned(),
    };
    let new = state.store.retract(&retraction).await.map_err(unreadable)?;
    tracing::warn!(%instance, from, to, samples = stored, by = caller.name, reason, "samples retracted");
    Ok(Json(json!({ "instance": instance, "from": from, "to": to, "samples": stored, "new": new })))
}
