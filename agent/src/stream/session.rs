//! The agent's side of the stream as a machine without IO: `on(event, now) -> effects`.

use std::time::Duration;

use foreshadow_proto::convert::{INTERVAL_MILLIS, MAX_BATCH_SAMPLES};
use foreshadow_proto::v1::{self, agent_message, aggregator_message};
use foreshadow_proto::{OLDEST_PROTOCOL, PROTOCOL, columns};

use crate::spool::{Outgoing, Spool};

/// Unacknowledged samples on the wire until the aggregator says how many it wants.
const FIRST_CREDIT: usize = 1_000;

/// What the agent says of itself at the head of every stream.
#[derive(Debug, Clone, Default)]
pub struct Hello {
    pub instance_id: String,
    pub claimed_group: String,
    pub facts: v1::Facts,
}

#[derive(Debug)]
pub enum Event {
    /// A stream is open.
    Connected,
    Disconnected,
    Message(v1::AggregatorMessage),
    /// A reading became a sample; its sequence is given here.
    Sampled(v1::Sample),
    Readiness(v1::Readiness),
    Facts(v1::Facts),
    /// The cloud said which instance this is after a stream was opened under the host's name: the
    /// next stream says it. Tell [`Event::Disconnected`] then.
    Identified(String),
    /// The group the instance says it belongs to is another, or none: the next stream says it.
    Claimed(String),
    /// A second has passed: time to send what waits, and to keep what must wait.
    Flush,
    /// The process is about to end: what waits is sent, and everything acknowledged at once.
    Ending,
    Shutdown(String),
}

#[derive(Debug, PartialEq)]
pub enum Effect {
    Send(Box<v1::AgentMessage>),
    /// Sample at this interval from now on, ms.
    Interval(u32),
    /// The mode and lease the aggregator tells; for the log.
    Directed(v1::Directive),
    /// Samples that can never be stored; for the log.
    Rejected(usize),
    /// A sample of this process is durable for the first time; for the log.
    FirstAcknowledged,
}

/// State of the conversation, and what of it is not acknowledged.
#[derive(Debug)]
pub struct Session {
    hello: Hello,
    spool: Spool,
    connected: bool,
    /// The store that welcomed this stream; acknowledgements of another mean nothing.
    store: Option<Vec<u8>>,
    credit: usize,
    /// The revision of the wire that this stream is spoken in.
    protocol: u32,
    readiness: Option<v1::Readiness>,
    /// A sample of this process was acknowledged.
    acknowledged: bool,
    /// Samples that are sent together.
    together: usize,
    /// How long the acknowledgement of what is sent as it is made may take.
    acknowledged_within: Duration,
    /// Flushes since something was sent.
    idle: usize,
}

impl Session {
    pub const fn new(hello: Hello, spool: Spool) -> Self {
        Self {
            hello,
            spool,
            connected: false,
            store: None,
            credit: FIRST_CREDIT,
            protocol: OLDEST_PROTOCOL,
            readiness: None,
            acknowledged: false,
            together: 1,
            acknowledged_within: Duration::ZERO,
            idle: 0,
        }
    }

    /// Is content with one acknowledgement for all that was sent within this time: less work at both ends. Once a sample of this
    /// process was acknowledged, and while nothing else waits.
    pub const fn acknowledged_within(mut self, time: Duration) -> Self {
        self.acknowledged_within = time;
        self
    }

    /// Sends `samples` together, or what there is after as many flushes: fewer bytes and less work, later.
    pub const fn together(mut self, samples: usize) -> Self {
        self.set_together(samples);
        self
    }

    /// The same from now on.
    pub const fn set_together(&mut self, samples: usize) {
        self.together = samples;
        self.spool.patient_for(samples);
    }

    /// Samples that are not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.spool.len()
    }

    pub fn dropped(&self) -> u64 {
        self.spool.dropped()
    }

    /// The process ends: what is not acknowledged goes to the disk, where there is one.
    pub fn close(&mut self) {
        self.spool.close();
    }

    pub fn on(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Connected => self.connect(),
            Event::Disconnected => {
                self.connected = false;
                self.store = None;
                self.spool.disconnected();
                Vec::new()
            }
            Event::Message(message) => message.kind.map_or_else(Vec::new, |kind| self.message(kind)),
            Event::Sampled(sample) => {
                self.spool.push(sample);
                Vec::new()
            }
            Event::Readiness(readiness) => {
                self.readiness = Some(readiness.clone());
                self.send_if_connected(agent_message::Kind::Readiness(readiness))
            }
            Event::Facts(facts) => {
                self.hello.facts = facts.clone();
                self.send_if_connected(agent_message::Kind::Facts(facts))
            }
            Event::Identified(instance_id) => {
                self.hello.instance_id = instance_id;
                Vec::new()
            }
            Event::Claimed(group) => {
                self.hello.claimed_group = group;
                Vec::new()
            }
            Event::Flush => {
                self.spool.tend();
                self.idle += 1;
                if self.idle < self.together { self.flush_full() } else { self.flush() }
            }
            Event::Ending => self.flush_all(),
            Event::Shutdown(reason) => {
                let mut effects = self.flush();
                effects.extend(self.send_if_connected(agent_message::Kind::Goodbye(v1::Goodbye { reason })));
                effects
            }
        }
    }

    fn connect(&mut self) -> Vec<Effect> {
        self.connected = true;
        self.credit = FIRST_CREDIT;
        self.protocol = OLDEST_PROTOCOL;
        let hello = v1::Hello {
            instance_id: self.hello.instance_id.clone(),
            stream_id: self.spool.stream_id().to_vec(),
            boot_id: self.spool.boot_id().to_owned(),
            facts: Some(self.hello.facts.clone()),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: OLDEST_PROTOCOL,
            newest_protocol: PROTOCOL,
            claimed_group: self.hello.claimed_group.clone(),
        };
        let mut effects = vec![send(agent_message::Kind::Hello(hello))];
        effects.extend(self.readiness.clone().map(|readiness| send(agent_message::Kind::Readiness(readiness))));
        effects
    }

    fn message(&mut self, kind: aggregator_message::Kind) -> Vec<Effect> {
        match kind {
            aggregator_message::Kind::Welcome(welcome) => {
                self.store = Some(welcome.store_id);
                self.credit = usize::try_from(welcome.credit).unwrap_or(FIRST_CREDIT).max(1);
                self.protocol = welcome.protocol.clamp(OLDEST_PROTOCOL, PROTOCOL);
                let own = self.spool.stream_id();
                for range in welcome.stored {
                    self.spool.settle(&own, range.first, range.last);
                }
                self.flush()
            }
            aggregator_message::Kind::Ack(ack) => {
                if self.store.as_ref() != Some(&ack.store_id) {
                    return Vec::new();
                }
                let before = self.spool.len();
                for range in ack.ranges {
                    self.spool.settle(&ack.stream_id, range.first, range.last);
                }
                // What an earlier process left behind says nothing of this one.
                let own = ack.stream_id == self.spool.stream_id() && self.spool.len() < before;
                let first = own && !self.acknowledged;
                self.acknowledged |= own;
                // A backlog goes on as soon as there is room for it.
                let mut effects = self.flush_full();
                effects.extend(first.then_some(Effect::FirstAcknowledged));
                effects
            }
            aggregator_message::Kind::Rejected(rejected) => {
                for rejection in &rejected.rejections {
                    self.spool.settle(&rejected.stream_id, rejection.sequence, rejection.sequence);
                }
                vec![Effect::Rejected(rejected.rejections.len())]
            }
            aggregator_message::Kind::Directive(directive) => {
                let interval = directive.interval_millis.clamp(*INTERVAL_MILLIS.start(), *INTERVAL_MILLIS.end());
                vec![Effect::Interval(interval), Effect::Directed(directive)]
            }
        }
    }

    /// Sends what waits, once the store is known: what it holds already must not go again.
    fn flush(&mut self) -> Vec<Effect> {
        if !self.connected || self.store.is_none() {
            return Vec::new();
        }
        self.idle = 0;
        let batches = self.spool.next_batches(MAX_BATCH_SAMPLES, self.credit);
        // A backlog goes on with every acknowledgement.
        let patient = self.acknowledged && self.spool.waiting() == 0 && self.protocol > OLDEST_PROTOCOL;
        let within = if patient { self.acknowledged_within } else { Duration::ZERO };
        let acknowledge_within_millis = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
        let batches = batches.into_iter().map(|batch| v1::Batch { acknowledge_within_millis, ..self.batch(batch) });
        batches.map(|batch| send(agent_message::Kind::Batch(batch))).collect()
    }

    /// Sends what waits and asks for the acknowledgement of everything: the process ends.
    fn flush_all(&mut self) -> Vec<Effect> {
        self.acknowledged_within = Duration::ZERO;
        let mut effects = self.flush();
        if effects.is_empty() && self.store.is_some() && self.unacknowledged() > 0 {
            effects.extend(self.send_if_connected(agent_message::Kind::Batch(v1::Batch::default())));
        }
        effects
    }

    /// The same when there is enough to go together.
    fn flush_full(&mut self) -> Vec<Effect> {
        if self.spool.waiting() < self.together { Vec::new() } else { self.flush() }
    }

    /// A batch as the aggregator of this stream can read it.
    fn batch(&self, Outgoing { origin, samples, dropped }: Outgoing) -> v1::Batch {
        let (stream_id, boot_id) = (origin.stream_id.to_vec(), origin.boot_id);
        if self.protocol == OLDEST_PROTOCOL {
            v1::Batch { stream_id, boot_id, samples, dropped_total: dropped, ..v1::Batch::default() }
        } else if origin.stream_id == self.spool.stream_id() {
            columns::batch(Vec::new(), String::new(), samples, dropped)
        } else {
            columns::batch(stream_id, boot_id, samples, dropped)
        }
    }

    fn send_if_connected(&self, kind: agent_message::Kind) -> Vec<Effect> {
        if self.connected { vec![send(kind)] } else { Vec::new() }
    }
}

fn send(kind: agent_message::Kind) -> Effect {
    Effect::Send(Box::new(v1::AgentMessage { kind: Some(kind) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: [u8; 16] = [1; 16];

    fn session() -> Session {
        Session::new(
            Hello { instance_id: "i-1".into(), ..Hello::default() },
            Spool::in_memory(STREAM, "boot".into(), 100),
        )
    }

    fn message(kind: aggregator_message::Kind) -> Event {
        Event::Message(v1::AggregatorMessage { kind: Some(kind) })
    }

    fn welcome(stored: Vec<v1::Range>) -> Event {
        message(aggregator_message::Kind::Welcome(v1::Welcome {
            store_id: vec![9; 16],
            wall_micros: 0,
            stored,
            credit: 10,
            protocol: 0,
        }))
    }

    fn golden(name: &str) -> Event {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/tests/golden").join(name);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Event::Message(prost::Message::decode(bytes.as_slice()).expect("decodes"))
    }

    /// The batches that were sent.
    fn batches(effects: Vec<Effect>) -> Vec<v1::Batch> {
        let kinds = effects.into_iter().filter_map(|effect| match effect {
            Effect::Send(message) => message.kind,
            _ => None,
        });
        let batches = kinds.filter_map(|kind| match kind {
            agent_message::Kind::Batch(batch) => Some(batch),
            _ => None,
        });
        batches.collect()
    }

    #[test]
    fn an_older_aggregator_gets_samples_as_it_knows_them() {
        let mut session = session();
        for (welcome, newer) in [("aggregator-welcome.bin", false), ("aggregator-welcome-2.bin", true)] {
            // The golden welcomes hold 1 to 3 and 7 already.
            (0..9).for_each(|_| drop(session.on(Event::Sampled(v1::Sample::default()))));
            session.on(Event::Connected);
            let sent = batches(session.on(golden(welcome)));
            let [batch] = sent.as_slice() else { panic!("{sent:?}") };
            assert_eq!(
                (batch.columns.is_some(), batch.stream_id.is_empty(), batch.boot_id.is_empty()),
                (newer, newer, newer)
            );
            let held = columns::samples(&mut batch.clone()).expect("reads");
            assert_eq!(held.iter().take(3).map(|sample| sample.sequence).collect::<Vec<_>>(), [4, 5, 6]);
            session.on(Event::Disconnected);
        }
    }

    #[test]
    fn samples_wait_for_each_other_where_they_are_to_go_together() {
        let mut session = session().together(3);
        session.on(Event::Connected);
        session.on(welcome(vec![]));
        let mut tick = || {
            session.on(Event::Sampled(v1::Sample::default()));
            batch(&session.on(Event::Flush))
        };
        assert_eq!([tick(), tick(), tick(), tick()], [vec![], vec![], vec![1, 2, 3], vec![]]);
        assert_eq!(batch(&session.on(ack(9, 1, 3))), [0_u64; 0], "an answer sends none early");
        // Fewer than enough go after as long.
        session.on(Event::Flush);
        assert_eq!(batch(&session.on(Event::Flush)), [4]);
        session.on(Event::Sampled(v1::Sample::default()));
        assert_eq!(batch(&session.on(Event::Shutdown("end".into()))), [5], "nothing waits at the end");
    }

    /// What each batch says of its acknowledgement, ms.
    fn within(effects: Vec<Effect>) -> Vec<u32> {
        batches(effects).iter().map(|batch| batch.acknowledge_within_millis).collect()
    }

    #[test]
    fn one_acknowledgement_is_for_many_once_one_has_come_and_nothing_else_waits() {
        let mut session = session().acknowledged_within(Duration::from_secs(3));
        session.on(Event::Connected);
        session.on(message(aggregator_message::Kind::Welcome(v1::Welcome {
            store_id: vec![9; 16],
            credit: 5,
            protocol: PROTOCOL,
            ..Default::default()
        })));
        let sample = |session: &mut Session| drop(session.on(Event::Sampled(v1::Sample::default())));
        sample(&mut session);
        assert_eq!(within(session.on(Event::Flush)), [0], "the first of a process");
        session.on(ack(9, 1, 1));
        sample(&mut session);
        assert_eq!(within(session.on(Event::Flush)), [3_000]);
        assert_eq!(session.on(Event::Flush), [], "nothing new, and nobody is asked");
        // More than the aggregator wants unacknowledged: the rest waits for its answer.
        (0..9).for_each(|_| sample(&mut session));
        assert_eq!(within(session.on(Event::Flush)), [0], "a backlog goes on at once");
        assert!(within(session.on(ack(9, 2, 11))).iter().all(|within| *within == 3_000));
        session.on(ack(9, 2, 11));
        sample(&mut session);
        session.on(Event::Flush);
        assert_eq!(batches(session.on(Event::Ending)), [v1::Batch::default()], "the process ends and asks");
        sample(&mut session);
        assert_eq!(within(session.on(Event::Ending)), [0]);
        session.on(ack(9, 1, 13));
        assert_eq!(session.on(Event::Ending), [], "nothing is left to ask for");
    }

    #[test]
    fn an_aggregator_of_the_first_revision_is_not_told_how_long_an_acknowledgement_may_take() {
        let mut session = session().acknowledged_within(Duration::from_secs(3));
        session.on(Event::Connected);
        session.on(welcome(vec![]));
        for sequence in 1..=2 {
            session.on(Event::Sampled(v1::Sample::default()));
            assert_eq!(within(session.on(Event::Flush)), [0]);
            session.on(ack(9, sequence, sequence));
        }
    }

    fn ack(store: u8, first: u64, last: u64) -> Event {
        message(aggregator_message::Kind::Ack(v1::Ack {
            store_id: vec![store; 16],
            stream_id: STREAM.to_vec(),
            ranges: vec![v1::Range { first, last }],
        }))
    }

    fn batch(effects: &[Effect]) -> Vec<u64> {
        let sent = effects.iter().filter_map(|effect| match effect {
            Effect::Send(message) => message.kind.as_ref(),
            _ => None,
        });
        let batches = sent.filter_map(|kind| match kind {
            agent_message::Kind::Batch(batch) => Some(batch),
            _ => None,
        });
        batches.flat_map(|batch| batch.samples.iter().map(|sample| sample.sequence)).collect()
    }

    #[test]
    fn nothing_goes_before_the_store_is_known_and_what_it_holds_never_goes() {
        let mut session = session();
        (0..4).for_each(|_| drop(session.on(Event::Sampled(v1::Sample::default()))));
        let effects = session.on(Event::Connected);
        assert!(matches!(
            effects.as_slice(),
            [Effect::Send(message)] if matches!(message.kind, Some(agent_message::Kind::Hello(_)))
        ));
        assert_eq!(session.on(Event::Flush), []);
        assert_eq!(batch(&session.on(welcome(vec![v1::Range { first: 1, last: 2 }]))), [3, 4]);
    }

    #[test]
    fn acknowledgements_of_another_store_or_of_what_was_never_made_are_ignored() {
        let mut session = session();
        session.on(Event::Sampled(v1::Sample::default()));
        session.on(Event::Connected);
        session.on(welcome(vec![]));
        session.on(ack(8, 1, 1));
        session.on(ack(9, 1, 5));
        assert_eq!(session.unacknowledged(), 1);
        session.on(ack(9, 1, 1));
        assert_eq!(session.unacknowledged(), 0);
    }

    #[test]
    fn the_first_acknowledgement_is_told_once() {
        let mut session = session();
        session.on(Event::Connected);
        session.on(welcome(vec![]));
        for (sequence, told) in [(1, true), (2, false)] {
            session.on(Event::Sampled(v1::Sample::default()));
            session.on(Event::Flush);
            assert!(!session.on(ack(8, sequence, sequence)).contains(&Effect::FirstAcknowledged), "another store");
            assert_eq!(session.on(ack(9, sequence, sequence)).contains(&Effect::FirstAcknowledged), told, "{sequence}");
        }
    }

    #[test]
    fn what_is_told_late_and_another_group_are_said_by_the_next_stream() {
        let mut session = session();
        session.on(Event::Connected);
        let facts = v1::Facts { first_acknowledged_millis: 2_037, ..v1::Facts::default() };
        assert_eq!(session.on(Event::Facts(facts.clone())), [send(agent_message::Kind::Facts(facts.clone()))]);
        assert_eq!(session.on(Event::Claimed("shop".into())), [], "of an open stream it is as it was said");
        session.on(Event::Disconnected);
        let effects = session.on(Event::Connected);
        let [Effect::Send(message)] = effects.as_slice() else { panic!("{effects:?}") };
        let Some(agent_message::Kind::Hello(hello)) = &message.kind else { panic!("{message:?}") };
        assert_eq!((hello.facts.clone(), hello.claimed_group.as_str()), (Some(facts), "shop"));
        assert_eq!(hello.stream_id, STREAM, "the stream id stays");
    }

    #[test]
    fn what_was_on_the_wire_goes_again_after_a_break() {
        let mut session = session();
        session.on(Event::Sampled(v1::Sample::default()));
        session.on(Event::Connected);
        assert_eq!(batch(&session.on(welcome(vec![]))), [1]);
        assert_eq!(session.on(Event::Flush), [], "not twice on one stream");
        session.on(Event::Disconnected);
        session.on(Event::Connected);
        assert_eq!(batch(&session.on(welcome(vec![]))), [1]);
    }

    #[test]
    fn the_interval_is_clamped_and_readiness_is_repeated_after_a_reconnect() {
        let mut session = session();
        session.on(Event::Readiness(v1::Readiness { ready: true, ..Default::default() }));
        assert_eq!(session.on(Event::Connected).len(), 2);
        let directive = v1::Directive { interval_millis: 1, ..Default::default() };
        let effects = session.on(message(aggregator_message::Kind::Directive(directive)));
        assert_eq!(effects.first(), Some(&Effect::Interval(1_000)));
    }

    #[test]
    fn rejected_samples_are_forgotten() {
        let mut session = session();
        session.on(Event::Sampled(v1::Sample::default()));
        let rejected = v1::Rejected {
            stream_id: STREAM.to_vec(),
            rejections: vec![v1::Rejection { sequence: 1, reason: "future".into() }],
        };
        let effects = session.on(message(aggregator_message::Kind::Rejected(rejected)));
        assert_eq!((effects, session.unacknowledged()), (vec![Effect::Rejected(1)], 0));
    }
}
