//! One group's round: what was measured goes in, a report with forecast and plan comes out. No IO
//! and no clock, so that the demo's simulated group runs the very same code.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use forecast::events::{self, Occurrence};
use forecast::{Contest, Hour, Options, Pool, Series, Tracker};
use foreshadow_proto::convert::Id;
use foreshadow_proto::v1;
use planner::baseline::{self, Baseline, Doubt, Measured, OfType};
use planner::demand::{Demand, InstanceMode};
use planner::evidence::{Conditions, Evidence, Forecast, ForecastEvent, Inventory, MetricEvidence, WindowMaximum};
use planner::plan::{Memory, Plan};
use planner::policy::{Metric, Policy};

use super::history::History;
use super::learned::{Learned, OfMetric};
use super::raised::{Measured as MeasuredEvents, Raised};
use super::scaler;
use super::standing::{MetricReport, Standing};
use super::{AnswersCapacity, GroupReport, PredictError};
use crate::act::{Planned, Verdict};
use crate::store::Minute;

/// What one group is, measured now.
#[derive(Debug, Clone, Default)]
pub struct Measurements {
    pub inventory: Inventory,
    pub conditions: Conditions,
    /// Present demand by metric with its age in seconds.
    pub present: BTreeMap<Metric, (Demand, u32)>,
    /// What idle and serving instances use, by metric.
    pub idle: BTreeMap<Metric, Measured>,
    /// All groups together, for the checker.
    pub fleet: checker::Fleet,
    /// The source that has the group, and what the group would launch.
    pub source: Option<&'static str>,
    pub version: Option<String>,
}

/// One group between rounds.
#[derive(Debug)]
pub struct GroupRound {
    policy: Policy,
    options: Options,
    pool: Pool,
    simulated: bool,
    metrics: BTreeMap<Metric, MetricRound>,
    events: Arc<[Occurrence]>,
    memory: Memory,
    /// When what was learned was made that is on disk by now.
    kept: Vec<i64>,
}

#[derive(Debug, Default)]
struct MetricRound {
    history: History,
    baseline: Baseline,
    doubt: Option<Doubt>,
    baseline_at: Option<i64>,
    /// What every model said of the past, and what it has earned.
    contest: Option<Contest>,
    /// What the models say by themselves: this is what is scored.
    own: Option<Arc<forecast::Forecast>>,
    /// The same raised by events: this is what is published and planned from.
    raised: Raised,
    /// What past events turned out to be.
    measured_events: MeasuredEvents,
    /// Whether the published intervals held.
    tracker: Tracker,
    /// What they came to lately, for people.
    hours: Arc<[Hour]>,
    /// Why there is no forecast, for people.
    refused: Option<String>,
    /// What stands behind the forecast, for people.
    standing: Option<Arc<Standing>>,
    /// What idle instances use by type, for people.
    idle: Vec<OfType>,
}

impl MetricRound {
    fn forecast(&mut self, closed: i64, pool: &Pool, options: &Options, events: &Arc<[Occurrence]>) {
        self.renew(closed, pool, options, events);
        self.raised.renew(self.own.as_ref(), events);
    }

    fn renew(&mut self, closed: i64, pool: &Pool, options: &Options, events: &[Occurrence]) {
        let begun = closed - closed.rem_euclid(i64::from(options.step_seconds));
        if self.own.as_ref().is_some_and(|forecast| forecast.start >= begun) {
            return;
        }
        let measured = self.history.series(&self.baseline, begun);
        self.settle(&measured, options, events);
        let series = events::ordinary(measured.clone(), events);
        if self.contest.is_none() {
            match Contest::new(pool, options) {
                Ok(contest) => self.contest = Some(contest),
                Err(error) => self.refused = Some(error.to_string()),
            }
        }
        let Some(contest) = &mut self.contest else { return };
        match contest.forecast(&series) {
            Ok(mut forecast) => {
                self.refused = None;
                self.tracker.issue(&mut forecast);
                let standing = contest.champion().map(|champion| Standing::new(&forecast, champion));
                self.standing = standing.map(Arc::new);
                self.own = Some(Arc::new(forecast));
            }
            Err(error) => (self.refused, self.own, self.standing) = (Some(error.to_string()), None, None),
        }
        if let Some(champion) = contest.champion() {
            self.measured_events.next(&measured, events, pool, champion, options);
        }
    }

    /// Tells the tracker what the steps since the last forecast turned out to be. Not those of
    /// events: the models knew nothing of them, and a person's guess is not theirs to answer for.
    fn settle(&mut self, series: &Series, options: &Options, events: &[Occurrence]) {
        let Some(last) = self.own.as_ref().map(|forecast| forecast.start) else { return };
        let steps = series.coarser(options.step_seconds, options.aggregate);
        let day = usize::try_from(DAY_SECONDS / options.step_seconds.max(1)).unwrap_or(usize::MAX);
        for index in 0..steps.values.len() {
            let start = steps.start + i64::from(options.step_seconds) * i64::try_from(index).unwrap_or_default();
            if start >= last
                && !events.iter().any(|event| event.overlaps(start, start + i64::from(options.step_seconds)))
                && let Some(value) = steps.value(index)
            {
                let before = index.checked_sub(day).filter(|before| !steps.is_saturated(*before));
                let day_before = before.and_then(|before| steps.value(before));
                self.tracker.observed(start, value, steps.is_saturated(index), day_before);
            }
        }
        self.hours = self.tracker.hours().into();
    }
}

impl GroupRound {
    pub fn new(policy: Policy, options: Options, simulated: bool, generation: u64) -> Self {
        let metrics = policy.targets.keys().map(|metric| (*metric, MetricRound::default())).collect();
        Self {
            policy,
            options,
            pool: Pool::default(),
            simulated,
            metrics,
            events: Arc::new([]),
            memory: Memory { generation },
            kept: Vec::new(),
        }
    }

    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Lets these models compete instead of those that need nothing but the history.
    ///
    /// What was found out about the old ones speaks until the new ones were tried on the past.
    pub fn set_pool(&mut self, pool: Pool) {
        for round in self.metrics.values_mut() {
            let champion = round.contest.take().and_then(|contest| contest.champion().cloned());
            round.contest = champion.and_then(|champion| Contest::resume(&pool, &self.options, champion).ok());
        }
        self.pool = pool;
    }

    /// Bounds, mode and measured lead times may change at any time; the metrics do not.
    pub fn set_policy(&mut self, policy: Policy) {
        debug_assert!(policy.targets.keys().eq(self.policy.targets.keys()), "metrics are fixed for a run");
        self.policy = policy;
    }

    /// Everything announced for this group, over its history and ahead.
    pub fn announce(&mut self, events: Arc<[Occurrence]>) {
        self.events = events;
    }

    /// Takes minutes in, in any order.
    pub fn take(&mut self, minutes: &[Minute]) {
        for minute in minutes {
            let metric = minute.metric.parse::<Metric>().ok();
            if let Some(round) = metric.and_then(|metric| self.metrics.get_mut(&metric)) {
                round.history.put(minute);
            }
        }
    }

    /// Takes minutes of those whose past this group goes on with, where it has none of its own.
    pub fn follow(&mut self, minutes: &[Minute]) {
        for minute in minutes {
            let metric = minute.metric.parse::<Metric>().ok();
            if let Some(round) = metric.and_then(|metric| self.metrics.get_mut(&metric))
                && !round.history.has(minute.start)
            {
                round.history.put(minute);
            }
        }
    }

    /// The past was changed: what was learned from it is forgotten, the idle baseline, which is measured, is not.
    pub fn forget_past(&mut self) {
        for round in self.metrics.values_mut() {
            let (baseline, doubt, baseline_at) = (round.baseline, round.doubt, round.baseline_at);
            *round = MetricRound { baseline, doubt, baseline_at, ..MetricRound::default() };
        }
        self.kept.clear();
    }

    /// Renews the forecasts whose step has passed: minutes before `closed` are all in. Costs CPU:
    /// run it off the async threads.
    pub fn forecast(&mut self, closed: i64) {
        for round in self.metrics.values_mut() {
            round.forecast(closed, &self.pool, &self.options, &self.events);
        }
    }

    /// Goes on with what forecasts came to before a restart, oldest hour first.
    pub fn remember(&mut self, metric: Metric, hours: &[Hour]) {
        if let Some(round) = self.metrics.get_mut(&metric) {
            round.tracker.remember(hours);
            round.hours = round.tracker.hours().into();
        }
    }

    /// Goes on with what was learned before a restart.
    pub(super) fn go_on(&mut self, learned: BTreeMap<Metric, OfMetric>) {
        for (metric, OfMetric { champion, adaptive }) in learned {
            let Some(round) = self.metrics.get_mut(&metric) else { continue };
            if let Ok(contest) = Contest::resume(&self.pool, &self.options, champion) {
                round.contest = Some(contest);
                round.tracker.go_on(adaptive);
            }
        }
    }

    /// Puts what was learned on disk when the models were judged anew since that was done last.
    pub(super) fn keep_news(&mut self, learned: &Learned, group: &Id) -> io::Result<()> {
        let judged: Vec<i64> = self.learned().map(|(_, learned)| learned.champion.trained_at).collect();
        if judged == self.kept {
            return Ok(());
        }
        self.keep(learned, group)?;
        self.kept = judged;
        Ok(())
    }

    /// Puts what was learned on disk.
    pub(super) fn keep(&self, learned: &Learned, group: &Id) -> io::Result<()> {
        learned.write(group, &self.options, self.learned())
    }

    pub(super) fn learned(&self) -> impl Iterator<Item = (Metric, OfMetric)> {
        self.metrics.iter().filter_map(|(metric, round)| {
            let champion = round.contest.as_ref()?.champion()?.clone();
            Some((*metric, OfMetric { champion, adaptive: round.tracker.adaptive().clone() }))
        })
    }

    /// What forecasts came to in the hours that changed since they were taken last.
    pub fn take_hours(&mut self) -> Vec<(Metric, Hour)> {
        let of = |(metric, round): (&Metric, &mut MetricRound)| {
            let metric = *metric;
            round.tracker.take_hours().into_iter().map(move |hour| (metric, hour))
        };
        self.metrics.iter_mut().flat_map(of).collect()
    }

    /// What the models say of a metric by themselves, events left out.
    pub fn own_forecast(&self, metric: Metric) -> Option<Arc<forecast::Forecast>> {
        self.metrics.get(&metric)?.own.clone()
    }

    /// Takes a forecast that was made from the same history elsewhere, instead of making it: a backtest asks many policies
    /// about one load.
    pub fn give_forecast(&mut self, metric: Metric, made: Option<Arc<forecast::Forecast>>) {
        if let Some(round) = self.metrics.get_mut(&metric) {
            round.own = made;
            round.raised.renew(round.own.as_ref(), &self.events);
        }
    }

    /// Takes an idle baseline that was measured before, points: a restart, or a backtest, does not begin at zero.
    pub fn give_baseline(&mut self, metric: Metric, points: f64) {
        if let Some(round) = self.metrics.get_mut(&metric) {
            round.baseline.points = points;
        }
    }

    /// Plans from what is measured now. `judge` is the checker's word on the steps.
    pub fn run(
        &mut self,
        now: i64,
        measured: Measurements,
        judge: impl FnOnce(&Planned) -> Vec<Verdict>,
    ) -> (Planned, GroupReport) {
        self.move_baselines(now, &measured.idle);
        let (fleet, source, version) = (measured.fleet, measured.source, measured.version.clone());
        let evidence = self.evidence(now, measured);
        let (plan, next) = planner::plan(now, &self.policy, &evidence, &self.memory);
        let memory = std::mem::replace(&mut self.memory, next);
        let hour = (now - 7 * 86_400).div_euclid(3_600) * 3_600;
        let last_week = self
            .metrics
            .iter()
            .filter_map(|(metric, round)| Some((*metric, round.history.highest_gross(hour, hour + 3_600)?)));
        let planned = Planned {
            plan,
            policy: self.policy.clone(),
            last_week: last_week.collect(),
            evidence,
            memory,
            fleet,
            source,
            version,
        };
        let verdicts = judge(&planned);
        let report = self.report(now, planned.evidence.clone(), &planned.plan, &verdicts);
        (planned, report)
    }

    fn move_baselines(&mut self, now: i64, idle: &BTreeMap<Metric, Measured>) {
        for (metric, round) in &mut self.metrics {
            let (Some(found), Some(target)) = (idle.get(metric), self.policy.targets.get(metric)) else { continue };
            // The first reading starts the clock: b never jumps from nothing.
            let last = *round.baseline_at.get_or_insert(now);
            #[allow(clippy::cast_precision_loss, reason = "seconds between rounds")]
            let hours = (now - last).max(0) as f64 / 3_600.0;
            round.idle.clone_from(&found.of_types);
            (round.baseline, round.doubt) = baseline::bounded(&round.baseline, found, *target, hours);
            round.baseline_at = Some(now);
        }
    }

    fn evidence(&self, now: i64, measured: Measurements) -> Evidence {
        let metrics = self.metrics.iter().map(|(metric, round)| {
            let present = measured.present.get(metric);
            let found = MetricEvidence {
                demand: present.map(|(demand, _)| *demand),
                age_seconds: present.map_or(0, |(_, age)| *age),
                highest_lately: round.history.highest_gross(now - i64::from(self.options.step_seconds), now),
                baseline: round.baseline,
                baseline_doubt: round.doubt,
                forecast: round
                    .raised
                    .forecast
                    .as_deref()
                    .map(|forecast| planner_forecast(forecast, &round.raised, &self.policy, now)),
            };
            (*metric, found)
        });
        let metrics = metrics.collect();
        Evidence { inventory: measured.inventory, metrics, conditions: measured.conditions }
    }

    fn report(&self, now: i64, evidence: Evidence, plan: &Plan, verdicts: &[Verdict]) -> GroupReport {
        let count = |mode| {
            let instances = evidence.inventory.instances.iter().filter(|instance| instance.mode == mode).count();
            u32::try_from(instances).unwrap_or(u32::MAX)
        };
        let reporting = evidence.metrics.values().filter_map(|found| found.demand).map(|demand| demand.reporting).max();
        let holds: Vec<String> = plan.holds.iter().map(ToString::to_string).collect();
        let summary = v1::Group {
            name: self.policy.group.clone(),
            mode: self.policy.mode.to_string(),
            warming: count(InstanceMode::Warming),
            serving: count(InstanceMode::Serving),
            draining: count(InstanceMode::Draining),
            shadow: count(InstanceMode::Shadow),
            reporting: reporting.unwrap_or_default(),
            need_now: plan.need_now,
            need_ahead: plan.need_ahead,
            holds: holds.clone(),
            simulated: self.simulated,
        };
        let forecasts = self.metrics.iter().filter_map(|(metric, round)| {
            let forecast = round.raised.forecast.as_deref()?;
            Some((metric.to_string(), self.wire_forecast(*metric, forecast, &round.raised)))
        });
        let measured_events = self.metrics.iter().flat_map(|(metric, round)| {
            round.measured_events.all().into_iter().map(|factor| (metric.to_string(), factor))
        });
        let metrics = self.metrics.iter().map(|(metric, round)| {
            let report = MetricReport {
                target: self.policy.targets.get(metric).copied().unwrap_or_default(),
                // Told by who knows the configuration.
                declared: None,
                standing: round.standing.clone(),
                refused: round.refused.clone(),
                baseline: round.baseline,
                doubt: round.doubt,
                hours: round.hours.clone(),
                idle: round.idle.clone(),
            };
            (metric.to_string(), report)
        });
        let mut shown = serde_json::to_value(plan).unwrap_or_default();
        if let Some(object) = shown.as_object_mut() {
            object.insert("simulated".to_owned(), self.simulated.into());
            object.insert("holds_in_words".to_owned(), holds.into());
            object.insert("verdicts".to_owned(), serde_json::to_value(verdicts).unwrap_or_default());
        }
        GroupReport {
            summary,
            forecasts: forecasts.collect(),
            leads: (self.policy.launch_lead_seconds, self.policy.reattach_lead_seconds),
            measured_events: measured_events.collect(),
            metrics: metrics.collect(),
            newest_minute: self.metrics.get(&Metric::Cpu).and_then(|round| round.history.newest()),
            bounds: (self.policy.minimum, self.policy.maximum),
            confidence: self.policy.confidence,
            plan: Some(Arc::new(shown)),
            evidence: Arc::new(Answers {
                now,
                policy: self.policy.clone(),
                plan: plan.clone(),
                evidence,
                refused: self
                    .metrics
                    .iter()
                    .filter_map(|(metric, round)| Some((*metric, round.refused.clone()?)))
                    .collect(),
                wide: self
                    .metrics
                    .iter()
                    .filter_map(|(metric, round)| {
                        Some((*metric, nearest_wide_coverage(round.raised.forecast.as_deref()?)?.clone()))
                    })
                    .collect(),
                simulated: self.simulated,
            }),
        }
    }

    fn wire_forecast(&self, metric: Metric, forecast: &forecast::Forecast, raised: &Raised) -> v1::Forecast {
        let paths = forecast.levels.iter().zip(&forecast.paths);
        let (measured_coverage, nominal_coverage) = nearest_coverage(forecast);
        let wide = nearest_wide_coverage(forecast);
        v1::Forecast {
            group: self.policy.group.clone(),
            metric: metric.to_string(),
            start_seconds: forecast.start,
            step_seconds: forecast.step_seconds,
            paths: paths.map(|(level, path)| v1::QuantilePath { quantile: *level, demand: path.clone() }).collect(),
            model: forecast.model.clone(),
            trained_seconds: forecast.trained_at,
            trust: forecast.trust.score,
            measured_coverage,
            nominal_coverage,
            simulated: self.simulated,
            events: names(&raised.events),
            wide_measured_coverage: wide.and_then(|wide| wide.measured),
            wide_nominal_coverage: wide.map(|wide| wide.nominal),
        }
    }
}

/// Each name once.
fn names(events: &[ForecastEvent]) -> Vec<String> {
    events.iter().map(|event| event.name.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Coverage of the nearest band that was measured.
fn nearest_coverage(forecast: &forecast::Forecast) -> (Option<f64>, f64) {
    let measured = forecast.coverage.iter().find(|band| band.measured.is_some());
    let band = measured.or_else(|| forecast.coverage.first());
    band.map_or((None, 0.0), |band| (band.measured, band.nominal))
}

/// The same of the wider interval, where it is forecast.
fn nearest_wide_coverage(forecast: &forecast::Forecast) -> Option<&forecast::WideCoverage> {
    let of = || forecast.coverage.iter().filter_map(|band| band.wide.as_ref());
    of().find(|wide| wide.measured.is_some()).or_else(|| of().next())
}

/// The forecast crate's result in the planner's words; the two crates know nothing of each other.
fn planner_forecast(forecast: &forecast::Forecast, raised: &Raised, policy: &Policy, now: i64) -> Forecast {
    let (until, quantile) = (policy.scale_in_until(now), policy.scale_in_quantile());
    let largest = forecast.window_maximum(now.max(forecast.start), until, quantile);
    let (measured_coverage, nominal_coverage) = nearest_coverage(forecast);
    Forecast {
        start: forecast.start,
        step_seconds: forecast.step_seconds,
        levels: forecast.levels.clone(),
        paths: forecast.paths.clone(),
        model: forecast.model.clone(),
        trained_at: forecast.trained_at,
        trust: forecast.trust.score,
        measured_coverage,
        nominal_coverage,
        window_maximum: largest.map(|demand| WindowMaximum { until, quantile, demand }),
        events: raised.events.clone(),
    }
}

/// Capacity questions answered from one round's evidence.
#[derive(Debug)]
struct Answers {
    now: i64,
    policy: Policy,
    plan: Plan,
    evidence: Evidence,
    refused: BTreeMap<Metric, String>,
    /// What the wider interval of each forecast held: no evidence of the plan, but asked for with the need.
    wide: BTreeMap<Metric, forecast::WideCoverage>,
    simulated: bool,
}

/// Below this a time is "now": a question travels for a moment.
const NOW_SLACK_SECONDS: i64 = 300;
const DAY_SECONDS: u32 = 86_400;

impl AnswersCapacity for Answers {
    fn scaled_to(&self, metric: Option<Metric>, confidence: Option<f64>) -> Option<u32> {
        scaler::scaled_to(self.now, &self.policy, &self.plan, &self.evidence, metric, confidence)
    }

    fn capacity_at(
        &self,
        at: Option<i64>,
        confidence: Option<f64>,
    ) -> Result<v1::PredictCapacityResponse, PredictError> {
        let at = at.unwrap_or(self.now);
        let confidence = confidence.unwrap_or(self.policy.confidence);
        if at < self.now - NOW_SLACK_SECONDS {
            return Err(PredictError::Past { at, now: self.now });
        }
        let mut holds: Vec<String> = self.plan.holds.iter().map(ToString::to_string).collect();
        holds.extend(self.refused.iter().map(|(metric, why)| format!("{metric} is not forecast: {why}")));
        let mut metrics = Vec::new();
        let (mut step_seconds, mut trust) = (0, f64::INFINITY);
        let mut events = BTreeSet::new();
        for (metric, target) in &self.policy.targets {
            let Some(found) = self.evidence.metrics.get(metric) else { continue };
            let Some(path) = &found.forecast else {
                trust = 0.0;
                continue;
            };
            if at >= path.until() {
                return Err(PredictError::BeyondHorizon { at, until: path.until() });
            }
            let Some(step) = path.step_of(at) else { continue };
            events.extend(path.events_of(step));
            let need = |demand: f64| planner::plan::need_of(&self.policy, &self.evidence, *metric, *target, demand);
            let Some(demand) = path.demand(step, confidence) else { continue };
            let quantiles = path.levels.iter().filter_map(|level| {
                let demand = path.demand(step, *level)?;
                Some(v1::QuantileDemand { quantile: *level, demand, need: need(demand) })
            });
            let wide = self.wide.get(metric);
            metrics.push(v1::MetricNeed {
                metric: metric.to_string(),
                demand,
                need: need(demand),
                quantiles: quantiles.collect(),
                model: path.model.clone(),
                measured_coverage: path.measured_coverage,
                nominal_coverage: path.nominal_coverage,
                wide_measured_coverage: wide.and_then(|wide| wide.measured),
                wide_nominal_coverage: wide.map(|wide| wide.nominal),
            });
            step_seconds = path.step_seconds;
            trust = trust.min(path.trust);
        }
        // Without a forecast the present need is all that can be said, and only of now.
        let is_now = at <= self.now + NOW_SLACK_SECONDS;
        let ahead = metrics.iter().map(|metric| metric.need).max();
        let need_now = self.plan.need_now;
        let need = if is_now { ahead.max(need_now) } else { ahead };
        let bounded =
            need.map(|need| need.clamp(self.policy.floor(at, at).instances, self.policy.ceiling(at).instances));
        let binding = metrics.iter().max_by(|a, b| a.need.cmp(&b.need).then_with(|| b.metric.cmp(&a.metric)));
        Ok(v1::PredictCapacityResponse {
            group: self.policy.group.clone(),
            at_seconds: at,
            step_seconds,
            confidence,
            need: bounded,
            serving: self.plan.serving,
            need_now,
            binding_metric: binding
                .map(|metric| metric.metric.clone())
                .or_else(|| self.plan.binding.map(|metric| metric.to_string()))
                .unwrap_or_default(),
            trust: if trust.is_finite() { trust } else { 0.0 },
            metrics,
            holds,
            simulated: self.simulated,
            events: events.into_iter().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_planner_is_told_how_large_the_whole_window_may_get() {
        let windows =
            [3_600, 7_200].map(|seconds| forecast::windows::WindowSpread { seconds, scores: vec![0.0, 1.0, 2.0] });
        let made = forecast::Forecast {
            start: 0,
            step_seconds: 300,
            levels: vec![0.05, 0.5, 0.95],
            paths: [8.0, 10.0, 12.0].map(|demand| vec![demand; 288]).to_vec(),
            windows: windows.to_vec(),
            ..forecast::Forecast::default()
        };
        let policy = Policy { shadow_window_seconds: 3_600, launch_lead_seconds: 300, ..Policy::new("web") };
        let told = |of: &forecast::Forecast| planner_forecast(of, &Raised::default(), &policy, 600).window_maximum;
        let largest = told(&made).expect("it was learned");
        assert_eq!((largest.until, largest.quantile), (600 + 3_900, 0.95));
        // Two widths of the interval above the median, where each step alone has twelve.
        assert!((largest.demand - 18.0).abs() < 1e-9, "{largest:?}");
        assert_eq!(told(&forecast::Forecast { windows: Vec::new(), ..made }), None, "the past was too short");
    }
}
