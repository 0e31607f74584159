"""Tables of withdrawals. Four eyes are the database's rule: CHECKs, unique keys and the triggers of migration 0002.

Everything stands on the role default, beside staff, so that foreign keys name the people. Card numbers, names and
phones are closed by foundation.crypto; look-ups go by blind index.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Length
from django.db.models.lookups import GreaterThanOrEqual
from django.utils.translation import gettext_lazy as _

from foundation import ids
from foundation.db import sharding
from foundation.db.fields import AsciiCharField, FenField
from withdrawals.domain.states import AT_PROVIDER, WithdrawalState

REASON_MIN_LENGTH = 5
CARD_COLUMN = "withdrawals_bankcard.card_no"
HOLDER_COLUMN = "withdrawals_bankcard.holder"
PHONE_COLUMN = "withdrawals_bankcard.phone"
OPENID_COLUMN = "withdrawals_wechataccount.openid"
WECHAT_HOLDER_COLUMN = "withdrawals_wechataccount.holder"
PAYEE_COLUMN = "withdrawals_withdrawal.payee_account"
PAYEE_NAME_COLUMN = "withdrawals_withdrawal.payee_name"


def _choices(enum: Any) -> list[tuple[str, str]]:
    return [(member.value, member.value.lower()) for member in enum]


@sharding.stored_on("default")
class BankCard(models.Model):
    """A card that an employee bound. `card_index` is unique among his present cards through `active_index`."""

    id = AsciiCharField(max_length=32, primary_key=True, default=ids.new_id)
    employee_id = models.BigIntegerField(_("employee"))
    enterprise_id = models.BigIntegerField(_("enterprise"))
    holder = AsciiCharField(max_length=1024)
    card_no = AsciiCharField(max_length=255)
    card_index = AsciiCharField(max_length=64)
    card_masked = AsciiCharField(_("card"), max_length=32)
    phone = AsciiCharField(max_length=255)
    phone_masked = AsciiCharField(_("phone"), max_length=16)
    bank_code = AsciiCharField(_("bank"), max_length=16)
    bank_name = models.CharField(_("bank name"), max_length=60)
    branch = models.CharField(_("branch"), max_length=120, blank=True, default="")
    is_second_class = models.BooleanField(_("second-class account"), default=False)
    verification_no = AsciiCharField(max_length=32, unique=True)
    created_at = models.DateTimeField(_("bound at"))
    removed_at = models.DateTimeField(_("removed at"), null=True)
    active_index = AsciiCharField(max_length=64, null=True)

    class Meta:
        verbose_name = _("bank card")
        verbose_name_plural = _("bank cards")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["employee_id", "active_index"], name="bankcard_active_once"),
            models.CheckConstraint(
                condition=Q(removed_at__isnull=True, active_index=F("card_index"))
                | Q(removed_at__isnull=False, active_index__isnull=True),
                name="bankcard_active_index",
            ),
        ]
        indexes = [models.Index(fields=["card_index"], name="bankcard_index")]

    def __str__(self) -> str:
        return self.card_masked


@sharding.stored_on("default")
class WechatAccount(models.Model):
    """The WeChat identity (openid of our own app) that an employee's withdrawals to WeChat go to."""

    employee_id = models.BigIntegerField(_("employee"), primary_key=True)
    enterprise_id = models.BigIntegerField(_("enterprise"))
    openid = AsciiCharField(max_length=512)
    openid_index = AsciiCharField(max_length=64)
    holder = AsciiCharField(max_length=1024)
    bound_at = models.DateTimeField(_("bound at"))

    class Meta:
        verbose_name = _("WeChat account")
        verbose_name_plural = _("WeChat accounts")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"WeChat of {self.employee_id}"


@sharding.stored_on("default")
class Withdrawal(models.Model):
    """One withdrawal, by the number of its order. Amounts in fen; the payee is a copy, not the card as it is today.

    `payout_no` is the provider's number: fixed when it is first sent and never another one, unless staff decided so
    after a recorded "no such order" (`Reissue`). `version` counts every change. `approval_round` counts the times it
    was sent round for approval; only decisions of the present round count.
    """

    order_no = AsciiCharField(_("order number"), max_length=32, primary_key=True)
    state = AsciiCharField(
        _("state"), max_length=16, choices=_choices(WithdrawalState), default=WithdrawalState.APPLYING.value
    )
    version = models.PositiveIntegerField(default=0)
    employee_id = models.BigIntegerField(_("employee"))
    enterprise_id = models.BigIntegerField(_("enterprise"))
    amount_fen = FenField(_("amount"))
    fee_fen = FenField(_("fee"), default=0)
    channel = AsciiCharField(_("channel"), max_length=16)
    bank_card = models.ForeignKey(BankCard, on_delete=models.PROTECT, null=True, related_name="+")
    payee_account = AsciiCharField(max_length=1024)
    payee_name = AsciiCharField(max_length=1024)
    payee_index = AsciiCharField(max_length=64)
    payee_name_index = AsciiCharField(max_length=64)
    payee_masked = models.CharField(_("payee"), max_length=64)
    bank_code = AsciiCharField(max_length=16, blank=True, default="")
    bank_name = models.CharField(_("bank name"), max_length=60, blank=True, default="")
    branch = models.CharField(max_length=120, blank=True, default="")
    risk_decision_id = models.BigIntegerField(null=True)
    approval_round = models.PositiveSmallIntegerField(default=1)
    needs_review = models.BooleanField(_("risk review"), default=False)
    approvals_needed = models.PositiveSmallIntegerField(_("approvals needed"))
    assigned_to = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("assigned to")
    )
    priority = models.PositiveSmallIntegerField(_("priority"), default=0)
    payout_no = AsciiCharField(_("payout number"), max_length=32, null=True, unique=True)
    payout_channel = AsciiCharField(max_length=16, blank=True, default="")
    provider_no = AsciiCharField(_("provider's number"), max_length=64, blank=True, default="")
    result_code = AsciiCharField(_("result"), max_length=64, blank=True, default="")
    result_message = models.CharField(max_length=255, blank=True, default="")
    confirmation = models.JSONField(null=True)
    reason = models.CharField(_("reason"), max_length=500, blank=True, default="")
    created_at = models.DateTimeField(_("applied at"))
    decided_at = models.DateTimeField(_("decided at"), null=True)
    sent_at = models.DateTimeField(_("sent at"), null=True)
    finished_at = models.DateTimeField(_("finished at"), null=True)
    next_check_at = models.DateTimeField(null=True)
    tries = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name = _("withdrawal")
        verbose_name_plural = _("withdrawals")
        default_permissions = ("view",)
        permissions = [
            ("approve_withdrawal", "Can approve or reject a withdrawal"),
            ("assign_withdrawal", "Can assign a withdrawal and ask back"),
            ("operate_payouts", "Can pause payouts and ask providers again"),
            ("propose_reissue", "Can propose a new payout number"),
            ("approve_reissue", "Can approve a new payout number that somebody else proposed"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(amount_fen__gt=0, fee_fen__gte=0), name="withdrawal_amounts"),
            models.CheckConstraint(
                condition=Q(approvals_needed__gte=1, approvals_needed__lte=2), name="withdrawal_approvals_needed"
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[state.value for state in AT_PROVIDER])
                | Q(payout_no__isnull=False, sent_at__isnull=False),
                name="withdrawal_sent_has_number",
            ),
            models.CheckConstraint(
                condition=~Q(state=WithdrawalState.REJECTED.value)
                | Q(GreaterThanOrEqual(Length("reason"), REASON_MIN_LENGTH)),
                name="withdrawal_rejection_reason",
            ),
            models.CheckConstraint(
                condition=Q(
                    state__in=["SUCCESS", "FAILED", "REJECTED", "CANCELLED", "RETURNED"], finished_at__isnull=False
                )
                | (
                    ~Q(state__in=["SUCCESS", "FAILED", "REJECTED", "CANCELLED", "RETURNED"])
                    & Q(finished_at__isnull=True)
                ),
                name="withdrawal_finished_at",
            ),
        ]
        indexes = [
            models.Index(fields=["employee_id", "-created_at", "-order_no"], name="withdrawal_employee"),
            models.Index(fields=["state", "created_at"], name="withdrawal_state"),
            models.Index(fields=["next_check_at"], name="withdrawal_due"),
            models.Index(fields=["payee_index"], name="withdrawal_payee"),
        ]

    def __str__(self) -> str:
        return self.order_no


@sharding.stored_on("default")
class Decision(models.Model):
    """One approver's word about one withdrawal. Insert only (triggers).

    `applicant_id` repeats the withdrawal's employee and `decided_by_employee_id` says which employee the member of
    staff is, if any: nobody decides about his own money, superusers included. `round` counts the times the withdrawal
    went back for approval; a person speaks once a round. `digest` is the signed snapshot of what he saw.
    """

    class Word(models.TextChoices):
        APPROVE = "APPROVE", _("approve")
        REJECT = "REJECT", _("reject")

    id = models.BigAutoField(primary_key=True)
    withdrawal = models.ForeignKey(Withdrawal, on_delete=models.PROTECT, related_name="decisions")
    round = models.PositiveSmallIntegerField()
    word = AsciiCharField(_("decision"), max_length=8, choices=Word.choices)
    applicant_id = models.BigIntegerField()
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("decided by")
    )
    decided_by_employee_id = models.BigIntegerField(null=True)
    reason = models.CharField(_("reason"), max_length=500, blank=True, default="")
    digest = AsciiCharField(max_length=64)
    code_device = AsciiCharField(max_length=64)
    decided_at = models.DateTimeField(_("decided at"))

    class Meta:
        verbose_name = _("decision")
        verbose_name_plural = _("decisions")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["withdrawal", "round", "decided_by"], name="decision_once_a_person"),
            models.CheckConstraint(
                condition=Q(decided_by_employee_id__isnull=True) | ~Q(decided_by_employee_id=F("applicant_id")),
                name="decision_not_by_applicant",
            ),
            models.CheckConstraint(
                condition=Q(word="APPROVE") | Q(GreaterThanOrEqual(Length("reason"), REASON_MIN_LENGTH)),
                name="decision_rejection_reason",
            ),
            models.CheckConstraint(condition=~Q(code_device=""), name="decision_with_code"),
        ]

    def __str__(self) -> str:
        return f"{self.withdrawal_id}: {self.word}"


@sharding.stored_on("default")
class Reissue(models.Model):
    """A new payout number for a withdrawal whose old one the provider does not know: proposed, and approved by another.

    `evidence` is the recorded answer "no such order". The old number is never sent again.
    """

    id = models.BigAutoField(primary_key=True)
    withdrawal = models.ForeignKey(Withdrawal, on_delete=models.PROTECT, related_name="reissues")
    old_payout_no = AsciiCharField(max_length=32, unique=True)
    new_payout_no = AsciiCharField(max_length=32, unique=True)
    evidence = models.JSONField()
    reason = models.CharField(_("reason"), max_length=500)
    proposed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    proposed_at = models.DateTimeField()
    approved_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    approved_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("new payout number")
        verbose_name_plural = _("new payout numbers")
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(
                condition=Q(approved_by__isnull=True) | ~Q(approved_by=F("proposed_by")), name="reissue_four_eyes"
            ),
            models.CheckConstraint(
                condition=Q(approved_by__isnull=True, approved_at__isnull=True)
                | Q(approved_by__isnull=False, approved_at__isnull=False),
                name="reissue_approval_complete",
            ),
            models.CheckConstraint(
                condition=GreaterThanOrEqual(Length("reason"), REASON_MIN_LENGTH), name="reissue_reason_given"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.old_payout_no} → {self.new_payout_no}"


@sharding.stored_on("default")
class WithdrawalEvent(models.Model):
    """What happened to a withdrawal, in order: written in the transaction of each change. Insert only (triggers)."""

    id = models.BigAutoField(primary_key=True)
    withdrawal = models.ForeignKey(Withdrawal, on_delete=models.PROTECT, related_name="events")
    version = models.PositiveIntegerField()
    kind = AsciiCharField(_("event"), max_length=32)
    state = AsciiCharField(_("state"), max_length=16, choices=_choices(WithdrawalState))
    actor = AsciiCharField(_("by"), max_length=64)
    note = models.CharField(_("note"), max_length=500, blank=True, default="")
    happened_at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        default_permissions = ("view",)
        constraints = [models.UniqueConstraint(fields=["withdrawal", "version"], name="withdrawalevent_version")]

    def __str__(self) -> str:
        return f"{self.withdrawal_id} {self.version}: {self.kind}"


@sharding.stored_on("default")
class PayoutPolicy(models.Model):
    """How one channel pays out; `channel` "*" holds what is common to all (the tier of approvals, the master switch).

    Amounts in fen, 0 is no limit; hours of the business day in which payouts are sent, [from, to).
    """

    channel = AsciiCharField(_("channel"), max_length=16, primary_key=True)
    is_paused = models.BooleanField(_("paused"), default=False)
    paused_reason = models.CharField(_("why paused"), max_length=200, blank=True, default="")
    two_approvals_above_fen = FenField(_("two approvals above"), default=5_000_00)
    min_amount_fen = FenField(_("smallest withdrawal"), default=100)
    max_amount_fen = FenField(_("largest withdrawal"), default=50_000_00)
    daily_cap_fen = FenField(_("cap of a day"), default=0)
    window_from_hour = models.PositiveSmallIntegerField(_("window from hour"), default=0)
    window_to_hour = models.PositiveSmallIntegerField(_("window to hour"), default=24)
    max_in_flight = models.PositiveSmallIntegerField(_("payouts at once"), default=20)
    float_warning_fen = FenField(_("warn when the payout balance is below"), default=0)

    class Meta:
        verbose_name = _("payout policy")
        verbose_name_plural = _("payout policies")
        default_permissions = ("view", "change")
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    two_approvals_above_fen__gte=0,
                    min_amount_fen__gt=0,
                    max_amount_fen__gte=F("min_amount_fen"),
                    daily_cap_fen__gte=0,
                    window_from_hour__lt=F("window_to_hour"),
                    window_to_hour__lte=24,
                    max_in_flight__gt=0,
                    float_warning_fen__gte=0,
                ),
                name="payoutpolicy_ranges",
            )
        ]

    def __str__(self) -> str:
        return self.channel
