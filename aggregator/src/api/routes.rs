//! The one table of routes and roles. A request that no line of it fits does not exist.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tonic::Status;

use super::ApiState;
use super::influx;
use super::problem::{self, Problem};
use super::streams::{Shown, while_known};
use crate::identity::{Caller, Presented, Role};

/// A request is read and answered within this time: who sends a body a byte a minute is let go.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// One way to call the product.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub method: &'static str,
    /// `{name}` stands for one segment.
    pub path: &'static str,
    pub roles: Roles,
}

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roles {
    /// Anybody, without a token: only what a load balancer asks.
    Anybody,
    /// This role and those above it.
    From(Role),
    /// Agents only.
    Agents,
    /// Agents, operators and admins: whoever may bring samples in.
    Samples,
}

/// Every route there is.
pub const TABLE: &[Route] = &[
    // The page holds nothing: what it shows it asks for, with the token a person gives it.
    Route { method: "GET", path: "/", roles: Roles::Anybody },
    Route { method: "GET", path: "/web/{asset}", roles: Roles::Anybody },
    Route { method: "GET", path: "/healthz", roles: Roles::Anybody },
    Route { method: "GET", path: "/readyz", roles: Roles::Anybody },
    Route { method: "GET", path: "/metrics", roles: Roles::From(Role::Viewer) },
    Route { method: "GET", path: "/openapi.json", roles: Roles::From(Role::Viewer) },
    Route { method: "GET", path: "/whoami", roles: Roles::From(Role::Viewer) },
    Route { method: "GET", path: "/overview", roles: Roles::From(Role::Viewer) },
    Route { method: "GET", path: "/changes", roles: Roles::From(Role::Viewer) },
    Route { method: "GET", path: "/instances", roles: Roles::From(Role::Viewer) },
    // It changes the past, and with it every forecast.
    Route { method: "POST", path: "/instances/{instance}/retract", roles: Roles::From(Role::Admin) },
    Route { method: "GET", path: "/groups", roles: Roles::From(Role::Viewer) },
    Route { method: "GET", path: "/groups/{group}", roles: Roles::From(Role::Viewer) },
    Route { method: "GET", path: "/groups/{group}/minutes", roles: Roles::From(Role::Viewer) },
    Route { method: "GET", path: "/groups/{group}/course", roles: Roles::From(Role::Viewer) },
    Route { method: "GET", path: "/groups/{group}/models", roles: Roles::From(Role::Viewer) },
    // It costs a processor for a while.
    Route { method: "GET", path: "/groups/{group}/week", roles: Roles::From(Role::Operator) },
    Route { method: "GET", path: "/groups/{group}/history", roles: Roles::From(Role::Viewer) },
    // A past that is made up moves every forecast.
    Route { method: "POST", path: "/groups/{group}/history", roles: Roles::From(Role::Admin) },
    Route { method: "DELETE", path: "/groups/{group}/history", roles: Roles::From(Role::Admin) },
    Route { method: "POST", path: "/groups/{group}/mode", roles: Roles::From(Role::Admin) },
    Route { method: "POST", path: "/groups/{group}/pause", roles: Roles::From(Role::Operator) },
    Route { method: "POST", path: "/groups/{group}/resume", roles: Roles::From(Role::Admin) },
    Route { method: "POST", path: "/groups/{group}/owner", roles: Roles::From(Role::Admin) },
    Route { method: "GET", path: "/limits", roles: Roles::From(Role::Viewer) },
    // What the configuration file loosens takes effect by these alone.
    Route { method: "POST", path: "/groups/{group}/below-last-week", roles: Roles::From(Role::Admin) },
    Route { method: "POST", path: "/limits", roles: Roles::From(Role::Admin) },
    Route { method: "POST", path: "/groups/{group}/limits", roles: Roles::From(Role::Admin) },
    Route { method: "POST", path: "/pause", roles: Roles::From(Role::Operator) },
    Route { method: "POST", path: "/resume", roles: Roles::From(Role::Admin) },
    Route { method: "GET", path: "/intents", roles: Roles::From(Role::Viewer) },
    Route { method: "GET", path: "/plans", roles: Roles::From(Role::Viewer) },
    Route { method: "GET", path: "/plans/{generation}", roles: Roles::From(Role::Viewer) },
    Route { method: "GET", path: "/decisions", roles: Roles::From(Role::Viewer) },
    Route { method: "GET", path: "/decisions/{generation}", roles: Roles::From(Role::Viewer) },
    Route { method: "GET", path: "/predict/capacity", roles: Roles::From(Role::Viewer) },
    Route { method: "GET", path: "/events", roles: Roles::From(Role::Viewer) },
    // An event only ever asks for more machines, and the group's maximum bounds it.
    Route { method: "POST", path: "/events", roles: Roles::From(Role::Operator) },
    // It reads a file for whoever enters events, and enters none.
    Route { method: "POST", path: "/calendar", roles: Roles::From(Role::Operator) },
    Route { method: "GET", path: "/events/{id}", roles: Roles::From(Role::Viewer) },
    Route { method: "DELETE", path: "/events/{id}", roles: Roles::From(Role::Operator) },
    Route { method: "GET", path: "/shadow/config", roles: Roles::From(Role::Viewer) },
    // Loosening needs an admin; the handler checks that, since the body decides.
    Route { method: "PUT", path: "/shadow/config", roles: Roles::From(Role::Operator) },
    Route { method: "GET", path: "/shadow/metrics", roles: Roles::From(Role::Viewer) },
    Route { method: "POST", path: "/shadow/metrics", roles: Roles::Samples },
    Route { method: "POST", path: "/api/v1/write", roles: Roles::Samples },
    Route { method: "POST", path: "/v1/metrics", roles: Roles::Samples },
    Route { method: "POST", path: "/write", roles: Roles::Samples },
    Route { method: "POST", path: "/api/v2/write", roles: Roles::Samples },
    // What clients of InfluxDB ask before they write: it says that somebody is here.
    Route { method: "GET", path: "/ping", roles: Roles::Anybody },
    Route { method: "POST", path: "/shadow/detached", roles: Roles::From(Role::Operator) },
    Route { method: "GET", path: "/shadow/sessions", roles: Roles::From(Role::Viewer) },
    Route { method: "GET", path: "/shadow/stranded", roles: Roles::From(Role::Viewer) },
    Route { method: "POST", path: "/shadow/stranded/{instance}/take", roles: Roles::From(Role::Admin) },
    Route { method: "POST", path: "/shadow/sessions/{instance}/adopt", roles: Roles::From(Role::Admin) },
    Route { method: "POST", path: "/shadow/sessions/{instance}/extend", roles: Roles::From(Role::Operator) },
    Route { method: "POST", path: "/shadow/sessions/{instance}/release", roles: Roles::From(Role::Operator) },
    Route { method: "GET", path: "/audit", roles: Roles::From(Role::Operator) },
    Route { method: "GET", path: "/authority", roles: Roles::From(Role::Viewer) },
    Route { method: "GET", path: "/certificates", roles: Roles::From(Role::Operator) },
    // Taking an agent out is the red button of identity; letting one in is an admin's.
    Route { method: "POST", path: "/certificates/{instance}/revoke", roles: Roles::From(Role::Operator) },
    Route { method: "POST", path: "/certificates/{instance}/release", roles: Roles::From(Role::Admin) },
    Route { method: "GET", path: "/tokens", roles: Roles::From(Role::Admin) },
    Route { method: "POST", path: "/tokens", roles: Roles::From(Role::Admin) },
    Route { method: "POST", path: "/tokens/join", roles: Roles::From(Role::Admin) },
    Route { method: "DELETE", path: "/tokens/{token}", roles: Roles::From(Role::Admin) },
    Route { method: "POST", path: "/foreshadow.v1.Agent/Stream", roles: Roles::Agents },
    // The join token in it, or the key that signed it, decides.
    Route { method: "POST", path: "/foreshadow.v1.Enrolment/Enrol", roles: Roles::Anybody },
    Route { method: "POST", path: "/foreshadow.v1.Predict/PredictCapacity", roles: Roles::From(Role::Viewer) },
    Route { method: "POST", path: "/foreshadow.v1.Predict/WatchForecast", roles: Roles::From(Role::Viewer) },
    Route { method: "POST", path: "/foreshadow.v1.Predict/ListGroups", roles: Roles::From(Role::Viewer) },
    Route {
        method: "POST",
        path: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        roles: Roles::Samples,
    },
    // KEDA sends no header: a viewer's token in the metadata of the trigger, or in the header, decides in the handler.
    Route { method: "POST", path: "/externalscaler.ExternalScaler/{method}", roles: Roles::Anybody },
    Route { method: "POST", path: "/grpc.health.v1.Health/{method}", roles: Roles::Anybody },
    Route { method: "POST", path: "/grpc.reflection.v1.ServerReflection/{method}", roles: Roles::From(Role::Viewer) },
    Route {
        method: "POST",
        path: "/grpc.reflection.v1alpha.ServerReflection/{method}",
        roles: Roles::From(Role::Viewer),
    },
];

impl Roles {
    /// Whether a caller may.
    pub fn allow(self, caller: &Caller) -> bool {
        caller.open
            || match self {
                Self::Anybody => true,
                Self::From(role) => caller.role != Role::Agent && caller.role >= role,
                Self::Agents => caller.role == Role::Agent,
                Self::Samples => caller.role == Role::Agent || caller.role >= Role::Operator,
            }
    }

    /// Who may: `operator and admin`.
    fn in_words(self) -> String {
        let may = Role::ALL.into_iter().filter(|role| self.allow(&Caller::named("", *role)));
        let may: Vec<&str> = may.map(Role::as_str).collect();
        may.join(" and ")
    }
}

/// Whether a caller may GET this path of the table.
pub(super) fn may_read(caller: &Caller, path: &str) -> bool {
    TABLE.iter().any(|route| route.method == "GET" && route.path == path && route.roles.allow(caller))
}

fn fits(template: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(want), Some(have)) if want == have || (want.starts_with('{') && !have.is_empty()) => {}
            _ => return false,
        }
    }
}

/// The middleware: finds the route, then the caller, then lets pass or refuses.
pub(super) async fn check(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let is_grpc = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    let here: Vec<&Route> = TABLE.iter().filter(|route| fits(route.path, &path)).collect();
    if here.is_empty() {
        return refuse(is_grpc, &Problem::not_found(&path));
    }
    let method = if request.method() == Method::HEAD { "GET" } else { request.method().as_str() };
    let Some(route) = here.iter().find(|route| route.method == method) else {
        let allowed: Vec<&str> = here.iter().map(|route| route.method).collect();
        let mut refused =
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not known here")).into_response();
        if let Ok(value) = HeaderValue::from_str(&allowed.join(", ")) {
            refused.headers_mut().insert(header::ALLOW, value);
        }
        return refused;
    };
    let authorization = request.headers().get(header::AUTHORIZATION);
    let authorization = authorization.map(|value| value.to_str().unwrap_or_default().to_owned());
    let authorization =
        if influx::WRITES.contains(&path.as_str()) { authorization.map(influx::bearer) } else { authorization };
    let presented = request.extensions().get::<Presented>().copied().unwrap_or_default();
    let shown = Shown { presented, authorization };
    match shown.caller(&state).await {
        Ok(caller) if route.roles.allow(&caller) => {
            request.extensions_mut().insert(caller.clone());
            // What streams goes on for as long as both sides do; pushing has a deadline of its own.
            if is_grpc || path == "/shadow/metrics" {
                return while_known(next.run(request).await, caller, shown, state, is_grpc);
            }
            match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
                Ok(response) => while_known(problem::of_extractor(response).await, caller, shown, state, is_grpc),
                Err(_) => Problem::new(StatusCode::REQUEST_TIMEOUT, "the request did not come to its end in time")
                    .into_response(),
            }
        }
        _ if route.roles == Roles::Anybody => next.run(request).await,
        Ok(caller) => {
            let (role, who) = (caller.role, route.roles.in_words());
            let detail = format!("the role {role} may not call {method} {}: {who} may", route.path);
            refuse(is_grpc, &Problem::new(StatusCode::FORBIDDEN, detail))
        }
        Err(why) => refuse(is_grpc, &Problem::new(StatusCode::UNAUTHORIZED, why)),
    }
}

fn refuse(is_grpc: bool, problem: &Problem) -> Response {
    if !is_grpc {
        return problem.clone().into_response();
    }
    let status = match problem.status() {
        StatusCode::UNAUTHORIZED => Status::unauthenticated(problem.detail()),
        StatusCode::FORBIDDEN => Status::permission_denied(problem.detail()),
        _ => Status::unimplemented(problem.detail()),
    };
    status.into_http::<Body>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_fit_whole_segments_only() {
        assert!(fits("/groups/{group}", "/groups/web"));
        for path in ["/groups/", "/groups", "/groups/web/", "/groups/web/x", "//groups/web", "/groups/../web"] {
            assert!(!fits("/groups/{group}", path) || path == "/groups/web", "{path}");
        }
        assert!(fits("/", "/"));
    }

    #[test]
    fn roles_are_ordered_and_agents_stand_apart() {
        let caller = |role| Caller::named("x", role);
        let may = |roles: Roles| Role::ALL.map(|role| roles.allow(&caller(role)));
        assert_eq!(may(Roles::From(Role::Viewer)), [false, true, true, true]);
        assert_eq!(may(Roles::From(Role::Admin)), [false, false, false, true]);
        assert_eq!(may(Roles::Agents), [true, false, false, false]);
        assert_eq!(may(Roles::Samples), [true, false, true, true]);
        assert_eq!(Roles::From(Role::Operator).in_words(), "operator and admin");
    }
}
