"""A process that dies by kill -9 exactly between the ledger's commit and the order's.

    python -m tests.flows.payments.dying POINT recharge ATTEMPT_NO
    python -m tests.flows.payments.dying POINT transfer ORDER_NO PAYER_ID ENTERPRISE_ID TO_CODE AMOUNT_FEN
    python -m tests.flows.payments.dying POINT packet ORDER_NO PAYER_ID ENTERPRISE_ID GROUP_ID AMOUNT_FEN

POINT is `before_writes` (the order is locked and as it was) or `before_commit` (all of the order's rows are written and
its COMMIT is next).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

import django

POINTS = ("before_writes", "before_commit")


def die(*_: object, **__: object) -> None:
    """kill -9 of ourselves: nothing is tidied up, the server finds the connections closed."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str) -> None:
    """Makes the next completion of an order deadly; the ledger has committed when it is called."""
    from django.db import connections

    from orders import selectors as orders
    from payments.services import outcomes

    complete_order = outcomes.complete_order

    def complete_and_die_at_commit(**given: object) -> None:
        complete_order(**given)
        alias = orders.order_alias(given["order"].order_no)
        connections[alias].commit = die

    outcomes.complete_order = die if point == "before_writes" else complete_and_die_at_commit


def act(words: Sequence[str]) -> None:
    """What a worker or a web process does when the payment comes."""
    from foundation import clock
    from orders import selectors as orders
    from payments.domain.people import Person
    from payments.services import checking, transferring
    from redpacket.domain.states import PacketKind
    from redpacket.services import send

    movement, number, now = words[0], words[1], clock.now()
    if movement == "recharge":
        checking.check_attempt(attempt=orders.get_attempt(attempt_no=number), now=now)
        return
    payer, amount_fen = Person(employee_id=int(words[2]), enterprise_id=int(words[3])), int(words[5])
    if movement == "transfer":
        transferring.transfer(
            order_no=number, payer=payer, to_code=words[4], amount_fen=amount_fen, memo="lunch", now=now
        )
    else:
        send.send_packet(
            order_no=number,
            sender=payer,
            new=send.NewPacket(kind=PacketKind.LUCKY, total_fen=amount_fen, count=2, group_id=words[4]),
            pay=send.PayBy(source="wallet"),
            now=now,
        )


if __name__ == "__main__":
    django.setup()
    arm(sys.argv[1])
    act(sys.argv[2:])
