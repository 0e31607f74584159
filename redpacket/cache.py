"""Redis as a ticket dispenser: hands out share numbers, remembers who took one. Never the truth.

Keys of one packet share the hash slot `{<packet id>}` and end KEEP_SECONDS after the packet's expiry:

    rp:{id}:meta     hash   state, enterprise, expires_ms, drop_ms (when all of the keys end)
    rp:{id}:list     list   "<share_no>:<amount_fen>" of the free shares, in the stored (shuffled) order
    rp:{id}:taken    hash   employee id → "<share_no>:<amount_fen>"
    rp:{id}:pending  zset   employee id → ms when he took a share whose claim is not known to be committed
    rp:{id}:members  set    employee ids that may grab: the receiver, or the group as it was when the keys were built
    rp:{id}:build    string who builds the keys now; ends after BUILD_LOCK_SECONDS
    rp:{id}:rate     string microseconds: the moment up to which the packet's calls are paid for; ends then

Keys of a person, for `admit` alone:

    rp:rate:<employee>   string as `rate`, for all of his grabs
    identity:session:<digest>  who holds the access token of that SHA-256 (identity/services/login.py)

`admit` is the one script of a grab: who calls, how often, his validator token, the packet, his share. It reads keys of
several slots, so it needs one master (alone or with Sentinels), not a Redis Cluster. A wrong list is harmless: the
database refuses what is not free. Without `meta` the answer is MISSING and the keys are built again from the database.
Every function may raise redis.RedisError. The scripts go over one connection per thread, past redis-py's pool and
command layer: a call costs the caller a third of the processor time (design `performance.md`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import hiredis
from redis.exceptions import ConnectionError as ConnectionFailed
from redis.exceptions import NoScriptError, ReadOnlyError
from redis.exceptions import TimeoutError as TimedOut

from foundation import door, redis
from identity import validator_lua
from identity.services import login

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
    UNKNOWN = "UNKNOWN"  # Redis does not know the session: the database says whose token it is
    SHUT = "SHUT"  # the door keeps the employee or his address out (foundation.door)
    LIMITED = "LIMITED"  # too many calls of the employee, or on the packet
    TOKEN_INVALID = "TOKEN_INVALID"  # noqa: S105 - the validator's verdict
    SEQUENCE_USED = "SEQUENCE_USED"  # the validator's verdict


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


class PresentedToken(Protocol):
    """A validator token as a request shows it (identity.services.validator.PresentedToken)."""

    @property
    def key(self) -> str: ...

    @property
    def sequence(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Calls a second in the long run, and calls that may come at once; per employee over all packets, and per packet.

    A rate of 0 means no limit.
    """

    employee_per_second: int
    employee_burst: int
    packet_per_second: int
    packet_burst: int

    def arguments(self) -> tuple[int, int, int, int]:
        """For the script: microseconds that one call pays for, calls at once; 0 without a limit."""
        return (
            _interval_us(self.employee_per_second),
            self.employee_burst,
            _interval_us(self.packet_per_second),
            self.packet_burst,
        )


def _interval_us(per_second: int) -> int:
    return 0 if per_second <= 0 else max(1, 1_000_000 // per_second)


@dataclass(frozen=True, kw_only=True)
class Admission:
    """Answer of `admit`; `ticket` only with TAKEN and ALREADY, `wait_seconds` only with LIMITED.

    The ids say who asked; they are 0 with UNKNOWN.
    """

    code: Code
    employee_id: int = 0
    enterprise_id: int = 0
    ticket: Ticket | None = None
    wait_seconds: int = 0


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


# KEYS meta list taken pending members, rate of the packet, session, validator token, the door's blocked callers
# ARGV employee ("" = whose session it is), enterprise, sequence ("" = no validator token is asked for), microseconds of
#      one call and calls at once: of the employee, of the packet (0 = not limited), fingerprint of the request,
#      address ("" = not known)
# The answer begins with code, employee, enterprise. Limits come before everything that costs or moves anything; a call
# that is refused for them pays nothing, so who hammers gets exactly his rate.
_ADMIT = (
    validator_lua.CONSUME_LUA
    + door.IS_SHUT_LUA
    + """
if ARGV[9] ~= '' and is_shut(KEYS[9], 'address:' .. ARGV[9]) then return {'SHUT', '0', '0'} end
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = math.floor(now_us / 1000)
local employee, enterprise = ARGV[1], ARGV[2]
if employee == '' then
  local known = redis.call('GET', KEYS[7])
  if not known then return {'UNKNOWN', '0', '0'} end
  local ends_ms
  employee, enterprise, ends_ms = string.match(known, '^(%d+):(%d+):(%d+)$')
  if not employee or now_ms >= tonumber(ends_ms) then return {'UNKNOWN', '0', '0'} end
end
if is_shut(KEYS[9], 'employee:' .. employee) then return {'SHUT', employee, enterprise} end
local function wait_us(key, interval, burst)
  local paid_until = tonumber(redis.call('GET', key) or 0)
  if paid_until < now_us then paid_until = now_us end
  paid_until = paid_until + interval
  local wait = paid_until - now_us - interval * burst
  if wait > 0 then return wait end
  redis.call('SET', key, string.format('%.0f', paid_until), 'PX', math.ceil((paid_until - now_us) / 1000))
  return 0
end
local wait = 0
if ARGV[4] ~= '0' then wait = wait_us('rp:rate:' .. employee, tonumber(ARGV[4]), tonumber(ARGV[5])) end
if wait == 0 and ARGV[6] ~= '0' then wait = wait_us(KEYS[6], tonumber(ARGV[6]), tonumber(ARGV[7])) end
if wait > 0 then return {'LIMITED', employee, enterprise, string.format('%.0f', math.ceil(wait / 1000000))} end
if ARGV[3] ~= '' then
  local verdict = consume_token(KEYS[8], employee, ARGV[3], ARGV[8], now_ms)
  if verdict ~= 'OK' and verdict ~= 'REPEAT' then return {verdict, employee, enterprise} end
end
local meta = redis.call('HMGET', KEYS[1], 'state', 'enterprise', 'expires_ms', 'drop_ms')
if not meta[1] then return {'MISSING', employee, enterprise} end
if meta[2] ~= enterprise then return {'FOREIGN', employee, enterprise} end
if redis.call('SISMEMBER', KEYS[5], employee) == 0 then return {'FORBIDDEN', employee, enterprise} end
local mine = redis.call('HGET', KEYS[3], employee)
if mine then
  if redis.call('ZSCORE', KEYS[4], employee) then return {'TAKEN', employee, enterprise, mine} end
  return {'ALREADY', employee, enterprise, mine}
end
if meta[1] == 'EXHAUSTED' then return {'EMPTY', employee, enterprise} end
if meta[1] == 'EXPIRED' then return {'EXPIRED', employee, enterprise} end
if meta[1] ~= 'OPEN' then return {'NOT_OPEN', employee, enterprise} end
if now_ms >= tonumber(meta[3]) then return {'EXPIRED', employee, enterprise} end
local ticket = redis.call('LPOP', KEYS[2])
if not ticket then return {'EMPTY', employee, enterprise} end
redis.call('HSET', KEYS[3], employee, ticket)
redis.call('ZADD', KEYS[4], now_ms, employee)
redis.call('PEXPIREAT', KEYS[3], meta[4])
redis.call('PEXPIREAT', KEYS[4], meta[4])
return {'TAKEN', employee, enterprise, ticket}
"""
)

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


class _Script:
    """A script and the name that Redis gives it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - the name that EVALSHA wants

    def command(self, keys: Sequence[str], arguments: Sequence[str | int], *, name: str = "EVALSHA") -> bytes:
        body = self.digest if name == "EVALSHA" else self.text
        words: tuple[Any, ...] = (name, body, len(keys), *keys, *arguments)
        return bytes(hiredis.pack_command(words))


_admit, _confirm, _release_script = _Script(_ADMIT), _Script(_CONFIRM), _Script(_RELEASE)
_mark, _unlock = _Script(_MARK), _Script(_UNLOCK)


class _Line(threading.local):
    """The thread's own connection, of the kind in the shared client's pool: it obeys Sentinels and the breaker."""

    client: Any = None
    connection: Any = None
    process_id: int = 0


_line = _Line()


def _call(calls: Sequence[tuple[_Script, Sequence[str], Sequence[str | int]]]) -> list[Any]:
    """Runs scripts in one round trip.

    Every script of ours is safe to repeat, so a line that was cut while nobody used it (the server was restarted) is
    made once more; a time-out is not waited for twice.
    """
    redis.breaker.admit()
    is_fresh = _connect()
    try:
        return _ask(calls)
    except (ConnectionFailed, ReadOnlyError):
        _line.connection.disconnect()  # after a fail-over the next one goes to the new master
        if is_fresh:
            raise
    _connect()
    return _ask(calls)


def _connect() -> bool:
    """Makes sure that the thread has a connection; True when it was made now.

    Not taken from the pool: it would count every one against its bound and never get it back.
    """
    client = redis.client()
    if _line.client is not client or _line.process_id != os.getpid():
        pool = client.connection_pool
        _line.connection = pool.connection_class(**pool.connection_kwargs)
        _line.client, _line.process_id = client, os.getpid()
    if _line.connection.is_connected:
        return False
    _line.connection.connect()
    return True


def _ask(calls: Sequence[tuple[_Script, Sequence[str], Sequence[str | int]]]) -> list[Any]:
    connection = _line.connection
    connection.send_packed_command(
        [b"".join(script.command(keys, arguments) for script, keys, arguments in calls)], check_health=False
    )
    answers: list[Any] = []
    problem: Exception | None = None
    for script, keys, arguments in calls:
        try:
            answers.append(connection.read_response(disconnect_on_error=True))
        except NoScriptError:
            answers.append((script, keys, arguments))
        except (ConnectionFailed, TimedOut):
            raise
        except Exception as error:  # the other answers must still be read from the line
            problem = error
    if problem is not None:
        raise problem
    for position, answer in enumerate(answers):
        if isinstance(answer, tuple):
            script, keys, arguments = answer
            connection.send_packed_command([script.command(keys, arguments, name="EVAL")], check_health=False)
            # Said aloud: a connection by Sentinels would otherwise keep a line whose answer may still come.
            answers[position] = connection.read_response(disconnect_on_error=True)
    return answers


def _key(packet_id: str, name: str) -> str:
    return f"rp:{{{packet_id}}}:{name}"


def keys_of(packet_id: str) -> list[str]:
    """The packet's keys in the order in which the scripts take them."""
    return [_key(packet_id, name) for name in ("meta", "list", "taken", "pending", "members")]


NO_LIMITS = Rates(employee_per_second=0, employee_burst=0, packet_per_second=0, packet_burst=0)


def admit(
    *,
    packet_id: str,
    employee_id: int = 0,
    enterprise_id: int = 0,
    session: str = "",
    presented: PresentedToken | None = None,
    rates: Rates = NO_LIMITS,
    address: str = "",
) -> Admission:
    """Asks for a share: one script, one round trip.

    The same employee gets the same share again: as TAKEN until `confirm`, then as ALREADY, also after the expiry. Who
    asks is given by his ids, or by `session`, the digest of his access token. `presented` is his validator token, whose
    number is consumed here (the same request again passes); None asks for none. Whom the door keeps out, by himself or
    by the network `address` he asks from, is told SHUT before anything of his is looked at.
    """
    keys = (
        *keys_of(packet_id),
        _key(packet_id, "rate"),
        login.session_key(digest=session),
        presented.key if presented else "",
        door.BLOCKED_KEY,
    )
    who = ("", "") if session else (employee_id, enterprise_id)
    proof = (presented.sequence, presented.fingerprint) if presented else ("", "")
    answer = _call([(_admit, keys, (*who, proof[0], *rates.arguments(), proof[1], address))])[0]
    code = Code(answer[0])
    return Admission(
        code=code,
        employee_id=int(answer[1]),
        enterprise_id=int(answer[2]),
        ticket=Ticket.parse(answer[3]) if code in (Code.TAKEN, Code.ALREADY) else None,
        wait_seconds=int(answer[3]) if code is Code.LIMITED else 0,
    )


def confirm(*, packet_id: str, employee_id: int, ticket: Ticket) -> None:
    """The claim of `ticket` is committed. Another share that was reserved for him meanwhile becomes free again."""
    confirm_all(claims=[(packet_id, employee_id, ticket)])


def confirm_all(*, claims: Sequence[tuple[str, int, Ticket]]) -> None:
    """As `confirm`, for (packet, employee, share) of many in one round trip."""
    if claims:
        _call([(_confirm, keys_of(packet), (employee, ticket.text())) for packet, employee, ticket in claims])


def give_back(*, packet_id: str, employee_id: int, ticket: Ticket) -> bool:
    """Returns an unconfirmed share to the end of the list. False when he no longer holds it."""
    return _release(packet_id, employee_id, ticket, "1")


def discard(*, packet_id: str, employee_id: int, ticket: Ticket) -> bool:
    """Forgets an unconfirmed share that the database gave to somebody else. False when he no longer holds it."""
    return _release(packet_id, employee_id, ticket, "0")


def _release(packet_id: str, employee_id: int, ticket: Ticket, back: str) -> bool:
    return bool(_call([(_release_script, keys_of(packet_id), (employee_id, ticket.text(), back))])[0])


def mark(*, packet_id: str, state: str) -> None:
    """Sets the packet's state where Redis knows the packet, so that late grabs are refused without the database."""
    _call([(_mark, [_key(packet_id, "meta")], [state])])


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
    _call([(_unlock, [_key(packet_id, "build")], [token])])


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
