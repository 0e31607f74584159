"""Every list of the admin and the page of the API, as a browser takes them: nothing refused, nothing broken."""

from __future__ import annotations

import uuid

from django.contrib import admin
from django.urls import reverse

from tests import worlds
from tests.browser.conftest import Desks
from tests.browser.test_withdrawal_life import Member
from tests.system import System

SHOWN = ("foundation_limit", "orders_orderindex", "withdrawals_withdrawal")


def test_every_list_of_the_admin_opens_without_an_error_on_the_console(desks: Desks) -> None:
    boss = Member(desks, "boss", locale="zh-CN")
    boss.user.is_superuser = True
    boss.user.save()
    boss.log_in()
    for model in admin.site._registry:
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        page = boss.desk.open(reverse(f"admin:{name}_changelist"))
        assert page.locator("#content").count() == 1, name
        if name in SHOWN:
            boss.desk.shoot(name)


def test_the_page_of_the_api_works_under_its_policy(desks: Desks) -> None:
    desk = desks.of("developer")
    page = desk.open("/api/docs/")
    page.wait_for_selector(".swagger-ui .opblock")
    page.click("#operations-auth-auth_login .opblock-summary-control, .opblock-summary-control >> nth=0")
    page.wait_for_selector(".opblock.is-open")
    desk.shoot("docs")


def test_the_page_of_an_article_works_under_its_policy(system: System, desks: Desks) -> None:
    """Its script logs in, shows the article and counts the seconds; nothing of it is inline."""
    sender, reader = worlds.make_world(2).employees
    worlds.give_money(sender, 1_000)
    article = {"url": "https://example.com/news/1", "reading_seconds": 3}
    body = {
        "kind": "normal",
        "total_fen": 500,
        "count": 1,
        "receiver": reader.code,
        "pay": "wallet",
        "article": article,
    }
    sent = system.api(worlds.token_of(sender), "POST", "redpackets", body, key=uuid.uuid4().hex)
    assert sent.status_code == 201, sent.text
    desk = desks.of("reader")
    page = desk.open(f"/api/v1/redpackets/{sent.json()['redpacket']['id']}/article")
    for name, value in (
        ("enterprise", reader.enterprise.code),
        ("employee", reader.code),
        ("password", worlds.PASSWORD),
    ):
        page.fill(f"[name={name}]", value)
    page.click("[type=submit]")
    page.wait_for_selector("#ready:visible", timeout=20_000)
    assert page.get_attribute("#link", "href") == article["url"]
    desk.shoot("article")
