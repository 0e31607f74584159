"""Settles claims (转账): the table of shares is the queue, a batch of a packet becomes one journal.

A batch is fixed and committed with its receipt numbers before the ledger is asked, so a crash anywhere repeats exactly
the same batch, and the journal's reference lets it move money once. The statements of a batch are literal, one for all
of its rows: Django's way of writing 200 rows cost nine times what the rest of the settlement did. Source: design
`performance.md` (Decided).
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from django.db import DatabaseError, IntegrityError, connections
from django.db.models import F
from prometheus_client import Counter, Histogram

from foundation import alerts
from foundation.db import roles, transactions
from foundation.errors import Broken, PaysysError
from payments.domain.people import Person
from payments.services import numbers, shares
from payments.services.shares import ShareToSettle
from redpacket import selectors
from redpacket.domain.states import PacketState, SettlementState
from redpacket.models import RedPacket, Settlement, Share
from redpacket.services import closing, publishing

logger = structlog.get_logger("redpacket")

BATCH_SHARES = 200
"""Shares of one journal: enough to spread its cost, few enough for a short lock of the sender's account."""
LEASE_SECONDS = 10
"""A fixed batch belongs to who fixed it for this long; afterwards it is taken for abandoned and posted by anybody."""
MAX_BACK_OFF_SECONDS = 300
ALERT_AFTER_TRIES = 3
DUE_ROWS = 2000
"""Rows looked at to find the packets of one round."""
ROUND_SECONDS = 20.0
"""One call of `settle_due` starts no further packet after this; Celery's soft limit is 25 s."""

SHARES_SETTLED = Counter("paysys_redpacket_shares_settled", "Shares whose money reached the receiver.")
BATCHES_PUT_OFF = Counter("paysys_redpacket_batches_put_off", "Tries to post a batch that failed and are repeated.")
SETTLE_LAG = Histogram(
    "paysys_redpacket_settle_lag_seconds",
    "From the oldest claim of a batch to its posting.",
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800),
)


@dataclass(frozen=True, kw_only=True)
class Settled:
    """Figures of a run: batches posted, shares in them, packets that failed and will be tried again."""

    batches: int = 0
    shares: int = 0
    failed: int = 0

    def __add__(self, other: Settled) -> Settled:
        return Settled(
            batches=self.batches + other.batches,
            shares=self.shares + other.shares,
            failed=self.failed + other.failed,
        )


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claimed share that waits for its batch."""

    share_id: int
    share_no: int
    receiver_id: int
    amount_fen: int
    claimed_at: dt.datetime


@dataclass(frozen=True, kw_only=True)
class FixedBatch:
    """A committed batch with its shares as the ledger will be asked for them."""

    settlement: Settlement
    shares: Sequence[ShareToSettle]
    oldest_claim_at: dt.datetime


def settle_due(*, now: dt.datetime, clock: Callable[[], float] = time.monotonic) -> Settled:
    """Settles every packet with claims in no batch or with an abandoned batch, until none is left or time is up.

    One packet's failure is recorded on its batch, alerted when it lasts, and does not stop the others: it is not tried
    again in the same call.
    """
    total, seen, deadline = Settled(), set[str](), clock() + ROUND_SECONDS
    while True:
        due = selectors.list_packets_to_settle(now=now, limit=DUE_ROWS)
        fresh = [packet_id for packet_id in due if packet_id not in seen]
        for packet_id in fresh:
            if clock() > deadline:
                return total
            total += settle_packet(packet_id=packet_id, now=now)
        if not fresh:
            return total
        seen.update(fresh)


def settle_packet(*, packet_id: str, now: dt.datetime) -> Settled:
    """Posts the packet's abandoned batches, then its claims in batches of BATCH_SHARES; the last one may be smaller.

    What is claimed while the last batch is posted waits for the next bell, so that a steady stream of claims settles in
    large batches and not one by one. When every share is settled the packet becomes EXHAUSTED. Safe to repeat and to
    run in many workers: a batch is fixed once, and posting it again moves nothing. Touches no other packet's shares.
    """
    packet = RedPacket.objects.get(pk=packet_id)
    total = Settled()
    abandoned = Settlement.objects.filter(packet_id=packet_id, state=SettlementState.ASSIGNED, next_at__lte=now)
    for settlement in abandoned.order_by("batch_no"):
        if _lease(settlement, now):
            total += _post(packet, settlement, now)
    while total.failed == 0:
        fixed = _fix_batch(packet, now)
        if fixed is None:
            break
        total += _post(packet, fixed.settlement, now, fixed=fixed)
        if len(fixed.shares) < BATCH_SHARES:
            break
    if closing.exhaust_if_settled(packet_id=packet_id, now=now):
        publishing.try_mark(packet_id=packet_id, state=PacketState.EXHAUSTED)
    return total


# --- Fixing a batch -------------------------------------------------------------------------------------------------

_CHOOSE = (
    "SELECT id, share_no, receiver_id, amount_fen, claimed_at FROM redpacket_share "
    "WHERE packet_id = %s AND settlement_id IS NULL AND claimed_at IS NOT NULL ORDER BY claimed_at LIMIT %s"
)
_INSERT_BATCH = (
    "INSERT INTO redpacket_settlement (packet_id, batch_no, state, share_count, total_fen, tries, last_error, "
    "created_at, next_at) VALUES (%s, %s, 'ASSIGNED', %s, %s, 0, '', %s, %s)"
)


def _fix_batch(packet: RedPacket, now: dt.datetime) -> FixedBatch | None:
    """Commits the next batch with its receipts' numbers; None when no claim waits. Locks the chosen shares only.

    Claims are not held up: their rows are other ones, and the packet's row is not touched. Two workers that choose the
    same batch number collide on its unique key, and who finds a share taken gives up all: the later one looks again.
    """
    alias = roles.alias_for("redpacket")
    refusal: IntegrityError | None = None
    for _ in range(transactions.MAX_TRIES):
        claims = _choose(packet)
        if not claims:
            return None
        receipts = {
            claim.share_id: numbers.issue(prefix=numbers.Prefix.REDPACKET_RECEIPT, account_id=claim.receiver_id)
            for claim in claims
        }
        try:
            settlement = transactions.run(partial(_insert, packet, claims, receipts, now), using=alias)
        except IntegrityError as error:
            refusal = error
            logger.info("another worker fixed a batch of the packet first", packet_id=packet.pk)
            continue
        return FixedBatch(
            settlement=settlement,
            shares=[_to_settle(claim, packet.enterprise_id, receipts[claim.share_id]) for claim in claims],
            oldest_claim_at=min(claim.claimed_at for claim in claims),
        )
    alerts.raise_alert(
        code="redpacket_batch_refused",
        subject=packet.pk,
        message=f"The database refused a batch {transactions.MAX_TRIES} times; the claims wait: {refusal!r}",
        now=now,
    )
    return None


def _choose(packet: RedPacket) -> list[Claim]:
    connection = connections[roles.alias_for("redpacket")]
    with connection.cursor() as cursor:
        cursor.execute(_CHOOSE, (packet.pk, BATCH_SHARES))
        return [
            Claim(
                share_id=row[0],
                share_no=row[1],
                receiver_id=row[2],
                amount_fen=row[3],
                claimed_at=_aware(row[4]),
            )
            for row in cursor.fetchall()
        ]


def _aware(value: Any) -> dt.datetime:
    """A time of a literal SELECT: MariaDB hands out naive UTC, SQLite text."""
    moment = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(value)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)


class _ClaimsGone(IntegrityError):
    """Another worker put one of the chosen claims into its batch."""


def _insert(packet: RedPacket, claims: Sequence[Claim], receipts: Mapping[int, str], now: dt.datetime) -> Settlement:
    connection = connections[roles.alias_for("redpacket")]
    total_fen = sum(claim.amount_fen for claim in claims)
    next_at = now + dt.timedelta(seconds=LEASE_SECONDS)
    moment = connection.ops.adapt_datetimefield_value
    with connection.cursor() as cursor:
        cursor.execute("SELECT MAX(batch_no) FROM redpacket_settlement WHERE packet_id = %s", (packet.pk,))
        batch_no = (cursor.fetchone()[0] or 0) + 1
        cursor.execute(_INSERT_BATCH, (packet.pk, batch_no, len(claims), total_fen, moment(now), moment(next_at)))
        settlement_id = int(cursor.lastrowid)
        cases = " ".join(f"WHEN {claim.share_id} THEN %s" for claim in claims)
        ids = ", ".join(str(claim.share_id) for claim in claims)
        cursor.execute(
            f"UPDATE redpacket_share SET settlement_id = %s, receipt_no = CASE id {cases} END "  # noqa: S608 - integers
            f"WHERE id IN ({ids}) AND settlement_id IS NULL",
            (settlement_id, *(receipts[claim.share_id] for claim in claims)),
        )
        if cursor.rowcount != len(claims):
            raise _ClaimsGone("a claim stands in another batch")
    return Settlement(
        pk=settlement_id,
        packet_id=packet.pk,
        batch_no=batch_no,
        share_count=len(claims),
        total_fen=total_fen,
        created_at=now,
        next_at=next_at,
    )


def _read_batch(packet: RedPacket, settlement: Settlement) -> FixedBatch:
    """An abandoned batch as it was fixed. Raises Broken when its shares are not the ones any more."""
    rows = list(Share.objects.filter(settlement=settlement).order_by("share_no"))
    if (len(rows), sum(row.amount_fen for row in rows)) != (settlement.share_count, settlement.total_fen):
        raise Broken({"settlement": str(settlement), "reason": "the batch changed after it was fixed"})
    claims = []
    for row in rows:
        assert row.receiver_id is not None
        assert row.claimed_at is not None
        claim = Claim(
            share_id=row.pk,
            share_no=row.share_no,
            receiver_id=row.receiver_id,
            amount_fen=row.amount_fen,
            claimed_at=row.claimed_at,
        )
        claims.append((claim, row.receipt_no))
    return FixedBatch(
        settlement=settlement,
        shares=[_to_settle(claim, packet.enterprise_id, receipt_no) for claim, receipt_no in claims],
        oldest_claim_at=min(claim.claimed_at for claim, _ in claims),
    )


def _to_settle(claim: Claim, enterprise_id: int, receipt_no: str) -> ShareToSettle:
    """Receivers are of the sender's enterprise: the packet goes to nobody else."""
    return ShareToSettle(
        share_no=claim.share_no,
        receiver=Person(employee_id=claim.receiver_id, enterprise_id=enterprise_id),
        amount_fen=claim.amount_fen,
        receipt_no=receipt_no,
    )


# --- Posting it -----------------------------------------------------------------------------------------------------


def _lease(batch: Settlement, now: dt.datetime) -> bool:
    """Takes an abandoned batch for LEASE_SECONDS; False when another worker was faster."""
    mine = Settlement.objects.filter(pk=batch.pk, state=SettlementState.ASSIGNED, next_at=batch.next_at)
    return bool(mine.update(next_at=now + dt.timedelta(seconds=LEASE_SECONDS)))


def _post(packet: RedPacket, batch: Settlement, now: dt.datetime, *, fixed: FixedBatch | None = None) -> Settled:
    """Asks the ledger for the batch and marks it. What is refused, also by a key of the database, is put off."""
    try:
        fixed = fixed or _read_batch(packet, batch)
        shares.settle(
            packet_id=packet.pk,
            funding_order_no=packet.funding_order_no,
            batch_no=batch.batch_no,
            sender=Person(employee_id=packet.sender_id, enterprise_id=packet.enterprise_id),
            shares=fixed.shares,
            now=now,
        )
    except (PaysysError, DatabaseError) as error:
        _put_off(batch, error, now)
        return Settled(failed=1)
    transactions.run(lambda: _mark_posted(batch, now), using=roles.alias_for("redpacket"))
    SHARES_SETTLED.inc(len(fixed.shares))
    SETTLE_LAG.observe(max((now - fixed.oldest_claim_at).total_seconds(), 0.0))
    return Settled(batches=1, shares=len(fixed.shares))


def _mark_posted(batch: Settlement, now: dt.datetime) -> None:
    connection = connections[roles.alias_for("redpacket")]
    moment = connection.ops.adapt_datetimefield_value(now)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE redpacket_settlement SET state = 'POSTED', posted_at = %s, last_error = '' "
            "WHERE id = %s AND state = 'ASSIGNED'",
            (moment, batch.pk),
        )
        if cursor.rowcount == 1:
            cursor.execute("UPDATE redpacket_share SET settled_at = %s WHERE settlement_id = %s", (moment, batch.pk))


def _put_off(batch: Settlement, error: Exception, now: dt.datetime) -> None:
    """Nothing dies: the batch is tried again after a growing pause, and a person is called when that does not help."""
    tries = batch.tries + 1
    pause = dt.timedelta(seconds=min(2**tries, MAX_BACK_OFF_SECONDS))
    Settlement.objects.filter(pk=batch.pk, state=SettlementState.ASSIGNED).update(
        tries=F("tries") + 1, next_at=now + pause, last_error=repr(error)[:2000]
    )
    BATCHES_PUT_OFF.inc()
    logger.warning("settlement put off", settlement=str(batch), tries=tries, exc_info=True)
    if tries >= ALERT_AFTER_TRIES or isinstance(error, Broken | IntegrityError):
        alerts.raise_alert(
            code="redpacket_settlement_failing",
            subject=str(batch),
            message=f"Tried {tries} times without success: {error!r}",
            now=now,
        )
