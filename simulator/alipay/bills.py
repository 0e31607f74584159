"""Alipay's bill files from the books, and the desk that gives them out.

A zip with two GBK tables; names in GBK without the UTF-8 flag. Details begin with "#" lines and end with totals; cells
of text end with a tab. Columns: design `providers.md` 5 and public samples. The simulated contract costs no fee. A
refund stands on the day it was made. A file can be had from 10:00 of the next day on, its address for 30 seconds; a
file that is not ready and a day without rows are answered alike.
"""

from __future__ import annotations

import datetime as dt
import io
import secrets
import threading
import time
import zipfile
from collections.abc import Mapping, Sequence

from simulator import payouts
from simulator.alipay import words
from simulator.books import Movement
from simulator.clock import day_bounds, moment
from simulator.faults import BILL_FAULTS
from simulator.world import Channel, World

READY_HOUR = 10
ADDRESS_SECONDS = 30.0
SETTING_OFFSET = "bill_offset_seconds"
"""How far the bill office's clock is ahead of the simulator's: lets a test have today's bill today."""
DASHES = "-" * 41

TITLES = {"trade": "业务明细", "signcustomer": "账务明细"}
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "trade": (
        *("支付宝交易号", "商户订单号", "业务类型", "商品名称", "创建时间", "完成时间", "门店编号", "门店名称"),
        *("操作员", "终端号", "对方账户", "订单金额（元）", "商家实收（元）", "支付宝红包（元）", "集分宝（元）"),
        *("支付宝优惠（元）", "商家优惠（元）", "券核销金额（元）", "券名称", "商家红包消费金额（元）"),
        *("卡消费金额（元）", "退款批次号/请求号", "服务费（元）", "分润（元）", "备注"),
    ),
    "signcustomer": (
        *("账务流水号", "业务流水号", "商户订单号", "商品名称", "发生时间", "对方账号", "收入金额（+元）"),
        *("支出金额（-元）", "账户余额（元）", "交易渠道", "业务类型", "备注"),
    ),
}
TABBED = frozenset(
    {
        *("支付宝交易号", "商户订单号", "业务类型", "门店编号", "门店名称", "操作员", "终端号", "对方账户"),
        *("退款批次号/请求号", "账务流水号", "业务流水号"),
    }
)
FLOW_WORDS = {"payment": "在线支付", "refund": "交易退款", "payout": "转账", "payout_return": "其它"}

Row = dict[str, str]


class BillNotExist(Exception):
    """Not ready, or no rows: Alipay does not say which."""


class BillDesk:
    """Holds the files that were asked for; they are gone when the simulator stops, as an address would be."""

    def __init__(self, *, world: World, channel: Channel) -> None:
        self._world = world
        self._channel = channel
        self._lock = threading.Lock()
        self._files: dict[str, tuple[float, bytes]] = {}

    def ask(self, *, kind: str, day: dt.date) -> str:
        """The name under which the file can be fetched; BillNotExist."""
        struck = self._world.faults.draw(
            among=BILL_FAULTS, channel=self._channel.name, operation="bill", attempt_no=day.isoformat()
        )
        rows = list_rows(world=self._world, channel_name=self._channel.name, kind=kind, day=day)
        if not self._is_ready(day) or not struck.keys().isdisjoint({"bill_not_ready", "bill_empty"}):
            raise BillNotExist
        rows = _spoilt(rows, kind=kind, day=day, faults=frozenset(struck))
        if not rows:
            raise BillNotExist
        content = render(
            kind=kind,
            rows=rows,
            day=day,
            account=f"{self._world.credentials.alipay.seller_id}0156",
            exported_at=self._world.clock.seconds(),
            faults=frozenset(struck),
        )
        token = secrets.token_hex(24)
        with self._lock:
            self._forget()
            self._files[token] = (time.monotonic() + ADDRESS_SECONDS, content)
        return token

    def fetch(self, token: str) -> bytes | None:
        """The file of an address that is still good."""
        with self._lock:
            self._forget()
            found = self._files.get(token)
        return None if found is None else found[1]

    def _is_ready(self, day: dt.date) -> bool:
        offset = float(self._world.books.read_setting(SETTING_OFFSET) or 0.0)
        ready_at = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(READY_HOUR))
        return moment(self._world.clock.seconds() + offset).replace(tzinfo=None) >= ready_at

    def _forget(self) -> None:
        now = time.monotonic()
        self._files = {token: file for token, file in self._files.items() if file[0] > now}


def list_rows(*, world: World, channel_name: str, kind: str, day: dt.date) -> list[Row]:
    """The rows of a day, oldest first."""
    start, end = day_bounds(day)
    with world.books.transaction():
        movements = world.books.list_movements(channel=channel_name, start=start, end=end)
        if kind == "trade":
            return [
                _trade_row(world, channel_name, movement)
                for movement in movements
                if movement.kind in ("payment", "refund")
            ]
        balance_fen = payouts.balance_fen(world=world, channel=channel_name, before=start)
        rows = []
        for movement in movements:
            balance_fen += movement.amount_fen
            rows.append(_flow_row(world, channel_name, movement, balance_fen))
        return rows


def render(
    *, kind: str, rows: Sequence[Row], day: dt.date, account: str, exported_at: float, faults: frozenset[str]
) -> bytes:
    """The zip."""
    title = TITLES[kind]
    details = _details(kind=kind, rows=rows, day=day, account=account, exported_at=exported_at, faults=faults)
    summary = f"#支付宝{title}汇总查询\r\n#账号：[{account}]\r\n#导出时间：[{_stamp(exported_at)}]\r\n"
    name = f"{account}_{day:%Y%m%d}_{title}"
    return _zip({f"{name}.csv": details, f"{name}(汇总).csv": summary})


def _details(
    *, kind: str, rows: Sequence[Row], day: dt.date, account: str, exported_at: float, faults: frozenset[str]
) -> str:
    title, columns = TITLES[kind], COLUMNS[kind]
    lines = [
        f"#支付宝{title}查询",
        f"#账号：[{account}]",
        f"#起始日期：[{day:%Y年%m月%d日} 00:00:00]   终止日期：[{day + dt.timedelta(days=1):%Y年%m月%d日} 00:00:00]",
        f"#{DASHES}{title}列表{DASHES}",
        ",".join(columns),
        *(",".join(row[name] + ("\t" if name in TABBED else "") for name in columns) for row in rows),
        f"#{DASHES}{title}列表结束{DASHES}",
        *_totals(kind, rows, is_wrong="bill_wrong_summary" in faults),
        f"#导出时间：[{_stamp(exported_at)}]",
    ]
    if "bill_cut" in faults:
        lines = [*lines[: 4 + len(rows)], lines[4 + len(rows)][:20]]
    return "".join(f"{line}\r\n" for line in lines)


def _totals(kind: str, rows: Sequence[Row], *, is_wrong: bool) -> list[str]:
    more_fen = 1 if is_wrong else 0
    if kind == "trade":
        groups = {word: [row for row in rows if row["业务类型"] == word] for word in ("交易", "退款")}
        sums = {word: sum(_fen(row["商家实收（元）"]) for row in found) for word, found in groups.items()}
        return [
            f"#交易合计：{len(groups['交易'])}笔，商家实收共{words.yuan(sums['交易'] + more_fen)}元，商家优惠共0.00元",
            f"#退款合计：{len(groups['退款'])}笔，商家实收退款共{words.yuan(sums['退款'])}元，商家优惠退款共0.00元",
        ]
    spent = [_fen(row["支出金额（-元）"]) for row in rows if row["支出金额（-元）"] != "0.00"]
    earned = [_fen(row["收入金额（+元）"]) for row in rows if row["收入金额（+元）"] != "0.00"]
    return [
        f"#支出合计：{len(spent)}笔，共{words.yuan(sum(spent))}元",
        f"#收入合计：{len(earned)}笔，共{words.yuan(sum(earned) + more_fen)}元",
    ]


def _trade_row(world: World, channel_name: str, movement: Movement) -> Row:
    is_refund = movement.kind == "refund"
    attempt_no = _attempt_no(world, channel_name, movement)
    order = world.books.find_order(channel=channel_name, attempt_no=attempt_no)
    assert order is not None  # the movement was read from it
    amount = words.yuan(movement.amount_fen)
    return {
        **dict.fromkeys(COLUMNS["trade"], ""),
        **{name: "0.00" for name in COLUMNS["trade"] if name.endswith("（元）")},
        "支付宝交易号": movement.payment_id if is_refund else movement.provider_no,
        "商户订单号": attempt_no,
        "业务类型": "退款" if is_refund else "交易",
        "商品名称": order.subject,
        "创建时间": words.time(order.created_at),
        "完成时间": words.time(movement.moved_at),
        "对方账户": words.BUYER_LOGON_ID,
        "订单金额（元）": amount,
        "商家实收（元）": amount,
        "退款批次号/请求号": movement.number if is_refund else "",
    }


def _flow_row(world: World, channel_name: str, movement: Movement, balance_fen: int) -> Row:
    is_incoming = movement.amount_fen > 0
    amount = words.yuan(movement.amount_fen)
    return {
        **dict.fromkeys(COLUMNS["signcustomer"], ""),
        "账务流水号": f"{int(movement.moved_at * 1000):015d}",
        "业务流水号": movement.payment_id or movement.provider_no,
        "商户订单号": _attempt_no(world, channel_name, movement),
        "发生时间": words.time(movement.moved_at),
        "对方账号": words.BUYER_LOGON_ID,
        "收入金额（+元）": amount if is_incoming else "0.00",
        "支出金额（-元）": "0.00" if is_incoming else amount,
        "账户余额（元）": words.yuan(balance_fen),
        "交易渠道": "支付宝",
        "业务类型": FLOW_WORDS[movement.kind],
    }


def _attempt_no(world: World, channel_name: str, movement: Movement) -> str:
    """The merchant's number of the payment, or of the payout."""
    if movement.kind != "refund":
        return movement.number
    refund = world.books.find_refund(channel=channel_name, refund_no=movement.number)
    assert refund is not None  # the movement was read from it
    return refund.attempt_no


def _spoilt(rows: list[Row], *, kind: str, day: dt.date, faults: frozenset[str]) -> list[Row]:
    """What the bill faults make of the rows; the totals are counted afterwards."""
    result = [dict(row) for row in rows]
    if "bill_missing_row" in faults and result:
        result.pop(0)
    if "bill_changed_row" in faults and result:
        amounts = ("订单金额（元）", "商家实收（元）") if kind == "trade" else ("收入金额（+元）", "支出金额（-元）")
        for name in amounts:
            fen = _fen(result[0][name])
            result[0][name] = words.yuan(fen + (fen > 0) - (fen < 0))
    if "bill_extra_row" in faults:
        result.append(_extra(kind, day))
    return result


def _extra(kind: str, day: dt.date) -> Row:
    number, provider_number = f"EXTRA{day:%Y%m%d}0001", f"{day:%Y%m%d}22001000000000000001"
    blank = dict.fromkeys(COLUMNS[kind], "")
    if kind == "signcustomer":
        known = {"账务流水号": "1", "业务流水号": provider_number, "商户订单号": number, "发生时间": f"{day} 12:00:00"}
        amounts = {"收入金额（+元）": "0.01", "支出金额（-元）": "0.00", "账户余额（元）": "0.01"}
        return {**blank, **known, **amounts, "业务类型": FLOW_WORDS["payment"]}
    zeros = {name: "0.00" for name in COLUMNS[kind] if name.endswith("（元）")}
    known = {"支付宝交易号": provider_number, "商户订单号": number, "业务类型": "交易", "完成时间": f"{day} 12:00:00"}
    return {**blank, **zeros, **known, "订单金额（元）": "0.01", "商家实收（元）": "0.01"}


def _zip(files: Mapping[str, str]) -> bytes:
    """Python writes names that are not ASCII in UTF-8; Alipay writes GBK, so names of equal length are put in after."""
    names = {secrets.token_hex(64)[: len(name.encode("gbk"))].encode(): name for name in files}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for placeholder, name in names.items():
            archive.writestr(placeholder.decode(), files[name].encode("gb18030"))
    content = target.getvalue()
    for placeholder, name in names.items():
        content = content.replace(placeholder, name.encode("gbk"))
    return content


def _fen(yuan: str) -> int:
    """Of a text that `words.yuan` wrote."""
    return int(yuan.replace(".", ""))


def _stamp(seconds: float) -> str:
    return f"{moment(seconds):%Y年%m月%d日 %H:%M:%S}"
