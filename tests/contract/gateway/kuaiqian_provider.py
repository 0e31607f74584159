"""A 99bill of our own for the adapter's tests: keys, signatures, sealing, and a server that answers what it is told.

The simulator speaks the wire format well; this one also says what no honest provider would. Signatures are made here
with cryptography alone; sealing and XML are the simulator's, which shares no code with the adapter.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from gateway.adapters.kuaiqian import KuaiqianAdapter, KuaiqianConfig
from simulator.kuaiqian import wire
from tests.contract.gateway.provider import SeenRequest, pem_private, pem_public

MEMBER = "10012138842"
ACCOUNT = f"{MEMBER}01"
GATEWAY_KEY, QUERY_KEY, REFUND_KEY = "GATEWAYKEY0000AA", "QUERYKEY000000BB", "REFUNDKEY00000CC"
CARD_MERCHANT, CARD_TERMINAL, CARD_PASSWORD = "812310060510708", "00002012", "vpos123"
REDIRECT_URL = "https://pay.example.com/done?a=1&b=2"
READ_TIMEOUT_SECONDS = 0.6
ORDER_ANSWER = [
    "version",
    "signType",
    "merchantAcctId",
    "errCode",
    "currentPage",
    "pageCount",
    "pageSize",
    "recordCount",
]
ORDER_DETAIL = ["orderId", "orderAmount", "orderTime", "dealTime", "payResult", "payType", "payAmount", "fee", "dealId"]
REFUND_ANSWER = [
    "version",
    "signType",
    "merchantAcctId",
    "recordCount",
    "pageCount",
    "currentPage",
    "pageSize",
    "errCode",
]
REFUND_DETAIL = ["orderId", "rOrderId", "sequenceId", "orderAmout", "orderTime", "lastUpdateTime", "status"]
NOTICE = [
    "merchantAcctId",
    "version",
    "language",
    "signType",
    "payType",
    "bankId",
    "orderId",
    "orderTime",
    "orderAmount",
    "bindCard",
    "bindMobile",
    "dealId",
    "bankDealId",
    "dealTime",
    "payAmount",
    "fee",
    "ext1",
    "ext2",
    "payResult",
    "aggregatePay",
    "errCode",
]


@dataclass
class Reply:
    """`delay_seconds` before answering."""

    body: bytes = b""
    status: int = 200
    delay_seconds: float = 0.0


@dataclass
class Bill99:
    """Both parties' keys, and the server. `replies` are used up one by one, the last one stays."""

    directory: Path
    merchant_key: rsa.RSAPrivateKey
    platform_key: rsa.RSAPrivateKey
    replies: list[Reply] = field(default_factory=lambda: [Reply()])
    seen: list[SeenRequest] = field(default_factory=list)
    url: str = ""
    _made: dict[str, KuaiqianAdapter] = field(default_factory=dict)
    _server: ThreadingHTTPServer | None = None

    @classmethod
    def create(cls, directory: Path) -> Bill99:
        made = cls(
            directory=directory,
            merchant_key=rsa.generate_private_key(public_exponent=65537, key_size=2048),
            platform_key=rsa.generate_private_key(public_exponent=65537, key_size=2048),
        )
        (directory / "merchant.pem").write_text(pem_private(made.merchant_key), encoding="ascii")
        (directory / "platform.pem").write_text(pem_public(made.platform_key), encoding="ascii")
        return made

    def credentials_file(self, **changes: Any) -> str:
        content = {
            "member_code": MEMBER,
            "sign_type": "4",
            "hash": "sha256",
            "payout_hash": "sha1",
            "gateway_key": GATEWAY_KEY,
            "query_key": QUERY_KEY,
            "refund_key": REFUND_KEY,
            "merchant_private_key_file": "merchant.pem",
            "platform_public_key_file": "platform.pem",
            "card_merchant_id": CARD_MERCHANT,
            "card_terminal_id": CARD_TERMINAL,
            "card_password": CARD_PASSWORD,
            **changes,
        }
        name = hashlib.sha256(repr(content).encode()).hexdigest()[:12]
        (self.directory / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        return str(self.directory / f"{name}.json")

    def adapter(self, **changes: Any) -> KuaiqianAdapter:
        """Made once for each way of asking: reading the keys takes longer than most tests."""
        key = repr((self.url, changes))
        if key not in self._made:
            self._made[key] = self._adapter(**changes)
        return self._made[key]

    def _adapter(self, **changes: Any) -> KuaiqianAdapter:
        return KuaiqianAdapter(
            KuaiqianConfig(
                base_url=self.url,
                card_base_url=self.url,
                credentials_file=self.credentials_file(**changes),
                redirect_url=REDIRECT_URL,
                connect_timeout_seconds=1.0,
                read_timeout_seconds=READ_TIMEOUT_SECONDS,
            )
        )

    # --- signatures ---

    def sign(self, text: str, *, key: rsa.RSAPrivateKey | None = None, hash_name: str = "sha256") -> str:
        digest = hashes.SHA1() if hash_name == "sha1" else hashes.SHA256()
        return base64.b64encode((key or self.platform_key).sign(text.encode(), padding.PKCS1v15(), digest)).decode()

    def query_answer(
        self, rows_name: str, rows: list[dict[str, Any]], *, head: Mapping[str, Any] | None = None, **forged: bool
    ) -> bytes:
        """A signed answer of orders (`orderDetail`) or refunds (`results`). `is_forged`, `is_row_forged`: by others."""
        is_orders = rows_name == "orderDetail"
        order, detail = (ORDER_ANSWER, ORDER_DETAIL) if is_orders else (REFUND_ANSWER, REFUND_DETAIL)
        content = {
            "version": "v2.0",
            "signType": "2",
            "merchantAcctId": ACCOUNT,
            "errCode": "",
            "currentPage": "1",
            "pageCount": "1",
            "pageSize": "20",
            "recordCount": str(len(rows)),
            **(head or {}),
        }
        row_key = self.merchant_key if forged.get("is_row_forged") else self.platform_key
        answer_key = self.merchant_key if forged.get("is_forged") else self.platform_key
        signed = [{**row, "signInfo": self.sign(self.text(row, detail), key=row_key)} for row in rows]
        signature = self.sign(self.text(content, order), key=answer_key)
        return json.dumps({**content, rows_name: signed, "signMsg": signature}, ensure_ascii=False).encode()

    @staticmethod
    def text(values: Mapping[str, Any], order: list[str], key: str = QUERY_KEY) -> str:
        parts = [f"{name}={values[name]}" for name in order if values.get(name) not in (None, "")]
        return "&".join([*parts, f"key={key}"] if key else parts)

    def sealed(self, plain: str, *, key: rsa.RSAPrivateKey | None = None, signed: bytes | None = None) -> str:
        return wire.seal(
            own=key or self.platform_key,
            other=self.merchant_key.public_key(),
            hash_name="sha1",
            plain=plain.encode(),
            signed=signed,
        )

    # --- the server ---

    def start(self) -> None:
        provider = self

        class Handler(BaseHTTPRequestHandler):
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
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        time.sleep(reply.delay_seconds)
        try:
            handler.send_response(reply.status)
            if reply.status == 302:
                handler.send_header("Location", f"{self.url}/elsewhere")
            handler.send_header("Content-Length", str(len(reply.body)))
            handler.end_headers()
            handler.wfile.write(reply.body)
        except (BrokenPipeError, ConnectionResetError):
            return  # the client did not wait: that is what the test is about


@pytest.fixture(scope="session")
def running_bill99(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bill99]:
    made = Bill99.create(tmp_path_factory.mktemp("bill99"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def bill99(running_bill99: Bill99) -> Bill99:
    running_bill99.replies = [Reply()]
    running_bill99.seen.clear()
    return running_bill99
