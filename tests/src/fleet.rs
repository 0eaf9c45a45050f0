//! Many agents in one process: the real session, spool and wire, with scripted load instead of a host.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use foreshadow_agent::clock::{Clock as _, HostClock, random};
use foreshadow_agent::identity::Proof;
use foreshadow_agent::spool::{CAPACITY, Spool};
use foreshadow_agent::stream::{Effect, Endpoint, Event, Hello, Open, Session, Transport};
use foreshadow_proto::v1::{self, agent_message, aggregator_message};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, sleep};

/// Waits between tries; short and even, since a test wants to see the reconnect.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Between samples of an agent's past.
const PAST_SECONDS: u64 = 10;

/// CPU percent of the instance with this index at this second since the fleet began.
pub type Load = Arc<dyn Fn(usize, u64) -> f32 + Send + Sync>;

/// What the fleet is.
#[derive(Clone)]
pub struct Script {
    pub aggregator: String,
    pub instances: Vec<String>,
    pub group: String,
    pub instance_type: String,
    pub interval: Duration,
    pub load: Load,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Script").field("instances", &self.instances.len()).finish_non_exhaustive()
    }
}

/// How the agents speak: in plain text, at once and each sample by itself where nothing is said.
#[derive(Debug, Clone)]
pub struct Wire {
    /// PEM file of the authority that signed the aggregator's certificate.
    pub ca: Option<PathBuf>,
    /// What each agent shows, by its index.
    pub proofs: Arc<[Proof]>,
    pub transport: Transport,
    /// Samples sent together.
    pub batch: usize,
    /// One acknowledgement is for all that was sent within this time, as agents have it; each message has its own unless told.
    pub acknowledged_within: Duration,
    /// Agents connect evenly spread over this time, and again after up to as long.
    pub spread: Duration,
    /// The version that the agents say; their own unless told.
    pub agent_version: Option<String>,
    /// Batches that each agent makes first and does not send: what is in them waits in its spool until it connects again.
    pub kept_back: u32,
    /// How long after its start its first sample was kept, as each agent tells it; nobody does unless told.
    pub first_kept: Option<Duration>,
    /// How long each agent has measured before it connects: a sample every ten seconds.
    pub past: Duration,
    /// What each uses without traffic, points: its packets and bytes tell of the rest.
    pub idle: f64,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            ca: None,
            proofs: Arc::default(),
            transport: Transport::Tcp,
            batch: 1,
            acknowledged_within: Duration::ZERO,
            spread: Duration::ZERO,
            agent_version: None,
            kept_back: 0,
            first_kept: None,
            past: Duration::ZERO,
            idle: 0.0,
        }
    }
}

/// What all agents together have done.
#[derive(Debug, Default)]
pub struct Done {
    /// Samples made.
    pub made: AtomicU64,
    /// Messages with samples in them.
    pub batches: AtomicU64,
    /// Times from a sample to its acknowledgement, µs.
    pub acknowledged_after: Mutex<Vec<u32>>,
    paused: AtomicBool,
}

/// What one simulated agent was told and has done.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub instance: String,
    /// Samples made so far.
    pub made: u64,
    pub unacknowledged: usize,
    pub dropped: u64,
    pub connections: u32,
    /// The newest directive.
    pub directive: Option<v1::Directive>,
}

/// A running fleet; it ends when dropped.
#[derive(Debug)]
pub struct Fleet {
    script: Script,
    endpoint: Endpoint,
    wire: Wire,
    done: Arc<Done>,
    seen: Vec<watch::Receiver<Seen>>,
    agents: JoinSet<()>,
}

impl Fleet {
    /// Starts one agent per instance, in plain text.
    pub fn start(script: &Script) -> anyhow::Result<Self> {
        Self::start_with(script, Wire::default())
    }

    /// Starts one agent per instance.
    pub fn start_with(script: &Script, wire: Wire) -> anyhow::Result<Self> {
        let uri = script.aggregator.parse().with_context(|| script.aggregator.clone())?;
        let (ca, transport) = (wire.ca.clone(), wire.transport);
        let endpoint = Endpoint { uri, ca, token_file: None, credentials: None, transport };
        let (seen, agents) = (Vec::new(), JoinSet::new());
        let mut fleet = Self { script: script.clone(), endpoint, wire, done: Arc::default(), seen, agents };
        for instance in &script.instances {
            fleet.join(instance);
        }
        Ok(fleet)
    }

    /// One agent more, with the next index.
    pub fn join(&mut self, instance: &str) {
        let (tell, watch) = watch::channel(Seen { instance: instance.to_owned(), ..Seen::default() });
        let index = self.seen.len();
        self.seen.push(watch);
        let agent = Agent {
            index,
            proof: self.wire.proofs.get(index).cloned(),
            first_after: self.wire.spread.mul_f64(index as f64 / self.script.instances.len().max(1) as f64),
            again_after: AGAIN_AFTER.max(self.wire.spread),
            batch: self.wire.batch,
            acknowledged_within: self.wire.acknowledged_within,
            agent_version: self.wire.agent_version.clone(),
            kept_back: self.wire.kept_back,
            first_kept: self.wire.first_kept,
            past: self.wire.past,
            idle: self.wire.idle,
            script: self.script.clone(),
            endpoint: self.endpoint.clone(),
            done: self.done.clone(),
            tell,
        };
        self.agents.spawn(agent.run(instance.to_owned()));
    }

    /// What all agents together have done.
    pub fn done(&self) -> &Done {
        &self.done
    }

    /// Makes no more samples; those that were made are still sent.
    pub fn pause(&self) {
        self.done.paused.store(true, Ordering::Relaxed);
    }

    /// Agents that have been connected more than `times` times, and samples of all that are not acknowledged.
    pub fn state(&self, times: u32) -> (usize, usize) {
        let seen = self.seen.iter().map(|seen| seen.borrow());
        seen.fold((0, 0), |(connected, waiting), agent| {
            (connected + usize::from(agent.connections > times), waiting + agent.unacknowledged)
        })
    }

    /// What every agent has seen.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.iter().map(|seen| seen.borrow().clone()).collect()
    }

    /// What the agent of one instance has seen.
    pub fn of(&self, instance: &str) -> Option<Seen> {
        self.seen().into_iter().find(|seen| seen.instance == instance)
    }
}

struct Agent {
    index: usize,
    proof: Option<Proof>,
    first_after: Duration,
    again_after: Duration,
    batch: usize,
    acknowledged_within: Duration,
    agent_version: Option<String>,
    kept_back: u32,
    first_kept: Option<Duration>,
    past: Duration,
    idle: f64,
    script: Script,
    endpoint: Endpoint,
    done: Arc<Done>,
    tell: watch::Sender<Seen>,
}

impl Agent {
    async fn run(self, instance: String) {
        let Self { index, script, tell, done, .. } = &self;
        let first_kept = self.first_kept.and_then(|after| u32::try_from(after.as_millis()).ok());
        let hello = Hello {
            instance_id: instance,
            claimed_group: script.group.clone(),
            facts: v1::Facts {
                instance_type: script.instance_type.clone(),
                cores: 2,
                first_acknowledged_millis: first_kept.unwrap_or_default(),
                ..v1::Facts::default()
            },
        };
        let spool = Spool::in_memory(random(), format!("boot-{index}"), CAPACITY);
        let mut session = Session::new(hello, spool).together(self.batch).acknowledged_within(self.acknowledged_within);
        // Readiness as an agent without a probe tells it.
        session.on(Event::Readiness(v1::Readiness {
            ready: true,
            wall_micros: HostClock.wall_micros(),
            detail: "no probe".to_owned(),
        }));
        // Spread over the interval, as machines are that did not start together.
        let offset = script.interval.mul_f64((index % 97) as f64 / 97.0);
        let mut ticks = tokio::time::interval_at(Instant::now() + offset, script.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let began = HostClock.wall_micros();
        for before in (1..=self.past.as_secs() / PAST_SECONDS).rev().map(|number| number * PAST_SECONDS) {
            let every = Duration::from_secs(PAST_SECONDS);
            let mut measured = sample(began, every, (script.load)(*index, self.past.as_secs() - before), self.idle);
            let before_micros = before * 1_000_000;
            measured.wall_micros -= i64::try_from(before_micros).unwrap_or_default();
            measured.monotonic_micros = measured.monotonic_micros.saturating_sub(before_micros);
            session.on(Event::Sampled(measured));
        }
        let mut link: Option<Open> = None;
        let mut connecting = Box::pin(self.connect(self.first_after));
        let mut unanswered: VecDeque<(u64, Instant)> = VecDeque::new();
        let (mut sequence, mut kept_back) = (self.past.as_secs() / PAST_SECONDS, self.kept_back);
        loop {
            let mut effects = Vec::new();
            tokio::select! {
                _ = ticks.tick(), if !done.paused.load(Ordering::Relaxed) || session.unacknowledged() > 0 => {
                    if !done.paused.load(Ordering::Relaxed) {
                        let now = HostClock.wall_micros();
                        let second = u64::try_from((now - began) / 1_000_000).unwrap_or_default();
                        session.on(Event::Sampled(sample(now, script.interval, (script.load)(*index, second), self.idle)));
                        sequence += 1;
                        unanswered.push_back((sequence, Instant::now()));
                        done.made.fetch_add(1, Ordering::Relaxed);
                        tell.send_modify(|seen| seen.made += 1);
                    }
                    effects = session.on(Event::Flush);
                }
                message = receive(&mut link), if link.is_some() => match message {
                    Some(message) => {
                        if let Some(aggregator_message::Kind::Ack(ack)) = &message.kind {
                            answered(&mut unanswered, ack, done);
                        }
                        effects = session.on(Event::Message(message));
                    }
                    None => {
                        link = None;
                        session.on(Event::Disconnected);
                        connecting = Box::pin(self.connect(self.again()));
                    }
                },
                opened = &mut connecting, if link.is_none() => match opened {
                    Ok(open) => {
                        link = Some(open);
                        tell.send_modify(|seen| seen.connections += 1);
                        effects = session.on(Event::Connected);
                    }
                    Err(_) => connecting = Box::pin(self.connect(self.again())),
                },
            }
            for effect in effects {
                match effect {
                    Effect::Send(mut message) => {
                        if let (Some(agent_message::Kind::Hello(hello)), Some(version)) =
                            (&mut message.kind, &self.agent_version)
                        {
                            hello.agent_version.clone_from(version);
                        }
                        let batch = matches!(message.kind, Some(agent_message::Kind::Batch(_)));
                        if batch && kept_back > 0 {
                            kept_back -= 1;
                            continue;
                        }
                        done.batches.fetch_add(u64::from(batch), Ordering::Relaxed);
                        if link.as_ref().is_some_and(|open| open.outgoing.try_send(*message).is_err()) {
                            link = None;
                            session.on(Event::Disconnected);
                            connecting = Box::pin(self.connect(self.again()));
                            break;
                        }
                    }
                    Effect::Directed(directive) => tell.send_modify(|seen| seen.directive = Some(directive)),
                    Effect::Interval(_) | Effect::Rejected(_) | Effect::FirstAcknowledged => {}
                }
            }
            tell.send_modify(|seen| {
                seen.unacknowledged = session.unacknowledged();
                seen.dropped = session.dropped();
            });
        }
    }

    /// Short and even in a test, that wants to see the reconnect; spread where there are many.
    fn again(&self) -> Duration {
        let dice = u16::from_le_bytes(random());
        AGAIN_AFTER + (self.again_after - AGAIN_AFTER).mul_f64(f64::from(dice) / f64::from(u16::MAX))
    }

    async fn connect(&self, after: Duration) -> Result<Open, foreshadow_agent::stream::LinkError> {
        sleep(after).await;
        self.endpoint.open_as(self.proof.as_ref()).await
    }
}

/// Notes how long it took.
fn answered(unanswered: &mut VecDeque<(u64, Instant)>, ack: &v1::Ack, done: &Done) {
    let held = ack.ranges.iter().map(|range| range.last).max().unwrap_or_default();
    let mut times = done.acknowledged_after.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some((_, made)) = unanswered.pop_front_if(|(sequence, _)| *sequence <= held) {
        times.push(u32::try_from(made.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
}

fn sample(now: i64, interval: Duration, cpu: f32, idle: f64) -> v1::Sample {
    let busy = (f64::from(cpu) - idle).max(0.0);
    v1::Sample {
        sequence: 0,
        wall_micros: now,
        monotonic_micros: HostClock.boot_micros(),
        covers_millis: u32::try_from(interval.as_millis()).unwrap_or(u32::MAX),
        cpu_percent: Some(cpu),
        cpu_busiest_percent: Some(cpu),
        cpu_steal_percent: Some(0.0),
        memory_used_bytes: Some(2 << 30),
        memory_total_bytes: Some(8 << 30),
        network: Some(v1::Network {
            in_bytes: 10_000.0 * busy,
            out_bytes: 20_000.0 * busy,
            in_packets: 10.0 * busy,
            out_packets: 10.0 * busy,
            errors: 0.0,
        }),
    }
}

async fn receive(link: &mut Option<Open>) -> Option<v1::AggregatorMessage> {
    match link {
        Some(open) => open.incoming.message().await.ok().flatten(),
        None => std::future::pending().await,
    }
}
