//! What an account is like: its groups, how long things take, how often they fail.

/// One account. Times in seconds; the same seed and configuration give the same cloud.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// When the cloud's clock starts, seconds since the epoch.
    pub start: i64,
    pub groups: Vec<GroupConfig>,
    /// Launch call to in service.
    pub launch_seconds: i64,
    /// Attach (or exit from standby) call to healthy at the load balancer.
    pub attach_seconds: i64,
    /// Each instance takes its own time within ± this share of the two above.
    pub start_up_spread: f64,
    /// How long requests in flight keep an instance that left the load balancer (AWS: 300).
    pub deregistration_seconds: i64,
    /// Shutting down to terminated.
    pub terminate_seconds: i64,
    /// How long the provider takes to notice that a group differs from its desired capacity, and
    /// how often it tries again while it cannot launch.
    pub reaction_seconds: i64,
    /// A description is at most this old; each has its own age.
    pub lag_seconds: i64,
    /// Entries on one page of a description; at least 1.
    pub page_size: usize,
    /// How long a client token is remembered. AWS says "within the idempotency window" and names no length.
    pub token_window_seconds: i64,
    /// How long a launch whose answer was lost goes on being in progress for its token.
    pub in_progress_seconds: i64,
    /// Instances that may run in the account at once, whatever group they are of; `None`: any number.
    pub capacity: Option<u32>,
    /// Probability that a launched instance fails before it is in service.
    pub boot_failure: f64,
    pub faults: FaultRates,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            start: 0,
            groups: Vec::new(),
            launch_seconds: 240,
            attach_seconds: 30,
            start_up_spread: 0.25,
            deregistration_seconds: 300,
            terminate_seconds: 60,
            reaction_seconds: 15,
            lag_seconds: 20,
            page_size: 50,
            token_window_seconds: 8 * 3_600,
            in_progress_seconds: 0,
            capacity: None,
            boot_failure: 0.0,
            faults: FaultRates::default(),
        }
    }
}

/// One Auto Scaling group as it is at the start: `desired` instances in service.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupConfig {
    pub name: String,
    pub min: u32,
    pub max: u32,
    pub desired: u32,
    pub template_version: u32,
    /// New and attached instances are protected from scale-in.
    pub protect_new: bool,
    /// The provider's own scaling policy.
    pub tracking: Option<TargetTracking>,
    /// CPU of an instance that does nothing, points.
    pub baseline: f64,
    /// Standard deviation of an instance's share of demand, as a share of it.
    pub spread: f64,
    /// Network of an instance that nobody talks to, bytes per second.
    pub idle_network: f64,
    /// Network per point of demand carried, bytes per second.
    pub network_per_point: f64,
}

impl GroupConfig {
    pub fn new(name: &str, min: u32, max: u32, desired: u32) -> Self {
        Self {
            name: name.to_owned(),
            min,
            max: max.max(min),
            desired: desired.min(max).max(min),
            template_version: 1,
            protect_new: false,
            tracking: None,
            baseline: 5.0,
            spread: 0.04,
            idle_network: 2_000.0,
            network_per_point: 50_000.0,
        }
    }
}

/// A target-tracking policy on mean CPU: out after three minutes above the target, in after fifteen
/// minutes below nine tenths of it, and never in while an instance is still starting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TargetTracking {
    /// Points.
    pub target: f64,
    /// `DisableScaleIn` is not set: the provider takes instances away, and chooses which.
    pub scale_in: bool,
}

/// Probability of each fault per call, drawn from the seed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FaultRates {
    pub throttled: f64,
    pub contention: f64,
    pub lost_request: f64,
    pub lost_answer: f64,
    /// Launches only: part of what was asked for, or nothing, is available.
    pub insufficient_capacity: f64,
}
