"""What was decided, for whom, and what was called; rows are only added, old calls purged. In the default database."""

from __future__ import annotations

from django.db import models

from foundation.db import sharding
from foundation.db.fields import AsciiCharField, FenField


@sharding.stored_on("default")
class RoutingDecision(models.Model):
    """Why a payment went to a channel, or to none (`chosen` is "" then).

    `candidates`: a list of {"channel", "weight", "exclusion"} in the order of their codes. `attempt_key` is empty for a
    refusal and unique otherwise: the first decision stands for every retry of the request.
    """

    id = models.BigAutoField(primary_key=True)
    order_no = AsciiCharField(max_length=32)
    attempt_key = AsciiCharField(max_length=128, null=True, unique=True)
    kind = AsciiCharField(max_length=16)
    scene = AsciiCharField(max_length=16)
    client_class = AsciiCharField(max_length=16)
    amount_fen = FenField()
    is_named = models.BooleanField()
    candidates = models.JSONField()
    chosen = AsciiCharField(max_length=16, blank=True, default="")
    decided_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["order_no"], name="routing_order_no")]

    def __str__(self) -> str:
        return f"{self.order_no} {self.chosen or 'refused'}"


@sharding.stored_on("default")
class AttemptReceiver(models.Model):
    """A merchant's own account that an attempt pays into; written before the provider hears of the attempt.

    Attempts for our own account have no row. Insert only: a query, a close or a refund must name the same account.
    """

    attempt_no = AsciiCharField(max_length=32, primary_key=True)
    channel = AsciiCharField(max_length=16)
    account_no = AsciiCharField(max_length=32)
    appid = AsciiCharField(max_length=32, blank=True, default="")
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.attempt_no} {self.account_no}"


@sharding.stored_on("default")
class CallRecord(models.Model):
    """One call to a provider: never a body, never a secret; `message` is masked and short.

    `number`: our attempt, refund, payout or verification number, or the day of a bill. `outcome`: of gateway.ports, a
    bill's state, or ERROR when the adapter raised (`code`: what).
    """

    id = models.BigAutoField(primary_key=True)
    channel = AsciiCharField(max_length=16)
    operation = AsciiCharField(max_length=24)
    number = AsciiCharField(max_length=64)
    outcome = AsciiCharField(max_length=16)
    code = AsciiCharField(max_length=64, blank=True, default="")
    message = models.CharField(max_length=200, blank=True, default="")
    milliseconds = models.PositiveIntegerField()
    request_id = AsciiCharField(max_length=64, blank=True, default="")
    called_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["number"], name="callrecord_number"),
            models.Index(fields=["called_at"], name="callrecord_called"),
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.operation} {self.number}"
