//! `foreshadow eval`: writes the forecast of every series and origin of a scorer's list, one JSON line each.
//!
//! The pure half is [`forecast::score`]; here are only files, times as text, and progress on standard error.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use forecast::Contest;
use forecast::score::{Line, Origins, SeriesOrigins, next, options};
use serde_json::json;

use crate::clock::written_time;
use crate::progress::Progress;

/// What to score and where to write it.
#[derive(Debug, Clone, clap::Args)]
pub struct EvalArguments {
    /// Directory of NAME.csv files with the columns timestamp (RFC 3339) and value
    #[arg(long, value_name = "DIR")]
    pub series: PathBuf,
    /// JSON file of series, intervals, horizons and origins
    #[arg(long, value_name = "FILE")]
    pub origins: PathBuf,
    /// JSON-lines file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Only this model instead of the whole pool
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// This ONNX file (with its manifest beside it) competes as well, as the model "network"
    #[arg(long, value_name = "FILE")]
    pub network: Option<PathBuf>,
    /// Say what was written as JSON
    #[arg(long)]
    pub json: bool,
}

/// Forecasts every origin; an origin without a forecast is reported and left out, and the end says how many.
///
/// # Errors
/// When a file cannot be read, understood or written (with its line), the model is unknown, or no origin could be forecast.
pub fn run(arguments: &EvalArguments) -> Result<()> {
    let mut pool = forecast::Pool::default();
    if let Some(path) = &arguments.network {
        pool = pool.with(Arc::new(neural::Network::read(path)?));
    }
    if let Some(name) = &arguments.model {
        let known: Vec<&str> = pool.names().collect();
        ensure!(known.contains(&name.as_str()), "no model is called {name:?}; there are: {}", known.join(", "));
    }
    let file = File::open(&arguments.origins).with_context(|| format!("{}", arguments.origins.display()))?;
    let origins: Origins =
        serde_json::from_reader(BufReader::new(file)).with_context(|| format!("{}", arguments.origins.display()))?;
    let out = File::create(&arguments.out).with_context(|| format!("{}", arguments.out.display()))?;
    let mut out = BufWriter::new(out);
    let (mut made, mut missing) = (0_usize, 0_usize);
    let progress = Progress::new("eval", origins.series.iter().map(|series| series.origins.len() as u64).sum());
    for (index, series) in origins.series.iter().enumerate() {
        let rows = read_rows(&arguments.series.join(format!("{}.csv", series.series)))?;
        let lines = forecast_series(&pool, series, &rows, arguments.model.as_deref(), &progress)?;
        missing += series.origins.len() - lines.len();
        made += lines.len();
        for line in &lines {
            serde_json::to_writer(&mut out, line)?;
            out.write_all(b"\n").with_context(|| format!("{}", arguments.out.display()))?;
        }
        let cpu: f64 = lines.iter().filter_map(|line| line.cpu_seconds).sum();
        progress.println(&format!(
            "{}/{} {}: {} of {} origins, {cpu:.2} CPU-s",
            index + 1,
            origins.series.len(),
            series.series,
            lines.len(),
            series.origins.len(),
        ));
    }
    progress.end();
    out.flush().with_context(|| format!("{}", arguments.out.display()))?;
    if arguments.json {
        println!("{:#}", json!({ "out": arguments.out, "forecasts": made, "origins_without": missing }));
    } else {
        eprintln!("{made} forecasts written to {}, {missing} origins without one", arguments.out.display());
    }
    if made == 0 {
        bail!("no origin could be forecast");
    }
    Ok(())
}

fn forecast_series(
    pool: &forecast::Pool,
    series: &SeriesOrigins,
    rows: &[(i64, f64)],
    model: Option<&str>,
    progress: &Progress,
) -> Result<Vec<Line>> {
    let options = options(series.interval_seconds, series.horizon_steps, model);
    let mut contest = Contest::new(pool, &options).with_context(|| series.series.clone())?;
    let mut origins = Vec::with_capacity(series.origins.len());
    for origin in &series.origins {
        origins.push((unix_seconds(origin).with_context(|| format!("an origin of {}", series.series))?, origin));
    }
    // In the order of time, as a service would live through them: what an origin taught is not taught again.
    origins.sort();
    let mut lines = Vec::with_capacity(origins.len());
    for (at, origin) in origins {
        let before = thread_cpu_seconds();
        match next(&mut contest, rows, at) {
            Ok(quantiles) => lines.push(Line {
                model: model.unwrap_or("foreshadow").to_owned(),
                series: series.series.clone(),
                origin: origin.clone(),
                horizon_steps: series.horizon_steps,
                interval_seconds: series.interval_seconds,
                cpu_seconds: thread_cpu_seconds().zip(before).map(|(after, before)| after - before),
                quantiles,
            }),
            Err(reason) => progress.println(&format!("{} at {origin}: no forecast: {reason}", series.series)),
        }
        progress.inc(1);
    }
    Ok(lines)
}

/// Rows of `timestamp,value` after one header line; an error names the line.
pub fn read_rows(path: &Path) -> Result<Vec<(i64, f64)>> {
    let file = File::open(path).with_context(|| format!("{}", path.display()))?;
    let mut rows = Vec::new();
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let place = || format!("{}:{}", path.display(), index + 1);
        let line = line.with_context(place)?;
        if index == 0 || line.trim().is_empty() {
            continue;
        }
        let (at, value) = line.split_once(',').with_context(|| format!("{}: no comma", place()))?;
        let value: f64 = value.trim().parse().with_context(|| format!("{}: value {value:?}", place()))?;
        rows.push((unix_seconds(at.trim()).with_context(place)?, value));
    }
    Ok(rows)
}

fn unix_seconds(text: &str) -> Result<i64> {
    written_time(text).map_err(|problem| anyhow!("timestamp {problem}"))
}

/// CPU seconds of this thread (user and system), where the kernel tells them. In hundredths: sums over many origins are
/// exact enough, single ones are not.
fn thread_cpu_seconds() -> Option<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/thread-self/stat").ok()?;
    // The name in parentheses may hold spaces: count fields after it. utime and stime are fields 14 and 15 of the whole.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Three days of hours with a daily shape.
    fn rows() -> String {
        let mut text = String::from("timestamp,value\n");
        for hour in 0..72 {
            let value = 10 + (hour % 24) * 2;
            text.push_str(&format!("2024-01-0{}T{:02}:00:00Z,{value}\n", 1 + hour / 24, hour % 24));
        }
        text
    }

    #[test]
    fn writes_one_line_per_origin() {
        let directory = tempfile::tempdir().unwrap();
        write(&directory, "shape.csv", &rows());
        let origins = write(
            &directory,
            "origins.json",
            r#"{"rule":"x","series":[{"series":"shape","interval_seconds":3600,"horizon_steps":24,
                "origins":["2024-01-02T12:00:00Z","2024-01-03T12:00:00Z"]}]}"#,
        );
        let out = directory.path().join("out.jsonl");
        let arguments = EvalArguments {
            series: directory.path().to_owned(),
            origins,
            out: out.clone(),
            model: None,
            network: None,
            json: false,
        };
        run(&arguments).unwrap();
        let lines: Vec<serde_json::Value> =
            std::fs::read_to_string(&out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["origin"], "2024-01-03T12:00:00Z");
        assert_eq!(lines[1]["quantiles"]["0.9"].as_array().unwrap().len(), 24);
        let unknown = EvalArguments { model: Some("crystal_ball".into()), ..arguments };
        assert!(run(&unknown).unwrap_err().to_string().contains("seasonal_naive_day"));
    }

    #[test]
    fn a_bad_row_is_named_by_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = write(&directory, "bad.csv", "timestamp,value\n2024-01-01T00:00:00Z,1\n2024-01-01T01:00:00Z,one\n");
        assert!(format!("{:#}", read_rows(&path).unwrap_err()).contains("bad.csv:3"));
        assert!(read_rows(&directory.path().join("none.csv")).is_err());
    }
}
