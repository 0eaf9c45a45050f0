//! The recipe in the documents shows a network the same windows as this program will: what it learns is what it is asked.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use forecast::history::{Grid, Happened};
use forecast::{Announced, Series};
use neural::Contract;
use neural::contract::Expected;
use serde::Deserialize;

#[derive(Deserialize)]
struct Made {
    contract: Contract,
    windows: Vec<Window>,
}

#[derive(Deserialize)]
struct Window {
    inputs: Vec<f32>,
    centre: f64,
    scale: f64,
}

#[test]
fn the_windows_of_the_recipe_are_those_of_the_contract() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join("target/tools/bin/python");
    assert!(python.exists(), "numpy is not installed: bash tests/run installs it below target/tools");
    // Eleven days from some Wednesday at three, the busiest hour first (nothing is wild then, which this program would cap), with gaps of one step, of half an hour and of half a day.
    let start = 1_700_017_200;
    let load = |at: usize| {
        let gap = at % 131 == 7 || (400..402).contains(&at) || (700..750).contains(&at);
        (!gap).then(|| 40.0 + 25.0 * (at as f64 / 96.0 * std::f64::consts::TAU).cos() + (at * 31 % 17) as f64)
    };
    let mut series = Series::new(start, 900, (0..11 * 96).map(load).collect());
    // One event each day from the third on at six for two hours, and one only on the fifth and the tenth; each time they come to something else.
    let factor = |at: usize| match (at / 96, at % 96) {
        (day, 24..32) if day >= 2 => Some((1, 2.0)),
        (4 | 9, 60..63) => Some((2, 1.5)),
        _ => None,
    };
    let events = (0..series.values.len()).map(|at| factor(at).map(|(event, factor)| Announced { event, factor }));
    series.announced = events.collect();
    series.set_aside = (0..series.values.len()).map(|at| factor(at).is_some()).collect();
    for (at, value) in series.values.iter_mut().enumerate() {
        let came = factor(at).map_or(1.0, |(_, factor)| 1.0 + (factor - 1.0) * (0.5 + 0.2 * (at / 96 % 5) as f64));
        *value = value.map(|value| value * came);
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("load.csv");
    let mut text = "timestamp,value\n".to_owned();
    for (at, value) in series.values.iter().enumerate().filter_map(|(at, value)| Some((at, (*value)?))) {
        writeln!(text, "{},{value}", start + 900 * at as i64).unwrap();
    }
    std::fs::write(&file, text).unwrap();
    let mut text = "event,starts,ends,intensity\n".to_owned();
    for (at, announced) in series.announced.iter().enumerate().filter_map(|(at, one)| Some((at, (*one)?))) {
        let starts = start + 900 * at as i64;
        writeln!(text, "{},{starts},{},{}", announced.event, starts + 900, announced.factor).unwrap();
    }
    std::fs::write(directory.path().join("load.events"), text).unwrap();
    let known = [60, 150, 300, 402, 720, 760, 1_000, 1_055];
    let run = Command::new(python)
        .arg(root.join("tests/oracles/recipe_windows.py"))
        .arg(&file)
        .args(known.map(|known| known.to_string()))
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let made: Made = serde_json::from_slice(&run.stdout).unwrap();
    made.contract.validate().unwrap();
    let grid = Grid::new(&series, u64::MAX).unwrap();
    assert_eq!(made.windows.len(), known.len());
    let mut shown = 0;
    for (known, made_by_it) in known.into_iter().zip(&made.windows) {
        let history = grid.first(known);
        let announced = |step: usize| grid.all().happened.get(known + step).copied().flatten();
        let expected = |step| {
            announced(step).and_then(|one: Happened| Expected::of(&history, one.announced.event, one.announced.factor))
        };
        let ahead: Vec<_> = (0..96).map(expected).collect();
        shown += ahead.iter().flatten().count();
        let own = made.contract.window_with(&history, &ahead).unwrap();
        let near = |own: f64, recipe: f64| (own - recipe).abs() < 1e-9;
        assert!(near(own.centre, made_by_it.centre), "{known}: {} {}", own.centre, made_by_it.centre);
        assert!(near(own.scale, made_by_it.scale), "{known}: {} {}", own.scale, made_by_it.scale);
        assert_eq!(own.inputs.len(), made_by_it.inputs.len());
        for (at, (own, recipe)) in own.inputs.iter().zip(&made_by_it.inputs).enumerate() {
            let feature = made.contract.features[at % made.contract.features.len()];
            assert!((own - recipe).abs() < 2e-6, "{known} known, {}: {own} {recipe}", feature.word());
        }
    }
    assert!(shown > 20, "{shown} steps with events ahead");
}
