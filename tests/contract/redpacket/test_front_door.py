"""The front door of grabs and its twin behind Django answer alike: status, headers and body, byte for byte."""

from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis as redis_library
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connections
from django.test.utils import CaptureQueriesContext

from foundation import clock, door, ids, redis
from foundation.db import roles
from identity.models import AccessToken, Employee
from identity.services import login
from identity.validator_lua import token_key
from redpacket import cache
from redpacket.api import front_door
from redpacket.api.front_door import FrontDoor
from redpacket.domain.states import PacketState
from redpacket.models import RedPacket
from tests import worlds
from tests.integration.redpacket.packets import claims, end_lifetime, send_lucky, send_normal
from tests.integration.redpacket.people import People, employee_of, make_people

pytestmark = pytest.mark.django_db(databases="__all__")

REQUEST_ID = "the-same-request-id"


@dataclass(frozen=True)
class Answer:
    status: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Call:
    """One grab: who, which packet, more headers."""

    token: str
    packet_id: str
    headers: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, Any] = field(default_factory=dict)


def send(application: Any, call: Call) -> Answer:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": f"/api/v1/redpackets/{call.packet_id}/grab",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "HTTP_X_REQUEST_ID": REQUEST_ID,
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
    }
    if call.token:
        environ["HTTP_AUTHORIZATION"] = f"Bearer {call.token}"
    environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in call.headers.items()}
    environ |= call.environ
    started: list[Any] = []
    parts = application(environ, lambda status, headers, exc_info=None: started.append((status, headers)))
    body = b"".join(parts)
    status, headers = started[0]
    assert len({name for name, _ in headers}) == len(headers)
    return Answer(status=status, headers=dict(headers), body=body)


@pytest.fixture(autouse=True)
def open_connections() -> Iterator[None]:
    """As Django's test client: a request does not close the connections that hold the test's transaction."""
    request_started.disconnect(close_old_connections)
    request_finished.disconnect(close_old_connections)
    yield
    request_started.connect(close_old_connections)
    request_finished.connect(close_old_connections)


def nobody_behind(environ: Any, start_response: Any) -> Any:
    raise AssertionError("the front door passed a usual grab on")


def code_of(answer: Answer) -> str:
    content = json.loads(answer.body)
    return content["error"]["code"] if "error" in content else content["result"]


@dataclass(frozen=True)
class World:
    people: People
    tokens: list[str]


def make(count: int = 3) -> World:
    people = make_people(count=count)
    return World(people=people, tokens=[worlds.token_of(employee_of(person)) for person in people.members])


def validator_token(employee_id: int, *, first: int = 100) -> str:
    """A session token as identity issues it; Redis keeps its digest."""
    token = f"label.{ids.new_id()}"
    redis.client().hset(
        token_key(token),
        mapping={
            "employee": employee_id,
            "kind": "session",
            "expires_ms": clock.epoch_ms() + 60_000,
            "lowest": first,
            "window": 0,
        },
    )
    redis.client().expire(token_key(token), 60)
    return token


# --- The cases: each makes a world of its own and says which calls to send and which codes must come -----------------


def winner_and_repeat(world: World) -> list[Call]:
    packet = send_lucky(world.people, total_fen=500, count=1).packet.pk
    return [Call(world.tokens[1], packet)] * 2


def empty(world: World) -> list[Call]:
    packet = send_lucky(world.people, total_fen=500, count=1).packet.pk
    return [Call(world.tokens[0], packet), Call(world.tokens[1], packet), Call(world.tokens[2], packet)]


def expired(world: World) -> list[Call]:
    packet = send_lucky(world.people, total_fen=500, count=2).packet
    end_lifetime(packet)
    return [Call(world.tokens[1], packet.pk)] * 2


def cancelled(world: World) -> list[Call]:
    packet = send_lucky(world.people, total_fen=500, count=2).packet
    RedPacket.objects.filter(pk=packet.pk).update(state=PacketState.CANCELLED)
    cache.forget(packet_id=packet.pk)
    return [Call(world.tokens[1], packet.pk)] * 2


def not_the_receiver(world: World) -> list[Call]:
    packet = send_normal(world.people, total_fen=300).packet.pk
    return [Call(world.tokens[2], packet), Call(world.tokens[1], packet)]


def foreign_and_unknown(world: World) -> list[Call]:
    packet = send_lucky(make().people, total_fen=500, count=2).packet.pk
    return [Call(world.tokens[1], packet), Call(world.tokens[1], "0" * 32)]


def wrong_log_ins(world: World) -> list[Call]:
    packet = send_lucky(world.people, total_fen=500, count=2).packet.pk
    wrong = [{"Authorization": "Basic abc"}, {"Authorization": "Bearer " + "x" * 129}, {"Authorization": "Bearer"}]
    return [Call("no-such-token", packet), *(Call("", packet, headers) for headers in wrong)]


def ended_log_ins(world: World) -> list[Call]:
    packet = send_lucky(world.people, total_fen=500, count=3).packet.pk
    login.revoke_tokens(employee_id=world.people.members[0].employee_id, now=clock.now())
    Employee.objects.filter(pk=world.people.members[1].employee_id).update(is_active=False)
    AccessToken.objects.filter(digest=login.digest_of(world.tokens[2])).update(expires_at=clock.now())
    return [Call(token, packet) for token in world.tokens]


def languages(world: World) -> list[Call]:
    tags = ["en", "zh-CN,zh;q=0.9", "fr", "zh-Hans", "en-GB;q=0.3, zh;q=0.8", "*", ""]
    return [Call(world.tokens[1], "0" * 32, {"Accept-Language": tag}) for tag in tags]


def accepted_kinds(world: World) -> list[Call]:
    kinds = ["*/*", "application/json", "application/json, text/plain, */*", "text/html, */*;q=0.8"]
    return [Call(world.tokens[1], "0" * 32, {"Accept": kind}) for kind in kinds]


def validator_numbers(world: World) -> list[Call]:
    first = send_lucky(world.people, total_fen=500, count=1).packet.pk
    second = send_lucky(world.people, total_fen=500, count=1).packet.pk
    token = validator_token(world.people.members[1].employee_id)
    numbers = [(first, "100"), (first, "100"), (second, "100"), (second, "140"), (second, "0"), (second, "101")]
    calls = [Call(world.tokens[1], packet, {"X-Pay-Token": token, "X-Pay-Seq": number}) for packet, number in numbers]
    stolen = Call(world.tokens[2], second, {"X-Pay-Token": token, "X-Pay-Seq": "102"})
    return [*calls, stolen, Call(world.tokens[1], second, {"X-Pay-Token": "nothing", "X-Pay-Seq": "1"})]


CASES: list[tuple[Callable[[World], list[Call]], list[str]]] = [
    (winner_and_repeat, ["grabbed", "already"]),
    (empty, ["grabbed", "redpacket_empty", "redpacket_empty"]),
    (expired, ["expired", "expired"]),
    (cancelled, ["redpacket_not_open", "redpacket_not_open"]),
    (not_the_receiver, ["permission_denied", "grabbed"]),
    (foreign_and_unknown, ["not_found", "not_found"]),
    (wrong_log_ins, ["not_authenticated"] * 4),
    (ended_log_ins, ["not_authenticated"] * 3),
    (languages, ["not_found"] * 7),
    (accepted_kinds, ["not_found"] * 4),
    (
        validator_numbers,
        [
            *("grabbed", "already", "sequence_used", "sequence_used", "sequence_used", "grabbed"),
            *("token_invalid", "token_invalid"),
        ],
    ),
]


@pytest.mark.parametrize(("case", "codes"), CASES, ids=lambda value: getattr(value, "__name__", ""))
def test_the_twins_answer_alike(case: Callable[[World], list[Call]], codes: list[str]) -> None:
    front, django = FrontDoor(nobody_behind), WSGIHandler()
    ours = [send(front, call) for call in case(make())]
    twins = [send(django, call) for call in case(make())]
    assert [code_of(answer) for answer in ours] == codes
    assert ours == twins


def test_both_limit_an_employee_who_hammers(settings: Any) -> None:
    settings.REDPACKET_EMPLOYEE_GRABS_PER_SECOND = 1
    settings.REDPACKET_EMPLOYEE_GRABS_AT_ONCE = 2
    answers = []
    for application in (FrontDoor(nobody_behind), WSGIHandler()):
        world = make()
        call = Call(world.tokens[1], "0" * 32, {"Accept-Language": "en"})
        answers.append([send(application, call) for _ in range(4)])
    assert answers[0] == answers[1]
    assert [answer.status for answer in answers[0]] == ["404 Not Found"] * 2 + ["429 Too Many Requests"] * 2
    assert answers[0][3].headers["Retry-After"] == "1"
    assert json.loads(answers[0][3].body)["error"]["details"] == {"retry_after_seconds": 1}


@pytest.mark.parametrize("by", ["block list", "strikes", "blocked address"])
def test_both_turn_away_whom_the_door_keeps_out_and_he_wins_nothing(by: str, settings: Any) -> None:
    settings.TRUSTED_PROXIES = 0
    world = make()
    packet = send_lucky(world.people, total_fen=500, count=1).packet
    front, django = FrontDoor(WSGIHandler()), WSGIHandler()
    number = world.people.members[1].employee_id
    address = f"198.51.{number % 256}.{number // 256 % 256}"
    call = Call(world.tokens[1], packet.pk, {"Accept-Language": "en"}, {"REMOTE_ADDR": address})
    if by == "strikes":
        settings.LIMITER_WINDOWS = {**settings.LIMITER_WINDOWS, "strikes": (2, 60)}
        for _ in range(3):
            door.strike(f"employee:{number}")
        expected, code = "429 Too Many Requests", "rate_limited"
    else:
        door.publish_blocked([f"employee:{number}" if by == "block list" else f"address:{address}"])
        expected, code = "403 Forbidden", "caller_blocked"
    try:
        answers = [send(application, call) for application in (front, django)]
        assert [(answer.status, code_of(answer)) for answer in answers] == [(expected, code)] * 2
        assert claims(packet) == {}
    finally:
        door.publish_blocked([])
        door.reopen(f"employee:{number}")
        door.reopen(f"address:{address}")
    assert code_of(send(front, call)) == "grabbed"


def test_wrong_log_ins_at_the_front_door_are_strikes_of_the_address(settings: Any) -> None:
    settings.TRUSTED_PROXIES = 0
    settings.LIMITER_WINDOWS = {**settings.LIMITER_WINDOWS, "strikes": (3, 60)}
    address = f"203.0.{clock.epoch_ms() % 256}.{clock.epoch_ms() // 256 % 256}"
    call = Call("nobody's", "0" * 32, environ={"REMOTE_ADDR": address})
    front = FrontDoor(WSGIHandler())
    statuses = [send(front, call).status[:3] for _ in range(6)]
    door.reopen(f"address:{address}")
    assert statuses == ["401"] * 4 + ["429"] * 2


def test_both_send_what_production_adds_over_https(settings: Any) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.SECURE_HSTS_SECONDS = 100
    settings.SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    settings.SECURE_SSL_REDIRECT = True
    front_door._fixed_headers.cache_clear()
    call = Call(make().tokens[1], "0" * 32, {"X-Forwarded-Proto": "https"})
    try:
        answer = send(FrontDoor(nobody_behind), call)
    finally:
        front_door._fixed_headers.cache_clear()
    assert answer == send(WSGIHandler(), call)
    assert answer.headers["Strict-Transport-Security"] == "max-age=100; includeSubDomains"


@pytest.mark.parametrize(
    "call",
    [
        Call("x", "0" * 32, environ={"QUERY_STRING": "a=b"}),
        Call("x", "0" * 32, environ={"CONTENT_LENGTH": "2"}),
        Call("x", "0" * 32, environ={"HTTP_TRANSFER_ENCODING": "chunked"}),
        Call("x", "0" * 32, environ={"REQUEST_METHOD": "GET"}),
        Call("x", "0" * 32, environ={"HTTP_HOST": "bad host"}),
        Call("x", "0" * 32, {"Accept": "application/json; indent=4"}),
        Call("x", "0" * 32, {"Accept": "text/html"}),
        Call("x", "0" * 32, {"Cookie": "django_language=en"}),
        Call("x", "0" * 32, {"X-Pay-Token": "one header without the other"}),
        Call("x", "0" * 31 + "G"),
        Call("x", "0" * 31),
        Call("", "0" * 32),
    ],
)
def test_what_is_unusual_goes_to_django(call: Call) -> None:
    def django(environ: Any, start_response: Any) -> list[bytes]:
        start_response("299 Django", [])
        return [b"behind"]

    assert send(FrontDoor(django), call) == Answer(status="299 Django", headers={}, body=b"behind")


@pytest.fixture
def redis_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    broken = redis_library.Redis.from_url("redis://127.0.0.1:1/0")
    with monkeypatch.context() as patch:
        patch.setattr(redis, "client", lambda: broken)
        yield


def test_without_redis_django_grabs(request: pytest.FixtureRequest) -> None:
    world = make()  # nobody logs in without Redis
    request.getfixturevalue("redis_away")
    packet = send_lucky(world.people, total_fen=500, count=1).packet
    answer = send(FrontDoor(WSGIHandler()), Call(world.tokens[1], packet.pk))
    assert (answer.status, code_of(answer)) == ("200 OK", "grabbed")
    assert claims(packet) == {1: world.people.members[1].employee_id}


def test_a_refused_or_repeated_grab_never_touches_the_database() -> None:
    world, others = make(), make()
    packet = send_lucky(world.people, total_fen=500, count=1).packet
    closed = send_lucky(world.people, total_fen=500, count=1).packet
    normal = send_normal(world.people, total_fen=300).packet
    cache.mark(packet_id=closed.pk, state="EXPIRED")
    front = FrontDoor(nobody_behind)
    for token in (*world.tokens, others.tokens[0]):  # Redis gets to know who they are
        send(front, Call(token, packet.pk))
    wanted = {
        "already": Call(world.tokens[0], packet.pk),
        "redpacket_empty": Call(world.tokens[1], packet.pk),
        "expired": Call(world.tokens[1], closed.pk),
        "permission_denied": Call(world.tokens[2], normal.pk),
        "not_found": Call(others.tokens[0], packet.pk),
        "token_invalid": Call(world.tokens[1], packet.pk, {"X-Pay-Token": "none", "X-Pay-Seq": "1"}),
    }
    captured = [CaptureQueriesContext(connections[alias]) for alias in roles.all_aliases()]
    for one in captured:
        one.__enter__()
    answers = {code: code_of(send(front, call)) for code, call in wanted.items()}
    for one in captured:
        one.__exit__(None, None, None)
    assert answers == {code: code for code in wanted}
    assert [query for one in captured for query in one.captured_queries] == []


def test_a_token_that_ended_behind_redis_wins_nothing_and_its_share_is_free_again() -> None:
    """Redis still believes the log-in; the claim is what looks."""
    world = make()
    packet = send_lucky(world.people, total_fen=500, count=1).packet
    front = FrontDoor(nobody_behind)
    assert code_of(send(front, Call(world.tokens[1], "0" * 32))) == "not_found"
    AccessToken.objects.filter(digest=login.digest_of(world.tokens[1])).update(revoked_at=clock.now())
    for _ in range(2):
        answer = send(front, Call(world.tokens[1], packet.pk))
        assert (answer.status, code_of(answer)) == ("401 Unauthorized", "not_authenticated")
    assert claims(packet) == {}
    assert code_of(send(front, Call(world.tokens[2], packet.pk))) == "grabbed"


@pytest.mark.parametrize("by", ["revoking", "closing"])
def test_a_revoked_or_closed_employee_is_out_at_once(by: str) -> None:
    """Not even a refusal of the packet is heard any more: Redis has forgotten the session."""
    world = make()
    front = FrontDoor(nobody_behind)
    assert code_of(send(front, Call(world.tokens[1], "0" * 32))) == "not_found"
    employee_id = world.people.members[1].employee_id
    if by == "revoking":
        login.revoke_tokens(employee_id=employee_id, now=clock.now())
    else:
        closed = Employee.objects.get(pk=employee_id)
        closed.is_active = False
        closed.save()
    answer = send(front, Call(world.tokens[1], "0" * 32))
    assert (answer.status, code_of(answer)) == ("401 Unauthorized", "not_authenticated")


def test_redis_forgets_a_session_with_its_token() -> None:
    world = make()
    digest = login.digest_of(world.tokens[1])
    AccessToken.objects.filter(digest=digest).update(expires_at=clock.now() + dt.timedelta(hours=1))
    send(FrontDoor(nobody_behind), Call(world.tokens[1], "0" * 32))
    assert 800 < redis.client().ttl(login.session_key(digest=digest)) <= 900
    redis.client().set(login.session_key(digest=digest), f"1:1:{clock.epoch_ms() - 1000}")
    answer = cache.admit(packet_id="0" * 32, session=digest)
    assert answer.code is cache.Code.UNKNOWN
