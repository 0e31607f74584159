"""A provider of our own for the adapter's tests: keys, signatures, notices, and a server that answers what it is told.

The simulator speaks the wire format well; this one also says what no honest provider would (other merchant, wrong
currency, broken JSON under a right signature). Written from WeChat's documents, with cryptography only.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MCHID = "1900000001"
APPID = "wx0123456789abcdef"
SERIAL = "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"
PUBLIC_KEY_ID = "PUB_KEY_ID_0119000000012026112300000001"
SCENE_ID = "1005"
REPORT = [{"info_type": "岗位类型", "info_content": "员工"}, {"info_type": "报酬说明", "info_content": "提现"}]
APIV3_KEY = "0123456789abcdefghijklmnopqrstuv"


def pem_private(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def pem_public(key: rsa.RSAPrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def sign(key: rsa.RSAPrivateKey, message: bytes) -> str:
    return base64.b64encode(key.sign(message, padding.PKCS1v15(), hashes.SHA256())).decode()


@dataclass(frozen=True)
class SeenRequest:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Reply:
    """`status`, JSON `data` (or raw `text`, or `content` that is no JSON); `signature`: right, wrong, or none.

    `delay_seconds` before answering.
    """

    status: int = 200
    data: Any = None
    text: str | None = None
    content: bytes | None = None
    signature: str = "right"
    delay_seconds: float = 0.0

    def body(self) -> bytes:
        if self.content is not None:
            return self.content
        if self.text is not None:
            return self.text.encode()
        return b"" if self.data is None else json.dumps(self.data, ensure_ascii=False).encode()


@dataclass
class Provider:
    """Both parties' keys, and the server. Requests are kept in `seen`.

    `replies` are given one by one, then `reply` to every request.
    """

    directory: Path
    merchant_key: rsa.RSAPrivateKey
    platform_key: rsa.RSAPrivateKey
    reply: Reply = field(default_factory=Reply)
    replies: list[Reply] = field(default_factory=list)
    seen: list[SeenRequest] = field(default_factory=list)
    url: str = ""
    _server: ThreadingHTTPServer | None = None

    @classmethod
    def create(cls, directory: Path) -> Provider:
        made = cls(
            directory=directory,
            merchant_key=rsa.generate_private_key(public_exponent=65537, key_size=2048),
            platform_key=rsa.generate_private_key(public_exponent=65537, key_size=2048),
        )
        (directory / "merchant.pem").write_text(pem_private(made.merchant_key), encoding="ascii")
        (directory / "platform.pem").write_text(pem_public(made.platform_key), encoding="ascii")
        made.credentials_file.write_text(
            json.dumps(
                {
                    "mchid": MCHID,
                    "appid": APPID,
                    "merchant_serial_no": SERIAL,
                    "merchant_private_key_file": "merchant.pem",
                    "apiv3_key": APIV3_KEY,
                    "platform_public_key_id": PUBLIC_KEY_ID,
                    "platform_public_key_file": "platform.pem",
                    "transfer_scene_id": SCENE_ID,
                    "transfer_scene_report_infos": REPORT,
                }
            ),
            encoding="utf-8",
        )
        return made

    @property
    def credentials_file(self) -> Path:
        return self.directory / "credentials.json"

    # --- signatures and notices ---

    def signed_headers(
        self, body: bytes, *, timestamp: int | None = None, key: rsa.RSAPrivateKey | None = None
    ) -> dict[str, str]:
        moment = str(int(time.time()) if timestamp is None else timestamp)
        nonce = secrets.token_hex(16)
        message = f"{moment}\n{nonce}\n".encode() + body + b"\n"
        return {
            "Wechatpay-Timestamp": moment,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Signature": sign(key or self.platform_key, message),
            "Wechatpay-Serial": PUBLIC_KEY_ID,
            "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
            "Content-Type": "application/json",
        }

    def notice(
        self,
        data: Any,
        *,
        event_type: str = "TRANSACTION.SUCCESS",
        event_id: str = "",
        now: dt.datetime | None = None,
        key: rsa.RSAPrivateKey | None = None,
        apiv3_key: str = APIV3_KEY,
        envelope: Mapping[str, Any] | None = None,
        resource: Mapping[str, Any] | None = None,
    ) -> tuple[dict[str, str], bytes]:
        """Signed headers and body of a notice with encrypted `data`; `envelope` and `resource` override fields."""
        nonce, associated = secrets.token_hex(6), "transaction"
        plain = data if isinstance(data, bytes) else json.dumps(data, ensure_ascii=False).encode()
        sealed = AESGCM(apiv3_key.encode()).encrypt(nonce.encode(), plain, associated.encode())
        content = {
            "id": event_id or secrets.token_hex(16),
            "create_time": "2026-11-23T10:00:00+08:00",
            "resource_type": "encrypt-resource",
            "event_type": event_type,
            "summary": "支付成功",
            "resource": {
                "original_type": "transaction",
                "algorithm": "AEAD_AES_256_GCM",
                "ciphertext": base64.b64encode(sealed).decode(),
                "associated_data": associated,
                "nonce": nonce,
                **(resource or {}),
            },
            **(envelope or {}),
        }
        body = json.dumps(content, ensure_ascii=False).encode()
        return self.signed_headers(body, timestamp=int(now.timestamp()) if now else None, key=key), body

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
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.seen.append(SeenRequest(handler.command, handler.path, dict(handler.headers.items()), body))
        reply = self.replies.pop(0) if self.replies else self.reply
        time.sleep(reply.delay_seconds)
        content = reply.body()
        headers = {} if reply.signature == "none" else self.signed_headers(content)
        if reply.signature == "wrong":
            headers["Wechatpay-Signature"] = sign(self.merchant_key, b"something else")
        try:
            handler.send_response(reply.status)
            kind = "application/json; charset=utf-8" if reply.content is None else "application/octet-stream"
            for name, value in {**headers, "Content-Type": kind}.items():
                handler.send_header(name, value)
            if reply.status != 204:
                handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            return  # the client did not wait: that is what the test is about

    def request_is_signed_by_merchant(self, request: SeenRequest) -> bool:
        """Checks the Authorization header as WeChat does; raises InvalidSignature when it is wrong."""
        scheme, _, rest = request.headers["Authorization"].partition(" ")
        parts = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        message = f"{request.method}\n{request.path}\n{parts['timestamp']}\n{parts['nonce_str']}\n".encode()
        self.merchant_key.public_key().verify(
            base64.b64decode(parts["signature"]), message + request.body + b"\n", padding.PKCS1v15(), hashes.SHA256()
        )
        return scheme == "WECHATPAY2-SHA256-RSA2048" and (parts["mchid"], parts["serial_no"]) == (MCHID, SERIAL)


def transaction_data(**changes: Any) -> dict[str, Any]:
    """A paid transaction as query and notice carry it."""
    return {
        "appid": APPID,
        "mchid": MCHID,
        "out_trade_no": "RC100010001202611231000000010001",
        "transaction_id": "4200001234202611231234567890",
        "trade_type": "NATIVE",
        "trade_state": "SUCCESS",
        "trade_state_desc": "支付成功",
        "bank_type": "OTHERS",
        "attach": "",
        "success_time": "2026-11-23T10:00:05+08:00",
        "payer": {"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"},
        "amount": {"total": 8888, "payer_total": 8888, "currency": "CNY", "payer_currency": "CNY"},
        **changes,
    }


def refund_data(**changes: Any) -> dict[str, Any]:
    """A refund as the API answers it."""
    return {
        "refund_id": "50000000382019052709732678859",
        "out_refund_no": "RX100010001202611231000000010002",
        "transaction_id": "4200001234202611231234567890",
        "out_trade_no": "RC100010001202611231000000010001",
        "channel": "ORIGINAL",
        "user_received_account": "招商银行信用卡0403",
        "success_time": "2026-11-23T11:00:05+08:00",
        "create_time": "2026-11-23T11:00:00+08:00",
        "status": "SUCCESS",
        "amount": {"total": 8888, "refund": 3000, "payer_total": 8888, "payer_refund": 3000, "currency": "CNY"},
        **changes,
    }


def refund_notice_data(**changes: Any) -> dict[str, Any]:
    """A refund as its notice carries it: `refund_status`, no currency, no appid."""
    return {
        "mchid": MCHID,
        "transaction_id": "4200001234202611231234567890",
        "out_trade_no": "RC100010001202611231000000010001",
        "refund_id": "50000000382019052709732678859",
        "out_refund_no": "RX100010001202611231000000010002",
        "refund_status": "SUCCESS",
        "success_time": "2026-11-23T11:00:05+08:00",
        "user_received_account": "招商银行信用卡0403",
        "amount": {"total": 8888, "refund": 3000, "payer_total": 8888, "payer_refund": 3000},
        **changes,
    }


def transfer_data(**changes: Any) -> dict[str, Any]:
    """A transfer as the query answers it."""
    return {
        "mch_id": MCHID,
        "appid": APPID,
        "out_bill_no": "WD100010001202611231000000010003",
        "transfer_bill_no": "1330000071100999991182020050700019480001",
        "state": "SUCCESS",
        "transfer_amount": 5000,
        "transfer_remark": "提现",
        "openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
        "create_time": "2026-11-23T12:00:00+08:00",
        "update_time": "2026-11-23T12:00:09+08:00",
        **changes,
    }


def transfer_notice_data(**changes: Any) -> dict[str, Any]:
    """A transfer as its notice carries it: `mchid`, no appid."""
    data = {name: value for name, value in transfer_data().items() if name not in ("mch_id", "appid")}
    return {**data, "mchid": MCHID, **changes}
