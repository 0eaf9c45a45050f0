//! What taking machines away on a forecast is worth: `full`, which takes them into shadow, against `scale-out` beside the provider's
//! reactive scale-in, and `full` with that scale-in fighting it. Over one history or several, as a table for the documentation.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use planner::policy::Mode;
use serde::Serialize;

use super::command::BacktestArguments;
use super::compare::{self, Candidates, FORECAST_WORK, in_parallel};
use super::foresight::foresee;
use super::live::{self, Regime, Source};
use super::load::Load;
use super::yardstick::{self, Score};
use super::{Setting, many, svg};
use crate::progress::Progress;

/// The runs beside the provider alone: mode, whether the provider's tracking scales in as well, and what it is called.
const RUNS: [(Mode, bool, &str); 3] = [
    (Mode::Full, false, "`full`"),
    (Mode::ScaleOut, true, "`scale-out`, the provider scales in"),
    (Mode::Full, true, "`full`, the provider's scale-in fights it"),
];

/// What one way of scaling in came to on one history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    pub name: &'static str,
    #[serde(flatten)]
    pub score: Score,
    /// Of the instance-hours, those of shadows.
    pub shadow_hours: f64,
    /// Instances taken away by us.
    pub detached: u32,
}

/// The ways to scale in, over one history: the provider alone first.
///
/// # Errors
/// When a live run ends early.
pub fn compare(
    load: &Load,
    setting: &Setting,
    candidates: &Candidates,
    tell: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Line>> {
    let provider = provider(setting, candidates);
    let options = forecast::Options::default();
    let foresight = foresee(load, setting, live::begins(load), &options, |done| tell(done * FORECAST_WORK));
    let lived = in_parallel(&RUNS, |(mode, beside, name)| {
        let mut policy = live::policy(setting, confidence(candidates));
        policy.shadow_window_seconds = candidates.window_seconds;
        let regime =
            Regime { provider: beside.then_some(provider), mode: *mode, ..compare::regime(policy, candidates) };
        (*name, live::live(load, setting, &regime, Source::Given(&foresight), false, tell))
    });
    let (alone, _) = yardstick::reactive(load.scored(), provider, setting);
    let mut lines = vec![Line { name: "the provider alone", score: alone, shadow_hours: 0.0, detached: 0 }];
    for (name, path) in lived {
        let path = path?;
        let (score, minutes) = yardstick::ordered(load.scored(), &path.orders, setting);
        let shadow_hours = minutes.iter().map(|minute| f64::from(minute.shadow)).sum::<f64>() / 60.0;
        let ours = path.decisions.iter().filter(|it| it.step == "detach" && it.refused.is_empty());
        lines.push(Line { name, score, shadow_hours, detached: ours.map(|it| it.instances).sum() });
    }
    Ok(lines)
}

/// Runs every history and prints the tables.
///
/// # Errors
/// When a file cannot be read, understood or written.
pub fn run(arguments: &BacktestArguments, setting: &Setting, candidates: &Candidates) -> Result<()> {
    let loads = many::loads(arguments, setting)?;
    let work = |load: &Load| (load.minutes.len() - live::begins(load)) as u64 * (FORECAST_WORK + RUNS.len() as u64);
    let bar = Progress::new("backtest", loads.iter().map(|(_, load)| work(load)).sum());
    let mut all = Vec::new();
    for (name, load) in &loads {
        let lines =
            compare(load, setting, candidates, &|done| bar.inc(done)).with_context(|| format!("the history {name}"))?;
        bar.println(&format!("{name}: done"));
        all.push((name.clone(), lines));
    }
    bar.end();
    println!("{}", tables(&all, setting, candidates));
    if let Some(file) = &arguments.json {
        let whole = serde_json::json!({ "setting": setting, "candidates": candidates, "histories": all });
        std::fs::write(file, format!("{whole:#}\n")).with_context(|| format!("{}", file.display()))?;
    }
    Ok(())
}

fn provider(setting: &Setting, candidates: &Candidates) -> f64 {
    candidates.provider.first().copied().unwrap_or(setting.target)
}

fn confidence(candidates: &Candidates) -> f64 {
    candidates.confidences.iter().copied().find(|it| *it >= 0.9).unwrap_or(0.9)
}

/// Two markdown tables: all histories together, and each.
pub fn tables(all: &[(String, Vec<Line>)], setting: &Setting, candidates: &Candidates) -> String {
    let target = svg::number(100.0 * setting.score_target);
    let mut text = String::new();
    _ = writeln!(
        text,
        "{} histories; provider's target tracking at {} %, confidence {} %; shadows are billed in full, and in the \
         instance-hours.\n",
        all.len(),
        svg::number(100.0 * provider(setting, candidates)),
        svg::number(100.0 * confidence(candidates))
    );
    let head = format!(
        "| above {target} % | above 90 % | unmet | instance-hours | saved | of them shadow | taken away | re-attached |\n"
    );
    let rule = "---|---|---|---|---|---|---|---|\n";
    _ = write!(text, "| all together {head}|---|{rule}");
    for at in 0..=RUNS.len() {
        let lines: Vec<&Line> = all.iter().filter_map(|(_, lines)| lines.get(at)).collect();
        let alone: Vec<&Line> = all.iter().filter_map(|(_, lines)| lines.first()).collect();
        let Some(first) = lines.first() else { continue };
        let mean = |of: fn(&Score) -> f64| lines.iter().map(|it| of(&it.score)).sum::<f64>() / lines.len() as f64;
        let hours = |lines: &[&Line]| lines.iter().map(|it| it.score.instance_hours).sum::<f64>();
        let total = Line {
            name: first.name,
            score: Score {
                above_target: mean(|score| score.above_target),
                above_90: mean(|score| score.above_90),
                unmet: mean(|score| score.unmet),
                instance_hours: hours(&lines),
                changes_per_day: mean(|score| score.changes_per_day),
                reattached: lines.iter().map(|it| it.score.reattached).sum(),
            },
            shadow_hours: lines.iter().map(|it| it.shadow_hours).sum(),
            detached: lines.iter().map(|it| it.detached).sum(),
        };
        row(&mut text, first.name, &total, hours(&alone));
    }
    _ = write!(text, "\n| each {head}|---|{rule}");
    for (name, lines) in all {
        let alone = lines.first().map_or(0.0, |line| line.score.instance_hours);
        for line in lines {
            row(&mut text, &format!("{name}: {}", line.name), line, alone);
        }
    }
    text
}

fn row(text: &mut String, name: &str, line: &Line, alone: f64) {
    let (score, saved) = (&line.score, alone - line.score.instance_hours);
    _ = writeln!(
        text,
        "| {name} | {:.2} % | {:.3} % | {:.4} % | {:.1} | {:.1} ({:.1} %) | {:.1} | {} | {} |",
        score.above_target,
        score.above_90,
        score.unmet,
        score.instance_hours,
        saved,
        100.0 * saved / alone.max(1e-9),
        line.shadow_hours,
        line.detached,
        score.reattached
    );
}
