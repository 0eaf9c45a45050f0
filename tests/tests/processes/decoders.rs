//! Everything that reads what others wrote, fed with a corpus that is bent in every way: nothing panics, nothing hangs,
//! and what is let through is in range.
//!
//! The corpus is in `tests/corpus` and, for the wire, in `proto/tests/golden`. The same seeds give the same inputs;
//! `FORESHADOW_FUZZ=100 cargo nextest run --workspace -E 'test(decoders)'` tries a hundred times as many.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use foreshadow::config::Config;
use foreshadow::identity::Access;
use foreshadow::ingest::lines::{self, Format, Line};
use foreshadow::ingest::mapped::Tracks;
use foreshadow::ingest::otlp::{self, ExportRequest};
use foreshadow::ingest::session::{Effect, Event, Session};
use foreshadow::store::StoreId;
use foreshadow_agent::spool::{Limits, Spool};
use foreshadow_proto::convert::{EARLIEST_WALL_MICROS, MAX_AHEAD_MICROS, Sample};
use foreshadow_proto::v1;
use foreshadow_tests::process::Aggregator;
use foreshadow_tests::web;
use prost::Message as _;

const NOW: i64 = 1_800_000_000_000_000;
/// Bent inputs of each entry of the corpus.
const ROUNDS: u64 = 2_000;

fn rounds(share: u64) -> u64 {
    let times = std::env::var("FORESHADOW_FUZZ").ok().and_then(|times| times.parse().ok()).unwrap_or(1_u64);
    ROUNDS * times / share
}

fn corpus(name: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let entries = std::fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    ensure!(!paths.is_empty(), "{} is empty", directory.display());
    paths.iter().map(|path| Ok(std::fs::read(path)?)).collect()
}

/// Numbers that look random and are not (xorshift64*, Vigna 2016).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % (most.max(1) as u64)).unwrap_or_default()
    }

    /// An input with one to four changes.
    fn bend(&mut self, corpus: &[Vec<u8>], at: usize) -> Vec<u8> {
        const ODD: [u8; 12] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'[', b'\\', b'-', b'\n', b'='];
        let mut bent = corpus.get(at).cloned().unwrap_or_default();
        for _ in 0..=self.below(4) {
            let from = self.below(bent.len());
            let to = (from + 1 + self.below(16)).min(bent.len());
            match self.below(7) {
                0 if !bent.is_empty() => bent[from] ^= 1 << self.below(8),
                1 if !bent.is_empty() => bent[from] = ODD[self.below(ODD.len())],
                2 => drop(bent.drain(from..to)),
                3 => {
                    let piece = bent.get(from..to).unwrap_or_default().to_vec();
                    let into = self.below(bent.len() + 1);
                    bent.splice(into..into, piece);
                }
                4 => {
                    let other = &corpus[self.below(corpus.len())];
                    let start = self.below(other.len());
                    let piece = other.get(start..(start + 32).min(other.len())).unwrap_or_default().to_vec();
                    bent.splice(from..from, piece);
                }
                5 => bent.truncate(from),
                _ => bent.insert(from, ODD[self.below(ODD.len())]),
            }
        }
        bent
    }
}

/// Every bent input of a corpus.
fn each(name: &str, share: u64, mut feed: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let corpus = corpus(name)?;
    for (at, entry) in corpus.iter().enumerate() {
        feed(entry)?;
        for round in 0..rounds(share) {
            let seed = (at as u64 + 1) << 32 | (round + 1);
            let bent = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1).bend(&corpus, at);
            feed(&bent).with_context(|| format!("{name} {at}, round {round}: {bent:02x?}"))?;
        }
    }
    Ok(())
}

fn in_range(sample: &Sample) -> anyhow::Result<()> {
    let percents = [sample.cpu_percent, sample.cpu_busiest_percent, sample.cpu_steal_percent];
    ensure!(percents.iter().flatten().all(|percent| (0.0..=100.0).contains(percent)), "{sample:?}");
    ensure!((EARLIEST_WALL_MICROS..=NOW + MAX_AHEAD_MICROS).contains(&sample.wall_micros), "{sample:?}");
    ensure!(sample.network.is_none_or(|rates| rates.in_bytes.is_finite() && rates.in_bytes >= 0.0), "{sample:?}");
    Ok(())
}

#[test]
fn messages_of_agents() -> anyhow::Result<()> {
    let mut stored = 0_u64;
    each("../proto/tests/golden", 1, |bytes| {
        // As the whole conversation after a good Hello, and as its first word.
        let Ok(message) = v1::AgentMessage::decode(bytes) else { return Ok(()) };
        for greeted in [false, true] {
            let mut session = Session::new(StoreId([9; 16]));
            if greeted {
                let hello = v1::Hello {
                    instance_id: "i-1".to_owned(),
                    stream_id: vec![1; 16],
                    boot_id: "boot".to_owned(),
                    protocol: 1,
                    newest_protocol: foreshadow_proto::PROTOCOL,
                    ..v1::Hello::default()
                };
                let kind = Some(v1::agent_message::Kind::Hello(hello));
                session.on(Event::Message(Box::new(v1::AgentMessage { kind })), NOW);
            }
            for effect in session.on(Event::Message(Box::new(message.clone())), NOW) {
                if let Effect::Store(arrival, _) = effect {
                    stored += arrival.samples.len() as u64;
                    arrival.samples.iter().try_for_each(in_range)?;
                }
            }
        }
        Ok(())
    })?;
    println!("{stored} samples got through");
    ensure!(stored > 200, "{stored}: the inputs are too bent to say anything");
    Ok(())
}

#[test]
fn lines_that_are_pushed() -> anyhow::Result<()> {
    let mut stored = 0_u64;
    for (name, format) in [("corpus/ndjson", Format::NdJson), ("corpus/lines", Format::LineProtocol)] {
        each(name, 1, |bytes| {
            for line in String::from_utf8_lossy(bytes).lines() {
                if let Ok(Some(Line { sample: Some(pushed), .. })) = lines::parse(format, line, NOW) {
                    stored += 1;
                    in_range(&pushed.sample)?;
                }
            }
            Ok(())
        })?;
    }
    println!("{stored} lines got through");
    ensure!(stored > 1_000, "{stored}: the inputs are too bent to say anything");
    Ok(())
}

#[test]
fn metrics_of_opentelemetry() -> anyhow::Result<()> {
    let config = Config::parse("f.toml", "[otlp]\nexporter = \"hostmetrics\"\ngroup_label = \"service.name\"\n");
    let mapped = config.ok().and_then(|config| config.otlp).context("[otlp]")?;
    let mut stored = 0_u64;
    for name in ["corpus/otlp", "corpus/otlp-json"] {
        each(name, 1, |bytes| {
            let request = match name {
                "corpus/otlp" => ExportRequest::decode(bytes).ok(),
                _ => serde_json::from_slice(bytes).ok(),
            };
            let Some(request) = request else { return Ok(()) };
            let mut tracks = Tracks::new(mapped.clone(), "otlp");
            let taken = otlp::take(&mut tracks, &request, NOW);
            stored += taken.samples.len() as u64;
            taken.samples.iter().try_for_each(|pushed| in_range(&pushed.sample))?;
            // As if it had never come.
            tracks.undo(&taken);
            ensure!(tracks.followed() == 0, "{} series are left of {taken:?}", tracks.followed());
            Ok(())
        })?;
    }
    println!("{stored} samples got through");
    ensure!(stored > 1_000, "{stored}: the inputs are too bent to say anything");
    Ok(())
}

#[test]
fn configurations_and_token_files() -> anyhow::Result<()> {
    each("corpus/config", 4, |bytes| {
        if let Ok(config) = Config::parse("f.toml", &String::from_utf8_lossy(bytes)) {
            let mut groups = config.groups.values();
            ensure!(groups.all(|group| group.minimum.zip(group.maximum).is_none_or(|(least, most)| least <= most)));
        }
        Ok(())
    })?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("tokens.toml");
    std::fs::write(&path, "")?;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    each("corpus/tokens", 4, |bytes| {
        std::fs::write(&path, bytes)?;
        if let Ok(access) = Access::load(&path) {
            ensure!(access.caller(Some("Bearer fs_")).is_none());
        }
        Ok(())
    })
}

#[test]
fn a_spool_on_the_disk() -> anyhow::Result<()> {
    let limits = Limits { limit: 1 << 20, reserve: 0 };
    let whole = tempfile::tempdir()?;
    let mut spool = Spool::open([1; 16], "boot".to_owned(), whole.path(), limits);
    for second in 0..50 {
        spool.push(v1::Sample { wall_micros: second, cpu_percent: Some(1.0), ..v1::Sample::default() });
    }
    spool.close();
    drop(spool);
    let segments = || -> anyhow::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(whole.path())?.map(|entry| Ok(entry?.path()));
        Ok(entries.collect::<std::io::Result<Vec<_>>>()?.into_iter().filter(|path| !path.ends_with("lock")).collect())
    };
    let [segment] = segments()?.try_into().map_err(|found| anyhow::anyhow!("one segment: {found:?}"))?;
    let good = std::fs::read(&segment)?;
    for round in 0..rounds(8) {
        let bent = Dice((round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1).bend(std::slice::from_ref(&good), 0);
        let directory = tempfile::tempdir()?;
        std::fs::write(directory.path().join(segment.file_name().context("a name")?), &bent)?;
        let mut spool = Spool::open([2; 16], "boot".to_owned(), directory.path(), limits);
        ensure!(spool.len() <= 50, "round {round}: {} samples of 50", spool.len());
        let mut found = 0;
        while let [outgoing, ..] = spool.next_batches(2_000, 2_000).as_slice() {
            for sample in &outgoing.samples {
                found += 1;
                // Its checksum holds: it is one that was written, whatever became of the others.
                ensure!(
                    (1..=50).contains(&sample.sequence) && sample.cpu_percent == Some(1.0),
                    "round {round}: {sample:?}"
                );
            }
        }
        ensure!(found <= 50, "round {round}: {found} samples of 50");
    }
    Ok(())
}

#[tokio::test]
async fn bodies_of_requests() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let texts = corpus("corpus/rest")?;
    let text = String::from_utf8(texts.into_iter().next().context("bodies")?)?;
    let mut bodies = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ' ');
        let (method, path) = (parts.next().context("a method")?, parts.next().context("a path")?);
        bodies.push((method.parse::<http::Method>()?, path, parts.next().context("a body")?.as_bytes().to_vec()));
    }
    let all: Vec<Vec<u8>> = bodies.iter().map(|(_, _, body)| body.clone()).collect();
    let mut seen = std::collections::BTreeMap::<u16, u32>::new();
    for (at, (method, path, _)) in bodies.iter().enumerate() {
        // Each new token costs a slow hash: few of those.
        let share = if path.starts_with("/tokens") { 100 } else { 20 };
        for round in 0..rounds(share) {
            let seed = (at as u64 + 1) << 32 | (round + 1);
            let bent = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1).bend(&all, at);
            let url = format!("{}{path}", aggregator.url);
            let answer = web::request(method.clone(), &url, &[], bent.clone()).await?;
            let status = answer.status.as_u16();
            ensure!(status < 500, "{method} {path} {}: {status} {}", String::from_utf8_lossy(&bent), answer.body);
            if status >= 400 {
                // Somebody has to mend it: it says what is wrong.
                ensure!(!answer.body.is_empty(), "{method} {path}: {status}");
            }
            *seen.entry(status).or_default() += 1;
        }
    }
    println!("{seen:?}");
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}
