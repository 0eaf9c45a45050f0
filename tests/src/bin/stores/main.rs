//! `stores`: what it costs to keep the same samples in the embedded store, in VictoriaMetrics and in InfluxDB 1.x, and to ask for
//! a group's mean.
//!
//!     cargo build --release --workspace --bins && target/release/stores
//!
//! The peers are those of Debian; one that is not installed is named and left out. They are sent line protocol, whose parsing is
//! theirs to pay, and acknowledge before anything is on the disk; the embedded store is given decoded batches, and acknowledges
//! what is.

mod corpus;
mod embedded;
mod peers;

use clap::Parser;

/// What keeping samples costs, in CPU time and bytes a value.
#[derive(Debug, Parser)]
#[command(name = "stores")]
struct Arguments {
    /// Instances whose samples are written
    #[arg(long, default_value_t = 2_000)]
    instances: usize,
    /// Samples of each, a second apart
    #[arg(long, default_value_t = 900)]
    samples: usize,
    /// Samples sent together
    #[arg(long, default_value_t = 10)]
    batch: usize,
    /// Instances of the group whose mean is asked for
    #[arg(long, default_value_t = 500)]
    group: usize,
    /// Days of one sample a minute that are asked for
    #[arg(long, default_value_t = 7)]
    days: usize,
}

/// One store that was given everything.
#[derive(Debug)]
pub struct Kept {
    pub name: &'static str,
    /// CPU seconds to write, and afterwards to bring into the form in which it stays.
    pub written: f64,
    pub settled: f64,
    /// Bytes on the disk once it has settled.
    pub bytes: u64,
}

/// One way to a group's mean.
#[derive(Debug)]
pub struct Mean {
    pub name: &'static str,
    /// CPU seconds of one question.
    pub cpu: f64,
    /// Points in the answer.
    pub points: usize,
    pub mean: f64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let corpus = corpus::Corpus { instances: arguments.instances, samples: arguments.samples };
    let values = corpus.values() as f64;
    println!(
        "{} instances, {} samples of {} values each, in batches of {}:\n",
        corpus.instances,
        corpus.samples,
        corpus::VALUES,
        arguments.batch
    );
    println!("| | values a CPU-second, millions | with what settling costs | bytes a value |\n|---|---|---|---|");
    let mut all = vec![embedded::keep(&corpus, arguments.batch).await?];
    all.extend(peers::keep(&corpus).await?);
    for kept in all {
        println!(
            "| {} | {:.2} | {:.2} | {:.2} |",
            kept.name,
            values / kept.written / 1e6,
            values / (kept.written + kept.settled) / 1e6,
            kept.bytes as f64 / values
        );
    }

    let week = corpus::Week { instances: arguments.group, minutes: arguments.days * 1_440 };
    println!(
        "\nThe mean of one metric over {} instances, {} days at one sample a minute ({} points):\n",
        week.instances,
        arguments.days,
        week.instances * week.minutes
    );
    println!("| | CPU, ms | points in the answer | their mean |\n|---|---|---|---|");
    let mut all = embedded::mean(&week).await?;
    all.extend(peers::mean(&week).await?);
    for mean in all {
        println!("| {} | {:.1} | {} | {:.4} |", mean.name, mean.cpu * 1e3, mean.points, mean.mean);
    }
    Ok(())
}
