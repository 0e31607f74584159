"""A withdrawal as people see it: applied for by API, held by risk, approved by two, paid although the bank erred."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace

from django.contrib.auth.models import Permission
from django_otp.oath import totp

from foundation import clock
from identity.models import Authenticator, Employee
from identity.services import staff_codes
from risk import selectors
from tests import worlds
from tests.books import assert_books_balance
from tests.browser.conftest import Desk, Desks
from tests.integration.risk import asking
from tests.integration.withdrawals import people
from tests.system import System
from withdrawals.models import Withdrawal

AMOUNT_FEN = 612_345
"""Above the limit of one approval (¥5,000), below a day's limit, and looked at by the rule of this test."""
PASSWORD = "a-long-password-of-staff"


class Member:
    """A checker with an authenticator and recovery codes, at his own window."""

    def __init__(self, desks: Desks, name: str, *, locale: str) -> None:
        self.user = people.staff(name)
        self.user.set_password(PASSWORD)
        self.user.save()
        names = ("view_withdrawal", "approve_withdrawal", "assign_withdrawal", "operate_payouts")
        self.user.user_permissions.set(
            [
                *Permission.objects.filter(codename__in=names, content_type__app_label="withdrawals"),
                *Permission.objects.filter(codename="view_decision", content_type__app_label="risk"),
            ]
        )
        waiting = staff_codes.start(user=self.user)
        earlier = f"{totp(waiting.bin_key, drift=-1):06d}"  # so that the code of now is still unused
        self.device, self.recovery_codes = staff_codes.confirm(user=self.user, code=earlier, now=clock.now())
        self.desk: Desk = desks.of(name, locale=locale)

    def log_in(self) -> None:
        page = self.desk.open("/admin/")
        page.fill("#id_username", self.user.username)
        page.fill("#id_password", PASSWORD)
        page.click("[type=submit]")
        page.fill("#code", self.recovery_codes[0])
        self.desk.shoot("code")
        page.click("#content-main [type=submit]")
        page.wait_for_selector("#nav-sidebar")
        assert page.url.rstrip("/").endswith("/admin")

    def code(self) -> str:
        return f"{totp(Authenticator.objects.get(pk=self.device.pk).bin_key):06d}"

    def approve(self, order_no: str, comment: str) -> None:
        page = self.desk.open(f"/admin/withdrawals/withdrawal/{order_no}/change/")
        self.desk.shoot("withdrawal")
        page.click(f"a[href$='{order_no}/approve/']")
        page.fill("#reason", comment)
        page.fill("#code", self.code())
        self.desk.shoot("approve")
        page.click("form .button.default")
        page.wait_for_selector("#main .bg-green-100")
        self.desk.shoot("approved")


def demand_review() -> None:
    """A rule, approved by another, that wants to see just this amount."""
    maker, checker = asking.staff("edit_rules"), asking.staff("approve_rules")
    rows, thresholds = selectors.get_content(version_id=asking.rule_set().active_id)
    if any(row.code == "ODD_AMOUNT" for row in rows):  # of a run before, on databases that were kept
        return
    rule = replace(asking.row("ODD_AMOUNT", f"amount_fen == {AMOUNT_FEN}", "REVIEW"), position=len(rows) + 1)
    asking.approve(asking.submitted(maker, [*rows, rule], thresholds), checker)


def apply(system: System, employee: Employee) -> str:
    card = people.bind_card(employee)
    body = {"amount_fen": AMOUNT_FEN, "channel": "kuaiqian", "bank_card_id": card.pk}
    answer = system.api(worlds.token_of(employee), "POST", "withdrawals", body, key=uuid.uuid4().hex)
    assert answer.status_code == 201, answer.text
    assert answer.json()["withdrawal"]["is_in_review"] is True
    return str(answer.json()["withdrawal"]["order_no"])


def wait_for(order_no: str, *states: str) -> str:
    deadline = time.monotonic() + 30
    while (state := Withdrawal.objects.get(pk=order_no).state) not in states:
        assert time.monotonic() < deadline, state
        time.sleep(0.1)
    return state


def test_a_withdrawal_from_application_to_the_bank(system: System, desks: Desks) -> None:
    demand_review()
    employee = worlds.make_world(1).employees[0]
    worlds.give_money(employee, 1_000_000)
    time.sleep(2)  # within which every process has the new rules
    order_no = apply(system, employee)
    assert worlds.wallet_of(employee) == (1_000_000 - AMOUNT_FEN, AMOUNT_FEN)
    rule = {"fault": "system_error_but_done", "operation": "payout", "rate": 1.0}
    assert system.simulate("PUT", "faults", {"rules": [rule], "seed": 1}).status_code == 200

    first, second = Member(desks, "wang", locale="zh-CN"), Member(desks, "smith", locale="en-US")
    first.log_in()
    first.desk.open("/admin/withdrawals/withdrawal/")
    first.desk.shoot("queue")
    assert order_no in first.desk.text()
    page = first.desk.open(f"/admin/withdrawals/withdrawal/{order_no}/change/")
    page.click("#content-main a[href*='/admin/risk/decision/']")
    assert "ODD_AMOUNT" in first.desk.text()
    first.desk.shoot("risk")
    first.approve(order_no, "the payee was called")
    assert Withdrawal.objects.get(pk=order_no).state == "APPLIED"
    first.desk.open(f"/admin/withdrawals/withdrawal/{order_no}/change/")
    assert first.desk.page.query_selector(f"a[href$='{order_no}/approve/']") is None  # now another person must

    second.log_in()
    second.approve(order_no, "agreed")
    wait_for(order_no, "UNKNOWN", "SUCCESS")
    payouts = [one for one in system.simulate("GET", "payouts").json()["payouts"] if one["amount_fen"] == AMOUNT_FEN]
    assert len(payouts) == 1  # the bank has it, whatever it said
    assert system.simulate("DELETE", "faults").status_code < 300
    number = payouts[0]["payout_no"]
    second.desk.open(f"/admin/withdrawals/withdrawal/{order_no}/change/")
    second.desk.shoot("undecided")
    system.simulate("POST", f"payouts/{number}", {"result": "success"})  # unless the bank was quicker; it tells us
    assert wait_for(order_no, "SUCCESS") == "SUCCESS"
    second.desk.open(f"/admin/withdrawals/withdrawal/{order_no}/change/")
    second.desk.shoot("success")
    assert "SUCCESS" in second.desk.text()
    assert worlds.wallet_of(employee) == (1_000_000 - AMOUNT_FEN, 0)
    passed = list(Withdrawal.objects.get(pk=order_no).events.order_by("version").values_list("state", flat=True))
    assert "UNKNOWN" in passed, passed
    decided = Withdrawal.objects.get(pk=order_no).decisions.order_by("id")
    assert [item.decided_by_id for item in decided] == [first.user.pk, second.user.pk]
    after = system.simulate("GET", "payouts").json()["payouts"]
    assert [one["payout_no"] for one in after if one["amount_fen"] == AMOUNT_FEN] == [number]
    assert_books_balance()
