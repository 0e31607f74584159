"""The finance desk as people see it: two languages, screens of two sizes, light and dark; nothing serious for axe."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from django.urls import reverse
from playwright.sync_api import Browser, Page

from tests.browser.conftest import Desk, Desks
from tests.browser.test_withdrawal_life import Member
from tests.integration.withdrawals import people
from tests.system import System

PHONE = {"width": 390, "height": 844}
SERIOUS = {"serious", "critical"}


def faults(page: Page) -> list[tuple[str, str]]:
    """(rule, where) of what axe calls serious or worse."""
    page.wait_for_load_state("networkidle")
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in SERIOUS]


def is_too_wide(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


def test_desk_lists_and_pages_have_no_serious_fault(system: System, desks: Desks, chromium: Browser) -> None:
    """One member of staff at two windows: Chinese, large and light; English, a phone and dark."""
    row = people.apply(people.rich(), 10_000)
    boss = Member(desks, "boss", locale="zh-CN")
    boss.user.is_superuser = True
    boss.user.save()
    boss.log_in()
    context = chromium.new_context(
        locale="en-US",
        viewport=PHONE,  # type: ignore[arg-type]
        color_scheme="dark",
        is_mobile=True,
        storage_state=boss.desk.page.context.storage_state(),
    )
    phone = Desk(context, system.base_url, "phone")
    desks.opened.append(phone)
    desktop_pages = [
        reverse("admin:index"),
        reverse("admin:withdrawals_withdrawal_changelist"),
        reverse("admin:orders_orderindex_change", args=[row.pk]),
    ]
    phone_pages = [
        reverse("admin:index"),
        reverse("admin:desk_stuck"),
        reverse("admin:withdrawals_withdrawal_change", args=[row.pk]),
        reverse("admin:foundation_limit_add"),
    ]
    wrong = {}
    for desk, language, addresses in ((boss.desk, "zh-hans", desktop_pages), (phone, "en", phone_pages)):
        for address in addresses:
            page = desk.open(address)
            assert page.get_attribute("html", "lang") == language
            found = faults(page) + ([("too wide", "")] if is_too_wide(page) else [])
            wrong |= {(desk.name, address): found} if found else {}
        desk.open(addresses[0])
        desk.shoot("desk")
    assert wrong == {}
    assert (
        phone.page.evaluate("getComputedStyle(document.querySelector('#main')).backgroundColor") != "rgb(255, 255, 255)"
    )


def test_ctrl_k_finds_a_number_and_enter_goes_there(desks: Desks) -> None:
    row = people.apply(people.rich(), 10_000)
    first = Member(desks, "wang", locale="zh-CN")
    first.log_in()
    page = first.desk.open(reverse("admin:index"))
    page.wait_for_load_state("networkidle")
    page.keyboard.press("Control+k")
    page.wait_for_function("document.activeElement.id === 'search-input-command'")
    page.keyboard.type(row.pk)
    page.wait_for_selector(f"#command-results-list a[data-title='{row.pk}']")
    first.desk.shoot("found")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{reverse('admin:withdrawals_withdrawal_change', args=[row.pk])}")
