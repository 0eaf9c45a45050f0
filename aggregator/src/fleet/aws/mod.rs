//! Auto Scaling groups by the AWS API. `AWS_ENDPOINT_URL` and the usual credential chain are
//! honoured. The permissions that describing and acting need are in `deploy/aws`.
//!
//! `describe` reads groups, `schedule` what the provider will change by the clock, `budget` says how fast, `launch` (by `turns`) and
//! `hands` change them, `outcome` finds out what became of a change, `outside` looks at instances that left, `queue` and `event` hear of
//! those that move, and `activities` asks why. `query` and `ec2` are the calls without an SDK.

mod activities;
mod budget;
mod cloudwatch;
mod credits;
mod describe;
mod ec2;
mod event;
mod fault;
mod hands;
mod hooks;
mod launch;
mod outcome;
mod outside;
mod query;
mod queue;
mod schedule;
mod turns;
mod version;
mod xml;
mod zones;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::config::timeout::TimeoutConfig;
use aws_smithy_http_client::tls;
use foreshadow_proto::convert::Id;

use super::{Action, Called, CpuCredits, Fleet, FleetError, Found, Inventory, Notice, Outside, Reach, Tags, Token};
use crate::clock::Clock;
use crate::exchange::is_loopback;
use budget::Budget;
pub use budget::{Budgets, CALLS_PER_SECOND};
pub use cloudwatch::{CloudWatch, Datum, MetricAsked};
use describe::Kept;
pub use event::Letter;
use hands::Out;
use outcome::Picture;
use query::{CALL_DEADLINE, Query, Service, configured_endpoint};
pub use queue::{AwsQueue, Letters};
pub use turns::{InMemory, Turns};

/// Describes and changes named Auto Scaling groups.
#[derive(Debug)]
pub struct AwsFleet {
    /// Sends once: a second DetachInstances is a second change. What may be sent again is, by `budget`.
    client: Client,
    query: Query,
    /// Shared by all that is sent to the region.
    budget: Arc<Budget>,
    groups: Vec<String>,
    reach: Reach,
    /// The endpoint has no LaunchInstances: found out once, and kept.
    no_launch_call: AtomicBool,
    turns: Arc<dyn Turns>,
    /// How changes looked whose outcome is being found out.
    pictures: Mutex<BTreeMap<Token, Picture>>,
    /// By group: whether it deploys.
    refreshing: Mutex<Kept<bool>>,
    /// By target group: its deregistration delay, seconds.
    delays: Mutex<Kept<u32>>,
    /// By burstable instance: its credits, where CloudWatch has them, or why that is not known.
    credits: Mutex<Kept<Result<Option<CpuCredits>, String>>>,
    clock: Arc<dyn Clock>,
}

impl AwsFleet {
    /// Takes region and credentials from the usual places unless a region is given.
    pub async fn new(
        groups: Vec<String>,
        region: Option<String>,
        budgets: &Budgets,
        turns: Arc<dyn Turns>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut loader = Self::loader();
        if let Some(region) = region {
            loader = loader.region(Region::new(region));
        }
        Self::with(&loader.load().await, groups, budgets, turns, clock).await
    }

    /// Region, credentials and endpoints as usual, over the one TLS stack there is.
    pub fn loader() -> ConfigLoader {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        aws_config::defaults(BehaviorVersion::latest()).http_client(http)
    }

    /// With a configuration that was loaded by [`AwsFleet::loader`]. Its operation timeout, when it has
    /// one, is the deadline of every call.
    pub async fn with(
        config: &SdkConfig,
        groups: Vec<String>,
        budgets: &Budgets,
        turns: Arc<dyn Turns>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let deadline = config.timeout_config().and_then(TimeoutConfig::operation_timeout).unwrap_or(CALL_DEADLINE);
        let timeouts = TimeoutConfig::builder().operation_timeout(deadline).build();
        // What is sent again, and when, is for the budget to say.
        let client = aws_sdk_autoscaling::config::Builder::from(config)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::disabled());
        let budget = budgets.of(config.region().map(|region| region.as_ref()));
        let services = ["Auto Scaling", Service::Ec2.id(), Service::LoadBalancing.id(), Service::CloudWatch.id()];
        let local = services.iter().all(|service| {
            let url = configured_endpoint(config, service).and_then(|url| url.parse().ok());
            url.is_some_and(|url| is_loopback(&url))
        });
        Self {
            client: Client::from_conf(client.build()),
            query: Query::new(config, deadline, budget.clone(), clock.clone()).await,
            budget,
            groups,
            reach: if local { Reach::Loopback } else { Reach::Cloud },
            no_launch_call: AtomicBool::new(false),
            turns,
            pictures: Mutex::default(),
            refreshing: Mutex::default(),
            delays: Mutex::default(),
            credits: Mutex::default(),
            clock,
        }
    }
}

#[async_trait]
impl Fleet for AwsFleet {
    async fn describe(&self) -> Result<Inventory, FleetError> {
        self.inventory(&self.groups, true).await
    }

    async fn describe_some(&self, groups: &[Id]) -> Result<Inventory, FleetError> {
        let ours = self.groups.iter().filter(|name| groups.iter().any(|group| group.as_str() == *name));
        self.inventory(&ours.cloned().collect::<Vec<_>>(), false).await
    }

    async fn activities(&self, group: &Id, instances: &[Id], since: i64) -> Result<Vec<Notice>, FleetError> {
        self.recorded(group, instances, since).await
    }

    fn name(&self) -> &'static str {
        "aws"
    }

    /// Loopback only when every service it calls is on this machine.
    fn reach(&self) -> Reach {
        self.reach
    }

    async fn outside(&self, group: &Id, instances: &[Id]) -> Result<Vec<Outside>, FleetError> {
        self.look_outside(group, instances).await
    }

    async fn call(&self, group: &Id, action: &Action, token: &Token) -> Called {
        if !self.groups.iter().any(|name| name == group.as_str()) {
            return Called::Refused { why: format!("{group} is not in inventory.aws.groups") };
        }
        match action {
            Action::Launch { count, size, zones } => Box::pin(self.launch(group, *count, *size, zones, token)).await,
            Action::Attach { instances } => self.attach(group, instances).await,
            Action::Detach { instances } => Box::pin(self.take_out(group, instances, Out::Detached)).await,
            Action::EnterStandby { instances } => Box::pin(self.take_out(group, instances, Out::Standby)).await,
            Action::ExitStandby { instances } => self.exit_standby(group, instances).await,
            Action::Leave { instances } => self.leave(group, instances).await,
            Action::Terminate { instances } => self.terminate(instances).await,
            Action::Floor { from, to } => Box::pin(self.floor(group, *from, *to)).await,
        }
    }

    async fn outcome(&self, group: &Id, action: &Action, token: &Token) -> Found {
        self.find(group, action, token).await
    }

    async fn hold(&self, group: &Id, instances: &[Id]) -> Result<(), FleetError> {
        self.heartbeat(group, instances).await
    }

    async fn tag(&self, instances: &[Id], tags: &Tags) -> Result<(), FleetError> {
        self.tag_instances(instances, tags).await
    }

    async fn tag_group(&self, group: &Id, tags: &Tags) -> Result<(), FleetError> {
        self.tag_a_group(group, tags).await
    }

    async fn tagged(&self, tag: &str) -> Result<Vec<Outside>, FleetError> {
        self.find_tagged(tag).await
    }
}
