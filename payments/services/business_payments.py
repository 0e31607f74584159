"""Payments that a business backend asks for and employees of its enterprise make.

The money becomes the enterprise's own (account 2110): from a channel as recharge, from a wallet as the payer's
consumption and the enterprise's income. Idempotent by the app's own order number for ever, whatever the client's key.
"""

from __future__ import annotations

import datetime as dt

from django.conf import settings
from django.db import IntegrityError, transaction

from foundation.db import roles
from foundation.errors import NotFound, Rejected
from funds.domain import movements
from funds.domain.entries import employee_account, enterprise_account
from funds.services import ledger
from funds.services.ledger import InsufficientFunds
from identity import selectors as identity
from orders import selectors as orders
from orders.domain.records import AttemptRecord, NewOrder, OrderRecord
from orders.domain.states import AttemptState, OrderKind, OrderState
from orders.services import advancing, numbers, opening
from payments.domain.channels import WALLET
from payments.domain.people import Person
from payments.models import BusinessApp, BusinessOrder
from payments.services import outcomes
from payments.services.purchase import OrderNotPayable

ANYBODY = 0
"""Stands for the employee of an order that anyone of the enterprise may pay."""


class BusinessOrderNoUsed(Rejected):
    """The app used its order number for another amount, subject or payer before."""

    code = "business_order_no_used"
    http_status = 409
    message_en = "This business order number was used for another payment."
    message_zh = "该业务订单号已用于其他付款。"


def issue_number(*, app: BusinessApp, employee_code: str) -> str:
    """An order number for a new payment. Raises NotFound for an employee whom the app's enterprise has not."""
    return numbers.issue(prefix=numbers.Prefix.PAYMENT, account_id=_payer_id(app, employee_code))


def open_payment(
    *,
    order_no: str,
    app: BusinessApp,
    business_order_no: str,
    amount_fen: int,
    subject: str,
    employee_code: str = "",
    expires_in_seconds: int | None = None,
    now: dt.datetime,
) -> OrderRecord:
    """Opens a PENDING order to be paid by attempts, or returns the one under the app's `business_order_no`.

    `employee_code` names who shall pay; "" is anyone of the app's enterprise. It lives `expires_in_seconds`, or
    settings.ORDER_LIFETIME_SECONDS. Raises BusinessOrderNoUsed, NotFound for an unknown employee. Nothing of money
    moves. The app's row is committed first, so that a repeat after a crash goes on with its order number.
    """
    payer_id = _payer_id(app, employee_code)
    lifetime = dt.timedelta(seconds=expires_in_seconds or settings.ORDER_LIFETIME_SECONDS)
    wanted = BusinessOrder(
        app=app,
        business_order_no=business_order_no,
        order_no=order_no,
        amount_fen=amount_fen,
        subject=subject,
        employee_id=payer_id,
        created_at=now,
        expires_at=now + lifetime,
    )
    row = _insert(wanted)
    if (row.amount_fen, row.subject, row.employee_id) != (amount_fen, subject, payer_id):
        raise BusinessOrderNoUsed({"business_order_no": business_order_no})
    new = NewOrder(
        order_no=row.order_no,
        kind=OrderKind.PAYMENT,
        amount_fen=row.amount_fen,
        employee_id=row.employee_id,
        enterprise_id=app.enterprise_id,
        subject=row.subject,
        business_no=row.business_order_no,
        expires_at=row.expires_at,
    )
    return opening.open_order(new=new, now=row.created_at)


def _insert(wanted: BusinessOrder) -> BusinessOrder:
    """The row, or the one that stands under the app's number."""
    try:
        with transaction.atomic(using=roles.alias_for("default")):
            wanted.save(force_insert=True)
    except IntegrityError:
        found = BusinessOrder.objects.filter(app=wanted.app, business_order_no=wanted.business_order_no).first()
        if found is None:
            raise
        return found
    return wanted


def _payer_id(app: BusinessApp, employee_code: str) -> int:
    if not employee_code:
        return ANYBODY
    return identity.find_employee(enterprise_id=app.enterprise_id, code=employee_code).pk


def get_order(*, order_no: str, app: BusinessApp) -> OrderRecord:
    """One of the app's own orders; NotFound also for another app's."""
    if not order_no.isascii() or not BusinessOrder.objects.filter(order_no=order_no, app=app).exists():
        raise NotFound({"order_no": order_no[:32]})
    return orders.get_order(order_no=order_no)


def get_payable(*, order_no: str, payer: Person) -> OrderRecord:
    """An order the employee may pay: his own, or one that anyone of his enterprise may; NotFound for any other."""
    order = orders.get_order(order_no=order_no)
    is_for_anyone = order.kind is OrderKind.PAYMENT and order.employee_id == ANYBODY
    if order.employee_id == payer.employee_id or (is_for_anyone and order.enterprise_id == payer.enterprise_id):
        return order
    raise NotFound({"order_no": order_no})


def pay_from_wallet(*, order_no: str, payer: Person, now: dt.datetime) -> OrderRecord:
    """Pays an open PAYMENT order from the payer's available balance; returns it, paid.

    A paid order is returned as it is. Raises InsufficientFunds (nothing moved, the order stays open for another try),
    OrderNotPayable once it has ended or for another kind of order. Locks the order, then both accounts in id order.
    """
    order = get_payable(order_no=order_no, payer=payer)
    if order.state is OrderState.SUCCESS:
        return order
    is_over = order.expires_at is not None and order.expires_at <= now
    if order.kind is not OrderKind.PAYMENT or order.state is not OrderState.PENDING or is_over:
        raise OrderNotPayable({"order_no": order_no, "state": order.state.value})
    attempt = _wallet_attempt(order, now=now)
    try:
        opening.in_transaction(order_no, lambda: _pay(order_no, attempt.attempt_no, payer, now))
    except InsufficientFunds:
        opening.in_transaction(order_no, lambda: _give_up(order_no, attempt.attempt_no, now))
        raise
    paid = orders.get_order(order_no=order_no)
    if paid.state is not OrderState.SUCCESS:
        raise OrderNotPayable({"order_no": order_no, "state": paid.state.value})
    return paid


def _wallet_attempt(order: OrderRecord, *, now: dt.datetime) -> AttemptRecord:
    """The open wallet attempt, left by a call that died, or a new one."""
    return next((row for row in order.attempts if row.is_open and row.channel == WALLET), None) or opening.open_attempt(
        order_no=order.order_no,
        attempt_no=numbers.issue_attempt(order_no=order.order_no),
        channel=WALLET,
        scene="",
        amount_fen=order.amount_fen,
        now=now,
        order_channel=order.channel,
    )


def _pay(order_no: str, attempt_no: str, payer: Person, now: dt.datetime) -> None:
    order = advancing.lock_order(order_no=order_no)
    if order.state is not OrderState.PENDING:
        outcomes.close_wallet_attempts(order=order, now=now)
        return
    entry = movements.payment_from_wallet(
        order_no=order_no,
        attempt_no=attempt_no,
        payer=employee_account(payer.employee_id, payer.enterprise_id),
        business=enterprise_account(order.enterprise_id),
        amount_fen=order.amount_fen,
    )

    def book() -> bool:
        if ledger.post(entry=entry, now=now).source_no != attempt_no:
            return False  # another attempt's money is booked and its event is on the way
        outcomes.publish_paid(order=order, attempt_no=attempt_no, provider_no="", paid_at=now, now=now)
        return True

    if ledger.in_transaction(book):
        outcomes.complete_order(order=order, attempt_no=attempt_no, provider_no="", paid_at=now, now=now)


def _give_up(order_no: str, attempt_no: str, now: dt.datetime) -> None:
    """Ends the wallet attempt that was not covered; the order stays open."""
    order = advancing.lock_order(order_no=order_no)
    if any(row.is_open and row.attempt_no == attempt_no for row in order.attempts):
        fields = {"finished_at": now, "result_code": InsufficientFunds.code}
        advancing.advance_attempt(attempt_no=attempt_no, target=AttemptState.FAILED, fields=fields)
