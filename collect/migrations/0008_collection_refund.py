import django.db.models.deletion
from django.db import migrations, models

import foundation.db.fields


class Migration(migrations.Migration):
    dependencies = [("collect", "0007_collection_provider")]
    operations = [
        migrations.CreateModel(
            name="CollectionRefund",
            fields=[
                (
                    "refund_no",
                    foundation.db.fields.AsciiCharField(
                        max_length=32, primary_key=True, serialize=False, verbose_name="refund number"
                    ),
                ),
                ("refund_key", foundation.db.fields.AsciiCharField(max_length=64)),
                ("amount_fen", foundation.db.fields.FenField(verbose_name="amount")),
                ("reason", models.CharField(max_length=200, verbose_name="reason")),
                ("actor", foundation.db.fields.AsciiCharField(max_length=64, verbose_name="by")),
                (
                    "state",
                    foundation.db.fields.AsciiCharField(
                        choices=[("PENDING", "pending"), ("SUCCESS", "success"), ("FAILED", "failed")],
                        default="PENDING",
                        max_length=16,
                        verbose_name="state",
                    ),
                ),
                ("created_at", models.DateTimeField(verbose_name="made at")),
                ("done_at", models.DateTimeField(null=True, verbose_name="done at")),
                (
                    "collection",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="refunds", to="collect.collection"
                    ),
                ),
            ],
            options={
                "verbose_name": "refund of a collection",
                "verbose_name_plural": "refunds of collections",
                "default_permissions": ("view",),
                "constraints": [
                    models.UniqueConstraint(fields=["collection", "refund_key"], name="collectionrefund_key"),
                    models.CheckConstraint(condition=models.Q(("amount_fen__gt", 0)), name="collectionrefund_amount"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("done_at__isnull", True), ("state", "PENDING")),
                            models.Q(models.Q(("state", "PENDING"), _negated=True), ("done_at__isnull", False)),
                            _connector="OR",
                        ),
                        name="collectionrefund_done_at",
                    ),
                ],
            },
        ),
    ]
