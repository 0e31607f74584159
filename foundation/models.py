"""Tables of the foundation. OutboxEvent exists in every database, beside the facts it announces."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords
from waffle.models import AbstractUserFlag

from foundation.db.fields import AsciiCharField


class OutboxEvent(models.Model):
    """A fact that others must hear of, committed with the fact itself. The table is the queue, a message only a bell.

    `key` is unique within a topic: publishing the same fact again adds nothing. A row is due while `done_at` is empty
    and `next_at` has come; a failed delivery moves `next_at`, and the row never dies.
    """

    paysys_everywhere = True

    id = models.BigAutoField(primary_key=True)
    topic = AsciiCharField(max_length=64)
    key = AsciiCharField(max_length=128)
    payload = models.JSONField()
    created_at = models.DateTimeField()
    next_at = models.DateTimeField()
    tries = models.PositiveIntegerField(default=0)
    done_at = models.DateTimeField(null=True)
    last_error = models.TextField(blank=True, default="")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["topic", "key"], name="outbox_topic_key_unique")]
        indexes = [models.Index(fields=["done_at", "next_at"], name="outbox_due")]
        verbose_name = "outbox event"

    def __str__(self) -> str:
        return f"{self.topic}:{self.key}"


class JobLock(models.Model):
    """One row per job name: who may run it until when. Taken by a conditional update, so two beats do no harm."""

    name = AsciiCharField(max_length=64, primary_key=True)
    holder = AsciiCharField(max_length=64, blank=True, default="")
    locked_until = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class JobRun(models.Model):
    """The record of one run of a timed job."""

    class State(models.TextChoices):
        RUNNING = "RUNNING", "running"
        DONE = "DONE", "done"
        FAILED = "FAILED", "failed"

    id = models.BigAutoField(primary_key=True)
    name = AsciiCharField(max_length=64)
    state = AsciiCharField(max_length=16, choices=State.choices, default=State.RUNNING)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    duration_ms = models.PositiveIntegerField(null=True)
    report = models.JSONField(default=dict)
    error = models.TextField(blank=True, default="")

    class Meta:
        indexes = [models.Index(fields=["name", "-started_at"], name="jobrun_name_started")]

    def __str__(self) -> str:
        return f"{self.name} {self.started_at:%Y-%m-%d %H:%M:%S}"


class Alert(models.Model):
    """Something a person must look at. The same `code` and `subject` counts up instead of flooding."""

    class Severity(models.TextChoices):
        WARNING = "WARNING", "warning"
        CRITICAL = "CRITICAL", "critical"

    id = models.BigAutoField(primary_key=True)
    code = AsciiCharField(max_length=64)
    subject = AsciiCharField(max_length=128)
    severity = AsciiCharField(max_length=16, choices=Severity.choices)
    message = models.TextField()
    context = models.JSONField(default=dict)
    times = models.PositiveIntegerField(default=1)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["code", "subject"], name="alert_code_subject_unique")]
        indexes = [models.Index(fields=["-last_at"], name="alert_last")]

    def __str__(self) -> str:
        return f"{self.code} {self.subject}"


class IdempotencyRecord(models.Model):
    """One client key: what was asked with it and what was answered first (design `faults.md` 3.3).

    `reserved_no` is the order number issued for the request before anything is done, so that a repeat after a crash
    continues the same order instead of opening another.
    """

    class State(models.TextChoices):
        RUNNING = "RUNNING", "running"
        DONE = "DONE", "done"

    id = models.BigAutoField(primary_key=True)
    caller = AsciiCharField(max_length=64)
    key = AsciiCharField(max_length=64)
    endpoint = AsciiCharField(max_length=128)
    body_hash = AsciiCharField(max_length=64)
    reserved_no = AsciiCharField(max_length=32)
    state = AsciiCharField(max_length=16, choices=State.choices, default=State.RUNNING)
    locked_until = models.DateTimeField()
    response_status = models.PositiveSmallIntegerField(null=True)
    response_body = models.JSONField(null=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["caller", "key"], name="idempotency_caller_key_unique")]
        indexes = [models.Index(fields=["created_at"], name="idempotency_created")]

    def __str__(self) -> str:
        return f"{self.caller} {self.key}"


class NodeLease(models.Model):
    """A node id (0 … 46 655) lent to one process; `fence` counts the holders so that an old one cannot renew."""

    node_id = models.PositiveIntegerField(primary_key=True)
    holder = AsciiCharField(max_length=64)
    fence = models.PositiveBigIntegerField(default=1)
    leased_until = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["leased_until"], name="nodelease_until")]

    def __str__(self) -> str:
        return f"node {self.node_id}"


class Attachment(models.Model):
    """A file that supports something, known by the SHA-256 of its content; the bytes lie under ATTACHMENT_ROOT.

    `name` is what the first upload called it, for display only. Rows and files are never changed or deleted.
    """

    id = models.BigAutoField(primary_key=True)
    digest = AsciiCharField(max_length=64, unique=True)
    name = models.CharField(max_length=120)
    content_type = AsciiCharField(max_length=100)
    size_bytes = models.PositiveIntegerField()
    stored_by_id = models.BigIntegerField()
    stored_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class StaffNotice(models.Model):
    """Something one member of staff must hear of; `key` makes sure that he hears of it once.

    `reason` is the permission for which he was chosen, empty when he was named himself. `link` is an address of ours.
    """

    id = models.BigAutoField(primary_key=True)
    recipient_id = models.BigIntegerField()
    key = AsciiCharField(max_length=160)
    reason = AsciiCharField(max_length=100, blank=True, default="")
    title_en = models.CharField(max_length=200)
    title_zh = models.CharField(max_length=200)
    link = AsciiCharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField()
    read_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["recipient_id", "key"], name="staffnotice_key_unique")]
        indexes = [models.Index(fields=["recipient_id", "read_at", "-id"], name="staffnotice_unread")]
        verbose_name = "notice for me"
        verbose_name_plural = "notices for me"

    def __str__(self) -> str:
        return self.title_en


class AuditEntry(models.Model):
    """One thing somebody did: who, from where, to what, why, and what changed. Insert only (triggers), sealed behind.

    `before` and `after` hold the fields that differ, secrets hidden. `digest` is over everything else of the row
    (`foundation.audit.digest_of`), the seals are over the digests.
    """

    id = models.BigAutoField(primary_key=True)
    happened_at = models.DateTimeField(_("at"))
    action = AsciiCharField(_("action"), max_length=40)
    actor_id = models.BigIntegerField(_("id of the member of staff"), null=True)
    actor_name = models.CharField(_("by"), max_length=150)
    address = AsciiCharField(_("address"), max_length=45, blank=True, default="")
    request_id = AsciiCharField(_("request"), max_length=64, blank=True, default="")
    object_type = AsciiCharField(_("kind of object"), max_length=100, blank=True, default="")
    object_key = models.CharField(_("object"), max_length=128, blank=True, default="")
    object_name = models.CharField(_("name"), max_length=200, blank=True, default="")
    reason = models.CharField(_("reason"), max_length=500, blank=True, default="")
    before = models.JSONField(_("before"), null=True)
    after = models.JSONField(_("after"), null=True)
    details = models.JSONField(_("details"), default=dict)
    digest = AsciiCharField(max_length=64)

    class Meta:
        default_permissions = ("view",)
        permissions = [("reveal_closed", "Can read encrypted personal data, with a reason")]
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit trail")
        indexes = [
            models.Index(fields=["object_type", "object_key", "-id"], name="auditentry_object"),
            models.Index(fields=["actor_id", "-id"], name="auditentry_actor"),
            models.Index(fields=["request_id"], name="auditentry_request"),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.action}"


class AuditSeal(models.Model):
    """One link of the chain over audit entries (`foundation.audit_chain`). Insert only (triggers).

    `marks` is JSON: [id, keyed mark] of every entry it covers, so that a changed or removed one can be named.
    """

    number = models.PositiveBigIntegerField(primary_key=True)
    first_id = models.PositiveBigIntegerField()
    last_id = models.PositiveBigIntegerField()
    marks = models.TextField()
    previous_mac = AsciiCharField(max_length=64)
    mac = AsciiCharField(max_length=64)
    key_id = AsciiCharField(max_length=32)
    sealed_at = models.DateTimeField()

    class Meta:
        default_permissions = ("view",)
        verbose_name = _("seal of the audit trail")
        verbose_name_plural = _("seals of the audit trail")

    def __str__(self) -> str:
        return f"{self.number}: {self.first_id}-{self.last_id}"


class Limit(models.Model):
    """What staff have set over the settings' limits (`foundation.limiter_settings`); a deleted row brings them back.

    Of slots (`web`, `staff`, `notices`, a decorated function's): `amount` of them, how many may wait, and how long. Of
    windows (`caller`, `address`, `strikes`, `endpoint:…`): `amount` requests (0: no limit) within any `seconds`.
    """

    name = AsciiCharField(_("limit"), max_length=160, primary_key=True)
    amount = models.PositiveIntegerField(_("slots or requests"))
    seconds = models.PositiveIntegerField(_("window in seconds"), null=True, blank=True)
    waiting = models.PositiveIntegerField(_("may wait"), null=True, blank=True)
    wait_ms = models.PositiveIntegerField(_("wait at most (ms)"), null=True, blank=True)
    reason = models.CharField(_("reason"), max_length=200)
    history = HistoricalRecords(
        verbose_name=_("change of a limit"),
        verbose_name_plural=_("changes of limits"),
        custom_model_name="LimitChange",
        user_db_constraint=False,
    )

    class Meta:
        verbose_name = _("limit")
        verbose_name_plural = _("limits")

    def __str__(self) -> str:
        return self.name


class Flag(AbstractUserFlag):
    """A switch that is turned for some before it is turned for all (灰度发布); `foundation.flags` says for whom.

    Of waffle's fields `everyone` and `percent` (of employees) count; the rest belongs to sessions of Django users.
    """

    id = models.BigAutoField(primary_key=True)
    enterprise_percent = models.PositiveSmallIntegerField(_("share of enterprises (%)"), default=0)
    enterprises = models.TextField(_("enterprises"), blank=True, default="")
    employees = models.TextField(_("employees"), blank=True, default="")
    reason = models.CharField(_("reason"), max_length=200)
    history = HistoricalRecords(
        verbose_name=_("change of a flag"),
        verbose_name_plural=_("changes of flags"),
        custom_model_name="FlagChange",
        user_db_constraint=False,
    )

    class Meta:
        verbose_name = _("grey release flag")
        verbose_name_plural = _("grey release flags")
        constraints = [models.CheckConstraint(condition=models.Q(enterprise_percent__lte=100), name="flag_percent")]
