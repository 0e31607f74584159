"""Day close and chain are insert-only, and no journal gets into a closed day (design accounts.md, I11 and I12).

As 0002: MariaDB commits each DDL statement by itself, hence no transaction, and statements that may be run again.
"""

from django.db import migrations

from funds.domain.triggers import DAY_IS_CLOSED

TABLES = ("funds_accountsnapshot", "funds_closedday", "funds_trialbalanceline", "funds_journalseal")
ACTIONS = ("UPDATE", "DELETE")
GUARD = "funds_journal_open_day"
LATE = "NEW.created_at < (SELECT MAX(ends_at) FROM funds_closedday)"


def add_triggers(apps, schema_editor):
    is_mysql = schema_editor.connection.vendor == "mysql"
    for table in TABLES:
        for action in ACTIONS:
            message = f"{table} is insert-only"
            if is_mysql:
                body = f"FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{message}'"
            else:
                body = f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
            name = f"{table}_no_{action.lower()}"
            schema_editor.execute(f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {action} ON {table} {body}")
    if is_mysql:
        body = (
            f"FOR EACH ROW BEGIN IF {LATE} THEN SIGNAL SQLSTATE '45000' "
            f"SET MESSAGE_TEXT = '{DAY_IS_CLOSED}'; END IF; END"
        )
    else:
        body = f"WHEN {LATE} BEGIN SELECT RAISE(ABORT, '{DAY_IS_CLOSED}'); END"
    schema_editor.execute(f"CREATE TRIGGER IF NOT EXISTS {GUARD} BEFORE INSERT ON funds_journal {body}")


def drop_triggers(apps, schema_editor):
    for table in TABLES:
        for action in ACTIONS:
            schema_editor.execute(f"DROP TRIGGER IF EXISTS {table}_no_{action.lower()}")
    schema_editor.execute(f"DROP TRIGGER IF EXISTS {GUARD}")


class Migration(migrations.Migration):
    dependencies = [("funds", "0005_day_close")]
    operations = [migrations.RunPython(add_triggers, drop_triggers, hints={"role": "funds"}, atomic=False)]
