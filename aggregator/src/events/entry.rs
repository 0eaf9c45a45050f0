//! What is typed in, read strictly: every fault is found at once and names its field.

use foreshadow_proto::convert::Id;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Announcement, Repeat, Rule, Scope};
use crate::clock::read_time;

/// Longest event, and how far back one may have begun: a year.
const YEAR_SECONDS: i64 = 366 * 86_400;
/// How far ahead one may begin.
const AHEAD_SECONDS: i64 = 5 * YEAR_SECONDS;
/// Longest climb before the start: a day.
const MOST_RAMP_SECONDS: u32 = 86_400;
/// A higher factor is a slip of the finger.
const MOST_INTENSITY: f64 = 100.0;
const MOST_EVERY: u32 = 366;
const MOST_NAME: usize = 100;
const MOST_REASON: usize = 500;

/// One field at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub field: String,
    pub problem: String,
}

/// The body of `POST /events`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"group": "web", "name": "Black Friday", "starts": "2026-11-27T00:00:00+01:00",
    "duration_seconds": 86400, "ramp_seconds": 1800, "intensity": 3.0, "reason": "the yearly sale"}))]
#[allow(dead_code, reason = "the schema; the fields are read one by one, so that each fault names its own")]
pub struct Announced {
    /// The group it concerns; or else `every_group`.
    group: Option<String>,
    /// It concerns every group.
    every_group: Option<bool>,
    name: String,
    /// RFC 3339, seconds since 1970 or like +2h.
    starts: String,
    /// Likewise; or else `duration_seconds`.
    ends: Option<String>,
    duration_seconds: Option<u32>,
    /// Demand climbs in a straight line this long before the start; 0 unless told.
    ramp_seconds: Option<u32>,
    /// Demand while it lasts over demand without it, above 1 and at most 100.
    intensity: f64,
    /// none, daily or weekly; none unless told.
    repeat: Option<String>,
    /// Every so many days or weeks; 1 unless told.
    every: Option<u32>,
    /// IANA name of the time zone whose clocks the repetition follows.
    time_zone: Option<String>,
    /// The last time it may start, like `starts`.
    until: Option<String>,
    /// Why it is entered.
    reason: String,
}

const FIELDS: [&str; 13] = [
    "group",
    "every_group",
    "name",
    "starts",
    "ends",
    "duration_seconds",
    "ramp_seconds",
    "intensity",
    "repeat",
    "every",
    "time_zone",
    "until",
    "reason",
];

/// The fields of a body and what is wrong with them so far.
struct Fields {
    given: Map<String, Value>,
    faults: Vec<Fault>,
    now: i64,
}

impl Announcement {
    /// Reads a body; times like `+2h` count from `now`.
    ///
    /// # Errors
    /// Every field at fault.
    pub fn read(body: &[u8], now: i64) -> Result<Self, Vec<Fault>> {
        let whole = |problem: String| vec![Fault { field: "body".to_owned(), problem }];
        let given: Map<String, Value> = serde_json::from_slice(body).map_err(|error| whole(error.to_string()))?;
        let mut fields = Fields { given, faults: Vec::new(), now };
        for name in fields.given.keys().filter(|name| !FIELDS.contains(&name.as_str())).cloned().collect::<Vec<_>>() {
            fields.fault(&name, format!("is not known; known are {}", FIELDS.join(", ")));
        }
        let announced = fields.announcement();
        match announced {
            Some(announced) if fields.faults.is_empty() => {
                // A map keeps the last of two fields of one name; here the second is an error.
                match serde_json::from_slice::<Announced>(body) {
                    Ok(_) => Ok(announced),
                    Err(error) => Err(whole(error.to_string())),
                }
            }
            _ => Err(fields.faults),
        }
    }
}

impl Fields {
    fn fault(&mut self, field: &str, problem: impl Into<String>) {
        self.faults.push(Fault { field: field.to_owned(), problem: problem.into() });
    }

    /// A field that is there and is not null.
    fn get(&self, name: &str) -> Option<&Value> {
        self.given.get(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &str, most: usize) -> Option<String> {
        let text = self.get(name)?.as_str().map(|text| text.trim().to_owned());
        let problem = match &text {
            None => "must be a text".to_owned(),
            Some(text) if text.is_empty() => "is empty".to_owned(),
            Some(text) if text.chars().count() > most => format!("is longer than {most} characters"),
            Some(text) if text.chars().any(char::is_control) => "has control characters".to_owned(),
            Some(_) => return text,
        };
        self.fault(name, problem);
        None
    }

    fn needed(&mut self, name: &str, most: usize) -> Option<String> {
        if self.get(name).is_none() {
            self.fault(name, "is missing");
        }
        self.text(name, most)
    }

    fn number(&mut self, name: &str, least: u32, most: u32) -> Option<u32> {
        let value = self.get(name)?;
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            let problem = format!("{value} is not a whole number from {least} to {most}");
            self.fault(name, problem);
        }
        number
    }

    fn time(&mut self, name: &str) -> Option<i64> {
        let text = self.text(name, 100)?;
        match read_time(&text, self.now) {
            Ok(at) => Some(at),
            Err(problem) => {
                self.fault(name, problem);
                None
            }
        }
    }

    fn announcement(&mut self) -> Option<Announcement> {
        let scope = self.scope();
        let name = self.needed("name", MOST_NAME);
        let window = self.window();
        let ramp_seconds = match self.get("ramp_seconds") {
            None => Some(0),
            Some(_) => self.number("ramp_seconds", 0, MOST_RAMP_SECONDS),
        };
        let intensity = self.intensity();
        let repeat = self.repeat(window);
        let reason = self.needed("reason", MOST_REASON);
        let (starts, ends) = window?;
        Some(Announcement {
            scope: scope?,
            name: name?,
            starts,
            ends,
            ramp_seconds: ramp_seconds?,
            intensity: intensity?,
            repeat: repeat?,
            reason: reason?,
        })
    }

    fn scope(&mut self) -> Option<Scope> {
        let every = match self.get("every_group").map(Value::as_bool) {
            None => false,
            Some(Some(every)) => every,
            Some(None) => {
                self.fault("every_group", "must be true or false");
                return None;
            }
        };
        match (self.get("group").is_some(), every) {
            (true, false) => {
                let name = self.text("group", usize::MAX)?;
                Id::new("group", &name).map(Scope::Group).map_err(|error| self.fault("group", error.to_string())).ok()
            }
            (false, true) => Some(Scope::EveryGroup),
            (true, true) => {
                self.fault("group", "is given beside every_group: it is one or the other");
                None
            }
            (false, false) => {
                self.fault("group", "is missing; for all of them give every_group = true");
                None
            }
        }
    }

    fn window(&mut self) -> Option<(i64, i64)> {
        if self.get("starts").is_none() {
            self.fault("starts", "is missing");
        }
        let starts = self.time("starts");
        let ends = match (self.get("ends").is_some(), self.get("duration_seconds").is_some()) {
            (true, false) => self.time("ends"),
            (false, true) => {
                let most = u32::try_from(YEAR_SECONDS).unwrap_or(u32::MAX);
                let seconds = self.number("duration_seconds", 1, most);
                seconds.and_then(|seconds| starts?.checked_add(i64::from(seconds)))
            }
            (true, true) => {
                self.fault("ends", "is given beside duration_seconds: it is one or the other");
                None
            }
            (false, false) => {
                self.fault("ends", "is missing; or give duration_seconds");
                None
            }
        };
        let starts = starts?;
        if !(self.now - YEAR_SECONDS..=self.now + AHEAD_SECONDS).contains(&starts) {
            self.fault("starts", "must be within the last year and the next five");
            return None;
        }
        let ends = ends?;
        if ends <= starts || ends - starts > YEAR_SECONDS {
            self.fault("ends", "must be after starts, by 366 days at most");
            return None;
        }
        Some((starts, ends))
    }

    fn intensity(&mut self) -> Option<f64> {
        let Some(value) = self.get("intensity") else {
            self.fault("intensity", "is missing");
            return None;
        };
        let problem = match value.as_f64() {
            Some(factor) if factor > 1.0 && factor <= MOST_INTENSITY => return Some(factor),
            Some(factor) if factor < 1.0 => format!(
                "{factor} would lower the forecast; an event only raises it, for on a person's word no machine is taken \
                 away. It is a factor above 1: 2.0 is twice the demand"
            ),
            Some(factor) => format!("{factor} is not a factor above 1 and at most {MOST_INTENSITY}"),
            None => format!("{value} is no number; it is a factor above 1: 2.0 is twice the demand"),
        };
        self.fault("intensity", problem);
        None
    }

    /// The outer `None`: there was a fault.
    fn repeat(&mut self, window: Option<(i64, i64)>) -> Option<Option<Repeat>> {
        let rule = match self.text("repeat", 20).as_deref() {
            None if self.get("repeat").is_some() => return None,
            None | Some("none") => {
                for name in ["every", "time_zone", "until"] {
                    if self.get(name).is_some() {
                        self.fault(name, "is given without a repeat: daily or weekly");
                    }
                }
                return Some(None);
            }
            Some("daily") => Rule::Daily,
            Some("weekly") => Rule::Weekly,
            Some(other) => {
                self.fault("repeat", format!("{other:?} is not known; none, daily and weekly are"));
                return None;
            }
        };
        let every = match self.get("every") {
            None => Some(1),
            Some(_) => self.number("every", 1, MOST_EVERY),
        };
        let zone = self.zone();
        let until = self.time("until");
        let repeat = Repeat { rule, every: every?, zone: zone?, until };
        if until.is_none() && self.get("until").is_some() {
            return None;
        }
        let (starts, ends) = window?;
        if until.is_some_and(|until| until < starts) {
            self.fault("until", "is before starts: it would never take place");
            return None;
        }
        if ends - starts > repeat.days() * 86_400 {
            self.fault("ends", "lasts longer than the time from one start to the next: enter one long event instead");
            return None;
        }
        Some(Some(repeat))
    }

    fn zone(&mut self) -> Option<TimeZone> {
        let Some(name) = self.text("time_zone", 100) else {
            if self.get("time_zone").is_none() {
                self.fault(
                    "time_zone",
                    "is missing; give its IANA name, so that the repetition keeps to the clocks there",
                );
            }
            return None;
        };
        match TimeZone::get(&name) {
            Ok(zone) if !zone.is_unknown() && zone.iana_name().is_some() => Some(zone),
            _ => {
                self.fault(
                    "time_zone",
                    format!("{name:?} is not known; give an IANA name such as Europe/Berlin or UTC"),
                );
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn read(change: Value) -> Result<Announcement, Vec<Fault>> {
        let mut body = json!({"group": "web", "name": "sale", "starts": "+1h", "duration_seconds": 600, "intensity": 2.5,
            "reason": "why"});
        for (key, value) in change.as_object().expect("an object") {
            body[key] = value.clone();
        }
        Announcement::read(body.to_string().as_bytes(), NOW)
    }

    #[test]
    fn what_is_right_is_read_as_it_is_meant() {
        let once = read(json!({})).expect("right");
        assert_eq!((once.starts, once.ends, once.ramp_seconds), (NOW + 3_600, NOW + 4_200, 0));
        assert_eq!(once.scope, Scope::Group(Id::new("group", "web").expect("an id")));
        assert!(once.repeat.is_none() && once.intensity == 2.5);
        let weekly = json!({"group": null, "every_group": true, "starts": "2027-03-01T18:00:00+01:00", "repeat": "weekly",
            "ends": "2027-03-01T20:00:00+01:00", "duration_seconds": null, "every": 2, "time_zone": "europe/berlin",
            "until": "2028-01-01T00:00:00Z", "ramp_seconds": 1800});
        let weekly = read(weekly).expect("right");
        let repeat = weekly.repeat.expect("it repeats");
        assert_eq!((repeat.days(), repeat.zone.iana_name()), (14, Some("Europe/Berlin")));
        assert_eq!((weekly.scope, weekly.ends - weekly.starts), (Scope::EveryGroup, 7_200));
    }

    #[test]
    fn every_fault_names_its_field() {
        for (change, field, word) in [
            (json!({"group": null}), "group", "every_group"),
            (json!({"group": ""}), "group", "empty"),
            (json!({"group": "a b"}), "group", "character"),
            (json!({"every_group": true}), "group", "one or the other"),
            (json!({"every_group": "yes"}), "every_group", "true or false"),
            (json!({"name": " "}), "name", "empty"),
            (json!({"name": "a\u{1b}[2J"}), "name", "control"),
            (json!({"name": 7}), "name", "text"),
            (json!({"name": "x".repeat(101)}), "name", "longer"),
            (json!({"starts": null}), "starts", "missing"),
            (json!({"starts": "soon"}), "starts", "RFC 3339"),
            (json!({"starts": "1999-01-01T00:00:00Z"}), "starts", "year"),
            (json!({"ends": "+2h"}), "ends", "one or the other"),
            (json!({"duration_seconds": null}), "ends", "missing"),
            (json!({"duration_seconds": null, "ends": "+1h"}), "ends", "after starts"),
            (json!({"duration_seconds": 0}), "duration_seconds", "whole number"),
            (json!({"duration_seconds": 1.5}), "duration_seconds", "whole number"),
            (json!({"ramp_seconds": -1}), "ramp_seconds", "whole number"),
            (json!({"ramp_seconds": 86_401}), "ramp_seconds", "86400"),
            (json!({"intensity": null}), "intensity", "missing"),
            (json!({"intensity": "3"}), "intensity", "no number"),
            (json!({"intensity": 0.5}), "intensity", "no machine is taken away"),
            (json!({"intensity": 1.0}), "intensity", "above 1"),
            (json!({"intensity": 101}), "intensity", "at most 100"),
            (json!({"repeat": "monthly"}), "repeat", "daily and weekly"),
            (json!({"repeat": 1}), "repeat", "text"),
            (json!({"repeat": "daily"}), "time_zone", "missing"),
            (json!({"repeat": "daily", "time_zone": "Mars/Olympus"}), "time_zone", "not known"),
            (json!({"repeat": "daily", "time_zone": "Etc/Unknown"}), "time_zone", "not known"),
            (json!({"repeat": "daily", "time_zone": "UTC", "every": 0}), "every", "whole number"),
            (json!({"repeat": "daily", "time_zone": "UTC", "until": "-1d"}), "until", "before starts"),
            (json!({"repeat": "daily", "time_zone": "UTC", "duration_seconds": 86_401}), "ends", "one long event"),
            (json!({"time_zone": "UTC"}), "time_zone", "without a repeat"),
            (json!({"until": "+9d"}), "until", "without a repeat"),
            (json!({"reason": null}), "reason", "missing"),
            (json!({"grupo": "web"}), "grupo", "not known"),
        ] {
            let faults = read(change.clone()).expect_err("refused");
            let found = faults.iter().find(|fault| fault.field == field);
            assert!(found.is_some_and(|fault| fault.problem.contains(word)), "{change}: {faults:?}");
        }
    }

    #[test]
    fn all_faults_are_found_at_once_and_a_field_given_twice_is_one() {
        let faults = Announcement::read(b"{}", NOW).expect_err("refused");
        let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["group", "name", "starts", "ends", "intensity", "reason"]);
        let twice =
            br#"{"group":"a","group":"b","name":"n","starts":"+1h","duration_seconds":60,"intensity":2,"reason":"r"}"#;
        let faults = Announcement::read(twice, NOW).expect_err("refused");
        assert!(faults[0].problem.contains("duplicate field `group`"), "{faults:?}");
        for body in ["", "[]", "nonsense", "{} {}"] {
            assert_eq!(Announcement::read(body.as_bytes(), NOW).expect_err("refused")[0].field, "body", "{body}");
        }
    }
}
