//! The journal of what is done to the cloud, as a machine without IO: `on(event, now) -> effects`.
//!
//! An intent is written, and durable, before its effect, and that its call goes out is written before it does. Its token is a hash of installation,
//! group, generation and step: whoever repeats it after a crash, here or elsewhere, repeats the
//! *same* call. What came of a call is either known or found out by describing; nothing new is
//! begun in a group while an intent of it is open.
//!
//! ```text
//! Begin → Write ─durable→ Check ─allowed→ Call ─done/refused→ Settle
//!            │               └─refused→ Settle      │
//!            └─ crash, and it was sent ⇒ on restart: Resolve ◀─unknown┘
//!               crash, and it was not ⇒ on restart: Check, or Settle where its plan is too old
//! ```
//!
//! [`Effect::Resolve`] finds out what became of a call. A launch that is not to be seen may still
//! come to light, so it is checked anew and called again with its original token, which the cloud
//! answers with the same instances, while the token is young enough. What names its instances is
//! not repeated: if it was not done, the next plan decides anew.
//!
//! What is given up after a call whose effect was never seen is *in doubt*: it may come to light yet,
//! and until then nobody reckons as if it had not been asked for.

use std::collections::BTreeMap;

use foreshadow_proto::convert::Id;
use serde::{Deserialize, Serialize};

use crate::fleet::{Action, Called, Found, Token};

/// A call is repeated with its token within this time; an older intent is described, never resent.
/// EC2 Auto Scaling keeps client tokens for eight hours (LaunchInstances, API reference): half of it.
pub const REPEAT_WITHIN_SECONDS: i64 = 4 * 3_600;
/// An inventory taken this long after a change shows it, seconds. EC2's descriptions are eventually
/// consistent and promise no time; a minute is three times what was ever measured.
pub const SHOWN_AFTER: i64 = 60;
/// First and longest wait before the cloud is asked again what became of a call, seconds.
const AGAIN_AFTER: (i64, i64) = (5, 300);

/// A call goes out within moments of its intent; what was settled later than this was repeated, or a restart came between,
/// seconds.
const LATE_AFTER: i64 = 120;

/// One effect, written before it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub token: Token,
    pub group: Id,
    pub generation: u64,
    pub step: u32,
    /// Epoch of the lease under which the group was owned when this was written; not in the token,
    /// since a new owner repeats the same call.
    pub epoch: u64,
    #[serde(flatten)]
    pub action: Action,
    /// Seconds since the Unix epoch.
    pub written_at: i64,
    /// A plan that is older is not begun.
    pub valid_until: i64,
}

impl Intent {
    /// It is settled, or judged again, so long after it was written (`at` in seconds since the Unix epoch) that nobody knows when
    /// its call went out: no lead time is measured by it, and its size is held against what the group is by then.
    pub const fn is_late(&self, at: i64) -> bool {
        at - self.written_at > LATE_AFTER
    }
}

/// What became of an intent, for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "settled", rename_all = "snake_case")]
pub enum Settled {
    /// Done, to these instances.
    Done { instances: Vec<Id> },
    /// Not done, and not tried any more.
    Refused {
        why: Vec<String>,
        /// The cloud said no, not the checker, the lease or the time.
        #[serde(default)]
        by_cloud: bool,
        /// An earlier call of it may have been done after all: its answer was lost and nothing of it is to be seen.
        #[serde(default)]
        in_doubt: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A step of a plan is to be taken.
    Begin(Intent),
    /// The intent is on disk.
    Written(Token),
    /// The intent could not be written: it never was.
    NotWritten(Token),
    /// The checker's answer right before the effect; empty means go. `owns` is whether this
    /// process holds the group's lease at that very moment.
    Checked {
        token: Token,
        refusals: Vec<String>,
        owns: bool,
    },
    Called {
        token: Token,
        outcome: Called,
    },
    Found {
        token: Token,
        found: Found,
    },
    /// Whoever was to carry an effect of it out is no more, and nobody knows how far it came.
    Lost(Token),
    /// After a start: what the disk holds that was not settled, and whether its call may have gone out.
    Reopened(Vec<(Intent, bool)>),
    Tick,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make durable, then tell [`Event::Written`].
    Write(Intent),
    /// Describe anew and ask the checker, then tell [`Event::Checked`].
    Check(Intent),
    /// Make durable that it is sent, send it, then tell [`Event::Called`].
    Call(Intent),
    /// Find out what became of it, then tell [`Event::Found`].
    Resolve(Intent),
    /// Make durable; the intent is closed.
    Settle(Intent, Settled),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Writing,
    Checking,
    Calling,
    Resolving,
    /// Asks again what became of it at this time.
    Waiting {
        until: i64,
    },
}

#[derive(Debug, Clone)]
struct Open {
    intent: Intent,
    stage: Stage,
    tries: u32,
    /// When the call may have gone out last.
    called_at: i64,
}

/// The open intents, at most one a group.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    open: BTreeMap<Token, Open>,
}

impl Journal {
    /// Whether a group may begin something new.
    pub fn is_idle(&self, group: &Id) -> bool {
        self.open.values().all(|open| open.intent.group != *group)
    }

    /// The open intents.
    pub fn open(&self) -> impl Iterator<Item = &Intent> {
        self.open.values().map(|open| &open.intent)
    }

    /// Takes an event at `now` (seconds since the epoch) and says what to do, in order.
    pub fn on(&mut self, event: Event, now: i64) -> Vec<Effect> {
        match event {
            Event::Begin(intent) => self.begin(intent, now),
            Event::Written(token) => self.step(&token, Stage::Writing, |open| {
                open.stage = Stage::Checking;
                vec![Effect::Check(open.intent.clone())]
            }),
            Event::NotWritten(token) => {
                self.open.remove(&token);
                Vec::new()
            }
            Event::Checked { token, refusals, owns } => self.checked(&token, refusals, owns, now),
            Event::Called { token, outcome } => self.called(&token, outcome, now),
            Event::Found { token, found } => self.found(&token, found, now),
            Event::Lost(token) => {
                if let Some(open) = self.open.get_mut(&token) {
                    open.wait(now);
                }
                Vec::new()
            }
            Event::Reopened(intents) => {
                intents.into_iter().flat_map(|(intent, sent)| self.reopen(intent, sent, now)).collect()
            }
            Event::Tick => self.tick(now),
        }
    }

    /// Whether the effect of a call that may have gone out is there is found out first. One that never went out goes on where
    /// it was, while its plan is young enough.
    fn reopen(&mut self, intent: Intent, sent: bool, now: i64) -> Vec<Effect> {
        let token = intent.token.clone();
        let (stage, effect) = if sent {
            (Stage::Resolving, Effect::Resolve(intent.clone()))
        } else {
            (Stage::Checking, Effect::Check(intent.clone()))
        };
        let too_old = !sent && now > intent.valid_until;
        self.open.insert(token.clone(), Open { intent, stage, tries: 0, called_at: now });
        if too_old {
            let why = vec!["it was never sent, and its plan is too old to be carried out".to_owned()];
            return self.settle(&token, Settled::Refused { why, by_cloud: false, in_doubt: false });
        }
        vec![effect]
    }

    fn begin(&mut self, intent: Intent, now: i64) -> Vec<Effect> {
        if !self.is_idle(&intent.group) || now > intent.valid_until {
            return Vec::new();
        }
        let effect = Effect::Write(intent.clone());
        self.open.insert(intent.token.clone(), Open { intent, stage: Stage::Writing, tries: 0, called_at: now });
        vec![effect]
    }

    fn checked(&mut self, token: &Token, refusals: Vec<String>, owns: bool, now: i64) -> Vec<Effect> {
        let Some(open) = self.open.get_mut(token).filter(|open| open.stage == Stage::Checking) else {
            return Vec::new();
        };
        let mut why = refusals;
        if open.tries == 0 && now > open.intent.valid_until {
            why.push("the plan is too old to be carried out".to_owned());
        }
        if !owns {
            why.push("another owner has taken the group over".to_owned());
        }
        if why.is_empty() {
            open.stage = Stage::Calling;
            open.called_at = now;
            return vec![Effect::Call(open.intent.clone())];
        }
        // A call went out before, and a description this soon may not show it: what speaks against another may pass as well.
        let in_doubt = open.tries > 0 && now - open.called_at < SHOWN_AFTER;
        if in_doubt && owns {
            open.wait(now);
            return Vec::new();
        }
        self.settle(token, Settled::Refused { why, by_cloud: false, in_doubt })
    }

    fn called(&mut self, token: &Token, outcome: Called, now: i64) -> Vec<Effect> {
        let Some(open) = self.open.get_mut(token).filter(|open| open.stage == Stage::Calling) else {
            return Vec::new();
        };
        // What this answer says of the call before it: nothing.
        let in_doubt = open.tries > 0;
        open.tries += 1;
        open.called_at = now;
        let refused = |why: String, by_cloud| Settled::Refused { why: vec![why], by_cloud, in_doubt };
        match outcome {
            Called::Done { instances } => self.settle(token, Settled::Done { instances }),
            Called::Refused { why } => self.settle(token, refused(why, true)),
            Called::Withheld { why } => self.settle(token, refused(why, false)),
            Called::Throttled if in_doubt => {
                open.wait(now);
                Vec::new()
            }
            Called::Throttled => self.settle(token, refused("the API throttles".to_owned(), false)),
            Called::Unknown => {
                open.stage = Stage::Resolving;
                vec![Effect::Resolve(open.intent.clone())]
            }
        }
    }

    fn found(&mut self, token: &Token, found: Found, now: i64) -> Vec<Effect> {
        let Some(open) = self.open.get_mut(token).filter(|open| open.stage == Stage::Resolving) else {
            return Vec::new();
        };
        let launch = matches!(open.intent.action, Action::Launch { .. });
        // A description this soon after the call may simply not show it yet. A launch need not wait: its
        // token makes the repetition harmless.
        let too_soon = !launch && now - open.called_at < SHOWN_AFTER;
        let found = if found == Found::NotDone && too_soon { Found::NotYet } else { found };
        match found {
            Found::Done { instances } => self.settle(token, Settled::Done { instances }),
            Found::NotDone if !launch => {
                let why = vec!["it was not done; the next plan decides".to_owned()];
                self.settle(token, Settled::Refused { why, by_cloud: false, in_doubt: true })
            }
            // Hours later a description shows what was done.
            Found::NotDone if now - open.intent.written_at > REPEAT_WITHIN_SECONDS => {
                let why = vec!["too old to be repeated".to_owned()];
                self.settle(token, Settled::Refused { why, by_cloud: false, in_doubt: false })
            }
            Found::NotDone => {
                open.stage = Stage::Checking;
                // From here on it is a repetition: the plan's validity was judged when it began.
                open.tries = open.tries.max(1);
                vec![Effect::Check(open.intent.clone())]
            }
            Found::NotYet => {
                open.wait(now);
                Vec::new()
            }
        }
    }

    fn tick(&mut self, now: i64) -> Vec<Effect> {
        let mut effects = Vec::new();
        for open in self.open.values_mut() {
            if let Stage::Waiting { until } = open.stage
                && now >= until
            {
                open.stage = Stage::Resolving;
                effects.push(Effect::Resolve(open.intent.clone()));
            }
        }
        effects
    }

    fn settle(&mut self, token: &Token, settled: Settled) -> Vec<Effect> {
        self.open.remove(token).map(|open| Effect::Settle(open.intent, settled)).into_iter().collect()
    }

    fn step(&mut self, token: &Token, at: Stage, then: impl FnOnce(&mut Open) -> Vec<Effect>) -> Vec<Effect> {
        self.open.get_mut(token).filter(|open| open.stage == at).map(then).unwrap_or_default()
    }
}

impl Open {
    /// Asks again later what became of it.
    fn wait(&mut self, now: i64) {
        self.tries += 1;
        self.stage = Stage::Waiting { until: now + back_off(self.tries) };
    }
}

fn back_off(tries: u32) -> i64 {
    (AGAIN_AFTER.0 << tries.min(16).saturating_sub(1)).min(AGAIN_AFTER.1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::store::StoreId;

    const NOW: i64 = 1_800_000_000;

    fn id(name: &str) -> Id {
        Id::new("id", name).expect("an id")
    }

    fn intent(action: Action) -> Intent {
        let group = id("web");
        Intent {
            token: Token::new(StoreId([1; 16]), &group, 7, 0),
            group,
            generation: 7,
            step: 0,
            epoch: 3,
            action,
            written_at: NOW,
            valid_until: NOW + 60,
        }
    }

    fn actions() -> [Action; 8] {
        let instances = vec![id("i-1"), id("i-2")];
        [
            Action::launch(2, 12),
            Action::Attach { instances: instances.clone() },
            Action::Detach { instances: instances.clone() },
            Action::EnterStandby { instances: instances.clone() },
            Action::ExitStandby { instances: instances.clone() },
            Action::Leave { instances: instances.clone() },
            Action::Terminate { instances },
            Action::Floor { from: 4, to: 8 },
        ]
    }

    /// What the cloud answers to one call.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Answer {
        Done,
        Refused,
        Throttled,
        /// The effect happened and the answer was lost.
        DoneUnknown,
        /// The effect did not happen and the answer was lost.
        NotDoneUnknown,
    }

    const ANSWERS: [Answer; 5] =
        [Answer::Done, Answer::Refused, Answer::Throttled, Answer::DoneUnknown, Answer::NotDoneUnknown];

    /// A line of the disk.
    #[derive(Debug)]
    struct Kept {
        intent: Intent,
        sent: bool,
        settled: Option<Settled>,
    }

    /// A cloud that keeps the tokens of launches and counts effects, and a disk that survives.
    #[derive(Debug, Default)]
    struct World {
        /// Effects by token: a second one for the same token would be a duplicate.
        effects: BTreeMap<Token, u32>,
        disk: BTreeMap<Token, Kept>,
        calls: u32,
        called_at: i64,
        /// The checker let it go in this life, and nothing was called since.
        allowed: bool,
        /// How often the process died.
        deaths: usize,
    }

    impl World {
        fn call(&mut self, intent: &Intent, answer: Answer) -> Called {
            self.calls += 1;
            assert!(std::mem::take(&mut self.allowed), "each call has the checker's word of this life: {self:?}");
            let kept = self.disk.get(&intent.token).expect("the intent is on disk before its effect");
            assert!(kept.sent && kept.settled.is_none(), "that it is sent is on disk before its effect");
            let launch = matches!(intent.action, Action::Launch { .. });
            let known = launch && self.effects.contains_key(&intent.token);
            // The token of a launch again: the cloud answers with what it did, and does nothing. Of others it knows nothing.
            if matches!(answer, Answer::Done | Answer::DoneUnknown) && !known {
                *self.effects.entry(intent.token.clone()).or_default() += 1;
            }
            let instances = vec![id("i-1"), id("i-2")];
            match answer {
                Answer::Done => Called::Done { instances },
                _ if known && answer != Answer::DoneUnknown => Called::Done { instances },
                Answer::Refused => Called::Refused { why: "no capacity".to_owned() },
                Answer::Throttled => Called::Throttled,
                Answer::DoneUnknown | Answer::NotDoneUnknown => Called::Unknown,
            }
        }

        fn found(&self, intent: &Intent, lagging: bool, stale: bool) -> Found {
            if lagging {
                return Found::NotYet;
            }
            if stale {
                return Found::NotDone;
            }
            match self.effects.get(&intent.token) {
                Some(_) => Found::Done { instances: vec![id("i-1"), id("i-2")] },
                None => Found::NotDone,
            }
        }

        fn die(&mut self, journal: &mut Journal, now: i64) -> Vec<Effect> {
            (self.deaths, self.allowed) = (self.deaths + 1, false);
            *journal = Journal::default();
            let open = self.disk.values().filter(|kept| kept.settled.is_none());
            journal.on(Event::Reopened(open.map(|kept| (kept.intent.clone(), kept.sent)).collect()), now)
        }
    }

    /// Where a process dies.
    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Crash {
        /// Before it carries out this effect of its life …
        at: usize,
        /// … or, if that is a call, when it is written that it is sent, and nothing was.
        marked: bool,
    }

    /// One way things can go.
    #[derive(Debug, Clone)]
    struct Course {
        /// What the cloud answers to the first call, to the second, and `Done` from then on.
        answers: [Answer; 2],
        /// One for each life that ends early.
        crashes: Vec<Crash>,
        /// How long the process is gone then, seconds.
        gone: i64,
        /// So many descriptions say nothing.
        lagging: usize,
        /// The checker refuses from this check on.
        refuse: Option<usize>,
        /// Descriptions show what was a minute ago.
        stale: bool,
    }

    /// Runs to the end.
    fn run(action: Action, course: &Course) -> World {
        let (mut world, mut journal, mut now) = (World::default(), Journal::default(), NOW);
        let mut effects: Vec<Effect> = journal.on(Event::Begin(intent(action)), now);
        let (mut done, mut lagging, mut calls, mut checks) = (0, course.lagging, 0, 0);
        for _ in 0..400 {
            if effects.is_empty() {
                if journal.open().next().is_none() {
                    return world;
                }
                now += 30;
                effects = journal.on(Event::Tick, now);
                continue;
            }
            let crash = course.crashes.get(world.deaths).filter(|crash| crash.at == done);
            let dies = crash.is_some_and(|crash| !crash.marked || matches!(effects[0], Effect::Call(_)));
            if dies {
                if let (Some(Crash { marked: true, .. }), Effect::Call(intent)) = (crash, &effects[0]) {
                    world.disk.get_mut(&intent.token).expect("written").sent = true;
                }
                (done, now) = (0, now + course.gone);
                effects = world.die(&mut journal, now);
                continue;
            }
            done += 1;
            let event = match effects.remove(0) {
                Effect::Write(intent) => {
                    let token = intent.token.clone();
                    world.disk.insert(token.clone(), Kept { intent, sent: false, settled: None });
                    Event::Written(token)
                }
                Effect::Check(intent) => {
                    let refused = course.refuse.is_some_and(|from| checks >= from);
                    checks += 1;
                    let refusals = if refused { vec!["below need".to_owned()] } else { Vec::new() };
                    world.allowed = !refused;
                    Event::Checked { token: intent.token, refusals, owns: true }
                }
                Effect::Call(intent) => {
                    calls += 1_usize;
                    world.disk.get_mut(&intent.token).expect("written").sent = true;
                    let answer = course.answers.get(calls - 1).copied().unwrap_or(Answer::Done);
                    let outcome = world.call(&intent, answer);
                    world.called_at = now;
                    Event::Called { token: intent.token, outcome }
                }
                Effect::Resolve(intent) => {
                    // Descriptions show what was a minute ago at worst.
                    let stale = course.stale && now - world.called_at < SHOWN_AFTER;
                    let found = world.found(&intent, lagging > 0, stale);
                    lagging = lagging.saturating_sub(1);
                    Event::Found { token: intent.token, found }
                }
                Effect::Settle(intent, settled) => {
                    world.disk.get_mut(&intent.token).expect("written").settled = Some(settled);
                    continue;
                }
            };
            effects.extend(journal.on(event, now));
        }
        panic!("it never ends: {world:?}");
    }

    /// Every course of one life, then each with a death before every effect that it has, and again in the life after that.
    #[test]
    fn every_state_crash_point_and_outcome_ends_settled_and_done_at_most_once() {
        let (mut cases, mut deepest) = (0_u32, 0);
        for action in actions() {
            for answers in ANSWERS.into_iter().flat_map(|first| ANSWERS.map(|second| [first, second])) {
                for lagging in 0..3 {
                    for refuse in [None, Some(0), Some(1)] {
                        for (stale, gone) in [(false, 45), (false, 90), (true, 45), (true, 90)] {
                            let course = Course { answers, crashes: Vec::new(), gone, lagging, refuse, stale };
                            let again = lagging == 0 && !stale;
                            cases += with_crashes(&action, course, if again { 2 } else { 1 }, &mut deepest);
                        }
                    }
                }
            }
        }
        // A launch whose answers are lost twice, described late, is checked and called three times: that many effects
        // have each a death before them.
        assert!(deepest >= 11 && cases > 50_000, "{cases} courses, {deepest} effects");
    }

    /// The course, and the same with every crash point that it has, `more` deaths deep. How many that were.
    fn with_crashes(action: &Action, course: Course, more: usize, deepest: &mut usize) -> u32 {
        settled_and_once(action, &course);
        let mut cases = 1;
        if more == 0 {
            return cases;
        }
        for marked in [false, true] {
            let deaths = course.crashes.len() + 1;
            for at in 0.. {
                let mut crashes = course.crashes.clone();
                crashes.push(Crash { at, marked });
                let crashed = Course { crashes, ..course.clone() };
                match run(action.clone(), &crashed).deaths {
                    died if died == deaths => {
                        *deepest = (*deepest).max(at);
                        cases += with_crashes(action, crashed, more - 1, deepest);
                    }
                    // What is no call has no such moment; behind the last effect there is none at all.
                    _ if marked && at < 20 => {}
                    _ => break,
                }
            }
        }
        cases
    }

    fn settled_and_once(action: &Action, course: &Course) {
        let world = run(action.clone(), course);
        let case = || format!("{action:?} {course:?}: {world:?}");
        assert!(world.effects.values().all(|count| *count == 1), "{}", case());
        // Whom a call names is not named by another: the next plan decides.
        assert!(matches!(action, Action::Launch { .. }) || world.calls <= 1, "{}", case());
        for (token, Kept { settled, sent, .. }) in &world.disk {
            let settled = settled.as_ref().unwrap_or_else(|| panic!("open for ever: {}", case()));
            let effect = world.effects.contains_key(token);
            match settled {
                Settled::Done { .. } => assert!(effect, "the journal says what happened: {}", case()),
                Settled::Refused { in_doubt, .. } => {
                    assert!(!effect || *in_doubt, "what may have been done is said to be in doubt: {}", case());
                    assert!(*sent || !*in_doubt, "what was never sent is in no doubt: {}", case());
                }
            }
        }
        assert!(course.refuse != Some(0) || world.calls == 0, "refused and called: {}", case());
    }

    #[test]
    fn what_was_never_sent_is_not_sent_when_its_plan_is_too_old() {
        for action in actions() {
            let mut journal = Journal::default();
            let effects = journal.on(Event::Reopened(vec![(intent(action.clone()), false)]), NOW + 61);
            assert!(
                matches!(&effects[..], [Effect::Settle(_, Settled::Refused { in_doubt: false, .. })]),
                "{effects:?}"
            );
            assert_eq!(journal.open().count(), 0);
            let effects = journal.on(Event::Reopened(vec![(intent(action.clone()), false)]), NOW + 60);
            assert!(matches!(&effects[..], [Effect::Check(_)]), "{effects:?}");
            let mut journal = Journal::default();
            let effects = journal.on(Event::Reopened(vec![(intent(action), true)]), NOW + 61);
            assert!(matches!(&effects[..], [Effect::Resolve(_)]), "{effects:?}");
        }
    }

    #[test]
    fn the_same_step_has_the_same_token_and_no_other_has() {
        let token = |installation: u8, group: &str, generation, step| {
            Token::new(StoreId([installation; 16]), &id(group), generation, step)
        };
        let first = token(1, "web", 7, 0);
        assert_eq!(first, token(1, "web", 7, 0));
        for other in [token(2, "web", 7, 0), token(1, "api", 7, 0), token(1, "web", 8, 0), token(1, "web", 7, 1)] {
            assert_ne!(first, other);
        }
        assert_eq!(first.as_str().len(), 32);
    }

    #[test]
    fn a_group_does_one_thing_at_a_time() {
        let mut journal = Journal::default();
        assert_eq!(journal.on(Event::Begin(intent(Action::launch(1, 11))), NOW).len(), 1);
        let mut second = intent(Action::launch(1, 11));
        second.token = Token::new(StoreId([1; 16]), &second.group, 8, 0);
        assert_eq!(journal.on(Event::Begin(second.clone()), NOW), []);
        second.group = id("api");
        assert_eq!(journal.on(Event::Begin(second), NOW).len(), 1, "another group is free");
    }

    #[test]
    fn an_old_plan_is_not_begun_nor_called() {
        let mut journal = Journal::default();
        let old = intent(Action::launch(1, 11));
        assert_eq!(journal.on(Event::Begin(old.clone()), NOW + 61), []);
        // Begun in time, and then the disk took a minute and a half.
        journal.on(Event::Begin(old.clone()), NOW);
        journal.on(Event::Written(old.token.clone()), NOW + 90);
        let checked = Event::Checked { token: old.token, refusals: Vec::new(), owns: true };
        let effects = journal.on(checked, NOW + 90);
        assert!(matches!(effects.as_slice(), [Effect::Settle(_, Settled::Refused { .. })]), "{effects:?}");
    }

    #[test]
    fn a_former_owner_does_nothing() {
        let mut journal = Journal::default();
        let mine = intent(Action::Detach { instances: vec![id("i-1")] });
        journal.on(Event::Begin(mine.clone()), NOW);
        journal.on(Event::Written(mine.token.clone()), NOW);
        let effects = journal.on(Event::Checked { token: mine.token, refusals: Vec::new(), owns: false }, NOW);
        assert!(matches!(effects.as_slice(), [Effect::Settle(_, Settled::Refused { .. })]), "{effects:?}");
    }

    #[test]
    fn an_intent_past_its_token_is_never_sent_again() {
        let mut journal = Journal::default();
        let old = intent(Action::launch(1, 11));
        let later = NOW + REPEAT_WITHIN_SECONDS + 1;
        assert_eq!(journal.on(Event::Reopened(vec![(old.clone(), true)]), later), [Effect::Resolve(old.clone())]);
        let effects = journal.on(Event::Found { token: old.token, found: Found::NotDone }, later);
        assert!(matches!(effects.as_slice(), [Effect::Settle(_, Settled::Refused { .. })]), "{effects:?}");
    }

    #[test]
    fn whoever_carried_it_out_is_no_more_and_it_is_found_out_later() {
        let mut journal = Journal::default();
        let lost = intent(Action::Detach { instances: vec![id("i-1")] });
        journal.on(Event::Begin(lost.clone()), NOW);
        journal.on(Event::Written(lost.token.clone()), NOW);
        assert_eq!(journal.on(Event::Lost(lost.token.clone()), NOW), []);
        assert!(!journal.is_idle(&lost.group), "nothing new is begun meanwhile");
        assert_eq!(journal.on(Event::Tick, NOW + 4), []);
        assert_eq!(journal.on(Event::Tick, NOW + 5), [Effect::Resolve(lost)]);
    }

    #[test]
    fn what_could_not_be_written_never_was() {
        let mut journal = Journal::default();
        let lost = intent(Action::launch(1, 11));
        journal.on(Event::Begin(lost.clone()), NOW);
        assert_eq!(journal.on(Event::NotWritten(lost.token.clone()), NOW), []);
        assert!(journal.is_idle(&lost.group));
        let checked = Event::Checked { token: lost.token, refusals: Vec::new(), owns: true };
        assert_eq!(journal.on(checked, NOW), [], "and nothing of it is called");
    }
}
