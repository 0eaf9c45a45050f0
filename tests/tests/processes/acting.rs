//! The whole circle at a local AWS behind the fault proxy: real processes, agents with scripted load,
//! an imported history, safety windows as short as a cloud on loopback may have them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow::fleet::MINIMUM_TAG;
use foreshadow_tests::cloud::Cloud;
use foreshadow_tests::fleet::{Fleet, Script};
use foreshadow_tests::process::{Aggregator, eventually, free_port, pause};
use foreshadow_tests::proxy::{Call, Fault, Proxy};
use foreshadow_tests::web;
use http::Method;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::history::steady;

const SIZE: u32 = 12;
/// Points an idle instance uses.
const IDLE: f32 = 2.0;
/// Load that a few carry, and load that nearly all are needed for; points of the whole group.
const LOW: f64 = 200.0;
const HIGH: f64 = 640.0;
/// The load balancer sends nothing to who was launched for this long.
const SLOW_START: Duration = Duration::from_secs(75);
const CONFIG: &str = "\
[inventory]\ninterval_seconds = 5\nwarm_up_seconds = 0\ndrain_seconds = 10\n\
[inventory.aws]\ngroups = [\"web\"]\n\
[shadow]\ndefault_seconds = 90\nmaximum_seconds = 3600\n\
[safety]\nwarm_up_seconds = 0\nquiet_seconds = 20\nshare_15_minutes = 1.0\nshare_6_hours = 1.0\nfleet_share = 1.0\n\
[group.web]\nlaunch_lead_seconds = 30\nreattach_lead_seconds = 10\n";
/// Of the group, whatever the provider's own are.
const BOUNDS: &str = "minimum = 2\nmaximum = 30\n";

/// Who is in the group and what the whole group has to carry.
#[derive(Debug, Default)]
struct Load {
    members: BTreeSet<String>,
    points: f64,
    /// Instances in the order in which their agents were started.
    agents: Vec<String>,
    /// Since when those run that were launched.
    launched: BTreeMap<String, Instant>,
}

impl Load {
    /// Who is sent to. A minute's demand adds up only where each was measured for all of it.
    fn carries(&self, instance: &String) -> bool {
        self.members.contains(instance) && self.launched.get(instance).is_none_or(|since| since.elapsed() >= SLOW_START)
    }

    fn of(&self, index: usize) -> f32 {
        if !self.agents.get(index).is_some_and(|instance| self.carries(instance)) {
            return IDLE;
        }
        let carry = self.members.iter().filter(|instance| self.carries(instance)).count();
        ((self.points / carry as f64) as f32).clamp(IDLE, 100.0)
    }
}

struct World {
    cloud: Cloud,
    proxy: Proxy,
    /// How its shadows leave the group, and more of the group's configuration.
    shadow_by: &'static str,
    more: &'static str,
    aggregator: Option<Aggregator>,
    fleet: Fleet,
    load: Arc<Mutex<Load>>,
    directory: TempDir,
    port: u16,
}

impl World {
    async fn start(shadow_by: &'static str) -> anyhow::Result<Self> {
        Self::start_with(&["us-east-1a"], shadow_by, BOUNDS).await
    }

    /// The same over some zones, with more of the group's configuration: without bounds there, the provider's hold.
    async fn start_with(zones: &[&str], shadow_by: &'static str, more: &'static str) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let cloud = Cloud::start(directory.path()).await?;
        let instances = cloud.template_group("web", SIZE, zones).await?;
        ensure!(instances.len() == SIZE as usize, "{instances:?}");
        let proxy = Proxy::start(&cloud.url).await?;
        let port = free_port()?;
        let load = Load {
            members: instances.iter().cloned().collect(),
            points: LOW,
            agents: instances.clone(),
            ..Load::default()
        };
        let load = Arc::new(Mutex::new(load));
        let shared = load.clone();
        let fleet = Fleet::start(&Script {
            aggregator: format!("http://127.0.0.1:{port}"),
            instances,
            group: String::new(),
            instance_type: "m5.large".to_owned(),
            interval: Duration::from_secs(1),
            load: Arc::new(move |index, _| shared.lock().unwrap_or_else(PoisonError::into_inner).of(index)),
        })?;
        let mut world = Self { cloud, proxy, shadow_by, more, aggregator: None, fleet, load, directory, port };
        // The first run makes the database, the second finds a history in it.
        world.serve().await?;
        let first = world.aggregator.take().context("it runs")?;
        assert!(first.process.terminate().await?.success());
        steady(world.directory.path(), "web", LOW, SIZE as usize).await?;
        world.serve().await?;
        Ok(world)
    }

    async fn serve(&mut self) -> anyhow::Result<()> {
        let mut environment: BTreeMap<&str, &str> = self.cloud.environment().into_iter().collect();
        environment.insert("AWS_ENDPOINT_URL", &self.proxy.url);
        let environment: Vec<(&str, &str)> = environment.into_iter().collect();
        let config = format!("{CONFIG}{}shadow_by = \"{}\"\n", self.more, self.shadow_by);
        self.aggregator = Some(Aggregator::start_on(self.directory.path(), &config, self.port, &environment).await?);
        Ok(())
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn carry(&self, points: f64) {
        self.load.lock().unwrap_or_else(PoisonError::into_inner).points = points;
    }

    /// The load balancer sends to whoever is in service now, and who is new gets an agent.
    async fn balance(&mut self) -> anyhow::Result<BTreeSet<String>> {
        let members: BTreeSet<String> = self.cloud.serving("web").await?.into_iter().collect();
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        load.members.clone_from(&members);
        for instance in &members {
            if !load.agents.contains(instance) {
                load.agents.push(instance.clone());
                load.launched.insert(instance.clone(), Instant::now());
                self.fleet.join(instance);
            }
        }
        Ok(members)
    }

    /// Balances until `found` finds something.
    async fn until<T>(
        &mut self,
        what: &str,
        seconds: u64,
        mut found: impl AsyncFnMut(&mut Self) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        for _ in 0..seconds {
            self.balance().await?;
            match found(self).await {
                Ok(Some(value)) => return Ok(value),
                Ok(None) => {}
                Err(error) => println!("{error:#}"),
            }
            pause(Duration::from_secs(1)).await;
        }
        let plan = web::get_json(&self.url("/groups/web")).await.map(|group| group["plan"].clone());
        let intents = web::get_json(&self.url("/intents?limit=5")).await;
        let log = self.aggregator.as_ref().map(|it| it.process.output()).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().filter(|line| !line.contains("Refreshes")).take(40).collect();
        println!("{:?}", self.load.lock().unwrap_or_else(PoisonError::into_inner));
        anyhow::bail!("not within {seconds} s: {what}\n{plan:#?}\n{intents:#?}\n{}", tail.join("\n"))
    }

    async fn say(&self, path: &str, body: &str) -> anyhow::Result<Value> {
        let answer = web::request(Method::POST, &self.url(path), &[], body.to_owned()).await?;
        ensure!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.body);
        answer.json()
    }

    /// Once the group was described.
    async fn set_mode(&mut self, mode: &str) -> anyhow::Result<()> {
        let body = format!(r#"{{"mode": "{mode}", "reason": "the test"}}"#);
        self.until("its mode is set", 60, async |world| world.say("/groups/web/mode", &body).await.map(Some))
            .await
            .map(drop)
    }

    async fn sessions(&self) -> anyhow::Result<Vec<Value>> {
        let sessions = web::get_json(&self.url("/shadow/sessions?group=web")).await?;
        Ok(sessions.as_array().cloned().unwrap_or_default())
    }

    async fn plan(&self) -> anyhow::Result<Value> {
        Ok(web::get_json(&self.url("/groups/web")).await?["plan"].clone())
    }

    /// Killed while a call is held, which goes on although nobody waits for it any more.
    async fn die_and_come_back(&mut self) -> anyhow::Result<()> {
        self.aggregator.take().context("it runs")?.process.kill().await?;
        self.proxy.release();
        self.serve().await
    }

    /// Killed while the cloud holds the answer of a call that was done; then what became of it is found out. Gives whom the
    /// call named.
    async fn killed_at(&mut self, call: &str, action: &str) -> anyhow::Result<Vec<String>> {
        let before = self.named(call).len();
        self.until(&format!("{call} is out"), 300, async |world| Ok((world.named(call).len() > before).then_some(())))
            .await?;
        let named = members_of(&self.named(call)[before]);
        self.die_and_come_back().await?;
        let settled = self
            .until(&format!("what became of {call} is found out"), 180, async |world| {
                let intents = web::get_json(&world.url("/intents?group=web&limit=100")).await?;
                let intents = intents.as_array().cloned().unwrap_or_default();
                let first = intents.iter().rfind(|it| it["action"] == action).cloned();
                Ok(first.filter(|it| !it["settled"].is_null()))
            })
            .await?;
        ensure!(settled["settled"]["settled"] == "done", "{settled:#}");
        Ok(named)
    }

    /// The user sets MinSize.
    async fn set_minimum(&self, own: u32) -> anyhow::Result<()> {
        let own = own.to_string();
        let fields = [("Action", "UpdateAutoScalingGroup"), ("AutoScalingGroupName", "web"), ("MinSize", own.as_str())];
        self.cloud.call("autoscaling", &fields).await.map(drop)
    }

    /// MinSize, and what the tag says of the user's own where there is one.
    async fn minimum(&self) -> anyhow::Result<(String, Option<String>)> {
        let asked = [("Action", "DescribeAutoScalingGroups"), ("AutoScalingGroupNames.member.1", "web")];
        let text = self.cloud.call("autoscaling", &asked).await?;
        let after = |before: &str| text.split(before).nth(1).and_then(|rest| rest.split('<').next()).map(str::to_owned);
        Ok((after("<MinSize>").context("MinSize")?, after(&format!("<Key>{MINIMUM_TAG}</Key><Value>"))))
    }

    /// How often groups were described.
    fn described(&self) -> usize {
        self.proxy.calls().iter().filter(|call| call.action == "DescribeAutoScalingGroups").count()
    }

    /// Waits until the cloud holds the description right before a call. While that of the inventory is held, which is one by
    /// one, another is the journal's. `false`: one was called meanwhile, and none is held.
    async fn held_while_it_describes_for(&mut self, action: &str) -> anyhow::Result<bool> {
        let so_far = self.intents(action).await?.len();
        for _ in 0..40 {
            let before = self.described();
            self.proxy.next("DescribeAutoScalingGroups", [Fault::HangBefore, Fault::HangBefore]);
            let both = eventually("two describe", Duration::from_secs(20), async || {
                Ok((self.described() >= before + 2).then_some(()))
            });
            let both = both.await.is_ok();
            let begun = self.intents(action).await?;
            if both && begun.iter().any(|it| it["settled"].is_null() && it["sent_at"].is_null()) {
                return Ok(true);
            }
            // The other one holds the next, and goes with it.
            self.proxy.release();
            if !both {
                self.until("the next describes", 60, async |world| Ok((world.described() >= before + 2).then_some(())))
                    .await?;
                self.proxy.release();
            }
            if begun.len() > so_far {
                return Ok(false);
            }
        }
        anyhow::bail!("nothing was to {action}")
    }

    /// Every intent of the group with that action.
    async fn intents(&self, action: &str) -> anyhow::Result<Vec<Value>> {
        let intents = web::get_json(&self.url("/intents?group=web&limit=100")).await?;
        Ok(intents.as_array().into_iter().flatten().filter(|it| it["action"] == action).cloned().collect())
    }

    /// Whoever went into standby leaves and ends, once, and nobody else goes. Gives whom.
    async fn all_that_stood_by_end_once(&mut self) -> anyhow::Result<BTreeSet<String>> {
        let out: BTreeSet<String> = self.named("EnterStandby").iter().flat_map(members_of).collect();
        ensure!(!out.is_empty());
        self.until("all that stood by have ended", 600, async |world| {
            let ended = world.named("TerminateInstances");
            let ended: BTreeSet<String> =
                ended.iter().flat_map(|call| call.list("InstanceId")).map(str::to_owned).collect();
            Ok((ended == out).then_some(()))
        })
        .await?;
        let ended = self.named("TerminateInstances");
        let ended: Vec<&str> = ended.iter().flat_map(|call| call.list("InstanceId")).collect();
        ensure!(ended.len() == out.len(), "once each: {ended:?}");
        let mut leaves: Vec<String> = self.named("DetachInstances").iter().flat_map(members_of).collect();
        leaves.sort();
        leaves.dedup();
        ensure!(leaves.iter().eq(out.iter()), "{leaves:?} for {out:?}");
        let members = self.cloud.members("web").await?;
        ensure!(members.len() == SIZE as usize - out.len(), "and nobody else went: {members:?}");
        Ok(out)
    }

    fn named(&self, action: &str) -> Vec<Call> {
        self.proxy.changes().into_iter().filter(|call| call.action == action).collect()
    }
}

fn steps(plan: &Value) -> Vec<(String, bool)> {
    let steps = plan["steps"].as_array().cloned().unwrap_or_default();
    let read = |step: &Value| Some((step["step"].as_str()?.to_owned(), step["permitted"].as_bool()?));
    steps.iter().filter_map(read).collect()
}

/// Ids that a DetachInstances or AttachInstances names.
fn members_of(call: &Call) -> Vec<String> {
    call.list("InstanceIds.member").into_iter().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_circle_runs() -> anyhow::Result<()> {
    let mut world = World::start("detach").await?;

    // In observe a whole plan is made and nothing is done.
    world
        .until("the plan would detach", 120, async |world| {
            Ok(steps(&world.plan().await?).contains(&("detach".to_owned(), false)).then_some(()))
        })
        .await?;
    assert_eq!(world.proxy.take_changes(), [], "observe changes nothing, tags included");

    // Somebody else detaches one: it is measured and never touched.
    let foreign = world.cloud.members("web").await?.pop().context("a member")?;
    world.cloud.detach("web", &foreign).await?;
    world
        .until("the foreign session", 60, async |world| {
            let sessions = world.sessions().await?;
            Ok(sessions.iter().any(|it| it["instance"] == foreign.as_str() && it["origin"] == "foreign").then_some(()))
        })
        .await?;

    // Falling demand in `full`: detached with a lease, never by a desired capacity.
    world.say("/groups/web/mode", r#"{"mode": "full", "reason": "the test"}"#).await?;
    let ours: Vec<String> = world
        .until("a shadow of ours", 90, async |world| {
            let sessions = world.sessions().await?;
            let ours = sessions.iter().filter(|it| it["origin"] == "ours" && it["ended"].is_null());
            let ours: Vec<String> = ours.filter_map(|it| Some(it["instance"].as_str()?.to_owned())).collect();
            Ok((!ours.is_empty()).then_some(ours))
        })
        .await?;
    let changes = world.proxy.changes();
    let actions: Vec<&str> = changes.iter().map(|call| call.action.as_str()).collect();
    let detach = actions.iter().position(|action| *action == "DetachInstances").context("a detachment")?;
    let lease = actions.iter().position(|action| *action == "CreateTags").context("a lease")?;
    assert!(lease < detach, "the lease comes first: {actions:?}");
    assert!(changes.iter().all(|call| call.action != "SetDesiredCapacity"), "{actions:?}");
    assert!(
        changes
            .iter()
            .filter(|call| call.action == "UpdateAutoScalingGroup")
            .all(|call| call.field("DesiredCapacity").is_empty())
    );

    // Rising demand: what stands in shadow comes back before anything is launched.
    assert!(!ours.contains(&foreign));
    world
        .until("all of ours stand in shadow, and nothing more goes", 90, async |world| {
            let members = web::get_json(&world.url("/groups/web")).await?["members"].clone();
            let members = members.as_array().cloned().unwrap_or_default();
            let detached: BTreeSet<String> = world.named("DetachInstances").iter().flat_map(members_of).collect();
            let shadow = |id: &String| members.iter().any(|it| it["instance"] == id.as_str() && it["mode"] == "shadow");
            Ok((detached.iter().all(shadow) && steps(&world.plan().await?).is_empty()).then_some(()))
        })
        .await?;
    // The aggregator is killed while the cloud holds the answer: they come back once.
    let before = world.proxy.changes().len();
    world.proxy.next("AttachInstances", [Fault::HangAfter]);
    world.carry(HIGH);
    world
        .until("shadows come back", 120, async |world| {
            Ok(world.named("AttachInstances").iter().any(|call| !members_of(call).is_empty()).then_some(()))
        })
        .await?;
    world.die_and_come_back().await?;
    let since: Vec<Call> = world.proxy.changes().split_off(before);
    let first = |action: &str| since.iter().position(|call| call.action == action);
    let attach = first("AttachInstances").context("an attachment")?;
    for launch in ["LaunchInstances", "UpdateAutoScalingGroup"] {
        assert!(first(launch).is_none_or(|at| attach < at), "{launch} before the shadows: {since:?}");
    }
    assert!(first("DeleteTags").is_some_and(|at| at < attach), "the lease goes first: {since:?}");
    assert!(members_of(&since[attach]).iter().all(|id| *id != foreign), "a foreign shadow is never attached");
    world
        .until("enough serve again", 120, async |world| {
            let group = web::get_json(&world.url("/groups/web")).await?;
            let serving = group["summary"]["serving"].as_u64().unwrap_or_default();
            Ok((serving >= (HIGH / 60.0).ceil() as u64).then_some(()))
        })
        .await?;

    let attached: Vec<String> = world.named("AttachInstances").iter().flat_map(members_of).collect();
    assert_eq!(attached.len(), attached.iter().collect::<BTreeSet<_>>().len(), "once each: {attached:?}");

    // Falling again, and staying low: detached, left in peace for its lease, ended by its id; killed once more meanwhile.
    world.proxy.next("TerminateInstances", [Fault::HangAfter]);
    world.carry(LOW);
    let ended: Vec<String> = world
        .until("a termination that was earned", 300, async |world| {
            let ended = world.named("TerminateInstances");
            let ids: Vec<String> = ended.iter().flat_map(|call| call.list("InstanceId")).map(str::to_owned).collect();
            Ok((!ids.is_empty()).then_some(ids))
        })
        .await?;
    let detached: BTreeSet<String> = world.named("DetachInstances").iter().flat_map(members_of).collect();
    assert!(ended.iter().all(|id| detached.contains(id) && *id != foreign), "{ended:?} of {detached:?}");
    world.die_and_come_back().await?;
    world
        .until("what became of the termination is found out", 120, async |world| {
            let intents = web::get_json(&world.url("/intents?group=web&limit=100")).await?;
            let intents = intents.as_array().cloned().unwrap_or_default();
            let first = intents.iter().rfind(|it| it["action"] == "terminate").cloned();
            Ok(first.filter(|it| it["settled"]["settled"] == "done"))
        })
        .await?;
    let again = world.named("TerminateInstances");
    let again: Vec<&str> = again.iter().flat_map(|call| call.list("InstanceId")).collect();
    assert_eq!(again.len(), again.iter().collect::<BTreeSet<_>>().len(), "once each: {again:?}");
    let open = world.sessions().await?;
    let untouched = open.iter().find(|it| it["instance"] == foreign.as_str()).context("the foreign session")?;
    assert_eq!(untouched["origin"], "foreign");

    // The journal says all of it, and why.
    let intents = web::get_json(&world.url("/intents?group=web&limit=100")).await?;
    let intents = intents.as_array().cloned().unwrap_or_default();
    for action in ["detach", "attach", "terminate"] {
        let done = intents.iter().find(|it| it["action"] == action && it["settled"]["settled"] == "done");
        let reason = done.and_then(|it| it["reason"].as_str()).unwrap_or_default();
        assert!(!reason.is_empty(), "no reason for {action}: {intents:#?}");
    }
    world
        .until("the re-attach lead was measured, and is known after a restart", 60, async |world| {
            let group = web::get_json(&world.url("/groups/web")).await?;
            Ok((group["lead_times"]["reattach"]["measured"].as_u64() > Some(0)).then_some(()))
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_cloud_holds_a_call_it_does_nothing_twice() -> anyhow::Result<()> {
    let mut world = World::start("detach").await?;
    world
        .until("the plan would detach", 120, async |world| {
            Ok(steps(&world.plan().await?).contains(&("detach".to_owned(), false)).then_some(()))
        })
        .await?;
    // The detachment is done, and its answer never comes.
    world.proxy.next("DetachInstances", [Fault::HangAfter]);
    world.say("/groups/web/mode", r#"{"mode": "full", "reason": "the test"}"#).await?;
    let victims = world.killed_at("DetachInstances", "detach").await?;
    let again: Vec<Vec<String>> = world.named("DetachInstances").iter().map(members_of).collect();
    for victim in &victims {
        assert_eq!(again.iter().flatten().filter(|id| *id == victim).count(), 1, "{victim} detached twice: {again:?}");
    }
    let members: BTreeSet<String> = world.cloud.members("web").await?.into_iter().collect();
    assert!(victims.iter().all(|victim| !members.contains(victim)));
    let sessions = eventually("their sessions are ours", Duration::from_secs(60), async || {
        let sessions = world.sessions().await?;
        let ours =
            |victim: &String| sessions.iter().any(|it| it["instance"] == victim.as_str() && it["origin"] == "ours");
        Ok(victims.iter().all(ours).then_some(sessions.len()))
    })
    .await?;
    assert!(sessions >= victims.len());
    Ok(())
}

/// Into standby and back, and a launch by MinSize: killed each time while the cloud holds the answer.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_call_of_a_life_in_standby_it_does_nothing_twice() -> anyhow::Result<()> {
    let mut world = World::start("standby").await?;
    world
        .until("the plan would take somebody out", 120, async |world| {
            Ok(steps(&world.plan().await?).contains(&("detach".to_owned(), false)).then_some(()))
        })
        .await?;
    world.proxy.next("EnterStandby", [Fault::HangAfter]);
    world.say("/groups/web/mode", r#"{"mode": "full", "reason": "the test"}"#).await?;
    let victims = world.killed_at("EnterStandby", "enter_standby").await?;
    world
        .until("they stand in shadow, and they are ours", 120, async |world| {
            let sessions = world.sessions().await?;
            let ours = |id: &String| sessions.iter().any(|it| it["instance"] == id.as_str() && it["origin"] == "ours");
            Ok(victims.iter().all(ours).then_some(()))
        })
        .await?;

    // Everybody comes back, and that is not enough: two are launched, where the cloud has no tokens by its MinSize.
    world.proxy.next("ExitStandby", [Fault::HangAfter]);
    world.carry(60.0 * f64::from(SIZE + 2) - 20.0);
    world.killed_at("ExitStandby", "exit_standby").await?;
    let floors = |world: &World| world.named("UpdateAutoScalingGroup").len();
    let before = floors(&world);
    world.proxy.next("UpdateAutoScalingGroup", [Fault::HangAfter]);
    world.killed_at("UpdateAutoScalingGroup", "launch").await?;
    world
        .until("as many as are needed serve", 180, async |world| {
            let group = web::get_json(&world.url("/groups/web")).await?;
            Ok((group["summary"]["serving"].as_u64() >= Some(u64::from(SIZE + 2))).then_some(()))
        })
        .await?;
    let members = world.balance().await?;
    let intents = web::get_json(&world.url("/intents?group=web&limit=100")).await?;
    ensure!(members.len() == SIZE as usize + 2, "launched once: {members:?}\n{intents:#}");
    ensure!(floors(&world) > before, "by MinSize");
    Ok(())
}

/// From standby out of the group: killed while it describes before the call. Whoever was to leave leaves once, and is ended once.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_describes_for_a_leave_it_lets_go_once() -> anyhow::Result<()> {
    let mut world = World::start_with(&["us-east-1a"], "standby", "shadow_seconds = 60\n").await?;
    let mut left = SIZE;
    world.set_minimum(left).await?;
    world.set_mode("full").await?;
    // What is described in the moment between two looks is gone: then another is to leave.
    for _ in 0..4 {
        left -= 1;
        world.set_minimum(left).await?;
        if world.held_while_it_describes_for("leave").await? {
            world.die_and_come_back().await?;
            world.all_that_stood_by_end_once().await?;
            return Ok(());
        }
    }
    anyhow::bail!("no description of the journal was held before it could leave")
}

/// From standby out of the group: killed before the cloud has done it, when it has, while it finds out what became of it, and while it
/// waits to ask again, where it was lost. Each leaves once, and is ended once.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_leave_out_of_standby_it_lets_each_go_once() -> anyhow::Result<()> {
    let mut world = World::start_with(&["us-east-1a"], "standby", "shadow_seconds = 60\n").await?;
    // How many may go is said by MinSize: one at a time, so that their leases end one after the other.
    let mut left = SIZE;
    world.set_minimum(left).await?;
    world.set_mode("full").await?;
    let leaves = |world: &World| world.named("DetachInstances").len();
    for state in ["before", "after", "found out", "never"] {
        left -= 1;
        world.set_minimum(left).await?;
        let sent = leaves(&world);
        let fault = match state {
            "before" => Fault::HangBefore,
            "never" => Fault::Error { status: 500, code: "InternalFailure" },
            _ => Fault::HangAfter,
        };
        world.proxy.next("DetachInstances", [fault]);
        let is_sent = world.until("it is sent", 400, async |world| Ok((leaves(world) > sent).then_some(()))).await;
        is_sent.with_context(|| state.to_owned())?;
        match state {
            "found out" => {
                world.aggregator.take().context("it runs")?.process.kill().await?;
                world.proxy.release();
                // The journal asks what became of it, and the inventory for itself: the same question.
                world.proxy.next("DescribeAutoScalingGroups", [Fault::HangBefore, Fault::HangBefore]);
                let asked = world.described();
                world.serve().await?;
                eventually("both ask", Duration::from_secs(60), async || {
                    Ok((world.described() == asked + 2).then_some(()))
                })
                .await?;
            }
            // Nothing of it is to be seen: it asks again after five seconds, and waits by now.
            "never" => pause(Duration::from_secs(2)).await,
            _ => {}
        }
        world.die_and_come_back().await?;
    }
    let out = world.all_that_stood_by_end_once().await?;
    let intents = web::get_json(&world.url("/intents?group=web&limit=100")).await?;
    let intents = intents.as_array().cloned().unwrap_or_default();
    let leaves: Vec<&Value> = intents.iter().filter(|it| it["action"] == "leave").collect();
    let done = leaves.iter().filter(|it| it["settled"]["settled"] == "done").count();
    let doubted = leaves.iter().filter(|it| it["settled"]["in_doubt"] == true).count();
    println!("{} leaves, {done} done, {doubted} given up in doubt; {out:?}", leaves.len());
    // Some may leave together.
    ensure!(done >= 3 && doubted == 1, "{leaves:#?}");
    let calls = world.named("DetachInstances");
    ensure!(calls.iter().all(|call| call.field("ShouldDecrementDesiredCapacity") == "false"), "{calls:?}");
    // The one that the cloud never did is asked for again, each other once.
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for instance in calls.iter().flat_map(members_of) {
        *times.entry(instance).or_default() += 1;
    }
    let lost: BTreeSet<&str> = leaves
        .iter()
        .filter(|it| it["settled"]["in_doubt"] == true)
        .flat_map(|it| it["instances"].as_array().into_iter().flatten().filter_map(Value::as_str))
        .collect();
    ensure!(
        times.iter().all(|(instance, times)| *times == 1 + u32::from(lost.contains(instance.as_str()))),
        "{times:?}, lost {lost:?}"
    );
    Ok(())
}

/// A zone has nothing, the next was asked for, and its answer never came: whoever starts again asks that one first, with the same
/// token. Asked in the first zone, another would be launched there as well.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_another_zone_is_asked_it_asks_that_one_again() -> anyhow::Result<()> {
    let mut world = World::start_with(&["us-east-1a", "us-east-1b"], "detach", BOUNDS).await?;
    let answer = |members: &str| Fault::Answer {
        status: 200,
        body: format!(
            "<LaunchInstancesResponse><LaunchInstancesResult><Instances>{members}</Instances></LaunchInstancesResult>\
             </LaunchInstancesResponse>"
        ),
    };
    world.proxy.next("LaunchInstances", [answer(""), Fault::HangBefore]);
    world.carry(60.0 * f64::from(SIZE + 1) - 20.0);
    world.set_mode("scale-out").await?;
    let asked = |world: &World| -> Vec<(String, String)> {
        let of = |call: &Call, name: &str| call.field(name).to_owned();
        let calls = world.named("LaunchInstances");
        calls.iter().map(|call| (of(call, "AvailabilityZones.member.1"), of(call, "ClientToken"))).collect()
    };
    let first = world
        .until("the other zone is asked", 180, async |world| Ok(Some(asked(world)).filter(|asked| asked.len() == 2)))
        .await?;
    ensure!(first[0].0 != first[1].0, "{first:?}");
    ensure!(first[0].1.ends_with("-0-0") && first[1].1.ends_with("-0-1"), "{first:?}");
    world.aggregator.take().context("it runs")?.process.kill().await?;
    world.proxy.next(
        "LaunchInstances",
        [answer("<member><InstanceIds><member>i-0123456789abcdef0</member></InstanceIds></member>")],
    );
    world.serve().await?;
    let again = world.until("it is asked again", 180, async |world| Ok(asked(world).get(2).cloned())).await?;
    ensure!(again == first[1], "{again:?} after {first:?}");
    Ok(())
}

/// MinSize is raised to launch and given back when all of them serve, killed each time between two calls of it: the user's own stays in
/// its tag while ours is above it, is there again in the end, and what the user sets after that is the user's.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_raises_minsize_and_gives_it_back_the_users_own_comes_back() -> anyhow::Result<()> {
    const OWN: u32 = 2;
    let mut world = World::start("detach").await?;
    world.set_minimum(OWN).await?;
    world.set_mode("scale-out").await?;
    world
        .until("it is claimed", 120, async |world| Ok((!world.named("CreateOrUpdateTags").is_empty()).then_some(())))
        .await?;
    let kept = |world: &World| {
        let calls = world.named("CreateOrUpdateTags");
        calls.iter().filter(|call| call.fields.values().any(|value| value == MINIMUM_TAG)).count()
    };
    let sizes = |world: &World| -> Vec<String> {
        let calls = world.named("UpdateAutoScalingGroup");
        calls.iter().map(|call| call.field("MinSize").to_owned()).collect()
    };
    // Its tag is written, and MinSize is as it was.
    world.proxy.next("CreateOrUpdateTags", [Fault::HangAfter]);
    world.carry(60.0 * f64::from(SIZE + 2) - 20.0);
    world.until("its tag is written", 180, async |world| Ok((kept(world) == 1).then_some(()))).await?;
    world.proxy.next("UpdateAutoScalingGroup", [Fault::HangAfter]);
    world.die_and_come_back().await?;
    world.until("MinSize is raised", 180, async |world| Ok((sizes(world).len() == 1).then_some(()))).await?;
    world.die_and_come_back().await?;
    let (minimum, tag) = world.minimum().await?;
    let ours = tag.as_deref().and_then(|tag| tag.strip_prefix(&format!("{OWN} raised to "))).unwrap_or_default();
    ensure!(ours.split(' ').any(|ours| ours == minimum), "{minimum} {tag:?}");
    ensure!(sizes(&world).contains(&minimum), "{minimum}, and asked for {:?}", sizes(&world));
    world
        .until(
            "all are there",
            180,
            async |world| Ok((world.balance().await?.len() == SIZE as usize + 2).then_some(())),
        )
        .await?;
    // Who starts again may see the load by half at first, and then raise it twice.
    let up = sizes(&world);
    let (most, higher) = ((SIZE + 2).to_string(), up.iter().map(|size| size.parse()).collect::<Result<Vec<u32>, _>>()?);
    ensure!(up.last() == Some(&most) && higher.is_sorted_by(|before, after| before < after), "once each: {up:?}");
    world.carry(LOW);
    // Lowered, and its tag is there yet.
    world.proxy.next("UpdateAutoScalingGroup", [Fault::HangAfter]);
    world.until("MinSize is given back", 400, async |world| Ok((sizes(world).len() > up.len()).then_some(()))).await?;
    world.die_and_come_back().await?;
    world
        .until("what became of it is found out", 180, async |world| {
            let intents = web::get_json(&world.url("/intents?group=web&limit=100")).await?;
            let intents = intents.as_array().cloned().unwrap_or_default();
            let floor = intents.iter().find(|it| it["action"] == "floor").cloned();
            Ok(floor.filter(|it| it["settled"]["settled"] == "done"))
        })
        .await?;
    let down = sizes(&world).split_off(up.len());
    ensure!(down == [OWN.to_string()], "once: {down:?}");
    ensure!(world.minimum().await?.0 == OWN.to_string());
    // What the user sets now is not what we raised.
    world.set_minimum(5).await?;
    let made_at = world.plan().await?["made_at"].as_i64().context("a time")?;
    world
        .until("plans more", 180, async |world| {
            Ok((world.plan().await?["made_at"].as_i64() > Some(made_at + 40)).then_some(()))
        })
        .await?;
    let minimum = world.minimum().await?.0;
    ensure!(minimum == "5", "the user's own MinSize 5 is {minimum} by now: {:?}", sizes(&world));
    ensure!(world.cloud.members("web").await?.len() == SIZE as usize + 2, "launched once, and nobody ended");
    Ok(())
}
