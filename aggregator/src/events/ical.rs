//! iCalendar in (RFC 5545): when the events of a file take place. Pure.
//!
//! Recurrence is counted by the crate `rrule` on the clock of the wall, without a zone; which moment that is, `jiff` says afterwards,
//! since the crates that do both lose the times that clocks skip or show twice (RFC 5545, section 3.3.5: a time that does not exist
//! is taken as much later as the clocks skip, of two that have the same name the first is meant).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan as _};

/// Times one rule is counted at most.
const MOST_TURNS: usize = 100_000;

/// One time that an event of the file takes place, seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, utoipa::ToSchema)]
pub struct Occurrence {
    pub starts: i64,
    /// Exclusive.
    pub ends: i64,
    pub name: String,
    pub uid: String,
}

/// What is wrong, and in which line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub line: usize,
    pub problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

/// One property of an event.
#[derive(Debug, Clone)]
struct Property {
    line: usize,
    name: String,
    /// Upper case names.
    parameters: BTreeMap<String, String>,
    value: String,
}

/// A time as the file has it: a whole day, or a time of day, on the clocks of a zone.
#[derive(Debug, Clone)]
struct Time {
    at: DateTime,
    whole_day: bool,
    zone: TimeZone,
}

/// How long each time lasts.
#[derive(Debug, Clone)]
enum Lasts {
    /// The same to the second each time.
    Seconds(i64),
    /// By the calendar: a day has 23 to 25 hours.
    Span(Span),
}

/// One VEVENT.
#[derive(Debug)]
struct Entry {
    uid: String,
    name: String,
    cancelled: bool,
    starts: Time,
    lasts: Lasts,
    rules: Vec<Property>,
    more: Vec<Time>,
    but: Vec<Time>,
    instead_of: Option<Time>,
}

/// Every time an event of the file takes place within `[from, to)`, in order. Times without a zone are on the clocks of `local`.
/// What is cancelled is left out.
///
/// # Errors
/// Everything that is wrong, with its line: nothing is read by halves.
pub fn read(text: &str, from: i64, to: i64, local: &TimeZone) -> Result<Vec<Occurrence>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut entries = Vec::new();
    for properties in events(text, &mut problems) {
        match entry(&properties, local) {
            Ok(entry) => entries.push(entry),
            Err(found) => problems.extend(found),
        }
    }
    let mut found = BTreeSet::new();
    // What replaces one time of an event is no time of the rule any more.
    let moved: BTreeSet<(&str, i64)> =
        entries.iter().filter_map(|it| Some((it.uid.as_str(), it.instead_of.as_ref()?.moment()?))).collect();
    for entry in entries.iter().filter(|entry| !entry.cancelled) {
        match times(entry, to) {
            Ok(times) => {
                for starts in times {
                    let Some(at) = starts.moment() else { continue };
                    let replaced = entry.instead_of.is_none() && moved.contains(&(entry.uid.as_str(), at));
                    let Some(ends) = ends(&starts, at, &entry.lasts) else { continue };
                    if !replaced && ends > from && at < to && ends > at {
                        let (name, uid) = (entry.name.clone(), entry.uid.clone());
                        found.insert(Occurrence { starts: at, ends, name, uid });
                    }
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(found.into_iter().collect()) } else { Err(problems) }
}

/// The properties of each VEVENT, what stands within one (an alarm) left out.
fn events(text: &str, problems: &mut Vec<Problem>) -> Vec<Vec<Property>> {
    let (mut events, mut open, mut inner) = (Vec::new(), None::<(usize, Vec<Property>)>, 0_u32);
    let mut is_calendar = false;
    for (line, content) in unfolded(text) {
        let Some(property) = property(line, &content) else {
            problems.push(Problem { line, problem: format!("{content:?} is no NAME:VALUE") });
            continue;
        };
        let component = property.value.to_ascii_uppercase();
        is_calendar |= property.name == "BEGIN" && component == "VCALENDAR";
        match (property.name.as_str(), component.as_str(), &mut open) {
            ("BEGIN", "VEVENT", None) => open = Some((line, Vec::new())),
            ("BEGIN", _, Some(_)) => inner += 1,
            ("END", "VEVENT", Some(_)) if inner == 0 => events.extend(open.take().map(|(_, properties)| properties)),
            ("END", _, Some(_)) => inner = inner.saturating_sub(1),
            (_, _, Some((_, properties))) if inner == 0 => properties.push(property),
            _ => {}
        }
    }
    if let Some((line, _)) = open {
        problems.push(Problem { line, problem: "this VEVENT has no end: is the file whole?".to_owned() });
    }
    if !is_calendar {
        problems.push(Problem { line: 1, problem: "this is no iCalendar file: no BEGIN:VCALENDAR".to_owned() });
    }
    events
}

/// Lines with their number; one that begins with a blank goes on with the one before.
fn unfolded(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        match (line.strip_prefix([' ', '\t']), lines.last_mut()) {
            (Some(rest), Some((_, before))) => before.push_str(rest),
            _ if line.trim().is_empty() => {}
            _ => lines.push((index + 1, line.to_owned())),
        }
    }
    lines
}

fn property(line: usize, content: &str) -> Option<Property> {
    // A colon within quotes belongs to a parameter.
    let mut quoted = false;
    let colon = content.char_indices().find(|(_, letter)| {
        quoted ^= *letter == '"';
        *letter == ':' && !quoted
    });
    let (head, value) = content.split_at(colon?.0);
    let mut parts = Vec::new();
    let (mut begin, mut quoted) = (0, false);
    for (at, letter) in head.char_indices() {
        quoted ^= letter == '"';
        if letter == ';' && !quoted {
            parts.push(head.get(begin..at)?);
            begin = at + 1;
        }
    }
    parts.push(head.get(begin..)?);
    let mut parts = parts.into_iter();
    let name = parts.next()?.trim().to_ascii_uppercase();
    let parameters = parts.filter_map(|part| part.split_once('='));
    let parameters = parameters.map(|(name, value)| (name.to_ascii_uppercase(), value.trim_matches('"').to_owned()));
    Some(Property { line, name, parameters: parameters.collect(), value: value.get(1..)?.trim().to_owned() })
}

fn entry(properties: &[Property], local: &TimeZone) -> Result<Entry, Vec<Problem>> {
    let mut problems = Vec::new();
    let all = |name: &'static str| properties.iter().filter(move |it| it.name == name);
    let one = |name: &'static str| all(name).next();
    let mut times = |name: &'static str| -> Vec<Time> {
        let read = |property: &Property| {
            let parts = property.value.split(',').map(|text| time(property, text, local));
            parts.collect::<Result<Vec<_>, _>>()
        };
        let (fine, wrong): (Vec<_>, Vec<_>) = all(name).map(read).partition(Result::is_ok);
        problems.extend(wrong.into_iter().filter_map(Result::err));
        fine.into_iter().filter_map(Result::ok).flatten().collect()
    };
    let (starts, ends) = (times("DTSTART").into_iter().next(), times("DTEND").into_iter().next());
    let (more, but) = (times("RDATE"), times("EXDATE"));
    let instead_of = times("RECURRENCE-ID").into_iter().next();
    if let Some(property) = one("RECURRENCE-ID").filter(|it| it.parameters.contains_key("RANGE")) {
        let problem =
            "RECURRENCE-ID with RANGE is not read: end the rule with UNTIL and enter the rest as another event";
        problems.push(Problem { line: property.line, problem: problem.to_owned() });
    }
    let line = properties.first().map_or(0, |it| it.line);
    let lasts = lasts(one("DURATION"), starts.as_ref(), ends.as_ref());
    let text = |name| one(name).map(|property| unescaped(&property.value)).filter(|text| !text.is_empty());
    if starts.is_none() && one("DTSTART").is_none() {
        problems.push(Problem { line, problem: "the event has no DTSTART".to_owned() });
    }
    match (starts, lasts, problems.is_empty()) {
        (Some(starts), Ok(lasts), true) => Ok(Entry {
            uid: text("UID").unwrap_or_default(),
            name: text("SUMMARY").unwrap_or_else(|| "(no summary)".to_owned()),
            cancelled: one("STATUS").is_some_and(|it| it.value.eq_ignore_ascii_case("CANCELLED")),
            starts,
            lasts,
            rules: all("RRULE").cloned().collect(),
            more,
            but,
            instead_of,
        }),
        (_, lasts, _) => {
            problems.extend(lasts.err());
            Err(problems)
        }
    }
}

/// RFC 5545, section 3.8.5.3: with an end every time lasts the same to the second, with a length as long by the calendar. Whole
/// days are days of the calendar either way.
fn lasts(length: Option<&Property>, starts: Option<&Time>, ends: Option<&Time>) -> Result<Lasts, Problem> {
    match (length, starts, ends) {
        (Some(property), ..) => {
            let span = property.value.parse::<Span>().ok().filter(|span| span.is_positive());
            let problem = || format!("DURATION {:?} is no length such as PT90M or P1D", property.value);
            span.map(Lasts::Span).ok_or_else(|| Problem { line: property.line, problem: problem() })
        }
        (None, Some(starts), Some(ends)) if starts.whole_day => {
            let days = starts.at.date().until(ends.at.date()).map(|span| span.get_days()).unwrap_or_default();
            Ok(Lasts::Span(days.max(1).days()))
        }
        (None, Some(starts), Some(ends)) => {
            let seconds = starts.moment().zip(ends.moment()).map_or(0, |(from, to)| to - from);
            Ok(Lasts::Seconds(seconds))
        }
        (None, Some(starts), None) if starts.whole_day => Ok(Lasts::Span(1.day())),
        // It lasts no time at all: nothing rises.
        _ => Ok(Lasts::Seconds(0)),
    }
}

fn time(property: &Property, text: &str, local: &TimeZone) -> Result<Time, Problem> {
    let wrong = |problem: String| Problem { line: property.line, problem: format!("{}: {problem}", property.name) };
    // A period: only its begin matters here.
    let text = text.trim().split('/').next().unwrap_or_default();
    let (clock, is_utc) = text.strip_suffix(['Z', 'z']).map_or((text, false), |clock| (clock, true));
    let (at, whole_day) = match clock.len() {
        8 => (Date::strptime("%Y%m%d", clock).map(|date| date.at(0, 0, 0, 0)), true),
        _ => (DateTime::strptime("%Y%m%dT%H%M%S", clock), false),
    };
    let at = at.map_err(|_| wrong(format!("{text:?} is no date or time such as 20261127 or 20261127T180000")))?;
    let zone = match property.parameters.get("TZID") {
        _ if is_utc => TimeZone::UTC,
        None => local.clone(),
        Some(name) => TimeZone::get(name.trim_start_matches('/')).map_err(|_| {
            wrong(format!("TZID {name:?} is no IANA name such as Europe/Berlin: replace it in the file"))
        })?,
    };
    Ok(Time { at, whole_day, zone })
}

impl Time {
    /// Seconds since the Unix epoch.
    fn moment(&self) -> Option<i64> {
        Some(self.at.to_zoned(self.zone.clone()).ok()?.timestamp().as_second())
    }
}

fn ends(starts: &Time, at: i64, lasts: &Lasts) -> Option<i64> {
    match lasts {
        Lasts::Seconds(seconds) => at.checked_add(*seconds),
        Lasts::Span(span) => {
            let zoned = Timestamp::from_second(at).ok()?.to_zoned(starts.zone.clone());
            Some(zoned.checked_add(*span).ok()?.timestamp().as_second())
        }
    }
}

/// All times of an entry before `to`, and perhaps some after it.
fn times(entry: &Entry, to: i64) -> Result<Vec<Time>, Problem> {
    let mut times = vec![entry.starts.clone()];
    times.extend(entry.more.iter().cloned());
    for rule in &entry.rules {
        if times.len() == 1 + entry.more.len() {
            // The rule says of the first time as well whether it takes place.
            times.remove(0);
        }
        times.extend(turns(&entry.starts, rule, to)?);
    }
    let but: BTreeSet<i64> = entry.but.iter().filter(|it| !it.whole_day).filter_map(Time::moment).collect();
    let days: BTreeSet<Date> = entry.but.iter().filter(|it| it.whole_day).map(|it| it.at.date()).collect();
    times.retain(|time| !days.contains(&time.at.date()) && time.moment().is_none_or(|at| !but.contains(&at)));
    Ok(times)
}

/// What a rule counts up to `to`, on the clocks of the first time's zone.
fn turns(first: &Time, rule: &Property, to: i64) -> Result<Vec<Time>, Problem> {
    let wrong = |problem: String| Problem { line: rule.line, problem: format!("RRULE: {problem}") };
    let written = on_the_wall(rule, first).map_err(wrong)?;
    // The wall's clock, counted as if it were UTC.
    let stamp = first.at.to_zoned(TimeZone::UTC).map_err(|error| wrong(error.to_string()))?.timestamp().as_second();
    let start = chrono::DateTime::from_timestamp(stamp, 0).ok_or_else(|| wrong("is out of range".to_owned()))?;
    let start = start.with_timezone(&rrule::Tz::UTC);
    let parsed: rrule::RRule<rrule::Unvalidated> = written.parse().map_err(|error| wrong(format!("{error}")))?;
    let set = parsed.build(start).map_err(|error| wrong(format!("{error}")))?;
    let mut found = Vec::new();
    for (turn, at) in set.into_iter().enumerate() {
        if turn >= MOST_TURNS {
            return Err(wrong(format!("is counted more than {MOST_TURNS} times before the end of what is asked for")));
        }
        let clock = Timestamp::from_second(at.timestamp()).map_err(|error| wrong(error.to_string()))?;
        let time = Time { at: TimeZone::UTC.to_datetime(clock), ..first.clone() };
        if time.moment().is_none_or(|moment| moment >= to) {
            break;
        }
        found.push(time);
    }
    Ok(found)
}

/// The rule with its UNTIL on the wall's clock: given in UTC it means a moment, without a zone the clock itself, and a day all of it.
fn on_the_wall(rule: &Property, first: &Time) -> Result<String, String> {
    let mut parts = Vec::new();
    for part in rule.value.split(';').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is no NAME=VALUE"))?;
        if !name.eq_ignore_ascii_case("UNTIL") {
            parts.push(format!("{}={}", name.to_ascii_uppercase(), value.to_ascii_uppercase()));
            continue;
        }
        let until = time(&Property { parameters: BTreeMap::new(), ..rule.clone() }, value, &first.zone)
            .map_err(|problem| problem.problem)?;
        let clock = if until.whole_day {
            until.at.date().at(23, 59, 59, 0)
        } else {
            let moment = until.moment().and_then(|at| Timestamp::from_second(at).ok());
            first.zone.to_datetime(moment.ok_or("UNTIL is out of range")?)
        };
        parts.push(format!("UNTIL={}Z", clock.strftime("%Y%m%dT%H%M%S")));
    }
    Ok(parts.join(";"))
}

/// RFC 5545, section 3.3.11.
fn unescaped(text: &str) -> String {
    let (mut plain, mut escaped) = (String::new(), false);
    for letter in text.chars() {
        match (escaped, letter) {
            (false, '\\') => escaped = true,
            (true, 'n' | 'N') => (escaped, _) = (false, plain.push(' ')),
            _ => (escaped, _) = (false, plain.push(letter)),
        }
    }
    plain.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> i64 {
        text.parse::<Timestamp>().expect("a time").as_second()
    }

    fn calendar(lines: &str) -> String {
        let lines = lines.trim().lines().map(|line| format!("{}\r\n", line.trim()));
        format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{}END:VCALENDAR\r\n", lines.collect::<String>())
    }

    fn starts(lines: &str, zone: &str) -> Vec<i64> {
        let zone = TimeZone::get(zone).expect("a zone");
        let found = read(&calendar(lines), 0, seconds("2030-01-01T00:00:00Z"), &zone).expect("read");
        found.into_iter().map(|it| it.starts).collect()
    }

    #[test]
    fn rules_count_as_an_independent_library_counts_them() {
        let fixture: serde_json::Value = serde_json::from_str(include_str!("ical_oracle.json")).expect("a fixture");
        let cases = fixture["cases"].as_array().expect("cases");
        assert!(cases.len() >= 20);
        for case in cases {
            let text = |name: &str| case[name].as_str().unwrap_or_default().to_owned();
            let (zone, mut lines) = (text("zone"), vec!["BEGIN:VEVENT".to_owned(), "DURATION:PT1H".to_owned()]);
            lines.push(format!("DTSTART;TZID={zone}:{}", text("dtstart")));
            lines.push(format!("RRULE:{}", text("rrule")));
            lines.extend(
                case["exdates"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|at| Some(format!("EXDATE;TZID={zone}:{}", at.as_str()?))),
            );
            lines.push("END:VEVENT".to_owned());
            let expected: Vec<i64> =
                case["starts"].as_array().expect("starts").iter().filter_map(serde_json::Value::as_i64).collect();
            assert_eq!(starts(&lines.join("\n"), "UTC"), expected, "{case}");
        }
    }

    #[test]
    fn a_time_that_was_moved_or_cancelled_is_not_where_it_was() {
        let found = starts(
            "BEGIN:VEVENT
            UID:show
            SUMMARY:evening show
            DTSTART;TZID=Europe/Berlin:20261023T201500
            DTEND;TZID=Europe/Berlin:20261023T214500
            RRULE:FREQ=DAILY;COUNT=4
            BEGIN:VALARM
            TRIGGER:-PT15M
            DTSTART:nonsense
            END:VALARM
            END:VEVENT
            BEGIN:VEVENT
            UID:show
            RECURRENCE-ID;TZID=Europe/Berlin:20261024T201500
            DTSTART;TZID=Europe/Berlin:20261024T223000
            DURATION:PT1H
            END:VEVENT
            BEGIN:VEVENT
            UID:show
            STATUS:CANCELLED
            RECURRENCE-ID:20261025T191500Z
            DTSTART;TZID=Europe/Berlin:20261025T201500
            END:VEVENT",
            "UTC",
        );
        let expected = ["2026-10-23T20:15:00+02:00", "2026-10-24T22:30:00+02:00", "2026-10-26T20:15:00+01:00"];
        assert_eq!(found, expected.map(seconds));
    }

    #[test]
    fn whole_days_are_days_of_the_place_and_an_end_is_to_the_second() {
        let zone = TimeZone::get("Europe/Berlin").expect("a zone");
        let day = "BEGIN:VEVENT\nDTSTART;VALUE=DATE:20261025\nSUMMARY:Sale\\, of\\n all\nEND:VEVENT";
        let found = read(&calendar(day), 0, i64::MAX / 2, &zone).expect("read");
        let expected = (seconds("2026-10-25T00:00:00+02:00"), seconds("2026-10-26T00:00:00+01:00"));
        assert_eq!((found[0].starts, found[0].ends, found[0].name.as_str()), (expected.0, expected.1, "Sale, of  all"));
        let night = "BEGIN:VEVENT\nDTSTART;TZID=Europe/Berlin:20261023T230000\nDTEND;TZID=Europe/Berlin:20261024T060000\n\
            RRULE:FREQ=DAILY;COUNT=2\nEND:VEVENT";
        let lengths: Vec<i64> = read(&calendar(night), 0, i64::MAX / 2, &zone)
            .expect("read")
            .iter()
            .map(|it| it.ends - it.starts)
            .collect();
        assert_eq!(lengths, [7 * 3_600, 7 * 3_600], "also in the night that has an hour more");
    }

    #[test]
    fn until_is_a_moment_where_it_is_in_utc_and_a_folded_line_is_one() {
        let rule = |until: &str| {
            let lines = format!(
                "BEGIN:VEVENT\nDTSTART;TZID=America/New_York:20261030T180000\nDURATION:PT1H\nRRULE:FREQ=DAILY;\n{until}\nEND:VEVENT"
            );
            // The rule goes on in the next line.
            let text = calendar(&lines).replace(&format!("\r\n{until}"), &format!("\r\n {until}"));
            read(&text, 0, seconds("2027-01-01T00:00:00Z"), &TimeZone::UTC).expect("read").len()
        };
        // 23:00 in UTC is 18:00 in New York only when summer time is over.
        assert_eq!(rule("UNTIL=20261101T225959Z"), 2);
        assert_eq!(rule("UNTIL=20261101T230000Z"), 3);
        assert_eq!(rule("UNTIL=20261102"), 4);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_nothing_is_read_by_halves() {
        let said = |lines: &str| {
            let problems = read(&calendar(lines), 0, i64::MAX / 2, &TimeZone::UTC).expect_err("wrong");
            problems.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let fine = "BEGIN:VEVENT\nDTSTART:20261030T180000Z\nDURATION:PT1H\nEND:VEVENT\n";
        let zone = format!("{fine}BEGIN:VEVENT\nDTSTART;TZID=W. Europe Standard Time:20261030T180000\nEND:VEVENT");
        assert_eq!(
            said(&zone),
            [
                "line 8: DTSTART: TZID \"W. Europe Standard Time\" is no IANA name such as Europe/Berlin: replace it in the file"
            ]
        );
        assert!(said("BEGIN:VEVENT\nDTSTART:tomorrow\nEND:VEVENT")[0].starts_with("line 4: DTSTART: \"tomorrow\""));
        assert!(said("BEGIN:VEVENT\nSUMMARY:x\nEND:VEVENT")[0].contains("no DTSTART"));
        assert!(
            said("BEGIN:VEVENT\nDTSTART:20261030T180000Z\nRRULE:FREQ=OFTEN\nEND:VEVENT")[0]
                .starts_with("line 5: RRULE")
        );
        assert!(
            said("BEGIN:VEVENT\nDTSTART:20261030T180000Z\nDURATION:long\nEND:VEVENT")[0]
                .starts_with("line 5: DURATION")
        );
        assert!(said("BEGIN:VEVENT\nDTSTART:20261030T180000Z")[0].contains("no end"));
        let none = read("<html>", 0, 1, &TimeZone::UTC).expect_err("wrong");
        assert!(none.iter().any(|it| it.problem.contains("no iCalendar")), "{none:?}");
        assert_eq!(read(&calendar(""), 0, 1, &TimeZone::UTC), Ok(Vec::new()));
    }
}
