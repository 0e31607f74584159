"""MariaDB enforces what the model guards: a row stands in the table its number names (design sharding.md 2).

Version-aware: version 1 routes by CRC-32 of the number, version 2 and attempts by the gene. SQLite has no CRC32(), so
there the model's guard stands alone.
"""

from django.db import migrations

TABLES = 16


def _condition(column: str, table: int) -> str:
    gene = f"CONV(SUBSTR({column}, 7, 1), 16, 10)"
    return (
        f"CASE WHEN SUBSTR({column}, 1, 2) = 'AT' OR SUBSTR({column}, 3, 1) = '2' THEN {gene} = {table} "
        f"WHEN SUBSTR({column}, 3, 1) = '1' THEN CRC32({column}) MOD {TABLES} = {table} ELSE FALSE END"
    )


def _alter(schema_editor, statement: str, table: int) -> None:
    from foundation.db import roles

    if schema_editor.connection.vendor == "mysql" and schema_editor.connection.alias == roles.orders_alias(table):
        schema_editor.execute(statement)


def add_checks(apps, schema_editor):
    for table in range(TABLES):
        for name, columns in (("order", ["order_no"]), ("attempt", ["order_no", "attempt_no"])):
            for column in columns:
                _alter(
                    schema_editor,
                    f"ALTER TABLE orders_{name}_{table:02d} ADD CONSTRAINT {name}{table:02d}_{column}_table "
                    f"CHECK ({_condition(column, table)})",
                    table,
                )


def drop_checks(apps, schema_editor):
    for table in range(TABLES):
        for name, columns in (("order", ["order_no"]), ("attempt", ["order_no", "attempt_no"])):
            for column in columns:
                statement = f"ALTER TABLE orders_{name}_{table:02d} DROP CONSTRAINT {name}{table:02d}_{column}_table"
                _alter(schema_editor, statement, table)


class Migration(migrations.Migration):
    dependencies = [("orders", "0001_initial")]
    operations = [migrations.RunPython(add_checks, drop_checks, hints={"everywhere": True}, atomic=False)]
