//! The EC2 and load balancer calls that are used, typed.

use std::collections::{BTreeMap, BTreeSet};

use foreshadow_proto::convert::Id;

use super::fault::Fault;
use super::query::{Query, Service};
use super::xml::Element;
use crate::fleet::RunState;

/// Ids in one describing or tagging call; a filter takes up to 200 values.
const IDS_PER_CALL: usize = 100;
/// Instances on a page.
const PAGE: &str = "200";
/// No listing has more pages; a token that repeats for ever ends here.
const MOST_PAGES: usize = 100;

/// An instance as EC2 shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub instance: Id,
    pub state: RunState,
    pub zone: Option<String>,
    pub image: Option<String>,
    pub tags: BTreeMap<String, String>,
}

/// Version numbers of a launch template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    pub id: String,
    pub default: String,
    pub latest: String,
}

fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn numbered<'i>(prefix: &'i str, ids: &'i [Id]) -> impl Iterator<Item = (String, String)> + 'i {
    ids.iter().enumerate().map(move |(index, id)| (format!("{prefix}.{}", index + 1), id.as_str().to_owned()))
}

impl Query {
    /// Those of `instances` that EC2 knows; a filter, since one unknown id would fail the others.
    pub async fn instances(&self, instances: &[Id]) -> Result<Vec<Seen>, Fault> {
        let mut found = Vec::new();
        for ids in instances.chunks(IDS_PER_CALL) {
            let mut asked = fields(&[("Filter.1.Name", "instance-id")]);
            asked.extend(numbered("Filter.1.Value", ids));
            found.extend(self.pages(asked).await?);
        }
        Ok(found)
    }

    /// The instances of the account that carry a tag.
    pub async fn tagged(&self, tag: &str) -> Result<Vec<Seen>, Fault> {
        self.pages(fields(&[("Filter.1.Name", "tag-key"), ("Filter.1.Value.1", tag), ("MaxResults", PAGE)])).await
    }

    async fn pages(&self, asked: Vec<(String, String)>) -> Result<Vec<Seen>, Fault> {
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let mut asked = asked.clone();
            asked.extend(next.map(|token| ("NextToken".to_owned(), token)));
            let answer = self.call(Service::Ec2, "DescribeInstances", &asked).await?;
            if answer.child("reservationSet").is_none() {
                return Err(Fault::Lost("DescribeInstances: the answer has no reservationSet".to_owned()));
            }
            for reservation in answer.list(&["reservationSet"]) {
                for instance in reservation.list(&["instancesSet"]) {
                    found.push(seen(instance).map_err(Fault::Lost)?);
                }
            }
            next = answer.text_of("nextToken").map(str::to_owned);
            if next.is_none() {
                return Ok(found);
            }
        }
        Err(Fault::Lost(format!("DescribeInstances: more than {MOST_PAGES} pages")))
    }

    /// Whether an instance is protected from termination.
    pub async fn is_protected(&self, instance: &Id) -> Result<bool, Fault> {
        let asked = fields(&[("InstanceId", instance.as_str()), ("Attribute", "disableApiTermination")]);
        let answer = self.call(Service::Ec2, "DescribeInstanceAttribute", &asked).await?;
        match answer.child("disableApiTermination").and_then(|attribute| attribute.text_of("value")) {
            Some("false") => Ok(false),
            Some("true") => Ok(true),
            _ => Err(Fault::Lost("DescribeInstanceAttribute: no disableApiTermination".to_owned())),
        }
    }

    pub async fn set_tags(&self, instances: &[Id], tags: &[(&str, &str)]) -> Result<(), Fault> {
        for ids in instances.chunks(IDS_PER_CALL).filter(|_| !tags.is_empty()) {
            let mut asked: Vec<_> = numbered("ResourceId", ids).collect();
            for (index, (key, value)) in tags.iter().enumerate() {
                asked.push((format!("Tag.{}.Key", index + 1), (*key).to_owned()));
                asked.push((format!("Tag.{}.Value", index + 1), (*value).to_owned()));
            }
            self.call(Service::Ec2, "CreateTags", &asked).await?;
        }
        Ok(())
    }

    pub async fn remove_tags(&self, instances: &[Id], tags: &[&str]) -> Result<(), Fault> {
        for ids in instances.chunks(IDS_PER_CALL).filter(|_| !tags.is_empty()) {
            let mut asked: Vec<_> = numbered("ResourceId", ids).collect();
            // A key without a value: removed whatever its value is.
            let keys = tags.iter().enumerate();
            asked.extend(keys.map(|(index, key)| (format!("Tag.{}.Key", index + 1), (*key).to_owned())));
            self.call(Service::Ec2, "DeleteTags", &asked).await?;
        }
        Ok(())
    }

    /// One call: the caller makes the batches.
    pub async fn terminate(&self, instances: &[Id]) -> Result<(), Fault> {
        let asked: Vec<_> = numbered("InstanceId", instances).collect();
        self.call(Service::Ec2, "TerminateInstances", &asked).await.map(drop)
    }

    /// A launch template by `LaunchTemplateId.1` or `LaunchTemplateName.1`.
    pub async fn template(&self, by: &str, value: &str) -> Result<Template, Fault> {
        let answer = self.call(Service::Ec2, "DescribeLaunchTemplates", &fields(&[(by, value)])).await?;
        let read = |template: &Element| {
            Some(Template {
                id: template.text_of("launchTemplateId")?.to_owned(),
                default: template.text_of("defaultVersionNumber")?.to_owned(),
                latest: template.text_of("latestVersionNumber")?.to_owned(),
            })
        };
        let template = answer.list(&["launchTemplates"]).next().and_then(read);
        template.ok_or_else(|| Fault::Lost(format!("DescribeLaunchTemplates: nothing about {value}")))
    }

    /// Those of these images that are there; a filter, since one that is gone would fail the others.
    pub async fn images(&self, images: &[String]) -> Result<BTreeSet<String>, Fault> {
        let mut found = BTreeSet::new();
        for ids in images.chunks(IDS_PER_CALL) {
            let mut asked = fields(&[("Filter.1.Name", "image-id")]);
            let values = ids.iter().enumerate();
            asked.extend(values.map(|(index, id)| (format!("Filter.1.Value.{}", index + 1), id.clone())));
            let answer = self.call(Service::Ec2, "DescribeImages", &asked).await?;
            if answer.child("imagesSet").is_none() {
                return Err(Fault::Lost("DescribeImages: the answer has no imagesSet".to_owned()));
            }
            found.extend(answer.list(&["imagesSet"]).filter_map(|image| image.text_of("imageId")).map(str::to_owned));
        }
        Ok(found)
    }

    /// How long a target group lets the connections of who leaves come to an end, seconds.
    pub async fn deregistration_seconds(&self, target_group: &str) -> Result<u32, Fault> {
        let asked = fields(&[("TargetGroupArn", target_group)]);
        let answer = self.call(Service::LoadBalancing, "DescribeTargetGroupAttributes", &asked).await?;
        let mut attributes = answer.list(&["DescribeTargetGroupAttributesResult", "Attributes"]);
        let delay = attributes.find(|it| it.text_of("Key") == Some("deregistration_delay.timeout_seconds"));
        let seconds = delay.and_then(|delay| delay.text_of("Value")?.parse().ok());
        seconds.ok_or_else(|| {
            Fault::Lost("DescribeTargetGroupAttributes: no deregistration_delay.timeout_seconds".to_owned())
        })
    }

    /// Ids that a target group sends to or is finishing with.
    pub async fn targets(&self, target_group: &str) -> Result<BTreeSet<String>, Fault> {
        let asked = fields(&[("TargetGroupArn", target_group)]);
        let answer = self.call(Service::LoadBalancing, "DescribeTargetHealth", &asked).await?;
        let path = ["DescribeTargetHealthResult", "TargetHealthDescriptions"];
        if answer.at(&path).is_none() {
            return Err(Fault::Lost("DescribeTargetHealth: the answer has no TargetHealthDescriptions".to_owned()));
        }
        let used = answer.list(&path).filter(|target| {
            // A state that is missing or new counts as used.
            target.child("TargetHealth").and_then(|health| health.text_of("State")) != Some("unused")
        });
        let ids = used.filter_map(|target| target.child("Target").and_then(|target| target.text_of("Id")));
        Ok(ids.map(str::to_owned).collect())
    }
}

fn seen(instance: &Element) -> Result<Seen, String> {
    let id = instance.text_of("instanceId").unwrap_or_default();
    let state = match instance.child("instanceState").and_then(|state| state.text_of("name")) {
        Some("pending" | "running") => RunState::Running,
        Some("stopping" | "stopped") => RunState::Stopped,
        Some("shutting-down" | "terminated") => RunState::Ended,
        other => return Err(format!("DescribeInstances: {id} is in the unknown state {other:?}")),
    };
    let tags = instance.list(&["tagSet"]).filter_map(|tag| {
        let value = tag.child("value").map(|value| value.text.clone()).unwrap_or_default();
        Some((tag.text_of("key")?.to_owned(), value))
    });
    Ok(Seen {
        instance: Id::new("instance", id).map_err(|error| error.to_string())?,
        state,
        zone: instance
            .child("placement")
            .and_then(|placement| placement.text_of("availabilityZone"))
            .map(str::to_owned),
        image: instance.text_of("imageId").map(str::to_owned),
        tags: tags.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(state: &str) -> Element {
        let text = format!(
            "<item><instanceId>i-1</instanceId><instanceState><name>{state}</name></instanceState>\
             <tagSet><item><key>k</key><value> v</value></item><item><key>e</key><value/></item></tagSet></item>"
        );
        Element::parse(text.as_bytes()).expect("XML")
    }

    #[test]
    fn states_are_read_and_an_unknown_one_is_an_error() {
        for (word, state) in [
            ("pending", RunState::Running),
            ("running", RunState::Running),
            ("stopping", RunState::Stopped),
            ("stopped", RunState::Stopped),
            ("shutting-down", RunState::Ended),
            ("terminated", RunState::Ended),
        ] {
            assert_eq!(seen(&instance(word)).expect(word).state, state);
        }
        assert!(seen(&instance("sleeping")).is_err());
        let tags = seen(&instance("running")).expect("an instance").tags;
        assert_eq!(tags, BTreeMap::from([("k".to_owned(), " v".to_owned()), ("e".to_owned(), String::new())]));
    }
}
