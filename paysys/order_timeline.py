"""What the page of an order shows of the ledger, the providers' notices and the outbox.

Orders know none of them; these sources are registered from above, at start-up (orders.selectors.timeline).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.timezone import localtime
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from foundation.db import roles
from foundation.models import OutboxEvent
from foundation.words import code_word
from funds import selectors as funds
from funds.domain import chart
from funds.domain.entries import Bucket
from gateway.models import Notice
from orders.selectors import timeline
from orders.selectors.timeline import Cell, Column, DetailTable, EntryKind, Findings, Subject, TimelineEntry
from payments.domain.events import packet_hold_key

JOURNALS_SHOWN = 30
POSTINGS_SHOWN = 20
"""Of one journal: that of a large packet has a line for each receiver, and a page of its own."""
ROWS_SHOWN = 100


class Ledger:
    """The journals of the order with their postings, and the holds that they opened."""

    name = "ledger"
    permissions: tuple[str, ...] = ("funds.view_journal", "funds.view_hold")

    @property
    def title(self) -> str:
        return _("Journals and holds")

    def read(self, subject: Subject) -> Findings:
        order_no = subject.order.order_no
        shown = funds.list_journals(order_no=order_no, limit=JOURNALS_SHOWN, lines=POSTINGS_SHOWN)
        tables = [_journal_table(journal) for journal in shown]
        if len(shown) == JOURNALS_SHOWN and (more := funds.count_journals(order_no=order_no) - len(shown)):
            tables.append(_more_journals(order_no, more))
        holds = _holds(subject)
        if holds:
            tables.append(_hold_table(holds))
        entries = tuple(
            TimelineEntry(
                at=journal.created_at,
                kind=EntryKind.JOURNAL,
                title=code_word(journal.kind),
                number=journal.reference,
                detail=journal.memo,
                amount_fen=journal.credit_total_fen,
                url=reverse("admin:funds_journal_change", args=[journal.pk]),
            )
            for journal in shown
        )
        return Findings(entries=entries, tables=tuple(tables))


def _journal_table(journal: Any) -> DetailTable:
    """A journal's lines in two columns, as books have them: a posting above zero is a credit."""
    postings = sorted(journal.postings.all(), key=lambda posting: (posting.amount_fen > 0, posting.pk))
    rows = tuple(
        (
            Cell(
                text=_account_name(posting.account, is_frozen=posting.bucket == Bucket.FROZEN),
                url=reverse("admin:funds_account_change", args=[posting.account_id]),
            ),
            Cell(amount_fen=-posting.amount_fen if posting.amount_fen < 0 else None),
            Cell(amount_fen=posting.amount_fen if posting.amount_fen > 0 else None),
            Cell(amount_fen=posting.balance_after_fen),
        )
        for posting in postings
    )
    left = journal.posting_count - len(rows)
    return DetailTable(
        title=_("%(moment)s · %(kind)s · journal %(id)s")
        % {"moment": _local_text(journal.created_at), "kind": code_word(journal.kind), "id": journal.pk},
        columns=(
            Column(label=_("Account")),
            Column(label=_("Debit"), is_amount=True),
            Column(label=_("Credit"), is_amount=True),
            Column(label=_("Balance after"), is_amount=True),
        ),
        rows=rows,
        url=reverse("admin:funds_journal_change", args=[journal.pk]),
        note=_("%(count)s more lines are on the journal's page.") % {"count": left} if left else "",
    )


def _more_journals(order_no: str, count: int) -> DetailTable:
    query = urlencode({"q": order_no})
    return DetailTable(
        title=_("%(count)s more journals") % {"count": count},
        columns=(Column(label=_("Account")),),
        rows=(),
        url=f"{reverse('admin:funds_journal_changelist')}?{query}",
    )


def _account_name(account: Any, *, is_frozen: bool) -> str:
    """Code, name in the reader's language, and whose it is."""
    code = chart.report_code(account.code, is_frozen=is_frozen)
    english, chinese = chart.report_name(code)
    name = chinese if (get_language() or "").startswith("zh") else english
    return f"{code} {name} · {account.owner_id}" if account.owner_id else f"{code} {name}"


def _holds(subject: Subject) -> list[Any]:
    """Holds under the order's number or its packet's."""
    order = subject.order
    return list(funds.list_holds(keys=[order.order_no, *filter(None, [packet_hold_key(order.business_no)])]))


def _hold_table(holds: Iterable[Any]) -> DetailTable:
    return DetailTable(
        title=_("Holds"),
        columns=(
            Column(label=_("Hold")),
            Column(label=_("Amount"), is_amount=True),
            Column(label=_("Remaining"), is_amount=True),
            Column(label=_("State")),
            Column(label=_("Opened")),
            Column(label=_("Resolved")),
        ),
        rows=tuple(
            (
                Cell(text=hold.key, url=reverse("admin:funds_hold_change", args=[hold.pk]), is_number=True),
                Cell(amount_fen=hold.amount_fen),
                Cell(amount_fen=hold.remaining_fen),
                Cell(text=code_word(hold.state)),
                Cell(at=hold.opened_at),
                Cell(at=hold.resolved_at),
            )
            for hold in holds
        ),
    )


class Notices:
    """What providers sent about the attempts and refunds; never the content itself."""

    name = "notices"
    permissions: tuple[str, ...] = ("gateway.view_notice",)

    @property
    def title(self) -> str:
        return _("Provider notices")

    def read(self, subject: Subject) -> Findings:
        rows = Notice.objects.filter(number__in=subject.numbers).defer("headers", "body").order_by("-id")
        notices = list(rows[: ROWS_SHOWN + 1])
        if not notices:
            return Findings()
        shown = notices[:ROWS_SHOWN]
        addresses = {notice.pk: reverse("admin:gateway_notice_change", args=[notice.pk]) for notice in shown}
        entries = tuple(
            TimelineEntry(
                at=notice.received_at,
                kind=EntryKind.NOTICE,
                title=f"{notice.kind or notice.channel} {notice.state}",
                number=notice.number,
                detail=" · ".join(filter(None, (notice.channel, notice.note))),
                url=addresses[notice.pk],
            )
            for notice in shown
        )
        table = DetailTable(
            title=_("Notices"),
            columns=(
                Column(label=_("Notice")),
                Column(label=_("Channel")),
                Column(label=_("Kind")),
                Column(label=_("Number")),
                Column(label=_("State")),
                Column(label=_("Received")),
                Column(label=_("Times")),
                Column(label=_("Processed")),
                Column(label=_("Note")),
            ),
            rows=tuple(
                (
                    Cell(text=str(notice.pk), url=addresses[notice.pk]),
                    Cell(text=code_word(notice.channel)),
                    Cell(text=notice.kind),
                    Cell(text=notice.number, is_number=True),
                    Cell(text=notice.state),
                    Cell(at=notice.received_at),
                    Cell(text=str(notice.times_received)),
                    Cell(at=notice.processed_at),
                    Cell(text=notice.note),
                )
                for notice in shown
            ),
            note=_only_newest() if len(notices) > len(shown) else "",
        )
        return Findings(entries=entries, tables=(table,))


class Outbox:
    """Events under the numbers of the order, in every database; those that are done are purged after a while."""

    name = "outbox"
    permissions: tuple[str, ...] = ("foundation.view_outboxevent",)

    @property
    def title(self) -> str:
        return _("Outbox events")

    def read(self, subject: Subject) -> Findings:
        keys = [*subject.numbers, *filter(None, [subject.order.business_no])]
        found = [(alias, event) for alias in roles.all_aliases() for event in _events(alias, keys)]
        if not found:
            return Findings()
        found.sort(key=lambda pair: (pair[1].created_at, pair[0], pair[1].pk))
        shown = found[-ROWS_SHOWN:]
        entries = tuple(
            TimelineEntry(
                at=event.created_at,
                kind=EntryKind.OUTBOX,
                title=event.topic,
                number=event.key,
                detail=_delivery(event),
                url=_event_address(alias, event),
            )
            for alias, event in shown
        )
        table = DetailTable(
            title=_("Events"),
            columns=(
                Column(label=_("Topic")),
                Column(label=_("Number")),
                Column(label=_("Database")),
                Column(label=_("Created")),
                Column(label=_("Delivery")),
            ),
            rows=tuple(
                (
                    Cell(text=event.topic, url=_event_address(alias, event)),
                    Cell(text=event.key, is_number=True),
                    Cell(text=alias),
                    Cell(at=event.created_at),
                    Cell(text=_delivery(event)),
                )
                for alias, event in shown
            ),
            note=_only_newest() if len(found) > len(shown) else "",
        )
        return Findings(entries=entries, tables=(table,))


def _events(alias: str, keys: list[str]) -> list[OutboxEvent]:
    """By the unique key (topic, key): the topics first, which are few and read out of the index by leaps."""
    rows = OutboxEvent.objects.using(alias)
    topics = list(rows.order_by().values_list("topic", flat=True).distinct())
    found = rows.filter(topic__in=topics, key__in=keys).defer("payload", "last_error").order_by("-id")
    return list(found[: ROWS_SHOWN + 1])


def _delivery(event: OutboxEvent) -> str:
    if event.done_at is not None:
        return _("delivered %(moment)s") % {"moment": _local_text(event.done_at)}
    return _("waiting, %(tries)s tries so far") % {"tries": event.tries}


def _event_address(alias: str, event: OutboxEvent) -> str:
    query = urlencode({"_changelist_filters": f"database={alias}"})
    return f"{reverse('admin:foundation_outboxevent_change', args=[event.pk])}?{query}"


def _local_text(moment: dt.datetime) -> str:
    return f"{localtime(moment):%Y-%m-%d %H:%M:%S}"


def _only_newest() -> str:
    return _("Only the newest %(count)s are shown.") % {"count": ROWS_SHOWN}


for _source in (Ledger(), Notices(), Outbox()):
    timeline.register(_source)
