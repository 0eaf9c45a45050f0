//! What can never be in a plan or in what it was made from, looked for all the same after every round: each is a fault of
//! Foreshadow, not of its surroundings. Told as `foreshadow_invariant_violations_total` and in the log; the checker judges
//! each step by itself whatever is found here.

use std::collections::BTreeSet;

use planner::demand::InstanceMode;
use planner::plan::{PlannedStep, Step};

use crate::act::Planned;

/// One thing that always holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// A step names somebody, nobody twice, and each in the mode that it takes them out of.
    StepNamesItsInstances,
    /// Demand and idle baseline are finite and not below zero.
    DemandIsNotNegative,
    /// A higher quantile of a forecast is nowhere below a lower one.
    QuantilesAscend,
    /// Each plan of a group has a higher generation than the one before: it is in the token of every change.
    GenerationsAscend,
    /// A group has one change under way at most.
    OneChangeAtATime,
}

impl Invariant {
    pub const ALL: [Self; 5] = [
        Self::StepNamesItsInstances,
        Self::DemandIsNotNegative,
        Self::QuantilesAscend,
        Self::GenerationsAscend,
        Self::OneChangeAtATime,
    ];

    /// Its name in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::StepNamesItsInstances => "step_names_its_instances",
            Self::DemandIsNotNegative => "demand_is_not_negative",
            Self::QuantilesAscend => "quantiles_ascend",
            Self::GenerationsAscend => "generations_ascend",
            Self::OneChangeAtATime => "one_change_at_a_time",
        }
    }

    /// Counts a violation and says it.
    pub fn violated(self, group: &str, how: &str) {
        tracing::error!(
            group,
            invariant = self.word(),
            how,
            "an INVARIANT does not hold: this is a fault of Foreshadow"
        );
        metrics::counter!("foreshadow_invariant_violations_total", "invariant" => self.word()).increment(1);
    }
}

/// What of a plan can never be. `before` is the generation of the plan before it, 0 for none.
pub fn violations(planned: &Planned, before: u64) -> Vec<(Invariant, String)> {
    let mut found = Vec::new();
    if planned.plan.generation <= before {
        found.push((Invariant::GenerationsAscend, format!("{} after {before}", planned.plan.generation)));
    }
    for (metric, evidence) in &planned.evidence.metrics {
        let gross = evidence.demand.map_or(0.0, |demand| demand.gross);
        let fine = |value: f64| value.is_finite() && value >= 0.0;
        if !fine(gross) || !fine(evidence.baseline.points) {
            let how = format!("{metric}: a demand of {gross}, a baseline of {}", evidence.baseline.points);
            found.push((Invariant::DemandIsNotNegative, how));
        }
        let paths = evidence.forecast.iter().flat_map(|forecast| forecast.paths.windows(2));
        let crossed = paths.enumerate().find_map(|(level, pair)| {
            let [lower, higher] = pair else { return None };
            let step = lower.iter().zip(higher).position(|(low, high)| low > high || low.is_nan() || high.is_nan())?;
            Some(format!("{metric}: quantile {} of step {step} is below the one before", level + 1))
        });
        found.extend(crossed.map(|how| (Invariant::QuantilesAscend, how)));
    }
    let wrong = planned.plan.steps.iter().filter_map(|step| misnamed(planned, step));
    found.extend(wrong.map(|how| (Invariant::StepNamesItsInstances, how)));
    found
}

/// Whom a step names and may not.
fn misnamed(planned: &Planned, step: &PlannedStep) -> Option<String> {
    use InstanceMode::{Serving, Shadow};
    let (word, instances, from) = match &step.step {
        Step::Launch { count } => return (*count == 0).then(|| "a launch of nobody".to_owned()),
        Step::Floor { .. } => return None,
        Step::Detach { instances } => ("detach", instances, Some(Serving)),
        Step::Reattach { instances } => ("reattach", instances, Some(Shadow)),
        Step::Terminate { instances } => ("terminate", instances, Some(Shadow)),
        Step::Extend { instances } => ("extend", instances, None),
        Step::Release { instances } => ("release", instances, None),
        Step::Adopt { instances } => ("adopt", instances, None),
    };
    if instances.is_empty() {
        return Some(format!("{word} names nobody"));
    }
    let mut named = BTreeSet::new();
    for name in instances {
        let known = planned.evidence.inventory.instances.iter().find(|it| it.id == *name);
        match known {
            None => return Some(format!("{word} names {name}, whom the inventory does not know")),
            Some(known) if from.is_some_and(|from| from != known.mode) => {
                return Some(format!("{word} names {name}, which is {:?}", known.mode));
            }
            Some(_) if !named.insert(name) => return Some(format!("{word} names {name} twice")),
            Some(_) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::verdicts::tests::planned;

    fn found(change: impl FnOnce(&mut Planned)) -> Vec<Invariant> {
        let mut planned = planned();
        planned.plan.generation = 7;
        change(&mut planned);
        violations(&planned, 6).into_iter().map(|(invariant, _)| invariant).collect()
    }

    fn steps(steps: Vec<Step>) -> Vec<Invariant> {
        let step = |step| PlannedStep { step, reason: String::new(), permitted: true };
        found(|planned| planned.plan.steps = steps.into_iter().map(step).collect())
    }

    fn named(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_plan_of_the_planner_violates_nothing() {
        assert_eq!(found(|_| {}), []);
        let sound = vec![Step::Detach { instances: named(&["i-1", "i-2"]) }, Step::Launch { count: 1 }];
        assert_eq!(steps(sound), []);
    }

    #[test]
    fn whom_a_step_may_not_name_is_found() {
        use Invariant::StepNamesItsInstances;
        for step in [
            Step::Launch { count: 0 },
            Step::Detach { instances: named(&[]) },
            Step::Detach { instances: named(&["i-1", "i-1"]) },
            Step::Detach { instances: named(&["i-99"]) },
            Step::Terminate { instances: named(&["i-1"]) },
            Step::Reattach { instances: named(&["i-1"]) },
            Step::Extend { instances: named(&["i-99"]) },
        ] {
            assert_eq!(steps(vec![step.clone()]), [StepNamesItsInstances], "{step:?}");
        }
    }

    #[test]
    fn numbers_that_cannot_be_are_found() {
        use planner::policy::Metric;
        let gross = |value: f64| {
            found(|planned| {
                let evidence = planned.evidence.metrics.get_mut(&Metric::Cpu).expect("a metric");
                if let Some(demand) = &mut evidence.demand {
                    demand.gross = value;
                }
            })
        };
        assert_eq!([gross(0.0), gross(-0.1), gross(f64::NAN)].map(|it| it.len()), [0, 1, 1]);
        let baseline = found(|planned| {
            planned.evidence.metrics.get_mut(&Metric::Cpu).expect("a metric").baseline.points = -1.0;
        });
        assert_eq!(baseline, [Invariant::DemandIsNotNegative]);
        let forecast = |paths: [[f64; 2]; 3]| {
            found(|planned| {
                planned.evidence.metrics.get_mut(&Metric::Cpu).expect("a metric").forecast =
                    Some(planner::evidence::Forecast {
                        levels: vec![0.1, 0.5, 0.9],
                        paths: paths.map(|path| path.to_vec()).to_vec(),
                        ..planner::evidence::Forecast::default()
                    });
            })
        };
        assert_eq!(forecast([[1.0, 2.0], [1.0, 3.0], [4.0, 3.0]]), []);
        assert_eq!(forecast([[1.0, 2.0], [1.0, 3.0], [4.0, 2.9]]), [Invariant::QuantilesAscend]);
        assert_eq!(forecast([[1.0, f64::NAN], [1.0, 3.0], [4.0, 3.0]]), [Invariant::QuantilesAscend]);
    }

    #[test]
    fn a_generation_that_comes_again_is_found() {
        assert_eq!(found(|planned| planned.plan.generation = 6), [Invariant::GenerationsAscend]);
    }
}
