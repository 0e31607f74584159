"""Every list of the admin and the page of the API, as a browser takes them: nothing refused, nothing broken."""

from __future__ import annotations

from django.contrib import admin
from django.urls import reverse

from tests.browser.conftest import Desks
from tests.browser.test_withdrawal_life import Member

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
