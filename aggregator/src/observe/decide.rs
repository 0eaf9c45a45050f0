//! The mode of one instance from what the sources and its agent say: one pure function.
//!
//! Booting is not load: a new member warms up until its agent is ready. Absent is not zero: a
//! member whose agent is silent goes on serving, and demand counts it as not reporting. Nothing is
//! absent by an incomplete inventory.

use super::InstanceMode;
use crate::fleet::Lifecycle;

/// How long things may take, µs.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// A member without an agent counts as serving after this.
    pub warm_up: i64,
    /// From detachment until what an instance uses is its idle baseline, where no load balancer says how long it drains.
    pub drain: i64,
    /// Without a sound from its agent an instance that no source knows is gone after this.
    pub silent: i64,
}

/// Who is still talked to when it should have drained is waited for, this much longer at most, µs.
const TRAFFIC_ENDS_WITHIN: i64 = 900_000_000;

/// What is known of an instance.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The source's word, if a source has it as a member now.
    pub lifecycle: Option<&'a Lifecycle>,
    /// A source had it as a member once.
    pub was_member: bool,
    /// The inventory that would show it is complete.
    pub complete: bool,
    /// It was there when the sources were first read: nobody knows when it booted.
    pub found_running: bool,
    /// µs since the epoch when it was first seen.
    pub first_seen: i64,
    pub current: Option<(InstanceMode, i64)>,
    /// The agent's readiness, once it told.
    pub ready: Option<bool>,
    /// Last time the agent was connected, µs since the epoch.
    pub heard: Option<i64>,
    pub said_goodbye: bool,
    /// Its shadow lease ended: not measured as ours any more.
    pub released: bool,
    /// It stands in shadow under a lease of ours: however silent, it is there until the cloud or the
    /// plan says otherwise, or nobody would look after it.
    pub kept: bool,
    /// How long the load balancers of its group let connections end, µs, where they say.
    pub drain: Option<i64>,
    /// Somebody talks to it, by its network; `None` where that is not known.
    pub talks: Option<bool>,
}

/// The mode at `now` (µs since the epoch); `None` while nothing can be said of it.
pub fn mode(known: &Known<'_>, patience: &Patience, now: i64) -> Option<InstanceMode> {
    let current = known.current.map(|(mode, _)| mode);
    let silent = !known.kept && known.heard.is_none_or(|heard| now - heard > patience.silent);
    match known.lifecycle {
        Some(Lifecycle::Pending) => Some(InstanceMode::Warming),
        Some(Lifecycle::InService) => Some(in_service(known, patience, now)),
        Some(
            Lifecycle::Standby | Lifecycle::Detaching | Lifecycle::Detached | Lifecycle::Waiting | Lifecycle::Retained,
        ) => Some(leaving(known, patience, now, silent)),
        Some(Lifecycle::Terminating) => Some(if silent { InstanceMode::Gone } else { InstanceMode::Draining }),
        // An unknown word says nothing: what was, stays.
        Some(Lifecycle::Other(_)) => current.or(Some(InstanceMode::Warming)),
        None if !known.complete => current,
        None if known.was_member => Some(leaving(known, patience, now, silent)),
        None => claimed(known, now, patience),
    }
}

fn in_service(known: &Known<'_>, patience: &Patience, now: i64) -> InstanceMode {
    let was_serving = known.current.is_some_and(|(mode, _)| mode == InstanceMode::Serving);
    match known.ready {
        Some(true) => InstanceMode::Serving,
        // It takes traffic as long as the group has it, whatever its probe says now.
        _ if was_serving => InstanceMode::Serving,
        Some(false) => InstanceMode::Warming,
        None if known.heard.is_none() && (known.found_running || now - known.first_seen >= patience.warm_up) => {
            InstanceMode::Serving
        }
        None => InstanceMode::Warming,
    }
}

fn leaving(known: &Known<'_>, patience: &Patience, now: i64, silent: bool) -> InstanceMode {
    let drain = known.drain.unwrap_or(patience.drain);
    // Traffic that does not end is no reason to drain for ever: a shadow that is talked to is measured as one, and kept.
    let drained = |since: i64| {
        let longest = if known.talks == Some(true) { drain + TRAFFIC_ENDS_WITHIN } else { drain };
        now - since >= longest
    };
    match known.current {
        Some((InstanceMode::Gone, _)) if known.released || silent => InstanceMode::Gone,
        _ if known.released => InstanceMode::Gone,
        Some((InstanceMode::Draining, since)) if drained(since) => {
            if silent {
                InstanceMode::Gone
            } else {
                InstanceMode::Shadow
            }
        }
        Some((InstanceMode::Draining, _)) => InstanceMode::Draining,
        Some((InstanceMode::Shadow, _)) if silent => InstanceMode::Gone,
        Some((InstanceMode::Shadow, _)) => InstanceMode::Shadow,
        _ if silent => InstanceMode::Gone,
        _ => InstanceMode::Draining,
    }
}

fn claimed(known: &Known<'_>, now: i64, patience: &Patience) -> Option<InstanceMode> {
    let heard = known.heard?;
    if known.said_goodbye || now - heard > patience.silent {
        return Some(InstanceMode::Gone);
    }
    match (known.ready, known.current) {
        (Some(true), _) | (_, Some((InstanceMode::Serving, _))) => Some(InstanceMode::Serving),
        _ => Some(InstanceMode::Warming),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { warm_up: 600, drain: 300, silent: 300 };
    const NOW: i64 = 10_000;

    fn known(lifecycle: Option<&Lifecycle>) -> Known<'_> {
        Known {
            lifecycle,
            was_member: lifecycle.is_some(),
            complete: true,
            found_running: false,
            first_seen: NOW,
            current: None,
            ready: None,
            heard: None,
            said_goodbye: false,
            released: false,
            kept: false,
            drain: None,
            talks: None,
        }
    }

    #[test]
    fn a_member_warms_up_until_its_agent_is_ready() {
        let service = Some(&Lifecycle::InService);
        let fresh = Known { heard: Some(NOW), ..known(service) };
        assert_eq!(mode(&fresh, &PATIENCE, NOW), Some(InstanceMode::Warming));
        assert_eq!(mode(&Known { ready: Some(false), ..fresh }, &PATIENCE, NOW + 9_000), Some(InstanceMode::Warming));
        assert_eq!(mode(&Known { ready: Some(true), ..fresh }, &PATIENCE, NOW), Some(InstanceMode::Serving));
        assert_eq!(mode(&known(Some(&Lifecycle::Pending)), &PATIENCE, NOW), Some(InstanceMode::Warming));
    }

    #[test]
    fn a_member_without_an_agent_serves_after_the_warm_up_or_when_found_running() {
        let service = Some(&Lifecycle::InService);
        assert_eq!(mode(&known(service), &PATIENCE, NOW + 599), Some(InstanceMode::Warming));
        assert_eq!(mode(&known(service), &PATIENCE, NOW + 600), Some(InstanceMode::Serving));
        let found = Known { found_running: true, ..known(service) };
        assert_eq!(mode(&found, &PATIENCE, NOW), Some(InstanceMode::Serving));
    }

    #[test]
    fn a_silent_or_unready_member_goes_on_serving() {
        let serving = Known { current: Some((InstanceMode::Serving, 0)), ..known(Some(&Lifecycle::InService)) };
        assert_eq!(mode(&serving, &PATIENCE, NOW), Some(InstanceMode::Serving));
        assert_eq!(mode(&Known { ready: Some(false), ..serving }, &PATIENCE, NOW), Some(InstanceMode::Serving));
    }

    #[test]
    fn a_detached_instance_drains_then_stands_in_shadow_then_is_gone_when_silent() {
        let absent = Known { was_member: true, heard: Some(NOW), ..known(None) };
        let at = |mode_now, since, now, heard| {
            mode(&Known { current: Some((mode_now, since)), heard: Some(heard), ..absent }, &PATIENCE, now)
        };
        assert_eq!(at(InstanceMode::Serving, 0, NOW, NOW), Some(InstanceMode::Draining));
        assert_eq!(at(InstanceMode::Draining, NOW - 299, NOW, NOW), Some(InstanceMode::Draining));
        assert_eq!(at(InstanceMode::Draining, NOW - 300, NOW, NOW), Some(InstanceMode::Shadow));
        assert_eq!(at(InstanceMode::Shadow, NOW - 900, NOW, NOW), Some(InstanceMode::Shadow));
        assert_eq!(at(InstanceMode::Shadow, NOW - 900, NOW, NOW - 301), Some(InstanceMode::Gone));
        assert_eq!(at(InstanceMode::Serving, 0, NOW, NOW - 301), Some(InstanceMode::Gone));
        let kept = Known { kept: true, current: Some((InstanceMode::Shadow, NOW - 900)), heard: None, ..absent };
        assert_eq!(mode(&kept, &PATIENCE, NOW), Some(InstanceMode::Shadow), "a silent shadow of ours is not forgotten");
        let released = Known { released: true, current: Some((InstanceMode::Shadow, 0)), ..absent };
        assert_eq!(mode(&released, &PATIENCE, NOW), Some(InstanceMode::Gone));
    }

    #[test]
    fn it_drains_as_long_as_its_load_balancer_says_and_while_it_is_talked_to() {
        let left = Known { was_member: true, heard: Some(NOW), ..known(None) };
        let at = |drain, talks, waited| {
            let current = Some((InstanceMode::Draining, NOW - waited));
            mode(&Known { current, drain, talks, ..left }, &PATIENCE, NOW)
        };
        assert_eq!(at(Some(60), None, 60), Some(InstanceMode::Shadow), "sooner than the configuration's 300");
        assert_eq!(at(Some(900), None, 899), Some(InstanceMode::Draining), "later");
        assert_eq!(at(Some(0), Some(false), 0), Some(InstanceMode::Shadow));
        for (drain, least) in [(Some(60), 60), (None, 300)] {
            assert_eq!(at(drain, Some(true), least), Some(InstanceMode::Draining), "somebody talks to it");
            assert_eq!(at(drain, Some(true), least + TRAFFIC_ENDS_WITHIN), Some(InstanceMode::Shadow), "not for ever");
        }
    }

    #[test]
    fn who_is_held_on_its_way_out_or_kept_afterwards_stands_in_shadow_and_who_is_dying_does_not() {
        for word in ["Standby", "Terminating:Wait", "Terminating:Retained"] {
            let lifecycle = Lifecycle::from_word(word);
            let held = Known { heard: Some(NOW), ..known(Some(&lifecycle)) };
            let at = |current, since| mode(&Known { current: Some((current, since)), ..held }, &PATIENCE, NOW);
            assert_eq!(at(InstanceMode::Serving, 0), Some(InstanceMode::Draining), "{word}");
            assert_eq!(at(InstanceMode::Draining, NOW - 300), Some(InstanceMode::Shadow), "{word}");
        }
        for word in ["Terminating", "Terminating:Proceed"] {
            let lifecycle = Lifecycle::from_word(word);
            let dying = Known { heard: Some(NOW), ..known(Some(&lifecycle)) };
            let dying = Known { current: Some((InstanceMode::Draining, NOW - 300)), ..dying };
            assert_eq!(mode(&dying, &PATIENCE, NOW), Some(InstanceMode::Draining), "{word}");
        }
    }

    #[test]
    fn an_incomplete_inventory_makes_nobody_absent() {
        for current in [InstanceMode::Warming, InstanceMode::Serving, InstanceMode::Draining, InstanceMode::Shadow] {
            let unseen = Known { was_member: true, complete: false, current: Some((current, 0)), ..known(None) };
            assert_eq!(mode(&unseen, &PATIENCE, NOW), Some(current));
        }
    }

    #[test]
    fn claims_count_only_while_the_agent_is_heard() {
        let claimed = Known { heard: Some(NOW), ..known(None) };
        assert_eq!(mode(&claimed, &PATIENCE, NOW), Some(InstanceMode::Warming));
        assert_eq!(mode(&Known { ready: Some(true), ..claimed }, &PATIENCE, NOW), Some(InstanceMode::Serving));
        assert_eq!(mode(&Known { said_goodbye: true, ..claimed }, &PATIENCE, NOW), Some(InstanceMode::Gone));
        assert_eq!(mode(&claimed, &PATIENCE, NOW + 301), Some(InstanceMode::Gone));
        assert_eq!(mode(&known(None), &PATIENCE, NOW), None);
    }

    #[test]
    fn unknown_words_change_nothing() {
        let word = Lifecycle::Other("ReplacingRootVolume".to_owned());
        let serving = Known { current: Some((InstanceMode::Serving, 0)), ..known(Some(&word)) };
        assert_eq!(mode(&serving, &PATIENCE, NOW), Some(InstanceMode::Serving));
    }
}
