"""Made-up orders and attempts for measurements of scale: the same seed makes the same rows again.

Order `index` of `count` stands at its even share of the days, so numbers never repeat; everything else is drawn from
a generator of the chunk's own, so that chunks can be made in any order and by several threads. Rules kept: numbers
lead to their table, amounts and refunds keep the CHECKs, at most one effective attempt, refunds beside their original.
What is open has no due time: no timed job will ask a provider about a made-up payment.
"""

from __future__ import annotations

import datetime as dt
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from orders.domain.numbers import ACCOUNTS, COUNTERS, TABLES, Prefix
from orders.domain.states import AttemptState, OrderKind, OrderState

CHUNK = 64_000
"""Orders made and committed together: 4 000 of each table, some 100 MB of memory per thread."""
SHIFTS = 20
"""At most so many groups of employees take turns, chunk by chunk. Rows of one chunk then lie near each other in every
index, without which ten million of them take three times as long on a server whose memory does not hold them."""
TURNS = 8
"""Each group has at least so many turns."""
EMPLOYEE_BASE = 900_000_000
"""Made-up employees: ids no real one has."""
BUSY_EMPLOYEES = 4
BUSY_SHARE = 0.1
"""The first four employees share a tenth of all orders: 25 000 each in a million, so that page 1 000 exists."""
ENTERPRISES = 50
FIRST_NODES = 46_655
"""Node ids from the last one down, one a seed (modulo 1 000); leases begin at the first."""
SEEDS = 1000
AMOUNT_MAX_FEN = 5_000_000
LOCAL = dt.timedelta(hours=8)
"""Shanghai; the numbers carry local time."""

_RECEIPT, _WALLET, _CHANNEL, _REFUND = "receipt", "wallet", "channel", "refund"
_KINDS: tuple[tuple[OrderKind, Prefix, str, float], ...] = (
    (OrderKind.RECHARGE, Prefix.RECHARGE, _CHANNEL, 0.28),
    (OrderKind.PAYMENT, Prefix.PAYMENT, _CHANNEL, 0.18),
    (OrderKind.TRANSFER, Prefix.TRANSFER, _WALLET, 0.12),
    (OrderKind.TRANSFER_RECEIPT, Prefix.TRANSFER_RECEIPT, _RECEIPT, 0.12),
    (OrderKind.REDPACKET_SEND, Prefix.REDPACKET_SEND, _WALLET, 0.08),
    (OrderKind.REDPACKET_RECEIPT, Prefix.REDPACKET_RECEIPT, _RECEIPT, 0.19),
    (OrderKind.RETURN, Prefix.RETURN, _REFUND, 0.03),
)
_KIND_WEIGHTS = [entry[3] for entry in _KINDS]
_STATES = (OrderState.SUCCESS, OrderState.CLOSED, OrderState.FAILED, OrderState.PENDING, OrderState.INVALID)
_STATE_WEIGHTS = [0.85, 0.09, 0.03, 0.02, 0.01]
_CHANNELS = ("wechat", "alipay", "kuaiqian")
_CHANNEL_WEIGHTS = [0.5, 0.4, 0.1]
_SCENES = {"wechat": "native", "alipay": "page", "kuaiqian": "h5"}
_LAST_ATTEMPT = {
    OrderState.SUCCESS: AttemptState.SUCCESS,
    OrderState.CLOSED: AttemptState.CLOSED,
    OrderState.FAILED: AttemptState.FAILED,
    OrderState.PENDING: AttemptState.PENDING,
    OrderState.INVALID: AttemptState.CLOSED,
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is made: `count` orders of `employees` people, spread over the `days` before `until` (aware, UTC)."""

    count: int
    employees: int
    days: int
    seed: int
    until: dt.datetime

    @property
    def chunks(self) -> int:
        return -(-self.count // CHUNK)

    def people(self, chunk: int) -> range:
        """The employees whose turn it is, as offsets from EMPLOYEE_BASE."""
        shifts = max(1, min(SHIFTS, self.chunks // TURNS, self.employees))
        shift = chunk % shifts
        return range(self.employees * shift // shifts, self.employees * (shift + 1) // shifts)


@dataclass(slots=True)
class Attempt:
    """Columns of an attempt; moments in seconds after its order's."""

    attempt_no: str
    channel: str
    scene: str
    state: AttemptState
    provider_no: str
    is_effective: bool
    after_seconds: int
    finished_after_seconds: int | None


@dataclass(slots=True)
class Order:
    """Columns of an order with its attempts; `created_at` is naive UTC, as the columns are."""

    table: int
    order_no: str
    kind: OrderKind
    state: OrderState
    amount_fen: int
    employee_id: int
    created_at: dt.datetime
    refunded_fen: int = 0
    original_order_no: str = ""
    channel: str = ""
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def enterprise_id(self) -> int:
        return self.employee_id % ENTERPRISES + 1


def make(plan: Plan, chunk: int) -> Iterator[Order]:
    """The orders of one chunk (0 … plan.chunks − 1), oldest first.

    A refund changes `refunded_fen` of an order that was yielded before: take the whole chunk before writing it.
    """
    draw = random.Random(f"{plan.seed}:{chunk}")  # noqa: S311 - made-up rows, no secret
    first = chunk * CHUNK
    size = min(CHUNK, plan.count - first)
    nodes = _nodes(plan.seed)
    begin = plan.until.replace(tzinfo=None) - dt.timedelta(days=plan.days)
    step = dt.timedelta(days=plan.days) / plan.count
    people = plan.people(chunk)
    busy = min(BUSY_EMPLOYEES, plan.employees)
    kinds = draw.choices(_KINDS, _KIND_WEIGHTS, k=size)
    states = draw.choices(_STATES, _STATE_WEIGHTS, k=size)
    channels = draw.choices(_CHANNELS, _CHANNEL_WEIGHTS, k=size)
    paid: list[Order] = []
    for offset in range(size):
        stamp = _stamp(nodes, begin + step * (first + offset), first + offset)
        kind, prefix, way, _ = kinds[offset]
        if way is _REFUND:
            if paid:
                yield _refund(stamp, paid.pop())
                continue
            kind, prefix, way = OrderKind.RECHARGE, Prefix.RECHARGE, _CHANNEL
        is_busy = draw.random() < BUSY_SHARE
        employee = EMPLOYEE_BASE + int(draw.random() * busy if is_busy else people.start + draw.random() * len(people))
        number = stamp.number(prefix=prefix, version="1", gene=employee % TABLES, account=employee)
        order = Order(
            table=zlib.crc32(number.encode()) % TABLES,
            order_no=number,
            kind=kind,
            state=OrderState.SUCCESS if way is _RECEIPT else states[offset],
            amount_fen=min(int(draw.paretovariate(1.2) * 100), AMOUNT_MAX_FEN),
            employee_id=employee,
            created_at=stamp.moment,
        )
        if way is not _RECEIPT:
            _try(order, stamp, "wallet" if way is _WALLET else channels[offset], retried=draw.random() < 0.1)
        if way is _CHANNEL and order.state is OrderState.SUCCESS:
            paid.append(order)
            del paid[:-20]
        yield order


@dataclass(slots=True)
class _Stamp:
    """Node, time and counter of one order: unique by (millisecond, index modulo the counter)."""

    nodes: tuple[str, str]
    moment: dt.datetime
    tail: str

    def number(self, *, prefix: Prefix, version: str, gene: int, account: int, tries: int = 0) -> str:
        """As orders.domain.numbers.compose, which reads it again; a second try has a node of its own."""
        return f"{prefix.value}{version}{self.nodes[tries]}{gene:X}{account % ACCOUNTS:04d}{self.tail}"


def _stamp(nodes: tuple[str, str], moment: dt.datetime, index: int) -> _Stamp:
    moment -= dt.timedelta(microseconds=moment.microsecond % 1000)
    local = (moment + LOCAL).isoformat(timespec="milliseconds")
    digits = local.translate(_ONLY_DIGITS)
    return _Stamp(nodes=nodes, moment=moment, tail=f"{digits}{index % COUNTERS + 1:04d}")


_ONLY_DIGITS = str.maketrans("", "", "-T:.")
_BASE36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _nodes(seed: int) -> tuple[str, str]:
    """The seed's node for first and for second tries, in base 36."""
    first = FIRST_NODES - seed % SEEDS
    nodes = (first, first - SEEDS)
    return tuple(_BASE36[node // 1296] + _BASE36[node // 36 % 36] + _BASE36[node % 36] for node in nodes)  # type: ignore[return-value]


def _try(order: Order, stamp: _Stamp, channel: str, *, retried: bool) -> None:
    """One attempt that ends as the order did; a retried order has a closed one on another channel before."""
    if retried and channel in _SCENES:
        other = "alipay" if channel == "wechat" else "wechat"
        order.attempts.append(_attempt(order, stamp, other, AttemptState.CLOSED, tries=1))
    order.attempts.append(_attempt(order, stamp, channel, _LAST_ATTEMPT[order.state], tries=0))
    order.channel = channel


def _attempt(order: Order, stamp: _Stamp, channel: str, state: AttemptState, *, tries: int) -> Attempt:
    number = stamp.number(prefix=Prefix.ATTEMPT, version="1", gene=order.table, account=order.employee_id, tries=tries)
    is_paid = state is AttemptState.SUCCESS
    return Attempt(
        attempt_no=number,
        channel=channel,
        scene=_SCENES.get(channel, ""),
        state=state,
        provider_no=f"S{number[-21:]}" if is_paid and channel in _SCENES else "",
        is_effective=is_paid,
        after_seconds=60 * (1 - tries),
        finished_after_seconds=None if state is AttemptState.PENDING else 60 * (1 - tries) + 25,
    )


def _refund(stamp: _Stamp, original: Order) -> Order:
    """A full refund, beside its original: version 2 names the table, as it does for originals of version 1."""
    number = stamp.number(prefix=Prefix.RETURN, version="2", gene=original.table, account=original.employee_id)
    order = Order(
        table=original.table,
        order_no=number,
        kind=OrderKind.RETURN,
        state=OrderState.SUCCESS,
        amount_fen=original.amount_fen,
        employee_id=original.employee_id,
        created_at=stamp.moment,
        original_order_no=original.order_no,
    )
    original.refunded_fen = original.amount_fen
    _try(order, stamp, original.channel, retried=False)
    order.attempts[0].scene = "refund"
    return order
