"""Article packets: only who has read long enough may grab, with Redis and without it."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

from foundation import clock
from redpacket import cache, selectors
from redpacket.domain.articles import Article
from redpacket.domain.states import PacketKind
from redpacket.models import Reading, RedPacket, Share
from redpacket.services import articles, grab, publishing, send
from redpacket.services.send import NewPacket, PayBy
from tests import worlds
from tests.integration.redpacket.packets import claims, reserve_number
from tests.integration.redpacket.people import People, give_money, make_people
from tests.integration.redpacket.test_api import Caller, assert_error, lucky
from tests.integration.redpacket.test_api import send as send_by_api

pytestmark = pytest.mark.django_db(databases="__all__")

ARTICLE = {"url": "https://example.com/news/1?a=1&b=2", "reading_seconds": 30}


@pytest.fixture
def people() -> People:
    return make_people(count=3)


@pytest.fixture
def packet(people: People) -> RedPacket:
    give_money(people.sender, amount_fen=500)
    new = NewPacket(
        kind=PacketKind.LUCKY,
        total_fen=500,
        count=2,
        group_id=people.group_id,
        article=Article(url="https://example.com/news/1", reading_seconds=30),
    )
    number = reserve_number(people.sender)
    return send.send_packet(
        order_no=number, sender=people.sender, new=new, pay=PayBy(source="wallet"), now=clock.now()
    ).packet


def after(seconds: float, start: dt.datetime) -> dt.datetime:
    return start + dt.timedelta(seconds=seconds)


def test_nobody_grabs_before_he_has_read(people: People, packet: RedPacket) -> None:
    start, reader = clock.now(), people.members[1]
    with pytest.raises(grab.PermissionDenied):
        grab.grab(packet_id=packet.pk, employee=reader, now=start)
    for seconds, left in ((0, 30), (10.5, 20), (29.9, 1)):
        progress = articles.read_article(packet_id=packet.pk, reader=reader, now=after(seconds, start))
        assert (progress.seconds_left, progress.started_at, progress.reading_seconds) == (left, start, 30)
        with pytest.raises(grab.PermissionDenied):
            grab.grab(packet_id=packet.pk, employee=reader, now=after(seconds, start))
    assert claims(packet) == {}
    assert articles.read_article(packet_id=packet.pk, reader=reader, now=after(30, start)).seconds_left == 0
    assert grab.grab(packet_id=packet.pk, employee=reader, now=after(30, start)).result == "grabbed"
    with pytest.raises(grab.PermissionDenied):
        grab.grab(packet_id=packet.pk, employee=people.members[2], now=after(30, start))
    assert list(claims(packet).values()) == [reader.employee_id]
    assert articles.read_article(packet_id=packet.pk, reader=reader, now=after(99, start)).seconds_left == 0


def test_the_keys_built_again_know_who_has_read(people: People, packet: RedPacket) -> None:
    start, (_, done, halfway) = clock.now(), people.members
    articles.read_article(packet_id=packet.pk, reader=done, now=start)
    articles.read_article(packet_id=packet.pk, reader=halfway, now=after(20, start))
    cache.forget(packet_id=packet.pk)
    articles.read_article(packet_id=packet.pk, reader=done, now=after(30, start))
    assert not cache.is_published(packet_id=packet.pk)  # a reader alone does not make keys
    assert selectors.list_member_ids(packet=packet) == [done.employee_id]
    assert grab.grab(packet_id=packet.pk, employee=done, now=after(30, start)).result == "grabbed"
    with pytest.raises(grab.PermissionDenied):
        grab.grab(packet_id=packet.pk, employee=halfway, now=after(30, start))
    publishing.republish_packet(packet_id=packet.pk, now=after(31, start))
    assert grab.grab(packet_id=packet.pk, employee=done, now=after(31, start)).result == "already"


def test_a_lost_word_to_redis_is_mended_by_the_next_call(people: People, packet: RedPacket) -> None:
    start, reader = clock.now(), people.members[1]
    articles.read_article(packet_id=packet.pk, reader=reader, now=start)
    Reading.objects.filter(packet_id=packet.pk).update(finished_at=after(30, start))
    with pytest.raises(grab.PermissionDenied):
        grab.grab(packet_id=packet.pk, employee=reader, now=after(31, start))
    articles.read_article(packet_id=packet.pk, reader=reader, now=after(32, start))
    assert grab.grab(packet_id=packet.pk, employee=reader, now=after(32, start)).result == "grabbed"


def test_without_redis_the_database_asks_the_same(
    people: People, packet: RedPacket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(**_: Any) -> Any:
        raise cache.ConnectionFailed

    monkeypatch.setattr(cache, "admit", away)
    start, reader = clock.now(), people.members[1]
    articles.read_article(packet_id=packet.pk, reader=reader, now=start)
    with pytest.raises(grab.PermissionDenied):
        grab.grab(packet_id=packet.pk, employee=reader, now=start)
    articles.read_article(packet_id=packet.pk, reader=reader, now=after(30, start))
    assert grab.grab(packet_id=packet.pk, employee=reader, now=after(30, start)).result == "grabbed"


def test_a_refusal_can_be_explained(people: People, packet: RedPacket) -> None:
    start, reader = clock.now(), people.members[1]

    def explain(seconds: float) -> Any:
        with pytest.raises(articles.ReadingNotOver) as refused:
            articles.refuse_unread(packet_id=packet.pk, reader=reader, now=after(seconds, start))
        return refused.value.details

    assert explain(0) == {"seconds_left": None}
    articles.read_article(packet_id=packet.pk, reader=reader, now=start)
    assert explain(10.5) == {"seconds_left": 20}
    articles.read_article(packet_id=packet.pk, reader=reader, now=after(30, start))
    articles.refuse_unread(packet_id=packet.pk, reader=reader, now=after(30, start))
    articles.refuse_unread(packet_id=packet.pk, reader=make_people(count=1).sender, now=start)
    articles.refuse_unread(packet_id="0" * 32, reader=reader, now=start)


def test_the_endpoint_and_its_refusals() -> None:
    world = worlds.make_world(3)
    callers = [Caller(employee=employee, token=worlds.token_of(employee)) for employee in world.employees]
    packet_id = send_by_api(callers[0], lucky(world, article=ARTICLE)).json()["redpacket"]["id"]
    plain = send_by_api(callers[0], lucky(world)).json()["redpacket"]["id"]
    seen = callers[1].get(f"redpackets/{packet_id}").json()["redpacket"]  # who has not read yet sees it
    assert (seen["article"], seen["mine"]) == (ARTICLE, None)
    assert callers[1].get(f"redpackets/{plain}").json()["redpacket"]["article"] is None
    assert_error(callers[1].post(f"redpackets/{packet_id}/grab"), 403, "permission_denied")
    answer = callers[1].post(f"redpackets/{packet_id}/reading")
    assert (answer.status_code, set(answer.json())) == (200, {"started_at", "reading_seconds", "seconds_left"})
    assert 28 <= answer.json()["seconds_left"] <= 30
    assert_error(callers[1].post(f"redpackets/{plain}/reading"), 409, "redpacket_without_article")
    stranger = worlds.make_world(1).employees[0]
    outsider = Caller(employee=stranger, token=worlds.token_of(stranger))
    assert_error(outsider.post(f"redpackets/{packet_id}/reading"), 404, "not_found")
    assert_error(Client().post(f"/api/v1/redpackets/{packet_id}/reading"), 401, "not_authenticated")
    normal = {"kind": "normal", "total_fen": 500, "count": 1, "receiver": "e0002", "pay": "wallet", "article": ARTICLE}
    own = send_by_api(callers[0], normal).json()["redpacket"]["id"]
    assert_error(callers[0].post(f"redpackets/{own}/reading"), 403, "permission_denied")
    assert list(
        Reading.objects.filter(packet_id__in=[packet_id, plain, own]).values_list("employee_id", flat=True)
    ) == [callers[1].employee.pk]
    assert not Share.objects.filter(packet_id=packet_id, receiver_id__isnull=False).exists()


@pytest.mark.parametrize(
    "article",
    [
        None,
        "https://example.com/",
        {},
        {"url": "https://example.com/"},
        {**ARTICLE, "url": "javascript:alert(1)"},
        {**ARTICLE, "reading_seconds": 2},
        {**ARTICLE, "reading_seconds": "30"},
        {**ARTICLE, "more": 1},
    ],
)
def test_malformed_articles_are_refused(article: Any) -> None:
    world = worlds.make_world(2)
    caller = Caller(employee=world.employees[0], token=worlds.token_of(world.employees[0]))
    details = assert_error(send_by_api(caller, lucky(world, article=article)), 400, "invalid_request")
    assert list(details) == ["article"]
    assert not RedPacket.objects.filter(sender_id=caller.employee.pk).exists()
    assert worlds.wallet_of(caller.employee) == (500, 0)


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere(packet: RedPacket) -> None:
    address = f"/api/v1/redpackets/{packet.pk}/article"
    assert '<html lang="en">' in Client().get(address, headers={"Accept-Language": "en"}).content.decode()
    answer = Client().get(address)
    page = answer.content.decode()
    assert answer.status_code == 200
    assert '<html lang="zh-Hans">' in page
    assert answer["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in answer["Content-Security-Policy"]
    assert re.findall(r"<script[^>]*>([^<]+)", page) == []
    assert re.findall(r"<style| style=| on\w+=", page) == []
    assets = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert assets == ["/static/redpacket/article.css", "/static/redpacket/article.js"]
    found = [finders.find(asset.removeprefix("/static/")) for asset in assets]
    assert all(found)
    assert not re.search(r"innerHTML|eval\(|https?://", Path(str(found[1])).read_text())
    assert "example.com" not in page  # what the packet is about is for who logs in
    assert Client().get("/api/v1/redpackets/x/article").status_code == 404
    assert Client().post(f"/api/v1/redpackets/{packet.pk}/article").status_code == 405
