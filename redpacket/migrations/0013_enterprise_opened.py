from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("redpacket", "0012_sender_opened")]

    operations = [
        migrations.AddIndex(
            model_name="redpacket",
            index=models.Index(
                fields=["enterprise_id", "opened_at", "total_fen", "rest_fen"], name="redpacket_enterprise_opened"
            ),
        ),
    ]
