"""The push program driven as an ASGI server does it, in one event loop and without a network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from paysys.push_server import PATH, Application

WAIT_SECONDS = 10.0


@dataclass
class Event:
    """One event as a client sees it."""

    id: str
    name: str
    data: Any


@dataclass
class Reader:
    """Cuts bytes into events; `last_id` follows as a browser's does."""

    last_id: str = ""
    heartbeats: int = 0
    rest: bytes = b""

    def feed(self, chunk: bytes) -> list[Event]:
        *blocks, self.rest = (self.rest + chunk).split(b"\n\n")
        return [event for event in map(self._block, blocks) if event is not None]

    def _block(self, block: bytes) -> Event | None:
        if block.startswith(b":"):
            self.heartbeats += 1
            return None
        fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
        self.last_id = fields.get("id", self.last_id)
        if "data" not in fields:
            return None
        return Event(id=fields.get("id", ""), name=fields["event"], data=json.loads(fields["data"]))


@dataclass
class Stream:
    """One request. `is_stuck` is a client that takes no more bytes."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_over: bool = False
    is_stuck: bool = False
    reader: Reader = field(default_factory=Reader)
    events: list[Event] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    has_asked: bool = False

    async def receive(self) -> dict[str, Any]:
        if not self.has_asked:
            self.has_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        while self.is_stuck:
            await asyncio.sleep(0.01)
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]
            if self.headers["content-type"] == "text/event-stream":
                self.events += self.reader.feed(message["body"])
            self.is_over = not message["more_body"]
        self.changed.set()

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def take(self, count: int) -> list[Event]:
        """The next events, as soon as there are so many."""
        await self.until(lambda: len(self.events) >= count)
        taken, self.events = self.events[:count], self.events[count:]
        return taken

    async def leave(self) -> None:
        self.gone.set()
        assert self.task is not None
        async with asyncio.timeout(WAIT_SECONDS):
            await self.task


def request(
    app: Application, token: str = "", last_id: str = "", *, method: str = "GET", path: str = PATH, **headers: str
) -> Stream:
    """Sends a request; what comes back gathers in the Stream."""
    every = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        every["authorization"] = f"Bearer {token}"
    if last_id:
        every["last-event-id"] = last_id
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(name.encode(), value.encode()) for name, value in every.items()],
    }
    stream = Stream()
    stream.task = asyncio.create_task(app(scope, stream.receive, stream.send))
    return stream


async def opened(app: Application, token: str, last_id: str = "") -> Stream:
    """An open stream whose first bytes have come."""
    stream = request(app, token, last_id)
    await stream.until(lambda: stream.body)
    assert stream.status == 200, stream.body
    return stream


@asynccontextmanager
async def running() -> AsyncIterator[Application]:
    """A push process."""
    app = Application()
    await app.start()
    try:
        yield app
    finally:
        await app.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                while app.hub.count:
                    await asyncio.sleep(0.01)
