//! Samples of one instance as time-weighted means of ten-second slices.
//!
//! A sample speaks for the time it covers, not for the instant it was made: an agent that samples
//! every minute fills six slices, one that samples every second fills each by ten. What is not
//! covered is absent, never zero.

use std::collections::BTreeMap;
use std::ops::Range;

use foreshadow_proto::convert::Sample;

use crate::store::{Field, Readings};

/// Length of a slice, µs. The highest slice of a minute is the minute's maximum.
pub const SLICE_MICROS: i64 = 10_000_000;
/// Slices in a minute.
pub const SLICES_PER_MINUTE: i64 = 6;
/// Longest time one sample may speak for, µs: two slow intervals. After a suspended host or a long
/// stall the reading is an average over the gap and says little about any minute in it.
const LONGEST_COVER_MICROS: i64 = 120_000_000;

/// What of a sample feeds demand and the idle baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Percent of all processors.
    Cpu,
    /// Percent of total memory.
    Memory,
    /// Bits per second.
    NetworkIn,
    /// Bits per second.
    NetworkOut,
    /// Packets per second, both ways: the share of traffic, for the idle baseline.
    Packets,
    /// Percent of the processors' time that the host gave to others.
    Steal,
}

const SIGNALS: [Signal; 6] =
    [Signal::Cpu, Signal::Memory, Signal::NetworkIn, Signal::NetworkOut, Signal::Packets, Signal::Steal];

/// What of stored samples minutes are made of: all but packets and steal. [`InstanceSlices::of_readings`] takes them in this order.
pub const FIELDS_OF_MINUTES: [Field; 6] = [
    Field::CoversMillis,
    Field::CpuPercent,
    Field::MemoryUsedBytes,
    Field::MemoryTotalBytes,
    Field::InBytes,
    Field::OutBytes,
];

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Weighted {
    sum: f64,
    micros: f64,
}

/// One instance's latest slices.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InstanceSlices {
    /// By slice number since the Unix epoch.
    slices: BTreeMap<i64, [Weighted; SIGNALS.len()]>,
}

impl InstanceSlices {
    /// Adds a sample and returns the slices it spoke for.
    pub fn add(&mut self, sample: &Sample) -> Range<i64> {
        self.speak(sample.wall_micros, sample.covers_millis, SIGNALS.map(|signal| read(signal, sample)))
    }

    /// Slices of what was read of [`FIELDS_OF_MINUTES`]: those of the samples it was read of, without packets and steal.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a u32 of a sample")]
    pub fn of_readings(readings: &Readings) -> Self {
        let mut slices = Self::default();
        let [covers, cpu, used, total, incoming, outgoing] = readings.values.as_slice() else { return slices };
        let numbers = cpu.iter().zip(used).zip(total).zip(incoming).zip(outgoing);
        for ((wall, covers), numbers) in readings.wall_micros.iter().zip(covers).zip(numbers) {
            let ((((cpu, used), total), incoming), outgoing) = numbers;
            let memory = used.zip(*total).filter(|(_, total)| *total > 0.0).map(|(used, total)| 100.0 * used / total);
            let bits = |bytes: &Option<f64>| bytes.map(|bytes| 8.0 * bytes);
            let signals = SIGNALS.map(|signal| match signal {
                Signal::Cpu => *cpu,
                Signal::Memory => memory,
                Signal::NetworkIn => bits(incoming),
                Signal::NetworkOut => bits(outgoing),
                Signal::Packets | Signal::Steal => None,
            });
            slices.speak(*wall, covers.unwrap_or_default() as u32, signals);
        }
        slices
    }

    #[allow(clippy::cast_precision_loss, reason = "overlaps are below a minute")]
    fn speak(&mut self, to: i64, covers_millis: u32, values: [Option<f64>; SIGNALS.len()]) -> Range<i64> {
        let from = to - (i64::from(covers_millis) * 1_000).min(LONGEST_COVER_MICROS);
        let touched = from.div_euclid(SLICE_MICROS)..(to - 1).div_euclid(SLICE_MICROS) + 1;
        for slice in touched.clone() {
            let start = slice * SLICE_MICROS;
            let overlap = (to.min(start + SLICE_MICROS) - from.max(start)) as f64;
            let signals = self.slices.entry(slice).or_default();
            for (weighted, value) in signals.iter_mut().zip(values) {
                if let Some(value) = value {
                    weighted.sum += value * overlap;
                    weighted.micros += overlap;
                }
            }
        }
        touched
    }

    /// Mean over slices; `None` when less than half of the time is covered.
    #[allow(clippy::cast_precision_loss, reason = "a few slices in µs are far below 2^53")]
    pub fn mean(&self, signal: Signal, slices: Range<i64>) -> Option<f64> {
        let wanted = ((slices.end - slices.start) * SLICE_MICROS) as f64;
        let mut whole = Weighted::default();
        for signals in self.slices.range(slices).map(|(_, signals)| signals) {
            let weighted = signals.get(signal as usize).copied().unwrap_or_default();
            whole.sum += weighted.sum;
            whole.micros += weighted.micros;
        }
        (whole.micros > 0.0 && whole.micros * 2.0 >= wanted).then(|| whole.sum / whole.micros)
    }

    /// The newest slice that anything is known of.
    pub fn newest(&self) -> Option<i64> {
        self.slices.last_key_value().map(|(slice, _)| *slice)
    }

    /// How many slices up to the newest one in a row are at most at `limit`; one that is not covered
    /// ends the row.
    pub fn in_a_row(&self, signal: Signal, limit: f64) -> i64 {
        let Some(newest) = self.newest() else { return 0 };
        // The newest is still being filled.
        let quiet = |slice: &i64| self.mean(signal, *slice..*slice + 1).is_some_and(|mean| mean <= limit);
        let row = (0..).map(|back| newest - 1 - back).take_while(quiet).count();
        i64::try_from(row).unwrap_or(i64::MAX)
    }

    /// Forgets slices before `first`.
    pub fn forget_before(&mut self, first: i64) {
        self.slices = self.slices.split_off(&first);
    }

    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }
}

/// Slices of the minute that starts at `start` (seconds since the epoch).
pub fn slices_of_minute(start: i64) -> Range<i64> {
    let first = start.div_euclid(10);
    first..first + SLICES_PER_MINUTE
}

#[allow(clippy::cast_precision_loss, reason = "memory sizes are below 2^53 bytes")]
fn read(signal: Signal, sample: &Sample) -> Option<f64> {
    match signal {
        Signal::Cpu => sample.cpu_percent,
        Signal::Memory => match (sample.memory_used_bytes, sample.memory_total_bytes) {
            (Some(used), Some(total)) if total > 0 => Some(100.0 * used as f64 / total as f64),
            _ => None,
        },
        Signal::NetworkIn => sample.network.map(|network| 8.0 * network.in_bytes),
        Signal::NetworkOut => sample.network.map(|network| 8.0 * network.out_bytes),
        Signal::Packets => sample.network.map(|network| network.in_packets + network.out_packets),
        Signal::Steal => sample.cpu_steal_percent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 1_800_000_000;

    fn sample(at_seconds: i64, covers_millis: u32, cpu: f64) -> Sample {
        Sample {
            sequence: 1,
            wall_micros: (MINUTE + at_seconds) * 1_000_000,
            monotonic_micros: 0,
            covers_millis,
            cpu_percent: Some(cpu),
            cpu_busiest_percent: None,
            cpu_steal_percent: None,
            memory_used_bytes: None,
            memory_total_bytes: None,
            network: None,
        }
    }

    #[test]
    fn second_samples_give_slices_and_mean() {
        let mut instance = InstanceSlices::default();
        for second in 1..=60 {
            instance.add(&sample(second, 1_000, if second <= 10 { 90.0 } else { 30.0 }));
        }
        let minute = slices_of_minute(MINUTE);
        assert_eq!(instance.mean(Signal::Cpu, minute.start..minute.start + 1), Some(90.0));
        assert_eq!(instance.mean(Signal::Cpu, minute.start + 1..minute.start + 2), Some(30.0));
        assert_eq!(instance.mean(Signal::Cpu, minute.clone()), Some(40.0));
        assert_eq!(instance.mean(Signal::Memory, minute), None, "absent is not zero");
    }

    #[test]
    fn a_slow_agent_fills_the_minute_it_covers() {
        let mut instance = InstanceSlices::default();
        let touched = instance.add(&sample(60, 60_000, 50.0));
        assert_eq!(touched, slices_of_minute(MINUTE));
        assert_eq!(instance.mean(Signal::Cpu, touched.end - 1..touched.end), Some(50.0));
    }

    #[test]
    fn what_was_read_makes_the_slices_of_its_samples() {
        use foreshadow_proto::convert::NetworkRates;

        let mut samples: Vec<Sample> =
            (0..50).map(|n| sample(n * 7 % 90, 900 + n as u32 * 40, n as f64 / 3.0)).collect();
        for (n, sample) in samples.iter_mut().enumerate() {
            let n = n as u64;
            sample.cpu_percent = sample.cpu_percent.filter(|_| !n.is_multiple_of(4));
            sample.memory_used_bytes = (!n.is_multiple_of(3)).then_some(n << 20);
            sample.memory_total_bytes = (!n.is_multiple_of(5)).then_some((n % 7) << 30);
            sample.network = n.is_multiple_of(2).then(|| NetworkRates {
                in_bytes: n as f64,
                out_bytes: 0.3,
                ..NetworkRates::default()
            });
        }
        let all = |value: fn(&Sample) -> Option<f64>| samples.iter().map(value).collect::<Vec<_>>();
        let readings = Readings {
            wall_micros: samples.iter().map(|sample| sample.wall_micros).collect(),
            values: vec![
                all(|sample| Some(f64::from(sample.covers_millis))),
                all(|sample| sample.cpu_percent),
                all(|sample| sample.memory_used_bytes.map(|bytes| bytes as f64)),
                all(|sample| sample.memory_total_bytes.map(|bytes| bytes as f64)),
                all(|sample| sample.network.map(|rates| rates.in_bytes)),
                all(|sample| sample.network.map(|rates| rates.out_bytes)),
            ],
        };
        let mut wanted = InstanceSlices::default();
        for sample in &samples {
            wanted.add(sample);
        }
        let found = InstanceSlices::of_readings(&readings);
        let minutes = MINUTE.div_euclid(10) - 6..MINUTE.div_euclid(10) + 12;
        for signal in [Signal::Cpu, Signal::Memory, Signal::NetworkIn, Signal::NetworkOut] {
            for slice in minutes.clone() {
                let of = |slices: &InstanceSlices| slices.mean(signal, slice..slice + 1);
                assert_eq!(of(&found), of(&wanted), "{signal:?} {slice}");
            }
        }
        assert_eq!(found.mean(Signal::Packets, minutes), None, "absent is not zero");
    }

    #[test]
    fn less_than_half_is_absent() {
        let mut instance = InstanceSlices::default();
        instance.add(&sample(20, 20_000, 50.0));
        assert_eq!(instance.mean(Signal::Cpu, slices_of_minute(MINUTE)), None);
    }

    #[test]
    fn a_suspended_host_speaks_for_two_minutes_at_most() {
        let touched = InstanceSlices::default().add(&sample(0, 3_000_000, 1.0));
        assert_eq!(touched.end - touched.start, 12);
    }

    #[test]
    fn a_row_ends_where_it_was_louder_or_nothing_is_known() {
        let mut instance = InstanceSlices::default();
        for second in (1..=100).filter(|second| !(21..=30).contains(second)) {
            instance.add(&sample(second, 1_000, if second <= 50 { 40.0 } else { 2.0 }));
        }
        // The newest slice, 90 to 100, is not counted.
        assert_eq!(instance.in_a_row(Signal::Cpu, 5.0), 4);
        assert_eq!(instance.in_a_row(Signal::Cpu, 50.0), 6, "the gap at 20 ends it");
        assert_eq!(instance.in_a_row(Signal::Packets, 50.0), 0, "absent is not zero");
        assert_eq!(instance.newest(), Some((MINUTE + 90).div_euclid(10)));
    }

    #[test]
    fn forgetting_keeps_what_is_newer() {
        let mut instance = InstanceSlices::default();
        let old = instance.add(&sample(10, 10_000, 5.0));
        let new = instance.add(&sample(20, 10_000, 7.0));
        instance.forget_before(new.start);
        assert_eq!(instance.mean(Signal::Cpu, old), None);
        assert_eq!(instance.mean(Signal::Cpu, new), Some(7.0));
    }
}
