"""Binds merchants' own receiving accounts: made, verified, approved by somebody else, taken into use, switched.

The database refuses what these functions refuse, too (collect.models and its migration 0002). Each function is one
transaction. They answer a repeat by the same person as the first time.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db import IntegrityError, transaction

from collect.domain import rules
from collect.domain.states import APPROVED_BINDINGS, BindingState
from collect.models import Binding
from collect.services import trail
from foundation.db import roles
from foundation.errors import InvalidRequest, PermissionDenied, Rejected
from identity.models import StaffProfile

NOTE_MIN_LENGTH = 5
"""Of a verifier's evidence and of a reason: a word says nothing to whoever looks later."""


class BindingExists(Rejected):
    """409: the sub-merchant number is bound already, by another enterprise or with other particulars."""

    code = "binding_exists"
    http_status = 409
    message_en = "This sub-merchant number is bound already."
    message_zh = "该子商户号已被绑定。"


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Who asks for a binding: an employee of the enterprise or a member of staff; the other one is None."""

    employee_id: int | None = None
    user_id: int | None = None

    def __post_init__(self) -> None:
        if (self.employee_id is None) == (self.user_id is None):
            raise ValueError("a binding has one maker")

    @property
    def actor(self) -> str:
        return f"employee:{self.employee_id}" if self.user_id is None else f"staff:{self.user_id}"


def propose(
    *,
    enterprise_id: int,
    channel: str,
    sub_merchant_no: str,
    sub_appid: str = "",
    display_name: str,
    maker: Maker,
    now: dt.datetime,
) -> Binding:
    """A DRAFT of an account that money could go to; nothing goes there before it is approved and taken into use.

    `display_name` (1 to 60 characters) is what payers read. Repeated with the same particulars it returns the one that
    stands, in whatever state. Raises InvalidRequest and BindingExists.
    """
    name = display_name.strip()
    problems = {}
    if not rules.is_sub_merchant_no(channel=channel, number=sub_merchant_no):
        problems["sub_merchant_no"] = ["not a sub-merchant number of this channel"]
    if not rules.is_sub_appid(channel=channel, appid=sub_appid):
        problems["sub_appid"] = ["not an appid"]
    if not 1 <= len(name) <= rules.SUBJECT_MAX_CHARACTERS or not name.isprintable():
        problems["display_name"] = [f"1 to {rules.SUBJECT_MAX_CHARACTERS} characters"]
    if problems:
        raise InvalidRequest(problems)

    def work() -> Binding:
        wanted = Binding(
            enterprise_id=enterprise_id,
            channel=channel,
            sub_merchant_no=sub_merchant_no,
            sub_appid=sub_appid,
            display_name=name,
            made_by_employee_id=maker.employee_id,
            made_by_id=maker.user_id,
            created_at=now,
        )
        try:
            with transaction.atomic(using=roles.alias_for("default")):
                wanted.save(force_insert=True)
        except IntegrityError as error:
            return _present(wanted, error)
        trail.write(wanted, actor=maker.actor, now=now)
        return wanted

    return trail.in_transaction(work)


def _present(wanted: Binding, refusal: IntegrityError) -> Binding:
    """The live binding of the number when it is the same; whose it is otherwise is not said."""
    found = Binding.objects.filter(channel=wanted.channel, sub_merchant_no=wanted.sub_merchant_no, live_mark=1).first()
    if found is None:
        raise refusal
    same = ("enterprise_id", "sub_appid", "display_name")
    if any(getattr(found, name) != getattr(wanted, name) for name in same):
        raise BindingExists({"sub_merchant_no": wanted.sub_merchant_no}) from refusal
    return found


def verify(*, binding_id: str, user_id: int, evidence: str, now: dt.datetime) -> Binding:
    """A member of staff has checked at the provider that the account is this merchant's: DRAFT → VERIFIED.

    `evidence` (5 to 500 characters) says how. Raises InvalidRequest, NotFound, BindingNotMovable.
    """
    note = _note(evidence, field="evidence")

    def work() -> Binding:
        row = trail.lock(binding_id=binding_id)
        if row.state == BindingState.VERIFIED and row.verified_by_id == user_id:
            return row
        trail.move(
            row,
            target=BindingState.VERIFIED,
            actor=f"staff:{user_id}",
            note=note,
            now=now,
            fields={"verified_by_id": user_id},
        )
        return row

    return trail.in_transaction(work)


def approve(*, binding_id: str, user_id: int, now: dt.datetime) -> Binding:
    """A member of staff who did not make it approves: VERIFIED → APPROVED. It is not in use by that yet.

    Raises PermissionDenied for the maker (also as the employee whom the staff profile names), NotFound,
    BindingNotMovable.
    """

    def work() -> Binding:
        row = trail.lock(binding_id=binding_id)
        if row.state in APPROVED_BINDINGS and row.approved_by_id == user_id:
            return row
        if is_maker(row, user_id=user_id):
            raise PermissionDenied({"reason": "you made this yourself"})
        trail.move(
            row,
            target=BindingState.APPROVED,
            actor=f"staff:{user_id}",
            now=now,
            fields={"approved_by_id": user_id, "approved_at": now},
        )
        return row

    return trail.in_transaction(work)


def is_maker(row: Binding, *, user_id: int) -> bool:
    """True when the member of staff made it, as staff or as the employee he is."""
    if row.made_by_employee_id is None:
        return row.made_by_id == user_id
    return StaffProfile.objects.filter(user_id=user_id, employee_id=row.made_by_employee_id).exists()


def reject(*, binding_id: str, user_id: int, reason: str, now: dt.datetime) -> Binding:
    """DRAFT or VERIFIED → REJECTED; the number is free for a new draft. Raises as `verify`."""
    note = _note(reason, field="reason")

    def work() -> Binding:
        row = trail.lock(binding_id=binding_id)
        if row.state == BindingState.REJECTED:
            return row
        trail.move(
            row,
            target=BindingState.REJECTED,
            actor=f"staff:{user_id}",
            note=note,
            now=now,
            fields={"live_mark": None},
        )
        return row

    return trail.in_transaction(work)


def activate(*, binding_id: str, actor: str, now: dt.datetime) -> Binding:
    """Takes an approved account into use and the one before it out of use, in one commit; repeats change nothing.

    `actor` is "employee:<id>" or "staff:<id>". Collections that are open keep the account they began with. Locks the
    bindings of the enterprise and channel in id order. Raises NotFound, BindingNotMovable.
    """

    def work() -> Binding:
        found = Binding.objects.filter(pk=binding_id).values_list("enterprise_id", "channel").first()
        if found is None:
            return trail.lock(binding_id=binding_id)  # raises NotFound
        enterprise_id, channel = found
        rows = list(
            Binding.objects.select_for_update().filter(enterprise_id=enterprise_id, channel=channel).order_by("pk")
        )
        wanted = next(row for row in rows if row.pk == binding_id)
        if wanted.state == BindingState.ACTIVE:
            return wanted
        for row in rows:
            if row.state == BindingState.ACTIVE:
                note = f"replaced by {wanted.pk}"
                trail.move(
                    row, target=BindingState.DISABLED, actor=actor, note=note, now=now, fields={"active_mark": None}
                )
        trail.move(wanted, target=BindingState.ACTIVE, actor=actor, now=now, fields={"active_mark": 1})
        return wanted

    return trail.in_transaction(work)


def disable(*, binding_id: str, actor: str, reason: str, now: dt.datetime) -> Binding:
    """ACTIVE → DISABLED: no new collection goes to this account. Raises as `verify`; a repeat changes nothing."""
    note = _note(reason, field="reason")

    def work() -> Binding:
        row = trail.lock(binding_id=binding_id)
        if row.state == BindingState.DISABLED:
            return row
        trail.move(row, target=BindingState.DISABLED, actor=actor, note=note, now=now, fields={"active_mark": None})
        return row

    return trail.in_transaction(work)


def _note(text: str, *, field: str) -> str:
    note = text.strip()
    if not NOTE_MIN_LENGTH <= len(note) <= 500:
        raise InvalidRequest({field: [f"{NOTE_MIN_LENGTH} to 500 characters"]})
    return note
