//! `foreshadow events`: the same routes as everybody's, for a person at a terminal.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{ArgGroup, Subcommand};
use http::Method;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::ical::{self, Occurrence};
use crate::client::{Client, escaped, reason_argument};
use crate::clock::{Clock as _, SystemClock, time_argument};

/// List events, enter one, or take one back.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct EventsArguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Enter an event: it raises the forecast from the next round on
    Add(Box<Add>),
    /// Enter the events of an iCalendar file (.ics); what is there already is left as it is
    Import(Box<Import>),
    /// Take an event back by its number
    Remove(Remove),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Those that concern this group
    #[arg(long)]
    group: Option<String>,
    /// Those that take place from here: RFC 3339, seconds since 1970 or like -6h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time_argument)]
    from: Option<String>,
    /// Up to here
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time_argument)]
    to: Option<String>,
    /// Deleted and past ones as well
    #[arg(long)]
    all: bool,
    /// The answer itself, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: Client,
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("whom").required(true).args(["group", "every_group"])))]
#[command(group(ArgGroup::new("end").required(true).args(["ends", "length"])))]
struct Add {
    /// The group it concerns
    #[arg(long)]
    group: Option<String>,
    /// It concerns every group
    #[arg(long)]
    every_group: bool,
    /// What people call it
    #[arg(long)]
    name: String,
    /// When it begins: RFC 3339, seconds since 1970 or like +2h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time_argument)]
    starts: String,
    /// When it is over
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time_argument)]
    ends: Option<String>,
    /// How long it lasts: 45m, 24h, 1d12h
    #[arg(long = "for", value_name = "LENGTH", value_parser = length)]
    length: Option<u32>,
    /// Demand climbs in a straight line this long before it begins: 30m
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    ramp: Option<u32>,
    /// Demand while it lasts over demand without it, above 1: 2 is twice the demand
    #[arg(long, visible_alias = "intensity")]
    factor: f64,
    /// daily or weekly
    #[arg(long, value_name = "RULE", requires = "time_zone")]
    repeat: Option<String>,
    /// Every so many days or weeks
    #[arg(long, value_name = "N", requires = "repeat")]
    every: Option<u32>,
    /// IANA name of the time zone whose clocks the repetition follows: Europe/Berlin
    #[arg(long, value_name = "ZONE", requires = "repeat")]
    time_zone: Option<String>,
    /// The last time it may begin
    #[arg(long, value_name = "TIME", requires = "repeat", value_parser = time_argument)]
    until: Option<String>,
    /// Why it is entered
    #[arg(long, value_parser = reason_argument)]
    reason: String,
    /// The answer itself, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: Client,
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("whom").required(true).args(["group", "every_group"])))]
struct Import {
    /// The file
    file: PathBuf,
    /// The group they concern
    #[arg(long)]
    group: Option<String>,
    /// They concern every group
    #[arg(long)]
    every_group: bool,
    /// Demand while one lasts over demand without it, above 1: 2 is twice the demand
    #[arg(long, visible_alias = "intensity")]
    factor: f64,
    /// Demand climbs in a straight line this long before one begins: 30m
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    ramp: Option<u32>,
    /// Those that take place within this from now: 30d, 52w
    #[arg(long, value_name = "LENGTH", value_parser = length, default_value = "13w")]
    within: u32,
    /// IANA name of the zone of times that name none
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: String,
    /// Why they are entered
    #[arg(long, value_parser = reason_argument)]
    reason: String,
    /// Say what would be entered, and enter nothing
    #[arg(long)]
    dry_run: bool,
    /// Say what was entered as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: Client,
}

#[derive(Debug, clap::Args)]
struct Remove {
    /// The number that `foreshadow events` shows
    id: i64,
    /// Why it is taken back
    #[arg(long, value_parser = reason_argument)]
    reason: String,
    /// The answer itself, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: Client,
}

/// Asks and prints.
pub async fn run(arguments: &EventsArguments) -> anyhow::Result<()> {
    let (answer, as_json) = match &arguments.action {
        None => {
            let list = &arguments.list;
            let answer = list.client.get(&list.path()).await?;
            if !list.json {
                if let (Some(group), Some([])) = (&list.group, answer.as_array().map(Vec::as_slice)) {
                    // Nothing of one group is not nothing at all.
                    print!("{group}: ");
                }
                print!("{}", table(answer.as_array().map_or(&[], Vec::as_slice)));
                return Ok(());
            }
            (answer, true)
        }
        Some(Action::Add(add)) => (add.client.request(Method::POST, "/events", Some(&add.body())).await?, add.json),
        Some(Action::Import(import)) => return import.run().await,
        Some(Action::Remove(remove)) => {
            let path = format!("/events/{}?reason={}", remove.id, escaped(&remove.reason));
            (remove.client.request(Method::DELETE, &path, None).await?, remove.json)
        }
    };
    if as_json {
        println!("{answer:#}");
    } else {
        println!("{}", sentence(&answer));
    }
    Ok(())
}

impl List {
    fn path(&self) -> String {
        let mut pairs = Vec::new();
        for (name, value) in [("group", &self.group), ("from", &self.from), ("to", &self.to)] {
            pairs.extend(value.as_ref().map(|value| format!("{name}={}", escaped(value))));
        }
        if self.all {
            pairs.push("all=true".to_owned());
        }
        if pairs.is_empty() { "/events".to_owned() } else { format!("/events?{}", pairs.join("&")) }
    }
}

impl Import {
    async fn run(&self) -> anyhow::Result<()> {
        let place = || self.file.display().to_string();
        let text = std::fs::read_to_string(&self.file).with_context(place)?;
        let zone = TimeZone::get(&self.time_zone)
            .with_context(|| format!("--time-zone {:?}: give an IANA name such as Europe/Berlin", self.time_zone))?;
        let now = SystemClock.wall_seconds();
        let found = ical::read(&text, now, now + i64::from(self.within), &zone).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(|problem| format!("{}: {problem}", place())).collect();
            anyhow::anyhow!("{}\nnothing was entered", lines.join("\n"))
        })?;
        let there = self.there().await?;
        let new: Vec<_> = found.iter().filter(|it| !there.contains(&(it.name.clone(), it.starts, it.ends))).collect();
        let mut told = Vec::new();
        for (count, occurrence) in new.iter().enumerate() {
            let body = self.body(occurrence);
            if self.dry_run {
                told.push(body);
            } else {
                let entered = self.client.request(Method::POST, "/events", Some(&body)).await;
                let next = || format!("{count} of {} were entered; the next: {}", new.len(), occurrence.name);
                told.push(entered.with_context(next)?);
            }
            if !self.json {
                println!("{} x{} {}", stamp(occurrence.starts), self.factor, occurrence.name);
            }
        }
        let (old, up_to) = (found.len() - new.len(), stamp(now + i64::from(self.within)));
        if self.json {
            println!("{:#}", json!({ "dry_run": self.dry_run, "events": told, "there_already": old, "up_to": up_to }));
            return Ok(());
        }
        let verb = if self.dry_run { "would be entered" } else { "entered" };
        println!("{} {verb}, {old} there already, up to {up_to}", new.len());
        Ok(())
    }

    /// Name, start and end of those that are entered already for the same whom.
    async fn there(&self) -> anyhow::Result<BTreeSet<(String, i64, i64)>> {
        let answer = self.client.get("/events").await?;
        let same = |event: &&Value| match &self.group {
            Some(group) => field(event, "group") == group,
            None => event.get("every_group") == Some(&Value::Bool(true)),
        };
        let at = |event: &Value, name: &str| field(event, name).parse::<Timestamp>().map(Timestamp::as_second).ok();
        let events = answer.as_array().map_or(&[][..], Vec::as_slice).iter().filter(same);
        Ok(events.filter_map(|it| Some((field(it, "name").to_owned(), at(it, "starts")?, at(it, "ends")?))).collect())
    }

    fn body(&self, occurrence: &Occurrence) -> Value {
        let whom = match &self.group {
            Some(group) => ("group", Value::from(group.clone())),
            None => ("every_group", Value::from(true)),
        };
        let mut body = json!({
            "name": occurrence.name, "starts": stamp(occurrence.starts), "ends": stamp(occurrence.ends),
            "ramp_seconds": self.ramp.unwrap_or_default(), "intensity": self.factor, "reason": self.reason,
        });
        body[whom.0] = whom.1;
        body
    }
}

fn stamp(at: i64) -> String {
    Timestamp::from_second(at).map_or_else(|_| at.to_string(), |at| at.to_string())
}

impl Add {
    fn body(&self) -> Value {
        let mut body = Map::new();
        let mut put = |name: &str, value: Option<Value>| drop(value.map(|value| body.insert(name.to_owned(), value)));
        let text = |text: &Option<String>| text.clone().map(Value::from);
        put("group", text(&self.group));
        put("every_group", self.every_group.then_some(Value::from(true)));
        put("name", Some(self.name.clone().into()));
        put("starts", Some(self.starts.clone().into()));
        put("ends", text(&self.ends));
        put("duration_seconds", self.length.map(Value::from));
        put("ramp_seconds", self.ramp.map(Value::from));
        put("intensity", Some(json!(self.factor)));
        put("repeat", text(&self.repeat));
        put("every", self.every.map(Value::from));
        put("time_zone", text(&self.time_zone));
        put("until", text(&self.until));
        put("reason", Some(self.reason.clone().into()));
        Value::Object(body)
    }
}

/// Seconds from `90s`, `45m`, `24h`, `2d`, `1w` and what is written in one: `1d12h`.
fn length(text: &str) -> Result<u32, String> {
    let wrong = || format!("{text:?} is not a length like 45m, 24h or 1d12h");
    let (mut total, mut digits) = (0_u32, String::new());
    for letter in text.chars() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        let unit = match letter {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return Err(wrong()),
        };
        let part = digits.parse::<u32>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        digits.clear();
    }
    if digits.is_empty() && !text.is_empty() { Ok(total) } else { Err(wrong()) }
}

/// Seconds as a person writes them.
fn lasting(mut seconds: u64) -> String {
    let mut said = String::new();
    for (unit, letter) in [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')] {
        if seconds >= unit {
            said.push_str(&format!("{}{letter}", seconds / unit));
            seconds %= unit;
        }
    }
    if said.is_empty() { "0s".to_owned() } else { said }
}

fn field<'a>(event: &'a Value, name: &str) -> &'a str {
    event.get(name).and_then(Value::as_str).unwrap_or("")
}

fn whom(event: &Value) -> &str {
    if event.get("every_group") == Some(&Value::Bool(true)) { "(every group)" } else { field(event, "group") }
}

fn seconds(event: &Value, name: &str) -> u64 {
    event.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn repeats(event: &Value) -> String {
    let every = seconds(event, "every");
    let unit = match (field(event, "repeat"), every) {
        ("daily", 1) => "daily".to_owned(),
        ("weekly", 1) => "weekly".to_owned(),
        ("daily", _) => format!("every {every} days"),
        ("weekly", _) => format!("every {every} weeks"),
        _ => return "once".to_owned(),
    };
    let until = field(event, "until");
    let until = if until.is_empty() { String::new() } else { format!(" until {until}") };
    format!("{unit}, {}{until}", field(event, "time_zone"))
}

/// When it is next, or what became of it.
fn when(event: &Value) -> String {
    let next = event.get("next").map_or("", |next| field(next, "starts"));
    match (field(event, "deleted_at"), next) {
        ("", "") => "over".to_owned(),
        ("", next) => next.to_owned(),
        (deleted, _) => format!("deleted {deleted}"),
    }
}

/// What was measured of it last, over all groups the highest.
fn measured(event: &Value) -> String {
    let all = event.get("measured").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let latest = all.iter().map(|found| field(found, "starts")).max();
    let of_latest = all.iter().filter(|found| Some(field(found, "starts")) == latest);
    let most = of_latest.filter_map(|found| found.get("factor")?.as_f64()).reduce(f64::max);
    most.map_or_else(|| "-".to_owned(), |factor| format!("x{factor:.2}"))
}

/// One line an event, the next first.
fn table(events: &[Value]) -> String {
    if events.is_empty() {
        return "no events; enter one with: foreshadow events add --help\n".to_owned();
    }
    let rows = events.iter().map(|event| {
        let (ramp, factor) = (seconds(event, "ramp_seconds"), event.get("intensity").and_then(Value::as_f64));
        let ramp = if ramp > 0 { format!(" after {}", lasting(ramp)) } else { String::new() };
        [
            event.get("id").map(ToString::to_string).unwrap_or_default(),
            when(event),
            lasting(seconds(event, "duration_seconds")),
            factor.map_or_else(String::new, |factor| format!("x{factor}{ramp}")),
            measured(event),
            whom(event).to_owned(),
            field(event, "name").to_owned(),
            repeats(event),
            format!("{} ({})", field(event, "reason"), field(event, "entered_by")),
        ]
    });
    let heads = ["id", "next", "lasts", "factor", "measured", "group", "event", "repeats", "why, by whom"];
    // What is the same everywhere says nothing, and a screen is not wide.
    crate::table::but(heads, rows.collect(), &[("measured", "-"), ("repeats", "once")])
}

/// One event in words.
fn sentence(event: &Value) -> String {
    let id = event.get("id").map(ToString::to_string).unwrap_or_default();
    let what = format!("event {id} {:?} for {}", field(event, "name"), whom(event));
    if !field(event, "deleted_at").is_empty() {
        return format!("{what}: deleted");
    }
    let factor = event.get("intensity").and_then(Value::as_f64).unwrap_or_default();
    let next = event.get("next").map_or("", |next| field(next, "starts"));
    let when = match (next, field(event, "starts")) {
        ("", first) => {
            format!("was at {first} and is over: it raises nothing, and what was measured then is not learned from")
        }
        (next, _) => format!("next at {next} for {}", lasting(seconds(event, "duration_seconds"))),
    };
    format!("{what}: x{factor}, {when}, {}", repeats(event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_and_written_as_people_do() {
        for (text, seconds) in [("90s", 90), ("45m", 2_700), ("24h", 86_400), ("1d12h", 129_600), ("1w", 604_800)] {
            assert_eq!(length(text), Ok(seconds), "{text}");
        }
        for wrong in ["", "5", "h", "1x", "-1h", "99999999w", "1h5"] {
            assert!(length(wrong).is_err_and(|said| said.contains("1d12h")), "{wrong}");
        }
        assert_eq!((lasting(129_660), lasting(0)), ("1d12h1m".to_owned(), "0s".to_owned()));
    }

    #[test]
    fn the_table_is_read_at_a_glance() {
        let once = json!({"id": 7, "group": "web", "every_group": false, "name": "Black Friday", "duration_seconds": 86_400,
            "ramp_seconds": 1_800, "intensity": 3.0, "repeat": "none", "every": 0, "entered_by": "ops", "reason": "yearly",
            "next": {"starts": "2026-11-26T23:00:00Z"}, "measured": []});
        let weekly = json!({"id": 12, "every_group": true, "name": "show", "duration_seconds": 5_400, "intensity": 1.5,
            "repeat": "weekly", "every": 2, "time_zone": "Europe/Berlin", "entered_by": "ops", "reason": "tv", "next": null,
            "deleted_at": "2026-01-01T00:00:00Z", "measured": [{"starts": "a", "factor": 9.0}, {"starts": "b", "factor": 1.82}]});
        let said = table(&[once.clone(), weekly.clone()]);
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].starts_with("id  next"), "{said}");
        assert!(
            lines[1].contains("2026-11-26T23:00:00Z") && lines[1].contains("1d ") && lines[1].contains("x3 after 30m")
        );
        assert!(lines[2].contains("deleted 2026") && lines[2].contains("x1.82") && lines[2].contains("(every group)"));
        assert!(lines[2].contains("every 2 weeks, Europe/Berlin"), "{said}");
        assert_eq!(lines[1].find("Black Friday"), lines[2].find("show"), "columns stand under one another:\n{said}");
        assert_eq!(sentence(&weekly), "event 12 \"show\" for (every group): deleted");
        assert_eq!(sentence(&once), "event 7 \"Black Friday\" for web: x3, next at 2026-11-26T23:00:00Z for 1d, once");
        assert!(table(&[]).contains("events add"));
        assert_eq!(
            table(&[once]),
            "id  next                  lasts  factor        group  event         why, by whom\n\
             7   2026-11-26T23:00:00Z  1d     x3 after 30m  web    Black Friday  yearly (ops)\n"
        );
    }
}
