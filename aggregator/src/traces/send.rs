//! Carries spans to a collector by OTLP over HTTP. Whoever tells them never waits: what finds the queue full is dropped, and counted.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use foreshadow_proto::convert::Id;
use http::{HeaderName, Request, StatusCode, header};
use http_body_util::Full;
use prost::Message as _;
use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::TraceId;
use super::otlp::{ExportRequest, ExportResponse, Resource, ResourceSpans, Scope, ScopeSpans, Span, attribute};
use crate::config;
use crate::exchange::{exchange, secret, trust};
use crate::store::StoreId;

/// Decisions and intents that may wait, some kilobytes each: the collector is away for longer than a while.
const MOST_WAITING: usize = 512;
/// Spans in one request.
const AT_ONCE: usize = 512;
/// What comes within this goes along in one request.
const GATHERED: Duration = Duration::from_secs(1);
/// One request takes this long at most.
const DEADLINE: Duration = Duration::from_secs(10);
/// What is not taken within this is dropped.
const TRIED_FOR: Duration = Duration::from_secs(30);
/// First and longest wait before it is tried again.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// A collector that names a longer time is asked after this one.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// What waits when the process ends has this long.
const LAST: Duration = Duration::from_secs(2);
/// No answer is longer.
const LONGEST: usize = 64 * 1_024;

/// Where decisions are told. Cheap to clone; [`Traces::default`] tells nobody.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    installation: StoreId,
    sampled: f64,
    queue: mpsc::Sender<Vec<Span>>,
}

impl Traces {
    /// The trace of a plan; `None` where nobody is told.
    pub fn id(&self, group: &Id, generation: u64) -> Option<TraceId> {
        self.0.as_ref().map(|shared| TraceId::of(shared.installation, group, generation))
    }

    /// Whether a decision is told although it changes nothing.
    pub fn is_sampled(&self, trace: TraceId) -> bool {
        self.0.as_ref().is_some_and(|shared| trace.is_within(shared.sampled))
    }

    /// Hands spans over. Never waits: when too many wait they are dropped.
    pub fn tell(&self, spans: Vec<Span>) {
        let Some(shared) = self.0.as_ref().filter(|_| !spans.is_empty()) else { return };
        let dropped = spans.len();
        if shared.queue.try_send(spans).is_err() {
            count("dropped", dropped);
        }
    }
}

/// Sends what is told.
#[derive(Debug)]
pub struct Service {
    config: config::Traces,
    resource: Resource,
    handle: Traces,
    queue: mpsc::Receiver<Vec<Span>>,
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
    /// The collector does not take what it is sent: said once.
    refusing: bool,
    /// It said when to come back.
    not_before: Option<Instant>,
}

/// What a collector did not take.
#[derive(Debug)]
enum NotTaken {
    /// It may take it later; not before this, where it says so.
    Later(String, Option<Duration>),
    Never(String),
}

impl Service {
    pub fn new(config: config::Traces, installation: StoreId) -> Self {
        let (sender, queue) = mpsc::channel(MOST_WAITING);
        let handle = Traces(Some(Arc::new(Shared { installation, sampled: config.sampled, queue: sender })));
        let attributes = vec![
            attribute("service.name", "foreshadow"),
            attribute("service.version", env!("CARGO_PKG_VERSION")),
            attribute("service.instance.id", installation.to_string()),
        ];
        // An alarm needs them before there is anything to count.
        for outcome in ["sent", "dropped", "refused"] {
            count(outcome, 0);
        }
        Self {
            config,
            resource: Resource { attributes },
            handle,
            queue,
            tls: OnceLock::new(),
            refusing: false,
            not_before: None,
        }
    }

    pub fn handle(&self) -> Traces {
        self.handle.clone()
    }

    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut spans = Vec::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(more) = self.queue.recv() => spans.extend(more),
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(GATHERED) => self.gather(&mut spans),
            }
            // What is on its way when the process ends may be sent twice, with the same ids.
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.deliver(&spans) => spans.clear(),
            }
        }
        self.gather(&mut spans);
        if spans.is_empty() {
            return;
        }
        let last = tokio::time::timeout(LAST, self.post(&spans)).await;
        match last {
            Ok(Ok(refused)) => taken(spans.len(), refused),
            _ => count("dropped", spans.len()),
        }
    }

    /// What waits, as far as one request goes.
    fn gather(&mut self, spans: &mut Vec<Span>) {
        while spans.len() < AT_ONCE
            && let Ok(more) = self.queue.try_recv()
        {
            spans.extend(more);
        }
    }

    /// Until they are taken, refused, or no longer worth a try.
    async fn deliver(&mut self, spans: &[Span]) {
        let mut wait = AGAIN_AFTER.0;
        if let Some(at) = self.not_before.take() {
            tokio::time::sleep_until(at).await;
        }
        let begun = Instant::now();
        loop {
            match self.post(spans).await {
                Ok(refused) => {
                    if std::mem::take(&mut self.refusing) {
                        tracing::info!(endpoint = %self.config.endpoint, "traces are taken again");
                    }
                    return taken(spans.len(), refused);
                }
                Err(NotTaken::Never(why)) => {
                    tracing::warn!(why, spans = spans.len(), "the collector refuses traces");
                    return count("refused", spans.len());
                }
                Err(NotTaken::Later(why, at_least)) => {
                    if !std::mem::replace(&mut self.refusing, true) {
                        tracing::warn!(why, "traces are not taken; trying again, and dropping what is too much");
                    }
                    let pause = at_least.unwrap_or(wait).max(wait);
                    if begun.elapsed() + pause > TRIED_FOR {
                        self.not_before = at_least.map(|at_least| Instant::now() + at_least);
                        return count("dropped", spans.len());
                    }
                    tokio::time::sleep(pause).await;
                    wait = (wait * 2).min(AGAIN_AFTER.1);
                }
            }
        }
    }

    /// One request; how many of the spans were refused although the others were taken.
    async fn post(&self, spans: &[Span]) -> Result<usize, NotTaken> {
        let endpoint = &self.config.endpoint;
        let later = |why: String| NotTaken::Later(format!("{endpoint}: {why}"), None);
        let path = endpoint.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::USER_AGENT, concat!("foreshadow/", env!("CARGO_PKG_VERSION")));
        // Read each time: a token may be renewed.
        if let Some(file) = &self.config.token_file {
            request = request.header(header::AUTHORIZATION, secret(file, "Bearer ").await.map_err(later)?);
        }
        for (name, file) in &self.config.header_files {
            let name: HeaderName = name.parse().map_err(|_| later(format!("{name:?} is no header")))?;
            request = request.header(name, secret(file, "").await.map_err(later)?);
        }
        let body = self.request(spans).encode_to_vec();
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| later(error.to_string()))?;
        let tls = || self.tls.get_or_init(|| trust(None).map(Arc::new).map_err(|error| format!("{error:#}"))).clone();
        let answer = tokio::time::timeout(DEADLINE, exchange(endpoint, request, tls, LONGEST)).await;
        let answer = answer.map_err(|_| later(format!("no answer within {} s", DEADLINE.as_secs())))?;
        let answer = answer.map_err(|error| later(error.to_string()))?;
        if answer.status.is_success() {
            let said = ExportResponse::decode(answer.body).unwrap_or_default().partial_success.unwrap_or_default();
            if said.rejected_spans > 0 {
                tracing::warn!(spans = said.rejected_spans, why = said.error_message, "the collector refuses traces");
            }
            return Ok(usize::try_from(said.rejected_spans).unwrap_or_default().min(spans.len()));
        }
        let said: String = String::from_utf8_lossy(&answer.body).chars().take(200).collect();
        let why = format!("{endpoint}: {}: {said}", answer.status);
        // Those that the protocol names as worth another try.
        let again = matches!(
            answer.status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        if !again {
            return Err(NotTaken::Never(why));
        }
        let at_least = answer.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Err(NotTaken::Later(why, at_least.map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE))))
    }

    fn request(&self, spans: &[Span]) -> ExportRequest {
        let scope = Scope { name: "foreshadow".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans: spans.to_vec() }];
        ExportRequest { resource_spans: vec![ResourceSpans { resource: Some(self.resource.clone()), scope_spans }] }
    }
}

fn taken(spans: usize, refused: usize) {
    count("sent", spans.saturating_sub(refused));
    count("refused", refused);
}

fn count(outcome: &'static str, spans: usize) {
    let spans = u64::try_from(spans).unwrap_or(u64::MAX);
    metrics::counter!("foreshadow_trace_spans_total", "outcome" => outcome).increment(spans);
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::traces::SpanId;
    use crate::traces::otlp::PartialSuccess;

    fn config(endpoint: &str) -> config::Traces {
        let endpoint = endpoint.parse().expect("a URL");
        config::Traces { endpoint, token_file: None, header_files: [].into(), sampled: 0.01 }
    }

    fn span(traces: &Traces) -> Vec<Span> {
        let trace = traces.id(&Id::new("group", "web").expect("an id"), 1).expect("it is on");
        vec![Span::new(trace, SpanId([1; 8]), None, "decision", (1, 2))]
    }

    #[tokio::test]
    async fn nobody_waits_for_a_collector_that_is_down() {
        // Nobody takes anything out: the service does not run.
        let service = Service::new(config("http://127.0.0.1:9/v1/traces"), StoreId([1; 16]));
        let traces = service.handle();
        let begun = Instant::now();
        for _ in 0..100_000 {
            traces.tell(span(&traces));
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        assert_eq!(service.queue.len(), MOST_WAITING, "and no more is kept");
    }

    /// A collector that gives this answer to one request, and what it was asked.
    async fn answered(answer: Vec<u8>) -> (Result<usize, NotTaken>, ExportRequest) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let service = Service::new(config(&format!("http://{address}/v1/traces")), StoreId([1; 16]));
        let spans = span(&service.handle());
        let collector = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut asked = Vec::new();
            let body = loop {
                stream.read_buf(&mut asked).await.expect("a request");
                let head = asked.windows(4).position(|bytes| bytes == b"\r\n\r\n");
                let length = head.and_then(|head| {
                    let text = String::from_utf8_lossy(&asked[..head]).to_lowercase();
                    text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())
                });
                if let (Some(head), Some(length)) = (head, length)
                    && asked.len() >= head + 4 + length
                {
                    break asked.split_off(head + 4);
                }
            };
            stream.write_all(&answer).await.expect("answered");
            ExportRequest::decode(body.as_slice()).expect("a request of the protocol")
        };
        tokio::join!(service.post(&spans), collector)
    }

    #[tokio::test]
    async fn what_the_collector_says_is_heard() {
        let of = |status: &str, header: &str, body: &[u8]| {
            let head = format!("HTTP/1.1 {status}\r\n{header}content-length: {}\r\n\r\n", body.len());
            [head.as_bytes(), body].concat()
        };
        let (taken, asked) = answered(of("200 OK", "", b"")).await;
        assert_eq!(taken.ok(), Some(0));
        assert_eq!(asked.resource_spans[0].scope_spans[0].spans[0].name, "decision");
        let partly = PartialSuccess { rejected_spans: 1, error_message: "too old".to_owned() };
        let partly = ExportResponse { partial_success: Some(partly) }.encode_to_vec();
        assert_eq!(answered(of("200 OK", "", &partly)).await.0.ok(), Some(1));
        let never = answered(of("400 Bad Request", "", b"no such tenant")).await.0;
        assert!(matches!(&never, Err(NotTaken::Never(why)) if why.contains("no such tenant")), "{never:?}");
        for (header, wanted) in [
            ("", None),
            ("retry-after: 7\r\n", Some(Duration::from_secs(7))),
            ("retry-after: 18446744073709551615\r\n", Some(LONGEST_PAUSE)),
            ("retry-after: tomorrow\r\n", None),
        ] {
            let later = answered(of("503 Service Unavailable", header, b"")).await.0;
            assert!(matches!(&later, Err(NotTaken::Later(_, at_least)) if *at_least == wanted), "{header}: {later:?}");
        }
    }

    #[test]
    fn without_a_collector_there_is_no_trace() {
        let traces = Traces::default();
        assert_eq!(traces.id(&Id::new("group", "web").expect("an id"), 1), None);
        traces.tell(vec![Span::default()]);
    }
}
