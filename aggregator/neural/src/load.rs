//! Load made up from a seed, to train the network that ships for the cold start on.
//!
//! Five weeks of quarters of an hour per series, of four kinds: **seasonal** (most: harmonics or a working day with a lunch break, week ends,
//! trend, a shift of level, days of different strength), **wandering** (a level that walks), **jobs** (on and off by a
//! schedule with jitter) and **spiky** (calm, with spikes of very different height). All get short noise that grows with the load, some
//! get bursts that decay, tasks at fixed times, the noise of counts, gaps, and values that were recorded every half or whole hour only.
//! None is taken from a recording.
//!
//! [`with_events`] adds events that repeat and come to something else than was announced: more, less or nothing, and each time a little different.

use forecast::Series;
use forecast::events::{Occurrence, ordinary};

use crate::random::Random;

/// Seconds of a step.
pub const STEP_SECONDS: u32 = 900;
const DAY: usize = 96;
/// Steps of a series.
pub const STEPS: usize = 35 * DAY;
/// A Monday, so that a week end is one.
const EPOCH: i64 = 1_704_067_200;

/// Series `index` of a seed.
pub fn series(seed: u64, index: usize) -> Series {
    let random = &mut Random::new(seed, 1_000 + index as u64);
    let mut values = match random.uniform() {
        kind if kind < 0.68 => seasonal(random),
        kind if kind < 0.82 => wandering(random),
        kind if kind < 0.92 => jobs(random),
        _ => spiky(random),
    };
    noise(random, &mut values);
    if random.chance(0.45) {
        bursts(random, &mut values);
    }
    if random.chance(0.3) {
        tasks(random, &mut values);
    }
    let size = 10_f64.powf(random.within(-1.0, 4.0));
    let counts = random.chance(0.25);
    for value in &mut values {
        *value = (*value).max(0.0) * size;
        if counts {
            *value = (*value + value.sqrt() * random.normal()).max(0.0);
        }
    }
    if random.chance(0.2) {
        let block = if random.chance(0.5) { 2 } else { 4 };
        for values in values.chunks_mut(block) {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            values.fill(mean);
        }
    }
    let mut values: Vec<Option<f64>> = values.into_iter().map(Some).collect();
    if random.chance(0.15) {
        for _ in 0..=random.below(3) {
            let from = random.below(STEPS);
            let to = (from + 1 + random.below(40)).min(STEPS);
            values[from..to].fill(None);
        }
    }
    // Clocks of other places: days begin at any hour.
    let start = EPOCH + i64::from(STEP_SECONDS) * random.below(7 * DAY) as i64;
    Series::new(start, STEP_SECONDS, values)
}

/// The same series, and in four of ten one or two events that repeat: the load while they last is what they really came to, and the series says what was
/// announced. Outside events no value differs from [`series`].
pub fn with_events(seed: u64, index: usize) -> Series {
    let mut series = series(seed, index);
    let random = &mut Random::new(seed, 2_000_000 + index as u64);
    if !random.chance(0.4) {
        return series;
    }
    let mut occurrences = Vec::new();
    let step = i64::from(STEP_SECONDS);
    for event in 0..=random.below(2) as i64 {
        let every = [1, 1, 2, 7, 7, 7][random.below(6)];
        let (first, length) = (random.below(every * DAY), 2 + random.below(39));
        let announced = random.within(1.2_f64.ln(), 4_f64.ln()).exp();
        let usual = if random.chance(0.1) { 0.0 } else { (0.6 * random.normal()).exp().min(3.0) };
        let various = random.within(0.0, 0.3);
        for from in (first..STEPS).step_by(every * DAY) {
            let to = (from + length).min(STEPS);
            let share = usual * (various * random.normal()).exp();
            let real = 1.0 + (announced - 1.0) * share;
            series.values[from..to].iter_mut().flatten().for_each(|value| *value *= real);
            let starts = series.start + step * from as i64;
            let ends = series.start + step * to as i64;
            let name = "event".into();
            occurrences.push(Occurrence {
                event,
                name,
                rises: starts,
                starts,
                ends,
                intensity: announced,
                deleted: false,
            });
        }
    }
    ordinary(series, &occurrences)
}

/// A day's shape within [0, 1].
fn day_shape(random: &mut Random) -> Vec<f64> {
    let place = |step: usize| step as f64 / DAY as f64;
    let mut shape: Vec<f64> = if random.chance(0.6) {
        let waves: Vec<(f64, f64)> =
            [1.0, 0.45, 0.25, 0.12].iter().map(|size| (size * random.within(0.3, 1.0), random.uniform())).collect();
        let at = |step: usize| {
            let wave = |(order, (size, phase)): (usize, &(f64, f64))| {
                size * (std::f64::consts::TAU * ((order + 1) as f64 * (place(step) - phase))).cos()
            };
            waves.iter().enumerate().map(wave).sum::<f64>()
        };
        (0..DAY).map(at).collect()
    } else {
        let (opens, closes) = (random.within(0.2, 0.45), random.within(0.6, 0.95));
        let (rise, fall) = (random.within(0.005, 0.06), random.within(0.005, 0.08));
        let (lunch, dip) = (random.within(0.48, 0.58), random.within(0.0, 0.4));
        let at = |step: usize| {
            let open = 1.0 / (1.0 + ((opens - place(step)) / rise).exp());
            let closed = 1.0 / (1.0 + ((place(step) - closes) / fall).exp());
            open * closed * (1.0 - dip * (-((place(step) - lunch) / 0.03).powi(2)).exp())
        };
        (0..DAY).map(at).collect()
    };
    let (low, high) = shape.iter().fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
    let power = random.within(0.7, 2.2);
    shape.iter_mut().for_each(|value| *value = ((*value - low) / (high - low).max(1e-9)).powf(power));
    shape
}

fn seasonal(random: &mut Random) -> Vec<f64> {
    let (weekday, other) = (day_shape(random), day_shape(random));
    let blend = if random.chance(0.4) { random.uniform() } else { 0.0 };
    let depth = random.within(0.15, 0.98);
    let week_end = if random.chance(0.35) { 1.0 } else { random.within(0.25, 1.2) };
    let strengths: Vec<f64> = (0..7)
        .map(|day| {
            let own = (0.06 * random.normal()).exp();
            if day < 5 { own } else { own * week_end }
        })
        .collect();
    let trend = if random.chance(0.5) { random.within(-0.3, 0.4) } else { 0.0 };
    let shift = if random.chance(0.2) { (random.below(STEPS), random.within(0.5, 2.0)) } else { (STEPS, 1.0) };
    let restless = if random.chance(0.6) { random.within(0.0, 0.15) } else { random.within(0.0, 0.4) };
    let days: Vec<f64> = (0..=STEPS / DAY + 1).map(|_| (restless * random.normal()).exp()).collect();
    let holiday = if random.chance(0.15) { random.below(STEPS / DAY) } else { usize::MAX };
    (0..STEPS)
        .map(|at| {
            let (day, step) = (at / DAY, at % DAY);
            let quiet = day % 7 >= 5 || day == holiday;
            let shape = if quiet { weekday[step] * (1.0 - blend) + other[step] * blend } else { weekday[step] };
            let strength = if day == holiday { strengths[6] } else { strengths[day % 7] };
            // The strength of a day passes over into the next at midnight, not all at once.
            let along = step as f64 / DAY as f64;
            let restless = days[day] * (1.0 - along) + days[day + 1] * along;
            let level = (1.0 - depth) + depth * shape * strength;
            let shifted = if at >= shift.0 { shift.1 } else { 1.0 };
            level * restless * shifted * (1.0 + trend * at as f64 / STEPS as f64)
        })
        .collect()
}

fn wandering(random: &mut Random) -> Vec<f64> {
    let keeps = 1.0 - 10_f64.powf(random.within(-3.5, -1.0));
    let wide = random.within(0.1, 0.8);
    let step = wide * (1.0 - keeps * keeps).sqrt();
    let (shape, depth) = (day_shape(random), if random.chance(0.5) { random.within(0.0, 0.3) } else { 0.0 });
    let mut level = wide * random.normal();
    (0..STEPS)
        .map(|at| {
            let jump = if random.chance(0.002) { 3.0 * wide * random.normal() } else { 0.0 };
            level = keeps * level + step * random.normal() + jump;
            level.clamp(-3.0, 3.0).exp() * (1.0 - depth + depth * shape[at % DAY])
        })
        .collect()
}

fn jobs(random: &mut Random) -> Vec<f64> {
    let idle = random.within(0.0, 0.3);
    let mut values = vec![idle; STEPS];
    for _ in 0..=random.below(3) {
        let (at, length) = (random.below(DAY), 1 + random.below(30));
        let (height, jitter) = (random.within(0.3, 1.5), random.below(8));
        let every = if random.chance(0.3) { 7 } else { 1 };
        for day in (random.below(every)..STEPS / DAY).step_by(every) {
            if random.chance(0.05) {
                continue;
            }
            let from = day * DAY + at + random.below(jitter + 1);
            let length = ((length as f64 * random.within(0.8, 1.2)) as usize).max(1);
            let to = (from + length).min(STEPS);
            values[from.min(STEPS)..to].iter_mut().for_each(|value| *value += height);
        }
    }
    values
}

fn spiky(random: &mut Random) -> Vec<f64> {
    let (rate, tail) = (random.within(0.005, 0.15), random.within(0.5, 1.5));
    let shape = day_shape(random);
    let follows = random.uniform();
    (0..STEPS)
        .map(|at| {
            let rate = rate * (1.0 - follows + 2.0 * follows * shape[at % DAY]);
            let spike = if random.chance(rate) { (tail * random.normal()).exp() } else { 0.0 };
            0.05 + spike.min(30.0)
        })
        .collect()
}

fn noise(random: &mut Random, values: &mut [f64]) {
    let keeps = random.within(0.5, 0.98);
    let wide = 10_f64.powf(random.within(-2.2, -0.7));
    let white = 10_f64.powf(random.within(-2.5, -0.7));
    let mut level = 0.0;
    for value in values {
        level = keeps * level + wide * (1.0 - keeps * keeps).sqrt() * random.normal();
        *value *= (level + white * random.normal()).exp();
    }
}

fn bursts(random: &mut Random, values: &mut [f64]) {
    let rate = random.within(0.02, 0.6) / DAY as f64;
    let usual = values.iter().sum::<f64>() / values.len() as f64;
    let mut burst = 0.0;
    let mut fades = 0.5;
    for value in values {
        if random.chance(rate) {
            burst += usual * random.within(0.2, 2.5);
            fades = random.within(0.3, 0.92);
        }
        *value += burst;
        burst *= fades;
    }
}

fn tasks(random: &mut Random, values: &mut [f64]) {
    let every = [4, 24, 48, DAY, DAY, DAY][random.below(6)];
    let (at, length) = (random.below(every), 1 + random.below(3));
    let usual = values.iter().sum::<f64>() / values.len() as f64;
    let height = usual * random.within(0.1, 1.5);
    for (index, value) in values.iter_mut().enumerate() {
        if (index + every - at) % every < length {
            *value += height * (0.1 * random.normal()).exp();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_to_something_else_than_announced_and_touch_nothing_beside_them() {
        let (mut touched, mut off) = (0, 0);
        for index in 0..100 {
            let (plain, sold) = (series(1, index), with_events(1, index));
            assert_eq!(sold, with_events(1, index));
            touched += usize::from(!sold.set_aside.is_empty());
            for at in 0..STEPS {
                assert!(sold.is_set_aside(at) || plain.values[at] == sold.values[at], "{index}, {at}");
                let came = plain.value(at).zip(sold.value(at)).filter(|(plain, _)| *plain > 0.0);
                if let (Some(announced), Some((plain, sold))) = (sold.announced(at), came) {
                    off += usize::from(((sold / plain - 1.0) / (announced.factor - 1.0) - 1.0).abs() > 0.2);
                }
            }
        }
        assert!((30..50).contains(&touched) && off > 5_000, "{touched} {off}");
    }

    #[test]
    fn a_seed_is_a_set_of_series_and_all_are_loads() {
        assert_eq!(series(3, 5), series(3, 5));
        assert!(series(3, 5) != series(3, 6) && series(3, 5) != series(4, 5));
        for index in 0..200 {
            let series = series(1, index);
            assert_eq!(series.values.len(), STEPS);
            assert!(series.values.iter().flatten().all(|value| value.is_finite() && *value >= 0.0), "{index}");
            assert!(series.values.iter().flatten().any(|value| *value > 0.0), "{index}");
            assert_eq!(series.start % i64::from(STEP_SECONDS), 0);
        }
        assert!((0..200).any(|index| series(1, index).values.contains(&None)), "some have gaps");
    }
}
