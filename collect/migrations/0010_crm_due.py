from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("collect", "0009_crm_tries")]
    operations = [
        migrations.AddIndex(
            model_name="crmrecord",
            index=models.Index(fields=["state", "next_at"], name="crmrecord_due"),
        ),
    ]
