"""Every order table that stands in this database is OPEN here; later only a move changes that."""

from django.db import migrations
from django.utils import timezone

TABLES = 16


def fill(apps, schema_editor):
    from foundation.db import roles

    alias = schema_editor.connection.alias
    place = apps.get_model("orders", "TablePlace")
    here = [table for table in range(TABLES) if roles.orders_alias(table) == alias]
    place.objects.using(alias).bulk_create(
        [place(table_no=table, state="OPEN", changed_at=timezone.now()) for table in here], ignore_conflicts=True
    )


class Migration(migrations.Migration):
    dependencies = [("orders", "0006_table_places")]
    operations = [migrations.RunPython(fill, migrations.RunPython.noop, hints={"everywhere": True}, atomic=False)]
