//! Groups that differ, as a round plans for them, and what they take: for the benchmark and for the test that holds the same number.

use std::collections::BTreeMap;

use planner::baseline::Baseline;
use planner::demand::{Demand, InstanceMode};
use planner::evidence::{Conditions, Evidence, Forecast, Instance, Inventory, MetricEvidence};
use planner::policy::Metric;

/// Each planned as often as makes up a round: evidence of ten thousand takes half a gigabyte.
pub const DISTINCT: u32 = 1_000;
pub const INSTANCES: u32 = 20;
pub const NOW: i64 = 1_800_000_000;
/// What the evidence of a group may take, bytes: two metrics with eleven levels of 288 steps at eight bytes are 50 688, and the rest
/// is instances and what an allocator adds (measured 61 440).
pub const BYTES: u64 = 64_000;

/// All of them, and the bytes that each takes.
pub fn all() -> (Vec<Evidence>, u64) {
    let before = resident();
    let groups: Vec<Evidence> = (0..DISTINCT).map(evidence).collect();
    let each = resident().saturating_sub(before) / u64::from(DISTINCT);
    (groups, each)
}

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

/// Bytes of this process in memory.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4_096
}
