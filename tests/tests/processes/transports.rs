//! What carries the stream: TCP, QUIC, or whichever is answered; and what a sample takes on it.

use std::sync::Arc;
use std::time::Duration;

use foreshadow_agent::identity::Proof;
use foreshadow_agent::stream::{Endpoint, Transport, quic};
use foreshadow_proto::v1::aggregator_message::Kind;
use foreshadow_tests::installation::Installation;
use foreshadow_tests::process::{Process, agent, eventually, pause};
use foreshadow_tests::relay::Relay;
use foreshadow_tests::trust::{self, Held, Wrong};
use http::Method;
use rcgen::KeyPair;
use tonic::Code;

/// The real agent with a certificate of its own, through a relay.
async fn through(there: &Installation, relay: &Relay, instance: &str, more: &[&str]) -> anyhow::Result<Process> {
    let join = there.path().join(format!("{instance}.token"));
    std::fs::write(&join, there.join_token(1).await?)?;
    let text = |path: &std::path::Path| path.display().to_string();
    let (ca, own, join) = (text(&there.shown.ca), text(&there.path().join(instance)), text(&join));
    let flags = ["--ca", &ca, "--identity", &own, "--join-token-file", &join, "--group", "web"];
    agent(there.path(), &relay.url(), instance, &[&flags[..], more].concat())
}

/// Waits until so many samples can be read back, and says which.
async fn samples(there: &Installation, instance: &str, count: usize) -> anyhow::Result<Vec<u64>> {
    eventually(&format!("{count} samples of {instance}"), Duration::from_secs(60), async || {
        Ok(Some(there.sequences(instance).await?).filter(|found| found.len() >= count))
    })
    .await
}

#[tokio::test]
async fn quic_goes_on_from_another_address_and_ends_with_the_certificate() -> anyhow::Result<()> {
    let there = Installation::start("").await?;
    let relay = Relay::start(there.aggregator.port).await?;
    let running = through(&there, &relay, "i-1", &["--transport", "quic"]).await?;
    samples(&there, "i-1", 3).await?;
    for _ in 0..3 {
        relay.move_away();
        let before = there.sequences("i-1").await?.len();
        samples(&there, "i-1", before + 3).await?;
    }
    let made = there.sequences("i-1").await?;
    assert!((1..=made.len() as u64).all(|sequence| made.contains(&sequence)), "{made:?}");
    let said = running.output();
    assert_eq!(said.matches("connected transport=\"quic\"").count(), 1, "one stream through four addresses: {said}");
    assert_eq!(relay.tcp_bytes(), (0, 0), "enrolled and streamed over QUIC alone");

    // What ends over TCP ends here: at once, and for good.
    let gone = there.ask("operator", Method::POST, "/certificates/i-1/revoke", r#"{"reason": "it lies"}"#).await?;
    assert!(gone.status.is_success(), "{}", gone.body);
    eventually("the agent is refused", Duration::from_secs(30), async || {
        Ok(running.output().contains("refuses this agent").then_some(()))
    })
    .await?;
    let ended = there.sequences("i-1").await?.len();
    pause(Duration::from_secs(3)).await;
    assert_eq!(there.sequences("i-1").await?.len(), ended);
    assert!(running.terminate().await?.success());
    assert!(there.aggregator.process.terminate().await?.success());
    Ok(())
}

#[tokio::test]
async fn auto_is_quic_where_udp_is_answered_and_soon_tcp_where_it_is_not() -> anyhow::Result<()> {
    let there = Installation::start("").await?;
    let relay = Relay::start(there.aggregator.port).await?;
    let endpoint = Endpoint {
        uri: relay.url().parse()?,
        ca: Some(there.shown.ca.clone()),
        token_file: None,
        credentials: None,
        transport: Transport::Auto,
    };
    let held = there.enrol("i-1", &KeyPair::generate()?, &there.join_token(1).await?).await?;
    let proof = Proof { certificates: held.certificates, key: held.key };
    assert_eq!(endpoint.open_as(Some(&proof)).await?.transport, Transport::Quic);
    relay.silence_udp(true);
    let began = tokio::time::Instant::now();
    let open = endpoint.open_as(Some(&proof)).await?;
    let took = began.elapsed();
    println!("over TCP {} ms after the first packet over UDP that nobody answered", took.as_millis());
    assert_eq!(open.transport, Transport::Tcp);
    // A loaded machine is slow; a transport's own patience would be ten seconds.
    assert!(took < Duration::from_secs(3), "{took:?}");
    relay.silence_udp(false);
    assert_eq!(endpoint.open_as(Some(&proof)).await?.transport, Transport::Quic, "it is tried each time");

    // A real agent behind the firewall, and one that may use nothing else.
    relay.silence_udp(true);
    let either = through(&there, &relay, "i-2", &["--transport", "auto"]).await?;
    let quic_alone = through(&there, &relay, "i-3", &["--transport", "quic"]).await?;
    samples(&there, "i-2", 3).await?;
    assert!(either.output().contains("connected transport=\"tcp\""), "{}", either.output());
    assert_eq!(there.sequences("i-3").await?, [0_u64; 0]);
    relay.silence_udp(false);
    samples(&there, "i-3", 1).await?;
    assert!(either.terminate().await?.success());
    assert!(quic_alone.terminate().await?.success());
    Ok(())
}

#[tokio::test]
async fn nobody_is_let_in_over_quic_who_is_not_over_tcp() -> anyhow::Result<()> {
    let there = Installation::start("").await?;
    let held = there.enrol("i-1", &KeyPair::generate()?, &there.join_token(1).await?).await?;
    let revoked = there.enrol("i-2", &KeyPair::generate()?, &there.join_token(1).await?).await?;
    let gone = there.ask("operator", Method::POST, "/certificates/i-2/revoke", r#"{"reason": "lost"}"#).await?;
    assert!(gone.status.is_success(), "{}", gone.body);
    let data = there.path().join("data");
    let forged = |wrong| trust::forged(&data, "i-1", wrong);
    let other_authority = trust::authority()?;
    let stranger = trust::sign(&other_authority, "i-1", Wrong::NotOnRecord)?;
    let (expired, early) = (forged(Wrong::Expired)?, forged(Wrong::NotYetValid)?);
    let (server, unknown) = (forged(Wrong::Purpose)?, forged(Wrong::NotOnRecord)?);
    for (what, own, bearer, instance, let_in) in [
        ("its own", Some(&held), None, "i-1", true),
        ("another's id", Some(&held), None, "i-9", false),
        ("revoked", Some(&revoked), None, "i-2", false),
        ("another authority's", Some(&stranger), None, "i-1", false),
        ("run out", Some(&expired), None, "i-1", false),
        ("not valid yet", Some(&early), None, "i-1", false),
        ("for servers", Some(&server), None, "i-1", false),
        ("not on record", Some(&unknown), None, "i-1", false),
        ("nothing", None, None, "i-1", false),
        ("the shared token, for one that has a certificate", None, Some(there.tokens.of("agent")), "i-1", false),
        ("the shared token", None, Some(there.tokens.of("agent")), "i-7", true),
    ] {
        let over_tcp = there.hello(own, bearer, instance).await;
        let over_quic = over_quic(&there, own, bearer, instance).await?;
        assert_eq!(over_quic, over_tcp, "{what}");
        assert_eq!(over_quic.is_none(), let_in, "{what}: {over_quic:?}");
    }
    Ok(())
}

/// How a Hello is refused, if it is.
async fn over_quic(
    there: &Installation,
    own: Option<&Held>,
    bearer: Option<&str>,
    instance: &str,
) -> anyhow::Result<Option<Code>> {
    let uri: http::Uri = there.url().parse()?;
    let http = tonic::transport::Channel::from_static("http://quic.invalid").origin(uri.clone());
    let ca = std::fs::read(&there.shown.ca)?;
    let proof = own.map(|held| Proof { certificates: held.certificates.clone(), key: held.key.clone() });
    Ok(match quic::connect(http, &uri, Some(&ca), proof.as_ref()).await {
        Ok(channel) => trust::code(&trust::hello_over(channel, bearer, instance).await),
        Err(error) => {
            println!("{error:?}");
            Some(Code::Unavailable)
        }
    })
}

#[tokio::test]
async fn who_opens_nothing_over_quic_is_let_go() -> anyhow::Result<()> {
    let there = Installation::start("").await?;
    let ca = std::fs::read(&there.shown.ca)?;
    let endpoint = quinn::Endpoint::client(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let configuration = quic::configuration(Some(&ca), None)?;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], there.aggregator.port));
    let connection = endpoint.connect_with(configuration, address, "127.0.0.1")?.await?;
    // Nor may anybody open what is not spoken here.
    let uni = tokio::time::timeout(Duration::from_secs(1), connection.open_uni()).await;
    assert!(uni.is_err(), "no stream of that kind may be opened");
    let ended = tokio::time::timeout(Duration::from_secs(30), connection.closed()).await?;
    println!("{ended}");
    Ok(())
}

/// SPECIFICATION, promise 211.
#[tokio::test]
async fn a_sample_takes_few_bytes_on_the_wire() -> anyhow::Result<()> {
    let there = Arc::new(Installation::start("").await?);
    let mut tasks = tokio::task::JoinSet::new();
    for (batch, at_most) in [(1_usize, 200.0), (10, 60.0)] {
        let there = there.clone();
        tasks.spawn(async move {
            let relay = Relay::start(there.aggregator.port).await?;
            let instance = format!("i-{batch}");
            let running = through(&there, &relay, &instance, &["--batch", &batch.to_string()]).await?;
            let before = samples(&there, &instance, batch).await?.len();
            let (up, down) = relay.tcp_bytes();
            let after = samples(&there, &instance, before + 20).await?.len();
            let (up, down) = (relay.tcp_bytes().0 - up, relay.tcp_bytes().1 - down);
            let each = |bytes: u64| bytes as f64 / (after - before) as f64;
            let (up, down) = (each(up), each(down));
            println!("batches of {batch}: {up:.0} bytes a sample to the aggregator, {down:.0} from it, over mTLS");
            anyhow::ensure!(up <= at_most, "{up}");
            // 80 where each message has an acknowledgement of its own.
            anyhow::ensure!(down <= 60.0, "{down}");
            running.terminate().await?;
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// A Welcome says which revision both speak.
#[tokio::test]
async fn the_revision_is_agreed_upon() -> anyhow::Result<()> {
    let there = Installation::start("").await?;
    let bearer = there.tokens.of("agent");
    for (newest, agreed) in
        [(0, 1), (foreshadow_proto::PROTOCOL, foreshadow_proto::PROTOCOL), (99, foreshadow_proto::PROTOCOL)]
    {
        let channel = trust::connect(there.url(), &there.shown.ca, None).await?;
        let welcome = trust::welcome_over(channel, Some(bearer), &format!("i-{newest}"), newest).await?;
        let Some(Kind::Welcome(welcome)) = welcome.0.kind else { anyhow::bail!("{welcome:?}") };
        assert_eq!(welcome.protocol, agreed);
    }
    Ok(())
}
