from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("redpacket", "0004_article_url")]

    operations = [
        migrations.AddField(
            model_name="redpacket",
            name="reading_seconds",
            field=models.PositiveIntegerField(null=True),
        ),
    ]
