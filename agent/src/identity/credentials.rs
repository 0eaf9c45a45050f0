//! The instance's own key and certificate: made once, renewed while the stream goes on.
//!
//! The key is made here and never leaves: what goes to the aggregator is a request signed by it. It is on the disk before
//! it is shown to anybody, since an id belongs to the first key that claims it, and a key that was lost could not be
//! claimed with again. A directory that was made by another instance (an image taken of it, say) is begun anew.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foreshadow_proto::v1;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde::{Deserialize, Serialize};

use super::imds;
use crate::clock::{Clock as _, HostClock, random};
use crate::stream::{Endpoint, LinkError};

/// Whom the key belongs to.
const OWNER: &str = "instance";
const KEY: &str = "key.pem";
const CERTIFICATE: &str = "certificate.json";
/// A renewal that failed is tried again after this long, at most.
const AGAIN_AFTER: Duration = Duration::from_secs(300);
/// The wall clock is looked at this often: it may jump, and a host may sleep.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Why the instance has no key or no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("{path}: {problem}")]
    File { path: String, problem: String },
    #[error(
        "the aggregator knows no key of this instance yet: a join token is needed (--join-token-file), or on EC2 \
         --instance-document"
    )]
    NoEvidence,
    #[error("the metadata service gives no signed instance identity document: is this EC2, and may it be asked here?")]
    NoDocument,
    #[error("no key or request can be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// What gets the first certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// There was one before; the key is enough.
    Key,
    /// A file with a join token, read when it is needed.
    JoinToken(PathBuf),
    /// What EC2 signs of this instance, asked of the metadata service when it is needed.
    InstanceDocument,
}

/// A certificate and its times, by this host's clock.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Issued {
    /// PEM, the instance's own first.
    certificates: String,
    /// Seconds since the epoch.
    renew_at: i64,
    /// Seconds since the epoch.
    expires_at: i64,
}

#[derive(Debug, Default)]
struct State {
    issued: Option<Issued>,
    /// The aggregator refused it: a new one is asked for before the next connection.
    doubted: bool,
}

/// A certificate with its chain and its key, PEM: what is shown at a connection.
#[derive(Clone)]
pub struct Proof {
    pub certificates: String,
    pub key: String,
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proof").finish_non_exhaustive()
    }
}

/// What proves that this is the instance.
pub struct Credentials {
    directory: PathBuf,
    instance: String,
    evidence: Evidence,
    /// PEM.
    key: String,
    state: Mutex<State>,
    /// One request at a time.
    turn: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Opens the directory, or makes it with a key of its own.
    pub fn open(directory: &Path, instance: &str, evidence: Evidence) -> Result<Self, CredentialsError> {
        let path = |name: &str| directory.join(name);
        make_directory(directory).map_err(|error| file(directory, &error))?;
        let owner = fs::read_to_string(path(OWNER)).unwrap_or_default();
        if owner != instance {
            if !owner.is_empty() {
                tracing::warn!(was = owner, is = instance, "this disk was another instance's: a new key is made");
            }
            for name in [KEY, CERTIFICATE] {
                match fs::remove_file(path(name)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(file(&path(name), &error));
                    }
                    _ => {}
                }
            }
            write(&path(OWNER), instance.as_bytes())?;
        }
        if !path(KEY).exists() {
            write(&path(KEY), KeyPair::generate()?.serialize_pem().as_bytes())?;
        }
        let key = fs::read_to_string(path(KEY)).map_err(|error| file(&path(KEY), &error))?;
        KeyPair::from_pem(&key).map_err(|error| file(&path(KEY), &error))?;
        // A certificate that cannot be read is asked for anew; the key is what counts.
        let issued = fs::read(path(CERTIFICATE)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(Self {
            directory: directory.to_owned(),
            instance: instance.to_owned(),
            evidence,
            key,
            state: Mutex::new(State { issued, doubted: false }),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// Whom a directory belongs to, if to anybody.
    pub fn owner(directory: &Path) -> Option<String> {
        fs::read_to_string(directory.join(OWNER)).ok().filter(|owner| !owner.is_empty())
    }

    /// Whether it has had a certificate: then the aggregator knows its key.
    pub fn had_certificate(directory: &Path) -> bool {
        directory.join(CERTIFICATE).exists()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The aggregator did not take the certificate.
    pub fn doubt(&self) {
        self.state().doubted = true;
    }

    /// What to show at a new connection; asks for a certificate where there is none that holds.
    pub async fn present(&self, endpoint: &Endpoint) -> Result<Proof, LinkError> {
        let now = HostClock.wall_micros() / 1_000_000;
        let (held, doubted) = {
            let state = self.state();
            (state.issued.clone().filter(|issued| now < issued.expires_at), state.doubted)
        };
        let issued = match held {
            Some(held) if !doubted => held,
            held => match (self.enrol(endpoint).await, held) {
                (Ok(issued), _) => issued,
                // A doubted one is better than none: it may have been the network.
                (Err(error), Some(held)) => {
                    tracing::debug!(%error, "no new certificate");
                    held
                }
                (Err(error), None) => return Err(error),
            },
        };
        Ok(Proof { certificates: issued.certificates, key: self.key.clone() })
    }

    /// Renews at two thirds of each certificate's time, for as long as it is polled. Streams that are open go on; the next
    /// one shows the new certificate.
    pub async fn renew(&self, endpoint: &Endpoint) {
        loop {
            let times = self.state().issued.as_ref().map(|issued| (issued.renew_at, issued.expires_at));
            let now = HostClock.wall_micros() / 1_000_000;
            // The first one is asked for by the connection.
            let Some((renew_at, expires_at)) = times else {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            };
            let seconds = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
            if now < renew_at {
                tokio::time::sleep(LOOK_EVERY.min(seconds(renew_at - now))).await;
                continue;
            }
            match self.enrol(endpoint).await {
                Ok(_) => tracing::info!("certificate renewed"),
                Err(error) => {
                    let again = AGAIN_AFTER.min(seconds((expires_at - renew_at) / 10)).max(Duration::from_secs(1));
                    tracing::warn!(%error, again_in_s = again.as_secs(), "the certificate could not be renewed");
                    tokio::time::sleep(again).await;
                }
            }
        }
    }

    async fn enrol(&self, endpoint: &Endpoint) -> Result<Issued, LinkError> {
        let _turn = self.turn.lock().await;
        // Who has had a certificate is known by its key: what let it in is not shown again without need.
        let known = self.state().issued.is_some();
        let request = self.request()?;
        let first = if known { request.clone() } else { self.with_evidence(request.clone()).await? };
        let answer = match endpoint.enrol(first).await {
            Err(LinkError::NotEnrolled(status)) if status.code() == tonic::Code::PermissionDenied => {
                tracing::debug!(%status, "refused");
                match (&self.evidence, known) {
                    (Evidence::Key, false) => return Err(CredentialsError::NoEvidence.into()),
                    (Evidence::Key, true) | (_, false) => return Err(LinkError::NotEnrolled(status)),
                    (_, true) => endpoint.enrol(self.with_evidence(request).await?).await?,
                }
            }
            answer => answer?,
        };
        let now = HostClock.wall_micros() / 1_000_000;
        // A fleet that enrolled at one moment does not renew at one moment.
        let dice = i64::from(u16::from_le_bytes(random()));
        let renew = i64::from(answer.renew_seconds);
        let issued = Issued {
            certificates: answer.certificates,
            renew_at: now + renew - renew * dice / i64::from(u16::MAX) / 20,
            expires_at: now + i64::from(answer.valid_seconds),
        };
        if let Ok(text) = serde_json::to_vec(&issued)
            && let Err(error) = write(&self.directory.join(CERTIFICATE), &text)
        {
            // It holds all the same, until this process ends; the next one asks again by the same key.
            tracing::warn!(%error, "the certificate cannot be kept");
        }
        *self.state() = State { issued: Some(issued.clone()), doubted: false };
        Ok(issued)
    }

    async fn with_evidence(&self, mut request: v1::EnrolRequest) -> Result<v1::EnrolRequest, CredentialsError> {
        match &self.evidence {
            Evidence::Key => {}
            Evidence::JoinToken(path) => {
                let token = fs::read_to_string(path).map_err(|error| file(path, &error))?;
                request.join_token = token.trim().to_owned();
            }
            Evidence::InstanceDocument => {
                let document = imds::instance_document().await.ok_or(CredentialsError::NoDocument)?;
                request.instance_document = document.into_bytes();
            }
        }
        Ok(request)
    }

    fn request(&self) -> Result<v1::EnrolRequest, CredentialsError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.instance.as_str());
        let signed = params.serialize_request(&KeyPair::from_pem(&self.key)?)?;
        let (instance_id, signing_request) = (self.instance.clone(), signed.der().to_vec());
        Ok(v1::EnrolRequest { instance_id, signing_request, ..v1::EnrolRequest::default() })
    }
}

fn file(path: &Path, problem: &dyn std::fmt::Display) -> CredentialsError {
    CredentialsError::File { path: path.display().to_string(), problem: problem.to_string() }
}

fn make_directory(directory: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(directory)
}

/// Writes a file that only its owner may read, whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), CredentialsError> {
    let beside = path.with_extension("new");
    let written = || -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let mut file = options.open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        // The name has to be on the disk as well: a key that was shown and is lost can never be claimed with again.
        path.parent().map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
    };
    written().map_err(|error| file(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_and_an_image_of_another_instance_begins_anew() {
        let directory = tempfile::tempdir().expect("a directory");
        let key = |instance: &str| Credentials::open(directory.path(), instance, Evidence::Key).expect("opens").key;
        let first = key("i-1");
        assert_eq!(key("i-1"), first);
        assert_eq!(Credentials::owner(directory.path()).as_deref(), Some("i-1"));
        fs::write(directory.path().join(CERTIFICATE), "{}").expect("written");
        let second = key("i-2");
        assert_ne!(second, first);
        assert!(!directory.path().join(CERTIFICATE).exists(), "the other's certificate is gone");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(directory.path().join(KEY)).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::write(directory.path().join(KEY), "torn").expect("written");
        let torn = Credentials::open(directory.path(), "i-2", Evidence::Key).expect_err("no key").to_string();
        assert!(torn.contains(KEY), "{torn}");
    }
}
