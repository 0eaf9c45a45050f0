//! `foreshadow store check` and `backup`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Subcommand;

use super::check::{self, Findings};
use crate::config::Config;

/// The embedded store, on its own machine.
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

/// Checks or copies.
pub async fn run(arguments: &StoreArguments) -> anyhow::Result<()> {
    match &arguments.action {
        Action::Check(directory) => said(&check::check(&directory.path()).await?),
        Action::Backup { directory, to } => {
            let findings = check::backup(&directory.path(), to).await?;
            eprintln!("copied into {}", to.display());
            said(&findings)
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
