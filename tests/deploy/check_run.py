"""The runner itself: what it cannot check makes it red."""

import os
import re
import shutil
import sys
from pathlib import Path

from product import Check, run

HERE = Path(__file__).parent
PASSES = "import unittest\nclass Passes(unittest.TestCase):\n    def test_it(self): pass\n"
SKIPS = "import unittest\nclass Skips(unittest.TestCase):\n    @unittest.skip('no')\n    def test_it(self): pass\n"


class Runner(Check):
    def ended(self, modules: dict, copies: bool, directory=None, commit=None, **variables):
        # Where nothing is below a root of ours: not in a clone, and beside no target.
        directory = directory or self.directory() / "tests/deploy"
        directory.mkdir(parents=True, exist_ok=True)
        for name in ("run.py", "product.py", "older-commit"):
            shutil.copy(HERE / name, directory)
        if commit is not None:
            (directory / "older-commit").write_text(commit)
        for name, text in modules.items():
            (directory / f"{name}.py").write_text(text)
        # A kernel that copies on write, or one that does not.
        (directory / "bin").mkdir(exist_ok=True)
        (directory / "bin/unshare").write_text(f"#!/bin/sh\necho 'no such right' >&2\nexit {0 if copies else 1}\n")
        (directory / "bin/unshare").chmod(0o755)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FORESHADOW_")}
        environment |= {"PATH": f"{directory}/bin:{environment['PATH']}"} | variables
        return run(sys.executable, directory / "run.py", env=environment)

    def test_what_needs_a_copy_is_red_without_one_unless_it_is_optional(self):
        modules = {"check_packages": PASSES, "check_other": PASSES}
        ended = self.ended(modules, copies=False)
        self.assertEqual(ended.returncode, 1, ended.stdout)
        left_out = "check_documents, check_packages, check_tarball, check_upgrade"
        self.assertIn(f"NOT CHECKED: {left_out}: this system cannot be copied on write: no such right", ended.stdout)
        self.assertIn(f"failed: {left_out}", ended.stdout)
        self.assertIn("check_other.Passes", ended.stdout, "the others run all the same")
        self.assertEqual(self.ended(modules, copies=False, FORESHADOW_COPY="required").returncode, 1)
        left = self.ended(modules, copies=False, FORESHADOW_COPY="optional")
        self.assertEqual(left.returncode, 0, left.stdout)
        self.assertIn("NOT CHECKED", left.stdout)
        self.assertNotIn("check_packages.Passes", left.stdout)
        # Where it can be copied, optional leaves nothing out.
        both = self.ended(modules, copies=True, FORESHADOW_COPY="optional")
        self.assertEqual(both.returncode, 0, both.stdout)
        self.assertIn("check_packages.Passes", both.stdout)

    def test_an_older_build_that_cannot_be_is_said_and_one_that_is_not_made_is_red(self):
        modules = {"check_upgrade": PASSES, "check_other": PASSES}
        left = self.ended(modules, copies=True)
        self.assertEqual(left.returncode, 0, left.stdout)
        self.assertRegex(left.stdout, "NOT CHECKED: check_upgrade: this clone does not hold commit [0-9a-f]{40}: git fetch --unshallow")
        self.assertNotIn("check_upgrade.Passes", left.stdout)
        self.assertEqual(self.ended(modules, copies=True, FORESHADOW_OLDER="required").returncode, 1)
        # A clone that holds it: the check runs, and finds nothing built.
        clone = self.directory()
        author = ["-c", "user.name=tests", "-c", "user.email=tests@example.org"]
        self.run_tool("git", "init", "--quiet", clone)
        self.run_tool("git", "-C", clone, *author, "commit", "--quiet", "--allow-empty", "--message", "older")
        commit = self.run_tool("git", "-C", clone, "rev-parse", "HEAD")
        held = self.ended(modules, copies=True, directory=clone / "tests/deploy", commit=commit)
        self.assertIn("check_upgrade.Passes", held.stdout)

    def test_arm64_without_a_compiler_is_said_and_red_where_it_is_required(self):
        modules, clone = {"check_arm64": PASSES, "check_other": PASSES}, self.directory()
        tried = self.ended(modules, copies=True, directory=clone / "tests/deploy")
        self.assertIn("check_arm64.Passes", tried.stdout)
        (clone / "target/arm64").mkdir(parents=True)
        (clone / "target/arm64/unavailable").write_text("this Debian has no rustc-web\n")
        left = self.ended(modules, copies=True, directory=clone / "tests/deploy")
        self.assertEqual(left.returncode, 0, left.stdout)
        self.assertIn("NOT CHECKED: check_arm64: this Debian has no rustc-web", left.stdout)
        self.assertNotIn("check_arm64.Passes", left.stdout)
        required = self.ended(modules, copies=True, directory=clone / "tests/deploy", FORESHADOW_ARM64="required")
        self.assertEqual(required.returncode, 1)

    def test_continuous_integration_requires_all_that_can_be_had(self):
        author = ["-c", "user.name=tests", "-c", "user.email=tests@example.org"]
        whole = self.directory()
        self.run_tool("git", "init", "--quiet", whole)
        for name in (".ci/run", "tests/run", "tests/deploy/older-commit"):
            (whole / name).parent.mkdir(exist_ok=True)
        shutil.copy(HERE.parents[1] / ".ci/run", whole / ".ci/run")
        (whole / "tests/run").write_text("env\n")

        def commit(says: str) -> str:
            self.run_tool("git", "-C", whole, "add", ".")
            self.run_tool("git", "-C", whole, *author, "commit", "--quiet", "--allow-empty", "--message", says)
            return self.run_tool("git", "-C", whole, "rev-parse", "HEAD")

        (whole / "tests/deploy/older-commit").write_text(f"# The first.\n{commit('first')}")
        commit("second")
        shallow, cut_off = self.directory() / "shallow", self.directory() / "cut-off"
        for clone in (shallow, cut_off):
            self.run_tool("git", "clone", "--quiet", "--depth", "1", f"file://{whole}", clone)
        self.run_tool("git", "-C", cut_off, "remote", "set-url", "origin", f"file://{cut_off}/nowhere")
        # Every variable by which something can be left out, as the runners and the tests name them.
        named = "".join((HERE.parents[1] / name).read_text() for name in ("tests/run", "tests/deploy/run.py", "tests/tests/processes/faults.rs"))
        every = set(re.findall(r"FORESHADOW_[A-Z0-9]+", named)) - {"FORESHADOW_BINARIES", "FORESHADOW_UNTIL"}
        self.assertGreaterEqual(every, {"FORESHADOW_COPY", "FORESHADOW_INJECTORS"})
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FORESHADOW_")}
        environment["FORESHADOW_UNTIL"] = "format"
        # A shallow clone fetches what it lacks; only where nothing can be fetched it goes without.
        for clone, required in ((whole, every), (shallow, every), (cut_off, every - {"FORESHADOW_OLDER"})):
            ended = run("bash", clone / ".ci/run", env=environment)
            self.assertEqual((ended.returncode, ended.stderr), (0, ""))
            self.assertEqual({line.removesuffix("=required") for line in ended.stdout.splitlines() if line.endswith("=required")}, required)
            self.assertNotIn("FORESHADOW_UNTIL", ended.stdout, "a part is not all")

    def test_what_is_left_out_is_said_where_it_would_be_and_at_the_end(self):
        """tests/run itself, of a clone that does not hold the older commit, with nothing but these lines to do."""
        text = (HERE.parents[1] / "tests/run").read_text()
        older = text[text.index("older=$(") : text.index('step "lints')]
        end = text[text.index('step "what the lints say"') :]
        directory = self.directory()
        (directory / "tests/deploy").mkdir(parents=True)
        shutil.copy(HERE / "older-commit", directory / "tests/deploy")
        said = self.run_tool("bash", "-euc", f"step() {{ echo \"== $*\"; }}; {older}\ntrue & lints=$!\n{end}", cwd=directory)
        self.assertEqual(said.count("upgrades are NOT CHECKED"), 2, said)
        self.assertRegex(said.splitlines()[-1], r"^== green, but upgrades are NOT CHECKED .*: this clone does not hold [0-9a-f]{40}")

    def test_a_skip_is_red_and_so_is_nothing(self):
        self.assertEqual(self.ended({"check_other": SKIPS}, copies=True).returncode, 1)
        self.assertEqual(self.ended({"check_packages": PASSES}, copies=False, FORESHADOW_COPY="optional").returncode, 1)
