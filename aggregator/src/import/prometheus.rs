//! A past from Prometheus, or what speaks its query API (Thanos, Mimir, VictoriaMetrics).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::minutes::Reading;
use super::server::Server;

/// One question a minute: Prometheus refuses more than 11 000 points at once, and four days are 5 760.
const STEP: i64 = 60;

/// Which server, and what to ask it.
#[derive(Debug, Clone, clap::Args)]
pub struct Prometheus {
    #[command(flatten)]
    pub server: Server,
    /// PromQL for the value, one series: avg(100 - 100 * rate(node_cpu_seconds_total{mode="idle",job="web"}[1m]))
    #[arg(long, value_name = "PROMQL")]
    pub query: String,
    /// PromQL for how many instances served, one series: count(up{job="web"} == 1)
    #[arg(long, value_name = "PROMQL")]
    pub instances_query: Option<String>,
}

impl Prometheus {
    /// Values of the minutes in `[from, to)`. A minute is asked for at its end: `rate(…[1m])` looks back.
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
        // The grid of times is that of whole minutes, whatever part is asked for.
        let (start, end, step) = ((from + STEP).to_string(), to.to_string(), STEP.to_string());
        let form = [("query", query), ("start", &start), ("end", &end), ("step", &step)];
        let answer = self.server.ask("/api/v1/query_range", "Bearer", &form).await?;
        read(&answer).with_context(|| format!("{flag} {query:?}"))
    }
}

/// The one series of an answer, by the start of its minutes.
fn read(answer: &Value) -> Result<BTreeMap<i64, f64>> {
    ensure!(answer["status"] == "success", "{}", answer["error"].as_str().unwrap_or("no reason was given"));
    let result = answer["data"]["result"].as_array().context("the answer has no result: is this Prometheus?")?;
    if result.len() > 1 {
        bail!("gives {} series and must give one: wrap it in avg(…) or sum(…)", result.len());
    }
    let mut values = BTreeMap::new();
    for pair in result.first().and_then(|series| series["values"].as_array()).into_iter().flatten() {
        let at = pair[0].as_f64().context("a time is no number")?;
        let value: f64 = pair[1].as_str().and_then(|text| text.parse().ok()).context("a value is no number")?;
        // Nothing divided by nothing was not measured.
        if value.is_finite() {
            #[allow(clippy::cast_possible_truncation, reason = "seconds since 1970")]
            values.insert(at as i64 - STEP, value);
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_series_is_read_and_what_is_not_a_number_is_absent() {
        let answer = json!({"status": "success", "data": {"resultType": "matrix", "result": [
            {"metric": {}, "values": [[660, "1.5"], [720.0, "NaN"], [780, "+Inf"], [840, "2"]]}]}});
        let values: Vec<_> = read(&answer).expect("read").into_iter().collect();
        assert_eq!(values, [(600, 1.5), (780, 2.0)]);
        let empty = json!({"status": "success", "data": {"result": []}});
        assert!(read(&empty).expect("read").is_empty());
        let two = json!({"status": "success", "data": {"result": [{"values": []}, {"values": []}]}});
        assert!(read(&two).expect_err("refused").to_string().contains("avg("));
        assert!(read(&json!({"status": "error", "error": "parse error"})).is_err());
        assert!(read(&json!({"hello": 1})).is_err());
    }
}
