"""What may be typed, bound and recognised."""

from __future__ import annotations

import pytest

from collect.domain import agents, rules
from collect.domain.rules import NotAnAmount


@pytest.mark.parametrize(
    ("typed", "fen"),
    [("0.01", 1), ("1", 100), ("1.5", 150), ("88.88", 8888), ("50000", 5_000_000), ("50000.00", 5_000_000)],
)
def test_a_typed_amount_is_exact(typed: str, fen: int) -> None:
    assert rules.read_typed_amount(typed) == fen


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("0", "zero"),
        ("0.00", "zero"),
        ("50000.01", "over_limit"),
        ("9999999.99", "over_limit"),
        *(
            (text, "malformed")
            for text in (
                *("", " ", "1 ", " 1", "+1", "-1", "-0.01", "1e3", "1E3", "0x10", "1_0", "1,000", "1.", ".5", "01"),
                *("1.234", "1.2.3", "NaN", "inf", "１", "٣", "1\n", "1\x00", "99999999", "¥1", "true", "null", "一"),
                "1" * 10_000,
            )
        ),
    ],
)
def test_a_hostile_amount_is_refused_and_never_rounded(typed: str, reason: str) -> None:
    with pytest.raises(NotAnAmount) as refusal:
        rules.read_typed_amount(typed)
    assert refusal.value.reason == reason


@pytest.mark.parametrize(
    ("channel", "number", "is_one"),
    [
        ("wechat", "1900000109", True),
        ("wechat", "19000001", True),
        ("wechat", "1900000", False),
        ("wechat", "19000001090", False),
        ("wechat", "１９０００００１", False),
        ("wechat", "190000010\n", False),
        ("alipay", "2088102146225135", True),
        ("alipay", "2089102146225135", False),
        ("alipay", "1900000109", False),
        ("kuaiqian", "1900000109", False),
    ],
)
def test_a_sub_merchant_number_has_its_channels_form(channel: str, number: str, is_one: bool) -> None:
    assert rules.is_sub_merchant_no(channel=channel, number=number) is is_one


@pytest.mark.parametrize(
    ("channel", "appid", "is_one"),
    [
        ("wechat", "", True),
        ("wechat", "wx0123456789abcdef", True),
        ("wechat", "wx1", False),
        ("alipay", "", True),
        ("alipay", "wx0123456789abcdef", False),
    ],
)
def test_only_wechat_knows_sub_appids(channel: str, appid: str, is_one: bool) -> None:
    assert rules.is_sub_appid(channel=channel, appid=appid) is is_one


@pytest.mark.parametrize(
    ("agent", "channel"),
    [
        (
            "Mozilla/5.0 (iPhone) AppleWebKit/605 MicroMessenger/8.0.47(0x18002f2c) NetType/WIFI Language/zh_CN",
            "wechat",
        ),
        ("Mozilla/5.0 (Linux; U; Android 13) AlipayDefined(nt:WIFI) AliApp(AP/10.5) AlipayClient/10.5.36", "alipay"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17.0 Mobile Safari/604.1", ""),
        ("MicroMessenger AlipayClient", ""),
        ("", ""),
    ],
)
def test_the_app_is_recognised_by_its_user_agent(agent: str, channel: str) -> None:
    assert agents.channel_of(agent) == channel


def test_ids_have_one_form() -> None:
    assert rules.is_id("23456789abcdef")
    for wrong in ("", "23456789abcde", "23456789abcdefg", "23456789ABCDEF", "23456789abcde0", "23456789abcde\n"):
        assert not rules.is_id(wrong)
