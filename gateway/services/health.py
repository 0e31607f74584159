"""How well a channel answers, and the breaker that keeps new payments away from one that does not.

Closed: all goes on, outcomes are counted. Open: too many of the last minute's calls had no usable answer; nothing new
is prepared for OPEN_MS. Half-open: PROBES new payments in OPEN_MS; the next error, of whatever call, opens it again,
PROBES good answers close it. Only new work is refused: queries, closes and refunds always go, and are evidence, too.
Redis away: closed, nothing counted.

Redis: hash `gateway:health:{<channel>}`, TTL KEY_TTL_MS. Fields `state` ("", "open", "half"), `since` (ms), `started`
and `good` (probes); of each slice of SLICE_MS calls, errors and summed milliseconds: `c:<n>`, `e:<n>`, `l:<n>`.
Source: design `faults.md` 4 (provider: time-out, 5xx, slow).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import structlog
from redis.exceptions import RedisError

from foundation import redis as shared_redis
from foundation.errors import Busy

logger = structlog.get_logger("gateway")

SLICE_MS = 5_000
SLICES = 12
"""The window is one minute, forgotten by slices of five seconds."""
MIN_CALLS = 20
"""Fewer calls in the window say nothing: one slow evening must not close a channel."""
ERROR_PERCENT = 50
OPEN_MS = 30_000
PROBES = 3
KEY_TTL_MS = 10 * 60_000
REDIS_PAUSE_SECONDS = 5.0
"""After a failure Redis is left alone for this long: its time-out would come on top of every call."""


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class ChannelUnhealthy(Busy):
    """The channel has not been answering; it is tried again by itself after `retry_after_seconds`."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """`calls`, `errors` and `mean_ms` of the last minute."""

    state: State
    calls: int = 0
    errors: int = 0
    mean_ms: int = 0


_SUM = """
local function sum(key, first)
  local calls, errors, ms = 0, 0, 0
  local old = {}
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local kind, slice = string.match(all[i], '^([cel]):(%d+)$')
    if kind and tonumber(slice) < first then
      old[#old + 1] = all[i]
    elseif kind == 'c' then calls = calls + tonumber(all[i + 1])
    elseif kind == 'e' then errors = errors + tonumber(all[i + 1])
    elseif kind == 'l' then ms = ms + tonumber(all[i + 1]) end
  end
  return calls, errors, ms, old
end
"""

_RECORD = (
    _SUM
    + """
local key = KEYS[1]
local now, is_error, ms = tonumber(ARGV[1]), ARGV[2] == '1', tonumber(ARGV[3])
local slice_ms, slices, min_calls, percent = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local probes, ttl = tonumber(ARGV[8]), tonumber(ARGV[9])
local slice = math.floor(now / slice_ms)
redis.call('HINCRBY', key, 'c:' .. slice, 1)
if is_error then redis.call('HINCRBY', key, 'e:' .. slice, 1) end
redis.call('HINCRBY', key, 'l:' .. slice, ms)
redis.call('PEXPIRE', key, ttl)
local calls, errors, total, old = sum(key, slice - slices + 1)
if #old > 0 then redis.call('HDEL', key, unpack(old)) end
local state = redis.call('HGET', key, 'state') or ''
if state == 'half' then
  if is_error then
    redis.call('HSET', key, 'state', 'open', 'since', now)
    return 'opened'
  end
  if redis.call('HINCRBY', key, 'good', 1) >= probes then
    redis.call('DEL', key)
    return 'closed'
  end
elseif state == '' and calls >= min_calls and errors * 100 >= percent * calls then
  redis.call('HSET', key, 'state', 'open', 'since', now)
  return 'opened'
end
return ''
"""
)

_ADMIT = """
local key = KEYS[1]
local now, open_ms, probes = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local state = redis.call('HGET', key, 'state') or ''
if state == '' then return {1, 0} end
local since = tonumber(redis.call('HGET', key, 'since'))
if state == 'open' and now - since < open_ms then return {0, open_ms - (now - since)} end
if state == 'open' or now - since >= open_ms then
  redis.call('HSET', key, 'state', 'half', 'since', now, 'started', 1, 'good', 0)
  return {1, 0}
end
if redis.call('HINCRBY', key, 'started', 1) <= probes then return {1, 0} end
return {0, open_ms - (now - since)}
"""

_LOOK = (
    _SUM
    + """
local calls, errors, ms = sum(KEYS[1], math.floor(tonumber(ARGV[1]) / tonumber(ARGV[2])) - tonumber(ARGV[3]) + 1)
local since = redis.call('HGET', KEYS[1], 'since') or '0'
local started = redis.call('HGET', KEYS[1], 'started') or '0'
return {redis.call('HGET', KEYS[1], 'state') or '', since, started, calls, errors, ms}
"""
)

_away_until = 0.0


def admit(*, channel: str, now_ms: int) -> None:
    """Lets new work through, or raises ChannelUnhealthy: the breaker is open, or half-open with its probes spent."""
    answer = _ask(_ADMIT, channel, now_ms, OPEN_MS, PROBES)
    if answer is None:
        return
    is_admitted, wait_ms = (int(part) for part in answer)
    if not is_admitted:
        seconds = min(max(-(-wait_ms // 1000), 1), 60)
        details = {"channel": channel, "reason": "channel_unhealthy"}
        raise ChannelUnhealthy(details, retry_after_seconds=seconds)


def record(*, channel: str, is_error: bool, milliseconds: int, now_ms: int) -> bool:
    """Counts one call; True when the breaker opened by it. A no of the provider is no error: it answered."""
    args = (int(is_error), milliseconds, SLICE_MS, SLICES, MIN_CALLS, ERROR_PERCENT, PROBES, KEY_TTL_MS)
    return _ask(_RECORD, channel, now_ms, *args) == "opened"


def look(*, channel: str, now_ms: int) -> Health:
    """The present state, changing nothing. OPEN also while half-open with its probes spent."""
    answer = _ask(_LOOK, channel, now_ms, SLICE_MS, SLICES)
    if answer is None:
        return Health(state=State.CLOSED)
    calls, errors, total_ms = (int(part) for part in answer[3:])
    return Health(
        state=_state(answer[0], is_over=now_ms - int(answer[1]) >= OPEN_MS, started=int(answer[2])),
        calls=calls,
        errors=errors,
        mean_ms=total_ms // calls if calls else 0,
    )


def _state(stored: str, *, is_over: bool, started: int) -> State:
    if not stored:
        return State.CLOSED
    if is_over:
        return State.HALF_OPEN
    return State.HALF_OPEN if stored == "half" and started < PROBES else State.OPEN


def reset(*, channel: str) -> None:
    """Closes the breaker and forgets the window: staff know better. Raises RedisError."""
    shared_redis.client().delete(_key(channel))


def _key(channel: str) -> str:
    return f"gateway:health:{{{channel}}}"


def _ask(script: str, channel: str, *args: int) -> Any:
    """The script's answer, or None while Redis is away."""
    global _away_until
    if time.monotonic() < _away_until:
        return None
    try:
        return shared_redis.client().eval(script, 1, _key(channel), *[str(arg) for arg in args])
    except RedisError:
        _away_until = time.monotonic() + REDIS_PAUSE_SECONDS
        logger.exception("channel health unknown, Redis is away: the breaker counts as closed", channel=channel)
        return None
