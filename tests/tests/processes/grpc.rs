//! A stranger's gRPC client: reflection, health and the services it finds.

use anyhow::ensure;
use foreshadow_tests::process::{Aggregator, tool};
use foreshadow_tests::web;
use tokio::process::Command;

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
    for service in ["", "foreshadow.v1.Agent", "foreshadow.v1.Predict"] {
        let asked = format!("{{\"service\": \"{service}\"}}");
        let health = grpcurl(&["-d", &asked], &["grpc.health.v1.Health/Check"]).await?;
        assert!(health.contains("SERVING"), "{service:?}: {health}");
    }
    assert_eq!(grpcurl(&[], &["foreshadow.v1.Predict/ListGroups"]).await?.trim(), "{\n  \n}");
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

/// Requests made up from the document, some as it wants them and most not: each is answered as the document says, and none by a
/// fault of ours. `FORESHADOW_ASKED=300`: for so many seconds.
#[tokio::test]
async fn whatever_is_asked_is_answered_as_the_openapi_document_says() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let aggregator = Aggregator::start(directory.path(), "[group.web]\nminimum = 1\nmaximum = 9\n").await?;
    let document = format!("{}/openapi.json", aggregator.url);
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
    // Metrics in protobuf are asked for by their real senders: tests remote and otlp.
    let foreign = ["--exclude-path", "/api/v1/write", "--exclude-path", "/v1/metrics"];
    let seconds = std::env::var("FORESHADOW_ASKED");
    let long = seconds.as_ref().map_or(["--max-examples", "8"], |seconds| ["--max-time", seconds]);
    let output = Command::new(tool("schemathesis")?)
        .current_dir(directory.path())
        .args(["run", &document, "--seed", "1", "--checks", checks, "--no-color"])
        .args(long)
        .args(foreign)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}");
    let cases = said.lines().find_map(|line| line.trim().split_once(" generated, ")?.0.parse::<u32>().ok());
    ensure!(cases > Some(500), "{said}");
    println!("{} requests", cases.unwrap_or_default());
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
