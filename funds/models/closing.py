"""Tables of the day close and of the chain over journals. All of them are insert-only (triggers, as the journals)."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from foundation.db import sharding
from foundation.db.fields import AsciiCharField, FenField
from funds.models.ledger import Account


@sharding.stored_on("funds")
class AccountSnapshot(models.Model):
    """An account's balance of all postings before `taken_at`, credit positive, the platform's accounts included.

    A row is written for the accounts that moved. Every posting of `taken_at` or later has an id of at least
    `later_posting_id`: a balance at a later moment is this row plus a short range of the account's index.
    """

    id = models.BigAutoField(primary_key=True)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="snapshots", db_index=False)
    taken_at = models.DateTimeField()
    available_fen = FenField()
    frozen_fen = FenField()
    later_posting_id = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "taken_at"], name="snapshot_once")]

    def __str__(self) -> str:
        return f"{self.account_id} at {self.taken_at:%Y-%m-%d %H:%M:%S}"


@sharding.stored_on("funds")
class ClosedDay(models.Model):
    """A business day (Asia/Shanghai) whose books are final: no journal with a moment before `ends_at` gets in.

    `later_posting_id` as in AccountSnapshot, for all accounts.
    """

    day = models.DateField(primary_key=True)
    ends_at = models.DateTimeField(unique=True)
    journal_count = models.PositiveBigIntegerField()
    posting_count = models.PositiveBigIntegerField()
    debit_fen = FenField()
    credit_fen = FenField()
    later_posting_id = models.BigIntegerField()
    closed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(debit_fen=F("credit_fen")), name="closed_day_balanced"),
        ]

    def __str__(self) -> str:
        return f"{self.day:%Y-%m-%d}"


@sharding.stored_on("funds")
class TrialBalanceLine(models.Model):
    """One code of the chart on one closed day: opening + credit − debit = closing; amounts signed, credit positive."""

    id = models.BigAutoField(primary_key=True)
    day = models.ForeignKey(ClosedDay, on_delete=models.PROTECT, related_name="lines")
    code = AsciiCharField(max_length=8)
    opening_fen = FenField()
    debit_fen = FenField()
    credit_fen = FenField()
    closing_fen = FenField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["day", "code"], name="trial_balance_once"),
            models.CheckConstraint(
                condition=Q(closing_fen=F("opening_fen") + F("credit_fen") - F("debit_fen")),
                name="trial_balance_adds_up",
            ),
            models.CheckConstraint(condition=Q(debit_fen__gte=0, credit_fen__gte=0), name="trial_balance_sides"),
        ]

    def __str__(self) -> str:
        return f"{self.day_id} {self.code}"


@sharding.stored_on("funds")
class JournalSeal(models.Model):
    """One link of the chain over journals: `mac` follows `previous_mac` over the digests of first_id … last_id.

    The key is named, never stored (settings.LEDGER_SEAL_KEYS). See funds.domain.digests.
    """

    number = models.BigIntegerField(primary_key=True)
    first_id = models.BigIntegerField(unique=True)
    last_id = models.BigIntegerField(unique=True)
    journal_count = models.PositiveIntegerField()
    previous_mac = AsciiCharField(max_length=64)
    mac = AsciiCharField(max_length=64)
    key_id = AsciiCharField(max_length=16)
    sealed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(first_id__lte=F("last_id")), name="seal_range"),
            models.CheckConstraint(condition=Q(journal_count__gt=0), name="seal_not_empty"),
        ]

    def __str__(self) -> str:
        return f"seal {self.number}"
