//! A past from InfluxDB by InfluxQL: `/query` is there in 1.x, in 2.x (a mapped bucket) and in 3.x alike.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::minutes::Reading;
use super::server::Server;

/// What stands in a query for the stretch of time that is asked for.
const TIME: &str = "{time}";

/// Which server, and what to ask it.
#[derive(Debug, Clone, clap::Args)]
pub struct InfluxDb {
    #[command(flatten)]
    pub server: Server,
    /// Database, or mapped bucket
    #[arg(long, value_name = "NAME")]
    pub database: String,
    /// InfluxQL for the value, with {time} in its WHERE, one series: SELECT 100 - mean("usage_idle") FROM "cpu" WHERE {time} GROUP BY time(1m)
    #[arg(long, value_name = "INFLUXQL")]
    pub query: String,
    /// The same for how many instances served
    #[arg(long, value_name = "INFLUXQL")]
    pub instances_query: Option<String>,
}

impl InfluxDb {
    /// Both queries must say where the time goes: without it each part would read everything.
    pub fn check(&self) -> Result<()> {
        let queries = [("--query", Some(&self.query)), ("--instances-query", self.instances_query.as_ref())];
        for (flag, query) in queries {
            if let Some(query) = query {
                ensure!(query.matches(TIME).count() == 1, "{flag} {query:?}: needs {TIME} in its WHERE, once");
            }
        }
        Ok(())
    }

    /// Values of the minutes in `[from, to)`.
    pub async fn read(&self, from: i64, to: i64) -> Result<Vec<Reading>> {
        let values = self.ask("--query", &self.query, from, to).await?;
        let instances = match &self.instances_query {
            Some(query) => Some(self.ask("--instances-query", query, from, to).await?),
            None => None,
        };
        let of = |at: i64| instances.as_ref().and_then(|all| all.get(&at).copied());
        Ok(values.iter().map(|(at, value)| Reading { at: *at, value: *value, instances: of(*at) }).collect())
    }

    async fn ask(&self, flag: &str, query: &str, from: i64, to: i64) -> Result<BTreeMap<i64, f64>> {
        let query = query.replace(TIME, &format!("time >= {from}s AND time < {to}s"));
        let form = [("q", query.as_str()), ("db", self.database.as_str()), ("epoch", "s")];
        let answer = self.server.ask("/query", "Token", &form).await?;
        read(&answer).with_context(|| format!("{flag} {query:?}"))
    }
}

/// The one series of an answer: times and the first value beside them.
fn read(answer: &Value) -> Result<BTreeMap<i64, f64>> {
    let result = &answer["results"][0];
    if let Some(error) = answer["error"].as_str().or_else(|| result["error"].as_str()) {
        bail!("{error}");
    }
    ensure!(result.is_object(), "the answer has no results: is this InfluxDB?");
    let series = result["series"].as_array().map(Vec::as_slice).unwrap_or_default();
    ensure!(series.len() <= 1, "gives {} series and must give one: leave tags out of GROUP BY", series.len());
    let mut values = BTreeMap::new();
    for row in series.first().and_then(|series| series["values"].as_array()).into_iter().flatten() {
        let at = row[0].as_i64().context("a time is no number")?;
        // A window without a point is null: it was not measured.
        if let Some(value) = row[1].as_f64() {
            values.insert(at, value);
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_series_is_read_and_empty_windows_are_absent() {
        let answer = json!({"results": [{"statement_id": 0, "series": [
            {"name": "cpu", "columns": ["time", "mean"], "values": [[600, 1.5], [660, null], [720, 2]]}]}]});
        let values: Vec<_> = read(&answer).expect("read").into_iter().collect();
        assert_eq!(values, [(600, 1.5), (720, 2.0)]);
        assert!(read(&json!({"results": [{"statement_id": 0}]})).expect("read").is_empty());
        for wrong in [
            json!({"error": "database not found"}),
            json!({"results": [{"error": "syntax"}]}),
            json!({"results": [{"series": [{}, {}]}]}),
            json!({}),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }
}
