//! The last week, lived again in another mode: the load that a group recorded, under the live planner, beside what happened.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use planner::policy::Mode;
use serde::Serialize;

use super::Setting;
use super::compare::FORECAST_WORK;
use super::foresight::foresee;
use super::live::{self, Path, Regime, Source};
use super::load::Load;
use super::yardstick::{self, Lived, need};
use crate::fleet::Reach;
use crate::store::Minute;

/// As long as what is lived again, days …
const DAYS: f64 = 7.0;
/// … and what is left of a shorter past to learn from first, minutes; at most as much as is lived again.
const LEARNED: usize = 1_440;
/// How much of the past is asked for, seconds: a month to learn from.
pub const BACK: i64 = 28 * 86_400;
/// Columns of the picture, minutes.
const COLUMN: usize = 5;
/// Utilisation above which users wait, a share.
const SLOW: f64 = 0.90;

/// What is to be lived.
#[derive(Debug, Clone)]
pub struct Question {
    pub mode: Mode,
    /// What the group is like; loads are in points of an instance.
    pub setting: Setting,
    /// One-sided quantile that is provisioned for.
    pub confidence: f64,
    pub lease_seconds: u32,
}

/// What a week came to.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Came {
    /// Share of minutes above the target, %.
    above_target: f64,
    /// Share of minutes above 90 %, %.
    above_90: f64,
    /// Everything that ran, shadows in full.
    instance_hours: f64,
}

/// The week as it was and as it would have been.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Week {
    #[schema(value_type = String)]
    mode: Mode,
    /// Seconds since the Unix epoch.
    from: i64,
    until: i64,
    /// Minutes of it that nobody measured: bridged by straight lines, and as it was on average where that counts.
    bridged: usize,
    was: Came,
    would: Came,
    /// Of `would`, those of shadows.
    shadow_hours: f64,
    /// Instances by what would have been done with them: `launch`, `reattach`, `detach`, …
    steps: BTreeMap<&'static str, u32>,
    /// Minutes in which a hold kept machines that present demand did not need, by the hold.
    holds: BTreeMap<&'static str, u32>,
    column_seconds: usize,
    /// By column: the most that were needed at the target, and the fewest that served, would have served, stood in shadow.
    need: Vec<u32>,
    served: Vec<Option<u32>>,
    would_serve: Vec<u32>,
    shadows: Vec<u32>,
}

/// Lives the newest week of `minutes` (ascending) again. `tell` hears the share that is done.
///
/// # Errors
/// When there is too little of a past.
pub fn lived(minutes: &[Minute], question: &Question, tell: impl Fn(f64)) -> Result<Week> {
    let mut setting =
        Setting { capacity: Some(100.0 * (1.0 - question.setting.idle)), days: DAYS, ..question.setting.clone() };
    let net = |it: &Minute| (it.gross_mean - 100.0 * setting.idle * it.weight).max(0.0);
    let rows: Vec<(i64, f64)> = minutes.iter().map(|it| (it.start, net(it))).collect();
    let (first, last) = rows.first().zip(rows.last()).context("nothing was recorded yet")?;
    #[allow(clippy::cast_precision_loss, reason = "minutes of a month")]
    let all = ((last.0 - first.0) / 60) as f64;
    setting.share = (1.0 - LEARNED as f64 / all.max(1.0)).max(0.5);
    let load = Load::new(&rows, &setting)?;
    ensure!(load.minutes.len() > load.from, "nothing was recorded yet");

    let begin = live::begins(&load);
    let (planned, forecast) = ((load.minutes.len() - begin) as f64, FORECAST_WORK as f64);
    let whole = planned * (forecast + 1.0);
    let mut done = 0.0;
    let options = forecast::Options::default();
    let foresight = foresee(&load, &setting, begin, &options, |more| {
        done += more as f64 * forecast;
        tell(done / whole);
    });
    let policy = planner::policy::Policy { mode: question.mode, ..live::policy(&setting, question.confidence) };
    let regime = Regime {
        policy,
        limits: checker::Limits::default(),
        lease_seconds: question.lease_seconds,
        forecast: options,
        reach: Reach::Cloud,
        // Where we only scale out, somebody has to scale in.
        provider: (question.mode == Mode::ScaleOut).then_some(setting.target),
        mode: question.mode,
        begins_with: minutes
            .iter()
            .find(|it| it.start >= load.at(begin))
            .map(|it| it.serving.clamp(setting.minimum, setting.maximum)),
    };
    let path = live::live(&load, &setting, &regime, Source::Given(&foresight), false, |more| {
        done += more as f64;
        tell(done / whole);
    })?;
    Ok(week(minutes, &load, &setting, question.mode, path))
}

fn week(minutes: &[Minute], load: &Load, setting: &Setting, mode: Mode, path: Path) -> Week {
    let (score, lived) = yardstick::ordered(load.scored(), &path.orders, setting);
    let from = load.at(load.from);
    let until = from + 60 * i64::try_from(lived.len()).unwrap_or_default();
    let recorded: BTreeMap<i64, &Minute> =
        minutes.iter().filter(|it| it.start >= from && it.start < until).map(|it| (it.start, it)).collect();
    let mut steps = BTreeMap::new();
    for decision in path.decisions.iter().filter(|it| it.refused.is_empty()) {
        *steps.entry(decision.step).or_default() += decision.instances;
    }
    let starts: Vec<usize> = (0..lived.len()).step_by(COLUMN).collect();
    let column = |start: usize| start..(start + COLUMN).min(lived.len());
    let fewest = |start: usize, of: fn(&Lived) -> u32| lived[column(start)].iter().map(of).min().unwrap_or_default();
    let served = |start: usize| {
        let within = column(start).filter_map(|minute| recorded.get(&(from + 60 * minute as i64)));
        within.map(|it| it.serving).min()
    };
    let needed = |start: usize| load.scored()[column(start)].iter().map(|load| need(*load, setting)).max();
    Week {
        mode,
        from,
        until,
        bridged: lived.len() - recorded.len().min(lived.len()),
        was: was(recorded.values().copied(), lived.len(), setting),
        would: Came {
            above_target: score.above_target,
            above_90: score.above_90,
            instance_hours: score.instance_hours,
        },
        shadow_hours: lived.iter().map(|minute| f64::from(minute.shadow)).sum::<f64>() / 60.0,
        steps,
        holds: path.holds,
        column_seconds: 60 * COLUMN,
        need: starts.iter().map(|start| needed(*start).unwrap_or_default()).collect(),
        served: starts.iter().map(|start| served(*start)).collect(),
        would_serve: starts.iter().map(|start| fewest(*start, |it| it.serving)).collect(),
        shadows: starts.iter().map(|start| fewest(*start, |it| it.shadow)).collect(),
    }
}

/// As it was measured, whoever scaled, over `all` minutes: where nobody measured, it was what it was on average.
fn was<'a>(minutes: impl Iterator<Item = &'a Minute>, all: usize, setting: &Setting) -> Came {
    let (mut count, mut hot, mut slow, mut hours) = (0.0, 0.0, 0.0, 0.0);
    for minute in minutes {
        let used = minute.gross_mean / minute.weight.max(1e-9) / 100.0;
        count += 1.0;
        hot += f64::from(u8::from(used > setting.score_target + 1e-9));
        slow += f64::from(u8::from(used > SLOW));
        hours += f64::from(minute.serving) / 60.0;
    }
    let share = |of: f64| 100.0 * of / f64::max(count, 1.0);
    Came { above_target: share(hot), above_90: share(slow), instance_hours: hours * all as f64 / f64::max(count, 1.0) }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::foresight::recorded;
    use super::*;

    const START: i64 = 1_800_000_000;

    /// Twelve instances all day for a load that needs from two to ten.
    fn past(hours: i64) -> Vec<Minute> {
        let minute = |at: i64| {
            let load = 300.0 - 200.0 * (std::f64::consts::TAU * at as f64 / 86_400.0).cos();
            let restless = 0.96 + 0.08 * ((at / 60 * 7_919) % 101) as f64 / 101.0;
            recorded(START + at, load * restless + 12.0 * 8.0, 12, false)
        };
        (0..hours * 60).filter_map(|minute_of| minute(60 * minute_of)).collect()
    }

    fn question(mode: Mode) -> Question {
        Question { mode, setting: Setting::default(), confidence: 0.9, lease_seconds: 1_800 }
    }

    #[test]
    fn a_group_that_was_too_large_would_have_cost_less_and_the_picture_says_when() {
        let (told, most) = (Cell::new(0), Cell::new(0.0_f64));
        let tell = |share: f64| {
            told.set(told.get() + 1);
            assert!(share >= most.get() && share <= 1.0 + 1e-9, "{share} after {}", most.get());
            most.set(share);
        };
        let week = lived(&past(96), &question(Mode::Full), tell).expect("a past");
        assert!(told.get() > 1_000 && most.get() > 0.999, "{told:?} {most:?}");
        assert_eq!((week.was.above_target, week.was.instance_hours.round()), (0.0, 864.0), "three days of twelve");
        assert!(week.would.instance_hours < week.was.instance_hours, "{week:?}");
        assert!(week.would.above_90 < 0.5 && week.steps["detach"] > 0, "{week:?}");
        assert_eq!((week.until, week.served.len(), week.would_serve.len()), (START + 96 * 3_600, 864, 864));
        assert_eq!((week.served[0], week.bridged), (Some(12), 0));
        assert!(week.need.iter().all(|need| (2..=10).contains(need)), "{:?}", week.need);
        // Where we do not scale in, whoever does is beside us.
        let out = lived(&past(48), &question(Mode::ScaleOut), |_| {}).expect("a past");
        assert_eq!((out.steps.get("detach"), out.shadow_hours), (None, 0.0));
        assert!(out.would.instance_hours < out.was.instance_hours, "{out:?}");
    }

    #[test]
    fn minutes_that_nobody_measured_cost_what_the_others_do() {
        let mut minutes = past(96);
        let hole = START + 80 * 3_600..START + 86 * 3_600;
        minutes.retain(|minute| !hole.contains(&minute.start));
        let week = lived(&minutes, &question(Mode::Full), |_| {}).expect("a past");
        assert_eq!((week.was.instance_hours.round(), week.bridged), (864.0, 360), "not a sixth of a day for nothing");
        assert_eq!(week.served.iter().filter(|served| served.is_none()).count(), 71, "columns that lie within it");
    }

    #[test]
    fn without_a_past_nothing_is_lived_again() {
        for minutes in [Vec::new(), past(1)] {
            assert!(lived(&minutes, &question(Mode::Full), |_| {}).is_err());
        }
    }
}
