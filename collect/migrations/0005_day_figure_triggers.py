"""Keeps the daily figures with every collection, in the transaction that pays or refunds it.

A collection moves to PAID once and its refunded amount only grows (migration 0002), so that nothing is counted twice.
Business days are those of Asia/Shanghai, which has had no summer time since 1991; times are stored in UTC. Nothing was
collected before this migration: there is nothing to count up.
"""

from django.db import migrations

CODE = "COALESCE((SELECT CASE WHEN is_once THEN '' ELSE id END FROM collect_code WHERE id = NEW.code_id), '')"
WHERE = (
    "enterprise_id = NEW.enterprise_id AND day = {day} AND employee_id = NEW.employee_id "
    "AND code_id = " + CODE + " AND channel = NEW.channel"
)
PAID = "OLD.state = 'OPEN' AND NEW.state = 'PAID'"
REFUNDED = "NEW.refunded_fen <> OLD.refunded_fen"
DAYS = {"mysql": "DATE(NEW.paid_at + INTERVAL 8 HOUR)", "sqlite": "date(NEW.paid_at, '+8 hours')"}


def count_statement(day, on_conflict):
    return (
        "INSERT INTO collect_dayfigure "  # noqa: S608 - nothing but what stands above
        "(enterprise_id, day, employee_id, code_id, channel, count, amount_fen, refunded_fen) "
        f"VALUES (NEW.enterprise_id, {day}, NEW.employee_id, {CODE}, NEW.channel, 1, NEW.amount_fen, 0) {on_conflict}"
    )


def refund_statement(day):
    return (
        "UPDATE collect_dayfigure SET refunded_fen = refunded_fen + NEW.refunded_fen - OLD.refunded_fen "  # noqa: S608
        f"WHERE {WHERE.format(day=day)}"
    )


def add_triggers(apps, schema_editor):
    vendor = schema_editor.connection.vendor
    if vendor == "mysql":
        again = "ON DUPLICATE KEY UPDATE count = count + 1, amount_fen = amount_fen + NEW.amount_fen"
        event = "AFTER UPDATE ON collect_collection FOR EACH ROW BEGIN IF {when} THEN {then}; END IF; END"
    else:
        again = (
            "ON CONFLICT (enterprise_id, day, employee_id, code_id, channel) "
            "DO UPDATE SET count = count + 1, amount_fen = amount_fen + excluded.amount_fen"
        )
        event = "AFTER UPDATE ON collect_collection WHEN {when} BEGIN {then}; END"
    day = DAYS[vendor]
    for name, when, then in (
        ("collect_figures_paid", PAID, count_statement(day, again)),
        ("collect_figures_refunded", REFUNDED, refund_statement(day)),
    ):
        schema_editor.execute(f"CREATE TRIGGER IF NOT EXISTS {name} {event.format(when=when, then=then)}")


def drop_triggers(apps, schema_editor):
    for name in ("collect_figures_paid", "collect_figures_refunded"):
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {name}")


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("collect", "0004_managers")]
    operations = [migrations.RunPython(add_triggers, drop_triggers, hints={"role": "default"}, atomic=False)]
