//! Windows that come back every week by the clocks of a place: when their floors and ceilings hold. Pure.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use planner::bounds::Window;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Minutes of a day by the clock on the wall, 00:00 to 24:00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime(u16);

impl FromStr for WallTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "must be a time of day like 08:30, 00:00 to 24:00".to_owned();
        let digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        let (hour, minute) =
            text.split_once(':').filter(|(hour, minute)| digits(hour) && digits(minute)).ok_or_else(wrong)?;
        let (hour, minute): (u16, u16) = (hour.parse().map_err(|_| wrong())?, minute.parse().map_err(|_| wrong())?);
        if minute < 60 && hour * 60 + minute <= 1_440 { Ok(Self(hour * 60 + minute)) } else { Err(wrong()) }
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// A window of a group's policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Weekly {
    #[serde(skip)]
    pub name: String,
    /// The days on which it begins.
    #[serde(serialize_with = "as_words", deserialize_with = "from_words")]
    pub days: Vec<Weekday>,
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub from: WallTime,
    /// Exclusive. Not after `from`: on the next day.
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub to: WallTime,
    #[serde(serialize_with = "as_name", deserialize_with = "from_name")]
    pub time_zone: TimeZone,
    pub minimum: Option<u32>,
    pub maximum: Option<u32>,
}

/// The words for the days of the week, Monday first.
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// Days by their words.
///
/// # Errors
/// When a word is none of them, or a day is named twice, or none is named.
pub fn days(words: &[String]) -> Result<Vec<Weekday>, String> {
    let known = || DAYS.map(|(word, _)| word).join(", ");
    let mut days = Vec::new();
    for word in words {
        let found = DAYS.iter().find(|(known, _)| known == word);
        let (_, day) = found.ok_or_else(|| format!("{word:?} is none of {}", known()))?;
        if days.contains(day) {
            return Err(format!("{word:?} is named twice"));
        }
        days.push(*day);
    }
    if days.is_empty() { Err(format!("name at least one of {}", known())) } else { Ok(days) }
}

impl Weekly {
    /// Every occurrence that overlaps `[from, to)`, seconds since the epoch, in order.
    pub fn within(&self, from: i64, to: i64) -> Vec<Window> {
        let date = |at: i64| Some(Timestamp::from_second(at).ok()?.to_zoned(self.time_zone.clone()).date());
        // It may have begun the day before, and no clock is a whole day off.
        let begin = date(from).and_then(|date| date.checked_sub(2.days()).ok());
        let (Some(mut day), Some(last)) = (begin, date(to)) else { return Vec::new() };
        let mut found = Vec::new();
        while day <= last {
            if self.days.contains(&day.weekday())
                && let Some((starts, ends)) = self.on(day)
                && starts < to
                && from < ends
            {
                let (minimum, maximum) = (self.minimum, self.maximum);
                found.push(Window { name: self.name.clone(), from: starts, until: ends, minimum, maximum });
            }
            match day.tomorrow() {
                Ok(tomorrow) => day = tomorrow,
                Err(_) => break,
            }
        }
        found
    }

    /// The occurrence that begins on a day. Of two times with one name (the night the clocks go back) it begins with
    /// the first and ends with the second; a time that the clocks skip is as much later as they skip.
    fn on(&self, day: Date) -> Option<(i64, i64)> {
        let at = |day: Date, time: WallTime, second: bool| {
            let (day, minutes) = if time.0 == 1_440 { (day.tomorrow().ok()?, 0) } else { (day, time.0) };
            let (hour, minute) = (i8::try_from(minutes / 60).ok()?, i8::try_from(minutes % 60).ok()?);
            let civil = day.at(hour, minute, 0, 0);
            let ambiguous = self.time_zone.to_ambiguous_zoned(civil);
            let zoned = if second { ambiguous.later() } else { ambiguous.compatible() };
            Some(zoned.ok()?.timestamp().as_second())
        };
        let last_day = if self.to > self.from { day } else { day.tomorrow().ok()? };
        Some((at(day, self.from, false)?, at(last_day, self.to, true)?))
    }
}

fn as_text<S: Serializer>(time: &WallTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn as_name<S: Serializer>(zone: &TimeZone, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(zone.iana_name().unwrap_or("UTC"))
}

fn as_words<S: Serializer>(days: &[Weekday], serializer: S) -> Result<S::Ok, S::Error> {
    let word = |day: &Weekday| DAYS.iter().find(|(_, known)| known == day).map(|(word, _)| *word);
    serializer.collect_seq(days.iter().filter_map(word))
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<WallTime, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

fn from_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TimeZone, D::Error> {
    TimeZone::get(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn from_words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Weekday>, D::Error> {
    days(&Vec::<String>::deserialize(deserializer)?).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().expect("a time").as_second()
    }

    fn weekly(words: &[&str], from: &str, to: &str, zone: &str) -> Weekly {
        Weekly {
            name: "office".to_owned(),
            days: days(&words.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("days"),
            from: from.parse().expect("a time"),
            to: to.parse().expect("a time"),
            time_zone: TimeZone::get(zone).expect("a zone"),
            minimum: Some(10),
            maximum: None,
        }
    }

    fn spans(window: &Weekly, from: &str, to: &str) -> Vec<(i64, i64)> {
        window.within(at(from), at(to)).iter().map(|it| (it.from, it.until)).collect()
    }

    #[test]
    fn eight_in_the_morning_stays_eight_in_the_morning() {
        let office = weekly(&["fri", "mon"], "08:00", "18:00", "Europe/Berlin");
        let found = spans(&office, "2026-10-23T00:00:00Z", "2026-10-27T00:00:00Z");
        let expected = [
            (at("2026-10-23T08:00:00+02:00"), at("2026-10-23T18:00:00+02:00")),
            (at("2026-10-26T08:00:00+01:00"), at("2026-10-26T18:00:00+01:00")),
        ];
        assert_eq!(found, expected);
        assert_eq!(spans(&office, "2026-10-23T16:00:00Z", "2026-10-23T17:00:00Z"), [], "the end is exclusive");
        assert_eq!(spans(&office, "2026-10-23T15:59:59Z", "2026-10-23T17:00:00Z").len(), 1);
    }

    #[test]
    fn a_night_belongs_to_the_day_it_begins_on_and_has_as_many_hours_as_it_has() {
        let night = weekly(&["sat"], "22:00", "06:00", "Europe/Berlin");
        let hours = |from: &str, to: &str| (spans(&night, from, to)[0].1 - spans(&night, from, to)[0].0) / 3_600;
        assert_eq!(hours("2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"), 9, "the clocks went back");
        assert_eq!(hours("2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"), 7, "and forward");
        assert_eq!(hours("2026-06-06T23:00:00Z", "2026-06-06T23:30:00Z"), 8);
        assert_eq!(
            spans(&night, "2026-06-07T20:30:00Z", "2026-06-08T04:00:00Z"),
            [],
            "Sunday's night is not Saturday's"
        );
    }

    #[test]
    fn a_time_that_is_there_twice_is_covered_twice_and_one_that_is_not_is_later() {
        let fold = weekly(&["sun"], "02:15", "02:45", "Europe/Berlin");
        let found = spans(&fold, "2026-10-25T00:00:00Z", "2026-10-25T03:00:00Z");
        assert_eq!(found, [(at("2026-10-25T02:15:00+02:00"), at("2026-10-25T02:45:00+01:00"))]);
        let gap = spans(&fold, "2026-03-29T00:00:00Z", "2026-03-29T03:00:00Z");
        assert_eq!(gap, [(at("2026-03-29T03:15:00+02:00"), at("2026-03-29T03:45:00+02:00"))]);
    }

    #[test]
    fn whole_days_meet() {
        let always = weekly(&["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "00:00", "24:00", "America/New_York");
        let found = spans(&always, "2026-03-01T00:00:00Z", "2026-12-01T00:00:00Z");
        assert!(found.windows(2).all(|pair| pair[0].1 == pair[1].0));
        let same = weekly(&["mon"], "08:00", "08:00", "UTC");
        assert_eq!(
            spans(&same, "2026-06-01T09:00:00Z", "2026-06-01T10:00:00Z"),
            [(at("2026-06-01T08:00:00Z"), at("2026-06-02T08:00:00Z"))]
        );
    }

    #[test]
    fn what_is_no_time_and_no_day_is_said() {
        for text in ["8:00", "08:60", "24:01", "25:00", "0800", "-1:00", "+8:00", ""] {
            assert!(text.parse::<WallTime>().is_err(), "{text}");
        }
        assert_eq!(days(&["mon".to_owned(), "mon".to_owned()]), Err("\"mon\" is named twice".to_owned()));
        assert!(days(&["Monday".to_owned()]).expect_err("a word").contains("mon, tue"));
        assert!(days(&[]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        /// Whether a time is within is what the clock on the wall says, but for the hours in which clocks change.
        #[test]
        fn within_is_what_the_clock_on_the_wall_says(
            time in 1_500_000_000_i64..1_900_000_000, from in 0_u16..1_440, length in 1_u16..1_440,
            zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]),
            days in prop::collection::btree_set(0_usize..7, 1..7),
        ) {
            let names: Vec<&str> = days.iter().map(|day| DAYS[*day].0).collect();
            let mut window = weekly(&names, "00:00", "00:00", zone);
            (window.from, window.to) = (WallTime(from), WallTime((from + length) % 1_440));
            let near = |back: i64| {
                let zoned = Timestamp::from_second(time + back).expect("in range").to_zoned(window.time_zone.clone());
                zoned.offset()
            };
            // No change of the clocks within a day and a half on either side.
            prop_assume!((-36..=36).all(|hours| near(hours * 3_600) == near(0)));
            let local = Timestamp::from_second(time).expect("in range").to_zoned(window.time_zone.clone());
            let minute = u16::try_from(local.hour()).expect("positive") * 60 + u16::try_from(local.minute()).expect("positive");
            let on = |day: Weekday| window.days.contains(&day);
            let (today, yesterday) = (on(local.weekday()), on(local.weekday().previous()));
            let expected = if window.to > window.from {
                today && (window.from.0..window.to.0).contains(&minute)
            } else {
                today && minute >= window.from.0 || yesterday && minute < window.to.0
            };
            prop_assert_eq!(!window.within(time, time + 1).is_empty(), expected);
        }
    }
}
