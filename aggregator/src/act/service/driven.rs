//! The loop itself, against a cloud that writes down what it is asked for: what it does unasked, and what it does not do after
//! all.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;
use planner::plan::PlannedStep;
use planner::policy::Mode;
use sqlx::SqlitePool;
use sqlx::sqlite::SqlitePoolOptions;
use tokio::sync::oneshot;

use super::*;
use crate::act::verdicts::tests::planned;
use crate::act::{Control, Line};
use crate::fleet::{
    Action, FleetError, GROUP_TAG, GroupInventory, Inventory, Lifecycle, Member, OWNER_TAG, Outside, RunState, Tags,
    UNTIL_TAG,
};
use crate::leash::{CommonLimits, FileLimits};
use crate::observe::Patience;
use crate::shadow::{Origin, ShadowConfig};

const INSTALLATION: StoreId = StoreId([1; 16]);
/// When `planned` is made.
const START: i64 = 1_000;
/// Nothing here takes a second; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn id(name: &str) -> Id {
    Id::new("id", name).expect("an id")
}

/// Seconds by both clocks; the second goes on by itself.
#[derive(Debug)]
struct Hand {
    wall: i64,
    boot: AtomicI64,
}

impl Clock for Hand {
    fn wall_micros(&self) -> i64 {
        self.wall * 1_000_000
    }

    fn boot_seconds(&self) -> i64 {
        self.boot.load(Ordering::Relaxed)
    }
}

/// Ten serve in `web`, and a hook holds another.
#[derive(Debug, Default)]
struct Recording {
    asked: Mutex<Vec<String>>,
    refuses_tags: AtomicBool,
    /// Those that were set.
    tags: Mutex<Vec<Tags>>,
    /// The first who sets tags says so, and waits.
    gate: Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>,
    outside: Vec<Outside>,
}

impl Recording {
    fn note(&self, what: &str, instances: &[Id]) {
        let named: Vec<&str> = instances.iter().map(Id::as_str).collect();
        self.asked.lock().expect("a lock").push(format!("{what} {}", named.join(" ")).trim_end().to_owned());
    }

    fn was_asked(&self, what: &str) -> bool {
        self.asked.lock().expect("a lock").iter().any(|asked| asked == what)
    }
}

#[async_trait]
impl Fleet for Recording {
    async fn describe(&self) -> Result<Inventory, FleetError> {
        let member = |name: &str, lifecycle: Lifecycle| Member {
            instance: id(name),
            instance_type: None,
            zone: None,
            lifecycle,
            protected: false,
            version: None,
            cpu_credits: None,
        };
        let mut members: Vec<Member> =
            (0..10).map(|number| member(&format!("i-{number}"), Lifecycle::InService)).collect();
        members.push(member("h-1", Lifecycle::Waiting));
        let (owner, desired) = (Some(INSTALLATION.to_string()), 10);
        let web = GroupInventory { minimum: 1, maximum: 30, desired, members, owner, ..GroupInventory::default() };
        let groups = BTreeMap::from([(id("web"), web)]);
        Ok(Inventory { taken_micros: START * 1_000_000, complete: true, groups, ..Inventory::default() })
    }

    fn name(&self) -> &'static str {
        "recording"
    }

    fn reach(&self) -> Reach {
        Reach::Cloud
    }

    async fn call(&self, _: &Id, action: &Action, _: &Token) -> Called {
        self.note(action.word(), action.instances());
        Called::Done { instances: action.instances().to_vec() }
    }

    async fn hold(&self, _: &Id, instances: &[Id]) -> Result<(), FleetError> {
        self.note("hold", instances);
        Ok(())
    }

    async fn tag(&self, instances: &[Id], tags: &Tags) -> Result<(), FleetError> {
        self.note("tag", instances);
        let gate = self.gate.lock().expect("a lock").take();
        if let Some((reached, opened)) = gate {
            reached.send(()).expect("somebody waits");
            opened.await.expect("it is opened");
        }
        if self.refuses_tags.load(Ordering::Relaxed) {
            return Err(FleetError::Invalid { source_name: "recording", problem: "AccessDenied".to_owned() });
        }
        self.tags.lock().expect("a lock").push(tags.clone());
        Ok(())
    }

    async fn tagged(&self, tag: &str) -> Result<Vec<Outside>, FleetError> {
        self.note("tagged", &[id(tag)]);
        Ok(self.outside.iter().filter(|it| it.tags.contains_key(tag)).cloned().collect())
    }

    async fn outside(&self, _: &Id, instances: &[Id]) -> Result<Vec<Outside>, FleetError> {
        Ok(self.outside.iter().filter(|it| instances.contains(&it.instance)).cloned().collect())
    }
}

/// The loop in mode `full`, with the group read and a session for whom the hook holds.
struct Driven {
    service: Service,
    sessions: Sessions,
    control: Control,
    pool: SqlitePool,
    clock: Arc<Hand>,
}

impl Driven {
    async fn new(fleet: &Arc<Recording>) -> Self {
        let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.expect("a database");
        sqlx::migrate!().run(&pool).await.expect("migrated");
        let clock = Arc::new(Hand { wall: START, boot: AtomicI64::new(START) });
        let timeline = Timeline::new(Patience { warm_up: 0, drain: 0, silent: 300_000_000 }, 1_000, 10_000);
        let shadow = ShadowConfig::default();
        let sessions = Sessions::open(pool.clone(), timeline.clone(), shadow.clone(), clock.now()).await;
        let sessions = sessions.expect("sessions");
        timeline.take("recording", &fleet.describe().await.expect("described"));
        timeline.set_read();
        // Whoever is never heard of is gone for good.
        timeline.agent_heard(&id("h-1"), true, clock.wall_micros());
        let moves = timeline.moves(clock.wall_micros());
        sessions.follow(&moves, clock.now()).await;
        timeline.apply(&moves);
        let control = Control::open(pool.clone(), BTreeMap::new(), START).await.expect("modes");
        control.set_mode(&id("web"), Mode::Full, START, "ana", "ready").await.expect("set");
        let (safety, reach) = (checker::Limits::default(), BTreeMap::new());
        let common = CommonLimits { drain_seconds: 300, warm_up_seconds: 0, shadow, safety, reach };
        let file = FileLimits { groups: BTreeMap::new(), common };
        let leash = Leash::open(pool.clone(), control.clone(), file, START).await.expect("limits");
        let fleets: Vec<Arc<dyn Fleet>> = vec![fleet.clone()];
        let service = Service::open(
            INSTALLATION,
            leash,
            Intents::new(pool.clone()),
            DecisionLog::new(pool.clone()),
            fleets,
            sessions.clone(),
            timeline,
            Hint::default(),
            Traces::default(),
            clock.clone(),
        );
        Self { service: service.await.expect("hands"), sessions, control, pool, clock }
    }
}

async fn until(what: impl Fn() -> bool, why: &str) {
    let met = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, met).await.unwrap_or_else(|_| panic!("{why}"));
}

async fn settled(pool: &SqlitePool) -> Line {
    let intents = Intents::new(pool.clone());
    let met = async {
        loop {
            let latest = intents.latest(None, 1).await.expect("read").pop();
            match latest.filter(|line| line.settled.is_some()) {
                Some(line) => return line,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, met).await.expect("an intent comes to its end")
}

/// What may happen while the tags are set.
#[derive(Debug, Clone, Copy)]
enum Meanwhile {
    Nothing,
    Paused,
    Weaker,
    Dispossessed,
    Slow,
    /// A newer plan holds, or needs them.
    Holds,
    Needs,
}

#[tokio::test]
async fn what_changes_while_the_tags_are_set_is_asked_for_once_more_right_before_the_call() {
    for (meanwhile, why) in [
        (Meanwhile::Nothing, None),
        (Meanwhile::Paused, Some("paused meanwhile")),
        (Meanwhile::Weaker, Some("the mode is scale-out by now")),
        (Meanwhile::Dispossessed, Some("another owner has taken the group over")),
        (Meanwhile::Slow, Some("what was described is 46 s old by now")),
        (Meanwhile::Holds, Some("plan 2, newer than the 1 of this step, holds: ")),
        (Meanwhile::Needs, Some("plan 2, newer than the 1 of this step, may need them")),
    ] {
        let (reached, tagging) = oneshot::channel();
        let (open, opened) = oneshot::channel();
        let fleet = Arc::new(Recording { gate: Mutex::new(Some((reached, opened))), ..Recording::default() });
        let Driven { service, control, pool, clock, .. } = Driven::new(&fleet).await;
        let (handle, shutdown) = (service.handle(), CancellationToken::new());
        let running = tokio::spawn(service.run(shutdown.clone()));
        let mut planned = planned();
        planned.source = Some("recording");
        let step = Step::Detach { instances: vec!["i-1".to_owned()] };
        planned.plan.steps = vec![PlannedStep { step, reason: "not needed".to_owned(), permitted: true }];
        let mut newer = planned.clone();
        (newer.plan.generation, newer.plan.steps) = (2, Vec::new());
        handle.offer(planned, Vec::new());
        tokio::time::timeout(PATIENCE, tagging).await.expect("its lease is tagged").expect("told");
        let web = id("web");
        match meanwhile {
            Meanwhile::Nothing => {}
            Meanwhile::Paused => control.pause(Some(&web), true, START, "ana", "stop").await.expect("paused"),
            Meanwhile::Weaker => {
                control.set_mode(&web, Mode::ScaleOut, START, "ana", "not yet").await.expect("set");
            }
            Meanwhile::Dispossessed => drop(Intents::new(pool.clone()).take_lease(START).await.expect("taken")),
            Meanwhile::Slow => drop(clock.boot.fetch_add(SAID_FOR + 1, Ordering::Relaxed)),
            Meanwhile::Holds => {
                newer.plan.holds = vec![planner::hold::Hold::Deploying];
                handle.offer(newer, Vec::new());
            }
            Meanwhile::Needs => {
                newer.plan.needs[0].reactive = Some(10);
                handle.offer(newer, Vec::new());
            }
        }
        open.send(()).expect("it waits");
        let line = settled(&pool).await;
        assert_eq!(fleet.was_asked("detach i-1"), why.is_none(), "{meanwhile:?}");
        match (why, line.settled) {
            (None, Some(Settled::Done { .. })) => {}
            (Some(why), Some(Settled::Refused { why: said, by_cloud: false, .. })) => {
                assert!(said.iter().any(|said| said.contains(why)), "{meanwhile:?}: {said:?}");
            }
            (_, other) => panic!("{meanwhile:?}: {other:?}"),
        }
        shutdown.cancel();
        running.await.expect("it ends");
    }
}

#[tokio::test]
async fn whom_a_hook_holds_is_held_on_while_the_loop_runs() {
    let fleet = Arc::new(Recording::default());
    let Driven { mut service, .. } = Driven::new(&fleet).await;
    service.every.hold = Duration::from_millis(10);
    let (handle, shutdown) = (service.handle(), CancellationToken::new());
    let running = tokio::spawn(service.run(shutdown.clone()));
    let mut planned = planned();
    (planned.source, planned.policy.hold_terminating) = (Some("recording"), true);
    planned.plan.steps = Vec::new();
    handle.offer(planned, Vec::new());
    until(|| fleet.was_asked("hold h-1"), "nobody holds on").await;
    shutdown.cancel();
    running.await.expect("it ends");
}

#[tokio::test]
async fn leases_nobody_holds_are_looked_for_while_the_loop_runs() {
    let tags = [(UNTIL_TAG, "1"), (GROUP_TAG, "web"), (OWNER_TAG, "another")];
    let left = Outside {
        instance: id("s-1"),
        state: RunState::Running,
        group: None,
        in_target_group: Some(false),
        protected: false,
        tags: tags.map(|(tag, value)| (tag.to_owned(), value.to_owned())).into(),
    };
    let fleet = Arc::new(Recording { outside: vec![left], ..Recording::default() });
    let Driven { mut service, .. } = Driven::new(&fleet).await;
    service.every.reap = Duration::from_millis(10);
    let (handle, shutdown) = (service.handle(), CancellationToken::new());
    let running = tokio::spawn(service.run(shutdown.clone()));
    until(|| handle.stranded().iter().any(|found| found.instance == id("s-1")), "nobody looks").await;
    shutdown.cancel();
    running.await.expect("it ends");
}

/// Who is taken over carries a lease of ours and is stranded no more; whoever went on meanwhile, or cannot be tagged, is left as it is.
#[tokio::test]
async fn who_is_stranded_is_taken_over_while_it_runs_alone_under_a_lease() {
    let tags = [(UNTIL_TAG, "1"), (GROUP_TAG, "shop"), (OWNER_TAG, "another")];
    let left = |name: &str| Outside {
        instance: id(name),
        state: RunState::Running,
        group: None,
        in_target_group: Some(false),
        protected: false,
        tags: tags.map(|(tag, value)| (tag.to_owned(), value.to_owned())).into(),
    };
    let fleet = Arc::new(Recording { outside: vec![left("s-1"), left("s-2")], ..Recording::default() });
    let Driven { mut service, .. } = Driven::new(&fleet).await;
    service.every.reap = Duration::from_millis(10);
    let (handle, shutdown) = (service.handle(), CancellationToken::new());
    let running = tokio::spawn(service.run(shutdown.clone()));
    until(|| handle.stranded().len() == 2, "nobody looks").await;
    shutdown.cancel();
    running.await.expect("it ends");

    let (web, names) = (id("web"), || handle.stranded().into_iter().map(|it| it.instance).collect::<Vec<_>>());
    handle.take_stranded(&*fleet, &web, &id("s-1"), START + 600).await.expect("taken over");
    let ours =
        [(UNTIL_TAG, (START + 600).to_string()), (GROUP_TAG, web.to_string()), (OWNER_TAG, INSTALLATION.to_string())];
    assert_eq!(*fleet.tags.lock().expect("a lock"), [Tags::from(ours.map(|(tag, value)| (tag, Some(value))))]);
    assert_eq!(names(), [id("s-2")]);

    fleet.refuses_tags.store(true, Ordering::Relaxed);
    let refused = handle.take_stranded(&*fleet, &web, &id("s-2"), START + 600).await.expect_err("it cannot be tagged");
    assert!(refused.contains("AccessDenied"), "{refused}");
    fleet.refuses_tags.store(false, Ordering::Relaxed);
    let changes: [fn(&mut Outside); 3] =
        [|it| it.group = Some(id("shop")), |it| it.state = RunState::Ended, |it| drop(it.tags.remove(UNTIL_TAG))];
    for change in changes {
        let mut gone = left("s-2");
        change(&mut gone);
        let elsewhere = Recording { outside: vec![gone], ..Recording::default() };
        let why = handle.take_stranded(&elsewhere, &web, &id("s-2"), START + 600).await.expect_err("it went on");
        assert_eq!(why, "s-2 does not run alone under a lease any more: nothing was taken over");
        assert!(!elsewhere.was_asked("tag s-2"));
    }
    assert_eq!(names(), [id("s-2")], "who was not taken over is told of on");
}

#[tokio::test]
async fn whom_a_call_in_doubt_names_is_told_and_not_adopted_while_the_loop_runs() {
    let owner = INSTALLATION.to_string();
    let tags = [(UNTIL_TAG, "1"), (GROUP_TAG, "web"), (OWNER_TAG, owner.as_str())];
    let left = Outside {
        instance: id("s-1"),
        state: RunState::Running,
        group: None,
        in_target_group: Some(false),
        protected: false,
        tags: tags.map(|(tag, value)| (tag.to_owned(), value.to_owned())).into(),
    };
    let fleet = Arc::new(Recording { outside: vec![left], ..Recording::default() });
    let Driven { mut service, pool, .. } = Driven::new(&fleet).await;
    let (token, action) = (Token::new(INSTALLATION, &id("web"), 1, 0), Action::Detach { instances: vec![id("s-1")] });
    let (written_at, valid_until) = (START - 100, START - 40);
    let intent = Intent { token, group: id("web"), generation: 1, step: 0, epoch: 1, action, written_at, valid_until };
    let intents = Intents::new(pool);
    intents.write(&intent, "not needed").await.expect("written");
    let doubtful = Settled::Refused { why: vec!["unanswered".to_owned()], by_cloud: false, in_doubt: true };
    intents.settle(&intent.token, &doubtful, START).await.expect("settled");
    service.every.reap = Duration::from_millis(10);
    let (handle, shutdown) = (service.handle(), CancellationToken::new());
    let running = tokio::spawn(service.run(shutdown.clone()));
    until(|| handle.stranded().iter().any(|found| found.instance == id("s-1")), "it is adopted").await;
    shutdown.cancel();
    running.await.expect("it ends");
}

/// An attach takes the lease off first. What nobody can tell apart from a machine of nobody's may not stand for ten minutes.
#[tokio::test]
async fn who_was_to_come_back_and_did_not_is_tagged_again_soon_and_until_it_is() {
    let bare = Outside {
        instance: id("h-1"),
        state: RunState::Running,
        group: None,
        in_target_group: Some(false),
        protected: false,
        tags: BTreeMap::new(),
    };
    let fleet = Arc::new(Recording { outside: vec![bare], ..Recording::default() });
    let Driven { mut service, sessions, .. } = Driven::new(&fleet).await;
    sessions.adopt(&id("h-1"), "ours").await.expect("adopted");
    fleet.refuses_tags.store(true, Ordering::Relaxed);
    (service.every.reap, service.every.reap_soon) = (Duration::from_secs(3_600), Duration::from_millis(10));
    let action = Action::Attach { instances: vec![id("h-1")] };
    let token = Token::new(INSTALLATION, &id("web"), 1, 0);
    let (written_at, valid_until) = (START - 10, START + 50);
    let intent = Intent { token, group: id("web"), generation: 1, step: 0, epoch: 1, action, written_at, valid_until };
    let failed = Settled::Refused { why: vec!["throttled".to_owned()], by_cloud: false, in_doubt: false };
    service.settle(intent, failed).await;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(service.run(shutdown.clone()));
    let times = || fleet.asked.lock().expect("a lock").iter().filter(|asked| *asked == "tag h-1").count();
    until(|| times() >= 3, "it stands without a lease").await;
    shutdown.cancel();
    running.await.expect("it ends");
}

#[tokio::test]
async fn what_cannot_be_tagged_is_not_adopted_by_a_policy_either() {
    let fleet = Arc::new(Recording::default());
    let Driven { service, sessions, .. } = Driven::new(&fleet).await;
    let adopt = Step::Adopt { instances: vec!["h-1".to_owned()] };
    for (refuses, origin) in [(true, Origin::Foreign), (false, Origin::Ours)] {
        fleet.refuses_tags.store(refuses, Ordering::Relaxed);
        service.lease_step(&id("web"), &adopt, "the policy adopts all").await;
        let session = sessions.open_of(&id("h-1")).await.expect("it is measured all the same");
        assert_eq!(session.origin, origin, "refused: {refuses}");
        assert!(fleet.was_asked("tag h-1"), "its tags come first");
    }
}
