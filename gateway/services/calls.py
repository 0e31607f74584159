"""Calls to a provider, by channel code. Each is one HTTP request (a bill: two): never inside a transaction.

All are safe to repeat with the same number. None raises for what the provider or the network does (UNKNOWN instead);
before anything is sent ChannelUnavailable is raised for a channel that is not set up or cannot do it at all, and
traffic.TooManyCalls (Busy) when too many calls to it are under way. Each leaves a row in CallRecord.
"""

from __future__ import annotations

import datetime as dt

from foundation import clock
from gateway import registry, selectors
from gateway.domain.routing import LOCAL_SCENES
from gateway.ports import (
    Bill,
    BillContent,
    BillKind,
    BillSource,
    CardVerification,
    CardVerifier,
    Payout,
    PayoutCancel,
    PayoutQuery,
    PayoutRequest,
    PrepayRequest,
    RefundRequest,
    Result,
)
from gateway.services import health
from gateway.services.traffic import observed


def prepay(*, channel: str, request: PrepayRequest) -> Result:
    """Prepares a payment at the provider; see gateway.ports.Prepay for the outcomes.

    The one call that is refused for a channel staff switched off (ChannelUnavailable `disabled`) or that does not
    answer (health.ChannelUnhealthy, Busy).
    """
    adapter = registry.adapter(channel)
    if not selectors.get_terms(channel=channel).is_enabled:
        raise registry.ChannelUnavailable({"channel": channel, "reason": "disabled"})
    health.admit(channel=channel, now_ms=clock.epoch_ms())
    return observed(
        channel=channel,
        operation="prepay",
        number=request.attempt_no,
        call=lambda: adapter.prepay(request),
        is_evidence=request.scene not in LOCAL_SCENES.get(channel, frozenset()),
    )


def query(*, channel: str, attempt_no: str) -> Result:
    """Asks what became of an attempt; see gateway.ports.Query."""
    adapter = registry.adapter(channel)
    return observed(
        channel=channel, operation="query", number=attempt_no, call=lambda: adapter.query(attempt_no=attempt_no)
    )


def close(*, channel: str, attempt_no: str) -> Result:
    """Closes an unpaid attempt at the provider; see gateway.ports.Close."""
    adapter = registry.adapter(channel)
    return observed(
        channel=channel, operation="close", number=attempt_no, call=lambda: adapter.close(attempt_no=attempt_no)
    )


def refund(*, channel: str, request: RefundRequest) -> Result:
    """Asks the provider to send money back; see gateway.ports.Refund."""
    adapter = registry.adapter(channel)
    return observed(channel=channel, operation="refund", number=request.refund_no, call=lambda: adapter.refund(request))


def query_refund(*, channel: str, refund_no: str, attempt_no: str) -> Result:
    """Asks what became of a refund of `attempt_no`; see gateway.ports.RefundQuery."""
    adapter = registry.adapter(channel)
    return observed(
        channel=channel,
        operation="query_refund",
        number=refund_no,
        call=lambda: adapter.query_refund(refund_no=refund_no, attempt_no=attempt_no),
    )


def pay_out(*, channel: str, request: PayoutRequest) -> Result:
    """Sends money to a payee; see gateway.ports.Payout. UNKNOWN is never answered with another number."""
    adapter: Payout = registry.capable(channel, Payout)
    return observed(
        channel=channel, operation="pay_out", number=request.payout_no, call=lambda: adapter.pay_out(request)
    )


def query_payout(*, channel: str, payout_no: str) -> Result:
    """Asks what became of a payout; see gateway.ports.PayoutQuery."""
    adapter: PayoutQuery = registry.capable(channel, PayoutQuery)
    return observed(
        channel=channel,
        operation="query_payout",
        number=payout_no,
        call=lambda: adapter.query_payout(payout_no=payout_no),
    )


def cancel_payout(*, channel: str, payout_no: str) -> Result:
    """Withdraws a payout that waits for its payee; see gateway.ports.PayoutCancel."""
    adapter: PayoutCancel = registry.capable(channel, PayoutCancel)
    return observed(
        channel=channel,
        operation="cancel_payout",
        number=payout_no,
        call=lambda: adapter.cancel_payout(payout_no=payout_no),
    )


def list_bill_kinds(*, channel: str) -> frozenset[BillKind]:
    """The files a channel has for a day; empty for a channel without bills."""
    try:
        adapter: BillSource = registry.capable(channel, BillSource)
    except registry.ChannelUnavailable as error:
        if "capability" in error.details:
            return frozenset()
        raise
    return adapter.bill_kinds


def download_bill(*, channel: str, day: dt.date, kind: BillKind) -> Bill:
    """Fetches a day's file; see gateway.ports.BillSource. Raises ChannelUnavailable for a kind it has not, too."""
    adapter = _bills(channel, kind)
    return observed(
        channel=channel,
        operation="download_bill",
        number=f"{day} {kind}",
        call=lambda: adapter.download_bill(day=day, kind=kind),
    )


def read_bill(*, channel: str, kind: BillKind, content: bytes) -> BillContent:
    """Parses a stored file; no network. Raises BillInvalid, ChannelUnavailable."""
    return _bills(channel, kind).read_bill(kind=kind, content=content)


def _bills(channel: str, kind: BillKind) -> BillSource:
    adapter: BillSource = registry.capable(channel, BillSource)
    if kind not in adapter.bill_kinds:
        raise registry.ChannelUnavailable({"channel": channel, "capability": f"bill {kind}"})
    return adapter


def verify_card(*, channel: str, request: CardVerification) -> Result:
    """Asks the bank whether the particulars belong together; see gateway.ports.CardVerifier."""
    adapter: CardVerifier = registry.capable(channel, CardVerifier)
    return observed(
        channel=channel,
        operation="verify_card",
        number=request.verification_no,
        call=lambda: adapter.verify_card(request),
    )
