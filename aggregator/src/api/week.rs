//! `GET /groups/{group}/week`: the last week lived again in another mode, before that is allowed. It takes some twenty seconds of one
//! processor, of the lowest priority: one at a time, asked for until it is there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use foreshadow_proto::convert::Id;
use planner::policy::{Metric, Mode};
use serde::Serialize;

use super::ApiState;
use super::ask::{Asked, wrong};
use super::problem::Problem;
use super::rest::known_group;
use crate::backtest::Setting;
use crate::backtest::week::{BACK, Driver, Question, Week, lived};
use crate::clock::Clock;
use crate::rounds::{GroupReport, MetricReport};
use crate::store::Minute;

/// What was lived says the same for so long, seconds.
const HOLDS_FOR: i64 = 3_600;
/// Why it could not be lived is told for so long, seconds.
const TOLD_FOR: i64 = 60;
/// Whoever serves samples and plans comes first.
const NICENESS: i32 = 19;
const MILLIONTHS: f64 = 1e6;
/// Nobody says how much of a load of its own unit is too much for an instance. In the simulation it is four times what one is to
/// carry, a share: of a shortage all that is asked for is seen, as it is in life.
const OWN_TARGET: f64 = 0.25;
/// Who says how far it was is answered when it is further by this share.
const FURTHER: f64 = 0.02;
/// Or after this: whoever stands between keeps no request for a minute.
const WAITS: Duration = Duration::from_secs(20);
const LOOKS_EVERY: Duration = Duration::from_millis(200);

/// The week that is lived, and those that were lived lately. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Weeks(Arc<Mutex<BTreeMap<(Id, Mode), Living>>>);

#[derive(Debug)]
struct Living {
    /// Seconds since the Unix epoch.
    begun: i64,
    /// Millionths.
    done: Arc<AtomicU64>,
    found: Arc<OnceLock<Result<Week, String>>>,
    thread: JoinHandle<()>,
}

/// It is not there yet.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Underway {
    /// Share that is done, 0 to 1.
    done: f64,
    /// Another is lived first: of which group, in which mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<String>,
}

/// What one finds who asks.
enum Standing {
    Found(Box<Result<Week, String>>),
    Underway(f64),
    /// Another is being lived.
    Busy {
        group: Id,
        mode: Mode,
    },
    Nothing,
}

impl Standing {
    fn answer(self) -> Result<Response, Problem> {
        match self {
            Self::Found(week) => week.map(|week| Json(week).into_response()).map_err(too_little),
            Self::Underway(done) => Ok((StatusCode::ACCEPTED, Json(Underway { done, behind: None })).into_response()),
            Self::Busy { group, mode } => {
                let behind = Some(format!("{group} in {mode}"));
                Ok((StatusCode::ACCEPTED, Json(Underway { done: 0.0, behind })).into_response())
            }
            Self::Nothing => Err(too_little("nobody has begun it".to_owned())),
        }
    }
}

impl Weeks {
    fn standing(&self, group: &Id, mode: Mode, now: i64) -> Standing {
        standing(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), group, mode, now)
    }

    /// How it stands as soon as it is further than `known`, or after a while.
    async fn beyond(&self, group: &Id, mode: Mode, known: f64, clock: &dyn Clock, waits: Duration) -> Standing {
        let end = tokio::time::Instant::now() + waits;
        loop {
            let stands = self.standing(group, mode, clock.wall_seconds());
            let same = match &stands {
                Standing::Underway(done) => *done < known + FURTHER,
                Standing::Busy { .. } => true,
                Standing::Found(_) | Standing::Nothing => false,
            };
            if !same || tokio::time::Instant::now() >= end {
                return stands;
            }
            tokio::time::sleep(LOOKS_EVERY).await;
        }
    }

    /// Begins, unless somebody else has meanwhile; gives how it stands then.
    fn begin(
        &self,
        group: &Id,
        question: Question,
        pasts: Vec<(Driver, Vec<Minute>)>,
        now: i64,
    ) -> std::io::Result<Standing> {
        let mut weeks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mode = question.mode;
        if let stands @ (Standing::Found(_) | Standing::Underway(_) | Standing::Busy { .. }) =
            standing(&mut weeks, group, mode, now)
        {
            return Ok(stands);
        }
        let (done, found) = (Arc::new(AtomicU64::new(0)), Arc::new(OnceLock::new()));
        let (told, kept) = (done.clone(), found.clone());
        let thread = std::thread::Builder::new().name("week".to_owned()).spawn(move || {
            // On Linux it is this thread's alone.
            _ = rustix::process::nice(NICENESS);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share")]
            let tell = |share: f64| told.store((share.clamp(0.0, 1.0) * MILLIONTHS) as u64, Ordering::Relaxed);
            let week = lived(&pasts, &question, tell);
            drop(kept.set(week.map_err(|error| format!("{error:#}"))));
        })?;
        weeks.insert((group.clone(), mode), Living { begun: now, done, found, thread });
        Ok(Standing::Underway(0.0))
    }
}

fn standing(weeks: &mut BTreeMap<(Id, Mode), Living>, group: &Id, mode: Mode, now: i64) -> Standing {
    // What was lived an hour ago is lived anew; what could not be, as soon as it was told: a past may have come meanwhile.
    let holds = |it: &Living| if it.found.get().is_some_and(Result::is_ok) { HOLDS_FOR } else { TOLD_FOR };
    weeks.retain(|_, it| !it.thread.is_finished() || (0..holds(it)).contains(&(now - it.begun)));
    if let Some(living) = weeks.get(&(group.clone(), mode)) {
        return match living.found.get() {
            Some(found) => Standing::Found(Box::new(found.clone())),
            None if living.thread.is_finished() => {
                Standing::Found(Box::new(Err("it ended badly: see the log".to_owned())))
            }
            None => Standing::Underway(living.done.load(Ordering::Relaxed) as f64 / MILLIONTHS),
        };
    }
    let other = weeks.iter().find(|(_, it)| !it.thread.is_finished());
    other.map_or(Standing::Nothing, |((group, mode), _)| Standing::Busy { group: group.clone(), mode: *mode })
}

/// The last week as it was, and as it would have been in another mode.
#[utoipa::path(get, path = "/groups/{group}/week", params(("group" = String, Path),
    ("mode" = String, Query, description = "scale-out or full"),
    ("after" = Option<f64>, Query, minimum = 0, maximum = 1, description = "how far it was, 0 to 1: answered when it is further or there, after twenty seconds at the latest")),
    responses((status = 200, description = "the week", body = Week),
        (status = 202, description = "it is being lived, or waits for another: ask again", body = Underway),
        (status = 400, description = "a parameter is wrong", body = Problem),
        (status = 404, description = "not known", body = Problem),
        (status = 422, description = "there is too little of a past, or no load that can be lived again", body = Problem)))]
pub async fn week(State(state): State<ApiState>, Path(name): Path<String>, asked: Asked) -> Result<Response, Problem> {
    let asked = asked.only(&["mode", "after"])?;
    let group = known_group(&state, &name)?;
    let mode = match asked.text("mode") {
        Some("scale-out") => Mode::ScaleOut,
        Some("full") => Mode::Full,
        _ => return Err(wrong("mode", "must be scale-out or full")),
    };
    let after = asked.number::<f64>("after")?;
    if after.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
        return Err(wrong("after", "must be 0 to 1"));
    }
    let now = state.clock.wall_seconds();
    let stands = match after {
        None => state.weeks.standing(&group, mode, now),
        Some(known) => tokio::select! {
            stands = state.weeks.beyond(&group, mode, known, state.clock.as_ref(), WAITS) => stands,
            () = state.shutdown.cancelled() => state.weeks.standing(&group, mode, now),
        },
    };
    if !matches!(stands, Standing::Nothing) {
        return stands.answer();
    }
    let report = state.board.report(&group).ok_or_else(|| too_little("it was not planned yet".to_owned()))?;
    let leases = state.sessions.config().await;
    let lease_seconds = leases.groups.get(&group).copied().unwrap_or(leases.default_seconds);
    let (question, drivers) = question(&report, mode, lease_seconds)?;
    // The simulated group of the demo has a clock of its own.
    let clock = report.plan.as_deref().and_then(|plan| plan["made_at"].as_i64()).unwrap_or(now);
    // As a plan does: where it has no minute of its own, those of whom it goes on with.
    let others = state.act.leash().policy(&group).history;
    let mut pasts = Vec::new();
    for driver in drivers {
        let mut past = BTreeMap::new();
        for whose in std::iter::once(&group).chain(&others) {
            let minutes = state.store.minutes(whose, driver.metric.as_str(), clock - BACK, clock).await;
            for minute in minutes.map_err(|error| Problem::unavailable(&error))? {
                past.entry(minute.start).or_insert(minute);
            }
        }
        pasts.push((driver, past.into_values().collect()));
    }
    let stands = state.weeks.begin(&group, question, pasts, now).map_err(|error| Problem::unavailable(&error))?;
    stands.answer()
}

fn too_little(why: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why)
}

/// The group as it is, and by what it is scaled.
fn question(report: &GroupReport, mode: Mode, lease_seconds: u32) -> Result<(Question, Vec<Driver>), Problem> {
    let of = |(name, report): (&String, &MetricReport)| {
        let metric = name.parse::<Metric>().ok()?;
        let target = report.target;
        let idle = if metric.is_custom() { 0.0 } else { report.baseline.points.clamp(0.0, 0.9 * target) };
        Some(Driver { metric, target, idle })
    };
    let mut drivers: Vec<Driver> = report.metrics.iter().filter_map(of).collect();
    // CPU before what the user declared: what an instance is like is known of it.
    drivers.sort_by_key(|driver| driver.metric);
    let first = drivers.first().ok_or_else(|| too_little("no metric of the group has a target".to_owned()))?;
    let (target, idle) =
        if first.metric.is_custom() { (OWN_TARGET, 0.0) } else { (first.target / 100.0, first.idle / 100.0) };
    let setting = Setting {
        idle,
        target,
        score_target: target,
        startup: report.leads.0,
        reattach: report.leads.1,
        minimum: report.bounds.0.max(1),
        maximum: report.bounds.1.max(report.bounds.0).max(1),
        ..Setting::default()
    };
    Ok((Question { mode, setting, confidence: report.confidence, lease_seconds }, drivers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_says_how_far_it_was_is_answered_when_it_is_further() {
        let (weeks, clock, ever) = (Weeks::default(), crate::clock::SystemClock, Duration::from_secs(600));
        let web = Id::new("group", "web").expect("an id");
        let (ends, waits) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || _ = waits.recv());
        let done = Arc::new(AtomicU64::new(300_000));
        let living = Living { begun: clock.wall_seconds(), done: done.clone(), found: Arc::default(), thread };
        weeks.0.lock().expect("whole").insert((web.clone(), Mode::Full), living);
        let after = |stands: &Standing| if let Standing::Underway(share) = stands { Some(*share) } else { None };
        let late = weeks.beyond(&web, Mode::Full, 0.3, &clock, Duration::from_millis(50)).await;
        assert_eq!(after(&late), Some(0.3), "at the latest");
        assert_eq!(after(&weeks.beyond(&web, Mode::Full, 0.2, &clock, ever).await), Some(0.3), "at once");
        let further = async { done.store(330_000, Ordering::Relaxed) };
        let (stands, ()) = tokio::join!(weeks.beyond(&web, Mode::Full, 0.3, &clock, ever), further);
        assert_eq!(after(&stands), Some(0.33), "further");
        // Another is lived first, until it ends.
        let ended = async { drop(ends) };
        let (stands, ()) = tokio::join!(weeks.beyond(&web, Mode::ScaleOut, 0.0, &clock, ever), ended);
        assert!(matches!(stands, Standing::Nothing), "its turn has come");
    }

    #[test]
    fn one_week_is_lived_at_a_time_and_said_again_for_an_hour() {
        let weeks = Weeks::default();
        let (web, other) = (Id::new("group", "web").expect("an id"), Id::new("group", "other").expect("an id"));
        let of = |group: &Id, mode, now| match weeks.standing(group, mode, now) {
            Standing::Found(week) => {
                if week.is_ok() {
                    "found"
                } else {
                    "failed"
                }
            }
            Standing::Underway(_) => "underway",
            Standing::Busy { .. } => "busy",
            Standing::Nothing => "nothing",
        };
        assert_eq!(of(&web, Mode::Full, 0), "nothing");
        let (ends, waits) = std::sync::mpsc::channel::<()>();
        let living = |found: Arc<OnceLock<_>>, thread| Living { begun: 100, done: Arc::default(), found, thread };
        let put = |mode, living| drop(weeks.0.lock().expect("whole").insert((web.clone(), mode), living));
        let hangs = std::thread::spawn(move || _ = waits.recv());
        let found = Arc::new(OnceLock::new());
        put(Mode::Full, living(found.clone(), hangs));
        assert_eq!(of(&web, Mode::Full, 100), "underway");
        assert_eq!([of(&web, Mode::ScaleOut, 100), of(&other, Mode::Full, 100)], ["busy"; 2]);
        found.set(Err("too little".to_owned())).expect("once");
        assert_eq!(of(&web, Mode::Full, 101), "failed");
        drop(ends);
        while !weeks.0.lock().expect("whole").values().all(|it| it.thread.is_finished()) {
            std::thread::yield_now();
        }
        // Another may be lived, and what was found is kept beside it.
        let ended = std::thread::spawn(|| {});
        while !ended.is_finished() {
            std::thread::yield_now();
        }
        put(Mode::ScaleOut, living(Arc::default(), ended));
        assert_eq!([of(&web, Mode::Full, 159), of(&other, Mode::Full, 159)], ["failed", "nothing"]);
        // One that panicked said nothing, and is lived anew like any that could not be.
        assert_eq!([of(&web, Mode::ScaleOut, 159), of(&web, Mode::ScaleOut, 160)], ["failed", "nothing"]);
        assert_eq!(of(&web, Mode::Full, 160), "nothing");
    }
}
