//! A directory of histories: every policy over each, and the means, as tables for the documentation.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::command::{BacktestArguments, write_plan};
use super::compare::{self, Candidates, Kind};
use super::load::{Load, read_csv};
use super::{Setting, svg};
use crate::progress::Progress;

/// What one policy came to on one history: above target, above 90 %, unmet, over the oracle, changes a day.
type Row = [f64; 5];

/// Runs every history; `--plan DIR` gets a directory per setting of Foreshadow with a NAME.jsonl each.
///
/// # Errors
/// When a file cannot be read, understood or written.
pub fn run(arguments: &BacktestArguments, setting: &Setting, candidates: &Candidates) -> Result<()> {
    let loads = loads(arguments, setting)?;
    let bar = Progress::new("backtest", loads.iter().map(|(_, load)| compare::work(load, setting, candidates)).sum());
    let mut rows: BTreeMap<(Kind, String), Vec<Row>> = BTreeMap::new();
    let mut each = serde_json::Map::new();
    for (name, load) in &loads {
        let comparison = compare::compare(load, setting, candidates, &|done| bar.inc(done))?;
        for outcome in &comparison.outcomes {
            let score = &outcome.score;
            let row = [score.above_target, score.above_90, score.unmet, outcome.cost, score.changes_per_day];
            rows.entry((outcome.kind, outcome.name.clone())).or_default().push(row);
            if let Some(directory) = arguments.plan.as_ref().filter(|_| outcome.kind == Kind::Foreshadow) {
                let directory = directory.join(outcome.name.replace([' ', '%'], ""));
                std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
                write_plan(&directory.join(format!("{name}.jsonl")), load, outcome)?;
            }
        }
        each.insert(name.clone(), serde_json::to_value(&comparison)?);
        bar.println(&format!("{name}: done"));
    }
    bar.end();
    let target = svg::number(100.0 * setting.score_target);
    let count = loads.len();
    print(&format!("mean over {count}"), &target, &rows, mean);
    print("median", &target, &rows, median);
    if count > 2 {
        let hardest = hardest(&rows, count);
        let without = |rows: &[Row]| {
            mean(&rows.iter().enumerate().filter(|(at, _)| *at != hardest).map(|(_, row)| *row).collect::<Vec<_>>())
        };
        print(&format!("mean without {}", loads[hardest].0), &target, &rows, without);
        let half = |odd: usize| {
            move |rows: &[Row]| {
                mean(&rows.iter().enumerate().filter(|(at, _)| at % 2 == odd).map(|(_, row)| *row).collect::<Vec<_>>())
            }
        };
        print("mean of the first, third, … (tuned on)", &target, &rows, half(0));
        print("mean of the second, fourth, … (not tuned on)", &target, &rows, half(1));
    }
    if let Some(file) = &arguments.json {
        let whole = serde_json::json!({ "setting": setting, "candidates": candidates, "histories": each });
        std::fs::write(file, format!("{whole:#}\n")).with_context(|| format!("{}", file.display()))?;
    }
    Ok(())
}

/// The histories with their names.
pub(super) fn loads(arguments: &BacktestArguments, setting: &Setting) -> Result<Vec<(String, Load)>> {
    let files = files(arguments)?;
    let read = files.iter().map(|file| {
        let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let past = read_csv(file, setting)?;
        let setting = Setting { capacity: arguments.capacity_of(&past), ..setting.clone() };
        let load = Load::new(&past.rows, &setting).with_context(|| file.display().to_string())?;
        Ok((name, load))
    });
    read.collect()
}

fn files(arguments: &BacktestArguments) -> Result<Vec<PathBuf>> {
    let place = || arguments.history.display().to_string();
    if arguments.history.is_file() {
        return Ok(vec![arguments.history.clone()]);
    }
    if !arguments.traces.is_empty() {
        return Ok(arguments.traces.iter().map(|name| arguments.history.join(format!("{name}.csv"))).collect());
    }
    let entries = std::fs::read_dir(&arguments.history).with_context(place)?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "csv"));
    files.sort();
    if files.is_empty() {
        bail!("{} holds no .csv file", place());
    }
    Ok(files)
}

fn mean(rows: &[Row]) -> Row {
    std::array::from_fn(|column| rows.iter().map(|row| row[column]).sum::<f64>() / rows.len().max(1) as f64)
}

fn median(rows: &[Row]) -> Row {
    std::array::from_fn(|column| {
        let mut values: Vec<f64> = rows.iter().map(|row| row[column]).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    })
}

/// The history that weighs most in the unmet demand of the cheapest reactive policy: one can carry a whole mean.
fn hardest(rows: &BTreeMap<(Kind, String), Vec<Row>>, count: usize) -> usize {
    let reactive = rows.iter().filter(|((kind, _), _)| *kind == Kind::Reactive).map(|(_, rows)| rows);
    let cheapest = reactive.min_by(|a, b| mean(a)[3].total_cmp(&mean(b)[3]));
    let unmet = |at: &usize| cheapest.and_then(|rows| rows.get(*at)).map_or(0.0, |row| row[2]);
    (0..count).max_by(|a, b| unmet(a).total_cmp(&unmet(b))).unwrap_or_default()
}

fn print(title: &str, target: &str, rows: &BTreeMap<(Kind, String), Vec<Row>>, of: impl Fn(&[Row]) -> Row) {
    println!(
        "\n{title}\n\n| policy | above {target} % | above 90 % | unmet | instance-hours / oracle | changes/day |\n|---|---|---|---|---|---|"
    );
    let mut lines: Vec<(&str, Row)> = rows.iter().map(|((_, name), rows)| (name.as_str(), of(rows))).collect();
    lines.sort_by(|a, b| a.1[3].total_cmp(&b.1[3]));
    for (name, row) in lines {
        println!("| {name} | {:.2} % | {:.3} % | {:.4} % | {:.3} | {:.0} |", row[0], row[1], row[2], row[3], row[4]);
    }
}
