"""Everything below deploy/ and in the documents, tried with what it is made for: real peers and the real binaries.

    target/tools/bin/python tests/deploy/run.py [MODULE[.CLASS[.TEST]] …]

Needs `cargo build --workspace --all-targets` before; FORESHADOW_BINARIES names another directory of binaries.
"""

import sys
import time
import unittest
from pathlib import Path

HERE = Path(__file__).parent


class Timed(unittest.TextTestResult):
    def startTest(self, test):
        self.begun = time.monotonic()
        super().startTest(test)

    def addSuccess(self, test):
        unittest.TestResult.addSuccess(self, test)
        self.stream.writeln(f"ok ({time.monotonic() - self.begun:.1f} s)")


def main() -> int:
    sys.path.insert(0, str(HERE))
    names = sys.argv[1:] or sorted(path.stem for path in HERE.glob("check_*.py"))
    suite = unittest.defaultTestLoader.loadTestsFromNames(names)
    ended = unittest.TextTestRunner(verbosity=2, resultclass=Timed).run(suite)
    # A skipped check proves nothing, and no checks prove it no better.
    return 0 if ended.wasSuccessful() and ended.testsRun and not ended.skipped else 1


if __name__ == "__main__":
    sys.exit(main())
