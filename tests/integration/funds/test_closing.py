"""Day close, snapshots, balances at a moment and trial balances. Days of 2020: no other test's money lies there."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db import DatabaseError, connections, transaction

from foundation import clock
from foundation.errors import NotFound
from funds import proof, reports
from funds.domain import movements
from funds.domain.entries import AccountRef, Entry, employee_account, enterprise_account, platform_account
from funds.models import AccountSnapshot, ClosedDay
from funds.services import closing, ledger
from tests.integration.funds.moves import fresh, someone

pytestmark = pytest.mark.django_db(databases="__all__")

FIRST = dt.date(2020, 3, 1)
CHANNEL = "closing-test"
CLEARING = platform_account("1110", CHANNEL)


def at(day: int, hour: int, minute: int = 0, second: int = 0) -> dt.datetime:
    """A moment of March 2020 in Shanghai."""
    return dt.datetime(2020, 3, day, hour, minute, second, tzinfo=clock.BUSINESS_ZONE).astimezone(dt.UTC)


def post(entry: Entry, now: dt.datetime) -> ledger.PostedJournal:
    return ledger.in_transaction(lambda: ledger.post(entry=entry, now=now))


def recharge(owner: AccountRef, fen: int, now: dt.datetime) -> None:
    number = fresh()
    post(
        movements.recharge(order_no=number, attempt_no=number, channel=CHANNEL, owner=owner, amount_fen=fen),
        now,
    )


def freeze(owner: AccountRef, fen: int, now: dt.datetime) -> None:
    post(movements.freeze(order_no=fresh(), owner=owner, amount_fen=fen, hold_key=fresh("k")), now)


def transfer(payer: AccountRef, payee: AccountRef, fen: int, now: dt.datetime) -> None:
    post(movements.transfer(order_no=fresh(), payer=payer, payee=payee, amount_fen=fen), now)


@pytest.fixture
def three_days() -> tuple[AccountRef, AccountRef]:
    """March 1st: A gets 1 000 and freezes 300. March 2nd: nothing. March 3rd: A pays B 150 on the last second."""
    a, b = someone(), someone()
    recharge(a, 1000, at(1, 0, 0, 1))
    freeze(a, 300, at(1, 12))
    transfer(a, b, 150, at(3, 23, 59, 59))
    recharge(b, 5, at(4, 0, 0, 0))
    return a, b


def close(day: int) -> ClosedDay:
    return closing.close_day(day=dt.date(2020, 3, day), now=at(day, 23, 59) + dt.timedelta(hours=1))


def line(day: int, code: str) -> tuple[int, int, int, int]:
    found = {row.code: row for row in reports.get_trial_balance(day=dt.date(2020, 3, day)).lines}[code]
    return found.opening_fen, found.debit_fen, found.credit_fen, found.closing_fen


def broken() -> list[str]:
    return [line.name for line in proof.prove_closing() if not line.ok]


def test_trial_balances_follow_each_other(three_days: tuple[AccountRef, AccountRef]) -> None:
    for day in (1, 2, 3):
        close(day)
    assert line(1, "1110") == (0, 1000, 0, -1000)
    assert line(1, "2010") == (0, 300, 1000, 700)
    assert line(1, "2020") == (0, 0, 300, 300)
    assert line(2, "2010") == (700, 0, 0, 700)
    assert line(3, "2010") == (700, 150, 150, 700)
    third = reports.get_trial_balance(day=dt.date(2020, 3, 3))
    assert (third.journal_count, third.posting_count, third.debit_fen, third.credit_fen) == (1, 2, 150, 150)
    assert sum(row.closing_fen for row in third.lines) == 0
    assert broken() == []


def test_balance_at_a_moment_counts_what_was_posted_before_it(three_days: tuple[AccountRef, AccountRef]) -> None:
    a, b = three_days

    def seen(account: AccountRef, until: dt.datetime) -> tuple[int, int]:
        found = reports.balance_at(account=account, until=until)
        return found.available_fen, found.frozen_fen

    def everything() -> list[tuple[int, int]]:
        return [
            seen(a, at(1, 0, 0, 1)),
            seen(a, at(1, 0, 0, 2)),
            seen(a, at(1, 12, 0, 1)),
            seen(a, at(3, 23, 59, 59)),
            seen(a, at(4, 0)),
            seen(b, at(4, 0)),
            seen(b, at(4, 0, 0, 1)),
            seen(CLEARING, at(2, 0)),
            seen(CLEARING, at(4, 1)),
        ]

    expected = [(0, 0), (1000, 0), (700, 300), (700, 300), (550, 300), (150, 0), (155, 0), (-1000, 0), (-1005, 0)]
    assert everything() == expected
    for day in (1, 2, 3):
        close(day)
    assert AccountSnapshot.objects.count() == 4  # two accounts moved on the first day, two on the third
    assert everything() == expected
    assert reports.balance_at(account=someone()) == reports.NOTHING


def test_closed_day_takes_no_journal(three_days: tuple[AccountRef, AccountRef]) -> None:
    a, _ = three_days
    close(1)
    with pytest.raises(ledger.DayClosed), transaction.atomic(using="funds"):
        recharge(a, 1, at(1, 23, 59, 59))
    assert reports.balance_at(account=a).available_fen == 550
    recharge(a, 1, at(2, 0))
    assert reports.balance_at(account=a).available_fen == 551


def test_days_are_closed_in_order_and_only_when_they_are_over(three_days: tuple[AccountRef, AccountRef]) -> None:
    assert closing.next_day_to_close() == FIRST
    with pytest.raises(closing.DayOutOfOrder):
        close(2)
    with pytest.raises(closing.DayNotOver):
        closing.close_day(day=FIRST, now=at(2, 0, 9, 59))
    assert not ClosedDay.objects.exists()
    first = closing.close_day(day=FIRST, now=at(2, 0, 10))
    assert closing.close_day(day=FIRST, now=at(9, 0)) == first
    assert closing.close_due_days(now=at(4, 0, 10)) == [dt.date(2020, 3, 2), dt.date(2020, 3, 3)]
    assert closing.close_due_days(now=at(4, 23)) == []
    with pytest.raises(NotFound):
        reports.get_trial_balance(day=dt.date(2020, 3, 4))


@pytest.mark.parametrize("table", ["closedday", "trialbalanceline", "accountsnapshot"])
@pytest.mark.parametrize("action", ["UPDATE {} SET {} = {}", "DELETE FROM {}"])
def test_database_refuses_to_change_what_was_closed(
    three_days: tuple[AccountRef, AccountRef], table: str, action: str
) -> None:
    close(1)
    column = {"closedday": "closed_at", "trialbalanceline": "code", "accountsnapshot": "frozen_fen"}[table]
    with (
        pytest.raises(DatabaseError, match="insert-only"),
        transaction.atomic(using="funds"),
        connections["funds"].cursor() as cursor,
    ):
        cursor.execute(action.format(f"funds_{table}", column, column))


def test_platform_snapshots_keep_the_reading_short(three_days: tuple[AccountRef, AccountRef]) -> None:
    a, _ = three_days
    close(1)
    recharge(a, 7, at(5, 10))
    assert closing.snapshot_platform_accounts(now=at(5, 11), at_least=3) == 0
    assert closing.snapshot_platform_accounts(now=at(5, 11), at_least=2) == 1
    newest = AccountSnapshot.objects.order_by("-taken_at").first()
    assert newest is not None
    assert (newest.taken_at, newest.available_fen, newest.frozen_fen) == (at(5, 10, 50), -1012, 0)
    recharge(a, 8, at(5, 10, 55))
    assert reports.balance_at(account=CLEARING).available_fen == -1020
    assert closing.close_due_days(now=at(6, 1)) == [dt.date(2020, 3, day) for day in (2, 3, 4, 5)]
    assert reports.balance_at(account=CLEARING, until=at(6, 0)).available_fen == -1020
    assert broken() == []


def test_running_statement_of_customer_and_platform(three_days: tuple[AccountRef, AccountRef]) -> None:
    a, _ = three_days
    close(1)
    close(2)
    found = reports.running_statement(account=a, since=at(1, 0), until=at(4, 0))
    assert [(row.kind, row.bucket.value, row.amount_fen, row.balance_fen) for row in found.lines] == [
        ("recharge", "AVAILABLE", 1000, 1000),
        ("freeze", "AVAILABLE", -300, 700),
        ("freeze", "FROZEN", 300, 300),
        ("transfer", "AVAILABLE", -150, 550),
    ]
    assert (found.opening, found.closing) == (reports.NOTHING, reports.Balance(available_fen=550, frozen_fen=300))
    later = reports.running_statement(account=CLEARING, since=at(3, 0), until=at(5, 0))
    assert (later.opening.available_fen, later.closing.available_fen) == (-1000, -1005)
    cut = reports.running_statement(account=a, since=at(1, 0), until=at(4, 0), limit=2)
    assert (cut.is_cut, len(cut.lines), cut.closing.available_fen) == (True, 2, 700)


def test_enterprise_movement_adds_up_for_each_span(three_days: tuple[AccountRef, AccountRef]) -> None:
    enterprise_id = int(fresh()[:8], 16) + 10**10
    e = enterprise_account(enterprise_id)
    c, d = (employee_account(enterprise_id + number, enterprise_id) for number in (1, 2))
    outside = someone()
    recharge(e, 10_000, at(5, 9))
    transfer(e, c, 4000, at(5, 10))
    transfer(c, outside, 600, at(5, 11))
    freeze(c, 100, at(6, 1))
    transfer(outside, d, 50, at(6, 2))
    closing.close_due_days(now=at(6, 1))
    first = reports.enterprise_movement(enterprise_id=enterprise_id, since=at(5, 0), until=at(6, 0))
    assert first == reports.Movement(
        opening_fen=0,
        recharge_fen=10_000,
        income_fen=4000,
        withdrawal_fen=0,
        consumption_fen=4600,
        closing_fen=9400,
    )
    second = reports.enterprise_movement(enterprise_id=enterprise_id, since=at(6, 0), until=at(7, 0))
    assert (second.opening_fen, second.income_fen, second.closing_fen) == (9400, 50, 9450)
    assert first.is_balanced
    assert second.is_balanced
    owners = reports.list_owner_movements(enterprise_id=enterprise_id, since=at(5, 0), until=at(7, 0))
    assert [(row.code, row.movement.closing_fen, row.frozen_fen) for row in owners] == [
        ("2110", 6000, 0),
        ("2010", 3400, 100),
        ("2010", 50, 0),
    ]
    assert all(row.movement.is_balanced for row in owners)
    assert (enterprise_id, 3, 9350, 100) in reports.list_enterprise_ids(limit=1000)


def test_proof_finds_a_wrong_snapshot(three_days: tuple[AccountRef, AccountRef]) -> None:
    """A row that was never true (inserted, so no trigger has to be dropped) is found and named."""
    close(1)
    account = AccountSnapshot.objects.filter(available_fen=700).get().account
    AccountSnapshot.objects.create(
        account=account, taken_at=at(2, 0, 0, 1), available_fen=701, frozen_fen=300, later_posting_id=1
    )
    assert broken() == ["the newest snapshot of each account equals its postings"]
    assert f"{account.pk} (701)" in proof.prove_closing()[3].detail


def test_money_in_transit_grows_old(three_days: tuple[AccountRef, AccountRef]) -> None:
    """Payments to return may stand for three days: 70 of 100 fen were returned, 30 are left."""
    number = fresh()
    receipt = movements.receipt_to_return(order_no=number, attempt_no=number, channel=CHANNEL, amount_fen=100)
    post(receipt, at(10, 8))
    post(movements.return_start(refund_no=fresh(), order_no=number, amount_fen=70, channel=CHANNEL), at(11, 8))

    def old(now: dt.datetime) -> str:
        return proof.prove_ageing(now=now).detail

    def standing() -> set[str]:
        return {part for part in old(at(13, 8, 1)).split(", ") if CHANNEL in part}

    assert CHANNEL not in old(at(13, 7, 59))
    assert standing() == {f"2410 {CHANNEL} (30)"}
    assert f"2320 {CHANNEL} (70)" in old(at(18, 8, 1))
