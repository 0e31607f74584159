"""Tables of red packets: the truth about who has which share. Redis only hands out tickets."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import F, Q

from foundation import ids
from foundation.db import sharding
from foundation.db.fields import AsciiCharField, FenField
from redpacket.domain.articles import URL_MAX_CHARACTERS
from redpacket.domain.rules import DEFAULT_COVER, GREETING_MAX_CHARACTERS
from redpacket.domain.states import CLOSED_STATES, PacketKind, PacketState, RefundState, SettlementState


def _choices(enum: Any) -> list[tuple[str, str]]:
    return [(member.value, member.value.lower()) for member in enum]


_NEVER_CLOSED = [state.value for state in PacketState if state not in CLOSED_STATES]
_NEVER_OPENED = [PacketState.DRAFT.value, PacketState.CANCELLED.value]


@sharding.stored_on("redpacket")
class RedPacket(models.Model):
    """One packet. `sender_id`, `receiver_id` and `enterprise_id` are primary keys of identity, `group_id` too.

    `funding_order_no` is the order that pays it; it is unique, so a repeated request finds the packet of the first.
    `pay_source` is "wallet" or a channel. `lifetime_seconds` counts from the opening; NULL is the platform's setting.
    `rest_fen` and `refund_no` are fixed when the packet closes. Claims take a shared lock of the row and never write
    it; opening and closing take the exclusive one. `concluded_at` is set after the closing, together with how many
    shares were claimed and the id of the luckiest one (NULL: a normal packet, or nothing was claimed); a closed packet
    without it waits for `services.announcing`. An article packet has `article_url` and `reading_seconds`.
    """

    id = AsciiCharField(max_length=32, primary_key=True, default=ids.new_id)
    kind = AsciiCharField(max_length=16, choices=_choices(PacketKind))
    state = AsciiCharField(max_length=16, choices=_choices(PacketState), default=PacketState.DRAFT.value)
    sender_id = models.BigIntegerField()
    enterprise_id = models.BigIntegerField()
    receiver_id = models.BigIntegerField(null=True)
    group_id = AsciiCharField(max_length=32, blank=True, default="")
    total_fen = FenField()
    count = models.PositiveIntegerField()
    greeting = models.CharField(max_length=GREETING_MAX_CHARACTERS, blank=True, default="")
    cover = AsciiCharField(max_length=16, default=DEFAULT_COVER)
    article_url = AsciiCharField(max_length=URL_MAX_CHARACTERS, blank=True, default="")
    reading_seconds = models.PositiveIntegerField(null=True)
    funding_order_no = AsciiCharField(max_length=32, unique=True)
    pay_source = AsciiCharField(max_length=16)
    created_at = models.DateTimeField()
    lifetime_seconds = models.PositiveIntegerField(null=True)
    opened_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    rest_fen = FenField(null=True)
    refund_no = AsciiCharField(max_length=32, blank=True, default="")
    refund_state = AsciiCharField(max_length=16, choices=_choices(RefundState), default=RefundState.NONE.value)
    claimed_count = models.PositiveIntegerField(null=True)
    best_share_id = models.BigIntegerField(null=True)
    concluded_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "red packet"
        constraints = [
            models.CheckConstraint(condition=Q(total_fen__gt=0) & Q(count__gt=0), name="redpacket_amounts_positive"),
            models.CheckConstraint(
                condition=Q(kind=PacketKind.NORMAL.value, receiver_id__isnull=False, group_id="", count=1)
                | (Q(kind=PacketKind.LUCKY.value, receiver_id__isnull=True) & ~Q(group_id="")),
                name="redpacket_kind_shape",
            ),
            models.CheckConstraint(
                condition=Q(state__in=_NEVER_OPENED)
                | Q(state=PacketState.EXPIRED.value)
                | Q(opened_at__isnull=False, expires_at__isnull=False),
                name="redpacket_open_has_expiry",
            ),
            models.CheckConstraint(
                condition=Q(state__in=_NEVER_CLOSED, rest_fen__isnull=True)
                | Q(state=PacketState.EXHAUSTED.value, rest_fen=0, closed_at__isnull=False)
                | Q(
                    state=PacketState.EXPIRED.value,
                    rest_fen__gt=0,
                    rest_fen__lte=F("total_fen"),
                    closed_at__isnull=False,
                ),
                name="redpacket_rest_when_closed",
            ),
            models.CheckConstraint(
                condition=(
                    Q(state=PacketState.EXPIRED.value) & ~Q(refund_no="") & ~Q(refund_state=RefundState.NONE.value)
                )
                | (~Q(state=PacketState.EXPIRED.value) & Q(refund_no="", refund_state=RefundState.NONE.value)),
                name="redpacket_refund_when_expired",
            ),
            models.CheckConstraint(
                condition=Q(article_url="", reading_seconds__isnull=True)
                | (~Q(article_url="") & Q(reading_seconds__gt=0)),
                name="redpacket_article_complete",
            ),
        ]
        indexes = [
            models.Index(fields=["state", "expires_at"], name="redpacket_state_expires"),
            models.Index(fields=["sender_id", "-id"], name="redpacket_sender"),
            models.Index(fields=["refund_state", "closed_at"], name="redpacket_refund_due"),
            # "Closed, not concluded" is concluded_at IS NULL and a range of closed_at: open packets are jumped over.
            models.Index(fields=["concluded_at", "closed_at"], name="redpacket_to_conclude"),
            # The statistics read nothing but these two.
            models.Index(fields=["sender_id", "opened_at", "total_fen"], name="redpacket_sender_opened"),
            models.Index(
                fields=["enterprise_id", "opened_at", "total_fen", "rest_fen"], name="redpacket_enterprise_opened"
            ),
        ]

    def __str__(self) -> str:
        return self.id


@sharding.stored_on("redpacket")
class Settlement(models.Model):
    """A batch of claims that becomes one journal, `<packet>:<batch_no>`.

    Fixed here, with the receipts' numbers, before the ledger is asked: after a crash exactly the same batch is
    asked for again. `next_at` is a lease while somebody works on it and the pause after a failure. `announced_at` is
    set when the sender was told of it.
    """

    id = models.BigAutoField(primary_key=True)
    packet = models.ForeignKey(RedPacket, on_delete=models.PROTECT, related_name="settlements", db_index=False)
    batch_no = models.PositiveIntegerField()
    state = AsciiCharField(max_length=16, choices=_choices(SettlementState), default=SettlementState.ASSIGNED.value)
    share_count = models.PositiveIntegerField()
    total_fen = FenField()
    tries = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True, default="")
    created_at = models.DateTimeField()
    next_at = models.DateTimeField()
    posted_at = models.DateTimeField(null=True)
    announced_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["packet", "batch_no"], name="settlement_packet_batch"),
            models.CheckConstraint(condition=Q(share_count__gt=0) & Q(total_fen__gt=0), name="settlement_not_empty"),
            models.CheckConstraint(
                condition=Q(state=SettlementState.ASSIGNED.value, posted_at__isnull=True)
                | Q(state=SettlementState.POSTED.value, posted_at__isnull=False),
                name="settlement_posted_at",
            ),
        ]
        indexes = [
            models.Index(fields=["state", "next_at"], name="settlement_due"),
            models.Index(fields=["announced_at", "posted_at"], name="settlement_to_announce"),
        ]

    def __str__(self) -> str:
        return f"{self.packet_id}:{self.batch_no}"


@sharding.stored_on("redpacket")
class Share(models.Model):
    """One share (小红包). Made with the packet; claimed once by a conditional update; settled once in a batch."""

    id = models.BigAutoField(primary_key=True)
    packet = models.ForeignKey(RedPacket, on_delete=models.PROTECT, related_name="shares", db_index=False)
    share_no = models.PositiveIntegerField()
    amount_fen = FenField()
    receiver_id = models.BigIntegerField(null=True)
    claimed_at = models.DateTimeField(null=True)
    settlement = models.ForeignKey(
        Settlement, on_delete=models.PROTECT, related_name="shares", null=True, db_index=False
    )
    receipt_no = AsciiCharField(max_length=32, blank=True, default="")
    settled_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["packet", "share_no"], name="share_packet_no"),
            models.UniqueConstraint(fields=["packet", "receiver_id"], name="share_packet_receiver"),
            models.CheckConstraint(condition=Q(amount_fen__gt=0) & Q(share_no__gt=0), name="share_positive"),
            models.CheckConstraint(
                condition=Q(receiver_id__isnull=True, claimed_at__isnull=True, settlement__isnull=True)
                | Q(receiver_id__isnull=False, claimed_at__isnull=False),
                name="share_claim_complete",
            ),
            models.CheckConstraint(
                condition=Q(settlement__isnull=True, receipt_no="", settled_at__isnull=True)
                | (Q(settlement__isnull=False) & ~Q(receipt_no="")),
                name="share_settlement_complete",
            ),
        ]
        indexes = [
            # "Claimed, in no batch yet" is settlement IS NULL and a range of claimed_at: free shares are jumped over.
            models.Index(fields=["settlement", "claimed_at", "packet"], name="share_unsettled"),
            models.Index(fields=["receiver_id", "-claimed_at", "-id"], name="share_received"),
        ]

    def __str__(self) -> str:
        return f"{self.packet_id}#{self.share_no}"


@sharding.stored_on("redpacket")
class Reading(models.Model):
    """An employee reads the article of a packet. Only who has `finished_at` may grab (`selectors.is_member`)."""

    id = models.BigAutoField(primary_key=True)
    packet = models.ForeignKey(RedPacket, on_delete=models.PROTECT, related_name="readings", db_index=False)
    employee_id = models.BigIntegerField()
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["packet", "employee_id"], name="reading_packet_employee"),
            models.CheckConstraint(
                condition=Q(finished_at__isnull=True) | Q(finished_at__gt=F("started_at")), name="reading_order"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.employee_id} reads {self.packet_id}"
