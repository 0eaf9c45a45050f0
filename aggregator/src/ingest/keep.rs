//! What others measure is stored as samples of instances and values of declared metrics, or forgotten as if it had never come.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use foreshadow_proto::convert::Id;

use super::AgentService;
use super::mapped::{Left, Taken, Tracks};
use crate::clock::Clock;
use crate::config::{self, Mapped};
use crate::identity::{Caller, Role};
use crate::observe::Timeline;
use crate::readings::{Reading, Readings, Subject};
use crate::store::Arrival;

/// An instance of which a sample is older is not there by it: who sends after an outage begins with what is old.
const PRESENT_MICROS: i64 = 180_000_000;

/// What is known of those that send; absent where the configuration has no section for them.
#[derive(Debug, Clone, Default)]
pub struct Senders {
    pub remote_write: Option<Arc<Mutex<Tracks>>>,
    pub otlp: Option<Arc<Mutex<Tracks>>>,
    pub line_protocol: Option<Arc<Mutex<Tracks>>>,
    /// What Prometheus is asked for.
    pub prometheus: Option<Arc<Mutex<Tracks>>>,
}

/// What cannot be kept now: to be sent again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotKept(String);

impl NotKept {
    fn new(why: &dyn std::error::Error) -> Self {
        Self(why.to_string())
    }
}

/// Keeps what others measure. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Keeper {
    pub ingest: AgentService,
    pub readings: Readings,
    pub timeline: Timeline,
    pub clock: Arc<dyn Clock>,
}

impl Senders {
    pub fn new(config: &config::Config) -> Self {
        let tracks = |mapped: &Option<Mapped>, way| mapped.clone().map(|it| Arc::new(Mutex::new(Tracks::new(it, way))));
        Self {
            remote_write: tracks(&config.remote_write, "write"),
            otlp: tracks(&config.otlp, "otlp"),
            line_protocol: tracks(&config.line_protocol, "influx"),
            // What is asked for and what is written of an instance are one: no sample comes twice.
            prometheus: config
                .prometheus
                .as_ref()
                .map(|it| Arc::new(Mutex::new(Tracks::new(it.mapped.clone(), "write")))),
        }
    }
}

/// By which way a request came.
#[derive(Debug, Clone)]
pub struct Way {
    pub tracks: Arc<Mutex<Tracks>>,
    /// The metric that counts what became of it.
    pub counted: &'static str,
}

/// What was left out of what is durable otherwise.
#[derive(Debug, Default)]
pub struct Rest {
    pub left: BTreeMap<Left, u64>,
    /// Samples of instances that this caller may not speak for, and values of declared metrics that it may not tell.
    pub foreign: u64,
}

impl Rest {
    /// What was not taken although it is mapped: how much, and in words. What no mapping is for is nobody's fault: who sends sends
    /// much else.
    pub fn said(&self, passed_over: &[Left]) -> Option<(u64, String)> {
        let left = self.left.iter().filter(|(why, _)| !passed_over.contains(why));
        let mut said: Vec<String> = left.clone().map(|(why, count)| format!("{count} {}", why.says())).collect();
        if self.foreign > 0 {
            said.push(format!("{} of instances or groups that this caller may not speak for", self.foreign));
        }
        let count = left.map(|(_, count)| *count).sum::<u64>() + self.foreign;
        (count > 0).then(|| (count, said.join("; ")))
    }
}

impl Keeper {
    /// Takes a request in; when this returns, what was taken is durable. `read` gets the time in µs.
    pub async fn take(
        &self,
        caller: Caller,
        way: Way,
        read: impl FnOnce(&mut Tracks, i64) -> Taken,
    ) -> Result<Rest, NotKept> {
        let now = self.clock.wall_micros();
        let taken = {
            let mut tracks = way.tracks.lock().unwrap_or_else(PoisonError::into_inner);
            tracks.forget(now / 1_000);
            read(&mut tracks, now)
        };
        // Carried to its end also when the sender does not wait for it: it would send again what is known already.
        let keeper = self.clone();
        let done = tokio::spawn(async move { keeper.keep(&caller, &way, taken).await });
        done.await.map_err(|error| NotKept::new(&error))?
    }

    /// Stores the samples, or forgets that they came.
    async fn keep(&self, caller: &Caller, way: &Way, mut taken: Taken) -> Result<Rest, NotKept> {
        let proven = !caller.open && (caller.instance.is_some() || caller.role >= Role::Operator);
        let count = |outcome: &'static str, values: u64| {
            metrics::counter!(way.counted, "outcome" => outcome).increment(values);
        };
        let (mut arrivals, mut stored, mut foreign) = (BTreeMap::new(), 0, 0);
        for pushed in &taken.samples {
            if self.ingest.may_push(&pushed.instance, caller).is_err() {
                foreign += 1;
                continue;
            }
            stored += 1;
            let key = (pushed.instance.clone(), pushed.stream);
            let arrival = arrivals.entry(key).or_insert_with(|| Arrival {
                instance: pushed.instance.clone(),
                stream: pushed.stream,
                boot_id: pushed.instance.clone(),
                samples: Vec::new(),
                rejected: Vec::new(),
                dropped_total: 0,
            });
            arrival.samples.push(pushed.sample.clone());
        }
        let told = self.tell(caller, &taken);
        let undo = |error: &dyn std::error::Error| {
            way.tracks.lock().unwrap_or_else(PoisonError::into_inner).undo(&taken);
            NotKept::new(error)
        };
        self.readings.write(&told.readings).await.map_err(|error| undo(&error))?;
        stored += told.readings.len() as u64;
        foreign += told.foreign;
        for ((instance, _), arrival) in arrivals {
            let now = self.clock.wall_micros();
            let newest = arrival.samples.iter().map(|sample| sample.wall_micros).max().unwrap_or_default();
            // What comes late says what was, and not that it is there now; unproven it is whenever it comes.
            if now - newest < PRESENT_MICROS {
                if let Some(group) = taken.claims.get(&instance) {
                    self.timeline.claims(&instance, group, now);
                }
                self.timeline.pushed(&instance, now);
                self.timeline.agent_proven(&instance, proven, now);
            } else if !proven {
                self.timeline.agent_proven(&instance, false, now);
            }
            self.ingest.store(arrival).await.map_err(|error| undo(&error))?;
        }
        taken.leave(Left::Rejected, told.rejected);
        taken.leave(Left::Unnamed, told.unnamed);
        count("stored", stored);
        count("not_theirs", foreign);
        for (why, values) in &taken.left {
            count(why.word(), *values);
        }
        Ok(Rest { left: taken.left, foreign })
    }

    fn tell(&self, caller: &Caller, taken: &Taken) -> Telling {
        let mut telling = Telling::default();
        let now = self.clock.wall_micros();
        for told in &taken.told {
            let Ok(reading) = self.readings.check(told, now) else {
                telling.rejected += 1;
                continue;
            };
            if self.ingest.may_tell(&reading.subject, caller).is_err() {
                telling.foreign += 1;
                continue;
            }
            let known = match &reading.subject {
                Subject::Group(group) => self.timeline.knows(group),
                Subject::Instance(instance) => {
                    if now - told.at_micros < PRESENT_MICROS {
                        self.claim(caller, taken, instance, now);
                    }
                    self.timeline.placement(instance).is_some() || taken.claims.contains_key(instance)
                }
            };
            if known { telling.readings.push(reading) } else { telling.unnamed += 1 }
        }
        telling
    }

    /// An instance that no source has is in the group that the label names, and is there as long as it is told of. Of one that a
    /// source has, a declared metric proves nothing.
    fn claim(&self, caller: &Caller, taken: &Taken, instance: &Id, now: i64) {
        let Some(group) = taken.claims.get(instance) else { return };
        let placed = self.timeline.placement(instance).map(|placed| placed.group);
        if placed.is_none_or(|group| self.timeline.source_of(&group).is_none()) {
            self.timeline.claims(instance, group, now);
            self.timeline.pushed(instance, now);
            self.timeline.agent_proven(instance, !caller.open, now);
        }
    }
}

/// What can be kept of the values of declared metrics, and how many cannot, by why.
#[derive(Default)]
struct Telling {
    readings: Vec<Reading>,
    foreign: u64,
    rejected: u64,
    unnamed: u64,
}
