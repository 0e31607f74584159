"""One page of memory that a crew's processes share: it outlives whoever is killed, so it tells where he stood."""

from __future__ import annotations

import enum
import mmap
import struct
from pathlib import Path

SIZE = 4096
_GATE, _COUNTER, _STATES, _THREADS = 0, 8, 64, 1024
_NUMBER = struct.Struct("<Q")


class Gate(enum.IntEnum):
    """What the crew is asked to do before its next command."""

    WORK = 1
    REST = 2
    GO_HOME = 3


class State(enum.IntEnum):
    """Where one poster stands."""

    STARTING = 1
    OUTSIDE = 2
    """Between two postings: writing its diary, choosing, connecting again."""
    POSTING = 3
    """After BEGIN, before it sends COMMIT."""
    COMMITTING = 4
    """COMMIT is sent, its answer not there yet."""
    RESTING = 5
    FAILED = 6


class Board:
    """The page. Every field has one writer, but for the counter, where a lost step does no harm."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(SIZE))
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), SIZE)

    @property
    def gate(self) -> Gate:
        return Gate(self._page[_GATE])

    @gate.setter
    def gate(self, gate: Gate) -> None:
        self._page[_GATE] = gate

    def state_of(self, slot: int) -> State:
        return State(self._page[_STATES + slot])

    def set_state(self, slot: int, state: State) -> None:
        self._page[_STATES + slot] = state

    @property
    def counter(self) -> int:
        """Number of the reference that all posters of the moment may post."""
        return int(_NUMBER.unpack_from(self._page, _COUNTER)[0])

    @counter.setter
    def counter(self, value: int) -> None:
        _NUMBER.pack_into(self._page, _COUNTER, value)

    def thread_of(self, slot: int) -> int:
        """Id of the poster's connection in the server, 0 before the first."""
        return int(_NUMBER.unpack_from(self._page, _THREADS + slot * _NUMBER.size)[0])

    def set_thread(self, slot: int, thread: int) -> None:
        _NUMBER.pack_into(self._page, _THREADS + slot * _NUMBER.size, thread)
