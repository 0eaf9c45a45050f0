//! The report: one HTML page that needs nothing beside itself.

use std::fmt::Write as _;

use super::Setting;
use super::advice::Advice;
use super::charts;
use super::compare::{Comparison, Kind, Outcome};
use super::load::Load;
use super::svg::{escaped, number};
use super::worst::Day;

/// Everything the page is about.
#[derive(Debug)]
pub struct Subject<'a> {
    /// What the history is called.
    pub name: &'a str,
    pub load: &'a Load,
    pub setting: &'a Setting,
    pub comparison: &'a Comparison,
    pub advice: &'a Advice,
    /// The outcome that is looked at closely.
    pub chosen: &'a Outcome,
    /// How fast machines may go, in words.
    pub pace: &'a str,
    pub version: &'a str,
}

/// The whole page.
pub fn html(subject: &Subject<'_>) -> String {
    let day = super::worst::day(subject);
    let mut page = String::new();
    let title = escaped(subject.name);
    _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>Backtest of {title}</title><style>{}</style><main>",
        include_str!("report.css")
    );
    head(&mut page, subject);
    tiles(&mut page, subject);
    frontier(&mut page, subject);
    worst(&mut page, subject, &day);
    coverage(&mut page, subject);
    outcomes(&mut page, subject);
    holds(&mut page, subject);
    how(&mut page, subject);
    _ = write!(
        page,
        "</main><div id=\"tip\" role=\"status\"></div><script type=\"application/json\" id=\"day\">{}</script><script>{}</script></html>",
        day.json(subject),
        include_str!("report.js")
    );
    page
}

fn head(page: &mut String, subject: &Subject<'_>) {
    let Subject { load, setting, .. } = subject;
    let date = |at: i64| {
        jiff::Timestamp::from_second(at).map_or_else(|_| String::new(), |at| at.strftime("%d %b %Y").to_string())
    };
    let days = load.scored().len() as f64 / 1_440.0;
    _ = write!(
        page,
        "<h1>Backtest of {}</h1><p class=\"soft\">{} to {}, {} days scored of {}. The peak needs {} instances at {} %; \
         start-up {} s, re-attachment {} s, idle {} %.</p><section class=\"advice\"><h2>Recommendation</h2><p>{}</p></section>",
        escaped(subject.name),
        date(load.at(load.from)),
        date(load.at(load.minutes.len())),
        number((10.0 * days).round() / 10.0),
        number((load.minutes.len() as f64 / 144.0).round() / 10.0),
        super::yardstick::need(load.scored().iter().copied().fold(0.0, f64::max), setting),
        number(100.0 * setting.target),
        setting.startup,
        setting.reattach,
        number(100.0 * setting.idle),
        escaped(&subject.advice.words),
    );
}

/// The chosen outcome in four numbers, beside reactive scaling at the same cost.
fn tiles(page: &mut String, subject: &Subject<'_>) {
    let chosen = subject.chosen;
    let beside = |of: fn(&Outcome) -> f64| reactive_at(subject.comparison, chosen.cost, of);
    let tile = |page: &mut String, value: String, what: &str, reactive: Option<f64>| {
        let beside = reactive.map_or_else(
            || "no reactive target costs as much".to_owned(),
            |value| format!("reactive at this cost: {value:.2} %"),
        );
        _ = write!(page, "<div class=\"tile\"><span>{what}</span><b>{value}</b><span>{beside}</span></div>");
    };
    page.push_str("<div class=\"tiles\">");
    _ = write!(
        page,
        "<div class=\"tile\"><span>{}</span><b>{:.2} × oracle</b><span>{:.0} instance-hours, {:.2} in money</span></div>",
        escaped(&chosen.name),
        chosen.cost,
        chosen.score.instance_hours,
        chosen.money
    );
    let target = format!("minutes above {} %", number(100.0 * subject.setting.score_target));
    tile(page, format!("{:.2} %", chosen.score.above_target), &target, beside(|it| it.score.above_target));
    tile(page, format!("{:.2} %", chosen.score.above_90), "minutes above 90 %", beside(|it| it.score.above_90));
    tile(page, format!("{:.3} %", chosen.score.unmet), "demand unmet", beside(|it| it.score.unmet));
    page.push_str("</div>");
}

/// A measure of reactive scaling at a cost, between the targets that were tried; absent outside them.
fn reactive_at(comparison: &Comparison, cost: f64, of: fn(&Outcome) -> f64) -> Option<f64> {
    let mut line: Vec<(f64, f64)> = comparison.of(Kind::Reactive).map(|it| (it.cost, of(it))).collect();
    line.sort_by(|a, b| a.0.total_cmp(&b.0));
    let pair = line.windows(2).find(|pair| pair[0].0 <= cost && cost <= pair[1].0)?;
    let share = (cost - pair[0].0) / (pair[1].0 - pair[0].0).max(1e-9);
    Some(pair[0].1 + share * (pair[1].1 - pair[0].1))
}

fn legend(page: &mut String, entries: &[(&str, &str)]) {
    page.push_str("<div class=\"legend\">");
    for (colour, word) in entries {
        _ = write!(page, "<span><i style=\"background:var(--{colour})\"></i>{word}</span>");
    }
    page.push_str("</div>");
}

fn frontier(page: &mut String, subject: &Subject<'_>) {
    page.push_str("<section><h2>Cost against risk</h2><p class=\"note\">Left and low is better. Each point is a policy over the whole scored time, \
                   what stands in shadow billed in full. Compare at equal cost.</p>");
    legend(
        page,
        &[
            ("us", "Foreshadow, by confidence"),
            ("them", "reactive, by target"),
            ("model", "live planner on one model"),
            ("ink", "oracle"),
        ],
    );
    page.push_str("<div class=\"three\">");
    let target = format!("Minutes above {} %", number(100.0 * subject.setting.score_target));
    type Risk = fn(&Outcome) -> f64;
    let panels: [(&str, Risk); 3] = [
        (&target, |it| it.score.above_target),
        ("Minutes above 90 %", |it| it.score.above_90),
        ("Demand unmet", |it| it.score.unmet),
    ];
    for (title, of) in panels {
        _ = write!(page, "<figure>{}<figcaption>{title}</figcaption></figure>", charts::frontier(subject, title, of));
    }
    page.push_str("</div></section>");
}

fn worst(page: &mut String, subject: &Subject<'_>, day: &Day) {
    _ = write!(
        page,
        "<section><h2>The worst day: {}</h2><p class=\"note\">{} of its minutes were above target with {}. The bands are what was forecast {} \
         minutes before (90 % and 95 % quantiles above, 10 % and 5 % below), in instances needed at the target.</p>",
        day.title(),
        day.above,
        escaped(&subject.chosen.name),
        subject.setting.startup / 60
    );
    legend(
        page,
        &[
            ("ink", "needed"),
            ("us", "serving"),
            ("us-soft", "forecast"),
            ("them", "starting"),
            ("shadow", "in shadow"),
            ("bad", "above target"),
        ],
    );
    page.push_str(&charts::fan(subject, day, 1_060.0, 360.0, "fan wide"));
    page.push_str(&charts::fan(subject, day, 340.0, 260.0, "fan narrow"));
    page.push_str("<h2>What each decision was</h2>");
    legend(page, &[("them", "launch"), ("us", "re-attach"), ("shadow", "detach into shadow"), ("ink", "terminate")]);
    page.push_str(&charts::decisions(subject, day, 1_060.0, "wide"));
    page.push_str(&charts::decisions(subject, day, 340.0, "narrow"));
    let decided: Vec<_> = day.decisions(subject).collect();
    _ = write!(
        page,
        "<details><summary>All {} of that day, with why</summary><div class=\"scroll\"><table><tr><th>UTC</th><th>step</th><th>instances</th><th>why</th></tr>",
        decided.len()
    );
    for decision in decided {
        let refused = if decision.refused.is_empty() {
            String::new()
        } else {
            format!("<br><span class=\"soft\">refused by the checker: {}</span>", escaped(&decision.refused.join("; ")))
        };
        _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"why\">{}{refused}</td></tr>",
            clock(decision.at),
            decision.step,
            decision.instances,
            escaped(&decision.reason)
        );
    }
    page.push_str("</table></div></details></section>");
}

fn coverage(page: &mut String, subject: &Subject<'_>) {
    if subject.comparison.coverage.is_empty() {
        return;
    }
    page.push_str("<section><h2>Did the intervals hold?</h2><p class=\"note\">Promised against held, for the highest minute of each five-minute step. \
                   On the line is honest; above it is too careful, below it too bold.</p>");
    page.push_str("<div class=\"three\">");
    for held in subject.comparison.coverage.iter().take(3) {
        _ = write!(
            page,
            "<figure>{}<figcaption>{} minutes ahead: the 80 % interval held {:.0} % of {} steps</figcaption></figure>",
            charts::coverage(held),
            held.ahead_seconds / 60,
            100.0 * held.within_80,
            held.steps
        );
    }
    page.push_str("</div></section>");
}

fn outcomes(page: &mut String, subject: &Subject<'_>) {
    let mut outcomes: Vec<&Outcome> = subject.comparison.outcomes.iter().collect();
    outcomes.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    _ = write!(
        page,
        "<section><h2>Every policy</h2><div class=\"scroll\"><table><tr><th>policy</th><th>× oracle</th><th>above {} %</th><th>above 90 %</th>\
         <th>unmet</th><th>instance-hours</th><th>money</th><th>changes a day</th><th>re-attached</th></tr>",
        number(100.0 * subject.setting.score_target)
    );
    for outcome in outcomes {
        let class = match outcome.kind {
            Kind::Foreshadow => "us",
            Kind::Reactive => "them",
            Kind::Model => "model",
            Kind::Oracle => "ink",
        };
        let chosen = if outcome.name == subject.chosen.name { " chosen" } else { "" };
        let score = &outcome.score;
        _ = write!(
            page,
            "<tr class=\"{class}{chosen}\"><td>{}</td><td>{:.3}</td><td>{:.2} %</td><td>{:.3} %</td><td>{:.4} %</td><td>{:.0}</td><td>{:.2}</td><td>{:.1}</td><td>{}</td></tr>",
            escaped(&outcome.name),
            outcome.cost,
            score.above_target,
            score.above_90,
            score.unmet,
            score.instance_hours,
            outcome.money,
            score.changes_per_day,
            score.reattached
        );
    }
    page.push_str("</table></div></section>");
}

fn holds(page: &mut String, subject: &Subject<'_>) {
    let chosen = subject.chosen;
    if chosen.holds.is_empty() && chosen.steps.is_empty() {
        return;
    }
    page.push_str("<section><h2>What it did, and what held it back</h2><div class=\"scroll\"><table><tr><th>step</th><th>instances</th></tr>");
    for (step, instances) in &chosen.steps {
        _ = write!(page, "<tr><td>{step}</td><td>{instances}</td></tr>");
    }
    page.push_str("<tr><th>hold</th><th>minutes in which fewer would have done for present demand</th></tr>");
    let mut holds: Vec<_> = chosen.holds.iter().collect();
    holds.sort_by(|a, b| b.1.cmp(a.1));
    for (hold, minutes) in holds {
        _ = write!(page, "<tr><td>{hold}</td><td>{minutes}</td></tr>");
    }
    page.push_str("</table></div></section>");
}

fn how(page: &mut String, subject: &Subject<'_>) {
    _ = write!(
        page,
        "<section><h2>How this was computed</h2><p>Foreshadow {}: the planner, the checker, the journal and the leases that run in production ran over \
         the recorded load on simulated time, against a made-up cloud; forecasts used only what was before them. The metric is seen a minute late. \
         An instance costs from its order on, one in shadow in full. {} Reactive is target tracking as clouds do it: out after 3 minutes above the \
         target, in after 15 below nine tenths of it. The oracle knows the load.</p><p class=\"soft\">A past that is not repeated promises nothing: \
         what was not in this history was not tried.</p></section>",
        escaped(subject.version),
        escaped(subject.pace)
    );
}

/// Hours and minutes of a time, UTC.
pub fn clock(at: i64) -> String {
    jiff::Timestamp::from_second(at).map_or_else(|_| String::new(), |at| at.strftime("%H:%M").to_string())
}
