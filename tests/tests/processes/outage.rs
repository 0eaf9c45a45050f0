//! What an agent's disk went through before the agent was started: a day without an aggregator, and a disk that altered what was on it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use foreshadow_agent::clock::{Clock as _, HostClock};
use foreshadow_agent::spool::{Limits, Spool};
use foreshadow_agent::stream::{Event, Hello, Session};
use foreshadow_proto::v1;
use foreshadow_tests::oracle::Oracle;
use foreshadow_tests::process::{Aggregator, Process, agent, eventually, pause};
use foreshadow_tests::web;
use tokio::time::Instant;

const DAY_SECONDS: u64 = 86_400;
/// What an agent that is killed has not on its disk yet.
const YOUNGEST: u64 = 5;

/// A sample of a busy host so long ago: nothing of it is absent or short.
fn sample(seconds_ago: u64) -> v1::Sample {
    let ago = seconds_ago * 1_000_000;
    #[allow(clippy::cast_precision_loss, reason = "some hundred thousand")]
    let varies = (seconds_ago % 1_009) as f32;
    v1::Sample {
        sequence: 0,
        wall_micros: HostClock.wall_micros() - i64::try_from(ago).unwrap_or_default(),
        monotonic_micros: 100_000_000_000 + (DAY_SECONDS * 1_000_000).saturating_sub(ago),
        covers_millis: 1_001,
        cpu_percent: Some(varies / 11.0),
        cpu_busiest_percent: Some(varies / 10.5),
        cpu_steal_percent: Some(0.37),
        memory_used_bytes: Some(5_000_000_000 + u64::from(varies as u32) * 4_096),
        memory_total_bytes: Some(8 << 30),
        network: Some(v1::Network {
            in_bytes: f64::from(varies) * 1_234.567,
            out_bytes: f64::from(varies) * 987.654,
            in_packets: f64::from(varies) * 1.7,
            out_packets: f64::from(varies) * 1.3,
            errors: 0.1,
        }),
    }
}

fn limits() -> Limits {
    Limits { reserve: 0, ..Limits::default() }
}

/// Bytes of waiting samples.
fn spooled(directory: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

fn spools(directory: &Path, url: &str, spool: &Path) -> anyhow::Result<Process> {
    agent(directory, url, "i-1", &["--spool", &spool.display().to_string(), "--spool-reserve-mib", "0"])
}

/// A day passes in the agent's own machine, second by second, with nobody there; then it is killed, and the next one finds somebody.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_without_an_aggregator_arrives_whole_and_what_is_new_does_not_wait_for_it() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    // Some thousand fsyncs, which are not what this is about.
    let shared = Path::new("/dev/shm");
    let disk = if shared.is_dir() { tempfile::tempdir_in(shared)? } else { tempfile::tempdir()? };
    let day = [0xda; 16];
    let mut session = Session::new(Hello::default(), Spool::open(day, "boot-day".to_owned(), disk.path(), limits()));
    for second in 0..DAY_SECONDS {
        session.on(Event::Sampled(sample(DAY_SECONDS - second)));
        session.on(Event::Flush);
    }
    assert_eq!((session.unacknowledged() as u64, session.dropped()), (DAY_SECONDS, 0), "all of it is held");
    // Killed: nothing is said to the disk.
    drop(session);
    let bytes = spooled(disk.path())?;
    assert!(bytes <= limits().limit, "{bytes}");

    let aggregator = Aggregator::start(directory.path(), "").await?;
    let oracle = Oracle::start(&aggregator.url).await?;
    let agent = spools(directory.path(), &oracle.url, disk.path())?;
    let of_the_day = || oracle.acknowledged_of_stream("i-1", &day) as u64;
    let new = || oracle.acknowledged_of("i-1") as u64 - of_the_day();
    let began = Instant::now();
    let waited = eventually("the first new sample is acknowledged", Duration::from_secs(60), async || {
        Ok((new() > 0).then(of_the_day))
    })
    .await?;
    let first_after = began.elapsed();
    let kept = DAY_SECONDS - YOUNGEST;
    eventually("the day is acknowledged", Duration::from_secs(240), async || {
        Ok((of_the_day() >= kept && spooled(disk.path())? == 0).then_some(()))
    })
    .await?;
    let (took, meanwhile) = (began.elapsed(), new());
    assert!(waited < kept, "what is new came behind the whole day");
    // One a second, those of the last second and of the start aside.
    assert!(meanwhile + 5 >= took.as_secs() / 2, "{meanwhile} new ones in {took:?}: the day starved them");
    assert_eq!(of_the_day(), kept, "nothing of the day that was never made");
    let before = new();
    eventually("it goes on", Duration::from_secs(30), async || Ok((new() > before).then_some(()))).await?;
    assert!(agent.terminate().await?.success());
    let count = oracle.judge(&aggregator.url).await?;
    println!(
        "{bytes} bytes; first new one after {first_after:?} and {waited} of the day; the day after {took:?}: {count:?}"
    );
    assert!(count.stored as u64 > kept, "{count:?}");
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}

/// Where the records of a segment begin, and its end: a length, a checksum of four bytes and a body each.
fn records(segment: &[u8]) -> Vec<usize> {
    let length = |at: usize| usize::from(segment[at]) + 256 * usize::from(segment[at + 1]);
    // Eight letters, and a header that is built like a record.
    let mut places = vec![8 + 6 + length(8)];
    while let Some(last) = places.last().copied().filter(|at| at + 6 < segment.len()) {
        places.push(last + 6 + length(last));
    }
    places
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_whole_on_a_damaged_disk_arrives_and_what_is_lost_is_named_and_counted() -> anyhow::Result<()> {
    let (directory, disk) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let file = |number: u64| disk.path().join(format!("{number:016x}.spool"));
    // Three agents in turn left three hundred samples each.
    for stream in 0..3_u8 {
        let mut spool = Spool::open([stream; 16], format!("boot-{stream}"), disk.path(), limits());
        (0..300).for_each(|number| _ = spool.push(sample(1_000 - number)));
        spool.close();
    }
    // A bit of the hundredth sample's body; the middle of the two hundredth is the end; a bit of the header.
    let mut bytes = std::fs::read(file(0))?;
    let places = records(&bytes);
    assert_eq!(places.len(), 301);
    bytes[places[99] + 30] ^= 0x04;
    std::fs::write(file(0), bytes)?;
    let bytes = std::fs::read(file(1))?;
    std::fs::write(file(1), &bytes[..records(&bytes)[199] + 40])?;
    let mut bytes = std::fs::read(file(2))?;
    bytes[20] ^= 0x80;
    std::fs::write(file(2), bytes)?;

    let aggregator = Aggregator::start(directory.path(), "").await?;
    let oracle = Oracle::start(&aggregator.url).await?;
    let agent = spools(directory.path(), &oracle.url, disk.path())?;
    eventually("the disk is empty", Duration::from_secs(60), async || Ok((spooled(disk.path())? == 0).then_some(())))
        .await?;
    let of = async |stream: u8| -> anyhow::Result<BTreeSet<u64>> {
        let answer = web::get(&aggregator.url_of("/shadow/metrics?instance=i-1&from=-1h")).await?;
        let name = format!("{stream:02x}").repeat(16);
        let of = answer.lines()?.into_iter().filter(|line| line["stream"] == name.as_str());
        Ok(of.filter_map(|line| line["sequence"].as_u64()).collect())
    };
    let but_one: BTreeSet<u64> = (1..=300).filter(|sequence| *sequence != 100).collect();
    assert_eq!(of(0).await?, but_one, "one bit costs one sample");
    assert_eq!(of(1).await?, (1..=199).collect(), "what stands before a torn end");
    assert_eq!(of(2).await?, BTreeSet::new());
    // And on the wire: what is not here of that stream does not count as waiting.
    assert_eq!(oracle.dropped_of_stream("i-1", &[0; 16]), 1);
    let said = agent.output();
    for (number, what) in [(0, "samples=1 bytes=0"), (1, "samples=0 bytes=40")] {
        let line =
            said.lines().find(|line| line.contains("is damaged") && line.contains(&format!("segment={number} ")));
        assert!(line.is_some_and(|line| line.contains(what)), "{what}: {said}");
    }
    assert!(said.contains("holds nothing whole"), "{said}");
    pause(Duration::from_secs(2)).await;
    assert!(agent.terminate().await?.success());
    let count = oracle.judge(&aggregator.url).await?;
    println!("{count:?}");
    assert!(count.stored > 299 + 199, "and it goes on: {count:?}");
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}
