//! Samples as an agent makes them: ticks of a clock, counters, and clocks that are read a little apart.

use foreshadow_proto::convert::{Id, NetworkRates, Sample, StreamId};

/// Of a sample, that is: what the peers are sent. Ours keeps clocks, sequence and two more beside them.
pub const VALUES: usize = 8;
/// Start of an hour, seconds since the Unix epoch; long past, since VictoriaMetrics drops what is of days to come.
pub const START: i64 = 1_735_689_600;

/// Samples a second apart.
#[derive(Debug)]
pub struct Corpus {
    pub instances: usize,
    pub samples: usize,
}

/// Samples a minute apart.
#[derive(Debug)]
pub struct Week {
    pub instances: usize,
    pub minutes: usize,
}

/// Numbers that look random and are the same each time (SplitMix64).
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most.max(1)
    }
}

/// What one instance is like at a moment.
#[derive(Debug)]
pub struct Host {
    dice: Dice,
    boot: u64,
    wall: i64,
    used: u64,
    sequence: u64,
}

impl Host {
    pub fn new(index: usize) -> Self {
        let mut dice = Dice(index as u64);
        let boot = 86_400_000_000 + dice.below(1_000_000);
        let used = (1 << 30) + dice.below(1 << 20) * 4_096;
        Self { boot, wall: START * 1_000_000 + (boot % 1_000_000) as i64, used, sequence: 0, dice }
    }

    pub fn next(&mut self, seconds: u64) -> Sample {
        let elapsed = seconds * 1_000_000 + self.dice.below(1_800) - 300;
        self.boot += elapsed;
        self.wall += elapsed as i64;
        self.used = (self.used + self.dice.below(2_000) * 4_096).saturating_sub(4_000 * 1_024).max(1 << 29);
        self.sequence += 1;
        // Ticks of 10 ms of two processors.
        let busy = 60 + self.dice.below(50);
        let core = 30 + self.dice.below(60);
        let interval = elapsed as f64 / 1e6;
        let mut rate = |mean: u64| self.dice.below(2 * mean) as f64 / interval;
        Sample {
            sequence: self.sequence,
            wall_micros: self.wall,
            monotonic_micros: self.boot,
            covers_millis: elapsed.div_ceil(1_000) as u32,
            cpu_percent: Some(f64::from((100.0 * busy as f64 / (busy + 130) as f64) as f32)),
            cpu_busiest_percent: Some(f64::from((100.0 * core as f64 / 99.0) as f32)),
            cpu_steal_percent: Some(0.0),
            memory_used_bytes: Some(self.used),
            memory_total_bytes: Some(8 << 30),
            network: Some(NetworkRates {
                in_bytes: rate(90_000),
                out_bytes: rate(180_000),
                in_packets: rate(300),
                out_packets: rate(300),
                errors: 0.0,
            }),
        }
    }
}

impl Corpus {
    pub const fn values(&self) -> usize {
        self.instances * self.samples * VALUES
    }

    pub fn hosts(&self) -> Vec<Host> {
        (0..self.instances).map(Host::new).collect()
    }
}

impl Week {
    pub fn hosts(&self) -> Vec<Host> {
        (0..self.instances).map(Host::new).collect()
    }
}

pub fn instance(index: usize) -> anyhow::Result<Id> {
    Ok(Id::new("instance", &format!("i-{index:017x}"))?)
}

pub fn stream(index: usize) -> StreamId {
    let mut dice = Dice(!(index as u64));
    let mut bytes = [0; 16];
    bytes.fill_with(|| dice.below(256) as u8);
    StreamId(bytes)
}

/// Line protocol of one sample, time in ms: VictoriaMetrics keeps no finer.
pub fn line(text: &mut String, instance: &Id, sample: &Sample) -> std::fmt::Result {
    use std::fmt::Write as _;
    let network = sample.network.as_ref();
    let rate = |of: fn(&NetworkRates) -> f64| network.map_or(0.0, of);
    writeln!(
        text,
        "sample,instance={instance} cpu={},busiest={},steal={},memory={},in_bytes={},out_bytes={},in_packets={},out_packets={} {}",
        sample.cpu_percent.unwrap_or_default(),
        sample.cpu_busiest_percent.unwrap_or_default(),
        sample.cpu_steal_percent.unwrap_or_default(),
        sample.memory_used_bytes.unwrap_or_default(),
        rate(|it| it.in_bytes),
        rate(|it| it.out_bytes),
        rate(|it| it.in_packets),
        rate(|it| it.out_packets),
        sample.wall_micros / 1_000
    )
}
