"""A client of the payment platform that moves money: Python's standard library, nothing else.

    python docs/examples/validator_client.py .local/demo.json

Logs in, listens on the push channel, asks for a validator token, gets it there, and transfers 1 fen to a colleague.
`Client` is what to copy; docs/VALIDATOR.md explains it.
"""

# ruff: noqa: S310, T201 - addresses come from the caller; a program for reading prints

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from datetime import UTC, datetime, timedelta

EVENT_WAIT_SECONDS = 10.0
READ_TIMEOUT_SECONDS = 45.0
"""Three heartbeats: a stream that is silent for longer is dead, whatever the network says."""


class ApiError(Exception):
    """The platform refused; `code` is the word to decide by."""

    def __init__(self, status: int, error: dict) -> None:
        super().__init__(f"{status} {error.get('code')}: {error.get('message')}")
        self.status, self.code = status, error.get("code")


class Client:
    """One employee: log-in, event stream, and calls that carry a token and a number of their own."""

    def __init__(self, base_url: str, push_url: str, enterprise: str, employee: str, password: str) -> None:
        self.base_url, self.push_url = base_url, push_url
        person = {"enterprise": enterprise, "employee": employee, "password": password}
        self.access_token = ""
        self.access_token = self.call("POST", "auth/login", person)["access_token"]
        self._arrived = threading.Condition()
        self._tokens: dict[str, dict] = {}  # request_id -> data of the event
        self._current: dict | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._open = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        self._closed = True

    # --- calls ---------------------------------------------------------------------------------------------------

    def pay(self, path: str, body: dict | None, key: str | None = None) -> dict:
        """A call that moves money. The same `key` again is the same call: it never happens twice."""
        key = key or uuid.uuid4().hex
        for attempt in range(2):
            token, sequence = self.take_number()
            headers = {"Idempotency-Key": key, "X-Pay-Token": token, "X-Pay-Seq": str(sequence)}
            try:
                return self.call("POST", path, body, headers)
            except ApiError as error:
                if error.code not in ("token_invalid", "sequence_used") or attempt:
                    raise
                self._current = None  # expired meanwhile: once more, with a new token and the same key
        raise AssertionError("not reached")

    def take_number(self) -> tuple[str, int]:
        """The token and the next number of it; asks for a token where there is none or it is about to end."""
        with self._lock:
            soon = datetime.now(UTC) + timedelta(seconds=10)
            if self._current is None or datetime.fromisoformat(self._current["expires_at"]) < soon:
                self._current = self._new_token("session")
            number = self._current["sequence"]
            self._current["sequence"] += 1
            return self._current["token"], number

    def _new_token(self, kind: str) -> dict:
        if not self._open.wait(EVENT_WAIT_SECONDS):
            raise TimeoutError("the push channel does not open")
        request_id = self.call("POST", "validator/tokens", {"kind": kind})["request_id"]
        with self._arrived:
            if not self._arrived.wait_for(lambda: request_id in self._tokens, EVENT_WAIT_SECONDS):
                raise TimeoutError("no token came; ask again")
            return self._tokens.pop(request_id)

    def call(self, method: str, path: str, body: dict | None = None, headers: dict | None = None) -> dict:
        every = {"Content-Type": "application/json", **(headers or {})}
        if self.access_token:
            every["Authorization"] = f"Bearer {self.access_token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.base_url}/api/v1/{path}", data, every, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, json.load(error)["error"]) from error

    # --- the event stream ----------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Keeps one stream open; after a break it goes on behind the last event it saw."""
        last_id = ""
        while not self._closed:
            headers = {"Authorization": f"Bearer {self.access_token}", "Accept": "text/event-stream"}
            if last_id:
                headers["Last-Event-ID"] = last_id
            request = urllib.request.Request(self.push_url, headers=headers)
            try:
                stream = urllib.request.urlopen(request, timeout=READ_TIMEOUT_SECONDS)
            except OSError:  # refused, reset, timed out, restarting: all the same
                time.sleep(1)
                continue
            with stream:
                self._open.set()
                last_id = self._read(stream, last_id)

    def _read(self, stream, last_id: str) -> str:
        event, data = "message", []
        with contextlib.suppress(OSError, http.client.HTTPException):  # broken off, perhaps in the middle of a line
            for raw in stream:
                line = raw.decode().rstrip("\r\n")
                name, _, value = line.partition(": ")
                if not line:  # an empty line ends an event
                    if data:
                        self.on_event(event, json.loads("\n".join(data)))
                    event, data = "message", []
                elif name == "id":
                    last_id = value
                elif name == "event":
                    event = value
                elif name == "data":
                    data.append(value)
                if self._closed:
                    break
        return last_id

    def on_event(self, event: str, data: dict) -> None:
        if event == "validator.token":
            with self._arrived:
                self._tokens[data["request_id"]] = data
                self._arrived.notify_all()


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        world = json.load(file)
    me, colleague = world["employees"][0], world["employees"][1]
    client = Client(world["base_url"], world["push_url"], me["enterprise"], me["employee"], me["password"])
    print("wallet before:", client.call("GET", "wallet"))
    body = {"to_employee": colleague["employee"], "amount_fen": 1, "memo": "hello"}
    order = client.pay("transfers", body)["order"]
    print("transferred:  ", order["order_no"], order["state"])
    print("wallet after: ", client.call("GET", "wallet"))
    client.close()


if __name__ == "__main__":
    main()
