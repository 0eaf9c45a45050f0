//! A local AWS: moto's server with an Auto Scaling group, spoken to by signed-free query calls.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::process::{Process, eventually, free_port, tool};
use crate::web;

/// Names a form's field and its value.
type Field<'a> = (&'a str, &'a str);

/// A running moto.
#[derive(Debug)]
pub struct Cloud {
    _server: Process,
    pub url: String,
}

impl Cloud {
    pub async fn start(directory: &Path) -> anyhow::Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(tool("moto_server")?);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let server = Process::start("moto", command, directory)?;
        let url = format!("http://127.0.0.1:{port}");
        let reset = format!("{url}/moto-api/reset");
        eventually("moto answers", Duration::from_secs(60), async || {
            let answer = web::request(Method::POST, &reset, &[], "").await?;
            Ok(answer.status.is_success().then_some(()))
        })
        .await?;
        Ok(Self { _server: server, url })
    }

    /// What the aggregator needs in its environment to find it.
    pub fn environment(&self) -> [(&str, &str); 4] {
        [
            ("AWS_ENDPOINT_URL", &self.url),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
        ]
    }

    /// Makes a group and gives the ids of its instances.
    pub async fn group(&self, name: &str, size: u32) -> anyhow::Result<Vec<String>> {
        let size = size.to_string();
        self.call(
            "autoscaling",
            &[
                ("Action", "CreateLaunchConfiguration"),
                ("LaunchConfigurationName", "test"),
                ("ImageId", "ami-12c6146b"),
                ("InstanceType", "m5.large"),
            ],
        )
        .await?;
        self.call(
            "autoscaling",
            &[
                ("Action", "CreateAutoScalingGroup"),
                ("AutoScalingGroupName", name),
                ("LaunchConfigurationName", "test"),
                ("MinSize", "1"),
                ("MaxSize", "200"),
                ("DesiredCapacity", &size),
                ("AvailabilityZones.member.1", "us-east-1a"),
            ],
        )
        .await?;
        self.members(name).await
    }

    /// Ids of the instances in a group now.
    pub async fn members(&self, name: &str) -> anyhow::Result<Vec<String>> {
        let text = self
            .call("autoscaling", &[("Action", "DescribeAutoScalingGroups"), ("AutoScalingGroupNames.member.1", name)])
            .await?;
        let ids = text.split("<InstanceId>").skip(1).filter_map(|rest| rest.split('<').next());
        Ok(ids.map(str::to_owned).collect())
    }

    /// Ids of those that its load balancer would send to: not who stands in standby.
    pub async fn serving(&self, name: &str) -> anyhow::Result<Vec<String>> {
        let text = self
            .call("autoscaling", &[("Action", "DescribeAutoScalingGroups"), ("AutoScalingGroupNames.member.1", name)])
            .await?;
        let instances = text.split_once("<Instances>").and_then(|(_, rest)| rest.split_once("</Instances>"));
        let each = instances.map_or("", |(instances, _)| instances).split("<member>");
        let serving = each.filter(|each| each.contains("<LifecycleState>InService<"));
        let ids = serving.filter_map(|each| each.split("<InstanceId>").nth(1)?.split('<').next());
        Ok(ids.map(str::to_owned).collect())
    }

    /// Takes one instance out of its group; it goes on running.
    pub async fn detach(&self, group: &str, instance: &str) -> anyhow::Result<()> {
        let fields = [
            ("Action", "DetachInstances"),
            ("AutoScalingGroupName", group),
            ("InstanceIds.member.1", instance),
            ("ShouldDecrementDesiredCapacity", "true"),
        ];
        self.call("autoscaling", &fields).await.map(drop)
    }

    /// Makes a group from a launch template called as it is, over some zones of us-east-1.
    pub async fn template_group(&self, name: &str, size: u32, zones: &[&str]) -> anyhow::Result<Vec<String>> {
        self.template_group_of(name, "m5.large", size, zones).await
    }

    /// The same of another instance type.
    pub async fn template_group_of(
        &self,
        name: &str,
        instance_type: &str,
        size: u32,
        zones: &[&str],
    ) -> anyhow::Result<Vec<String>> {
        self.call(
            "ec2",
            &[
                ("Action", "CreateLaunchTemplate"),
                ("LaunchTemplateName", name),
                ("LaunchTemplateData.ImageId", "ami-12c6146b"),
                ("LaunchTemplateData.InstanceType", instance_type),
            ],
        )
        .await?;
        let size = size.to_string();
        let zone_fields: Vec<String> =
            (1..=zones.len()).map(|index| format!("AvailabilityZones.member.{index}")).collect();
        let mut fields = vec![
            ("Action", "CreateAutoScalingGroup"),
            ("AutoScalingGroupName", name),
            ("LaunchTemplate.LaunchTemplateName", name),
            ("LaunchTemplate.Version", "$Latest"),
            ("MinSize", "1"),
            ("MaxSize", "200"),
            ("DesiredCapacity", &size),
        ];
        fields.extend(zone_fields.iter().map(String::as_str).zip(zones.iter().copied()));
        self.call("autoscaling", &fields).await?;
        self.members(name).await
    }

    /// A call of a service that takes JSON: `sqs` or `events`.
    pub async fn json(&self, service: &str, operation: &str, body: &Value) -> anyhow::Result<Value> {
        let target = match service {
            "events" => format!("AWSEvents.{operation}"),
            _ => format!("AmazonSQS.{operation}"),
        };
        let authorization = authorization(service);
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", target.as_str()),
            ("authorization", authorization.as_str()),
        ];
        let answer = web::request(Method::POST, &self.url, &headers, body.to_string()).await.context("moto")?;
        ensure!(answer.status.is_success(), "moto: {} {}", answer.status, answer.body);
        Ok(serde_json::from_str(&answer.body).unwrap_or_default())
    }

    /// Puts an event of Auto Scaling on the bus, which the real one does by itself.
    pub async fn event(&self, kind: &str, detail: &Value) -> anyhow::Result<()> {
        let entry = json!({"Source": "aws.autoscaling", "DetailType": kind, "Detail": detail.to_string()});
        let answer = self.json("events", "PutEvents", &json!({ "Entries": [entry] })).await?;
        ensure!(answer["FailedEntryCount"] == 0, "{answer}");
        Ok(())
    }

    /// Any call of a service that takes a form: `autoscaling`, `ec2`, `elasticloadbalancing`, `cloudformation`,
    /// `iam`.
    pub async fn call(&self, service: &str, fields: &[Field<'_>]) -> anyhow::Result<String> {
        let version = match service {
            "ec2" => "2016-11-15",
            "elasticloadbalancing" => "2015-12-01",
            "cloudformation" => "2010-05-15",
            "iam" => "2010-05-08",
            "monitoring" => "2010-08-01",
            _ => "2011-01-01",
        };
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .append_pair("Version", version)
            .finish();
        let authorization = authorization(service);
        let headers =
            [("content-type", "application/x-www-form-urlencoded"), ("authorization", authorization.as_str())];
        let answer = web::request(Method::POST, &self.url, &headers, body).await.context("moto")?;
        ensure!(answer.status.is_success(), "moto: {} {}", answer.status, answer.body);
        Ok(answer.body)
    }
}

/// moto reads the service from the credential's scope and checks no signature.
fn authorization(service: &str) -> String {
    format!("AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, Signature=x")
}
