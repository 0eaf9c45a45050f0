//! Groups as Auto Scaling shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use aws_sdk_autoscaling::types::{AutoScalingGroup, Instance, ScalingPolicy};
use foreshadow_proto::convert::Id;
use futures::StreamExt as _;
use planner::evidence::Pick;

use super::AwsFleet;
use super::fault::{Fault, shown};
use super::launch::counts_in_units;
use super::version::{plain, version};
use super::zones::evens_zones;
use crate::fleet::{CLAIMED_TAG, FleetError, GroupInventory, Inventory, Lifecycle, MINIMUM_TAG, Member, OWNER_TAG};

/// Names in one describe call; AWS takes up to 50.
const NAMES_PER_CALL: usize = 50;
/// Up to so many groups the policies and scheduled actions of each are asked for; beyond, those of the whole account, page by page.
pub(super) const FEW: usize = 4;
/// Calls that are under way at the same time.
pub(super) const AT_ONCE: usize = 8;
/// With more groups than one call names, whether one deploys is asked this often, µs. Right before a change it is asked anew.
const DEPLOYING_KEPT_MICROS: i64 = 60_000_000;
/// How long a target group lets connections end is asked this often, µs: it changes with a deploy, if ever.
const DELAY_KEPT_MICROS: i64 = 600_000_000;
const DESCRIBE: &str = "autoscaling:DescribeAutoScalingGroups";

/// Something that was asked a while ago, by name, with when (µs since the epoch).
pub(super) type Kept<T> = BTreeMap<String, (i64, T)>;

impl AwsFleet {
    /// The named groups. `whole`: all that there are, as they are looked at again and again.
    pub(super) async fn inventory(&self, wanted: &[String], whole: bool) -> Result<Inventory, FleetError> {
        let taken_micros = self.clock.wall_micros();
        let pages = self.pages(wanted).await.map_err(|fault| fault.error(DESCRIBE))?;
        let mut inventory = Inventory { taken_micros, complete: true, ..Inventory::default() };
        let names: Vec<String> = pages.iter().filter_map(|group| group.auto_scaling_group_name.clone()).collect();
        let (foreign, scheduled) = futures::join!(self.foreign_scale_in(&names), self.schedules(&names));
        let deploying = self.deploying(&names, whole && wanted.len() > NAMES_PER_CALL).await;
        let (templates, delays) = (self.templates(&pages).await, self.delays(&pages).await);
        let (credits, uncredited) = self.credits(&pages, whole).await;
        for group in &pages {
            let name = group.auto_scaling_group_name.as_deref().unwrap_or_default();
            let Ok(id) = Id::new("group", name) else {
                inventory.problems.push(format!("the group name {name:?} cannot be used"));
                inventory.missing.insert(name.to_owned());
                continue;
            };
            let mut found = group_inventory(group, &mut inventory);
            for member in &mut found.members {
                member.cpu_credits = credits.get(member.instance.as_str()).copied();
            }
            // Who may be slowed down already is not known to carry what it carries: nobody is taken from beside it.
            if let Some(problem) = found.members.iter().find_map(|it| uncredited.get(it.instance.as_str())) {
                found.untold = true;
                inventory.problems.push(format!("{name}: CPU credits are not known: {problem}"));
            }
            found.version = version(group, &templates, &mut inventory.problems);
            found.deregistration_seconds = deregistration(group, &delays, &mut inventory.problems);
            let nothing = || format!("{name}: nothing was said of it");
            let unknown = || Err(nothing());
            match foreign.get(name).cloned().unwrap_or_else(unknown) {
                Ok(foreign) => found.foreign_scale_in = foreign,
                Err(problem) => {
                    found.untold = true;
                    inventory.problems.push(problem);
                }
            }
            match scheduled.get(name).cloned().unwrap_or_else(|| Err(nothing())) {
                Ok(None) => {}
                Ok(Some(action)) => {
                    inventory.problems.push(format!("{name}: the scheduled action {action:?} may scale it in as well"));
                    // A schedule is the user's word and no answer to load: no floor is put in its way, which it would fail at.
                    if !found.foreign_scale_in && own_minimum(group).is_none() {
                        found.floor = None;
                    }
                    found.foreign_scale_in = true;
                }
                Err(problem) => {
                    found.untold = true;
                    inventory.problems.push(problem);
                }
            }
            match deploying.get(name).cloned().unwrap_or_else(unknown) {
                Ok(deploying) => found.deploying = deploying,
                Err(problem) => {
                    found.untold = true;
                    inventory.problems.push(problem);
                }
            }
            inventory.groups.insert(id, found);
        }
        // One group that is not there says nothing of the others: every page was read.
        for wanted in wanted {
            if !names.contains(wanted) {
                inventory
                    .problems
                    .push(format!("no Auto Scaling group is called {wanted:?} in this account and region"));
                inventory.missing.insert(wanted.clone());
            }
        }
        Ok(inventory)
    }

    /// One group as it is now; `None` when there is none of that name.
    pub(super) async fn group(&self, group: &Id) -> Result<Option<AutoScalingGroup>, Fault> {
        Ok(self.pages(&[group.as_str().to_owned()]).await?.pop())
    }

    async fn pages(&self, groups: &[String]) -> Result<Vec<AutoScalingGroup>, Fault> {
        let mut found = Vec::new();
        for names in groups.chunks(NAMES_PER_CALL) {
            let mut next_token = None;
            loop {
                let asked = self
                    .client
                    .describe_auto_scaling_groups()
                    .set_auto_scaling_group_names(Some(names.to_vec()))
                    .set_next_token(next_token);
                let page = self.read(|| asked.clone().send()).await?;
                found.extend(page.auto_scaling_groups.unwrap_or_default());
                next_token = page.next_token.filter(|token| !token.is_empty());
                if next_token.is_none() {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Of each group whether a policy of the provider may scale it in; an error is a problem that is shown.
    async fn foreign_scale_in(&self, groups: &[String]) -> BTreeMap<String, Result<bool, String>> {
        if groups.len() <= FEW {
            let asked: Vec<_> = groups.iter().map(|name| self.foreign_in(name.clone())).collect();
            return futures::stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
        }
        let policies = self.policies(None).await;
        let foreign: Result<BTreeSet<&str>, &String> = policies.as_ref().map(|policies| {
            let foreign = policies.iter().filter(|policy| scales_in(policy));
            foreign.filter_map(|policy| policy.auto_scaling_group_name.as_deref()).collect()
        });
        let of = |name: &String| match &foreign {
            Ok(foreign) => Ok(foreign.contains(name.as_str())),
            Err(code) => Err(format!("{name}: DescribePolicies: {code}")),
        };
        groups.iter().map(|name| (name.clone(), of(name))).collect()
    }

    async fn foreign_in(&self, group: String) -> (String, Result<bool, String>) {
        let policies = self.policies(Some(&group)).await;
        let foreign = policies.map(|policies| policies.iter().any(scales_in));
        let foreign = foreign.map_err(|code| format!("{group}: DescribePolicies: {code}"));
        (group, foreign)
    }

    /// The policies of a group, or of the account.
    async fn policies(&self, group: Option<&str>) -> Result<Vec<ScalingPolicy>, String> {
        let mut found = Vec::new();
        let mut next_token = None;
        loop {
            let asked = self.client.describe_policies().set_auto_scaling_group_name(group.map(str::to_owned));
            let asked = asked.set_next_token(next_token);
            let page = self.read(|| asked.clone().send()).await;
            let page = page.map_err(|fault| fault.code().unwrap_or("failed").to_owned())?;
            found.extend(page.scaling_policies.unwrap_or_default());
            next_token = page.next_token.filter(|token| !token.is_empty());
            if next_token.is_none() {
                return Ok(found);
            }
        }
    }

    /// Of each group whether an instance refresh runs. `kept`: what was heard a moment ago will do.
    async fn deploying(&self, groups: &[String], kept: bool) -> BTreeMap<String, Result<bool, String>> {
        let since = self.clock.wall_micros() - DEPLOYING_KEPT_MICROS;
        let known: BTreeMap<String, bool> = {
            let known = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = known.iter().filter(|(_, (at, _))| kept && *at >= since);
            fresh.map(|(name, (_, deploying))| (name.clone(), *deploying)).collect()
        };
        let asked = groups.iter().filter(|name| !known.contains_key(*name));
        let asked: Vec<_> = asked.map(|name| self.refreshes(name.clone())).collect();
        let asked = futures::stream::iter(asked).buffer_unordered(AT_ONCE);
        let heard: BTreeMap<String, Result<bool, String>> = asked.collect().await;
        let now = self.clock.wall_micros();
        let mut keeping = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, deploying) in &heard {
            match deploying {
                Ok(deploying) => drop(keeping.insert(name.clone(), (now, *deploying))),
                Err(_) => drop(keeping.remove(name)),
            }
        }
        drop(keeping);
        known.into_iter().map(|(name, deploying)| (name, Ok(deploying))).chain(heard).collect()
    }

    async fn refreshes(&self, group: String) -> (String, Result<bool, String>) {
        let asked = self.client.describe_instance_refreshes().auto_scaling_group_name(group.as_str());
        let deploying = match self.read(|| asked.clone().send()).await {
            Ok(answer) => Ok(answer.instance_refreshes.unwrap_or_default().iter().any(|refresh| {
                let status = refresh.status.as_ref().map_or("", |status| status.as_str());
                matches!(status, "Pending" | "InProgress" | "Cancelling" | "RollbackInProgress" | "Baking")
            })),
            Err(fault) => Err(format!("{group}: DescribeInstanceRefreshes: {}", fault.code().unwrap_or("failed"))),
        };
        (group, deploying)
    }

    /// How long each of these target groups lets connections end, seconds; what was heard a while ago will do.
    async fn delays(&self, groups: &[AutoScalingGroup]) -> BTreeMap<String, Result<u32, String>> {
        let since = self.clock.wall_micros() - DELAY_KEPT_MICROS;
        let all: BTreeSet<&String> = groups.iter().flat_map(|group| group.target_group_arns.iter().flatten()).collect();
        let known: BTreeMap<String, u32> = {
            let known = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = known.iter().filter(|(name, (at, _))| all.contains(name) && *at > since);
            fresh.map(|(name, (_, seconds))| (name.clone(), *seconds)).collect()
        };
        let asked = all.into_iter().filter(|name| !known.contains_key(*name));
        let asked: Vec<_> = asked.map(|name| self.delay(name.clone())).collect();
        let heard = futures::stream::iter(asked).buffer_unordered(AT_ONCE);
        let heard: BTreeMap<String, Result<u32, String>> = heard.collect().await;
        let now = self.clock.wall_micros();
        let mut keeping = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, seconds) in &heard {
            match seconds {
                Ok(seconds) => drop(keeping.insert(name.clone(), (now, *seconds))),
                Err(_) => drop(keeping.remove(name)),
            }
        }
        drop(keeping);
        known.into_iter().map(|(name, seconds)| (name, Ok(seconds))).chain(heard).collect()
    }

    async fn delay(&self, target_group: String) -> (String, Result<u32, String>) {
        let seconds = self.query.deregistration_seconds(&target_group).await;
        let seconds = seconds.map_err(|fault| {
            let problem = fault.problem("elasticloadbalancing:DescribeTargetGroupAttributes");
            format!("how long {target_group} drains is not known: {problem}")
        });
        (target_group, seconds)
    }
}

/// The longest of its target groups, seconds. `None` where it has none, or one of them is not known.
fn deregistration(
    group: &AutoScalingGroup,
    delays: &BTreeMap<String, Result<u32, String>>,
    problems: &mut Vec<String>,
) -> Option<u32> {
    let mut longest = None;
    for target_group in group.target_group_arns.iter().flatten() {
        match delays.get(target_group)? {
            Ok(seconds) => longest = longest.max(Some(*seconds)),
            Err(problem) => {
                problems.push(format!("{}: {problem}", group.auto_scaling_group_name.as_deref().unwrap_or_default()));
                return None;
            }
        }
    }
    longest
}

/// A policy of the provider that may scale a group in.
fn scales_in(policy: &ScalingPolicy) -> bool {
    let enabled = policy.enabled.unwrap_or(true);
    let tracking = policy.target_tracking_configuration.as_ref();
    // A target tracking policy scales in unless told not to; a simple or step policy may.
    let scales_in = tracking.is_none_or(|tracking| !tracking.disable_scale_in.unwrap_or(false));
    enabled && scales_in && policy.policy_type.as_deref() != Some("PredictiveScaling")
}

pub(super) fn tag<'g>(group: &'g AutoScalingGroup, key: &str) -> Option<&'g str> {
    let tags = group.tags.as_deref().unwrap_or_default();
    tags.iter().find(|tag| tag.key.as_deref() == Some(key)).and_then(|tag| tag.value.as_deref())
}

pub(super) fn size(size: Option<i32>) -> u32 {
    size.and_then(|size| u32::try_from(size).ok()).unwrap_or_default()
}

/// What the tag [`MINIMUM_TAG`] of a group says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeptMinimum {
    /// The user's own MinSize.
    pub own: u32,
    /// What ours is, or is about to be. Nothing in a tag of an older build, which kept the user's own alone.
    pub raised: Vec<u32>,
}

impl KeptMinimum {
    pub(super) fn of(group: &AutoScalingGroup) -> Option<Self> {
        let text = tag(group, MINIMUM_TAG)?;
        let (own, raised) = text.split_once(RAISED).unwrap_or((text, ""));
        let raised = raised.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Self { own: own.trim().parse().ok()?, raised })
    }

    /// As it stands in the tag.
    pub(super) fn text(&self) -> String {
        let raised: Vec<String> = self.raised.iter().map(u32::to_string).collect();
        format!("{}{RAISED}{}", self.own, raised.join(" "))
    }
}

/// Between the user's own MinSize and ours, in the tag.
const RAISED: &str = " raised to ";

/// The user's own MinSize while ours is above it. A MinSize that we never raised to is the user's, whatever the tag says: a tag that
/// was left over, since whoever was to take it off died, says nothing of what the user sets after that.
pub(super) fn own_minimum(group: &AutoScalingGroup) -> Option<u32> {
    let (kept, minimum) = (KeptMinimum::of(group)?, size(group.min_size));
    let ours = kept.own < minimum && (kept.raised.is_empty() || kept.raised.contains(&minimum));
    ours.then_some(kept.own)
}

/// A member that cannot be read leaves `whole` incomplete: a fleet that is not wholly known loses nobody.
fn group_inventory(group: &AutoScalingGroup, whole: &mut Inventory) -> GroupInventory {
    let name = group.auto_scaling_group_name.as_deref().unwrap_or_default();
    let units = counts_in_units(group);
    if units {
        whole.problems.push(format!(
            "{name} counts in units (WeightedCapacity), not in instances: it is observed and never changed"
        ));
    }
    let members = group.instances.as_deref().unwrap_or_default().iter().filter_map(|instance| match member(instance) {
        Ok(member) => Some(member),
        Err(problem) => {
            whole.complete = false;
            whole.problems.push(format!("{name}: a member cannot be read: {problem}"));
            None
        }
    });
    let zones = group.availability_zones.iter().flatten();
    GroupInventory {
        minimum: own_minimum(group).unwrap_or(size(group.min_size)),
        floor: Some(size(group.min_size)),
        maximum: size(group.max_size),
        // In units it says nothing of who is on their way.
        desired: if units { 0 } else { size(group.desired_capacity) },
        members: members.collect(),
        zones: zones.filter_map(|zone| Id::new("zone", zone).ok()).collect(),
        evens_zones: evens_zones(group),
        termination: group.termination_policies.iter().flatten().filter_map(|word| pick(word)).collect(),
        owner: tag(group, OWNER_TAG).filter(|owner| !owner.is_empty()).map(str::to_owned),
        claimed: tag(group, CLAIMED_TAG).and_then(|at| at.parse().ok()),
        ..GroupInventory::default()
    }
}

/// A termination policy in the planner's words. What goes by the billing hour, by prices or by a function of the
/// user's is left out: the next of the group's policies decides.
fn pick(word: &str) -> Option<Pick> {
    match word {
        "Default" | "OldestLaunchConfiguration" | "OldestLaunchTemplate" => Some(Pick::OldVersion),
        "OldestInstance" => Some(Pick::Oldest),
        "NewestInstance" => Some(Pick::Newest),
        _ => None,
    }
}

fn member(instance: &Instance) -> Result<Member, String> {
    let id = instance.instance_id.as_deref().unwrap_or_default();
    Ok(Member {
        instance: Id::new("instance", id).map_err(|error| shown(&format!("{id:?}: {error}")))?,
        instance_type: instance.instance_type.as_deref().and_then(|name| Id::new("type", name).ok()),
        zone: instance.availability_zone.as_deref().and_then(|name| Id::new("zone", name).ok()),
        lifecycle: lifecycle(instance),
        protected: instance.protected_from_scale_in.unwrap_or(false),
        // What $Latest was when it was launched is not known: only a number counts.
        version: instance.launch_configuration_name.clone().or_else(|| plain(instance.launch_template.as_ref())),
        cpu_credits: None,
    })
}

pub(super) fn lifecycle(instance: &Instance) -> Lifecycle {
    Lifecycle::from_word(instance.lifecycle_state.as_ref().map_or("", |state| state.as_str()))
}

#[cfg(test)]
mod tests {
    use aws_sdk_autoscaling::types::TagDescription;

    use super::*;

    #[test]
    fn the_users_minimum_counts_only_while_ours_is_above_it() {
        let group = |min: i32, value: &str| {
            let tag = TagDescription::builder().key(MINIMUM_TAG).value(value).build();
            AutoScalingGroup::builder().min_size(min).tags(tag).build()
        };
        assert_eq!(own_minimum(&group(8, "2")), Some(2));
        assert_eq!(group_inventory(&group(8, "2"), &mut Inventory::default()).minimum, 2);
        for min in [6, 8] {
            assert_eq!(own_minimum(&group(min, "2 raised to 6 8")), Some(2), "raised from 6 to 8, or not yet");
        }
        // Raised and not yet, or no longer, or by somebody else, or nonsense: MinSize itself is the user's.
        for (min, value) in [
            (2, "2"),
            (1, "2"),
            (2, "2 raised to 6"),
            (5, "2 raised to 6"),
            (7, "2 raised to 6 8"),
            (9, "2 raised to 6 8"),
            (8, "2 raised to 6 eight"),
            (8, "two"),
            (8, ""),
            (8, "-1"),
        ] {
            assert_eq!(own_minimum(&group(min, value)), None, "{min} {value}");
            let read = group_inventory(&group(min, value), &mut Inventory::default()).minimum;
            assert_eq!(read, u32::try_from(min).expect("a size"));
        }
    }

    #[test]
    fn what_is_kept_of_a_minimum_is_read_as_it_was_written() {
        let kept = KeptMinimum { own: 2, raised: vec![6, 8] };
        assert_eq!(kept.text(), "2 raised to 6 8");
        let tag = TagDescription::builder().key(MINIMUM_TAG).value(kept.text()).build();
        assert_eq!(KeptMinimum::of(&AutoScalingGroup::builder().tags(tag).build()), Some(kept));
    }

    #[test]
    fn zones_and_termination_policies_are_read_in_their_order() {
        let group = AutoScalingGroup::builder()
            .set_availability_zones(Some(vec!["b".to_owned(), "a".to_owned()]))
            .set_termination_policies(Some(
                ["ClosestToNextInstanceHour", "NewestInstance", "Default", "arn:aws:lambda:x"]
                    .map(str::to_owned)
                    .to_vec(),
            ));
        let read = group_inventory(&group.build(), &mut Inventory::default());
        assert_eq!(read.zones.iter().map(Id::as_str).collect::<Vec<_>>(), ["b", "a"]);
        assert!(read.evens_zones);
        assert_eq!(read.termination, [Pick::Newest, Pick::OldVersion]);
    }

    #[test]
    fn a_member_that_cannot_be_read_leaves_the_inventory_incomplete_and_is_named() {
        let read = |ids: &[&str]| {
            let instances = ids.iter().map(|id| Instance::builder().instance_id(*id).build()).collect();
            let group = AutoScalingGroup::builder().auto_scaling_group_name("web").set_instances(Some(instances));
            let mut whole = Inventory { complete: true, ..Inventory::default() };
            let found = group_inventory(&group.build(), &mut whole);
            (found.members.len(), whole.complete, whole.problems)
        };
        assert_eq!(read(&["i-1", "i-2"]), (2, true, Vec::new()));
        for odd in ["", "i 2"] {
            let (members, complete, problems) = read(&["i-1", odd]);
            assert_eq!((members, complete, problems.len()), (1, false, 1), "{odd:?}");
            assert!(problems[0].starts_with(&format!("web: a member cannot be read: {odd:?}")), "{problems:?}");
        }
    }
}
