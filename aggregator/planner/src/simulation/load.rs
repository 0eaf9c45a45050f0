//! Seeded randomness, and load with the shape of a week.

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
    surprise: Option<Surprise>,
}

/// Something no history could tell: load climbs within [`CLIMB_SECONDS`], stays, and dies down over
/// [`FALL_SECONDS`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Surprise {
    /// When it begins, seconds since the epoch.
    pub at: i64,
    /// How long it stays, seconds.
    pub stays: i64,
    /// What it adds, as a share of the weekly peak.
    pub size: f64,
}

const CLIMB_SECONDS: i64 = 600;
const FALL_SECONDS: i64 = 1_800;

impl Surprise {
    /// What it adds at a time, as a share of the weekly peak.
    #[allow(clippy::cast_precision_loss, reason = "seconds of an hour")]
    fn adds(&self, at: i64) -> f64 {
        let since = at - self.at;
        let over = since - CLIMB_SECONDS - self.stays;
        let climbed = (since as f64 / CLIMB_SECONDS as f64).clamp(0.0, 1.0);
        let fallen = (over as f64 / FALL_SECONDS as f64).clamp(0.0, 1.0);
        self.size * (climbed - fallen)
    }
}

impl Load {
    pub const fn new(seed: u64, peak: f64) -> Self {
        Self { random: Seeded::new(seed), peak, noise: 0.0, burst_minutes: 0, burst_size: 0.0, surprise: None }
    }

    /// The same load, and a surprise.
    pub const fn with(mut self, surprise: Surprise) -> Self {
        self.surprise = Some(surprise);
        self
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
        let surprise = self.surprise.map_or(0.0, |surprise| surprise.adds(at));
        self.peak * (week * shape.clamp(0.05, 1.0) + burst + surprise + self.noise).max(0.02)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_week_and_a_surprise_changes_nothing_else() {
        let surprise = Surprise { at: 90_000, stays: 3_600, size: 0.3 };
        let week = |mut load: Load| (0..7 * 1_440).map(|minute| load.minute(minute * 60)).collect::<Vec<_>>();
        let (plain, again) = (week(Load::new(7, 2_400.0)), week(Load::new(7, 2_400.0)));
        assert_eq!(plain, again);
        let with = week(Load::new(7, 2_400.0).with(surprise));
        let differ: Vec<usize> = (0..plain.len()).filter(|minute| with[*minute] > plain[*minute] + 1e-9).collect();
        assert_eq!((differ.first(), differ.last()), (Some(&1_501), Some(&1_599)));
        assert!((with[1_520] - plain[1_520] - 720.0).abs() < 1e-9);
    }
}
