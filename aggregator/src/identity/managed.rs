//! Tokens that are made, listed and revoked while the aggregator runs: those that callers bring, and join tokens.
//!
//! A token is `fs_` (callers) or `fj_` (joining), a public id and 32 random bytes. The database keeps Argon2id of it. For
//! 256 random bits a fast hash would do as well; a slow one costs nothing here, since a token is checked by it once a
//! process and id: what was found right is remembered by its SHA-256, in memory alone. Who knows no id makes nothing slow,
//! and two are checked at a time at most.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash};
use foreshadow_proto::convert::Id;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use sqlx::{Row as _, SqliteConnection, SqlitePool};
use tokio::sync::Semaphore;

use super::{Caller, Role, hex, sql};
use crate::revision::Revision;

/// Slow checks at a time: 19 MiB and some tens of ms each.
const CHECKS: usize = 2;
/// Tokens found right that are remembered.
const REMEMBERED: usize = 10_000;
/// Tokens that are over are listed this long, µs: 30 days.
const LISTED_MICROS: i64 = 30 * 86_400_000_000;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A caller brings it with every request.
    Bearer,
    /// It lets an agent get its first certificate.
    Join,
}

/// A token as it is listed: everything but itself.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct TokenEntry {
    pub id: String,
    pub kind: Kind,
    pub name: String,
    pub role: Role,
    pub created_micros: i64,
    pub created_by: String,
    pub expires_micros: Option<i64>,
    /// Of a join token.
    pub uses_left: Option<i64>,
    /// The group a join token is for.
    #[schema(value_type = Option<String>)]
    pub group: Option<Id>,
    pub revoked_micros: Option<i64>,
    #[serde(skip)]
    hash: String,
}

/// Why a token lets nobody in. It is for the log: who brought the token learns nothing of it. An id is no secret; of what has no
/// id of ours nothing is repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    #[error("no token was brought")]
    Missing,
    #[error("what was brought is not written as such a token is")]
    Form,
    #[error("the token is unknown: none that is kept has its id")]
    Unknown,
    #[error("token {0} is revoked")]
    Revoked(String),
    #[error("token {0} has expired")]
    Expired(String),
    #[error("token {0} is used up")]
    UsedUp(String),
    #[error("what was brought has the id of token {0} and another secret")]
    Secret(String),
}

impl TokenEntry {
    fn good(&self, kind: Kind, now_micros: i64) -> Result<Self, TokenFault> {
        if self.kind != kind {
            return Err(TokenFault::Form);
        }
        if self.revoked_micros.is_some() {
            return Err(TokenFault::Revoked(self.id.clone()));
        }
        if self.expires_micros.is_some_and(|expires| now_micros >= expires) {
            return Err(TokenFault::Expired(self.id.clone()));
        }
        if self.uses_left.is_some_and(|left| left <= 0) {
            return Err(TokenFault::UsedUp(self.id.clone()));
        }
        Ok(self.clone())
    }
}

/// What a new token shall be.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub kind: Kind,
    pub name: String,
    pub role: Role,
    pub expires_micros: Option<i64>,
    pub uses: Option<i64>,
    pub group: Option<Id>,
}

/// Keeps the tokens. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Managed(Arc<Inner>);

struct Inner {
    pool: SqlitePool,
    known: RwLock<Known>,
    checks: Semaphore,
    revision: Revision,
}

#[derive(Default)]
struct Known {
    tokens: BTreeMap<String, TokenEntry>,
    /// SHA-256 of tokens that were found right, with their ids.
    right: HashMap<[u8; 32], String>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Managed").finish_non_exhaustive()
    }
}

impl Managed {
    /// Reads the tokens there are.
    pub async fn open(pool: SqlitePool) -> Result<Self, sqlx::Error> {
        let mut known = Known::default();
        for row in sqlx::query(sql::TOKEN_READ).fetch_all(&pool).await? {
            let (kind, role): (&str, &str) = (row.try_get(1)?, row.try_get(3)?);
            // A word that is not known here grants nothing.
            let (Some(kind), Ok(role)) = (Kind::read(kind), role.parse::<Role>()) else { continue };
            let group: Option<String> = row.try_get(9)?;
            let group = match group.map(|group| Id::new("group", &group)).transpose() {
                Ok(group) => group,
                Err(_) => continue,
            };
            let entry = TokenEntry {
                id: row.try_get(0)?,
                kind,
                name: row.try_get(2)?,
                role,
                hash: row.try_get(4)?,
                created_micros: row.try_get(5)?,
                created_by: row.try_get(6)?,
                expires_micros: row.try_get(7)?,
                uses_left: row.try_get(8)?,
                group,
                revoked_micros: row.try_get(10)?,
            };
            known.tokens.insert(entry.id.clone(), entry);
        }
        let (known, checks) = (RwLock::new(known), Semaphore::new(CHECKS));
        Ok(Self(Arc::new(Inner { pool, known, checks, revision: Revision::default() })))
    }

    fn read<T>(&self, ask: impl FnOnce(&Known) -> T) -> T {
        ask(&self.0.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.0.known.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a token from random bytes (id, secret, salt); it is in the answer and nowhere else.
    pub async fn create(
        &self,
        wanted: Wanted,
        by: &str,
        random: [u8; 56],
        now_micros: i64,
    ) -> Result<(TokenEntry, String), sqlx::Error> {
        let (id, rest) = random.split_at(8);
        let (secret, salt) = rest.split_at(32);
        let id = hex(id);
        let token = format!("{}_{id}_{}", wanted.kind.prefix(), hex(secret));
        let (text, salt) = (token.clone(), salt.to_vec());
        let hash = tokio::task::spawn_blocking(move || slow_hash(&text, &salt));
        let hash = hash.await.ok().flatten().ok_or_else(|| sqlx::Error::Protocol("no hash of the token".to_owned()))?;
        let entry = TokenEntry {
            id,
            kind: wanted.kind,
            name: wanted.name,
            role: wanted.role,
            created_micros: now_micros,
            created_by: by.to_owned(),
            expires_micros: wanted.expires_micros,
            uses_left: wanted.uses,
            group: wanted.group,
            revoked_micros: None,
            hash,
        };
        sqlx::query(sql::TOKEN_WRITE)
            .bind(&entry.id)
            .bind(entry.kind.word())
            .bind(&entry.name)
            .bind(entry.role.as_str())
            .bind(&entry.hash)
            .bind(entry.created_micros)
            .bind(&entry.created_by)
            .bind(entry.expires_micros)
            .bind(entry.uses_left)
            .bind(entry.group.as_ref().map(Id::as_str))
            .execute(&self.0.pool)
            .await?;
        self.write(|known| known.tokens.insert(entry.id.clone(), entry.clone()));
        self.0.revision.changed();
        Ok((entry, token))
    }

    /// How often one was made, used up or revoked since the start.
    pub fn revision(&self) -> u64 {
        self.0.revision.now()
    }

    /// Every token, the first made first.
    pub fn list(&self) -> Vec<TokenEntry> {
        let mut listed: Vec<TokenEntry> = self.read(|known| known.tokens.values().cloned().collect());
        listed.sort_by_key(|entry| (entry.created_micros, entry.id.clone()));
        listed
    }

    /// From now on the token is good for nothing; `None` when there is none such, or it was over already.
    pub async fn revoke(&self, id: &str, now_micros: i64) -> Result<Option<TokenEntry>, sqlx::Error> {
        let write = sqlx::query(sql::TOKEN_REVOKE).bind(now_micros).bind(id).execute(&self.0.pool).await?;
        let found = write.rows_affected() > 0;
        let revoked = self.write(|known| {
            let entry = known.tokens.get_mut(id).filter(|_| found)?;
            entry.revoked_micros = Some(now_micros);
            Some(entry.clone())
        });
        self.0.revision.changed();
        Ok(revoked)
    }

    /// The caller who brings this token.
    pub async fn caller(&self, token: &str, now_micros: i64) -> Option<Caller> {
        let entry = self.check(token, Kind::Bearer, now_micros).await.ok()?;
        Some(Caller::named(&entry.name, entry.role))
    }

    /// The join token, if it is good now.
    pub async fn join(&self, token: &str, now_micros: i64) -> Result<TokenEntry, TokenFault> {
        self.check(token, Kind::Join, now_micros).await
    }

    async fn check(&self, token: &str, kind: Kind, now_micros: i64) -> Result<TokenEntry, TokenFault> {
        if token.is_empty() {
            return Err(TokenFault::Missing);
        }
        let parts: Vec<&str> = token.split('_').collect();
        let [prefix, id, secret] = parts[..] else { return Err(TokenFault::Form) };
        if prefix != kind.prefix() || secret.len() != 64 {
            return Err(TokenFault::Form);
        }
        let good = |known: &Known| known.tokens.get(id).ok_or(TokenFault::Unknown)?.good(kind, now_micros);
        let entry = self.read(good)?;
        let digest: [u8; 32] = Sha256::digest(token).into();
        if self.read(|known| known.right.get(&digest).is_some_and(|right| *right == entry.id)) {
            return Ok(entry);
        }
        let wrong = || TokenFault::Secret(entry.id.clone());
        let _check = self.0.checks.acquire().await.map_err(|_| wrong())?;
        let (text, hash) = (token.to_owned(), entry.hash.clone());
        let right = tokio::task::spawn_blocking(move || slow_check(&text, &hash)).await.unwrap_or(false);
        if !right {
            return Err(wrong());
        }
        self.write(|known| {
            if known.right.len() >= REMEMBERED {
                known.right.clear();
            }
            known.right.insert(digest, entry.id.clone());
        });
        // It may have been revoked while it was checked.
        self.read(good)
    }

    /// Takes one use of a join token within a transaction; false when there is none left.
    pub(super) async fn use_up(
        &self,
        connection: &mut SqliteConnection,
        id: &str,
        now_micros: i64,
    ) -> Result<bool, sqlx::Error> {
        let used = sqlx::query(sql::TOKEN_USE).bind(id).bind(now_micros).execute(connection).await?;
        Ok(used.rows_affected() > 0)
    }

    /// The transaction was committed.
    pub(super) fn used(&self, id: &str) {
        self.write(|known| {
            if let Some(left) = known.tokens.get_mut(id).and_then(|entry| entry.uses_left.as_mut()) {
                *left -= 1;
            }
        });
        self.0.revision.changed();
    }

    /// Forgets tokens that have been over for a while.
    pub async fn maintain(&self, now_micros: i64) -> Result<(), sqlx::Error> {
        let before = now_micros - LISTED_MICROS;
        sqlx::query(sql::TOKEN_EXPIRE).bind(before).execute(&self.0.pool).await?;
        self.write(|known| {
            known.tokens.retain(|_, entry| {
                entry.revoked_micros.is_none_or(|at| at >= before) && entry.expires_micros.is_none_or(|at| at >= before)
            });
        });
        Ok(())
    }
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::Join => "join",
        }
    }

    fn read(word: &str) -> Option<Self> {
        [Self::Bearer, Self::Join].into_iter().find(|kind| kind.word() == word)
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::Bearer => "fs",
            Self::Join => "fj",
        }
    }
}

fn slow_hash(token: &str, salt: &[u8]) -> Option<String> {
    Argon2::default().hash_password_with_salt(token.as_bytes(), salt).ok().map(|hash| hash.to_string())
}

fn slow_check(token: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(token.as_bytes(), &hash).is_ok())
}
