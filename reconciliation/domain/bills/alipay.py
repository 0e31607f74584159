"""Alipay's trade bill (业务明细) and account flow (账务明细): GBK tables, as a zip or unpacked, yuan in decimals.

Comment lines begin with "#": the account before the rows, the end of the list and the totals after them. A refund's row
has negative amounts; in the account flow it names the payment and not the refund, so it has no number there. Payouts
stand in the account flow only. Sources: design `providers.md` 5 (trade, with a real sample); public samples of the
account flow's export.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from foundation.money import is_amount_fen
from gateway.ports import BillRowKind, Outcome
from reconciliation.domain.bills import values
from reconciliation.domain.bills.values import Unreadable
from reconciliation.domain.records import TEXT_KEPT, Event, FileProblem, TheirRow, UnreadRow

ENCODING = "gb18030"
MAX_TABLE_BYTES = 2 * 1024 * 1024 * 1024
"""Unpacked, in bytes: some seven million rows. A zip that grows further is an attack or a mistake."""
DETAILS = "明细.csv"
LIST_END = "列表结束"
ACCOUNT = "账号"
TRADE_COLUMNS = frozenset(
    {
        *("支付宝交易号", "商户订单号", "业务类型", "完成时间", "订单金额（元）", "商家实收（元）"),
        *("退款批次号/请求号", "服务费（元）", "备注"),
    }
)
FLOW_COLUMNS = frozenset(
    {
        *("账务流水号", "业务流水号", "商户订单号", "发生时间", "收入金额（+元）", "支出金额（-元）"),
        *("账户余额（元）", "业务类型", "备注"),
    }
)
TRADE_TOTALS = ("交易合计", "退款合计")
FLOW_TOTALS = ("收入合计", "支出合计")

_TOTAL = re.compile(r"(\d{1,9})笔，[^0-9\-]*共(-?\d{1,12}(?:\.\d{1,2})?)元", re.ASCII)


class _ArchiveBroken(Exception):
    """The zip cannot be read, or not further. The first argument is the problem's code, the second its detail."""


@dataclass
class _Table:
    """Places of the columns and, by total, how many rows were counted and their sum in fen."""

    columns: Sequence[str]
    places: Mapping[str, int] = field(init=False)
    totals: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.places = {name: place for place, name in enumerate(self.columns)}

    def count(self, total: str, amount_fen: int) -> None:
        count, sum_fen = self.totals.get(total, (0, 0))
        self.totals[total] = (count + 1, sum_fen + amount_fen)


Reader = Callable[[_Table, int, Mapping[str, str]], TheirRow]


def read_trades(stream: IO[bytes], *, account: str = "") -> Iterator[Event]:
    """A trade bill. `stream` must be seekable. `account`: a file of another account is not read."""
    return _read_file(stream, TRADE_COLUMNS, TRADE_TOTALS, _trade, account)


def read_fund_flow(stream: IO[bytes], *, account: str = "") -> Iterator[Event]:
    """An account flow (`signcustomer`). `stream` must be seekable. `account`: a file of another account is not read."""
    return _read_file(stream, FLOW_COLUMNS, FLOW_TOTALS, _movement, account)


def _read_file(
    stream: IO[bytes], wanted: frozenset[str], totals: Sequence[str], to_row: Reader, account: str
) -> Iterator[Event]:
    try:
        yield from _read(_lines(stream), wanted, totals, to_row, account)
    except _ArchiveBroken as error:
        code, detail = error.args
        yield FileProblem(code, detail, is_fatal=True)


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines of the details; of a longer line no more than one byte over the limit. Raises _ArchiveBroken."""
    if stream.read(2) != b"PK":
        stream.seek(0)
        yield from _bounded(stream)
        return
    stream.seek(0)
    try:
        with zipfile.ZipFile(stream) as archive:
            found = [entry for entry in archive.infolist() if _name(entry).endswith(DETAILS)]
            if len(found) != 1:
                raise _ArchiveBroken("details_missing", f"{len(found)} tables of details")
            with archive.open(found[0]) as packed:
                # typeshed has no RawIOBase for it, though all that a BufferedReader calls is there
                yield from _bounded(io.BufferedReader(packed, 64 * 1024))  # type: ignore[type-var]
    except _ArchiveBroken:
        raise
    except Exception as error:  # zipfile lets zlib, struct, RuntimeError and others through, whatever the bytes are
        raise _ArchiveBroken("zip_malformed", type(error).__name__) from error


def _bounded(stream: IO[bytes]) -> Iterator[bytes]:
    size = 0
    while line := stream.readline(values.MAX_LINE_BYTES + 1):
        size += len(line)
        rest = line
        while len(rest) > values.MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = stream.readline(values.MAX_LINE_BYTES + 1)
            size += len(rest)
        if size > MAX_TABLE_BYTES:
            raise _ArchiveBroken("details_too_large", f"over {MAX_TABLE_BYTES} bytes")
        yield line


def _name(entry: zipfile.ZipInfo) -> str:
    """Python reads names without the UTF-8 flag as cp437; Alipay's are GBK."""
    try:
        return entry.filename.encode("cp437").decode("gbk")
    except UnicodeError:
        return entry.filename


def _read(
    lines: Iterator[bytes], wanted: frozenset[str], totals: Sequence[str], to_row: Reader, account: str
) -> Iterator[Event]:
    table: _Table | None = None
    has_end = False
    comments: dict[str, str] = {}
    for line_no, line, raw in values.lines(lines, encoding=ENCODING):
        if line is None:
            if table is None:
                yield FileProblem("not_gb18030", f"line {line_no}", is_fatal=True)
                return
            reason = values.unread_line(raw, code="not_gb18030")
            yield UnreadRow(line_no, reason, raw[:TEXT_KEPT].decode(ENCODING, "replace"))
        elif line.startswith("#"):
            has_end = has_end or LIST_END in line
            name, colon, value = line.strip().strip(",").lstrip("#").partition("：")
            if colon and (table is None or has_end) and name.strip() in (ACCOUNT, *totals):
                comments[name.strip()] = value.strip()
        elif table is None:
            said = comments.get(ACCOUNT, "").strip("[]")
            if account and not said.startswith(account):
                yield FileProblem("account_mismatch", said[:TEXT_KEPT], is_fatal=True)
                return
            columns = [cell.strip() for cell in line.split(",")]
            if not wanted <= set(columns) or len(set(columns)) != len(columns):
                missing = ",".join(sorted(wanted - set(columns)))
                yield FileProblem("columns_unknown", missing or "repeated", is_fatal=True)
                return
            table = _Table(columns)
        elif has_end:
            yield UnreadRow(line_no, "after_summary", line[:TEXT_KEPT])
        else:
            try:
                yield to_row(table, line_no, _cells(table, line))
            except Unreadable as error:
                yield UnreadRow(line_no, error.reason, line[:TEXT_KEPT])
    if table is None:
        yield FileProblem("empty", is_fatal=True)
    elif not has_end:
        yield FileProblem("summary_missing", "the file is cut")
    else:
        yield from _check(table, comments, totals)


def _cells(table: _Table, line: str) -> Mapping[str, str]:
    try:
        (cells,) = csv.reader([line], strict=True)
    except (csv.Error, ValueError) as error:
        raise Unreadable("cells_malformed") from error
    if len(cells) != len(table.columns):
        raise Unreadable("cells_miscounted")
    return dict(zip(table.columns, (cell.strip() for cell in cells), strict=True))


def _trade(table: _Table, line_no: int, cells: Mapping[str, str]) -> TheirRow:
    word = cells["业务类型"]
    kind = {"交易": BillRowKind.PAYMENT, "退款": BillRowKind.REFUND}.get(word, BillRowKind.OTHER)
    is_refund = kind is BillRowKind.REFUND
    signed_fen = values.signed_fen(cells["订单金额（元）"])
    if (kind is BillRowKind.PAYMENT and signed_fen < 0) or (is_refund and signed_fen > 0):
        raise Unreadable("amount_sign_wrong")
    received_fen = values.signed_fen(cells["商家实收（元）"])
    fee = abs(values.milli_fen(cells["服务费（元）"] or "0"))
    number = values.number(cells["商户订单号"])
    row = TheirRow(
        line_no=line_no,
        kind=kind,
        number=values.number(cells["退款批次号/请求号"]) if is_refund else number,
        provider_no=values.number(cells["支付宝交易号"]),
        amount_fen=_positive(abs(signed_fen)),
        is_incoming=signed_fen > 0,
        outcome=Outcome.SUCCESS,
        happened_at=values.moment(cells["完成时间"]),
        payment_no=number if is_refund else "",
        fee_milli_fen=-fee if is_refund else fee,
        is_fee_stated=True,
        note=f"{word} {cells['备注']}".strip()[:TEXT_KEPT],
    )
    if kind is not BillRowKind.OTHER:
        table.count(TRADE_TOTALS[is_refund], received_fen)
    return row


def _movement(table: _Table, line_no: int, cells: Mapping[str, str]) -> TheirRow:
    income_fen = values.signed_fen(cells["收入金额（+元）"] or "0")
    expense_fen = abs(values.signed_fen(cells["支出金额（-元）"] or "0"))
    if income_fen < 0 or (income_fen and expense_fen):
        raise Unreadable("amount_sign_wrong")
    word, is_incoming = cells["业务类型"], income_fen > 0
    kind = _movement_kind(word, is_incoming=is_incoming)
    number, is_refund = values.number(cells["商户订单号"]), kind is BillRowKind.REFUND
    row = TheirRow(
        line_no=line_no,
        kind=kind,
        number="" if is_refund else number,
        provider_no=values.number(cells["业务流水号"] or cells["账务流水号"]),
        amount_fen=_positive(income_fen or expense_fen),
        is_incoming=is_incoming,
        outcome=Outcome.SUCCESS,
        happened_at=values.moment(cells["发生时间"]),
        payment_no=number if is_refund else "",
        balance_fen=values.signed_fen(cells["账户余额（元）"]) if cells["账户余额（元）"] else None,
        note=f"{word} {cells['备注']}".strip()[:TEXT_KEPT],
    )
    table.count(FLOW_TOTALS[not is_incoming], income_fen - expense_fen)
    return row


def _positive(fen: int) -> int:
    if not is_amount_fen(fen):
        raise Unreadable("amount_not_positive")
    return fen


def _movement_kind(word: str, *, is_incoming: bool) -> BillRowKind:
    if word == "在线支付" and is_incoming:
        return BillRowKind.PAYMENT
    if word in ("交易退款", "退款") and not is_incoming:
        return BillRowKind.REFUND
    if word in ("转账", "单笔转账") and not is_incoming:
        return BillRowKind.PAYOUT
    return BillRowKind.OTHER


def _check(table: _Table, comments: Mapping[str, str], totals: Sequence[str]) -> Iterator[FileProblem]:
    for name in totals:
        match = _TOTAL.search(comments.get(name, ""))
        if match is None:
            yield FileProblem("summary_malformed", name)
            continue
        said_count, said_fen = int(match[1]), values.signed_fen(match[2])
        count, sum_fen = table.totals.get(name, (0, 0))
        if said_count != count:
            yield FileProblem("count_mismatch", f"{name}: summary {said_count}, rows {count}")
        if said_fen != sum_fen:
            yield FileProblem("total_mismatch", f"{name}: summary {said_fen}, rows {sum_fen} fen")
