"""Figures of all web processes' limiters, gathered through Redis, for the admin's page.

    {limiter}:processes          zset    process name → time of its last word (seconds); those of OLD_SECONDS ago go
    {limiter}:process:<name>     string  JSON of `Process`; ends OLD_SECONDS after it was written

A process says what it sees about once a second. Nothing is decided by it: without Redis the page shows nothing.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from foundation import limiter, limiter_advice, redis
from foundation.limiter import Endpoint, Figures, Second, Size
from foundation.limiter_advice import Advice, Verdict

OLD_SECONDS = 10
RECENT_SECONDS = 10
"""Rates are of this time."""
MAX_ENDPOINTS_TOLD = 40

_PROCESSES = "{limiter}:processes"
_PROCESS = "{limiter}:process:"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One limiter of one process. Rates are of the last RECENT_SECONDS, counts since the process started."""

    name: str
    size: Size
    in_use: int
    waiting: int
    admitted: int
    waited: int
    refused: int
    waited_seconds: float
    per_second: float
    refused_per_second: float
    latency_ms: float
    concurrency: float
    advice: Advice
    endpoints: dict[str, Endpoint]


@dataclass(frozen=True, kw_only=True)
class Process:
    """What one process said last; `at` is its own clock, in seconds since 1970."""

    name: str
    at: float
    limiters: tuple[Seen, ...]


def own_name() -> str:
    """ "host:pid:…" of this process."""
    global _own
    if not _own.startswith(f"{socket.gethostname()}:{os.getpid()}:"):
        _own = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
    return _own


_own = ""


def take(*, at: float, moment: float) -> Process:
    """What this process's limiters say. `at`: wall clock; `moment`: the limiters' own (monotonic) clock."""
    found = [_seen(own.figures(), moment) for _, own in sorted(limiter.all_named().items())]
    return Process(name=own_name(), at=at, limiters=tuple(found))


def _seen(figures: Figures, moment: float) -> Seen:
    recent = [second for second in figures.seconds if second.at > moment - 1 - RECENT_SECONDS]
    finished = sum(second.finished for second in recent)
    busiest = sorted(figures.endpoints.items(), key=lambda pair: -(pair[1].admitted + pair[1].refused))
    return Seen(
        name=figures.name,
        size=figures.size,
        in_use=figures.in_use,
        waiting=figures.waiting,
        admitted=figures.admitted,
        waited=figures.waited,
        refused=figures.refused,
        waited_seconds=figures.waited_seconds,
        per_second=finished / RECENT_SECONDS,
        refused_per_second=_sum(recent, "refused") / RECENT_SECONDS,
        latency_ms=1000 * _sum(recent, "held_seconds") / finished if finished else 0.0,
        concurrency=_sum(recent, "busy_seconds") / RECENT_SECONDS,
        advice=limiter_advice.advise(seconds=figures.seconds, slots=figures.size.slots),
        endpoints=dict(busiest[:MAX_ENDPOINTS_TOLD]),
    )


def _sum(seconds: Sequence[Second], name: str) -> float:
    return sum((getattr(second, name) for second in seconds), 0.0)


def publish(process: Process) -> None:
    """Tells the others. Raises redis.RedisError; the next word is a second away."""
    pipe = redis.client().pipeline(transaction=False)
    pipe.set(_PROCESS + process.name, json.dumps(dataclasses.asdict(process)), ex=OLD_SECONDS)
    pipe.zadd(_PROCESSES, {process.name: process.at})
    pipe.zremrangebyscore(_PROCESSES, "-inf", process.at - OLD_SECONDS)
    pipe.execute()


def gather() -> list[Process]:
    """What all processes said last, by name. Raises redis.RedisError."""
    names: Any = redis.client().zrange(_PROCESSES, 0, -1)
    if not names:
        return []
    texts: Any = redis.client().mget([_PROCESS + name for name in names])
    return sorted((_process(json.loads(text)) for text in texts if text), key=lambda process: process.name)


def _process(told: dict[str, Any]) -> Process:
    return Process(name=told["name"], at=told["at"], limiters=tuple(_told(seen) for seen in told["limiters"]))


def _told(seen: dict[str, Any]) -> Seen:
    advice = Advice(**{**seen["advice"], "verdict": Verdict(seen["advice"]["verdict"])})
    endpoints = {name: Endpoint(**values) for name, values in seen["endpoints"].items()}
    return Seen(**{**seen, "size": Size(**seen["size"]), "advice": advice, "endpoints": endpoints})
