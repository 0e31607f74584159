import django.db.models.deletion
from django.db import migrations, models

import foundation.db.fields
import foundation.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="RedPacket",
            fields=[
                (
                    "id",
                    foundation.db.fields.AsciiCharField(
                        default=foundation.ids.new_id, max_length=32, primary_key=True, serialize=False
                    ),
                ),
                (
                    "kind",
                    foundation.db.fields.AsciiCharField(
                        choices=[("NORMAL", "normal"), ("LUCKY", "lucky")], max_length=16
                    ),
                ),
                (
                    "state",
                    foundation.db.fields.AsciiCharField(
                        choices=[
                            ("DRAFT", "draft"),
                            ("OPEN", "open"),
                            ("EXHAUSTED", "exhausted"),
                            ("EXPIRED", "expired"),
                            ("CANCELLED", "cancelled"),
                        ],
                        default="DRAFT",
                        max_length=16,
                    ),
                ),
                ("sender_id", models.BigIntegerField()),
                ("enterprise_id", models.BigIntegerField()),
                ("receiver_id", models.BigIntegerField(null=True)),
                ("group_id", foundation.db.fields.AsciiCharField(blank=True, default="", max_length=32)),
                ("total_fen", foundation.db.fields.FenField()),
                ("count", models.PositiveIntegerField()),
                ("greeting", models.CharField(blank=True, default="", max_length=60)),
                ("funding_order_no", foundation.db.fields.AsciiCharField(max_length=32, unique=True)),
                ("pay_source", foundation.db.fields.AsciiCharField(max_length=16)),
                ("created_at", models.DateTimeField()),
                ("opened_at", models.DateTimeField(null=True)),
                ("expires_at", models.DateTimeField(null=True)),
                ("closed_at", models.DateTimeField(null=True)),
                ("rest_fen", foundation.db.fields.FenField(null=True)),
                ("refund_no", foundation.db.fields.AsciiCharField(blank=True, default="", max_length=32)),
                (
                    "refund_state",
                    foundation.db.fields.AsciiCharField(
                        choices=[
                            ("NONE", "none"),
                            ("DUE", "due"),
                            ("PENDING", "pending"),
                            ("SUCCESS", "success"),
                            ("FAILED", "failed"),
                        ],
                        default="NONE",
                        max_length=16,
                    ),
                ),
            ],
            options={
                "verbose_name": "red packet",
                "indexes": [
                    models.Index(fields=["state", "expires_at"], name="redpacket_state_expires"),
                    models.Index(fields=["sender_id", "-id"], name="redpacket_sender"),
                    models.Index(fields=["refund_state", "closed_at"], name="redpacket_refund_due"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("total_fen__gt", 0), ("count__gt", 0)), name="redpacket_amounts_positive"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("count", 1), ("group_id", ""), ("kind", "NORMAL"), ("receiver_id__isnull", False)
                            ),
                            models.Q(
                                ("kind", "LUCKY"),
                                ("receiver_id__isnull", True),
                                models.Q(("group_id", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="redpacket_kind_shape",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state__in", ["DRAFT", "CANCELLED"]),
                            ("state", "EXPIRED"),
                            models.Q(("expires_at__isnull", False), ("opened_at__isnull", False)),
                            _connector="OR",
                        ),
                        name="redpacket_open_has_expiry",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("rest_fen__isnull", True), ("state__in", ["DRAFT", "OPEN", "CANCELLED"])),
                            models.Q(("closed_at__isnull", False), ("rest_fen", 0), ("state", "EXHAUSTED")),
                            models.Q(
                                ("closed_at__isnull", False),
                                ("rest_fen__gt", 0),
                                ("rest_fen__lte", models.F("total_fen")),
                                ("state", "EXPIRED"),
                            ),
                            _connector="OR",
                        ),
                        name="redpacket_rest_when_closed",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("state", "EXPIRED"),
                                models.Q(("refund_no", ""), _negated=True),
                                models.Q(("refund_state", "NONE"), _negated=True),
                            ),
                            models.Q(
                                models.Q(("state", "EXPIRED"), _negated=True),
                                ("refund_no", ""),
                                ("refund_state", "NONE"),
                            ),
                            _connector="OR",
                        ),
                        name="redpacket_refund_when_expired",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Settlement",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("batch_no", models.PositiveIntegerField()),
                (
                    "state",
                    foundation.db.fields.AsciiCharField(
                        choices=[("ASSIGNED", "assigned"), ("POSTED", "posted")], default="ASSIGNED", max_length=16
                    ),
                ),
                ("share_count", models.PositiveIntegerField()),
                ("total_fen", foundation.db.fields.FenField()),
                ("tries", models.PositiveIntegerField(default=0)),
                ("last_error", models.TextField(blank=True, default="")),
                ("created_at", models.DateTimeField()),
                ("next_at", models.DateTimeField()),
                ("posted_at", models.DateTimeField(null=True)),
                (
                    "packet",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="settlements",
                        to="redpacket.redpacket",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Share",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("share_no", models.PositiveIntegerField()),
                ("amount_fen", foundation.db.fields.FenField()),
                ("receiver_id", models.BigIntegerField(null=True)),
                ("claimed_at", models.DateTimeField(null=True)),
                ("receipt_no", foundation.db.fields.AsciiCharField(blank=True, default="", max_length=32)),
                ("settled_at", models.DateTimeField(null=True)),
                (
                    "packet",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="shares",
                        to="redpacket.redpacket",
                    ),
                ),
                (
                    "settlement",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="shares",
                        to="redpacket.settlement",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="settlement",
            index=models.Index(fields=["state", "next_at"], name="settlement_due"),
        ),
        migrations.AddConstraint(
            model_name="settlement",
            constraint=models.UniqueConstraint(fields=("packet", "batch_no"), name="settlement_packet_batch"),
        ),
        migrations.AddConstraint(
            model_name="settlement",
            constraint=models.CheckConstraint(
                condition=models.Q(("share_count__gt", 0), ("total_fen__gt", 0)), name="settlement_not_empty"
            ),
        ),
        migrations.AddConstraint(
            model_name="settlement",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("posted_at__isnull", True), ("state", "ASSIGNED")),
                    models.Q(("posted_at__isnull", False), ("state", "POSTED")),
                    _connector="OR",
                ),
                name="settlement_posted_at",
            ),
        ),
        migrations.AddIndex(
            model_name="share",
            index=models.Index(fields=["settlement", "claimed_at", "packet"], name="share_unsettled"),
        ),
        migrations.AddIndex(
            model_name="share",
            index=models.Index(fields=["receiver_id", "-claimed_at", "-id"], name="share_received"),
        ),
        migrations.AddConstraint(
            model_name="share",
            constraint=models.UniqueConstraint(fields=("packet", "share_no"), name="share_packet_no"),
        ),
        migrations.AddConstraint(
            model_name="share",
            constraint=models.UniqueConstraint(fields=("packet", "receiver_id"), name="share_packet_receiver"),
        ),
        migrations.AddConstraint(
            model_name="share",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_fen__gt", 0), ("share_no__gt", 0)), name="share_positive"
            ),
        ),
        migrations.AddConstraint(
            model_name="share",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("claimed_at__isnull", True), ("receiver_id__isnull", True), ("settlement__isnull", True)),
                    models.Q(("claimed_at__isnull", False), ("receiver_id__isnull", False)),
                    _connector="OR",
                ),
                name="share_claim_complete",
            ),
        ),
        migrations.AddConstraint(
            model_name="share",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("receipt_no", ""), ("settled_at__isnull", True), ("settlement__isnull", True)),
                    models.Q(("settlement__isnull", False), models.Q(("receipt_no", ""), _negated=True)),
                    _connector="OR",
                ),
                name="share_settlement_complete",
            ),
        ),
    ]
