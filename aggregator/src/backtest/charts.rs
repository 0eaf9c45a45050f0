//! The charts of the report.

use super::compare::{Kind, Outcome};
use super::coverage::Held;
use super::report::{Subject, clock};
use super::svg::{Chart, Scale, number, ticks};
use super::worst::{self, Day};

/// Cost over one risk: every policy a point, those of one kind joined in the order of their cost.
pub fn frontier(subject: &Subject<'_>, title: &str, of: fn(&Outcome) -> f64) -> String {
    let outcomes = &subject.comparison.outcomes;
    // One hopeless policy must not press all others into a corner.
    let shown = |it: &&Outcome| it.kind != Kind::Model;
    let most = |value: &dyn Fn(&Outcome) -> f64| outcomes.iter().filter(shown).map(value).fold(0.0, f64::max);
    let (right, top) = (most(&|it| it.cost).max(1.2) * 1.03, most(&of).max(0.05) * 1.05);
    let mut chart = Chart::new(340.0, 270.0, (0.95, right), (0.0, top), Scale::Root);
    let mut heights = vec![0.0];
    for height in [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0] {
        let below = heights.last().copied().unwrap_or_default();
        if height <= top && chart.y(below) - chart.y(height) >= 16.0 {
            heights.push(height);
        }
    }
    chart.y_axis(&heights, "", " %");
    let across: Vec<_> = ticks(0.95, right, 5.0).into_iter().map(|it| (it, number(it))).collect();
    chart.x_axis(&across, "instance-hours / oracle");
    let tip = |it: &Outcome| {
        format!(
            "{}\n{:.2} × oracle\nabove target {:.2} %, above 90 % {:.2} %, unmet {:.3} %",
            it.name, it.cost, it.score.above_target, it.score.above_90, it.score.unmet
        )
    };
    let mut tracks: Vec<(&str, Vec<&Outcome>)> = vec![("them", subject.comparison.of(Kind::Reactive).collect())];
    let mut targets: Vec<f64> = subject.comparison.of(Kind::Foreshadow).map(|it| it.target).collect();
    targets.dedup();
    for target in targets {
        tracks.push(("us", subject.comparison.of(Kind::Foreshadow).filter(|it| it.target == target).collect()));
    }
    for (class, mut track) in tracks {
        track.sort_by(|a, b| a.cost.total_cmp(&b.cost));
        let line: Vec<_> = track.iter().map(|it| (it.cost, of(it))).collect();
        chart.line(class, &line);
        for it in &track {
            let chosen = if it.name == subject.chosen.name { "chosen" } else { class };
            chart.point(chosen, it.cost, of(it), if chosen == "chosen" { 6.0 } else { 4.0 }, &tip(it));
        }
    }
    for it in subject.comparison.of(Kind::Model).filter(|it| it.cost <= right && of(it) <= top) {
        chart.point("model", it.cost, of(it), 3.5, &tip(it));
    }
    for it in subject.comparison.of(Kind::Oracle) {
        chart.point("ink", it.cost, of(it), 4.0, &tip(it));
    }
    chart.finish("panel", &format!("{title} over instance-hours, for every policy"))
}

/// The hours of a day along the foot.
fn hours(day: &Day, width: f64) -> Vec<(f64, String)> {
    let every = if width > 600.0 { 120 } else { 360 };
    let first = usize::try_from((-day.start.div_euclid(60)).rem_euclid(every as i64)).unwrap_or_default();
    let minutes = (first..=day.to - day.from).step_by(every);
    minutes.map(|minute| (minute as f64, clock(day.start + 60 * minute as i64))).collect()
}

/// Demand, its forecast, and what was there for it.
pub fn fan(subject: &Subject<'_>, day: &Day, width: f64, height: f64, class: &str) -> String {
    let (needed, fan) = (day.needed(subject), day.fan(subject));
    let lived = &subject.chosen.lived[day.from..day.to];
    let highest = needed.iter().copied().fold(0.0, f64::max);
    let of_fleet = lived.iter().map(|it| f64::from(it.serving + it.starting + it.shadow)).fold(0.0, f64::max);
    let top = highest.max(of_fleet) * 1.08;
    let mut chart = Chart::new(width, height, (0.0, needed.len() as f64), (0.0, top), Scale::Linear);
    chart.y_axis(&ticks(0.0, top, 5.0), "", "");
    chart.x_axis(&hours(day, width), "UTC, instances");
    let minute = |at: i64| (at - day.start) as f64 / 60.0;
    let band =
        |of: fn(&worst::Fan) -> f64| fan.iter().map(|it| (minute(it.start), of(it).min(top))).collect::<Vec<_>>();
    chart.band("wide", &band(|it| it.lowest), &band(|it| it.highest), true);
    chart.band("tight", &band(|it| it.low), &band(|it| it.high), true);
    let path = |of: fn(&super::yardstick::Lived) -> u32| changes(lived.iter().map(of));
    let (serving, with_starting) = (path(|it| it.serving), path(|it| it.serving + it.starting));
    let all = path(|it| it.serving + it.starting + it.shadow);
    chart.band("starting", &serving, &with_starting, true);
    chart.band("shadow", &with_starting, &all, true);
    let need: Vec<_> = needed.iter().enumerate().map(|(minute, value)| (minute as f64, *value)).collect();
    chart.line("ink", &need);
    chart.steps("us", &serving);
    let mut at = day.from;
    while at < day.to {
        let end = (at..day.to).find(|minute| !worst::above(subject, *minute)).unwrap_or(day.to);
        if end > at {
            let tip =
                format!("above target from {} for {} min", clock(day.start + 60 * (at - day.from) as i64), end - at);
            chart.bar("bad", ((at - day.from) as f64, (end - day.from) as f64), (0.0, top * 0.018), &tip);
        }
        at = end.max(at) + 1;
    }
    chart.finish(class, "Demand of the worst day with its forecast, and the instances that were there")
}

/// Points only where a value changes, and the last one.
fn changes(values: impl Iterator<Item = u32>) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    let mut count = 0.0;
    for value in values.map(f64::from) {
        if points.last().is_none_or(|(_, last)| (*last - value).abs() > 0.5) {
            points.push((count, value));
        }
        count += 1.0;
    }
    let last = points.last().map(|(_, value)| (count, *value));
    points.extend(last);
    points
}

/// Each step of the day in its row, as high as many instances it concerned.
pub fn decisions(subject: &Subject<'_>, day: &Day, width: f64, class: &str) -> String {
    const ROWS: [&str; 4] = ["launch", "reattach", "detach", "terminate"];
    const WORDS: [&str; 4] = ["launch", "back", "detach", "end"];
    let minutes = (day.to - day.from) as f64;
    let mut chart = Chart::new(width, 190.0, (0.0, minutes), (0.0, ROWS.len() as f64), Scale::Linear);
    chart.y_axis(&[], "", "");
    chart.x_axis(&hours(day, width), "UTC");
    let most = day.decisions(subject).map(|it| it.instances).max().unwrap_or(1).max(4);
    for (row, word) in ROWS.iter().enumerate() {
        let foot = (ROWS.len() - 1 - row) as f64;
        chart.line("cross", &[(0.0, foot), (minutes, foot)]);
        chart.word("", 0.0, foot, (-4.0, -10.0), "end", WORDS[row]);
        for decision in day.decisions(subject).filter(|it| it.step == *word && it.refused.is_empty()) {
            let at = (decision.at - day.start) as f64 / 60.0;
            let share = 0.15 + 0.75 * f64::from(decision.instances) / f64::from(most);
            let tip =
                format!("{} UTC {} {}: {}", clock(decision.at), decision.step, decision.instances, decision.reason);
            chart.bar(word, (at, at + minutes / 320.0), (foot, foot + share), &tip);
        }
    }
    chart.finish(class, "Launches, re-attachments, detachments and terminations of the worst day")
}

/// Promised against held, with the line on which honest quantiles lie.
pub fn coverage(held: &Held) -> String {
    let mut chart = Chart::new(340.0, 250.0, (0.0, 1.0), (0.0, 1.0), Scale::Linear);
    let quarters = [0.0, 0.25, 0.5, 0.75, 1.0];
    chart.y_axis(&quarters, "", "");
    chart.x_axis(&quarters.map(|it| (it, number(it))), "promised");
    chart.line("cross", &[(0.0, 0.0), (1.0, 1.0)]);
    chart.line("us", &held.below);
    for (promised, share) in &held.below {
        let tip = format!("not above the {} % quantile: {:.1} %", number(100.0 * promised), 100.0 * share);
        chart.point("us", *promised, *share, 4.5, &tip);
    }
    chart.finish("panel", &format!("Promised against held shares, {} minutes ahead", held.ahead_seconds / 60))
}
