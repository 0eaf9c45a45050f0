//! The rounds of all groups: follows the samples, closes minutes, renews forecasts, plans, publishes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use foreshadow_proto::convert::Id;
use planner::evidence::Conditions;
use planner::hold::Hold;
use planner::plan::Plan;
use planner::policy::{Metric, Mode, Policy};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::damage::around_damage;
use super::forecast_hours::ForecastHours;
use super::gauges::Gauges;
use super::minutes::{self, Serving};
use super::pulse::{Pulse, Use};
use super::pulses::PulseLog;
use super::slices::{FIELDS_OF_MINUTES, InstanceSlices, SLICE_MICROS, SLICES_PER_MINUTE, Signal};
use super::tally::{Made, Tally};
use super::{Board, GroupRound, Learned, Measurements, PlanLog, Revised, idle, invariants, inventory};
use crate::act::{self, Kind, Outlook, Planned, Seen};
use crate::clock::{Clock, Now};
use crate::config::Of;
use crate::events::{Calendar, EventLog};
use crate::fleet::Reach;
use crate::leash::Bound;
use crate::live::{Arrived, Live};
use crate::observe::{self, GroupSnapshot, Timeline};
use crate::readings::{self, Readings, Series};
use crate::shadow::Sessions;
use crate::store::{Minute, Retraction, SampleStore, StoreError};
use crate::traces::{self, Span, Timed};
use crate::watchdog::Heartbeat;
use crate::windows::Weekly;

/// Bounds are worked out this far ahead at least: further than any shadow window and lead, seconds.
const BOUNDS_AHEAD: i64 = 2 * 86_400;
/// A round of every group this often.
const ROUND_EVERY: Duration = Duration::from_secs(10);
/// A minute is closed this long after it ended, so that samples have arrived, seconds.
const SETTLE_SECONDS: i64 = 15;
/// Slices kept in memory per instance; minutes older than this are made anew from the store.
const KEPT_SLICES: i64 = 90;
/// After a start, minutes this far back are made anew from the store, seconds.
const CATCH_UP_SECONDS: i64 = 6 * 3_600;
/// What is told of declared metrics is read this far back in every round, seconds; older minutes are read apart.
const TOLD_SECONDS: i64 = minutes::VETO_SECONDS;
/// Minutes made anew from the store in one round: a long backlog must not stop the rounds.
const REMADE_PER_ROUND: usize = 30;
/// Samples that are in memory at once while minutes are made from the store, at one a second: some hundred bytes each.
const READ_AT_ONCE: i64 = 1_000_000;
/// A sample speaks for that long before it at most, seconds: the last of a minute come after its end.
const LATEST_COVER_SECONDS: i64 = 120;
/// Minutes read at the start of a group, seconds.
const HISTORY_SECONDS: i64 = 43 * 86_400;
/// Of those whose past a group goes on with, the minutes this far back are read in every round, seconds: late ones too.
const FOLLOWED_SECONDS: i64 = 1_800;
/// A difference of this much between what the two clocks say has passed is a jump, seconds.
const JUMP_SECONDS: i64 = 60;
/// After a jump nothing is changed for this long, seconds: ages and leases must be right again.
const AFTER_JUMP_SECONDS: i64 = 600;
/// A group that keeps the same plan is written anew this often, seconds.
const PLAN_WRITTEN_EVERY: i64 = 300;
/// A decision that changes nothing is written down with all its evidence this often, seconds.
const DECISION_WRITTEN_EVERY: i64 = 3_600;

/// How groups are planned.
#[derive(Debug, Clone)]
pub struct Options {
    pub forecast: forecast::Options,
    /// The models that compete in every group.
    pub pool: forecast::Pool,
    /// Samples are kept this long, seconds: what a retraction can reach.
    pub raw_seconds: i64,
    /// Agents are authenticated; without it no group may ever act.
    pub authenticated: bool,
}

/// What is configured for a group.
#[derive(Debug, Clone)]
pub struct GroupPolicy {
    pub policy: Policy,
    pub minimum: Bound,
    pub maximum: Bound,
    /// Narrower bounds that hold for a time every week.
    pub windows: Vec<Weekly>,
    /// Groups whose past this one goes on with where it has none of its own, the most telling first.
    pub history: Vec<Id>,
}

impl GroupPolicy {
    pub fn new(group: &Id) -> Self {
        let (minimum, maximum) = (Bound::of(None), Bound::of(None));
        Self { policy: Policy::new(group.to_string()), minimum, maximum, windows: Vec::new(), history: Vec::new() }
    }

    /// The policy with its bounds, as the inventory is now.
    fn bounded(&self, snapshot: &GroupSnapshot, now: i64, ahead: i64) -> Policy {
        let mut policy = self.policy.clone();
        policy.windows = self.windows.iter().flat_map(|weekly| weekly.within(now, now + ahead)).collect();
        let said = |bound: u32| snapshot.source.map(|_| bound);
        policy.minimum = self.minimum.minimum(said(snapshot.minimum), policy.minimum);
        policy.maximum = self.maximum.maximum(said(snapshot.maximum), policy.maximum).max(policy.minimum);
        policy
    }
}

/// What the rounds read and write beside the samples.
#[derive(Debug, Clone)]
pub struct Logs {
    pub plans: PlanLog,
    pub pulses: PulseLog,
    pub forecast_hours: ForecastHours,
    pub learned: Learned,
    pub events: EventLog,
    pub revised: Revised,
    pub readings: Readings,
}

/// Runs the rounds until it is told to stop.
#[derive(Debug)]
pub struct Service {
    options: Options,
    store: Arc<dyn SampleStore>,
    timeline: Timeline,
    live: Live,
    board: Board,
    plans: PlanLog,
    pulses: PulseLog,
    forecast_hours: ForecastHours,
    learned: Learned,
    revised: Revised,
    readings: Readings,
    /// What was told of declared metrics lately, as of the beginning of this round; absent where it could not be read.
    told: Option<Told>,
    sessions: Sessions,
    act: act::Handle,
    calendar: Calendar,
    clock: Arc<dyn Clock>,
    /// How far ahead bounds are worked out, seconds.
    ahead: i64,
    started: Now,
    last_round: Now,
    /// When the clock jumped last.
    jumped: Option<i64>,
    slices: HashMap<Id, InstanceSlices>,
    groups: BTreeMap<Id, Group>,
    tally: Tally,
    /// Minutes (start, s) that got samples after they were closed.
    late: BTreeSet<i64>,
    /// Group and start of minutes that were damaged in the store and are to be made anew, s.
    damaged: BTreeSet<(Id, i64)>,
    /// Retractions whose minutes are being made anew.
    retracted: Vec<Retraction>,
    /// Of all groups, as of the beginning of this round.
    machines: usize,
    gauges: Gauges,
    heartbeat: Heartbeat,
}

/// What was told by metric, since `from` (seconds since the epoch).
#[derive(Debug, Default)]
struct Told {
    from: i64,
    series: BTreeMap<Metric, Series>,
}

#[derive(Debug)]
struct Group {
    /// Absent while a round runs it on another thread.
    round: Option<GroupRound>,
    /// Minutes before this are closed, seconds since the epoch.
    closed: i64,
    last_plan: Option<(String, i64)>,
    /// When a decision of it was written down last.
    recorded: Option<i64>,
    pulse: Pulse,
    /// When its past was read last, seconds since boot.
    learned: i64,
    /// Of its latest plan, also of the one before a restart.
    generation: u64,
}

impl Service {
    #[allow(clippy::too_many_arguments, reason = "the parts it connects")]
    pub fn new(
        options: Options,
        store: Arc<dyn SampleStore>,
        timeline: Timeline,
        live: Live,
        board: Board,
        logs: Logs,
        sessions: Sessions,
        act: act::Handle,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let Logs { plans, pulses, forecast_hours, learned, events, revised, readings } = logs;
        let last_round = clock.now();
        let steps = i64::try_from(options.forecast.horizon_steps).unwrap_or_default();
        let horizon = steps * i64::from(options.forecast.step_seconds);
        let calendar = Calendar::new(events, HISTORY_SECONDS, horizon);
        Self {
            options,
            store,
            timeline,
            live,
            board,
            plans,
            pulses,
            forecast_hours,
            learned,
            revised,
            readings,
            told: None,
            sessions,
            act,
            calendar,
            clock,
            ahead: horizon.max(BOUNDS_AHEAD),
            started: last_round,
            last_round,
            jumped: None,
            slices: HashMap::new(),
            groups: BTreeMap::new(),
            tally: Tally::default(),
            late: BTreeSet::new(),
            damaged: BTreeSet::new(),
            retracted: Vec::new(),
            machines: 0,
            gauges: Gauges::default(),
            heartbeat: Heartbeat::default(),
        }
    }

    /// Tells whether rounds come to their ends.
    pub fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }

    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut arrivals = self.live.follow();
        let mut rounds = tokio::time::interval(ROUND_EVERY);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut expire = tokio::time::interval(Duration::from_secs(3_600));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return self.keep_learned(),
                arrived = arrivals.recv() => match arrived {
                    Ok(arrived) => self.arrived(&arrived),
                    Err(RecvError::Lagged(missed)) => {
                        // What was not seen live is in the store: make the last minutes from there.
                        tracing::warn!(missed, "the rounds fell behind the samples");
                        let now = self.clock.wall_seconds();
                        self.late.extend((0..10).map(|minute| (now - 60 * minute).div_euclid(60) * 60));
                    }
                    Err(RecvError::Closed) => return self.keep_learned(),
                },
                _ = rounds.tick() => self.round().await,
                _ = expire.tick() => {
                    let now = self.clock.wall_seconds();
                    if let Err(error) = self.plans.expire(now).await {
                        tracing::warn!(%error, "old plans cannot be dropped");
                    }
                    if let Err(error) = self.pulses.expire(now).await {
                        tracing::warn!(%error, "what those that served used cannot be expired");
                    }
                    if let Err(error) = self.forecast_hours.expire(now).await {
                        tracing::warn!(%error, "what old forecasts came to cannot be dropped");
                    }
                    if let Err(error) = self.learned.expire(now) {
                        tracing::warn!(%error, "what was learned of groups that are gone cannot be dropped");
                    }
                    if let Err(error) = self.act.decisions().expire(now).await {
                        tracing::warn!(%error, "old decisions cannot be dropped");
                    }
                    if let Err(error) = self.readings.expire(now).await {
                        tracing::warn!(%error, "old values of declared metrics cannot be dropped");
                    }
                }
            }
        }
    }

    /// At the end: what calibration learned since the models were judged last is kept as well.
    fn keep_learned(&self) {
        for (group, state) in &self.groups {
            if let Some(Err(error)) = state.round.as_ref().map(|round| round.keep(&self.learned, group)) {
                tracing::warn!(%group, %error, "what was learned of its past is not kept");
            }
        }
    }

    fn arrived(&mut self, arrived: &Arrived) {
        let oldest = self.clock.wall_micros().div_euclid(SLICE_MICROS) - KEPT_SLICES;
        let closed = self.closed_until(self.clock.wall_seconds());
        let slices = self.slices.entry(arrived.instance.clone()).or_default();
        for stored in arrived.samples.iter() {
            let touched = slices.add(&stored.sample);
            let first = touched.start.div_euclid(SLICES_PER_MINUTE);
            for minute in first..=(touched.end - 1).div_euclid(SLICES_PER_MINUTE) {
                if minute * 60 < closed {
                    self.late.insert(minute * 60);
                }
            }
        }
        slices.forget_before(oldest);
    }

    const fn closed_until(&self, now: i64) -> i64 {
        (now - SETTLE_SECONDS).div_euclid(60) * 60
    }

    /// One round of every group, now; [`Self::run`] makes one every ten seconds.
    pub async fn round(&mut self) {
        let now = self.clock.wall_seconds();
        self.notice_jump().await;
        let oldest = now.div_euclid(10) - KEPT_SLICES;
        for slices in self.slices.values_mut() {
            slices.forget_before(oldest);
        }
        self.slices.retain(|_, slices| !slices.is_empty());
        let closed = self.closed_until(now);
        self.late.extend(self.readings.touched().into_iter().filter(|minute| *minute < closed));
        self.told = match self.told_since(now - TOLD_SECONDS, now).await {
            Ok(told) => Some(told),
            Err(error) => {
                tracing::error!(%error, "what was told of declared metrics cannot be read");
                None
            }
        };
        if let Err(error) = self.take_back(now).await {
            tracing::warn!(%error, "retracted samples still have their part in minutes; trying again next round");
        }
        self.damaged.extend(self.store.take_damaged_minutes());
        // Samples that are past their retention are in nobody's reach.
        let oldest = now - self.options.raw_seconds + 120;
        self.damaged.retain(|(_, start)| (oldest..closed).contains(start));
        let late: Vec<i64> = self.late.iter().rev().take(REMADE_PER_ROUND).copied().collect();
        self.late.retain(|minute| !late.contains(minute));
        // Listed before anything is awaited: a source that is read meanwhile waits for the next round.
        let groups = self.timeline.groups();
        self.machines = self.timeline.machines();
        self.calendar.renew(now).await;
        for group in groups {
            let Some(snapshot) = self.timeline.group(&group) else {
                // No source has it and all its members are gone: an old answer would be a lie.
                if self.groups.remove(&group).is_some() {
                    self.board.withdraw(&group);
                    self.gauges.forget(&group);
                }
                continue;
            };
            // A round measures the metrics it began with: with others, by the file or by limits that were accepted, it begins anew.
            let targets = self.act.leash().policy(&group).policy.targets;
            let others = |round: &GroupRound| !round.policy().targets.keys().eq(targets.keys());
            if self.groups.get(&group).is_some_and(|state| state.round.as_ref().is_some_and(others)) {
                tracing::info!(%group, "its metrics are others: begun anew from the store");
                self.groups.remove(&group);
            }
            if !self.groups.contains_key(&group) {
                match self.open(&group, &snapshot, now).await {
                    Ok(opened) => drop(self.groups.insert(group.clone(), opened)),
                    Err(error) => {
                        tracing::error!(%group, %error, "a group cannot be opened; trying again next round");
                        continue;
                    }
                }
            }
            if let Err(error) = self.group_round(&group, &snapshot, &late, now).await {
                metrics::counter!("foreshadow_rounds_failed_total").increment(1);
                tracing::error!(%group, %error, "no plan in this round");
                if !self.retracted.is_empty() {
                    self.late.extend(&late);
                }
            }
            // With thousands of groups a round of all takes longer than the watchdog waits.
            self.heartbeat.beat(self.clock.boot_seconds());
        }
        self.tally.keep(&self.groups.keys().cloned().collect());
        // Every group was asked: what takes machines away is judged by what all of them want.
        for made in self.tally.counted(self.machines) {
            self.hand_over(made).await;
        }
        self.heartbeat.beat(self.clock.boot_seconds());
    }

    /// Takes retracted samples out of what is in memory, marks the minutes that they had a part in, and writes down
    /// which retractions have none left. Samples that are past their retention are in nobody's reach: their minutes stay.
    async fn take_back(&mut self, now: i64) -> Result<(), StoreError> {
        for retraction in self.store.unmade_retractions().await? {
            let (from, to) =
                (retraction.from_micros.div_euclid(60_000_000) * 60, retraction.to_micros / 1_000_000 + 60);
            if !self.retracted.contains(&retraction) {
                let oldest = (now - self.options.raw_seconds + 120).div_euclid(60) * 60;
                let until = to.min(self.closed_until(now));
                self.late.extend((from.max(oldest)..until).step_by(60));
                let (kept_from, kept_to) = ((now - KEPT_SLICES * 10) * 1_000_000, (now + 3_600) * 1_000_000);
                let mut slices = InstanceSlices::default();
                for stored in self.store.samples(&retraction.instance, kept_from, kept_to).await? {
                    slices.add(&stored.sample);
                }
                self.slices.insert(retraction.instance.clone(), slices);
                self.retracted.push(retraction);
            } else if self.late.range(from..to).next().is_none() {
                self.store.set_remade(&retraction).await?;
                // What was learned from it is learned anew.
                let boot = self.clock.boot_seconds();
                for group in self.groups.keys() {
                    let its = |at| self.timeline.placement_at(&retraction.instance, at).map(|placed| placed.group);
                    if [its(retraction.from_micros), its(retraction.to_micros)].contains(&Some(group.clone())) {
                        self.revised.tell(group, boot);
                    }
                }
                tracing::info!(instance = %retraction.instance, "the minutes without its retracted samples are made");
                self.retracted.retain(|known| *known != retraction);
            }
        }
        Ok(())
    }

    /// Writes a plan down where it is due, and hands it over to be carried out.
    async fn hand_over(&mut self, made: Made) {
        let Made { group, planned, record, timed } = made;
        if record {
            match self.act.record(&planned).await {
                Ok(()) => {
                    if let Some(state) = self.groups.get_mut(&group) {
                        state.recorded = Some(planned.plan.made_at);
                    }
                }
                Err(error) => tracing::error!(%group, %error, "a decision cannot be written down"),
            }
        }
        // A change that was begun before a restart waits for a plan to be judged by, and while it is open no plan has a step. Whom
        // a hook holds is held on by the latest plan, although that may want nothing.
        let waits = planned.evidence.conditions.changing || planned.policy.hold_terminating;
        let offered = waits || planned.plan.steps.iter().any(|step| step.permitted);
        let decision = self.tell(&group, &planned, &timed, offered);
        if offered {
            self.act.offer(planned, decision);
        }
    }

    /// Tells a decision that is sampled. Of any other gives what is told when something comes of it.
    fn tell(&self, group: &Id, planned: &Planned, timed: &Timed, offered: bool) -> Vec<Span> {
        let traces = self.act.traces();
        let Some(trace) = traces.id(group, planned.plan.generation) else { return Vec::new() };
        let sampled = traces.is_sampled(trace);
        if !sampled && !offered {
            return Vec::new();
        }
        let spans = traces::spans(trace, planned, timed, self.clock.wall_micros());
        if !sampled {
            return spans;
        }
        traces.tell(spans);
        Vec::new()
    }

    /// A clock that jumped extends every lease and holds every change: what was measured by it is wrong.
    async fn notice_jump(&mut self) {
        let now = self.clock.now();
        let jump = (now.wall - self.last_round.wall) - (now.boot - self.last_round.boot);
        self.last_round = now;
        if jump.abs() <= JUMP_SECONDS {
            return;
        }
        tracing::error!(jump, "the clock jumped: nothing is changed for a while, every lease is extended");
        metrics::counter!("foreshadow_clock_jumps_total").increment(1);
        self.jumped = Some(now.boot);
        if let Err(error) = self.sessions.extend_all(jump, now).await {
            tracing::error!(%error, "leases cannot be extended");
        }
    }

    /// The policy as it holds now: bounds by the inventory, mode by an operator's word, leads as measured.
    fn policy(&self, group: &Id, snapshot: &GroupSnapshot) -> Policy {
        let (leash, now) = (self.act.leash(), self.clock.wall_seconds());
        let mut policy = leash.policy(group).bounded(snapshot, now, self.ahead);
        // A group without a policy of its own warms up, and is judged quiet, by these.
        let safety = leash.safety();
        policy.mode = match self.act.fleet(snapshot.source) {
            Some(_) => self.act.control().standing(group).mode,
            None => Mode::Observe,
        };
        policy.warm_up_seconds = safety.warm_up_seconds;
        policy.quiet_seconds = safety.quiet_seconds;
        policy.launch_lead_seconds = self.act.lead(group, Kind::Launch, policy.launch_lead_seconds).seconds;
        policy.reattach_lead_seconds = self.act.lead(group, Kind::Reattach, policy.reattach_lead_seconds).seconds;
        policy
    }

    /// Reads a group's history and makes what a restart left out.
    async fn open(&self, group: &Id, snapshot: &GroupSnapshot, now: i64) -> anyhow::Result<Group> {
        let policy = self.policy(group, snapshot);
        let generation = self.plans.go_on_from(group, now).await?;
        let mut round = GroupRound::new(policy, self.options.forecast.clone(), false, generation);
        round.set_pool(self.options.pool.clone());
        for (metric, hours) in self.forecast_hours.of(group).await? {
            if let Ok(metric) = metric.parse() {
                round.remember(metric, &hours);
            }
        }
        round.go_on(self.learned.read(group, &self.options.forecast, now));
        let newest = self.read_past(group, &mut round, now - HISTORY_SECONDS, now).await?;
        let closed = newest.max((now - CATCH_UP_SECONDS).div_euclid(60) * 60);
        Ok(Group {
            round: Some(round),
            closed,
            last_plan: None,
            recorded: None,
            pulse: self.pulses.read(group, now).await?,
            learned: self.clock.boot_seconds(),
            generation,
        })
    }

    /// A round's past from the store, and that of those it goes on with. Gives the end of the newest minute that was measured
    /// here.
    async fn read_past(&self, group: &Id, round: &mut GroupRound, from: i64, to: i64) -> anyhow::Result<i64> {
        let mut newest = 0;
        for metric in round.policy().targets.keys().copied().collect::<Vec<_>>() {
            let minutes = self.store.minutes(group, metric.as_str(), from, to).await?;
            let measured = minutes.iter().rev().find(|minute| !minute.is_imported());
            newest = measured.map_or(newest, |minute| newest.max(minute.start + 60));
            round.take(&minutes);
        }
        let followed = self.follow(group, from, to).await?;
        round.follow(&followed);
        Ok(newest)
    }

    /// Minutes of those whose past a group goes on with.
    async fn follow(&self, group: &Id, from: i64, to: i64) -> anyhow::Result<Vec<Minute>> {
        let configured = self.act.leash().policy(group);
        let mut followed = Vec::new();
        for other in &configured.history {
            for metric in configured.policy.targets.keys() {
                followed.extend(self.store.minutes(other, metric.as_str(), from, to).await?);
            }
        }
        Ok(followed)
    }

    async fn group_round(
        &mut self,
        group: &Id,
        snapshot: &GroupSnapshot,
        late: &[i64],
        now: i64,
    ) -> anyhow::Result<()> {
        let begun = self.clock.wall_micros();
        let policy = self.policy(group, snapshot);
        let Some(closed) = self.groups.get(group).map(|state| state.closed) else { return Ok(()) };
        let damaged = self.damaged.iter().filter(|(of, _)| of == group).take(REMADE_PER_ROUND);
        let damaged: Vec<i64> = damaged.map(|(_, start)| *start).collect();
        let late = [late, &damaged].concat();
        let (closing, closed) = self.close_minutes(&policy, group, closed, &late, now).await?;
        self.damaged.retain(|(of, start)| of != group || !damaged.contains(start));
        let Some(state) = self.groups.get_mut(group) else { return Ok(()) };
        state.closed = closed;
        let Some(mut round) = state.round.take() else {
            // The last round of this group panicked: begin anew from the store.
            self.groups.remove(group);
            anyhow::bail!("the group begins anew after a fault");
        };
        round.set_policy(policy.clone());
        round.announce(self.calendar.of(group));
        let boot = self.clock.boot_seconds();
        let learned = self.groups.get(group).map_or(boot, |state| state.learned);
        let others = self.act.leash().policy(group).history;
        if std::iter::once(group).chain(&others).any(|past| self.revised.settled(past, learned, boot)) {
            if let Some(state) = self.groups.get_mut(group) {
                state.learned = boot;
            }
            tracing::info!(%group, "its past was changed: learned anew");
            round.forget_past();
            if let Err(error) = self.read_past(group, &mut round, now - HISTORY_SECONDS, now).await {
                // Begins anew from the store in the next round.
                self.groups.remove(group);
                return Err(error);
            }
        }
        let followed = match self.follow(group, now - FOLLOWED_SECONDS, now).await {
            Ok(followed) => followed,
            Err(error) => {
                self.groups.remove(group);
                return Err(error);
            }
        };
        let (mut measured, measured_over) = self.measure(&policy, group, snapshot, now).await;
        let used = self.used(snapshot, now);
        if let Some(state) = self.groups.get_mut(group) {
            let known = state.pulse.newest();
            measured.conditions.pulse = state.pulse.take(now, used);
            if let Some(over) = state.pulse.newest().filter(|newest| known != Some(*newest))
                && let Err(error) = self.pulses.write(group, over).await
            {
                tracing::warn!(%group, %error, "what those that serve use is not written down");
            }
        }
        let (act, clock) = (self.act.clone(), self.clock.clone());
        let (learned, own) = (self.learned.clone(), group.clone());
        // Fitting models takes CPU; a panic in one group must not end the others.
        let made = tokio::task::spawn_blocking(move || {
            round.take(&closing);
            round.follow(&followed);
            let forecast = clock.wall_micros();
            round.forecast(closed);
            if let Err(error) = round.keep_news(&learned, &own) {
                tracing::warn!(group = %own, %error, "what was learned of its past is not kept");
            }
            let plan = clock.wall_micros();
            let mut check = (plan, plan);
            let mut said = Vec::new();
            let (planned, report) = round.run(now, measured, |planned| {
                check.0 = clock.wall_micros();
                let verdicts = act.judge(planned);
                check.1 = clock.wall_micros();
                said.clone_from(&verdicts);
                verdicts
            });
            let (forecast, plan) = ((forecast, plan), (plan, check.0));
            let timed = Timed { begun, forecast, plan, check, measured_over, verdicts: said };
            (round, planned, report, timed)
        });
        let (mut round, planned, mut report, timed) = made.await?;
        for (metric, hour) in round.take_hours() {
            if let Err(error) = self.forecast_hours.write(group, metric, &hour).await {
                tracing::warn!(%group, %error, "what a forecast came to is not written down");
            }
        }
        if let Some(trace) = self.act.traces().id(group, planned.plan.generation) {
            report.add_to_plan("trace_id", trace.to_string().into());
        }
        let plan = &planned.plan;
        let fingerprint = fingerprint(plan);
        let Some(state) = self.groups.get_mut(group) else { return Ok(()) };
        state.round = Some(round);
        for (invariant, how) in
            invariants::violations(&planned, std::mem::replace(&mut state.generation, plan.generation))
        {
            invariant.violated(group.as_str(), &how);
        }
        self.tally.count(group, plan);
        let due = state
            .last_plan
            .as_ref()
            .is_none_or(|(last, at)| *last != fingerprint || plan.made_at - at >= PLAN_WRITTEN_EVERY);
        if due && let Some(shown) = &report.plan {
            self.plans.write(group, plan, shown).await?;
            state.last_plan = Some((fingerprint, plan.made_at));
        }
        let sampled = state.recorded.is_none_or(|at| plan.made_at - at >= DECISION_WRITTEN_EVERY);
        let record = sampled || (due && !plan.steps.is_empty());
        self.gauges.tell(group, plan, &report);
        metrics::counter!("foreshadow_rounds_total").increment(1);
        self.board.publish(group, report);
        if let Some(made) = self.tally.wait(Made { group: group.clone(), planned, record, timed }) {
            self.hand_over(made).await;
        }
        Ok(())
    }

    /// What those that serve used within the last minute.
    fn used(&self, snapshot: &GroupSnapshot, now: i64) -> Option<Use> {
        let serving = snapshot.members.iter().filter(|member| member.mode == observe::InstanceMode::Serving);
        Use::of(serving.filter_map(|member| self.slices.get(&member.instance)), now.div_euclid(10))
    }

    /// Rollups of the minutes that ended since the last round, in order, and of those that samples
    /// came late for; and where the next round goes on.
    async fn close_minutes(
        &self,
        policy: &Policy,
        group: &Id,
        closed: i64,
        late: &[i64],
        now: i64,
    ) -> anyhow::Result<(Vec<Minute>, i64)> {
        let until = self.closed_until(now);
        // What memory does not reach, or did not see since it began, is made from the store: a
        // bounded number a round, oldest first.
        let in_memory = ((now.div_euclid(10) - KEPT_SLICES + SLICES_PER_MINUTE) * 10).max(self.started.wall);
        let mut from_store = 0;
        let ended: Vec<i64> = (closed..until)
            .step_by(60)
            .take_while(|start| {
                from_store += usize::from(*start < in_memory);
                from_store <= REMADE_PER_ROUND
            })
            .collect();
        let next = ended.last().map_or(closed, |start| start + 60);
        let late = late.iter().copied().filter(|start| *start < next);
        let wanted: BTreeSet<i64> = ended.iter().copied().chain(late).collect();
        let remade: Vec<i64> = wanted.iter().copied().filter(|start| *start < in_memory).collect();
        let remade = self.slices_from_store(group, &remade).await?;
        let mut minutes = self.told_minutes(policy, group, &wanted, now).await?;
        for start in wanted {
            let slices = if start < in_memory { &remade } else { &self.slices };
            let serving = self.timeline.serving_at(group, (start + 30) * 1_000_000);
            for metric in policy.targets.keys().filter(|metric| !metric.is_custom()) {
                match minutes::minute(policy, group, *metric, &serving, slices, start) {
                    Some(minute) => minutes.push(minute),
                    // All that was known of it was retracted. Where nobody is known to have served nothing is known.
                    None if !serving.is_empty() && self.is_retracted(start) => {
                        self.store.delete_minutes(group, &metric.to_string(), &[start]).await?;
                    }
                    None => {}
                }
            }
        }
        if !minutes.is_empty() {
            self.store.put_minutes(&minutes).await?;
        }
        Ok((minutes, next))
    }

    /// What was told of every declared metric over `[from, to)`.
    async fn told_since(&self, from: i64, to: i64) -> Result<Told, sqlx::Error> {
        let mut told = Told { from, series: BTreeMap::new() };
        for metric in self.readings.declared().keys() {
            told.series.insert(*metric, self.readings.standing(*metric, from, to).await?);
        }
        Ok(told)
    }

    /// Rollups of the declared metrics over the minutes that are wanted. Of one that is older than its values are kept nothing
    /// is known any more: it stays as it is.
    async fn told_minutes(
        &self,
        policy: &Policy,
        group: &Id,
        wanted: &BTreeSet<i64>,
        now: i64,
    ) -> anyhow::Result<Vec<Minute>> {
        let mut minutes = Vec::new();
        let reach = now - readings::TAKEN_SECONDS;
        let wanted: Vec<i64> = wanted.iter().copied().filter(|start| *start >= reach).collect();
        let metrics = policy.targets.keys().filter_map(|metric| Some((*metric, self.readings.of(*metric)?)));
        for (metric, of) in metrics {
            let recent = self.told.as_ref().ok_or_else(|| anyhow::anyhow!("what is told of {metric} is not known"))?;
            let older = match (wanted.first(), wanted.iter().rfind(|start| **start < recent.from)) {
                (Some(first), Some(last)) => self.readings.standing(metric, *first, last + 60).await?,
                _ => Series::new(),
            };
            for start in &wanted {
                let series = if *start < recent.from { Some(&older) } else { recent.series.get(&metric) };
                let Some(series) = series else { continue };
                let serving = self.timeline.serving_at(group, (start + 30) * 1_000_000);
                match minutes::told_minute(policy, (metric, of), group, &serving, series, *start) {
                    Some(minute) => minutes.push(minute),
                    // All that was known of it was retracted.
                    None if of == Of::Instance && !serving.is_empty() && self.is_retracted(*start) => {
                        self.store.delete_minutes(group, metric.as_str(), &[*start]).await?;
                    }
                    None => {}
                }
            }
        }
        Ok(minutes)
    }

    fn is_retracted(&self, start: i64) -> bool {
        let (from, to) = (start * 1_000_000, (start + 60) * 1_000_000);
        self.retracted.iter().any(|retraction| retraction.from_micros < to && from < retraction.to_micros)
    }

    /// Slices of those who served in these minutes (starts in s, ascending), from what is stored.
    async fn slices_from_store(&self, group: &Id, starts: &[i64]) -> Result<HashMap<Id, InstanceSlices>, StoreError> {
        let (Some(from), Some(last)) = (starts.first(), starts.last()) else { return Ok(HashMap::new()) };
        let serving = |start: &i64| self.timeline.serving_at(group, (start + 30) * 1_000_000);
        let served: BTreeSet<Id> = starts.iter().flat_map(serving).map(|(instance, _)| instance).collect();
        let served: Vec<Id> = served.into_iter().collect();
        let to = last + 60 + LATEST_COVER_SECONDS;
        let at_once = usize::try_from(READ_AT_ONCE / (to - from).max(1)).unwrap_or(1).max(1);
        // What cannot be read is not known of whom it is of, and the others have their part.
        let from = *from;
        let read = |some: Vec<Id>| async move { self.stored_slices(&some, from, to).await };
        let around = around_damage(&served, at_once, read).await?;
        for (instances, problem) in around.lost {
            let (count, first) = (instances.len(), instances.first());
            tracing::error!(%group, first = ?first.map(Id::as_str), count, problem, "minutes are made without them");
        }
        Ok(around.read.into_iter().collect())
    }

    async fn stored_slices(
        &self,
        instances: &[Id],
        from: i64,
        to: i64,
    ) -> Result<Vec<(Id, InstanceSlices)>, StoreError> {
        let readings = self.store.readings(instances, &FIELDS_OF_MINUTES, from * 1_000_000, to * 1_000_000).await?;
        Ok(instances.iter().cloned().zip(readings.iter().map(InstanceSlices::of_readings)).collect())
    }

    /// What a group is now, and over which seconds its present demand was measured.
    async fn measure(
        &self,
        policy: &Policy,
        group: &Id,
        snapshot: &GroupSnapshot,
        now: i64,
    ) -> (Measurements, BTreeMap<Metric, (i64, i64)>) {
        let now_slice = now.div_euclid(10);
        let in_mode = |mode: observe::InstanceMode| snapshot.members.iter().filter(move |member| member.mode == mode);
        let serving: Vec<(Id, Option<String>)> = in_mode(observe::InstanceMode::Serving)
            .map(|member| (member.instance.clone(), member.instance_type.clone()))
            .collect();
        let outlook = self.outlook(group, snapshot, now).await;
        let sessions = self.sessions.open_in(group).await;
        let prices = self.sessions.config().await.prices_per_hour;
        let packets: Vec<f64> = serving
            .iter()
            .filter_map(|(instance, _)| {
                self.slices.get(instance)?.mean(Signal::Packets, now_slice - idle::SLICES..now_slice)
            })
            .collect();
        #[allow(clippy::cast_precision_loss, reason = "a count of instances")]
        let packets = (!packets.is_empty()).then(|| packets.iter().sum::<f64>() / packets.len() as f64);
        for member in in_mode(observe::InstanceMode::Draining) {
            let slices = self.slices.get(&member.instance);
            if let Some(talks) = slices.and_then(|slices| inventory::is_talked_to(slices, packets, now)) {
                self.timeline.talked_to(&member.instance, talks, now * 1_000_000);
            }
        }
        let mut measured = Measurements {
            inventory: inventory::inventory(snapshot, &sessions, &self.slices, packets, &outlook, self.clock.now()),
            conditions: Conditions {
                vetoes: self.vetoes(policy, group, &serving, now),
                memory_percent: inventory::memory_percent(snapshot, &self.slices, now),
                ..self.conditions(group, snapshot, cost(snapshot, &prices), &outlook)
            },
            fleet: self.fleet(),
            source: snapshot.source,
            version: snapshot.version.clone(),
            ..Measurements::default()
        };
        let kinds: BTreeSet<&str> = snapshot.members.iter().filter_map(|it| it.instance_type.as_deref()).collect();
        let mut measured_over = BTreeMap::new();
        measured.inventory.prices = prices.into_iter().filter(|(name, _)| kinds.contains(name.as_str())).collect();
        for metric in policy.targets.keys().copied() {
            if metric.is_custom() {
                // It has no idle part. One that is not declared, or could not be read, is not told.
                let series = self.told.as_ref().and_then(|told| told.series.get(&metric));
                let told = series
                    .zip(self.readings.of(metric))
                    .and_then(|(series, of)| minutes::told_now(policy, (metric, of), group, &serving, series, now));
                if let Some(present) = told {
                    // It stands as it was told last.
                    let at = now - i64::from(present.1);
                    measured_over.insert(metric, (at, at));
                    measured.present.insert(metric, present);
                }
                continue;
            }
            if let Some((present, over)) = self.present(policy, metric, &serving, now_slice) {
                measured_over.insert(metric, over);
                measured.present.insert(metric, present);
            }
            measured.idle.insert(metric, idle::measured(policy, metric, &snapshot.members, &self.slices, now));
        }
        (measured, measured_over)
    }

    /// The highest of the last ten minutes, by metric that has a veto.
    fn vetoes(&self, policy: &Policy, group: &Id, serving: &Serving, now: i64) -> BTreeMap<Metric, f64> {
        let highest = |metric: &Metric| {
            let (series, of) = (self.told.as_ref()?.series.get(metric)?, self.readings.of(*metric)?);
            Some((*metric, minutes::highest(of, group, serving, series, now)?))
        };
        policy.veto_above.keys().filter_map(highest).collect()
    }

    /// Demand over the last minute that has evidence, with its age, and over which seconds it was measured. Before there is
    /// a minute, the last twenty seconds must do: they ask for machines, and nothing is taken away that early.
    fn present(
        &self,
        policy: &Policy,
        metric: Metric,
        serving: &Serving,
        now_slice: i64,
    ) -> Option<((planner::demand::Demand, u32), (i64, i64))> {
        let seconds = |slices: i64, back: i64| (10 * (now_slice - back - slices), 10 * (now_slice - back));
        let over = |slices: i64, back: i64| {
            let end = now_slice - back;
            minutes::demand(policy, metric, serving, &self.slices, end - slices..end)
        };
        // Samples take a moment to become durable: a more complete minute shortly before says more
        // than a thin one now.
        let minute = (0..KEPT_SLICES - SLICES_PER_MINUTE).find_map(|back| {
            let found = over(SLICES_PER_MINUTE, back).filter(|found| back > 0 || !found.incomplete)?;
            let age = u32::try_from(back * 10).unwrap_or(u32::MAX);
            Some(((found, age), seconds(SLICES_PER_MINUTE, back)))
        });
        minute.or_else(|| Some(((over(2, 0)?, 0), seconds(2, 0))))
    }

    /// All groups together, as of their latest rounds.
    fn fleet(&self) -> checker::Fleet {
        self.tally.fleet(self.machines)
    }

    /// What of our own doing the inventory cannot show yet.
    async fn outlook(&self, group: &Id, snapshot: &GroupSnapshot, now: i64) -> Outlook {
        use observe::InstanceMode::{Serving, Warming};
        let inside = snapshot.members.iter().filter(|member| matches!(member.mode, Serving | Warming));
        let serving = snapshot.members.iter().filter(|member| member.mode == Serving);
        let serving: Vec<(Id, i64)> =
            serving.map(|member| (member.instance.clone(), member.since_micros / 1_000_000)).collect();
        let seen = Seen {
            members: inside.map(|member| member.instance.clone()).collect(),
            serving: u32::try_from(serving.len()).unwrap_or(u32::MAX),
            lacking: snapshot.lacking,
            taken: snapshot.taken_micros / 1_000_000,
            machines: self.fleet().machines,
        };
        let shown = |member: &observe::MemberSnapshot| inventory::planner_mode(member.mode);
        let known = snapshot.members.iter().map(|member| (member.instance.clone(), shown(member))).collect();
        self.act.outlook(group, &seen, &known, &serving, now).await
    }

    fn conditions(
        &self,
        group: &Id,
        snapshot: &GroupSnapshot,
        cost: Option<(f64, f64)>,
        outlook: &Outlook,
    ) -> Conditions {
        let now = self.clock.now();
        let loopback = self.act.reach(snapshot.source) == Reach::Loopback;
        Conditions {
            started_seconds_ago: u32::try_from(now.boot - self.started.boot).unwrap_or_default(),
            paused: self.act.control().standing(group).paused,
            deploying: snapshot.deploying,
            // A local AWS does not know every call; a real one that does not answer leaves a doubt.
            untold: snapshot.untold && !loopback,
            foreign_scale_in: snapshot.foreign_scale_in,
            floor: snapshot.floor,
            not_owner: snapshot.owner.as_ref().is_some_and(|owner| *owner != self.act.owner()),
            clock_jumped: self.jumped.is_some_and(|at| now.boot - at < AFTER_JUMP_SECONDS),
            launches_failing: outlook.launches_failing,
            launch_again_at: outlook.launch_again_at,
            // What those that serve use is taken in once a round.
            pulse: None,
            vetoes: BTreeMap::new(),
            memory_percent: None,
            // A token that all agents share proves no instance: each has to have its own certificate.
            agents_unauthenticated: !(loopback || self.options.authenticated && snapshot.is_proven()),
            claimed: snapshot.source.is_none(),
            common_cause: self.tally.is_common(&self.act.leash().safety()),
            changing: outlook.changing,
            detachable: Some(outlook.detachable),
            terminable: Some(outlook.terminable),
            launched_last_hour: outlook.launched_last_hour,
            cost_per_hour: cost.map(|(all, _)| all),
            price_per_hour: cost.map(|(_, each)| each),
        }
    }
}

/// What everybody of a group costs per hour, and one more at most: as much as the dearest of them, or as any where nobody is
/// there. `None` unless every price is known.
fn cost(snapshot: &GroupSnapshot, prices: &BTreeMap<String, f64>) -> Option<(f64, f64)> {
    let there = snapshot.members.iter().filter(|member| member.mode != observe::InstanceMode::Gone);
    let each: Vec<f64> =
        there.map(|member| prices.get(member.instance_type.as_deref()?).copied()).collect::<Option<_>>()?;
    let dearest =
        if each.is_empty() { prices.values().copied().reduce(f64::max) } else { each.iter().copied().reduce(f64::max) };
    Some((each.iter().sum(), dearest?))
}

/// What makes a plan worth writing down: its steps and holds, not the ages within them.
fn fingerprint(plan: &Plan) -> String {
    let steps: Vec<_> = plan.steps.iter().map(|step| &step.step).collect();
    let left: Vec<_> = plan.not_taken.iter().map(|left| (left.direction, left.instances)).collect();
    let holds: Vec<_> = plan.holds.iter().map(Hold::word).collect();
    format!("{steps:?}{left:?}{holds:?}")
}

#[cfg(test)]
mod tests;
