//! The metadata service of one instance, version 2: a token by PUT, and nothing without it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const TOKEN: &str = "a-session-token";

/// Paths below `/latest/`, and what is there.
type Paths = Arc<Mutex<BTreeMap<String, String>>>;

/// A running service; it ends when dropped.
#[derive(Debug)]
pub struct Metadata {
    pub url: String,
    paths: Paths,
    server: JoinHandle<()>,
}

impl Metadata {
    pub async fn start(instance: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let paths = Paths::default();
        let shared = paths.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let paths = shared.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let answer = answer(&paths, &request);
                        async move { Ok::<_, std::convert::Infallible>(answer) }
                    });
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        let metadata = Self { url, paths, server };
        metadata.set("instance-id", instance);
        metadata.set("instance-type", "m5.large");
        Ok(metadata)
    }

    /// What is at `/latest/meta-data/{path}`.
    pub fn set(&self, path: &str, value: &str) {
        self.set_at(&format!("meta-data/{path}"), value);
    }

    /// What EC2 signs of the instance.
    pub fn set_document(&self, signed: &str) {
        self.set_at("dynamic/instance-identity/rsa2048", signed);
    }

    fn set_at(&self, path: &str, value: &str) {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        paths.insert(path.to_owned(), value.to_owned());
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn answer(paths: &Paths, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::PUT, "/latest/api/token") if header("x-aws-ec2-metadata-token-ttl-seconds").is_some() => {
            (StatusCode::OK, TOKEN.to_owned())
        }
        _ if header("x-aws-ec2-metadata-token") != Some(TOKEN) => (StatusCode::UNAUTHORIZED, String::new()),
        (_, path) => {
            let paths = paths.lock().unwrap_or_else(PoisonError::into_inner);
            match path.strip_prefix("/latest/").and_then(|path| paths.get(path)) {
                Some(value) => (StatusCode::OK, value.clone()),
                None => (StatusCode::NOT_FOUND, String::new()),
            }
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}
