//! Messages of the event queue, read leniently: whatever names an instance and its group, by whichever
//! name and however deep, is a hint. The shapes that are known:
//!
//! - EventBridge: `EC2 Instance Detach Successful` and its kind, lifecycle actions (source `aws.autoscaling`);
//! - EventBridge: `AWS API Call via CloudTrail`, where there is a trail: who asked for it;
//! - a lifecycle hook's own notification, without an envelope, and either of them through SNS.

use foreshadow_proto::convert::Id;
use serde_json::Value;

use crate::fleet::{HeardBy, Notice, shown_reason};

/// What a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Letter {
    /// Instances that may have moved.
    Moves(Vec<Notice>),
    /// Nothing to do: another group, a call that failed, a test.
    Other(String),
    Unreadable(String),
}

impl Letter {
    /// For metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Moves(_) => "moves",
            Self::Other(_) => "other",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

/// No event is nested deeper.
const DEEPEST: usize = 12;
/// No call names more instances.
const MOST_INSTANCES: usize = 200;

/// Reads a message; groups that are not among `groups` are another's.
pub(super) fn read(body: &str, groups: &[String]) -> Letter {
    let event: Value = match serde_json::from_str(body) {
        Ok(event) => event,
        Err(error) => return Letter::Unreadable(format!("it is not JSON: {error}")),
    };
    // Through SNS the event is a text in a notification.
    if event["Type"] == "Notification"
        && let Some(inner) = event["Message"].as_str()
        && let Ok(inner @ Value::Object(_)) = serde_json::from_str(inner)
    {
        return of(&inner, groups);
    }
    of(&event, groups)
}

fn of(event: &Value, groups: &[String]) -> Letter {
    let detail = event.get("detail").filter(|detail| detail.is_object()).unwrap_or(event);
    if !detail.is_object() {
        return Letter::Unreadable("it is not a JSON object".to_owned());
    }
    let kind = event["detail-type"].as_str().or_else(|| detail["Event"].as_str()).unwrap_or("an event");
    let trail = detail["eventName"].as_str();
    if let Some(call) = trail
        && let Some(code) = detail["errorCode"].as_str()
    {
        return Letter::Other(format!("{call} failed: {code}"));
    }
    if kind.contains("Unsuccessful") || kind.contains("TEST_NOTIFICATION") {
        return Letter::Other(kind.chars().take(80).collect());
    }
    let Some(group) = text(detail, "autoscalinggroupname", DEEPEST) else {
        return Letter::Other(format!("{} names no group", kind.chars().take(80).collect::<String>()));
    };
    let mut names = Vec::new();
    for key in ["ec2instanceid", "instanceid", "instanceids"] {
        all(detail, key, DEEPEST, &mut names);
    }
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Letter::Other(format!("{} names no instance", kind.chars().take(80).collect::<String>()));
    }
    if !groups.iter().any(|own| own == group) {
        return Letter::Other("it is about a group that is not watched".to_owned());
    }
    let why = match trail {
        Some(call) => who(&detail["userIdentity"]).map(|who| format!("{who} called {call}")),
        // Who comes in has no reason to leave.
        None if kind.contains("Launch") => None,
        None => detail["Cause"].as_str().map(str::to_owned),
    };
    let why = why.and_then(|why| shown_reason(&why));
    let activity = detail["ActivityId"].as_str().filter(|id| (1..=128).contains(&id.len())).map(str::to_owned);
    let heard_by = if trail.is_some() { HeardBy::Trail } else { HeardBy::Event };
    let Ok(group) = Id::new("group", group) else { return Letter::Unreadable("its group cannot be used".to_owned()) };
    let notices = names.into_iter().take(MOST_INSTANCES).filter_map(|name| {
        let instance = Id::new("instance", name).ok()?;
        Some(Notice { group: group.clone(), instance, activity: activity.clone(), heard_by, why: why.clone() })
    });
    let notices: Vec<Notice> = notices.collect();
    if notices.is_empty() {
        Letter::Unreadable("its instances cannot be used".to_owned())
    } else {
        Letter::Moves(notices)
    }
}

fn who(identity: &Value) -> Option<String> {
    let names = ["arn", "userName", "principalId", "invokedBy"].into_iter();
    names.filter_map(|name| identity[name].as_str()).find(|name| !name.is_empty()).map(str::to_owned)
}

/// The first text under a key, whatever its case and place.
fn text<'v>(value: &'v Value, key: &str, deep: usize) -> Option<&'v str> {
    if deep == 0 {
        return None;
    }
    match value {
        Value::Object(fields) => {
            let own =
                fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).and_then(|(_, value)| value.as_str());
            own.filter(|text| !text.is_empty()).or_else(|| fields.values().find_map(|value| text(value, key, deep - 1)))
        }
        Value::Array(values) => values.iter().find_map(|value| text(value, key, deep - 1)),
        _ => None,
    }
}

/// Every text under a key, or in what stands under it.
fn all<'v>(value: &'v Value, key: &str, deep: usize, found: &mut Vec<&'v str>) {
    if deep == 0 {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name.eq_ignore_ascii_case(key) {
                    texts(value, deep - 1, found);
                } else {
                    all(value, key, deep - 1, found);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| all(value, key, deep - 1, found)),
        _ => {}
    }
}

fn texts<'v>(value: &'v Value, deep: usize, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) if !text.is_empty() => found.push(text),
        Value::Array(values) if deep > 0 => values.iter().for_each(|value| texts(value, deep - 1, found)),
        Value::Object(fields) if deep > 0 => fields.values().for_each(|value| texts(value, deep - 1, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn letter(body: &Value) -> Letter {
        read(&body.to_string(), &["web".to_owned()])
    }

    /// The instances of the moves, with activity and reason of the first.
    fn moves(body: &Value) -> (Vec<String>, Option<String>, HeardBy, Option<String>) {
        let Letter::Moves(notices) = letter(body) else { panic!("no moves: {:?}", letter(body)) };
        assert!(notices.iter().all(|notice| notice.group.as_str() == "web"));
        let first = notices[0].clone();
        let ids = notices.iter().map(|notice| notice.instance.to_string()).collect();
        (ids, first.activity, first.heard_by, first.why)
    }

    fn detached() -> Value {
        json!({
            "version": "0", "id": "1", "detail-type": "EC2 Instance Detach Successful", "source": "aws.autoscaling",
            "detail": {
                "StatusCode": "InProgress", "AutoScalingGroupName": "web", "ActivityId": "a-1", "EC2InstanceId": "i-1",
                "Details": {"Availability Zone": "us-east-1b"},
                "Cause": "At 2026-01-01T00:00:00Z instance i-1 was detached in response to a user request; so it was"
            }
        })
    }

    #[test]
    fn every_known_shape_names_group_and_instance() {
        let why = "At 2026-01-01T00:00:00Z instance i-1 was detached in response to a user request, so it was";
        let event = (vec!["i-1".to_owned()], Some("a-1".to_owned()), HeardBy::Event, Some(why.to_owned()));
        assert_eq!(moves(&detached()), event);
        let by_sns = json!({"Type": "Notification", "TopicArn": "arn:x", "Message": detached().to_string()});
        assert_eq!(moves(&by_sns), event);
        let lifecycle = json!({
            "detail-type": "EC2 Instance-terminate Lifecycle Action",
            "detail": {"LifecycleActionToken": "t", "AutoScalingGroupName": "web", "LifecycleHookName": "h",
                       "EC2InstanceId": "i-2", "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING"}
        });
        assert_eq!(moves(&lifecycle), (vec!["i-2".to_owned()], None, HeardBy::Event, None));
        assert_eq!(moves(&lifecycle["detail"]).0, ["i-2"], "a hook's own notification has no envelope");
        let trail = |parameters: Value| {
            json!({
                "detail-type": "AWS API Call via CloudTrail",
                "detail": {"eventSource": "autoscaling.amazonaws.com", "eventName": "DetachInstances",
                           "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::1:user/ana", "userName": "ana"},
                           "requestParameters": parameters}
            })
        };
        let ana = Some("arn:aws:iam::1:user/ana called DetachInstances".to_owned());
        let two = (vec!["i-1".to_owned(), "i-2".to_owned()], None, HeardBy::Trail, ana);
        let parameters = json!({"autoScalingGroupName": "web", "instanceIds": ["i-1", "i-2"]});
        assert_eq!(moves(&trail(parameters)), two);
        let odd = json!({"AutoScalingGroupName": "web", "instanceIds": {"items": [{"value": "i-2"}, "i-1", "i-1"]}});
        assert_eq!(moves(&trail(odd)), two);
    }

    #[test]
    fn what_says_nothing_of_our_groups_is_other_and_what_cannot_be_read_is_told() {
        let mut unsuccessful = detached();
        unsuccessful["detail-type"] = "EC2 Instance Detach Unsuccessful".into();
        let mut foreign = detached();
        foreign["detail"]["AutoScalingGroupName"] = "webs".into();
        let mut nobody = detached();
        nobody["detail"]["EC2InstanceId"] = Value::Null;
        let failed = json!({"detail": {"eventName": "DetachInstances", "errorCode": "AccessDenied",
                            "requestParameters": {"autoScalingGroupName": "web", "instanceIds": ["i-1"]}}});
        let test = json!({"Event": "autoscaling:TEST_NOTIFICATION", "AutoScalingGroupName": "web"});
        for other in [
            unsuccessful,
            foreign,
            nobody,
            failed,
            test,
            json!({}),
            json!({"Type": "Notification", "Message": "hello"}),
        ] {
            assert!(matches!(letter(&other), Letter::Other(_)), "{other}");
        }
        let mut odd = detached();
        odd["detail"]["EC2InstanceId"] = "i 1\u{7}".into();
        for unreadable in [odd, json!("text"), json!([1])] {
            assert!(matches!(letter(&unreadable), Letter::Unreadable(_)), "{unreadable}");
        }
        let nested = format!("{}{}", "[".repeat(100), "]".repeat(100));
        for body in ["", "not json", nested.as_str(), "{\"detail\": {\"AutoScalingGroupName\": \"web\"", "\u{0}"] {
            assert!(matches!(read(body, &["web".to_owned()]), Letter::Unreadable(_)), "{body}");
        }
    }
}
