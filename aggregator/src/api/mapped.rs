//! What others measure is stored as samples of instances and values of declared metrics, or forgotten as if it had never come.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::read::MultiGzDecoder;
use foreshadow_proto::convert::Id;
use tokio::sync::Semaphore;

use super::ApiState;
use super::problem::Problem;
use crate::config::{self, Mapped};
use crate::identity::{Caller, Role};
use crate::ingest::mapped::{Left, Taken, Tracks};
use crate::readings::{Reading, Subject};
use crate::store::Arrival;

/// Requests that are unpacked and read at once: what is small on the wire may be thirty times as large in memory.
const READ_AT_ONCE: usize = 2;

pub(super) static READING: Semaphore = Semaphore::const_new(READ_AT_ONCE);

/// What is known of those that send; absent where the configuration has no section for them.
#[derive(Debug, Clone, Default)]
pub struct Senders {
    pub remote_write: Option<Arc<Mutex<Tracks>>>,
    pub otlp: Option<Arc<Mutex<Tracks>>>,
    pub line_protocol: Option<Arc<Mutex<Tracks>>>,
}

impl Senders {
    pub fn new(config: &config::Config) -> Self {
        let tracks = |mapped: &Option<Mapped>, way| mapped.clone().map(|it| Arc::new(Mutex::new(Tracks::new(it, way))));
        Self {
            remote_write: tracks(&config.remote_write, "write"),
            otlp: tracks(&config.otlp, "otlp"),
            line_protocol: tracks(&config.line_protocol, "influx"),
        }
    }
}

/// By which way a request came.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub tracks: Arc<Mutex<Tracks>>,
    /// The metric that counts what became of it.
    pub counted: &'static str,
}

/// What was left out of what is durable otherwise.
#[derive(Debug, Default)]
pub(super) struct Rest {
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

/// Unpacks what is bounded, whatever it says of itself.
pub(super) fn unzipped(body: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    let read = MultiGzDecoder::new(body).take(most as u64 + 1).read_to_end(&mut unpacked);
    read.map_err(|error| format!("the body is not gzip: {error}"))?;
    if unpacked.len() > most {
        return Err(format!("the body has more than {most} bytes unpacked: send smaller batches"));
    }
    Ok(unpacked)
}

/// Takes a request in; when this returns, what was taken is durable. `read` gets the time in µs.
pub(super) async fn take(
    state: ApiState,
    caller: Caller,
    way: Way,
    read: impl FnOnce(&mut Tracks, i64) -> Taken,
) -> Result<Rest, Problem> {
    let now = state.clock.wall_micros();
    let taken = {
        let mut tracks = way.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        tracks.forget(now / 1_000);
        read(&mut tracks, now)
    };
    // Carried to its end also when the sender does not wait for it: it would send again what is known already.
    let done = tokio::spawn(async move { keep(&state, &caller, &way, taken).await });
    done.await.map_err(|error| Problem::unavailable(&error))?
}

/// Stores the samples, or forgets that they came.
async fn keep(state: &ApiState, caller: &Caller, way: &Way, mut taken: Taken) -> Result<Rest, Problem> {
    let proven = !caller.open && (caller.instance.is_some() || caller.role >= Role::Operator);
    let count = |outcome: &'static str, values: u64| {
        metrics::counter!(way.counted, "outcome" => outcome).increment(values);
    };
    let (mut arrivals, mut stored, mut foreign) = (BTreeMap::new(), 0, 0);
    for pushed in &taken.samples {
        if state.ingest.may_push(&pushed.instance, caller).is_err() {
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
    let told = tell(state, caller, &taken);
    let undo = |error: &dyn std::error::Error| {
        way.tracks.lock().unwrap_or_else(PoisonError::into_inner).undo(&taken);
        Problem::unavailable(error)
    };
    state.readings.write(&told.readings).await.map_err(|error| undo(&error))?;
    stored += told.readings.len() as u64;
    foreign += told.foreign;
    for ((instance, _), arrival) in arrivals {
        let now = state.clock.wall_micros();
        if let Some(group) = taken.claims.get(&instance) {
            state.timeline.claims(&instance, group, now);
        }
        state.timeline.pushed(&instance, now);
        state.timeline.agent_proven(&instance, proven, now);
        state.ingest.store(arrival).await.map_err(|error| undo(&error))?;
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

/// What can be kept of the values of declared metrics, and how many cannot, by why.
#[derive(Default)]
struct Telling {
    readings: Vec<Reading>,
    foreign: u64,
    rejected: u64,
    unnamed: u64,
}

fn tell(state: &ApiState, caller: &Caller, taken: &Taken) -> Telling {
    let mut telling = Telling::default();
    let now = state.clock.wall_micros();
    for told in &taken.told {
        let Ok(reading) = state.readings.check(told, now) else {
            telling.rejected += 1;
            continue;
        };
        if state.ingest.may_tell(&reading.subject, caller).is_err() {
            telling.foreign += 1;
            continue;
        }
        let known = match &reading.subject {
            Subject::Group(group) => state.timeline.knows(group),
            Subject::Instance(instance) => {
                claim(state, caller, taken, instance, now);
                state.timeline.placement(instance).is_some() || taken.claims.contains_key(instance)
            }
        };
        if known { telling.readings.push(reading) } else { telling.unnamed += 1 }
    }
    telling
}

/// An instance that no source has is in the group that the label names, and is there as long as it is told of. Of one that a
/// source has, a declared metric proves nothing.
fn claim(state: &ApiState, caller: &Caller, taken: &Taken, instance: &Id, now: i64) {
    let Some(group) = taken.claims.get(instance) else { return };
    let placed = state.timeline.placement(instance).map(|placed| placed.group);
    if placed.is_none_or(|group| state.timeline.source_of(&group).is_none()) {
        state.timeline.claims(instance, group, now);
        state.timeline.pushed(instance, now);
        state.timeline.agent_proven(instance, !caller.open, now);
    }
}
