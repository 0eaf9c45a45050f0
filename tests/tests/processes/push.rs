//! Samples by HTTP: the good lines are kept, the bad ones are named by their line.

use foreshadow_tests::process::Aggregator;
use foreshadow_tests::web;
use http::Method;

fn now_micros() -> i64 {
    use foreshadow_agent::clock::{Clock as _, HostClock};
    HostClock.wall_micros()
}

#[tokio::test]
async fn bad_lines_are_named_and_good_ones_kept() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let push = format!("{}/shadow/metrics", aggregator.url);
    let now = now_micros();
    let seconds = now / 1_000_000;
    let at = |back: i64| seconds - back;
    let lines = [
        format!("{{\"instance\": \"i-1\", \"at\": {}, \"cpu_percent\": 41.5}}", at(3)),
        "not json".to_owned(),
        format!("{{\"instance\": \"i-1\", \"at\": {}, \"cpu_percent\": -3}}", at(2)),
        format!("{{\"instance\": \"i-1\", \"at\": {}, \"cpu_percent\": 1e400}}", at(2)),
        format!("{{\"instance\": \"i-1\", \"at\": {}, \"cpu_percent\": 50}}", seconds + 86_400),
        "{\"instance\": \"i-1\", \"at\": 60, \"cpu_percent\": 50}".to_owned(),
        format!("{{\"instance\": \"\", \"at\": {}, \"cpu_percent\": 50}}", at(2)),
        format!("{{\"instance\": \"i-1\", \"at\": {}, \"cpu\": 50}}", at(2)),
        format!("{{\"instance\": \"i-1\", \"at\": {}, \"cpu_percent\": 42.5}}", at(1)),
    ];
    let body = lines.join("\n");
    let answer = web::request(Method::POST, &push, &[("content-type", "application/x-ndjson")], body.clone()).await?;
    let told = answer.json()?;
    println!("{told:#}");
    assert_eq!((answer.status.as_u16(), &told["accepted"], &told["rejected_total"]), (200, &2.into(), &7.into()));
    let bad: Vec<_> = told["rejected"].as_array().expect("rejected").iter().map(|line| line["line"].clone()).collect();
    assert_eq!(bad, [2, 3, 4, 5, 6, 7, 8]);

    // Again: durable already, and not twice.
    let again = web::request(Method::POST, &push, &[("content-type", "application/x-ndjson")], body).await?;
    assert_eq!(again.json()?["accepted"], 2);
    let history = format!("{}/shadow/metrics?instance=i-1&from=-1m", aggregator.url);
    let stored = web::get(&history).await?.lines()?;
    let cpu: Vec<_> = stored.iter().map(|line| line["cpu_percent"].clone()).collect();
    assert_eq!(cpu, [41.5, 42.5]);

    let protocol = format!(
        "host,instance=i-2 cpu_percent=30.5,memory_used_bytes=1000i {}\nhost,instance=i-2 cpu_percent=nan {}\n",
        now * 1_000 - 2_000_000_000,
        now * 1_000
    );
    let answer = web::request(Method::POST, &push, &[], protocol).await?.json()?;
    assert_eq!((&answer["accepted"], &answer["rejected"][0]["line"]), (&1.into(), &2.into()), "{answer:#}");
    Ok(())
}

#[tokio::test]
async fn what_is_all_wrong_is_refused() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let push = format!("{}/shadow/metrics", aggregator.url);
    let answer = web::request(Method::POST, &push, &[("content-type", "application/x-ndjson")], "x\ny\n").await?;
    assert_eq!((answer.status.as_u16(), &answer.json()?["rejected_total"]), (400, &2.into()));
    let long = "x".repeat(200_000);
    let answer = web::request(Method::POST, &push, &[], long).await?;
    assert!(answer.status == 400 && answer.body.contains("65536 bytes at most"), "{}", answer.body);
    let empty = web::request(Method::POST, &push, &[], "").await?;
    assert_eq!((empty.status.as_u16(), &empty.json()?["accepted"]), (200, &0.into()));
    for (method, path, status) in [
        (Method::GET, "/nowhere", 404),
        (Method::DELETE, "/groups", 405),
        (Method::GET, "/groups?grupo=x", 400),
        (Method::GET, "/plans", 400),
        (Method::GET, "/groups/nobody", 404),
        (Method::GET, "/predict/capacity?group=nobody", 404),
        (Method::GET, "/shadow/metrics?from=-1h", 400),
        (Method::GET, "/shadow/metrics?instance=i-1&from=-400d", 400),
        (Method::PUT, "/shadow/config", 400),
        (Method::POST, "/shadow/detached", 400),
    ] {
        let answer = web::request(method.clone(), &format!("{}{path}", aggregator.url), &[], "").await?;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.body);
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{path}");
        assert!(answer.json()?["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{path}");
    }
    Ok(())
}
