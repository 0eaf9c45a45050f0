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
    /// When a call of it may have gone out last of which nobody knows what it did.
    unanswered: Option<i64>,
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
                    if open.stage == Stage::Calling {
                        open.unanswered = Some(now);
                    }
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
        self.open.insert(token.clone(), Open { intent, stage, tries: 0, unanswered: sent.then_some(now) });
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
        self.open.insert(intent.token.clone(), Open { intent, stage: Stage::Writing, tries: 0, unanswered: None });
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
            return vec![Effect::Call(open.intent.clone())];
        }
        // A call went out before, and a description this soon may not show it: what speaks against another may pass as well.
        let in_doubt = open.is_in_doubt(now);
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
        // What this answer says of a call before it: nothing. Until a description would show that one, it is found out about
        // again; asked at once it would be asked without end while the cloud answers so.
        let (repeated, in_doubt) = (open.unanswered.is_some(), open.is_in_doubt(now));
        open.tries += 1;
        let refused = |why: String, by_cloud| Settled::Refused { why: vec![why], by_cloud, in_doubt: false };
        match outcome {
            Called::Done { instances } => return self.settle(token, Settled::Done { instances }),
            Called::Refused { why } if !in_doubt => return self.settle(token, refused(why, true)),
            Called::Withheld { why } if !in_doubt => return self.settle(token, refused(why, false)),
            Called::Throttled if !repeated => {
                return self.settle(token, refused("the API throttles".to_owned(), false));
            }
            Called::Unknown => {
                open.unanswered = Some(now);
                if !repeated {
                    open.stage = Stage::Resolving;
                    return vec![Effect::Resolve(open.intent.clone())];
                }
            }
            Called::Refused { .. } | Called::Withheld { .. } | Called::Throttled => {}
        }
        open.wait(now);
        Vec::new()
    }

    fn found(&mut self, token: &Token, found: Found, now: i64) -> Vec<Effect> {
        let Some(open) = self.open.get_mut(token).filter(|open| open.stage == Stage::Resolving) else {
            return Vec::new();
        };
        let launch = matches!(open.intent.action, Action::Launch { .. });
        // A description this soon after the call may simply not show it yet. A launch need not wait: its
        // token makes the repetition harmless.
        let too_soon = !launch && open.is_in_doubt(now);
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
    /// A call of it may have been done, and no description would show that yet.
    fn is_in_doubt(&self, now: i64) -> bool {
        self.unanswered.is_some_and(|at| now - at < SHOWN_AFTER)
    }

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
mod tests;
