//! What the judge is told: one change, and what was described afresh right before it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What is to be done to a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    Launch {
        count: u32,
    },
    Reattach {
        instances: Vec<String>,
    },
    Detach {
        instances: Vec<String>,
    },
    /// Shadows that stand by in their group leave it, to be terminated then.
    Leave {
        instances: Vec<String>,
    },
    Terminate {
        instances: Vec<String>,
    },
    /// How low the provider's own scale-in may go, before and after.
    Floor {
        from: u32,
        to: u32,
    },
}

impl Change {
    /// Fewer machines serve, or exist, afterwards.
    pub const fn takes_away(&self) -> bool {
        match self {
            Self::Detach { .. } | Self::Leave { .. } | Self::Terminate { .. } => true,
            // The provider may take what it kept.
            Self::Floor { from, to } => *to < *from,
            Self::Launch { .. } | Self::Reattach { .. } => false,
        }
    }
}

/// Where a machine stands, by the inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    Warming,
    Serving,
    Draining,
    Shadow,
    Gone,
}

/// One machine of the group or its shadow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub id: String,
    pub place: Place,
    /// By metric, what it carries relative to the reference machine; one of whom that is not told carries nothing.
    pub weights: BTreeMap<String, f64>,
    /// Percent of its processors' time that its host gives to others.
    pub stolen_percent: f64,
    /// Its CPU credits will not last for another hour at what it spends now.
    pub short_of_credits: bool,
    /// Absent where nobody told it.
    pub price_per_hour: Option<f64>,
    pub protected: bool,
    /// Its shadow session is of origin `ours`, or was adopted.
    pub ours: bool,
    /// A load balancer still sends to it, or it is not known that none does.
    pub in_target_group: bool,
    /// A shadow that stands in its group, out of service.
    pub in_group: bool,
    /// As a shadow.
    pub shadow: Option<ShadowFacts>,
}

/// What a shadow shows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowFacts {
    /// Its lease is over by both clocks.
    pub lease_over: bool,
    /// Its lease can be extended no more, and the group's policy ends silent ones then.
    pub may_end_silent: bool,
    /// Age of its newest sample; absent when it is silent.
    pub sample_age_seconds: Option<u32>,
    /// For how long nobody has talked to it.
    pub quiet_seconds: u32,
}

/// One metric of the serving machines, now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    pub metric: String,
    /// A load in a unit of its own: no share of a machine, and nothing of it is idle.
    #[serde(default)]
    pub amount: bool,
    /// Points a machine may be used, or how much of an amount one carries.
    pub target: f64,
    /// Σ wᵢuᵢ over serving machines, points; absent when nobody reports.
    pub gross: Option<f64>,
    /// Σ wᵢ over the machines in `gross`.
    pub weight: f64,
    /// `gross` is certain: enough report and none is saturated.
    pub certain: bool,
    /// The idle baseline the plan used, points.
    pub baseline: f64,
    /// Highest gross demand in the same hour a week ago, points; absent without such a history.
    pub last_week: Option<f64>,
}

/// Machines of this group that were taken away lately in the way of the change: detached, for a
/// detachment, terminated, for a termination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Removed {
    pub last_15_minutes: u32,
    pub last_6_hours: u32,
    /// Machines that served six hours ago, what the shares are of; 0: as many as now.
    pub served_6_hours_ago: u32,
}

/// All groups together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fleet {
    pub groups: u32,
    pub groups_that_want_in: u32,
    /// Other groups in which machines are being taken away now.
    pub other_groups_in: u32,
    pub machines: u32,
    /// Machines taken away in all groups within 15 minutes.
    pub removed_15_minutes: u32,
}

/// What those that serve use now, each on average, as shares of what they used in the hours before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pulse {
    pub cpu: f64,
    pub network: f64,
}

/// A metric that nobody may be taken away beside while it is above its limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Veto {
    pub metric: String,
    pub limit: f64,
    /// Highest of the last ten minutes; absent where it is not told now.
    pub highest: Option<f64>,
}

/// Everything known right before a change. The default is that nothing is known: it refuses.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Facts {
    pub now: i64,
    pub made_at: i64,
    pub valid_until: i64,
    pub inventory_complete: bool,
    pub inventory_age_seconds: u32,
    pub machines: Vec<Machine>,
    pub minimum: u32,
    pub maximum: u32,
    /// Narrower bounds that hold for a time.
    pub windows: Vec<Window>,
    pub loads: Vec<Load>,
    pub removed: Removed,
    /// Launched by us within the last hour, and how many may be.
    pub launched_last_hour: u32,
    pub launches_per_hour: u32,
    /// Launched by us and not among the machines yet.
    pub expected: u32,
    /// What one more may cost, absent where nobody told it, and what the whole group may, absent where that has no limit.
    pub price_per_hour: Option<f64>,
    pub spend_per_hour: Option<f64>,
    /// How many may stand in shadow or drain at once; absent where that has no limit.
    pub shadows_at_most: Option<u32>,
    /// Absent until the hours before are known.
    pub pulse: Option<Pulse>,
    pub vetoes: Vec<Veto>,
    /// Mean memory in use on those that serve, percent, where nothing is provisioned by memory; absent where nobody tells.
    pub memory_percent: Option<f64>,
    pub fleet: Fleet,
    /// Since the aggregator started.
    pub running_seconds: u32,
    pub launches_failing: bool,
    /// Agents prove who they are.
    pub authenticated: bool,
    /// The cloud's endpoint is this very machine: a test.
    pub loopback: bool,
    /// An operator gave leave, with a reason, to go below last week's need.
    pub leave_below_last_week: bool,
}

/// Bounds that hold in `[from, until)`, seconds since the epoch, beside the group's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub from: i64,
    pub until: i64,
    pub minimum: Option<u32>,
    pub maximum: Option<u32>,
}

impl Facts {
    /// The minimum that holds now.
    pub(crate) fn floor(&self) -> u32 {
        let mut floor = self.minimum;
        for window in &self.windows {
            if let Some(minimum) = window.minimum.filter(|_| window.holds(self.now)) {
                floor = floor.max(minimum);
            }
        }
        floor
    }

    /// The maximum that holds now; never below the minimum that does.
    pub(crate) fn ceiling(&self) -> u32 {
        let mut ceiling = self.maximum;
        for window in &self.windows {
            if let Some(maximum) = window.maximum.filter(|_| window.holds(self.now)) {
                ceiling = ceiling.min(maximum);
            }
        }
        ceiling.max(self.floor())
    }

    pub(crate) fn count(&self, place: Place) -> u32 {
        let machines = self.machines.iter().filter(|machine| machine.place == place).count();
        u32::try_from(machines).unwrap_or(u32::MAX)
    }
}

impl Window {
    const fn holds(&self, now: i64) -> bool {
        self.from <= now && now < self.until
    }
}
