//! A body and where it stands, so that one that cannot be read is named.

use std::collections::HashMap;
use std::fmt;

use foreshadow_proto::convert::Id;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::columns;
use super::embedded::HOUR_MICROS;
use super::readings::{Asked, Readings};
use super::{StoreError, Stored};

/// Which row a body is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Tick(i64),
    Chunk { instance: String, hour: i64, part: i64 },
}

/// A body as it was read.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) place: Place,
    body: Vec<u8>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tick(tick) => write!(f, "tick {tick}"),
            Self::Chunk { instance, hour, part } => {
                write!(f, "chunk {instance} ")?;
                match jiff::Timestamp::from_second(hour.saturating_mul(HOUR_MICROS / 1_000_000)) {
                    Ok(begin) => write!(f, "{begin}")?,
                    Err(_) => write!(f, "hour {hour}")?,
                }
                write!(f, " part {part}")
            }
        }
    }
}

impl Place {
    pub(super) fn named(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Corrupt(problem) => StoreError::Corrupt(format!("{self}: {problem}")),
            error => error,
        }
    }
}

impl Blob {
    /// Of a row that has `tick` and `body`.
    pub(super) fn of_tick(row: &SqliteRow) -> Result<Self, StoreError> {
        Self::at(Place::Tick(row.try_get("tick")?), row)
    }

    /// Of a row that has `hour`, `part` and `body`.
    pub(super) fn of_chunk(instance: &str, row: &SqliteRow) -> Result<Self, StoreError> {
        let (hour, part) = (row.try_get("hour")?, row.try_get("part")?);
        Self::at(Place::Chunk { instance: instance.to_owned(), hour, part }, row)
    }

    fn at(place: Place, row: &SqliteRow) -> Result<Self, StoreError> {
        match row.try_get("body") {
            Ok(body) => Ok(Self { place, body }),
            Err(error) => Err(place.named(error.into())),
        }
    }

    /// Whose samples alone may be in it.
    fn only(&self) -> Option<&str> {
        match &self.place {
            Place::Tick(_) => None,
            Place::Chunk { instance, .. } => Some(instance),
        }
    }

    pub(super) fn unpack(&self) -> Result<Vec<Stored>, StoreError> {
        let samples = columns::unpack(&self.body).map_err(|error| self.place.named(error))?;
        if self.only().is_some_and(|only| samples.iter().any(|stored| stored.instance.as_str() != only)) {
            return Err(self.place.named(columns::of_another()));
        }
        Ok(samples)
    }

    /// Puts what it has of what was asked to what was found of the instances that have a place there.
    pub(super) fn readings(&self, asked: &Asked, found: &mut HashMap<Id, Readings>) -> Result<(), StoreError> {
        columns::readings(&self.body, self.only(), asked, found).map_err(|error| self.place.named(error))
    }
}
