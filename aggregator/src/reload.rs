//! The configuration file, read again on SIGHUP: what can change while everything runs does, what needs a restart is named, and a file with a
//! fault changes nothing.
//!
//! It can loosen nothing that a restart could not: both go by the [leash](crate::leash).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use foreshadow_agent::reader::Fault;
use foreshadow_proto::convert::Id;
use planner::policy::Metric;
use serde_json::Value;

use crate::act;
use crate::clock::Clock;
use crate::config::{Config, Group};
use crate::fleet::Reach;
use crate::observe::Timeline;
use crate::rounds::Revised;
use crate::shadow::Sessions;
use crate::supervise;

/// Where the configuration comes from; flags stand above the file.
#[derive(Debug, Clone, Default)]
pub struct Source {
    pub file: Option<PathBuf>,
    pub listen: Option<SocketAddr>,
    pub directory: Option<PathBuf>,
}

impl Source {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// Every fault of the file.
    pub fn read(&self) -> Result<Config, Vec<Fault>> {
        let mut config = self.file.as_deref().map_or_else(|| Ok(Config::default()), Config::load)?;
        if let Some(address) = self.listen {
            config.listen.address = address;
        }
        if let Some(directory) = &self.directory {
            config.store.directory.clone_from(directory);
        }
        Ok(config)
    }
}

/// Why the former configuration still holds.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("the configuration has {} fault(s)", .0.len())]
    Config(Vec<Fault>),
    #[error("serve was started without --config: there is no file to read again")]
    NoFile,
    #[error("the state database: {0}")]
    Database(#[from] sqlx::Error),
}

/// What a reload reaches.
#[derive(Debug)]
pub struct Reload {
    /// What holds.
    pub(crate) config: Config,
    /// How far each source's cloud is.
    pub(crate) reach: BTreeMap<String, Reach>,
    pub(crate) act: act::Handle,
    pub(crate) timeline: Timeline,
    pub(crate) sessions: Sessions,
    pub(crate) revised: Revised,
    pub(crate) clock: Arc<dyn Clock>,
    /// Whether the file was refused the last time.
    pub(crate) refused: Refused,
}

impl Reload {
    /// Reads the file again. What came of it is in the log and in two metrics.
    pub async fn run(&mut self, source: &Source) {
        let done = match &source.file {
            None => Err(ReloadError::NoFile),
            Some(_) => match source.read() {
                Ok(config) => self.take(config).await,
                Err(faults) => Err(ReloadError::Config(faults)),
            },
        };
        match done {
            Ok(Taken { changed, waiting }) => {
                self.refused.set(None);
                told(true, self.clock.wall_seconds());
                match changed.as_slice() {
                    [] => tracing::info!(
                        "the configuration file was read again; nothing that holds without a restart changed"
                    ),
                    changed => tracing::info!(
                        fields = changed.join(", "),
                        "the configuration file was read again; it holds from the next round on"
                    ),
                }
                if !waiting.is_empty() {
                    tracing::warn!(fields = waiting.join(", "), "changed in the file, and needs a restart to hold");
                }
            }
            Err(error) => {
                let at = jiff::Timestamp::from_second(self.clock.wall_seconds()).unwrap_or_default();
                let mut why = error.to_string();
                if let ReloadError::Config(faults) = &error {
                    if let Some(first) = faults.first() {
                        why = format!("{why}, the first: {first}");
                    }
                    for fault in faults {
                        tracing::error!("{fault}");
                    }
                }
                self.refused.set(Some(format!(
                    "the configuration file was not taken at {at}, what held before still does: {why}"
                )));
                told(false, self.clock.wall_seconds());
                tracing::error!(%error, "the configuration file was not taken: what held before still does");
            }
        }
    }

    /// Takes a configuration; gives what of it changed, and what of it needs a restart.
    ///
    /// # Errors
    /// What is wrong with it; then nothing has changed, or limits have become tighter.
    pub async fn take(&mut self, config: Config) -> Result<Taken, ReloadError> {
        supervise::check_limits(&config, &self.reach).map_err(ReloadError::Config)?;
        let mut waiting = needs_restart(&self.config, &config);
        // Only of this are parts taken: what needs a restart stays as it is, and is named again the next time.
        let mut next = self.config.clone();
        next.groups = config.groups;
        waiting.extend(new_targets(&self.config, &mut next.groups));
        next.safety = config.safety;
        next.shadow = config.shadow;
        next.inventory.drain_seconds = config.inventory.drain_seconds;
        next.inventory.warm_up_seconds = config.inventory.warm_up_seconds;
        let now = self.clock.now();
        let leash = self.act.leash();
        // As at a start: modes first, for what a file may loosen depends on them.
        leash.control().follow(supervise::ceilings(&next), now.wall).await?;
        leash.reload(supervise::limits(&next, &self.reach), now.wall).await?;
        let common = leash.common();
        self.timeline.set_patience(supervise::patience(&common));
        self.sessions.follow_file(common.shadow).await;
        self.act.follow_safety();
        let learned =
            |config: &Config, group| config.groups.get(group).map(|it| it.history.clone()).unwrap_or_default();
        for group in self.config.groups.keys().chain(next.groups.keys()) {
            // After others there is another past.
            if learned(&self.config, group) != learned(&next, group) {
                self.revised.tell(group, now.boot);
            }
        }
        let changed = changes(&self.config, &next);
        self.config = next;
        Ok(Taken { changed, waiting })
    }
}

/// What Prometheus tells of itself as well.
pub(crate) fn told(successful: bool, now: i64) {
    metrics::gauge!("foreshadow_config_reload_successful").set(f64::from(u8::from(successful)));
    if successful {
        #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
        metrics::gauge!("foreshadow_config_last_reload_success_timestamp_seconds").set(now as f64);
    }
}

/// What a reload came to, by the fields of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// They hold from the next round on.
    pub changed: Vec<String>,
    /// They hold after a restart.
    pub waiting: Vec<String>,
}

/// Why the file was not taken the last time; `/readyz` says it until one is. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Refused(Arc<RwLock<Option<String>>>);

impl Refused {
    fn set(&self, why: Option<String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = why;
    }

    pub fn warning(&self) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Fields that differ and are read at the start alone.
fn needs_restart(holds: &Config, file: &Config) -> Vec<String> {
    const FOLLOWED: [&str; 5] = ["group", "safety", "shadow", "inventory.drain_seconds", "inventory.warm_up_seconds"];
    let mut found = changes(holds, file);
    found.retain(|field| {
        !FOLLOWED.iter().any(|followed| field == followed || field.starts_with(&format!("{followed}.")))
    });
    found
}

/// Fields that differ, as the file has them: `[group.NAME]`, `[metric.NAME]`, `[otlp.metric.NAME]`.
fn changes(one: &Config, other: &Config) -> Vec<String> {
    let of = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    let mut found = Vec::new();
    differences("", &of(one), &of(other), &mut found);
    let written = |(index, part)| match (index, part) {
        (0, "groups") => "group",
        (_, "metrics") => "metric",
        (_, part) => part,
    };
    found.iter().map(|field| field.split('.').enumerate().map(written).collect::<Vec<_>>().join(".")).collect()
}

/// Nobody takes values of a metric yet that was not declared at the start: groups with a target or a veto for one keep those they
/// had.
fn new_targets(holds: &Config, groups: &mut BTreeMap<Id, Group>) -> Vec<String> {
    let taken = |name: &String| Metric::ALL.iter().chain(holds.metrics.keys()).any(|metric| metric.as_str() == name);
    let mut waiting = Vec::new();
    for (group, read) in groups {
        if !read.targets.keys().all(taken) {
            let before = holds.groups.get(group).cloned().unwrap_or_default();
            (read.targets, read.reactive_targets) = (before.targets, before.reactive_targets);
            waiting.push(format!("group.{group}.targets"));
        }
        if !read.veto_above.keys().all(taken) {
            read.veto_above = holds.groups.get(group).map(|before| before.veto_above.clone()).unwrap_or_default();
            waiting.push(format!("group.{group}.veto_above"));
        }
    }
    waiting
}

fn differences(path: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(left), Value::Object(right)) => {
            let mut keys: Vec<&String> = left.keys().chain(right.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let of = |side: &serde_json::Map<String, Value>| side.get(key).cloned().unwrap_or_default();
                differences(&path, &of(left), &of(right), found);
            }
        }
        _ if one == other => {}
        _ => found.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_restart_is_named_and_nothing_else() {
        let config = |text: &str| Config::parse("f.toml", text).expect("right");
        let before = config("[group.web]\nminimum = 1\n[shadow]\ndefault_seconds = 600\n");
        let followed =
            "[group.web]\nminimum = 2\n[group.api]\n[shadow]\ndefault_seconds = 700\n[inventory]\ndrain_seconds = 9\n";
        assert_eq!(needs_restart(&before, &config(followed)), [""; 0]);
        let changed = ["group.api", "group.web.minimum", "inventory.drain_seconds", "shadow.default_seconds"];
        assert_eq!(changes(&before, &config(followed)), changed);
        assert_eq!(changes(&before, &before.clone()), [""; 0]);
        let found = needs_restart(
            &before,
            &config(
                "[listen]\naddress = \"127.0.0.1:9\"\n[inventory]\ninterval_seconds = 20\n[otlp]\nexporter = \"hostmetrics\"\n\
                 [store]\nraw_retention_hours = 24\n",
            ),
        );
        assert_eq!(found, ["inventory.interval_seconds", "listen.address", "otlp", "store.raw_retention_hours"]);
    }

    #[test]
    fn targets_of_a_metric_that_is_declared_anew_wait_for_a_restart() {
        let config = |text: &str| Config::parse("f.toml", text).expect("right");
        let queue = "[metric.queue]\nof = \"group\"\n";
        let before = config(&format!("{queue}[group.web]\ntargets = {{ cpu = 50, queue = 9 }}\n"));
        let file = config(&format!(
            "{queue}[metric.requests]\nof = \"instance\"\n[group.api]\ntargets = {{ queue = 7 }}\n\
             [group.web]\nminimum = 2\ntargets = {{ requests = 200 }}\nreactive_targets = {{ requests = 100 }}\n\
             veto_above = {{ requests = 900 }}\n"
        ));
        assert_eq!(needs_restart(&before, &file), ["metric.requests"]);
        let mut groups = file.groups.clone();
        assert_eq!(new_targets(&before, &mut groups), ["group.web.targets", "group.web.veto_above"]);
        let [api, web] = ["api", "web"].map(|name| &groups[&Id::new("group", name).expect("a name")]);
        assert_eq!(web.targets, before.groups.values().next().expect("web").targets);
        assert_eq!(web.veto_above.len(), 0);
        assert_eq!((web.minimum, web.reactive_targets.len(), api.targets["queue"]), (Some(2), 0, 7.0));
        assert_eq!(new_targets(&file, &mut file.groups.clone()), [""; 0], "after the restart nothing waits");
    }
}
