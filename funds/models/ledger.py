"""Tables of the ledger: accounts, holds, journals, postings."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from foundation.db import sharding
from foundation.db.fields import AsciiCharField, FenField
from foundation.money import yuan_display
from funds.domain.chart import OwnerKind
from funds.domain.entries import Bucket, Category


@sharding.stored_on("funds")
class Account(models.Model):
    """One owner's money of one kind. Platform accounts carry no live balance: theirs is the sum of their postings."""

    id = models.BigAutoField(primary_key=True)
    owner_kind = AsciiCharField(max_length=16, choices=[(kind.value, kind.value.lower()) for kind in OwnerKind])
    owner_id = AsciiCharField(max_length=32)
    code = AsciiCharField(max_length=8)
    enterprise_id = AsciiCharField(max_length=32, blank=True, default="")
    available_fen = FenField(default=0)
    frozen_fen = FenField(default=0)
    version = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["owner_kind", "owner_id", "code"], name="account_owner_code_unique"),
            models.CheckConstraint(condition=Q(available_fen__gte=0), name="account_available_not_negative"),
            models.CheckConstraint(condition=Q(frozen_fen__gte=0), name="account_frozen_not_negative"),
            models.CheckConstraint(
                condition=~Q(owner_kind="PLATFORM") | Q(available_fen=0, frozen_fen=0),
                name="account_platform_without_balance",
            ),
        ]
        indexes = [models.Index(fields=["enterprise_id"], name="account_enterprise")]

    def __str__(self) -> str:
        return f"{self.code} {self.owner_kind.lower()} {self.owner_id}"


@sharding.stored_on("funds")
class Journal(models.Model):
    """One movement. Insert only; a mistake is corrected by the opposite journal."""

    id = models.BigAutoField(primary_key=True)
    kind = AsciiCharField(max_length=32)
    reference = AsciiCharField(max_length=64)
    order_no = AsciiCharField(max_length=32, blank=True)
    source_no = AsciiCharField(max_length=64, blank=True)
    actor = AsciiCharField(max_length=64)
    memo = models.CharField(max_length=255, blank=True)
    debit_total_fen = FenField()
    credit_total_fen = FenField()
    posting_count = models.PositiveIntegerField()
    digest = AsciiCharField(max_length=64, default="", db_default="", help_text="funds.domain.digests.journal_digest")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["kind", "reference"], name="journal_kind_reference_unique"),
            models.CheckConstraint(condition=Q(debit_total_fen=F("credit_total_fen")), name="journal_balanced"),
            models.CheckConstraint(condition=Q(credit_total_fen__gt=0), name="journal_not_empty"),
            models.CheckConstraint(condition=Q(posting_count__gte=2), name="journal_two_lines"),
        ]
        indexes = [
            models.Index(fields=["order_no"], name="journal_order"),
            models.Index(fields=["reference"], name="journal_reference"),
            models.Index(fields=["source_no"], name="journal_source"),
            models.Index(fields=["created_at"], name="journal_created"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.reference}"


@sharding.stored_on("funds")
class Posting(models.Model):
    """One line of a journal; signed, credit positive. `balance_after_fen` is of the bucket, customers only."""

    id = models.BigAutoField(primary_key=True)
    journal = models.ForeignKey(Journal, on_delete=models.PROTECT, related_name="postings")
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="postings", db_index=False)
    bucket = AsciiCharField(max_length=16, choices=[(bucket.value, bucket.value.lower()) for bucket in Bucket])
    amount_fen = FenField()
    category = AsciiCharField(max_length=16, choices=[(item.value, item.value.lower()) for item in Category])
    balance_after_fen = FenField(null=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["journal", "account", "bucket"], name="posting_once_per_bucket"),
            models.CheckConstraint(condition=~Q(amount_fen=0), name="posting_not_zero"),
        ]
        indexes = [models.Index(fields=["account", "id"], name="posting_account")]

    def __str__(self) -> str:
        return f"{self.journal_id}: {yuan_display(self.amount_fen)} {self.bucket.lower()}"


@sharding.stored_on("funds")
class Hold(models.Model):
    """One freeze (冻结单): spent in parts, resolved exactly once."""

    class State(models.TextChoices):
        OPEN = "OPEN", "open"
        SETTLED = "SETTLED", "settled"
        RELEASED = "RELEASED", "released"

    id = models.BigAutoField(primary_key=True)
    key = AsciiCharField(max_length=64, unique=True)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="holds")
    amount_fen = FenField()
    remaining_fen = FenField()
    state = AsciiCharField(max_length=16, choices=State.choices, default=State.OPEN)
    opened_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(remaining_fen__gte=0) & Q(remaining_fen__lte=F("amount_fen")), name="hold_remaining_bounds"
            ),
            models.CheckConstraint(condition=Q(amount_fen__gt=0), name="hold_amount_positive"),
            models.CheckConstraint(
                condition=Q(state="OPEN", remaining_fen__gt=0, resolved_at__isnull=True)
                | Q(state__in=["SETTLED", "RELEASED"], remaining_fen=0, resolved_at__isnull=False),
                name="hold_resolved_when_empty",
            ),
        ]

    def __str__(self) -> str:
        return self.key
