//! Beyond loopback there is TLS and a token, or there is nothing.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use foreshadow_tests::process::{Aggregator, agent, binary, eventually, free_port};
use foreshadow_tests::tokens::Tokens;
use foreshadow_tests::web;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};

#[tokio::test]
async fn an_agent_speaks_tls_with_a_token_and_trusts_one_authority_only() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name);
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let other = CertifiedIssuer::self_signed(authority.clone(), KeyPair::generate()?)?;
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let mut server = CertificateParams::new(Vec::new())?;
    server.subject_alt_names = vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
    let key = KeyPair::generate()?;
    std::fs::write(path("ca.pem"), authority.pem())?;
    std::fs::write(path("other.pem"), other.pem())?;
    std::fs::write(path("server.pem"), server.signed_by(&key, &authority)?.pem())?;
    std::fs::write(path("server.key"), key.serialize_pem())?;

    let tokens = Tokens::make(directory.path()).await?;
    let config = format!(
        "[listen]\ncertificate = \"{}\"\nkey = \"{}\"\n[identity]\ntokens = \"{}\"\n",
        path("server.pem").display(),
        path("server.key").display(),
        tokens.file.display()
    );
    let port = free_port()?;
    let aggregator = Aggregator::start_tls(directory.path(), &config, port, &path("ca.pem")).await?;
    let token = tokens.write("agent")?.display().to_string();
    let (ca, wrong) = (path("ca.pem").display().to_string(), path("other.pem").display().to_string());
    let right = agent(directory.path(), &aggregator.url, "i-right", &["--token-file", &token, "--ca", &ca])?;
    let wrong = agent(directory.path(), &aggregator.url, "i-wrong", &["--token-file", &token, "--ca", &wrong])?;
    let plain = format!("http://127.0.0.1:{port}");
    let plain = agent(directory.path(), &plain, "i-plain", &["--token-file", &token])?;
    let bearer = format!("Bearer {}", tokens.of("viewer"));
    let samples = async |instance: &str| {
        let url = format!("{}/shadow/metrics?instance={instance}&from=-5m", aggregator.url);
        let answer = web::get_tls(&url, &path("ca.pem"), &[("authorization", &bearer)]).await?;
        anyhow::Ok(answer.lines()?.len())
    };
    eventually("samples over TLS", Duration::from_secs(30), async || Ok((samples("i-right").await? > 2).then_some(())))
        .await?;
    assert_eq!((samples("i-wrong").await?, samples("i-plain").await?), (0, 0));
    // Each says what it is, and once.
    for (agent, told) in [(&wrong, "no TLS with the aggregator"), (&plain, "does it speak https")] {
        eventually(told, Duration::from_secs(20), async || Ok(agent.output().contains(told).then_some(()))).await?;
    }
    assert!(!wrong.output().contains("UnknownIssuer: invalid peer certificate"), "{}", wrong.output());
    let asked = |url: &str| {
        let mut command = tokio::process::Command::new(binary("foreshadow")?);
        command.args(["journal", "--url", url, "--ca", &ca]);
        anyhow::Ok(command)
    };
    let plain_text = asked(&format!("http://127.0.0.1:{port}"))?.output().await?;
    let told = String::from_utf8_lossy(&plain_text.stderr).into_owned();
    assert!(told.contains("is it https://?"), "{told}");
    for process in [right, wrong, plain] {
        assert!(process.terminate().await?.success());
    }
    assert!(!aggregator.process.output().contains(tokens.of("agent")), "a secret is in the log");
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}
