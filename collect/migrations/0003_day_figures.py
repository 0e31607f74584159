from django.db import migrations, models

import foundation.db.fields


class Migration(migrations.Migration):
    dependencies = [("collect", "0002_guards")]
    operations = [
        migrations.CreateModel(
            name="DayFigure",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "enterprise_id",
                        "day",
                        "employee_id",
                        "code_id",
                        "channel",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("enterprise_id", models.BigIntegerField()),
                ("day", models.DateField(verbose_name="day")),
                ("employee_id", models.BigIntegerField()),
                ("code_id", foundation.db.fields.AsciiCharField(max_length=16)),
                ("channel", foundation.db.fields.AsciiCharField(max_length=16, verbose_name="channel")),
                ("count", models.BigIntegerField(verbose_name="collections")),
                ("amount_fen", foundation.db.fields.FenField(verbose_name="collected")),
                ("refunded_fen", foundation.db.fields.FenField(verbose_name="refunded")),
            ],
            options={
                "default_permissions": (),
                "indexes": [models.Index(fields=["day", "enterprise_id"], name="dayfigure_day")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("count__gt", 0), ("refunded_fen__gte", 0), ("refunded_fen__lte", models.F("amount_fen"))
                        ),
                        name="dayfigure_amounts",
                    ),
                ],
            },
        ),
    ]
