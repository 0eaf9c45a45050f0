//! What training and asking cost, in CPU time of this process: `cargo run --release -p neural --example cost`.

use std::ops::ControlFlow;

use neural::contract::{Contract, Feature};
use neural::dataset::Dataset;
use neural::lstm::Shape;
use neural::manifest::{Golden, Manifest, format_of, hash};
use neural::train::{Options, Trainer};

/// CPU seconds of this process, in hundredths.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn train() {
    use Feature::{DayAhead, DayCos, DaySin, Observed, Value, WeekAhead, WeekCos, WeekSin};
    let contract = Contract {
        features: vec![Value, Observed, DaySin, DayCos, WeekSin, WeekCos, DayAhead, WeekAhead],
        levels: vec![0.05, 0.1, 0.5, 0.9, 0.95],
        ..Contract::default()
    };
    let data = Dataset::generated(contract.clone(), 1, 8);
    let windows = 4_000;
    let mut trainer = Trainer::new(contract, Options { windows, epochs: 2, ..Options::default() }).expect("sizes");
    let (mut begun, mut learned) = (0.0, 0.0);
    trainer
        .run(&data, &mut |progress, _| {
            if progress.done == 64 {
                begun = cpu_seconds();
            }
            if progress.done == progress.of && !progress.epoch_ended {
                learned += cpu_seconds() - begun;
            }
            ControlFlow::Continue(())
        })
        .expect("training");
    let counted = 2 * (data.epoch(1, 0, windows).len() - 64);
    println!(
        "training, 192 x 8 -> 96 x 5, hidden 64, batch 64: {:.2} CPU-s per 1000 windows",
        learned / counted as f64 * 1_000.0
    );
}

fn ask(window: usize, events: bool) {
    use Feature::{DayAhead, DayCos, DaySin, EventAhead, EventBefore, Observed, Value, WeekAhead, WeekCos, WeekSin};
    let mut features = vec![Value, Observed, DaySin, DayCos, WeekSin, WeekCos, DayAhead, WeekAhead];
    if events {
        features.extend([EventAhead, EventBefore]);
    }
    let count = features.len();
    let contract = Contract { window, features, ..Contract::default() };
    let shape = Shape::new(contract.clone(), 64).expect("sizes");
    let parameters = shape.initial(1);
    let onnx = neural::onnx::write(&shape, &parameters);
    let input: Vec<f32> = (0..contract.inputs()).map(|at| (at % 17) as f32 / 9.0 - 1.0).collect();
    let batch = neural::lstm::Batch {
        rows: 1,
        inputs: input.clone(),
        actual: vec![0.0; contract.horizon],
        known: vec![neural::lstm::Known::Nothing; contract.horizon],
    };
    let output = neural::lstm::Pass::default().forward(&shape, &parameters, &batch).to_vec();
    let manifest = Manifest {
        format: format_of(&contract),
        made_by: "cost".to_owned(),
        contract,
        trained: None,
        scores: None,
        sha256: hash(&onnx),
        golden: vec![Golden { input: input.clone(), output }],
    };
    let before = cpu_seconds();
    let served = neural::served::Served::load(&onnx, &manifest).expect("a good file");
    println!("loading {} kB for batches of 1 and 64: {:.2} CPU-s", onnx.len() / 1_000, cpu_seconds() - before);
    for batch in [1_usize, 64] {
        let inputs: Vec<&[f32]> = std::iter::repeat_n(input.as_slice(), batch).collect();
        let rounds = 2_048 / batch;
        let before = cpu_seconds();
        for _ in 0..rounds {
            served.ask(&inputs).expect("an answer");
        }
        let each = (cpu_seconds() - before) / (rounds * batch) as f64;
        println!("asking, {window} x {count}, hidden 64, batch {batch}: {:.3} CPU-ms per series", each * 1_000.0);
    }
}

fn main() {
    train();
    ask(288, false);
    ask(288, true);
}
