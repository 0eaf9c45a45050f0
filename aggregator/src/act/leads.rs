//! Lead times as they were measured: launch call → serving, and re-attach call → serving.
//!
//! The planner looks ahead by a high quantile of them, so that nine launches in ten are ready in time.
//! Until three were measured, what the policy says holds.

use std::collections::{BTreeMap, VecDeque};

use foreshadow_proto::convert::Id;

use crate::fleet::Action;
use serde::Serialize;

/// The latest that count.
const KEPT: usize = 50;
/// Fewer say nothing.
const LEAST: usize = 3;
/// No lead is shorter or longer than these, seconds. A measurement beyond them is a mistake, but for one: who is attached may
/// serve at once, and that counts as the shortest.
const BOUNDS: (u32, u32) = (5, 7_200);
/// The quantile that is looked ahead by.
const QUANTILE: f64 = 0.9;

/// Which of the two leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Launch,
    Reattach,
}

impl Kind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Reattach => "reattach",
        }
    }

    /// The lead that a change begins.
    pub const fn begun_by(action: &Action) -> Option<Self> {
        match action {
            Action::Launch { .. } => Some(Self::Launch),
            _ if action.brings_back() => Some(Self::Reattach),
            _ => None,
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Launch, Self::Reattach].into_iter().find(|kind| kind.word() == word)
    }
}

/// A lead time with its evidence.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Lead {
    /// What is looked ahead by, seconds.
    pub seconds: u32,
    /// How many were measured; below three `seconds` is what the policy says.
    pub measured: usize,
    /// Shortest, median and longest of them, seconds.
    pub spread: Option<(u32, u32, u32)>,
}

/// Measured leads of every group.
#[derive(Debug, Clone, Default)]
pub struct Leads {
    measured: BTreeMap<(Id, Kind), VecDeque<u32>>,
    /// Calls whose instances do not serve yet: when the call went out.
    pending: BTreeMap<Id, (Kind, i64)>,
}

impl Leads {
    /// A call went out for these instances.
    pub fn called(&mut self, instances: &[Id], kind: Kind, at: i64) {
        self.pending.extend(instances.iter().map(|instance| (instance.clone(), (kind, at))));
        self.pending.retain(|_, (_, called)| at - *called <= i64::from(BOUNDS.1));
    }

    /// An instance serves; the lead that this ended, if its call was ours.
    pub fn serves(&mut self, group: &Id, instance: &Id, at: i64) -> Option<(Kind, u32)> {
        let (kind, called) = self.pending.remove(instance)?;
        let least = if kind == Kind::Reattach { 0 } else { BOUNDS.0 };
        let seconds = u32::try_from(at - called).ok().filter(|seconds| (least..=BOUNDS.1).contains(seconds))?;
        let seconds = seconds.max(BOUNDS.0);
        self.measured(group, kind, seconds);
        Some((kind, seconds))
    }

    /// What a restart leaves: what was measured. Whom calls are to bring, the journal says.
    pub fn reopened(&self) -> Self {
        Self { measured: self.measured.clone(), pending: BTreeMap::new() }
    }

    /// Takes in one that was measured before.
    pub fn measured(&mut self, group: &Id, kind: Kind, seconds: u32) {
        let leads = self.measured.entry((group.clone(), kind)).or_default();
        leads.push_back(seconds.clamp(BOUNDS.0, BOUNDS.1));
        if leads.len() > KEPT {
            leads.pop_front();
        }
    }

    /// What to look ahead by; `otherwise` until enough were measured.
    pub fn lead(&self, group: &Id, kind: Kind, otherwise: u32) -> Lead {
        let mut sorted: Vec<u32> = self.measured.get(&(group.clone(), kind)).into_iter().flatten().copied().collect();
        sorted.sort_unstable();
        let at = |quantile: f64| {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "an index below 50"
            )]
            let index = (quantile * sorted.len() as f64).ceil() as usize;
            sorted.get(index.max(1) - 1).copied()
        };
        let spread = at(0.0).zip(at(0.5)).zip(at(1.0)).map(|((least, median), most)| (least, median, most));
        let seconds = at(QUANTILE).filter(|_| sorted.len() >= LEAST).unwrap_or(otherwise);
        Lead { seconds, measured: sorted.len(), spread }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> Id {
        Id::new("id", name).expect("an id")
    }

    #[test]
    fn three_measurements_replace_what_was_typed_in() {
        let (mut leads, web) = (Leads::default(), id("web"));
        for (number, seconds) in [240, 180].into_iter().enumerate() {
            let instance = id(&format!("i-{number}"));
            leads.called(std::slice::from_ref(&instance), Kind::Launch, 1_000);
            assert_eq!(leads.serves(&web, &instance, 1_000 + seconds), Some((Kind::Launch, seconds as u32)));
        }
        assert_eq!(leads.lead(&web, Kind::Launch, 300).seconds, 300, "two are too few");
        leads.measured(&web, Kind::Launch, 200);
        let lead = leads.lead(&web, Kind::Launch, 300);
        assert_eq!((lead.seconds, lead.measured, lead.spread), (240, 3, Some((180, 200, 240))));
        assert_eq!(leads.lead(&web, Kind::Reattach, 60).seconds, 60, "the other lead is its own");
        assert_eq!(leads.lead(&id("api"), Kind::Launch, 300).seconds, 300);
    }

    #[test]
    fn what_cannot_be_is_not_believed() {
        let (mut leads, web) = (Leads::default(), id("web"));
        assert_eq!(leads.serves(&web, &id("i-foreign"), 1_000), None, "not ours");
        for (at, name) in [(1_001, "i-fast"), (1_000 + 7_201, "i-slow"), (900, "i-before")] {
            leads.called(&[id(name)], Kind::Launch, 1_000);
            assert_eq!(leads.serves(&web, &id(name), at), None, "{name}");
        }
        assert_eq!(leads.lead(&web, Kind::Launch, 300).measured, 0);
        leads.called(&[id("i-back"), id("i-earlier")], Kind::Reattach, 1_000);
        assert_eq!(leads.serves(&web, &id("i-back"), 1_002), Some((Kind::Reattach, BOUNDS.0)), "at once, and ours");
        assert_eq!(leads.serves(&web, &id("i-earlier"), 999), None);
        (0..100).for_each(|_| leads.measured(&web, Kind::Launch, 100));
        assert_eq!(leads.lead(&web, Kind::Launch, 300).measured, KEPT);
    }
}
