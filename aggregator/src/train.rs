//! `foreshadow train`: one network from all histories, written as ONNX with a manifest beside it.
//!
//! [`learn`] is the part without files and clocks, for whoever trains inside the aggregator; here are also the histories (of the store,
//! of CSV files, or made up), progress, time limits and checkpoints.
//!
//! Histories of the store are the minutes of *serving* instances: a shadow makes no demand, so no sample of one is ever load here.
//! Minutes of events are set aside. Shift and scale of a load are taken off each window, and with them the idle baseline.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use forecast::events::ordinary;
use forecast::{Aggregate, Series};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use neural::dataset::{Dataset, HoldOut};
use neural::train::{Options, Progress, Trainer};
use neural::{Contract, Manifest, manifest};
use tokio::time::Instant;

use crate::cli::WrongArgument;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::eval::read_rows;
use crate::events::{Calendar, EventLog};
use crate::progress::lasting;
use crate::store::{Beside, Minute};

/// The most of a history that is read: 15 months.
const HISTORY_SECONDS: i64 = 450 * 86_400;
/// The product forecasts the highest minute of steps this long; the network learns means of these.
const STEP_SECONDS: u32 = 300;
/// How much less than others this process asks of the processor.
const NICENESS: i32 = 15;

/// From what to learn, for how long, and where to write it.
#[derive(Debug, Clone, clap::Args)]
pub struct TrainArguments {
    /// Learn from the store that this configuration names; without --history and --generated
    #[arg(long, env = "FORESHADOW_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Learn from the store in this directory
    #[arg(long, value_name = "DIRECTORY", conflicts_with_all = ["history", "generated"])]
    pub directory: Option<PathBuf>,
    /// Learn from NAME.csv files with the columns timestamp (RFC 3339) and value, as eval reads them
    #[arg(long, value_name = "DIR", conflicts_with = "generated")]
    pub history: Option<PathBuf>,
    /// Learn from load that is made up from the seed; this is how the network that ships was made
    #[arg(long)]
    pub generated: bool,
    /// How many series to make up
    #[arg(long, value_name = "N", default_value_t = 1_200, requires = "generated")]
    pub series: usize,
    /// ONNX file to write; the manifest is written beside it as .json
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Decides everything that is random
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Width of the hidden state
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub hidden: u16,
    /// At most so many passes
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub epochs: usize,
    /// At most so many windows in each
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub windows: usize,
    /// Ends after so many seconds with the best network so far
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
    /// Threads; two are the most that help
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub threads: u8,
    /// Go on where an interrupted training with the same arguments stopped (FILE.training)
    #[arg(long)]
    pub resume: bool,
    /// Say what was made as JSON
    #[arg(long)]
    pub json: bool,
}

/// Trains and writes; says what the network scored.
///
/// # Errors
/// When histories cannot be read or are too short, the checkpoint is another training's, or files cannot be written.
pub async fn run(arguments: &TrainArguments) -> Result<()> {
    if manifest::beside(&arguments.out) == arguments.out {
        return Err(WrongArgument("--out must not end in .json: the manifest does".to_owned()).into());
    }
    let checkpoint = checkpoint_path(&arguments.out);
    let options = Options {
        seed: arguments.seed,
        hidden: usize::from(arguments.hidden),
        epochs: arguments.epochs,
        windows: arguments.windows,
        threads: usize::from(arguments.threads),
        ..Options::default()
    };
    let contract = Contract::default();
    let mut trainer = if arguments.resume {
        let bytes = std::fs::read(&checkpoint).with_context(|| format!("{}", checkpoint.display()))?;
        Trainer::resume(&bytes, &contract, options).with_context(|| format!("{}", checkpoint.display()))?
    } else {
        Trainer::new(contract.clone(), options)?
    };
    if let Err(error) = rustix::process::nice(NICENESS) {
        eprintln!("training keeps its priority: {error}");
    }
    let (data, on) = histories(arguments, contract).await?;
    let (series, train, held) = data.counts();
    eprintln!("{series} series ({on}): {train} windows to learn from, {held} held out");
    let deadline = arguments.seconds.map(|seconds| tokio::time::Instant::now() + Duration::from_secs(seconds));
    let shown = Shown::new(arguments.epochs, trainer.epochs());
    let mut failed = None;
    let watch = &mut |progress: &Progress, trainer: &Trainer| {
        shown.update(progress);
        if progress.epoch_ended
            && let Err(error) = manifest::write_whole(&checkpoint, &trainer.checkpoint())
        {
            failed = Some(error);
            return ControlFlow::Break(());
        }
        let late = deadline.is_some_and(|deadline| tokio::time::Instant::now() >= deadline);
        if late { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let (onnx, made) = learn(&mut trainer, &data, &on, arguments.seed, watch)?;
    if let Some(error) = failed {
        bail!("the checkpoint cannot be written: {error}");
    }
    shown.end();
    manifest::write(&arguments.out, &onnx, &made)?;
    match std::fs::remove_file(&checkpoint) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            eprintln!("{}: {error}", checkpoint.display());
        }
        _ => {}
    }
    if arguments.json {
        let said = serde_json::json!({
            "file": arguments.out, "bytes": onnx.len(), "epochs": trainer.epochs(), "sha256": made.sha256,
            "trained": made.trained, "scores": made.scores,
        });
        println!("{said:#}");
        return Ok(());
    }
    println!("{}: {} kB, {} epochs", arguments.out.display(), onnx.len() / 1_000, trainer.epochs());
    println!("{}", scores_in_words(&made));
    Ok(())
}

/// Trains to the end or until `watch` breaks it, and makes the files' contents. Costs CPU for minutes: run it on a thread of its own, niced.
///
/// # Errors
/// When there is too little to learn from, or the result does not pass the checks of a file.
pub fn learn(
    trainer: &mut Trainer,
    data: &Dataset,
    on: &str,
    seed: u64,
    watch: &mut dyn FnMut(&Progress, &Trainer) -> ControlFlow<()>,
) -> Result<(Vec<u8>, Manifest)> {
    trainer.run(data, watch)?;
    Ok(neural::finish::finish(trainer, data, on, seed)?)
}

/// How a network did on what it had not seen, for people.
pub fn scores_in_words(made: &Manifest) -> String {
    made.scores.map_or_else(
        || "nobody says what it scores".to_owned(),
        |scores| {
            let change = 100.0 * (scores.held_out / scores.seasonal_naive - 1.0);
            format!(
                "pinball loss on {} windows it had not seen: {:.4}; seasonal naive {:.4} ({change:+.0} %)",
                scores.windows, scores.held_out, scores.seasonal_naive
            )
        },
    )
}

fn checkpoint_path(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".training");
    out.with_file_name(name)
}

async fn histories(arguments: &TrainArguments, contract: Contract) -> Result<(Dataset, String)> {
    if arguments.generated {
        return Ok((Dataset::generated(contract, arguments.seed, arguments.series), "generated".to_owned()));
    }
    let mut data = Dataset::new(contract);
    if let Some(directory) = &arguments.history {
        from_files(directory, &mut data)?;
        return Ok((data, "files".to_owned()));
    }
    let directory = match (&arguments.directory, &arguments.config) {
        (Some(directory), _) => directory.clone(),
        (None, Some(file)) => match Config::load(file) {
            Ok(config) => config.store.directory,
            Err(faults) => bail!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        },
        (None, None) => {
            let which = "say what to learn from: --config, --directory, --history or --generated";
            return Err(WrongArgument(which.to_owned()).into());
        }
    };
    from_store(&directory, &mut data).await?;
    Ok((data, "store".to_owned()))
}

fn from_files(directory: &Path, data: &mut Dataset) -> Result<()> {
    let entries = std::fs::read_dir(directory).with_context(|| format!("{}", directory.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "csv"));
    // The order of series decides which windows come when.
    files.sort();
    ensure!(!files.is_empty(), "{}: no NAME.csv in it", directory.display());
    for file in files {
        let rows = read_rows(&file)?;
        let step = step_of(&rows).max(data.contract().step_seconds);
        if data.add(&Series::resample(&rows, step, Aggregate::Mean), HoldOut::Newest) == 0 {
            eprintln!("{}: too short, left out", file.display());
        }
    }
    Ok(())
}

/// The usual distance of rows, seconds.
fn step_of(rows: &[(i64, f64)]) -> u32 {
    let mut distances: Vec<i64> =
        rows.windows(2).map(|pair| pair[1].0 - pair[0].0).filter(|distance| *distance > 0).collect();
    distances.sort_unstable();
    distances.get(distances.len() / 2).and_then(|middle| u32::try_from(*middle).ok()).unwrap_or(1)
}

async fn from_store(directory: &Path, data: &mut Dataset) -> Result<()> {
    let store = Beside::open(directory).await?;
    let now = SystemClock.wall_seconds();
    let mut calendar = Calendar::new(EventLog::new(store.pool()), HISTORY_SECONDS, 0);
    calendar.renew(now).await;
    for (group, metric) in store.series().await? {
        let minutes = store.minutes(&group, &metric, now - HISTORY_SECONDS).await?;
        let events = calendar.of(&group);
        let series = ordinary(of_minutes(&minutes), &events).coarser(STEP_SECONDS, Aggregate::Maximum);
        if data.add(&series, HoldOut::Newest) == 0 {
            eprintln!("{group} {metric}: too short, left out");
        }
    }
    Ok(())
}

/// Minutes as a grid with explicit gaps.
fn of_minutes(minutes: &[Minute]) -> Series {
    let rows: Vec<(i64, f64)> = minutes.iter().map(|minute| (minute.start, minute.gross_mean)).collect();
    let mut series = Series::resample(&rows, 60, Aggregate::Mean);
    series.saturated = vec![false; series.values.len()];
    for minute in minutes.iter().filter(|minute| minute.lower_bound) {
        let index = usize::try_from((minute.start - series.start).div_euclid(60)).ok();
        if let Some(mark) = index.and_then(|index| series.saturated.get_mut(index)) {
            *mark = true;
        }
    }
    series
}

/// Progress on standard error: a bar with the time that is left on a terminal, a line per epoch elsewhere.
struct Shown {
    bar: ProgressBar,
    epochs: usize,
    /// Epochs that were learned before, where a training goes on: they took none of this time.
    before: usize,
    began: Instant,
}

impl Shown {
    fn new(epochs: usize, before: usize) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(4));
        let style = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {percent} % {msg}, {eta} left at most");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Self { bar, epochs, before, began: Instant::now() }
    }

    fn update(&self, progress: &Progress) {
        let best = progress.best.map_or_else(String::new, |best| format!(", held out {best:.4}"));
        let said = format!("epoch {}/{}: loss {:.4}{best}", progress.epoch + 1, progress.epochs, progress.loss);
        if progress.epoch_ended && self.bar.is_hidden() {
            let done = progress.epoch + 1 - self.before.min(progress.epoch);
            eprintln!("{said}{}", left(done, self.epochs.saturating_sub(self.before), self.began.elapsed()));
        }
        // What was learned before is no part of the bar: it would be taken for speed.
        self.bar.set_length((self.epochs.saturating_sub(self.before) * progress.of) as u64);
        self.bar.set_position((progress.epoch.saturating_sub(self.before) * progress.of + progress.done) as u64);
        self.bar.set_message(said);
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// How long it takes from here, after so many of so many epochs; it may end sooner, where nothing is learnt any more.
fn left(done: usize, epochs: usize, elapsed: Duration) -> String {
    match epochs.checked_sub(done) {
        None | Some(0) => String::new(),
        Some(more) => format!(", {} left at most", lasting(elapsed.mul_f64(more as f64 / done.max(1) as f64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_off_a_terminal_says_how_long_the_rest_takes() {
        assert_eq!(left(1, 40, Duration::from_secs(3)), ", 2 min left at most");
        assert_eq!(left(39, 40, Duration::from_secs(390)), ", 10 s left at most");
        assert_eq!(left(40, 40, Duration::from_secs(400)), "");
    }

    fn arguments(out: PathBuf) -> TrainArguments {
        TrainArguments {
            config: None,
            directory: None,
            history: None,
            generated: true,
            series: 9,
            out,
            seed: 3,
            hidden: 4,
            epochs: 2,
            windows: 64,
            seconds: None,
            threads: 1,
            resume: false,
            json: false,
        }
    }

    #[tokio::test]
    async fn one_seed_gives_one_file_to_the_bit_and_another_seed_another() {
        let directory = tempfile::tempdir().unwrap();
        let write = async |name: &str, seed: u64, threads: u8| {
            let out = directory.path().join(name);
            run(&TrainArguments { seed, threads, ..arguments(out.clone()) }).await.unwrap();
            let _loads = neural::Network::read(&out).unwrap();
            assert!(!checkpoint_path(&out).exists());
            (std::fs::read(&out).unwrap(), std::fs::read(manifest::beside(&out)).unwrap())
        };
        let first = write("a.onnx", 3, 1).await;
        assert_eq!(first, write("b.onnx", 3, 2).await);
        assert_ne!(first.0, write("c.onnx", 4, 1).await.0);
    }

    #[tokio::test]
    async fn a_checkpoint_is_kept_until_the_end_and_resumed() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("network.onnx");
        let missing = run(&TrainArguments { resume: true, ..arguments(out.clone()) }).await.unwrap_err();
        assert!(format!("{missing:#}").contains("network.onnx.training"), "{missing:#}");
        let trainer = Trainer::new(Contract::default(), Options { hidden: 5, ..Options::default() }).unwrap();
        std::fs::write(checkpoint_path(&out), trainer.checkpoint()).unwrap();
        let other = run(&TrainArguments { resume: true, ..arguments(out) }).await.unwrap_err();
        assert!(format!("{other:#}").contains("other options"), "{other:#}");
    }

    #[test]
    fn histories_from_files_keep_their_step() {
        let directory = tempfile::tempdir().unwrap();
        let rows =
            (0..24 * 20).map(|hour| format!("{},{}\n", jiff::Timestamp::from_second(hour * 3_600).unwrap(), hour % 24));
        std::fs::write(directory.path().join("hourly.csv"), format!("timestamp,value\n{}", rows.collect::<String>()))
            .unwrap();
        let mut data = Dataset::new(Contract::default());
        from_files(directory.path(), &mut data).unwrap();
        let (series, train, held) = data.counts();
        assert!(series == 1 && train > 200 && held > 40, "{series} {train} {held}");
        assert!(from_files(&directory.path().join("none"), &mut data).is_err());
    }

    #[test]
    fn minutes_become_a_grid_whose_lower_bounds_are_marked() {
        let minute = |start: i64, lower_bound: bool| Minute {
            group: foreshadow_proto::convert::Id::new("group", "web").unwrap(),
            metric: "cpu".to_owned(),
            start,
            gross_mean: 10.0,
            gross_maximum: 12.0,
            weight: 1.0,
            serving: 1,
            reporting: 1,
            lower_bound,
        };
        let series = of_minutes(&[minute(600, false), minute(720, true)]);
        assert_eq!(series.values, [Some(10.0), None, Some(10.0)]);
        assert_eq!(series.saturated, [false, false, true]);
        assert!(of_minutes(&[]).values.is_empty());
    }
}
