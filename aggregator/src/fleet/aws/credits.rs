//! CPU credits of burstable instances, as CloudWatch has them every five minutes (EC2 user guide, "Monitor your CPU credits
//! for burstable instances"). One that spends surplus credits ("unlimited") is not slowed down and has none to run out of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use aws_sdk_autoscaling::types::AutoScalingGroup;

use super::AwsFleet;
use super::cloudwatch::{self, MetricAsked};
use super::query::Service;
use crate::fleet::CpuCredits;

/// Families that earn and spend credits, by how the names of their types begin.
const BURSTABLE: [&str; 4] = ["t2.", "t3.", "t3a.", "t4g."];
/// They are measured this often, seconds, and so asked for.
const PERIOD: i64 = 300;
/// A measurement is there some minutes after its period; one that is older than this says nothing, seconds.
const LOOKED_BACK: i64 = 1_200;
/// Metrics in one call of GetMetricData.
const METRICS_PER_CALL: usize = 500;
const METRICS: [&str; 3] = ["CPUCreditBalance", "CPUCreditUsage", "CPUSurplusCreditBalance"];

impl AwsFleet {
    /// The credits of those that have any, and why those of others are not known, by instance. `ask`: else what was heard will do.
    pub(super) async fn credits(
        &self,
        groups: &[AutoScalingGroup],
        ask: bool,
    ) -> (BTreeMap<String, CpuCredits>, BTreeMap<String, String>) {
        let burstable: BTreeSet<&str> = groups
            .iter()
            .flat_map(|group| group.instances.iter().flatten())
            .filter(|it| {
                it.instance_type.as_deref().is_some_and(|kind| BURSTABLE.iter().any(|it| kind.starts_with(it)))
            })
            .filter_map(|instance| instance.instance_id.as_deref())
            .collect();
        let now = self.clock.wall_micros();
        let wanted: Vec<&str> = {
            let mut known = self.credits.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever is of another group keeps what was heard as long as it may be used.
            known.retain(|_, (at, _)| now - *at < LOOKED_BACK * 1_000_000);
            // What was heard of nobody, or is too old to be used, is asked for at every look.
            let is_due = |id: &&str| known.get(*id).is_none_or(|(at, _)| ask && now - *at >= PERIOD * 1_000_000);
            burstable.iter().copied().filter(is_due).collect()
        };
        let mut failed = None;
        for instances in wanted.chunks(METRICS_PER_CALL / METRICS.len()) {
            // Where nobody answers, which takes long, nobody is asked again for the others, nor at every look.
            let heard = match failed.take() {
                Some(problem) => Err(problem),
                None => self.measured(instances, now.div_euclid(1_000_000)).await,
            };
            let of = |id: &str| heard.as_ref().map(|heard| heard.get(id).copied()).map_err(Clone::clone);
            self.credits
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(instances.iter().map(|id| ((*id).to_owned(), (now, of(id)))));
            failed = heard.err();
        }
        let known = self.credits.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut told, mut untold) = (BTreeMap::new(), BTreeMap::new());
        for id in burstable {
            match known.get(id).map(|(_, heard)| heard) {
                Some(Ok(Some(credits))) => drop(told.insert(id.to_owned(), *credits)),
                Some(Err(problem)) => drop(untold.insert(id.to_owned(), problem.clone())),
                // CloudWatch answered and has none.
                Some(Ok(None)) => {}
                None => drop(untold.insert(id.to_owned(), "nobody was asked".to_owned())),
            }
        }
        (told, untold)
    }

    async fn measured(&self, instances: &[&str], now: i64) -> Result<BTreeMap<String, CpuCredits>, String> {
        let asked: Vec<MetricAsked> = instances
            .iter()
            .flat_map(|instance| {
                METRICS.map(|name| MetricAsked {
                    namespace: "AWS/EC2".to_owned(),
                    name: name.to_owned(),
                    dimensions: vec![("InstanceId".to_owned(), (*instance).to_owned())],
                    statistic: "Average".to_owned(),
                })
            })
            .collect();
        let fields = cloudwatch::fields(&asked, PERIOD, now - LOOKED_BACK, now)?;
        let answer = self.query.call(Service::CloudWatch, "GetMetricData", &fields).await;
        let answer = answer.map_err(|fault| fault.problem("cloudwatch:GetMetricData"))?;
        let mut data = vec![Vec::new(); asked.len()];
        // A period has few values, and a page holds a hundred thousand: more than one would be half an answer.
        if cloudwatch::take(&answer, &mut data)?.is_some() {
            return Err("GetMetricData answers on more than one page".to_owned());
        }
        let newest = |index: usize| data.get(index)?.iter().max_by_key(|datum| datum.at).map(|datum| datum.value);
        let of = |(index, instance): (usize, &&str)| {
            let first = index * METRICS.len();
            let (balance, spent, surplus) = (newest(first)?, newest(first + 1)?, newest(first + 2).unwrap_or_default());
            #[allow(clippy::cast_precision_loss, reason = "seconds of a period")]
            let spent_per_hour = spent * 3_600.0 / PERIOD as f64;
            (surplus <= 0.0).then(|| ((*instance).to_owned(), CpuCredits { balance, spent_per_hour }))
        };
        Ok(instances.iter().enumerate().filter_map(of).collect())
    }
}
