"""The repository, its binaries, and processes of them on loopback: what every check here stands on."""

import contextlib
import functools
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
# FORESHADOW_BINARIES tries what was built elsewhere, a release for one.
BINARIES = Path(os.environ.get("FORESHADOW_BINARIES", REPOSITORY / "target/debug"))
TOOLS = REPOSITORY / "target/tools/bin"
# How long anything may take that usually takes a moment, seconds.
PATIENCE = 60


class Check(unittest.TestCase):
    """A test with a directory of its own."""

    longMessage = True
    maxDiff = None

    def directory(self) -> Path:
        path = Path(tempfile.mkdtemp(prefix="foreshadow-deploy."))
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)
        return path

    def run_tool(self, *command, status=0, **options) -> str:
        """Runs a program; another end than `status` fails with what it said."""
        ended = run(*command, **options)
        self.assertEqual(ended.returncode, status, f"{' '.join(map(str, command))}\n{ended.stdout}{ended.stderr}")
        return ended.stdout + ended.stderr

    def assert_names_licences(self, package: str, notices: str):
        """That every crate a program is linked of is named with its licence, and the licences' words are there."""
        crates = re.findall(r"^([\w-]+) (\d\S*): (.+)$", notices.split("=" * 80)[0], re.MULTILINE)
        self.assertGreater(len(crates), {"foreshadow": 200, "foreshadow-agent": 80}[package], f"{package}: {notices[:200]}")
        locked = (REPOSITORY / "Cargo.lock").read_text()
        for name, number, licence in crates:
            self.assertIn(f'name = "{name}"\nversion = "{number}"', locked)
            self.assertNotEqual(licence, "None", name)
        names = {name for name, _, _ in crates}
        self.assertLessEqual({"rustls", "ring", "tokio", "tonic"}, names)
        self.assertFalse(names & {"proptest", "clap_derive", "foreshadow-proto"}, "neither tests, macros nor ours")
        for text in ("Apache License", "Permission is hereby granted", "Redistribution and use in source and binary"):
            self.assertIn(text, notices, package)


def run(*command, **options) -> subprocess.CompletedProcess:
    options = {"capture_output": True, "text": True, "timeout": PATIENCE, "stdin": subprocess.DEVNULL} | options
    words = [str(word) for word in command]
    if "/" not in words[0]:
        words[0] = program(words[0])
    return subprocess.run(words, check=False, **options)


def program(name: str) -> str:
    """A peer, below target/tools or on the path. Missing is a failure, never a skip: tests/run installs it."""
    found = shutil.which(name, path=f"{TOOLS}:{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        raise AssertionError(f"{name} is not installed: bash tests/run installs it")
    return found


def binary(name: str) -> Path:
    path = BINARIES / name
    if not path.exists():
        raise AssertionError(f"{path} is not built: cargo build --workspace --all-targets")
    return path


def version() -> str:
    """The workspace's, which is that of the binaries and of every package."""
    text = (REPOSITORY / "Cargo.toml").read_text()
    return re.search(r'^\[workspace\.package\]\nversion = "(.+)"$', text, re.MULTILINE)[1]


class Template(yaml.SafeLoader):
    """Reads a CloudFormation template. `!Ref x` becomes `{"Ref": "x"}`, whatever its value; nothing is followed."""


def tagged(loader: Template, name: str, node: yaml.Node) -> dict:
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


Template.add_multi_constructor("!", tagged)


@functools.cache
def stack_template() -> dict:
    text = (DEPLOY / "aws/foreshadow.yaml").read_text()
    return yaml.load(text, Loader=Template)  # noqa: S506 (its parent is the safe loader)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def eventually(what: str, ask, seconds=PATIENCE):
    """The first answer that is not nothing; an error means not yet."""
    until, last = time.monotonic() + seconds, None
    while time.monotonic() < until:
        try:
            if (answer := ask()) is not None:
                return answer
        except (OSError, urllib.error.URLError, ValueError, AssertionError) as error:
            last = error
        time.sleep(0.1)
    raise AssertionError(f"no {what} within {seconds} s: {last}")


# A root that may be changed, for it is gone with the mount namespace: this very system, copied on write. $ROOM is an empty
# directory, $BRING is seen at /mnt, $COMMANDS run in it.
OVERLAY = """
set -euo pipefail
mount --make-rprivate /
mount -t tmpfs tmpfs "$ROOM"
mkdir "$ROOM"/{changed,work,root}
mount -t overlay overlay -o "lowerdir=/,upperdir=$ROOM/changed,workdir=$ROOM/work" "$ROOM/root"
mount --rbind /proc "$ROOM/root/proc"
mount --rbind /dev "$ROOM/root/dev"
mount --bind "$BRING" "$ROOM/root/mnt"
exec chroot "$ROOM/root" bash -euo pipefail -c "$COMMANDS"
"""


def on_a_copy(room: Path, bring: Path, commands: str, *namespaces, **options) -> subprocess.CompletedProcess:
    """Runs commands as root of a copy of this system; what they change is nowhere afterwards."""
    environment = os.environ | {"ROOM": str(room), "BRING": str(bring), "COMMANDS": commands}
    return run("unshare", "--mount", *namespaces, "bash", "-c", OVERLAY, env=environment, **options)


@contextlib.contextmanager
def process(log: Path, *command, **options):
    """A process with its output in a file, told to end at the end."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(timeout=15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
