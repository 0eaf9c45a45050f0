//! Why instances moved, by Auto Scaling's own list of what it did: for people. Its texts are no
//! contract, so nothing else is read from them than which instance they name.

use aws_sdk_autoscaling::types::{Activity, Filter};
use foreshadow_proto::convert::Id;

use super::AwsFleet;
use crate::fleet::{FleetError, HeardBy, Notice, shown_reason};

/// The newest activities of a group that are looked through.
const LOOKED_THROUGH: i32 = 100;

impl AwsFleet {
    /// One page, newest first: a group that does more within minutes is not explained to the last.
    pub(super) async fn recorded(&self, group: &Id, instances: &[Id], since: i64) -> Result<Vec<Notice>, FleetError> {
        let from = jiff::Timestamp::from_second(since).map(|time| time.to_string()).unwrap_or_default();
        let asked = self
            .client
            .describe_scaling_activities()
            .auto_scaling_group_name(group.as_str())
            .max_records(LOOKED_THROUGH)
            .filters(Filter::builder().name("StartTimeLowerBound").values(from).build());
        let page = self.read(|| asked.clone().send()).await;
        let page = page.map_err(|fault| fault.error("autoscaling:DescribeScalingActivities"))?;
        let all = page.activities.unwrap_or_default();
        Ok(instances.iter().filter_map(|instance| notice(group, instance, &all)).collect())
    }
}

/// The newest activity that names an instance and did not bring it.
fn notice(group: &Id, instance: &Id, activities: &[Activity]) -> Option<Notice> {
    let names = |activity: &&Activity| {
        let description = activity.description.as_deref().unwrap_or_default();
        let named = description.split(|c: char| c.is_whitespace() || c == ',').any(|word| word == instance.as_str());
        named && !description.starts_with("Launching") && !description.starts_with("Attaching")
    };
    let activity = activities.iter().find(names)?;
    Some(Notice {
        group: group.clone(),
        instance: instance.clone(),
        activity: activity.activity_id.clone(),
        heard_by: HeardBy::Activities,
        why: activity.cause.as_deref().and_then(shown_reason),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_activity_that_takes_the_instance_away_is_the_reason() {
        let activity = |id: &str, description: &str| {
            Activity::builder().activity_id(id).description(description).cause(format!("cause {id}")).build()
        };
        let all = [
            activity("a-4", "Launching a new EC2 instance: i-1"),
            activity("a-3", "Detaching EC2 instance: i-12"),
            activity("a-2", "Moving EC2 instance to Standby: i-1"),
            activity("a-1", "Detaching EC2 instance: i-1"),
        ];
        let id = |name: &str| Id::new("id", name).expect("an id");
        let found = notice(&id("web"), &id("i-1"), &all).expect("it is named");
        assert_eq!((found.activity.as_deref(), found.why.as_deref()), (Some("a-2"), Some("cause a-2")));
        assert_eq!(notice(&id("web"), &id("i-9"), &all), None);
    }
}
