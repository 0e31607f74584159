"""What the database itself refuses, tried by SQL as a superuser with a console would."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import Error, connections, transaction

from foundation.db import roles
from withdrawals.models import Decision, Reissue, Withdrawal, WithdrawalEvent

pytestmark = pytest.mark.django_db(databases="__all__")
NOW = dt.datetime(2026, 11, 23, 2, 0, tzinfo=dt.UTC)
APPLICANT = 4711


def staff(name: str) -> User:
    return User.objects.create_user(f"{name}-{uuid.uuid4().hex[:8]}", is_staff=True, is_superuser=True)


def waiting(*, needed: int = 1) -> Withdrawal:
    row = Withdrawal.objects.create(
        order_no=uuid.uuid4().hex.upper(),
        employee_id=APPLICANT,
        enterprise_id=1,
        amount_fen=100,
        channel="kuaiqian",
        payee_account="v1:x",
        payee_name="v1:y",
        payee_index="a" * 64,
        payee_name_index="b" * 64,
        payee_masked="6222 **** 1234",
        approvals_needed=needed,
        created_at=NOW,
    )
    sql(f"UPDATE withdrawals_withdrawal SET state = 'APPLIED' WHERE order_no = '{row.order_no}'")
    return row


def sql(statement: str) -> None:
    with connections[roles.alias_for("default")].cursor() as cursor:
        cursor.execute(statement)


def refused(statement: str, *, word: str) -> None:
    with pytest.raises(Error, match=word), transaction.atomic(using=roles.alias_for("default")):
        sql(statement)


def say(row: Withdrawal, who: User, word: str = "APPROVE", **more: Any) -> Decision:
    values: dict[str, Any] = {
        "withdrawal": row,
        "round": 1,
        "word": word,
        "applicant_id": APPLICANT,
        "decided_by": who,
        "reason": "enough words" if word == "REJECT" else "",
        "digest": "d" * 64,
        "code_device": "totp:1",
        "decided_at": NOW,
    }
    return Decision.objects.create(**values | more)


def insert(row: Withdrawal, who: User, **more: Any) -> str:
    values = {
        "withdrawal_id": row.order_no,
        "round": 1,
        "word": "APPROVE",
        "applicant_id": APPLICANT,
        "decided_by_id": who.pk,
        "decided_by_employee_id": None,
        "reason": "",
        "digest": "d" * 64,
        "code_device": "totp:1",
        "decided_at": "2026-11-23 02:00:00",
    } | more
    shown = ", ".join("NULL" if value is None else f"'{value}'" for value in values.values())
    return f"INSERT INTO withdrawals_decision ({', '.join(values)}) VALUES ({shown})"


def approve(row: Withdrawal) -> str:
    return f"UPDATE withdrawals_withdrawal SET state = 'APPROVED' WHERE order_no = '{row.order_no}'"


def test_the_maker_is_never_the_checker() -> None:
    row, who = waiting(), staff("maker")
    refused(insert(row, who, decided_by_employee_id=APPLICANT), word="decision_not_by_applicant|CHECK")
    refused(
        insert(row, who, decided_by_employee_id=APPLICANT, applicant_id=1),
        word="present round of a withdrawal that waits",
    )
    assert not Decision.objects.filter(withdrawal=row).exists()


def test_the_same_person_does_not_approve_twice() -> None:
    row, who, other = waiting(needed=2), staff("one"), staff("two")
    say(row, who)
    refused(insert(row, who), word="decision_once_a_person|UNIQUE")
    refused(approve(row), word="not enough approvals")
    say(row, other)
    sql(approve(row))
    row.refresh_from_db()
    assert row.state == "APPROVED"


def test_nothing_is_approved_without_enough_words_or_against_a_rejection() -> None:
    row = waiting()
    refused(approve(row), word="not enough approvals")
    say(row, staff("a"))
    say(row, staff("b"), "REJECT")
    refused(approve(row), word="not enough approvals")
    refused(
        f"UPDATE withdrawals_withdrawal SET state = 'SENDING', payout_no = 'x', sent_at = created_at "
        f"WHERE order_no = '{row.order_no}'",
        word="only what is approved is sent",
    )


def test_decisions_of_another_round_do_not_count() -> None:
    row = waiting()
    say(row, staff("a"))
    sql(f"UPDATE withdrawals_withdrawal SET approval_round = 2 WHERE order_no = '{row.order_no}'")
    refused(approve(row), word="not enough approvals")
    refused(insert(row, staff("b")), word="present round")


def test_a_word_needs_a_code_and_a_rejection_its_reason() -> None:
    row, who = waiting(), staff("a")
    refused(insert(row, who, code_device=""), word="decision_with_code|CHECK")
    refused(insert(row, who, word="REJECT", reason="no"), word="decision_rejection_reason|CHECK")


def test_the_trail_stays() -> None:
    row = waiting()
    said = say(row, staff("a"))
    WithdrawalEvent.objects.create(
        withdrawal=row, version=1, kind="applied", state="APPLIED", actor="employee:1", happened_at=NOW
    )
    for statement in (
        f"UPDATE withdrawals_decision SET word = 'REJECT', reason = 'changed later' WHERE id = {said.pk}",
        f"DELETE FROM withdrawals_decision WHERE id = {said.pk}",
        f"UPDATE withdrawals_withdrawalevent SET note = 'x' WHERE withdrawal_id = '{row.order_no}'",
        f"DELETE FROM withdrawals_withdrawalevent WHERE withdrawal_id = '{row.order_no}'",
    ):
        refused(statement, word="insert-only")
    refused(f"DELETE FROM withdrawals_withdrawal WHERE order_no = '{row.order_no}'", word="never deleted|foreign key")


def test_a_payout_keeps_its_number_unless_two_people_decided() -> None:
    row, proposer, checker = waiting(), staff("a"), staff("b")
    say(row, staff("c"))
    sql(approve(row))
    sql(
        f"UPDATE withdrawals_withdrawal SET state = 'SENDING', payout_no = 'OLD', sent_at = created_at "
        f"WHERE order_no = '{row.order_no}'"
    )
    change = f"UPDATE withdrawals_withdrawal SET payout_no = 'NEW' WHERE order_no = '{row.order_no}'"
    refused(change, word="keeps its number")
    proposal = Reissue.objects.create(
        withdrawal=row,
        old_payout_no="OLD",
        new_payout_no="NEW",
        evidence={"code": "NOT_FOUND"},
        reason="the provider does not know it",
        proposed_by=proposer,
        proposed_at=NOW,
    )
    refused(change, word="keeps its number")
    decide = "UPDATE withdrawals_reissue SET approved_by_id = {who}, approved_at = proposed_at WHERE id = {pk}"
    refused(decide.format(who=proposer.pk, pk=proposal.pk), word="reissue_four_eyes|CHECK")
    sql(decide.format(who=checker.pk, pk=proposal.pk))
    refused(decide.format(who=staff("d").pk, pk=proposal.pk), word="is decided")
    sql(change)
    row.refresh_from_db()
    assert row.payout_no == "NEW"
