//! A cloud behind the user's own program or server: the same questions, carried either way.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use foreshadow_proto::convert::Id;

use super::wire::{self, Question};
use super::{Action, Called, Fleet, FleetError, Found, Inventory, Outside, Reach, Tags, Token};
use crate::clock::Clock;

/// What carrying a question came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Carried {
    Answer(Vec<u8>),
    /// Not done: later.
    Throttled,
    /// Not done, and why.
    Refused(String),
    /// Nobody knows, and what was seen of it.
    Unknown(String),
}

/// Carries a question and brings the answer, within a time limit.
#[async_trait]
pub(super) trait Carrier: fmt::Debug + Send + Sync + 'static {
    async fn carry(&self, question: Question) -> Carried;
}

/// A source that asks through a carrier.
#[derive(Debug)]
pub(super) struct Remote<C> {
    pub carrier: C,
    pub name: &'static str,
    pub groups: Vec<String>,
    pub reach: Reach,
    pub clock: Arc<dyn Clock>,
}

impl<C: Carrier> Remote<C> {
    async fn ask<T>(
        &self,
        question: Question,
        read: impl FnOnce(&[u8]) -> Result<T, String> + Send,
    ) -> Result<T, FleetError> {
        let source_name = self.name;
        match self.carrier.carry(question).await {
            Carried::Answer(answer) => read(&answer).map_err(|problem| FleetError::Invalid { source_name, problem }),
            Carried::Throttled => {
                Err(FleetError::Unreachable { source_name, problem: "asks to be asked later".to_owned() })
            }
            Carried::Refused(problem) => Err(FleetError::Invalid { source_name, problem }),
            Carried::Unknown(problem) => Err(FleetError::Unreachable { source_name, problem }),
        }
    }

    /// May act at all, and on this group.
    fn may_act(&self, group: Option<&Id>) -> Result<(), FleetError> {
        if self.reach == Reach::None {
            return Err(self.cannot_act());
        }
        match group {
            Some(group) if !self.groups.iter().any(|name| name == group.as_str()) => {
                let problem = format!("{group} is not in inventory.{}.groups", self.name);
                Err(FleetError::Invalid { source_name: self.name, problem })
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl<C: Carrier> Fleet for Remote<C> {
    async fn describe(&self) -> Result<Inventory, FleetError> {
        let taken = self.clock.wall_micros();
        self.ask(wire::ask_describe(&self.groups), |answer| wire::read_inventory(answer, &self.groups, taken)).await
    }

    async fn describe_some(&self, groups: &[Id]) -> Result<Inventory, FleetError> {
        let taken = self.clock.wall_micros();
        let ours = self.groups.iter().filter(|name| groups.iter().any(|group| group.as_str() == *name));
        let ours: Vec<String> = ours.cloned().collect();
        if ours.is_empty() {
            return Ok(Inventory { taken_micros: taken, complete: true, ..Inventory::default() });
        }
        self.ask(wire::ask_describe(&ours), |answer| wire::read_inventory(answer, &ours, taken)).await
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn reach(&self) -> Reach {
        self.reach
    }

    async fn outside(&self, group: &Id, instances: &[Id]) -> Result<Vec<Outside>, FleetError> {
        self.may_act(None)?;
        if instances.is_empty() {
            return Ok(Vec::new());
        }
        self.ask(wire::ask_outside(group, instances), |answer| wire::read_standing(answer, instances)).await
    }

    async fn call(&self, group: &Id, action: &Action, token: &Token) -> Called {
        if let Err(error) = self.may_act(Some(group)) {
            return Called::Refused { why: error.to_string() };
        }
        if action.is_standby() {
            let why = format!("{} knows no standby: set shadow_by = \"detach\" for {group}", self.name);
            return Called::Refused { why };
        }
        if action.instances().is_empty() && !matches!(action, Action::Launch { count: 1.., .. } | Action::Floor { .. })
        {
            return Called::Done { instances: Vec::new() };
        }
        match self.carrier.carry(wire::ask_change(group, action, token)).await {
            Carried::Answer(answer) => wire::read_called(&answer, action),
            Carried::Throttled => Called::Throttled,
            Carried::Refused(why) => Called::Refused { why: format!("{}: {why}", self.name) },
            Carried::Unknown(problem) => {
                tracing::warn!(source = self.name, %group, action = action.word(), problem, "what became of it is not known");
                Called::Unknown
            }
        }
    }

    async fn outcome(&self, group: &Id, action: &Action, token: &Token) -> Found {
        if self.may_act(Some(group)).is_err() {
            return Found::NotYet;
        }
        match self.carrier.carry(wire::ask_outcome(group, action, token)).await {
            Carried::Answer(answer) => wire::read_found(&answer, action),
            _ => Found::NotYet,
        }
    }

    async fn tag(&self, instances: &[Id], tags: &Tags) -> Result<(), FleetError> {
        self.may_act(None)?;
        if instances.is_empty() || tags.is_empty() {
            return Ok(());
        }
        self.ask(wire::ask_tag(instances, tags), wire::read_tagged).await
    }

    async fn tag_group(&self, group: &Id, tags: &Tags) -> Result<(), FleetError> {
        self.may_act(Some(group))?;
        self.ask(wire::ask_tag_group(group, tags), wire::read_tagged).await
    }

    async fn tagged(&self, tag: &str) -> Result<Vec<Outside>, FleetError> {
        self.may_act(None)?;
        self.ask(wire::ask_tagged(tag), |answer| wire::read_standing(answer, &[])).await
    }
}

/// The first words of something from outside, on one line.
pub(super) fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(|character| !character.is_control()).take(300).collect()
}
