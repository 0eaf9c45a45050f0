//! The inventory as the plan sees it: who is in which mode, with what we did and nobody can see yet,
//! and what each shadow shows of itself: is it heard, does anybody talk to it, could it come back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foreshadow_proto::convert::Id;
use planner::demand::InstanceMode;
use planner::evidence::{Instance, Inventory, Origin, Shadow, Unfit};

use super::slices::{InstanceSlices, Signal};
use crate::act::Outlook;
use crate::clock::Now;
use crate::observe::{self, GroupSnapshot, MemberSnapshot};
use crate::shadow::{self, ShadowSession};

/// Nobody talks to an instance whose network is below this share of what one serves with …
const QUIET_SHARE: f64 = 0.05;
/// … or below this, packets per second both ways: its agent, health checks and the system's own talk.
const QUIET_PACKETS: f64 = 50.0;
/// A newest sample this old, seconds, is no voice any more.
const SILENT_SECONDS: i64 = 120;

/// What its group has to say of a shadow.
#[derive(Debug, Clone, Copy)]
struct Standing<'a> {
    version: Option<&'a str>,
    deploying: bool,
    /// Bringing it back was refused lately.
    refused: bool,
}

/// What a host gives to others is averaged over so many slices (five minutes) …
const STEAL_SLICES: i64 = 30;
/// … and below this it is noise, percent.
const STEAL_NOISE: f64 = 0.5;

/// Who runs out of CPU credits sooner than this carries less soon, hours: the usual shadow window, in which who is taken away
/// is not back.
const CREDIT_HOURS: f64 = 1.0;

fn short_of_credits(members: &[MemberSnapshot]) -> BTreeSet<String> {
    let short = |member: &&MemberSnapshot| member.cpu_credits.is_some_and(|credits| credits.end_within(CREDIT_HOURS));
    members.iter().filter(short).map(|member| member.instance.to_string()).collect()
}

/// Percent of the processors' time that each member's host gives to others, as far as it is more than noise.
fn stolen(snapshot: &GroupSnapshot, slices: &HashMap<Id, InstanceSlices>, now: Now) -> BTreeMap<String, f64> {
    let until = now.wall.div_euclid(10);
    let of = |member: &MemberSnapshot| {
        let percent = slices.get(&member.instance)?.mean(Signal::Steal, until - STEAL_SLICES..until)?;
        Some((member.instance.to_string(), percent)).filter(|_| percent >= STEAL_NOISE)
    };
    snapshot.members.iter().filter_map(of).collect()
}

/// Mean memory in use on those that serve over the last minute, percent; `None` where nobody tells.
pub fn memory_percent(snapshot: &GroupSnapshot, slices: &HashMap<Id, InstanceSlices>, now: i64) -> Option<f64> {
    let slice = now.div_euclid(10);
    let serving = snapshot.members.iter().filter(|member| member.mode == observe::InstanceMode::Serving);
    let told = serving.filter_map(|it| slices.get(&it.instance)?.mean(Signal::Memory, slice - 6..slice));
    let (sum, count) = told.fold((0.0, 0.0), |(sum, count), percent| (sum + percent, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

/// Whether somebody talks to an instance now, by the newest ten seconds of its network; `None` where that is not heard.
pub fn is_talked_to(slices: &InstanceSlices, serving_packets: Option<f64>, now: i64) -> Option<bool> {
    let now_slice = now.div_euclid(10);
    // What went on before it left is no sign of what goes on now.
    let packets = (1..=3).find_map(|back| slices.mean(Signal::Packets, now_slice - back..now_slice - back + 1))?;
    Some(packets > quiet_limit(serving_packets))
}

fn quiet_limit(serving_packets: Option<f64>) -> f64 {
    serving_packets.map_or(QUIET_PACKETS, |packets| QUIET_PACKETS.max(QUIET_SHARE * packets))
}

/// The evidence of one open session.
fn evidence(
    session: &ShadowSession,
    member: &MemberSnapshot,
    slices: Option<&InstanceSlices>,
    serving_packets: Option<f64>,
    group: Standing<'_>,
    now: Now,
) -> Shadow {
    let heard = slices.and_then(InstanceSlices::newest).map(|slice| (now.wall - (slice + 1) * 10).max(0));
    let sample_age = heard.filter(|age| *age <= SILENT_SECONDS);
    let limit = quiet_limit(serving_packets);
    let quiet = slices.map_or(0, |slices| 10 * slices.in_a_row(Signal::Packets, limit));
    Shadow {
        origin: match session.origin {
            shadow::Origin::Ours => Origin::Ours,
            shadow::Origin::Foreign => Origin::Foreign,
        },
        until: session.until,
        lease_over: session.is_over(now),
        hard_limit: session.hard_limit,
        unfit: unfit(session, member, sample_age.is_some(), group),
        sample_age_seconds: sample_age.and_then(|age| u32::try_from(age).ok()),
        quiet_seconds: u32::try_from(quiet).unwrap_or_default(),
        price_per_hour: session.price_per_hour,
        in_group: member.out_of_service.is_some(),
        ending: member.out_of_service.is_some_and(|word| word != observe::STANDBY),
    }
}

fn unfit(session: &ShadowSession, member: &MemberSnapshot, heard: bool, group: Standing<'_>) -> Vec<Unfit> {
    let version = match (session.version.as_deref(), group.version) {
        (Some(own), Some(group)) if own == group => None,
        (Some(_), Some(_)) => Some(Unfit::OldVersion),
        _ => Some(Unfit::UnknownVersion),
    };
    // What a hook holds, or its group has given up, does not come back.
    let ready = member.ready == Some(true) && member.out_of_service.is_none_or(|word| word == observe::STANDBY);
    let against = [
        (!heard).then_some(Unfit::Silent),
        (!ready).then_some(Unfit::NotReady),
        version,
        group.deploying.then_some(Unfit::Deploying),
        group.refused.then_some(Unfit::Refused),
    ];
    against.into_iter().flatten().collect()
}

/// The inventory of a group.
pub fn inventory(
    snapshot: &GroupSnapshot,
    sessions: &[ShadowSession],
    slices: &HashMap<Id, InstanceSlices>,
    serving_packets: Option<f64>,
    outlook: &Outlook,
    now: Now,
) -> Inventory {
    let instances = snapshot.members.iter().map(|member| {
        let session = sessions.iter().find(|session| session.instance == member.instance);
        let slices = slices.get(&member.instance);
        let group = Standing {
            version: snapshot.version.as_deref(),
            deploying: snapshot.deploying,
            refused: outlook.kept_out.contains(&member.instance),
        };
        let ours = outlook.modes.get(&member.instance).copied();
        Instance {
            id: member.instance.to_string(),
            instance_type: member.instance_type.clone(),
            zone: member.zone.clone(),
            mode: ours.unwrap_or_else(|| planner_mode(member.mode)),
            // A mode that the inventory cannot show yet is a new one: whoever was in shadow for hours has not warmed up for them.
            since: if ours.is_some() { now.wall } else { member.since_micros / 1_000_000 },
            protected: member.protected,
            shadow: session.map(|session| evidence(session, member, slices, serving_packets, group, now)),
        }
    });
    // A version that is not known is not called old.
    let is_old = |member: &MemberSnapshot| {
        member.version.is_some() && snapshot.version.is_some() && member.version != snapshot.version
    };
    Inventory {
        complete: snapshot.complete,
        age_seconds: match snapshot.source {
            Some(_) => u32::try_from(now.wall - snapshot.taken_micros / 1_000_000).unwrap_or_default(),
            None => 0,
        },
        instances: instances.collect(),
        expected: outlook.expected,
        stolen: stolen(snapshot, slices, now),
        short_of_credits: short_of_credits(&snapshot.members),
        prices: BTreeMap::new(),
        zones: snapshot.zones.iter().map(ToString::to_string).collect(),
        evens_zones: snapshot.evens_zones,
        termination: snapshot.termination.clone(),
        old_versions: snapshot
            .members
            .iter()
            .filter(|member| is_old(member))
            .map(|it| it.instance.to_string())
            .collect(),
    }
}

/// The timeline's mode in the planner's words.
pub const fn planner_mode(mode: observe::InstanceMode) -> InstanceMode {
    match mode {
        observe::InstanceMode::Warming => InstanceMode::Warming,
        observe::InstanceMode::Serving => InstanceMode::Serving,
        observe::InstanceMode::Draining => InstanceMode::Draining,
        observe::InstanceMode::Shadow => InstanceMode::Shadow,
        observe::InstanceMode::Gone => InstanceMode::Gone,
    }
}

#[cfg(test)]
mod tests {
    use foreshadow_proto::convert::{NetworkRates, Sample};

    use super::*;
    use crate::fleet::CpuCredits;

    const NOW: Now = Now { wall: 1_800_000_000, boot: 9_000 };
    const GROUP: Standing<'_> = Standing { version: Some("lt-1:3"), deploying: false, refused: false };

    fn session() -> ShadowSession {
        ShadowSession {
            session: 1,
            instance: Id::new("instance", "i-1").expect("an id"),
            group: Id::new("group", "web").expect("an id"),
            instance_type: None,
            version: Some("lt-1:3".to_owned()),
            origin: shadow::Origin::Ours,
            started: NOW.wall - 900,
            until: NOW.wall + 900,
            boot_until: NOW.boot + 900,
            hard_limit: NOW.wall + 9_000,
            ended: None,
            seen: None,
            reason: "not needed".to_owned(),
            price_per_hour: Some(0.1),
        }
    }

    fn member(ready: Option<bool>) -> MemberSnapshot {
        MemberSnapshot {
            instance: Id::new("instance", "i-1").expect("an id"),
            mode: observe::InstanceMode::Shadow,
            since_micros: 0,
            instance_type: None,
            zone: None,
            version: None,
            protected: false,
            cpu_credits: None,
            out_of_service: None,
            connected: true,
            ready,
            agent_version: None,
            claimed_state: None,
            claim_disagrees: false,
            spool: crate::observe::Spool::default(),
            proven: None,
        }
    }

    /// Ten minutes and more of one packet rate, until `age` seconds ago.
    fn slices(packets: Option<f64>, age: i64) -> InstanceSlices {
        robbed(packets, None, age)
    }

    /// The same, while its host gives so many percent of the processors' time to others.
    fn robbed(packets: Option<f64>, stolen: Option<f64>, age: i64) -> InstanceSlices {
        let mut slices = InstanceSlices::default();
        for second in (NOW.wall - age - 720..=NOW.wall - age).step_by(10) {
            slices.add(&Sample {
                sequence: 1,
                wall_micros: second * 1_000_000,
                monotonic_micros: 0,
                covers_millis: 10_000,
                cpu_percent: Some(2.0),
                cpu_busiest_percent: None,
                cpu_steal_percent: stolen,
                memory_used_bytes: None,
                memory_total_bytes: None,
                network: packets.map(|packets| NetworkRates {
                    in_bytes: 0.0,
                    out_bytes: 0.0,
                    in_packets: packets / 2.0,
                    out_packets: packets / 2.0,
                    errors: 0.0,
                }),
            });
        }
        slices
    }

    fn of(packets: Option<f64>, age: i64, serving: Option<f64>) -> Shadow {
        evidence(&session(), &member(Some(true)), Some(&slices(packets, age)), serving, GROUP, NOW)
    }

    fn snapshot(members: Vec<MemberSnapshot>) -> GroupSnapshot {
        GroupSnapshot {
            group: Id::new("group", "web").expect("an id"),
            source: Some("simulated"),
            minimum: 1,
            maximum: 9,
            lacking: 0,
            complete: true,
            taken_micros: 0,
            deploying: false,
            untold: false,
            foreign_scale_in: false,
            floor: None,
            version: None,
            zones: vec![Id::new("zone", "a").expect("an id")],
            evens_zones: true,
            termination: Vec::new(),
            owner: None,
            members,
        }
    }

    #[test]
    fn what_hosts_give_to_others_and_whose_credits_end_is_told_of_each() {
        let id = |number: usize| Id::new("instance", &format!("i-{number}")).expect("an id");
        let credits = |number| (number == 2).then_some(CpuCredits { balance: 1.0, spent_per_hour: 60.0 });
        let members = (0..6).map(|number| MemberSnapshot {
            instance: id(number),
            cpu_credits: credits(number),
            ..member(Some(true))
        });
        let slices = HashMap::from([
            (id(0), robbed(None, Some(12.0), 0)),
            (id(1), robbed(None, Some(0.5), 0)),
            (id(2), robbed(None, Some(0.4), 0)),
            (id(3), robbed(None, None, 0)),
            // Heard in two of the five minutes only.
            (id(4), robbed(None, Some(12.0), 180)),
        ]);
        let found = inventory(&snapshot(members.collect()), &[], &slices, None, &Outlook::default(), NOW);
        assert_eq!(found.stolen, BTreeMap::from([("i-0".to_owned(), 12.0), ("i-1".to_owned(), 0.5)]));
        assert_eq!(found.short_of_credits, BTreeSet::from(["i-2".to_owned()]));
    }

    #[test]
    fn whoever_was_just_brought_back_warms_up_since_now_however_long_it_stood_in_shadow() {
        let member = member(Some(true));
        let id = member.instance.clone();
        let snapshot = snapshot(vec![member]);
        let seen = |outlook: &Outlook| {
            let found = inventory(&snapshot, &[session()], &HashMap::new(), None, outlook, NOW);
            assert_eq!((&found.zones[..], found.evens_zones), (&["a".to_owned()][..], true));
            found.instances.iter().map(|it| (it.mode, it.since)).collect::<Vec<_>>()
        };
        assert_eq!(seen(&Outlook::default()), [(InstanceMode::Shadow, 0)]);
        let modes = BTreeMap::from([(id, InstanceMode::Warming)]);
        assert_eq!(seen(&Outlook { modes, ..Outlook::default() }), [(InstanceMode::Warming, NOW.wall)]);
    }

    #[test]
    fn quiet_is_measured_against_those_that_serve_and_absent_is_not_quiet() {
        assert!(of(Some(20.0), 0, None).quiet_seconds >= 600);
        assert_eq!(of(Some(60.0), 0, None).quiet_seconds, 0, "somebody talks to it");
        assert!(of(Some(60.0), 0, Some(2_000.0)).quiet_seconds >= 600, "a trickle beside two thousand");
        assert_eq!(of(Some(500.0), 0, Some(2_000.0)).quiet_seconds, 0);
        assert_eq!(of(None, 0, Some(2_000.0)).quiet_seconds, 0, "without a network nothing is known");
        let talks = |packets, age| is_talked_to(&slices(packets, age), Some(2_000.0), NOW.wall);
        assert_eq!((talks(Some(500.0), 0), talks(Some(60.0), 0)), (Some(true), Some(false)));
        assert_eq!((talks(None, 0), talks(Some(500.0), 300)), (None, None), "not heard");
    }

    #[test]
    fn credits_that_end_within_the_hour_are_told_and_who_is_ended_by_its_provider_too() {
        let credits = |balance, spent_per_hour| Some(CpuCredits { balance, spent_per_hour });
        let ends = |told| short_of_credits(&[MemberSnapshot { cpu_credits: told, ..member(Some(true)) }]).len();
        assert_eq!([ends(None), ends(credits(60.0, 60.0)), ends(credits(59.9, 60.0))], [0, 0, 1]);
        assert_eq!([ends(credits(0.0, 0.0)), ends(credits(f64::NAN, 1.0))], [0, 1], "idle; no number");
        let at = |word| {
            let member = MemberSnapshot { out_of_service: word, ..member(Some(true)) };
            let found = evidence(&session(), &member, None, None, GROUP, NOW);
            (found.in_group, found.ending)
        };
        assert_eq!(
            [at(None), at(Some(observe::STANDBY)), at(Some(observe::HELD))],
            [(false, false), (true, false), (true, true)]
        );
    }

    #[test]
    fn a_shadow_that_could_come_back_has_nothing_against_it() {
        let fit = of(Some(1.0), 0, None);
        assert!(fit.is_fit() && !fit.lease_over, "{fit:?}");
        let silent = of(Some(1.0), 200, None);
        assert_eq!((silent.sample_age_seconds, silent.unfit), (None, vec![Unfit::Silent]));
        let with = |ready, group| {
            let slices = slices(Some(1.0), 0);
            evidence(&session(), &member(ready), Some(&slices), None, group, NOW).unfit
        };
        assert_eq!(with(Some(false), GROUP), [Unfit::NotReady]);
        assert_eq!(with(None, GROUP), [Unfit::NotReady]);
        assert_eq!(with(Some(true), Standing { version: Some("lt-1:4"), ..GROUP }), [Unfit::OldVersion]);
        assert_eq!(with(Some(true), Standing { version: None, ..GROUP }), [Unfit::UnknownVersion]);
        assert_eq!(with(Some(true), Standing { deploying: true, ..GROUP }), [Unfit::Deploying]);
        assert_eq!(with(Some(true), Standing { refused: true, ..GROUP }), [Unfit::Refused]);
    }
}
