"""Pages for a person who plays the payer: open orders, one order with pay and decline. HTML, no scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlencode

from markupsafe import Markup
from werkzeug.routing import Rule as Route
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from simulator import desk, payouts
from simulator.books import Order, Payout
from simulator.clock import moment
from simulator.control import ControlRefused, confirm, pay
from simulator.world import Channel, World

OPEN_LIMIT = 100
DONE_LIMIT = 20
STYLE_FILE = Path(__file__).parent / "static" / "style.css"
TRANSFER_STATES = {
    "WAITING": "待确认 · To confirm",
    "PROCESSING": "处理中 · Under way",
    "CANCELLING": "撤销中 · Being cancelled",
    "SUCCESS": "已到账 · Received",
    "FAILED": "失败 · Failed",
    "CANCELLED": "已撤销 · Cancelled",
    "RETURNED": "已退回 · Returned",
}
STATES = {"OPEN": "待支付 · Open", "PAID": "已支付 · Paid", "CLOSED": "已关闭 · Closed"}
CHANNELS = {
    "alipay": "支付宝 · Alipay",
    "kuaiqian": "快钱 · 99bill",
    "wechat": "微信支付 · WeChat Pay",
    "wechat_legacy": "企业付款 · WeChat v2",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}

_PAGE = Markup(
    '<!doctype html>\n<html lang="zh-CN">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
    '<link rel="stylesheet" href="/static/style.css">\n</head>\n<body>\n'
    '<header><a href="/">支付模拟器 · Provider simulator</a><p>仅供开发，不涉及真实资金 · '
    "Development only, no real money moves</p></header>\n<main>\n{content}\n</main>\n</body>\n</html>\n"
)
_LIST = Markup(
    '<h1>待支付订单 · Open orders</h1>\n{open}\n<form class="scan" action="/pay" method="get">'
    '<label for="code_url">扫描内容 · Scanned code</label>'
    '<input id="code_url" name="code_url" required maxlength="200" placeholder="weixin://wxpay/bizpayurl?pr=…">'
    '<button class="quiet">打开 · Open</button></form>\n<h2>待确认收款 · Transfers to confirm</h2>\n{transfers}\n'
    "<h2>最近完成 · Recently finished</h2>\n{done}"
)
_CARD = Markup(
    '<li class="card"><p class="amount">{amount}</p><p class="subject">{subject}</p>'
    '<p class="facts"><span class="state {state}">{state_words}</span> {channel} · {created}</p>'
    '<p class="number">{attempt_no}</p>{button}</li>'
)
_SCAN_BUTTON = Markup(
    '<form action="/pay" method="get"><input type="hidden" name="code_url" value="{code}">'
    "<button>扫码支付 · Scan and pay</button></form>"
)
_ORDER = Markup(
    '<section class="card one"><p class="amount">{amount}</p><p class="subject">{subject}</p>'
    '<p class="facts"><span class="state {state}">{state_words}</span> {channel}</p><dl>'
    "<dt>商户单号 · Attempt number</dt><dd>{attempt_no}</dd><dt>下单时间 · Placed at</dt><dd>{created}</dd>"
    "<dt>失效时间 · Expires at</dt><dd>{expires}</dd>{paid}</dl>{message}{buttons}</section>"
)
_PAID = Markup("<dt>支付单号 · Transaction</dt><dd>{transaction_id}</dd><dt>支付时间 · Paid at</dt><dd>{paid_at}</dd>")
_PAY_BUTTONS = Markup(
    '<form action="/pay" method="post"><input type="hidden" name="code_url" value="{code}">{choice}'
    '<button name="action" value="pay">确认支付 · Pay {amount}</button>'
    '<button class="quiet" name="action" value="decline">放弃支付 · Decline</button></form>'
)
_CHOICE = Markup('<label for="bank">付款银行 · Bank</label><select id="bank" name="bank">{banks}</select>')
_BANK = Markup('<option value="{code}">{name}</option>')
_TRANSFER_CARD = Markup(
    '<li class="card"><p class="amount">{amount}</p><p class="subject">{remark}</p>'
    '<p class="facts"><span class="state {state}">{state_words}</span> {channel} · {created}</p>'
    '<p class="number">{payout_no}</p><form action="/transfer" method="get">'
    '<input type="hidden" name="package" value="{code}"><button>打开收款 · Open the transfer</button></form></li>'
)
_TRANSFER = Markup(
    '<section class="card one"><p class="amount">{amount}</p><p class="subject">{remark}</p>'
    '<p class="facts"><span class="state {state}">{state_words}</span> {channel}</p><dl>'
    "<dt>商户单号 · Payout number</dt><dd>{payout_no}</dd><dt>收款人 · Payee</dt><dd>{account}</dd>"
    "<dt>发起时间 · Asked for at</dt><dd>{created}</dd><dt>失效时间 · Expires at</dt><dd>{expires}</dd></dl>"
    "{message}{buttons}</section>"
)
_TRANSFER_BUTTONS = Markup(
    '<form action="/transfer" method="post"><input type="hidden" name="package" value="{code}">'
    '<button name="action" value="confirm">确认收款 · Accept {amount}</button>'
    '<button class="quiet" name="action" value="decline">暂不收款 · Not now</button></form>'
)
_MESSAGE = Markup('<p class="message" role="status">{text}</p>')
_RETURN = Markup('<p><a class="back" rel="noreferrer" href="{address}">返回商户 · Back to the merchant</a></p>')
_BACK = Markup('<p><a class="back" href="/">返回订单列表 · Back to the orders</a></p>')

MESSAGES = {
    "paid": "支付成功，商户将收到通知。 · Paid. The merchant will be notified.",
    "confirmed": "已确认收款，商户将收到通知。 · Accepted. The merchant will be notified.",
    "postponed": "没有收款，24 小时内仍可确认。 · Nothing was accepted; it can still be within 24 hours.",
    "declined": "已放弃，没有付款，订单仍可支付。 · Declined. Nothing was paid; the order stays open.",
}


class Pages:
    """Endpoints `pages.<name>`."""

    def __init__(self, *, world: World, channels: Mapping[str, Channel]) -> None:
        self._world = world
        self._channels = channels
        self._style = STYLE_FILE.read_bytes()
        self._actions: Mapping[str, Callable[[Request], Response]] = {
            "list": self._list,
            "order": self._show,
            "act": self._act,
            "transfer": self._show_transfer,
            "act_transfer": self._act_transfer,
            "style": lambda request: Response(self._style, content_type="text/css; charset=utf-8"),
        }

    def routes(self) -> list[Route]:
        return [
            Route("/", methods=["GET"], endpoint="pages.list"),
            Route("/pay", methods=["GET"], endpoint="pages.order"),
            Route("/pay", methods=["POST"], endpoint="pages.act"),
            Route("/transfer", methods=["GET"], endpoint="pages.transfer"),
            Route("/transfer", methods=["POST"], endpoint="pages.act_transfer"),
            Route("/static/style.css", methods=["GET"], endpoint="pages.style"),
        ]

    def handle(self, *, endpoint: str, request: Request) -> Response:
        try:
            return self._actions[endpoint.partition(".")[2]](request)
        except ControlRefused as refusal:
            return _page(title="不能支付", content=_MESSAGE.format(text=str(refusal)) + _BACK, status=refusal.status)

    def _list(self, request: Request) -> Response:
        with self._world.books.transaction():
            self._world.books.close_expired(now=self._world.clock.seconds())
            open_orders = self._world.books.list_orders(is_open=True, limit=OPEN_LIMIT)
            done = self._world.books.list_orders(is_open=False, limit=DONE_LIMIT)
            waiting = self._world.books.list_payouts(states=("WAITING",), limit=OPEN_LIMIT)
        content = _LIST.format(
            transfers=_transfer_cards(waiting),
            open=_cards(open_orders, empty="没有待支付的订单。 · No order waits for a payment."),
            done=_cards(done, empty="还没有。 · None yet."),
        )
        return _page(title="待支付订单 · Open orders", content=content)

    def _show(self, request: Request) -> Response:
        order = desk.scan_order(world=self._world, code=self._order(request.args.get("code_url", "")).code)
        message = MESSAGES.get(request.args.get("result", ""), "")
        buttons = Markup("")
        if order.state == "OPEN":
            try:
                desk.check_payable(order=order, now=self._world.clock.seconds())
                choice = _choice(self._banks(order))
                buttons = _PAY_BUTTONS.format(code=order.code, amount=yuan(order.amount_fen), choice=choice)
            except desk.CodeExpired:
                message = "二维码已过期，请商户重新下单。 · The code has expired; the merchant must ask for it again."
        paid = Markup("")
        if order.paid_at is not None:
            paid = _PAID.format(transaction_id=order.transaction_id, paid_at=_time(order.paid_at))
        content = _ORDER.format(
            amount=yuan(order.amount_fen if order.paid_fen is None else order.paid_fen),
            subject=order.subject,
            state=order.state.lower(),
            state_words=STATES[order.state],
            channel=CHANNELS.get(order.channel, order.channel),
            attempt_no=order.attempt_no,
            created=_time(order.created_at),
            expires=_time(order.expires_at),
            paid=paid,
            message=_MESSAGE.format(text=message) if message else Markup(""),
            buttons=buttons,
        )
        address = self._channels[order.channel].return_address(order)
        back = _RETURN.format(address=address) + _BACK if address else _BACK
        return _page(title=f"{yuan(order.amount_fen)} {order.subject}", content=content + back)

    def _act(self, request: Request) -> Response:
        code, action = request.form.get("code_url", ""), request.form.get("action")
        order = self._order(code)
        if action == "pay":
            bank = request.form.get("bank", desk.PAYER)
            if bank != desk.PAYER and bank not in self._banks(order):
                raise ControlRefused(status=400, message="没有此银行 / there is no such bank")
            channel = self._channels[order.channel]
            pay(world=self._world, channel=channel, code=code, amount_fen=None, payer=bank)
        elif action != "decline":
            raise ControlRefused(status=400, message="未知操作 / unknown action")
        result = "paid" if action == "pay" else "declined"
        response = redirect(f"/pay?{urlencode({'code_url': code, 'result': result})}", code=303)
        response.headers.extend(HEADERS)
        return response

    def _banks(self, order: Order) -> Mapping[str, str]:
        """Code → name of what the person may pay with; empty where the provider does not ask."""
        banks: Mapping[str, str] = getattr(self._channels[order.channel], "banks", {})
        return banks

    def _show_transfer(self, request: Request) -> Response:
        payout = self._payout(request.args.get("package", ""))
        message = MESSAGES.get(request.args.get("result", ""), "")
        buttons = Markup("")
        if payout.state == "WAITING":
            buttons = _TRANSFER_BUTTONS.format(code=payout.code, amount=yuan(payout.amount_fen))
        content = _TRANSFER.format(
            **_transfer_facts(payout),
            account=payout.account,
            expires=_time(payout.expires_at),
            message=_MESSAGE.format(text=message) if message else Markup(""),
            buttons=buttons,
        )
        return _page(title=f"{yuan(payout.amount_fen)} {payout.remark}", content=content + _BACK)

    def _act_transfer(self, request: Request) -> Response:
        code, action = request.form.get("package", ""), request.form.get("action")
        payout = self._payout(code)
        if action == "confirm":
            confirm(world=self._world, code=payout.code)
        elif action != "decline":
            raise ControlRefused(status=400, message="未知操作 / unknown action")
        result = "confirmed" if action == "confirm" else "postponed"
        response = redirect(f"/transfer?{urlencode({'package': code, 'result': result})}", code=303)
        response.headers.extend(HEADERS)
        return response

    def _payout(self, code: str) -> Payout:
        try:
            return payouts.get_by_code(world=self._world, code=code)
        except payouts.UnknownPayout as error:
            raise ControlRefused(status=404, message="无此转账 / no transfer has this code") from error

    def _order(self, code: str) -> Order:
        try:
            return desk.get_order_by_code(world=self._world, code=code)
        except desk.UnknownOrder as error:
            raise ControlRefused(status=404, message="无此订单 / no order has this code") from error


def _choice(banks: Mapping[str, str]) -> Markup:
    options = Markup("").join(_BANK.format(code=code, name=name) for code, name in banks.items())
    return _CHOICE.format(banks=options) if banks else Markup("")


def yuan(amount_fen: int) -> str:
    """`¥1,234.56`."""
    return f"¥{amount_fen // 100:,}.{amount_fen % 100:02d}"


def _cards(orders: list[Order], *, empty: str) -> Markup:
    if not orders:
        return Markup('<p class="empty">{text}</p>').format(text=empty)
    cards = [
        _CARD.format(
            amount=yuan(order.amount_fen if order.paid_fen is None else order.paid_fen),
            subject=order.subject,
            state=order.state.lower(),
            state_words=STATES[order.state],
            channel=CHANNELS.get(order.channel, order.channel),
            created=_time(order.created_at),
            attempt_no=order.attempt_no,
            button=_SCAN_BUTTON.format(code=order.code) if order.state == "OPEN" else Markup(""),
        )
        for order in orders
    ]
    return Markup('<ul class="cards">\n{cards}\n</ul>').format(cards=Markup("\n").join(cards))


def _transfer_cards(waiting: list[Payout]) -> Markup:
    if not waiting:
        return Markup('<p class="empty">没有待确认的转账。 · No transfer waits for its payee.</p>')
    cards = [_TRANSFER_CARD.format(**_transfer_facts(payout), code=payout.code) for payout in waiting]
    return Markup('<ul class="cards">\n{cards}\n</ul>').format(cards=Markup("\n").join(cards))


def _transfer_facts(payout: Payout) -> dict[str, str]:
    return {
        "amount": yuan(payout.amount_fen),
        "remark": payout.remark,
        "state": payout.state.lower(),
        "state_words": TRANSFER_STATES[payout.state],
        "channel": CHANNELS.get(payout.channel, payout.channel),
        "created": _time(payout.created_at),
        "payout_no": payout.payout_no,
    }


def _time(seconds: float) -> str:
    return f"{moment(seconds):%Y-%m-%d %H:%M:%S}"


def _page(*, title: str, content: Markup, status: int = 200) -> Response:
    return Response(
        _PAGE.format(title=title, content=content),
        status=status,
        headers=HEADERS,
        content_type="text/html; charset=utf-8",
    )
