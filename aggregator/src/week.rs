//! `foreshadow week`: the last week of a group lived again in another mode, for a person at a terminal who is about to allow it.

use std::time::Duration;

use foreshadow_proto::convert::Id;
use serde_json::Value;

use crate::client::{Ask, escaped};
use crate::progress::{Progress, lasting};
use crate::table::table;

/// It takes some twenty seconds: asked for this often until it is there.
const AGAIN: Duration = Duration::from_secs(1);
/// Parts of the whole that progress is told in.
const PARTS: u64 = 1_000;
/// Holds that are named, the longest first.
const NAMED: usize = 5;

/// What would have followed.
#[derive(Debug, clap::Args)]
pub struct WeekArguments {
    /// The group
    group: Id,
    /// scale-out: launches and re-attaches; full: detaches and terminates as well
    #[arg(value_enum)]
    mode: Mode,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Mode {
    ScaleOut,
    Full,
}

impl Mode {
    const fn as_str(self) -> &'static str {
        match self {
            Self::ScaleOut => "scale-out",
            Self::Full => "full",
        }
    }
}

/// Has the week lived again, waits for it and shows what it came to.
///
/// # Errors
/// What the aggregator says: no such group, or too little of a past.
pub async fn run(arguments: &WeekArguments) -> anyhow::Result<()> {
    let (group, mode) = (&arguments.group, arguments.mode.as_str());
    let path = format!("/groups/{}/week?mode={mode}", escaped(group.as_str()));
    let progress = Progress::new("week", PARTS);
    let week = loop {
        let answer = arguments.ask.client.get(&path).await?;
        let Some(done) = answer["done"].as_f64() else { break answer };
        // One is lived at a time.
        progress.at(answer["behind"].as_str().map_or_else(String::new, |behind| format!("{behind} is lived first")));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share")]
        progress.set((done.clamp(0.0, 1.0) * PARTS as f64) as u64, PARTS);
        tokio::time::sleep(AGAIN).await;
    };
    progress.end();
    arguments.ask.tell(&week, |week| in_words(group, week));
    Ok(())
}

fn in_words(group: &Id, week: &Value) -> String {
    let at = |field: &str| {
        let at = jiff::Timestamp::from_second(week[field].as_i64().unwrap_or_default());
        at.map_or_else(|_| week[field].to_string(), |at| at.to_string())
    };
    let mode = week["mode"].as_str().unwrap_or("?");
    let mut said = format!("{group} from {} to {}, lived again in {mode}\n", at("from"), at("until"));
    let cell = |of: &Value, unit: &str| {
        of.as_f64().map_or_else(|| "not known".to_owned(), |value| format!("{value:.*}{unit}", digits(value)))
    };
    let row = |name: &str, field: &str, unit: &str| {
        [name.to_owned(), cell(&week["was"][field], unit), cell(&week["would"][field], unit)]
    };
    let mut rows = vec![row("instance-hours", "instance_hours", ""), row("above the target", "above_target", " %")];
    if !week["would"]["above_90"].is_null() {
        rows.push(row("above 90 %", "above_90", " %"));
    }
    rows.push(["of it in shadow, hours".to_owned(), "-".to_owned(), cell(&week["shadow_hours"], "")]);
    said += &table(["", "as it was", "would have been"], rows);
    said += &list("driven by", &week["driven_by"], |metric, minutes| format!("{metric} {}", minutes_of(minutes)));
    said += &list("done", &week["steps"], |step, instances| format!("{step} {instances}"));
    said += &list("kept by holds", &week["holds"], |hold, minutes| format!("{hold} {}", minutes_of(minutes)));
    if let Some(bridged @ 1..) = week["bridged"].as_u64() {
        said += &format!("{bridged} minutes that nobody measured are straight lines\n");
    }
    said.trim_end().to_owned()
}

/// One digit behind the point where there are not many before it.
const fn digits(value: f64) -> usize {
    if value.abs() < 10.0 { 2 } else { 0 }
}

fn minutes_of(minutes: u64) -> String {
    lasting(Duration::from_secs(60 * minutes))
}

/// A line of what an object counts, the most first; none where it counts nothing.
fn list(name: &str, counted: &Value, word: impl Fn(&str, u64) -> String) -> String {
    let mut all: Vec<(&str, u64)> = counted
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, count)| Some((name.as_str(), count.as_u64().filter(|count| *count > 0)?)))
        .collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let words: Vec<String> = all.iter().take(NAMED).map(|(name, count)| word(name, *count)).collect();
    if words.is_empty() { String::new() } else { format!("{name}: {}\n", words.join(", ")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_week_in_words_says_what_is_known_and_by_what() {
        let group = Id::new("group", "web").expect("an id");
        let mut week = json!({
            "mode": "full", "from": 0, "until": 604_800, "bridged": 12, "shadow_hours": 33.3,
            "driven_by": {"cpu": 80, "requests": 10_000},
            "was": {"above_target": 1.25, "instance_hours": 2_016.0},
            "would": {"above_target": 0.5, "instance_hours": 1_510.4},
            "steps": {"launch": 41, "detach": 33, "floor": 0}, "holds": {"LowTrust": 30, "Surprise": 600},
        });
        assert_eq!(
            in_words(&group, &week),
            "web from 1970-01-01T00:00:00Z to 1970-01-08T00:00:00Z, lived again in full\n\
             \x20                       as it was  would have been\n\
             instance-hours          2016       1510\n\
             above the target        1.25 %     0.50 %\n\
             of it in shadow, hours  -          33\n\
             driven by: requests 167 h, cpu 80 min\n\
             done: launch 41, detach 33\n\
             kept by holds: Surprise 10 h, LowTrust 30 min\n\
             12 minutes that nobody measured are straight lines"
        );
        week["would"]["above_90"] = json!(0.0);
        week.as_object_mut().expect("an object").remove("was");
        let said = in_words(&group, &week);
        assert!(said.contains("instance-hours          not known  1510"), "{said}");
        assert!(said.contains("above 90 %              not known  0.00 %"), "{said}");
    }
}
