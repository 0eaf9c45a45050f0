//! Which key each instance's id belongs to, and the certificates that are on record.
//!
//! The first who claims an id with a join token, or with a document that AWS signed, binds it to its key. From then on that key, and no other, is
//! given certificates for it: at two thirds of the last one's time, after it ran out, or after a year in a drawer.
//! Somebody else who claims the id is refused, counted and shouted about; only an admin's release frees an id. A
//! revoked one gets nothing until then, and its open stream ends.
//!
//! The database is the truth and is written first; memory answers the question asked at every connection.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use foreshadow_proto::convert::Id;
use serde::Serialize;
use sqlx::{Row as _, SqliteConnection, SqlitePool};

use super::authority::{Authority, AuthorityError};
use super::instance_document::Attested;
use super::request::Request;
use super::{Audit, Caller, Managed, Role, TokenFault, sql};
use crate::revision::Revision;

/// Records of certificates that ran out are kept this long, µs: a day tells a late agent from a stranger.
const KEPT_MICROS: i64 = 86_400_000_000;
/// A second claim is shown at `/readyz` for this long, µs.
const SHOWN_MICROS: i64 = 24 * 3_600_000_000;
/// Second claims that are remembered for showing; all are counted.
const SHOWN: usize = 20;

/// Who an agent's certificate says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub instance: Id,
    /// µs since the epoch.
    pub expires_micros: i64,
}

/// Why a certificate lets nobody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("this certificate is not on record here")]
    Unknown,
    #[error("the certificates of this instance are revoked")]
    Revoked,
}

/// Why no certificate is issued.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The id is another key's.
    #[error("this instance id belongs to another key; if the instance was made anew, an admin releases the id")]
    SecondClaimant,
    #[error("this instance is revoked")]
    Revoked,
    /// One text for every reason: who guesses learns nothing. Which it is is for the log.
    #[error("the join token is not valid here: unknown, used up, expired or revoked")]
    Token(TokenFault),
    #[error("{0} is not known to be a member of {1}, which is all this join token is for")]
    NotMember(Id, Id),
    #[error("{0} is in no group that the inventory knows now, and an instance identity document lets nobody else in")]
    NowhereKnown(Id),
    #[error("a certificate was issued a moment ago; again in {0} s")]
    TooSoon(u32),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// What is known of an instance's identity.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Enrolled {
    #[schema(value_type = String)]
    pub instance: Id,
    /// SHA-256 of its public key, hexadecimal.
    pub key: String,
    pub enrolled_micros: i64,
    /// What let it in: the join token's id, or `aws:ACCOUNT:REGION` for an instance identity document.
    pub join_token: String,
    pub revoked_micros: Option<i64>,
    /// Of its newest certificate.
    pub expires_micros: Option<i64>,
}

#[derive(Debug, Clone)]
struct Key {
    hash: Vec<u8>,
    enrolled_micros: i64,
    join_token: String,
    revoked_micros: Option<i64>,
    /// Of the newest certificate.
    issued_micros: Option<i64>,
    expires_micros: Option<i64>,
}

#[derive(Debug, Default)]
struct Known {
    keys: BTreeMap<Id, Key>,
    certificates: HashMap<Vec<u8>, Peer>,
    /// Refused second claims: when, of which id, and with what.
    claims: Vec<(i64, Id, &'static str)>,
}

/// What says that an instance may come in.
#[derive(Debug)]
pub enum Evidence<'a> {
    /// Empty when there is none.
    JoinToken(&'a str),
    /// A document of this very instance, checked.
    Document(Attested),
}

/// A claim of an id that is to be decided.
#[derive(Debug)]
pub struct Claim<'a> {
    pub instance: &'a Id,
    pub request: &'a Request,
    pub evidence: Evidence<'a>,
    /// The group that the inventory knows the instance in.
    pub member_of: Option<Id>,
    /// 32 random bytes.
    pub random: [u8; 32],
}

/// A certificate and how long it is good.
#[derive(Debug)]
pub struct Granted {
    /// PEM, the instance's own first.
    pub certificates: String,
    pub valid_seconds: u32,
}

/// Keeps the records. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Enrolments(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: SqlitePool,
    audit: Audit,
    tokens: Managed,
    certificate_seconds: u32,
    known: RwLock<Known>,
    /// One claim at a time: of two first ones, one is the second.
    turn: tokio::sync::Mutex<()>,
    revision: Revision,
}

impl Enrolments {
    /// Reads what is on record.
    pub async fn open(
        pool: SqlitePool,
        audit: Audit,
        tokens: Managed,
        certificate_seconds: u32,
    ) -> Result<Self, sqlx::Error> {
        let mut known = Known::default();
        for row in sqlx::query(sql::KEY_READ).fetch_all(&pool).await? {
            let Ok(instance) = Id::new("instance", row.try_get::<&str, _>(0)?) else { continue };
            let key = Key {
                hash: row.try_get(1)?,
                enrolled_micros: row.try_get(2)?,
                join_token: row.try_get(3)?,
                revoked_micros: row.try_get(4)?,
                issued_micros: None,
                expires_micros: None,
            };
            known.keys.insert(instance, key);
        }
        for row in sqlx::query(sql::CERTIFICATE_READ).fetch_all(&pool).await? {
            let Ok(instance) = Id::new("instance", row.try_get::<&str, _>(1)?) else { continue };
            known.record(row.try_get(0)?, instance, row.try_get(2)?, row.try_get(3)?);
        }
        let (known, turn) = (RwLock::new(known), tokio::sync::Mutex::default());
        let revision = Revision::default();
        Ok(Self(Arc::new(Inner { pool, audit, tokens, certificate_seconds, known, turn, revision })))
    }

    fn read<T>(&self, ask: impl FnOnce(&Known) -> T) -> T {
        ask(&self.0.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.0.known.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whose certificate this is. That it has not run out was checked when the connection was made.
    pub fn peer(&self, fingerprint: &[u8; 32]) -> Result<Peer, PeerError> {
        self.read(|known| {
            let peer = known.certificates.get(fingerprint.as_slice()).ok_or(PeerError::Unknown)?;
            match known.keys.get(&peer.instance) {
                None => Err(PeerError::Unknown),
                Some(key) if key.revoked_micros.is_some() => Err(PeerError::Revoked),
                Some(_) => Ok(peer.clone()),
            }
        })
    }

    /// An instance that has a certificate of its own, revoked or not, speaks by nothing else.
    pub fn is_enrolled(&self, instance: &Id) -> bool {
        self.read(|known| known.keys.contains_key(instance))
    }

    pub fn is_revoked(&self, instance: &Id) -> bool {
        self.read(|known| known.keys.get(instance).is_none_or(|key| key.revoked_micros.is_some()))
    }

    /// When its newest certificate runs out, µs since the epoch.
    pub fn expires(&self, instance: &Id) -> Option<i64> {
        self.read(|known| known.keys.get(instance)?.expires_micros)
    }

    pub fn list(&self) -> Vec<Enrolled> {
        self.read(|known| known.keys.iter().map(|(instance, key)| key.shown(instance)).collect())
    }

    /// How often a certificate was issued, revoked or released since the start.
    pub fn revision(&self) -> u64 {
        self.0.revision.now()
    }

    /// Second claims of the last day, in words.
    pub fn warnings(&self, now_micros: i64) -> Vec<String> {
        let lately = |at: i64| now_micros - at < SHOWN_MICROS;
        self.read(|known| {
            let claims = known.claims.iter().filter(|(at, ..)| lately(*at));
            let said = |(at, instance, with): &(i64, Id, &'static str)| {
                let at = jiff::Timestamp::from_second(at / 1_000_000).map(|at| at.to_string()).unwrap_or_default();
                format!("somebody else claimed to be {instance} at {at}, with {with}; it was refused")
            };
            claims.map(said).collect()
        })
    }

    /// Decides a claim and issues the certificate, which is on record before it is given away.
    pub async fn enrol(&self, authority: &Authority, claim: Claim<'_>, now_micros: i64) -> Result<Granted, EnrolError> {
        let _turn = self.0.turn.lock().await;
        let known = self.read(|known| known.keys.get(claim.instance).cloned());
        let admitted = match &known {
            Some(key) if key.hash == claim.request.key => {
                if key.revoked_micros.is_some() {
                    return Err(EnrolError::Revoked);
                }
                self.not_too_soon(key, now_micros)?;
                None
            }
            Some(_) => return Err(self.second_claim(&claim, now_micros).await),
            None => Some(self.admit(&claim, now_micros).await?),
        };
        let seconds = self.0.certificate_seconds;
        let mut serial = [0; 16];
        serial.copy_from_slice(&claim.random[..16]);
        let issued = authority.issue(claim.instance, claim.request, serial, now_micros / 1_000_000, seconds)?;
        let expires = now_micros + i64::from(seconds) * 1_000_000;
        let mut transaction = self.0.pool.begin().await?;
        if let Some(admitted) = &admitted {
            // Used up between the check and here, or by another aggregator: then it was not valid.
            if let Evidence::JoinToken(_) = claim.evidence
                && !self.0.tokens.use_up(&mut transaction, admitted, now_micros).await?
            {
                return Err(EnrolError::Token(TokenFault::UsedUp(admitted.clone())));
            }
            let write = sqlx::query(sql::KEY_WRITE).bind(claim.instance.as_str()).bind(claim.request.key.to_vec());
            write.bind(now_micros).bind(admitted).execute(&mut *transaction).await?;
        }
        let fingerprint = issued.fingerprint.to_vec();
        write_certificate(&mut transaction, &fingerprint, claim.instance, now_micros, expires).await?;
        transaction.commit().await?;
        self.write(|known| {
            if let Some(admitted) = &admitted {
                known.keys.insert(claim.instance.clone(), Key::new(&claim, admitted, now_micros));
            }
            known.record(fingerprint, claim.instance.clone(), now_micros, expires);
        });
        self.0.revision.changed();
        if let Some(admitted) = admitted {
            if let Evidence::JoinToken(_) = claim.evidence {
                self.0.tokens.used(&admitted);
            }
            tracing::info!(instance = %claim.instance, by = admitted, "an agent enrolled");
            let written =
                self.0.audit.write(now_micros, &enrolment(), "enrol", claim.instance.as_str(), &admitted).await;
            written.unwrap_or_else(|error| tracing::error!(%error, "the enrolment is not in the audit log"));
            metrics::counter!("foreshadow_enrolments_total").increment(1);
        }
        metrics::counter!("foreshadow_certificates_issued_total").increment(1);
        Ok(Granted { certificates: issued.pem, valid_seconds: seconds })
    }

    /// What lets in an instance that nobody claimed before.
    async fn admit(&self, claim: &Claim<'_>, now_micros: i64) -> Result<String, EnrolError> {
        match &claim.evidence {
            Evidence::JoinToken(token) => {
                let token = self.0.tokens.join(token, now_micros).await.map_err(EnrolError::Token)?;
                if let Some(group) = token.group.filter(|group| claim.member_of.as_ref() != Some(group)) {
                    return Err(EnrolError::NotMember(claim.instance.clone(), group));
                }
                Ok(token.id)
            }
            Evidence::Document(_) if claim.member_of.is_none() => Err(EnrolError::NowhereKnown(claim.instance.clone())),
            Evidence::Document(told) => Ok(told.to_string()),
        }
    }

    fn not_too_soon(&self, key: &Key, now_micros: i64) -> Result<(), EnrolError> {
        // An agent that asks in a loop would fill the records.
        let apart = i64::from(self.0.certificate_seconds).clamp(1, 300) * 100_000;
        let wait = key.issued_micros.map_or(0, |at| (at + apart - now_micros).min(apart));
        if wait <= 0 { Ok(()) } else { Err(EnrolError::TooSoon(u32::try_from(wait / 1_000_000 + 1).unwrap_or(1))) }
    }

    async fn second_claim(&self, claim: &Claim<'_>, now_micros: i64) -> EnrolError {
        metrics::counter!("foreshadow_second_claims_total").increment(1);
        // Without valid evidence anybody can claim anything: that is counted, and nobody is woken for it.
        let with = match &claim.evidence {
            Evidence::JoinToken(token) => {
                let token = match self.0.tokens.join(token, now_micros).await {
                    Ok(token) => token,
                    Err(fault) => return EnrolError::Token(fault),
                };
                metrics::counter!("foreshadow_second_claims_with_token_total").increment(1);
                format!("join token {}", token.id)
            }
            Evidence::Document(told) => {
                metrics::counter!("foreshadow_second_claims_with_document_total").increment(1);
                format!("instance identity document {told}")
            }
        };
        tracing::error!(instance = %claim.instance, with, "SECOND CLAIM of an instance id, refused");
        let detail = format!("{} with {with}", claim.instance);
        let written = self.0.audit.write(now_micros, &enrolment(), "refuse_second_claim", &detail, "").await;
        written.unwrap_or_else(|error| tracing::error!(%error, "the claim is not in the audit log"));
        self.write(|known| {
            known.claims.push((now_micros, claim.instance.clone(), claim.evidence.in_words()));
            let most = known.claims.len().saturating_sub(SHOWN);
            known.claims.drain(..most);
        });
        EnrolError::SecondClaimant
    }

    /// From now on no certificate of the instance lets it in; false when it has none.
    pub async fn revoke(&self, instance: &Id, now_micros: i64) -> Result<bool, sqlx::Error> {
        let _turn = self.0.turn.lock().await;
        let write = sqlx::query(sql::KEY_REVOKE).bind(now_micros).bind(instance.as_str());
        let found = write.execute(&self.0.pool).await?.rows_affected() > 0;
        self.write(|known| {
            if let Some(key) = known.keys.get_mut(instance) {
                key.revoked_micros = Some(now_micros);
            }
        });
        self.0.revision.changed();
        Ok(found)
    }

    /// Forgets the instance: its id may be claimed anew, with a join token. False when it is not known.
    pub async fn release(&self, instance: &Id) -> Result<bool, sqlx::Error> {
        let _turn = self.0.turn.lock().await;
        let mut transaction = self.0.pool.begin().await?;
        let delete = sqlx::query(sql::KEY_DELETE).bind(instance.as_str());
        let found = delete.execute(&mut *transaction).await?.rows_affected() > 0;
        sqlx::query(sql::CERTIFICATE_DELETE).bind(instance.as_str()).execute(&mut *transaction).await?;
        transaction.commit().await?;
        self.write(|known| {
            known.keys.remove(instance);
            known.certificates.retain(|_, peer| peer.instance != *instance);
        });
        self.0.revision.changed();
        Ok(found)
    }

    /// Drops records of certificates that ran out a while ago.
    pub async fn maintain(&self, now_micros: i64) -> Result<(), sqlx::Error> {
        let before = now_micros - KEPT_MICROS;
        sqlx::query(sql::CERTIFICATE_EXPIRE).bind(before).execute(&self.0.pool).await?;
        self.write(|known| known.certificates.retain(|_, peer| peer.expires_micros >= before));
        Ok(())
    }
}

async fn write_certificate(
    connection: &mut SqliteConnection,
    fingerprint: &[u8],
    instance: &Id,
    issued: i64,
    expires: i64,
) -> Result<(), sqlx::Error> {
    let write = sqlx::query(sql::CERTIFICATE_WRITE).bind(fingerprint).bind(instance.as_str());
    write.bind(issued).bind(expires).execute(connection).await.map(drop)
}

/// Who is named in the audit log where no caller is.
fn enrolment() -> Caller {
    Caller::named("enrolment", Role::Agent)
}

impl Known {
    fn record(&mut self, fingerprint: Vec<u8>, instance: Id, issued: i64, expires: i64) {
        if let Some(key) = self.keys.get_mut(&instance) {
            key.issued_micros = key.issued_micros.max(Some(issued));
            key.expires_micros = key.expires_micros.max(Some(expires));
        }
        self.certificates.insert(fingerprint, Peer { instance, expires_micros: expires });
    }
}

impl Evidence<'_> {
    const fn in_words(&self) -> &'static str {
        match self {
            Self::JoinToken(_) => "a join token",
            Self::Document(_) => "an instance identity document",
        }
    }
}

impl Key {
    fn new(claim: &Claim<'_>, token: &str, now_micros: i64) -> Self {
        Self {
            hash: claim.request.key.to_vec(),
            enrolled_micros: now_micros,
            join_token: token.to_owned(),
            revoked_micros: None,
            issued_micros: None,
            expires_micros: None,
        }
    }

    fn shown(&self, instance: &Id) -> Enrolled {
        Enrolled {
            instance: instance.clone(),
            key: super::hex(&self.hash),
            enrolled_micros: self.enrolled_micros,
            join_token: self.join_token.clone(),
            revoked_micros: self.revoked_micros,
            expires_micros: self.expires_micros,
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

    use super::super::{Kind, Wanted};
    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;
    const HOUR: i64 = 3_600_000_000;

    struct There {
        pool: SqlitePool,
        authority: Authority,
        enrolments: Enrolments,
        tokens: Managed,
        made: std::cell::Cell<u8>,
        _directory: tempfile::TempDir,
    }

    impl There {
        async fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let memory = SqliteConnectOptions::new().in_memory(true);
            let pool = SqlitePoolOptions::new().max_connections(1).connect_with(memory).await.expect("a database");
            sqlx::migrate!().run(&pool).await.expect("migrated");
            let authority = Authority::own(directory.path(), NOW / 1_000_000).expect("an authority");
            let (enrolments, tokens) = Self::open(&pool).await;
            Self { pool, authority, enrolments, tokens, made: std::cell::Cell::new(0), _directory: directory }
        }

        async fn open(pool: &SqlitePool) -> (Enrolments, Managed) {
            let tokens = Managed::open(pool.clone()).await.expect("opens");
            let audit = Audit::open(pool.clone()).await.expect("opens");
            let enrolments = Enrolments::open(pool.clone(), audit, tokens.clone(), 86_400).await.expect("opens");
            (enrolments, tokens)
        }

        fn random<const N: usize>(&self) -> [u8; N] {
            self.made.set(self.made.get() + 1);
            [self.made.get(); N]
        }

        async fn token(&self, uses: i64, expires: i64, group: Option<&str>) -> (String, String) {
            let wanted = Wanted {
                kind: Kind::Join,
                name: "test".to_owned(),
                role: Role::Agent,
                expires_micros: Some(expires),
                uses: Some(uses),
                group: group.map(id),
            };
            let (entry, token) = self.tokens.create(wanted, "ops", self.random(), NOW).await.expect("made");
            (entry.id, token)
        }

        async fn enrol(&self, instance: &str, request: &Request, token: &str, now: i64) -> Result<Granted, EnrolError> {
            self.enrol_in(instance, request, token, None, now).await
        }

        async fn enrol_in(
            &self,
            instance: &str,
            request: &Request,
            join_token: &str,
            group: Option<&str>,
            now: i64,
        ) -> Result<Granted, EnrolError> {
            let instance = id(instance);
            let member_of = group.map(id);
            let evidence = Evidence::JoinToken(join_token);
            let claim = Claim { instance: &instance, request, evidence, member_of, random: self.random() };
            self.enrolments.enrol(&self.authority, claim, now).await
        }
    }

    fn id(text: &str) -> Id {
        Id::new("id", text).expect("an id")
    }

    fn request() -> Request {
        let key = KeyPair::generate().expect("a key");
        let request = CertificateParams::default().serialize_request(&key).expect("a request");
        Request::read(request.der()).expect("reads")
    }

    #[tokio::test]
    async fn a_join_token_is_good_for_its_uses_its_time_and_its_group() {
        let there = There::new().await;
        let (two_id, two) = there.token(2, NOW + HOUR, None).await;
        assert!(there.enrol("i-1", &request(), &two, NOW).await.is_ok());
        assert!(there.enrol("i-2", &request(), &two, NOW + HOUR - 1).await.is_ok());
        let fault = |answer: Result<Granted, EnrolError>| match answer {
            Err(EnrolError::Token(fault)) => fault,
            other => panic!("{other:?}"),
        };
        assert_eq!(fault(there.enrol("i-3", &request(), &two, NOW).await), TokenFault::UsedUp(two_id));
        let (late_id, late) = there.token(2, NOW + HOUR, None).await;
        assert_eq!(
            fault(there.enrol("i-3", &request(), &late, NOW + HOUR).await),
            TokenFault::Expired(late_id.clone())
        );
        let guessed = format!("fj_{late_id}_{}", "0".repeat(64));
        assert_eq!(fault(there.enrol("i-3", &request(), &guessed, NOW).await), TokenFault::Secret(late_id));
        let unknown = format!("fj_0_{}", "0".repeat(64));
        for (token, expected) in
            [(unknown.as_str(), TokenFault::Unknown), ("fj_1", TokenFault::Form), ("", TokenFault::Missing)]
        {
            assert_eq!(fault(there.enrol("i-3", &request(), token, NOW).await), expected, "{token}");
        }
        let (revoked, token) = there.token(2, NOW + HOUR, None).await;
        assert!(there.enrol("i-3", &request(), &token, NOW).await.is_ok());
        assert!(there.tokens.revoke(&revoked, NOW).await.expect("revokes").is_some());
        assert!(there.tokens.revoke(&revoked, NOW).await.expect("revokes").is_none(), "once");
        assert_eq!(fault(there.enrol("i-4", &request(), &token, NOW).await), TokenFault::Revoked(revoked));
        let (_, grouped) = there.token(1, NOW + HOUR, Some("web")).await;
        for group in [None, Some("db")] {
            let refused = there.enrol_in("i-4", &request(), &grouped, group, NOW).await;
            assert!(matches!(refused, Err(EnrolError::NotMember(..))), "{group:?}");
        }
        assert!(there.enrol_in("i-4", &request(), &grouped, Some("web"), NOW).await.is_ok());
        // Another process finds it all as it was left.
        let (enrolments, tokens) = There::open(&there.pool).await;
        assert_eq!(enrolments.list().len(), 4);
        assert!(tokens.join(&two, NOW).await.is_err() && tokens.join(&token, NOW).await.is_err());
    }

    #[tokio::test]
    async fn an_id_belongs_to_its_first_key_until_it_is_released() {
        let there = There::new().await;
        let (_, token) = there.token(10, NOW + HOUR, None).await;
        let (first, second) = (request(), request());
        let granted = there.enrol("i-1", &first, &token, NOW).await.expect("issued");
        assert_eq!((granted.valid_seconds, granted.certificates.matches("BEGIN").count()), (86_400, 2));
        // Without a token nobody is woken, with one somebody is; and neither takes a use of it.
        assert!(matches!(there.enrol("i-1", &second, "", NOW).await, Err(EnrolError::Token(_))));
        assert_eq!(there.enrolments.warnings(NOW), Vec::<String>::new());
        assert!(matches!(there.enrol("i-1", &second, &token, NOW).await, Err(EnrolError::SecondClaimant)));
        assert!(there.enrolments.warnings(NOW)[0].contains("i-1 at 2027-01-15T08:00:00Z"));
        assert_eq!(there.tokens.list()[0].uses_left, Some(9));
        // A year later the key is as good as on the first day, and not twice in a moment.
        let later = NOW + 365 * 24 * HOUR;
        assert!(there.enrol("i-1", &first, "", later).await.is_ok());
        assert!(matches!(there.enrol("i-1", &first, "", later + 1).await, Err(EnrolError::TooSoon(30))));
        assert!(there.enrolments.revoke(&id("i-1"), later).await.expect("revokes"));
        for token in ["", token.as_str()] {
            assert!(matches!(there.enrol("i-1", &first, token, later + HOUR).await, Err(EnrolError::Revoked)));
        }
        assert!(there.enrolments.release(&id("i-1")).await.expect("releases"));
        assert!(matches!(there.enrol("i-1", &second, "", NOW).await, Err(EnrolError::Token(_))));
        assert!(there.enrol("i-1", &second, &token, NOW).await.is_ok());
        assert!(!there.enrolments.revoke(&id("i-9"), NOW).await.expect("nothing to revoke"));
    }

    #[tokio::test]
    async fn of_two_first_claims_one_is_the_second() {
        let there = There::new().await;
        let (_, token) = there.token(10, NOW + HOUR, None).await;
        let (first, second) = (request(), request());
        let (one, other) =
            tokio::join!(there.enrol("i-1", &first, &token, NOW), there.enrol("i-1", &second, &token, NOW));
        assert!(one.is_ok() && matches!(other, Err(EnrolError::SecondClaimant)), "{other:?}");
    }

    #[tokio::test]
    async fn a_document_lets_in_once_whom_the_inventory_knows() {
        let there = There::new().await;
        let (first, second) = (request(), request());
        let attested = || Attested { account: "1".to_owned(), region: "eu-west-1".to_owned(), started_micros: NOW };
        let instance = id("i-1");
        let enrol = async |request: &Request, group: Option<&str>| {
            let evidence = Evidence::Document(attested());
            let member_of = group.map(id);
            let claim = Claim { instance: &instance, request, evidence, member_of, random: there.random() };
            there.enrolments.enrol(&there.authority, claim, NOW).await
        };
        assert!(matches!(enrol(&first, None).await, Err(EnrolError::NowhereKnown(_))));
        assert!(enrol(&first, Some("web")).await.is_ok());
        assert_eq!(there.enrolments.list()[0].join_token, "aws:1:eu-west-1");
        // The same document in other hands, from then on.
        assert!(matches!(enrol(&second, Some("web")).await, Err(EnrolError::SecondClaimant)));
        assert!(there.enrolments.warnings(NOW)[0].contains("with an instance identity document"));
        // Also after it was revoked, and by another process.
        there.enrolments.revoke(&instance, NOW).await.expect("revokes");
        assert!(matches!(enrol(&second, Some("web")).await, Err(EnrolError::SecondClaimant)));
        assert!(matches!(enrol(&first, Some("web")).await, Err(EnrolError::Revoked)));
        let (anew, _) = There::open(&there.pool).await;
        assert_eq!(anew.list()[0].join_token, "aws:1:eu-west-1");
    }

    #[tokio::test]
    async fn a_certificate_is_known_by_its_record_alone() {
        let there = There::new().await;
        let (_, token) = there.token(1, NOW + HOUR, None).await;
        let request = request();
        let instance = id("i-1");
        let unrecorded = there.authority.issue(&instance, &request, [1; 16], NOW / 1_000_000, 60).expect("issued");
        assert_eq!(there.enrolments.peer(&unrecorded.fingerprint), Err(PeerError::Unknown));
        let granted = there.enrol("i-1", &request, &token, NOW).await.expect("issued");
        use rustls::pki_types::pem::PemObject as _;
        let own = rustls::pki_types::CertificateDer::from_pem_slice(granted.certificates.as_bytes()).expect("PEM");
        let own = super::super::fingerprint(&own);
        assert_eq!(there.enrolments.peer(&own).map(|peer| peer.instance), Ok(instance.clone()));
        there.enrolments.maintain(NOW + 24 * HOUR + KEPT_MICROS + 1).await.expect("tidied");
        assert_eq!(there.enrolments.peer(&own), Err(PeerError::Unknown), "it ran out a while ago");
        assert!(there.enrolments.is_enrolled(&instance), "the key is not forgotten");
    }
}
