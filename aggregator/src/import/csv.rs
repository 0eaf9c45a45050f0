//! Load in a file: `timestamp,value` and, where it is a mean over instances, `instances`. For `foreshadow import csv` and `backtest`.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use super::minutes::{Meaning, Reading, usual_period};
use crate::clock::written_time;

/// Names the value may have.
const VALUES: [&str; 4] = ["value", "utilisation", "utilization", "load"];

/// A file that was read whole.
#[derive(Debug)]
pub struct File {
    /// By time.
    pub readings: Vec<Reading>,
    /// How long each stands for, seconds.
    pub period: i64,
    /// First digits of its SHA-256: the same content is the same source.
    pub digest: String,
}

/// Every row of a file with its line, by time.
#[derive(Debug)]
pub struct Rows {
    pub rows: Vec<(usize, Reading)>,
    /// There is a column `instances`.
    pub counted: bool,
    digest: String,
}

impl Rows {
    /// Reads every row; what the values mean is for whoever asks.
    ///
    /// # Errors
    /// Name file, line and remedy.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path)
            .with_context(|| format!("{}: cannot be read: name a file of timestamp,value", path.display()))?;
        let text = std::str::from_utf8(&bytes).with_context(|| format!("{}: is not UTF-8", path.display()))?;
        let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
        let (_, header) = lines.next().with_context(|| {
            format!("{}: is empty: it needs a first line timestamp,value and a line for each time", path.display())
        })?;
        let columns = Columns::read(header).map_err(|problem| anyhow::anyhow!("{}:1: {problem}", path.display()))?;
        let mut rows: Vec<(usize, Reading)> = Vec::new();
        for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let place = || format!("{}:{}", path.display(), index + 1);
            let reading = columns.row(line).map_err(|problem| anyhow::anyhow!("{}: {problem}", place()))?;
            if let Some((_, before)) = rows.last()
                && before.at >= reading.at
            {
                bail!("{}: does not come after the row before it; sort the rows, each time once", place());
            }
            rows.push((index + 1, reading));
        }
        ensure!(!rows.is_empty(), "{}: has no rows below its header", path.display());
        let mut digest = String::new();
        for byte in Sha256::digest(&bytes).iter().take(8) {
            write!(digest, "{byte:02x}")?;
        }
        Ok(Self { rows, counted: columns.instances.is_some(), digest })
    }
}

impl File {
    /// Reads and checks every row.
    ///
    /// # Errors
    /// Name file, line and remedy.
    pub fn read(path: &Path, meaning: Meaning, instances: Option<f64>) -> Result<Self> {
        let Rows { rows, digest, .. } = Rows::read(path)?;
        let mut readings = Vec::with_capacity(rows.len());
        for (line, mut reading) in rows {
            let place = || format!("{}:{line}", path.display());
            reading.instances = reading.instances.or(instances);
            let found = meaning.demand(reading.value, reading.instances).with_context(place)?;
            ensure!(
                found.is_some(),
                "{}: of how many instances? Add a column `instances`, or give --instances N",
                place()
            );
            readings.push(reading);
        }
        Ok(Self { period: usual_period(&readings), readings, digest })
    }

    /// The readings that concern `[from, to)`.
    pub fn within(&self, from: i64, to: i64) -> Vec<Reading> {
        let within = |reading: &&Reading| reading.at + self.period > from && reading.at < to;
        self.readings.iter().filter(within).copied().collect()
    }

    /// First and last moment it says something of, whole minutes.
    pub fn span(&self) -> (i64, i64) {
        let minute = |at: i64| at.div_euclid(60) * 60;
        let first = self.readings.first().map_or(0, |reading| minute(reading.at));
        (first, self.readings.last().map_or(first, |reading| minute(reading.at) + self.period))
    }
}

/// Where in a row what stands.
struct Columns {
    timestamp: usize,
    value: usize,
    instances: Option<usize>,
}

impl Columns {
    fn read(header: &str) -> Result<Self, String> {
        let names: Vec<String> = cells(header).map(str::to_lowercase).collect();
        let of = |wanted: &[&str]| names.iter().position(|name| wanted.contains(&name.as_str()));
        let found = of(&["timestamp", "time"]).zip(of(&VALUES));
        let (timestamp, value) = found.ok_or_else(|| {
            format!("the first line must name the columns timestamp and value (and instances) and is {header:?}")
        })?;
        Ok(Self { timestamp, value, instances: of(&["instances"]) })
    }

    fn row(&self, line: &str) -> Result<Reading, String> {
        let cells: Vec<&str> = cells(line).collect();
        let cell = |index: usize, name: &str| {
            cells.get(index).copied().filter(|cell| !cell.is_empty()).ok_or_else(|| format!("has no {name}"))
        };
        let number = |index: usize, name: &str| -> Result<f64, String> {
            let text = cell(index, name)?;
            text.parse::<f64>().map_err(|_| format!("{name} {text:?} is no number"))
        };
        let text = cell(self.timestamp, "timestamp")?;
        let at = written_time(text).map_err(|problem| format!("timestamp {problem}"))?;
        let instances = self.instances.map(|index| number(index, "instances")).transpose()?;
        Ok(Reading { at, value: number(self.value, "value")?, instances })
    }
}

fn cells(line: &str) -> impl Iterator<Item = &str> {
    line.split(',').map(|cell| cell.trim().trim_matches('"').trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, meaning: Meaning, instances: Option<f64>) -> Result<File, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("load.csv");
        std::fs::write(&path, text).expect("written");
        let here = directory.path().display().to_string() + "/";
        File::read(&path, meaning, instances).map_err(|error| format!("{error:#}").replace(&here, ""))
    }

    #[test]
    fn columns_are_found_by_name() {
        let text = "\u{feff}instances,\"Timestamp\",utilisation\n4,2026-01-01 00:00:00,50\n\n5,1767225900,40\n";
        let file = read(text, Meaning::Utilisation, None).expect("read");
        assert_eq!(file.readings[0], Reading { at: 1_767_225_600, value: 50.0, instances: Some(4.0) });
        assert_eq!((file.period, file.span()), (300, (1_767_225_600, 1_767_226_200)));
        assert_eq!(file.within(1_767_225_840, 1_767_225_900).len(), 1, "the first stands for five minutes");
    }

    #[test]
    fn what_is_wrong_is_named_by_line_and_remedy() {
        let utilisation = Meaning::Utilisation;
        for (text, said) in [
            ("", "load.csv: is empty"),
            ("a,b\n1,2\n", "load.csv:1: the first line must name the columns timestamp and value"),
            ("timestamp,value\n", "load.csv: has no rows"),
            ("timestamp,value\nsoon,1\n", "load.csv:2: timestamp \"soon\" is neither RFC 3339"),
            ("timestamp,value\n60,\n", "load.csv:2: has no value"),
            ("timestamp,value\n60,much\n", "load.csv:2: value \"much\" is no number"),
            ("timestamp,value\n60,5\n", "load.csv:2: of how many instances? Add a column `instances`"),
            ("timestamp,value,instances\n60,5,2\n60,5,2\n", "load.csv:3: does not come after"),
            ("timestamp,value,instances\n60,500,2\n", "load.csv:2: 500 is no mean utilisation in percent"),
            ("timestamp,value,instances\n60,NaN,2\n", "load.csv:2: NaN is no mean utilisation"),
        ] {
            let error = read(text, utilisation, None).expect_err(text);
            assert!(error.starts_with(said), "{error}\n{said}");
        }
        assert!(read("timestamp,value\n60,500\n", Meaning::Load(100.0), None).is_ok());
        assert!(read("timestamp,value\n60,50\n", utilisation, Some(3.0)).is_ok());
    }
}
