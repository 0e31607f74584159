"""The channel's adapter: gateway.ports.PaymentChannel, Payout, PayoutQuery and CardVerifier for 99bill."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from foundation import clock
from gateway.adapters.kuaiqian import cards, notices, payouts, recharge, refunding
from gateway.adapters.kuaiqian.credentials import KuaiqianConfig, read_credentials
from gateway.adapters.kuaiqian.transport import Link, unknown
from gateway.ports import (
    CODE_ALREADY_PAID,
    CODE_NO_CLOSE,
    CODE_NOT_FOUND,
    Answer,
    CardVerification,
    NoticeFact,
    Outcome,
    PayoutRequest,
    PrepayRequest,
    RefundRequest,
    Result,
)


class KuaiqianAdapter:
    """See the package. Holds no connection; one instance serves all threads."""

    def __init__(self, config: KuaiqianConfig) -> None:
        self._credentials = read_credentials(config.credentials_file)
        self._redirect_url = config.redirect_url
        timeout = (config.connect_timeout_seconds, config.read_timeout_seconds)
        self._link = Link(base_url=config.base_url, timeout=timeout)
        self._card_link = Link(base_url=config.card_base_url, timeout=timeout)

    def prepay(self, request: PrepayRequest) -> Result:
        """A signed form (scene page) or redirect (h5) for the payer's browser; nothing is sent from here."""
        return recharge.prepay(credentials=self._credentials, link=self._link, request=request, now=clock.now())

    def query(self, *, attempt_no: str) -> Result:
        """PENDING `unpaid`, or UNKNOWN `not_found` for a payer who has not arrived at 99bill."""
        return recharge.query(credentials=self._credentials, link=self._link, attempt_no=attempt_no)

    def close(self, *, attempt_no: str) -> Result:
        """99bill cannot close. What it says of the order: UNKNOWN `no_close` (not paid so far), FAILED `already_paid`.

        An unpaid order ends by the `orderTimeOut` of its prepay: `no_close` after that moment is the proof that it was
        never paid.
        """
        found = self.query(attempt_no=attempt_no)
        if found.outcome is Outcome.SUCCESS:
            return Result(outcome=Outcome.FAILED, code=CODE_ALREADY_PAID)
        is_unpaid = found.outcome is Outcome.PENDING or found.code == CODE_NOT_FOUND
        return unknown(CODE_NO_CLOSE, found.code) if is_unpaid else found

    def refund(self, request: RefundRequest) -> Result:
        return refunding.refund(credentials=self._credentials, link=self._link, request=request, now=clock.now())

    def query_refund(self, *, refund_no: str, attempt_no: str = "") -> Result:
        return refunding.query_refund(
            credentials=self._credentials,
            link=self._link,
            refund_no=refund_no,
            attempt_no=attempt_no,
            now=clock.now(),
        )

    def pay_out(self, request: PayoutRequest) -> Result:
        """`payee_account` is the card number; `bank_name` and `payee_name` are required."""
        return payouts.pay_out(credentials=self._credentials, link=self._link, request=request)

    def query_payout(self, *, payout_no: str) -> Result:
        """FAILED `returned` may follow SUCCESS."""
        return payouts.query_payout(
            credentials=self._credentials, link=self._link, payout_no=payout_no, now=clock.now()
        )

    def verify_card(self, request: CardVerification) -> Result:
        return cards.verify_card(credentials=self._credentials, link=self._card_link, request=request)

    def read_notice(self, *, headers: Mapping[str, str], body: bytes, now: dt.datetime) -> NoticeFact:
        """`body`: the raw query string of a GET, or the XML of a POST. Its `answer` is the one to give."""
        return notices.read_notice(credentials=self._credentials, redirect_url=self._redirect_url, body=body, now=now)

    @staticmethod
    def success_answer() -> Answer:
        """`<result>1</result>` without an address; the fact's own answer has it."""
        return notices.success_text("")

    @staticmethod
    def failure_answer(message: str) -> Answer:
        """500 and `<result>0</result>`; 99bill has no field for a reason."""
        return notices.failure_text()
