"""Where a withdrawal's money goes: order, attempt and ledger in one step; the ledger's commit decides.

Each function is safe to repeat: the journals' references are the order's number. `end` is called under the withdrawal's
row lock. The event that repairs the withdrawal stands in the ledger's commit (design `faults.md` 3.1, `money.md`).
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from foundation import outbox
from funds import selectors as funds
from funds.domain import movements
from funds.domain.entries import AccountRef, Entry, employee_account
from funds.services import ledger
from orders import selectors as orders
from orders.domain.records import NewOrder
from orders.domain.states import OPEN_ATTEMPT_STATES, OPEN_ORDER_STATES, AttemptState, OrderKind, OrderState
from orders.services import advancing, opening
from withdrawals.domain import events
from withdrawals.domain.states import WithdrawalState
from withdrawals.models import Withdrawal

_ORDER_STATES = {
    WithdrawalState.REJECTED: OrderState.INVALID,
    WithdrawalState.CANCELLED: OrderState.CLOSED,
    WithdrawalState.FAILED: OrderState.FAILED,
    WithdrawalState.SUCCESS: OrderState.SUCCESS,
}
_ATTEMPT_STATES = {WithdrawalState.FAILED: AttemptState.FAILED, WithdrawalState.SUCCESS: AttemptState.SUCCESS}


def owner(row: Withdrawal) -> AccountRef:
    return employee_account(row.employee_id, row.enterprise_id)


def open_order(row: Withdrawal, *, now: dt.datetime) -> None:
    """The withdrawal's order, PENDING; the one that stands there under the number stays as it is."""
    new = NewOrder(
        order_no=row.order_no,
        kind=OrderKind.WITHDRAWAL,
        amount_fen=row.amount_fen,
        employee_id=row.employee_id,
        enterprise_id=row.enterprise_id,
        subject="Withdrawal",
        channel=row.channel,
    )
    opening.open_order(new=new, now=now)


def freeze(row: Withdrawal, *, now: dt.datetime) -> bool:
    """2010 → hold. False when the order was closed meanwhile (given up). Raises InsufficientFunds."""
    entry = movements.withdrawal_freeze(order_no=row.order_no, owner=owner(row), amount_fen=row.amount_fen)

    def book() -> None:
        ledger.post(entry=entry, now=now)
        outbox.publish(
            using=ledger.alias(), topic=events.FROZEN, key=row.order_no, payload={"order_no": row.order_no}, now=now
        )

    def work() -> bool:
        if advancing.lock_order(order_no=row.order_no).state is not OrderState.PENDING:
            return False
        ledger.in_transaction(book)
        return True

    return opening.in_transaction(row.order_no, work)


def is_frozen(row: Withdrawal) -> bool:
    """Whether the money was ever frozen."""
    return funds.get_journal(kind="withdrawal_freeze", reference=row.order_no) is not None


def give_up(row: Withdrawal, *, now: dt.datetime) -> bool:
    """Closes the order of an application whose money was not frozen; False when it was frozen after all.

    The order is made first where it is missing: a slow applicant finds it closed then, and freezes nothing.
    """
    open_order(row, now=now)

    def work() -> bool:
        order = advancing.lock_order(order_no=row.order_no)
        if is_frozen(row):
            return False
        if order.state in OPEN_ORDER_STATES:
            advancing.advance_order(order_no=row.order_no, target=OrderState.CLOSED, fields={"closed_at": now})
        return True

    return opening.in_transaction(row.order_no, work)


def start(row: Withdrawal, *, now: dt.datetime) -> None:
    """The hold → 2310, and the payout's attempt, before the provider is asked for the first time."""
    assert row.payout_no is not None
    entry = movements.withdrawal_sent(
        order_no=row.order_no,
        payout_no=row.payout_no,
        channel=row.payout_channel,
        owner=owner(row),
        amount_fen=row.amount_fen,
    )

    def work() -> None:
        advancing.lock_order(order_no=row.order_no)
        open_attempt(row, now=now)
        ledger.in_transaction(lambda: ledger.post(entry=entry, now=now))

    opening.in_transaction(row.order_no, work)


def open_attempt(row: Withdrawal, *, now: dt.datetime) -> None:
    """The attempt of the present payout number; payments never asks about it (no next_check_at)."""
    assert row.payout_no is not None
    opening.open_attempt(
        order_no=row.order_no,
        attempt_no=row.payout_no,
        channel=row.payout_channel,
        scene="payout",
        amount_fen=row.amount_fen,
        now=now,
    )


def claim_first_call(row: Withdrawal) -> bool:
    """True for exactly one caller: nothing was ever sent under this number, and he will send it now."""
    assert row.payout_no is not None
    payout_no = row.payout_no

    def work() -> bool:
        advancing.lock_order(order_no=row.order_no)
        if orders.get_attempt(attempt_no=payout_no).state is not AttemptState.CREATED:
            return False
        return advancing.advance_attempt(attempt_no=payout_no, target=AttemptState.PENDING)

    return opening.in_transaction(row.order_no, work)


def end(
    row: Withdrawal,
    *,
    target: WithdrawalState,
    actor: str,
    code: str = "",
    message: str = "",
    provider_no: str = "",
    now: dt.datetime,
) -> None:
    """Money, attempt and order to where `target` says, with the event; the caller moves the withdrawal afterwards."""
    entry = _entry(row, target)

    def book() -> None:
        ledger.post(entry=entry, now=now)
        outbox.publish(
            using=ledger.alias(),
            topic=events.ENDED,
            key=f"{row.order_no}:{target.value}",
            payload={
                "order_no": row.order_no,
                "state": target.value,
                "code": code,
                "message": message,
                "provider_no": provider_no,
                "actor": actor,
            },
            now=now,
        )

    def work() -> None:
        order = advancing.lock_order(order_no=row.order_no)
        ledger.in_transaction(book)
        if target not in _ORDER_STATES:  # returned: the order succeeded, and stays so
            return
        if row.payout_no is not None and target in _ATTEMPT_STATES:
            _end_attempt(row.payout_no, target, code=code, provider_no=provider_no, now=now)
        if order.state in OPEN_ORDER_STATES:
            fields: dict[str, Any] = {"closed_at": now}
            if target is WithdrawalState.SUCCESS:
                fields = {"closed_at": now, "paid_at": now, "effective_attempt_no": row.payout_no}
            advancing.advance_order(order_no=row.order_no, target=_ORDER_STATES[target], fields=fields)

    opening.in_transaction(row.order_no, work)


def _end_attempt(payout_no: str, target: WithdrawalState, *, code: str, provider_no: str, now: dt.datetime) -> None:
    attempt = orders.get_attempt(attempt_no=payout_no)
    if attempt.state not in OPEN_ATTEMPT_STATES:
        return
    fields: dict[str, Any] = {
        "finished_at": now,
        "next_check_at": None,
        "result_code": code[:64],
        "provider_no": provider_no[:64],
    }
    if target is WithdrawalState.SUCCESS:
        fields["effective"] = 1
    advancing.advance_attempt(attempt_no=payout_no, target=_ATTEMPT_STATES[target], fields=fields)


def _entry(row: Withdrawal, target: WithdrawalState) -> Entry:
    if target in (WithdrawalState.REJECTED, WithdrawalState.CANCELLED):
        return movements.release_rest(
            reference=row.order_no,
            order_no=row.order_no,
            owner=owner(row),
            hold_key=row.order_no,
            amount_fen=row.amount_fen,
        )
    payout_no, channel = row.payout_no or "", row.payout_channel
    if target is WithdrawalState.SUCCESS:
        return movements.withdrawal_paid(
            order_no=row.order_no, payout_no=payout_no, channel=channel, amount_fen=row.amount_fen
        )
    build = movements.withdrawal_failed if target is WithdrawalState.FAILED else movements.withdrawal_returned
    return build(
        order_no=row.order_no, payout_no=payout_no, channel=channel, owner=owner(row), amount_fen=row.amount_fen
    )
