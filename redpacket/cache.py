"""Redis as a ticket dispenser: hands out share numbers, remembers who took one. Never the truth.

Keys of one packet share the hash slot `{<packet id>}` and end KEEP_SECONDS after the packet's expiry:

    rp:{id}:meta     hash   state, enterprise, expires_ms, drop_ms (when all of the keys end)
    rp:{id}:list     list   "<share_no>:<amount_fen>" of the free shares, in the stored (shuffled) order
    rp:{id}:taken    hash   employee id → "<share_no>:<amount_fen>"
    rp:{id}:pending  zset   employee id → ms when he took a share whose claim is not known to be committed
    rp:{id}:members  set    employee ids that may grab: the receiver, or the group as it was when the keys were built
    rp:{id}:build    string who builds the keys now; ends after BUILD_LOCK_SECONDS

`admit` is the one script of a grab. A wrong list is harmless: the database refuses what is not free. Without `meta` the
answer is MISSING and the keys are built again from the database. Every function may raise redis.RedisError.
"""

from __future__ import annotations

import datetime as dt
import functools
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from foundation import redis

KEEP_SECONDS = 3600
"""A repeated click within an hour after the expiry is still answered without the database."""
BUILD_LOCK_SECONDS = 5
"""Building 10 000 shares takes well under a second; a dead builder is replaced after this."""


class Code(StrEnum):
    """What `admit` answers."""

    TAKEN = "TAKEN"  # a share is reserved for him: claim it in the database (again, when an earlier try is open)
    ALREADY = "ALREADY"  # his claim is committed: the same share again
    EMPTY = "EMPTY"
    EXPIRED = "EXPIRED"
    NOT_OPEN = "NOT_OPEN"
    FORBIDDEN = "FORBIDDEN"  # not the receiver, not in the group
    FOREIGN = "FOREIGN"  # another enterprise's packet: he must not learn that it exists
    MISSING = "MISSING"  # Redis does not know the packet


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """A share as Redis knows it."""

    share_no: int
    amount_fen: int

    def text(self) -> str:
        return f"{self.share_no}:{self.amount_fen}"

    @staticmethod
    def parse(text: str) -> Ticket:
        share_no, amount_fen = text.split(":")
        return Ticket(share_no=int(share_no), amount_fen=int(amount_fen))


@dataclass(frozen=True, kw_only=True)
class Admission:
    """Answer of `admit`; `ticket` only with TAKEN and ALREADY."""

    code: Code
    ticket: Ticket | None = None


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What is put into Redis for one packet, read from the database."""

    packet_id: str
    state: str
    enterprise_id: int
    expires_at: dt.datetime
    free: Sequence[Ticket]
    taken: Mapping[int, Ticket]
    members: Iterable[int]


# KEYS meta list taken pending members; ARGV employee, enterprise, token (reserved for validator tokens: the check of
# token and sequence belongs before everything else in this script; an empty text means "none asked for").
_ADMIT = """
local meta = redis.call('HMGET', KEYS[1], 'state', 'enterprise', 'expires_ms', 'drop_ms')
if not meta[1] then return {'MISSING'} end
if meta[2] ~= ARGV[2] then return {'FOREIGN'} end
if redis.call('SISMEMBER', KEYS[5], ARGV[1]) == 0 then return {'FORBIDDEN'} end
local mine = redis.call('HGET', KEYS[3], ARGV[1])
if mine then
  if redis.call('ZSCORE', KEYS[4], ARGV[1]) then return {'TAKEN', mine} end
  return {'ALREADY', mine}
end
if meta[1] == 'EXHAUSTED' then return {'EMPTY'} end
if meta[1] == 'EXPIRED' then return {'EXPIRED'} end
if meta[1] ~= 'OPEN' then return {'NOT_OPEN'} end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if now_ms >= tonumber(meta[3]) then return {'EXPIRED'} end
local ticket = redis.call('LPOP', KEYS[2])
if not ticket then return {'EMPTY'} end
redis.call('HSET', KEYS[3], ARGV[1], ticket)
redis.call('ZADD', KEYS[4], now_ms, ARGV[1])
redis.call('PEXPIREAT', KEYS[3], meta[4])
redis.call('PEXPIREAT', KEYS[4], meta[4])
return {'TAKEN', ticket}
"""

# ARGV employee, the ticket that the database says is his. Another one that he held meanwhile goes back to the list.
_CONFIRM = """
local drop_ms = redis.call('HGET', KEYS[1], 'drop_ms')
if not drop_ms then return 0 end
local held = redis.call('HGET', KEYS[3], ARGV[1])
local was_pending = redis.call('ZREM', KEYS[4], ARGV[1])
if held and held ~= ARGV[2] and was_pending == 1 then
  redis.call('RPUSH', KEYS[2], held)
  redis.call('PEXPIREAT', KEYS[2], drop_ms)
end
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
redis.call('PEXPIREAT', KEYS[3], drop_ms)
return 1
"""

# ARGV employee, ticket, "1" to put it back on the list. Only an unconfirmed ticket that is still his moves.
_RELEASE = """
local drop_ms = redis.call('HGET', KEYS[1], 'drop_ms')
if not drop_ms then return 0 end
if redis.call('HGET', KEYS[3], ARGV[1]) ~= ARGV[2] then return 0 end
if redis.call('ZREM', KEYS[4], ARGV[1]) == 0 then return 0 end
redis.call('HDEL', KEYS[3], ARGV[1])
if ARGV[3] == '1' then
  redis.call('RPUSH', KEYS[2], ARGV[2])
  redis.call('PEXPIREAT', KEYS[2], drop_ms)
end
return 1
"""

_MARK = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[1])
return 1
"""

_UNLOCK = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


@functools.lru_cache(maxsize=16)
def _script(text: str) -> Any:
    return redis.client().register_script(text)


def _key(packet_id: str, name: str) -> str:
    return f"rp:{{{packet_id}}}:{name}"


def keys_of(packet_id: str) -> list[str]:
    """The packet's keys in the order in which the scripts take them."""
    return [_key(packet_id, name) for name in ("meta", "list", "taken", "pending", "members")]


def admit(*, packet_id: str, employee_id: int, enterprise_id: int, token: str = "") -> Admission:
    """Asks for a share: one script, one round trip.

    The same employee gets the same share again: as TAKEN until `confirm`, then as ALREADY, also after the expiry.
    `token` is reserved and not looked at yet.
    """
    answer = _script(_ADMIT)(keys=keys_of(packet_id), args=[employee_id, enterprise_id, token], client=redis.client())
    return Admission(code=Code(answer[0]), ticket=Ticket.parse(answer[1]) if len(answer) > 1 else None)


def confirm(*, packet_id: str, employee_id: int, ticket: Ticket) -> None:
    """The claim of `ticket` is committed. Another share that was reserved for him meanwhile becomes free again."""
    _script(_CONFIRM)(keys=keys_of(packet_id), args=[employee_id, ticket.text()], client=redis.client())


def give_back(*, packet_id: str, employee_id: int, ticket: Ticket) -> bool:
    """Returns an unconfirmed share to the end of the list. False when he no longer holds it."""
    return _release(packet_id, employee_id, ticket, "1")


def discard(*, packet_id: str, employee_id: int, ticket: Ticket) -> bool:
    """Forgets an unconfirmed share that the database gave to somebody else. False when he no longer holds it."""
    return _release(packet_id, employee_id, ticket, "0")


def _release(packet_id: str, employee_id: int, ticket: Ticket, back: str) -> bool:
    arguments = [employee_id, ticket.text(), back]
    return bool(_script(_RELEASE)(keys=keys_of(packet_id), args=arguments, client=redis.client()))


def mark(*, packet_id: str, state: str) -> None:
    """Sets the packet's state where Redis knows the packet, so that late grabs are refused without the database."""
    _script(_MARK)(keys=[_key(packet_id, "meta")], args=[state], client=redis.client())


def is_published(*, packet_id: str) -> bool:
    """True when Redis knows the packet."""
    return bool(redis.client().exists(_key(packet_id, "meta")))


def forget(*, packet_id: str) -> None:
    """Removes the packet's keys; the next grab builds them again from the database."""
    redis.client().delete(*keys_of(packet_id))


def lock_build(*, packet_id: str) -> str | None:
    """Becomes the one builder of the packet's keys: a token for `unlock_build`, None when another one builds."""
    token = secrets.token_hex(8)
    is_mine = redis.client().set(_key(packet_id, "build"), token, nx=True, ex=BUILD_LOCK_SECONDS)
    return token if is_mine else None


def unlock_build(*, packet_id: str, token: str) -> None:
    """Ends the building, unless the lock ran out and is another builder's now."""
    _script(_UNLOCK)(keys=[_key(packet_id, "build")], args=[token], client=redis.client())


def publish(*, contents: Contents, now: dt.datetime) -> None:
    """Replaces all keys of a packet in one MULTI/EXEC."""
    meta, free, taken, pending, members = keys_of(contents.packet_id)
    drop_at = max(contents.expires_at, now) + dt.timedelta(seconds=KEEP_SECONDS)
    drop_ms = _milliseconds(drop_at)
    pipeline = redis.client().pipeline(transaction=True)
    pipeline.delete(meta, free, taken, pending, members)
    pipeline.hset(
        meta,
        mapping={
            "state": contents.state,
            "enterprise": contents.enterprise_id,
            "expires_ms": _milliseconds(contents.expires_at),
            "drop_ms": drop_ms,
        },
    )
    if contents.free:
        pipeline.rpush(free, *(ticket.text() for ticket in contents.free))
    if contents.taken:
        pipeline.hset(taken, mapping={str(who): ticket.text() for who, ticket in contents.taken.items()})
    people = list(contents.members)
    if people:
        pipeline.sadd(members, *people)
    for key in (meta, free, taken, members):
        pipeline.pexpireat(key, drop_ms)
    pipeline.execute()


def list_pending(*, packet_ids: Sequence[str], older_than: dt.datetime) -> list[tuple[str, int, Ticket]]:
    """(packet, employee, share) of reservations made before `older_than` and not confirmed."""
    pipeline = redis.client().pipeline(transaction=False)
    for packet_id in packet_ids:
        pipeline.zrangebyscore(_key(packet_id, "pending"), 0, f"({_milliseconds(older_than)}")
    waiting = [
        (packet_id, employee)
        for packet_id, employees in zip(packet_ids, pipeline.execute(), strict=True)
        for employee in employees
    ]
    for packet_id, employee in waiting:
        pipeline.hget(_key(packet_id, "taken"), employee)
    return [
        (packet_id, int(employee), Ticket.parse(text))
        for (packet_id, employee), text in zip(waiting, pipeline.execute(), strict=True)
        if text is not None
    ]


def clock() -> dt.datetime:
    """The Redis server's clock, by which `pending` is dated."""
    seconds, microseconds = redis.client().time()
    return dt.datetime.fromtimestamp(seconds, dt.UTC) + dt.timedelta(microseconds=microseconds)


def _milliseconds(moment: dt.datetime) -> int:
    return int(moment.timestamp() * 1000)
