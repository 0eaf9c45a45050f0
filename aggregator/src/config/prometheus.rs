//! `[prometheus]`: a server that is asked for what it scrapes, where it cannot write to us by itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use foreshadow_agent::reader::{Reader, Section, want};
use http::Uri;
use planner::policy::Metric;
use serde::Serialize;

use super::inventory::{as_text, secure_url};
use super::mapped::{self, Mapped};
use super::{Declared, path};

/// Every scrape once, and soon.
const INTERVAL_SECONDS: u32 = 15;

/// `[prometheus]`.
#[derive(Debug, Clone, Serialize)]
pub struct Prometheus {
    /// Where its API is, without `/api/v1`.
    #[serde(serialize_with = "as_text")]
    pub url: Uri,
    pub interval_seconds: u32,
    /// Series with these labels alone.
    pub labels: BTreeMap<String, String>,
    /// Holds a bearer token.
    pub token_file: Option<PathBuf>,
    /// PEM of the authority that signed its certificate.
    pub ca_file: Option<PathBuf>,
    #[serde(flatten)]
    pub mapped: Mapped,
}

/// `None` where the section is not there.
pub(super) fn read(
    reader: &mut Reader,
    root: &mut Section<'_>,
    declared: &BTreeMap<Metric, Declared>,
) -> Option<Prometheus> {
    let mut section = root.section(reader, "prometheus");
    if !section.is_present() {
        return None;
    }
    let url = section.get(reader, "url", secure_url);
    if url.as_ref().is_some_and(|url: &Uri| url.query().is_some()) {
        section.fault(reader, "url", "has a query: give labels and token_file instead");
    }
    if url.is_none() && !section.has("url") {
        section.fault(reader, "url", "is missing: where it listens, as https://prometheus.example:9090");
    }
    let mut interval_seconds = INTERVAL_SECONDS;
    section.set(reader, "interval_seconds", &mut interval_seconds, want::count(1..=300));
    let labels = section.map(reader, "labels", |name, value| {
        if is_label(name) { want::text(value) } else { Err("is no name of a label".to_owned()) }
    });
    let labels = labels.unwrap_or_default().into_iter().collect();
    let token_file = section.get(reader, "token_file", path);
    let ca_file = section.get(reader, "ca_file", path);
    let mapped = mapped::asked(reader, section, declared);
    Some(Prometheus { url: url?, interval_seconds, labels, token_file, ca_file, mapped })
}

/// Whether PromQL takes it for a name as it stands.
pub(super) fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    let first = letters.next().is_some_and(|it| it.is_ascii_alphabetic() || matches!(it, '_' | ':'));
    first && letters.all(|it| it.is_ascii_alphanumeric() || matches!(it, '_' | ':'))
}

/// A label's name has no colon.
pub(super) fn is_label(text: &str) -> bool {
    is_name(text) && !text.contains(':')
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn faults_name_the_field_and_what_it_must_be() {
        for (text, said) in [
            ("exporter = \"node\"\n", "prometheus.url: is missing"),
            ("url = \"http://192.0.2.1:9090\"\nexporter = \"node\"\n", "must start with https://"),
            ("url = \"http://127.0.0.1:9090\"\n", "nothing is mapped: set exporter"),
            ("url = \"https://me:secret@prometheus.example\"\nexporter = \"node\"\n", "holds a name or a password"),
            ("url = \"https://prometheus.example?token=x\"\nexporter = \"node\"\n", "has a query"),
            (
                "url = \"http://127.0.0.1:9090\"\nexporter = \"node\"\nlabels = { \"a:b\" = \"c\" }\n",
                "is no name of a label",
            ),
            ("url = \"http://127.0.0.1:9090\"\nexporter = \"node\"\ninterval_seconds = 0\n", "interval_seconds"),
            (
                "url = \"http://127.0.0.1:9090\"\nexporter = \"node\"\nlabels = { \"a b\" = \"c\" }\n",
                "is no name of a label",
            ),
            (
                "url = \"http://127.0.0.1:9090\"\n[prometheus.metric.\"a b\"]\ngives = \"cpu_percent\"\n",
                "\"a b\" is no name of a metric",
            ),
            (
                "url = \"http://127.0.0.1:9090\"\n[prometheus.metric.up]\ngives = \"cpu_percent\"\nlabels = { \"a-b\" = \"c\" }\n",
                "\"a-b\" is no name of a label",
            ),
        ] {
            let faults = Config::parse("f.toml", &format!("[prometheus]\n{text}")).expect_err(text);
            assert!(faults.iter().any(|fault| fault.to_string().contains(said)), "{text}: {faults:?}");
        }
        let text =
            "[prometheus]\nurl = \"https://prometheus.example/a\"\nexporter = \"node\"\nlabels = { job = \"web\" }\n";
        let read = Config::parse("f.toml", text).expect("right").prometheus.expect("there");
        assert_eq!((read.interval_seconds, read.labels["job"].as_str(), read.mapped.metrics.len()), (15, "web", 7));
    }
}
