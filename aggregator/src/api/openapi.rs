//! `/openapi.json`, made from the handlers themselves.

use axum::Json;
use axum::http::StatusCode;
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::problem::Problem;
use super::routes::{Roles, TABLE};
use super::{
    behind, events, history, identity, influx, otlp, overview, push, remote, rest, retract, steer, watch, week,
};

const JSON: &str = "application/json";
/// As [`Problem`] is sent.
const PROBLEM: &str = "application/problem+json";
const EVENTS: &str = "text/event-stream";
const PROTOBUF: &str = "application/x-protobuf";
const PROBLEM_SCHEMA: &str = "#/components/schemas/Problem";

/// Routes that look at nothing of what they are asked: no parameter of theirs can be wrong.
const TAKES_NOTHING: [&str; 5] = ["/healthz", "/readyz", "/metrics", "/openapi.json", "/ping"];
/// Routes that read a body as it comes. How much is too much they say in their own way.
const READS_AS_IT_COMES: [&str; 5] = ["/shadow/metrics", "/api/v1/write", "/v1/metrics", "/write", "/api/v2/write"];
/// Routes that answer from memory: no disk can keep them from it.
const FROM_MEMORY: [(&str, &str); 20] = [
    ("GET", "/healthz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/ping"),
    ("GET", "/whoami"),
    ("GET", "/overview"),
    ("GET", "/changes"),
    ("GET", "/instances"),
    ("GET", "/groups"),
    ("GET", "/groups/{group}"),
    ("GET", "/predict/capacity"),
    ("GET", "/limits"),
    ("GET", "/shadow/config"),
    ("GET", "/shadow/sessions"),
    ("GET", "/shadow/stranded"),
    ("POST", "/shadow/detached"),
    ("GET", "/authority"),
    ("GET", "/certificates"),
    ("GET", "/tokens"),
    ("POST", "/calendar"),
];

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
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "OpenAPI 3.1"),
    (status = 500, description = "it cannot be written", body = Problem)))]
pub async fn document() -> Result<Json<Value>, Problem> {
    told().map(Json).map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// What a route may answer beside what it says itself, from who may call it and what it reads: every status there is, each a problem of
/// RFC 9457. Another than these and its own is a fault of ours.
fn refusals(method: &str, path: &str, roles: Roles, has_body: bool) -> Vec<(u16, &'static str)> {
    let known_alone = roles != Roles::Anybody;
    let all = [
        (400, "a parameter is not known, or something that was given is wrong", !TAKES_NOTHING.contains(&path)),
        (401, "a token is needed, and a valid one", known_alone),
        (403, "the role may not", known_alone),
        (408, "it was not asked to its end within a minute", known_alone && path != "/shadow/metrics"),
        (413, "the body is too large", has_body && !READS_AS_IT_COMES.contains(&path)),
        (503, "the disk does not do what it must: again after Retry-After", !FROM_MEMORY.contains(&(method, path))),
    ];
    all.into_iter().filter_map(|(status, says, may)| may.then_some((status, says))).collect()
}

/// The document with what holds for every route.
fn told() -> Result<Value, serde_json::Error> {
    let mut document = serde_json::to_value(Document::openapi())?;
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    let operations = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object_mut().into_iter().flatten();
        methods.map(move |(method, operation)| (method.to_uppercase(), path, operation))
    });
    for (method, path, operation) in operations {
        // Bytes, where the macro writes a list of numbers.
        if let Some(bytes) = operation.pointer_mut("/requestBody/content").and_then(|content| content.get_mut(PROTOBUF))
        {
            *bytes = json!({ "schema": { "type": "string", "format": "binary" } });
        }
        let has_body = operation.get("requestBody").is_some();
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
        let Some(route) = TABLE.iter().find(|route| route.method == method && route.path == path) else { continue };
        for (status, says) in refusals(&method, path, route.roles, has_body) {
            let problem = json!({ "schema": { "$ref": PROBLEM_SCHEMA } });
            let refusal = json!({ "description": says, "content": { PROBLEM: problem } });
            responses.entry(status.to_string()).or_insert(refusal);
        }
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

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

    #[test]
    fn every_status_is_named_and_no_other_is_let_pass() {
        let document = told().expect("JSON");
        let statuses = |method: &str, path: &str| -> Vec<String> {
            let responses = document["paths"][path][method]["responses"].as_object().expect("responses");
            responses.keys().cloned().collect()
        };
        assert_eq!(statuses("get", "/healthz"), ["200"]);
        assert_eq!(statuses("get", "/whoami"), ["200", "400", "401", "403", "408"]);
        assert_eq!(statuses("get", "/plans"), ["200", "400", "401", "403", "404", "408", "503"]);
        assert_eq!(
            statuses("post", "/groups/{group}/mode"),
            ["200", "400", "401", "403", "404", "408", "409", "413", "503"]
        );
        assert_eq!(statuses("get", "/shadow/metrics"), ["200", "400", "401", "403", "503"], "it streams");
        for route in TABLE.iter().filter(|route| document["paths"][route.path].is_object()) {
            let found = statuses(&route.method.to_lowercase(), route.path);
            assert!(!found.iter().any(|status| status == "default"), "{} {}", route.method, route.path);
        }
        for (method, path) in FROM_MEMORY {
            let operation = &document["paths"][path][method.to_lowercase()];
            assert!(operation.is_object(), "{method} {path} is no route any more");
        }
    }
}
