//! One group from its load to its cloud and back, a step at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use checker::Limits;
use foreshadow_proto::convert::{Id, NetworkRates, Sample};
use futures::FutureExt as _;
use planner::baseline::Measured;
use planner::demand::{self, Demand, Reading};
use planner::evidence::{Conditions, Inventory};
use planner::plan::Step;
use planner::policy::{Metric, Mode, Policy};
use planner::simulation::StrictCloud;
use planner::simulation::cloud::{Carried, Lifecycle};

use super::{Faults, SimulatedFleet};
use crate::act::aftermath::Aftermath;
use crate::act::journal::{Effect, Event};
use crate::act::service::ours;
use crate::act::{Executor, Intent, Kind, Leads, Outlook, Planned, Seen, Settled, Standing, Verdict};
use crate::act::{Line, call, executor::Next, reaper, verdicts};
use crate::decision::Decision;
use crate::fleet::{Called, Fleet, Found, Reach, Token};
use crate::observe::{self, GroupSnapshot, Patience, Timeline};
use crate::rounds::pulse::{Pulse, Use};
use crate::rounds::slices::{InstanceSlices, Signal};
use crate::rounds::{idle, inventory};
use crate::shadow::{Book, Origin, ShadowConfig, ShadowSession};
use crate::store::StoreId;

/// Bytes of an average packet, to turn the cloud's traffic into packets.
const PACKET_BYTES: f64 = 800.0;
/// Leases are looked after this often, seconds, as in life.
const REAP_EVERY: i64 = 600;
/// And where a shadow may have lost its lease, as in the service.
const REAP_SOON: i64 = 30;
/// Slices kept of each instance: fifteen minutes.
const KEPT_SLICES: i64 = 90;

/// What a world is like.
#[derive(Debug, Clone)]
pub struct Options {
    pub installation: [u8; 16],
    pub limits: Limits,
    pub patience: Patience,
    pub shadow: ShadowConfig,
    pub mode: Mode,
}

/// A line of its journal.
#[derive(Debug, Clone)]
struct Kept {
    intent: Intent,
    /// Its call may have gone out.
    sent: bool,
    settled: Option<(Settled, i64)>,
}

impl Kept {
    fn line(&self) -> Line {
        let (settled, settled_at) = self.settled.clone().unzip();
        let sent_at = self.sent.then_some(self.intent.written_at);
        Line { intent: self.intent.clone(), reason: "not needed".to_owned(), sent_at, settled_at, settled }
    }
}

/// The state of the world between steps.
#[derive(Debug)]
pub struct World {
    pub fleet: Arc<SimulatedFleet>,
    pub group: Id,
    options: Options,
    executor: Executor,
    timeline: Timeline,
    /// On disk: it outlives a crash.
    book: Book,
    disk: BTreeMap<Token, Kept>,
    leads: Leads,
    slices: HashMap<Id, InstanceSlices>,
    pub standing: Standing,
    started: i64,
    /// When leases are looked after next.
    reap_at: i64,
    /// What there is to do about what it found open when it came back: done with its first plan.
    reopened: Vec<Effect>,
    /// Carries out this many effects more and then dies.
    dies_after: Option<usize>,
    /// How often it died.
    pub crashes: u32,
    pub faults: Faults,
    pulse: Pulse,
    /// Where its cloud is said to be: only on this very machine may limits be gentler.
    pub reach: Reach,
}

/// What one step found.
#[derive(Debug, Clone)]
pub struct Observed {
    pub carried: Carried,
    pub demand: Option<Demand>,
    pub inventory: Inventory,
    pub conditions: Conditions,
    pub sessions: Vec<ShadowSession>,
    pub version: Option<String>,
}

impl World {
    /// A world around one group of a cloud, at the cloud's own time.
    pub fn new(cloud: StrictCloud, group: Id, options: Options) -> Self {
        Self::around(Arc::new(SimulatedFleet::new(cloud)), group, options)
    }

    /// The same around a cloud that others may know as well.
    pub fn around(fleet: Arc<SimulatedFleet>, group: Id, options: Options) -> Self {
        let now = fleet.with(|cloud| cloud.clock());
        let timeline = Timeline::new(options.patience, 1_000, 1_000);
        let executor = Executor::new(StoreId(options.installation), 1, options.limits);
        let standing = Standing {
            mode: options.mode,
            at_most: Mode::Full,
            paused: false,
            group: None,
            everywhere: None,
            leave: None,
        };
        Self {
            fleet,
            group,
            executor,
            timeline,
            book: Book::new(options.shadow.clone(), Vec::new()),
            options,
            disk: BTreeMap::new(),
            leads: Leads::default(),
            slices: HashMap::new(),
            standing,
            started: now,
            reap_at: now + REAP_EVERY,
            reopened: Vec::new(),
            dies_after: None,
            crashes: 0,
            faults: Faults::default(),
            pulse: Pulse::default(),
            reach: Reach::Cloud,
        }
    }

    /// The name under which it owns its group.
    pub fn owner(&self) -> String {
        StoreId(self.options.installation).to_string()
    }

    pub(super) const fn options(&self) -> &Options {
        &self.options
    }

    pub(super) const fn book_mut(&mut self) -> &mut Book {
        &mut self.book
    }

    /// The journal as it is on disk.
    pub fn journal(&self) -> impl Iterator<Item = (&Intent, Option<&Settled>)> {
        self.disk.values().map(|kept| (&kept.intent, kept.settled.as_ref().map(|(settled, _)| settled)))
    }

    pub fn sessions(&self) -> &[ShadowSession] {
        self.book.sessions()
    }

    /// An operator takes a foreign shadow over.
    pub fn adopt(&mut self, instance: &Id) -> bool {
        let Ok(changed) = self.book.adopt(instance, "an operator") else { return false };
        for session in &changed.sessions {
            self.timeline.lease(&session.instance, session.until * 1_000_000, true);
            if reaper::may_tag(&self.standing) {
                self.tag(session);
            }
        }
        true
    }

    /// The process dies before it carries out effect number `effects` from now.
    pub const fn dies_after(&mut self, effects: usize) {
        self.dies_after = Some(effects);
    }

    /// The policy as it holds now.
    pub fn policy(&self, base: &Policy) -> Policy {
        Policy {
            mode: self.standing.mode,
            launch_lead_seconds: self.leads.lead(&self.group, Kind::Launch, base.launch_lead_seconds).seconds,
            reattach_lead_seconds: self.leads.lead(&self.group, Kind::Reattach, base.reattach_lead_seconds).seconds,
            ..base.clone()
        }
    }

    /// What idle and serving instances use, as the latest description has them.
    pub fn idle(&self, policy: &Policy, now: i64) -> BTreeMap<Metric, Measured> {
        let Some(snapshot) = self.timeline.group(&self.group) else { return BTreeMap::new() };
        let of = |metric: &Metric| (*metric, idle::measured(policy, *metric, &snapshot.members, &self.slices, now));
        policy.targets.keys().map(of).collect()
    }

    /// One minute of load on the group, and what agents and inventory show of it at the true time `now`. `heard` is false while
    /// no agent can be heard.
    pub fn observe(&mut self, now: i64, load: f64, heard: bool) -> Option<Observed> {
        self.fleet.set_now(now);
        let group = self.group.to_string();
        let carried = self.faults.told(self.fleet.with(|cloud| cloud.carry(now, &group, load)).ok()?);
        if heard {
            self.hear(&carried, now);
        }
        // Samples bear the agents' own times: by a clock that is elsewhere none of them is of now.
        let heard = heard && self.faults.ahead == 0;
        let now = self.wall(now);
        match self.fleet.describe().now_or_never()? {
            Ok(found) => {
                self.timeline.take("simulated", &found);
                self.timeline.set_read();
            }
            Err(error) => self.timeline.lost("simulated", error.to_string()),
        }
        let moves = self.timeline.moves(now * 1_000_000);
        self.timeline.apply(&moves);
        for released in self.book.follow(&moves, self.faults.clocks(now)).released {
            self.timeline.release(&released);
        }
        self.keep_leased();
        let snapshot = self.timeline.group(&self.group)?;
        let outlook = self.outlook(&snapshot, now);
        let sessions: Vec<ShadowSession> =
            self.book.sessions().iter().filter(|session| session.ended.is_none()).cloned().collect();
        let slice = now.div_euclid(10);
        let packets =
            |it: &observe::MemberSnapshot| self.slices.get(&it.instance)?.mean(Signal::Packets, slice - 6..slice);
        let serving = snapshot.members.iter().filter(|it| it.mode == observe::InstanceMode::Serving);
        let talk: Vec<f64> = serving.filter_map(packets).collect();
        #[allow(clippy::cast_precision_loss, reason = "a count of instances")]
        let talk = (!talk.is_empty()).then(|| talk.iter().sum::<f64>() / talk.len() as f64);
        let clocks = self.faults.clocks(now);
        let inventory = inventory::inventory(&snapshot, &sessions, &self.slices, talk, &outlook, clocks);
        let readings = carried.readings.iter().filter(|reading| self.faults.hears(&reading.id));
        let readings: BTreeMap<&str, f64> = readings.map(|it| (it.id.as_str(), it.utilisation)).collect();
        let demand = if heard { measured(&inventory, &readings) } else { None };
        let used = Use::of(serving_slices(&snapshot, &self.slices), slice);
        let pulse = self.pulse.take(now, used);
        let conditions = Conditions { pulse, ..self.conditions(&snapshot, &outlook, now) };
        Some(Observed { carried, demand, inventory, conditions, sessions, version: snapshot.version })
    }

    /// Who is under a lease is not judged by silence.
    fn keep_leased(&self) {
        for session in self.book.sessions() {
            let until = if session.ended.is_some() { 0 } else { session.until * 1_000_000 };
            self.timeline.lease(&session.instance, until, session.origin == Origin::Ours);
        }
    }

    /// Every live instance's agent reports the minute.
    fn hear(&mut self, carried: &Carried, now: i64) {
        for reading in carried.readings.iter().filter(|reading| self.faults.hears(&reading.id)) {
            let Ok(instance) = Id::new("instance", &reading.id) else { continue };
            if matches!(reading.lifecycle, Lifecycle::Terminating | Lifecycle::Terminated) {
                continue;
            }
            let ready = reading.lifecycle != Lifecycle::Pending;
            self.timeline.agent_heard(&instance, ready, self.wall(now) * 1_000_000);
            let packets = reading.network / PACKET_BYTES / 2.0;
            let slices = self.slices.entry(instance).or_default();
            slices.add(&Sample {
                sequence: 1,
                wall_micros: now * 1_000_000,
                monotonic_micros: 0,
                covers_millis: 60_000,
                cpu_percent: Some(reading.utilisation),
                cpu_busiest_percent: None,
                cpu_steal_percent: None,
                memory_used_bytes: None,
                memory_total_bytes: None,
                network: Some(NetworkRates {
                    in_bytes: reading.network / 2.0,
                    out_bytes: reading.network / 2.0,
                    in_packets: packets,
                    out_packets: packets,
                    errors: 0.0,
                }),
            });
            slices.forget_before(now.div_euclid(10) - KEPT_SLICES);
        }
        self.slices.retain(|_, slices| slices.newest().is_some_and(|newest| newest > now.div_euclid(10) - KEPT_SLICES));
    }

    fn outlook(&mut self, snapshot: &GroupSnapshot, now: i64) -> Outlook {
        use observe::InstanceMode::{Serving, Warming};
        let inside = snapshot.members.iter().filter(|it| matches!(it.mode, Serving | Warming));
        let members: BTreeSet<Id> = inside.map(|it| it.instance.clone()).collect();
        let serving = snapshot.members.iter().filter(|it| it.mode == Serving);
        for it in serving.clone() {
            self.leads.serves(&self.group, &it.instance, it.since_micros / 1_000_000);
        }
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let seen = Seen {
            members,
            serving: count(serving.count()),
            lacking: snapshot.lacking,
            taken: snapshot.taken_micros / 1_000_000,
            machines: count(snapshot.members.len()),
        };
        let known = snapshot.members.iter().map(|it| (it.instance.clone(), inventory::planner_mode(it.mode))).collect();
        self.executor.outlook(&self.group, &seen, &known, now)
    }

    fn conditions(&self, snapshot: &GroupSnapshot, outlook: &Outlook, now: i64) -> Conditions {
        Conditions {
            started_seconds_ago: u32::try_from(self.faults.clocks(now).boot - self.started).unwrap_or_default(),
            clock_jumped: self.faults.clock_jumped(self.faults.clocks(now).boot),
            paused: self.standing.paused,
            deploying: snapshot.deploying,
            untold: snapshot.untold,
            foreign_scale_in: snapshot.foreign_scale_in,
            floor: snapshot.floor,
            not_owner: snapshot.owner.as_ref().is_some_and(|owner| *owner != self.owner()),
            launches_failing: outlook.launches_failing,
            launch_again_at: outlook.launch_again_at,
            changing: outlook.changing,
            detachable: Some(outlook.detachable),
            terminable: Some(outlook.terminable),
            launched_last_hour: outlook.launched_last_hour,
            ..Conditions::default()
        }
    }

    /// What the checker says of a plan.
    pub fn judge(&self, planned: &Planned) -> Vec<Verdict> {
        self.executor.judge(planned, self.reach)
    }

    /// The record of a plan.
    pub fn decision(&self, planned: &Planned) -> Decision {
        Decision::of(planned, self.options.limits, self.executor.judged(planned, self.reach))
    }

    /// Carries a plan out at the true time `now`, and whatever of earlier ones is still open.
    pub fn act(&mut self, planned: &Planned, now: i64) {
        self.fleet.set_now(now);
        if now >= self.reap_at && reaper::may_tag(&self.standing) {
            let unleased = self.reap();
            self.reap_at = now + if unleased { REAP_SOON } else { REAP_EVERY };
        }
        let now = self.wall(now);
        let mut due = std::mem::take(&mut self.reopened);
        due.extend(self.executor.on(Event::Tick, now));
        let mut alive = self.perform(planned, due, now);
        let mut index = 0;
        while alive {
            match self.executor.next(planned, &mut index, &self.standing, self.reach, now) {
                Next::Lease(step) => self.lease(&step.step, &step.reason, now),
                Next::Effects(effects) => alive = self.perform(planned, effects, now),
                Next::End => return,
            }
        }
    }

    fn lease(&mut self, step: &Step, reason: &str, now: i64) {
        for name in step.instances() {
            let Ok(instance) = Id::new("instance", name) else { continue };
            let changed = match step {
                Step::Extend { .. } => self.book.extend(&instance, reason, self.faults.clocks(now)),
                Step::Adopt { .. } => self.book.adopt(&instance, reason),
                _ => self.book.release(&instance, reason, self.faults.clocks(now)),
            };
            let Ok(changed) = changed else { continue };
            changed.released.iter().for_each(|released| self.timeline.release(released));
            if let Some(session) = changed.sessions.first() {
                self.tag(session);
            }
        }
    }

    /// Shadows of ours that lost their tags are tagged again; whether one may be without them still.
    fn reap(&self) -> bool {
        let mut unleased = false;
        let moving: Vec<&Id> = self.executor.open().flat_map(|intent| intent.action.instances()).collect();
        let ours =
            |it: &&ShadowSession| it.ended.is_none() && it.origin == Origin::Ours && !moving.contains(&&it.instance);
        for session in self.book.sessions().iter().filter(ours) {
            let asked = std::slice::from_ref(&session.instance);
            let Some(Ok(shown)) = self.fleet.outside(&self.group, asked).now_or_never() else {
                unleased = true;
                continue;
            };
            if shown.iter().any(|shown| reaper::lost_its_lease(shown, &self.owner())) {
                unleased |= !self.tag(session);
            }
        }
        unleased
    }

    /// The tags of a shadow follow its lease.
    fn tag(&self, session: &ShadowSession) -> bool {
        let (instance, owner) = (std::slice::from_ref(&session.instance), self.owner());
        if session.ended.is_none() {
            let leased = call::lease(&*self.fleet, &session.group, instance, &owner, session.until);
            leased.now_or_never().is_some_and(|told| told.is_ok())
        } else {
            let untagged = call::untag_ours(&*self.fleet, &session.group, instance, &owner);
            untagged.now_or_never().is_some_and(|told| told.is_ok())
        }
    }

    /// False: it died, and goes on with its next round.
    fn perform(&mut self, planned: &Planned, mut effects: Vec<Effect>, now: i64) -> bool {
        while !effects.is_empty() {
            if self.dies_after == Some(0) {
                self.dies_after = None;
                self.restart(now);
                return false;
            }
            if let Some(left) = &mut self.dies_after {
                *left -= 1;
            }
            let effect = effects.remove(0);
            if let Some(event) = self.one(planned, effect, now) {
                effects.extend(self.executor.on(event, now));
            }
        }
        true
    }

    /// The process died: what is on disk is all it knows, as the service and the observer open it.
    fn restart(&mut self, now: i64) {
        self.crashes += 1;
        self.started = self.faults.clocks(now).boot;
        self.pulse.restarted();
        self.slices.clear();
        self.timeline = self.timeline.reopened(now * 1_000_000);
        self.leads = self.leads.reopened();
        self.executor =
            Executor::new(StoreId(self.options.installation), self.executor.epoch() + 1, self.options.limits);
        let mut lines: Vec<Line> = self.disk.values().map(Kept::line).collect();
        lines.sort_by_key(|line| line.intent.written_at);
        self.book = Book::new(self.options.shadow.clone(), self.book.sessions().to_vec());
        for (instance, (reason, back)) in ours(&lines, self.book.sessions()) {
            self.book.mark_again(instance, reason, back);
        }
        self.keep_leased();
        let (mut open, mut done) = (Vec::new(), Vec::new());
        for Line { intent, sent_at, settled_at, settled, .. } in lines {
            match settled.zip(settled_at) {
                Some((settled, at)) => {
                    let kind = Kind::begun_by(&intent.action).filter(|_| !intent.is_late(at));
                    if let (Some(kind), Settled::Done { instances }) = (kind, &settled) {
                        self.leads.called(instances, kind, intent.written_at);
                    }
                    done.push((intent, settled, at));
                }
                None => open.push((intent, sent_at.is_some())),
            }
        }
        done.sort_by_key(|(_, _, at)| *at);
        let timeline = self.timeline.clone();
        self.executor.restore(&done, |group, since| timeline.newcomers(group, since * 1_000_000), now);
        self.reopened = self.executor.on(Event::Reopened(open), now);
    }

    fn one(&mut self, planned: &Planned, effect: Effect, now: i64) -> Option<Event> {
        let fleet = self.fleet.clone();
        Some(match effect {
            Effect::Write(intent) => {
                let token = intent.token.clone();
                self.disk.insert(token.clone(), Kept { intent, sent: false, settled: None });
                Event::Written(token)
            }
            Effect::Check(intent) => {
                let fresh = match self.standing.paused {
                    true => Err("paused meanwhile".to_owned()),
                    false => call::describe(&*fleet, &intent, &self.owner()).now_or_never()?,
                };
                let refusals = match fresh {
                    Err(why) => vec![why],
                    Ok(fresh) => {
                        verdicts::last_word(&intent, planned, &fresh, &self.standing, self.reach, &self.executor, now)
                    }
                };
                Event::Checked { token: intent.token, refusals, owns: !self.faults.dispossessed }
            }
            Effect::Call(intent) => {
                self.disk.get_mut(&intent.token)?.sent = true;
                if intent.action.takes_out() {
                    self.book.mark_ours(intent.action.instances(), "not needed");
                }
                let until = now + i64::from(self.book.config.seconds(&intent.group, None));
                let still = async { verdicts::still(&intent, Some(planned), &self.standing, true, (0, 0)) };
                let outcome = call::carry_out(&*fleet, &intent, &self.owner(), until, still).now_or_never();
                Event::Called { token: intent.token, outcome: outcome.unwrap_or(Called::Unknown) }
            }
            Effect::Resolve(intent) => {
                let found = fleet.outcome(&intent.group, &intent.action, &intent.token).now_or_never();
                Event::Found { token: intent.token, found: found.unwrap_or(Found::NotYet) }
            }
            Effect::Settle(intent, settled) => {
                self.settled(&intent, &settled, now);
                self.disk.get_mut(&intent.token)?.settled = Some((settled, now));
                return None;
            }
        })
    }

    fn settled(&mut self, intent: &Intent, settled: &Settled, now: i64) {
        let kind = Kind::begun_by(&intent.action).filter(|_| !intent.is_late(now));
        if let (Some(kind), Settled::Done { instances }) = (kind, settled) {
            self.leads.called(instances, kind, intent.written_at);
        }
        let after = Aftermath::of(intent, settled);
        self.book.unmark(&after.inside);
        self.book.doubt(&after.in_doubt, self.faults.clocks(now));
        if !after.unleased.is_empty() {
            self.reap_at = self.reap_at.min(self.faults.clocks(now).boot + REAP_SOON);
        }
        for instance in &after.ended {
            drop(self.book.close(instance, "terminated", self.faults.clocks(intent.written_at)));
        }
        if !reaper::may_tag(&self.standing) {
            return;
        }
        let owner = self.owner();
        drop(call::untag_ours(&*self.fleet, &self.group, &after.inside, &owner).now_or_never());
    }
}

/// Demand of the minute, from the agents of those that the inventory has as serving.
fn measured(inventory: &Inventory, readings: &BTreeMap<&str, f64>) -> Option<Demand> {
    let serving: Vec<Reading> = inventory
        .instances
        .iter()
        .map(|it| Reading { mode: it.mode, weight: 1.0, utilisation: readings.get(it.id.as_str()).copied() })
        .collect();
    demand::measure(&serving)
}

fn serving_slices<'a>(
    snapshot: &'a GroupSnapshot,
    slices: &'a HashMap<Id, InstanceSlices>,
) -> impl Iterator<Item = &'a InstanceSlices> {
    let serving = snapshot.members.iter().filter(|it| it.mode == observe::InstanceMode::Serving);
    serving.filter_map(|it| slices.get(&it.instance))
}
