"""Who receives money is decided by two people, and the database itself sees to it.

A binding starts as a draft, moves only along its table, keeps its enterprise, numbers, name, maker, verifier and
approver, and is not approved by the employee who made it, under whatever staff account. Collections and codes keep
what they ask for and move only along theirs; events are never changed; nothing is deleted.
"""

from django.db import migrations

from foundation.db import triggers
from foundation.db.triggers import Refusal

BINDING, EVENT, CODE, COLLECTION, CRM = (
    "collect_binding",
    "collect_bindingevent",
    "collect_code",
    "collect_collection",
    "collect_crmrecord",
)


def changed(*columns):
    """True when one of the columns changes; NULL counts as a value."""
    return "(" + " OR ".join(f"NOT ({same(column)})" for column in columns) + ")"


def same(column):
    return f"COALESCE(OLD.{column} = NEW.{column}, OLD.{column} IS NULL AND NEW.{column} IS NULL)"


def moves(*allowed):
    """True when the state changes in a way that is not among the allowed (from, to)."""
    pairs = " OR ".join(f"(OLD.state = '{source}' AND NEW.state = '{target}')" for source, target in allowed)
    return f"OLD.state <> NEW.state AND NOT ({pairs})"


REFUSALS = [
    *triggers.insert_only(EVENT),
    *(
        Refusal(f"{table}_no_delete", f"DELETE ON {table}", "1 = 1", f"{table} is never deleted from")
        for table in (BINDING, CODE, COLLECTION, CRM)
    ),
    Refusal(f"{BINDING}_starts", f"INSERT ON {BINDING}", "NEW.state <> 'DRAFT'", "a binding starts as a draft"),
    Refusal(
        f"{BINDING}_moves",
        f"UPDATE ON {BINDING}",
        moves(
            ("DRAFT", "VERIFIED"),
            ("DRAFT", "REJECTED"),
            ("VERIFIED", "APPROVED"),
            ("VERIFIED", "REJECTED"),
            ("APPROVED", "ACTIVE"),
            ("ACTIVE", "DISABLED"),
            ("DISABLED", "ACTIVE"),
        ),
        "a binding does not move like this",
    ),
    Refusal(
        f"{BINDING}_fixed",
        f"UPDATE ON {BINDING}",
        changed(
            "id",
            "enterprise_id",
            "channel",
            "sub_merchant_no",
            "sub_appid",
            "display_name",
            "made_by_id",
            "made_by_employee_id",
            "created_at",
        ),
        "what was proposed stays",
    ),
    Refusal(
        f"{BINDING}_people_fixed",
        f"UPDATE ON {BINDING}",
        f"(OLD.verified_by_id IS NOT NULL AND {changed('verified_by_id')}) "
        f"OR (OLD.approved_by_id IS NOT NULL AND {changed('approved_by_id', 'approved_at')})",
        "who verified and approved stays",
    ),
    Refusal(
        f"{BINDING}_not_by_maker",
        f"UPDATE ON {BINDING}",
        "NEW.approved_by_id IS NOT NULL AND OLD.approved_by_id IS NULL AND NEW.made_by_employee_id IS NOT NULL "
        "AND EXISTS (SELECT 1 FROM identity_staffprofile WHERE user_id = NEW.approved_by_id "
        "AND employee_id = NEW.made_by_employee_id)",
        "nobody approves what he made",
    ),
    Refusal(f"{CODE}_starts", f"INSERT ON {CODE}", "NEW.state <> 'ACTIVE'", "a code starts active"),
    Refusal(
        f"{CODE}_moves",
        f"UPDATE ON {CODE}",
        moves(("ACTIVE", "USED"), ("ACTIVE", "DISABLED")),
        "a code does not move like this",
    ),
    Refusal(
        f"{CODE}_fixed",
        f"UPDATE ON {CODE}",
        changed(
            "id",
            "enterprise_id",
            "employee_id",
            "kind",
            "amount_fen",
            "subject",
            "crm_order_no",
            "is_once",
            "created_at",
            "expires_at",
        ),
        "a code keeps what it asks for",
    ),
    Refusal(f"{COLLECTION}_starts", f"INSERT ON {COLLECTION}", "NEW.state <> 'OPEN'", "a collection starts open"),
    Refusal(
        f"{COLLECTION}_moves",
        f"UPDATE ON {COLLECTION}",
        moves(("OPEN", "PAID"), ("OPEN", "CLOSED"), ("PAID", "REFUNDED")),
        "a collection does not move like this",
    ),
    Refusal(
        f"{COLLECTION}_fixed",
        f"UPDATE ON {COLLECTION}",
        changed(
            "id",
            "order_no",
            "code_id",
            "binding_id",
            "enterprise_id",
            "employee_id",
            "channel",
            "amount_fen",
            "created_at",
        )
        + " OR NEW.refunded_fen < OLD.refunded_fen",
        "a collection keeps its amount and account",
    ),
]


def add_guards(apps, schema_editor):
    triggers.add(schema_editor, REFUSALS)


def drop_guards(apps, schema_editor):
    triggers.drop(schema_editor, REFUSALS)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("collect", "0001_initial"), ("identity", "0003_staff_profile")]
    operations = [migrations.RunPython(add_guards, drop_guards, hints={"role": "default"}, atomic=False)]
