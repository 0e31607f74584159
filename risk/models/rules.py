"""Versioned decision tables. Triggers of migration 0002 refuse what services never do: changing a submitted version."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from foundation.db import sharding
from foundation.db.fields import AsciiCharField
from risk.domain.facts import ACTION_NAMES, Action
from risk.domain.tables import Mode, RowAction, Until
from risk.domain.versions import SHIPPED_BY


@sharding.stored_on("default")
class RuleSet(models.Model):
    """The rules of one guarded action. `generation` grows with every activation: processes compare it."""

    id = models.BigAutoField(primary_key=True)
    action = AsciiCharField(
        _("action"), max_length=16, unique=True, choices=[(item.value, ACTION_NAMES[item][0]) for item in Action]
    )
    active = models.OneToOneField("RuleVersion", on_delete=models.PROTECT, null=True, related_name="+")
    generation = models.PositiveIntegerField(_("generation"), default=0)
    activated_at = models.DateTimeField(_("activated at"), null=True)

    class Meta:
        verbose_name = _("rule set")
        verbose_name_plural = _("rule sets")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.get_action_display()


@sharding.stored_on("default")
class RuleVersion(models.Model):
    """One version of a rule set. `active_once` repeats the rule set while ACTIVE and is unique: one is active.

    Staff are named by id and by the name they had. `digest` is of rows and thresholds, set at submission.
    """

    class State(models.TextChoices):
        DRAFT = "DRAFT", _("draft")
        SUBMITTED = "SUBMITTED", _("submitted")
        ACTIVE = "ACTIVE", _("active")
        RETIRED = "RETIRED", _("retired")
        REFUSED = "REFUSED", _("refused")

    id = models.BigAutoField(primary_key=True)
    rule_set = models.ForeignKey(RuleSet, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField(_("version"))
    state = AsciiCharField(_("state"), max_length=16, choices=State.choices, default=State.DRAFT)
    note = models.CharField(_("what changes, and why"), max_length=500, blank=True, default="")
    based_on = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="+")
    review_score = models.PositiveIntegerField(_("review from score"), default=0)
    reject_score = models.PositiveIntegerField(_("reject from score"), default=0)
    digest = AsciiCharField(max_length=64, blank=True, default="")
    made_by_id = models.BigIntegerField()
    made_by_name = models.CharField(_("made by"), max_length=150)
    made_at = models.DateTimeField(_("made at"))
    submitted_at = models.DateTimeField(_("submitted at"), null=True)
    decided_by_id = models.BigIntegerField(null=True)
    decided_by_name = models.CharField(_("decided by"), max_length=150, blank=True, default="")
    decided_at = models.DateTimeField(_("decided at"), null=True)
    decision_reason = models.CharField(_("reason of the decision"), max_length=500, blank=True, default="")
    retired_at = models.DateTimeField(_("retired at"), null=True)
    active_once = models.BigIntegerField(null=True, unique=True)

    class Meta:
        verbose_name = _("rule version")
        verbose_name_plural = _("rule versions")
        default_permissions = ("view",)
        permissions = [
            ("edit_rules", "Can write drafts of risk rules and submit them"),
            ("approve_rules", "Can approve or refuse risk rules of somebody else"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["rule_set", "number"], name="ruleversion_number_unique"),
            models.CheckConstraint(
                condition=Q(decided_by_id__isnull=True) | ~Q(decided_by_id=F("made_by_id")),
                name="ruleversion_four_eyes",
            ),
            models.CheckConstraint(
                condition=Q(
                    state="DRAFT", submitted_at__isnull=True, decided_by_id__isnull=True, decided_at__isnull=True
                )
                | (
                    Q(
                        state="SUBMITTED",
                        submitted_at__isnull=False,
                        decided_by_id__isnull=True,
                        decided_at__isnull=True,
                    )
                    & ~Q(digest="")
                )
                | (Q(state="REFUSED", decided_by_id__isnull=False, decided_at__isnull=False) & ~Q(decision_reason=""))
                | (
                    Q(state__in=["ACTIVE", "RETIRED"], submitted_at__isnull=False, decided_at__isnull=False)
                    & ~Q(digest="")
                    & (Q(decided_by_id__isnull=False) | Q(made_by_id=SHIPPED_BY, number=1))
                ),
                name="ruleversion_decision_complete",
            ),
            models.CheckConstraint(
                condition=Q(state="ACTIVE", active_once__isnull=False, active_once=F("rule_set"))
                | (Q(active_once__isnull=True) & ~Q(state="ACTIVE")),
                name="ruleversion_active_once",
            ),
        ]
        indexes = [models.Index(fields=["state", "submitted_at"], name="ruleversion_state")]

    def __str__(self) -> str:
        return f"{self.rule_set} v{self.number}"


@sharding.stored_on("default")
class RuleRow(models.Model):
    """One row of a version; see risk.domain.tables.Row. Changed only while its version is a draft."""

    id = models.BigAutoField(primary_key=True)
    version = models.ForeignKey(RuleVersion, on_delete=models.PROTECT, related_name="rows")
    position = models.PositiveSmallIntegerField()
    code = AsciiCharField(max_length=40)
    title_en = models.CharField(max_length=80)
    title_zh = models.CharField(max_length=80)
    expression = models.CharField(max_length=500)
    action = AsciiCharField(max_length=8, choices=[(item.value, item.value) for item in RowAction])
    score = models.PositiveIntegerField(default=0)
    mode = AsciiCharField(max_length=8, choices=[(item.value, item.value) for item in Mode])
    reason_en = models.CharField(max_length=200, blank=True, default="")
    reason_zh = models.CharField(max_length=200, blank=True, default="")
    until = AsciiCharField(max_length=8, choices=[(item.value, item.value) for item in Until])

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["version", "position"], name="rulerow_position_unique"),
            models.CheckConstraint(condition=Q(position__gte=1), name="rulerow_position_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.version_id}: {self.code}"
