"""The whole suite with two order databases on two servers, then what touches orders again with four.

    python -m tests.suite             both; the exit code of the first that fails
    python -m tests.suite ARGS…       one pytest with these arguments, on two order databases

The servers and their addresses come from tests/provision.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

MORE_ORDERS = "PAYSYS_TEST_MORE_ORDERS"
TESTS = Path(__file__).resolve().parent
FLOWS_WITHOUT_SHARDS = {
    "test_make_run.py",  # SQLite, one database for everything
}
OWN_DATABASES = "test_moving*.py"
"""Tests that make their own databases, two and four: the same in both runs."""


def list_order_tests(*, tests: Path = TESTS) -> list[str]:
    """Every tests/*/orders directory with tests and the flows that run on the test databases."""
    folders = sorted({path.parent for path in tests.glob("*/orders/test_*.py") if not path.match(OWN_DATABASES)})
    flows = sorted(path for path in (tests / "flows").glob("test_*.py") if path.name not in FLOWS_WITHOUT_SHARDS)
    return [str(path.relative_to(tests.parent)) for path in (*folders, *flows)]


def environment_with_four(*, environment: dict[str, str]) -> dict[str, str]:
    """The environment with two more order databases: N = 4 by configuration only."""
    return {**environment, **json.loads(environment[MORE_ORDERS])}


def main(arguments: Sequence[str]) -> int:
    """Runs pytest once or twice; the exit code."""
    pytest = [sys.executable, "-m", "pytest"]
    code = subprocess.run([*pytest, *arguments]).returncode
    if code or arguments:
        return code
    print("\nagain with four order databases", flush=True)
    four = environment_with_four(environment=dict(os.environ))
    return subprocess.run([*pytest, f"--ignore-glob=*/{OWN_DATABASES}", *list_order_tests()], env=four).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
