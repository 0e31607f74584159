"""Transfer (转账): money from one employee's balance to a colleague's."""

from __future__ import annotations

import datetime as dt

from django.conf import settings

from foundation.errors import InvalidRequest
from funds.domain import movements
from funds.domain.entries import employee_account
from funds.services import ledger
from funds.services.ledger import InsufficientFunds
from identity import selectors as identity
from orders import selectors as orders
from orders.domain.numbers import Prefix
from orders.domain.records import NewOrder, OrderRecord
from orders.domain.states import OrderKind, OrderState
from orders.services import advancing, numbers, opening
from payments.domain.channels import WALLET
from payments.domain.people import Person
from payments.services import closing, outcomes, screening
from payments.services.purchase import OrderNotPayable

MEMO_MAX_CHARACTERS = 60


def transfer(
    *, order_no: str, payer: Person, to_code: str, amount_fen: int, memo: str, now: dt.datetime
) -> OrderRecord:
    """Moves `amount_fen` of the payer's balance to the employee of that code in his enterprise; returns the order.

    The payee gets a receipt order of his own. Idempotent by order number. Raises NotFound for an unknown payee,
    InvalidRequest for oneself or a bad memo, RiskRejected, InsufficientFunds (nothing moved, the order is CLOSED).
    Locks the order, then both accounts in id order.
    """
    if len(memo) > MEMO_MAX_CHARACTERS or not memo.isprintable():
        raise InvalidRequest({"memo": [f"at most {MEMO_MAX_CHARACTERS} printable characters"]})
    payee = identity.find_employee(enterprise_id=payer.enterprise_id, code=to_code)
    if payee.pk == payer.employee_id:
        raise InvalidRequest({"to_employee": ["must be somebody else"]})
    screening.screen(
        kind=OrderKind.TRANSFER,
        order_no=order_no,
        payer=payer,
        amount_fen=amount_fen,
        channel=WALLET,
        payee_id=payee.pk,
        now=now,
    )
    receipt_no = numbers.issue(prefix=Prefix.TRANSFER_RECEIPT, account_id=payee.pk)
    new = NewOrder(
        order_no=order_no,
        kind=OrderKind.TRANSFER,
        amount_fen=amount_fen,
        employee_id=payer.employee_id,
        enterprise_id=payer.enterprise_id,
        subject=memo or "Transfer",
        business_no=f"{receipt_no}:{payee.pk}",
        expires_at=now + dt.timedelta(seconds=settings.ORDER_LIFETIME_SECONDS),
    )
    order = opening.open_order(new=new, now=now)
    if order.state is OrderState.PENDING:
        _pay(order, now=now)
    done = orders.get_order(order_no=order_no)
    if done.state is not OrderState.SUCCESS:
        raise OrderNotPayable({"order_no": order_no, "state": done.state.value})
    complete(order_no=order_no, now=now)
    return done


def complete(*, order_no: str, now: dt.datetime) -> None:
    """Writes the payee's receipt of a paid transfer; repeated by the event when a process died before it."""
    order = orders.get_order(order_no=order_no)
    receipt_no, payee_id = _receipt_of(order)
    receipt = NewOrder(
        order_no=receipt_no,
        kind=OrderKind.TRANSFER_RECEIPT,
        amount_fen=order.amount_fen,
        employee_id=payee_id,
        enterprise_id=order.enterprise_id,
        subject=order.subject,
        original_order_no=order_no,
    )
    opening.insert_finished(orders=[receipt], now=now)


def _receipt_of(order: OrderRecord) -> tuple[str, int]:
    """Receipt number and payee of a transfer: fixed with the order, so that a repeat cannot change them."""
    receipt_no, _, payee_id = order.business_no.partition(":")
    return receipt_no, int(payee_id)


def _pay(opened: OrderRecord, *, now: dt.datetime) -> None:
    attempt = next(iter(opened.attempts), None) or opening.open_attempt(
        order_no=opened.order_no,
        attempt_no=numbers.issue_attempt(order_no=opened.order_no),
        channel=WALLET,
        scene="",
        amount_fen=opened.amount_fen,
        now=now,
    )
    _, payee_id = _receipt_of(opened)
    entry = movements.transfer(
        order_no=opened.order_no,
        payer=outcomes.payer_account(opened),
        payee=employee_account(payee_id, opened.enterprise_id),
        amount_fen=opened.amount_fen,
    )

    def book(order: OrderRecord) -> None:
        ledger.post(entry=entry, now=now)
        outcomes.publish_paid(order=order, attempt_no=attempt.attempt_no, provider_no="", paid_at=now, now=now)

    def work() -> None:
        order = advancing.lock_order(order_no=opened.order_no)
        if order.state is not OrderState.PENDING:
            outcomes.close_wallet_attempts(order=order, now=now)
            return
        ledger.in_transaction(lambda: book(order))
        outcomes.complete_order(order=order, attempt_no=attempt.attempt_no, provider_no="", paid_at=now, now=now)

    try:
        opening.in_transaction(opened.order_no, work)
    except InsufficientFunds:
        closing.end_unpaid(order_no=opened.order_no, reason=InsufficientFunds.code, now=now)
        raise
