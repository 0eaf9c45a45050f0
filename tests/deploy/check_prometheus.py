"""Rules and dashboards against a real Prometheus that scrapes a real aggregator with agents, as the documents say it."""

import contextlib
import json
import re
import shutil
import tempfile
import time
import unittest
import urllib.parse
from pathlib import Path

import metrics
import yaml
from live import Live
from product import DEPLOY, Check, eventually, free_port, get, process, program

PROMETHEUS = DEPLOY / "prometheus"
DASHBOARDS = sorted((DEPLOY / "grafana/dashboards").glob("*.json"))
RULES = ["foreshadow-rules.yml", "foreshadow-recording.yml"]
live = {}
closing = contextlib.ExitStack()


def setUpModule():
    """Prometheus by deploy/prometheus/scrape.yml, over TLS and with a token, and what it scrapes."""
    unittest.addModuleCleanup(closing.close)
    directory = Path(tempfile.mkdtemp(prefix="foreshadow-deploy."))
    closing.callback(shutil.rmtree, directory, ignore_errors=True)
    scraped, prometheus = Live(directory, closing), free_port()
    try:
        scraped.start()
        configure(directory, scraped.port)
        command = [program("prometheus"), f"--config.file={directory}/prometheus.yml", "--log.level=warn"]
        command += [f"--storage.tsdb.path={directory}/tsdb", f"--web.listen-address=127.0.0.1:{prometheus}"]
        closing.enter_context(process(directory / "prometheus.log", *command))
        live.update(directory=directory, url=f"http://127.0.0.1:{prometheus}")
        eventually("plan in Prometheus", lambda: query('foreshadow_group_need_now{job="foreshadow",group="web"}') or None)
        scraped.happen()
        missing = eventually("every series", scrapes_all, 180)
        assert not missing
    except AssertionError as error:
        logs = "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in directory.glob("*.log"))
        raise AssertionError(f"{error}\n{logs}") from error


def scrapes_all():
    """Whatever rules and dashboards ask for is told by the aggregator itself; nothing is made up."""
    missing = [name for name in metrics.LABELS if not query(f'{name}{{job="foreshadow"}}')]
    assert not missing, f"not scraped: {missing}"
    return []


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


def query(expression: str, after=0) -> list:
    """Its answer now, or so many seconds later than now."""
    return ask("query", query=expression, time=f"{time.time() + after:.3f}")["result"]


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
            self.assertIn(name, metrics.described(), "it is none of the aggregator's")
            found = query(f'{name}{{job="foreshadow"}}')
            self.assertTrue(found, f"{name} is not scraped")
            for one in found:
                self.assertEqual(set(one["metric"]) - {"__name__", "job", "instance"}, expected, f"labels of {name}")

    def test_every_alert_asks_for_what_is_scraped(self):
        for group in yaml.safe_load((PROMETHEUS / RULES[0]).read_text())["groups"]:
            for rule in group["rules"]:
                self.assertLessEqual(metrics.named(rule["expr"]), set(metrics.LABELS), rule["alert"])


class Grafana(Check):
    def test_every_expression_finds_something_where_there_is_something(self):
        """By what Prometheus scraped of a real aggregator. What looks back by a day is asked a day later: it then meets what is scraped now."""
        tried = 0
        for path in DASHBOARDS:
            for panel in panels(json.loads(path.read_text())):
                for target in panel["targets"]:
                    where = f"{path.name}: {panel['title']}: {target['expr']}"
                    self.assertLessEqual(metrics.named(target["expr"]), set(metrics.LABELS), where)
                    expression = target["expr"].replace("$job", "foreshadow").replace("$group", "web")
                    self.assertNotIn("$", expression, where)
                    after = metrics.later(expression)
                    # What is recorded over minutes is there with the next full one.
                    found = eventually(f"answer to {where}", lambda e=expression, a=after: query(e, a) or None, 90)
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
