"""The chart and the kustomize example, rendered by Helm and kubectl and held against the schemas of Kubernetes."""

import copy
import json
import re
import shutil
from pathlib import Path

import helm_python
import jsonschema
import kubernetes_validate
import yaml
from product import DEPLOY, Check, binary, version

KUBERNETES = DEPLOY / "kubernetes"
# The oldest that Chart.yaml names is older than the validator's schemas.
SCHEMAS = ("1.29", "1.33")
FULL = {
    "image": {"repository": "registry.example/foreshadow", "tag": "9"},
    "imagePullSecrets": [{"name": "registry"}],
    "store": {"raw_retention_hours": 24},
    "config": '[inventory.aws]\ngroups = ["web"]\nregion = "eu-west-1"\n\n[group.web]\nmode = "observe"\n',
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/foreshadow"}},
    "extraEnv": [{"name": "AWS_REGION", "value": "eu-west-1"}],
    "service": {"type": "LoadBalancer", "port": 443, "annotations": {"a": "b"}},
    "persistence": {"storageClass": "gp3", "size": "50Gi"},
    "networkPolicy": {"enabled": True, "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
    "serviceMonitor": {"enabled": True, "tokenSecret": "s", "interval": "15s"},
    "podAnnotations": {"a": "b"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "k", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
}


def render(values: dict, name="foreshadow") -> list:
    with helm_python.Chart.load(KUBERNETES / "chart") as chart:
        made = chart.render(values, name=name, namespace="default")
    return documents("\n---\n".join(text for path, text in made.items() if path.endswith(".yaml")))


def documents(text: str) -> list:
    return [one for one in yaml.safe_load_all(text) if one]


def of_kind(made: list, kind: str) -> dict:
    [found] = [one for one in made if one["kind"] == kind]
    return found


# The Prometheus operator's kinds are in no package of schemas: held against one of ours.
MONITOR = json.loads((Path(__file__).parent / "servicemonitor.json").read_text())


def faults(monitor: dict) -> list:
    return [error.message for error in jsonschema.Draft202012Validator(MONITOR).iter_errors(monitor)]


class Kubernetes(Check):
    def valid(self, made: list):
        for one in made:
            if one["kind"] == "ServiceMonitor":
                self.assertEqual(faults(one), [])
                self.finds(one, of_kind(made, "Service"))
                continue
            for schema in SCHEMAS:
                kubernetes_validate.validate(one, schema, strict=True)

    def finds(self, monitor: dict, service: dict):
        """Prometheus finds the Service by its labels, and the port by its name; the certificate is of the Service's name."""
        wanted = monitor["spec"]["selector"]["matchLabels"]
        self.assertEqual(wanted, {key: service["metadata"]["labels"].get(key) for key in wanted})
        ports = {port["name"] for port in service["spec"]["ports"]}
        for endpoint in monitor["spec"]["endpoints"]:
            self.assertIn(endpoint["port"], ports)
            self.assertEqual(endpoint["tlsConfig"]["serverName"], service["metadata"]["name"])

    def right(self, made: list):
        """The aggregator itself reads what it would be given."""
        file = self.directory() / "foreshadow.toml"
        file.write_text(of_kind(made, "ConfigMap")["data"]["foreshadow.toml"])
        self.assertIn("right", self.run_tool(binary("foreshadow"), "check-config", "--without-files", file))

    def test_helm_finds_nothing_to_say(self):
        report = helm_python.lint(KUBERNETES / "chart", strict=True)
        self.assertEqual(report["errors"], [])
        self.assertEqual([said for said in report["messages"] if said["severity"] >= 2], [])
        chart = yaml.safe_load((KUBERNETES / "chart/Chart.yaml").read_text())
        self.assertEqual((chart["version"], chart["appVersion"]), (version(), version()))

    def test_what_is_rendered_is_valid_and_its_configuration_right(self):
        for values, kinds in (({}, 5), (FULL, 6)):
            made = render(values, "web-scaling")
            self.assertEqual(len(made), kinds)
            self.valid(made)
            self.right(made)
            self.assertEqual({one["metadata"]["name"] for one in made}, {"web-scaling-foreshadow"})

    def test_a_servicemonitor_that_is_wrong_is_found(self):
        right = of_kind(render(FULL), "ServiceMonitor")
        self.assertEqual(faults(right), [])

        def spoil(change) -> list:
            wrong = copy.deepcopy(right)
            change(wrong["spec"]["endpoints"][0], wrong)
            return faults(wrong)

        for change in (
            lambda endpoint, _: endpoint.update(intervall="15s"),
            lambda endpoint, _: endpoint.update(interval="15"),
            lambda endpoint, _: endpoint.update(interval=15),
            lambda endpoint, _: endpoint.update(scheme="tls"),
            lambda endpoint, _: endpoint.update(port=7070),
            lambda endpoint, _: endpoint["authorization"]["credentials"].pop("key"),
            lambda endpoint, _: endpoint["tlsConfig"].update(caFile="/ca.pem"),
            lambda endpoint, _: endpoint["tlsConfig"]["ca"].update(configMap={"name": "a", "key": "b"}),
            lambda _, monitor: monitor["spec"].pop("selector"),
            lambda _, monitor: monitor.update(apiVersion="monitoring.coreos.com/v2"),
        ):
            self.assertTrue(spoil(change), change)
        for interval in ("soon", "15"):
            with self.assertRaises(helm_python.HelmError):
                render(FULL | {"serviceMonitor": FULL["serviceMonitor"] | {"interval": interval}})

    def test_the_pod_may_do_no_more_than_it_must(self):
        pod = of_kind(render(FULL), "StatefulSet")["spec"]
        self.assertEqual(pod["replicas"], 1)
        pod = pod["template"]["spec"]
        self.assertTrue(pod["securityContext"]["runAsNonRoot"])
        self.assertFalse(pod["automountServiceAccountToken"])
        [container] = pod["containers"]
        self.assertEqual(container["securityContext"]["capabilities"], {"drop": ["ALL"]})
        self.assertTrue(container["securityContext"]["readOnlyRootFilesystem"])
        self.assertEqual(container["image"], "registry.example/foreshadow:9")
        # Each path of the configuration is mounted, and each mount has its volume.
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        config = of_kind(render(FULL), "ConfigMap")["data"]["foreshadow.toml"]
        for path in re.findall(r'"(/[^"]+)"', config):
            self.assertTrue(any(path.startswith(mount) for mount in mounts), path)
        volumes = {volume["name"] for volume in pod["volumes"]} | {"data"}
        self.assertEqual(set(mounts.values()), volumes)

    def test_the_schema_refuses_what_cannot_work(self):
        for values, said in (
            ({"replicas": 2}, "replicas"),
            ({"persistence": {"size": "20"}}, "/persistence/size"),
            ({"service": {"port": 0}}, "/service/port"),
            ({"existingSecret": ""}, "/existingSecret"),
            ({"config": '[listen]\naddress = "0.0.0.0:1"\n'}, "/config"),
            ({"store": {"raw_retention_hours": 1}}, "/store/raw_retention_hours"),
            ({"image": {"repository": "Not A Name"}}, "/image/repository"),
        ):
            with self.assertRaises(helm_python.HelmError, msg=str(values)) as refused:
                render(values)
            self.assertIn(said, str(refused.exception))

    def test_a_changed_configuration_restarts_the_pod(self):
        def checksum(values):
            return of_kind(render(values), "StatefulSet")["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

        self.assertEqual(checksum({}), checksum({"service": {"port": 443}}))
        self.assertNotEqual(checksum({}), checksum({"store": {"raw_retention_hours": 72}}))

    def test_kustomize_makes_what_helm_makes(self):
        base = documents((KUBERNETES / "kustomize/base/foreshadow.yaml").read_text())
        made = json.loads(json.dumps(render({})).replace('"Helm"', '"kustomize"'))
        self.assertEqual(base, made, "the base is old: helm template foreshadow deploy/kubernetes/chart")
        monitor = of_kind(json.loads(json.dumps(render({"serviceMonitor": {"enabled": True}})).replace('"Helm"', '"kustomize"')), "ServiceMonitor")
        self.assertEqual(documents((KUBERNETES / "kustomize/monitor/servicemonitor.yaml").read_text()), [monitor])
        # The example with all that may be added to it.
        whole = self.directory() / "kustomize"
        shutil.copytree(KUBERNETES / "kustomize", whole)
        with (whole / "example/kustomization.yaml").open("a") as file:
            file.write("components:\n  - ../monitor\n")
        everything = documents(self.run_tool("kubectl", "kustomize", whole / "example"))
        self.assertEqual(len(everything), len(base) + 1)
        self.valid(everything)
        self.right(everything)
        example = documents(self.run_tool("kubectl", "kustomize", KUBERNETES / "kustomize/example"))
        self.assertEqual(len(example), len(base))
        self.valid(example)
        self.right(example)
        self.assertEqual({one["metadata"]["namespace"] for one in example}, {"foreshadow"})
        [container] = of_kind(example, "StatefulSet")["spec"]["template"]["spec"]["containers"]
        self.assertEqual(container["image"], f"registry.example.org/platform/foreshadow:{version()}")
        self.assertIn("role-arn", str(of_kind(example, "ServiceAccount")["metadata"]["annotations"]))
