"""One process of a crew: it posts random movements as fast as it can, to be killed in the middle of it.

It writes each intent into the diary of its slot before it posts, and the outcome after. A new poster of a slot first
posts again what its predecessor left in doubt, and its last ones: at least once, and the reference makes it once.
"""

from __future__ import annotations

import dataclasses
import os
import random
import time
import traceback
from collections import deque
from pathlib import Path
from typing import Any

from django.db import Error as DatabaseProblem
from django.db import OperationalError, connections
from django.db.backends.signals import connection_created

from foundation.db import transactions
from foundation.errors import Busy
from funds.services import ledger
from tests.concurrency.funds.board import Board, Gate, State
from tests.concurrency.funds.intents import Diary, Intent, Outcome, build_entry
from tests.worlds import NOW

FAULTS = ("none", "acknowledges_early", "repeats_under_new_references", "posts_without_transaction")
"""What a control makes wrong; its posters only recharge, so that nothing but the fault can break the books."""
PEOPLE = 12
REPEATED_BY_SUCCESSOR = 5
REMEMBERED = 300
PAUSE_SECONDS = 0.05


class Poster:
    """The worker of one slot."""

    def __init__(self, *, directory: Path, run: str, first_person: int, fault: str, slot: int, seed: int) -> None:
        self.run, self.first_person, self.fault, self.slot = run, first_person, fault, slot
        self.parent = os.getppid()
        self.random = random.Random(seed)
        self.board = Board(directory / "board")
        self.done: deque[tuple[Intent, Outcome]] = deque(maxlen=REMEMBERED)
        self.holds: dict[str, tuple[int, int]] = {}
        self.count = 0
        self.in_doubt: Intent | None = None
        diary = Diary(directory / f"{slot}.diary")
        self._learn(diary)
        self.append = diary.append_with()

    def _learn(self, diary: Diary) -> None:
        """What the predecessors did."""
        for word in diary.read_on():
            if isinstance(word, Intent):
                self.in_doubt, self.count = word, self.count + 1
            elif self.in_doubt is not None:
                self._remember(self.in_doubt, word)
                self.in_doubt = None

    def work(self) -> None:
        """Until the gate says to go home."""
        last = [intent for intent, _ in list(self.done)[-REPEATED_BY_SUCCESSOR:]]
        for intent in [*([self.in_doubt] if self.in_doubt else []), *last]:
            self._repeat(intent)
        while self.board.gate is not Gate.GO_HOME:
            self._check_parent()
            if self.board.gate is Gate.REST:
                self.board.set_state(self.slot, State.RESTING)
                time.sleep(0.002)
                continue
            self._stand(State.OUTSIDE)
            if self.done and self.fault == "none" and self.random.random() < 0.1:
                self._repeat(self.random.choice(self.done)[0])
                continue
            intent = self._choose()
            self.append(intent)
            self.count += 1
            self._end(intent, self._post(intent))

    def _check_parent(self) -> None:
        if os.getppid() != self.parent:
            raise SystemExit("the crew is gone")

    def _stand(self, state: State) -> None:
        self.board.set_state(self.slot, state)

    def _repeat(self, intent: Intent) -> None:
        """Posts once more: what was booked must be found, and not booked again."""
        before = next((outcome for known, outcome in self.done if known.reference == intent.reference), None)
        if before is not None and before.refused:
            return  # a refusal books nothing: the same movement may well pass now
        if self.fault == "repeats_under_new_references":
            intent = dataclasses.replace(intent, reference=f"{self.run}-again-{self.random.randrange(10**9)}")
        outcome = self._post(intent)
        if before is None:
            self._end(intent, outcome)
        elif self.fault == "none" and (outcome.journal_id, outcome.is_created) != (before.journal_id, False):
            raise AssertionError(f"repeated {intent}: first {before}, now {outcome}")

    def _end(self, intent: Intent, outcome: Outcome) -> None:
        if self.fault != "acknowledges_early":
            self.append(outcome)
        self._remember(intent, outcome)

    def _remember(self, intent: Intent, outcome: Outcome) -> None:
        self.done.append((intent, outcome))
        if outcome.refused:
            return
        if intent.movement == "freeze":
            self.holds[intent.hold_key] = (intent.person, intent.amount_fen)
        elif intent.movement in ("settle", "release"):
            person, rest = self.holds.pop(intent.hold_key)
            if rest > intent.amount_fen:
                self.holds[intent.hold_key] = (person, rest - intent.amount_fen)

    def _post(self, intent: Intent) -> Outcome:
        """Posts until there is an answer; a server that is away is asked again and again."""
        entry, tries, cut_off = build_entry(intent, first_person=self.first_person), 0, 0

        def post() -> ledger.PostedJournal:
            nonlocal tries, cut_off
            tries += 1
            self._stand(State.POSTING)
            try:
                posted = ledger.post(entry=entry, now=NOW)
            except OperationalError as error:
                cut_off += error.args[0] in transactions.AWAY_MYSQL_CODES
                raise
            if self.fault == "acknowledges_early":
                self.append(Outcome(reference=intent.reference, journal_id=posted.journal_id, is_created=True))
                time.sleep(0.005)
            self._stand(State.COMMITTING)
            return posted

        while True:
            try:
                posted = post() if self.fault == "posts_without_transaction" else ledger.in_transaction(post)
            except (ledger.InsufficientFunds, ledger.HoldExceeded) as error:
                return Outcome(reference=intent.reference, refused=error.code, tries=tries, cut_off=cut_off)
            except (Busy, DatabaseProblem) as error:
                if isinstance(error, DatabaseProblem) and not transactions.is_passing(error):
                    raise
                connections["funds"].close_if_unusable_or_obsolete()
            else:
                return Outcome(
                    reference=intent.reference,
                    journal_id=posted.journal_id,
                    is_created=posted.created,
                    tries=tries,
                    cut_off=cut_off,
                )
            finally:
                self._stand(State.OUTSIDE)
            self._check_parent()
            time.sleep(PAUSE_SECONDS)

    def _choose(self) -> Intent:
        """The next movement: of every kind, mostly payable, now and then one fen too much."""
        dice, reference = self.random, f"{self.run}-{self.slot}-{self.count}"
        movement = "recharge"
        if self.fault == "none":
            kinds = ("recharge", "together", "transfer", "freeze", "settle", "release")
            movement = dice.choices(kinds, weights=(20, 8, 30, 14, 18, 10))[0]
        if movement == "together":
            return self._choose_together()
        if movement in ("settle", "release") and self.holds:
            return self._choose_for_hold(movement, reference)
        person, amount = dice.randrange(PEOPLE), dice.randint(1, 60)
        new = Intent(movement="recharge", reference=reference, person=person, amount_fen=amount)
        if movement == "transfer":
            payee = (person + dice.randrange(1, PEOPLE)) % PEOPLE
            return dataclasses.replace(new, movement="transfer", receivers=((payee, amount),))
        if movement == "freeze":
            return dataclasses.replace(new, movement="freeze", hold_key=f"{reference}-h")
        return new

    def _choose_together(self) -> Intent:
        """A recharge that other posters post at the same moment under the same reference."""
        number = self.board.counter
        if self.random.random() < 0.3:
            self.board.counter = number + 1
        return Intent(
            movement="recharge",
            reference=f"{self.run}-together-{number}",
            person=number % PEOPLE,
            amount_fen=number % 50 + 1,
        )

    def _choose_for_hold(self, movement: str, reference: str) -> Intent:
        key = self.random.choice(list(self.holds))
        person, rest = self.holds[key]
        amount = rest + 1 if self.random.random() < 0.05 else self.random.randint(1, rest)
        new = Intent(movement=movement, reference=reference, person=person, amount_fen=amount, hold_key=key)
        if movement == "release":
            return new
        others = self.random.sample(range(PEOPLE), min(self.random.randint(1, 5), amount))
        parts = [amount - len(others) + 1, *[1] * (len(others) - 1)]
        return dataclasses.replace(new, receivers=tuple(zip(others, parts, strict=True)))


def be_a_poster(*, directory: Path, run: str, first_person: int, fault: str, slot: int, seed: int) -> None:
    """Body of a forked process; never returns. A failure is in a file and on the board."""
    code = 1
    try:
        poster = Poster(directory=directory, run=run, first_person=first_person, fault=fault, slot=slot, seed=seed)

        def tell(connection: Any, **_: object) -> None:
            if connection.alias == ledger.alias():
                poster.board.set_thread(slot, connection.connection.thread_id())

        connection_created.connect(tell)
        poster.work()
        code = 0
    except BaseException:
        (directory / f"{slot}.failed").write_text(traceback.format_exc())
        Board(directory / "board").set_state(slot, State.FAILED)
    finally:
        os._exit(code)
