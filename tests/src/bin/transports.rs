//! `transports`: TCP beside QUIC at 0 %, 1 % and 5 % of packets lost each way, in network namespaces of its own. Needs root,
//! `ip` and `iptables`; nothing of the host's network is touched.
//!
//!     cargo build --release --workspace --bins && target/release/transports

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use foreshadow_tests::process::{Process, binary, eventually};
use foreshadow_tests::tokens::Tokens;
use foreshadow_tests::trust;
use tokio::process::Command;

const AGGREGATOR: &str = "10.77.0.1";
const AGENTS: &str = "10.77.0.2";

/// TCP beside QUIC on a link that loses packets.
#[derive(Debug, Parser)]
#[command(name = "transports")]
struct Arguments {
    /// Simulated agents
    #[arg(long, default_value_t = 100)]
    agents: usize,
    /// Seconds of each line
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Percent of packets lost each way
    #[arg(long, value_delimiter = ',', default_value = "0,1,5")]
    loss: Vec<f64>,
}

/// Two namespaces with a cable between them and no way out; gone when dropped.
struct Cable {
    ends: [String; 2],
}

impl Cable {
    async fn lay() -> anyhow::Result<Self> {
        let process = std::process::id();
        let cable = Self { ends: [format!("foreshadow-a{process}"), format!("foreshadow-b{process}")] };
        let [a, b] = &cable.ends;
        run("ip", &["netns", "add", a]).await?;
        run("ip", &["netns", "add", b]).await?;
        run("ip", &["-n", a, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", b]).await?;
        for (end, address) in [(a, AGGREGATOR), (b, AGENTS)] {
            run("ip", &["-n", end, "address", "add", &format!("{address}/24"), "dev", "cable"]).await?;
            run("ip", &["-n", end, "link", "set", "cable", "up"]).await?;
            run("ip", &["-n", end, "link", "set", "lo", "up"]).await?;
        }
        Ok(cable)
    }

    /// A command at one end.
    fn at(&self, end: usize, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.ends[end]]).arg(program);
        command
    }

    /// Loses so many percent of what arrives at either end.
    async fn lose(&self, percent: f64) -> anyhow::Result<()> {
        for end in 0..2 {
            finish(self.at(end, "iptables").args(["-F", "INPUT"])).await?;
            if percent > 0.0 {
                let chance = (percent / 100.0).to_string();
                let mut command = self.at(end, "iptables");
                command.args(["-A", "INPUT", "-i", "cable", "-m", "statistic", "--mode", "random"]);
                finish(command.args(["--probability", &chance, "-j", "DROP"])).await?;
            }
        }
        Ok(())
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for end in &self.ends {
            drop(std::process::Command::new("ip").args(["netns", "delete", end]).status());
        }
    }
}

async fn run(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    finish(Command::new(program).args(arguments)).await
}

async fn finish(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().await.with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let directory = tempfile::tempdir()?;
    let path = directory.path();
    let cable = Cable::lay().await?;
    let shown = trust::shown_at(path, AGGREGATOR.parse()?)?;
    let tokens = Tokens::make(path).await?;
    std::fs::write(
        path.join("foreshadow.toml"),
        format!("{}[identity]\ntokens = \"{}\"\n", shown.listen, tokens.file.display()),
    )?;
    let mut command = cable.at(0, binary("foreshadow")?);
    command.args(["serve", "--listen", &format!("{AGGREGATOR}:7070"), "--config"]).arg(path.join("foreshadow.toml"));
    command.arg("--directory").arg(path.join("data"));
    let aggregator = Process::start("foreshadow", command, path)?;
    eventually("the aggregator runs", Duration::from_secs(60), async || {
        Ok(aggregator.output().contains("aggregator runs").then_some(()))
    })
    .await?;
    let url = format!("https://{AGGREGATOR}:7070");
    let lines = arguments.loss.len() * 2;
    let mut join = cable.at(0, binary("foreshadow")?);
    join.args(["tokens", "join", "--name", "transports", "--uses", &(lines * arguments.agents).to_string()]);
    join.env("FORESHADOW_URL", &url).env("FORESHADOW_CA", &shown.ca);
    join.env("FORESHADOW_TOKEN_FILE", tokens.write("admin")?);
    std::fs::write(path.join("join.token"), finish(&mut join).await?)?;

    println!("{} agents, one sample a second each, {} s a line\n", arguments.agents, arguments.seconds);
    println!("| lost each way | over | acknowledged after, median, ms | 99 % | most | bytes a sample, IP and all |");
    println!("|---|---|---|---|---|---|");
    for percent in &arguments.loss {
        for transport in ["tcp", "quic"] {
            cable.lose(*percent).await?;
            let said = fleet(&cable, path, &url, &shown.ca, transport, *percent, &arguments).await?;
            let figure = |name: &str| said[name].as_f64().with_context(|| format!("{name}: {said}"));
            println!(
                "| {percent} % | {transport} | {:.0} | {:.0} | {:.0} | {:.0} |",
                figure("median_ms")?,
                figure("p99_ms")?,
                figure("most_ms")?,
                figure("sent_bytes")? / figure("samples")?,
            );
            ensure!(figure("waiting")? == 0.0, "samples were not acknowledged: {said}");
        }
    }
    aggregator.terminate().await?;
    Ok(())
}

async fn fleet(
    cable: &Cable,
    path: &Path,
    url: &str,
    ca: &Path,
    transport: &str,
    percent: f64,
    arguments: &Arguments,
) -> anyhow::Result<serde_json::Value> {
    let mut command = cable.at(1, binary("fleet")?);
    command.args([
        "--aggregator",
        url,
        "--transport",
        transport,
        "--spread",
        "1s",
        "--json",
        "--interface",
        "cable",
        "--acknowledged-within",
        "0s",
    ]);
    command.arg("--ca").arg(ca).arg("--join-token-file").arg(path.join("join.token"));
    command.args(["--agents", &arguments.agents.to_string(), "--for", &format!("{}s", arguments.seconds)]);
    command.args(["--group", "transports", "--name", &format!("i-{transport}{percent}-")]);
    Ok(serde_json::from_str(&finish(&mut command).await?)?)
}
