//! The aggregator is killed, stopped, or is there twice, in the middle of what it does to a group. The fleet is a program
//! that counts what is done to it and can be held at any operation, before it is done or after.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow_tests::fleet::{Fleet, Script};
use foreshadow_tests::process::{Aggregator, Process, binary, eventually, free_port, pause};
use foreshadow_tests::web;
use http::Method;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

pub(super) const SIZE: usize = 10;
/// Machines that have an agent from the start, in the group or not.
const AGENTS: usize = 16;
const WITHIN: Duration = Duration::from_secs(120);

/// Machines in a file. `hold` beside it names an operation and whether it is held before or after it is done, or before and
/// only while the aggregator at `url` has an open intent; then `held` appears, and it goes on when `hold` is gone. Every
/// operation that was done is a line in `done`, every question what became of one a line in `asked`; the next of them is
/// answered by "not yet" when there is a `not_yet`, which goes with it.
const PROGRAM: &str = r#"#!/usr/bin/env python3
import fcntl, json, os, sys, time
HERE = os.path.dirname(os.path.abspath(__file__))
path = lambda name: os.path.join(HERE, name)
ask = json.load(sys.stdin)
operation = ask["operation"]

def is_open():
    import urllib.request
    with urllib.request.urlopen(open(path("url")).read(), timeout=10) as answer:
        return any(intent["settled"] is None for intent in json.load(answer))

def held(when):
    try:
        wanted = open(path("hold")).read().split()
    except FileNotFoundError:
        return
    if wanted == [operation, when] and (when != "open" or is_open()):
        open(path("held"), "w").write(operation)
        while os.path.exists(path("hold")):
            time.sleep(0.02)

held("before")
held("open")
with open(path("lock"), "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    state = json.load(open(path("machines.json")))
    answer = {"result": "done"}
    if operation == "describe":
        members = [{"instance": id, "lifecycle": "InService"} for id in state["members"]]
        group = {"minimum": 1, "maximum": 40, "desired": len(members), "members": members, "owner": state["owner"]}
        answer = {"complete": True, "groups": {"web": group}}
    elif operation == "tag_group":
        state["owner"] = ask["tags"].get("foreshadow:owner", state["owner"])
    elif operation == "launch":
        if ask["token"] not in state["tokens"]:
            new = ["m-%d" % (len(state["members"]) + n) for n in range(ask["count"])]
            state["members"] += new
            state["tokens"][ask["token"]] = new
            open(path("done"), "a").write(ask["token"] + "\n")
        answer["instances"] = state["tokens"][ask["token"]]
    elif operation == "outcome":
        new = state["tokens"].get(ask["token"])
        answer = {"result": "not_done"} if new is None else {"result": "done", "instances": new}
        open(path("asked"), "a").write(ask["token"] + "\n")
        if os.path.exists(path("not_yet")):
            os.remove(path("not_yet"))
            answer = {"result": "not_yet"}
    elif operation in ("outside", "tagged"):
        answer = {"instances": []}
    json.dump(state, open(path("machines.new"), "w"))
    os.replace(path("machines.new"), path("machines.json"))
held("after")
print(json.dumps(answer))
"#;

pub(super) struct World {
    pub(super) directory: TempDir,
    port: u16,
    aggregator: Option<Aggregator>,
    /// Points that the whole group carries.
    load: Arc<AtomicU32>,
    more: String,
    environment: Vec<(String, String)>,
    _fleet: Fleet,
}

impl World {
    async fn start() -> anyhow::Result<Self> {
        Self::start_with("", &[]).await
    }

    /// With more in the configuration, and in the environment.
    pub(super) async fn start_with(more: &str, environment: &[(&str, String)]) -> anyhow::Result<Self> {
        let (directory, port) = (tempfile::tempdir()?, free_port()?);
        let program = directory.path().join("machines");
        std::fs::write(&program, PROGRAM)?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
        let named = |count: usize| (0..count).map(|number| format!("m-{number}")).collect::<Vec<_>>();
        let state = serde_json::json!({ "members": named(SIZE), "owner": null, "tokens": {} });
        let file = directory.path().join("machines.json");
        std::fs::write(&file, state.to_string())?;
        std::fs::write(directory.path().join("url"), format!("http://127.0.0.1:{port}/intents?group=web&limit=100"))?;
        let load = Arc::new(AtomicU32::new(550));
        let shared = load.clone();
        let fleet = Fleet::start(&Script {
            aggregator: format!("http://127.0.0.1:{port}"),
            instances: named(AGENTS),
            group: String::new(),
            instance_type: "m5.large".to_owned(),
            interval: Duration::from_secs(1),
            load: Arc::new(move |index, _| match members(&file) {
                Ok(count) if index < count => shared.load(Ordering::Relaxed) as f32 / count as f32,
                _ => 2.0,
            }),
        })?;
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let mut world =
            Self { directory, port, aggregator: None, load, more: more.to_owned(), environment, _fleet: fleet };
        world.serve().await?;
        eventually("the group is known", WITHIN, async || {
            Ok(web::get(&world.url("/groups/web")).await?.status.is_success().then_some(()))
        })
        .await?;
        // A program's word about where its cloud is counts when somebody vouches for it.
        let answer = web::request(Method::POST, &world.url("/limits"), &[], r#"{"reason": "a test"}"#).await?;
        ensure!(answer.status.is_success(), "{}", answer.body);
        let mode = r#"{"mode": "scale-out", "reason": "the test"}"#;
        let answer = web::request(Method::POST, &world.url("/groups/web/mode"), &[], mode).await?;
        ensure!(answer.status.is_success(), "{}", answer.body);
        Ok(world)
    }

    fn config(&self) -> String {
        let program = self.directory.path().join("machines");
        format!(
            "[inventory]\ninterval_seconds = 5\nwarm_up_seconds = 0\n[inventory.command]\nprogram = {program:?}\n\
             groups = [\"web\"]\nreach = \"loopback\"\n{}",
            self.more
        )
    }

    pub(super) async fn serve(&mut self) -> anyhow::Result<()> {
        let environment: Vec<(&str, &str)> =
            self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let aggregator = Aggregator::start_on(self.directory.path(), &self.config(), self.port, &environment).await?;
        self.aggregator = Some(aggregator);
        Ok(())
    }

    /// Somebody takes a machine out of the group by hand.
    fn take_out(&self, machine: &str) -> anyhow::Result<()> {
        let lock = std::fs::File::create(self.file("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let file = self.file("machines.json");
        let mut state: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
        state["members"].as_array_mut().context("members")?.retain(|member| member != machine);
        let new = self.file("machines.test");
        std::fs::write(&new, state.to_string())?;
        Ok(std::fs::rename(new, file)?)
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn hold(&self, operation: &str, when: &str) -> anyhow::Result<()> {
        remove(&self.file("held"))?;
        Ok(std::fs::write(self.file("hold"), format!("{operation} {when}"))?)
    }

    pub(super) fn release(&self) -> anyhow::Result<()> {
        remove(&self.file("hold"))
    }

    pub(super) async fn held(&self, operation: &str) -> anyhow::Result<()> {
        eventually(&format!("{operation} is held"), WITHIN, async || Ok(self.file("held").exists().then_some(()))).await
    }

    /// How often the program was asked what became of a call.
    fn asked(&self) -> anyhow::Result<usize> {
        match std::fs::read_to_string(self.file("asked")) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            asked => Ok(asked?.lines().count()),
        }
    }

    fn machines(&self) -> anyhow::Result<usize> {
        members(&self.file("machines.json"))
    }

    /// Load for so many machines.
    pub(super) fn carry(&self, machines: usize) -> anyhow::Result<()> {
        self.load.store(u32::try_from(60 * machines - 20)?, Ordering::Relaxed);
        Ok(())
    }

    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        self.aggregator.take().context("it runs")?.process.kill().await
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        let id = self.aggregator.as_ref().context("it runs")?.process.id()?;
        Pid::from_raw(i32::try_from(id)?).context("a process id")
    }

    pub(super) async fn intents(&self) -> anyhow::Result<Vec<Value>> {
        let intents = web::get_json(&self.url("/intents?group=web&limit=100")).await?;
        Ok(intents.as_array().cloned().unwrap_or_default())
    }

    /// Waits until so many machines are there and everything that was begun is settled.
    pub(super) async fn settled_at(&self, machines: usize) -> anyhow::Result<()> {
        let what = format!("{machines} machines and nothing open");
        eventually(&what, WITHIN, async || {
            let intents = self.intents().await?;
            let open = intents.iter().any(|intent| intent["settled"].is_null());
            Ok((!open && self.machines()? == machines).then_some(()))
        })
        .await
        .with_context(|| self.aggregator.as_ref().map(|it| it.process.output()).unwrap_or_default())
    }
}

/// How many machines are in the group by its file.
fn members(file: &Path) -> anyhow::Result<usize> {
    let state: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    Ok(state["members"].as_array().context("members")?.len())
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Each state of the journal with the process killed in it: described before the call in a group that is to be claimed and in
/// one that is ours, called and not done yet, done and not answered, finding out what became of it, and waiting to ask again. One
/// machine more is needed each time, and one more is there.
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_every_state_of_the_journal_it_launches_once() -> anyhow::Result<()> {
    let mut world = World::start().await?;
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
        world.hold(first.0, first.1)?;
        world.carry(machines)?;
        world.held(first.0).await?;
        world.kill().await?;
        if when == "not yet" {
            let before = world.asked()?;
            std::fs::write(world.file("not_yet"), "")?;
            world.release()?;
            world.serve().await?;
            eventually("it is told to ask later", WITHIN, async || Ok((!world.file("not_yet").exists()).then_some(())))
                .await?;
            // It has read that by now, and asks again after five seconds or more.
            pause(Duration::from_secs(1)).await;
            world.kill().await?;
            assert_eq!(world.asked()?, before + 1, "it was killed while it waited");
        } else if operation == "outcome" {
            world.hold(operation, when)?;
            world.serve().await?;
            world.held(operation).await?;
            world.kill().await?;
        }
        // What was held goes on although nobody waits for it any more.
        world.release()?;
        world.serve().await?;
        world.settled_at(machines).await.with_context(|| format!("killed at {operation}, {when}"))?;
    }
    let done = std::fs::read_to_string(world.file("done"))?;
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    for token in done.lines() {
        *times.entry(token).or_default() += 1;
    }
    assert_eq!((times.len(), times.values().max()), (states.len(), Some(&1)), "{times:?}");
    let intents = world.intents().await?;
    let launched = intents.iter().filter(|it| it["settled"]["settled"] == "done").count();
    assert_eq!(launched, states.len(), "{intents:#?}");
    Ok(())
}

/// Killed when a launch was written and before it was sent, and started again when its plan is too old: it is sent no more, no
/// doubt remains, and what is needed is decided anew.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_and_never_sent_is_not_sent_when_its_plan_is_too_old() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    world.hold("describe", "open")?;
    world.carry(SIZE + 1)?;
    world.held("describe").await?;
    let old = world.intents().await?.first().cloned().context("an intent")?;
    world.kill().await?;
    // A plan is valid for sixty seconds: this is what the test is about.
    let valid_until = old["valid_until"].as_i64().context("a time")?;
    eventually("the plan is old", WITHIN, async || Ok((now() > valid_until + 1).then_some(()))).await?;
    world.release()?;
    world.serve().await?;
    world.settled_at(SIZE + 1).await?;
    let intents = world.intents().await?;
    let late = intents.iter().find(|it| it["token"] == old["token"]).context("the old intent")?;
    assert_eq!(late["settled"]["settled"], "refused", "{late:#}");
    assert_eq!(late["settled"]["in_doubt"], false, "{late:#}");
    assert!(late["settled"]["why"].to_string().contains("too old"), "{late:#}");
    let done = std::fs::read_to_string(world.file("done"))?;
    let token = old["token"].as_str().context("a token")?;
    assert!(!done.lines().any(|line| line == token) && done.lines().count() == 1, "{done}");
    let anew = intents.iter().find(|it| it["settled"]["settled"] == "done").context("the new intent")?;
    assert!(anew["generation"].as_u64() > old["generation"].as_u64(), "decided anew: {intents:#?}");
    Ok(())
}

/// Stopped for longer than a plan is valid, between the plan and its call, it carries the plan out no more.
#[tokio::test(flavor = "multi_thread")]
async fn stopped_for_longer_than_a_plan_is_valid_it_does_not_carry_it_out() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.hold("tag_group", "before")?;
    world.carry(SIZE + 1)?;
    world.held("tag_group").await?;
    let old = world.intents().await?.first().cloned().context("an intent")?;
    kill_process(world.pid()?, Signal::STOP)?;
    // A plan is valid for sixty seconds: this is what the test is about.
    let valid_until = old["valid_until"].as_i64().context("a time")?;
    eventually("the plan is old", WITHIN, async || Ok((now() > valid_until + 1).then_some(()))).await?;
    assert_eq!(world.machines()?, SIZE);
    world.release()?;
    kill_process(world.pid()?, Signal::CONT)?;
    world.settled_at(SIZE + 1).await?;
    let intents = world.intents().await?;
    let late = intents.iter().find(|it| it["token"] == old["token"]).context("the old intent")?;
    assert_eq!(late["settled"]["settled"], "refused", "{late:#}");
    let why = late["settled"]["why"].to_string();
    assert!(why.contains("too old") || why.contains("the plan of"), "{why}");
    let anew = intents.iter().find(|it| it["settled"]["settled"] == "done").context("the new intent")?;
    assert!(anew["generation"].as_u64() > old["generation"].as_u64(), "decided anew: {intents:#?}");
    Ok(())
}

/// The aggregator's wall clock jumps an hour ahead, and back: no lease ends, and nothing is changed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_an_hour_ends_no_lease_and_changes_nothing() -> anyhow::Result<()> {
    let faked = ["x86_64", "aarch64"].map(|machine| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1"));
    let preload = faked.into_iter().find(|path| Path::new(path).exists()).context("libfaketime is not installed")?;
    let directory = tempfile::tempdir()?;
    let (clock, new) = (directory.path().join("clock"), directory.path().join("clock.new"));
    let jump = |offset: &str| -> anyhow::Result<()> {
        std::fs::write(&new, offset)?;
        Ok(std::fs::rename(&new, &clock)?)
    };
    jump("+0")?;
    let environment = [
        ("LD_PRELOAD", preload),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let world = World::start_with("[shadow]\ndefault_seconds = 600\n", &environment).await?;
    world.take_out("m-0")?;
    let session = async || {
        let sessions = web::get_json(&world.url("/shadow/sessions?group=web")).await?;
        let found = sessions.as_array().and_then(|all| all.iter().find(|it| it["instance"] == "m-0")).cloned();
        found.context("no session yet")
    };
    let first = eventually("its session", WITHIN, async || Ok(session().await.ok())).await?;
    let until = |session: &Value| session["until"].as_i64().context("a time");
    let jumps = async || {
        let metrics = web::get(&world.url("/metrics")).await?.body;
        let line = metrics.lines().find_map(|line| line.strip_prefix("foreshadow_clock_jumps_total "));
        Ok::<u32, anyhow::Error>(line.map_or(Ok(0), str::parse)?)
    };
    for (number, offset) in (1..).zip(["+3600", "+0"]) {
        jump(offset)?;
        eventually("the jump is noticed", WITHIN, async || Ok((jumps().await? == number).then_some(()))).await?;
        eventually("a plan that holds for it", WITHIN, async || {
            let plan = web::get_json(&world.url("/groups/web")).await?["plan"].clone();
            Ok(plan["holds"].to_string().contains("ClockJump").then_some(()))
        })
        .await?;
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
    assert_eq!((world.machines()?, world.intents().await?.len()), (SIZE - 1, 0));
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
    world.settled_at(SIZE + 1).await?;
    assert_eq!(world.intents().await?.iter().filter(|it| it["settled"]["settled"] == "done").count(), 1);
    Ok(())
}

fn now() -> i64 {
    use foreshadow_agent::clock::{Clock as _, HostClock};
    HostClock.wall_micros() / 1_000_000
}
