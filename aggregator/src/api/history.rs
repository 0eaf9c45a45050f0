//! A past that was measured elsewhere: imported minutes come in here, and can be looked at and taken out.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use foreshadow_proto::convert::Id;
use planner::policy::Metric;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ApiState;
use super::ask::{Asked, Known, wrong};
use super::problem::Problem;
use super::rest::{is_known, json_body};
use super::steer::{audited, given};
use crate::identity::Caller;
use crate::import::{Imported, Part, Stretch};

/// Minutes of one request: four days are sent at once.
const MOST_MINUTES: usize = 4 * 1_440;
/// No group has more points or instances.
const MOST: f64 = 1e9;
/// Longest name of a source.
const LONGEST_SOURCE: usize = 2_000;

/// A stretch of a group's past as another system measured it.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PartGiven {
    metric: String,
    /// Where it comes from, so that an import can go on where it ended.
    source: String,
    /// Whole minutes, seconds since 1970: the source was read from here to there.
    from: i64,
    to: i64,
    /// Start (s since 1970), demand of all instances together (points, idle use included) and instances; ascending. A minute
    /// that is not in it was not measured.
    minutes: Vec<(i64, f64, f64)>,
}

/// What became of it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PartTaken {
    /// Minutes that are now there.
    written: u64,
    /// Minutes that agents measured, and that stay.
    measured: u64,
    /// Somebody knows the group by now; a history may come before its group.
    known: bool,
    /// Whether the group is planned by this metric; absent before its first round.
    planned_by: Option<bool>,
}

/// What was imported.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct History {
    /// Imported minutes that are there now.
    minutes: i64,
    stretches: Vec<Stretch>,
    /// Somebody knows the group by now; a history may come before its group.
    known: bool,
}

/// What was taken out.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Removed {
    minutes: u64,
}

fn group_of(name: &str) -> Result<Id, Problem> {
    Id::new("group", name).map_err(|error| wrong("group", &error.to_string()))
}

fn metric_of(asked: &Known) -> Result<Metric, Problem> {
    asked.text("metric").unwrap_or("cpu").parse().map_err(|problem: String| wrong("metric", &problem))
}

/// A part whose every minute can be used.
fn checked(group: Id, given: PartGiven, now: i64) -> Result<Part, Problem> {
    let metric = given.metric.parse::<Metric>().map_err(|problem| wrong("metric", &problem))?;
    let source = given.source.trim();
    if source.is_empty() || source.len() > LONGEST_SOURCE || source.chars().any(char::is_control) {
        return Err(wrong("source", &format!("must be 1 to {LONGEST_SOURCE} characters, none of them for control")));
    }
    let whole = |at: i64| at.rem_euclid(60) == 0;
    let length = given.to.checked_sub(given.from);
    let most = i64::try_from(MOST_MINUTES * 60).unwrap_or(i64::MAX);
    if !whole(given.from) || !whole(given.to) || !length.is_some_and(|length| (60..=most).contains(&length)) {
        return Err(wrong("from", "from and to must be whole minutes, a minute to four days apart"));
    }
    if given.to > now + 60 {
        return Err(wrong("to", "lies ahead: a history is past (is the clock of one of the two wrong?)"));
    }
    let mut minutes = Vec::with_capacity(given.minutes.len());
    let mut before = given.from - 60;
    for (index, (start, gross, weight)) in given.minutes.into_iter().enumerate() {
        let field = format!("minutes[{index}]");
        if !whole(start) || start <= before || start >= given.to {
            return Err(wrong(&field, "must be a whole minute after the one before it, between from and to"));
        }
        if !(0.0..=MOST).contains(&gross) || !(0.0..=MOST).contains(&weight) {
            return Err(wrong(&field, "demand and instances must be numbers of at least 0"));
        }
        before = start;
        minutes.push(Imported { start, gross, weight });
    }
    Ok(Part { group, metric, source: source.to_owned(), from: given.from, to: given.to, minutes })
}

/// Takes a stretch of the past in. What agents measured stays; a minute that was imported before is replaced.
#[utoipa::path(post, path = "/groups/{group}/history", params(("group" = String, Path)), request_body = PartGiven,
    responses((status = 200, description = "durable", body = PartTaken), (status = 400, description = "a field is wrong", body = Problem)))]
pub async fn import(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    asked: Asked,
    body: Bytes,
) -> Result<Json<PartTaken>, Problem> {
    asked.only(&[])?;
    let group = group_of(&name)?;
    let now = state.clock.wall_seconds();
    let part = checked(group.clone(), json_body(&body)?, now)?;
    if part.metric.is_custom() && state.readings.of(part.metric).is_none() {
        return Err(wrong(
            "metric",
            &format!("{} is not declared: [metric.{0}] in the configuration does", part.metric),
        ));
    }
    let count = u64::try_from(part.minutes.len()).unwrap_or(u64::MAX);
    // Fields, so that the page tells its times as those of the viewer.
    let detail = json!({ "group": group, "metric": part.metric, "minutes": count, "from": part.from, "to": part.to, "source": part.source }).to_string();
    audited(&state, &caller, "import_history", &detail, "").await?;
    let written = state.imports.write(&part, &caller.name, now).await;
    let written = written.map_err(|error| Problem::unavailable(&error))?;
    state.revised.tell(&group, state.clock.boot_seconds());
    let report = state.board.report(&group);
    Ok(Json(PartTaken {
        written,
        measured: count.saturating_sub(written),
        known: is_known(&state, &group),
        planned_by: report.map(|report| report.metrics.contains_key(part.metric.as_str())),
    }))
}

/// What was imported for a group.
#[utoipa::path(get, path = "/groups/{group}/history", params(("group" = String, Path),
    ("metric" = Option<String>, Query, description = "cpu unless told")),
    responses((status = 200, description = "found", body = History), (status = 400, description = "a parameter is wrong", body = Problem)))]
pub async fn imported(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Json<History>, Problem> {
    let asked = asked.only(&["metric"])?;
    let (group, metric) = (group_of(&name)?, metric_of(&asked)?);
    let found = state.imports.stretches(&group, metric).await;
    let (stretches, minutes) = found.map_err(|error| Problem::unavailable(&error))?;
    Ok(Json(History { minutes, stretches, known: is_known(&state, &group) }))
}

/// Takes every imported minute of a group and metric out again; what agents measured stays.
#[utoipa::path(delete, path = "/groups/{group}/history", params(("group" = String, Path),
    ("metric" = Option<String>, Query, description = "cpu unless told"), ("reason" = String, Query, description = "why")),
    responses((status = 200, description = "taken out", body = Removed), (status = 400, description = "a parameter is wrong", body = Problem),
        (status = 404, description = "nothing was imported", body = Problem)))]
pub async fn remove(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Json<Removed>, Problem> {
    let asked = asked.only(&["metric", "reason"])?;
    let (group, metric) = (group_of(&name)?, metric_of(&asked)?);
    let reason = given(asked.text("reason").unwrap_or_default())?;
    let (stretches, there) =
        state.imports.stretches(&group, metric).await.map_err(|error| Problem::unavailable(&error))?;
    if stretches.is_empty() && there == 0 {
        let why = format!("nothing was imported for {metric} of {group}");
        return Err(Problem::new(StatusCode::NOT_FOUND, why));
    }
    audited(&state, &caller, "remove_history", &format!("{group} {metric}"), reason).await?;
    let minutes = state.imports.remove(&group, metric).await.map_err(|error| Problem::unavailable(&error))?;
    state.revised.tell(&group, state.clock.boot_seconds());
    Ok(Json(Removed { minutes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(from: i64, to: i64, minutes: Vec<(i64, f64, f64)>) -> PartGiven {
        PartGiven { metric: "cpu".into(), source: "csv".into(), from, to, minutes }
    }

    #[test]
    fn a_minute_that_cannot_be_is_named() {
        let group = || Id::new("group", "web").expect("an id");
        let fault = |part| checked(group(), part, 10_000).map(drop).expect_err("refused").detail().to_owned();
        assert!(checked(group(), given(600, 720, vec![(600, 5.0, 1.0), (660, 0.0, 0.0)]), 10_000).is_ok());
        assert!(fault(given(601, 720, vec![])).starts_with("from"));
        assert!(fault(given(600, 600, vec![])).starts_with("from"));
        assert!(fault(given(0, i64::MIN, vec![])).starts_with("from"));
        assert!(fault(given(9_960, 10_080, vec![])).starts_with("to"));
        for minutes in [
            vec![(600, 1.0, 1.0), (600, 1.0, 1.0)],
            vec![(540, 1.0, 1.0)],
            vec![(720, 1.0, 1.0)],
            vec![(610, 1.0, 1.0)],
            vec![(600, -1.0, 1.0)],
            vec![(600, f64::NAN, 1.0)],
            vec![(600, 1.0, f64::INFINITY)],
        ] {
            assert!(fault(given(600, 720, minutes.clone())).starts_with("minutes["), "{minutes:?}");
        }
        let named = PartGiven { metric: "disk".into(), ..given(600, 720, vec![]) };
        assert!(fault(named).starts_with("metric"));
        let named = PartGiven { source: "a\nb".into(), ..given(600, 720, vec![]) };
        assert!(fault(named).starts_with("source"));
    }
}
