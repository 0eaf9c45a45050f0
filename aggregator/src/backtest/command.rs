//! The command: arguments, progress, and where results go.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::advice::{self, Advice, Risk};
use super::compare::{self, Candidates, Comparison, Kind, Outcome};
use super::load::{Load, Past, read_csv};
use super::report::{self, Subject};
use super::{Pace, Setting, many, modes, recorded, table};
use crate::cli::WrongArgument;
use crate::config::Config;
use crate::progress::Progress;

/// Minutes in which every day of a week was there twice: less shows no week.
const TWO_WEEKS: usize = 14 * 1_440;

/// What to run over, what the group is like, and what to write.
#[derive(Debug, Clone, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub struct BacktestArguments {
    /// CSV file of timestamp,value or timestamp,value,instances, as import reads it; a directory of them; or "store" for what the
    /// aggregator recorded. With instances the values are mean utilisation in %, unless --capacity says what they are
    #[arg(long, value_name = "CSV|DIR|store")]
    pub history: PathBuf,
    /// Group to read from the store
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// Configuration that says where the store is
    #[arg(long, env = "FORESHADOW_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the store
    #[arg(long, env = "FORESHADOW_DIRECTORY", value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
    /// Names of the CSV files of a directory, without ".csv"; otherwise all of them
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub traces: Vec<String>,
    /// Load one instance serves at 100 %, in the history's unit
    #[arg(long, value_name = "LOAD", conflicts_with = "peak")]
    pub capacity: Option<f64>,
    /// Instances that the highest scored load needs at the target: scales a history of any unit [default: 50 for files]
    #[arg(long, value_name = "INSTANCES")]
    pub peak: Option<f64>,
    /// Utilisation to aim at, %
    #[arg(long, value_name = "PERCENT", default_value_t = 60.0)]
    pub target: f64,
    /// Utilisation of an instance that does nothing, %
    #[arg(long, value_name = "PERCENT", default_value_t = 8.0)]
    pub idle: f64,
    /// Launch call to serving, s
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub startup: u32,
    /// Re-attach call to serving, s
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub reattach: u32,
    /// Deregistration delay: a detached instance is not back before it is over, s
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub drain: u32,
    /// Fewest instances
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub minimum: u32,
    /// Most instances
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub maximum: u32,
    /// Price of an instance for an hour
    #[arg(long, value_name = "MONEY", default_value_t = 0.10)]
    pub price: f64,
    /// Score the newest 30 % of the history, at most this many days
    #[arg(long, value_name = "DAYS", default_value_t = 10.0)]
    pub days: f64,
    /// Confidences of Foreshadow to try
    #[arg(long, value_name = "SHARE,…", value_delimiter = ',', default_values_t = [0.5, 0.8, 0.9, 0.95])]
    pub confidence: Vec<f64>,
    /// Targets of Foreshadow to try, %; otherwise --target
    #[arg(long, value_name = "PERCENT,…", value_delimiter = ',')]
    pub targets: Vec<f64>,
    /// Targets of a target tracking of the provider's that scales in as well, %: Foreshadow scales out only (mode scale-out)
    #[arg(long, value_name = "PERCENT,…", value_delimiter = ',')]
    pub provider: Vec<f64>,
    /// Print what taking machines away is worth, as markdown: full, scale-out beside the provider's scale-in, and full with
    /// that fighting it (at the first target of --provider, or --target)
    #[arg(long)]
    pub modes: bool,
    /// Targets of reactive scaling to compare with, %
    #[arg(long, value_name = "PERCENT,…", value_delimiter = ',', default_values_t = [60.0, 57.5, 55.0, 52.5, 50.0, 47.5, 45.0])]
    pub reactive: Vec<f64>,
    /// How fast machines may go
    #[arg(long, value_enum, default_value = "production")]
    pub pace: Pace,
    /// Lease of a shadow, s
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    pub lease: u32,
    /// What is detached must not be needed within this, s
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    pub window: u32,
    /// Leave out the models of the pool one by one (seasonal naive stays)
    #[arg(long)]
    pub without_models: bool,
    /// Risk to recommend settings for: minutes_above_target, minutes_above_90 or unmet
    #[arg(long, value_name = "NAME=PERCENT", default_value = "minutes_above_target=2.5%")]
    pub risk: Risk,
    /// Write a self-contained HTML page here
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write everything as JSON here
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the orders of the recommended setting here, JSON lines; for a directory of histories a directory per setting
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
}

impl BacktestArguments {
    fn setting(&self) -> Result<Setting> {
        let share = |name: &str, percent: f64, within: std::ops::RangeInclusive<f64>| -> Result<f64> {
            ensure!(
                within.contains(&percent),
                "--{name} {percent}: must be within {} to {} %",
                within.start(),
                within.end()
            );
            Ok(percent / 100.0)
        };
        let (target, idle) = (share("target", self.target, 1.0..=95.0)?, share("idle", self.idle, 0.0..=90.0)?);
        ensure!(idle < target, "--idle {} must be below --target {}", self.idle, self.target);
        for (name, value) in [("capacity", self.capacity), ("peak", self.peak), ("days", Some(self.days))] {
            ensure!(value.is_none_or(|it| it.is_finite() && it > 0.0), "--{name} must be above 0");
        }
        ensure!(self.price.is_finite() && self.price >= 0.0, "--price {} must be at least 0", self.price);
        ensure!(1 <= self.minimum && self.minimum <= self.maximum, "--minimum must be 1 to --maximum");
        ensure!(self.confidence.iter().all(|it| (0.5..=0.99).contains(it)), "--confidence must be within 0.5 to 0.99");
        for (name, seconds) in [("startup", self.startup), ("reattach", self.reattach), ("drain", self.drain)] {
            ensure!((1..=7_200).contains(&seconds), "--{name} {seconds}: must be within 1 to 7200 s");
        }
        for (name, seconds) in [("lease", self.lease), ("window", self.window)] {
            ensure!((60..=86_400).contains(&seconds), "--{name} {seconds}: must be within 60 to 86400 s");
        }
        Ok(Setting {
            peak: self.peak.unwrap_or(50.0),
            capacity: self.capacity,
            idle,
            target,
            score_target: target,
            startup: self.startup,
            reattach: self.reattach,
            drain: self.drain,
            minimum: self.minimum,
            maximum: self.maximum,
            days: self.days,
            price: self.price,
            ..Setting::default()
        })
    }

    /// What one instance serves of a past, in its unit: points are of an instance already.
    pub(super) fn capacity_of(&self, past: &Past) -> Option<f64> {
        let points = past.is_points && self.peak.is_none();
        self.capacity.or_else(|| points.then_some(100.0 - self.idle))
    }

    fn candidates(&self) -> Result<Candidates> {
        let targets = if self.targets.is_empty() { vec![self.target] } else { self.targets.clone() };
        for target in targets.iter().chain(&self.reactive).chain(&self.provider) {
            ensure!(
                (1.0..=95.0).contains(target) && *target > self.idle,
                "a target of {target} % must be above --idle and at most 95 %"
            );
        }
        let shares = |percent: &[f64]| percent.iter().map(|it| it / 100.0).collect();
        Ok(Candidates {
            reactive: shares(&self.reactive),
            confidences: self.confidence.clone(),
            targets: shares(&targets),
            provider: shares(&self.provider),
            each_model: !self.without_models,
            pace: self.pace,
            lease_seconds: self.lease,
            window_seconds: self.window,
        })
    }
}

/// Runs the backtest, prints its table and writes what is asked for.
///
/// # Errors
/// When an argument contradicts another, or a file cannot be read, understood (with its line) or written.
pub async fn run(arguments: &BacktestArguments) -> Result<()> {
    let wrong = |error: anyhow::Error| anyhow::Error::new(WrongArgument(format!("{error:#}")));
    let (mut setting, candidates) = (arguments.setting().map_err(wrong)?, arguments.candidates().map_err(wrong)?);
    if arguments.modes {
        if arguments.history == Path::new("store") {
            let which = "--modes needs a CSV file or a directory of them, not the store";
            return Err(WrongArgument(which.to_owned()).into());
        }
        return modes::run(arguments, &setting, &candidates);
    }
    if arguments.history.is_dir() {
        return many::run(arguments, &setting, &candidates);
    }
    let (name, rows) = if arguments.history == Path::new("store") {
        let group = arguments.group.as_deref();
        let group = group.ok_or_else(|| WrongArgument("--history store needs --group NAME".to_owned()))?;
        let (rows, bounds) = recorded::read_store(&directory(arguments)?, group, setting.idle).await?;
        if bounds > 0 {
            eprintln!(
                "{bounds} of {} minutes are lower bounds: too few reported, or instances were saturated",
                rows.len()
            );
        }
        if arguments.peak.is_none() && setting.capacity.is_none() {
            // Recorded demand is in points of an instance already.
            setting.capacity = Some(100.0 * (1.0 - setting.idle));
        }
        (group.to_owned(), rows)
    } else {
        let name = arguments.history.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let past = read_csv(&arguments.history, &setting)?;
        setting.capacity = arguments.capacity_of(&past);
        (name, past.rows)
    };
    let load = Load::new(&rows, &setting).with_context(|| arguments.history.display().to_string())?;
    if load.bridged > 0 {
        eprintln!(
            "{} of {} minutes are missing in the history and were bridged by straight lines",
            load.bridged,
            load.minutes.len()
        );
    }
    if load.minutes.len() < TWO_WEEKS {
        eprintln!(
            "{:.1} days of history: take what follows as a try-out; two weeks or more show what a week is like",
            load.minutes.len() as f64 / 1_440.0
        );
    }
    let bar = Progress::new("backtest", compare::work(&load, &setting, &candidates));
    let comparison = compare::compare(&load, &setting, &candidates, &|done| bar.inc(done))?;
    bar.end();
    let advice = advice::advise(&comparison, arguments.risk);
    println!("{}", table::table(&comparison));
    println!("{}", advice.words);
    let chosen = chosen(&comparison, &advice)?;
    if let Some(file) = &arguments.plan {
        write_plan(file, &load, chosen)?;
        eprintln!("orders of {} written to {}", chosen.name, file.display());
    }
    if let Some(file) = &arguments.json {
        let whole = serde_json::json!({
            "history": name, "setting": setting, "candidates": candidates, "scored_minutes": load.scored().len(),
            "scored_from": load.at(load.from), "advice": advice, "comparison": comparison,
        });
        std::fs::write(file, format!("{whole:#}\n")).with_context(|| format!("{}", file.display()))?;
        eprintln!("written: {}", file.display());
    }
    if let Some(file) = &arguments.report {
        let subject = Subject {
            name: &name,
            load: &load,
            setting: &setting,
            comparison: &comparison,
            advice: &advice,
            chosen,
            pace: arguments.pace.words(),
            version: env!("CARGO_PKG_VERSION"),
        };
        std::fs::write(file, report::html(&subject)).with_context(|| format!("{}", file.display()))?;
        eprintln!("written: {}", file.display());
    }
    Ok(())
}

fn directory(arguments: &BacktestArguments) -> Result<PathBuf> {
    if let Some(directory) = &arguments.directory {
        return Ok(directory.clone());
    }
    let config = match &arguments.config {
        None => Config::default(),
        Some(file) => Config::load(file).map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("{}", faults.join("\n"))
        })?,
    };
    Ok(config.store.directory)
}

/// The recommended outcome; the first of Foreshadow where none is.
pub(super) fn chosen<'a>(comparison: &'a Comparison, advice: &Advice) -> Result<&'a Outcome> {
    let wanted = advice.setting.as_ref().map(|setting| setting.name.as_str());
    let mut all = comparison.of(Kind::Foreshadow);
    let safest = |a: &&Outcome, b: &&Outcome| {
        advice.risk.measure.of(&a.score).total_cmp(&advice.risk.measure.of(&b.score)).then(a.cost.total_cmp(&b.cost))
    };
    let found = match wanted {
        Some(name) => all.find(|outcome| outcome.name == name),
        None => all.min_by(safest),
    };
    match found {
        Some(outcome) => Ok(outcome),
        None => bail!("no confidence was tried: give at least one with --confidence"),
    }
}

/// Lines of `{"timestamp","capacity","shadow"}`, one whenever the order changes.
pub(super) fn write_plan(file: &Path, load: &Load, outcome: &Outcome) -> Result<()> {
    let place = || format!("{}", file.display());
    let mut out = BufWriter::new(File::create(file).with_context(place)?);
    let mut last = None;
    for (minute, order) in outcome.orders.iter().enumerate().filter(|(_, order)| last.replace(**order) != Some(**order))
    {
        let timestamp = jiff::Timestamp::from_second(load.at(load.from + minute))?.to_string();
        let line = serde_json::json!({"timestamp": timestamp, "capacity": order.capacity, "shadow": order.shadow});
        writeln!(out, "{line}").with_context(place)?;
    }
    out.flush().with_context(place)
}
