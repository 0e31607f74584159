"""The payer's browser at the gateway: what it carries was signed by the merchant."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from markupsafe import Markup
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from simulator import desk
from simulator.books import Order
from simulator.kuaiqian import codes, fields, wire
from simulator.kuaiqian.fields import Refusal
from simulator.kuaiqian.keys import KuaiqianCredentials
from simulator.world import World

CHANNEL = "kuaiqian"
CHANGING = frozenset({"signMsg", "orderTime", "orderTimeOut"})
"""May differ when an unpaid order arrives again (redoFlag 0)."""
_ERROR = Markup(
    '<!doctype html>\n<html lang="zh-CN"><head><meta charset="utf-8"><title>快钱 99bill</title>'
    '<link rel="stylesheet" href="/static/style.css"></head><body><main><p class="message" role="alert">'
    'errCode={code} {text}</p><p><a class="back" href="/">返回 · Back</a></p></main></body></html>\n'
)
_REFUSALS: Mapping[type[desk.Refused], tuple[str, str]] = {
    desk.OrderPaid: ("30001", "订单已支付 / the order is paid"),
    desk.OrderClosed: ("30002", "订单已超时 / the time of the order is over"),
    desk.NumberReused: ("30003", "订单号重复 / the number belongs to another order"),
}


def handle(*, world: World, credentials: KuaiqianCredentials, request: Request, is_mobile: bool) -> Response:
    """A form or a link opened in a browser: on to the cashier's page, or an error page."""
    values = request.form if request.method == "POST" else request.args
    try:
        order = arrive(world=world, credentials=credentials, values=values.to_dict(), is_mobile=is_mobile)
    except Refusal as refusal:
        page = _ERROR.format(code=refusal.code, text=str(refusal))
        return Response(page, status=400, content_type="text/html; charset=utf-8")
    return redirect(f"/pay?{urlencode({'code_url': order.code})}", code=303)


def arrive(*, world: World, credentials: KuaiqianCredentials, values: Mapping[str, str], is_mobile: bool) -> Order:
    """The order, placed by its first arrival. Raises Refusal."""
    given = dict(values)
    if extra := set(given) - {*fields.REQUEST_FIELDS, "signMsg"}:
        raise Refusal("10001", f"unknown fields: {', '.join(sorted(extra))}")
    _verify(credentials, given)
    if given.get("merchantAcctId") != credentials.account_id:
        raise Refusal("10002", "merchantAcctId is not that of a merchant")
    wanted = fields.read_arrival(given, is_mobile=is_mobile, now=world.clock.seconds())
    known = world.books.find_order(channel=CHANNEL, attempt_no=wanted.order_id)
    if known is not None:
        if _lasting(known.parameters) != _lasting(given):
            raise _refused(desk.NumberReused())
        return known
    if wanted.expires_at <= world.clock.seconds():
        raise _refused(desk.OrderClosed())
    try:
        return desk.place_order(
            world=world,
            wanted=desk.OrderRequest(
                channel=CHANNEL,
                attempt_no=wanted.order_id,
                code=codes.new_code(),
                subject=wanted.subject,
                amount_fen=wanted.amount_fen,
                notify_url=wanted.notify_url,
                parameters=given,
                expires_at=wanted.expires_at,
            ),
        )
    except desk.Refused as error:  # two browsers at once
        raise _refused(error) from error


def _refused(error: desk.Refused) -> Refusal:
    return Refusal(*_REFUSALS[type(error)])


def _lasting(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value and name not in CHANGING}


def _verify(credentials: KuaiqianCredentials, given: Mapping[str, str]) -> None:
    if given.get("signType") != ("4" if credentials.is_pki else "1"):
        raise Refusal("10004", "signType is not what was agreed")
    text, signature = wire.text_of(given, fields.REQUEST_FIELDS), given.get("signMsg", "")
    if credentials.is_pki:
        is_right = wire.is_signed(
            key=credentials.merchant_public_key,
            hash_name=credentials.hash_name,
            content=text.encode("utf-8", "surrogatepass"),
            signature=signature,
        )
    else:
        is_right = wire.md5(f"{text}&key={credentials.gateway_key}") == signature.upper()
    if not is_right:
        raise Refusal("20001", "验签失败 / wrong signature")
