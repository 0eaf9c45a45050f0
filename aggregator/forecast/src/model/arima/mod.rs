//! Auto-ARIMA: Fourier terms for the day, the week and a season that was found beside them, and an ARIMA process for what they leave.
//!
//! Read in this order: [`regressors`] (the waves), [`search`] (difference and orders: KPSS, then the stepwise search of Hyndman and
//! Khandakar 2008 by AICc), [`filter`] (the exact likelihood with missing values, and the forecast), [`process`] (the
//! re-parameterisation that keeps the search inside what is stationary and invertible), [`least_squares`] (the optimiser),
//! [`forecast`] (quantile paths).
//!
//! Regression and process are estimated in turns, each at its exact maximum given the other, which climbs the likelihood of
//! both. Here two turns: waves lose next to nothing by ordinary least squares (Grenander and Rosenblatt 1957), so the
//! first turn is near the end already.
//!
//! All of it works on the square root of the load (Bartlett 1936: the root evens out the variance of counts, and load is made of
//! requests): quantiles go through it unchanged, are skewed as loads are, and never negative.
//!
//! Announced events are regressors ([`events`]): what of an announcement came true is learned from what was measured while it held.
//!
//! Filled gaps are missing values throughout; so is a saturated value in the filter where it lies below what is expected anyway.
//! For the waves a saturated value counts as it stands: a peak that is always cut off is better known too low than not at all.

mod events;
mod filter;
mod forecast;
mod least_squares;
#[cfg(test)]
mod oracle;
mod process;
mod regressors;
mod search;

use self::forecast::Fit;
use self::process::Process;
use self::regressors::Waves;
use self::search::{Data, is_integrated, refine, stepwise};
use super::{FitError, Fitted, Model, Prediction};
use crate::history::{DAY, History};
use crate::seasons;

/// Only this much of the newest history is learned from: seasons change, and cost grows with length.
const LEARN_SECONDS: u64 = 28 * DAY;
/// And at most so many steps (28 days of 5 minutes, 5 of one): a finer step has more to say of the process, not of the season.
const LEARN_STEPS: usize = 8_064;
/// The newest steps on which orders are compared. R shortens the series for the same reason.
const SEARCH_STEPS: usize = 1_000;
/// The newest steps on which the chosen process is estimated: its coefficients are known to some hundredths then.
const REFINE_STEPS: usize = 1_500;
/// Observations without which nothing is estimated.
const LEAST: usize = 16;
/// A season needs to be seen so often.
const SEASONS: usize = 2;
/// Waves of the day: what goes up and down within four hours.
const DAY_WAVES: usize = 6;
/// Waves of the week by themselves.
const WEEK_WAVES: usize = 3;
/// The first waves of the day have companions one cycle a week slower and faster: the day's shape is another one at weekends.
const COMPANIED: usize = 3;
/// Waves of a season that is neither a day nor a week.
const OTHER_WAVES: usize = 6;
/// What is left of a load of 1 is nothing below this: the regression alone says it all.
const NOTHING: f64 = 1e-12;
/// The level is judged by so many means (of a day each where there are four weeks).
const LEVELS: usize = 28;

/// The auto-ARIMA model.
#[derive(Debug, Clone, Copy)]
pub struct AutoArima;

impl Model for AutoArima {
    fn name(&self) -> &str {
        "auto_arima"
    }

    /// A fit is dear.
    fn replay_every(&self) -> usize {
        4
    }

    /// As the other models that follow the level: a fit from before a shift misleads after it.
    fn refit_seconds(&self) -> u64 {
        3_600
    }

    fn fit(&self, history: &History<'_>, _horizon: usize) -> Result<Box<dyn Fitted>, FitError> {
        let recent = history.last(history.steps(LEARN_SECONDS).min(LEARN_STEPS));
        let observed = recent.observed;
        let have = observed.iter().filter(|observed| **observed).count();
        if have < LEAST {
            return Err(FitError::TooShort { need: LEAST, have });
        }
        let failed = |what: &str| FitError::Failed(what.to_owned());
        // Scaled to 1 at most, so that nothing below depends on the unit; the root, so that busy hours may be restless ones.
        let largest = recent.values.iter().copied().fold(0.0, f64::max);
        let scale = if largest > 0.0 { largest } else { 1.0 };
        let values: Vec<f64> = recent.values.iter().map(|value| (value / scale).sqrt()).collect();
        let other = seasons::other(&recent);
        let waves = waves(&recent, other);
        let first = phase(&recent, waves.season);
        // What the waves of the day and the week cannot express has waves of its own; both are fitted in turns, for over a long
        // time waves of different lengths have nothing in common.
        let own = other.filter(|other| !waves.season.is_multiple_of(*other));
        let own = own.map(|season| Waves::new(season, (1..=OTHER_WAVES).collect()));
        let own_first = own.as_ref().map_or(0, |own| phase(&recent, own.season));
        let less = |values: &[f64], profile: &[f64], first: usize| -> Vec<f64> {
            let expected = (0..profile.len()).cycle().skip(first).map(|at| profile[at]);
            values.iter().zip(expected).map(|(value, expected)| value - expected).collect()
        };
        let ordinary = |values: &[f64], differences| {
            waves.ordinary(values, observed, first, differences).map(|coefficients| waves.profile(&coefficients))
        };

        let mut profile = ordinary(&values, false).ok_or_else(|| failed("the waves have no least squares"))?;
        let mut own_profile = vec![0.0];
        let mut seasonless = values.clone();
        if let Some(own) = &own {
            let rest = less(&values, &profile, first);
            let found = own.ordinary(&rest, observed, own_first, false);
            own_profile = own.level_profile(&found.ok_or_else(|| failed("the season has no least squares"))?);
            seasonless = less(&values, &own_profile, own_first);
            profile = ordinary(&seasonless, false).unwrap_or(profile);
        }
        let mut rest = less(&seasonless, &profile, first);
        let left: Vec<f64> = rest.iter().zip(observed).filter(|(_, observed)| **observed).map(|(v, _)| *v).collect();
        if left.iter().all(|value| value.abs() <= NOTHING) {
            let process = Process::default();
            return Ok(Box::new(Fit {
                scale,
                profile,
                other: own_profile,
                process,
                deviation: 0.0,
                responses: Vec::new(),
            }));
        }
        let integrated = is_integrated(&levels(&left));
        // Where no two neighbours were observed, there are no differences to fit; the generalised fit below needs none.
        if let Some(of_differences) = integrated.then(|| ordinary(&seasonless, true)).flatten() {
            profile = of_differences;
            rest = less(&seasonless, &profile, first);
        }
        let spent = 1 + 2 * waves.cycles.len() + own.as_ref().map_or(0, |own| 2 * own.cycles.len());
        let data = |rest| Data { values: rest, observed, spent };
        let chosen =
            stepwise(data(&rest).last(SEARCH_STEPS), integrated).ok_or_else(|| failed("no order is possible"))?;
        if let Some(own) = &own {
            let without = less(&values, &profile, first);
            let found = own.generalised(&chosen.process, &without, observed, own_first, true);
            own_profile =
                own.level_profile(&found.ok_or_else(|| failed("the season has no generalised least squares"))?);
            seasonless = less(&values, &own_profile, own_first);
        }
        let coefficients = waves.generalised(&chosen.process, &seasonless, observed, first, true);
        profile = waves.profile(&coefficients.ok_or_else(|| failed("the waves have no generalised least squares"))?);
        let rest = less(&seasonless, &profile, first);
        let found = refine(data(&rest).last(REFINE_STEPS), &chosen.process).ok_or_else(|| failed("no likelihood"))?;
        let deviation = found.variance.sqrt();
        let responses = events::responses(&recent, &rest, &found.process, deviation, scale);
        Ok(Box::new(Fit { scale, profile, other: own_profile, process: found.process, deviation, responses }))
    }
}

/// The waves a history is long enough for. A season that was found and that they can express has as many as the day.
fn waves(history: &History<'_>, other: Option<usize>) -> Waves {
    let seen = |season: &usize| history.len() >= SEASONS * season;
    let (day, week) = (history.day().filter(seen), history.week().filter(seen));
    let of = |season: usize| {
        let times = other.filter(|other| season.is_multiple_of(*other)).map(|other| season / other);
        times.into_iter().flat_map(|times| (1..=OTHER_WAVES).map(move |wave| times * wave))
    };
    match (day, week) {
        (_, Some(week)) => {
            let day = (1..=DAY_WAVES).map(|wave| 7 * wave);
            let companions = (1..=COMPANIED).flat_map(|wave| [7 * wave - 1, 7 * wave + 1]);
            Waves::new(week, day.chain(companions).chain(1..=WEEK_WAVES).chain(of(week)).collect())
        }
        (Some(day), None) => Waves::new(day, (1..=DAY_WAVES).chain(of(day)).collect()),
        (None, None) => Waves::new(1, Vec::new()),
    }
}

/// The means of equal parts: what is tested for wandering.
///
/// Step by step every load wanders, and KPSS says so nearly always; but what is asked is whether the level of the day comes back.
/// Differences that are not needed make a forecast of a day worse by a tenth, and its spread grow without end.
fn levels(values: &[f64]) -> Vec<f64> {
    let part = (values.len() / LEVELS).max(1);
    values.chunks_exact(part).map(|part| part.iter().sum::<f64>() / part.len() as f64).collect()
}

/// Where the first step of a history lies in a season of so many steps.
fn phase(history: &History<'_>, season: usize) -> usize {
    history.start.div_euclid(i64::from(history.step_seconds.max(1))).rem_euclid(season as i64) as usize
}
