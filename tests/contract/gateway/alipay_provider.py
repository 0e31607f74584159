"""An Alipay of our own for the adapter's tests: keys, signatures, notices, and a server that answers what it is told.

The simulator speaks the wire format well; this one also says what no honest provider would. Written from Alipay's
documents, with cryptography only.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from gateway.adapters.alipay import AlipayAdapter, AlipayConfig
from simulator.alipay import keys as alipay_keys
from simulator.keyfiles import load_private, load_public
from tests.contract.gateway.provider import sign

TIMEOUT_SECONDS = 0.6
NOW = dt.datetime(2026, 11, 23, 2, 0, 10, tzinfo=dt.UTC)
ATTEMPT_NO = "RC100010001202611231000000010001"
REFUND_NO = "RX100010001202611231000000010002"
PAYOUT_NO = "WD100010001202611231000000010003"
TRADE_NO = "2026112322001412345678901234"


@dataclass(frozen=True)
class Seen:
    method: str
    parameters: Mapping[str, str]

    @property
    def content(self) -> dict[str, Any]:
        return dict(json.loads(self.parameters["biz_content"]))


@dataclass
class Reply:
    """`node`: the signed content (or raw `text`); `signature`: right, wrong or none; `delay_seconds` before it."""

    node: Any = None
    text: str | None = None
    status: int = 200
    signature: str = "right"
    delay_seconds: float = 0.0
    name: str = ""


@dataclass
class AlipayProvider:
    """Both parties' keys, and the server. `reply` is given to every request; requests are kept in `seen`."""

    directory: Path
    app_id: str
    seller_id: str
    key: rsa.RSAPrivateKey
    app_key: rsa.RSAPublicKey
    reply: Reply = field(default_factory=Reply)
    seen: list[Seen] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    url: str = ""
    _server: ThreadingHTTPServer | None = None

    @classmethod
    def create(cls, directory: Path) -> AlipayProvider:
        path = alipay_keys.initialise(directory=directory)
        held = json.loads(path.read_text(encoding="ascii"))
        return cls(
            directory=directory,
            app_id=held["app_id"],
            seller_id=held["seller_id"],
            key=load_private(directory / held["alipay_private_key_file"]),
            app_key=load_public(directory / held["app_public_key_file"]),
        )

    @property
    def credentials_file(self) -> Path:
        return self.directory / "alipay.json"

    def adapter(self, **changes: Any) -> AlipayAdapter:
        values: dict[str, Any] = {
            "gateway_url": f"{self.url}/gateway.do",
            "credentials_file": str(self.credentials_file),
            "timeout_seconds": TIMEOUT_SECONDS,
            **changes,
        }
        return AlipayAdapter(AlipayConfig(**values))

    # --- notices ---

    def signed_body(
        self, parameters: Mapping[str, str], *, key: rsa.RSAPrivateKey | None = None, skip_empty: bool = False
    ) -> bytes:
        """A form as Alipay posts it: signature over the decoded values, sorted, without sign and sign_type."""
        signed = "&".join(f"{name}={value}" for name, value in sorted(parameters.items()) if value or not skip_empty)
        signature = sign(key or self.key, signed.encode())
        return urlencode({**parameters, "sign_type": "RSA2", "sign": signature}).encode()

    def notice(self, **changes: str | None) -> dict[str, str]:
        """The parameters of a paid trade's notice; None removes one."""
        values: dict[str, str | None] = {
            "notify_type": "trade_status_sync",
            "notify_id": "2026112301222100010123456789012345",
            "notify_time": "2026-11-23 10:00:09",
            "charset": "utf-8",
            "version": "1.0",
            "app_id": self.app_id,
            "auth_app_id": self.app_id,
            "seller_id": self.seller_id,
            "subject": "充值 88.88 元 + 1",
            "out_trade_no": ATTEMPT_NO,
            "trade_no": TRADE_NO,
            "trade_status": "TRADE_SUCCESS",
            "total_amount": "88.88",
            "receipt_amount": "88.88",
            "gmt_create": "2026-11-23 09:59:59",
            "gmt_payment": "2026-11-23 10:00:05",
            **changes,
        }
        return {name: value for name, value in values.items() if value is not None}

    # --- the server ---

    def start(self) -> None:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider._answer(self)

            def do_POST(self) -> None:
                provider._answer(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        if parts.path in self.files:
            self._send(handler, 200, self.files[parts.path])
            return
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0)).decode()
        parameters = dict(parse_qsl(parts.query, keep_blank_values=True) + parse_qsl(body, keep_blank_values=True))
        self.seen.append(Seen(handler.command, parameters))
        time.sleep(self.reply.delay_seconds)
        self._send(handler, self.reply.status, self._body(parameters.get("method", "")).encode())

    def _body(self, method: str) -> str:
        reply = self.reply
        if reply.text is not None:
            return reply.text
        node = json.dumps(reply.node, ensure_ascii=False, separators=(",", ":"))
        name = reply.name or method.replace(".", "_") + "_response"
        if reply.signature == "none":
            return f'{{"{name}":{node}}}'
        signature = sign(self.key, node.encode() if reply.signature == "right" else b"something else")
        return f'{{"{name}":{node},"sign":"{signature}"}}'

    @staticmethod
    def _send(handler: BaseHTTPRequestHandler, status: int, content: bytes) -> None:
        try:
            handler.send_response(status)
            handler.send_header("Content-Type", "text/html;charset=utf-8")
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            return  # the client did not wait: that is what the test is about

    def assert_signed_by_app(self, parameters: Mapping[str, str]) -> None:
        """Raises InvalidSignature unless the merchant signed all parameters with a value but `sign`."""
        text = "&".join(f"{name}={value}" for name, value in sorted(parameters.items()) if value and name != "sign")
        self.app_key.verify(base64.b64decode(parameters["sign"]), text.encode(), padding.PKCS1v15(), hashes.SHA256())


DONE = {"code": "10000", "msg": "Success"}


def trade_node(**changes: Any) -> dict[str, Any]:
    """A paid trade as the query answers it."""
    return {
        **DONE,
        "out_trade_no": ATTEMPT_NO,
        "trade_no": TRADE_NO,
        "trade_status": "TRADE_SUCCESS",
        "total_amount": "88.88",
        "send_pay_date": "2026-11-23 10:00:05",
        "buyer_logon_id": "sim***@sandbox.com",
        **changes,
    }


def refund_node(**changes: Any) -> dict[str, Any]:
    """A refund as its call answers it."""
    return {
        **DONE,
        "out_trade_no": ATTEMPT_NO,
        "trade_no": TRADE_NO,
        "fund_change": "Y",
        "refund_fee": "30.00",
        "gmt_refund_pay": "2026-11-23 11:00:05",
        **changes,
    }


def refund_query_node(**changes: Any) -> dict[str, Any]:
    """A refund as its query answers it."""
    return {
        **DONE,
        "out_trade_no": ATTEMPT_NO,
        "trade_no": TRADE_NO,
        "out_request_no": REFUND_NO,
        "refund_amount": "30.00",
        "total_amount": "88.88",
        "refund_status": "REFUND_SUCCESS",
        "gmt_refund_pay": "2026-11-23 11:00:05",
        **changes,
    }


def payout_node(**changes: Any) -> dict[str, Any]:
    """A transfer as its query answers it."""
    return {
        **DONE,
        "out_biz_no": PAYOUT_NO,
        "order_id": "20261123110070001506000012345678",
        "pay_fund_order_id": "20261123110070001506000012345678",
        "status": "SUCCESS",
        "trans_amount": "50.00",
        "pay_date": "2026-11-23 12:00:05",
        "trans_date": "2026-11-23 12:00:05",
        **changes,
    }


def failure_node(code: str, sub_code: str = "", sub_msg: str = "拒绝") -> dict[str, Any]:
    return {"code": code, "msg": "Business Failed", **({"sub_code": sub_code} if sub_code else {}), "sub_msg": sub_msg}
