"""What staff decided about channels, read through a cache of CACHE_SECONDS: every process sees a switch within that.

A database that cannot be read changes nothing: the last known answer holds (none known: the defaults), as queries,
refunds and notices must go on.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from celery.exceptions import SoftTimeLimitExceeded

from foundation.db import roles
from foundation.money import MAX_FEN
from gateway.domain.routing import ClientClass, Kind, Scene, Terms
from gateway.models import AttemptReceiver, ChannelSetting, ClientGrade, Credential
from gateway.ports import Receiver

logger = structlog.get_logger("gateway")

CACHE_SECONDS = 1.0
"""Two reads of a handful of rows a second and process; a switch must be seen everywhere within two seconds."""
DEFAULT_WEIGHT = 100
CREDENTIALS_FILE = "credentials.json"
"""Name of the credential that names the others; a set without it is not used."""


@dataclass(frozen=True, kw_only=True)
class CredentialVersion:
    """A stored credential without its secret."""

    id: int
    channel: str
    name: str
    fingerprint: str
    valid_from: dt.datetime
    expires_at: dt.datetime | None


@dataclass(frozen=True, kw_only=True)
class _Snapshot:
    read_at: float = float("-inf")
    terms: Mapping[str, Terms] = field(default_factory=dict)
    credentials: tuple[CredentialVersion, ...] = ()


_snapshot = _Snapshot()


def get_terms(*, channel: str) -> Terms:
    """What the channel may be used for; without a row everything."""
    return _present().terms.get(channel) or Terms(
        channel=channel,
        is_enabled=True,
        min_fen=1,
        max_fen=MAX_FEN,
        kinds=frozenset(kind.value for kind in Kind),
        scenes=frozenset(scene.value for scene in Scene),
        client_classes=frozenset(one.value for one in ClientClass),
        weights={one.value: DEFAULT_WEIGHT for one in ClientClass},
    )


def list_active_credentials(*, channel: str, now: dt.datetime) -> tuple[CredentialVersion, ...]:
    """The channel's set at `now`: of each name the newest valid one, by name; () when CREDENTIALS_FILE is not there."""
    newest: dict[str, CredentialVersion] = {}
    for version in sorted(_present().credentials, key=lambda one: (one.valid_from, one.id)):
        is_over = version.expires_at is not None and version.expires_at <= now
        if version.channel == channel and version.valid_from <= now and not is_over:
            newest[version.name] = version
    return tuple(newest[name] for name in sorted(newest)) if CREDENTIALS_FILE in newest else ()


def get_client_class(*, enterprise_id: int) -> ClientClass:
    """ORDINARY unless staff graded the enterprise."""
    rows = ClientGrade.objects.using(roles.alias_for("default")).filter(enterprise_id=enterprise_id)
    found = rows.values_list("client_class", flat=True).first()
    return ClientClass(found) if found else ClientClass.ORDINARY


def forget() -> None:
    """Drops this process's cache: after a change of its own, and in tests."""
    global _snapshot
    _snapshot = _Snapshot()


def _present() -> _Snapshot:
    global _snapshot
    known = _snapshot
    started = time.monotonic()
    if started - known.read_at < CACHE_SECONDS:
        return known
    try:
        fresh = _Snapshot(read_at=started, terms=_read_terms(), credentials=_read_credentials())
    except SoftTimeLimitExceeded:
        raise
    except Exception:  # whatever keeps us from reading: what is known holds, and is asked for again in a second
        logger.exception("channel settings not readable, the last known ones hold")
        fresh = _Snapshot(read_at=started, terms=known.terms, credentials=known.credentials)
    _snapshot = fresh
    return fresh


def _read_terms() -> dict[str, Terms]:
    return {
        row.code: Terms(
            channel=row.code,
            is_enabled=row.is_enabled,
            min_fen=row.min_fen,
            max_fen=row.max_fen,
            kinds=frozenset(row.kinds),
            scenes=frozenset(row.scenes),
            client_classes=frozenset(row.client_classes),
            weights={
                ClientClass.ORDINARY.value: row.weight,
                ClientClass.LARGE.value: row.large_weight,
                ClientClass.VIP.value: row.vip_weight,
            },
        )
        for row in ChannelSetting.objects.using(roles.alias_for("default"))
    }


def _read_credentials() -> tuple[CredentialVersion, ...]:
    rows = Credential.objects.using(roles.alias_for("default")).filter(is_active=True)
    names = ("id", "channel", "name", "fingerprint", "valid_from", "expires_at")
    return tuple(CredentialVersion(**row) for row in rows.values(*names))


def find_receiver(attempt_no: str) -> Receiver | None:
    """The merchant's own account that an attempt pays into; None for ours. Read from the database each time."""
    row = AttemptReceiver.objects.filter(pk=attempt_no).first()
    return None if row is None else Receiver(account_no=row.account_no, appid=row.appid)
