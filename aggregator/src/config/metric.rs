//! `[metric.NAME]`: metrics of the user's own that can drive capacity.

use std::collections::BTreeMap;

use foreshadow_agent::reader::{Reader, Section, want};
use planner::policy::Metric;
use serde::{Deserialize, Serialize};

use super::one_of;

/// `[metric.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Declared {
    pub of: Of,
    /// For people: `1/s`, `messages`.
    pub unit: Option<String>,
    /// For people: `Requests per second`.
    pub title: Option<String>,
}

/// Of what a value is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Of the group as a whole: the depth of its queue.
    Group,
    /// Of each instance: those that serve add up.
    Instance,
}

/// Every declared metric.
pub(super) fn read(reader: &mut Reader, root: &mut Section<'_>) -> BTreeMap<Metric, Declared> {
    let mut all = BTreeMap::new();
    for (name, mut section) in root.sections(reader, "metric") {
        let of = section.get(reader, "of", |value| one_of(value, [Of::Group, Of::Instance]));
        if of.is_none() && !section.has("of") {
            section.fault(
                reader,
                "of",
                "is missing: group where one value is told of all of it, instance where each tells its part",
            );
        }
        let unit = section.get(reader, "unit", words::<16>);
        let title = section.get(reader, "title", words::<64>);
        let metric = Metric::declare(&name).and_then(|metric| match metric.is_custom() {
            true => Ok(metric),
            false => Err(format!("{name} is measured by agents: a metric of your own has another name")),
        });
        match metric {
            Ok(metric) => drop(all.insert(metric, Declared { of: of.unwrap_or(Of::Group), unit, title })),
            Err(problem) => section.whole_fault(reader, problem),
        }
        section.finish(reader);
    }
    all
}

/// A few words for people.
fn words<const MOST: usize>(value: &toml_edit::Value) -> Result<String, String> {
    let text = want::text(value)?;
    let fits = !text.trim().is_empty() && text.chars().count() <= MOST && !text.chars().any(char::is_control);
    if fits { Ok(text) } else { Err(format!("must be 1 to {MOST} printable letters")) }
}

/// What a target may be given for, or why not.
pub(super) fn of_target(name: &str, declared: &BTreeMap<Metric, Declared>) -> Result<Metric, String> {
    let known = || Metric::ALL.into_iter().chain(declared.keys().copied());
    known().find(|metric| metric.as_str() == name).ok_or_else(|| {
        let known: Vec<&str> = known().map(Metric::as_str).collect();
        format!("unknown metric; known: {}; [metric.{name}] declares one of your own", known.join(", "))
    })
}

/// Whether a limit may be given for it, or why not.
pub(super) fn of_veto(name: &str, declared: &BTreeMap<Metric, Declared>) -> Result<(), String> {
    if declared.keys().any(|metric| metric.as_str() == name) {
        return Ok(());
    }
    let known: Vec<&str> = declared.keys().map(|metric| metric.as_str()).collect();
    let known = if known.is_empty() { "none is".to_owned() } else { known.join(", ") };
    Err(format!("no metric of your own (declared: {known}); [metric.{name}] declares one"))
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn a_declared_metric_takes_a_target_beyond_a_hundred() {
        let config = Config::parse(
            "f.toml",
            "[metric.requests]\nof = \"instance\"\nunit = \"1/s\"\ntitle = \"Requests per second\"\n\
             [group.web]\ntargets = { cpu = 60, requests = 250.5 }\nreactive_targets = { requests = 0.5 }\n",
        );
        let config = config.expect("right");
        let requests = Metric::declare("requests").expect("a name");
        assert_eq!(config.metrics[&requests].of, Of::Instance);
        assert_eq!(config.metrics[&requests].unit.as_deref(), Some("1/s"));
        let group = config.groups.values().next().expect("web");
        assert_eq!((group.targets["requests"], group.reactive_targets["requests"]), (250.5, 0.5));
    }

    #[test]
    fn what_cannot_be_is_named_with_its_line() {
        for (text, said) in [
            ("[metric.requests]\n", "f.toml:1: metric.requests.of: is missing"),
            (
                "[metric.requests]\nof = \"fleet\"\n",
                "f.toml:2: metric.requests.of: \"fleet\" is none of group, instance",
            ),
            ("[metric.cpu]\nof = \"group\"\n", "f.toml:1: metric.cpu: cpu is measured by agents"),
            ("[metric.Queue-1]\nof = \"group\"\n", "f.toml:1: metric.Queue-1: \"Queue-1\" is no name of a metric"),
            ("[metric.q]\nof = \"group\"\nunit = \"\"\n", "f.toml:3: metric.q.unit: must not be empty"),
            (
                "[metric.q]\nof = \"group\"\nunit = \"seventeen letters\"\n",
                "f.toml:3: metric.q.unit: must be 1 to 16 printable letters",
            ),
            ("[metric.q]\nof = \"group\"\nuint = \"x\"\n", "did you mean \"unit\"?"),
            ("[group.web]\ntargets = { rps = 200 }\n", "f.toml:2: group.web.targets.rps: unknown metric; known: cpu"),
            ("[group.web]\nveto_above = { cpu = 5 }\n", "f.toml:2: group.web.veto_above.cpu: no metric of your own"),
            (
                "[metric.q]\nof = \"group\"\n[group.web]\nveto_above = { q = -1 }\n",
                "f.toml:4: group.web.veto_above.q: -1 is not in",
            ),
            (
                "[metric.q]\nof = \"group\"\n[group.web]\ntargets = { q = 0 }\n",
                "f.toml:4: group.web.targets.q: 0 is not in",
            ),
            (
                "[metric.q]\nof = \"group\"\n[group.web]\ntargets = { q = 9 }\nreactive_targets = { q = 10 }\n",
                "f.toml:5: group.web.reactive_targets.q: 10 is not in",
            ),
        ] {
            let faults = Config::parse("f.toml", text).expect_err(text);
            assert!(faults.iter().any(|fault| fault.to_string().contains(said)), "{text}: {faults:?}");
        }
    }
}
