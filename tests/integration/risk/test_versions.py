"""The life of a table: two people, fixed rows, rollback, dry run; and what the database refuses by itself."""

from __future__ import annotations

import datetime as dt
import time

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from foundation import clock, outbox
from foundation.errors import NotFound, PermissionDenied
from foundation.models import StaffNotice
from risk import selectors
from risk.domain.facts import Action
from risk.domain.tables import Outcome, Thresholds
from risk.models import Decision, RuleRow, RuleSet, RuleVersion
from risk.services import dry_runs, tables, versions
from tests.integration.risk.asking import (
    activate,
    approve,
    ask,
    person,
    row,
    rule_set,
    staff,
    submitted,
)
from tests.worlds import NOW

pytestmark = pytest.mark.django_db(databases="__all__")
ROWS = [row("SMALL", "amount_fen > 500", until="DAY"), row("YOUNG", "account_age_days < 7", "REVIEW")]


def refused(sql: str, *values: object) -> str:
    """The database's own words about a statement it refuses."""
    with pytest.raises(DatabaseError) as caught, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, values)
    return str(caught.value)


def test_a_version_counts_when_another_person_approved_it() -> None:
    maker, checker = staff("edit_rules"), staff("approve_rules")
    version = submitted(maker, ROWS)
    assert ask(person(), 501).outcome is Outcome.PASS
    before = rule_set()
    approved = approve(version, checker)
    after = rule_set()
    assert (after.active_id, after.generation) == (version.pk, before.generation + 1)
    assert (approved.state, approved.decided_by_name) == ("ACTIVE", checker.username)
    assert RuleVersion.objects.get(pk=before.active_id).state == "RETIRED"
    verdict = ask(person(), 501)
    assert (verdict.outcome, verdict.rule_code) == (Outcome.REJECT, "SMALL")
    assert Decision.objects.get(pk=verdict.decision_id).version_id == version.pk


def test_the_maker_cannot_approve_not_even_with_every_permission_or_as_superuser() -> None:
    maker = staff()
    maker.is_superuser = True
    maker.save()
    version = submitted(maker, ROWS)
    active = rule_set().active_id
    with pytest.raises(versions.SameMaker):
        approve(version, maker)
    with pytest.raises(versions.SameMaker):
        versions.refuse(version_id=version.pk, reason="no", staff_id=maker.pk, now=NOW)
    assert "ruleversion_four_eyes" in refused(
        "UPDATE risk_ruleversion SET decided_by_id = made_by_id, decided_at = %s, state = 'REFUSED', "
        "decision_reason = 'x' WHERE id = %s",
        "2026-11-22 00:00:00",
        version.pk,
    )
    assert "maker" in refused("UPDATE risk_ruleversion SET made_by_id = 0 WHERE id = %s", version.pk)
    assert rule_set().active_id == active
    assert RuleVersion.objects.get(pk=version.pk).state == "SUBMITTED"


def test_a_submitted_version_cannot_be_changed_by_anybody() -> None:
    maker = staff()
    version = submitted(maker, ROWS)
    stored = RuleRow.objects.filter(version=version).first()
    assert stored is not None
    with pytest.raises(versions.WrongState):
        versions.save_draft(
            version_id=version.pk, rows=[], thresholds=Thresholds(), note="", staff_id=maker.pk, now=NOW
        )
    for sql, value in (
        ("UPDATE risk_rulerow SET expression = 'on_allow_list' WHERE id = %s", stored.pk),
        ("DELETE FROM risk_rulerow WHERE id = %s", stored.pk),
        ("UPDATE risk_ruleversion SET reject_score = 1 WHERE id = %s", version.pk),
        ("UPDATE risk_ruleversion SET state = 'DRAFT', submitted_at = NULL, digest = '' WHERE id = %s", version.pk),
        ("DELETE FROM risk_ruleversion WHERE id = %s", version.pk),
    ):
        assert "1644" in refused(sql, value), sql
    with pytest.raises(DatabaseError, match="rows of a submitted"), transaction.atomic():
        RuleRow.objects.create(
            version=version, position=9, code="X1", title_en="", title_zh="", expression="", action="PASS", until="NONE"
        )
    assert selectors.get_content(version_id=version.pk)[0][0].expression == "amount_fen > 500"


def test_only_its_maker_writes_a_draft() -> None:
    version = versions.create_draft(action=Action.TRANSFER, staff_id=staff().pk, now=NOW)
    assert [item.code for item in selectors.get_content(version_id=version.pk)[0]] == ["ALLOW_LIST", "BLOCK_LIST"]
    other = staff()
    with pytest.raises(versions.NotYourDraft):
        versions.save_draft(
            version_id=version.pk, rows=ROWS, thresholds=Thresholds(), note="", staff_id=other.pk, now=NOW
        )
    with pytest.raises(versions.NotYourDraft):
        versions.submit(version_id=version.pk, staff_id=other.pk, now=NOW)
    with pytest.raises(PermissionDenied):
        versions.create_draft(action=Action.TRANSFER, staff_id=staff("approve_rules").pk, now=NOW)


def test_a_misspelt_fact_is_refused_at_its_cell_with_the_right_name() -> None:
    maker = staff()
    version = versions.create_draft(action=Action.WITHDRAWAL, staff_id=maker.pk, now=NOW)
    errors = versions.save_draft(
        version_id=version.pk,
        rows=[*ROWS, row("TYPO", "amount_fen_today > 5")],
        thresholds=Thresholds(),
        note="n",
        staff_id=maker.pk,
        now=NOW,
    )
    assert [(item.position, item.column, item.suggestion) for item in errors] == [(3, "expression", "amount_today_fen")]
    with pytest.raises(versions.RulesInvalid):
        versions.submit(version_id=version.pk, staff_id=maker.pk, now=NOW)
    assert RuleVersion.objects.get(pk=version.pk).state == "DRAFT"


def test_what_was_not_seen_is_not_approved() -> None:
    checker = staff()
    first, second = submitted(staff(), ROWS), submitted(staff(), ROWS[:1])
    seen = versions.seen_token(RuleVersion.objects.get(pk=second.pk))
    approve(first, checker)
    with pytest.raises(versions.VersionChanged):
        versions.approve(version_id=second.pk, seen=seen, staff_id=checker.pk, now=NOW)
    assert rule_set().active_id == first.pk


def test_who_comes_second_is_told_who_was_first() -> None:
    version, first, second = submitted(staff(), ROWS), staff(), staff()
    approve(version, first)
    assert approve(version, first).decided_by_id == first.pk
    with pytest.raises(versions.WrongState) as caught:
        approve(version, second)
    assert caught.value.details == {"state": "ACTIVE", "by": first.username, "at": "2026-11-22 10:00:00"}


def test_rollback_is_a_new_equal_version_with_four_eyes_again() -> None:
    shipped = rule_set().active_id
    number = RuleVersion.objects.get(pk=shipped).number
    activate(ROWS)
    maker = staff()
    back = versions.propose_rollback(version_id=shipped, reason="too strict", staff_id=maker.pk, now=NOW)
    assert (back.state, back.note) == ("SUBMITTED", f"Back to version {number}: too strict")
    assert back.digest == RuleVersion.objects.get(pk=shipped).digest
    assert versions.changes(version_id=back.pk, against_id=shipped) == []
    with pytest.raises(versions.SameMaker):
        approve(back, maker)
    approve(back, staff())
    assert ask(person(), 501).outcome is Outcome.PASS


def test_differences_name_rows_and_cells() -> None:
    version = submitted(staff(), [ROWS[1], row("SMALL", "amount_fen > 400", until="DAY"), row("NEW1", "on_block_list")])
    activate([*ROWS, row("GONE", "on_block_list")])
    found = [
        (change.code, change.before is None, change.after is None, change.columns, change.is_moved)
        for change in versions.changes(version_id=version.pk)
    ]
    assert found == [
        ("GONE", False, True, (), False),
        ("YOUNG", False, False, (), True),
        ("SMALL", False, False, ("expression",), True),
        ("NEW1", True, False, (), False),
    ]
    with pytest.raises(NotFound):
        other = RuleSet.objects.get(action="transfer").active_id
        versions.changes(version_id=version.pk, against_id=other)


def test_a_dry_run_says_which_past_requests_would_end_otherwise() -> None:
    who = person()
    later = NOW + dt.timedelta(days=3650)  # nobody else's decisions are that late
    old = [ask(who, amount, now=later).decision_id for amount in (500, 501, 1_000_001)]
    version = submitted(staff(), [*ROWS, row("NEEDS", "count_7_days >= 1", "SCORE", score=1)])
    run = dry_runs.dry_run(version_id=version.pk, since=later)
    moves = [(move.before, move.after, move.count, move.total_fen) for move in run.moves]
    assert moves == [
        (Outcome.PASS, Outcome.PASS, 1, 500),
        (Outcome.PASS, Outcome.REJECT, 1, 501),
        (Outcome.REJECT, Outcome.REJECT, 1, 1_000_001),
    ]
    assert (run.looked_at, run.changed_count, run.changed_fen, run.is_cut, run.unusable) == (3, 1, 501, False, 0)
    assert [change.decision.pk for change in run.changes] == [old[1]]
    assert run.row_hits == (("SMALL", 2), ("YOUNG", 0), ("NEEDS", 2))


def test_a_dry_run_judges_what_was_not_known_as_review() -> None:
    later = NOW + dt.timedelta(days=3651)
    ask(person(), 5, now=later, known={"account_age_days": 1})
    version = submitted(staff(), [row("CARD", "card_is_new")])
    run = dry_runs.dry_run(version_id=version.pk, since=later)
    assert (run.unusable, run.moves[0].after) == (1, Outcome.REVIEW)


def test_an_activation_counts_in_this_process_within_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process does not call `forget`: here neither."""
    assert ask(person(), 501).outcome is Outcome.PASS
    monkeypatch.setattr(tables, "forget", lambda: None)
    approve(submitted(staff(), ROWS), staff())
    began = time.monotonic()
    while ask(person(), 501).outcome is Outcome.PASS:
        assert time.monotonic() - began < 2
        time.sleep(0.02)


def test_staff_hear_of_what_waits_and_of_what_was_decided() -> None:
    maker, checker = staff("edit_rules"), staff("approve_rules")
    version = submitted(maker, ROWS)
    outbox.drain(using="default", now=clock.now)
    waiting = StaffNotice.objects.get(recipient_id=checker.pk, link__endswith=f"/{version.pk}/change/")
    assert waiting.title_zh == f"{maker.username} 提交的风控规则“提现”第 {version.number} 版待审批"
    approve(version, checker)
    outbox.drain(using="default", now=clock.now)
    told = StaffNotice.objects.get(recipient_id=maker.pk, link__endswith=f"/{version.pk}/change/")
    assert told.title_zh.endswith(f"已生效，审批人 {checker.username}")


def test_decisions_are_never_changed_or_deleted() -> None:
    decision = ask(person(), 5).decision_id
    assert "insert-only" in refused("UPDATE risk_decision SET outcome = 'REJECT' WHERE id = %s", decision)
    assert "insert-only" in refused("DELETE FROM risk_decision WHERE id = %s", decision)


def test_two_versions_can_never_be_active_together() -> None:
    version = activate(ROWS)
    with pytest.raises(IntegrityError), transaction.atomic():
        RuleVersion.objects.filter(pk=submitted(staff(), ROWS).pk).update(
            state="ACTIVE", active_once=version.rule_set_id, decided_by_id=1, decided_by_name="x", decided_at=NOW
        )
