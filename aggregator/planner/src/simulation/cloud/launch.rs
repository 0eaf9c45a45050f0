//! Calls that add capacity: `LaunchInstances` with its client token, and `MinSize`.

use super::fault::{Call, CloudError, Fault, invalid, refused};
use super::record::Effect;
use super::{Done, Request, StrictCloud};

/// `LaunchInstances` takes at most this many.
const LAUNCH_LIMIT: u32 = 100;
/// Longest client token.
const TOKEN_LENGTH: usize = 64;

/// The answer of a launch. Like AWS it may hold fewer instances than were asked for, even none,
/// and is then still a success.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Launched {
    /// Pending in the group; they may yet fail to start.
    pub ids: Vec<String>,
    /// Codes of what could not be launched, such as `InsufficientInstanceCapacity`.
    pub errors: Vec<&'static str>,
}

/// What the provider remembers of a client token.
#[derive(Debug, Clone)]
pub(super) struct Remembered {
    at: i64,
    /// Until then the launch is still in progress.
    settled_at: i64,
    group: String,
    count: u32,
    answer: Launched,
}

impl StrictCloud {
    /// `LaunchInstances`: synchronous, 1 to 100 instances, never beyond `MaxSize`; the desired
    /// capacity grows by what was launched.
    ///
    /// The same token with the same parameters repeats the first answer, however short it was, for
    /// `token_window_seconds`; with other parameters it is `IdempotentParameterMismatch`; while the
    /// first call is in progress the answer is `IdempotentCallInProgress`, which tells the caller
    /// nothing: [`CloudError::Unknown`]. A refused launch leaves no token behind. Without a token
    /// every call launches.
    pub fn launch(&mut self, now: i64, group: &str, count: u32, token: Option<&str>) -> Result<Launched, CloudError> {
        let request = Request { call: Call::Launch, group: Some(group), token, ids: &[] };
        self.change(now, request, |cloud, fault| {
            if let Some(replayed) = cloud.replay(group, count, token)? {
                return Ok(Done { ids: replayed.ids.clone(), answer: replayed, effect: Effect::Replayed });
            }
            let (desired, max) = cloud.group(group).map(|group| (group.desired, group.max))?;
            if count == 0 || count > LAUNCH_LIMIT {
                return invalid(format!("requested capacity must be between 1 and {LAUNCH_LIMIT}, not {count}"));
            }
            if desired.max(cloud.account.counted(group)) + count > max {
                return invalid(format!("desired-size={desired} and {count} more exceed max-size={max}"));
            }
            let mut obtainable = cloud.available();
            if let Some(Fault::InsufficientCapacity(available)) = fault {
                obtainable = obtainable.min(available);
            }
            let ids = cloud.start_instances(group, count.min(obtainable));
            let short = obtainable < count;
            let launched = count.min(obtainable);
            if let Some(group) = cloud.account_mut().groups.get_mut(group) {
                group.desired += launched;
            }
            let errors = if short { vec!["InsufficientInstanceCapacity"] } else { Vec::new() };
            let answer = Launched { ids, errors };
            if let Some(token) = token {
                let (at, lost) = (cloud.clock, fault == Some(Fault::LostAnswer));
                let settled_at = if lost { at + cloud.config.in_progress_seconds } else { at };
                let group = group.to_owned();
                let remembered = Remembered { at, settled_at, group, count, answer: answer.clone() };
                cloud.tokens.insert(token.to_owned(), remembered);
            }
            let effect = if answer.ids.is_empty() { Effect::None } else { Effect::Applied };
            Ok(Done { ids: answer.ids.clone(), answer, effect })
        })
    }

    /// `UpdateAutoScalingGroup` with `MinSize`: absolute, so naturally idempotent. Above the desired
    /// capacity it raises that too, and the provider launches; below, it ends nobody.
    pub fn set_minimum(&mut self, now: i64, group: &str, to: u32) -> Result<(), CloudError> {
        let request = Request { call: Call::SetMinimum, group: Some(group), token: None, ids: &[] };
        self.change(now, request, |cloud, _| {
            let max = cloud.group(group)?.max;
            if to > max {
                return invalid(format!("max-size={max} must not be less than min-size={to}"));
            }
            let Some(state) = cloud.account_mut().groups.get_mut(group) else { return invalid("no such group") };
            let effect = if state.min == to { Effect::Unchanged } else { Effect::Applied };
            state.min = to;
            state.desired = state.desired.max(to);
            cloud.notice(group);
            Ok(Done { answer: (), ids: Vec::new(), effect })
        })
    }

    /// The first answer to this token, when there was one within the window.
    fn replay(&mut self, group: &str, count: u32, token: Option<&str>) -> Result<Option<Launched>, CloudError> {
        let Some(token) = token else { return Ok(None) };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/');
        if token.is_empty() || token.len() > TOKEN_LENGTH || !token.bytes().all(allowed) {
            return invalid("ClientToken must match [A-Za-z0-9-_/]+, 1 to 64 long");
        }
        let forgotten_before = self.clock - self.config.token_window_seconds;
        self.tokens.retain(|_, remembered| remembered.at > forgotten_before);
        let Some(remembered) = self.tokens.get(token) else { return Ok(None) };
        if remembered.group != group || remembered.count != count {
            return refused("IdempotentParameterMismatch", format!("token {token} was used with other parameters"));
        }
        if remembered.settled_at > self.clock {
            return Err(CloudError::Unknown);
        }
        Ok(Some(remembered.answer.clone()))
    }
}
