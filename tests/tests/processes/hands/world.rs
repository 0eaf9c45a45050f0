//! What these tests share: the world they act on, and short words.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use aws_config::Region;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::Credentials;
use foreshadow::clock::{Clock, SystemClock};
use foreshadow::fleet::{Action, AwsFleet, Budgets, Called, Fleet, Found, InMemory, MINIMUM_TAG, Token, Turns};
use foreshadow::store::StoreId;
use foreshadow_proto::convert::Id;
use foreshadow_tests::cloud::Cloud;
use foreshadow_tests::process::eventually;
use foreshadow_tests::proxy::{Call, Proxy};
use tempfile::TempDir;

/// The machine's clock and as much as a test adds.
#[derive(Debug, Default)]
pub struct Ahead(AtomicI64);

impl Ahead {
    pub fn skip(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }
}

impl Clock for Ahead {
    fn wall_micros(&self) -> i64 {
        SystemClock.wall_micros() + self.0.load(Ordering::Relaxed)
    }

    fn boot_seconds(&self) -> i64 {
        SystemClock.boot_seconds() + self.0.load(Ordering::Relaxed) / 1_000_000
    }
}

/// Two groups at a local AWS behind a proxy: `web` from a launch template, `old` from a launch
/// configuration.
pub struct World {
    pub cloud: Cloud,
    pub proxy: Proxy,
    pub fleet: AwsFleet,
    pub clock: Arc<Ahead>,
    _directory: TempDir,
}

/// Generous: the machine may be busy. Only calls that hang take so long.
pub const DEADLINE: Duration = Duration::from_secs(8);

pub async fn fleet(url: &str, clock: Arc<Ahead>) -> AwsFleet {
    fleet_of(url, &["web", "old"], &Budgets::default(), clock).await
}

pub async fn fleet_of(url: &str, groups: &[&str], budgets: &Budgets, clock: Arc<Ahead>) -> AwsFleet {
    fleet_after(url, groups, budgets, Arc::new(InMemory::default()), clock).await
}

/// The same, which goes on with the launches of one before it.
pub async fn fleet_after(
    url: &str,
    groups: &[&str],
    budgets: &Budgets,
    turns: Arc<dyn Turns>,
    clock: Arc<Ahead>,
) -> AwsFleet {
    let config = AwsFleet::loader()
        .endpoint_url(url)
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .timeout_config(TimeoutConfig::builder().operation_timeout(DEADLINE).build())
        .load()
        .await;
    let groups = groups.iter().map(|name| (*name).to_owned()).collect();
    AwsFleet::with(&config, groups, budgets, turns, clock).await
}

impl World {
    pub async fn new() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let cloud = Cloud::start(directory.path()).await?;
        let proxy = Proxy::start(&cloud.url).await?;
        let clock = Arc::new(Ahead::default());
        let fleet = fleet(&proxy.url, clock.clone()).await;
        Ok(Self { cloud, proxy, fleet, clock, _directory: directory })
    }

    pub async fn call(&self, group: &str, action: &Action, step: u32) -> Called {
        self.fleet.call(&id(group), action, &token(group, step)).await
    }

    /// Asks until it is settled; the clock, not the test, waits.
    pub async fn outcome(&self, group: &str, action: &Action, step: u32) -> anyhow::Result<Found> {
        eventually("an outcome", Duration::from_secs(60), async || {
            let found = self.fleet.outcome(&id(group), action, &token(group, step)).await;
            self.clock.skip(11);
            Ok((found != Found::NotYet).then_some(found))
        })
        .await
    }

    pub async fn minimum(&self, group: &str) -> anyhow::Result<(String, Option<String>)> {
        let asked = [("Action", "DescribeAutoScalingGroups"), ("AutoScalingGroupNames.member.1", group)];
        let text = self.cloud.call("autoscaling", &asked).await?;
        let value = text.split(&format!("<Key>{MINIMUM_TAG}</Key><Value>")).nth(1);
        let tag = value.and_then(|rest| rest.split('<').next()).map(str::to_owned);
        Ok((inner(&text, "MinSize").context("MinSize")?, tag))
    }
}

pub fn inner(text: &str, tag: &str) -> Option<String> {
    Some(text.split(&format!("<{tag}>")).nth(1)?.split('<').next()?.to_owned())
}

pub fn id(name: &str) -> Id {
    Id::new("id", name).expect("an id")
}

pub fn ids(names: &[String]) -> Vec<Id> {
    names.iter().map(|name| id(name)).collect()
}

pub fn token(group: &str, step: u32) -> Token {
    Token::new(StoreId([7; 16]), &id(group), 1, step)
}

pub fn actions(calls: &[Call]) -> Vec<&str> {
    calls.iter().map(|call| call.action.as_str()).collect()
}

pub fn done(names: &[String]) -> Called {
    Called::Done { instances: ids(names) }
}

pub fn none() -> Called {
    Called::Done { instances: Vec::new() }
}

pub fn refusal(called: &Called) -> &str {
    match called {
        Called::Refused { why } => why,
        other => panic!("not refused: {other:?}"),
    }
}
