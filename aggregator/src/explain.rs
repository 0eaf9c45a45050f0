//! `foreshadow explain GROUP`: a plan in words that a tired operator reads once.

use anyhow::Context as _;
use serde_json::Value;

use crate::client::{Client, escaped};

/// Say why a group is what it is, and why it is not changed.
#[derive(Debug, clap::Args)]
pub struct ExplainArguments {
    /// The group
    group: String,
    /// An older plan, by its generation
    #[arg(long, value_name = "N")]
    generation: Option<u64>,
    /// The plan itself, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: Client,
}

/// Asks and prints.
pub async fn run(arguments: &ExplainArguments) -> anyhow::Result<()> {
    let group = escaped(&arguments.group);
    let plan = match arguments.generation {
        Some(generation) => arguments.client.get(&format!("/plans/{generation}?group={group}")).await?,
        None => {
            let detail = arguments.client.get(&format!("/groups/{group}")).await?;
            detail.get("plan").filter(|plan| plan.is_object()).cloned().context("no plan was made yet")?
        }
    };
    if arguments.json {
        println!("{plan:#}");
    } else {
        print!("{}", words(&plan));
    }
    Ok(())
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
    for left in list(plan, "not_taken") {
        let (what, verb) = match left.get("direction").and_then(Value::as_str) {
            Some("scale_out") => ("launched", "wanted"),
            Some("shadow") => ("done to shadows", "there"),
            _ => ("taken away", "possible"),
        };
        let reason = left.get("reason").and_then(Value::as_str).unwrap_or("?");
        let count = number(&left, "instances").unwrap_or_default();
        let how_many = if count > 0 { format!(" ({count} {verb})") } else { String::new() };
        said.push(format!("nothing {what}{how_many}: {reason}"));
    }
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
    fn a_plan_reads_in_words() {
        let plan = serde_json::json!({
            "group": "web", "mode": "observe", "generation": 12, "made_at": 1_800_000_000, "serving": 10, "warming": 0,
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
