"""99bill as a channel: when it is there, what it can do, and the guard of production's addresses."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import override_settings

from gateway import registry
from gateway.adapters.kuaiqian import KuaiqianAdapter
from gateway.ports import BillKind, BillSource, CardVerification, NoticeFact, NoticeKind, Outcome, PayoutCancel, Result
from gateway.services import calls, notices
from tests.contract.gateway.kuaiqian_provider import Bill99, bill99, running_bill99

__all__ = ["bill99", "running_bill99"]
BASE, CARD_BASE = "https://www.99bill.com", "https://mas.99bill.com"


def kuaiqian(bill99: Bill99, **changes: Any) -> dict[str, Any]:
    return {
        "base_url": bill99.url,
        "card_base_url": bill99.url,
        "credentials_file": bill99.credentials_file(),
        "redirect_url": "http://127.0.0.1/",
        "connect_timeout_seconds": 1.0,
        "read_timeout_seconds": 1.0,
        **changes,
    }


def test_the_channel_is_there_with_credentials_only(bill99: Bill99) -> None:
    with override_settings(KUAIQIAN=kuaiqian(bill99)):
        first = registry.adapter("kuaiqian")
        assert isinstance(first, KuaiqianAdapter)
        assert registry.adapter("kuaiqian") is first
    with override_settings(KUAIQIAN=kuaiqian(bill99, credentials_file="")):
        with pytest.raises(registry.ChannelUnavailable):
            registry.adapter("kuaiqian")
        assert registry.answers("kuaiqian") is KuaiqianAdapter
    with (
        override_settings(KUAIQIAN=kuaiqian(bill99, credentials_file="/nowhere.json")),
        pytest.raises(registry.ChannelMisconfigured),
    ):
        registry.adapter("kuaiqian")
    assert bill99.seen == []


def test_it_has_no_bills_and_cancels_no_payout(bill99: Bill99) -> None:
    with override_settings(KUAIQIAN=kuaiqian(bill99)):
        assert calls.list_bill_kinds(channel="kuaiqian") == frozenset()
        for capability in (BillSource, PayoutCancel):
            with pytest.raises(registry.ChannelUnavailable):
                registry.capable("kuaiqian", capability)
        with pytest.raises(registry.ChannelUnavailable):
            calls.download_bill(channel="kuaiqian", day=dt.date(2026, 11, 22), kind=BillKind.TRADE)


def test_it_verifies_cards_by_way_of_the_registry(bill99: Bill99) -> None:
    request = CardVerification(verification_no="V1", card_no="6222020000000000000", holder_name="张三")
    with override_settings(KUAIQIAN=kuaiqian(bill99)):
        assert calls.verify_card(channel="kuaiqian", request=request).outcome is Outcome.UNKNOWN
    assert [seen.path for seen in bill99.seen] == ["/cnp/ind_auth"]


@pytest.mark.parametrize(
    ("changes", "is_refused"),
    [
        ({"base_url": BASE, "card_base_url": CARD_BASE}, False),
        ({"base_url": BASE, "card_base_url": "http://127.0.0.1:8900"}, True),
        ({"base_url": "https://sandbox.99bill.com", "card_base_url": CARD_BASE}, True),
        ({"base_url": f"{BASE}.example.com", "card_base_url": CARD_BASE}, True),
    ],
)
def test_production_talks_to_the_official_addresses_only(
    bill99: Bill99, changes: dict[str, str], is_refused: bool
) -> None:
    with override_settings(ENVIRONMENT="production", KUAIQIAN=kuaiqian(bill99, **changes)):
        found = [problem for problem in run_checks() if problem.id == "gateway.E001" and "99bill" in problem.msg]
        assert len(found) == int(is_refused)
        if is_refused:
            with pytest.raises(registry.ChannelMisconfigured):
                registry.adapter("kuaiqian")
        else:
            assert isinstance(registry.adapter("kuaiqian"), KuaiqianAdapter)


def test_a_facts_own_answer_goes_before_the_channels() -> None:
    own = KuaiqianAdapter.failure_answer("")
    fact = NoticeFact(
        event_id="e", kind=NoticeKind.PAYMENT, number="AT1", result=Result(outcome=Outcome.SUCCESS), answer=own
    )
    assert notices.success_answer("kuaiqian", fact=fact) is own
    assert notices.success_answer("kuaiqian").body == b"<result>1</result><redirecturl></redirecturl>"
