"""Races on the ledger with real connections, and a control that shows what they would do without it."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable

import pytest
from django.db import connections

from foundation.db import transactions
from funds import selectors
from funds.domain import movements
from funds.domain.entries import AccountRef, Bucket, Category, Entry, Line, employee_account
from funds.models import Account
from funds.services import ledger
from tests import worlds

pytestmark = pytest.mark.usefixtures("committed_db")
NOW = worlds.NOW
THREADS, ROUNDS = 16, 12
_ids = itertools.count(uuid.uuid4().int % 10**9 + 10**9)


def someone(amount_fen: int) -> AccountRef:
    number = next(_ids)
    account = employee_account(number, number)
    reference = uuid.uuid4().hex
    entry = Entry(
        kind="test_money",
        reference=reference,
        lines=(
            Line(account=account, bucket=Bucket.AVAILABLE, amount_fen=amount_fen, category=Category.RECHARGE),
            Line(
                account=movements.platform_account("1110", "test"),
                bucket=Bucket.AVAILABLE,
                amount_fen=-amount_fen,
                category=Category.PLATFORM,
            ),
        ),
    )
    ledger.in_transaction(lambda: ledger.post(entry=entry, now=NOW))
    return account


def transfer(payer: AccountRef, payee: AccountRef, amount_fen: int, reference: str) -> Entry:
    return Entry(
        kind="test_transfer",
        reference=reference,
        lines=(
            Line(account=payer, bucket=Bucket.AVAILABLE, amount_fen=-amount_fen, category=Category.CONSUMPTION),
            Line(account=payee, bucket=Bucket.AVAILABLE, amount_fen=amount_fen, category=Category.INCOME),
        ),
    )


def race(work: Callable[[int], None], threads: int = THREADS) -> list[BaseException]:
    """Runs `work(index)` in threads that start together; returns what escaped."""
    start, escaped = threading.Barrier(threads), []

    def body(index: int) -> None:
        try:
            start.wait()
            work(index)
        except BaseException as error:
            escaped.append(error)
        finally:
            connections.close_all()

    running = [threading.Thread(target=body, args=(index,)) for index in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return escaped


def available(account: AccountRef) -> int:
    return selectors.get_wallet(account=account).available_fen


def test_transfers_in_opposite_directions_lose_nothing_and_no_deadlock_escapes() -> None:
    one, other = someone(10_000), someone(10_000)

    def work(index: int) -> None:
        payer, payee = (one, other) if index % 2 else (other, one)
        for _ in range(ROUNDS):
            entry = transfer(payer, payee, 7, uuid.uuid4().hex)
            ledger.in_transaction(lambda entry=entry: ledger.post(entry=entry, now=NOW))

    assert race(work) == []
    assert (available(one), available(other)) == (10_000, 10_000)


def test_fifty_threads_post_one_reference_once() -> None:
    payer, payee = someone(1_000), someone(1)
    entry, created = transfer(payer, payee, 100, uuid.uuid4().hex), []

    def work(index: int) -> None:
        created.append(ledger.in_transaction(lambda: ledger.post(entry=entry, now=NOW)).created)

    assert race(work, threads=50) == []
    assert sorted(created) == [False] * 49 + [True]
    assert (available(payer), available(payee)) == (900, 101)


def test_spending_more_than_there_is_lets_exactly_the_affordable_ones_pass() -> None:
    payer, payee = someone(100), someone(1)
    passed = []

    def work(index: int) -> None:
        entry = transfer(payer, payee, 30, uuid.uuid4().hex)
        ledger.in_transaction(lambda: ledger.post(entry=entry, now=NOW))
        passed.append(index)

    refused = race(work)
    assert {type(error) for error in refused} == {ledger.InsufficientFunds}
    assert (len(passed), len(refused)) == (3, 13)
    assert (available(payer), available(payee)) == (10, 91)


def test_control_read_compute_write_without_a_lock_loses_money() -> None:
    """The same race done the naive way on a scratch table: if it lost nothing, the tests above would prove nothing."""
    with connections["funds"].cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS scratch_balance (id INT PRIMARY KEY, fen BIGINT NOT NULL)")
        cursor.execute("REPLACE INTO scratch_balance VALUES (1, 0)")

    def work(index: int) -> None:
        for _ in range(ROUNDS):

            def add() -> None:
                with connections["funds"].cursor() as cursor:
                    cursor.execute("SELECT fen FROM scratch_balance WHERE id = 1")
                    fen = cursor.fetchone()[0]
                    cursor.execute("UPDATE scratch_balance SET fen = %s WHERE id = 1", [fen + 1])

            transactions.run(add, using="funds")

    assert race(work) == []
    with connections["funds"].cursor() as cursor:
        cursor.execute("SELECT fen FROM scratch_balance WHERE id = 1")
        total = cursor.fetchone()[0]
        cursor.execute("DROP TABLE scratch_balance")
    assert total < THREADS * ROUNDS


def test_account_rows_are_opened_once_by_racing_first_postings() -> None:
    number = next(_ids)
    newcomer, payer = employee_account(number, number), someone(1_000)

    def work(index: int) -> None:
        entry = transfer(payer, newcomer, 1, uuid.uuid4().hex)
        ledger.in_transaction(lambda: ledger.post(entry=entry, now=NOW))

    assert race(work) == []
    assert Account.objects.filter(owner_id=str(number)).count() == 1
    assert available(newcomer) == THREADS
