//! Samples that count no more: of an instance that lied, or whose certificate was in wrong hands.
//!
//! A retraction is one row, written before anything else. From then on no read shows what it covers and no later arrival
//! brings it back, neither a repeat nor what was still on its way: such a sequence is settled without being stored. The
//! bytes go when their tick is folded, or with their chunk at the end of its retention. Rows are kept.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use foreshadow_proto::convert::Id;
use serde::Serialize;
use sqlx::{Row as _, SqlitePool};

use super::{StoreError, Stored, sql};

/// Samples of `instance` with `from_micros <= wall < to_micros` count no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Retraction {
    pub instance: Id,
    /// µs since the epoch.
    pub from_micros: i64,
    /// µs since the epoch.
    pub to_micros: i64,
    /// When it was decided, µs since the epoch.
    pub at_micros: i64,
    pub reason: String,
}

/// From when, and before when, of each retraction of an instance, µs since the Unix epoch.
pub(super) type Spans = Vec<(i64, i64)>;

/// All retractions of a store, in memory for the question asked of every sample. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Retractions(Arc<RwLock<HashMap<Id, Spans>>>);

impl Retractions {
    pub(super) async fn read(pool: &SqlitePool) -> Result<Self, StoreError> {
        let mut all = HashMap::<Id, Spans>::new();
        for row in sqlx::query(sql::RETRACTION_READ).fetch_all(pool).await? {
            let found = retraction(&row)?;
            all.entry(found.instance).or_default().push((found.from_micros, found.to_micros));
        }
        Ok(Self(Arc::new(RwLock::new(all))))
    }

    /// Whether a sample counts no more. `wall` is µs since the epoch.
    pub(super) fn cover(&self, instance: &Id, wall: i64) -> bool {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // Seldom is there any.
        !all.is_empty() && all.get(instance).is_some_and(|of| of.iter().any(|(from, to)| (*from..*to).contains(&wall)))
    }

    /// What of these instances counts no more, of those that have anything.
    pub(super) fn of(&self, instances: &[Id]) -> HashMap<Id, Spans> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let of = instances.iter().filter_map(|instance| Some((instance.clone(), all.get(instance)?.clone())));
        of.collect()
    }

    pub(super) fn cover_stored(&self, stored: &Stored) -> bool {
        self.cover(&stored.instance, stored.sample.wall_micros)
    }

    /// Writes it down and has it from then on; false when it was there already.
    pub(super) async fn write(&self, pool: &SqlitePool, wanted: &Retraction) -> Result<bool, StoreError> {
        let write = sqlx::query(sql::RETRACTION_WRITE).bind(wanted.instance.as_str()).bind(wanted.from_micros);
        let write = write.bind(wanted.to_micros).bind(wanted.at_micros).bind(&wanted.reason);
        let fresh = write.execute(pool).await?.rows_affected() > 0;
        if fresh {
            let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
            all.entry(wanted.instance.clone()).or_default().push((wanted.from_micros, wanted.to_micros));
        }
        Ok(fresh)
    }
}

/// Those whose minutes were not made anew yet.
pub(super) async fn unmade(pool: &SqlitePool) -> Result<Vec<Retraction>, StoreError> {
    sqlx::query(sql::RETRACTION_UNMADE).fetch_all(pool).await?.iter().map(retraction).collect()
}

pub(super) async fn set_remade(pool: &SqlitePool, done: &Retraction) -> Result<(), StoreError> {
    let write = sqlx::query(sql::RETRACTION_REMADE).bind(done.instance.as_str()).bind(done.from_micros);
    write.bind(done.to_micros).execute(pool).await?;
    Ok(())
}

fn retraction(row: &sqlx::sqlite::SqliteRow) -> Result<Retraction, StoreError> {
    let instance = Id::new("instance", row.try_get::<&str, _>(0)?);
    Ok(Retraction {
        instance: instance.map_err(|error| StoreError::Corrupt(error.to_string()))?,
        from_micros: row.try_get(1)?,
        to_micros: row.try_get(2)?,
        at_micros: row.try_get(3)?,
        reason: row.try_get(4)?,
    })
}
