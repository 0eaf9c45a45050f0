//! Every route against every role, from the product's own table: who may, may; nobody else does.

use foreshadow::api::routes::{Roles, TABLE};
use foreshadow::identity::{Caller, Role};
use foreshadow_tests::process::{Aggregator, agent, eventually};
use foreshadow_tests::tokens::Tokens;
use foreshadow_tests::web;
use http::Method;
use std::time::Duration;

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
