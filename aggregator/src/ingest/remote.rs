//! What a Prometheus sends (remote write 1.0), made into samples of instances.
//!
//! A scrape comes in pieces, and over more than one connection: what is known of an instance is the newest value of each of its
//! series. A sample is made when a piece moves one of them and all of them are known, so that a part of the processors or of the
//! network cards never stands for all. A piece that is sent again makes the same samples again, which the store keeps once.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use foreshadow_proto::convert::{self, Id, StreamId};
use foreshadow_proto::v1;
use sha2::{Digest as _, Sha256};

use super::lines::Pushed;
use crate::config::{Gives, Mapping, Of, Over, RemoteWrite};
use crate::readings::Told;

/// A series that was silent for so long is gone (a processor taken offline, a card unplugged), ms.
const GONE_MILLIS: i64 = 300_000;
/// Series that are remembered: 10 000 instances of 100.
const MOST_SERIES: usize = 1_000_000;
/// A rate may overshoot its bounds by so much: clocks are read one after the other, points.
const OVERSHOOT: f64 = 5.0;

/// `prometheus.WriteRequest`; what else is in it is not ours.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Value {
    #[prost(double, tag = "1")]
    pub value: f64,
    /// ms since the Unix epoch.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

/// Why something of a request was left out; words of a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// No mapping is for it.
    Unmapped,
    /// Its instance or group has no name that can be used.
    Unnamed,
    /// Older than what is known of the series.
    OutOfOrder,
    /// It passed no range check.
    Rejected,
    /// Too many series.
    Full,
}

impl Left {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unmapped => "unmapped",
            Self::Unnamed => "unnamed",
            Self::OutOfOrder => "out_of_order",
            Self::Rejected => "rejected",
            Self::Full => "full",
        }
    }
}

/// What a request comes to.
#[derive(Debug, Default)]
pub struct Taken {
    pub samples: Vec<Pushed>,
    /// Values of declared metrics.
    pub told: Vec<Told>,
    /// Groups that were named for instances.
    pub claims: BTreeMap<Id, Id>,
    /// How many values were left out, and why.
    pub left: BTreeMap<Left, u64>,
    undo: Vec<(Key, u64, Option<Track>)>,
}

/// An instance, or of what is told of a group that, and which of ours.
type Key = (Id, Gives);

/// The newest of one series.
#[derive(Debug, Clone, Copy)]
struct Track {
    /// ms since the Unix epoch.
    at: i64,
    value: f64,
    before: Option<(i64, f64)>,
}

impl Track {
    /// What counts of it, and how long it stands for, ms; `None` while that is not known.
    fn now(&self, mapping: &Mapping) -> Option<(f64, i64)> {
        let (at, value) = self.before?;
        let covers = self.at - at;
        if !mapping.counter {
            return Some((self.value, covers));
        }
        // A counter that fell began anew: how far it had come before is not known.
        let grown = self.value - value;
        #[allow(clippy::cast_precision_loss, reason = "ms between scrapes")]
        (grown >= 0.0 && covers > 0).then(|| (grown * 1_000.0 / covers as f64, covers))
    }
}

/// What is known of every instance's series.
#[derive(Debug)]
pub struct Remote {
    mapped: RemoteWrite,
    tracks: BTreeMap<Key, BTreeMap<u64, Track>>,
    series: usize,
}

/// One value that is ours.
struct Ours {
    key: Key,
    series: u64,
    value: f64,
}

impl Remote {
    pub const fn new(mapped: RemoteWrite) -> Self {
        Self { mapped, tracks: BTreeMap::new(), series: 0 }
    }

    /// Takes a request in. `now` in µs since the epoch.
    pub fn take(&mut self, request: &WriteRequest, now: i64) -> Taken {
        let mut taken = Taken::default();
        let mut by_time: BTreeMap<i64, Vec<Ours>> = BTreeMap::new();
        for series in &request.timeseries {
            let count = series.samples.len() as u64;
            match self.read(series, &mut taken.claims) {
                Ok((key, hash)) => {
                    // A series that ends is marked by a value that is no number.
                    for sample in series.samples.iter().filter(|sample| sample.value.is_finite()) {
                        let ours = Ours { key: key.clone(), series: hash, value: sample.value };
                        by_time.entry(sample.timestamp).or_default().push(ours);
                    }
                }
                Err(why) => *taken.left.entry(why).or_default() += count,
            }
        }
        for (at, values) in by_time {
            let mut moved = BTreeSet::new();
            for ours in values {
                match self.put(&ours, at, &mut taken) {
                    Ok(()) => drop(moved.insert((ours.key.0, kind(ours.key.1)))),
                    Err(why) => *taken.left.entry(why).or_default() += 1,
                }
            }
            for (instance, kind) in moved {
                if let Kind::Custom(gives) = kind {
                    taken.told.extend(self.told(&instance, gives, at));
                    continue;
                }
                match self.sample(&instance, kind, at, now) {
                    Some(Ok(sample)) => taken.samples.push(sample),
                    Some(Err(())) => *taken.left.entry(Left::Rejected).or_default() += 1,
                    None => {}
                }
            }
        }
        taken
    }

    /// As if a request had never come: what it made could not be stored, and it will be sent again.
    pub fn undo(&mut self, taken: &Taken) {
        for (key, series, before) in taken.undo.iter().rev() {
            let Some(tracks) = self.tracks.get_mut(key) else { continue };
            match before {
                Some(track) => drop(tracks.insert(*series, *track)),
                None => self.series -= usize::from(tracks.remove(series).is_some()),
            }
        }
    }

    /// Forgets what was silent. `now` in ms.
    pub fn forget(&mut self, now: i64) {
        self.tracks.retain(|_, tracks| {
            tracks.retain(|_, track| now - track.at <= GONE_MILLIS);
            !tracks.is_empty()
        });
        self.series = self.tracks.values().map(BTreeMap::len).sum();
    }

    fn read(&self, series: &TimeSeries, claims: &mut BTreeMap<Id, Id>) -> Result<(Key, u64), Left> {
        let of = |name: &str| series.labels.iter().find(|label| label.name == name).map(|label| label.value.as_str());
        let mapping = of("__name__").and_then(|name| self.mapped.metrics.get(name)).ok_or(Left::Unmapped)?;
        let fits = mapping.labels.iter().all(|(name, value)| of(name) == Some(value))
            && !mapping.without.iter().any(|(name, value)| of(name) == Some(value));
        if !fits {
            return Err(Left::Unmapped);
        }
        let mut hash = DefaultHasher::new();
        for label in &series.labels {
            (&label.name, &label.value).hash(&mut hash);
        }
        if mapping.of == Of::Group {
            let label = self.mapped.group_label.as_ref().and_then(|label| Id::new("group", of(label)?).ok());
            let group = mapping.group.clone().or(label).ok_or(Left::Unnamed)?;
            return Ok(((group, mapping.gives), hash.finish()));
        }
        let named = of(&self.mapped.instance_label).ok_or(Left::Unnamed)?;
        let named = if self.mapped.strip_port { without_port(named) } else { named };
        let instance = Id::new("instance", named).map_err(|_| Left::Unnamed)?;
        if let Some(label) = &self.mapped.group_label {
            let group = of(label).and_then(|group| Id::new("group", group).ok()).ok_or(Left::Unnamed)?;
            claims.insert(instance.clone(), group);
        }
        Ok(((instance, mapping.gives), hash.finish()))
    }

    fn put(&mut self, ours: &Ours, at: i64, taken: &mut Taken) -> Result<(), Left> {
        let tracks = self.tracks.entry(ours.key.clone()).or_default();
        let known = tracks.get(&ours.series).copied();
        let track = match known {
            // The same again: the samples it makes are made again.
            Some(track) if track.at == at => return Ok(()),
            Some(track) if track.at > at => return Err(Left::OutOfOrder),
            Some(track) => Track { at, value: ours.value, before: Some((track.at, track.value)) },
            None if self.series >= MOST_SERIES => return Err(Left::Full),
            None => {
                self.series += 1;
                Track { at, value: ours.value, before: None }
            }
        };
        tracks.insert(ours.series, track);
        taken.undo.push((ours.key.clone(), ours.series, known));
        Ok(())
    }

    /// One of ours at a time, from all its series, and how long it stands for; `None` while one of them is not known.
    fn value(&self, instance: &Id, gives: Gives, at: i64) -> Option<(f64, i64)> {
        let mapping = self.mapped.metrics.values().find(|mapping| mapping.gives == gives)?;
        let tracks = self.tracks.get(&(instance.clone(), gives))?;
        let there = tracks.values().filter(|track| at - track.at <= GONE_MILLIS);
        let (mut sum, mut count, mut covers) = (0.0, 0.0, 0);
        for track in there {
            let (value, stands_for) = track.now(mapping)?;
            (sum, count, covers) = (sum + value, count + 1.0, covers.max(stands_for));
        }
        let whole = if mapping.over == Over::Mean { sum / count } else { sum };
        (count > 0.0).then_some((mapping.offset + mapping.scale * whole, covers))
    }

    /// A declared metric at a time; `None` while one of its series is not known.
    fn told(&self, subject: &Id, gives: Gives, at: i64) -> Option<Told> {
        let Gives::Custom(metric) = gives else { return None };
        let mapping = self.mapped.metrics.values().find(|mapping| mapping.gives == gives)?;
        let (value, _) = self.value(subject, gives, at)?;
        let name = |of: Of| (mapping.of == of).then(|| subject.to_string());
        let (instance, group) = (name(Of::Instance), name(Of::Group));
        Some(Told { instance, group, metric: metric.to_string(), at_micros: at.checked_mul(1_000)?, value })
    }

    /// What an instance's series make at a time; `None` while something is missing.
    fn sample(&self, instance: &Id, kind: Kind, at: i64, now: i64) -> Option<Result<Pushed, ()>> {
        let wall_micros = at.checked_mul(1_000)?;
        let mut wire = v1::Sample { sequence: u64::try_from(wall_micros).ok()?, wall_micros, ..v1::Sample::default() };
        let of = |gives| self.value(instance, gives, at);
        let covers = match kind {
            Kind::Cpu => {
                let (value, covers) = of(Gives::CpuPercent)?;
                wire.cpu_percent = Some(percent(value));
                wire.cpu_steal_percent = of(Gives::CpuStealPercent).map(|(value, _)| percent(value));
                covers
            }
            Kind::Memory => {
                let (total, covers) = of(Gives::MemoryTotalBytes)?;
                let used = of(Gives::MemoryUsedBytes).map(|(used, _)| used);
                let used = used.or_else(|| Some(total - of(Gives::MemoryAvailableBytes)?.0))?;
                wire.memory_used_bytes = Some(bytes(used)?);
                wire.memory_total_bytes = Some(bytes(total)?);
                covers
            }
            Kind::Network => {
                let ((in_bytes, covers), (out_bytes, _)) = (of(Gives::InBytes)?, of(Gives::OutBytes)?);
                let ((in_packets, _), (out_packets, _)) = (of(Gives::InPackets)?, of(Gives::OutPackets)?);
                wire.network =
                    Some(v1::Network { in_bytes, out_bytes, in_packets, out_packets, ..v1::Network::default() });
                covers
            }
            Kind::Custom(_) => return None,
        };
        wire.covers_millis = u32::try_from(covers.clamp(1_000, 3_600_000)).unwrap_or(1_000);
        let stream = stream_of(instance, kind);
        let sample = convert::sample(&wire, now).map_err(drop);
        Some(sample.map(|sample| Pushed { instance: instance.clone(), stream, sample }))
    }
}

/// What is sampled together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Cpu,
    Memory,
    Network,
    /// By itself.
    Custom(Gives),
}

const fn kind(gives: Gives) -> Kind {
    match gives {
        Gives::CpuPercent | Gives::CpuStealPercent => Kind::Cpu,
        Gives::MemoryUsedBytes | Gives::MemoryAvailableBytes | Gives::MemoryTotalBytes => Kind::Memory,
        Gives::InBytes | Gives::OutBytes | Gives::InPackets | Gives::OutPackets => Kind::Network,
        Gives::Custom(_) => Kind::Custom(gives),
    }
}

/// `host:port` and `[v6]:port` without the port.
fn without_port(named: &str) -> &str {
    let host = match named.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => named,
    };
    host.trim_matches(['[', ']'])
}

#[allow(clippy::cast_possible_truncation, reason = "a percentage; the range check follows")]
fn percent(value: f64) -> f32 {
    let near = (-OVERSHOOT..=100.0 + OVERSHOOT).contains(&value);
    (if near { value.clamp(0.0, 100.0) } else { value }) as f32
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just before")]
fn bytes(value: f64) -> Option<u64> {
    (0.0..9.0e15).contains(&value).then_some(value as u64)
}

/// What is sampled together has a stream of its own, for pieces of one scrape have one time.
fn stream_of(instance: &Id, kind: Kind) -> StreamId {
    let digest = Sha256::digest(format!("write:{kind:?}:{instance}"));
    let mut id = [0; 16];
    id.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    StreamId(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const NOW: i64 = 1_800_000_000_000;

    fn remote() -> Remote {
        let config = Config::parse("f.toml", "[remote_write]\nexporter = \"node\"\ngroup_label = \"job\"\n");
        Remote::new(config.expect("right").remote_write.expect("there"))
    }

    fn series(name: &str, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
        let own = [("__name__", name), ("instance", "10.0.0.1:9100"), ("job", "web")];
        let label = |(name, value): &(&str, &str)| Label { name: (*name).to_owned(), value: (*value).to_owned() };
        TimeSeries {
            labels: own.iter().chain(labels).map(label).collect(),
            samples: samples.iter().map(|(at, value)| Value { timestamp: NOW + at, value: *value }).collect(),
        }
    }

    fn idle(processor: &str, samples: &[(i64, f64)]) -> TimeSeries {
        series("node_cpu_seconds_total", &[("cpu", processor), ("mode", "idle")], samples)
    }

    fn take(remote: &mut Remote, timeseries: Vec<TimeSeries>) -> Taken {
        remote.take(&WriteRequest { timeseries }, (NOW + 600_000) * 1_000)
    }

    fn processor_use(taken: &Taken) -> Vec<f64> {
        taken.samples.iter().filter_map(|pushed| pushed.sample.cpu_percent).map(f64::round).collect()
    }

    #[test]
    fn a_declared_metric_is_told_of_its_group_or_of_each_instance() {
        let text = "[metric.requests]\nof = \"instance\"\n[metric.queue]\nof = \"group\"\n[remote_write]\n\
            [remote_write.metric.http_requests_total]\ngives = \"requests\"\ncounter = true\n\
            [remote_write.metric.jobs]\ngives = \"queue\"\ngroup = \"web\"\nlabels = { queue = \"a\" }\n";
        let mut remote = Remote::new(Config::parse("f.toml", text).expect("right").remote_write.expect("there"));
        let requests =
            |code: &str, at: i64, count: f64| series("http_requests_total", &[("code", code)], &[(at, count)]);
        let jobs = |queue: &str, at: i64, count: f64| series("jobs", &[("queue", queue)], &[(at, count)]);
        let first = vec![requests("200", 0, 50.0), requests("500", 0, 5.0), jobs("a", 0, 7.0), jobs("b", 0, 900.0)];
        assert_eq!(take(&mut remote, first).told, [], "one reading of a counter says nothing");
        let more = vec![requests("200", 15_000, 350.0), requests("500", 15_000, 35.0), jobs("a", 15_000, 12.0)];
        let told = take(&mut remote, more.clone()).told;
        let seen = |told: &[Told]| -> Vec<_> {
            let of = |told: &Told| (told.metric.clone(), told.instance.clone(), told.group.clone(), told.value);
            told.iter().map(of).collect()
        };
        let (web, instance) = (Some("web".to_owned()), Some("10.0.0.1".to_owned()));
        assert_eq!(
            seen(&told),
            [("requests".to_owned(), instance, None, 22.0), ("queue".to_owned(), None, web, 12.0)],
            "all its series add up"
        );
        assert_eq!(told[0].at_micros, (NOW + 15_000) * 1_000);
        assert_eq!(seen(&take(&mut remote, more).told), seen(&told), "sent again it says the same again");
        let again = vec![requests("200", 30_000, 10.0), requests("500", 30_000, 36.0)];
        assert_eq!(take(&mut remote, again).told, [], "a counter that began anew says nothing");
    }

    #[test]
    fn growth_of_idle_seconds_is_use_of_all_processors() {
        let mut remote = remote();
        let first = take(&mut remote, vec![idle("0", &[(0, 100.0)]), idle("1", &[(0, 50.0)])]);
        assert!(first.samples.is_empty(), "one reading of a counter says nothing");
        assert_eq!(first.claims.values().map(Id::as_str).collect::<Vec<_>>(), ["web"]);
        // One idles half of the time, one not at all.
        let both = take(&mut remote, vec![idle("0", &[(15_000, 107.5)]), idle("1", &[(15_000, 50.0)])]);
        assert_eq!(processor_use(&both), [75.0]);
        assert_eq!(both.samples[0].instance.as_str(), "10.0.0.1");
        assert_eq!(both.samples[0].sample.covers_millis, 15_000);
        let busy = series("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "user")], &[(30_000, 5.0)]);
        let other = take(&mut remote, vec![busy, series("go_goroutines", &[], &[(0, 1.0), (1, 1.0)])]);
        assert_eq!(other.left[&Left::Unmapped], 3);
    }

    #[test]
    fn a_part_never_stands_for_all() {
        let mut remote = remote();
        take(&mut remote, vec![idle("0", &[(0, 100.0)])]);
        take(&mut remote, vec![idle("1", &[(0, 50.0)])]);
        let part = take(&mut remote, vec![idle("0", &[(15_000, 115.0)])]);
        assert!(part.samples.is_empty(), "the other one is not known yet");
        assert_eq!(processor_use(&take(&mut remote, vec![idle("1", &[(15_000, 50.0)])])), [50.0]);
        // A card without its counterpart is no network.
        let sent =
            |at: i64, value: f64| series("node_network_receive_bytes_total", &[("device", "eth0")], &[(at, value)]);
        take(&mut remote, vec![sent(0, 0.0)]);
        assert!(take(&mut remote, vec![sent(15_000, 1e6)]).samples.is_empty(), "out is not known: absent is not zero");
    }

    #[test]
    fn what_is_sent_again_makes_the_same_and_what_is_old_nothing() {
        let mut remote = remote();
        take(&mut remote, vec![idle("0", &[(0, 100.0)])]);
        let first = take(&mut remote, vec![idle("0", &[(15_000, 107.5), (30_000, 110.5)])]);
        assert_eq!(processor_use(&first), [50.0, 80.0]);
        let again = take(&mut remote, vec![idle("0", &[(30_000, 110.5)])]);
        assert_eq!(again.samples, first.samples[1..]);
        let old = take(&mut remote, vec![idle("0", &[(15_000, 107.5)])]);
        assert_eq!((old.samples.len(), old.left[&Left::OutOfOrder]), (0, 1));
        // What could not be stored is as if it had never come.
        let lost = take(&mut remote, vec![idle("0", &[(45_000, 118.0), (60_000, 118.0)]), idle("1", &[(60_000, 1.0)])]);
        remote.undo(&lost);
        let whole = take(&mut remote, vec![idle("0", &[(45_000, 118.0), (60_000, 118.0)])]);
        assert_eq!(processor_use(&whole), [50.0, 100.0]);
    }

    #[test]
    fn a_counter_that_began_anew_and_an_end_say_nothing() {
        let mut remote = remote();
        take(&mut remote, vec![idle("0", &[(0, 100.0)])]);
        assert!(take(&mut remote, vec![idle("0", &[(15_000, 3.0)])]).samples.is_empty());
        assert_eq!(processor_use(&take(&mut remote, vec![idle("0", &[(30_000, 18.0)])])), [0.0]);
        assert!(take(&mut remote, vec![idle("0", &[(45_000, f64::NAN)])]).samples.is_empty());
        remote.forget(NOW + 30_000 + GONE_MILLIS + 1);
        assert_eq!((remote.tracks.len(), remote.series), (0, 0));
    }

    #[test]
    fn memory_is_what_is_not_available_and_names_lose_their_port() {
        let mut remote = remote();
        let memory = |at: i64| {
            vec![
                series("node_memory_MemTotal_bytes", &[], &[(at, 8e9)]),
                series("node_memory_MemAvailable_bytes", &[], &[(at, 6e9)]),
            ]
        };
        take(&mut remote, memory(0));
        let taken = take(&mut remote, memory(15_000));
        let used = taken.samples.iter().map(|pushed| pushed.sample.memory_used_bytes).collect::<Vec<_>>();
        assert_eq!(used, [Some(2_000_000_000)]);
        for (named, host) in [("a:1", "a"), ("a", "a"), ("[::1]:9", "::1"), ("a:b", "a:b"), ("a:", "a:")] {
            assert_eq!(without_port(named), host);
        }
    }
}
