from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("redpacket", "0007_reading")]

    operations = [
        migrations.AddField(
            model_name="redpacket",
            name="claimed_count",
            field=models.PositiveIntegerField(null=True),
        ),
    ]
