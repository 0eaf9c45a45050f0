//! What a service manager's watchdog hears is that the work goes on, and nothing but the work says so. The aggregator's is fed by its rounds:
//! `lifecycle::the_watchdog_hears_of_rounds_that_end`, `watchdog::tests`.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow_tests::process::{agent_under, free_port};
use tokio::net::UnixDatagram;
use tokio::time::{Instant, timeout};

use super::faults::privileged;

/// How long a call into the kernel hangs: a disk that is gone, a /proc that does not answer. The agent says that it lives once a second.
const HANGS: Duration = Duration::from_secs(8);

/// One call of this kind hangs, the `when`th.
async fn hears_nothing_while_it_hangs(what: &str, trace: &[&str], when: &str) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("notify");
    let notified = UnixDatagram::bind(&socket)?;
    let heard = async || {
        let mut bytes = [0; 256];
        let length = timeout(Duration::from_secs(60), notified.recv(&mut bytes)).await.context(what.to_owned())??;
        anyhow::Ok((String::from_utf8_lossy(&bytes[..length]).trim().to_owned(), Instant::now()))
    };
    let told = format!("NOTIFY_SOCKET={}", socket.display());
    let calls = directory.path().join("calls").display().to_string();
    let call = trace.last().context("a call")?;
    let inject = format!("inject={call}:delay_enter={}:when={when}", HANGS.as_micros());
    let under = ["env", &told, "strace", "-f", "-D", "-qq", "-o", &calls, "-e", &inject];
    let under = [&under[..], trace].concat();
    // Nobody is there whom it could send to: its spool takes what it has.
    let nobody = format!("http://127.0.0.1:{}", free_port()?);
    let spool = directory.path().join("spool").display().to_string();
    let agent = agent_under(directory.path(), &nobody, "i-1", &["--group", "web", "--spool", &spool], &under)?;
    // Until it hung, which is written down when it goes on, and for two beats after.
    let hung = || std::fs::read_to_string(&calls).is_ok_and(|calls| calls.contains("(DELAYED)"));
    let (mut beats, mut after) = (Vec::new(), 0);
    while after < 2 {
        let (said, at) = heard().await?;
        if said == "WATCHDOG=1" {
            beats.push(at);
            after += usize::from(hung());
        }
        ensure!(beats.len() < 60, "{what}: nothing hung\n{}", agent.output());
    }
    // Not quite as long: on a busy machine the beat before it may be heard late.
    let silent = beats.windows(2).position(|pair| pair[1] - pair[0] >= HANGS * 3 / 4);
    let silent = silent.with_context(|| format!("{what}: it was said to live all the while: {beats:?}"))?;
    ensure!(silent >= 1, "{what}: it lived before it hung: {beats:?}");
    ensure!(agent.terminate().await?.success(), "{what}");
    Ok(())
}

#[tokio::test]
async fn an_agent_whose_loop_hangs_does_not_say_that_it_lives() -> anyhow::Result<()> {
    if !privileged("strace", &["-qq", "-o", "/dev/null", "true"]).await? {
        return Ok(());
    }
    tokio::try_join!(
        // Two calls a reading.
        hears_nothing_while_it_hangs("the host is not read", &["-P", "/proc/stat", "-e", "pread64"], "9"),
        // Before what waits is written, the disk is asked for its room.
        hears_nothing_while_it_hangs("the spool's disk does not answer", &["-e", "statfs"], "2"),
    )?;
    Ok(())
}
