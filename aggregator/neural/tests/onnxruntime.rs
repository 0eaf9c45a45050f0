//! Files written here are standard ONNX: the `onnx` checker and onnxruntime (PyPI, `tests/run` installs them) have the last word.

use std::path::Path;
use std::process::Command;

use neural::lstm::{Batch, Known, Pass, Shape};
use neural::manifest::{self, Golden, Manifest};
use neural::random::Random;
use neural::{Contract, Network};

/// Runs the oracle; the largest difference for each file.
fn differences(files: &[&Path]) -> Vec<f64> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join("target/tools/bin/python");
    assert!(python.exists(), "onnxruntime is not installed: bash tests/run installs it below target/tools");
    let run = Command::new(python).arg(root.join("tests/oracles/onnx_check.py")).args(files).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8_lossy(&run.stdout).lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn the_checker_passes_and_onnxruntime_and_tract_say_what_our_own_pass_says() {
    let directory = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    let (plain, events) = (Contract::without_events, Contract::default);
    let cases = [
        (plain(), 192, 96, 64, vec![0.05, 0.5, 0.95]),
        (plain(), 30, 7, 5, vec![0.5]),
        (events(), 192, 96, 64, vec![0.05, 0.5, 0.95]),
        (events(), 30, 7, 5, vec![0.5]),
    ];
    for (index, (contract, window, horizon, hidden, levels)) in cases.into_iter().enumerate() {
        let shape = Shape::new(Contract { window, horizon, levels, ..contract }, hidden).unwrap();
        let mut random = Random::new(index as u64, 0);
        let mut parameters = shape.initial(9);
        // Larger than any training makes them, so that every gate is used from end to end.
        parameters.iter_mut().for_each(|value| *value = 2.0 * *value + 0.05 * random.normal() as f32);
        let golden = (0..4).map(|_| {
            let input: Vec<f32> = (0..shape.contract.inputs()).map(|_| random.normal() as f32).collect();
            let known = vec![Known::Nothing; horizon];
            let batch = Batch { rows: 1, inputs: input.clone(), actual: vec![0.0; horizon], known };
            Golden { output: Pass::default().forward(&shape, &parameters, &batch).to_vec(), input }
        });
        let onnx = neural::onnx::write(&shape, &parameters);
        let made = Manifest {
            format: manifest::format_of(&shape.contract),
            made_by: "a test".to_owned(),
            contract: shape.contract.clone(),
            trained: None,
            scores: None,
            sha256: manifest::hash(&onnx),
            golden: golden.collect(),
        };
        let path = directory.path().join(format!("{index}.onnx"));
        manifest::write(&path, &onnx, &made).unwrap();
        let network = Network::read(&path).unwrap();
        for golden in &made.golden {
            let answer = network.ask(&[&golden.input]).unwrap().concat();
            let apart = answer.iter().zip(&golden.output).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-5, "tract: {apart:e}");
        }
        files.push(path);
    }
    let files: Vec<&Path> = files.iter().map(AsRef::as_ref).collect();
    let found = differences(&files);
    assert!(found.len() == 4 && found.iter().all(|apart| *apart < 1e-5), "{found:?}");
}
