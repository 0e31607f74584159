"""Idempotency keys: same caller, key and body give the first answer again.

Source: design api.md (Idempotency) and faults.md 3.3. The record carries the order number issued for the request, so
that a repeat after a crash goes on with the same order; money's own unique references stand behind it for ever.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from django.db import IntegrityError, transaction
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from foundation import clock
from foundation.api import errors
from foundation.db import roles
from foundation.errors import InvalidRequest, PaysysError, Rejected
from foundation.models import IdempotencyRecord

LOCK_SECONDS = 60
"""Longer than any request of ours takes (provider time-outs are 13 s, repeated once)."""
REPLAYED_HEADER = "Idempotent-Replayed"
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,62}[\x21-\x7e])?")
_NOT_SAVED = frozenset({401, 403, 409, 429})
"""Refusals of the moment: the same request may be right a second later."""
_KINDS_OF_CALLERS: Mapping[str, str] = {"identity.employee": "employee", "payments.businessapp": "business"}
"""Whoever may set request.user, by model. One that is missing here fails loudly: two kinds must never share a label."""


class KeyRequired(InvalidRequest):
    code = "idempotency_key_required"
    message_en = "Send an Idempotency-Key header of 1 to 64 printable characters."
    message_zh = "请提供 Idempotency-Key 请求头（1 至 64 个可见字符）。"


class KeyReused(Rejected):
    code = "idempotency_key_reused"
    http_status = 422
    message_en = "This Idempotency-Key was used for another request."
    message_zh = "该 Idempotency-Key 已用于其他请求。"


class RequestInProgress(Rejected):
    code = "request_in_progress"
    http_status = 409
    message_en = "The same request is still being carried out."
    message_zh = "相同请求正在处理中。"


def respond(
    *, request: Request, endpoint: str, reserve: Callable[[], str], work: Callable[[str], Response]
) -> Response:
    """Answers `request` once per caller and key.

    `reserve` issues the order number of a new request; `work(number)` does it and must be safe to repeat with the same
    number. Saved: successes and refusals by a rule. Not saved: 5xx, Busy and refusals of the moment. Raises
    KeyRequired, KeyReused, RequestInProgress, and whatever `work` raises.
    """
    key = request.headers.get("Idempotency-Key", "")
    if not _KEY.fullmatch(key):
        raise KeyRequired()
    record, is_first = _begin(
        caller=caller_of(request.user), key=key, endpoint=endpoint, request=request, reserve=reserve
    )
    if not is_first:
        return _replay(record, request)
    try:
        response = work(record.reserved_no)
    except PaysysError as error:
        if not isinstance(error, Rejected) or error.http_status in _NOT_SAVED:
            _release(record)
            raise
        _save(record, status=error.http_status, content=errors.body(error, request._request))
        raise
    except BaseException:
        _release(record)
        raise
    _save(record, status=response.status_code, content=response.data)
    return response


def caller_of(user: Any) -> str:
    """`employee:<pk>` or `business:<pk>`: the owner of an idempotency key. KeyError for any other kind of user."""
    return f"{_KINDS_OF_CALLERS[user._meta.label_lower]}:{user.pk}"


def _begin(
    *, caller: str, key: str, endpoint: str, request: Request, reserve: Callable[[], str]
) -> tuple[IdempotencyRecord, bool]:
    """The record and whether this call is to do the work."""
    now = clock.now()
    rows = IdempotencyRecord.objects.using(_alias())
    body_hash = _fingerprint(endpoint, request)
    record = rows.filter(caller=caller, key=key).first()
    if record is None:
        record = IdempotencyRecord(
            caller=caller,
            key=key,
            endpoint=endpoint,
            body_hash=body_hash,
            reserved_no=reserve(),
            locked_until=now + dt.timedelta(seconds=LOCK_SECONDS),
            created_at=now,
        )
        try:
            with transaction.atomic(using=_alias()):
                record.save(force_insert=True, using=_alias())
        except IntegrityError:  # the same request at the same moment: it was first
            record = rows.get(caller=caller, key=key)
        else:
            return record, True
    if record.body_hash != body_hash:
        raise KeyReused()
    if record.state == IdempotencyRecord.State.DONE:
        return record, False
    until = now + dt.timedelta(seconds=LOCK_SECONDS)
    running = rows.filter(pk=record.pk, state=IdempotencyRecord.State.RUNNING, locked_until__lte=now)
    if not running.update(locked_until=until):
        raise RequestInProgress()
    record.locked_until = until
    return record, True


def _fingerprint(endpoint: str, request: Request) -> str:
    """Of the parsed body: white space and field order do not make another request."""
    canonical = json.dumps(request.data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(f"{endpoint}\n{canonical}".encode()).hexdigest()


def _replay(record: IdempotencyRecord, request: Request) -> Response:
    """The first answer; in a refusal the request id is this request's own, as in its header and its log lines."""
    status, content = record.response_status, record.response_body
    if isinstance(content, dict) and "error" in content:
        content = {"error": {**content["error"], "request_id": getattr(request._request, "request_id", "")}}
    return Response(content, status=status, headers={REPLAYED_HEADER: "true"})


def _save(record: IdempotencyRecord, *, status: int, content: Any) -> None:
    """The first answer stays, also when a slow holder comes back after its lock ran out."""
    rows = IdempotencyRecord.objects.using(_alias()).filter(pk=record.pk, state=IdempotencyRecord.State.RUNNING)
    rows.update(
        state=IdempotencyRecord.State.DONE,
        response_status=status,
        response_body=json.loads(JSONRenderer().render(content)),
    )


def _release(record: IdempotencyRecord) -> None:
    """The next repeat may go on at once, with the same number. Somebody else's lock stays."""
    IdempotencyRecord.objects.using(_alias()).filter(
        pk=record.pk, state=IdempotencyRecord.State.RUNNING, locked_until=record.locked_until
    ).update(locked_until=clock.now())


def _alias() -> str:
    return roles.alias_for("default")
