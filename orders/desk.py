"""Orders on the finance desk: any number leads to its order; how today's orders end; what nobody decides."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from foundation import clock, desk
from foundation.desk import Asking, Finder, Found, Line, Panel, Section, Stuck, StuckKind, Tile, Tone
from foundation.money import yuan_display
from foundation.words import code_word
from orders import selectors
from orders.domain.records import AttemptRecord
from orders.domain.states import OrderState
from orders.selectors import staff
from orders.selectors.staff import OrderFilter

VIEW = ("orders.view_orderindex",)
COUNTED = 500
"""More than this are not counted: "at least" says enough on a board."""
EXAMPLES = 3
LATE_CHECK = dt.timedelta(minutes=10)
UNKNOWN_AGE = dt.timedelta(minutes=30)
LATE_CLOSE = dt.timedelta(minutes=15)
RATE_KEPT_SECONDS = 120


def _page(order_no: str) -> str:
    return reverse("admin:orders_orderindex_change", args=[order_no])


def find(text: str, limit: int) -> list[Found]:
    """Orders by any number of theirs; what is written exactly so comes first."""
    found = sorted(staff.find(text=text).orders, key=lambda order: order.order_no != text)
    return [
        Found(
            title=order.order_no,
            description=f"{gettext('order')} · {code_word(order.kind)} · {code_word(order.state)} · "
            f"{yuan_display(order.amount_fen)}",
            link=_page(order.order_no),
            icon="receipt_long",
        )
        for order in found[:limit]
    ]


def read_rates(asking: Asking) -> Panel:
    """How today's orders stand. A count that would take too long is left out rather than waited for."""
    start = clock.day_start(clock.business_date(asking.now))
    counts = {state: _count(state, start) for state in (*OrderState,)}
    link = reverse("admin:orders_orderindex_changelist")
    ended = [counts[state] for state in (OrderState.SUCCESS, OrderState.FAILED)]
    lines = tuple(
        Line(
            label=code_word(state),
            value="–" if number is None else f"{number:,}",
            link=f"{link}?state={state.value}",
            tone=Tone.WRONG if state is OrderState.FAILED and number else Tone.PLAIN,
        )
        for state, number in counts.items()
        if number != 0
    )
    success, failed = ended
    if success is None or failed is None or not success + failed:
        return Panel(note=_("No order has ended today."), lines=lines)
    return Panel(figure=f"{success / (success + failed):.1%}", note=_("of the orders that ended today"), lines=lines)


def _count(state: OrderState, start: dt.datetime) -> int | None:
    return staff.get_totals(wanted=OrderFilter(state=state.value, created_from=start)).count


def _stuck(attempts: Sequence[AttemptRecord]) -> Stuck:
    return Stuck(
        count=len(attempts),
        amount_fen=sum(attempt.amount_fen for attempt in attempts),
        oldest=min((attempt.created_at for attempt in attempts), default=None),
        examples=tuple((attempt.attempt_no, _page(attempt.order_no)) for attempt in attempts[:EXAMPLES]),
        is_more=len(attempts) == COUNTED,
    )


def read_unknown(now: dt.datetime) -> Stuck:
    return _stuck(selectors.list_unknown_attempts(before=now - UNKNOWN_AGE, limit=COUNTED))


def read_unchecked(now: dt.datetime) -> Stuck:
    return _stuck(selectors.list_due_attempts(now=now - LATE_CHECK, limit=COUNTED))


def read_unclosed(now: dt.datetime) -> Stuck:
    found = selectors.list_expired_orders(now=now - LATE_CLOSE, limit=COUNTED)
    return Stuck(
        count=len(found),
        amount_fen=sum(order.amount_fen for order in found),
        oldest=min((order.created_at for order in found), default=None),
        examples=tuple((order.order_no, _page(order.order_no)) for order in found[:EXAMPLES]),
        is_more=len(found) == COUNTED,
    )


desk.register(
    Finder(name="orders", permissions=VIEW, find=find),
    Tile(
        name="orders.rates",
        title=_("Orders of today"),
        section=Section.FLOW,
        order=30,
        permissions=VIEW,
        read=read_rates,
        seconds=RATE_KEPT_SECONDS,
    ),
    StuckKind(
        name="orders.unknown",
        title=_("Payments and refunds with an unknown end"),
        limit=UNKNOWN_AGE,
        cause=_("The provider gave no clear answer."),
        step=_("They are asked for without end. Open one and query the provider; look at the channel's breaker."),
        permissions=VIEW,
        read=read_unknown,
    ),
    StuckKind(
        name="orders.unchecked",
        title=_("Payments and refunds that are due to be checked"),
        limit=LATE_CHECK,
        cause=_("The job that asks providers is behind, or workers and broker are away."),
        step=_("Look at the runs of payments.check_attempts and at the workers."),
        permissions=VIEW,
        read=read_unchecked,
    ),
    StuckKind(
        name="orders.unclosed",
        title=_("Unpaid orders past their life"),
        limit=LATE_CLOSE,
        cause=_("The provider could not be asked to close them, or the job is behind."),
        step=_("Look at the runs of payments.close_expired."),
        permissions=VIEW,
        read=read_unclosed,
    ),
)
