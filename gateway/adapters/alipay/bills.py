"""Bills: the day's file through its short-lived address, and its rows in the platform's words.

The file is a zip with two GBK tables, details and summary, whose names are GBK without the UTF-8 flag. Only the details
are read: comment lines with "#", a header found by its names, cells ending with a tab, totals in comments at the end.
Sources: design `providers.md` 5 (trade: documented, with a real sample); the account flow (`signcustomer`) from public
samples of its export.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from celery.exceptions import SoftTimeLimitExceeded

from foundation.money import fen_from_yuan_text
from gateway.adapters.alipay import client, fields
from gateway.adapters.alipay.fields import AnswerMismatch
from gateway.ports import Bill, BillContent, BillInvalid, BillKind, BillRow, BillRowKind, BillState, Outcome

BILL_TYPES: Mapping[BillKind, str] = {BillKind.TRADE: "trade", BillKind.FUND_FLOW: "signcustomer"}
NOT_EXISTING = frozenset({"isp.bill_not_exist", "bill_not_exist"})
"""Said both for a file that is not made yet and for a day without trades."""
MAX_ZIP_BYTES = 128 * 1024 * 1024
MAX_TABLE_BYTES = 512 * 1024 * 1024
"""A row has about 300 bytes: more than a million rows. Larger is an attack or a mistake."""

TRADE_COLUMNS = (
    *("支付宝交易号", "商户订单号", "业务类型", "完成时间", "订单金额（元）", "商家实收（元）"),
    *("退款批次号/请求号", "服务费（元）", "备注"),
)
FLOW_COLUMNS = (
    *("账务流水号", "业务流水号", "商户订单号", "发生时间", "收入金额（+元）", "支出金额（-元）"),
    *("账户余额（元）", "业务类型", "备注"),
)
_TOTAL = re.compile(r"(\d{1,9})笔，[^0-9\-]*共(-?\d{1,12}(?:\.\d{1,2})?)元", re.ASCII)


def download(sdk: Any, *, day: dt.date, kind: BillKind, timeout_seconds: float) -> Bill:
    """The zip as it came. NO_BILL also stands for "not ready yet": Alipay says the same of both."""
    content = {"bill_type": BILL_TYPES[kind], "bill_date": day.isoformat()}
    try:
        data = client.ask(sdk, "alipay.data.dataservice.bill.downloadurl.query", content)
    except client.NoAnswer as error:
        return Bill(state=BillState.UNKNOWN, code=error.code, message=error.message)
    message = str(data.get("sub_msg") or data.get("msg") or "")[:256]
    if data.get("code") != client.CODE_DONE:
        sub_code = str(data.get("sub_code") or f"code_{data.get('code')}").lower()[:64]
        if data.get("code") in ("40002", "40004") and sub_code in NOT_EXISTING:
            return Bill(state=BillState.NO_BILL, code="bill_not_exist", message=message)
        return Bill(state=BillState.UNKNOWN, code=sub_code, message=message)
    address = data.get("bill_download_url")
    if not isinstance(address, str) or not _is_fetchable(address, sdk._gateway):
        return Bill(state=BillState.UNKNOWN, code="address_malformed")
    return _fetch(address, timeout_seconds)


def _is_fetchable(address: str, gateway_url: str) -> bool:
    """https, or plain http where the gateway is so itself (a simulator)."""
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and parts.scheme in ("https", urlsplit(gateway_url).scheme)
    except ValueError:
        return False


def _fetch(address: str, timeout_seconds: float) -> Bill:
    """The address is good for 30 seconds and needs no signature; it must not get into logs."""
    try:
        with requests.get(address, timeout=timeout_seconds, stream=True, allow_redirects=False) as answer:
            if answer.status_code != 200:
                return Bill(state=BillState.UNKNOWN, code=f"http_{answer.status_code}")
            content = bytearray()
            for chunk in answer.iter_content(64 * 1024):
                content += chunk
                if len(content) > MAX_ZIP_BYTES:
                    return Bill(state=BillState.UNKNOWN, code="bill_too_large")
    except SoftTimeLimitExceeded:
        raise
    except requests.Timeout as error:
        return Bill(state=BillState.UNKNOWN, code="timeout", message=type(error).__name__)
    except requests.RequestException as error:
        return Bill(state=BillState.UNKNOWN, code="network_error", message=type(error).__name__)
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return Bill(state=BillState.UNKNOWN, code="zip_malformed", content=bytes(content))
    return Bill(state=BillState.READY, content=bytes(content))


def read(*, kind: BillKind, content: bytes) -> BillContent:
    """The rows of the details. Raises BillInvalid and nothing else, whatever the bytes are."""
    table = _table(_details(content), TRADE_COLUMNS if kind is BillKind.TRADE else FLOW_COLUMNS)
    to_row = _trade_row if kind is BillKind.TRADE else _flow_row
    rows: list[BillRow] = []
    problems: list[str] = []
    totals: dict[str, tuple[int, int]] = {}
    for line_no, cells in table.rows:
        try:
            row, total, counted_fen = to_row(line_no, cells)
        except AnswerMismatch as mismatch:
            raise BillInvalid(mismatch.reason, line_no=line_no) from mismatch
        if row is None:
            problems.append(f"zero_amount_line_{line_no}")
            continue
        rows.append(row)
        if total:
            count, sum_fen = totals.get(total, (0, 0))
            totals[total] = (count + 1, sum_fen + counted_fen)
    names = ("交易合计", "退款合计") if kind is BillKind.TRADE else ("收入合计", "支出合计")
    problems += _compare(table.summary, {name: totals.get(name, (0, 0)) for name in names})
    return BillContent(rows=tuple(rows), summary=table.summary, problems=tuple(problems))


@dataclass(frozen=True, kw_only=True)
class _Table:
    rows: Sequence[tuple[int, Mapping[str, str]]]
    summary: Mapping[str, str]


def _details(content: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = [entry for entry in archive.infolist() if _is_details(_name(entry))]
            if len(found) != 1:
                raise BillInvalid("details_missing")
            if found[0].file_size > MAX_TABLE_BYTES:
                raise BillInvalid("details_too_large")
            with archive.open(found[0]) as stream:
                data = stream.read(MAX_TABLE_BYTES + 1)
    except BillInvalid:
        raise
    except Exception as error:  # zipfile lets zlib, struct, RuntimeError, NotImplementedError and others through
        raise BillInvalid("zip_malformed") from error
    if len(data) > MAX_TABLE_BYTES:
        raise BillInvalid("details_too_large")
    try:
        return data.decode("gb18030")
    except UnicodeDecodeError as error:
        raise BillInvalid("encoding_malformed") from error


def _name(entry: zipfile.ZipInfo) -> str:
    """Python reads names without the UTF-8 flag as cp437; they are GBK."""
    try:
        return entry.filename.encode("cp437").decode("gbk")
    except UnicodeError:
        return entry.filename


def _is_details(name: str) -> bool:
    return name.endswith("明细.csv")


def _table(text: str, columns: Sequence[str]) -> _Table:
    header: list[str] | None = None
    rows: list[tuple[int, Mapping[str, str]]] = []
    summary: dict[str, str] = {}
    has_end = False
    for line_no, line in enumerate(text.splitlines(), start=1):
        if line.startswith("#"):
            has_end = has_end or "列表结束" in line
            name, colon, value = line.strip().strip(",").lstrip("#").partition("：")
            if colon:
                summary[name.strip()] = value.strip()
            continue
        if not line.strip():
            continue
        cells = _cells(line, line_no)
        if header is None:
            header = cells
            if len(set(header)) != len(header) or not set(columns) <= set(header):
                raise BillInvalid("columns_unknown", line_no=line_no)
        elif has_end or len(cells) != len(header):
            raise BillInvalid("row_malformed", line_no=line_no)
        else:
            rows.append((line_no, dict(zip(header, cells, strict=True))))
    if header is None or not has_end:
        raise BillInvalid("details_incomplete")
    return _Table(rows=rows, summary=summary)


def _cells(line: str, line_no: int) -> list[str]:
    try:
        (cells,) = csv.reader([line], strict=True)
    except (csv.Error, ValueError) as error:
        raise BillInvalid("row_malformed", line_no=line_no) from error
    return [cell.strip() for cell in cells]


Read = tuple[BillRow | None, str, int]
"""The row (None: of nothing), the total it belongs to and its part of that in fen."""


def _trade_row(line_no: int, cells: Mapping[str, str]) -> Read:
    kind = {"交易": BillRowKind.PAYMENT, "退款": BillRowKind.REFUND}.get(cells["业务类型"], BillRowKind.OTHER)
    amount_fen = fields.signed_fen(cells["订单金额（元）"], "amount")
    fee_fen = abs(fields.signed_fen(cells["服务费（元）"] or "0", "fee"))
    received_fen = fields.signed_fen(cells["商家实收（元）"], "received")
    if (kind is BillRowKind.PAYMENT and amount_fen <= 0) or (kind is BillRowKind.REFUND and amount_fen >= 0):
        raise AnswerMismatch("amount_sign_wrong")
    if amount_fen == 0:
        return None, "", 0
    is_refund = kind is BillRowKind.REFUND
    trade_no = fields.number(cells, "支付宝交易号")
    row = BillRow(
        line_no=line_no,
        kind=kind,
        number=cells["退款批次号/请求号"] if is_refund else cells["商户订单号"],
        provider_no=trade_no,
        amount_fen=abs(amount_fen),
        is_incoming=amount_fen > 0,
        outcome=Outcome.SUCCESS,
        happened_at=fields.moment(cells["完成时间"], "time"),
        payment_no=cells["商户订单号"] if is_refund else "",
        provider_payment_no=trade_no if is_refund else "",
        fee_milli_fen=(-fee_fen if is_refund else fee_fen) * 1000,
        note=cells["备注"],
    )
    total = {BillRowKind.PAYMENT: "交易合计", BillRowKind.REFUND: "退款合计"}.get(kind, "")
    return row, total, received_fen


def _flow_row(line_no: int, cells: Mapping[str, str]) -> Read:
    income_fen = fields.signed_fen(cells["收入金额（+元）"] or "0", "income")
    expense_fen = abs(fields.signed_fen(cells["支出金额（-元）"] or "0", "expense"))
    if income_fen < 0 or (income_fen and expense_fen):
        raise AnswerMismatch("amount_sign_wrong")
    if not income_fen and not expense_fen:
        return None, "", 0
    kind = _flow_kind(cells["业务类型"], is_incoming=income_fen > 0)
    is_refund = kind is BillRowKind.REFUND
    row = BillRow(
        line_no=line_no,
        kind=kind,
        number="" if is_refund else cells["商户订单号"],  # a refund's row names the payment, not the refund
        provider_no=fields.number(cells, "业务流水号") if cells["业务流水号"] else cells["账务流水号"],
        amount_fen=income_fen or expense_fen,
        is_incoming=income_fen > 0,
        outcome=Outcome.SUCCESS,
        happened_at=fields.moment(cells["发生时间"], "time"),
        payment_no=cells["商户订单号"] if is_refund else "",
        balance_fen=fields.signed_fen(cells["账户余额（元）"], "balance") if cells["账户余额（元）"] else None,
        note=cells["备注"],
    )
    return row, "收入合计" if row.is_incoming else "支出合计", income_fen - expense_fen


def _flow_kind(word: str, *, is_incoming: bool) -> BillRowKind:
    if word == "在线支付" and is_incoming:
        return BillRowKind.PAYMENT
    if word in ("交易退款", "退款") and not is_incoming:
        return BillRowKind.REFUND
    if word in ("转账", "单笔转账") and not is_incoming:
        return BillRowKind.PAYOUT
    return BillRowKind.OTHER


def _compare(summary: Mapping[str, str], totals: Mapping[str, tuple[int, int]]) -> list[str]:
    """Where the file's own totals differ from its rows."""
    problems = []
    for (name, counted), label in zip(totals.items(), ("incoming", "outgoing"), strict=True):
        match = _TOTAL.search(summary.get(name, ""))
        if match is None:
            problems.append(f"{label}_total_missing")
            continue
        if (int(match[1]), fen_from_yuan_text(match[2])) != counted:
            problems.append(f"{label}_total_mismatch")
    return problems
