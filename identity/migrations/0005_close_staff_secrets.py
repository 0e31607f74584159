"""Secrets of authenticators that stood open in django-otp's table move over, closed; the ids stay, approvals name them.

Nothing to do in a database that never had that table: its app is not installed any more.
"""

from datetime import UTC, datetime

from django.db import migrations

OLD = "otp_totp_totpdevice"
COLUMNS = (
    "id", "user_id", "name", "confirmed", "key", "step", "t0", "digits", "tolerance", "last_t",
    "throttling_failure_timestamp", "throttling_failure_count", "created_at", "last_used_at",
)  # fmt: skip
USUAL = (30, 0, 6, 1)
"""step, t0, digits and tolerance: no page of ours ever made others, and the new table has no columns for them."""
CLOSED_AS = "identity_authenticator.secret"


def _aware(value):
    if value is None:
        return None
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def close(apps, schema_editor):
    from foundation import crypto

    connection = schema_editor.connection
    if OLD not in connection.introspection.table_names():
        return
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(map(quote, COLUMNS))} FROM {quote(OLD)} ORDER BY id")  # noqa: S608
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in cursor.fetchall()]
    unusual = [row["id"] for row in rows if (row["step"], row["t0"], row["digits"], row["tolerance"]) != USUAL]
    if unusual:
        raise RuntimeError(f"authenticators of another kind in {OLD}, remove them first: {unusual}")
    authenticators = apps.get_model("identity", "Authenticator").objects.using(connection.alias)
    for row in rows:
        # The same again for a row that is there already: whoever was interrupted starts it again.
        authenticators.update_or_create(
            pk=row["id"],
            defaults={
                "user_id": row["user_id"],
                "name": row["name"],
                "confirmed": bool(row["confirmed"]),
                "secret": crypto.encrypt_bytes(bytes.fromhex(row["key"]), column=CLOSED_AS),
                "last_t": row["last_t"],
                "throttling_failure_timestamp": _aware(row["throttling_failure_timestamp"]),
                "throttling_failure_count": row["throttling_failure_count"],
                "last_used_at": _aware(row["last_used_at"]),
            },
        )
        authenticators.filter(pk=row["id"]).update(created_at=_aware(row["created_at"]))  # the insert says "now"


class Migration(migrations.Migration):
    dependencies = [("identity", "0004_authenticator")]
    operations = [migrations.RunPython(close, migrations.RunPython.noop, hints={"role": "default"})]
