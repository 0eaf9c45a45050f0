//! The state that lives on between forecasts: what every model said of the past, and the fits that still last.
//!
//! Origins and fits lie on time grids fixed to the epoch (`origins`), so whatever way a contest came to a history, it has
//! asked the same models at the same times: [`Contest::learn`] after every step and once at the end give the same forecast.
//! A step costs a prediction of each model with a share, an origin that has become due a prediction of every model, and a fit
//! is made when the last one is out of date; nothing is ever fitted anew for the past.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use crate::conformal;
use crate::events::{Learned, Response};
use crate::history::{Grid, History};
use crate::model::{Fitted, Model, Pool, Prediction};
use crate::origins::Schedule;
use crate::replay::{Past, Replay, Said, dress, kept_steps, restless_at};
use crate::selection::{Champion, mix, standings, tidy};
use crate::series::Series;
use crate::trust;
use crate::types::{Forecast, ForecastError, MINIMUM_HISTORY_SECONDS, Options};

/// What lies behind an origin may change by this part (late samples, another idle baseline) before the past is asked anew.
const REVISED: f64 = 0.02;
/// How much of the load before an origin is compared with what it was.
const COMPARED_SECONDS: u64 = 6 * 3_600;

/// One origin that was replayed.
#[derive(Debug)]
struct Origin {
    /// What each model of the pool said; `None` where it was not asked, or refused.
    said: Vec<Option<Said>>,
    /// The mean load before it, to notice a past that was revised.
    before: f64,
}

/// A fit and the time it was made at.
type Fit = (i64, Option<Box<dyn Fitted>>);

/// Models that compete on one history. Deterministic; memory is bounded by the options and the pool ([`Contest::bytes`]).
#[derive(Debug)]
pub struct Contest {
    pool: Pool,
    /// As given; beside them the horizon that models are asked for, longer where clocks may be put forward within it.
    options: Options,
    asked_steps: usize,
    schedule: Schedule,
    steps: Vec<usize>,
    origins: BTreeMap<i64, Origin>,
    /// Per model: the newest fit, and while the past is being caught up with, an older one.
    fits: Vec<Vec<Fit>>,
    champion: Option<Champion>,
    /// The champion is not of this contest: it was kept from before and speaks until all origins are replayed.
    inherited: bool,
}

/// The history (in steps) as models see it, or why there is too little of it.
fn prepare(coarse: &Series, options: &Options) -> Result<Grid, ForecastError> {
    let too_short = |have_seconds| ForecastError::TooShort { need_seconds: MINIMUM_HISTORY_SECONDS, have_seconds };
    let grid = Grid::new(coarse, options.history_seconds).ok_or_else(|| too_short(0))?;
    let have = grid.all().observed_seconds();
    if have < MINIMUM_HISTORY_SECONDS || grid.all().len() < 2 {
        return Err(too_short(have));
    }
    let gap = grid.all().trailing_gap() as u64 * u64::from(options.step_seconds);
    if gap > trust::STALE_SECONDS {
        return Err(ForecastError::Stale { gap_seconds: gap });
    }
    Ok(grid)
}

/// Whether a model is asked at the origin of this number.
fn is_asked(model: &dyn Model, number: i64) -> bool {
    number.rem_euclid(model.replay_every().max(1) as i64) == 0
}

fn cut(history: &History<'_>, at: i64) -> usize {
    usize::try_from((at - history.start).div_euclid(i64::from(history.step_seconds))).unwrap_or_default()
}

impl Contest {
    /// A contest that has seen nothing yet.
    ///
    /// # Errors
    /// [`ForecastError::Options`] when the options contradict themselves; [`ForecastError::NoModel`] when they name a model
    /// that the pool does not have.
    pub fn new(pool: &Pool, options: &Options) -> Result<Self, ForecastError> {
        options.validate()?;
        let pool = options.only.as_deref().map_or_else(|| pool.competing(), |name| pool.only(name));
        let count = pool.models().count();
        let follows = !options.zone.is_steady() && options.zone.divides(options.step_seconds);
        let more =
            if follows { options.zone.largest_change().div_euclid(options.step_seconds.max(1)) as usize } else { 0 };
        let asked_steps = options.horizon_steps + more;
        if count == 0 {
            return Err(ForecastError::NoModel("the pool has no such model".to_owned()));
        }
        Ok(Self {
            pool,
            options: options.clone(),
            asked_steps,
            schedule: Schedule::new(options),
            steps: kept_steps(asked_steps, options.step_seconds),
            origins: BTreeMap::new(),
            fits: (0..count).map(|_| Vec::new()).collect(),
            champion: None,
            inherited: false,
        })
    }

    /// A contest that begins with what an earlier one found out: it forecasts at once, and replaces the champion when it has
    /// replayed all origins itself.
    ///
    /// # Errors
    /// As for [`Contest::new`], and when the champion was made for other levels or another step.
    pub fn resume(pool: &Pool, options: &Options, champion: Champion) -> Result<Self, ForecastError> {
        fits_to(&champion, options)?;
        Ok(Self { champion: Some(champion), inherited: true, ..Self::new(pool, options)? })
    }

    /// What was found out so far.
    pub fn champion(&self) -> Option<&Champion> {
        self.champion.as_ref()
    }

    /// The options it was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Bytes kept of what models said; fits come on top (a few kilobytes each for the models of the default pool).
    pub fn bytes(&self) -> usize {
        let said = self.origins.values().flat_map(|origin| origin.said.iter().flatten());
        size_of::<Self>() + said.map(Said::bytes).sum::<usize>()
    }

    /// Replays what has become due, at most `at_most` origins, and judges the models when it is time to.
    ///
    /// The history should reach to the present, with gaps where nothing was observed, and back over
    /// [`Options::history_seconds`]. Returns how many origins are still to be replayed: until there are none, the champion stays
    /// what it was.
    ///
    /// # Errors
    /// [`ForecastError`] when there is less than half an hour of observations, nothing was observed lately, or no model can
    /// be fitted.
    pub fn learn(&mut self, history: &Series, at_most: usize) -> Result<usize, ForecastError> {
        let grid = prepare(&self.on_clocks(history), &self.options)?;
        self.learn_from(&grid, at_most)
    }

    /// Whether the clocks of the zone change in a way that the grid of steps can follow.
    fn follows_clocks(&self) -> bool {
        !self.options.zone.is_steady() && self.options.zone.divides(self.options.step_seconds)
    }

    /// The history in steps, on the clocks' grid where clocks change.
    fn on_clocks(&self, history: &Series) -> Series {
        let coarse = history.coarser(self.options.step_seconds, self.options.aggregate);
        if self.follows_clocks() { self.options.zone.local(&coarse) } else { coarse }
    }

    /// A forecast from [`Self::on_clocks`], back on UTC.
    fn off_clocks(&self, forecast: Forecast, history: &Series) -> Forecast {
        if !self.follows_clocks() {
            return forecast;
        }
        let step = i64::from(self.options.step_seconds);
        self.options.zone.utc(forecast, history.end().div_euclid(step) * step, self.options.horizon_steps)
    }

    fn learn_from(&mut self, grid: &Grid, at_most: usize) -> Result<usize, ForecastError> {
        let all = grid.all();
        // What is asked of the past follows from the time that is judged, so it is the same at every step up to the next.
        let mut judged = self.schedule.judged_at(all.start, all.end());
        let mut due = self.schedule.origins(all.start, judged);
        if due.is_empty() {
            judged = all.end();
            due = self.schedule.origins(all.start, judged);
        }
        let times: BTreeSet<i64> = due.iter().map(|(_, at)| *at).collect();
        self.origins.retain(|at, _| times.contains(at));
        if self.is_revised(grid) {
            self.origins.clear();
            self.fits.iter_mut().for_each(Vec::clear);
            self.inherited = true;
        }
        let missing: Vec<(i64, i64)> = due.iter().copied().filter(|(_, at)| !self.origins.contains_key(at)).collect();
        for (number, at) in missing.iter().take(at_most) {
            let origin = self.replay(grid, *number, *at);
            self.origins.insert(*at, origin);
        }
        let left = missing.len().saturating_sub(at_most);
        if left == 0 {
            self.fits.iter_mut().for_each(|fits| fits.truncate(1));
        }
        if left > 0 && self.champion.is_some() {
            return Ok(left);
        }
        if self.inherited || self.champion.as_ref().is_none_or(|champion| champion.trained_at != judged) {
            match self.judge(grid, judged, &due) {
                Ok(champion) => (self.champion, self.inherited) = (Some(champion), false),
                // What was found out before still forecasts; only nothing at all forecasts nothing.
                Err(error) if self.champion.is_none() => return Err(error),
                Err(_) => {}
            }
        }
        Ok(left)
    }

    /// Whether the load before the origins is no longer what it was when they were replayed.
    fn is_revised(&self, grid: &Grid) -> bool {
        let all = grid.all();
        let (mut moved, mut whole) = (0.0, 0.0);
        for (at, origin) in &self.origins {
            let now = before(&all.first(cut(&all, *at)));
            moved += (now - origin.before).abs();
            whole += now.max(origin.before);
        }
        moved > REVISED * whole
    }

    fn replay(&mut self, grid: &Grid, number: i64, at: i64) -> Origin {
        let all = grid.all();
        let known = cut(&all, at);
        let (pool, horizon, levels) = (self.pool.clone(), self.asked_steps, self.options.levels.len());
        let said = pool
            .models()
            .enumerate()
            .map(|(index, model)| {
                let said = is_asked(model, number).then(|| self.ask(index, model, grid, known))?;
                Said::keep(&said?, &self.steps, horizon, levels)
            })
            .collect();
        Origin { said, before: before(&all.first(known)) }
    }

    /// What a model says after the first `known` steps; it is fitted first when its last fit is out of date.
    fn ask(&mut self, index: usize, model: &dyn Model, grid: &Grid, known: usize) -> Option<Prediction> {
        let all = grid.all();
        let at = all.first(known).end();
        let fitted_at = self.schedule.fitted_at(all.start, at, model.refit_seconds());
        let (window, horizon) = (self.schedule.window(), self.asked_steps);
        let fit = |length| grid.known(length, window, |history| model.fit(history, horizon)).ok();
        let fits = &mut self.fits[index];
        let place = fits.iter().position(|(made, _)| *made == fitted_at).unwrap_or_else(|| {
            fits.truncate(1);
            fits.insert(0, (fitted_at, fit(cut(&all, fitted_at))));
            0
        });
        // What could not be fitted then may be possible now.
        let fitted = &fits[place].1;
        let late = if fitted.is_none() && fitted_at != at { fit(known) } else { None };
        let fitted = fitted.as_ref().or(late.as_ref())?;
        grid.known(known, window, |history| fitted.predict(history, horizon, &self.options.levels)).ok()
    }

    /// What the newest fit of a model knows of events.
    fn responses(&self, index: usize, grid: &Grid) -> Vec<Response> {
        let newest = self.fits[index].first().and_then(|(_, fit)| fit.as_deref());
        let of =
            |fit: &dyn Fitted| grid.known(grid.all().len(), self.schedule.window(), |history| fit.responses(history));
        newest.map(of).unwrap_or_default()
    }

    fn judge(&self, grid: &Grid, judged: i64, due: &[(i64, i64)]) -> Result<Champion, ForecastError> {
        let all = grid.all();
        let known: Vec<(i64, i64, &Origin)> =
            due.iter().filter_map(|(number, at)| Some((*number, *at, self.origins.get(at)?))).collect();
        let cuts: Vec<usize> = known.iter().map(|(_, at, _)| cut(&all, *at)).collect();
        let past = Past::new(grid, cut(&all, judged), &cuts, &self.steps, &self.options.levels);
        let replays = self.pool.models().enumerate().map(|(index, model)| {
            // While the history was younger a dear model was asked more often: that is not counted.
            let asked: Vec<bool> = known.iter().map(|(number, ..)| is_asked(model, *number)).collect();
            let said = known
                .iter()
                .zip(&asked)
                .map(|((.., origin), asked)| origin.said[index].as_ref().filter(|_| *asked).map(Said::prediction));
            Replay { model: model.name().to_owned(), said: said.collect(), asked }
        });
        // Who had nothing to say the last time it was asked is no floor and gets no share: it could not be published.
        let speaks = |replay: &Replay| {
            let last = replay.asked.iter().rposition(|asked| *asked);
            last.is_some_and(|last| replay.said[last].is_some())
        };
        let replays: Vec<Replay> = replays.filter(speaks).collect();
        if replays.is_empty() {
            return Err(ForecastError::NoModel("every model of the pool refused".to_owned()));
        }
        Ok(standings(&past, &replays))
    }

    /// Learns what has become due and forecasts from the newest history: every step.
    ///
    /// # Errors
    /// As for [`Contest::learn`].
    pub fn forecast(&mut self, history: &Series) -> Result<Forecast, ForecastError> {
        let grid = prepare(&self.on_clocks(history), &self.options)?;
        let at_most = if self.inherited && self.champion.is_some() { AT_ONCE } else { usize::MAX };
        self.learn_from(&grid, at_most)?;
        let champion =
            self.champion.take().ok_or_else(|| ForecastError::NoModel("no model was judged yet".to_owned()))?;
        let made = self.make(&grid, &champion);
        self.champion = Some(champion);
        Ok(self.off_clocks(made?, history))
    }

    fn make(&mut self, grid: &Grid, champion: &Champion) -> Result<Forecast, ForecastError> {
        let all = grid.all();
        let (levels, horizon) = (self.options.levels.len(), self.asked_steps);
        let step_seconds = self.options.step_seconds;
        let steps: Vec<usize> = (0..horizon).collect();
        let time = |step: &usize| all.end() + *step as i64 * i64::from(step_seconds);
        let wide: Vec<f64> = steps.iter().map(|step| restless_at(&champion.restless, time(step))).collect();
        let pool = self.pool.clone();
        let mut said = Vec::new();
        let mut responses = Vec::new();
        for member in &champion.members {
            let weights: [f64; 3] = std::array::from_fn(|band| member.weights.get(band).copied().unwrap_or(0.0));
            let found = pool.models().enumerate().find(|(_, model)| model.name() == member.model);
            let Some((index, model)) = found.filter(|_| weights.iter().any(|weight| *weight > 0.0)) else { continue };
            let Some(prediction) = self.ask(index, model, grid, all.len()) else { continue };
            if Said::keep(&prediction, &self.steps, horizon, levels).is_none() {
                continue;
            }
            if let Some(dressed) = dress(&prediction, &member.errors, &wide, levels, &steps, step_seconds) {
                responses.push((self.responses(index, grid), weights));
                said.push((dressed, weights, member.model.as_str()));
            }
        }
        if said.is_empty() {
            // A season that was found may be gone an hour later: the first of the others that speaks, the seasonal floor before all.
            let last_resort = champion.members.iter().find_map(|member| {
                let (index, model) = pool.models().enumerate().find(|(_, model)| model.name() == member.model)?;
                let prediction = self.ask(index, model, grid, all.len())?;
                Said::keep(&prediction, &self.steps, horizon, levels)?;
                let dressed = dress(&prediction, &member.errors, &wide, levels, &steps, step_seconds)?;
                Some((dressed, [1.0; 3], member.model.as_str()))
            });
            said.extend(last_resort);
        }
        let parts: Vec<_> = said.iter().map(|(paths, weights, _)| (paths, *weights)).collect();
        let mixture = mix(&parts, &self.options.levels, &steps, step_seconds)
            .ok_or_else(|| ForecastError::NoModel("every model with a share refused".to_owned()))?;
        let mut paths = mixture.widened(&champion.apart, &self.options.levels, &steps, step_seconds);
        conformal::apply(&mut paths, &champion.offsets, &self.options.levels, &steps, step_seconds);
        // Models stay near what was seen; offsets in widths of intervals that spikes made need not.
        let (low, high) =
            all.values.iter().fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(*value), high.max(*value)));
        let most = high + FURTHEST * (high - low).max(0.0);
        paths.iter_mut().flatten().for_each(|value| *value = value.min(most));
        if !tidy(&mut paths) {
            return Err(ForecastError::NoModel("the mixture is not finite".to_owned()));
        }
        let mut shares: Vec<(f64, &str)> = said.iter().map(|(_, weights, name)| (weights[0], *name)).collect();
        shares.sort_by(|a, b| b.0.total_cmp(&a.0));
        shares.truncate(shares.iter().filter(|(share, _)| *share >= 0.005).count().max(1));
        let model = match shares.as_slice() {
            [(_, only)] => (*only).to_owned(),
            many => many
                .iter()
                .map(|(share, name)| format!("{name} {:.0} %", share * 100.0))
                .collect::<Vec<_>>()
                .join(" + "),
        };
        let trust = trust::score(&all, &paths, champion, &self.options);
        Ok(Forecast {
            start: all.end(),
            step_seconds,
            levels: self.options.levels.clone(),
            paths,
            model,
            trained_at: champion.trained_at,
            trust,
            coverage: champion.coverage.clone(),
            history_seconds: all.observed_seconds(),
            windows: champion.windows.clone(),
            learned: Learned::mix(&responses),
        })
    }
}

/// No quantile lies further above the largest load seen than so many times the range seen.
const FURTHEST: f64 = 3.0;

/// Origins that one forecast replays at most while an inherited champion can still speak.
const AT_ONCE: usize = 8;

/// The mean of the load before an origin.
fn before(known: &History<'_>) -> f64 {
    let recent = known.last(known.steps(COMPARED_SECONDS)).values;
    recent.iter().sum::<f64>() / recent.len().max(1) as f64
}

fn fits_to(champion: &Champion, options: &Options) -> Result<(), ForecastError> {
    if champion.step_seconds != options.step_seconds || champion.levels != options.levels {
        return Err(ForecastError::Options("the champion was selected for another step or other levels".to_owned()));
    }
    Ok(())
}

/// Replays the past and learns what each model has earned, from nothing. Dear: a [`Contest`] does it step by step.
///
/// # Errors
/// As for [`Contest::new`] and [`Contest::learn`].
pub fn select(history: &Series, options: &Options) -> Result<Champion, ForecastError> {
    select_from(&Pool::default(), history, options)
}

/// As [`select`], with the models of this pool.
///
/// # Errors
/// As for [`select`].
pub fn select_from(pool: &Pool, history: &Series, options: &Options) -> Result<Champion, ForecastError> {
    let mut contest = Contest::new(pool, options)?;
    contest.learn(history, usize::MAX)?;
    contest.champion.ok_or_else(|| ForecastError::NoModel("no model was judged".to_owned()))
}

/// Forecasts from the newest history with what a selection found out; only models with a share are fitted.
///
/// # Errors
/// As for [`select`], and when the champion was made for other levels or another step.
pub fn forecast(history: &Series, champion: &Champion, options: &Options) -> Result<Forecast, ForecastError> {
    forecast_from(&Pool::default(), history, champion, options)
}

/// As [`forecast`], with the models of this pool.
///
/// # Errors
/// As for [`forecast`].
pub fn forecast_from(
    pool: &Pool,
    history: &Series,
    champion: &Champion,
    options: &Options,
) -> Result<Forecast, ForecastError> {
    fits_to(champion, options)?;
    let mut contest = Contest::new(pool, options)?;
    let grid = prepare(&contest.on_clocks(history), options)?;
    let made = contest.make(&grid, champion)?;
    Ok(contest.off_clocks(made, history))
}
