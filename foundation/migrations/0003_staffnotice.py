from django.db import migrations, models

import foundation.db.fields


class Migration(migrations.Migration):
    dependencies = [("foundation", "0002_attachment")]

    operations = [
        migrations.CreateModel(
            name="StaffNotice",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("recipient_id", models.BigIntegerField()),
                ("key", foundation.db.fields.AsciiCharField(max_length=160)),
                ("reason", foundation.db.fields.AsciiCharField(blank=True, default="", max_length=100)),
                ("title_en", models.CharField(max_length=200)),
                ("title_zh", models.CharField(max_length=200)),
                ("link", foundation.db.fields.AsciiCharField(blank=True, default="", max_length=200)),
                ("created_at", models.DateTimeField()),
                ("read_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "notice for me",
                "verbose_name_plural": "notices for me",
                "indexes": [models.Index(fields=["recipient_id", "read_at", "-id"], name="staffnotice_unread")],
                "constraints": [models.UniqueConstraint(fields=("recipient_id", "key"), name="staffnotice_key_unique")],
            },
        ),
    ]
