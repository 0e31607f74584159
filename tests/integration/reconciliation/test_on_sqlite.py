"""The embedded default stands on SQLite: the same tables refuse the same things there, and a day is reconciled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import io, uuid
import django
django.setup()
from django.conf import settings
from django.core.management import call_command
from pathlib import Path
call_command("migrate_all", stdout=io.StringIO())
from gateway.services import calls
from reconciliation.models import Run
from tests import worlds
from tests.integration.reconciliation import bills, test_guards
settings.RECONCILIATION_ROOT = Path(settings.DATABASES["default"]["NAME"]).parent / "raw"
guards = [name for name in dir(test_guards) if name.startswith("test_")]
for name in guards:
    moments = dict.fromkeys(("deadline_at", "created_at", "changed_at"), test_guards.NOW)
    run = Run.objects.create(channel="wechat", account=uuid.uuid4().hex, kind="TRADE", day=bills.DAY, **moments)
    getattr(test_guards, name)(run)
provider = bills.Provider()
calls.download_bill = provider.download_bill
person = worlds.make_world(1).employees[0]
paid = [bills.pay(person, fen, bills.NOON) for fen in (1000, 2000, 3000)]
rows = [row for row in bills.rows_of(bills.DAY) if row["商户订单号"] != paid[1]]
run = bills.reconcile(provider, bills.DAY, bills.render([*rows, bills.row("EXTRA1", 77, bills.NOON)]))
assert bills.found(run) == [("OURS_ONLY", paid[1], 2000), ("THEIRS_ONLY", "EXTRA1", 77)], bills.found(run)
print(f"{len(guards)} refusals as on MariaDB, {run.matched_rows} rows matched")
"""


def test_tables_and_reads_mean_the_same_on_sqlite(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")}
    environment = {
        **kept,
        "DATABASE_URL": f"sqlite:///{tmp_path / 'reconciliation.sqlite3'}",
        "DJANGO_SETTINGS_MODULE": "paysys.settings.dev",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "6 refusals as on MariaDB, 2 rows matched"
