//! A past that is written into the store of an aggregator that does not run.

use std::path::Path;

use anyhow::Context as _;
use foreshadow_agent::clock::{Clock as _, HostClock};

pub fn now() -> i64 {
    HostClock.wall_micros() / 1_000_000
}

/// Three days at a steady load with a little noise, carried by so many machines.
pub async fn steady(directory: &Path, group: &str, points: f64, machines: usize) -> anyhow::Result<()> {
    // Noise that holds for a whole step and that no model can learn: the forecast is made of the
    // highest minute of each step, and the load has to lie in the middle of what it holds for possible.
    three_days(directory, group, machines, |minute| points * (0.9 + 0.2 * noise(minute / 5))).await
}

/// Three days of a group's load, points by the minute since the epoch.
pub async fn three_days(
    directory: &Path,
    group: &str,
    machines: usize,
    load: impl Fn(i64) -> f64,
) -> anyhow::Result<()> {
    let file = directory.join("data/foreshadow.db");
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", file.display())).await?;
    let insert = foreshadow::sql::statements().find(|(name, _)| *name == "MINUTE_WRITE").context("the statement")?.1;
    let (machines, now) = (i64::try_from(machines)?, now());
    let mut transaction = pool.begin().await?;
    for minute in (now / 60 - 3 * 1_440)..(now / 60) {
        let gross = load(minute);
        sqlx::query(insert)
            .bind(group)
            .bind("cpu")
            .bind(minute * 60)
            .bind(gross)
            .bind(gross)
            .bind(machines as f64)
            .bind(machines)
            .bind(machines)
            .bind(0_i64)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    pool.close().await;
    Ok(())
}

/// From 0 to 1, the same for the same number; the finaliser of SplitMix64.
fn noise(number: i64) -> f64 {
    let mut mixed = (number as u64).wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((mixed ^ (mixed >> 31)) >> 40) as f64 / f64::from(1_u32 << 24)
}
