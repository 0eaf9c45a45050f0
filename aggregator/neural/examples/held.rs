//! What intervals hold on generated load: `cargo run --release -p neural --example held [WINDOWS [SEED]]`.
//!
//! Made-up series of five weeks ([`neural::load`]) are lived through by a contest each, from the third week on, and at every
//! third hour and a quarter the day ahead is forecast: a hundred windows a series, 10 000 unless told otherwise. Printed is how
//! often the load lay within the 80 % interval and not above each upper quantile, by how far ahead, and the worst series.
#![allow(clippy::print_stdout, reason = "an example prints")]

use forecast::{Aggregate, Band, Contest, Options, Pool, Series, score};
use neural::load;

const DAY: usize = 96;
const KNOWN: usize = 20 * DAY;
const APART: usize = 13;
const PER_SERIES: usize = 100;
const UPPER: [f64; 3] = [0.9, 0.95, 0.99];

/// Loads that came, and how many of them were inside the interval and below each upper quantile; by band.
#[derive(Debug, Default, Clone)]
struct Held {
    of: [f64; 3],
    inside: [f64; 3],
    below: [[f64; 3]; 3],
}

impl Held {
    fn share(&self, band: usize) -> f64 {
        100.0 * self.inside[band] / self.of[band].max(1.0)
    }
}

fn held(whole: &Series, windows: usize) -> Held {
    let mut held = Held::default();
    let options = Options {
        step_seconds: load::STEP_SECONDS,
        horizon_steps: DAY,
        levels: score::LEVELS.to_vec(),
        aggregate: Aggregate::Mean,
        ..Options::default()
    };
    let level = |wanted: f64| options.levels.iter().position(|level| (level - wanted).abs() < 1e-9).unwrap_or_default();
    let (low, high) = (level(0.1), level(0.9));
    let Ok(mut contest) = Contest::new(&Pool::default(), &options) else { return held };
    for origin in (KNOWN..).step_by(APART).take(windows) {
        let Ok(made) = contest.forecast(&Series { values: whole.values[..origin].to_vec(), ..whole.clone() }) else {
            continue;
        };
        for step in 0..DAY {
            let Some(load) = whole.value(origin + step) else { continue };
            let band = Band::of(step as u64 * u64::from(load::STEP_SECONDS)).index();
            let said = |level: usize| made.paths[level][step];
            held.of[band] += 1.0;
            held.inside[band] += f64::from(u8::from(said(low) <= load && load <= said(high)));
            for (count, upper) in held.below[band].iter_mut().zip(UPPER) {
                *count += f64::from(u8::from(load <= said(level(upper))));
            }
        }
    }
    held
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let windows = arguments.next().unwrap_or(10_000);
    let seed = arguments.next().unwrap_or(7) as u64;
    let mut all = Held::default();
    let mut worst = [f64::INFINITY; 3];
    for index in 0..windows.div_ceil(PER_SERIES) {
        let own = held(&load::series(seed, index), PER_SERIES.min(windows - index * PER_SERIES));
        for (band, worst) in worst.iter_mut().enumerate() {
            *worst = worst.min(own.share(band));
            all.of[band] += own.of[band];
            all.inside[band] += own.inside[band];
            (0..3).for_each(|upper| all.below[band][upper] += own.below[band][upper]);
        }
    }
    println!("{windows} windows of a day, series of seed {seed}");
    for band in Band::ALL {
        let (at, of) = (band.index(), all.of[band.index()]);
        let below: Vec<String> = all.below[at].iter().map(|count| format!("{:.1}", 100.0 * count / of)).collect();
        println!(
            "{:>3}: the 80 % interval held {:.1} % (worst series {:.0} %), the 90, 95, 99 % quantiles {} %",
            band.name(),
            all.share(at),
            worst[at],
            below.join(" / "),
        );
    }
}
