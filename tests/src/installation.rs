//! An aggregator with TLS and tokens, and how to be its admin.

use std::path::Path;

use anyhow::{Context as _, ensure};
use http::Method;
use rcgen::KeyPair;
use tonic::Code;

use crate::process::{Aggregator, free_port};
use crate::tokens::Tokens;
use crate::trust::{self, Held, Shown, code, enrol, hello};
use crate::web::{self, Answer};

/// What is needed to start it again is kept.
#[derive(Debug)]
pub struct Installation {
    pub directory: tempfile::TempDir,
    pub shown: Shown,
    pub tokens: Tokens,
    pub config: String,
    pub aggregator: Aggregator,
}

impl Installation {
    /// Starts one on loopback; `identity` is what `[identity]` says beside the tokens, and whatever comes after it.
    pub async fn start(identity: &str) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let shown = trust::shown(directory.path())?;
        let tokens = Tokens::make(directory.path()).await?;
        let config = format!("{}[identity]\ntokens = \"{}\"\n{identity}", shown.listen, tokens.file.display());
        let aggregator = Aggregator::start_tls(directory.path(), &config, free_port()?, &shown.ca).await?;
        Ok(Self { directory, shown, tokens, config, aggregator })
    }

    pub fn url(&self) -> &str {
        &self.aggregator.url
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Asks as somebody of a role.
    pub async fn ask(&self, role: &str, method: Method, path: &str, body: &str) -> anyhow::Result<Answer> {
        let bearer = format!("Bearer {}", self.tokens.of(role));
        let url = format!("{}{path}", self.url());
        web::request_tls(method, &url, &self.shown.ca, None, &[("authorization", &bearer)], body.to_owned()).await
    }

    pub async fn join_token(&self, uses: u32) -> anyhow::Result<String> {
        let body = format!("{{\"name\": \"test\", \"uses\": {uses}}}");
        let made = self.ask("admin", Method::POST, "/tokens/join", &body).await?;
        ensure!(made.status == 201, "{}", made.body);
        Ok(made.json()?["token"].as_str().context("a token")?.to_owned())
    }

    pub async fn enrol(&self, instance: &str, key: &KeyPair, token: &str) -> Result<Held, tonic::Status> {
        enrol(self.url(), &self.shown.ca, instance, key, token).await
    }

    pub async fn hello(&self, own: Option<&Held>, bearer: Option<&str>, instance: &str) -> Option<Code> {
        code(&hello(self.url(), &self.shown.ca, own, bearer, instance).await)
    }

    /// A metric's value; zero where it is not there.
    pub async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = self.ask("viewer", Method::GET, "/metrics", "").await?.body;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.map_or(0.0, |value| value.trim().parse().unwrap_or_default()))
    }

    /// Sequence numbers of an instance's samples as they are read back.
    pub async fn sequences(&self, instance: &str) -> anyhow::Result<Vec<u64>> {
        let path = format!("/shadow/metrics?instance={instance}&from=-10m");
        let answer = self.ask("viewer", Method::GET, &path, "").await?;
        ensure!(answer.status.is_success(), "{}", answer.body);
        Ok(answer.lines()?.iter().filter_map(|line| line["sequence"].as_u64()).collect())
    }
}
