//! The loss of networks on the made-up load that is held out of the training of the one that ships, with and without events:
//! `cargo run --release -p neural --example held_out -- [NETWORK...]`. Networks of both versions of the contract are judged by the same windows.

use std::path::Path;

use forecast::Series;
use neural::dataset::{Dataset, HoldOut};
use neural::lstm::{Shape, losses};
use neural::model::SHIPPED;
use neural::{Network, load};

/// As `foreshadow train --generated --seed 1 --series 600`.
const SEED: u64 = 1;
const SERIES: usize = 600;

/// Mean pinball loss over levels and steps, in scaled units, and the number of windows.
fn loss(network: &Network, series: fn(u64, usize) -> Series) -> (f64, usize) {
    let contract = network.manifest().contract.clone();
    let shape = Shape::new(contract.clone(), 1).expect("sizes");
    let (window, features) = (contract.window, contract.features.len());
    let mut data = Dataset::new(contract);
    (0..SERIES).for_each(|index| {
        data.add(&series(SEED, index), HoldOut::Series);
    });
    let held = data.held();
    let (mut sum, mut count) = (0.0, 0);
    for origins in held.chunks(64) {
        let batch = data.batch(origins);
        let row = |row: usize| {
            let step = |step: usize| (step * batch.rows + row) * features;
            (0..window).flat_map(|at| batch.inputs[step(at)..step(at) + features].to_vec()).collect::<Vec<f32>>()
        };
        let rows: Vec<Vec<f32>> = (0..batch.rows).map(row).collect();
        let asked: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let answers = network.ask(&asked).expect("answers").concat();
        let (part, of) = losses(&shape, &answers, &batch);
        (sum, count) = (sum + part, count + of);
    }
    (sum / count as f64, held.len())
}

fn main() {
    let mut files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        files.push(SHIPPED.to_owned());
    }
    for file in files {
        let network = Network::read(Path::new(&file)).expect("a network that is served");
        let ((plain, windows), (events, _)) = (loss(&network, load::series), loss(&network, load::with_events));
        println!("{file}: {plain:.5} on {windows} windows without events, {events:.5} with events");
    }
}
