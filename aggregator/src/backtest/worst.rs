//! The day that is looked at closely: the one in which the chosen policy was above target longest.

use super::coverage::highest;
use super::live::Decision;
use super::report::Subject;

/// Minutes of a day.
const DAY: usize = 1_440;

/// Part of the scored minutes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    /// First and one past the last minute, counted from the first scored one.
    pub from: usize,
    pub to: usize,
    /// Its start, seconds since the epoch.
    pub start: i64,
    /// Minutes above target.
    pub above: usize,
}

/// Quantiles, in instances, of one minute's step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fan {
    pub start: i64,
    pub lowest: f64,
    pub low: f64,
    pub middle: f64,
    pub high: f64,
    pub highest: f64,
}

/// The worst day of the chosen outcome; the busiest one of equals.
pub fn day(subject: &Subject<'_>) -> Day {
    let scored = subject.load.scored();
    let days = (0..scored.len()).step_by(DAY).map(|from| {
        // The last day of a history is a whole one too, where there is as much.
        let to = (from + DAY).min(scored.len());
        let from = to.saturating_sub(DAY);
        let above = (from..to).filter(|minute| above(subject, *minute)).count();
        (above, scored[from..to].iter().copied().fold(0.0, f64::max), from, to)
    });
    let worst = days.max_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let (above, _, from, to) = worst.unwrap_or((0, 0.0, 0, scored.len()));
    Day { from, to, start: subject.load.at(subject.load.from + from), above }
}

/// Whether the chosen policy's instances were used above target.
pub fn above(subject: &Subject<'_>, minute: usize) -> bool {
    let idle = subject.setting.idle;
    let serving = subject.chosen.lived.get(minute).map_or(0, |lived| lived.serving);
    let load = subject.load.scored().get(minute).copied().unwrap_or_default();
    idle + (1.0 - idle) * load / f64::from(serving.max(1)) > subject.setting.score_target + 1e-9
}

impl Day {
    pub fn title(&self) -> String {
        jiff::Timestamp::from_second(self.start)
            .map_or_else(|_| String::new(), |at| at.strftime("%A, %d %B %Y").to_string())
    }

    /// Decisions of the day, leases left out.
    pub fn decisions<'a>(&self, subject: &Subject<'a>) -> impl Iterator<Item = &'a Decision> {
        let (from, to) = (self.start, self.start + 60 * (self.to - self.from) as i64);
        let within = move |it: &&Decision| (from..to).contains(&it.at);
        subject.chosen.decisions.iter().filter(within).filter(|it| !matches!(it.step, "extend" | "release" | "adopt"))
    }

    /// Instances needed in each minute at the target.
    pub fn needed(&self, subject: &Subject<'_>) -> Vec<f64> {
        let per = subject.setting.per_target();
        subject.load.scored()[self.from..self.to].iter().map(|load| load / per).collect()
    }

    /// What was forecast a launch lead before, for each step of the day.
    pub fn fan(&self, subject: &Subject<'_>) -> Vec<Fan> {
        let until = self.start + 60 * (self.to - self.from) as i64;
        let points = 100.0 * (1.0 - subject.setting.idle) * subject.setting.per_target();
        let forecasts = &subject.comparison.foresight.by_step;
        let Some(step) = forecasts.values().next().map(|forecast| forecast.step_seconds) else { return Vec::new() };
        let ahead = i64::from(subject.setting.startup.div_ceil(step) * step);
        let within = forecasts.range(self.start - ahead..until - ahead);
        let fan = within.filter_map(|(made, forecast)| {
            let start = made + ahead;
            let at = |level| Some(forecast.at(start, level)? / points);
            highest(subject.load, subject.setting, start, step)?;
            Some(Fan { start, lowest: at(0.05)?, low: at(0.1)?, middle: at(0.5)?, high: at(0.9)?, highest: at(0.95)? })
        });
        fan.collect()
    }

    /// Each minute for the page's script: needed, serving, starting, shadow, forecast low, middle, high.
    pub fn json(&self, subject: &Subject<'_>) -> String {
        let fan = self.fan(subject);
        let tenth = |value: f64| (10.0 * value).round() / 10.0;
        let minutes: Vec<_> = self
            .needed(subject)
            .into_iter()
            .enumerate()
            .map(|(minute, needed)| {
                let lived = subject.chosen.lived.get(self.from + minute).copied().unwrap_or_default();
                let at = self.start + 60 * minute as i64;
                let said = fan.iter().rev().find(|fan| fan.start <= at && at < fan.start + 300);
                let of = |value: fn(&Fan) -> f64| said.map(|fan| tenth(value(fan)));
                serde_json::json!([
                    tenth(needed),
                    lived.serving,
                    lived.starting,
                    lived.shadow,
                    of(|fan| fan.low),
                    of(|fan| fan.middle),
                    of(|fan| fan.high)
                ])
            })
            .collect();
        serde_json::json!({ "start": self.start, "minutes": minutes }).to_string()
    }
}
