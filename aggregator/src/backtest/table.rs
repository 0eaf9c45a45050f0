//! The table for people.

use std::fmt::Write as _;

use super::compare::{Comparison, Outcome};

/// One line a policy, cheapest first.
pub fn table(comparison: &Comparison) -> String {
    let mut outcomes: Vec<&Outcome> = comparison.outcomes.iter().collect();
    outcomes.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    let width = outcomes.iter().map(|outcome| outcome.name.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    _ = writeln!(
        text,
        "{:width$}  above target  above 90 %     unmet  instance-hours  / oracle     money  changes/day  re-attached",
        "policy"
    );
    for outcome in outcomes {
        let score = &outcome.score;
        _ = writeln!(
            text,
            "{:width$}  {:>10.2} %  {:>8.3} %  {:>6.4} %  {:>14.1}  {:>8.3}  {:>8.2}  {:>11.1}  {:>11}",
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
