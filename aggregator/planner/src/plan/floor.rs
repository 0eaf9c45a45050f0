//! The floor: how low the provider's own scale-in may go.
//!
//! Where a policy of the provider scales in by present load, it takes what was launched ahead of load for idle. The floor
//! keeps as many as the step rule asks for, and goes down with the forecast, never below what the user gave. It never launches
//! (it is at most what is there), and it takes nothing away by itself: below it the provider decides, as it did without us.

use super::needs::MetricNeeds;
use super::{Direction, NotTaken, Outcome, PlannedStep, Step, count};
use crate::demand::InstanceMode;
use crate::evidence::{Evidence, Floor};
use crate::hold::Hold;
use crate::policy::{Mode, Policy};
use crate::rule;

/// It is lowered when it is this share of itself too high, and at least by this many: each change is a call.
const SLACK_SHARE: f64 = 0.1;
const SLACK_AT_LEAST: u32 = 2;

/// Moves the floor to where the forecast needs it.
pub(super) fn keep(
    now: i64,
    policy: &Policy,
    evidence: &Evidence,
    needs: &[MetricNeeds],
    standing: &[Hold],
) -> Outcome {
    let conditions = &evidence.conditions;
    let Some(floor) = conditions.floor else { return Outcome::default() };
    if !conditions.foreign_scale_in {
        return give_back(now, policy, evidence, floor, needs, standing);
    }
    if needs.iter().all(|need| need.reactive.is_none()) {
        return Outcome::default();
    }
    let present = count(evidence, InstanceMode::Serving).saturating_add(count(evidence, InstanceMode::Warming));
    let from = floor.now;
    // Also what a window asks for within sight: the provider knows nothing of windows.
    let least = policy.floor_within_sight(now).instances;
    let wanted = asked_for(needs).max(least).min(policy.ceiling(now).instances).max(floor.own);
    // It is raised only ahead of load, to what is there at most, and not lowered because somebody is missing.
    let ahead = needs.iter().any(|need| need.ahead > need.reactive) || wanted == least;
    let to = if wanted <= from {
        wanted
    } else if ahead {
        wanted.min(present).max(from)
    } else {
        from
    };
    if to == from || (to < from && from - to < slack(from) && to != floor.own) {
        return Outcome::default();
    }
    let holds: Vec<Hold> = standing.iter().filter(|hold| stops(hold, to < from)).cloned().collect();
    if !holds.is_empty() {
        let reason = format!("the provider's scale-in stops at {from}, {to} would be enough");
        let direction = if to < from { Direction::ScaleIn } else { Direction::ScaleOut };
        let left = NotTaken { direction, instances: from.abs_diff(to), reason, holds };
        return Outcome { not_taken: vec![left], ..Outcome::default() };
    }
    let reason = if to > from {
        format!("the provider scales in by present load: it would take what the forecast needs of {present}")
    } else {
        format!("load and forecast need no more than {to} kept from the provider's scale-in")
    };
    let permitted = policy.mode >= Mode::ScaleOut;
    Outcome { steps: vec![PlannedStep { step: Step::Floor { from, to }, reason, permitted }], ..Outcome::default() }
}

/// Where nobody else scales in it shields nobody. It was raised to launch, and goes back when all of them serve: the provider
/// launches no one and ends no one by that.
fn give_back(
    now: i64,
    policy: &Policy,
    evidence: &Evidence,
    floor: Floor,
    needs: &[MetricNeeds],
    standing: &[Hold],
) -> Outcome {
    let (from, to) = (floor.now, floor.own.max(policy.floor_within_sight(now).instances));
    let coming = count(evidence, InstanceMode::Warming).saturating_add(evidence.inventory.expected);
    let serving = count(evidence, InstanceMode::Serving);
    // What this plan launches raises it first.
    if to >= from || coming > 0 || serving < from || asked_for(needs) > serving {
        return Outcome::default();
    }
    if standing.iter().any(|hold| stops(hold, true)) {
        return Outcome::default();
    }
    let reason = format!("all {from} that it was raised to launch serve: given back");
    let permitted = policy.mode >= Mode::ScaleOut;
    Outcome { steps: vec![PlannedStep { step: Step::Floor { from, to }, reason, permitted }], ..Outcome::default() }
}

/// Instances that the step rule asks for in all.
fn asked_for(needs: &[MetricNeeds]) -> u32 {
    let by_metric = needs.iter().filter_map(|need| {
        let own = need.reactive?;
        Some(rule::step(0, own, need.ahead.unwrap_or(own), need.trust).out)
    });
    by_metric.max().unwrap_or_default()
}

fn slack(floor: u32) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
    let share = (f64::from(floor) * SLACK_SHARE).ceil() as u32;
    share.max(SLACK_AT_LEAST)
}

/// What stops scale-out stops a floor; in doubt it is not lowered. That the provider scales in is why there is one, and how
/// far a forecast is to be trusted is in the rule already.
const fn stops(hold: &Hold, lowers: bool) -> bool {
    match hold {
        Hold::ForeignScaleIn | Hold::LowTrust { .. } | Hold::BaselineInDoubt { .. } | Hold::ShortHorizon { .. } => {
            false
        }
        Hold::Paused | Hold::NotOwner | Hold::ClockJump | Hold::Changing | Hold::Deploying | Hold::PartialInventory => {
            true
        }
        _ => lowers,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Memory, Plan, plan};
    use super::*;
    use crate::bounds::Window;
    use crate::demand::Demand;
    use crate::evidence::{Forecast, Instance, Inventory, MetricEvidence};
    use crate::policy::Metric;

    /// `serving` at half of the target, of whom the forecast needs `ahead` times as many as now.
    fn planned(serving: u32, ahead: f64, floor: Option<(u32, u32)>, change: impl FnOnce(&mut Evidence)) -> Plan {
        planned_by(|_| {}, serving, ahead, floor, change)
    }

    fn planned_by(
        narrow: impl FnOnce(&mut Policy),
        serving: u32,
        ahead: f64,
        floor: Option<(u32, u32)>,
        change: impl FnOnce(&mut Evidence),
    ) -> Plan {
        let gross = 30.0 * f64::from(serving);
        let weight = f64::from(serving);
        let demand = Demand { gross, weight, serving, reporting: serving, incomplete: false, saturated: false };
        let forecast = Forecast {
            start: 0,
            step_seconds: 300,
            levels: vec![0.05, 0.5, 0.9, 0.95],
            paths: [0.5, 1.0, 1.0, 1.0].map(|level| vec![gross * ahead * level; 288]).to_vec(),
            trust: 1.0,
            ..Forecast::default()
        };
        let found = MetricEvidence { demand: Some(demand), forecast: Some(forecast), ..MetricEvidence::default() };
        let instances = (0..serving).map(|number| Instance {
            id: format!("i-{number}"),
            instance_type: None,
            zone: None,
            mode: InstanceMode::Serving,
            since: 0,
            protected: false,
            shadow: None,
        });
        let mut evidence = Evidence {
            inventory: Inventory { complete: true, instances: instances.collect(), ..Inventory::default() },
            metrics: BTreeMap::from([(Metric::Cpu, found)]),
            ..Evidence::default()
        };
        evidence.conditions.started_seconds_ago = 10_000;
        evidence.conditions.foreign_scale_in = true;
        evidence.conditions.floor = floor.map(|(now, own)| Floor { now, own });
        change(&mut evidence);
        let mut policy = Policy { mode: Mode::ScaleOut, minimum: 2, ..Policy::new("web") };
        narrow(&mut policy);
        plan(1_000, &policy, &evidence, &Memory::default()).0
    }

    fn floor_of(plan: &Plan) -> Option<(u32, u32)> {
        plan.steps.iter().find_map(|step| match step.step {
            Step::Floor { from, to } if step.permitted => Some((from, to)),
            _ => None,
        })
    }

    #[test]
    fn what_the_forecast_needs_is_kept_and_given_back_when_it_does_not() {
        let floor = |ahead, now| floor_of(&planned(20, ahead, Some((now, 2)), |_| {}));
        // 20 at 30 % are 10 at 60 %; 1.6 times as many are 16.
        assert_eq!(floor(1.6, 2), Some((2, 16)));
        assert_eq!(floor(1.6, 16), None);
        // It never launches: more than are there is for a launch.
        assert_eq!(floor(3.0, 2), Some((2, 20)));
        // A little too high is no reason for a call.
        assert_eq!(floor(1.5, 16), None);
        assert_eq!(floor(1.4, 16), Some((16, 14)));
        // It goes down with load and forecast, to the user's own at last, and up only ahead of load.
        assert_eq!(floor(1.0, 16), Some((16, 10)));
        assert_eq!(floor(1.0, 2), None);
        let night = |evidence: &mut Evidence| {
            for found in evidence.metrics.values_mut() {
                found.demand.iter_mut().for_each(|demand| demand.gross = 60.0);
                found.forecast.iter_mut().flat_map(|path| &mut path.paths).for_each(|path| path.fill(60.0));
            }
        };
        assert_eq!(floor_of(&planned(20, 1.0, Some((3, 2)), night)), Some((3, 2)), "to the user's own, however near");
    }

    #[test]
    fn it_holds_the_floor_of_a_window_within_sight_and_stays_below_its_ceiling() {
        let by = |from, minimum, maximum, now| {
            let window = Window { name: "noon".to_owned(), from, until: 9_000, minimum, maximum };
            floor_of(&planned_by(|policy| policy.windows = vec![window], 20, 1.6, Some((now, 2)), |_| {}))
        };
        assert_eq!(by(4_000, Some(18), None, 2), Some((2, 18)));
        assert_eq!(by(6_000, Some(18), None, 2), Some((2, 16)), "out of sight");
        assert_eq!(by(0, None, Some(12), 2), Some((2, 12)));
        assert_eq!(by(2_000, None, Some(12), 2), Some((2, 16)), "not yet");
    }

    #[test]
    fn where_nobody_else_scales_in_there_is_no_floor() {
        assert_eq!(floor_of(&planned(20, 1.6, None, |_| {})), None);
        let alone = |evidence: &mut Evidence| evidence.conditions.foreign_scale_in = false;
        assert_eq!(floor_of(&planned(20, 1.6, Some((2, 2)), alone)), None);
    }

    #[test]
    fn where_nobody_else_scales_in_what_was_raised_to_launch_is_given_back_once_all_serve() {
        let floor = |now: (u32, u32), change: fn(&mut Evidence)| {
            floor_of(&planned(20, 1.6, Some(now), |evidence| {
                evidence.conditions.foreign_scale_in = false;
                change(evidence);
            }))
        };
        assert_eq!(floor((20, 2), |_| {}), Some((20, 2)));
        assert_eq!(floor((20, 1), |_| {}), Some((20, 2)), "not below the group's own minimum");
        assert_eq!(floor((20, 5), |_| {}), Some((20, 5)), "nor below the user's own");
        // Forecast is three times as much, and what there is now is no surprise beside it.
        let more = planned(20, 3.0, Some((20, 2)), |evidence| {
            evidence.conditions.foreign_scale_in = false;
            let paths = evidence.metrics.values_mut().filter_map(|found| found.forecast.as_mut());
            paths.for_each(|path| path.paths[0].fill(0.0));
        });
        assert_eq!(floor_of(&more), None, "more are launched first");
        let unsure = |evidence: &mut Evidence| {
            evidence.metrics.values_mut().filter_map(|found| found.forecast.as_mut()).for_each(|path| path.trust = 0.0);
        };
        assert_eq!(floor((20, 2), unsure), Some((20, 2)), "how far the forecast is trusted takes nobody away");
        assert_eq!(floor((2, 2), |_| {}), None);
        assert_eq!(floor((21, 2), |_| {}), None, "one is missing still");
        assert_eq!(floor((20, 2), |evidence| evidence.inventory.expected = 1), None, "one is on its way");
        let warming = |evidence: &mut Evidence| {
            let mut one = evidence.inventory.instances[0].clone();
            one.id = "i-new".to_owned();
            one.mode = InstanceMode::Warming;
            evidence.inventory.instances.push(one);
        };
        assert_eq!(floor((20, 2), warming), None);
        assert_eq!(floor((20, 2), |evidence| evidence.conditions.paused = true), None);
        let alone = |evidence: &mut Evidence| evidence.conditions.foreign_scale_in = false;
        let watched = planned_by(|policy| policy.mode = Mode::Observe, 20, 1.6, Some((20, 2)), alone);
        assert_eq!(floor_of(&watched), None, "and nothing is done in observe");
        assert_eq!(floor((20, 2), |evidence| evidence.conditions.not_owner = true), None);
    }

    #[test]
    fn in_doubt_it_is_raised_and_not_lowered() {
        let partial = |evidence: &mut Evidence| evidence.metrics.values_mut().for_each(|found| found.age_seconds = 999);
        assert_eq!(floor_of(&planned(20, 1.6, Some((2, 2)), partial)), Some((2, 16)));
        let plan = planned(20, 1.0, Some((16, 2)), partial);
        assert_eq!(floor_of(&plan), None);
        assert!(plan.not_taken.iter().any(|left| left.reason.contains("stops at 16")), "{:?}", plan.not_taken);
        let unknown = |evidence: &mut Evidence| evidence.metrics.clear();
        assert_eq!(floor_of(&planned(20, 1.0, Some((16, 2)), unknown)), None);
        let paused = |evidence: &mut Evidence| evidence.conditions.paused = true;
        assert_eq!(floor_of(&planned(20, 1.6, Some((2, 2)), paused)), None);
    }

    #[test]
    fn in_observe_it_is_told_and_not_raised() {
        let watched = planned_by(|policy| policy.mode = Mode::Observe, 20, 1.6, Some((2, 2)), |_| {});
        assert_eq!(floor_of(&watched), None);
        assert!(watched.steps.iter().any(|step| step.step == Step::Floor { from: 2, to: 16 }), "{watched:?}");
    }

    #[test]
    fn each_doubt_stops_it_by_itself() {
        let metric = Metric::Cpu;
        let never = [
            Hold::ForeignScaleIn,
            Hold::LowTrust { metric, trust: 0.1, minimum: 0.2 },
            Hold::BaselineInDoubt { metric, doubt: crate::baseline::Doubt::Disagreement },
            Hold::ShortHorizon { metric },
        ];
        let always =
            [Hold::Paused, Hold::NotOwner, Hold::ClockJump, Hold::Changing, Hold::Deploying, Hold::PartialInventory];
        let asked = |holds: &[Hold], lowers| holds.iter().map(|hold| stops(hold, lowers)).collect::<Vec<_>>();
        for lowers in [true, false] {
            assert_eq!(asked(&never, lowers), [false; 4]);
            assert_eq!(asked(&always, lowers), [true; 6]);
            assert_eq!(stops(&Hold::CommonCause, lowers), lowers);
        }
    }
}
