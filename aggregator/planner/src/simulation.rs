//! Load shapes and a group that carries them, for the demo and the tests: generated, seeded, and
//! always marked as simulated where a person sees them.

use crate::demand::InstanceMode;

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, the same everywhere.
#[derive(Debug, Clone)]
pub struct Seeded(u64);

impl Seeded {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About standard normal: twelve uniforms less six.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// Load with a daily and a weekly shape, autoregressive noise and bursts that nobody announced.
#[derive(Debug, Clone)]
pub struct Load {
    random: Seeded,
    /// Points at the weekly peak.
    peak: f64,
    noise: f64,
    burst_minutes: u32,
    burst_size: f64,
}

impl Load {
    pub const fn new(seed: u64, peak: f64) -> Self {
        Self { random: Seeded::new(seed), peak, noise: 0.0, burst_minutes: 0, burst_size: 0.0 }
    }

    /// Net demand in the minute that starts at `at` (seconds since the epoch), points.
    #[allow(clippy::cast_precision_loss, reason = "seconds of a week")]
    pub fn minute(&mut self, at: i64) -> f64 {
        let day = at.rem_euclid(86_400) as f64 / 86_400.0;
        let weekday = (at.div_euclid(86_400) + 3).rem_euclid(7);
        let week = if weekday >= 5 { 0.55 } else { 1.0 };
        let turn = std::f64::consts::TAU;
        let shape = 0.5 - 0.38 * (turn * (day - 0.125)).cos() - 0.12 * (2.0 * turn * (day - 0.02)).cos();
        self.noise = 0.9 * self.noise + 0.012 * self.random.normal();
        if self.burst_minutes == 0 && self.random.uniform() < 1.0 / 1_500.0 {
            self.burst_minutes = 12 + (self.random.next() % 25) as u32;
            self.burst_size = 0.12 + 0.2 * self.random.uniform();
        }
        let burst = if self.burst_minutes > 0 {
            self.burst_minutes -= 1;
            self.burst_size
        } else {
            0.0
        };
        self.peak * (week * shape.clamp(0.05, 1.0) + burst + self.noise).max(0.02)
    }
}

/// One instance of the simulated group.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedInstance {
    pub id: String,
    pub mode: InstanceMode,
    pub since: i64,
}

/// A group scaled by its provider's own target tracking, as most groups are before Foreshadow acts.
#[derive(Debug, Clone)]
pub struct SimulatedGroup {
    load: Load,
    random: Seeded,
    pub instances: Vec<SimulatedInstance>,
    pub baseline: f64,
    target: f64,
    start_up_seconds: i64,
    launched: u32,
    low_minutes: u32,
    last_gross: f64,
}

/// What the group's agents would have reported for one minute.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedMinute {
    pub start: i64,
    /// Points by instance, serving ones only.
    pub utilisation: Vec<f64>,
    /// Net demand the load really had, points.
    pub demand: f64,
}

impl SimulatedGroup {
    /// A group whose weekly peak takes about `size` instances at `target` points.
    pub fn new(seed: u64, size: u32, target: f64, baseline: f64) -> Self {
        let peak = f64::from(size) * (target - baseline);
        let mut group = Self {
            load: Load::new(seed, peak),
            random: Seeded::new(seed ^ 0x5EED),
            instances: Vec::new(),
            baseline,
            target,
            start_up_seconds: 240,
            launched: 0,
            low_minutes: 0,
            last_gross: 0.0,
        };
        for _ in 0..size.div_ceil(2).max(2) {
            group.launch(0, InstanceMode::Serving);
        }
        group
    }

    fn launch(&mut self, at: i64, mode: InstanceMode) {
        self.launched += 1;
        let id = format!("i-sim{:04}", self.launched);
        self.instances.push(SimulatedInstance { id, mode, since: at });
    }

    /// Lets one minute pass.
    pub fn minute(&mut self, start: i64) -> SimulatedMinute {
        for instance in &mut self.instances {
            if instance.mode == InstanceMode::Warming && start - instance.since >= self.start_up_seconds {
                instance.mode = InstanceMode::Serving;
                instance.since = start;
            }
        }
        let demand = self.load.minute(start);
        let serving = self.count(InstanceMode::Serving);
        let share = demand / f64::from(serving.max(1));
        let utilisation: Vec<f64> = (0..serving)
            .map(|_| (self.baseline + share * (1.0 + 0.04 * self.random.normal())).clamp(0.0, 100.0))
            .collect();
        self.last_gross = utilisation.iter().sum();
        self.track(start, serving);
        SimulatedMinute { start, utilisation, demand }
    }

    pub fn count(&self, mode: InstanceMode) -> u32 {
        u32::try_from(self.instances.iter().filter(|instance| instance.mode == mode).count()).unwrap_or(u32::MAX)
    }

    /// Target tracking as clouds do it: out at once, in after a quarter of an hour below.
    fn track(&mut self, at: i64, serving: u32) {
        let wanted = crate::capacity::need_without_baseline(self.last_gross, self.target, 1.0).max(2);
        let present = serving + self.count(InstanceMode::Warming);
        if wanted > present {
            for _ in present..wanted {
                self.launch(at, InstanceMode::Warming);
            }
        }
        self.low_minutes = if wanted < serving { self.low_minutes + 1 } else { 0 };
        if self.low_minutes >= 15 {
            self.low_minutes = 0;
            let mut surplus = serving - wanted;
            self.instances.retain(|instance| {
                let goes = surplus > 0 && instance.mode == InstanceMode::Serving;
                surplus -= u32::from(goes);
                !goes
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_week() {
        let run = || {
            let mut group = SimulatedGroup::new(7, 40, 60.0, 8.0);
            (0..7 * 1_440).map(|minute| group.minute(minute * 60).demand).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn the_group_follows_its_load_and_days_differ_from_nights() {
        let mut group = SimulatedGroup::new(7, 40, 60.0, 8.0);
        let sizes: Vec<u32> = (0..3 * 1_440)
            .map(|minute| {
                group.minute(minute * 60);
                group.count(InstanceMode::Serving)
            })
            .collect();
        let (least, most) = (sizes.iter().min().expect("sizes"), sizes.iter().max().expect("sizes"));
        assert!(*most >= 30 && *least <= 15, "{least} to {most}");
    }
}
