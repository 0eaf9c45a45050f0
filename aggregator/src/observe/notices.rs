//! What was heard, merged: the same move by an event, the trail, the provider's records and the agent
//! is one entry by group, instance and activity. Pure, and bounded.
//!
//! An entry makes nothing true. A new one is worth a description; the reason it brings is shown with
//! the session that the description opens.

use std::collections::{BTreeMap, BTreeSet};

use foreshadow_proto::convert::Id;

use crate::fleet::{HeardBy, Notice};

/// What names no activity is taken for the move that was heard of within this time, seconds: a trail
/// may be a quarter of an hour late.
const SAME_MOVE: i64 = 900;
/// The same of what a caller alone has said, who may say it before it is done.
const SAME_WORD: i64 = 60;
/// Entries are kept this long, seconds: a queue hands out a message again for minutes.
const KEPT: i64 = 3_600;
/// No more instances than this, and moves of each: whoever may write into the queue must not fill the
/// memory.
const MOST: (usize, usize) = (10_000, 16);

/// All that was heard of late.
#[derive(Debug, Clone, Default)]
pub struct Notices(BTreeMap<(Id, Id), Vec<Entry>>);

#[derive(Debug, Clone)]
struct Entry {
    activity: Option<String>,
    first: i64,
    heard_by: BTreeSet<HeardBy>,
    why: BTreeMap<HeardBy, String>,
}

impl Entry {
    /// Nobody but a caller has said so.
    fn is_a_word(&self) -> bool {
        self.heard_by.iter().all(|by| *by == HeardBy::Caller)
    }
}

impl Notices {
    /// Takes one in at `now`, seconds. True when nothing was heard of that move before.
    pub fn hear(&mut self, notice: &Notice, now: i64) -> bool {
        let key = (notice.group.clone(), notice.instance.clone());
        if self.0.len() >= MOST.0 && !self.0.contains_key(&key) {
            self.forget_before(now - SAME_MOVE);
            if self.0.len() >= MOST.0 {
                // Heard, and not remembered: it is worth a description each time it comes.
                return true;
            }
        }
        let entries = self.0.entry(key).or_default();
        let same = |entry: &Entry| now - entry.first <= if entry.is_a_word() { SAME_WORD } else { SAME_MOVE };
        let known = match &notice.activity {
            Some(_) => entries
                .iter()
                .position(|entry| entry.activity == notice.activity)
                .or_else(|| entries.iter().rposition(|entry| entry.activity.is_none() && same(entry))),
            None => entries.iter().rposition(same),
        };
        // What a caller said is worth a description, and so is the first who knows better.
        let word = known.and_then(|index| entries.get(index)).is_some_and(Entry::is_a_word);
        let fresh = known.is_none() || (word && notice.heard_by != HeardBy::Caller);
        let index = match known {
            Some(index) => index,
            None => {
                if entries.len() == MOST.1 {
                    entries.remove(0);
                }
                let first = now;
                entries.push(Entry { activity: None, first, heard_by: BTreeSet::new(), why: BTreeMap::new() });
                entries.len() - 1
            }
        };
        if let Some(entry) = entries.get_mut(index) {
            entry.activity = entry.activity.take().or_else(|| notice.activity.clone());
            entry.heard_by.insert(notice.heard_by);
            if let Some(why) = &notice.why {
                entry.why.entry(notice.heard_by).or_insert_with(|| why.clone());
            }
        }
        fresh
    }

    /// Why an instance left its group: the provider's cause, and who asked for it.
    pub fn why(&self, group: &Id, instance: &Id) -> Option<String> {
        let latest = self.0.get(&(group.clone(), instance.clone()))?.last()?;
        let of = |way| latest.why.get(&way);
        let cause = of(HeardBy::Event).or_else(|| of(HeardBy::Activities));
        match (cause, of(HeardBy::Trail)) {
            (Some(cause), Some(who)) => Some(format!("{cause} ({who})")),
            (Some(one), None) | (None, Some(one)) => Some(one.clone()),
            (None, None) => None,
        }
    }

    /// It is back in its group: what is heard from now on is another move.
    pub fn returned(&mut self, instance: &Id) {
        self.0.retain(|(_, named), _| named != instance);
    }

    /// Forgets what is old.
    pub fn expire(&mut self, now: i64) {
        self.forget_before(now - KEPT);
    }

    fn forget_before(&mut self, time: i64) {
        for entries in self.0.values_mut() {
            entries.retain(|entry| entry.first >= time);
        }
        self.0.retain(|_, entries| !entries.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> Id {
        Id::new("id", name).expect("an id")
    }

    fn notice(activity: Option<&str>, heard_by: HeardBy, why: Option<&str>) -> Notice {
        Notice {
            group: id("web"),
            instance: id("i-1"),
            activity: activity.map(str::to_owned),
            heard_by,
            why: why.map(str::to_owned),
        }
    }

    #[test]
    fn one_move_is_one_entry_by_whichever_way_and_however_often_it_is_heard_of() {
        let mut notices = Notices::default();
        assert!(notices.hear(&notice(None, HeardBy::Agent, None), 0));
        assert!(!notices.hear(&notice(Some("a-1"), HeardBy::Event, Some("at a user's request")), 3));
        assert!(!notices.hear(&notice(Some("a-1"), HeardBy::Event, Some("another")), 4), "doubled");
        assert!(!notices.hear(&notice(None, HeardBy::Trail, Some("ana called DetachInstances")), 600), "late");
        assert!(!notices.hear(&notice(Some("a-1"), HeardBy::Activities, Some("the same")), 3_000), "very late");
        let why = notices.why(&id("web"), &id("i-1"));
        assert_eq!(why.as_deref(), Some("at a user's request (ana called DetachInstances)"));
        assert!(notices.hear(&notice(Some("a-2"), HeardBy::Event, None), 700), "another activity is another move");
        let elsewhere = Notice { group: id("api"), ..notice(Some("a-1"), HeardBy::Event, None) };
        assert!(notices.hear(&elsewhere, 700));
    }

    #[test]
    fn who_came_back_is_heard_of_anew_and_what_is_old_is_forgotten() {
        let mut notices = Notices::default();
        assert!(notices.hear(&notice(None, HeardBy::Agent, None), 0));
        notices.returned(&id("i-1"));
        assert!(notices.hear(&notice(None, HeardBy::Agent, None), 10));
        notices.expire(10 + KEPT + 1);
        assert!(notices.0.is_empty());
    }

    #[test]
    fn a_flood_fills_no_memory_and_nothing_is_missed_for_it() {
        let mut notices = Notices::default();
        for number in 0..MOST.0 + 5 {
            let flood = Notice { instance: id(&format!("i-{number}")), ..notice(None, HeardBy::Event, None) };
            assert!(notices.hear(&flood, 0));
        }
        assert_eq!(notices.0.len(), MOST.0);
        for number in 0..99 {
            assert!(
                notices.hear(
                    &Notice { instance: id("i-0"), ..notice(Some(&number.to_string()), HeardBy::Event, None) },
                    0
                ) || number == 0
            );
        }
        assert!(notices.0.values().all(|entries| entries.len() <= MOST.1));
        assert!(notices.hear(&notice(None, HeardBy::Event, Some("later")), SAME_MOVE + 1));
        assert_eq!(notices.why(&id("web"), &id("i-1")).as_deref(), Some("later"));
    }

    #[test]
    fn what_a_caller_says_before_it_is_done_silences_nobody_who_knows_better() {
        let mut notices = Notices::default();
        assert!(notices.hear(&notice(None, HeardBy::Caller, None), 0));
        assert!(!notices.hear(&notice(None, HeardBy::Caller, None), 60), "said twice");
        assert!(notices.hear(&notice(None, HeardBy::Caller, None), 61), "and once more, when it is done");
        assert!(notices.hear(&notice(Some("a-1"), HeardBy::Event, None), 62));
        assert!(!notices.hear(&notice(Some("a-1"), HeardBy::Event, None), 63), "doubled");
        assert!(!notices.hear(&notice(None, HeardBy::Caller, None), 900), "it was heard of");
    }
}
