"""Around every call to a provider: a bounded number at a time, measured, judged for the breaker, and written down.

Nothing here may spoil the answer of a call that was made: money may have moved. What cannot be counted is logged.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from prometheus_client import Counter, Gauge, Histogram

from foundation import alerts, clock
from foundation.db import roles
from foundation.errors import Busy
from gateway.models import CallRecord
from gateway.ports import CODE_NO_CLOSE, CODE_NOT_FOUND, Bill, BillState, Outcome, Result
from gateway.services import health

logger = structlog.get_logger("gateway")

Answer = TypeVar("Answer", Result, Bill)

MAX_CALLS_AT_ONCE = 16
"""To one channel from one process: a provider that hangs must leave threads for the others.

settings.GATEWAY_MAX_CALLS_AT_ONCE changes it.
"""
SLOT_WAIT_SECONDS = 2.0
MESSAGE_MAX_LENGTH = 200
ERROR = "ERROR"
"""Outcome of a call whose adapter raised."""
ANSWERED_CODES = frozenset({CODE_NOT_FOUND, CODE_NO_CLOSE})
"""UNKNOWN for the payment, and yet an answer: the channel works."""

CALLS = Counter(
    "paysys_gateway_calls", "Calls to payment providers by their outcome.", ["channel", "operation", "outcome"]
)
CALL_SECONDS = Histogram(
    "paysys_gateway_call_seconds",
    "Duration of calls to payment providers.",
    ["channel", "operation"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30),
)
IN_FLIGHT = Gauge(
    "paysys_gateway_calls_in_flight", "Calls to payment providers under way.", ["channel"], multiprocess_mode="livesum"
)


class TooManyCalls(Busy):
    """All slots to this channel stayed taken; nothing was sent."""


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """One finished call."""

    channel: str
    operation: str
    number: str
    outcome: str
    code: str
    message: str
    seconds: float
    is_evidence: bool


def observed(
    *, channel: str, operation: str, number: str, call: Callable[[], Answer], is_evidence: bool = True
) -> Answer:
    """Makes the call and returns its answer. `number`: ours, or the day of a bill. `is_evidence`: it reaches the
    provider, so its outcome says how well the channel works.

    Raises TooManyCalls before anything is sent, and whatever the adapter raises.
    """
    with _slot(channel):
        started = time.perf_counter()
        try:
            answer = call()
        except Exception as error:
            name = type(error).__name__
            _note(
                _Seen(
                    channel=channel,
                    operation=operation,
                    number=number,
                    outcome=ERROR,
                    code=name,
                    message="",
                    seconds=time.perf_counter() - started,
                    is_evidence=is_evidence,
                )
            )
            raise
        seconds = time.perf_counter() - started
    _note(
        _Seen(
            channel=channel,
            operation=operation,
            number=number,
            outcome=(answer.state if isinstance(answer, Bill) else answer.outcome).value,
            code=answer.code,
            message=answer.message,
            seconds=seconds,
            is_evidence=is_evidence,
        )
    )
    return answer


_slots: dict[str, threading.BoundedSemaphore] = {}
_slots_lock = threading.Lock()


@contextlib.contextmanager
def _slot(channel: str) -> Iterator[None]:
    with _slots_lock:
        if channel not in _slots:
            most = getattr(settings, "GATEWAY_MAX_CALLS_AT_ONCE", MAX_CALLS_AT_ONCE)
            _slots[channel] = threading.BoundedSemaphore(most)
        slots = _slots[channel]
    if not slots.acquire(timeout=SLOT_WAIT_SECONDS):
        CALLS.labels(channel, "any", "REFUSED").inc()
        raise TooManyCalls({"channel": channel, "reason": "too_many_calls"}, retry_after_seconds=3)
    try:
        with IN_FLIGHT.labels(channel).track_inprogress():
            yield
    finally:
        slots.release()


def is_error(*, outcome: str, code: str) -> bool:
    """Whether the channel failed to answer; a no is an answer."""
    undecided = outcome in (Outcome.UNKNOWN.value, BillState.UNKNOWN.value, ERROR)
    return undecided and code not in ANSWERED_CODES


def _note(seen: _Seen) -> None:
    for work in (_measure, _judge, _write):
        try:
            work(seen)
        except SoftTimeLimitExceeded:
            raise
        except Exception:  # the call was made and its answer counts; that it was not noted is all that is lost
            logger.exception("call not noted", channel=seen.channel, operation=seen.operation, number=seen.number)


def _measure(seen: _Seen) -> None:
    CALLS.labels(seen.channel, seen.operation, seen.outcome).inc()
    CALL_SECONDS.labels(seen.channel, seen.operation).observe(seen.seconds)


def _judge(seen: _Seen) -> None:
    if not seen.is_evidence:
        return
    opened = health.record(
        channel=seen.channel,
        is_error=is_error(outcome=seen.outcome, code=seen.code),
        milliseconds=int(seen.seconds * 1000),
        now_ms=clock.epoch_ms(),
    )
    if opened:
        alerts.raise_alert(
            code="channel_breaker_opened",
            subject=seen.channel,
            severity="WARNING",
            message="Too many calls to this channel have no usable answer: nothing new is sent to it for a while.",
            context={"channel": seen.channel, "last_code": seen.code[:64]},
        )


def _write(seen: _Seen) -> None:
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    CallRecord.objects.using(roles.alias_for("default")).create(
        channel=seen.channel[:16],
        operation=seen.operation,
        number=_ascii(seen.number)[:64],
        outcome=seen.outcome[:16],
        code=_ascii(seen.code)[:64],
        message=masked(seen.message),
        milliseconds=int(seen.seconds * 1000),
        request_id=_ascii(str(request_id))[:64],
        called_at=clock.now(),
    )


def _ascii(text: str) -> str:
    return "".join(character if " " <= character <= "~" else "?" for character in text)


_NAMED = re.compile(
    r"(?i)(姓名|户名|收款人|付款人|持卡人|证件号码?|密码|密钥|name|openid|password|secret|token|key|sign)"
    r"(\"?\s*[:：=]\s*\"?)[^\s,，;；。\"&}]+"
)
_MAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_LONG_TOKEN = re.compile(r"[A-Za-z0-9_\-+/=]{20,}")
_DIGITS = re.compile(r"(?<!\d)\d(?:[ -]?\d){6,}[Xx]?")


def masked(message: str) -> str:
    """A provider's words without what may be a person or a secret, MESSAGE_MAX_LENGTH characters at most.

    Named values, addresses, runs of seven digits (phones, cards, identity numbers) and long tokens (openids, keys).
    """
    text = _NAMED.sub(r"\1\2***", message)
    for pattern in (_MAIL, _LONG_TOKEN, _DIGITS):
        text = pattern.sub("***", text)
    return text[:MESSAGE_MAX_LENGTH]


RECORDS_KEPT = dt.timedelta(days=90)
PURGE_BATCH = 1000
"""Rows of one DELETE: short locks."""
PURGE_BATCHES_AT_ONCE = 50


def purge(*, now: dt.datetime) -> int:
    """Deletes call records older than RECORDS_KEPT, by batches of primary keys; how many. Safe to repeat."""
    rows = CallRecord.objects.using(roles.alias_for("default"))
    deleted = 0
    for _ in range(PURGE_BATCHES_AT_ONCE):
        old = rows.filter(called_at__lt=now - RECORDS_KEPT).order_by("called_at")
        keys = list(old.values_list("pk", flat=True)[:PURGE_BATCH])
        if not keys:
            break
        deleted += rows.filter(pk__in=keys).delete()[0]
    return deleted
