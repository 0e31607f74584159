"""What was proposed stays as it was proposed, and what was decided stays decided: triggers refuse everything else.

Second line of defence behind the services and the digest, also against superusers and hand-written SQL: a proposal
starts undecided; its content never changes; a decision is taken once; lines and evidence are insert-only and cannot grow
beyond the counts of their proposal; nothing is deleted. MariaDB commits each DDL statement by itself, hence no
transaction around them, and statements that may be run again after a half-done migration.
"""

from django.db import migrations

HEAD = "funds_adjustment"
CHILDREN = {
    "funds_adjustmentline": ("line_no", "line_count"),
    "funds_adjustmentevidence": ("evidence_no", "evidence_count"),
}
CONTENT = (
    "number", "request_key", "reason", "order_no", "reverses_id", "line_count", "evidence_count", "total_fen", "digest",
    "proposed_by_id", "proposed_by_name", "proposed_at",
)  # fmt: skip


def _rules(vendor):
    """(name, event, condition, message) of every trigger; the condition is about the row at hand."""
    # Comparisons that know NULL; BINARY because the text's collation takes "A" for "a" and "a " for "a".
    pair = "BINARY NEW.{0} <=> BINARY OLD.{0}" if vendor == "mysql" else "NEW.{0} IS OLD.{0}"
    changed = " OR ".join(f"NOT ({pair.format(column)})" for column in ("id", *CONTENT))
    rules = [
        (
            f"{HEAD}_starts_proposed",
            f"INSERT ON {HEAD}",
            "NEW.state <> 'PROPOSED'",
            "an adjustment starts as a proposal",
        ),
        (f"{HEAD}_decided_once", f"UPDATE ON {HEAD}", "OLD.state <> 'PROPOSED'", "this adjustment is decided"),
        (f"{HEAD}_content_fixed", f"UPDATE ON {HEAD}", changed, "what was proposed cannot be changed"),
        (f"{HEAD}_no_delete", f"DELETE ON {HEAD}", "1 = 1", "adjustments are never deleted"),
    ]
    for table, (number, count) in CHILDREN.items():
        beyond = f"NEW.{number} > (SELECT {count} FROM {HEAD} WHERE id = NEW.adjustment_id)"  # noqa: S608 - names of ours
        rules += [
            (f"{table}_not_more", f"INSERT ON {table}", beyond, "nothing is added to a proposal"),
            (f"{table}_no_update", f"UPDATE ON {table}", "1 = 1", f"{table} is insert-only"),
            (f"{table}_no_delete", f"DELETE ON {table}", "1 = 1", f"{table} is insert-only"),
        ]
    return rules


def add_triggers(apps, schema_editor):
    vendor = schema_editor.connection.vendor
    for name, event, condition, message in _rules(vendor):
        if vendor == "mysql":
            refusal = f"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{message}'"
            body = f"FOR EACH ROW BEGIN IF {condition} THEN {refusal}; END IF; END"
        else:
            body = f"WHEN {condition} BEGIN SELECT RAISE(ABORT, '{message}'); END"
        schema_editor.execute(f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {event} {body}")


def drop_triggers(apps, schema_editor):
    for name, *_ in _rules(schema_editor.connection.vendor):
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {name}")


class Migration(migrations.Migration):
    dependencies = [("funds", "0007_adjustment")]
    operations = [migrations.RunPython(add_triggers, drop_triggers, hints={"role": "funds"}, atomic=False)]
