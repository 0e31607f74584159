"""Channel settings, and the decisions made by them."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator

import pytest
from django.db import IntegrityError, transaction
from pytest_django import Settings

from foundation import redis as shared_redis
from foundation.money import MAX_FEN
from gateway import registry, selectors
from gateway.domain.routing import ClientClass, Kind
from gateway.models import ChannelSetting, ClientGrade, RoutingDecision
from gateway.services import channels, health, routing
from gateway.services.routing import Request
from tests import worlds

pytestmark = pytest.mark.django_db(databases="__all__")
ALL = ("alipay", "kuaiqian", "wechat")


@pytest.fixture(autouse=True)
def fresh_cache() -> Iterator[None]:
    selectors.forget()
    keys = [f"gateway:health:{{{channel}}}" for channel in ALL]
    shared_redis.client().delete(*keys)
    yield
    selectors.forget()
    shared_redis.client().delete(*keys)


def setting(code: str, **values: object) -> None:
    channels.save(row=ChannelSetting(code=code, **values))


def request(**changes: object) -> Request:
    order_no = f"RC{uuid.uuid4().hex[:30]}"
    made = Request(
        order_no=order_no,
        attempt_key=f"{order_no}:auto:page",
        amount_fen=5000,
        kind=Kind.RECHARGE,
        scene="page",
        client_class=ClientClass.ORDINARY,
    )
    return dataclasses.replace(made, **changes)


def choose(wanted: Request, candidates: tuple[str, ...] = ALL) -> str:
    return routing.choose(request=wanted, now=worlds.NOW, candidates=candidates)


def decisions(order_no: str) -> list[tuple]:
    found = RoutingDecision.objects.filter(order_no=order_no).order_by("id")
    return list(found.values_list("chosen", "is_named", "candidates"))


def judged(channel: str, exclusion: str = "", weight: int = 100) -> dict[str, object]:
    return {"channel": channel, "weight": weight, "exclusion": exclusion}


def test_without_a_row_a_channel_is_for_everything() -> None:
    terms = selectors.get_terms(channel="wechat")
    assert (terms.is_enabled, terms.min_fen, terms.max_fen) == (True, 1, MAX_FEN)
    assert terms.kinds == {"recharge", "payment", "redpacket", "collect"}
    assert terms.weights == {"VIP": 100, "LARGE": 100, "ORDINARY": 100}


def test_a_switch_is_seen_within_two_seconds_by_a_process_that_did_not_make_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moment = [1000.0]
    monkeypatch.setattr(selectors.time, "monotonic", lambda: moment[0])
    assert selectors.get_terms(channel="wechat").is_enabled
    ChannelSetting.objects.create(code="wechat", is_enabled=False)
    assert selectors.get_terms(channel="wechat").is_enabled
    moment[0] += 1.0
    assert selectors.CACHE_SECONDS <= 2
    assert not selectors.get_terms(channel="wechat").is_enabled


def test_settings_that_cannot_be_read_leave_the_last_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [1000.0]
    monkeypatch.setattr(selectors.time, "monotonic", lambda: moment[0])
    setting("wechat", is_enabled=False)
    assert not selectors.get_terms(channel="wechat").is_enabled

    def away() -> None:
        raise ConnectionError

    monkeypatch.setattr(selectors, "_read_terms", away)
    moment[0] += 10
    assert not selectors.get_terms(channel="wechat").is_enabled


def test_amounts_the_wrong_way_round_are_refused_by_the_table() -> None:
    with pytest.raises(IntegrityError), transaction.atomic(using="default"):
        ChannelSetting.objects.create(code="wechat", min_fen=200, max_fen=100)


def test_the_named_channel_is_used_and_the_decision_written_once() -> None:
    wanted = request(scene="native")
    for _ in range(2):
        assert routing.confirm(channel="wechat", request=wanted, now=worlds.NOW) == "wechat"
    assert decisions(wanted.order_no) == [("wechat", True, [judged("wechat")])]
    row = RoutingDecision.objects.get(order_no=wanted.order_no)
    assert (row.amount_fen, row.kind, row.scene, row.client_class) == (5000, "recharge", "native", "ORDINARY")
    assert (row.attempt_key, row.decided_at) == (wanted.attempt_key, worlds.NOW)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"is_enabled": False}, "disabled"),
        ({"min_fen": 5001}, "amount"),
        ({"max_fen": 4999}, "amount"),
        ({"kinds": ["payment", "redpacket"]}, "kind"),
        ({"scenes": ["native"]}, "scene"),
        ({"client_classes": ["VIP"]}, "client_class"),
    ],
)
def test_a_named_channel_that_may_not_is_refused_with_the_reason(values: dict, reason: str) -> None:
    setting("wechat", **values)
    wanted = request()
    for _ in range(2):
        with pytest.raises(registry.ChannelUnavailable) as caught:
            routing.confirm(channel="wechat", request=wanted, now=worlds.NOW)
        assert caught.value.details == {"channel": "wechat", "reason": reason}
    assert decisions(wanted.order_no) == [("", True, [judged("wechat", reason)])] * 2


def test_a_named_channel_that_does_not_answer_is_busy() -> None:
    break_channel("wechat")
    wanted = request()
    with pytest.raises(health.ChannelUnhealthy) as caught:
        routing.confirm(channel="wechat", request=wanted, now=worlds.NOW)
    assert caught.value.details == {"channel": "wechat", "reason": "channel_unhealthy"}
    assert decisions(wanted.order_no) == [("", True, [judged("wechat", "unhealthy")])]


def break_channel(channel: str) -> None:
    from foundation import clock

    for _ in range(20):
        health.record(channel=channel, is_error=True, milliseconds=1, now_ms=clock.epoch_ms())


def test_the_choice_leaves_out_who_may_not_and_says_why() -> None:
    setting("kuaiqian", is_enabled=False)
    break_channel("alipay")
    wanted = request()
    assert choose(wanted) == "wechat"
    assert decisions(wanted.order_no) == [
        ("wechat", False, [judged("alipay", "unhealthy"), judged("kuaiqian", "disabled"), judged("wechat")])
    ]


def test_a_retry_keeps_its_channel_whatever_has_changed() -> None:
    wanted = request()
    first = choose(wanted)
    setting(first, is_enabled=False)
    assert choose(wanted) == first
    assert len(decisions(wanted.order_no)) == 1
    assert choose(request()) != first


def test_of_two_threads_with_one_request_the_first_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = request()

    def overtaken(**_: object) -> str:
        monkeypatch.undo()
        routing.choose(request=wanted, now=worlds.NOW, candidates=("alipay",))
        return "wechat"

    monkeypatch.setattr(routing.routing, "pick", overtaken)
    assert choose(wanted) == "alipay"
    assert [row[0] for row in decisions(wanted.order_no)] == ["alipay"]


def test_a_vip_goes_where_his_weight_is() -> None:
    setting("wechat", weight=0, vip_weight=1)
    setting("alipay", weight=1, vip_weight=0)
    setting("kuaiqian", weight=1, vip_weight=0, large_weight=0)
    assert {choose(request(client_class=ClientClass.VIP)) for _ in range(10)} == {"wechat"}
    assert {choose(request()) for _ in range(40)} == {"alipay", "kuaiqian"}


def test_amounts_lead_to_different_channels() -> None:
    setting("wechat", max_fen=10_000)
    setting("alipay", min_fen=10_001, max_fen=1_000_000)
    two = ("alipay", "wechat")
    assert choose(request(amount_fen=10_000), two) == "wechat"
    assert choose(request(amount_fen=10_001), two) == "alipay"
    with pytest.raises(registry.ChannelUnavailable) as caught:
        choose(request(amount_fen=1_000_001), two)
    assert caught.value.details == {"reason": "no_channel", "excluded": {"alipay": "amount", "wechat": "amount"}}


def test_nobody_who_answers_is_busy_and_decided_anew_afterwards() -> None:
    break_channel("wechat")
    wanted = request()
    with pytest.raises(health.ChannelUnhealthy):
        choose(wanted, ("wechat",))
    health.reset(channel="wechat")
    assert choose(wanted, ("wechat",)) == "wechat"
    assert [row[0] for row in decisions(wanted.order_no)] == ["", "wechat"]


def test_candidates_are_the_channels_that_are_set_up(settings: Settings) -> None:
    for name in ("ALIPAY", "KUAIQIAN"):
        setattr(settings, name, {**getattr(settings, name), "credentials_file": ""})
    assert registry.payment_channels() == ("wechat",)
    assert routing.choose(request=request(), now=worlds.NOW) == "wechat"


def test_an_enterprise_is_ordinary_until_graded() -> None:
    enterprise_id = worlds.make_world(1).enterprise.pk
    assert channels.get_client_class(enterprise_id=enterprise_id) is ClientClass.ORDINARY
    channels.save(row=ClientGrade(enterprise_id=enterprise_id, client_class="VIP"))
    assert channels.get_client_class(enterprise_id=enterprise_id) is ClientClass.VIP
