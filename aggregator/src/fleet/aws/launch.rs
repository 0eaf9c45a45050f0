//! Adding capacity: LaunchInstances with its client token, or where that cannot be, MinSize.
//!
//! Never an absolute desired capacity: read stale, it would take away. MinSize only rises here.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use aws_sdk_autoscaling::operation::launch_instances::LaunchInstancesOutput;
use aws_sdk_autoscaling::types::{AutoScalingGroup, RetryStrategy, Tag};
use foreshadow_proto::convert::Id;

use super::AwsFleet;
use super::describe::{KeptMinimum, own_minimum, size as sized, tag};
use super::fault::shown;
use crate::fleet::{Called, MINIMUM_TAG, Reach, Token};

/// LaunchInstances starts at most this many.
const LAUNCHED_PER_CALL: u32 = 100;
/// What LaunchInstances needs.
const PERMISSIONS: &str = "autoscaling:LaunchInstances, ec2:CreateFleet, ec2:DescribeLaunchTemplateVersions";

impl AwsFleet {
    pub(super) async fn launch(
        &self,
        group: &Id,
        count: u32,
        size: u32,
        shares: &[(Id, u32)],
        token: &Token,
    ) -> Called {
        if count == 0 {
            return Called::Done { instances: Vec::new() };
        }
        let state = match self.present(group).await {
            Ok(state) => state,
            Err(called) => return called,
        };
        // LaunchInstances takes launch templates only.
        let has_template = state.launch_template.is_some() || state.mixed_instances_policy.is_some();
        if has_template && !self.no_launch_call.load(Ordering::Relaxed) {
            // An intent of before the other zones were written down names but one: repeated it must be the same call.
            let called = if shares.len() > 1 {
                self.launch_over(group, shares, token).await
            } else {
                self.launch_instances(group, &state, count, token).await
            };
            if let Some(called) = called {
                return called;
            }
            self.no_launch_call.store(true, Ordering::Relaxed);
        }
        self.raise(group, &state, size).await
    }

    /// `None`: the endpoint has no such call, and nothing was launched.
    async fn launch_instances(
        &self,
        group: &Id,
        state: &AutoScalingGroup,
        count: u32,
        token: &Token,
    ) -> Option<Called> {
        let capacity = i32::try_from(count.min(LAUNCHED_PER_CALL)).unwrap_or(1);
        for zone in zones(state) {
            let asked = self
                .client
                .launch_instances()
                .auto_scaling_group_name(group.as_str())
                .requested_capacity(capacity)
                .client_token(token.as_str())
                .retry_strategy(RetryStrategy::None)
                .set_availability_zones(zone.map(|zone| vec![zone]));
            let fault = match self.change(asked.send()).await {
                Ok(answer) => return Some(launched(&answer)),
                Err(fault) => fault,
            };
            if fault.is_unknown_call(self.reach == Reach::Loopback) {
                return None;
            }
            // The token was used for another zone, when that one had the fewest: ask there. This call
            // did nothing.
            if !fault.code().is_some_and(|code| code.starts_with("IdempotentParameterMismatch")) {
                return Some(fault.called(PERMISSIONS));
            }
        }
        // Used before with parameters that cannot be had now: what it launched, describing tells.
        Some(Called::Unknown)
    }

    /// A call puts its whole count into one zone: one for each share, with a token of its own that is always the same. What
    /// one zone does not have, the others are asked for, in the same order each time: those with a share, then the rest.
    /// `None` as above.
    async fn launch_over(&self, group: &Id, zones: &[(Id, u32)], token: &Token) -> Option<Called> {
        let (mut instances, mut refusals) = (Vec::new(), Vec::new());
        let (shares, rest): (Vec<_>, Vec<_>) = zones.iter().partition(|(_, share)| *share > 0);
        let mut asked_before = false;
        'shares: for (index, (_, share)) in shares.iter().enumerate() {
            // The turn that was asked for last is asked for first: what came before it had nothing.
            let Ok(begun) = self.turns.turn(token, index).await else { return Some(Called::Unknown) };
            let (first, last) = shares.split_at(index);
            let turns: Vec<&Id> = last.iter().chain(first).chain(&rest).map(|(zone, _)| zone).collect();
            for turn in std::iter::once(begun).chain((0..turns.len()).filter(|turn| begun != *turn)) {
                let Some(zone) = turns.get(turn) else { continue };
                if turn != begun
                    && let Err(why) = self.turns.keep(token, index, turn).await
                {
                    refusals.push(format!("{zone} is not asked, since that cannot be written down: {why}"));
                    continue 'shares;
                }
                let asked = self
                    .client
                    .launch_instances()
                    .auto_scaling_group_name(group.as_str())
                    .requested_capacity(i32::try_from((*share).min(LAUNCHED_PER_CALL)).unwrap_or(1))
                    .client_token(format!("{token}-{index}-{turn}"))
                    .retry_strategy(RetryStrategy::None)
                    .availability_zones(zone.as_str());
                let called = match self.change(asked.send()).await {
                    Ok(answer) => launched(&answer),
                    Err(fault) => {
                        if fault.is_unknown_call(self.reach == Reach::Loopback) && !asked_before {
                            return None;
                        }
                        fault.called(PERMISSIONS)
                    }
                };
                asked_before = true;
                match called {
                    Called::Done { instances: some } => {
                        instances.extend(some);
                        continue 'shares;
                    }
                    Called::Refused { why } => refusals.push(format!("{zone}: {why}")),
                    // What was launched so far is done; the rest is for the next plan.
                    Called::Throttled if !instances.is_empty() => return Some(Called::Done { instances }),
                    // Repeated with the same tokens, all of it is answered as it was.
                    other => return Some(other),
                }
            }
        }
        Some(if instances.is_empty() {
            Called::Refused { why: refusals.join("; ") }
        } else {
            Called::Done { instances }
        })
    }

    /// Raises MinSize to `size`, after the user's own value is safe in a tag.
    async fn raise(&self, group: &Id, state: &AutoScalingGroup, size: u32) -> Called {
        let (minimum, maximum) = (sized(state.min_size), sized(state.max_size));
        if minimum >= size {
            return Called::Done { instances: Vec::new() };
        }
        let raised = match i32::try_from(size) {
            Ok(raised) if size <= maximum => raised,
            _ => {
                return Called::Refused {
                    why: format!("{size} is above the group's MaxSize {maximum}: raise MaxSize"),
                };
            }
        };
        if let Err(called) = self.keep_minimum(group, state, size).await {
            return called;
        }
        let asked = self.client.update_auto_scaling_group().auto_scaling_group_name(group.as_str()).min_size(raised);
        match self.change(asked.send()).await {
            // The group launches by itself, and says later whom.
            Ok(_) => Called::Done { instances: Vec::new() },
            Err(fault) => fault.called("autoscaling:UpdateAutoScalingGroup"),
        }
    }

    /// Writes the user's MinSize to its tag, beside what ours is and is to be, and reads it back. It says so already: nothing is
    /// written.
    pub(super) async fn keep_minimum(&self, group: &Id, state: &AutoScalingGroup, to: u32) -> Result<(), Called> {
        let minimum = sized(state.min_size);
        let own = own_minimum(state).unwrap_or(minimum);
        // Whoever dies before MinSize is set leaves it as it was: until then both are ours.
        let ours: Vec<u32> = [minimum, to].into_iter().filter(|ours| *ours != own).collect();
        let says = |kept: &KeptMinimum| kept.own == own && ours.iter().all(|ours| kept.raised.contains(ours));
        if KeptMinimum::of(state).as_ref().is_some_and(says) {
            return Ok(());
        }
        let text = KeptMinimum { own, raised: ours }.text();
        let kept = Tag::builder()
            .resource_id(group.as_str())
            .resource_type("auto-scaling-group")
            .key(MINIMUM_TAG)
            .value(&text)
            .propagate_at_launch(false)
            .build();
        let asked = self.client.create_or_update_tags().tags(kept);
        self.change(asked.send()).await.map_err(|fault| fault.before("autoscaling:CreateOrUpdateTags"))?;
        let state = self.present(group).await?;
        if tag(&state, MINIMUM_TAG) == Some(text.as_str()) && sized(state.min_size) == minimum {
            return Ok(());
        }
        let why = format!("MinSize or its tag {MINIMUM_TAG} changed meanwhile: nothing was changed");
        Err(Called::Refused { why })
    }

    /// The group as it is right before a change.
    pub(super) async fn present(&self, group: &Id) -> Result<AutoScalingGroup, Called> {
        match self.group(group).await {
            Ok(Some(state)) if counts_in_units(&state) => {
                let why = format!(
                    "{group} counts in units (WeightedCapacity), not in instances: nothing is changed in such a group \
                     (docs/aws.md)"
                );
                Err(Called::Refused { why })
            }
            Ok(Some(state)) => Ok(state),
            Ok(None) => Err(Called::Refused { why: format!("no Auto Scaling group is called {group}") }),
            Err(fault) => Err(fault.before("autoscaling:DescribeAutoScalingGroups")),
        }
    }
}

/// Its sizes are not numbers of instances: an override of its instance types has a weight other than 1.
/// <https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-mixed-instances-groups-instance-weighting.html>
pub(super) fn counts_in_units(group: &AutoScalingGroup) -> bool {
    let template = group.mixed_instances_policy.as_ref().and_then(|policy| policy.launch_template.as_ref());
    let overrides = template.and_then(|template| template.overrides.as_deref()).unwrap_or_default();
    let weighted = |text: &String| text.trim() != "1";
    overrides.iter().any(|it| it.weighted_capacity.as_ref().is_some_and(weighted))
}

/// The zones to try: none to name where there is but one, else the one with the fewest members first.
fn zones(group: &AutoScalingGroup) -> Vec<Option<String>> {
    let zones = group.availability_zones.as_deref().unwrap_or_default();
    if zones.len() < 2 {
        return vec![None];
    }
    let mut counts: BTreeMap<&str, usize> = zones.iter().map(|zone| (zone.as_str(), 0)).collect();
    for instance in group.instances.as_deref().unwrap_or_default() {
        if let Some(count) = instance.availability_zone.as_deref().and_then(|zone| counts.get_mut(zone)) {
            *count += 1;
        }
    }
    let mut order: Vec<(usize, &str)> = counts.into_iter().map(|(zone, count)| (count, zone)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, zone)| Some(zone.to_owned())).collect()
}

/// A launch may give fewer than were asked for; none at all is a refusal in the cloud's words.
fn launched(answer: &LaunchInstancesOutput) -> Called {
    let ids = answer.instances().iter().flat_map(|found| found.instance_ids());
    let instances: Vec<Id> = ids.filter_map(|id| Id::new("instance", id).ok()).collect();
    if !instances.is_empty() {
        return Called::Done { instances };
    }
    let errors = answer.errors().iter().map(|error| {
        let (code, message) = (error.error_code().unwrap_or("no code"), error.error_message().unwrap_or_default());
        shown(&format!("{code}: {message}"))
    });
    let errors = errors.collect::<Vec<_>>().join("; ");
    Called::Refused { why: format!("no instance was launched ({errors})") }
}

#[cfg(test)]
mod tests {
    use aws_sdk_autoscaling::types::{Instance, InstanceCollection, LaunchInstancesError};

    use super::*;

    #[test]
    fn the_zone_with_the_fewest_comes_first_and_always_the_same() {
        let member = |zone: &str| Instance::builder().instance_id("i").availability_zone(zone).build();
        let group = AutoScalingGroup::builder()
            .set_availability_zones(Some(vec!["c".to_owned(), "b".to_owned(), "a".to_owned()]))
            .set_instances(Some(vec![member("a"), member("a"), member("b"), member("gone")]))
            .build();
        assert_eq!(zones(&group), [Some("c".to_owned()), Some("b".to_owned()), Some("a".to_owned())]);
        let even = AutoScalingGroup::builder().set_availability_zones(Some(vec!["b".to_owned(), "a".to_owned()]));
        assert_eq!(zones(&even.build()), [Some("a".to_owned()), Some("b".to_owned())]);
        let one = AutoScalingGroup::builder().availability_zones("a").build();
        assert_eq!(zones(&one), [None]);
    }

    #[test]
    fn a_short_launch_is_done_and_an_empty_one_refused() {
        let error = LaunchInstancesError::builder().error_code("InsufficientInstanceCapacity").error_message("none");
        let answer = LaunchInstancesOutput::builder().errors(error.build());
        let some = InstanceCollection::builder().instance_ids("i-1").build();
        let short = launched(&answer.clone().instances(some).build());
        assert_eq!(short, Called::Done { instances: vec![Id::new("instance", "i-1").expect("an id")] });
        let Called::Refused { why } = launched(&answer.build()) else { panic!("refused") };
        assert!(why.contains("InsufficientInstanceCapacity: none"), "{why}");
    }
}
