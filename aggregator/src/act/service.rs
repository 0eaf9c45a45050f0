//! Drives the executor: takes plans in, writes intents, describes, checks, calls, settles.
//!
//! One intent a group at a time. Every wait (disk, cloud) is a task of its own, so that no group waits
//! for another's cloud; the executor itself is moved by this one loop alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use foreshadow_proto::convert::Id;
use planner::plan::{Plan, Step};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::aftermath::Aftermath;
use super::call::{self, Fresh};
use super::executor::{Executor, Next};
use super::handle::{Handle, Offered, Shared};
use super::hold;
use super::intents::{Intents, Line};
use super::journal::{Effect, Event, Intent, Settled};
use super::leads::Kind;
use super::overdue::{self, Overdue};
use super::reaper::{self, Reaper};
use super::traced::{self, Traced};
use super::verdicts::{self, Planned};
use crate::clock::Clock;
use crate::decision::DecisionLog;
use crate::fleet::{Called, Fleet, Found, Reach, Token};
use crate::leash::Leash;
use crate::observe::{Hint, Timeline};
use crate::rounds::invariants::Invariant;
use crate::shadow::{Origin, Sessions, ShadowSession};
use crate::store::StoreId;
use crate::traces::{Span, Stage, Traces};

/// Plans of all groups that may wait: a round makes one a group, and an old one is worth nothing.
const PLANS_WAITING: usize = 1_024;
/// Waits of the journal are looked at this often.
const TICK_EVERY: Duration = Duration::from_secs(1);
/// Intents of this age, seconds, still say whose a detached instance is.
const DETACHED_REMEMBERED: i64 = 7 * 86_400;
/// What a termination hook holds is told to wait on this often: AWS gives up after 30 s at the earliest.
const HOLD_EVERY: Duration = Duration::from_secs(10);
/// Lease tags nobody answers for are looked for this often.
const REAP_EVERY: Duration = Duration::from_secs(600);
/// First after this: by then agents have come back and every source was read. Whoever is started again more often than every ten
/// minutes would never look otherwise, and an older store that was put back is a reason to look soon.
const REAP_FIRST: Duration = Duration::from_secs(120);
/// And after this where a shadow of ours may stand without its lease: with its journal lost nobody would find it.
const REAP_SOON: Duration = Duration::from_secs(30);
/// What the checker said holds for this long, seconds by the clock that runs while the process stands still: tags are set
/// within it (two calls of twenty seconds at most), and a later call would be by a picture that is gone.
const SAID_FOR: i64 = 45;

/// Carries plans out until it is told to stop.
#[derive(Debug)]
pub struct Service {
    handle: Handle,
    plans: mpsc::Receiver<Offered>,
    sessions: Sessions,
    timeline: Timeline,
    hint: Hint,
    clock: Arc<dyn Clock>,
    groups: BTreeMap<Id, Current>,
    /// Fresh descriptions whose group has no plan yet, after a restart.
    described: Vec<(Intent, Result<Fresh, String>)>,
    tasks: JoinSet<Came>,
    /// The intents that tasks are about.
    about: HashMap<tokio::task::Id, About>,
    traced: Traced,
    every: Every,
    /// When leases are looked after next.
    reap_at: Instant,
}

/// How often it looks at what no plan and no answer tells it of.
#[derive(Debug, Clone, Copy)]
struct Every {
    hold: Duration,
    reap: Duration,
    reap_soon: Duration,
}

/// What a task is about, and since when, µs since the Unix epoch.
#[derive(Debug)]
struct About {
    token: Token,
    stage: Stage,
    begun: i64,
}

/// The plan of a group that is being carried out.
#[derive(Debug)]
struct Current {
    planned: Arc<Planned>,
    next: usize,
    /// Told when the first of its steps is begun.
    decision: Vec<Span>,
}

/// What a task came back with.
#[derive(Debug)]
enum Came {
    /// A stage of an intent, and when it ended, µs since the Unix epoch.
    Stage(Box<Done>, i64),
    /// Leases were looked after; whether a shadow of ours may be without its own.
    Reaped {
        unleased: bool,
    },
    Nothing,
}

/// What came of a stage.
#[derive(Debug)]
enum Done {
    Event(Event),
    Described(Intent, Box<Result<Fresh, String>>, bool),
}

impl Done {
    fn outcome(&self) -> Result<(), Vec<String>> {
        match self {
            Self::Event(event) => traced::outcome(event),
            Self::Described(_, fresh, _) => match &**fresh {
                Err(why) => Err(vec![why.clone()]),
                Ok(_) => Ok(()),
            },
        }
    }
}

impl Service {
    /// Takes the lease of all groups and reads the journal: what is open is found out first.
    #[allow(clippy::too_many_arguments, reason = "the parts it connects")]
    pub async fn open(
        installation: StoreId,
        leash: Leash,
        intents: Intents,
        decisions: DecisionLog,
        fleets: Vec<Arc<dyn Fleet>>,
        sessions: Sessions,
        timeline: Timeline,
        hint: Hint,
        traces: Traces,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, sqlx::Error> {
        let now = clock.wall_seconds();
        let epoch = intents.take_lease(now).await?;
        let mut executor = Executor::new(installation, epoch, leash.safety());
        let (mut open, mut done, mut leads) = (Vec::new(), Vec::new(), intents.leads(now).await?);
        let lines = intents.since(now - DETACHED_REMEMBERED).await?;
        let mut traced = Traced::new(traces.clone());
        for (instance, (reason, back)) in ours(&lines, &sessions.sessions().await) {
            sessions.mark_again(instance, reason, back).await;
        }
        for line in lines {
            match (line.settled, line.settled_at) {
                (Some(settled), Some(at)) => {
                    let kind = Kind::begun_by(&line.intent.action).filter(|_| !line.intent.is_late(at));
                    if let (Some(kind), Settled::Done { instances }) = (kind, &settled) {
                        leads.called(instances, kind, line.intent.written_at);
                    }
                    done.push((line.intent, settled, at));
                }
                _ => {
                    traced.reopened(&line.intent, line.sent_at);
                    open.push((line.intent, line.sent_at.is_some()));
                }
            }
        }
        executor.restore(&done, |group, since| timeline.newcomers(group, since * 1_000_000), now);
        executor.set_leaves(leash.control().leaves());
        let (sender, plans) = mpsc::channel(PLANS_WAITING);
        // An alarm needs them before there is anything to tell.
        metrics::gauge!("foreshadow_stranded_shadows").set(0.0);
        let handle = Handle::of(Shared {
            executor: Mutex::new(executor),
            leads: Mutex::new(leads),
            leash,
            intents,
            decisions,
            installation,
            fleets,
            plans: sender,
            newest: Mutex::default(),
            traces,
            stranded: Mutex::default(),
        });
        let mut service = Self {
            handle,
            plans,
            sessions,
            timeline,
            hint,
            clock,
            groups: BTreeMap::new(),
            described: Vec::new(),
            tasks: JoinSet::new(),
            about: HashMap::new(),
            traced,
            every: Every { hold: HOLD_EVERY, reap: REAP_EVERY, reap_soon: REAP_SOON },
            reap_at: Instant::now() + REAP_FIRST,
        };
        for group in begun_twice(&open) {
            Invariant::OneChangeAtATime.violated(group.as_str(), "the journal has more than one open intent of it");
        }
        if !open.is_empty() {
            tracing::warn!(intents = open.len(), "the journal has open intents: finding out what became of them");
            service.take(Event::Reopened(open)).await;
        }
        Ok(service)
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(TICK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut expire = tokio::time::interval(Duration::from_secs(3_600));
        let mut hold = tokio::time::interval(self.every.hold);
        hold.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.reap_at = self.reap_at.min(Instant::now() + self.every.reap);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(offered) = self.plans.recv() => self.consider(offered).await,
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended).await,
                _ = tick.tick() => self.take(Event::Tick).await,
                _ = hold.tick() => {
                    self.hold().await;
                    self.overdue().await;
                }
                _ = expire.tick() => {
                    if let Err(error) = self.handle.intents().expire(self.clock.wall_seconds()).await {
                        tracing::warn!(%error, "old intents cannot be dropped");
                    }
                }
                () = tokio::time::sleep_until(self.reap_at) => {
                    self.reap_at = Instant::now() + self.every.reap;
                    self.reap();
                }
            }
        }
    }

    /// Looks after leases, in a task of its own.
    fn reap(&mut self) {
        let moving: BTreeSet<Id> = {
            let executor = self.handle.executor();
            executor.open().flat_map(|intent| intent.action.instances()).cloned().collect()
        };
        let (sessions, timeline, clock) = (self.sessions.clone(), self.timeline.clone(), self.clock.clone());
        let (handle, fleets) = (self.handle.clone(), self.handle.fleets().to_vec());
        self.tasks.spawn(async move {
            let lines = match handle.intents().since(clock.wall_seconds() - DETACHED_REMEMBERED).await {
                Ok(lines) => lines,
                Err(error) => {
                    tracing::warn!(%error, "leases nobody holds are not looked for: whose they are cannot be read");
                    return Came::Reaped { unleased: true };
                }
            };
            let (owner, control) = (handle.owner(), handle.control().clone());
            let reaper = Reaper::new(owner, sessions, timeline, clock, control, moving, in_doubt(&lines));
            let mut unleased = false;
            for fleet in fleets.iter().filter(|fleet| handle.reach(Some(fleet.name())) != Reach::None) {
                let look = reaper.look(&**fleet).await;
                unleased |= look.unleased;
                if let Some(stranded) = look.stranded {
                    handle.set_stranded(fleet.name(), stranded);
                }
            }
            Came::Reaped { unleased }
        });
    }

    /// A shadow of ours may stand without its lease: what failed once is tried again, and no sooner, so that a cloud that
    /// refuses is not asked without a pause.
    fn reap_soon(&mut self) {
        self.reap_at = self.reap_at.min(Instant::now() + self.every.reap_soon);
    }

    async fn ended(&mut self, ended: Result<(tokio::task::Id, Came), tokio::task::JoinError>) {
        let task = ended.as_ref().map_or_else(|error| error.id(), |(task, _)| *task);
        let about = self.about.remove(&task);
        match ended {
            Ok((_, Came::Stage(done, at))) => {
                if let Some(About { token, stage, begun }) = about {
                    self.traced.passed(&token, stage, (begun, at), done.outcome());
                }
                match *done {
                    Done::Event(event) => {
                        if let Event::NotWritten(token) = &event {
                            self.traced.not_written(token, at);
                        }
                        self.take(event).await;
                    }
                    Done::Described(intent, fresh, owns) => self.judge(intent, *fresh, owns).await,
                }
            }
            Ok((_, Came::Reaped { unleased: true })) => self.reap_soon(),
            Ok((_, Came::Reaped { unleased: false } | Came::Nothing)) => {}
            Err(error) => {
                tracing::error!(%error, token = ?about.as_ref().map(|it| &it.token), "a step of the journal panicked");
                metrics::counter!("foreshadow_step_panics_total").increment(1);
                if let Some(About { token, stage, begun }) = about {
                    let over = (begun, self.clock.wall_micros());
                    self.traced.passed(&token, stage, over, Err(vec!["it panicked".to_owned()]));
                    self.take(Event::Lost(token)).await;
                }
            }
        }
    }

    /// Does what an intent needs in a task of its own; whatever becomes of the task, the intent is not forgotten.
    fn spawn(&mut self, token: Token, stage: Stage, task: impl Future<Output = Done> + Send + 'static) {
        let (clock, begun) = (self.clock.clone(), self.clock.wall_micros());
        let task = self.tasks.spawn(async move { Came::Stage(Box::new(task.await), clock.wall_micros()) });
        self.about.insert(task.id(), About { token, stage, begun });
    }

    /// Releases at their hard limit the shadows that no plan ends, and counts those beyond their lease.
    async fn overdue(&self) {
        let (sessions, now) = (self.sessions.sessions().await, self.clock.now());
        let mut told = 0;
        for (session, mode, overdue) in overdue::all(&self.handle, &self.timeline, &sessions, now) {
            told += u32::from(overdue != Overdue::No);
            if overdue == Overdue::Released {
                let reason = format!("at its hard limit, and in {mode} nobody ends it: left running, look at it");
                let instances = vec![session.instance.to_string()];
                self.lease_step(&session.group, &Step::Release { instances }, &reason).await;
            }
        }
        metrics::gauge!("foreshadow_shadows_overdue").set(f64::from(told));
    }

    /// Holds on whom a termination hook holds, where the policy says so.
    async fn hold(&mut self) {
        for (group, current) in &self.groups {
            if !current.planned.policy.hold_terminating {
                continue;
            }
            let Some(snapshot) = self.timeline.group(group) else { continue };
            let standing = self.handle.control().standing(group);
            let (sessions, reach) = (self.sessions.open_in(group).await, self.handle.reach(snapshot.source));
            let now = self.clock.now();
            let held = hold::held(&current.planned, &standing, reach, &snapshot.members, &sessions, now);
            let Some(fleet) = self.handle.fleet(snapshot.source).cloned().filter(|_| !held.is_empty()) else {
                continue;
            };
            let group = group.clone();
            self.tasks.spawn(async move {
                if let Err(error) = fleet.hold(&group, &held).await {
                    tracing::warn!(%error, %group, ?held, "what a termination hook holds cannot be held on");
                }
                Came::Nothing
            });
        }
    }

    /// A newer plan takes the place of the one before it.
    async fn consider(&mut self, offered: Offered) {
        let Offered { planned, decision } = offered;
        let Ok(group) = Id::new("group", &planned.plan.group) else { return };
        self.groups.insert(group.clone(), Current { planned, next: 0, decision });
        let (now_known, waiting) =
            std::mem::take(&mut self.described).into_iter().partition(|(it, _)| it.group == group);
        self.described = waiting;
        let now_known: Vec<(Intent, Result<Fresh, String>)> = now_known;
        for (intent, fresh) in now_known {
            // It is older than this plan: who owns the group is asked again.
            let owns = self.handle.owns().await;
            self.judge(intent, fresh, owns).await;
        }
        self.advance(&group).await;
    }

    /// Goes on with a group's plan.
    async fn advance(&mut self, group: &Id) {
        loop {
            let now = self.clock.wall_seconds();
            let Some(current) = self.groups.get_mut(group) else { return };
            let reach = self.handle.reach(current.planned.source);
            let standing = self.handle.control().standing(group);
            let next = self.handle.executor().next(&current.planned, &mut current.next, &standing, reach, now);
            match next {
                Next::Lease(step) => {
                    if let Err(error) = self.handle.record(&current.planned).await {
                        tracing::error!(%error, %group, "a decision cannot be written down: no lease is changed");
                        continue;
                    }
                    self.lease_step(group, &step.step, &step.reason).await;
                }
                Next::Effects(effects) => {
                    self.handle.traces().tell(std::mem::take(&mut current.decision));
                    return self.perform(effects).await;
                }
                Next::End => return,
            }
        }
    }

    /// Steps that concern the lease alone.
    async fn lease_step(&self, group: &Id, step: &Step, reason: &str) {
        let now = self.clock.now();
        for name in step.instances() {
            let Ok(instance) = Id::new("instance", name) else { continue };
            let source = self.timeline.group(group).and_then(|it| it.source);
            if matches!(step, Step::Adopt { .. })
                && let Some(session) = self.sessions.open_of(&instance).await
                && let Err(why) = self.handle.mark_adopted(&session, source).await
            {
                tracing::warn!(%instance, %group, why, "a shadow is left to whoever detached it");
                continue;
            }
            let changed = match step {
                Step::Extend { .. } => self.sessions.extend(&instance, reason, now).await,
                Step::Adopt { .. } => self.sessions.adopt(&instance, reason).await,
                _ => {
                    tracing::warn!(%instance, reason, "a shadow is released: it runs on, and costs, unwatched");
                    metrics::counter!("foreshadow_shadows_released_total", "group" => group.to_string()).increment(1);
                    self.sessions.release(&instance, reason, now).await
                }
            };
            match changed {
                Ok(session) => self.handle.follow_lease(&session, source).await,
                Err(error) => tracing::warn!(%error, "a lease is not changed"),
            }
        }
    }

    async fn take(&mut self, event: Event) {
        let now = self.clock.wall_seconds();
        let effects = self.handle.executor().on(event, now);
        self.perform(effects).await;
    }

    async fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Write(intent) => self.write(intent),
                Effect::Check(intent) => self.describe(intent),
                Effect::Call(intent) => self.call(intent).await,
                Effect::Resolve(intent) => self.resolve(intent),
                Effect::Settle(intent, settled) => self.settle(intent, settled).await,
            }
        }
    }

    fn write(&mut self, intent: Intent) {
        let handle = self.handle.clone();
        let reason = self.reason(&intent);
        let planned = self.groups.get(&intent.group).map(|current| current.planned.clone());
        self.traced.begun(&intent, self.clock.wall_micros());
        self.spawn(intent.token.clone(), Stage::Write, async move {
            // What it was decided from first: what nobody could explain is not done.
            let written = async {
                if let Some(planned) = planned.filter(|planned| planned.plan.generation == intent.generation) {
                    handle.record(&planned).await?;
                }
                handle.intents().write(&intent, &reason).await
            };
            Done::Event(match written.await {
                Ok(()) => Event::Written(intent.token),
                Err(error) => {
                    tracing::error!(%error, group = %intent.group, "an intent cannot be written: nothing is done");
                    Event::NotWritten(intent.token)
                }
            })
        });
    }

    /// Why the plan wants it.
    fn reason(&self, intent: &Intent) -> String {
        let plan: Option<&Plan> = self.groups.get(&intent.group).map(|current| &current.planned.plan);
        let step = plan
            .filter(|plan| plan.generation == intent.generation)
            .and_then(|plan| plan.steps.get(usize::try_from(intent.step).unwrap_or(usize::MAX)));
        step.map_or_else(|| "a plan before the restart".to_owned(), |step| step.reason.clone())
    }

    fn source(&self, group: &Id) -> Option<Arc<dyn Fleet>> {
        let name = self.timeline.group(group).and_then(|snapshot| snapshot.source);
        self.handle.fleet(name).cloned()
    }

    fn describe(&mut self, intent: Intent) {
        let (fleet, handle) = (self.source(&intent.group), self.handle.clone());
        self.spawn(intent.token.clone(), Stage::Describe, async move {
            let fresh = match fleet {
                // Not even the tag of its owner is set while it is paused.
                _ if handle.control().standing(&intent.group).paused => Err("paused meanwhile".to_owned()),
                Some(fleet) => call::describe(&*fleet, &intent, &handle.owner()).await,
                None => Err("no source that can act knows the group".to_owned()),
            };
            let owns = handle.owns().await;
            Done::Described(intent, Box::new(fresh), owns)
        });
    }

    /// The checker's word on what was described just now.
    async fn judge(&mut self, intent: Intent, fresh: Result<Fresh, String>, owns: bool) {
        let Some(current) = self.groups.get(&intent.group) else {
            // After a restart: the first plan of the group brings the evidence to judge by.
            self.described.push((intent, fresh));
            return;
        };
        let refusals = match fresh {
            Err(why) => vec![why],
            Ok(fresh) => {
                let begun = self.clock.wall_micros();
                let refusals = self.refusals(&intent, &current.planned, &fresh);
                let outcome = if refusals.is_empty() { Ok(()) } else { Err(refusals.clone()) };
                self.traced.passed(&intent.token, Stage::Check, (begun, self.clock.wall_micros()), outcome);
                refusals
            }
        };
        self.take(Event::Checked { token: intent.token, refusals, owns }).await;
    }

    fn refusals(&self, intent: &Intent, planned: &Planned, fresh: &Fresh) -> Vec<String> {
        let now = self.clock.wall_seconds();
        let reach = self.handle.reach(planned.source);
        let standing = self.handle.control().standing(&intent.group);
        let executor = self.handle.executor();
        verdicts::last_word(intent, planned, fresh, &standing, reach, &executor, now)
    }

    async fn call(&mut self, intent: Intent) {
        let reason = self.reason(&intent);
        tracing::warn!(
            group = %intent.group, action = ?intent.action, token = %intent.token, generation = intent.generation, reason,
            "acting"
        );
        if intent.action.takes_out() {
            self.sessions.mark_ours(intent.action.instances(), &reason).await;
        }
        let seconds = self.sessions.config().await.seconds(&intent.group, None);
        let until = self.clock.wall_seconds() + i64::from(seconds);
        let (fleet, handle, clock) = (self.source(&intent.group), self.handle.clone(), self.clock.clone());
        let said_at = clock.now().boot;
        self.spawn(intent.token.clone(), Stage::Call, async move {
            let still = async {
                let owns = handle.owns().await;
                let standing = handle.control().standing(&intent.group);
                let newest = handle.newest(&intent.group);
                let age = clock.now().boot - said_at;
                verdicts::still(&intent, newest.as_deref(), &standing, owns, (age, SAID_FOR))
            };
            // What cannot be told after a crash is not done.
            let sent = handle.intents().sent(&intent.token, clock.wall_seconds()).await;
            let token = intent.token.clone();
            let outcome = match fleet {
                _ if sent.is_err() => Called::Withheld { why: "that it is sent cannot be written down".to_owned() },
                Some(fleet) => call::carry_out(&*fleet, &intent, &handle.owner(), until, still).await,
                None => Called::Withheld { why: "no source that can act knows the group".to_owned() },
            };
            Done::Event(Event::Called { token, outcome })
        });
    }

    fn resolve(&mut self, intent: Intent) {
        let fleet = self.source(&intent.group);
        self.spawn(intent.token.clone(), Stage::Resolve, async move {
            let found = match fleet {
                Some(fleet) => fleet.outcome(&intent.group, &intent.action, &intent.token).await,
                // After a restart the sources are not read yet.
                None => Found::NotYet,
            };
            Done::Event(Event::Found { token: intent.token, found })
        });
    }

    async fn settle(&mut self, intent: Intent, settled: Settled) {
        let (now, begun) = (self.clock.wall_seconds(), self.clock.wall_micros());
        let written = self.handle.intents().settle(&intent.token, &settled, now).await;
        if let Err(error) = &written {
            // After a restart what became of it is found out by describing.
            tracing::error!(%error, token = %intent.token, "what became of an intent cannot be written");
        }
        let ended = self.clock.wall_micros();
        let written = written.map_err(|error| vec![error.to_string()]);
        self.traced.passed(&intent.token, Stage::Settle, (begun, ended), written);
        self.traced.settled(&intent.token, &settled, ended);
        let outcome = match &settled {
            Settled::Done { instances } => {
                tracing::warn!(group = %intent.group, action = intent.action.word(), ?instances, "done");
                if let Some(kind) = Kind::begun_by(&intent.action).filter(|_| !intent.is_late(now)) {
                    self.handle.leads().called(instances, kind, intent.written_at);
                }
                "done"
            }
            Settled::Refused { why, .. } => {
                tracing::warn!(group = %intent.group, action = intent.action.word(), ?why, "not done");
                "refused"
            }
        };
        self.follow(&intent.group, Aftermath::of(&intent, &settled)).await;
        metrics::counter!("foreshadow_intents_settled_total", "action" => intent.action.word(), "outcome" => outcome)
            .increment(1);
        self.hint.give();
        Box::pin(self.advance(&intent.group)).await;
    }

    /// Does what must follow; the tags in a task of their own.
    async fn follow(&mut self, group: &Id, after: Aftermath) {
        let now = self.clock.now();
        self.sessions.unmark(&after.inside).await;
        self.sessions.doubt(&after.in_doubt, now).await;
        if !after.unleased.is_empty() {
            self.reap_soon();
        }
        for instance in &after.ended {
            if let Err(error) = self.sessions.close(instance, "terminated", now).await {
                tracing::warn!(%error, "a session of what was terminated is not closed");
            }
        }
        // What is not tagged now, since it is paused, the reaper makes good.
        if !reaper::may_tag(&self.handle.control().standing(group)) {
            return;
        }
        let Some(fleet) = self.source(group).filter(|_| !after.inside.is_empty()) else { return };
        let (group, owner) = (group.clone(), self.handle.owner());
        self.tasks.spawn(async move {
            if let Err(error) = call::untag_ours(&*fleet, &group, &after.inside, &owner).await {
                tracing::warn!(%error, instances = ?after.inside, "who serves carries the tags of a lease on");
            }
            Came::Nothing
        });
    }
}

/// Groups of which more than one intent is open.
fn begun_twice(open: &[(Intent, bool)]) -> BTreeSet<&Id> {
    let mut groups = BTreeSet::new();
    open.iter().map(|(intent, _)| &intent.group).filter(|group| !groups.insert(*group)).collect()
}

/// Whom the journal names as detached by us, with the reason, and since when it was seen in its group again: by the latest that
/// was done to it, and unless its session was ended by a word since, or is somebody else's: it came back and was taken out once more.
/// What was only seen to end it may be a description from before it left, or an agent that is heard again: for as long as one may be
/// late, and no longer, for a hand may have put it back since without a session that says so. A call that was given up in doubt makes nobody ours who had not left by then.
pub(crate) fn ours(lines: &[Line], sessions: &[ShadowSession]) -> BTreeMap<Id, (String, Option<i64>)> {
    let mut ours: BTreeMap<Id, (String, i64)> = BTreeMap::new();
    for Line { intent, reason, sent_at, settled, .. } in lines {
        let named = || intent.action.instances().iter().cloned();
        let (mut taken, mut given) = (BTreeSet::new(), BTreeSet::new());
        match settled {
            // It may be done, or be done yet. What was never sent took nobody out: who left was taken out by somebody else.
            None if intent.action.takes_out() && sent_at.is_some() => taken = named().collect(),
            Some(Settled::Refused { in_doubt: true, .. }) if intent.action.takes_out() => {
                let left = |instance: &Id| {
                    let open = sessions.iter().find(|it| it.ended.is_none() && it.instance == *instance);
                    open.is_some_and(|it| it.origin == Origin::Ours && it.started >= intent.written_at)
                };
                taken = named().filter(left).collect();
            }
            Some(Settled::Done { instances }) if intent.action.takes_out() => taken.extend(instances.iter().cloned()),
            Some(Settled::Done { instances }) => given.extend(instances.iter().cloned()),
            _ => {}
        }
        ours.retain(|instance, _| !given.contains(instance));
        ours.extend(taken.into_iter().map(|instance| (instance, (reason.clone(), intent.written_at))));
    }
    let still = |(instance, (reason, written_at)): (Id, (String, i64))| {
        let last = sessions.iter().rev().find(|session| session.instance == instance);
        let back = match last.filter(|session| session.started >= written_at) {
            Some(ShadowSession { origin: Origin::Foreign, .. } | ShadowSession { ended: Some(_), seen: None, .. }) => {
                return None;
            }
            last => last.and_then(|session| session.ended),
        };
        Some((instance, (reason, back)))
    };
    ours.into_iter().filter_map(still).collect()
}

/// Whom a call of ours names that was given up in doubt, and nothing since: they may have left by it, or by hand.
fn in_doubt(lines: &[Line]) -> BTreeSet<Id> {
    let mut doubted = BTreeSet::new();
    for Line { intent, settled, .. } in lines {
        let named = intent.action.instances();
        match settled {
            Some(Settled::Refused { in_doubt: true, .. }) if intent.action.takes_out() => {
                doubted.extend(named.iter().cloned());
            }
            Some(Settled::Done { instances }) => doubted.retain(|instance| !instances.contains(instance)),
            _ => {}
        }
    }
    doubted
}

#[cfg(test)]
mod driven;

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use sqlx::SqlitePool;

    use super::*;
    use crate::act::Control;
    use crate::clock::SystemClock;
    use crate::fleet::Action;
    use crate::leash::{CommonLimits, FileLimits};
    use crate::observe::Patience;
    use crate::rounds::GroupPolicy;
    use crate::shadow::{Seen, ShadowConfig};
    use crate::store::{Embedded, Options, SampleStore as _};

    /// A store of this directory.
    pub async fn kept_in(directory: &Path, clock: Arc<dyn Clock>) -> Embedded {
        let day = Duration::from_secs(86_400);
        let options = Options { directory: directory.to_owned(), raw_retention: 30 * day, minute_retention: 400 * day };
        Embedded::open(options, clock, [7; 16]).await.expect("a store")
    }

    /// Nothing is written in the file, and nothing was said yet.
    pub async fn leash(pool: &SqlitePool, now: i64) -> Leash {
        leash_of(pool, now, BTreeMap::new()).await
    }

    pub async fn leash_of(pool: &SqlitePool, now: i64, groups: BTreeMap<Id, GroupPolicy>) -> Leash {
        let control = Control::open(pool.clone(), BTreeMap::new(), now).await.expect("modes");
        let (shadow, safety) = (ShadowConfig::default(), checker::Limits::default());
        let common = CommonLimits { drain_seconds: 300, warm_up_seconds: 0, shadow, safety, reach: BTreeMap::new() };
        let file = FileLimits { groups, common };
        Leash::open(pool.clone(), control, file, now).await.expect("limits")
    }

    fn id(name: &str) -> Id {
        Id::new("id", name).expect("an id")
    }

    fn line(action: Action, written_at: i64, settled: Option<Settled>) -> Line {
        let group = id("web");
        let token = Token::new(StoreId([1; 16]), &group, u64::try_from(written_at).expect("a time"), 0);
        let valid_until = written_at + 60;
        let intent = Intent { token, group, generation: 1, step: 0, epoch: 1, action, written_at, valid_until };
        Line {
            intent,
            reason: "not needed".to_owned(),
            sent_at: Some(written_at),
            settled_at: settled.as_ref().map(|_| written_at),
            settled,
        }
    }

    #[test]
    fn two_open_intents_of_a_group_are_seen() {
        let open = |groups: &[&str]| -> Vec<(Intent, bool)> {
            let of = |group: &&str| (Intent { group: id(group), ..line(Action::launch(1, 2), 100, None).intent }, true);
            groups.iter().map(of).collect()
        };
        let twice =
            |groups: &[&str]| begun_twice(&open(groups)).into_iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(twice(&["web", "api"]), [""; 0]);
        assert_eq!(twice(&["web", "api", "web", "web"]), ["web"]);
    }

    fn session(instance: &str, started: i64, ended: Option<i64>) -> ShadowSession {
        ShadowSession {
            session: started,
            instance: id(instance),
            group: id("web"),
            instance_type: None,
            version: None,
            origin: Origin::Ours,
            started,
            until: started + 600,
            boot_until: 600,
            hard_limit: started + 6_000,
            ended,
            seen: None,
            reason: "not needed".to_owned(),
            price_per_hour: None,
        }
    }

    #[test]
    fn after_a_restart_only_whom_we_took_out_last_is_ours() {
        let both = || vec![id("i-1"), id("i-2")];
        let detach = || Action::Detach { instances: both() };
        let done = |names: &[&str]| Some(Settled::Done { instances: names.iter().map(|name| id(name)).collect() });
        let refused = |in_doubt| Some(Settled::Refused { why: vec!["no".to_owned()], by_cloud: true, in_doubt });
        let said = |lines: &[Line], sessions: &[ShadowSession]| -> Vec<String> {
            ours(lines, sessions).into_keys().map(|instance| instance.to_string()).collect()
        };
        assert_eq!(said(&[line(detach(), 100, None)], &[]), ["i-1", "i-2"], "it may be done");
        let unsent = Line { sent_at: None, ..line(detach(), 100, None) };
        assert_eq!(said(&[unsent], &[]), [""; 0], "it was not called yet");
        let doubtful = [line(detach(), 100, refused(true))];
        assert_eq!(said(&doubtful, &[]), [""; 0], "by a late call or by hand: who could say");
        assert_eq!(said(&doubtful, &[session("i-2", 110, None)]), ["i-2"], "it had left by then");
        assert_eq!(said(&[line(detach(), 100, refused(false))], &[]), [""; 0]);
        assert_eq!(said(&[line(detach(), 100, done(&["i-1"]))], &[]), ["i-1"], "the other half was left in its group");
        let attached = line(Action::Attach { instances: both() }, 200, done(&["i-1"]));
        let out = line(detach(), 100, done(&["i-1", "i-2"]));
        assert_eq!(said(&[out.clone(), attached.clone()], &[]), ["i-2"], "somebody else may detach i-1 now");
        let again = line(detach(), 300, done(&["i-1"]));
        assert_eq!(said(&[out.clone(), attached, again], &[]), ["i-1", "i-2"]);
        let ended = line(Action::Terminate { instances: vec![id("i-2")] }, 200, done(&["i-2"]));
        assert_eq!(said(&[out.clone(), ended], &[]), ["i-1"]);
        // Released: that session is over.
        let released = [session("i-1", 110, Some(500)), session("i-2", 110, None)];
        assert_eq!(said(std::slice::from_ref(&out), &released), ["i-2"]);
        // Back by somebody's hand, and taken out again by it.
        let theirs = ShadowSession { origin: Origin::Foreign, ..session("i-1", 300, None) };
        assert_eq!(said(std::slice::from_ref(&out), &[session("i-1", 110, Some(200)), theirs]), ["i-2"]);
        // Seen back, or not at all: a description, or an agent, may show otherwise again.
        let ended_as = |seen| ShadowSession { seen: Some(seen), ..session("i-1", 110, Some(200)) };
        for (seen, back) in [(Seen::Back, Some(200)), (Seen::Gone, Some(200))] {
            let still = ours(std::slice::from_ref(&out), &[ended_as(seen)]);
            assert_eq!(still.get(&id("i-1")).map(|(_, back)| *back), Some(back), "{seen:?}");
        }
        let before = [session("i-1", 50, Some(90))];
        assert_eq!(said(&[out], &before), ["i-1", "i-2"], "an older session says nothing");
    }

    #[test]
    fn who_was_named_by_a_call_in_doubt_is_doubted_until_something_is_known() {
        let both = || vec![id("i-1"), id("i-2")];
        let refused = |in_doubt| Some(Settled::Refused { why: vec!["no".to_owned()], by_cloud: false, in_doubt });
        let done = |name: &str| Some(Settled::Done { instances: vec![id(name)] });
        let said = |lines: &[Line]| in_doubt(lines).iter().map(ToString::to_string).collect::<Vec<_>>();
        let doubtful = || line(Action::Detach { instances: both() }, 100, refused(true));
        assert_eq!(said(&[doubtful()]), ["i-1", "i-2"]);
        assert_eq!(said(&[line(Action::Detach { instances: both() }, 100, refused(false))]), [""; 0]);
        assert_eq!(
            said(&[line(Action::Attach { instances: both() }, 100, refused(true))]),
            [""; 0],
            "it was out before"
        );
        let later = line(Action::Detach { instances: both() }, 200, done("i-1"));
        assert_eq!(said(&[doubtful(), later]), ["i-2"]);
    }

    #[tokio::test]
    async fn no_lead_is_measured_by_a_call_that_was_settled_late_before_a_restart_or_after() {
        let directory = tempfile::tempdir().expect("a directory");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (store, now) = (kept_in(directory.path(), clock.clone()).await, clock.wall_seconds());
        let pool = store.pool();
        let intents = Intents::new(pool.clone());
        let done = |name: &str| Settled::Done { instances: vec![id(name)] };
        for (name, written_at, after) in [("i-soon", now - 300, 120), ("i-late", now - 299, 121)] {
            let intent = line(Action::launch(1, 2), written_at, None).intent;
            intents.write(&intent, "needed").await.expect("written");
            intents.settle(&intent.token, &done(name), written_at + after).await.expect("settled");
        }
        let timeline = Timeline::new(Patience { warm_up: 0, drain: 0, silent: 0 }, 1_000, 1_000);
        let config = ShadowConfig::default();
        let sessions = Sessions::open(pool.clone(), timeline.clone(), config, clock.now()).await.expect("sessions");
        let service = Service::open(
            store.id(),
            leash(&pool, now).await,
            intents,
            DecisionLog::new(pool),
            Vec::new(),
            sessions,
            timeline,
            Hint::default(),
            Traces::default(),
            clock,
        );
        let mut service = service.await.expect("hands");
        for (name, written_at) in [("i-now", now - 60), ("i-then", now - 200)] {
            service.settle(line(Action::launch(1, 2), written_at, None).intent, done(name)).await;
        }
        let lead = |name: &str| service.handle.leads().serves(&id("web"), &id(name), now);
        assert_eq!([lead("i-soon"), lead("i-late")], [Some((Kind::Launch, 300)), None]);
        assert_eq!([lead("i-now"), lead("i-then")], [Some((Kind::Launch, 60)), None]);
    }
}
