"""Log-in of employees: opaque tokens that expire, are stored hashed and can be revoked."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db.models import QuerySet

from foundation.errors import NotAuthenticated
from identity.models import AccessToken, Employee

TOKEN_BYTES = 32
"""256 random bits: nobody guesses one, so the plain SHA-256 of it is enough to store."""


class LoginFailed(NotAuthenticated):
    """Enterprise, employee or password is wrong, or the employee is not active; which one is not said.

    The code is that of every 401 of the contract, `not_authenticated`.
    """

    message_en = "Enterprise, employee or password is wrong."
    message_zh = "企业、员工或密码错误。"


@dataclass(frozen=True, kw_only=True)
class IssuedToken:
    """The only moment at which the token itself exists on our side."""

    access_token: str
    expires_at: dt.datetime
    employee: Employee


def log_in(*, enterprise_code: str, employee_code: str, password: str, now: dt.datetime) -> IssuedToken:
    """Issues a token valid for settings.ACCESS_TOKEN_HOURS. Raises LoginFailed.

    An unknown employee costs the same hash as a wrong password, so that time does not tell who exists.
    """
    employee = None
    if enterprise_code.isascii() and employee_code.isascii():  # MariaDB refuses to compare others with our ascii codes
        rows = Employee.objects.select_related("enterprise")
        employee = rows.filter(enterprise__code=enterprise_code, code=employee_code).first()
    if employee is None:
        make_password(password)
        raise LoginFailed()
    if not employee.check_password(password) or not employee.is_active:
        raise LoginFailed()
    token = secrets.token_urlsafe(TOKEN_BYTES)
    expires_at = now + dt.timedelta(hours=settings.ACCESS_TOKEN_HOURS)
    AccessToken.objects.create(digest=digest_of(token), employee=employee, created_at=now, expires_at=expires_at)
    Employee.objects.filter(pk=employee.pk).update(last_login_at=now)
    return IssuedToken(access_token=token, expires_at=expires_at, employee=employee)


def authenticate_token(*, token: str, now: dt.datetime) -> Employee:
    """The employee a token belongs to; NotAuthenticated when it is unknown, expired, revoked or his account is closed.

    One indexed query.
    """
    rows = _valid(now).select_related("employee__enterprise")
    found = rows.filter(digest=digest_of(token)).first()
    if found is None:
        raise NotAuthenticated()
    return found.employee


def list_valid_digests(*, digests: Sequence[str], now: dt.datetime) -> set[str]:
    """Those among the digests whose tokens would still be let in. One query, for what stays open for long."""
    return set(_valid(now).filter(digest__in=digests).values_list("digest", flat=True))


def _valid(now: dt.datetime) -> QuerySet[AccessToken]:
    return AccessToken.objects.filter(expires_at__gt=now, revoked_at=None, employee__is_active=True)


def revoke_tokens(*, employee_id: int, now: dt.datetime) -> int:
    """Ends every log-in of an employee; returns how many were open."""
    return AccessToken.objects.filter(employee_id=employee_id, revoked_at=None).update(revoked_at=now)


def digest_of(token: str) -> str:
    """What is stored of an access token."""
    return hashlib.sha256(token.encode()).hexdigest()
