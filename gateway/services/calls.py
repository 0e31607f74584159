"""Calls to a provider, by channel code. Each is one HTTP request (a bill: two): never inside a transaction.

All are safe to repeat with the same number. None raises for what the provider or the network does (UNKNOWN instead);
ChannelUnavailable is raised, before anything is sent, for a channel that is not set up or cannot do it at all.
"""

from __future__ import annotations

import datetime as dt

from gateway import registry
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


def prepay(*, channel: str, request: PrepayRequest) -> Result:
    """Prepares a payment at the provider; see gateway.ports.Prepay for the outcomes."""
    return registry.adapter(channel).prepay(request)


def query(*, channel: str, attempt_no: str) -> Result:
    """Asks what became of an attempt; see gateway.ports.Query."""
    return registry.adapter(channel).query(attempt_no=attempt_no)


def close(*, channel: str, attempt_no: str) -> Result:
    """Closes an unpaid attempt at the provider; see gateway.ports.Close."""
    return registry.adapter(channel).close(attempt_no=attempt_no)


def refund(*, channel: str, request: RefundRequest) -> Result:
    """Asks the provider to send money back; see gateway.ports.Refund."""
    return registry.adapter(channel).refund(request)


def query_refund(*, channel: str, refund_no: str, attempt_no: str) -> Result:
    """Asks what became of a refund of `attempt_no`; see gateway.ports.RefundQuery."""
    return registry.adapter(channel).query_refund(refund_no=refund_no, attempt_no=attempt_no)


def pay_out(*, channel: str, request: PayoutRequest) -> Result:
    """Sends money to a payee; see gateway.ports.Payout. UNKNOWN is never answered with another number."""
    adapter: Payout = registry.capable(channel, Payout)
    return adapter.pay_out(request)


def query_payout(*, channel: str, payout_no: str) -> Result:
    """Asks what became of a payout; see gateway.ports.PayoutQuery."""
    adapter: PayoutQuery = registry.capable(channel, PayoutQuery)
    return adapter.query_payout(payout_no=payout_no)


def cancel_payout(*, channel: str, payout_no: str) -> Result:
    """Withdraws a payout that waits for its payee; see gateway.ports.PayoutCancel."""
    adapter: PayoutCancel = registry.capable(channel, PayoutCancel)
    return adapter.cancel_payout(payout_no=payout_no)


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
    return _bills(channel, kind).download_bill(day=day, kind=kind)


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
    return adapter.verify_card(request)
