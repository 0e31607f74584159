"""The closed value of a list entry changes only when its key is changed, and then nothing else of the row does.

`manage.py encryption rotate` needs exactly that. Until now the column had no guard at all: a confirmed entry could be
given another's closed value, under which the door's set would be published. The blind index stays as it was confirmed
(0002): a database cannot tell whether a new index is that of the same value.
"""

from django.db import migrations

from foundation.db import triggers

ENTRY = "risk_listentry"
OTHERS = (
    "id", "kind", "subject_kind", "value_index", "value_shown", "reason", "expires_at", "added_by_id", "added_by_name",
    "added_at", "confirmed_by_id", "confirmed_by_name", "confirmed_at", "removed_by_id", "removed_by_name",
    "removed_at", "removal_reason",
)  # fmt: skip
FORM = "substr({0}.value_closed, 1, 3)"
"""Of "v1:2026:…" the "v1:"."""
KEY = "substr({0}.value_closed, 4, instr(substr({0}.value_closed, 4), ':'))"
"""Of "v1:2026:…" the "2026:"; "" or ":" for text of another form."""


def _refusals(vendor):
    # Comparisons that know NULL; BINARY because the text's collation takes "A" for "a" and "a " for "a".
    pair = "BINARY NEW.{0} <=> BINARY OLD.{0}" if vendor == "mysql" else "NEW.{0} IS OLD.{0}"
    others = " OR ".join(f"NOT ({pair.format(column)})" for column in OTHERS)
    new, old = KEY.format("NEW"), KEY.format("OLD")
    wrong = f"{FORM.format('NEW')} <> 'v1:' OR {new} IN ('', ':', {old}) OR {others}"
    return [
        triggers.Refusal(
            f"{ENTRY}_closed",
            f"UPDATE ON {ENTRY}",
            f"NOT ({pair.format('value_closed')}) AND ({wrong})",
            "a closed value changes only with its key, and alone",
        )
    ]


def add_triggers(apps, schema_editor):
    triggers.add(schema_editor, _refusals(schema_editor.connection.vendor))


def drop_triggers(apps, schema_editor):
    triggers.drop(schema_editor, _refusals(schema_editor.connection.vendor))


class Migration(migrations.Migration):
    dependencies = [("risk", "0003_shipped_rules")]
    operations = [migrations.RunPython(add_triggers, drop_triggers, hints={"role": "default"}, atomic=False)]
