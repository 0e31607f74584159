"""An order's page tells its whole life to who may see it, and offers what may be done now."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from foundation import clock
from foundation.errors import Busy
from gateway.models import CallRecord
from orders import selectors as orders
from orders.domain.records import AttemptRecord
from orders.domain.states import AttemptState, OrderKind
from orders.services import numbers, opening
from orders.services.opening import NewOrder
from paysys import order_cockpit
from tests import worlds
from tests.integration.withdrawals import people

pytestmark = pytest.mark.django_db(databases="__all__")
SEE_ALL = (
    "view_orderindex",
    "view_withdrawal",
    "view_decision",
    "view_callrecord",
    "view_routingdecision",
    "view_journal",
    "view_hold",
    "view_adjustment",
    "view_auditentry",
    "view_callbackdelivery",
)


def member(*codenames: str) -> Client:
    user = User.objects.create_user(uuid.uuid4().hex[:20], is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client(headers={"accept-language": "en"})
    client.force_login(user)
    return client


def page_of(client: Client, order_no: str) -> str:
    answer = client.get(reverse("admin:orders_orderindex_change", args=[order_no]))
    assert answer.status_code == 200
    return answer.content.decode()


def open_order() -> tuple[str, str]:
    """An order with one attempt that nobody has paid yet: (order, attempt)."""
    employee = worlds.make_world(1).employees[0]
    now = clock.now()
    order_no = numbers.issue(prefix=numbers.Prefix.RECHARGE, account_id=employee.pk)
    new = NewOrder(
        order_no=order_no,
        kind=OrderKind.RECHARGE,
        amount_fen=1_234,
        employee_id=employee.pk,
        enterprise_id=employee.enterprise_id,
        subject="Recharge",
    )
    opening.open_order(new=new, now=now)
    attempt_no = numbers.issue_attempt(order_no=order_no)
    opening.open_attempt(
        order_no=order_no, attempt_no=attempt_no, channel="wechat", scene="native", amount_fen=1_234, now=now
    )
    return order_no, attempt_no


def test_a_withdrawal_s_order_tells_risk_payout_books_and_calls() -> None:
    row = people.approve(people.apply(people.rich(), 10_000))
    CallRecord.objects.create(
        channel="kuaiqian",
        operation="pay_out",
        number=row.order_no,
        outcome="PENDING",
        milliseconds=17,
        called_at=clock.now() + dt.timedelta(seconds=1),
    )
    page = page_of(member(*SEE_ALL), row.order_no)
    said = page.partition('class="orders-timeline"')[2].partition("</ol>")[0]
    places = [said.find(text) for text in ("withdrawal_freeze", "PASS", "applied", "approved", "pay_out PENDING")]
    assert -1 not in places, places
    assert places[-1] == max(places)
    assert row.payee_masked in page
    assert f'href="{reverse("admin:withdrawals_withdrawal_change", args=[row.order_no])}"' in page
    assert "1 entry in the timeline." in page


def test_what_one_may_not_see_is_named_and_not_shown() -> None:
    row = people.apply(people.rich(), 10_000)
    page = page_of(member("view_orderindex"), row.order_no)
    for permission in ("risk.view_decision", "gateway.view_callrecord", "withdrawals.view_withdrawal"):
        assert permission in page
    assert row.payee_masked not in page


def test_deeds_are_those_allowed_now() -> None:
    order_no, _attempt_no = open_order()
    ask, propose = reverse("admin:order_ask", args=[order_no]), f"adjustment/add/?order_no={order_no}"
    for codenames, expected in (
        ((), (False, False)),
        (("operate_payouts",), (True, False)),
        (("propose_adjustment",), (False, True)),
    ):
        page = page_of(member("view_orderindex", *codenames), order_no)
        assert (f'action="{ask}"' in page, propose in page) == expected, codenames
    done = worlds.give_money(worlds.make_world(1).employees[0], 500)
    page = page_of(member("view_orderindex", "operate_payouts"), done)
    assert reverse("admin:order_ask", args=[done]) not in page


def test_staff_ask_the_provider_about_every_open_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    order_no, attempt_no = open_order()
    asked: list[str] = []

    def answer(*, attempt: AttemptRecord, now: dt.datetime) -> AttemptState:
        asked.append(attempt.attempt_no)
        return AttemptState.PENDING

    monkeypatch.setattr(order_cockpit.checking, "check_attempt", answer)
    address = reverse("admin:order_ask", args=[order_no])
    client = member("view_orderindex", "operate_payouts")
    assert client.get(address).status_code == 405
    assert member("view_orderindex").post(address).status_code == 403
    assert Client().post(address)["Location"].startswith("/admin/login/")
    missing = reverse("admin:order_ask", args=["RC1" + "0" * 29])
    assert client.post(missing).status_code == 404
    assert asked == []
    page = client.post(address, follow=True).content.decode()
    assert asked == [attempt_no]
    assert f"{attempt_no}, ¥12.34: the provider says PENDING." in page
    assert orders.get_attempt(attempt_no=attempt_no).is_open


def test_a_provider_that_cannot_be_asked_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    order_no, attempt_no = open_order()

    def away(**_more: object) -> AttemptState:
        raise Busy

    monkeypatch.setattr(order_cockpit.checking, "check_attempt", away)
    client = member("view_orderindex", "operate_payouts")
    page = client.post(reverse("admin:order_ask", args=[order_no]), follow=True).content.decode()
    assert f"{attempt_no}: {Busy().message('en')}" in page


def test_deeds_that_cannot_be_named_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_more: object) -> None:
        raise RuntimeError("secret inside")

    order_no, _attempt_no = open_order()
    monkeypatch.setattr(order_cockpit, "reverse", fail)
    page = page_of(member("view_orderindex", "operate_payouts"), order_no)
    assert "secret inside" not in page
    assert order_no in page
