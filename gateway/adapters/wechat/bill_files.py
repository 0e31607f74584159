"""Reads WeChat's bill files (CSV with back-quotes) into gateway.ports.BillContent. Pure.

Sources: WeChat's documents 4013071246 (交易账单), 4013071249 (资金账单) and design `providers.md` 3, Bills. UTF-8,
perhaps with a byte order mark; a header row, rows whose every cell begins with a back-quote, then a header and a row of
totals. Cells hold no commas (WeChat escapes them). Columns are found by name: there are layouts of 20, 24, 27 and 29.
Amounts are yuan in decimals, read as text into integers.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foundation import clock
from foundation.money import is_amount_fen
from gateway.ports import BillContent, BillInvalid, BillRow, BillRowKind, Outcome

TRADE_SUMMARY = "总交易单数"
FUND_FLOW_SUMMARY = "资金流水总笔数"
PAID_COLUMNS = ("订单金额", "应结订单金额", "总金额")
"""What was paid, in the order of preference: 订单金额 includes vouchers, as our orders do; 总金额 is of old layouts."""
REFUNDED_COLUMNS = ("申请退款金额", "退款金额")
REFUND_OUTCOMES: Mapping[str, Outcome] = {
    "SUCCESS": Outcome.SUCCESS,
    "PROCESSING": Outcome.PENDING,
    "CHANGE": Outcome.PENDING,
    "FAIL": Outcome.FAILED,
}
"""退款状态 as it was when the file was made; it is not kept up to date. CHANGE is the API's ABNORMAL."""
SUMMED_COLUMNS: Mapping[str, tuple[str, ...]] = {
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
PAYOUT_WORDS = ("转账", "企业付款", "付款到零钱")
"""In 业务名称 or 业务类型 of a movement to a person; taken from practice, the documents list none."""
FEE_WORD = "手续费"

_YUAN = re.compile(r"(-?)([0-9]{1,13})(?:\.([0-9]{1,5}))?", re.ASCII)
_MOMENT = re.compile(r"(\d{4})-(\d\d)-(\d\d)\s*(\d\d)[:：](\d\d)[:：](\d\d)", re.ASCII)
_COUNT = re.compile(r"([0-9]{1,9})(?:\.0+)?", re.ASCII)
_MILLI_OF_FEN = 1000

Cells = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class _Table:
    """`rows`: (line number, cells by column name). `summary` likewise."""

    rows: Sequence[tuple[int, Cells]]
    columns: Sequence[str]
    summary: Cells
    summary_line_no: int


def read_trades(content: bytes, *, mchid: str = "") -> BillContent:
    """A trade bill of any kind and layout. `mchid`: refuse rows of another merchant. Raises BillInvalid only."""
    table = _read_table(content, summary_column=TRADE_SUMMARY)
    rows = []
    for line_no, cells in table.rows:
        if mchid and cells.get("商户号", mchid) != mchid:
            raise BillInvalid("merchant_mismatch", line_no=line_no)
        rows.append(_trade_row(line_no, cells))
    problems = _count_problems(table, TRADE_SUMMARY, len(rows))
    for total, names in SUMMED_COLUMNS.items():
        column = next((name for name in names if name in table.columns), None)
        if total in table.summary and column is not None:
            summed = sum(_milli_fen(cells[column], line_no) for line_no, cells in table.rows)
            if _milli_fen(table.summary[total], table.summary_line_no) != summed:
                problems.append(f"total_mismatch {total}")
    problems += [f"state_unknown line {row.line_no}" for row in rows if row.kind is BillRowKind.OTHER]
    return BillContent(rows=tuple(rows), summary=dict(table.summary), problems=tuple(problems))


def read_fund_flow(content: bytes) -> BillContent:
    """A fund-flow bill. Raises BillInvalid only."""
    table = _read_table(content, summary_column=FUND_FLOW_SUMMARY)
    rows = [_movement(line_no, cells) for line_no, cells in table.rows]
    problems = _count_problems(table, FUND_FLOW_SUMMARY, len(rows))
    for is_incoming, count_name, total_name in ((True, "收入笔数", "收入金额"), (False, "支出笔数", "支出金额")):
        moved = [row.amount_fen for row in rows if row.is_incoming is is_incoming]
        problems += _count_problems(table, count_name, len(moved))
        if _milli_fen(_cell(table.summary, total_name), table.summary_line_no) != sum(moved) * _MILLI_OF_FEN:
            problems.append(f"total_mismatch {total_name}")
    return BillContent(rows=tuple(rows), summary=dict(table.summary), problems=tuple(problems))


def _trade_row(line_no: int, cells: Cells) -> BillRow:
    state = _cell(cells, "交易状态", line_no)
    is_refund = state in ("REFUND", "REVOKED")
    status = cells.get("退款状态", "")
    if is_refund:
        outcome = REFUND_OUTCOMES.get(status, Outcome.UNKNOWN)
    else:
        outcome = Outcome.SUCCESS if state == "SUCCESS" else Outcome.UNKNOWN
    paid_number, paid_id = _cell(cells, "商户订单号", line_no), _cell(cells, "微信订单号", line_no)
    kind = BillRowKind.REFUND if is_refund else BillRowKind.PAYMENT if state == "SUCCESS" else BillRowKind.OTHER
    return BillRow(
        line_no=line_no,
        kind=kind,
        number=_cell(cells, "商户退款单号", line_no) if is_refund else paid_number,
        provider_no=_cell(cells, "微信退款单号", line_no) if is_refund else paid_id,
        amount_fen=_fen(_first(cells, REFUNDED_COLUMNS if is_refund else PAID_COLUMNS, line_no), line_no),
        is_incoming=not is_refund,
        outcome=outcome,
        happened_at=_moment(_cell(cells, "交易时间", line_no), line_no),
        payment_no=paid_number if is_refund else "",
        provider_payment_no=paid_id if is_refund else "",
        fee_milli_fen=_milli_fen(cells.get("手续费", "0") or "0", line_no),
        note=f"{state} {status}".strip(),
    )


def _movement(line_no: int, cells: Cells) -> BillRow:
    """业务凭证号 is our number: of the payment, the refund or the payout."""
    name, kind_name = _cell(cells, "业务名称", line_no), _cell(cells, "业务类型", line_no)
    direction = _cell(cells, "收支类型", line_no)
    if direction not in ("收入", "支出"):
        raise BillInvalid("direction_unknown", line_no=line_no)
    words = f"{name} {kind_name}"
    if FEE_WORD in words:
        kind = BillRowKind.OTHER
    elif any(word in words for word in PAYOUT_WORDS):
        kind = BillRowKind.PAYOUT
    elif "退款" in words:
        kind = BillRowKind.REFUND
    else:
        kind = BillRowKind.PAYMENT if kind_name == "交易" else BillRowKind.OTHER
    balance = _milli_fen(_first(cells, ("账户结余(元)", "账户结余（元）"), line_no), line_no)
    return BillRow(
        line_no=line_no,
        kind=kind,
        number=_cell(cells, "业务凭证号", line_no),
        provider_no=_cell(cells, "微信支付业务单号", line_no),
        amount_fen=_fen(_first(cells, ("收支金额(元)", "收支金额（元）"), line_no), line_no),
        is_incoming=direction == "收入",
        outcome=Outcome.SUCCESS,
        happened_at=_moment(_cell(cells, "记账时间", line_no), line_no),
        provider_payment_no=cells.get("资金流水单号", ""),
        balance_fen=balance // _MILLI_OF_FEN,
        note=f"{name} {kind_name} {cells.get('备注', '')}".strip(),
    )


def _read_table(content: bytes, *, summary_column: str) -> _Table:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BillInvalid("not_utf8") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        raise BillInvalid("empty")
    columns = _names(lines[0][1])
    if len(set(columns)) != len(columns):
        raise BillInvalid("column_repeated", line_no=lines[0][0])
    ends = [place for place, (_, line) in enumerate(lines) if line.split(",", 1)[0].strip() == summary_column]
    if len(ends) != 1 or ends[0] + 2 != len(lines):
        raise BillInvalid("summary_missing" if not ends else "summary_malformed")
    end = ends[0]
    rows = [(number, _cells(line, columns, number)) for number, line in lines[1:end]]
    totals_no, totals = lines[end + 1]
    return _Table(
        rows=rows,
        columns=columns,
        summary=_cells(totals, _names(lines[end][1]), totals_no),
        summary_line_no=totals_no,
    )


def _names(line: str) -> list[str]:
    return [name.strip() for name in line.split(",")]


def _cells(line: str, columns: Sequence[str], line_no: int) -> Cells:
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != len(columns):
        raise BillInvalid("cells_miscounted", line_no=line_no)
    if not all(cell.startswith("`") for cell in cells):
        raise BillInvalid("cell_unquoted", line_no=line_no)
    return {name: cell[1:].strip() for name, cell in zip(columns, cells, strict=True)}


def _cell(cells: Cells, name: str, line_no: int = 0) -> str:
    if name not in cells:
        raise BillInvalid(f"column_missing {name}", line_no=line_no)
    return cells[name]


def _first(cells: Cells, names: Sequence[str], line_no: int) -> str:
    for name in names:
        if name in cells:
            return cells[name]
    raise BillInvalid(f"column_missing {names[0]}", line_no=line_no)


def _count_problems(table: _Table, name: str, count: int) -> list[str]:
    match = _COUNT.fullmatch(_cell(table.summary, name, table.summary_line_no))
    if match is None:
        raise BillInvalid(f"count_malformed {name}", line_no=table.summary_line_no)
    return [] if int(match[1]) == count else [f"count_mismatch {name}"]


def _milli_fen(text: str, line_no: int) -> int:
    """Yuan with up to five decimals, as thousandths of a fen."""
    match = _YUAN.fullmatch(text)
    if match is None:
        raise BillInvalid("amount_malformed", line_no=line_no)
    value = int(match[2]) * 100 * _MILLI_OF_FEN + int((match[3] or "").ljust(5, "0"))
    return -value if match[1] else value


def _fen(text: str, line_no: int) -> int:
    """Yuan, a positive number of whole fen."""
    whole, rest = divmod(_milli_fen(text, line_no), _MILLI_OF_FEN)
    if rest or not is_amount_fen(whole):
        raise BillInvalid("amount_malformed", line_no=line_no)
    return whole


def _moment(text: str, line_no: int) -> dt.datetime:
    match = _MOMENT.fullmatch(text)
    try:
        if match is not None:
            year, month, day, hour, minute, second = (int(part) for part in match.groups())
            return dt.datetime(year, month, day, hour, minute, second, tzinfo=clock.BUSINESS_ZONE)
    except ValueError as error:
        raise BillInvalid("time_malformed", line_no=line_no) from error
    raise BillInvalid("time_malformed", line_no=line_no)
