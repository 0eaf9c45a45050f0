//! What keeps a configuration file from loosening anything: limits that were accepted, kept on disk.
//!
//! At the start the file is compared with what was last accepted, field by field. Tighter is taken at once. Looser is taken
//! at once too while the group is in `observe`, where nothing is done; beyond that the accepted value holds, and is told,
//! until an explicit call with a reason accepts the file's. [`limits`] says which way is looser, [`Leash`] keeps and answers.

mod field;
mod limits;
pub(crate) mod sql;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use foreshadow_proto::convert::Id;
use planner::policy::Mode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{Row, SqlitePool};

pub use field::{Bound, Held};
pub use limits::{CommonLimits, GroupLimits};

use crate::act::Control;
use crate::fleet::Reach;
use crate::rounds::GroupPolicy;

/// What concerns all groups; no group can have this name.
const EVERYWHERE: &str = "*";
/// Who accepts what loosens nothing.
const THE_FILE: &str = "the configuration file";

/// Limits that were accepted, and by whom.
#[derive(Debug, Clone)]
struct Accepted<L> {
    limits: L,
    at: i64,
    by: String,
    reason: String,
}

/// The limits of a group, or of all, as they are kept and as the file has them.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct LimitsShown {
    /// Absent: what concerns all groups.
    #[schema(value_type = Option<String>)]
    pub group: Option<Id>,
    /// What the file would loosen and does not; empty where file and accepted limits agree.
    pub held: Vec<Held>,
    /// When limits were last accepted, seconds since the Unix epoch. Absent where nothing had to be.
    pub at: Option<i64>,
    pub by: Option<String>,
    pub reason: Option<String>,
}

impl LimitsShown {
    /// In words, with what to do.
    pub fn warnings(&self) -> Vec<String> {
        let (whose, named) = match &self.group {
            Some(group) => (format!("group.{group}."), format!(" {group}")),
            None => (String::new(), String::new()),
        };
        let said = self.held.iter().map(|held| {
            let field = if held.field.starts_with("group.") { held.field.clone() } else { format!("{whose}{}", held.field) };
            format!(
                "{field}: the configuration file says {}, which is looser than what was accepted: {} holds. Write that, or \
                 have it accepted by an admin: foreshadow limits accept{named} --reason \"…\"",
                held.file, held.holds
            )
        });
        said.collect()
    }
}

/// What the configuration file says.
#[derive(Debug, Clone)]
pub struct FileLimits {
    /// By group; a group that is not named has the defaults.
    pub groups: BTreeMap<Id, GroupPolicy>,
    pub common: CommonLimits,
}

impl FileLimits {
    fn group(&self, group: &Id) -> GroupPolicy {
        self.groups.get(group).cloned().unwrap_or_else(|| GroupPolicy::new(group))
    }
}

/// Which limits hold. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leash(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: SqlitePool,
    control: Control,
    file: RwLock<FileLimits>,
    /// Held by whoever changes limits: one compares with what the other accepted.
    changing: tokio::sync::Mutex<()>,
    groups: RwLock<BTreeMap<Id, Accepted<GroupLimits>>>,
    common: RwLock<Accepted<CommonLimits>>,
}

impl Leash {
    /// Reads what was accepted before, and takes of the file what is no looser.
    pub async fn open(pool: SqlitePool, control: Control, file: FileLimits, now: i64) -> Result<Self, LeashError> {
        let mut stored: BTreeMap<String, Kept> = BTreeMap::new();
        for row in sqlx::query(sql::LIMITS_READ).fetch_all(&pool).await? {
            let kept = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
            stored.insert(row.try_get(0)?, kept);
        }
        let mut known: BTreeSet<Id> = file.groups.keys().cloned().collect();
        known.extend(stored.keys().filter(|name| *name != EVERYWHERE).filter_map(|name| Id::new("group", name).ok()));
        known.extend(control.beyond_observe());
        let beyond = |group: &Id| control.standing(group).mode > Mode::Observe;
        let mut groups = BTreeMap::new();
        for group in &known {
            let own = GroupLimits::of(&file.group(group));
            let before = stored.remove(group.as_str()).map(|kept| read(group.as_str(), kept)).transpose()?;
            let (accepted, changed) = of_group(before, own, beyond(group), now);
            if changed {
                write(&pool, group.as_str(), &accepted).await?;
            }
            groups.insert(group.clone(), accepted);
        }
        let before = stored.remove(EVERYWHERE).map(|kept| read::<CommonLimits>(EVERYWHERE, kept)).transpose()?;
        let (common, changed) = of_everything(before, &file.common, known.iter().any(beyond), now);
        if changed {
            write(&pool, EVERYWHERE, &common).await?;
        }
        let leash = Self(Arc::new(Inner {
            pool,
            control,
            file: RwLock::new(file),
            changing: tokio::sync::Mutex::default(),
            groups: RwLock::new(groups),
            common: RwLock::new(common),
        }));
        leash.tell();
        Ok(leash)
    }

    /// The file was read again: as at a start, what is no looser is taken, and what is looser only where nothing is done.
    /// On an error nothing has changed.
    pub async fn reload(&self, file: FileLimits, now: i64) -> Result<(), sqlx::Error> {
        let _changing = self.0.changing.lock().await;
        let before = self.0.groups.read().unwrap_or_else(PoisonError::into_inner).clone();
        let common = self.0.common.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut known: BTreeSet<Id> = file.groups.keys().chain(before.keys()).cloned().collect();
        known.extend(self.0.control.beyond_observe());
        let beyond = |group: &Id| self.0.control.standing(group).mode > Mode::Observe;
        let mut transaction = self.0.pool.begin().await?;
        let mut groups = BTreeMap::new();
        for group in &known {
            let own = GroupLimits::of(&file.group(group));
            let (accepted, changed) = of_group(before.get(group).cloned(), own, beyond(group), now);
            if changed {
                write(&mut *transaction, group.as_str(), &accepted).await?;
            }
            groups.insert(group.clone(), accepted);
        }
        let (common, changed) = of_everything(Some(common), &file.common, known.iter().any(beyond), now);
        if changed {
            write(&mut *transaction, EVERYWHERE, &common).await?;
        }
        transaction.commit().await?;
        {
            *self.0.groups.write().unwrap_or_else(PoisonError::into_inner) = groups;
            *self.0.common.write().unwrap_or_else(PoisonError::into_inner) = common;
            *self.0.file.write().unwrap_or_else(PoisonError::into_inner) = file;
        }
        self.tell();
        Ok(())
    }

    fn tell(&self) {
        for problem in self.warnings(|_| None) {
            tracing::warn!(problem, "limits");
        }
        self.tell_loopback();
    }

    /// What the file says of a group.
    fn file_of(&self, group: &Id) -> GroupPolicy {
        self.0.file.read().unwrap_or_else(PoisonError::into_inner).group(group)
    }

    /// What the file says of all.
    fn file_of_all(&self) -> CommonLimits {
        self.0.file.read().unwrap_or_else(PoisonError::into_inner).common.clone()
    }

    pub fn control(&self) -> &Control {
        &self.0.control
    }

    /// The policy of a group, as far as it was accepted.
    pub fn policy(&self, group: &Id) -> GroupPolicy {
        let file = self.file_of(group);
        let groups = self.0.groups.read().unwrap_or_else(PoisonError::into_inner);
        groups.get(group).map_or_else(|| file.clone(), |accepted| accepted.limits.hold(&file))
    }

    /// The limits of all groups that hold; their safety windows are those that may.
    pub fn common(&self) -> CommonLimits {
        let mut limits = self.0.common.read().unwrap_or_else(PoisonError::into_inner).limits.clone();
        limits.safety = limits.safety().0;
        limits
    }

    /// Safety windows that hold.
    pub fn safety(&self) -> checker::Limits {
        self.0.common.read().unwrap_or_else(PoisonError::into_inner).limits.safety().0
    }

    /// How far a source reaches, as far as that was accepted.
    pub fn reach(&self, source: &str, reach: Reach) -> Reach {
        let common = self.0.common.read().unwrap_or_else(PoisonError::into_inner);
        let accepted = common.limits.reach.get(source).copied().unwrap_or(reach);
        if accepted.is_looser_than(reach) { reach } else { accepted }
    }

    /// Sources whose cloud counts as this very machine.
    pub fn loopback_sources(&self) -> Vec<String> {
        let common = self.0.common.read().unwrap_or_else(PoisonError::into_inner);
        let local = common.limits.reach.iter().filter(|(_, reach)| **reach == Reach::Loopback);
        local.map(|(source, _)| source.clone()).collect()
    }

    /// A cloud that is this machine is said aloud: what is believed and permitted there would end a fleet elsewhere.
    fn tell_loopback(&self) {
        let local = self.loopback_sources();
        for source in self.file_of_all().reach.keys() {
            let is_local = local.contains(source);
            metrics::gauge!("foreshadow_cloud_is_this_machine", "source" => source.clone())
                .set(f64::from(u8::from(is_local)));
            if is_local {
                tracing::warn!(source, "{}", loopback_warning(source));
            }
        }
    }

    /// The limits of a group. `inventory`: minimum and maximum that the inventory shows, where it was read.
    pub fn of(&self, group: &Id, inventory: Option<(u32, u32)>) -> LimitsShown {
        let file = GroupLimits::of(&self.file_of(group));
        let groups = self.0.groups.read().unwrap_or_else(PoisonError::into_inner);
        let accepted = groups.get(group);
        let held = accepted.map(|accepted| accepted.limits.tightened(&file, inventory).1).unwrap_or_default();
        shown(Some(group.clone()), held, accepted)
    }

    /// The limits of all groups at once.
    pub fn of_all(&self) -> LimitsShown {
        let file = self.file_of_all();
        let common = self.0.common.read().unwrap_or_else(PoisonError::into_inner);
        let (in_force, mut held) = common.limits.tightened(&file);
        let known = |field: &str, held: &[Held]| held.iter().any(|held| held.field == field);
        for gentle in in_force.safety().1 {
            if !known(&gentle.field, &held) {
                held.push(gentle);
            }
        }
        shown(None, held, Some(&*common))
    }

    /// Everything that the file would loosen and does not, in words. `inventory` as in [`Leash::of`].
    pub fn warnings(&self, inventory: impl Fn(&Id) -> Option<(u32, u32)>) -> Vec<String> {
        let groups: Vec<Id> = {
            let groups = self.0.groups.read().unwrap_or_else(PoisonError::into_inner);
            groups.keys().cloned().collect()
        };
        let mut all = self.of_all().warnings();
        #[allow(clippy::cast_precision_loss, reason = "a count of fields")]
        metrics::gauge!("foreshadow_limits_held", "group" => "").set(all.len() as f64);
        for group in groups {
            let warnings = self.of(&group, inventory(&group)).warnings();
            #[allow(clippy::cast_precision_loss, reason = "a count of fields")]
            metrics::gauge!("foreshadow_limits_held", "group" => group.to_string()).set(warnings.len() as f64);
            all.extend(warnings);
        }
        all
    }

    /// A group is about to go beyond `observe`: from now on the file's limits are those that were accepted.
    pub async fn hold_from_now(&self, group: &Id, at: i64, by: &str, reason: &str) -> Result<(), sqlx::Error> {
        if self.0.control.standing(group).mode > Mode::Observe {
            return Ok(());
        }
        self.accept(Some(group), at, by, reason).await
    }

    /// Accepts what the file says, of a group or (`None`) of all; durable on return.
    pub async fn accept(&self, group: Option<&Id>, at: i64, by: &str, reason: &str) -> Result<(), sqlx::Error> {
        let _changing = self.0.changing.lock().await;
        let (by, reason) = (by.to_owned(), reason.to_owned());
        match group {
            Some(group) => {
                let accepted = Accepted { limits: GroupLimits::of(&self.file_of(group)), at, by, reason };
                write(&self.0.pool, group.as_str(), &accepted).await?;
                let mut groups = self.0.groups.write().unwrap_or_else(PoisonError::into_inner);
                groups.insert(group.clone(), accepted);
            }
            None => {
                let accepted = Accepted { limits: self.file_of_all(), at, by, reason };
                write(&self.0.pool, EVERYWHERE, &accepted).await?;
                *self.0.common.write().unwrap_or_else(PoisonError::into_inner) = accepted;
                self.tell_loopback();
            }
        }
        Ok(())
    }
}

/// What is said, at every start and at `/readyz`, of a source whose cloud is this machine.
pub fn loopback_warning(source: &str) -> String {
    format!(
        "inventory.{source}: its cloud is taken for this very machine, a test: agents without certificates are believed, and \
         [safety] may be gentler than it should be. If it changes anything elsewhere, give its own address"
    )
}

#[derive(Debug, thiserror::Error)]
pub enum LeashError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(
        "the accepted limits of {group:?} cannot be read: {problem}. Are they of a newer version? Run that, or restore the \
         backup of before the upgrade"
    )]
    Unreadable { group: String, problem: String },
}

type Kept = (String, i64, String, String);

fn read<L: DeserializeOwned>(group: &str, (body, at, by, reason): Kept) -> Result<Accepted<L>, LeashError> {
    let unreadable =
        |error: serde_json::Error| LeashError::Unreadable { group: group.to_owned(), problem: error.to_string() };
    Ok(Accepted { limits: serde_json::from_str(&body).map_err(unreadable)?, at, by, reason })
}

async fn write<'e, L: Serialize>(
    to: impl sqlx::SqliteExecutor<'e>,
    name: &str,
    accepted: &Accepted<L>,
) -> Result<(), sqlx::Error> {
    let body = serde_json::to_string(&accepted.limits).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let query = sqlx::query(sql::LIMITS_WRITE).bind(name).bind(body).bind(accepted.at);
    query.bind(&accepted.by).bind(&accepted.reason).execute(to).await.map(drop)
}

/// What is accepted of a group when the file says this, and whether that is news.
fn of_group(
    before: Option<Accepted<GroupLimits>>,
    file: GroupLimits,
    beyond_observe: bool,
    now: i64,
) -> (Accepted<GroupLimits>, bool) {
    match before {
        None => (by_file(file, now, "seen for the first time"), true),
        Some(before) if !beyond_observe => taken(before, file, now, "the group was in observe"),
        Some(before) => {
            let held = before.limits.tightened(&file, None).0;
            taken(before, held, now, "it is no looser")
        }
    }
}

/// The same of what concerns all groups.
fn of_everything(
    before: Option<Accepted<CommonLimits>>,
    file: &CommonLimits,
    any_beyond_observe: bool,
    now: i64,
) -> (Accepted<CommonLimits>, bool) {
    match before {
        None => (by_file(file.without_a_word(), now, "seen for the first time"), true),
        Some(before) if !any_beyond_observe => {
            // A program's word about where its cloud is was accepted by a call, or was not.
            let asked = before.limits.reach.get("command") != Some(&Reach::Loopback);
            let own = if asked { file.without_a_word() } else { file.clone() };
            taken(before, own, now, "all groups were in observe")
        }
        Some(before) => {
            let held = before.limits.tightened(file).0;
            taken(before, held, now, "it is no looser")
        }
    }
}

fn by_file<L>(limits: L, at: i64, reason: &str) -> Accepted<L> {
    Accepted { limits, at, by: THE_FILE.to_owned(), reason: reason.to_owned() }
}

/// The limits as they are from now on, and whether that is news.
fn taken<L: PartialEq>(before: Accepted<L>, limits: L, at: i64, reason: &str) -> (Accepted<L>, bool) {
    if before.limits == limits { (before, false) } else { (by_file(limits, at, reason), true) }
}

fn shown<L>(group: Option<Id>, held: Vec<Held>, accepted: Option<&Accepted<L>>) -> LimitsShown {
    let of = |text: fn(&Accepted<L>) -> &String| accepted.map(|accepted| text(accepted).clone());
    LimitsShown {
        group,
        held,
        at: accepted.map(|accepted| accepted.at),
        by: of(|accepted| &accepted.by),
        reason: of(|accepted| &accepted.reason),
    }
}

#[cfg(test)]
mod tests {
    use planner::policy::AtLimit;
    use sqlx::sqlite::SqlitePoolOptions;

    use super::*;
    use crate::shadow::ShadowConfig;

    async fn pool() -> SqlitePool {
        let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.expect("a database");
        sqlx::migrate!().run(&pool).await.expect("migrated");
        pool
    }

    fn web() -> Id {
        Id::new("group", "web").expect("an id")
    }

    fn file(maximum: Option<u32>, drain_seconds: u32, reach: Reach) -> FileLimits {
        let policy = GroupPolicy { maximum: Bound::of(maximum), ..GroupPolicy::new(&web()) };
        // Gentler safety is refused at the start where a cloud is not this machine.
        let warm_up_seconds = if reach == Reach::Loopback { 0 } else { 600 };
        FileLimits {
            groups: BTreeMap::from([(web(), policy)]),
            common: CommonLimits {
                drain_seconds,
                warm_up_seconds: 600,
                shadow: ShadowConfig::default(),
                safety: checker::Limits { warm_up_seconds, ..checker::Limits::default() },
                reach: BTreeMap::from([("command".to_owned(), reach)]),
            },
        }
    }

    async fn start(pool: &SqlitePool, file: FileLimits) -> Leash {
        let control = Control::open(pool.clone(), BTreeMap::new(), 0).await.expect("opened");
        Leash::open(pool.clone(), control, file, 1_000).await.expect("opened")
    }

    fn maximum(leash: &Leash) -> u32 {
        leash.policy(&web()).maximum.maximum(Some(100), 0)
    }

    #[tokio::test]
    async fn in_observe_an_edit_just_works_and_beyond_it_a_looser_one_waits_for_a_word() {
        let pool = pool().await;
        for most in [20, 30] {
            let leash = start(&pool, file(Some(most), 300, Reach::Cloud)).await;
            assert_eq!((maximum(&leash), leash.warnings(|_| None)), (most, Vec::new()));
        }
        let leash = start(&pool, file(Some(30), 300, Reach::Cloud)).await;
        leash.hold_from_now(&web(), 1_000, "ana", "ready").await.expect("accepted");
        leash.control().set_mode(&web(), Mode::Full, 1_000, "ana", "ready").await.expect("set");

        // Tighter at once, and then that is what holds.
        assert_eq!(maximum(&start(&pool, file(Some(25), 400, Reach::Cloud)).await), 25);
        for (most, effect) in [(Some(30), 25), (None, 25), (Some(24), 24), (Some(25), 24)] {
            let leash = start(&pool, file(most, 400, Reach::Cloud)).await;
            assert_eq!(maximum(&leash), effect, "{most:?}");
            let told = leash.warnings(|_| Some((1, 100)));
            assert_eq!(told.len(), usize::from(most != Some(24)), "{told:?}");
        }
        let leash = start(&pool, file(Some(40), 0, Reach::Cloud)).await;
        assert_eq!((maximum(&leash), leash.common().drain_seconds), (24, 400));
        let told = leash.warnings(|_| None);
        assert_eq!(told.len(), 2, "{told:?}");
        let remedy = "group.web.maximum: the configuration file says 40, which is looser than what was accepted: the \
                      smaller of 24 and the cloud's own holds. Write that, or have it accepted by an admin: foreshadow limits accept web --reason \"…\"";
        assert!(told.iter().any(|said| said == remedy), "{told:?}");
        leash.accept(Some(&web()), 2_000, "ben", "the sale").await.expect("accepted");
        assert_eq!((maximum(&leash), leash.common().drain_seconds), (40, 400), "the group's alone");
        leash.accept(None, 2_000, "ben", "the sale").await.expect("accepted");
        assert_eq!(leash.common().drain_seconds, 0);
        let leash = start(&pool, file(Some(40), 0, Reach::Cloud)).await;
        assert_eq!((maximum(&leash), leash.warnings(|_| None)), (40, Vec::new()), "it outlives a restart");
        assert_eq!(leash.of(&web(), None).by.as_deref(), Some("ben"));
    }

    #[tokio::test]
    async fn a_file_read_again_loosens_no_more_than_a_restart_would() {
        let pool = pool().await;
        let leash = start(&pool, file(Some(20), 300, Reach::Cloud)).await;
        leash.reload(file(Some(30), 400, Reach::Cloud), 1_000).await.expect("taken");
        assert_eq!((maximum(&leash), leash.common().drain_seconds), (30, 400), "in observe an edit just works");
        leash.hold_from_now(&web(), 1_000, "ana", "ready").await.expect("accepted");
        leash.control().set_mode(&web(), Mode::Full, 1_000, "ana", "ready").await.expect("set");
        for (most, drain, effect) in [(Some(40), 0, (30, 400)), (Some(25), 500, (25, 500)), (None, 400, (25, 500))] {
            leash.reload(file(most, drain, Reach::Cloud), 1_000).await.expect("taken");
            let started = start(&pool, file(most, drain, Reach::Cloud)).await;
            for leash in [&leash, &started] {
                assert_eq!((maximum(leash), leash.common().drain_seconds), effect, "{most:?}");
                assert_eq!(leash.warnings(|_| None).len(), if most == Some(25) { 0 } else { 2 });
            }
        }
        // A group that is in the file no more has the defaults, and what was tightened stays.
        let nothing = FileLimits { groups: BTreeMap::new(), ..file(None, 500, Reach::Cloud) };
        leash.reload(nothing, 1_000).await.expect("taken");
        assert_eq!(maximum(&leash), 25);
        // What is accepted is what the file says now.
        leash.reload(file(Some(50), 500, Reach::Cloud), 1_000).await.expect("taken");
        leash.accept(Some(&web()), 2_000, "ben", "the sale").await.expect("accepted");
        assert_eq!(maximum(&leash), 50);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_down_changes_nothing() {
        let pool = pool().await;
        let leash = start(&pool, file(Some(20), 300, Reach::Cloud)).await;
        sqlx::query("CREATE TRIGGER full BEFORE UPDATE ON accepted_limits BEGIN SELECT RAISE(ABORT, 'full'); END")
            .execute(&pool)
            .await
            .expect("made");
        leash.reload(file(Some(10), 500, Reach::Cloud), 1_000).await.expect_err("refused");
        assert_eq!((maximum(&leash), leash.common().drain_seconds), (20, 300));
        assert_eq!(leash.warnings(|_| None), [""; 0], "and the file is the former one");
    }

    #[tokio::test]
    async fn what_was_never_in_the_file_is_held_from_the_mode_call_on() {
        let pool = pool().await;
        let nothing = FileLimits { groups: BTreeMap::new(), ..file(None, 300, Reach::Cloud) };
        let leash = start(&pool, nothing).await;
        leash.hold_from_now(&web(), 1_000, "ana", "ready").await.expect("accepted");
        leash.control().set_mode(&web(), Mode::Full, 1_000, "ana", "ready").await.expect("set");
        let mut loose = file(None, 300, Reach::Cloud);
        loose.groups.get_mut(&web()).expect("web").policy.silent_at_limit = AtLimit::Terminate;
        let leash = start(&pool, loose).await;
        assert_eq!(leash.policy(&web()).policy.silent_at_limit, AtLimit::Release);
        // Without the section it is the defaults again: what was tightened meanwhile stays.
        let mut tight = file(Some(9), 300, Reach::Cloud);
        tight.groups.get_mut(&web()).expect("web").policy.launches_per_hour = 3;
        assert_eq!(start(&pool, tight).await.policy(&web()).policy.launches_per_hour, 3);
        let leash = start(&pool, FileLimits { groups: BTreeMap::new(), ..file(None, 300, Reach::Cloud) }).await;
        assert_eq!((leash.policy(&web()).policy.launches_per_hour, maximum(&leash)), (3, 9));
    }

    #[tokio::test]
    async fn a_programs_cloud_is_this_machine_by_a_recorded_word_alone() {
        let pool = pool().await;
        for _ in 0..2 {
            let leash = start(&pool, file(None, 0, Reach::Loopback)).await;
            assert_eq!(leash.reach("command", Reach::Loopback), Reach::Cloud);
            assert_eq!(leash.safety().warm_up_seconds, 600, "gentler safety waits for it too");
            assert_eq!(leash.of_all().warnings().len(), 2, "{:?}", leash.of_all());
        }
        let leash = start(&pool, file(None, 0, Reach::Loopback)).await;
        leash.accept(None, 1_000, "ana", "a test on this machine").await.expect("accepted");
        for leash in [leash, start(&pool, file(None, 0, Reach::Loopback)).await] {
            assert_eq!(leash.reach("command", Reach::Loopback), Reach::Loopback);
            assert_eq!((leash.safety().warm_up_seconds, leash.of_all().held), (0, Vec::new()));
            assert_eq!(leash.loopback_sources(), ["command"]);
        }
        let leash = start(&pool, file(None, 0, Reach::Cloud)).await;
        assert_eq!(leash.safety().warm_up_seconds, 600, "with a real cloud it is none of the file's business");
        let leash = start(&pool, file(None, 0, Reach::Loopback)).await;
        assert_eq!(leash.reach("command", Reach::Loopback), Reach::Cloud, "once given up it needs the word anew");
    }
}
