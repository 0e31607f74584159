"""What staff decide about channels and clients, and the channels' secrets. All in the default database."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q

from foundation.db import sharding
from foundation.db.fields import AsciiCharField, FenField
from foundation.money import MAX_FEN
from gateway.domain.routing import ClientClass, Kind, Scene

MAX_WEIGHT = 10_000


def all_kinds() -> list[str]:
    return [kind.value for kind in Kind]


def all_scenes() -> list[str]:
    return [scene.value for scene in Scene]


def all_client_classes() -> list[str]:
    return [client_class.value for client_class in ClientClass]


@sharding.stored_on("default")
class ChannelSetting(models.Model):
    """What a channel may be used for. A channel without a row is on, for everything, with weight 100.

    Switched off, it prepares nothing new; queries, closes, refunds and notices go on. Weights of 0: only by name.
    """

    id = models.BigAutoField(primary_key=True)
    code = AsciiCharField(max_length=16, unique=True)
    is_enabled = models.BooleanField(default=True)
    min_fen = FenField(default=1, validators=[MinValueValidator(1), MaxValueValidator(MAX_FEN)])
    max_fen = FenField(default=MAX_FEN, validators=[MinValueValidator(1), MaxValueValidator(MAX_FEN)])
    kinds = models.JSONField(default=all_kinds)
    scenes = models.JSONField(default=all_scenes)
    client_classes = models.JSONField(default=all_client_classes)
    weight = models.PositiveIntegerField(default=100, validators=[MaxValueValidator(MAX_WEIGHT)])
    large_weight = models.PositiveIntegerField(default=100, validators=[MaxValueValidator(MAX_WEIGHT)])
    vip_weight = models.PositiveIntegerField(default=100, validators=[MaxValueValidator(MAX_WEIGHT)])
    note = models.CharField(max_length=255, blank=True, default="")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(min_fen__gte=1) & Q(max_fen__gte=F("min_fen")), name="channelsetting_amounts"
            )
        ]

    def __str__(self) -> str:
        return self.code


@sharding.stored_on("default")
class ClientGrade(models.Model):
    """An enterprise (primary key in identity) that is more than an ordinary client."""

    id = models.BigAutoField(primary_key=True)
    enterprise_id = models.BigIntegerField(unique=True)
    client_class = AsciiCharField(max_length=16, choices=[(one.value, one.value) for one in ClientClass])
    note = models.CharField(max_length=255, blank=True, default="")
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"enterprise {self.enterprise_id}: {self.client_class}"


@sharding.stored_on("default")
class Credential(models.Model):
    """One file of a channel's credentials, encrypted. Never changed but for `is_active`: a new one replaces it.

    `name` is the file's name: "credentials.json", and the key files that it names. Of the active, valid ones of a name
    the newest `valid_from` counts. `secret` is foundation.crypto's text for SECRET_COLUMN; `fingerprint` the blind
    index of the content, which tells two secrets apart and nothing else.
    """

    id = models.BigAutoField(primary_key=True)
    channel = AsciiCharField(max_length=16)
    name = AsciiCharField(max_length=64)
    secret = models.TextField()
    fingerprint = AsciiCharField(max_length=64)
    valid_from = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    is_active = models.BooleanField(default=True)
    note = models.CharField(max_length=255, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=150, blank=True, default="")

    class Meta:
        indexes = [models.Index(fields=["is_active", "channel"], name="credential_active")]

    def __str__(self) -> str:
        return f"{self.channel} {self.name}"


SECRET_COLUMN = "gateway_credential.secret"  # noqa: S105 - the name of a column
