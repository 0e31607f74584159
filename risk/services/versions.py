"""The life of a table's version: draft → submitted → active → retired, by two people; rollback is a new version.

A draft belongs to who made it, so that its checker has written none of it. From the submission on nothing of it can be
changed (triggers); its digest is what the checker saw. One version of an action is active.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import structlog

from foundation import clock, outbox
from foundation.db import roles, transactions
from foundation.errors import NotFound, Rejected
from risk import selectors
from risk.domain.facts import Action
from risk.domain.tables import CellError, Row, TableInvalid, Thresholds, compile_table
from risk.domain.versions import CHANGED, NOTE_MAX_LENGTH, RowChange, difference, digest
from risk.models import RuleRow, RuleSet, RuleVersion
from risk.services import staff as people
from risk.services import tables

logger = structlog.get_logger("risk")


class RulesInvalid(Rejected):
    """400: the table has wrong cells (`details.cells`: texts), or words are missing (`details.problem`)."""

    code = "risk_rules_invalid"
    message_en = "The rules are not valid."
    message_zh = "规则不合法。"


class NotYourDraft(Rejected):
    """409: only who made a draft writes it; others copy it."""

    code = "risk_not_your_draft"
    http_status = 409
    message_en = "Only its maker can change this draft. Make a copy."
    message_zh = "只有起草人可以修改该草稿，请另行复制。"


class WrongState(Rejected):
    """409: the version is not in the state this step starts from; `details` say by whom and when."""

    code = "risk_version_state"
    http_status = 409
    message_en = "This version is no longer in the state for that."
    message_zh = "该版本的状态已变化。"


class SameMaker(Rejected):
    """409: who made a version does not approve it."""

    code = "risk_version_same_person"
    http_status = 409
    message_en = "You made this version: another person must decide it."
    message_zh = "该版本由您起草，须由他人审批。"


class VersionChanged(Rejected):
    """409: another table became active, or the rows are not those that were shown."""

    code = "risk_version_changed"
    http_status = 409
    message_en = "Something changed since the page was shown. Look again before you approve."
    message_zh = "页面显示之后内容已变化，请重新查看后再审批。"


def create_draft(*, action: Action, staff_id: int, now: dt.datetime, copy_of_id: int | None = None) -> RuleVersion:
    """A new draft with the rows of `copy_of_id`, or of the active version. Locks the rule set for the next number.

    Raises PermissionDenied, NotFound.
    """
    person = people.find(staff_id=staff_id, permission=people.EDIT_RULES)
    return transactions.run(lambda: _copy(action, copy_of_id, person, now), using=_alias())


def save_draft(
    *, version_id: int, rows: Sequence[Row], thresholds: Thresholds, note: str, staff_id: int, now: dt.datetime
) -> list[CellError]:
    """Replaces the whole content of one's own draft and returns its wrong cells, which may be put right later.

    Positions count from 1 in the given order. Locks the version. Raises PermissionDenied, NotFound, NotYourDraft,
    WrongState; RulesInvalid when a text does not fit its column.
    """
    person = people.find(staff_id=staff_id, permission=people.EDIT_RULES)
    numbered = [
        Row(**{**{name: getattr(row, name) for name in _COLUMNS}, "position": position})
        for position, row in enumerate(rows, start=1)
    ]
    _check_lengths(numbered, note)

    def work() -> list[CellError]:
        version = _own_draft(version_id, person)
        version.note = note.strip()
        version.review_score, version.reject_score = thresholds.review_score, thresholds.reject_score
        version.save(update_fields=["note", "review_score", "reject_score"])
        RuleRow.objects.using(_alias()).filter(version=version).delete()
        _store_rows(version, numbered)
        return cell_errors(action=Action(version.rule_set.action), rows=numbered, thresholds=thresholds)

    return transactions.run(work, using=_alias())


def discard_draft(*, version_id: int, staff_id: int) -> None:
    """Deletes one's own draft. Locks it. Raises PermissionDenied, NotFound, NotYourDraft, WrongState."""
    person = people.find(staff_id=staff_id, permission=people.EDIT_RULES)

    def work() -> None:
        version = _own_draft(version_id, person)
        RuleRow.objects.using(_alias()).filter(version=version).delete()
        RuleVersion.objects.using(_alias()).filter(pk=version.pk).delete()

    transactions.run(work, using=_alias())


def submit(*, version_id: int, staff_id: int, now: dt.datetime) -> RuleVersion:
    """Fixes one's own draft and asks for a checker. Needs a note and a table without wrong cells. Locks the version.

    Raises PermissionDenied, NotFound, NotYourDraft, WrongState, RulesInvalid. Again: the first answer.
    """
    person = people.find(staff_id=staff_id, permission=people.EDIT_RULES)

    def work() -> RuleVersion:
        version = _lock(version_id)
        if version.state == RuleVersion.State.SUBMITTED and version.made_by_id == person.user_id:
            return version
        return _submit(_own_draft(version_id, person), now)

    return transactions.run(work, using=_alias())


def propose_rollback(*, version_id: int, reason: str, staff_id: int, now: dt.datetime) -> RuleVersion:
    """A new version equal to an old one, submitted at once: it is approved as any other. Raises as `submit`."""
    person = people.find(staff_id=staff_id, permission=people.EDIT_RULES)

    def work() -> RuleVersion:
        old = _get(version_id)
        if old.state != RuleVersion.State.RETIRED:
            raise WrongState(_who(old))
        version = _copy(Action(old.rule_set.action), old.pk, person, now)
        version.note = f"Back to version {old.number}: {reason.strip()}"[:NOTE_MAX_LENGTH] if reason.strip() else ""
        version.save(update_fields=["note"])
        return _submit(version, now)

    return transactions.run(work, using=_alias())


def seen_token(version: RuleVersion) -> str:
    """What a page showed to a checker: the rows, and the version they would replace."""
    return f"{version.digest}:{version.rule_set.active_id or 0}"


def approve(*, version_id: int, seen: str, staff_id: int, now: dt.datetime, note: str = "") -> RuleVersion:
    """Makes a submitted version the active one; the one before is retired. In all processes within two seconds.

    `seen` is `seen_token` of the page. Locks the rule set, then the version. The same checker again: the first answer.
    Raises PermissionDenied, NotFound, SameMaker, WrongState, VersionChanged, RulesInvalid.
    """
    person = people.find(staff_id=staff_id, permission=people.APPROVE_RULES)

    def work() -> RuleVersion:
        rule_set = _lock_set(_get(version_id).rule_set_id)
        version = _lock(version_id)
        if version.state == RuleVersion.State.ACTIVE and version.decided_by_id == person.user_id:
            return version
        _check_decidable(version, person)
        rows, thresholds = selectors.get_content(version_id=version.pk)
        _compile(Action(rule_set.action), rows, thresholds)
        if digest(action=rule_set.action, rows=rows, thresholds=thresholds) != version.digest:
            raise VersionChanged({"version": version.number})
        if seen != f"{version.digest}:{rule_set.active_id or 0}":
            raise VersionChanged({"version": version.number})
        return _activate(rule_set, version, person, note, now)

    version = transactions.run(work, using=_alias())
    tables.forget()
    return version


def refuse(*, version_id: int, reason: str, staff_id: int, now: dt.datetime) -> RuleVersion:
    """Turns a submitted version down for a reason; its maker may copy it. Locks it. Again: the first answer.

    Raises PermissionDenied, NotFound, SameMaker, WrongState, RulesInvalid.
    """
    person = people.find(staff_id=staff_id, permission=people.APPROVE_RULES)
    given = reason.strip()
    if not 1 <= len(given) <= NOTE_MAX_LENGTH:
        raise RulesInvalid({"problem": "Give a reason."})

    def work() -> RuleVersion:
        version = _lock(version_id)
        if version.state == RuleVersion.State.REFUSED and version.decided_by_id == person.user_id:
            return version
        _check_decidable(version, person)
        version.state = RuleVersion.State.REFUSED
        version.decided_by_id, version.decided_by_name, version.decided_at = person.user_id, person.username, now
        version.decision_reason = given
        version.save(update_fields=[*_DECISION, "state"])
        _announce(version, now)
        return version

    return transactions.run(work, using=_alias())


def changes(*, version_id: int, against_id: int | None = None) -> list[RowChange]:
    """How a version differs from another one, or from the active one (from nothing, when none is). Raises NotFound."""
    version = _get(version_id)
    other_id = against_id if against_id is not None else version.rule_set.active_id
    before: Sequence[Row] = ()
    if other_id is not None:
        if _get(other_id).rule_set_id != version.rule_set_id:
            raise NotFound({"version": other_id})
        before, _ = selectors.get_content(version_id=other_id)
    after, _ = selectors.get_content(version_id=version_id)
    return difference(before, after)


def cell_errors(*, action: Action, rows: Sequence[Row], thresholds: Thresholds) -> list[CellError]:
    """Every wrong cell of a table; none means that it compiles."""
    try:
        compile_table(action=action, rows=rows, thresholds=thresholds)
    except TableInvalid as error:
        return list(error.errors)
    return []


_COLUMNS = tuple(name for name in Row.__dataclass_fields__ if name != "position")
_DECISION = ("decided_by_id", "decided_by_name", "decided_at", "decision_reason")


def _copy(action: Action, copy_of_id: int | None, person: people.Staff, now: dt.datetime) -> RuleVersion:
    found = RuleSet.objects.using(_alias()).filter(action=action).first()
    if found is None:
        raise NotFound({"action": action})
    rule_set = _lock_set(found.pk)
    source_id = copy_of_id if copy_of_id is not None else rule_set.active_id
    rows: Sequence[Row] = ()
    thresholds = Thresholds()
    if source_id is not None:
        if _get(source_id).rule_set_id != rule_set.pk:
            raise NotFound({"version": source_id})
        rows, thresholds = selectors.get_content(version_id=source_id)
    version = RuleVersion.objects.using(_alias()).create(
        rule_set=rule_set,
        number=selectors.get_last_number(rule_set_id=rule_set.pk) + 1,
        based_on_id=source_id,
        review_score=thresholds.review_score,
        reject_score=thresholds.reject_score,
        made_by_id=person.user_id,
        made_by_name=person.username,
        made_at=now,
    )
    _store_rows(version, rows)
    return version


def _store_rows(version: RuleVersion, rows: Sequence[Row]) -> None:
    RuleRow.objects.using(_alias()).bulk_create(
        [
            RuleRow(version=version, position=row.position, **{name: getattr(row, name) for name in _COLUMNS})
            for row in rows
        ]
    )


def _check_lengths(rows: Sequence[Row], note: str) -> None:
    """What the database could not hold; everything else is a cell error that a draft may have."""
    if len(note) > NOTE_MAX_LENGTH:
        raise RulesInvalid({"problem": f"The note is longer than {NOTE_MAX_LENGTH} characters."})
    for row in rows:
        for name in _COLUMNS:
            most = getattr(RuleRow._meta.get_field(name), "max_length", None)
            value = getattr(row, name)
            is_bad_text = isinstance(value, str) and most is not None and len(value) > most
            is_bad_code = name == "code" and not str(value).isascii()
            is_bad_number = isinstance(value, int) and not 0 <= value <= 2**31 - 1
            if is_bad_text or is_bad_code or is_bad_number:
                raise RulesInvalid({"problem": f"Row {row.position}: {name} does not fit."})


def _submit(version: RuleVersion, now: dt.datetime) -> RuleVersion:
    if not version.note.strip():
        raise RulesInvalid({"problem": "Say what changes, and why."})
    rows, thresholds = selectors.get_content(version_id=version.pk)
    _compile(Action(version.rule_set.action), rows, thresholds)
    version.state = RuleVersion.State.SUBMITTED
    version.submitted_at = now
    version.digest = digest(action=version.rule_set.action, rows=rows, thresholds=thresholds)
    version.save(update_fields=["state", "submitted_at", "digest"])
    _announce(version, now)
    logger.info("risk version submitted", version=version.pk, staff_id=version.made_by_id)
    return version


def _compile(action: Action, rows: Sequence[Row], thresholds: Thresholds) -> None:
    errors = cell_errors(action=action, rows=rows, thresholds=thresholds)
    if errors:
        cells = [f"{item.position} {item.column}: {item.text_en}" for item in errors]
        raise RulesInvalid({"problem": "; ".join(cells[:5]), "cells": cells})


def _activate(
    rule_set: RuleSet, version: RuleVersion, person: people.Staff, note: str, now: dt.datetime
) -> RuleVersion:
    if rule_set.active_id is not None:
        old = RuleVersion.objects.using(_alias()).get(pk=rule_set.active_id)
        old.state, old.active_once, old.retired_at = RuleVersion.State.RETIRED, None, now
        old.save(update_fields=["state", "active_once", "retired_at"])
    version.state, version.active_once = RuleVersion.State.ACTIVE, rule_set.pk
    version.decided_by_id, version.decided_by_name, version.decided_at = person.user_id, person.username, now
    version.decision_reason = note.strip()[:NOTE_MAX_LENGTH]
    version.save(update_fields=[*_DECISION, "state", "active_once"])
    rule_set.active, rule_set.generation, rule_set.activated_at = version, rule_set.generation + 1, now
    rule_set.save(update_fields=["active", "generation", "activated_at"])
    _announce(version, now)
    logger.info("risk version active", action=rule_set.action, version=version.number, staff_id=person.user_id)
    return version


def _check_decidable(version: RuleVersion, person: people.Staff) -> None:
    if version.state != RuleVersion.State.SUBMITTED:
        raise WrongState(_who(version))
    if version.made_by_id == person.user_id:
        raise SameMaker({"version": version.number})


def _own_draft(version_id: int, person: people.Staff) -> RuleVersion:
    version = _lock(version_id)
    if version.state != RuleVersion.State.DRAFT:
        raise WrongState(_who(version))
    if version.made_by_id != person.user_id:
        raise NotYourDraft({"by": version.made_by_name})
    return version


def _who(version: RuleVersion) -> dict[str, Any]:
    """In what state it is, by whom and since when: for who came second."""
    at = version.decided_at or version.submitted_at or version.made_at
    return {
        "state": version.state,
        "by": version.decided_by_name or version.made_by_name,
        "at": f"{at.astimezone(clock.BUSINESS_ZONE):%Y-%m-%d %H:%M:%S}",
    }


def _announce(version: RuleVersion, now: dt.datetime) -> None:
    outbox.publish(
        using=_alias(),
        topic=CHANGED,
        key=f"{version.pk}:{version.state}",
        payload={
            "version_id": version.pk,
            "action": version.rule_set.action,
            "number": version.number,
            "state": version.state,
            "made_by_id": version.made_by_id,
            "made_by_name": version.made_by_name,
            "decided_by_name": version.decided_by_name,
        },
        now=now,
    )


def _get(version_id: int) -> RuleVersion:
    version = RuleVersion.objects.using(_alias()).select_related("rule_set").filter(pk=version_id).first()
    if version is None:
        raise NotFound({"version": version_id})
    return version


def _lock(version_id: int) -> RuleVersion:
    version = RuleVersion.objects.using(_alias()).select_for_update().filter(pk=version_id).first()
    if version is None:
        raise NotFound({"version": version_id})
    return version


def _lock_set(rule_set_id: int) -> RuleSet:
    return RuleSet.objects.using(_alias()).select_for_update().get(pk=rule_set_id)


def _alias() -> str:
    return roles.alias_for("default")
