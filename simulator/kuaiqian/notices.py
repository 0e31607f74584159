"""Composes notices: a signed GET for a payment, a sealed POST for a payout; falsifies them when a fault asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from simulator.books import Notice
from simulator.clock import moment
from simulator.kuaiqian import wire
from simulator.kuaiqian.keys import KuaiqianCredentials
from simulator.world import OutgoingMessage

PAYMENT_FIELDS = (
    *("merchantAcctId", "version", "language", "signType", "payType", "bankId", "orderId", "orderTime"),
    *("orderAmount", "bindCard", "bindMobile", "dealId", "bankDealId", "dealTime", "payAmount", "fee"),
    *("ext1", "ext2", "payResult", "aggregatePay", "errCode"),
)
"""In the order in which they are signed; the books keep no order."""
PAYOUT_FIELDS = (
    *("membercode", "merchant_id", "apply_date", "order_seq_id", "fee", "status", "error_code", "error_msg", "amt"),
    *("bank", "name", "bank_card_no", "end_date"),
)
PAYMENT_EVENT = "PAYMENT"
PAYOUT_EVENT = "PAYOUT"
STALE_SECONDS = 30 * 86_400.0
"""How long ago the deal of a stale message was made; nothing else in it tells its age."""
ACCEPTED = "<result>1</result>"


def compose(*, credentials: KuaiqianCredentials, notice: Notice, mode: str) -> OutgoingMessage:
    """`mode`: genuine, signature, amount, stale or truncate; signtest, which 99bill has not, is a wrong signature."""
    order = PAYOUT_FIELDS if notice.event == PAYOUT_EVENT else PAYMENT_FIELDS
    content = {name: str(notice.content[name]) for name in order}
    if notice.event == PAYOUT_EVENT:
        return _payout(credentials, notice.url, content, mode)
    return _payment(credentials, notice, content, mode)


def _payment(credentials: KuaiqianCredentials, notice: Notice, content: dict[str, str], mode: str) -> OutgoingMessage:
    if mode == "amount":
        content["payAmount"] = str(int(content["payAmount"]) + 1)
    if mode == "stale":
        content["dealTime"] = f"{moment(notice.created_at - STALE_SECONDS):%Y%m%d%H%M%S}"
    signed = {**content, "orderId": "another"} if mode in ("signature", "signtest") else content
    query = urlencode({**content, "signMsg": _signature(credentials, signed)})
    if mode == "truncate":
        query = query[: len(query) // 2]
    return OutgoingMessage(
        method="GET",
        url=f"{notice.url}{'&' if '?' in notice.url else '?'}{query}",
        headers={"User-Agent": "Mozilla/4.0", "Accept": "*/*"},
        body=b"",
    )


def _signature(credentials: KuaiqianCredentials, content: Mapping[str, str]) -> str:
    text = wire.text_of(content, PAYMENT_FIELDS)
    if not credentials.is_pki:
        return wire.md5(f"{text}&key={credentials.gateway_key}")
    return wire.sign(key=credentials.platform_private_key, hash_name=credentials.hash_name, content=text.encode())


def _payout(credentials: KuaiqianCredentials, url: str, content: dict[str, str], mode: str) -> OutgoingMessage:
    if mode == "amount":
        content["amt"] = str(int(content["amt"]) + 1)
    plain = (wire.DECLARATION + wire.element("pay2BankNotify", wire.leaves_of(content))).encode()
    sealed = wire.seal(
        own=credentials.platform_private_key,
        other=credentials.merchant_public_key,
        hash_name=credentials.payout_hash_name,
        plain=plain,
        signed=b"another message" if mode in ("signature", "signtest") else None,
    )
    head = wire.leaves_of({"version": "1.0", "memberCode": credentials.member_code})
    body = (
        wire.DECLARATION
        + wire.element("notifyRequest", wire.element("notifyHead", head), wire.element("notifyRequestBody", sealed))
    ).encode()
    return OutgoingMessage(
        method="POST",
        url=url,
        headers={"Content-Type": "text/xml;charset=utf-8", "User-Agent": "Mozilla/4.0"},
        body=body[: len(body) // 2] if mode == "truncate" else body,
    )


def is_accepted(*, credentials: KuaiqianCredentials, status: int, body: str) -> bool:
    """`<result>1</result>` with an address behind, or a sealed answer that says isReceived 1; 200 in any case."""
    if status != 200:
        return False
    if body.lstrip().startswith("<?xml"):
        return _is_receipt(credentials, body)
    return body.startswith(f"{ACCEPTED}<redirecturl>") and body.endswith("</redirecturl>")


def _is_receipt(credentials: KuaiqianCredentials, body: str) -> bool:
    try:
        head, content = wire.only(wire.parse(body.encode()), "notifyHead", "notifyResponseBody")
        sealed, received = wire.only(content, "sealDataType", "isReceived")
        wire.unseal(
            own=credentials.platform_private_key,
            other=credentials.merchant_public_key,
            hash_name=credentials.payout_hash_name,
            sealed=sealed,
        )
        member = wire.leaves(head, ("version", "memberCode"))["memberCode"]
    except wire.Unreadable:
        return False
    return member == credentials.member_code and received.text == "1"
