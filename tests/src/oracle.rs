//! The oracle stands between agents and aggregator, lets every message through unchanged and writes
//! down what was sent and what was acknowledged: who knows both can say what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow_proto::columns;
use foreshadow_proto::v1::agent_client::AgentClient;
use foreshadow_proto::v1::agent_server::{Agent, AgentServer};
use foreshadow_proto::v1::{self, agent_message, aggregator_message};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::web;

/// Instance and stream id (hexadecimal) → sequence numbers.
type Sequences = BTreeMap<(String, String), BTreeSet<u64>>;
/// What a sample said: when (µs), and how busy its instance was.
type Payload = (i64, Option<f32>);
/// How often a batch that went through is sent again, and how old it is by then, batches.
const REPLAYED: (usize, usize) = (5, 20);

#[derive(Debug, Default)]
struct Ledger {
    sent: BTreeMap<(String, String), BTreeMap<u64, Payload>>,
    /// Told to be unusable: settled, and not stored.
    rejected: Sequences,
    acknowledged: Sequences,
    acknowledged_total: u64,
    /// Samples that an agent said it had to let go.
    dropped: BTreeMap<(String, String), u64>,
    /// When a sample went by that is not acknowledged yet.
    passed: BTreeMap<(String, String), BTreeMap<u64, Instant>>,
    /// The shortest time from there to its acknowledgement.
    fastest: Option<Duration>,
}

/// A proxy that counts.
#[derive(Debug, Clone)]
pub struct Oracle {
    upstream: String,
    ledger: Arc<Mutex<Ledger>>,
    /// Every batch goes through twice, and old ones once more.
    replays: bool,
    pub url: String,
}

/// What the oracle found in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub sent: usize,
    pub acknowledged: usize,
    pub stored: usize,
}

impl Oracle {
    /// Listens on a port of its own and passes everything on to `upstream`.
    pub async fn start(upstream: &str) -> anyhow::Result<Self> {
        Self::listen(upstream, false).await
    }

    /// The same, and every batch is sent twice, and every now and then an old one again.
    pub async fn start_replaying(upstream: &str) -> anyhow::Result<Self> {
        Self::listen(upstream, true).await
    }

    async fn listen(upstream: &str, replays: bool) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address: SocketAddr = listener.local_addr()?;
        let url = format!("http://{address}");
        let oracle = Self { upstream: upstream.to_owned(), ledger: Arc::default(), replays, url };
        let service = AgentServer::new(oracle.clone());
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
        Ok(oracle)
    }

    /// Acknowledgements passed on so far, samples.
    pub fn acknowledged(&self) -> u64 {
        self.ledger().acknowledged_total
    }

    /// Samples of one instance that were acknowledged, over all its streams.
    pub fn acknowledged_of(&self, instance: &str) -> usize {
        let ledger = self.ledger();
        ledger.acknowledged.iter().filter(|((of, _), _)| of == instance).map(|(_, held)| held.len()).sum()
    }

    /// The same of one stream.
    pub fn acknowledged_of_stream(&self, instance: &str, stream: &[u8]) -> usize {
        self.ledger().acknowledged.get(&(instance.to_owned(), hex(stream))).map_or(0, BTreeSet::len)
    }

    /// Samples of a stream that its agent said it had to let go.
    pub fn dropped_of_stream(&self, instance: &str, stream: &[u8]) -> u64 {
        self.ledger().dropped.get(&(instance.to_owned(), hex(stream))).copied().unwrap_or_default()
    }

    /// The shortest time from a sample that went by to its acknowledgement.
    pub fn fastest(&self) -> Option<Duration> {
        self.ledger().fastest
    }

    /// Samples that were told to be unusable.
    pub fn rejected(&self) -> usize {
        self.ledger().rejected.values().map(BTreeSet::len).sum()
    }

    /// Reads everything the aggregator holds and compares: every acknowledged sample is there unless it was rejected, none
    /// is there twice, nothing is there that was never sent, and each says what it said.
    pub async fn judge(&self, aggregator: &str) -> anyhow::Result<Count> {
        let (sent, rejected, acknowledged) = {
            let ledger = self.ledger();
            (ledger.sent.clone(), ledger.rejected.clone(), ledger.acknowledged.clone())
        };
        let mut stored = Sequences::new();
        let instances: BTreeSet<&String> = sent.keys().map(|(instance, _)| instance).collect();
        for instance in instances {
            let url = format!("{aggregator}/shadow/metrics?instance={instance}&from=-25h");
            let answer = web::get(&url).await?;
            ensure!(answer.status.is_success(), "{url}: {}", answer.body);
            for line in answer.lines()? {
                let stream = line["stream"].as_str().context("stream")?.to_owned();
                let sequence = line["sequence"].as_u64().context("sequence")?;
                let key = (instance.clone(), stream);
                let said = sent.get(&key).and_then(|stream| stream.get(&sequence));
                let said = said.with_context(|| format!("{key:?}: {sequence} is stored and was never sent"))?;
                let at: jiff::Timestamp = line["at"].as_str().context("at")?.parse()?;
                #[allow(clippy::cast_possible_truncation, reason = "it was sent as such")]
                let cpu = line["cpu_percent"].as_f64().map(|cpu| cpu as f32);
                // What is no number is stored as absent.
                let expected = (said.0, said.1.filter(|cpu| cpu.is_finite()));
                ensure!((at.as_microsecond(), cpu) == expected, "{key:?}: {sequence} was {expected:?}: {line}");
                let fresh = stored.entry(key).or_default().insert(sequence);
                ensure!(fresh, "{instance}: sequence {sequence} is stored twice");
            }
        }
        for (key, sequences) in &acknowledged {
            let mut held = stored.get(key).cloned().unwrap_or_default();
            held.extend(rejected.get(key).into_iter().flatten());
            let missing: Vec<_> = sequences.difference(&held).collect();
            ensure!(missing.is_empty(), "{key:?}: acknowledged and missing: {missing:?}");
        }
        let count = |of: &Sequences| of.values().map(BTreeSet::len).sum();
        Ok(Count {
            sent: sent.values().map(BTreeMap::len).sum(),
            acknowledged: count(&acknowledged),
            stored: count(&stored),
        })
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `stream` is that of Hello, which a batch may leave out.
    fn saw_batch(&self, instance: &str, stream: &[u8], batch: &v1::Batch) {
        let stream = if batch.stream_id.is_empty() { stream } else { &batch.stream_id };
        // What cannot be read is passed on all the same: what it holds was never sent as far as this ledger knows.
        let samples = columns::samples(&mut batch.clone()).unwrap_or_default();
        let key = (instance.to_owned(), hex(stream));
        let said = samples.iter().map(|sample| (sample.sequence, (sample.wall_micros, sample.cpu_percent)));
        let mut ledger = self.ledger();
        ledger.dropped.insert(key.clone(), batch.dropped_total);
        let passed = ledger.passed.entry(key.clone()).or_default();
        for sample in &samples {
            passed.entry(sample.sequence).or_insert_with(Instant::now);
        }
        ledger.sent.entry(key).or_default().extend(said);
    }

    fn saw_rejected(&self, instance: &str, rejected: &v1::Rejected) {
        let key = (instance.to_owned(), hex(&rejected.stream_id));
        let sequences = rejected.rejections.iter().map(|rejection| rejection.sequence);
        self.ledger().rejected.entry(key).or_default().extend(sequences);
    }

    fn saw_ranges(&self, instance: &str, stream: &[u8], ranges: &[v1::Range]) {
        let key = (instance.to_owned(), hex(stream));
        let mut ledger = self.ledger();
        let mut took = Vec::new();
        if let Some(passed) = ledger.passed.get_mut(&key) {
            let answered = ranges.iter().flat_map(|range| range.first..=range.last);
            took.extend(answered.filter_map(|sequence| passed.remove(&sequence)).map(|at| at.elapsed()));
        }
        ledger.fastest = ledger.fastest.into_iter().chain(took).min();
        let held = ledger.acknowledged.entry(key).or_default();
        let before = held.len();
        held.extend(ranges.iter().flat_map(|range| range.first..=range.last));
        let new = (held.len() - before) as u64;
        ledger.acknowledged_total += new;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tonic::async_trait]
impl Agent for Oracle {
    type StreamStream = ReceiverStream<Result<v1::AggregatorMessage, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let gone = |error: &dyn std::fmt::Display| Status::unavailable(format!("upstream: {error}"));
        let mut from_agent = request.into_inner();
        let channel = Channel::from_shared(self.upstream.clone()).map_err(|error| gone(&error))?;
        let mut client = AgentClient::new(channel.connect().await.map_err(|error| gone(&error))?);
        let (to_aggregator, upward) = mpsc::channel(64);
        let (to_agent, downward) = mpsc::channel(64);
        let mut from_aggregator = client.stream(ReceiverStream::new(upward)).await?.into_inner();
        let instance = Arc::new(Mutex::new(String::new()));
        let (oracle, who) = (self.clone(), instance.clone());
        tokio::spawn(async move {
            let (mut stream, mut passed) = (Vec::new(), Vec::new());
            while let Ok(Some(message)) = from_agent.message().await {
                let mut again = Vec::new();
                match &message.kind {
                    Some(agent_message::Kind::Hello(hello)) => {
                        who.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&hello.instance_id);
                        stream.clone_from(&hello.stream_id);
                    }
                    Some(agent_message::Kind::Batch(batch)) => {
                        let instance = who.lock().unwrap_or_else(PoisonError::into_inner).clone();
                        oracle.saw_batch(&instance, &stream, batch);
                        if oracle.replays {
                            again.push(message.clone());
                            passed.push(message.clone());
                            let old = passed.len().checked_sub(REPLAYED.1).filter(|_| passed.len() % REPLAYED.0 == 0);
                            again.extend(old.and_then(|old| passed.get(old).cloned()));
                        }
                    }
                    _ => {}
                }
                for message in std::iter::once(message).chain(again) {
                    if to_aggregator.send(message).await.is_err() {
                        return;
                    }
                }
            }
        });
        let (oracle, who) = (self.clone(), instance);
        tokio::spawn(async move {
            loop {
                match from_aggregator.message().await {
                    Ok(Some(message)) => {
                        let instance = who.lock().unwrap_or_else(PoisonError::into_inner).clone();
                        match &message.kind {
                            Some(aggregator_message::Kind::Ack(ack)) => {
                                oracle.saw_ranges(&instance, &ack.stream_id, &ack.ranges);
                            }
                            Some(aggregator_message::Kind::Rejected(rejected)) => {
                                oracle.saw_rejected(&instance, rejected);
                            }
                            _ => {}
                        }
                        if to_agent.send(Ok(message)).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => return,
                    Err(status) => {
                        drop(to_agent.send(Err(status)).await);
                        return;
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(downward)))
    }
}
