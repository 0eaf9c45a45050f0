//! `/write` and InfluxQL `/query`: InfluxDB 1.x, 3.x, a mapped bucket of 2.x, and what imitates them.
//!
//! Line protocol is written here: ids have only letters, digits and `._:/@-`, of which none has to be escaped, and
//! numbers passed the range check. Samples go as they are, rollups beside them, and rollups are what is read back.

use std::io::Write as _;

use anyhow::{Context as _, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use foreshadow_proto::convert::Id;
use http::{Method, StatusCode, header};
use serde_json::Value;

use super::server::{ask, said};
use super::{MEASUREMENT, fields};
use crate::config::InfluxDb;
use crate::store::{Minute, Stored};

/// Where rollups are.
const MINUTES: &str = "foreshadow_minute";
/// Lines in one request: the server's own advice is 5 000 to 10 000.
const LINES_AT_ONCE: usize = 5_000;
/// Rollups are read back in parts of this length, seconds: an answer stays well below the longest.
const PART_SECONDS: i64 = 7 * 86_400;

/// Where in the server. Absent: the database's default policy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub config: &'a InfluxDb,
    pub database: &'a str,
    pub retention_policy: Option<&'a str>,
}

/// A sample as a line of the protocol.
fn sample_line(stored: &Stored) -> String {
    let mut line = format!("{MEASUREMENT},instance={} ", stored.instance);
    let (floats, wholes) = fields(stored);
    for (name, value) in floats {
        line.push_str(&format!("{name}={value},"));
    }
    for (name, value) in wholes {
        line.push_str(&format!("{name}={value}i,"));
    }
    line.truncate(line.len() - 1);
    line.push_str(&format!(" {}", stored.sample.wall_micros));
    line
}

fn minute_line(minute: &Minute) -> String {
    let Minute { group, metric, start, gross_mean, gross_maximum, weight, serving, reporting, lower_bound } = minute;
    format!(
        "{MINUTES},group={group},metric={metric} gross_mean={gross_mean},gross_maximum={gross_maximum},weight={weight},\
         serving={serving}i,reporting={reporting}i,lower_bound={lower_bound} {start}000000"
    )
}

impl Place<'_> {
    /// Whether the database and the policy are there. The inner error is final: it will not pass by itself.
    pub(super) async fn check(self) -> anyhow::Result<Result<(), String>> {
        let names = |answer: &Value| -> Vec<String> {
            let rows = answer["results"][0]["series"][0]["values"].as_array();
            rows.into_iter().flatten().filter_map(|row| row[0].as_str().map(str::to_owned)).collect()
        };
        let (status, answer) = self.query("SHOW DATABASES").await?;
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let told = "token_file, or user and password_file";
            return Ok(Err(format!("store.influxdb: the server lets nobody in by these credentials ({told})")));
        }
        ensure!(status.is_success(), "{} answers {status} to SHOW DATABASES", self.config.url);
        if !names(&answer).iter().any(|name| name == self.database) {
            let make = format!("CREATE DATABASE \"{}\"", self.database);
            return Ok(Err(format!("store.influxdb.database: there is no database {:?}: {make}", self.database)));
        }
        let Some(policy) = self.retention_policy else { return Ok(Ok(())) };
        let (status, answer) = self.query(&format!("SHOW RETENTION POLICIES ON \"{}\"", self.database)).await?;
        ensure!(status.is_success(), "{} answers {status} to SHOW RETENTION POLICIES", self.config.url);
        if names(&answer).iter().any(|name| name == policy) {
            return Ok(Ok(()));
        }
        Ok(Err(format!("store.influxdb.retention_policy: {:?} has no policy {policy:?}", self.database)))
    }

    pub(super) async fn write_samples(self, samples: impl Iterator<Item = &Stored>) -> anyhow::Result<()> {
        self.write(samples.map(sample_line)).await
    }

    pub(super) async fn write_minutes(self, minutes: &[Minute]) -> anyhow::Result<()> {
        self.write(minutes.iter().map(minute_line)).await
    }

    async fn write(self, lines: impl Iterator<Item = String>) -> anyhow::Result<()> {
        let mut path = format!("/write?precision=u&db={}", escaped(self.database));
        if let Some(policy) = self.retention_policy {
            path.push_str(&format!("&rp={}", escaped(policy)));
        }
        let mut lines = lines.peekable();
        while lines.peek().is_some() {
            let mut body = GzEncoder::new(Vec::new(), Compression::fast());
            for line in lines.by_ref().take(LINES_AT_ONCE) {
                body.write_all(line.as_bytes())?;
                body.write_all(b"\n")?;
            }
            let headers = [(header::CONTENT_ENCODING, "gzip"), (header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            let answer = ask(self.config, Method::POST, &path, &headers, body.finish()?).await?;
            let said = said(&answer);
            match answer.status {
                status if status.is_success() => {}
                // It will never take these: what is older than its policy keeps is not waited for.
                StatusCode::BAD_REQUEST if said.contains("points beyond retention policy") => {
                    metrics::counter!("foreshadow_influxdb_dropped_total").increment(1);
                    tracing::warn!(said, "InfluxDB keeps no points that old: they are in the embedded store alone");
                }
                status => bail!("{status}: {said}"),
            }
        }
        Ok(())
    }

    /// Rollups with `from <= start < to` (s), of all groups and metrics.
    pub(super) async fn minutes(self, from: i64, to: i64) -> anyhow::Result<Vec<Minute>> {
        let policy = self.retention_policy.map_or_else(String::new, |policy| format!("\"{policy}\"."));
        let mut all = Vec::new();
        let mut begins = from;
        while begins < to {
            let ends = (begins + PART_SECONDS).min(to);
            let query = format!(
                "SELECT gross_mean, gross_maximum, weight, serving, reporting, lower_bound FROM {policy}\"{MINUTES}\" \
                 WHERE time >= {begins}s AND time < {ends}s GROUP BY \"group\", metric"
            );
            let (status, answer) = self.query(&query).await?;
            ensure!(status.is_success(), "{} answers {status} to a query for rollups", self.config.url);
            read_minutes(&answer, &mut all)?;
            begins = ends;
        }
        Ok(all)
    }

    async fn query(self, query: &str) -> anyhow::Result<(StatusCode, Value)> {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("db", self.database), ("epoch", "s"), ("q", query)])
            .finish();
        let headers =
            [(header::CONTENT_TYPE, "application/x-www-form-urlencoded"), (header::ACCEPT, "application/json")];
        let answer = ask(self.config, Method::POST, "/query", &headers, form.into_bytes()).await?;
        let read: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if let Some(error) = read["results"][0]["error"].as_str() {
            bail!("{query:?}: {error}");
        }
        Ok((answer.status, read))
    }
}

fn read_minutes(answer: &Value, all: &mut Vec<Minute>) -> anyhow::Result<()> {
    for series in answer["results"][0]["series"].as_array().into_iter().flatten() {
        let tag = |name: &str| series["tags"][name].as_str().with_context(|| format!("rollups without the tag {name}"));
        let (group, metric) = (Id::new("group", tag("group")?)?, tag("metric")?.to_owned());
        for row in series["values"].as_array().into_iter().flatten() {
            let number =
                |at: usize| row[at].as_f64().with_context(|| format!("a rollup of {group} lacks a field: {row}"));
            let whole = |at: usize| {
                let found = row[at].as_u64().and_then(|found| u32::try_from(found).ok());
                found.with_context(|| format!("a rollup of {group} lacks a field: {row}"))
            };
            all.push(Minute {
                group: group.clone(),
                metric: metric.clone(),
                start: row[0].as_i64().context("a rollup without a time")?,
                gross_mean: number(1)?,
                gross_maximum: number(2)?,
                weight: number(3)?,
                serving: whole(4)?,
                reporting: whole(5)?,
                lower_bound: row[6].as_bool().with_context(|| format!("a rollup of {group} lacks a field: {row}"))?,
            });
        }
    }
    Ok(())
}

fn escaped(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use foreshadow_proto::convert::{Sample, StreamId};

    use super::*;

    #[test]
    fn lines_are_those_of_the_protocol_and_rollups_come_back() {
        let id = |name: &str| Id::new("id", name).expect("an id");
        let sample = Sample {
            sequence: 1,
            wall_micros: 1_800_000_000_000_001,
            monotonic_micros: 1,
            covers_millis: 1_000,
            cpu_percent: Some(12.5),
            cpu_busiest_percent: Some(f64::NAN),
            cpu_steal_percent: None,
            memory_used_bytes: Some(7),
            memory_total_bytes: None,
            network: None,
        };
        let stored = Stored { instance: id("i-1"), stream: StreamId([1; 16]), sample };
        let line = "foreshadow_sample,instance=i-1 cpu_percent=12.5,memory_used_bytes=7i,covers_millis=1000i \
                    1800000000000001";
        assert_eq!(sample_line(&stored), line, "what is no number is not there");
        let minute = Minute {
            group: id("web/1"),
            metric: "cpu".to_owned(),
            start: 1_800_000_000,
            gross_mean: 1.5,
            gross_maximum: 1e-7,
            weight: 2.0,
            serving: 2,
            reporting: 1,
            lower_bound: true,
        };
        let line = "foreshadow_minute,group=web/1,metric=cpu gross_mean=1.5,gross_maximum=0.0000001,weight=2,serving=2i,\
                    reporting=1i,lower_bound=true 1800000000000000";
        assert_eq!(minute_line(&minute), line);
        let answer = serde_json::json!({"results": [{"series": [{"tags": {"group": "web/1", "metric": "cpu"},
            "values": [[1_800_000_000, 1.5, 1e-7, 2, 2, 1, true]]}]}]});
        let mut read = Vec::new();
        read_minutes(&answer, &mut read).expect("reads");
        assert_eq!(read, [minute]);
        let torn = serde_json::json!({"results": [{"series": [{"tags": {"group": "web", "metric": "cpu"},
            "values": [[1_800_000_000, 1.5, null, 2, 2, 1, true]]}]}]});
        assert!(read_minutes(&torn, &mut read).is_err());
        read_minutes(&serde_json::json!({"results": [{}]}), &mut read).expect("nothing is nothing");
    }
}
