//! How fast machines may be taken away. Only a loopback cloud may have gentler limits than these.

use serde::{Deserialize, Serialize};

/// Limits of one group and of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Nothing is taken away for this long after a start.
    pub warm_up_seconds: u32,
    /// An inventory older than this is stale.
    pub inventory_fresh_seconds: u32,
    /// Share of a group that may go within 15 minutes; one machine always may.
    pub share_15_minutes: f64,
    /// Share of a group that may go within six hours; one machine always may.
    pub share_6_hours: f64,
    /// Share of all machines of all groups that may go within 15 minutes; one always may.
    pub fleet_share: f64,
    /// Nobody may have talked to a shadow for this long before it is terminated.
    pub quiet_seconds: u32,
    /// A shadow whose newest sample is older is silent, and a silent one never agrees.
    pub sample_fresh_seconds: u32,
    /// Above this share of groups that want to scale in at once, something common is the cause.
    pub common_cause_share: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            warm_up_seconds: 600,
            inventory_fresh_seconds: 120,
            share_15_minutes: 0.10,
            share_6_hours: 0.30,
            fleet_share: 0.02,
            quiet_seconds: 600,
            sample_fresh_seconds: 120,
            common_cause_share: 0.20,
        }
    }
}

/// A limit that is looser than it may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitsProblem {
    pub field: &'static str,
    pub problem: String,
}

impl Limits {
    /// Every limit that is looser than the default, or not a number; on loopback only the latter.
    pub fn problems(&self, loopback: bool) -> Vec<LimitsProblem> {
        let safe = Self::default();
        let mut problems = Vec::new();
        let shares = [
            ("share_15_minutes", self.share_15_minutes, safe.share_15_minutes),
            ("share_6_hours", self.share_6_hours, safe.share_6_hours),
            ("fleet_share", self.fleet_share, safe.fleet_share),
            ("common_cause_share", self.common_cause_share, safe.common_cause_share),
        ];
        for (field, value, most) in shares {
            if !(0.0..=1.0).contains(&value) {
                problems.push(LimitsProblem { field, problem: format!("{value} is not in [0, 1]") });
            } else if value > most && !loopback {
                problems.push(LimitsProblem { field, problem: format!("{value} is above {most}") });
            }
        }
        if loopback {
            return problems;
        }
        let windows = [
            ("warm_up_seconds", self.warm_up_seconds, safe.warm_up_seconds),
            ("quiet_seconds", self.quiet_seconds, safe.quiet_seconds),
        ];
        for (field, value, least) in windows {
            if value < least {
                problems.push(LimitsProblem { field, problem: format!("{value} is below {least}") });
            }
        }
        let ages = [
            ("inventory_fresh_seconds", self.inventory_fresh_seconds, safe.inventory_fresh_seconds),
            ("sample_fresh_seconds", self.sample_fresh_seconds, safe.sample_fresh_seconds),
        ];
        for (field, value, most) in ages {
            if value > most {
                problems.push(LimitsProblem { field, problem: format!("{value} is above {most}") });
            }
        }
        problems
    }
}
