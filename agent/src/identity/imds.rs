//! The EC2 instance metadata service, version 2 (AWS EC2 user guide, "Use IMDSv2"): a session
//! token by PUT, then GETs. Version 1 is never asked.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

const DEFAULT_ENDPOINT: &str = "http://169.254.169.254";
/// The service answers within milliseconds where there is one.
const DEADLINE: Duration = Duration::from_secs(2);
/// No answer of the paths asked for is longer.
const LONGEST: usize = 4_096;

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
    if std::env::var("AWS_EC2_METADATA_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    let endpoint = std::env::var("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|_| DEFAULT_ENDPOINT.to_owned());
    tokio::time::timeout(DEADLINE, ask(endpoint.trim_end_matches('/'))).await.ok().flatten()
}

async fn ask(endpoint: &str) -> Option<Metadata> {
    let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let put = Request::builder()
        .method(Method::PUT)
        .uri(format!("{endpoint}/latest/api/token"))
        .header("x-aws-ec2-metadata-token-ttl-seconds", "60")
        .body(Empty::new())
        .ok()?;
    let token = body(&client, put).await?;
    let get = |path: &'static str| {
        let request = Request::builder()
            .uri(format!("{endpoint}/latest/meta-data/{path}"))
            .header("x-aws-ec2-metadata-token", &token)
            .body(Empty::new());
        let client = &client;
        async move { body(client, request.ok()?).await }
    };
    Some(Metadata {
        instance_id: get("instance-id").await?,
        instance_type: get("instance-type").await.unwrap_or_default(),
        zone: get("placement/availability-zone").await.unwrap_or_default(),
        image_id: get("ami-id").await.unwrap_or_default(),
        region: get("placement/region").await.unwrap_or_default(),
    })
}

async fn body(client: &Client<HttpConnector, Empty<Bytes>>, request: Request<Empty<Bytes>>) -> Option<String> {
    let answer = client.request(request).await.ok()?;
    if answer.status() != StatusCode::OK {
        return None;
    }
    let bytes = Limited::new(answer.into_body(), LONGEST).collect().await.ok()?.to_bytes();
    String::from_utf8(bytes.to_vec()).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// A metadata service that insists on its token.
    fn serve(listener: &TcpListener, requests: usize) {
        for stream in listener.incoming().take(requests) {
            let mut stream = stream.expect("a connection");
            let mut lines = BufReader::new(stream.try_clone().expect("cloned")).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let has = |text: &str| headers.iter().any(|line| line.to_lowercase().contains(text));
            let (status, answer) = match first.split(' ').take(2).collect::<Vec<_>>().as_slice() {
                ["PUT", "/latest/api/token"] if has("ttl-seconds: 60") => ("200 OK", "secret"),
                _ if !has("metadata-token: secret") => ("401 Unauthorized", ""),
                ["GET", "/latest/meta-data/instance-id"] => ("200 OK", "i-0abc"),
                ["GET", "/latest/meta-data/instance-type"] => ("200 OK", "m5.large"),
                ["GET", "/latest/meta-data/placement/availability-zone"] => ("200 OK", "eu-west-1a"),
                _ => ("404 Not Found", "not this"),
            };
            let length = answer.len();
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}")
                .expect("answered");
        }
    }

    #[tokio::test]
    async fn version_two_is_spoken_and_what_is_not_told_is_empty() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let server = std::thread::spawn(move || serve(&listener, 6));
        let found = ask(&endpoint).await.expect("metadata");
        server.join().expect("served");
        assert_eq!((found.instance_id.as_str(), found.instance_type.as_str()), ("i-0abc", "m5.large"));
        assert_eq!((found.zone.as_str(), found.image_id.as_str()), ("eu-west-1a", ""));
    }
}
