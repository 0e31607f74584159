"""Validator tokens (验证系统): issued to the caller's push channel, consumed by one call each number.

A token is a label (kind, enterprise, employee, time, counter, as the requirements have it), which could be guessed, and
128 random bits, which cannot. Redis keeps its SHA-256 only (identity/validator_lua.py); the token itself leaves on the
push channel (foundation.push, where it lies encrypted) and is in no answer and no log. Redis away means Busy: a call
that moves money is refused, never let through.
"""

from __future__ import annotations

import datetime as dt
import functools
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar
from urllib.parse import quote

from django.conf import settings
from redis.exceptions import RedisError

from foundation import clock, ids, push, redis
from foundation.errors import Busy, PermissionDenied, RateLimited
from identity import selectors
from identity.models import Employee
from identity.validator_lua import CONSUME_LUA, MAX_TOKEN_LENGTH, Verdict, token_key

SECRET_BYTES = 16
"""128 bits."""
EVENT = "validator.token"
RETRY_AFTER_SECONDS = 2
COUNTER_KEY = "validator:counter"
"""string  how many tokens were ever issued; its last four digits are part of the label"""
ISSUED_SECONDS = 60
"""Over which settings.VALIDATOR_TOKENS_PER_MINUTE counts, from the first token on."""


class Kind(StrEnum):
    SESSION = "session"
    ONCE = "once"


class TokenInvalid(PermissionDenied):
    """Unknown, expired, spent, somebody else's, or not sent at all; which one is not said."""

    code: ClassVar[str] = "token_invalid"
    message_en: ClassVar[str] = "The validator token is not valid. Ask for a new one."
    message_zh: ClassVar[str] = "验证令牌无效，请重新获取。"


class SequenceUsed(PermissionDenied):
    """The number served another request, or lies outside of the window above the lowest unused one."""

    code: ClassVar[str] = "sequence_used"
    message_en: ClassVar[str] = "This sequence number is used or out of range. Use the next one."
    message_zh: ClassVar[str] = "序列号已使用或超出范围，请使用下一个序列号。"


@dataclass(frozen=True, kw_only=True)
class PresentedToken:
    """What a request showed: enough to consume a number, here or inside another script. Not the token itself."""

    key: str
    employee_id: int
    sequence: str
    fingerprint: str


# KEYS token, issued; ARGV employee, kind, first number, life in ms, how many a minute (0: any), that minute in seconds.
# Answers when the token ends, by the clock of the Redis server; or minus the ms to wait, when there were too many.
_ISSUE = """
if tonumber(ARGV[5]) > 0 then
  local count = tonumber(redis.call('GET', KEYS[2]) or '0')
  if count >= tonumber(ARGV[5]) then return string.format('%.0f', -math.max(1, redis.call('PTTL', KEYS[2]))) end
  if redis.call('INCR', KEYS[2]) == 1 then redis.call('EXPIRE', KEYS[2], ARGV[6]) end
end
local time = redis.call('TIME')
local expires_ms = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[4])
redis.call('HSET', KEYS[1], 'employee', ARGV[1], 'kind', ARGV[2], 'expires_ms', string.format('%.0f', expires_ms),
           'lowest', ARGV[3], 'window', '0')
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return string.format('%.0f', expires_ms)
"""

# KEYS token; ARGV employee, sequence, fingerprint.
_CONSUME = (
    CONSUME_LUA
    + """
local time = redis.call('TIME')
return consume_token(KEYS[1], ARGV[1], ARGV[2], ARGV[3], time[1] * 1000 + math.floor(time[2] / 1000))
"""
)


@functools.lru_cache(maxsize=2)
def _script(text: str) -> Any:
    return redis.client().register_script(text)


def issue(*, employee: Employee, kind: Kind, now: dt.datetime) -> str:
    """Sends the employee a new token on his push channel; returns the request id that the event will carry.

    A repeat issues another token; unused ones end by themselves. Raises RateLimited after
    settings.VALIDATOR_TOKENS_PER_MINUTE of one employee, and Busy when Redis is away: then nothing was sent, or a token
    that nobody will see.
    """
    request_id = ids.new_id()
    first = 10_000 + secrets.randbelow(90_000)
    seconds = settings.VALIDATOR_SESSION_SECONDS if kind is Kind.SESSION else settings.VALIDATOR_ONCE_SECONDS
    try:
        client = redis.client()
        token = f"{_label(employee, kind, now, int(client.incr(COUNTER_KEY)))}.{secrets.token_urlsafe(SECRET_BYTES)}"
        limit = settings.VALIDATOR_TOKENS_PER_MINUTE
        expires_ms = int(
            _script(_ISSUE)(
                keys=[token_key(token), issued_key(employee_id=employee.pk)],
                args=[employee.pk, kind.value, first, seconds * 1000, limit, ISSUED_SECONDS],
                client=client,
            )
        )
        if expires_ms < 0:
            raise RateLimited({"retry_after_seconds": -(expires_ms // 1000)})
        expires_at = dt.datetime.fromtimestamp(expires_ms / 1000, clock.BUSINESS_ZONE)
        push.publish(
            owner=selectors.push_owner(employee_id=employee.pk),
            event=EVENT,
            data={
                "request_id": request_id,
                "kind": kind.value,
                "token": token,
                "sequence": first,
                "expires_at": expires_at.isoformat(),
            },
        )
    except RedisError as error:
        raise _away() from error
    return request_id


def issued_key(*, employee_id: int) -> str:
    """Where Redis counts the tokens that an employee was given: an integer, ends ISSUED_SECONDS after the first."""
    return f"validator:issued:{employee_id}"


def consume(*, presented: PresentedToken) -> None:
    """Uses up the number, atomically; exactly one of any number of callers at once is let through.

    The same request again (same number and fingerprint) passes: its idempotency key answers it. Raises TokenInvalid,
    SequenceUsed, and Busy when Redis is away. A refusal changes nothing.
    """
    try:
        verdict = _script(_CONSUME)(
            keys=[presented.key],
            args=[presented.employee_id, presented.sequence, presented.fingerprint],
            client=redis.client(),
        )
    except RedisError as error:
        raise _away() from error
    refuse(Verdict(verdict))


def refuse(verdict: Verdict) -> None:
    """Raises the error of a refusing verdict; OK and REPEAT pass."""
    match verdict:
        case Verdict.TOKEN_INVALID:
            raise TokenInvalid()
        case Verdict.SEQUENCE_USED:
            raise SequenceUsed()


def is_required() -> bool:
    """Whether a call without token is refused ("required"); with "when_sent" only what is sent is checked."""
    return bool(settings.VALIDATOR != "when_sent")


def _away() -> Busy:
    return Busy({"reason": "the validator is away"}, retry_after_seconds=RETRY_AFTER_SECONDS)


def _label(employee: Employee, kind: Kind, now: dt.datetime, count: int) -> str:
    """`session-acme-42-20261122100000123-0007`."""
    moment = now.astimezone(clock.BUSINESS_ZONE)
    time = f"{moment:%Y%m%d%H%M%S}{moment.microsecond // 1000:03d}"
    label = f"{kind.value}-{quote(employee.enterprise.code, safe='')}-{employee.pk}-{time}-{count % 10_000:04d}"
    assert len(label) < MAX_TOKEN_LENGTH - 2 * SECRET_BYTES
    return label
