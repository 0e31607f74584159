"""The facts risk knows itself, in two queries: counters under lock; then lists, windows and earlier answers at once.

The first request of an employee's day (or of a card's) makes its counter rows first; that is two statements more, once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from django.db import connections

from foundation import clock, crypto
from foundation.db import transactions
from risk.domain.facts import Action, FactValue
from risk.domain.limits import Keys, counter_keys
from risk.models import Counter, ListEntry

LIST_COLUMN = "risk_listentry.value"
"""What blind indexes of the lists are made for."""
WINDOW = dt.timedelta(days=7)
HOUR = dt.timedelta(hours=1)
TEN_MINUTES = dt.timedelta(minutes=10)
DAY = dt.timedelta(hours=24)

_INSERT = (
    "INSERT INTO risk_counter (name, `count`, amount_fen, version, day) VALUES {places} "
    "ON DUPLICATE KEY UPDATE day = day"
)
"""Takes the exclusive lock of a row that is there already; INSERT IGNORE would take a shared one, and two of those that
want more are a deadlock."""
_INSERT_SQLITE = (
    'INSERT INTO risk_counter (name, "count", amount_fen, version, day) VALUES {places} ON CONFLICT DO NOTHING'
)

_KNOWN = """
SELECT 1, COUNT(*), 0 FROM risk_listentry
 WHERE value_index IN ({blockable}) AND kind = 'BLOCK' AND removed_at IS NULL AND expires_at > %s
UNION ALL
SELECT 2, COUNT(*), 0 FROM risk_listentry
 WHERE value_index IN ({allowable}) AND kind = 'ALLOW' AND removed_at IS NULL AND expires_at > %s
   AND confirmed_at IS NOT NULL
UNION ALL
SELECT 3, COUNT(*), COALESCE(SUM(amount_fen), 0) FROM risk_reservation
 WHERE employee_id = %s AND action = %s AND created_at > %s AND state <> 'RETURNED'
UNION ALL
SELECT 4, COUNT(*), 0 FROM risk_decision WHERE employee_id = %s AND action = %s AND created_at > %s
UNION ALL
SELECT 5, COUNT(*), 0 FROM risk_decision WHERE employee_id = %s AND action = %s AND created_at > %s
UNION ALL
SELECT 6, COUNT(*), 0 FROM risk_decision
 WHERE employee_id = %s AND action = %s AND created_at > %s AND outcome = 'REJECT'
UNION ALL
SELECT 7, COALESCE(MAX(decision_id), 0), 0 FROM risk_reservation WHERE action = %s AND reference = %s
UNION ALL
SELECT 8, COALESCE(MIN(id), 0), 0 FROM risk_decision WHERE action = %s AND reference = %s AND outcome = 'REJECT'
"""
_BLOCKED, _ALLOWED, _WINDOW, _TRIES_SHORT, _TRIES_LONG, _REJECTIONS, _RESERVED, _REJECTED = range(1, 9)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request, as far as risk looks at it; secrets are blind indexes already."""

    action: Action
    reference: str
    employee_id: int
    enterprise_id: int
    channel: str
    amount_fen: int
    card_index: str
    blockable: tuple[str, ...]
    allowable: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """Facts by name; the counters' versions as they were read; the decision that answered this reference before."""

    facts: Mapping[str, FactValue]
    seen: tuple[tuple[str, int], ...]
    first_decision_id: int | None


def value_indexes(*, subject_kind: str, value: str) -> list[str]:
    """What to look one value up by: the written one first, the one of the oldest key last."""
    return crypto.blind_indexes(indexed_text(subject_kind=subject_kind, value=value), column=LIST_COLUMN)


def indexed_text(*, subject_kind: str, value: str) -> str:
    """What the blind index of one value of a list is made of."""
    return f"{subject_kind}:{value}"


def gather(*, asked: Asked, now: dt.datetime, using: str) -> Gathered:
    """Locks the request's counters until the transaction ends and reads everything else. A transaction must be open."""
    transactions.assert_in_transaction(using=using)
    day = clock.business_date(now)
    keys = counter_keys(
        action=asked.action, employee_id=asked.employee_id, channel=asked.channel, card=asked.card_index, day=day
    )
    counters = lock_counters(keys=keys, day=day, using=using)
    known = _known(asked, now, using)
    facts: dict[str, FactValue] = {
        "amount_fen": asked.amount_fen,
        "channel": asked.channel,
        "enterprise": str(asked.enterprise_id),
        "hour_of_day": now.astimezone(clock.BUSINESS_ZONE).hour,
        "count_today": counters[keys.day].count,
        "amount_today_fen": counters[keys.day].amount_fen,
        "channel_count_today": counters[keys.channel_day].count,
        "channel_amount_today_fen": counters[keys.channel_day].amount_fen,
        "count_this_year": counters[keys.year].count,
        "amount_this_year_fen": counters[keys.year].amount_fen,
        "count_7_days": known[_WINDOW][0],
        "amount_7_days_fen": known[_WINDOW][1],
        "tries_10_minutes": known[_TRIES_SHORT][0],
        "tries_1_hour": known[_TRIES_LONG][0],
        "rejections_24_hours": known[_REJECTIONS][0],
        "on_block_list": known[_BLOCKED][0] > 0,
        "on_allow_list": known[_ALLOWED][0] > 0,
    }
    if asked.action is Action.WITHDRAWAL:
        # Without a card (a WeChat payout) nothing has gone to it.
        facts["card_amount_today_fen"] = counters[keys.card_day].amount_fen if keys.card_day else 0
        facts["card_amount_this_year_fen"] = counters[keys.card_year].amount_fen if keys.card_year else 0
    return Gathered(
        facts=facts,
        seen=tuple((name, counter.version) for name, counter in sorted(counters.items())),
        first_decision_id=known[_RESERVED][0] or known[_REJECTED][0] or None,
    )


def lock_counters(*, keys: Keys, day: dt.date, using: str) -> dict[str, Counter]:
    """All counters of a request under lock, in the order of their names; makes those that are missing."""
    rows = Counter.objects.using(using).select_for_update().filter(name__in=keys.all).order_by("name")
    found = {counter.name: counter for counter in rows}
    missing = [name for name in keys.all if name not in found]
    if missing:
        connection = connections[using]
        statement = _INSERT if connection.vendor == "mysql" else _INSERT_SQLITE
        values = [value for name in missing for value in (name, connection.ops.adapt_datefield_value(day))]
        with connection.cursor() as cursor:
            cursor.execute(statement.format(places=", ".join(["(%s, 0, 0, 0, %s)"] * len(missing))), values)
        found = {counter.name: counter for counter in rows.all()}
    return found


def _known(asked: Asked, now: dt.datetime, using: str) -> dict[int, tuple[int, int]]:
    connection = connections[using]
    moment = connection.ops.adapt_datetimefield_value
    who = (asked.employee_id, asked.action)
    this = (asked.action, asked.reference)
    statement = _KNOWN.format(
        blockable=", ".join(["%s"] * len(asked.blockable)), allowable=", ".join(["%s"] * len(asked.allowable))
    )
    with connection.cursor() as cursor:
        cursor.execute(
            statement,
            [
                *asked.blockable,
                moment(now),
                *asked.allowable,
                moment(now),
                *who,
                moment(now - WINDOW),
                *who,
                moment(now - TEN_MINUTES),
                *who,
                moment(now - HOUR),
                *who,
                moment(now - DAY),
                *this,
                *this,
            ],
        )
        return {int(part): (int(count), int(total)) for part, count, total in cursor.fetchall()}


SUBJECTS = ListEntry.Subject
