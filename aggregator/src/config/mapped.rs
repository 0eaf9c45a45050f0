//! `[remote_write]`, `[otlp]` and `[line_protocol]`: what Prometheus, OpenTelemetry and clients of InfluxDB send, and what it is of ours.

use std::collections::BTreeMap;

use foreshadow_agent::reader::{Reader, Section, want};
use foreshadow_proto::convert::Id;
use planner::policy::Metric;
use serde::Serialize;

use super::prometheus::{is_label, is_name};
use super::{Declared, Of, one_of};

/// `[remote_write]`, `[otlp]` or `[line_protocol]`.
#[derive(Debug, Clone, Serialize)]
pub struct Mapped {
    /// The label that names the instance: the first of these that is there.
    pub instance_labels: Vec<String>,
    /// `10.0.0.1:9100` is the instance `10.0.0.1`.
    pub strip_port: bool,
    /// The label that names the group, as a claim: an inventory source that has the instance knows better.
    pub group_label: Option<String>,
    /// By what the section is called.
    pub metrics: BTreeMap<String, Mapping>,
}

/// `[remote_write.metric.NAME]` and those of the others: one of their metrics, or a part of one.
#[derive(Debug, Clone, Serialize)]
pub struct Mapping {
    /// What they call it.
    pub name: String,
    pub gives: Gives,
    /// Of what the value is; a declared metric may be of a group as a whole.
    pub of: Of,
    /// The group it is of, where no label names that.
    pub group: Option<Id>,
    /// Series with one of these values of each label alone.
    pub labels: BTreeMap<String, Vec<String>>,
    /// And with none of these.
    pub without: BTreeMap<String, Vec<String>>,
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

impl Gives {
    /// Whether two of them would say the same: used and available memory do.
    fn says_the_same(self, other: Self) -> bool {
        let used = |gives| matches!(gives, Self::MemoryUsedBytes | Self::MemoryAvailableBytes);
        self == other || (used(self) && used(other))
    }
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
    Collectd,
    Hostmetrics,
    Telegraf,
    None,
}

/// What differs between who sends.
struct Sender {
    section: &'static str,
    instance_labels: &'static [&'static str],
    strip_port: bool,
    /// Whose metrics are known, the usual one first.
    exporters: &'static [Exporter],
}

impl Exporter {
    const fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Collectd => "collectd",
            Self::Hostmetrics => "hostmetrics",
            Self::Telegraf => "telegraf",
            Self::None => "none",
        }
    }

    /// What it measures.
    fn metrics(self) -> BTreeMap<String, Mapping> {
        match self {
            Self::Node => node(),
            Self::Collectd => collectd(),
            Self::Hostmetrics => hostmetrics(),
            Self::Telegraf => telegraf(),
            Self::None => BTreeMap::new(),
        }
    }
}

const PROMETHEUS: Sender = Sender {
    section: "remote_write",
    instance_labels: &["instance"],
    strip_port: true,
    exporters: &[Exporter::Node, Exporter::Collectd],
};

/// Prometheus, asked.
const ASKED: Sender = Sender { section: "prometheus", ..PROMETHEUS };

const OPEN_TELEMETRY: Sender = Sender {
    section: "otlp",
    // The collector's detector of EC2 gives the instance's id; one that knows no cloud may give the host's name alone.
    instance_labels: &["host.id", "host.name"],
    strip_port: false,
    exporters: &[Exporter::Hostmetrics],
};

const INFLUX: Sender = Sender {
    section: "line_protocol",
    instance_labels: &["host"],
    strip_port: false,
    exporters: &[Exporter::Telegraf],
};

impl Mapping {
    fn of(name: &str, gives: Gives) -> Self {
        Self {
            name: name.to_owned(),
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

fn label(name: &str, values: &[&str]) -> BTreeMap<String, Vec<String>> {
    BTreeMap::from([(name.to_owned(), values.iter().map(|value| (*value).to_owned()).collect())])
}

/// By what they give: of one of their metrics more than one of ours may be made.
fn by_gives<const N: usize>(mappings: [Mapping; N]) -> BTreeMap<String, Mapping> {
    let key = |mapping: &Mapping| serde_json::to_value(mapping.gives).ok()?.as_str().map(str::to_owned);
    mappings.into_iter().filter_map(|mapping| Some((key(&mapping)?, mapping))).collect()
}

/// What node_exporter measures.
fn node() -> BTreeMap<String, Mapping> {
    let traffic = |name, gives| Mapping {
        counter: true,
        over: Over::Sum,
        without: label("device", &["lo"]),
        ..Mapping::of(name, gives)
    };
    let idle = Mapping {
        labels: label("mode", &["idle"]),
        counter: true,
        scale: -100.0,
        offset: 100.0,
        ..Mapping::of("node_cpu_seconds_total", Gives::CpuPercent)
    };
    by_gives([
        idle,
        Mapping::of("node_memory_MemAvailable_bytes", Gives::MemoryAvailableBytes),
        Mapping::of("node_memory_MemTotal_bytes", Gives::MemoryTotalBytes),
        traffic("node_network_receive_bytes_total", Gives::InBytes),
        traffic("node_network_transmit_bytes_total", Gives::OutBytes),
        traffic("node_network_receive_packets_total", Gives::InPackets),
        traffic("node_network_transmit_packets_total", Gives::OutPackets),
    ])
}

/// What collectd's plugins cpu (of all processors, in percent), memory and interface measure, as its write_prometheus names it.
fn collectd() -> BTreeMap<String, Mapping> {
    let processors = |state, scale, offset, gives| Mapping {
        labels: label("cpu", &[state]),
        scale,
        offset,
        ..Mapping::of("collectd_cpu_percent", gives)
    };
    let memory = |states: &[&str], gives| Mapping {
        labels: label("memory", states),
        over: Over::Sum,
        ..Mapping::of("collectd_memory", gives)
    };
    let traffic = |name, gives| Mapping {
        without: label("interface", &["lo"]),
        counter: true,
        over: Over::Sum,
        ..Mapping::of(name, gives)
    };
    by_gives([
        processors("idle", -1.0, 100.0, Gives::CpuPercent),
        processors("steal", 1.0, 0.0, Gives::CpuStealPercent),
        memory(&["used"], Gives::MemoryUsedBytes),
        memory(&["used", "free", "buffered", "cached", "slab_recl", "slab_unrecl"], Gives::MemoryTotalBytes),
        traffic("collectd_interface_if_octets_rx_total", Gives::InBytes),
        traffic("collectd_interface_if_octets_tx_total", Gives::OutBytes),
        traffic("collectd_interface_if_packets_rx_total", Gives::InPackets),
        traffic("collectd_interface_if_packets_tx_total", Gives::OutPackets),
    ])
}

/// What the OpenTelemetry Collector's hostmetrics receiver measures.
fn hostmetrics() -> BTreeMap<String, Mapping> {
    let time = |state, scale, offset, gives| Mapping {
        labels: label("state", &[state]),
        counter: true,
        scale,
        offset,
        ..Mapping::of("system.cpu.time", gives)
    };
    // What the kernel's slabs take is in these already; "inactive" is what other systems than Linux have for "cached".
    let memory = |states: &[&str], gives| Mapping {
        labels: label("state", states),
        over: Over::Sum,
        ..Mapping::of("system.memory.usage", gives)
    };
    let traffic = |name, direction, gives| Mapping {
        labels: label("direction", &[direction]),
        without: label("device", &["lo"]),
        counter: true,
        over: Over::Sum,
        ..Mapping::of(name, gives)
    };
    by_gives([
        time("idle", -100.0, 100.0, Gives::CpuPercent),
        time("steal", 100.0, 0.0, Gives::CpuStealPercent),
        memory(&["used"], Gives::MemoryUsedBytes),
        memory(&["used", "free", "buffered", "cached", "inactive"], Gives::MemoryTotalBytes),
        traffic("system.network.io", "receive", Gives::InBytes),
        traffic("system.network.io", "transmit", Gives::OutBytes),
        traffic("system.network.packets", "receive", Gives::InPackets),
        traffic("system.network.packets", "transmit", Gives::OutPackets),
    ])
}

/// What Telegraf's inputs cpu, mem and net measure: `measurement.field`. A card that is called "all" has the counters of protocols.
fn telegraf() -> BTreeMap<String, Mapping> {
    let processors = |name, scale, offset, gives| Mapping {
        labels: label("cpu", &["cpu-total"]),
        scale,
        offset,
        ..Mapping::of(name, gives)
    };
    let traffic = |name, gives| Mapping {
        without: label("interface", &["lo", "all"]),
        counter: true,
        over: Over::Sum,
        ..Mapping::of(name, gives)
    };
    by_gives([
        processors("cpu.usage_idle", -1.0, 100.0, Gives::CpuPercent),
        processors("cpu.usage_steal", 1.0, 0.0, Gives::CpuStealPercent),
        Mapping::of("mem.available", Gives::MemoryAvailableBytes),
        Mapping::of("mem.total", Gives::MemoryTotalBytes),
        traffic("net.bytes_recv", Gives::InBytes),
        traffic("net.bytes_sent", Gives::OutBytes),
        traffic("net.packets_recv", Gives::InPackets),
        traffic("net.packets_sent", Gives::OutPackets),
    ])
}

/// `[remote_write]`; `None` where the section is not there.
pub(super) fn remote_write(
    reader: &mut Reader,
    root: &mut Section<'_>,
    declared: &BTreeMap<Metric, Declared>,
) -> Option<Mapped> {
    read(reader, root, declared, &PROMETHEUS)
}

/// `[otlp]`; `None` where the section is not there.
pub(super) fn otlp(
    reader: &mut Reader,
    root: &mut Section<'_>,
    declared: &BTreeMap<Metric, Declared>,
) -> Option<Mapped> {
    read(reader, root, declared, &OPEN_TELEMETRY)
}

/// `[line_protocol]`; `None` where the section is not there.
pub(super) fn line_protocol(
    reader: &mut Reader,
    root: &mut Section<'_>,
    declared: &BTreeMap<Metric, Declared>,
) -> Option<Mapped> {
    read(reader, root, declared, &INFLUX)
}

fn read(
    reader: &mut Reader,
    root: &mut Section<'_>,
    declared: &BTreeMap<Metric, Declared>,
    sender: &Sender,
) -> Option<Mapped> {
    let section = root.section(reader, sender.section);
    section.is_present().then(|| mapped(reader, section, declared, sender))
}

/// What is mapped of a Prometheus that is asked; what else the section holds was read.
pub(super) fn asked(reader: &mut Reader, section: Section<'_>, declared: &BTreeMap<Metric, Declared>) -> Mapped {
    mapped(reader, section, declared, &ASKED)
}

fn mapped(
    reader: &mut Reader,
    mut section: Section<'_>,
    declared: &BTreeMap<Metric, Declared>,
    sender: &Sender,
) -> Mapped {
    let mut read = Mapped {
        instance_labels: sender.instance_labels.iter().map(|label| (*label).to_owned()).collect(),
        strip_port: sender.strip_port,
        group_label: section.get(reader, "group_label", want::text),
        metrics: BTreeMap::new(),
    };
    let named = |value: &toml_edit::Value| want::text(value).map(|label| vec![label]);
    section.set(reader, "instance_label", &mut read.instance_labels, named);
    section.set(reader, "strip_port", &mut read.strip_port, want::boolean);
    let mut exporter = Exporter::None;
    let known = sender.exporters.iter().copied().chain([Exporter::None]);
    section.set(reader, "exporter", &mut exporter, |value| one_of(value, known.clone()));
    // What would name the group of a value, where nothing does.
    let unlabelled = read.group_label.is_none().then(|| format!("{}.group_label", sender.section));
    let mut own = BTreeMap::new();
    for (name, section) in section.sections(reader, "metric") {
        if let Some(mapping) = mapping(reader, &name, section, declared, unlabelled.as_deref()) {
            own.insert(name, mapping);
        }
    }
    read.metrics = exporter.metrics();
    // What the file says of one of ours takes the place of what the exporter is known for.
    read.metrics.retain(|_, known| own.values().all(|mapping| !known.gives.says_the_same(mapping.gives)));
    read.metrics.extend(own);
    pairs(reader, &section, &read.metrics, sender);
    if sender.section == ASKED.section {
        names(reader, &section, &read.metrics);
    }
    section.finish(reader);
    read
}

/// What is asked for has to be a question.
fn names(reader: &mut Reader, section: &Section<'_>, metrics: &BTreeMap<String, Mapping>) {
    for mapping in metrics.values() {
        if !is_name(&mapping.name) {
            section.fault(reader, "metric", format!("{:?} is no name of a metric: set name", mapping.name));
        }
        for label in mapping.labels.keys().chain(mapping.without.keys()).filter(|label| !is_label(label)) {
            section.fault(reader, "metric", format!("{label:?} is no name of a label"));
        }
    }
}

/// One word, or a list of them.
fn words(value: &toml_edit::Value) -> Result<Vec<String>, String> {
    match value.as_array() {
        Some(array) if array.is_empty() => Err("must name at least one value".to_owned()),
        Some(_) => want::texts(value),
        None => want::text(value).map(|word| vec![word]),
    }
}

fn mapping(
    reader: &mut Reader,
    called: &str,
    mut section: Section<'_>,
    declared: &BTreeMap<Metric, Declared>,
    unlabelled: Option<&str>,
) -> Option<Mapping> {
    use Gives::{
        CpuPercent, CpuStealPercent, InBytes, InPackets, MemoryAvailableBytes, MemoryTotalBytes, MemoryUsedBytes,
        OutBytes, OutPackets,
    };
    let known = [
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
        custom.map_or_else(|| one_of(value, known), Ok).map_err(|problem| {
            let own: Vec<&str> = declared.keys().map(|metric| metric.as_str()).collect();
            let own = if own.is_empty() { "and no [metric.NAME] is declared".to_owned() } else { own.join(", ") };
            format!("{problem}, {own}")
        })
    });
    if gives.is_none() && !section.has("gives") {
        section.fault(reader, "gives", "is missing: which of ours is it?");
    }
    let mut read = Mapping::of(called, gives.unwrap_or(CpuPercent));
    section.set(reader, "name", &mut read.name, want::text);
    read.group =
        section.get(reader, "group", |value| Id::new("group", &want::text(value)?).map_err(|error| error.to_string()));
    if let Gives::Custom(metric) = read.gives
        && let Some(metric) = declared.get(&metric)
    {
        read.of = metric.of;
    }
    if let Some(label) = unlabelled.filter(|_| read.of == Of::Group && read.group.is_none() && !section.has("group")) {
        section.fault(reader, "gives", format!("is told of a group: set group here, or {label}"));
    }
    if read.of == Of::Instance && read.group.is_some() {
        section.fault(reader, "group", "is for metrics that are told of a group; this one is told of each instance");
    }
    read.labels = section.map(reader, "labels", |_, value| words(value)).unwrap_or_default().into_iter().collect();
    let without = section.map(reader, "without", |_, value| words(value));
    read.without = without.unwrap_or_default().into_iter().collect();
    section.set(reader, "counter", &mut read.counter, want::boolean);
    section.set(reader, "over", &mut read.over, |value| one_of(value, [Over::Mean, Over::Sum]));
    section.set(reader, "scale", &mut read.scale, want::number(-1e12..=1e12));
    section.set(reader, "offset", &mut read.offset, want::number(-1e12..=1e12));
    section.finish(reader);
    gives.map(|_| read)
}

/// What stands for itself nowhere, and what is given twice.
fn pairs(reader: &mut Reader, section: &Section<'_>, metrics: &BTreeMap<String, Mapping>, sender: &Sender) {
    let given: Vec<Gives> = metrics.values().map(|mapping| mapping.gives).collect();
    let has = |gives: Gives| given.contains(&gives);
    if given.is_empty() {
        let (called, word) = (sender.section, sender.exporters.first().map_or("none", |exporter| exporter.word()));
        let problem = format!("nothing is mapped: set exporter = {word:?}, or [{called}.metric.NAME] gives");
        section.fault(reader, "metric", problem);
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
        assert_eq!(read.metrics["cpu_percent"].labels["mode"], ["idle"]);
        let own = &read.metrics["node_network_receive_bytes_total"];
        assert!(own.without.is_empty() && own.name == "node_network_receive_bytes_total");
        let config = Config::parse("f.toml", "").expect("right");
        assert!(config.remote_write.is_none() && config.otlp.is_none());
    }

    #[test]
    fn the_hostmetrics_receiver_is_known_and_one_metric_may_be_two_of_ours() {
        let config = Config::parse(
            "f.toml",
            "[otlp]\nexporter = \"hostmetrics\"\n[otlp.metric.\"system.memory.limit\"]\ngives = \"memory_total_bytes\"\n\
             [otlp.metric.\"system.linux.memory.available\"]\ngives = \"memory_available_bytes\"\n\
             [otlp.metric.in]\nname = \"system.network.io\"\ngives = \"in_bytes\"\ncounter = true\nover = \"sum\"\n\
             labels = { direction = \"receive\", device = [\"eth0\", \"eth1\"] }\n",
        );
        let read = config.expect("right").otlp.expect("there");
        assert_eq!(
            (read.instance_labels.as_slice(), read.strip_port),
            (&["host.id".into(), "host.name".into()][..], false)
        );
        assert_eq!(read.metrics.len(), 8, "{:?}", read.metrics.keys());
        assert_eq!(read.metrics["in"].labels["device"], ["eth0", "eth1"]);
        assert_eq!(read.metrics["out_bytes"].name, "system.network.io");
        assert!(!read.metrics.contains_key("memory_used_bytes"), "available says the same");
        let named = Config::parse("f.toml", "[otlp]\nexporter = \"hostmetrics\"\ninstance_label = \"k8s.node.name\"\n");
        assert_eq!(named.expect("right").otlp.expect("there").instance_labels, ["k8s.node.name"]);
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (text, said) in [
            ("[remote_write]\n", "nothing is mapped: set exporter = \"node\", or [remote_write."),
            ("[otlp]\n", "nothing is mapped: set exporter = \"hostmetrics\", or [otlp.metric"),
            ("[otlp]\nexporter = \"node\"\n", "otlp.exporter: \"node\" is none of hostmetrics, none"),
            ("[line_protocol]\n", "nothing is mapped: set exporter = \"telegraf\", or [line_protocol.metric"),
            (
                "[otlp.metric.x]\ngives = \"cpu_percent\"\nlabels = { state = [] }\n",
                "labels.state: must name at least one",
            ),
            ("[remote_write.metric.x]\n", "remote_write.metric.x.gives: is missing"),
            ("[remote_write.metric.x]\ngives = \"disk\"\n", "is none of cpu_percent"),
            ("[metric.q]\nof = \"group\"\n[remote_write.metric.x]\ngives = \"qq\"\n", "out_packets, q"),
            (
                "[metric.q]\nof = \"group\"\n[remote_write.metric.x]\ngives = \"q\"\n",
                "gives: is told of a group: set group here, or remote_write.group_label",
            ),
            (
                "[metric.q]\nof = \"group\"\n[otlp.metric.x]\ngives = \"q\"\n",
                "otlp.metric.x.gives: is told of a group: set group here, or otlp.group_label",
            ),
            (
                "[metric.r]\nof = \"instance\"\n[remote_write.metric.x]\ngives = \"r\"\ngroup = \"web\"\n",
                "remote_write.metric.x.group: is for metrics that are told of a group",
            ),
            (
                "[metric.q]\nof = \"group\"\n[otlp.metric.x]\ngives = \"q\"\ngroup = \"a\"\n\
                 [otlp.metric.y]\ngives = \"q\"\ngroup = \"b\"\n",
                "two metrics give q",
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
