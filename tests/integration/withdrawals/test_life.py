"""Every path of a withdrawal against the real adapters and the simulator; each ends with balanced books."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from pytest_django import Settings

from foundation import clock, outbox
from foundation.errors import InvalidRequest, NotFound, PermissionDenied
from foundation.models import Alert, OutboxEvent
from funds import selectors as funds
from funds.domain.entries import employee_account
from funds.services.ledger import InsufficientFunds
from gateway.ports import NoticeFact, NoticeKind, Outcome, Result
from identity.models import Employee
from orders import selectors as orders
from orders.domain.states import AttemptState, OrderState
from payments.services import notices
from simulator import credentials, server
from tests.books import assert_books_balance
from tests.integration.withdrawals import people
from withdrawals import proof
from withdrawals.models import PayoutPolicy, Withdrawal
from withdrawals.services import application, approving, sending, trail

pytestmark = pytest.mark.usefixtures("committed_db", "provider")
DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return credentials.initialise(directory=tmp_path_factory.mktemp("simulator")).parent


@pytest.fixture(scope="module")
def running(directory: Path) -> Iterator[server.Handle]:
    handle = server.start(directory=directory, port=0)
    yield handle
    handle.stop()


@pytest.fixture
def provider(running: server.Handle, directory: Path, settings: Settings) -> Iterator[str]:
    settings.PUBLIC_BASE_URL = "http://127.0.0.1:9"
    quick = {"connect_timeout_seconds": 2.0, "read_timeout_seconds": 1.0}
    settings.WECHAT = {
        **settings.WECHAT,
        **quick,
        "base_url": running.url,
        "credentials_file": str(directory / "credentials.json"),
    }
    settings.KUAIQIAN = {
        **settings.KUAIQIAN,
        **quick,
        "base_url": running.url,
        "card_base_url": running.url,
        "credentials_file": str(directory / "kuaiqian.json"),
    }
    yield running.url
    requests.delete(f"{running.url}/_sim/faults", timeout=5)


def wallet(employee: Employee) -> tuple[int, int]:
    found = funds.get_wallet(account=employee_account(employee.pk, employee.enterprise_id))
    return found.available_fen, found.frozen_fen


def faults(provider: str, *rules: dict[str, Any]) -> None:
    answer = requests.put(f"{provider}/_sim/faults", json={"rules": list(rules), "seed": 1}, timeout=5)
    assert answer.status_code < 300, answer.text


def decide(provider: str, payout_no: str | None, result: str) -> None:
    answer = requests.post(f"{provider}/_sim/payouts/{payout_no}", json={"result": result}, timeout=5)
    assert answer.status_code < 300, answer.text


def fresh(row: Withdrawal) -> Withdrawal:
    return Withdrawal.objects.get(pk=row.pk)


def sent(row: Withdrawal) -> Withdrawal:
    assert sending.send(order_no=row.order_no, now=clock.now())
    return fresh(row)


def settled(row: Withdrawal, *, after: dt.timedelta = DAY) -> Withdrawal:
    sending.check(order_no=row.order_no, now=clock.now() + after)
    return fresh(row)


def trace(row: Withdrawal) -> list[str]:
    return [event.kind for event in row.events.order_by("version")]


def test_to_a_bank_card_from_application_to_success(provider: str) -> None:
    employee = people.rich()
    row = people.apply(employee, 10_000)
    assert (row.state, row.approvals_needed, wallet(employee)) == ("APPLIED", 1, (990_000, 10_000))
    row = people.approve(row)
    assert row.state == "APPROVED"
    row = sent(row)
    assert (row.state, wallet(employee)) == ("SENT", (990_000, 0))
    decide(provider, row.payout_no, "success")
    row = settled(row)
    assert (row.state, wallet(employee)) == ("SUCCESS", (990_000, 0))
    order = orders.get_order(order_no=row.order_no)
    assert (order.state, order.effective_attempt_no) == (OrderState.SUCCESS, row.payout_no)
    assert [attempt.state for attempt in order.attempts] == [AttemptState.SUCCESS]
    assert trace(row) == ["applying", "applied", "approved", "sending", "sent", "success"]
    assert_books_balance()


def test_to_wechat_the_payee_confirms(provider: str) -> None:
    employee = people.rich()
    row = sent(people.approve(people.apply(employee, 10_000, "wechat")))
    assert (row.state, row.result_code) == ("SENT", "wait_user_confirm")
    assert row.confirmation is not None
    assert row.confirmation["kind"] == "confirm"
    answer = requests.post(f"{provider}/_sim/pay", json={"payment": row.confirmation}, timeout=5)
    assert answer.status_code < 300, answer.text
    row = settled(row)
    assert (row.state, row.confirmation, wallet(employee)) == ("SUCCESS", None, (990_000, 0))
    assert_books_balance()


def test_a_lost_answer_is_asked_for_again_so_that_the_payee_can_confirm(provider: str) -> None:
    employee = people.rich()
    faults(provider, {"fault": "response_malformed", "rate": 1.0, "times": 1, "operation": "transfer"})
    row = sent(people.approve(people.apply(employee, 10_000, "wechat")))
    assert (row.state, row.confirmation) == ("UNKNOWN", None)
    row = settled(row, after=dt.timedelta(seconds=30))
    assert (row.state, row.result_code) == ("SENT", "wait_user_confirm")
    assert row.confirmation is not None
    requests.post(f"{provider}/_sim/pay", json={"payment": row.confirmation}, timeout=5)
    assert (settled(row).state, wallet(employee)) == ("SUCCESS", (990_000, 0))
    assert_books_balance()


def test_a_failed_payout_gives_everything_back(provider: str) -> None:
    employee = people.rich()
    row = sent(people.approve(people.apply(employee, 10_000)))
    decide(provider, row.payout_no, "failed")
    row = settled(row)
    assert (row.state, wallet(employee)) == ("FAILED", (1_000_000, 0))
    assert orders.get_order(order_no=row.order_no).state is OrderState.FAILED
    assert [people.apply(employee, 100).state for _ in range(3)] == ["APPLIED"] * 3  # the limit of three was given back
    assert_books_balance()


def test_returned_after_success_is_booked_back_and_alerted(provider: str) -> None:
    employee = people.rich()
    row = sent(people.approve(people.apply(employee, 10_000)))
    decide(provider, row.payout_no, "success")
    assert settled(row).state == "SUCCESS"
    decide(provider, row.payout_no, "returned")
    row = settled(row)
    assert (row.state, wallet(employee)) == ("RETURNED", (1_000_000, 0))
    assert Alert.objects.filter(code="payout_returned", subject=row.order_no).exists()
    assert settled(row).state == "RETURNED"
    assert_books_balance()


def test_an_error_that_paid_is_unknown_until_proved_and_never_paid_twice(provider: str) -> None:
    employee = people.rich()
    faults(provider, {"fault": "system_error_but_done", "rate": 1.0, "channel": "kuaiqian"})
    row = sent(people.approve(people.apply(employee, 10_000)))
    assert (row.state, wallet(employee)) == ("UNKNOWN", (990_000, 0))
    first = row.payout_no
    requests.delete(f"{provider}/_sim/faults", timeout=5)
    decide(provider, first, "success")
    row = settled(row)
    assert (row.state, row.payout_no, wallet(employee)) == ("SUCCESS", first, (990_000, 0))
    paid = [
        one
        for one in requests.get(f"{provider}/_sim/payouts", timeout=5).json()["payouts"]
        if one["payout_no"] == first
    ]
    assert [(one["state"], one["amount_fen"]) for one in paid] == [("SUCCESS", 10_000)]
    assert_books_balance()


def test_rejected_the_money_is_back_and_the_order_invalid(provider: str) -> None:
    employee = people.rich()
    row = people.apply(employee, 10_000)
    who = people.approver()
    seen = approving.digest_of(row)
    with pytest.raises(InvalidRequest):
        approving.reject(order_no=row.order_no, approver=who, seen_digest=seen, reason="no", now=clock.now())
    assert wallet(employee) == (990_000, 10_000)
    row = approving.reject(
        order_no=row.order_no, approver=who, seen_digest=seen, reason="wrong card holder", now=clock.now()
    )
    assert (fresh(row).state, fresh(row).reason, wallet(employee)) == ("REJECTED", "wrong card holder", (1_000_000, 0))
    assert orders.get_order(order_no=row.order_no).state is OrderState.INVALID
    with pytest.raises(trail.AlreadyDecided) as late:
        people.approve(row)
    assert late.value.details["by"] == who.actor
    assert_books_balance()


def test_cancelled_by_its_owner_before_anybody_decided(provider: str) -> None:
    employee, other = people.rich(), people.rich()
    row = people.apply(employee, 10_000)
    with pytest.raises(NotFound):
        application.cancel(order_no=row.order_no, employee_id=other.pk, now=clock.now())
    application.cancel(order_no=row.order_no, employee_id=employee.pk, now=clock.now())
    application.cancel(order_no=row.order_no, employee_id=employee.pk, now=clock.now())
    assert (fresh(row).state, wallet(employee)) == ("CANCELLED", (1_000_000, 0))
    approved = people.approve(people.apply(employee, 10_000))
    with pytest.raises(application.NotCancellable):
        application.cancel(order_no=approved.order_no, employee_id=employee.pk, now=clock.now())
    assert wallet(employee) == (990_000, 10_000)
    assert_books_balance()


def test_above_the_limit_two_different_people_approve(provider: str) -> None:
    row = people.apply(people.rich(), 500_001)
    first = people.approver()
    assert row.approvals_needed == 2
    assert people.approve(row, first).state == "APPLIED"
    with pytest.raises(approving.SamePerson):
        people.approve(row, first)
    assert people.approve(row).state == "APPROVED"
    assert trace(row) == ["applying", "applied", "approval", "approved"]


def test_nobody_approves_his_own(provider: str) -> None:
    employee = people.rich()
    row = people.apply(employee)
    with pytest.raises(PermissionDenied):
        people.approve(row, people.approver(employee_id=employee.pk))
    assert fresh(row).state == "APPLIED"


def test_changed_since_approval_it_must_be_approved_anew(provider: str) -> None:
    row = people.approve(people.apply(people.rich()))
    Withdrawal.objects.filter(pk=row.pk).update(payee_index="f" * 64)
    assert sending.send(order_no=row.order_no, now=clock.now()) is False
    assert (fresh(row).state, fresh(row).approval_round, fresh(row).payout_no) == ("APPLIED", 2, None)
    assert Alert.objects.filter(code="withdrawal_changed_after_approval", subject=row.order_no).exists()
    stale = approving.digest_of(row)
    with pytest.raises(approving.SnapshotChanged):
        approving.approve(
            order_no=row.order_no, approver=people.approver(), seen_digest=stale, comment="", now=clock.now()
        )
    assert people.approve(row).state == "APPROVED"


def test_without_enough_money_nothing_is_left(provider: str) -> None:
    employee = people.rich(5_000)
    with pytest.raises(InsufficientFunds):
        people.apply(employee, 5_001)
    row = Withdrawal.objects.get(employee_id=employee.pk)
    assert (row.state, row.result_code, wallet(employee)) == ("FAILED", "insufficient_funds", (5_000, 0))
    assert orders.get_order(order_no=row.order_no).state is OrderState.CLOSED
    assert [people.apply(employee, 100).state for _ in range(3)] == ["APPLIED"] * 3


def test_an_application_that_died_is_completed_or_given_up(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Died(BaseException):
        pass

    def die(**more: object) -> None:
        raise Died

    frozen, early = people.rich(), people.rich()
    monkeypatch.setattr(application, "note_applied", die)
    with pytest.raises(Died):
        people.apply(frozen)
    monkeypatch.undo()
    monkeypatch.setattr(application, "_freeze", lambda *more, **most: die())
    with pytest.raises(Died):
        people.apply(early)
    monkeypatch.undo()
    application.repair_applying(now=clock.now() + dt.timedelta(minutes=3))
    assert (Withdrawal.objects.get(employee_id=frozen.pk).state, wallet(frozen)) == ("APPLIED", (990_000, 10_000))
    abandoned = Withdrawal.objects.get(employee_id=early.pk)
    assert (abandoned.state, abandoned.result_code, wallet(early)) == (
        "FAILED",
        "application_interrupted",
        (1_000_000, 0),
    )
    assert_books_balance()


def test_the_proof_finds_money_that_is_not_where_the_state_says(provider: str) -> None:
    row = people.apply(people.rich())
    names = ["every withdrawal has the journals of its state", "every waiting withdrawal's money is in its hold"]
    assert all(line.ok for line in proof.prove())
    Withdrawal.objects.filter(pk=row.pk).update(amount_fen=9_999)
    assert [line.detail for line in proof.prove() if not line.ok] == [row.order_no]
    Withdrawal.objects.filter(pk=row.pk).update(amount_fen=10_000, state="CANCELLED", finished_at=row.created_at)
    assert [line.name for line in proof.prove() if not line.ok] == names[:1]
    Withdrawal.objects.filter(pk=row.pk).update(state="APPLIED", finished_at=None)
    assert all(line.ok for line in proof.prove())


def test_a_providers_notice_reaches_the_withdrawal_through_the_outbox(provider: str) -> None:
    employee = people.rich()
    row = sent(people.approve(people.apply(employee, 10_000)))
    assert row.payout_no is not None
    fact = NoticeFact(
        event_id=f"e-{row.payout_no}",
        kind=NoticeKind.PAYOUT,
        number=row.payout_no,
        result=Result(outcome=Outcome.SUCCESS, amount_fen=10_000, happened_at=clock.now()),
    )
    for _ in range(2):
        assert notices._act("kuaiqian", fact, clock.now()) == "payout SUCCESS"
    events = OutboxEvent.objects.filter(topic="payments.payout_noticed", key=f"kuaiqian:e-{row.payout_no}")
    assert events.count() == 1
    outbox.drain(using=trail.alias(), now=clock.now)
    assert (fresh(row).state, wallet(employee)) == ("SUCCESS", (990_000, 0))
    wrong = dataclasses.replace(fact, event_id="e-wrong", result=Result(outcome=Outcome.SUCCESS, amount_fen=1))
    notices._act("kuaiqian", wrong, clock.now())
    outbox.drain(using=trail.alias(), now=clock.now)
    assert (fresh(row).state, wallet(employee)) == ("SUCCESS", (990_000, 0))
    assert_books_balance()


def test_policies_say_what_goes_and_nobody_waits_for_a_payee(provider: str) -> None:
    who = people.approver()
    rows = [people.approve(people.apply(people.rich(), 10_000, "wechat"), who) for _ in range(3)]
    numbers = [row.order_no for row in rows]

    def sendable(now: dt.datetime | None = None) -> list[str]:
        return [one for one in sending.list_sendable(now=now or clock.now()) if one in numbers]

    policy = PayoutPolicy.objects.create(channel="wechat", max_in_flight=2)
    try:
        assert len(sendable()) == 2
        assert sent(rows[0]).result_code == "wait_user_confirm"
        assert sendable() == numbers[1:]  # who must confirm does not take a place
        Withdrawal.objects.filter(pk=rows[2].pk).update(priority=1)
        assert sendable() == [numbers[2], numbers[1]]
        hours = clock.now() + dt.timedelta(hours=2)
        Withdrawal.objects.filter(pk=rows[2].pk).update(decided_at=hours)
        assert sendable(hours) == [numbers[1], numbers[2]]  # two hours of waiting are worth more than one priority
        for change, allowed in (({"is_paused": True}, 0), ({"max_in_flight": 1}, 1), ({"daily_cap_fen": 1}, 0)):
            PayoutPolicy.objects.filter(pk="wechat").update(**change)
            assert len(sendable()) == allowed, change
            PayoutPolicy.objects.filter(pk="wechat").update(is_paused=False, daily_cap_fen=0, max_in_flight=2)
        hour = clock.now().astimezone(clock.BUSINESS_ZONE).hour
        closed = {"window_from_hour": 0, "window_to_hour": hour} if hour else {"window_from_hour": 1}
        PayoutPolicy.objects.filter(pk="wechat").update(**closed)
        assert sendable() == []
    finally:
        policy.delete()
