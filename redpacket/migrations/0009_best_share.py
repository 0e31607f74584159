from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("redpacket", "0008_claimed_count")]

    operations = [
        migrations.AddField(
            model_name="redpacket",
            name="best_share_id",
            field=models.BigIntegerField(null=True),
        ),
    ]
