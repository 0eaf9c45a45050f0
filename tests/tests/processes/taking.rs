//! What takes machines away, with the aggregator killed, stopped, or its clock set wrong in the middle of it: each is detached
//! once and ended once, of ours alone, and nobody by a plan that is too old or before its lease is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow_tests::process::{eventually, pause};
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::history::now;
use super::machines::{LONG, Setup, WITHIN, World};
use super::stops::WrongClock;

/// Machines of the group, all but two of which may go; a forecast of noise is trusted little, and takes a third of them at once. How
/// many may go is said by the minimum.
pub const SIZE: usize = 26;
pub const LOAD: f64 = 90.0;
/// Of a lease, seconds.
const LEASE: u32 = 90;

/// A group of which nobody is taken away yet.
pub async fn world(environment: &[(&str, String)]) -> anyhow::Result<World> {
    world_of(environment, LEASE).await
}

/// The same, with leases of so many seconds.
async fn world_of(environment: &[(&str, String)], lease: u32) -> anyhow::Result<World> {
    let more = format!(
        "[shadow]\ndefault_seconds = {lease}\nmaximum_seconds = 7200\n\
         [safety]\nwarm_up_seconds = 0\nquiet_seconds = 20\nshare_15_minutes = 1.0\nshare_6_hours = 1.0\nfleet_share = 1.0\n\
         [group.web]\nlaunch_lead_seconds = 30\nreattach_lead_seconds = 10\n"
    );
    let setup = Setup {
        size: SIZE,
        load: LOAD as u32,
        past: Some(LOAD),
        mode: "observe",
        more: &more,
        environment,
        ..Setup::default()
    };
    let world = World::start_with(setup).await?;
    world.set_minimum("web", SIZE)?;
    Ok(world)
}

/// The aggregator is killed while its call is held; what was held goes on although nobody waits for it any more. Whose answer
/// was lost is killed once more, while it is found out what became of it, or while it waits to ask again.
pub async fn killed(world: &mut World, then: &str) -> anyhow::Result<()> {
    world.held("web").await?;
    world.kill().await?;
    match then {
        "found out" => {
            world.hold("web", "outcome before")?;
            world.serve().await?;
            world.held("web").await?;
            world.kill().await?;
        }
        "waits" => {
            world.answer_not_yet("web")?;
            world.release("web")?;
            world.serve().await?;
            world.waits("web").await?;
            world.kill().await?;
        }
        _ => {}
    }
    world.release("web")?;
    world.serve().await
}

/// How many steps of an action were given up in doubt.
pub fn doubted(intents: &[Value], action: &str) -> usize {
    intents.iter().filter(|it| it["action"] == action && it["settled"]["in_doubt"] == true).count()
}

/// Whom an operation was done to, and how often.
pub fn times(world: &World, operation: &str) -> anyhow::Result<BTreeMap<String, u32>> {
    let mut times = BTreeMap::new();
    for line in world.done()?.into_iter().filter(|line| line[0] == operation) {
        for machine in &line[2..] {
            *times.entry(machine.clone()).or_default() += 1;
        }
    }
    Ok(times)
}

/// Lost on its way, described in a group that is to be claimed and in one that is ours, its lease not tagged yet, called and not done
/// yet, done and not answered, finding out what became of it, and waiting to ask again.
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_every_state_of_the_journal_it_detaches_once() -> anyhow::Result<()> {
    let mut world = world(&[]).await?;
    world.hold("web", "tag_group before")?;
    world.set_mode("web", "full").await?;
    let states = [
        ("tag_group before", ""),
        ("detach never", ""),
        ("describe open detach", ""),
        ("tag open detach", ""),
        ("detach before", ""),
        ("detach after", ""),
        ("detach after", "found out"),
        ("detach after", "waits"),
    ];
    for (left, (what, then)) in (0..SIZE).rev().zip(states) {
        world.hold("web", what)?;
        world.set_minimum("web", left)?;
        killed(&mut world, then).await.with_context(|| format!("{what} {then}"))?;
        world.settled_at("web", left).await.with_context(|| format!("killed at {what} {then}"))?;
    }
    let out = times(&world, "detach")?;
    assert!(out.len() == states.len() && out.values().all(|times| *times == 1), "each once: {out:?}");
    let intents = world.intents("web").await?;
    // Tags are set in the call's own state of the journal: who dies there may have called.
    assert_eq!(doubted(&intents, "detach"), 2, "at its tags and lost on its way it was given up: {intents:#?}");
    let sessions = world.sessions("web").await?;
    let ours = sessions.iter().filter(|it| it["origin"] == "ours").filter_map(|it| it["instance"].as_str());
    assert_eq!(ours.collect::<BTreeSet<_>>(), out.keys().map(String::as_str).collect(), "{sessions:#?}");
    // Each carries the tags by which it would be found if all of this were lost.
    let state = world.state()?;
    for machine in out.keys().filter(|machine| state["machines"][machine]["state"] == "running") {
        let tags = &state["machines"][machine]["tags"];
        assert!(["until", "group", "owner"].iter().all(|tag| tags[format!("foreshadow:{tag}")].is_string()), "{tags}");
    }
    Ok(())
}

/// The same of terminations, of shadows whose lease is over.
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_every_state_of_the_journal_it_terminates_once() -> anyhow::Result<()> {
    let mut world = world(&[]).await?;
    world.set_mode("web", "full").await?;
    // Leases that end one after the other; where two end together one call takes both, and the first may end unheld. Half of a group may go in a quarter of an
    // hour, whatever its share: those that went are held against those that are left.
    let mut left = SIZE;
    for _ in 0..12 {
        left -= 1;
        world.set_minimum("web", left)?;
        world.settled_at("web", left).await?;
    }
    let states = [
        ("describe open terminate", ""),
        ("terminate before", ""),
        ("terminate after", ""),
        ("terminate after", "found out"),
        ("terminate after", "waits"),
        ("terminate never", ""),
    ];
    for (what, then) in states {
        world.hold("web", what)?;
        killed(&mut world, then).await.with_context(|| format!("{what} {then}"))?;
    }
    let out = times(&world, "detach")?;
    // A lease that ends right after a start is extended once more: not all agree yet.
    eventually("all that were detached have ended", 2 * LONG, async || {
        let settled = world.intents("web").await?.iter().all(|it| !it["settled"].is_null());
        Ok((settled && times(&world, "terminate")? == out).then_some(()))
    })
    .await
    .with_context(|| world.said())?;
    assert!(out.len() == SIZE - left && out.values().all(|times| *times == 1), "each once: {out:?}");
    let (intents, state) = (world.intents("web").await?, world.state()?);
    assert_eq!(doubted(&intents, "terminate"), 1, "what was lost on its way was given up: {intents:#?}");
    let members = state["groups"]["web"]["members"].as_array().context("members")?;
    assert!(members.len() == left && members.iter().all(|it| it.as_str().is_some_and(|it| !out.contains_key(it))));
    Ok(())
}

/// The same of who is brought back: its lease not taken off yet, off and not read back, off and not called, done and not answered,
/// found out, waiting to ask again, and lost on its way. Whoever stays outside carries its lease again soon.
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_every_state_of_the_journal_it_brings_back_once() -> anyhow::Result<()> {
    let mut world = world_of(&[], 3_600).await?;
    world.set_mode("web", "full").await?;
    let mut left = SIZE;
    for _ in 0..9 {
        left -= 1;
        world.set_minimum("web", left)?;
        world.settled_at("web", left).await?;
    }
    let out = times(&world, "detach")?;
    let states = [
        ("describe open attach", ""),
        ("tag open attach", ""),
        ("outside open attach", ""),
        ("attach before", ""),
        ("attach after", ""),
        ("attach after", "found out"),
        ("attach after", "waits"),
        ("attach never", ""),
    ];
    for (what, then) in states {
        left += 1;
        world.hold("web", what)?;
        world.set_minimum("web", left)?;
        killed(&mut world, then).await.with_context(|| format!("{what} {then}\n{}", world.said()))?;
        world.settled_at("web", left).await.with_context(|| format!("killed at {what} {then}"))?;
    }
    let back = times(&world, "attach")?;
    assert!(
        back.values().all(|times| *times == 1) && back.keys().all(|it| out.contains_key(it)),
        "each once: {back:?}"
    );
    // What was in the middle of its call came back by it, and by no other.
    assert!(back.len() >= 4, "{back:?}");
    eventually("whoever stands outside carries its lease", WITHIN, async || {
        let state = world.state()?;
        let members = state["groups"]["web"]["members"].as_array().context("members")?.clone();
        let outside = out.keys().filter(|it| !members.contains(&Value::from(it.as_str())));
        let whole = |it: &String| {
            let tags = &state["machines"][it]["tags"];
            ["until", "group", "owner"].iter().all(|tag| tags[format!("foreshadow:{tag}")].is_string())
        };
        let serves = members.iter().filter_map(Value::as_str);
        let bare = |it: &str| state["machines"][it]["tags"].as_object().is_none_or(serde_json::Map::is_empty);
        Ok((outside.clone().all(whole) && serves.clone().all(bare)).then_some(()))
    })
    .await
    .with_context(|| world.said())?;
    assert!(times(&world, "terminate")?.is_empty());
    Ok(())
}

/// Stopped for longer than a plan is valid between the plan and its call: nobody is detached or ended by it, and both are decided anew.
#[tokio::test(flavor = "multi_thread")]
async fn stopped_for_longer_than_a_plan_is_valid_it_takes_nobody_away_by_it() -> anyhow::Result<()> {
    let world = world(&[]).await?;
    world.set_mode("web", "full").await?;
    for (action, what) in [("detach", "tag before"), ("terminate", "describe open terminate")] {
        world.hold("web", what)?;
        world.set_minimum("web", SIZE - 1)?;
        world.held("web").await?;
        let intents = world.intents("web").await?;
        let old = intents.into_iter().find(|it| it["settled"].is_null()).context("an open intent")?;
        kill_process(world.pid()?, Signal::STOP)?;
        // A plan is valid for sixty seconds: this is what the test is about.
        let valid_until = old["valid_until"].as_i64().context("a time")?;
        eventually("the plan is old", WITHIN, async || Ok((now() > valid_until + 1).then_some(()))).await?;
        world.release("web")?;
        kill_process(world.pid()?, Signal::CONT)?;
        let late = eventually("the old step is settled", WITHIN, async || {
            let intents = world.intents("web").await?;
            Ok(intents.into_iter().find(|it| it["token"] == old["token"] && !it["settled"].is_null()))
        })
        .await?;
        let settled = &late["settled"];
        assert_eq!((&settled["settled"], &settled["in_doubt"]), (&"refused".into(), &false.into()), "{late:#}");
        let why = settled["why"].to_string();
        assert!(["too old", "the plan of", "s old by now"].iter().any(|part| why.contains(part)), "{why}");
        let done = eventually("a later plan does it", LONG, async || {
            Ok(world.done()?.into_iter().find(|line| line[0] == action))
        })
        .await
        .with_context(|| world.said())?;
        assert_ne!(old["token"], done[1]);
    }
    assert_eq!(times(&world, "detach")?, times(&world, "terminate")?);
    Ok(())
}

/// The wall clock jumps an hour ahead, and back, while a shadow of ours stands under a lease of moments: it is not ended early.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_an_hour_ends_no_shadow_of_ours() -> anyhow::Result<()> {
    let clock = WrongClock::new()?;
    let world = world(&clock.environment()).await?;
    world.set_mode("web", "full").await?;
    world.set_minimum("web", SIZE - 1)?;
    let session = async || {
        let sessions = world.sessions("web").await?;
        Ok::<_, anyhow::Error>(sessions.into_iter().find(|it| it["origin"] == "ours"))
    };
    let first = eventually("a shadow of ours", WITHIN, session).await.with_context(|| world.said())?;
    let until = |session: &Value| session["until"].as_i64().context("a time");
    for (number, offset) in (1..).zip(["+3600", "+0"]) {
        clock.jump(offset)?;
        clock.noticed(&world, number).await?;
        let now = session().await?.context("its session")?;
        ensure!(now["ended"].is_null(), "{offset}: {now:#}");
        ensure!(until(&now)? >= until(&first)? + 3_600, "{offset}: the hour that never was is not waited: {now:#}");
        // Its lease would be over by now, by the clock that ran on.
        pause(Duration::from_secs(40)).await;
        let done = world.done()?;
        ensure!(done.len() == 1 && done[0][0] == "detach", "{offset}: {done:?}");
    }
    let last = session().await?.context("its session")?;
    ensure!(last["ended"].is_null(), "{last:#}");
    Ok(())
}
