"""Entries and seals of the audit trail are insert-only: triggers refuse UPDATE and DELETE.

Second line of defence behind the database user's grants; what gets past it is found by `manage.py audit verify`.
"""

from django.db import migrations

from foundation.db import triggers

REFUSALS = [*triggers.insert_only("foundation_auditentry"), *triggers.insert_only("foundation_auditseal")]


def add_triggers(apps, schema_editor):
    triggers.add(schema_editor, REFUSALS)


def drop_triggers(apps, schema_editor):
    triggers.drop(schema_editor, REFUSALS)


class Migration(migrations.Migration):
    dependencies = [("foundation", "0005_auditseal")]
    operations = [migrations.RunPython(add_triggers, drop_triggers, hints={"role": "default"}, atomic=False)]
