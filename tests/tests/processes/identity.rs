//! The cloud names the instance, even when its metadata service answers late.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use foreshadow_tests::process::{Aggregator, Process, binary, eventually, free_port, pause};
use foreshadow_tests::web;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::process::Command;

/// The instance metadata service, version 2: a token first, then what is asked with it.
async fn metadata_service(port: u16) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    });
    Ok(())
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let token = request.headers().get("x-aws-ec2-metadata-token").is_some_and(|token| token == "the-session");
    let text = match (request.method(), request.uri().path()) {
        (&Method::PUT, "/latest/api/token") => Some("the-session"),
        (&Method::GET, "/latest/meta-data/instance-id") if token => Some("i-0abc"),
        (&Method::GET, "/latest/meta-data/instance-type") if token => Some("m5.large"),
        (&Method::GET, "/latest/meta-data/placement/availability-zone") if token => Some("eu-west-1a"),
        _ => None,
    };
    let mut response = Response::new(Full::new(Bytes::from_static(text.unwrap_or_default().as_bytes())));
    if text.is_none() {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}

#[tokio::test]
async fn an_instance_that_is_named_late_keeps_its_samples_and_gets_its_name() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let port = free_port()?;
    let mut command = Command::new(binary("foreshadow-agent")?);
    command.args(["--aggregator", &aggregator.url, "--group", "web"]);
    command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://127.0.0.1:{port}"));
    let agent = Process::start("agent", command, directory.path())?;
    // It gave up waiting after three seconds, and reports under the host's name.
    pause(Duration::from_secs(5)).await;
    metadata_service(port).await?;
    let url = format!("{}/shadow/metrics?instance=i-0abc&from=-5m", aggregator.url);
    eventually("samples under the cloud's name and in its group", Duration::from_secs(45), async || {
        let samples = web::get(&url).await?.lines()?;
        // Those of before its name was known may belong to no group.
        Ok((samples.len() > 2 && samples.iter().any(|sample| sample["group"] == "web")).then_some(()))
    })
    .await?;
    let group = web::get_json(&format!("{}/groups/web", aggregator.url)).await?;
    let members = group["members"].as_array().cloned().unwrap_or_default();
    let member = members.iter().find(|member| member["instance"] == "i-0abc").cloned().unwrap_or_default();
    assert_eq!((&member["instance_type"], &member["zone"]), (&"m5.large".into(), &"eu-west-1a".into()), "{group:#}");
    let log = std::fs::read_to_string(directory.path().join("agent.log"))?;
    assert!(log.contains("asking the metadata service for this instance's id, up to 3 s"), "{log}");
    assert!(log.contains("dropped=0") || !log.contains("dropped"), "{log}");
    assert!(agent.terminate().await?.success());
    Ok(())
}
