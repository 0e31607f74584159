"""What is shared by the ledger's tests: fresh owners and one-line movements."""

from __future__ import annotations

import itertools
import uuid

from funds import selectors
from funds.domain import movements
from funds.domain.entries import AccountRef, Entry, employee_account
from funds.services import ledger
from tests.worlds import NOW

_ids = itertools.count(uuid.uuid4().int % 10**9 + 10**9)


def someone() -> AccountRef:
    """An owner that no other test knows; the enterprise is his alone, too."""
    number = next(_ids)
    return employee_account(number, number)


def fresh(prefix: str = "") -> str:
    """A number or key never used before."""
    return prefix + uuid.uuid4().hex[: 32 - len(prefix)]


def post(entry: Entry) -> ledger.PostedJournal:
    return ledger.in_transaction(lambda: ledger.post(entry=entry, now=NOW))


def recharged(owner: AccountRef, amount_fen: int, number: str = "") -> ledger.PostedJournal:
    number = number or fresh()
    return post(
        movements.recharge(order_no=number, attempt_no=number, channel="wechat", owner=owner, amount_fen=amount_fen)
    )


def frozen(owner: AccountRef, amount_fen: int, key: str) -> ledger.PostedJournal:
    return post(movements.freeze(order_no=fresh(), owner=owner, amount_fen=amount_fen, hold_key=key))


def wallet(owner: AccountRef) -> tuple[int, int]:
    """(available, frozen) in fen."""
    found = selectors.get_wallet(account=owner)
    return found.available_fen, found.frozen_fen
