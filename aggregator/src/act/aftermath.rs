//! What must follow when an intent is settled: whose a machine is from now on, and which tags it carries. Pure; the service
//! and the simulated weeks carry the same out.
//!
//! Only what is known to be back in its group, or never to have left it, loses its tags; what is in doubt keeps them, and
//! the reaper takes them off when they have run out and the machine turns out to serve. What could not be brought back has
//! perhaps lost its lease: the reaper looks soon, and tags it again where it stands outside.

use foreshadow_proto::convert::Id;

use super::journal::{Intent, Settled};
use crate::fleet::Action;

/// What follows, by instance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Aftermath {
    /// In its group beyond doubt: whoever detaches it next is somebody else, and no tag of ours stays.
    pub inside: Vec<Id>,
    /// Seen in its group, but a call that takes it out may still be on its way.
    pub in_doubt: Vec<Id>,
    /// It is no more: its session ends.
    pub ended: Vec<Id>,
    /// It was to come back and is not known to have: its lease was taken off for that.
    pub unleased: Vec<Id>,
}

impl Aftermath {
    pub fn of(intent: &Intent, settled: &Settled) -> Self {
        let named = intent.action.instances();
        let rest = |done: &[Id]| named.iter().filter(|instance| !done.contains(instance)).cloned().collect();
        match (settled, &intent.action) {
            (Settled::Done { instances }, action) if action.takes_out() => {
                Self { inside: rest(instances), ..Self::default() }
            }
            (Settled::Done { instances }, action) if action.brings_back() => {
                Self { inside: instances.clone(), unleased: rest(instances), ..Self::default() }
            }
            (Settled::Refused { .. }, action) if action.brings_back() => {
                Self { unleased: named.to_vec(), ..Self::default() }
            }
            (Settled::Done { instances }, Action::Terminate { .. }) => {
                Self { ended: instances.clone(), ..Self::default() }
            }
            (Settled::Refused { in_doubt: false, .. }, action) if action.takes_out() => {
                Self { inside: named.to_vec(), ..Self::default() }
            }
            (Settled::Refused { .. }, action) if action.takes_out() => {
                Self { in_doubt: named.to_vec(), ..Self::default() }
            }
            _ => Self::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Token;
    use crate::store::StoreId;

    fn ids(names: &[&str]) -> Vec<Id> {
        names.iter().map(|name| Id::new("instance", name).expect("an id")).collect()
    }

    fn after(action: Action, settled: &Settled) -> Aftermath {
        let group = Id::new("group", "web").expect("an id");
        let token = Token::new(StoreId([1; 16]), &group, 1, 0);
        let intent = Intent { token, group, generation: 1, step: 0, epoch: 1, action, written_at: 0, valid_until: 60 };
        Aftermath::of(&intent, settled)
    }

    #[test]
    fn whoever_is_inside_beyond_doubt_carries_no_lease() {
        let both = ids(&["i-1", "i-2"]);
        let half = Settled::Done { instances: ids(&["i-1"]) };
        let refused = |in_doubt| Settled::Refused { why: vec!["no".to_owned()], by_cloud: true, in_doubt };
        for action in [Action::Detach { instances: both.clone() }, Action::EnterStandby { instances: both.clone() }] {
            let left = Aftermath { inside: ids(&["i-2"]), ..Aftermath::default() };
            assert_eq!(after(action.clone(), &half), left, "the half that was not detached serves");
            let none = Aftermath { inside: both.clone(), ..Aftermath::default() };
            assert_eq!(after(action.clone(), &refused(false)), none);
            let unknown = Aftermath { in_doubt: both.clone(), ..Aftermath::default() };
            assert_eq!(after(action, &refused(true)), unknown, "the call may come yet");
        }
        for action in [Action::Attach { instances: both.clone() }, Action::ExitStandby { instances: both.clone() }] {
            let back = Aftermath { inside: ids(&["i-1"]), unleased: ids(&["i-2"]), ..Aftermath::default() };
            assert_eq!(after(action.clone(), &half), back);
            let out = Aftermath { unleased: both.clone(), ..Aftermath::default() };
            assert_eq!(after(action.clone(), &refused(false)), out);
            assert_eq!(after(action, &refused(true)), out);
        }
        let ended = Aftermath { ended: ids(&["i-1"]), ..Aftermath::default() };
        assert_eq!(after(Action::Terminate { instances: both.clone() }, &half), ended);
        for action in [Action::Terminate { instances: both.clone() }, Action::Leave { instances: both }] {
            assert_eq!(after(action, &refused(true)), Aftermath::default());
        }
    }
}
