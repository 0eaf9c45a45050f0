//! The events as the rounds see them: read anew each round, so that whoever entered one, here or at
//! another aggregator, sees it at work within a round.

use std::collections::HashMap;
use std::sync::Arc;

use forecast::events::Occurrence;
use foreshadow_proto::convert::Id;

use super::{Event, EventLog, Scope};

/// Occurrences are laid out this much beyond what is asked, seconds: so they stay for an hour.
const SPARE_SECONDS: i64 = 3_600;

/// Every group's occurrences over the history it learns from and the horizon ahead.
#[derive(Debug)]
pub struct Calendar {
    log: EventLog,
    behind: i64,
    ahead: i64,
    events: Vec<Event>,
    laid_out_at: i64,
    /// Of all events, by their start.
    laid_out: Vec<(Scope, Occurrence)>,
    by_group: HashMap<Id, Arc<[Occurrence]>>,
}

impl Calendar {
    /// `behind` and `ahead`: seconds of history and horizon.
    pub fn new(log: EventLog, behind: i64, ahead: i64) -> Self {
        Self {
            log,
            behind,
            ahead,
            events: Vec::new(),
            laid_out_at: i64::MIN,
            laid_out: Vec::new(),
            by_group: HashMap::new(),
        }
    }

    /// Reads what there is. While the database does not answer, what was known stays: an event that
    /// went missing would take machines away.
    pub async fn renew(&mut self, now: i64) {
        let mut changed = false;
        match self.log.events(now - self.behind - SPARE_SECONDS).await {
            Ok(events) if events != self.events => (self.events, changed) = (events, true),
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the events cannot be read; those known stay"),
        }
        let hour = now.div_euclid(SPARE_SECONDS) * SPARE_SECONDS;
        if changed || hour != self.laid_out_at {
            self.laid_out_at = hour;
            self.lay_out();
        }
    }

    fn lay_out(&mut self) {
        let (from, to) = (self.laid_out_at - self.behind, self.laid_out_at + 2 * SPARE_SECONDS + self.ahead);
        let laid_out = self.events.iter().flat_map(|event| {
            let name: Arc<str> = event.announced.name.as_str().into();
            event.within(from, to).map(move |window| {
                let occurrence = Occurrence {
                    event: event.id,
                    name: name.clone(),
                    rises: window.rises,
                    starts: window.starts,
                    ends: window.ends,
                    intensity: event.announced.intensity,
                    deleted: event.deleted.is_some(),
                };
                (event.announced.scope.clone(), occurrence)
            })
        });
        self.laid_out = laid_out.collect();
        self.laid_out.sort_by_key(|(_, occurrence)| (occurrence.starts, occurrence.event));
        self.by_group.clear();
    }

    /// A group's occurrences by their start; the same allocation until something changes.
    pub fn of(&mut self, group: &Id) -> Arc<[Occurrence]> {
        let own = || {
            let own = self.laid_out.iter().filter(|(scope, _)| scope.holds(group));
            own.map(|(_, occurrence)| occurrence.clone()).collect()
        };
        self.by_group.entry(group.clone()).or_insert_with(own).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::SystemClock;
    use crate::events::{Announcement, EventError, Repeat, Rule};
    use crate::store::{Embedded, Options, SampleStore as _};

    const NOW: i64 = 1_800_000_000;

    async fn open(directory: &std::path::Path) -> Embedded {
        let options = Options {
            directory: directory.to_owned(),
            raw_retention: Duration::from_secs(3_600),
            minute_retention: Duration::from_secs(86_400),
        };
        Embedded::open(options, Arc::new(SystemClock), [1; 16]).await.expect("a store")
    }

    fn announced(scope: Scope, starts: i64, repeat: Option<Repeat>) -> Announcement {
        let (name, reason) = ("sale".to_owned(), "why".to_owned());
        Announcement { scope, name, starts, ends: starts + 600, ramp_seconds: 60, intensity: 2.5, repeat, reason }
    }

    #[tokio::test]
    async fn each_group_has_its_own_and_those_of_every_group_as_soon_as_they_are_entered() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = open(directory.path()).await;
        let log = EventLog::new(store.pool());
        let (web, api) = (Id::new("group", "web").expect("an id"), Id::new("group", "api").expect("an id"));
        let mut calendar = Calendar::new(log.clone(), 86_400, 86_400);
        calendar.renew(NOW).await;
        assert!(calendar.of(&web).is_empty());
        let own = log.enter(announced(Scope::Group(web.clone()), NOW + 60, None), "me", NOW).await.expect("entered");
        let zone = jiff::tz::TimeZone::get("Europe/Berlin").expect("a zone");
        let daily = Repeat { rule: Rule::Daily, every: 1, zone, until: Some(NOW + 86_400) };
        let everyone = announced(Scope::EveryGroup, NOW - 3_600, Some(daily));
        log.enter(everyone, "me", NOW).await.expect("entered");
        calendar.renew(NOW + 10).await;
        let first = calendar.of(&web);
        let starts: Vec<i64> = first.iter().map(|occurrence| occurrence.starts).collect();
        assert_eq!(starts, [NOW - 3_600, NOW + 60, NOW + 82_800]);
        assert_eq!(calendar.of(&api).len(), 2);
        calendar.renew(NOW + 20).await;
        assert!(Arc::ptr_eq(&first, &calendar.of(&web)), "nothing changed");
        assert!(log.delete(own.id, "me", NOW + 90, "why").await.expect("answers"));
        assert!(!log.delete(own.id, "me", NOW + 99, "why").await.expect("answers"), "once");
        calendar.renew(NOW + 100).await;
        let own = calendar.of(&web).iter().find(|occurrence| occurrence.event == own.id).cloned().expect("it was on");
        assert_eq!((own.deleted, own.ends), (true, NOW + 90));
        // The database goes away: what was known stays.
        store.close().await;
        calendar.renew(NOW + 110).await;
        assert_eq!(calendar.of(&web).len(), 3);
    }

    #[tokio::test]
    async fn what_is_kept_is_what_was_entered_and_a_flood_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = open(directory.path()).await;
        let log = EventLog::new(store.pool());
        let zone = jiff::tz::TimeZone::get("America/New_York").expect("a zone");
        let weekly = Repeat { rule: Rule::Weekly, every: 2, zone, until: Some(NOW * 2) };
        let entered = log.enter(announced(Scope::EveryGroup, NOW, Some(weekly)), "me", NOW).await.expect("entered");
        assert_eq!(log.event(entered.id).await.expect("answers"), Some(entered.clone()));
        assert_eq!(log.events(NOW + 1_000_000).await.expect("answers"), [entered], "what repeats is never over");
        assert_eq!(log.event(77).await.expect("answers"), None);
        let pool = store.pool();
        let more = "INSERT INTO event SELECT event + $1, every_group, group_name, name, starts, ends, ramp_seconds, intensity, \
            repeat_rule, repeat_every, time_zone, until, entered_by, entered_at, reason, deleted_by, deleted_at, delete_reason \
            FROM event";
        for doubled in 0..14 {
            sqlx::query(more).bind(1_i64 << doubled).execute(&pool).await.expect("copied");
        }
        let flood = log.enter(announced(Scope::EveryGroup, NOW, None), "me", NOW).await;
        assert!(matches!(flood, Err(EventError::TooMany)), "{flood:?}");
    }
}
