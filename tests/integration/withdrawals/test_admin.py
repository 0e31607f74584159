"""The desk of withdrawals: permissions, codes, two people at one moment, many at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import Client
from django.urls import reverse
from django_otp.oath import totp

from foundation.models import Alert
from identity.models import Authenticator, StaffProfile
from identity.services import staff_codes
from tests.integration.withdrawals import people
from withdrawals.models import Decision, PayoutPolicy, Withdrawal
from withdrawals.services import approving

pytestmark = pytest.mark.usefixtures("committed_db")
ALL = ("view_withdrawal", "approve_withdrawal", "assign_withdrawal", "operate_payouts")
LIST = "admin:withdrawals_withdrawal_changelist"


def member(*names: str, is_superuser: bool = False) -> tuple[Client, User, Authenticator]:
    """A member of staff, logged in with a code; his device is as new afterwards, so that a test need not wait."""
    user = people.staff("desk")
    user.is_superuser = is_superuser
    user.save()
    user.user_permissions.set(Permission.objects.filter(codename__in=names, content_type__app_label="withdrawals"))
    device = staff_codes.provide(user=user)
    client = Client(headers={"accept-language": "en"})
    client.force_login(user)
    client.post(reverse("staff_code"), {"code": code(device)})
    Authenticator.objects.filter(pk=device.pk).update(last_t=-1)
    return client, user, device


def code(device: Authenticator) -> str:
    return f"{totp(device.bin_key):06d}"


def url(row: Withdrawal, step: str) -> str:
    return reverse(f"admin:withdrawals_withdrawal_{step}", args=[row.pk])


def form(row: Withdrawal, device: Authenticator, **more: str) -> dict[str, str]:
    return {"digest": approving.digest_of(Withdrawal.objects.get(pk=row.pk)), "code": code(device), **more}


def state(row: Withdrawal) -> str:
    return Withdrawal.objects.get(pk=row.pk).state


def test_a_page_for_each_permission() -> None:
    row = people.apply(people.rich())
    reader, *_rest = member("view_withdrawal")
    shown = reader.get(reverse("admin:withdrawals_withdrawal_change", args=[row.pk])).content.decode()
    assert row.payee_masked in shown
    assert f"/admin/risk/decision/{row.risk_decision_id}/" in shown
    assert "0 of 1" in shown
    for step in ("approve", "reject", "comment", "assign"):
        assert reader.get(url(row, step)).status_code == 403
        assert reader.post(url(row, step), {}).status_code == 403
    assert reader.post(url(row, "check")).status_code == 403
    assert reader.post(reverse("admin:withdrawals_withdrawal_bulk")).status_code == 403
    stranger, *_rest = member()
    assert stranger.get(reverse(LIST)).status_code == 403
    assert state(row) == "APPLIED"


def test_list_has_few_queries_totals_and_no_open_number(django_assert_max_num_queries: Any) -> None:
    employee = people.rich()
    rows = [people.apply(employee, 12_345) for _ in range(3)]
    client, *_rest = member(*ALL)
    with django_assert_max_num_queries(15):
        shown = client.get(reverse(LIST), {"q": str(employee.pk)}).content.decode()
    assert all(row.pk in shown for row in rows)
    assert shown.count("370.35") >= 2


def test_approve_needs_a_right_code_that_was_not_used() -> None:
    first, second = people.apply(people.rich()), people.apply(people.rich())
    client, user, device = member(*ALL)
    for wrong in ("", "12345"):
        client.post(url(first, "approve"), form(first, device) | {"code": wrong})
        assert (state(first), Decision.objects.filter(withdrawal=first).count()) == ("APPLIED", 0)
        Authenticator.objects.filter(pk=device.pk).update(throttling_failure_count=0)
    answer = client.post(url(first, "approve"), form(first, device))
    assert (answer.status_code, state(first)) == (302, "APPROVED")
    said = Decision.objects.get(withdrawal=first)
    assert (said.decided_by_id, said.code_device) == (user.pk, f"totp:{device.pk}")
    again = client.post(url(second, "approve"), form(second, device))
    assert "was used already" in again.content.decode()
    assert state(second) == "APPLIED"


def test_superusers_are_not_exempt_from_four_eyes_nor_own_money() -> None:
    employee = people.rich(3_000_000)
    large, own = people.apply(employee, 600_000), people.apply(people.rich())
    client, user, device = member(is_superuser=True)
    client.post(url(large, "approve"), form(large, device))
    Authenticator.objects.filter(pk=device.pk).update(last_t=-1)
    shown = client.post(url(large, "approve"), form(large, device)).content.decode()
    assert "another person must" in shown
    assert state(large) == "APPLIED"
    StaffProfile.objects.create(user=user, employee_id=own.employee_id)
    Authenticator.objects.filter(pk=device.pk).update(last_t=-1)
    shown = client.post(url(own, "approve"), form(own, device)).content.decode()
    assert "your own withdrawal" in shown
    assert (state(own), Decision.objects.filter(withdrawal=own).count()) == ("APPLIED", 0)
    other, _user, others = member(*ALL)
    other.post(url(large, "approve"), form(large, others))
    assert state(large) == "APPROVED"


def test_a_changed_withdrawal_is_not_approved() -> None:
    row = people.apply(people.rich())
    client, _user, device = member(*ALL)
    shown = client.post(url(row, "approve"), form(row, device) | {"digest": "0" * 64}).content.decode()
    assert "has changed since you opened it" in shown
    assert state(row) == "APPLIED"


def test_two_people_at_the_same_moment_one_wins_and_the_other_is_told() -> None:
    row = people.apply(people.rich())
    pair = [member(*ALL), member(*ALL)]
    barrier, answers = threading.Barrier(2), {}

    def click(number: int, action: str) -> None:
        client, _user, device = pair[number]
        sent = form(row, device, reason="not plausible")
        barrier.wait()
        answers[number] = client.post(url(row, action), sent, follow=True)
        connections.close_all()

    threads = [threading.Thread(target=click, args=item) for item in ((0, "approve"), (1, "reject"))]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    decided = Decision.objects.get(withdrawal=row)
    loser = 1 if decided.decided_by_id == pair[0][1].pk else 0
    told = answers[loser].content.decode()
    assert "has been decided already" in told
    assert f"by {pair[1 - loser][1].username} at 20" in told


def test_reject_needs_a_reason_before_it_takes_the_code() -> None:
    row = people.apply(people.rich())
    client, _user, device = member(*ALL)
    client.post(url(row, "reject"), form(row, device, reason="no"))
    assert state(row) == "APPLIED"
    client.post(url(row, "reject"), form(row, device, reason="the card is not his"))
    assert (state(row), Withdrawal.objects.get(pk=row.pk).reason) == ("REJECTED", "the card is not his")


def test_ask_back_and_assign_leave_it_waiting() -> None:
    row = people.apply(people.rich())
    client, user, _device = member(*ALL)
    client.post(url(row, "comment"), {"reason": "which project is it?"})
    client.post(url(row, "assign"), {"to": str(user.pk)})
    present = Withdrawal.objects.get(pk=row.pk)
    assert (present.state, present.assigned_to_id) == ("APPLIED", user.pk)
    kinds = list(row.events.order_by("version").values_list("kind", flat=True))
    assert kinds[-2:] == ["comment", "assigned"]


def test_bulk_says_how_many_asks_one_code_and_gives_each_result() -> None:
    rows = [people.apply(people.rich()) for _ in range(3)]
    own = rows[2]
    client, user, device = member(*ALL)
    StaffProfile.objects.create(user=user, employee_id=own.employee_id)
    shown = client.post(
        reverse(LIST), {"action": "approve_many", "_selected_action": [row.pk for row in rows]}
    ).content.decode()
    assert "2 of 3 eligible, total ¥200.00" in shown
    assert "it is your own" in shown
    items = [f"{row.pk}:{approving.digest_of(row)}" for row in rows[:2]]
    people.approve(rows[1])
    done = client.post(reverse("admin:withdrawals_withdrawal_bulk"), {"item": items, "code": code(device)})
    assert "1 of 2 approved" in done.content.decode()
    assert "has been decided already" in done.content.decode()
    assert [state(row) for row in rows] == ["APPROVED", "APPROVED", "APPLIED"]


def test_a_pause_has_a_reason_and_is_shown_on_the_desk() -> None:
    client, *_rest = member(*ALL, "change_payoutpolicy", "view_payoutpolicy")
    fields = {
        "channel": "kuaiqian", "is_paused": "on", "paused_reason": "", "two_approvals_above_fen": "5,000.5",
        "min_amount_fen": "1", "max_amount_fen": "¥50,000.00", "daily_cap_fen": "0", "window_from_hour": "0",
        "window_to_hour": "24", "max_in_flight": "20", "float_warning_fen": "0",
    }  # fmt: skip
    add = reverse("admin:withdrawals_payoutpolicy_add")
    assert client.post(add, fields).status_code == 200
    for wrong in ("1.234", "-1", "", "ten", "1e3", "99999999999999"):
        assert client.post(add, fields | {"paused_reason": "bank is away", "max_amount_fen": wrong}).status_code == 200
    assert not PayoutPolicy.objects.filter(pk="kuaiqian").exists()
    try:
        assert client.post(add, fields | {"paused_reason": "bank is away"}).status_code == 302
        made = PayoutPolicy.objects.get(pk="kuaiqian")
        assert (made.two_approvals_above_fen, made.min_amount_fen, made.max_amount_fen) == (500_050, 100, 5_000_000)
        page = client.get(reverse("admin:withdrawals_payoutpolicy_change", args=["kuaiqian"])).content.decode()
        assert 'value="5000.50"' in page
        assert "bank is away" in client.get(reverse(LIST)).content.decode()
        PayoutPolicy.objects.filter(pk="kuaiqian").update(float_warning_fen=10**12)
        before = Alert.objects.filter(code="payout_float_low").count()
        assert client.get(reverse("admin:withdrawals_payoutpolicy_changelist")).status_code == 200
        assert Alert.objects.filter(code="payout_float_low").count() == before  # to look is not to call
    finally:
        PayoutPolicy.objects.filter(pk="kuaiqian").delete()
