"""Where posters come from: Django is set up once, then each line `SLOT SEED` of standard input makes a poster by fork.

    python -m tests.concurrency.funds.nursery DIRECTORY RUN FIRST_PERSON FAULT

The answer is the poster's process id. It ends when its input ends, and its posters end when it is gone. A fork takes
milliseconds, so that a successor is at work while the others still post; a new interpreter would take a second.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import django


def main() -> None:
    directory, run, first_person, fault = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    django.setup()
    from django.db import connections

    from foundation.db import transactions
    from tests.concurrency.funds import poster

    if fault not in poster.FAULTS:
        raise SystemExit(f"no such fault: {fault}")
    if fault == "posts_without_transaction":  # every statement of a posting is then committed by itself
        transactions.assert_in_transaction = lambda *, using: None
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # a dead poster vanishes at once
    for line in sys.stdin:
        slot, seed = (int(word) for word in line.split())
        if any(connections[alias].connection is not None for alias in connections):
            raise SystemExit("a fork would share a connection")
        pid = os.fork()
        if pid == 0:
            poster.be_a_poster(
                directory=directory, run=run, first_person=first_person, fault=fault, slot=slot, seed=seed
            )
        print(pid, flush=True)


if __name__ == "__main__":
    main()
