//! What is pushed by `POST /shadow/metrics`: NDJSON or InfluxDB line protocol, a line a sample.
//!
//! A pushed sample has no stream of its own: its stream id is derived from the instance's name and
//! its sequence is its time in µs, so that the same line sent twice is stored once.

use std::collections::BTreeMap;

use foreshadow_proto::convert::{self, Id, Sample, StreamId};
use foreshadow_proto::v1;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::influx;
use crate::readings::Told;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    NdJson,
    /// InfluxDB line protocol, times in nanoseconds, tag `instance`.
    LineProtocol,
}

/// A pushed sample and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Pushed {
    pub instance: Id,
    pub stream: StreamId,
    pub sample: Sample,
}

/// What a line holds: a sample, values of declared metrics, or both.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub sample: Option<Pushed>,
    pub told: Vec<Told>,
}

/// The same before anything was checked.
struct Unchecked {
    instance: Option<String>,
    group: Option<String>,
    wire: v1::Sample,
    metrics: BTreeMap<String, f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonLine {
    instance: Option<String>,
    group: Option<String>,
    /// Of declared metrics, by name.
    #[serde(default)]
    metrics: BTreeMap<String, f64>,
    at: At,
    #[serde(default = "second")]
    covers_millis: u32,
    cpu_percent: Option<f64>,
    cpu_busiest_percent: Option<f64>,
    cpu_steal_percent: Option<f64>,
    memory_used_bytes: Option<u64>,
    memory_total_bytes: Option<u64>,
    network: Option<convert::NetworkRates>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum At {
    Text(String),
    Number(f64),
}

const fn second() -> u32 {
    1_000
}

/// Reads one line; `None` for a blank line or a comment. `now` in µs since the epoch.
pub fn parse(format: Format, line: &str, now: i64) -> Result<Option<Line>, String> {
    let line = line.trim();
    if line.is_empty() || (format == Format::LineProtocol && line.starts_with('#')) {
        return Ok(None);
    }
    let Unchecked { instance, group, wire, metrics } = match format {
        Format::NdJson => json(line, now)?,
        Format::LineProtocol => line_protocol(line, now)?,
    };
    let told = metrics.into_iter().map(|(metric, value)| {
        let (instance, group) = (instance.clone(), group.clone());
        Told { instance, group, metric, at_micros: wire.wall_micros, value }
    });
    let told: Vec<Told> = told.collect();
    // Metrics alone are no sample; everything else has to be one.
    let sampled = wire.network.is_some()
        || wire.cpu_percent.or(wire.cpu_busiest_percent).or(wire.cpu_steal_percent).is_some()
        || wire.memory_used_bytes.or(wire.memory_total_bytes).is_some();
    if !sampled && !told.is_empty() {
        return Ok(Some(Line { sample: None, told }));
    }
    let instance = instance.ok_or("instance is missing: a sample is of an instance")?;
    let instance = Id::new("instance", &instance).map_err(|error| error.to_string())?;
    let sample = convert::sample(&wire, now).map_err(|reason| reason.as_str().to_owned())?;
    Ok(Some(Line { sample: Some(Pushed { stream: stream_of(&instance), instance, sample }), told }))
}

/// The stream id of what is pushed for an instance.
pub fn stream_of(instance: &Id) -> StreamId {
    let digest = Sha256::digest(format!("push:{instance}"));
    let mut id = [0; 16];
    id.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    StreamId(id)
}

fn json(line: &str, now: i64) -> Result<Unchecked, String> {
    let read: JsonLine = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let wall_micros = match read.at {
        At::Text(text) => {
            let at: jiff::Timestamp = text.parse().map_err(|error| format!("at: {error}"))?;
            at.as_microsecond()
        }
        At::Number(number) => unit_by_size(number, now)?,
    };
    let wire = v1::Sample {
        sequence: u64::try_from(wall_micros).unwrap_or_default(),
        wall_micros,
        covers_millis: read.covers_millis,
        cpu_percent: read.cpu_percent.map(single),
        cpu_busiest_percent: read.cpu_busiest_percent.map(single),
        cpu_steal_percent: read.cpu_steal_percent.map(single),
        memory_used_bytes: read.memory_used_bytes,
        memory_total_bytes: read.memory_total_bytes,
        network: read.network.map(|rates| v1::Network {
            in_bytes: rates.in_bytes,
            out_bytes: rates.out_bytes,
            in_packets: rates.in_packets,
            out_packets: rates.out_packets,
            errors: rates.errors,
        }),
        ..Default::default()
    };
    Ok(Unchecked { instance: read.instance, group: read.group, wire, metrics: read.metrics })
}

/// Seconds, ms or µs, told apart by their size: the three do not overlap between 2001 and 2286.
#[allow(clippy::cast_possible_truncation, reason = "bounded above")]
fn unit_by_size(number: f64, _now: i64) -> Result<i64, String> {
    let scale = match number.abs() {
        size if size < 1e11 => 1e6,
        size if size < 1e14 => 1e3,
        size if size < 1e17 => 1.0,
        _ => return Err(format!("at: {number} is no time in s, ms or µs since 1970")),
    };
    Ok((number * scale).round() as i64)
}

#[allow(clippy::cast_possible_truncation, reason = "a percentage; the range check follows")]
const fn single(value: f64) -> f32 {
    value as f32
}

fn line_protocol(line: &str, now: i64) -> Result<Unchecked, String> {
    let line = influx::read(line)?.ok_or("no fields")?;
    let tag = |name| line.tag_value(name).map(ToString::to_string);
    let (instance, group) = (tag("instance"), tag("group"));
    if instance.is_none() && group.is_none() {
        return Err("tag instance is missing".to_owned());
    }
    let wall_micros = line.timestamp.map_or(now, |nanos| nanos.div_euclid(1_000));
    let mut values = BTreeMap::new();
    for (key, value) in &line.field_set {
        let number = influx::number(value).ok_or_else(|| format!("field {key}: {value} is no number"))?;
        values.insert(key.to_string(), number);
    }
    let mut wire = v1::Sample {
        sequence: u64::try_from(wall_micros).unwrap_or_default(),
        wall_micros,
        covers_millis: 1_000,
        ..Default::default()
    };
    let mut network = v1::Network::default();
    let (mut has_network, mut metrics) = (false, BTreeMap::new());
    for (key, number) in values {
        match key.as_str() {
            "covers_millis" => wire.covers_millis = whole(&key, number)?.try_into().unwrap_or(u32::MAX),
            "cpu_percent" => wire.cpu_percent = Some(single(number)),
            "cpu_busiest_percent" => wire.cpu_busiest_percent = Some(single(number)),
            "cpu_steal_percent" => wire.cpu_steal_percent = Some(single(number)),
            "memory_used_bytes" => wire.memory_used_bytes = Some(whole(&key, number)?),
            "memory_total_bytes" => wire.memory_total_bytes = Some(whole(&key, number)?),
            "in_bytes" => (network.in_bytes, has_network) = (number, true),
            "out_bytes" => (network.out_bytes, has_network) = (number, true),
            "in_packets" => (network.in_packets, has_network) = (number, true),
            "out_packets" => (network.out_packets, has_network) = (number, true),
            "errors" => (network.errors, has_network) = (number, true),
            // Of a declared metric, or of none.
            _ => drop(metrics.insert(key, number)),
        }
    }
    wire.network = has_network.then_some(network);
    Ok(Unchecked { instance, group, wire, metrics })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just before")]
fn whole(key: &str, number: f64) -> Result<u64, String> {
    if number.is_finite() && (0.0..9.0e15).contains(&number) {
        Ok(number as u64)
    } else {
        Err(format!("field {key}: {number} is not a whole number from zero"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;

    #[test]
    fn both_formats_say_the_same() {
        let json = r#"{"instance":"i-1","at":1800000000,"cpu_percent":12.5,"memory_used_bytes":7}"#;
        let line = "foreshadow,instance=i-1,zone=a cpu_percent=12.5,memory_used_bytes=7i 1800000000000000000";
        let from_json = parse(Format::NdJson, json, NOW).expect("reads").expect("a sample");
        let from_line = parse(Format::LineProtocol, line, NOW).expect("reads").expect("a sample");
        assert_eq!(from_json, from_line);
        let sample = &from_json.sample.as_ref().expect("a sample").sample;
        assert_eq!((sample.cpu_percent, sample.sequence), (Some(12.5), 1_800_000_000_000_000));
        let text = r#"{"instance":"i-1","at":"2027-01-15T08:00:00Z","cpu_percent":12.5,"memory_used_bytes":7}"#;
        assert_eq!(parse(Format::NdJson, text, NOW).expect("reads").expect("a sample"), from_json);
    }

    #[test]
    fn faults_name_what_is_wrong() {
        for (format, line, part) in [
            (Format::NdJson, "{", "EOF"),
            (Format::NdJson, r#"{"instance":"i-1","at":1800000000,"cpu":1}"#, "unknown field `cpu`"),
            (Format::NdJson, r#"{"instance":"i 1","at":1800000000,"cpu_percent":1}"#, "instance"),
            (Format::NdJson, r#"{"instance":"i-1","at":1800000000,"cpu_percent":101}"#, "out_of_range"),
            (Format::NdJson, r#"{"instance":"i-1","at":1900000000,"cpu_percent":1}"#, "future"),
            (Format::NdJson, r#"{"instance":"i-1","at":1,"cpu_percent":1}"#, "clock_never_set"),
            (Format::LineProtocol, "foreshadow cpu_percent=1", "tag instance"),
            (Format::LineProtocol, "foreshadow,instance=i-1", "is not measurement"),
            (Format::LineProtocol, "foreshadow,instance=i-1 cpu_percent=NaN", "No fields"),
            (Format::LineProtocol, "foreshadow,instance=i-1 cpu_percent=\"a lot\"", "is no number"),
            (Format::LineProtocol, "foreshadow,group=web cpu_percent=1", "instance is missing"),
            (Format::NdJson, r#"{"group":"web","at":1800000000,"cpu_percent":1}"#, "instance is missing"),
            (Format::NdJson, r#"{"group":"web","at":1800000000}"#, "instance is missing"),
            (Format::NdJson, r#"{"instance":"i-1","at":1800000000}"#, "empty"),
            (Format::NdJson, r#"{"group":"web","at":1800000000,"metrics":{"queue":"many"}}"#, "invalid type"),
            (Format::NdJson, r#"{"group":"web","at":1800000000,"metrics":{"queue":1e999}}"#, "number out of range"),
            (Format::LineProtocol, "foreshadow,instance=i-1 cpu_percent=1 x", "trailing content"),
        ] {
            let error = parse(format, line, NOW).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        }
        assert_eq!(parse(Format::LineProtocol, "# a comment", NOW), Ok(None));
    }

    #[test]
    fn values_of_declared_metrics_come_alone_or_beside_a_sample() {
        let json = r#"{"group":"web","at":1800000000,"metrics":{"queue":512}}"#;
        let line = "jobs,group=web queue=512i 1800000000000000000";
        let told = parse(Format::NdJson, json, NOW).expect("reads").expect("a line");
        assert_eq!(parse(Format::LineProtocol, line, NOW), Ok(Some(told.clone())));
        assert_eq!((told.sample, told.told[0].value, told.told[0].at_micros), (None, 512.0, NOW));
        let both = "foreshadow,instance=i-1,group=web cpu_percent=12,requests=90.5 1800000000000000000";
        let both = parse(Format::LineProtocol, both, NOW).expect("reads").expect("a line");
        assert_eq!(both.sample.expect("a sample").sample.cpu_percent, Some(12.0));
        assert_eq!((both.told[0].metric.as_str(), both.told[0].value), ("requests", 90.5));
        assert_eq!((both.told[0].instance.as_deref(), both.told[0].group.as_deref()), (Some("i-1"), Some("web")));
    }

    proptest! {
        #[test]
        fn no_line_panics(line in ".{0,200}") {
            drop(parse(Format::NdJson, &line, NOW));
            drop(parse(Format::LineProtocol, &line, NOW));
            drop(parse(Format::LineProtocol, &format!("m,instance=i {line}"), NOW));
        }
    }
}
