//! A hundred simulated weeks of one group each: the production code between a made-up load and the
//! strict fake, with throttling, lost answers, stale descriptions, failing launches, crashes at any
//! effect, deploys, pauses, silent agents, hung backends, and people who detach by hand. After every
//! step nothing that may never happen has happened.
//!
//! One seed: `FORESHADOW_SEED=42 cargo test -p foreshadow --test weeks one_seed`.
//! More of them: `FORESHADOW_WEEKS=10000 cargo test --release -p foreshadow --test weeks many`.

mod forecaster;
mod invariants;
mod week;

use week::{Summary, run, run_quick, run_standby};

/// Seeds of one test: the tests run side by side.
const EACH: u64 = 10;

fn weeks(from: u64, count: u64) -> Summary {
    let mut all = Summary::default();
    for seed in from..from + count {
        all.add(&run(seed));
    }
    println!("{all:?}");
    all
}

macro_rules! seeds {
    ($($name:ident: $number:literal),* $(,)?) => {
        $(#[test]
        fn $name() {
            let all = weeks($number * EACH, EACH);
            // The circle really ran: nothing would be proven by a week in which nothing is done.
            assert!(all.launched > 0 && all.detached > 0 && all.reattached > 0 && all.terminated > 0, "{all:?}");
            assert!(all.crashes > 0 && all.refused > 0, "{all:?}");
        })*
    };
}

seeds! {
    weeks_000: 0, weeks_010: 1, weeks_020: 2, weeks_030: 3, weeks_040: 4,
    weeks_050: 5, weeks_060: 6, weeks_070: 7, weeks_080: 8, weeks_090: 9,
}

#[test]
fn stale_pictures() {
    let mut all = Summary::default();
    // Weeks of mode `full`: it has most to lose.
    for seed in [100, 101, 102, 105, 106, 107, 110, 111, 112, 115] {
        all.add(&run_quick(seed));
    }
    println!("{all:?}");
    assert!(all.detached > 0 && all.reattached > 0 && all.terminated > 0, "{all:?}");
}

/// Standby in the place of detachment: who ends leaves its group first.
#[test]
fn standby() {
    let mut all = Summary::default();
    for seed in [200, 201, 202, 203, 205, 206, 207] {
        all.add(&run_standby(seed));
    }
    println!("{all:?}");
    assert!(all.detached > 0 && all.reattached > 0 && all.terminated > 0 && all.crashes > 0, "{all:?}");
}

#[test]
fn the_same_seed_gives_the_same_week() {
    assert_eq!(run(3).digest, run(3).digest);
    assert_ne!(run(3).digest, run(4).digest);
}

#[test]
fn one_seed() {
    if let Some(seed) = std::env::var("FORESHADOW_SEED").ok().and_then(|seed| seed.parse().ok()) {
        println!("{:?}", run(seed));
    }
}

#[test]
fn many() {
    if let Some(count) = std::env::var("FORESHADOW_WEEKS").ok().and_then(|count| count.parse().ok()) {
        weeks(1_000, count);
    }
}
