//! What the product did to the simulated group, in words: every line comes from an intent that was
//! settled, or from a lease that was changed, and carries the plan's own reason.

use std::collections::{BTreeSet, VecDeque};

use planner::plan::{Plan, Step};

use crate::act::{Intent, Planned, Settled};
use crate::fleet::{Action, Token};

/// Lines kept for the view; it reads them four times a second.
const KEPT: usize = 400;

/// What is refused for the same reason in every round is told once in so long, simulated seconds.
const TOLD_AGAIN: i64 = 600;

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Launched although present demand was met: the forecast asked for it.
    LaunchAhead,
    Launch,
    Detach,
    Reattach,
    Terminate,
    /// Leases extended or ended.
    Lease,
    Refused,
}

/// One line of the log.
#[derive(Debug, Clone)]
pub struct Happening {
    /// Counts from 1.
    pub number: usize,
    /// Simulated time, seconds since the epoch.
    pub at: i64,
    pub kind: Kind,
    pub words: String,
}

/// The log, newest last.
#[derive(Debug, Clone, Default)]
pub struct Happenings {
    pub lines: VecDeque<Happening>,
    pub count: usize,
    /// The first of each kind, for the summary.
    pub firsts: Vec<Happening>,
    known: BTreeSet<Token>,
}

impl Happenings {
    /// Takes in what the journal says of a plan that was just carried out. `expected` is the need that
    /// the forecast of an hour ago promised not to be exceeded.
    pub fn carried_out<'a>(
        &mut self,
        planned: &Planned,
        journal: impl Iterator<Item = (&'a Intent, Option<&'a Settled>)>,
        expected: Option<u32>,
    ) {
        let news: Vec<(Intent, Settled)> = journal
            .filter_map(|(intent, settled)| Some((intent, settled?)))
            .filter(|(intent, _)| !self.known.contains(&intent.token))
            .map(|(intent, settled)| (intent.clone(), settled.clone()))
            .collect();
        for (intent, settled) in news {
            self.known.insert(intent.token.clone());
            self.settled(&planned.plan, &intent, &settled, expected);
        }
        for step in planned.plan.steps.iter().filter(|step| step.permitted) {
            let done = match &step.step {
                Step::Extend { .. } => "keep in shadow",
                Step::Release { .. } => "release from shadow",
                Step::Adopt { .. } => "adopt into shadow",
                _ => continue,
            };
            let instances = step.step.instances().len();
            self.say(planned.plan.made_at, Kind::Lease, format!("{done} {instances}: {}", step.reason));
        }
    }

    fn settled(&mut self, plan: &Plan, intent: &Intent, settled: &Settled, expected: Option<u32>) {
        let step = usize::try_from(intent.step).ok().and_then(|step| plan.steps.get(step));
        let reason = step.filter(|_| intent.generation == plan.generation).map(|step| step.reason.as_str());
        let reason = reason.unwrap_or("of an earlier plan");
        let ahead = plan.need_now.is_some_and(|need| need <= plan.serving);
        let (kind, done, how) = match &intent.action {
            Action::Launch { .. } if ahead => (Kind::LaunchAhead, "launch", " ahead of load"),
            Action::Launch { .. } => (Kind::Launch, "launch", ""),
            Action::Attach { .. } | Action::ExitStandby { .. } => (Kind::Reattach, "re-attach", " from shadow"),
            Action::Detach { .. } | Action::EnterStandby { .. } => (Kind::Detach, "detach", " into shadow"),
            // A standby instance leaves its group on its way to its end.
            Action::Leave { .. } => (Kind::Lease, "leave", " the group"),
            Action::Terminate { .. } => (Kind::Terminate, "terminate", " from shadow"),
            // Only where the provider scales in as well: not in the demo's cloud.
            Action::Floor { .. } => return,
        };
        match settled {
            Settled::Done { instances } => {
                let instances = instances.len();
                let wrong = match (kind, expected, plan.need_now) {
                    (Kind::Launch | Kind::Reattach, Some(expected), Some(now)) if now > expected => {
                        format!("; the forecast of an hour ago was wrong: at most {expected}")
                    }
                    _ => String::new(),
                };
                self.say(plan.made_at, kind, format!("{done} {instances}{how}: {reason}{wrong}"));
            }
            Settled::Refused { why, .. } => {
                let why = why.join("; ");
                let mut lately = self.lines.iter().rev().take_while(|line| plan.made_at - line.at < TOLD_AGAIN);
                if !lately.any(|line| line.kind == Kind::Refused && line.words.ends_with(&why)) {
                    self.say(plan.made_at, Kind::Refused, format!("{done}{how} was refused: {why}"));
                }
            }
        }
    }

    fn say(&mut self, at: i64, kind: Kind, words: String) {
        self.count += 1;
        let line = Happening { number: self.count, at, kind, words };
        if self.firsts.iter().all(|first| first.kind != kind) {
            self.firsts.push(line.clone());
        }
        self.lines.push_back(line);
        if self.lines.len() > KEPT {
            self.lines.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use foreshadow_proto::convert::Id;

    use super::*;
    use crate::act::verdicts::tests::planned;
    use crate::store::StoreId;

    #[test]
    fn what_is_refused_for_the_same_reason_is_told_once_in_ten_minutes() {
        let mut happenings = Happenings::default();
        let mut refused = |at: i64, why: &str| {
            let mut planned = planned();
            (planned.plan.made_at, planned.plan.generation) = (at, u64::try_from(at).expect("a time"));
            let group = Id::new("group", "web").expect("an id");
            let intent = Intent {
                token: Token::new(StoreId([1; 16]), &group, planned.plan.generation, 0),
                group,
                generation: planned.plan.generation,
                step: 0,
                epoch: 1,
                action: Action::launch(1, 3),
                written_at: at,
                valid_until: at + 60,
            };
            let settled = Settled::Refused { why: vec![why.to_owned()], by_cloud: false, in_doubt: false };
            happenings.carried_out(&planned, [(&intent, Some(&settled))].into_iter(), None);
            happenings.lines.iter().filter(|line| line.kind == Kind::Refused).count()
        };
        assert_eq!(refused(1_000, "claimed"), 1);
        assert_eq!(refused(1_060, "claimed"), 1);
        assert_eq!(refused(1_120, "throttled"), 2, "another reason");
        assert_eq!(refused(1_180, "claimed"), 2);
        assert_eq!(refused(1_600, "claimed"), 3, "still");
    }
}
