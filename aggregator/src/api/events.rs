//! `/events`: what is known ahead, entered, listed and taken back.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::ApiState;
use super::ask::{Asked, wrong};
use super::problem::Problem;
use super::rest::{BODY_BYTES, found_of, known_group};
use crate::events::{Announced, Announcement, Event, EventError, Scope, Window, ical};
use crate::identity::Caller;
use crate::rounds::MeasuredFactor;

/// Without `to`, occurrences are listed this far, seconds.
const USUAL_SECONDS: i64 = 7 * 86_400;
/// Longest span in which occurrences are listed: a year.
const MOST_SECONDS: i64 = 366 * 86_400;
const MOST_REASON: usize = 500;
/// Without `within_seconds`, a calendar's file is read this far ahead.
const QUARTER_SECONDS: i64 = 13 * 7 * 86_400;

/// An event. Times are RFC 3339, as the clocks of its time zone show them where it has one.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EventShown {
    id: i64,
    /// The group it concerns; absent when it is every group.
    group: Option<String>,
    every_group: bool,
    name: String,
    /// The first time.
    starts: String,
    ends: String,
    duration_seconds: i64,
    ramp_seconds: u32,
    /// Demand while it lasts over demand without it.
    intensity: f64,
    /// none, daily or weekly.
    repeat: &'static str,
    /// Every so many days or weeks; 0 when it does not repeat.
    every: u32,
    time_zone: Option<String>,
    until: Option<String>,
    entered_by: String,
    entered_at: String,
    reason: String,
    deleted_by: Option<String>,
    deleted_at: Option<String>,
    delete_reason: Option<String>,
    /// What is on now, or else the next time; absent when there is none.
    next: Option<OccurrenceShown>,
    /// Those between `from` and `to`, where these were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    occurrences: Option<Vec<OccurrenceShown>>,
    /// What past times turned out to be, of the last weeks; absent where it cannot be told.
    measured: Vec<MeasuredShown>,
}

/// One time it takes place.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct OccurrenceShown {
    /// Demand begins to climb.
    rises: String,
    starts: String,
    ends: String,
}

/// Demand of a past time over what a forecast made before it had expected without it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MeasuredShown {
    group: String,
    metric: String,
    starts: String,
    factor: f64,
    /// Demand was at least this: an instance was saturated or silent.
    at_least: bool,
}

fn text(at: i64, zone: Option<&TimeZone>) -> String {
    let Ok(at) = Timestamp::from_second(at) else { return at.to_string() };
    match zone {
        None => at.to_string(),
        Some(zone) => at.display_with_offset(zone.to_offset(at)).to_string(),
    }
}

/// What the latest rounds have measured, by event.
type Factors = HashMap<i64, Vec<(String, String, MeasuredFactor)>>;

fn factors(state: &ApiState) -> Factors {
    let mut factors = Factors::new();
    for report in state.board.reports() {
        for (metric, factor) in &report.measured_events {
            let one = (report.summary.name.clone(), metric.clone(), factor.clone());
            factors.entry(factor.event).or_default().push(one);
        }
    }
    factors
}

fn shown(factors: &Factors, event: &Event, now: i64, span: Option<(i64, i64)>) -> EventShown {
    let announced = &event.announced;
    let repeat = announced.repeat.as_ref();
    let zone = repeat.map(|repeat| &repeat.zone);
    let occurrence = |window: Window| OccurrenceShown {
        rises: text(window.rises, zone),
        starts: text(window.starts, zone),
        ends: text(window.ends, zone),
    };
    let measured = factors.get(&event.id).into_iter().flatten().map(|(group, metric, factor)| MeasuredShown {
        group: group.clone(),
        metric: metric.clone(),
        starts: text(factor.starts, zone),
        factor: (factor.factor * 1_000.0).round() / 1_000.0,
        at_least: factor.at_least,
    });
    EventShown {
        id: event.id,
        group: match &announced.scope {
            Scope::Group(group) => Some(group.to_string()),
            Scope::EveryGroup => None,
        },
        every_group: announced.scope == Scope::EveryGroup,
        name: announced.name.clone(),
        starts: text(announced.starts, zone),
        ends: text(announced.ends, zone),
        duration_seconds: announced.ends - announced.starts,
        ramp_seconds: announced.ramp_seconds,
        intensity: announced.intensity,
        repeat: repeat.map_or("none", |repeat| repeat.rule.as_str()),
        every: repeat.map_or(0, |repeat| repeat.every),
        time_zone: zone.and_then(TimeZone::iana_name).map(str::to_owned),
        until: repeat.and_then(|repeat| repeat.until).map(|until| text(until, zone)),
        entered_by: event.entered_by.clone(),
        entered_at: text(event.entered_at, None),
        reason: announced.reason.clone(),
        deleted_by: event.deleted.as_ref().map(|deleted| deleted.by.clone()),
        deleted_at: event.deleted.as_ref().map(|deleted| text(deleted.at, None)),
        delete_reason: event.deleted.as_ref().map(|deleted| deleted.reason.clone()),
        next: event.from(now).next().map(occurrence),
        occurrences: span.map(|(from, to)| event.within(from, to).map(occurrence).collect()),
        measured: measured.collect(),
    }
}

/// Events, the next first. Without parameters those that are neither deleted nor over; with `from` or
/// `to` those that take place between; with `all=true` deleted ones and past ones as well.
#[utoipa::path(get, path = "/events", params(
    ("group" = Option<String>, Query, description = "those that concern this group"),
    ("from" = Option<String>, Query, description = "RFC 3339, seconds since 1970 or like -6h; now unless told"),
    ("to" = Option<String>, Query, description = "likewise; a week after `from` unless told"),
    ("all" = Option<bool>, Query, description = "deleted and past ones as well")),
    responses((status = 200, description = "found", body = Vec<EventShown>),
        (status = 400, description = "a parameter is wrong", body = Problem),
        (status = 404, description = "none, and the group is not known", body = Problem)))]
pub async fn events(State(state): State<ApiState>, asked: Asked) -> Result<Json<Vec<EventShown>>, Problem> {
    let asked = asked.only(&["group", "from", "to", "all"])?;
    let group = asked.id("group")?;
    let now = state.clock.wall_seconds();
    let (from, to) = (asked.time("from", now)?, asked.time("to", now)?);
    let all = match asked.text("all") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(wrong("all", "must be true or false")),
    };
    let span = (from.is_some() || to.is_some()).then(|| {
        let from = from.unwrap_or(now);
        (from, to.unwrap_or(from.saturating_add(USUAL_SECONDS)))
    });
    if let Some((from, to)) = span
        && (from >= to || to.saturating_sub(from) > MOST_SECONDS)
    {
        return Err(wrong("from", "must be before `to`, by 366 days at most"));
    }
    let since = if all { i64::MIN } else { span.map_or(now, |(from, _)| from) };
    let mut events = state.events.events(since).await.map_err(|error| Problem::unavailable(&error))?;
    events.retain(|event| {
        let takes_place = match span {
            Some((from, to)) => event.within(from, to).next().is_some(),
            None => all || event.from(now).next().is_some(),
        };
        let concerns = group.as_ref().is_none_or(|group| event.announced.scope.holds(group));
        concerns && takes_place && (all || event.deleted.is_none())
    });
    // An event of every group concerns also one that is not there yet; without any, the name is looked at.
    let mut events = found_of(&state, group.as_ref(), events)?;
    let first = span.map_or(now, |(from, _)| from);
    events.sort_by_key(|event| (event.from(first).next().map_or(i64::MAX, |window| window.starts), event.id));
    let factors = factors(&state);
    Ok(Json(events.iter().map(|event| shown(&factors, event, now, span)).collect()))
}

/// One event, deleted or not.
#[utoipa::path(get, path = "/events/{id}", params(("id" = i64, Path)), responses(
    (status = 200, description = "found", body = EventShown), (status = 404, description = "not known", body = Problem)))]
pub async fn event(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    asked: Asked,
) -> Result<Json<EventShown>, Problem> {
    asked.only(&[])?;
    let found = known(&state, &id).await?;
    Ok(Json(shown(&factors(&state), &found, state.clock.wall_seconds(), None)))
}

async fn known(state: &ApiState, id: &str) -> Result<Event, Problem> {
    let unknown = || {
        let problem = format!("event {id:?} is not known; GET /events?all=true lists every one there was");
        Problem::new(StatusCode::NOT_FOUND, problem).field("id", "is not known")
    };
    let number: i64 = id.parse().map_err(|_| unknown())?;
    state.events.event(number).await.map_err(|error| Problem::unavailable(&error))?.ok_or_else(unknown)
}

/// A new event. It raises the forecast from the next round on, within ten seconds.
#[utoipa::path(post, path = "/events", request_body = Announced, responses(
    (status = 201, description = "entered", body = EventShown, headers(("location" = String, description = "where it is"))),
    (status = 400, description = "a field is wrong", body = Problem),
    (status = 409, description = "there are too many", body = Problem)))]
pub async fn enter(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    asked: Asked,
    body: Bytes,
) -> Result<Response, Problem> {
    asked.only(&[])?;
    if body.len() > BODY_BYTES {
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has {BODY_BYTES} bytes at most")));
    }
    let now = state.clock.wall_seconds();
    let announced = Announcement::read(&body, now).map_err(|faults| {
        let said: Vec<String> = faults.iter().map(|fault| format!("{}: {}", fault.field, fault.problem)).collect();
        let problem = Problem::bad(format!("the event is not entered: {}", said.join("; ")));
        faults.into_iter().fold(problem, |all, fault| all.field(&fault.field, fault.problem))
    })?;
    if let Scope::Group(group) = &announced.scope {
        // An event for a group that is not there, or is written otherwise, would raise nothing and say so to nobody.
        let unknown = |problem: Problem| Problem::bad(problem.detail()).field("group", "is not known");
        known_group(&state, group.as_str()).map_err(unknown)?;
    }
    let detail = serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_default().to_string();
    let written =
        state.audit.write(state.clock.wall_micros(), &caller, "enter_event", &detail, &announced.reason).await;
    written.map_err(|error| Problem::unavailable(&error))?;
    let entered = state.events.enter(announced, &caller.name, now).await.map_err(|error| match &error {
        EventError::TooMany => Problem::new(StatusCode::CONFLICT, error.to_string()),
        EventError::Database(_) => Problem::unavailable(&error),
    })?;
    tracing::info!(event = entered.id, caller = caller.name, "an event is entered");
    let location = [(header::LOCATION, format!("/events/{}", entered.id))];
    Ok((StatusCode::CREATED, location, Json(shown(&factors(&state), &entered, now, None))).into_response())
}

/// When the events of a calendar's file (iCalendar, RFC 5545) take place. Nothing is entered.
#[utoipa::path(post, path = "/calendar", params(
    ("within_seconds" = Option<i64>, Query, description = "those of so long from now; a quarter of a year unless told, a year at most"),
    ("time_zone" = Option<String>, Query, description = "IANA name of the zone of times that name none; UTC unless told")),
    request_body(content = String, content_type = "text/calendar"),
    responses((status = 200, description = "read", body = Vec<ical::Occurrence>),
        (status = 400, description = "a parameter, or lines of the file, are wrong", body = Problem),
        (status = 413, description = "the file is too large", body = Problem)))]
pub async fn calendar(
    State(state): State<ApiState>,
    asked: Asked,
    body: Bytes,
) -> Result<Json<Vec<ical::Occurrence>>, Problem> {
    let asked = asked.only(&["within_seconds", "time_zone"])?;
    if body.len() > BODY_BYTES {
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has {BODY_BYTES} bytes at most")));
    }
    let within = asked.number("within_seconds")?.unwrap_or(QUARTER_SECONDS);
    if !(1..=MOST_SECONDS).contains(&within) {
        return Err(wrong("within_seconds", &format!("must be 1 to {MOST_SECONDS}")));
    }
    let zone = TimeZone::get(asked.text("time_zone").unwrap_or("UTC"))
        .map_err(|_| wrong("time_zone", "is not known; give an IANA name such as Europe/Berlin"))?;
    let text = std::str::from_utf8(&body).map_err(|error| Problem::bad(format!("the file is no UTF-8: {error}")))?;
    let now = state.clock.wall_seconds();
    let found = ical::read(text, now, now + within, &zone).map_err(|problems| {
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Problem::bad(format!("the calendar cannot be read: {}", said.join("; ")))
    })?;
    Ok(Json(found))
}

/// Takes an event back. What has taken place stays as the explanation of its history.
#[utoipa::path(delete, path = "/events/{id}", params(("id" = i64, Path), ("reason" = String, Query, description = "why")),
    responses((status = 200, description = "deleted", body = EventShown),
        (status = 400, description = "a parameter is wrong", body = Problem),
        (status = 404, description = "not known, or deleted before", body = Problem)))]
pub async fn delete(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    asked: Asked,
) -> Result<Json<EventShown>, Problem> {
    let asked = asked.only(&["reason"])?;
    let reason = asked.text("reason").unwrap_or_default().trim();
    if reason.is_empty() {
        return Err(wrong("reason", "is missing: say why the event is taken back"));
    }
    if reason.chars().count() > MOST_REASON || reason.chars().any(char::is_control) {
        return Err(wrong("reason", "is longer than 500 characters, or has control characters"));
    }
    let found = known(&state, &id).await?;
    let gone = |event: &Event| {
        let deleted = event.deleted.as_ref();
        let (by, at) = deleted.map_or(("somebody", 0), |deleted| (deleted.by.as_str(), deleted.at));
        let problem = format!("event {} was deleted before, by {by} at {}", event.id, text(at, None));
        Problem::new(StatusCode::NOT_FOUND, problem).field("id", "was deleted before")
    };
    if found.deleted.is_some() {
        return Err(gone(&found));
    }
    let now = state.clock.wall_seconds();
    let detail = format!("event {} {:?}", found.id, found.announced.name);
    let written = state.audit.write(state.clock.wall_micros(), &caller, "delete_event", &detail, reason).await;
    written.map_err(|error| Problem::unavailable(&error))?;
    let done = state.events.delete(found.id, &caller.name, now, reason).await;
    let done = done.map_err(|error| Problem::unavailable(&error))?;
    let event = known(&state, &id).await?;
    if !done {
        return Err(gone(&event));
    }
    tracing::info!(event = event.id, caller = caller.name, "an event is deleted");
    Ok(Json(shown(&factors(&state), &event, now, None)))
}
