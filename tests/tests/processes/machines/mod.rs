//! A fleet that is a program of the user's: machines in a file, which counts what is done to it and can be held at any
//! operation, before it is done or after; and the aggregator that acts on it, which can be killed and started again.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow_tests::fleet::{Fleet, Script};
use foreshadow_tests::process::{Aggregator, eventually, free_port};
use foreshadow_tests::web;
use http::Method;
use rustix::fs::{FlockOperation, flock};
use rustix::process::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Machines of a group at the start, where nothing else is said.
pub const SIZE: usize = 10;
/// Machines more that have an agent, for who is launched.
const SPARE: usize = 6;
/// Points an idle machine uses.
const IDLE: f32 = 2.0;
pub const WITHIN: Duration = Duration::from_secs(120);
/// From a lease to its end, or from a call that was lost to the next.
pub const LONG: Duration = Duration::from_secs(300);

const PROGRAM: &str = include_str!("program.py");

/// What the world is at its start.
pub struct Setup<'a> {
    pub groups: &'a [&'a str],
    /// Machines of each.
    pub size: usize,
    /// Points that each group carries, whoever is in it.
    pub load: u32,
    /// Of three days before.
    pub past: Option<f64>,
    pub mode: &'static str,
    /// More of the configuration, and of the environment.
    pub more: &'a str,
    pub environment: &'a [(&'a str, String)],
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self { groups: &["web"], size: SIZE, load: 550, past: None, mode: "scale-out", more: "", environment: &[] }
    }
}

pub struct World {
    pub directory: TempDir,
    port: u16,
    groups: Vec<String>,
    aggregator: Option<Aggregator>,
    load: Arc<AtomicU32>,
    more: String,
    environment: Vec<(String, String)>,
    _fleet: Fleet,
}

impl World {
    /// One group, `web`, that carries what it is made for.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(Setup::default()).await
    }

    pub async fn start_with(setup: Setup<'_>) -> anyhow::Result<Self> {
        let Setup { groups, size, load, past, mode, more, environment } = setup;
        let (directory, port) = (tempfile::tempdir()?, free_port()?);
        let program = directory.path().join("machines");
        std::fs::write(&program, PROGRAM)?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
        let name = |number: usize| format!("m-{number}");
        let mut state = json!({ "groups": {}, "machines": {}, "tokens": {} });
        for (index, group) in groups.iter().enumerate() {
            let members: Vec<String> = (index * size..(index + 1) * size).map(name).collect();
            for member in &members {
                state["machines"][member] = json!({ "state": "running", "tags": {}, "home": group });
            }
            state["groups"][group] = json!({ "members": members, "owner": null, "minimum": 1 });
        }
        let file = directory.path().join("machines.json");
        std::fs::write(&file, state.to_string())?;
        std::fs::write(directory.path().join("url"), format!("http://127.0.0.1:{port}"))?;
        let load = Arc::new(AtomicU32::new(load));
        let shared = load.clone();
        let fleet = Fleet::start(&Script {
            aggregator: format!("http://127.0.0.1:{port}"),
            instances: (0..groups.len() * size + SPARE).map(name).collect(),
            group: String::new(),
            instance_type: "m5.large".to_owned(),
            interval: Duration::from_secs(1),
            load: Arc::new(move |index, _| match beside(&file, &name(index)) {
                Some(count) => shared.load(Ordering::Relaxed) as f32 / count as f32,
                None => IDLE,
            }),
        })?;
        let mut world = Self {
            directory,
            port,
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            aggregator: None,
            load,
            more: more.to_owned(),
            environment: environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            _fleet: fleet,
        };
        world.serve().await?;
        if let Some(points) = past {
            // The first run makes the database, the second finds a history in it.
            world.stop().await?;
            for group in &world.groups {
                super::history::steady(world.directory.path(), group, points, size).await?;
            }
            world.serve().await?;
        }
        for group in &world.groups {
            eventually("the group is known", WITHIN, async || {
                Ok(web::get(&world.url(&format!("/groups/{group}"))).await?.status.is_success().then_some(()))
            })
            .await?;
        }
        // A program's word about where its cloud is counts when somebody vouches for it.
        world.say("/limits", json!({ "reason": "a test" })).await?;
        for group in &world.groups {
            world.set_mode(group, mode).await?;
        }
        Ok(world)
    }

    pub async fn set_mode(&self, group: &str, mode: &str) -> anyhow::Result<()> {
        let (path, body) = (format!("/groups/{group}/mode"), json!({ "mode": mode, "reason": "the test" }));
        // Until the group was described.
        eventually("its mode is set", WITHIN, async || Ok(self.say(&path, body.clone()).await.ok())).await
    }

    pub async fn say(&self, path: &str, body: Value) -> anyhow::Result<()> {
        let answer = web::request(Method::POST, &self.url(path), &[], body.to_string()).await?;
        ensure!(answer.status.is_success(), "{path}: {}", answer.body);
        Ok(())
    }

    pub fn config(&self) -> String {
        let (program, groups) = (self.file("machines"), &self.groups);
        // Longer than anything is held here.
        format!(
            "[inventory]\ninterval_seconds = 5\nwarm_up_seconds = 0\ndrain_seconds = 10\n[inventory.command]\nprogram = {program:?}\n\
             groups = {groups:?}\nreach = \"loopback\"\ntimeout_seconds = 200\n{}",
            self.more
        )
    }

    pub async fn serve(&mut self) -> anyhow::Result<()> {
        let environment: Vec<(&str, &str)> =
            self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let aggregator = Aggregator::start_on(self.directory.path(), &self.config(), self.port, &environment).await?;
        self.aggregator = Some(aggregator);
        Ok(())
    }

    /// Somebody takes a machine out of its group by hand.
    pub fn take_out(&self, group: &str, machine: &str) -> anyhow::Result<()> {
        self.change(|state| {
            let members = state["groups"][group]["members"].as_array_mut().context("members")?;
            members.retain(|member| member != machine);
            Ok(())
        })
    }

    /// Somebody gives a group another minimum.
    pub fn set_minimum(&self, group: &str, minimum: usize) -> anyhow::Result<()> {
        self.change(|state| {
            state["groups"][group]["minimum"] = minimum.into();
            Ok(())
        })
    }

    /// The provider scales a group in by itself, no lower than so many.
    pub fn scales_in(&self, group: &str, floor: usize) -> anyhow::Result<()> {
        self.change(|state| {
            state["groups"][group]["floor"] = floor.into();
            Ok(())
        })
    }

    /// The lease on a machine is over for so many seconds by its tag, as if it were that much later.
    pub fn lease_over_for(&self, machine: &str, seconds: i64) -> anyhow::Result<()> {
        self.change(|state| {
            let tags = state["machines"][machine]["tags"].as_object_mut().context("tags")?;
            tags.insert("foreshadow:until".to_owned(), (super::history::now() - seconds).to_string().into())
                .context("a lease")?;
            Ok(())
        })
    }

    fn change(&self, by: impl FnOnce(&mut Value) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let lock = std::fs::File::create(self.file("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let mut state = self.state()?;
        by(&mut state)?;
        let new = self.file("machines.test");
        std::fs::write(&new, state.to_string())?;
        Ok(std::fs::rename(new, self.file("machines.json"))?)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Holds the next such operation of a group: "detach before", "describe open terminate".
    pub fn hold(&self, group: &str, what: &str) -> anyhow::Result<()> {
        remove(&self.file(&format!("held.{group}")))?;
        // There at once and whole.
        let new = self.file("hold.new");
        std::fs::write(&new, what)?;
        Ok(std::fs::rename(new, self.file(&format!("hold.{group}")))?)
    }

    pub fn release(&self, group: &str) -> anyhow::Result<()> {
        remove(&self.file(&format!("hold.{group}")))
    }

    pub async fn held(&self, group: &str) -> anyhow::Result<()> {
        let held = self.file(&format!("held.{group}"));
        let waited = eventually(&format!("{group} is held"), LONG, async || Ok(held.exists().then_some(()))).await;
        let Err(error) = waited else { return Ok(()) };
        Err(self.explained(group, error).await)
    }

    /// The next question what became of a call in this group is answered by "not yet".
    pub fn answer_not_yet(&self, group: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(self.file(&format!("not_yet.{group}")), "")?)
    }

    /// From now on launches in this group are refused in these words.
    pub fn refuse_launches(&self, group: &str, why: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(self.file(&format!("no_capacity.{group}")), why)?)
    }

    /// It was told to ask later, and waits.
    pub async fn waits(&self, group: &str) -> anyhow::Result<()> {
        let told = self.file(&format!("not_yet.{group}"));
        eventually("it is told to ask later", WITHIN, async || Ok((!told.exists()).then_some(()))).await?;
        // It has read that by now, and asks again after five seconds or more.
        foreshadow_tests::process::pause(Duration::from_secs(1)).await;
        Ok(())
    }

    /// How often the program was asked what became of a call in a group.
    pub fn asked(&self, group: &str) -> anyhow::Result<usize> {
        Ok(lines(&self.file("asked"))?.iter().filter(|line| line[0] == group).count())
    }

    /// What was done, in order: operation, token, machines.
    pub fn done(&self) -> anyhow::Result<Vec<Vec<String>>> {
        lines(&self.file("done"))
    }

    pub fn state(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&std::fs::read_to_string(self.file("machines.json"))?)?)
    }

    /// How many are in a group.
    pub fn machines(&self, group: &str) -> anyhow::Result<usize> {
        Ok(self.state()?["groups"][group]["members"].as_array().context("members")?.len())
    }

    /// Load for so many machines, in each group.
    pub fn carry(&self, machines: usize) -> anyhow::Result<()> {
        self.load.store(u32::try_from(60 * machines - 20)?, Ordering::Relaxed);
        Ok(())
    }

    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.aggregator.take().context("it runs")?.process.kill().await
    }

    /// Stopped as a service is.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        ensure!(self.aggregator.take().context("it runs")?.process.terminate().await?.success(), "it ends well");
        Ok(())
    }

    pub fn pid(&self) -> anyhow::Result<Pid> {
        let id = self.aggregator.as_ref().context("it runs")?.process.id()?;
        Pid::from_raw(i32::try_from(id)?).context("a process id")
    }

    pub async fn intents(&self, group: &str) -> anyhow::Result<Vec<Value>> {
        let intents = web::get_json(&self.url(&format!("/intents?group={group}&limit=100"))).await?;
        Ok(intents.as_array().cloned().unwrap_or_default())
    }

    /// The sessions of a group, open and ended.
    pub async fn sessions(&self, group: &str) -> anyhow::Result<Vec<Value>> {
        let sessions = web::get_json(&self.url(&format!("/shadow/sessions?group={group}"))).await?;
        Ok(sessions.as_array().cloned().unwrap_or_default())
    }

    /// Waits until so many machines are in a group and everything that was begun is settled.
    pub async fn settled_at(&self, group: &str, machines: usize) -> anyhow::Result<()> {
        let what = format!("{machines} machines in {group} and nothing open");
        self.settled(group, &what, async || Ok(self.machines(group)? == machines)).await
    }

    /// Waits until the provider's own scale-in stops at so many and everything that was begun is settled.
    pub async fn settled_at_floor(&self, group: &str, floor: usize) -> anyhow::Result<()> {
        let what = format!("a floor of {floor} in {group} and nothing open");
        self.settled(group, &what, async || Ok(self.state()?["groups"][group]["floor"] == floor)).await
    }

    async fn settled(&self, group: &str, what: &str, so: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let settled = eventually(what, LONG, async || {
            let open = self.intents(group).await?.iter().any(|intent| intent["settled"].is_null());
            Ok((!open && so().await?).then_some(()))
        });
        let Err(error) = settled.await else { return Ok(()) };
        Err(self.explained(group, error).await)
    }

    /// What the aggregator wrote, and what it last decided.
    async fn explained(&self, group: &str, error: anyhow::Error) -> anyhow::Error {
        let plan = web::get_json(&self.url(&format!("/groups/{group}"))).await.map(|group| group["plan"].clone());
        error.context(format!("{}\n{plan:#?}", self.said()))
    }

    /// What the aggregator wrote.
    pub fn said(&self) -> String {
        self.aggregator.as_ref().map(|it| it.process.output()).unwrap_or_default()
    }
}

/// How many are in the group of a machine by the file; `None` for one that is in none.
fn beside(file: &Path, machine: &str) -> Option<usize> {
    let state: Value = serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
    let mut groups = state["groups"].as_object()?.values().filter_map(|group| group["members"].as_array());
    groups.find(|members| members.iter().any(|member| member == machine)).map(Vec::len)
}

/// The words of each line of a file that need not be there.
fn lines(file: &Path) -> anyhow::Result<Vec<Vec<String>>> {
    let text = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text?,
    };
    Ok(text.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect())
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
