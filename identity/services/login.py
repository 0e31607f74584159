"""Log-in of employees: opaque tokens that expire, are stored hashed and can be revoked.

What Redis remembers of them, for scripts that must know who calls without asking the database:

    identity:session:<digest>  string  "<employee>:<enterprise>:<ms of its end>": who holds the token of that SHA-256;
                               or ENDED, for as long: the database alone is to be asked
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import connections, router
from django.db.models import QuerySet
from django.db.models.signals import post_save
from django.dispatch import receiver
from redis.exceptions import RedisError

from foundation import clock, redis
from foundation.db import roles, transactions
from foundation.errors import InvalidRequest, NotAuthenticated
from identity.models import AccessToken, Employee
from identity.services import login_tries

logger = structlog.get_logger("identity")

TOKEN_BYTES = 32
"""256 random bits: nobody guesses one, so the plain SHA-256 of it is enough to store."""

ENDED = "ended"


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


def log_in(
    *, enterprise_code: str, employee_code: str, password: str, now: dt.datetime, address: str = ""
) -> IssuedToken:
    """Issues a token valid for settings.ACCESS_TOKEN_HOURS; `address` is the network address it is asked from.

    Raises LoginFailed, TooManyLogins (identity/services/login_tries.py, also for a right password), Busy without Redis.
    An unknown employee costs the same hash as a wrong password, so that time does not tell who exists.
    """
    login_tries.take(enterprise_code=enterprise_code, employee_code=employee_code, address=address)
    employee = _checked(enterprise_code=enterprise_code, employee_code=employee_code, password=password)
    login_tries.succeeded(enterprise_code=enterprise_code, employee_code=employee_code, address=address)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    expires_at = now + dt.timedelta(hours=settings.ACCESS_TOKEN_HOURS)
    AccessToken.objects.create(digest=digest_of(token), employee=employee, created_at=now, expires_at=expires_at)
    Employee.objects.filter(pk=employee.pk).update(last_login_at=now)
    return IssuedToken(access_token=token, expires_at=expires_at, employee=employee)


def _checked(*, enterprise_code: str, employee_code: str, password: str) -> Employee:
    """Whose name and password these are; LoginFailed, after one hash in each case."""
    employee = None
    if enterprise_code.isascii() and employee_code.isascii():  # MariaDB refuses to compare others with our ascii codes
        rows = Employee.objects.select_related("enterprise")
        employee = rows.filter(enterprise__code=enterprise_code, code=employee_code).first()
    if employee is None:
        make_password(password)
        raise LoginFailed()
    if not employee.check_password(password) or not employee.is_active:
        raise LoginFailed()
    return employee


def change_password(
    *, employee_id: int, old_password: str, new_password: str, now: dt.datetime, address: str = ""
) -> None:
    """Sets a new password and ends every log-in of the employee, the caller's own too.

    Raises LoginFailed for a wrong old password (which counts as a failed log-in), TooManyLogins, Busy without Redis,
    and InvalidRequest for a new password that settings.AUTH_PASSWORD_VALIDATORS or its being the old one speak against.
    Locks the employee's row. A repeat is refused: the old password is another one now.
    """
    employee = Employee.objects.select_related("enterprise").get(pk=employee_id)
    names = {"enterprise_code": employee.enterprise.code, "employee_code": employee.code}
    login_tries.take(**names, address=address)
    _checked(**names, password=old_password)
    login_tries.succeeded(**names, address=address)
    try:
        validate_password(new_password)
    except ValidationError as error:
        raise InvalidRequest({"new_password": list(error.messages)}) from error
    if new_password == old_password:
        raise InvalidRequest({"new_password": ["the same as before"]})

    def work() -> None:
        locked = Employee.objects.select_for_update().get(pk=employee_id)
        if locked.password != employee.password:  # changed meanwhile: the old password is none any more
            raise LoginFailed()
        locked.set_password(new_password)
        locked.save(update_fields=["password"])
        revoke_tokens(employee_id=employee_id, now=now)

    transactions.run(work, using=roles.alias_for("default"))


def authenticate_token(*, token: str, now: dt.datetime) -> Employee:
    """The employee a token belongs to; NotAuthenticated when it is unknown, expired, revoked or his account is closed.

    One indexed query.
    """
    return find_session(token=token, now=now).employee


def find_session(*, token: str, now: dt.datetime) -> AccessToken:
    """As `authenticate_token`; the row of the token, its employee with it."""
    rows = _valid(now).select_related("employee__enterprise")
    found = rows.filter(digest=digest_of(token)).first()
    if found is None:
        raise NotAuthenticated()
    return found


def list_valid_digests(*, digests: Sequence[str], now: dt.datetime) -> set[str]:
    """Those among the digests whose tokens would still be let in. One literal query: every batch of winners asks it.

    The conditions are those of `_valid`.
    """
    if not digests:
        return set()
    marks = ", ".join(["%s"] * len(digests))
    connection = connections[router.db_for_read(AccessToken)]
    moment = connection.ops.adapt_datetimefield_value(now)
    with connection.cursor() as cursor:
        cursor.execute(_VALID_DIGESTS + f"({marks})", [moment, *digests])
        return {digest for (digest,) in cursor.fetchall()}


_VALID_DIGESTS = """
SELECT token.digest FROM identity_accesstoken token JOIN identity_employee employee ON employee.id = token.employee_id
WHERE token.expires_at > %s AND token.revoked_at IS NULL AND employee.is_active AND token.digest IN
"""


def _valid(now: dt.datetime) -> QuerySet[AccessToken]:
    return AccessToken.objects.filter(expires_at__gt=now, revoked_at=None, employee__is_active=True)


def revoke_tokens(*, employee_id: int, now: dt.datetime) -> int:
    """Ends every log-in of an employee, at once also for what Redis remembers; returns how many were open."""
    count = AccessToken.objects.filter(employee_id=employee_id, revoked_at=None).update(revoked_at=now)
    end_sessions(digests=_unexpired(employee_id, now))
    return count


@receiver(post_save, sender=Employee, dispatch_uid="identity.end_sessions_of_closed_accounts")
def _end_sessions_of_closed_account(instance: Employee, created: bool, raw: bool = False, **kwargs: Any) -> None:
    """Staff closed the account, here or in the admin: what Redis remembers of his log-ins ends with it."""
    if not (instance.is_active or created or raw):
        end_sessions(digests=_unexpired(instance.pk, clock.now()))


def _unexpired(employee_id: int, now: dt.datetime) -> list[str]:
    """Digests of the employee's tokens, revoked ones too: ending a session again does no harm."""
    rows = AccessToken.objects.filter(employee_id=employee_id, expires_at__gt=now)
    return list(rows.values_list("digest", flat=True))


def session_key(*, digest: str) -> str:
    """Where Redis remembers the holder of the access token with that digest."""
    return f"identity:session:{digest}"


def remember_session(*, session: AccessToken) -> None:
    """Lets Redis know who holds the token, until its end, at most for settings.REDPACKET_SESSION_SECONDS.

    Writes nothing over ENDED: who read the database before the log-in ended may come here after. May raise RedisError.
    """
    employee = session.employee
    ends_ms = int(session.expires_at.timestamp() * 1000)
    value = f"{employee.pk}:{employee.enterprise_id}:{ends_ms}"
    life_ms = max(1, settings.REDPACKET_SESSION_SECONDS * 1000)
    redis.client().set(session_key(digest=session.digest), value, px=life_ms, nx=True)


def end_sessions(*, digests: Sequence[str]) -> None:
    """Makes Redis ask the database about these tokens. Safe to repeat, and before the commit that ends them.

    Redis away: a warning. Nobody is let in by it then; should it come back with what it remembered, callers of ended
    log-ins may be told refusals, or the share that they have, for the rest of settings.REDPACKET_SESSION_SECONDS. They
    win nothing: before a claim the database is asked in any case.
    """
    if not digests:
        return
    life_ms = max(1, settings.REDPACKET_SESSION_SECONDS * 1000)
    try:
        pipeline = redis.client().pipeline(transaction=False)
        for digest in digests:
            pipeline.set(session_key(digest=digest), ENDED, px=life_ms)
        pipeline.execute()
    except RedisError:
        logger.warning("ended log-ins stay in redis until their time is over", count=len(digests), exc_info=True)


def purge(*, before: dt.datetime, limit: int = 10_000) -> int:
    """Deletes log-ins that ended before that moment, at most `limit`; returns how many."""
    old = AccessToken.objects.filter(expires_at__lt=before).order_by("expires_at").values_list("pk", flat=True)
    return AccessToken.objects.filter(pk__in=list(old[:limit])).delete()[0]


def digest_of(token: str) -> str:
    """What is stored of an access token."""
    return hashlib.sha256(token.encode()).hexdigest()
