//! Real processes: started with their output in files, ended when dropped, killed when told.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// How long anything may take that usually takes a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// A binary of the workspace, built by `tests/run` or `cargo build --workspace --bins`.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe().context("the path of this test")?;
    let directory = test.ancestors().find(|path| path.ends_with("deps")).and_then(Path::parent);
    let directory = directory.or_else(|| test.parent()).context("the target directory")?;
    let path = directory.join(name);
    ensure!(path.exists(), "{} is not built: cargo build --workspace --bins", path.display());
    Ok(path)
}

/// A tool that `tests/run` installs below `target/tools`.
pub fn tool(name: &str) -> anyhow::Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/bin").join(name);
    ensure!(path.exists(), "{name} is not installed: bash tests/run installs it below target/tools");
    Ok(path)
}

/// What gives a process another clock, by `LD_PRELOAD`.
pub fn faketime() -> anyhow::Result<String> {
    let of = |machine: &str| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1");
    let mut found = ["x86_64", "aarch64"].map(of).into_iter().filter(|path| Path::new(path).exists());
    found.next().context("libfaketime: tests/run installs it")
}

/// A port nobody listens on now. It is none of those that the system gives to whoever connects (Linux: from 32768 on), or another program
/// could have it by the time of a restart.
pub fn free_port() -> anyhow::Result<u16> {
    const FIRST: u64 = 10_000;
    const PORTS: u64 = 22_000;
    for _ in 0..100 {
        let port = u16::try_from(FIRST + RandomState::new().build_hasher().finish() % PORTS)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("a hundred ports are all listened on")
}

/// A running process; it is killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command; both outputs go to a file in `directory`, appended to what is there.
    pub fn start(name: &str, mut command: Command, directory: &Path) -> anyhow::Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("the process has ended")
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("{} cannot be killed", self.name))
    }

    /// SIGTERM, and how it ended.
    pub async fn terminate(mut self) -> anyhow::Result<ExitStatus> {
        let id = rustix::process::Pid::from_raw(i32::try_from(self.id()?)?).context("the process id")?;
        rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        self.ended().await
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("{} does not end:\n{}", self.name, self.output()),
        }
    }

    /// Fails with its output when it has ended.
    pub fn must_run(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}:\n{}", self.name, self.output());
        }
        Ok(())
    }
}

/// An aggregator on a port of its own, with its data in `directory`.
#[derive(Debug)]
pub struct Aggregator {
    pub process: Process,
    pub port: u16,
    pub url: String,
}

impl Aggregator {
    /// Starts and waits until it answers. `config` is TOML without `[listen]` and `[store]`.
    pub async fn start(directory: &Path, config: &str) -> anyhow::Result<Self> {
        Self::start_on(directory, config, free_port()?, &[]).await
    }

    /// The same on a port that is known beforehand, with environment variables.
    pub async fn start_on(directory: &Path, config: &str, port: u16, set: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut aggregator = Self::spawn(directory, config, port, set)?;
        let url = format!("{}/healthz", aggregator.url);
        aggregator.answers(async || crate::web::get(&url).await.map(drop)).await?;
        Ok(aggregator)
    }

    /// The same with a certificate in `config` that the authority in `ca` has signed.
    pub async fn start_tls(directory: &Path, config: &str, port: u16, ca: &Path) -> anyhow::Result<Self> {
        let mut aggregator = Self::spawn(directory, config, port, &[])?;
        aggregator.url = format!("https://127.0.0.1:{port}");
        let url = format!("{}/healthz", aggregator.url);
        aggregator.answers(async || crate::web::get_tls(&url, ca, &[]).await.map(drop)).await?;
        Ok(aggregator)
    }

    /// The same as an argument of another program, which becomes it: `strace -D …`, `ip netns exec NAME`.
    pub async fn start_under(directory: &Path, config: &str, port: u16, under: &[&str]) -> anyhow::Result<Self> {
        let mut aggregator = Self::spawn_under(directory, config, port, under)?;
        let url = format!("{}/healthz", aggregator.url);
        aggregator.answers(async || crate::web::get(&url).await.map(drop)).await?;
        Ok(aggregator)
    }

    fn spawn(directory: &Path, config: &str, port: u16, set: &[(&str, &str)]) -> anyhow::Result<Self> {
        let file = directory.join("foreshadow.toml");
        std::fs::write(&file, config)?;
        let mut command = Command::new(binary("foreshadow")?);
        command.envs(set.iter().copied());
        Self::serve(command, directory, &file, port)
    }

    /// The address of a path there.
    pub fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Starts it without waiting: where it listens, nobody here may be able to ask.
    pub fn spawn_under(directory: &Path, config: &str, port: u16, under: &[&str]) -> anyhow::Result<Self> {
        let file = directory.join("foreshadow.toml");
        std::fs::write(&file, config)?;
        let (program, arguments) = under.split_first().context("a program")?;
        let mut command = Command::new(program);
        command.args(arguments).arg(binary("foreshadow")?);
        Self::serve(command, directory, &file, port)
    }

    fn serve(mut command: Command, directory: &Path, file: &Path, port: u16) -> anyhow::Result<Self> {
        command
            .arg("serve")
            .arg("--config")
            .arg(file)
            .arg("--listen")
            .arg(format!("127.0.0.1:{port}"))
            .arg("--directory")
            .arg(directory.join("data"));
        let process = Process::start("foreshadow", command, directory)?;
        Ok(Self { process, port, url: format!("http://127.0.0.1:{port}") })
    }

    async fn answers<F>(&mut self, mut ask: impl FnMut() -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let begun = Instant::now();
        while let Err(error) = ask().await {
            self.process.must_run()?;
            ensure!(begun.elapsed() < PATIENCE, "no answer ({error:#}):\n{}", self.process.output());
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

/// The real agent, sampling this host.
pub fn agent(directory: &Path, aggregator: &str, instance: &str, flags: &[&str]) -> anyhow::Result<Process> {
    agent_under(directory, aggregator, instance, flags, &[])
}

/// The same as an argument of another program, which becomes it.
pub fn agent_under(
    directory: &Path,
    aggregator: &str,
    instance: &str,
    flags: &[&str],
    under: &[&str],
) -> anyhow::Result<Process> {
    let mut command = match under.split_first() {
        None => Command::new(binary("foreshadow-agent")?),
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary("foreshadow-agent")?);
            command
        }
    };
    command.args(["--aggregator", aggregator, "--instance-id", instance]).args(flags);
    // Without this every start would wait for a cloud's metadata service that is not there.
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    Process::start(&format!("agent-{instance}"), command, directory)
}

/// Polls until `found` gives something; the error says what was awaited.
pub async fn eventually<T, F>(what: &str, within: Duration, mut found: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let begun = Instant::now();
    let mut last = None;
    loop {
        match found().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        if begun.elapsed() > within {
            let why = last.map_or_else(String::new, |error| format!(" (last: {error:#})"));
            bail!("not within {} s: {what}{why}", within.as_secs());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Nothing for a while, for tests that must let time pass.
pub async fn pause(duration: Duration) {
    sleep(duration).await;
}
