//! Samples of one instance within one minute, as time-weighted means of ten-second slices.
//!
//! A sample speaks for the time it covers, not for the instant it was made: an agent that samples
//! every minute fills all six slices, one that samples every second fills each by ten. What is not
//! covered is absent, never zero.

use foreshadow_proto::convert::Sample;

/// Slices of a minute; the highest of them is the minute's maximum.
pub const SLICES: usize = 6;
/// Length of a slice, µs.
pub const SLICE_MICROS: i64 = 10_000_000;
/// Length of a minute, µs.
pub const MINUTE_MICROS: i64 = 60_000_000;
/// Longest time one sample may speak for, µs: two slow intervals. After a suspended host or a long
/// stall the reading is an average over the gap and says little about any minute in it.
const LONGEST_COVER_MICROS: i64 = 120_000_000;

/// What of a sample feeds demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
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
}

const SIGNALS: [Signal; 5] = [Signal::Cpu, Signal::Memory, Signal::NetworkIn, Signal::NetworkOut, Signal::Packets];

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Weighted {
    sum: f64,
    micros: f64,
}

impl Weighted {
    fn add(&mut self, value: f64, micros: f64) {
        self.sum += value * micros;
        self.micros += micros;
    }

    /// The mean, when at least half of `of_micros` is covered.
    #[allow(clippy::cast_precision_loss, reason = "a minute in µs is far below 2^53")]
    fn mean(self, of_micros: i64) -> Option<f64> {
        (self.micros * 2.0 >= of_micros as f64).then(|| self.sum / self.micros)
    }
}

/// One instance in one minute.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct InstanceMinute {
    slices: [[Weighted; SLICES]; SIGNALS.len()],
}

impl InstanceMinute {
    /// Adds what a sample says of the minute that starts at `minute_start` (µs since the epoch).
    #[allow(clippy::cast_precision_loss, reason = "overlaps are below a minute, byte counts below 2^53")]
    pub fn add(&mut self, minute_start: i64, sample: &Sample) {
        let (from, to) = span(sample);
        for slice in 0..SLICES {
            let start = minute_start + SLICE_MICROS * i64::try_from(slice).unwrap_or_default();
            let overlap = to.min(start + SLICE_MICROS) - from.max(start);
            if overlap <= 0 {
                continue;
            }
            for signal in SIGNALS {
                if let Some(value) = read(signal, sample)
                    && let Some(weighted) = self.slices[signal as usize].get_mut(slice)
                {
                    weighted.add(value, overlap as f64);
                }
            }
        }
    }

    /// Mean of the minute; `None` when less than half of it is covered.
    pub fn mean(&self, signal: Signal) -> Option<f64> {
        let mut whole = Weighted::default();
        for slice in &self.slices[signal as usize] {
            whole.sum += slice.sum;
            whole.micros += slice.micros;
        }
        whole.mean(MINUTE_MICROS)
    }

    /// Mean of one slice; `None` when less than half of it is covered.
    pub fn slice(&self, signal: Signal, slice: usize) -> Option<f64> {
        self.slices[signal as usize].get(slice).and_then(|weighted| weighted.mean(SLICE_MICROS))
    }
}

/// Starts (µs) of the minutes a sample speaks for.
pub fn minutes_of(sample: &Sample) -> impl Iterator<Item = i64> + use<> {
    let (from, to) = span(sample);
    let first = from.div_euclid(MINUTE_MICROS);
    let last = (to - 1).max(from).div_euclid(MINUTE_MICROS);
    (first..=last).map(|minute| minute * MINUTE_MICROS)
}

fn span(sample: &Sample) -> (i64, i64) {
    let covers = (i64::from(sample.covers_millis) * 1_000).min(LONGEST_COVER_MICROS);
    (sample.wall_micros - covers, sample.wall_micros)
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 1_800_000_000 * 1_000_000;

    fn sample(at_seconds: i64, covers_millis: u32, cpu: f64) -> Sample {
        Sample {
            sequence: 1,
            wall_micros: MINUTE + at_seconds * 1_000_000,
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
        let mut minute = InstanceMinute::default();
        for second in 1..=60 {
            minute.add(MINUTE, &sample(second, 1_000, if second <= 10 { 90.0 } else { 30.0 }));
        }
        assert_eq!(minute.slice(Signal::Cpu, 0), Some(90.0));
        assert_eq!(minute.slice(Signal::Cpu, 1), Some(30.0));
        assert_eq!(minute.mean(Signal::Cpu), Some(40.0));
        assert_eq!(minute.mean(Signal::Memory), None, "absent is not zero");
    }

    #[test]
    fn a_slow_agent_fills_the_minute_it_covers() {
        let mut minute = InstanceMinute::default();
        minute.add(MINUTE, &sample(60, 60_000, 50.0));
        assert_eq!(minute.slice(Signal::Cpu, 5), Some(50.0));
        assert_eq!(minute.mean(Signal::Cpu), Some(50.0));
    }

    #[test]
    fn a_sample_across_the_border_counts_in_both_minutes() {
        let straddling = sample(30, 60_000, 50.0);
        assert_eq!(minutes_of(&straddling).collect::<Vec<_>>(), [MINUTE - MINUTE_MICROS, MINUTE]);
        assert_eq!(minutes_of(&sample(60, 60_000, 1.0)).collect::<Vec<_>>(), [MINUTE]);
    }

    #[test]
    fn less_than_half_is_absent() {
        let mut minute = InstanceMinute::default();
        minute.add(MINUTE, &sample(20, 20_000, 50.0));
        assert_eq!(minute.mean(Signal::Cpu), None);
        assert_eq!(minute.slice(Signal::Cpu, 0), Some(50.0));
    }

    #[test]
    fn a_suspended_host_speaks_for_two_minutes_at_most() {
        assert_eq!(minutes_of(&sample(0, 3_000_000, 1.0)).count(), 2);
    }
}
