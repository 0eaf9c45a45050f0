//! An older store is put back, or a new one begun, after machines were detached: nothing that the aggregator has kept names them as its
//! own any more. Whom it finds by their tags does not run on for ever.

use std::path::Path;

use anyhow::{Context as _, ensure};
use foreshadow_tests::process::eventually;
use foreshadow_tests::web;
use serde_json::{Value, json};

use super::history::{now, steady};
use super::machines::{LONG, WITHIN, World};
use super::taking::{LOAD, SIZE, times, world};

/// A lease has been over for this long, seconds, when whoever carries it is taken for nobody's: more than a quarter of an hour.
const OVER: i64 = 1_000;

/// Two are detached under a store of which `kept` is a copy from before.
async fn two_detached(world: &mut World, kept: &Path) -> anyhow::Result<Vec<String>> {
    world.set_mode("web", "full").await?;
    world.stop().await?;
    copy(&world.file("data"), kept)?;
    world.serve().await?;
    world.set_minimum("web", SIZE - 2)?;
    world.settled_at("web", SIZE - 2).await?;
    let out: Vec<String> = times(world, "detach")?.into_keys().collect();
    ensure!(out.len() == 2, "{out:?}");
    world.kill().await?;
    ensure!(times(world, "terminate")?.is_empty());
    Ok(out)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Who is stranded, and why.
async fn stranded(world: &World) -> anyhow::Result<Vec<(String, String)>> {
    let found = web::get_json(&world.url("/shadow/stranded")).await?;
    let found = found.as_array().cloned().unwrap_or_default();
    let of = |it: &Value, name: &str| it[name].as_str().unwrap_or_default().to_owned();
    Ok(found.iter().map(|it| (of(it, "instance"), of(it, "why"))).collect())
}

async fn session(world: &World, machine: &str) -> anyhow::Result<Option<Value>> {
    Ok(world.sessions("web").await?.into_iter().rfind(|it| it["instance"] == machine))
}

/// Waits until these were ended, each once and nobody else.
async fn ended(world: &World, machines: &[String]) -> anyhow::Result<()> {
    eventually("they are ended", LONG, async || {
        let ended = times(world, "terminate")?;
        Ok(machines.iter().all(|it| ended.contains_key(it)).then_some(()))
    })
    .await
    .with_context(|| world.said())?;
    let ended = times(world, "terminate")?;
    ensure!(ended.len() == machines.len() && ended.values().all(|times| *times == 1), "once each: {ended:?}");
    Ok(())
}

/// Of two, the store that is put back has one as serving and does not know the other, which was launched after it was kept. Who is
/// not known is adopted by its tags and ended by the plan. Who is known is seen to leave and by whom nobody can tell: it is measured as
/// foreign, told when that lease is over, never ended by itself, and ended by the plan once somebody takes it over.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_store_is_put_back_and_whom_we_detached_meanwhile_is_found_by_its_tags() -> anyhow::Result<()> {
    let mut world = world(&[]).await?;
    let kept = world.file("kept");
    let out = two_detached(&mut world, &kept).await?;
    let [known, unknown] = out.as_slice() else { unreachable!("two") };
    std::fs::remove_dir_all(world.file("data"))?;
    copy(&kept, &world.file("data"))?;
    let file = world.file("data/foreshadow.db");
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", file.display())).await?;
    let forgotten = sqlx::query("DELETE FROM placement WHERE instance = ?").bind(unknown).execute(&pool).await?;
    ensure!(forgotten.rows_affected() > 0, "{unknown} was there");
    pool.close().await;
    for machine in &out {
        world.lease_over_for(machine, OVER)?;
    }
    world.serve().await?;

    let seen = eventually("a session of who is known", WITHIN, async || session(&world, known).await).await?;
    ensure!(seen["origin"] == "foreign", "{seen:#}");
    let told = eventually("who is known is told", LONG, async || {
        let told = stranded(&world).await?;
        Ok((!told.is_empty()).then_some(told))
    })
    .await
    .with_context(|| world.said())?;
    ensure!(told.len() == 1 && told[0].0 == *known && told[0].1.contains("perhaps taken out by hand"), "{told:?}");
    let tag = world.state()?["machines"][known]["tags"]["foreshadow:until"].clone();
    ensure!(tag == "in doubt", "{tag}");
    let ready = web::get(&world.url("/readyz")).await?.body;
    ensure!(ready.contains(&format!("{known} runs and costs, and nobody ends it")), "{ready}");
    let adopted = eventually("who is not known is ours", WITHIN, async || session(&world, unknown).await).await?;
    ensure!(adopted["origin"] == "ours", "{adopted:#}");
    ensure!(adopted["reason"].as_str().is_some_and(|why| why.contains("found by its tag")), "{adopted:#}");
    ended(&world, std::slice::from_ref(unknown)).await?;

    let body = json!({ "group": "web", "reason": "the store was put back" });
    world.say(&format!("/shadow/stranded/{known}/take"), body).await?;
    ended(&world, &out).await?;
    let state = world.state()?;
    ensure!(out.iter().all(|it| state["machines"][it]["state"] == "ended"), "{state:#}");
    ensure!(world.machines("web")? == SIZE - 2, "and nobody else went");
    ensure!(times(&world, "detach")?.len() == 2);
    Ok(())
}

/// With the store goes the installation's name. Its successor leaves group and shadows alone, and tells who is stranded; the group is
/// taken over by one call, the shadows by one each, and then their plan ends them.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_lost_and_its_successor_tells_of_the_shadows_until_they_are_taken_over() -> anyhow::Result<()> {
    let mut world = world(&[]).await?;
    let kept = world.file("kept");
    let out = two_detached(&mut world, &kept).await?;
    std::fs::remove_dir_all(world.file("data"))?;
    for machine in &out {
        world.lease_over_for(machine, OVER)?;
    }
    let tags = |world: &World| -> anyhow::Result<Vec<Value>> {
        let state = world.state()?;
        Ok(out.iter().map(|it| state["machines"][it]["tags"].clone()).collect())
    };
    let before = tags(&world)?;
    let first = world.state()?["groups"]["web"]["owner"].as_str().context("an owner")?.to_owned();
    // The first run makes the database, the second finds a history in it.
    world.serve().await?;
    world.stop().await?;
    steady(world.directory.path(), "web", LOAD, SIZE).await?;
    world.serve().await?;
    eventually("the group is known", WITHIN, async || {
        Ok(web::get(&world.url("/groups/web")).await?.status.is_success().then_some(()))
    })
    .await?;
    world.say("/limits", json!({ "reason": "a test" })).await?;
    world.set_mode("web", "full").await?;
    let told = eventually("both are told", LONG, async || {
        let told = stranded(&world).await?;
        Ok((told.len() == 2).then_some(told))
    })
    .await
    .with_context(|| world.said())?;
    let why = format!("belongs to the installation {first}");
    ensure!(told.iter().all(|(machine, said)| out.contains(machine) && said.contains(&why)), "{told:?}");
    let plan = web::get_json(&world.url("/groups/web")).await?["plan"].clone();
    ensure!(plan["holds"].to_string().contains("NotOwner"), "{plan:#}");
    ensure!(tags(&world)? == before, "another installation's are not touched");
    ensure!(world.done()?.iter().all(|line| line[0] == "detach"), "{:?}", world.done()?);

    world.say("/groups/web/owner", json!({ "reason": "the store is lost" })).await?;
    for machine in &out {
        let body = json!({ "group": "web", "reason": "the store is lost" });
        world.say(&format!("/shadow/stranded/{machine}/take"), body).await?;
    }
    let taken = tags(&world)?;
    let runs = |tags: &Value| {
        let until = tags["foreshadow:until"].as_str().and_then(|until| until.parse::<i64>().ok());
        until.is_some_and(|until| until > now()) && tags["foreshadow:owner"] != first.as_str()
    };
    ensure!(taken.iter().all(runs), "under a lease of this one: {taken:?}");
    ended(&world, &out).await?;
    ensure!(world.machines("web")? == SIZE - 2, "and nobody else went");
    Ok(())
}
