"""What a payment to a business books."""

from __future__ import annotations

import pytest

from funds.domain import movements
from funds.domain.entries import Bucket, Category, InvalidEntry, Line, employee_account, enterprise_account

PAYER, BUSINESS = employee_account(7, 3), enterprise_account(3)


def pay(amount_fen: int) -> movements.Entry:
    return movements.payment_from_wallet(
        order_no="PM1", attempt_no="AT1", payer=PAYER, business=BUSINESS, amount_fen=amount_fen
    )


def test_a_wallet_payment_is_the_payers_consumption_and_the_enterprises_income() -> None:
    entry = pay(1_250)
    assert entry.lines == (
        Line(account=PAYER, bucket=Bucket.AVAILABLE, amount_fen=-1_250, category=Category.CONSUMPTION),
        Line(account=BUSINESS, bucket=Bucket.AVAILABLE, amount_fen=1_250, category=Category.INCOME),
    )
    assert (entry.order_no, entry.source_no, entry.holds) == ("PM1", "AT1", ())


def test_wallet_and_channel_payments_share_the_key_that_lets_one_of_them_win() -> None:
    by_channel = movements.recharge(
        order_no="PM1", attempt_no="AT2", channel="wechat", owner=BUSINESS, amount_fen=1_250
    )
    assert (pay(1_250).kind, pay(1_250).reference) == (by_channel.kind, by_channel.reference)


@pytest.mark.parametrize("amount_fen", [0, -1])
def test_only_positive_amounts_are_paid(amount_fen: int) -> None:
    with pytest.raises(InvalidEntry):
        pay(amount_fen)
