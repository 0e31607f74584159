"""Journals and postings are insert-only: triggers refuse UPDATE and DELETE (design accounts.md, I11).

Second line of defence behind the database user's grants (TRUNCATE fires no trigger). A flush of the test runner would
be refused as well: tests that commit use fresh owners instead of emptying tables. MariaDB commits each DDL statement by
itself, hence no transaction around them, and statements that may be run again after a half-done migration.
"""

from django.db import migrations

TABLES = ("funds_journal", "funds_posting")
ACTIONS = ("UPDATE", "DELETE")


def add_triggers(apps, schema_editor):
    vendor = schema_editor.connection.vendor
    for table in TABLES:
        for action in ACTIONS:
            name = f"{table}_no_{action.lower()}"
            message = f"{table} is insert-only"
            if vendor == "mysql":
                body = f"FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{message}'"
            else:
                body = f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
            schema_editor.execute(f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {action} ON {table} {body}")


def drop_triggers(apps, schema_editor):
    for table in TABLES:
        for action in ACTIONS:
            schema_editor.execute(f"DROP TRIGGER IF EXISTS {table}_no_{action.lower()}")


class Migration(migrations.Migration):
    dependencies = [("funds", "0001_initial")]
    operations = [migrations.RunPython(add_triggers, drop_triggers, hints={"role": "funds"}, atomic=False)]
