//! `foreshadow store check`, `backup` and `retract`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Subcommand;
use foreshadow_proto::convert::Id;
use http::Method;
use serde_json::{Value, json};

use super::check::{self, Findings};
use crate::client::{Ask, escaped, reason_argument};
use crate::clock::time_argument;
use crate::config::Config;
use crate::progress::Progress;

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
    #[arg(long, value_parser = reason_argument)]
    reason: String,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, clap::Args)]
struct Directory {
    /// The store's directory [default: foreshadow-data]
    #[arg(long, env = "FORESHADOW_DIRECTORY", value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// Say what was found as JSON
    #[arg(long)]
    json: bool,
}

impl Directory {
    fn path(&self) -> PathBuf {
        self.directory.clone().unwrap_or_else(|| Config::default().store.directory)
    }
}

/// Checks, copies or takes back.
pub async fn run(arguments: &StoreArguments) -> anyhow::Result<()> {
    match &arguments.action {
        Action::Check(directory) => {
            let progress = Progress::new("store check", 0);
            let findings = check::check_telling(&directory.path(), &|done, of| progress.set(done, of)).await;
            progress.end();
            said(&findings?, directory.json)
        }
        Action::Backup { directory, to } => {
            let progress = Progress::new("store backup", 0);
            let findings = check::backup_telling(&directory.path(), to, &|done, of| progress.set(done, of)).await;
            progress.end();
            let findings = findings?;
            eprintln!("copied into {}", to.display());
            said(&findings, directory.json)
        }
        Action::Retract(wanted) => {
            let path = format!("/instances/{}/retract", escaped(wanted.instance.as_str()));
            let body = json!({ "from": wanted.from, "to": wanted.to, "reason": wanted.reason });
            let answer = wanted.ask.client.request(Method::POST, &path, Some(&body)).await?;
            wanted.ask.tell(&answer, |answer| {
                let before = if answer["new"] == false { " (it was told before)" } else { "" };
                format!("{}: {} samples retracted{before}; minutes are made anew", wanted.instance, answer["samples"])
            });
            Ok(())
        }
    }
}

fn said(findings: &Findings, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        println!("{:#}", found(findings));
    }
    let Findings { ticks, chunks, samples, streams, minutes, faults, faults_total } = findings;
    for fault in faults.iter().filter(|_| !as_json) {
        eprintln!("{fault}");
    }
    if !findings.is_whole() {
        bail!("not whole: {faults_total} faults, {} of them above", faults.len());
    }
    if as_json {
        return Ok(());
    }
    println!(
        "whole: {samples} samples in {chunks} chunks and {ticks} commits, of {streams} streams, and {minutes} minutes"
    );
    Ok(())
}

fn found(findings: &Findings) -> Value {
    let Findings { ticks, chunks, samples, streams, minutes, faults, faults_total } = findings;
    json!({
        "whole": findings.is_whole(), "samples": samples, "chunks": chunks, "commits": ticks, "streams": streams,
        "minutes": minutes,
        "faults": faults, "faults_total": faults_total,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_reads_whether_a_store_is_whole() {
        let whole = found(&Findings { samples: 3, ..Findings::default() });
        assert!(whole["whole"] == true && whole["samples"] == 3, "{whole}");
        let broken = Findings { faults: vec!["tick 1: x".to_owned()], faults_total: 1, ..Findings::default() };
        assert_eq!((&found(&broken)["whole"], &found(&broken)["faults"][0]), (&json!(false), &json!("tick 1: x")));
        assert!(said(&broken, true).is_err());
    }
}
