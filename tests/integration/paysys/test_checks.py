"""Django's own checks under the test settings: among them one line of migrations per app (max_migration.txt)."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.core.management import call_command


@pytest.mark.django_db(databases="__all__")
def test_every_check_passes_on_the_real_servers() -> None:
    call_command("check", databases=list(settings.DATABASES), fail_level="WARNING")


def test_every_app_of_ours_keeps_a_max_migration_file() -> None:
    ours = [name.split(".")[0] for name in settings.INSTALLED_APPS if ".apps." in name]
    with_migrations = [name for name in ours if (settings.BASE_DIR / name / "migrations").is_dir()]
    assert set(with_migrations) >= {"foundation", "funds", "gateway", "identity", "orders", "payments", "redpacket"}
    for name in with_migrations:
        folder = settings.BASE_DIR / name / "migrations"
        newest = max(path.stem for path in folder.glob("0*.py"))
        assert (folder / "max_migration.txt").read_text().strip() == newest
