"""What the tests of reconciliation share: paid days of our books, WeChat's bills of them, staff, a provider."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, field

from django.contrib.auth.models import Permission, User

from foundation import clock
from gateway.ports import Bill, BillKind, BillState
from identity.models import Employee
from orders import selectors as orders
from orders.selectors import days
from reconciliation.models import Difference, Run
from reconciliation.services import comparing, fetching, planning
from simulator.wechat import bill_files
from tests import worlds

BEIJING = dt.timezone(dt.timedelta(hours=8))
DAY = dt.date(2026, 11, 21)
NOON = dt.datetime(2026, 11, 21, 12, tzinfo=BEIJING)
MORNING = dt.datetime(2026, 11, 22, 10, 5, tzinfo=BEIJING)
"""When the bill of DAY is asked for."""
ONE_DAY = dt.timedelta(days=1)
ALL_MAY = [
    "operate_run",
    "handle_difference",
    "propose_resolution",
    "approve_resolution",
    "sign_off_day",
    "propose_reopening",
    "approve_reopening",
    "propose_adjustment",
    "approve_adjustment",
]


def staff() -> User:
    """A fresh member of staff with every permission of reconciliation and of adjustments."""
    user = User.objects.create_user(f"s{uuid.uuid4().hex[:12]}", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=ALL_MAY))
    return user


def pay(person: Employee, amount_fen: int, at: dt.datetime) -> str:
    """A paid recharge over wechat; returns its attempt's number."""
    with clock.frozen(at):
        order_no = worlds.give_money(person, amount_fen)
    return orders.get_order(order_no=order_no).effective_attempt_no


def yuan(fen: int) -> str:
    return f"{'-' if fen < 0 else ''}{abs(fen) // 100}.{abs(fen) % 100:02d}"


def row(number: str, amount_fen: int, at: dt.datetime, fee: str = "0.00") -> dict[str, str]:
    """A payment as WeChat's ALL bill has it."""
    zeros = ("代金券金额", "退款金额", "充值券退款金额", "申请退款金额")
    return (
        dict.fromkeys(bill_files.COLUMNS["ALL"], "")
        | dict.fromkeys(zeros, "0.00")
        | {
            "交易时间": f"{at.astimezone(BEIJING):%Y-%m-%d %H:%M:%S}",
            "微信订单号": f"4200{number}",
            "商户订单号": number,
            "交易状态": "SUCCESS",
            "应结订单金额": yuan(amount_fen),
            "订单金额": yuan(amount_fen),
            "手续费": fee,
        }
    )


def refund_row(number: str, refund_no: str, amount_fen: int, at: dt.datetime, state: str) -> dict[str, str]:
    """A refund as WeChat's ALL bill has it; `state` is the provider's word."""
    changes = {"交易状态": "REFUND", "微信退款单号": f"5030{refund_no}", "商户退款单号": refund_no, "退款状态": state}
    amounts = {
        "应结订单金额": "0.00",
        "订单金额": "0.00",
        "退款金额": yuan(amount_fen),
        "申请退款金额": yuan(amount_fen),
    }
    return row(number, amount_fen, at) | changes | amounts


def movement(number: str, amount_fen: int, at: dt.datetime, kind: str = "payout") -> dict[str, str]:
    """A line of WeChat's fund flow; `kind` as in simulator.wechat.bill_files.MOVEMENT_WORDS."""
    name, word = bill_files.MOVEMENT_WORDS[kind]
    return dict.fromkeys(bill_files.COLUMNS["FUND_FLOW"], "") | {
        "记账时间": f"{at.astimezone(BEIJING):%Y-%m-%d %H:%M:%S}",
        "微信支付业务单号": f"1330{number}",
        "业务名称": name,
        "业务类型": word,
        "收支类型": "收入" if kind.endswith("return") or kind == "payment" else "支出",
        "收支金额(元)": yuan(amount_fen),
        "账户结余(元)": "1000.00",
        "业务凭证号": number,
    }


def render_flow(rows: list[dict[str, str]]) -> bytes:
    return bill_files.render(kind="FUND_FLOW", rows=rows, faults=bill_files.Faults())


def render(rows: list[dict[str, str]], **faults: bool) -> bytes:
    return bill_files.render(kind="ALL", rows=rows, faults=bill_files.Faults(**faults))


def rows_of(day: dt.date) -> list[dict[str, str]]:
    """What an honest provider lists for a day of our books."""
    start = clock.day_start(day)
    found = days.iterate_day(channel="wechat", start=start, end=start + ONE_DAY)
    return [row(one.number, one.amount_fen, one.at) for one in sorted(found, key=lambda one: one.at)]


@dataclass
class Provider:
    """Answers for gateway.services.calls.download_bill: what `bills` has for a day, else that it is not ready."""

    bills: dict[dt.date, Bill] = field(default_factory=dict)
    asked: int = 0

    def download_bill(self, *, channel: str, day: dt.date, kind: BillKind) -> Bill:
        self.asked += 1
        return self.bills.get(day, Bill(state=BillState.NOT_READY, code="not_ready"))

    def gives(self, day: dt.date, content: bytes) -> None:
        self.bills[day] = Bill(state=BillState.READY, content=content, is_checked=True)


def plan(day: dt.date = DAY, kind: BillKind = BillKind.TRADE) -> Run:
    at = dt.datetime.combine(day + ONE_DAY, dt.time(2), BEIJING)
    return planning.plan_run(channel="wechat", kind=kind, day=day, now=at)[0]


def reconcile(provider: Provider, day: dt.date, content: bytes, kind: BillKind = BillKind.TRADE) -> Run:
    """Plans, fetches and compares one day's bill at 10:05 of the next day."""
    provider.gives(day, content)
    run = plan(day, kind)
    now = dt.datetime.combine(day + ONE_DAY, dt.time(10, 5), BEIJING)
    fetching.fetch(run_id=run.pk, now=now)
    return comparing.process(run_id=run.pk, now=now)


def found(run: Run) -> list[tuple[str, str, int]]:
    return list(
        Difference.objects.filter(run=run).order_by("kind", "number").values_list("kind", "number", "value_fen")
    )
