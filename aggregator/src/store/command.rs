//! `foreshadow store check`, `backup` and `retract`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Subcommand;
use foreshadow_proto::convert::Id;
use http::Method;
use serde_json::json;

use super::check::{self, Findings};
use crate::client::{Client, escaped};
use crate::clock::time_argument;
use crate::config::Config;

/// What is stored: checked and copied on its own machine, taken back by the aggregator that owns it.
#[derive(Debug, clap::Args)]
pub struct StoreArguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Read all of it and say whether it is whole: 0, or 1 with every fault. The aggregator may run meanwhile
    Check(Directory),
    /// Copy it into a new file, and check the copy. The aggregator may run meanwhile
    Backup {
        #[command(flatten)]
        directory: Directory,
        /// The file to make; it must not be there yet
        to: PathBuf,
    },
    /// Take samples of an instance back: from now on they count nowhere, and minutes are made anew without them
    Retract(Retract),
}

#[derive(Debug, clap::Args)]
struct Retract {
    #[arg(long, value_name = "ID")]
    instance: Id,
    /// From then on: RFC 3339, seconds since 1970, or like -6h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time_argument)]
    from: String,
    /// Before then, and not ahead of now
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value = "-0s", value_parser = time_argument)]
    to: String,
    /// Why
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    client: Client,
}

#[derive(Debug, clap::Args)]
struct Directory {
    /// The store's directory [default: foreshadow-data]
    #[arg(long, env = "FORESHADOW_DIRECTORY", value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

impl Directory {
    fn path(&self) -> PathBuf {
        self.directory.clone().unwrap_or_else(|| Config::default().store.directory)
    }
}

/// Checks, copies or takes back.
pub async fn run(arguments: &StoreArguments) -> anyhow::Result<()> {
    match &arguments.action {
        Action::Check(directory) => said(&check::check(&directory.path()).await?),
        Action::Backup { directory, to } => {
            let findings = check::backup(&directory.path(), to).await?;
            eprintln!("copied into {}", to.display());
            said(&findings)
        }
        Action::Retract(wanted) => {
            let path = format!("/instances/{}/retract", escaped(wanted.instance.as_str()));
            let body = json!({ "from": wanted.from, "to": wanted.to, "reason": wanted.reason });
            let answer = wanted.client.request(Method::POST, &path, Some(&body)).await?;
            let before = if answer["new"] == false { " (it was told before)" } else { "" };
            println!("{}: {} samples retracted{before}; minutes are made anew", wanted.instance, answer["samples"]);
            Ok(())
        }
    }
}

fn said(findings: &Findings) -> anyhow::Result<()> {
    let Findings { ticks, chunks, samples, streams, faults, faults_total } = findings;
    for fault in faults {
        eprintln!("{fault}");
    }
    if !findings.is_whole() {
        bail!("not whole: {faults_total} faults, {} of them above", faults.len());
    }
    println!("whole: {samples} samples in {chunks} chunks and {ticks} commits, of {streams} streams");
    Ok(())
}
