from django.db import migrations

import foundation.db.fields


class Migration(migrations.Migration):
    dependencies = [("redpacket", "0003_cover")]

    operations = [
        migrations.AddField(
            model_name="redpacket",
            name="article_url",
            field=foundation.db.fields.AsciiCharField(blank=True, default="", max_length=500),
        ),
    ]
