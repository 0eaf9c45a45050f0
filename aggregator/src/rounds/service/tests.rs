use std::sync::atomic::Ordering;

use async_trait::async_trait;
use foreshadow_proto::convert::{NetworkRates, Sample, StreamId};
use serde_json::json;

use super::*;
use crate::act::service::tests::{kept_in, leash_of};
use crate::act::{Intent, Intents, Kind, Settled};
use crate::clock::hand::{Hand, START};
use crate::decision::{Decision, DecisionLog};
use crate::fleet::{Action, CpuCredits, Fleet, FleetError, GroupInventory, Inventory, Lifecycle, Member, Token};
use crate::observe::{Hint, Patience};
use crate::shadow::ShadowConfig;
use crate::store::Stored;

const SERVING: usize = 4;
const AS_EVER: Used = Used { cpu: 40.0, packets: 2_000.0, stolen: 0.0, memory: 50 };

/// A cloud that could act, and tells nothing by itself.
#[derive(Debug)]
struct Cloud;

#[async_trait]
impl Fleet for Cloud {
    async fn describe(&self) -> Result<Inventory, FleetError> {
        Err(self.cannot_act())
    }

    fn name(&self) -> &'static str {
        "aws"
    }

    fn reach(&self) -> Reach {
        Reach::Cloud
    }
}

/// What each that serves uses.
#[derive(Debug, Clone, Copy)]
struct Used {
    cpu: f64,
    packets: f64,
    stolen: f64,
    /// Percent.
    memory: u64,
}

/// The rounds of production over one group of which everything is told here.
struct Rounds {
    service: Service,
    clock: Arc<Hand>,
    group: Id,
    shown: GroupInventory,
    /// Who stands outside the group by now and is heard still, with the packets it gets and sends a second.
    outside: Option<(Id, f64)>,
    proven: bool,
    complete: bool,
    _directory: tempfile::TempDir,
}

fn member(number: usize) -> Member {
    Member {
        instance: Id::new("instance", &format!("i-{number}")).expect("an id"),
        instance_type: None,
        zone: None,
        lifecycle: Lifecycle::InService,
        protected: false,
        version: None,
        cpu_credits: None,
    }
}

impl Rounds {
    /// Of a group with such a past: start of a minute and its highest demand.
    async fn begun(past: &[(i64, f64)]) -> Self {
        Self::begun_after(past, &[], |_| {}).await
    }

    /// The same, with what was done to the group a minute before, and with more in what the file says of it.
    async fn begun_after(
        past: &[(i64, f64)],
        done: &[(Action, Option<Settled>)],
        says: impl FnOnce(&mut GroupPolicy),
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (clock, group) = (Arc::new(Hand::default()), Id::new("group", "web").expect("an id"));
        let store = kept_in(directory.path(), clock.clone()).await;
        let pool = store.pool();
        let minutes = past.iter().map(|(start, gross)| Minute {
            group: group.clone(),
            metric: "cpu".to_owned(),
            start: *start,
            gross_mean: *gross,
            gross_maximum: *gross,
            weight: 4.0,
            serving: 4,
            reporting: 4,
            lower_bound: false,
        });
        store.put_minutes(&minutes.collect::<Vec<_>>()).await.expect("stored");
        // On every day of the week at least three.
        let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let always =
            json!({"days": days, "from": "00:00", "to": "24:00", "time_zone": "UTC", "minimum": 3, "maximum": null});
        let mut bounded = GroupPolicy::new(&group);
        bounded.windows = vec![serde_json::from_value(always).expect("a window")];
        bounded.policy.spend_per_hour = Some(70.0);
        says(&mut bounded);
        let timeline = Timeline::new(Patience { warm_up: 0, drain: 0, silent: 300_000_000 }, 1_000, 1_000);
        let config = ShadowConfig::default();
        let sessions = Sessions::open(pool.clone(), timeline.clone(), config, clock.now()).await.expect("sessions");
        let intents = Intents::new(pool.clone());
        for lead in 0..5 {
            let served = Id::new("instance", &format!("past-{lead}")).expect("an id");
            for (kind, seconds) in [(Kind::Launch, 222), (Kind::Reattach, 33)] {
                intents
                    .write_lead(&group, &served, kind, seconds, START - 600 - i64::from(seconds))
                    .await
                    .expect("written");
            }
        }
        for (step, (action, settled)) in (0..).zip(done) {
            let token = Token::new(store.id(), &group, 1, step);
            let (written_at, valid_until) = (START - 60, START);
            let action = action.clone();
            let intent =
                Intent { token, group: group.clone(), generation: 1, step, epoch: 1, action, written_at, valid_until };
            intents.write(&intent, "as it was then").await.expect("written");
            intents.sent(&intent.token, written_at).await.expect("written");
            if let Some(settled) = settled {
                intents.settle(&intent.token, settled, written_at).await.expect("written");
            }
        }
        let acting = act::Service::open(
            store.id(),
            leash_of(&pool, START, [(group.clone(), bounded)].into()).await,
            intents,
            DecisionLog::new(pool.clone()),
            vec![Arc::new(Cloud) as Arc<dyn Fleet>],
            sessions.clone(),
            timeline.clone(),
            Hint::default(),
            traces::Traces::default(),
            clock.clone(),
        );
        let options = Options {
            forecast: forecast::Options::default(),
            pool: forecast::Pool::default().only("level"),
            authenticated: true,
            raw_seconds: 86_400,
        };
        let logs = Logs {
            plans: PlanLog::new(pool.clone()),
            pulses: PulseLog::new(pool.clone()),
            forecast_hours: ForecastHours::new(pool.clone()),
            learned: Learned::new(directory.path().join("learned")),
            events: EventLog::new(pool.clone()),
            revised: Revised::default(),
            readings: Readings::new(pool, BTreeMap::new()),
        };
        let act = acting.await.expect("hands").handle();
        let (live, board) = (Live::default(), Board::default());
        let store = Arc::new(store);
        let service = Service::new(options, store, timeline, live, board, logs, sessions, act, clock.clone());
        let members = (0..SERVING).map(member).collect();
        let shown = GroupInventory { minimum: 1, maximum: 9, desired: 4, members, ..GroupInventory::default() };
        Self { service, clock, group, shown, outside: None, proven: true, complete: true, _directory: directory }
    }

    /// A minute passes in which those that serve use this much; gives what was decided at its end, and from what.
    async fn minute(&mut self, used: Used) -> Decision {
        self.clock.passed.fetch_add(60, Ordering::Relaxed);
        let (now, timeline) = (self.clock.wall_micros(), &self.service.timeline);
        let groups = BTreeMap::from([(self.group.clone(), self.shown.clone())]);
        let inventory = Inventory { taken_micros: now, complete: self.complete, groups, ..Inventory::default() };
        timeline.take("aws", &inventory);
        timeline.set_read();
        let serving = self.shown.members.iter().map(|member| (member.instance.clone(), used.packets));
        let heard: Vec<(Id, f64)> = serving.chain(self.outside.clone()).collect();
        for (instance, _) in &heard {
            timeline.agent_heard(instance, true, now);
            timeline.agent_proven(instance, self.proven, now);
        }
        timeline.apply(&timeline.moves(now));
        for (instance, packets) in heard {
            let each = packets / 2.0;
            let network =
                NetworkRates { in_bytes: 0.0, out_bytes: 0.0, in_packets: each, out_packets: each, errors: 0.0 };
            let sample = Sample {
                sequence: 1,
                wall_micros: now,
                monotonic_micros: 0,
                covers_millis: 60_000,
                cpu_percent: Some(used.cpu),
                cpu_busiest_percent: None,
                cpu_steal_percent: Some(used.stolen),
                memory_used_bytes: Some(used.memory),
                memory_total_bytes: Some(100),
                network: Some(network),
            };
            let stream = StreamId([1; 16]);
            let samples = Arc::new([Stored { instance: instance.clone(), stream, sample }]);
            self.service.arrived(&Arrived { instance, stream, placement: None, samples });
        }
        // Every decision is written down with what it was made from.
        for state in self.service.groups.values_mut() {
            state.recorded = None;
        }
        Box::pin(self.service.round()).await;
        let generation = self.service.groups.get(&self.group).expect("planned").generation;
        let found = self.service.act.decisions().decision(&self.group, generation).await.expect("read");
        serde_json::from_value(found.expect("written down")).expect("a decision")
    }

    /// Whether a minute as ever ends with this hold.
    async fn holds(&mut self, hold: &Hold) -> bool {
        self.minute(AS_EVER).await.plan.holds.contains(hold)
    }
}

#[tokio::test]
async fn what_its_source_its_agents_and_its_operator_say_holds_the_very_next_plan() {
    let mut rounds = Rounds::begun(&[]).await;
    let credits = CpuCredits { balance: 0.0, spent_per_hour: 60.0 };
    type Change = fn(&mut Rounds, CpuCredits);
    let rows: [(Hold, Change); 7] = [
        (Hold::ForeignScaleIn, |it, _| it.shown.foreign_scale_in = true),
        (Hold::Untold, |it, _| it.shown.untold = true),
        (Hold::Deploying, |it, _| it.shown.deploying = true),
        (Hold::NotOwner, |it, _| it.shown.owner = Some("another".to_owned())),
        (Hold::OutOfCredits { instances: 1 }, |it, credits| it.shown.members[0].cpu_credits = Some(credits)),
        (Hold::UnauthenticatedEvidence, |it, _| it.proven = false),
        (Hold::UnauthenticatedEvidence, |it, _| it.service.options.authenticated = false),
    ];
    for (hold, say) in rows {
        assert!(!rounds.holds(&hold).await, "{hold}: nobody said so");
        let before = rounds.shown.clone();
        say(&mut rounds, credits);
        assert!(rounds.holds(&hold).await, "{hold}");
        (rounds.shown, rounds.proven, rounds.service.options.authenticated) = (before, true, true);
    }
    let (control, group) = (rounds.service.act.control().clone(), rounds.group.clone());
    control.pause(Some(&group), true, START, "somebody", "to look at it").await.expect("paused");
    assert!(rounds.holds(&Hold::Paused).await);
    control.pause(Some(&group), false, START, "somebody", "seen").await.expect("resumed");
    assert!(!rounds.holds(&Hold::Paused).await && !rounds.holds(&Hold::ClockJump).await);
    rounds.clock.jumped.store(61, Ordering::Relaxed);
    assert!(rounds.holds(&Hold::ClockJump).await);
}

#[tokio::test]
async fn cpu_that_falls_alone_and_processors_that_hosts_give_to_others_are_seen_in_the_samples() {
    let mut rounds = Rounds::begun(&[]).await;
    let hung = |decision: &Decision| decision.plan.holds.iter().any(|hold| matches!(hold, Hold::Hung { .. }));
    let mut last = rounds.minute(AS_EVER).await;
    assert_eq!(last.evidence.conditions.pulse, None, "the hours before are not known");
    for _ in 0..50 {
        last = rounds.minute(AS_EVER).await;
        assert!(!hung(&last) && last.evidence.inventory.stolen.is_empty());
    }
    let pulse = |cpu, network| Some(planner::evidence::Pulse { cpu, network });
    assert_eq!(last.evidence.conditions.pulse, pulse(1.0, 1.0));
    // As after a restart: what was is known from the disk.
    rounds.service.groups.clear();
    last = rounds.minute(Used { cpu: 10.0, packets: 1_900.0, ..AS_EVER }).await;
    assert_eq!(last.evidence.conditions.pulse, pulse(0.25, 0.95));
    assert!(last.plan.holds.contains(&Hold::Hung { cpu: 0.25, network: 0.95 }), "{:?}", last.plan.holds);
    for _ in 0..5 {
        last = rounds.minute(Used { stolen: 30.0, ..AS_EVER }).await;
    }
    assert!(!hung(&last) && last.plan.holds.contains(&Hold::Stolen { percent: 30.0 }), "{:?}", last.plan.holds);
}

#[tokio::test]
async fn what_the_file_says_of_a_group_and_what_was_measured_of_it_is_what_it_is_planned_by() {
    let mut rounds = Rounds::begun(&[]).await;
    let Decision { policy, .. } = rounds.minute(AS_EVER).await;
    assert!(policy.windows.iter().any(|window| window.minimum == Some(3)), "{:?}", policy.windows);
    assert_eq!(policy.spend_per_hour, Some(70.0));
    assert_eq!((policy.launch_lead_seconds, policy.reattach_lead_seconds), (222, 33), "as measured");
    let tally = rounds.service.tally.fleet(0);
    assert_eq!((tally.groups, tally.groups_that_want_in), (1, 0), "counted among all that may want in at once");
}

#[tokio::test]
async fn nobody_is_taken_away_in_the_first_ten_minutes() {
    let mut rounds = Rounds::begun(&[]).await;
    let warms_up = |decision: &Decision| decision.plan.holds.iter().any(|hold| matches!(hold, Hold::WarmUp { .. }));
    for minute in 1..=9 {
        let decision = rounds.minute(AS_EVER).await;
        assert!(warms_up(&decision), "minute {minute}: {:?}", decision.plan.holds);
        assert_eq!(decision.evidence.conditions.started_seconds_ago, 60 * minute, "the checker goes by it");
    }
    assert!(!warms_up(&rounds.minute(AS_EVER).await));
}

#[tokio::test]
async fn what_was_done_lately_is_a_condition_of_every_plan() {
    let conditions = async |done: &[(Action, Option<Settled>)]| {
        let mut rounds = Rounds::begun_after(&[], done, |_| {}).await;
        rounds.minute(AS_EVER).await.evidence.conditions
    };
    let web = |name: &str| Id::new("instance", name).expect("an id");
    let (detach, end) =
        (|| Action::Detach { instances: vec![web("i-9")] }, || Action::Terminate { instances: vec![web("i-9")] });
    let done = || Some(Settled::Done { instances: vec![web("i-9")] });
    let refused = || Some(Settled::Refused { why: vec!["no".to_owned()], by_cloud: true, in_doubt: false });
    let calm = conditions(&[]).await;
    assert_eq!((calm.detachable, calm.terminable, calm.launched_last_hour), (Some(1), Some(1), 0), "one always may");
    assert!(!calm.launches_failing && calm.launch_again_at.is_none() && !calm.changing);

    let failed = conditions(&[(Action::launch(2, 6), refused())]).await;
    assert_eq!((failed.launches_failing, failed.launch_again_at), (true, Some(START + 240)), "five minutes after it");
    let launched = conditions(&[(Action::launch(2, 6), done())]).await;
    assert_eq!((launched.launched_last_hour, launched.launches_failing), (2, false));
    let open = conditions(&[(detach(), None)]).await;
    assert!(open.changing, "what became of it is to be found out first");
    for (gone, left) in [(detach(), (Some(0), Some(1))), (end(), (Some(1), Some(0)))] {
        let after = conditions(&[(gone.clone(), done())]).await;
        assert_eq!((after.detachable, after.terminable), left, "{gone:?}: one in a quarter of an hour");
    }
    let kept = conditions(&[(detach(), refused())]).await;
    assert_eq!(kept.detachable, Some(0), "the cloud lets nobody out");
}

#[tokio::test]
async fn what_everybody_costs_is_known_where_every_price_is() {
    let mut rounds = Rounds::begun(&[]).await;
    for (number, member) in rounds.shown.members.iter_mut().enumerate() {
        member.instance_type = Some(Id::new("type", ["large", "xlarge"][number % 2]).expect("an id"));
    }
    let told =
        |decision: Decision| (decision.evidence.conditions.cost_per_hour, decision.evidence.conditions.price_per_hour);
    assert_eq!(told(rounds.minute(AS_EVER).await), (None, None));
    let prices = BTreeMap::from([("large".to_owned(), 1.0), ("xlarge".to_owned(), 2.0), ("other".to_owned(), 9.0)]);
    let config = ShadowConfig { prices_per_hour: prices, ..ShadowConfig::default() };
    rounds.service.sessions.put_config(config).await.expect("kept");
    let decision = rounds.minute(AS_EVER).await;
    let known = BTreeMap::from([("large".to_owned(), 1.0), ("xlarge".to_owned(), 2.0)]);
    assert_eq!(decision.evidence.inventory.prices, known, "of the types that are there");
    assert_eq!(told(decision), (Some(6.0), Some(2.0)));
}

#[tokio::test]
async fn a_plan_that_wants_nothing_is_handed_over_where_a_hook_holds_somebody_on() {
    for holds in [false, true] {
        let mut rounds = Rounds::begun_after(&[], &[], |said| said.policy.hold_terminating = holds).await;
        let plan = rounds.minute(AS_EVER).await.plan;
        assert!(plan.steps.iter().all(|step| !step.permitted), "{:?}", plan.steps);
        let handed_over = rounds.service.act.newest(&rounds.group);
        assert_eq!(handed_over.map(|planned| planned.plan.generation), holds.then_some(plan.generation));
    }
}

#[tokio::test]
async fn what_load_without_traffic_would_be_is_told_by_those_that_serve() {
    let mut rounds = Rounds::begun(&[]).await;
    let mut last = None;
    for minute in 0..12 {
        let packets = 100.0 * 1.5_f64.powi(minute);
        last = Some(rounds.minute(Used { cpu: 6.0 + 0.005 * packets, packets, ..AS_EVER }).await);
    }
    let baseline = &last.expect("a plan").evidence.metrics[&Metric::Cpu].baseline;
    let intercept = baseline.from_regression.expect("traffic varied");
    assert!((intercept - 6.0).abs() < 0.5, "{intercept}");
    assert_eq!((baseline.from_shadows, baseline.shadows), (None, 0), "nobody stands in shadow");
}

#[tokio::test]
async fn groups_that_want_in_together_and_what_everybody_costs_are_conditions_of_a_plan() {
    let mut rounds = Rounds::begun(&[]).await;
    let mut plan = rounds.minute(AS_EVER).await.plan;
    let mut snapshot = rounds.service.timeline.group(&rounds.group).expect("known");
    let common =
        |rounds: &Rounds| rounds.service.conditions(&rounds.group, &snapshot, None, &Outlook::default()).common_cause;
    assert!(!common(&rounds), "it is alone");
    plan.wants_in = 1;
    for other in ["b", "c"] {
        rounds.service.tally.count(&Id::new("group", other).expect("an id"), &plan);
    }
    assert!(common(&rounds), "two of three");
    // Who stands outside costs as well; one more costs as much as the dearest; without one price nothing is known.
    for (member, kind) in snapshot.members.iter_mut().zip(["large", "large", "xlarge", "xlarge"]) {
        member.instance_type = Some(kind.to_owned());
    }
    snapshot.members[3].mode = observe::InstanceMode::Shadow;
    let mut prices = BTreeMap::from([("large".to_owned(), 1.0), ("xlarge".to_owned(), 2.0), ("huge".to_owned(), 9.0)]);
    assert_eq!(cost(&snapshot, &prices), Some((6.0, 2.0)));
    snapshot.members[3].mode = observe::InstanceMode::Gone;
    assert_eq!(cost(&snapshot, &prices), Some((4.0, 2.0)));
    prices.remove("large");
    assert_eq!(cost(&snapshot, &prices), None);
    snapshot.members.clear();
    assert_eq!(cost(&snapshot, &prices), Some((0.0, 9.0)));
}

#[tokio::test]
async fn memory_that_fills_up_is_seen_in_the_samples_of_those_that_serve() {
    let mut rounds = Rounds::begun(&[]).await;
    assert_eq!(rounds.minute(AS_EVER).await.evidence.conditions.memory_percent, Some(50.0));
    let full = rounds.minute(Used { memory: 95, ..AS_EVER }).await;
    assert!(full.plan.holds.contains(&Hold::MemoryFull { percent: 95.0 }), "{:?}", full.plan.holds);
    assert!(!rounds.holds(&Hold::MemoryFull { percent: 95.0 }).await);
    // Shadows tell as well, and nobody is served of theirs.
    for member in &mut rounds.shown.members {
        member.lifecycle = Lifecycle::Standby;
    }
    assert_eq!(rounds.minute(Used { memory: 95, ..AS_EVER }).await.evidence.conditions.memory_percent, None);
}

#[tokio::test]
async fn who_left_and_is_talked_to_drains_on_and_stands_in_shadow_when_it_is_quiet() {
    use observe::InstanceMode::{Draining, Shadow};
    let mut rounds = Rounds::begun(&[]).await;
    rounds.minute(AS_EVER).await;
    let left = rounds.shown.members.pop().expect("a member").instance;
    let rows = [(2_000.0, Draining), (2_000.0, Draining), (2_000.0, Draining), (3.0, Draining), (3.0, Shadow)];
    for (minute, (packets, mode)) in rows.into_iter().enumerate() {
        rounds.outside = Some((left.clone(), packets));
        rounds.minute(AS_EVER).await;
        let placed = rounds.service.timeline.placement(&left).map(|placed| placed.mode);
        assert_eq!(placed, Some(mode), "minute {minute}: it waits for nothing else, its group drains no time at all");
    }
}

#[tokio::test]
async fn who_is_lost_and_about_to_be_replaced_by_the_provider_is_on_its_way() {
    let mut rounds = Rounds::begun(&[]).await;
    let expected = |decision: Decision| decision.evidence.inventory.expected;
    assert_eq!(expected(rounds.minute(AS_EVER).await), 0);
    rounds.shown.members.pop();
    assert_eq!(expected(rounds.minute(AS_EVER).await), 1);
    // A page that is missing may show somebody.
    rounds.complete = false;
    assert_eq!(expected(rounds.minute(AS_EVER).await), 0);
}

#[tokio::test]
async fn the_checker_is_told_the_highest_of_the_same_hour_a_week_ago_and_of_no_other() {
    let week = START - 7 * 86_400;
    let past = [(-60, 900.0), (0, 300.0), (1_800, 480.0), (3_540, 310.0), (3_600, 700.0)];
    let mut rounds = Rounds::begun(&past.map(|(second, gross)| (week + second, gross))).await;
    assert_eq!(rounds.minute(AS_EVER).await.last_week, BTreeMap::from([(Metric::Cpu, 480.0)]));
    let mut rounds = Rounds::begun(&[(week - 60, 900.0), (week + 3_600, 700.0)]).await;
    assert_eq!(rounds.minute(AS_EVER).await.last_week, BTreeMap::new());
}

#[tokio::test]
async fn a_plan_that_cannot_be_is_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let told = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let counted = || told.render().lines().filter(|line| line.starts_with("foreshadow_invariant_viol")).count();
    let mut rounds = Rounds::begun(&[]).await;
    for _ in 0..3 {
        rounds.minute(AS_EVER).await;
    }
    assert_eq!(counted(), 0);
    // As if a plan had been made that this process knows nothing of.
    let group = rounds.group.clone();
    rounds.service.groups.get_mut(&group).expect("planned").generation = 99;
    rounds.minute(AS_EVER).await;
    let line = "foreshadow_invariant_violations_total{invariant=\"generations_ascend\"} 1";
    assert!(told.render().lines().any(|it| it == line), "{}", told.render());
}

#[tokio::test]
async fn what_forecasts_came_to_is_kept_by_the_hour_and_a_restart_goes_on_with_it() {
    let past: Vec<_> = (-1_500..0).map(|minute| (START + 60 * minute, 120.0)).collect();
    let mut rounds = Rounds::begun(&past).await;
    for _ in 0..30 {
        rounds.minute(AS_EVER).await;
    }
    let near =
        |hours: &[forecast::Hour]| *hours.iter().find(|hour| hour.band == forecast::Band::Hour).expect("an hour");
    let kept = rounds.service.forecast_hours.of(&rounds.group).await.expect("read");
    let hour = near(&kept["cpu"]);
    assert!(hour.hour == START && hour.outcomes >= 4 && hour.inside <= hour.outcomes, "{hour:?}");
    // A day before it were 120 points and now are 160, of which the forecasts knew soon.
    assert!(hour.compared == hour.outcomes && hour.day_before > hour.loss, "{hour:?}");
    // Whatever was in memory is gone.
    rounds.service.groups.clear();
    rounds.minute(AS_EVER).await;
    let shown = |rounds: &Rounds| {
        let report = rounds.service.board.report(&rounds.group).expect("a report");
        near(&report.metrics["cpu"].hours)
    };
    assert_eq!(shown(&rounds), hour);
    for _ in 0..15 {
        rounds.minute(AS_EVER).await;
    }
    let (on, kept) = (shown(&rounds), rounds.service.forecast_hours.of(&rounds.group).await.expect("read"));
    assert!(on.outcomes > hour.outcomes && on.loss >= hour.loss && on.hour == START, "{on:?} after {hour:?}");
    assert_eq!(near(&kept["cpu"]), on);
    // As long as plans are.
    rounds.service.forecast_hours.expire(START + 30 * 86_400).await.expect("expired");
    assert!(!rounds.service.forecast_hours.of(&rounds.group).await.expect("read").is_empty());
    rounds.service.forecast_hours.expire(START + 30 * 86_400 + 3_600).await.expect("expired");
    assert_eq!(rounds.service.forecast_hours.of(&rounds.group).await.expect("read"), BTreeMap::new());
}

/// A group that is opened again, as after a restart, begins with what was learned of its past before.
#[tokio::test]
async fn what_was_learned_is_on_disk_after_a_round_and_read_when_the_group_is_opened() {
    let past: Vec<(i64, f64)> = (1..600).map(|minute| (START.div_euclid(60) * 60 - 60 * minute, 40.0)).collect();
    let mut rounds = Rounds::begun(&past).await;
    rounds.minute(AS_EVER).await;
    let now = rounds.clock.wall_seconds();
    let snapshot = rounds.service.timeline.group(&rounds.group).expect("known");
    let learned = |opened: Group| opened.round.expect("opened").learned().count();
    let opened = rounds.service.open(&rounds.group, &snapshot, now).await.expect("opened");
    assert_eq!(learned(opened), 1, "of its one metric, before it has forecast anything");
    let kept = std::fs::read_dir(rounds._directory.path().join("learned")).expect("made");
    for file in kept {
        std::fs::write(file.expect("a file").path(), "nonsense").expect("written");
    }
    let opened = rounds.service.open(&rounds.group, &snapshot, now).await.expect("opened all the same");
    assert_eq!(learned(opened), 0);
}

async fn change(rounds: &Rounds, change: &'static str) {
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(rounds._directory.path().join("foreshadow.db"));
    let pool = sqlx::SqlitePool::connect_with(file).await.expect("opens");
    assert_eq!(sqlx::query(change).execute(&pool).await.expect("changed").rows_affected(), 1, "{change}");
    pool.close().await;
}

/// A minute whose numbers are no more those that were measured is made anew in the next round, although nobody sends anything of it.
#[tokio::test]
async fn a_minute_that_was_damaged_in_the_store_is_made_anew_from_the_samples_that_are_there() {
    let mut rounds = Rounds::begun(&[(START - 60, 160.0)]).await;
    for _ in 0..6 {
        rounds.minute(AS_EVER).await;
    }
    let store = rounds.service.store.clone();
    let group = rounds.group.clone();
    let read = async || store.minutes(&group, "cpu", START + 120, START + 240).await.expect("read");
    let measured = read().await;
    assert_eq!(measured.len(), 2, "{measured:?}");
    change(&rounds, "UPDATE minute SET gross_mean = gross_mean + 100 WHERE start_seconds = 1800000180").await;
    assert_eq!(read().await, measured[..1], "absent, and not what nobody measured");
    rounds.minute(AS_EVER).await;
    assert_eq!(read().await, measured);
    assert_eq!(store.take_damaged_minutes(), []);
}

/// Of one whose chunk is damaged nothing is known; of the others all is, whether it says so itself or SQLite does.
#[tokio::test]
async fn minutes_are_made_from_the_store_around_what_is_damaged_there() {
    let mut rounds = Rounds::begun(&[]).await;
    for _ in 0..3 {
        rounds.minute(AS_EVER).await;
    }
    let (store, start) = (rounds.service.store.clone(), rounds.clock.wall_seconds().div_euclid(60) * 60 - 60);
    for number in 0..SERVING {
        let sample = |second: i64| Sample {
            sequence: second.unsigned_abs(),
            wall_micros: (start + second) * 1_000_000,
            monotonic_micros: 0,
            covers_millis: 1_000,
            cpu_percent: Some(40.0),
            cpu_busiest_percent: None,
            cpu_steal_percent: None,
            memory_used_bytes: None,
            memory_total_bytes: None,
            network: None,
        };
        let arrival = crate::store::Arrival {
            instance: member(number).instance,
            stream: StreamId([1; 16]),
            boot_id: Id::new("boot", "boot").expect("an id"),
            samples: (1..=60).map(sample).collect(),
            rejected: Vec::new(),
            dropped_total: 0,
        };
        store.append(arrival).await.expect("stored");
    }
    store.maintain((start + 3 * 3_600) * 1_000_000).await.expect("folded");
    let read = async || {
        let slices = rounds.service.slices_from_store(&rounds.group, &[start]).await.expect("read");
        let mut found: Vec<String> =
            slices.iter().filter(|(_, of)| !of.is_empty()).map(|(instance, _)| instance.to_string()).collect();
        found.sort();
        found
    };
    assert_eq!(read().await, ["i-0", "i-1", "i-2", "i-3"]);
    change(&rounds, "UPDATE chunk SET body = zeroblob(100) WHERE instance = 'i-2'").await;
    assert_eq!(read().await, ["i-0", "i-1", "i-3"]);
    change(&rounds, "UPDATE chunk SET body = 5 WHERE instance = 'i-1'").await;
    assert_eq!(read().await, ["i-0", "i-3"]);
}
