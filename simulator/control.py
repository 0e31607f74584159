"""`/_sim/…`: what tests and the demo use to act as the payer, to break things and to read the provider's books.

JSON in and out; a refusal is `{"message": …}`: 400 bad input, 404 unknown number or code, 409 not possible now.
Paths and fields are those of the platform's REST contract, section "Demo world and simulator".
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from werkzeug.routing import Rule as Route
from werkzeug.wrappers import Request, Response

from simulator import desk, payouts
from simulator.books import Order, Payout, Refund
from simulator.clock import day_bounds, rfc3339
from simulator.delivery import MODE_GENUINE, deliver
from simulator.faults import TAMPERS, BadRule, read_rule
from simulator.world import Channel, World

MAX_BODY_BYTES = 1024 * 1024
MAX_AMOUNT_FEN = 100_000_000_00
MAX_RESENDS = 1_000
MAX_OFFSET_SECONDS = 10 * 365 * 86_400.0
ORDER_STATES = {"OPEN": "NOTPAY", "PAID": "SUCCESS", "CLOSED": "CLOSED"}
"""Of the payment itself, as a bill shows it: a refund is a row of its own and does not change it."""


class ControlRefused(Exception):
    """The answer to a control request that is not obeyed; nothing has changed."""

    def __init__(self, *, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class Control:
    """Endpoints `control.<name>`."""

    def __init__(self, *, world: World, channels: Mapping[str, Channel]) -> None:
        self._world = world
        self._channels = channels
        self._actions: Mapping[str, Callable[[Request], Any]] = {
            "pay": self._pay,
            "resend": self._resend,
            "put_faults": self._put_faults,
            "get_faults": lambda request: self._world.faults.describe(),
            "delete_faults": self._delete_faults,
            "books": self._books,
            "bill": self._bill,
            "decide_payout": self._decide_payout,
            "payouts": self._payouts,
            "clock": self._clock,
            "get_clock": lambda request: self._describe_clock(),
        }

    def routes(self) -> list[Route]:
        return [
            Route("/_sim/pay", methods=["POST"], endpoint="control.pay"),
            Route("/_sim/notices/resend", methods=["POST"], endpoint="control.resend"),
            Route("/_sim/faults", methods=["PUT"], endpoint="control.put_faults"),
            Route("/_sim/faults", methods=["GET"], endpoint="control.get_faults"),
            Route("/_sim/faults", methods=["DELETE"], endpoint="control.delete_faults"),
            Route("/_sim/books", methods=["GET"], endpoint="control.books"),
            Route("/_sim/bills/<channel>", methods=["GET"], endpoint="control.bill"),
            Route("/_sim/payouts", methods=["GET"], endpoint="control.payouts"),
            Route("/_sim/payouts/<payout_no>", methods=["POST"], endpoint="control.decide_payout"),
            Route("/_sim/clock", methods=["POST"], endpoint="control.clock"),
            Route("/_sim/clock", methods=["GET"], endpoint="control.get_clock"),
        ]

    def handle(self, *, endpoint: str, request: Request) -> Response:
        try:
            answer = self._actions[endpoint.partition(".")[2]](request)
            return answer if isinstance(answer, Response) else json_response(answer)
        except ControlRefused as refusal:
            return json_response({"message": str(refusal)}, status=refusal.status)

    def _pay(self, request: Request) -> dict[str, Any]:
        body = _read(request, names={"payment", "amount_fen"})
        payment, amount_fen = body.get("payment"), body.get("amount_fen")
        if not isinstance(payment, dict):
            raise ControlRefused(status=400, message="payment must be the object that the platform's API answered")
        if amount_fen is not None and (type(amount_fen) is not int or not 0 < amount_fen <= MAX_AMOUNT_FEN):
            raise ControlRefused(status=400, message="amount_fen must be a positive integer")
        for channel in self._channels.values():
            package = getattr(channel, "read_confirmation", _no_confirmation)(payment)
            if package is not None:
                return payout_row(confirm(world=self._world, code=package))
            code = channel.read_code(payment)
            if code is not None:
                order = pay(world=self._world, channel=channel, code=code, amount_fen=amount_fen)
                return {
                    "attempt_no": order.attempt_no,
                    "state": ORDER_STATES[order.state],
                    "transaction_id": order.transaction_id,
                }
        raise ControlRefused(status=400, message=f"nobody can pay a payment of kind {payment.get('kind')!r} here")

    def _payouts(self, request: Request) -> dict[str, Any]:
        found = self._world.books.list_payouts_of(start=-math.inf, end=math.inf)
        return {"payouts": [payout_row(payout) for payout in found]}

    def _decide_payout(self, request: Request) -> dict[str, Any]:
        result = _read(request, names={"result"}).get("result")
        if result not in payouts.RESULTS:
            raise ControlRefused(status=400, message=f"result must be one of: {', '.join(payouts.RESULTS)}")
        found = self._world.books.find_payouts(payout_no=request.path.rpartition("/")[2])
        if not found:
            raise ControlRefused(status=404, message="no payout has this number")
        try:
            done = payouts.decide(world=self._world, channels=self._channels, payout=found[-1], result=result)
        except payouts.PayoutOver as error:
            message = f"a payout that is {found[-1].state} cannot become {result}"
            raise ControlRefused(status=409, message=message) from error
        return payout_row(done)

    def _bill(self, request: Request) -> Response:
        """The file as the books have it: no faults, no waiting for the morning, no signature."""
        write = getattr(self._channels.get(request.path.rpartition("/")[2]), "write_bill", None)
        if write is None:
            raise ControlRefused(status=404, message="this channel has no bills")
        day, kind = _day(request.args.get("day", "")), request.args.get("kind", "")
        try:
            content = write(kind=kind, day=day)
        except ValueError as error:
            raise ControlRefused(status=400, message=str(error)) from error
        name = f"{request.path.rpartition('/')[2]}_{kind.lower()}_{day}.csv"
        return Response(
            content,
            content_type="application/octet-stream",
            headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
        )

    def _resend(self, request: Request) -> dict[str, Any]:
        body = _read(request, names={"attempt_no", "refund_no", "times", "tamper"})
        attempt_no, refund_no = body.get("attempt_no"), body.get("refund_no") or ""
        times, tamper = body.get("times", 1), body.get("tamper")
        if not isinstance(attempt_no, str) or not attempt_no or not isinstance(refund_no, str):
            raise ControlRefused(status=400, message="attempt_no (and refund_no) must be strings")
        if type(times) is not int or not 1 <= times <= MAX_RESENDS:
            raise ControlRefused(status=400, message=f"times must be an integer from 1 to {MAX_RESENDS}")
        if tamper is not None and tamper not in TAMPERS:
            raise ControlRefused(status=400, message=f"tamper must be one of: {', '.join(TAMPERS)}")
        notice = self._world.books.find_notice(attempt_no=attempt_no, refund_no=refund_no)
        if notice is None:
            raise self._no_notice(attempt_no=attempt_no, refund_no=refund_no)
        channel = self._channels[notice.channel]
        deliveries = [
            deliver(world=self._world, channel=channel, notice=notice, mode=tamper or MODE_GENUINE)
            for _ in range(times)
        ]
        return {"deliveries": [{"status": each.status, "body": each.body} for each in deliveries]}

    def _no_notice(self, *, attempt_no: str, refund_no: str) -> ControlRefused:
        orders = (self._world.books.find_order(channel=name, attempt_no=attempt_no) for name in self._channels)
        if not any(orders):
            return ControlRefused(status=404, message=f"no order has the number {attempt_no}")
        what = f"refund {refund_no} of {attempt_no} has no result" if refund_no else f"{attempt_no} is not paid"
        return ControlRefused(status=409, message=f"{what}: there is no notice to send")

    def _put_faults(self, request: Request) -> dict[str, Any]:
        body = _read(request, names={"rules", "seed"})
        contents, seed = body.get("rules"), body.get("seed", 0)
        if not isinstance(contents, list):
            raise ControlRefused(status=400, message="rules must be a list")
        if type(seed) not in (int, str):
            raise ControlRefused(status=400, message="seed must be an integer or a string")
        channels = {name: channel.operations for name, channel in self._channels.items()}
        rules = []
        for position, content in enumerate(contents):
            try:
                rules.append(read_rule(content, channels=channels))
            except BadRule as error:
                raise ControlRefused(status=400, message=f"rules[{position}]: {error}") from error
        self._world.faults.replace(rules=tuple(rules), seed=str(seed))
        return self._world.faults.describe()

    def _delete_faults(self, request: Request) -> dict[str, Any]:
        self._world.faults.replace(rules=(), seed="0")
        return self._world.faults.describe()

    def _books(self, request: Request) -> dict[str, Any]:
        start, end = -math.inf, math.inf
        if (day := request.args.get("day")) is not None:
            start, end = day_bounds(_day(day))
        with self._world.books.transaction():
            self._world.books.close_expired(now=self._world.clock.seconds())
            orders = self._world.books.list_orders_of(start=start, end=end)
            refunds = self._world.books.list_refunds_of(start=start, end=end)
            asked = self._world.books.list_payouts_of(start=start, end=end)
        return {
            "day": day,
            "payments": [_payment_row(order) for order in orders],
            "refunds": [_refund_row(refund) for refund in refunds],
            "payouts": [payout_row(payout) for payout in asked],
            "totals": {**_totals(orders=orders, refunds=refunds), **_payout_totals(asked)},
        }

    def _clock(self, request: Request) -> dict[str, Any]:
        body = _read(request, names={"offset_seconds", "bill_offset_seconds"})
        if not body:
            raise ControlRefused(status=400, message="offset_seconds or bill_offset_seconds must be given")
        offsets = {name: _offset(name, value) for name, value in body.items()}
        for name, seconds in offsets.items():
            self._world.books.write_setting("clock_offset_seconds" if name == "offset_seconds" else name, seconds)
        if "offset_seconds" in offsets:
            self._world.clock.shift(offset_seconds=offsets["offset_seconds"])
        self._world.wake.set()
        return self._describe_clock()

    def _describe_clock(self) -> dict[str, Any]:
        clock = self._world.clock
        return {
            "offset_seconds": clock.offset_seconds,
            "bill_offset_seconds": float(self._world.books.read_setting("bill_offset_seconds") or 0.0),
            "now": rfc3339(clock.seconds()),
        }


def pay(*, world: World, channel: Channel, code: str, amount_fen: int | None, payer: str = desk.PAYER) -> Order:
    """desk.pay_order with refusals as a person would read them."""
    try:
        return desk.pay_order(world=world, channel=channel, code=code, amount_fen=amount_fen, payer=payer)
    except desk.UnknownOrder as error:
        raise ControlRefused(status=404, message="无此订单 / no order has this code") from error
    except desk.OrderPaid as error:
        raise ControlRefused(status=409, message="订单已支付 / the order is already paid") from error
    except desk.OrderClosed as error:
        raise ControlRefused(
            status=409, message="订单已关闭或超时 / the order is closed or its time is over"
        ) from error
    except desk.CodeExpired as error:
        raise ControlRefused(status=409, message="二维码已过期 / the code has expired") from error


def confirm(*, world: World, code: str) -> Payout:
    """payouts.confirm with refusals as a person would read them."""
    try:
        return payouts.confirm(world=world, code=code)
    except payouts.UnknownPayout as error:
        raise ControlRefused(status=404, message="无此转账 / no transfer waits under this code") from error
    except payouts.PayoutOver as error:
        raise ControlRefused(
            status=409, message="转账已确认、已撤销或超时 / the transfer was confirmed, cancelled or is over"
        ) from error


def json_response(content: Any, *, status: int = 200) -> Response:
    return Response(
        json.dumps(content, ensure_ascii=False), status=status, content_type="application/json; charset=utf-8"
    )


def _read(request: Request, *, names: set[str]) -> dict[str, Any]:
    content = request.get_data()
    if len(content) > MAX_BODY_BYTES:
        raise ControlRefused(status=400, message="the body is too large")
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ControlRefused(status=400, message="the body is not JSON") from error
    if not isinstance(body, dict):
        raise ControlRefused(status=400, message="the body must be a JSON object")
    if unknown := set(body) - names:
        raise ControlRefused(status=400, message=f"unknown fields: {', '.join(sorted(unknown))}")
    return body


def _no_confirmation(payment: Mapping[str, Any]) -> None:
    """Of channels whose payouts need no confirmation."""


def _day(text: str) -> dt.date:
    try:
        day = dt.datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007
        day_bounds(day)
    except (ValueError, OverflowError) as error:
        raise ControlRefused(status=400, message="day must be YYYY-MM-DD") from error
    return day


def _offset(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= MAX_OFFSET_SECONDS:
        raise ControlRefused(status=400, message=f"{name} must be a number up to {MAX_OFFSET_SECONDS:.0f} either way")
    return float(value)


def _payment_row(order: Order) -> dict[str, Any]:
    return {
        "attempt_no": order.attempt_no,
        "channel": order.channel,
        "amount_fen": order.amount_fen if order.paid_fen is None else order.paid_fen,
        "state": ORDER_STATES[order.state],
        "transaction_id": order.transaction_id,
        "paid_at": None if order.paid_at is None else rfc3339(order.paid_at),
    }


def _refund_row(refund: Refund) -> dict[str, Any]:
    return {
        "refund_no": refund.refund_no,
        "attempt_no": refund.attempt_no,
        "channel": refund.channel,
        "amount_fen": refund.amount_fen,
        "state": refund.state,
    }


def payout_row(payout: Payout) -> dict[str, Any]:
    return {
        "payout_no": payout.payout_no,
        "channel": payout.channel,
        "payout_id": payout.payout_id,
        "amount_fen": payout.amount_fen,
        "account": payout.account,
        "state": payout.state,
        "reason": payout.reason,
        "created_at": rfc3339(payout.created_at),
        "paid_at": None if payout.paid_at is None else rfc3339(payout.paid_at),
        "returned_at": None if payout.returned_at is None else rfc3339(payout.returned_at),
    }


def _payout_totals(asked: list[Payout]) -> dict[str, int]:
    paid = [payout.amount_fen for payout in asked if payout.state == "SUCCESS"]
    return {"paid_out_count": len(paid), "paid_out_fen": sum(paid)}


def _totals(*, orders: list[Order], refunds: list[Refund]) -> dict[str, int]:
    paid = [order.paid_fen for order in orders if order.paid_fen is not None]
    returned = [refund.amount_fen for refund in refunds if refund.state == "SUCCESS"]
    return {
        "paid_count": len(paid),
        "paid_fen": sum(paid),
        "refunded_count": len(returned),
        "refunded_fen": sum(returned),
    }
