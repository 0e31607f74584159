"""The story's push channel: what a real client keeps open to get its validator tokens. Standard library only."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import json
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

WAIT_SECONDS = 20.0
READ_TIMEOUT_SECONDS = 45.0
"""Three heartbeats."""
RENEW_SECONDS = 10.0
"""A token that ends within this time is not used for another call."""


class ChannelError(Exception):
    """The channel did not open, or a token did not come."""


class Channel:
    """One employee's event stream, read by a thread of its own, and the validator token that came over it.

    `ask(kind)` is the call of `POST validator/tokens`; it answers the request id only.
    """

    def __init__(self, push_url: str, access_token: str, ask: Callable[[str], str]) -> None:
        self._push_url, self._ask = push_url, ask
        self._headers = {"Authorization": f"Bearer {access_token}", "Accept": "text/event-stream"}
        self._is_open = threading.Event()
        self._arrived = threading.Condition()
        self._tokens: dict[str, dict[str, Any]] = {}
        self._taking = threading.Lock()
        self._current: dict[str, Any] | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def take(self) -> tuple[str, int]:
        """(token, number) for one call; a new token is asked for where there is none, or it is about to end."""
        with self._taking:
            soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=RENEW_SECONDS)
            if self._current is None or dt.datetime.fromisoformat(self._current["expires_at"]) < soon:
                self._current = self._new("session")
            number = int(self._current["sequence"])
            self._current["sequence"] = number + 1
            return str(self._current["token"]), number

    def _new(self, kind: str) -> dict[str, Any]:
        if not self._is_open.wait(WAIT_SECONDS):
            raise ChannelError("the push channel did not open")
        request_id = self._ask(kind)
        with self._arrived:
            if not self._arrived.wait_for(lambda: request_id in self._tokens, WAIT_SECONDS):
                raise ChannelError("no validator token came over the push channel")
            return self._tokens.pop(request_id)

    def _listen(self) -> None:
        """Opens the stream again whenever it ends, behind the last event seen."""
        last_id = ""
        while True:
            headers = {**self._headers, **({"Last-Event-ID": last_id} if last_id else {})}
            request = urllib.request.Request(self._push_url, headers=headers)  # noqa: S310 - our own http address
            try:
                stream = urllib.request.urlopen(request, timeout=READ_TIMEOUT_SECONDS)  # noqa: S310 - as above
            except OSError:  # not up yet, or restarting; `take` tells when it lasts
                time.sleep(0.5)
                continue
            with stream:
                self._is_open.set()
                last_id = self._read(stream, last_id)

    def _read(self, stream: Any, last_id: str) -> str:
        event, data = "", ""
        with contextlib.suppress(OSError, http.client.HTTPException):
            for raw in stream:
                name, _, value = raw.decode().rstrip("\r\n").partition(": ")
                if name == "id":
                    last_id = value
                elif name == "event":
                    event = value
                elif name == "data":
                    data = value
                elif not name and not value:
                    if event == "validator.token":
                        self._put(json.loads(data))
                    event, data = "", ""
        return last_id

    def _put(self, token: dict[str, Any]) -> None:
        with self._arrived:
            self._tokens[token["request_id"]] = token
            self._arrived.notify_all()
