"""Issues order and attempt numbers of this process.

Call it before opening transactions: taking the first lease writes to the default database on a connection of its own.
"""

from __future__ import annotations

import os
import threading

from django.conf import settings

from foundation import clock, flags, nodes
from orders.domain import numbers
from orders.domain.numbers import Prefix

_lock = threading.Lock()
_sequence = numbers.Sequence()
_issued_by: tuple[int, int, int] | None = None


def issue(*, prefix: Prefix, account_id: int, beside: str = "") -> str:
    """A fresh order number for the account (an employee's id, any non-negative integer).

    `beside` names another order whose table the new one must share (a refund stands in its original's database, so
    that reserving the refund is one commit): version 1 goes on until the CRC matches, 16 tries on average; version 2
    takes that table as its gene. The version is that of the settings, or 2 for those whom the grey release has reached
    (foundation.flags): numbers of both stand beside one another for ever. Raises foundation.nodes.NoNodeLease (Busy)
    without a node lease.
    """
    version = version_for(account_id=account_id)
    gene = account_id % numbers.TABLES
    if version == "2":
        if beside:
            gene = numbers.table_of(beside)
        return _compose(prefix=prefix, version=version, gene=gene, account_id=account_id)
    while True:
        number = _compose(prefix=prefix, version=version, gene=gene, account_id=account_id)
        if not beside or numbers.table_of(number) == numbers.table_of(beside):
            return number


def version_for(*, account_id: int) -> str:
    """The version of the account's next order number."""
    if flags.is_active(flags.ORDER_NUMBER_2, employee_id=account_id):
        return "2"
    version: str = settings.ORDER_NUMBER_VERSION
    return version


def issue_attempt(*, order_no: str) -> str:
    """A fresh attempt number for an order; its gene is the order's table."""
    parts = numbers.parse(order_no)
    gene = numbers.table_of(order_no)
    return _compose(prefix=Prefix.ATTEMPT, version=parts.version, gene=gene, account_id=parts.account)


def _compose(*, prefix: Prefix, version: str, gene: int, account_id: int) -> str:
    node = nodes.lessee.current()
    epoch_ms, counter = _next(node)
    return numbers.compose(
        prefix=prefix,
        version=version,
        node_id=node.node_id,
        gene=gene,
        account_id=account_id,
        epoch_ms=epoch_ms,
        counter=counter,
    )


def _next(node: nodes.Node) -> tuple[int, int]:
    global _issued_by, _sequence
    holder = (os.getpid(), node.node_id, node.fence)
    with _lock:
        if _issued_by != holder:
            _sequence, _issued_by = numbers.Sequence(floor_ms=node.floor_ms), holder
        return _sequence.next(clock_ms=clock.epoch_ms())
