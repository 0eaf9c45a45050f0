//! The driver of agents' streams: reads, stores, answers. What to do is the session's decision.

use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foreshadow_proto::convert::Id;
use foreshadow_proto::v1::{self, agent_server};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Response, Status, Streaming};

use super::session::{Effect, Ending, Event, Session};
use crate::clock::Clock;
use crate::identity::{Caller, Enrolments, Role};
use crate::live::{Arrived, Live};
use crate::observe::Timeline;
use crate::readings::Subject;
use crate::store::{Appended, Arrival, SampleStore, StoreError};

/// Answers an agent may leave unread; beyond it the stream waits, and with it the agent.
const ANSWERS: usize = 64;
/// An agent introduces itself within this time.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// A stream without a message for this long is dead: agents send at least once a minute.
const IDLE_DEADLINE: Duration = Duration::from_secs(180);
/// A certificate is looked at this often while its stream is open, at the latest.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Streams at once; past it agents are told to come back later.
const MOST_STREAMS: usize = 20_000;
/// Samples that wait for the disk, of all streams together: some 100 MB. Past it agents are told when to come back.
const MOST_WAITING: u32 = 400_000;
/// How long room among them is waited for: a commit takes a tenth of a second.
const ROOM_WITHIN: Duration = Duration::from_secs(2);
/// An agent reads its answers within this time, or its stream ends.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// When those that were too many come back.
const COME_BACK_AFTER: Duration = Duration::from_secs(15);
/// What a server tells a client to wait before it tries again, ms (gRFC A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Takes samples in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AgentService {
    store: Arc<dyn SampleStore>,
    timeline: Timeline,
    live: Live,
    enrolments: Enrolments,
    clock: Arc<dyn Clock>,
    open: Arc<Open>,
    room: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// Open streams by instance: a newer stream of an instance ends the older one.
#[derive(Debug, Default)]
struct Open {
    next: AtomicU64,
    streams: Mutex<HashMap<Id, (u64, CancellationToken)>>,
}

impl AgentService {
    pub fn new(
        store: Arc<dyn SampleStore>,
        timeline: Timeline,
        live: Live,
        enrolments: Enrolments,
        clock: Arc<dyn Clock>,
        shutdown: CancellationToken,
    ) -> Self {
        let room = Arc::new(Semaphore::new(MOST_WAITING as usize));
        Self { store, timeline, live, enrolments, clock, open: Arc::default(), room, shutdown }
    }

    /// Stores an arrival and tells the followers what of it is new.
    pub async fn store(&self, arrival: Arrival) -> Result<Vec<std::ops::RangeInclusive<u64>>, StoreError> {
        let count = u32::try_from(arrival.samples.len()).unwrap_or(MOST_WAITING).min(MOST_WAITING);
        let Ok(Ok(_room)) = tokio::time::timeout(ROOM_WITHIN, self.room.acquire_many(count)).await else {
            metrics::counter!("foreshadow_batches_turned_away_total").increment(1);
            let reason = format!("{MOST_WAITING} samples wait for the disk already");
            return Err(StoreError::Refused { reason, retry_after: COME_BACK_AFTER });
        };
        let (instance, stream) = (arrival.instance.clone(), arrival.stream);
        let Appended { held, fresh } = self.store.append(arrival).await?;
        if !fresh.is_empty() {
            let placement = self.timeline.placement(&instance);
            self.live.tell(Arrived { instance, stream, placement, samples: fresh });
        }
        Ok(held)
    }

    /// `own` is the instance that the agent's certificate names.
    async fn serve(&self, own: Option<Id>, mut messages: Streaming<v1::AgentMessage>, answers: mpsc::Sender<Boxed>) {
        let mut session = Session::new(self.store.id());
        let mut last_directive = None;
        let mut number = 0;
        let mut heard = Instant::now();
        // Each is waited for once, and not anew with every message.
        let mut changes: Option<WatchStream<()>> = None;
        // Told to the one stream, or to all: one wait, since each is asked with every message.
        let mut told_to_end = pin!(self.shutdown.child_token().cancelled_owned());
        let mut look_again = pin!(sleep(self.look_again(own.as_ref())));
        let mut silent = pin!(sleep(HELLO_DEADLINE));
        let mut acknowledgement = pin!(sleep(Duration::ZERO));
        let mut put_off = false;
        let ended = loop {
            let event = tokio::select! {
                // What ends a stream goes before what it still says.
                biased;
                () = &mut told_to_end => {
                    if self.shutdown.is_cancelled() {
                        break Some(Status::unavailable("the aggregator is stopping"));
                    }
                    break Some(self.spoken_for(own.as_ref()).err().unwrap_or_else(|| {
                        Status::aborted("a newer stream of this instance took over")
                    }));
                }
                () = &mut look_again, if own.is_some() => match self.spoken_for(own.as_ref()) {
                    Ok(()) => {
                        look_again.as_mut().reset(Instant::now() + self.look_again(own.as_ref()));
                        continue;
                    }
                    Err(status) => break Some(status),
                },
                Some(()) = changed(&mut changes) => {
                    let Some(hello) = session.hello() else { continue };
                    let directive = self.timeline.directive(&hello.instance);
                    if last_directive.as_ref() == Some(&directive) {
                        continue;
                    }
                    last_directive = Some(directive.clone());
                    Event::Directive(directive)
                }
                // Nor does an agent that always has more to say put it off.
                () = &mut acknowledgement, if put_off => {
                    put_off = false;
                    Event::AcknowledgementDue
                }
                message = messages.message() => match message {
                    Ok(Some(message)) => {
                        heard = Instant::now();
                        Event::Message(Box::new(message))
                    }
                    Ok(None) => break None,
                    Err(status) => {
                        tracing::debug!(%status, "an agent's stream broke");
                        break None;
                    }
                },
                () = &mut silent => {
                    let until = heard + if session.hello().is_some() { IDLE_DEADLINE } else { HELLO_DEADLINE };
                    if until <= Instant::now() {
                        break Some(Status::deadline_exceeded("no message in time"));
                    }
                    silent.as_mut().reset(until);
                    continue;
                }
            };
            let mut effects: std::collections::VecDeque<Effect> = session.on(event, self.clock.wall_micros()).into();
            let mut status = None;
            let mut goodbye = false;
            while let Some(effect) = effects.pop_front() {
                match effect {
                    Effect::Opened(hello) => {
                        if let Err(refused) = self.may_speak_as(&hello.instance, own.as_ref()) {
                            status = Some(refused);
                            break;
                        }
                        match self.admit(&hello.instance) {
                            Ok((admitted, newer)) => {
                                number = admitted;
                                told_to_end.set(newer.cancelled_owned());
                            }
                            Err(refused) => {
                                status = Some(refused);
                                break;
                            }
                        }
                        // Revoked between the check and the admission: nobody would have ended the stream.
                        if let Err(refused) = self.spoken_for(own.as_ref()) {
                            status = Some(refused);
                            break;
                        }
                        self.timeline.agent_connected(&hello, self.clock.wall_micros());
                        self.timeline.agent_proven(&hello.instance, own.is_some(), self.clock.wall_micros());
                        changes = Some(WatchStream::from_changes(self.timeline.changes_of(&hello.instance)));
                        let directive = self.timeline.directive(&hello.instance);
                        last_directive = Some(directive.clone());
                        match self.store.held(&hello.instance, hello.stream).await {
                            Ok(held) => {
                                effects.extend(session.on(Event::Held(held), self.clock.wall_micros()));
                                effects.extend(session.on(Event::Directive(directive), self.clock.wall_micros()));
                            }
                            Err(error) => status = Some(unavailable(&error)),
                        }
                    }
                    Effect::Store(arrival, within) => {
                        let (stream, instance) = (arrival.stream, arrival.instance.clone());
                        let newest = arrival.samples.iter().map(|sample| sample.wall_micros).max();
                        let dropped = arrival.dropped_total;
                        match self.store(*arrival).await {
                            Ok(ranges) => {
                                self.timeline.sampled(&instance, newest, waiting(&ranges, dropped), dropped);
                                let durable = Event::Durable { stream, ranges, within };
                                effects.extend(session.on(durable, self.clock.wall_micros()));
                            }
                            Err(error) => status = Some(unavailable(&error)),
                        }
                    }
                    Effect::AcknowledgeWithin(time) => {
                        let until = Instant::now() + time;
                        if !put_off || until < acknowledgement.deadline() {
                            acknowledgement.as_mut().reset(until);
                            put_off = true;
                        }
                    }
                    Effect::Send(message) => {
                        match tokio::time::timeout(READ_WITHIN, answers.send(Box::new(Ok(message)))).await {
                            Ok(Ok(())) => {}
                            Ok(Err(_)) => goodbye = true,
                            // It would keep its place and what waits for it for as long as it likes.
                            Err(_) => {
                                metrics::counter!("foreshadow_slow_agents_total").increment(1);
                                goodbye = true;
                            }
                        }
                    }
                    Effect::Ready { ready, at_micros, detail } => {
                        if let Some(hello) = session.hello() {
                            tracing::info!(instance = %hello.instance, ready, detail, "readiness");
                            self.timeline.agent_ready(&hello.instance, ready, at_micros);
                        }
                    }
                    Effect::Facts(facts) => {
                        if let Some(hello) = session.hello() {
                            self.timeline.agent_facts(&hello.instance, &facts, self.clock.wall_micros());
                        }
                    }
                    Effect::Rejected(reason) => {
                        metrics::counter!("foreshadow_samples_rejected_total", "reason" => reason.as_str())
                            .increment(1);
                    }
                    Effect::End(Ending::Goodbye(reason)) => {
                        if let Some(hello) = session.hello() {
                            tracing::info!(instance = %hello.instance, reason, "agent says goodbye");
                            self.timeline.agent_said_goodbye(&hello.instance, self.clock.wall_micros());
                        }
                        goodbye = true;
                    }
                    Effect::End(Ending::Broken(fault)) => {
                        status = Some(Status::invalid_argument(fault.to_string()));
                    }
                }
                if status.is_some() || goodbye {
                    break;
                }
            }
            if status.is_some() || goodbye {
                break status;
            }
        };
        if let Some(hello) = session.hello() {
            self.leave(&hello.instance, number);
        }
        if let Some(status) = ended {
            drop(tokio::time::timeout(READ_WITHIN, answers.send(Box::new(Err(status)))).await);
        }
    }

    /// An agent with a certificate speaks as the instance it names and as no other; an instance that has one is not
    /// spoken for by anybody without it.
    fn may_speak_as(&self, instance: &Id, own: Option<&Id>) -> Result<(), Status> {
        let why = match own {
            Some(own) if own != instance => format!("this certificate is of {own}, and Hello says {instance}"),
            None if self.enrolments.is_enrolled(instance) => {
                format!("{instance} has a certificate, and is spoken for by nothing else")
            }
            _ => return Ok(()),
        };
        tracing::error!(why, "FORGED instance id, refused");
        metrics::counter!("foreshadow_forged_instance_ids_total").increment(1);
        Err(Status::permission_denied(why))
    }

    /// The certificate of an open stream holds: not revoked, and it or a newer one has not run out.
    fn spoken_for(&self, own: Option<&Id>) -> Result<(), Status> {
        let Some(own) = own else { return Ok(()) };
        if self.enrolments.is_revoked(own) {
            return Err(Status::permission_denied("the certificates of this instance are revoked"));
        }
        if self.enrolments.expires(own).is_none_or(|expires| expires <= self.clock.wall_micros()) {
            return Err(Status::unauthenticated("the certificate of this instance ran out and was not renewed"));
        }
        Ok(())
    }

    fn look_again(&self, own: Option<&Id>) -> Duration {
        let left = own.and_then(|own| self.enrolments.expires(own)).map_or(0, |at| at - self.clock.wall_micros());
        LOOK_AGAIN.min(Duration::from_micros(u64::try_from(left).unwrap_or_default().max(100_000)))
    }

    /// Ends the open stream of an instance; false when it has none.
    pub fn end_stream(&self, instance: &Id) -> bool {
        let streams = self.open.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.get(instance).map(|(_, token)| token.cancel()).is_some()
    }

    /// Whether samples of an instance may be pushed by this caller, who streams nothing.
    pub fn may_push(&self, instance: &Id, caller: &Caller) -> Result<(), String> {
        match (&caller.instance, caller.role) {
            (Some(own), _) if own == instance => Ok(()),
            (Some(own), _) => Err(format!("is of {instance}, and this certificate is of {own}")),
            // Whoever runs the installation answers for what they push.
            (None, Role::Operator | Role::Admin) if !caller.open => Ok(()),
            (None, _) if self.enrolments.is_enrolled(instance) => {
                Err(format!("{instance} has a certificate, and is spoken for by nothing else"))
            }
            (None, _) => Ok(()),
        }
    }

    /// Whether a value of a declared metric is this caller's to tell. It drives capacity: who tells it has proven who they
    /// are, by a certificate of that instance or by running the installation.
    pub fn may_tell(&self, subject: &Subject, caller: &Caller) -> Result<(), String> {
        match (subject, &caller.instance) {
            (Subject::Instance(instance), Some(own)) if own == instance => Ok(()),
            _ if caller.open || (caller.instance.is_none() && caller.role >= Role::Operator) => Ok(()),
            _ => Err("needs an operator's token, or of an instance its own certificate".to_owned()),
        }
    }

    fn admit(&self, instance: &Id) -> Result<(u64, CancellationToken), Status> {
        let mut streams = self.open.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if streams.len() >= MOST_STREAMS && !streams.contains_key(instance) {
            return Err(come_back("too many agents; try again later".to_owned(), COME_BACK_AFTER));
        }
        let number = self.open.next.fetch_add(1, Ordering::Relaxed) + 1;
        let token = self.shutdown.child_token();
        if let Some((_, older)) = streams.insert(instance.clone(), (number, token.clone())) {
            older.cancel();
        }
        metrics::gauge!("foreshadow_agent_streams").set(f64::from(u32::try_from(streams.len()).unwrap_or(u32::MAX)));
        Ok((number, token))
    }

    fn leave(&self, instance: &Id, number: u64) {
        let mut streams = self.open.streams.lock().unwrap_or_else(PoisonError::into_inner);
        // A superseded stream is not the instance's any more, and its end means nothing.
        if streams.get(instance).is_some_and(|(current, _)| *current == number) {
            streams.remove(instance);
            self.timeline.agent_disconnected(instance, self.clock.wall_micros());
        }
        metrics::gauge!("foreshadow_agent_streams").set(f64::from(u32::try_from(streams.len()).unwrap_or(u32::MAX)));
    }
}

/// A change of the instance's placement or lease; never before it is known who it is.
async fn changed(changes: &mut Option<WatchStream<()>>) -> Option<()> {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

/// Samples of a stream that were made, and are neither held nor dropped: sequences begin at 1 and leave none out.
fn waiting(held: &[std::ops::RangeInclusive<u64>], dropped: u64) -> u64 {
    let made = held.iter().map(|range| *range.end()).max().unwrap_or(0);
    let here: u64 = held.iter().map(|range| range.end() - range.start() + 1).sum();
    made.saturating_sub(here).saturating_sub(dropped)
}

/// Says when to come back, so that nobody hammers what is full.
fn come_back(text: String, after: Duration) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(PUSHBACK, MetadataValue::from(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)));
    Status::with_metadata(Code::ResourceExhausted, text, metadata)
}

fn unavailable(error: &StoreError) -> Status {
    match error {
        StoreError::Refused { reason, retry_after } => {
            let text = format!("not stored: {reason}; try again in {} s", retry_after.as_secs());
            come_back(text, *retry_after)
        }
        other => Status::unavailable(format!("not stored: {other}")),
    }
}

type Answer = Result<v1::AggregatorMessage, Status>;
/// A channel makes room for 32 at its start: as they are, that would be a tenth of what a connected agent takes.
type Boxed = Box<Answer>;

#[tonic::async_trait]
impl agent_server::Agent for AgentService {
    type StreamStream = Pin<Box<dyn Stream<Item = Answer> + Send>>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (answers, stream) = mpsc::channel(ANSWERS);
        let service = self.clone();
        let own = request.extensions().get::<Caller>().and_then(|caller| caller.instance.clone());
        let messages = request.into_inner();
        tokio::spawn(async move { Box::pin(service.serve(own, messages, answers)).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream).map(|answer| *answer))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_here_nor_dropped_waits() {
        assert_eq!(waiting(&[], 0), 0);
        assert_eq!(waiting(&[1..=10], 0), 0);
        // A backlog: the newest were sent first.
        assert_eq!(waiting(&[1..=10, 91..=100], 0), 80);
        assert_eq!(waiting(&[1..=10, 91..=100], 30), 50);
        assert_eq!(waiting(&[5..=10], 99), 0, "more dropped than missing");
    }
}
