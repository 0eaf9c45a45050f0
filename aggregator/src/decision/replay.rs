//! A decision made again from its record.

use serde_json::{Value, json};
use similar::TextDiff;

use super::{Decision, FORMAT};
use crate::act::verdicts;

/// Why a record cannot be made again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("is no record of a decision: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error(
        "has the layout {0}, and this version knows {FORMAT} at most: use the version that wrote it, {1:?}, or a later one"
    )]
    Later(u32, String),
}

/// What came out differently: nothing when both texts are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub group: String,
    pub generation: u64,
    /// Lines that only the record has begin with `-`, lines that only the replay has with `+`.
    pub text: Option<String>,
}

/// Plans and judges again from a record (the JSON of a [`Decision`], or of an object that holds one as `decision`).
///
/// # Errors
/// When it is no record, or one of a later layout.
pub fn replay(record: &Value) -> Result<Difference, ReplayError> {
    let record = record.get("decision").unwrap_or(record);
    let format = record.get("format").and_then(Value::as_u64).and_then(|format| u32::try_from(format).ok());
    if let Some(format) = format.filter(|format| *format > FORMAT) {
        let by = record.get("version").and_then(Value::as_str).unwrap_or("unknown");
        return Err(ReplayError::Later(format, by.to_owned()));
    }
    let decision: Decision = serde_json::from_value(record.clone())?;
    let (plan, _) = planner::plan(decision.plan.made_at, &decision.policy, &decision.evidence, &decision.memory);
    let planned = decision.planned(plan);
    let judged = decision.judged.iter().map(|judged| {
        let refusals = verdicts::refusals(&planned, &judged.change, &decision.limits, &judged.around);
        json!({ "step": judged.step, "refusals": refusals })
    });
    let made = json!({ "plan": planned.plan, "judged": judged.collect::<Vec<_>>() });
    // The record's own text, not what was understood of it: a field that is lost in reading is a difference.
    let said = decision.judged.iter().map(|judged| json!({ "step": judged.step, "refusals": judged.refusals }));
    let was = json!({ "plan": record.get("plan"), "judged": said.collect::<Vec<_>>() });
    let (was, made) = (format!("{was:#}\n"), format!("{made:#}\n"));
    let text = (was != made).then(|| {
        TextDiff::from_lines(&was, &made).unified_diff().context_radius(2).header("recorded", "replayed").to_string()
    });
    Ok(Difference { group: decision.plan.group, generation: decision.plan.generation, text })
}
