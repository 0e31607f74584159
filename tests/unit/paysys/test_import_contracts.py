"""The import contracts hold, and they fail when they are broken on purpose."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system import ROOT

OUTSIDE = {"tests", "benchmarks", "bootstrap"}
"""Packages that no contract is about."""
PACKAGES = [path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name not in OUTSIDE]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / ".importlinter", tmp_path / ".importlinter")
    return tmp_path


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    linter = Path(sys.executable).parent / "lint-imports"
    return subprocess.run([str(linter), "--no-cache"], cwd=tree, capture_output=True, text=True, check=False)


def test_contracts_hold(tree: Path) -> None:
    result = lint(tree)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


def test_every_package_is_under_the_contracts() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    assert sorted(contracts["importlinter"]["root_packages"].split()) == sorted(PACKAGES)


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("funds/services/ledger.py", "import payments.services.purchase", "Calls only go down"),
        ("orders/domain/states.py", "import django.db", "Pure domain"),
        ("orders/services/opening.py", "import orders.admin", "One shape inside apps"),
        ("redpacket/services/send.py", "import funds.services.ledger", "Business sees only the platform"),
        ("payments/services/purchase.py", "import orders.models", "Private order tables"),
        ("payments/services/purchase.py", "import funds.models", "Private ledger"),
        ("payments/services/purchase.py", "import gateway.adapters.wechat", "Adapters via registry"),
        ("simulator/desk.py", "import foundation.money", "The simulator knows none of us"),
        ("gateway/services/calls.py", "import simulator.server", "None of us knows the simulator"),
        ("payments/services/purchase.py", "import django_sharding_library.router", "django-sharding stands behind"),
        ("payments/admin.py", "import unfold.admin", "The theme stands behind one module"),
    ],
)
def test_a_broken_contract_is_found(tree: Path, module: str, line: str, contract: str) -> None:
    target = tree / module
    target.write_text(target.read_text(encoding="utf-8") + f"\n{line}  # noqa\n", encoding="utf-8")
    result = lint(tree)
    assert result.returncode != 0
    broken = [row for row in result.stdout.splitlines() if row.startswith(contract)]
    assert any("BROKEN" in row for row in broken), result.stdout
