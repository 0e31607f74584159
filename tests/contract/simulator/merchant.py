"""The merchant's side of these tests: the real SDK, a receiver of notices, and hand-made requests."""

from __future__ import annotations

import base64
import copy
import functools
import json
import queue
import secrets
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from wechatpayv3 import WeChatPay, WeChatPayType

WAIT_SECONDS = 5.0


def credentials(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "credentials.json").read_text())


def build_client(directory: Path, url: str, **changed: str) -> WeChatPay:
    """The SDK in public-key mode, as the platform uses it; `changed` replaces arguments."""
    held = credentials(directory)
    arguments = {
        "mchid": held["mchid"],
        "private_key": (directory / held["merchant_private_key_file"]).read_text(),
        "cert_serial_no": held["merchant_serial_no"],
        "appid": held["appid"],
        "apiv3_key": held["apiv3_key"],
        "public_key": (directory / held["platform_public_key_file"]).read_text(),
        "public_key_id": held["platform_public_key_id"],
        **changed,
    }
    made = _made_client(tuple(sorted(arguments.items())))
    client = copy.copy(made)
    client._core = copy.copy(made._core)
    client._core._gate_way = url
    return client


@functools.cache
def _made_client(arguments: tuple[tuple[str, str], ...]) -> WeChatPay:
    """Loading a key takes longer than most tests here; a test works on a copy."""
    return WeChatPay(wechatpay_type=WeChatPayType.NATIVE, timeout=(3, 10), **dict(arguments))


@dataclass(frozen=True, kw_only=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes
    at: float


class Receiver:
    """Takes notices; `statuses` are used up one by one, then 204. `delay_seconds` before each answer."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.delay_seconds = 0.0
        self.received: queue.Queue[Received] = queue.Queue()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = dict(self.headers.items())
                status = receiver.statuses.pop(0) if receiver.statuses else 204
                receiver.received.put(Received(path=self.path, headers=headers, body=body, at=time.monotonic()))
                time.sleep(receiver.delay_seconds)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def next(self) -> Received:
        """The next notice; fails the test when none comes."""
        return self.received.get(timeout=WAIT_SECONDS)

    def is_silent(self, seconds: float) -> bool:
        time.sleep(seconds)
        return self.received.empty()


class Merchant:
    """One merchant against one running simulator."""

    def __init__(self, *, directory: Path, url: str, receiver: Receiver) -> None:
        self.directory = directory
        self.url = url
        self.receiver = receiver
        self.held = credentials(directory)
        self.sdk = build_client(directory, url)
        self._key = load_pem_private_key(
            (directory / self.held["merchant_private_key_file"]).read_bytes(), None, unsafe_skip_rsa_key_validation=True
        )
        self._platform_key = load_pem_public_key((directory / self.held["platform_public_key_file"]).read_bytes())

    # --- Through the SDK ----------------------------------------------------------------------------------------------

    def native(self, attempt_no: str, total: int = 100, **more: Any) -> tuple[int, dict[str, Any]]:
        status, text = self.sdk.pay(
            **{
                "description": "充值 / recharge",
                "out_trade_no": attempt_no,
                "amount": {"total": total, "currency": "CNY"},
                "notify_url": f"{self.receiver.url}/notify/wechat",
                **more,
            }
        )
        return status, json.loads(text)

    def query(self, attempt_no: str) -> tuple[int, dict[str, Any]]:
        status, text = self.sdk.query(out_trade_no=attempt_no)
        return status, json.loads(text)

    def close(self, attempt_no: str) -> tuple[int, Any]:
        status, text = self.sdk.close(attempt_no)
        return status, json.loads(text) if text else None

    def refund(
        self, refund_no: str, attempt_no: str, refund: int, total: int, **more: Any
    ) -> tuple[int, dict[str, Any]]:
        status, text = self.sdk.refund(
            **{
                "out_refund_no": refund_no,
                "out_trade_no": attempt_no,
                "amount": {"refund": refund, "total": total, "currency": "CNY"},
                "notify_url": f"{self.receiver.url}/notify/wechat/refund",
                **more,
            }
        )
        return status, json.loads(text)

    def query_refund(self, refund_no: str) -> tuple[int, dict[str, Any]]:
        status, text = self.sdk.query_refund(refund_no)
        return status, json.loads(text)

    def transfer(self, payout_no: str, amount: int = 100, **more: Any) -> tuple[int, dict[str, Any]]:
        status, text = self.sdk.mch_transfer_bills(
            **{
                "out_bill_no": payout_no,
                "transfer_scene_id": self.held["transfer_scene_id"],
                "openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
                "transfer_amount": amount,
                "transfer_remark": "提现",
                "transfer_scene_report_infos": self.held["transfer_scene_report_infos"],
                "notify_url": f"{self.receiver.url}/notify/wechat/payout",
                **more,
            }
        )
        return status, json.loads(text)

    def query_transfer(self, payout_no: str) -> tuple[int, dict[str, Any]]:
        status, text = self.sdk.mch_transfer_bills_query(out_bill_no=payout_no)
        return status, json.loads(text)

    def cancel_transfer(self, payout_no: str) -> tuple[int, dict[str, Any]]:
        status, text = self.sdk.mch_transfer_bills_cancel(payout_no)
        return status, json.loads(text)

    def confirm(self, package: str, status: int = 200) -> dict[str, Any]:
        payment = {
            "kind": "confirm",
            "mchId": self.held["mchid"],
            "appId": self.held["appid"],
            "package": package,
        }
        return self.control("POST", "pay", {"payment": payment}, status=status)

    def wait_transfer(self, payout_no: str, state: str) -> dict[str, Any]:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            _, answer = self.query_transfer(payout_no)
            if answer["state"] == state:
                return answer
            assert time.monotonic() < deadline, answer
            time.sleep(0.02)

    def open(self, received: Received) -> Any:
        return self.sdk.callback(received.headers, received.body)

    # --- By hand ------------------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        signed_body: bytes | None = None,
        signed_target: str | None = None,
        nonce: str | None = None,
        age_seconds: int = 0,
        authorization: str | None = None,
        **changed: str,
    ) -> requests.Response:
        """A request signed without the SDK; the arguments falsify one part each."""
        timestamp, nonce = int(time.time()) - age_seconds, nonce or secrets.token_hex(16)
        head = f"{method}\n{signed_target or target}\n{timestamp}\n{nonce}\n".encode()
        message = head + (body if signed_body is None else signed_body) + b"\n"
        signature = base64.b64encode(self._key.sign(message, PKCS1v15(), SHA256())).decode()
        parts = {
            "serial_no": self.held["merchant_serial_no"],
            "timestamp": str(timestamp),
            "signature": signature,
            "nonce_str": nonce,
            "mchid": self.held["mchid"],
            **changed,
        }
        listed = ",".join(f'{name}="{value}"' for name, value in parts.items())
        return requests.request(
            method,
            self.url + target,
            data=body,
            headers={"Authorization": authorization or f"WECHATPAY2-SHA256-RSA2048 {listed}"},
            timeout=WAIT_SECONDS,
        )

    def assert_signed(self, answer: requests.Response) -> None:
        """Raises InvalidSignature when the answer is not signed by the platform over exactly its body."""
        headers = answer.headers
        assert headers["Wechatpay-Serial"] == self.held["platform_public_key_id"]
        assert headers["Wechatpay-Signature-Type"] == "WECHATPAY2-SHA256-RSA2048"
        assert abs(int(headers["Wechatpay-Timestamp"]) - time.time()) < 5
        assert headers["Request-ID"]
        head = f"{headers['Wechatpay-Timestamp']}\n{headers['Wechatpay-Nonce']}\n".encode()
        signature = base64.b64decode(headers["Wechatpay-Signature"])
        self._platform_key.verify(signature, head + answer.content + b"\n", PKCS1v15(), SHA256())

    # --- Control ------------------------------------------------------------------------------------------------------

    def control(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = requests.request(method, f"{self.url}/_sim/{path}", json=body, timeout=WAIT_SECONDS + 10)
        assert answer.status_code == status, answer.text
        return answer.json()

    def pay(self, code_url: str, status: int = 200, **more: Any) -> dict[str, Any]:
        payment = {"kind": "code_url", "code_url": code_url}
        return self.control("POST", "pay", {"payment": payment, **more}, status=status)

    def paid(self, attempt_no: str, total: int = 100, **more: Any) -> dict[str, Any]:
        """A paid order; what `/_sim/pay` answered."""
        status, answer = self.native(attempt_no, total, **more)
        assert status == 200, answer
        return self.pay(answer["code_url"])

    def faults(self, *rules: dict[str, Any], seed: int = 1) -> None:
        self.control("PUT", "faults", {"rules": list(rules), "seed": seed})

    def books(self, query: str = "") -> dict[str, Any]:
        return self.control("GET", f"books{query}")

    def wait_refund(self, refund_no: str, state: str) -> dict[str, Any]:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            _, answer = self.query_refund(refund_no)
            if answer["status"] == state:
                return answer
            assert time.monotonic() < deadline, answer
            time.sleep(0.02)
