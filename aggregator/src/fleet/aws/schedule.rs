//! Scheduled actions: the provider changes the sizes of a group at a time that was written down.

use std::collections::BTreeMap;

use aws_sdk_autoscaling::types::ScheduledUpdateGroupAction;
use futures::StreamExt as _;

use super::AwsFleet;
use super::describe::{AT_ONCE, FEW};
use super::fault::shown;

/// What comes later than this does not count yet, seconds: the usual shadow window, in which who is taken away is not back.
const WITHIN: i64 = 3_600;

impl AwsFleet {
    /// Of each group the scheduled action by which the provider may soon scale it in; an error is a problem that is shown.
    pub(super) async fn schedules(&self, groups: &[String]) -> BTreeMap<String, Result<Option<String>, String>> {
        // As its policies are asked for: of each while they are few, else those of the whole account.
        let each = groups.len() <= FEW;
        let asked: Vec<Option<String>> =
            if each { groups.iter().cloned().map(Some).collect() } else { Vec::from([None]) };
        let asked: Vec<_> = asked.into_iter().map(|group| self.scheduled(group)).collect();
        let heard: Vec<_> = futures::stream::iter(asked).buffered(AT_ONCE).collect().await;
        let now = self.clock.wall_micros().div_euclid(1_000_000);
        let of = |(index, group): (usize, &String)| {
            let actions = match heard.get(if each { index } else { 0 })? {
                Ok(actions) => Ok(lowering(actions, group, now)),
                Err(code) => Err(format!("{group}: DescribeScheduledActions: {code}")),
            };
            Some((group.clone(), actions))
        };
        groups.iter().enumerate().filter_map(of).collect()
    }

    /// The scheduled actions of a group, or of the account, that have not run or run again.
    async fn scheduled(&self, group: Option<String>) -> Result<Vec<ScheduledUpdateGroupAction>, String> {
        let mut found = Vec::new();
        let mut next_token = None;
        loop {
            let asked = self.client.describe_scheduled_actions().set_auto_scaling_group_name(group.clone());
            let asked = asked.set_next_token(next_token);
            let page = self.read(|| asked.clone().send()).await;
            let page = page.map_err(|fault| fault.code().unwrap_or("failed").to_owned())?;
            found.extend(page.scheduled_update_group_actions.unwrap_or_default());
            next_token = page.next_token.filter(|token| !token.is_empty());
            if next_token.is_none() {
                return Ok(found);
            }
        }
    }
}

/// The first by name of a group's actions that may lower it: the same at every look.
fn lowering(actions: &[ScheduledUpdateGroupAction], group: &str, now: i64) -> Option<String> {
    let own = actions.iter().filter(|it| it.auto_scaling_group_name.as_deref() == Some(group) && may_lower(it, now));
    own.map(|it| shown(it.scheduled_action_name.as_deref().unwrap_or_default())).min()
}

/// Whatever it sets them to: a desired capacity that is more than now may be less than there is by then. A minimum alone ends
/// nobody. Nothing of a recurrence runs before its start, be that its next time or its first; after it any hour may be its next. What
/// was to run once and long ago was kept back, and is not made up for.
fn may_lower(action: &ScheduledUpdateGroupAction, now: i64) -> bool {
    let once = action.recurrence.is_none() && action.start_time.is_some_and(|start| start.secs() < now - WITHIN);
    let over = once || action.end_time.is_some_and(|end| end.secs() < now);
    let later = action.start_time.is_some_and(|start| start.secs() > now + WITHIN);
    (action.desired_capacity.is_some() || action.max_size.is_some()) && !over && !later
}

#[cfg(test)]
mod tests {
    use aws_sdk_autoscaling::primitives::DateTime;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn what_sets_desired_or_maximum_within_the_hour_or_again_and_again_may_lower_and_nothing_else() {
        let at = |seconds: i64| DateTime::from_secs(NOW + seconds);
        let action = ScheduledUpdateGroupAction::builder;
        let desired = || action().desired_capacity(9);
        for (may, action) in [
            (true, desired().start_time(at(3_599))),
            (true, desired().start_time(at(-30))),
            (true, desired()),
            (true, action().max_size(3).min_size(1).start_time(at(60))),
            (true, desired().recurrence("0 22 * * *")),
            (true, desired().recurrence("0 22 * * *").start_time(at(-86_400)).end_time(at(60))),
            (false, desired().recurrence("0 22 * * *").start_time(at(-86_400)).end_time(at(-60))),
            (false, desired().recurrence("0 22 * * *").start_time(at(3_601))),
            (false, desired().start_time(at(3_601))),
            (true, desired().start_time(at(-3_600))),
            (false, desired().start_time(at(-3_601))),
            (false, action().min_size(9).start_time(at(60))),
            (false, action().min_size(0).recurrence("0 22 * * *")),
            (false, action().start_time(at(60))),
        ] {
            let action = action.build();
            assert_eq!(may_lower(&action, NOW), may, "{action:?}");
        }
    }

    #[test]
    fn each_group_has_its_own_and_the_first_of_them_by_name_is_told() {
        let action = |group: &str, name: &str, desired: Option<i32>| {
            let action =
                ScheduledUpdateGroupAction::builder().auto_scaling_group_name(group).scheduled_action_name(name);
            action.set_desired_capacity(desired).build()
        };
        let all = [
            action("web", "night", Some(2)),
            action("web", "evening", Some(4)),
            action("web", "a", None),
            action("api", "b", None),
        ];
        assert_eq!(lowering(&all, "web", NOW).as_deref(), Some("evening"));
        assert_eq!(lowering(&all, "api", NOW), None);
        assert_eq!(lowering(&all, "we", NOW), None);
    }
}
