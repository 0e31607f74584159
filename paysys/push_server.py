"""The push process: Server-Sent Events for employees, as a plain ASGI program (started by paysys/push_app.py).

`GET /api/v1/push/events` with `Authorization: Bearer …` stays open and tells one employee's events, first those after
`Last-Event-ID` when that header is sent. Not Django views: an open connection is two small tasks and a deque, and the
process has one reader of Redis, which hands each event to the connections of its owner. Log-ins are checked with the
same tokens as everywhere, in threads, and again every RECHECK_SECONDS: a revoked or expired one ends its streams.

While Redis is away the streams stay open (heartbeats go on); afterwards each connection is brought up to date from its
owner's own stream. Any number of such processes may run; none of them keeps anything of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import uuid
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import orjson
import redis.asyncio
import structlog
from django.conf import settings
from django.db import Error as DatabaseProblem
from django.db import close_old_connections
from django.http import HttpRequest
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from foundation import clock, push
from foundation.api import errors
from foundation.errors import Busy, InvalidRequest, NotAuthenticated, NotFound
from identity import selectors
from identity.api.authentication import bearer_token
from identity.services import login

logger = structlog.get_logger("push")

PATH = "/api/v1/push/events"
HEARTBEAT_SECONDS = 15.0
"""Shorter than the idle time-outs of proxies and mobile networks."""
RECHECK_SECONDS = 20.0
"""A stream outlives its log-in by no more than this, while the database answers."""
RECHECK_BATCH = 500
RECONNECT_MILLISECONDS = 1000
"""What clients are told to wait before they open a lost stream again."""
SEND_TIMEOUT_SECONDS = 20.0
"""Of one write: a client that takes nothing for so long is cut off; it comes back with Last-Event-ID."""
MAX_WAITING = 2 * push.KEPT_EVENTS
"""Events that wait for a slow client; beyond that he is cut off and reads them from his stream again."""
MAX_CONNECTIONS = 10_000
"""Of one process; the next one is told 503."""
MAX_PER_OWNER = 8
"""Devices and tabs of one person; the next one ends the oldest."""
READ_SECONDS = 5
"""How long one read of the feed waits for something."""
READ_COUNT = 500
REDIS_TIMEOUT_SECONDS = READ_SECONDS + 2.0
SENTINEL_TIMEOUT_SECONDS = 0.5
CONNECT_TIMEOUT_SECONDS = 3.0
"""Longer than our own event loop is busy when all clients of a killed process come back at once: with half a second
some of 2 000 were told 503. A Redis that is down refuses at once, whatever stands here."""
STOP_SECONDS = 1.0
REDIS_PAUSE_SECONDS = 0.5
"""Between two tries to reach a Redis that is away."""
READERS = 50
"""Owners' streams read at the same time, when many come back at once."""
DATABASE_THREADS = 4

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")
_LOGIN = ("username", "password", "db")
_SANE_ID = re.compile(r"[A-Za-z0-9_.\-]{8,64}")


class FeedHasHole(Exception):
    """The feed's numbers do not follow: it was cut before we read it, or Redis lost data."""


def frame(event: str, data: str, event_id: str = "") -> bytes:
    """One event as it goes over the wire; `data` is one line."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {event}\ndata: {data}\n\n".encode()


GAP = frame("push.gap", "{}")
HEARTBEAT = b": alive\n\n"


@dataclass(eq=False, slots=True)
class Connection:
    """One open stream. `position` is the id of the last event that was queued for it; none is queued twice."""

    owner: str
    digest: str
    position: str = push.NOTHING
    is_caught_up: bool = False
    is_ended: bool = False
    early: list[tuple[str, bytes]] = field(default_factory=list)
    waiting: deque[bytes] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, event_id: str, chunk: bytes) -> None:
        """Queues an event; before the connection is caught up it is put aside."""
        if len(self.waiting) + len(self.early) >= MAX_WAITING:
            self.end()
        elif not self.is_caught_up:
            self.early.append((event_id, chunk))
        elif push.order(event_id) > push.order(self.position):
            self.waiting.append(chunk)
            self.position = event_id
            self.wake.set()

    def catch_up(self, missed: push.Missed) -> None:
        """Queues what was missed, then what came while it was read."""
        self.is_caught_up = True
        if missed.has_gap:
            self.waiting.append(GAP)
            self.position = push.NOTHING
            self.wake.set()
        for stored in missed.events:
            self.offer(stored.id, frame(stored.event, stored.data(), stored.id))
        self.position = max(self.position, missed.position, key=push.order)
        early, self.early = self.early, []
        for event_id, chunk in early:
            self.offer(event_id, chunk)

    def end(self) -> None:
        self.is_ended = True
        self.wake.set()

    def take(self) -> bytes:
        """Everything that waits, as one piece."""
        body = b"".join(self.waiting)
        self.waiting.clear()
        self.wake.clear()
        return body


class Hub:
    """All connections of the process, and the one reader that feeds them."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.client = client
        self.connections: dict[str, list[Connection]] = defaultdict(list)
        self.count = 0
        self._readers = asyncio.Semaphore(READERS)

    def add(self, connection: Connection) -> None:
        """Registers a connection; the owner's oldest one makes room where he has too many."""
        mine = self.connections[connection.owner]
        mine.append(connection)
        self.count += 1
        for oldest in mine[:-MAX_PER_OWNER]:
            oldest.end()

    def remove(self, connection: Connection) -> None:
        mine = self.connections[connection.owner]
        mine.remove(connection)
        self.count -= 1
        if not mine:
            del self.connections[connection.owner]

    def all(self) -> list[Connection]:
        return [connection for mine in self.connections.values() for connection in mine]

    async def missed(self, owner: str, after: str | None) -> push.Missed:
        async with self._readers:
            return await push.read_missed(self.client, owner=owner, after=after)

    async def follow_feed(self) -> None:
        """Hands out the feed until Redis fails or a hole is seen; begins by bringing all connections up to date."""
        position, number = await self._end_of_feed()
        await asyncio.gather(*(self._refresh(connection) for connection in self.all() if connection.is_caught_up))
        while True:
            answer: Any = await self.client.xread(
                {push.FEED_KEY: position}, count=READ_COUNT, block=READ_SECONDS * 1000
            )
            if not answer and int(await self.client.get(push.NUMBER_KEY) or 0) != number:
                raise FeedHasHole
            entries = answer[0][1] if answer else []
            for event in push.parse_feed(entries):
                if event.number != number + 1:
                    raise FeedHasHole
                number = event.number
                self._hand_out(event)
            if entries:
                position = entries[-1][0]

    async def _end_of_feed(self) -> tuple[str, int]:
        """Where the feed ends now: id and number of its last event, read at one moment."""
        pipeline = self.client.pipeline(transaction=True)
        pipeline.xrevrange(push.FEED_KEY, count=1)
        pipeline.get(push.NUMBER_KEY)
        newest, number = await pipeline.execute()
        return (newest[0][0] if newest else push.NOTHING), int(number or 0)

    async def _refresh(self, connection: Connection) -> None:
        connection.catch_up(await self.missed(connection.owner, connection.position))

    def _hand_out(self, event: push.FeedEvent) -> None:
        mine = self.connections.get(event.owner)
        if not mine:
            return
        stored = event.stored
        chunk = frame(stored.event, stored.data(), stored.id)
        for connection in list(mine):
            connection.offer(stored.id, chunk)


def redis_client() -> redis.asyncio.Redis:
    """A client of the same Redis as foundation.redis, for this event loop; it waits as long as a read of the feed."""
    options: dict[str, Any] = {
        "socket_timeout": REDIS_TIMEOUT_SECONDS,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),  # `_follow` tries again, and reads what was missed meanwhile
        "max_connections": 2 * READERS,
        "decode_responses": True,
        "protocol": 2,
    }
    if not settings.REDIS_SENTINELS:
        return redis.asyncio.Redis.from_url(settings.REDIS_URL, **options)
    addresses = [(host, int(port)) for host, _, port in (text.rpartition(":") for text in settings.REDIS_SENTINELS)]
    asking = {
        "socket_timeout": SENTINEL_TIMEOUT_SECONDS,
        "socket_connect_timeout": SENTINEL_TIMEOUT_SECONDS,
        "password": settings.REDIS_SENTINEL_PASSWORD or None,
    }
    parts: dict[str, Any] = {name: value for name, value in parse_url(settings.REDIS_URL).items() if name in _LOGIN}
    sentinel = Sentinel(addresses, sentinel_kwargs=asking)
    return sentinel.master_for(settings.REDIS_SENTINEL_MASTER, **parts, **options)


class Application:
    """The ASGI program. One instance per process, used in one event loop."""

    def __init__(self) -> None:
        self.is_closing = False
        self._hub: Hub | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._threads = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="push-database")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            raise RuntimeError(f"not served here: {scope['type']}")

    # --- life of the process --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Starts reading the feed and checking log-ins."""
        self._hub = Hub(redis_client())
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._recheck())]

    def close(self) -> None:
        """Ends every stream; clients come back to the next process with Last-Event-ID."""
        self.is_closing = True
        for connection in self.hub.all():
            connection.end()

    async def stop(self) -> None:
        self.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=STOP_SECONDS)  # redis-py may turn a cancellation into its own time-out
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self.hub.client.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def hub(self) -> Hub:
        assert self._hub is not None, "the server sends lifespan.startup first"
        return self._hub

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                self._close_on_signal()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _close_on_signal(self) -> None:
        """Ends the streams on SIGTERM and SIGINT: granian tells lifespan only after all answers have ended.

        asyncio learns of a signal through its wake-up descriptor, whatever handler stands beside it, so granian's own
        handling goes on.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(self.close))

    async def _follow(self) -> None:
        while not self.is_closing:
            try:
                await self.hub.follow_feed()
            except FeedHasHole:
                logger.warning("the feed has a hole; reading every owner's own stream")
            except (RedisError, OSError) as error:
                logger.warning("push waits for Redis", error=repr(error))
                await asyncio.sleep(REDIS_PAUSE_SECONDS)
            except Exception:  # whatever it is, the next round starts from a clean state; the log says what it was
                logger.exception("push reader failed")
                await asyncio.sleep(REDIS_PAUSE_SECONDS)

    async def _recheck(self) -> None:
        """Ends the streams of log-ins that are no longer valid. While the database is away nobody can revoke one."""
        while not self.is_closing:
            await asyncio.sleep(RECHECK_SECONDS)
            try:
                await self.recheck()
            except DatabaseProblem:
                logger.warning("push cannot check log-ins", exc_info=True)
            except Exception:  # as above
                logger.exception("push check of log-ins failed")

    async def recheck(self) -> None:
        digests = list({connection.digest for connection in self.hub.all()})
        for start in range(0, len(digests), RECHECK_BATCH):
            asked = digests[start : start + RECHECK_BATCH]
            valid = await self._in_thread(partial(login.list_valid_digests, digests=asked, now=clock.now()))
            for connection in self.hub.all():
                if connection.digest in asked and connection.digest not in valid:
                    connection.end()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Runs what asks the database; its connections are given up when they are old, as after a request."""

        def run() -> T:
            close_old_connections()
            try:
                return work()
            finally:
                close_old_connections()

        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    # --- requests -------------------------------------------------------------------------------------------------

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _request(scope)
        try:
            if request.path == "/healthz":
                await _answer(send, 200, {"status": "ok"}, request)
            elif request.path != PATH:
                raise NotFound()
            elif request.method != "GET":
                raise errors.MethodNotAllowed()
            else:
                await self._events(request, receive, send)
        except Exception as error:  # every error answers in the API's shape; what is ours is logged and alerted
            known = errors.translate(error)
            await self._in_thread(partial(errors.report, known, error, request))
            headers = errors.headers(known, error)
            if isinstance(known, errors.MethodNotAllowed):
                headers["Allow"] = "GET"
            await _answer(send, known.http_status, errors.body(known, request), request, headers)

    async def _events(self, request: HttpRequest, receive: Receive, send: Send) -> None:
        """Lets the caller in, then streams until he, his log-in or the process ends. Raises before the first byte."""
        after = request.headers.get("Last-Event-ID")
        if after is not None and not push.is_id(after):
            raise InvalidRequest({"Last-Event-ID": ["not an id of ours"]})
        token = bearer_token(request.headers.get("Authorization", ""))
        if token is None:
            raise NotAuthenticated()
        if self.is_closing or self.hub.count >= MAX_CONNECTIONS:
            raise Busy({"reason": "this push process takes no more streams"})
        employee = await self._in_thread(lambda: login.authenticate_token(token=token, now=clock.now()))
        owner = selectors.push_owner(employee_id=employee.pk)
        connection = Connection(owner=owner, digest=login.digest_of(token))
        self.hub.add(connection)
        try:
            connection.catch_up(await self.hub.missed(owner, after))
            if self.is_closing:
                connection.end()
            await _stream(connection, request, receive, send)
        finally:
            self.hub.remove(connection)


async def _stream(connection: Connection, request: HttpRequest, receive: Receive, send: Send) -> None:
    headers = {
        "Content-Type": "text/event-stream",
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",  # nginx passes each event on at once
        "X-Request-ID": _id_of(request),
    }
    start = f"retry: {RECONNECT_MILLISECONDS}\n"
    await send({"type": "http.response.start", "status": 200, "headers": _encoded(headers)})
    watch = asyncio.create_task(_end_on_disconnect(connection, receive))
    try:
        body = start.encode() + _where(connection) + connection.take()
        while True:
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                await send({"type": "http.response.body", "body": body, "more_body": True})
            if connection.is_ended:
                break
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await connection.wake.wait()
            except TimeoutError:
                body = HEARTBEAT
            else:
                body = connection.take()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    except (TimeoutError, OSError):
        logger.info("push client takes nothing and is cut off")
    finally:
        watch.cancel()


def _where(connection: Connection) -> bytes:
    """Tells a client that has seen no event yet where he stands (SSE: an id without data raises no event)."""
    return b"" if connection.waiting else f"id: {connection.position}\n\n".encode()


async def _end_on_disconnect(connection: Connection, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    connection.end()


def _request(scope: Scope) -> HttpRequest:
    """What the shared error code wants to know of a request."""
    request = HttpRequest()
    request.method = scope["method"]
    request.path = request.path_info = scope["path"]
    for name, value in scope["headers"]:
        request.META[f"HTTP_{name.decode('latin-1').upper().replace('-', '_')}"] = value.decode("latin-1")
    given = request.headers.get("X-Request-ID", "")
    request.request_id = given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex  # type: ignore[attr-defined]
    return request


def _id_of(request: HttpRequest) -> str:
    return str(getattr(request, "request_id", ""))


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


async def _answer(
    send: Send, status: int, content: dict[str, Any], request: HttpRequest, headers: dict[str, str] | None = None
) -> None:
    body = orjson.dumps(content)
    every = {"Content-Type": "application/json", "Content-Length": str(len(body)), "X-Request-ID": _id_of(request)}
    await send({"type": "http.response.start", "status": status, "headers": _encoded({**every, **(headers or {})})})
    await send({"type": "http.response.body", "body": body, "more_body": False})
