"""The HTTP contract of red packets (design api.md), through the URL map."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from foundation import clock, ids
from foundation.api import cursors
from identity.models import Employee
from redpacket.models import RedPacket
from redpacket.services import expiry, settlement
from tests import worlds
from tests.integration.redpacket.packets import end_lifetime
from tests.worlds import World

pytestmark = pytest.mark.django_db(databases="__all__")


@dataclasses.dataclass(frozen=True)
class Caller:
    """An employee with his log-in."""

    employee: Employee
    token: str

    def get(self, path: str) -> Any:
        return Client().get(f"/api/v1/{path}", headers={"Authorization": f"Bearer {self.token}"})

    def post(self, path: str, body: Any = None, *, key: str = "") -> Any:
        headers = {"Authorization": f"Bearer {self.token}", **({"Idempotency-Key": key} if key else {})}
        return Client().post(f"/api/v1/{path}", body, content_type="application/json", headers=headers)


@pytest.fixture
def world() -> World:
    return worlds.make_world(3)


@pytest.fixture
def callers(world: World) -> list[Caller]:
    return [Caller(employee=employee, token=worlds.token_of(employee)) for employee in world.employees]


def lucky(world: World, **change: Any) -> dict[str, Any]:
    return {"kind": "lucky", "total_fen": 500, "count": 3, "group": world.group.pk, "pay": "wallet", **change}


def send(caller: Caller, body: dict[str, Any], *, money_fen: int = 500) -> Any:
    if money_fen:
        worlds.give_money(caller.employee, money_fen)
    return caller.post("redpackets", body, key=ids.new_id())


def assert_error(response: HttpResponse, status: int, code: str) -> dict[str, Any]:
    body = response.json()
    assert (response.status_code, body["error"]["code"]) == (status, code), body
    assert body["error"]["request_id"] == response.headers["X-Request-ID"]
    return body["error"]["details"]


def test_sending_answers_packet_order_and_payment(world: World, callers: list[Caller]) -> None:
    response = send(callers[0], lucky(world, greeting="恭喜发财"))
    assert response.status_code == 201, response.content
    body = response.json()
    packet = body["redpacket"]
    assert (body["order"]["kind"], body["order"]["state"], body["order"]["amount_fen"]) == (
        "REDPACKET_SEND",
        "SUCCESS",
        500,
    )
    assert body["payment"] == {"kind": "none"}
    assert packet == {
        "id": packet["id"],
        "kind": "lucky",
        "state": "OPEN",
        "total_fen": 500,
        "count": 3,
        "claimed_fen": 0,
        "claimed_count": 0,
        "rest_fen": None,
        "greeting": "恭喜发财",
        "sender": {"employee": "e0001", "name": "First"},
        "receiver": None,
        "group": world.group.pk,
        "order_no": body["order"]["order_no"],
        "created_at": packet["created_at"],
        "opened_at": packet["opened_at"],
        "expires_at": packet["expires_at"],
        "closed_at": None,
        "mine": None,
    }
    assert worlds.wallet_of(callers[0].employee) == (0, 500)


def test_sending_again_with_the_same_key_is_answered_the_same(world: World, callers: list[Caller]) -> None:
    worlds.give_money(callers[0].employee, 1000)
    key = ids.new_id()
    first = callers[0].post("redpackets", lucky(world), key=key)
    again = callers[0].post("redpackets", lucky(world), key=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert_error(callers[0].post("redpackets", lucky(world, count=4), key=key), 422, "idempotency_key_reused")
    assert_error(callers[0].post("redpackets", lucky(world)), 400, "idempotency_key_required")
    assert worlds.wallet_of(callers[0].employee) == (500, 500)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "NORMAL"}, "kind"),
        ({"kind": "rain"}, "kind"),
        ({"total_fen": 0}, "total_fen"),
        ({"total_fen": 2}, "total_fen"),
        ({"total_fen": 1.5}, "total_fen"),
        ({"total_fen": "500"}, "total_fen"),
        ({"count": True}, "count"),
        ({"count": 0}, "count"),
        ({"greeting": 5}, "greeting"),
        ({"greeting": "x" * 61}, "greeting"),
        ({"group": 5}, "group"),
        ({"pay": "cash"}, "pay"),
        ({"pay": {"channel": "wechat"}}, "pay"),
        ({"pay": {"channel": "wechat", "scene": "native", "more": 1}}, "pay"),
        ({"pay": None}, "pay"),
        ({"colour": "red"}, "colour"),
        ({"receiver": "e0002"}, "receiver"),
    ],
)
def test_malformed_requests_are_refused(
    world: World, callers: list[Caller], change: dict[str, Any], field: str
) -> None:
    details = assert_error(send(callers[0], lucky(world, **change)), 400, "invalid_request")
    assert field in details
    assert RedPacket.objects.filter(enterprise_id=world.enterprise.pk).count() == 0
    assert worlds.wallet_of(callers[0].employee) == (500, 0)


def test_without_money_nothing_moves(world: World, callers: list[Caller]) -> None:
    assert_error(send(callers[0], lucky(world), money_fen=499), 422, "insufficient_funds")
    assert worlds.wallet_of(callers[0].employee) == (499, 0)


def test_grabbing_until_it_is_empty(world: World, callers: list[Caller]) -> None:
    packet_id = send(callers[0], lucky(world, count=2)).json()["redpacket"]["id"]
    path = f"redpackets/{packet_id}/grab"
    first, second = callers[1].post(path), callers[2].post(path)
    assert (first.status_code, first.json()["result"]) == (200, "grabbed")
    assert set(first.json()) == {"result", "amount_fen", "share_no"}
    assert first.json()["amount_fen"] + second.json()["amount_fen"] == 500
    again = callers[1].post(path)
    assert (again.status_code, again.json()) == (200, {**first.json(), "result": "already"})
    assert_error(callers[0].post(path), 409, "redpacket_empty")


def test_refusals_of_a_grab(world: World, callers: list[Caller]) -> None:
    stranger = worlds.make_world(1).employees[0]
    outsider = Caller(employee=stranger, token=worlds.token_of(stranger))
    normal = {"kind": "normal", "total_fen": 500, "count": 1, "receiver": "e0002", "pay": "wallet"}
    packet_id = send(callers[0], normal).json()["redpacket"]["id"]
    path = f"redpackets/{packet_id}/grab"
    assert_error(callers[2].post(path), 403, "permission_denied")
    assert_error(outsider.post(path), 404, "not_found")
    assert_error(callers[0].post(f"redpackets/{'0' * 32}/grab"), 404, "not_found")
    assert_error(Client().post(f"/api/v1/{path}"), 401, "not_authenticated")
    packet = RedPacket.objects.get(pk=packet_id)
    end_lifetime(packet)
    assert_error(callers[1].post(path), 410, "expired")
    RedPacket.objects.filter(pk=packet_id).update(state="DRAFT", opened_at=None, expires_at=None)
    from redpacket import cache

    cache.forget(packet_id=packet_id)
    assert_error(callers[1].post(path), 409, "redpacket_not_open")


def test_reading_a_packet_shows_its_shares(world: World, callers: list[Caller]) -> None:
    packet_id = send(callers[0], lucky(world, count=3)).json()["redpacket"]["id"]
    grabbed = callers[1].post(f"redpackets/{packet_id}/grab").json()
    settlement.settle_packet(packet_id=packet_id, now=clock.now())
    seen = callers[1].get(f"redpackets/{packet_id}").json()["redpacket"]
    assert (seen["claimed_count"], seen["claimed_fen"], seen["order_no"]) == (1, grabbed["amount_fen"], None)
    share = {
        "share_no": grabbed["share_no"],
        "amount_fen": grabbed["amount_fen"],
        "claimed_at": seen["mine"]["claimed_at"],
        "is_settled": True,
    }
    assert seen["mine"] == share
    assert seen["shares"] == [{**share, "receiver": {"employee": "e0002", "name": "Person 2"}}]
    assert callers[2].get(f"redpackets/{packet_id}").json()["redpacket"]["mine"] is None
    assert callers[0].get(f"redpackets/{packet_id}").json()["redpacket"]["order_no"] is not None
    end_lifetime(RedPacket.objects.get(pk=packet_id))
    expiry.expire_due(now=clock.now())
    ended = callers[0].get(f"redpackets/{packet_id}").json()["redpacket"]
    assert (ended["state"], ended["rest_fen"]) == ("EXPIRED", 500 - grabbed["amount_fen"])


def test_the_sender_may_give_a_shorter_life(world: World, callers: list[Caller]) -> None:
    packet_id = send(callers[0], lucky(world, expires_in_seconds=60)).json()["redpacket"]["id"]
    packet = RedPacket.objects.get(pk=packet_id)
    assert packet.opened_at is not None
    assert packet.expires_at is not None
    assert (packet.expires_at - packet.opened_at).total_seconds() == 60


@pytest.mark.parametrize("seconds", [0, 9, 86_401, -1, "60", 10.5, True, 10**30])
def test_a_life_outside_of_the_limits_is_refused(world: World, callers: list[Caller], seconds: Any) -> None:
    response = send(callers[0], lucky(world, expires_in_seconds=seconds))
    assert "expires_in_seconds" in assert_error(response, 400, "invalid_request")
    assert not RedPacket.objects.filter(sender_id=callers[0].employee.pk).exists()


def test_strangers_do_not_see_a_packet(world: World, callers: list[Caller]) -> None:
    stranger = worlds.make_world(1).employees[0]
    outsider = Caller(employee=stranger, token=worlds.token_of(stranger))
    normal = {"kind": "normal", "total_fen": 500, "count": 1, "receiver": "e0002", "pay": "wallet"}
    packet_id = send(callers[0], normal).json()["redpacket"]["id"]
    assert callers[1].get(f"redpackets/{packet_id}").status_code == 200
    for nosy in (callers[2], outsider):
        assert_error(nosy.get(f"redpackets/{packet_id}"), 404, "not_found")
    RedPacket.objects.filter(pk=packet_id).update(state="DRAFT", opened_at=None, expires_at=None)
    assert_error(callers[1].get(f"redpackets/{packet_id}"), 404, "not_found")
    assert callers[0].get(f"redpackets/{packet_id}").status_code == 200


def test_the_boxes_are_paged_newest_first(world: World, callers: list[Caller]) -> None:
    sent = [send(callers[0], lucky(world)).json()["redpacket"]["id"] for _ in range(5)]
    for packet_id in sent[:3]:
        assert callers[1].post(f"redpackets/{packet_id}/grab").status_code == 200
    for caller, box, expected in ((callers[0], "sent", sent[::-1]), (callers[1], "received", sent[2::-1])):
        found: list[str] = []
        cursor = ""
        while True:
            page = caller.get(f"redpackets?box={box}&limit=2&cursor={cursor}").json()
            assert len(page["items"]) <= 2
            found += [item["id"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert found == expected
    assert caller.get("redpackets?box=sent").json() == {"items": [], "next_cursor": None}
    first = callers[1].get("redpackets?box=received&limit=1").json()["items"][0]
    assert first["mine"]["amount_fen"] == first["claimed_fen"]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "box=both",
        "box=sent&limit=0",
        "box=sent&limit=101",
        "box=sent&limit=x",
        "box=sent&cursor=%21",
        "box=sent&x=1",
    ],
)
def test_bad_list_queries_are_refused(callers: list[Caller], query: str) -> None:
    assert_error(callers[0].get(f"redpackets?{query}"), 400, "invalid_request")


@pytest.mark.parametrize(
    ("box", "values"),
    [
        ("sent", ["sent", "x"]),
        ("sent", ["sent", 5]),
        ("sent", ["sent"]),
        ("sent", []),
        ("received", ["received", "2026-11-22T10:00:00", "5"]),
        ("received", ["received", "9999-12-31T23:59:59-23:00", "5"]),
        ("received", ["received", "2026-11-22T10:00:00+08:00", "-5"]),
        ("received", ["received", "2026-11-22T10:00:00+08:00", "9" * 19]),
        ("received", ["received", "2026-11-22T10:00:00+08:00", "\uff15"]),
        ("received", ["received", None, "5"]),
    ],
)
def test_invented_cursors_are_refused(callers: list[Caller], box: str, values: list[Any]) -> None:
    response = callers[0].get(f"redpackets?box={box}&cursor={cursors.encode(values)}")
    assert_error(response, 400, "invalid_request")


def test_a_cursor_of_the_other_box_is_refused(world: World, callers: list[Caller]) -> None:
    for _ in range(2):
        send(callers[0], lucky(world))
    cursor = callers[0].get("redpackets?box=sent&limit=1").json()["next_cursor"]
    assert_error(callers[0].get(f"redpackets?box=received&cursor={cursor}"), 400, "invalid_request")


def test_the_schema_describes_the_endpoints() -> None:
    paths = Client().get("/api/schema/?format=json").json()["paths"]
    assert set(paths["/api/v1/redpackets"]) == {"get", "post"}
    assert set(paths["/api/v1/redpackets/{packet_id}"]) == {"get"}
    assert set(paths["/api/v1/redpackets/{packet_id}/grab"]["post"]["responses"]) == {
        "200", "400", "401", "403", "404", "409", "410", "429", "503",
    }  # fmt: skip
