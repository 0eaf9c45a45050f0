//! What was learned of a group's past, on disk: which models have earned which share, how their errors are spread, and what
//! calibration learned live. A file per group beside the store, replaced whole.
//!
//! A restart forecasts at once with it; without it the past is asked anew, which costs seconds of CPU for every metric. It is no
//! more than that: a file that is damaged, of another version, made for other options or too old is passed over with a line in
//! the log, and nothing fails because of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};
use std::{fs, io};

use forecast::{Adaptive, Champion, Options};
use foreshadow_proto::convert::Id;
use planner::policy::Metric;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::identity::hex;

/// Counted up when what is kept changes its meaning.
const FORMAT: &str = "foreshadow learned 1";
/// What is older says little about which model is right now, seconds.
const OLDEST_SECONDS: i64 = 7 * 86_400;
/// Nobody's file is larger; what claims to be is not read.
const LARGEST_BYTES: u64 = 16 << 20;

/// What was learned of one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfMetric {
    pub champion: Champion,
    pub adaptive: Adaptive,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    group: String,
    options: Options,
    metrics: BTreeMap<String, OfMetric>,
}

/// Reads and writes the files. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Learned(PathBuf);

impl Learned {
    /// In this directory, which is made with the first file.
    pub const fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Names of groups have slashes, and some differ in nothing but large letters.
    fn path(&self, group: &Id) -> PathBuf {
        self.0.join(format!("{}.learned", hex(&Sha256::digest(group.as_str())[..16])))
    }

    /// Replaces what is kept of a group. A crash of the machine may leave a damaged file: that is found out when it is read.
    pub(super) fn write(
        &self,
        group: &Id,
        options: &Options,
        metrics: impl Iterator<Item = (Metric, OfMetric)>,
    ) -> io::Result<()> {
        let metrics = metrics.map(|(metric, learned)| (metric.to_string(), learned)).collect();
        let content = Content { group: group.to_string(), options: options.clone(), metrics };
        let content = serde_json::to_string(&content)?;
        let text = format!("{FORMAT}\n{}\n{content}", hex(&Sha256::digest(&content)));
        fs::create_dir_all(&self.0)?;
        let path = self.path(group);
        let beside = path.with_extension("new");
        fs::write(&beside, text)?;
        fs::rename(&beside, path)
    }

    /// What is kept of a group, as far as it is of use.
    pub(super) fn read(&self, group: &Id, options: &Options, now: i64) -> BTreeMap<Metric, OfMetric> {
        let path = self.path(group);
        match read(&path, group, options) {
            Ok(Some(metrics)) => {
                let known = metrics.into_iter().filter_map(|(metric, kept)| Some((metric.parse().ok()?, kept)));
                // What was made after now was made by another clock.
                known.filter(|(_, kept)| (0..=OLDEST_SECONDS).contains(&(now - kept.champion.trained_at))).collect()
            }
            Ok(None) => BTreeMap::new(),
            Err(why) => {
                let path = path.display();
                tracing::warn!(%group, %path, %why, "what was learned of its past is passed over and learned anew");
                BTreeMap::new()
            }
        }
    }

    /// Drops the files of groups that were not seen for long.
    pub(super) fn expire(&self, now: i64) -> io::Result<()> {
        let Ok(files) = fs::read_dir(&self.0) else { return Ok(()) };
        let oldest = UNIX_EPOCH + Duration::from_secs(u64::try_from(now - OLDEST_SECONDS).unwrap_or_default());
        for file in files {
            let file = file?;
            let ours = file.path().extension().is_some_and(|kind| kind == "learned" || kind == "new");
            if ours && file.metadata()?.modified()? < oldest {
                fs::remove_file(file.path())?;
            }
        }
        Ok(())
    }
}

/// `None` where nothing is kept; otherwise the content, or why it is of no use.
fn read(path: &Path, group: &Id, options: &Options) -> Result<Option<BTreeMap<String, OfMetric>>, String> {
    let bytes = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
        Ok(metadata) => metadata.len(),
    };
    if bytes > LARGEST_BYTES {
        return Err(format!("{bytes} bytes are too many"));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let mut parts = text.splitn(3, '\n');
    let (format, sum, content) = (parts.next(), parts.next(), parts.next());
    if format != Some(FORMAT) {
        return Err("it is of another version".to_owned());
    }
    let content = content.unwrap_or_default();
    if sum != Some(hex(&Sha256::digest(content)).as_str()) {
        return Err("it is damaged".to_owned());
    }
    let content: Content = serde_json::from_str(content).map_err(|error| error.to_string())?;
    if content.group != group.as_str() {
        return Err("it is of another group".to_owned());
    }
    if content.options != *options {
        return Err("it was made for other options".to_owned());
    }
    Ok(Some(content.metrics))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::GroupRound;
    use crate::store::Minute;
    use planner::policy::Policy;

    const DAY: i64 = 86_400;
    const END: i64 = 20 * DAY + 3_600;

    fn web() -> Id {
        Id::new("group", "apps/web").expect("an id")
    }

    /// A round with its past, which has said nothing yet.
    fn opened() -> GroupRound {
        let mut round = GroupRound::new(Policy::new("apps/web"), Options::default(), false, 0);
        round.set_pool(forecast::Pool::default());
        let gross = |start: i64| {
            let phase = start.rem_euclid(DAY) as f64 / DAY as f64 * std::f64::consts::TAU;
            100.0 + 50.0 * phase.sin() + (start / 60 * 7_919 % 101) as f64 / 10.0
        };
        let minute = |start| Minute {
            group: web(),
            metric: "cpu".to_owned(),
            start,
            gross_mean: gross(start),
            gross_maximum: gross(start),
            weight: 4.0,
            serving: 4,
            reporting: 4,
            lower_bound: false,
        };
        round.take(&(5 * DAY..END + 7_200).step_by(60).map(minute).collect::<Vec<_>>());
        round
    }

    fn paths(round: &GroupRound) -> Vec<f64> {
        round.own_forecast(Metric::Cpu).expect("a forecast").paths.concat()
    }

    #[test]
    fn a_restart_forecasts_at_once_and_says_the_same() {
        let directory = tempfile::tempdir().expect("a directory");
        let (learned, mut before) = (Learned::new(directory.path().join("learned")), opened());
        (0..24).for_each(|step| before.forecast(END + 300 * step));
        let now = END + 300 * 23;
        before.keep(&learned, &web()).expect("written");
        let trained_at = before.own_forecast(Metric::Cpu).expect("a forecast").trained_at;

        let mut after = opened();
        after.go_on(learned.read(&web(), &Options::default(), now));
        after.forecast(now);
        assert_eq!(paths(&before).len(), paths(&after).len());
        for (a, b) in paths(&before).iter().zip(paths(&after)) {
            assert!((a - b).abs() <= 1e-9 * a.abs(), "{a} {b}");
        }
        // What calibration learned live is among it.
        let mut models_alone = opened();
        models_alone.forecast(now);
        assert!(paths(&before).iter().zip(paths(&models_alone)).any(|(a, b)| (a - b).abs() > 1e-3 * a.abs()));
        // Hours later it is not judged anew before it speaks.
        let mut later = opened();
        later.go_on(learned.read(&web(), &Options::default(), now));
        later.forecast(now + 7_200);
        assert_eq!(later.own_forecast(Metric::Cpu).expect("a forecast").trained_at, trained_at);
        let mut anew = opened();
        anew.forecast(now + 7_200);
        assert!(anew.own_forecast(Metric::Cpu).expect("a forecast").trained_at > trained_at);
    }

    #[test]
    fn what_is_damaged_foreign_or_old_is_passed_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let (learned, mut round) = (Learned::new(directory.path().to_owned()), opened());
        round.forecast(END);
        round.keep(&learned, &web()).expect("written");
        let read = |group: &Id, options: &Options, now| learned.read(group, options, now).len();
        let options = Options::default();
        assert_eq!(read(&web(), &options, END), 1);
        assert_eq!(read(&Id::new("group", "apps/other").expect("an id"), &options, END), 0, "nothing is kept of it");
        assert_eq!(read(&web(), &Options { history_seconds: 30 * 86_400, ..options.clone() }, END), 0);
        assert_eq!(read(&web(), &options, END + 8 * DAY), 0, "too old");
        assert_eq!(read(&web(), &options, END - DAY), 0, "made by another clock");
        let path = learned.path(&web());
        let whole = fs::read_to_string(&path).expect("read");
        let changed = whole.replacen("\"weights\":[", "\"weights\":[1", 1);
        assert_ne!(changed, whole);
        let other = learned.path(&Id::new("group", "apps/other").expect("an id"));
        fs::copy(&path, &other).expect("copied");
        assert_eq!(read(&Id::new("group", "apps/other").expect("an id"), &options, END), 0, "it is of another group");
        for foreign in [
            whole.replacen("learned 1", "learned 2", 1),
            changed,
            whole[..whole.len() / 2].to_owned(),
            String::new(),
            "\u{0}".repeat(100),
        ] {
            fs::write(&path, &foreign).expect("written");
            assert_eq!(read(&web(), &options, END), 0, "{}", &foreign[..foreign.len().min(40)]);
        }
        fs::write(&path, [0xff, 0xfe]).expect("written");
        assert_eq!(read(&web(), &options, END), 0);
        // The next one replaces it.
        round.keep(&learned, &web()).expect("written");
        assert_eq!(read(&web(), &options, END), 1);
        // The file system's clock says when it was written: long after all that was said here.
        learned.expire(END).expect("looked at");
        assert!(path.exists());
        learned.expire(i64::from(u32::MAX)).expect("dropped");
        assert!(!path.exists());
    }
}
