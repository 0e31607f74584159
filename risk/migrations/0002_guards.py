"""What was submitted stays as it was submitted, and what was decided stays decided: triggers refuse everything else.

Second line of defence behind the services, also against superusers and hand-written SQL: rows of a version change only
while it is a draft; its maker never changes, so that the four-eyes CHECK means something; decisions of the log are
insert-only; reservations and list entries only move forward and are never deleted. MariaDB commits each DDL statement
by itself, hence no transaction around them, and statements that may be run again after a half-done migration.
"""

from django.db import migrations

VERSION = "risk_ruleversion"
ROW = "risk_rulerow"
DECISION = "risk_decision"
RESERVATION = "risk_reservation"
ENTRY = "risk_listentry"

MAKER = ("id", "rule_set_id", "number", "based_on_id", "made_by_id", "made_by_name", "made_at")
CONTENT = ("note", "review_score", "reject_score", "digest", "submitted_at")
DECIDED = ("decided_by_id", "decided_by_name", "decided_at", "decision_reason")
RESERVED = (
    "id",
    "action",
    "reference",
    "employee_id",
    "channel",
    "card_index",
    "amount_fen",
    "day",
    "decision_id",
    "created_at",
)
LISTED = (
    "id", "kind", "subject_kind", "value_index", "value_shown", "reason", "expires_at", "added_by_id", "added_by_name",
    "added_at",
)  # fmt: skip
CONFIRMED = ("confirmed_by_id", "confirmed_by_name", "confirmed_at")
REMOVED = ("removed_by_id", "removed_by_name", "removed_at", "removal_reason")
MOVES = (
    "NEW.state = OLD.state OR (OLD.state = 'DRAFT' AND NEW.state = 'SUBMITTED')"
    " OR (OLD.state = 'DRAFT' AND NEW.state = 'ACTIVE' AND NEW.made_by_id = 0 AND NEW.number = 1)"
    " OR (OLD.state = 'SUBMITTED' AND NEW.state IN ('ACTIVE', 'REFUSED'))"
    " OR (OLD.state = 'ACTIVE' AND NEW.state = 'RETIRED')"
)


def _rules(vendor):
    """(name, event, condition, message) of every trigger; the condition is about the row at hand."""
    # Comparisons that know NULL; BINARY because the text's collation takes "A" for "a" and "a " for "a".
    pair = "BINARY NEW.{0} <=> BINARY OLD.{0}" if vendor == "mysql" else "NEW.{0} IS OLD.{0}"

    def changed(columns):
        return "(" + " OR ".join(f"NOT ({pair.format(column)})" for column in columns) + ")"

    def no_draft(which):
        return f"(SELECT state FROM {VERSION} WHERE id = {which}.version_id) <> 'DRAFT'"  # noqa: S608 - names of ours

    fixed = "rows of a submitted version cannot be changed"
    return [
        (f"{ROW}_insert", f"INSERT ON {ROW}", no_draft("NEW"), fixed),
        (f"{ROW}_update", f"UPDATE ON {ROW}", f"{no_draft('OLD')} OR {no_draft('NEW')}", fixed),
        (f"{ROW}_delete", f"DELETE ON {ROW}", no_draft("OLD"), fixed),
        (f"{VERSION}_starts", f"INSERT ON {VERSION}", "NEW.state <> 'DRAFT'", "a version starts as a draft"),
        (f"{VERSION}_maker", f"UPDATE ON {VERSION}", changed(MAKER), "the maker of a version cannot be changed"),
        (f"{VERSION}_moves", f"UPDATE ON {VERSION}", f"NOT ({MOVES})", "a version does not move like that"),
        (
            f"{VERSION}_content",
            f"UPDATE ON {VERSION}",
            f"OLD.state <> 'DRAFT' AND {changed(CONTENT)}",
            "a submitted version cannot be changed",
        ),
        (
            f"{VERSION}_decided",
            f"UPDATE ON {VERSION}",
            f"OLD.state IN ('ACTIVE', 'RETIRED', 'REFUSED') AND {changed(DECIDED)}",
            "this version is decided",
        ),
        (f"{VERSION}_delete", f"DELETE ON {VERSION}", "OLD.state <> 'DRAFT'", "only drafts are deleted"),
        (f"{DECISION}_update", f"UPDATE ON {DECISION}", "1 = 1", "decisions are insert-only"),
        (f"{DECISION}_delete", f"DELETE ON {DECISION}", "1 = 1", "decisions are insert-only"),
        (
            f"{RESERVATION}_update",
            f"UPDATE ON {RESERVATION}",
            f"OLD.state = 'RETURNED' OR {changed(RESERVED)}",
            "a reservation only moves forward",
        ),
        (f"{RESERVATION}_delete", f"DELETE ON {RESERVATION}", "1 = 1", "reservations are never deleted"),
        (f"{ENTRY}_content", f"UPDATE ON {ENTRY}", changed(LISTED), "a list entry cannot be changed"),
        (
            f"{ENTRY}_confirmed",
            f"UPDATE ON {ENTRY}",
            f"OLD.confirmed_at IS NOT NULL AND {changed(CONFIRMED)}",
            "this entry is confirmed",
        ),
        (
            f"{ENTRY}_removed",
            f"UPDATE ON {ENTRY}",
            f"OLD.removed_at IS NOT NULL AND {changed((*CONFIRMED, *REMOVED))}",
            "this entry is removed",
        ),
        (f"{ENTRY}_delete", f"DELETE ON {ENTRY}", "1 = 1", "list entries are never deleted"),
    ]


def add_triggers(apps, schema_editor):
    vendor = schema_editor.connection.vendor
    for name, event, condition, message in _rules(vendor):
        if vendor == "mysql":
            refusal = f"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{message}'"
            body = f"FOR EACH ROW BEGIN IF {condition} THEN {refusal}; END IF; END"
        else:
            body = f"WHEN {condition} BEGIN SELECT RAISE(ABORT, '{message}'); END"
        schema_editor.execute(f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {event} {body}")


def drop_triggers(apps, schema_editor):
    for name, *_ in _rules(schema_editor.connection.vendor):
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {name}")


class Migration(migrations.Migration):
    dependencies = [("risk", "0001_initial")]
    operations = [migrations.RunPython(add_triggers, drop_triggers, hints={"role": "default"}, atomic=False)]
