"""Tables of fund adjustments (资金调整): what one member of staff proposes and another one posts or refuses.

The database enforces four eyes and, by the triggers of migration 0008, that nothing of a proposal is changed, added or
deleted afterwards and that a decision stands for ever. Staff are users of the role default, which no foreign key
reaches: they are named by id and by the name they had.
"""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Length
from django.db.models.lookups import GreaterThanOrEqual
from django.utils.translation import gettext_lazy as _

from foundation.db import sharding
from foundation.db.fields import AsciiCharField, FenField
from funds.domain.adjustments import REASON_MIN_LENGTH
from funds.domain.entries import Category, OwnerKind
from funds.models.ledger import Journal


@sharding.stored_on("funds")
class Adjustment(models.Model):
    """One proposal and its decision. `digest` is a keyed hash of everything that was proposed.

    `journal` is what the approval posted. `reverses` is the journal this is the opposite of, if any; an approval
    repeats it in `reversed_once`, which is unique, so that no journal is reversed twice. A withdrawal is the proposer's
    own: it has a time but no decider.
    """

    class State(models.TextChoices):
        PROPOSED = "PROPOSED", _("proposed")
        APPROVED = "APPROVED", _("approved")
        REJECTED = "REJECTED", _("rejected")
        WITHDRAWN = "WITHDRAWN", _("withdrawn")

    id = models.BigAutoField(primary_key=True)
    number = AsciiCharField(_("number"), max_length=32, unique=True)
    request_key = AsciiCharField(max_length=64, unique=True)
    state = AsciiCharField(_("state"), max_length=16, choices=State.choices, default=State.PROPOSED)
    reason = models.CharField(_("reason"), max_length=500)
    order_no = AsciiCharField(_("order number"), max_length=32, blank=True)
    reverses = models.ForeignKey(Journal, on_delete=models.PROTECT, null=True, related_name="+")
    line_count = models.PositiveSmallIntegerField()
    evidence_count = models.PositiveSmallIntegerField()
    total_fen = FenField()
    digest = AsciiCharField(max_length=64)
    proposed_by_id = models.BigIntegerField()
    proposed_by_name = models.CharField(_("proposed by"), max_length=150)
    proposed_at = models.DateTimeField(_("proposed at"))
    decided_by_id = models.BigIntegerField(null=True)
    decided_by_name = models.CharField(_("decided by"), max_length=150, blank=True, default="")
    decided_at = models.DateTimeField(_("decided at"), null=True)
    decision_reason = models.CharField(_("reason of the decision"), max_length=500, blank=True, default="")
    journal = models.OneToOneField(Journal, on_delete=models.PROTECT, null=True, related_name="adjustment")
    reversed_once = models.BigIntegerField(null=True, unique=True)

    class Meta:
        verbose_name = _("adjustment")
        verbose_name_plural = _("adjustments")
        default_permissions = ("view",)
        permissions = [
            ("propose_adjustment", "Can propose an adjustment"),
            ("approve_adjustment", "Can approve or reject an adjustment of somebody else"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(decided_by_id__isnull=True) | ~Q(decided_by_id=F("proposed_by_id")),
                name="adjustment_four_eyes",
            ),
            models.CheckConstraint(
                condition=Q(
                    state="PROPOSED",
                    decided_by_id__isnull=True,
                    decided_by_name="",
                    decided_at__isnull=True,
                    decision_reason="",
                    journal__isnull=True,
                )
                | (
                    Q(
                        state="APPROVED",
                        decided_by_id__isnull=False,
                        decided_at__isnull=False,
                        journal__isnull=False,
                    )
                    & ~Q(decided_by_name="")
                )
                | (
                    Q(
                        state="REJECTED",
                        decided_by_id__isnull=False,
                        decided_at__isnull=False,
                        journal__isnull=True,
                    )
                    & ~Q(decided_by_name="")
                    & ~Q(decision_reason="")
                )
                | Q(
                    state="WITHDRAWN",
                    decided_by_id__isnull=True,
                    decided_by_name="",
                    decided_at__isnull=False,
                    journal__isnull=True,
                ),
                name="adjustment_decision_complete",
            ),
            models.CheckConstraint(
                condition=Q(reversed_once__isnull=True, state__in=["PROPOSED", "REJECTED", "WITHDRAWN"])
                | Q(reversed_once__isnull=True, reverses__isnull=True)
                | Q(reversed_once__isnull=False, reversed_once=F("reverses"), state="APPROVED"),
                name="adjustment_reverses_once",
            ),
            models.CheckConstraint(
                condition=GreaterThanOrEqual(Length("reason"), REASON_MIN_LENGTH), name="adjustment_reason_given"
            ),
            models.CheckConstraint(
                condition=Q(line_count__gte=2, evidence_count__gte=1, total_fen__gt=0), name="adjustment_not_empty"
            ),
        ]
        indexes = [
            models.Index(fields=["state", "proposed_at"], name="adjustment_state"),
            models.Index(fields=["order_no"], name="adjustment_order"),
        ]

    def __str__(self) -> str:
        return self.number


@sharding.stored_on("funds")
class AdjustmentLine(models.Model):
    """One line to be posted to the AVAILABLE bucket; signed, credit positive. Insert only."""

    id = models.BigAutoField(primary_key=True)
    adjustment = models.ForeignKey(Adjustment, on_delete=models.PROTECT, related_name="lines")
    line_no = models.PositiveSmallIntegerField()
    owner_kind = AsciiCharField(max_length=16, choices=[(kind.value, kind.value.lower()) for kind in OwnerKind])
    owner_id = AsciiCharField(max_length=32, blank=True)
    code = AsciiCharField(max_length=8)
    enterprise_id = AsciiCharField(max_length=32, blank=True, default="")
    amount_fen = FenField()
    category = AsciiCharField(max_length=16, choices=[(item.value, item.value.lower()) for item in Category])

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["adjustment", "line_no"], name="adjustmentline_no_unique"),
            models.UniqueConstraint(
                fields=["adjustment", "owner_kind", "owner_id", "code"], name="adjustmentline_account_once"
            ),
            models.CheckConstraint(condition=~Q(amount_fen=0), name="adjustmentline_not_zero"),
            models.CheckConstraint(condition=Q(line_no__gte=1), name="adjustmentline_no_positive"),
            models.CheckConstraint(
                condition=Q(owner_kind="PLATFORM", category="PLATFORM")
                | (
                    Q(category__in=["RECHARGE", "INCOME", "CONSUMPTION", "WITHDRAWAL"])
                    & ~Q(owner_kind="PLATFORM")
                    & ~Q(owner_id="")
                    & ~Q(enterprise_id="")
                ),
                name="adjustmentline_category_fits",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.adjustment_id}: {self.line_no}"


@sharding.stored_on("funds")
class AdjustmentEvidence(models.Model):
    """One file that supports the proposal: an attachment of the foundation by its digest. Insert only."""

    id = models.BigAutoField(primary_key=True)
    adjustment = models.ForeignKey(Adjustment, on_delete=models.PROTECT, related_name="evidence")
    evidence_no = models.PositiveSmallIntegerField()
    digest = AsciiCharField(max_length=64)
    name = models.CharField(max_length=120)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["adjustment", "evidence_no"], name="adjustmentevidence_no_unique"),
            models.UniqueConstraint(fields=["adjustment", "digest"], name="adjustmentevidence_file_once"),
            models.CheckConstraint(condition=Q(evidence_no__gte=1), name="adjustmentevidence_no_positive"),
        ]

    def __str__(self) -> str:
        return self.name
