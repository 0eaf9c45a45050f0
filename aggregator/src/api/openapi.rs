//! `/openapi.json`, made from the handlers themselves.

use axum::Json;
use axum::http::StatusCode;
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::problem::Problem;
use super::{
    behind, events, history, identity, influx, otlp, overview, push, remote, rest, retract, steer, watch, week,
};

const JSON: &str = "application/json";
/// As [`Problem`] is sent.
const PROBLEM: &str = "application/problem+json";
const EVENTS: &str = "text/event-stream";
const PROTOBUF: &str = "application/x-protobuf";
const PROBLEM_SCHEMA: &str = "#/components/schemas/Problem";

/// The document of the REST routes.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Foreshadow",
        description = "Predictive autoscaling: capacity, shadows, plans. Callers send a bearer \
        token; its role (viewer, operator, admin, agent) decides what it may call."
    ),
    paths(
        rest::healthz,
        rest::readyz,
        rest::metrics,
        overview::whoami,
        overview::overview,
        overview::changes,
        behind::instances,
        behind::course,
        behind::models,
        week::week,
        rest::groups,
        rest::group,
        rest::minutes,
        history::imported,
        history::import,
        history::remove,
        rest::plans,
        rest::plan,
        rest::decisions,
        rest::decision,
        rest::predict_capacity,
        events::events,
        events::event,
        events::enter,
        events::delete,
        events::calendar,
        rest::shadow_config,
        rest::put_shadow_config,
        rest::detached,
        rest::shadow_sessions,
        rest::audit,
        retract::retract,
        identity::authority,
        identity::certificates,
        identity::revoke_certificates,
        identity::release_certificates,
        identity::tokens,
        identity::create_token,
        identity::create_join_token,
        identity::revoke_token,
        steer::mode,
        steer::pause,
        steer::resume,
        steer::below_last_week,
        steer::owner,
        steer::limits,
        steer::accept_all_limits,
        steer::accept_limits,
        steer::pause_all,
        steer::resume_all,
        steer::intents,
        steer::stranded,
        steer::take_stranded,
        steer::adopt,
        steer::extend,
        steer::release,
        watch::shadow_metrics,
        push::push_metrics,
        remote::write,
        otlp::by_http,
        influx::write_v1,
        influx::write_v2,
        influx::ping,
        document,
    )
)]
struct Document;

/// This document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "OpenAPI 3.1")))]
pub async fn document() -> Result<Json<Value>, Problem> {
    told().map(Json).map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// The document with what holds for every route: whatever else is answered is a problem of RFC 9457.
fn told() -> Result<Value, serde_json::Error> {
    let mut document = serde_json::to_value(Document::openapi())?;
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for operation in paths.flat_map(|(_, methods)| methods.as_object_mut().into_iter().flatten().map(|(_, it)| it)) {
        // Bytes, where the macro writes a list of numbers.
        if let Some(bytes) = operation.pointer_mut("/requestBody/content").and_then(|content| content.get_mut(PROTOBUF))
        {
            *bytes = json!({ "schema": { "type": "string", "format": "binary" } });
        }
        let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { continue };
        for content in responses.iter_mut().filter_map(|(_, response)| response.get_mut("content")?.as_object_mut()) {
            if content.get(JSON).is_some_and(|json| json["schema"]["$ref"] == PROBLEM_SCHEMA)
                && let Some(problem) = content.remove(JSON)
            {
                content.insert(PROBLEM.to_owned(), problem);
            }
            // What stands there is the schema of an event's data, and OpenAPI 3.1 would read it as that of the event.
            content.get_mut(EVENTS).and_then(Value::as_object_mut).and_then(|events| events.remove("schema"));
        }
        let problem = json!({ "schema": { "$ref": PROBLEM_SCHEMA } });
        let other = json!({ "description": "not answered, and why", "content": { PROBLEM: problem } });
        responses.entry("default").or_insert(other);
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::routes::TABLE;

    #[test]
    fn document_and_table_name_the_same_routes() {
        let document = told().expect("JSON");
        let paths = document["paths"].as_object().expect("paths");
        let documented: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().into_iter().flatten().map(|(method, _)| (method.to_uppercase(), path.clone()))
            })
            .collect();
        let table = TABLE.iter().filter(|route| !route.path.contains('.') || route.path == "/openapi.json");
        let table = table.filter(|route| !["/", "/web/{asset}"].contains(&route.path));
        let tabled: BTreeSet<_> = table.map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
        assert_eq!(documented, tabled);
    }
}
