//! `foreshadow.toml`: read, checked as a whole, printed back.
//!
//! Precedence: flags > environment (`FORESHADOW_*`) > file > defaults. A file may tighten what the
//! product does, never loosen it: modes beyond `observe` are given by an explicit call, and the mode
//! in a file is the highest that a call may give.

mod safety;

mod influxdb;
mod instance_documents;
mod inventory;
mod mapped;
mod metric;
mod notify;
mod prometheus;
mod traces;
mod window;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use checker::Limits;
use foreshadow_proto::convert::Id;
use planner::policy::{Adopt, AtLimit, Metric, Mode, ShadowBy};
use serde::Serialize;

use foreshadow_agent::reader::{Fault, Reader, Section, want};

use crate::windows::Weekly;

pub use influxdb::{InfluxApi, InfluxDb};
pub use instance_documents::InstanceDocuments;
pub use mapped::{Gives, Mapped, Mapping, Over};
pub use metric::{Declared, Of};
pub use notify::Notify;
pub use prometheus::Prometheus;
pub use traces::Traces;

pub use inventory::{Aws, Command, CommandReach, Inventory, Webhook};

/// Everything the aggregator can be told. Secrets are paths of files, never values.
#[derive(Debug, Clone, Serialize, Default)]
pub struct Config {
    pub listen: Listen,
    pub identity: Identity,
    pub store: Store,
    pub inventory: Inventory,
    pub agents: Agents,
    pub forecast: Forecast,
    pub shadow: Shadow,
    /// Metrics of the user's own.
    pub metrics: BTreeMap<Metric, Declared>,
    pub remote_write: Option<Mapped>,
    pub otlp: Option<Mapped>,
    pub line_protocol: Option<Mapped>,
    pub prometheus: Option<Prometheus>,
    pub notify: Option<Notify>,
    pub traces: Option<Traces>,
    pub safety: Limits,
    /// By group name; groups that are not named get the defaults.
    pub groups: BTreeMap<Id, Group>,
    /// Where all of this was read.
    #[serde(skip)]
    pub origin: Origin,
}

/// The file that a configuration was read from, and the line of each of its keys.
#[derive(Debug, Clone)]
pub struct Origin {
    file: String,
    lines: BTreeMap<String, usize>,
}

impl Default for Origin {
    fn default() -> Self {
        Self { file: "the configuration".to_owned(), lines: BTreeMap::new() }
    }
}

/// `[listen]`: one port for gRPC and REST.
#[derive(Debug, Clone, Serialize)]
pub struct Listen {
    pub address: SocketAddr,
    /// PEM files; both or none.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Plain text beyond loopback, although tokens travel in it.
    pub insecure: bool,
    /// QUIC on the UDP port of the same number, where there is a certificate.
    pub quic: bool,
}

impl Default for Listen {
    fn default() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 7070));
        Self { address, certificate: None, key: None, insecure: false, quic: true }
    }
}

/// `[identity]`.
#[derive(Debug, Clone, Serialize)]
pub struct Identity {
    /// File with token hashes and roles; without it every caller has every role, on loopback only.
    pub tokens: Option<PathBuf>,
    /// Certificate and key (PEM files) of the operator's own authority for agents; without it there is one of ours.
    pub authority: Option<(PathBuf, PathBuf)>,
    /// How long an agent's certificate is good; it is renewed at two thirds.
    pub certificate_seconds: u32,
    /// Whose instance identity documents let an instance in; without it join tokens alone do.
    pub aws: Option<InstanceDocuments>,
}

impl Default for Identity {
    fn default() -> Self {
        Self { tokens: None, authority: None, certificate_seconds: 86_400, aws: None }
    }
}

/// `[store]`.
#[derive(Debug, Clone, Serialize)]
pub struct Store {
    pub directory: PathBuf,
    pub raw_retention_hours: u32,
    pub minute_retention_days: u32,
    pub influxdb: Option<InfluxDb>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("foreshadow-data"),
            raw_retention_hours: 48,
            minute_retention_days: 450,
            influxdb: None,
        }
    }
}

/// `[agents]`.
#[derive(Debug, Clone, Serialize)]
pub struct Agents {
    pub interval_seconds: u32,
    pub shadow_interval_seconds: u32,
}

impl Default for Agents {
    fn default() -> Self {
        Self { interval_seconds: 1, shadow_interval_seconds: 1 }
    }
}

/// `[forecast]`.
#[derive(Debug, Clone, Serialize)]
pub struct Forecast {
    pub step_seconds: u32,
    pub horizon_hours: u32,
    /// ONNX file with its manifest beside it: one model more that competes. See docs/models.md.
    pub network: Option<PathBuf>,
}

impl Default for Forecast {
    fn default() -> Self {
        Self { step_seconds: 300, horizon_hours: 24, network: None }
    }
}

/// `[shadow]`: what holds until `PUT /shadow/config` says otherwise.
#[derive(Debug, Clone, Serialize)]
pub struct Shadow {
    pub default_seconds: u32,
    pub maximum_seconds: u32,
    /// By instance type.
    pub instance_types: BTreeMap<String, u32>,
    /// By instance type.
    pub prices_per_hour: BTreeMap<String, f64>,
}

impl Default for Shadow {
    fn default() -> Self {
        Self {
            default_seconds: 3_600,
            maximum_seconds: 86_400,
            instance_types: BTreeMap::new(),
            prices_per_hour: BTreeMap::new(),
        }
    }
}

/// `[group.NAME]`: the policy of one group. Absent fields take the planner's defaults.
#[derive(Debug, Clone, Serialize, Default)]
pub struct Group {
    pub minimum: Option<u32>,
    pub maximum: Option<u32>,
    /// `[group.NAME.window.NAME]`: floors and ceilings that hold for a time every week.
    pub window: BTreeMap<String, Weekly>,
    pub confidence: Option<f64>,
    /// Percent, by metric: `cpu`, `network_in`, `network_out`, `memory`; of a declared metric what one instance carries.
    pub targets: BTreeMap<String, f64>,
    /// The same: lower ones for present demand.
    pub reactive_targets: BTreeMap<String, f64>,
    /// Nobody is taken away while one of these declared metrics is above.
    pub veto_above: BTreeMap<String, f64>,
    /// Capacity by instance type relative to the reference type.
    pub weights: BTreeMap<String, f64>,
    /// Bits per second by instance type; a network target needs it.
    pub bandwidth_bits: BTreeMap<String, f64>,
    /// Launch call → ready, until three were measured.
    pub launch_lead_seconds: Option<u32>,
    /// Re-attach call → healthy, until three were measured.
    pub reattach_lead_seconds: Option<u32>,
    pub shadow_seconds: Option<u32>,
    /// What one instance missing for one hour costs, in the currency of the prices.
    pub late_cost_per_hour: Option<f64>,
    /// What a change costs by itself, in the currency of the prices.
    pub change_cost: Option<f64>,
    pub launches_per_hour: Option<u32>,
    /// Most that the whole group may cost, shadows included.
    pub spend_per_hour: Option<f64>,
    /// Most that may stand in shadow at once, draining ones and those of others included.
    pub shadows_at_most: Option<u32>,
    pub silent_at_limit: Option<AtLimit>,
    pub adopt: Option<Adopt>,
    pub shadow_by: Option<ShadowBy>,
    pub hold_terminating: Option<bool>,
    /// The highest mode that an explicit call may give the group.
    pub mode: Option<Mode>,
    /// Groups whose past this one goes on with where it has none of its own: the other of a blue/green pair.
    pub history: Vec<Id>,
}

impl Config {
    /// Reads and checks a file. Every fault is in the error, not the first alone.
    pub fn load(path: &Path) -> Result<Self, Vec<Fault>> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&name, &text),
            Err(error) => Err(vec![Fault {
                file: name,
                line: 0,
                key: String::new(),
                problem: format!("cannot be read: {error}"),
            }]),
        }
    }

    /// Reads and checks the text of a file called `name`.
    pub fn parse(name: &str, text: &str) -> Result<Self, Vec<Fault>> {
        let mut reader = Reader::new(name, text);
        let mut config = Self::default();
        if let Some(document) = reader.document() {
            let mut root = Section::root(&document);
            config.origin = Origin { file: name.to_owned(), lines: root.lines(&reader) };
            let (listen, address_line) = listen(&mut reader, &mut root);
            config.listen = listen;
            config.identity = identity(&mut reader, &mut root);
            config.store = store(&mut reader, &mut root);
            config.inventory = inventory::read(&mut reader, &mut root);
            config.agents = agents(&mut reader, &mut root);
            config.forecast = forecast(&mut reader, &mut root);
            config.shadow = shadow(&mut reader, &mut root);
            config.metrics = metric::read(&mut reader, &mut root);
            config.remote_write = mapped::remote_write(&mut reader, &mut root, &config.metrics);
            config.otlp = mapped::otlp(&mut reader, &mut root, &config.metrics);
            config.prometheus = prometheus::read(&mut reader, &mut root, &config.metrics);
            config.line_protocol = mapped::line_protocol(&mut reader, &mut root, &config.metrics);
            config.notify = notify::read(&mut reader, &mut root);
            config.traces = traces::read(&mut reader, &mut root);
            config.safety = safety::read(&mut reader, &mut root);
            for (group, section) in root.sections(&mut reader, "group") {
                let policy = self::group(&mut reader, section, config.shadow.maximum_seconds, &config.metrics);
                match Id::new("group", &group) {
                    Ok(id) => drop(config.groups.insert(id, policy)),
                    Err(error) => reader.fault(0, &format!("group.{group}"), error.to_string()),
                }
            }
            root.finish(&mut reader);
            beyond_loopback(&mut reader, &config, address_line);
        }
        // As the file is read: sections are checked in another order than they are written in.
        reader.faults.sort_by_key(|fault| fault.line);
        if reader.faults.is_empty() { Ok(config) } else { Err(reader.faults) }
    }

    /// What is wrong with a key though the file reads well: what it names is not there, or it does not go with the rest.
    pub fn fault(&self, key: &str, problem: impl Into<String>) -> Fault {
        let line = self.origin.lines.get(key).copied().unwrap_or_default();
        Fault { file: self.origin.file.clone(), line, key: key.to_owned(), problem: problem.into() }
    }
}

/// Beyond loopback there are tokens and TLS, or an explicit word against it.
fn beyond_loopback(reader: &mut Reader, config: &Config, line: usize) {
    let listen = &config.listen;
    if listen.address.ip().is_loopback() {
        return;
    }
    if config.identity.tokens.is_none() {
        let problem = format!("{} is not loopback: set identity.tokens", listen.address);
        reader.fault(line, "listen.address", problem);
    }
    if listen.certificate.is_none() && listen.key.is_none() && !listen.insecure {
        let problem = format!(
            "{} is not loopback: set listen.certificate and listen.key (or listen.insecure = true, and tokens travel \
             in plain text)",
            listen.address
        );
        reader.fault(line, "listen.address", problem);
    }
}

fn path(value: &toml_edit::Value) -> Result<PathBuf, String> {
    want::text(value).map(PathBuf::from)
}

/// The section, and the line of its address for faults that need other sections too.
fn listen(reader: &mut Reader, root: &mut Section<'_>) -> (Listen, usize) {
    let mut read = Listen::default();
    let mut section = root.section(reader, "listen");
    section.set(reader, "address", &mut read.address, |value| {
        let text = want::text(value)?;
        text.parse().map_err(|_| format!("{text:?} must be ADDRESS:PORT, e.g. 127.0.0.1:7070; no names"))
    });
    read.certificate = section.get(reader, "certificate", path);
    read.key = section.get(reader, "key", path);
    section.set(reader, "insecure", &mut read.insecure, want::boolean);
    section.set(reader, "quic", &mut read.quic, want::boolean);
    match (&read.certificate, &read.key) {
        (Some(_), None) => section.fault(reader, "certificate", "needs listen.key beside it"),
        (None, Some(_)) => section.fault(reader, "key", "needs listen.certificate beside it"),
        _ => {}
    }
    let line = section.line_of(reader, "address");
    section.finish(reader);
    (read, line)
}

fn identity(reader: &mut Reader, root: &mut Section<'_>) -> Identity {
    let mut section = root.section(reader, "identity");
    let mut read = Identity { tokens: section.get(reader, "tokens", path), ..Identity::default() };
    let certificate = section.get(reader, "authority_certificate", path);
    let key = section.get(reader, "authority_key", path);
    for (here, there, have, want) in [
        (&certificate, &key, "authority_certificate", "authority_key"),
        (&key, &certificate, "authority_key", "authority_certificate"),
    ] {
        if here.is_some() && there.is_none() && !section.has(want) {
            section.fault(reader, have, format!("needs identity.{want} beside it"));
        }
    }
    read.authority = certificate.zip(key);
    section.set(reader, "certificate_seconds", &mut read.certificate_seconds, want::count(10..=2_592_000));
    read.aws = instance_documents::read(reader, &mut section);
    section.finish(reader);
    read
}

fn store(reader: &mut Reader, root: &mut Section<'_>) -> Store {
    let mut read = Store::default();
    let mut section = root.section(reader, "store");
    section.set(reader, "directory", &mut read.directory, path);
    section.set(reader, "raw_retention_hours", &mut read.raw_retention_hours, want::count(2..=8_760));
    section.set(reader, "minute_retention_days", &mut read.minute_retention_days, want::count(1..=3_650));
    read.influxdb = influxdb::read(reader, &mut section);
    section.finish(reader);
    read
}

fn agents(reader: &mut Reader, root: &mut Section<'_>) -> Agents {
    let mut read = Agents::default();
    let mut section = root.section(reader, "agents");
    section.set(reader, "interval_seconds", &mut read.interval_seconds, want::count(1..=60));
    section.set(reader, "shadow_interval_seconds", &mut read.shadow_interval_seconds, want::count(1..=60));
    section.finish(reader);
    read
}

fn forecast(reader: &mut Reader, root: &mut Section<'_>) -> Forecast {
    let mut read = Forecast::default();
    let mut section = root.section(reader, "forecast");
    section.set(reader, "step_seconds", &mut read.step_seconds, |value| {
        want::count(60..=3_600)(value).and_then(|step| {
            if step % 60 == 0 && 86_400 % step == 0 {
                Ok(step)
            } else {
                Err(format!("{step} must be whole minutes and divide a day"))
            }
        })
    });
    section.set(reader, "horizon_hours", &mut read.horizon_hours, want::count(1..=168));
    read.network = section.get(reader, "network", path);
    section.finish(reader);
    read
}

fn shadow(reader: &mut Reader, root: &mut Section<'_>) -> Shadow {
    let mut read = Shadow::default();
    let mut section = root.section(reader, "shadow");
    section.set(reader, "maximum_seconds", &mut read.maximum_seconds, want::count(60..=604_800));
    section.set(reader, "default_seconds", &mut read.default_seconds, want::count(60..=604_800));
    if read.default_seconds > read.maximum_seconds {
        let problem = format!("{} is above shadow.maximum_seconds = {}", read.default_seconds, read.maximum_seconds);
        section.fault(reader, "default_seconds", problem);
    }
    let most = read.maximum_seconds;
    let durations = section.map(reader, "instance_types", |_, value| want::count(60..=most)(value));
    read.instance_types = durations.unwrap_or_default().into_iter().collect();
    let prices = section.map(reader, "prices_per_hour", |_, value| want::number(0.0..=10_000.0)(value));
    read.prices_per_hour = prices.unwrap_or_default().into_iter().collect();
    section.finish(reader);
    read
}

/// One of a few words.
fn one_of<T: Serialize + Copy>(value: &toml_edit::Value, words: impl IntoIterator<Item = T>) -> Result<T, String> {
    let text = want::text(value)?;
    let named = words.into_iter().map(|word| (word, serde_json::to_value(word).unwrap_or_default()));
    let named: Vec<(T, serde_json::Value)> = named.collect();
    let found = named.iter().find(|(_, name)| name.as_str() == Some(&text)).map(|(word, _)| *word);
    let known: Vec<&str> = named.iter().filter_map(|(_, name)| name.as_str()).collect();
    found.ok_or_else(|| format!("{text:?} is none of {}", known.join(", ")))
}

fn group(
    reader: &mut Reader,
    mut section: Section<'_>,
    longest_shadow: u32,
    declared: &BTreeMap<Metric, Declared>,
) -> Group {
    let mut read = Group {
        minimum: section.get(reader, "minimum", want::count(0..=100_000)),
        maximum: section.get(reader, "maximum", want::count(0..=100_000)),
        confidence: section.get(reader, "confidence", want::number(0.5..=0.99)),
        launch_lead_seconds: section.get(reader, "launch_lead_seconds", want::count(1..=7_200)),
        reattach_lead_seconds: section.get(reader, "reattach_lead_seconds", want::count(1..=7_200)),
        shadow_seconds: section.get(reader, "shadow_seconds", want::count(60..=longest_shadow)),
        late_cost_per_hour: section.get(reader, "late_cost_per_hour", want::number(0.0..=1e6)),
        change_cost: section.get(reader, "change_cost", want::number(0.0..=1e6)),
        launches_per_hour: section.get(reader, "launches_per_hour", want::count(0..=100_000)),
        spend_per_hour: section.get(reader, "spend_per_hour", want::number(0.0..=1e9)),
        shadows_at_most: section.get(reader, "shadows_at_most", want::count(0..=100_000)),
        silent_at_limit: section
            .get(reader, "silent_at_limit", |value| one_of(value, [AtLimit::Release, AtLimit::Terminate])),
        adopt: section.get(reader, "adopt", |value| one_of(value, [Adopt::None, Adopt::All])),
        shadow_by: section.get(reader, "shadow_by", |value| one_of(value, [ShadowBy::Detach, ShadowBy::Standby])),
        hold_terminating: section.get(reader, "hold_terminating", want::boolean),
        mode: section.get(reader, "mode", |value| one_of(value, [Mode::Observe, Mode::ScaleOut, Mode::Full])),
        ..Group::default()
    };
    if let (Some(minimum), Some(maximum)) = (read.minimum, read.maximum)
        && minimum > maximum
    {
        let path = section.path_of("maximum");
        section.fault(reader, "minimum", format!("{minimum} is above {path} = {maximum}"));
    }
    let history = section.get(reader, "history", |value| {
        let names = want::texts(value)?;
        names.iter().map(|name| Id::new("group", name).map_err(|error| error.to_string())).collect::<Result<_, _>>()
    });
    read.history = history.unwrap_or_default();
    let bounds = (read.minimum, read.maximum);
    read.window = window::read(reader, &mut section, bounds);
    let targets = section.map(reader, "targets", |name, value| {
        metric::of_target(name, declared).and_then(|metric| want::number(metric.targets())(value))
    });
    read.targets = targets.unwrap_or_default().into_iter().collect();
    let of = |metric: &str| {
        read.targets.get(metric).copied().or((read.targets.is_empty() && metric == "cpu").then_some(60.0))
    };
    let lower = section.map(reader, "reactive_targets", |name, value| match of(name) {
        Some(target) => {
            let least = metric::of_target(name, declared).map_or(1.0, |metric| *metric.targets().start());
            want::number(least..=target)(value).map_err(|problem| format!("{problem}, its target"))
        }
        None => Err("this metric has no target".to_owned()),
    });
    read.reactive_targets = lower.unwrap_or_default().into_iter().collect();
    let vetoes = section.map(reader, "veto_above", |name, value| {
        metric::of_veto(name, declared).and_then(|()| want::number(0.0..=1e12)(value))
    });
    read.veto_above = vetoes.unwrap_or_default().into_iter().collect();
    let weights = section.map(reader, "weights", |_, value| want::number(0.01..=100.0)(value));
    read.weights = weights.unwrap_or_default().into_iter().collect();
    let bandwidth = section.map(reader, "bandwidth_bits", |_, value| want::number(1e6..=1e13)(value));
    read.bandwidth_bits = bandwidth.unwrap_or_default().into_iter().collect();
    if read.bandwidth_bits.is_empty() && read.targets.keys().any(|metric| metric.starts_with("network")) {
        section.fault(reader, "targets", "a network target needs bandwidth_bits by instance type");
    }
    section.finish(reader);
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        Config::parse("f.toml", text).expect_err("faults").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        let config = Config::parse("f.toml", "").expect("defaults");
        assert!(config.listen.address.ip().is_loopback());
        assert!(config.groups.is_empty());
    }

    #[test]
    fn contradictions_and_typos_are_all_listed() {
        let found = faults(
            "[listen]\naddress = \"nowhere\"\nkey = \"k.pem\"\n\
             [shadow]\ndefault_seconds = 7200\nmaximum_seconds = 3600\n\
             [group.web]\nminimun = 1\nminimum = 5\nmaximum = 2\nconfidence = 1.5\ntargets = { cpu = 0, disk = 3 }\n\
             mode = \"fast\"\n[inventory.aws]\ngroups = []\n",
        );
        for part in [
            "f.toml:2: listen.address",
            "f.toml:3: listen.key: needs",
            "f.toml:5: shadow.default_seconds: 7200 is above",
            "f.toml:8: group.web.minimun: unknown key; did you mean \"minimum\"?",
            "f.toml:9: group.web.minimum: 5 is above group.web.maximum = 2",
            "f.toml:11: group.web.confidence: 1.5 is not in",
            "f.toml:12: group.web.targets.cpu: 0 is not in",
            "f.toml:12: group.web.targets.disk: unknown metric",
            "f.toml:13: group.web.mode: \"fast\" is none of observe, scale-out, full",
            "f.toml:15: inventory.aws.groups: name at least one",
        ] {
            assert!(found.iter().any(|fault| fault.starts_with(part)), "{part} in {found:#?}");
        }
    }

    #[test]
    fn influxdb_names_what_is_missing() {
        let found = faults("[store.influxdb]\nurl = \"ftp://x\"\nbucket = \"b\"\n");
        assert!(found.iter().any(|fault| fault.contains("store.influxdb.url") && fault.contains("http")), "{found:?}");
        assert!(found.iter().any(|fault| fault.contains("store.influxdb.token_file: is missing")), "{found:?}");
        assert!(!found.iter().any(|fault| fault.contains("url: is missing")), "{found:?}");
    }
}
