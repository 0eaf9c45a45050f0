//! All groups of a round together. Whether many want to scale in at once is known only when all of them were asked: until
//! then every plan that takes somebody away waits.

use std::collections::{BTreeMap, BTreeSet};

use foreshadow_proto::convert::Id;
use planner::plan::{Plan, Step};

use crate::act::Planned;
use crate::traces::Timed;

/// What each group wants, by its latest round, and the plans that wait for the end of this one.
#[derive(Debug, Default)]
pub struct Tally {
    /// By group, whether it would scale in if it were alone.
    wants_in: BTreeMap<Id, bool>,
    waiting: Vec<Made>,
}

/// A plan to be handed over.
#[derive(Debug)]
pub struct Made {
    pub group: Id,
    pub planned: Planned,
    /// It is to be written down with all its evidence.
    pub record: bool,
    /// When its parts were.
    pub timed: Timed,
}

impl Tally {
    /// Counts a group by its newest plan.
    pub fn count(&mut self, group: &Id, plan: &Plan) {
        self.wants_in.insert(group.clone(), plan.wants_in > 0);
    }

    /// Counts no others any more.
    pub fn keep(&mut self, groups: &BTreeSet<Id>) {
        self.wants_in.retain(|group, _| groups.contains(group));
    }

    /// All groups and these machines, as of their latest rounds.
    pub fn fleet(&self, machines: usize) -> checker::Fleet {
        let count = |items: usize| u32::try_from(items).unwrap_or(u32::MAX);
        checker::Fleet {
            groups: count(self.wants_in.len()),
            groups_that_want_in: count(self.wants_in.values().filter(|wants| **wants).count()),
            machines: count(machines),
            ..checker::Fleet::default()
        }
    }

    /// More groups want to scale in than can be by chance.
    pub fn is_common(&self, limits: &checker::Limits) -> bool {
        let fleet = self.fleet(0);
        fleet.groups_that_want_in > 1
            && f64::from(fleet.groups_that_want_in) > limits.common_cause_share * f64::from(fleet.groups)
    }

    /// Gives a plan back that takes nobody away; one that does waits until every group was counted.
    pub fn wait(&mut self, made: Made) -> Option<Made> {
        let takes_away = |step: &Step| match step {
            Step::Detach { .. } | Step::Terminate { .. } => true,
            Step::Floor { from, to } => to < from,
            Step::Launch { .. }
            | Step::Reattach { .. }
            | Step::Extend { .. }
            | Step::Release { .. }
            | Step::Adopt { .. } => false,
        };
        // By a plan that is made while a change is under way, that change is judged again after a restart.
        let waits = made.planned.evidence.conditions.changing
            || made.planned.plan.steps.iter().any(|step| takes_away(&step.step));
        if waits {
            self.waiting.push(made);
            return None;
        }
        Some(made)
    }

    /// The plans that waited, to be judged by what all groups want.
    pub fn counted(&mut self, machines: usize) -> Vec<Made> {
        let fleet = self.fleet(machines);
        let mut waited = std::mem::take(&mut self.waiting);
        for made in &mut waited {
            made.planned.fleet = fleet;
        }
        waited
    }
}

#[cfg(test)]
mod tests {
    use checker::Limits;
    use planner::demand::{Demand, InstanceMode};
    use planner::evidence::{Conditions, Evidence, Forecast, Instance, Inventory, MetricEvidence};
    use planner::plan::Memory;
    use planner::policy::{Metric, Mode, Policy};

    use super::*;
    use crate::act::Executor;
    use crate::fleet::Reach;
    use crate::store::StoreId;

    const NOW: i64 = 1_800_000_000;
    const GROUPS: usize = 10;

    /// Twenty serve at `utilisation`, and the forecast says that it stays so.
    fn planned(group: &Id, utilisation: f64, tally: &Tally, now: i64) -> Planned {
        let gross = 20.0 * utilisation;
        let demand = Demand { gross, weight: 20.0, serving: 20, reporting: 20, incomplete: false, saturated: false };
        let forecast = Forecast {
            start: now,
            step_seconds: 300,
            levels: vec![0.05, 0.5, 0.95],
            paths: [0.8, 0.9, 1.0].map(|level| vec![gross * level; 288]).to_vec(),
            trust: 1.0,
            ..Forecast::default()
        };
        let found = MetricEvidence { demand: Some(demand), forecast: Some(forecast), ..MetricEvidence::default() };
        let instances = (0..20).map(|number| Instance {
            id: format!("{group}-{number}"),
            instance_type: None,
            zone: None,
            mode: InstanceMode::Serving,
            since: NOW - 86_400,
            protected: false,
            shadow: None,
        });
        let evidence = Evidence {
            inventory: Inventory { complete: true, instances: instances.collect(), ..Inventory::default() },
            metrics: BTreeMap::from([(Metric::Cpu, found)]),
            conditions: Conditions {
                started_seconds_ago: 7_200,
                common_cause: tally.is_common(&Limits::default()),
                detachable: Some(2),
                ..Conditions::default()
            },
        };
        let policy = Policy { mode: Mode::Full, ..Policy::new(group.to_string()) };
        let (plan, memory) = planner::plan(now, &policy, &evidence, &Memory::default());
        let fleet = tally.fleet(20 * GROUPS);
        let (last_week, source, version) = (BTreeMap::new(), None, None);
        Planned { plan, policy, evidence, memory, last_week, fleet, source, version }
    }

    /// One round of ten groups, of which so many idle: the plans that waited, and by how many of them the checker would let
    /// somebody go.
    fn round(tally: &mut Tally, idle: usize, now: i64) -> (usize, usize) {
        let executor = Executor::new(StoreId([1; 16]), 1, Limits::default());
        for number in 0..GROUPS {
            let group = Id::new("group", &format!("web-{number}")).expect("a name");
            let planned = planned(&group, if number < idle { 20.0 } else { 59.0 }, tally, now);
            tally.count(&group, &planned.plan);
            if let Some(made) = tally.wait(Made { group, planned, record: false, timed: Timed::default() }) {
                assert_eq!(made.planned.plan.wants_in > 0, number < idle);
            }
        }
        let waited = tally.counted(20 * GROUPS);
        let allowed =
            waited.iter().filter(|made| executor.judge(&made.planned, Reach::Cloud).iter().any(|it| it.allowed));
        (waited.len(), allowed.count())
    }

    #[test]
    fn groups_that_fall_together_are_held_together_from_the_first_round_on() {
        let mut tally = Tally::default();
        // Nobody was counted before the first were planned: their plans are made, and none of them is carried out.
        let (waited, allowed) = round(&mut tally, 5, NOW);
        assert!(waited > 0 && allowed == 0, "{waited} waited, {allowed} may");
        for later in 1..20 {
            assert!(tally.is_common(&Limits::default()));
            assert_eq!(round(&mut tally, 5, NOW + 10 * later), (0, 0), "they hold, and are counted all the same");
        }
        assert_eq!(tally.fleet(0).groups_that_want_in, 5);
        // Two of ten are no common cause.
        assert_eq!(round(&mut tally, 2, NOW + 300), (0, 0), "held by the round before");
        assert_eq!(round(&mut tally, 2, NOW + 310), (2, 2));
        tally.keep(&BTreeSet::from([Id::new("group", "web-0").expect("a name")]));
        assert_eq!((tally.fleet(0).groups, tally.fleet(0).groups_that_want_in), (1, 1));
        assert!(!tally.is_common(&Limits::default()), "one alone is no common cause");
    }

    #[test]
    fn who_adds_does_not_wait() {
        let mut tally = Tally::default();
        let group = Id::new("group", "web").expect("a name");
        let mut wait = |utilisation: f64, changing: bool| {
            let mut planned = planned(&group, utilisation, &Tally::default(), NOW);
            planned.evidence.conditions.changing = changing;
            tally.wait(Made { group: group.clone(), planned, record: true, timed: Timed::default() }).is_none()
        };
        assert_eq!([wait(90.0, false), wait(20.0, false), wait(90.0, true)], [false, true, true]);
    }
}
