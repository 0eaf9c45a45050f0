//! A real InfluxDB 1.x, Debian's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::Method;
use serde_json::Value;
use tokio::process::Command;

use crate::process::{Process, eventually, free_port};
use crate::web;

/// A running server; what it has survives [`Influx::kill`] and [`Influx::restart`].
#[derive(Debug)]
pub struct Influx {
    pub url: String,
    directory: PathBuf,
    config: PathBuf,
    process: Option<Process>,
}

impl Influx {
    pub async fn start(directory: &Path) -> anyhow::Result<Self> {
        let (port, rpc) = (free_port()?, free_port()?);
        let data = directory.join("influx");
        let config = directory.join("influxdb.conf");
        let path = |name: &str| data.join(name).display().to_string();
        std::fs::write(
            &config,
            format!(
                "reporting-disabled = true\nbind-address = \"127.0.0.1:{rpc}\"\n[meta]\ndir = \"{}\"\n[data]\ndir = \"{}\"\n\
                 wal-dir = \"{}\"\n[http]\nbind-address = \"127.0.0.1:{port}\"\n",
                path("meta"),
                path("data"),
                path("wal")
            ),
        )?;
        let url = format!("http://127.0.0.1:{port}");
        let mut influx = Self { url, directory: directory.to_owned(), config, process: None };
        influx.restart().await?;
        Ok(influx)
    }

    /// Its process.
    pub fn id(&self) -> anyhow::Result<u32> {
        self.process.as_ref().context("it does not run")?.id()
    }

    /// SIGKILL.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        match self.process.take() {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }

    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new("influxd");
        command.args(["run", "-config"]).arg(&self.config);
        self.process = Some(Process::start("influxd", command, &self.directory).context("Debian package influxdb")?);
        let ping = format!("{}/ping", self.url);
        eventually("InfluxDB answers", Duration::from_secs(60), async || {
            Ok((web::get(&ping).await?.status == 204).then_some(()))
        })
        .await
    }

    /// The first result of an InfluxQL query; times are µs.
    pub async fn query(&self, database: &str, query: &str) -> anyhow::Result<Value> {
        let pairs = [("db", database), ("epoch", "u"), ("q", query)];
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let answer = web::request(Method::POST, &format!("{}/query", self.url), &headers, form).await?;
        ensure!(answer.status.is_success(), "{query}: {}", answer.body);
        Ok(answer.json()?["results"][0].clone())
    }
}
