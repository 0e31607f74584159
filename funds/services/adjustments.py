"""Fund adjustments (资金调整): proposed by one member of staff, posted only when another one approves.

Who may do what is asked here, whoever calls; that maker and checker differ, that a proposal never changes and that a
decision is taken once is enforced by the database as well (migrations 0007 and 0008). Approval, journal and outbox
event are one commit on the role funds. Source: design `money.md` (Movements, last row), `admin.md` (four eyes).
"""

from __future__ import annotations

import datetime as dt
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import IntegrityError
from django.utils.crypto import salted_hmac

from foundation import alerts, attachments, clock, outbox
from foundation.errors import Broken, NotFound, PermissionDenied, Rejected
from funds import selectors
from funds.domain.adjustments import (
    DECIDED,
    PROPOSED,
    REASON_MAX_LENGTH,
    Content,
    Evidence,
    InvalidAdjustment,
    opposite_lines,
)
from funds.domain.chart import CHART
from funds.domain.entries import (
    AccountRef,
    Bucket,
    Category,
    InvalidEntry,
    Line,
    OwnerKind,
    employee_account,
    enterprise_account,
    platform_account,
)
from funds.models import Adjustment, AdjustmentEvidence, AdjustmentLine
from funds.services import ledger
from identity import selectors as identity
from identity.models import Employee, Enterprise

logger = structlog.get_logger("adjustments")

MAY_PROPOSE = "funds.propose_adjustment"
MAY_APPROVE = "funds.approve_adjustment"

NUMBER_LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""No 0, 1, I, O: a number is read out on the telephone."""
_PLATFORM_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,31}")


class AdjustmentInvalid(Rejected):
    """The proposal cannot be accepted; `details["problem"]` says why."""

    code = "adjustment_invalid"
    http_status = 422
    message_en = "The adjustment cannot be proposed like this."
    message_zh = "资金调整内容有误。"


class AdjustmentKeyReused(Rejected):
    """The form was sent before, with other content."""

    code = "adjustment_key_reused"
    http_status = 422
    message_en = "This form was sent before, with other content. Please open a new one."
    message_zh = "该表单已提交过，且内容不同，请重新填写。"


class SamePerson(Rejected):
    code = "adjustment_same_person"
    http_status = 403
    message_en = "Who proposed an adjustment cannot decide it: another person must."
    message_zh = "提出人不能审批自己的资金调整，须由他人审批。"


class NotProposer(Rejected):
    code = "adjustment_not_proposer"
    http_status = 403
    message_en = "Only who proposed an adjustment can withdraw it."
    message_zh = "只有提出人可以撤回资金调整。"


class DecisionReasonMissing(Rejected):
    code = "adjustment_decision_reason_missing"
    http_status = 422
    message_en = "A rejection needs a reason of 1 to 500 characters."
    message_zh = "驳回须填写原因（1 至 500 字）。"


class AlreadyDecided(Rejected):
    """Somebody was first; `details` say who ("by"), when ("at") and what ("state")."""

    code = "adjustment_already_decided"
    http_status = 409
    message_en = "This adjustment is decided already."
    message_zh = "该资金调整已处理。"

    def message(self, language: str) -> str:
        words = "，{by} 于 {at}：{state}" if language.lower().startswith("zh") else " By {by} at {at}: {state}."
        return super().message(language) + words.format(**self.details)


class AdjustmentChanged(Rejected):
    """What would be posted is not what was proposed, or not what the checker saw."""

    code = "adjustment_changed"
    http_status = 409
    message_en = "The adjustment is not what was proposed. It cannot be approved."
    message_zh = "资金调整内容与提出时不一致，不能审批。"


class EvidenceUnreadable(Rejected):
    code = "adjustment_evidence_unreadable"
    http_status = 409
    message_en = "An evidence file is missing or damaged. The adjustment cannot be approved."
    message_zh = "凭证附件缺失或损坏，不能审批。"


class JournalReversedBefore(Rejected):
    code = "journal_reversed_before"
    http_status = 409
    message_en = "This journal is reversed already."
    message_zh = "该凭证已被冲正。"


class AdjustmentPostedElsewhere(Broken):
    """A journal stands under the number of an adjustment that was not approved."""

    code = "adjustment_posted_elsewhere"


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a member of staff sends. `request_key` is the form's own: sent twice, it is proposed once."""

    request_key: str
    reason: str
    lines: tuple[Line, ...]
    evidence: tuple[Evidence, ...]
    order_no: str = ""
    reverses_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class Opposite:
    """What undoes a journal: its opposite lines and the order it belongs to."""

    journal_id: int
    order_no: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True)
class _Staff:
    user_id: int
    username: str


def propose(*, draft: Draft, staff_id: int, now: dt.datetime) -> Adjustment:
    """Stores a proposal and announces it; nothing moves. Returns it, or the first one of the same request key.

    The evidence was stored before (foundation.attachments). One commit with the event. Raises PermissionDenied,
    AdjustmentInvalid (zero-sum, chart, owners, reason, evidence), AdjustmentKeyReused, JournalReversedBefore.
    """
    staff = _staff(staff_id, MAY_PROPOSE)
    content = _content_of_draft(draft, staff, now)
    _check_owners(content.lines)

    def work() -> Adjustment:
        first = _rows().filter(request_key=draft.request_key).first()
        if first is not None:
            return _first(first, content)
        _check_reversal(content)
        return _store(content, draft.request_key, staff, now)

    try:
        return ledger.in_transaction(work)
    except IntegrityError:  # the same form, sent twice at once
        first = _rows().filter(request_key=draft.request_key).first()
        if first is None:
            raise
        return _first(first, content)


def approve(*, number: str, seen_digest: str, staff_id: int, now: dt.datetime, note: str = "") -> Adjustment:
    """Posts the journal of kind "adjustment" and decides, in one commit with the event; returns the decided row.

    `seen_digest` is that of the page the checker read. Locks the adjustment, then what the ledger locks. The same
    checker again gets the first answer; anybody later is told who decided. Raises PermissionDenied, NotFound,
    SamePerson, AlreadyDecided, AdjustmentChanged, EvidenceUnreadable, JournalReversedBefore, InsufficientFunds: then
    nothing moved and the adjustment stays as it was.
    """
    staff = _staff(staff_id, MAY_APPROVE)
    _check_evidence(number, now)

    def work() -> Adjustment:
        row = _lock(number)
        if row.state == Adjustment.State.APPROVED and row.decided_by_id == staff.user_id:
            return row
        _check_decidable(row, staff)
        content = _proved_content(row, seen_digest)
        if row.reverses_id is not None and _rows().filter(reversed_once=row.reverses_id).exists():
            raise JournalReversedBefore({"journal": row.reverses_id})
        posted = ledger.post(entry=content.entry(actor=f"staff:{staff.user_id}"), now=now)
        if not posted.created:
            raise AdjustmentPostedElsewhere({"number": number, "journal": posted.journal_id})
        return _decide(
            row,
            now=now,
            state=Adjustment.State.APPROVED,
            decided_by_id=staff.user_id,
            decided_by_name=staff.username,
            decision_reason=note.strip()[:REASON_MAX_LENGTH],
            journal_id=posted.journal_id,
            reversed_once=row.reverses_id,
        )

    try:
        return ledger.in_transaction(work)
    except AdjustmentChanged as error:
        alerts.raise_alert(
            code="adjustment_changed", subject=number, message=f"Refused to approve: {error.details}", now=now
        )
        raise
    except IntegrityError as error:  # another adjustment reversed the same journal between our look and our write
        row = _get(number)
        if row.reverses_id is None or not _rows().filter(reversed_once=row.reverses_id).exists():
            raise
        raise JournalReversedBefore({"journal": row.reverses_id}) from error


def reject(*, number: str, staff_id: int, reason: str, now: dt.datetime) -> Adjustment:
    """Refuses a proposal for a reason of 1 … 500 characters; nothing moves. The same checker again: the first answer.

    Locks the adjustment. Raises PermissionDenied, NotFound, DecisionReasonMissing, SamePerson, AlreadyDecided.
    """
    staff = _staff(staff_id, MAY_APPROVE)
    given = reason.strip()
    if not 1 <= len(given) <= REASON_MAX_LENGTH:
        raise DecisionReasonMissing()

    def work() -> Adjustment:
        row = _lock(number)
        if row.state == Adjustment.State.REJECTED and row.decided_by_id == staff.user_id:
            return row
        _check_decidable(row, staff)
        return _decide(
            row,
            now=now,
            state=Adjustment.State.REJECTED,
            decided_by_id=staff.user_id,
            decided_by_name=staff.username,
            decision_reason=given,
        )

    return ledger.in_transaction(work)


def withdraw(*, number: str, staff_id: int, now: dt.datetime) -> Adjustment:
    """The proposer takes his proposal back; nothing moves. Again: the first answer.

    Locks the adjustment. Raises PermissionDenied, NotFound, NotProposer, AlreadyDecided.
    """
    staff = _staff(staff_id, MAY_PROPOSE)

    def work() -> Adjustment:
        row = _lock(number)
        if row.proposed_by_id != staff.user_id:
            raise NotProposer({"number": number})
        if row.state == Adjustment.State.WITHDRAWN:
            return row
        _check_undecided(row)
        return _decide(row, now=now, state=Adjustment.State.WITHDRAWN)

    return ledger.in_transaction(work)


def find(*, number: str) -> Adjustment:
    """The adjustment as it stands now, for who proposed it under a number of his own. Raises NotFound."""
    return _get(number)


def opposite_of(*, journal_id: int) -> Opposite:
    """What would undo a journal, to be proposed as it is. Raises NotFound, AdjustmentInvalid, JournalReversedBefore."""
    found = selectors.get_journal_lines(journal_id=journal_id)
    if found is None:
        raise NotFound({"journal": journal_id})
    if _rows().filter(reversed_once=journal_id).exists():
        raise JournalReversedBefore({"journal": journal_id})
    journal, lines = found
    try:
        return Opposite(journal_id=journal_id, order_no=journal.order_no, lines=opposite_lines(lines))
    except InvalidAdjustment as error:
        raise AdjustmentInvalid({"problem": str(error)}) from error


def account_for(*, code: str, owner: str) -> AccountRef:
    """The account a person means by a code of the chart and an owner as typed. Raises AdjustmentInvalid.

    Employees: "enterprise code/employee code", or the employee's id. Enterprises: code or id. Platform: what the chart
    tells accounts of this code apart by (such as the channel), and nothing where there is only one.
    """
    title = CHART.get(code)
    typed = owner.strip()
    if title is None:
        raise AdjustmentInvalid({"problem": f"There is no account {code} in the chart."})
    if title.owner is OwnerKind.EMPLOYEE:
        return _employee_account(typed)
    if title.owner is OwnerKind.ENTERPRISE:
        enterprise = _find_enterprise(typed)
        if enterprise is None:
            raise AdjustmentInvalid({"problem": f"There is no enterprise {typed!r}."})
        return enterprise_account(enterprise.pk)
    if title.per == "one":
        if typed:
            raise AdjustmentInvalid({"problem": f"There is one account {code} only: leave the owner empty."})
    elif _PLATFORM_KEY.fullmatch(typed) is None:
        raise AdjustmentInvalid({"problem": f"Account {code} needs its {title.per} as owner."})
    return platform_account(code, typed)


def content_of(row: Adjustment) -> Content:
    """What a stored adjustment says. Raises InvalidAdjustment or InvalidEntry when its rows make no sense."""
    return Content(
        number=row.number,
        reason=row.reason,
        order_no=row.order_no,
        reverses_id=row.reverses_id,
        lines=tuple(
            Line(
                account=AccountRef(
                    owner_kind=line.owner_kind,
                    owner_id=line.owner_id,
                    code=line.code,
                    enterprise_id=line.enterprise_id,
                ),
                bucket=Bucket.AVAILABLE,
                amount_fen=line.amount_fen,
                category=Category(line.category),
            )
            for line in AdjustmentLine.objects.using(ledger.alias()).filter(adjustment=row).order_by("line_no")
        ),
        evidence=tuple(
            Evidence(digest=item.digest, name=item.name)
            for item in AdjustmentEvidence.objects.using(ledger.alias()).filter(adjustment=row).order_by("evidence_no")
        ),
        proposed_by_id=row.proposed_by_id,
    )


def _staff(user_id: int, permission: str) -> _Staff:
    """The active member of staff, if he holds the permission now."""
    user: Any = get_user_model().objects.filter(pk=user_id, is_active=True, is_staff=True).first()
    if user is None or not user.has_perm(permission):
        raise PermissionDenied({"permission": permission})
    return _Staff(user_id=user.pk, username=user.get_username())


def _content_of_draft(draft: Draft, staff: _Staff, now: dt.datetime) -> Content:
    try:
        for item in draft.evidence:
            attachments.find(digest=item.digest)
        return Content(
            number=_new_number(now),
            reason="\n".join(draft.reason.split("\r\n")).strip(),
            order_no=draft.order_no.strip(),
            reverses_id=draft.reverses_id,
            lines=draft.lines,
            evidence=tuple(replace(item, name=attachments.clean_name(item.name)) for item in draft.evidence),
            proposed_by_id=staff.user_id,
        )
    except InvalidAdjustment as error:
        raise AdjustmentInvalid({"problem": str(error)}) from error
    except NotFound as error:
        raise AdjustmentInvalid({"problem": "An evidence file was not stored."}) from error


def _new_number(now: dt.datetime) -> str:
    """ADJ, the business date, eight random letters: 32⁸ numbers a day, and the unique key has the last word."""
    letters = "".join(secrets.choice(NUMBER_LETTERS) for _ in range(8))
    return f"ADJ{clock.business_date(now):%Y%m%d}{letters}"


def _check_owners(lines: Sequence[Line]) -> None:
    """Customers of the lines exist, in the enterprise that the line names."""
    customers = [line.account for line in lines if not line.account.is_platform]
    employee_ids = [int(ref.owner_id) for ref in customers if ref.owner_kind == OwnerKind.EMPLOYEE]
    employees = identity.get_employees(employee_ids=employee_ids)
    enterprise_ids = [int(ref.owner_id) for ref in customers if ref.owner_kind == OwnerKind.ENTERPRISE]
    enterprises = Enterprise.objects.in_bulk(enterprise_ids)
    for ref in customers:
        if ref.owner_kind == OwnerKind.EMPLOYEE:
            employee = employees.get(int(ref.owner_id))
            is_known = employee is not None and str(employee.enterprise_id) == ref.enterprise_id
        else:
            is_known = int(ref.owner_id) in enterprises and ref.owner_id == ref.enterprise_id
        if not is_known:
            raise AdjustmentInvalid({"problem": f"There is no {ref.owner_kind.lower()} {ref.owner_id}."})


def _check_reversal(content: Content) -> None:
    """An opposite entry is exactly opposite: who wants anything else proposes it without naming the journal."""
    if content.reverses_id is None:
        return
    opposite = opposite_of(journal_id=content.reverses_id)
    if sorted(map(_line_key, opposite.lines)) != sorted(map(_line_key, content.lines)):
        raise AdjustmentInvalid({"problem": "The lines are not the opposite of the journal."})


def _line_key(line: Line) -> tuple[str, str, str, int, str]:
    return (*line.account.key, line.amount_fen, line.category)


def _store(content: Content, request_key: str, staff: _Staff, now: dt.datetime) -> Adjustment:
    row = _rows().create(
        number=content.number,
        request_key=request_key,
        reason=content.reason,
        order_no=content.order_no,
        reverses_id=content.reverses_id,
        line_count=len(content.lines),
        evidence_count=len(content.evidence),
        total_fen=content.entry(actor="").total_fen,
        digest=_seal(content, settings.SECRET_KEY),
        proposed_by_id=staff.user_id,
        proposed_by_name=staff.username,
        proposed_at=now,
    )
    AdjustmentLine.objects.using(ledger.alias()).bulk_create(
        [
            AdjustmentLine(
                adjustment=row,
                line_no=number,
                owner_kind=line.account.owner_kind,
                owner_id=line.account.owner_id,
                code=line.account.code,
                enterprise_id=line.account.enterprise_id,
                amount_fen=line.amount_fen,
                category=line.category,
            )
            for number, line in enumerate(content.lines, start=1)
        ]
    )
    AdjustmentEvidence.objects.using(ledger.alias()).bulk_create(
        [
            AdjustmentEvidence(adjustment=row, evidence_no=number, digest=item.digest, name=item.name)
            for number, item in enumerate(content.evidence, start=1)
        ]
    )
    _announce(PROPOSED, row, now)
    logger.info("adjustment proposed", number=row.number, staff_id=staff.user_id, total_fen=row.total_fen)
    return row


def _first(row: Adjustment, content: Content) -> Adjustment:
    """The adjustment of this request key, if it says the same."""
    if content_of(row).canonical() != replace(content, number=row.number).canonical():
        raise AdjustmentKeyReused({"number": row.number})
    return row


def _check_evidence(number: str, now: dt.datetime) -> None:
    """Every file is there and unchanged; files are read before the transaction, not inside."""
    row = _get(number)
    for item in AdjustmentEvidence.objects.using(ledger.alias()).filter(adjustment=row):
        try:
            attachments.read(digest=item.digest)
        except (NotFound, attachments.AttachmentDamaged) as error:
            alerts.raise_alert(
                code="adjustment_evidence_unreadable", subject=number, message=f"{item.name}: {error}", now=now
            )
            raise EvidenceUnreadable({"number": number, "name": item.name}) from error


def _check_decidable(row: Adjustment, staff: _Staff) -> None:
    _check_undecided(row)
    if row.proposed_by_id == staff.user_id:
        raise SamePerson({"number": row.number})


def _check_undecided(row: Adjustment) -> None:
    if row.state != Adjustment.State.PROPOSED and row.decided_at is not None:
        at = row.decided_at.astimezone(clock.BUSINESS_ZONE)
        raise AlreadyDecided(
            {
                "number": row.number,
                "state": row.state,
                "by": row.decided_by_name or row.proposed_by_name,
                "at": f"{at:%Y-%m-%d %H:%M:%S}",
            }
        )


def _proved_content(row: Adjustment, seen_digest: str) -> Content:
    """The content under lock, if it is what was sealed at proposal and what the checker saw."""
    try:
        content = content_of(row)
    except (InvalidAdjustment, InvalidEntry, ValueError) as error:
        raise AdjustmentChanged({"number": row.number, "problem": str(error)}) from error
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    if not any(hmac.compare_digest(_seal(content, key), row.digest) for key in keys):
        raise AdjustmentChanged({"number": row.number, "problem": "its seal does not fit its content"})
    if not hmac.compare_digest(seen_digest.encode(), row.digest.encode()):
        raise AdjustmentChanged({"number": row.number, "problem": "the page showed something else"})
    return content


def _seal(content: Content, key: str) -> str:
    """Keyed, so that who can write rows still cannot seal them; 64 hex digits."""
    return salted_hmac("funds.adjustment", content.canonical(), secret=key, algorithm="sha256").hexdigest()


def _decide(row: Adjustment, *, now: dt.datetime, state: Adjustment.State, **fields: Any) -> Adjustment:
    """The one move out of PROPOSED, with its event, inside the open transaction."""
    fields |= {"state": state, "decided_at": now}
    if _rows().filter(pk=row.pk, state=Adjustment.State.PROPOSED).update(**fields) != 1:
        raise RuntimeError(f"adjustment {row.number} changed under lock")
    row.refresh_from_db(using=ledger.alias())
    _announce(DECIDED, row, now)
    logger.info("adjustment decided", number=row.number, state=row.state, staff_id=row.decided_by_id)
    return row


def _announce(topic: str, row: Adjustment, now: dt.datetime) -> None:
    outbox.publish(
        using=ledger.alias(),
        topic=topic,
        key=row.number,
        payload={
            "adjustment_id": row.pk,
            "number": row.number,
            "state": row.state,
            "total_fen": row.total_fen,
            "proposed_by_id": row.proposed_by_id,
            "proposed_by_name": row.proposed_by_name,
            "decided_by_name": row.decided_by_name,
        },
        now=now,
    )


def _employee_account(typed: str) -> AccountRef:
    enterprise_code, slash, employee_code = typed.partition("/")
    if slash:
        enterprise = _find_enterprise(enterprise_code.strip())
        if enterprise is not None and employee_code.isascii():
            found = Employee.objects.filter(enterprise=enterprise, code=employee_code.strip()).first()
            if found is not None:
                return employee_account(found.pk, enterprise.pk)
    elif typed.isascii() and typed.isdigit() and len(typed) <= 18:
        by_id = identity.get_employees(employee_ids=[int(typed)]).get(int(typed))
        if by_id is not None:
            return employee_account(by_id.pk, by_id.enterprise_id)
    raise AdjustmentInvalid(
        {"problem": f"There is no employee {typed!r}: type enterprise code/employee code, or an id."}
    )


def _find_enterprise(typed: str) -> Enterprise | None:
    """By code, else by id."""
    if not typed.isascii():
        return None
    found = Enterprise.objects.filter(code=typed).first()
    if found is None and typed.isdigit() and len(typed) <= 18:
        found = Enterprise.objects.filter(pk=int(typed)).first()
    return found


def _rows() -> Any:
    return Adjustment.objects.using(ledger.alias())


def _get(number: str) -> Adjustment:
    row = _rows().filter(number=number).first()
    if row is None:
        raise NotFound({"adjustment": number[:32]})
    return row


def _lock(number: str) -> Adjustment:
    row = _rows().select_for_update().filter(number=number).first()
    if row is None:
        raise NotFound({"adjustment": number[:32]})
    return row
