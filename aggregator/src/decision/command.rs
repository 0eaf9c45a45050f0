//! `foreshadow replay FILE`: plans again from records, and says where that gives another plan.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::replay;

/// Plan again from records of decisions.
#[derive(Debug, clap::Args)]
pub struct ReplayArguments {
    /// JSON: one record, an array of them, or one after the other (foreshadow explain GROUP --record > FILE)
    file: PathBuf,
    /// Say of each record what came out as JSON
    #[arg(long)]
    json: bool,
}

/// Replays every record of a file.
///
/// # Errors
/// When a record cannot be read, or gives another plan or another verdict: the difference is printed.
pub fn run(arguments: &ReplayArguments) -> anyhow::Result<()> {
    let name = arguments.file.display().to_string();
    let text = std::fs::read_to_string(&arguments.file).with_context(|| format!("{name}: cannot be read"))?;
    let mut records = Vec::new();
    for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        match value.with_context(|| format!("{name}: is no JSON; foreshadow explain GROUP --record writes records"))? {
            Value::Array(several) => records.extend(several),
            one => records.push(one),
        }
    }
    if records.is_empty() {
        bail!("{name}: holds no record; foreshadow explain GROUP --record writes one");
    }
    let (mut differ, mut told) = (0, Vec::new());
    for (number, record) in records.iter().enumerate() {
        let difference = replay(record).with_context(|| format!("{name}: record {}", number + 1))?;
        let (group, generation) = (&difference.group, difference.generation);
        differ += usize::from(difference.text.is_some());
        match difference.text {
            text if arguments.json => told
                .push(json!({ "group": group, "generation": generation, "same": text.is_none(), "difference": text })),
            None => println!("{group}, plan {generation}: the same, byte for byte"),
            Some(text) => println!("{group}, plan {generation}: another plan\n{text}"),
        }
    }
    if arguments.json {
        println!("{:#}", Value::Array(told));
    }
    if differ > 0 {
        bail!("{differ} of {} records give another plan or verdict", records.len());
    }
    Ok(())
}
