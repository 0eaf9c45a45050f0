//! Events as inputs of the network: what they are worth on made-up load, that they count once, and that networks without them go on as before.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use forecast::events::{Learned, Occurrence, ordinary, raise};
use forecast::history::Grid;
use forecast::model::{Model as _, Prediction};
use forecast::{Announced, Forecast, Options, Pool, Series, Trust, forecast_from, select_from};
use neural::dataset::{Dataset, HoldOut};
use neural::load::{self, STEP_SECONDS};
use neural::lstm::{Batch, Known, Pass, Shape};
use neural::manifest::{Golden, hash};
use neural::model::SHIPPED;
use neural::{Contract, Manifest, Network};

const DAY: usize = 96;
const LEVELS: [f64; 5] = [0.05, 0.1, 0.5, 0.9, 0.95];

/// A forecast of the day after the first `known` steps, with what the network says of events.
fn asked(network: &Network, grid: &Grid, known: usize) -> Forecast {
    let history = grid.first(known);
    let fitted = network.fit(&history, DAY).unwrap();
    let Ok(Prediction::Quantiles(paths)) = fitted.predict(&history, DAY, &LEVELS) else { panic!("quantiles") };
    let learned = fitted.responses(&history).into_iter().map(|said| Learned {
        event: said.event,
        shares: [said.share; 3],
        deviations: [said.deviation; 3],
    });
    Forecast {
        start: history.end(),
        step_seconds: STEP_SECONDS,
        levels: LEVELS.to_vec(),
        paths,
        model: "network".into(),
        trained_at: history.end(),
        trust: Trust::default(),
        coverage: Vec::new(),
        history_seconds: 0,
        windows: Vec::new(),
        learned: learned.collect(),
    }
}

/// What was announced for some steps of a series.
fn announced(series: &Series, steps: Range<usize>) -> Vec<Occurrence> {
    let at = |step: usize| series.start + i64::from(STEP_SECONDS) * step as i64;
    let of = |step: usize| {
        let announced = series.announced(step)?;
        let (starts, ends, name) = (at(step), at(step + 1), "event".into());
        let intensity = announced.factor;
        Some(Occurrence { event: announced.event, name, rises: starts, starts, ends, intensity, deleted: false })
    };
    steps.filter_map(of).collect()
}

/// Mean pinball loss over levels of some steps of a forecast.
fn pinball(made: &Forecast, series: &Series, known: usize, steps: &[usize]) -> f64 {
    let mut sum = 0.0;
    for step in steps {
        let came = series.value(known + step).unwrap_or_default();
        for (path, level) in made.paths.iter().zip(LEVELS) {
            let miss = came - path[*step];
            sum += (level * miss).max((level - 1.0) * miss);
        }
    }
    sum / (steps.len() * LEVELS.len()) as f64
}

#[test]
fn while_a_repeated_event_lasts_the_loss_with_its_features_is_lower_than_without() {
    let network = Network::read(Path::new(SHIPPED)).unwrap();
    // Of another seed than it was trained on.
    let (mut with, mut without, mut count, mut better) = (0.0, 0.0, 0, 0);
    for index in 0..240 {
        let series = load::with_events(977, index);
        let Some(grid) = Grid::new(&series, u64::MAX).filter(|_| !series.announced.is_empty()) else { continue };
        let lost = series.values.len() - grid.all().len();
        for origin in [21, 24, 28, 31].map(|day| day * DAY + 30) {
            let made = asked(&network, &grid, origin - lost);
            let events = announced(&series, origin..origin + DAY);
            let seen = |step: &usize| {
                let announced = series.announced(origin + step).filter(|_| series.value(origin + step).is_some());
                announced.is_some_and(|known| made.learned.iter().any(|learned| learned.event == known.event))
            };
            let steps: Vec<usize> = (0..DAY).filter(seen).collect();
            if steps.is_empty() {
                continue;
            }
            let typed = Forecast { learned: Vec::new(), ..made.clone() };
            let loss = |made: &Forecast| pinball(&raise(made, &events), &series, origin, &steps);
            // Each forecast counts the same, however much load the series has.
            let size = grid.first(origin - lost).values.iter().sum::<f64>() / (origin - lost) as f64;
            let (learned, typed) = (loss(&made) / size, loss(&typed) / size);
            (with, without, count) = (with + learned, without + typed, count + 1);
            better += usize::from(learned < typed);
        }
    }
    let (with, without) = (with / f64::from(count), without / f64::from(count));
    println!(
        "{count} forecasts of a day with a known event: {with:.4} with its features, {without:.4} as announced, better in {better}"
    );
    assert!(
        count > 150 && with < 0.9 * without && 5 * better > 3 * count as usize,
        "{count} {with} {without} {better}"
    );
}

/// Fifteen days with a sale of three hours every second day, announced as three times the load and really 1.6 times it; the next one is tomorrow.
fn repeated() -> (Series, Vec<Occurrence>) {
    let (day, quarter) = (86_400, i64::from(STEP_SECONDS));
    let sales: Vec<Occurrence> = (0..8)
        .map(|turn| {
            let starts = (2 * turn + 1) * day + 9 * 3_600;
            let (ends, name) = (starts + 3 * 3_600, "sale".into());
            Occurrence { event: 1, name, rises: starts, starts, ends, intensity: 3.0, deleted: false }
        })
        .collect();
    let load = |step: usize| {
        let at = quarter * step as i64;
        let sold = sales.iter().any(|sale| sale.overlaps(at, at + quarter));
        let own = 100.0 + 40.0 * (step as f64 / DAY as f64 * std::f64::consts::TAU).sin() + (step * 31 % 7) as f64;
        Some(own * if sold { 1.6 } else { 1.0 })
    };
    (ordinary(Series::new(0, STEP_SECONDS, (0..15 * DAY).map(load).collect()), &sales), sales)
}

/// The forecast of a network alone, and the medians of the raised one over it in the middle of tomorrow's sale.
fn alone(network: Network, series: &Series, sale: &Occurrence) -> (Forecast, f64) {
    let pool = Pool::default().with(Arc::new(network));
    let only = Some("network".to_owned());
    let options = Options { step_seconds: STEP_SECONDS, horizon_steps: DAY, only, ..Options::default() };
    let champion = select_from(&pool, series, &options).unwrap();
    let made = forecast_from(&pool, series, &champion, &options).unwrap();
    let at = sale.starts + 5_400;
    let raised = raise(&made, std::slice::from_ref(sale)).at(at, 0.5).unwrap() / made.at(at, 0.5).unwrap();
    (made, raised)
}

/// A network of the first version of the contract that has learned nothing.
fn first_version() -> Network {
    let shape = Shape::new(Contract::without_events(), 3).unwrap();
    let (contract, parameters) = (shape.contract.clone(), shape.initial(1));
    let onnx = neural::onnx::write(&shape, &parameters);
    let input: Vec<f32> = (0..contract.inputs()).map(|at| (at % 5) as f32 / 5.0).collect();
    let known = vec![Known::Nothing; contract.horizon];
    let batch = Batch { rows: 1, inputs: input.clone(), actual: vec![0.0; contract.horizon], known };
    let output = Pass::default().forward(&shape, &parameters, &batch).to_vec();
    let manifest = Manifest {
        format: "foreshadow network 1".to_owned(),
        made_by: "a test".to_owned(),
        sha256: hash(&onnx),
        trained: None,
        scores: None,
        golden: vec![Golden { input, output }],
        contract,
    };
    Network::new(&onnx, manifest).unwrap()
}

#[test]
fn a_repeated_event_is_forecast_as_it_came_and_counts_once() {
    let (series, sales) = repeated();
    let next = sales.last().unwrap();
    let (made, came) = alone(Network::shipped().unwrap(), &series, next);
    assert!((came / 1.6 - 1.0).abs() < 0.2, "1.6 came, {came} forecast: {:?}", made.learned);
    // The own path is that of a load without any sale.
    let at = next.starts + 5_400;
    let own = 100.0 + 40.0 * ((at % 86_400) as f64 / 86_400.0 * std::f64::consts::TAU).sin();
    assert!((made.at(at, 0.5).unwrap() / own - 1.0).abs() < 0.2, "{:?} {own}", made.at(at, 0.5));
    // An event that never was before is believed.
    let new = Occurrence { event: 2, ..next.clone() };
    let at = next.starts + 5_400;
    let believed = raise(&made, &[new]).at(at, 0.5).unwrap() / made.at(at, 0.5).unwrap();
    assert!((believed - 3.0).abs() < 1e-9, "{believed}");
}

#[test]
fn on_the_forecast_of_a_network_of_the_first_version_an_event_is_put_as_it_was_typed_in() {
    let (series, sales) = repeated();
    let (made, came) = alone(first_version(), &series, sales.last().unwrap());
    assert!(made.learned.is_empty() && (came - 3.0).abs() < 1e-9, "{came}: {:?}", made.learned);
}

#[test]
fn what_an_event_came_to_is_not_learned_from_where_it_is_cut_off() {
    let sold = |step: usize| step % DAY < 8 && step >= DAY;
    for (factor, learned) in [(1.1, true), (20.0, false)] {
        let load = |step: usize| 100.0 + (step % 3) as f64;
        let value = |step: usize| Some(load(step) * if sold(step) { factor } else { 1.0 });
        let mut series = Series::new(0, STEP_SECONDS, (0..10 * DAY).map(value).collect());
        series.set_aside = (0..10 * DAY).map(sold).collect();
        let announced = Announced { event: 1, factor };
        series.announced = (0..10 * DAY).map(|step| sold(step).then_some(announced)).collect();
        let mut data = Dataset::new(Contract::default());
        data.add(&series, HoldOut::Series);
        let (origins, mut made) = (data.epoch(1, 0, 1_000), 0);
        let batch = data.batch(&origins);
        for (known, actual) in batch.known.iter().zip(&batch.actual) {
            // No ordinary load of this series lies so far from the centre.
            made += usize::from(*known == Known::Value && *actual > 2.5);
        }
        assert!(origins.len() > 100 && (made > 0) == learned, "{factor}: {made} steps of {}", origins.len());
    }
}
