"""Bounded admission (流量控制): so many at a time, some wait a little, all others are refused at once.

A `Limiter` is the requirements' blocking queue (基于阻塞队列 queue 的 offer): who comes takes a slot or waits for one,
first come first served, until his patience ends; who leaves hands his slot to the first who waits. Four rules keep
refusals fast and those admitted fast as well:

* no more than `waiting` wait. A quarter as many as there are slots wait a quarter of a request's time;
* nobody waits `wait_seconds` or longer;
* nobody begins to wait when all slots have been taken for that long: what hangs would only make him wait in vain;
* nobody begins to wait whose turn will not come in half that time, as requests went lately. What comes in waves (all
  slots taken in the same instant, of a provider that needs a second) would else keep a roomful waiting for nothing.

Knows neither Django nor Redis. A process has a handful of limiters by name (`named`); what they saw is in `Figures`.
Source: the first requirements text, 流量控制; design `performance.md`.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from foundation.errors import Busy

Wrapped = TypeVar("Wrapped", bound=Callable[..., Any])

SECONDS_KEPT = 300
"""How many seconds of measurements a limiter keeps: the sliding window of the advice."""
HELD_WEIGHT = 0.1
"""Of the newest request in the moving mean of how long slots are held."""
TURN_SHARE = 0.5
"""Of the patience, within which his turn must be expected: what is expected is a mean, and half come later."""
MAX_ENDPOINTS = 300
"""Names of endpoints that are counted one by one; the rest counts as OTHER."""
OTHER = "other"


class Full(Busy):
    """503 `busy`: no slot came free. `details` names the limiter."""

    def __init__(self, name: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__({"limiter": name}, retry_after_seconds=retry_after_seconds)


@dataclass(frozen=True, kw_only=True)
class Size:
    """Of one limiter: slots (1 or more), how many may wait for one (0 or more), and how long (0: not at all)."""

    slots: int
    waiting: int
    wait_seconds: float

    def __post_init__(self) -> None:
        if self.slots < 1 or self.waiting < 0 or self.wait_seconds < 0:
            raise ValueError("a limiter has a slot or more, and no negative patience")


@dataclass(frozen=True, kw_only=True)
class Second:
    """What happened within one second of the clock that the limiter was given.

    `busy_seconds` is the time that slots were taken, all together: over one second it is the mean concurrency.
    `held_seconds` is how long those that left had held theirs.
    """

    at: int
    finished: int = 0
    held_seconds: float = 0.0
    busy_seconds: float = 0.0
    waited: int = 0
    refused: int = 0
    most_in_use: int = 0


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Since the process started."""

    admitted: int
    waited: int
    refused: int
    held_seconds: float
    in_use: int


@dataclass(frozen=True, kw_only=True)
class Figures:
    """A limiter as it stands. `seconds`: those in which something happened, oldest first, the running one left out."""

    name: str
    size: Size
    in_use: int
    waiting: int
    admitted: int
    waited: int
    refused: int
    waited_seconds: float
    seconds: tuple[Second, ...]
    endpoints: dict[str, Endpoint]


class _Waiter:
    __slots__ = ("gate", "is_given")

    def __init__(self) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.is_given = False


class _Count:
    __slots__ = ("admitted", "held_seconds", "in_use", "refused", "waited")

    def __init__(self) -> None:
        self.admitted = self.waited = self.refused = self.in_use = 0
        self.held_seconds = 0.0


class _Now:
    """The running second."""

    __slots__ = ("at", "busy_seconds", "finished", "held_seconds", "most_in_use", "refused", "waited")

    def __init__(self, at: int, in_use: int) -> None:
        self.at, self.most_in_use = at, in_use
        self.finished = self.waited = self.refused = 0
        self.held_seconds = self.busy_seconds = 0.0

    def closed(self) -> Second:
        return Second(**{name: getattr(self, name) for name in self.__slots__})


class Limiter:
    """Safe for threads. `clock` is monotonic, in seconds; the waiting itself is in real time."""

    def __init__(self, *, name: str, size: Size, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.original = self._size = size
        self._clock = clock
        self._lock = threading.Lock()
        self._queue: deque[_Waiter] = deque()
        self._in_use = 0
        self._admitted = self._waited = self._refused = 0
        self._waited_seconds = 0.0
        self._begins: deque[float] = deque()
        self._held = 0.0
        self._moved_at = self._taken_at = clock()
        self._now = _Now(int(self._moved_at), 0)
        self._seconds: deque[Second] = deque(maxlen=SECONDS_KEPT)
        self._endpoints: dict[str, _Count] = {}

    @property
    def size(self) -> Size:
        return self._size

    def resize(self, size: Size) -> None:
        """Takes effect at once: more slots go to who waits; fewer are reached as slots come free."""
        with self._lock:
            self._size = size
            self._tick()
            while self._queue and self._in_use < size.slots:
                self._in_use += 1
                self._give()

    @contextmanager
    def slot(self, endpoint: str = OTHER) -> Iterator[None]:
        """Holds a slot inside the block. Raises Full."""
        began = self.enter(endpoint)
        try:
            yield
        finally:
            self.leave(endpoint, began)

    def enter(self, endpoint: str = OTHER) -> float:
        """Takes a slot; the answer is for `leave`, which must follow, whatever happens. Raises Full."""
        came = self._clock()
        with self._lock:
            self._tick()
            count = self._count(endpoint)
            if self._in_use < self._size.slots and not self._queue:
                self._in_use += 1
                self._admit(count, came)
                return came
            if not self._may_wait(came):
                raise self._refuse(count)
            waiter = _Waiter()
            self._queue.append(waiter)
            patience = self._size.wait_seconds
        waiter.gate.acquire(timeout=patience)
        began = self._clock()
        with self._lock:
            self._tick()
            if not waiter.is_given:  # asked under the lock: the slot may have come with the last moment
                self._queue.remove(waiter)
                raise self._refuse(count)
            count.waited += 1
            self._waited += 1
            self._now.waited += 1
            self._waited_seconds += began - came
            self._admit(count, began)
        return began

    def leave(self, endpoint: str, began: float) -> None:
        """Gives the slot back, to the first who waits."""
        with self._lock:
            self._tick()
            held = self._moved_at - began
            self._now.finished += 1
            self._now.held_seconds += held
            count = self._count(endpoint)
            count.in_use -= 1
            count.held_seconds += held
            self._held += (held - self._held) * (HELD_WEIGHT if self._held else 1)
            self._begins.remove(began)
            if self._queue and self._in_use <= self._size.slots:
                self._give()
            else:
                self._in_use -= 1

    def figures(self) -> Figures:
        """What was seen until now."""
        with self._lock:
            self._tick()
            return Figures(
                name=self.name,
                size=self._size,
                in_use=self._in_use,
                waiting=len(self._queue),
                admitted=self._admitted,
                waited=self._waited,
                refused=self._refused,
                waited_seconds=self._waited_seconds,
                seconds=tuple(self._seconds),
                endpoints={
                    name: Endpoint(**{part: getattr(count, part) for part in _Count.__slots__})
                    for name, count in self._endpoints.items()
                },
            )

    # All below is called with the lock held.

    def _may_wait(self, came: float) -> bool:
        """Slots that were all taken long ago are stuck: somebody would have left them by now.

        His turn comes when the requests of those before him, and one more, have ended: the oldest ones, each as long
        after its beginning as slots are held in the mean. Nobody knows before a first one has ended.
        """
        patience = self._size.wait_seconds
        before = len(self._queue)
        if before >= self._size.waiting or came - self._taken_at >= patience:
            return False
        if not self._held or before >= len(self._begins):
            return True
        return self._begins[before] + self._held - came < patience * TURN_SHARE

    def _admit(self, count: _Count, began: float) -> None:
        self._begins.append(began)
        count.admitted += 1
        count.in_use += 1
        self._taken_at = self._moved_at
        self._admitted += 1
        self._now.most_in_use = max(self._now.most_in_use, self._in_use)

    def _refuse(self, count: _Count) -> Full:
        count.refused += 1
        self._refused += 1
        self._now.refused += 1
        return Full(self.name)

    def _give(self) -> None:
        waiter = self._queue.popleft()
        waiter.is_given = True
        waiter.gate.release()

    def _count(self, endpoint: str) -> _Count:
        found = self._endpoints.get(endpoint)
        if found is None:
            if len(self._endpoints) >= MAX_ENDPOINTS and endpoint != OTHER:
                return self._count(OTHER)
            found = self._endpoints[endpoint] = _Count()
        return found

    def _tick(self) -> None:
        """Spreads the time since the last event over the seconds it lasted, and closes those that are over."""
        moment = self._clock()
        while int(moment) > self._now.at:
            end = self._now.at + 1
            self._now.busy_seconds += (end - self._moved_at) * self._in_use
            if self._now.busy_seconds or self._now.finished or self._now.refused:
                self._seconds.append(self._now.closed())
            is_idle = self._in_use == 0 or int(moment) - end > SECONDS_KEPT
            self._moved_at = moment if is_idle else end
            self._now = _Now(int(self._moved_at), self._in_use)
        self._now.busy_seconds += (moment - self._moved_at) * self._in_use
        self._moved_at = moment


# --- The limiters of this process ------------------------------------------------------------------------------------

_named: dict[str, Limiter] = {}
_naming = threading.Lock()


def named(name: str, default: Size) -> Limiter:
    """The process's limiter of that name, made with `default` when it is asked for the first time."""
    found = _named.get(name)
    if found is None:
        with _naming:
            found = _named.setdefault(name, Limiter(name=name, size=default))
    return found


def all_named() -> dict[str, Limiter]:
    """Name → limiter of this process."""
    with _naming:
        return dict(_named)


def limited(name: str, size: Size) -> Callable[[Wrapped], Wrapped]:
    """Decorator (流控注解): calls of the function, in this process, hold a slot of the limiter `name`. Raises Full.

    Several functions may share a limiter; its size is that of the first, and what staff set in the admin.
    """

    def decorate(function: Wrapped) -> Wrapped:
        own = named(name, size)
        endpoint = function.__qualname__

        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with own.slot(endpoint):
                return function(*args, **kwargs)

        return cast(Wrapped, inside)

    return decorate
