"""Risk control in front of payments (风控): asked before an order is opened, told when one ended unpaid."""

from __future__ import annotations

import datetime as dt

from funds import selectors as funds
from funds.domain.entries import employee_account
from payments.domain.people import Person
from risk.domain.facts import Action
from risk.services import guarding
from risk.services.deciding import Subject

_ACTIONS = {
    "RECHARGE": Action.RECHARGE,
    "TRANSFER": Action.TRANSFER,
    "REDPACKET_SEND": Action.REDPACKET_SEND,
}
"""By kind of order."""


def screen(
    *,
    kind: str,
    order_no: str,
    payer: Person,
    amount_fen: int,
    channel: str,
    payee_id: int | None = None,
    now: dt.datetime,
) -> None:
    """Lets a request of an employee go on and counts it; raises RiskRejected (rule, reason, until) or Busy.

    `kind` is the order's, one of RECHARGE, TRANSFER, REDPACKET_SEND. The same order number again gets the first answer.
    Commits on its own: call it outside of transactions.
    """
    account = employee_account(payer.employee_id, payer.enterprise_id)
    opened_at = funds.opened_at(account=account)
    guarding.guard(
        action=_ACTIONS[kind],
        subject=Subject(employee_id=payer.employee_id, enterprise_id=payer.enterprise_id, payee_employee_id=payee_id),
        amount_fen=amount_fen,
        channel=channel,
        reference=order_no,
        known={"account_age_days": max(0, (now - opened_at).days) if opened_at is not None else 0},
        now=now,
    )


def release(*, kind: str, order_no: str, now: dt.datetime) -> None:
    """The order ended unpaid: it no longer counts towards anybody's limits. Safe to repeat, for any kind of order."""
    if kind in _ACTIONS:
        guarding.release(action=_ACTIONS[kind], reference=order_no, now=now)
