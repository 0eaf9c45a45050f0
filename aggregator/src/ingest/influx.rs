//! What clients of InfluxDB write: a field of a line is a metric called `measurement.field`, its tags are labels.
//!
//! Lines are read by InfluxData's own crate, as their server reads them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use influxdb_line_protocol::{Error, FieldValue, ParsedLine, parse_lines, split_lines};

use super::mapped::{Counts, Left, Point, Series, Taken, Tracks};

/// No line is longer …
const LINE_BYTES: usize = 64 * 1_024;
/// … nor has more tags.
const MOST_TAGS: usize = 128;
/// Fields of one request that are mapped: 5 000 lines have some 50 000.
pub const MOST_FIELDS: usize = 200_000;
/// Lines that are told of one by one, and how much of each.
const FAULTS_TOLD: usize = 5;
const LONGEST_WHY: usize = 160;

/// A request has more than is taken at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// In what times are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
}

/// The words of both versions, ns where none is said. <https://docs.influxdata.com/influxdb/v1/tools/api/#write-http-endpoint>
const PRECISIONS: [(&str, Precision); 9] = [
    ("ns", Precision::Nanoseconds),
    ("n", Precision::Nanoseconds),
    ("us", Precision::Microseconds),
    ("u", Precision::Microseconds),
    ("µ", Precision::Microseconds),
    ("ms", Precision::Milliseconds),
    ("s", Precision::Seconds),
    ("m", Precision::Minutes),
    ("h", Precision::Hours),
];

impl Precision {
    pub fn from_word(word: &str) -> Option<Self> {
        PRECISIONS.iter().find(|(known, _)| *known == word).map(|(_, precision)| *precision)
    }

    /// ms since the Unix epoch; `None` where no number holds that.
    fn millis(self, at: i64) -> Option<i64> {
        match self {
            Self::Nanoseconds => Some(at.div_euclid(1_000_000)),
            Self::Microseconds => Some(at.div_euclid(1_000)),
            Self::Milliseconds => Some(at),
            Self::Seconds => at.checked_mul(1_000),
            Self::Minutes => at.checked_mul(60_000),
            Self::Hours => at.checked_mul(3_600_000),
        }
    }
}

/// Lines that cannot be read: the first of them, and how many there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Its number from 1, and why.
    pub first: Vec<(usize, String)>,
    pub count: usize,
}

impl Faults {
    fn add(&mut self, line: usize, why: &str) {
        self.count += 1;
        if self.first.len() < FAULTS_TOLD {
            self.first.push((line, why.chars().take(LONGEST_WHY).collect()));
        }
    }
}

/// Takes what can be read of a body, and says which lines cannot. `now` in µs since the epoch: the time of lines that have none.
///
/// # Errors
/// More than [`MOST_FIELDS`] of its fields are mapped: nothing of it is taken.
pub fn take(tracks: &mut Tracks, body: &str, precision: Precision, now: i64) -> Result<(Taken, Faults), TooMany> {
    let (mut fields, mut faults, mut unmapped, mut unusable) = (Vec::new(), Faults::default(), 0, 0);
    let mut names: BTreeMap<String, Arc<str>> = BTreeMap::new();
    let mut name = String::new();
    for (index, text) in split_lines(body).enumerate() {
        let line = match read(text).and_then(|line| line.map(|line| timed(line, precision, now)).transpose()) {
            Ok(None) => continue,
            Ok(Some(line)) => line,
            Err(why) => {
                faults.add(index + 1, &why);
                continue;
            }
        };
        let (at, line) = line;
        let mut tags = None;
        for (key, value) in &line.field_set {
            name.clear();
            name.extend([line.series.measurement.as_str(), ".", key.as_str()]);
            match number(value) {
                _ if !tracks.knows(&name) => unmapped += 1,
                None => unusable += 1,
                Some(_) if fields.len() >= MOST_FIELDS => return Err(TooMany),
                Some(value) => {
                    let tags = tags.get_or_insert_with(|| Arc::new(Tags::of(&line))).clone();
                    let known = names.get(&name).cloned();
                    let name =
                        known.unwrap_or_else(|| names.entry(name.clone()).or_insert(name.as_str().into()).clone());
                    fields.push(Field { name, tags, at, value });
                }
            }
        }
    }
    let mut taken = tracks.take(fields, now);
    taken.leave(Left::Unmapped, unmapped);
    taken.leave(Left::Unusable, unusable);
    Ok((taken, faults))
}

/// One line; `None` for a blank one and a comment.
///
/// # Errors
/// Say what is wrong, at whatever length the line has.
pub fn read(text: &str) -> Result<Option<ParsedLine<'_>>, String> {
    if text.len() > LINE_BYTES {
        return Err(format!("has {} bytes; {LINE_BYTES} at most", text.len()));
    }
    let line = parse_lines(text).next().transpose().map_err(|error| match error {
        Error::GenericParsingError { .. } => "is not measurement,tag=value field=value time".to_owned(),
        error => error.to_string(),
    })?;
    let tags = line.as_ref().and_then(|line| line.series.tag_set.as_ref()).map_or(0, |tags| tags.len());
    if tags > MOST_TAGS { Err(format!("has {tags} tags; {MOST_TAGS} at most")) } else { Ok(line) }
}

fn timed(line: ParsedLine<'_>, precision: Precision, now: i64) -> Result<(i64, ParsedLine<'_>), String> {
    let at = match line.timestamp {
        None => now.div_euclid(1_000),
        Some(at) => {
            precision.millis(at).ok_or_else(|| format!("the time {at} is too large: is the precision right?"))?
        }
    };
    Ok((at, line))
}

/// The number a field is.
#[allow(clippy::cast_precision_loss, reason = "a measurement")]
pub const fn number(value: &FieldValue<'_>) -> Option<f64> {
    match value {
        FieldValue::F64(value) => Some(*value),
        FieldValue::I64(value) => Some(*value as f64),
        FieldValue::U64(value) => Some(*value as f64),
        FieldValue::String(_) | FieldValue::Boolean(_) => None,
    }
}

/// What names the fields of a line, once for all of them.
struct Tags {
    /// In order: a client may write them in any.
    sorted: Vec<(String, String)>,
    hash: u64,
}

impl Tags {
    fn of(line: &ParsedLine<'_>) -> Self {
        let tags = line.series.tag_set.iter().flatten();
        let mut sorted: Vec<_> = tags.map(|(key, value)| (key.to_string(), value.to_string())).collect();
        sorted.sort_unstable();
        let mut hash = DefaultHasher::new();
        sorted.hash(&mut hash);
        Self { sorted, hash: hash.finish() }
    }
}

/// One field of a line.
struct Field {
    name: Arc<str>,
    tags: Arc<Tags>,
    /// ms since the Unix epoch.
    at: i64,
    value: f64,
}

impl Series for Field {
    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn label(&self, name: &str) -> Option<Cow<'_, str>> {
        self.tags.sorted.iter().find(|(key, _)| key == name).map(|(_, value)| Cow::Borrowed(value.as_str()))
    }

    fn identity(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        (&*self.name, self.tags.hash).hash(&mut hash);
        hash.finish()
    }

    fn points(&self) -> impl Iterator<Item = Point> {
        std::iter::once(Point { at: self.at, value: self.value, counts: Counts::FromBeginning(None) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    const NOW: i64 = 1_800_000_000_000_000;

    fn tracks(more: &str) -> Tracks {
        let text = format!("[line_protocol]\nexporter = \"telegraf\"\ngroup_label = \"service\"\n{more}");
        Tracks::new(Config::parse("f.toml", &text).expect("right").line_protocol.expect("there"), "influx")
    }

    fn taken(tracks: &mut Tracks, body: &str) -> Taken {
        let (taken, faults) = take(tracks, body, Precision::Seconds, NOW).expect("not too many");
        assert_eq!(faults, Faults::default(), "{body}");
        taken
    }

    /// What Telegraf writes of a host of which a quarter is idle, this many seconds after the beginning.
    fn host(after: i64) -> String {
        let (at, bytes) = (NOW / 1_000_000 - 600 + after, 1_000 * after);
        format!(
            "cpu,cpu=cpu-total,host=i-1,service=web usage_idle=25,usage_steal=2.5,usage_user=72.5 {at}\n\
             cpu,cpu=cpu0,host=i-1,service=web usage_idle=99,usage_steal=0 {at}\n\
             mem,host=i-1,service=web total=8000i,available=6000i,used=1500i {at}\n\
             net,host=i-1,interface=eth0,service=web bytes_recv={bytes}i,bytes_sent={}i,packets_recv={after}u,packets_sent={after}i {at}\n\
             net,interface=eth1,service=web,host=i-1 bytes_recv={bytes}i,bytes_sent=0i,packets_recv=0i,packets_sent=0i {at}\n\
             net,host=i-1,interface=all,service=web icmp_inmsgs=3i {at}\n",
            bytes / 2
        )
    }

    #[test]
    fn what_telegraf_measures_of_a_host_is_known() {
        let mut tracks = tracks("");
        let first = taken(&mut tracks, &host(0));
        assert!(first.samples.is_empty(), "one reading of a counter says nothing, nor how long a level stands for");
        let second = taken(&mut tracks, &host(10));
        let samples: Vec<_> = second.samples.iter().map(|pushed| &pushed.sample).collect();
        assert_eq!(samples.len(), 3, "processors, memory, network");
        let cpu = samples.iter().find_map(|sample| Some((sample.cpu_percent?, sample.cpu_steal_percent?)));
        assert_eq!(cpu, Some((75.0, 2.5)));
        let memory = samples.iter().find_map(|sample| Some((sample.memory_used_bytes?, sample.memory_total_bytes?)));
        assert_eq!(memory, Some((2_000, 8_000)));
        let network = samples.iter().find_map(|sample| sample.network).expect("the network");
        assert_eq!(
            (network.in_bytes, network.out_bytes, network.in_packets, network.out_packets),
            (2_000.0, 500.0, 1.0, 1.0),
            "of all its cards"
        );
        assert!(samples.iter().all(|sample| sample.covers_millis == 10_000));
        assert_eq!(
            second.claims.iter().map(|(it, of)| (it.as_str(), of.as_str())).collect::<Vec<_>>(),
            [("i-1", "web")]
        );
        // What is used as Telegraf has it, what users take, each processor by itself, and messages of ICMP.
        assert_eq!(second.left.into_iter().collect::<Vec<_>>(), [(Left::Unmapped, 5)]);
        assert_eq!(taken(&mut tracks, &host(10)).samples, second.samples, "sent again it makes the same again");
    }

    #[test]
    fn a_metric_of_ones_own_comes_as_a_field() {
        let own = "[line_protocol.metric.\"jobs.waiting\"]\ngives = \"queue\"\nlabels = { state = \"ready\" }\n\
            [metric.queue]\nof = \"group\"\n";
        let mut tracks = tracks(own);
        let jobs = |second: i64, waiting: &str| {
            let at = NOW / 1_000_000 + second;
            format!(
                "jobs,service=my\\ web,state=ready,app=a waiting={waiting} {at}\njobs,app=a,state=ready,service=web waiting={waiting} {at}"
            )
        };
        assert_eq!(taken(&mut tracks, &jobs(-20, "7")).told, [], "one reading of a level says not how long it stands");
        let told = taken(&mut tracks, &jobs(-10, "12i"));
        assert_eq!(told.left.into_iter().collect::<Vec<_>>(), [(Left::Unnamed, 1)], "no name of a group has a space");
        let told: Vec<_> = told.told.iter().map(|it| (it.metric.as_str(), it.group.as_deref(), it.value)).collect();
        assert_eq!(told, [("queue", Some("web"), 12.0)]);
        let word = taken(&mut tracks, &jobs(0, "\"many, of them\""));
        assert_eq!((word.told.len(), word.left[&Left::Unusable]), (0, 2));
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named_and_the_others_count() {
        let mut tracks = tracks("");
        let at = NOW / 1_000_000;
        let body = format!(
            "# a comment\n\nmem,host=i-1 total=8000i,available=6000i {}\nmem,host=i-1 total=8000i,available= {at}\n\
             mem,host=i-1\nmem,host=i-1 total=NaN {at}\nmem,host=i-1 total=1i {}\nmem,host=i-1 total=8000i,available=6000i\n",
            at - 10,
            i64::MAX
        );
        // Without a time it is of now; without a group's name, unnamed.
        let (taken, faults) = take(&mut tracks, &body, Precision::Seconds, NOW).expect("not too many");
        assert_eq!(taken.left.into_iter().collect::<Vec<_>>(), [(Left::Unnamed, 4)]);
        let told: Vec<_> = faults.first.iter().map(|(line, why)| (*line, why.as_str())).collect();
        assert_eq!(told.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [4, 5, 6, 7]);
        assert!(told[0].1.contains("trailing content"), "{told:?}");
        assert_eq!(
            (told[1].1, told[2].1),
            ("is not measurement,tag=value field=value time", "No fields were provided")
        );
        assert!(told[3].1.contains("is the precision right?"), "{told:?}");
    }

    #[test]
    fn what_is_sent_is_bounded_line_by_line_and_altogether() {
        let mut tracks = tracks("");
        let mut faults = |body: &str| {
            let (taken, faults) = take(&mut tracks, body, Precision::Seconds, NOW).expect("not too many");
            (taken.left.values().sum::<u64>(), faults)
        };
        let tags = |count: usize| format!("mem{} total=1\n", ",a=b".repeat(count));
        assert_eq!(faults(&tags(MOST_TAGS)), (1, Faults::default()), "unnamed, and read");
        let (_, found) = faults(&tags(MOST_TAGS + 1));
        assert_eq!(found.first, [(1, "has 129 tags; 128 at most".to_owned())]);
        let (_, found) = faults(&format!("mem total=1,{}\n", "x".repeat(LINE_BYTES)));
        assert!(found.first[0].1.ends_with("65536 at most"), "{found:?}");
        let (_, found) = faults(&"x\n".repeat(1_000));
        assert_eq!((found.count, found.first.len()), (1_000, FAULTS_TOLD));
        let (_, found) = faults(&format!("mem total=1 1 {}\n", "y".repeat(10_000)));
        assert_eq!(found.first[0].1.chars().count(), LONGEST_WHY, "{found:?}");
        let many = "mem,host=i-1,service=web total=1\n".repeat(MOST_FIELDS + 1);
        assert!(take(&mut tracks, &many, Precision::Seconds, NOW).is_err());
        assert_eq!(tracks.followed(), 0, "nothing of it");
    }

    #[test]
    fn times_are_read_in_any_precision() {
        let ms = |word: &str, at: i64| Precision::from_word(word).expect(word).millis(at);
        assert_eq!([ms("ns", 1_999_999), ms("n", -1), ms("us", 1_999), ms("u", 1_000)], [1, -1, 1, 1].map(Some));
        assert_eq!([ms("µ", 1_000), ms("ms", 7), ms("s", 7), ms("m", 2)], [1, 7, 7_000, 120_000].map(Some));
        assert_eq!([ms("h", 1), ms("h", i64::MAX)], [Some(3_600_000), None]);
        assert_eq!(Precision::from_word("d"), None);
    }

    proptest! {
        #[test]
        fn no_body_panics(body in "[ -~\n\u{e9}]{0,300}") {
            drop(take(&mut tracks(""), &body, Precision::Nanoseconds, NOW));
            drop(take(&mut tracks(""), &format!("mem,host=i-1,service=web total={body}"), Precision::Hours, NOW));
        }
    }
}
