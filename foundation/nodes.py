"""Node ids lent to processes: what makes numbers unique across machines without a lock on the hot path.

Source: design `sharding.md` decision 9 and `faults.md` 3.6. A process takes one of NODE_IDS ids from the database for
LEASE_SECONDS and renews it in the background; `fence` grows with every new holder, so an old one cannot renew. No
valid lease: `current` refuses. A taken-over id starts no earlier than its former lease ended (`floor_ms`).
All database work happens on a connection of its own thread, never inside the caller's transaction.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from django.db import DatabaseError, IntegrityError, connections

from foundation.db import roles, transactions
from foundation.errors import Busy
from foundation.models import NodeLease

logger = structlog.get_logger("nodes")

NODE_IDS = 36**3
"""Three base-36 characters of the number."""
LEASE_SECONDS = 300
RENEW_AFTER_SECONDS = 100
SAFETY_SECONDS = 30
"""The holder stops this much before the lease ends: pauses and clock drift of seconds do no harm."""


class NoNodeLease(Busy):
    """The lease could not be taken or renewed in time: no number is issued rather than a doubtful one."""


@dataclass(frozen=True)
class Node:
    """`node_id` 0 … 46 655; numbers must carry a time of at least `floor_ms` (epoch milliseconds)."""

    node_id: int
    fence: int
    floor_ms: int


class Lessee:
    """Holds this process's lease. Safe for threads; after a fork the child takes an id of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._node: Node | None = None
        self._renewed_at = 0.0
        self._renewing = False

    def current(self) -> Node:
        """The node to issue numbers with; takes or renews the lease when needed. Raises NoNodeLease."""
        age = time.monotonic() - self._renewed_at
        node = self._node
        if node is not None and self._pid == os.getpid() and age < LEASE_SECONDS - SAFETY_SECONDS:
            if age > RENEW_AFTER_SECONDS:
                self._renew_in_background(node)
            return node
        with self._lock:
            age = time.monotonic() - self._renewed_at
            if self._node is None or self._pid != os.getpid() or age >= LEASE_SECONDS - SAFETY_SECONDS:
                started = time.monotonic()
                self._node = _on_own_connection(_take)
                self._pid, self._renewed_at, self._renewing = os.getpid(), started, False
            return self._node

    def _renew_in_background(self, node: Node) -> None:
        with self._lock:
            if self._renewing:
                return
            self._renewing = True
        threading.Thread(target=self._renew, args=(node,), name="node-lease", daemon=True).start()

    def _renew(self, node: Node) -> None:
        started = time.monotonic()
        try:
            if _renew(node):
                self._renewed_at = started
            else:
                logger.error("node lease was taken over", node_id=node.node_id, fence=node.fence)
                self._node = None
        except DatabaseError:
            logger.warning("node lease not renewed, will try again", node_id=node.node_id, exc_info=True)
            time.sleep(1.0)
        finally:
            connections.close_all()
            self._renewing = False


lessee = Lessee()


def _on_own_connection(work: Callable[[], Node]) -> Node:
    """Runs `work` in a thread, so that it commits on its own whatever the caller's transaction does."""
    outcome: list[Node] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            outcome.append(work())
        except Exception as error:  # handed to the caller below
            failure.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=body, name="node-lease")
    thread.start()
    thread.join()
    if failure:
        raise NoNodeLease({"reason": repr(failure[0])}) from failure[0]
    return outcome[0]


def _take() -> Node:
    alias = roles.alias_for("default")
    holder = f"{socket.gethostname()[:30]}:{os.getpid()}:{secrets.token_hex(4)}"

    def work() -> Node:
        moment = transactions.database_now(using=alias)
        until = moment + dt.timedelta(seconds=LEASE_SECONDS)
        leases = NodeLease.objects.using(alias)
        free = (
            leases.select_for_update(skip_locked=True)
            .filter(leased_until__lt=moment - dt.timedelta(seconds=SAFETY_SECONDS))
            .order_by("leased_until")
            .first()
        )
        if free is not None:
            floor_ms = int(free.leased_until.timestamp() * 1000)
            free.holder, free.fence, free.leased_until = holder, free.fence + 1, until
            free.save(using=alias, update_fields=["holder", "fence", "leased_until"])
            return Node(free.node_id, free.fence, floor_ms)
        last = leases.order_by("-node_id").values_list("node_id", flat=True).first()
        node_id = 0 if last is None else last + 1
        if node_id >= NODE_IDS:
            raise NoNodeLease({"reason": "all node ids are lent"})
        leases.create(node_id=node_id, holder=holder, leased_until=until)
        return Node(node_id, 1, 0)

    for _ in range(50):
        try:
            return transactions.run(work, using=alias)
        except IntegrityError:  # another process took the same new id: look again
            time.sleep(secrets.randbelow(20) / 1000)
    raise NoNodeLease({"reason": "too much contention for node ids"})


def _renew(node: Node) -> bool:
    alias = roles.alias_for("default")
    until = transactions.database_now(using=alias) + dt.timedelta(seconds=LEASE_SECONDS)
    changed = NodeLease.objects.using(alias).filter(node_id=node.node_id, fence=node.fence).update(leased_until=until)
    return bool(changed)
