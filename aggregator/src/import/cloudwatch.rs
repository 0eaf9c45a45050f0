//! A past from CloudWatch: the mean CPU of an Auto Scaling group and how many were in service.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use foreshadow_proto::convert::Id;

use super::minutes::{Reading, usual_period};
use crate::clock::SystemClock;
use crate::fleet::{CloudWatch as Api, MetricAsked};

const DAY: i64 = 86_400;
/// How long CloudWatch keeps values of a period, and the period, seconds; a day less, for what is at its edge.
const KEPT: [(i64, i64); 3] = [(14 * DAY, 60), (62 * DAY, 300), (454 * DAY, 3_600)];

/// Which metric.
#[derive(Debug, Clone, clap::Args)]
pub struct CloudWatch {
    /// Region [default: the usual one]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Auto Scaling group [default: the name of the group]
    #[arg(long, value_name = "NAME")]
    pub asg: Option<String>,
    #[arg(long, value_name = "NAME", default_value = "AWS/EC2")]
    namespace: String,
    #[arg(long, value_name = "NAME", default_value = "CPUUtilization")]
    metric_name: String,
    /// Which of the metric's series [default: AutoScalingGroupName=NAME]
    #[arg(long = "dimension", value_name = "NAME=VALUE", value_parser = dimension)]
    dimensions: Vec<(String, String)>,
    /// Average, or Sum (then per second: RequestCount becomes requests per second)
    #[arg(long, value_enum, default_value = "average")]
    statistic: Statistic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Statistic {
    Average,
    Sum,
}

fn dimension(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The finest period that is still kept of a time so old, seconds; `None` of what is gone.
pub fn period(age: i64) -> Option<i64> {
    KEPT.iter().find(|(kept, _)| age <= *kept).map(|(_, period)| *period)
}

/// A past that is asked for in parts.
#[derive(Debug)]
pub struct Past {
    api: Api,
    value: MetricAsked,
    /// How many were in service; `None` where it is known otherwise.
    instances: Option<MetricAsked>,
}

impl CloudWatch {
    /// What is asked for, for people and to know it again.
    pub fn named(&self, group: &Id) -> String {
        let dimensions: Vec<String> =
            self.dimensions(group).iter().map(|(name, value)| format!("{name}={value}")).collect();
        let region = self.region.as_deref().unwrap_or("the usual region");
        let statistic = format!("{:?}", self.statistic);
        format!("cloudwatch {region} {} {} {statistic} {}", self.namespace, self.metric_name, dimensions.join(","))
    }

    fn dimensions(&self, group: &Id) -> Vec<(String, String)> {
        if self.dimensions.is_empty() { self.asg_dimension(group) } else { self.dimensions.clone() }
    }

    fn asg_dimension(&self, group: &Id) -> Vec<(String, String)> {
        vec![("AutoScalingGroupName".to_owned(), self.asg.clone().unwrap_or_else(|| group.to_string()))]
    }

    /// Region and credentials as usual. `counted` where the number of instances has to be asked for.
    pub async fn open(&self, group: &Id, counted: bool) -> Past {
        let instances = MetricAsked {
            namespace: "AWS/AutoScaling".to_owned(),
            name: "GroupInServiceInstances".to_owned(),
            dimensions: self.asg_dimension(group),
            statistic: "Average".to_owned(),
        };
        Past {
            api: Api::new(self.region.clone(), Arc::new(SystemClock)).await,
            value: MetricAsked {
                namespace: self.namespace.clone(),
                name: self.metric_name.clone(),
                dimensions: self.dimensions(group),
                statistic: format!("{:?}", self.statistic),
            },
            instances: counted.then_some(instances),
        }
    }
}

impl Past {
    /// Values in `[from, to)` and how long each stands for. A group without detailed monitoring has one in five minutes.
    pub async fn read(&self, from: i64, to: i64, now: i64) -> Result<(Vec<Reading>, i64)> {
        let Some(period) = period(now - from) else { return Ok((Vec::new(), 60)) };
        let from = from.div_euclid(period) * period;
        let read = async |asked: &MetricAsked| {
            self.api.read(asked, period, from, to).await.map_err(|problem| anyhow!("{problem}"))
        };
        let values = read(&self.value).await?;
        let begins = |datum: &crate::fleet::Datum| datum.at.div_euclid(period) * period;
        let counts: Option<BTreeMap<i64, f64>> = match &self.instances {
            Some(asked) => Some(read(asked).await?.iter().map(|datum| (begins(datum), datum.value)).collect()),
            None => None,
        };
        #[allow(clippy::cast_precision_loss, reason = "seconds of a period")]
        let per_second = if self.value.statistic == "Sum" { period as f64 } else { 1.0 };
        let reading = |datum: &crate::fleet::Datum| Reading {
            at: begins(datum),
            value: datum.value / per_second,
            instances: counts.as_ref().and_then(|counts| counts.get(&begins(datum)).copied()),
        };
        let readings: Vec<Reading> = values.iter().map(reading).collect();
        // Basic monitoring measures every five minutes, whatever period is asked for.
        let stands_for = if period == 60 { usual_period(&readings).min(300) } else { period };
        Ok((readings, stands_for))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_period_follows_the_age() {
        for (days, found) in [(0, Some(60)), (14, Some(60)), (15, Some(300)), (63, Some(3_600)), (456, None)] {
            assert_eq!(period(days * DAY), found, "{days}");
        }
    }

    #[test]
    fn a_dimension_is_a_name_and_a_value() {
        assert_eq!(dimension("LoadBalancer=app/web/1=2"), Ok(("LoadBalancer".to_owned(), "app/web/1=2".to_owned())));
        assert!(dimension("web").is_err());
    }
}
