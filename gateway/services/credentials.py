"""The channels' stored credentials: added, switched off, watched for their end, closed with a new key.

A secret enters here once and is never shown again; the table holds it encrypted (foundation.crypto).
"""

from __future__ import annotations

import datetime as dt
import re

from django.db.models import QuerySet

from foundation import alerts, crypto
from foundation.db import roles
from foundation.errors import Rejected
from gateway import registry, selectors
from gateway.models import SECRET_COLUMN, Credential

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}", re.ASCII)
MAX_CHARACTERS = 64 * 1024
"""A chain of certificates has a few KiB."""
WARN_BEFORE = dt.timedelta(days=30)
CRITICAL_BEFORE = dt.timedelta(days=7)


class CredentialUnusable(Rejected):
    """The file, or the set it would become a part of, cannot be used; nothing was stored. `problem` says why."""

    code = "credential_unusable"
    http_status = 422
    message_en = "This credential cannot be used."
    message_zh = "该凭证不可用。"


def add(
    *,
    channel: str,
    name: str,
    content: str,
    valid_from: dt.datetime,
    expires_at: dt.datetime | None,
    note: str,
    created_by: str,
    now: dt.datetime,
) -> Credential:
    """Stores one more file of a channel, which replaces an older one of its name from `valid_from` on.

    The set as it will be at `valid_from` is built once on trial (no network), so key files are added before the
    "credentials.json" that names them. Raises CredentialUnusable, crypto.KeysUnusable. Not idempotent, and harmless:
    the same file twice is the same credential.
    """
    check(channel=channel, name=name, content=content, valid_from=valid_from, expires_at=expires_at, now=now)
    row = _rows().create(
        channel=channel,
        name=name,
        secret=crypto.encrypt(content, column=SECRET_COLUMN),
        fingerprint=crypto.blind_index(content, column=SECRET_COLUMN),
        valid_from=valid_from,
        expires_at=expires_at,
        note=note,
        created_by=created_by,
    )
    selectors.forget()
    return row


def check(
    *,
    channel: str,
    name: str,
    content: str,
    valid_from: dt.datetime,
    expires_at: dt.datetime | None,
    now: dt.datetime,
) -> None:
    """What `add` checks, storing nothing; raises as `add`."""
    problems = (
        ("unknown channel", channel not in registry.codes()),
        ("not a file name", not NAME.fullmatch(name)),
        ("empty or too long", not content.strip() or len(content) > MAX_CHARACTERS),
        ("ends before it begins or has ended", expires_at is not None and expires_at <= max(valid_from, now)),
    )
    problem = next((text for text, applies in problems if applies), "")
    if problem:
        raise CredentialUnusable({"problem": problem})
    crypto.key_ring()
    _try_set(channel=channel, name=name, content=content, at=max(valid_from, now))


def switch_off(*, credential_id: int) -> bool:
    """Takes a credential out of use for ever; False when it was already. The older one of its name counts again."""
    changed = _rows().filter(pk=credential_id, is_active=True).update(is_active=False)
    selectors.forget()
    return bool(changed)


def alert_expiring(*, now: dt.datetime) -> int:
    """Alerts about each name whose last valid credential ends within WARN_BEFORE (or has); how many. Repeats count up.

    One that already has a successor with a later end is not spoken of.
    """
    ends: dict[tuple[str, str], dt.datetime | None] = {}
    for row in _rows().filter(is_active=True).only("channel", "name", "expires_at"):
        key = (row.channel, row.name)
        known = ends.get(key, row.expires_at)
        ends[key] = None if known is None or row.expires_at is None else max(known, row.expires_at)
    alerted = 0
    for (channel, name), end in sorted(ends.items()):
        if end is None or end > now + WARN_BEFORE:
            continue
        alerts.raise_alert(
            code="credential_expiring",
            subject=f"{channel}:{name}",
            severity="CRITICAL" if end <= now + CRITICAL_BEFORE else "WARNING",
            message="A credential of this channel ends soon or has ended, and nothing follows it.",
            context={"channel": channel, "name": name, "expires_at": end.isoformat()},
            now=now,
        )
        alerted += 1
    return alerted


def close_with_newest_key() -> int:
    """Re-encrypts what an older key of the ring closed; how many. Safe to repeat; raises crypto.CannotDecrypt."""
    changed = 0
    for row in _rows().only("id", "secret"):
        fresh = crypto.rotated(row.secret, column=SECRET_COLUMN)
        if fresh != row.secret:
            changed += _rows().filter(pk=row.pk, secret=row.secret).update(secret=fresh)
    return changed


def _rows() -> QuerySet[Credential]:
    return Credential.objects.using(roles.alias_for("default"))


def _try_set(*, channel: str, name: str, content: str, at: dt.datetime) -> None:
    contents: dict[str, str] = {}
    for row in _rows().filter(channel=channel, is_active=True, valid_from__lte=at).order_by("valid_from", "id"):
        if row.expires_at is None or row.expires_at > at:
            contents[row.name] = crypto.decrypt(row.secret, column=SECRET_COLUMN)
    contents[name] = content
    if selectors.CREDENTIALS_FILE not in contents:
        return
    try:
        registry.try_credentials(channel, contents)
    except (OSError, ValueError) as error:
        raise CredentialUnusable({"problem": str(error)[:200]}) from error
