"""Short messages (短信): a port. What stands behind it is a setting; the tables keep what was sent, and to whom masked.

settings.SHORT_MESSAGES: "outbox" shows the text in the admin (development and tests only), or the https address of the
company's own message service, which gets `{"id", "phone", "text"}` signed as callbacks to business backends are.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json

import requests
import structlog
from django.conf import settings

from foundation import crypto
from foundation.errors import Busy
from identity.models import MESSAGE_COLUMN, ShortMessage

logger = structlog.get_logger("identity")

OUTBOX = "outbox"
TIMEOUT_SECONDS = (2, 5)


def send(*, phone: str, text: str, purpose: str, now: dt.datetime) -> None:
    """Hands a message over. Raises Busy when the service did not take it; the caller may ask for another code then."""
    row = ShortMessage.objects.create(
        phone_masked=f"{phone[:3]}****{phone[-4:]}",
        purpose=purpose[:32],
        text=crypto.encrypt(text, column=MESSAGE_COLUMN) if settings.SHORT_MESSAGES == OUTBOX else "",
        created_at=now,
    )
    if settings.SHORT_MESSAGES == OUTBOX:
        ShortMessage.objects.filter(pk=row.pk).update(state=ShortMessage.State.SHOWN)
        return
    body = json.dumps({"id": str(row.pk), "phone": phone, "text": text}, ensure_ascii=False).encode()
    signature = hmac.new(settings.SHORT_MESSAGES_SECRET.encode(), body, hashlib.sha256).hexdigest()
    try:
        answer = requests.post(
            settings.SHORT_MESSAGES,
            data=body,
            headers={"Content-Type": "application/json", "X-Pay-Signature": signature},
            timeout=TIMEOUT_SECONDS,
            allow_redirects=False,
        )
        is_taken = answer.ok
    except requests.RequestException as error:
        logger.warning("short message service does not answer", error=type(error).__name__)
        is_taken = False
    state = ShortMessage.State.SENT if is_taken else ShortMessage.State.FAILED
    ShortMessage.objects.filter(pk=row.pk).update(state=state)
    if not is_taken:
        raise Busy({"reason": "short messages cannot be sent now"}, retry_after_seconds=10)


def purge(*, before: dt.datetime) -> int:
    """Deletes messages made before that moment; returns how many."""
    return ShortMessage.objects.filter(created_at__lt=before).delete()[0]
