//! A network takes part in the pool, as a challenger like every other model.
//!
//! - A grid whose step divides the network's is folded backwards from the origin by means; the answer is interpolated between the middles
//!   of the network's steps. A grid whose step is a multiple is repeated, and the answer averaged. Any other is refused.
//! - A horizon longer than the network's is refused: its quantiles would have to be made up.
//! - Levels the network does not answer with are interpolated on the scale of the normal distribution, and beyond its outermost two extended along them.

use std::path::Path;
use std::sync::Arc;

use forecast::Announced;
use forecast::events::Response;
use forecast::history::{DAY, Happened, History, WEEK};
use forecast::model::{FitError, Fitted, Model, Prediction};

use crate::check::Refusal;
use crate::contract::{Expected, LARGEST_SHARE, LIMIT, Window};
use crate::manifest::{self, Manifest};
use crate::served::Served;

/// The name in the pool.
pub const NAME: &str = "network";
/// The word for the network that ships, where a file would be named.
pub const SHIPPED: &str = "shipped";
/// More events than this, and it is asked of the newest.
const MOST_EVENTS: usize = 16;
/// What an event adds, in scaled units, is shown no larger: far enough from where inputs are cut off.
const SHOWN: f64 = 0.5 * LIMIT as f64;
/// The level whose distance from the median says how sure it is of an event.
const UPPER: f64 = 0.9;
/// So much must have been seen before it says anything.
const LEAST_SECONDS: u64 = DAY / 2;

/// A loaded network; cheap to clone.
#[derive(Debug, Clone)]
pub struct Network {
    served: Arc<Served>,
    manifest: Arc<Manifest>,
}

impl Network {
    /// From the bytes of an ONNX file and its manifest.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(onnx: &[u8], manifest: Manifest) -> Result<Self, Refusal> {
        let served = Served::load(onnx, &manifest)?;
        Ok(Self { served: Arc::new(served), manifest: Arc::new(manifest) })
    }

    /// From an ONNX file with its manifest beside it; [`SHIPPED`] in place of a path is the network that ships.
    ///
    /// # Errors
    /// Names the file, and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, Refusal> {
        if path == Path::new(SHIPPED) {
            return Self::shipped();
        }
        let (onnx, read) = manifest::read(path)?;
        Self::new(&onnx, read).map_err(|Refusal(problem)| Refusal(format!("{}: {problem}", path.display())))
    }

    /// The one that ships, for the cold start: trained on load that was made up (`foreshadow train --generated`, docs/models.md).
    ///
    /// # Errors
    /// Never, unless the program was built from damaged files; a test loads it.
    pub fn shipped() -> Result<Self, Refusal> {
        let read = serde_json::from_slice(include_bytes!("../shipped/network.json"));
        Self::new(include_bytes!("../shipped/network.onnx"), read.map_err(|error| Refusal(error.to_string()))?)
    }

    /// What is said of it.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The answers to windows, as [`Served::ask`] gives them.
    ///
    /// # Errors
    /// As for [`Served::ask`].
    pub fn ask(&self, windows: &[&[f32]]) -> Result<Vec<Vec<f32>>, Refusal> {
        self.served.ask(windows)
    }
}

impl Model for Network {
    fn name(&self) -> &str {
        NAME
    }

    fn fit(&self, history: &History<'_>, horizon: usize) -> Result<Box<dyn Fitted>, FitError> {
        let contract = self.served.contract();
        let (own, step) = (contract.step_seconds, history.step_seconds.max(1));
        if !own.is_multiple_of(step) && !step.is_multiple_of(own) {
            return Err(FitError::Unsuitable(format!(
                "steps of {step} s: the network's are {own} s, neither divides the other"
            )));
        }
        let (asked, most) = (horizon as u64 * u64::from(step), contract.horizon as u64 * u64::from(own));
        if asked > most {
            return Err(FitError::Unsuitable(format!("a horizon of {asked} s: the network's is {most} s")));
        }
        let need = history.steps(LEAST_SECONDS);
        if history.len() < need {
            return Err(FitError::TooShort { need, have: history.len() });
        }
        Ok(Box::new(Asked { served: self.served.clone() }))
    }
}

#[derive(Debug)]
struct Asked {
    served: Arc<Served>,
}

impl Asked {
    /// What a window can show, and no more (older steps would only be copied), at the network's step.
    fn shown(&self, history: &History<'_>) -> Regridded {
        let contract = self.served.contract();
        let shown = (contract.window + contract.horizon) as u64 * u64::from(contract.step_seconds) + 2 * WEEK;
        Regridded::new(&history.last(history.steps(shown)), contract.step_seconds)
    }

    /// `[step][level]`: the loads of an answer, in order.
    fn loads(&self, window: &Window, answer: &[f32]) -> Vec<Vec<f64>> {
        let row = |row: &[f32]| {
            let load = |value: &f32| (window.centre + window.scale * f64::from(*value)).max(0.0);
            let mut row: Vec<f64> = row.iter().map(load).collect();
            row.sort_by(f64::total_cmp);
            row
        };
        answer.chunks_exact(self.served.contract().levels.len()).map(row).collect()
    }

    /// What the network says of an event that is ahead: asked with it and without it, from the same history.
    ///
    /// It is shown where it would take place next if it did at the same time of day as the last time. A factor so high that what it adds
    /// would be cut off is shown lower: the share is asked for, not the load.
    fn response(
        &self,
        history: &History<'_>,
        shown: &Regridded,
        calm: (&Window, &[Vec<f64>]),
        event: i64,
    ) -> Option<Response> {
        let contract = self.served.contract();
        let (window, without) = calm;
        let last = history.times(event).pop()?;
        let factor =
            history.happened[last.clone()].iter().flatten().map(|one| one.announced.factor).fold(1.0, f64::max);
        let expected = Expected::of(history, event, factor)?;
        let (from, own) = (i64::from(history.step_seconds), i64::from(contract.step_seconds));
        let starts = history.start + last.start as i64 * from;
        let place = usize::try_from((starts - history.end()).rem_euclid(DAY as i64) / own).unwrap_or_default();
        let place = if place < contract.horizon { place } else { 0 };
        let length = (last.len() as u64 * u64::from(history.step_seconds)).div_ceil(u64::from(contract.step_seconds));
        let steps = place..contract.horizon.min(place + length as usize);
        let base = |step: usize| window.without.get(step).copied().flatten().unwrap_or_default();
        let highest = steps.clone().map(base).fold(0.0, f64::max) * expected.share.max(1.0) / window.scale;
        let rise = (factor - 1.0).min(SHOWN / highest.max(f64::MIN_POSITIVE));
        let announced = rise * steps.clone().map(base).sum::<f64>();
        let ahead: Vec<_> = (0..steps.end)
            .map(|step| (step >= steps.start).then_some(Expected { factor: 1.0 + rise, ..expected }))
            .collect();
        let asked = contract.window_with(&shown.history(), &ahead)?;
        let with = self.loads(&asked, &self.served.ask(&[&asked.inputs]).ok()?.concat());
        // Sums over the event's steps: without it, and what it adds.
        let sums = |level: f64| {
            let between = Between::new(&contract.levels, level);
            let sum = |rows: &[Vec<f64>]| rows[steps.clone()].iter().map(|row| between.of(row).max(0.0)).sum::<f64>();
            let calm = sum(without);
            (calm, sum(&with) - calm)
        };
        let ((middle, adds), (upper, adds_upper)) = (sums(0.5), sums(UPPER));
        let share = (adds / announced).clamp(0.0, LARGEST_SHARE);
        // The path it is put onto is higher at that level: the factor is smaller, for the same load.
        let at_upper = adds_upper / announced * (middle / upper);
        let deviation = ((at_upper - share) / normal_quantile(UPPER)).clamp(0.0, LARGEST_SHARE);
        (share.is_finite() && deviation.is_finite()).then_some(Response { event, share, deviation })
    }
}

impl Fitted for Asked {
    fn predict(&self, history: &History<'_>, horizon: usize, levels: &[f64]) -> Result<Prediction, FitError> {
        let contract = self.served.contract();
        let failed = |problem: String| FitError::Failed(problem);
        let regridded = self.shown(history);
        let window =
            contract.window(&regridded.history()).ok_or_else(|| failed("the window is not finite".to_owned()))?;
        let answer = self.served.ask(&[&window.inputs]).map_err(|Refusal(problem)| failed(problem))?;
        let rows = self.loads(&window, &answer.concat());
        let place = |level: f64| Between::new(&contract.levels, level);
        let paths = levels.iter().map(|level| {
            let between = place(*level);
            let own: Vec<f64> = rows.iter().map(|row| between.of(row).max(0.0)).collect();
            regridded.back(&own, horizon)
        });
        Ok(Prediction::Quantiles(paths.collect()))
    }

    fn responses(&self, history: &History<'_>) -> Vec<Response> {
        let contract = self.served.contract();
        let events = if contract.takes_events() { history.events(MOST_EVENTS) } else { Vec::new() };
        if events.is_empty() {
            return Vec::new();
        }
        let shown = self.shown(history);
        let Some(window) = contract.window(&shown.history()) else { return Vec::new() };
        let Ok(answer) = self.served.ask(&[&window.inputs]) else { return Vec::new() };
        let calm = self.loads(&window, &answer.concat());
        events.into_iter().filter_map(|event| self.response(history, &shown, (&window, &calm), event)).collect()
    }
}

/// A history at the step of a network.
#[derive(Debug)]
struct Regridded {
    start: i64,
    step_seconds: u32,
    /// The grid's own step.
    from_seconds: u32,
    values: Vec<f64>,
    observed: Vec<bool>,
    saturated: Vec<bool>,
    set_aside: Vec<bool>,
    happened: Vec<Option<Happened>>,
}

impl Regridded {
    fn new(history: &History<'_>, step_seconds: u32) -> Self {
        let from_seconds = history.step_seconds.max(1);
        let mut made = Self {
            start: history.start,
            step_seconds,
            from_seconds,
            values: Vec::new(),
            observed: Vec::new(),
            saturated: Vec::new(),
            set_aside: Vec::new(),
            happened: Vec::new(),
        };
        if from_seconds >= step_seconds {
            let times = (from_seconds / step_seconds) as usize;
            let repeat = |marks: &[bool]| marks.iter().flat_map(|mark| std::iter::repeat_n(*mark, times)).collect();
            made.values = history.values.iter().flat_map(|value| std::iter::repeat_n(*value, times)).collect();
            made.observed = repeat(history.observed);
            made.saturated = repeat(history.saturated);
            made.set_aside = repeat(history.set_aside);
            made.happened = history.happened.iter().flat_map(|one| std::iter::repeat_n(*one, times)).collect();
        } else {
            let each = (step_seconds / from_seconds) as usize;
            // Whole steps that end at the origin.
            let skipped = history.len() % each;
            made.start += skipped as i64 * i64::from(from_seconds);
            let most = |marks: &[bool]| {
                marks[skipped..]
                    .chunks_exact(each)
                    .map(|part| 2 * part.iter().filter(|mark| **mark).count() >= each)
                    .collect()
            };
            let any = |marks: &[bool]| marks[skipped..].chunks_exact(each).map(|part| part.contains(&true)).collect();
            made.values = history.values[skipped..]
                .chunks_exact(each)
                .map(|part| part.iter().sum::<f64>() / each as f64)
                .collect();
            made.observed = most(history.observed);
            made.saturated = any(history.saturated);
            made.set_aside = any(history.set_aside);
            made.happened =
                history.happened.get(skipped..).unwrap_or_default().chunks_exact(each).map(together).collect();
        }
        made
    }

    fn history(&self) -> History<'_> {
        History {
            start: self.start,
            step_seconds: self.step_seconds,
            values: &self.values,
            observed: &self.observed,
            saturated: &self.saturated,
            set_aside: &self.set_aside,
            happened: &self.happened,
        }
    }

    /// A path at the network's steps as one at the grid's.
    fn back(&self, path: &[f64], horizon: usize) -> Vec<f64> {
        if self.from_seconds >= self.step_seconds {
            let times = (self.from_seconds / self.step_seconds) as usize;
            return path.chunks(times).take(horizon).map(|part| part.iter().sum::<f64>() / part.len() as f64).collect();
        }
        let each = f64::from(self.step_seconds) / f64::from(self.from_seconds);
        let at = |step: usize| {
            // In steps of the network, from the middle of its first.
            let place = (((step as f64 + 0.5) / each) - 0.5).clamp(0.0, (path.len() - 1) as f64);
            let (left, share) = (place as usize, place.fract());
            let right = (left + 1).min(path.len() - 1);
            path[left] * (1.0 - share) + path[right] * share
        };
        (0..horizon).map(at).collect()
    }
}

/// Steps that are folded into one: an event's where all of them are.
fn together(part: &[Option<Happened>]) -> Option<Happened> {
    let first = part.first().copied().flatten()?;
    let of_one = |one: &Option<Happened>| one.is_some_and(|one| one.announced.event == first.announced.event);
    let all = part.iter().all(of_one).then(|| part.iter().flatten());
    let factor = all.clone()?.map(|one| one.announced.factor).fold(1.0, f64::max);
    let measured = all?.map(|one| one.measured).sum::<f64>() / part.len() as f64;
    Some(Happened { announced: Announced { factor, ..first.announced }, measured })
}

/// Where a level lies between those a network answers with.
#[derive(Debug)]
struct Between {
    left: usize,
    right: usize,
    share: f64,
}

impl Between {
    fn new(levels: &[f64], wanted: f64) -> Self {
        let last = levels.len() - 1;
        let right = levels.iter().position(|level| *level >= wanted).unwrap_or(last).clamp(last.min(1), last);
        let left = right.saturating_sub(1);
        let (from, to) = (normal_quantile(levels[left]), normal_quantile(levels[right]));
        let share = if to > from { (normal_quantile(wanted) - from) / (to - from) } else { 0.0 };
        Self { left, right, share }
    }

    fn of(&self, row: &[f64]) -> f64 {
        row[self.left] + self.share * (row[self.right] - row[self.left])
    }
}

/// The quantile of the standard normal distribution; Acklam's rational approximation, within 1.2e-9 of itself.
pub(crate) fn normal_quantile(level: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] =
        [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416];
    let polynomial = |terms: &[f64], at: f64| terms.iter().fold(0.0, |sum, term| sum * at + term);
    let level = level.clamp(1e-9, 1.0 - 1e-9);
    let tail = |level: f64| {
        let at = (-2.0 * level.ln()).sqrt();
        polynomial(&C, at) / (polynomial(&D, at) * at + 1.0)
    };
    if level < 0.024_25 {
        tail(level)
    } else if level > 1.0 - 0.024_25 {
        -tail(1.0 - level)
    } else {
        let at = level - 0.5;
        let square = at * at;
        polynomial(&A, square) * at / (polynomial(&B, square) * square + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use forecast::Series;
    use forecast::history::Grid;

    use super::*;
    use crate::contract::Contract;
    use crate::lstm::{Batch, Known, Pass, Shape};
    use crate::manifest::{Golden, format_of, hash};

    const LEVELS: [f64; 3] = [0.1, 0.5, 0.9];

    /// A network that has learned nothing: half yesterday and half last week, with levels apart; events are what they were.
    fn untrained() -> Network {
        untrained_of(Contract::default())
    }

    fn untrained_of(contract: Contract) -> Network {
        let contract = Contract { window: 192, horizon: 96, levels: LEVELS.to_vec(), ..contract };
        let shape = Shape::new(contract.clone(), 3).unwrap();
        let parameters = shape.initial(1);
        let onnx = crate::onnx::write(&shape, &parameters);
        let input: Vec<f32> = (0..contract.inputs()).map(|at| (at % 5) as f32 / 5.0).collect();
        let batch = Batch { rows: 1, inputs: input.clone(), actual: vec![0.0; 96], known: vec![Known::Nothing; 96] };
        let output = Pass::default().forward(&shape, &parameters, &batch).to_vec();
        let golden = vec![Golden { input, output }];
        let made_by = "a test".to_owned();
        let manifest = Manifest {
            format: format_of(&contract),
            made_by,
            contract,
            trained: None,
            scores: None,
            sha256: hash(&onnx),
            golden,
        };
        Network::new(&onnx, manifest).unwrap()
    }

    fn grid(step: u32, days: usize, load: impl Fn(f64) -> f64) -> Grid {
        let count = days * 86_400 / step as usize;
        let value = |at: usize| Some(load((at as f64 + 0.5) * f64::from(step) / 86_400.0));
        Grid::new(&Series::new(0, step, (0..count).map(value).collect()), u64::MAX).unwrap()
    }

    fn shape(day: f64) -> f64 {
        100.0 + 50.0 * (day * std::f64::consts::TAU).sin()
    }

    fn ask(network: &Network, grid: &Grid, horizon: usize, levels: &[f64]) -> Vec<Vec<f64>> {
        let said = network.fit(&grid.all(), horizon).unwrap().predict(&grid.all(), horizon, levels).unwrap();
        let Prediction::Quantiles(paths) = said else { panic!("quantiles") };
        paths
    }

    #[test]
    fn the_network_that_ships_is_small_sound_and_better_than_seasonal_naive_on_load_it_has_not_seen() {
        assert!(
            include_bytes!("../shipped/network.onnx").len() + include_bytes!("../shipped/network.json").len() < 400_000
        );
        let network = Network::read(Path::new(SHIPPED)).unwrap();
        assert_eq!(network.manifest().trained.as_ref().map(|trained| trained.on.as_str()), Some("generated"));
        // Series of another seed than it was trained on, five weeks each; the last day is forecast.
        let (mut own, mut naive) = (0.0, 0.0);
        for index in 0..24 {
            let series = crate::load::series(977, index);
            let grid = Grid::new(&series, u64::MAX).unwrap();
            let (all, known) = (grid.all(), grid.all().len() - 96);
            let known = all.first(known);
            let said = network.fit(&known, 96).unwrap().predict(&known, 96, &LEVELS).unwrap();
            let Prediction::Quantiles(paths) = said else { panic!("quantiles") };
            let actual = &all.values[known.len()..];
            let size = known.values.iter().sum::<f64>() / known.len() as f64;
            for at in 0..96 {
                own += (paths[1][at] - actual[at]).abs() / size;
                naive += (known.values[known.len() - 96 + at] - actual[at]).abs() / size;
            }
        }
        assert!(own < 0.9 * naive, "{own} {naive}");
    }

    /// Fifteen days with two hours of a sale each day from the second on, announced as twice the load, that added `share` of it.
    fn with_sales(step: u32, share: f64) -> Grid {
        let (day, hour) = ((DAY / u64::from(step)) as usize, 3_600 / step as usize);
        let sold = |at: usize| at >= day && (9 * hour..11 * hour).contains(&(at % day));
        let load = |at: usize| shape((at as f64 + 0.5) / day as f64);
        let value = |at: usize| Some(load(at) * if sold(at) { 1.0 + share } else { 1.0 });
        let mut series = Series::new(0, step, (0..15 * day).map(value).collect());
        series.set_aside = (0..15 * day).map(sold).collect();
        let announced = Announced { event: 8, factor: 2.0 };
        series.announced = (0..15 * day).map(|at| sold(at).then_some(announced)).collect();
        Grid::new(&series, u64::MAX).unwrap()
    }

    #[test]
    fn what_an_event_came_to_is_said_beside_the_paths_and_never_in_them() {
        let network = untrained();
        for step in [300, 900, 1_800, 3_600] {
            let plain = ask(&network, &grid(step, 15, shape), (DAY / u64::from(step)) as usize, &LEVELS);
            for share in [0.0, 0.5, 1.0, 4.0] {
                let sales = with_sales(step, share);
                let fitted = network.fit(&sales.all(), 4).unwrap();
                let said = fitted.responses(&sales.all());
                assert!(said.len() == 1 && said[0].event == 8, "{said:?}");
                assert!((said[0].share - share).abs() < 0.08 * (1.0 + share), "{step}, {share}: {said:?}");
                assert!(said[0].deviation < 0.2 * (1.0 + share), "{said:?}");
                let own = ask(&network, &sales, plain[0].len(), &LEVELS);
                for (own, plain) in own.iter().flatten().zip(plain.iter().flatten()) {
                    assert!((own / plain - 1.0).abs() < 0.1, "the sale is not in the path: {own} {plain}");
                }
            }
            let calm = grid(step, 15, shape);
            assert!(network.fit(&calm.all(), 4).unwrap().responses(&calm.all()).is_empty());
        }
    }

    #[test]
    fn a_network_of_the_first_version_says_nothing_of_events() {
        let network = untrained_of(Contract::without_events());
        assert_eq!(network.manifest().format, crate::manifest::FORMATS[0]);
        let sales = with_sales(900, 0.5);
        assert!(network.fit(&sales.all(), 4).unwrap().responses(&sales.all()).is_empty());
    }

    #[test]
    fn the_shape_of_a_day_comes_back_on_finer_equal_and_coarser_grids() {
        let network = untrained();
        for (step, days) in [(300, 15), (900, 15), (1_800, 15), (3_600, 15)] {
            let grid = grid(step, days, shape);
            let horizon = 86_400 / step as usize;
            let paths = ask(&network, &grid, horizon, &LEVELS);
            assert!(paths.iter().all(|path| path.len() == horizon));
            let miss =
                (0..horizon).map(|at| (paths[1][at] - shape((at as f64 + 0.5) * f64::from(step) / 86_400.0)).abs());
            // Untrained corrections are small, not nothing.
            let mean = miss.sum::<f64>() / horizon as f64;
            assert!(mean < 6.0, "{step}: {mean}");
            assert!((0..horizon).all(|at| paths[0][at] < paths[1][at] && paths[1][at] < paths[2][at]));
        }
    }

    #[test]
    fn twice_the_load_is_twice_the_forecast_and_silence_is_none() {
        let network = untrained();
        let (once, twice) = (grid(900, 9, shape), grid(900, 9, |day| 2.0 * shape(day)));
        let (once, twice) = (ask(&network, &once, 96, &LEVELS), ask(&network, &twice, 96, &LEVELS));
        for (once, twice) in once.iter().flatten().zip(twice.iter().flatten()) {
            assert!((2.0 * once - twice).abs() < 1e-6 * twice, "{once} {twice}");
        }
        for load in [0.0, 7.0, 1e99] {
            let constant = grid(900, 3, |_| load);
            let paths = ask(&network, &constant, 96, &LEVELS);
            assert!(
                paths.iter().flatten().all(|value| value.is_finite() && *value >= 0.0 && *value <= 1.2 * load + 1e-6)
            );
        }
    }

    #[test]
    fn steps_horizons_and_histories_it_was_not_made_for_are_refused_with_a_reason() {
        let network = untrained();
        let refused = |grid: &Grid, horizon| network.fit(&grid.all(), horizon).unwrap_err().to_string();
        assert!(refused(&grid(1_200, 9, shape), 10).contains("steps of 1200 s: the network's are 900 s"));
        assert!(refused(&grid(900, 9, shape), 97).contains("horizon of 87300 s: the network's is 86400 s"));
        assert!(refused(&grid(3_600, 9, shape), 25).contains("horizon of 90000 s"));
        let young = grid(900, 1, shape);
        let early = network.fit(&young.first(40), 96).unwrap_err();
        assert_eq!(early, FitError::TooShort { need: 48, have: 40 });
    }

    #[test]
    fn levels_in_between_and_beyond_keep_their_order() {
        let network = untrained();
        let levels = [0.01, 0.1, 0.3, 0.5, 0.9, 0.975, 0.99];
        let paths = ask(&network, &grid(900, 9, shape), 96, &levels);
        assert!((0..96).all(|at| paths.windows(2).all(|pair| pair[0][at] < pair[1][at])));
        let row = [0.0, 1.0, 2.0];
        let at = |level| Between::new(&LEVELS, level).of(&row);
        assert!((at(0.1) - 0.0).abs() < 1e-12 && (at(0.5) - 1.0).abs() < 1e-12 && (at(0.9) - 2.0).abs() < 1e-12);
        assert!((at(0.975) - (1.0 + 1.959_964 / 1.281_552)).abs() < 1e-4, "{}", at(0.975));
        assert_eq!(Between::new(&[0.5], 0.9).of(&[3.0]), 3.0);
        assert!((normal_quantile(0.975) - 1.959_963_985).abs() < 1e-7 && normal_quantile(0.5).abs() < 1e-12);
        assert!((normal_quantile(0.001) + 3.090_232_306).abs() < 1e-7);
    }

    #[test]
    fn its_loss_is_the_pools_to_judge_and_no_wild_value_moves_it_without_bound() {
        let network = untrained();
        let mut wild: Vec<Option<f64>> = (0..15 * 96).map(|at| Some(shape(at as f64 / 96.0))).collect();
        wild[15 * 96 - 30] = Some(1e12);
        let grid = Grid::new(&Series::new(0, 900, wild), u64::MAX).unwrap();
        let paths = ask(&network, &grid, 96, &LEVELS);
        assert!(paths.iter().flatten().all(|value| *value < 1_000.0));
        let pool = forecast::Pool::default().with(std::sync::Arc::new(network));
        assert_eq!(pool.names().last(), Some(NAME));
    }
}
