"""A business backend in one file, standard library only: asks for a payment and receives signed callbacks.

    python docs/examples/business_client.py --base-url http://127.0.0.1:8000 --product-id demo-shop \
        --secret SECRET --amount-fen 1250 --subject "Two coffees" --listen-port 8700 --callbacks 1

Prints one JSON line for the order and one for each callback, and ends after `--callbacks` of them. What a real backend
adds: `seen` and the business data belong in one database transaction.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import http.client
import json
import queue
import secrets
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WINDOW_SECONDS = 300
WAIT_SECONDS = 120


def signature(secret: str, method: str, target: str, timestamp: str, nonce: str, body: bytes) -> str:
    """Hex HMAC-SHA256 over five lines; `target` is the path, with `?` and the query where there is one."""
    lines = [method, target, timestamp, nonce, hashlib.sha256(body).hexdigest()]
    return hmac.new(secret.encode(), "\n".join(lines).encode(), hashlib.sha256).hexdigest()


class Platform:
    """Signed calls of the payment platform."""

    def __init__(self, base_url: str, product_id: str, secret: str) -> None:
        self.address = urllib.parse.urlsplit(base_url)
        self.product_id, self.secret = product_id, secret

    def call(self, method: str, path: str, content: Any = None, key: str = "") -> tuple[int, Any]:
        """(status, JSON); repeat a POST that got no answer with the same `key` and the same content."""
        target = f"/api/v1/{path}"
        body = b"" if content is None else json.dumps(content).encode()
        timestamp, nonce = str(int(time.time())), secrets.token_hex(16)
        headers = {
            "Content-Type": "application/json",
            "X-Pay-App": self.product_id,
            "X-Pay-Timestamp": timestamp,
            "X-Pay-Nonce": nonce,
            "X-Pay-Signature": signature(self.secret, method, target, timestamp, nonce, body),
        }
        if key:
            headers["Idempotency-Key"] = key
        is_https = self.address.scheme == "https"
        kind = http.client.HTTPSConnection if is_https else http.client.HTTPConnection
        connection = kind(self.address.hostname or "", self.address.port, timeout=30)
        try:
            connection.request(method, target, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def create_payment(self, **content: Any) -> tuple[int, Any]:
        """The business order number is the key, so that one order is never asked for twice."""
        key = hashlib.sha256(content["business_order_no"].encode()).hexdigest()
        return self.call("POST", "payments", content, key)

    def get_order(self, order_no: str) -> tuple[int, Any]:
        return self.call("GET", f"orders/{order_no}")


class Receiver:
    """Verifies callbacks; the same event may come more than once and events may overtake each other."""

    def __init__(self, product_id: str, secret: str) -> None:
        self.product_id, self.secret = product_id, secret
        self.lock = threading.Lock()
        self.nonces: dict[str, float] = {}
        self.seen: dict[str, dict[str, Any]] = {}
        self.received: queue.Queue[dict[str, Any]] = queue.Queue()

    def accept(self, method: str, target: str, headers: Any, body: bytes) -> int:
        """The status to answer: 204 when the callback is ours to keep, also when it was kept before."""
        timestamp, nonce = headers.get("X-Pay-Timestamp", ""), headers.get("X-Pay-Nonce", "")
        wanted = signature(self.secret, method, target, timestamp, nonce, body)
        given = headers.get("X-Pay-Signature", "")
        is_right = hmac.compare_digest(wanted.encode(), given.encode("utf-8", "surrogateescape"))
        if headers.get("X-Pay-App") != self.product_id or not is_right:
            return 401
        if not timestamp.isdigit() or abs(int(timestamp) - time.time()) > WINDOW_SECONDS or not self.use(nonce):
            return 401
        event = json.loads(body)
        with self.lock:
            is_repeated = event["event_id"] in self.seen
            self.seen.setdefault(event["event_id"], event)
        self.received.put({"callback": event, "repeated": is_repeated})
        return 204

    def use(self, nonce: str) -> bool:
        """False for a nonce that came within the last two windows."""
        with self.lock:
            now = time.time()
            self.nonces = {known: until for known, until in self.nonces.items() if until > now}
            if nonce in self.nonces:
                return False
            self.nonces[nonce] = now + 2 * WINDOW_SECONDS
            return True

    def listen(self, port: int) -> ThreadingHTTPServer:
        """Serves on loopback in a thread of its own."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(min(int(self.headers.get("Content-Length", "0")), 65536))
                self.send_response(receiver.accept("POST", self.path, self.headers, body))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base
                """Standard output is for JSON."""

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server


def say(content: Any) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--base-url", "--product-id", "--secret", "--subject"):
        parser.add_argument(name, required=True)
    parser.add_argument("--amount-fen", type=int, required=True)
    parser.add_argument("--business-order-no", default=f"B{secrets.token_hex(8)}")
    parser.add_argument("--listen-port", type=int, default=8700)
    parser.add_argument("--callbacks", type=int, default=1)
    options = parser.parse_args()
    receiver = Receiver(options.product_id, options.secret)
    server = receiver.listen(options.listen_port)
    platform = Platform(options.base_url, options.product_id, options.secret)
    status, answer = platform.create_payment(
        business_order_no=options.business_order_no, amount_fen=options.amount_fen, subject=options.subject
    )
    say({"status": status, **answer})
    if status != 201:
        return 1
    for _ in range(options.callbacks):
        try:
            say(receiver.received.get(timeout=WAIT_SECONDS))
        except queue.Empty:
            return 2
    say(platform.get_order(answer["order"]["order_no"])[1])
    server.shutdown()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
