"""Calls to a provider, by channel code. Each is one HTTP request: never inside a transaction.

All are safe to repeat with the same number. None raises for what the provider or the network does (UNKNOWN instead);
ChannelUnavailable is raised, before anything is sent, for a channel that is not set up.
"""

from __future__ import annotations

from gateway import registry
from gateway.ports import PrepayRequest, RefundRequest, Result


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


def query_refund(*, channel: str, refund_no: str) -> Result:
    """Asks what became of a refund; see gateway.ports.RefundQuery."""
    return registry.adapter(channel).query_refund(refund_no=refund_no)
