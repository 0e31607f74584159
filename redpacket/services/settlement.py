"""Settles claims (转账): the table of shares is the queue, a batch of a packet becomes one journal.

A batch is fixed and committed with its receipt numbers before the ledger is asked, so a crash anywhere repeats exactly
the same batch, and the journal's reference lets it move money once. Source: design `performance.md` (Decided).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import structlog
from django.db import IntegrityError
from django.db.models import F, Max

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


def settle_due(*, now: dt.datetime) -> Settled:
    """Settles every packet with claims in no batch or with an abandoned batch.

    One packet's failure is recorded on its batch, alerted when it lasts, and does not stop the others.
    """
    total = Settled()
    for packet_id in selectors.list_packets_to_settle(now=now, limit=DUE_ROWS):
        total += settle_packet(packet_id=packet_id, now=now)
    return total


def settle_packet(*, packet_id: str, now: dt.datetime) -> Settled:
    """Posts the packet's abandoned batches, then new ones of at most BATCH_SHARES until no claim is left.

    When every share is settled the packet becomes EXHAUSTED. Safe to repeat and to run in many workers: a batch is
    fixed once, and posting it again moves nothing. Never touches a share of another packet.
    """
    packet = RedPacket.objects.get(pk=packet_id)
    total = Settled()
    abandoned = Settlement.objects.filter(packet_id=packet_id, state=SettlementState.ASSIGNED, next_at__lte=now)
    for batch in abandoned.order_by("batch_no"):
        if _lease(batch, now):
            total += _post(packet, batch, now)
    while total.failed == 0:
        fixed = _fix_batch(packet, now)
        if fixed is None:
            break
        total += _post(packet, fixed, now)
    if closing.exhaust_if_settled(packet_id=packet_id, now=now):
        publishing.try_mark(packet_id=packet_id, state=PacketState.EXHAUSTED)
    return total


def _fix_batch(packet: RedPacket, now: dt.datetime) -> Settlement | None:
    """Commits the next batch with its receipts' numbers; None when no claim waits. Locks the chosen shares only.

    Claims are not held up: their rows are other ones, and the packet's row is not touched. Two workers that choose the
    same batch number collide on its unique key; the later one looks again.
    """
    waiting = Share.objects.filter(packet_id=packet.pk, settlement=None, claimed_at__isnull=False)
    chosen = list(waiting.order_by("claimed_at").values_list("pk", "receiver_id")[:BATCH_SHARES])
    if not chosen:
        return None
    receipts = {
        share_id: numbers.issue(prefix=numbers.Prefix.REDPACKET_RECEIPT, account_id=receiver_id)
        for share_id, receiver_id in chosen
        if receiver_id is not None
    }

    def work() -> Settlement | None:
        rows = list(waiting.filter(pk__in=receipts).select_for_update(skip_locked=True))
        if not rows:
            return None
        last = Settlement.objects.filter(packet_id=packet.pk).aggregate(last=Max("batch_no"))["last"]
        batch = Settlement.objects.create(
            packet_id=packet.pk,
            batch_no=(last or 0) + 1,
            share_count=len(rows),
            total_fen=sum(row.amount_fen for row in rows),
            created_at=now,
            next_at=now + dt.timedelta(seconds=LEASE_SECONDS),
        )
        for row in rows:
            row.settlement, row.receipt_no = batch, receipts[row.pk]
        Share.objects.bulk_update(rows, ["settlement", "receipt_no"])
        return batch

    for _ in range(transactions.MAX_TRIES):
        try:
            return transactions.run(work, using=roles.alias_for("redpacket"))
        except IntegrityError:
            logger.info("another worker fixed a batch of the packet first", packet_id=packet.pk)
    return None


def _lease(batch: Settlement, now: dt.datetime) -> bool:
    """Takes an abandoned batch for LEASE_SECONDS; False when another worker was faster."""
    mine = Settlement.objects.filter(pk=batch.pk, state=SettlementState.ASSIGNED, next_at=batch.next_at)
    return bool(mine.update(next_at=now + dt.timedelta(seconds=LEASE_SECONDS)))


def _post(packet: RedPacket, batch: Settlement, now: dt.datetime) -> Settled:
    rows = list(Share.objects.filter(settlement=batch).order_by("share_no"))
    try:
        if (len(rows), sum(row.amount_fen for row in rows)) != (batch.share_count, batch.total_fen):
            raise Broken({"settlement": str(batch), "reason": "the batch changed after it was fixed"})
        shares.settle(
            packet_id=packet.pk,
            funding_order_no=packet.funding_order_no,
            batch_no=batch.batch_no,
            sender=Person(employee_id=packet.sender_id, enterprise_id=packet.enterprise_id),
            shares=[_to_settle(row, packet.enterprise_id) for row in rows],
            now=now,
        )
    except PaysysError as error:
        _put_off(batch, error, now)
        return Settled(failed=1)

    def work() -> None:
        mine = Settlement.objects.filter(pk=batch.pk, state=SettlementState.ASSIGNED)
        if mine.update(state=SettlementState.POSTED, posted_at=now, last_error=""):
            Share.objects.filter(settlement=batch).update(settled_at=now)

    transactions.run(work, using=roles.alias_for("redpacket"))
    return Settled(batches=1, shares=len(rows))


def _to_settle(row: Share, enterprise_id: int) -> ShareToSettle:
    """Receivers are of the sender's enterprise: the packet goes to nobody else."""
    assert row.receiver_id is not None
    return ShareToSettle(
        share_no=row.share_no,
        receiver=Person(employee_id=row.receiver_id, enterprise_id=enterprise_id),
        amount_fen=row.amount_fen,
        receipt_no=row.receipt_no,
    )


def _put_off(batch: Settlement, error: PaysysError, now: dt.datetime) -> None:
    """Nothing dies: the batch is tried again after a growing pause, and a person is called when that does not help."""
    tries = batch.tries + 1
    pause = dt.timedelta(seconds=min(2**tries, MAX_BACK_OFF_SECONDS))
    Settlement.objects.filter(pk=batch.pk, state=SettlementState.ASSIGNED).update(
        tries=F("tries") + 1, next_at=now + pause, last_error=repr(error)[:2000]
    )
    logger.warning("settlement put off", settlement=str(batch), tries=tries, exc_info=True)
    if tries >= ALERT_AFTER_TRIES or isinstance(error, Broken):
        alerts.raise_alert(
            code="redpacket_settlement_failing",
            subject=str(batch),
            message=f"Tried {tries} times without success: {error!r}",
            now=now,
        )
