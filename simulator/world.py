"""What every part of the running simulator shares, and what a provider's package must offer."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from werkzeug.routing import Rule as Route
from werkzeug.wrappers import Request, Response

from simulator.books import Books, Notice, Order, Refund
from simulator.clock import Clock
from simulator.credentials import Credentials
from simulator.faults import Faults

NOTICE_TIMEOUT_SECONDS = 5.0
"""WeChat's rule for the merchant's answer; the other providers are not stricter."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """`notice_retry_scale` multiplies the waits between tries of a notice (1.0: as the provider does).

    `kuaiqian_payout_notify_url`: what the merchant registered with 99bill for payouts, whose orders name none; "" sends
    no notices of them.
    """

    notice_retry_scale: float = 1.0
    refund_delay_seconds: float = 0.5
    notice_timeout_seconds: float = NOTICE_TIMEOUT_SECONDS
    kuaiqian_payout_notify_url: str = ""


@dataclass(frozen=True, kw_only=True)
class World:
    """One running simulator. `stopping` ends every wait; `wake` tells the deliverer that something is due."""

    credentials: Credentials
    clock: Clock
    books: Books
    faults: Faults
    options: Options
    stopping: threading.Event
    wake: threading.Event


@dataclass(frozen=True, kw_only=True)
class OutgoingMessage:
    """One HTTP request to the merchant, ready to send."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class NoticeDraft:
    """`event` in the provider's words and the content that will be sealed at each delivery."""

    event: str
    content: Mapping[str, Any]


class Channel(Protocol):
    """A provider's wire format and words; sibling packages implement it and `server` lists them."""

    name: str
    operations: frozenset[str]
    """Names that fault rules may use."""
    retry_seconds: tuple[float, ...]
    """Waits between tries of a notice."""

    def routes(self) -> list[Route]:
        """Endpoints `<name>.<anything>`."""
        ...

    def handle(self, *, endpoint: str, request: Request, arguments: Mapping[str, Any]) -> Response:
        """Answers one request of the merchant, or of an unknown path below the provider's root."""
        ...

    def read_code(self, payment: Mapping[str, Any]) -> str | None:
        """What the person scans or opens, of api.md's `payment`; None when it is not of this channel."""
        ...

    def new_transaction_id(self) -> str: ...

    def new_refund_id(self) -> str: ...

    def draft_payment_notice(self, order: Order) -> NoticeDraft: ...

    def draft_refund_notice(self, *, refund: Refund, order: Order) -> NoticeDraft | None:
        """None: the provider says nothing of a refund that ended like this."""
        ...

    def return_address(self, order: Order) -> str:
        """Where the browser of the person who paid goes afterwards; "" nowhere."""
        ...

    def compose(self, *, notice: Notice, mode: str) -> OutgoingMessage:
        """`mode`: genuine, signtest or one of faults.TAMPERS."""
        ...

    def is_accepted(self, *, status: int, body: str) -> bool:
        """Whether the merchant's answer ends the tries."""
        ...
