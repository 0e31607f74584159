from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("redpacket", "0013_enterprise_opened")]

    operations = [
        migrations.AddField(
            model_name="settlement",
            name="announced_at",
            field=models.DateTimeField(null=True),
        ),
    ]
