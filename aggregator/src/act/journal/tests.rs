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

/// What builds wrote before they knew zones, calls refused by the cloud, and doubt.
#[test]
fn what_an_earlier_build_wrote_is_read() {
    let token = Token::new(StoreId([1; 16]), &id("web"), 7, 0);
    let named = r#""instances":["i-1","i-2"]"#;
    let said = [
        r#""launch","count":2,"size":12"#.to_owned(),
        format!(r#""attach",{named}"#),
        format!(r#""detach",{named}"#),
        format!(r#""enter_standby",{named}"#),
        format!(r#""exit_standby",{named}"#),
        format!(r#""leave",{named}"#),
        format!(r#""terminate",{named}"#),
        r#""floor","from":4,"to":8"#.to_owned(),
    ];
    for (action, said) in actions().into_iter().zip(said) {
        let of = r#""group":"web","generation":7,"step":0,"epoch":3"#;
        let line = format!(
            r#"{{"token":"{}",{of},"action":{said},"written_at":{NOW},"valid_until":{}}}"#,
            token.as_str(),
            NOW + 60
        );
        assert_eq!(serde_json::from_str::<Intent>(&line).expect(&line), intent(action));
    }
    let refused = serde_json::from_str(r#"{"settled":"refused","why":["no"]}"#).ok();
    assert_eq!(refused, Some(Settled::Refused { why: vec!["no".to_owned()], by_cloud: false, in_doubt: false }));
    let done = serde_json::from_str(r#"{"settled":"done","instances":["i-1"]}"#).ok();
    assert_eq!(done, Some(Settled::Done { instances: vec![id("i-1")] }));
}

/// What the cloud answers to one call.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Done,
    Refused,
    Throttled,
    /// It was not asked: what spoke against it came at the last moment, or its tags could not be set.
    Withheld,
    /// The effect happened and the answer was lost.
    DoneUnknown,
    /// The effect did not happen and the answer was lost.
    NotDoneUnknown,
}

const ANSWERS: [Answer; 6] =
    [Answer::Done, Answer::Refused, Answer::Throttled, Answer::Withheld, Answer::DoneUnknown, Answer::NotDoneUnknown];

/// What stands against it from some check on.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Against {
    Nothing,
    /// The checker, from this check on.
    Checker(usize),
    /// Another has the lease of the group.
    Owner(usize),
}

const AGAINST: [Against; 5] =
    [Against::Nothing, Against::Checker(0), Against::Checker(1), Against::Owner(0), Against::Owner(1)];

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
            Answer::Withheld => Called::Withheld { why: "paused meanwhile".to_owned() },
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
    against: Against,
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
                let refused = matches!(course.against, Against::Checker(from) if checks >= from);
                let owns = !matches!(course.against, Against::Owner(from) if checks >= from);
                checks += 1;
                let refusals = if refused { vec!["below need".to_owned()] } else { Vec::new() };
                world.allowed = !refused && owns;
                Event::Checked { token: intent.token, refusals, owns }
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

/// How long a process is gone: within its plan's time, beyond it, and beyond that of its token, seconds.
const GONE: [i64; 3] = [45, 90, REPEAT_WITHIN_SECONDS + 90];

/// Every course of one life, then each with a death before every effect that it has, and again in the life after that.
#[test]
fn every_state_crash_point_and_outcome_ends_settled_and_done_at_most_once() {
    let (mut cases, mut deepest) = (0_u32, 0);
    for action in actions() {
        for answers in ANSWERS.into_iter().flat_map(|first| ANSWERS.map(|second| [first, second])) {
            for lagging in 0..3 {
                for (against, stale) in AGAINST.into_iter().flat_map(|against| [(against, false), (against, true)]) {
                    for gone in GONE {
                        let course = Course { answers, crashes: Vec::new(), gone, lagging, against, stale };
                        cases += with_crashes(&action, course, 2, &mut deepest);
                    }
                }
            }
        }
    }
    // A launch whose answers are lost twice, described late, is checked and called three times: that many effects
    // have each a death before them.
    assert!(deepest >= 11 && cases > 400_000, "{cases} courses, {deepest} effects");
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
    let forbidden = matches!(course.against, Against::Checker(0) | Against::Owner(0));
    assert!(!forbidden || world.calls == 0, "refused and called: {}", case());
}

#[test]
fn what_was_never_sent_is_not_sent_when_its_plan_is_too_old() {
    for action in actions() {
        let mut journal = Journal::default();
        let effects = journal.on(Event::Reopened(vec![(intent(action.clone()), false)]), NOW + 61);
        assert!(matches!(&effects[..], [Effect::Settle(_, Settled::Refused { in_doubt: false, .. })]), "{effects:?}");
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

/// A launch that may have been sent before a death is sent again, and refused. What the first did a description shows a minute later: that
/// it was not done is known then, and nobody waits for it as long as a launch takes.
#[test]
fn what_was_refused_when_it_was_repeated_is_in_doubt_for_a_minute() {
    for outcome in [Called::Refused { why: "no capacity".to_owned() }, Called::Withheld { why: "paused".to_owned() }] {
        let (mut journal, launch) = (Journal::default(), intent(Action::launch(2, 9)));
        let token = launch.token.clone();
        journal.on(Event::Reopened(vec![(launch, true)]), NOW);
        let mut settled = None;
        for now in (NOW..NOW + 120).step_by(5) {
            let mut effects = journal.on(Event::Tick, now);
            effects.push(Effect::Resolve(intent(Action::launch(2, 9))));
            while let Some(effect) = effects.pop() {
                let token = token.clone();
                effects.extend(match effect {
                    Effect::Resolve(_) => journal.on(Event::Found { token, found: Found::NotDone }, now),
                    Effect::Check(_) => journal.on(Event::Checked { token, refusals: Vec::new(), owns: true }, now),
                    Effect::Call(_) => journal.on(Event::Called { token, outcome: outcome.clone() }, now),
                    Effect::Settle(_, Settled::Refused { in_doubt, .. }) => {
                        settled.get_or_insert((now - NOW, in_doubt));
                        Vec::new()
                    }
                    other => panic!("{other:?}"),
                });
            }
        }
        let (after, in_doubt) = settled.expect("it ends");
        assert!((SHOWN_AFTER..SHOWN_AFTER + 45).contains(&after) && !in_doubt, "{after} {in_doubt}");
    }
}

/// The cloud may answer so for as long as it likes: asked without a pause it would be asked as fast as a machine can.
#[test]
fn a_launch_of_which_nobody_knows_is_asked_for_again_once_at_once_and_then_ever_later() {
    let (mut journal, launch, mut now) = (Journal::default(), intent(Action::launch(2, 9)), NOW);
    let token = launch.token.clone();
    journal.on(Event::Begin(launch), now);
    let mut effects = journal.on(Event::Written(token.clone()), now);
    let mut calls = Vec::new();
    while now < NOW + 3_600 {
        let Some(effect) = effects.pop() else {
            now += 1;
            effects = journal.on(Event::Tick, now);
            continue;
        };
        let token = token.clone();
        let event = match effect {
            Effect::Check(_) => Event::Checked { token, refusals: Vec::new(), owns: true },
            Effect::Call(_) => {
                calls.push(now - NOW);
                assert!(calls.len() < 100, "{calls:?}");
                Event::Called { token, outcome: Called::Unknown }
            }
            Effect::Resolve(_) => Event::Found { token, found: Found::NotDone },
            other => panic!("{other:?}"),
        };
        effects = journal.on(event, now);
    }
    assert_eq!(calls[..2], [0, 0], "the answer may only have been lost");
    let waits: Vec<i64> = calls[1..].windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.iter().all(|wait| *wait >= 5) && waits.is_sorted(), "{waits:?}");
    assert_eq!(waits.last(), Some(&300));
}
