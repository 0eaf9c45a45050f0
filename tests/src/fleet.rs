//! Many agents in one process: the real session, spool and wire, with scripted load instead of a host.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use foreshadow_agent::clock::{Clock as _, HostClock, random};
use foreshadow_agent::spool::{CAPACITY, Spool};
use foreshadow_agent::stream::{Effect, Endpoint, Event, Hello, Open, Session};
use foreshadow_proto::v1;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, sleep};

/// Waits between tries; short and even, since a test wants to see the reconnect.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

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
    seen: Vec<watch::Receiver<Seen>>,
    agents: JoinSet<()>,
}

impl Fleet {
    /// Starts one agent per instance.
    pub fn start(script: &Script) -> anyhow::Result<Self> {
        let uri = script.aggregator.parse().with_context(|| script.aggregator.clone())?;
        let endpoint = Endpoint { uri, ca: None, token_file: None, credentials: None };
        let mut fleet = Self { script: script.clone(), endpoint, seen: Vec::new(), agents: JoinSet::new() };
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
        self.agents.spawn(run(index, instance.to_owned(), self.script.clone(), self.endpoint.clone(), tell));
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

async fn run(index: usize, instance: String, script: Script, endpoint: Endpoint, tell: watch::Sender<Seen>) {
    let hello = Hello {
        instance_id: instance,
        claimed_group: script.group.clone(),
        facts: v1::Facts { instance_type: script.instance_type.clone(), cores: 2, ..v1::Facts::default() },
    };
    let mut session = Session::new(hello, Spool::in_memory(random(), format!("boot-{index}"), CAPACITY));
    // Readiness as an agent without a probe tells it.
    session.on(Event::Readiness(v1::Readiness {
        ready: true,
        wall_micros: HostClock.wall_micros(),
        detail: "no probe".to_owned(),
    }));
    // Spread over the interval, as machines are that did not start together.
    let offset = script.interval.mul_f64((index % 97) as f64 / 97.0);
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + offset, script.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let began = HostClock.wall_micros();
    let mut link: Option<Open> = None;
    let mut connecting = Box::pin(connect(endpoint.clone(), Duration::ZERO));
    loop {
        let mut effects = Vec::new();
        tokio::select! {
            _ = ticks.tick() => {
                let now = HostClock.wall_micros();
                let second = u64::try_from((now - began) / 1_000_000).unwrap_or_default();
                session.on(Event::Sampled(sample(now, script.interval, (script.load)(index, second))));
                tell.send_modify(|seen| seen.made += 1);
                effects = session.on(Event::Flush);
            }
            message = receive(&mut link), if link.is_some() => match message {
                Some(message) => effects = session.on(Event::Message(message)),
                None => {
                    link = None;
                    session.on(Event::Disconnected);
                    connecting = Box::pin(connect(endpoint.clone(), AGAIN_AFTER));
                }
            },
            opened = &mut connecting, if link.is_none() => match opened {
                Ok(open) => {
                    link = Some(open);
                    tell.send_modify(|seen| seen.connections += 1);
                    effects = session.on(Event::Connected);
                }
                Err(_) => connecting = Box::pin(connect(endpoint.clone(), AGAIN_AFTER)),
            },
        }
        for effect in effects {
            match effect {
                Effect::Send(message) => {
                    if link.as_ref().is_some_and(|open| open.outgoing.try_send(*message).is_err()) {
                        link = None;
                        session.on(Event::Disconnected);
                        connecting = Box::pin(connect(endpoint.clone(), AGAIN_AFTER));
                        break;
                    }
                }
                Effect::Directed(directive) => tell.send_modify(|seen| seen.directive = Some(directive)),
                Effect::Interval(_) | Effect::Rejected(_) => {}
            }
        }
        tell.send_modify(|seen| {
            seen.unacknowledged = session.unacknowledged();
            seen.dropped = session.dropped();
        });
    }
}

fn sample(now: i64, interval: Duration, cpu: f32) -> v1::Sample {
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
            in_bytes: 10_000.0 * f64::from(cpu),
            out_bytes: 20_000.0 * f64::from(cpu),
            in_packets: 10.0 * f64::from(cpu),
            out_packets: 10.0 * f64::from(cpu),
            errors: 0.0,
        }),
    }
}

async fn connect(endpoint: Endpoint, after: Duration) -> Result<Open, foreshadow_agent::stream::LinkError> {
    sleep(after).await;
    endpoint.open().await
}

async fn receive(link: &mut Option<Open>) -> Option<v1::AggregatorMessage> {
    match link {
        Some(open) => open.incoming.message().await.ok().flatten(),
        None => std::future::pending().await,
    }
}
