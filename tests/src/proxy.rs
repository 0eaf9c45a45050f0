//! Stands before a local AWS: keeps a log of every call in order, and does to chosen calls what
//! networks and clouds do. Faults are told per Action and used up one call each.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// One call as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub action: String,
    pub fields: BTreeMap<String, String>,
    /// It is not one of Describe, Get and List.
    pub changes: bool,
}

impl Call {
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// The values of `prefix.1`, `prefix.2` and so on, in order.
    pub fn list(&self, prefix: &str) -> Vec<&str> {
        let names = (1..).map(|index| format!("{prefix}.{index}"));
        names.map_while(|name| self.fields.get(&name).map(String::as_str)).collect()
    }
}

/// What is done to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It goes through: for the first of several.
    None,
    /// Answered at once, and never forwarded.
    Answer { status: u16, body: String },
    /// Never forwarded: an error with this code, in the service's own form.
    Error { status: u16, code: &'static str },
    /// Forwarded, and then an error with this code.
    ErrorAfter { status: u16, code: &'static str },
    /// Forwarded, and then the connection breaks.
    BreakAfter,
    /// Forwarded; the answer waits for [`Proxy::release`].
    HangAfter,
    /// Waits for [`Proxy::release`], then forwarded, whether the caller still waits or not.
    HangBefore,
}

impl Fault {
    /// As Auto Scaling throttles.
    pub const THROTTLE: Self = Self::Error { status: 400, code: "Throttling" };
    /// As EC2 throttles.
    pub const LIMIT: Self = Self::Error { status: 503, code: "RequestLimitExceeded" };
    /// It was done, and the service says it failed.
    pub const FAIL_AFTER: Self = Self::ErrorAfter { status: 500, code: "InternalFailure" };
}

#[derive(Debug)]
struct Shared {
    upstream: Uri,
    client: Client<HttpConnector, Full<Bytes>>,
    calls: Mutex<Vec<Call>>,
    faults: Mutex<BTreeMap<String, VecDeque<Fault>>>,
    /// How often [`Proxy::release`] was called.
    released: watch::Sender<u64>,
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    pub url: String,
    address: SocketAddr,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
}

impl Proxy {
    pub async fn start(upstream: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream: upstream.parse().context("the URL of the upstream")?,
            client: Client::builder(TokioExecutor::new()).build_http(),
            calls: Mutex::default(),
            faults: Mutex::default(),
            released: watch::Sender::new(0),
        });
        let server = Some(tokio::spawn(serve(listener, shared.clone())));
        Ok(Self { url: format!("http://{address}"), address, shared, server })
    }

    /// What the next calls of an action meet, one fault each, in order.
    pub fn next(&self, action: &str, faults: impl IntoIterator<Item = Fault>) {
        locked(&self.shared.faults).entry(action.to_owned()).or_default().extend(faults);
    }

    /// Lets go of everything that hangs.
    pub fn release(&self) {
        self.shared.released.send_modify(|times| *times += 1);
    }

    /// Connections break, and new ones are refused, until [`Proxy::listen`].
    pub async fn refuse(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            drop(server.await);
        }
    }

    /// Listens again where it did.
    pub async fn listen(&mut self) -> anyhow::Result<()> {
        self.refuse().await;
        let listener = TcpListener::bind(self.address).await?;
        self.server = Some(tokio::spawn(serve(listener, self.shared.clone())));
        Ok(())
    }

    /// Everything so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        locked(&self.shared.calls).clone()
    }

    /// The changes among them.
    pub fn changes(&self) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.changes).collect()
    }

    /// The changes since the last time, and the log starts anew.
    pub fn take_changes(&self) -> Vec<Call> {
        let calls = std::mem::take(&mut *locked(&self.shared.calls));
        calls.into_iter().filter(|call| call.changes).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Aborted with this task, so that refusing breaks what is open.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| shared.clone().answer(request));
            let http = hyper::server::conn::http1::Builder::new();
            drop(http.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

impl Shared {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        // The JSON protocol says in a header what is called, the query protocol in a field.
        let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
        let is_json = target.is_some();
        let fields: BTreeMap<String, String> = match serde_json::from_slice(&body) {
            Ok(serde_json::Value::Object(fields)) if is_json => {
                let text = |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                fields.into_iter().map(|(name, value)| (name, text(value))).collect()
            }
            _ => form_urlencoded::parse(&body).into_owned().collect(),
        };
        let action = match target.and_then(|target| target.rsplit('.').next()) {
            Some(operation) => operation.to_owned(),
            None => fields.get("Action").cloned().unwrap_or_default(),
        };
        let changes = !["Describe", "Get", "List", "Receive"].iter().any(|word| action.starts_with(word));
        let is_ec2 = fields.get("Version").is_some_and(|version| version == "2016-11-15");
        locked(&self.calls).push(Call { action: action.clone(), fields, changes });
        let fault = locked(&self.faults).get_mut(&action).and_then(VecDeque::pop_front);
        let mut released = self.released.subscribe();
        released.mark_unchanged();
        // On its own task: a caller that gives up does not take the call back.
        let forward = {
            let shared = self.clone();
            let (fault, mut released) = (fault.clone(), released.clone());
            async move {
                if fault == Some(Fault::HangBefore) {
                    drop(released.changed().await);
                }
                let request = Request::from_parts(parts, body);
                shared.forward(request).await
            }
        };
        match fault {
            Some(Fault::Answer { status, body }) => Ok(xml(status, body)),
            Some(Fault::Error { status, code }) if is_json => Ok(json_error(status, code)),
            Some(Fault::Error { status, code }) => Ok(error(status, code, is_ec2)),
            None | Some(Fault::None | Fault::HangBefore) => tokio::spawn(forward).await?,
            Some(Fault::ErrorAfter { status, code }) => {
                tokio::spawn(forward).await??;
                Ok(error(status, code, is_ec2))
            }
            Some(Fault::BreakAfter) => {
                tokio::spawn(forward).await??;
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Some(Fault::HangAfter) => {
                let answer = tokio::spawn(forward).await?;
                drop(released.changed().await);
                answer
            }
        }
    }

    async fn forward(&self, request: Request<Bytes>) -> io::Result<Response<Full<Bytes>>> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = format!("http://{}{path}", self.upstream.authority().map_or("", |host| host.as_str()))
            .parse()
            .map_err(io::Error::other)?;
        let answer = self.client.request(Request::from_parts(parts, Full::new(body))).await;
        let (parts, body) = answer.map_err(io::Error::other)?.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        Ok(Response::from_parts(parts, Full::new(body)))
    }
}

fn error(status: u16, code: &str, is_ec2: bool) -> Response<Full<Bytes>> {
    let inner = format!("<Error><Code>{code}</Code><Message>by the fault proxy</Message></Error>");
    let body = if is_ec2 {
        format!("<Response><Errors>{inner}</Errors><RequestID>proxy</RequestID></Response>")
    } else {
        format!("<ErrorResponse>{inner}<RequestId>proxy</RequestId></ErrorResponse>")
    };
    xml(status, body)
}

fn json_error(status: u16, code: &str) -> Response<Full<Bytes>> {
    xml(status, format!("{{\"__type\": \"com.amazonaws.sqs#{code}\", \"message\": \"by the fault proxy\"}}"))
}

fn xml(status: u16, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/xml"));
    response
}
