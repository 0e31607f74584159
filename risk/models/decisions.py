"""What was decided, and what is counted towards limits."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from foundation.db import sharding
from foundation.db.fields import AsciiCharField, FenField
from risk.domain.facts import ACTION_NAMES, Action
from risk.domain.tables import Outcome
from risk.models.rules import RuleVersion

ACTION_CHOICES = [(item.value, ACTION_NAMES[item][0]) for item in Action]


@sharding.stored_on("default")
class Decision(models.Model):
    """One verdict with all it was based on. Insert only (trigger). `reference` is the caller's name of the request."""

    id = models.BigAutoField(primary_key=True)
    action = AsciiCharField(_("action"), max_length=16, choices=ACTION_CHOICES)
    reference = AsciiCharField(_("reference"), max_length=64)
    version = models.ForeignKey(RuleVersion, on_delete=models.PROTECT, null=True, related_name="+")
    employee_id = models.BigIntegerField(_("employee"))
    enterprise_id = models.BigIntegerField(_("enterprise"))
    channel = AsciiCharField(_("channel"), max_length=16)
    amount_fen = FenField(_("amount"))
    outcome = AsciiCharField(_("outcome"), max_length=8, choices=[(item.value, item.value.lower()) for item in Outcome])
    rule_code = AsciiCharField(_("rule"), max_length=40, blank=True)
    score = models.PositiveIntegerField(_("score"))
    reason_en = models.CharField(max_length=200, blank=True)
    reason_zh = models.CharField(max_length=200, blank=True)
    until_at = models.DateTimeField(_("until"), null=True)
    facts = models.JSONField(_("facts"))
    hits = models.JSONField(_("hits"))
    shadow_hits = models.JSONField(_("shadow hits"))
    errors = models.JSONField(_("errors"))
    duration_us = models.PositiveIntegerField(_("microseconds"))
    created_at = models.DateTimeField(_("time"))

    class Meta:
        verbose_name = _("decision")
        verbose_name_plural = _("decision log")
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["action", "reference"], name="decision_reference"),
            models.Index(fields=["employee_id", "action", "created_at"], name="decision_employee"),
            models.Index(fields=["action", "created_at"], name="decision_action_time"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.reference}: {self.outcome}"


@sharding.stored_on("default")
class Counter(models.Model):
    """Count and amount of the standing reservations of one subject in one period; the row that is locked.

    `name` is made by risk.domain.limits. `version` grows with every change.
    """

    name = AsciiCharField(primary_key=True, max_length=120)
    count = models.IntegerField()
    amount_fen = FenField()
    version = models.PositiveIntegerField()
    day = models.DateField()

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(condition=Q(count__gte=0, amount_fen__gte=0), name="counter_not_negative")
        ]
        indexes = [models.Index(fields=["day"], name="counter_day")]

    def __str__(self) -> str:
        return self.name


@sharding.stored_on("default")
class Reservation(models.Model):
    """One request's part of the limits: HELD → SETTLED, and back to RETURNED when the money surely did not go."""

    class State(models.TextChoices):
        HELD = "HELD", _("held")
        SETTLED = "SETTLED", _("settled")
        RETURNED = "RETURNED", _("returned")

    id = models.BigAutoField(primary_key=True)
    action = AsciiCharField(_("action"), max_length=16, choices=ACTION_CHOICES)
    reference = AsciiCharField(_("reference"), max_length=64)
    employee_id = models.BigIntegerField(_("employee"))
    channel = AsciiCharField(_("channel"), max_length=16)
    card_index = AsciiCharField(max_length=64, blank=True, default="")
    amount_fen = FenField(_("amount"))
    day = models.DateField(_("business day"))
    state = AsciiCharField(_("state"), max_length=8, choices=State.choices, default=State.HELD)
    decision = models.ForeignKey(Decision, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(_("time"))
    ended_at = models.DateTimeField(_("settled or returned"), null=True)

    class Meta:
        verbose_name = _("reservation")
        verbose_name_plural = _("reservations")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["action", "reference"], name="reservation_reference_unique"),
            models.CheckConstraint(condition=Q(amount_fen__gt=0), name="reservation_amount_positive"),
        ]
        indexes = [models.Index(fields=["employee_id", "action", "created_at"], name="reservation_employee")]

    def __str__(self) -> str:
        return f"{self.action} {self.reference}"
