"""Moves orders and attempts along their transition tables, and reserves refunds.

Every move is one conditional UPDATE whose row count decides. A repeat is a no-op that answers False; a move that the
table does not allow raises IllegalMove.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import structlog
from django.db.models import F

from foundation.db import transactions
from foundation.errors import Broken, NotFound, Rejected
from orders import selectors
from orders.domain import numbers, states
from orders.domain.records import OrderRecord
from orders.domain.states import AttemptState, OrderState
from orders.models import ATTEMPT_TABLES, ORDER_TABLES
from orders.selectors import places

logger = structlog.get_logger("orders")


class IllegalMove(Broken):
    """The transition table does not allow this move from the present state."""

    code = "illegal_state_move"


class RefundTooLarge(Rejected):
    """More than was paid, counting what is refunded or being refunded already."""

    code = "refund_exceeds_payment"
    http_status = 422
    message_en = "The refund is larger than what is left of the payment."
    message_zh = "退款金额超过可退余额。"


def lock_order(*, order_no: str) -> OrderRecord:
    """The order and its attempts, its row locked until the open transaction ends; NotFound when there is none."""
    alias = selectors.order_alias(order_no)
    transactions.assert_in_transaction(using=alias)
    table = ORDER_TABLES[numbers.table_of(order_no)]
    if table.objects.using(alias).select_for_update().filter(pk=order_no).first() is None:
        raise NotFound({"order_no": order_no})
    return selectors.get_order(order_no=order_no)


@places.refusal_is_busy
def advance_order(*, order_no: str, target: OrderState, fields: Mapping[str, Any] | None = None) -> bool:
    """Moves an order to `target` and sets `fields`; True when it moved, False when it was there already."""
    rows = ORDER_TABLES[numbers.table_of(order_no)].objects.using(selectors.order_alias(order_no)).filter(pk=order_no)
    if rows.filter(state__in=states.order_sources(target)).update(state=target, **(fields or {})):
        return True
    present = rows.values_list("state", flat=True).first()
    if present == target:
        return False
    logger.error("order move refused", order_no=order_no, present=present, target=target)
    raise IllegalMove({"order_no": order_no, "present": present, "target": target})


@places.refusal_is_busy
def advance_attempt(*, attempt_no: str, target: AttemptState, fields: Mapping[str, Any] | None = None) -> bool:
    """Moves an attempt to `target` and sets `fields`; True when it moved, False when it was there already."""
    table = ATTEMPT_TABLES[numbers.table_of(attempt_no)]
    rows = table.objects.using(selectors.order_alias(attempt_no)).filter(pk=attempt_no)
    if rows.filter(state__in=states.attempt_sources(target)).update(state=target, **(fields or {})):
        return True
    present = rows.values_list("state", flat=True).first()
    if present == target:
        return False
    logger.error("attempt move refused", attempt_no=attempt_no, present=present, target=target)
    raise IllegalMove({"attempt_no": attempt_no, "present": present, "target": target})


@places.refusal_is_busy
def schedule_check(*, attempt_no: str, at: dt.datetime | None, result_code: str = "") -> None:
    """Notes the outcome of a query that decided nothing and when to ask again (only while the attempt is open)."""
    table = ATTEMPT_TABLES[numbers.table_of(attempt_no)]
    table.objects.using(selectors.order_alias(attempt_no)).filter(
        pk=attempt_no, state__in=states.OPEN_ATTEMPT_STATES
    ).update(next_check_at=at, tries=F("tries") + 1, result_code=result_code[:64])


@places.refusal_is_busy
def reserve_refund(*, order_no: str, amount_fen: int) -> None:
    """Reserves part of a paid order for a refund, by one conditional UPDATE; raises RefundTooLarge."""
    transactions.assert_in_transaction(using=selectors.order_alias(order_no))
    changed = _paid(order_no, amount_fen__gte=F("refunding_fen") + F("refunded_fen") + amount_fen).update(
        refunding_fen=F("refunding_fen") + amount_fen
    )
    if not changed:
        raise RefundTooLarge({"order_no": order_no, "amount_fen": amount_fen})


@places.refusal_is_busy
def finish_refund(*, order_no: str, amount_fen: int, is_refunded: bool) -> None:
    """Turns a reservation into a refund, or gives it back; call once per refund, in the refund order's transaction."""
    transactions.assert_in_transaction(using=selectors.order_alias(order_no))
    done = amount_fen if is_refunded else 0
    changed = _paid(order_no, refunding_fen__gte=amount_fen).update(
        refunding_fen=F("refunding_fen") - amount_fen, refunded_fen=F("refunded_fen") + done
    )
    if not changed:
        raise Broken({"order_no": order_no, "reason": "no such refund reservation"})


def _paid(order_no: str, **conditions: Any) -> Any:
    table = ORDER_TABLES[numbers.table_of(order_no)]
    rows = table.objects.using(selectors.order_alias(order_no))
    return rows.filter(pk=order_no, state=OrderState.SUCCESS, **conditions)
