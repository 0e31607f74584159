"""Covers, the best-luck mark, claims page by page, details from Redis first."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from foundation import clock, redis
from foundation.db import roles
from redpacket import selectors
from redpacket.domain import rules
from redpacket.models import RedPacket, Share
from redpacket.services import announcing, expiry, settlement
from tests import worlds
from tests.integration.redpacket.packets import end_lifetime
from tests.integration.redpacket.test_api import Caller, assert_error, lucky, send
from tests.worlds import World

pytestmark = pytest.mark.django_db(databases="__all__")

EARLY = dt.datetime(2026, 11, 22, 2, 0, tzinfo=dt.UTC)


@pytest.fixture
def world() -> World:
    return worlds.make_world(4)


@pytest.fixture
def callers(world: World) -> list[Caller]:
    return [Caller(employee=employee, token=worlds.token_of(employee)) for employee in world.employees]


def packet_of(caller: Caller, packet_id: str) -> dict[str, Any]:
    return caller.get(f"redpackets/{packet_id}").json()["redpacket"]


def claim(packet_id: str, share_no: int, employee_id: int, *, amount_fen: int, seconds: int) -> None:
    """Writes a claim of a known amount at a known time; what the shares sum to does not matter here."""
    Share.objects.filter(packet_id=packet_id, share_no=share_no).update(
        receiver_id=employee_id, claimed_at=EARLY + dt.timedelta(seconds=seconds), amount_fen=amount_fen
    )


def expire(packet_id: str) -> None:
    end_lifetime(RedPacket.objects.get(pk=packet_id))
    assert expiry.expire_packet(packet=RedPacket.objects.get(pk=packet_id), now=clock.now())


def test_the_sender_chooses_a_cover(world: World, callers: list[Caller]) -> None:
    chosen = send(callers[0], lucky(world, cover="spring")).json()["redpacket"]["id"]
    usual = send(callers[0], lucky(world)).json()["redpacket"]["id"]
    assert packet_of(callers[1], chosen)["cover"] == "spring"
    assert packet_of(callers[1], usual)["cover"] == rules.DEFAULT_COVER
    listed = callers[0].get("redpackets?box=sent").json()["items"]
    assert [(one["id"], one["cover"]) for one in listed] == [(usual, "classic"), (chosen, "spring")]


@pytest.mark.parametrize("cover", ["", "gold", 5, None, ["classic"]])
def test_unknown_covers_are_refused(world: World, callers: list[Caller], cover: Any) -> None:
    details = assert_error(send(callers[0], lucky(world, cover=cover)), 400, "invalid_request")
    assert list(details) == ["cover"]
    assert not RedPacket.objects.filter(sender_id=callers[0].employee.pk).exists()
    assert worlds.wallet_of(callers[0].employee) == (500, 0)


def test_the_best_luck_is_known_when_the_packet_has_closed(world: World, callers: list[Caller]) -> None:
    packet_id = send(callers[0], lucky(world, count=4)).json()["redpacket"]["id"]
    claim(packet_id, 1, world.employees[1].pk, amount_fen=30, seconds=0)
    claim(packet_id, 2, world.employees[3].pk, amount_fen=200, seconds=2)
    claim(packet_id, 3, world.employees[2].pk, amount_fen=200, seconds=1)
    assert packet_of(callers[1], packet_id)["best_luck"] is None
    expire(packet_id)
    best = {"share_no": 3, "amount_fen": 200, "receiver": {"employee": "e0003", "name": "Person 3"}, "is_mine": False}
    assert packet_of(callers[1], packet_id)["best_luck"] == best  # looked for
    assert announcing.conclude_packet(packet_id=packet_id, now=clock.now())
    assert packet_of(callers[1], packet_id)["best_luck"] == best  # known
    assert packet_of(callers[2], packet_id)["best_luck"] == {**best, "is_mine": True}
    assert callers[0].get("redpackets?box=sent").json()["items"][0]["best_luck"] == best
    assert callers[2].get("redpackets?box=received").json()["items"][0]["best_luck"] == {**best, "is_mine": True}


def test_of_claims_at_one_moment_the_lower_number_is_best(world: World, callers: list[Caller]) -> None:
    packet_id = send(callers[0], lucky(world, count=3)).json()["redpacket"]["id"]
    for share_no in (3, 2):
        claim(packet_id, share_no, world.employees[share_no].pk, amount_fen=100, seconds=0)
    best = selectors.find_best_share(packet_id=packet_id)
    assert best is not None
    assert best.share_no == 2


def test_normal_and_ungrabbed_packets_have_no_best_luck(world: World, callers: list[Caller]) -> None:
    normal = {"kind": "normal", "total_fen": 500, "count": 1, "receiver": "e0002", "pay": "wallet"}
    mine = send(callers[0], normal).json()["redpacket"]["id"]
    assert callers[1].post(f"redpackets/{mine}/grab").status_code == 200
    settlement.settle_packet(packet_id=mine, now=clock.now())
    nobodys = send(callers[0], lucky(world)).json()["redpacket"]["id"]
    expire(nobodys)
    for packet_id, state, count in ((mine, "EXHAUSTED", 1), (nobodys, "EXPIRED", 0)):
        for _ in range(2):
            seen = packet_of(callers[0], packet_id)
            assert (seen["state"], seen["best_luck"], seen["claimed_count"]) == (state, None, count)
            announcing.conclude_packet(packet_id=packet_id, now=clock.now())


def test_claims_come_page_by_page_oldest_first(callers: list[Caller], world: World) -> None:
    packet_id = send(callers[0], lucky(world, count=120, total_fen=500)).json()["redpacket"]["id"]
    path = f"redpackets/{packet_id}/claims"
    named = [world.employees[1].pk, world.employees[2].pk]
    expected = []
    for share_no in range(1, 121):  # in the reverse order of their numbers, ten at one moment
        receiver = named[share_no - 1] if share_no <= 2 else 10**12 + share_no
        claim(packet_id, share_no, receiver, amount_fen=4, seconds=(120 - share_no) // 10)
        expected.append(((120 - share_no) // 10, share_no))
    order = [share_no for _, share_no in sorted(expected)]
    after: tuple[str, ...] | None = None
    found: list[int] = []
    for length in (50, 50, 20):
        page = selectors.list_claims(packet_id=packet_id, after=after, limit=50)
        assert len(page.items) == length
        found += [share.share_no for share in page.items]
        after = page.next_after
    assert after is None
    assert found == order
    Share.objects.filter(packet_id=packet_id, share_no__gt=2).update(receiver_id=None, claimed_at=None)
    first = callers[3].get(f"{path}?limit=1").json()
    assert [(one["share_no"], one["receiver"]["employee"]) for one in first["items"]] == [(1, "e0002")]
    second = callers[3].get(f"{path}?limit=1&cursor={first['next_cursor']}").json()
    assert [(one["share_no"], one["receiver"]["employee"]) for one in second["items"]] == [(2, "e0003")]
    assert second["next_cursor"] is None
    other = send(callers[0], lucky(world)).json()["redpacket"]["id"]
    for bad in (f"redpackets/{other}/claims?cursor={first['next_cursor']}", f"{path}?cursor=x", f"{path}?limit=0"):
        assert_error(callers[3].get(bad), 400, "invalid_request")
    stranger = worlds.make_world(1).employees[0]
    assert_error(Caller(employee=stranger, token=worlds.token_of(stranger)).get(path), 404, "not_found")


def test_details_show_fifty_claims_and_where_the_others_follow(
    world: World, callers: list[Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selectors, "CLAIMS_SHOWN", 2)
    packet_id = send(callers[0], lucky(world, count=4)).json()["redpacket"]["id"]
    for share_no in (1, 2, 3):
        claim(packet_id, share_no, world.employees[share_no].pk, amount_fen=100, seconds=share_no)
    seen = packet_of(callers[0], packet_id)
    assert (seen["claimed_count"], seen["claimed_fen"]) == (3, 300)
    assert [share["share_no"] for share in seen["shares"]] == [1, 2]
    rest = callers[0].get(f"redpackets/{packet_id}/claims?cursor={seen['claims_cursor']}").json()
    assert [share["share_no"] for share in rest["items"]] == [3]
    assert packet_of(callers[3], packet_id)["mine"]["share_no"] == 3  # his own is beyond the first page


def front(packet_id: str, *, is_concluded: bool) -> tuple[str | None, int]:
    key = selectors.front_key(packet_id=packet_id, is_concluded=is_concluded)
    return redis.client().get(key), redis.client().ttl(key)  # type: ignore[return-value]


def test_a_settled_packet_is_read_from_redis(world: World, callers: list[Caller]) -> None:
    packet_id = send(callers[0], lucky(world, count=2)).json()["redpacket"]["id"]
    for caller in callers[1:3]:
        assert caller.post(f"redpackets/{packet_id}/grab").status_code == 200
    assert packet_of(callers[0], packet_id)["claimed_count"] == 2
    assert front(packet_id, is_concluded=False)[0] is None  # small and open: counted each time
    settlement.settle_packet(packet_id=packet_id, now=clock.now())
    announcing.conclude_packet(packet_id=packet_id, now=clock.now())
    first = packet_of(callers[0], packet_id)
    text, seconds = front(packet_id, is_concluded=True)
    assert text is not None
    assert 0 <= selectors.CLOSED_SECONDS + selectors.STALE_SECONDS - seconds < 30
    with CaptureQueriesContext(connections[roles.alias_for("redpacket")]) as queries:
        assert packet_of(callers[0], packet_id) == first
    assert len(queries) == 3, queries.captured_queries  # the packet, the viewer's share, the best share
    selectors.forget_front(packet_id=packet_id)
    assert packet_of(callers[0], packet_id) == first


def test_an_unsettled_packet_is_not_kept_for_long(world: World, callers: list[Caller]) -> None:
    packet_id = send(callers[0], lucky(world, count=3)).json()["redpacket"]["id"]
    assert callers[1].post(f"redpackets/{packet_id}/grab").status_code == 200
    expire(packet_id)
    announcing.conclude_packet(packet_id=packet_id, now=clock.now())
    assert not packet_of(callers[0], packet_id)["shares"][0]["is_settled"]
    assert 0 < front(packet_id, is_concluded=True)[1] <= selectors.FILLING_SECONDS + selectors.STALE_SECONDS


def test_a_large_filling_packet_is_counted_once_a_second(
    world: World, callers: list[Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selectors, "LARGE_PACKET", 3)
    monkeypatch.setattr(selectors, "FILLING_SECONDS", 100)
    packet_id = send(callers[0], lucky(world, count=3)).json()["redpacket"]["id"]
    assert packet_of(callers[0], packet_id)["claimed_count"] == 0
    grabbed = callers[1].post(f"redpackets/{packet_id}/grab").json()
    stale = packet_of(callers[1], packet_id)
    assert (stale["claimed_count"], stale["mine"]["share_no"]) == (0, grabbed["share_no"])
    selectors.forget_front(packet_id=packet_id)
    assert packet_of(callers[0], packet_id)["claimed_fen"] == grabbed["amount_fen"]
    expire(packet_id)
    announcing.conclude_packet(packet_id=packet_id, now=clock.now())
    assert front(packet_id, is_concluded=False)[0] is None
    assert packet_of(callers[0], packet_id)["claimed_count"] == 1
