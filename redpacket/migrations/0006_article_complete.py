from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("redpacket", "0005_reading_seconds")]

    operations = [
        migrations.AddConstraint(
            model_name="redpacket",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("article_url", ""), ("reading_seconds__isnull", True)),
                    models.Q(models.Q(("article_url", ""), _negated=True), ("reading_seconds__gt", 0)),
                    _connector="OR",
                ),
                name="redpacket_article_complete",
            ),
        ),
    ]
