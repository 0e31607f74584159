"""The public face of risk control: may this request go on?

How `withdrawals` uses it, all on the database of role default (`roles.alias_for("default")`), in one commit:

    def work():                                             # under transactions.run(work, using=alias)
        verdict = deciding.decide(
            action=Action.WITHDRAWAL, subject=…, amount_fen=…, channel=…, reference=…, known=…, now=now
        )
        if verdict.outcome is Outcome.REJECT:
            return verdict                                  # commit, so that the refusal stays in the log
        reserving.reserve(verdict=verdict, now=now)
        …                                                   # order, freeze; REVIEW or PASS is put on the withdrawal
        return verdict
    verdict = transactions.run(work, using=alias)
    if verdict.outcome is Outcome.REJECT:
        raise verdict.refusal()                             # after the commit

Locks: the counter rows of the employee (day, day and channel, year) and of the card, in the order of their names, until
the transaction ends: two requests of one employee are decided one after the other, so they can never both be number
three. Take them before any lock on orders and accounts. Nothing here waits for a network.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.db import connections

from foundation import clock
from foundation.db import roles, transactions
from foundation.errors import Rejected
from foundation.money import is_amount_fen
from risk.domain.facts import Action, FactValue, Source, of_action
from risk.domain.limits import period_end
from risk.domain.tables import NO_TABLE_CODE, REVIEW_REASON_EN, REVIEW_REASON_ZH, Outcome, Result
from risk.models import Decision
from risk.services import gathering, tables

logger = structlog.get_logger("risk")

REFERENCE_MAX_LENGTH = 64


class RiskRejected(Rejected):
    """422: a rule refuses. Its message is the rule's reason for the employee.

    `details`: `rule` (its code), `reason`, and `until` (RFC 3339 in Shanghai time) when the refusal ends by itself.
    """

    code = "risk_rejected"
    http_status = 422
    message_en = "This request cannot be carried out for safety reasons."
    message_zh = "出于安全原因，无法办理该业务。"

    def __init__(self, details: Mapping[str, Any] | None = None, *, reason_en: str = "", reason_zh: str = "") -> None:
        super().__init__(details)
        self._reason_en, self._reason_zh = reason_en, reason_zh

    def message(self, language: str) -> str:
        is_chinese = language.lower().startswith("zh")
        return (self._reason_zh if is_chinese else self._reason_en) or super().message(language)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Who asks, and what it goes to. Card number, phone and address are only compared; none of them is stored.

    `card_no`: digits of the bank card a withdrawal goes to; `phone`: the phone number bound to it or to the employee;
    `address`: the caller's IP address; `payee_employee_id`: of a transfer.
    """

    employee_id: int
    enterprise_id: int
    card_no: str = field(default="", repr=False)
    phone: str = field(default="", repr=False)
    address: str = ""
    payee_employee_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What `decide` answers. `rule_code` and the reasons are empty on PASS; `until` is when a rejection ends by itself.

    `decision_id` names the row of the log (admin: `risk_decision`). `is_repeat`: the answer this reference got before.
    """

    outcome: Outcome
    rule_code: str
    reason_en: str
    reason_zh: str
    until: dt.datetime | None
    score: int
    decision_id: int
    is_repeat: bool
    asked: gathering.Asked = field(repr=False)
    day: dt.date = field(repr=False)
    seen: tuple[tuple[str, int], ...] = field(repr=False)
    decision: Decision = field(repr=False)

    def refusal(self) -> RiskRejected:
        """The error to raise where this verdict does not let the request go on."""
        details: dict[str, Any] = {"rule": self.rule_code}
        if self.until is not None:
            details["until"] = self.until.astimezone(clock.BUSINESS_ZONE).isoformat()
        return RiskRejected(details, reason_en=self.reason_en, reason_zh=self.reason_zh)


def decide(
    *,
    action: Action,
    subject: Subject,
    amount_fen: int,
    channel: str,
    reference: str,
    now: dt.datetime,
    known: Mapping[str, FactValue] | None = None,
) -> Verdict:
    """Judges one request by the active table of `action` and logs the decision.

    `amount_fen` is positive. `reference` (1 … 64 ascii) is the caller's own name of the request, such as the
    withdrawal's id: the same one again gets the first answer when it was reserved or rejected, and is judged anew
    otherwise. `known` holds the facts only the caller has (`risk.domain.facts`, source CALLER; for withdrawals
    account_age_days, card_is_new, card_is_second_class); a rule that needs one that is missing, null or of another type
    gives REVIEW. So does an error in a rule, and an action without usable rules: never PASS.

    Inside the caller's transaction on role default it takes part in it; see the module for locks. Without one it opens
    and commits its own, which is right where nothing is reserved. If the caller's transaction is rolled back, so is the
    log row: call `keep(verdict=…)` afterwards. At most 2 queries for facts, 1 for the log, and once a second 1 for the
    version pointers. Raises ValueError for a malformed call (our own bug), Busy.
    """
    if not is_amount_fen(amount_fen):
        raise ValueError(f"not an amount: {amount_fen!r}")
    if not 1 <= len(reference) <= REFERENCE_MAX_LENGTH or not reference.isascii():
        raise ValueError(f"not a reference: {reference!r}")
    alias = roles.alias_for("default")
    asked = _asked(action, subject, amount_fen, channel, reference)

    def work() -> Verdict:
        return _decide(asked, known or {}, now, alias)

    if connections[alias].in_atomic_block:
        return work()
    return transactions.run(work, using=alias)


def keep(*, verdict: Verdict) -> None:
    """Writes a verdict's log row when the transaction it was decided in was rolled back. Safe to repeat."""
    row = verdict.decision
    rows = Decision.objects.using(roles.alias_for("default"))
    same = rows.filter(action=row.action, reference=row.reference, created_at=row.created_at)
    if verdict.is_repeat or same.exists():
        return
    fields = {item.attname: getattr(row, item.attname) for item in Decision._meta.concrete_fields if item.name != "id"}
    rows.create(**fields)


def _asked(action: Action, subject: Subject, amount_fen: int, channel: str, reference: str) -> gathering.Asked:
    kinds = gathering.SUBJECTS
    allowable = [(kinds.EMPLOYEE, str(subject.employee_id)), (kinds.ENTERPRISE, str(subject.enterprise_id))]
    card_index = ""
    if subject.card_no:
        allowable.append((kinds.CARD, subject.card_no))
        # The oldest key's: what has gone to the card is counted on while a new key is brought in.
        card_index = gathering.value_indexes(subject_kind=kinds.CARD, value=subject.card_no)[-1]
    others = [(kinds.PHONE, subject.phone), (kinds.ADDRESS, subject.address)]
    if subject.payee_employee_id is not None:
        others.append((kinds.EMPLOYEE, str(subject.payee_employee_id)))
    allowed = _indexes(allowable)
    blocked = _indexes([(kind, value) for kind, value in others if value])
    return gathering.Asked(
        action=action,
        reference=reference,
        employee_id=subject.employee_id,
        enterprise_id=subject.enterprise_id,
        channel=channel,
        amount_fen=amount_fen,
        card_index=card_index,
        blockable=allowed + blocked,
        allowable=allowed,
    )


def _indexes(values: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(index for kind, value in values for index in gathering.value_indexes(subject_kind=kind, value=value))


def _decide(asked: gathering.Asked, known: Mapping[str, FactValue], now: dt.datetime, alias: str) -> Verdict:
    loaded = tables.current(action=asked.action, now=now)
    started = time.perf_counter()
    gathered = gathering.gather(asked=asked, now=now, using=alias)
    day = clock.business_date(now)
    if gathered.first_decision_id is not None:
        first = Decision.objects.using(alias).get(pk=gathered.first_decision_id)
        return _verdict(first, asked, day, gathered.seen, is_repeat=True)
    facts = {**_of_caller(asked.action, known), **gathered.facts}
    if loaded is None or loaded.table is None:
        result = Result(
            outcome=Outcome.REVIEW,
            rule_code=NO_TABLE_CODE,
            reason_en=REVIEW_REASON_EN,
            reason_zh=REVIEW_REASON_ZH,
            errors=("no usable table",),
        )
    else:
        result = loaded.table.evaluate(facts)
    ends = period_end(result.until, day)
    row = Decision.objects.using(alias).create(
        action=asked.action,
        reference=asked.reference,
        version_id=loaded.version_id if loaded else None,
        employee_id=asked.employee_id,
        enterprise_id=asked.enterprise_id,
        channel=asked.channel,
        amount_fen=asked.amount_fen,
        outcome=result.outcome,
        rule_code=result.rule_code,
        score=result.score,
        reason_en=result.reason_en,
        reason_zh=result.reason_zh,
        until_at=clock.day_start(ends) if ends else None,
        facts=facts,
        hits=list(result.hits),
        shadow_hits=list(result.shadow_hits),
        errors=list(result.errors),
        duration_us=int((time.perf_counter() - started) * 1_000_000),
        created_at=now,
    )
    if result.errors:
        logger.warning(
            "risk rules could not all be evaluated", action=asked.action, decision=row.pk, errors=result.errors
        )
    return _verdict(row, asked, day, gathered.seen, is_repeat=False)


def _of_caller(action: Action, known: Mapping[str, FactValue]) -> dict[str, FactValue]:
    """What the caller may say: nobody overwrites what risk counts itself. Raises ValueError for anything else."""
    facts = of_action(action)
    for name in known:
        if name not in facts or facts[name].source is not Source.CALLER:
            raise ValueError(f"{name!r} is no fact that callers of {action} bring")
    return dict(known)


def _verdict(
    row: Decision, asked: gathering.Asked, day: dt.date, seen: tuple[tuple[str, int], ...], *, is_repeat: bool
) -> Verdict:
    return Verdict(
        outcome=Outcome(row.outcome),
        rule_code=row.rule_code,
        reason_en=row.reason_en,
        reason_zh=row.reason_zh,
        until=row.until_at,
        score=row.score,
        decision_id=row.pk,
        is_repeat=is_repeat,
        asked=asked,
        day=day,
        seen=seen,
        decision=row,
    )
