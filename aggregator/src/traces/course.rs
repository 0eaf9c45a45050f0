//! What was done for one step of a plan, from its intent to what became of it, as spans. They are told when it is settled: an intent
//! that another process began has the same ids, and tells of the stages that were seen since.

use super::TraceId;
use super::otlp::{Span, ours};
use crate::act::{Intent, Settled};
use crate::fleet::Action;

/// Stages of an intent that are told. One that is asked about for days has thousands: those beyond are counted.
const MOST_STAGES: usize = 60;

/// What is done with an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Write,
    Describe,
    Check,
    Call,
    /// Finding out what became of a call whose answer is not known.
    Resolve,
    Settle,
}

impl Stage {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Describe => "describe",
            Self::Check => "check",
            Self::Call => "call",
            Self::Resolve => "resolve",
            Self::Settle => "settle",
        }
    }
}

/// How an intent ended.
#[derive(Debug, Clone, Copy)]
pub enum End<'a> {
    Settled(&'a Settled),
    /// It could not be written down, and never was.
    NotWritten,
}

/// An intent on its way.
#[derive(Debug, Clone)]
pub struct Course {
    intent: Intent,
    /// µs since the Unix epoch.
    begun: i64,
    /// Another process began it, and when its call may have gone out, µs since the Unix epoch.
    reopened: Option<Option<i64>>,
    stages: Vec<Passed>,
    /// Stages beyond those that are told.
    left_out: u32,
}

#[derive(Debug, Clone)]
struct Passed {
    stage: Stage,
    over: (i64, i64),
    outcome: Result<(), Vec<String>>,
}

impl Course {
    /// Begins now, µs since the Unix epoch.
    pub const fn begun(intent: Intent, now: i64) -> Self {
        Self { intent, begun: now, reopened: None, stages: Vec::new(), left_out: 0 }
    }

    /// Was begun before a restart; `sent_at` is when its call may have gone out, seconds since the Unix epoch.
    pub fn reopened(intent: Intent, sent_at: Option<i64>) -> Self {
        let begun = intent.written_at * 1_000_000;
        let reopened = Some(sent_at.map(|at| at * 1_000_000));
        Self { intent, begun, reopened, stages: Vec::new(), left_out: 0 }
    }

    pub const fn intent(&self) -> &Intent {
        &self.intent
    }

    /// A stage from when to when, µs since the Unix epoch; `Err` says why it did not go on.
    pub fn passed(&mut self, stage: Stage, over: (i64, i64), outcome: Result<(), Vec<String>>) {
        if self.stages.len() >= MOST_STAGES && stage != Stage::Settle {
            self.left_out += 1;
            return;
        }
        self.stages.push(Passed { stage, over, outcome });
    }

    /// All of it; it ended then, µs since the Unix epoch.
    pub fn spans(&self, trace: TraceId, end: End<'_>, ended: i64) -> Vec<Span> {
        let (intent, token) = (&self.intent, &self.intent.token);
        let id = trace.intent(token);
        let action = &intent.action;
        let mut span = Span::new(trace, id, Some(trace.part("decision", "")), "intent", (self.begun, ended))
            .with("group", intent.group.as_str())
            .with("generation", intent.generation)
            .with("token", token.as_str())
            .with("step", intent.step)
            .with("action", action.word());
        span = match action {
            Action::Launch { count, .. } => span.with("count", *count),
            Action::Floor { from, to } => span.with("from", *from).with("to", *to),
            _ => span.with("instances", action.instances().iter().map(ToString::to_string).collect::<Vec<_>>()),
        };
        if let Some(sent_at) = self.reopened {
            span = span.with("reopened", true);
            if let Some(at) = sent_at {
                span = span.event("sent", at, Vec::new());
            }
        }
        if self.left_out > 0 {
            span = span.with("stages_left_out", self.left_out);
        }
        span = match end {
            End::Settled(Settled::Done { instances }) => {
                let done: Vec<String> = instances.iter().map(ToString::to_string).collect();
                span.with("done", done).outcome(Ok(()))
            }
            End::Settled(Settled::Refused { why, by_cloud, in_doubt }) => {
                span.with("by_cloud", *by_cloud).with("in_doubt", *in_doubt).outcome(Err(&why.join("; ")))
            }
            End::NotWritten => span.outcome(Err("the intent could not be written down: nothing was done")),
        };
        let mut all = vec![span];
        for (index, passed) in self.stages.iter().enumerate() {
            let again = self.stages.iter().take(index).filter(|it| it.stage == passed.stage).count();
            let span_id = trace.stage(token, passed.stage.word(), u32::try_from(again).unwrap_or(u32::MAX));
            let mut span = Span::new(trace, span_id, Some(id), passed.stage.word(), passed.over);
            if matches!(passed.stage, Stage::Describe | Stage::Call | Stage::Resolve) {
                span = span.client();
            }
            if let Err(why) = &passed.outcome {
                if passed.stage == Stage::Check {
                    for why in why {
                        span = span.event("refused", passed.over.1, vec![ours("why", why.as_str())]);
                    }
                }
                span = span.outcome(Err(&why.join("; ")));
            }
            all.push(span);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use foreshadow_proto::convert::Id;

    use super::*;
    use crate::fleet::Token;
    use crate::store::StoreId;
    use crate::traces::otlp::{Any, Code};

    const NOW: i64 = 1_800_000_000;
    const INSTALLATION: StoreId = StoreId([1; 16]);

    fn id(name: &str) -> Id {
        Id::new("id", name).expect("an id")
    }

    fn intent(action: Action) -> Intent {
        let group = id("web");
        let token = Token::new(INSTALLATION, &group, 7, 0);
        Intent { token, group, generation: 7, step: 0, epoch: 3, action, written_at: NOW, valid_until: NOW + 60 }
    }

    fn trace() -> TraceId {
        TraceId::of(INSTALLATION, &id("web"), 7)
    }

    fn at(millis: i64) -> i64 {
        NOW * 1_000_000 + millis * 1_000
    }

    fn said(span: &Span, name: &str) -> Option<Any> {
        let key = format!("foreshadow.{name}");
        span.attributes.iter().find(|it| it.key == key).and_then(|it| it.value.clone())
    }

    fn status(span: &Span) -> (Code, &str) {
        span.status.as_ref().map_or((Code::Unset, ""), |status| (status.code(), status.message.as_str()))
    }

    fn names(all: &[Span]) -> Vec<&str> {
        all.iter().map(|span| span.name.as_str()).collect()
    }

    fn refused(why: &str, in_doubt: bool) -> Settled {
        Settled::Refused { why: vec![why.to_owned()], by_cloud: false, in_doubt }
    }

    #[test]
    fn an_intent_hangs_below_its_decision_and_its_stages_below_it() {
        let mut course = Course::begun(intent(Action::launch(2, 12)), at(0));
        let stages = [Stage::Write, Stage::Describe, Stage::Check, Stage::Call, Stage::Settle];
        for (number, stage) in (0..).zip(stages) {
            course.passed(stage, (at(10 * number), at(10 * number + 9)), Ok(()));
        }
        let done = Settled::Done { instances: vec![id("i-1"), id("i-2")] };
        let all = course.spans(trace(), End::Settled(&done), at(49));
        assert_eq!(names(&all), ["intent", "write", "describe", "check", "call", "settle"]);
        assert_eq!(all[0].parent_span_id, trace().part("decision", "").0);
        assert_eq!((said(&all[0], "action"), said(&all[0], "count")), (Some("launch".into()), Some(2_u32.into())));
        assert_eq!(said(&all[0], "token"), Some(intent(Action::launch(2, 12)).token.as_str().into()));
        assert_eq!(said(&all[0], "done"), Some(vec!["i-1", "i-2"].into()));
        assert_eq!(status(&all[0]), (Code::Ok, ""));
        for pair in all[1..].windows(2) {
            assert!(pair[0].end_time_unix_nano <= pair[1].start_time_unix_nano, "{pair:?}");
        }
        for span in &all[1..] {
            assert_eq!(span.parent_span_id, all[0].span_id);
            assert!(all[0].start_time_unix_nano <= span.start_time_unix_nano, "{span:?}");
            assert!(span.end_time_unix_nano <= all[0].end_time_unix_nano, "{span:?}");
        }
    }

    #[test]
    fn what_the_checker_refuses_is_an_event_and_the_outcome() {
        let mut course = Course::begun(intent(Action::Detach { instances: vec![id("i-1")] }), at(0));
        course.passed(Stage::Check, (at(1), at(2)), Err(vec!["protected".to_owned(), "too many".to_owned()]));
        let all = course.spans(trace(), End::Settled(&refused("protected", false)), at(3));
        assert_eq!(names(&all), ["intent", "check"]);
        assert_eq!(all[1].events.len(), 2);
        assert_eq!(status(&all[1]), (Code::Error, "protected; too many"));
        assert_eq!(status(&all[0]), (Code::Error, "protected"));
        assert_eq!(said(&all[0], "instances"), Some(vec!["i-1"].into()));
        assert_eq!(said(&all[0], "in_doubt"), Some(false.into()));
    }

    #[test]
    fn a_doubt_is_told_and_a_stage_that_comes_again_is_another_span() {
        let mut course = Course::begun(intent(Action::Attach { instances: vec![id("i-1")] }), at(0));
        course.passed(Stage::Call, (at(1), at(2)), Err(vec!["no answer".to_owned()]));
        course.passed(Stage::Resolve, (at(2), at(3)), Ok(()));
        course.passed(Stage::Resolve, (at(4), at(5)), Ok(()));
        let all = course.spans(trace(), End::Settled(&refused("it was not done", true)), at(6));
        assert_eq!(said(&all[0], "in_doubt"), Some(true.into()));
        assert_eq!(status(&all[1]), (Code::Error, "no answer"));
        assert_eq!(names(&all)[2..], ["resolve", "resolve"]);
        assert_ne!(all[2].span_id, all[3].span_id);
        let all = course.spans(trace(), End::NotWritten, at(6));
        assert_eq!(status(&all[0]).0, Code::Error);
    }

    #[test]
    fn after_a_restart_it_has_the_ids_it_had() {
        let before = Course::begun(intent(Action::launch(1, 2)), at(0));
        let mut after = Course::reopened(intent(Action::launch(1, 2)), Some(NOW + 2));
        after.passed(Stage::Resolve, (at(9_000), at(9_100)), Ok(()));
        after.passed(Stage::Settle, (at(9_100), at(9_110)), Ok(()));
        let done = Settled::Done { instances: vec![id("i-1")] };
        let [before, after] = [before, after].map(|course| course.spans(trace(), End::Settled(&done), at(9_110)));
        assert_eq!((&before[0].trace_id, &before[0].span_id), (&after[0].trace_id, &after[0].span_id));
        assert_eq!(before[0].start_time_unix_nano, after[0].start_time_unix_nano, "when it was written");
        assert_eq!((said(&before[0], "reopened"), said(&after[0], "reopened")), (None, Some(true.into())));
        assert_eq!(after[0].events[0].name, "sent");
        assert_eq!(names(&after), ["intent", "resolve", "settle"]);
    }

    #[test]
    fn what_is_asked_about_for_days_stays_small() {
        let mut course = Course::reopened(intent(Action::launch(1, 2)), None);
        for _ in 0..10_000 {
            course.passed(Stage::Resolve, (at(1), at(2)), Ok(()));
        }
        course.passed(Stage::Settle, (at(3), at(4)), Ok(()));
        let all = course.spans(trace(), End::Settled(&refused("too old", false)), at(4));
        assert_eq!((all.len(), names(&all).last()), (MOST_STAGES + 2, Some(&"settle")));
        assert_eq!(said(&all[0], "stages_left_out"), Some(9_940_u32.into()));
    }
}
