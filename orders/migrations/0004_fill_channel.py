# ruff: noqa: S608 - names of tables are our own
"""Each order's channel is that of its newest attempt; one statement a table, found by the attempts' key on order_no.

Orders opened by the new code while this runs carry their channel already and are left alone.
"""

from django.db import migrations

TABLES = 16


def fill(apps, schema_editor):
    from foundation.db import roles

    for table in range(TABLES):
        if schema_editor.connection.alias != roles.orders_alias(table):
            continue
        schema_editor.execute(
            f"UPDATE orders_order_{table:02d} SET channel = COALESCE((SELECT attempt.channel "
            f"FROM orders_attempt_{table:02d} attempt WHERE attempt.order_no = orders_order_{table:02d}.order_no "
            "ORDER BY attempt.created_at DESC, attempt.attempt_no DESC LIMIT 1), '') WHERE channel = ''"
        )


class Migration(migrations.Migration):
    dependencies = [("orders", "0003_order_channel")]
    operations = [migrations.RunPython(fill, migrations.RunPython.noop, hints={"everywhere": True}, atomic=False)]
