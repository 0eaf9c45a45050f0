//! A thousand simulated lives of one group each, from half a day to a week: the production code between a made-up load
//! and the strict fake, with throttling, lost answers, stale descriptions, failing launches, crashes at any
//! effect, deploys, pauses, silent agents, hung backends, and people who detach by hand. After every
//! step nothing that may never happen has happened.
//!
//! One seed: `FORESHADOW_SEED=42 cargo test -p foreshadow --test weeks one_seed`, a short one by `one_short_seed`.
//! A hundred thousand: `FORESHADOW_SEEDS=100000 cargo test --release -p foreshadow --test weeks many`, on every core.
//! Whole weeks: `FORESHADOW_WEEKS=10000 …`. They begin at seed 1000, or at `FORESHADOW_FROM`.

mod forecaster;
mod invariants;
mod week;

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use foreshadow::clock::{Clock as _, SystemClock};
use foreshadow::decision::replay;
use week::{Course, QUICK, SHORT, STANDBY, Summary, WEEKLONG, recorded, run};

/// Seeds of one test: the tests run side by side.
const EACH: u64 = 5;
const SHORT_EACH: u64 = 100;
/// How far it is is told after so many lives.
const TOLD_EVERY: u64 = 1_000;

fn lives(seeds: impl IntoIterator<Item = u64>, course: Course) -> Summary {
    let mut all = Summary::default();
    for seed in seeds {
        all.add(&run(seed, course));
    }
    println!("{all:?}");
    all
}

macro_rules! seeds {
    ($course:ident, $each:ident: $($name:ident: $number:literal),* $(,)?) => {
        $(#[test]
        fn $name() {
            let all = lives($number * $each..($number + 1) * $each, $course);
            // The circle really ran: nothing would be proven by a life in which nothing is done.
            assert!(all.launched > 0 && all.detached > 0 && all.reattached > 0 && all.terminated > 0, "{all:?}");
            assert!(all.crashes > 0 && all.refused > 0, "{all:?}");
            // And it runs again when everything is healed.
            assert!(all.detached_healed > 0, "{all:?}");
        })*
    };
}

seeds! { WEEKLONG, EACH: weeks_000: 0, weeks_005: 1, weeks_010: 2, weeks_015: 3 }

seeds! {
    SHORT, SHORT_EACH:
    short_000: 0, short_100: 1, short_200: 2, short_300: 3, short_400: 4,
    short_500: 5, short_600: 6, short_700: 7, short_800: 8, short_900: 9,
}

#[test]
fn stale_pictures() {
    // Weeks of mode `full`: it has most to lose. Few come back in them: what is older than a deploy is not fit to.
    let all = lives([120, 121, 122, 125, 126, 127, 130, 131, 132, 135], QUICK);
    assert!(all.detached > 0 && all.reattached > 0 && all.terminated > 0, "{all:?}");
}

/// Standby in the place of detachment: who ends leaves its group first.
#[test]
fn standby() {
    let all = lives([200, 201, 202, 203, 205, 206, 207], STANDBY);
    assert!(all.detached > 0 && all.reattached > 0 && all.terminated > 0 && all.crashes > 0, "{all:?}");
}

#[test]
fn the_same_seed_gives_the_same_week() {
    assert_eq!(run(3, SHORT).digest, run(3, SHORT).digest);
    assert_ne!(run(3, SHORT).digest, run(4, SHORT).digest);
}

/// Every decision of a life is made again from its record, byte for byte, and so is the checker's word.
#[test]
fn what_was_recorded_replays_byte_for_byte() {
    let (mut records, mut changed) = (0, 0);
    for (seed, course) in [(1, WEEKLONG), (202, STANDBY), (3, SHORT)] {
        recorded(seed, course, &mut |world, planned| {
            // Rounds that change something, and one an hour.
            let sampled = planned.plan.made_at % 3_600 == 0;
            if planned.plan.steps.is_empty() && !sampled {
                return;
            }
            let text = serde_json::to_string(&world.decision(planned)).expect("a record");
            let record = serde_json::from_str(&text).expect("JSON");
            let difference = replay(&record).expect("it replays");
            assert_eq!(difference.text, None, "seed {seed}, plan {}", planned.plan.generation);
            (records, changed) = (records + 1, changed + usize::from(!planned.plan.steps.is_empty()));
        });
    }
    println!("{records} records, {changed} of them of rounds that change something");
    assert!(records > 300 && changed > 100, "{records} {changed}");
}

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[test]
fn one_seed() {
    if let Some(seed) = environment("FORESHADOW_SEED") {
        println!("{:?}", run(seed, WEEKLONG));
    }
}

#[test]
fn one_short_seed() {
    if let Some(seed) = environment("FORESHADOW_SEED") {
        println!("{:?}", run(seed, SHORT));
    }
}

#[test]
fn many() {
    if let Some(count) = environment("FORESHADOW_WEEKS") {
        everywhere(count, WEEKLONG);
    }
    if let Some(count) = environment("FORESHADOW_SEEDS") {
        everywhere(count, SHORT);
    }
}

/// Seeds that no other test has, on every core; how far it is is told every so often.
fn everywhere(count: u64, course: Course) {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let first = environment("FORESHADOW_FROM").unwrap_or(1_000);
    let (begun, lived) = (SystemClock.boot_seconds(), AtomicU64::new(0));
    let told = |summary: Summary| {
        let lived = lived.fetch_add(1, Ordering::Relaxed) + 1;
        if lived.is_multiple_of(TOLD_EVERY) || lived == count {
            let left = (SystemClock.boot_seconds() - begun) as f64 * (count - lived) as f64 / lived as f64;
            // Not by a macro, which the harness would keep to itself.
            drop(writeln!(std::io::stderr(), "{lived} of {count} lives, {left:.0} s left"));
        }
        summary
    };
    let mut all = Summary::default();
    std::thread::scope(|scope| {
        let each = (0..cores).map(|core| {
            let (seeds, told) = ((first + core..first + count).step_by(cores as usize), &told);
            scope.spawn(move || {
                let mut own = Summary::default();
                seeds.for_each(|seed| own.add(&told(run(seed, course))));
                own
            })
        });
        for part in each.collect::<Vec<_>>() {
            all.merge(&part.join().expect("a life ended badly: its seed is above"));
        }
    });
    println!("altogether {all:?}");
    assert_eq!(u64::from(all.weeks), count);
}
