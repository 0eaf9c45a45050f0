//! Why a change is refused, in words a tired operator reads once.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One reason against a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "refusal", rename_all_fields = "snake_case")]
pub enum Refusal {
    Nothing,
    Twice { instance: String },
    Unknown { instance: String },
    Foreign { instance: String },
    Protected { instance: String },
    InGroup { instance: String },
    InTargetGroup { instance: String },
    NotInShadow { instance: String },
    NotInStandby { instance: String },
    NotServing { instance: String },
    LeaseRuns { instance: String },
    SilentShadow { instance: String },
    StillTalks { instance: String, quiet_seconds: u32 },
    TooManyLaunches { per_hour: u32, would_be: u32 },
    OldPlan { made_at: i64, valid_until: i64 },
    PartialInventory,
    StaleInventory { age_seconds: u32 },
    UnauthenticatedEvidence,
    JustStarted { seconds_left: u32 },
    LaunchesFailing,
    CommonCause { groups_that_want_in: u32, groups: u32 },
    OneGroupAtATime { other_groups: u32 },
    ShortenedSafety { field: String },
    AboveMaximum { maximum: u32, would_be: u32 },
    BelowMinimum { minimum: u32, would_be: u32 },
    FloorAbovePresent { present: u32, would_be: u32 },
    NoObservation { metric: String },
    BelowObservedNeed { metric: String, need: u32, would_be: u32 },
    BelowNeedWithoutBaseline { metric: String, need: u32, would_be: u32 },
    BelowLastWeek { metric: String, need: u32, would_be: u32 },
    Hung { cpu: f64, network: f64 },
    Stolen { percent: f64 },
    OutOfCredits { instances: u32 },
    Vetoed { metric: String },
    MemoryFull { percent: f64 },
    TooManyShadows { at_most: u32, would_be: u32 },
    TooDear { per_hour: f64, would_be: f64 },
    Unpriced { instance: String },
    TooFast { within_minutes: u32, allowed: u32, would_be: u32 },
    FleetTooFast { allowed: u32, would_be: u32 },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("the change names nothing; empty means nothing, never everything"),
            Self::Twice { instance } => write!(f, "{instance} is named twice"),
            Self::Unknown { instance } => write!(f, "{instance} is not known in this group"),
            Self::Foreign { instance } => write!(f, "{instance} was not detached by us and was not adopted"),
            Self::Protected { instance } => write!(f, "{instance} is protected"),
            Self::InGroup { instance } => write!(f, "{instance} is still in its group"),
            Self::InTargetGroup { instance } => write!(f, "a load balancer still sends to {instance}"),
            Self::NotInShadow { instance } => write!(f, "{instance} is not in shadow"),
            Self::NotInStandby { instance } => write!(f, "{instance} is not in standby"),
            Self::NotServing { instance } => write!(f, "{instance} does not serve"),
            Self::LeaseRuns { instance } => write!(f, "the lease of {instance} is not over by both clocks"),
            Self::SilentShadow { instance } => write!(f, "{instance} is silent; a silent shadow never agrees"),
            Self::StillTalks { instance, quiet_seconds } => {
                write!(f, "nobody has talked to {instance} for {quiet_seconds} s only")
            }
            Self::TooManyLaunches { per_hour, would_be } => {
                write!(f, "{would_be} launches within an hour, {per_hour} may be")
            }
            Self::OldPlan { made_at, valid_until } => {
                write!(f, "the plan of {made_at} was valid until {valid_until} only")
            }
            Self::PartialInventory => f.write_str("the inventory is partial"),
            Self::StaleInventory { age_seconds } => write!(f, "the inventory is {age_seconds} s old"),
            Self::UnauthenticatedEvidence => f.write_str("agents do not prove who they are"),
            Self::JustStarted { seconds_left } => write!(f, "started moments ago: {seconds_left} s left"),
            Self::LaunchesFailing => f.write_str("launches fail: what is given up may not come back"),
            Self::CommonCause { groups_that_want_in, groups } => {
                write!(f, "{groups_that_want_in} of {groups} groups want to scale in at once: a common cause?")
            }
            Self::OneGroupAtATime { other_groups } => {
                write!(f, "{other_groups} other group(s) are scaling in; one at a time")
            }
            Self::ShortenedSafety { field } => {
                write!(f, "{field} is looser than it may be with a cloud that is not this machine")
            }
            Self::AboveMaximum { maximum, would_be } => write!(f, "{would_be} would be above the maximum of {maximum}"),
            Self::BelowMinimum { minimum, would_be } => write!(f, "{would_be} would be below the minimum of {minimum}"),
            Self::FloorAbovePresent { present, would_be } => {
                write!(f, "a floor of {would_be} above the {present} that are there would launch")
            }
            Self::NoObservation { metric } => write!(f, "{metric} is not observed with certainty"),
            Self::BelowObservedNeed { metric, need, would_be } => {
                write!(f, "{metric} needs {need} now, {would_be} would serve")
            }
            Self::BelowNeedWithoutBaseline { metric, need, would_be } => {
                write!(f, "{metric} needs {need} if idle machines use nothing, {would_be} would serve")
            }
            Self::BelowLastWeek { metric, need, would_be } => {
                write!(f, "{metric} needed {need} in this hour a week ago, {would_be} would serve")
            }
            Self::Hung { cpu, network } => write!(
                f,
                "CPU is at {:.0} % of what it was and the network at {:.0} %: something hangs",
                100.0 * cpu,
                100.0 * network
            ),
            Self::Stolen { percent } => write!(f, "hosts give {percent:.0} % of the processors' time to others"),
            Self::OutOfCredits { instances } => {
                write!(f, "{instances} that serve run out of CPU credits within the hour")
            }
            Self::MemoryFull { percent } => write!(f, "memory is {percent:.0} % full on those that serve"),
            Self::Vetoed { metric } => write!(f, "{metric} is above what it may be, or not known"),
            Self::TooManyShadows { at_most, would_be } => {
                write!(f, "{would_be} would stand in shadow, {at_most} may")
            }
            Self::TooDear { per_hour, would_be } => {
                write!(f, "the group would cost {would_be:.2} an hour, {per_hour:.2} may be")
            }
            Self::Unpriced { instance } => {
                write!(f, "money is limited and the price of {instance} is not known")
            }
            Self::TooFast { within_minutes, allowed, would_be } => {
                write!(f, "{would_be} gone within {within_minutes} min, {allowed} may")
            }
            Self::FleetTooFast { allowed, would_be } => {
                write!(f, "{would_be} gone from all groups within 15 min, {allowed} may")
            }
        }
    }
}
