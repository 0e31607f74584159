"""WeChat's trade bills (ALL, SUCCESS, REFUND) and fund-flow bill: UTF-8, cells behind a back-quote, yuan in decimals.

Sources: WeChat's documents 4013071246 (交易账单), 4013071249 (资金账单) and design `providers.md` 3, Bills. Layouts of
20, 24, 27 and 29 columns exist. Payouts stand in the fund flow only, by 业务凭证号. The summary is a second header with
one row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.ports import BillRowKind, Outcome
from reconciliation.domain.bills import values
from reconciliation.domain.bills.values import Unreadable
from reconciliation.domain.records import TEXT_KEPT, Event, FileProblem, TheirRow, UnreadRow

TRADE_SUMMARY = "总交易单数"
FUND_FLOW_SUMMARY = "资金流水总笔数"
TRADE_COLUMNS = frozenset({"交易时间", "微信订单号", "商户订单号", "交易状态"})
FUND_FLOW_COLUMNS = frozenset({"记账时间", "微信支付业务单号", "业务名称", "业务类型", "收支类型", "业务凭证号"})
PAID_COLUMNS = ("订单金额", "应结订单金额", "总金额")
"""订单金额 includes vouchers, as our orders do; 总金额 is of old layouts."""
REFUNDED_COLUMNS = ("申请退款金额", "退款金额")
SUMS: Mapping[str, tuple[str, ...]] = {
    "应结订单总金额": ("应结订单金额",),
    "退款总金额": ("退款金额",),
    "充值券退款总金额": ("充值券退款金额",),
    "手续费总金额": ("手续费",),
    "订单总金额": ("订单金额",),
    "申请退款总金额": ("申请退款金额",),
    "总交易额": ("总金额", "应结订单金额"),
    "总退款金额": ("退款金额",),
}
"""Total → the first of its columns that the file has."""
REFUND_OUTCOMES: Mapping[str, Outcome] = {
    "SUCCESS": Outcome.SUCCESS,
    "PROCESSING": Outcome.PENDING,
    "CHANGE": Outcome.PENDING,
    "FAIL": Outcome.FAILED,
}
PAYOUT_WORDS = ("转账", "企业付款", "付款到零钱")
FEE_WORD = "手续费"

_COUNT = re.compile(r"([0-9]{1,9})(?:\.0+)?", re.ASCII)


@dataclass
class _Table:
    """What is known of the file so far: places of its columns, running counts and sums (thousandths of a fen)."""

    columns: Sequence[str]
    places: Mapping[str, int] = field(init=False)
    summed: Sequence[tuple[str, int]] = field(init=False)
    sums: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.places = {name: place for place, name in enumerate(self.columns)}
        first = ((total, next((name for name in names if name in self.places), "")) for total, names in SUMS.items())
        self.summed = [(total, self.places[name]) for total, name in first if name]

    def cells(self, line: str) -> list[str]:
        last = len(self.columns) - 1
        if (
            line.startswith("`") and line.count(",") == line.count(",`") == last
        ):  # as they are; the rest is for oddities
            return [cell.strip() for cell in line[1:].split(",`")]
        cells = line.split(",")
        if len(cells) != len(self.columns):
            raise Unreadable("cells_miscounted")
        found = []
        for cell in cells:
            kept = cell.strip()
            if not kept.startswith("`"):
                raise Unreadable("cell_unquoted")
            found.append(kept[1:].strip())
        return found

    def cell(self, cells: Sequence[str], name: str, default: str = "") -> str:
        place = self.places.get(name)
        return default if place is None else cells[place]

    def first(self, cells: Sequence[str], names: Sequence[str]) -> str:
        for name in names:
            if name in self.places:
                return cells[self.places[name]]
        raise Unreadable("amount_missing")


def read_trades(stream: Iterable[bytes], *, mchid: str = "") -> Iterator[Event]:
    """A trade bill of any kind. `mchid`: rows of another merchant are not read."""

    def to_row(table: _Table, line_no: int, cells: Sequence[str]) -> TheirRow:
        if mchid and table.cell(cells, "商户号", mchid) != mchid:
            raise Unreadable("merchant_mismatch")
        return _trade(table, line_no, cells)

    return _read(stream, TRADE_COLUMNS, TRADE_SUMMARY, to_row, _check_trades)


def read_fund_flow(stream: Iterable[bytes]) -> Iterator[Event]:
    """A fund-flow bill."""
    return _read(stream, FUND_FLOW_COLUMNS, FUND_FLOW_SUMMARY, _movement, _check_fund_flow)


Reader = Callable[[_Table, int, Sequence[str]], TheirRow]
Check = Callable[[_Table, Mapping[str, str]], Iterator[FileProblem]]


def _read(
    stream: Iterable[bytes], wanted: frozenset[str], summary_column: str, to_row: Reader, check: Check
) -> Iterator[Event]:
    table: _Table | None = None
    summary_columns: list[str] | None = None
    summary: dict[str, str] | None = None
    for line_no, line, raw in values.lines(stream, encoding="utf-8"):
        if line is None:
            if table is None:
                yield FileProblem("not_utf8", f"line {line_no}", is_fatal=True)
                return
            yield UnreadRow(line_no, "not_utf8", raw[:TEXT_KEPT].decode("utf-8", "replace"))
        elif table is None:
            columns = [name.strip() for name in line.split(",")]
            if not wanted <= set(columns) or len(set(columns)) != len(columns):
                missing = ",".join(sorted(wanted - set(columns)))
                yield FileProblem("columns_unknown", missing or "repeated", is_fatal=True)
                return
            table = _Table(columns)
        elif summary is not None:
            yield UnreadRow(line_no, "after_summary", line[:TEXT_KEPT])
        elif summary_columns is not None:
            cells = [cell.strip().lstrip("`").strip() for cell in line.split(",")]
            if len(cells) != len(summary_columns):
                yield FileProblem("summary_malformed", f"line {line_no}")
                return
            summary = dict(zip(summary_columns, cells, strict=True))
        elif line.split(",", 1)[0].strip() == summary_column:
            summary_columns = [name.strip() for name in line.split(",")]
        else:
            try:
                yield to_row(table, line_no, table.cells(line))
            except Unreadable as error:
                yield UnreadRow(line_no, error.reason, line[:TEXT_KEPT])
    if table is None:
        yield FileProblem("empty", is_fatal=True)
    elif summary is None:
        yield FileProblem("summary_missing", "the file is cut")
    else:
        yield from check(table, summary)


def _trade(table: _Table, line_no: int, cells: Sequence[str]) -> TheirRow:
    state = table.cell(cells, "交易状态")
    if state not in ("SUCCESS", "REFUND", "REVOKED"):
        raise Unreadable("state_unknown")
    is_refund = state != "SUCCESS"
    paid_number = values.number(table.cell(cells, "商户订单号"))
    fee = values.milli_fen(table.cell(cells, "手续费") or "0")
    row = TheirRow(
        line_no=line_no,
        kind=BillRowKind.REFUND if is_refund else BillRowKind.PAYMENT,
        number=values.number(table.cell(cells, "商户退款单号")) if is_refund else paid_number,
        provider_no=values.number(table.cell(cells, "微信退款单号" if is_refund else "微信订单号")),
        amount_fen=values.amount_fen(table.first(cells, REFUNDED_COLUMNS if is_refund else PAID_COLUMNS)),
        is_incoming=not is_refund,
        outcome=REFUND_OUTCOMES.get(table.cell(cells, "退款状态"), Outcome.UNKNOWN) if is_refund else Outcome.SUCCESS,
        happened_at=values.moment(table.cell(cells, "交易时间")),
        payment_no=paid_number if is_refund else "",
        fee_milli_fen=fee,
        is_fee_stated="手续费" in table.places,
        note=f"{state} {table.cell(cells, '退款状态')}".strip(),
    )
    parts = [(total, values.milli_fen(cells[place] or "0")) for total, place in table.summed]
    for total, part in parts:  # only now, when none of them was unreadable
        table.sums[total] = table.sums.get(total, 0) + part
    table.counts[TRADE_SUMMARY] = table.counts.get(TRADE_SUMMARY, 0) + 1
    return row


def _movement(table: _Table, line_no: int, cells: Sequence[str]) -> TheirRow:
    name, kind_name = table.cell(cells, "业务名称"), table.cell(cells, "业务类型")
    direction = table.cell(cells, "收支类型")
    if direction not in ("收入", "支出"):
        raise Unreadable("direction_unknown")
    row = TheirRow(
        line_no=line_no,
        kind=_movement_kind(name, kind_name),
        number=values.number(table.cell(cells, "业务凭证号")),
        provider_no=values.number(table.cell(cells, "微信支付业务单号")),
        amount_fen=values.amount_fen(table.first(cells, ("收支金额(元)", "收支金额（元）"))),
        is_incoming=direction == "收入",
        outcome=Outcome.SUCCESS,
        happened_at=values.moment(table.cell(cells, "记账时间")),
        balance_fen=values.signed_fen(table.first(cells, ("账户结余(元)", "账户结余（元）"))),
        note=f"{name} {kind_name} {table.cell(cells, '备注')}".strip(),
    )
    for count, total in ((FUND_FLOW_SUMMARY, ""), (f"{direction}笔数", f"{direction}金额")):
        table.counts[count] = table.counts.get(count, 0) + 1
        if total:
            table.sums[total] = table.sums.get(total, 0) + row.amount_fen * values.MILLI
    return row


def _movement_kind(name: str, kind_name: str) -> BillRowKind:
    words = f"{name} {kind_name}"
    if FEE_WORD in words:
        return BillRowKind.OTHER
    if any(word in words for word in PAYOUT_WORDS):
        return BillRowKind.PAYOUT
    if "退款" in words:
        return BillRowKind.REFUND
    return BillRowKind.PAYMENT if kind_name == "交易" else BillRowKind.OTHER


def _check_trades(table: _Table, summary: Mapping[str, str]) -> Iterator[FileProblem]:
    yield from _compare_count(table, summary, TRADE_SUMMARY)
    for total in SUMS:
        if total in summary and any(name in table.places for name in SUMS[total]):
            yield from _compare_sum(table, summary, total)


def _check_fund_flow(table: _Table, summary: Mapping[str, str]) -> Iterator[FileProblem]:
    for count in (FUND_FLOW_SUMMARY, "收入笔数", "支出笔数"):
        yield from _compare_count(table, summary, count)
    for total in ("收入金额", "支出金额"):
        yield from _compare_sum(table, summary, total)


def _compare_count(table: _Table, summary: Mapping[str, str], name: str) -> Iterator[FileProblem]:
    match = _COUNT.fullmatch(summary.get(name, ""))
    counted = table.counts.get(name, 0)
    if match is None:
        yield FileProblem("summary_malformed", name)
    elif int(match[1]) != counted:
        yield FileProblem("count_mismatch", f"{name}: summary {match[1]}, rows {counted}")


def _compare_sum(table: _Table, summary: Mapping[str, str], name: str) -> Iterator[FileProblem]:
    try:
        said = values.milli_fen(summary.get(name, ""))
    except Unreadable:
        yield FileProblem("summary_malformed", name)
        return
    counted = table.sums.get(name, 0)
    if said != counted:
        yield FileProblem("total_mismatch", f"{name}: summary {said}, rows {counted} thousandths of a fen")
