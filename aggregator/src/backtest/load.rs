//! The load of a history, minute by minute, in instances, and the part of it that is scored.

use std::path::Path;

use anyhow::{Result, anyhow, ensure};

use super::Setting;
use crate::import::csv::Rows;
use crate::import::minutes::Meaning;

/// Rows that cannot be: a history is at least this long.
const LEAST_MINUTES: usize = 240;
/// A point is cut into this many parts, so that demand and idle use add up without a rounding error, also in the single precision in
/// which rounds keep their minutes (up to 65 536 points).
const PARTS: f64 = 256.0;

/// Load in units of one instance at 100 %: a load of 3 saturates three instances.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Start of the first minute, seconds since the epoch.
    pub start: i64,
    pub minutes: Vec<f64>,
    /// Index of the first scored minute.
    pub from: usize,
    /// Minutes that the history does not have, bridged by straight lines.
    pub bridged: usize,
}

impl Load {
    /// Rows `(time, value)` of a regular grid become minutes: values of a longer interval are means, centred
    /// in it and joined by straight lines. Scored are the newest 30 %, at most `days`.
    ///
    /// # Errors
    /// When there are too few rows, or their interval is not a whole number of minutes.
    pub fn new(rows: &[(i64, f64)], setting: &Setting) -> Result<Self> {
        ensure!(rows.len() >= 3, "{} rows: that is no history", rows.len());
        let interval = rows.windows(2).map(|pair| pair[1].0 - pair[0].0).min().unwrap_or_default();
        ensure!(interval > 0, "times do not ascend");
        let (rows, interval) = if interval < 60 { (folded(rows), 60) } else { (rows.to_vec(), interval) };
        ensure!(interval % 60 == 0, "the interval of {interval} s is not a whole number of minutes");
        let (mut minutes, mut bridged) = (Vec::new(), 0);
        for pair in rows.windows(2) {
            let gap = pair[1].0 - pair[0].0;
            ensure!(gap % 60 == 0, "between rows lie {gap} s, not a whole number of minutes");
            let count = usize::try_from(gap / 60).unwrap_or_default();
            bridged += if gap > interval { count } else { 0 };
            let slope = (pair[1].1 - pair[0].1) / count as f64;
            minutes.extend((0..count).map(|minute| pair[0].1 + slope * minute as f64));
        }
        if interval == 60 {
            minutes.extend(rows.last().map(|(_, value)| *value));
        }
        ensure!(minutes.len() >= LEAST_MINUTES, "{} minutes are too few; {LEAST_MINUTES} are needed", minutes.len());
        let centre = if interval <= 60 { 0 } else { interval / 2 };
        let start = rows.first().map_or(0, |(at, _)| at + centre);
        // A minute begins at a whole minute.
        let start = start + (60 - start.rem_euclid(60)) % 60;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of minutes")]
        let scored = ((minutes.len() as f64 * setting.share) as usize).min((setting.days * 1_440.0) as usize).max(1);
        let from = minutes.len() - scored;
        let scale = setting.scale(minutes[from..].iter().copied().fold(0.0, f64::max));
        minutes.iter_mut().for_each(|value| *value = value.max(0.0) * scale);
        Ok(Self { start, minutes, from, bridged })
    }

    /// Start of a minute, seconds since the epoch.
    pub fn at(&self, minute: usize) -> i64 {
        self.start + 60 * i64::try_from(minute).unwrap_or_default()
    }

    pub fn scored(&self) -> &[f64] {
        &self.minutes[self.from..]
    }

    /// Net demand of a minute as agents would measure it, points.
    pub fn demand(&self, minute: usize, setting: &Setting) -> f64 {
        (100.0 * (1.0 - setting.idle) * self.minutes[minute] * PARTS).round() / PARTS
    }
}

/// Rounds points to the grid on which demand lies.
pub fn on_grid(points: f64) -> f64 {
    (points * PARTS).round() / PARTS
}

/// Readings within a minute become their mean.
fn folded(rows: &[(i64, f64)]) -> Vec<(i64, f64)> {
    let mut minutes: Vec<(i64, f64, f64)> = Vec::new();
    for (at, value) in rows {
        let minute = at.div_euclid(60) * 60;
        match minutes.last_mut() {
            Some((start, sum, count)) if *start == minute => (*sum, *count) = (*sum + value, *count + 1.0),
            _ => minutes.push((minute, *value, 1.0)),
        }
    }
    minutes.into_iter().map(|(start, sum, count)| (start, sum / count)).collect()
}

/// Rows of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    pub rows: Vec<(i64, f64)>,
    /// They are points of an instance, net of what it uses when idle; otherwise load in a unit of its own.
    pub is_points: bool,
}

/// Reads a file as `foreshadow import csv` does. With a column `instances` values are mean utilisation, as there, unless the setting has
/// a capacity.
///
/// # Errors
/// Name the file and the line: a time that is none or does not ascend, a value that is not finite or negative.
pub fn read_csv(path: &Path, setting: &Setting) -> Result<Past> {
    let read = Rows::read(path)?;
    let is_points = read.counted && setting.capacity.is_none();
    let mut rows = Vec::with_capacity(read.rows.len());
    for (line, reading) in read.rows {
        let place = || format!("{}:{line}", path.display());
        let value = reading.value;
        ensure!(value.is_finite() && value >= 0.0, "{}: value {value} is not a finite number of at least 0", place());
        let load = if is_points {
            let found = Meaning::Utilisation.demand(value, reading.instances);
            let found = found.map_err(|_| anyhow!("{}: value {value} and instances are no mean utilisation in percent (0 to 100) of so many: give --capacity LOAD for load in a unit of its own", place()))?;
            found.map_or(0.0, |(gross, weight)| (gross - 100.0 * setting.idle * weight).max(0.0))
        } else {
            value
        };
        rows.push((reading.at, load));
    }
    Ok(Past { rows, is_points })
}
