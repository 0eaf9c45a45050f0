//! The authority that signs agents' certificates: one of our own, made at the first start, or the
//! operator's by files. Whoever has its key can be any instance, so a key that others may read is refused.
//!
//! A certificate is good for one thing, proving the instance to this aggregator; it says nothing that the
//! agent asked for. What counts is the record of it (see [`Enrolments`](super::Enrolments)): one that is not on
//! record lets nobody in, so that an operator's authority may sign other things as well.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use foreshadow_proto::convert::Id;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::request::{Request, name};

/// The authority's own certificate is good for this long, seconds: ten years.
const AUTHORITY_SECONDS: i64 = 10 * 365 * 86_400;
/// Certificates begin this long ago, seconds: an aggregator whose clock is a little behind takes them too.
const BACKDATED_SECONDS: i64 = 300;

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("{path}: {problem}")]
    File { path: String, problem: String },
    #[error("no certificate can be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// A certificate as it was issued.
#[derive(Debug, Clone)]
pub struct Issued {
    /// PEM, the instance's own first, the authority's behind it.
    pub pem: String,
    /// SHA-256 of the first.
    pub fingerprint: [u8; 32],
}

/// SHA-256 of a certificate.
pub fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

/// Signs agents' certificates. Cheap to clone.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Our own, in `directory`; made when it is not there. `now` is seconds since the epoch.
    pub fn own(directory: &Path, now: i64) -> Result<Self, AuthorityError> {
        let (certificate, key) = (directory.join("authority.pem"), directory.join("authority.key"));
        fs::create_dir_all(directory).map_err(|error| problem(directory, &error))?;
        if !key.exists() {
            write_new(&key, &KeyPair::generate()?.serialize_pem())?;
        }
        // Key first: after a crash between the two its certificate is made anew.
        if !certificate.exists() {
            let pair = read_key(&key)?;
            let mut params = CertificateParams::default();
            params.distinguished_name = named("Foreshadow agents");
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params.not_before = at(now - BACKDATED_SECONDS);
            params.not_after = at(now + AUTHORITY_SECONDS);
            write_new(&certificate, &params.self_signed(&pair)?.pem())?;
            tracing::info!(certificate = %certificate.display(), "an authority for agents' certificates was made");
        }
        Self::read(&certificate, &key, now)
    }

    /// The one in these PEM files. `now` is seconds since the epoch.
    pub fn read(certificate: &Path, key: &Path, now: i64) -> Result<Self, AuthorityError> {
        let pem = fs::read_to_string(certificate).map_err(|error| problem(certificate, &error))?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| problem(certificate, &error))?;
        let mut roots = RootCertStore::empty();
        roots.add(der.clone()).map_err(|error| problem(certificate, &error))?;
        let subject = roots.roots.first().and_then(|root| name(&root.subject));
        let seldom = || {
            problem(certificate, &"its name has attributes that cannot be written again: make one with a plain name")
        };
        let mut params = CertificateParams::default();
        params.distinguished_name = subject.ok_or_else(seldom)?;
        let issuer = Issuer::new(params, read_key(key)?);
        let authority = Self(Arc::new(Inner { issuer, certificate: der, pem }));
        // A certificate that belongs to another key, or may sign nobody, is found out now and not by the first agent.
        authority.proves(certificate, now)?;
        Ok(authority)
    }

    /// What this authority signs is found good under its own certificate.
    fn proves(&self, path: &Path, now: i64) -> Result<(), AuthorityError> {
        let pair = KeyPair::generate()?;
        let leaf = leaf("probe", [1; 16], at(now), 60)?.signed_by(&pair, &self.0.issuer)?;
        let verifier = self.verifier().map_err(|error| problem(path, &error))?;
        let seconds = u64::try_from(now).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let good = verifier.verify_client_cert(leaf.der(), std::slice::from_ref(&self.0.certificate), now);
        good.map(drop).map_err(|error| problem(path, &format!("does not go with its key: {error}")))
    }

    /// What a caller's certificate is checked against.
    pub fn verifier(&self) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, AuthorityError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(self.roots()?);
        // People and programs bring a token and no certificate.
        let built = rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider);
        let built = built.allow_unauthenticated().build();
        built.map_err(|error| AuthorityError::File { path: "the authority".to_owned(), problem: error.to_string() })
    }

    fn roots(&self) -> Result<RootCertStore, AuthorityError> {
        let mut roots = RootCertStore::empty();
        let added = roots.add(self.0.certificate.clone());
        added.map_err(|error| AuthorityError::File { path: "the authority".to_owned(), problem: error.to_string() })?;
        Ok(roots)
    }

    /// The authority's own certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.0.pem
    }

    /// A certificate that names the instance, good for `seconds` from `now` (seconds since the epoch). `serial` is random.
    pub fn issue(
        &self,
        instance: &Id,
        request: &Request,
        serial: [u8; 16],
        now: i64,
        seconds: u32,
    ) -> Result<Issued, AuthorityError> {
        let params = leaf(instance.as_str(), serial, at(now), i64::from(seconds))?;
        let certificate = params.signed_by(request, &self.0.issuer)?;
        let pem = format!("{}{}", certificate.pem(), self.0.pem);
        Ok(Issued { fingerprint: fingerprint(certificate.der()), pem })
    }
}

fn leaf(
    instance: &str,
    mut serial: [u8; 16],
    now: OffsetDateTime,
    seconds: i64,
) -> Result<CertificateParams, rcgen::Error> {
    // A serial number is positive (RFC 5280, 4.1.2.2).
    serial[0] &= 0x7f;
    let mut params = CertificateParams::default();
    params.distinguished_name = named(instance);
    params.subject_alt_names = vec![SanType::URI(format!("foreshadow:instance:{instance}").try_into()?)];
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = now - time::Duration::seconds(BACKDATED_SECONDS);
    params.not_after = now + time::Duration::seconds(seconds);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn problem(path: &Path, problem: &dyn std::fmt::Display) -> AuthorityError {
    AuthorityError::File { path: path.display().to_string(), problem: problem.to_string() }
}

fn read_key(path: &Path) -> Result<KeyPair, AuthorityError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(path).map_err(|error| problem(path, &error))?.permissions().mode();
        if mode & 0o077 != 0 {
            let told = format!("others may read it (mode {:o}): chmod 600 {}", mode & 0o777, path.display());
            return Err(problem(path, &told));
        }
    }
    let pem = fs::read_to_string(path).map_err(|error| problem(path, &error))?;
    KeyPair::from_pem(&pem).map_err(|error| problem(path, &error))
}

/// Writes a file that only its owner may read, whole or not at all.
fn write_new(path: &Path, text: &str) -> Result<(), AuthorityError> {
    let beside: PathBuf = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        drop(fs::remove_file(&beside));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let mut file = options.open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|error| problem(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_outlives_a_restart_and_its_key_is_nobody_elses() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = Authority::own(directory.path(), 1_800_000_000).expect("made");
        let again = Authority::own(directory.path(), 1_800_000_000).expect("read");
        assert_eq!(first.pem(), again.pem());
        let key = directory.path().join("authority.key");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode(&key), 0o600);
            fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("set");
            let refused = Authority::own(directory.path(), 0).expect_err("refused").to_string();
            assert!(refused.contains("chmod 600"), "{refused}");
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("set");
        }
        // One of the operator's, with a longer name.
        let mut params = CertificateParams::default();
        params.distinguished_name = named("agents");
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pair = KeyPair::generate().expect("a key");
        let path = |name: &str| directory.path().join(name);
        write_new(&path("ops.pem"), &params.self_signed(&pair).expect("signed").pem()).expect("written");
        write_new(&path("ops.key"), &pair.serialize_pem()).expect("written");
        let now = i64::from(u32::MAX / 3);
        assert!(Authority::read(&path("ops.pem"), &path("ops.key"), now).is_ok());
        let refused = Authority::read(&path("ops.pem"), &key, now).expect_err("refused").to_string();
        assert!(refused.contains("does not go with its key"), "{refused}");
        // The certificate of another key.
        fs::remove_file(&key).expect("removed");
        let refused = Authority::own(directory.path(), 1_800_000_000).expect_err("refused").to_string();
        assert!(refused.contains("does not go with its key"), "{refused}");
    }
}
