import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("collect", "0003_day_figures"),
        ("identity", "0003_staff_profile"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]
    operations = [
        migrations.CreateModel(
            name="Manager",
            fields=[
                (
                    "employee",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="identity.employee",
                    ),
                ),
                ("appointed_at", models.DateTimeField(verbose_name="appointed at")),
                (
                    "appointed_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="appointed by",
                    ),
                ),
            ],
            options={
                "verbose_name": "collection manager",
                "verbose_name_plural": "collection managers",
                "permissions": [("appoint_manager", "Can appoint and dismiss collection managers")],
                "default_permissions": ("view",),
            },
        ),
    ]
