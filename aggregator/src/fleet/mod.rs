//! The cloud seam: who is in which group, and the few calls that change it.
//!
//! Every source describes; some also act. A change is one [`Action`] on one group under a
//! [`Token`]: whoever repeats it repeats the same call. What came of it is [`Called`], and where the
//! answer was lost [`Found`] says what describing shows. Instances are always named; an empty list
//! means nothing.

mod aws;
pub mod command;
mod file;
mod notice;
mod remote;
pub mod webhook;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use async_trait::async_trait;
use foreshadow_proto::convert::Id;
use planner::evidence::Pick;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::store::StoreId;

pub use aws::{
    AwsFleet, AwsQueue, Budgets, CALLS_PER_SECOND, CloudWatch, Datum, InMemory, Letter, Letters, MetricAsked, Turns,
};
pub use file::FileFleet;
pub use notice::{HeardBy, Notice, shown_reason};

/// Tag of a group: the installation that may change it.
pub const OWNER_TAG: &str = "foreshadow:owner";
/// Tag of a group: when it was claimed, seconds since the epoch by the clock of the installation that claimed it.
pub const CLAIMED_TAG: &str = "foreshadow:claimed";
/// Tag of a group whose MinSize was raised to launch: the user's own value, to be restored.
pub const MINIMUM_TAG: &str = "foreshadow:minimum";
/// Tag of a shadow of ours: when its lease ends, seconds since the epoch. Removed before it is
/// attached again; what carries it and has run out is the reaper's.
pub const UNTIL_TAG: &str = "foreshadow:until";
/// Tag of a shadow of ours: the group it came from.
pub const GROUP_TAG: &str = "foreshadow:group";

/// A source of groups, and for some of them the hands.
#[async_trait]
pub trait Fleet: fmt::Debug + Send + Sync + 'static {
    /// All groups it knows, as they are now. An error or a lost page never looks like a complete
    /// inventory: `complete` is true only when every page was read. A group that is not there is in `missing`.
    async fn describe(&self) -> Result<Inventory, FleetError>;

    /// Some of its groups, as they are now. What else it gives is left alone; it is complete when
    /// every page of these groups was read.
    async fn describe_some(&self, _groups: &[Id]) -> Result<Inventory, FleetError> {
        self.describe().await
    }

    /// What the provider's own records say of why these instances moved, since a time (seconds since
    /// the epoch). For people: nothing follows from it, and nothing from its absence.
    async fn activities(&self, _group: &Id, _instances: &[Id], _since: i64) -> Result<Vec<Notice>, FleetError> {
        Ok(Vec::new())
    }

    /// For messages: `aws`, `file`, `command`, `webhook`.
    fn name(&self) -> &'static str;

    /// How far its hands reach. A source that only describes has none, and refuses all that follows.
    fn reach(&self) -> Reach {
        Reach::None
    }

    /// How instances stand that are outside their group (shadows), one entry for each that was asked
    /// for. One that the cloud does not show is [`RunState::Unknown`], never left out. `group` tells
    /// whose load balancer to ask.
    async fn outside(&self, _group: &Id, _instances: &[Id]) -> Result<Vec<Outside>, FleetError> {
        Err(self.cannot_act())
    }

    /// Makes a change. Repeating it with the same token, where the provider keeps tokens, does nothing
    /// more and answers as the first time.
    async fn call(&self, _group: &Id, _action: &Action, _token: &Token) -> Called {
        Called::Refused { why: self.cannot_act().to_string() }
    }

    /// What became of a change whose answer was lost, by describing alone; it changes nothing.
    async fn outcome(&self, _group: &Id, _action: &Action, _token: &Token) -> Found {
        Found::NotDone
    }

    /// Holds on instances that a termination hook of the group holds, for another of its periods. It ends
    /// and begins nothing, and may be repeated.
    async fn hold(&self, _group: &Id, _instances: &[Id]) -> Result<(), FleetError> {
        Err(self.cannot_act())
    }

    /// Sets tags of instances, or removes those that are `None`.
    async fn tag(&self, _instances: &[Id], _tags: &Tags) -> Result<(), FleetError> {
        Err(self.cannot_act())
    }

    /// Sets tags of a group, or removes those that are `None`.
    async fn tag_group(&self, _group: &Id, _tags: &Tags) -> Result<(), FleetError> {
        Err(self.cannot_act())
    }

    /// The instances of the account that carry a tag, whatever its value: how the reaper finds leases
    /// that nobody holds any more.
    async fn tagged(&self, _tag: &str) -> Result<Vec<Outside>, FleetError> {
        Err(self.cannot_act())
    }

    #[doc(hidden)]
    fn cannot_act(&self) -> FleetError {
        FleetError::Invalid { source_name: self.name(), problem: "this source describes and cannot act".to_owned() }
    }
}

/// Tags to set, or to remove where `None`.
pub type Tags = BTreeMap<&'static str, Option<String>>;

/// How far a source can act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// It cannot.
    None,
    /// The cloud is this very machine: a test. Only there may safety windows be shortened.
    Loopback,
    Cloud,
}

impl Reach {
    /// More can be done, or on less evidence: a cloud that is this machine is believed without certificates and may be treated less
    /// gently.
    pub const fn is_looser_than(self, other: Self) -> bool {
        matches!((self, other), (Self::Loopback, Self::Cloud | Self::None) | (Self::Cloud, Self::None))
    }
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum FleetError {
    #[error("{source_name}: {problem}")]
    Unreachable { source_name: &'static str, problem: String },
    #[error("{source_name}: {problem}")]
    Invalid { source_name: &'static str, problem: String },
}

/// What a source says of all its groups at one time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    pub taken_micros: i64,
    pub complete: bool,
    /// What was missing or odd, for people.
    pub problems: Vec<String>,
    /// Groups that are not there, or cannot be read: nothing is known of them, and the others are as complete as ever.
    pub missing: BTreeSet<String>,
    pub groups: BTreeMap<Id, GroupInventory>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupInventory {
    /// The user's own minimum, also while MinSize is raised above it.
    pub minimum: u32,
    pub maximum: u32,
    pub desired: u32,
    pub members: Vec<Member>,
    /// A policy of the provider, or an action that it has scheduled, may scale this group in behind our back.
    pub foreign_scale_in: bool,
    /// How low the provider's own scale-in may go now: `minimum`, or more while we keep what the forecast needs. Absent where the
    /// provider has no such bound, or scales in by a schedule alone: that is to run into none.
    pub floor: Option<u32>,
    /// How long its load balancers let the connections of who leaves come to an end, seconds; `None` where nobody says.
    pub deregistration_seconds: Option<u32>,
    /// An instance refresh or deploy is running.
    pub deploying: bool,
    /// The provider did not say whether it scales in or deploys, or what CPU credits members have that live on them.
    pub untold: bool,
    /// What a new instance would be launched from: template and version, or launch configuration.
    pub version: Option<String>,
    /// The zones it launches into; empty where the provider does not say.
    pub zones: Vec<Id>,
    /// The provider evens the zones out by itself, and ends instances where there are too many (AZRebalance).
    pub evens_zones: bool,
    /// By what the group picks who goes, in its order.
    pub termination: Vec<Pick>,
    /// The installation that may change it, by [`OWNER_TAG`].
    pub owner: Option<String>,
    /// When it was claimed, by [`CLAIMED_TAG`].
    pub claimed: Option<i64>,
}

impl GroupInventory {
    /// How many fewer are pending or in service than are desired: the provider is about to launch them.
    pub fn lacking(&self) -> u32 {
        let counts = |member: &&Member| {
            matches!(member.lifecycle, Lifecycle::Pending | Lifecycle::InService | Lifecycle::Other(_))
        };
        self.desired.saturating_sub(u32::try_from(self.members.iter().filter(counts).count()).unwrap_or(u32::MAX))
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub instance: Id,
    pub instance_type: Option<Id>,
    pub zone: Option<Id>,
    pub lifecycle: Lifecycle,
    /// Protected from scale-in.
    pub protected: bool,
    /// What it was launched from, in the words of [`GroupInventory::version`].
    pub version: Option<String>,
    /// Of a burstable instance that is slowed down without credits, where they are told.
    pub cpu_credits: Option<CpuCredits>,
}

/// CPU credits of a burstable instance; one is a processor for a minute.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CpuCredits {
    pub balance: f64,
    /// What it spends now, credits per hour.
    pub spent_per_hour: f64,
}

impl CpuCredits {
    /// Whether they would not last for so many hours at what is spent now, were none earned. What is no number does not last.
    pub fn end_within(self, hours: f64) -> bool {
        let needed = self.spent_per_hour * hours;
        self.balance < needed || self.balance.is_nan() || needed.is_nan()
    }
}

/// An instance as the cloud shows it, in a group or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    pub instance: Id,
    pub state: RunState,
    /// The group it is in after all.
    pub group: Option<Id>,
    /// A load balancer of its group still sends to it, or is finishing with it; `None`: not known.
    pub in_target_group: Option<bool>,
    /// Protected from termination.
    pub protected: bool,
    pub tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    Running,
    /// Stopped or stopping: it exists and serves nothing.
    Stopped,
    /// Shutting down or terminated.
    Ended,
    /// The cloud does not show it.
    Unknown,
}

/// The provider's word for a member's state; unknown words never fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lifecycle {
    Pending,
    InService,
    Standby,
    Detaching,
    Detached,
    /// On its way out, and held by a lifecycle hook: it runs, and serves nothing.
    Waiting,
    /// Kept after its termination was given up: it runs on in the group and serves nothing.
    Retained,
    Terminating,
    Other(String),
}

impl Lifecycle {
    /// From the provider's word; `Pending:Wait`, `Terminating:Proceed` and such by their first part.
    pub fn from_word(word: &str) -> Self {
        match word.split(':').next().unwrap_or_default() {
            _ if word == "Terminating:Retained" => Self::Retained,
            _ if word == "Terminating:Wait" => Self::Waiting,
            "Pending" => Self::Pending,
            "InService" => Self::InService,
            "Standby" | "EnteringStandby" => Self::Standby,
            "Detaching" => Self::Detaching,
            "Detached" => Self::Detached,
            "Terminating" | "Terminated" => Self::Terminating,
            _ => Self::Other(word.to_owned()),
        }
    }
}

/// One change to a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// `size` is what the group then has, warming and serving: where the provider keeps no tokens, a
    /// minimum raised to it does the same however often it is repeated.
    Launch {
        count: u32,
        size: u32,
        /// How many go into which zone, 0 into those that are asked only for what the others do not have; empty where the
        /// provider sees to that. Written down with the intent: repeated, a call asks each zone for the same again.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        zones: Vec<(Id, u32)>,
    },
    Attach {
        instances: Vec<Id>,
    },
    /// Out of the group and of its desired capacity, still running.
    Detach {
        instances: Vec<Id>,
    },
    /// Out of service and of the desired capacity, still in the group. AWS alone has it.
    EnterStandby {
        instances: Vec<Id>,
    },
    /// From standby back into service.
    ExitStandby {
        instances: Vec<Id>,
    },
    /// From standby out of the group; the desired capacity went down when it went into standby.
    Leave {
        instances: Vec<Id>,
    },
    Terminate {
        instances: Vec<Id>,
    },
    /// How low the provider's own scale-in may go. Refused when it is neither `from` nor `to` by now, and when `to` would launch.
    Floor {
        from: u32,
        to: u32,
    },
}

impl Action {
    /// A launch that leaves the zones to the provider.
    pub const fn launch(count: u32, size: u32) -> Self {
        Self::Launch { count, size, zones: Vec::new() }
    }

    /// The instances it names; a launch and a floor name none.
    pub fn instances(&self) -> &[Id] {
        match self {
            Self::Launch { .. } | Self::Floor { .. } => &[],
            Self::Attach { instances }
            | Self::Detach { instances }
            | Self::EnterStandby { instances }
            | Self::ExitStandby { instances }
            | Self::Leave { instances }
            | Self::Terminate { instances } => instances,
        }
    }

    /// It takes instances out of service, into shadow.
    pub const fn takes_out(&self) -> bool {
        matches!(self, Self::Detach { .. } | Self::EnterStandby { .. })
    }

    /// It brings shadows back into service.
    pub const fn brings_back(&self) -> bool {
        matches!(self, Self::Attach { .. } | Self::ExitStandby { .. })
    }

    /// It needs a provider that knows standby.
    pub const fn is_standby(&self) -> bool {
        matches!(self, Self::EnterStandby { .. } | Self::ExitStandby { .. } | Self::Leave { .. })
    }

    pub const fn word(&self) -> &'static str {
        match self {
            Self::Launch { .. } => "launch",
            Self::Attach { .. } => "attach",
            Self::Detach { .. } => "detach",
            Self::EnterStandby { .. } => "enter_standby",
            Self::ExitStandby { .. } => "exit_standby",
            Self::Leave { .. } => "leave",
            Self::Terminate { .. } => "terminate",
            Self::Floor { .. } => "floor",
        }
    }
}

/// Identifies one change for good.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// The same four always give the same token.
    pub fn new(installation: StoreId, group: &Id, generation: u64, step: u32) -> Self {
        let mut hash = Sha256::new();
        hash.update(installation.0);
        hash.update(group.as_str().as_bytes());
        // A separator that no group's name can hold.
        hash.update([0]);
        hash.update(generation.to_be_bytes());
        hash.update(step.to_be_bytes());
        let digest = hash.finalize();
        // 32 hexadecimal digits: every provider's limit for client tokens is 64 characters or more.
        Self(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Called {
    /// Done, to these instances; a provider that launches by itself names none yet.
    Done { instances: Vec<Id> },
    /// Definitely not done, and repeating it would not help.
    Refused { why: String },
    /// Never asked for: something before the call spoke against it.
    Withheld { why: String },
    /// Definitely not done: the next plan asks again.
    Throttled,
    /// It may have been done: a timeout, a broken connection, an error after success.
    Unknown,
}

/// What describing found of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Done {
        instances: Vec<Id>,
    },
    NotDone,
    /// The description is stale, partial or failed: ask again.
    NotYet,
}
