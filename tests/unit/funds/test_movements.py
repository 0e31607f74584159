"""Each movement's lines, and what an entry refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from funds.domain import movements
from funds.domain.entries import (
    AccountRef,
    Bucket,
    Category,
    Entry,
    InvalidEntry,
    Line,
    OpenHold,
    ReleaseHold,
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
    assert lines(frozen) == [
        ("2010", "1", "AVAILABLE", -100, "INTERNAL"),
        ("2010", "1", "FROZEN", 100, "INTERNAL"),
    ]
    assert lines(released) == [
        ("2010", "1", "FROZEN", -100, "INTERNAL"),
        ("2010", "1", "AVAILABLE", 100, "INTERNAL"),
    ]
    assert frozen.holds == (OpenHold(key="k", account=A, amount_fen=100),)
    assert released.holds == (ReleaseHold(key="k", account=A, amount_fen=100),)
    assert [(entry.kind, entry.reference) for entry in (frozen, released)] == [("freeze", ORDER), ("hold_release", "r")]


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
    assert lines(start) == [
        ("2010", "1", "FROZEN", -9, "RECHARGE"),
        ("2320", "wechat", "AVAILABLE", 9, "PLATFORM"),
    ]
    assert start.holds == (ReleaseHold(key="k", account=A, amount_fen=9),)
    assert lines(done) == [
        ("2320", "wechat", "AVAILABLE", -9, "PLATFORM"),
        ("1110", "wechat", "AVAILABLE", 9, "PLATFORM"),
    ]
    assert lines(failed) == [
        ("2320", "wechat", "AVAILABLE", -9, "PLATFORM"),
        ("2010", "1", "AVAILABLE", 9, "RECHARGE"),
    ]
    assert {(entry.reference, entry.order_no) for entry in (start, done, failed)} == {("RX", ORDER)}
    assert [entry.kind for entry in (start, done, failed)] == ["refund_start", "refund_done", "refund_failed"]


def test_second_payment_waits_in_2410_and_leaves_it_again() -> None:
    received = movements.receipt_to_return(order_no=ORDER, attempt_no=ATTEMPT, channel="wechat", amount_fen=9)
    sent = movements.return_start(refund_no="RT", order_no=ORDER, amount_fen=9, channel="wechat")
    assert [(row[0], row[3]) for row in lines(received)] == [("1110", -9), ("2410", 9)]
    assert [(row[0], row[3]) for row in lines(sent)] == [("2410", -9), ("2320", 9)]
    assert (received.kind, received.reference, received.order_no) == ("receipt_to_return", ATTEMPT, ORDER)
    assert (sent.kind, sent.reference, sent.order_no) == ("refund_start", "RT", ORDER)


def test_direct_collections_stand_in_memo_accounts_of_their_enterprise_only() -> None:
    paid = movements.collected(order_no=ORDER, attempt_no=ATTEMPT, enterprise_id=7, amount_fen=9)
    again = movements.collected_to_return(order_no=ORDER, attempt_no="AT2", enterprise_id=7, amount_fen=9)
    back = movements.collection_refunded(refund_no="RF", order_no=ORDER, enterprise_id=7, amount_fen=4)
    received = [("9010", "7", "AVAILABLE", -9, "PLATFORM"), ("9020", "7", "AVAILABLE", 9, "PLATFORM")]
    assert lines(paid) == lines(again) == received
    assert lines(back) == [("9020", "7", "AVAILABLE", -4, "PLATFORM"), ("9010", "7", "AVAILABLE", 4, "PLATFORM")]
    assert [(entry.kind, entry.reference, entry.source_no, entry.order_no) for entry in (paid, again, back)] == [
        ("collected", ORDER, ATTEMPT, ORDER),
        ("collected_to_return", "AT2", "AT2", ORDER),
        ("collection_refunded", "RF", "RF", ORDER),
    ]


def line(
    account: object, amount_fen: object, bucket: Bucket = Bucket.AVAILABLE, category: Category = Category.CONSUMPTION
) -> Line:
    return Line(account=account, bucket=bucket, amount_fen=amount_fen, category=category)  # type: ignore[arg-type]


CLEARING = platform_account("1110", "wechat")
OPEN_5 = OpenHold(key="k", account=A, amount_fen=5)
OPEN_6 = OpenHold(key="k", account=A, amount_fen=6)
FROZEN_5 = (line(A, 5, Bucket.FROZEN), line(A, -5))
AVAILABLE_5 = (line(A, 5), line(B, -5))


@pytest.mark.parametrize(
    ("wrong", "holds", "reason"),
    [
        ((line(A, 1), line(B, -2)), (), "do not sum to zero"),
        ((line(A, 0), line(B, 0)), (), "without an integer amount"),
        ((line(A, 1.0), line(B, -1)), (), "without an integer amount"),
        ((line(A, True), line(B, -1)), (), "without an integer amount"),
        ((), (), "do not sum to zero"),
        ((line(A, 1), line(A, 1), line(B, -2)), (), "two lines"),
        ((line(CLEARING, 1, Bucket.FROZEN, Category.PLATFORM), line(B, -1)), (), "no frozen bucket"),
        ((line(CLEARING, 1), line(B, -1)), (), "does not fit"),
        ((line(A, 1, category=Category.PLATFORM), line(B, -1)), (), "does not fit"),
        ((line(A, 1, category=Category.INTERNAL), line(B, -1)), (), "leave their enterprise"),
        (FROZEN_5, (), "disagree"),
        (FROZEN_5, (OpenHold(key="k", account=A, amount_fen=4),), "disagree"),
        (FROZEN_5, (SpendHold(key="k", account=A, amount_fen=5),), "disagree"),
        (FROZEN_5, (OpenHold(key="k", account=B, amount_fen=5),), "disagree"),
        (AVAILABLE_5, (OPEN_5,), "disagree"),
        (AVAILABLE_5, (OPEN_5, SpendHold(key="other", account=A, amount_fen=5)), "disagree"),
        (
            FROZEN_5,
            (OpenHold(key="k", account=A, amount_fen=6), ReleaseHold(key="k", account=A, amount_fen=1)),
            "one hold",
        ),
        (FROZEN_5, (OpenHold(key="k", account=A, amount_fen=5.0),), "positive amount"),  # type: ignore[arg-type]
        (FROZEN_5, (SpendHold(key="k", account=A, amount_fen=-5),), "positive amount"),
        (FROZEN_5, (OpenHold(key="", account=A, amount_fen=5),), "without a key"),
        (FROZEN_5, (OpenHold(key="k" * 65, account=A, amount_fen=5),), "longer than 64"),
    ],
)
def test_an_entry_that_would_break_the_books_cannot_be_made(wrong: tuple, holds: tuple, reason: str) -> None:
    with pytest.raises(InvalidEntry, match=reason):
        Entry(kind="k", reference="r", lines=wrong, holds=holds)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("kind", "", "missing"),
        ("reference", "", "missing"),
        ("kind", "k" * 33, "longer than 32"),
        ("reference", "r" * 65, "longer than 64"),
        ("order_no", "o" * 33, "longer than 32"),
        ("source_no", "s" * 65, "longer than 64"),
        ("actor", "a" * 65, "longer than 64"),
        ("reference", "红包", "not ASCII"),
    ],
)
def test_an_entry_names_what_fits_its_columns(field: str, value: str, reason: str) -> None:
    with pytest.raises(InvalidEntry, match=reason):
        Entry(**{"kind": "k", "reference": "r", "lines": AVAILABLE_5, field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("owner_kind", "owner_id", "code", "enterprise_id"),
    [
        ("SOMEBODY", "1", "2010", "1"),
        ("EMPLOYEE", "", "2010", "1"),
        ("EMPLOYEE", "1", "2010", ""),
        ("EMPLOYEE", "1", "", "1"),
        ("EMPLOYEE", "1" * 33, "2010", "1"),
        ("PLATFORM", "微信", "1110", ""),
        ("PLATFORM", "wechat", "111011101", ""),
    ],
)
def test_an_account_has_an_owner_and_fits_its_columns(
    owner_kind: str, owner_id: str, code: str, enterprise_id: str
) -> None:
    with pytest.raises(InvalidEntry):
        AccountRef(owner_kind=owner_kind, owner_id=owner_id, code=code, enterprise_id=enterprise_id)


amounts = st.integers(1, 10**13)


@given(st.lists(st.integers(-(10**13), 10**13).filter(bool), min_size=1, max_size=50))
def test_any_lines_are_an_entry_exactly_when_they_sum_to_zero(values: list[int]) -> None:
    made = tuple(line(employee_account(number, 1), amount) for number, amount in enumerate(values, start=1))
    rest = -sum(values)
    if rest == 0:
        assert Entry(kind="k", reference="r", lines=made).total_fen == sum(value for value in values if value > 0)
        return
    with pytest.raises(InvalidEntry, match="sum to zero"):
        Entry(kind="k", reference="r", lines=made)
    balanced = Entry(kind="k", reference="r", lines=(*made, line(employee_account(99, 1), rest)))
    assert balanced.total_fen == sum(value for value in (*values, rest) if value > 0)


@given(amount_fen=amounts)
def test_every_movement_is_balanced_and_moves_its_amount(amount_fen: int) -> None:
    numbers = {"order_no": ORDER, "amount_fen": amount_fen}
    paid = {**numbers, "attempt_no": ATTEMPT, "channel": "wechat"}
    refund = {**numbers, "refund_no": "RX", "channel": "wechat"}
    held = {**numbers, "owner": A, "hold_key": "k"}
    entries = [
        movements.recharge(**paid, owner=A),
        movements.recharge_into_hold(**paid, owner=A, hold_key="k"),
        movements.receipt_to_return(**paid),
        movements.freeze(**held),
        movements.release_rest(**held, reference="r"),
        movements.refund_from_hold(**refund, owner=A, hold_key="k"),
        movements.return_start(**refund),
        movements.refund_done(**refund),
        movements.refund_failed(**refund, owner=A),
    ]
    direct = {**numbers, "enterprise_id": 7}
    entries += [
        movements.collected(**direct, attempt_no=ATTEMPT),
        movements.collected_to_return(**direct, attempt_no=ATTEMPT),
        movements.collection_refunded(**direct, refund_no="RF"),
    ]
    for entry in entries:
        assert sum(row.amount_fen for row in entry.lines) == 0
        assert entry.total_fen == amount_fen
        assert entry.order_no == ORDER


@pytest.mark.parametrize("amount_fen", [0, -1, 1.0, True, "1"])
def test_no_movement_of_nothing_or_backwards(amount_fen: object) -> None:
    numbers: dict = {"order_no": ORDER, "amount_fen": amount_fen}
    paid = {**numbers, "attempt_no": ATTEMPT, "channel": "wechat"}
    refund = {**numbers, "refund_no": "RX", "channel": "wechat"}
    held = {**numbers, "owner": A, "hold_key": "k"}
    for build in (
        lambda: movements.recharge(**paid, owner=A),
        lambda: movements.recharge_into_hold(**paid, owner=A, hold_key="k"),
        lambda: movements.receipt_to_return(**paid),
        lambda: movements.freeze(**held),
        lambda: movements.release_rest(**held, reference="r"),
        lambda: movements.refund_from_hold(**refund, owner=A, hold_key="k"),
        lambda: movements.return_start(**refund),
        lambda: movements.refund_done(**refund),
        lambda: movements.refund_failed(**refund, owner=A),
        lambda: movements.collected(**numbers, attempt_no=ATTEMPT, enterprise_id=7),
        lambda: movements.collected_to_return(**numbers, attempt_no=ATTEMPT, enterprise_id=7),
        lambda: movements.collection_refunded(**numbers, refund_no="RF", enterprise_id=7),
        lambda: movements.settle_shares(
            reference="p:1",
            order_no=ORDER,
            sender=A,
            hold_key="k",
            receivers=[
                movements.Receiver(account=B, amount_fen=5),
                movements.Receiver(account=B, amount_fen=amount_fen),  # type: ignore[arg-type]
            ],
        ),
    ):
        with pytest.raises(InvalidEntry):
            build()


def test_a_settlement_of_no_shares_is_refused() -> None:
    with pytest.raises(InvalidEntry):
        movements.settle_shares(reference="p:1", order_no=ORDER, sender=A, hold_key="k", receivers=[])


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(1, 10**9)), min_size=1, max_size=300))
def test_settlement_is_balanced_whatever_the_shares(shares: list) -> None:
    receivers = [movements.Receiver(account=account, amount_fen=amount) for account, amount in shares]
    entry = movements.settle_shares(reference="p:1", order_no=ORDER, sender=A, hold_key="k", receivers=receivers)
    assert sum(row.amount_fen for row in entry.lines) == 0
    assert entry.total_fen == sum(amount for _, amount in shares)
