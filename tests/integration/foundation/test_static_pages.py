"""Pages without state as files: what the view would answer, whole at every moment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from foundation import clock, static_pages
from foundation.errors import Broken
from foundation.static_pages import Page

pytestmark = pytest.mark.django_db(databases="__all__")


def test_the_file_is_what_the_address_answers(client: Client, tmp_path: Path) -> None:
    root = tmp_path / "pages"
    call_command("write_pages", into=str(root), verbosity=0)
    assert sorted(path.name for path in root.iterdir()) == ["api-schema.json", "api-schema.yaml"]
    assert (root / "api-schema.yaml").read_bytes() == client.get("/api/schema/").content
    document = json.loads((root / "api-schema.json").read_text())
    assert document == yaml.safe_load((root / "api-schema.yaml").read_text())
    assert (root / "api-schema.yaml").stat().st_mode & 0o777 == 0o644


def test_a_page_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "gone.html").write_text("old")
    with pytest.raises(Broken):
        static_pages.write_all(root=tmp_path, pages=(Page(address="/api/v1/wallet", file="gone.html"),))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("gone.html", "old")]


def test_the_job_writes_where_the_settings_say_and_nothing_without(settings: Settings, tmp_path: Path) -> None:
    job = static_pages.WritePages()
    settings.STATIC_PAGES_ROOT = ""
    assert job.run(now=clock.now()) == {}
    with pytest.raises(CommandError, match="PAYSYS_STATIC_PAGES_ROOT"):
        call_command("write_pages")
    settings.STATIC_PAGES_ROOT = str(tmp_path)
    assert set(job.run(now=clock.now())) == {"api-schema.json", "api-schema.yaml"}
