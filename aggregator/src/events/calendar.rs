//! The events as the rounds see them: read anew each round, so that whoever entered one, here or at
//! another aggregator, sees it at work within a round.

use std::collections::HashMap;
use std::sync::Arc;

use forecast::events::Occurrence;
use foreshadow_proto::convert::Id;

use super::{Event, EventLog};

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
    by_group: HashMap<Id, Arc<[Occurrence]>>,
}

impl Calendar {
    /// `behind` and `ahead`: seconds of history and horizon.
    pub fn new(log: EventLog, behind: i64, ahead: i64) -> Self {
        Self { log, behind, ahead, events: Vec::new(), laid_out_at: i64::MIN, by_group: HashMap::new() }
    }

    /// Reads what there is. While the database does not answer, what was known stays: an event that
    /// went missing would take machines away.
    pub async fn renew(&mut self, now: i64) {
        match self.log.events(now - self.behind - SPARE_SECONDS).await {
            Ok(events) if events != self.events => {
                self.events = events;
                self.by_group.clear();
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the events cannot be read; those known stay"),
        }
        let hour = now.div_euclid(SPARE_SECONDS) * SPARE_SECONDS;
        if hour != self.laid_out_at {
            self.laid_out_at = hour;
            self.by_group.clear();
        }
    }

    /// A group's occurrences by their start; the same allocation until something changes.
    pub fn of(&mut self, group: &Id) -> Arc<[Occurrence]> {
        let (from, to) = (self.laid_out_at - self.behind, self.laid_out_at + 2 * SPARE_SECONDS + self.ahead);
        let events = &self.events;
        let laid_out = || {
            let own = events.iter().filter(|event| event.announced.scope.holds(group));
            let mut occurrences: Vec<Occurrence> = own
                .flat_map(|event| {
                    let name: Arc<str> = event.announced.name.as_str().into();
                    event.within(from, to).map(move |window| Occurrence {
                        event: event.id,
                        name: name.clone(),
                        rises: window.rises,
                        starts: window.starts,
                        ends: window.ends,
                        intensity: event.announced.intensity,
                        deleted: event.deleted.is_some(),
                    })
                })
                .collect();
            occurrences.sort_by_key(|occurrence| (occurrence.starts, occurrence.event));
            occurrences.into()
        };
        self.by_group.entry(group.clone()).or_insert_with(laid_out).clone()
    }
}
