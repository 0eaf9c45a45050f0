//! What those that serve use, against the hours before. CPU that falls while the network does not is no lack of load: what
//! is behind them may hang, and an idle look is no reason to take them away.

use std::collections::VecDeque;

use planner::evidence;

use super::slices::{InstanceSlices, SLICES_PER_MINUTE, Signal};

/// Readings are averaged over this, seconds …
const EACH: i64 = 300;
/// … and so many are kept: six hours.
const KEPT: usize = 72;
/// So long is remembered, seconds.
pub(super) const REMEMBERED: i64 = EACH * KEPT as i64;
/// So many must be known before anything is said: half an hour.
const LEAST: usize = 6;
/// The latest are not part of what was, seconds: a fall would hide in its own beginning.
const APART: i64 = 600;
/// Below this the CPU of those that serve is noise, points.
const LOWEST_CPU: f64 = 2.0;

/// What one that serves uses on average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Use {
    /// Points.
    pub cpu: f64,
    /// Packets per second, both ways.
    pub packets: f64,
}

impl Use {
    /// Of the last minute, over those of whom both are known; `None` where there is nobody.
    pub fn of<'a>(serving: impl Iterator<Item = &'a InstanceSlices>, now_slice: i64) -> Option<Self> {
        let minute = now_slice - SLICES_PER_MINUTE..now_slice;
        let (mut sum, mut count) = (Self { cpu: 0.0, packets: 0.0 }, 0.0);
        for slices in serving {
            let both = slices.mean(Signal::Cpu, minute.clone()).zip(slices.mean(Signal::Packets, minute.clone()));
            if let Some((cpu, packets)) = both {
                (sum.cpu, sum.packets, count) = (sum.cpu + cpu, sum.packets + packets, count + 1.0);
            }
        }
        (count > 0.0).then(|| Self { cpu: sum.cpu / count, packets: sum.packets / count })
    }
}

/// The hours before.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    /// Start (s) and mean of each stretch that is over, in order.
    over: VecDeque<(i64, Use)>,
    /// The stretch that runs: its start, sums and number.
    running: Option<(i64, Use, f64)>,
}

impl Pulse {
    /// Of stretches that are over, in order: start (s) and mean.
    pub fn of(over: Vec<(i64, Use)>) -> Self {
        Self { over: over.into(), running: None }
    }

    /// The newest stretch that is over.
    pub fn newest(&self) -> Option<(i64, Use)> {
        self.over.back().copied()
    }

    /// What a restart leaves of it: the stretch that ran is lost.
    pub fn restarted(&mut self) {
        self.running = None;
    }

    /// Takes a reading in and says how it stands to what was; `None` until that is known.
    pub fn take(&mut self, now: i64, reading: Option<Use>) -> Option<evidence::Pulse> {
        let reading = reading?;
        let before = self.before(now);
        let start = now.div_euclid(EACH) * EACH;
        match &mut self.running {
            Some((since, sum, count)) if *since == start => {
                (sum.cpu, sum.packets, *count) = (sum.cpu + reading.cpu, sum.packets + reading.packets, *count + 1.0);
            }
            other => {
                if let Some((since, sum, count)) = other.replace((start, reading, 1.0)) {
                    self.over.push_back((since, Use { cpu: sum.cpu / count, packets: sum.packets / count }));
                }
            }
        }
        // A clock that jumped leaves nothing that can be compared.
        self.over.retain(|(since, _)| (now - REMEMBERED..=now).contains(since));
        let before = before?;
        Some(evidence::Pulse { cpu: reading.cpu / before.cpu, network: reading.packets / before.packets })
    }

    /// The median of what was.
    fn before(&self, now: i64) -> Option<Use> {
        let known = || self.over.iter().filter(|(since, _)| since + EACH <= now - APART).map(|(_, used)| used);
        if known().count() < LEAST {
            return None;
        }
        let before = Use { cpu: median(known().map(|it| it.cpu))?, packets: median(known().map(|it| it.packets))? };
        (before.cpu >= LOWEST_CPU && before.packets > 0.0).then_some(before)
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_800_000_000;

    fn hours(pulse: &mut Pulse, minutes: std::ops::Range<i64>, cpu: f64, packets: f64) -> Option<evidence::Pulse> {
        minutes.map(|minute| pulse.take(START + 60 * minute, Some(Use { cpu, packets }))).last().flatten()
    }

    #[test]
    fn a_fall_of_cpu_alone_is_seen_for_hours_and_a_fall_of_load_is_not() {
        let mut pulse = Pulse::default();
        assert_eq!(hours(&mut pulse, 0..39, 40.0, 2_000.0), None, "not enough is known yet");
        let same = hours(&mut pulse, 39..120, 40.0, 2_000.0).expect("known");
        assert_eq!((same.cpu, same.network), (1.0, 1.0));
        let mut load = pulse.clone();
        let less = hours(&mut load, 120..130, 20.0, 1_000.0).expect("known");
        assert_eq!((less.cpu, less.network), (0.5, 0.5));
        for until in [121, 150, 230] {
            let hung = hours(&mut pulse, 120..until, 10.0, 1_900.0).expect("known");
            assert_eq!((hung.cpu, hung.network), (0.25, 0.95), "after {until} minutes");
        }
    }

    #[test]
    fn without_a_reading_or_a_past_worth_the_name_nothing_is_said() {
        let mut pulse = Pulse::default();
        hours(&mut pulse, 0..120, 40.0, 2_000.0);
        assert_eq!(pulse.take(START + 120 * 60, None), None);
        let back = START - 86_400;
        assert_eq!(pulse.take(back, Some(Use { cpu: 4.0, packets: 9.0 })), None, "the clock jumped");
        assert_eq!(hours(&mut Pulse::default(), 0..120, 1.0, 2_000.0), None, "noise");
        assert_eq!(hours(&mut Pulse::default(), 0..120, 40.0, 0.0), None, "no network");
        assert_eq!(Use::of(std::iter::empty(), 1), None);
    }
}
