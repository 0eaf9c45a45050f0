//! KEDA's side of the wire, as grpcurl speaks it by reflection, and the objects that are shipped for it.

use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::ensure;
use foreshadow_agent::clock::{Clock as _, HostClock};
use foreshadow_tests::process::{Aggregator, Process, agent, eventually, tool};
use foreshadow_tests::tokens::Tokens;
use foreshadow_tests::web;
use http::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use super::otlp::waiting;

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn keda_is_answered_by_every_call_and_a_viewer_alone() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let tokens = Tokens::make(directory.path()).await?;
    let config = format!("[identity]\ntokens = \"{}\"\n[group.web]\nminimum = 2\nmaximum = 9\n", tokens.file.display());
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let token = tokens.write("agent")?.display().to_string();
    let agent = agent(directory.path(), &aggregator.url, "i-1", &["--group", "web", "--token-file", &token])?;
    let address = format!("127.0.0.1:{}", aggregator.port);
    let viewer = format!("authorization: Bearer {}", tokens.of("viewer"));
    let call = async |method: &str, body: &Value, more: &[&str]| {
        // Reflection needs a viewer's header; what is asked after it is let in by the metadata of the body, or not.
        let mut command = Command::new(tool("grpcurl")?);
        command.args(["-plaintext", "-reflect-header", &viewer]).args(more).args(["-d", &body.to_string(), &address]);
        anyhow::Ok(command.arg(format!("externalscaler.ExternalScaler/{method}")).output().await?)
    };
    let object = |token: &str, more: Value| {
        let mut metadata = json!({"scalerAddress": address, "group": "web"});
        let object = metadata.as_object_mut().expect("an object");
        if !token.is_empty() {
            object.insert("tokenFromEnv".to_owned(), token.into());
        }
        object.extend(more.as_object().cloned().unwrap_or_default());
        json!({"name": "web", "namespace": "shop", "scalerMetadata": metadata})
    };
    let metrics = |object: &Value| json!({"scaledObjectRef": object, "metricName": "s0-instances"});

    // The description never fails, whoever asks and whatever for.
    for body in [object("", json!({})), json!({}), object("wrong", json!({"group": "nobody"}))] {
        let output = call("GetMetricSpec", &body, &[]).await?;
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        assert_eq!(
            answer,
            json!({"metricSpecs": [{"metricName": "instances", "targetSize": "1", "targetSizeFloat": 1}]})
        );
    }
    // Nobody is let in without a token, or as an agent.
    for (token, why) in
        [("", "Unauthenticated"), ("fs_wrong", "Unauthenticated"), (tokens.of("agent"), "PermissionDenied")]
    {
        for (method, body) in
            [("IsActive", object(token, json!({}))), ("GetMetrics", metrics(&object(token, json!({}))))]
        {
            let output = call(method, &body, &[]).await?;
            ensure!(!output.status.success() && said(&output).contains(why), "{method} as {token}: {}", said(&output));
        }
    }
    // What is not known yet is an error, on which the autoscaler keeps what it has, and it is not idle.
    let unknown = object(tokens.of("viewer"), json!({"group": "nobody"}));
    let output = call("GetMetrics", &metrics(&unknown), &[]).await?;
    ensure!(
        said(&output).contains("Unavailable") && said(&output).contains("nobody is not known"),
        "{}",
        said(&output)
    );
    let output = call("IsActive", &unknown, &[]).await?;
    ensure!(said(&output).contains("\"result\": true"), "{}", said(&output));
    let wrong = object(tokens.of("viewer"), json!({"confidence": "2"}));
    let output = call("GetMetrics", &metrics(&wrong), &[]).await?;
    ensure!(
        said(&output).contains("InvalidArgument") && said(&output).contains("metadata.confidence"),
        "{}",
        said(&output)
    );

    // With evidence: one machine serves and is enough; the minimum says two.
    let asked = metrics(&object(tokens.of("viewer"), json!({"confidence": "0.95", "metric": "cpu"})));
    let answer = eventually("an answer from evidence", Duration::from_secs(60), async || {
        let output = call("GetMetrics", &asked, &[]).await?;
        Ok(serde_json::from_slice::<Value>(&output.stdout).ok().filter(|_| output.status.success()))
    })
    .await?;
    assert_eq!(
        answer,
        json!({"metricValues": [{"metricName": "instances", "metricValue": "2", "metricValueFloat": 2}]})
    );
    // Also by the header, where something stands between that has one.
    let output = call("GetMetrics", &metrics(&object("", json!({}))), &["-rpc-header", &viewer]).await?;
    ensure!(output.status.success(), "{}", said(&output));
    let output = call("IsActive", &object(tokens.of("viewer"), json!({})), &[]).await?;
    ensure!(said(&output).contains("\"result\": true"), "{}", said(&output));
    for (method, once) in [("StreamIsActive", "\"result\": true"), ("StreamMetricSpec", "\"targetSize\": \"1\"")] {
        // The stream goes on after its first message: grpcurl ends it.
        let output = call(method, &object(tokens.of("viewer"), json!({})), &["-max-time", "2"]).await?;
        let text = said(&output);
        ensure!(text.matches(once).count() == 1 && text.contains("DeadlineExceeded"), "{method}: {text}");
    }
    // The last good answer stands while nothing new can be said.
    assert!(agent.terminate().await?.success());
    let output = call("GetMetrics", &asked, &[]).await?;
    ensure!(output.status.success(), "{}", said(&output));
    let log = aggregator.process.output();
    assert!(!log.contains(tokens.of("viewer")), "a token is in the log");
    Ok(())
}

/// The metadata of the trigger of ours in an object that is shipped.
async fn trigger(name: &str) -> anyhow::Result<Value> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/keda").join(name);
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))['spec']['triggers'][0]['metadata']))";
    let output = Command::new(tool("python")?).args(["-c", script]).arg(file).output().await?;
    ensure!(output.status.success(), "{name}: {}", said(&output));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The example of a metric of the user's own asks a running scaler, as KEDA would.
#[tokio::test]
async fn keda_asks_by_a_metric_of_the_users_own_as_the_example_says_it() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let tokens = Tokens::make(directory.path()).await?;
    let mut metadata = trigger("scaledobject-metric.yaml").await?;
    let (group, metric) =
        (metadata["group"].as_str().unwrap_or_default(), metadata["metric"].as_str().unwrap_or_default());
    let (group, metric) = (group.to_owned(), metric.to_owned());
    let inventory = directory.path().join("inventory.toml");
    std::fs::write(&inventory, format!("[group.{group}]\nminimum = 1\nmaximum = 9\ninstances = [\"i-1\"]\n"))?;
    let config = format!(
        "[identity]\ntokens = \"{}\"\n[inventory]\nfile = \"{}\"\ninterval_seconds = 5\nwarm_up_seconds = 0\n\
         [metric.{metric}]\nof = \"group\"\n[group.{group}.targets]\n{metric} = 100\n",
        tokens.file.display(),
        inventory.display()
    );
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    // What the example says of the cluster is this test's: the address, and what KEDA puts there for the variable.
    let address = format!("127.0.0.1:{}", aggregator.port);
    metadata["scalerAddress"] = address.clone().into();
    metadata["tokenFromEnv"] = tokens.of("viewer").into();
    let viewer = format!("authorization: Bearer {}", tokens.of("viewer"));
    let call = async |method: &str, metadata: &Value| {
        let object = json!({"name": group, "namespace": "shop", "scalerMetadata": metadata});
        let body = if method == "GetMetrics" {
            json!({"scaledObjectRef": object, "metricName": "s0-instances"})
        } else {
            object
        };
        let mut command = Command::new(tool("grpcurl")?);
        command.args(["-plaintext", "-reflect-header", &viewer, "-d", &body.to_string(), &address]);
        anyhow::Ok(command.arg(format!("externalscaler.ExternalScaler/{method}")).output().await?)
    };
    let spec = call("GetMetricSpec", &metadata).await?;
    assert_eq!(
        serde_json::from_slice::<Value>(&spec.stdout)?,
        json!({"metricSpecs": [{"metricName": "instances", "targetSize": "1", "targetSizeFloat": 1}]})
    );
    // 250 wait, and one carries 100.
    let url = format!("{}/shadow/metrics", aggregator.url);
    let operator = format!("Bearer {}", tokens.of("operator"));
    let answer = eventually("the queue's need", Duration::from_secs(90), async || {
        let at = HostClock.wall_micros() / 1_000_000;
        let line = json!({"group": group, "at": at, "metrics": {metric.as_str(): 250}}).to_string();
        let headers = [("content-type", "application/x-ndjson"), ("authorization", operator.as_str())];
        // The first are of a group that is not known yet.
        drop(web::request(Method::POST, &url, &headers, line).await);
        let output = call("GetMetrics", &metadata).await?;
        Ok(serde_json::from_slice::<Value>(&output.stdout).ok().filter(|_| output.status.success()))
    })
    .await?;
    assert_eq!(
        answer,
        json!({"metricValues": [{"metricName": "instances", "metricValue": "3", "metricValueFloat": 3}]})
    );
    // One that nobody declared is refused, with those that are.
    metadata["metric"] = "queues".into();
    let output = call("GetMetrics", &metadata).await?;
    let text = said(&output);
    ensure!(text.contains("InvalidArgument") && text.contains("metadata.metric: known metrics: "), "{text}");
    ensure!(text.contains(&metric), "{text}");
    Ok(())
}

/// Nobody is there, nobody waits and nobody is needed; then somebody waits, and who listens is told without asking.
#[tokio::test]
async fn keda_is_told_by_itself_when_somebody_is_needed() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("inventory.toml");
    std::fs::write(&file, "[group.web]\nminimum = 0\nmaximum = 9\ninstances = []\n")?;
    let config = format!(
        "[inventory]\nfile = \"{}\"\ninterval_seconds = 5\n[otlp]\n\
         group_label = \"service.name\"\n[otlp.metric.\"app.jobs\"]\ngives = \"queue\"\n[metric.queue]\nof = \"group\"\n[group.web]\nminimum = 0\nmaximum = 9\n\
         [group.web.targets]\nqueue = 100\n",
        file.display()
    );
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let (jobs, url) = (Arc::new(AtomicU32::new(0)), format!("{}/v1/metrics", aggregator.url));
    let told = jobs.clone();
    tokio::spawn(async move {
        loop {
            let body = waiting("web", HostClock.wall_micros(), told.load(Ordering::Relaxed));
            // The first are of a group that is not known yet.
            drop(web::request(Method::POST, &url, &[("content-type", "application/json")], body).await);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let asks = |method: &str, more: &[&str]| {
        let address = format!("127.0.0.1:{}", aggregator.port);
        let object = json!({"name": "web", "namespace": "shop",
            "scalerMetadata": {"scalerAddress": address, "group": "web", "metric": "queue"}});
        let mut command = Command::new(tool("grpcurl")?);
        command.args(["-plaintext", "-emit-defaults"]).args(more).args(["-d", &object.to_string(), &address]);
        command.arg(format!("externalscaler.ExternalScaler/{method}"));
        anyhow::Ok(command)
    };
    eventually("nobody is needed", Duration::from_secs(60), async || {
        let output = asks("IsActive", &[])?.output().await?;
        Ok(said(&output).contains("\"result\": false").then_some(()))
    })
    .await?;
    let listening = Process::start("keda", asks("StreamIsActive", &["-max-time", "120"])?, directory.path())?;
    let messages = async |wanted: &[&str]| {
        eventually(&format!("KEDA is told {wanted:?}"), Duration::from_secs(60), async || {
            let text = listening.output();
            let told: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("\"result\": ")).collect();
            ensure!(wanted.starts_with(&told), "{text}");
            Ok((told == wanted).then_some(()))
        })
        .await
    };
    messages(&["false"]).await?;
    jobs.store(300, Ordering::Relaxed);
    messages(&["false", "true"]).await?;
    Ok(())
}

/// KEDA's kinds are in no schema that can be had: what is shipped is checked against one of ours, and so that it finds typos.
#[tokio::test]
async fn the_objects_for_keda_are_right_and_typos_in_them_are_found() -> anyhow::Result<()> {
    let shipped = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/keda");
    let check = async |files: &[PathBuf]| {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/processes/keda/check.py");
        anyhow::Ok(Command::new(tool("python")?).arg(script).args(files).output().await?)
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&shipped)? {
        files.extend(Some(entry?.path()).filter(|path| path.extension().is_some_and(|end| end == "yaml")));
    }
    ensure!(files.len() == 5, "{files:?}");
    let output = check(&files).await?;
    ensure!(output.status.success() && said(&output).contains("5 documents"), "{}", said(&output));
    let directory = tempfile::tempdir()?;
    let text = std::fs::read_to_string(shipped.join("scaledobject.yaml"))?;
    let confidence = "confidence: \"0.95\"";
    for (right, also) in [
        (confidence, "confidence: \"0.99\""),
        (confidence, "quantile: \"0.5\""),
        (confidence, "metric: requests_per_second"),
    ] {
        let file = directory.path().join("right.yaml");
        std::fs::write(&file, text.replace(right, also))?;
        let output = check(&[file]).await?;
        ensure!(output.status.success(), "{also} is refused: {}", said(&output));
    }
    for (right, wrong) in [
        (confidence, "confidence: \"0.995\""),
        (confidence, "confidence: \"0.9\"\n        quantile: \"0.9\""),
        (confidence, "metric: Requests-Per-Second"),
        ("scaleTargetRef", "scaleTarget"),
        ("        group: web", "        grup: web"),
        ("confidence: \"0.95\"", "confidence: \"1.95\""),
        ("type: external", "type: extrenal"),
        ("pollingInterval: 15", "pollingInterval: soon"),
        ("kind: ScaledObject", "kind: ScaleObject"),
    ] {
        ensure!(text.contains(right), "{right} is no longer in the example");
        let file = directory.path().join("wrong.yaml");
        std::fs::write(&file, text.replace(right, wrong))?;
        let output = check(&[file]).await?;
        ensure!(output.status.code() == Some(1), "{wrong} passes: {}", said(&output));
    }
    Ok(())
}
