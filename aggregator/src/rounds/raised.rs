//! What events do to the forecast of one metric: it is raised where they take place, and what they
//! really were is measured once they are over.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use forecast::events::{self, Occurrence};
use forecast::{Champion, Forecast, Options, Pool, Series};
use planner::evidence::ForecastEvent;

/// Of a forecast made before an event, this much is compared with what came: beyond a day nothing
/// says much.
const COMPARED_SECONDS: i64 = 86_400;

/// The published forecast: the models' own, raised.
#[derive(Debug, Default)]
pub struct Raised {
    /// What it was made from.
    from: Option<(Arc<Forecast>, Arc<[Occurrence]>)>,
    pub forecast: Option<Arc<Forecast>>,
    pub events: Vec<ForecastEvent>,
}

impl Raised {
    /// Follows the models' own forecast and the events; does nothing while neither changed.
    pub fn renew(&mut self, own: Option<&Arc<Forecast>>, occurrences: &Arc<[Occurrence]>) {
        let Some(own) = own else {
            *self = Self::default();
            return;
        };
        if self.from.as_ref().is_some_and(|(made, of)| Arc::ptr_eq(made, own) && Arc::ptr_eq(of, occurrences)) {
            return;
        }
        let (start, end) = (own.start, own.end());
        let raises = |event: &&Occurrence| !event.deleted && event.overlaps(start, end);
        let here: Vec<Occurrence> = occurrences.iter().filter(raises).cloned().collect();
        self.forecast = Some(if here.is_empty() { own.clone() } else { Arc::new(events::raise(own, &here)) });
        let event =
            |event: Occurrence| ForecastEvent { name: event.name.to_string(), from: event.rises, until: event.ends };
        self.events = here.into_iter().map(event).collect();
        self.from = Some((own.clone(), occurrences.clone()));
    }
}

/// Demand of a past occurrence over what had been forecast without it.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasuredFactor {
    pub event: i64,
    /// Start of the occurrence, seconds since the Unix epoch.
    pub starts: i64,
    pub factor: f64,
    /// An instance was saturated or silent meanwhile: demand was at least this.
    pub at_least: bool,
}

/// What past occurrences turned out to be. `None`: looked at, and it cannot be told.
#[derive(Debug, Default)]
pub struct Measured(BTreeMap<(i64, i64), Option<MeasuredFactor>>);

impl Measured {
    pub fn all(&self) -> Vec<MeasuredFactor> {
        self.0.values().flatten().cloned().collect()
    }

    /// Measures one occurrence that is over and was not looked at yet, the newest first: it takes a
    /// forecast, so one a step is enough. `series` is net demand as it was.
    pub fn next(
        &mut self,
        series: &Series,
        occurrences: &[Occurrence],
        pool: &Pool,
        champion: &Champion,
        options: &Options,
    ) {
        let known = |event: &Occurrence| (event.event, event.starts);
        // What is too old or was deleted is forgotten.
        let there: HashSet<(i64, i64)> = occurrences.iter().map(known).collect();
        self.0.retain(|key, _| there.contains(key));
        let over = occurrences.iter().filter(|event| event.ends <= series.end() && event.rises > series.start);
        let newest = over.filter(|event| !self.0.contains_key(&known(event))).max_by_key(|event| event.starts);
        if let Some(event) = newest {
            self.0.insert(known(event), measure(event, series, occurrences, pool, champion, options));
        }
    }
}

/// The mean demand of the steps that lie within the occurrence, over the mean of the medians that a
/// forecast from what was known when demand began to climb has for them. `None` when another event
/// was on, when less than half of it was observed, or when there was no forecast then.
fn measure(
    event: &Occurrence,
    series: &Series,
    occurrences: &[Occurrence],
    pool: &Pool,
    champion: &Champion,
    options: &Options,
) -> Option<MeasuredFactor> {
    let others = occurrences.iter().filter(|other| other.event != event.event || other.starts != event.starts);
    if others.clone().any(|other| other.overlaps(event.rises, event.ends)) {
        return None;
    }
    let step = i64::from(options.step_seconds);
    let known = events::ordinary(series.before(event.rises), occurrences);
    let until = event.ends.min(event.rises.saturating_add(COMPARED_SECONDS));
    let horizon_steps = usize::try_from((until - event.rises).div_euclid(step) + 2).ok()?;
    let made = forecast::forecast_from(pool, &known, champion, &Options { horizon_steps, ..options.clone() }).ok()?;
    let steps = series.coarser(options.step_seconds, options.aggregate);
    let (mut came, mut expected, mut seen, mut all, mut at_least) = (0.0, 0.0, 0_u32, 0_u32, false);
    for index in 0..steps.values.len() {
        let from = steps.start + step * i64::try_from(index).ok()?;
        if from < event.starts || from + step > until {
            continue;
        }
        all += 1;
        if let (Some(value), Some(median)) = (steps.value(index), made.at(from, 0.5)) {
            came += value;
            expected += median;
            seen += 1;
            at_least |= steps.is_saturated(index);
        }
    }
    let factor = came / expected;
    let told = seen > 0 && seen * 2 >= all && expected > 0.0 && factor.is_finite();
    told.then_some(MeasuredFactor { event: event.event, starts: event.starts, factor, at_least })
}

#[cfg(test)]
mod tests {
    use foreshadow_proto::convert::Id;
    use planner::policy::{Metric, Policy};

    use super::*;
    use crate::rounds::{GroupRound, Measurements};
    use crate::store::Minute;

    const DAY: i64 = 86_400;

    fn sale(event: i64, starts: i64, ends: i64) -> Occurrence {
        Occurrence { event, name: "sale".into(), rises: starts, starts, ends, intensity: 2.0, deleted: false }
    }

    /// Four days of minutes with a daily shape; three and a half times the load in the sale.
    fn history(sale: &Occurrence) -> Series {
        let value = |minute: i64| {
            let turn = std::f64::consts::TAU * (minute % 1_440) as f64 / 1_440.0;
            let factor = if (sale.starts..sale.ends).contains(&(minute * 60)) { 3.5 } else { 1.0 };
            Some(factor * (100.0 + 40.0 * turn.sin() + (minute * 7_919 % 13) as f64))
        };
        Series::new(0, 60, (0..4 * 1_440).map(value).collect())
    }

    fn champion(series: &Series, events: &[Occurrence]) -> Champion {
        forecast::select(&events::ordinary(series.clone(), events), &Options::default()).expect("a champion")
    }

    #[test]
    fn an_event_that_is_over_is_measured_once() {
        let event = sale(1, 3 * DAY + 36_000, 3 * DAY + 43_200);
        let series = history(&event);
        let events = [event.clone(), sale(2, 9 * DAY, 9 * DAY + 60)];
        let champion = champion(&series, &events);
        let mut measured = Measured::default();
        for _ in 0..3 {
            measured.next(&series, &events, &Pool::default(), &champion, &Options::default());
        }
        let found = measured.all();
        assert_eq!(found.len(), 1, "what is to come is not measured: {found:?}");
        assert_eq!((found[0].event, found[0].starts, found[0].at_least), (1, event.starts, false));
        assert!((found[0].factor - 3.5).abs() < 0.2, "{found:?}");
        measured.next(&series, &[], &Pool::default(), &champion, &Options::default());
        assert!(measured.all().is_empty(), "what is no more is forgotten");
    }

    #[test]
    fn what_cannot_be_told_is_not_made_up() {
        let event = sale(1, 3 * DAY + 36_000, 3 * DAY + 43_200);
        let mut series = history(&event);
        let two = [event, sale(2, 3 * DAY + 40_000, 3 * DAY + 41_000)];
        let champion = champion(&series, &two);
        let measure = |series: &Series, events: &[Occurrence]| {
            let mut measured = Measured::default();
            (0..3).for_each(|_| measured.next(series, events, &Pool::default(), &champion, &Options::default()));
            measured.all()
        };
        assert!(measure(&series, &two).is_empty(), "which of the two was it?");
        series.saturated = vec![true; series.values.len()];
        assert!(measure(&series, &two[..1])[0].at_least);
        series.values[(3 * 1_440 + 600)..(3 * 1_440 + 690)].fill(None);
        assert!(measure(&series, &two[..1]).is_empty(), "most of it was not observed");
    }

    /// A group with three days behind it that is followed for four hours more, with `load` times the ordinary demand in
    /// them: trust and measured coverage at their end.
    fn followed(load: f64, events: Vec<Occurrence>) -> (f64, Option<f64>) {
        let (policy, group) = (Policy::new("web"), Id::new("group", "web").expect("an id"));
        let mut round = GroupRound::new(policy, Options::default(), false, 0);
        let ordinary = history(&sale(1, 0, 0));
        let begins = 3 * 1_440;
        round.announce(events.into());
        for (minute, value) in ordinary.values.iter().take(begins + 240).enumerate() {
            let gross = value.expect("a value") * if minute < begins { 1.0 } else { load };
            let start = 60 * minute as i64;
            round.take(&[Minute {
                group: group.clone(),
                metric: Metric::Cpu.to_string(),
                start,
                gross_mean: gross,
                gross_maximum: gross,
                weight: 4.0,
                serving: 4,
                reporting: 4,
                lower_bound: false,
            }]);
            if minute >= begins && minute % 5 == 4 {
                round.forecast(start + 60);
            }
        }
        let (_, report) = round.run(60 * (begins as i64 + 240), Measurements::default(), |_| Vec::new());
        let forecast = report.forecasts.values().next().expect("a forecast");
        (forecast.trust, forecast.measured_coverage)
    }

    #[test]
    fn a_guess_that_was_wrong_is_not_held_against_the_models() {
        let (trust, coverage) = followed(1.0, Vec::new());
        let event = sale(1, 3 * DAY, 3 * DAY + 14_400);
        let (with_event, held) = followed(6.0, vec![event]);
        assert!(with_event > 0.9 * trust, "{with_event} beside {trust}");
        // Intervals follow what comes within the four hours, and open where models contradict each other, so little of it is
        // missed by the end: what is held of an announced one is compared with that little.
        let (_, missed) = followed(6.0, Vec::new());
        let measured = |coverage: Option<f64>| coverage.expect("measured");
        let (held, missed, coverage) = (measured(held), measured(missed), measured(coverage));
        assert!(missed < coverage - 0.02, "{missed} beside {coverage}: the same, and nobody had said so");
        assert!(held > coverage - (coverage - missed) / 3.0, "{held} beside {coverage}, and {missed} unannounced");
    }

    #[test]
    fn a_forecast_is_raised_anew_only_when_something_changed() {
        let series = history(&sale(1, 0, 0));
        let champion = champion(&series, &[]);
        let own = Arc::new(forecast::forecast(&series, &champion, &Options::default()).expect("a forecast"));
        let (none, some): (Arc<[Occurrence]>, Arc<[Occurrence]>) =
            (Arc::new([]), Arc::new([sale(1, own.start + 600, own.start + 1_200), sale(2, 0, 600)]));
        let mut raised = Raised::default();
        raised.renew(Some(&own), &none);
        assert!(Arc::ptr_eq(raised.forecast.as_ref().expect("a forecast"), &own) && raised.events.is_empty());
        raised.renew(Some(&own), &some);
        let first = raised.forecast.clone().expect("a forecast");
        assert_eq!(first.paths[0][2], 2.0 * own.paths[0][2]);
        assert_eq!((first.paths[0][0], raised.events.len()), (own.paths[0][0], 1));
        raised.renew(Some(&own), &some);
        assert!(Arc::ptr_eq(raised.forecast.as_ref().expect("a forecast"), &first));
        raised.renew(Some(&own), &none);
        assert!(Arc::ptr_eq(raised.forecast.as_ref().expect("a forecast"), &own), "deleted, it falls back");
        raised.renew(None, &some);
        assert!(raised.forecast.is_none() && raised.events.is_empty());
    }
}
