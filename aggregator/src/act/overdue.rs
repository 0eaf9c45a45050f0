//! Shadows of ours that no plan ends: beyond their lease in a group that may not end them, or that no source has any more.
//! They are told, and at their hard limit released with an alarm: left running, and costing, but nobody's secret.

use planner::policy::Mode;

use super::handle::Handle;
use crate::clock::Now;
use crate::observe::Timeline;
use crate::shadow::{Origin, ShadowSession};

/// What is to become of a session that the plan does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Its lease runs, or its plan decides.
    No,
    Told,
    Released,
}

/// `mode`: how far its group may go, `observe` where nobody acts on it. While paused nothing is released.
pub(super) const fn of(session: &ShadowSession, mode: Mode, paused: bool, now: Now) -> Overdue {
    if session.ended.is_some() || matches!(session.origin, Origin::Foreign) || !session.is_over(now) {
        return Overdue::No;
    }
    let further = session.hard_limit - session.until;
    let at_limit = now.wall >= session.hard_limit && now.boot >= session.boot_until.saturating_add(further);
    match (mode, at_limit) {
        // In scale-out its lease is extended by the plan up to the limit, in full its plan has the last word too.
        (Mode::Full, _) | (Mode::ScaleOut, false) => Overdue::No,
        (Mode::Observe, false) => Overdue::Told,
        _ if paused => Overdue::Told,
        _ => Overdue::Released,
    }
}

/// How every open session stands, with its group's mode.
pub(super) fn all<'s>(
    handle: &'s Handle,
    timeline: &'s Timeline,
    sessions: &'s [ShadowSession],
    now: Now,
) -> impl Iterator<Item = (&'s ShadowSession, Mode, Overdue)> {
    sessions.iter().filter(|session| session.ended.is_none()).map(move |session| {
        let source = timeline.source_of(&session.group);
        let standing = handle.control().standing(&session.group);
        // Who cannot be acted on is observed. Until every source was read, nobody knows.
        let mode = match handle.fleet(source) {
            Some(_) => standing.mode,
            None if timeline.is_read() => Mode::Observe,
            None => Mode::Full,
        };
        (session, mode, of(session, mode, standing.paused, now))
    })
}

/// What nobody ends, in words, with what to do.
pub fn warnings(handle: &Handle, timeline: &Timeline, sessions: &[ShadowSession], now: Now) -> Vec<String> {
    let told = all(handle, timeline, sessions, now).filter(|(.., overdue)| *overdue != Overdue::No);
    let said = told.map(|(session, mode, _)| {
        format!(
            "{} of {} stands in shadow, its lease is over, and in {mode} nobody ends it: it costs. End it yourself and \
             foreshadow shadow release {} --reason \"…\", or give the group the mode full",
            session.instance, session.group, session.instance
        )
    });
    said.collect()
}

#[cfg(test)]
mod tests {
    use foreshadow_proto::convert::Id;

    use super::*;

    const START: Now = Now { wall: 1_800_000_000, boot: 5_000 };

    #[test]
    fn what_no_plan_ends_is_told_and_at_its_limit_released() {
        let session = ShadowSession {
            session: 1,
            instance: Id::new("instance", "i-1").expect("an id"),
            group: Id::new("group", "web").expect("an id"),
            instance_type: None,
            version: None,
            origin: Origin::Ours,
            started: START.wall,
            until: START.wall + 600,
            boot_until: START.boot + 600,
            hard_limit: START.wall + 3_600,
            ended: None,
            seen: None,
            reason: "not needed".to_owned(),
            price_per_hour: None,
        };
        let after = |seconds: i64| Now { wall: START.wall + seconds, boot: START.boot + seconds };
        for (mode, paused, seconds, expected) in [
            (Mode::Observe, false, 599, Overdue::No),
            (Mode::Observe, false, 600, Overdue::Told),
            (Mode::Observe, false, 3_599, Overdue::Told),
            (Mode::Observe, false, 3_600, Overdue::Released),
            (Mode::Observe, true, 3_600, Overdue::Told),
            (Mode::ScaleOut, false, 3_599, Overdue::No),
            (Mode::ScaleOut, false, 3_600, Overdue::Released),
            (Mode::ScaleOut, true, 3_600, Overdue::Told),
            (Mode::Full, false, 90_000, Overdue::No),
        ] {
            assert_eq!(of(&session, mode, paused, after(seconds)), expected, "{mode} {paused} {seconds}");
        }
        let jumped = Now { wall: START.wall + 90_000, boot: START.boot + 700 };
        assert_eq!(of(&session, Mode::Observe, false, jumped), Overdue::Told, "one clock alone says so");
        let foreign = ShadowSession { origin: Origin::Foreign, ..session.clone() };
        assert_eq!(of(&foreign, Mode::Observe, false, after(90_000)), Overdue::No);
        let ended = ShadowSession { ended: Some(START.wall), ..session };
        assert_eq!(of(&ended, Mode::Observe, false, after(90_000)), Overdue::No);
    }
}
