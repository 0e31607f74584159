"""A registered business backend for tests: signs requests, receives callbacks."""

from __future__ import annotations

import json
import secrets
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from django.test import Client

from foundation import clock
from payments.domain import signing
from payments.models import BusinessApp
from payments.services import businesses


@dataclass
class Shop:
    """One app and its secret."""

    app: BusinessApp
    secret: str

    def headers(self, method: str, path: str, body: bytes = b"", **changed: str) -> dict[str, str]:
        """Right headers of a request; `changed` replaces timestamp, nonce, app or signature."""
        timestamp = changed.get("timestamp", str(int(clock.now().timestamp())))
        nonce = changed.get("nonce", secrets.token_hex(16))
        message = signing.SignedMessage(method=method, target=path, timestamp=timestamp, nonce=nonce, body=body)
        return {
            "X-Pay-App": changed.get("app", self.app.product_id),
            "X-Pay-Timestamp": timestamp,
            "X-Pay-Nonce": nonce,
            "X-Pay-Signature": changed.get("signature") or signing.sign(secret=self.secret, message=message),
        }

    def get(self, path: str, **changed: str) -> Any:
        return Client().get(path, headers=self.headers("GET", path, **changed))

    def post(self, content: Any, *, key: str = "", path: str = "/api/v1/payments", **changed: str) -> Any:
        body = json.dumps(content).encode()
        headers = self.headers("POST", path, body, **changed)
        if key:
            headers["Idempotency-Key"] = key
        return Client().post(path, data=body, content_type="application/json", headers=headers)


def open_shop(enterprise_id: int, callback_url: str = "http://127.0.0.1:9/cb") -> Shop:
    made = businesses.register(
        product_id=f"shop-{uuid.uuid4().hex[:12]}",
        name="Shop",
        enterprise_id=enterprise_id,
        callback_url=callback_url,
        now=clock.now(),
    )
    return Shop(app=made.app, secret=made.secret)


@dataclass
class Receiver:
    """What arrived, and what is answered: `statuses` in turn, then 204."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    location: str = ""
    padding: int = 0
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on loopback."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            receiver.headers.append({"path": self.path, **dict(self.headers.items())})
            self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
            if receiver.location:
                self.send_header("Location", receiver.location)
            self.send_header("Content-Length", str(receiver.padding))
            self.end_headers()
            self.wfile.write(b"x" * receiver.padding)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
