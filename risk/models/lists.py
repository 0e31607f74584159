"""Block and allow lists."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from foundation.db import sharding
from foundation.db.fields import AsciiCharField


@sharding.stored_on("default")
class ListEntry(models.Model):
    """Who or what is on a list until `expires_at`. The value is encrypted; found by its blind index, shown masked.

    A block counts at once. An allow entry outranks every rule, so it counts only when a second person has confirmed
    it. Entries are never deleted: they are removed by somebody with a reason, or run out.
    """

    class Kind(models.TextChoices):
        BLOCK = "BLOCK", _("block list")
        ALLOW = "ALLOW", _("allow list")

    class Subject(models.TextChoices):
        EMPLOYEE = "EMPLOYEE", _("employee (id)")
        ENTERPRISE = "ENTERPRISE", _("enterprise (id)")
        CARD = "CARD", _("bank card number")
        PHONE = "PHONE", _("phone number")
        ADDRESS = "ADDRESS", _("network address")

    id = models.BigAutoField(primary_key=True)
    kind = AsciiCharField(_("list"), max_length=8, choices=Kind.choices)
    subject_kind = AsciiCharField(_("what"), max_length=12, choices=Subject.choices)
    value_index = AsciiCharField(max_length=64)
    value_closed = AsciiCharField(max_length=255)
    value_shown = AsciiCharField(_("value"), max_length=64)
    reason = models.CharField(_("reason"), max_length=200)
    expires_at = models.DateTimeField(_("expires at"))
    added_by_id = models.BigIntegerField()
    added_by_name = models.CharField(_("added by"), max_length=150)
    added_at = models.DateTimeField(_("added at"))
    confirmed_by_id = models.BigIntegerField(null=True)
    confirmed_by_name = models.CharField(_("confirmed by"), max_length=150, blank=True, default="")
    confirmed_at = models.DateTimeField(_("confirmed at"), null=True)
    removed_by_id = models.BigIntegerField(null=True)
    removed_by_name = models.CharField(_("removed by"), max_length=150, blank=True, default="")
    removed_at = models.DateTimeField(_("removed at"), null=True)
    removal_reason = models.CharField(_("reason of the removal"), max_length=200, blank=True, default="")

    class Meta:
        verbose_name = _("list entry")
        verbose_name_plural = _("block and allow lists")
        default_permissions = ("view",)
        permissions = [
            ("edit_lists", "Can add and remove entries of the risk lists"),
            ("confirm_lists", "Can confirm allow entries of somebody else"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(confirmed_by_id__isnull=True) | ~Q(confirmed_by_id=F("added_by_id")),
                name="listentry_four_eyes",
            ),
            models.CheckConstraint(condition=Q(expires_at__gt=F("added_at")), name="listentry_expires_later"),
            models.CheckConstraint(condition=~Q(reason=""), name="listentry_reason_given"),
            models.CheckConstraint(
                condition=Q(removed_at__isnull=True, removed_by_id__isnull=True)
                | (Q(removed_at__isnull=False, removed_by_id__isnull=False) & ~Q(removal_reason="")),
                name="listentry_removal_complete",
            ),
        ]
        indexes = [
            models.Index(fields=["value_index", "expires_at"], name="listentry_value"),
            models.Index(fields=["kind", "subject_kind", "expires_at"], name="listentry_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.value_shown}"
