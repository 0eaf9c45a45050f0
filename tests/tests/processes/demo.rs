//! `foreshadow demo` as a stranger runs it: the whole circle within two minutes, and honest figures.

use std::time::Duration;

use anyhow::Context as _;
use foreshadow_tests::process::{Process, binary, eventually, free_port, pause};
use foreshadow_tests::web;
use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

/// Simulated hours that two minutes show at the speed the demo has by itself.
const HOURS: &str = "40";

fn demo(arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(binary("foreshadow")?);
    command.args(["demo", "--plain", "--listen", &format!("127.0.0.1:{}", free_port()?)]).args(arguments);
    Ok(command)
}

/// One row of the comparison: its name, minutes above the target, minutes above 90 %, instance-hours.
fn row(text: &str, name: &str) -> anyhow::Result<(u32, u32, f64)> {
    let line = text.lines().filter_map(|line| line.trim().strip_prefix(name)).next_back();
    let line = line.with_context(|| format!("no row for {name} in\n{text}"))?;
    let mut figures = line.split_whitespace();
    let mut next = || figures.next().context("a figure");
    Ok((next()?.parse()?, next()?.parse()?, next()?.parse()?))
}

#[tokio::test]
async fn two_minutes_show_the_whole_circle_and_compare_it_with_reactive_scaling() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    // As fast as this machine can; what happens is the same at any speed.
    let command = demo(&["--hours", HOURS, "--speed", "600", "--seconds", "240"])?;
    let mut process = Process::start("demo", command, directory.path())?;
    eventually("the summary", Duration::from_secs(240), async || {
        Ok(process.output().contains("the same load, scaled").then_some(()))
    })
    .await?;
    assert!(process.ended().await?.success(), "{}", process.output());
    let text = process.output();
    let (story, summary) = text.split_once("Foreshadow demo, ").context("a summary")?;
    for step in ["launch ", "detach ", "re-attach ", "terminate "] {
        let told = |part: &str| part.lines().any(|line| line.contains(step) && line.contains(": "));
        assert!(told(story), "{step} is told as it happens in\n{text}");
        assert!(told(summary), "{step} is in the summary in\n{text}");
    }
    assert!(story.contains(" ahead of load: cpu needs "), "a launch before the load in\n{text}");
    assert!(story.contains("the forecast of an hour ago was wrong"), "a surprise in\n{text}");
    assert!(story.contains(" from shadow: all agree: "), "a termination that was earned in\n{text}");
    let ours = row(summary, "Foreshadow ")?;
    let reactive = row(summary, "reactive 60 % ")?;
    assert!(ours.0 < reactive.0 && ours.1 <= reactive.1, "above the target in fewer minutes:\n{summary}");
    let dear = summary.lines().find(|line| line.contains(", as dear")).context("a dearer one")?;
    let (name, _) = dear.trim().split_once(", as dear").context("its name")?;
    let dear = row(summary, &format!("{name}, as dear"))?;
    assert!((dear.2 / ours.2 - 1.0).abs() < 0.1, "it costs about as much:\n{summary}");
    assert!(ours.0 < dear.0, "and is above the target for longer:\n{summary}");
    Ok(())
}

#[tokio::test]
async fn interrupted_it_ends_with_a_summary_and_without_an_error() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut process = Process::start("demo", demo(&[])?, directory.path())?;
    eventually("the first line", Duration::from_secs(60), async || {
        Ok(process.output().contains("samples durable").then_some(()))
    })
    .await?;
    let id = Pid::from_raw(i32::try_from(process.id()?)?).context("the process id")?;
    kill_process(id, Signal::INT)?;
    assert!(process.ended().await?.success(), "{}", process.output());
    let text = process.output();
    for word in ["this host", "SIMULATED", "the same load, scaled", "Foreshadow "] {
        assert!(text.contains(word), "{word} in\n{text}");
    }
    Ok(())
}

#[tokio::test]
async fn the_red_button_holds_the_simulated_group_as_well() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut command = Command::new(binary("foreshadow")?);
    let port = free_port()?;
    command.args(["demo", "--plain", "--speed", "600", "--listen", &format!("127.0.0.1:{port}")]);
    let process = Process::start("demo", command, directory.path())?;
    let done = || {
        let text = process.output();
        let kinds = ["launch ", "detach ", "re-attach ", "terminate "];
        text.lines()
            .filter(|line| {
                !line.contains("this host") && line.contains(": ") && kinds.iter().any(|kind| line.contains(kind))
            })
            .count()
    };
    let grows = async |than: usize| {
        eventually("something is done", Duration::from_secs(120), async || Ok((done() > than).then_some(()))).await
    };
    grows(0).await?;
    let say = async |path: &str| {
        let url = format!("http://127.0.0.1:{port}{path}");
        let answer = web::request(Method::POST, &url, &[], r#"{"reason": "the test"}"#.to_owned()).await?;
        anyhow::ensure!(answer.status.is_success(), "{}", answer.body);
        anyhow::Ok(())
    };
    say("/pause").await?;
    // The turn that ran meanwhile ends.
    pause(Duration::from_secs(3)).await;
    let before = done();
    // A morning goes by, in which load rises.
    pause(Duration::from_secs(8)).await;
    assert_eq!(done(), before, "paused:\n{}", process.output());
    say("/resume").await?;
    grows(before).await
}
