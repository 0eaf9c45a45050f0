//! `foreshadow models`: what each model has earned in a group, and what the intervals held. `foreshadow models check FILE`: what will
//! be said when a file is configured, before it is.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use neural::{Manifest, Network};
use serde_json::{Value, json};

use crate::client::{Client, escaped};
use crate::train::scores_in_words;

/// The bands in which models are judged, each as wide as its values.
const BANDS: [&str; 3] = ["<1 h", "<6 h", "later"];
/// A mixture of many models is longer than a screen is wide; their shares stand below it.
const WIDE: usize = 80;

/// List each group's models with their shares and scores, or check a file.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ModelsArguments {
    #[command(subcommand)]
    pub ask: Option<Ask>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, clap::Args)]
struct List {
    /// This group alone
    group: Option<String>,
    /// The answers themselves, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: Client,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Ask {
    /// Load an ONNX file with its manifest beside it and replay its golden vectors: 0 when it can be served, 64 when not
    Check {
        file: PathBuf,
        /// Say what was found as JSON
        #[arg(long)]
        json: bool,
    },
}

/// What the aggregator says of its groups' models.
///
/// # Errors
/// When it does not answer, or does not know the group.
pub async fn list(arguments: &ModelsArguments) -> anyhow::Result<()> {
    let List { group, json, client } = &arguments.list;
    let names = match group {
        Some(group) => vec![group.clone()],
        None => {
            let answer = client.get("/groups").await?;
            let groups = answer.get("groups").and_then(Value::as_array).cloned().unwrap_or_default();
            groups.iter().filter_map(|group| Some(group.get("name")?.as_str()?.to_owned())).collect()
        }
    };
    let mut all = serde_json::Map::new();
    for name in names {
        let answer = client.get(&format!("/groups/{}/models", escaped(&name))).await?;
        if !json {
            print!("{}", table(&name, &answer));
        }
        all.insert(name, answer);
    }
    if *json {
        println!("{:#}", Value::Object(all));
    } else if all.is_empty() {
        println!("no group is known yet");
    }
    Ok(())
}

/// One group: a line a metric, a line a model, those with the largest share first.
fn table(group: &str, answer: &Value) -> String {
    let mut lines = Vec::new();
    for (metric, report) in answer.as_object().into_iter().flatten() {
        let Some(standing) = report.get("standing").filter(|it| it.is_object()) else {
            let why = report.get("refused").and_then(Value::as_str).unwrap_or("nothing was forecast yet");
            lines.push(format!("{group} {metric}: {why}"));
            continue;
        };
        let trust = standing.get("trust").and_then(|trust| trust.get("score")).and_then(Value::as_f64);
        let mut members = standing.get("members").and_then(Value::as_array).cloned().unwrap_or_default();
        let headed = |what: &str| format!("{group} {metric}: {what} (trust {:.2})", trust.unwrap_or_default());
        let whole = headed(standing.get("model").and_then(Value::as_str).unwrap_or("?"));
        let long = whole.chars().count() > WIDE;
        lines.push(if long { headed(&format!("a mixture of {} models", members.len())) } else { whole });
        lines.push(format!("  {:<22}{:<26}loss beside seasonal naive", "model", "share"));
        let [shares, losses] = [6, 5].map(|width| BANDS.map(|band| format!("{band:>width$}")).join(" "));
        lines.push(format!("  {:<22}{shares:<26}{losses}", ""));
        let by_band = |of: &Value, key: &str, scale: f64, unit: &str| {
            let found = of.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
            let shown = (0..BANDS.len()).map(|band| match found.get(band).and_then(Value::as_f64) {
                Some(value) if scale > 1.0 => format!("{:>4.0}{unit}", scale * value),
                Some(value) => format!("{value:>5.2}{unit}"),
                None => format!("{:>5}{unit}", "-"),
            });
            shown.collect::<Vec<_>>().join(" ")
        };
        let share = |member: &Value| {
            let weights = member.get("weights").and_then(Value::as_array);
            weights.into_iter().flatten().filter_map(Value::as_f64).fold(0.0, f64::max)
        };
        members.sort_by(|a, b| share(b).total_cmp(&share(a)));
        for member in &members {
            let name = member.get("model").and_then(Value::as_str).unwrap_or("?");
            let (shares, losses) = (by_band(member, "weights", 100.0, " %"), by_band(member, "losses", 1.0, ""));
            lines.push(format!("  {name:<22}{shares:<26}{losses}"));
        }
        for held in standing.get("coverage").and_then(Value::as_array).into_iter().flatten() {
            let band =
                held.get("band").map_or_else(String::new, |band| band.to_string().trim_matches('"').replace('_', " "));
            // The wider interval below the other, where it is forecast.
            for interval in [Some(held), held.get("wide").filter(|wide| wide.is_object())].into_iter().flatten() {
                let number = |key: &str| interval.get(key).and_then(Value::as_f64);
                let measured = number("measured")
                    .map_or_else(|| "not measured yet".to_owned(), |it| format!("held {:.0} %", 100.0 * it));
                lines.push(format!(
                    "  {:.0} % interval {band}: {measured} of {}",
                    100.0 * number("nominal").unwrap_or_default(),
                    interval.get("observations").and_then(Value::as_u64).unwrap_or_default()
                ));
            }
        }
    }
    lines.push(String::new());
    if lines.len() == 1 { format!("{group}: no metric has a target\n") } else { lines.join("\n") }
}

/// Answers in words.
///
/// # Errors
/// What is wrong with the file, and where in it.
pub fn run(ask: &Ask) -> Result<(), neural::check::Refusal> {
    let Ask::Check { file, json } = ask;
    let network = Network::read(file);
    if *json {
        println!("{:#}", verdict(file, network.as_ref()));
        return network.map(drop);
    }
    let network = network?;
    let read = network.manifest();
    let contract = &read.contract;
    let words: Vec<&str> = contract.features.iter().map(|feature| feature.word()).collect();
    println!("{}: can be served; {} golden vectors are right", file.display(), read.golden.len());
    println!("made by {}", read.made_by);
    println!(
        "{} steps of {} s, {} features ({}) -> {} steps, levels {:?}",
        contract.window,
        contract.step_seconds,
        words.len(),
        words.join(", "),
        contract.horizon,
        contract.levels
    );
    if let Some(trained) = &read.trained {
        let day = |at: i64| jiff::Timestamp::from_second(at).map_or_else(|_| at.to_string(), |at| at.to_string());
        println!(
            "trained on {}: {} series, {} windows, {} epochs, seed {}, {} to {}",
            trained.on,
            trained.series,
            trained.windows,
            trained.epochs,
            trained.seed,
            day(trained.from),
            day(trained.to)
        );
    }
    println!("{}", scores_in_words(read));
    Ok(())
}

/// What was found of a file, for a program: its manifest, without the vectors themselves.
fn verdict(file: &Path, found: Result<&Network, &neural::check::Refusal>) -> Value {
    match found {
        Err(refusal) => json!({ "file": file, "served": false, "why": refusal.to_string() }),
        Ok(network) => {
            let Manifest { made_by, contract, trained, scores, sha256, golden, .. } = network.manifest();
            json!({ "file": file, "served": true, "golden_vectors": golden.len(), "sha256": sha256, "made_by": made_by,
                "contract": contract, "trained": trained, "scores": scores })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_share_comes_first_and_what_is_not_known_is_said() {
        let answer = serde_json::json!({
            "cpu": {"standing": {"model": "trees 70 % + level 30 %", "trust": {"score": 0.81},
                "members": [
                    {"model": "level", "weights": [0.3, 0.1, 0.0], "losses": [0.6, 0.9, 1.2]},
                    {"model": "trees", "weights": [0.7, 0.9, 1.0], "losses": [0.4, 0.5, null]}],
                "coverage": [{"band": "hour", "nominal": 0.8, "measured": 0.79, "observations": 120,
                    "wide": {"nominal": 0.9, "measured": 0.93, "observations": 110}}]}},
            "network_in": {"standing": null, "refused": "needs 30 min"}});
        let said = table("web", &answer);
        assert!(said.starts_with("web cpu: trees 70 % + level 30 % (trust 0.81)\n"), "{said}");
        assert!(said.contains("  <1 h   <6 h  later") && said.contains(" <1 h  <6 h later\n"), "{said}");
        let mixed = ["trees 20 %"; 9].join(" + ");
        let long =
            serde_json::json!({"cpu": {"standing": {"model": mixed, "trust": {"score": 0.5}, "members": [{}, {}]}}});
        assert!(table("web", &long).starts_with("web cpu: a mixture of 2 models (trust 0.50)\n"));
        assert!(said.find("\n  trees").expect("trees") < said.find("\n  level").expect("level"), "{said}");
        assert!(said.contains("  70 %   90 %  100 %") && said.contains(" 0.40  0.50     -"), "{said}");
        assert!(
            said.contains("80 % interval hour: held 79 % of 120\n  90 % interval hour: held 93 % of 110\n")
                && said.contains("web network_in: needs 30 min"),
            "{said}"
        );
        assert_eq!(table("web", &Value::Null), "web: no metric has a target\n");
    }
}
