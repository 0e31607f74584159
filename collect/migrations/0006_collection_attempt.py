from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("collect", "0005_day_figure_triggers")]
    operations = [
        migrations.AddIndex(
            model_name="collection",
            index=models.Index(fields=["attempt_no"], name="collection_attempt"),
        ),
    ]
