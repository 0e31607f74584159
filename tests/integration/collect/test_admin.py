"""Staff's pages of collecting: who may take which step, four eyes, codes for where money goes, search, statistics."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django_otp.oath import totp

from collect.admin import chart
from collect.admin.chart import Bar
from collect.models import Binding, Collection, Manager
from foundation import clock, ids
from identity.models import Authenticator, StaffProfile
from identity.services import staff_codes
from tests.integration.collect import merchants
from tests.integration.collect.codes_and_collections import Shop, code_of, give_back, paid, shop

pytestmark = pytest.mark.django_db(databases="__all__")
VIEW = ("view_binding", "view_code", "view_collection", "view_crmrecord")


@pytest.fixture
def here() -> Shop:
    return shop()


def member(*names: str, is_superuser: bool = False) -> tuple[Client, User]:
    """A member of staff with these permissions, an authenticator and an open session of his own."""
    user = User.objects.create_user(f"m-{ids.new_id()[:20]}", is_staff=True, is_superuser=is_superuser)
    wanted = Permission.objects.filter(codename__in=(*VIEW, *names), content_type__app_label="collect")
    user.user_permissions.set(wanted)
    waiting = staff_codes.start(user=user)
    staff_codes.confirm(user=user, code=f"{totp(waiting.bin_key, drift=-1):06d}", now=clock.now())
    client = Client(headers={"accept-language": "en"})
    client.force_login(user)
    session = client.session
    device = Authenticator.objects.get(user=user)
    session["otp_device_id"] = device.persistent_id
    session.save()
    return client, user


def code(user: User) -> str:
    return f"{totp(Authenticator.objects.get(user=user).bin_key):06d}"


def step(row: Binding, name: str) -> str:
    return reverse(f"admin:collect_binding_{name}", args=[row.pk])


def state(row: Binding) -> str:
    row.refresh_from_db()
    return row.state


def test_an_account_goes_from_draft_into_use_by_three_people(here: Shop) -> None:
    row = merchants.draft(here.manager)
    maker, _ = member("verify_binding")
    checker, checking = member("approve_binding")
    finance, switching = member("switch_binding")
    page = maker.get(reverse("admin:collect_binding_change", args=[row.pk])).content.decode()
    assert step(row, "verify") in page
    assert step(row, "approve") not in page
    assert maker.post(step(row, "verify"), {"note": "x"}).status_code == 200  # too short an evidence
    assert state(row) == "DRAFT"
    assert maker.post(step(row, "verify"), {"note": merchants.EVIDENCE}).status_code == 302
    assert state(row) == "VERIFIED"
    for sent in ({}, {"code": "000000"}):
        assert checker.post(step(row, "approve"), sent).status_code == 200
        assert state(row) == "VERIFIED"
    Authenticator.objects.filter(user=checking).update(throttling_failure_count=0, throttling_failure_timestamp=None)
    assert checker.post(step(row, "approve"), {"code": code(checking)}).status_code == 302
    assert state(row) == "APPROVED"
    assert row.approved_by_id == checking.pk
    assert finance.post(step(row, "activate"), {"code": code(switching)}).status_code == 302
    assert state(row) == "ACTIVE"
    here.wechat.refresh_from_db()
    assert here.wechat.state == "DISABLED"  # one in use for a channel
    assert finance.post(step(row, "disable"), {"note": "The account was closed"}).status_code == 302
    assert state(row) == "DISABLED"
    page = finance.get(reverse("admin:collect_binding_change", args=[row.pk])).content.decode()
    assert merchants.EVIDENCE in page
    assert [event.state for event in row.events.order_by("id")] == [
        *("DRAFT", "VERIFIED", "APPROVED", "ACTIVE", "DISABLED"),
    ]


def test_steps_need_their_permission_and_the_state_before(here: Shop) -> None:
    row = merchants.draft(here.manager)
    nobody, _ = member()
    for name in ("verify", "approve", "reject", "activate", "disable"):
        assert nobody.get(step(row, name)).status_code == 403
        assert nobody.post(step(row, name), {"note": merchants.EVIDENCE}).status_code == 403
    everything, user = member("verify_binding", "approve_binding", "switch_binding")
    for name in ("approve", "activate", "disable"):
        assert everything.get(step(row, name)).status_code == 302
        everything.post(step(row, name), {"note": merchants.EVIDENCE, "code": code(user)})
    assert state(row) == "DRAFT"
    assert everything.get(reverse("admin:collect_binding_verify", args=["nothing"])).status_code == 404


def test_nobody_approves_what_he_made_superusers_neither(here: Shop) -> None:
    row = merchants.draft(here.manager)
    boss, user = member(is_superuser=True)
    StaffProfile.objects.create(user=user, employee=here.manager)
    assert boss.post(step(row, "verify"), {"note": merchants.EVIDENCE}).status_code == 302
    answer = boss.post(step(row, "approve"), {"code": code(user)})
    assert "you made this yourself" in answer.content.decode()
    assert state(row) == "VERIFIED"


def test_collections_are_found_by_any_number(here: Shop) -> None:
    client, _ = member()
    order = code_of(here.manager, is_once=True, amount_fen=700)
    row = paid(order, here.wechat, amount_fen=700)
    paid(code_of(here.manager), here.wechat)
    address = reverse("admin:collect_collection_changelist")
    for number in (row.pk, row.order_no, row.attempt_no, row.provider_no, order.pk):
        page = client.get(address, {"q": number})
        assert [found.pk for found in page.context["cl"].result_list] == [row.pk], number
    for nothing in ("nothing", "收款", "' OR 1=1", "x" * 300):
        assert list(client.get(address, {"q": nothing}).context["cl"].result_list) == []
    page = client.get(reverse("admin:collect_collection_change", args=[row.pk])).content.decode()
    assert f"{reverse('admin:orders_orderindex_changelist')}?q={row.order_no}" in page
    assert reverse("admin:collect_code_change", args=[order.pk]) in page


def test_statistics_show_the_month_of_an_enterprise_with_a_chart(here: Shop) -> None:
    at = dt.datetime(2026, 11, 22, 4, tzinfo=dt.UTC)
    row = paid(code_of(here.cashier, subject="Till & <b>"), here.wechat, amount_fen=123_456, at=at)
    give_back(row, 456)
    client, _ = member()
    address = reverse("admin:collect_collection_statistics")
    enterprise = here.manager.enterprise
    listed = client.get(address, {"month": "2026-11"}).content.decode()
    assert f"enterprise={enterprise.code}" in listed
    page = client.get(address, {"month": "2026-11", "enterprise": enterprise.code}).content.decode()
    assert all(part in page for part in ("¥1,234.56", "¥4.56", "¥1,230.00", "<svg role=", "Till &amp; &lt;b&gt;"))
    assert "There is no enterprise" in client.get(address, {"enterprise": "nobody"}).content.decode()
    for month in ("", "2026-13", "x", "0000-01"):
        assert client.get(address, {"month": month}).status_code == 200
    stranger = User.objects.create_user(f"m-{ids.new_id()[:20]}", is_staff=True)
    other = Client()
    other.force_login(stranger)
    assert other.get(address).status_code == 403


def test_a_code_is_disabled_by_who_may(here: Shop) -> None:
    row = code_of(here.manager)
    address = reverse("admin:collect_code_disable", args=[row.pk])
    looking, _ = member()
    assert looking.post(address).status_code == 403
    assert address not in looking.get(reverse("admin:collect_code_change", args=[row.pk])).content.decode()
    risk, _ = member("disable_code")
    assert address in risk.get(reverse("admin:collect_code_change", args=[row.pk])).content.decode()
    assert risk.get(address).status_code == 405
    assert risk.post(address).status_code == 302
    row.refresh_from_db()
    assert row.state == "DISABLED"


def test_managers_are_appointed_by_who_may_under_his_name(here: Shop) -> None:
    address = reverse("admin:collect_manager_add")
    looking, _ = member("view_manager")
    assert looking.post(address, {"employee": here.cashier.pk}).status_code == 403
    assert not Manager.objects.filter(pk=here.cashier.pk).exists()
    finance, user = member("appoint_manager")
    assert finance.post(address, {"employee": here.cashier.pk}).status_code == 302
    assert Manager.objects.get(pk=here.cashier.pk).appointed_by_id == user.pk
    answer = finance.post(reverse("admin:collect_manager_delete", args=[here.cashier.pk]), {"post": "yes"})
    assert answer.status_code == 302
    assert not Manager.objects.filter(pk=here.cashier.pk).exists()


def test_nothing_of_money_is_changed_here(here: Shop) -> None:
    row = paid(code_of(here.manager), here.wechat)
    boss, _ = member(is_superuser=True)
    for name, key in (("collection", row.pk), ("code", row.code_id), ("binding", row.binding_id)):
        assert boss.get(reverse(f"admin:collect_{name}_add")).status_code == 403
        assert boss.post(reverse(f"admin:collect_{name}_delete", args=[key]), {"post": "yes"}).status_code == 403
    assert Collection.objects.filter(pk=row.pk).exists()


@pytest.mark.parametrize(
    ("values", "top"), [([0], "¥0.04"), ([4, 5], "¥0.08"), ([123_456], "¥2,000.00"), ([400_000], "¥4,000.00")]
)
def test_the_chart_ends_at_a_round_amount(values: list[int], top: str) -> None:
    drawn = chart.draw([Bar(label=str(index), value_fen=value) for index, value in enumerate(values)], title="A & B")
    assert f">{top}</text>" in drawn
    assert drawn.count("<rect") == len(values)
    assert 'aria-label="A &amp; B"' in drawn


def test_no_bars_no_chart() -> None:
    found: Any = chart.draw([], title="x")
    assert found == ""
