//! The aggregator is killed, stopped, or is there twice, in the middle of what it does to a group that needs more. What it
//! takes away: `taking`.

use std::collections::BTreeMap;

use anyhow::Context as _;
use foreshadow_tests::process::{Aggregator, Process, binary, eventually, faketime, free_port};
use foreshadow_tests::web;
use http::Method;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::history::now;
use super::machines::{SIZE, Setup, WITHIN, World};
use super::taking::{doubted, killed};

/// Each state of the journal with the process killed in it: described before the call in a group that is to be claimed and in
/// one that is ours, called and not done yet, done and not answered, finding out what became of it, and waiting to ask again. One
/// machine more is needed each time, and one more is there.
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_every_state_of_the_journal_it_launches_once() -> anyhow::Result<()> {
    let mut world = World::start_with(Setup { mode: "observe", ..Setup::default() }).await?;
    let mut machines = SIZE;
    let states = [
        ("tag_group", "before"),
        ("describe", "open"),
        ("launch", "before"),
        ("launch", "after"),
        ("outcome", "before"),
        ("outcome", "not yet"),
    ];
    for (operation, when) in states {
        // Finding out follows on a call whose answer was lost.
        let first = if operation == "outcome" { ("launch", "after") } else { (operation, when) };
        machines += 1;
        world.hold("web", &format!("{} {}", first.0, first.1))?;
        world.carry(machines)?;
        if operation == "tag_group" {
            world.set_mode("web", "scale-out").await?;
        }
        world.held("web").await?;
        world.kill().await?;
        if when == "not yet" {
            let before = world.asked("web")?;
            world.answer_not_yet("web")?;
            world.release("web")?;
            world.serve().await?;
            world.waits("web").await?;
            world.kill().await?;
            assert_eq!(world.asked("web")?, before + 1, "it was killed while it waited");
        } else if operation == "outcome" {
            world.hold("web", &format!("{operation} {when}"))?;
            world.serve().await?;
            world.held("web").await?;
            world.kill().await?;
        }
        // What was held goes on although nobody waits for it any more.
        world.release("web")?;
        world.serve().await?;
        world.settled_at("web", machines).await.with_context(|| format!("killed at {operation}, {when}"))?;
    }
    let done = world.done()?;
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    for line in &done {
        *times.entry(&line[1]).or_default() += 1;
    }
    assert_eq!((times.len(), times.values().max()), (states.len(), Some(&1)), "{times:?}");
    let intents = world.intents("web").await?;
    let launched = intents.iter().filter(|it| it["settled"]["settled"] == "done").count();
    assert_eq!(launched, states.len(), "{intents:#?}");
    Ok(())
}

/// The same of how low the provider's own scale-in may go, raised and lowered to what the group's minimum is by then: described in a
/// group that is to be claimed and in one that is ours, called and not done yet, done and not answered, found out, waiting to ask
/// again, and lost on its way. Nobody is launched or let go by it.
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_every_state_of_the_journal_it_moves_the_floor_once() -> anyhow::Result<()> {
    const MACHINES: usize = 26;
    // Load for two, now and before, so that the minimum alone says how many are to be kept; nothing is lowered in doubt.
    let setup = Setup {
        size: MACHINES,
        load: 90,
        past: Some(90.0),
        mode: "observe",
        more: "[safety]\nwarm_up_seconds = 0\n",
        ..Setup::default()
    };
    let mut world = World::start_with(setup).await?;
    world.scales_in("web", 1)?;
    world.hold("web", "tag_group before")?;
    world.set_mode("web", "scale-out").await?;
    let states = [
        ("describe open floor", ""),
        ("floor before", ""),
        ("floor after", ""),
        ("floor after", "found out"),
        ("floor after", "waits"),
        ("floor never", ""),
    ];
    let raised = [("tag_group before", "")].into_iter().chain(states).zip((4..).step_by(3));
    let lowered = states.into_iter().zip((4..=19).rev().step_by(3));
    let (mut floor, mut moves) = (1, Vec::new());
    for ((what, then), minimum) in raised.chain(lowered) {
        world.hold("web", what)?;
        world.set_minimum("web", minimum)?;
        killed(&mut world, then).await.with_context(|| format!("{floor} to {minimum}: {what} {then}"))?;
        let settled = world.settled_at_floor("web", minimum).await;
        settled.with_context(|| format!("{floor} to {minimum}: killed at {what} {then}"))?;
        moves.push(format!("{floor}-{minimum}"));
        floor = minimum;
    }
    let done = world.done()?;
    assert!(done.iter().all(|line| line[0] == "floor"), "{done:?}");
    assert_eq!(done.iter().map(|line| &line[2]).collect::<Vec<_>>(), moves.iter().collect::<Vec<_>>(), "once each");
    let intents = world.intents("web").await?;
    // Raised and lowered: what was lost on its way the next plan asked for.
    assert_eq!(doubted(&intents, "floor"), 2, "{intents:#?}");
    assert_eq!(world.machines("web")?, MACHINES);
    Ok(())
}

/// Killed when a launch was written and before it was sent, and started again when its plan is too old: it is sent no more, no
/// doubt remains, and what is needed is decided anew.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_and_never_sent_is_not_sent_when_its_plan_is_too_old() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    world.hold("web", "describe open")?;
    world.carry(SIZE + 1)?;
    world.held("web").await?;
    let old = world.intents("web").await?.first().cloned().context("an intent")?;
    world.kill().await?;
    // A plan is valid for sixty seconds: this is what the test is about.
    let valid_until = old["valid_until"].as_i64().context("a time")?;
    eventually("the plan is old", WITHIN, async || Ok((now() > valid_until + 1).then_some(()))).await?;
    world.release("web")?;
    world.serve().await?;
    world.settled_at("web", SIZE + 1).await?;
    let intents = world.intents("web").await?;
    let late = intents.iter().find(|it| it["token"] == old["token"]).context("the old intent")?;
    assert_eq!(late["settled"]["settled"], "refused", "{late:#}");
    assert_eq!(late["settled"]["in_doubt"], false, "{late:#}");
    assert!(late["settled"]["why"].to_string().contains("too old"), "{late:#}");
    let done = world.done()?;
    assert!(done.len() == 1 && old["token"] != done[0][1], "{done:?}");
    let anew = intents.iter().find(|it| it["settled"]["settled"] == "done").context("the new intent")?;
    assert!(anew["generation"].as_u64() > old["generation"].as_u64(), "decided anew: {intents:#?}");
    Ok(())
}

/// Stopped for longer than a plan is valid, between the plan and its call, it carries the plan out no more.
#[tokio::test(flavor = "multi_thread")]
async fn stopped_for_longer_than_a_plan_is_valid_it_does_not_carry_it_out() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.hold("web", "describe open")?;
    world.carry(SIZE + 1)?;
    world.held("web").await?;
    let old = world.intents("web").await?.first().cloned().context("an intent")?;
    kill_process(world.pid()?, Signal::STOP)?;
    // A plan is valid for sixty seconds: this is what the test is about.
    let valid_until = old["valid_until"].as_i64().context("a time")?;
    eventually("the plan is old", WITHIN, async || Ok((now() > valid_until + 1).then_some(()))).await?;
    assert_eq!(world.machines("web")?, SIZE);
    world.release("web")?;
    kill_process(world.pid()?, Signal::CONT)?;
    world.settled_at("web", SIZE + 1).await?;
    let intents = world.intents("web").await?;
    let late = intents.iter().find(|it| it["token"] == old["token"]).context("the old intent")?;
    assert_eq!(late["settled"]["settled"], "refused", "{late:#}");
    let why = late["settled"]["why"].to_string();
    assert!(["too old", "the plan of", "s old by now"].iter().any(|part| why.contains(part)), "{why}");
    let anew = intents.iter().find(|it| it["settled"]["settled"] == "done").context("the new intent")?;
    assert!(anew["generation"].as_u64() > old["generation"].as_u64(), "decided anew: {intents:#?}");
    Ok(())
}

/// A wall clock that can be set wrong while the process runs.
pub struct WrongClock {
    preload: String,
    directory: TempDir,
}

impl WrongClock {
    pub fn new() -> anyhow::Result<Self> {
        let clock = Self { preload: faketime()?, directory: tempfile::tempdir()? };
        clock.jump("+0")?;
        Ok(clock)
    }

    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("LD_PRELOAD", self.preload.clone()),
            ("FAKETIME_TIMESTAMP_FILE", self.directory.path().join("clock").display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }

    /// To so many seconds beside the true time.
    pub fn jump(&self, offset: &str) -> anyhow::Result<()> {
        let new = self.directory.path().join("new");
        std::fs::write(&new, offset)?;
        Ok(std::fs::rename(&new, self.directory.path().join("clock"))?)
    }

    /// Waits until a world has seen so many jumps, and holds every change for the last.
    pub async fn noticed(&self, world: &World, jumps: u32) -> anyhow::Result<()> {
        eventually("the jump is noticed", WITHIN, async || {
            let metrics = web::get(&world.url("/metrics")).await?.body;
            let line = metrics.lines().find_map(|line| line.strip_prefix("foreshadow_clock_jumps_total "));
            Ok((line.map_or(Ok(0), str::parse::<u32>)? == jumps).then_some(()))
        })
        .await?;
        eventually("a plan that holds for it", WITHIN, async || {
            let plan = web::get_json(&world.url("/groups/web")).await?["plan"].clone();
            Ok(plan["holds"].to_string().contains("ClockJump").then_some(()))
        })
        .await
    }
}

/// The aggregator's wall clock jumps an hour ahead, and back: no lease ends, and nothing is changed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_an_hour_ends_no_lease_and_changes_nothing() -> anyhow::Result<()> {
    let clock = WrongClock::new()?;
    let environment = clock.environment();
    let more = "[shadow]\ndefault_seconds = 600\n";
    let world = World::start_with(Setup { more, environment: &environment, ..Setup::default() }).await?;
    world.take_out("web", "m-0")?;
    let session = async || {
        let sessions = web::get_json(&world.url("/shadow/sessions?group=web")).await?;
        let found = sessions.as_array().and_then(|all| all.iter().find(|it| it["instance"] == "m-0")).cloned();
        found.context("no session yet")
    };
    let first = eventually("its session", WITHIN, async || Ok(session().await.ok())).await?;
    let until = |session: &Value| session["until"].as_i64().context("a time");
    for (number, offset) in (1..).zip(["+3600", "+0"]) {
        clock.jump(offset)?;
        clock.noticed(&world, number).await?;
        let now = session().await?;
        assert!(now["ended"].is_null(), "{offset}: {now:#}");
        assert!(until(&now)? >= until(&first)? + 3_600, "{offset}: the hour that never was is not waited: {now:#}");
    }
    // More is needed by now, and while the clock cannot be trusted nobody acts on it.
    world.carry(SIZE + 2)?;
    eventually("a plan with a need", WITHIN, async || {
        let plan = web::get_json(&world.url("/groups/web")).await?["plan"].clone();
        Ok((plan["need_now"].as_u64() > Some(SIZE as u64)).then_some(()))
    })
    .await?;
    assert_eq!((world.machines("web")?, world.intents("web").await?.len()), (SIZE - 1, 0));
    Ok(())
}

/// Whose tag is on the group.
fn owner(world: &World) -> anyhow::Result<Option<String>> {
    Ok(world.state()?["groups"]["web"]["owner"].as_str().map(str::to_owned))
}

/// Another installation, with a store of its own, has the same group in its configuration and the same mode: it leaves the group
/// alone, also while the owner is away, until somebody takes it over; then the first one does.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_installations_with_one_group_its_owner_alone_acts() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    let first = eventually("it is claimed", WITHIN, async || owner(&world)).await?;
    let (directory, port) = (tempfile::tempdir()?, free_port()?);
    let other = Aggregator::start_on(directory.path(), &world.config(), port, &[]).await?;
    let said = async |path: &str, body: Value| {
        let url = format!("{}{path}", other.url);
        // Until the group was described.
        eventually(path, WITHIN, async || {
            let answer = web::request(Method::POST, &url, &[], body.to_string()).await?;
            Ok(answer.status.is_success().then_some(()))
        })
        .await
    };
    said("/limits", json!({ "reason": "a test" })).await?;
    said("/groups/web/mode", json!({ "mode": "scale-out", "reason": "a test" })).await?;
    world.kill().await?;
    // Its minimum alone asks for two more, of whom no agent need report.
    world.set_minimum("web", SIZE + 2)?;
    let plan =
        async |url: &str| Ok::<_, anyhow::Error>(web::get_json(&format!("{url}/groups/web")).await?["plan"].clone());
    let held = eventually("it holds", WITHIN, async || {
        let plan = plan(&other.url).await?;
        Ok(plan["holds"].to_string().contains("NotOwner").then_some(plan))
    })
    .await?;
    let made_at = held["made_at"].as_i64().context("a time")?;
    eventually("two plans more", WITHIN, async || {
        Ok((plan(&other.url).await?["made_at"].as_i64() > Some(made_at + 20)).then_some(()))
    })
    .await?;
    assert_eq!((world.machines("web")?, world.done()?.len()), (SIZE, 0));
    assert_eq!(owner(&world)?.as_deref(), Some(first.as_str()));
    said("/groups/web/owner", json!({ "reason": "the first one is gone" })).await?;
    eventually("it launches", WITHIN, async || Ok((world.machines("web")? == SIZE + 2).then_some(()))).await?;
    // The first comes back, and reads that the group is not its own any more.
    world.serve().await?;
    let url = world.url("");
    eventually("the first holds", WITHIN, async || {
        Ok(plan(url.trim_end_matches('/')).await?["holds"].to_string().contains("NotOwner").then_some(()))
    })
    .await?;
    world.set_minimum("web", SIZE + 3)?;
    eventually("the new owner launches", WITHIN, async || Ok((world.machines("web")? == SIZE + 3).then_some(())))
        .await?;
    assert!(world.intents("web").await?.iter().all(|it| it["settled"]["settled"] != "done"), "by the owner alone");
    Ok(())
}

/// A second aggregator on the same store does not start, and the first goes on.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_aggregators_on_one_store_the_second_does_not_start() -> anyhow::Result<()> {
    let world = World::start().await?;
    let other = tempfile::tempdir()?;
    let config = other.path().join("foreshadow.toml");
    std::fs::write(&config, world.config())?;
    let mut command = Command::new(binary("foreshadow")?);
    command.arg("serve").arg("--config").arg(&config).arg("--listen").arg(format!("127.0.0.1:{}", free_port()?));
    command.arg("--directory").arg(world.file("data"));
    let mut second = Process::start("second", command, other.path())?;
    let status = second.ended().await?;
    assert!(!status.success(), "{}", second.output());
    assert!(second.output().contains("another"), "{}", second.output());
    world.carry(SIZE + 1)?;
    world.settled_at("web", SIZE + 1).await?;
    assert_eq!(world.intents("web").await?.iter().filter(|it| it["settled"]["settled"] == "done").count(), 1);
    Ok(())
}
