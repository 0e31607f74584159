from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("collect", "0006_collection_attempt")]
    operations = [
        migrations.AddIndex(
            model_name="collection",
            index=models.Index(fields=["provider_no"], name="collection_provider"),
        ),
    ]
