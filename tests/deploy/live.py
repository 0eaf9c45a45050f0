"""An aggregator in which everything is that Prometheus can scrape, as far as it can be without waiting for hours.

`web` is in a file, has a past that was imported, three agents with certificates of their own, and fewer machines than it needs. `shop`
is an Auto Scaling group at a local AWS, with a queue of events: it launches, and somebody detaches one of it by hand. The InfluxDB behind
the store is away.
"""

import contextlib
import datetime
import json
import math
import os
from pathlib import Path

import boto3
from product import binary, eventually, free_port, get, process, program, run

WEB = ("i-1", "i-2", "i-3")
REGION = "us-east-1"
# However little this machine has to do, both groups are short of machines at a target of 1 %.
CONFIGURATION = """
[listen]
address = "127.0.0.1:{port}"
certificate = "{directory}/certificate.pem"
key = "{directory}/key.pem"
[identity]
tokens = "{directory}/tokens.toml"
[store]
directory = "{directory}/data"
[store.influxdb]
url = "http://127.0.0.1:{nobody}"
api = "v1"
database = "foreshadow"
[inventory]
interval_seconds = 5
warm_up_seconds = 0
file = "{directory}/inventory.toml"
[inventory.aws]
groups = ["shop"]
region = "{region}"
queue = "{queue}"
[group.web.targets]
cpu = 1
[group.shop]
minimum = 4
maximum = 5
[group.shop.targets]
cpu = 1
[safety]
warm_up_seconds = 0
quiet_seconds = 20
"""


class Live:
    """What runs; ended by `closing`."""

    def __init__(self, directory: Path, closing: contextlib.ExitStack):
        self.directory, self.closing = directory, closing
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"

    def start(self):
        self.cloud()
        self.secrets()
        (self.directory / "inventory.toml").write_text(
            f"[group.web]\nminimum = 5\nmaximum = 9\ninstances = {json.dumps(WEB)}\n"
        )
        configuration = CONFIGURATION.format(
            directory=self.directory, port=self.port, nobody=free_port(), region=REGION, queue=self.queue
        )
        (self.directory / "foreshadow.toml").write_text(configuration)
        environment = os.environ | self.environment
        serve = [binary("foreshadow"), "serve", "--config", self.directory / "foreshadow.toml"]
        self.closing.enter_context(process(self.directory / "foreshadow.log", *serve, env=environment))
        eventually("aggregator", lambda: self.foreshadow("groups"))
        (self.directory / "join.token").write_text(self.foreshadow("tokens", "join", "--name", "agents", "--uses", "9"))
        for instance in (*WEB, *self.shop):
            self.agent(instance, instance)
        self.past()

    def happen(self):
        """What is no state but happens: a certificate that is refused, a launch, a detachment by hand and its event."""
        eventually("first certificate of i-1", lambda: "i-1" in self.foreshadow("certificates", "list") or None)
        self.agent("i-1", "who-says-so")
        eventually("mode of shop", lambda: self.foreshadow("mode", "shop", "scale-out", "--reason", "a test"))
        gone = self.shop[0]
        self.scaling.detach_instances(
            AutoScalingGroupName="shop", InstanceIds=[gone], ShouldDecrementDesiredCapacity=True
        )
        now = f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
        detail = {"AutoScalingGroupName": "shop", "EC2InstanceId": gone, "ActivityId": "a-1", "StatusCode": "InProgress"}
        detail["Cause"] = f"At {now} instance {gone} was detached in response to a user request."
        event = {"source": "aws.autoscaling", "detail-type": "EC2 Instance Detach Successful", "time": now, "detail": detail}
        self.messages.send_message(QueueUrl=self.queue, MessageBody=json.dumps(event))

    def cloud(self):
        """moto: a group of three, which must have four, and a queue."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        server = [program("moto_server"), "-H", "127.0.0.1", "-p", port]
        self.closing.enter_context(process(self.directory / "moto.log", *server))
        eventually("moto", lambda: get(f"{url}/moto-api/data.json"))
        self.environment = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
        }
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        ec2, self.scaling, self.messages = (
            boto3.client(service, region_name=REGION, endpoint_url=url, **keys) for service in ("ec2", "autoscaling", "sqs")
        )
        image = ec2.describe_images()["Images"][0]["ImageId"]
        template = {"ImageId": image, "InstanceType": "m5.large"}
        ec2.create_launch_template(LaunchTemplateName="shop", LaunchTemplateData=template)
        self.scaling.create_auto_scaling_group(
            AutoScalingGroupName="shop", LaunchTemplate={"LaunchTemplateName": "shop", "Version": "$Latest"},
            MinSize=1, MaxSize=9, DesiredCapacity=3, AvailabilityZones=[f"{REGION}a"],
        )  # fmt: skip
        self.shop = self.members()
        self.queue = self.messages.create_queue(QueueName="foreshadow")["QueueUrl"]

    def members(self) -> list:
        [group] = self.scaling.describe_auto_scaling_groups(AutoScalingGroupNames=["shop"])["AutoScalingGroups"]
        return [instance["InstanceId"] for instance in group["Instances"]]

    def secrets(self):
        """Certificates of an authority of one's own, and tokens: one for Prometheus, one for who runs it."""
        request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        directory = self.directory
        ca = [*request, "-subj", "/CN=authority", "-keyout", directory / "ca.key", "-out", directory / "ca.pem"]
        leaf = [*request, "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-CA", directory / "ca.pem"]
        leaf += ["-addext", "basicConstraints=critical,CA:FALSE", "-CAkey", directory / "ca.key"]
        leaf += ["-keyout", directory / "key.pem", "-out", directory / "certificate.pem"]
        for command in (ca, leaf):
            made = run(*command)
            assert made.returncode == 0, made.stderr
        tokens = ""
        for name, role in (("prometheus", "viewer"), ("ops", "admin")):
            made = run(binary("foreshadow"), "token", "--name", name, "--role", role)
            (directory / f"{name}.token").write_text(made.stdout)
            tokens += made.stderr[made.stderr.index("[token.") :] + "\n"
        (directory / "tokens.toml").write_text(tokens)
        for file in ("tokens.toml", "key.pem"):
            (directory / file).chmod(0o600)

    def foreshadow(self, *words) -> str:
        place = ["--url", self.url, "--ca", self.directory / "ca.pem", "--token-file", self.directory / "ops.token"]
        ended = run(binary("foreshadow"), *words, *place)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def agent(self, instance: str, identity: str):
        """One that gets a certificate by the join token, and keeps it in a directory of its own."""
        agent = [binary("foreshadow-agent"), "--aggregator", self.url, "--instance-id", instance]
        agent += ["--ca", self.directory / "ca.pem", "--join-token-file", self.directory / "join.token"]
        agent += ["--identity", self.directory / identity]
        self.closing.enter_context(process(self.directory / f"{identity}.log", *agent))

    def past(self):
        """Six days of `web`, minute by minute, until an hour ago."""
        now = datetime.datetime.now(datetime.timezone.utc).replace(second=0, microsecond=0)
        rows = "timestamp,value,instances\n"
        for minute in range(6 * 1440, 60, -1):
            at = now - datetime.timedelta(minutes=minute)
            load = 35 + 20 * math.sin(2 * math.pi * (at.hour * 60 + at.minute) / 1440) + (at.minute * 7 % 11) / 3
            rows += f"{at:%Y-%m-%dT%H:%M:%SZ},{load:.1f},3\n"
        (self.directory / "past.csv").write_text(rows)
        eventually("import", lambda: self.foreshadow("import", "csv", self.directory / "past.csv", "--group", "web"))
