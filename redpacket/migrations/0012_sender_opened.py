from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("redpacket", "0011_to_conclude")]

    operations = [
        migrations.AddIndex(
            model_name="redpacket",
            index=models.Index(fields=["sender_id", "opened_at", "total_fen"], name="redpacket_sender_opened"),
        ),
    ]
