//! Seasons that are neither a day nor a week: a batch every eight hours, a cycle of a day and a half.
//!
//! A periodogram proposes and the autocorrelation confirms. The load is whitened by its first autocorrelation and tapered
//! (Hann), so that a wandering level has no peaks of its own; a peak must then stand out of the spectrum around it by what chance gives in one of
//! ten thousand whole spectra (each ordinate of noise is exponential about its mean: Fisher 1929, with the mean of the
//! neighbourhood in place of that of a white spectrum). A peak may be a harmonic: of its multiples the shortest at which the load is most
//! like itself is meant, and there it must be more like itself than half a season before and after.
//!
//! In the load as it is, a season counts when a mean day adds little to what it explains: a batch every eight hours repeats daily as
//! well, but a day with three peaks of different height is a day. Then it is looked for in what a mean week leaves, and in what a mean day
//! leaves, where it must explain more than the day that is still in there (days differ in strength).

use crate::history::{DAY, History};
use crate::model::dot;

/// Only this much of the newest history is looked at.
const LOOK_SECONDS: u64 = 28 * DAY;
/// Bins are at least this long: shorter seasons have too few to be told apart.
const BIN_SECONDS: u32 = 900;
/// Bins of the shortest season.
const SHORTEST: usize = 8;
/// How often a season must have been seen.
const LEAST_CYCLES: usize = 6;
/// Fewer bins have no spectrum worth the name.
const LEAST_BINS: usize = 96;
/// How often noise alone would have a peak, at most.
const CHANCE: f64 = 1e-4;
/// Ordinates around a peak that tell how large it would be by chance, at least.
const AROUND: f64 = 12.0;
/// Frequencies this far apart are still around.
const OCTAVE: f64 = 1.6;
/// Peaks that are looked at.
const PEAKS: usize = 3;
/// Multiples of a peak's period that may be the season it is a harmonic of.
const HARMONICS: usize = 8;
/// A multiple is no better than this part of the best.
const AS_GOOD: f64 = 0.9;
/// A mean day adds to a season when it explains this part of what the season does.
const ADDS: f64 = 0.1;
/// How often a day or a week must have been seen before it is taken off.
const LEAST_KNOWN: usize = 3;
/// How much more like itself the load is after a season than half a season before or after that.
const LEAST_PROMINENCE: f64 = 0.25;
/// Measured values without which the filled ones would make the season.
const LEAST_OBSERVED: f64 = 0.5;
/// The newest steps on which the length is told exactly, and by how many of the season's waves.
const EXACT_STEPS: usize = 16_384;
const WAVES: usize = 4;

/// Steps of a bin.
fn fold_of(step_seconds: u32) -> usize {
    (BIN_SECONDS / step_seconds.max(1)).max(1) as usize
}

/// The steps that a history must have before anything is looked for.
pub(crate) fn least_steps(step_seconds: u32) -> usize {
    LEAST_BINS * fold_of(step_seconds)
}

/// Steps of the strongest season that is neither a day nor a week, if there is one.
pub(crate) fn other(history: &History<'_>) -> Option<usize> {
    let recent = history.last(history.steps(LOOK_SECONDS));
    let observed = recent.observed.iter().filter(|observed| **observed).count();
    if (observed as f64) < LEAST_OBSERVED * recent.len() as f64 {
        return None;
    }
    let fold = fold_of(recent.step_seconds);
    let skipped = recent.len() % fold;
    let folded: Vec<f64> =
        recent.values[skipped..].chunks_exact(fold).map(|bin| bin.iter().sum::<f64>() / fold as f64).collect();
    if folded.len() < LEAST_BINS {
        return None;
    }
    let bins = |seconds: u64| {
        let bin = u64::from(recent.step_seconds) * fold as u64;
        (seconds.is_multiple_of(bin)).then_some((seconds / bin) as usize)
    };
    let (day, week) = (bins(DAY), bins(7 * DAY));
    let plain = level_off(&folded)?;
    // Lengths that cannot be told apart over so long a time are the same.
    let is = |lag: usize, known: usize| (1.0 / lag as f64 - 1.0 / known as f64).abs() * folded.len() as f64 <= 1.0;
    let is_known = |lag: usize| [day, week].into_iter().flatten().any(|known| is(lag, known));
    let is_all = |season: &usize| day.is_none_or(|day| !adds(&plain, *season, day));
    // After several whole days a day comes back as well: that is looked for beneath it.
    let of_days = |season: &usize| day.is_some_and(|day| is(*season, day * ((season + day / 2) / day).max(1)));
    let alone = strongest(&plain).filter(|season| !is_known(*season) && !of_days(season) && is_all(season));
    let beneath = |known: Option<usize>| {
        let known = known.filter(|known| folded.len() >= LEAST_KNOWN * known)?;
        let rest = level_off(&less(&plain, &means(&plain, known)))?;
        let season = strongest(&rest)?;
        let likeness = Likeness::of(&rest);
        let more = day.is_none_or(|day| likeness.at(season) >= likeness.at(day) + LEAST_PROMINENCE);
        (more && !is_known(season)).then_some(season)
    };
    let season = alone.or_else(|| beneath(week)).or_else(|| beneath(day))?;
    let steps = exactly(&recent, season * fold, fold);
    (Some(steps) != history.day() && Some(steps) != history.week()).then_some(steps)
}

/// Whether a mean day still explains a good part of what the season leaves.
fn adds(values: &[f64], season: usize, day: usize) -> bool {
    let squares = |values: &[f64]| dot(values, values);
    let rest = less(values, &means(values, season));
    let left = less(&rest, &means(&rest, day));
    let (of_season, of_day) = (squares(values) - squares(&rest), squares(&rest) - squares(&left));
    // Means of noise explain something as well: a share for each of them.
    let by_chance = squares(&left) * day as f64 / (values.len() - day.min(values.len() - 1)) as f64;
    of_day - by_chance > ADDS * of_season
}

/// The values about their straight line; `None` where nothing is left of them.
fn level_off(values: &[f64]) -> Option<Vec<f64>> {
    let count = values.len() as f64;
    let (middle, mean) = ((count - 1.0) / 2.0, values.iter().sum::<f64>() / count);
    let (mut across, mut along, mut squares) = (0.0, 0.0, 0.0);
    for (index, value) in values.iter().enumerate() {
        let time = index as f64 - middle;
        across += time * (value - mean);
        along += time * time;
        squares += value * value;
    }
    let slope = across / along;
    let rest: Vec<f64> =
        values.iter().enumerate().map(|(index, value)| value - mean - slope * (index as f64 - middle)).collect();
    let left: f64 = rest.iter().map(|value| value * value).sum();
    (left > 1e-12 * squares).then_some(rest)
}

/// The mean at each phase of a season.
fn means(values: &[f64], season: usize) -> Vec<f64> {
    let mut means = vec![(0.0, 0.0); season];
    for (value, at) in values.iter().zip((0..season).cycle()) {
        means[at].0 += value;
        means[at].1 += 1.0;
    }
    means.into_iter().map(|(sum, count)| sum / f64::max(count, 1.0)).collect()
}

/// What a season leaves.
fn less(values: &[f64], season: &[f64]) -> Vec<f64> {
    values.iter().zip(season.iter().cycle()).map(|(value, mean)| value - mean).collect()
}

/// How like itself a series with mean zero is so many steps later.
struct Likeness {
    /// By lag.
    likeness: Vec<f64>,
}

impl Likeness {
    /// Sums of products are the transform of the power (Wiener and Khinchin), with as many zeros behind the values that none meet
    /// around the end.
    fn of(values: &[f64]) -> Self {
        let count = values.len();
        let mut terms = vec![(0.0, 0.0); (2 * count).next_power_of_two()];
        terms.iter_mut().zip(values).for_each(|(term, value)| term.0 = *value);
        transform(&mut terms);
        terms.iter_mut().for_each(|term| *term = (term.0 * term.0 + term.1 * term.1, 0.0));
        transform(&mut terms);
        let whole = terms.first().map_or(0.0, |term| term.0).max(f64::MIN_POSITIVE);
        // Each pair counts the same, so that it does not shrink with the lag.
        let of = |lag: usize| terms[lag].0 / whole * count as f64 / (count - lag) as f64;
        Self { likeness: (0..count).map(of).collect() }
    }

    /// The autocorrelation at `lag`; 0 beyond the end.
    fn at(&self, lag: usize) -> f64 {
        self.likeness.get(lag).copied().unwrap_or(0.0)
    }

    /// The mean over the first few multiples of a season: the longer the way, the less a wrong length goes unnoticed.
    fn at_multiples(&self, lag: usize) -> f64 {
        let times = (self.likeness.len() / 2 / lag.max(1)).clamp(1, LEAST_CYCLES);
        (1..=times).map(|multiple| self.at(multiple * lag)).sum::<f64>() / times as f64
    }

    /// How much more like itself it is after `lag` than half of that earlier and later.
    fn prominence(&self, lag: usize) -> f64 {
        self.at(lag) - (self.at(lag / 2) + self.at(lag + lag / 2)) / 2.0
    }
}

/// The bins of the season that the largest peak which stands out and is confirmed belongs to.
fn strongest(values: &[f64]) -> Option<usize> {
    let count = values.len();
    let longest = count / LEAST_CYCLES;
    let next = dot(&values[1..], &values[..count - 1]) / dot(values, values).max(f64::MIN_POSITIVE);
    let spectrum = Spectrum::of(values, next);
    let peaks = spectrum.peaks(longest);
    if peaks.is_empty() {
        return None;
    }
    let likeness = Likeness::of(values);
    // In ordinates per cycle over all the values.
    let per_cycle = spectrum.length as f64 / count as f64;
    for (ordinate, _) in peaks {
        let period = spectrum.length as f64 / ordinate;
        // Half an ordinate to either side is as far as a peak tells.
        let doubt = 1.0 + 0.5 * per_cycle * period * period / spectrum.length as f64;
        let mut multiples: Vec<(usize, f64)> = Vec::new();
        for times in 1..=HARMONICS {
            let about = period * times as f64;
            let from = (about - times as f64 * doubt).max(SHORTEST as f64) as usize;
            let to = ((about + times as f64 * doubt).ceil() as usize).min(longest);
            let best = (from..=to).map(|lag| (lag, likeness.at_multiples(lag))).max_by(|a, b| a.1.total_cmp(&b.1));
            multiples.extend(best.filter(|_| about <= longest as f64));
        }
        let best = multiples.iter().map(|(_, like)| *like).fold(0.0, f64::max);
        let found = multiples.iter().find(|(_, like)| *like >= AS_GOOD * best && *like > 0.0);
        if let Some((lag, _)) = found.filter(|(lag, _)| likeness.prominence(*lag) >= LEAST_PROMINENCE) {
            return Some(*lag);
        }
    }
    None
}

/// The length of a season of about `steps`, to the step: that whose first waves are strongest (the most likely one, were the rest
/// white noise). Bins are coarser, and so is the top of a flat wave's autocorrelation.
fn exactly(history: &History<'_>, steps: usize, bin: usize) -> usize {
    let Some(rest) = level_off(history.last(EXACT_STEPS).values) else { return steps };
    let within = bin + steps * steps / (4 * rest.len());
    let lengths = steps.saturating_sub(within).max(2)..=steps + within;
    let power = |length: usize| -> f64 { (1..=WAVES).map(|wave| power_at(&rest, wave as f64 / length as f64)).sum() };
    lengths.map(|length| (length, power(length))).max_by(|a, b| a.1.total_cmp(&b.1)).map_or(steps, |(length, _)| length)
}

/// The power at a frequency, in cycles per value (Goertzel 1958).
fn power_at(values: &[f64], frequency: f64) -> f64 {
    let twice = 2.0 * (frequency * std::f64::consts::TAU).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for value in values {
        (last, before) = (value + twice * last - before, last);
    }
    last * last + before * before - twice * last * before
}

/// A periodogram, and what it is around each ordinate.
struct Spectrum {
    /// Values, and zeros behind them to a power of two.
    length: usize,
    count: usize,
    power: Vec<f64>,
}

impl Spectrum {
    /// Of values that are like themselves one step later by so much.
    fn of(values: &[f64], like: f64) -> Self {
        let count = values.len();
        let length = count.next_power_of_two();
        let like = like.clamp(0.0, 1.0);
        let mut terms = vec![(0.0, 0.0); length];
        for at in 1..count {
            let along = at as f64 / count as f64;
            let taper = 0.5 - 0.5 * (std::f64::consts::TAU * along).cos();
            terms[at].0 = (values[at] - like * values[at - 1]) * taper;
        }
        transform(&mut terms);
        let power = terms[..length / 2].iter().map(|(real, imaginary)| real * real + imaginary * imaginary).collect();
        Self { length, count, power }
    }

    /// Peaks of periods from [`SHORTEST`] to `longest` that chance does not make, the highest above its surroundings first: where
    /// (between ordinates), and how high.
    fn peaks(&self, longest: usize) -> Vec<(f64, f64)> {
        let around = self.around();
        let wanted = (self.count as f64 / 2.0 / CHANCE).ln();
        let from = self.length.div_ceil(longest.max(1)).max(2);
        let to = (self.length / SHORTEST).min(self.power.len() - 2);
        let mut peaks: Vec<(f64, f64)> = (from..=to)
            .filter(|at| self.power[*at] >= self.power[at - 1] && self.power[*at] > self.power[at + 1])
            .map(|at| (at, self.power[at] / around[at]))
            .filter(|(_, height)| *height > wanted)
            .map(|(at, height)| {
                // The top of the parabola through the logarithms of three ordinates.
                let [left, middle, right] = [at - 1, at, at + 1].map(|at| self.power[at].max(f64::MIN_POSITIVE).ln());
                let bend = left - 2.0 * middle + right;
                let shift = if bend < 0.0 { (0.5 * (left - right) / bend).clamp(-0.5, 0.5) } else { 0.0 };
                (at as f64 + shift, height)
            })
            .collect();
        peaks.sort_by(|a, b| b.1.total_cmp(&a.1));
        peaks.truncate(PEAKS);
        peaks
    }

    /// What noise of the same colour has at each ordinate on average: the median of those around it over ln 2, between the middles of
    /// neighbourhoods that grow with the frequency.
    fn around(&self) -> Vec<f64> {
        let least = AROUND * self.length as f64 / self.count as f64;
        let mut middles: Vec<(f64, f64)> = Vec::new();
        let mut from = 1.0_f64;
        while (from as usize) < self.power.len() {
            let mut to = (from * OCTAVE).max(from + least);
            if self.power.len() as f64 - to < least {
                to = self.power.len() as f64;
            }
            let mut own = self.power[from as usize..(to as usize).min(self.power.len())].to_vec();
            let median = crate::quantile::median(&mut own).unwrap_or(0.0);
            middles.push((((from + to) / 2.0).ln(), (median / std::f64::consts::LN_2).max(f64::MIN_POSITIVE).ln()));
            from = to;
        }
        let mut right = 0;
        (0..self.power.len())
            .map(|at| {
                let place = (at.max(1) as f64).ln();
                while right + 1 < middles.len() && middles[right].0 < place {
                    right += 1;
                }
                let (after, before) = (middles[right], middles[right.saturating_sub(1)]);
                let along =
                    if after.0 > before.0 { ((place - before.0) / (after.0 - before.0)).clamp(0.0, 1.0) } else { 1.0 };
                (before.1 + along * (after.1 - before.1)).exp()
            })
            .collect()
    }
}

/// Turns of which each is worked out by itself.
const FINE: usize = 64;

/// The discrete Fourier transform in place (Cooley and Tukey 1965); a power of two of terms.
fn transform(terms: &mut [(f64, f64)]) {
    let length = terms.len();
    let mut swapped = 0;
    for at in 1..length {
        let mut bit = length >> 1;
        while swapped & bit != 0 {
            swapped ^= bit;
            bit >>= 1;
        }
        swapped |= bit;
        if at < swapped {
            terms.swap(at, swapped);
        }
    }
    // A product of a coarse and a fine turn: sines are dear.
    let turn = |step: usize| (-std::f64::consts::TAU * step as f64 / length as f64).sin_cos();
    let fine: Vec<(f64, f64)> = (0..FINE).map(turn).collect();
    let coarse: Vec<(f64, f64)> = (0..length / 2).step_by(FINE).map(turn).collect();
    let both = |at: usize| {
        let ((s, c), (sine, cosine)) = (coarse[at / FINE], fine[at % FINE]);
        (s * cosine + c * sine, c * cosine - s * sine)
    };
    let turns: Vec<(f64, f64)> = (0..length / 2).map(both).collect();
    let mut half = 1;
    while half < length {
        let stride = length / (2 * half);
        for block in terms.chunks_exact_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for ((a, b), (sine, cosine)) in low.iter_mut().zip(high).zip(turns.iter().step_by(stride)) {
                let turned = (b.0 * cosine - b.1 * sine, b.0 * sine + b.1 * cosine);
                *b = (a.0 - turned.0, a.1 - turned.1);
                *a = (a.0 + turned.0, a.1 + turned.1);
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Grid;
    use crate::series::Series;

    /// Standard normal noise from a seed.
    fn normal(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut uniform = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        (0..20).for_each(|_| {
            uniform();
        });
        move || (0..12).map(|_| uniform()).sum::<f64>() - 6.0
    }

    fn found(step_seconds: u32, days: usize, mut load: impl FnMut(usize) -> f64) -> Option<usize> {
        let steps = days * DAY as usize / step_seconds as usize;
        let values = (0..steps).map(|at| Some(load(at).max(0.0))).collect();
        other(&Grid::new(&Series::new(0, step_seconds, values), u64::MAX).unwrap().all())
    }

    fn wave(at: usize, season: usize) -> f64 {
        (at as f64 / season as f64 * std::f64::consts::TAU).sin()
    }

    #[test]
    fn the_transform_is_that_of_the_definition() {
        let mut noise = normal(5);
        let given: Vec<(f64, f64)> = (0..16).map(|_| (noise(), noise())).collect();
        let mut made = given.clone();
        transform(&mut made);
        for (frequency, (real, imaginary)) in made.iter().enumerate() {
            let (mut wanted_real, mut wanted_imaginary) = (0.0, 0.0);
            for (at, (a, b)) in given.iter().enumerate() {
                let (sine, cosine) = (-std::f64::consts::TAU * (frequency * at) as f64 / 16.0).sin_cos();
                wanted_real += a * cosine - b * sine;
                wanted_imaginary += a * sine + b * cosine;
            }
            assert!((real - wanted_real).abs() < 1e-12 && (imaginary - wanted_imaginary).abs() < 1e-12, "{frequency}");
        }
    }

    #[test]
    fn noise_and_a_wandering_level_have_no_season() {
        for seed in 1..=150 {
            for days in [2, 5, 14, 28] {
                let mut noise = normal(seed);
                assert_eq!(found(900, days, |_| 100.0 + 10.0 * noise()), None, "white {seed} {days}");
                let mut noise = normal(seed + 1_000);
                let mut level = 500.0;
                let walk = |_| {
                    level += noise();
                    level
                };
                assert_eq!(found(900, days, walk), None, "walk {seed} {days}");
                let mut noise = normal(seed + 2_000);
                let (mut slow, mut kept) = (0.0, 0.0);
                let red = |_| {
                    slow = 0.99 * slow + 0.3 * noise();
                    kept = 0.8 * kept + noise();
                    100.0 + 5.0 * slow + 3.0 * kept + noise()
                };
                assert_eq!(found(900, days, red), None, "red {seed} {days}");
            }
        }
    }

    #[test]
    fn a_day_is_no_other_season_whatever_its_shape_and_strength() {
        let shapes: [fn(usize) -> f64; 5] = [
            |at| wave(at, 96),
            // Office hours; a peak in the morning and a lower one in the evening; a nightly job; three peaks, one of them twice as high.
            |at| if (36..72).contains(&(at % 96)) { 1.0 } else { -1.0 },
            |at| wave(at, 96) + 0.8 * wave(at, 48),
            |at| if (8..10).contains(&(at % 96)) { 3.0 } else { 0.0 },
            |at| if at % 32 < 4 { if at % 96 < 32 { 4.0 } else { 2.0 } } else { 0.0 },
        ];
        for (which, shape) in shapes.iter().enumerate() {
            for seed in 1..=30 {
                for days in [6, 15, 28] {
                    let mut noise = normal(seed);
                    // Every day of another strength, week ends weaker.
                    let strengths: Vec<f64> =
                        (0..days).map(|day| (0.15 * noise()).exp() * if day % 7 >= 5 { 0.6 } else { 1.0 }).collect();
                    let load = |at: usize| 100.0 + 20.0 * strengths[at / 96] * shape(at) + 4.0 * noise();
                    assert_eq!(found(900, days, load), None, "shape {which}, seed {seed}, {days} days");
                }
            }
        }
    }

    #[test]
    fn seasons_of_other_lengths_are_found_to_the_step() {
        // (seconds of a step, steps of the season, days)
        for (step, season, days) in [
            (900, 32, 4),
            (900, 32, 28),
            (900, 48, 14),
            (900, 144, 14),
            (900, 28, 7),
            (3_600, 36, 28),
            (300, 425, 14),
            (300, 96, 7),
        ] {
            for seed in 1..=20 {
                let mut noise = normal(seed);
                let alone = found(step, days, |at| 100.0 + 20.0 * wave(at, season) + 12.0 * noise());
                assert!(
                    alone.is_some_and(|found| found.abs_diff(season) <= 1),
                    "wave {step} {season} {days}: {alone:?}"
                );
                let job = |at: usize| if at % season < season / 8 { 60.0 } else { 0.0 };
                let alone = found(step, days, |at| 100.0 + job(at) + 10.0 * noise());
                assert!(
                    alone.is_some_and(|found| found.abs_diff(season) <= 1),
                    "job {step} {season} {days}: {alone:?}"
                );
            }
        }
    }

    #[test]
    fn a_season_is_found_beneath_a_day_and_a_week() {
        for season in [36, 48, 20, 11] {
            for seed in 1..=20 {
                let mut noise = normal(seed);
                let load = |at: usize| {
                    let day = wave(at, 24) * if at / 24 % 7 >= 5 { 20.0 } else { 40.0 };
                    200.0 + day + 20.0 * wave(at, season) + 8.0 * noise()
                };
                let found = found(3_600, 28, load);
                assert_eq!(found, Some(season), "seed {seed}");
            }
        }
    }

    #[test]
    fn nothing_is_found_in_what_is_short_constant_silent_or_mostly_absent() {
        assert_eq!(found(900, 1, |at| 10.0 + wave(at, 32)), None, "three cycles");
        assert_eq!(found(900, 14, |_| 7.0), None);
        assert_eq!(found(900, 14, |_| 0.0), None);
        let values = (0..1_344).map(|at| (at % 32 < 8).then_some(50.0 + wave(at, 32))).collect();
        assert_eq!(other(&Grid::new(&Series::new(0, 900, values), u64::MAX).unwrap().all()), None);
    }
}
