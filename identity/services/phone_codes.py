"""Phone codes (短信验证码): six digits by short message, one use, a few minutes, a few tries, not too many at once.

Only a keyed hash of a code is kept. The code goes to the phone that the employer registered, never into an answer.
"""

from __future__ import annotations

import datetime as dt
import hmac
import secrets
from enum import StrEnum
from typing import ClassVar

from django.db.models import F

from foundation import crypto
from foundation.db import roles, transactions
from foundation.errors import RateLimited, Rejected
from identity.models import PHONE_COLUMN, Employee, PhoneCode
from identity.services import short_messages

LIFE = dt.timedelta(minutes=5)
MAX_TRIES = 5
PAUSE = dt.timedelta(seconds=60)
MAX_IN_AN_HOUR = 5
CODE_COLUMN = "identity_phonecode.digest"


class Purpose(StrEnum):
    """What a code may be used for; one for another purpose is worthless."""

    BANK_CARD = "bank_card"
    WECHAT_ACCOUNT = "wechat_account"


class PhoneMissing(Rejected):
    """422: nobody registered a phone for this employee."""

    code: ClassVar[str] = "phone_missing"
    http_status: ClassVar[int] = 422
    message_en: ClassVar[str] = "No phone number is registered for you."
    message_zh: ClassVar[str] = "您尚未登记手机号。"


class PhoneCodeInvalid(Rejected):
    """422: wrong, expired, used, or tried too often."""

    code: ClassVar[str] = "phone_code_invalid"
    http_status: ClassVar[int] = 422
    message_en: ClassVar[str] = "The code is wrong or no longer valid."
    message_zh: ClassVar[str] = "验证码错误或已失效。"


def send(*, employee_id: int, purpose: Purpose, now: dt.datetime) -> None:
    """Sends a fresh code to the employee's phone; an older one of the same purpose is worthless from then on.

    Raises PhoneMissing, RateLimited. Locks the employee's row, so that two requests count as two. The message is sent
    after the commit.
    """
    code = f"{secrets.randbelow(10**6):06d}"

    def work() -> str:
        employee = Employee.objects.select_for_update().get(pk=employee_id)
        if not employee.phone:
            raise PhoneMissing()
        _check_rate(employee_id, purpose, now)
        PhoneCode.objects.filter(employee_id=employee_id, purpose=purpose, used_at=None).update(used_at=now)
        PhoneCode.objects.create(
            employee_id=employee_id,
            purpose=purpose,
            digest=_digests(employee_id, purpose, code)[0],
            created_at=now,
            expires_at=now + LIFE,
        )
        return crypto.decrypt(employee.phone, column=PHONE_COLUMN)

    phone = transactions.run(work, using=roles.alias_for("default"))
    minutes = int(LIFE.total_seconds() // 60)
    short_messages.send(
        phone=phone, text=f"验证码 {code}，{minutes} 分钟内有效，请勿告知他人。", purpose=purpose, now=now
    )


def use(*, employee_id: int, purpose: Purpose, code: str, now: dt.datetime) -> None:
    """Consumes the code; PhoneCodeInvalid for anything but the present one. A wrong one counts as a try.

    One statement decides, so that two requests with the same code cannot both pass. Commits on its own.
    """
    rows = PhoneCode.objects.filter(
        employee_id=employee_id, purpose=purpose, used_at=None, expires_at__gt=now, tries__lt=MAX_TRIES
    )
    present = rows.order_by("-id").first()
    if present is None:
        raise PhoneCodeInvalid()
    if not any(hmac.compare_digest(present.digest, digest) for digest in _digests(employee_id, purpose, code)):
        rows.filter(pk=present.pk).update(tries=F("tries") + 1)
        raise PhoneCodeInvalid()
    if not rows.filter(pk=present.pk).update(used_at=now):
        raise PhoneCodeInvalid()


def purge(*, before: dt.datetime) -> int:
    """Deletes codes made before that moment; returns how many."""
    return PhoneCode.objects.filter(created_at__lt=before).delete()[0]


def _check_rate(employee_id: int, purpose: Purpose, now: dt.datetime) -> None:
    recent = PhoneCode.objects.filter(employee_id=employee_id, created_at__gt=now - dt.timedelta(hours=1))
    last = recent.filter(purpose=purpose).order_by("-created_at").first()
    if last is not None and now - last.created_at < PAUSE:
        raise RateLimited({"retry_after_seconds": int((last.created_at + PAUSE - now).total_seconds()) + 1})
    if recent.count() >= MAX_IN_AN_HOUR:
        raise RateLimited({"retry_after_seconds": 3600})


def _digests(employee_id: int, purpose: str, code: str) -> list[str]:
    """Keyed: a million codes are hashed in a second, but not without our key. One of each key, the written first."""
    return crypto.blind_indexes(f"{employee_id}:{purpose}:{code}", column=CODE_COLUMN)
