"""A debit that finds too little, and a credit that arrives before the door has read by how much."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
from django.db import connections

from foundation.errors import Busy
from funds.services import ledger, rows
from tests.concurrency.funds.test_races import NOW, available, someone, transfer

pytestmark = pytest.mark.usefixtures("committed_db")


def test_money_that_arrives_during_a_refusal_makes_no_defect_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Posted, refused or "come back": each is right, for the two have no order. An unexpected error is not."""
    payer, payee, rich = someone(5), someone(1), someone(100)
    right, arrived = rows.change_balances, []

    def credit() -> None:
        entry = transfer(rich, payer, 100, uuid.uuid4().hex)
        ledger.in_transaction(lambda: ledger.post(entry=entry, now=NOW))
        connections.close_all()

    def change_and_let_money_arrive(*args: Any, **more: Any) -> Any:
        changed = right(*args, **more)
        if threading.current_thread() is threading.main_thread() and not arrived:
            arrived.append(threading.Thread(target=credit))
            arrived[0].start()
            arrived[0].join(10)
            assert not arrived[0].is_alive()
        return changed

    monkeypatch.setattr(rows, "change_balances", change_and_let_money_arrive)
    entry = transfer(payer, payee, 10, uuid.uuid4().hex)
    try:
        ledger.in_transaction(lambda: ledger.post(entry=entry, now=NOW))
        expected = (95, 11)
    except (ledger.InsufficientFunds, Busy):
        expected = (105, 1)
    assert len(arrived) == 1
    assert (available(payer), available(payee), available(rich)) == (*expected, 0)
