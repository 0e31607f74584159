"""Threads that start at the same moment, each with its own connections."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from django.db import connections

Result = TypeVar("Result")
WAIT_SECONDS = 60


def together(works: Sequence[Callable[[], Result]]) -> list[Result | BaseException]:
    """Runs all at once; each one's result, or what it raised, in order."""
    results: list[Result | BaseException] = [RuntimeError("never ended")] * len(works)
    gate = threading.Barrier(len(works))

    def run(number: int, work: Callable[[], Result]) -> None:
        try:
            gate.wait(WAIT_SECONDS)
            results[number] = work()
        except BaseException as error:  # the test looks at it
            results[number] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number, work)) for number, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()
    return results
