"""Every package that is installed is pinned by hash, and what is installed fits together. Works without a network.

Known flaws of packages are in a data base on the internet: what can be said offline is that nothing else than what was
looked at is installed (bootstrap/venv.py: --require-hashes, --no-deps).
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys

import pytest
from packaging.markers import Marker
from packaging.utils import canonicalize_name

from tests.system import ROOT

LOCKS = ("requirements.txt", "requirements-dev.txt")
_PIN = re.compile(r"([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)(?: ; (.+?)(?=\s+--hash))?", re.IGNORECASE)
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
KNOWN_MISFIT = "django-sharding 5.2.0 has requirement django<4.0.0,>=1.11"
"""Said in requirements-overrides.txt: what we use of it works."""


def entries(lock: str) -> list[str]:
    """One text for each package: its line and the continued ones."""
    lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
    joined = "\n".join(line for line in lines if not line.lstrip().startswith("#")).replace("\\\n", "")
    return [line for line in joined.splitlines() if line.strip()]


def pins_here(lock: str) -> dict[str, str]:
    """Name → version of what the lock installs on this machine; fails where that is two versions."""
    pins: dict[str, str] = {}
    for entry in entries(lock):
        match = _PIN.match(entry)
        assert match is not None, entry[:60]
        if match[3] is None or Marker(match[3]).evaluate():
            assert canonicalize_name(match[1]) not in pins, f"{match[1]} twice"
            pins[canonicalize_name(match[1])] = match[2]
    return pins


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_has_one_version_and_hashes(lock: str) -> None:
    found = entries(lock)
    assert len(found) > 30
    assert [entry[:60] for entry in found if not _PIN.match(entry) or not _HASH.search(entry)] == []
    assert len(pins_here(lock)) > 30
    addresses = [entry[:60] for entry in found if "://" in entry or " @ " in entry or entry.startswith("-")]
    assert addresses == [], "from a registry by name, from nowhere else"


def test_what_was_locked_is_installed() -> None:
    """A developer's environment may hold more; the bootstrap installs nothing else."""
    pins = {name: version for lock in LOCKS for name, version in pins_here(lock).items()}
    installed = {canonicalize_name(one.metadata["Name"]): one.version for one in importlib.metadata.distributions()}
    assert {name: version for name, version in pins.items() if installed.get(name) != version} == {}


def test_what_is_installed_fits_together() -> None:
    check = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    wrong = [line for line in check.stdout.splitlines() if line and not line.startswith(KNOWN_MISFIT)]
    assert [line for line in wrong if "No broken requirements" not in line] == []
