//! Moves the timeline on: describes the sources, settles modes, writes placements through, and
//! tells who follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use foreshadow_proto::convert::Id;
use sqlx::{Row, SqlitePool};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::timeline::Move;
use super::{Doubt, Hint, InstanceMode, Placement, Timeline, sql};
use crate::clock::Clock;
use crate::fleet::{Fleet, HeardBy, Notice};
use crate::shadow::{Sessions, ShadowSession};

/// Modes that only time moves (draining, silence) are looked at this often.
const SETTLE_EVERY: Duration = Duration::from_secs(1);
/// What agents say is looked at after so many times what the last look took: nothing with hundreds of them.
const RESTS: u32 = 20;
/// Hints come in bursts; the first is followed at once, and then the cloud is asked at most this often.
const HINT_SPACING: Duration = Duration::from_secs(2);
/// A description that was hinted at and failed is tried again after this, unless the next whole one
/// comes first.
const HINT_AGAIN: Duration = Duration::from_secs(10);
/// The provider's records are asked why an instance left, at once and after these waits: they may lag.
const WHY_AFTER: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(20), Duration::from_secs(120)];
/// They are asked for what happened since this long before, seconds.
const WHY_SINCE: i64 = 900;
/// An agent's claim that stands against the inventory for this long is counted and told, seconds: a
/// move takes a while.
const DOUBT_AFTER: i64 = 60;
/// Claims of one agent are a hint at most this often, seconds: it may lie.
const CLAIM_SPACING: i64 = 20;
/// Placements are kept this long: as long as raw samples may be.
const PLACEMENTS_KEPT_MICROS: i64 = 35 * 86_400 * 1_000_000;

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
    /// Claims of agents that the inventory does not bear out: which, since when, and whether they count.
    doubts: BTreeMap<Id, Standing>,
    /// When an agent's claim was last a hint.
    claimed: BTreeMap<Id, i64>,
    /// Questions why an instance left.
    asking: JoinSet<()>,
}

/// A claim that the inventory does not bear out.
#[derive(Debug)]
struct Standing {
    claim: String,
    since: i64,
    counted: bool,
    hinted: bool,
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
        let hint = Hint::default();
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
            doubts: BTreeMap::new(),
            claimed: BTreeMap::new(),
            asking: JoinSet::new(),
        })
    }

    pub fn hint(&self) -> Hint {
        self.hint.clone()
    }

    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut hinted = self.hint.given();
        let (mut hinted_at, mut last) = (None, None::<tokio::time::Instant>);
        let mut stirred = self.timeline.stirred();
        let mut settle = tokio::time::interval(SETTLE_EVERY);
        settle.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut next = tokio::time::Instant::now();
        let mut rested = next;
        let mut expire = tokio::time::interval(Duration::from_secs(3_600));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep_until(next) => {
                    // What is hinted at from now on may be newer than what is being read.
                    self.hint.take();
                    hinted_at = None;
                    last = Some(tokio::time::Instant::now());
                    self.describe().await;
                    next = tokio::time::Instant::now() + self.every;
                }
                () = at(hinted_at) => {
                    hinted_at = None;
                    last = Some(tokio::time::Instant::now());
                    let asked = self.hint.take();
                    if asked.all {
                        self.describe().await;
                        next = tokio::time::Instant::now() + self.every;
                    } else if !self.describe_some(&asked.groups).await {
                        hinted_at = Some(tokio::time::Instant::now() + HINT_AGAIN);
                    }
                }
                Ok(()) = hinted.changed() => {
                    let now = tokio::time::Instant::now();
                    let soonest = last.map_or(now, |last| now.max(last + HINT_SPACING));
                    hinted_at = Some(hinted_at.map_or(soonest, |at: tokio::time::Instant| at.min(soonest)));
                }
                Some(_) = self.asking.join_next() => {}
                Ok(()) = stirred.changed() => {
                    // A crowd that comes back is looked at together: every look goes over everybody.
                    tokio::time::sleep_until(rested).await;
                    stirred.mark_unchanged();
                }
                _ = settle.tick() => {}
                _ = expire.tick() => {
                    self.hint.notices().expire(self.clock.wall_seconds());
                    let before = self.clock.wall_micros() - PLACEMENTS_KEPT_MICROS;
                    self.timeline.forget_gone(before);
                    if let Err(error) = sqlx::query(sql::PLACEMENT_EXPIRE).bind(before).execute(&self.pool).await {
                        tracing::warn!(%error, "old placements cannot be dropped");
                    }
                }
            }
            let began = tokio::time::Instant::now();
            self.settle().await;
            let ended = tokio::time::Instant::now();
            rested = ended + (ended - began).saturating_mul(RESTS).min(SETTLE_EVERY);
        }
    }

    async fn describe(&mut self) {
        for source in &self.sources {
            let mut whole = true;
            let complete = match source.describe().await {
                Ok(inventory) => {
                    // What stays wrong is said once, and again when it changes; /readyz says it always.
                    let known = self.problems.insert(source.name(), inventory.problems.clone());
                    let new = |problem: &&String| known.as_ref().is_none_or(|known| !known.contains(problem));
                    for problem in inventory.problems.iter().filter(new) {
                        tracing::warn!(source = source.name(), problem, "inventory");
                    }
                    self.timeline.take(source.name(), &inventory);
                    whole = inventory.missing.is_empty();
                    inventory.complete
                }
                Err(error) => {
                    tracing::error!(%error, "the inventory cannot be read; modes stay as they were");
                    self.timeline.lost(source.name(), error.to_string());
                    false
                }
            };
            metrics::gauge!("foreshadow_inventory_complete", "source" => source.name())
                .set(f64::from(u8::from(complete && whole)));
            if complete {
                self.read.insert(source.name());
            }
        }
        // What never was read whole cannot be judged.
        if self.sources.iter().all(|source| self.read.contains(source.name())) {
            self.timeline.set_read();
        }
    }

    /// Describes the groups that were hinted at; false when some could not be. Nothing is taken for
    /// complete by it, and what fails changes nothing.
    async fn describe_some(&self, groups: &BTreeSet<Id>) -> bool {
        let mut whole = true;
        for source in &self.sources {
            let own = groups.iter().filter(|group| self.timeline.source_of(group) == Some(source.name()));
            let own: BTreeSet<Id> = own.cloned().collect();
            if own.is_empty() {
                continue;
            }
            let names: Vec<Id> = own.iter().cloned().collect();
            match source.describe_some(&names).await {
                Ok(inventory) => self.timeline.take_some(source.name(), &own, &inventory),
                Err(error) => {
                    tracing::warn!(%error, groups = ?names, "a group that was hinted at cannot be described");
                    own.iter().for_each(|group| self.hint.group_again(group));
                    whole = false;
                }
            }
        }
        whole
    }

    /// What agents claim against the inventory: a hint when it begins, and counted when it stays.
    fn doubt(&mut self, now: i64) {
        let doubts = self.timeline.doubts();
        self.claimed.retain(|_, at| now - *at < CLAIM_SPACING);
        self.doubts.retain(|instance, known| {
            doubts.iter().any(|doubt| doubt.instance == *instance && doubt.claim == known.claim)
        });
        for Doubt { instance, group, claim } in doubts {
            let known = self.doubts.entry(instance.clone()).or_insert_with(|| Standing {
                claim: claim.clone(),
                since: now,
                counted: false,
                hinted: false,
            });
            if !known.counted && now - known.since >= DOUBT_AFTER {
                known.counted = true;
                tracing::warn!(%instance, %group, claim, "its agent claims another state than the inventory has");
                metrics::counter!("foreshadow_claims_disagreed_total").increment(1);
            }
            if !known.hinted && !self.claimed.contains_key(&instance) {
                known.hinted = true;
                self.claimed.insert(instance.clone(), now);
                let notice = Notice { group, instance, activity: None, heard_by: HeardBy::Agent, why: None };
                if !self.hint.notice(&notice, now) {
                    self.hint.group(&notice.group);
                }
            }
        }
        let standing = self.doubts.values().filter(|known| known.counted).count();
        metrics::gauge!("foreshadow_claims_disagree").set(f64::from(u32::try_from(standing).unwrap_or(u32::MAX)));
    }

    /// Asks the provider's records why somebody else took an instance out of its group.
    fn ask_why(&mut self, session: &ShadowSession) {
        let name = self.timeline.source_of(&session.group);
        let Some(source) = self.sources.iter().find(|source| Some(source.name()) == name).cloned() else { return };
        let (group, instance, since) = (session.group.clone(), session.instance.clone(), session.started - WHY_SINCE);
        let (hint, sessions, clock) = (self.hint.clone(), self.sessions.clone(), self.clock.clone());
        self.asking.spawn(async move {
            for wait in WHY_AFTER {
                tokio::time::sleep(wait).await;
                if hint.notices().why(&group, &instance).is_none() {
                    let found = source.activities(&group, std::slice::from_ref(&instance), since).await;
                    let found = found.unwrap_or_else(|error| {
                        tracing::info!(%error, %instance, "why it left its group is not known");
                        Vec::new()
                    });
                    let now = clock.wall_seconds();
                    for notice in &found {
                        hint.notices().hear(notice, now);
                    }
                }
                let why = hint.notices().why(&group, &instance);
                if let Some(why) = why {
                    if let Err(error) = sessions.explain(&instance, &why).await {
                        tracing::debug!(%error, %instance, "its session ended before it was known why it left");
                    }
                    return;
                }
            }
        });
    }

    async fn settle(&mut self) {
        let now = self.clock.wall_micros();
        self.doubt(now.div_euclid(1_000_000));
        let mut moves = self.timeline.moves(now);
        for change in &mut moves {
            match change.to.mode {
                InstanceMode::Draining | InstanceMode::Shadow => {
                    change.why = self.hint.notices().why(&change.to.group, &change.instance);
                }
                InstanceMode::Serving | InstanceMode::Warming => self.hint.notices().returned(&change.instance),
                InstanceMode::Gone => {}
            }
        }
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
        let opened = self.sessions.follow(&moves, self.clock.now()).await;
        for session in opened.iter().filter(|session| !session.reason.contains(": ")) {
            self.ask_why(session);
        }
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

/// That time, or never.
async fn at(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
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
