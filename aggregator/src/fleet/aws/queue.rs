//! The SQS queue that the account's events go to (`deploy/aws/foreshadow.yaml` makes it). Two calls,
//! signed by [`Query`]: the service's SDK would be 43 000 lines to compile.

use std::sync::Arc;
use std::time::Duration;

use aws_config::{Region, SdkConfig};
use http::Uri;
use serde_json::{Value, json};

use super::AwsFleet;
use super::budget::Budgets;
use super::event::{self, Letter};
use super::query::{CALL_DEADLINE, Query, configured_endpoint};
use crate::clock::Clock;
use crate::fleet::FleetError;

/// A receive waits this long for a first message, seconds: the longest that SQS permits.
const WAIT_SECONDS: u32 = 20;
/// A message that was received and not deleted shows up again after this, seconds.
const HIDDEN_SECONDS: u32 = 30;
/// Messages of one call; SQS gives at most ten.
const AT_ONCE: u32 = 10;

/// What one call received.
#[derive(Debug, Clone, Default)]
pub struct Letters {
    pub letters: Vec<Letter>,
    /// By which they are deleted.
    pub receipts: Vec<String>,
}

/// Reads one queue for some groups.
#[derive(Debug)]
pub struct AwsQueue {
    query: Query,
    url: String,
    endpoint: Uri,
    region: Option<String>,
    groups: Vec<String>,
}

impl AwsQueue {
    /// Credentials and region as for the groups; the queue's own region, where its URL names one.
    pub async fn new(
        url: &Uri,
        groups: Vec<String>,
        region: Option<String>,
        budgets: &Budgets,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut loader = AwsFleet::loader();
        if let Some(region) = region {
            loader = loader.region(Region::new(region));
        }
        Self::with(&loader.load().await, url, groups, budgets, clock).await
    }

    /// With a configuration that was loaded by [`AwsFleet::loader`].
    pub async fn with(
        config: &SdkConfig,
        url: &Uri,
        groups: Vec<String>,
        budgets: &Budgets,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let region = region_of(url);
        let budget = budgets.of(region.as_deref().or_else(|| config.region().map(|region| region.as_ref())));
        let configured = configured_endpoint(config, "SQS").and_then(|endpoint| endpoint.parse().ok());
        Self {
            query: Query::new(config, CALL_DEADLINE, budget, clock).await,
            url: url.to_string(),
            endpoint: configured.unwrap_or_else(|| url.clone()),
            region,
            groups,
        }
    }

    /// Waits for messages, some seconds at most; none is no error.
    pub async fn receive(&self) -> Result<Letters, FleetError> {
        let asked = json!({
            "QueueUrl": self.url, "MaxNumberOfMessages": AT_ONCE, "WaitTimeSeconds": WAIT_SECONDS,
            "VisibilityTimeout": HIDDEN_SECONDS,
        });
        let patience = CALL_DEADLINE + Duration::from_secs(u64::from(WAIT_SECONDS));
        let answer = self.call("ReceiveMessage", asked, patience).await?;
        let mut letters = Letters::default();
        for message in answer["Messages"].as_array().into_iter().flatten() {
            // What has no receipt comes again.
            let Some(receipt) = message["ReceiptHandle"].as_str() else { continue };
            letters.receipts.push(receipt.to_owned());
            letters.letters.push(event::read(message["Body"].as_str().unwrap_or_default(), &self.groups));
        }
        Ok(letters)
    }

    /// Deletes what was taken. What cannot be deleted comes again, and changes nothing then.
    pub async fn delete(&self, receipts: &[String]) -> Result<(), FleetError> {
        if receipts.is_empty() {
            return Ok(());
        }
        let entries = receipts.iter().enumerate();
        let entries: Vec<Value> =
            entries.map(|(index, receipt)| json!({"Id": index.to_string(), "ReceiptHandle": receipt})).collect();
        let asked = json!({"QueueUrl": self.url, "Entries": entries});
        self.call("DeleteMessageBatch", asked, CALL_DEADLINE).await.map(drop)
    }

    async fn call(&self, operation: &str, body: Value, deadline: Duration) -> Result<Value, FleetError> {
        let called = self.query.json(&self.endpoint, self.region.as_deref(), operation, &body, deadline).await;
        called.map_err(|fault| {
            // Deleting in batches needs no permission of its own.
            fault.error(if operation == "ReceiveMessage" { "sqs:ReceiveMessage" } else { "sqs:DeleteMessage" })
        })
    }
}

/// `eu-west-1` of `sqs.eu-west-1.amazonaws.com` and of `sqs-fips.…`.
fn region_of(url: &Uri) -> Option<String> {
    let mut labels = url.host()?.split('.');
    let service = labels.next().filter(|label| matches!(*label, "sqs" | "sqs-fips"));
    let region = service.and_then(|_| labels.next())?;
    (labels.next() == Some("amazonaws")).then(|| region.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_the_queues_own() {
        for (url, region) in [
            ("https://sqs.eu-west-1.amazonaws.com/1/q", Some("eu-west-1")),
            ("https://sqs.cn-north-1.amazonaws.com.cn/1/q", Some("cn-north-1")),
            ("http://127.0.0.1:5000/1/q", None),
            ("https://queue.example.org/1/q", None),
        ] {
            assert_eq!(region_of(&url.parse().expect("a URL")).as_deref(), region, "{url}");
        }
    }
}
