//! Ticks as they are read one after the other, each by itself: one that is damaged takes none of its neighbours with it.
//!
//! A flipped bit in what says how long a row's columns are, or of which type, makes the row unreadable as a whole, and SQLite ends the
//! statement that meets it. Then rows are read one by one, by the numbers that the index has.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::blob::{Blob, Place};
use super::{StoreError, sql};

/// Which ticks of a range are asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    All,
    /// Written before `hour`, or before `late` and with something of before `hour`; µs since the epoch.
    Settled {
        hour: i64,
        late: i64,
    },
}

/// One tick, or why it cannot be read.
#[derive(Debug)]
pub(super) struct Tick {
    pub(super) number: i64,
    /// None where its row does not say.
    pub(super) samples: i64,
    /// When the last of its samples was taken, µs since the epoch; `None` where its row does not say.
    pub(super) last_micros: Option<i64>,
    pub(super) blob: Result<Blob, StoreError>,
}

impl Tick {
    fn of_row(row: &SqliteRow) -> Result<Self, StoreError> {
        Ok(Self {
            number: row.try_get("tick")?,
            samples: row.try_get("samples").unwrap_or_default(),
            last_micros: row.try_get("last_micros").ok(),
            blob: Blob::of_tick(row),
        })
    }

    /// Of one that cannot be read as a whole.
    fn damaged(number: i64, error: StoreError) -> Self {
        Self { number, samples: 0, last_micros: None, blob: Err(Place::Tick(number).named(error)) }
    }
}

async fn read(
    connection: &mut SqliteConnection,
    which: Which,
    (after, up_to): (i64, i64),
    most: i64,
) -> Result<Vec<Tick>, StoreError> {
    let rows = match which {
        Which::All => sqlx::query(sql::TICK_WITHIN).bind(after).bind(up_to).bind(most),
        Which::Settled { hour, late } => {
            sqlx::query(sql::TICK_SETTLED).bind(after).bind(up_to).bind(most).bind(hour).bind(late)
        }
    };
    rows.fetch_all(connection).await?.iter().map(Tick::of_row).collect()
}

/// Ticks with `after < number <= up_to`, the first `most` of them by number.
pub(super) async fn ticks(
    connection: &mut SqliteConnection,
    which: Which,
    (after, up_to): (i64, i64),
    most: i64,
) -> Result<Vec<Tick>, StoreError> {
    match read(connection, which, (after, up_to), most).await {
        Err(StoreError::Corrupt(_)) => {}
        answer => return answer,
    }
    let numbers = sqlx::query_scalar::<_, i64>(sql::TICK_NUMBERS).bind(after).bind(up_to).bind(most);
    let mut ticks = Vec::new();
    for number in numbers.fetch_all(&mut *connection).await? {
        match read(connection, which, (number - 1, number), 1).await {
            Ok(read) => ticks.extend(read),
            Err(error @ StoreError::Corrupt(_)) => ticks.push(Tick::damaged(number, error)),
            Err(error) => return Err(error),
        }
    }
    Ok(ticks)
}
