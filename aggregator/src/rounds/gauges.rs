//! What `GET /metrics` says of each group after its round.

use std::collections::{BTreeMap, BTreeSet};

use foreshadow_proto::convert::Id;
use foreshadow_proto::v1;
use metrics::Label;
use planner::hold::Hold;
use planner::plan::Plan;

use super::GroupReport;

/// Of the forecast the step is told that ends this long after its start, seconds.
const HORIZONS: [(&str, u32); 3] = [("1h", 3_600), ("6h", 21_600), ("24h", 86_400)];
/// The levels that are told. All of them, of every step, would be thousands of series a group.
const QUANTILES: [f64; 3] = [0.1, 0.5, 0.9];
const MODES: [&str; 3] = ["observe", "scale-out", "full"];

/// A metric with its labels.
type Series = (&'static str, Vec<(&'static str, String)>);

/// Remembers what was told of each group: what is not known any more is told as `NaN`, for a gauge that nobody sets
/// would keep its last value for ever, and alerts would go by it.
#[derive(Debug, Default)]
pub(super) struct Gauges(BTreeMap<Id, BTreeSet<Series>>);

impl Gauges {
    pub(super) fn tell(&mut self, group: &Id, plan: &Plan, report: &GroupReport) {
        let values = values(group, plan, report);
        for (series, value) in &values {
            set(series, *value);
        }
        let told: BTreeSet<Series> = values.into_iter().map(|(series, _)| series).collect();
        let before = self.0.remove(group).unwrap_or_else(|| {
            // None so far is zero, not nothing.
            metrics::counter!("foreshadow_shadows_released_total", "group" => group.to_string()).increment(0);
            BTreeSet::new()
        });
        for series in before.difference(&told) {
            set(series, f64::NAN);
        }
        self.0.insert(group.clone(), told);
    }

    /// A group that is no more.
    pub(super) fn forget(&mut self, group: &Id) {
        for series in self.0.remove(group).unwrap_or_default() {
            set(&series, f64::NAN);
        }
    }
}

fn set((name, labels): &Series, value: f64) {
    let labels: Vec<Label> = labels.iter().map(|(key, value)| Label::new(*key, value.clone())).collect();
    metrics::gauge!(*name, labels).set(value);
}

#[allow(clippy::cast_precision_loss, reason = "seconds since 1970")]
fn values(group: &Id, plan: &Plan, report: &GroupReport) -> Vec<(Series, f64)> {
    let mut values: Vec<(Series, f64)> = Vec::new();
    let mut tell = |name: &'static str, more: &[(&'static str, &str)], value: f64| {
        let mut labels = vec![("group", group.to_string())];
        labels.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
        values.push(((name, labels), value));
    };
    let summary = &report.summary;
    tell("foreshadow_group_planned_timestamp_seconds", &[], plan.made_at as f64);
    tell("foreshadow_group_serving", &[], f64::from(plan.serving));
    let never_ready = |hold: &Hold| if let Hold::NeverReady { instances, .. } = hold { *instances } else { 0 };
    tell("foreshadow_group_never_ready", &[], f64::from(plan.holds.iter().map(never_ready).sum::<u32>()));
    if let Some(need) = plan.need_now {
        tell("foreshadow_group_need_now", &[], f64::from(need));
    }
    if let Some(need) = plan.need_ahead {
        tell("foreshadow_group_need_ahead", &[], f64::from(need));
    }
    tell("foreshadow_group_reporting", &[], f64::from(summary.reporting));
    tell("foreshadow_group_minimum", &[], f64::from(report.bounds.0));
    tell("foreshadow_group_maximum", &[], f64::from(report.bounds.1));
    let by_mode = [
        ("warming", summary.warming),
        ("serving", summary.serving),
        ("draining", summary.draining),
        ("shadow", summary.shadow),
    ];
    for (mode, count) in by_mode {
        tell("foreshadow_group_instances", &[("mode", mode)], f64::from(count));
    }
    for mode in MODES {
        tell("foreshadow_group_mode", &[("mode", mode)], f64::from(u8::from(summary.mode == mode)));
    }
    for hold in plan.holds.iter().filter_map(word).collect::<BTreeSet<_>>() {
        tell("foreshadow_group_hold", &[("hold", &hold)], 1.0);
    }
    for (change, seconds) in [("launch", report.leads.0), ("reattach", report.leads.1)] {
        tell("foreshadow_lead_seconds", &[("change", change)], f64::from(seconds));
    }
    for needs in &plan.needs {
        let metric = needs.metric.to_string();
        if let Some(demand) = needs.demand {
            tell("foreshadow_demand_points", &[("metric", &metric)], demand);
        }
        tell("foreshadow_idle_baseline_points", &[("metric", &metric)], needs.baseline);
    }
    for (metric, forecast) in &report.forecasts {
        let of = ("metric", metric.as_str());
        tell("foreshadow_forecast_trust", &[of], forecast.trust);
        tell("foreshadow_forecast_trained_timestamp_seconds", &[of], forecast.trained_seconds as f64);
        tell("foreshadow_forecast_coverage_promised_ratio", &[of], forecast.nominal_coverage);
        if let Some(measured) = forecast.measured_coverage {
            tell("foreshadow_forecast_coverage_measured_ratio", &[of], measured);
        }
        if let Some(promised) = forecast.wide_nominal_coverage {
            tell("foreshadow_forecast_wide_coverage_promised_ratio", &[of], promised);
        }
        if let Some(measured) = forecast.wide_measured_coverage {
            tell("foreshadow_forecast_wide_coverage_measured_ratio", &[of], measured);
        }
        for (quantile, horizon, demand) in told_of(forecast) {
            let labels = [of, ("level", quantile.as_str()), ("horizon", horizon)];
            tell("foreshadow_forecast_demand_points", &labels, demand);
        }
    }
    values
}

/// A hold's name, as the API has it.
fn word(hold: &Hold) -> Option<String> {
    Some(serde_json::to_value(hold).ok()?.get("hold")?.as_str()?.to_owned())
}

/// Quantile, horizon and demand of the steps that are told, as far as the forecast reaches.
fn told_of(forecast: &v1::Forecast) -> Vec<(String, &'static str, f64)> {
    let mut told = Vec::new();
    for path in forecast.paths.iter().filter(|path| QUANTILES.iter().any(|level| (level - path.quantile).abs() < 1e-9))
    {
        for (horizon, seconds) in HORIZONS {
            let steps = usize::try_from(seconds / forecast.step_seconds.max(1)).unwrap_or_default();
            if let Some(demand) = steps.checked_sub(1).and_then(|step| path.demand.get(step)) {
                told.push((path.quantile.to_string(), horizon, *demand));
            }
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_that_end_at_a_horizon_are_told_and_none_beyond_the_forecast() {
        let path = |quantile: f64| v1::QuantilePath { quantile, demand: (0..72).map(f64::from).collect() };
        let forecast =
            v1::Forecast { step_seconds: 300, paths: [0.1, 0.25, 0.9].map(path).into(), ..v1::Forecast::default() };
        let told: Vec<_> = told_of(&forecast);
        let told: Vec<_> =
            told.iter().map(|(quantile, horizon, demand)| (quantile.as_str(), *horizon, *demand)).collect();
        assert_eq!(told, [("0.1", "1h", 11.0), ("0.1", "6h", 71.0), ("0.9", "1h", 11.0), ("0.9", "6h", 71.0)]);
    }

    #[test]
    fn a_hold_has_the_name_that_the_api_gives_it() {
        assert_eq!(word(&Hold::Paused).as_deref(), Some("Paused"));
        assert_eq!(word(&Hold::WarmUp { seconds_left: 5 }).as_deref(), Some("WarmUp"));
    }
}
