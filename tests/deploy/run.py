"""Everything below deploy/ and in the documents, tried with what it is made for: real peers and the real binaries.

    target/tools/bin/python tests/deploy/run.py [MODULE[.CLASS[.TEST]] …]

Needs `cargo build --workspace --all-targets` before; FORESHADOW_BINARIES names another directory of binaries. Without names all
modules run, each in a process of its own, two at a time: most of them wait more than they compute.

Some need root and a kernel that copies a system on write. Where that cannot be had it is red; FORESHADOW_COPY=optional leaves them out.
Upgrades need an older build, which tests/run makes of a commit, and arm64 a compiler: where the clone does not hold the one or Debian not
the other, that is left out; FORESHADOW_OLDER=required and FORESHADOW_ARM64=required make it red, and .ci/run sets both (the first once it has
fetched what its clone lacks).
"""

import concurrent.futures
import os
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).parent
# These install and change things on a copy-on-write copy of this system, which needs root and a kernel that lets it.
NEEDS_A_COPY = {"check_packages", "check_documents", "check_tarball", "check_upgrade"}
NEEDS_OLDER = {"check_upgrade"}
NEEDS_ARM64 = {"check_arm64"}


class Timed(unittest.TextTestResult):
    def startTest(self, test):
        self.begun = time.monotonic()
        super().startTest(test)

    def addSuccess(self, test):
        unittest.TestResult.addSuccess(self, test)
        self.stream.writeln(f"ok ({time.monotonic() - self.begun:.1f} s)")


def here(names: list) -> int:
    sys.path.insert(0, str(HERE))
    suite = unittest.defaultTestLoader.loadTestsFromNames(names)
    ended = unittest.TextTestRunner(verbosity=2, resultclass=Timed).run(suite)
    # A skipped check proves nothing, and no checks prove it no better.
    return 0 if ended.wasSuccessful() and ended.testsRun and not ended.skipped else 1


def no_copy():
    """Why this system cannot be copied on write; None where it can."""
    sys.path.insert(0, str(HERE))
    from product import on_a_copy  # noqa: PLC0415 (beside this file)

    with tempfile.TemporaryDirectory() as room:
        ended = on_a_copy(Path(room), HERE, "test -d /mnt && touch /tried")
    return None if ended.returncode == 0 else ended.stderr.strip()


def older_commit() -> str:
    return next(line for line in (HERE / "older-commit").read_text().splitlines() if not line.startswith("#"))


def older() -> Path:
    """Where tests/run puts the older build and its source."""
    return HERE.parents[1] / "target/older" / older_commit()


def no_older():
    """Why there cannot be an older build; None where there is one, or where it is only not built yet."""
    asked = ["git", "-C", str(HERE), "cat-file", "-e", f"{older_commit()}^{{commit}}"]
    if older().exists() or subprocess.run(asked, stderr=subprocess.DEVNULL, check=False).returncode == 0:
        return None
    return f"this clone does not hold commit {older_commit()}: git fetch --unshallow"


def no_arm64():
    """Why tests/run could not build the agent for arm64; None where it did, or did not try."""
    said = HERE.parents[1] / "target/arm64/unavailable"
    return said.read_text().strip() if said.exists() else None


def everything() -> int:
    # The longest first: they are those that need a copy.
    modules = sorted((path.stem for path in HERE.glob("check_*.py")), key=lambda name: name not in NEEDS_A_COPY)
    failed = []
    if (problem := no_copy()) is not None:
        modules = [module for module in modules if module not in NEEDS_A_COPY]
        print(f"NOT CHECKED: {', '.join(sorted(NEEDS_A_COPY))}: this system cannot be copied on write: {problem}")
        if os.environ.get("FORESHADOW_COPY") != "optional":
            print("FORESHADOW_COPY=optional leaves them out")
            failed += sorted(NEEDS_A_COPY)
    for needing, why_not, variable in (
        (NEEDS_OLDER, no_older, "FORESHADOW_OLDER"),
        (NEEDS_ARM64, no_arm64, "FORESHADOW_ARM64"),
    ):
        if needing.intersection(modules) and (problem := why_not()) is not None:
            modules = [module for module in modules if module not in needing]
            print(f"NOT CHECKED: {', '.join(sorted(needing))}: {problem}")
            if os.environ.get(variable) == "required":
                failed += sorted(needing)

    def one(module: str):
        return subprocess.run([sys.executable, __file__, module], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)

    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        running = {pool.submit(one, module): module for module in modules}
        for done in concurrent.futures.as_completed(running):
            ended = done.result()
            sys.stdout.write(ended.stdout.decode(errors="replace"))
            sys.stdout.flush()
            if ended.returncode != 0:
                failed.append(running[done])
    if failed or not modules:
        print(f"failed: {', '.join(failed)}; one alone: {sys.executable} {__file__} MODULE")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(here(sys.argv[1:]) if sys.argv[1:] else everything())
