//! An agent is who its certificate says, and nobody else is: table-driven over everything that could be shown instead.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow::api::routes::{Roles, TABLE};
use foreshadow::clock::{Clock as _, SystemClock};
use foreshadow::identity::{Caller, Role};
use foreshadow_tests::installation::Installation;
use foreshadow_tests::process::{Aggregator, agent, binary, eventually};
use foreshadow_tests::trust::{self, Held, Wrong, code, hello};
use foreshadow_tests::web;
use http::Method;
use rcgen::KeyPair;
use tokio::process::Command;
use tonic::Code;

/// The product's own command line, with an admin's token.
async fn foreshadow(installation: &Installation, arguments: &[&str]) -> anyhow::Result<(bool, String)> {
    let mut command = Command::new(binary("foreshadow")?);
    command.args(arguments).env("FORESHADOW_URL", installation.url()).env("FORESHADOW_CA", &installation.shown.ca);
    command.env("FORESHADOW_TOKEN_FILE", installation.tokens.write("admin")?);
    let output = command.output().await?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), if output.status.success() { out.into_owned() } else { err.into_owned() }))
}

#[tokio::test]
async fn nobody_speaks_as_an_instance_without_its_certificate() -> anyhow::Result<()> {
    let there = Installation::start("").await?;
    let (mine, other) = (KeyPair::generate()?, KeyPair::generate()?);
    let once = there.join_token(1).await?;

    // What gets no certificate.
    let revoked = there.join_token(1).await?;
    let id = revoked.split('_').nth(1).context("an id")?;
    let gone = there.ask("admin", Method::DELETE, &format!("/tokens/{id}?reason=lost"), "").await?;
    assert_eq!(gone.status, 200, "{}", gone.body);
    let bearer = there.tokens.of("admin");
    for token in ["", "fj_", "fj_00_00", revoked.as_str(), bearer, &once[..once.len() - 1], &once.replace("fj", "fs")] {
        assert_eq!(code(&there.enrol("i-1", &mine, token).await), Some(Code::PermissionDenied), "{token}");
    }
    assert_eq!(code(&there.enrol("no id", &mine, &once).await), Some(Code::InvalidArgument));

    // What gets one, once.
    let held = there.enrol("i-1", &mine, &once).await?;
    assert_eq!(code(&there.enrol("i-2", &other, &once).await), Some(Code::PermissionDenied), "used up");
    assert_eq!(code(&there.enrol("i-1", &mine, "").await), Some(Code::ResourceExhausted), "not in a loop");

    // Whoever brought a token that is over learns nothing of it; the log says which it was, by its id and nothing more.
    let (log, used) = (there.aggregator.process.output(), once.split('_').nth(1).context("an id")?);
    for told in
        [format!("token {id} is revoked"), format!("token {used} is used up"), "no token was brought".to_owned()]
    {
        ensure!(log.contains(&told), "{told} in\n{log}");
    }
    let secret = |token: &str| token.rsplit('_').next().unwrap_or_default().to_owned();
    ensure!(!log.contains(&secret(&once)) && !log.contains(&secret(&revoked)), "no secret");

    // Somebody else who claims the id: refused, counted, shown, written down; and the token is as good as before.
    let another = there.join_token(1).await?;
    assert_eq!(code(&there.enrol("i-1", &other, &another).await), Some(Code::AlreadyExists));
    assert_eq!(there.metric("foreshadow_second_claims_with_token_total").await?, 1.0);
    let ready = there.ask("viewer", Method::GET, "/readyz", "").await?;
    assert!(ready.body.contains("somebody else claimed to be i-1"), "{}", ready.body);
    let audit = there.ask("operator", Method::GET, "/audit", "").await?;
    assert!(audit.body.contains("refuse_second_claim"), "{}", audit.body);
    let second = there.enrol("i-2", &other, &another).await?;

    // Who is let in, and how the others are refused: by TLS (`Unavailable`), as unknown, or as somebody else.
    let other_authority = trust::authority()?;
    let stranger = trust::sign(&other_authority, "i-1", Wrong::NotOnRecord)?;
    let data = there.directory.path().join("data");
    let forged = |wrong| trust::forged(&data, "i-1", wrong);
    let agents = there.tokens.of("agent");
    for (what, own, bearer, instance, expected) in [
        ("its own", Some(&held), None, "i-1", None),
        ("another's id", Some(&held), None, "i-2", Some(Code::PermissionDenied)),
        ("an id that nobody has", Some(&second), None, "i-9", Some(Code::PermissionDenied)),
        ("nothing", None, None, "i-1", Some(Code::Unauthenticated)),
        (
            "the shared token, for an instance that has a certificate",
            None,
            Some(agents),
            "i-1",
            Some(Code::PermissionDenied),
        ),
        ("the shared token, for one that has none", None, Some(agents), "i-7", None),
        ("an admin's token", None, Some(bearer), "i-7", Some(Code::PermissionDenied)),
        ("a wrong token beside the certificate", Some(&held), Some("fs_00"), "i-1", Some(Code::Unauthenticated)),
        ("another authority's", Some(&stranger), None, "i-1", Some(Code::Unavailable)),
        ("one that ran out", Some(&forged(Wrong::Expired)?), None, "i-1", Some(Code::Unavailable)),
        ("one that is not valid yet", Some(&forged(Wrong::NotYetValid)?), None, "i-1", Some(Code::Unavailable)),
        ("one for servers", Some(&forged(Wrong::Purpose)?), None, "i-1", Some(Code::Unavailable)),
        ("one that is not on record", Some(&forged(Wrong::NotOnRecord)?), None, "i-1", Some(Code::Unauthenticated)),
    ] {
        assert_eq!(there.hello(own, bearer, instance).await, expected, "{what}");
    }
    assert_eq!(there.metric("foreshadow_forged_instance_ids_total").await?, 3.0);

    // The same where samples are pushed.
    let url = format!("{}/shadow/metrics", there.url());
    let line = |instance: &str| {
        format!("{{\"instance\": \"{instance}\", \"at\": \"2026-01-01T00:00:00Z\", \"cpu_percent\": 1}}\n")
    };
    let lines = format!("{}{}", line("i-1"), line("i-2"));
    let json = [("content-type", "application/x-ndjson")];
    let pushed = web::request_tls(Method::POST, &url, &there.shown.ca, Some(&held), &json, lines).await?.json()?;
    assert_eq!((&pushed["accepted"], &pushed["rejected"][0]["line"]), (&1.into(), &2.into()), "{pushed}");
    let pushed = there.ask("agent", Method::POST, "/shadow/metrics?format=ndjson", &line("i-1")).await?;
    assert!(pushed.status == 400 && pushed.body.contains("has a certificate"), "{}", pushed.body);

    // Revoked in the middle of a stream.
    let open = hello(there.url(), &there.shown.ca, Some(&held), None, "i-1").await?;
    let body = "{\"reason\": \"it lies\"}";
    assert_eq!(there.ask("viewer", Method::POST, "/certificates/i-1/revoke", body).await?.status, 403);
    let answer = there.ask("operator", Method::POST, "/certificates/i-1/revoke", body).await?;
    assert!(answer.status == 200 && answer.json()?["stream_ended"] == true, "{}", answer.body);
    let ended = open.ended().await?;
    assert!(ended.code() == Code::PermissionDenied && ended.message().contains("revoked"), "{ended}");
    assert_eq!(there.hello(Some(&held), None, "i-1").await, Some(Code::Unauthenticated));
    assert_eq!(code(&there.enrol("i-1", &mine, "").await), Some(Code::PermissionDenied));
    assert_eq!(code(&there.enrol("i-1", &mine, &there.join_token(1).await?).await), Some(Code::PermissionDenied));
    let pushed = web::request_tls(Method::POST, &url, &there.shown.ca, Some(&held), &json, line("i-1")).await?;
    assert_eq!(pushed.status, 401, "{}", pushed.body);
    // The neighbour is not touched.
    assert_eq!(there.hello(Some(&second), None, "i-2").await, None);

    // Only an admin frees the id, and then it is whose token is good.
    assert_eq!(there.ask("operator", Method::POST, "/certificates/i-1/release", body).await?.status, 403);
    assert_eq!(there.ask("admin", Method::POST, "/certificates/i-1/release", body).await?.status, 200);
    assert_eq!(there.hello(Some(&held), None, "i-1").await, Some(Code::Unauthenticated));
    let anew = there.enrol("i-1", &KeyPair::generate()?, &there.join_token(1).await?).await?;
    assert_eq!(there.hello(Some(&anew), None, "i-1").await, None);

    // All of it survives a restart, and none of it is in the log.
    let Installation { directory, shown, tokens, config, aggregator } = there;
    let (port, log) = (aggregator.port, aggregator.process.output());
    for secret in [once.as_str(), another.as_str(), tokens.of("admin")] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
    aggregator.process.kill().await?;
    let aggregator = Aggregator::start_tls(directory.path(), &config, port, &shown.ca).await?;
    let there = Installation { directory, shown, tokens, config, aggregator };
    assert_eq!(there.hello(Some(&anew), None, "i-1").await, None);
    assert_eq!(there.hello(Some(&held), None, "i-1").await, Some(Code::Unauthenticated));
    assert_eq!(code(&there.enrol("i-3", &other, &once).await), Some(Code::PermissionDenied));
    Ok(())
}

#[tokio::test]
async fn a_token_opens_its_role_on_every_route_until_it_is_revoked() -> anyhow::Result<()> {
    let there = Installation::start("").await?;
    let held = there.enrol("i-1", &KeyPair::generate()?, &there.join_token(1).await?).await?;
    let mut callers: Vec<(Role, Option<String>)> = vec![(Role::Agent, None)];
    for role in [Role::Viewer, Role::Operator, Role::Admin] {
        let arguments = ["tokens", "create", "--name", "made", "--role", role.as_str()];
        let (made, token) = foreshadow(&there, &arguments).await?;
        ensure!(made, "{token}");
        callers.push((role, Some(token.trim().to_owned())));
    }
    let ask = async |method: &str, path: &str, token: Option<&String>, own: Option<&Held>| {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers: Vec<(&str, &str)> = bearer.iter().map(|value| ("authorization", value.as_str())).collect();
        if path.starts_with("/foreshadow.v1.") || path.starts_with("/grpc.") {
            headers.push(("content-type", "application/grpc"));
        }
        let url = format!("{}{path}", there.url());
        let asked = web::request_tls(method.parse()?, &url, &there.shown.ca, own, &headers, "");
        let answer = tokio::time::timeout(Duration::from_secs(20), asked).await??;
        let grpc = answer.headers.get("grpc-status").and_then(|value| value.to_str().ok()).map(str::to_owned);
        anyhow::Ok((answer.status.as_u16(), grpc))
    };
    let path = |route: &str| {
        let path = route.replace("{group}", "web").replace("{method}", "Check").replace("{generation}", "1");
        path.replace("{id}", "1").replace("{instance}", "i-none").replace("{token}", "none")
    };
    let mut tried = 0;
    for route in TABLE {
        for (role, token) in &callers {
            let may = route.roles.allow(&Caller::named("", *role));
            if matches!(route.path, "/shadow/metrics" | "/changes") && route.method == "GET" && may {
                // Streams without end.
                continue;
            }
            let own = token.is_none().then_some(&held);
            let (status, grpc) = ask(route.method, &path(route.path), token.as_ref(), own).await?;
            let refused = status == 403 || grpc.as_deref() == Some("7");
            assert_eq!(!refused, may, "{} {} as {role}: {status} {grpc:?}", route.method, route.path);
            assert!(status != 401 && grpc.as_deref() != Some("16"), "{} {} knows {role}", route.method, route.path);
            tried += 1;
        }
    }
    // Every method that a path does not know, as everybody: it is not there, whoever asks.
    let paths: std::collections::BTreeSet<&str> = TABLE.iter().map(|route| route.path).collect();
    for known in paths {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"] {
            // `/tokens/join` is also a `/tokens/{token}`.
            if TABLE.iter().any(|route| (route.path == known || known == "/tokens/join") && route.method == method) {
                continue;
            }
            let (status, grpc) = ask(method, &path(known), callers[3].1.as_ref(), None).await?;
            assert!(status == 405 && grpc.is_none(), "{method} {known}: {status} {grpc:?}");
            tried += 1;
        }
    }
    println!("{tried} pairs");

    // Revoked: nothing is open but what is open to anybody, at once.
    let (listed, tokens) = foreshadow(&there, &["tokens", "list", "--json"]).await?;
    ensure!(listed, "{tokens}");
    let tokens: serde_json::Value = serde_json::from_str(&tokens)?;
    for token in tokens.as_array().context("tokens")?.iter().filter(|token| token["kind"] == "bearer") {
        let id = token["id"].as_str().context("an id")?;
        assert!(token.get("hash").is_none() && token.get("token").is_none(), "{token}");
        let (revoked, said) = foreshadow(&there, &["tokens", "revoke", id, "--reason", "the test is over"]).await?;
        ensure!(revoked, "{said}");
    }
    let (revoked, said) =
        foreshadow(&there, &["certificates", "revoke", "i-1", "--reason", "the test is over"]).await?;
    ensure!(revoked, "{said}");
    for route in TABLE.iter().filter(|route| route.roles != Roles::Anybody) {
        for (role, token) in &callers {
            let own = token.is_none().then_some(&held);
            let (status, grpc) = ask(route.method, &path(route.path), token.as_ref(), own).await?;
            let refused = status == 401 || grpc.as_deref() == Some("16");
            assert!(refused, "{} {} as {role}, revoked: {status} {grpc:?}", route.method, route.path);
        }
    }
    Ok(())
}

/// Every route, by everything that is no proof.
#[tokio::test]
async fn no_route_opens_to_what_proves_nothing() -> anyhow::Result<()> {
    let there = Installation::start("").await?;
    let data = there.directory.path().join("data");
    let revoked = there.enrol("i-1", &KeyPair::generate()?, &there.join_token(1).await?).await?;
    let body = "{\"reason\": \"it lies\"}";
    assert_eq!(there.ask("operator", Method::POST, "/certificates/i-1/revoke", body).await?.status, 200);
    let stranger = trust::authority()?;
    let used = there.join_token(1).await?;
    let shows = [
        ("nothing", None, None),
        ("another authority's", Some(trust::sign(&stranger, "i-1", Wrong::NotOnRecord)?), None),
        ("one that ran out", Some(trust::forged(&data, "i-1", Wrong::Expired)?), None),
        ("one that is not valid yet", Some(trust::forged(&data, "i-1", Wrong::NotYetValid)?), None),
        ("one for servers", Some(trust::forged(&data, "i-1", Wrong::Purpose)?), None),
        ("one that is not on record", Some(trust::forged(&data, "i-1", Wrong::NotOnRecord)?), None),
        ("a revoked one", Some(revoked), None),
        ("a join token", None, Some(format!("Bearer {used}"))),
        ("a word", None, Some("Bearer admin".to_owned())),
        ("another scheme", None, Some(format!("Basic {}", there.tokens.of("admin")))),
    ];
    let mut tried = 0;
    for route in TABLE.iter().filter(|route| route.roles != Roles::Anybody) {
        let path = route.path.replace("{group}", "web").replace("{method}", "Check").replace("{generation}", "1");
        let path = path.replace("{id}", "1").replace("{instance}", "i-1").replace("{token}", "none");
        for (what, own, authorization) in &shows {
            let mut headers: Vec<(&str, &str)> =
                authorization.iter().map(|it| ("authorization", it.as_str())).collect();
            if route.path.starts_with("/foreshadow.v1.") || route.path.starts_with("/grpc.") {
                headers.push(("content-type", "application/grpc"));
            }
            let url = format!("{}{path}", there.url());
            let asked = web::request_tls(route.method.parse()?, &url, &there.shown.ca, own.as_ref(), &headers, "");
            // What TLS finds bad gets no answer at all.
            if let Ok(answer) = tokio::time::timeout(Duration::from_secs(20), asked).await? {
                let grpc = answer.headers.get("grpc-status").and_then(|value| value.to_str().ok());
                let refused = answer.status == 401 || grpc == Some("16");
                assert!(refused, "{} {path} by {what}: {} {grpc:?}", route.method, answer.status);
            } else {
                assert!(own.is_some(), "{} {path} by {what}: no answer", route.method);
            }
            tried += 1;
        }
    }
    println!("{tried} pairs");
    assert!(tried > 500, "{tried}");
    Ok(())
}

fn certificate(directory: &Path) -> Option<String> {
    let text = std::fs::read_to_string(directory.join("certificate.json")).ok()?;
    serde_json::from_str::<serde_json::Value>(&text).ok()?["certificates"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn an_agent_enrols_once_renews_under_its_stream_and_comes_back_after_any_outage() -> anyhow::Result<()> {
    let there = Installation::start("certificate_seconds = 15\n").await?;
    let path = there.directory.path();
    let join = path.join("join.token");
    std::fs::write(&join, there.join_token(1).await?)?;
    let (own, ca) = (path.join("own"), there.shown.ca.display().to_string());
    let (own_text, join_text) = (own.display().to_string(), join.display().to_string());
    let flags = ["--ca", &ca, "--identity", &own_text, "--join-token-file", &join_text, "--group", "web"];
    let running = agent(path, there.url(), "i-1", &flags)?;
    let first = eventually("a certificate", Duration::from_secs(30), async || Ok(certificate(&own))).await?;
    // Nobody needs it any more.
    std::fs::remove_file(&join)?;
    let renewed = async |since: String| {
        eventually("another certificate", Duration::from_secs(60), async || {
            Ok(certificate(&own).filter(|now| *now != since))
        })
        .await
    };
    let second = renewed(first).await?;
    let third = renewed(second).await?;
    let said = running.output();
    assert_eq!(
        said.lines().filter(|line| line.contains("connected transport=")).count(),
        1,
        "one stream all the time: {said}"
    );
    let samples = async || {
        let answer = there.ask("viewer", Method::GET, "/shadow/metrics?instance=i-1&from=-10m", "").await?;
        anyhow::Ok(answer.lines()?)
    };
    let made: Vec<u64> = samples().await?.iter().filter_map(|line| line["sequence"].as_u64()).collect();
    assert!(made.len() > 10 && (1..=made.len() as u64).all(|sequence| made.contains(&sequence)), "{made:?}");
    // The evidence is the instance's own.
    let group = there.ask("viewer", Method::GET, "/groups/web", "").await?.json()?;
    assert_eq!(group["members"][0]["proven"], true, "{group:#}");

    // An outage in which the certificate runs out: the key is enough to come back.
    let Installation { directory, shown, tokens, config, aggregator } = there;
    let port = aggregator.port;
    assert!(aggregator.process.terminate().await?.success());
    let expires: i64 = serde_json::from_str::<serde_json::Value>(&std::fs::read_to_string(
        own.join("certificate.json"),
    )?)?["expires_at"]
        .as_i64()
        .context("a time")?;
    eventually("the certificate runs out", Duration::from_secs(60), async || {
        Ok((SystemClock.wall_seconds() > expires + 1).then_some(()))
    })
    .await?;
    let aggregator = Aggregator::start_tls(directory.path(), &config, port, &shown.ca).await?;
    let there = Installation { directory, shown, tokens, config, aggregator };
    let count = made.len();
    eventually("it is back", Duration::from_secs(90), async || {
        let answer = there.ask("viewer", Method::GET, "/shadow/metrics?instance=i-1&from=-10m", "").await?;
        Ok((answer.lines()?.len() > count + 5).then_some(()))
    })
    .await?;
    assert_ne!(certificate(&own), Some(third));
    // And an agent that starts anew.
    assert!(running.terminate().await?.success());
    let flags = ["--ca", &ca, "--identity", &own_text, "--group", "web"];
    let again = agent(there.directory.path(), there.url(), "i-1", &flags)?;
    eventually("it streams again", Duration::from_secs(30), async || {
        let group = there.ask("viewer", Method::GET, "/groups/web", "").await?.json()?;
        Ok((group["members"][0]["connected"] == true).then_some(()))
    })
    .await?;
    // A stolen image: the same files under another name get nothing without a join token.
    assert!(again.terminate().await?.success());
    let other = agent(there.directory.path(), there.url(), "i-2", &flags)?;
    eventually("it is refused", Duration::from_secs(30), async || {
        Ok(other.output().contains("a join token is needed").then_some(()))
    })
    .await?;
    assert!(other.terminate().await?.success());

    let data = there.directory.path().join("data").display().to_string();
    let verify = ["audit", "verify", "--directory", &data];
    let (whole, said) = foreshadow(&there, &verify).await?;
    assert!(whole && said.starts_with("whole: "), "{said}");
    let anchor = said.trim().rsplit(' ').next().context("an anchor")?.to_owned();
    assert!(there.aggregator.process.terminate().await?.success());
    let Installation { directory, shown, tokens, config, .. } = there;
    let url = format!("sqlite:{data}/foreshadow.db");
    let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await?;
    sqlx::query("DELETE FROM audit WHERE entry = (SELECT MAX(entry) FROM audit)").execute(&mut connection).await?;
    drop(connection);
    let aggregator = Aggregator::start_tls(directory.path(), &config, port, &shown.ca).await?;
    let there = Installation { directory, shown, tokens, config, aggregator };
    let (whole, said) = foreshadow(&there, &[&verify[..], &["--anchor", &anchor]].concat()).await?;
    assert!(!whole && said.contains("cut off"), "{said}");
    Ok(())
}
