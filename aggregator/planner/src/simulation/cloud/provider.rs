//! What happens without a call: instances start, drain and end; the provider replaces what is
//! missing, takes away what is too much, and follows its own scaling policy.

use super::account::Lifecycle;
use super::config::TargetTracking;
use super::fault::Call;
use super::record::{Actor, Effect, Mutation};
use super::{Instance, StrictCloud};
use crate::capacity::need_without_baseline;

/// Minutes above the target before target tracking scales out.
const HIGH_MINUTES: u32 = 3;
/// Minutes below [`LOW_SHARE`] of the target before it scales in.
const LOW_MINUTES: u32 = 15;
const LOW_SHARE: f64 = 0.9;
/// EC2 shows a terminated instance for about an hour.
const TERMINATED_VISIBLE_SECONDS: i64 = 3_600;

/// What the provider remembers of a group.
#[derive(Debug, Clone)]
pub(super) struct Automation {
    /// Net demand the group carries at present, points.
    pub(super) demand: f64,
    /// When it compares the group with its desired capacity.
    reconcile_at: Option<i64>,
    /// When its alarms look at CPU next.
    minute_at: i64,
    high_minutes: u32,
    low_minutes: u32,
}

impl Automation {
    pub(super) const fn new(clock: i64) -> Self {
        Self { demand: 0.0, reconcile_at: None, minute_at: clock + 60, high_minutes: 0, low_minutes: 0 }
    }
}

impl StrictCloud {
    /// When something happens next without a call.
    pub(super) fn next_event(&self) -> Option<i64> {
        let instances = self.account.instances.values().filter_map(|instance| instance.until);
        let groups = self.automation.iter().flat_map(|(name, automation)| {
            let alarms = self.tracking(name).map(|_| automation.minute_at);
            [automation.reconcile_at, alarms].into_iter().flatten()
        });
        instances.chain(groups).min()
    }

    /// Does all that is due at the clock.
    pub(super) fn happen(&mut self) {
        let clock = self.clock;
        let due: Vec<String> = self
            .account
            .instances
            .values()
            .filter(|instance| instance.until.is_some_and(|until| until <= clock))
            .map(|instance| instance.id.clone())
            .collect();
        for id in due {
            self.leave_state(&id);
        }
        let groups: Vec<String> = self.automation.keys().cloned().collect();
        for group in groups {
            let Some(automation) = self.automation.get_mut(&group) else { continue };
            let reconcile = automation.reconcile_at.is_some_and(|at| at <= clock);
            let minute = automation.minute_at <= clock;
            if reconcile {
                automation.reconcile_at = None;
            }
            if minute {
                automation.minute_at = clock - clock.rem_euclid(60) + 60;
            }
            if let (true, Some(tracking)) = (minute, self.tracking(&group)) {
                self.track(&group, tracking);
            }
            if reconcile {
                self.reconcile(&group);
            }
        }
    }

    /// The group changed: the provider will notice.
    pub(super) fn notice(&mut self, group: &str) {
        let at = self.clock + self.config.reaction_seconds.max(1);
        if let Some(automation) = self.automation.get_mut(group) {
            automation.reconcile_at = Some(automation.reconcile_at.map_or(at, |earlier| earlier.min(at)));
        }
    }

    /// Starts instances in a group, pending. The caller has seen to the bounds.
    pub(super) fn start_instances(&mut self, group: &str, count: u32) -> Vec<String> {
        let protected = self.group_config(group).is_some_and(|config| config.protect_new);
        let clock = self.clock;
        (0..count)
            .map(|_| {
                self.launched += 1;
                let number = self.launched;
                let id = format!("i-{number:017x}");
                let stay = self.start_up(number, self.config.launch_seconds);
                let account = self.account_mut();
                let template_version = account.groups.get(group).map_or(0, |group| group.template_version);
                let instance = Instance {
                    id: id.clone(),
                    number,
                    home: group.to_owned(),
                    group: Some(group.to_owned()),
                    lifecycle: Lifecycle::Pending,
                    since: clock,
                    until: Some(clock + stay),
                    launched_at: clock,
                    has_served: false,
                    template_version,
                    protected,
                    tags: std::collections::BTreeMap::new(),
                };
                account.instances.insert(id.clone(), instance);
                id
            })
            .collect()
    }

    /// How long this instance takes for something that takes `typical` seconds.
    pub(super) fn start_up(&self, number: u64, typical: i64) -> i64 {
        let lean = 2.0 * self.random_of(number, 1).uniform() - 1.0;
        #[allow(clippy::cast_precision_loss, reason = "seconds")]
        let seconds = typical as f64 * (1.0 + self.config.start_up_spread * lean);
        (seconds.round() as i64).max(1)
    }

    /// How many more instances the account can get.
    pub(super) fn available(&self) -> u32 {
        self.config.capacity.map_or(u32::MAX, |capacity| capacity.saturating_sub(self.account.live()))
    }

    /// Begins to end an instance. One that serves is drained first; `ec2:TerminateInstances` does not wait.
    pub(super) fn end(&mut self, id: &str, drained: bool) {
        let serves = self.account.instances.get(id).is_some_and(|it| it.lifecycle == Lifecycle::InService);
        let draining = if drained && serves { self.config.deregistration_seconds } else { 0 };
        self.set_lifecycle(id, Lifecycle::Terminating, Some(draining + self.config.terminate_seconds));
    }

    fn tracking(&self, group: &str) -> Option<TargetTracking> {
        self.group_config(group)?.tracking
    }

    /// One instance's time in its state is over.
    fn leave_state(&mut self, id: &str) {
        let Some(instance) = self.account.instances.get(id) else { return };
        let (number, group, has_served) = (instance.number, instance.group.clone(), instance.has_served);
        match instance.lifecycle {
            Lifecycle::Pending => {
                let fails = !has_served && self.random_of(number, 2).uniform() < self.config.boot_failure;
                if fails {
                    self.end(id, false);
                    self.notice(group.as_deref().unwrap_or_default());
                } else {
                    self.set_lifecycle(id, Lifecycle::InService, None);
                }
            }
            Lifecycle::Detaching => {
                self.set_lifecycle(id, Lifecycle::Detached, None);
                self.leave_group(id);
            }
            Lifecycle::EnteringStandby => self.set_lifecycle(id, Lifecycle::Standby, None),
            Lifecycle::Terminating => {
                self.set_lifecycle(id, Lifecycle::Terminated, Some(TERMINATED_VISIBLE_SECONDS));
                self.leave_group(id);
            }
            Lifecycle::Terminated => {
                self.account_mut().instances.remove(id);
            }
            Lifecycle::InService | Lifecycle::Detached | Lifecycle::Standby => {}
        }
    }

    /// An instance outside a group has lost its protection from scale-in, as documented.
    fn leave_group(&mut self, id: &str) {
        if let Some(instance) = self.account_mut().instances.get_mut(id) {
            instance.group = None;
            instance.protected = false;
        }
    }

    /// Brings a group to its desired capacity: launches what is missing, ends what is too much.
    fn reconcile(&mut self, group: &str) {
        let Some(desired) = self.account.groups.get(group).map(|group| group.desired) else { return };
        let counted = self.account.counted(group);
        if counted < desired {
            let missing = desired - counted;
            let ids = self.start_instances(group, missing.min(self.available()));
            if ids.len() < missing as usize {
                self.notice(group);
            }
            self.log(Call::Launch, group, ids);
        }
        if counted > desired {
            let ids = self.victims(group, (counted - desired) as usize);
            for id in &ids {
                self.end(id, true);
            }
            self.log(Call::TerminateInGroup, group, ids);
        }
    }

    /// The provider's choice: unprotected, oldest launch-template version first, then nobody knows.
    fn victims(&self, group: &str, count: usize) -> Vec<String> {
        let mut candidates: Vec<_> = self
            .account
            .members(group)
            .filter(|instance| instance.lifecycle.counts() && !instance.protected)
            .map(|instance| {
                let rank = self.random_of(instance.number, self.clock.unsigned_abs()).next();
                (instance.lifecycle == Lifecycle::Pending, instance.template_version, rank, instance.id.clone())
            })
            .collect();
        candidates.sort_unstable();
        candidates.into_iter().take(count).map(|(.., id)| id).collect()
    }

    /// One minute of the provider's target tracking.
    fn track(&mut self, group: &str, tracking: TargetTracking) {
        let serving = self.account.count(group, Lifecycle::InService);
        let starting = self.account.count(group, Lifecycle::Pending);
        let Some(utilisation) = self.mean_utilisation(group) else { return };
        let Some(automation) = self.automation.get_mut(group) else { return };
        let high = utilisation > tracking.target;
        let low = utilisation < LOW_SHARE * tracking.target;
        automation.high_minutes = if high { automation.high_minutes + 1 } else { 0 };
        automation.low_minutes = if low { automation.low_minutes + 1 } else { 0 };
        let out = automation.high_minutes >= HIGH_MINUTES;
        let inward = tracking.scale_in && automation.low_minutes >= LOW_MINUTES && starting == 0;
        let wanted = need_without_baseline(utilisation * f64::from(serving), tracking.target, 1.0);
        let Some(state) = self.account_mut().groups.get_mut(group) else { return };
        let wanted = wanted.min(state.max).max(state.min);
        if (out && wanted > state.desired) || (inward && wanted < state.desired) {
            state.desired = wanted;
            if let Some(automation) = self.automation.get_mut(group) {
                automation.low_minutes = 0;
            }
            self.notice(group);
        }
    }

    fn log(&mut self, call: Call, group: &str, ids: Vec<String>) {
        if ids.is_empty() {
            return;
        }
        self.mutations.push(Mutation {
            at: self.clock,
            by: Actor::Provider,
            call,
            group: Some(group.to_owned()),
            token: None,
            ids,
            effect: Effect::Applied,
            error: None,
        });
    }
}
