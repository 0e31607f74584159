"""Carries notices to the merchant: a scheduler thread, a few senders, the provider's schedule of retries.

What is due stands in the books, so a stop or a crash loses nothing: a try whose end was not recorded is made again,
as the merchant must expect anyway.
"""

from __future__ import annotations

import contextlib
import math
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import requests

from simulator import desk, payouts
from simulator.books import BooksClosed, Notice
from simulator.world import Channel, World

SENDERS = 8
"""Notices under way at once: a slow merchant must not stop the others' notices."""
MAX_IDLE_SECONDS = 5.0
LIST_LIMIT = 500
MODE_GENUINE = "genuine"
KEPT_BODY_LENGTH = 8_000
"""Characters of the merchant's answer that are kept; 99bill reads a sealed one of about 3,000."""
STOP_SECONDS = 1.0
"""How long `stop` waits for senders; one that hangs in a call dies with the process."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What came back. `status` None: no answer; `body` then says why."""

    status: int | None
    body: str


class Deliverer:
    """Started and stopped by the server."""

    def __init__(self, *, world: World, channels: Mapping[str, Channel]) -> None:
        self._world = world
        self._channels = channels
        self._tasks: queue.SimpleQueue[Notice | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._under_way: set[int] = set()
        targets: list[Callable[[], None]] = [self._schedule, *[self._send_tasks] * SENDERS]
        self._threads = [threading.Thread(target=self._guard, args=(target,), daemon=True) for target in targets]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """After `world.stopping` is set."""
        self._world.wake.set()
        for _ in range(SENDERS):
            self._tasks.put(None)
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _guard(self, target: Callable[[], None]) -> None:
        """The books are closed under a thread only while stopping; it then ends without a word."""
        with contextlib.suppress(BooksClosed):
            target()

    def _schedule(self) -> None:
        while not self._world.stopping.is_set():
            self._world.wake.clear()
            moments = [time.time() + MAX_IDLE_SECONDS]
            try:
                moments.append(desk.settle_refunds(world=self._world, channels=self._channels))
                moments.append(payouts.settle(world=self._world, channels=self._channels))
                moments.append(self._hand_out())
            except BooksClosed:
                raise
            except Exception:
                self._report()
            self._world.wake.wait(max(min(moments) - time.time(), 0.0))

    def _report(self) -> None:
        """A bug of ours must not end the thread: it is shown, and what is due stays due."""
        traceback.print_exc(file=sys.stderr)
        self._world.stopping.wait(1.0)

    def _hand_out(self) -> float:
        """Gives what is due to the senders; the machine's time of the next one."""
        for notice in self._world.books.list_due_notices(limit=LIST_LIMIT):
            with self._lock:
                if notice.row_id in self._under_way:
                    continue
                if notice.due_real_at > time.time():
                    return notice.due_real_at
                self._under_way.add(notice.row_id)
            self._tasks.put(notice)
        return math.inf

    def _send_tasks(self) -> None:
        while (notice := self._tasks.get()) is not None and not self._world.stopping.is_set():
            try:
                self._try(notice)
            except BooksClosed:
                raise
            except Exception:
                self._report()
            finally:
                with self._lock:
                    self._under_way.discard(notice.row_id)
            self._world.wake.set()

    def _try(self, notice: Notice) -> None:
        channel, books = self._channels[notice.channel], self._world.books
        if notice.tries == 0:
            for mode in notice.probes:
                deliver(world=self._world, channel=channel, notice=notice, mode=mode)
        delivery = deliver(world=self._world, channel=channel, notice=notice, mode=MODE_GENUINE)
        real_now = time.time()
        state, due_real_at = "DELIVERED", real_now
        if delivery.status is None or not channel.is_accepted(status=delivery.status, body=delivery.body):
            if notice.tries < len(channel.retry_seconds):
                wait = channel.retry_seconds[notice.tries] * self._world.options.notice_retry_scale
                state, due_real_at = "DUE", real_now + wait
            else:
                state = "GIVEN_UP"
        with books.transaction():
            books.record_try(notice=notice, state=state, due_real_at=due_real_at)
            books.release_overtaken(row_id=notice.row_id, real_now=real_now)


def deliver(*, world: World, channel: Channel, notice: Notice, mode: str) -> Delivery:
    """One message, sent now and recorded; never raises for what the network or the merchant does."""
    message = channel.compose(notice=notice, mode=mode)
    sent_real_at = time.time()
    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy of the machine is not between a provider and a merchant
            answer = session.request(
                message.method,
                message.url,
                data=message.body,
                headers=dict(message.headers),
                timeout=world.options.notice_timeout_seconds,
                allow_redirects=False,
            )
            delivery = Delivery(status=answer.status_code, body=answer.text[:KEPT_BODY_LENGTH])
    except requests.RequestException as error:
        delivery = Delivery(status=None, body=f"{type(error).__name__}: {error}"[:KEPT_BODY_LENGTH])
    world.books.record_delivery(
        notice=notice, mode=mode, status=delivery.status, body=delivery.body, sent_real_at=sent_real_at
    )
    return delivery
