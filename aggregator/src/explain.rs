//! `foreshadow explain GROUP`: a plan in words that a tired operator reads once.

use anyhow::Context as _;
use serde_json::Value;

use crate::client::{Client, escaped};
use crate::clock::time_argument;

/// Say why a group is what it is, and why it is not changed.
#[derive(Debug, clap::Args)]
pub struct ExplainArguments {
    /// The group
    group: String,
    /// An older plan, by its generation
    #[arg(long, value_name = "N")]
    generation: Option<u64>,
    /// The plan that held then: RFC 3339, seconds since 1970 or like -6h
    #[arg(long, value_name = "TIME", conflicts_with = "generation", allow_hyphen_values = true, value_parser = time_argument)]
    at: Option<String>,
    /// The plan itself, as JSON
    #[arg(long)]
    json: bool,
    /// The whole decision with its evidence, as JSON, for foreshadow replay
    #[arg(long, conflicts_with = "json")]
    record: bool,
    #[command(flatten)]
    client: Client,
}

/// Asks and prints.
pub async fn run(arguments: &ExplainArguments) -> anyhow::Result<()> {
    let group = escaped(&arguments.group);
    let client = &arguments.client;
    if arguments.record {
        let generation = match arguments.generation {
            Some(generation) => generation,
            None => {
                let at = arguments.at.as_ref().map_or_else(String::new, |at| format!("&at={}", escaped(at)));
                let kept = client.get(&format!("/decisions?group={group}&limit=1{at}")).await?;
                kept.pointer("/0/generation").and_then(Value::as_u64).context("no decision is kept of that time")?
            }
        };
        println!("{:#}", client.get(&format!("/decisions/{generation}?group={group}")).await?);
        return Ok(());
    }
    let mut first = String::new();
    let plan = match (arguments.generation, &arguments.at) {
        (Some(generation), _) => client.get(&format!("/plans/{generation}?group={group}")).await?,
        (None, Some(at)) => {
            let plans = client.get(&format!("/plans?group={group}&limit=1&to={}", escaped(at))).await?;
            plans.get(0).cloned().with_context(|| format!("no plan is kept that was made at or before {at}"))?
        }
        (None, None) => {
            let detail = client.get(&format!("/groups/{group}")).await?;
            // The latest plan may be older than the pause.
            first = pauses(&detail["standing"], &arguments.group);
            detail.get("plan").filter(|plan| plan.is_object()).cloned().context("no plan was made yet")?
        }
    };
    if arguments.json {
        println!("{plan:#}");
        return Ok(());
    }
    print!("{first}{}", words(&plan));
    if (arguments.at.is_some() || arguments.generation.is_some())
        && let Some(generation) = plan.get("generation").and_then(Value::as_u64)
    {
        // Plans are kept when they say something new, their evidence when they change something.
        match client.get(&format!("/decisions/{generation}?group={group}")).await {
            Ok(record) => print!("{}", beneath(&record)),
            Err(_) => println!("its evidence was not kept: it changed nothing"),
        }
    }
    Ok(())
}

/// What a plan was made from and what came of it, in words.
fn beneath(record: &Value) -> String {
    let number = |pointer: &str| record.pointer(pointer).and_then(Value::as_f64);
    let shown = |number: Option<f64>| number.map_or_else(|| "?".to_owned(), |number| format!("{number:.0}"));
    let whole = if record.pointer("/decision/evidence/inventory/complete") == Some(&Value::Bool(true)) {
        "complete"
    } else {
        "partial"
    };
    let mut said = vec![
        "made from".to_owned(),
        format!(
            "  an inventory {whole} and {} s old; leads {} s to launch, {} s to re-attach",
            shown(number("/decision/evidence/inventory/age_seconds")),
            shown(number("/decision/policy/launch_lead_seconds")),
            shown(number("/decision/policy/reattach_lead_seconds")),
        ),
    ];
    let metrics = record.pointer("/decision/evidence/metrics").and_then(Value::as_object);
    for (metric, found) in metrics.into_iter().flatten() {
        let number = |pointer: &str| found.pointer(pointer).and_then(Value::as_f64);
        let percent =
            |share: Option<f64>| share.map_or_else(|| "?".to_owned(), |share| format!("{:.0} %", 100.0 * share));
        said.push(format!(
            "  {metric} {} s old, {} of {} report, baseline {:.1}; forecast by {}, held {} of the time for {}",
            shown(number("/age_seconds")),
            shown(number("/demand/reporting")),
            shown(number("/demand/serving")),
            number("/baseline/points").unwrap_or_default(),
            found.pointer("/forecast/model").and_then(Value::as_str).unwrap_or("nothing"),
            percent(number("/forecast/measured_coverage")),
            percent(number("/forecast/nominal_coverage")),
        ));
    }
    for call in record.get("calls").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| call.get(key).and_then(Value::as_str).unwrap_or("?");
        let settled = call.pointer("/settled/settled").and_then(Value::as_str).unwrap_or("open");
        let why = call.pointer("/settled/why").and_then(Value::as_array).into_iter().flatten();
        let why: Vec<&str> = why.filter_map(Value::as_str).collect();
        let why = if why.is_empty() { String::new() } else { format!(": {}", why.join(", ")) };
        said.push(format!("called {}: {settled}{why}", text("action")));
    }
    said.push(String::new());
    said.join("\n")
}

/// A line for each pause that stands.
fn pauses(standing: &Value, group: &str) -> String {
    let line = |said: &Value, whom: &str, command: String| {
        let text = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or("?");
        let at = said.get("at").and_then(Value::as_i64).and_then(|at| jiff::Timestamp::from_second(at).ok());
        let at = at.map_or_else(|| "?".to_owned(), |at| at.to_string());
        let stands = said.get("paused") == Some(&Value::Bool(true));
        stands.then(|| format!("PAUSED: {whom}, since {at} by {}: {} ({command})\n", text("by"), text("reason")))
    };
    let everything = line(&standing["everywhere"], "everything", "foreshadow resume".to_owned());
    let own = line(&standing["group"], group, format!("foreshadow resume {group}"));
    everything.into_iter().chain(own).collect()
}

/// What was not done, with the steps that were taken in the same direction and what stood in the way.
fn not_taken(left: &Value, plan: &Value) -> String {
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let direction = left.get("direction").and_then(Value::as_str).unwrap_or("?");
    let (what, verb, steps) = match direction {
        "scale_out" => ("launched", "wanted", &["launch", "reattach"][..]),
        "shadow" => ("done to shadows", "there", &["terminate", "extend", "release", "adopt"][..]),
        _ => ("taken away", "possible", &["detach"][..]),
    };
    let taken = list(plan, "steps").iter().any(|step| steps.iter().any(|name| step["step"] == *name));
    let mut reason = left.get("reason").and_then(Value::as_str).unwrap_or("?").to_owned();
    let count = left.get("instances").and_then(Value::as_u64).unwrap_or_default();
    if direction == "scale_out" && count > 0 {
        let held = list(left, "holds");
        let warming = held.iter().find(|hold| hold["hold"] == "Warming").and_then(|hold| hold["instances"].as_u64());
        if let Some(warming) = warming.filter(|warming| *warming >= count) {
            let are = if warming == 1 { "is" } else { "are" };
            return match taken {
                true => format!("{count} more not launched: {warming} {are} warming up"),
                false => format!("nothing launched: {count} wanted, {warming} {are} warming up"),
            };
        }
        // Why it was wanted stands at the step; here it is what stood in the way.
        let (all, in_words) = (list(plan, "holds"), list(plan, "holds_in_words"));
        let stood = all.iter().zip(&in_words).filter(|(hold, _)| held.contains(hold)).filter_map(|(_, it)| it.as_str());
        let stood: Vec<&str> = stood.collect();
        if !stood.is_empty() {
            reason = stood.join("; ");
        }
    }
    match (count, taken, direction) {
        (0, ..) => format!("nothing {what}: {reason}"),
        (count, true, "shadow") => format!("{count} more shadows left as they are: {reason}"),
        (count, true, _) => format!("{count} more not {what}: {reason}"),
        (count, false, _) => format!("nothing {what} ({count} {verb}): {reason}"),
    }
}

/// The plan in words.
fn words(plan: &Value) -> String {
    let text = |key: &str| plan.get(key).and_then(Value::as_str).unwrap_or("?");
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64);
    let or_unknown = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut said = vec![format!(
        "{}{}: mode {}, plan {} of {}",
        text("group"),
        if plan.get("simulated") == Some(&Value::Bool(true)) { " (simulated)" } else { "" },
        text("mode"),
        or_unknown(number(plan, "generation")),
        plan.get("made_at")
            .and_then(Value::as_i64)
            .and_then(|at| jiff::Timestamp::from_second(at).ok())
            .map_or_else(|| "?".to_owned(), |at| at.to_string()),
    )];
    said.push(format!(
        "{} serving, {} warming; {} needed now, {} ahead{}",
        or_unknown(number(plan, "serving")),
        or_unknown(number(plan, "warming")),
        or_unknown(number(plan, "need_now")),
        or_unknown(number(plan, "need_ahead")),
        plan.get("binding")
            .and_then(Value::as_str)
            .map_or_else(String::new, |metric| format!(" ({metric} asks for most)")),
    ));
    if let Some(trace) = plan.get("trace_id").and_then(Value::as_str) {
        said.push(format!("trace {trace}"));
    }
    for need in list(plan, "needs") {
        let float = |key: &str| need.get(key).and_then(Value::as_f64);
        said.push(format!(
            "  {}: demand {}, {} now, {} ahead, {} over the shadow window, {} if idle machines use nothing, trust {:.2}",
            need.get("metric").and_then(Value::as_str).unwrap_or("?"),
            float("demand").map_or_else(|| "?".to_owned(), |demand| format!("{demand:.0}")),
            or_unknown(number(&need, "reactive")),
            or_unknown(number(&need, "ahead")),
            or_unknown(number(&need, "window")),
            or_unknown(number(&need, "without_baseline")),
            float("trust").unwrap_or_default(),
        ));
        for (key, when) in [("events", "ahead"), ("window_events", "over the shadow window")] {
            let names: Vec<String> =
                list(&need, key).iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect();
            if !names.is_empty() {
                said.push(format!("    {when} raised by {}", names.join(", ")));
            }
        }
    }
    let verdicts = list(plan, "verdicts");
    for (index, step) in list(plan, "steps").iter().enumerate() {
        let will = if step.get("permitted") == Some(&Value::Bool(true)) { "does" } else { "would" };
        let what = step.get("step").and_then(Value::as_str).unwrap_or("?");
        let instances: Vec<String> =
            list(step, "instances").iter().filter_map(|id| Some(id.as_str()?.to_owned())).collect();
        let whom = number(step, "count").or_else(|| number(step, "to"));
        let whom = whom.map_or_else(|| instances.join(", "), |count| count.to_string());
        said.push(format!("{will} {what} {whom}: {}", step.get("reason").and_then(Value::as_str).unwrap_or("?")));
        let verdict = verdicts.iter().find(|verdict| number(verdict, "step") == u64::try_from(index).ok());
        let refusals = verdict.map(|verdict| list(verdict, "refusals")).unwrap_or_default();
        if verdict.is_some() && refusals.is_empty() {
            said.push("    the checker would let it".to_owned());
        }
        said.extend(refusals.iter().filter_map(|why| Some(format!("    the checker refuses: {}", why.as_str()?))));
    }
    said.extend(list(plan, "not_taken").iter().map(|left| not_taken(left, plan)));
    let (names, in_words) = (list(plan, "holds"), list(plan, "holds_in_words"));
    if !names.is_empty() {
        said.push("holds".to_owned());
    }
    for (name, words) in names.iter().zip(&in_words) {
        let name = name.get("hold").and_then(Value::as_str).unwrap_or("?");
        said.push(format!("  {name:<24} {}", words.as_str().unwrap_or("?")));
    }
    said.push(String::new());
    said.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beneath_a_plan_reads_in_words() {
        let record = serde_json::json!({
            "decision": {
                "evidence": {
                    "inventory": {"complete": true, "age_seconds": 12},
                    "metrics": {"cpu": {"age_seconds": 10, "demand": {"reporting": 9, "serving": 10},
                        "baseline": {"points": 4.25}, "forecast": {"model": "climate", "measured_coverage": 0.79,
                        "nominal_coverage": 0.8}}},
                },
                "policy": {"launch_lead_seconds": 180, "reattach_lead_seconds": 20},
            },
            "calls": [{"action": "launch", "settled": {"settled": "refused", "why": ["no capacity"]}},
                {"action": "attach", "settled": null}],
        });
        let said = beneath(&record);
        for line in [
            "  an inventory complete and 12 s old; leads 180 s to launch, 20 s to re-attach",
            "  cpu 10 s old, 9 of 10 report, baseline 4.2; forecast by climate, held 79 % of the time for 80 %",
            "called launch: refused: no capacity",
            "called attach: open",
        ] {
            assert!(said.lines().any(|said| said == line), "{line}\nin\n{said}");
        }
    }

    #[test]
    fn what_was_not_launched_is_told_beside_what_was() {
        let at_most = serde_json::json!({"hold": "AtMaximum", "maximum": 9, "wanted": 10});
        let warming = serde_json::json!({"hold": "Warming", "instances": 1});
        let left = |instances: u32, holds: &[&Value]| serde_json::json!({"direction": "scale_out", "instances": instances, "reason": "cpu needs 15", "holds": holds});
        let plan = |steps: Value| serde_json::json!({"steps": steps, "holds": [warming, at_most], "holds_in_words": ["1 warms up", "9 are allowed"]});
        let launches = plan(serde_json::json!([{"step": "launch", "count": 4}]));
        let none = plan(serde_json::json!([]));
        for (left, plan, said) in [
            (left(1, &[&at_most]), &launches, "1 more not launched: 9 are allowed"),
            (left(2, &[&at_most, &warming]), &none, "nothing launched (2 wanted): 1 warms up; 9 are allowed"),
            (left(1, &[&warming]), &launches, "1 more not launched: 1 is warming up"),
            (left(1, &[&warming]), &none, "nothing launched: 1 wanted, 1 is warming up"),
            (left(0, &[]), &none, "nothing launched: cpu needs 15"),
        ] {
            assert_eq!(not_taken(&left, plan), said);
        }
    }

    #[test]
    fn a_pause_that_stands_comes_first() {
        let said =
            |paused: bool| serde_json::json!({"paused": paused, "at": 1_800_000_000, "by": "ops", "reason": "a look"});
        assert_eq!(pauses(&serde_json::json!({"group": said(false), "everywhere": null}), "web"), "");
        assert_eq!(
            pauses(&serde_json::json!({"group": said(true), "everywhere": said(true)}), "web"),
            "PAUSED: everything, since 2027-01-15T08:00:00Z by ops: a look (foreshadow resume)\n\
             PAUSED: web, since 2027-01-15T08:00:00Z by ops: a look (foreshadow resume web)\n"
        );
    }

    #[test]
    fn a_plan_reads_in_words() {
        let plan = serde_json::json!({
            "group": "web", "mode": "observe", "generation": 12, "trace_id": "cf4b876102fc1d4c8c970d3fd8091911", "made_at": 1_800_000_000, "serving": 10, "warming": 0,
            "need_now": 9, "need_ahead": 15, "binding": "cpu",
            "needs": [{"metric": "cpu", "demand": 498.7, "reactive": 9, "ahead": 15, "window": 16, "trust": 0.8,
                "without_baseline": 9, "events": ["Black Friday"], "window_events": ["Black Friday", "launch"]}],
            "steps": [{"step": "launch", "count": 4, "reason": "cpu needs 9 now and 15 ahead", "permitted": false}],
            "verdicts": [{"step": 0, "allowed": false, "refusals": ["agents do not prove who they are"]}],
            "not_taken": [{"direction": "scale_in", "instances": 1, "reason": "the forecast needs them"}],
            "holds": [{"hold": "WarmUp", "seconds_left": 9}], "holds_in_words": ["started moments ago"],
        });
        let said = words(&plan);
        for line in [
            "web: mode observe, plan 12 of 2027-01-15T08:00:00Z",
            "10 serving, 0 warming; 9 needed now, 15 ahead (cpu asks for most)",
            "trace cf4b876102fc1d4c8c970d3fd8091911",
            "    ahead raised by Black Friday",
            "    over the shadow window raised by Black Friday, launch",
            "would launch 4: cpu needs 9 now and 15 ahead",
            "    the checker refuses: agents do not prove who they are",
            "nothing taken away (1 possible): the forecast needs them",
            "  WarmUp                   started moments ago",
        ] {
            assert!(said.lines().any(|said| said == line), "{line}\nin\n{said}");
        }
    }
}
