//! The EC2 instance metadata service, version 2 (AWS EC2 user guide, "Use IMDSv2"): a session
//! token by PUT, then GETs. Version 1 is never asked.
//!
//! Once it named the instance it is asked on for the state that Auto Scaling is bringing the instance
//! into: who is detached learns it here, whatever became of the event.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::mpsc;

const DEFAULT_ENDPOINT: &str = "http://169.254.169.254";
/// The service answers within milliseconds where there is one.
const DEADLINE: Duration = Duration::from_secs(2);
/// No answer of the paths asked for is longer, bytes.
const LONGEST: usize = 16 * 1_024;
/// How long a session token is good for; a new one is asked for when it no longer is.
const TOKEN_SECONDS: &str = "21600";
/// The target state is asked for this often: a detachment is known within seconds.
const STATE_EVERY: Duration = Duration::from_secs(5);

/// What the service says of this instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    pub instance_id: String,
    pub instance_type: String,
    pub zone: String,
    pub image_id: String,
    pub region: String,
}

/// Asks once; `None` where there is no such service. `AWS_EC2_METADATA_SERVICE_ENDPOINT` is
/// honoured, and so is `AWS_EC2_METADATA_DISABLED`.
pub async fn metadata() -> Option<Metadata> {
    if is_disabled() {
        return None;
    }
    let mut service = Service::new(&endpoint());
    tokio::time::timeout(DEADLINE, service.metadata()).await.ok().flatten()
}

/// What EC2 signs of this instance with the RSA-2048 key of its region: base64 of PKCS#7, the document inside (EC2 user
/// guide, "Instance identity documents"). `None` where there is no such service.
pub async fn instance_document() -> Option<String> {
    if is_disabled() {
        return None;
    }
    let mut service = Service::new(&endpoint());
    tokio::time::timeout(DEADLINE, service.get("dynamic/instance-identity/rsa2048")).await.ok().flatten()
}

fn is_disabled() -> bool {
    std::env::var("AWS_EC2_METADATA_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Tells the state that Auto Scaling is bringing this instance into, first and whenever it changes,
/// until nobody listens. To be called where [`metadata`] found a service.
pub async fn watch_target_state(tell: mpsc::Sender<String>) {
    watch(Service::new(&endpoint()), STATE_EVERY, tell).await;
}

async fn watch(mut service: Service, every: Duration, tell: mpsc::Sender<String>) {
    let mut told = None;
    loop {
        let asked = service.get("meta-data/autoscaling/target-lifecycle-state");
        // Silence, an error, or no group at all: nothing is known, and nothing said.
        if let Ok(Some(state)) = tokio::time::timeout(DEADLINE, asked).await
            && told.as_ref() != Some(&state)
        {
            if tell.send(state.clone()).await.is_err() {
                return;
            }
            told = Some(state);
        }
        tokio::select! {
            () = tell.closed() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}

fn endpoint() -> String {
    std::env::var("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|_| DEFAULT_ENDPOINT.to_owned())
}

/// The service, with the session token that it gave.
struct Service {
    endpoint: String,
    client: Client<HttpConnector, Empty<Bytes>>,
    token: Option<String>,
}

impl Service {
    fn new(endpoint: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { endpoint: endpoint.trim_end_matches('/').to_owned(), client, token: None }
    }

    async fn metadata(&mut self) -> Option<Metadata> {
        Some(Metadata {
            instance_id: self.get("meta-data/instance-id").await?,
            instance_type: self.get("meta-data/instance-type").await.unwrap_or_default(),
            zone: self.get("meta-data/placement/availability-zone").await.unwrap_or_default(),
            image_id: self.get("meta-data/ami-id").await.unwrap_or_default(),
            region: self.get("meta-data/placement/region").await.unwrap_or_default(),
        })
    }

    async fn get(&mut self, path: &str) -> Option<String> {
        for _ in 0..2 {
            if self.token.is_none() {
                self.token = self.new_token().await;
            }
            let request = Request::builder()
                .uri(format!("{}/latest/{path}", self.endpoint))
                .header("x-aws-ec2-metadata-token", self.token.as_ref()?)
                .body(Empty::new());
            let (status, body) = body(&self.client, request.ok()?).await?;
            match status {
                StatusCode::OK => return Some(body).filter(|text| !text.is_empty()),
                // The token has run out.
                StatusCode::UNAUTHORIZED => self.token = None,
                _ => return None,
            }
        }
        None
    }

    async fn new_token(&self) -> Option<String> {
        let put = Request::builder()
            .method(Method::PUT)
            .uri(format!("{}/latest/api/token", self.endpoint))
            .header("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS)
            .body(Empty::new())
            .ok()?;
        let (status, token) = body(&self.client, put).await?;
        (status == StatusCode::OK && !token.is_empty()).then_some(token)
    }
}

async fn body(
    client: &Client<HttpConnector, Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
) -> Option<(StatusCode, String)> {
    let answer = client.request(request).await.ok()?;
    let status = answer.status();
    let bytes = Limited::new(answer.into_body(), LONGEST).collect().await.ok()?.to_bytes();
    String::from_utf8(bytes.to_vec()).ok().map(|text| (status, text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// A metadata service that insists on its token, which is good for `uses` questions; the state is the
    /// next of `states`, the last for ever.
    fn serve(listener: &TcpListener, uses: usize, states: &[&str]) {
        let (mut left, mut number, mut asked) = (0, 0, 0);
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut lines = BufReader::new(stream.try_clone().expect("cloned")).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let has = |text: &str| headers.iter().any(|line| line.to_lowercase().contains(text));
            let token = format!("secret-{number}");
            let (status, answer) = match first.split(' ').take(2).collect::<Vec<_>>().as_slice() {
                ["PUT", "/latest/api/token"] if has("ttl-seconds: 21600") => {
                    (left, number) = (uses, number + 1);
                    ("200 OK", format!("secret-{number}"))
                }
                _ if left == 0 || !has(&format!("metadata-token: {token}")) => ("401 Unauthorized", String::new()),
                ["GET", path] => {
                    left -= 1;
                    match path.trim_start_matches("/latest/meta-data/") {
                        "instance-id" => ("200 OK", "i-0abc".to_owned()),
                        "instance-type" => ("200 OK", "m5.large".to_owned()),
                        "placement/availability-zone" => ("200 OK", "eu-west-1a".to_owned()),
                        "autoscaling/target-lifecycle-state" if !states.is_empty() => {
                            asked += 1;
                            match states[(asked - 1).min(states.len() - 1)] {
                                "" => ("404 Not Found", "no group".to_owned()),
                                state => ("200 OK", state.to_owned()),
                            }
                        }
                        _ => ("404 Not Found", "not this".to_owned()),
                    }
                }
                _ => ("404 Not Found", "not this".to_owned()),
            };
            let length = answer.len();
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            drop(write!(stream, "{head}{answer}"));
        }
    }

    fn served(uses: usize, states: &'static [&'static str]) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        std::thread::spawn(move || serve(&listener, uses, states));
        Service::new(&endpoint)
    }

    #[tokio::test]
    async fn version_two_is_spoken_and_what_is_not_told_is_empty() {
        let found = served(9, &[]).metadata().await.expect("metadata");
        assert_eq!((found.instance_id.as_str(), found.instance_type.as_str()), ("i-0abc", "m5.large"));
        assert_eq!((found.zone.as_str(), found.image_id.as_str()), ("eu-west-1a", ""));
    }

    #[tokio::test]
    async fn the_target_state_is_told_once_and_when_it_changes_through_errors_and_tokens_that_end() {
        let service = served(2, &["InService", "InService", "", "InService", "Detached"]);
        let (tell, mut told) = mpsc::channel(4);
        let watching = tokio::spawn(watch(service, Duration::from_millis(5), tell));
        let states = [told.recv().await, told.recv().await];
        assert_eq!(states, [Some("InService".to_owned()), Some("Detached".to_owned())]);
        drop(told);
        watching.await.expect("it ends when nobody listens");
    }
}
