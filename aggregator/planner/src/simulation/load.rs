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
