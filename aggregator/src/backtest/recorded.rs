//! History from the embedded store: the minutes of a group, read beside a running aggregator and never written.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};
use foreshadow_proto::convert::Id;
use planner::policy::Metric;

use crate::store::Beside;

/// Demand by minute, points net of an idle use of `idle` (a share) per instance; and how many minutes were lower bounds.
///
/// # Errors
/// When the directory has no store, or the store has no minutes of the group: then it names those it has.
pub async fn read_store(directory: &Path, group: &str, idle: f64) -> Result<(Vec<(i64, f64)>, usize)> {
    let id = Id::new("group", group).map_err(|error| anyhow::anyhow!("--group {group:?}: {error}"))?;
    let file = directory.join("foreshadow.db");
    if !file.is_file() {
        bail!(
            "{} is not there: give the store's directory with --directory, or the configuration with --config",
            file.display()
        );
    }
    let store = Beside::open(directory).await?;
    let minutes = store.minutes(&id, Metric::Cpu.as_str(), 0).await?;
    if minutes.is_empty() {
        let known: BTreeSet<String> = store.series().await?.into_iter().map(|(group, _)| group.to_string()).collect();
        let known: Vec<String> = known.into_iter().collect();
        bail!("the store at {} has no CPU minutes of {group:?}; it has: {}", directory.display(), known.join(", "));
    }
    let bounds = minutes.iter().filter(|minute| minute.lower_bound).count();
    let net = |gross: f64, weight: f64| (gross - 100.0 * idle * weight).max(0.0);
    Ok((minutes.iter().map(|minute| (minute.start, net(minute.gross_mean, minute.weight))).collect(), bounds))
}
