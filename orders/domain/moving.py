"""Where one order table stands on its way from one database to another, told by what the databases say about it.

A database's word about a table is OPEN, MOVING, INCOMING or MOVED (orders.models.TablePlace); it is written before or
after the step it stands for so that at no moment two databases take writes for one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """In the order in which a move passes them."""

    HOME = "HOME"
    """The table is where it shall be; nothing is left of a move."""
    OPEN = "OPEN"
    """In use at the old place; perhaps some rows were copied already."""
    CLOSED = "CLOSED"
    """Refuses writes at the old place."""
    VERIFIED = "VERIFIED"
    """Refuses writes at the old place, every row was compared."""
    SWITCHING = "SWITCHING"
    """The old place has given it up, the new one has not taken it: only forward from here."""
    SWITCHED = "SWITCHED"
    """In use at the new place; the old rows still stand at the old one."""


@dataclass(frozen=True, kw_only=True)
class Word:
    """What one database says about one table; `other` is the alias at the other end of the move."""

    state: str
    other: str = ""
    is_verified: bool = False
    has_table: bool = True


@dataclass(frozen=True, kw_only=True)
class Move:
    """Table `table` (0 to 15) goes from alias `old` to alias `new`; equal when it is at home."""

    table: int
    old: str
    new: str
    stage: Stage


class UnclearPlace(Exception):
    """The databases contradict one another, or none has the table."""


def move_of(*, table: int, new: str, words: Mapping[str, Word]) -> Move:
    """The move that brings `table` to alias `new`; raises UnclearPlace. A pure function of the databases' words."""
    there = words.get(new)
    owners = [alias for alias, word in words.items() if word.state in {"OPEN", "MOVING"} and alias != new]
    if len(owners) > 1:
        raise UnclearPlace(f"table {table:02d} is claimed by {' and '.join(sorted(owners))}")
    if owners:
        word = words[owners[0]]
        if word.state == "MOVING" and word.other != new:
            raise UnclearPlace(f"table {table:02d} is on its way to {word.other}: go on, or --abort that move first")
        stage = Stage.OPEN if word.state == "OPEN" else Stage.VERIFIED if word.is_verified else Stage.CLOSED
        return Move(table=table, old=owners[0], new=new, stage=stage)
    left = [alias for alias, word in words.items() if word.state == "MOVED" and word.other == new and word.has_table]
    if there is not None and there.state == "INCOMING" and words.get(there.other, there).state == "MOVED":
        return Move(table=table, old=there.other, new=new, stage=Stage.SWITCHING)
    if there is None or there.state not in {"OPEN", "MOVING"}:
        raise UnclearPlace(f"no database has table {table:02d}")
    if left:
        return Move(table=table, old=left[0], new=new, stage=Stage.SWITCHED)
    return Move(table=table, old=new, new=new, stage=Stage.HOME)


def spread(databases: list[str]) -> list[str]:
    """The map of 16 entries for these aliases: table i on entry i mod N. ValueError unless N is 1, 2, 4, 8 or 16."""
    if len(databases) not in {1, 2, 4, 8, 16} or len(set(databases)) != len(databases):
        raise ValueError("name 1, 2, 4, 8 or 16 different databases")
    return [databases[table % len(databases)] for table in range(16)]
