"""The chain over the audit trail: what was recorded is sealed behind the writers, and verified row by row.

As the chain over journals (ADR 7): a seal is an HMAC whose key never lies in the database, over the seal before it and
a keyed mark of each entry it covers. The marks are kept, so that a changed or removed entry is named. What is younger
than SETTLED_AFTER is covered by its own digest only. A chain that was cut at its end and made anew is found by an
anchor: number and mac of a seal, noted outside of the database (the job logs each one).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from django.conf import settings
from django.db import connections

from foundation import alerts, audit, jobs
from foundation.db import roles, transactions
from foundation.errors import Broken
from foundation.models import AuditEntry, AuditSeal
from foundation.proof import ProofLine

logger = structlog.get_logger("audit")

SETTLED_AFTER = dt.timedelta(minutes=5)
"""Entries are sealed at this age; a transaction that was given its id earlier has ended by then."""
BEHIND_AFTER = dt.timedelta(hours=2)
"""An entry that is older and still not sealed means that the job does not run."""
LINK_ENTRIES = 500
GENESIS = "0" * 64
SHOWN = 5
MARK_LENGTH = 16


class TrailChanged(Broken):
    """An entry differs from its own digest before it was ever sealed; the chain stops here until people looked."""

    code = "audit_entry_changed"


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """What one call did."""

    links: int
    entries: int


def seal_due(*, now: dt.datetime, max_links: int = 200) -> Sealed:
    """Seals settled entries link by link, each in its own transaction. One caller at a time (a job's lock).

    Raises TrailChanged when an entry does not match its digest; what was sealed before stays.
    """
    links = entries = 0
    while links < max_links:
        count = transactions.run(lambda: _seal_next(now), using=_alias())
        if count == 0:
            break
        links, entries = links + 1, entries + count
    return Sealed(links=links, entries=entries)


def verify(
    *, now: dt.datetime, anchor: tuple[int, str] | None = None, progress: Callable[[int], None] | None = None
) -> ProofLine:
    """Recomputes every digest, mark and seal; the first of `detail` is the first entry or seal that does not fit."""
    faults: list[str] = []
    seen, expected, previous = 0, 1, None
    for link in AuditSeal.objects.using(_alias()).order_by("number").iterator(chunk_size=100):
        faults += _link_faults(link, previous, expected)
        expected, previous = link.number + 1, link
        seen += link.marks.count("[") - 1
        if progress is not None:
            progress(seen)
    unsealed, tail = _tail(previous, now)
    faults += tail
    if anchor is not None and not AuditSeal.objects.using(_alias()).filter(number=anchor[0], mac=anchor[1]).exists():
        faults.append(f"seal {anchor[0]} is not the one that was noted")
    return ProofLine(
        name="the chain over the audit trail is unbroken",
        ok=not faults,
        detail="; ".join(faults[:SHOWN]),
        figures={"links": expected - 1, "sealed": seen, "unsealed": unsealed, "faults": len(faults)},
    )


def head() -> tuple[int, str] | None:
    """(number, mac) of the newest seal: what to note outside of the database."""
    last = _last()
    return None if last is None else (last.number, last.mac)


def _last() -> AuditSeal | None:
    return AuditSeal.objects.using(_alias()).order_by("-number").first()


def _seal_next(now: dt.datetime) -> int:
    last = _last()
    first_id = last.last_id + 1 if last else 1
    _wait_for_open_entries(first_id)
    rows = []
    for row in AuditEntry.objects.using(_alias()).filter(id__gte=first_id).order_by("id")[:LINK_ENTRIES]:
        if row.happened_at > now - SETTLED_AFTER:
            break
        rows.append(row)
    if not rows:
        return 0
    changed = [row.pk for row in rows if audit.digest_of(row) != row.digest]
    if changed:
        raise TrailChanged({"entries": changed[:SHOWN]})
    key_id = next(reversed(settings.LEDGER_SEAL_KEYS))
    key = _key(key_id) or b""
    previous = last.mac if last else GENESIS
    marks = json.dumps([[row.pk, _mark(key, row)] for row in rows], separators=(",", ":"))
    link = AuditSeal(
        number=last.number + 1 if last else 1,
        first_id=first_id,
        last_id=rows[-1].pk,
        marks=marks,
        previous_mac=previous,
        key_id=key_id,
        sealed_at=now,
    )
    link.mac = _mac(key, link)
    link.save(using=_alias(), force_insert=True)
    logger.info("audit trail sealed", number=link.number, mac=link.mac, last_id=link.last_id)
    return len(rows)


def _wait_for_open_entries(first_id: int) -> None:
    """A locking read waits for rows that are inserted and not committed: the range has no hole that fills later."""
    if connections[_alias()].vendor != "mysql":
        return
    with connections[_alias()].cursor() as cursor:
        cursor.execute(
            "SELECT COUNT(*) FROM (SELECT id FROM foundation_auditentry WHERE id >= %s ORDER BY id LIMIT %s "
            "LOCK IN SHARE MODE) t",
            [first_id, LINK_ENTRIES],
        )


def _link_faults(link: AuditSeal, previous: AuditSeal | None, expected: int) -> Iterator[str]:
    if link.number != expected:
        yield f"seals {expected} to {link.number - 1} are missing"
    follows = previous.mac if previous else GENESIS
    starts = previous.last_id + 1 if previous else 1
    if link.previous_mac != follows or link.first_id != starts:
        yield f"seal {link.number} does not follow the one before it"
    key = _key(link.key_id)
    if key is None:
        yield f"seal {link.number}: its key {link.key_id!r} is not among LEDGER_SEAL_KEYS"
        return
    if not hmac.compare_digest(_mac(key, link), link.mac):
        yield f"seal {link.number} (entries {link.first_id} to {link.last_id}) was changed"
        return
    yield from _entry_faults(key, link)


def _entry_faults(key: bytes, link: AuditSeal) -> Iterator[str]:
    """By ascending id: what was changed, removed, or added between sealed entries."""
    marks = dict(json.loads(link.marks))
    found = AuditEntry.objects.using(_alias()).filter(id__gte=link.first_id, id__lte=link.last_id)
    rows = {row.pk: row for row in found}
    for entry_id in sorted(marks.keys() | rows.keys()):
        if entry_id not in rows:
            yield f"entry {entry_id} was removed"
        elif entry_id not in marks:
            yield f"entry {entry_id} was added later"
        elif not _fits(key, rows[entry_id], marks[entry_id]):
            yield f"entry {entry_id} was changed"


def _fits(key: bytes, row: AuditEntry, mark: str) -> bool:
    """The mark covers what the row says; the digest that it carries must be that of it, too."""
    return hmac.compare_digest(_mark(key, row), mark) and audit.digest_of(row) == row.digest


def _tail(last: AuditSeal | None, now: dt.datetime) -> tuple[int, list[str]]:
    """Entries that are not sealed yet: how many, and what is wrong with them (changed, or old)."""
    faults: list[str] = []
    count = 0
    rows: Sequence[AuditEntry]
    after = last.last_id if last else 0
    while rows := list(AuditEntry.objects.using(_alias()).filter(id__gt=after).order_by("id")[:LINK_ENTRIES]):
        if count == 0 and rows[0].happened_at < now - BEHIND_AFTER:
            faults.append(f"entry {rows[0].pk} of {rows[0].happened_at:%Y-%m-%d %H:%M} is not sealed yet")
        faults += [f"entry {row.pk} was changed" for row in rows if audit.digest_of(row) != row.digest]
        count, after = count + len(rows), rows[-1].pk
    return count, faults


def _mark(key: bytes, row: AuditEntry) -> str:
    text = f"{row.pk}:{audit.digest_of(row)}".encode()
    return hmac.new(key, text, hashlib.sha256).hexdigest()[:MARK_LENGTH]


def _mac(key: bytes, link: AuditSeal) -> str:
    text = f"{link.number}:{link.previous_mac}:{link.first_id}:{link.last_id}:{link.marks}"
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _key(key_id: str) -> bytes | None:
    """A key of its own, made of the ledger's: no text sealed here can pass for one sealed there."""
    root = settings.LEDGER_SEAL_KEYS.get(key_id)
    return None if root is None else hmac.digest(root, b"audit trail", "sha256")


def _alias() -> str:
    return roles.alias_for("default")


class SealAudit(jobs.Job):
    """Seals what has settled; an alert when an entry was changed before."""

    name = "foundation.seal_audit"
    lock_seconds = 1800

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        try:
            done = seal_due(now=now)
        except TrailChanged as error:
            alerts.raise_alert(code="audit_trail_changed", subject="chain", message=str(error), now=now)
            raise
        return {"links": done.links, "entries": done.entries}


class VerifyAudit(jobs.Job):
    """Nightly: the whole chain; an alert when it does not hold."""

    name = "foundation.verify_audit"
    lock_seconds = 4 * 3600

    def run(self, *, now: dt.datetime) -> Mapping[str, Any]:
        line = verify(now=now)
        if not line.ok:
            alerts.raise_alert(code="audit_trail_changed", subject="chain", message=line.detail, now=now)
        return {"ok": line.ok, **line.figures}


jobs.register(SealAudit())
jobs.register(VerifyAudit())
