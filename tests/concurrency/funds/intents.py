"""What a poster means to do, written down before it does it, and what came of it.

One file for each poster, one JSON line for each word: first the intent, after the post its outcome. A line is one
write(2) to a file opened for appending: kill -9 of the writer loses none that was written. An intent without an
outcome is in doubt until it is posted again under the same reference.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from funds.domain import movements
from funds.domain.entries import AccountRef, Entry, employee_account

CHANNEL = "test"
ENTERPRISE_SIZE = 4


@dataclass(frozen=True, kw_only=True)
class Intent:
    """One movement to be. Persons are indexes; `amount_fen` of a settlement is the sum over `receivers`."""

    movement: str
    reference: str
    person: int
    amount_fen: int
    receivers: tuple[tuple[int, int], ...] = ()
    hold_key: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the intent of `reference` ended: the journal that stands for it, or the refusal's code.

    `tries` counts the blocks that were begun for it (more than one: a deadlock, or the server went away); `cut_off`
    those in which the server went away between BEGIN and COMMIT.
    """

    reference: str
    journal_id: int = 0
    refused: str = ""
    is_created: bool = False
    tries: int = 1
    cut_off: int = 0


def person_account(first_person: int, person: int) -> AccountRef:
    """The account of a person of this run, whose people count from `first_person`."""
    number = first_person + person
    return employee_account(number, first_person + person // ENTERPRISE_SIZE)


def build_entry(intent: Intent, *, first_person: int) -> Entry:
    """The entry as the platform's own movements build it, under a kind of its own (no order belongs to it)."""
    owner, reference = person_account(first_person, intent.person), intent.reference
    if intent.movement == "recharge":
        entry = movements.recharge(
            order_no=reference, attempt_no=reference, channel=CHANNEL, owner=owner, amount_fen=intent.amount_fen
        )
    elif intent.movement == "transfer":
        payee = person_account(first_person, intent.receivers[0][0])
        entry = movements.transfer(order_no=reference, payer=owner, payee=payee, amount_fen=intent.amount_fen)
    elif intent.movement == "freeze":
        entry = movements.freeze(
            order_no=reference, owner=owner, amount_fen=intent.amount_fen, hold_key=intent.hold_key
        )
    elif intent.movement == "settle":
        receivers = [
            movements.Receiver(account=person_account(first_person, person), amount_fen=fen)
            for person, fen in intent.receivers
        ]
        entry = movements.settle_shares(
            reference=reference, order_no="", sender=owner, hold_key=intent.hold_key, receivers=receivers
        )
    else:
        entry = movements.release_rest(
            reference=reference, order_no="", owner=owner, hold_key=intent.hold_key, amount_fen=intent.amount_fen
        )
    return dataclasses.replace(entry, kind=kind_of(intent), order_no="")


def kind_of(intent: Intent) -> str:
    """The kind its journal has."""
    return f"test_{intent.movement}"


def effects(intent: Intent) -> Iterator[tuple[int, int, int]]:
    """(person, change of available, change of frozen) as a plain model has it, from the intent's words alone."""
    fen = intent.amount_fen
    if intent.movement == "recharge":
        yield intent.person, fen, 0
    elif intent.movement == "freeze":
        yield intent.person, -fen, fen
    elif intent.movement == "release":
        yield intent.person, fen, -fen
    else:
        yield (intent.person, -fen, 0) if intent.movement == "transfer" else (intent.person, 0, -fen)
        for person, part in intent.receivers:
            yield person, part, 0


class Diary:
    """The file of one poster: append for the poster, read on for whoever checks it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def append_with(self) -> Callable[[Intent | Outcome], None]:
        """A function that appends one word."""
        target = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

        def append(word: Intent | Outcome) -> None:
            line = json.dumps({type(word).__name__: dataclasses.asdict(word)}, separators=(",", ":")) + "\n"
            written = os.write(target, line.encode())
            if written != len(line):
                raise OSError(f"only {written} of {len(line)} bytes went to {self.path}")

        return append

    def read_on(self) -> list[Intent | Outcome]:
        """The words since the last call."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as source:
            source.seek(self._offset)
            data = source.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [_word(line) for line in whole.decode().splitlines()]


def _word(line: str) -> Intent | Outcome:
    ((name, fields),) = json.loads(line).items()
    if name == "Outcome":
        return Outcome(**fields)
    fields["receivers"] = _pairs(fields["receivers"])
    return Intent(**fields)


def _pairs(rows: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((person, fen) for person, fen in rows)
