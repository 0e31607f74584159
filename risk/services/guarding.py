"""Guards for what has no review of its own: transfers, recharges, sending of red packets.

    guarding.guard(
        action=Action.TRANSFER, subject=…, amount_fen=…, channel="wallet", reference=order_no, known=…, now=now
    )
    …                                                          # the payment, in its own transactions
    guarding.release(action=Action.TRANSFER, reference=order_no, now=now)   # when it surely came to nothing

Nobody looks at such a request by hand, so a REVIEW refuses as a REJECT does; both stay in the log. The guard commits
before the payment begins: a process that dies in between leaves one request counted too many, never one too few.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from foundation.db import roles, transactions
from foundation.errors import NotFound
from risk.domain.facts import Action, FactValue
from risk.domain.tables import Outcome
from risk.services import deciding, reserving
from risk.services.deciding import Subject, Verdict


def guard(
    *,
    action: Action,
    subject: Subject,
    amount_fen: int,
    channel: str,
    reference: str,
    now: dt.datetime,
    known: Mapping[str, FactValue] | None = None,
) -> Verdict:
    """Decides and counts one request in a transaction of its own; returns only a PASS. The same reference is safe.

    Parameters as `deciding.decide`. Call it outside of any transaction on role default. Raises RiskRejected (which
    carries rule, reason and until), Busy.
    """

    def work() -> Verdict:
        verdict = deciding.decide(
            action=action,
            subject=subject,
            amount_fen=amount_fen,
            channel=channel,
            reference=reference,
            now=now,
            known=known,
        )
        if verdict.outcome is Outcome.PASS:
            reserving.reserve(verdict=verdict, now=now)
        return verdict

    verdict = transactions.run(work, using=roles.alias_for("default"))
    if verdict.outcome is not Outcome.PASS:
        raise verdict.refusal()
    return verdict


def release(*, action: Action, reference: str, now: dt.datetime) -> bool:
    """Gives a guarded request's limits back; False when nothing was counted under the reference. Safe to repeat."""
    try:
        reserving.give_back(action=action, reference=reference, now=now)
    except NotFound:
        return False
    return True
