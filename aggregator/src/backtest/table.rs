//! The table for people.

use std::fmt::Write as _;

use super::compare::{Comparison, Outcome};

/// One line a policy, cheapest first.
pub fn table(comparison: &Comparison) -> String {
    let mut outcomes: Vec<&Outcome> = comparison.outcomes.iter().collect();
    outcomes.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    let width = outcomes.iter().map(|outcome| outcome.name.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    // Two lines of heads, so that all of it stands on a screen of 100.
    for [policy, above, above_90, unmet, hours, oracle, money, changes, back] in [
        ["", "above", "above", "", "instance", "times", "", "changes", "re-"],
        ["policy", "target", "90 %", "unmet", "hours", "oracle", "money", "a day", "attached"],
    ] {
        _ = writeln!(
            text,
            "{policy:width$} {above:>8} {above_90:>8} {unmet:>9} {hours:>9} {oracle:>6} {money:>8} {changes:>7} {back:>8}"
        );
    }
    for outcome in outcomes {
        let score = &outcome.score;
        _ = writeln!(
            text,
            "{:width$} {:>6.2} % {:>6.3} % {:>7.4} % {:>9.1} {:>6.3} {:>8.2} {:>7.1} {:>8}",
            outcome.name,
            score.above_target,
            score.above_90,
            score.unmet,
            score.instance_hours,
            outcome.cost,
            outcome.money,
            score.changes_per_day,
            score.reattached
        );
    }
    if !comparison.coverage.is_empty() {
        _ = writeln!(text, "\nforecast held     80 % interval  90 % not exceeded  95 % not exceeded   steps");
        for held in &comparison.coverage {
            let below = |level: f64| {
                let found = held.below.iter().find(|(promised, _)| (promised - level).abs() < 1e-9);
                found.map_or(f64::NAN, |(_, held)| 100.0 * held)
            };
            _ = writeln!(
                text,
                "{:>4} min ahead    {:>11.1} %  {:>15.1} %  {:>15.1} %  {:>6}",
                held.ahead_seconds / 60,
                100.0 * held.within_80,
                below(0.9),
                below(0.95),
                held.steps
            );
        }
    }
    text
}
