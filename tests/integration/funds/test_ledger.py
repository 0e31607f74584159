"""The posting door on MariaDB: once, never negative, insert-only, and as a plain model says."""

from __future__ import annotations

import itertools
import uuid

import pytest
from django.db import DatabaseError, connections, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from funds import selectors
from funds.domain import movements
from funds.domain.entries import AccountRef, Entry, employee_account, platform_account
from funds.models import Account, Hold, Journal, Posting
from funds.services import ledger
from tests import worlds

pytestmark = pytest.mark.django_db(databases="__all__")
NOW = worlds.NOW
_ids = itertools.count(uuid.uuid4().int % 10**9 + 10**9)


def someone() -> AccountRef:
    number = next(_ids)
    return employee_account(number, number)


def post(entry: Entry) -> ledger.PostedJournal:
    return ledger.in_transaction(lambda: ledger.post(entry=entry, now=NOW))


def recharged(owner: AccountRef, amount_fen: int, reference: str = "") -> ledger.PostedJournal:
    number = reference or uuid.uuid4().hex
    return post(
        movements.recharge(order_no=number, attempt_no=number, channel="wechat", owner=owner, amount_fen=amount_fen)
    )


def frozen(owner: AccountRef, amount_fen: int, key: str) -> ledger.PostedJournal:
    return post(movements.freeze(order_no=uuid.uuid4().hex, owner=owner, amount_fen=amount_fen, hold_key=key))


def wallet(owner: AccountRef) -> tuple[int, int]:
    found = selectors.get_wallet(account=owner)
    return found.available_fen, found.frozen_fen


def test_posting_opens_the_account_and_moves() -> None:
    owner = someone()
    assert wallet(owner) == (0, 0)
    posted = recharged(owner, 100)
    assert posted.created
    assert wallet(owner) == (100, 0)
    assert Posting.objects.get(journal_id=posted.journal_id, amount_fen=100).balance_after_fen == 100


def test_repeat_returns_the_first_and_moves_nothing() -> None:
    owner, number = someone(), uuid.uuid4().hex
    first = recharged(owner, 100, number)
    again = recharged(owner, 100, number)
    assert (again.journal_id, again.created) == (first.journal_id, False)
    assert wallet(owner) == (100, 0)
    assert Posting.objects.filter(journal_id=first.journal_id).count() == 2


def test_same_reference_with_another_amount_is_broken() -> None:
    owner, number = someone(), uuid.uuid4().hex
    recharged(owner, 100, number)
    with pytest.raises(ledger.JournalConflict):
        recharged(owner, 101, number)
    assert wallet(owner) == (100, 0)


def test_insufficient_funds_move_nothing() -> None:
    owner = someone()
    recharged(owner, 100)
    journals = Journal.objects.count()
    with pytest.raises(ledger.InsufficientFunds):
        frozen(owner, 101, f"k{uuid.uuid4().hex}")
    assert wallet(owner) == (100, 0)
    assert Journal.objects.count() == journals


def test_hold_is_spent_in_parts_and_resolved_once() -> None:
    owner, other, key = someone(), someone(), f"k{uuid.uuid4().hex}"
    recharged(owner, 100)
    frozen(owner, 100, key)
    receivers = [movements.Receiver(account=other, amount_fen=40)]
    post(movements.settle_shares(reference=f"{key}1", order_no="", sender=owner, hold_key=key, receivers=receivers))
    assert Hold.objects.get(key=key).remaining_fen == 60
    post(movements.release_rest(reference=f"{key}r", order_no="", owner=owner, hold_key=key, amount_fen=60))
    hold = Hold.objects.get(key=key)
    assert (hold.state, hold.remaining_fen, hold.resolved_at) == ("RELEASED", 0, NOW)
    assert (wallet(owner), wallet(other)) == ((60, 0), (40, 0))
    with pytest.raises(ledger.HoldNotOpen):
        post(movements.release_rest(reference=f"{key}x", order_no="", owner=owner, hold_key=key, amount_fen=1))


def test_hold_is_not_spent_beyond_its_rest_even_when_the_account_has_more_frozen() -> None:
    owner, key, other_key = someone(), f"k{uuid.uuid4().hex}", f"k{uuid.uuid4().hex}"
    recharged(owner, 100)
    frozen(owner, 50, key)
    frozen(owner, 50, other_key)
    with pytest.raises(ledger.HoldExceeded):
        post(movements.release_rest(reference=f"{key}r", order_no="", owner=owner, hold_key=key, amount_fen=51))
    assert wallet(owner) == (0, 100)


def test_post_outside_of_a_transaction_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections[ledger.alias()], "in_atomic_block", False)
    with pytest.raises(RuntimeError, match="must be open"):
        ledger.post(entry=movements.freeze(order_no="x", owner=someone(), amount_fen=1, hold_key="x"), now=NOW)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE funds_account SET available_fen = -1 WHERE id = %s",
        "UPDATE funds_account SET frozen_fen = -1 WHERE id = %s",
    ],
)
def test_database_refuses_a_negative_balance(sql: str) -> None:
    owner = someone()
    recharged(owner, 5)
    row = Account.objects.get(owner_id=owner.owner_id, code="2010")
    with pytest.raises(DatabaseError), transaction.atomic(using="funds"), connections["funds"].cursor() as cursor:
        cursor.execute(sql, [row.pk])
    assert wallet(owner) == (5, 0)


@pytest.mark.parametrize("table", ["funds_journal", "funds_posting"])
@pytest.mark.parametrize("action", ["UPDATE {} SET created_at = created_at", "DELETE FROM {}"])
def test_database_refuses_to_change_or_delete_what_is_booked(table: str, action: str) -> None:
    recharged(someone(), 5)
    with (
        pytest.raises(DatabaseError, match="insert-only"),
        transaction.atomic(using="funds"),
        connections["funds"].cursor() as cursor,
    ):
        cursor.execute(action.format(table))


def test_database_refuses_an_unbalanced_journal_and_a_balance_on_a_platform_account() -> None:
    recharged(someone(), 5)
    clearing = Account.objects.get(owner_kind="PLATFORM", code="1110", owner_id="wechat")
    with pytest.raises(DatabaseError), transaction.atomic(using="funds"):
        Account.objects.filter(pk=clearing.pk).update(available_fen=5)
    with pytest.raises(DatabaseError), transaction.atomic(using="funds"):
        Journal.objects.create(
            kind="k",
            reference=uuid.uuid4().hex,
            actor="x",
            debit_total_fen=1,
            credit_total_fen=2,
            posting_count=2,
            created_at=NOW,
        )


def test_platform_balance_is_the_sum_of_its_postings() -> None:
    clearing = platform_account("1110", "wechat")
    before = selectors.platform_balance_fen(account=clearing)
    recharged(someone(), 70)
    assert selectors.platform_balance_fen(account=clearing) == before - 70


def test_statement_pages_newest_first_without_gaps() -> None:
    owner = someone()
    for amount in (1, 2, 3, 4, 5):
        recharged(owner, amount)
    first = selectors.list_statement(account=owner, before=None, limit=2)
    second = selectors.list_statement(account=owner, before=first.next_before, limit=2)
    third = selectors.list_statement(account=owner, before=second.next_before, limit=2)
    pages = [[(row.amount_fen, row.balance_after_fen) for row in page.items] for page in (first, second, third)]
    assert pages == [[(5, 15), (4, 10)], [(3, 6), (2, 3)], [(1, 1)]]
    assert third.next_before is None


def test_proof_names_what_is_broken() -> None:
    owner = someone()
    recharged(owner, 5)
    row = Account.objects.get(owner_id=owner.owner_id, code="2010")
    assert [line.name for line in selectors.prove() if not line.ok] == []
    Account.objects.filter(pk=row.pk).update(available_fen=6)
    broken = {line.name: line.detail for line in selectors.prove() if not line.ok}
    assert f"{row.pk} (6)" in broken["customer balances equal their postings"]


def test_two_hundred_receivers_take_few_statements(django_assert_max_num_queries: object) -> None:
    sender, key = someone(), f"k{uuid.uuid4().hex}"
    recharged(sender, 200)
    frozen(sender, 200, key)
    receivers = [movements.Receiver(account=someone(), amount_fen=1) for _ in range(200)]
    entry = movements.settle_shares(reference=f"{key}1", order_no="", sender=sender, hold_key=key, receivers=receivers)
    with django_assert_max_num_queries(14, connection=connections["funds"]):  # type: ignore[operator]
        post(entry)
    assert wallet(sender) == (0, 0)


class LedgerMachine(RuleBasedStateMachine):
    """The door against a plain model: balances and holds in dictionaries."""

    @initialize()
    def start(self) -> None:
        self.people = [someone() for _ in range(3)]
        self.available = dict.fromkeys(range(3), 0)
        self.holds: dict[str, tuple[int, int]] = {}
        self.posted: list[Entry] = []

    def attempt(self, entry: Entry, *, is_allowed: bool) -> bool:
        if not is_allowed:
            with pytest.raises((ledger.InsufficientFunds, ledger.HoldExceeded, ledger.HoldNotOpen)):
                post(entry)
            return False
        assert post(entry).created
        self.posted.append(entry)
        return True

    @rule(who=st.integers(0, 2), amount=st.integers(1, 1000))
    def recharge(self, who: int, amount: int) -> None:
        number = uuid.uuid4().hex
        entry = movements.recharge(
            order_no=number, attempt_no=number, channel="wechat", owner=self.people[who], amount_fen=amount
        )
        self.attempt(entry, is_allowed=True)
        self.available[who] += amount

    @rule(who=st.integers(0, 2), amount=st.integers(1, 1500))
    def freeze(self, who: int, amount: int) -> None:
        key = f"m{uuid.uuid4().hex}"
        entry = movements.freeze(order_no=uuid.uuid4().hex, owner=self.people[who], amount_fen=amount, hold_key=key)
        if self.attempt(entry, is_allowed=self.available[who] >= amount):
            self.available[who] -= amount
            self.holds[key] = (who, amount)

    @precondition(lambda self: self.holds)
    @rule(pick=st.integers(0, 99), first=st.integers(1, 500), second=st.integers(1, 500), to=st.integers(0, 2))
    def spend(self, pick: int, first: int, second: int, to: int) -> None:
        key = sorted(self.holds)[pick % len(self.holds)]
        who, rest = self.holds[key]
        other = (to + 1) % 3
        entry = movements.settle_shares(
            reference=uuid.uuid4().hex,
            order_no="",
            sender=self.people[who],
            hold_key=key,
            receivers=[
                movements.Receiver(account=self.people[to], amount_fen=first),
                movements.Receiver(account=self.people[other], amount_fen=second),
            ],
        )
        if self.attempt(entry, is_allowed=rest >= first + second):
            self.available[to] += first
            self.available[other] += second
            self.holds[key] = (who, rest - first - second)

    @precondition(lambda self: self.holds)
    @rule(pick=st.integers(0, 99), amount=st.integers(1, 800), all_of_it=st.booleans())
    def release(self, pick: int, amount: int, all_of_it: bool) -> None:
        key = sorted(self.holds)[pick % len(self.holds)]
        who, rest = self.holds[key]
        wanted = rest if all_of_it and rest else amount
        entry = movements.release_rest(
            reference=uuid.uuid4().hex, order_no="", owner=self.people[who], hold_key=key, amount_fen=wanted
        )
        if self.attempt(entry, is_allowed=rest >= wanted):
            self.available[who] += wanted
            self.holds[key] = (who, rest - wanted)

    @precondition(lambda self: self.posted)
    @rule(pick=st.integers(0, 999))
    def repeat(self, pick: int) -> None:
        assert not post(self.posted[pick % len(self.posted)]).created

    @invariant()
    def agrees_with_the_model(self) -> None:
        for index, person in enumerate(getattr(self, "people", [])):
            held = sum(rest for who, rest in self.holds.values() if who == index)
            assert wallet(person) == (self.available[index], held)

    def teardown(self) -> None:
        assert [line.name for line in selectors.prove() if not line.ok] == []


def test_ledger_behaves_as_the_plain_model() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    profile = settings(
        max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    run_state_machine_as_test(LedgerMachine, settings=profile)
