//! What can go wrong with a call, and what its caller can know of that.

use super::config::FaultRates;
use crate::simulation::Seeded;

/// The calls of the cloud, by what they are for; each names the AWS operation it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// `DescribeAutoScalingGroups` with `DescribeAutoScalingInstances`.
    DescribeGroup,
    /// `ec2:DescribeInstances`.
    DescribeInstances,
    /// `LaunchInstances`.
    Launch,
    /// `UpdateAutoScalingGroup` with `MinSize`.
    SetMinimum,
    /// `AttachInstances`.
    Attach,
    /// `DetachInstances`.
    Detach,
    /// `EnterStandby`.
    EnterStandby,
    /// `ExitStandby`.
    ExitStandby,
    /// `TerminateInstanceInAutoScalingGroup`.
    TerminateInGroup,
    /// `ec2:TerminateInstances`.
    Terminate,
    /// `ec2:CreateTags`, `ec2:DeleteTags`, `CreateOrUpdateTags`, `DeleteTags`.
    Tag,
    /// `SetInstanceProtection`.
    SetProtection,
    /// A new launch-template version.
    Deploy,
}

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `Throttling`, `RequestLimitExceeded`: nothing was done.
    Throttled,
    /// `ResourceContention`: the group has a pending update; nothing was done.
    Contention,
    /// `InternalFailure`, or the connection broke, before the effect. The caller cannot know that.
    LostRequest,
    /// The call did what it does (or was refused), but a timeout or a 500 is all the caller sees.
    LostAnswer,
    /// `InsufficientInstanceCapacity` after this many instances. Only launches heed it.
    InsufficientCapacity(u32),
}

/// All that a caller can know of a call that did not answer well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// Nothing was done; the same call may be sent again, later.
    #[error("throttled")]
    Throttled,
    /// Nothing was done, and the same call will go on being refused while things are as they are.
    #[error("{code}: {message}")]
    Refused { code: &'static str, message: String },
    /// It may have been done or not: look before anything else, or repeat it with the same token.
    #[error("no answer: it may or may not have been done")]
    Unknown,
}

impl CloudError {
    /// The code of a refusal.
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            Self::Throttled | Self::Unknown => None,
        }
    }
}

pub(super) fn refused<T>(code: &'static str, message: impl Into<String>) -> Result<T, CloudError> {
    Err(CloudError::Refused { code, message: message.into() })
}

pub(super) fn invalid<T>(message: impl Into<String>) -> Result<T, CloudError> {
    refused("ValidationError", message)
}

/// Faults to come: those a test queued, else those the seed draws.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    random: Seeded,
    rates: FaultRates,
    queued: Vec<Queued>,
}

#[derive(Debug, Clone)]
struct Queued {
    call: Call,
    /// How many calls of the kind pass unharmed first.
    after: u32,
    fault: Fault,
}

impl Schedule {
    pub(super) const fn new(seed: u64, rates: FaultRates) -> Self {
        Self { random: Seeded::new(seed), rates, queued: Vec::new() }
    }

    pub(super) fn queue(&mut self, call: Call, after: u32, fault: Fault) {
        self.queued.push(Queued { call, after, fault });
    }

    pub(super) const fn is_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    /// The fate of the next call. Always draws the same number of times, so that a rate of zero
    /// does not shift the faults of another kind.
    pub(super) fn draw(&mut self, call: Call) -> Option<Fault> {
        let chance = self.random.uniform();
        let available = self.random.next();
        if let Some(at) = self.queued.iter().position(|queued| queued.call == call && queued.after == 0) {
            return Some(self.queued.remove(at).fault);
        }
        for queued in self.queued.iter_mut().filter(|queued| queued.call == call) {
            queued.after -= 1;
        }
        let capacity = Fault::InsufficientCapacity((available % 3) as u32);
        let capacity_rate = if call == Call::Launch { self.rates.insufficient_capacity } else { 0.0 };
        let mut threshold = 0.0;
        [
            (self.rates.throttled, Fault::Throttled),
            (self.rates.contention, Fault::Contention),
            (self.rates.lost_request, Fault::LostRequest),
            (self.rates.lost_answer, Fault::LostAnswer),
            (capacity_rate, capacity),
        ]
        .into_iter()
        .find(|(rate, _)| {
            threshold += rate;
            chance < threshold
        })
        .map(|(_, fault)| fault)
    }
}
