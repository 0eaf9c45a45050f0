//! InfluxData's own clients of both versions: what they write becomes samples of instances, durable, through a kill -9.

use std::time::Duration;

use anyhow::ensure;
use foreshadow::clock::{Clock as _, SystemClock};
use foreshadow_tests::process::{Aggregator, Process, eventually, free_port, tool};
use foreshadow_tests::tokens::Tokens;
use foreshadow_tests::web;
use http::Method;
use serde_json::Value;
use tokio::process::Command;

/// A metric of the user's own, of which the mapped labels add up.
const DECLARED: &str = "[line_protocol.metric.\"rabbitmq_queue.messages_ready\"]\ngives = \"queue\"\n\
    labels = { queue = [\"orders\", \"payments\"] }\n[metric.queue]\nof = \"group\"\n[group.web.targets]\ncpu = 90\nqueue = 100\n";
const SECTION: &str = "[line_protocol]\nexporter = \"telegraf\"\ngroup_label = \"service\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_real_clients_write_is_durable() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let tokens = Tokens::make(directory.path()).await?;
    let config = format!("[identity]\ntokens = \"{}\"\n{SECTION}{DECLARED}", tokens.file.display());
    let port = free_port()?;
    let aggregator = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/oracles/influx_write.py");
    let clients = [("1", "i-1"), ("2", "i-2")];
    let mut running = Vec::new();
    for (version, instance) in clients {
        let mut command = Command::new(tool("python")?);
        command.args([script, version, &aggregator.url, tokens.of("operator"), instance]);
        running.push(Process::start(&format!("client-{instance}"), command, directory.path())?);
    }
    let bearer = format!("Bearer {}", tokens.of("viewer"));
    let get = async |path: String| {
        web::request(Method::GET, &format!("{}{path}", aggregator.url), &[("authorization", &bearer)], "").await
    };
    let complete = async |instance: &str, from: i64| {
        eventually(&format!("samples of all three kinds of {instance}"), Duration::from_secs(60), async || {
            let samples = get(format!("/shadow/metrics?instance={instance}&from=-10m")).await?.lines()?;
            let late = |sample: &&Value| sample["sequence"].as_i64().is_some_and(|at| at > from);
            let samples: Vec<Value> = samples.iter().filter(late).cloned().collect();
            let of = |field: &str| samples.iter().filter(|sample| !sample[field].is_null()).count();
            Ok((of("cpu_percent").min(of("memory_used_bytes")).min(of("network")) >= 2).then_some(samples))
        })
        .await
    };
    for (version, instance) in clients {
        for sample in complete(instance, 0).await? {
            let near =
                |field: &Value, wanted: f64| field.as_f64().is_none_or(|found| (found / wanted - 1.0).abs() < 0.05);
            let (cpu, steal) = (&sample["cpu_percent"], &sample["cpu_steal_percent"]);
            ensure!(near(cpu, 70.0) && near(steal, 1.0), "{version}: {sample}");
            ensure!(near(&sample["memory_used_bytes"], 2e9) && near(&sample["memory_total_bytes"], 8e9), "{sample}");
            let network = &sample["network"];
            ensure!(near(&network["in_bytes"], 3_000.0) && near(&network["out_bytes"], 1_500.0), "{version}: {sample}");
            ensure!(near(&network["in_packets"], 3_000.0) && near(&network["out_packets"], 1_500.0), "{sample}");
        }
    }
    eventually("the group of the tag", Duration::from_secs(60), async || {
        let answer = get("/groups/web".to_owned()).await?;
        Ok((answer.status == 200).then(|| answer.json()).transpose()?.filter(|group| group["summary"]["serving"] == 2))
    })
    .await?;

    // Both queues ask for eight; the processors of two machines would do with two.
    let plan = eventually("the need of the queues", Duration::from_secs(60), async || {
        let plan = get("/groups/web".to_owned()).await?.json()?["plan"].clone();
        Ok((plan["need_now"] == 8).then_some(plan))
    })
    .await?;
    assert_eq!(plan["binding"], "queue", "{plan}");

    // Killed, it has what it had said it has, and the clients go on.
    let before = get("/shadow/metrics?instance=i-2&from=-10m".to_owned()).await?.lines()?;
    aggregator.process.kill().await?;
    let aggregator = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    let again = SystemClock.wall_micros();
    let url = format!("{}/shadow/metrics?instance=i-2&from=-10m", aggregator.url);
    let after = web::request(Method::GET, &url, &[("authorization", &bearer)], "").await?.lines()?;
    for sample in &before {
        ensure!(
            after.iter().any(|it| it["sequence"] == sample["sequence"] && it["stream"] == sample["stream"]),
            "{sample} is lost"
        );
    }
    for (_, instance) in clients {
        complete(instance, again).await?;
    }
    for client in &running {
        assert_eq!(client.output(), "", "a client was told that something is wrong");
    }
    let metrics = get("/metrics".to_owned()).await?.body;
    assert!(metrics.contains("foreshadow_line_protocol_values_total{outcome=\"stored\"}"), "{metrics}");
    assert!(metrics.contains("foreshadow_line_protocol_values_total{outcome=\"unmapped\"}"), "{metrics}");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_taken_is_told_in_the_words_of_either_version() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let tokens = Tokens::make(directory.path()).await?;
    let config = format!("[identity]\ntokens = \"{}\"\n{SECTION}", tokens.file.display());
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let operator = format!("Token {}", tokens.of("operator"));
    let post = async |path: &str, authorization: &str, encoding: &str, body: Vec<u8>| {
        let headers = [("authorization", authorization), ("content-encoding", encoding)];
        web::request(Method::POST, &format!("{}{path}", aggregator.url), &headers, body).await
    };
    // Good lines beside a bad one are kept.
    let second = SystemClock.wall_micros() / 1_000_000;
    let memory = |at: i64, rest: &str| format!("mem,host=i-1,service=web total=8000i,available=6000i {at}\n{rest}");
    let answer = post("/write?db=x&precision=s", &operator, "", memory(second - 20, "").into()).await?;
    assert_eq!(answer.status, 204, "{}", answer.body);
    let two = memory(second - 10, "mem,host=i-1 total=\n");
    let answer = post("/api/v2/write?bucket=x&org=y&precision=s", &operator, "", two.into()).await?;
    let said = answer.json()?;
    assert_eq!((answer.status.as_u16(), &said["code"], &said["message"]), (400, &"invalid".into(), &said["error"]));
    assert!(said["message"].as_str().is_some_and(|said| said.starts_with("partial write: line 2: ")), "{said}");
    let url = format!("{}/shadow/metrics?instance=i-1&from=-5m", aggregator.url);
    let samples =
        web::request(Method::GET, &url, &[("authorization", &operator.replace("Token", "Bearer"))], "").await?;
    let used: Vec<_> = samples.lines()?.iter().map(|sample| sample["memory_used_bytes"].as_i64()).collect();
    assert_eq!(used, [Some(2_000)]);
    // What comes late says what was, and makes nobody present.
    let late = |at: i64| format!("mem,host=i-late,service=web total=8000i,available=6000i {at}\n");
    let answer = post("/write?precision=s", &operator, "", (late(second - 400) + &late(second - 390)).into()).await?;
    assert_eq!(answer.status, 204, "{}", answer.body);
    let ask = async |path: &str| {
        let bearer = operator.replace("Token", "Bearer");
        web::request(Method::GET, &format!("{}{path}", aggregator.url), &[("authorization", &bearer)], "").await
    };
    assert_eq!(ask("/shadow/metrics?instance=i-late&from=-10m").await?.lines()?.len(), 1);
    let present = ask("/instances").await?.body;
    assert!(present.contains("\"i-1\"") && !present.contains("i-late"), "{present}");
    for (path, authorization, encoding, body, status, part) in [
        ("/write?u=me&p=secret", operator.as_str(), "", "", 400, "would stand in every log"),
        ("/write?precision=d", &operator, "", "", 400, "is none of ns, us, ms, s, m, h"),
        ("/write?precison=s", &operator, "", "", 400, "precison"),
        ("/write", &operator, "zstd", "", 400, "gzip, or none"),
        ("/write", &operator, "gzip", "no", 400, "is not gzip"),
        ("/write", &operator, "", "", 204, ""),
        ("/write", "Token nobody", "", "", 401, "a bearer token is needed"),
        (
            "/write",
            &operator.replace(tokens.of("operator"), tokens.of("viewer")),
            "",
            "",
            403,
            "the role viewer may not",
        ),
        // As a browser would send it by itself: counts nowhere else.
        ("/pause", &operator, "", "{}", 401, "a bearer token is needed"),
    ] {
        let answer = post(path, authorization, encoding, body.as_bytes().to_vec()).await?;
        let found = (answer.status.as_u16(), answer.body.contains(part));
        assert_eq!(found, (status, true), "{path}: {}", answer.body);
    }
    let answer = post("/write", &operator, "", vec![b'#'; 8 * 1_024 * 1_024 + 1]).await?;
    assert_eq!((answer.status.as_u16(), &answer.json()?["code"]), (413, &"request too large".into()));
    // Nobody asked for it: there is no [line_protocol].
    let other = tempfile::tempdir()?;
    let aggregator = Aggregator::start(other.path(), "").await?;
    let answer = web::request(Method::POST, &format!("{}/write", aggregator.url), &[], "m f=1").await?;
    assert!(answer.status == 404 && answer.body.contains("add [line_protocol]"), "{} {}", answer.status, answer.body);
    Ok(())
}
