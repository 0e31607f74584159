"""Each movement's lines, and what an entry refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from funds.domain import movements
from funds.domain.entries import (
    Bucket,
    Category,
    Entry,
    InvalidEntry,
    Line,
    OpenHold,
    SpendHold,
    employee_account,
    platform_account,
)

A, B, C = (employee_account(number, 7) for number in (1, 2, 3))
ORDER, ATTEMPT = "RC1" + "0" * 29, "AT1" + "0" * 29


def lines(entry: Entry) -> list[tuple[str, str, str, int, str]]:
    return [
        (line.account.code, line.account.owner_id, line.bucket.value, line.amount_fen, line.category.value)
        for line in entry.lines
    ]


def test_recharge() -> None:
    entry = movements.recharge(order_no=ORDER, attempt_no=ATTEMPT, channel="wechat", owner=A, amount_fen=100)
    assert lines(entry) == [
        ("1110", "wechat", "AVAILABLE", -100, "PLATFORM"),
        ("2010", "1", "AVAILABLE", 100, "RECHARGE"),
    ]
    assert (entry.kind, entry.reference, entry.source_no) == ("recharge", ORDER, ATTEMPT)


def test_recharge_into_hold_is_one_journal_of_the_same_kind() -> None:
    entry = movements.recharge_into_hold(
        order_no=ORDER, attempt_no=ATTEMPT, channel="wechat", owner=A, amount_fen=100, hold_key="k"
    )
    assert lines(entry) == [
        ("1110", "wechat", "AVAILABLE", -100, "PLATFORM"),
        ("2010", "1", "FROZEN", 100, "RECHARGE"),
    ]
    assert entry.holds == (OpenHold(key="k", account=A, amount_fen=100),)
    assert (entry.kind, entry.reference) == ("recharge", ORDER)


def test_freeze_and_release_are_opposite() -> None:
    frozen = movements.freeze(order_no=ORDER, owner=A, amount_fen=100, hold_key="k")
    released = movements.release_rest(reference="r", order_no=ORDER, owner=A, hold_key="k", amount_fen=100)
    assert {row[2]: row[3] for row in lines(frozen)} == {"AVAILABLE": -100, "FROZEN": 100}
    assert {row[2]: row[3] for row in lines(released)} == {"AVAILABLE": 100, "FROZEN": -100}


def test_settlement_has_one_line_per_receiver_and_the_sender_may_receive() -> None:
    receivers = [
        movements.Receiver(account=account, amount_fen=amount) for account, amount in ((B, 10), (C, 20), (A, 5), (B, 1))
    ]
    entry = movements.settle_shares(reference="p:1", order_no=ORDER, sender=A, hold_key="k", receivers=receivers)
    assert lines(entry) == [
        ("2010", "1", "FROZEN", -36, "CONSUMPTION"),
        ("2010", "1", "AVAILABLE", 5, "INCOME"),
        ("2010", "2", "AVAILABLE", 11, "INCOME"),
        ("2010", "3", "AVAILABLE", 20, "INCOME"),
    ]
    assert entry.holds == (SpendHold(key="k", account=A, amount_fen=36),)


def test_refund_to_the_provider_goes_through_transit() -> None:
    start = movements.refund_from_hold(
        refund_no="RX", order_no=ORDER, owner=A, hold_key="k", amount_fen=9, channel="wechat"
    )
    done = movements.refund_done(refund_no="RX", order_no=ORDER, channel="wechat", amount_fen=9)
    failed = movements.refund_failed(refund_no="RX", order_no=ORDER, channel="wechat", owner=A, amount_fen=9)
    assert [row[0] + row[2] for row in lines(start)] == ["2010FROZEN", "2320AVAILABLE"]
    assert [(row[0], row[3]) for row in lines(done)] == [("2320", -9), ("1110", 9)]
    assert [(row[0], row[3]) for row in lines(failed)] == [("2320", -9), ("2010", 9)]


def test_second_payment_waits_in_2410_and_leaves_it_again() -> None:
    received = movements.receipt_to_return(order_no=ORDER, attempt_no=ATTEMPT, channel="wechat", amount_fen=9)
    sent = movements.return_start(refund_no="RT", order_no=ORDER, amount_fen=9, channel="wechat")
    assert [(row[0], row[3]) for row in lines(received)] == [("1110", -9), ("2410", 9)]
    assert [(row[0], row[3]) for row in lines(sent)] == [("2410", -9), ("2320", 9)]


def line(account: object, amount_fen: object, bucket: Bucket = Bucket.AVAILABLE) -> Line:
    return Line(account=account, bucket=bucket, amount_fen=amount_fen, category=Category.INTERNAL)  # type: ignore[arg-type]


CLEARING = platform_account("1110", "wechat")


@pytest.mark.parametrize(
    ("wrong", "holds"),
    [
        ((line(A, 1), line(B, -2)), ()),
        ((line(A, 0), line(B, 0)), ()),
        ((line(A, 1),), ()),
        ((), ()),
        ((line(A, 1.0), line(B, -1)), ()),
        ((line(A, True), line(B, -1)), ()),
        ((line(A, 1), line(A, 1), line(B, -2)), ()),
        ((line(CLEARING, 1, Bucket.FROZEN), line(B, -1)), ()),
        ((line(A, 5, Bucket.FROZEN), line(A, -5)), ()),
        ((line(A, 5, Bucket.FROZEN), line(A, -5)), (OpenHold(key="k", account=A, amount_fen=4),)),
        ((line(A, 5), line(B, -5)), (OpenHold(key="k", account=A, amount_fen=5),)),
        ((line(A, 5, Bucket.FROZEN), line(A, -5)), (OpenHold(key="k", account=B, amount_fen=5),)),
    ],
)
def test_an_entry_that_would_break_the_books_cannot_be_made(wrong: tuple, holds: tuple) -> None:
    with pytest.raises(InvalidEntry):
        Entry(kind="k", reference="r", lines=wrong, holds=holds)


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(1, 10**9)), min_size=1, max_size=300))
def test_settlement_is_balanced_whatever_the_shares(shares: list) -> None:
    receivers = [movements.Receiver(account=account, amount_fen=amount) for account, amount in shares]
    entry = movements.settle_shares(reference="p:1", order_no=ORDER, sender=A, hold_key="k", receivers=receivers)
    assert sum(row.amount_fen for row in entry.lines) == 0
    assert entry.total_fen == sum(amount for _, amount in shares)
