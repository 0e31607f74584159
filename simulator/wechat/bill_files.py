"""Writes WeChat's bill files from the books: UTF-8 with a byte order mark, back-quoted cells, yuan in decimals.

Columns: WeChat's documents of 2024-11 (27 of ALL, 20 of SUCCESS, 29 of REFUND, 11 of the fund flow). The simulated
contract costs no fee. A payment stands on the day it was made, a refund on the day it was asked for, with its state
of now.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simulator import payouts
from simulator.books import Movement, Order, Refund
from simulator.clock import day_bounds, moment
from simulator.wechat import words
from simulator.world import World

KINDS = ("ALL", "SUCCESS", "REFUND", "FUND_FLOW")
_PAID = (
    *("交易时间", "公众账号ID", "商户号", "特约商户号", "设备号", "微信订单号", "商户订单号", "用户标识", "交易类型"),
    *("交易状态", "付款银行", "货币种类", "应结订单金额", "代金券金额"),
)
_BACK = ("微信退款单号", "商户退款单号", "退款金额", "充值券退款金额", "退款类型", "退款状态")
_TAIL = ("商品名称", "商户数据包", "手续费", "费率", "订单金额")
COLUMNS: Mapping[str, Sequence[str]] = {
    "ALL": (*_PAID, *_BACK, *_TAIL, "申请退款金额", "费率备注"),
    "SUCCESS": (*_PAID, *_TAIL, "费率备注"),
    "REFUND": (*_PAID, "退款申请时间", "退款成功时间", *_BACK, *_TAIL, "申请退款金额", "费率备注"),
    "FUND_FLOW": (
        *("记账时间", "微信支付业务单号", "资金流水单号", "业务名称", "业务类型", "收支类型", "收支金额(元)"),
        *("账户结余(元)", "资金变更提交申请人", "备注", "业务凭证号"),
    ),
}
SUMMED: Mapping[str, str] = {
    "应结订单总金额": "应结订单金额",
    "退款总金额": "退款金额",
    "充值券退款总金额": "充值券退款金额",
    "手续费总金额": "手续费",
    "订单总金额": "订单金额",
    "申请退款总金额": "申请退款金额",
}
"""Total → column, in the order of the summary; a file has those totals whose column it has."""
REFUND_WORDS = {"SUCCESS": "SUCCESS", "PROCESSING": "PROCESSING", "ABNORMAL": "CHANGE", "CLOSED": "FAIL"}
MOVEMENT_WORDS = {
    "payment": ("交易", "交易"),
    "refund": ("退款", "退款"),
    "payout": ("商家转账", "商家转账"),
    "payout_return": ("商家转账", "转账退款"),
    "legacy_payout": ("企业付款", "企业付款"),
    "legacy_payout_return": ("企业付款", "企业付款退款"),
}
LEGACY_SUFFIX = "_legacy"
"""The old product keeps its payouts in books of its own, on the same account."""

Row = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What shall be wrong with a file; all of it under a summary that fits the rows, but for `wrong_summary`."""

    extra_row: bool = False
    missing_row: bool = False
    changed_row: bool = False
    wrong_summary: bool = False
    cut: bool = False


def list_rows(*, world: World, channel_name: str, kind: str, day: dt.date) -> list[Row]:
    """The rows of a day; ValueError for an unknown kind."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of: {', '.join(KINDS)}")
    start, end = day_bounds(day)
    with world.books.transaction():
        if kind == "FUND_FLOW":
            return _movement_rows(world=world, channel_name=channel_name, start=start, end=end)
        orders = [
            order
            for order in world.books.list_orders_of(start=start, end=end)
            if order.channel == channel_name and order.state == "PAID" and not order.receiver
        ]
        refunds = [
            (refund, world.books.find_order(channel=channel_name, attempt_no=refund.attempt_no))
            for refund in world.books.list_refunds_of(start=start, end=end)
            if refund.channel == channel_name
        ]
    rows = [] if kind == "REFUND" else [(order.paid_at or 0.0, _payment(world, order)) for order in orders]
    if kind != "SUCCESS":
        rows += [
            (refund.created_at, _refund(world, refund, order))
            for refund, order in refunds
            if order and not order.receiver
        ]
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def write(*, world: World, channel_name: str, kind: str, day: dt.date, faults: Faults = Faults()) -> bytes:
    """The file of a day, also an empty one. ValueError for an unknown kind."""
    rows = list_rows(world=world, channel_name=channel_name, kind=kind, day=day)
    return render(kind=kind, rows=_spoilt(rows, kind=kind, day=day, faults=faults), faults=faults)


def render(*, kind: str, rows: Sequence[Row], faults: Faults) -> bytes:
    columns = COLUMNS[kind]
    totals = _flow_totals(rows) if kind == "FUND_FLOW" else _trade_totals(rows, columns)
    if faults.wrong_summary:
        first = next(iter(totals))
        totals[first] = str(int(totals[first].partition(".")[0]) + 1)
    lines = [",".join(columns), *(_line(row[name] for name in columns) for row in rows)]
    lines += [",".join(totals), _line(totals.values())]
    content = "\ufeff" + "".join(f"{line}\r\n" for line in lines)
    if faults.cut:
        content = content[: content.index(lines[-2]) - 20] if rows else content[: len(content) // 2]
    return content.encode()


def _spoilt(rows: list[Row], *, kind: str, day: dt.date, faults: Faults) -> list[Row]:
    amounts = ("收支金额(元)",) if kind == "FUND_FLOW" else ("订单金额", "应结订单金额")
    number = "业务凭证号" if kind == "FUND_FLOW" else "商户订单号"
    result = [dict(row) for row in rows]
    if faults.missing_row and result:
        result.pop(0)
    if faults.changed_row and result:
        for name in amounts:
            result[0][name] = _yuan(_fen(result[0][name]) + 1)
    if faults.extra_row:
        extra = dict(rows[0]) if rows else _blank(kind, day)
        provider_number = "微信支付业务单号" if kind == "FUND_FLOW" else "微信订单号"
        result.append({**extra, number: f"EXTRA{day:%Y%m%d}0001", provider_number: f"4200009999{day:%Y%m%d}0000000001"})
    return result


def _blank(kind: str, day: dt.date) -> Row:
    row = dict.fromkeys(COLUMNS[kind], "")
    if kind == "FUND_FLOW":
        name, word = MOVEMENT_WORDS["payment"]
        known = {"记账时间": f"{day} 12:00:00", "业务名称": name, "业务类型": word, "收支类型": "收入"}
        return {**row, **known, "收支金额(元)": "0.01", "账户结余(元)": "0.01"}
    amounts = dict.fromkeys([name for name in row if "金额" in name], "0.00")
    state = "REFUND" if kind == "REFUND" else "SUCCESS"
    known = {"交易时间": f"{day} 12:00:00", "交易状态": state, "手续费": "0.00000", "订单金额": "0.01"}
    return {**row, **amounts, **known, "应结订单金额": "0.01"}


def _payment(world: World, order: Order) -> Row:
    assert order.paid_fen is not None  # of a paid order, as the books themselves check
    assert order.paid_at is not None
    amount = _yuan(order.paid_fen)
    return {
        **_common(world, order),
        "交易时间": _time(order.paid_at),
        "交易状态": "SUCCESS",
        "应结订单金额": amount,
        "微信退款单号": "0",
        "商户退款单号": "0",
        "退款金额": "0.00",
        "退款类型": "",
        "退款状态": "",
        "订单金额": amount,
        "申请退款金额": "0.00",
    }


def _refund(world: World, refund: Refund, order: Order) -> Row:
    amount = _yuan(refund.amount_fen)
    return {
        **_common(world, order),
        "交易时间": _time(refund.created_at),
        "交易状态": "REFUND",
        "应结订单金额": "0.00",
        "退款申请时间": _time(refund.created_at),
        "退款成功时间": _time(refund.finished_at) if refund.state == "SUCCESS" and refund.finished_at else "",
        "微信退款单号": refund.refund_id,
        "商户退款单号": refund.refund_no,
        "退款金额": amount,
        "退款类型": "ORIGINAL",
        "退款状态": REFUND_WORDS[refund.state],
        "订单金额": "0.00",
        "申请退款金额": amount,
    }


def _common(world: World, order: Order) -> Row:
    return {
        "公众账号ID": world.credentials.appid,
        "商户号": world.credentials.mchid,
        "特约商户号": "0",
        "设备号": "",
        "微信订单号": order.transaction_id or "",
        "商户订单号": order.attempt_no,
        "用户标识": order.payer or "",
        "交易类型": words.trade_type(order),
        "付款银行": words.BANK_TYPE,
        "货币种类": words.CURRENCY,
        "代金券金额": "0.00",
        "充值券退款金额": "0.00",
        "商品名称": order.subject,
        "商户数据包": str(order.parameters.get("attach") or ""),
        "手续费": "0.00000",
        "费率": "0.00%",
        "费率备注": "",
    }


def _movement_rows(*, world: World, channel_name: str, start: float, end: float) -> list[Row]:
    names = (channel_name, f"{channel_name}{LEGACY_SUFFIX}")
    balance = payouts.balance_fen(world=world, channel=names[0], before=start)
    balance += payouts.balance_fen(world=world, channel=names[1], before=start) - payouts.OPENING_FEN
    moved = [
        (movement, name)
        for name in names
        for movement in world.books.list_movements(channel=name, start=start, end=end)
    ]
    rows = []
    for movement, name in sorted(moved, key=lambda pair: pair[0].moved_at):
        balance += movement.amount_fen
        rows.append(_movement(movement, balance_fen=balance, is_legacy=name != channel_name))
    return rows


def _movement(movement: Movement, *, balance_fen: int, is_legacy: bool) -> Row:
    name, kind = MOVEMENT_WORDS[f"legacy_{movement.kind}" if is_legacy else movement.kind]
    note = f"退款总金额{_yuan(-movement.amount_fen)}元;含手续费0.00元" if movement.kind == "refund" else ""
    return {
        "记账时间": _time(movement.moved_at),
        "微信支付业务单号": movement.provider_no,
        "资金流水单号": movement.payment_id or movement.provider_no,
        "业务名称": name,
        "业务类型": kind,
        "收支类型": "收入" if movement.amount_fen > 0 else "支出",
        "收支金额(元)": _yuan(abs(movement.amount_fen)),
        "账户结余(元)": _yuan(balance_fen),
        "资金变更提交申请人": "system",
        "备注": note,
        "业务凭证号": movement.number,
    }


def _trade_totals(rows: Sequence[Row], columns: Sequence[str]) -> Row:
    totals = {"总交易单数": str(len(rows))}
    for total, column in SUMMED.items():
        if column in columns:
            fen = sum(_fen(row[column]) for row in rows)
            totals[total] = f"{_yuan(fen)}000" if column == "手续费" else _yuan(fen)
    return totals


def _flow_totals(rows: Sequence[Row]) -> Row:
    """Counts look like `20.0, as in WeChat's sample."""
    totals = {"资金流水总笔数": f"{len(rows)}.0"}
    for direction in ("收入", "支出"):
        moved = [_fen(row["收支金额(元)"]) for row in rows if row["收支类型"] == direction]
        totals[f"{direction}笔数"] = f"{len(moved)}.0"
        totals[f"{direction}金额"] = _yuan(sum(moved))
    return totals


def _line(cells: object) -> str:
    """Commas and line ends of a merchant's text are escaped, so that a line can be split at commas."""
    return ",".join(f"`{_escape(cell)}" for cell in cells)  # type: ignore[attr-defined]


def _escape(cell: str) -> str:
    return cell.replace(",", "\\ ").replace("\r", "").replace("\n", "\\n")


def _fen(yuan: str) -> int:
    """Of a positive amount with two decimals or more; none of these has a part of a fen."""
    whole, _, decimals = yuan.partition(".")
    return int(whole) * 100 + int(decimals[:2])


def _yuan(fen: int) -> str:
    sign, value = ("-", -fen) if fen < 0 else ("", fen)
    return f"{sign}{value // 100}.{value % 100:02d}"


def _time(seconds: float) -> str:
    return f"{moment(seconds):%Y-%m-%d %H:%M:%S}"
