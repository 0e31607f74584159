from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("redpacket", "0014_settlement_announced_at")]

    operations = [
        migrations.AddIndex(
            model_name="settlement",
            index=models.Index(fields=["announced_at", "posted_at"], name="settlement_to_announce"),
        ),
    ]
