"""A table of closed notes for tests of key rotation, and `manage.py encryption …` with that table in its registry.

Rotating the real tables would change what other tests left there with keys that they do not have. The app label is no
installed app, so that nothing asks for a migration.
"""

from __future__ import annotations

import sys

import django
from django.db import models

KEYS = {"old": b"1" * 32, "new": b"2" * 32}
INDEX_KEYS = {"first": b"3" * 32, "second": b"4" * 32}
COLUMN = "test_closed_note.text"


def variable(keys: dict[str, bytes]) -> str:
    return ",".join(f"{kid}:{key.hex()}" for kid, key in keys.items())


def main() -> None:
    django.setup()
    note_model()
    from django.core.management import call_command

    call_command("encryption", *sys.argv[1:])


def note_model() -> type[models.Model]:
    """The model, registered."""
    from django.apps import apps

    from foundation import encryption

    note = apps.all_models["closed_notes"].get("note") or _define()
    index = encryption.Index(
        fields=("text_index", "present_index"),
        column=COLUMN,
        needs=("id",),
        text=lambda row, text: f"{row['id']}:{text}",
    )
    encryption.register(model=note, field="text", index=index)
    encryption.register(model=note, field="second", closed_as=COLUMN)
    return note


def _define() -> type[models.Model]:
    from foundation.db.fields import AsciiCharField

    class Note(models.Model):
        id = models.BigAutoField(primary_key=True)
        text = AsciiCharField(max_length=255, null=True)
        second = AsciiCharField(max_length=255, blank=True, default="")
        text_index = AsciiCharField(max_length=64)
        present_index = AsciiCharField(max_length=64, null=True)

        class Meta:
            app_label = "closed_notes"
            db_table = "test_closed_note"
            managed = False

        def __str__(self) -> str:
            return str(self.pk)

    return Note


if __name__ == "__main__":
    main()
