//! Typed reasons for not acting. Each says, in words a tired operator reads once, what is the
//! matter; none of them ever stops a scale-out that present demand asks for unless it says so.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::baseline::Doubt;
use crate::policy::Metric;

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "hold", rename_all_fields = "snake_case")]
pub enum Hold {
    /// Nothing serving has reported: absent is not zero.
    NoEvidence {
        metric: Metric,
    },
    StaleSamples {
        metric: Metric,
        age_seconds: u32,
        fresh_seconds: u32,
    },
    Incomplete {
        metric: Metric,
        reporting: u32,
        serving: u32,
    },
    Saturated {
        metric: Metric,
    },
    StaleInventory {
        age_seconds: u32,
    },
    PartialInventory,
    NoForecast {
        metric: Metric,
    },
    LowTrust {
        metric: Metric,
        trust: f64,
        minimum: f64,
    },
    ShortHorizon {
        metric: Metric,
    },
    WarmUp {
        seconds_left: u32,
    },
    Surprise {
        metric: Metric,
        demand: f64,
        expected_at_least: f64,
    },
    BaselineInDoubt {
        metric: Metric,
        doubt: Doubt,
    },
    WithoutBaseline {
        metric: Metric,
        need: u32,
    },
    Paused,
    NotOwner,
    Deploying,
    ForeignScaleIn,
    /// Whether it deploys or scales in by itself, the provider did not say.
    Untold,
    ClockJump,
    CommonCause,
    LaunchesFailing,
    /// Launches failed, and the next is tried at this time, seconds since the epoch.
    BackOff {
        next_try: i64,
        seconds_left: u32,
    },
    /// CPU fell and the network did not, as shares of what they were.
    Hung {
        cpu: f64,
        network: f64,
    },
    /// The host gives this much of the processors' time to others, percent, on average of those that serve.
    Stolen {
        percent: f64,
    },
    /// So many of those that serve run out of CPU credits within the hour.
    OutOfCredits {
        instances: u32,
    },
    /// The memory of those that serve is nearly full, percent on average.
    MemoryFull {
        percent: f64,
    },
    /// Above what the policy lets it be, now or within ten minutes.
    Vetoed {
        metric: Metric,
        value: f64,
        limit: f64,
    },
    /// A metric that has a veto is not told.
    VetoUntold {
        metric: Metric,
    },
    /// Warming up for longer than anything takes.
    NeverReady {
        instances: u32,
        after_seconds: u32,
    },
    UnauthenticatedEvidence,
    ClaimedGroup,
    AtMinimum {
        minimum: u32,
        /// The window whose floor it is; absent for the group's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<String>,
    },
    AtMaximum {
        maximum: u32,
        wanted: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<String>,
    },
    LaunchCapped {
        wanted: u32,
        allowed: u32,
    },
    Protected {
        instances: u32,
    },
    Warming {
        instances: u32,
    },
    /// A change of ours is under way.
    Changing,
    /// More could go than may go at once.
    Paced {
        allowed: u32,
    },
    BudgetSpent {
        budget: Budget,
    },
    /// Money is limited, and what these types cost is not known.
    Unpriced {
        types: Vec<String>,
    },
    /// More could go by their number, but these carry too much.
    CarriesTooMuch {
        instances: u32,
    },
    /// These stay where they are, outside or inside: the provider would launch and end others to even its zones out.
    UnevenZones {
        instances: u32,
    },
    /// A change costs more than this one would save within the shadow window.
    SmallChange {
        saves: f64,
        costs: f64,
    },
    /// Shadows that do not agree to be terminated.
    ShadowDisagrees {
        shadows: u32,
        why: Disagreement,
    },
}

/// What is spent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case", rename_all_fields = "snake_case")]
pub enum Budget {
    Launches { per_hour: u32 },
    Money { per_hour: f64 },
    Shadows { at_most: u32 },
}

/// Why a shadow is not terminated by its own evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case", rename_all_fields = "snake_case")]
pub enum Disagreement {
    Silent,
    /// Somebody talked to it within the quiet time.
    StillTalks {
        wanted_seconds: u32,
    },
    Protected,
    /// Its provider has it: it leaves its group by nobody's call.
    Ending,
    /// The forecast, or present demand, may need it.
    MayBeNeeded,
}

impl Hold {
    /// Whether it doubts the evidence, or a person says stop. The others say that we may not act, or how fast: there another one acts.
    pub const fn doubts_evidence(&self) -> bool {
        match self {
            Self::NoEvidence { .. }
            | Self::StaleSamples { .. }
            | Self::Incomplete { .. }
            | Self::Saturated { .. }
            | Self::StaleInventory { .. }
            | Self::PartialInventory
            | Self::NoForecast { .. }
            | Self::LowTrust { .. }
            | Self::ShortHorizon { .. }
            | Self::WarmUp { .. }
            | Self::Surprise { .. }
            | Self::Deploying
            | Self::ClockJump
            | Self::CommonCause
            | Self::Hung { .. }
            | Self::Stolen { .. }
            | Self::OutOfCredits { .. }
            | Self::MemoryFull { .. }
            | Self::Vetoed { .. }
            | Self::VetoUntold { .. }
            | Self::NeverReady { .. }
            | Self::UnauthenticatedEvidence
            | Self::Paused => true,
            Self::BaselineInDoubt { .. }
            | Self::WithoutBaseline { .. }
            | Self::NotOwner
            | Self::ForeignScaleIn
            | Self::Untold
            | Self::LaunchesFailing
            | Self::BackOff { .. }
            | Self::Unpriced { .. }
            | Self::CarriesTooMuch { .. }
            | Self::UnevenZones { .. }
            | Self::ClaimedGroup
            | Self::AtMinimum { .. }
            | Self::AtMaximum { .. }
            | Self::LaunchCapped { .. }
            | Self::Protected { .. }
            | Self::Warming { .. }
            | Self::Changing
            | Self::Paced { .. }
            | Self::BudgetSpent { .. }
            | Self::SmallChange { .. }
            | Self::ShadowDisagrees { .. } => false,
        }
    }

    /// The bare word, for lists, labels and metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NoEvidence { .. } => "NoEvidence",
            Self::StaleSamples { .. } => "StaleSamples",
            Self::Incomplete { .. } => "Incomplete",
            Self::Saturated { .. } => "Saturated",
            Self::StaleInventory { .. } => "StaleInventory",
            Self::PartialInventory => "PartialInventory",
            Self::NoForecast { .. } => "NoForecast",
            Self::LowTrust { .. } => "LowTrust",
            Self::ShortHorizon { .. } => "ShortHorizon",
            Self::WarmUp { .. } => "WarmUp",
            Self::Surprise { .. } => "Surprise",
            Self::BaselineInDoubt { .. } => "BaselineInDoubt",
            Self::WithoutBaseline { .. } => "WithoutBaseline",
            Self::Paused => "Paused",
            Self::NotOwner => "NotOwner",
            Self::Deploying => "Deploying",
            Self::ForeignScaleIn => "ForeignScaleIn",
            Self::Untold => "Untold",
            Self::ClockJump => "ClockJump",
            Self::CommonCause => "CommonCause",
            Self::LaunchesFailing => "LaunchesFailing",
            Self::BackOff { .. } => "BackOff",
            Self::Hung { .. } => "Hung",
            Self::Stolen { .. } => "Stolen",
            Self::OutOfCredits { .. } => "OutOfCredits",
            Self::MemoryFull { .. } => "MemoryFull",
            Self::Vetoed { .. } => "Vetoed",
            Self::VetoUntold { .. } => "VetoUntold",
            Self::NeverReady { .. } => "NeverReady",
            Self::UnauthenticatedEvidence => "UnauthenticatedEvidence",
            Self::ClaimedGroup => "ClaimedGroup",
            Self::AtMinimum { .. } => "AtMinimum",
            Self::AtMaximum { .. } => "AtMaximum",
            Self::LaunchCapped { .. } => "LaunchCapped",
            Self::Protected { .. } => "Protected",
            Self::Warming { .. } => "Warming",
            Self::Changing => "Changing",
            Self::Paced { .. } => "Paced",
            Self::BudgetSpent { .. } => "BudgetSpent",
            Self::Unpriced { .. } => "Unpriced",
            Self::CarriesTooMuch { .. } => "CarriesTooMuch",
            Self::UnevenZones { .. } => "UnevenZones",
            Self::SmallChange { .. } => "SmallChange",
            Self::ShadowDisagrees { .. } => "ShadowDisagrees",
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEvidence { metric } if metric.is_custom() => {
                write!(f, "no fresh value of {metric} was sent; absent is not zero")
            }
            Self::NoEvidence { metric } => write!(f, "no serving instance reports {metric}; absent is not zero"),
            Self::StaleSamples { metric, age_seconds, fresh_seconds } => {
                write!(f, "the newest {metric} is {age_seconds} s old (fresh is {fresh_seconds} s)")
            }
            Self::Incomplete { metric, reporting, serving } => {
                write!(f, "only {reporting} of {serving} serving instances report {metric}: demand is a lower bound")
            }
            Self::Saturated { metric } => write!(f, "an instance is saturated in {metric}: it may want more"),
            Self::StaleInventory { age_seconds } => write!(f, "the inventory is {age_seconds} s old"),
            Self::PartialInventory => f.write_str("the inventory is partial: a source or a page is missing"),
            Self::NoForecast { metric } => write!(f, "no forecast of {metric} yet"),
            Self::LowTrust { metric, trust, minimum } => {
                write!(f, "trust in the {metric} forecast is {trust:.2}, below {minimum:.2}")
            }
            Self::ShortHorizon { metric } => write!(f, "the {metric} forecast ends before the shadow window does"),
            Self::WarmUp { seconds_left } => {
                write!(f, "started moments ago: no scale-in for another {seconds_left} s")
            }
            Self::Surprise { metric, demand, expected_at_least } => write!(
                f,
                "{metric} demand {demand:.0} is below what the forecast thought possible ({expected_at_least:.0}): \
                 low load, or something broke?"
            ),
            Self::BaselineInDoubt { metric, doubt } => {
                let why = match doubt {
                    Doubt::TooFewShadows => "too few shadows",
                    Doubt::Disagreement => "shadows and regression disagree",
                    Doubt::NoServing => "nothing serving reports",
                };
                write!(f, "the idle {metric} baseline is taken as zero: {why}")
            }
            Self::WithoutBaseline { metric, need } => {
                write!(f, "without the idle {metric} baseline {need} instances are needed: no further down")
            }
            Self::Paused => f.write_str("paused by an operator"),
            Self::NotOwner => f.write_str("another installation owns this group"),
            Self::Deploying => f.write_str("a deploy or instance refresh is running"),
            Self::ForeignScaleIn => f.write_str("the provider scales this group in as well, by a policy or a schedule"),
            Self::Untold => f.write_str(
                "the provider does not say whether it deploys, scales in by itself, or what CPU credits are left",
            ),
            Self::ClockJump => f.write_str("the clock jumped"),
            Self::CommonCause => f.write_str("too many groups want to scale in at once: a common cause?"),
            Self::LaunchesFailing => f.write_str("launches fail: nothing is taken away meanwhile"),
            Self::BackOff { seconds_left, .. } => {
                write!(f, "launches failed: the next is tried in {seconds_left} s")
            }
            Self::Hung { cpu, network } => write!(
                f,
                "CPU is at {:.0} % of what it was and the network at {:.0} %: does something behind it hang?",
                100.0 * cpu,
                100.0 * network
            ),
            Self::Stolen { percent } => {
                write!(f, "the hosts give {percent:.0} % of the processors' time to others (steal)")
            }
            Self::OutOfCredits { instances } => {
                write!(f, "{instances} instance(s) run out of CPU credits within the hour: they will carry less")
            }
            Self::MemoryFull { percent } => {
                write!(f, "memory is {percent:.0} % full on those that serve: fewer may not have enough")
            }
            Self::Vetoed { metric, value, limit } => {
                write!(f, "{metric} is, or was within ten minutes, at {value}: nobody goes while it is above {limit}")
            }
            Self::VetoUntold { metric } => {
                write!(f, "no fresh value of {metric} was sent, and nobody goes unless it is known to be low")
            }
            Self::NeverReady { instances, after_seconds } => write!(
                f,
                "{instances} instance(s) are not ready after {after_seconds} s and are not counted on: look at them"
            ),
            Self::UnauthenticatedEvidence => f.write_str("agents are not authenticated"),
            Self::ClaimedGroup => f.write_str("known from its agents alone, no inventory source has it: observed only"),
            Self::AtMinimum { minimum, window } => write!(f, "at the minimum of {minimum}{}", of_window(window)),
            Self::AtMaximum { maximum, wanted, window } => {
                write!(f, "{wanted} wanted, but the maximum is {maximum}{}", of_window(window))
            }
            Self::LaunchCapped { wanted, allowed } => {
                write!(f, "{wanted} more wanted, {allowed} allowed in one plan")
            }
            Self::Protected { instances } => write!(f, "{instances} instance(s) are protected from scale-in"),
            Self::Warming { instances } => write!(f, "{instances} instance(s) are still warming up"),
            Self::Changing => f.write_str("a change is under way: what it does is not to be seen yet"),
            Self::Paced { allowed } => write!(f, "no more than {allowed} may go now: machines go slowly"),
            Self::BudgetSpent { budget: Budget::Launches { per_hour } } => {
                write!(f, "{per_hour} launches an hour are allowed and were made")
            }
            Self::BudgetSpent { budget: Budget::Money { per_hour } } => {
                write!(f, "the group may cost {per_hour:.2} an hour, shadows included")
            }
            Self::BudgetSpent { budget: Budget::Shadows { at_most } } => {
                write!(f, "{at_most} may stand in shadow at once, and do")
            }
            Self::Unpriced { types } => write!(
                f,
                "spend_per_hour limits the group, and shadow.prices_per_hour has no price of {}: nothing is launched",
                types.join(", ")
            ),
            Self::CarriesTooMuch { instances } => {
                write!(f, "{instances} more could go by their number, but those who stay would carry too little")
            }
            Self::UnevenZones { instances } => write!(
                f,
                "{instances} instance(s) stay where they are: zones would become uneven, and the provider would launch and end \
                 others to even them out"
            ),
            Self::SmallChange { saves, costs } => {
                write!(f, "it would save {saves:.3} within the shadow window, and a change costs {costs:.3}")
            }
            Self::ShadowDisagrees { shadows, why } => match why {
                Disagreement::Silent => write!(f, "{shadows} shadow(s) are silent: a silent shadow never agrees"),
                Disagreement::StillTalks { wanted_seconds } => {
                    write!(f, "somebody talked to {shadows} shadow(s) within the last {wanted_seconds} s")
                }
                Disagreement::Protected => write!(f, "{shadows} shadow(s) are protected from termination"),
                Disagreement::Ending => {
                    write!(
                        f,
                        "{shadows} shadow(s) are held or retained by the provider, which ends them or has them ended"
                    )
                }
                Disagreement::MayBeNeeded => write!(f, "{shadows} shadow(s) may be needed within the shadow window"),
            },
        }
    }
}

fn of_window(window: &Option<String>) -> String {
    window.as_ref().map_or_else(String::new, |name| format!(", by the window {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each.
    fn every() -> Vec<Hold> {
        let metric = Metric::Cpu;
        vec![
            Hold::NoEvidence { metric },
            Hold::StaleSamples { metric, age_seconds: 300, fresh_seconds: 120 },
            Hold::Incomplete { metric, reporting: 5, serving: 10 },
            Hold::Saturated { metric },
            Hold::StaleInventory { age_seconds: 300 },
            Hold::PartialInventory,
            Hold::NoForecast { metric },
            Hold::LowTrust { metric, trust: 0.1, minimum: 0.2 },
            Hold::ShortHorizon { metric },
            Hold::WarmUp { seconds_left: 60 },
            Hold::Surprise { metric, demand: 10.0, expected_at_least: 50.0 },
            Hold::BaselineInDoubt { metric, doubt: Doubt::Disagreement },
            Hold::WithoutBaseline { metric, need: 5 },
            Hold::Paused,
            Hold::NotOwner,
            Hold::Deploying,
            Hold::ForeignScaleIn,
            Hold::Untold,
            Hold::ClockJump,
            Hold::CommonCause,
            Hold::LaunchesFailing,
            Hold::BackOff { next_try: 0, seconds_left: 60 },
            Hold::Hung { cpu: 0.1, network: 1.0 },
            Hold::Stolen { percent: 20.0 },
            Hold::OutOfCredits { instances: 1 },
            Hold::MemoryFull { percent: 95.0 },
            Hold::Vetoed { metric, value: 5.0, limit: 1.0 },
            Hold::VetoUntold { metric },
            Hold::NeverReady { instances: 1, after_seconds: 900 },
            Hold::UnauthenticatedEvidence,
            Hold::ClaimedGroup,
            Hold::AtMinimum { minimum: 2, window: None },
            Hold::AtMaximum { maximum: 20, wanted: 25, window: None },
            Hold::LaunchCapped { wanted: 9, allowed: 4 },
            Hold::Protected { instances: 1 },
            Hold::Warming { instances: 1 },
            Hold::Changing,
            Hold::Paced { allowed: 1 },
            Hold::BudgetSpent { budget: Budget::Shadows { at_most: 3 } },
            Hold::Unpriced { types: Vec::new() },
            Hold::CarriesTooMuch { instances: 1 },
            Hold::UnevenZones { instances: 1 },
            Hold::SmallChange { saves: 0.1, costs: 0.2 },
            Hold::ShadowDisagrees { shadows: 1, why: Disagreement::Silent },
        ]
    }

    #[test]
    fn what_doubts_the_evidence_stops_an_older_step_and_what_only_limits_us_does_not() {
        let (doubts, limits): (Vec<Hold>, Vec<Hold>) = every().into_iter().partition(Hold::doubts_evidence);
        let words = |holds: &[Hold]| holds.iter().map(Hold::word).collect::<Vec<_>>();
        let said = [
            "NoEvidence",
            "StaleSamples",
            "Incomplete",
            "Saturated",
            "StaleInventory",
            "PartialInventory",
            "NoForecast",
            "LowTrust",
            "ShortHorizon",
            "WarmUp",
            "Surprise",
            "Paused",
            "Deploying",
            "ClockJump",
            "CommonCause",
            "Hung",
            "Stolen",
            "OutOfCredits",
            "MemoryFull",
            "Vetoed",
            "VetoUntold",
            "NeverReady",
            "UnauthenticatedEvidence",
        ];
        assert_eq!(words(&doubts), said);
        let said = [
            "BaselineInDoubt",
            "WithoutBaseline",
            "NotOwner",
            "ForeignScaleIn",
            "Untold",
            "LaunchesFailing",
            "BackOff",
            "ClaimedGroup",
            "AtMinimum",
            "AtMaximum",
            "LaunchCapped",
            "Protected",
            "Warming",
            "Changing",
            "Paced",
            "BudgetSpent",
            "Unpriced",
            "CarriesTooMuch",
            "UnevenZones",
            "SmallChange",
            "ShadowDisagrees",
        ];
        assert_eq!(words(&limits), said);
    }
}
