"""The push process: whose events, in which order, and what it does when a client, a log-in or Redis goes away."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_py
from pytest_django import Settings

from foundation import clock, crypto, push, redis
from identity import selectors
from identity.models import Employee
from identity.services import login
from paysys import push_server
from paysys.supervisor import free_port
from tests import worlds
from tests.integration.paysys.streams import opened, request, running
from tests.validating import events_of

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def people(committed_db: None) -> list[Employee]:
    return worlds.make_world(2).employees


def owner_of(employee: Employee) -> str:
    return selectors.push_owner(employee_id=employee.pk)


def tell(employee: Employee, *numbers: int) -> None:
    for number in numbers:
        push.publish(owner=owner_of(employee), event="test.counted", data={"number": number})


def tell_slowly(employee: Employee, total: int) -> None:
    """In bursts: nobody who comes back at once misses more than is kept."""
    for start in range(0, total, 20):
        tell(employee, *range(start, start + 20))
        time.sleep(0.02)


def test_an_employee_gets_his_own_events_in_order(people: list[Employee]) -> None:
    me, other = people

    async def story() -> None:
        async with running() as app:
            mine = await opened(app, worlds_token(me))
            theirs = await opened(app, worlds_token(other))
            await asyncio.to_thread(tell, me, 1, 2)
            await asyncio.to_thread(tell, other, 99)
            await asyncio.to_thread(tell, me, 3)
            events = await mine.take(3)
            assert [(event.name, event.data) for event in events] == [
                ("test.counted", {"number": number}) for number in (1, 2, 3)
            ]
            assert [event.id for event in events] == [event_id for event_id, _, _ in events_of(me)]
            assert [push.order(event.id) for event in events] == sorted(push.order(event.id) for event in events)
            assert [event.data for event in await theirs.take(1)] == [{"number": 99}]
            assert (mine.events, theirs.events) == ([], [])
            assert mine.headers["cache-control"] == "no-store"
            assert mine.headers["x-accel-buffering"] == "no"

    asyncio.run(story())


def worlds_token(employee: Employee) -> str:
    return TOKENS[employee.pk]


TOKENS: dict[int, str] = {}
"""Log-ins are made before the event loop runs, where the database may be asked."""


@pytest.fixture(autouse=True)
def _tokens(people: list[Employee]) -> None:
    TOKENS.clear()
    TOKENS.update({employee.pk: worlds.token_of(employee) for employee in people})


def test_reconnecting_at_any_moment_loses_and_doubles_nothing(people: list[Employee]) -> None:
    """600 events while the client breaks off 25 times, also before it has seen one."""
    me, total = people[0], 600

    async def story() -> list[int]:
        seen: list[int] = []
        async with running() as app:
            stream = await opened(app, worlds_token(me))
            first_position = stream.reader.last_id
            await stream.leave()
            assert first_position == push.NOTHING
            publishing = asyncio.create_task(asyncio.to_thread(tell_slowly, me, total))
            last_id, breaks = first_position, 0
            while len(seen) < total:
                stream = await opened(app, worlds_token(me), last_id)
                await stream.until(lambda stream=stream: stream.events)
                if breaks < 25:
                    breaks += 1
                    await stream.leave()
                else:
                    missing = total - len(seen)
                    await stream.until(lambda stream=stream, missing=missing: len(stream.events) >= missing)
                assert "push.gap" not in {event.name for event in stream.events}
                seen += [event.data["number"] for event in stream.events]
                last_id = stream.reader.last_id
            await publishing
        return seen

    assert asyncio.run(story()) == list(range(total))


def test_whoever_missed_more_than_is_kept_is_told(people: list[Employee]) -> None:
    me = people[0]
    tell(me, 0)
    first_id = events_of(me)[0][0]
    tell(me, *range(1, push.KEPT_EVENTS + 20))

    async def story() -> None:
        async with running() as app:
            stream = await opened(app, worlds_token(me), first_id)
            gap, *rest = await stream.take(1 + push.KEPT_EVENTS)
            assert (gap.name, gap.data, gap.id) == ("push.gap", {}, "")
            assert [event.data["number"] for event in rest] == list(range(20, push.KEPT_EVENTS + 20))
            again = await opened(app, worlds_token(me), stream.reader.last_id)
            await asyncio.to_thread(tell, me, 1000)
            assert [event.data["number"] for event in await again.take(1)] == [1000]
            future = await opened(app, worlds_token(me), f"{2**62}-0")
            assert (await future.take(1))[0].name == "push.gap"
            await asyncio.to_thread(tell, me, 1001)
            assert [event.data["number"] for event in await future.take(1)] == [1001]

    asyncio.run(story())


def test_a_revoked_log_in_ends_its_streams_and_no_other(people: list[Employee]) -> None:
    me, other = people

    async def story() -> None:
        async with running() as app:
            mine, theirs = await opened(app, worlds_token(me)), await opened(app, worlds_token(other))
            await app.recheck()
            assert (mine.is_over, theirs.is_over) == (False, False)
            await asyncio.to_thread(login.revoke_tokens, employee_id=me.pk, now=clock.now())
            await app.recheck()
            await mine.until(lambda: mine.is_over)
            assert not theirs.is_over
            refused = request(app, worlds_token(me))
            await refused.until(lambda: refused.is_over)
            assert refused.status == 401
            assert app.hub.count == 1

    asyncio.run(story())
    assert push_server.RECHECK_SECONDS <= 30


def test_the_oldest_of_too_many_streams_ends(people: list[Employee]) -> None:
    async def story() -> None:
        async with running() as app:
            streams = [await opened(app, worlds_token(people[0])) for _ in range(push_server.MAX_PER_OWNER + 1)]
            await streams[0].until(lambda: streams[0].is_over)
            assert [stream.is_over for stream in streams[1:]] == [False] * push_server.MAX_PER_OWNER
            await asyncio.to_thread(tell, people[0], 7)
            for stream in streams[1:]:
                assert [event.data for event in await stream.take(1)] == [{"number": 7}]

    asyncio.run(story())


def test_a_client_that_takes_nothing_is_cut_off(people: list[Employee], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_server, "SEND_TIMEOUT_SECONDS", 0.2)

    async def story() -> None:
        async with running() as app:
            stream, healthy = await opened(app, worlds_token(people[0])), await opened(app, worlds_token(people[0]))
            stream.is_stuck = True
            await asyncio.to_thread(tell, people[0], 1)
            assert stream.task is not None
            async with asyncio.timeout(5):
                await stream.task
            assert app.hub.count == 1
            assert [event.data for event in await healthy.take(1)] == [{"number": 1}]

    asyncio.run(story())


def test_a_client_that_waits_for_too_much_is_ended() -> None:
    connection = push_server.Connection(owner="employee:1", digest="")
    connection.catch_up(push.Missed(events=[], position=push.NOTHING, has_gap=False))
    for number in range(push_server.MAX_WAITING):
        connection.offer(f"{number + 1}-0", b"x")
    assert not connection.is_ended
    connection.offer(f"{push_server.MAX_WAITING + 1}-0", b"x")
    assert connection.is_ended
    assert len(connection.waiting) == push_server.MAX_WAITING


def test_silence_is_broken_by_heartbeats(people: list[Employee], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_server, "HEARTBEAT_SECONDS", 0.02)

    async def story() -> None:
        async with running() as app:
            stream = await opened(app, worlds_token(people[0]))
            await stream.until(lambda: stream.reader.heartbeats >= 3)
            assert stream.events == []

    asyncio.run(story())


def test_the_end_of_the_process_ends_every_stream(people: list[Employee]) -> None:
    async def story() -> None:
        async with running() as app:
            stream = await opened(app, worlds_token(people[0]))
            app.close()
            await stream.until(lambda: stream.is_over)
            late = request(app, worlds_token(people[0]))
            await late.until(lambda: late.is_over)
            assert (late.status, late.headers["retry-after"]) == (503, "1")
            assert json.loads(late.body)["error"]["code"] == "busy"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({}, 401, "not_authenticated"),
        ({"token": "nonsense"}, 401, "not_authenticated"),
        ({"authorization": "Basic abc"}, 401, "not_authenticated"),
        ({"last_id": "nonsense"}, 400, "invalid_request"),
        ({"last_id": f"{2**63}-0"}, 400, "invalid_request"),
        ({"method": "POST"}, 405, "method_not_allowed"),
        ({"path": "/api/v1/push"}, 404, "not_found"),
        ({"path": "/"}, 404, "not_found"),
    ],
)
def test_errors_have_the_shape_of_the_api(changes: dict[str, str], status: int, code: str) -> None:
    async def story() -> None:
        async with running() as app:
            stream = request(app, **changes, x_request_id="a-request-id", accept_language="en")
            await stream.until(lambda: stream.is_over)
            assert stream.status == status
            error = json.loads(stream.body)["error"]
            assert set(error) == {"code", "message", "details", "request_id"}
            assert (error["code"], error["request_id"]) == (code, "a-request-id")
            assert error["message"].isascii()
            assert stream.headers["x-request-id"] == "a-request-id"
            assert (stream.headers.get("www-authenticate") == "Bearer") == (status == 401)
            assert (stream.headers.get("allow") == "GET") == (status == 405)

    asyncio.run(story())


class OwnRedis:
    """A redis-server of the test's own, that may be killed."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = (
            f"--bind 127.0.0.1 --port {self.port} --dir {self.directory} --save  --appendonly yes --appendfsync always"
        )
        binary = shutil.which("redis-server")
        assert binary
        self.process = subprocess.Popen([binary, *options.split(" ")], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                redis_py.Redis(port=self.port).ping()
            except redis_py.RedisError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError("redis-server does not start")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def wipe(self) -> None:
        for entry in self.directory.iterdir():
            shutil.rmtree(entry)


@pytest.fixture
def own_redis(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnRedis]:
    server = OwnRedis(tmp_path)
    server.start()
    settings.REDIS_URL = server.url
    monkeypatch.setattr(redis, "breaker", redis.Breaker())
    monkeypatch.setattr(push_server, "REDIS_PAUSE_SECONDS", 0.05)
    push._script.cache_clear()
    try:
        yield server
    finally:
        server.kill()
        push._script.cache_clear()


def tell_when_it_is_back(employee: Employee, number: int) -> None:
    """Publishes as soon as the breaker lets it."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return tell(employee, number)
        except redis_py.RedisError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_restarted_redis_loses_no_event_and_an_empty_one_is_told(people: list[Employee], own_redis: OwnRedis) -> None:
    me = people[0]

    async def story() -> None:
        async with running() as app:
            stream = await opened(app, worlds_token(me))
            await asyncio.to_thread(tell, me, 1)
            await stream.take(1)
            own_redis.kill()
            refused = request(app, worlds_token(me))
            await refused.until(lambda: refused.is_over)
            assert refused.status == 503
            await asyncio.to_thread(own_redis.start)
            await asyncio.to_thread(tell_when_it_is_back, me, 2)
            assert [event.data["number"] for event in await stream.take(1)] == [2]

            own_redis.kill()
            own_redis.wipe()
            await asyncio.to_thread(own_redis.start)
            await asyncio.to_thread(tell_when_it_is_back, me, 3)
            events = await stream.take(2)
            assert [(event.name, event.data) for event in events] == [("push.gap", {}), ("test.counted", {"number": 3})]
            assert not stream.is_over

    asyncio.run(story())


def tell_beside_the_feed(employee: Employee, number: int) -> None:
    """As an event whose feed entry was cut off before it was read: in the owner's stream, counted, not in the feed."""
    sealed = crypto.encrypt(json.dumps({"number": number}), column=push.COLUMN)
    redis.client().xadd(push.stream_key(owner_of(employee)), {"event": "test.counted", "data": sealed})
    redis.client().incr(push.NUMBER_KEY)


def test_a_hole_in_the_feed_is_filled_from_the_owners_stream(
    people: list[Employee], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_server, "READ_SECONDS", 1)
    me = people[0]

    async def story() -> None:
        async with running() as app:
            stream = await opened(app, worlds_token(me))
            await asyncio.to_thread(tell, me, 1)
            await asyncio.to_thread(tell_beside_the_feed, me, 2)
            await asyncio.to_thread(tell, me, 3)
            assert [event.data["number"] for event in await stream.take(3)] == [1, 2, 3]
            await asyncio.to_thread(tell_beside_the_feed, me, 4)  # seen in the next silence
            assert [event.data["number"] for event in await stream.take(1)] == [4]

    asyncio.run(story())
