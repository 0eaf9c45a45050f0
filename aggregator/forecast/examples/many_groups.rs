//! What a fleet of groups costs: CPU seconds and memory to forecast many group metrics every five minutes.
//!
//!     cargo run --release -p forecast --example many_groups [SERIES [STEPS]]
//!
//! Each of SERIES (default 60) generated loads has six weeks of one-minute history and is followed for STEPS (default 48) steps of
//! five minutes by a contest of its own; figures are then per series, and for 1 000 groups of three metrics each.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the kernel's clocks and prints")]

use forecast::{Contest, Options, Pool, Series};

const DAY: usize = 1_440;

/// CPU seconds of this process so far, and bytes of memory it holds.
fn used() -> (f64, f64) {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu: f64 = text("/proc/self/schedstat").split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0.0);
    let pages: f64 = text("/proc/self/statm").split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0.0);
    (cpu / 1e9, pages * 4_096.0)
}

/// A load with a day, a week, noise that persists, and sometimes a gap.
fn load(seed: u64, minutes: usize) -> Series {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut drift = 0.0;
    let value = |minute: usize| {
        drift = 0.98 * drift + noise() - 0.5;
        let day = (minute as f64 / DAY as f64 * std::f64::consts::TAU).sin();
        let weekend = if minute / DAY % 7 < 2 { 0.6 } else { 1.0 };
        let value = (200.0 + 120.0 * day) * weekend + 8.0 * drift + 10.0 * noise();
        (noise() > 0.001).then_some(value.max(0.0))
    };
    Series::new(1_700_000_100, 60, (0..minutes).map(value).collect())
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let mut number = |default| arguments.next().map_or(default, |given| given.unwrap_or(default));
    let (count, steps) = (number(60), number(48));
    let known = 42 * DAY;
    let (mut begun, mut followed, mut kept) = (0.0, 0.0, 0);
    let (_, empty) = used();
    let mut contests = Vec::new();
    for seed in 0..count {
        let whole = load(seed as u64 + 1, known + 5 * steps);
        let Ok(mut contest) = Contest::new(&Pool::default(), &Options::default()) else { return };
        let mut seen = Series { values: whole.values[..known].to_vec(), ..whole.clone() };
        let (before, _) = used();
        let first = contest.forecast(&seen);
        let (between, _) = used();
        for step in 0..steps {
            seen.values.extend_from_slice(&whole.values[known + 5 * step..known + 5 * step + 5]);
            if let Err(error) = contest.forecast(&seen) {
                println!("series {seed}: {error}");
            }
        }
        let (after, _) = used();
        begun += between - before;
        followed += after - between;
        kept += contest.bytes();
        if let Err(error) = first {
            println!("series {seed}: {error}");
        }
        contests.push(contest);
    }
    let (_, full) = used();
    let (series, passed) = (count.max(1) as f64, (count * steps).max(1) as f64);
    println!("from nothing:    {:.3} CPU-s per series", begun / series);
    println!("each step:       {:.2} CPU-ms per series", 1e3 * followed / passed);
    println!("3 000 series:    {:.1} CPU-s per five minutes", 3_000.0 * followed / passed);
    println!("kept:            {:.0} kB per series of what models said", kept as f64 / series / 1e3);
    println!("resident:        {:.0} kB per series with fits, history not counted", (full - empty) / series / 1e3);
    println!("3 000 series:    {:.0} MB resident", 3_000.0 * (full - empty) / series / 1e6);
    drop(contests);
}
