"""Makes and ends codes, and says whether a scanned one may be paid."""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import dataclass

from django.db import IntegrityError, transaction

from collect.domain import rules
from collect.domain.rules import CodeKind
from collect.domain.states import CodeState
from collect.models import Code
from foundation.db import roles
from foundation.errors import InvalidRequest, NotFound, Rejected

MAX_LIFE = dt.timedelta(days=366)
"""Of a code that expires; one on a poster has no expiry at all."""


class CodeExpired(Rejected):
    """410: the code is over, used or disabled."""

    code = "expired"
    http_status = 410
    message_en = "This code can no longer be paid."
    message_zh = "该收款码已失效。"


class CodeIdUsed(Rejected):
    """409: the id stands for another code."""

    code = "code_id_used"
    http_status = 409
    message_en = "This code was made with other particulars."
    message_zh = "该收款码已用于其他收款信息。"


@dataclass(frozen=True, kw_only=True)
class Collector:
    """Whose code it is; his enterprise receives the money."""

    employee_id: int
    enterprise_id: int


@dataclass(frozen=True, kw_only=True)
class CodeWish:
    """What a code shall ask for. Amounts in fen; `amount_fen` None lets the payer type it (plain codes only).

    `expires_in_seconds` None: no expiry. An order's code serves once whatever `is_once` says.
    """

    kind: CodeKind
    amount_fen: int | None = None
    subject: str = ""
    crm_order_no: str = ""
    is_once: bool = False
    expires_in_seconds: int | None = None


def issue_id() -> str:
    """A fresh id of a code or of a payment: short, and nobody guesses one."""
    return "".join(secrets.choice(rules.ID_ALPHABET) for _ in range(rules.ID_LENGTH))


def create_code(*, code_id: str, collector: Collector, wish: CodeWish, now: dt.datetime) -> Code:
    """Makes a code under `code_id` (from `issue_id`); repeated with the same id and wish it returns the first one.

    Raises InvalidRequest, and CodeIdUsed when the id stands for something else. Moves no money.
    """
    _check(code_id, wish)
    life = wish.expires_in_seconds
    wanted = Code(
        id=code_id,
        enterprise_id=collector.enterprise_id,
        employee_id=collector.employee_id,
        kind=wish.kind.value,
        amount_fen=wish.amount_fen,
        subject=wish.subject.strip(),
        crm_order_no=wish.crm_order_no,
        is_once=wish.is_once or wish.kind is CodeKind.ORDER,
        created_at=now,
        expires_at=None if life is None else now + dt.timedelta(seconds=life),
    )
    try:
        with transaction.atomic(using=roles.alias_for("default")):
            wanted.save(force_insert=True)
    except IntegrityError as refusal:
        found = Code.objects.filter(pk=code_id).first()
        if found is None:
            raise
        same = ("enterprise_id", "employee_id", "kind", "amount_fen", "subject", "crm_order_no", "is_once")
        if any(getattr(found, name) != getattr(wanted, name) for name in same):
            raise CodeIdUsed({"code": code_id}) from refusal
        return found
    return wanted


def _check(code_id: str, wish: CodeWish) -> None:
    problems: dict[str, list[str]] = {}
    if not rules.is_id(code_id):
        problems["id"] = ["not an id of ours"]
    if wish.amount_fen is not None:
        try:
            rules.check_amount(wish.amount_fen)
        except rules.NotAnAmount as error:
            problems["amount_fen"] = [error.reason]
    subject = wish.subject.strip()
    if len(subject) > rules.SUBJECT_MAX_CHARACTERS or not subject.isprintable():
        problems["subject"] = [f"at most {rules.SUBJECT_MAX_CHARACTERS} printable characters"]
    if wish.expires_in_seconds is not None and not 60 <= wish.expires_in_seconds <= MAX_LIFE.total_seconds():
        problems["expires_in_seconds"] = ["60 seconds to 366 days"]
    if wish.kind is CodeKind.ORDER:
        if wish.amount_fen is None:
            problems["amount_fen"] = ["needed for an order"]
        if not subject:
            problems["subject"] = ["needed for an order"]
        if not rules.CRM_ORDER_NO.fullmatch(wish.crm_order_no):
            problems["crm_order_no"] = ["1 to 64 letters, digits or ._-/"]
    elif wish.crm_order_no:
        problems["crm_order_no"] = ["only for an order"]
    if problems:
        raise InvalidRequest(problems)


def disable_code(*, code_id: str, enterprise_id: int, now: dt.datetime) -> Code:
    """Ends a code of the enterprise's own: nobody begins a payment with it any more; a repeat changes nothing.

    Payments that have begun go on. Raises NotFound (also for another enterprise's) and CodeExpired for a used one.
    """
    rows = Code.objects.filter(pk=code_id, enterprise_id=enterprise_id)
    rows.filter(state=CodeState.ACTIVE).update(state=CodeState.DISABLED.value, ended_at=now)
    row = rows.first()
    if row is None:
        raise NotFound({"code": code_id[:32]})
    if row.state != CodeState.DISABLED:
        raise CodeExpired({"code": code_id, "state": row.state})
    return row


def get_payable(*, code_id: str, now: dt.datetime) -> Code:
    """A code that a payer may begin a payment with. Raises NotFound and CodeExpired (over, used or disabled)."""
    row = Code.objects.select_related("enterprise").filter(pk=code_id).first() if rules.is_id(code_id) else None
    if row is None:
        raise NotFound({"code": code_id[:32]})
    if row.state != CodeState.ACTIVE or (row.expires_at is not None and row.expires_at <= now):
        raise CodeExpired({"code": code_id})
    return row
