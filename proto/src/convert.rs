//! From the wire to the values the product works with: the only range check there is.
//!
//! A message that is wrong as a whole (no instance id, a stream id of the wrong length) is a
//! [`WireError`] and ends the stream; a sample that is wrong is a [`RejectReason`] for that sample
//! alone, and its neighbours are kept. Nothing that passed here is ever NaN, infinite, negative,
//! above 100 %, from before 2020 or from the future.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::v1;

/// Samples older than this were made by a clock that was never set (2020-01-01T00:00:00Z, µs).
pub const EARLIEST_WALL_MICROS: i64 = 1_577_836_800_000_000;
/// How far ahead of the aggregator's clock a sample may be, µs.
pub const MAX_AHEAD_MICROS: i64 = 60_000_000;
/// Shortest and longest sampling interval, ms.
pub const INTERVAL_MILLIS: std::ops::RangeInclusive<u32> = 1_000..=60_000;
/// Most samples in one batch; an agent splits, an aggregator refuses more.
pub const MAX_BATCH_SAMPLES: usize = 2_000;
/// Longest id (instance, group, boot, type, zone), bytes.
pub const MAX_ID_BYTES: usize = 128;
/// No interface is faster than this: 10 Tbit/s in bytes per second. Above it a counter was misread.
pub const MAX_BYTES_PER_SECOND: f64 = 1.25e12;
/// Smallest Ethernet frame at [`MAX_BYTES_PER_SECOND`].
pub const MAX_PACKETS_PER_SECOND: f64 = MAX_BYTES_PER_SECOND / 64.0;

/// A whole message that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WireError {
    /// An id is empty, too long, or has characters other than letters, digits and `._:/@-`.
    #[error("{field}: {problem}; ids have 1 to {MAX_ID_BYTES} letters, digits or ._:/@-")]
    Id { field: &'static str, problem: String },
    /// The stream id is not 16 bytes.
    #[error("stream_id: {0} bytes, must be 16 random bytes")]
    StreamId(usize),
    /// More samples than [`MAX_BATCH_SAMPLES`].
    #[error("batch of {0} samples, at most {MAX_BATCH_SAMPLES}")]
    BatchTooLong(usize),
    /// A column of a batch has more values than there are samples for it, or samples came beside columns.
    #[error("columns of a batch: {0}: more values than the batch has samples for")]
    Columns(&'static str),
    /// The peer speaks a wire this build does not know.
    #[error("protocol {0} is not known here (this build speaks {ours})", ours = crate::PROTOCOL)]
    Protocol(u32),
}

/// Why one sample can never be stored. The names are labels of a counter and words on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// NaN or infinite.
    NotFinite,
    /// Below zero.
    Negative,
    /// A percentage above 100, memory used above its total, an impossible rate.
    OutOfRange,
    /// More than a minute ahead of the aggregator's clock.
    Future,
    /// From before 2020: the clock was never set.
    ClockNeverSet,
    /// Sequence 0, or an interval of zero or above an hour.
    Malformed,
    /// Neither CPU, memory nor network in it.
    Empty,
}

impl RejectReason {
    /// Every reason, for counters that start at zero.
    pub const ALL: [Self; 7] = [
        Self::NotFinite,
        Self::Negative,
        Self::OutOfRange,
        Self::Future,
        Self::ClockNeverSet,
        Self::Malformed,
        Self::Empty,
    ];

    /// The word on the wire and in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFinite => "not_finite",
            Self::Negative => "negative",
            Self::OutOfRange => "out_of_range",
            Self::Future => "future",
            Self::ClockNeverSet => "clock_never_set",
            Self::Malformed => "malformed",
            Self::Empty => "empty",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names one life of an agent's buffer: sequence numbers are unique within it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub [u8; 16]);

impl StreamId {
    /// From the 16 bytes on the wire.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, WireError> {
        bytes.try_into().map(Self).map_err(|_| WireError::StreamId(bytes.len()))
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({self})")
    }
}

/// The name of an instance, group, type or zone: 1 to 128 letters, digits or `._:/@-`. Every sample carries one: a clone is no
/// copy of the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(Arc<str>);

impl Id {
    /// Checks length and characters; `field` names the source in the error.
    pub fn new(field: &'static str, value: &str) -> Result<Self, WireError> {
        let problem = if value.is_empty() {
            "is empty".to_owned()
        } else if value.len() > MAX_ID_BYTES {
            format!("is {} bytes long", value.len())
        } else if let Some(odd) = value.chars().find(|c| !(c.is_ascii_alphanumeric() || "._:/@-".contains(*c))) {
            format!("has the character {odd:?}")
        } else {
            return Ok(Self(value.into()));
        };
        Err(WireError::Id { field, problem })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Id {
    type Err = WireError;
    fn from_str(value: &str) -> Result<Self, WireError> {
        Self::new("id", value)
    }
}

impl TryFrom<String> for Id {
    type Error = WireError;
    fn try_from(value: String) -> Result<Self, WireError> {
        Self::new("id", &value)
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0.as_ref().into()
    }
}

/// Network rates per second, physical interfaces together.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct NetworkRates {
    pub in_bytes: f64,
    pub out_bytes: f64,
    pub in_packets: f64,
    pub out_packets: f64,
    pub errors: f64,
}

/// One checked reading of one instance. `None` is "could not be read", never zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// From 1, strictly increasing within the stream id.
    pub sequence: u64,
    /// End of the interval, µs since the Unix epoch.
    pub wall_micros: i64,
    /// µs since boot, suspended time included.
    pub monotonic_micros: u64,
    /// Length of the interval, ms.
    pub covers_millis: u32,
    /// Percent of all processors, steal excluded.
    pub cpu_percent: Option<f64>,
    /// Percent of the busiest processor.
    pub cpu_busiest_percent: Option<f64>,
    /// Percent stolen by the hypervisor.
    pub cpu_steal_percent: Option<f64>,
    pub memory_used_bytes: Option<u64>,
    pub memory_total_bytes: Option<u64>,
    pub network: Option<NetworkRates>,
}

/// What is known of the machine; `None` is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    pub instance_type: Option<Id>,
    pub zone: Option<Id>,
    pub region: Option<Id>,
    pub image_id: Option<Id>,
    pub cores: Option<u32>,
    pub memory_bytes: Option<u64>,
    pub hostname: Option<String>,
    /// The cloud's word for the state it is bringing the instance into. A claim.
    pub target_lifecycle_state: Option<String>,
    /// From the start of the agent's process to its first acknowledged sample, ms.
    pub first_acknowledged_millis: Option<u32>,
}

/// A checked Hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    pub instance: Id,
    pub stream: StreamId,
    pub boot_id: Id,
    pub facts: Facts,
    pub agent_version: String,
    pub claimed_group: Option<Id>,
    /// Newest revision of the wire that both sides speak.
    pub protocol: u32,
}

/// Checks the first message of a stream.
pub fn hello(wire: &v1::Hello) -> Result<Hello, WireError> {
    if wire.protocol == 0 || wire.protocol > crate::PROTOCOL {
        return Err(WireError::Protocol(wire.protocol));
    }
    Ok(Hello {
        instance: Id::new("instance_id", &wire.instance_id)?,
        stream: StreamId::from_wire(&wire.stream_id)?,
        boot_id: Id::new("boot_id", &wire.boot_id)?,
        facts: facts(&wire.facts.clone().unwrap_or_default())?,
        agent_version: wire.agent_version.chars().filter(|c| !c.is_control()).take(64).collect(),
        claimed_group: optional_id("claimed_group", &wire.claimed_group)?,
        // Agents of revision 1 know no newer one to name.
        protocol: wire.newest_protocol.clamp(crate::OLDEST_PROTOCOL, crate::PROTOCOL),
    })
}

/// Checks facts; empty strings and zeros become `None`.
pub fn facts(wire: &v1::Facts) -> Result<Facts, WireError> {
    Ok(Facts {
        instance_type: optional_id("instance_type", &wire.instance_type)?,
        zone: optional_id("zone", &wire.zone)?,
        region: optional_id("region", &wire.region)?,
        image_id: optional_id("image_id", &wire.image_id)?,
        cores: (wire.cores > 0).then_some(wire.cores),
        memory_bytes: (wire.memory_bytes > 0).then_some(wire.memory_bytes),
        hostname: Some(wire.hostname.chars().filter(|c| !c.is_control()).take(255).collect::<String>())
            .filter(|name| !name.is_empty()),
        // An odd word of a cloud is no reason to turn an agent away.
        target_lifecycle_state: Some(wire.target_lifecycle_state.as_str())
            .filter(|word| {
                (1..=64).contains(&word.len()) && word.chars().all(|c| c.is_ascii_alphanumeric() || c == ':')
            })
            .map(str::to_owned),
        first_acknowledged_millis: (wire.first_acknowledged_millis > 0).then_some(wire.first_acknowledged_millis),
    })
}

fn optional_id(field: &'static str, value: &str) -> Result<Option<Id>, WireError> {
    if value.is_empty() { Ok(None) } else { Id::new(field, value).map(Some) }
}

/// Checks one sample against the aggregator's wall clock (µs since the Unix epoch).
pub fn sample(wire: &v1::Sample, now_micros: i64) -> Result<Sample, RejectReason> {
    if wire.sequence == 0 || wire.covers_millis == 0 || wire.covers_millis > 3_600_000 {
        return Err(RejectReason::Malformed);
    }
    if wire.wall_micros < EARLIEST_WALL_MICROS {
        return Err(RejectReason::ClockNeverSet);
    }
    if wire.wall_micros > now_micros.saturating_add(MAX_AHEAD_MICROS) {
        return Err(RejectReason::Future);
    }
    if wire.cpu_percent.is_none() && wire.memory_used_bytes.is_none() && wire.network.is_none() {
        return Err(RejectReason::Empty);
    }
    if let (Some(used), Some(total)) = (wire.memory_used_bytes, wire.memory_total_bytes)
        && used > total
    {
        return Err(RejectReason::OutOfRange);
    }
    Ok(Sample {
        sequence: wire.sequence,
        wall_micros: wire.wall_micros,
        monotonic_micros: wire.monotonic_micros,
        covers_millis: wire.covers_millis,
        cpu_percent: percent(wire.cpu_percent)?,
        cpu_busiest_percent: percent(wire.cpu_busiest_percent)?,
        cpu_steal_percent: percent(wire.cpu_steal_percent)?,
        memory_used_bytes: wire.memory_used_bytes,
        memory_total_bytes: wire.memory_total_bytes,
        network: wire.network.as_ref().map(network).transpose()?,
    })
}

fn percent(value: Option<f32>) -> Result<Option<f64>, RejectReason> {
    value.map(|value| within(f64::from(value), 100.0)).transpose()
}

fn network(wire: &v1::Network) -> Result<NetworkRates, RejectReason> {
    Ok(NetworkRates {
        in_bytes: within(wire.in_bytes, MAX_BYTES_PER_SECOND)?,
        out_bytes: within(wire.out_bytes, MAX_BYTES_PER_SECOND)?,
        in_packets: within(wire.in_packets, MAX_PACKETS_PER_SECOND)?,
        out_packets: within(wire.out_packets, MAX_PACKETS_PER_SECOND)?,
        errors: within(wire.errors, MAX_PACKETS_PER_SECOND)?,
    })
}

fn within(value: f64, most: f64) -> Result<f64, RejectReason> {
    if !value.is_finite() {
        Err(RejectReason::NotFinite)
    } else if value < 0.0 {
        Err(RejectReason::Negative)
    } else if value > most {
        Err(RejectReason::OutOfRange)
    } else {
        Ok(value)
    }
}

/// A confidence asked for by a program: one-sided quantile in [0.5, 0.99].
pub fn confidence(value: f64) -> Result<f64, String> {
    if (0.5..=0.99).contains(&value) { Ok(value) } else { Err(format!("confidence: {value} is not in [0.5, 0.99]")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;

    fn good() -> v1::Sample {
        v1::Sample {
            sequence: 1,
            wall_micros: NOW,
            monotonic_micros: 5,
            covers_millis: 1_000,
            cpu_percent: Some(12.5),
            ..Default::default()
        }
    }

    #[test]
    fn each_fault_has_its_reason() {
        let spoil = |change: fn(&mut v1::Sample)| {
            let mut wire = good();
            change(&mut wire);
            sample(&wire, NOW)
        };
        assert!(sample(&good(), NOW).is_ok());
        assert_eq!(spoil(|s| s.cpu_percent = Some(f32::NAN)), Err(RejectReason::NotFinite));
        assert_eq!(spoil(|s| s.cpu_percent = Some(f32::INFINITY)), Err(RejectReason::NotFinite));
        assert_eq!(spoil(|s| s.cpu_percent = Some(-0.1)), Err(RejectReason::Negative));
        assert_eq!(spoil(|s| s.cpu_percent = Some(100.1)), Err(RejectReason::OutOfRange));
        assert_eq!(spoil(|s| s.wall_micros = NOW + MAX_AHEAD_MICROS + 1), Err(RejectReason::Future));
        assert_eq!(spoil(|s| s.wall_micros = 0), Err(RejectReason::ClockNeverSet));
        assert_eq!(spoil(|s| s.sequence = 0), Err(RejectReason::Malformed));
        assert_eq!(spoil(|s| s.cpu_percent = None), Err(RejectReason::Empty));
        assert_eq!(
            spoil(|s| (s.memory_used_bytes, s.memory_total_bytes) = (Some(2), Some(1))),
            Err(RejectReason::OutOfRange)
        );
    }

    #[test]
    fn ids_say_what_is_wrong() {
        assert!(Id::new("instance_id", "i-0abc").is_ok());
        let error = Id::new("instance_id", "a b").expect_err("a blank is no id");
        assert!(error.to_string().contains("instance_id") && error.to_string().contains("' '"), "{error}");
        assert!(Id::new("group", "").is_err());
        assert!(Id::new("group", &"x".repeat(129)).is_err());
    }

    proptest! {
        #[test]
        fn whatever_passes_is_in_range(
            sequence: u64, wall: i64, covers: u32, cpu: Option<f32>, busiest: Option<f32>, rate: f64,
        ) {
            let wire = v1::Sample {
                sequence, wall_micros: wall, covers_millis: covers, cpu_percent: cpu, cpu_busiest_percent: busiest,
                network: Some(v1::Network { in_bytes: rate, ..Default::default() }),
                ..Default::default()
            };
            if let Ok(kept) = sample(&wire, NOW) {
                prop_assert!(kept.cpu_percent.is_none_or(|u| (0.0..=100.0).contains(&u)));
                prop_assert!(kept.cpu_busiest_percent.is_none_or(|u| (0.0..=100.0).contains(&u)));
                prop_assert!(kept.network.is_some_and(|n| (0.0..=MAX_BYTES_PER_SECOND).contains(&n.in_bytes)));
                prop_assert!((EARLIEST_WALL_MICROS..=NOW + MAX_AHEAD_MICROS).contains(&kept.wall_micros));
            }
        }
    }
}
