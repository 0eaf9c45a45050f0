//! One agent in ten says whatever it likes: what that may move, and what not. 10 000 cases of demand, 500 of the baseline,
//! whose regression takes longer.

use planner::baseline::{Baseline, Measured, bounded, regression};
use planner::demand::{Demand, InstanceMode, Reading, measure};
use proptest::prelude::*;

/// How far honest readings are from the truth, points.
const NOISE: f64 = 0.5;

fn serving(weight: f64, utilisation: Option<f64>) -> Reading {
    Reading { mode: InstanceMode::Serving, weight, utilisation }
}

/// Whatever an agent may say: anything the range check lets through, or nothing.
fn lie() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![Just(None), Just(Some(0.0)), Just(Some(100.0)), (0.0_f64..=100.0).prop_map(Some)]
}

#[derive(Debug, Clone)]
struct Group {
    /// Weight and what it really uses; every tenth may be silent.
    honest: Vec<(f64, Option<f64>)>,
    weight: f64,
    truth: f64,
    lie: Option<f64>,
}

fn group() -> impl Strategy<Value = Group> {
    let one = (0.5_f64..4.0, 0.0_f64..=100.0).prop_map(|(weight, used)| (weight, Some(used)));
    let all = prop::collection::vec(one, 9..40);
    (all, any::<bool>(), 0.5_f64..4.0, 0.0_f64..=100.0, lie()).prop_map(|(mut honest, silent, weight, truth, lie)| {
        if silent && honest.len() > 18 {
            honest[0].1 = None;
        }
        Group { honest, weight, truth, lie }
    })
}

impl Group {
    fn demand(&self, said: Option<f64>) -> Demand {
        let mut readings: Vec<Reading> = self.honest.iter().map(|(weight, used)| serving(*weight, *used)).collect();
        readings.push(serving(self.weight, said));
        measure(&readings).expect("the honest report")
    }
}

/// An honest world: traffic of each instance and minute, and what an instance uses for it over its idle baseline.
#[derive(Debug, Clone)]
struct World {
    idle: f64,
    /// Per instance nine minutes of (traffic, noise).
    minutes: Vec<[(f64, f64); 9]>,
    shadows: Vec<f64>,
    /// What the liar says: its use and traffic of nine minutes, and as a shadow.
    lies: [(f64, f64); 9],
    idle_lie: f64,
}

fn world() -> impl Strategy<Value = World> {
    let noise = || -NOISE..NOISE;
    let minute = (100.0_f64..1_000.0, noise());
    let minutes = prop::collection::vec(prop::array::uniform9(minute), 9..30);
    let any_traffic = prop_oneof![0.0_f64..2_000.0, 0.0_f64..1e11];
    let lies = prop_oneof![
        prop::array::uniform9((any_traffic, 0.0_f64..=100.0)),
        Just([(1e11, 0.0); 9]),
        Just([(0.0, 100.0); 9]),
        Just([(1e11, 100.0); 9]),
    ];
    let shadows = prop::collection::vec(noise(), 9..15);
    (4.0_f64..12.0, minutes, shadows, lies, 0.0_f64..=100.0).prop_map(|(idle, minutes, shadows, lies, idle_lie)| {
        World { idle, minutes, shadows: shadows.into_iter().map(|noise| idle + noise).collect(), lies, idle_lie }
    })
}

impl World {
    /// A point a hundred units of traffic use five points above idle.
    fn used(&self, (traffic, noise): (f64, f64)) -> f64 {
        self.idle + 0.05 * traffic + noise
    }

    fn measured(&self, with_the_liar: bool) -> Measured {
        let mut points: Vec<(f64, f64)> =
            self.minutes.iter().flatten().map(|minute| (minute.0, self.used(*minute))).collect();
        let mean = |minutes: &[(f64, f64); 9]| minutes.iter().map(|minute| self.used(*minute)).sum::<f64>() / 9.0;
        let mut serving: Vec<f64> = self.minutes.iter().map(mean).collect();
        let mut shadows = self.shadows.clone();
        if with_the_liar {
            points.extend(self.lies);
            serving.push(self.lies.iter().map(|(_, used)| used).sum::<f64>() / 9.0);
            shadows.push(self.idle_lie);
        }
        Measured { shadows, regression: regression(&points), serving, ..Measured::default() }
    }
}

fn after_a_day(measured: &Measured) -> f64 {
    let mut baseline = Baseline::default();
    for _ in 0..24 {
        baseline = bounded(&baseline, measured, 60.0, 1.0).0;
    }
    baseline.points
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Its own share: all that an instance of its weight can use, and what of the silent it stands for.
    #[test]
    fn a_liar_moves_demand_by_its_own_share_at_most(group in group()) {
        let (truth, said) = (group.demand(Some(group.truth)), group.demand(group.lie));
        let stands_for = 1.0 / planner::demand::COMPLETE_SHARE;
        let most = 100.0 * group.weight * stands_for;
        prop_assert!(said.gross <= truth.gross + most + 1e-6, "{truth:?} {said:?}");
        if said.incomplete && !truth.incomplete {
            // By going silent beside others that are, it makes demand a lower bound, of those who report: scale-in holds.
            let told: f64 = group.honest.iter().filter_map(|(weight, used)| Some(weight * (*used)?)).sum();
            prop_assert!(said.is_lower_bound() && (said.gross - told).abs() < 1e-6, "{truth:?} {said:?}");
        } else {
            prop_assert!(said.gross >= truth.gross - most - 1e-6, "{truth:?} {said:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_liar_moves_the_baseline_by_less_than_the_honest_differ(world in world()) {
        let (honest, lied) = (after_a_day(&world.measured(false)), after_a_day(&world.measured(true)));
        prop_assert!((honest - world.idle).abs() <= 3.0 * NOISE, "honest {honest}, idle {}", world.idle);
        prop_assert!((honest - lied).abs() <= 3.0 * NOISE, "honest {honest}, with the liar {lied}");
    }
}
