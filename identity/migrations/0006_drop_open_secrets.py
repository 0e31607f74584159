"""The table with the open secrets goes, behind the commit of their closed copies (0005). There is no way back."""

from django.db import migrations

OLD = "otp_totp_totpdevice"


def drop(apps, schema_editor):
    connection = schema_editor.connection
    if OLD in connection.introspection.table_names():
        schema_editor.execute(f"DROP TABLE {connection.ops.quote_name(OLD)}")


class Migration(migrations.Migration):
    dependencies = [("identity", "0005_close_staff_secrets")]
    operations = [migrations.RunPython(drop, migrations.RunPython.noop, hints={"role": "default"}, atomic=False)]
