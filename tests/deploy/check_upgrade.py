"""Two real builds against each other: this one, and an older one with an older schema.

Its commit is in `older-commit`; tests/run builds it below target/older, once. Where the clone does not hold it, run.py leaves this out
and says so.
"""

import contextlib
import json
import shutil
from pathlib import Path

import world
from check_documents import packaged, shell
from check_older import MIGRATIONS, Aggregator, rows
from check_packages import build
from product import DEPLOY, REPOSITORY, Check, binary, eventually, get, on_a_copy, process, run, version
from run import older

OLD = older() / "debug"
# Below the present one, which may be its own.
BEFORE = "0.0.9"
REFUSED = r"migration \d+ was previously applied but is missing"


def aggregator(directory: Path, program: Path) -> Aggregator:
    made = Aggregator(directory)
    made.command[0] = program
    return made


def past(url: str, instance: str) -> list:
    text = get(f"{url}/shadow/metrics?instance={instance}&from=-6h")
    return [json.loads(line) for line in text.splitlines()]


def setUpModule():
    for name in ("foreshadow", "foreshadow-agent"):
        assert (OLD / name).exists(), f"{OLD / name} is not built: bash tests/run builds it"


class Upgrade(Check):
    def streams(self, directory: Path, url: str, agent: Path, *instances):
        """Agents of a build until each has some samples stored and is told so; each sample is there once, beside all from before."""
        before = {instance: past(url, instance) for instance in instances}
        with contextlib.ExitStack() as stack:
            running = {}
            for instance in instances:
                log = directory / f"{instance}.log"
                log.unlink(missing_ok=True)
                command = (agent, "--aggregator", url, "--instance-id", instance)
                running[instance] = (stack.enter_context(process(log, *command)), log)
            for instance, stored in before.items():
                enough = len(stored) + 4
                eventually("samples", lambda instance=instance, enough=enough: len(past(url, instance)) >= enough or None)
            for one, log in running.values():
                one.terminate()
                self.assertEqual(one.wait(timeout=30), 0, log.read_text())
        for instance, (_, log) in running.items():
            said = log.read_text()
            self.assertIn("agent ends unacknowledged=0 dropped=0", said)
            stored = past(url, instance)
            self.assertEqual(stored[: len(before[instance])], before[instance], "nothing that was stored is touched")
            added = stored[len(before[instance]) :]
            self.assertEqual([sample["sequence"] for sample in added], list(range(1, len(added) + 1)), said)
            self.assertTrue(all(sample.get("cpu_percent") is not None for sample in added[1:]), added)

    def applied(self, directory: Path) -> list:
        return [version for (version,) in rows(directory, "SELECT version FROM _sqlx_migrations ORDER BY version")]

    def test_each_agent_streams_to_each_aggregator(self):
        for name, agent, server in (
            ("an older agent to this aggregator", OLD / "foreshadow-agent", binary("foreshadow")),
            ("this agent to an older aggregator", binary("foreshadow-agent"), OLD / "foreshadow"),
        ):
            with self.subTest(name):
                directory = self.directory()
                with aggregator(directory, server).runs() as running:
                    self.streams(directory, running.url, agent, "i-1", "i-2")

    def test_an_older_store_goes_on_in_this_build_and_the_backup_from_before_in_the_older_one(self):
        directory = self.directory()
        data, old = directory / "data", aggregator(directory, OLD / "foreshadow")
        with old.runs():
            self.streams(directory, old.url, OLD / "foreshadow-agent", "i-1", "i-2")
            self.run_tool(OLD / "foreshadow", "pause", "--url", old.url, "--reason", "upgrade")
            self.run_tool(OLD / "foreshadow", "store", "backup", "--directory", data, directory / "before.db")
            before = {instance: past(old.url, instance) for instance in ("i-1", "i-2")}
            audited = old.ask("/audit")
        schema = self.applied(directory)
        self.assertEqual(schema, [int(path.name[:4]) for path in MIGRATIONS][: len(schema)])
        self.assertLess(len(schema), len(MIGRATIONS), "nothing to migrate: another commit belongs into older-commit")

        new = aggregator(directory, binary("foreshadow"))
        with new.runs():
            eventually("inventory", lambda: new.ask("/readyz")["ready"] or None)
            self.assertEqual({instance: past(new.url, instance) for instance in before}, before)
            self.assertEqual(new.ask("/audit")[-len(audited) :], audited)
            # The first round shows it, and is no part of being ready.
            def shown():
                return next((group for group in new.ask("/overview")["groups"] if group["name"] == "web"), None)

            self.assertTrue(eventually("the group", shown)["paused"])
            # Both builds' agents go on where they were.
            self.streams(directory, new.url, binary("foreshadow-agent"), "i-1")
            self.streams(directory, new.url, OLD / "foreshadow-agent", "i-2")
        self.assertEqual(self.applied(directory), [int(path.name[:4]) for path in MIGRATIONS])
        self.assertIn("whole: ", self.run_tool(binary("foreshadow"), "store", "check", "--directory", data))
        self.run_tool(binary("foreshadow"), "audit", "verify", "--directory", data)

        # The older build says why it will not, and touches nothing.
        newer = (data / "foreshadow.db").read_bytes()
        ended = run(*aggregator(directory, OLD / "foreshadow").command)
        self.assertNotEqual(ended.returncode, 0)
        self.assertRegex(ended.stdout + ended.stderr, REFUSED)
        self.assertEqual((data / "foreshadow.db").read_bytes(), newer)

        for file in data.glob("foreshadow.db*"):
            file.unlink()
        shutil.copy(directory / "before.db", data / "foreshadow.db")
        old = aggregator(directory, OLD / "foreshadow")
        with old.runs():
            self.assertEqual({instance: past(old.url, instance) for instance in before}, before)
            self.streams(directory, old.url, OLD / "foreshadow-agent", "i-1")
            self.streams(directory, old.url, binary("foreshadow-agent"), "i-2")

    def test_the_runbook_upgrades_and_goes_back(self):
        """With the older build's packages, made by its own recipe, and this one's."""
        directory = self.directory()
        out = directory / "out"
        for programs, recipe, number in (
            (OLD, older() / "source/deploy/packages/build.sh", BEFORE),
            (binary("foreshadow").parent, DEPLOY / "packages/build.sh", version()),
        ):
            binaries = directory / number
            binaries.mkdir()
            self.run_tool("strip", "-o", binaries / "foreshadow", programs / "foreshadow")
            built = build(binaries, out, "--format", "deb", "--only", "aggregator", recipe=recipe, VERSION=number)
            self.assertEqual(built.returncode, 0, built.stdout + built.stderr)
        runbook = DEPLOY / "runbook.md"
        upgrade, back = packaged(REPOSITORY / "deploy/runbook.md")
        lines = runbook.read_text().splitlines()
        heading = lines.index("### The data of before")
        restore = next(block.text for block in shell(runbook) if block.line > heading)
        self.assertIn("foreshadow-before-upgrade.db", restore)
        stop, start = back.split("systemctl start foreshadow\n")
        self.assertTrue(stop.startswith("systemctl stop foreshadow\n"))
        ended = on_a_copy(self.directory(), out, f"""
            ip link set lo up
            dpkg -i /mnt/foreshadow_{BEFORE}-1_amd64.deb >/dev/null 2>&1
            cp /mnt/foreshadow_{BEFORE}-1_amd64.deb OLD.deb
            cp /mnt/foreshadow_{version()}-1_amd64.deb NEW.deb
            printf '[store]\\ndirectory = "/var/lib/foreshadow"\\n# mine\\n' >/etc/foreshadow/foreshadow.toml
            mkdir -p /var/lib/private/foreshadow /var/backups
            ln -sfn private/foreshadow /var/lib/foreshadow
            cat >/usr/bin/systemctl <<'STUB'
{world.systemctl_of_packages("http")}
STUB
            fs() {{ curl -sS "http://localhost:7070$1" "${{@:2}}"; }}
            past() {{ fs '/shadow/metrics?instance=i-1&from=-6h'; }}
            runs() {{ cmp /usr/bin/foreshadow "/proc/$(cat /run/foreshadow.pid)/exe" && cmp /usr/bin/foreshadow "$1"/usr/bin/foreshadow; }}
            for name in OLD NEW; do dpkg-deb -x $name.deb /tmp/$name; done
            systemctl start foreshadow
            trap 'systemctl stop foreshadow' EXIT
            runs /tmp/OLD
            {OLD}/foreshadow-agent --instance-id i-1 --group web 2>/tmp/agent.log &
            agent=$!
            for _ in $(seq 300); do [ "$(past | wc -l)" -ge 2 ] && break; sleep 0.1; done
            kill $agent
            wait $agent
            past >/tmp/before
            [ "$(wc -l </tmp/before)" -ge 2 ]
            {upgrade}
            dpkg-query -W -f '${{Version}}\n' foreshadow | grep -qx {version()}-1
            tail -n 1 /etc/foreshadow/foreshadow.toml | grep -qx '# mine'
            # What systemd's try-restart does.
            systemctl restart foreshadow
            runs /tmp/NEW
            past | diff /tmp/before -
            {stop}
            if (systemctl start foreshadow) >/dev/null 2>&1; then echo 'the older one opened the newer store'; exit 1; fi
            grep -qE '{REFUSED.replace(chr(92) + "d", "[0-9]")}' /var/log/foreshadow
            {restore}
            runs /tmp/OLD
            dpkg-query -W -f '${{Version}}\n' foreshadow | grep -qx {BEFORE}-1
            tail -n 1 /etc/foreshadow/foreshadow.toml | grep -qx '# mine'
            past | diff /tmp/before -
            foreshadow store check --directory /var/lib/foreshadow
            /tmp/NEW/usr/bin/foreshadow store check --directory /var/backups/foreshadow-newer
            fs /audit | jq -r '.[].action'
        """, "--net", timeout=400)  # fmt: skip
        said = ended.stdout + ended.stderr
        self.assertEqual(ended.returncode, 0, said)
        self.assertIn("\nresume\npause\n", said)
