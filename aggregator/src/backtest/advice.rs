//! A risk that somebody is ready to take, and the cheapest settings that keep within it.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::compare::{Comparison, Kind, Outcome};
use super::yardstick::Score;

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    MinutesAboveTarget,
    MinutesAbove90,
    Unmet,
}

impl Measure {
    const ALL: [(Self, &'static str); 3] = [
        (Self::MinutesAboveTarget, "minutes_above_target"),
        (Self::MinutesAbove90, "minutes_above_90"),
        (Self::Unmet, "unmet"),
    ];

    /// The measure of a score, %.
    pub const fn of(self, score: &Score) -> f64 {
        match self {
            Self::MinutesAboveTarget => score.above_target,
            Self::MinutesAbove90 => score.above_90,
            Self::Unmet => score.unmet,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::MinutesAboveTarget => "of minutes above target",
            Self::MinutesAbove90 => "of minutes above 90 %",
            Self::Unmet => "of demand unmet",
        }
    }
}

/// At most so much of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Risk {
    pub measure: Measure,
    /// %.
    pub at_most: f64,
}

impl FromStr for Risk {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Measure::ALL.map(|(_, name)| name).join(", ");
        let (name, value) = text.split_once('=').ok_or_else(|| format!("NAME=VALUE%, with a name of {}", names()))?;
        let found = Measure::ALL.iter().find(|(_, known)| *known == name);
        let (measure, _) = found.ok_or_else(|| format!("{name:?} is no risk; there are {}", names()))?;
        let at_most = value.trim_end_matches('%').trim().parse::<f64>().ok();
        let at_most = at_most.filter(|value| (0.0..=100.0).contains(value));
        Ok(Self {
            measure: *measure,
            at_most: at_most.ok_or_else(|| format!("{value:?} is not a share from 0% to 100%"))?,
        })
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} % {}", super::svg::number(self.at_most), self.measure.words())
    }
}

/// What to set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    pub risk: Risk,
    /// The cheapest setting of Foreshadow within the risk; absent when none is.
    pub setting: Option<Chosen>,
    /// The cheapest reactive target within it.
    pub reactive: Option<Chosen>,
    /// In a sentence or two.
    pub words: String,
}

/// One setting with what it came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chosen {
    pub name: String,
    pub confidence: Option<f64>,
    /// A share.
    pub target: f64,
    /// %.
    pub risk: f64,
    pub cost: f64,
    pub money: f64,
}

/// The cheapest within the risk.
pub fn advise(comparison: &Comparison, risk: Risk) -> Advice {
    let cheapest = |kind| {
        let within = comparison.of(kind).filter(|outcome| risk.measure.of(&outcome.score) <= risk.at_most);
        within.min_by(|a, b| a.cost.total_cmp(&b.cost)).map(|outcome| chosen(outcome, risk))
    };
    let (setting, reactive) = (cheapest(Kind::Foreshadow), cheapest(Kind::Reactive));
    let words = words(comparison, risk, setting.as_ref(), reactive.as_ref());
    Advice { risk, setting, reactive, words }
}

fn chosen(outcome: &Outcome, risk: Risk) -> Chosen {
    Chosen {
        name: outcome.name.clone(),
        confidence: outcome.confidence,
        target: outcome.target,
        risk: risk.measure.of(&outcome.score),
        cost: outcome.cost,
        money: outcome.money,
    }
}

fn words(comparison: &Comparison, risk: Risk, setting: Option<&Chosen>, reactive: Option<&Chosen>) -> String {
    let Some(chosen) = setting else {
        let least = comparison
            .of(Kind::Foreshadow)
            .min_by(|a, b| risk.measure.of(&a.score).total_cmp(&risk.measure.of(&b.score)))
            .map_or_else(String::new, |outcome| {
                format!(" The least was {:.2} %, with {}.", risk.measure.of(&outcome.score), outcome.name)
            });
        let beside =
            reactive.map_or_else(String::new, |it| format!(" {} is within it, at {:.2} × oracle.", it.name, it.cost));
        return format!(
            "No setting of Foreshadow kept to {risk} on this load.{least}{beside} Lower the target or raise the confidence."
        );
    };
    let set = format!(
        "For {risk}: confidence = {:.2} and a target of {:.0} %. On this load that was {:.2} %, at {:.2} × oracle.",
        chosen.confidence.unwrap_or_default(),
        100.0 * chosen.target,
        chosen.risk,
        chosen.cost
    );
    match reactive {
        None => format!("{set} No reactive target that was tried kept to it."),
        Some(tracking) if tracking.cost > chosen.cost => {
            let less = 100.0 * (1.0 - chosen.cost / tracking.cost);
            format!(
                "{set} That is {less:.0} % less than {}, the cheapest reactive target that kept to it.",
                tracking.name
            )
        }
        Some(tracking) => format!(
            "{set} {} kept to it for less, {:.2} × oracle: this load does not need Foreshadow.",
            tracking.name, tracking.cost
        ),
    }
}
