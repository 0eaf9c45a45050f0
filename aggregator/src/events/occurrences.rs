//! When an event takes place. Pure.

use jiff::{Span, Timestamp};

use super::{Event, Repeat};

/// One time an event takes place, seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Demand begins to climb.
    pub rises: i64,
    pub starts: i64,
    /// Exclusive.
    pub ends: i64,
}

impl Event {
    /// Every time it takes place that is not over at `from`, in order. What was deleted does not
    /// take place any more, and ended when it was deleted.
    pub fn from(&self, from: i64) -> impl Iterator<Item = Window> {
        let announced = &self.announced;
        let length = announced.ends - announced.starts;
        let (first, last) = match &announced.repeat {
            None => (0, 0),
            // A day of the calendar has 23 to 25 hours, and once had none: two turns of slack.
            Some(repeat) => (
                (from.saturating_sub(announced.ends).div_euclid(repeat.days() * 86_400) - 2).max(0),
                i64::from(u32::MAX),
            ),
        };
        let until = announced.repeat.as_ref().and_then(|repeat| repeat.until).unwrap_or(i64::MAX);
        let deleted = self.deleted.as_ref().map_or(i64::MAX, |deleted| deleted.at);
        let ramp = i64::from(announced.ramp_seconds);
        let mut before = None;
        (first..=last)
            .map_while(move |turn| match (turn, &announced.repeat) {
                (0, _) => Some(announced.starts),
                (_, Some(repeat)) => start_of(announced.starts, repeat, turn),
                _ => None,
            })
            .take_while(move |starts| *starts <= until && starts - ramp < deleted)
            .map(move |starts| Window { rises: starts - ramp, starts, ends: (starts + length).min(deleted) })
            .filter(move |window| window.ends > from && before.replace(window.starts) != Some(window.starts))
    }

    /// Those that overlap `[from, to)`, the climb included.
    pub fn within(&self, from: i64, to: i64) -> impl Iterator<Item = Window> {
        self.from(from).take_while(move |window| window.rises < to)
    }
}

/// The start so many turns after the first: the same time of day in the rule's zone. A time that the
/// clocks skip that day is taken as much later as they skip; of two that have the same name, the
/// first is meant.
fn start_of(first: i64, repeat: &Repeat, turn: i64) -> Option<i64> {
    let first = Timestamp::from_second(first).ok()?.to_zoned(repeat.zone.clone()).datetime();
    let days = Span::new().try_days(turn.checked_mul(repeat.days())?).ok()?;
    let date = first.date().checked_add(days).ok()?;
    let at = date.to_datetime(first.time()).to_zoned(repeat.zone.clone()).ok()?;
    Some(at.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;
    use crate::events::{Announcement, Deletion, Rule, Scope};

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().expect("a time").as_second()
    }

    fn event(starts: &str, seconds: i64, repeat: Option<Repeat>) -> Event {
        let starts = at(starts);
        Event {
            id: 1,
            announced: Announcement {
                scope: Scope::EveryGroup,
                name: "sale".to_owned(),
                starts,
                ends: starts + seconds,
                ramp_seconds: 600,
                intensity: 2.0,
                repeat,
                reason: "why".to_owned(),
            },
            entered_by: "me".to_owned(),
            entered_at: 0,
            deleted: None,
        }
    }

    fn every(rule: Rule, every: u32, zone: &str) -> Option<Repeat> {
        Some(Repeat { rule, every, zone: TimeZone::get(zone).expect("a zone"), until: None })
    }

    #[test]
    fn six_in_the_evening_stays_six_in_the_evening() {
        let berlin = event("2026-10-22T18:00:00+02:00", 3_600, every(Rule::Daily, 1, "Europe/Berlin"));
        let starts: Vec<i64> = berlin.from(0).take(6).map(|window| window.starts).collect();
        let expected = [
            "2026-10-22T18:00:00+02:00",
            "2026-10-23T18:00:00+02:00",
            "2026-10-24T18:00:00+02:00",
            // The night between has 25 hours.
            "2026-10-25T18:00:00+01:00",
            "2026-10-26T18:00:00+01:00",
            "2026-10-27T18:00:00+01:00",
        ];
        assert_eq!(starts, expected.map(at));
        let weekly = event("2026-03-20T18:00:00-04:00", 3_600, every(Rule::Weekly, 2, "America/New_York"));
        let third = weekly.from(at("2026-11-01T12:00:00Z")).next().expect("goes on");
        assert_eq!(third.starts, at("2026-11-13T18:00:00-05:00"), "sixteen turns later, in winter");
    }

    #[test]
    fn a_time_that_the_clocks_skip_or_repeat_takes_place_once() {
        let gap = event("2026-03-27T02:30:00+01:00", 600, every(Rule::Daily, 1, "Europe/Berlin"));
        let starts: Vec<i64> = gap.from(0).take(4).map(|window| window.starts).collect();
        let skipped = ["2026-03-27T02:30:00+01:00", "2026-03-28T02:30:00+01:00", "2026-03-29T03:30:00+02:00"];
        assert_eq!(starts[..3], skipped.map(at));
        assert_eq!(starts[3], at("2026-03-30T02:30:00+02:00"));
        // Entered for the second of the two half past twos, it begins with the second.
        let fold = event("2026-10-25T02:30:00+01:00", 600, every(Rule::Daily, 1, "Europe/Berlin"));
        let starts: Vec<i64> = fold.from(0).take(2).map(|window| window.starts).collect();
        assert_eq!(starts, ["2026-10-25T02:30:00+01:00", "2026-10-26T02:30:00+01:00"].map(at));
        // Samoa had no 30 December 2011.
        let apia = event("2011-12-29T09:00:00-10:00", 600, every(Rule::Daily, 1, "Pacific/Apia"));
        let starts: Vec<i64> = apia.from(0).take(3).map(|window| window.starts).collect();
        assert_eq!(
            starts,
            ["2011-12-29T09:00:00-10:00", "2011-12-31T09:00:00+14:00", "2012-01-01T09:00:00+14:00"].map(at)
        );
    }

    #[test]
    fn once_is_once_and_until_is_the_last_start() {
        let once = event("2026-01-01T00:00:00Z", 60, None);
        assert_eq!(once.from(0).count(), 1);
        assert_eq!(once.from(at("2026-01-01T00:01:00Z")).count(), 0, "the end is exclusive");
        assert_eq!(once.within(0, at("2025-12-31T23:50:00Z")).count(), 0);
        assert_eq!(once.within(0, at("2025-12-31T23:50:01Z")).count(), 1, "the climb belongs to it");
        let mut daily = event("2026-01-01T00:00:00Z", 60, every(Rule::Daily, 1, "UTC"));
        let until = at("2026-01-05T00:00:00Z");
        daily.announced.repeat.iter_mut().for_each(|repeat| repeat.until = Some(until));
        assert_eq!(daily.from(0).last().expect("five").starts, until);
        assert_eq!(daily.from(0).count(), 5);
    }

    #[test]
    fn what_was_deleted_ended_when_it_was_deleted() {
        let mut daily = event("2026-01-01T00:00:00Z", 7_200, every(Rule::Daily, 1, "UTC"));
        let delete = |event: &mut Event, text: &str| {
            event.deleted = Some(Deletion { by: "me".to_owned(), at: at(text), reason: "why".to_owned() });
        };
        delete(&mut daily, "2026-01-02T01:00:00Z");
        let ends: Vec<i64> = daily.from(0).map(|window| window.ends).collect();
        assert_eq!(ends, ["2026-01-01T02:00:00Z", "2026-01-02T01:00:00Z"].map(at));
        delete(&mut daily, "2025-12-31T20:00:00Z");
        assert_eq!(daily.from(0).count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

        #[test]
        fn a_question_in_the_middle_finds_what_counting_from_the_first_finds(
            starts in 1_300_000_000_i64..1_900_000_000, length in 60_i64..86_400, step in 1_u32..20, weekly: bool,
            zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Pacific/Apia", "Asia/Kolkata",
                "Australia/Lord_Howe", "Africa/Casablanca", "UTC"]),
            ahead in 0_i64..100_000_000, span in 0_i64..3_000_000,
        ) {
            let rule = if weekly { Rule::Weekly } else { Rule::Daily };
            let mut event = event("2026-01-01T00:00:00Z", length, every(rule, step, zone));
            (event.announced.starts, event.announced.ends) = (starts, starts + length);
            let (from, to) = (starts + ahead, starts + ahead + span);
            let all: Vec<Window> = event.from(i64::MIN / 2).take_while(|window| window.rises < to).collect();
            let expected: Vec<Window> = all.iter().copied().filter(|window| window.ends > from).collect();
            prop_assert_eq!(event.within(from, to).collect::<Vec<_>>(), expected);
            // In order, never twice, and by the clocks of the place always the same time, but where
            // that day has no such time.
            prop_assert!(all.windows(2).all(|pair| pair[0].starts < pair[1].starts));
            let repeat = event.announced.repeat.as_ref().expect("it repeats");
            let local = |at: i64| Timestamp::from_second(at).expect("in range").to_zoned(repeat.zone.clone());
            let first = local(starts);
            let same = all.iter().filter(|window| local(window.starts).time() == first.time()).count();
            prop_assert!(same * 100 >= all.len() * 95 || all.len() - same <= 20, "{same} of {}", all.len());
            for window in &all {
                let days = first.date().until(local(window.starts).date()).expect("days").get_days();
                let here = local(window.starts).time() == first.time();
                prop_assert!(!here || i64::from(days) % repeat.days() == 0 || zone == "Pacific/Apia", "{days}");
                prop_assert_eq!(window.ends - window.starts, length);
            }
        }
    }
}
