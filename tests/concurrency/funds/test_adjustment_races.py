"""Two persons decide at once, one form is sent twice at once: real threads, real commits, and a control."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from pytest_django import Settings

from foundation.models import OutboxEvent
from funds.domain.entries import Category, platform_account
from funds.models import Adjustment, Journal
from funds.services import adjustments, ledger
from identity.models import Employee
from tests import worlds
from tests.concurrency.foundation.crowd import together
from tests.integration.funds import adjusting
from tests.integration.funds.adjusting import Team, account, approve, draft, line, loss_to, proposed
from tests.worlds import NOW

pytestmark = pytest.mark.usefixtures("committed_db")
ROUNDS = 6


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, settings: Settings) -> None:
    settings.ATTACHMENT_ROOT = tmp_path / "attachments"


@pytest.fixture
def team() -> Team:
    return adjusting.team()


@pytest.fixture
def employee() -> Employee:
    """Somebody with ¥100.00."""
    person = worlds.make_world(1).employees[0]
    worlds.give_money(person, 10_000)
    return person


def journals(*rows: Adjustment) -> int:
    return Journal.objects.filter(kind="adjustment", reference__in=[row.number for row in rows]).count()


def test_of_two_checkers_one_wins_and_the_other_is_told_who(team: Team, employee: Employee) -> None:
    names = {team.checker.pk: team.checker.username, team.other.pk: team.other.username}
    for number in range(1, ROUNDS + 1):
        row = proposed(team.maker, loss_to(employee, 100))
        results = together([partial(approve, row, person) for person in (team.checker, team.other)])
        won = [result for result in results if isinstance(result, Adjustment)]
        lost = [result for result in results if isinstance(result, adjustments.AlreadyDecided)]
        assert (len(won), len(lost)) == (1, 1), results
        assert lost[0].details["by"] == names[won[0].decided_by_id or 0]
        assert lost[0].details["at"] == "2026-11-22 10:00:00"
        assert journals(row) == 1
        assert worlds.wallet_of(employee) == (10_000 + number * 100, 0)
        assert OutboxEvent.objects.using("funds").filter(topic="funds.adjustment_decided", key=row.number).count() == 1


def test_control_without_the_row_lock_both_find_it_undecided(
    team: Team, employee: Employee, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger's own key still saves the money, but the loser hears of a broken ledger instead of his colleague."""
    row = proposed(team.maker, loss_to(employee, 100))
    both, seen = threading.Barrier(2), []

    def unlocked(number: str) -> Adjustment:
        found = Adjustment.objects.get(number=number)
        seen.append(found.state)
        both.wait(30)
        return found

    monkeypatch.setattr(adjustments, "_lock", unlocked)
    results = together([partial(approve, row, person) for person in (team.checker, team.other)])
    assert seen == ["PROPOSED", "PROPOSED"]
    assert sorted(type(result).__name__ for result in results) == ["Adjustment", "AdjustmentPostedElsewhere"]
    assert (journals(row), worlds.wallet_of(employee)) == (1, (10_100, 0))


def test_approval_rejection_and_withdrawal_at_once_end_in_one_decision(team: Team, employee: Employee) -> None:
    moved_fen = 0
    for _ in range(ROUNDS):
        row = proposed(team.maker, loss_to(employee, 100))
        works: list[Callable[[], Adjustment]] = [
            partial(approve, row, team.checker),
            partial(adjustments.reject, number=row.number, staff_id=team.other.pk, reason="no", now=NOW),
            partial(adjustments.withdraw, number=row.number, staff_id=team.maker.pk, now=NOW),
        ]
        results = together(works)
        won = [result for result in results if isinstance(result, Adjustment)]
        assert (len(won), sum(isinstance(result, adjustments.AlreadyDecided) for result in results)) == (1, 2), results
        row.refresh_from_db()
        assert row.state == won[0].state
        moved_fen += 100 if row.state == "APPROVED" else 0
        assert journals(row) == (1 if row.state == "APPROVED" else 0)
        assert worlds.wallet_of(employee) == (10_000 + moved_fen, 0)


def test_one_form_sent_many_times_at_once_is_one_proposal(team: Team, employee: Employee) -> None:
    sent = draft(loss_to(employee, 100))
    results = together([partial(adjustments.propose, draft=sent, staff_id=team.maker.pk, now=NOW)] * 8)
    assert len({result.number for result in results if isinstance(result, Adjustment)}) == 1, results
    assert all(isinstance(result, Adjustment) for result in results), results
    assert Adjustment.objects.filter(request_key=sent.request_key).count() == 1


def test_one_checker_who_clicks_many_times_posts_once(team: Team, employee: Employee) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    results = together([partial(approve, row, team.checker)] * 8)
    assert {result.journal_id for result in results if isinstance(result, Adjustment)} == {
        Journal.objects.get(kind="adjustment", reference=row.number).pk
    }
    assert all(isinstance(result, Adjustment) for result in results), results
    assert worlds.wallet_of(employee) == (10_100, 0)


def test_one_journal_is_reversed_once_however_many_approve(team: Team, employee: Employee) -> None:
    order_no = worlds.give_money(employee, 4_000)
    journal = Journal.objects.get(kind="recharge", reference=order_no)
    lines = adjustments.opposite_of(journal_id=journal.pk).lines
    rows = [proposed(team.maker, lines, reverses_id=journal.pk) for _ in range(4)]
    checkers = [team.checker, team.other] * 2
    results = together([partial(approve, row, person) for row, person in zip(rows, checkers, strict=True)])
    refused = [result for result in results if isinstance(result, adjustments.JournalReversedBefore)]
    assert (sum(isinstance(result, Adjustment) for result in results), len(refused)) == (1, 3), results
    assert (journals(*rows), worlds.wallet_of(employee)) == (1, (10_000, 0))


def test_two_adjustments_cannot_take_the_same_money(team: Team, employee: Employee) -> None:
    lines = (line(account(employee), -8_000, Category.CONSUMPTION), line(platform_account("4090"), 8_000))
    rows = [proposed(team.maker, lines) for _ in range(2)]
    results = together(
        [partial(approve, row, person) for row, person in zip(rows, (team.checker, team.other), strict=True)]
    )
    assert sorted(type(result).__name__ for result in results) == ["Adjustment", "InsufficientFunds"], results
    assert (journals(*rows), worlds.wallet_of(employee)) == (1, (2_000, 0))
    waiting = Adjustment.objects.get(number__in=[row.number for row in rows], state="PROPOSED")
    assert waiting.journal_id is None
    worlds.give_money(employee, 6_000)
    assert ledger.in_transaction(lambda: approve(waiting, team.checker)).state == "APPROVED"
    assert worlds.wallet_of(employee) == (0, 0)
