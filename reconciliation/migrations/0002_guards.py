"""What was found stays found: sides and kinds never change, states move only along their tables, events are kept.

Whose employee a member of staff is does not matter here; that two different people decide is a CHECK of the tables.
"""

from django.db import migrations

from foundation.db import triggers
from foundation.db.triggers import Refusal

FILE, RUN, PROBLEM, DIFFERENCE, CARRIED, DAY = (
    "reconciliation_rawfile",
    "reconciliation_run",
    "reconciliation_rowproblem",
    "reconciliation_difference",
    "reconciliation_carriedover",
    "reconciliation_dayclose",
)
EVENTS = ("reconciliation_runevent", "reconciliation_differenceevent", "reconciliation_dayevent")
SIDES = (
    "run_id",
    "fingerprint",
    "row_kind",
    "number",
    "provider_no",
    "line_no",
    "our_amount_fen",
    "their_amount_fen",
    "our_fee_milli_fen",
    "their_fee_milli_fen",
    "our_state",
    "their_state",
    "our_time",
    "their_time",
    "is_incoming",
    "created_at",
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
    *(refusal for table in (FILE, PROBLEM, *EVENTS) for refusal in triggers.insert_only(table)),
    *(
        Refusal(f"{table}_no_delete", f"DELETE ON {table}", "1 = 1", f"{table} is never deleted from")
        for table in (RUN, DIFFERENCE, CARRIED, DAY)
    ),
    Refusal(f"{RUN}_starts", f"INSERT ON {RUN}", "NEW.state <> 'PLANNED'", "a run starts planned"),
    Refusal(
        f"{RUN}_moves",
        f"UPDATE ON {RUN}",
        moves(
            ("PLANNED", "WAITING"),
            ("PLANNED", "FETCHED"),
            ("PLANNED", "MATCHED"),
            ("WAITING", "FETCHED"),
            ("WAITING", "MATCHED"),
            ("FETCHED", "PARSED"),
            ("FETCHED", "WAITING"),
            ("PARSED", "MATCHED"),
            ("PARSED", "FETCHED"),
            ("MATCHED", "REVIEWED"),
            ("MATCHED", "FETCHED"),
            ("REVIEWED", "SIGNED_OFF"),
            ("REVIEWED", "MATCHED"),
            ("REVIEWED", "FETCHED"),
            ("SIGNED_OFF", "REVIEWED"),
        ),
        "a run does not move like this",
    ),
    Refusal(
        f"{RUN}_fixed",
        f"UPDATE ON {RUN}",
        changed("channel", "account", "kind", "day", "created_at"),
        "a run keeps what it is about",
    ),
    Refusal(
        f"{RUN}_closed",
        f"UPDATE ON {RUN}",
        "OLD.state = 'SIGNED_OFF' AND NEW.state = 'SIGNED_OFF' AND "
        + changed("file_id", "our_rows", "their_rows", "matched_rows", "our_total_fen", "their_total_fen"),
        "a signed-off run does not change",
    ),
    Refusal(
        f"{DIFFERENCE}_starts",
        f"INSERT ON {DIFFERENCE}",
        "NEW.state = 'PROPOSED' OR NEW.approved_by_id IS NOT NULL",
        "a difference starts open",
    ),
    Refusal(
        f"{DIFFERENCE}_moves",
        f"UPDATE ON {DIFFERENCE}",
        moves(("OPEN", "PROPOSED"), ("OPEN", "RESOLVED"), ("PROPOSED", "OPEN"), ("PROPOSED", "RESOLVED"))
        + " OR (OLD.state = 'OPEN' AND NEW.state = 'RESOLVED' AND NEW.resolution <> 'SETTLED')",
        "a difference does not move like this",
    ),
    Refusal(
        f"{DIFFERENCE}_fixed", f"UPDATE ON {DIFFERENCE}", changed(*SIDES, "kind", "value_fen"), "what was found stays"
    ),
    Refusal(
        f"{DIFFERENCE}_proposal_fixed",
        f"UPDATE ON {DIFFERENCE}",
        "OLD.state <> 'OPEN' AND NEW.state <> 'OPEN' AND "
        + changed("resolution", "reason", "proposed_by_id", "proposed_at"),
        "what was proposed stays",
    ),
    Refusal(
        f"{DIFFERENCE}_ended",
        f"UPDATE ON {DIFFERENCE}",
        "OLD.state = 'RESOLVED' AND " + changed("approved_by_id", "resolved_at", "reference", "journal_no"),
        "a resolved difference does not change",
    ),
    Refusal(f"{CARRIED}_starts", f"INSERT ON {CARRIED}", "NEW.state <> 'WAITING'", "an item starts waiting"),
    Refusal(
        f"{CARRIED}_moves",
        f"UPDATE ON {CARRIED}",
        moves(("WAITING", "PAIRED"), ("WAITING", "DIFFERENT")),
        "an item does not move like this",
    ),
    Refusal(f"{CARRIED}_fixed", f"UPDATE ON {CARRIED}", changed(*SIDES, "is_ours"), "what was found stays"),
    Refusal(f"{DAY}_starts", f"INSERT ON {DAY}", "NEW.state <> 'SIGNED_OFF'", "a day starts signed off"),
    Refusal(
        f"{DAY}_moves",
        f"UPDATE ON {DAY}",
        moves(
            ("SIGNED_OFF", "REOPENING"),
            ("REOPENING", "SIGNED_OFF"),
            ("REOPENING", "REOPENED"),
            ("REOPENED", "SIGNED_OFF"),
        ),
        "a day does not move like this",
    ),
    Refusal(f"{DAY}_fixed", f"UPDATE ON {DAY}", changed("channel", "account", "day"), "a day keeps what it is about"),
    Refusal(
        f"{DAY}_proposal_fixed",
        f"UPDATE ON {DAY}",
        "OLD.state = 'REOPENING' AND NEW.state = 'REOPENED' AND " + changed("proposed_by_id", "reason", "file_id"),
        "what was proposed stays",
    ),
]


def add_guards(apps, schema_editor):
    triggers.add(schema_editor, REFUSALS)


def drop_guards(apps, schema_editor):
    triggers.drop(schema_editor, REFUSALS)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("reconciliation", "0001_initial")]
    operations = [migrations.RunPython(add_guards, drop_guards, hints={"role": "default"}, atomic=False)]
