"""Tables of reconciliation. Four eyes over resolutions and reopened days are the database's rule (CHECKs, triggers).

Everything stands on the role default, beside staff. Amounts are fen, fees thousandths of a fen.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Length
from django.db.models.lookups import GreaterThanOrEqual
from django.utils.translation import gettext_lazy as _

from foundation.db import sharding
from foundation.db.fields import AsciiCharField, FenField
from gateway.ports import BillKind, BillRowKind
from reconciliation.domain.matching import Kind
from reconciliation.domain.states import CarriedState, DayState, DifferenceState, Resolution, RunState

REASON_MIN_LENGTH, REASON_MAX_LENGTH = 10, 500
"""Characters of what a proposal has to say."""
DIFFERENCE_KINDS = tuple(kind for kind in Kind if kind is not Kind.MATCH)


def _choices(enum: Any) -> list[tuple[str, str]]:
    return [(member.value, member.value.lower()) for member in enum]


def _staff(name: Any, **kwargs: Any) -> Any:
    return models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=name, **kwargs
    )


@sharding.stored_on("default")
class RawFile(models.Model):
    """A bill as it came, kept on disk by its hash below RECONCILIATION_ROOT before anybody read it. Insert only.

    `provider_hash`: as the provider said it, "" where it says none. `is_hash_wrong`: the content has another one.
    """

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey("Run", on_delete=models.PROTECT, related_name="files")
    sha256 = AsciiCharField(max_length=64)
    size_bytes = models.BigIntegerField(_("bytes"))
    name = models.CharField(_("name"), max_length=120, blank=True, default="")
    provider_hash = AsciiCharField(max_length=80, blank=True, default="")
    is_hash_wrong = models.BooleanField(_("wrong hash"), default=False)
    uploaded_by = _staff(_("uploaded by"))
    stored_at = models.DateTimeField(_("stored at"))

    class Meta:
        verbose_name = _("raw file")
        verbose_name_plural = _("raw files")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["run", "sha256"], name="rawfile_once"),
            models.CheckConstraint(condition=Q(size_bytes__gte=0), name="rawfile_size"),
        ]

    def __str__(self) -> str:
        return f"{self.sha256[:12]} ({self.size_bytes} bytes)"


@sharding.stored_on("default")
class Run(models.Model):
    """One bill of one account of ours at a channel and one business day; unique by them.

    `account`: whose bill, "" for the account that the channel's credentials name. The figures are those of the last
    comparison; `our_digest` says which rows of ours it saw.
    """

    id = models.BigAutoField(primary_key=True)
    channel = AsciiCharField(_("channel"), max_length=16)
    account = AsciiCharField(_("account"), max_length=64, blank=True, default="")
    kind = AsciiCharField(_("bill"), max_length=16, choices=_choices(BillKind))
    day = models.DateField(_("day"))
    state = AsciiCharField(_("state"), max_length=16, choices=_choices(RunState), default=RunState.PLANNED.value)
    file = models.ForeignKey(RawFile, on_delete=models.PROTECT, null=True, related_name="+")
    is_without_bill = models.BooleanField(_("no bill"), default=False)
    next_fetch_at = models.DateTimeField(_("asked next at"), null=True)
    deadline_at = models.DateTimeField(_("expected until"))
    tries = models.PositiveIntegerField(_("tries"), default=0)
    last_code = AsciiCharField(_("last answer"), max_length=64, blank=True, default="")
    our_rows = models.PositiveBigIntegerField(_("our rows"), default=0)
    their_rows = models.PositiveBigIntegerField(_("their rows"), default=0)
    matched_rows = models.PositiveBigIntegerField(_("matched"), default=0)
    our_total_fen = FenField(_("our total"), default=0)
    their_total_fen = FenField(_("their total"), default=0)
    carried_rows = models.PositiveBigIntegerField(_("carried over"), default=0)
    our_digest = AsciiCharField(max_length=64, blank=True, default="")
    created_at = models.DateTimeField(_("planned at"))
    changed_at = models.DateTimeField(_("changed at"))

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        default_permissions = ("view",)
        permissions = [("operate_run", "Can fetch a bill again or upload it by hand")]
        constraints = [
            models.UniqueConstraint(fields=["channel", "account", "kind", "day"], name="run_once"),
            models.CheckConstraint(
                condition=Q(state__in=["PLANNED", "WAITING"]) | Q(file__isnull=False) | Q(is_without_bill=True),
                name="run_has_file",
            ),
        ]
        indexes = [
            models.Index(fields=["state", "next_fetch_at"], name="run_due"),
            models.Index(fields=["day", "channel"], name="run_day"),
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.account} {self.kind} {self.day}".replace("  ", " ")


@sharding.stored_on("default")
class RunEvent(models.Model):
    """What happened to a run, written in the transaction of each change. Insert only (triggers)."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="events")
    state = AsciiCharField(_("state"), max_length=16, choices=_choices(RunState))
    code = AsciiCharField(_("event"), max_length=64)
    actor = AsciiCharField(_("by"), max_length=64)
    note = models.CharField(_("note"), max_length=500, blank=True, default="")
    happened_at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("event of a run")
        verbose_name_plural = _("events of runs")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.run_id}: {self.code}"


@sharding.stored_on("default")
class RowProblem(models.Model):
    """A row of the file that makes no sense, or (line 0) what is wrong with the file itself. Insert only, once a file.

    `is_fatal`: the rest of the file was not read.
    """

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="problems")
    file = models.ForeignKey(RawFile, on_delete=models.PROTECT, related_name="problems")
    line_no = models.PositiveIntegerField(_("line"), default=0)
    code = AsciiCharField(_("problem"), max_length=64)
    text = models.CharField(_("text"), max_length=500, blank=True, default="")
    is_fatal = models.BooleanField(_("fatal"), default=False)
    found_at = models.DateTimeField(_("found at"))

    class Meta:
        verbose_name = _("row for review")
        verbose_name_plural = _("rows for review")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["file", "line_no", "code", "text"], name="rowproblem_once"),
        ]

    def __str__(self) -> str:
        return f"{self.line_no}: {self.code}"


class Sides(models.Model):
    """What the two sides say of one number; NULL and "" where a side has nothing."""

    row_kind = AsciiCharField(_("what"), max_length=16, choices=_choices(BillRowKind))
    number = AsciiCharField(_("number"), max_length=64, blank=True, default="")
    provider_no = AsciiCharField(_("provider's number"), max_length=64, blank=True, default="")
    line_no = models.PositiveIntegerField(_("line of the bill"), null=True)
    our_amount_fen = FenField(_("our amount"), null=True)
    their_amount_fen = FenField(_("their amount"), null=True)
    our_fee_milli_fen = models.BigIntegerField(_("our fee"), null=True)
    their_fee_milli_fen = models.BigIntegerField(_("their fee"), null=True)
    our_state = AsciiCharField(_("our state"), max_length=16, blank=True, default="")
    their_state = AsciiCharField(_("their state"), max_length=16, blank=True, default="")
    our_time = models.DateTimeField(_("our time"), null=True)
    their_time = models.DateTimeField(_("their time"), null=True)
    is_incoming = models.BooleanField(_("towards us"))

    class Meta:
        abstract = True


@sharding.stored_on("default")
class Difference(Sides):
    """What a run could not match. `fingerprint` names it: found again, it is the same one.

    Nothing is edited away: sides and kind never change (triggers), each step leaves a DifferenceEvent. `reference` is
    what resolved it: an adjustment's number, a refund's, an attempt's. `journal_no`: of the journal that it ended in.
    """

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="differences")
    fingerprint = AsciiCharField(max_length=64)
    kind = AsciiCharField(_("kind"), max_length=16, choices=_choices(DIFFERENCE_KINDS))
    value_fen = FenField(_("value at risk"))
    state = AsciiCharField(
        _("state"), max_length=16, choices=_choices(DifferenceState), default=DifferenceState.OPEN.value
    )
    owner = _staff(_("owner"))
    remark = models.CharField(_("remark"), max_length=500, blank=True, default="")
    resolution = AsciiCharField(_("resolution"), max_length=16, choices=_choices(Resolution), blank=True, default="")
    reason = models.CharField(_("reason"), max_length=500, blank=True, default="")
    reference = AsciiCharField(_("reference"), max_length=64, blank=True, default="")
    journal_no = AsciiCharField(_("journal"), max_length=64, blank=True, default="")
    proposed_by = _staff(_("proposed by"))
    proposed_at = models.DateTimeField(_("proposed at"), null=True)
    approved_by = _staff(_("approved by"))
    resolved_at = models.DateTimeField(_("resolved at"), null=True)
    created_at = models.DateTimeField(_("found at"))

    class Meta:
        verbose_name = _("difference")
        verbose_name_plural = _("differences")
        default_permissions = ("view",)
        permissions = [
            ("handle_difference", "Can take a difference over and write remarks"),
            ("propose_resolution", "Can propose how a difference ends"),
            ("approve_resolution", "Can approve or reject a resolution that somebody else proposed"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["run", "fingerprint"], name="difference_once"),
            models.CheckConstraint(condition=Q(value_fen__gte=0), name="difference_value"),
            models.CheckConstraint(
                condition=Q(approved_by__isnull=True) | Q(proposed_by__isnull=False) & ~Q(approved_by=F("proposed_by")),
                name="difference_four_eyes",
            ),
            models.CheckConstraint(
                condition=Q(state="OPEN", proposed_by__isnull=True, approved_by__isnull=True, resolution="")
                | (
                    Q(state="PROPOSED", proposed_by__isnull=False, approved_by__isnull=True)
                    & ~Q(resolution="")
                    & Q(GreaterThanOrEqual(Length("reason"), REASON_MIN_LENGTH))
                )
                | (Q(state="RESOLVED", proposed_by__isnull=False, approved_by__isnull=False) & ~Q(resolution=""))
                | Q(state="RESOLVED", resolution="SETTLED"),
                name="difference_resolved_by_two",
            ),
            models.CheckConstraint(
                condition=Q(state="RESOLVED", resolved_at__isnull=False)
                | (~Q(state="RESOLVED") & Q(resolved_at__isnull=True)),
                name="difference_resolved_at",
            ),
            models.CheckConstraint(
                condition=~Q(state="RESOLVED") | ~Q(resolution__in=["ADJUST", "SUSPENSE"]) | ~Q(journal_no=""),
                name="difference_with_journal",
            ),
        ]
        indexes = [
            models.Index(fields=["state", "created_at"], name="difference_state"),
            models.Index(fields=["number"], name="difference_number"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.number or self.provider_no}"


@sharding.stored_on("default")
class DifferenceEvent(models.Model):
    """What happened to a difference. `evidence`: attachments, a list of {"digest", "name"}. Insert only (triggers)."""

    id = models.BigAutoField(primary_key=True)
    difference = models.ForeignKey(Difference, on_delete=models.PROTECT, related_name="events")
    state = AsciiCharField(_("state"), max_length=16, choices=_choices(DifferenceState))
    code = AsciiCharField(_("event"), max_length=32)
    actor = AsciiCharField(_("by"), max_length=64)
    note = models.CharField(_("note"), max_length=500, blank=True, default="")
    evidence = models.JSONField(default=list)
    happened_at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("event of a difference")
        verbose_name_plural = _("events of differences")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.difference_id}: {self.code}"


@sharding.stored_on("default")
class CarriedOver(Sides):
    """A row with a partner on neither side of its day: it waits for the neighbouring days before it is a difference."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="carried")
    fingerprint = AsciiCharField(max_length=64)
    is_ours = models.BooleanField(_("ours"))
    state = AsciiCharField(
        _("state"), max_length=16, choices=_choices(CarriedState), default=CarriedState.WAITING.value
    )
    ended_run = models.ForeignKey(Run, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(_("carried at"))
    ended_at = models.DateTimeField(_("ended at"), null=True)

    class Meta:
        verbose_name = _("item carried over")
        verbose_name_plural = _("items carried over")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["run", "fingerprint"], name="carriedover_once"),
            models.CheckConstraint(
                condition=Q(state="WAITING", ended_at__isnull=True) | (~Q(state="WAITING") & Q(ended_at__isnull=False)),
                name="carriedover_ended_at",
            ),
        ]
        indexes = [models.Index(fields=["state", "number"], name="carriedover_number")]

    def __str__(self) -> str:
        return f"{self.number or self.provider_no} of {self.run_id}"


@sharding.stored_on("default")
class DayClose(models.Model):
    """A finance manager's word that an account's day is right: unique by channel, account and day.

    Reopened only when somebody asked for it and another person agreed; signed off again, `round` counts up.
    """

    id = models.BigAutoField(primary_key=True)
    channel = AsciiCharField(_("channel"), max_length=16)
    account = AsciiCharField(_("account"), max_length=64, blank=True, default="")
    day = models.DateField(_("day"))
    state = AsciiCharField(_("state"), max_length=16, choices=_choices(DayState), default=DayState.SIGNED_OFF.value)
    round = models.PositiveSmallIntegerField(_("round"), default=1)
    signed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("signed off by")
    )
    signed_at = models.DateTimeField(_("signed off at"))
    reason = models.CharField(_("why reopened"), max_length=500, blank=True, default="")
    proposed_by = _staff(_("reopening proposed by"))
    reopened_by = _staff(_("reopened by"))
    reopened_at = models.DateTimeField(_("reopened at"), null=True)
    file = models.ForeignKey(RawFile, on_delete=models.PROTECT, null=True, related_name="+")

    class Meta:
        verbose_name = _("signed-off day")
        verbose_name_plural = _("signed-off days")
        default_permissions = ("view",)
        permissions = [
            ("sign_off_day", "Can sign off a day"),
            ("propose_reopening", "Can propose to reopen a day"),
            ("approve_reopening", "Can reopen a day that somebody else proposed to reopen"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["channel", "account", "day"], name="dayclose_once"),
            models.CheckConstraint(
                condition=Q(reopened_by__isnull=True)
                | (Q(proposed_by__isnull=False) & ~Q(reopened_by=F("proposed_by"))),
                name="dayclose_four_eyes",
            ),
            models.CheckConstraint(
                condition=Q(state="SIGNED_OFF", proposed_by__isnull=True, reopened_by__isnull=True)
                | (
                    Q(state="REOPENING", proposed_by__isnull=False, reopened_by__isnull=True)
                    & Q(GreaterThanOrEqual(Length("reason"), REASON_MIN_LENGTH))
                )
                | Q(state="REOPENED", reopened_by__isnull=False, reopened_at__isnull=False),
                name="dayclose_reopened_by_two",
            ),
        ]
        indexes = [models.Index(fields=["day", "channel"], name="dayclose_day")]

    def __str__(self) -> str:
        return f"{self.channel} {self.account} {self.day}".replace("  ", " ")


@sharding.stored_on("default")
class DayEvent(models.Model):
    """What happened to a signed-off day. Insert only (triggers)."""

    id = models.BigAutoField(primary_key=True)
    close = models.ForeignKey(DayClose, on_delete=models.PROTECT, related_name="events")
    state = AsciiCharField(_("state"), max_length=16, choices=_choices(DayState))
    code = AsciiCharField(_("event"), max_length=32)
    actor = AsciiCharField(_("by"), max_length=64)
    note = models.CharField(_("note"), max_length=500, blank=True, default="")
    happened_at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("event of a day")
        verbose_name_plural = _("events of days")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.close_id}: {self.code}"
