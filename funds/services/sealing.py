"""The chain over journals: sealing what has settled, and verifying that nothing sealed was changed, removed or added.

A link covers a range of journal ids. Posting does not wait for it: a chain through every posting would make all money
queue at one row. Source: design `accounts.md`, I11; `funds.domain.digests`.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import connections

from foundation.errors import Broken
from foundation.proof import ProofLine
from funds.domain import digests
from funds.models import Journal, JournalSeal, Posting
from funds.services import ledger

SETTLED_AFTER = dt.timedelta(minutes=5)
"""Journals are sealed at this age; a transaction that was given its id earlier has ended by then."""
LINK_JOURNALS = 5000
"""Journals of one link; their postings are held in memory while it is made or verified."""
BEHIND_AFTER = dt.timedelta(hours=2)
"""A journal that is older and still not sealed means that the job does not run."""
SHOWN = 5


class SealBroken(Broken):
    """A journal differs from its own digest before it was ever sealed; the chain stops here until people looked."""

    code = "journal_changed"


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """What one call did."""

    links: int
    journals: int


@dataclass(frozen=True, kw_only=True)
class JournalContent:
    """A stored journal: its id, the digest it carries (empty: from before there were digests) and the computed one.

    `agrees`: what the digest does not cover, because it follows from the lines, follows from them.
    """

    journal_id: int
    stored: str
    computed: str
    agrees: bool


def seal_due(*, now: dt.datetime, max_links: int = 200) -> Sealed:
    """Seals settled journals link by link, each in its own transaction. One caller at a time (a job's lock).

    Raises SealBroken when a journal does not match its digest; what was sealed before stays.
    """
    links = journals = 0
    while links < max_links:
        count = ledger.in_transaction(lambda: _seal_next(now))
        if count == 0:
            break
        links, journals = links + 1, journals + count
    return Sealed(links=links, journals=journals)


def verify(
    *, now: dt.datetime, anchor: tuple[int, str] | None = None, progress: Callable[[int], None] | None = None
) -> ProofLine:
    """Recomputes every digest and every link; names the journals and links that do not fit.

    `anchor`: (number, mac) of a seal noted outside of the database; finds a chain that was cut and made anew.
    `progress` is called with the number of journals seen. Memory: one link.
    """
    faults: list[str] = []
    seen, expected, previous = 0, 1, None
    for link in JournalSeal.objects.using(ledger.alias()).order_by("number").iterator(chunk_size=500):
        faults += _link_faults(link, previous, expected)
        expected, previous = link.number + 1, link
        seen += link.journal_count
        if progress is not None:
            progress(seen)
    tail = _tail_faults(previous, now)
    faults += tail.faults
    if anchor is not None and not _stands(anchor):
        faults.append(f"seal {anchor[0]} is not the one that was noted")
    return ProofLine(
        name="the chain over journals is unbroken",
        ok=not faults,
        detail="; ".join(faults[:SHOWN]),
        figures={"links": expected - 1, "sealed": seen, "unsealed": tail.journals, "faults": len(faults)},
    )


def head() -> tuple[int, str] | None:
    """(number, mac) of the newest seal: what to note outside of the database."""
    last = _last()
    return None if last is None else (last.number, last.mac)


def _last() -> JournalSeal | None:
    return JournalSeal.objects.using(ledger.alias()).order_by("-number").first()


def _seal_next(now: dt.datetime) -> int:
    last = _last()
    first_id = last.last_id + 1 if last else 1
    _wait_for_open_journals(first_id)
    contents = _settled(first_id, now)
    if not contents:
        return 0
    changed = _changed(contents)
    if changed:
        raise SealBroken({"journals": changed[:SHOWN]})
    key_id, key = _current_key()
    previous = last.mac if last else digests.GENESIS
    last_id = contents[-1].journal_id
    JournalSeal.objects.using(ledger.alias()).create(
        number=last.number + 1 if last else 1,
        first_id=first_id,
        last_id=last_id,
        journal_count=len(contents),
        previous_mac=previous,
        mac=_mac(key, previous, first_id, last_id, contents),
        key_id=key_id,
        sealed_at=now,
    )
    return len(contents)


def _wait_for_open_journals(first_id: int) -> None:
    """A locking read waits for rows that are inserted and not committed: the range has no hole that fills later."""
    if connections[ledger.alias()].vendor != "mysql":
        return
    with connections[ledger.alias()].cursor() as cursor:
        cursor.execute(
            "SELECT COUNT(*) FROM (SELECT id FROM funds_journal WHERE id >= %s ORDER BY id LIMIT %s "
            "LOCK IN SHARE MODE) t",
            [first_id, LINK_JOURNALS],
        )


def _settled(first_id: int, now: dt.datetime) -> list[JournalContent]:
    """The next journals in id order, up to the first one that is too young."""
    rows = list(Journal.objects.using(ledger.alias()).filter(id__gte=first_id).order_by("id")[:LINK_JOURNALS])
    for place, row in enumerate(rows):
        if row.created_at > now - SETTLED_AFTER:
            rows = rows[:place]
            break
    return _contents(rows)


def _contents(rows: Sequence[Journal]) -> list[JournalContent]:
    if not rows:
        return []
    lines: dict[int, list[tuple[int, str, int, str]]] = defaultdict(list)
    times: dict[int, set[dt.datetime]] = defaultdict(set)
    postings = Posting.objects.using(ledger.alias()).filter(journal_id__gte=rows[0].pk, journal_id__lte=rows[-1].pk)
    columns = ("journal_id", "account_id", "bucket", "amount_fen", "category", "created_at")
    for journal_id, account_id, bucket, amount_fen, category, created_at in postings.values_list(*columns):
        lines[journal_id].append((account_id, bucket, amount_fen, category))
        times[journal_id].add(created_at)
    return [_content(row, lines[row.pk], times[row.pk]) for row in rows]


def _content(row: Journal, lines: Sequence[tuple[int, str, int, str]], times: set[dt.datetime]) -> JournalContent:
    amounts = [amount_fen for _, _, amount_fen, _ in lines]
    debit_fen, credit_fen = -sum(fen for fen in amounts if fen < 0), sum(fen for fen in amounts if fen > 0)
    return JournalContent(
        journal_id=row.pk,
        stored=row.digest,
        computed=digests.journal_digest(
            kind=row.kind,
            reference=row.reference,
            order_no=row.order_no,
            source_no=row.source_no,
            actor=row.actor,
            memo=row.memo,
            created_at=row.created_at,
            lines=lines,
        ),
        agrees=(row.debit_total_fen, row.credit_total_fen, row.posting_count) == (debit_fen, credit_fen, len(lines))
        and times == {row.created_at},
    )


def _changed(contents: Sequence[JournalContent]) -> list[int]:
    """Ids of journals that do not fit their own digest; none is no excuse where an earlier journal has one."""
    if not contents:
        return []
    before = Journal.objects.using(ledger.alias()).filter(id__lt=contents[0].journal_id).order_by("-id")
    has_digests = bool(before.values_list("digest", flat=True).first())
    found = []
    for content in contents:
        has_digests = has_digests or bool(content.stored)
        if not content.agrees or (has_digests and content.stored != content.computed):
            found.append(content.journal_id)
    return found


def _mac(key: bytes, previous: str, first_id: int, last_id: int, contents: Sequence[JournalContent]) -> str:
    pairs = [(content.journal_id, content.computed) for content in contents]
    return digests.seal(key=key, previous=previous, first_id=first_id, last_id=last_id, digests=pairs)


def _link_faults(link: JournalSeal, previous: JournalSeal | None, expected: int) -> Iterator[str]:
    if link.number != expected:
        yield f"seals {expected} to {link.number - 1} are missing"
    follows = previous.mac if previous else digests.GENESIS
    starts = previous.last_id + 1 if previous else 1
    if link.previous_mac != follows or link.first_id != starts:
        yield f"seal {link.number} does not follow the one before it"
    key = settings.LEDGER_SEAL_KEYS.get(link.key_id)
    if key is None:
        yield f"seal {link.number}: its key {link.key_id!r} is not among LEDGER_SEAL_KEYS"
        return
    rows = Journal.objects.using(ledger.alias()).filter(id__gte=link.first_id, id__lte=link.last_id).order_by("id")
    contents = _contents(list(rows))
    yield from (f"journal {journal_id} was changed" for journal_id in _changed(contents))
    span = f"seal {link.number} (journals {link.first_id} to {link.last_id})"
    if len(contents) != link.journal_count:
        yield f"{span}: {len(contents)} journals instead of {link.journal_count}"
    elif _mac(key, link.previous_mac, link.first_id, link.last_id, contents) != link.mac:
        yield f"{span}: what it covers was changed"


@dataclass(frozen=True, kw_only=True)
class _Tail:
    journals: int
    faults: list[str]


def _tail_faults(last: JournalSeal | None, now: dt.datetime) -> _Tail:
    """Journals that are not sealed yet: each must match its own digest, and none may be old."""
    faults: list[str] = []
    count, after = 0, last.last_id if last else 0
    is_first = True
    while rows := list(Journal.objects.using(ledger.alias()).filter(id__gt=after).order_by("id")[:LINK_JOURNALS]):
        if is_first and rows[0].created_at < now - BEHIND_AFTER:
            faults.append(f"journal {rows[0].pk} of {rows[0].created_at:%Y-%m-%d %H:%M} is not sealed yet")
        is_first = False
        faults += [f"journal {journal_id} was changed" for journal_id in _changed(_contents(rows))]
        count, after = count + len(rows), rows[-1].pk
    return _Tail(journals=count, faults=faults)


def _stands(anchor: tuple[int, str]) -> bool:
    number, mac = anchor
    return JournalSeal.objects.using(ledger.alias()).filter(number=number, mac=mac).exists()


def _current_key() -> tuple[str, bytes]:
    """The newest key: the last one named in the settings."""
    key_id = list(settings.LEDGER_SEAL_KEYS)[-1]
    return key_id, settings.LEDGER_SEAL_KEYS[key_id]
