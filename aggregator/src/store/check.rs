//! Whether a store is whole: the database itself, every blob in it, and that what is held and what is there agree.
//! And a copy of it that was found whole. Both go beside an aggregator that runs.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use foreshadow_proto::convert::{Id, StreamId};
use foreshadow_proto::sequences::Sequences;
use futures::TryStreamExt as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection};

use super::beside::there;
use super::blob::Blob;
use super::checksum::held_from_row;
use super::embedded::{FILE, STREAM_KEPT_MICROS};
use super::{StoreError, Stored, minute, sql};

/// A copy that grows is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Faults told one by one; further ones are only counted.
const TOLD: usize = 100;

/// What was looked at, and what is wrong.
#[derive(Debug, Default)]
pub struct Findings {
    pub ticks: u64,
    pub chunks: u64,
    pub samples: u64,
    pub streams: u64,
    pub minutes: u64,
    /// The first hundred, in words.
    pub faults: Vec<String>,
    pub faults_total: u64,
}

impl Findings {
    pub const fn is_whole(&self) -> bool {
        self.faults_total == 0
    }

    fn fault(&mut self, fault: String) {
        self.faults_total += 1;
        if self.faults.len() < TOLD {
            self.faults.push(fault);
        }
    }
}

/// What of each stream was met, and what of it the store says it holds.
#[derive(Default)]
struct Streams {
    held: HashMap<(Id, StreamId), Sequences>,
    met: HashMap<(Id, StreamId), Sequences>,
    newest: i64,
    /// Streams that are not on record, with their newest sample.
    strange: HashMap<(Id, StreamId), i64>,
}

fn open_error(path: &Path, problem: &dyn std::fmt::Display) -> StoreError {
    StoreError::Open { path: path.display().to_string(), problem: problem.to_string() }
}

async fn connect(file: &Path) -> Result<SqliteConnection, StoreError> {
    there(file)?;
    let connected = SqliteConnectOptions::new().filename(file).read_only(true).connect().await;
    connected.map_err(|error| open_error(file, &error))
}

/// Who is told how much is done, of how much.
pub type Tell<'t> = &'t (dyn Fn(u64, u64) + Sync);

/// Checks the store in a directory, beside an aggregator that may run.
pub async fn check(directory: &Path) -> Result<Findings, StoreError> {
    check_telling(directory, &|_, _| ()).await
}

/// The same, and says how far it is.
pub async fn check_telling(directory: &Path, tell: Tell<'_>) -> Result<Findings, StoreError> {
    check_file(&directory.join(FILE), tell).await
}

async fn check_file(file: &Path, tell: Tell<'_>) -> Result<Findings, StoreError> {
    let mut connection = connect(file).await?;
    let mut findings = Findings::default();
    // One picture: what is folded meanwhile is seen once.
    let mut snapshot = connection.begin().await.map_err(|error| open_error(file, &error))?;
    if let Err(error) = walk(&mut snapshot, &mut findings, tell).await {
        // A page that cannot be read ends the walk; what was found before it counts.
        findings.fault(format!("the database: {error}"));
    }
    Ok(findings)
}

async fn walk(connection: &mut SqliteConnection, findings: &mut Findings, tell: Tell<'_>) -> Result<(), sqlx::Error> {
    let blobs: i64 = sqlx::query_scalar(sql::CHECK_COUNT).fetch_one(&mut *connection).await?;
    let blobs = blobs.unsigned_abs();
    tell(0, blobs);
    for row in sqlx::query("PRAGMA integrity_check(100)").fetch_all(&mut *connection).await? {
        match row.try_get::<&str, _>(0)? {
            "ok" => {}
            problem => findings.fault(format!("the database: {problem}")),
        }
    }
    let mut streams = Streams::default();
    let mut rows = sqlx::query(sql::CHECK_STREAMS).fetch(&mut *connection);
    while let Some(row) = rows.try_next().await? {
        let (instance, stream): (&str, &[u8]) = (row.try_get(0)?, row.try_get(1)?);
        let named = Id::new("instance", instance).ok().zip(StreamId::from_wire(stream).ok());
        let row = row.try_get(2)?;
        let held = named.and_then(|key| held_from_row(&key.0, key.1, row).map(|held| (key, held)));
        match held {
            Some((key, held)) => drop(streams.held.insert(key, held)),
            None => findings.fault(format!("what is held of a stream of {instance} cannot be read")),
        }
        findings.streams += 1;
    }
    drop(rows);
    let mut rows = sqlx::query(sql::CHECK_CHUNKS).fetch(&mut *connection);
    while let Some(row) = rows.try_next().await? {
        findings.chunks += 1;
        tell(findings.chunks, blobs);
        let read = row.try_get(0).map_err(StoreError::from).and_then(|instance| Blob::of_chunk(instance, &row));
        let Some((read, said)) = with_said(read, &row, 3, findings) else { continue };
        let what = read.place.to_string();
        let samples = blob(&read, said, findings);
        meet(&what, &samples, &mut streams, findings);
    }
    drop(rows);
    let rows_up_to: i64 = sqlx::query_scalar(sql::STREAM_ROWS_READ).fetch_one(&mut *connection).await?;
    let mut rows = sqlx::query(sql::CHECK_TICKS).fetch(&mut *connection);
    while let Some(row) = rows.try_next().await? {
        findings.ticks += 1;
        tell(findings.chunks + findings.ticks, blobs);
        let Some((read, said)) = with_said(Blob::of_tick(&row), &row, 1, findings) else { continue };
        let (tick, what): (i64, _) = (row.try_get(0)?, read.place.to_string());
        let samples = blob(&read, said, findings);
        if tick > rows_up_to {
            // It says itself what is held.
            for stored in &samples {
                if let Some(held) = streams.held.get_mut(&(stored.instance.clone(), stored.stream)) {
                    held.insert(stored.sample.sequence);
                }
            }
        }
        meet(&what, &samples, &mut streams, findings);
    }
    drop(rows);
    let mut rows = sqlx::query(sql::CHECK_MINUTES).fetch(&mut *connection);
    while let Some(row) = rows.try_next().await? {
        findings.minutes += 1;
        let key = || Ok::<(&str, &str, i64), sqlx::Error>((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        let Ok((group, metric, start)) = key() else {
            findings.fault("a minute does not say whose it is".to_owned());
            continue;
        };
        match Id::new("group", group) {
            Ok(group) => {
                if let Err(error) = minute::of_row(&group, metric, start, &row) {
                    findings.fault(format!("{}: {error}", minute::named(&group, metric, start)));
                }
            }
            Err(error) => findings.fault(format!("a minute of {start} s: {error}")),
        }
    }
    drop(rows);
    // What is held of a stream is forgotten a while after its last sample; before that it has to be there.
    for ((instance, stream), newest) in &streams.strange {
        if streams.newest - newest < STREAM_KEPT_MICROS {
            findings.fault(format!("stream {stream} of {instance} has samples, and none are held"));
        }
    }
    Ok(())
}

/// A body, and what its row says of it from such a column on: first, last, count. Where one of them cannot be read that is a fault.
fn with_said(
    read: Result<Blob, StoreError>,
    row: &SqliteRow,
    from: usize,
    findings: &mut Findings,
) -> Option<(Blob, (i64, i64, i64))> {
    let number = |index: usize| row.try_get::<i64, _>(from + index).map_err(StoreError::from);
    let both = read.and_then(|read| {
        let said = number(0).and_then(|first| Ok((first, number(1)?, number(2)?)));
        Ok((said.map_err(|error| read.place.named(error))?, read))
    });
    both.map(|(said, read)| (read, said)).map_err(|error| findings.fault(error.to_string())).ok()
}

/// Unpacks a blob and compares it with what its row says of it: first, last, count.
fn blob(read: &Blob, said: (i64, i64, i64), findings: &mut Findings) -> Vec<Stored> {
    let samples = match read.unpack() {
        Ok(samples) => samples,
        Err(error) => {
            findings.fault(error.to_string());
            return Vec::new();
        }
    };
    let what = &read.place;
    let walls = || samples.iter().map(|stored| stored.sample.wall_micros);
    let found = (walls().min().unwrap_or_default(), walls().max().unwrap_or_default(), samples.len());
    if (found.0, found.1, i64::try_from(found.2).unwrap_or(i64::MAX)) != said {
        findings.fault(format!("{what}: its row says (first, last, count) {said:?}, and it has {found:?}"));
    }
    findings.samples += samples.len() as u64;
    samples
}

/// Every sample is there once, and is held.
fn meet(what: &str, samples: &[Stored], streams: &mut Streams, findings: &mut Findings) {
    for stored in samples {
        let key = (stored.instance.clone(), stored.stream);
        let (wall, sequence) = (stored.sample.wall_micros, stored.sample.sequence);
        streams.newest = streams.newest.max(wall);
        match streams.held.get(&key) {
            Some(held) if held.contains(sequence) => {}
            Some(_) => findings.fault(format!("{what}: sample {sequence} of {} is there and not held", key.0)),
            None => {
                let newest = streams.strange.entry(key.clone()).or_insert(wall);
                *newest = wall.max(*newest);
            }
        }
        if !streams.met.entry(key).or_default().insert(sequence) {
            findings.fault(format!("{what}: sample {sequence} of {} is there twice", stored.instance));
        }
    }
}

/// Copies the store of a directory into a file that is not there yet, and checks the copy. An aggregator may write
/// meanwhile: the copy is of one moment. The file appears when it is whole and on the disk, and not before.
pub async fn backup(directory: &Path, to: &Path) -> Result<Findings, StoreError> {
    backup_telling(directory, to, &|_, _| ()).await
}

/// The same, and says how far it is: copying and checking are a half each.
pub async fn backup_telling(directory: &Path, to: &Path, tell: Tell<'_>) -> Result<Findings, StoreError> {
    if to.exists() {
        return Err(open_error(to, &"is there already: a backup overwrites nothing"));
    }
    let file = directory.join(FILE);
    let mut connection = connect(&file).await?;
    let beside: PathBuf = to.with_extension("partial");
    drop(fs::remove_file(&beside));
    let name = beside.to_str().ok_or_else(|| open_error(to, &"is no UTF-8 path"))?;
    let size = fs::metadata(&file).map_or(0, |file| file.len());
    let copying = sqlx::query("VACUUM INTO $1").bind(name).execute(&mut connection);
    let mut look = tokio::time::interval(LOOK_EVERY);
    tokio::pin!(copying);
    let copied = loop {
        tokio::select! {
            copied = &mut copying => break copied,
            // The copy has no gaps: it may end up smaller than what it is of.
            _ = look.tick() => tell(fs::metadata(&beside).map_or(0, |copy| copy.len()).min(size), 2 * size),
        }
    };
    copied.map_err(|error| open_error(&beside, &error))?;
    #[cfg(unix)]
    {
        // Hashes of tokens are in it.
        use std::os::unix::fs::PermissionsExt as _;
        let only_mine = fs::set_permissions(&beside, fs::Permissions::from_mode(0o600));
        only_mine.map_err(|error| open_error(&beside, &error))?;
    }
    let findings = check_file(&beside, &|done, blobs| tell(blobs + done, 2 * blobs)).await?;
    let place = || -> std::io::Result<()> {
        File::open(&beside)?.sync_all()?;
        fs::rename(&beside, to)?;
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
    };
    place().map_err(|error| open_error(to, &error))?;
    Ok(findings)
}
