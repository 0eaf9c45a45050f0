"""The agent for arm64, as deploy/packages/cross.sh makes it: packed, and run by qemu against an aggregator of this machine."""

import json
import shutil
import tarfile
import tempfile
import unittest
from pathlib import Path

from check_older import Aggregator
from check_packages import build
from product import REPOSITORY, Check, eventually, process, run, version

ARM64 = REPOSITORY / "target/arm64"
QEMU = ARM64 / "toolchain/usr/bin/qemu-aarch64-static"
made = {}


def setUpModule():
    assert (ARM64 / "foreshadow-agent").exists(), f"{ARM64}/foreshadow-agent is not built: bash tests/run builds it"
    out = Path(tempfile.mkdtemp(prefix="foreshadow-deploy."))
    unittest.addModuleCleanup(shutil.rmtree, out, ignore_errors=True)
    for options in ((), ("--format", "tar")):
        built = build(ARM64, out, "--arch", "arm64", "--only", "agent", *options)
        assert built.returncode == 0, built.stderr
    made.update(out=out)


class Arm64(Check):
    def test_deb_and_rpm_are_for_arm64_and_ask_for_no_library(self):
        name, root = f"foreshadow-agent_{version()}-1_arm64.deb", self.directory()
        fields = self.run_tool("dpkg-deb", "-f", made["out"] / name)
        self.assertIn("Architecture: arm64", fields)
        self.assertNotIn("libc", fields)
        self.run_tool("dpkg-deb", "-x", made["out"] / name, root)
        self.assertEqual(self.run_tool(QEMU, root / "usr/bin/foreshadow-agent", "--version"), f"foreshadow-agent {version()}\n")
        rpm = made["out"] / f"foreshadow-agent-{version()}-1.aarch64.rpm"
        self.assertEqual(self.run_tool("rpm", "-qp", "--qf", "%{ARCH}", rpm), "aarch64")
        self.assertNotIn("libc", self.run_tool("rpm", "-qp", "--requires", rpm))

    def test_the_tarballs_agent_samples_and_what_it_streams_is_acknowledged(self):
        directory = self.directory()
        with tarfile.open(made["out"] / f"foreshadow-agent-{version()}-aarch64-linux.tar.gz") as opened:
            opened.extractall(directory, filter="data")
        agent = [QEMU, directory / f"foreshadow-agent-{version()}-aarch64-linux/foreshadow-agent"]
        # What this machine would run itself proves nothing of the other.
        self.assertRegex(self.run_tool("readelf", "--file-header", agent[1]), "Machine: +AArch64")
        once = run(*agent, "--once")
        self.assertEqual(once.returncode, 0, once.stderr)
        self.assertGreater(json.loads(once.stdout)["memory_total_bytes"], 0)
        with Aggregator(directory).runs() as aggregator:
            log = directory / "agent.log"
            with process(log, *agent, "--aggregator", aggregator.url, "--instance-id", "i-1", "--spool", directory / "spool") as running:
                eventually("samples", lambda: len(aggregator.past("i-1")) >= 4 or None)
                running.terminate()
                self.assertEqual(running.wait(timeout=30), 0, log.read_text())
            self.assertIn("agent ends unacknowledged=0 dropped=0", log.read_text())
            stored = aggregator.past("i-1")
        self.assertEqual([sample["sequence"] for sample in stored], list(range(1, len(stored) + 1)))
        self.assertTrue(all(sample.get("cpu_percent") is not None for sample in stored[1:]), stored)
