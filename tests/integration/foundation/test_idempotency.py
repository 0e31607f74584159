"""Idempotency keys over HTTP: the first answer again, one number for one request, nothing done twice."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest
from django.test import Client
from rest_framework.response import Response

from foundation import clock
from foundation.api.idempotency import LOCK_SECONDS
from foundation.errors import Busy, NotFound, PermissionDenied, Rejected
from foundation.models import IdempotencyRecord
from identity.models import Employee
from tests import worlds
from tests.integration.foundation.probes import Probe

pytestmark = [
    pytest.mark.django_db(databases="__all__"),
    pytest.mark.urls("tests.integration.foundation.probes"),
    pytest.mark.filterwarnings("ignore:No directory at"),
]

START = worlds.NOW


class Refused(Rejected):
    code = "insufficient_funds"
    http_status = 422


class Conflict(Rejected):
    code = "request_in_progress"
    http_status = 409


class World:
    """Counts what is reserved and done; `fail_with` makes the work raise."""

    def __init__(self) -> None:
        self.reserved: list[str] = []
        self.done: list[str] = []
        self.fail_with: BaseException | None = None

    def reserve(self) -> str:
        self.reserved.append(f"PR{len(self.reserved) + 1}")
        return self.reserved[-1]

    def work(self, number: str) -> Response:
        self.done.append(number)
        if self.fail_with is not None:
            raise self.fail_with
        return Response({"number": number, "time": len(self.done), "at": clock.now()}, status=201)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(Probe, "reserve", staticmethod(made.reserve))
    monkeypatch.setattr(Probe, "work", staticmethod(made.work))
    return made


Post = Callable[..., object]


def poster(person: Employee) -> Post:
    """`post(key=…, body=…)` as this employee."""
    token = worlds.token_of(person)

    def post(key: str | None = "key-1", body: str = '{"amount_fen": 5}', address: str = "/api/v1/probe") -> object:
        headers = {"Authorization": f"Bearer {token}", **({} if key is None else {"Idempotency-Key": key})}
        client = Client(raise_request_exception=False)
        return client.generic("POST", address, body.encode(), content_type="application/json", headers=headers)

    return post


@pytest.fixture
def post() -> Post:
    return poster(worlds.make_world(1).employees[0])


def code_of(response: object) -> tuple[int, str]:
    return response.status_code, response.json().get("error", {}).get("code", "")  # type: ignore[attr-defined]


def test_the_first_answer_comes_again(world: World, post: Post) -> None:
    first, second = post(), post()
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["number"] == "PR1"
    assert second.json() == first.json()
    assert (first.headers.get("Idempotent-Replayed"), second.headers["Idempotent-Replayed"]) == (None, "true")
    assert (world.reserved, world.done) == (["PR1"], ["PR1"])


def test_white_space_and_order_do_not_make_another_request(world: World, post: Post) -> None:
    post()
    assert post(body='\n{ "amount_fen" :5}').headers["Idempotent-Replayed"] == "true"
    assert world.done == ["PR1"]


@pytest.mark.parametrize(
    "change", [{"body": '{"amount_fen": 6}'}, {"address": "/api/v1/probe/other"}], ids=["body", "endpoint"]
)
def test_the_same_key_for_something_else_is_refused(world: World, post: Post, change: dict[str, str]) -> None:
    first = post()
    assert code_of(post(**change)) == (422, "idempotency_key_reused")
    assert (world.reserved, world.done) == (["PR1"], ["PR1"])
    assert post().json() == first.json()


def test_another_key_is_another_request(world: World, post: Post) -> None:
    assert [post(key=key).json()["number"] for key in ("a", "b", "A")] == ["PR1", "PR2", "PR3"]


@pytest.mark.parametrize("key", ["x", "a b", "!~", "k" * 64])
def test_printable_keys_are_taken(world: World, post: Post, key: str) -> None:
    assert post(key=key).status_code == 201
    assert IdempotencyRecord.objects.get(key=key).state == "DONE"


@pytest.mark.parametrize("key", [None, "", "k" * 65, "a\tb", "企业", "é", "a\x7f"])
def test_other_keys_are_refused_before_anything_is_done(world: World, post: Post, key: str | None) -> None:
    assert code_of(post(key=key)) == (400, "idempotency_key_required")
    assert (world.reserved, world.done, IdempotencyRecord.objects.count()) == ([], [], 0)


def test_an_invalid_body_uses_up_no_key(world: World, post: Post) -> None:
    assert code_of(post(body='{"amount_fen": 1.5}')) == (400, "invalid_request")
    assert (world.reserved, IdempotencyRecord.objects.count()) == ([], 0)
    assert post().status_code == 201


def test_callers_with_the_same_key_do_not_meet(world: World) -> None:
    one, two = worlds.make_world(2).employees
    assert poster(one)().json()["number"] == "PR1"
    other = poster(two)(body='{"amount_fen": 6}')
    assert (other.status_code, other.json()["number"]) == (201, "PR2")
    assert "Idempotent-Replayed" not in other.headers
    assert set(IdempotencyRecord.objects.values_list("caller", flat=True)) == {
        f"employee:{one.pk}",
        f"employee:{two.pk}",
    }


def test_a_running_request_is_not_done_twice(world: World, post: Post) -> None:
    answers: list[object] = []
    inner = world.work

    def work(number: str) -> Response:
        if not answers:
            answers.append(post())  # the impatient client's repeat, in the middle of the first
        return inner(number)

    Probe.work = staticmethod(work)  # the fixture's monkeypatch puts the original back
    assert post().status_code == 201
    assert code_of(answers[0]) == (409, "request_in_progress")
    assert (world.reserved, world.done) == (["PR1"], ["PR1"])


class Crash(BaseException):
    """The process dies: no handler of ours gets hold of it."""


def crashed_record(post: Post, world: World) -> IdempotencyRecord:
    """What a process leaves that is killed in the middle: RUNNING, locked, its number reserved."""
    with clock.frozen(START):
        world.fail_with = Crash()
        with pytest.raises(Crash):
            post()
        world.fail_with = None
    record = IdempotencyRecord.objects.get()
    IdempotencyRecord.objects.update(locked_until=START + dt.timedelta(seconds=LOCK_SECONDS))
    return record


def test_after_a_crash_the_repeat_goes_on_with_the_same_number(world: World, post: Post) -> None:
    record = crashed_record(post, world)
    assert (record.state, record.reserved_no, record.response_status) == ("RUNNING", "PR1", None)
    with clock.frozen(START + dt.timedelta(seconds=LOCK_SECONDS - 1)):
        assert code_of(post()) == (409, "request_in_progress")
    assert world.done == ["PR1"]
    with clock.frozen(START + dt.timedelta(seconds=LOCK_SECONDS)):
        assert post().json()["number"] == "PR1"
    assert (world.reserved, world.done) == (["PR1"], ["PR1", "PR1"])


def test_after_a_crash_another_body_is_still_refused(world: World, post: Post) -> None:
    crashed_record(post, world)
    with clock.frozen(START + dt.timedelta(hours=1)):
        assert code_of(post(body='{"amount_fen": 6}')) == (422, "idempotency_key_reused")
    assert world.done == ["PR1"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Busy(), 503, "busy"),
        (ZeroDivisionError(), 500, "internal_error"),
        (Conflict(), 409, "request_in_progress"),
        (PermissionDenied(), 403, "permission_denied"),
    ],
    ids=repr,
)
def test_failures_of_the_moment_are_not_saved(
    world: World, post: Post, error: Exception, status: int, code: str
) -> None:
    world.fail_with = error
    assert code_of(post()) == (status, code)
    assert code_of(post()) == (status, code)  # not "in progress": the lock is released
    record = IdempotencyRecord.objects.get()
    assert (record.state, record.response_status, record.response_body) == ("RUNNING", None, None)
    world.fail_with = None
    assert post().json()["number"] == "PR1"
    assert (world.reserved, world.done) == (["PR1"], ["PR1"] * 3)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(Refused({"needed_fen": 5}), 422, "insufficient_funds"), (NotFound(), 404, "not_found")],
)
def test_a_refusal_by_a_rule_is_the_first_answer(
    world: World, post: Post, error: Exception, status: int, code: str
) -> None:
    world.fail_with = error
    first = post()
    assert code_of(first) == (status, code)
    world.fail_with = None
    second = post()
    assert code_of(second) == (status, code)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.json()["error"]["details"] == first.json()["error"]["details"]
    assert world.done == ["PR1"]


def test_a_replayed_refusal_carries_its_own_request_id(world: World, post: Post) -> None:
    world.fail_with = Refused()
    first, second = post(), post()
    assert first.json()["error"]["request_id"] == first["X-Request-ID"]
    assert second.json()["error"]["request_id"] == second["X-Request-ID"]
    assert first["X-Request-ID"] != second["X-Request-ID"]


def test_a_slow_first_holder_neither_frees_nor_overwrites_the_second(world: World, post: Post) -> None:
    """The first runs longer than its lock; meanwhile a repeat takes over and answers."""
    answers: list[object] = []
    inner = world.work

    def work(number: str) -> Response:
        if not answers:
            answers.append(None)
            with clock.frozen(START + dt.timedelta(seconds=LOCK_SECONDS + 1)):
                answers[0] = post()
            raise Busy
        return inner(number)

    Probe.work = staticmethod(work)
    with clock.frozen(START):
        assert code_of(post()) == (503, "busy")
        assert post().json() == answers[0].json()  # type: ignore[attr-defined]
    assert world.reserved == ["PR1"]
    assert world.done == ["PR1"]
    assert IdempotencyRecord.objects.get().response_status == 201


def test_a_late_release_leaves_the_new_holders_lock(world: World, post: Post) -> None:
    later = START + dt.timedelta(seconds=LOCK_SECONDS + 1)

    def work(number: str) -> Response:
        IdempotencyRecord.objects.update(locked_until=later + dt.timedelta(seconds=LOCK_SECONDS))  # taken over
        raise Busy

    Probe.work = staticmethod(work)
    with clock.frozen(START):
        assert code_of(post()) == (503, "busy")
    with clock.frozen(later):
        assert code_of(post()) == (409, "request_in_progress")


def test_a_slow_first_holders_success_does_not_replace_the_saved_answer(world: World, post: Post) -> None:
    answers: list[object] = []
    inner = world.work

    def work(number: str) -> Response:
        if not answers:
            answers.append(None)
            with clock.frozen(START + dt.timedelta(seconds=LOCK_SECONDS + 1)):
                answers[0] = post()
        return inner(number)

    Probe.work = staticmethod(work)
    with clock.frozen(START):
        assert post().json()["time"] == 2
        replayed = post()
    assert answers[0].json()["time"] == 1  # type: ignore[attr-defined]
    assert (replayed.headers["Idempotent-Replayed"], replayed.json()["time"]) == ("true", 1)
    assert world.reserved == ["PR1"]
