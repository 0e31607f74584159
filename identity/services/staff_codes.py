"""One-time codes of staff (动态验证码): an authenticator (TOTP, RFC 6238) and recovery codes, each good for one use.

What decides is here: under the lock of the device's row, in constant time, and wrong codes make the next try wait 1, 2,
4, 8 … seconds. The secret of an authenticator is closed (identity.models.Authenticator); of recovery codes, in
django-otp's table, only a keyed hash is kept.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import secrets
from base64 import b32encode
from typing import ClassVar
from urllib.parse import quote, urlencode

import segno
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django_otp.models import Device
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken

from foundation.db import roles, transactions
from foundation.errors import Rejected
from identity.models import Authenticator, StaffProfile

AUTHENTICATOR, RECOVERY = "authenticator", "recovery"
STEP_SECONDS, DIGITS = 30, 6
"""What every authenticator app makes when it is told nothing else."""
TOLERANCE_STEPS = 1
"""Before and behind the present one, for clocks that are not right and people who type slowly."""
RECOVERY_CODES = 10
RECOVERY_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
RECOVERY_LENGTH = 12
"""59 bits; nobody mistakes one of these letters for another."""
DIGEST_LENGTH = 16
"""Hex digits that django-otp's column has room for."""
MAX_WAIT_SECONDS = 3600
"""So that somebody else's wrong tries shut nobody out for longer than an hour."""


class StaffCodeInvalid(Rejected):
    """422: missing, wrong, expired or used before."""

    code: ClassVar[str] = "staff_code_invalid"
    http_status: ClassVar[int] = 422
    message_en: ClassVar[str] = "The one-time code is wrong or was used already. Wait for the next one."
    message_zh: ClassVar[str] = "动态验证码错误或已使用，请等待下一个验证码。"


class StaffCodeThrottled(Rejected):
    """429: too many wrong codes; `details` say for how many seconds."""

    code: ClassVar[str] = "staff_code_throttled"
    http_status: ClassVar[int] = 429
    message_en: ClassVar[str] = "Too many wrong codes. Try again a little later."
    message_zh: ClassVar[str] = "验证码错误次数过多，请稍后再试。"


class NoStaffDevice(Rejected):
    """409: this member of staff has no authenticator yet."""

    code: ClassVar[str] = "staff_device_missing"
    http_status: ClassVar[int] = 409
    message_en: ClassVar[str] = 'Set up one-time codes first (page "One-time codes").'
    message_zh: ClassVar[str] = "请先在动态验证码页面完成绑定。"


class AlreadyEnrolled(Rejected):
    """409: there is a confirmed authenticator; a new one comes after a superuser removed it."""

    code: ClassVar[str] = "staff_device_present"
    http_status: ClassVar[int] = 409
    message_en: ClassVar[str] = "You have an authenticator already."
    message_zh: ClassVar[str] = "您已绑定动态验证码。"


def has_device(*, user_id: int) -> bool:
    """Whether this member of staff has a confirmed authenticator."""
    return Authenticator.objects.filter(user_id=user_id, confirmed=True).exists()


def verify(*, user: AbstractBaseUser, code: str, now: dt.datetime) -> str:
    """Uses a code up and returns the name of the device that made it, such as "totp:7" or "recovery:3".

    Raises NoStaffDevice, StaffCodeThrottled, StaffCodeInvalid. Commits on its own, so that a wrong try counts whatever
    the caller does next. Locks the device's row: of two requests with one code, one passes.
    """
    return name_of(accept(user=user, code=code, now=now))


def accept(*, user: AbstractBaseUser, code: str, now: dt.datetime) -> Device:
    """As `verify`, and returns the device itself: what a log-in's session is bound to."""
    typed = "".join(code.split()).replace("-", "").lower()
    is_recovery = not (typed.isascii() and typed.isdigit())

    def work() -> Device | Rejected:
        kind = StaticDevice if is_recovery and typed else Authenticator
        rows = kind.objects.select_for_update().filter(user_id=user.pk, confirmed=True)
        device = rows.order_by("id").first()
        if device is None:
            return StaffCodeInvalid() if has_device(user_id=user.pk) else NoStaffDevice()
        wait = _seconds_to_wait(device, now)
        if wait > 0:
            return StaffCodeThrottled({"retry_after_seconds": wait})
        is_right = _use_recovery(device, typed) if is_recovery and typed else _use_totp(device, typed, now)
        device.throttling_failure_count = 0 if is_right else device.throttling_failure_count + 1
        device.throttling_failure_timestamp = None if is_right else now
        device.last_used_at = now if is_right else device.last_used_at
        device.save()
        return device if is_right else StaffCodeInvalid()

    answer = transactions.run(work, using=roles.alias_for("default"))
    if isinstance(answer, Rejected):
        raise answer
    return answer


def name_of(device: Device) -> str:
    """How a decision names the device."""
    return f"{'totp' if isinstance(device, Authenticator) else RECOVERY}:{device.pk}"


def _seconds_to_wait(device: Authenticator | StaticDevice, now: dt.datetime) -> int:
    failures, last = device.throttling_failure_count, device.throttling_failure_timestamp
    if not failures or last is None:
        return 0
    pause = min(2 ** min(failures - 1, 12), MAX_WAIT_SECONDS)
    left = (last + dt.timedelta(seconds=pause) - now).total_seconds()
    return max(0, int(left) + (left > int(left)))


def _use_totp(device: Authenticator, typed: str, now: dt.datetime) -> bool:
    """Compares with every step within the tolerance, whichever fits; a step is never used again, nor an older one."""
    found = None
    given, secret = typed.encode(), device.bin_key
    for offset in range(-TOLERANCE_STEPS, TOLERANCE_STEPS + 1):
        maker = TOTP(secret, step=STEP_SECONDS, digits=DIGITS, drift=offset)
        maker.time = now.timestamp()
        wanted = f"{maker.token():0{DIGITS}d}".encode()
        if hmac.compare_digest(wanted, given) and maker.t() > device.last_t:
            found = maker.t() if found is None else found
    if found is None:
        return False
    device.last_t = found
    return True


def _use_recovery(device: StaticDevice, typed: str) -> bool:
    return StaticToken.objects.filter(device=device, token=_digest(device, typed)).delete()[0] > 0


def _digest(device: StaticDevice, recovery_code: str) -> str:
    key = b"staff recovery " + settings.SECRET_KEY.encode()
    text = f"{device.user_id}:{recovery_code}".encode()
    return hmac.new(key, text, hashlib.sha256).hexdigest()[:DIGEST_LENGTH]


def start(*, user: AbstractBaseUser) -> Authenticator:
    """The authenticator that waits for its first code, made when there is none. Raises AlreadyEnrolled."""

    def work() -> Authenticator:
        get_user_model()._default_manager.select_for_update().get(pk=user.pk)
        if has_device(user_id=user.pk):
            raise AlreadyEnrolled()
        waiting = Authenticator.objects.filter(user_id=user.pk, confirmed=False).order_by("id").first()
        return waiting or Authenticator.objects.create(user_id=user.pk, name=AUTHENTICATOR, confirmed=False)

    return transactions.run(work, using=roles.alias_for("default"))


def confirm(*, user: AbstractBaseUser, code: str, now: dt.datetime) -> tuple[Authenticator, list[str]]:
    """The first code proves that the authenticator works; the recovery codes come back this once.

    Raises AlreadyEnrolled, StaffCodeThrottled, StaffCodeInvalid. Locks the user's row, then the device's.
    """
    waiting = start(user=user)

    def work() -> tuple[Authenticator, list[str]] | Rejected:
        get_user_model()._default_manager.select_for_update().get(pk=user.pk)
        device = Authenticator.objects.select_for_update().get(pk=waiting.pk)
        if device.confirmed:
            return AlreadyEnrolled()
        wait = _seconds_to_wait(device, now)
        if wait > 0:
            return StaffCodeThrottled({"retry_after_seconds": wait})
        if not _use_totp(device, "".join(code.split()), now):
            device.throttling_failure_count += 1
            device.throttling_failure_timestamp = now
            device.save()
            return StaffCodeInvalid()
        device.confirmed = True
        device.throttling_failure_count, device.throttling_failure_timestamp = 0, None
        device.last_used_at = now
        device.save()
        return device, _new_recovery_codes(user)

    answer = transactions.run(work, using=roles.alias_for("default"))
    if isinstance(answer, Rejected):
        raise answer
    return answer


def _new_recovery_codes(user: AbstractBaseUser) -> list[str]:
    StaticDevice.objects.filter(user_id=user.pk).delete()
    device = StaticDevice.objects.create(user_id=user.pk, name=RECOVERY, confirmed=True)
    codes = ["".join(secrets.choice(RECOVERY_ALPHABET) for _ in range(RECOVERY_LENGTH)) for _ in range(RECOVERY_CODES)]
    StaticToken.objects.bulk_create(StaticToken(device=device, token=_digest(device, code)) for code in codes)
    return codes


def provide(*, user: AbstractBaseUser) -> Authenticator:
    """The user's confirmed authenticator, made without a first code when there is none: for demo worlds and tests."""
    made = Authenticator.objects.filter(user_id=user.pk, confirmed=True).order_by("id").first()
    return made or Authenticator.objects.create(user_id=user.pk, name=AUTHENTICATOR, confirmed=True)


def secret_of(device: Authenticator) -> str:
    """The secret in base32, as an authenticator takes it by hand."""
    return b32encode(device.bin_key).decode()


def qr_of(device: Authenticator) -> str:
    """The QR of the secret as an SVG element; loads nothing from anywhere."""
    issuer = settings.STAFF_CODES_ISSUER.replace(":", "")
    # The form that authenticators read: github.com/google/google-authenticator/wiki/Key-Uri-Format
    wanted = {"secret": secret_of(device), "issuer": issuer, "digits": DIGITS, "period": STEP_SECONDS}
    address = f"otpauth://totp/{quote(f'{issuer}:{device.user.get_username()}')}?{urlencode(wanted, quote_via=quote)}"
    made = segno.make(address, micro=False, error="m")
    return str(made.svg_inline(scale=5, border=4, dark="#000", light="#fff"))


def own_employee_id(*, user_id: int) -> int | None:
    """Which employee a member of staff is himself; None when he is none."""
    return StaffProfile.objects.filter(pk=user_id).values_list("employee_id", flat=True).first()
