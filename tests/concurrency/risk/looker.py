"""A process that says which version of the withdrawal rules it uses, whenever that changes; until it is ended."""

from __future__ import annotations

import time

import django


def main() -> None:
    django.setup()

    from foundation import clock
    from risk.domain.facts import Action
    from risk.services import tables

    said = -1
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        loaded = tables.current(action=Action.WITHDRAWAL, now=clock.now())
        if loaded is not None and loaded.version_id != said and loaded.table is not None:
            said = loaded.version_id
            print(said, flush=True)
        time.sleep(0.05)


if __name__ == "__main__":
    main()
