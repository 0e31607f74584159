import datetime

from django.db import migrations, models

BEGINNING = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class Migration(migrations.Migration):
    """Nothing has been sent yet: what waits is due at once, and would be given up by its first failure only."""

    dependencies = [("collect", "0008_collection_refund")]
    operations = [
        migrations.AddField(
            "crmrecord",
            "next_at",
            models.DateTimeField(default=BEGINNING, verbose_name="sent next at"),
            preserve_default=False,
        ),
        migrations.AddField(
            "crmrecord",
            "retry_until",
            models.DateTimeField(default=BEGINNING, verbose_name="tried until"),
            preserve_default=False,
        ),
        migrations.AddField("crmrecord", "tries", models.PositiveIntegerField(default=0, verbose_name="tries")),
        migrations.AddField(
            "crmrecord",
            "last_error",
            models.CharField(blank=True, default="", max_length=255, verbose_name="last error"),
        ),
    ]
