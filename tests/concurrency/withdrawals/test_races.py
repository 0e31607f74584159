"""Racing on real MariaDB: limits, approvals and sendings happen as often as they may, whoever comes first."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import pytest
from django.db import connections

from foundation import clock
from foundation.errors import Busy, PaysysError
from funds import selectors as funds
from funds.domain.entries import employee_account
from gateway.ports import Outcome, PayoutRequest, Result
from tests.books import assert_books_balance
from tests.integration.withdrawals import people
from withdrawals.models import Withdrawal
from withdrawals.services import application, approving, sending

pytestmark = pytest.mark.usefixtures("committed_db")


def race(calls: list[Callable[[], str]], *, threads: int = 20) -> Counter[str]:
    """Runs all calls from so many threads that start together; counts what each said (its answer or error code)."""
    said: list[str] = []
    waiting = list(calls)
    start = threading.Barrier(threads)

    def run() -> None:
        start.wait()
        try:
            while True:
                try:
                    call = waiting.pop()
                except IndexError:
                    return
                try:
                    said.append(call())
                except PaysysError as refusal:
                    said.append(refusal.code)
        finally:
            connections.close_all()

    workers = [threading.Thread(target=run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return Counter(said)


def test_of_a_hundred_racing_applications_three_pass() -> None:
    employee = people.rich(1_000_000)
    said = race([lambda: people.apply(employee, 100, "wechat").state for _ in range(100)])
    while said["busy"]:  # nothing is wrong with those: they come again
        again = said.pop("busy")
        said += race([lambda: people.apply(employee, 100, "wechat").state for _ in range(again)], threads=4)
    assert said == {"APPLIED": 3, "risk_rejected": 97}
    wallet = funds.get_wallet(account=employee_account(employee.pk, employee.enterprise_id))
    assert (wallet.available_fen, wallet.frozen_fen) == (999_700, 300)
    assert Withdrawal.objects.filter(employee_id=employee.pk).count() == 3
    assert_books_balance()


@pytest.mark.parametrize("attempt", range(6))
def test_approval_rejection_and_cancellation_race_and_one_wins(attempt: int) -> None:
    employee = people.rich(50_000)
    row = people.apply(employee, 10_000)
    seen = approving.digest_of(row)
    checker, other = people.approver(), people.approver()

    def reject() -> str:
        approving.reject(order_no=row.order_no, approver=other, seen_digest=seen, reason="not this", now=clock.now())
        return "REJECTED"

    def cancel() -> str:
        return application.cancel(order_no=row.order_no, employee_id=employee.pk, now=clock.now()).state

    said = race([lambda: people.approve(row, checker).state, reject, cancel], threads=3)
    winners = [name for name in ("APPROVED", "REJECTED", "CANCELLED") if said[name]]
    assert len(winners) == 1, said
    row.refresh_from_db()
    assert row.state == winners[0]
    wallet = funds.get_wallet(account=employee_account(employee.pk, employee.enterprise_id))
    assert wallet.frozen_fen == (10_000 if row.state == "APPROVED" else 0)


def test_many_workers_send_one_withdrawal_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[PayoutRequest] = []

    def pay_out(*, channel: str, request: PayoutRequest) -> Result:
        sent.append(request)
        return Result(outcome=Outcome.PENDING)

    monkeypatch.setattr(sending.calls, "pay_out", pay_out)
    row = people.approve(people.apply(people.rich(), 10_000))
    said = race([lambda: str(sending.send(order_no=row.order_no, now=clock.now())) for _ in range(20)], threads=10)
    assert (said["True"], said["False"] + said[Busy.code]) == (1, 19)
    assert [(request.is_first, request.amount_fen) for request in sent] == [(True, 10_000)]
    row.refresh_from_db()
    assert (row.state, row.payout_no) == ("SENT", sent[0].payout_no)
    assert_books_balance()
