"""What is older than this build: peers by the proto files of their time, stores in the schema of theirs; and buf's word on the wire.

A peer is another gRPC with an older revision's files, a store is what an older schema was, as SQL: older than any program that can still be
built beside this one, which check_upgrade does. When a release is out, its store and its proto files are put beside these.
"""

import contextlib
import datetime
import itertools
import json
import os
import shutil
import sqlite3
from pathlib import Path

from older import REVISIONS, Wire
from product import REPOSITORY, Check, binary, eventually, free_port, get, process, program, run

PROTO = REPOSITORY / "proto"
STORES = sorted((Path(__file__).parent / "stores").glob("*.sql"))
MIGRATIONS = sorted((REPOSITORY / "aggregator/migrations").glob("*.sql"))
# When the stores were left, and when they are opened: their samples are not yet beyond their retention.
OPENED = "2026-11-27 12:30:00"


def buf(*words, **options):
    return run(program("buf"), *words, **options)


class Wires(Check):
    def test_buf_finds_nothing_to_say_and_nothing_that_breaks_an_older_revision(self):
        self.assertEqual(self.run_tool(program("buf"), "lint", PROTO).strip(), "")
        revisions = sorted(REVISIONS.iterdir())
        self.assertTrue(revisions)
        for revision in revisions:
            said = self.run_tool(program("buf"), "breaking", PROTO, "--against", revision)
            self.assertEqual(said.strip(), "", revision.name)

    def test_buf_would_say_it(self):
        for file, before, after, command, said in (
            ("agent", "  uint32 credit = 4;", "  uint32 credit = 6;", "breaking", 'field "4"'),
            ("agent", "uint64 dropped_total = 4;", "string dropped_total = 4;", "breaking", "changed type"),
            ("predict", "  rpc ListGroups(ListGroupsRequest) returns (ListGroupsResponse);\n", "", "breaking", "ListGroups"),
            ("agent", "string hostname = 6;", "string hostName = 6;", "lint", "lower_snake_case"),
        ):
            copy = self.directory() / "proto"
            shutil.copytree(PROTO / "proto", copy / "proto")
            shutil.copy(PROTO / "buf.yaml", copy)
            path = copy / f"proto/foreshadow/v1/{file}.proto"
            text = path.read_text()
            self.assertEqual(text.count(before), 1, before)
            path.write_text(text.replace(before, after))
            against = ["--against", REVISIONS / "1"] if command == "breaking" else []
            ended = buf(command, copy, *against)
            self.assertNotEqual(ended.returncode, 0, after)
            self.assertIn(said, ended.stdout + ended.stderr)


def clock(at: str) -> dict:
    """An environment whose clock begins there and goes on."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    assert found, "libfaketime is not installed: bash tests/run installs it"
    return os.environ | {"LD_PRELOAD": str(found[0]), "FAKETIME": f"@{at}", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "TZ": "UTC"}


class Aggregator:
    """One on a port of its own, with a store and a group of two."""

    def __init__(self, directory: Path):
        self.directory, self.port = directory, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (directory / "inventory.toml").write_text(
            '[group.web]\nminimum = 1\nmaximum = 9\ninstances = ["i-1", "i-2"]\n'
        )
        (directory / "foreshadow.toml").write_text(f"""
[listen]
address = "127.0.0.1:{self.port}"
[store]
directory = "{directory}/data"
[inventory]
interval_seconds = 5
file = "{directory}/inventory.toml"
""")
        self.command = [binary("foreshadow"), "serve", "--config", directory / "foreshadow.toml"]

    @contextlib.contextmanager
    def runs(self, **options):
        log = self.directory / "foreshadow.log"
        with process(log, *self.command, **options):
            try:
                eventually("answer", lambda: get(f"{self.url}/healthz"))
            except AssertionError as error:
                raise AssertionError(f"{error}\n{log.read_text()}") from error
            yield self

    def ask(self, path: str):
        return json.loads(get(self.url + path))

    def past(self, instance: str) -> list:
        text = get(f"{self.url}/shadow/metrics?instance={instance}&from=-6h")
        return [json.loads(line) for line in text.splitlines()]


class Peers(Check):
    def wires(self):
        revisions = [int(path.name) for path in sorted(REVISIONS.iterdir())]
        self.assertTrue(revisions)
        return [Wire(revision, self.directory()) for revision in revisions]

    def test_an_older_agent_is_welcomed_and_its_samples_are_durable(self):
        for wire in self.wires():
            stream, now = b"a stream of old.", int(datetime.datetime.now().timestamp())
            with Aggregator(self.directory()).runs() as aggregator:
                with wire.agent(f"127.0.0.1:{aggregator.port}", "i-1", stream) as (say, hear):
                    welcome = next(hear).welcome
                    self.assertEqual(len(welcome.store_id), 16)
                    self.assertGreater(welcome.credit, 0)
                    # A sample twice, in a second batch: stored once.
                    for numbers in (range(1, 31), range(30, 41)):
                        say(wire.batch(stream, numbers, lambda number: (now - 60 + number) * 1_000_000))
                    held = set()
                    for message in hear:
                        self.assertNotEqual(message.WhichOneof("kind"), "rejected", message)
                        for found in message.ack.ranges:
                            held |= set(range(found.first, found.last + 1))
                        if held == set(range(1, 41)):
                            break
                with wire.agent(f"127.0.0.1:{aggregator.port}", "i-1", stream) as (_, hear):
                    stored = [(found.first, found.last) for found in next(hear).welcome.stored]
                self.assertEqual(stored, [(1, 40)])
                self.assertEqual([sample["cpu_percent"] for sample in aggregator.past("i-1")], list(range(1, 41)))

    def test_an_older_aggregator_is_told_what_it_can_read_by_this_agent(self):
        for wire in self.wires():
            directory, port = self.directory(), free_port()
            with wire.aggregator(f"127.0.0.1:{port}") as heard:
                agent = [binary("foreshadow-agent"), "--aggregator", f"http://127.0.0.1:{port}", "--instance-id", "i-1"]
                with process(directory / "agent.log", *agent):

                    def samples():
                        found = [sample for message in heard for sample in message.batch.samples]
                        return found if len({sample.sequence for sample in found}) >= 4 else None

                    told = eventually("samples", samples)
            hello = heard[0].hello
            self.assertEqual((hello.instance_id, hello.protocol), ("i-1", wire.revision))
            for message in heard:
                self.assertIsNotNone(message.WhichOneof("kind"), "a message that an older aggregator does not know")
            for message in heard:
                if message.WhichOneof("kind") == "batch":
                    # Columns it could not read would be a batch without samples, and never acknowledged.
                    self.assertTrue(message.batch.samples)
                    self.assertEqual(message.batch.stream_id, hello.stream_id)
                    self.assertEqual(message.batch.boot_id, hello.boot_id)
            self.assertEqual([sample.sequence for sample in told], list(range(1, len(told) + 1)), "each once: acknowledged")
            for before, after in itertools.pairwise(told):
                self.assertGreater(after.wall_micros, before.wall_micros)
            self.assertTrue(any(sample.HasField("cpu_percent") for sample in told))


def laid(store: Path, directory: Path):
    (directory / "data").mkdir(mode=0o700)
    with contextlib.closing(sqlite3.connect(directory / "data/foreshadow.db")) as made:
        made.executescript(store.read_text())


def rows(directory: Path, statement: str) -> list:
    with contextlib.closing(sqlite3.connect(directory / "data/foreshadow.db")) as opened:
        found = opened.execute(statement).fetchall()
        opened.commit()
        return found


class Stores(Check):
    def test_a_store_of_an_older_schema_is_brought_up_to_date_and_keeps_all(self):
        self.assertGreater(len(STORES), 1)
        for store in STORES:
            with self.subTest(store=store.name):
                directory = self.directory()
                laid(store, directory)
                self.kept(directory)

    def kept(self, directory: Path):
        wire, stream = Wire(1, directory), b"stream of i-1..."
        plans = rows(directory, "SELECT MAX(generation) FROM plan")[0][0]
        with Aggregator(directory).runs(env=clock(OPENED)) as aggregator:
            eventually("inventory", lambda: aggregator.ask("/readyz")["ready"] or None)
            # Samples of both forms, to the value, and what of the stream is held.
            for instance in ("i-1", "i-2"):
                self.assertEqual([sample["sequence"] for sample in aggregator.past(instance)], list(range(1, 64)))
                self.assertEqual([sample["cpu_percent"] for sample in aggregator.past(instance)], list(range(1, 64)))
            with wire.agent(f"127.0.0.1:{aggregator.port}", "i-1", stream) as (_, hear):
                stored = [(found.first, found.last) for found in next(hear).welcome.stored]
            self.assertEqual(stored, [(1, 63)])
            self.assertEqual(rows(directory, "SELECT COUNT(*), MIN(gross_mean), MAX(gross_mean) FROM minute WHERE weight > 0 "
                                  "AND start_seconds < 1795700000"), [(30, 80.0, 138.0)])  # fmt: skip
            # What people said and announced, what was done and became of it.
            group = next(group for group in aggregator.ask("/overview")["groups"] if group["name"] == "web")
            self.assertTrue(group["paused"], group)
            self.assertEqual([event["name"] for event in aggregator.ask("/events")], ["sale"])
            journal = self.run_tool(binary("foreshadow"), "journal", "--url", aggregator.url)
            self.assertRegex(journal, r"launch +done +2: need 4 ahead")
            self.assertRegex(journal, r"detach +refused +i-4: the plan is too old")
            self.assertEqual([entry["action"] for entry in aggregator.ask("/audit")][-3:][::-1], ["enter_event", "pause", "import_history"])
            sessions = aggregator.ask("/shadow/sessions")
            self.assertEqual([(session["instance"], session["reason"]) for session in sessions], [("i-4", "somebody detached it")])
            eventually("plan", lambda: rows(directory, f"SELECT 1 FROM plan WHERE generation > {plans}") or None)
        whole = self.run_tool(binary("foreshadow"), "store", "check", "--directory", directory / "data")
        self.assertIn("whole: 126 samples", whole)
        self.run_tool(binary("foreshadow"), "audit", "verify", "--directory", directory / "data")
        applied = [version for (version,) in rows(directory, "SELECT version FROM _sqlx_migrations ORDER BY version")]
        self.assertEqual(applied, [int(path.name[:4]) for path in MIGRATIONS])
        # What was written before a call was noted as sent may have been.
        self.assertEqual(rows(directory, "SELECT COUNT(*) FROM intent WHERE sent_at IS NULL"), [(0,)])

    def test_a_store_of_a_later_build_is_refused_untouched_and_the_backup_from_before_opens(self):
        directory = self.directory()
        laid(STORES[-1], directory)
        aggregator = Aggregator(directory)
        with aggregator.runs(env=clock(OPENED)):
            pass
        copy = directory / "before.db"
        self.run_tool(binary("foreshadow"), "store", "backup", "--directory", directory / "data", copy)
        rows(directory, "INSERT INTO _sqlx_migrations VALUES (9999, 'later', '2027-01-01 00:00:00', 1, x'00', 1)")
        before = (directory / "data/foreshadow.db").read_bytes()
        ended = run(*aggregator.command, env=clock(OPENED))
        said = ended.stdout + ended.stderr
        self.assertNotEqual(ended.returncode, 0, said)
        self.assertRegex(said, "migration 9999 was previously applied but is missing")
        self.assertEqual((directory / "data/foreshadow.db").read_bytes(), before)
        for file in (directory / "data").glob("foreshadow.db*"):
            file.unlink()
        copy.rename(directory / "data/foreshadow.db")
        with aggregator.runs(env=clock(OPENED)):
            self.assertEqual(len(aggregator.past("i-1")), 63)

    def test_a_migration_that_was_changed_after_it_was_out_is_noticed(self):
        # The stores carry the sums of their migrations; a build with another one refuses them.
        directory = self.directory()
        laid(STORES[0], directory)
        rows(directory, "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1")
        ended = run(*Aggregator(directory).command, env=clock(OPENED))
        self.assertNotEqual(ended.returncode, 0)
        self.assertRegex(ended.stdout + ended.stderr, "migration 1 was previously applied but has been modified")

    def test_every_store_is_of_a_schema_that_was(self):
        for store in STORES:
            directory = self.directory()
            laid(store, directory)
            applied = [version for (version,) in rows(directory, "SELECT version FROM _sqlx_migrations ORDER BY version")]
            wanted = [int(path.name[:4]) for path in MIGRATIONS if int(path.name[:4]) <= int(store.stem)]
            self.assertEqual(applied, wanted, store.name)


