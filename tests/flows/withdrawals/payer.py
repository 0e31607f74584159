"""A process that sends and checks payouts without end, with a clock that runs ahead so that nothing waits for hours.

    python -m tests.flows.withdrawals.payer

It is there to be killed: whatever it was doing, its successor and its neighbours go on from the tables.
"""

from __future__ import annotations

import datetime as dt
import random
import time

import django

STEP = dt.timedelta(minutes=20)
"""How far the clock goes ahead in a round."""


def main() -> None:
    django.setup()
    from foundation import clock
    from foundation.errors import Busy
    from withdrawals.services import sending

    ahead = dt.timedelta()
    while True:
        now = clock.now() + ahead
        try:
            sending.send_due(now=now, limit=random.randint(1, 20))
            sending.check_due(now=now, limit=random.randint(1, 20))
        except Busy:
            time.sleep(0.05)
        ahead += STEP


if __name__ == "__main__":
    main()
