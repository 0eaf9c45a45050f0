//! Instances that a termination hook of the user's holds: held on while their shadow is measured, where
//! the group's policy says so. It delays an end that the provider decided, and decides none: when the
//! lease is over no heartbeat is sent any more, and the hook's own timeout ends the wait.

use foreshadow_proto::convert::Id;
use planner::policy::Mode;

use super::control::Standing;
use super::verdicts::Planned;
use crate::clock::Now;
use crate::fleet::Reach;
use crate::observe::{HELD, MemberSnapshot};
use crate::shadow::ShadowSession;

/// Whom to hold on; nobody in any doubt.
pub(super) fn held(
    planned: &Planned,
    standing: &Standing,
    reach: Reach,
    members: &[MemberSnapshot],
    sessions: &[ShadowSession],
    now: Now,
) -> Vec<Id> {
    let conditions = &planned.evidence.conditions;
    let may = planned.policy.hold_terminating
        && standing.mode == Mode::Full
        && !standing.paused
        && !conditions.not_owner
        && (reach == Reach::Loopback || (reach == Reach::Cloud && !conditions.agents_unauthenticated));
    let measured = |member: &&MemberSnapshot| {
        let own = sessions.iter().find(|it| it.ended.is_none() && it.instance == member.instance);
        own.is_some_and(|session| !session.is_over(now) && now.wall < session.hard_limit)
    };
    let held = members.iter().filter(|member| may && member.out_of_service == Some(HELD)).filter(measured);
    held.map(|member| member.instance.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use planner::evidence::{Conditions, Evidence, Inventory};
    use planner::policy::Policy;

    use super::*;
    use crate::observe::InstanceMode;
    use crate::shadow::Origin;

    const NOW: Now = Now { wall: 1_000, boot: 1_000 };

    fn planned(hold_terminating: bool, conditions: Conditions) -> Planned {
        let policy = Policy { hold_terminating, mode: Mode::Full, ..Policy::new("web") };
        let inventory = Inventory { complete: true, age_seconds: 1, instances: Vec::new(), ..Inventory::default() };
        let evidence = Evidence { inventory, metrics: BTreeMap::new(), conditions };
        let (plan, _) = planner::plan(1_000, &policy, &evidence, &planner::plan::Memory::default());
        let fleet = checker::Fleet::default();
        Planned {
            plan,
            policy,
            evidence,
            memory: planner::plan::Memory::default(),
            last_week: BTreeMap::new(),
            fleet,
            source: None,
            version: None,
        }
    }

    fn id() -> Id {
        Id::new("instance", "i-1").expect("an id")
    }

    fn member(out_of_service: Option<&'static str>) -> MemberSnapshot {
        MemberSnapshot {
            instance: id(),
            mode: InstanceMode::Shadow,
            since_micros: 0,
            instance_type: None,
            zone: None,
            version: None,
            protected: false,
            cpu_credits: None,
            out_of_service,
            connected: true,
            ready: Some(true),
            agent_version: None,
            claimed_state: None,
            claim_disagrees: false,
            spool: crate::observe::Spool::default(),
            proven: None,
        }
    }

    fn session(until: i64, hard_limit: i64) -> ShadowSession {
        ShadowSession {
            session: 1,
            instance: id(),
            group: Id::new("group", "web").expect("an id"),
            instance_type: None,
            version: None,
            origin: Origin::Foreign,
            started: 0,
            until,
            boot_until: until,
            hard_limit,
            ended: None,
            seen: None,
            reason: HELD.to_owned(),
            price_per_hour: None,
        }
    }

    #[test]
    fn only_what_a_hook_holds_is_held_on_and_only_while_it_is_measured_and_the_policy_says_so() {
        let full = Standing {
            mode: Mode::Full,
            at_most: Mode::Full,
            paused: false,
            group: None,
            everywhere: None,
            leave: None,
        };
        let calm = planned(true, Conditions::default());
        let of = |planned: &Planned, standing: &Standing, reach, member: MemberSnapshot, session| {
            held(planned, standing, reach, &[member], &[session], NOW).len()
        };
        let (here, open) = (|| member(Some(HELD)), || session(1_600, 9_000));
        assert_eq!(of(&calm, &full, Reach::Cloud, here(), open()), 1);
        assert_eq!(of(&planned(false, Conditions::default()), &full, Reach::Cloud, here(), open()), 0);
        let outward = Standing { mode: Mode::ScaleOut, ..full.clone() };
        assert_eq!(of(&calm, &outward, Reach::Cloud, here(), open()), 0);
        let paused = Standing { paused: true, ..full.clone() };
        assert_eq!(of(&calm, &paused, Reach::Cloud, here(), open()), 0);
        assert_eq!(of(&calm, &full, Reach::None, here(), open()), 0);
        let foreign = planned(true, Conditions { not_owner: true, ..Conditions::default() });
        assert_eq!(of(&foreign, &full, Reach::Cloud, here(), open()), 0);
        let unproven = planned(true, Conditions { agents_unauthenticated: true, ..Conditions::default() });
        assert_eq!(of(&unproven, &full, Reach::Cloud, here(), open()), 0);
        assert_eq!(of(&unproven, &full, Reach::Loopback, here(), open()), 1);
        assert_eq!(of(&calm, &full, Reach::Cloud, member(Some("retained")), open()), 0);
        assert_eq!(of(&calm, &full, Reach::Cloud, here(), session(1_000, 9_000)), 0, "the lease is over");
        assert_eq!(of(&calm, &full, Reach::Cloud, here(), session(1_600, 1_000)), 0, "its hard limit is reached");
        let ended = ShadowSession { ended: Some(900), ..open() };
        assert_eq!(of(&calm, &full, Reach::Cloud, here(), ended), 0);
    }
}
