"""One HTTP request to a receiver that may be slow, broken or hostile.

Only the address that was judged is connected to, no redirect is followed, time and answer are limited.
Source: design `faults.md` 4.8.
"""

from __future__ import annotations

import contextlib
import http.client
import secrets
import socket
import ssl
import threading
import time
from dataclasses import dataclass

from django.conf import settings

from foundation import clock
from payments.domain import signing, urls

CONNECT_SECONDS = 3.0
TOTAL_SECONDS = 8.0
"""From the connection to the last byte of the answer; also against an answer that drips."""
ANSWER_BYTES = 4096
"""All that is read of an answer; it is not needed, only its status is."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of a request: `status` 0 when there was none; `note` says why, or holds the answer's beginning."""

    status: int
    note: str
    duration_ms: int

    @property
    def is_accepted(self) -> bool:
        return 200 <= self.status < 300


def send(*, url: str, product_id: str, secret: str, body: bytes) -> Answer:
    """POSTs `body`, signed with `secret` under a new nonce, to `url`. Never raises for what the receiver does."""
    started = time.monotonic()
    try:
        target = urls.parse_target(url, is_http_allowed=settings.CALLBACK_HTTP_ALLOWED)
        address = _resolve(target)
        status, note = _request(
            target, address, _headers(target, product_id=product_id, secret=secret, body=body), body
        )
    except urls.RefusedAddress as error:
        status, note = 0, f"refused address: {error}"
    except (OSError, http.client.HTTPException) as error:
        status, note = 0, type(error).__name__
    return Answer(status=status, note=note[:200], duration_ms=int((time.monotonic() - started) * 1000))


def _resolve(target: urls.Target) -> str:
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is empty or too long for the domain name system
        raise urls.RefusedAddress("not a host name") from error
    return urls.choose_address([str(row[4][0]) for row in found], allowed=settings.CALLBACK_ALLOWED_NETWORKS)


def _headers(target: urls.Target, *, product_id: str, secret: str, body: bytes) -> dict[str, str]:
    message = signing.SignedMessage(
        method="POST",
        target=target.target,
        timestamp=str(int(clock.now().timestamp())),
        nonce=secrets.token_hex(16),
        body=body,
    )
    return {
        "Host": target.host_header,
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        signing.APP_HEADER: product_id,
        signing.TIMESTAMP_HEADER: message.timestamp,
        signing.NONCE_HEADER: message.nonce,
        signing.SIGNATURE_HEADER: signing.sign(secret=secret, message=message),
    }


def _request(target: urls.Target, address: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
    connection = http.client.HTTPConnection(target.host, target.port, timeout=CONNECT_SECONDS)
    lines = [socket.create_connection((address, target.port), timeout=CONNECT_SECONDS)]
    is_cut = threading.Event()
    end = threading.Timer(TOTAL_SECONDS, _cut, [lines, is_cut])
    end.daemon = True
    end.start()
    try:
        lines[0].settimeout(TOTAL_SECONDS)
        if target.scheme == "https":
            secured = ssl.create_default_context().wrap_socket(
                lines[0], server_hostname=target.host, do_handshake_on_connect=False
            )
            lines[0] = secured  # before the handshake, so that it can be cut, too
            secured.do_handshake()
        connection.sock = lines[0]
        connection.request("POST", target.target, body=body, headers=headers)
        answer = connection.getresponse()
        text = answer.read(ANSWER_BYTES).decode("utf-8", "replace")
        if is_cut.is_set():  # what was read of a cut answer may look whole
            raise TimeoutError
        return answer.status, text
    finally:
        end.cancel()
        connection.close()
        lines[0].close()


def _cut(lines: list[socket.socket], is_cut: threading.Event) -> None:
    """Ends a request that takes too long, wherever it stands: its reader gets an error or the end of the answer."""
    is_cut.set()
    with contextlib.suppress(OSError):  # it ended by itself in this very moment
        lines[0].shutdown(socket.SHUT_RDWR)
