//! What became of a change whose answer was lost, by describing alone.
//!
//! A description can be older than the change, so "nothing happened" is believed only of a picture
//! that stands for a while, and a change that came half way is settled when it goes no further.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use foreshadow_proto::convert::Id;

use super::AwsFleet;
use super::describe::size;
use super::hands::place;
use crate::fleet::{Action, Found, Lifecycle, RunState, Token};

/// A picture in which nothing happened is believed when it stands this long, µs.
const NOTHING_MICROS: i64 = 10_000_000;
/// A picture half way, or with instances that the cloud does not show, this long, µs.
const HALF_MICROS: i64 = 300_000_000;

/// Who had arrived where the change was to bring them, and since when that is so.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    arrived: BTreeSet<Id>,
    since_micros: i64,
}

/// Where one instance stands on the way of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Arrived,
    /// As good as arrived, if it stays so.
    Vanished,
    Moving,
    NotBegun,
}

impl AwsFleet {
    pub(super) async fn find(&self, group: &Id, action: &Action, token: &Token) -> Found {
        let ways = match action {
            Action::Launch { size: wanted, .. } => {
                return match self.group(group).await {
                    Ok(Some(state)) if size(state.min_size) >= *wanted => Found::Done { instances: Vec::new() },
                    // Repeated, the token gives the same instances, and a raise changes nothing more.
                    Ok(Some(_)) => Found::NotDone,
                    Ok(None) | Err(_) => Found::NotYet,
                };
            }
            // Absolute: said again it changes nothing more.
            Action::Floor { to, .. } => {
                return match self.group(group).await {
                    Ok(Some(state)) if size(state.min_size) == *to => Found::Done { instances: Vec::new() },
                    Ok(Some(_)) => Found::NotDone,
                    Ok(None) | Err(_) => Found::NotYet,
                };
            }
            Action::Attach { .. }
            | Action::Detach { .. }
            | Action::EnterStandby { .. }
            | Action::ExitStandby { .. }
            | Action::Leave { .. } => match self.group(group).await {
                Ok(Some(state)) => {
                    let way = match action {
                        Action::Attach { .. } => entering,
                        Action::EnterStandby { .. } => standing_by,
                        Action::ExitStandby { .. } => returning,
                        _ => leaving,
                    };
                    action.instances().iter().map(|id| (id.clone(), way(place(&state, id).as_ref()))).collect()
                }
                Ok(None) | Err(_) => return Found::NotYet,
            },
            Action::Terminate { instances } => match self.query.instances(instances).await {
                Ok(seen) => {
                    let state = |id: &Id| seen.iter().find(|seen| seen.instance == *id).map(|seen| seen.state);
                    instances.iter().map(|id| (id.clone(), ending(state(id)))).collect()
                }
                Err(_) => return Found::NotYet,
            },
        };
        self.judge(token, ways)
    }

    fn judge(&self, token: &Token, ways: Vec<(Id, Way)>) -> Found {
        let now = self.clock.wall_micros();
        let mut pictures = self.pictures.lock().unwrap_or_else(PoisonError::into_inner);
        let before = pictures.remove(token);
        if ways.iter().all(|(_, way)| *way == Way::Arrived) {
            return Found::Done { instances: ways.into_iter().map(|(id, _)| id).collect() };
        }
        if ways.iter().any(|(_, way)| *way == Way::Moving) {
            return Found::NotYet;
        }
        let arrived = ways.iter().filter(|(_, way)| matches!(way, Way::Arrived | Way::Vanished));
        let arrived: BTreeSet<Id> = arrived.map(|(id, _)| id.clone()).collect();
        let picture = before
            .filter(|before| before.arrived == arrived && before.since_micros <= now)
            .unwrap_or(Picture { arrived, since_micros: now });
        let enough = if picture.arrived.is_empty() { NOTHING_MICROS } else { HALF_MICROS };
        if now - picture.since_micros < enough {
            pictures.insert(token.clone(), picture);
            return Found::NotYet;
        }
        if picture.arrived.is_empty() {
            return Found::NotDone;
        }
        Found::Done { instances: picture.arrived.into_iter().collect() }
    }
}

const fn entering(place: Option<&Lifecycle>) -> Way {
    match place {
        // A pending one is the group's already.
        Some(Lifecycle::Pending | Lifecycle::InService | Lifecycle::Standby) => Way::Arrived,
        Some(_) => Way::Moving,
        None => Way::NotBegun,
    }
}

const fn leaving(place: Option<&Lifecycle>) -> Way {
    match place {
        None | Some(Lifecycle::Detached) => Way::Arrived,
        Some(Lifecycle::Pending | Lifecycle::InService | Lifecycle::Standby) => Way::NotBegun,
        Some(_) => Way::Moving,
    }
}

/// Into standby.
const fn standing_by(place: Option<&Lifecycle>) -> Way {
    match place {
        Some(Lifecycle::Standby) => Way::Arrived,
        Some(Lifecycle::Pending | Lifecycle::InService) => Way::NotBegun,
        Some(_) => Way::Moving,
        // Out of service it is.
        None => Way::Vanished,
    }
}

/// Out of standby.
const fn returning(place: Option<&Lifecycle>) -> Way {
    match place {
        Some(Lifecycle::Pending | Lifecycle::InService) => Way::Arrived,
        Some(Lifecycle::Standby) | None => Way::NotBegun,
        Some(_) => Way::Moving,
    }
}

const fn ending(state: Option<RunState>) -> Way {
    match state {
        Some(RunState::Ended) => Way::Arrived,
        Some(RunState::Running | RunState::Stopped) => Way::NotBegun,
        Some(RunState::Unknown) | None => Way::Vanished,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use aws_config::SdkConfig;

    use super::*;
    use crate::clock::Clock;
    use crate::fleet::{Budgets, InMemory};
    use crate::store::StoreId;

    #[derive(Debug, Default)]
    struct Hand(AtomicI64);

    impl Clock for Hand {
        fn wall_micros(&self) -> i64 {
            self.0.load(Ordering::Relaxed)
        }

        fn boot_seconds(&self) -> i64 {
            self.wall_seconds()
        }
    }

    fn id(name: &str) -> Id {
        Id::new("instance", name).expect("an id")
    }

    #[tokio::test]
    async fn nothing_and_half_are_believed_only_when_they_stand() {
        let clock = Arc::new(Hand::default());
        let config = SdkConfig::builder().behavior_version(aws_config::BehaviorVersion::latest()).build();
        let turns = Arc::new(InMemory::default());
        let fleet = AwsFleet::with(&config, Vec::new(), &Budgets::default(), turns, clock.clone()).await;
        let token = Token::new(StoreId([1; 16]), &id("web"), 1, 0);
        let at = |seconds: i64, ways: [Way; 2]| {
            clock.0.store(seconds * 1_000_000, Ordering::Relaxed);
            fleet.judge(&token, vec![(id("i-1"), ways[0]), (id("i-2"), ways[1])])
        };
        use Way::{Arrived, Moving, NotBegun, Vanished};
        assert_eq!(at(0, [NotBegun; 2]), Found::NotYet);
        assert_eq!(at(9, [NotBegun; 2]), Found::NotYet);
        // It moved after all: the waiting begins anew.
        assert_eq!(at(10, [Moving, NotBegun]), Found::NotYet);
        assert_eq!(at(11, [NotBegun; 2]), Found::NotYet);
        assert_eq!(at(21, [NotBegun; 2]), Found::NotDone);
        let both = Found::Done { instances: vec![id("i-1"), id("i-2")] };
        assert_eq!(at(22, [Arrived; 2]), both);
        assert_eq!(at(30, [Arrived, NotBegun]), Found::NotYet);
        assert_eq!(at(329, [Arrived, NotBegun]), Found::NotYet);
        assert_eq!(at(330, [Arrived, NotBegun]), Found::Done { instances: vec![id("i-1")] });
        // Not shown is not yet ended.
        assert_eq!(at(400, [Arrived, Vanished]), Found::NotYet);
        assert_eq!(at(700, [Arrived, Vanished]), both);
    }
}
