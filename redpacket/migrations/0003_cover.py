from django.db import migrations

import foundation.db.fields


class Migration(migrations.Migration):
    dependencies = [("redpacket", "0002_lifetime")]

    operations = [
        migrations.AddField(
            model_name="redpacket",
            name="cover",
            field=foundation.db.fields.AsciiCharField(default="classic", max_length=16),
        ),
    ]
