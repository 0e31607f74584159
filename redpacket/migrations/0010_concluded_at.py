from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("redpacket", "0009_best_share")]

    operations = [
        migrations.AddField(
            model_name="redpacket",
            name="concluded_at",
            field=models.DateTimeField(null=True),
        ),
    ]
