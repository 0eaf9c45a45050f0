//! One round of a group as spans: what it was measured from, forecast, plan, the checker's word.

use std::collections::BTreeMap;

use planner::policy::Metric;

use super::TraceId;
use super::otlp::{Span, ours};
use crate::act::{Planned, Verdict};

/// When the parts of a round were, each from when to when, µs since the Unix epoch.
#[derive(Debug, Clone, Default)]
pub struct Timed {
    pub begun: i64,
    pub forecast: (i64, i64),
    pub plan: (i64, i64),
    pub check: (i64, i64),
    /// What the present demand was measured over, seconds since the Unix epoch.
    pub measured_over: BTreeMap<Metric, (i64, i64)>,
    /// What the checker said.
    pub verdicts: Vec<Verdict>,
}

/// The decision begins with the oldest sample behind it, and ends when it was handed over (µs since the Unix epoch).
pub fn spans(trace: TraceId, planned: &Planned, timed: &Timed, handed_over: i64) -> Vec<Span> {
    let (plan, root) = (&planned.plan, trace.part("decision", ""));
    let micros = |seconds: (i64, i64)| (seconds.0 * 1_000_000, seconds.1 * 1_000_000);
    let oldest = timed.measured_over.values().map(|over| micros(*over).0).min();
    let begun = oldest.map_or(timed.begun, |oldest| oldest.min(timed.begun));
    let trust = plan.needs.iter().map(|need| need.trust).reduce(f64::min);
    let holds: Vec<&str> = plan.holds.iter().map(|hold| hold.word()).collect();
    let decision = Span::new(trace, root, None, "decision", (begun, handed_over))
        .with("group", plan.group.as_str())
        .with("generation", plan.generation)
        .with("mode", plan.mode.to_string())
        .with("serving", plan.serving)
        .with_any("need_now", plan.need_now)
        .with_any("need_ahead", plan.need_ahead)
        .with_any("trust", trust)
        .with("holds", holds);
    let part = |name: &str, of: &str, over| Span::new(trace, trace.part(name, of), Some(root), name, over);
    let mut all = vec![decision];
    for (metric, over) in &timed.measured_over {
        let Some(found) = planned.evidence.metrics.get(metric) else { continue };
        let Some(demand) = found.demand else { continue };
        all.push(
            part("samples", metric.as_str(), micros(*over))
                .with("metric", metric.as_str())
                .with("age_seconds", found.age_seconds)
                .with("reporting", demand.reporting)
                .with("serving", demand.serving),
        );
    }
    let models = planned.evidence.metrics.iter().filter_map(|(metric, found)| {
        let forecast = found.forecast.as_ref()?;
        Some(format!("{metric}: {}", forecast.model))
    });
    all.push(part("forecast", "", timed.forecast).with("models", models.collect::<Vec<_>>()));
    let step = |step: &planner::plan::PlannedStep| {
        let words = serde_json::to_value(&step.step).unwrap_or_default();
        words.get("step").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    };
    let steps: Vec<String> = plan.steps.iter().map(step).collect();
    all.push(part("plan", "", timed.plan).with("steps", steps));
    let mut check = part("check", "", timed.check);
    for verdict in &timed.verdicts {
        for why in &verdict.refusals {
            let said = vec![ours("step", u64::try_from(verdict.step).unwrap_or_default()), ours("why", why.as_str())];
            check = check.event("refused", timed.check.1, said);
        }
    }
    all.push(check);
    all
}

#[cfg(test)]
mod tests {
    use foreshadow_proto::convert::Id;
    use planner::demand::Demand;
    use planner::evidence::{Evidence, MetricEvidence};
    use planner::plan::{Memory, PlannedStep, Step};
    use planner::policy::Policy;

    use super::*;
    use crate::store::StoreId;

    const NOW: i64 = 1_800_000_000;

    fn planned() -> Planned {
        let demand =
            Demand { gross: 500.0, weight: 10.0, serving: 10, reporting: 9, incomplete: false, saturated: false };
        let found = MetricEvidence { demand: Some(demand), age_seconds: 10, ..MetricEvidence::default() };
        let evidence = Evidence { metrics: BTreeMap::from([(Metric::Cpu, found)]), ..Evidence::default() };
        let policy = Policy::new("web");
        let (mut plan, memory) = planner::plan(NOW, &policy, &evidence, &Memory::default());
        let (step, reason) = (Step::Launch { count: 2 }, "cpu needs 12".to_owned());
        plan.steps = vec![PlannedStep { step, reason, permitted: true }];
        let (last_week, fleet, source, version) = (BTreeMap::new(), checker::Fleet::default(), None, None);
        Planned { plan, policy, evidence, memory, last_week, fleet, source, version }
    }

    fn timed() -> Timed {
        let at = |millis: i64| NOW * 1_000_000 + millis * 1_000;
        Timed {
            begun: at(0),
            forecast: (at(5), at(45)),
            plan: (at(45), at(46)),
            check: (at(46), at(47)),
            measured_over: BTreeMap::from([(Metric::Cpu, (NOW - 70, NOW - 10))]),
            verdicts: vec![Verdict { step: 0, allowed: false, refusals: vec!["no".to_owned(), "never".to_owned()] }],
        }
    }

    fn trace() -> TraceId {
        TraceId::of(StoreId([1; 16]), &Id::new("group", "web").expect("an id"), 1)
    }

    #[test]
    fn a_decision_begins_with_its_oldest_sample_and_holds_its_parts() {
        let all = spans(trace(), &planned(), &timed(), NOW * 1_000_000 + 50_000);
        let names: Vec<&str> = all.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["decision", "samples", "forecast", "plan", "check"]);
        let root = &all[0];
        assert!(root.parent_span_id.is_empty());
        assert_eq!(root.start_time_unix_nano, u64::try_from(NOW - 70).expect("a time") * 1_000_000_000);
        for span in &all {
            assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
            assert_eq!(span.trace_id, root.trace_id);
            assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
            assert!(root.start_time_unix_nano <= span.start_time_unix_nano, "{span:?}");
            assert!(span.end_time_unix_nano <= root.end_time_unix_nano, "{span:?}");
        }
        assert!(all[1..].iter().all(|span| span.parent_span_id == root.span_id));
        let ids: std::collections::BTreeSet<_> = all.iter().map(|span| &span.span_id).collect();
        assert_eq!(ids.len(), all.len());
    }

    #[test]
    fn it_says_what_it_was_made_from_and_what_the_checker_refused() {
        let all = spans(trace(), &planned(), &timed(), NOW * 1_000_000 + 50_000);
        let said = |span: &Span, name: &str| {
            let key = format!("foreshadow.{name}");
            span.attributes.iter().find(|it| it.key == key).and_then(|it| it.value.clone()).expect(name)
        };
        assert_eq!(said(&all[0], "generation"), 1_u64.into());
        assert_eq!(said(&all[0], "mode"), "observe".into());
        assert_eq!(said(&all[0], "trust"), 0.0.into());
        assert_eq!(said(&all[1], "age_seconds"), 10_u32.into());
        assert_eq!(said(&all[1], "reporting"), 9_u32.into());
        assert_eq!(said(&all[3], "steps"), vec!["launch"].into());
        let why: Vec<_> = all[4].events.iter().map(|event| (event.name.as_str(), &event.attributes[1])).collect();
        assert_eq!(why, [("refused", &ours("why", "no")), ("refused", &ours("why", "never"))]);
    }

    #[test]
    fn without_demand_it_begins_with_its_round_and_a_clock_set_back_ends_nothing_before_it_began() {
        let timed = Timed { measured_over: BTreeMap::new(), ..timed() };
        let all = spans(trace(), &planned(), &timed, timed.begun - 5_000_000);
        assert_eq!(all.len(), 4);
        assert_eq!(all[0].start_time_unix_nano, all[0].end_time_unix_nano);
    }
}
