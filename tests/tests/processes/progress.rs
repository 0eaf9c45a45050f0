//! Long work says how far it is and how long the rest takes, on standard error alone: a bar on a terminal, lines elsewhere. What a program
//! reads stays clean of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow::clock::{Clock as _, SystemClock};
use foreshadow_tests::process::{Aggregator, binary, eventually, faketime, pause};
use foreshadow_tests::proxy::{Fault, Proxy};
use serde_json::Value;
use tokio::process::Command;

/// Where nobody looks at a bar a line is written after ten seconds.
const LINE_AFTER: Duration = Duration::from_secs(10);
const WITHIN: Duration = Duration::from_secs(240);

/// Three days of a group, by the minute.
fn past(directory: &Path) -> anyhow::Result<String> {
    let until = SystemClock.wall_seconds().div_euclid(3_600) * 3_600 - 3_600;
    let mut text = "timestamp,utilisation,instances\n".to_owned();
    for at in (until - 3 * 86_400..until).step_by(60) {
        let turn = at as f64 / 86_400.0 * std::f64::consts::TAU;
        writeln!(text, "{at},{:.2},8", 45.0 + 20.0 * turn.sin())?;
    }
    let file = directory.join("past.csv");
    std::fs::write(&file, text)?;
    Ok(file.display().to_string())
}

fn import<'a>(past: &'a str, url: &'a str) -> Vec<&'a str> {
    vec!["import", "csv", past, "--group", "web", "--part-hours", "24", "--url", url, "--json"]
}

fn train(out: &str) -> Vec<&str> {
    vec![
        "train",
        "--generated",
        "--series",
        "9",
        "--epochs",
        "3",
        "--hidden",
        "4",
        "--windows",
        "64",
        "--out",
        out,
        "--json",
    ]
}

fn backtest<'a>(past: &'a str, json: &'a str) -> Vec<&'a str> {
    vec!["backtest", "--history", past, "--confidence", "0.9", "--json", json]
}

async fn foreshadow(arguments: &[&str], set: &[(&str, &str)]) -> anyhow::Result<Output> {
    let mut command = Command::new(binary("foreshadow")?);
    command.args(arguments).envs(set.iter().copied()).kill_on_drop(true);
    let output = tokio::time::timeout(WITHIN, command.output()).await.context(arguments.join(" "))??;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}

/// The same on a terminal of its own: what is seen there, and what goes to a file beside it.
async fn on_a_terminal(arguments: &[&str], directory: &Path) -> anyhow::Result<(String, Vec<u8>)> {
    let name = arguments[0];
    let (seen, out) = (directory.join(format!("{name}.seen")), directory.join(format!("{name}.out")));
    let line = format!(
        "stty cols 120 rows 40; exec {} {} > {}",
        binary("foreshadow")?.display(),
        arguments.join(" "),
        out.display()
    );
    let mut command = Command::new("script");
    command.args(["-qefc", &line]).arg(&seen).env("SHELL", "/bin/sh").env("TERM", "xterm").kill_on_drop(true);
    command.stdin(std::process::Stdio::null());
    let output = tokio::time::timeout(WITHIN, command.output()).await.context(line)??;
    let seen = String::from_utf8_lossy(&std::fs::read(seen)?).into_owned();
    ensure!(output.status.success(), "{arguments:?}: {seen}");
    Ok((seen, std::fs::read(out)?))
}

/// The line of one kind of work that says how much is done and how long the rest takes.
fn line<'a>(output: &'a Output, begins: &str, parts: &[&str]) -> anyhow::Result<&'a str> {
    let text = std::str::from_utf8(&output.stderr)?;
    let fits = |line: &&str| line.starts_with(begins) && parts.iter().all(|part| line.contains(part));
    text.lines().find(fits).with_context(|| format!("no line {begins}… {parts:?} in\n{text}"))
}

/// JSON and nothing beside it.
fn clean(bytes: &[u8], field: &str) -> anyhow::Result<()> {
    let read: Value = serde_json::from_slice(bytes).with_context(|| String::from_utf8_lossy(bytes).into_owned())?;
    ensure!(!read[field].is_null(), "{read}");
    Ok(())
}

fn at(directory: &Path, name: &str) -> (PathBuf, String) {
    let path = directory.join(name);
    (path.clone(), path.display().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn long_work_says_off_a_terminal_how_far_it_is_and_how_long_the_rest_takes() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let past = past(directory.path())?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let between = Proxy::start(&aggregator.url).await?;
    let imported = async {
        // It asks what is there; then its first part is held until a line is due.
        between.next("", [Fault::None, Fault::HangAfter]);
        let released = async {
            eventually("the first part", WITHIN, async || Ok((between.calls().len() == 2).then_some(()))).await?;
            pause(LINE_AFTER).await;
            between.release();
            anyhow::Ok(())
        };
        let arguments = import(&past, &between.url);
        let (imported, released) = tokio::join!(foreshadow(&arguments, &[]), released);
        released?;
        let imported = imported?;
        let line = line(&imported, "import: ", &[" %, ", " left (20"])?;
        ensure!(!line.starts_with("import: 0 %"), "{line}");
        clean(&imported.stdout, "minutes")
    };
    let trained = async {
        let trained = foreshadow(&train(&at(directory.path(), "network.onnx").1), &[]).await?;
        for epoch in ["epoch 1/3: ", "epoch 2/3: "] {
            line(&trained, epoch, &["loss ", " left at most"])?;
        }
        clean(&trained.stdout, "epochs")
    };
    let tested = async {
        let (path, json) = at(directory.path(), "backtest.json");
        // A clock that runs a hundred times as fast: ten of its seconds are soon over, on any machine.
        let set = [("LD_PRELOAD", faketime()?), ("FAKETIME", "+0 x100".to_owned())];
        let set: Vec<(&str, &str)> = set.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let tested = foreshadow(&backtest(&past, &json), &set).await?;
        line(&tested, "backtest: ", &[" %, ", " left"])?;
        let table = String::from_utf8_lossy(&tested.stdout);
        ensure!(table.contains("Foreshadow") && !table.contains(" left"), "{table}");
        clean(&std::fs::read(path)?, "comparison")
    };
    tokio::try_join!(imported, trained, tested)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_long_work_shows_a_bar_with_the_time_that_is_left() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let past = past(directory.path())?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let (path, json) = at(directory.path(), "backtest.json");
    let network = at(directory.path(), "network.onnx").1;
    for (arguments, field) in [
        (import(&past, &aggregator.url), Some("minutes")),
        (train(&network), Some("epochs")),
        (backtest(&past, &json), None),
    ] {
        let (seen, out) = on_a_terminal(&arguments, directory.path()).await?;
        ensure!(seen.contains(['░', '█']) && seen.contains(" %") && seen.contains(" left"), "{arguments:?}: {seen}");
        match field {
            Some(field) => clean(&out, field)?,
            None => {
                let table = String::from_utf8_lossy(&out);
                ensure!(table.contains("Foreshadow") && !table.contains(" left"), "{table}");
                clean(&std::fs::read(&path)?, "comparison")?;
            }
        }
    }
    Ok(())
}
