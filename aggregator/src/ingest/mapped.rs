//! What others measure, made into samples of instances and values of declared metrics by the mapping in the configuration.
//!
//! A scrape comes in pieces, and over more than one connection: what is known of an instance is the newest value of each of its
//! series. A sample is made when a piece moves one of them and all of them are known, so that a part of the processors or of the
//! network cards never stands for all. A piece that is sent again makes the same samples again, which the store keeps once.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use foreshadow_proto::convert::{self, EARLIEST_WALL_MICROS, Id, MAX_AHEAD_MICROS, StreamId};
use foreshadow_proto::v1;
use sha2::{Digest as _, Sha256};

use super::lines::Pushed;
use crate::config::{Gives, Mapped, Mapping, Of, Over};
use crate::readings::Told;

/// A series that was silent for so long is gone (a processor taken offline, a card unplugged), ms.
pub(super) const GONE_MILLIS: i64 = 300_000;
/// Series that are remembered: 10 000 instances of 100.
const MOST_SERIES: usize = 1_000_000;
/// A rate may overshoot its bounds by so much: clocks are read one after the other, points.
const OVERSHOOT: f64 = 5.0;

/// One series of a request, as its protocol has it.
pub trait Series {
    fn name(&self) -> Option<&str>;
    fn label(&self, name: &str) -> Option<Cow<'_, str>>;
    /// Tells it from the other series of its metric and instance.
    fn identity(&self) -> u64;
    fn points(&self) -> impl Iterator<Item = Point>;
}

/// One value of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// ms since the Unix epoch.
    pub at: i64,
    /// What is no number says nothing.
    pub value: f64,
    pub counts: Counts,
}

/// What a value counts, where it counts; ms since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// All there was since the counter began, where that is known.
    FromBeginning(Option<i64>),
    /// What came to it since then alone.
    Since(i64),
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
    /// It is of a kind that no reading can be had from.
    Unusable,
}

impl Left {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unmapped => "unmapped",
            Self::Unnamed => "unnamed",
            Self::OutOfOrder => "out_of_order",
            Self::Rejected => "rejected",
            Self::Full => "full",
            Self::Unusable => "unusable",
        }
    }

    /// What a sender is told.
    pub const fn says(self) -> &'static str {
        match self {
            Self::Unmapped => "not mapped",
            Self::Unnamed => "without a usable name of their instance or group, or of one that is not known here",
            Self::OutOfOrder => "older than what is known of their series",
            Self::Rejected => "out of range, too old, or of a time to come",
            Self::Full => "of more series than are followed",
            Self::Unusable => {
                "of a kind that cannot be used: a histogram, a level sent as deltas, a delta without its start, a word, or over 128 attributes"
            }
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

impl Taken {
    pub fn leave(&mut self, why: Left, values: u64) {
        if values > 0 {
            *self.left.entry(why).or_default() += values;
        }
    }
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
pub struct Tracks {
    mapped: Mapped,
    by_name: BTreeMap<String, Vec<Mapping>>,
    by_gives: BTreeMap<Gives, Mapping>,
    /// By which way it came: each has streams of its own.
    way: &'static str,
    tracks: BTreeMap<Key, BTreeMap<u64, Track>>,
    series: usize,
}

/// One value that is ours.
struct Ours {
    /// What it is a part of.
    keys: Vec<Key>,
    series: u64,
    point: Point,
}

impl Tracks {
    pub fn new(mapped: Mapped, way: &'static str) -> Self {
        let (mut by_name, mut by_gives) = (BTreeMap::<String, Vec<Mapping>>::new(), BTreeMap::new());
        for mapping in mapped.metrics.values() {
            by_name.entry(mapping.name.clone()).or_default().push(mapping.clone());
            by_gives.insert(mapping.gives, mapping.clone());
        }
        Self { mapped, by_name, by_gives, way, tracks: BTreeMap::new(), series: 0 }
    }

    /// Whether anything of a metric is ours.
    pub fn knows(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Takes a request in. `now` in µs since the epoch.
    pub fn take<S: Series>(&mut self, request: impl IntoIterator<Item = S>, now: i64) -> Taken {
        let mut taken = Taken::default();
        let mut by_time: BTreeMap<i64, Vec<Ours>> = BTreeMap::new();
        for series in request {
            match self.read(&series, &mut taken) {
                Ok((keys, hash)) => {
                    // A series that ends is marked by a value that is no number.
                    for point in series.points().filter(|point| point.value.is_finite()) {
                        // One from the future would make all that come after it old, and from one without a time on nothing grew.
                        let believed = EARLIEST_WALL_MICROS / 1_000..=(now + MAX_AHEAD_MICROS) / 1_000;
                        if !believed.contains(&point.at) {
                            taken.leave(Left::Rejected, 1);
                            continue;
                        }
                        let ours = Ours { keys: keys.clone(), series: hash, point };
                        by_time.entry(point.at).or_default().push(ours);
                    }
                }
                Err(why) => taken.leave(why, series.points().count() as u64),
            }
        }
        for (at, values) in by_time {
            let mut moved = BTreeSet::new();
            for Ours { keys, series, point } in values {
                let mut left = None;
                for key in keys {
                    match self.put(&key, series, point, &mut taken) {
                        Ok(()) => drop(moved.insert((key.0, kind(key.1)))),
                        Err(why) => left = Some(why),
                    }
                }
                // One value, of however many of ours it is a part.
                if let Some(why) = left {
                    taken.leave(why, 1);
                }
            }
            for (instance, kind) in moved {
                if let Kind::Custom(gives) = kind {
                    taken.told.extend(self.told(&instance, gives, at));
                    continue;
                }
                match self.sample(&instance, kind, at, now) {
                    Some(Ok(sample)) => taken.samples.push(sample),
                    Some(Err(())) => taken.leave(Left::Rejected, 1),
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

    /// Series that are followed.
    pub const fn followed(&self) -> usize {
        self.series
    }

    /// What a series is of ours, and which of its instance's or group's series it is.
    fn read(&self, series: &impl Series, taken: &mut Taken) -> Result<(Vec<Key>, u64), Left> {
        let mappings = series.name().and_then(|name| self.by_name.get(name)).ok_or(Left::Unmapped)?;
        let is = |(name, values): (&String, &Vec<String>)| {
            series.label(name).is_some_and(|label| values.iter().any(|value| *value == label))
        };
        let fits = |mapping: &&Mapping| mapping.labels.iter().all(is) && !mapping.without.iter().any(is);
        let ours: Vec<&Mapping> = mappings.iter().filter(fits).collect();
        if ours.is_empty() {
            return Err(Left::Unmapped);
        }
        let claims = &mut taken.claims;
        let keys = ours.iter().filter_map(|mapping| Some((self.subject(series, mapping, claims)?, mapping.gives)));
        let keys: Vec<Key> = keys.collect();
        if keys.is_empty() {
            return Err(Left::Unnamed);
        }
        // It may name its group and not its instance, or the other way round.
        if keys.len() < ours.len() {
            taken.leave(Left::Unnamed, series.points().count() as u64);
        }
        Ok((keys, series.identity()))
    }

    /// Whose value a series has by a mapping; a group that is named beside an instance is a claim.
    fn subject(&self, series: &impl Series, mapping: &Mapping, claims: &mut BTreeMap<Id, Id>) -> Option<Id> {
        let label = self.mapped.group_label.as_ref();
        let labelled = |label: &String| Id::new("group", &series.label(label)?).ok();
        if mapping.of == Of::Group {
            return mapping.group.clone().or_else(|| labelled(label?));
        }
        let named = self.mapped.instance_labels.iter().find_map(|label| series.label(label))?;
        let named = if self.mapped.strip_port { without_port(&named) } else { &named };
        let instance = Id::new("instance", named).ok()?;
        if let Some(label) = label {
            claims.insert(instance.clone(), labelled(label)?);
        }
        Some(instance)
    }

    fn put(&mut self, key: &Key, series: u64, point: Point, taken: &mut Taken) -> Result<(), Left> {
        let Point { at, value, counts } = point;
        let counter = self.by_gives.get(&key.1).is_some_and(|mapping| mapping.counter);
        let known = self.tracks.get(key).and_then(|tracks| tracks.get(&series)).copied();
        let before = match (known, counts) {
            // The same again: the samples it makes are made again.
            (Some(track), _) if track.at == at => return Ok(()),
            (Some(track), _) if track.at > at => return Err(Left::OutOfOrder),
            // What came to a level says nothing of how high it is.
            (_, Counts::Since(since)) if !counter || since <= 0 || since >= at => return Err(Left::Unusable),
            (_, Counts::Since(since)) => Some((since, 0.0)),
            // It began anew since, even if it has come further than it was.
            (Some(track), Counts::FromBeginning(Some(began))) if counter && began > track.at => None,
            (Some(track), Counts::FromBeginning(_)) => Some((track.at, track.value)),
            (None, Counts::FromBeginning(_)) => None,
        };
        if known.is_none() {
            if self.series >= MOST_SERIES {
                return Err(Left::Full);
            }
            self.series += 1;
        }
        self.tracks.entry(key.clone()).or_default().insert(series, Track { at, value, before });
        taken.undo.push((key.clone(), series, known));
        Ok(())
    }

    /// One of ours at a time, from all its series, and how long it stands for; `None` while one of them is not known.
    fn value(&self, instance: &Id, gives: Gives, at: i64) -> Option<(f64, i64)> {
        let mapping = self.by_gives.get(&gives)?;
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
        let mapping = self.by_gives.get(&gives)?;
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
        let stream = stream_of(self.way, instance, kind);
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
fn stream_of(way: &str, instance: &Id, kind: Kind) -> StreamId {
    let digest = Sha256::digest(format!("{way}:{kind:?}:{instance}"));
    let mut id = [0; 16];
    id.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    StreamId(id)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::otlp;
    use super::*;
    use crate::config::Config;

    const NOW: u64 = 1_800_000_000_000;

    /// Deltas of what was served by two routes, and how many jobs wait in which state.
    fn exported(host: Option<&str>, at: u64, jobs: [f64; 3]) -> otlp::ExportRequest {
        let nanos = |at: u64| ((NOW + at) * 1_000_000).to_string();
        let named = |key: &str, value: &str| json!([{"key": key, "value": {"stringValue": value}}]);
        let served = |route: &str, count: f64| {
            json!({"startTimeUnixNano": nanos(at - 15_000), "timeUnixNano": nanos(at), "asDouble": count,
                "attributes": named("http.route", route)})
        };
        let waiting = ["ready", "held", "dead"].into_iter().zip(jobs).map(
            |(state, jobs)| json!({"timeUnixNano": nanos(at), "asDouble": jobs, "attributes": named("state", state)}),
        );
        let served = json!({"name": "app.requests", "sum": {"aggregationTemporality": 1,
            "dataPoints": [served("/", 300.0), served("/buy", 30.0)]}});
        let waiting = json!({"name": "app.jobs", "gauge": {"dataPoints": waiting.collect::<Vec<_>>()}});
        let mut resource = named("service.name", "web");
        if let (Some(host), Value::Array(resource)) = (host, &mut resource) {
            resource.push(json!({"key": "host.id", "value": {"stringValue": host}}));
        }
        let request = json!({"resourceMetrics": [{"resource": {"attributes": resource},
            "scopeMetrics": [{"metrics": [served, waiting]}]}]});
        serde_json::from_value(request).expect("right")
    }

    #[test]
    fn a_declared_metric_comes_by_otlp_as_well() {
        let text = "[metric.requests]\nof = \"instance\"\n[metric.load]\nof = \"group\"\n[metric.queue]\nof = \"group\"\n\
            [otlp]\nexporter = \"hostmetrics\"\ngroup_label = \"service.name\"\n\
            [otlp.metric.\"app.requests\"]\ngives = \"requests\"\ncounter = true\n\
            [otlp.metric.all]\nname = \"app.requests\"\ngives = \"load\"\ncounter = true\n\
            [otlp.metric.\"app.jobs\"]\ngives = \"queue\"\ngroup = \"jobs\"\nlabels = { state = [\"ready\", \"held\"] }\n";
        let mut tracks = Tracks::new(Config::parse("f.toml", text).expect("right").otlp.expect("there"), "otlp");
        let mut take = |host: Option<&str>, at: u64, jobs: [f64; 3]| {
            otlp::take(&mut tracks, &exported(host, at, jobs), ((NOW + 600_000) * 1_000).cast_signed())
        };
        let told = |taken: &Taken| -> Vec<_> {
            let of = |told: &Told| (told.metric.clone(), told.instance.clone(), told.group.clone(), told.value);
            taken.told.iter().map(of).collect()
        };
        let requests = ("requests".to_owned(), Some("i-1".to_owned()), None, 22.0);
        let load = ("load".to_owned(), None, Some("web".to_owned()), 22.0);
        let queue = |jobs| ("queue".to_owned(), None, Some("jobs".to_owned()), jobs);
        // A delta says all there is to say at once, of the instance and of its group; one reading of a level does not.
        let first = take(Some("i-1"), 15_000, [7.0, 1.0, 900.0]);
        assert_eq!(told(&first), [requests.clone(), load.clone()]);
        assert_eq!(first.told[0].at_micros, ((NOW + 15_000) * 1_000).cast_signed());
        assert_eq!(first.claims.values().map(Id::as_str).collect::<Vec<_>>(), ["web"]);
        let second = take(Some("i-1"), 30_000, [12.0, 3.0, 900.0]);
        assert_eq!(told(&second), [requests, queue(15.0), load.clone()]);
        assert_eq!(told(&take(Some("i-1"), 30_000, [12.0, 3.0, 900.0])), told(&second), "sent again it says the same");
        assert_eq!(second.left.into_iter().collect::<Vec<_>>(), [(Left::Unmapped, 1)]);
        // Without the name of an instance it is of the group still, and what is left out is counted.
        let nobodys = take(None, 45_000, [0.0, 0.0, 0.0]);
        assert_eq!(told(&nobodys), [queue(0.0), load]);
        assert_eq!(nobodys.left.into_iter().collect::<Vec<_>>(), [(Left::Unmapped, 1), (Left::Unnamed, 2)]);
        assert!(first.samples.is_empty() && nobodys.samples.is_empty());
    }

    #[test]
    fn names_lose_their_port() {
        for (named, host) in [("a:1", "a"), ("a", "a"), ("[::1]:9", "::1"), ("a:b", "a:b"), ("a:", "a:")] {
            assert_eq!(without_port(named), host);
        }
    }
}
