from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("redpacket", "0010_concluded_at")]

    operations = [
        migrations.AddIndex(
            model_name="redpacket",
            index=models.Index(fields=["concluded_at", "closed_at"], name="redpacket_to_conclude"),
        ),
    ]
