"""What the providers say, what we say, and where the two differ: the verdict after a storm, on plain values.

Nothing here asks anybody: a test may doctor any of it and must get another verdict.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orders.domain.records import AttemptRecord, OrderRecord
from orders.domain.states import OrderKind, OrderState

PURCHASES = (OrderKind.RECHARGE, OrderKind.PAYMENT)
WALLET = "wallet"
UNKNOWN_BUYER = "(answer lost)"


@dataclass(frozen=True, kw_only=True)
class ProviderBooks:
    """What the providers believe: amounts of paid attempts and their channels by number, and what went back, in fen."""

    paid: Mapping[str, int]
    channels: Mapping[str, str]
    refunded: Mapping[str, int]


def read_books(content: Mapping[str, Any]) -> ProviderBooks:
    """From the answer of `GET /_sim/books`."""
    rows = [row for row in content["payments"] if row["state"] == "SUCCESS"]
    refunded: dict[str, int] = defaultdict(int)
    for row in content["refunds"]:
        if row["state"] == "SUCCESS":
            refunded[row["attempt_no"]] += row["amount_fen"]
    return ProviderBooks(
        paid={row["attempt_no"]: row["amount_fen"] for row in rows},
        channels={row["attempt_no"]: row["channel"] for row in rows},
        refunded=dict(refunded),
    )


@dataclass(frozen=True, kw_only=True)
class OurBooks:
    """Our side: orders by number, available and frozen fen by owner, moved fen by (account code, channel).

    Owners are employee ids; the enterprise whose business backend collects is ENTERPRISE.
    """

    orders: Mapping[str, OrderRecord]
    wallets: Mapping[int, tuple[int, int]]
    platform: Mapping[tuple[str, str], int]


ENTERPRISE = 0


@dataclass
class Verdict:
    """`wrong`: one line for each difference, empty when all is well. `rows`: what became of whom."""

    wrong: list[str] = field(default_factory=list)
    rows: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    paid_fen: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    returned_fen: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def table(self) -> str:
        lines = [f"{'order':10}{'buyer':24}{'state':10}{'n':>7}{'paid fen':>14}{'returned fen':>14}"]
        lines += [
            f"{place[0]:10}{place[1]:24}{place[2]:10}{count:7}{self.paid_fen[place]:14}{self.returned_fen[place]:14}"
            for place, count in sorted(self.rows.items())
        ]
        totals = (self.rows.total(), self.paid_fen.total(), self.returned_fen.total())
        return "\n".join([*lines, f"{'all':44}{totals[0]:7}{totals[1]:14}{totals[2]:14}"])


def judge(*, ours: OurBooks, books: ProviderBooks, tried: Mapping[str, str]) -> Verdict:
    """Compares both sides order by order, wallet by wallet and channel by channel, to the fen.

    `tried` says what the buyer of an order did, for the table.
    """
    verdict, expected = Verdict(), Counter[int]()
    purchases = {number: order for number, order in ours.orders.items() if order.kind in PURCHASES}
    attempts = {row.attempt_no: row for order in purchases.values() for row in order.attempts}
    verdict.wrong += [f"{number}: paid, and we know nothing of it" for number in books.paid.keys() - attempts.keys()]
    verdict.wrong += [
        f"{number}: the provider received {fen} fen for {attempts[number].amount_fen}"
        for number, fen in books.paid.items()
        if number in attempts and attempts[number].amount_fen != fen
    ]
    for order in ours.orders.values():
        if order.kind in PURCHASES:
            _judge_purchase(order, books, tried.get(order.order_no, UNKNOWN_BUYER), verdict, expected)
        elif order.state is not OrderState.SUCCESS:
            verdict.wrong.append(f"{order.order_no}: a {order.kind.value} is {order.state.value}")
        elif order.kind is not OrderKind.RETURN:
            expected[_payee(purchases[order.original_order_no])] -= order.amount_fen
    for owner, found in ours.wallets.items():
        if found != (expected[owner], 0):
            verdict.wrong.append(f"owner {owner}: wallet {found}, by the orders ({expected[owner]}, 0)")
    verdict.wrong += _judge_platform(ours.platform, books)
    return verdict


def _judge_purchase(
    order: OrderRecord, books: ProviderBooks, buyer: str, verdict: Verdict, expected: Counter[int]
) -> None:
    """A paid order keeps what its effective attempt received and nothing else; any other keeps nothing."""
    paid = [row for row in order.attempts if row.attempt_no in books.paid]
    left = {row.attempt_no: books.paid[row.attempt_no] - books.refunded.get(row.attempt_no, 0) for row in paid}
    winner = order.effective_attempt()
    may_keep: dict[str, int] = {}
    if order.state is OrderState.SUCCESS:
        expected[_payee(order)] += order.amount_fen
        if winner is None or winner.attempt_no != order.effective_attempt_no:
            verdict.wrong.append(f"{order.order_no}: SUCCESS without its attempt")
        elif winner.channel == WALLET:
            expected[order.employee_id] -= order.amount_fen - order.refunded_fen
        else:
            may_keep[winner.attempt_no] = order.amount_fen - order.refunded_fen
    kept = {number: fen for number, fen in left.items() if fen}
    if kept != {number: fen for number, fen in may_keep.items() if fen}:
        verdict.wrong.append(f"{order.order_no}: {order.state.value} keeps {kept}, it may keep {may_keep}")
    if order.refunding_fen:
        verdict.wrong.append(f"{order.order_no}: {order.refunding_fen} fen stay reserved")
    if order.state not in (OrderState.SUCCESS, OrderState.CLOSED):
        verdict.wrong.append(f"{order.order_no}: {order.state.value} in the end")
    open_ones: list[AttemptRecord] = [row for row in order.attempts if row.is_open]
    verdict.wrong += [f"{row.attempt_no}: {row.state.value} in the end" for row in open_ones]
    place = (order.kind.value, buyer, order.state.value)
    verdict.rows[place] += 1
    verdict.paid_fen[place] += sum(books.paid[row.attempt_no] for row in paid)
    verdict.returned_fen[place] += sum(books.refunded.get(row.attempt_no, 0) for row in paid)


def _payee(order: OrderRecord) -> int:
    return ENTERPRISE if order.kind is OrderKind.PAYMENT else order.employee_id


def _judge_platform(platform: Mapping[tuple[str, str], int], books: ProviderBooks) -> list[str]:
    """1110 of each channel against the provider's own books; nothing in transit, nothing left to be returned."""
    expected = dict.fromkeys(platform, 0)
    for number, fen in books.paid.items():
        expected["1110", books.channels[number]] -= fen - books.refunded.get(number, 0)
    return [
        f"{code} of {channel}: moved by {moved_fen} fen, by the provider's books {expected[code, channel]}"
        for (code, channel), moved_fen in platform.items()
        if moved_fen != expected[code, channel]
    ]
