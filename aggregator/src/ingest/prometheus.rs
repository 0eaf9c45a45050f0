//! Asks a Prometheus every few seconds for what it scraped, where it cannot write to us by itself.
//!
//! `name{…}[range]` gives the very samples it has, with their own times, and they go the way of what is written by remote write: there
//! once, however often they are asked for. A scrape is seen when it is over, so that the last minute is asked for again;
//! after an outage, on either side, what was missed is asked for part by part, as far as an hour back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::Full;
use rustls::ClientConfig;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::keep::{Keeper, Way};
use super::mapped::{GONE_MILLIS, Left, Tracks};
use super::remote::{Label, TimeSeries, Value};
use crate::config::{self, Mapping};
use crate::exchange::{ExchangeError, exchange, secret, trust};
use crate::identity::{Caller, Role};

/// Its name among what may have a problem.
const NAME: &str = "prometheus";
/// A scrape takes ten seconds unless told, and is seen when it is over; and clocks differ, seconds.
const LATE: i64 = 60;
/// As far back as is asked for, seconds; what is older is imported.
const BACK: i64 = 3_600;
/// As much as is asked for at once, seconds. What is older than this is forgotten between two parts: so much of the one before is
/// asked for again, for a counter says nothing without its last value.
const PART: i64 = GONE_MILLIS / 1_000;
/// Nothing was found for so long: something is wrong, seconds. A scrape is a minute apart unless told.
const NOTHING: i64 = 300;
/// What it says of an error is told this far, letters.
const LONGEST_SAID: usize = 300;
/// One answer takes this long at most …
const DEADLINE: Duration = Duration::from_secs(30);
/// … and all of one part have so many bytes: 2 000 instances of 20 series, every 15 s.
const LONGEST: usize = 64 * 1_024 * 1_024;

/// How far it is known, seconds since the Unix epoch.
#[derive(Debug)]
struct Far {
    /// What was scraped until then is durable.
    known: i64,
    /// When something was found last.
    found: i64,
}

/// An answer has more bytes than are read at once.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the answer has more than the {0} bytes that are left for it: fewer series, or shorter outages")]
struct TooLong(usize);

/// Asks, and keeps what is answered.
#[derive(Debug)]
pub struct Service {
    config: config::Prometheus,
    tracks: Arc<Mutex<Tracks>>,
    keeper: Keeper,
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Service {
    pub const fn new(config: config::Prometheus, tracks: Arc<Mutex<Tracks>>, keeper: Keeper) -> Self {
        Self { config, tracks, keeper, tls: OnceLock::new() }
    }

    pub async fn run(self, shutdown: CancellationToken) {
        let begun = self.keeper.clock.wall_seconds();
        let mut far = Far { known: begun - BACK, found: begun };
        let mut problem = None;
        loop {
            let asked = tokio::select! {
                () = shutdown.cancelled() => return,
                asked = self.catch_up(&mut far) => asked,
            };
            let said = match asked {
                Ok(left) => left,
                Err(error) => Some(format!("{error:#}")),
            };
            metrics::counter!("foreshadow_prometheus_asked_total", "outcome" => if said.is_none() { "answered" } else { "failed" })
                .increment(1);
            // Not again for another number of the same.
            let bare = |said: &Option<String>| said.as_ref().map(|it| it.replace(|at: char| at.is_ascii_digit(), ""));
            if bare(&said) != bare(&problem) {
                match &said {
                    Some(problem) => tracing::warn!(problem, "Prometheus is asked again"),
                    None => tracing::info!("Prometheus answers"),
                }
                self.keeper.timeline.set_problem(NAME, said.clone());
                problem = said;
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(self.config.interval_seconds.into())) => {}
            }
        }
    }

    /// Asks for all since it was known, and moves that as far as what was answered is durable. Gives what was left out, in words.
    async fn catch_up(&self, far: &mut Far) -> anyhow::Result<Option<String>> {
        let now = self.keeper.clock.wall_seconds();
        // A clock that went back has nothing to be asked for yet.
        far.known = far.known.clamp(now - BACK, now);
        far.found = far.found.min(now);
        let mut left = None;
        loop {
            let until = now.min(far.known + PART);
            let again = if until < now { PART } else { LATE.max((now - far.known).min(PART)) };
            let asked = self.ask(far.known - again, until).await;
            // What cannot be had of the past does not keep the present from being known.
            let (found, rest) = match asked {
                Err(error) if until < now && error.is::<TooLong>() => {
                    tracing::warn!(from = far.known, until, "left out: {error:#}");
                    (false, None)
                }
                asked => asked?,
            };
            far.known = until;
            if found {
                far.found = now;
            }
            left = rest.or(left);
            if until == now {
                break;
            }
        }
        ensure!(
            now - far.found < NOTHING,
            "{} has had none of what is mapped for {NOTHING} s: are the labels right, and the exporter?",
            self.config.url
        );
        Ok(left.map(|left| format!("of what {} has is left out: {left}", self.config.url)))
    }

    /// Asks for `(from, until]`; durable on return. Gives whether anything was found, and in words what was left out.
    async fn ask(&self, from: i64, until: i64) -> anyhow::Result<(bool, Option<String>)> {
        let (mut found, mut room) = (Vec::new(), LONGEST);
        let queries: BTreeSet<String> = self
            .config
            .mapped
            .metrics
            .values()
            .map(|mapping| query(mapping, &self.config.labels, until - from))
            .collect();
        for query in queries {
            let body = form_urlencoded::Serializer::new(String::new())
                .extend_pairs([("query", query.as_str()), ("time", &until.to_string())])
                .finish();
            let answer = self.post(body, room).await?;
            room = room.saturating_sub(answer.len());
            // Megabytes of numbers: nobody else waits for them.
            let series = tokio::task::spawn_blocking(move || read(&answer)).await?;
            found.extend(series.with_context(|| query.clone())?);
        }
        let way = Way { tracks: self.tracks.clone(), counted: "foreshadow_prometheus_values_total" };
        let caller = Caller::named(NAME, Role::Operator);
        let read = |tracks: &mut Tracks, now| {
            let mut taken = tracks.take(&found, now);
            // What was asked for before is known.
            taken.left.remove(&Left::OutOfOrder);
            taken
        };
        let rest = self.keeper.take(caller, way, read).await.context("what Prometheus answered")?;
        Ok((!found.is_empty(), rest.said(&[Left::Unmapped]).map(|(_, said)| said)))
    }

    /// An answer of at most so many bytes.
    async fn post(&self, body: String, longest: usize) -> anyhow::Result<Bytes> {
        let url: Uri = format!("{}/api/v1/query", self.config.url.to_string().trim_end_matches('/')).parse()?;
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(body)))?;
        if let Some(file) = &self.config.token_file {
            let token = secret(file, "Bearer ").await.map_err(anyhow::Error::msg)?;
            request.headers_mut().insert(header::AUTHORIZATION, token);
        }
        let trusted = || trust(self.config.ca_file.as_deref()).map(Arc::new).map_err(|error| format!("{error:#}"));
        let tls = || self.tls.get_or_init(trusted).clone();
        let answer = tokio::time::timeout(DEADLINE, exchange(&url, request, tls, longest)).await;
        let answer = answer.with_context(|| format!("{url} did not answer within {} s", DEADLINE.as_secs()))?;
        let answer = answer.map_err(|error| match error {
            ExchangeError::Broken(why) if why.contains("length limit") => anyhow!(TooLong(longest)),
            error => anyhow!(error),
        });
        let answer = answer.with_context(|| url.to_string())?;
        if !answer.status.is_success() {
            let said: Option<Answer> = serde_json::from_slice(&answer.body).ok();
            bail!("{url}: {}: {}", answer.status, short(said.and_then(|said| said.error).as_deref()));
        }
        Ok(answer.body)
    }
}

/// The samples of one metric within so many seconds. Labels with one value alone are asked for; what else there is, is left out here.
fn query(mapping: &Mapping, common: &BTreeMap<String, String>, seconds: i64) -> String {
    let mut matchers: Vec<String> = common.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
    for (labels, operator) in [(&mapping.labels, "="), (&mapping.without, "!=")] {
        for (name, values) in labels {
            if let [value] = values.as_slice() {
                matchers.push(format!("{name}{operator}{}", quoted(value)));
            }
        }
    }
    format!("{}{{{}}}[{seconds}s]", mapping.name, matchers.join(","))
}

/// A string of PromQL. <https://prometheus.io/docs/prometheus/latest/querying/basics/#string-literals>
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if character.is_control() => drop(write!(quoted, "\\u{:04x}", u32::from(character))),
            character => quoted.push(character),
        }
    }
    quoted + "\""
}

#[derive(Debug, Deserialize)]
struct Answer {
    status: String,
    error: Option<String>,
    data: Option<Data>,
}

#[derive(Debug, Deserialize)]
struct Data {
    result: Vec<Ranged>,
}

#[derive(Debug, Deserialize)]
struct Ranged {
    metric: BTreeMap<String, String>,
    /// Seconds since the Unix epoch, and the value as text: it may be no number.
    values: Vec<(f64, String)>,
}

fn read(answer: &[u8]) -> anyhow::Result<Vec<TimeSeries>> {
    let answer: Answer = serde_json::from_slice(answer).context("the answer is not Prometheus's")?;
    ensure!(answer.status == "success", "{}", short(answer.error.as_deref()));
    let ranged = answer.data.context("the answer has no data")?.result;
    ranged.into_iter().map(series).collect()
}

fn short(said: Option<&str>) -> String {
    said.unwrap_or("no reason was given").chars().take(LONGEST_SAID).collect()
}

fn series(ranged: Ranged) -> anyhow::Result<TimeSeries> {
    let labels = ranged.metric.into_iter().map(|(name, value)| Label { name, value }).collect();
    let samples = ranged.values.iter().map(|(at, text)| {
        let value = text.parse().with_context(|| format!("the value {text:?} is no number"))?;
        #[allow(clippy::cast_possible_truncation, reason = "ms since 1970")]
        let timestamp = (at * 1_000.0).round() as i64;
        anyhow::Ok(Value { value, timestamp })
    });
    Ok(TimeSeries { labels, samples: samples.collect::<anyhow::Result<_>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn what_is_asked_for_are_the_samples_of_what_is_mapped() {
        let text = "[prometheus]\nurl = \"http://127.0.0.1:9090\"\nexporter = \"node\"\nlabels = { job = 'a\"b\\' }\n";
        let config = Config::parse("f.toml", text).expect("right").prometheus.expect("there");
        let queries: Vec<_> = config.mapped.metrics.values().map(|it| query(it, &config.labels, 45)).collect();
        assert!(
            queries.contains(&r#"node_cpu_seconds_total{job="a\"b\\",mode="idle"}[45s]"#.to_owned()),
            "{queries:?}"
        );
        assert!(
            queries.contains(&r#"node_network_receive_bytes_total{job="a\"b\\",device!="lo"}[45s]"#.to_owned()),
            "{queries:?}"
        );
        assert_eq!(quoted("a\nb"), "\"a\\u000ab\"");
    }

    #[test]
    fn an_answer_is_read_and_what_is_none_is_told() {
        let told = |text: &str| read(text.as_bytes()).map_err(|error| format!("{error:#}"));
        let read = told(
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"m","job":"web"},
                "values":[[1800000000.123,"1.5"],[1800000015,"NaN"],[1800000030,"+Inf"]]}]}}"#,
        );
        let series = read.expect("read");
        let values: Vec<_> = series[0].samples.iter().map(|sample| (sample.timestamp, sample.value)).collect();
        assert_eq!(values[0], (1_800_000_000_123, 1.5));
        assert!(values[1].1.is_nan() && values[2].1.is_infinite());
        assert_eq!(series[0].labels.iter().map(|label| label.name.as_str()).collect::<Vec<_>>(), ["__name__", "job"]);
        for (text, said) in [
            (r#"{"status":"error","error":"parse error"}"#, "parse error"),
            (r#"{"status":"success"}"#, "no data"),
            ("<html>", "not Prometheus's"),
            (r#"{"status":"success","data":{"result":[{"metric":{},"values":[[1,"x"]]}]}}"#, "\"x\" is no number"),
        ] {
            assert!(told(text).expect_err(text).contains(said), "{text}");
        }
    }
}
