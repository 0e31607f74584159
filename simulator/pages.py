"""Pages for a person who plays the payer: open orders, one order with pay and decline. HTML, no scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlencode

from markupsafe import Markup
from werkzeug.routing import Rule as Route
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from simulator import desk
from simulator.books import Order
from simulator.clock import moment
from simulator.control import ControlRefused, pay
from simulator.world import Channel, World

OPEN_LIMIT = 100
DONE_LIMIT = 20
STYLE_FILE = Path(__file__).parent / "static" / "style.css"
STATES = {"OPEN": "待支付 · Open", "PAID": "已支付 · Paid", "CLOSED": "已关闭 · Closed"}
CHANNELS = {"wechat": "微信支付 · WeChat Pay"}
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
    '<button class="quiet">打开 · Open</button></form>\n<h2>最近完成 · Recently finished</h2>\n{done}'
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
    '<form action="/pay" method="post"><input type="hidden" name="code_url" value="{code}">'
    '<button name="action" value="pay">确认支付 · Pay {amount}</button>'
    '<button class="quiet" name="action" value="decline">放弃支付 · Decline</button></form>'
)
_MESSAGE = Markup('<p class="message" role="status">{text}</p>')
_BACK = Markup('<p><a class="back" href="/">返回订单列表 · Back to the orders</a></p>')

MESSAGES = {
    "paid": "支付成功，商户将收到通知。 · Paid. The merchant will be notified.",
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
            "style": lambda request: Response(self._style, content_type="text/css; charset=utf-8"),
        }

    def routes(self) -> list[Route]:
        return [
            Route("/", methods=["GET"], endpoint="pages.list"),
            Route("/pay", methods=["GET"], endpoint="pages.order"),
            Route("/pay", methods=["POST"], endpoint="pages.act"),
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
        content = _LIST.format(
            open=_cards(open_orders, empty="没有待支付的订单。 · No order waits for a payment."),
            done=_cards(done, empty="还没有。 · None yet."),
        )
        return _page(title="待支付订单 · Open orders", content=content)

    def _show(self, request: Request) -> Response:
        order = self._order(request.args.get("code_url", ""))
        message = MESSAGES.get(request.args.get("result", ""), "")
        buttons = Markup("")
        if order.state == "OPEN":
            try:
                desk.check_payable(order=order, now=self._world.clock.seconds())
                buttons = _PAY_BUTTONS.format(code=order.code, amount=yuan(order.amount_fen))
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
        return _page(title=f"{yuan(order.amount_fen)} {order.subject}", content=content + _BACK)

    def _act(self, request: Request) -> Response:
        code, action = request.form.get("code_url", ""), request.form.get("action")
        order = self._order(code)
        if action == "pay":
            pay(world=self._world, channel=self._channels[order.channel], code=code, amount_fen=None)
        elif action != "decline":
            raise ControlRefused(status=400, message="未知操作 / unknown action")
        result = "paid" if action == "pay" else "declined"
        response = redirect(f"/pay?{urlencode({'code_url': code, 'result': result})}", code=303)
        response.headers.extend(HEADERS)
        return response

    def _order(self, code: str) -> Order:
        try:
            return desk.get_order_by_code(world=self._world, code=code)
        except desk.UnknownOrder as error:
            raise ControlRefused(status=404, message="无此订单 / no order has this code") from error


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


def _time(seconds: float) -> str:
    return f"{moment(seconds):%Y-%m-%d %H:%M:%S}"


def _page(*, title: str, content: Markup, status: int = 200) -> Response:
    return Response(
        _PAGE.format(title=title, content=content),
        status=status,
        headers=HEADERS,
        content_type="text/html; charset=utf-8",
    )
