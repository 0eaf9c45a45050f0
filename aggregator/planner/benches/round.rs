//! One planning round: `cargo bench -p planner`. Plans for many groups, each judged by the checker, on one core.

mod groups;

use std::hint::black_box;
use std::time::Duration;

use checker::{Change, Facts, Limits, Load, Machine, Place};
use groups::{BYTES, INSTANCES, NOW};
use planner::evidence::Evidence;
use planner::plan::{Memory, Step};
use planner::policy::{Metric, Mode, Policy};

const GROUPS: u32 = 10_000;
/// What a round of so many groups may take.
const LIMIT: Duration = Duration::from_secs(1);

/// The checker's facts for the same group.
fn facts(evidence: &Evidence) -> Facts {
    let machines = evidence.inventory.instances.iter().map(|instance| Machine {
        id: instance.id.clone(),
        place: Place::Serving,
        weights: evidence.metrics.keys().map(|metric| (metric.to_string(), 1.0)).collect(),
        stolen_percent: 0.0,
        short_of_credits: false,
        price_per_hour: None,
        protected: false,
        ours: false,
        in_target_group: false,
        in_group: false,
        shadow: None,
    });
    let loads = evidence.metrics.iter().map(|(metric, found)| Load {
        metric: metric.to_string(),
        amount: false,
        target: 60.0,
        gross: found.demand.map(|demand| demand.gross),
        weight: f64::from(INSTANCES),
        certain: true,
        baseline: 0.0,
        last_week: None,
    });
    Facts {
        now: NOW,
        made_at: NOW,
        valid_until: NOW + 60,
        inventory_complete: true,
        machines: machines.collect(),
        maximum: 1_000,
        loads: loads.collect(),
        running_seconds: 7_200,
        authenticated: true,
        launches_per_hour: 200,
        ..Facts::default()
    }
}

fn cpu() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), u32::try_from(spent.tv_nsec).unwrap_or_default())
}

fn main() {
    let (groups, each) = groups::all();
    let mut policy = Policy { mode: Mode::Full, ..Policy::new("web") };
    policy.targets.insert(Metric::Memory, 60.0);
    let limits = Limits::default();
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let began = cpu();
        let (mut steps, mut refused) = (0, 0);
        for evidence in groups.iter().cycle().take(GROUPS as usize) {
            let (plan, _) = black_box(planner::plan(NOW, &policy, evidence, &Memory::default()));
            let facts = facts(evidence);
            for step in &plan.steps {
                let change = match &step.step {
                    Step::Launch { count } => Change::Launch { count: *count },
                    Step::Detach { instances } => Change::Detach { instances: instances.clone() },
                    _ => continue,
                };
                steps += 1;
                refused += usize::from(!checker::check(&change, &facts, &limits).is_empty());
            }
        }
        let spent = cpu() - began;
        best = best.min(spent);
        println!("{GROUPS} groups of {INSTANCES}: {} ms of CPU, {steps} steps, {refused} refused", spent.as_millis());
    }
    println!("best {} ms; evidence of a group: {each} bytes", best.as_millis());
    assert!(best < LIMIT, "a round of {GROUPS} groups takes {best:?}, more than {LIMIT:?}");
    assert!(each <= BYTES, "the evidence of a group takes {each} bytes, more than {BYTES}");
}
