//! One AWS account, strict: what the documentation refuses is refused, what it leaves open goes wrong.
//!
//! It judges whatever launches, attaches, detaches and terminates: bounds, client tokens, stale
//! descriptions, lost answers, a provider that chooses its own victims. It is synchronous and
//! deterministic: time (seconds since the epoch) is a parameter of every call and never runs
//! backwards, everything random follows from the seed, and the same calls give the same cloud.
//!
//! [`config`] says what the account is like, [`account`] what is in it, [`fault`] what can go wrong;
//! the calls are in `launch`, `membership` and `describe`, what happens without a call in
//! `provider`, the load in `carry`, what tests assert on in [`record`].
//!
//! Left out: zones and rebalancing, lifecycle hooks, warm pools, instance refresh, spot.

pub mod account;
mod carry;
pub mod config;
mod describe;
pub mod fault;
mod launch;
mod membership;
mod provider;
pub mod record;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub use account::{Account, Group, Instance, Lifecycle};
pub use carry::{Carried, Reading};
pub use config::{Config, FaultRates, GroupConfig, TargetTracking};
pub use describe::{GroupPage, GroupView, InstancePage, InstanceView, Member, RunState};
pub use fault::{Call, CloudError, Fault};
pub use launch::Launched;
pub use record::{Actor, Effect, Mutation};

use crate::simulation::Seeded;
use fault::{Schedule, refused};

/// The account and the clock of its provider.
#[derive(Debug, Clone)]
pub struct StrictCloud {
    seed: u64,
    config: Config,
    clock: i64,
    account: Arc<Account>,
    /// Earlier states and since when each held, oldest first, as far back as a description may look.
    history: VecDeque<(i64, Arc<Account>)>,
    automation: BTreeMap<String, provider::Automation>,
    tokens: BTreeMap<String, launch::Remembered>,
    faults: Schedule,
    /// Draws the age of descriptions.
    ages: Seeded,
    launched: u64,
    mutations: Vec<Mutation>,
    described: u64,
    /// Seconds in states that were left, by group launched in.
    spent: BTreeMap<(String, Lifecycle), i64>,
}

/// A call that was carried out.
struct Done<T> {
    answer: T,
    ids: Vec<String>,
    effect: Effect,
}

impl<T> Done<T> {
    fn applied(answer: T, ids: &[String]) -> Self {
        Self { answer, ids: ids.to_vec(), effect: Effect::Applied }
    }
}

/// What a call names, for the log.
#[derive(Clone, Copy)]
struct Request<'a> {
    call: Call,
    group: Option<&'a str>,
    token: Option<&'a str>,
    ids: &'a [String],
}

impl StrictCloud {
    /// An account with its groups at their desired capacity, all in service.
    pub fn new(seed: u64, config: Config) -> Self {
        let mut cloud = Self {
            seed,
            clock: config.start,
            account: Arc::default(),
            history: VecDeque::new(),
            automation: BTreeMap::new(),
            tokens: BTreeMap::new(),
            faults: Schedule::new(seed ^ 0xFA17, config.faults),
            ages: Seeded::new(seed ^ 0xA9E5),
            launched: 0,
            mutations: Vec::new(),
            described: 0,
            spent: BTreeMap::new(),
            config,
        };
        for group in cloud.config.groups.clone() {
            cloud.automation.insert(group.name.clone(), provider::Automation::new(cloud.clock));
            cloud.account_mut().groups.insert(
                group.name.clone(),
                Group {
                    min: group.min,
                    max: group.max,
                    desired: group.desired,
                    template_version: group.template_version,
                    tracking_scales_in: group.tracking.is_some_and(|tracking| tracking.scale_in),
                    tags: BTreeMap::new(),
                },
            );
            for id in cloud.start_instances(&group.name, group.desired) {
                cloud.set_lifecycle(&id, Lifecycle::InService, None);
            }
        }
        cloud.remember();
        cloud
    }

    /// Lets time pass until `now`; an earlier `now` changes nothing.
    pub fn advance(&mut self, now: i64) {
        while let Some(at) = self.next_event().filter(|at| *at <= now) {
            self.clock = at.max(self.clock);
            self.happen();
            self.remember();
        }
        self.clock = self.clock.max(now);
    }

    /// The next call of this kind but `after` meets this fault. Faults queued come before drawn ones.
    pub fn queue_fault(&mut self, call: Call, after: u32, fault: Fault) {
        self.faults.queue(call, after, fault);
    }

    /// Whether a fault that was queued waits for its call.
    pub fn has_queued_faults(&self) -> bool {
        self.faults.is_queued()
    }

    /// From now on no call meets a fault.
    pub fn heal(&mut self) {
        self.faults = Schedule::new(self.seed, FaultRates::default());
    }

    /// From now on at most this many instances can run in the account (`InsufficientInstanceCapacity`).
    pub const fn set_capacity(&mut self, capacity: Option<u32>) {
        self.config.capacity = capacity;
    }

    /// From now on the provider scales a group by this policy, or not at all.
    pub fn set_tracking(&mut self, group: &str, tracking: Option<TargetTracking>) {
        if let Some(config) = self.config.groups.iter_mut().find(|config| config.name == group) {
            config.tracking = tracking;
        }
        if let Some(group) = self.account_mut().groups.get_mut(group) {
            group.tracking_scales_in = tracking.is_some_and(|tracking| tracking.scale_in);
        }
        self.remember();
    }

    /// What is really there, without any lag, as of the latest `advance` or call.
    pub fn truth(&self) -> &Account {
        &self.account
    }

    /// The cloud's own clock.
    pub const fn clock(&self) -> i64 {
        self.clock
    }

    /// Every call that changes things and every change the provider made by itself, in order.
    pub fn mutations(&self) -> &[Mutation] {
        &self.mutations
    }

    /// How many descriptions were asked for.
    pub const fn descriptions(&self) -> u64 {
        self.described
    }

    /// Instance-seconds spent so far in each state, by the group the instance was launched in:
    /// what it all costs, shadows included. Terminated instances cost nothing.
    pub fn instance_seconds(&self) -> BTreeMap<(String, Lifecycle), i64> {
        let mut seconds = self.spent.clone();
        for instance in self.account.instances.values().filter(|instance| instance.lifecycle.is_live()) {
            *seconds.entry((instance.home.clone(), instance.lifecycle)).or_default() += self.clock - instance.since;
        }
        seconds
    }

    /// Carries out one changing call: time passes, the fault is drawn, the effect happens, all is logged.
    fn change<T>(
        &mut self,
        now: i64,
        request: Request<'_>,
        act: impl FnOnce(&mut Self, Option<Fault>) -> Result<Done<T>, CloudError>,
    ) -> Result<T, CloudError> {
        self.advance(now);
        let fault = self.faults.draw(request.call);
        let done = match fault {
            Some(Fault::Throttled) => Err(CloudError::Throttled),
            Some(Fault::Contention) => refused("ResourceContention", "you already have a pending update"),
            Some(Fault::LostRequest) => Err(CloudError::Unknown),
            other => act(self, other),
        };
        let (ids, effect) = match &done {
            Ok(done) => (done.ids.clone(), done.effect),
            Err(_) => (request.ids.to_vec(), Effect::None),
        };
        let answer = match (fault, done) {
            (Some(Fault::LostAnswer), _) => Err(CloudError::Unknown),
            (_, done) => done.map(|done| done.answer),
        };
        self.remember();
        self.mutations.push(Mutation {
            at: self.clock,
            by: Actor::Caller,
            call: request.call,
            group: request.group.map(str::to_owned),
            token: request.token.map(str::to_owned),
            ids,
            effect,
            error: answer.as_ref().err().cloned(),
        });
        answer
    }

    fn account_mut(&mut self) -> &mut Account {
        Arc::make_mut(&mut self.account)
    }

    fn group(&self, name: &str) -> Result<&Group, CloudError> {
        match self.account.groups.get(name) {
            Some(group) => Ok(group),
            None => fault::invalid(format!("AutoScalingGroup name not found - no such group: {name}")),
        }
    }

    fn group_config(&self, name: &str) -> Option<&GroupConfig> {
        self.config.groups.iter().find(|group| group.name == name)
    }

    /// Moves an instance to a state, to be left by itself after `stay` seconds.
    fn set_lifecycle(&mut self, id: &str, lifecycle: Lifecycle, stay: Option<i64>) {
        let clock = self.clock;
        let Some(instance) = self.account_mut().instances.get_mut(id) else { return };
        let left = (instance.home.clone(), instance.lifecycle);
        let seconds = clock - std::mem::replace(&mut instance.since, clock);
        instance.lifecycle = lifecycle;
        instance.until = stay.map(|stay| clock + stay.max(1));
        instance.has_served |= lifecycle == Lifecycle::InService;
        *self.spent.entry(left).or_default() += seconds;
    }

    /// Randomness that belongs to one instance, whatever else was drawn before.
    fn random_of(&self, number: u64, purpose: u64) -> Seeded {
        Seeded::new(
            self.seed ^ number.wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ purpose.wrapping_mul(0xA076_1D64_78BD_642F),
        )
    }

    /// Keeps the present state for descriptions to come, and forgets what none may show any more.
    fn remember(&mut self) {
        if self.history.back().is_none_or(|(_, account)| !Arc::ptr_eq(account, &self.account)) {
            if self.history.back().is_some_and(|(since, _)| *since == self.clock) {
                self.history.pop_back();
            }
            self.history.push_back((self.clock, Arc::clone(&self.account)));
        }
        let horizon = self.clock - self.config.lag_seconds;
        while self.history.get(1).is_some_and(|(since, _)| *since <= horizon) {
            self.history.pop_front();
        }
    }
}
