"""A crew of posters, the killer of its members, and the comparison of what they wrote down with the database."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from django.db import connections

from foundation.proof import ProofLine
from funds.models import Account, Hold, Journal
from funds.services import ledger
from tests.concurrency.funds.board import Board, Gate, State
from tests.concurrency.funds.intents import Diary, Intent, Outcome, effects, kind_of, person_account
from tests.concurrency.funds.poster import PEOPLE
from tests.system import ROOT, environment

WAIT_SECONDS = 60.0
Prove = Callable[[], Sequence[ProofLine]]


@dataclass
class Slot:
    """One place of the crew: its present process and all that its processes wrote down."""

    diary: Diary
    pid: int = 0
    intents: dict[str, Intent] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    in_doubt: str = ""


@dataclass
class Figures:
    """What a run did; printed, and asserted where a run that did nothing would prove nothing."""

    kills: int = 0
    states_at_death: Counter[str] = field(default_factory=Counter)
    committed_in_doubt: int = 0
    """Movements that were booked though their poster died before it knew."""
    lost_in_doubt: int = 0
    """Movements that were rolled back with their poster."""
    checks: int = 0
    journals: int = 0
    refused: int = 0
    tried_again: int = 0
    """Answered movements whose block ran more than once."""
    found_again: int = 0
    """Of these, the ones that stood already: an earlier try had booked them, or another poster the same reference."""
    cut_off: int = 0
    """Blocks in which the server went away between BEGIN and COMMIT."""


class Crew:
    """Use as a context manager. `seed` fixes who is killed when, and what each poster chooses."""

    def __init__(self, directory: Path, *, size: int, seed: int, fault: str = "none") -> None:
        self.directory, self.fault = directory, fault
        self.random = random.Random(seed)
        self.run = f"r{uuid.uuid4().hex[:10]}"
        self.first_person = uuid.uuid4().int % 10**9 + 10**9
        self.board = Board(directory / "board")
        self.slots = [Slot(diary=Diary(directory / f"{number}.diary")) for number in range(size)]
        self.figures = Figures()
        self.contradictions: list[str] = []
        self.nursery: subprocess.Popen[str] | None = None

    def __enter__(self) -> Crew:
        self.board.gate = Gate.WORK
        connections.close_all()
        with (self.directory / "nursery.log").open("ab") as log:
            self.nursery = subprocess.Popen(
                [
                    sys.executable,
                    *("-m", "tests.concurrency.funds.nursery"),
                    *(str(self.directory), self.run, str(self.first_person), self.fault),
                ],
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        for number in range(len(self.slots)):
            self.hire(number)
        self._wait(lambda: all(slot.diary.path.exists() for slot in self.slots), "everybody is at work")
        return self

    def __exit__(self, *_: object) -> None:
        self.board.gate = Gate.GO_HOME
        assert self.nursery is not None and self.nursery.stdin is not None
        with contextlib.suppress(AssertionError):
            self._wait(lambda: not any(is_alive(slot.pid) for slot in self.slots), "everybody went home")
        self.nursery.stdin.close()
        self.nursery.wait(WAIT_SECONDS)
        for slot in self.slots:
            with contextlib.suppress(ProcessLookupError):
                os.kill(slot.pid, signal.SIGKILL)

    def hire(self, number: int) -> None:
        """A poster for the slot; it learns from the diary what to post again."""
        assert self.nursery is not None and self.nursery.stdin is not None and self.nursery.stdout is not None
        self.board.set_state(number, State.STARTING)
        self.nursery.stdin.write(f"{number} {self.random.randrange(2**32)}\n")
        self.nursery.stdin.flush()
        answer = self.nursery.stdout.readline()
        assert answer, (self.directory / "nursery.log").read_text()
        self.slots[number].pid = int(answer)

    def let_work(self, *, shortest: float, longest: float) -> None:
        """Opens the gate for a random time."""
        self.board.gate = Gate.WORK
        time.sleep(self.random.uniform(shortest, longest))

    def kill_one(self) -> None:
        """kill -9 of a random poster. Returns when its connection is gone in the server, too."""
        number = self.random.randrange(len(self.slots))
        slot = self.slots[number]
        os.kill(slot.pid, signal.SIGKILL)
        self._wait(lambda: not is_alive(slot.pid), "the killed poster is gone")
        self.figures.kills += 1
        self.figures.states_at_death[self.board.state_of(number).name] += 1
        slot.pid = 0
        thread = self.board.thread_of(number)
        # The server ends the statement in hand, a COMMIT maybe, before it looks whether the client is there.
        self._wait(lambda: not is_connected(thread), "the server let go of the killed poster")

    def replace_the_dead(self) -> None:
        """Successors for all that were killed."""
        for number, slot in enumerate(self.slots):
            if slot.pid == 0:
                self.hire(number)

    def rest(self) -> None:
        """Closes the gate and returns when every living poster has ended its command."""
        self.board.gate = Gate.REST
        living = [number for number, slot in enumerate(self.slots) if slot.pid]
        self._wait(lambda: all(self.board.state_of(number) is State.RESTING for number in living), "everybody rests")

    def check(self, prove: Prove) -> list[str]:
        """At rest: what is wrong, in words. Nothing acknowledged is lost, nothing is booked twice or from nowhere."""
        for slot in self.slots:
            self._read(slot)
        self.figures.checks += 1
        booked = {
            (journal.kind, journal.reference): journal
            for journal in Journal.objects.filter(reference__startswith=f"{self.run}-")
        }
        self.figures.journals = len(booked)
        findings = [f"proof: {line.name}: {line.detail}" for line in prove() if not line.ok]
        findings += [*self.contradictions, *self._compare_journals(booked)]
        expected = {
            intent.reference: intent
            for slot in self.slots
            for intent in slot.intents.values()
            if (kind_of(intent), intent.reference) in booked
        }
        return findings + self._compare_balances(list(expected.values()))

    def _read(self, slot: Slot) -> None:
        for word in slot.diary.read_on():
            if isinstance(word, Intent):
                slot.intents[word.reference] = word
                slot.in_doubt = word.reference
                continue
            before = slot.outcomes.setdefault(word.reference, word)
            if before.journal_id != word.journal_id:
                self.contradictions.append(f"acknowledged twice: {before} and {word}")
            slot.in_doubt = ""
            self.figures.cut_off += word.cut_off
            if word.tries > 1:
                self.figures.tried_again += 1
                self.figures.found_again += not word.refused and not word.is_created
            self.figures.refused += bool(word.refused)

    def _compare_journals(self, booked: Mapping[tuple[str, str], Journal]) -> list[str]:
        findings, known, created = [], set(), Counter[str]()
        for number, slot in enumerate(self.slots):
            for reference, intent in slot.intents.items():
                place = (kind_of(intent), reference)
                known.add(place)
                found, outcome = booked.get(place), slot.outcomes.get(reference)
                if outcome is None:
                    if reference != slot.in_doubt:
                        findings.append(f"slot {number} left {place} without an outcome")
                    elif found is None:
                        self.figures.lost_in_doubt += not slot.pid
                    else:
                        self.figures.committed_in_doubt += not slot.pid
                elif outcome.refused:
                    findings += [f"refused but booked: {place}"] if found else []
                elif found is None or found.pk != outcome.journal_id:
                    findings.append(f"acknowledged but lost: {place} of {outcome}")
                elif found.credit_total_fen != intent.amount_fen:
                    findings.append(f"another amount: {place} {found.credit_total_fen} for {intent.amount_fen}")
                created[reference] += outcome is not None and outcome.is_created
        findings += [f"created {count} times: {reference}" for reference, count in created.items() if count > 1]
        return findings + [f"booked from nowhere: {place}" for place in booked if place not in known]

    def _compare_balances(self, posted: Sequence[Intent]) -> list[str]:
        available, frozen, rests = [0] * PEOPLE, [0] * PEOPLE, Counter[str]()
        for intent in posted:
            for person, available_fen, frozen_fen in effects(intent):
                available[person] += available_fen
                frozen[person] += frozen_fen
            if intent.hold_key:
                rests[intent.hold_key] += intent.amount_fen if intent.movement == "freeze" else -intent.amount_fen
        keys = [person_account(self.first_person, person) for person in range(PEOPLE)]
        rows = {
            row.owner_id: (row.available_fen, row.frozen_fen)
            for row in Account.objects.filter(
                owner_kind=keys[0].owner_kind, owner_id__in=[key.owner_id for key in keys]
            )
        }
        findings = []
        for person, key in enumerate(keys):
            expected, found = (available[person], frozen[person]), rows.get(key.owner_id, (0, 0))
            if found != expected:
                findings.append(f"person {person} has {found}, not {expected}")
        holds = dict(Hold.objects.filter(key__startswith=f"{self.run}-").values_list("key", "remaining_fen"))
        if holds != dict(rests):
            differing = sorted(key for key in holds.keys() | rests.keys() if holds.get(key) != rests.get(key))
            findings.append(f"holds differ from the model: {differing[:5]}")
        return findings

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            for failure in self.directory.glob("*.failed"):
                raise AssertionError(f"poster {failure.stem} failed:\n{failure.read_text()}")
            assert self.nursery is not None and self.nursery.poll() is None, (
                self.directory / "nursery.log"
            ).read_text()
            assert time.monotonic() < deadline, f"not within {WAIT_SECONDS} s: {what}"
            time.sleep(0.002)


def is_alive(pid: int) -> bool:
    """Whether the process is there; 0 is nobody."""
    if pid == 0:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def is_connected(thread: int) -> bool:
    """Whether the server still serves the connection."""
    with connections[ledger.alias()].cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM information_schema.processlist WHERE id = %s", [thread])
        return bool(cursor.fetchone()[0])
