"""Tables of scan to collect. Four eyes over receiving accounts are the database's rule: CHECKs and migration 0002.

Everything stands on the role default, beside staff and enterprises, so that foreign keys name them.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from collect.domain.rules import CHANNELS, MAX_AMOUNT_FEN, CodeKind
from collect.domain.states import (
    APPROVED_BINDINGS,
    BindingState,
    CodeState,
    CollectionState,
    CrmState,
    RefundState,
)
from foundation import ids
from foundation.db import sharding
from foundation.db.fields import AsciiCharField, FenField
from identity.models import Employee, Enterprise

APPROVED_VALUES = [state.value for state in APPROVED_BINDINGS]


def _choices(enum: Any) -> list[tuple[str, str]]:
    return [(member.value, member.value.lower()) for member in enum]


@sharding.stored_on("default")
class Binding(models.Model):
    """A merchant's own receiving account at a channel (service-provider mode): money of its collections goes there.

    The maker is an employee of the enterprise or a member of staff, never both. `active_mark` is 1 on the one in use of
    an enterprise and channel; `live_mark` is 1 unless rejected, so that a sub-merchant number is bound once.
    """

    id = AsciiCharField(max_length=32, primary_key=True, default=ids.new_id)
    enterprise = models.ForeignKey(Enterprise, on_delete=models.PROTECT, related_name="+")
    channel = AsciiCharField(_("channel"), max_length=16, choices=[(channel, channel) for channel in CHANNELS])
    sub_merchant_no = AsciiCharField(_("sub-merchant number"), max_length=32)
    sub_appid = AsciiCharField(max_length=32, blank=True, default="")
    display_name = models.CharField(_("name shown to payers"), max_length=60)
    state = AsciiCharField(_("state"), max_length=16, choices=_choices(BindingState), default=BindingState.DRAFT.value)
    active_mark = models.PositiveSmallIntegerField(null=True)
    live_mark = models.PositiveSmallIntegerField(null=True, default=1)
    made_by_employee = models.ForeignKey(Employee, on_delete=models.PROTECT, null=True, related_name="+")
    made_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("made by")
    )
    verified_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("verified by")
    )
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("approved by")
    )
    created_at = models.DateTimeField(_("made at"))
    approved_at = models.DateTimeField(_("approved at"), null=True)

    class Meta:
        verbose_name = _("receiving account")
        verbose_name_plural = _("receiving accounts")
        default_permissions = ("view",)
        permissions = [
            ("verify_binding", "Can verify or reject a receiving account"),
            ("approve_binding", "Can approve or reject a receiving account that somebody else made"),
            ("switch_binding", "Can take a receiving account into use and out of it"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["channel", "sub_merchant_no", "live_mark"], name="binding_number_once"),
            models.UniqueConstraint(fields=["enterprise", "channel", "active_mark"], name="binding_active_once"),
            models.CheckConstraint(
                condition=Q(made_by__isnull=True, made_by_employee__isnull=False)
                | Q(made_by__isnull=False, made_by_employee__isnull=True),
                name="binding_one_maker",
            ),
            models.CheckConstraint(
                condition=Q(approved_by__isnull=True) | Q(made_by__isnull=True) | ~Q(approved_by=F("made_by")),
                name="binding_four_eyes",
            ),
            models.CheckConstraint(
                condition=Q(state__in=APPROVED_VALUES, approved_by__isnull=False, approved_at__isnull=False)
                | (~Q(state__in=APPROVED_VALUES) & Q(approved_by__isnull=True, approved_at__isnull=True)),
                name="binding_approved_by_somebody",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["DRAFT", "REJECTED"]) | Q(verified_by__isnull=False),
                name="binding_verified_by_somebody",
            ),
            models.CheckConstraint(
                condition=Q(state="ACTIVE", active_mark=1, active_mark__isnull=False)
                | (~Q(state="ACTIVE") & Q(active_mark__isnull=True)),
                name="binding_active_mark",
            ),
            models.CheckConstraint(
                condition=(~Q(state="REJECTED") & Q(live_mark=1, live_mark__isnull=False))
                | Q(state="REJECTED", live_mark__isnull=True),
                name="binding_live_mark",
            ),
        ]
        indexes = [models.Index(fields=["state", "created_at"], name="binding_state")]

    def __str__(self) -> str:
        return f"{self.display_name} ({self.channel} {self.sub_merchant_no})"


@sharding.stored_on("default")
class BindingEvent(models.Model):
    """What happened to a binding, written in the transaction of each change. Insert only (triggers)."""

    id = models.BigAutoField(primary_key=True)
    binding = models.ForeignKey(Binding, on_delete=models.PROTECT, related_name="events")
    state = AsciiCharField(_("state"), max_length=16, choices=_choices(BindingState))
    actor = AsciiCharField(_("by"), max_length=64)
    note = models.CharField(_("note"), max_length=500, blank=True, default="")
    happened_at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.binding_id}: {self.state}"


@sharding.stored_on("default")
class Code(models.Model):
    """What is shown as a QR code. `id` is short and unguessable; `amount_fen` NULL lets the payer type one.

    An order's code names its subject, amount and CRM order and is paid once.
    """

    id = AsciiCharField(max_length=16, primary_key=True)
    enterprise = models.ForeignKey(Enterprise, on_delete=models.PROTECT, related_name="+")
    employee = models.ForeignKey(Employee, on_delete=models.PROTECT, related_name="+", verbose_name=_("collector"))
    kind = AsciiCharField(_("kind"), max_length=8, choices=[(kind.value, kind.value) for kind in CodeKind])
    amount_fen = FenField(_("amount"), null=True)
    subject = models.CharField(_("subject"), max_length=60, blank=True, default="")
    crm_order_no = AsciiCharField(_("CRM order"), max_length=64, blank=True, default="")
    is_once = models.BooleanField(_("serves once"), default=False)
    state = AsciiCharField(_("state"), max_length=16, choices=_choices(CodeState), default=CodeState.ACTIVE.value)
    created_at = models.DateTimeField(_("made at"))
    expires_at = models.DateTimeField(_("expires at"), null=True)
    ended_at = models.DateTimeField(_("ended at"), null=True)

    class Meta:
        verbose_name = _("collection code")
        verbose_name_plural = _("collection codes")
        default_permissions = ("view",)
        permissions = [("disable_code", "Can disable a collection code")]
        constraints = [
            models.CheckConstraint(
                condition=Q(amount_fen__isnull=True) | Q(amount_fen__gt=0, amount_fen__lte=MAX_AMOUNT_FEN),
                name="code_amount",
            ),
            models.CheckConstraint(
                condition=Q(kind="plain", crm_order_no="")
                | (Q(kind="order", amount_fen__isnull=False, is_once=True) & ~Q(subject="") & ~Q(crm_order_no="")),
                name="code_kind",
            ),
            models.CheckConstraint(
                condition=Q(state="ACTIVE", ended_at__isnull=True) | (~Q(state="ACTIVE") & Q(ended_at__isnull=False)),
                name="code_ended_at",
            ),
            models.CheckConstraint(condition=~Q(state="USED") | Q(is_once=True), name="code_used_once"),
        ]
        indexes = [
            models.Index(fields=["enterprise", "-created_at", "-id"], name="code_enterprise"),
            models.Index(fields=["crm_order_no"], name="code_crm_order"),
        ]

    def __str__(self) -> str:
        return self.id


@sharding.stored_on("default")
class Collection(models.Model):
    """One payment of one payer by a code. Its order has the number `order_no`; payers know the unguessable `id` only.

    Account and amount are copies that never change. `once_code` repeats the code's id while the collection of a code
    that serves once is open or paid: unique, so that there is no second one.
    """

    id = AsciiCharField(max_length=16, primary_key=True)
    order_no = AsciiCharField(_("order number"), max_length=32, unique=True)
    code = models.ForeignKey(Code, on_delete=models.PROTECT, related_name="collections")
    binding = models.ForeignKey(Binding, on_delete=models.PROTECT, related_name="+")
    enterprise_id = models.BigIntegerField()
    employee_id = models.BigIntegerField()
    channel = AsciiCharField(_("channel"), max_length=16)
    amount_fen = FenField(_("amount"))
    refunded_fen = FenField(_("refunded"), default=0)
    state = AsciiCharField(
        _("state"), max_length=16, choices=_choices(CollectionState), default=CollectionState.OPEN.value
    )
    once_code = AsciiCharField(max_length=16, null=True, unique=True)
    attempt_no = AsciiCharField(max_length=32, blank=True, default="")
    provider_no = AsciiCharField(_("provider's number"), max_length=64, blank=True, default="")
    created_at = models.DateTimeField(_("begun at"))
    expires_at = models.DateTimeField()
    paid_at = models.DateTimeField(_("paid at"), null=True)
    ended_at = models.DateTimeField(_("ended at"), null=True)

    class Meta:
        verbose_name = _("collection")
        verbose_name_plural = _("collections")
        default_permissions = ("view",)
        permissions = [("refund_collection", "Can refund a collection")]
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    amount_fen__gt=0,
                    amount_fen__lte=MAX_AMOUNT_FEN,
                    refunded_fen__gte=0,
                    refunded_fen__lte=F("amount_fen"),
                ),
                name="collection_amounts",
            ),
            models.CheckConstraint(
                condition=(Q(state__in=["PAID", "REFUNDED"], paid_at__isnull=False) & ~Q(attempt_no=""))
                | Q(state__in=["OPEN", "CLOSED"], paid_at__isnull=True, refunded_fen=0),
                name="collection_paid",
            ),
            models.CheckConstraint(
                condition=Q(state="OPEN", ended_at__isnull=True) | (~Q(state="OPEN") & Q(ended_at__isnull=False)),
                name="collection_ended_at",
            ),
            models.CheckConstraint(
                condition=~Q(state="REFUNDED") | Q(refunded_fen=F("amount_fen")), name="collection_refunded"
            ),
            models.CheckConstraint(
                condition=Q(once_code__isnull=True) | Q(state__in=["OPEN", "PAID", "REFUNDED"], once_code=F("code")),
                name="collection_once_code",
            ),
        ]
        indexes = [
            models.Index(fields=["enterprise_id", "-created_at", "-id"], name="collection_enterprise"),
            models.Index(fields=["state", "expires_at"], name="collection_due"),
            models.Index(fields=["attempt_no"], name="collection_attempt"),
            models.Index(fields=["provider_no"], name="collection_provider"),
        ]

    def __str__(self) -> str:
        return self.id


@sharding.stored_on("default")
class CollectionRefund(models.Model):
    """A refund that the merchant asked for: his key names it, so that a repeat is the same refund.

    The row fixes the refund's number before anything else; `state` is that of the refund's order in the end.
    """

    refund_no = AsciiCharField(_("refund number"), max_length=32, primary_key=True)
    collection = models.ForeignKey(Collection, on_delete=models.PROTECT, related_name="refunds")
    refund_key = AsciiCharField(max_length=64)
    amount_fen = FenField(_("amount"))
    reason = models.CharField(_("reason"), max_length=200)
    actor = AsciiCharField(_("by"), max_length=64)
    state = AsciiCharField(_("state"), max_length=16, choices=_choices(RefundState), default=RefundState.PENDING.value)
    created_at = models.DateTimeField(_("made at"))
    done_at = models.DateTimeField(_("done at"), null=True)

    class Meta:
        verbose_name = _("refund of a collection")
        verbose_name_plural = _("refunds of collections")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["collection", "refund_key"], name="collectionrefund_key"),
            models.CheckConstraint(condition=Q(amount_fen__gt=0), name="collectionrefund_amount"),
            models.CheckConstraint(
                condition=Q(state="PENDING", done_at__isnull=True) | (~Q(state="PENDING") & Q(done_at__isnull=False)),
                name="collectionrefund_done_at",
            ),
        ]

    def __str__(self) -> str:
        return self.refund_no


@sharding.stored_on("default")
class CrmRecord(models.Model):
    """The sales-order record of a paid order collection, as the CRM is told it; unique by the collection.

    Sent again at `next_at` until the CRM accepts it, or until `retry_until`: then it is DEAD and a person looks.
    """

    collection = models.OneToOneField(Collection, on_delete=models.PROTECT, primary_key=True, related_name="crm_record")
    crm_order_no = AsciiCharField(_("CRM order"), max_length=64)
    state = AsciiCharField(_("state"), max_length=16, choices=_choices(CrmState), default=CrmState.WAITING.value)
    created_at = models.DateTimeField(_("made at"))
    done_at = models.DateTimeField(_("done at"), null=True)
    next_at = models.DateTimeField(_("sent next at"))
    retry_until = models.DateTimeField(_("tried until"))
    tries = models.PositiveIntegerField(_("tries"), default=0)
    last_error = models.CharField(_("last error"), max_length=255, blank=True, default="")

    class Meta:
        verbose_name = _("CRM record")
        verbose_name_plural = _("CRM records")
        default_permissions = ("view",)
        permissions = [("replay_crmrecord", "Can send a CRM record again")]
        constraints = [
            models.CheckConstraint(
                condition=Q(state="WAITING", done_at__isnull=True) | (~Q(state="WAITING") & Q(done_at__isnull=False)),
                name="crmrecord_done_at",
            ),
        ]
        indexes = [
            models.Index(fields=["state", "created_at"], name="crmrecord_state"),
            models.Index(fields=["state", "next_at"], name="crmrecord_due"),
        ]

    def __str__(self) -> str:
        return self.crm_order_no


@sharding.stored_on("default")
class Manager(models.Model):
    """An employee who looks after his enterprise's collecting: binds accounts, sees everybody's collections, refunds.

    Everybody else sees and refunds nothing but what his own codes collected. Staff appoint.
    """

    employee = models.OneToOneField(Employee, on_delete=models.PROTECT, primary_key=True, related_name="+")
    appointed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("appointed by")
    )
    appointed_at = models.DateTimeField(_("appointed at"))

    class Meta:
        verbose_name = _("collection manager")
        verbose_name_plural = _("collection managers")
        default_permissions = ("view",)
        permissions = [("appoint_manager", "Can appoint and dismiss collection managers")]

    def __str__(self) -> str:
        return str(self.employee_id)


@sharding.stored_on("default")
class DayFigure(models.Model):
    """Roll-up: what one code collected on one business day by one channel. Triggers keep it with each collection.

    The day is that of the payment; a refund, whenever it comes, lowers the day that it takes from. Codes that serve
    once share one line per collector (`code_id` ""), or there would be as many lines as collections. The key is the
    order in which InnoDB keeps the rows: a year of an enterprise is read from one place.
    """

    pk = models.CompositePrimaryKey("enterprise_id", "day", "employee_id", "code_id", "channel")
    enterprise_id = models.BigIntegerField()
    day = models.DateField(_("day"))
    employee_id = models.BigIntegerField()
    code_id = AsciiCharField(max_length=16)
    channel = AsciiCharField(_("channel"), max_length=16)
    count = models.BigIntegerField(_("collections"))
    amount_fen = FenField(_("collected"))
    refunded_fen = FenField(_("refunded"))

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                condition=Q(count__gt=0, refunded_fen__gte=0, refunded_fen__lte=F("amount_fen")),
                name="dayfigure_amounts",
            ),
        ]
        indexes = [models.Index(fields=["day", "enterprise_id"], name="dayfigure_day")]

    def __str__(self) -> str:
        return f"{self.day} {self.enterprise_id} {self.code_id}"
