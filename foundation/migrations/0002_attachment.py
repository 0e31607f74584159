from django.db import migrations, models

import foundation.db.fields


class Migration(migrations.Migration):
    dependencies = [("foundation", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="Attachment",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("digest", foundation.db.fields.AsciiCharField(max_length=64, unique=True)),
                ("name", models.CharField(max_length=120)),
                ("content_type", foundation.db.fields.AsciiCharField(max_length=100)),
                ("size_bytes", models.PositiveIntegerField()),
                ("stored_by_id", models.BigIntegerField()),
                ("stored_at", models.DateTimeField()),
            ],
        ),
    ]
