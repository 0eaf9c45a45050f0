//! Instance identity documents of AWS: what EC2 says of an instance, signed with the key of its region.
//!
//! A document proves that somebody was on the instance, not who: any process there can read it, and it is good for as
//! long as the instance runs. So it lets an instance in once, when its id is nobody's yet and the inventory has it in a
//! group, and from then on the key that came with it counts (see [`Enrolments`](super::Enrolments)). Every doubt refuses.
//!
//! AWS publishes the certificates on a page and not by a call, so the operator gives them: for each region a PEM file of
//! that name, which may hold several.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use foreshadow_proto::convert::Id;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;

use super::request::{INTEGER, SEQUENCE, public_key, take};
use super::signed_data::{SignedData, SignedDataError};
use super::{fingerprint, hex, validity};
use crate::config;

/// Longest document with its signature, base64; those of AWS have about 2 kB.
const DOCUMENT_BYTES: usize = 8 * 1_024;
/// Bytes of the modulus of the shortest RSA key that is believed.
const MODULUS_BYTES: usize = 256;
/// How far the clock of AWS may be ahead of ours, µs.
const AHEAD_MICROS: i64 = 300_000_000;

/// Why a document lets nobody in.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("no instance identity documents are taken here: identity.aws is not configured")]
    NotTaken,
    #[error("a signed instance identity document has {DOCUMENT_BYTES} bytes at most")]
    TooLong,
    #[error("the signed instance identity document is not base64")]
    Coding,
    #[error(transparent)]
    Signed(#[from] SignedDataError),
    #[error("what is signed is no instance identity document: {0}")]
    Content(String),
    #[error("region {0} is none of identity.aws.regions")]
    Region(String),
    #[error("account {0} is none of identity.aws.accounts")]
    Account(String),
    #[error("no certificate of region {0} is good now: put the one that AWS publishes into identity.aws.certificates")]
    Certificate(String),
    #[error("it is of {is}, and {claimed} is claimed")]
    Instance { is: String, claimed: Id },
    #[error("the instance started {0} s from now")]
    Future(i64),
    #[error("the instance started {0} s ago, longer than identity.aws.longest_age_seconds")]
    Age(i64),
}

/// What AWS said of the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    pub account: String,
    pub region: String,
    /// When it was started last, µs since the epoch.
    pub started_micros: i64,
}

impl std::fmt::Display for Attested {
    /// As it is kept beside the key that it let in.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "aws:{}:{}", self.account, self.region)
    }
}

/// The parts of a document that count (EC2 user guide, "Instance identity documents").
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    account_id: String,
    instance_id: String,
    region: String,
    pending_time: String,
}

/// A region's certificate: its key, and when it is good, seconds since the epoch.
#[derive(Debug)]
struct Certificate {
    key: Vec<u8>,
    begins: i64,
    ends: i64,
}

/// Checks documents.
#[derive(Debug)]
pub struct InstanceDocuments {
    accounts: Vec<String>,
    regions: BTreeMap<String, Vec<Certificate>>,
    longest_age_micros: Option<i64>,
}

impl InstanceDocuments {
    /// Reads the certificates of every region; each problem names the file and what to do.
    pub fn read(config: &config::InstanceDocuments) -> Result<Self, Vec<String>> {
        let (mut regions, mut problems) = (BTreeMap::new(), Vec::new());
        for region in &config.regions {
            let path = config.certificates.join(format!("{region}.pem"));
            let pins = config.pins.get(region).map(Vec::as_slice);
            match certificates(&path, pins) {
                Ok(read) => drop(regions.insert(region.clone(), read)),
                Err(problem) => problems.push(format!("{}: {problem}", path.display())),
            }
        }
        let longest_age_micros = config.longest_age_seconds.map(|seconds| i64::from(seconds) * 1_000_000);
        let accounts = config.accounts.clone();
        if problems.is_empty() { Ok(Self { accounts, regions, longest_age_micros }) } else { Err(problems) }
    }

    /// When the last certificate of each region ends, seconds since the epoch.
    pub fn ends(&self) -> impl Iterator<Item = (&str, i64)> {
        let last = |of: &[Certificate]| of.iter().map(|certificate| certificate.ends).max();
        self.regions.iter().filter_map(move |(region, of)| Some((region.as_str(), last(of)?)))
    }

    /// What AWS says of the instance `claimed`. `signed` is what the metadata service gives at
    /// `dynamic/instance-identity/rsa2048`: base64, its lines and the lines of PEM around it allowed.
    pub fn check(&self, signed: &[u8], claimed: &Id, now_micros: i64) -> Result<Attested, DocumentError> {
        if signed.len() > DOCUMENT_BYTES {
            return Err(DocumentError::TooLong);
        }
        let text = std::str::from_utf8(signed).map_err(|_| DocumentError::Coding)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("-----"));
        let ber = STANDARD.decode(lines.collect::<String>()).map_err(|_| DocumentError::Coding)?;
        let envelope = SignedData::read(&ber)?;
        // Only to find out whose key it has to be; read again when that key signed it.
        let region = document(envelope.claimed())?.region;
        let Some(certificates) = self.regions.get(&region) else { return Err(DocumentError::Region(region)) };
        let now = now_micros / 1_000_000;
        let good = |certificate: &&Certificate| certificate.begins <= now && now < certificate.ends;
        let mut verified = Err(DocumentError::Certificate(region));
        for certificate in certificates.iter().filter(good) {
            verified = envelope.verified_by(&certificate.key).map_err(DocumentError::from);
            if verified.is_ok() {
                break;
            }
        }
        self.accept(document(verified?)?, claimed, now_micros)
    }

    fn accept(&self, told: Document, claimed: &Id, now_micros: i64) -> Result<Attested, DocumentError> {
        if !self.accounts.contains(&told.account_id) {
            return Err(DocumentError::Account(told.account_id));
        }
        if told.instance_id != claimed.as_str() {
            return Err(DocumentError::Instance { is: told.instance_id, claimed: claimed.clone() });
        }
        let started: Result<jiff::Timestamp, _> = told.pending_time.parse();
        let started = started.map_err(|error| DocumentError::Content(format!("pendingTime: {error}")))?;
        let started_micros = started.as_microsecond();
        let age = now_micros - started_micros;
        if age < -AHEAD_MICROS {
            return Err(DocumentError::Future(-age / 1_000_000));
        }
        if self.longest_age_micros.is_some_and(|longest| age > longest) {
            return Err(DocumentError::Age(age / 1_000_000));
        }
        Ok(Attested { account: told.account_id, region: told.region, started_micros })
    }
}

fn document(bytes: &[u8]) -> Result<Document, DocumentError> {
    serde_json::from_slice(bytes).map_err(|error| DocumentError::Content(error.to_string()))
}

/// The certificates in a file, which are all among the pinned ones where there are any.
fn certificates(path: &Path, pins: Option<&[[u8; 32]]>) -> Result<Vec<Certificate>, String> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|error| {
        format!("cannot be read ({error}): put the RSA-2048 certificate that AWS publishes for this region there")
    })?;
    if all.is_empty() {
        return Err("holds no certificate (PEM)".to_owned());
    }
    all.iter().map(|der| certificate(der, pins)).collect()
}

fn certificate(der: &CertificateDer<'_>, pins: Option<&[[u8; 32]]>) -> Result<Certificate, String> {
    let print = fingerprint(der);
    if pins.is_some_and(|pins| !pins.contains(&print)) {
        return Err(format!("its certificate has the SHA-256 {}, which identity.aws.pins does not name", hex(&print)));
    }
    let mut roots = RootCertStore::empty();
    roots.add(der.clone()).map_err(|error| format!("its certificate cannot be used: {error}"))?;
    let info = roots.roots.first().map(|root| root.subject_public_key_info.as_ref()).unwrap_or_default();
    let (begins, ends) = validity::times(der).ok_or("the times of its certificate cannot be read")?;
    let key = public_key(info).ok_or("its certificate has no key that can be read")?;
    if !is_rsa_2048(key) {
        return Err("its certificate is not for RSA of 2048 bits: AWS publishes several, take the one named RSA-2048"
            .to_owned());
    }
    Ok(Certificate { key: key.to_vec(), begins, ends })
}

/// An `RSAPublicKey` whose modulus is long enough.
fn is_rsa_2048(mut key: &[u8]) -> bool {
    let modulus = take(&mut key, SEQUENCE).and_then(|mut numbers| take(&mut numbers, INTEGER));
    modulus.is_some_and(|modulus| modulus.len() > MODULUS_BYTES && key.is_empty())
}

#[cfg(test)]
#[path = "instance_document_tests.rs"]
mod tests;
