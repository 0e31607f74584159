"""The posting door against a plain model: random movements, refusals and repeats on MariaDB, compared at every step.

Real commits, so that what the door remembers between transactions is on trial, too. The controls break the door on
purpose and must be found within the steps of an ordinary run; they run in one transaction that is rolled back.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from django.db import connections
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from foundation.errors import Broken
from funds import proof
from funds.domain import movements
from funds.domain.entries import AccountRef, Entry
from funds.services import ledger, rows
from tests.integration.funds.moves import fresh, post, someone

PEOPLE = 3
STEPS, STEPS_NIGHTLY = 2_000, 100_000
STEPS_OF_A_ROUND, STEPS_OF_AN_EXAMPLE = 10_000, 50
who = st.integers(0, PEOPLE - 1)
pick = st.integers(0, 999)


def query(sql: str, values: list[object]) -> list[tuple[Any, ...]]:
    with connections[ledger.alias()].cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


def places(values: Mapping[Any, Any] | list[Any]) -> str:
    return ", ".join(["%s"] * len(values))


class LedgerMachine(RuleBasedStateMachine):
    """Balances in a list, holds in a dictionary of key → (owner, rest, last word), journals by their reference.

    A kind of its own for every journal ("test_…"): no order belongs to it.
    """

    seen: Counter[str] = Counter()
    """What all examples together did: a run that never refused would prove little."""

    @initialize()
    def start(self) -> None:
        self.people = [someone() for _ in range(PEOPLE)]
        self.numbers = [person.owner_id for person in self.people]
        self.available = [0] * PEOPLE
        self.holds: dict[str, tuple[int, int, str]] = {}
        self.posted: list[tuple[Entry, int]] = []
        self.refused: list[str] = []
        for index in range(PEOPLE):
            self.recharge(who=index, amount=400)

    def attempt(self, entry: Entry, refusal: type[Exception] | None) -> bool:
        """Posts; the model says beforehand whether and how that is refused."""
        entry = dataclasses.replace(entry, kind=f"test_{entry.kind}", order_no="")
        self.seen[f"{entry.kind} {refusal.__name__ if refusal else 'posted'}"] += 1
        if refusal is not None:
            with pytest.raises(refusal):
                post(entry)
            self.refused.append(entry.reference)
            return False
        done = post(entry)
        assert done.created
        self.posted.append((entry, done.journal_id))
        return True

    def open_key(self, chosen: int) -> str:
        """Mostly an open hold, now and then a resolved one."""
        keys = [key for key, (_, rest, _) in self.holds.items() if rest]
        return (list(self.holds) if chosen % 5 == 0 or not keys else keys)[chosen % len(keys or self.holds)]

    def refusal_of(self, key: str, amount: int) -> type[Exception] | None:
        rest = self.holds[key][1]
        if rest == 0:
            return ledger.HoldNotOpen
        return ledger.HoldExceeded if amount > rest else None

    def reduce(self, key: str, amount: int, word: str) -> None:
        owner, rest, _ = self.holds[key]
        self.holds[key] = (owner, rest - amount, word if rest == amount else "OPEN")

    @rule(who=who, amount=st.integers(1, 300))
    def recharge(self, who: int, amount: int) -> None:
        number = fresh()
        entry = movements.recharge(
            order_no=number, attempt_no=number, channel="test", owner=self.people[who], amount_fen=amount
        )
        assert self.attempt(entry, None)
        self.available[who] += amount

    @rule(who=who, amount=st.integers(1, 150))
    def recharge_into_hold(self, who: int, amount: int) -> None:
        number, key = fresh(), fresh("m")
        entry = movements.recharge_into_hold(
            order_no=number, attempt_no=number, channel="test", owner=self.people[who], amount_fen=amount, hold_key=key
        )
        assert self.attempt(entry, None)
        self.holds[key] = (who, amount, "OPEN")

    @rule(who=who, other=st.integers(1, PEOPLE - 1), amount=st.integers(1, 200), too_much=st.integers(0, 4))
    def transfer(self, who: int, other: int, amount: int, too_much: int) -> None:
        wanted = amount if too_much else self.available[who] + 1
        payee = (who + other) % PEOPLE
        entry = movements.transfer(
            order_no=fresh(), payer=self.people[who], payee=self.people[payee], amount_fen=wanted
        )
        if self.attempt(entry, ledger.InsufficientFunds if wanted > self.available[who] else None):
            self.available[who] -= wanted
            self.available[payee] += wanted

    @rule(who=who, amount=st.integers(1, 150), too_much=st.integers(0, 4))
    def freeze(self, who: int, amount: int, too_much: int) -> None:
        wanted, key = amount if too_much else self.available[who] + 1, fresh("m")
        entry = movements.freeze(order_no=fresh(), owner=self.people[who], amount_fen=wanted, hold_key=key)
        if self.attempt(entry, ledger.InsufficientFunds if wanted > self.available[who] else None):
            self.available[who] -= wanted
            self.holds[key] = (who, wanted, "OPEN")

    @precondition(lambda self: self.holds)
    @rule(chosen=pick, who=who)
    def freeze_under_a_used_key(self, chosen: int, who: int) -> None:
        if self.available[who]:
            key = list(self.holds)[chosen % len(self.holds)]
            entry = movements.freeze(order_no=fresh(), owner=self.people[who], amount_fen=1, hold_key=key)
            self.attempt(entry, ledger.HoldConflict)

    @precondition(lambda self: self.holds)
    @rule(chosen=pick, amounts=st.lists(st.integers(1, 25), min_size=1, max_size=4), first=who)
    def settle_part(self, chosen: int, amounts: list[int], first: int) -> None:
        key, total = self.open_key(chosen), sum(amounts)
        owner = self.holds[key][0]
        receivers = [(first + place) % PEOPLE for place in range(len(amounts))]
        entry = movements.settle_shares(
            reference=fresh(),
            order_no="",
            sender=self.people[owner],
            hold_key=key,
            receivers=[
                movements.Receiver(account=self.people[receiver], amount_fen=amount)
                for receiver, amount in zip(receivers, amounts, strict=True)
            ],
        )
        if self.attempt(entry, self.refusal_of(key, total)):
            for receiver, amount in zip(receivers, amounts, strict=True):
                self.available[receiver] += amount
            self.reduce(key, total, "SETTLED")

    @precondition(lambda self: self.holds)
    @rule(chosen=pick, how=st.sampled_from(["rest", "part", "more"]))
    def release(self, chosen: int, how: str) -> None:
        key = self.open_key(chosen)
        owner, rest, _ = self.holds[key]
        amount = {"rest": rest or 1, "part": (rest + 1) // 2 or 1, "more": rest + 1}[how]
        if self.attempt(self.release_of(key, self.people[owner], amount), self.refusal_of(key, amount)):
            self.available[owner] += amount
            self.reduce(key, amount, "RELEASED")

    @precondition(lambda self: self.holds)
    @rule(chosen=pick, other=st.integers(1, PEOPLE - 1))
    def release_what_is_anothers(self, chosen: int, other: int) -> None:
        key = self.open_key(chosen)
        thief = self.people[(self.holds[key][0] + other) % PEOPLE]
        self.attempt(self.release_of(key, thief, 1), ledger.HoldNotOpen)

    def release_of(self, key: str, owner: AccountRef, amount: int) -> Entry:
        return movements.release_rest(reference=fresh(), order_no="", owner=owner, hold_key=key, amount_fen=amount)

    @precondition(lambda self: self.posted)
    @rule(chosen=pick)
    def repeat(self, chosen: int) -> None:
        entry, journal_id = self.posted[chosen % len(self.posted)]
        again = post(entry)
        assert (again.created, again.journal_id) == (False, journal_id)
        self.seen["repeat"] += 1

    @precondition(lambda self: self.posted)
    @rule(chosen=pick)
    def repeat_with_another_amount(self, chosen: int) -> None:
        entry, _ = self.posted[chosen % len(self.posted)]
        lines = tuple(dataclasses.replace(line, amount_fen=line.amount_fen * 2) for line in entry.lines)
        holds = tuple(dataclasses.replace(hold, amount_fen=hold.amount_fen * 2) for hold in entry.holds)
        with pytest.raises(ledger.JournalConflict):
            post(dataclasses.replace(entry, lines=lines, holds=holds))
        self.seen["repeat JournalConflict"] += 1

    def held(self, index: int) -> int:
        return sum(rest for owner, rest, _ in self.holds.values() if owner == index)

    @invariant()
    def balances_and_holds_are_the_models(self) -> None:
        self.seen["steps"] += 1
        found = query(
            "SELECT owner_id, available_fen, frozen_fen FROM funds_account "
            f"WHERE owner_kind = 'EMPLOYEE' AND code = '2010' AND owner_id IN ({places(self.numbers)})",
            [*self.numbers],
        )
        assert {owner: (available, frozen) for owner, available, frozen in found} == {
            number: (self.available[index], self.held(index)) for index, number in enumerate(self.numbers)
        }
        if self.holds:
            rows_of_holds = query(
                f"SELECT `key`, remaining_fen, state FROM funds_hold WHERE `key` IN ({places(self.holds)})",
                [*self.holds],
            )
            assert {key: (rest, state) for key, rest, state in rows_of_holds} == {
                key: (rest, word) for key, (_, rest, word) in self.holds.items()
            }

    def teardown(self) -> None:
        """The journals are the posted ones and no others, and the postings tell how each balance came to be."""
        references = [*self.refused, *(entry.reference for entry, _ in self.posted)]
        journals = query(
            "SELECT kind, reference, id, credit_total_fen FROM funds_journal "
            f"WHERE reference IN ({places(references)})",
            [*references],
        )
        assert sorted(journals) == sorted(
            (entry.kind, entry.reference, journal_id, entry.total_fen) for entry, journal_id in self.posted
        )
        lines = query(
            "SELECT p.journal_id, a.owner_id, p.bucket, p.amount_fen, p.category, p.balance_after_fen "
            f"FROM funds_posting p JOIN funds_account a ON a.id = p.account_id WHERE a.owner_id IN "
            f"({places(self.numbers)}) ORDER BY p.id",
            [*self.numbers],
        )
        running: Counter[tuple[str, str]] = Counter()
        for _, owner, bucket, amount, _, after in lines:
            running[owner, bucket] += amount
            assert after == running[owner, bucket]
        assert sorted(line[:5] for line in lines) == sorted(
            (journal_id, line.account.owner_id, line.bucket.value, line.amount_fen, line.category.value)
            for entry, journal_id in self.posted
            for line in entry.lines
            if not line.account.is_platform
        )


def run_machine(steps: int, *, phases: tuple[Phase, ...] = tuple(Phase)) -> None:
    """At least `steps` steps, in rounds: Hypothesis cuts some examples short and tells only afterwards."""
    LedgerMachine.seen = Counter()
    while (missing := steps - LedgerMachine.seen["steps"]) > 0:
        profile = settings(
            max_examples=min(missing, STEPS_OF_A_ROUND) // STEPS_OF_AN_EXAMPLE + 1,
            stateful_step_count=STEPS_OF_AN_EXAMPLE,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            phases=phases,
            print_blob=True,
        )
        run_state_machine_as_test(LedgerMachine, settings=profile)


def test_ledger_behaves_as_the_plain_model(committed_db: None, nightly: bool) -> None:
    steps = STEPS_NIGHTLY if nightly else STEPS
    run_machine(steps)
    print(dict(LedgerMachine.seen))
    assert LedgerMachine.seen["steps"] >= steps
    assert {
        "test_recharge posted",
        "test_transfer posted",
        "test_transfer InsufficientFunds",
        "test_freeze posted",
        "test_freeze InsufficientFunds",
        "test_freeze HoldConflict",
        "test_share_settlement posted",
        "test_share_settlement HoldExceeded",
        "test_hold_release posted",
        "test_hold_release HoldExceeded",
        "test_hold_release HoldNotOpen",
        "repeat",
        "repeat JournalConflict",
    } <= set(LedgerMachine.seen), LedgerMachine.seen
    assert [line.name for line in proof.prove() if not line.ok] == []


def books_a_repeat_again(patch: pytest.MonkeyPatch) -> None:
    right = ledger.post

    def wrong(*, entry: Entry, now: Any) -> ledger.PostedJournal:
        posted = right(entry=entry, now=now)
        if posted.created or entry.holds:
            return posted
        return right(entry=dataclasses.replace(entry, reference=fresh()), now=now)

    patch.setattr(ledger, "post", wrong)


def loses_the_last_receiver(patch: pytest.MonkeyPatch) -> None:
    right = rows.change_balances

    def wrong(cursor: Any, changes: Mapping[Any, int]) -> bool:
        kept = list(changes.items())[: -1 if len(changes) > 3 else None]
        return right(cursor, dict(kept))

    patch.setattr(rows, "change_balances", wrong)


def leaves_a_spent_hold_open(patch: pytest.MonkeyPatch) -> None:
    right = rows.reduce_hold

    def wrong(cursor: Any, *, change: Any, **more: Any) -> bool:
        if change.amount_fen < 100:
            return right(cursor, change=change, **more)
        return right(cursor, change=dataclasses.replace(change, amount_fen=change.amount_fen - 1), **more)

    patch.setattr(rows, "reduce_hold", wrong)


def lets_anybody_release(patch: pytest.MonkeyPatch) -> None:
    right = rows.reduce_hold

    def wrong(cursor: Any, *, change: Any, account_id: int, **more: Any) -> bool:
        ((owner,),) = query("SELECT account_id FROM funds_hold WHERE `key` = %s", [change.key])
        return right(cursor, change=change, account_id=owner, **more)

    patch.setattr(rows, "reduce_hold", wrong)


def takes_some_refusals_for_done(patch: pytest.MonkeyPatch) -> None:
    right = ledger.post

    def wrong(*, entry: Entry, now: Any) -> ledger.PostedJournal:
        try:
            return right(entry=entry, now=now)
        except ledger.InsufficientFunds:
            if entry.total_fen % 3:
                raise
            return ledger.PostedJournal(
                journal_id=0, kind=entry.kind, reference=entry.reference, order_no="", source_no="", created=True
            )

    patch.setattr(ledger, "post", wrong)


@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize(
    "break_it",
    [
        books_a_repeat_again,
        loses_the_last_receiver,
        leaves_a_spent_hold_open,
        lets_anybody_release,
        takes_some_refusals_for_done,
    ],
)
def test_control_a_broken_ledger_is_found(
    break_it: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the steps of an ordinary run; without shrinking, which only serves the reader."""
    break_it(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception, Broken)):
        run_machine(STEPS, phases=(Phase.generate,))
    print(break_it.__name__, "found after", LedgerMachine.seen["steps"], "steps")
    assert 0 < LedgerMachine.seen["steps"] <= STEPS
