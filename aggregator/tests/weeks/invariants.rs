//! What may never happen, seen from the cloud's own books.

use std::collections::{BTreeMap, BTreeSet};

use foreshadow::act::{Intent, Settled};
use foreshadow::fleet::{Action, GROUP_TAG, OWNER_TAG, UNTIL_TAG};
use foreshadow::shadow::Origin;
use foreshadow::simulation::World;
use foreshadow_proto::convert::Id;
use planner::policy::Mode;
use planner::simulation::cloud::fault::{Call, CloudError};
use planner::simulation::cloud::{Account, Actor, Effect, Instance, Lifecycle, Mutation};

use crate::week::{LEASE, TARGET, owner};

const GROUP: &str = "web";
/// The oldest picture that anything is done by, seconds: a plan is carried out until 95 s after its round, by a description that
/// is at most 50 s old.
const DESCRIBED_WITHIN: i64 = 180;
/// The oldest description of the courses, seconds.
const LAG: i64 = 50;
/// Tags that were lost are made good within this, seconds: calls that do it fail as all others do, and are made again with every
/// round.
const BARE_FOR: i64 = 1_800;

/// After the cloud refused a launch, or to let somebody out, none of that kind is begun for five minutes, by the clock that the process
/// had. `begun` says which intent the call was of; one that is repeated was begun before.
fn backs_off(
    world: &World,
    kind: impl Fn(&Action) -> bool,
    begun: impl Fn(&Intent) -> bool,
    case: &impl Fn() -> String,
) {
    const LEAST: i64 = 300;
    let of_kind = || world.journal().filter(|(intent, _)| kind(&intent.action));
    let latest = of_kind().map(|(intent, _)| intent).filter(|intent| begun(intent)).max_by_key(|it| it.generation);
    let Some(latest) = latest else { return };
    for (before, settled) in of_kind().filter(|(it, _)| it.generation < latest.generation) {
        let refused = matches!(settled, Some(Settled::Refused { by_cloud: true, in_doubt: false, .. }));
        let waited = latest.written_at - before.written_at;
        // A clock that was set back says nothing of how long it is ago.
        assert!(!refused || !(0..LEAST).contains(&waited), "{waited} s after one was refused: {}", case());
    }
}

/// What is known of an instance, for whoever looks for the reason.
fn story(world: &World, id: &str) -> String {
    let sessions = world.sessions().iter().filter(|session| session.instance.as_str() == id);
    let named =
        |(intent, _): &(&Intent, Option<&Settled>)| intent.action.instances().iter().any(|it| it.as_str() == id);
    let asked = world.fleet.with(|cloud| {
        let of = |it: &&Mutation| it.ids.iter().any(|named| named == id);
        cloud.mutations().iter().filter(of).map(|it| format!("{it:?}")).collect::<Vec<_>>()
    });
    let sessions: Vec<_> = sessions.map(|it| format!("{it:?}")).collect();
    let intents: Vec<_> = world.journal().filter(named).map(|it| format!("{it:?}")).collect();
    [sessions, intents, asked].concat().join("\n")
}

/// Follows every change the cloud was asked for.
#[derive(Debug)]
pub struct Witness {
    seed: u64,
    mode: Mode,
    /// How much of the cloud's log was judged.
    read: usize,
    /// Detached by somebody else, and not adopted.
    foreign: BTreeSet<String>,
    /// Detached by us, or adopted.
    ours: BTreeSet<String>,
    /// Whom another installation changed while the group was its own.
    theirs: BTreeSet<String>,
    /// Asked for by both in the same moment: whose they are nobody can tell.
    contested: BTreeSet<String>,
    /// Launches that took effect, by token.
    tokens: BTreeMap<String, usize>,
    /// When we detached, and how many.
    gone: Vec<(i64, usize)>,
    /// When each was detached by us last: its lease begins no earlier.
    since: BTreeMap<String, i64>,
    /// Whom somebody detached by hand, and when: until a description shows that, it is counted still.
    by_hand: Vec<(i64, String)>,
    /// How many were in the group lately, or were to be.
    there: Vec<(i64, u32)>,
    /// Shadows of ours without their tags, and since when.
    bare: BTreeMap<String, i64>,
    before: Option<Before>,
}

#[derive(Debug)]
struct Before {
    account: Account,
    gross: Option<f64>,
    /// Nobody is heard any more.
    silent: bool,
    paused: bool,
    /// Its lease is another's.
    dispossessed: bool,
    crashes: u32,
}

impl Witness {
    pub fn new(seed: u64, mode: Mode) -> Self {
        Self {
            seed,
            mode,
            read: 0,
            foreign: BTreeSet::new(),
            ours: BTreeSet::new(),
            theirs: BTreeSet::new(),
            contested: BTreeSet::new(),
            tokens: BTreeMap::new(),
            gone: Vec::new(),
            since: BTreeMap::new(),
            by_hand: Vec::new(),
            there: Vec::new(),
            bare: BTreeMap::new(),
            before: None,
        }
    }

    pub fn foreign(&mut self, instance: &str, now: i64) {
        self.by_hand.push((now, instance.to_owned()));
        self.ours.remove(instance);
        self.contested.remove(instance);
        self.since.remove(instance);
        self.foreign.insert(instance.to_owned());
    }

    pub fn is_foreign(&self, instance: &str) -> bool {
        self.foreign.contains(instance)
    }

    pub fn adopted(&mut self, instance: &str) {
        self.foreign.remove(instance);
        self.ours.insert(instance.to_owned());
    }

    /// What others did so far is none of our doing.
    pub fn not_ours(&mut self, world: &World) {
        self.read = world.fleet.with(|cloud| cloud.mutations().len());
    }

    /// `gross` is what must be carried, points; `silent`: nobody is heard any more.
    pub fn before(&mut self, world: &World, silent: bool, gross: Option<f64>, now: i64) {
        let account = world.fleet.with(|cloud| cloud.truth().clone());
        let desired = account.groups.get(GROUP).map_or(0, |group| group.desired);
        self.there.push((now, desired.max(account.counted(GROUP))));
        // Descriptions change nothing, whoever asked.
        self.before = Some(Before {
            account,
            gross,
            silent,
            paused: world.standing.paused,
            dispossessed: world.faults.dispossessed,
            crashes: world.crashes,
        });
        self.gone.retain(|(at, _)| now - at < 900);
        self.there.retain(|(at, _)| now - at <= DESCRIBED_WITHIN);
        self.by_hand.retain(|(at, _)| now - at <= LAG);
    }

    pub fn after(&mut self, world: &World, now: i64) {
        let mutations: Vec<Mutation> = world.fleet.with(|cloud| cloud.mutations()[self.read..].to_vec());
        self.read += mutations.len();
        // What was launched just now is there as well; a floor itself launches later, if at all.
        self.there.push((now, world.fleet.with(|cloud| cloud.truth().counted(GROUP))));
        self.leased(world, now);
        let Some(before) = self.before.take() else { return };
        for mutation in mutations.iter().filter(|it| it.by == Actor::Caller) {
            self.judge(mutation, &before, world, now);
        }
    }

    /// What another installation does: nothing but claim the group, unless it is its own.
    pub fn without(&mut self, world: &World, them: &str, now: i64, lives: impl FnOnce()) {
        let count = |world: &World| world.fleet.with(|cloud| cloud.mutations().len());
        let (before, theirs) = (count(world), owner(world).is_some_and(|owner| owner == them));
        lives();
        let done = world.fleet.with(|cloud| cloud.mutations()[before..].to_vec());
        let asked = || done.iter().filter(|it| it.by == Actor::Caller);
        if theirs {
            self.theirs.extend(asked().flat_map(|it| it.ids.iter().cloned()));
        }
        // Who left while the group was theirs stays under their lease.
        let own = |id: &String| id == GROUP || self.theirs.contains(id);
        let may = |it: &&Mutation| theirs || it.call == Call::Tag && it.ids.iter().all(own);
        let not: Vec<&Mutation> = asked().filter(|it| !may(it)).collect();
        let told: Vec<String> = not.iter().flat_map(|it| &it.ids).map(|id| story(world, id)).collect();
        assert!(not.is_empty(), "seed {} at {now}: another changes it: {not:?}\n{}", self.seed, told.concat());
        self.read = count(world);
    }

    /// Whoever of ours stands outside its group carries the tags by which it is found, tagged, attached and ended.
    fn leased(&mut self, world: &World, now: i64) {
        let account = world.fleet.with(|cloud| cloud.truth().clone());
        let open = world.sessions().iter().filter(|it| it.ended.is_none() && it.origin == Origin::Ours);
        let bare = open.filter_map(|it| {
            let (name, it) = account.instances.get_key_value(it.instance.as_str())?;
            let tagged = [UNTIL_TAG, GROUP_TAG, OWNER_TAG].iter().all(|tag| it.tags.contains_key(*tag));
            (it.lifecycle == Lifecycle::Detached && !tagged).then(|| name.clone())
        });
        let bare: Vec<String> = bare.collect();
        // While it is paused, and in observe, no tag is changed.
        let may = !world.standing.paused && self.mode > Mode::Observe;
        self.bare.retain(|name, _| may && bare.contains(name));
        for name in bare {
            let since = *self.bare.entry(name.clone()).or_insert(now);
            let bare = now - since > BARE_FOR;
            assert!(!bare, "seed {} at {now}: {name} has no lease since {since}\n{}", self.seed, story(world, &name));
        }
    }

    fn judge(&mut self, mutation: &Mutation, before: &Before, world: &World, now: i64) {
        let case = || format!("seed {} at {now}: {mutation:?}", self.seed);
        assert!(self.mode > Mode::Observe, "observe changes nothing: {}", case());
        assert!(!before.paused, "paused means paused: {}", case());
        if mutation.call == Call::Tag {
            return;
        }
        assert!(!before.dispossessed, "another has the lease: {}", case());
        let owner = before.account.groups.get(GROUP).and_then(|group| group.tags.get(OWNER_TAG));
        assert_eq!(owner, Some(&world.owner()), "it is another's: {}", case());
        let was = |id: &String| before.account.instances.get(id);
        let applied = mutation.effect == Effect::Applied;
        match mutation.call {
            Call::Launch => {
                let token = mutation.token.clone().unwrap_or_else(|| panic!("a launch without a token: {}", case()));
                let times = self.tokens.entry(token).or_default();
                *times += usize::from(applied);
                assert!(*times <= 1, "launched twice: {}", case());
                let launch = |action: &Action| matches!(action, Action::Launch { .. });
                backs_off(world, launch, |it| Some(it.token.as_str()) == mutation.token.as_deref(), &case);
            }
            Call::Attach | Call::ExitStandby => {
                for id in &mutation.ids {
                    assert!(self.may_be_ours(id), "{id} is not ours to attach: {}", case());
                    let leased = world.fleet.with(|cloud| {
                        cloud.truth().instances.get(id).is_some_and(|it| it.tags.contains_key(UNTIL_TAG))
                    });
                    // What was not done is tagged again by now.
                    assert!(!(applied && leased), "{id} serves with a lease on it: {}\n{}", case(), story(world, id));
                }
            }
            // Out of standby: it was taken out before, and ends now.
            Call::Detach
                if mutation.ids.iter().all(|id| was(id).is_some_and(|it| it.lifecycle == Lifecycle::Standby)) =>
            {
                assert_eq!(self.mode, Mode::Full, "{}", case());
                assert!(mutation.ids.iter().all(|id| self.may_be_ours(id)), "not ours to end: {}", case());
            }
            Call::Detach | Call::EnterStandby => {
                assert_eq!(self.mode, Mode::Full, "{}", case());
                let named = |it: &Intent| it.action.instances().iter().map(Id::as_str).eq(mutation.ids.iter());
                backs_off(world, Action::takes_out, named, &case);
                if !applied {
                    self.contested(mutation, world.crashes > before.crashes, now);
                    return;
                }
                self.gone.push((now, mutation.ids.len()));
                self.ours.extend(mutation.ids.iter().cloned());
                self.since.extend(mutation.ids.iter().map(|id| (id.clone(), now)));
                let serves = |it: &&Instance| it.lifecycle == Lifecycle::InService;
                let serving = before.account.members(GROUP).filter(serves).count();
                let within: usize = self.gone.iter().map(|(_, count)| count).sum();
                let most = ((serving + within) as f64 * 0.1).floor().max(1.0) as usize;
                assert!(within <= most, "{within} of {serving} gone within 15 min: {}", case());
                let stay = serving - mutation.ids.len();
                assert!(stay >= 4, "below the minimum: {}", case());
                let gross = before.gross.unwrap_or_else(|| panic!("detached without evidence: {}", case()));
                // A description may be twenty seconds old: one that just left may be counted still.
                assert!((stay + 1) as f64 * TARGET >= gross, "{stay} stay for {gross}: {}", case());
            }
            Call::Terminate => {
                assert_eq!(self.mode, Mode::Full, "{}", case());
                assert!(!before.silent, "ended in silence: {}", case());
                let gross = before.gross.unwrap_or_else(|| panic!("ended without evidence: {}", case()));
                let serves = |it: &&Instance| it.lifecycle == Lifecycle::InService;
                let serving = before.account.members(GROUP).filter(serves).count();
                let shown = serving + self.by_hand.len();
                assert!(shown as f64 * TARGET >= gross, "{serving} serve for {gross}: {}", case());
                for id in &mutation.ids {
                    assert!(self.may_be_ours(id), "{id} is not ours to end: {}\n{}", case(), story(world, id));
                    let it = was(id).unwrap_or_else(|| panic!("{id} is unknown: {}", case()));
                    let over = matches!(it.lifecycle, Lifecycle::Terminating | Lifecycle::Terminated);
                    assert!(it.group.is_none() || over, "{id} is in a group: {}", case());
                    assert!(it.lifecycle == Lifecycle::Detached || over, "{id} is no shadow: {}", case());
                    assert!(!it.protected, "{id} is protected: {}", case());
                    // Whatever a clock did meanwhile, the time is the cloud's own.
                    let stood = self.since.get(id).map_or(LEASE, |since| now - since);
                    assert!(stood >= LEASE, "{id} ends after {stood} s: {}", case());
                }
            }
            // A floor keeps who is there, by the oldest description that is acted on: what the provider took since is replaced. The
            // user's own minimum stays below it.
            Call::SetMinimum => {
                let least = world.fleet.with(|cloud| cloud.truth().groups.get(GROUP).map_or(0, |group| group.min));
                let there = self.there.iter().map(|(_, count)| *count).max().unwrap_or_default();
                let there = there + self.by_hand.len() as u32;
                assert!((4..=there.max(4)).contains(&least), "a floor of {least} with {there} there: {}", case());
            }
            other => panic!("nobody asked for {other:?}: {}", case()),
        }
    }

    /// Somebody detached whom we asked for while no description could show it, and our own call was never answered, or its answer
    /// died with the process: both asked for the same, it left, and nobody can tell by whom.
    fn contested(&mut self, mutation: &Mutation, died: bool, now: i64) {
        if died || mutation.error == Some(CloudError::Unknown) {
            let just = |id: &&String| self.by_hand.iter().any(|(_, name)| name == *id);
            let both: Vec<String> = mutation.ids.iter().filter(just).cloned().collect();
            self.since.extend(both.iter().map(|id| (id.clone(), now)));
            self.contested.extend(both);
        }
    }

    fn may_be_ours(&self, id: &str) -> bool {
        self.ours.contains(id) || self.contested.contains(id)
    }

    /// Everything that was begun has come to an end, and no machine is forgotten.
    pub fn at_the_end(&self, world: &World, now: i64) {
        // What was begun moments ago may still be on its way.
        let begun = |intent: &Intent| now - intent.written_at > 600;
        let open: Vec<_> = world.journal().filter(|(intent, settled)| settled.is_none() && begun(intent)).collect();
        assert!(open.is_empty(), "seed {}: open for ever: {open:?}", self.seed);
        let account = world.fleet.with(|cloud| cloud.truth().clone());
        for id in &self.ours {
            let Some(it) = account.instances.get(id) else { continue };
            let watched = world.sessions().iter().any(|session| {
                let ours = session.origin == Origin::Ours && session.instance.as_str() == id;
                ours && (session.ended.is_none() || session.reason.contains("hard limit"))
            });
            let over = matches!(it.lifecycle, Lifecycle::Terminating | Lifecycle::Terminated);
            let known = it.group.is_some() || over || watched;
            assert!(known, "seed {}: {id} is forgotten: {it:?}\n{}", self.seed, story(world, id));
        }
    }
}
