//! What the web page stands on: who is asking, every group in a line, and the lines that change.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use foreshadow_proto::convert::Id;
use foreshadow_proto::v1;
use futures::StreamExt as _;
use planner::policy::Mode;
use serde::Serialize;
use serde_json::Value;
use tokio::time::MissedTickBehavior;

use super::ApiState;
use super::ask::{Asked, wrong};
use super::behind::{self, InstancesTold};
use super::curves::CurvesTold;
use super::problem::Problem;
use super::rest::known_group;
use super::routes;
use crate::act::Said;
use crate::identity::{Caller, Role};
use crate::rounds::GroupReport;
use crate::shadow::{Origin, ShadowSession};

/// What changed is looked for this often: a pause in another window shows at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A comment keeps proxies from closing a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Who is asking.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct WhoAmI {
    name: String,
    /// viewer, operator or admin.
    role: Role,
    /// No tokens are configured: everybody on this host may do everything.
    open: bool,
    /// Of this aggregator.
    version: &'static str,
    /// Seconds since the Unix epoch, by the clock that times everything here.
    now: i64,
}

/// Who the token belongs to, and what it allows.
#[utoipa::path(get, path = "/whoami", responses((status = 200, description = "known", body = WhoAmI)))]
pub async fn whoami(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    asked: Asked,
) -> Result<Json<WhoAmI>, Problem> {
    asked.only(&[])?;
    let version = env!("CARGO_PKG_VERSION");
    let Caller { name, role, open, .. } = caller;
    Ok(Json(WhoAmI { name, role, open, version, now: state.clock.wall_seconds() }))
}

/// Every group in a line.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Overview {
    /// Seconds since the Unix epoch.
    now: i64,
    /// What was last said of everything: whether all is paused, by whom and why.
    everywhere: Option<Said>,
    groups: Vec<GroupLine>,
}

/// One group in a line. Nothing in it changes by time alone, so that only what changed is sent: its holds are bare words
/// (`StaleSamples`), without how old and how many.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct GroupLine {
    #[serde(flatten)]
    summary: v1::Group,
    /// What the configuration file allows at most.
    #[schema(value_type = String)]
    at_most: Mode,
    /// By itself or with everything else.
    paused: bool,
    /// The inventory source that has it; absent where agents' claims make the group.
    source: Option<&'static str>,
    minimum: u32,
    maximum: u32,
    confidence: f64,
    /// The model, or the models with their shares.
    model: Option<String>,
    trust: Option<f64>,
    measured_coverage: Option<f64>,
    nominal_coverage: Option<f64>,
    /// The same of the interval from the 5 % to the 95 % quantile.
    wide_measured_coverage: Option<f64>,
    wide_nominal_coverage: Option<f64>,
    /// Steps of the latest plan: name, instances (of a floor, how low it is), and whether the mode permits it.
    steps: Vec<(String, usize, bool)>,
    /// Open shadow sessions.
    shadows: Shadows,
}

/// What stands in shadow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Shadows {
    ours: u32,
    foreign: u32,
    /// What those with a known price cost together, per hour.
    price_per_hour: f64,
    /// Those without.
    unpriced: u32,
}

impl Shadows {
    fn add(&mut self, session: &ShadowSession) {
        match session.origin {
            Origin::Ours => self.ours += 1,
            Origin::Foreign => self.foreign += 1,
        }
        match session.price_per_hour {
            Some(price) => self.price_per_hour += price,
            None => self.unpriced += 1,
        }
    }
}

fn steps(plan: &Value) -> Vec<(String, usize, bool)> {
    let read = |step: &Value| {
        // A floor names no instances: how low it is says it.
        let count =
            step["count"].as_u64().or_else(|| step["to"].as_u64()).and_then(|count| usize::try_from(count).ok());
        let instances = count.or_else(|| Some(step["instances"].as_array()?.len())).unwrap_or_default();
        Some((step["step"].as_str()?.to_owned(), instances, step["permitted"].as_bool()?))
    };
    plan["steps"].as_array().into_iter().flatten().filter_map(read).collect()
}

/// The words of a plan's holds, each once.
fn holds(plan: &Value) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in plan["holds"].as_array().into_iter().flatten().filter_map(|hold| hold["hold"].as_str()) {
        if !words.iter().any(|known| known == word) {
            words.push(word.to_owned());
        }
    }
    words
}

fn line(state: &ApiState, report: &GroupReport, shadows: Shadows) -> Option<GroupLine> {
    let group = Id::new("group", &report.summary.name).ok()?;
    let standing = state.act.control().standing(&group);
    let forecast = report.forecasts.values().next();
    let rounded = |share: f64| (share * 1_000.0).round() / 1_000.0;
    // The simulated group of the demo has a mode of its own.
    let mode = if report.summary.simulated { report.summary.mode.clone() } else { standing.mode.to_string() };
    Some(GroupLine {
        summary: v1::Group {
            mode,
            holds: report.plan.as_deref().map(holds).unwrap_or_default(),
            ..report.summary.clone()
        },
        at_most: standing.at_most,
        paused: standing.paused,
        source: state.timeline.source_of(&group),
        minimum: report.bounds.0,
        maximum: report.bounds.1,
        confidence: report.confidence,
        model: forecast.map(|forecast| forecast.model.clone()),
        trust: forecast.map(|forecast| rounded(forecast.trust)),
        measured_coverage: forecast.and_then(|forecast| forecast.measured_coverage).map(rounded),
        nominal_coverage: forecast.map(|forecast| rounded(forecast.nominal_coverage)),
        wide_measured_coverage: forecast.and_then(|forecast| forecast.wide_measured_coverage).map(rounded),
        wide_nominal_coverage: forecast.and_then(|forecast| forecast.wide_nominal_coverage).map(rounded),
        steps: report.plan.as_deref().map(steps).unwrap_or_default(),
        shadows,
    })
}

/// The lines by name, and what was said of everything.
async fn lines(state: &ApiState) -> (BTreeMap<String, GroupLine>, Option<Said>) {
    let mut shadows: BTreeMap<Id, Shadows> = BTreeMap::new();
    for session in state.sessions.sessions().await.iter().filter(|session| session.ended.is_none()) {
        shadows.entry(session.group.clone()).or_default().add(session);
    }
    let shadows_of = |name: &str| Id::new("group", name).ok().and_then(|group| shadows.get(&group).cloned());
    let reports = state.board.reports();
    let found = reports.iter().filter_map(|report| {
        let name = &report.summary.name;
        Some((name.clone(), line(state, report, shadows_of(name).unwrap_or_default())?))
    });
    (found.collect(), state.act.control().everywhere())
}

/// Every group in a line, with what was last said of everything.
#[utoipa::path(get, path = "/overview", responses((status = 200, description = "found", body = Overview)))]
pub async fn overview(State(state): State<ApiState>, asked: Asked) -> Result<Json<Overview>, Problem> {
    asked.only(&[])?;
    let (lines, everywhere) = lines(&state).await;
    Ok(Json(Overview { now: state.clock.wall_seconds(), everywhere, groups: lines.into_values().collect() }))
}

/// What changed since the event before.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Changes {
    now: i64,
    everywhere: Option<Said>,
    /// Groups that are new or different; at first all of them.
    groups: Vec<GroupLine>,
    /// Groups that are no more.
    gone: Vec<String>,
}

/// A group was planned anew, or what may be done in it changed.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Round {
    group: String,
    /// Of the latest plan.
    generation: u64,
    paused: bool,
    mode: String,
}

/// A list was changed: what is new in it is to be asked for.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Listed {
    /// Grows with every change, from the start of the aggregator.
    revision: u64,
}

/// Lists by their event, and the paths that read them.
const LISTS: [(&str, &str); 4] =
    [("events", "/events"), ("audit", "/audit"), ("access", "/certificates"), ("access", "/tokens")];

type Revisions = BTreeMap<&'static str, u64>;

/// Revisions of the lists that the caller may read: of the others not even that they changed is told.
fn readable(caller: &Caller, revision: impl Fn(&str) -> u64) -> Revisions {
    let mut found = Revisions::new();
    for (event, path) in LISTS.into_iter().filter(|(_, path)| routes::may_read(caller, path)) {
        *found.entry(event).or_default() += revision(path);
    }
    found
}

fn revisions(state: &ApiState, caller: &Caller) -> Revisions {
    readable(caller, |path| match path {
        "/events" => state.events.revision(),
        "/audit" => state.audit.revision(),
        "/certificates" => state.callers.enrolments().revision(),
        _ => state.callers.managed().revision(),
    })
}

/// What a stream has told.
#[derive(Default)]
struct Told {
    lines: BTreeMap<String, GroupLine>,
    everywhere: Option<Said>,
    round: Option<Round>,
    revisions: Revisions,
    once: bool,
}

impl Told {
    /// The events that tell what is new.
    fn news(
        &mut self,
        now: i64,
        lines: BTreeMap<String, GroupLine>,
        everywhere: Option<Said>,
        round: Option<Round>,
        revisions: Revisions,
    ) -> Vec<Event> {
        let gone: Vec<String> = self.lines.keys().filter(|name| !lines.contains_key(*name)).cloned().collect();
        let changed = lines.iter().filter(|(name, line)| self.lines.get(*name) != Some(line));
        let groups: Vec<GroupLine> = changed.map(|(_, line)| line.clone()).collect();
        let mut events = Vec::new();
        if !self.once || !groups.is_empty() || !gone.is_empty() || self.everywhere != everywhere {
            let changes = Changes { now, everywhere: everywhere.clone(), groups, gone };
            events.extend(Event::default().event("groups").json_data(changes));
        }
        if round.is_some() && self.round != round {
            events.extend(round.as_ref().and_then(|round| Event::default().event("round").json_data(round).ok()));
        }
        let revised = revisions.iter().filter(|(name, revision)| self.revisions.get(*name) != Some(*revision));
        for (name, revision) in revised {
            events.extend(Event::default().event(name).json_data(Listed { revision: *revision }));
        }
        *self = Self { lines, everywhere, round, revisions, once: true };
        events
    }
}

/// Of each group, or of one, the newest minute of its demand.
fn newest_minutes(state: &ApiState, group: Option<&Id>) -> BTreeMap<String, (i64, f64)> {
    let reports = state.board.reports();
    let wanted = reports.iter().filter(|report| group.is_none_or(|group| report.summary.name == group.as_str()));
    wanted.filter_map(|report| Some((report.summary.name.clone(), report.newest_minute?))).collect()
}

fn of_round(state: &ApiState, group: &Id, line: &GroupLine) -> Option<Round> {
    let generation = state.board.report(group)?.plan.as_deref()?["generation"].as_u64()?;
    Some(Round { group: group.to_string(), generation, paused: line.paused, mode: line.summary.mode.clone() })
}

/// Server-sent events: `groups` with every group at first and then those that changed; for one group also `round`,
/// whenever it was planned anew. `events`, `audit` and `access` (tokens and certificates) say at first and after every change
/// how often that list was changed, to those who may read it. Where asked for, `instances` with every instance at first and then
/// those of which more changed than their newest sample; and `demand` with each group's newest minute at first and whenever one is over.
#[utoipa::path(get, path = "/changes", params(("group" = Option<String>, Query, description = "this group alone"),
    ("instances" = Option<bool>, Query, description = "instances as well; not unless told"),
    ("demand" = Option<bool>, Query, description = "each minute of demand by CPU as well; not unless told")),
    responses((status = 200, description = "a stream of changes", body = Changes, content_type = "text/event-stream"),
        (status = 400, description = "a parameter is wrong", body = Problem),
        (status = 404, description = "not known", body = Problem)))]
pub async fn changes(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    asked: Asked,
) -> Result<Response, Problem> {
    let asked = asked.only(&["group", "instances", "demand"])?;
    let group = asked.text("group").map(|name| known_group(&state, name)).transpose()?;
    let wants = |name| match asked.text(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(wrong(name, "must be true or false")),
    };
    let instances = wants("instances")?.then(InstancesTold::default);
    let curves = wants("demand")?.then(CurvesTold::default);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let until = state.shutdown.clone();
    let events = futures::stream::unfold(
        (Told::default(), instances, curves, looks),
        move |(mut told, mut instances, mut curves, mut looks)| {
            let (state, group, caller) = (state.clone(), group.clone(), caller.clone());
            async move {
                looks.tick().await;
                // Before the rest: what changes meanwhile is told the next time.
                let revisions = revisions(&state, &caller);
                let (mut lines, everywhere) = lines(&state).await;
                let mut round = None;
                if let Some(group) = &group {
                    lines.retain(|name, _| name == group.as_str());
                    round = lines.get(group.as_str()).and_then(|line| of_round(&state, group, line));
                }
                let mut news = told.news(state.clock.wall_seconds(), lines, everywhere, round, revisions);
                if let Some(told) = &mut instances {
                    let changes = told.news(behind::shown(&state, group.as_ref()));
                    news.extend(changes.and_then(|it| Event::default().event("instances").json_data(it).ok()));
                }
                if let Some(told) = &mut curves {
                    let minutes = told.news(newest_minutes(&state, group.as_ref())).into_iter();
                    news.extend(minutes.filter_map(|it| Event::default().event("demand").json_data(it).ok()));
                }
                Some((news, (told, instances, curves, looks)))
            }
        },
    );
    let events = events.flat_map(|events| futures::stream::iter(events.into_iter().map(Ok::<_, Infallible>)));
    let events = events.take_until(async move { until.cancelled().await });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn group(name: &str, serving: u32) -> (String, GroupLine) {
        let line = GroupLine {
            summary: v1::Group { name: name.to_owned(), serving, ..v1::Group::default() },
            at_most: Mode::Full,
            paused: false,
            source: None,
            minimum: 1,
            maximum: 9,
            confidence: 0.9,
            model: None,
            trust: None,
            measured_coverage: None,
            nominal_coverage: None,
            wide_measured_coverage: None,
            wide_nominal_coverage: None,
            steps: Vec::new(),
            shadows: Shadows::default(),
        };
        (name.to_owned(), line)
    }

    fn round(generation: u64) -> Option<Round> {
        Some(Round { group: "web".to_owned(), generation, paused: false, mode: "observe".to_owned() })
    }

    #[test]
    fn only_what_changed_is_told() {
        let mut told = Told::default();
        let mut news = |now, lines, said, round| told.news(now, lines, said, round, Revisions::new());
        let both = || BTreeMap::from([group("api", 1), group("web", 2)]);
        assert_eq!(news(1, BTreeMap::new(), None, None).len(), 1, "that there is nothing is news at first");
        assert_eq!(news(2, both(), None, None).len(), 1);
        assert!(news(3, both(), None, None).is_empty(), "the time alone is no news");
        let said = Said { mode: Mode::Observe, paused: true, at: 1, by: "x".to_owned(), reason: "r".to_owned() };
        assert_eq!(news(4, both(), Some(said.clone()), None).len(), 1);
        let event = format!("{:?}", news(5, BTreeMap::from([group("web", 3)]), Some(said.clone()), None));
        assert!(event.contains("gone") && !event.contains(r#"name\":\"api"#), "{event}");
        assert_eq!(news(6, BTreeMap::from([group("web", 3)]), Some(said.clone()), round(1)).len(), 1);
        assert!(news(7, BTreeMap::from([group("web", 3)]), Some(said.clone()), round(1)).is_empty());
        assert_eq!(news(8, BTreeMap::from([group("web", 3)]), Some(said), round(2)).len(), 1);
    }

    #[test]
    fn lists_are_told_once_by_their_revision() {
        let mut told = Told::default();
        let mut names = |events, audit| {
            let revisions = Revisions::from([("events", events), ("audit", audit)]);
            let news = format!("{:?}", told.news(1, BTreeMap::new(), None, None, revisions));
            ["everywhere", "events", "audit"].map(|word| news.contains(word))
        };
        assert_eq!(names(0, 7), [true, true, true], "at first all");
        assert_eq!(names(0, 7), [false; 3]);
        assert_eq!(names(1, 7), [false, true, false]);
        assert_eq!(names(0, 7), [false, true, false], "another aggregator began to count");
    }

    #[test]
    fn of_lists_that_a_role_may_not_read_nothing_is_told() {
        let heard = |role| readable(&Caller::named("x", role), |path| if path == "/tokens" { 100 } else { 1 });
        assert_eq!(heard(Role::Viewer), Revisions::from([("events", 1)]));
        assert_eq!(heard(Role::Operator), Revisions::from([("events", 1), ("audit", 1), ("access", 1)]));
        assert_eq!(heard(Role::Admin)["access"], 101, "tokens and certificates");
        assert_eq!(heard(Role::Agent), Revisions::new());
    }

    #[test]
    fn steps_are_counted_by_number_or_by_name() {
        let plan = json!({"steps": [{"step": "launch", "count": 2, "permitted": true},
            {"step": "detach", "instances": ["i-1", "i-2", "i-3"], "permitted": false},
            {"step": "floor", "from": 2, "to": 5, "permitted": true}]});
        let wanted = [("launch", 2, true), ("detach", 3, false), ("floor", 5, true)];
        assert_eq!(steps(&plan), wanted.map(|(name, count, permitted)| (name.to_owned(), count, permitted)));
        assert!(steps(&json!({})).is_empty());
    }

    #[test]
    fn a_hold_is_its_word_once_whatever_its_numbers() {
        let at = |left: u32| {
            json!({"holds": [{"hold": "WarmUp", "seconds_left": left}, {"hold": "Saturated", "metric": "cpu"},
            {"hold": "Saturated", "metric": "memory"}]})
        };
        assert_eq!(holds(&at(593)), ["WarmUp", "Saturated"]);
        assert_eq!(holds(&at(593)), holds(&at(583)));
        assert!(holds(&json!({})).is_empty());
    }

    #[test]
    fn shadows_without_a_price_are_counted_and_not_guessed() {
        let mut shadows = Shadows::default();
        for (origin, price) in [(Origin::Ours, Some(0.1)), (Origin::Foreign, None), (Origin::Ours, Some(0.2))] {
            shadows.add(&ShadowSession {
                session: 1,
                instance: "i-1".parse().expect("an id"),
                group: "web".parse().expect("an id"),
                instance_type: None,
                version: None,
                origin,
                started: 0,
                until: 1,
                boot_until: 1,
                hard_limit: 1,
                ended: None,
                seen: None,
                reason: String::new(),
                price_per_hour: price,
            });
        }
        assert_eq!((shadows.ours, shadows.foreign, shadows.unpriced), (2, 1, 1));
        assert!((shadows.price_per_hour - 0.3).abs() < 1e-9);
    }
}
