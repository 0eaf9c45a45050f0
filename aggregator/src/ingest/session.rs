//! One agent's stream as a machine without IO: `on(event, now) -> effects`.
//!
//! Hello first and once. Every sample of a batch is stored, known already, or rejected for good
//! with a reason; an acknowledgement is sent only for what the store says it holds.

use std::ops::RangeInclusive;
use std::time::Duration;

use foreshadow_proto::convert::{self, Facts, Hello, RejectReason, StreamId, WireError};
use foreshadow_proto::v1::{self, agent_message, aggregator_message};
use foreshadow_proto::{OLDEST_PROTOCOL, columns};

use crate::store::{Arrival, StoreId};

/// The longest that an acknowledgement is put off, whatever the agent says.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);
/// Unacknowledged samples an agent may have on the wire: a few full batches.
const CREDIT: u32 = 8_000;

#[derive(Debug)]
pub enum Event {
    Message(Box<v1::AgentMessage>),
    /// The store answered what of the Hello's stream it holds.
    Held(Vec<RangeInclusive<u64>>),
    /// An append came back; the ranges of the stream that are durable now, and how long the agent waits for the word of it.
    Durable {
        stream: StreamId,
        ranges: Vec<RangeInclusive<u64>>,
        within: Duration,
    },
    /// The time of an [`Effect::AcknowledgeWithin`] is over.
    AcknowledgementDue,
    Directive(v1::Directive),
}

#[derive(Debug)]
pub enum Effect {
    /// The agent introduced itself; answer with [`Event::Held`].
    Opened(Box<Hello>),
    /// Store, then answer with [`Event::Durable`], and the time that is given here.
    Store(Box<Arrival>, Duration),
    /// Answer with [`Event::AcknowledgementDue`] after this time, or when an earlier one is due.
    AcknowledgeWithin(Duration),
    Send(v1::AggregatorMessage),
    Ready {
        ready: bool,
        at_micros: i64,
        detail: String,
    },
    Facts(Facts),
    Rejected(RejectReason),
    /// End the stream; the agent said goodbye or broke the rules.
    End(Ending),
}

#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    Goodbye(String),
    Broken(Fault),
}

/// A rule the peer broke.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the first message must be Hello")]
    NoHello,
    #[error("Hello came twice")]
    HelloTwice,
    #[error("a message without content")]
    Empty,
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// The state of one stream.
#[derive(Debug)]
pub struct Session {
    store: StoreId,
    hello: Option<Hello>,
    /// What is durable and was not said yet: newest last, and one entry a stream.
    unsaid: Vec<(StreamId, Vec<RangeInclusive<u64>>)>,
}

impl Session {
    pub const fn new(store: StoreId) -> Self {
        Self { store, hello: None, unsaid: Vec::new() }
    }

    pub const fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// Takes an event at `now` (µs since the epoch) and says what to do, in order.
    pub fn on(&mut self, event: Event, now: i64) -> Vec<Effect> {
        match event {
            Event::Message(message) => {
                self.message(*message, now).unwrap_or_else(|fault| vec![Effect::End(Ending::Broken(fault))])
            }
            Event::Held(held) => vec![send(aggregator_message::Kind::Welcome(v1::Welcome {
                store_id: self.store.0.to_vec(),
                wall_micros: now,
                stored: wire_ranges(&held),
                credit: CREDIT,
                protocol: self.hello.as_ref().map_or(OLDEST_PROTOCOL, |hello| hello.protocol),
            }))],
            Event::Durable { stream, ranges, within } => {
                self.unsaid.retain(|(said, _)| *said != stream);
                self.unsaid.push((stream, ranges));
                if within.is_zero() { self.acknowledge() } else { vec![Effect::AcknowledgeWithin(within)] }
            }
            Event::AcknowledgementDue => self.acknowledge(),
            Event::Directive(directive) => vec![send(aggregator_message::Kind::Directive(directive))],
        }
    }

    fn acknowledge(&mut self) -> Vec<Effect> {
        let ack = |(stream, ranges): (StreamId, Vec<_>)| {
            send(aggregator_message::Kind::Ack(v1::Ack {
                store_id: self.store.0.to_vec(),
                stream_id: stream.0.to_vec(),
                ranges: wire_ranges(&ranges),
            }))
        };
        self.unsaid.drain(..).map(ack).collect()
    }

    fn message(&mut self, message: v1::AgentMessage, now: i64) -> Result<Vec<Effect>, Fault> {
        let kind = message.kind.ok_or(Fault::Empty)?;
        let Some(hello) = &self.hello else {
            let agent_message::Kind::Hello(wire) = kind else { return Err(Fault::NoHello) };
            let hello = convert::hello(&wire)?;
            self.hello = Some(hello.clone());
            return Ok(vec![Effect::Opened(Box::new(hello))]);
        };
        match kind {
            agent_message::Kind::Hello(_) => Err(Fault::HelloTwice),
            agent_message::Kind::Batch(batch) => {
                let within = Duration::from_millis(batch.acknowledge_within_millis.into()).min(ACKNOWLEDGED_WITHIN);
                let mut effects = batch_effects(hello, batch, within, now)?;
                // Who sends nothing asks; whatever it sent before is stored by now.
                if effects.is_empty() && within.is_zero() {
                    effects = self.acknowledge();
                }
                Ok(effects)
            }
            agent_message::Kind::Readiness(readiness) => Ok(vec![Effect::Ready {
                ready: readiness.ready,
                // A skewed clock must not date readiness into the future.
                at_micros: readiness.wall_micros.clamp(convert::EARLIEST_WALL_MICROS, now),
                detail: readiness.detail.chars().filter(|c| !c.is_control()).take(200).collect(),
            }]),
            agent_message::Kind::Facts(facts) => Ok(vec![Effect::Facts(convert::facts(&facts)?)]),
            agent_message::Kind::Goodbye(goodbye) => {
                let reason = goodbye.reason.chars().filter(|c| !c.is_control()).take(200).collect();
                Ok(vec![Effect::End(Ending::Goodbye(reason))])
            }
        }
    }
}

fn batch_effects(hello: &Hello, mut batch: v1::Batch, within: Duration, now: i64) -> Result<Vec<Effect>, Fault> {
    let of_hello = hello.protocol > OLDEST_PROTOCOL;
    let stream = match batch.stream_id.as_slice() {
        [] if of_hello => hello.stream,
        given => StreamId::from_wire(given)?,
    };
    let boot_id = match batch.boot_id.as_str() {
        "" if of_hello => hello.boot_id.clone(),
        given => convert::Id::new("boot_id", given)?,
    };
    let sent = columns::samples(&mut batch)?;
    let (mut samples, mut rejections, mut effects) = (Vec::with_capacity(sent.len()), Vec::new(), Vec::new());
    for wire in &sent {
        match convert::sample(wire, now) {
            Ok(sample) => samples.push(sample),
            Err(reason) => {
                effects.push(Effect::Rejected(reason));
                rejections.push(v1::Rejection { sequence: wire.sequence, reason: reason.as_str().to_owned() });
            }
        }
    }
    // Sequence 0 is no sequence: it cannot be settled, and an agent never sends it.
    let rejected: Vec<u64> = rejections.iter().map(|rejection| rejection.sequence).filter(|n| *n > 0).collect();
    if !rejections.is_empty() {
        effects
            .push(send(aggregator_message::Kind::Rejected(v1::Rejected { stream_id: stream.0.to_vec(), rejections })));
    }
    if !samples.is_empty() || !rejected.is_empty() {
        let arrival = Arrival {
            instance: hello.instance.clone(),
            stream,
            boot_id,
            samples,
            rejected,
            dropped_total: batch.dropped_total,
        };
        effects.push(Effect::Store(Box::new(arrival), within));
    }
    Ok(effects)
}

fn send(kind: aggregator_message::Kind) -> Effect {
    Effect::Send(v1::AggregatorMessage { kind: Some(kind) })
}

fn wire_ranges(ranges: &[RangeInclusive<u64>]) -> Vec<v1::Range> {
    ranges.iter().map(|range| v1::Range { first: *range.start(), last: *range.end() }).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use foreshadow_proto::convert::MAX_BATCH_SAMPLES;
    use prost::Message as _;

    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;

    fn message(kind: agent_message::Kind) -> Event {
        Event::Message(Box::new(v1::AgentMessage { kind: Some(kind) }))
    }

    fn hello() -> agent_message::Kind {
        agent_message::Kind::Hello(v1::Hello {
            instance_id: "i-1".into(),
            stream_id: vec![1; 16],
            boot_id: "boot".into(),
            protocol: 1,
            ..Default::default()
        })
    }

    fn batch(samples: Vec<v1::Sample>) -> agent_message::Kind {
        agent_message::Kind::Batch(v1::Batch {
            stream_id: vec![1; 16],
            boot_id: "boot".into(),
            samples,
            dropped_total: 3,
            ..Default::default()
        })
    }

    /// What an agent of an older revision sends, and what one of this revision does: bytes that were made once.
    fn golden(name: &str) -> Event {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/tests/golden").join(name);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Event::Message(Box::new(v1::AgentMessage::decode(bytes.as_slice()).expect("decodes")))
    }

    #[test]
    fn the_same_samples_come_of_any_revision() {
        let arrivals = [
            ("agent-hello.bin", "agent-batch.bin", 1),
            ("agent-hello-2.bin", "agent-batch.bin", 2),
            ("agent-hello-2.bin", "agent-batch-2.bin", 2),
            ("agent-hello-2.bin", "agent-batch-2-columns.bin", 2),
        ]
        .map(|(hello, batch, revision)| {
            let mut session = Session::new(StoreId([9; 16]));
            assert!(matches!(session.on(golden(hello), NOW).as_slice(), [Effect::Opened(_)]));
            let welcome = session.on(Event::Held(Vec::new()), NOW);
            assert!(
                matches!(welcome.as_slice(), [Effect::Send(v1::AggregatorMessage {
                    kind: Some(aggregator_message::Kind::Welcome(welcome)),
                })] if welcome.protocol == revision),
                "{hello}: {welcome:?}"
            );
            let mut effects = session.on(golden(batch), NOW);
            let Some(Effect::Store(arrival, _)) = effects.pop() else { panic!("{batch}: {effects:?}") };
            format!("{arrival:?}")
        });
        assert!(arrivals[0].contains("sequence: 3"), "{}", arrivals[0]);
        assert!(arrivals.windows(2).all(|pair| pair[0] == pair[1]), "{arrivals:#?}");
        // Who did not say that it speaks the second revision leaves nothing out.
        let mut session = Session::new(StoreId([9; 16]));
        session.on(golden("agent-hello.bin"), NOW);
        let effects = session.on(golden("agent-batch-2.bin"), NOW);
        assert!(matches!(effects.as_slice(), [Effect::End(Ending::Broken(Fault::Wire(WireError::StreamId(0))))]));
    }

    #[test]
    fn how_long_an_agent_took_is_read_of_its_facts_and_absent_from_one_that_does_not_say() {
        for (facts, millis) in [("agent-facts.bin", None), ("agent-facts-acknowledged.bin", Some(2_037))] {
            let effects = opened().on(golden(facts), NOW);
            let [Effect::Facts(facts)] = effects.as_slice() else { panic!("{effects:?}") };
            assert_eq!(facts.first_acknowledged_millis, millis);
        }
    }

    fn sample(sequence: u64, cpu: f32) -> v1::Sample {
        v1::Sample { sequence, wall_micros: NOW, covers_millis: 1_000, cpu_percent: Some(cpu), ..Default::default() }
    }

    fn opened() -> Session {
        let mut session = Session::new(StoreId([9; 16]));
        assert!(matches!(session.on(message(hello()), NOW).as_slice(), [Effect::Opened(_)]));
        session
    }

    #[test]
    fn hello_comes_first_and_once() {
        let mut session = Session::new(StoreId([9; 16]));
        let effects = session.on(message(batch(vec![])), NOW);
        assert!(matches!(effects.as_slice(), [Effect::End(Ending::Broken(Fault::NoHello))]));
        let effects = opened().on(message(hello()), NOW);
        assert!(matches!(effects.as_slice(), [Effect::End(Ending::Broken(Fault::HelloTwice))]));
        let effects = opened().on(Event::Message(Box::new(v1::AgentMessage { kind: None })), NOW);
        assert!(matches!(effects.as_slice(), [Effect::End(Ending::Broken(Fault::Empty))]));
    }

    #[test]
    fn nothing_is_acknowledged_before_it_is_durable() {
        let mut session = opened();
        let effects = session.on(message(batch(vec![sample(1, 10.0)])), NOW);
        assert!(matches!(effects.as_slice(), [Effect::Store(arrival, _)] if arrival.samples.len() == 1));
        let effects =
            session.on(Event::Durable { stream: StreamId([1; 16]), ranges: vec![1..=1], within: Duration::ZERO }, NOW);
        let [Effect::Send(v1::AggregatorMessage { kind: Some(aggregator_message::Kind::Ack(ack)) })] =
            effects.as_slice()
        else {
            panic!("an ack: {effects:?}");
        };
        assert_eq!(ack.store_id, [9; 16]);
        assert_eq!(ack.ranges, [v1::Range { first: 1, last: 1 }]);
    }

    #[test]
    fn one_acknowledgement_is_for_all_that_was_stored_within_the_time_that_the_agent_waits() {
        let mut session = opened();
        let patient = |sequence, millis| {
            let agent_message::Kind::Batch(batch) = batch(vec![sample(sequence, 10.0)]) else { unreachable!() };
            message(agent_message::Kind::Batch(v1::Batch { acknowledge_within_millis: millis, ..batch }))
        };
        let within = |effects: &[Effect]| match effects {
            [Effect::Store(_, within)] => *within,
            other => panic!("{other:?}"),
        };
        let durable =
            |stream, last, within| Event::Durable { stream: StreamId([stream; 16]), ranges: vec![1..=last], within };
        let said = |effects: &[Effect]| -> Vec<(u8, u64)> {
            let acks = effects.iter().map(|effect| match effect {
                Effect::Send(v1::AggregatorMessage { kind: Some(aggregator_message::Kind::Ack(ack)) }) => {
                    (ack.stream_id[0], ack.ranges[0].last)
                }
                other => panic!("{other:?}"),
            });
            acks.collect()
        };
        let three = Duration::from_secs(3);
        assert_eq!(within(&session.on(patient(1, 3_000), NOW)), three);
        assert_eq!(within(&session.on(patient(1, 3_600_000), NOW)), ACKNOWLEDGED_WITHIN, "nobody waits for hours");
        for last in 1..=2 {
            let effects = session.on(durable(1, last, three), NOW);
            assert!(matches!(effects.as_slice(), [Effect::AcknowledgeWithin(time)] if *time == three), "{effects:?}");
        }
        assert_eq!(said(&session.on(Event::AcknowledgementDue, NOW)), [(1, 2)]);
        assert_eq!(said(&session.on(Event::AcknowledgementDue, NOW)), [], "once");
        // What an earlier process left has a stream of its own, and whoever waits for it waits for nothing else.
        session.on(durable(1, 3, three), NOW);
        assert_eq!(said(&session.on(durable(2, 9, Duration::ZERO), NOW)), [(1, 3), (2, 9)]);
        // The process ends, and asks.
        session.on(durable(1, 4, three), NOW);
        let asks = || {
            message(agent_message::Kind::Batch(v1::Batch {
                stream_id: vec![1; 16],
                boot_id: "boot".into(),
                ..Default::default()
            }))
        };
        assert_eq!(said(&session.on(asks(), NOW)), [(1, 4)]);
        assert_eq!(said(&session.on(asks(), NOW)), []);
    }

    #[test]
    fn a_bad_sample_is_rejected_with_its_reason_and_its_neighbours_are_kept() {
        let effects = opened().on(message(batch(vec![sample(1, 10.0), sample(2, f32::NAN), sample(3, 30.0)])), NOW);
        let [Effect::Rejected(RejectReason::NotFinite), Effect::Send(_), Effect::Store(arrival, _)] =
            effects.as_slice()
        else {
            panic!("{effects:?}");
        };
        assert_eq!(arrival.samples.iter().map(|sample| sample.sequence).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(arrival.rejected, [2]);
    }

    #[test]
    fn an_oversize_batch_ends_the_stream() {
        let many = (1..=MAX_BATCH_SAMPLES as u64 + 1).map(|n| sample(n, 1.0)).collect();
        let effects = opened().on(message(batch(many)), NOW);
        assert!(matches!(effects.as_slice(), [Effect::End(Ending::Broken(Fault::Wire(_)))]));
    }

    #[test]
    fn readiness_is_never_dated_into_the_future() {
        let readiness = v1::Readiness { ready: true, wall_micros: i64::MAX, detail: "ok\n".into() };
        let effects = opened().on(message(agent_message::Kind::Readiness(readiness)), NOW);
        assert!(
            matches!(effects.as_slice(), [Effect::Ready { ready: true, at_micros: NOW, detail }] if detail == "ok")
        );
    }
}
