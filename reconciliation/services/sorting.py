"""Sorting more rows than memory takes: sorted runs on disk, merged while they are read.

A run holds RUN_ROWS rows; a million of them are some twenty files below the system's directory for temporary files,
unlinked while they are open, so that a killed process leaves nothing.
"""

from __future__ import annotations

import heapq
import pickle  # nosec B403 - of files that this process wrote and nobody else can open
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, TypeVar

Row = TypeVar("Row", bound=tuple[Any, ...])

RUN_ROWS = 50_000
"""Rows that are held at once."""
BLOCK_ROWS = 500
"""Rows that are read back at once, of each run."""


def sort(rows: Iterable[Row], key: Callable[[Row], Any], *, run_rows: int = RUN_ROWS) -> Iterator[Row]:
    """The rows by `key`, equal ones in their first order. Holds run_rows rows, then a block of each run."""
    runs: list[IO[bytes]] = []
    held: list[Row] = []
    for row in rows:
        held.append(row)
        if len(held) >= run_rows:
            held.sort(key=key)
            runs.append(_write(held))
            held = []
    held.sort(key=key)
    if not runs:
        yield from held
        return
    runs.append(_write(held))
    held = []
    try:
        yield from heapq.merge(*(_read(run) for run in runs), key=key)
    finally:
        for run in runs:
            run.close()


def _write(rows: list[Any]) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `sort` when it is merged
    for place in range(0, len(rows), BLOCK_ROWS):
        pickle.dump(rows[place : place + BLOCK_ROWS], file, pickle.HIGHEST_PROTOCOL)
    file.seek(0)
    return file


def _read(file: IO[bytes]) -> Iterator[Any]:
    while True:
        try:
            block = pickle.load(file)  # noqa: S301 # nosec B301 - written by this process a moment ago, unlinked
        except EOFError:
            return
        yield from block
