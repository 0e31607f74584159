"""The store of provider notices, kept raw."""

from __future__ import annotations

from django.db import models

from foundation.db import sharding
from foundation.db.fields import AsciiCharField


@sharding.stored_on("default")
class Notice(models.Model):
    """One set of bytes a provider (or somebody else) sent us; the same bytes again count up.

    `digest` is the identity of the bytes, `event_key` ("<channel>:<event id>") that of the fact: unique, and set only
    after verification, so that nobody can reserve an event with a forgery. `content_digest` tells whether a second
    notice of the same event says the same. `note` holds the reason of a refusal or what processing did.
    """

    class State(models.TextChoices):
        RECEIVED = "RECEIVED", "received"
        REFUSED = "REFUSED", "refused"
        VERIFIED = "VERIFIED", "verified"
        PROCESSED = "PROCESSED", "processed"
        DUPLICATE = "DUPLICATE", "duplicate"
        FAILED = "FAILED", "failed"

    id = models.BigAutoField(primary_key=True)
    channel = AsciiCharField(max_length=16)
    method = AsciiCharField(max_length=8)
    path = models.CharField(max_length=255)
    headers = models.JSONField()
    body = models.BinaryField()
    digest = AsciiCharField(max_length=64, unique=True)
    event_key = AsciiCharField(max_length=128, null=True, unique=True)
    content_digest = AsciiCharField(max_length=64, blank=True, default="")
    kind = AsciiCharField(max_length=16, blank=True, default="")
    number = AsciiCharField(max_length=64, blank=True, default="")
    state = AsciiCharField(max_length=16, choices=State.choices, default=State.RECEIVED)
    times_received = models.PositiveIntegerField(default=1)
    note = models.CharField(max_length=255, blank=True, default="")
    received_at = models.DateTimeField()
    last_received_at = models.DateTimeField()
    processed_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["state", "received_at"], name="notice_state_received"),
            models.Index(fields=["number"], name="notice_number"),
        ]

    def __str__(self) -> str:
        return f"{self.channel} notice {self.pk}"
