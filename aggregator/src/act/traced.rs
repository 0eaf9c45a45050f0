//! Follows each intent from stage to stage, to tell of it as part of its decision's trace. Without a collector it follows none.

use std::collections::BTreeMap;

use super::journal::{Event, Intent, Settled};
use crate::fleet::{Called, Found, Token};
use crate::traces::{Course, End, Stage, Traces};

/// The intents that are on their way. All times are µs since the Unix epoch.
#[derive(Debug)]
pub(super) struct Traced {
    traces: Traces,
    courses: BTreeMap<Token, Course>,
}

impl Traced {
    pub(super) const fn new(traces: Traces) -> Self {
        Self { traces, courses: BTreeMap::new() }
    }

    pub(super) fn begun(&mut self, intent: &Intent, now: i64) {
        self.follow(intent, |intent| Course::begun(intent, now));
    }

    /// Begun before a restart; `sent_at` in seconds since the Unix epoch.
    pub(super) fn reopened(&mut self, intent: &Intent, sent_at: Option<i64>) {
        self.follow(intent, |intent| Course::reopened(intent, sent_at));
    }

    fn follow(&mut self, intent: &Intent, course: impl FnOnce(Intent) -> Course) {
        if self.traces.id(&intent.group, intent.generation).is_some() {
            self.courses.insert(intent.token.clone(), course(intent.clone()));
        }
    }

    pub(super) fn passed(&mut self, token: &Token, stage: Stage, over: (i64, i64), outcome: Result<(), Vec<String>>) {
        if let Some(course) = self.courses.get_mut(token) {
            course.passed(stage, over, outcome);
        }
    }

    pub(super) fn settled(&mut self, token: &Token, settled: &Settled, ended: i64) {
        self.end(token, End::Settled(settled), ended);
    }

    pub(super) fn not_written(&mut self, token: &Token, ended: i64) {
        self.end(token, End::NotWritten, ended);
    }

    fn end(&mut self, token: &Token, end: End<'_>, ended: i64) {
        let Some(course) = self.courses.remove(token) else { return };
        let Some(trace) = self.traces.id(&course.intent().group, course.intent().generation) else { return };
        self.traces.tell(course.spans(trace, end, ended));
    }
}

/// What an event says of the stage that it ends.
pub(super) fn outcome(event: &Event) -> Result<(), Vec<String>> {
    let why = match event {
        Event::NotWritten(_) => "it could not be written down",
        Event::Called { outcome: Called::Refused { why } | Called::Withheld { why }, .. } => why,
        Event::Called { outcome: Called::Throttled, .. } => "the API throttles",
        Event::Called { outcome: Called::Unknown, .. } => "no answer: it may have been done",
        Event::Found { found: Found::NotDone, .. } => "it is not to be seen",
        Event::Found { found: Found::NotYet, .. } => "not to be told yet",
        _ => return Ok(()),
    };
    Err(vec![why.to_owned()])
}

#[cfg(test)]
mod tests {
    use foreshadow_proto::convert::Id;

    use super::*;
    use crate::fleet::Action;
    use crate::store::StoreId;

    #[test]
    fn without_a_collector_no_intent_is_followed() {
        let group = Id::new("group", "web").expect("an id");
        let token = Token::new(StoreId([1; 16]), &group, 1, 0);
        let action = Action::launch(1, 2);
        let intent = Intent {
            token: token.clone(),
            group,
            generation: 1,
            step: 0,
            epoch: 1,
            action,
            written_at: 0,
            valid_until: 60,
        };
        let mut traced = Traced::new(Traces::default());
        traced.begun(&intent, 0);
        traced.passed(&token, Stage::Write, (0, 1), Ok(()));
        assert!(traced.courses.is_empty());
    }

    #[test]
    fn a_lost_answer_is_no_success() {
        let token = Token::new(StoreId([1; 16]), &Id::new("group", "web").expect("an id"), 1, 0);
        let called = |outcome| outcome_of(Event::Called { token: token.clone(), outcome });
        fn outcome_of(event: Event) -> Option<String> {
            outcome(&event).err().map(|why| why.concat())
        }
        assert_eq!(called(Called::Done { instances: Vec::new() }), None);
        assert_eq!(called(Called::Refused { why: "no capacity".to_owned() }), Some("no capacity".to_owned()));
        assert!(called(Called::Unknown).is_some() && called(Called::Throttled).is_some());
        assert_eq!(outcome_of(Event::Written(token)), None);
    }
}
