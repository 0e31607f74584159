"""Requests that make no sense are our own bug and are refused before any provider hears of them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from gateway.adapters.wechat import cut_utf8
from gateway.ports import PrepayRequest, RefundRequest

PREPAY: dict[str, Any] = {
    "attempt_no": "RC100010001202611231000000010001",
    "amount_fen": 1,
    "subject": "充值",
    "scene": "native",
    "expires_at": dt.datetime(2026, 11, 23, tzinfo=dt.UTC),
    "notify_url": "https://pay.example.com/notify/wechat",
}
REFUND: dict[str, Any] = {
    "refund_no": "RX1",
    "attempt_no": "RC100010001202611231000000010001",
    "amount_fen": 100,
    "paid_fen": 100,
    "reason": "",
    "notify_url": "",
}


def test_the_smallest_payment_and_the_full_refund_are_accepted() -> None:
    assert PrepayRequest(**PREPAY).amount_fen == 1
    assert RefundRequest(**REFUND).amount_fen == 100


@pytest.mark.parametrize(
    "change",
    [
        {"amount_fen": 0},
        {"amount_fen": -1},
        {"amount_fen": 1.0},
        {"amount_fen": True},
        {"amount_fen": "1"},
        {"subject": "  "},
        {"expires_at": dt.datetime(2026, 11, 23)},  # noqa: DTZ001 - a naive time is the case
    ],
)
def test_a_payment_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a payment"):
        PrepayRequest(**{**PREPAY, **change})


@pytest.mark.parametrize("change", [{"amount_fen": 0}, {"amount_fen": 101}, {"paid_fen": 99}, {"paid_fen": 100.0}])
def test_a_refund_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a refund"):
        RefundRequest(**{**REFUND, **change})


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("recharge", 127, "recharge"),
        ("红包" * 40, 127, ("红包" * 40)[:42]),
        ("a" + "红" * 42, 127, "a" + "红" * 42),
        ("ab" + "红" * 42, 127, "ab" + "红" * 41),
        ("x" * 200, 127, "x" * 127),
        ("🧧" * 32, 127, "🧧" * 31),
        (" two\r\nlines\x00 ", 127, "two lines"),
        ("\x00\n", 127, ""),
        ("\ud800", 127, "?"),
    ],
)
def test_text_is_cut_by_bytes_and_never_inside_a_character(text: str, limit: int, expected: str) -> None:
    assert cut_utf8(text, limit) == expected
    assert len(expected.encode()) <= limit
