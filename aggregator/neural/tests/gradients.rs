//! The network's gradients: against finite differences, and against an independent implementation that is differentiated
//! automatically (`tests/oracles/lstm.py`).

use neural::contract::Contract;
use neural::lstm::{Batch, Known, Pass, Shape};
use neural::random::Random;

fn shape(of: Contract, window: usize, horizon: usize, levels: &[f64], hidden: usize) -> Shape {
    Shape::new(Contract { window, horizon, levels: levels.to_vec(), ..of }, hidden).unwrap()
}

#[derive(serde::Deserialize)]
struct Oracle {
    window: usize,
    horizon: usize,
    hidden: usize,
    levels: Vec<f64>,
    rows: usize,
    parameters: Vec<f64>,
    inputs: Vec<f64>,
    actual: Vec<f64>,
    known: Vec<u8>,
    answers: Vec<f64>,
    loss: f64,
    gradient: Vec<f64>,
}

/// The oracle's inputs are by row, the network's by step.
fn by_step(oracle: &Oracle) -> Vec<f64> {
    let features = oracle.inputs.len() / oracle.rows / oracle.window;
    let mut inputs = Vec::new();
    for step in 0..oracle.window {
        for row in 0..oracle.rows {
            let at = (row * oracle.window + step) * features;
            inputs.extend(&oracle.inputs[at..at + features]);
        }
    }
    inputs
}

#[test]
fn answers_loss_and_gradients_are_those_of_the_oracle() {
    as_the_oracle(Contract::without_events(), include_str!("lstm.json"));
    as_the_oracle(Contract::default(), include_str!("lstm_events.json"));
}

fn as_the_oracle(contract: Contract, oracle: &str) {
    let oracle: Oracle = serde_json::from_str(oracle).unwrap();
    let shape = shape(contract, oracle.window, oracle.horizon, &oracle.levels, oracle.hidden);
    assert_eq!(shape.parameters(), oracle.parameters.len());
    let known = |value: &u8| [Known::Nothing, Known::Value, Known::AtLeast][*value as usize];
    let batch = Batch {
        rows: oracle.rows,
        inputs: by_step(&oracle),
        actual: oracle.actual.clone(),
        known: oracle.known.iter().map(known).collect(),
    };
    let mut pass = Pass::<f64>::default();
    let answers = pass.forward(&shape, &oracle.parameters, &batch);
    for (own, theirs) in answers.iter().zip(&oracle.answers) {
        assert!((own - theirs).abs() < 1e-12, "{own} {theirs}");
    }
    let mut gradient = vec![0.0; shape.parameters()];
    let (loss, count) = pass.backward(&shape, &oracle.parameters, &batch, &mut gradient);
    assert!((loss - oracle.loss).abs() < 1e-10 && count == 24, "{loss} {} {count}", oracle.loss);
    for (at, (own, theirs)) in gradient.iter().zip(&oracle.gradient).enumerate() {
        assert!((own - theirs).abs() < 1e-10 * (1.0 + theirs.abs()), "{at}: {own} {theirs}");
    }
    // The same in the 32 bits that are trained with.
    let single = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<_>>();
    let batch =
        Batch { rows: batch.rows, inputs: single(&batch.inputs), actual: single(&batch.actual), known: batch.known };
    let mut pass = Pass::<f32>::default();
    let mut gradient = vec![0.0; shape.parameters()];
    pass.forward(&shape, &single(&oracle.parameters), &batch);
    pass.backward(&shape, &single(&oracle.parameters), &batch, &mut gradient);
    for (at, (own, theirs)) in gradient.iter().zip(&oracle.gradient).enumerate() {
        assert!((f64::from(*own) - theirs).abs() < 2e-5 * (1.0 + theirs.abs()), "{at}: {own} {theirs}");
    }
}

#[test]
fn gradients_are_finite_differences() {
    for contract in [Contract::without_events(), Contract::default()] {
        as_finite_differences(&shape(contract, 12, 4, &[0.05, 0.5, 0.95], 5));
    }
}

fn as_finite_differences(shape: &Shape) {
    let mut random = Random::new(11, 0);
    let mut draw = |count: usize, wide: f64| (0..count).map(|_| wide * random.normal()).collect::<Vec<f64>>();
    let rows = 3;
    let features = shape.contract.features.len();
    let batch = Batch {
        rows,
        inputs: draw(rows * 12 * features, 1.0),
        actual: draw(rows * 4, 1.0),
        known: (0..rows * 4).map(|at| [Known::Value, Known::Value, Known::Nothing, Known::AtLeast][at % 4]).collect(),
    };
    let parameters = draw(shape.parameters(), 0.3);
    let mut pass = Pass::<f64>::default();
    let mut loss = |parameters: &[f64]| {
        let answers = pass.forward(shape, parameters, &batch).to_vec();
        neural::lstm::losses(shape, &answers, &batch).0
    };
    let numeric: Vec<f64> = (0..parameters.len())
        .map(|at| {
            let mut moved = parameters.clone();
            moved[at] += 1e-6;
            let above = loss(&moved);
            moved[at] -= 2e-6;
            (above - loss(&moved)) / 2e-6
        })
        .collect();
    let mut gradient = vec![0.0; parameters.len()];
    pass.forward(shape, &parameters, &batch);
    pass.backward(shape, &parameters, &batch, &mut gradient);
    let largest = numeric.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    for (at, (own, numeric)) in gradient.iter().zip(&numeric).enumerate() {
        assert!((own - numeric).abs() < 1e-6 * largest, "{at}: {own} {numeric}");
    }
    let shares = &gradient[shape.layout().offset.1 - shape.of_events()..shape.layout().offset.1];
    assert!(shares.iter().all(|value| value.abs() > 1e-9), "every share of an event is learned: {shares:?}");
    assert!(gradient.iter().filter(|value| value.abs() > 1e-9).count() > parameters.len() * 3 / 4);
}
