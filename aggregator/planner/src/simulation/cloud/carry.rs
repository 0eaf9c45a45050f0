//! The load: what each instance would report while its group carries a demand.

use super::account::{Instance, Lifecycle};
use super::config::GroupConfig;
use super::{CloudError, StrictCloud};

/// CPU of an instance that starts for the first time, points: booting is not load, but looks like it.
const BOOT_POINTS: f64 = 80.0;
/// How much an idle instance's network wavers, as a share of it.
const IDLE_WAVER: f64 = 0.05;

/// One minute of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Carried {
    /// Every live instance that was launched in the group, detached ones included, in the order of ids.
    pub readings: Vec<Reading>,
    /// Net demand that was carried, points.
    pub served: f64,
    /// Net demand that found no room, points.
    pub unmet: f64,
}

/// What one instance would report.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub id: String,
    pub lifecycle: Lifecycle,
    /// CPU, points, 0 to 100.
    pub utilisation: f64,
    /// Bytes per second.
    pub network: f64,
}

impl StrictCloud {
    /// Puts a net demand (points of the reference instance, without the idle baseline) on a group for
    /// the minute that holds `now`, and on until the next call: the provider's own scaling follows it.
    /// Instances in service share it with some spread; what is beyond 100 points is unmet. The rest
    /// of the group's instances idle, but for those that start or drain.
    pub fn carry(&mut self, now: i64, group: &str, demand: f64) -> Result<Carried, CloudError> {
        self.group(group)?;
        if let Some(automation) = self.automation.get_mut(group) {
            automation.demand = demand.max(0.0);
        }
        self.advance(now);
        let Some(config) = self.group_config(group) else { return super::fault::invalid("no such group") };
        let minute = self.clock.div_euclid(60).unsigned_abs();
        let waver = |it: &Instance, purpose: u64| self.random_of(it.number, minute ^ (purpose << 40)).normal();
        let share = |it: &Instance| (1.0 + config.spread * waver(it, 3)).max(0.0);
        let serves = |it: &Instance| it.lifecycle == Lifecycle::InService;
        let shares: f64 = self.account.members(group).filter(|it| serves(it)).map(share).sum();
        let per_share = if shares > 0.0 { demand.max(0.0) / shares } else { 0.0 };
        let room = 100.0 - config.baseline;
        let mut served = 0.0;
        let mut readings = Vec::new();
        for it in self.account.instances.values().filter(|it| it.home == group && it.lifecycle.is_live()) {
            let net = match it.lifecycle {
                Lifecycle::InService => (per_share * share(it)).min(room),
                _ => self.leftover(it, per_share).min(room),
            };
            served += if serves(it) { net } else { 0.0 };
            let idle = config.idle_network * (1.0 + IDLE_WAVER * waver(it, 5)).max(0.0);
            readings.push(Reading {
                id: it.id.clone(),
                lifecycle: it.lifecycle,
                utilisation: utilisation(config, it, net),
                network: idle + config.network_per_point * net,
            });
        }
        Ok(Carried { readings, served, unmet: (demand.max(0.0) - served).max(0.0) })
    }

    /// Mean CPU of the instances in service, points, as the provider's alarms see it.
    pub(super) fn mean_utilisation(&self, group: &str) -> Option<f64> {
        let serving = self.account.count(group, Lifecycle::InService);
        let config = self.group_config(group).filter(|_| serving > 0)?;
        let demand = self.automation.get(group).map_or(0.0, |automation| automation.demand);
        Some((config.baseline + demand / f64::from(serving)).min(100.0))
    }

    /// What requests in flight still ask of an instance that left the load balancer, dying down over
    /// the deregistration delay.
    #[allow(clippy::cast_precision_loss, reason = "seconds")]
    fn leftover(&self, instance: &Instance, per_share: f64) -> f64 {
        let drains = matches!(instance.lifecycle, Lifecycle::Detaching | Lifecycle::EnteringStandby);
        let Some(until) = instance.until.filter(|_| drains) else { return 0.0 };
        let whole = (until - instance.since).max(1) as f64;
        let left = (until - self.clock).max(0) as f64 / whole;
        // Half, since new requests stopped at once; the square, since most of those in flight are short.
        0.5 * per_share * left * left
    }
}

fn utilisation(config: &GroupConfig, instance: &Instance, net: f64) -> f64 {
    let boots = instance.lifecycle == Lifecycle::Pending && !instance.has_served;
    if boots { BOOT_POINTS } else { (config.baseline + net).clamp(0.0, 100.0) }
}
