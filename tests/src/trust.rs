//! Certificates for tests: the aggregator's own, an agent's by way of the product, and wrong ones of every kind.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use foreshadow_proto::v1::agent_client::AgentClient;
use foreshadow_proto::v1::enrolment_client::EnrolmentClient;
use foreshadow_proto::v1::{self, agent_message, aggregator_message};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Code, Request, Status, Streaming};

/// A certificate chain and its key, PEM.
#[derive(Debug, Clone)]
pub struct Held {
    pub certificates: String,
    pub key: String,
}

/// What the aggregator shows, and who signed it.
#[derive(Debug, Clone)]
pub struct Shown {
    pub ca: PathBuf,
    /// `[listen]` of the configuration.
    pub listen: String,
}

/// Makes a certificate for 127.0.0.1 in `directory`.
pub fn shown(directory: &Path) -> anyhow::Result<Shown> {
    shown_at(directory, IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// Makes a certificate for an address in `directory`.
pub fn shown_at(directory: &Path, address: IpAddr) -> anyhow::Result<Shown> {
    let path = |name: &str| directory.join(name);
    let authority = authority()?;
    let mut server = CertificateParams::new(Vec::new())?;
    server.subject_alt_names = vec![SanType::IpAddress(address)];
    let key = KeyPair::generate()?;
    std::fs::write(path("ca.pem"), authority.pem())?;
    std::fs::write(path("server.pem"), server.signed_by(&key, &authority)?.pem())?;
    std::fs::write(path("server.key"), key.serialize_pem())?;
    let (certificate, key) = (path("server.pem"), path("server.key"));
    let listen = format!("[listen]\ncertificate = \"{}\"\nkey = \"{}\"\n", certificate.display(), key.display());
    Ok(Shown { ca: path("ca.pem"), listen })
}

/// An authority that nobody asked for.
pub fn authority() -> anyhow::Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// What is wrong with a certificate that the aggregator's own authority signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Nothing, but the aggregator never issued it.
    NotOnRecord,
    Expired,
    NotYetValid,
    /// It is for servers.
    Purpose,
}

/// A certificate of `instance` signed with the aggregator's own authority, stolen from its directory.
pub fn forged(directory: &Path, instance: &str, wrong: Wrong) -> anyhow::Result<Held> {
    let own = directory.join("identity");
    let key = KeyPair::from_pem(&std::fs::read_to_string(own.join("authority.key"))?)?;
    let mut params = CertificateParams::default();
    // As the product names its own.
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Foreshadow agents");
    sign(&Issuer::new(params, key), instance, wrong)
}

/// The same by any authority.
pub fn sign(issuer: &Issuer<'_, KeyPair>, instance: &str, wrong: Wrong) -> anyhow::Result<Held> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(rcgen::DnType::CommonName, instance);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2090, 1, 1);
    match wrong {
        Wrong::NotOnRecord => {}
        Wrong::Expired => params.not_after = rcgen::date_time_ymd(2021, 1, 1),
        Wrong::NotYetValid => params.not_before = rcgen::date_time_ymd(2089, 1, 1),
        Wrong::Purpose => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
    }
    let key = KeyPair::generate()?;
    Ok(Held { certificates: params.signed_by(&key, issuer)?.pem(), key: key.serialize_pem() })
}

/// A connection that trusts `ca` and shows `own`.
pub async fn connect(url: &str, ca: &Path, own: Option<&Held>) -> anyhow::Result<Channel> {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(std::fs::read(ca)?));
    if let Some(own) = own {
        tls = tls.identity(Identity::from_pem(&own.certificates, &own.key));
    }
    Ok(Channel::from_shared(url.to_owned())?.tls_config(tls)?.connect().await?)
}

/// Asks for a certificate with a key of one's own and a join token.
pub async fn enrol(url: &str, ca: &Path, instance: &str, key: &KeyPair, join_token: &str) -> Result<Held, Status> {
    enrol_with(url, ca, instance, key, (join_token, "")).await
}

/// The same with a join token and a signed instance identity document, either of them empty.
pub async fn enrol_with(
    url: &str,
    ca: &Path,
    instance: &str,
    key: &KeyPair,
    evidence: (&str, &str),
) -> Result<Held, Status> {
    let channel = connect(url, ca, None).await.map_err(|error| Status::unavailable(format!("{error:#}")))?;
    let params = CertificateParams::default();
    let request = params.serialize_request(key).map_err(|error| Status::internal(error.to_string()))?;
    let request = v1::EnrolRequest {
        instance_id: instance.to_owned(),
        signing_request: request.der().to_vec(),
        join_token: evidence.0.to_owned(),
        instance_document: evidence.1.as_bytes().to_vec(),
    };
    let answer = EnrolmentClient::new(channel).enrol(request).await?.into_inner();
    Ok(Held { certificates: answer.certificates, key: key.serialize_pem() })
}

/// An open stream of an agent that was welcomed.
#[derive(Debug)]
pub struct Welcomed {
    pub outgoing: mpsc::Sender<v1::AgentMessage>,
    pub incoming: Streaming<v1::AggregatorMessage>,
}

/// Opens a stream and says Hello as `instance`; the error is the aggregator's, or `Unavailable` where TLS ended it.
pub async fn hello(
    url: &str,
    ca: &Path,
    own: Option<&Held>,
    bearer: Option<&str>,
    instance: &str,
) -> Result<Welcomed, Status> {
    let gone = |error: anyhow::Error| Status::unavailable(format!("{error:#}"));
    hello_over(connect(url, ca, own).await.map_err(gone)?, bearer, instance).await
}

/// The same over a connection that is there.
pub async fn hello_over(channel: Channel, bearer: Option<&str>, instance: &str) -> Result<Welcomed, Status> {
    let (first, welcomed) = welcome_over(channel, bearer, instance, 0).await?;
    match first.kind {
        Some(aggregator_message::Kind::Welcome(_)) => Ok(welcomed),
        other => Err(Status::internal(format!("no welcome: {other:?}"))),
    }
}

/// The same with the newest revision of the wire that is spoken, and the first answer.
pub async fn welcome_over(
    channel: Channel,
    bearer: Option<&str>,
    instance: &str,
    newest_protocol: u32,
) -> Result<(v1::AggregatorMessage, Welcomed), Status> {
    let (outgoing, messages) = mpsc::channel(8);
    let mut request = Request::new(ReceiverStream::new(messages));
    if let Some(bearer) = bearer {
        let value = format!("Bearer {bearer}").parse().map_err(|_| Status::internal("no header"))?;
        request.metadata_mut().insert("authorization", value);
    }
    let hello = v1::Hello {
        instance_id: instance.to_owned(),
        stream_id: foreshadow_agent::clock::random::<16>().to_vec(),
        boot_id: "boot".to_owned(),
        protocol: 1,
        newest_protocol,
        ..v1::Hello::default()
    };
    let kind = Some(agent_message::Kind::Hello(hello));
    drop(outgoing.send(v1::AgentMessage { kind }).await);
    // What TLS refuses comes as a broken connection, whatever word tonic has for it.
    let broken = |status: Status| match std::error::Error::source(&status) {
        Some(_) => Status::unavailable(status.to_string()),
        None => status,
    };
    let mut incoming = AgentClient::new(channel).stream(request).await.map_err(broken)?.into_inner();
    let first = incoming.message().await.map_err(broken)?;
    Ok((first.unwrap_or_default(), Welcomed { outgoing, incoming }))
}

/// The code of a refusal.
pub fn code<T>(result: &Result<T, Status>) -> Option<Code> {
    result.as_ref().err().map(Status::code)
}

impl Welcomed {
    /// Reads until the stream ends, and says how.
    pub async fn ended(mut self) -> anyhow::Result<Status> {
        let end = async {
            loop {
                match self.incoming.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Status::ok(""),
                    Err(status) => return status,
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), end).await.context("the stream goes on")
    }
}
