"""A real Chromium over a real system: what a person sees and clicks.

A page fails its test by an error on the console (a refused policy and a missing file are such), by an exception in a
script and by an answer of 5xx. Screenshots are kept under PAYSYS_TEST_ARTEFACTS, default .local/artefacts.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from pytest_django import DjangoDbBlocker

from tests.system import ROOT, System

ARTEFACTS = Path(os.environ.get("PAYSYS_TEST_ARTEFACTS") or ROOT / ".local" / "artefacts")
DESKTOP = {"width": 1280, "height": 900}


class Desk:
    """One person at one browser window of his own, with what went wrong on his pages."""

    def __init__(self, context: BrowserContext, base_url: str, name: str) -> None:
        self.page: Page = context.new_page()
        self.base_url, self.name, self._shots = base_url, name, 0
        self.wrong: list[str] = []
        self.page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("response", lambda got: self.wrong.append(f"{got.status} {got.url}") if got.status > 499 else None)

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.base_url}{path}")
        return self.page

    def text(self) -> str:
        return self.page.inner_text("body")

    def shoot(self, title: str) -> None:
        """Keeps what stands there as <test>/<person>-<number>-<title>.png."""
        self._shots += 1
        test = os.environ.get("PYTEST_CURRENT_TEST", "test").split("::")[-1].split(" ")[0]
        path = ARTEFACTS / test / f"{self.name}-{self._shots:02d}-{title}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, full_page=True)


@pytest.fixture(scope="module")
def system(
    tmp_path_factory: pytest.TempPathFactory, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[System]:
    """Web with its static files, worker, relay and simulator on the test databases."""
    with django_db_blocker.unblock():
        call_command("sync_schedule", verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        running = System(tmp_path_factory.mktemp("browser"))
        try:
            yield running.start("simulator", "web", "worker", "relay")
        finally:
            running.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    found = shutil.which("chromium")
    assert found is not None, "install the package chromium (tests/provision.py does it for root)"
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as driver:
        # Playwright's loop lives in this thread, and Django would take it for an async caller of its ORM.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


class Desks:
    """Opens a window for each person; all of them are asked at the end whether anything went wrong."""

    def __init__(self, browser: Browser, base_url: str) -> None:
        self.browser, self.base_url = browser, base_url
        self.opened: list[Desk] = []

    def of(self, name: str, *, locale: str = "en-US") -> Desk:
        context = self.browser.new_context(locale=locale, viewport=DESKTOP)  # type: ignore[arg-type]
        self.opened.append(Desk(context, self.base_url, name))
        return self.opened[-1]


@pytest.fixture
def desks(chromium: Browser, system: System, committed_db: None) -> Iterator[Desks]:
    made = Desks(chromium, system.base_url)
    yield made
    wrong = {desk.name: desk.wrong for desk in made.opened if desk.wrong}
    for desk in made.opened:
        desk.page.context.close()
    assert wrong == {}
