//! `[remote_write]`: what Prometheus sends, and what it is of ours.

use std::collections::BTreeMap;

use foreshadow_agent::reader::{Reader, Section, want};
use foreshadow_proto::convert::Id;
use planner::policy::Metric;
use serde::Serialize;

use super::{Declared, Of, one_of};

/// `[remote_write]`.
#[derive(Debug, Clone, Serialize)]
pub struct RemoteWrite {
    /// The label that names the instance.
    pub instance_label: String,
    /// `10.0.0.1:9100` is the instance `10.0.0.1`.
    pub strip_port: bool,
    /// The label that names the group, as a claim: an inventory source that has the instance knows better.
    pub group_label: Option<String>,
    /// By the name of the Prometheus metric.
    pub metrics: BTreeMap<String, Mapping>,
}

/// `[remote_write.metric.NAME]`: one of their metrics.
#[derive(Debug, Clone, Serialize)]
pub struct Mapping {
    pub gives: Gives,
    /// Of what the value is; a declared metric may be of a group as a whole.
    pub of: Of,
    /// The group it is of, where no label names that.
    pub group: Option<Id>,
    /// Series with these labels alone.
    pub labels: BTreeMap<String, String>,
    /// And with none of these.
    pub without: BTreeMap<String, String>,
    /// It only grows: what counts is its growth per second.
    pub counter: bool,
    pub over: Over,
    /// value = offset + scale × theirs.
    pub scale: f64,
    pub offset: f64,
}

/// What a metric is of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gives {
    CpuPercent,
    CpuStealPercent,
    MemoryUsedBytes,
    MemoryAvailableBytes,
    MemoryTotalBytes,
    InBytes,
    OutBytes,
    InPackets,
    OutPackets,
    /// A metric that is declared.
    #[serde(untagged)]
    Custom(Metric),
}

/// How an instance's series become one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    Mean,
    Sum,
}

/// Exporters whose metrics are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Exporter {
    Node,
    None,
}

impl Mapping {
    fn of(gives: Gives) -> Self {
        Self {
            gives,
            of: Of::Instance,
            group: None,
            labels: BTreeMap::new(),
            without: BTreeMap::new(),
            counter: false,
            // A load of its own unit adds up.
            over: if matches!(gives, Gives::Custom(_)) { Over::Sum } else { Over::Mean },
            scale: 1.0,
            offset: 0.0,
        }
    }
}

/// What node_exporter measures.
fn node() -> BTreeMap<String, Mapping> {
    let label = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let traffic =
        |gives| Mapping { counter: true, over: Over::Sum, without: label("device", "lo"), ..Mapping::of(gives) };
    let idle = Mapping {
        labels: label("mode", "idle"),
        counter: true,
        scale: -100.0,
        offset: 100.0,
        ..Mapping::of(Gives::CpuPercent)
    };
    [
        ("node_cpu_seconds_total", idle),
        ("node_memory_MemAvailable_bytes", Mapping::of(Gives::MemoryAvailableBytes)),
        ("node_memory_MemTotal_bytes", Mapping::of(Gives::MemoryTotalBytes)),
        ("node_network_receive_bytes_total", traffic(Gives::InBytes)),
        ("node_network_transmit_bytes_total", traffic(Gives::OutBytes)),
        ("node_network_receive_packets_total", traffic(Gives::InPackets)),
        ("node_network_transmit_packets_total", traffic(Gives::OutPackets)),
    ]
    .map(|(name, mapping)| (name.to_owned(), mapping))
    .into()
}

/// `None` where the section is not there.
pub(super) fn read(
    reader: &mut Reader,
    root: &mut Section<'_>,
    declared: &BTreeMap<Metric, Declared>,
) -> Option<RemoteWrite> {
    let mut section = root.section(reader, "remote_write");
    if !section.is_present() {
        return None;
    }
    let mut read = RemoteWrite {
        instance_label: "instance".to_owned(),
        strip_port: true,
        group_label: section.get(reader, "group_label", want::text),
        metrics: BTreeMap::new(),
    };
    section.set(reader, "instance_label", &mut read.instance_label, want::text);
    section.set(reader, "strip_port", &mut read.strip_port, want::boolean);
    let mut exporter = Exporter::None;
    section.set(reader, "exporter", &mut exporter, |value| one_of(value, [Exporter::Node, Exporter::None]));
    if exporter == Exporter::Node {
        read.metrics = node();
    }
    for (name, section) in section.sections(reader, "metric") {
        if let Some(mapping) = mapping(reader, section, declared, read.group_label.is_some()) {
            read.metrics.insert(name, mapping);
        }
    }
    pairs(reader, &section, &read.metrics);
    section.finish(reader);
    Some(read)
}

fn mapping(
    reader: &mut Reader,
    mut section: Section<'_>,
    declared: &BTreeMap<Metric, Declared>,
    labelled: bool,
) -> Option<Mapping> {
    use Gives::{
        CpuPercent, CpuStealPercent, InBytes, InPackets, MemoryAvailableBytes, MemoryTotalBytes, MemoryUsedBytes,
        OutBytes, OutPackets,
    };
    let words = [
        CpuPercent,
        CpuStealPercent,
        MemoryUsedBytes,
        MemoryAvailableBytes,
        MemoryTotalBytes,
        InBytes,
        OutBytes,
        InPackets,
        OutPackets,
    ];
    let gives = section.get(reader, "gives", |value| {
        let text = want::text(value)?;
        let custom = declared.keys().find(|metric| metric.as_str() == text).copied().map(Gives::Custom);
        custom.map_or_else(|| one_of(value, words), Ok).map_err(|problem| {
            let own: Vec<&str> = declared.keys().map(|metric| metric.as_str()).collect();
            let own = if own.is_empty() { "and no [metric.NAME] is declared".to_owned() } else { own.join(", ") };
            format!("{problem}, {own}")
        })
    });
    if gives.is_none() && !section.has("gives") {
        section.fault(reader, "gives", "is missing: which of ours is it?");
    }
    let mut read = Mapping::of(gives.unwrap_or(CpuPercent));
    read.group =
        section.get(reader, "group", |value| Id::new("group", &want::text(value)?).map_err(|error| error.to_string()));
    if let Gives::Custom(metric) = read.gives
        && let Some(metric) = declared.get(&metric)
    {
        read.of = metric.of;
    }
    if read.of == Of::Group && read.group.is_none() && !labelled && !section.has("group") {
        section.fault(reader, "gives", "is told of a group: set group here, or remote_write.group_label");
    }
    if read.of == Of::Instance && read.group.is_some() {
        section.fault(reader, "group", "is for metrics that are told of a group; this one is told of each instance");
    }
    read.labels = section.map(reader, "labels", |_, value| want::text(value)).unwrap_or_default().into_iter().collect();
    let without = section.map(reader, "without", |_, value| want::text(value));
    read.without = without.unwrap_or_default().into_iter().collect();
    section.set(reader, "counter", &mut read.counter, want::boolean);
    section.set(reader, "over", &mut read.over, |value| one_of(value, [Over::Mean, Over::Sum]));
    section.set(reader, "scale", &mut read.scale, want::number(-1e12..=1e12));
    section.set(reader, "offset", &mut read.offset, want::number(-1e12..=1e12));
    section.finish(reader);
    gives.map(|_| read)
}

/// What stands for itself nowhere, and what is given twice.
fn pairs(reader: &mut Reader, section: &Section<'_>, metrics: &BTreeMap<String, Mapping>) {
    let given: Vec<Gives> = metrics.values().map(|mapping| mapping.gives).collect();
    let has = |gives: Gives| given.contains(&gives);
    if given.is_empty() {
        section.fault(
            reader,
            "metric",
            "nothing is mapped: set exporter = \"node\", or [remote_write.metric.NAME] gives",
        );
    }
    let memory = has(Gives::MemoryUsedBytes) || has(Gives::MemoryAvailableBytes);
    if memory != has(Gives::MemoryTotalBytes) {
        section.fault(
            reader,
            "metric",
            "memory needs memory_total_bytes and one of memory_used_bytes, memory_available_bytes",
        );
    }
    // By its packets a shadow that somebody talks to is told from a quiet one: absent is not zero.
    let network = [Gives::InBytes, Gives::OutBytes, Gives::InPackets, Gives::OutPackets];
    if network.into_iter().any(has) && !network.into_iter().all(has) {
        section.fault(
            reader,
            "metric",
            "the network needs in_bytes, out_bytes, in_packets and out_packets: absent is not zero",
        );
    }
    if has(Gives::CpuStealPercent) && !has(Gives::CpuPercent) {
        section.fault(reader, "metric", "cpu_steal_percent needs cpu_percent beside it");
    }
    if has(Gives::MemoryUsedBytes) && has(Gives::MemoryAvailableBytes) {
        section.fault(reader, "metric", "memory_used_bytes and memory_available_bytes say the same: one of them");
    }
    for (index, gives) in given.iter().enumerate() {
        if given.get(..index).is_some_and(|before| before.contains(gives)) {
            let word = serde_json::to_value(gives).unwrap_or_default();
            section.fault(reader, "metric", format!("two metrics give {}", word.as_str().unwrap_or_default()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn the_node_exporter_is_known_and_can_be_changed() {
        let config = Config::parse(
            "f.toml",
            "[remote_write]\nexporter = \"node\"\ngroup_label = \"job\"\n[remote_write.metric.node_network_receive_bytes_total]\n\
             gives = \"in_bytes\"\ncounter = true\nlabels = { device = \"eth0\" }\n",
        );
        let read = config.expect("right").remote_write.expect("there");
        assert_eq!(read.metrics.len(), 7);
        assert_eq!(read.metrics["node_cpu_seconds_total"].labels["mode"], "idle");
        assert!(read.metrics["node_network_receive_bytes_total"].without.is_empty());
        assert!(Config::parse("f.toml", "").expect("right").remote_write.is_none());
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (text, said) in [
            ("[remote_write]\n", "nothing is mapped"),
            ("[remote_write.metric.x]\n", "remote_write.metric.x.gives: is missing"),
            ("[remote_write.metric.x]\ngives = \"disk\"\n", "is none of cpu_percent"),
            ("[metric.q]\nof = \"group\"\n[remote_write.metric.x]\ngives = \"qq\"\n", "out_packets, q"),
            (
                "[metric.q]\nof = \"group\"\n[remote_write.metric.x]\ngives = \"q\"\n",
                "gives: is told of a group: set group",
            ),
            (
                "[metric.r]\nof = \"instance\"\n[remote_write.metric.x]\ngives = \"r\"\ngroup = \"web\"\n",
                "remote_write.metric.x.group: is for metrics that are told of a group",
            ),
            ("[remote_write.metric.x]\ngives = \"in_bytes\"\n", "needs in_bytes, out_bytes, in_packets"),
            ("[remote_write.metric.x]\ngives = \"memory_used_bytes\"\n", "memory needs memory_total_bytes"),
            ("[remote_write.metric.x]\ngives = \"cpu_percent\"\nscael = 1\n", "did you mean \"scale\"?"),
            (
                "[remote_write.metric.x]\ngives = \"cpu_percent\"\n[remote_write.metric.y]\ngives = \"cpu_percent\"\n",
                "two metrics give cpu_percent",
            ),
        ] {
            let faults = Config::parse("f.toml", text).expect_err(text);
            assert!(faults.iter().any(|fault| fault.to_string().contains(said)), "{text}: {faults:?}");
        }
    }
}
