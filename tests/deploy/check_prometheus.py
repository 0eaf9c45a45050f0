"""Rules and dashboards against a real Prometheus that scrapes a real aggregator with agents, as the documents say it."""

import contextlib
import json
import re
import shutil
import tempfile
import unittest
import urllib.parse
from pathlib import Path

import metrics
import yaml
from product import DEPLOY, Check, binary, eventually, free_port, get, process, program, run

PROMETHEUS = DEPLOY / "prometheus"
DASHBOARDS = sorted((DEPLOY / "grafana/dashboards").glob("*.json"))
RULES = ["foreshadow-rules.yml", "foreshadow-recording.yml"]
MADE_UP = "made-up"
live = {}
closing = contextlib.ExitStack()


def setUpModule():
    """Prometheus by deploy/prometheus/scrape.yml, over TLS and with a token, an aggregator, three agents."""
    unittest.addModuleCleanup(closing.close)
    directory = Path(tempfile.mkdtemp(prefix="foreshadow-deploy."))
    closing.callback(shutil.rmtree, directory, ignore_errors=True)
    port, prometheus = free_port(), free_port()
    authority(directory)
    tokens = ""
    for name, role in (("prometheus", "viewer"), ("web", "agent")):
        made = run(binary("foreshadow"), "token", "--name", name, "--role", role)
        (directory / f"{name}.token").write_text(made.stdout)
        tokens += made.stderr[made.stderr.index("[token.") :] + "\n"
    (directory / "tokens.toml").write_text(tokens)
    (directory / "inventory.toml").write_text(
        '[group.web]\nminimum = 1\nmaximum = 9\ninstances = ["i-1", "i-2", "i-3"]\n'
    )
    (directory / "foreshadow.toml").write_text(f"""
[listen]
address = "127.0.0.1:{port}"
certificate = "{directory}/certificate.pem"
key = "{directory}/key.pem"
[identity]
tokens = "{directory}/tokens.toml"
[store]
directory = "{directory}/data"
[inventory]
interval_seconds = 5
file = "{directory}/inventory.toml"
""")
    for file in ("tokens.toml", "key.pem"):
        (directory / file).chmod(0o600)
    serve = [binary("foreshadow"), "serve", "--config", directory / "foreshadow.toml"]
    closing.enter_context(process(directory / "foreshadow.log", *serve))
    for instance in ("i-1", "i-2", "i-3"):
        agent = [binary("foreshadow-agent"), "--aggregator", f"https://127.0.0.1:{port}", "--instance-id", instance]
        agent += ["--ca", directory / "ca.pem", "--token-file", directory / "web.token"]
        closing.enter_context(process(directory / f"{instance}.log", *agent))
    configure(directory, port)
    backfilled = directory / "made-up.om"
    backfilled.write_text(metrics.made_up(MADE_UP))
    blocks = run("promtool", "tsdb", "create-blocks-from", "openmetrics", backfilled, directory / "tsdb")
    assert blocks.returncode == 0, blocks.stdout + blocks.stderr
    command = [program("prometheus"), f"--config.file={directory}/prometheus.yml", "--log.level=warn"]
    command += [f"--storage.tsdb.path={directory}/tsdb", f"--web.listen-address=127.0.0.1:{prometheus}"]
    closing.enter_context(process(directory / "prometheus.log", *command))
    live.update(directory=directory, url=f"http://127.0.0.1:{prometheus}")

    def planned():
        return query('foreshadow_group_need_now{job="foreshadow"}') or None

    try:
        eventually("plan in Prometheus", planned)
    except AssertionError as error:
        logs = "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in directory.glob("*.log"))
        raise AssertionError(f"{error}\n{logs}") from error


def authority(directory: Path):
    """A certificate of the aggregator that an authority of its own has signed."""
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    request += ["-days", "2"]
    ca = [*request, "-subj", "/CN=authority", "-keyout", directory / "ca.key", "-out", directory / "ca.pem"]
    leaf = [*request, "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-CA", directory / "ca.pem"]
    leaf += ["-addext", "basicConstraints=critical,CA:FALSE", "-CAkey", directory / "ca.key"]
    leaf += ["-keyout", directory / "key.pem", "-out", directory / "certificate.pem"]
    for command in (ca, leaf):
        made = run(*command)
        assert made.returncode == 0, made.stderr


def configure(directory: Path, port: int):
    """scrape.yml as it lies in deploy/, with the addresses and files of this test, more often."""
    text = (PROMETHEUS / "scrape.yml").read_text()
    for theirs, ours in (
        ("/etc/prometheus/foreshadow.token", directory / "prometheus.token"),
        ("/etc/foreshadow/ca.pem", directory / "ca.pem"),
        ("foreshadow.example.org:7070", f"127.0.0.1:{port}"),
    ):
        assert theirs in text, f"scrape.yml does not name {theirs}"
        text = text.replace(theirs, str(ours))
    for name in RULES:
        shutil.copy(PROMETHEUS / name, directory / name)
    written = {"global": {"scrape_interval": "1s", "evaluation_interval": "2s"}} | yaml.safe_load(text)
    (directory / "prometheus.yml").write_text(yaml.safe_dump(written))


def ask(path: str, **arguments):
    answer = json.loads(get(f"{live['url']}/api/v1/{path}?{urllib.parse.urlencode(arguments, doseq=True)}"))
    assert answer["status"] == "success", answer
    return answer["data"]


def query(expression: str) -> list:
    return ask("query", query=expression)["result"]


def panels(dashboard: dict) -> list:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


class Rules(Check):
    def test_recorded_series_have_the_values_they_are_named_for(self):
        # The alerts' own tests (foreshadow-rules.test.yml) run in processes::prometheus.
        self.run_tool("promtool", "test", "rules", "foreshadow-recording.test.yml", cwd=PROMETHEUS)

    def test_a_real_prometheus_evaluates_every_rule(self):
        def evaluated():
            rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
            return rules if all(rule["health"] != "unknown" for rule in rules) else None

        rules = eventually("evaluation of all rules", evaluated)
        self.assertGreater(len(rules), 20)
        for rule in rules:
            self.assertEqual(rule["health"], "ok", f"{rule['name']}: {rule.get('lastError')}")

    def test_every_alert_names_a_page_of_the_runbook_or_a_command_and_is_tried_both_ways(self):
        headings = set(re.findall(r"^#+ (.+)$", (DEPLOY / "runbook.md").read_text().replace("`", ""), re.MULTILINE))
        tests = yaml.safe_load((PROMETHEUS / "foreshadow-rules.test.yml").read_text())["tests"]
        tried = [case for test in tests for case in test["alert_rule_test"]]
        for group in yaml.safe_load((PROMETHEUS / RULES[0]).read_text())["groups"]:
            for rule in group["rules"]:
                name, said = rule["alert"], rule["annotations"]["description"]
                pages = re.findall(r"Runbook: (.+)$", said)
                self.assertTrue(pages or "foreshadow " in said or "Mend" in said, f"{name} says nothing to do: {said}")
                self.assertLessEqual(set(pages), headings, f"{name} names a page that the runbook does not have")
                self.assertIn(rule["labels"]["severity"], ("page", "ticket"), name)
                cases = [bool(case.get("exp_alerts")) for case in tried if case["alertname"] == name]
                self.assertIn(True, cases, f"no test in which {name} fires")
                self.assertIn(False, cases, f"no test in which {name} is silent")

    def test_the_live_scrape_is_by_the_conventions_and_has_the_labels_that_rules_and_dashboards_go_by(self):
        targets = [target for target in ask("targets")["activeTargets"] if target["labels"]["job"] == "foreshadow"]
        self.assertEqual([target["health"] for target in targets], ["up"], targets)
        for name, expected in metrics.LABELS.items():
            self.assertIn(name, metrics.described(), "a metric of the made-up history is none of the aggregator's")
            for found in query(f'{name}{{job="foreshadow"}}'):
                labels = set(found["metric"]) - {"__name__", "job", "instance"}
                self.assertEqual(labels, set(expected[0]), f"labels of {name}")


class Grafana(Check):
    def test_every_expression_finds_something_where_there_is_something(self):
        there = {name for name in metrics.LABELS if query(f'{name}{{job="foreshadow"}}')}
        self.assertIn("foreshadow_samples_stored_total", there)
        tried = 0
        for path in DASHBOARDS:
            for panel in panels(json.loads(path.read_text())):
                for target in panel["targets"]:
                    where = f"{path.name}: {panel['title']}: {target['expr']}"
                    asked = metrics.named(target["expr"])
                    self.assertLessEqual(asked, set(metrics.LABELS), where)
                    jobs = [MADE_UP] + (["foreshadow"] if asked and asked <= there else [])
                    for job in jobs:
                        expression = target["expr"].replace("$job", job).replace("$group", "web")
                        self.assertNotIn("$", expression, where)
                        found = eventually(f"answer to {where} of {job}", lambda e=expression: query(e) or None, 20)
                        self.assertTrue(found, where)
                        tried += 1
        self.assertGreater(tried, 60)

    def test_every_variable_has_values(self):
        for path in DASHBOARDS:
            for variable in json.loads(path.read_text())["templating"]["list"]:
                if variable["type"] != "query":
                    continue
                found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
                self.assertIsNotNone(found, f"{path.name}: {variable['name']}")
                selector = found[1].replace("$job", "foreshadow")
                self.assertTrue(ask(f"label/{found[2]}/values", **{"match[]": selector}), f"{path.name}: {selector}")

    def test_dashboards_are_whole(self):
        self.assertTrue(DASHBOARDS)
        uids = [json.loads(path.read_text())["uid"] for path in DASHBOARDS]
        self.assertEqual(len(set(uids)), len(uids), uids)
        for path in DASHBOARDS:
            board = json.loads(path.read_text())
            self.assertEqual(board["uid"], path.stem)
            self.assertNotIn("__inputs", board, "an export that asks for its data source cannot be provisioned")
            taken = set()
            for panel in board["panels"]:
                at = panel["gridPos"]
                self.assertLessEqual(at["x"] + at["w"], 24, panel["title"])
                cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
                self.assertFalse(cells & taken, f"{path.name}: {panel['title']} lies over another panel")
                taken |= cells
            self.assertEqual(len({panel["id"] for panel in board["panels"]}), len(board["panels"]))
            for panel in panels(board):
                self.assertTrue(panel["description"], f"{path.name}: {panel['title']} says not what it shows")
                for target in panel["targets"]:
                    self.assertEqual(target["datasource"]["uid"], "${datasource}", panel["title"])

    def test_provisioning_leads_to_the_dashboards(self):
        source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/foreshadow.yaml").read_text())
        self.assertEqual([one["type"] for one in source["datasources"]], ["prometheus"])
        boards = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/foreshadow.yaml").read_text())
        self.assertEqual(boards["providers"][0]["options"]["path"], "/var/lib/grafana/dashboards/foreshadow")
