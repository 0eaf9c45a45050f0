//! Moves the timeline on: describes the sources, settles modes, writes placements through, and
//! tells who follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use foreshadow_proto::convert::Id;
use sqlx::{Row, SqlitePool};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::timeline::Move;
use super::{InstanceMode, Placement, Timeline, sql};
use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::shadow::Sessions;

/// Modes that only time moves (draining, silence) are looked at this often.
const SETTLE_EVERY: Duration = Duration::from_secs(1);
/// Hints come in bursts; the cloud is asked at most this often.
const HINT_SPACING: Duration = Duration::from_secs(5);
/// Placements are kept this long: as long as raw samples may be.
const PLACEMENTS_KEPT_MICROS: i64 = 35 * 86_400 * 1_000_000;

/// Asks for a describe soon. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Hint(Arc<watch::Sender<u64>>);

impl Hint {
    /// Something may have changed in the cloud.
    pub fn give(&self) {
        self.0.send_modify(|count| *count += 1);
    }
}

/// Runs until it is told to stop.
#[derive(Debug)]
pub struct Observer {
    timeline: Timeline,
    sessions: Sessions,
    sources: Vec<Arc<dyn Fleet>>,
    pool: SqlitePool,
    clock: Arc<dyn Clock>,
    every: Duration,
    hint: Hint,
    /// Sources that were read completely once.
    read: BTreeSet<&'static str>,
    /// What was wrong with the latest reading of each.
    problems: BTreeMap<&'static str, Vec<String>>,
}

impl Observer {
    /// Restores the timeline from the database.
    pub async fn open(
        timeline: Timeline,
        sessions: Sessions,
        sources: Vec<Arc<dyn Fleet>>,
        pool: SqlitePool,
        clock: Arc<dyn Clock>,
        every: Duration,
    ) -> Result<Self, sqlx::Error> {
        for row in sqlx::query(sql::PLACEMENT_READ).fetch_all(&pool).await? {
            let (instance, group): (String, String) = (row.try_get(0)?, row.try_get(2)?);
            let mode = mode_of(row.try_get(3)?);
            let (Ok(instance), Ok(group), Some(mode)) = (instance.parse::<Id>(), group.parse::<Id>(), mode) else {
                tracing::warn!(instance, group, "a stored placement cannot be read and is left out");
                continue;
            };
            let placement = Placement { group, mode, since_micros: row.try_get(1)? };
            timeline.restore(instance, placement, row.try_get::<i64, _>(4)? != 0, clock.wall_micros());
        }
        // Who is under a lease of ours is known before anybody is judged by silence.
        sessions.follow(&[], clock.now()).await;
        let hint = Hint(Arc::new(watch::Sender::new(0)));
        Ok(Self {
            timeline,
            sessions,
            sources,
            pool,
            clock,
            every,
            hint,
            read: BTreeSet::new(),
            problems: BTreeMap::new(),
        })
    }

    pub fn hint(&self) -> Hint {
        self.hint.clone()
    }

    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut hinted = self.hint.0.subscribe();
        let mut stirred = self.timeline.stirred();
        let mut settle = tokio::time::interval(SETTLE_EVERY);
        settle.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut next = tokio::time::Instant::now();
        let mut expire = tokio::time::interval(Duration::from_secs(3_600));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep_until(next) => {
                    self.describe().await;
                    next = tokio::time::Instant::now() + self.every;
                }
                Ok(()) = hinted.changed() => {
                    next = next.min(tokio::time::Instant::now() + HINT_SPACING);
                }
                Ok(()) = stirred.changed() => {}
                _ = settle.tick() => {}
                _ = expire.tick() => {
                    let before = self.clock.wall_micros() - PLACEMENTS_KEPT_MICROS;
                    self.timeline.forget_gone(before);
                    if let Err(error) = sqlx::query(sql::PLACEMENT_EXPIRE).bind(before).execute(&self.pool).await {
                        tracing::warn!(%error, "old placements cannot be dropped");
                    }
                }
            }
            self.settle().await;
        }
    }

    async fn describe(&mut self) {
        for source in &self.sources {
            let complete = match source.describe().await {
                Ok(inventory) => {
                    // What stays wrong is said once, and again when it changes; /readyz says it always.
                    let known = self.problems.insert(source.name(), inventory.problems.clone());
                    let new = |problem: &&String| known.as_ref().is_none_or(|known| !known.contains(problem));
                    for problem in inventory.problems.iter().filter(new) {
                        tracing::warn!(source = source.name(), problem, "inventory");
                    }
                    self.timeline.take(source.name(), &inventory);
                    inventory.complete
                }
                Err(error) => {
                    tracing::error!(%error, "the inventory cannot be read; modes stay as they were");
                    self.timeline.lost(source.name(), error.to_string());
                    false
                }
            };
            metrics::gauge!("foreshadow_inventory_complete", "source" => source.name())
                .set(f64::from(u8::from(complete)));
            if complete {
                self.read.insert(source.name());
            }
        }
        // What never was read whole cannot be judged.
        if self.sources.iter().all(|source| self.read.contains(source.name())) {
            self.timeline.set_read();
        }
    }

    async fn settle(&self) {
        let now = self.clock.wall_micros();
        let moves = self.timeline.moves(now);
        if !moves.is_empty() {
            if let Err(error) = self.write(&moves).await {
                // The mode is a fact of the world: it holds even when the disk does not.
                tracing::error!(%error, "placements cannot be written");
            }
            self.timeline.apply(&moves);
            for change in &moves {
                tracing::info!(
                    instance = %change.instance,
                    group = %change.to.group,
                    from = ?change.from.as_ref().map(|placed| placed.mode),
                    to = ?change.to.mode,
                    "mode"
                );
            }
        }
        self.sessions.follow(&moves, self.clock.now()).await;
    }

    async fn write(&self, moves: &[Move]) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        for change in moves {
            sqlx::query(sql::PLACEMENT_WRITE)
                .bind(change.instance.as_str())
                .bind(change.to.since_micros)
                .bind(change.to.group.as_str())
                .bind(word_of(change.to.mode))
                .bind(i64::from(change.claimed))
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await
    }
}

const fn word_of(mode: InstanceMode) -> &'static str {
    match mode {
        InstanceMode::Warming => "warming",
        InstanceMode::Serving => "serving",
        InstanceMode::Draining => "draining",
        InstanceMode::Shadow => "shadow",
        InstanceMode::Gone => "gone",
    }
}

fn mode_of(word: &str) -> Option<InstanceMode> {
    use InstanceMode::{Draining, Gone, Serving, Shadow, Warming};
    [Warming, Serving, Draining, Shadow, Gone].into_iter().find(|mode| word_of(*mode) == word)
}
