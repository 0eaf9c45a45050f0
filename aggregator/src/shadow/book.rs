//! The sessions themselves, without disk or clock: opened and closed as instances move, extended,
//! released, adopted. Every method gives back the sessions it changed, to be written.

use std::collections::BTreeMap;

use foreshadow_proto::convert::Id;

use super::{Origin, Seen, ShadowConfig, ShadowSession};
use crate::clock::Now;
use crate::observe::{InstanceMode, Move};

/// Ended sessions are shown for this long, seconds.
pub(super) const SHOWN_SECONDS: i64 = 7 * 86_400;

/// All sessions, open ones and those that ended lately.
#[derive(Debug, Clone, Default)]
pub struct Book {
    pub config: ShadowConfig,
    sessions: Vec<ShadowSession>,
    last: i64,
    /// Instances that a journalled Detach of ours names: their sessions are ours.
    detached: BTreeMap<Id, Mark>,
}

#[derive(Debug, Clone)]
struct Mark {
    reason: String,
    /// Since when it is seen in its group again, without a call of ours.
    back: Option<i64>,
    /// The call was given up: nobody answered it, and nothing of it was to be seen.
    in_doubt: bool,
}

/// A description may go back in time: an instance that we detached and that shows up in its group once
/// more is believed to be back when it stays for this long, seconds; as long a call that nobody answered may still come.
const BACK_FOR: i64 = 600;

/// Why a session is foreign although we asked for it: the call may have come late, or somebody did the same by hand, and who
/// did it nobody can tell. Any doubt means no change.
const IN_DOUBT: &str = "detached: by a call of ours that nobody answered and that was given up, or by hand";

/// What a moment changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changed {
    /// To be written.
    pub sessions: Vec<ShadowSession>,
    /// Measured no more.
    pub released: Vec<Id>,
}

/// Why a session cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("{0} stands in no shadow session: foreshadow shadows lists who does")]
    NotOpen(String),
    #[error("{0} is ours already")]
    AlreadyOurs(String),
    #[error("{0} was detached by somebody else: adopt it first")]
    Foreign(String),
    #[error("the lease of {0} can be extended no more: {1} s is the longest")]
    AtLimit(String, u32),
}

impl Book {
    /// A book with what was stored; leases go on by the clocks of now.
    pub fn new(config: ShadowConfig, sessions: Vec<ShadowSession>) -> Self {
        let last = sessions.iter().map(|session| session.session).max().unwrap_or(0);
        Self { config, sessions, last, detached: BTreeMap::new() }
    }

    /// Open sessions and those that ended in the last seven days, oldest first.
    pub fn sessions(&self) -> &[ShadowSession] {
        &self.sessions
    }

    /// The open session of an instance.
    pub fn open(&self, instance: &Id) -> Option<&ShadowSession> {
        self.sessions.iter().find(|session| session.ended.is_none() && session.instance == *instance)
    }

    /// A Detach of ours names these instances: when they leave, the session is ours.
    pub fn mark_ours(&mut self, instances: &[Id], reason: &str) {
        let mark = |instance: &Id| (instance.clone(), Mark { reason: reason.to_owned(), back: None, in_doubt: false });
        self.detached.extend(instances.iter().map(mark));
    }

    /// The same after a restart, of one that was seen in its group again at `back`, seconds since the epoch: that may have been
    /// a description from before it left.
    pub fn mark_again(&mut self, instance: Id, reason: String, back: Option<i64>) {
        self.detached.insert(instance, Mark { reason, back, in_doubt: false });
    }

    /// A call of ours that detaches these was given up and may still come, or may never have been. Whoever leaves from now
    /// on may have been taken out by somebody else: it is foreign, and its session says why.
    pub fn doubt(&mut self, instances: &[Id], now: Now) {
        let left = |instance: &Id| self.open(instance).is_some();
        let there: Vec<&Id> = instances.iter().filter(|instance| !left(instance)).collect();
        for (_, mark) in self.detached.iter_mut().filter(|(instance, _)| there.contains(instance)) {
            mark.back.get_or_insert(now.wall);
            mark.in_doubt = true;
        }
    }

    /// They were not detached after all, or we attached them again: whoever detaches them next is somebody else.
    pub fn unmark(&mut self, instances: &[Id]) {
        self.detached.retain(|instance, _| !instances.contains(instance));
    }

    /// Follows instances as they move, and ends what is over.
    pub fn follow(&mut self, moves: &[Move], now: Now) -> Changed {
        let mut changed = Changed::default();
        for change in moves {
            match change.to.mode {
                InstanceMode::Draining | InstanceMode::Shadow if !change.claimed && change.word.is_some() => {
                    self.begin(change, now, &mut changed)
                }
                InstanceMode::Serving | InstanceMode::Warming => {
                    self.end(&change.instance, now, "back in its group", Some(Seen::Back), &mut changed);
                    if let Some(mark) = self.detached.get_mut(&change.instance) {
                        mark.back.get_or_insert(now.wall);
                    }
                }
                // One that is only silent, or seems so while a clock jumps, may be heard again: its mark stays.
                InstanceMode::Gone => {
                    self.end(&change.instance, now, "silent or terminated", Some(Seen::Gone), &mut changed)
                }
                InstanceMode::Draining | InstanceMode::Shadow => {}
            }
        }
        self.detached.retain(|_, mark| mark.back.is_none_or(|back| now.wall - back < BACK_FOR));
        // What is foreign is released at the end of its lease; what is ours waits for the plan.
        let due =
            self.sessions.iter().filter(|it| it.ended.is_none() && it.origin == Origin::Foreign && it.is_over(now));
        for instance in due.map(|session| session.instance.clone()).collect::<Vec<_>>() {
            self.end(&instance, now, "the lease ended: released, left running", None, &mut changed);
            changed.released.push(instance);
        }
        self.sessions.retain(|session| session.ended.is_none_or(|ended| ended >= now.wall - SHOWN_SECONDS));
        changed
    }

    fn begin(&mut self, change: &Move, now: Now, changed: &mut Changed) {
        if self.open(&change.instance).is_some() {
            return;
        }
        let mark = self.detached.get_mut(&change.instance);
        let in_doubt = mark.as_ref().is_some_and(|mark| mark.in_doubt);
        let ours = mark.filter(|mark| !mark.in_doubt).map(|mark| {
            mark.back = None;
            mark.reason.clone()
        });
        let foreign = || match in_doubt {
            true => IN_DOUBT.to_owned(),
            false => with_cause(change.word.unwrap_or("detached"), change.why.as_deref()),
        };
        let instance_type = change.instance_type.clone();
        let seconds = i64::from(self.config.seconds(&change.to.group, instance_type.as_deref()));
        let price = instance_type.as_deref().and_then(|name| self.config.prices_per_hour.get(name));
        let session = ShadowSession {
            session: self.last + 1,
            instance: change.instance.clone(),
            group: change.to.group.clone(),
            price_per_hour: price.copied(),
            instance_type,
            version: change.version.clone(),
            origin: if ours.is_some() { Origin::Ours } else { Origin::Foreign },
            started: now.wall,
            until: now.wall + seconds,
            boot_until: now.boot + seconds,
            hard_limit: now.wall + i64::from(self.config.maximum_seconds),
            ended: None,
            seen: None,
            reason: ours.unwrap_or_else(foreign),
        };
        self.last += 1;
        self.sessions.push(session.clone());
        changed.sessions.push(session);
    }

    /// Says why an instance left, as its cloud tells it later. What was said before stays.
    pub fn explain(&mut self, instance: &Id, why: &str) -> Result<Changed, SessionError> {
        let session = self.open_mut(instance).ok_or_else(|| SessionError::NotOpen(instance.to_string()))?;
        let (first, rest) = session.reason.split_once("; ").unwrap_or((&session.reason, ""));
        if session.origin != Origin::Foreign || first.contains(": ") {
            return Ok(Changed::default());
        }
        let first = with_cause(first, Some(why));
        session.reason = if rest.is_empty() { first } else { format!("{first}; {rest}") };
        Ok(Changed { sessions: vec![session.clone()], released: Vec::new() })
    }

    fn end(&mut self, instance: &Id, now: Now, why: &str, seen: Option<Seen>, changed: &mut Changed) {
        if let Some(session) = self.open_mut(instance) {
            session.ended = Some(now.wall);
            session.seen = seen;
            session.reason = format!("{}; {why}", session.reason);
            changed.sessions.push(session.clone());
        }
    }

    fn open_mut(&mut self, instance: &Id) -> Option<&mut ShadowSession> {
        self.sessions.iter_mut().find(|session| session.ended.is_none() && session.instance == *instance)
    }

    /// Extends a lease of ours by its own length from now, never beyond its hard limit.
    pub fn extend(&mut self, instance: &Id, why: &str, now: Now) -> Result<Changed, SessionError> {
        let (longest, config) = (self.config.maximum_seconds, self.config.clone());
        let session = self.open_mut(instance).ok_or_else(|| SessionError::NotOpen(instance.to_string()))?;
        if session.origin == Origin::Foreign {
            return Err(SessionError::Foreign(instance.to_string()));
        }
        let seconds = i64::from(config.seconds(&session.group, session.instance_type.as_deref()));
        let until = (now.wall + seconds).min(session.hard_limit);
        if until <= session.until.max(now.wall) {
            return Err(SessionError::AtLimit(instance.to_string(), longest));
        }
        session.until = until;
        session.boot_until = now.boot + (until - now.wall);
        session.note(why);
        Ok(Changed { sessions: vec![session.clone()], released: Vec::new() })
    }

    /// Extends every open lease by a jump of the clock, seconds: the time it skipped was not waited.
    pub fn extend_all(&mut self, by: i64, now: Now) -> Changed {
        let mut changed = Changed::default();
        for session in self.sessions.iter_mut().filter(|session| session.ended.is_none()) {
            session.until += by.max(0);
            session.hard_limit += by.max(0);
            session.boot_until = session.boot_until.max(now.boot + (session.until - now.wall).max(0).min(by.abs()));
            session.note("extended over a jump of the clock");
            changed.sessions.push(session.clone());
        }
        changed
    }

    /// Stops measuring an instance; it is left running.
    pub fn release(&mut self, instance: &Id, why: &str, now: Now) -> Result<Changed, SessionError> {
        if self.open(instance).is_none() {
            return Err(SessionError::NotOpen(instance.to_string()));
        }
        let mut changed = Changed { released: vec![instance.clone()], ..Changed::default() };
        self.end(instance, now, &format!("released, left running: {why}"), None, &mut changed);
        self.detached.remove(instance);
        Ok(changed)
    }

    /// Ends the session of an instance that is no more.
    pub fn close(&mut self, instance: &Id, why: &str, now: Now) -> Result<Changed, SessionError> {
        if self.open(instance).is_none() {
            return Err(SessionError::NotOpen(instance.to_string()));
        }
        let mut changed = Changed::default();
        self.end(instance, now, why, None, &mut changed);
        self.detached.remove(instance);
        Ok(changed)
    }

    /// Makes a foreign shadow ours.
    pub fn adopt(&mut self, instance: &Id, why: &str) -> Result<Changed, SessionError> {
        let session = self.open_mut(instance).ok_or_else(|| SessionError::NotOpen(instance.to_string()))?;
        if session.origin == Origin::Ours {
            return Err(SessionError::AlreadyOurs(instance.to_string()));
        }
        session.origin = Origin::Ours;
        session.note(&format!("adopted: {why}"));
        Ok(Changed { sessions: vec![session.clone()], released: Vec::new() })
    }
}

fn with_cause(word: &str, why: Option<&str>) -> String {
    why.map_or_else(|| word.to_owned(), |why| format!("{word}: {why}"))
}

impl ShadowSession {
    /// The lease is over by both clocks.
    pub const fn is_over(&self, now: Now) -> bool {
        now.wall >= self.until && now.boot >= self.boot_until
    }

    /// Goes on after a restart by the boot clock of now: what the host's own reboot hides counts as not
    /// waited, up to the whole lease.
    pub(super) fn resume(&mut self, now: Now) {
        let whole = self.until - self.started;
        self.boot_until = self.boot_until.min(now.boot + whole.max(0));
    }

    fn note(&mut self, what: &str) {
        // The last word replaces the one before it: a lease may be extended a hundred times.
        let first = self.reason.split("; ").next().unwrap_or_default().to_owned();
        self.reason = format!("{first}; {what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Placement;

    const START: Now = Now { wall: 1_800_000_000, boot: 5_000 };

    fn id(name: &str) -> Id {
        Id::new("id", name).expect("an id")
    }

    fn later(seconds: i64) -> Now {
        Now { wall: START.wall + seconds, boot: START.boot + seconds }
    }

    fn moved(name: &str, mode: InstanceMode) -> Move {
        Move {
            instance: id(name),
            from: None,
            to: Placement { group: id("web"), mode, since_micros: 0 },
            claimed: false,
            instance_type: None,
            version: Some("lt-1:3".to_owned()),
            word: Some("detached"),
            why: None,
        }
    }

    fn book() -> Book {
        Book::new(ShadowConfig { default_seconds: 600, maximum_seconds: 1_500, ..ShadowConfig::default() }, Vec::new())
    }

    #[test]
    fn what_we_detached_is_ours_and_waits_for_the_plan_what_others_did_is_released() {
        let mut book = book();
        book.mark_ours(&[id("i-1")], "not needed");
        let moves = ["i-1", "i-2"].map(|name| moved(name, InstanceMode::Draining));
        let changed = book.follow(&moves, START);
        let of = |name: &str| changed.sessions.iter().find(|it| it.instance == id(name)).expect("opened").clone();
        assert_eq!((of("i-1").origin, of("i-2").origin), (Origin::Ours, Origin::Foreign));
        assert_eq!((of("i-1").reason, of("i-1").version.as_deref()), ("not needed".to_owned(), Some("lt-1:3")));
        assert_eq!(book.follow(&[], later(599)), Changed::default());
        let over = book.follow(&[], later(600));
        assert_eq!(over.released, [id("i-2")]);
        assert!(book.open(&id("i-1")).is_some_and(|it| it.is_over(later(600))), "over, and still there");
    }

    #[test]
    fn a_foreign_session_says_how_and_why_and_what_is_being_terminated_opens_none() {
        let mut book = book();
        let held = Move { word: Some("standby"), ..moved("i-1", InstanceMode::Draining) };
        let told = Move { why: Some("ana asked".to_owned()), ..moved("i-2", InstanceMode::Draining) };
        let dying = Move { word: None, ..moved("i-3", InstanceMode::Draining) };
        book.mark_ours(&[id("i-4")], "not needed");
        book.follow(&[held, told, dying, moved("i-4", InstanceMode::Draining)], START);
        let reason = |book: &Book, name: &str| book.open(&id(name)).map(|session| session.reason.clone());
        assert_eq!(reason(&book, "i-2").as_deref(), Some("detached: ana asked"));
        assert_eq!(reason(&book, "i-3"), None);
        for name in ["i-1", "i-2", "i-4"] {
            assert!(book.explain(&id(name), "a user's request").is_ok());
        }
        assert_eq!(reason(&book, "i-1").as_deref(), Some("standby: a user's request"));
        assert_eq!(reason(&book, "i-2").as_deref(), Some("detached: ana asked"), "the first word stays");
        assert_eq!(reason(&book, "i-4").as_deref(), Some("not needed"), "ours has our own reason");
        assert!(book.explain(&id("i-9"), "x").is_err());
    }

    #[test]
    fn a_lease_ends_by_two_clocks() {
        let mut book = book();
        book.follow(&[moved("i-1", InstanceMode::Shadow)], START);
        let jumped = Now { wall: START.wall + 3_600, boot: START.boot + 10 };
        assert!(book.follow(&[], jumped).released.is_empty(), "the wall clock alone says so");
        let slept = Now { wall: START.wall + 10, boot: START.boot + 3_600 };
        assert!(book.follow(&[], slept).released.is_empty(), "the boot clock alone says so");
        assert_eq!(book.follow(&[], later(600)).released.len(), 1);
    }

    #[test]
    fn a_lease_is_extended_to_its_hard_limit_and_no_further() {
        let mut book = book();
        book.mark_ours(&[id("i-1")], "not needed");
        book.follow(&[moved("i-1", InstanceMode::Shadow)], START);
        let until = |changed: Changed| changed.sessions[0].until - START.wall;
        assert_eq!(book.extend(&id("i-1"), "may be needed", later(600)).map(until), Ok(1_200));
        assert_eq!(book.extend(&id("i-1"), "may be needed", later(1_200)).map(until), Ok(1_500));
        let at_limit = book.extend(&id("i-1"), "may be needed", later(1_500));
        assert_eq!(at_limit, Err(SessionError::AtLimit("i-1".to_owned(), 1_500)));
        let reason = &book.open(&id("i-1")).expect("open").reason;
        assert_eq!(reason, "not needed; may be needed", "a hundred extensions make no long story");
    }

    #[test]
    fn only_what_was_adopted_is_ours() {
        let mut book = book();
        book.follow(&[moved("i-1", InstanceMode::Shadow)], START);
        assert_eq!(book.extend(&id("i-1"), "x", later(1)), Err(SessionError::Foreign("i-1".to_owned())));
        assert_eq!(book.adopt(&id("i-1"), "ana: spare").map(|changed| changed.sessions[0].origin), Ok(Origin::Ours));
        assert_eq!(book.adopt(&id("i-1"), "again"), Err(SessionError::AlreadyOurs("i-1".to_owned())));
        assert_eq!(book.adopt(&id("i-9"), "x"), Err(SessionError::NotOpen("i-9".to_owned())));
        assert_eq!(book.release(&id("i-1"), "ben: keep it", later(2)).map(|changed| changed.released.len()), Ok(1));
        assert!(book.open(&id("i-1")).is_none());
    }

    #[test]
    fn a_mark_goes_when_the_instance_is_back_or_the_call_was_refused() {
        let mut book = book();
        book.mark_ours(&[id("i-1"), id("i-2")], "not needed");
        book.unmark(&[id("i-2")]);
        book.follow(&["i-1", "i-2"].map(|name| moved(name, InstanceMode::Shadow)), START);
        assert_eq!(book.open(&id("i-2")).map(|it| it.origin), Some(Origin::Foreign));
        // A stale description has it in its group for a moment.
        book.follow(&[moved("i-1", InstanceMode::Serving)], later(10));
        book.follow(&[moved("i-1", InstanceMode::Shadow)], later(20));
        assert_eq!(book.open(&id("i-1")).map(|it| it.origin), Some(Origin::Ours), "it never left");
        book.follow(&[moved("i-1", InstanceMode::Serving)], later(30));
        book.follow(&[], later(630));
        book.follow(&[moved("i-1", InstanceMode::Shadow)], later(640));
        assert_eq!(book.open(&id("i-1")).map(|it| it.origin), Some(Origin::Foreign), "this time it was somebody else");
        book.mark_ours(&[id("i-3")], "not needed");
        book.follow(&[moved("i-3", InstanceMode::Shadow)], later(700));
        book.unmark(&[id("i-3")]);
        book.follow(&[moved("i-3", InstanceMode::Serving)], later(710));
        book.follow(&[moved("i-3", InstanceMode::Shadow)], later(720));
        assert_eq!(book.open(&id("i-3")).map(|it| it.origin), Some(Origin::Foreign), "we had attached it ourselves");
    }

    #[test]
    fn who_seemed_gone_for_a_moment_is_ours_still() {
        let mut book = book();
        book.mark_ours(&[id("i-1")], "not needed");
        book.follow(&[moved("i-1", InstanceMode::Gone)], Now { wall: START.wall + 3_600, ..START });
        book.follow(&[], later(1_800));
        book.follow(&[moved("i-1", InstanceMode::Draining)], later(1_900));
        assert_eq!(book.open(&id("i-1")).map(|it| it.origin), Some(Origin::Ours));
    }

    #[test]
    fn who_was_seen_back_by_an_old_description_is_ours_after_a_restart_as_well() {
        let mut before = book();
        before.mark_ours(&["i-1", "i-2"].map(id), "not needed");
        before.follow(&["i-1", "i-2"].map(|name| moved(name, InstanceMode::Draining)), START);
        before.follow(&[moved("i-1", InstanceMode::Serving), moved("i-2", InstanceMode::Gone)], later(20));
        let seen: Vec<_> = before.sessions().iter().map(|it| (it.ended, it.seen)).collect();
        assert_eq!(seen, [(Some(later(20).wall), Some(Seen::Back)), (Some(later(20).wall), Some(Seen::Gone))]);
        for (restarted, outside, whose) in
            [(30, 40, Origin::Ours), (619, 625, Origin::Ours), (620, 625, Origin::Foreign)]
        {
            let mut after = Book::new(before.config.clone(), before.sessions().to_vec());
            after.mark_again(id("i-1"), "not needed".to_owned(), Some(later(20).wall));
            after.follow(&[], later(restarted));
            after.follow(&[moved("i-1", InstanceMode::Draining)], later(outside));
            assert_eq!(after.open(&id("i-1")).map(|it| it.origin), Some(whose), "restarted {restarted} s later");
        }
    }

    #[test]
    fn who_leaves_while_a_call_of_ours_is_in_doubt_is_foreign_and_says_why() {
        let mut book = book();
        book.mark_ours(&["i-1", "i-2", "i-3"].map(id), "not needed");
        book.follow(&[moved("i-3", InstanceMode::Draining)], START);
        book.doubt(&["i-1", "i-2", "i-3", "i-4"].map(id), START);
        book.follow(&[moved("i-1", InstanceMode::Draining)], later(300));
        book.follow(&[], later(600));
        book.follow(&["i-2", "i-4"].map(|name| moved(name, InstanceMode::Draining)), later(700));
        let shown = |name: &str| book.open(&id(name)).map(|it| (it.origin, it.reason.as_str()));
        assert_eq!(shown("i-1"), Some((Origin::Foreign, IN_DOUBT)), "by a late call or by hand: who could say");
        assert_eq!(shown("i-2"), Some((Origin::Foreign, "detached")), "no call comes this late");
        assert_eq!(shown("i-4"), Some((Origin::Foreign, "detached")));
        assert_eq!(shown("i-3"), Some((Origin::Ours, "not needed")), "it left before the call was given up");
        book.mark_ours(&[id("i-5")], "not needed");
        book.doubt(&[id("i-5")], later(700));
        book.mark_ours(&[id("i-5")], "not needed still");
        book.follow(&[moved("i-5", InstanceMode::Draining)], later(710));
        assert_eq!(book.open(&id("i-5")).map(|it| it.origin), Some(Origin::Ours), "asked for once more");
    }

    #[test]
    fn a_jump_of_the_clock_extends_every_lease() {
        let mut book = book();
        book.follow(&[moved("i-1", InstanceMode::Shadow)], START);
        let jumped = Now { wall: START.wall + 4_000, boot: START.boot + 10 };
        assert_eq!(book.extend_all(4_000, jumped).sessions[0].until, START.wall + 4_600);
        assert!(!book.open(&id("i-1")).expect("open").is_over(Now { wall: START.wall + 4_599, ..later(9_000) }));
    }

    #[test]
    fn after_a_reboot_a_lease_is_waited_anew_and_never_cut_short() {
        let mut book = book();
        let mut session = book.follow(&[moved("i-1", InstanceMode::Shadow)], START).sessions.remove(0);
        let rebooted = Now { wall: START.wall + 300, boot: 20 };
        session.resume(rebooted);
        assert!(!session.is_over(Now { wall: START.wall + 800, boot: 520 }));
        assert!(session.is_over(Now { wall: START.wall + 900, boot: 620 }));
    }
}
