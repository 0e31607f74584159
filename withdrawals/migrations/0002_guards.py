"""Four eyes and the trail are the database's own rule, against superusers and hand-written SQL too.

A decision names the withdrawal's real applicant and speaks of the present round; a withdrawal becomes APPROVED only
with as many approvals of different people as it needs and no rejection; decisions and events are never changed; a
payout number is never exchanged without an approved new one; nothing is deleted.
"""

from django.db import migrations

from foundation.db import triggers
from foundation.db.triggers import Refusal

HEAD, DECISION, EVENT, REISSUE = (
    "withdrawals_withdrawal",
    "withdrawals_decision",
    "withdrawals_withdrawalevent",
    "withdrawals_reissue",
)
APPROVALS = (
    f"(SELECT COUNT(DISTINCT decided_by_id) FROM {DECISION} WHERE withdrawal_id = NEW.order_no "  # noqa: S608
    "AND round = NEW.approval_round AND word = 'APPROVE')"
)
REJECTIONS = (
    f"(SELECT COUNT(*) FROM {DECISION} WHERE withdrawal_id = NEW.order_no "  # noqa: S608
    "AND round = NEW.approval_round AND word = 'REJECT')"
)
OF_WITHDRAWAL = f"FROM {HEAD} WHERE order_no = NEW.withdrawal_id"
REISSUED = (
    f"EXISTS (SELECT 1 FROM {REISSUE} WHERE withdrawal_id = NEW.order_no AND old_payout_no = OLD.payout_no "  # noqa: S608
    "AND new_payout_no = NEW.payout_no AND approved_by_id IS NOT NULL)"
)
REFUSALS = [
    *triggers.insert_only(DECISION),
    *triggers.insert_only(EVENT),
    Refusal(
        f"{DECISION}_of_applicant",
        f"INSERT ON {DECISION}",
        f"NEW.applicant_id <> (SELECT employee_id {OF_WITHDRAWAL}) "
        f"OR NEW.round <> (SELECT approval_round {OF_WITHDRAWAL}) "
        f"OR (SELECT state {OF_WITHDRAWAL}) <> 'APPLIED'",
        "a decision is about the present round of a withdrawal that waits",
    ),
    Refusal(
        f"{HEAD}_approved_by_enough",
        f"UPDATE ON {HEAD}",
        f"NEW.state = 'APPROVED' AND OLD.state <> 'APPROVED' AND ({APPROVALS} < NEW.approvals_needed OR {REJECTIONS} > 0)",
        "not enough approvals of different people",
    ),
    Refusal(
        f"{HEAD}_sent_when_approved",
        f"UPDATE ON {HEAD}",
        "NEW.state = 'SENDING' AND OLD.state NOT IN ('APPROVED', 'SENDING')",
        "only what is approved is sent",
    ),
    Refusal(
        f"{HEAD}_starts_unapproved",
        f"INSERT ON {HEAD}",
        "NEW.state <> 'APPLYING' OR NEW.payout_no IS NOT NULL",
        "a withdrawal starts as an application",
    ),
    Refusal(
        f"{HEAD}_payout_no_fixed",
        f"UPDATE ON {HEAD}",
        f"OLD.payout_no IS NOT NULL AND (NEW.payout_no IS NULL OR (NEW.payout_no <> OLD.payout_no AND NOT {REISSUED}))",
        "a payout keeps its number",
    ),
    Refusal(f"{HEAD}_no_delete", f"DELETE ON {HEAD}", "1 = 1", "withdrawals are never deleted"),
    Refusal(f"{REISSUE}_no_delete", f"DELETE ON {REISSUE}", "1 = 1", "proposals are never deleted"),
    Refusal(
        f"{REISSUE}_starts_proposed",
        f"INSERT ON {REISSUE}",
        "NEW.approved_by_id IS NOT NULL",
        "a new number starts as a proposal",
    ),
    Refusal(
        f"{REISSUE}_decided_once",
        f"UPDATE ON {REISSUE}",
        "OLD.approved_by_id IS NOT NULL OR NEW.proposed_by_id <> OLD.proposed_by_id "
        "OR NEW.new_payout_no <> OLD.new_payout_no OR NEW.old_payout_no <> OLD.old_payout_no "
        "OR NEW.withdrawal_id <> OLD.withdrawal_id",
        "this proposal is decided, and what was proposed stays",
    ),
]


def add_guards(apps, schema_editor):
    triggers.add(schema_editor, REFUSALS)


def drop_guards(apps, schema_editor):
    triggers.drop(schema_editor, REFUSALS)


class Migration(migrations.Migration):
    dependencies = [("withdrawals", "0001_initial")]
    operations = [migrations.RunPython(add_guards, drop_guards, hints={"role": "default"}, atomic=False)]
