//! `foreshadow demo`: the whole product on one machine.
//!
//! A real agent (this binary, started once more) samples this host into a real aggregator with the
//! embedded store; beside it stands a simulated group with generated load and time compressed, run
//! through the same demand, forecast, plan, checker, journal and calls against the strict fake cloud,
//! and compared with reactive scaling of the same load. The API is up meanwhile.
//!
//! [`shop`] is the simulated group, [`score`] what ours and the reactive ways come to, [`happenings`]
//! what was done in words; [`simulated`] runs it, [`view`] shows it, [`draw`] on a terminal.

mod draw;
mod happenings;
mod host;
mod score;
mod shop;
mod simulated;
mod view;

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli;
use crate::config::{Config, Listen, Store};
use crate::supervise::{self, Running};
use crate::telemetry;

/// The group this host reports in.
pub(crate) const HOST_GROUP: &str = "this-host";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// End after this many seconds, with a summary
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Listen here; the next free port when it is taken
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
    /// Simulated minutes in one second
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=600))]
    speed: u32,
    /// End after this many simulated hours, with a summary
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2_000))]
    hours: Option<u32>,
    /// Seed of the generated load: the same seed gives the same hours
    #[arg(long, value_name = "N", default_value_t = 11)]
    seed: u64,
    /// Plain lines even on a terminal
    #[arg(long)]
    plain: bool,
}

/// Runs the demo.
pub fn main(arguments: &Arguments) -> ExitCode {
    let live = std::io::stdout().is_terminal() && !arguments.plain;
    if !live {
        telemetry::start_quiet();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cli::fail(&error.into()),
    };
    match runtime.block_on(run(arguments, live)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::fail(&error),
    }
}

async fn run(arguments: &Arguments, live: bool) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let directory = DemoDirectory::make()?;
    let running = Box::pin(start(arguments.listen, directory.0.clone())).await?;
    let mut agent = agent(&running.url)?;
    let pace = simulated::Pace {
        seed: arguments.seed,
        speed: arguments.speed,
        minutes: arguments.hours.map(|hours| 60 * i64::from(hours)),
    };
    let simulated = simulated::Simulated::start(&running, pace);
    let mut view = view::View::open(&running, simulated.watch(), live)?;
    let end = async {
        match arguments.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        () = end => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        shown = view.run() => shown,
        finished = simulated.finished() => finished,
        status = agent.wait() => Err(anyhow::anyhow!("the agent ended: {status:?}")),
    };
    view.close();
    stop_agent(&mut agent).await;
    let summary = view.summary();
    simulated.stop().await;
    running.stop().await;
    ended?;
    println!("{summary}");
    Ok(())
}

/// Starts the aggregator, on the next ports where one is taken.
async fn start(first: SocketAddr, directory: PathBuf) -> anyhow::Result<Running> {
    let mut address = first;
    loop {
        let config = Config {
            listen: Listen { address, ..Listen::default() },
            store: Store { directory: directory.clone(), ..Store::default() },
            ..Config::default()
        };
        match Box::pin(supervise::start(config)).await {
            Ok(running) => return Ok(running),
            Err(supervise::SuperviseError::Serve(crate::api::ServeError::Bind { source, .. }))
                if source.kind() == std::io::ErrorKind::AddrInUse
                    && address.port() < first.port().saturating_add(20) =>
            {
                address.set_port(address.port() + 1);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// This binary once more, as the agent it carries.
fn agent(url: &str) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("this program's own path")?;
    Command::new(program)
        .args(["agent", "--aggregator", url, "--group", HOST_GROUP])
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("FORESHADOW_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("the agent cannot be started")
}

/// Asks the agent to end as systemd would, and only then insists.
async fn stop_agent(agent: &mut Child) {
    let id = agent.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(id) = id
        && let Err(error) = rustix::process::kill_process(id, rustix::process::Signal::TERM)
    {
        tracing::debug!(%error, "the agent cannot be asked to end");
    }
    if tokio::time::timeout(Duration::from_secs(6), agent.wait()).await.is_err() {
        drop(agent.kill().await);
    }
}

/// A directory of its own, gone with the demo.
struct DemoDirectory(PathBuf);

impl DemoDirectory {
    fn make() -> anyhow::Result<Self> {
        let name = supervise::random::<8>().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let path = std::env::temp_dir().join(format!("foreshadow-demo-{name}"));
        std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for DemoDirectory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
