//! What a path of capacity would have come to, minute by minute, and the policies it is compared with:
//! target tracking as clouds do it, and the oracle that knows the load.
//!
//! An instance that is ordered serves after its start-up and is billed from the order. One taken away stands in
//! shadow as long as the path says so: billed in full, serving nothing, back after the re-attachment. Load is shared
//! evenly; what is above 100 % of all that serve is unmet. The metric is seen a minute late.

use serde::Serialize;

use super::Setting;

/// What is ordered in a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Order {
    /// Serving or on its way.
    pub capacity: u32,
    /// Taken away and kept.
    pub shadow: u32,
}

/// What a policy came to over the scored minutes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Score {
    /// Share of minutes above the target, %.
    pub above_target: f64,
    /// Share of minutes above 90 %, %.
    pub above_90: f64,
    /// Share of all load that found no room, %.
    pub unmet: f64,
    /// Everything that runs, shadows in full.
    pub instance_hours: f64,
    pub changes_per_day: f64,
    pub reattached: u32,
}

/// One scored minute, for charts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Lived {
    pub serving: u32,
    pub starting: u32,
    pub shadow: u32,
}

/// Utilisation above which users wait.
const SLOW: f64 = 0.90;
/// No two scale-ins within this, seconds.
const COOL_DOWN: i64 = 300;
/// Minutes above the target before tracking scales out, below 90 % of it before it scales in.
const HOT: u32 = 3;
const COLD: u32 = 15;

/// Instances that carry `load` at the target.
pub fn need(load: f64, setting: &Setting) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates at the range of u32")]
    let needed = (load / setting.per_target() - 1e-9).ceil().max(0.0) as u32;
    needed.clamp(setting.minimum, setting.maximum)
}

/// Target tracking at `target`, a share.
pub fn reactive(load: &[f64], target: f64, setting: &Setting) -> (Score, Vec<Lived>) {
    run(load, setting, Some(target), None)
}

/// Exactly the orders, one a minute.
pub fn ordered(load: &[f64], orders: &[Order], setting: &Setting) -> (Score, Vec<Lived>) {
    run(load, setting, None, Some(orders))
}

/// Knows the load, and orders exactly what the time until a start-up is over will need.
pub fn oracle(load: &[f64], setting: &Setting) -> Score {
    let ahead = (setting.startup / 60) as usize;
    let needs: Vec<u32> = load.iter().map(|load| need(*load, setting)).collect();
    let orders: Vec<u32> = (0..needs.len())
        .map(|at| needs[at..needs.len().min(at + ahead + 1)].iter().copied().max().unwrap_or(0))
        .collect();
    let changes = orders.windows(2).filter(|pair| pair[0] != pair[1]).count();
    Score {
        instance_hours: orders.iter().map(|order| f64::from(*order)).sum::<f64>() / 60.0,
        changes_per_day: changes as f64 / days(load.len()),
        ..Score::default()
    }
}

fn days(minutes: usize) -> f64 {
    minutes as f64 / 1_440.0
}

/// Rounds up what tracking wants.
fn wanted(serving: u32, utilisation: f64, target: f64) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates at the range of u32")]
    let wanted = (f64::from(serving) * utilisation / target - 1e-9).ceil() as u32;
    wanted
}

fn run(load: &[f64], setting: &Setting, track: Option<f64>, orders: Option<&[Order]>) -> (Score, Vec<Lived>) {
    let order = |minute: usize| orders.and_then(|orders| orders.get(minute).copied()).unwrap_or_default();
    let bounded = |wanted: u32| wanted.clamp(setting.minimum, setting.maximum);
    let (startup, reattach) = ((setting.startup / 60) as usize, (setting.reattach / 60).max(1) as usize);
    let mut serving = need(load.first().copied().unwrap_or_default(), setting);
    if orders.is_some() {
        serving = serving.max(order(0).capacity.min(setting.maximum));
    }
    let mut starting: Vec<usize> = Vec::new();
    let (mut shadow, mut hot, mut cold, mut tracked, mut last_in) = (0_u32, 0, 0, serving, i64::MIN / 2);
    let mut seen: Option<(f64, u32)> = None;
    let (mut score, mut lived, mut changes, mut unmet, mut total) = (Score::default(), Vec::new(), 0, 0.0, 0.0);
    for (minute, load) in load.iter().enumerate() {
        let ready = starting.iter().filter(|ready| **ready <= minute).count();
        starting.drain(..ready);
        serving += count(ready);
        let use_now = setting.idle + (1.0 - setting.idle) * load / f64::from(serving);
        total += load;
        score.above_target += f64::from(u8::from(use_now > setting.score_target + 1e-9));
        score.above_90 += f64::from(u8::from(use_now > SLOW));
        unmet += (load - f64::from(serving)).max(0.0);
        let present = serving + count(starting.len());
        score.instance_hours += f64::from(present + shadow) / 60.0;
        lived.push(Lived { serving, starting: count(starting.len()), shadow });
        let want = if let Some(target) = track {
            if let Some((utilisation, of)) = seen {
                let utilisation = utilisation.min(1.0);
                hot = if utilisation > target { hot + 1 } else { 0 };
                cold = if utilisation < 0.9 * target { cold + 1 } else { 0 };
                if hot >= HOT {
                    tracked = wanted(of, utilisation, target).max(if starting.is_empty() { 0 } else { tracked });
                } else if cold >= COLD && starting.is_empty() {
                    let fewer = wanted(of, utilisation, target);
                    tracked = if fewer < tracked || fewer < present { fewer } else { tracked };
                }
            }
            tracked = bounded(tracked);
            seen = Some((use_now, serving));
            tracked
        } else {
            bounded(order(minute).capacity)
        };
        shadow = shadow.min(order(minute).shadow);
        let now = 60 * i64::try_from(minute).unwrap_or_default();
        if want > present {
            let back = shadow.min(want - present);
            shadow -= back;
            score.reattached += back;
            starting.extend((0..back).map(|_| minute + reattach));
            starting.extend((0..want - present - back).map(|_| minute + startup));
            starting.sort_unstable();
            changes += 1;
        } else if want < present && now - last_in >= COOL_DOWN && (starting.is_empty() || track.is_none()) {
            let gone = (present - want).min(serving - 1);
            serving -= gone;
            (last_in, cold) = (now, 0);
            changes += 1;
            shadow += gone.min(order(minute).shadow.saturating_sub(shadow));
        }
    }
    let minutes = load.len().max(1) as f64;
    score.above_target *= 100.0 / minutes;
    score.above_90 *= 100.0 / minutes;
    score.unmet = 100.0 * unmet / total.max(1e-9);
    score.changes_per_day = f64::from(changes) / days(load.len().max(1));
    (score, lived)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
