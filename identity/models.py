"""Who uses the platform as a client. Staff are Django's own users."""

from __future__ import annotations

import secrets

from django.conf import settings
from django.contrib.auth.hashers import check_password, make_password
from django.db import models
from django.utils.translation import gettext_lazy as _
from django_otp.models import Device, ThrottlingMixin, TimestampMixin

from foundation import crypto, ids
from foundation.db import sharding
from foundation.db.fields import AsciiCharField

PHONE_COLUMN = "identity_employee.phone"
MESSAGE_COLUMN = "identity_shortmessage.text"
SECRET_COLUMN = "identity_authenticator.secret"  # noqa: S105 - the name of a column
SECRET_BYTES = 20
"""As RFC 4226 recommends, and what every authenticator takes."""


@sharding.stored_on("default")
class Enterprise(models.Model):
    """A company (企业); `code` is what its employees type to log in."""

    id = models.BigAutoField(primary_key=True)
    code = AsciiCharField(max_length=32, unique=True)
    name = models.CharField(max_length=100)

    def __str__(self) -> str:
        return f"{self.name} ({self.code})"


@sharding.stored_on("default")
class Employee(models.Model):
    """A person of an enterprise (员工). `request.user` of the client API. `phone` is closed by foundation.crypto."""

    id = models.BigAutoField(primary_key=True)
    enterprise = models.ForeignKey(Enterprise, on_delete=models.PROTECT, related_name="employees")
    code = AsciiCharField(max_length=32)
    name = models.CharField(max_length=100)
    password = AsciiCharField(max_length=128)
    is_active = models.BooleanField(default=True)
    phone = AsciiCharField(max_length=255, blank=True, default="")
    last_login_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["enterprise", "code"], name="employee_code_unique")]

    def __str__(self) -> str:
        return f"{self.name} ({self.code})"

    @property
    def is_authenticated(self) -> bool:
        """What DRF asks of a user; an Employee only gets there by a valid token."""
        return True

    def set_password(self, password: str) -> None:
        self.password = make_password(password)

    def check_password(self, password: str) -> bool:
        return check_password(password, self.password)


@sharding.stored_on("default")
class AccessToken(models.Model):
    """A log-in. Only the SHA-256 of the token is kept."""

    id = models.BigAutoField(primary_key=True)
    digest = AsciiCharField(max_length=64, unique=True)
    employee = models.ForeignKey(Employee, on_delete=models.CASCADE, related_name="tokens")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["expires_at"], name="token_expires")]

    def __str__(self) -> str:
        return f"token {self.pk} of {self.employee_id}"


@sharding.stored_on("default")
class Group(models.Model):
    """A chat group (群) a lucky packet can go to; its id is opaque."""

    id = AsciiCharField(max_length=32, primary_key=True, default=ids.new_id)
    enterprise = models.ForeignKey(Enterprise, on_delete=models.PROTECT, related_name="groups")
    name = models.CharField(max_length=60)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


@sharding.stored_on("default")
class GroupMember(models.Model):
    """An employee in a group."""

    id = models.BigAutoField(primary_key=True)
    group = models.ForeignKey(Group, on_delete=models.CASCADE, related_name="members")
    employee = models.ForeignKey(Employee, on_delete=models.PROTECT, related_name="memberships")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["group", "employee"], name="group_member_unique")]

    def __str__(self) -> str:
        return f"{self.employee_id} in {self.group_id}"


@sharding.stored_on("default")
class PhoneCode(models.Model):
    """One code that was sent; only its keyed hash. `used_at` is set when it was used or replaced."""

    id = models.BigAutoField(primary_key=True)
    employee = models.ForeignKey(Employee, on_delete=models.CASCADE, related_name="+")
    purpose = AsciiCharField(max_length=32)
    digest = AsciiCharField(max_length=64)
    tries = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["created_at"], name="phonecode_created")]

    def __str__(self) -> str:
        return f"{self.purpose} code of {self.employee_id}"


@sharding.stored_on("default")
class ShortMessage(models.Model):
    """What went to a phone. The text is kept (closed) only where no message service is set up: the admin shows it."""

    class State(models.TextChoices):
        NEW = "NEW", "new"
        SENT = "SENT", "sent"
        FAILED = "FAILED", "not taken"
        SHOWN = "SHOWN", "shown here"

    id = models.BigAutoField(primary_key=True)
    phone_masked = AsciiCharField("phone", max_length=16)
    purpose = AsciiCharField(max_length=32)
    text = AsciiCharField(max_length=1024, blank=True, default="")
    state = AsciiCharField(max_length=8, choices=State.choices, default=State.NEW)
    created_at = models.DateTimeField()

    class Meta:
        default_permissions = ("view",)
        indexes = [models.Index(fields=["created_at"], name="shortmessage_created")]

    def __str__(self) -> str:
        return f"{self.phone_masked} {self.purpose}"


@sharding.stored_on("default")
class StaffProfile(models.Model):
    """Which employee a member of staff is himself, so that nobody decides about his own money; no employee: none."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="staff_profile",
        verbose_name=_("member of staff"),
    )
    employee = models.ForeignKey(
        Employee, on_delete=models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("employee")
    )

    class Meta:
        verbose_name = _("staff profile")
        verbose_name_plural = _("staff profiles")
        default_permissions = ("view", "change")

    def __str__(self) -> str:
        return f"{self.user} → {self.employee or '–'}"


def new_secret() -> str:
    """A fresh secret of an authenticator, closed."""
    return crypto.encrypt_bytes(secrets.token_bytes(SECRET_BYTES), column=SECRET_COLUMN)


@sharding.stored_on("default")
class Authenticator(TimestampMixin, ThrottlingMixin, Device):
    """A member of staff's source of one-time codes (TOTP, RFC 6238): 6 digits every 30 s from 1970 on, SHA-1.

    `secret` is closed by foundation.crypto; `last_t` is the last step that was used. `identity.services.staff_codes`
    alone compares codes: django-otp's own `verify_token` refuses all of them.
    """

    id = models.BigAutoField(primary_key=True)
    secret = AsciiCharField(max_length=255, default=new_secret, editable=False)
    last_t = models.BigIntegerField(default=-1)

    class Meta(Device.Meta):
        verbose_name = _("authenticator")
        verbose_name_plural = _("authenticators")
        default_permissions = ("view",)

    @property
    def bin_key(self) -> bytes:
        """The open secret. Raises CannotDecrypt, KeysUnusable."""
        return crypto.decrypt_bytes(self.secret, column=SECRET_COLUMN)

    def get_throttle_factor(self) -> float:
        """Of the library's own throttling, which nothing here asks (staff_codes has its own pauses)."""
        return 1
