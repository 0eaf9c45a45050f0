//! Every route against every role, from the product's own table: who may, may; nobody else does.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow::api::routes::{Roles, TABLE};
use foreshadow::clock::{Clock as _, SystemClock};
use foreshadow::identity::{Caller, Role};
use foreshadow_tests::process::{Aggregator, agent, eventually, tool};
use foreshadow_tests::tokens::Tokens;
use foreshadow_tests::web::{self, Events};
use futures::StreamExt as _;
use http::Method;
use serde_json::json;
use sqlx::SqlitePool;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

fn is_grpc(path: &str) -> bool {
    ["/foreshadow.v1.", "/grpc.", "/externalscaler.", "/opentelemetry."].iter().any(|service| path.starts_with(service))
}

#[tokio::test]
async fn every_route_is_open_to_its_roles_and_to_nobody_else() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let tokens = Tokens::make(directory.path()).await?;
    let config = format!("[identity]\ntokens = \"{}\"\n", tokens.file.display());
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let mut asked = 0;
    for route in TABLE {
        let path = route
            .path
            .replace("{group}", "web")
            .replace("{method}", "Check")
            .replace("{generation}", "1")
            .replace("{id}", "1");
        for role in [None, Some(Role::Agent), Some(Role::Viewer), Some(Role::Operator), Some(Role::Admin)] {
            let may = match role {
                None => route.roles == Roles::Anybody,
                Some(role) => route.roles.allow(&Caller::named("", role)),
            };
            let bearer = role.map(|role| format!("Bearer {}", tokens.of(role.as_str())));
            let mut headers: Vec<(&str, &str)> = bearer.iter().map(|value| ("authorization", value.as_str())).collect();
            let grpc = is_grpc(route.path);
            if grpc {
                headers.push(("content-type", "application/grpc"));
            }
            let url = format!("{}{path}", aggregator.url);
            let method: Method = route.method.parse()?;
            if method == Method::GET && ["/shadow/metrics", "/changes"].contains(&path.as_str()) && may {
                // A stream without end: that it opens is enough.
                continue;
            }
            let answer = web::request(method, &url, &headers, "").await?;
            let refused = if grpc {
                let status = answer.headers.get("grpc-status").and_then(|value| value.to_str().ok()).unwrap_or("0");
                match role {
                    None => status == "16",
                    Some(_) => status == "7",
                }
            } else {
                let expected = if role.is_none() { 401 } else { 403 };
                answer.status.as_u16() == expected
            };
            assert_eq!(!refused, may, "{} {path} as {role:?}: {} {}", route.method, answer.status, answer.body);
            if !may && !grpc {
                assert_eq!(answer.headers["content-type"], "application/problem+json");
            }
            asked += 1;
        }
    }
    println!("{asked} pairs of route and role");
    assert!(asked > 100);

    for wrong in ["Bearer fs_wrong", "Basic dXNlcjpwYXNz", "fs_"] {
        let url = format!("{}/groups", aggregator.url);
        let answer = web::request(Method::GET, &url, &[("authorization", wrong)], "").await?;
        assert_eq!(answer.status, 401, "{wrong}");
    }
    let log = aggregator.process.output();
    for role in ["agent", "viewer", "operator", "admin"] {
        assert!(!log.contains(tokens.of(role)), "a token is in the log");
    }
    Ok(())
}

#[tokio::test]
async fn what_loosens_needs_an_admin_and_a_reason_and_is_written_down() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let tokens = Tokens::make(directory.path()).await?;
    let config = format!("[identity]\ntokens = \"{}\"\n", tokens.file.display());
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let put = async |role: &str, query: &str, seconds: u32| {
        let bearer = format!("Bearer {}", tokens.of(role));
        let url = format!("{}/shadow/config{query}", aggregator.url);
        let body = format!("{{\"default_seconds\": {seconds}, \"maximum_seconds\": 86400}}");
        web::request(Method::PUT, &url, &[("authorization", &bearer)], body).await
    };
    assert_eq!(put("viewer", "", 600).await?.status, 403);
    assert_eq!(put("operator", "", 600).await?.status, 200, "shorter is tighter");
    let refused = put("operator", "?reason=x", 1_200).await?;
    assert!(refused.status == 403 && refused.body.contains("admin"), "{}", refused.body);
    let refused = put("admin", "", 1_200).await?;
    assert!(refused.status == 400 && refused.body.contains("reason"), "{}", refused.body);
    assert_eq!(put("admin", "?reason=a%20long%20night", 1_200).await?.status, 200);
    let refused = put("admin", "?reason=x", 10).await?;
    assert!(refused.status == 400 && refused.body.contains("default_seconds"), "{}", refused.body);

    let bearer = format!("Bearer {}", tokens.of("operator"));
    let url = format!("{}/audit", aggregator.url);
    let audit = web::request(Method::GET, &url, &[("authorization", &bearer)], "").await?.json()?;
    assert_eq!(audit.as_array().map(Vec::len), Some(2), "{audit:#}");
    assert_eq!((&audit[0]["caller"], &audit[0]["reason"]), (&"the-admin".into(), &"a long night".into()));
    Ok(())
}

#[tokio::test]
async fn an_agent_speaks_with_its_token_and_not_without() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let tokens = Tokens::make(directory.path()).await?;
    let config = format!("[identity]\ntokens = \"{}\"\n", tokens.file.display());
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let (right, wrong) = (tokens.write("agent")?, tokens.write("admin")?);
    let path = |path: &std::path::Path| path.display().to_string();
    let with = agent(directory.path(), &aggregator.url, "i-with", &["--token-file", &path(&right)])?;
    let without = agent(directory.path(), &aggregator.url, "i-without", &[])?;
    let other = agent(directory.path(), &aggregator.url, "i-other", &["--token-file", &path(&wrong)])?;
    let bearer = format!("Bearer {}", tokens.of("viewer"));
    let samples = async |instance: &str| {
        let url = format!("{}/shadow/metrics?instance={instance}&from=-5m", aggregator.url);
        anyhow::Ok(web::request(Method::GET, &url, &[("authorization", &bearer)], "").await?.lines()?.len())
    };
    eventually("samples of the agent with a token", Duration::from_secs(20), async || {
        Ok((samples("i-with").await? > 2).then_some(()))
    })
    .await?;
    assert_eq!((samples("i-without").await?, samples("i-other").await?), (0, 0));
    assert!(without.output().contains("refused") && other.output().contains("refused"), "{}", other.output());
    for process in [with, without, other] {
        assert!(process.terminate().await?.success());
    }
    Ok(())
}

/// How long after its token a stream may go on.
const LINGERS: Duration = Duration::from_secs(5);

async fn ends(what: &str, mut stream: Events) -> anyhow::Result<()> {
    let drained = timeout(LINGERS, async { while stream.next().await.is_some() {} });
    drained.await.with_context(|| format!("{what} goes on without its token"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_token_it_was_opened_with() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let tokens = Tokens::make(directory.path()).await?;
    let inventory = directory.path().join("inventory.toml");
    std::fs::write(&inventory, "[group.web]\nminimum = 1\nmaximum = 9\ninstances = [\"i-1\"]\n")?;
    let config = format!(
        "[identity]\ntokens = {:?}\n[inventory]\nfile = {inventory:?}\ninterval_seconds = 5\nwarm_up_seconds = 0\n",
        tokens.file
    );
    let admin = format!("Bearer {}", tokens.of("admin"));
    let first = Aggregator::start(directory.path(), &config).await?;
    let made = async |name: &str| {
        let body = json!({"name": name, "role": "viewer", "expires_hours": 1}).to_string();
        let headers = [("authorization", admin.as_str()), ("content-type", "application/json")];
        let made = web::request(Method::POST, &format!("{}/tokens", first.url), &headers, body).await?.json()?;
        let word = |field: &str| made[field].as_str().map(str::to_owned).with_context(|| format!("{field}: {made}"));
        anyhow::Ok((word("id")?, format!("Bearer {}", word("token")?)))
    };
    let (revoked, by_revoked) = made("revoked").await?;
    let (expired, by_expired) = made("expired").await?;
    ensure!(first.process.terminate().await?.success());
    // No token that is made is good for less than an hour.
    let pool =
        SqlitePool::connect(&format!("sqlite://{}", directory.path().join("data/foreshadow.db").display())).await?;
    let good_for = Duration::from_secs(30);
    let until = Instant::now() + good_for;
    let micros = SystemClock.wall_micros() + i64::try_from(good_for.as_micros())?;
    let shortened = sqlx::query("UPDATE token SET expires_micros = $1 WHERE id = $2").bind(micros).bind(&expired);
    assert_eq!(shortened.execute(&pool).await?.rows_affected(), 1);
    pool.close().await;

    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let open = async |path: &str, bearer: &str| {
        web::events_by(&format!("{}{path}", aggregator.url), &[("authorization", bearer)]).await
    };
    let mut of_expired = vec![open("/changes", &by_expired).await?, open("/shadow/metrics", &by_expired).await?];
    let (event, _) = timeout(LINGERS, of_expired[0].next()).await?.context("an event while it is good")?;
    assert_eq!(event, "groups");
    eventually("the group is planned", Duration::from_secs(60), async || {
        let answer =
            web::request(Method::GET, &format!("{}/plans?group=web", aggregator.url), &[("authorization", &admin)], "")
                .await?;
        Ok(answer.body.contains("generation").then_some(()))
    })
    .await?;

    // Everything that streams to whoever has a token, by REST and by gRPC: with the token in a header, or in what is asked.
    let viewer = format!("Bearer {}", tokens.of("viewer"));
    let mut kept = open("/changes", &viewer).await?;
    let of_revoked = [
        ("/changes", open("/changes", &by_revoked).await?),
        ("/changes?group=web", open("/changes?group=web", &by_revoked).await?),
        ("/shadow/metrics", open("/shadow/metrics", &by_revoked).await?),
    ];
    let in_metadata = by_revoked.trim_start_matches("Bearer ");
    let calls = [
        ("foreshadow.v1.Predict/WatchForecast", json!({"group": "web"}), Some(&by_revoked)),
        (
            "externalscaler.ExternalScaler/StreamIsActive",
            json!({"scalerMetadata": {"group": "web"}}),
            Some(&by_revoked),
        ),
        (
            "externalscaler.ExternalScaler/StreamIsActive",
            json!({"scalerMetadata": {"group": "web", "tokenFromEnv": in_metadata}}),
            None,
        ),
    ];
    let mut called = Vec::new();
    for (method, body, bearer) in calls {
        let mut command = Command::new(tool("grpcurl")?);
        command.args(["-plaintext", "-max-time", "90", "-reflect-header", &format!("authorization: {viewer}")]);
        if let Some(bearer) = bearer {
            command.args(["-rpc-header", &format!("authorization: {bearer}")]);
        }
        command.args(["-d", &body.to_string(), &format!("127.0.0.1:{}", aggregator.port), method]);
        called.push((method, command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?));
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    for (method, call) in &mut called {
        ensure!(call.try_wait()?.is_none(), "{method} ended while its token was good");
    }

    let url = format!("{}/tokens/{revoked}?reason=it%20was%20lost", aggregator.url);
    let answer = web::request(Method::DELETE, &url, &[("authorization", &admin)], "").await?;
    ensure!(answer.status == 200, "{}", answer.body);
    for (path, stream) in of_revoked {
        ends(path, stream).await?;
    }
    for (method, call) in called {
        // What is pushed to KEDA is looked at every five seconds.
        let ended =
            timeout(2 * LINGERS, call.wait_with_output()).await.with_context(|| format!("{method} goes on"))??;
        let said = String::from_utf8_lossy(&ended.stderr);
        ensure!(said.contains("Unauthenticated"), "{method}: {said}");
    }
    assert!(open("/changes", &by_revoked).await.is_err(), "nor is another opened");
    // What was opened with another token goes on.
    while timeout(Duration::from_secs(1), kept.next()).await.is_ok_and(|event| event.is_some()) {}
    let paused = web::request(
        Method::POST,
        &format!("{}/groups/web/pause", aggregator.url),
        &[("authorization", &admin)],
        r#"{"reason": "a test"}"#,
    )
    .await?;
    ensure!(paused.status == 200, "{}", paused.body);
    let (event, told) = timeout(LINGERS, kept.next()).await?.context("the other stream ended")?;
    assert_eq!((event.as_str(), &told["groups"][0]["paused"]), ("groups", &true.into()));

    tokio::time::sleep_until(until).await;
    for stream in of_expired {
        ends("a stream of what has expired", stream).await?;
    }
    Ok(())
}
