"""Who may take a payment, and how often each of those is taken."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from gateway.domain.routing import Judged, Terms, Wish, judge, pick

TERMS = Terms(
    channel="wechat",
    is_enabled=True,
    min_fen=100,
    max_fen=5000,
    kinds=frozenset({"recharge", "redpacket"}),
    scenes=frozenset({"native", "h5", "app"}),
    client_classes=frozenset({"VIP", "ORDINARY"}),
    weights={"VIP": 300, "LARGE": 50, "ORDINARY": 0},
)
WISH = Wish(amount_fen=100, kind="recharge", scene="native", client_class="VIP")


def reason(terms: Terms = TERMS, *, is_healthy: bool = True, is_named: bool = False, **wish: object) -> str:
    return judge(terms=terms, wish=replace(WISH, **wish), is_healthy=is_healthy, is_named=is_named).exclusion


def test_a_channel_that_may_has_the_weight_of_the_clients_class() -> None:
    assert judge(terms=TERMS, wish=WISH, is_healthy=True, is_named=False) == Judged(channel="wechat", weight=300)


@pytest.mark.parametrize(("amount_fen", "expected"), [(99, "amount"), (100, ""), (5000, ""), (5001, "amount")])
def test_both_ends_of_the_amounts_are_allowed(amount_fen: int, expected: str) -> None:
    assert reason(amount_fen=amount_fen) == expected


def test_each_reason_is_named() -> None:
    assert reason(replace(TERMS, is_enabled=False)) == "disabled"
    assert reason(kind="payment") == "kind"
    assert reason(scene="jsapi") == "scene"
    assert reason(client_class="LARGE") == "client_class"
    assert reason(is_healthy=False) == "unhealthy"
    assert reason(client_class="ORDINARY") == "no_weight"


def test_by_name_a_channel_without_weight_is_taken_and_its_adapter_judges_the_scene() -> None:
    assert reason(client_class="ORDINARY", is_named=True) == ""
    assert (reason(scene="app"), reason(scene="app", is_named=True)) == ("scene", "")
    assert reason(replace(TERMS, is_enabled=False), is_named=True) == "disabled"


def test_a_key_always_gets_the_same_channel() -> None:
    judged = [Judged(channel=name, weight=100) for name in ("alipay", "kuaiqian", "wechat")]
    chosen = [pick(judged=judged, key=f"order-{number}") for number in range(200)]
    assert [pick(judged=reversed(judged), key=f"order-{number}") for number in range(200)] == chosen
    assert chosen[:6] == ["wechat", "wechat", "wechat", "alipay", "kuaiqian", "kuaiqian"]


def test_channels_are_taken_as_often_as_their_weights_say() -> None:
    judged = [
        Judged(channel="alipay", weight=100),
        Judged(channel="kuaiqian", weight=300),
        Judged(channel="wechat", weight=600),
        Judged(channel="other", weight=9000, exclusion="disabled"),
    ]
    taken = Counter(pick(judged=judged, key=f"order-{number}") for number in range(20_000))
    assert set(taken) == {"alipay", "kuaiqian", "wechat"}
    shares = {channel: round(count / 20_000, 2) for channel, count in taken.items()}
    assert shares == {"alipay": 0.1, "kuaiqian": 0.3, "wechat": 0.6}


def test_a_channel_that_goes_moves_only_its_own_payments() -> None:
    both = [Judged(channel="alipay", weight=100), Judged(channel="wechat", weight=200)]
    three = [*both, Judged(channel="kuaiqian", weight=100)]
    for key in (f"order-{number}" for number in range(500)):
        before = pick(judged=three, key=key)
        assert pick(judged=both, key=key) == before or before == "kuaiqian"


def test_nobody_possible_is_nobody() -> None:
    assert pick(judged=[], key="x") == ""
    assert pick(judged=[Judged(channel="wechat", weight=1, exclusion="amount")], key="x") == ""
