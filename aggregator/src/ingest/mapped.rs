//! What others measure, made into samples of instances by the mapping in the configuration.
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
use crate::config::{Gives, Mapped, Mapping, Over};

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
            Self::Unnamed => "without a usable name of their instance or group",
            Self::OutOfOrder => "older than what is known of their series",
            Self::Rejected => "out of range, or of a time to come",
            Self::Full => "of more series than are followed",
            Self::Unusable => {
                "of a kind that cannot be used: a histogram, a level sent as deltas, a delta without its start, or over 128 attributes"
            }
        }
    }
}

/// What a request comes to.
#[derive(Debug, Default)]
pub struct Taken {
    pub samples: Vec<Pushed>,
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

/// An instance and which of ours.
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
            match self.read(&series, &mut taken.claims) {
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

    /// What a series is of ours, and which of an instance's series it is.
    fn read(&self, series: &impl Series, claims: &mut BTreeMap<Id, Id>) -> Result<(Vec<Key>, u64), Left> {
        let mappings = series.name().and_then(|name| self.by_name.get(name)).ok_or(Left::Unmapped)?;
        let is = |(name, values): (&String, &Vec<String>)| {
            series.label(name).is_some_and(|label| values.iter().any(|value| *value == label))
        };
        let fits = |mapping: &&Mapping| mapping.labels.iter().all(is) && !mapping.without.iter().any(is);
        let gives: Vec<Gives> = mappings.iter().filter(fits).map(|mapping| mapping.gives).collect();
        if gives.is_empty() {
            return Err(Left::Unmapped);
        }
        let named = self.mapped.instance_labels.iter().find_map(|label| series.label(label)).ok_or(Left::Unnamed)?;
        let named = if self.mapped.strip_port { without_port(&named) } else { &named };
        let instance = Id::new("instance", named).map_err(|_| Left::Unnamed)?;
        if let Some(label) = &self.mapped.group_label {
            let group = series.label(label).and_then(|group| Id::new("group", &group).ok()).ok_or(Left::Unnamed)?;
            claims.insert(instance.clone(), group);
        }
        Ok((gives.into_iter().map(|gives| (instance.clone(), gives)).collect(), series.identity()))
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
}

const fn kind(gives: Gives) -> Kind {
    match gives {
        Gives::CpuPercent | Gives::CpuStealPercent => Kind::Cpu,
        Gives::MemoryUsedBytes | Gives::MemoryAvailableBytes | Gives::MemoryTotalBytes => Kind::Memory,
        Gives::InBytes | Gives::OutBytes | Gives::InPackets | Gives::OutPackets => Kind::Network,
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
    use super::*;

    #[test]
    fn names_lose_their_port() {
        for (named, host) in [("a:1", "a"), ("a", "a"), ("[::1]:9", "::1"), ("a:b", "a:b"), ("a:", "a:")] {
            assert_eq!(without_port(named), host);
        }
    }
}
