"""Business backends, the orders they asked for, and the callbacks we owe them.

Plain orders live in `orders` and money in `funds`; these tables say only who must be told what.
"""

from __future__ import annotations

import datetime as dt

from django.core.validators import RegexValidator
from django.db import models

from foundation.db import sharding
from foundation.db.fields import AsciiCharField, FenField
from identity.models import Enterprise

LONG_AGO = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
"""For moments that compare as "over": simpler to ask for in SQL than NULL."""


@sharding.stored_on("default")
class BusinessApp(models.Model):
    """A business backend (业务后台) registered under its product id (商品号). `request.user` of signed requests.

    `secret` and `previous_secret` are encrypted; the previous one is good until `previous_until`. `leased_until`: one
    worker at a time sends to a receiver, so that a slow one takes no more than one. `paused_until` and
    `failures_in_row`: the breaker.
    """

    product_id = AsciiCharField(
        max_length=32,
        primary_key=True,
        validators=[RegexValidator(r"\A[A-Za-z][A-Za-z0-9_-]{2,31}\Z", "3 to 32 letters, digits, - or _.")],
    )
    name = models.CharField(max_length=100)
    enterprise = models.ForeignKey(Enterprise, on_delete=models.PROTECT, related_name="+")
    callback_url = AsciiCharField(max_length=500)
    is_active = models.BooleanField(default=True)
    secret = AsciiCharField(max_length=400)
    previous_secret = AsciiCharField(max_length=400, blank=True, default="")
    previous_until = models.DateTimeField(default=LONG_AGO)
    leased_until = models.DateTimeField(default=LONG_AGO)
    paused_until = models.DateTimeField(default=LONG_AGO)
    failures_in_row = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()

    class Meta:
        verbose_name = "business app"

    def __str__(self) -> str:
        return f"{self.name} ({self.product_id})"

    @property
    def is_authenticated(self) -> bool:
        """What DRF asks of a user; an app only gets there by a valid signature."""
        return True


@sharding.stored_on("default")
class BusinessOrder(models.Model):
    """What an app asked to be paid, unique per app and its own number; written before the order is opened.

    `employee_id` is the one who shall pay, 0 for anyone of the enterprise. `last_sequence` counts its callbacks.
    """

    id = models.BigAutoField(primary_key=True)
    app = models.ForeignKey(BusinessApp, on_delete=models.PROTECT, related_name="orders")
    business_order_no = AsciiCharField(max_length=64)
    order_no = AsciiCharField(max_length=32, unique=True)
    amount_fen = FenField()
    subject = models.CharField(max_length=60)
    employee_id = models.BigIntegerField(default=0)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    last_sequence = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["app", "business_order_no"], name="businessorder_number_unique"),
            models.CheckConstraint(condition=models.Q(amount_fen__gt=0), name="businessorder_amount_positive"),
        ]
        verbose_name = "business order"

    def __str__(self) -> str:
        return f"{self.app_id} {self.business_order_no}"


@sharding.stored_on("default")
class CallbackDelivery(models.Model):
    """One event an app must hear of. `body` is sent byte for byte the same at each try, with the same event id.

    WAITING rows are due from `next_at` on. A try that fails at or after `retry_until` makes it DEAD; staff replays it.
    """

    class State(models.TextChoices):
        WAITING = "WAITING", "waiting"
        DELIVERED = "DELIVERED", "delivered"
        DEAD = "DEAD", "dead letter"

    id = models.BigAutoField(primary_key=True)
    app = models.ForeignKey(BusinessApp, on_delete=models.PROTECT, related_name="deliveries")
    event_id = AsciiCharField(max_length=64, unique=True)
    order_no = AsciiCharField(max_length=32)
    sequence = models.PositiveIntegerField()
    body = models.TextField()
    state = AsciiCharField(max_length=16, choices=State.choices, default=State.WAITING)
    tries = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    next_at = models.DateTimeField()
    retry_until = models.DateTimeField()
    done_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=255, blank=True, default="")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["order_no", "sequence"], name="callback_sequence_unique")]
        indexes = [models.Index(fields=["state", "app", "next_at"], name="callback_due")]
        verbose_name = "callback"
        verbose_name_plural = "callbacks"

    def __str__(self) -> str:
        return self.event_id


@sharding.stored_on("default")
class CallbackTry(models.Model):
    """The log of a delivery: each try with what the receiver answered, and each replay with its reason."""

    id = models.BigAutoField(primary_key=True)
    delivery = models.ForeignKey(CallbackDelivery, on_delete=models.PROTECT, related_name="log")
    happened_at = models.DateTimeField()
    http_status = models.PositiveIntegerField(null=True)
    duration_ms = models.PositiveIntegerField(default=0)
    note = models.CharField(max_length=255, blank=True, default="")

    class Meta:
        verbose_name = "callback try"
        verbose_name_plural = "callback tries"

    def __str__(self) -> str:
        return f"{self.delivery_id} at {self.happened_at:%Y-%m-%d %H:%M:%S}"


@sharding.stored_on("default")
class AbnormalRefund(models.Model):
    """A refund that the provider took and does not carry out: staff must look at it. Open while `closed_at` is NULL.

    A note beside the refund's order, which alone decides. `code` and `provider_text` are the latest answer's.
    """

    refund_no = AsciiCharField(max_length=32, primary_key=True)
    order_no = AsciiCharField(max_length=32)
    channel = AsciiCharField(max_length=16)
    amount_fen = FenField()
    code = AsciiCharField(max_length=64)
    provider_text = models.CharField(max_length=255, blank=True, default="")
    times = models.PositiveIntegerField(default=1)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["closed_at", "first_at"], name="abnormal_refund_open")]
        constraints = [
            models.CheckConstraint(condition=models.Q(amount_fen__gt=0), name="abnormalrefund_amount_positive")
        ]
        verbose_name = "abnormal refund"

    def __str__(self) -> str:
        return self.refund_no
