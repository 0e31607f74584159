"""Early refusal of callers, before they cost a database query: a set of who is kept out, and counters of misdeeds.

A caller is a text such as "employee:12" or "address:203.0.113.7"; what is behind it is the business of who calls. An
app publishes the set (risk does, from its block list); refused requests are counted as strikes, and too many of them
close the door for a while. Redis may forget all of it: nothing here protects money, the rules behind do.

    {door}:blocked         set     callers that are kept out until the app publishes a set without them
    {door}:strikes:CALLER  integer refused requests; ends when the window of the limit "strikes" does
    {door}:closed:CALLER   "1"     the door is closed; ends after settings.DOOR_CLOSED_SECONDS

Source: the second requirements text, 服务可用性 (黑名单的用户过滤，利用 redis 做计数器).
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from django.conf import settings
from redis.exceptions import RedisError

from foundation import limiter_settings, redis
from foundation.limiter_settings import STRIKES

logger = structlog.get_logger("door")

BLOCKED_KEY = "{door}:blocked"
_STRIKES = "{door}:strikes:"
CLOSED_PREFIX = "{door}:closed:"

_ADMIT = """
for index, caller in ipairs(ARGV) do
    if redis.call('SISMEMBER', KEYS[1], caller) == 1 then return {1, index, 0} end
    local left = redis.call('PTTL', KEYS[index + 1])
    if left > 0 then return {2, index, left} end
end
return {0, 0, 0}
"""
_STRIKE = """
local strikes = redis.call('INCR', KEYS[1])
if strikes == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
if strikes > tonumber(ARGV[2]) then
    redis.call('SET', KEYS[2], '1', 'EX', ARGV[3])
    redis.call('DEL', KEYS[1])
    return 1
end
return 0
"""


IS_SHUT_LUA = """
local function is_shut(blocked, caller)
    return redis.call('SISMEMBER', blocked, caller) == 1 or redis.call('EXISTS', '{door}:closed:' .. caller) == 1
end
"""
"""For scripts that must not serve whom the door keeps out: `is_shut(BLOCKED_KEY, caller)`."""


@dataclass(frozen=True, kw_only=True)
class Admission:
    """`is_blocked`: in the published set. `closed_seconds` above 0: too many strikes, come back after that."""

    caller: str = ""
    is_blocked: bool = False
    closed_seconds: int = 0

    @property
    def is_admitted(self) -> bool:
        return not self.is_blocked and not self.closed_seconds


ADMITTED = Admission()


def admit(callers: Sequence[str]) -> Admission:
    """Whether a request of all these callers (1 or more names of one person) may come in; one round trip.

    A Redis that is away admits everybody: the rules behind still refuse.
    """
    try:
        answer: Any = redis.client().eval(
            _ADMIT, 1 + len(callers), BLOCKED_KEY, *(CLOSED_PREFIX + caller for caller in callers), *callers
        )
    except RedisError as error:
        logger.warning("door stands open, Redis is away", error=str(error))
        return ADMITTED
    code, index, left_ms = (int(part) for part in answer)
    if code == 0:
        return ADMITTED
    caller = callers[index - 1]
    return Admission(caller=caller, is_blocked=code == 1, closed_seconds=-(-left_ms // 1000))


def strike(caller: str) -> bool:
    """Counts one refused request; True when that closed the door. Never raises: the refusal itself must go out.

    The limit "strikes" is more than any client of ours causes by mistake in a minute; without one nothing is counted.
    """
    window = limiter_settings.window_of(STRIKES)
    if window is None:
        return False
    seconds: int = settings.DOOR_CLOSED_SECONDS
    try:
        is_closed = redis.client().eval(
            _STRIKE, 2, _STRIKES + caller, CLOSED_PREFIX + caller, window.seconds, window.requests, seconds
        )
    except RedisError as error:
        logger.warning("strike not counted, Redis is away", error=str(error))
        return False
    if is_closed:
        logger.warning("door closed", caller=caller, seconds=seconds)
    return bool(is_closed)


def publish_blocked(callers: Sequence[str]) -> None:
    """Replaces the whole set at once; addresses may be written in any form. Raises redis.RedisError; safe to repeat."""
    callers = [_usual(caller) for caller in callers]
    pipe = redis.client().pipeline(transaction=True)
    pipe.delete(BLOCKED_KEY)
    for start in range(0, len(callers), 1000):
        pipe.sadd(BLOCKED_KEY, *callers[start : start + 1000])
    pipe.execute()


def reopen(caller: str) -> None:
    """Forgets strikes and opens the door again. Raises redis.RedisError."""
    caller = _usual(caller)
    redis.client().delete(_STRIKES + caller, CLOSED_PREFIX + caller)


def _usual(caller: str) -> str:
    """An address in the form in which requests bring it (foundation.api.addresses)."""
    kind, _, text = caller.partition(":")
    if kind == "address":
        with contextlib.suppress(ValueError):  # no address: kept as it is, it meets nobody
            return f"address:{ipaddress.ip_address(text)}"
    return caller
