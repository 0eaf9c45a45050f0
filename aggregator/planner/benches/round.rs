//! One planning round: `cargo bench -p planner`. Plans for many groups, each judged by the checker, on one core.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use checker::{Change, Facts, Limits, Load, Machine, Place};
use planner::baseline::Baseline;
use planner::demand::{Demand, InstanceMode};
use planner::evidence::{Conditions, Evidence, Forecast, Instance, Inventory, MetricEvidence};
use planner::plan::{Memory, Step};
use planner::policy::{Metric, Mode, Policy};

const GROUPS: u32 = 10_000;
/// Groups that differ, each planned as often as makes up a round: evidence of ten thousand takes half a gigabyte.
const DISTINCT: u32 = 1_000;
const INSTANCES: u32 = 20;
const NOW: i64 = 1_800_000_000;
/// What a round of so many groups may take.
const LIMIT: Duration = Duration::from_secs(1);

fn metric(group: u32) -> MetricEvidence {
    let utilisation = 10.0 + f64::from(group % 80);
    let gross = utilisation * f64::from(INSTANCES);
    let weight = f64::from(INSTANCES);
    let levels: Vec<f64> = (1..=11).map(|level| f64::from(level) / 12.0).collect();
    let paths = levels.iter().map(|level| {
        let at = |step: u32| gross * (0.5 + level) * (1.0 + 0.3 * (f64::from(step + group) / 40.0).sin());
        (0..288).map(at).collect()
    });
    MetricEvidence {
        demand: Some(Demand {
            gross,
            weight,
            serving: INSTANCES,
            reporting: INSTANCES,
            incomplete: false,
            saturated: false,
        }),
        age_seconds: 10,
        highest_lately: Some(gross),
        baseline: Baseline::default(),
        baseline_doubt: None,
        forecast: Some(Forecast {
            start: NOW,
            step_seconds: 300,
            paths: paths.collect(),
            levels,
            model: "climate".to_owned(),
            trained_at: NOW,
            trust: 0.8,
            measured_coverage: Some(0.8),
            nominal_coverage: 0.8,
            window_maximum: None,
            events: Vec::new(),
        }),
    }
}

/// Twenty instances in three zones, two metrics with a day of forecast each.
fn evidence(group: u32) -> Evidence {
    let instances = (0..INSTANCES).map(|number| Instance {
        id: format!("i-{group:05}{number:012}"),
        instance_type: Some("m5.large".to_owned()),
        zone: Some(["eu-west-1a", "eu-west-1b", "eu-west-1c"][number as usize % 3].to_owned()),
        mode: InstanceMode::Serving,
        since: NOW - 86_400 - i64::from(number),
        protected: false,
        shadow: None,
    });
    Evidence {
        inventory: Inventory {
            complete: true,
            age_seconds: 10,
            instances: instances.collect(),
            ..Inventory::default()
        },
        metrics: BTreeMap::from([(Metric::Cpu, metric(group)), (Metric::Memory, metric(group + 7))]),
        conditions: Conditions { started_seconds_ago: 7_200, ..Conditions::default() },
    }
}

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

/// Bytes of this process in memory.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4_096
}

fn main() {
    let before = resident();
    let groups: Vec<Evidence> = (0..DISTINCT).map(evidence).collect();
    let each = resident().saturating_sub(before) / u64::from(DISTINCT);
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
}
