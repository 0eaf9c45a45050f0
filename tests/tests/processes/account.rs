//! What the configuration says of a cloud account reaches all that call it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow_tests::cloud::Cloud;
use foreshadow_tests::process::{Aggregator, eventually, free_port};
use foreshadow_tests::proxy::{Fault, Proxy};
use foreshadow_tests::web;
use tokio::time::Instant;

/// Calls a second of the configuration; ten of them may go at once.
const PACE: u32 = 2;
/// How long calls are counted.
const COUNTED_FOR: Duration = Duration::from_secs(15);

/// Groups that are described every five seconds, and a queue that answers each question at once, with nothing: whoever asks it asks
/// again. Between them they make as many calls as the configuration has, no more, and what waited is counted.
#[tokio::test(flavor = "multi_thread")]
async fn all_that_call_one_account_keep_to_the_pace_of_the_configuration() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let cloud = Cloud::start(directory.path()).await?;
    cloud.template_group("web", 2, &["us-east-1a"]).await?;
    let proxy = Proxy::start(&cloud.url).await?;
    proxy.next("ReceiveMessage", (0..10_000).map(|_| Fault::Answer { status: 200, body: "{}".to_owned() }));
    let config = format!(
        "[inventory]\ninterval_seconds = 5\n\
         [inventory.aws]\ngroups = [\"web\"]\nqueue = \"{}/123456789012/events\"\ncalls_per_second = {PACE}\n",
        proxy.url
    );
    let mut environment = cloud.environment();
    environment[0].1 = &proxy.url;
    let aggregator = Aggregator::start_on(directory.path(), &config, free_port()?, &environment).await?;
    let calls = || u32::try_from(proxy.calls().len()).unwrap_or(u32::MAX);
    let burst = 5 * PACE;
    eventually("what may go at once is gone", Duration::from_secs(60), async || Ok((calls() > burst).then_some(())))
        .await?;
    let (before, begun) = (calls(), Instant::now());
    eventually("calls are counted for a while", 2 * COUNTED_FOR, async || {
        Ok((begun.elapsed() >= COUNTED_FOR).then_some(()))
    })
    .await?;
    let (made, elapsed) = (f64::from(calls() - before), begun.elapsed().as_secs_f64());
    let allowed = f64::from(PACE) * elapsed;
    let metrics = web::get(&aggregator.url_of("/metrics")).await?.body;
    let delayed = metrics.lines().find_map(|line| line.strip_prefix("foreshadow_cloud_calls_delayed_total "));
    let delayed: f64 = delayed.context("the metric")?.parse()?;
    println!("{made} calls in {elapsed:.1} s, {allowed:.1} allowed; {delayed} waited");
    let asked = |action: &str| proxy.calls().iter().any(|call| call.action == action);
    ensure!(asked("DescribeAutoScalingGroups") && asked("ReceiveMessage"), "the groups and the queue");
    // One call may have been on its way on either side. A budget for each of them would be three a second.
    ensure!(made <= allowed + 2.0, "{made} calls in {elapsed} s, {allowed} allowed");
    ensure!(made >= allowed / 2.0, "{made} calls in {elapsed} s: nobody waits for the account");
    ensure!(delayed >= made / 2.0, "{delayed} of {made} waited");
    Ok(())
}
