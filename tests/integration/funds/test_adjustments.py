"""Adjustments: proposed by one, posted by another, refused in every other way, by the code and by the database."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import IntegrityError, OperationalError, connections, transaction
from pytest_django import Settings

from foundation.errors import NotFound, PermissionDenied
from foundation.models import Alert, OutboxEvent
from funds import proof as books_proof
from funds import selectors
from funds.domain.adjustments import Evidence
from funds.domain.entries import AccountRef, Category, enterprise_account, platform_account
from funds.models import Adjustment, AdjustmentEvidence, AdjustmentLine, Journal, Posting
from funds.services import adjustments, ledger
from identity.models import Employee
from tests import worlds
from tests.books import assert_books_balance
from tests.integration.funds import adjusting
from tests.integration.funds.adjusting import Team, account, approve, draft, evidence, line, loss_to, proposed
from tests.integration.funds.moves import frozen, recharged
from tests.worlds import NOW

pytestmark = pytest.mark.django_db(databases="__all__")

LATER = NOW + dt.timedelta(hours=2)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, settings: Settings) -> Path:
    settings.ATTACHMENT_ROOT = tmp_path / "attachments"
    return tmp_path / "attachments"


@pytest.fixture
def team() -> Team:
    return adjusting.team()


@pytest.fixture
def employee() -> Employee:
    """Somebody with ¥100.00."""
    person = worlds.make_world(1).employees[0]
    worlds.give_money(person, 10_000)
    return person


def journals(row: Adjustment) -> int:
    return Journal.objects.filter(kind="adjustment", reference=row.number).count()


def assert_untouched(row: Adjustment, employee: Employee, available_fen: int = 10_000) -> None:
    """Nothing moved and the proposal still waits."""
    row.refresh_from_db()
    assert (row.state, row.journal_id, row.decided_by_id, row.decided_at) == ("PROPOSED", None, None, None)
    assert not Journal.objects.filter(kind="adjustment", reference=row.number).exists()
    assert worlds.wallet_of(employee) == (available_fen, 0)


def assert_ledger_proved() -> None:
    broken = [f"{proof.name}: {proof.detail}" for proof in books_proof.prove() if not proof.ok]
    assert not broken, broken


def run(sql: str, *values: object) -> None:
    with transaction.atomic(using="funds"), connections["funds"].cursor() as cursor:
        cursor.execute(sql, values)


# --- proposing ------------------------------------------------------------------------------------------------------


def test_a_proposal_moves_nothing_and_says_everything(team: Team, employee: Employee) -> None:
    order_no = "RC1000100012026112309164310600011"[:32]
    row = proposed(team.maker, loss_to(employee, 2_500), order_no=order_no)
    assert row.number.startswith("ADJ20261122")
    assert len(row.number) == 19
    assert (row.state, row.reason, row.order_no, row.total_fen) == ("PROPOSED", adjusting.REASON, order_no, 2_500)
    assert (row.proposed_by_id, row.proposed_by_name, row.proposed_at) == (team.maker.pk, team.maker.username, NOW)
    assert list(
        AdjustmentLine.objects.filter(adjustment=row)
        .order_by("line_no")
        .values_list("line_no", "owner_kind", "owner_id", "code", "amount_fen", "category")
    ) == [
        (1, "PLATFORM", "", "5090", -2_500, "PLATFORM"),
        (2, "EMPLOYEE", str(employee.pk), "2010", 2_500, "INCOME"),
    ]
    assert list(AdjustmentEvidence.objects.filter(adjustment=row).values_list("evidence_no", "name")) == [
        (1, "receipt.pdf")
    ]
    event = OutboxEvent.objects.using("funds").get(topic="funds.adjustment_proposed", key=row.number)
    assert event.payload["proposed_by_id"] == team.maker.pk
    assert_untouched(row, employee)


def test_the_same_form_sent_twice_is_one_proposal(team: Team, employee: Employee) -> None:
    sent = draft(loss_to(employee, 100))
    first = adjustments.propose(draft=sent, staff_id=team.maker.pk, now=NOW)
    again = adjustments.propose(draft=sent, staff_id=team.maker.pk, now=LATER)
    assert (again.pk, again.number) == (first.pk, first.number)
    changed = draft(loss_to(employee, 101), request_key=sent.request_key)
    with pytest.raises(adjustments.AdjustmentKeyReused):
        adjustments.propose(draft=changed, staff_id=team.maker.pk, now=NOW)
    with pytest.raises(adjustments.AdjustmentKeyReused):  # nor is it another person's
        adjustments.propose(draft=sent, staff_id=team.other.pk, now=NOW)
    assert Adjustment.objects.filter(request_key=sent.request_key).count() == 1


def nobody(employee: Employee) -> AccountRef:
    return AccountRef(owner_kind="EMPLOYEE", owner_id="999999999", code="2010", enterprise_id="1")


WRONG: dict[str, tuple[Callable[[Employee], dict], str]] = {
    "one-sided": (lambda e: {"lines": (line(account(e), 100),)}, "do not sum to zero"),
    "unbalanced": (lambda e: {"lines": (*loss_to(e, 100), line(platform_account("3010"), 1))}, "do not sum to zero"),
    "one account twice": (lambda e: {"lines": (*loss_to(e, 100), line(account(e), 5))}, "two lines"),
    "no customer's category": (
        lambda e: {"lines": (line(platform_account("5090"), -1), line(account(e), 1, Category.INTERNAL))},
        "INTERNAL does not fit",
    ),
    "customer as platform": (
        lambda e: {"lines": (line(platform_account("5090"), -1), line(account(e), 1, Category.PLATFORM))},
        "PLATFORM does not fit",
    ),
    "memo against money": (
        lambda e: {"lines": (line(platform_account("9010", "1"), -1), line(account(e), 1))},
        "memo lines",
    ),
    "short reason": (lambda e: {"reason": "too short"}, "10 to 500"),
    "blank reason": (lambda e: {"reason": " " * 20}, "10 to 500"),
    "long reason": (lambda e: {"reason": "x" * 501}, "10 to 500"),
    "no evidence": (lambda e: {"evidence": ()}, "1 to 5 evidence"),
    "one file twice": (lambda e: {"evidence": (evidence(), evidence(name="b.pdf"))}, "attached twice"),
    "evidence that was never stored": (lambda e: {"evidence": (Evidence(digest="0" * 64, name="x"),)}, "not stored"),
    "evidence by a path": (lambda e: {"evidence": (Evidence(digest="../../etc/passwd", name="x"),)}, "not stored"),
    "unknown employee": (
        lambda e: {"lines": (line(platform_account("5090"), -1), line(nobody(e), 1))},
        "no employee 999999999",
    ),
    "employee of another enterprise": (
        lambda e: {
            "lines": (
                line(platform_account("5090"), -1),
                line(AccountRef(owner_kind="EMPLOYEE", owner_id=str(e.pk), code="2010", enterprise_id="1"), 1),
            )
        },
        "no employee",
    ),
    "unknown enterprise": (
        lambda e: {"lines": (line(platform_account("5090"), -1), line(enterprise_account(999_999_999), 1))},
        "no enterprise",
    ),
    "order number of another alphabet": (lambda e: {"order_no": "订单"}, "not ASCII"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_posted_cannot_be_proposed(team: Team, employee: Employee, case: str) -> None:
    changes, problem = WRONG[case]
    before = Adjustment.objects.count(), OutboxEvent.objects.using("funds").count()
    sent = draft(**{"lines": loss_to(employee, 100), **changes(employee)})
    with pytest.raises(adjustments.AdjustmentInvalid) as refused:
        adjustments.propose(draft=sent, staff_id=team.maker.pk, now=NOW)
    assert problem in refused.value.details["problem"]
    assert (Adjustment.objects.count(), OutboxEvent.objects.using("funds").count()) == before


def test_an_enterprise_and_ten_characters_of_chinese_are_enough(team: Team, employee: Employee) -> None:
    lines = (line(platform_account("1010", "icbc"), -7), line(enterprise_account(employee.enterprise_id), 7))
    row = proposed(team.maker, lines, reason="客户二十二日被重复扣款")
    assert approve(row, team.checker).state == "APPROVED"
    assert selectors.get_wallet(account=enterprise_account(employee.enterprise_id)).available_fen == 7
    assert_books_balance()


# --- approving ------------------------------------------------------------------------------------------------------


def test_an_approval_posts_exactly_what_was_proposed(team: Team, employee: Employee) -> None:
    order_no = worlds.give_money(employee, 500)
    row = proposed(team.maker, loss_to(employee, 2_500), order_no=order_no)
    done = adjustments.approve(
        number=row.number, seen_digest=row.digest, staff_id=team.checker.pk, now=LATER, note=" seen the receipt "
    )
    assert (done.state, done.decided_by_id, done.decided_by_name) == (
        "APPROVED",
        team.checker.pk,
        team.checker.username,
    )
    assert (done.decided_at, done.decision_reason, done.reversed_once) == (LATER, "seen the receipt", None)
    journal = Journal.objects.get(kind="adjustment", reference=row.number)
    assert done.journal_id == journal.pk
    assert (journal.order_no, journal.source_no, journal.memo) == (order_no, row.number, adjusting.REASON)
    assert (journal.actor, journal.credit_total_fen, journal.created_at) == (f"staff:{team.checker.pk}", 2_500, LATER)
    postings = Posting.objects.filter(journal=journal).order_by("amount_fen")
    assert list(postings.values_list("account__code", "bucket", "amount_fen", "category", "balance_after_fen")) == [
        ("5090", "AVAILABLE", -2_500, "PLATFORM", None),
        ("2010", "AVAILABLE", 2_500, "INCOME", 13_000),
    ]
    assert worlds.wallet_of(employee) == (13_000, 0)
    event = OutboxEvent.objects.using("funds").get(topic="funds.adjustment_decided", key=row.number)
    assert (event.payload["state"], event.payload["decided_by_name"]) == ("APPROVED", team.checker.username)
    assert_books_balance()


def test_a_repeat_by_the_same_checker_returns_the_first_answer(team: Team, employee: Employee) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    first = approve(row, team.checker)
    again = adjustments.approve(number=row.number, seen_digest=row.digest, staff_id=team.checker.pk, now=LATER)
    assert (again.journal_id, again.decided_at) == (first.journal_id, NOW)
    assert journals(row) == 1
    assert worlds.wallet_of(employee) == (10_100, 0)


def test_another_checker_is_told_who_was_first_and_when(team: Team, employee: Employee) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    approve(row, team.checker)
    for attempt in (
        lambda: adjustments.approve(number=row.number, seen_digest=row.digest, staff_id=team.other.pk, now=LATER),
        lambda: adjustments.reject(number=row.number, staff_id=team.other.pk, reason="no", now=LATER),
        lambda: adjustments.reject(number=row.number, staff_id=team.checker.pk, reason="no", now=LATER),
        lambda: adjustments.withdraw(number=row.number, staff_id=team.maker.pk, now=LATER),
    ):
        with pytest.raises(adjustments.AlreadyDecided) as refused:
            attempt()
        assert refused.value.details == {
            "number": row.number,
            "state": "APPROVED",
            "by": team.checker.username,
            "at": "2026-11-22 10:00:00",
        }
        assert team.checker.username in refused.value.message("en")
        assert "2026-11-22 10:00:00" in refused.value.message("zh-hans")
    assert worlds.wallet_of(employee) == (10_100, 0)


def test_nobody_approves_or_rejects_his_own_not_even_a_superuser(team: Team, employee: Employee) -> None:
    team.maker.is_superuser = True
    team.maker.save()
    row = proposed(team.maker, loss_to(employee, 100))
    with pytest.raises(adjustments.SamePerson):
        approve(row, team.maker)
    with pytest.raises(adjustments.SamePerson):
        adjustments.reject(number=row.number, staff_id=team.maker.pk, reason="changed my mind", now=NOW)
    assert_untouched(row, employee)


def test_permissions_are_asked_in_the_service(employee: Employee) -> None:
    maker, checker, looker = (
        adjusting.staff("propose_adjustment"),
        adjusting.staff("approve_adjustment"),
        adjusting.staff("view_adjustment"),
    )
    for person in (checker, looker):
        with pytest.raises(PermissionDenied):
            proposed(person, loss_to(employee, 100))
    row = proposed(maker, loss_to(employee, 100))
    for person in (looker, adjusting.staff("propose_adjustment")):
        with pytest.raises(PermissionDenied):
            approve(row, person)
        with pytest.raises(PermissionDenied):
            adjustments.reject(number=row.number, staff_id=person.pk, reason="no", now=NOW)
    with pytest.raises(PermissionDenied):
        adjustments.withdraw(number=row.number, staff_id=checker.pk, now=NOW)
    checker.is_active = False
    checker.save()
    with pytest.raises(PermissionDenied):
        approve(row, checker)
    with pytest.raises(PermissionDenied):
        adjustments.approve(number=row.number, seen_digest=row.digest, staff_id=0, now=NOW)
    assert_untouched(row, employee)


def test_a_balance_never_becomes_negative_and_the_proposal_stays(team: Team, employee: Employee) -> None:
    lines = (
        line(account(employee), -10_001, Category.CONSUMPTION),
        line(platform_account("4090"), 10_001),
    )
    row = proposed(team.maker, lines)
    with pytest.raises(ledger.InsufficientFunds) as refused:
        approve(row, team.checker)
    assert refused.value.details["missing_fen"] == 1
    assert_untouched(row, employee)
    assert not OutboxEvent.objects.using("funds").filter(topic="funds.adjustment_decided", key=row.number).exists()
    worlds.give_money(employee, 1)
    assert approve(row, team.checker).state == "APPROVED"
    assert worlds.wallet_of(employee) == (0, 0)
    assert_books_balance()


@pytest.mark.parametrize(
    ("category", "before_rule"), [(item, 0) for item in ("RECHARGE", "INCOME", "CONSUMPTION", "WITHDRAWAL")]
)
def test_the_enterprise_rule_holds_for_every_category(
    team: Team, employee: Employee, category: str, before_rule: int
) -> None:
    for amount_fen in (321, -123):
        lines = (
            line(platform_account("2910", "wechat"), -amount_fen),
            line(account(employee), amount_fen, Category(category)),
        )
        approve(proposed(team.maker, lines), team.checker)
    assert worlds.wallet_of(employee) == (10_198, 0)
    assert_books_balance()


# --- what was proposed is what is approved ----------------------------------------------------------------------------


def copy(row: Adjustment, **changes: object) -> Adjustment:
    """The same adjustment under a new number, written by hand: a digest that does not fit."""
    values = {field.attname: getattr(row, field.attname) for field in Adjustment._meta.concrete_fields}
    values |= {"id": None, "number": f"X{row.number}", "request_key": f"x{row.request_key}"[:64], **changes}
    made = Adjustment.objects.create(**values)
    for item in AdjustmentLine.objects.filter(adjustment=row):
        item.pk, item.adjustment = None, made
        item.save(force_insert=True)
    for proof in AdjustmentEvidence.objects.filter(adjustment=row):
        proof.pk, proof.adjustment = None, made
        proof.save(force_insert=True)
    return made


@pytest.mark.parametrize("changes", [{}, {"reason": "Somebody else wrote this reason."}, {"proposed_by_id": 1}])
def test_a_row_that_was_not_sealed_is_refused_and_alerted(
    team: Team, employee: Employee, changes: dict[str, object]
) -> None:
    forged = copy(proposed(team.maker, loss_to(employee, 100)), **changes)
    with pytest.raises(adjustments.AdjustmentChanged):
        approve(forged, team.checker)
    assert_untouched(forged, employee)
    assert Alert.objects.get(code="adjustment_changed", subject=forged.number).times == 1


def test_what_the_page_did_not_show_is_refused(team: Team, employee: Employee) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    for seen in ("", "0" * 64, "资金"):
        with pytest.raises(adjustments.AdjustmentChanged):
            adjustments.approve(number=row.number, seen_digest=seen, staff_id=team.checker.pk, now=NOW)
    assert_untouched(row, employee)


def test_a_seal_survives_the_rotation_of_the_secret_key(team: Team, employee: Employee, settings: Settings) -> None:
    first, second = proposed(team.maker, loss_to(employee, 1)), proposed(team.maker, loss_to(employee, 2))
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the next key"
    assert approve(first, team.checker).state == "APPROVED"
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(adjustments.AdjustmentChanged):
        approve(second, team.checker)
    assert_untouched(second, employee, 10_001)


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damaged_evidence_stops_the_approval(team: Team, employee: Employee, root: Path, damage: str) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    file = next(path for path in root.rglob("*") if path.is_file())
    file.unlink()
    if damage == "changed":
        file.write_bytes(b"%PDF-1.7 another")
    with pytest.raises(adjustments.EvidenceUnreadable):
        approve(row, team.checker)
    assert_untouched(row, employee)
    assert Alert.objects.filter(code="adjustment_evidence_unreadable", subject=row.number).exists()


# --- rejecting, withdrawing -------------------------------------------------------------------------------------------


def test_a_rejection_needs_a_reason_and_moves_nothing(team: Team, employee: Employee) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    for nothing in ("", "  \n ", "x" * 501):
        with pytest.raises(adjustments.DecisionReasonMissing):
            adjustments.reject(number=row.number, staff_id=team.checker.pk, reason=nothing, now=NOW)
    assert_untouched(row, employee)
    done = adjustments.reject(number=row.number, staff_id=team.checker.pk, reason=" receipt unreadable ", now=LATER)
    again = adjustments.reject(number=row.number, staff_id=team.checker.pk, reason="other words", now=LATER)
    assert (done.state, done.decision_reason, done.decided_at) == ("REJECTED", "receipt unreadable", LATER)
    assert (again.decision_reason, again.journal_id) == ("receipt unreadable", None)
    assert (journals(row), worlds.wallet_of(employee)) == (0, (10_000, 0))
    with pytest.raises(adjustments.AlreadyDecided):
        approve(row, team.other)


def test_only_the_maker_withdraws(team: Team, employee: Employee) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    with pytest.raises(adjustments.NotProposer):
        adjustments.withdraw(number=row.number, staff_id=team.checker.pk, now=NOW)
    assert_untouched(row, employee)
    for moment in (LATER, LATER + dt.timedelta(hours=1)):
        done = adjustments.withdraw(number=row.number, staff_id=team.maker.pk, now=moment)
        assert (done.state, done.decided_at, done.decided_by_id) == ("WITHDRAWN", LATER, None)
    with pytest.raises(adjustments.AlreadyDecided) as refused:
        approve(row, team.checker)
    assert refused.value.details["by"] == team.maker.username
    assert (journals(row), worlds.wallet_of(employee)) == (0, (10_000, 0))


def test_an_unknown_number_is_not_found(team: Team) -> None:
    for attempt in (
        lambda: adjustments.approve(number="ADJ0", seen_digest="", staff_id=team.checker.pk, now=NOW),
        lambda: adjustments.reject(number="ADJ0", staff_id=team.checker.pk, reason="x", now=NOW),
        lambda: adjustments.withdraw(number="没有", staff_id=team.maker.pk, now=NOW),
    ):
        with pytest.raises(NotFound):
            attempt()


# --- the opposite entry -----------------------------------------------------------------------------------------------


def test_the_opposite_of_a_journal_undoes_it_once(team: Team, employee: Employee) -> None:
    order_no = worlds.give_money(employee, 4_000)
    journal = Journal.objects.get(kind="recharge", reference=order_no)
    opposite = adjustments.opposite_of(journal_id=journal.pk)
    assert opposite.order_no == order_no
    assert [(item.account.code, item.amount_fen, item.category) for item in opposite.lines] == [
        ("1110", 4_000, "PLATFORM"),
        ("2010", -4_000, "RECHARGE"),
    ]
    first, second = (proposed(team.maker, opposite.lines, reverses_id=journal.pk, order_no=order_no) for _ in range(2))
    done = approve(first, team.checker)
    assert done.reversed_once == journal.pk
    assert worlds.wallet_of(employee) == (10_000, 0)
    with pytest.raises(adjustments.JournalReversedBefore):
        approve(second, team.checker)
    assert_untouched(second, employee)
    with pytest.raises(adjustments.JournalReversedBefore):
        adjustments.opposite_of(journal_id=journal.pk)
    with pytest.raises(adjustments.JournalReversedBefore):
        proposed(team.maker, opposite.lines, reverses_id=journal.pk)
    back = adjustments.opposite_of(journal_id=done.journal_id)  # a reversal can be reversed itself
    approve(proposed(team.maker, back.lines, reverses_id=done.journal_id), team.checker)
    assert worlds.wallet_of(employee) == (14_000, 0)
    assert_books_balance()


def test_the_database_refuses_a_second_reversal_itself(team: Team, employee: Employee) -> None:
    order_no = worlds.give_money(employee, 4_000)
    journal = Journal.objects.get(kind="recharge", reference=order_no)
    lines = adjustments.opposite_of(journal_id=journal.pk).lines
    first, second = (proposed(team.maker, lines, reverses_id=journal.pk) for _ in range(2))
    done = approve(first, team.checker)
    with pytest.raises(IntegrityError, match="reversed_once"):
        run(
            "UPDATE funds_adjustment SET state = 'APPROVED', decided_by_id = 1, decided_by_name = 'x', "
            "decided_at = proposed_at, reversed_once = %s, journal_id = %s WHERE id = %s",
            journal.pk,
            journal.pk,
            second.pk,
        )
    assert done.reversed_once == journal.pk
    assert_untouched(second, employee)


def test_a_journal_that_moved_frozen_money_has_no_opposite(team: Team, employee: Employee) -> None:
    frozen(account(employee), 500, "hold-of-this-test")
    journal = Journal.objects.get(
        kind="freeze", postings__account__owner_id=str(employee.pk), postings__bucket="FROZEN"
    )
    with pytest.raises(adjustments.AdjustmentInvalid) as refused:
        adjustments.opposite_of(journal_id=journal.pk)
    assert "frozen money" in refused.value.details["problem"]
    with pytest.raises(NotFound):
        adjustments.opposite_of(journal_id=10**15)


def test_a_reversal_must_be_exactly_opposite(team: Team, employee: Employee) -> None:
    order_no = worlds.give_money(employee, 4_000)
    journal = Journal.objects.get(kind="recharge", reference=order_no)
    other = (line(platform_account("1110", "wechat"), 3_999), line(account(employee), -3_999, Category.RECHARGE))
    with pytest.raises(adjustments.AdjustmentInvalid) as refused:
        proposed(team.maker, other, reverses_id=journal.pk)
    assert "not the opposite" in refused.value.details["problem"]


# --- accounts as typed ------------------------------------------------------------------------------------------------


def test_accounts_are_found_as_people_name_them(employee: Employee) -> None:
    enterprise = employee.enterprise
    for typed in (f"{enterprise.code}/{employee.code}", f" {employee.pk} "):
        assert adjustments.account_for(code="2010", owner=typed) == account(employee)
    for typed in (enterprise.code, str(enterprise.pk)):
        assert adjustments.account_for(code="2110", owner=typed) == enterprise_account(enterprise.pk)
    assert adjustments.account_for(code="1110", owner="wechat") == platform_account("1110", "wechat")
    assert adjustments.account_for(code="3010", owner="") == platform_account("3010")


@pytest.mark.parametrize(
    ("code", "owner"),
    [
        ("2010", ""),
        ("2010", "nobody/e0001"),
        ("2010", "员工"),
        ("2010", "²"),
        ("2010", "9" * 30),
        ("2110", "no-such-code"),
        ("2110", "企业"),
        ("1110", ""),
        ("1110", "two words"),
        ("1110", "x" * 33),
        ("3010", "wechat"),
        ("9999", ""),
        ("2020", "1"),
    ],
)
def test_what_names_no_account_is_refused(code: str, owner: str) -> None:
    with pytest.raises(adjustments.AdjustmentInvalid):
        adjustments.account_for(code=code, owner=owner)


# --- the database's own refusals ------------------------------------------------------------------------------------

DECIDE = (
    "UPDATE funds_adjustment SET state = 'APPROVED', decided_by_id = {by}, decided_by_name = 'x', "
    "decided_at = proposed_at, journal_id = {journal} WHERE id = %s"
)


def some_journal() -> int:
    number = next(adjusting_ids)
    return recharged(
        AccountRef(owner_kind="EMPLOYEE", owner_id=number, code="2010", enterprise_id=number), 5
    ).journal_id


adjusting_ids = iter(str(10**14 + number) for number in range(1000))

CHECKS = {
    "own approval": (DECIDE.replace("{by}", "proposed_by_id"), "adjustment_four_eyes"),
    "own rejection": (
        "UPDATE funds_adjustment SET state = 'REJECTED', decided_by_id = proposed_by_id, decided_by_name = 'x', "
        "decision_reason = 'x', decided_at = proposed_at WHERE id = %s",
        "adjustment_four_eyes",
    ),
    "approval by nobody": (DECIDE.replace("{by}", "NULL"), "adjustment_decision_complete"),
    "approval without a journal": (DECIDE.format(by=1, journal="NULL"), "adjustment_decision_complete"),
    "approval without a time": (
        DECIDE.replace("{by}", "1").replace("decided_at = proposed_at", "decided_at = NULL"),
        "adjustment_decision_complete",
    ),
    "rejection without a reason": (
        "UPDATE funds_adjustment SET state = 'REJECTED', decided_by_id = 1, decided_by_name = 'x', "
        "decided_at = proposed_at WHERE id = %s",
        "adjustment_decision_complete",
    ),
    "withdrawal without a time": (
        "UPDATE funds_adjustment SET state = 'WITHDRAWN' WHERE id = %s",
        "adjustment_decision_complete",
    ),
    "a state of its own": (
        "UPDATE funds_adjustment SET state = 'POSTED' WHERE id = %s",
        "adjustment_decision_complete",
    ),
}


@pytest.mark.parametrize("case", CHECKS)
def test_mariadb_refuses_decisions_that_break_the_rules(team: Team, employee: Employee, case: str) -> None:
    sql, constraint = CHECKS[case]
    row = proposed(team.maker, loss_to(employee, 100))
    journal = some_journal()
    with pytest.raises((IntegrityError, OperationalError), match=constraint):
        run(sql.replace("{journal}", str(journal)), row.pk)
    assert_untouched(row, employee)


def test_mariadb_takes_the_same_decision_by_another_person(team: Team, employee: Employee) -> None:
    """The control: only the person was wrong above. The proof of the books finds what was never approved, though."""
    row = proposed(team.maker, loss_to(employee, 100))
    with pytest.raises(AssertionError, match="approved adjustment has its journal"), transaction.atomic(using="funds"):
        run(DECIDE.format(by=team.checker.pk, journal=some_journal()), row.pk)
        assert Adjustment.objects.get(pk=row.pk).state == "APPROVED"
        assert_ledger_proved()
    assert_untouched(row, employee)


CONTENT = {
    "reason": "reason = 'Another reason, long enough'",
    "case of the reason": "reason = UPPER(reason)",
    "blank after the reason": "reason = CONCAT(reason, ' ')",
    "order number": "order_no = 'RC1'",
    "amount": "total_fen = total_fen + 1",
    "digest": "digest = REPEAT('0', 64)",
    "maker": "proposed_by_id = proposed_by_id + 1",
    "name of the maker": "proposed_by_name = 'x'",
    "time": "proposed_at = proposed_at - INTERVAL 1 SECOND",
    "count of lines": "line_count = line_count + 1",
    "count of files": "evidence_count = 2",
    "number": "number = 'ADJ1'",
    "request key": "request_key = 'k'",
}
FIXED = "what was proposed cannot be changed"


@pytest.mark.parametrize("case", CONTENT)
def test_mariadb_refuses_every_change_of_a_proposal(team: Team, employee: Employee, case: str) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    with pytest.raises(OperationalError, match=FIXED):
        run(f"UPDATE funds_adjustment SET {CONTENT[case]} WHERE id = %s", row.pk)
    with pytest.raises(OperationalError, match=FIXED):  # nor together with a decision
        run(
            f"UPDATE funds_adjustment SET {CONTENT[case]}, state = 'WITHDRAWN', decided_at = proposed_at WHERE id = %s",
            row.pk,
        )
    assert_untouched(row, employee)
    assert approve(row, team.checker).state == "APPROVED"


def test_mariadb_refuses_to_name_another_journal_as_the_reversed_one(team: Team, employee: Employee) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    with pytest.raises(OperationalError, match=FIXED):
        run("UPDATE funds_adjustment SET reverses_id = %s WHERE id = %s", some_journal(), row.pk)


CHILDREN = {
    "amount of a line": "UPDATE funds_adjustmentline SET amount_fen = amount_fen * 2 WHERE adjustment_id = %s",
    "account of a line": "UPDATE funds_adjustmentline SET owner_id = '1' WHERE adjustment_id = %s",
    "line deleted": "DELETE FROM funds_adjustmentline WHERE adjustment_id = %s",
    "line added": "INSERT INTO funds_adjustmentline (adjustment_id, line_no, owner_kind, owner_id, code, "
    "enterprise_id, amount_fen, category) VALUES (%s, 3, 'PLATFORM', '', '3010', '', 5, 'PLATFORM')",
    "file exchanged": "UPDATE funds_adjustmentevidence SET digest = REPEAT('0', 64) WHERE adjustment_id = %s",
    "file deleted": "DELETE FROM funds_adjustmentevidence WHERE adjustment_id = %s",
    "file added": "INSERT INTO funds_adjustmentevidence (adjustment_id, evidence_no, digest, name) "
    "VALUES (%s, 2, REPEAT('0', 64), 'x')",
    "proposal deleted": "DELETE FROM funds_adjustment WHERE id = %s",
}


@pytest.mark.parametrize("is_decided", [False, True])
@pytest.mark.parametrize("case", CHILDREN)
def test_mariadb_refuses_editing_after_proposal(team: Team, employee: Employee, case: str, is_decided: bool) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    if is_decided:
        approve(row, team.checker)
    with pytest.raises(OperationalError, match=r"insert-only|nothing is added|never deleted"):
        run(CHILDREN[case], row.pk)
    assert list(AdjustmentLine.objects.filter(adjustment=row).values_list("amount_fen", flat=True)) == [-100, 100]
    assert AdjustmentEvidence.objects.filter(adjustment=row).count() == 1


@pytest.mark.parametrize(
    "change",
    [
        "state = 'PROPOSED', decided_by_id = NULL, decided_by_name = '', decided_at = NULL, journal_id = NULL",
        "decided_by_id = decided_by_id + 1",
        "decision_reason = 'later words'",
        "state = 'REJECTED', journal_id = NULL, decision_reason = 'x'",
    ],
)
def test_mariadb_refuses_every_change_of_a_decision(team: Team, employee: Employee, change: str) -> None:
    row = approve(proposed(team.maker, loss_to(employee, 100)), team.checker)
    with pytest.raises(OperationalError, match="this adjustment is decided"):
        run(f"UPDATE funds_adjustment SET {change} WHERE id = %s", row.pk)
    row.refresh_from_db()
    assert (row.state, row.decided_by_id, row.decision_reason) == ("APPROVED", team.checker.pk, "")


def test_mariadb_refuses_an_adjustment_that_is_born_decided(team: Team, employee: Employee) -> None:
    row = approve(proposed(team.maker, loss_to(employee, 100)), team.checker)
    with pytest.raises(OperationalError, match="starts as a proposal"):
        run(
            "INSERT INTO funds_adjustment (number, request_key, state, reason, order_no, line_count, evidence_count, "
            "total_fen, digest, proposed_by_id, proposed_by_name, proposed_at, decided_by_id, decided_by_name, "
            "decided_at, decision_reason, journal_id) SELECT 'ADJX', 'kx', state, reason, order_no, line_count, "
            "evidence_count, total_fen, digest, proposed_by_id, proposed_by_name, proposed_at, decided_by_id, "
            "decided_by_name, decided_at, decision_reason, %s FROM funds_adjustment WHERE id = %s",
            some_journal(),
            row.pk,
        )


def test_mariadb_refuses_a_proposal_without_a_reason(team: Team, employee: Employee) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    with pytest.raises((IntegrityError, OperationalError), match="adjustment_reason_given"):
        copy(row, reason="too short")


def test_a_journal_without_an_approval_is_found_by_the_proof(team: Team, employee: Employee) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    entry = adjustments.content_of(row).entry(actor="somebody")
    with pytest.raises(AssertionError, match=row.number), transaction.atomic(using="funds"):
        ledger.in_transaction(lambda: ledger.post(entry=entry, now=NOW))
        with pytest.raises(adjustments.AdjustmentPostedElsewhere):
            approve(row, team.checker)
        assert_ledger_proved()
    assert_untouched(row, employee)


def test_effects_show_balances_before_and_after(team: Team, employee: Employee) -> None:
    lines = (
        *loss_to(employee, 2_500),
        line(platform_account("4030", "new-product"), 1),
        line(platform_account("3010"), -1),
    )
    before = selectors.platform_balance_fen(account=platform_account("5090"))
    found = {effect.line.account.code: effect for effect in selectors.list_effects(lines=lines)}
    assert (found["2010"].before_fen, found["2010"].after_fen, found["2010"].is_new) == (10_000, 12_500, False)
    assert (found["5090"].before_fen, found["5090"].after_fen) == (before, before - 2_500)
    assert (found["4030"].before_fen, found["4030"].after_fen, found["4030"].is_new) == (0, 1, True)
