//! Strangers' clients: by gRPC reflection, health and the services they find, by REST whatever the document allows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow_tests::process::{Aggregator, Process, agent, eventually, tool};
use foreshadow_tests::tokens::Tokens;
use foreshadow_tests::web;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::Command;

use super::history::steady;

#[tokio::test]
async fn a_stranger_finds_and_asks_every_service() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let address = format!("127.0.0.1:{}", aggregator.port);
    let grpcurl = async |arguments: &[&str], rest: &[&str]| {
        let mut command = Command::new(tool("grpcurl")?);
        let output = command.arg("-plaintext").args(arguments).arg(&address).args(rest).output().await?;
        ensure!(output.status.success(), "{rest:?}: {}", String::from_utf8_lossy(&output.stderr));
        anyhow::Ok(String::from_utf8(output.stdout)?)
    };
    let services = grpcurl(&[], &["list"]).await?;
    for service in [
        "foreshadow.v1.Agent",
        "foreshadow.v1.Predict",
        "externalscaler.ExternalScaler",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ] {
        // This grpcurl asks by v1alpha; which revisions there are, the routes say.
        let known = services.lines().any(|line| line == service) || service.contains("reflection");
        assert!(known, "{service} in\n{services}");
    }
    for revision in ["v1", "v1alpha"] {
        let url = format!("{}/grpc.reflection.{revision}.ServerReflection/ServerReflectionInfo", aggregator.url);
        let answer = web::request(http::Method::POST, &url, &[("content-type", "application/grpc")], "").await?;
        let status = answer.headers.get("grpc-status").and_then(|status| status.to_str().ok()).unwrap_or("0");
        assert_ne!(status, "12", "reflection {revision} is not served");
    }
    let described = grpcurl(&[], &["describe", "foreshadow.v1.Predict"]).await?;
    for method in ["PredictCapacity", "WatchForecast", "ListGroups"] {
        assert!(described.contains(method), "{method} in\n{described}");
    }
    assert_eq!(grpcurl(&[], &["foreshadow.v1.Predict/ListGroups"]).await?.trim(), "{\n  \n}");
    Ok(())
}

/// Every service that is served, and the server as a whole.
const SERVICES: [&str; 9] = [
    "",
    "foreshadow.v1.Agent",
    "foreshadow.v1.Enrolment",
    "foreshadow.v1.Predict",
    "externalscaler.ExternalScaler",
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

#[tokio::test]
async fn the_health_of_every_service_is_told_and_watched_until_the_end() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let address = format!("127.0.0.1:{}", aggregator.port);
    // What the routes let in is all that is served.
    for route in foreshadow::api::routes::TABLE.iter().filter(|route| route.method == "POST") {
        let service = route.path.trim_start_matches('/').split('/').next().unwrap_or_default();
        assert!(!service.contains('.') || SERVICES.contains(&service), "whoever adds {service} tells its health");
    }
    let asks = |method: &str, service: &str| {
        let mut command = Command::new(tool("grpcurl")?);
        command.args(["-plaintext", "-d", &format!("{{\"service\": \"{service}\"}}"), &address]);
        command.arg(format!("grpc.health.v1.Health/{method}"));
        anyhow::Ok(command)
    };
    for service in SERVICES {
        let health = asks("Check", service)?.output().await?;
        let said = String::from_utf8_lossy(&health.stdout);
        assert!(health.status.success() && said.contains("\"status\": \"SERVING\""), "{service:?}: {health:?}");
    }
    for method in ["Check", "Watch"] {
        let unknown = asks(method, "foreshadow.v1.Nobody")?.output().await?;
        let said = String::from_utf8_lossy(&unknown.stderr);
        assert!(!unknown.status.success() && said.contains("Code: NotFound"), "{method}: {unknown:?}");
    }
    let mut watching = Vec::new();
    for service in SERVICES {
        watching.push((
            service,
            Process::start(&format!("watch-{}", watching.len()), asks("Watch", service)?, directory.path())?,
        ));
    }
    let statuses = |process: &Process| {
        let text = process.output();
        text.lines().filter_map(|line| line.trim().strip_prefix("\"status\": ").map(str::to_owned)).collect::<Vec<_>>()
    };
    for (service, process) in &watching {
        eventually(&format!("{service:?} is watched"), Duration::from_secs(60), async || {
            Ok((statuses(process) == ["\"SERVING\""]).then_some(()))
        })
        .await?;
    }
    // Told to end, it says so to whoever watches, and lets go of them.
    let mut serving = aggregator.process;
    kill_process(Pid::from_raw(serving.id()?.cast_signed()).context("a process")?, Signal::TERM)?;
    ensure!(serving.ended().await?.success());
    ensure!(!serving.output().contains("did not end in time"), "{}", serving.output());
    for (service, process) in &watching {
        eventually(&format!("{service:?} hears the end"), Duration::from_secs(60), async || {
            Ok((statuses(process) == ["\"SERVING\"", "\"NOT_SERVING\""]).then_some(()))
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_openapi_document_names_every_rest_route() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let document = web::get_json(&format!("{}/openapi.json", aggregator.url)).await?;
    for route in foreshadow::api::routes::TABLE {
        let grpc = ["/foreshadow.v1.", "/grpc.", "/externalscaler.", "/opentelemetry."];
        let rest = !grpc.iter().any(|grpc| route.path.starts_with(grpc));
        if rest && !["/", "/web/{asset}", "/openapi.json"].contains(&route.path) {
            let found = &document["paths"][route.path][route.method.to_lowercase()];
            assert!(found.is_object(), "{} {}", route.method, route.path);
        }
    }
    let file = directory.path().join("openapi.json");
    std::fs::write(&file, serde_json::to_vec(&document)?)?;
    // An independent reading of the OpenAPI specification.
    let output = Command::new(tool("openapi-spec-validator")?).arg(&file).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

/// What schemathesis takes a group, an instance and so on from, mostly: so that it asks for what is there.
const THERE: &str = "\
hooks = \"messages.py\"
# Streams that end when nobody listens any more.
[[operations]]
include-path = [\"/changes\", \"/shadow/metrics\"]
request-timeout = 1
[dictionaries]
groups.values = [\"web\"]
instances.values = [\"i-1\"]
generations.values = [1]
modes.values = [\"scale-out\", \"full\"]
reasons.values = [\"a test\"]
before.values = [\"-1h\", \"-1d\"]
after.values = [\"+10m\", \"+1h\"]
[parameters]
\"path.group\" = { dictionary = \"groups\", probability = 0.9 }
\"query.group\" = { dictionary = \"groups\", probability = 0.9 }
\"body.group\" = { dictionary = \"groups\", probability = 0.9 }
\"path.instance\" = { dictionary = \"instances\", probability = 0.9 }
\"query.instance\" = { dictionary = \"instances\", probability = 0.9 }
\"path.generation\" = { dictionary = \"generations\", probability = 0.9 }
\"query.from\" = { dictionary = \"before\", probability = 0.9 }
\"query.to\" = { dictionary = \"after\", probability = 0.9 }
\"query.at\" = { dictionary = \"after\", probability = 0.9 }
\"query.mode\" = { dictionary = \"modes\", probability = 0.9 }
\"body.mode\" = { dictionary = \"modes\", probability = 0.9 }
\"body.reason\" = { dictionary = \"reasons\", probability = 0.9 }
\"query.reason\" = { dictionary = \"reasons\", probability = 0.9 }
";

/// An aggregator with tokens and a group that has an agent and three days behind it.
struct Asked {
    directory: TempDir,
    tokens: Tokens,
    aggregator: Aggregator,
    _agent: Process,
}

impl Asked {
    async fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let (path, tokens) = (directory.path(), Tokens::make(directory.path()).await?);
        let inventory = path.join("inventory.toml");
        std::fs::write(&inventory, "[group.web]\nminimum = 1\nmaximum = 9\ninstances = [\"i-1\"]\n")?;
        let config = format!(
            "[identity]\ntokens = {:?}\n[inventory]\nfile = {inventory:?}\ninterval_seconds = 5\nwarm_up_seconds = 0\n\
             [remote_write]\nexporter = \"node\"\n[otlp]\nexporter = \"hostmetrics\"\n[line_protocol]\nexporter = \"telegraf\"\n",
            tokens.file
        );
        // The first run makes the database, the second finds a history in it.
        let first = Aggregator::start(path, &config).await?;
        ensure!(first.process.terminate().await?.success());
        steady(path, "web", 90.0, 3).await?;
        let aggregator = Aggregator::start(path, &config).await?;
        let token = tokens.write("agent")?.display().to_string();
        let agent = agent(path, &aggregator.url, "i-1", &["--token-file", &token])?;
        let asked = Self { directory, tokens, aggregator, _agent: agent };
        eventually("a forecast from its past", Duration::from_secs(120), async || {
            let models = asked.get("/groups/web/models").await?.json()?;
            Ok(models["cpu"]["standing"].is_object().then_some(()))
        })
        .await?;
        eventually("its first plan", Duration::from_secs(60), async || {
            Ok((asked.get("/plans/1?group=web").await?.status == 200).then_some(()))
        })
        .await?;
        std::fs::write(asked.file("openapi.json"), asked.get("/openapi.json").await?.body)?;
        std::fs::write(asked.file("schemathesis.toml"), THERE)?;
        std::fs::write(asked.file("messages.py"), include_str!("grpc/messages.py"))?;
        Ok(asked)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn get(&self, path: &str) -> anyhow::Result<web::Answer> {
        let bearer = format!("Bearer {}", self.tokens.of("viewer"));
        web::request(http::Method::GET, &self.aggregator.url_of(path), &[("authorization", &bearer)], "").await
    }

    /// Asks as a role, or as nobody, until so many examples or seconds; gives how often an operation had a status.
    async fn by(&self, role: &str, long: [&str; 2]) -> anyhow::Result<BTreeMap<(String, u16), u32>> {
        let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
        let mut command = Command::new(tool("schemathesis")?);
        command.current_dir(self.directory.path()).args(["run", "openapi.json", "--url", &self.aggregator.url]);
        command.args(["--seed", "1", "--checks", checks, "--no-color"]).args(long);
        if !self.tokens.of(role).is_empty() {
            command.args(["--header", &format!("Authorization: Bearer {}", self.tokens.of(role))]);
        }
        let answers = self.file("answers");
        drop(std::fs::remove_file(&answers));
        let output = command.output().await?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "as {role}: {said}\n{}", String::from_utf8_lossy(&output.stderr));
        let mut statuses = BTreeMap::new();
        for line in std::fs::read_to_string(answers)?.lines() {
            let (operation, status) = line.rsplit_once(' ').context("an operation and a status")?;
            *statuses.entry((operation.to_owned(), status.parse()?)).or_default() += 1;
        }
        Ok(statuses)
    }
}

/// Requests made up from the document, some as it wants them and most not, by everybody there is: each is answered as the document
/// says, by a status that it names for that route and in its form, and none by a fault of ours. `FORESHADOW_ASKED=300`: for so many
/// seconds.
#[tokio::test]
async fn whatever_is_asked_is_answered_as_the_openapi_document_says() -> anyhow::Result<()> {
    let asked = Asked::start().await?;
    let seconds: Option<u32> = std::env::var("FORESHADOW_ASKED").ok().map(|seconds| seconds.parse()).transpose()?;
    let each = seconds.map(|seconds| (seconds / 4).max(1).to_string());
    // An admin last: what it changes is changed for all.
    for (role, examples) in [("nobody", "1"), ("viewer", "8"), ("operator", "4"), ("admin", "8")] {
        let long = each.as_deref().map_or(["--max-examples", examples], |seconds| ["--max-time", seconds]);
        let statuses = asked.by(role, long).await?;
        let mut by_status: BTreeMap<u16, u32> = BTreeMap::new();
        for ((_, status), times) in &statuses {
            *by_status.entry(*status).or_default() += times;
        }
        println!("as {role}: {} requests, {by_status:?}", by_status.values().sum::<u32>());
        ensure!(by_status.values().sum::<u32>() > 500, "as {role}: {by_status:?}");
        let has = |status: u16| by_status.contains_key(&status);
        let (unknown, refused) = (role == "nobody", ["viewer", "operator"].contains(&role));
        assert_eq!((has(401), has(403)), (unknown, refused), "as {role}: {by_status:?}");
        // What is there was asked for, and shown to whom it may be.
        let shown = [
            "GET /overview",
            "GET /instances",
            "GET /groups/{group}",
            "GET /groups/{group}/minutes",
            "GET /groups/{group}/models",
            "GET /groups/{group}/history",
            "GET /plans/{generation}",
        ];
        for operation in shown {
            let times = statuses.get(&(operation.to_owned(), 200));
            ensure!(times.is_some() != unknown, "as {role}: {operation} {times:?}");
        }
        for (operation, taken) in [("POST /api/v1/write", 204), ("POST /v1/metrics", 200)] {
            let times = statuses.get(&(operation.to_owned(), taken));
            ensure!(times.is_some() == ["operator", "admin"].contains(&role), "as {role}: {operation} {times:?}");
        }
    }
    Ok(())
}

/// What the router refuses by itself has the form of every other refusal.
#[tokio::test]
async fn what_reaches_no_handler_is_refused_as_a_problem() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let large = " ".repeat(3 << 20);
    for (method, path, body, status) in [
        (http::Method::POST, "/pause", large.as_str(), 413),
        (http::Method::GET, "/groups/%FF", "", 400),
        (http::Method::GET, "/groups/web/nothing", "", 404),
        (http::Method::PATCH, "/groups", "", 405),
    ] {
        let answer = web::request(method, &aggregator.url_of(path), &[], body.to_owned()).await?;
        assert_eq!(
            (answer.status.as_u16(), &answer.headers["content-type"]),
            (status, &"application/problem+json".parse()?),
            "{path}"
        );
        let told = answer.json()?;
        assert_eq!(told["status"], status, "{told}");
        ensure!(told["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{told}");
    }
    Ok(())
}

#[test]
fn the_docs_name_every_route_and_its_role() -> anyhow::Result<()> {
    use foreshadow::api::routes::{Roles, TABLE};
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md"))?;
    for route in TABLE {
        let rest = route.path.starts_with('/') && !route.path.contains('.');
        let name = if rest || route.path == "/openapi.json" {
            format!("`{} {}", route.method, route.path)
        } else {
            format!("`{}", route.path.trim_start_matches('/'))
        };
        let role = match route.roles {
            Roles::Anybody => "anybody".to_owned(),
            Roles::From(role) => role.to_string(),
            Roles::Agents => "agent".to_owned(),
            Roles::Samples => "agent, operator".to_owned(),
        };
        let row = text.lines().find(|line| {
            line.starts_with('|') && [format!("{name}`"), format!("{name}?")].iter().any(|start| line.contains(start))
        });
        ensure!(row.is_some_and(|row| row.contains(&format!("| {role} |"))), "{name} for {role}: {row:?}");
    }
    Ok(())
}
