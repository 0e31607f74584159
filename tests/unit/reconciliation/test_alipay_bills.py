"""Alipay's bills as streams: both tables, the simulator's spoilt files, and what may be wrong with a file."""

from __future__ import annotations

import datetime as dt
import io
import zipfile

import pytest

from gateway.ports import BillRowKind, Outcome
from reconciliation.domain.bills import alipay, values
from reconciliation.domain.bills.days import check_day
from reconciliation.domain.records import Event, FileProblem, TheirRow, UnreadRow
from simulator.alipay import bills as simulated
from tests.contract.gateway.test_alipay_bills import (
    FLOW_ROWS,
    PAYMENT,
    REFUND,
    TRADE_END,
    TRADE_HEADER,
    flow,
    packed,
    trade,
)

BEIJING = dt.timezone(dt.timedelta(hours=8))
DAY = dt.date(2026, 11, 22)


def trades(content: bytes, *, account: str = "") -> list[Event]:
    return list(alipay.read_trades(io.BytesIO(content), account=account))


def movements(content: bytes) -> list[Event]:
    return list(alipay.read_fund_flow(io.BytesIO(content)))


def problems(events: list[Event]) -> list[str]:
    return [event.code for event in events if isinstance(event, FileProblem)]


def unread(events: list[Event]) -> list[tuple[int, str]]:
    return [(event.line_no, event.reason) for event in events if isinstance(event, UnreadRow)]


def rows(events: list[Event]) -> list[TheirRow]:
    return [event for event in events if isinstance(event, TheirRow)]


def simulated_file(*, kind: str = "trade", faults: frozenset[str] = frozenset(), count: int = 2) -> bytes:
    made = []
    for place in range(count):
        row = simulated._extra(kind, DAY)
        made.append({**row, "商户订单号": f"AT000{place + 1}"})
    return simulated.render(
        kind=kind,
        rows=simulated._spoilt(made, kind=kind, day=DAY, faults=faults),
        day=DAY,
        account="20880000000000000156",
        exported_at=1_795_000_000.0,
        faults=faults,
    )


def test_a_trade_bill_is_read_whole() -> None:
    events = trades(trade(PAYMENT, REFUND), account="2088")
    assert events == [
        TheirRow(
            line_no=5,
            kind=BillRowKind.PAYMENT,
            number="RC1",
            provider_no="2026112222001458860515315453",
            amount_fen=8888,
            is_incoming=True,
            outcome=Outcome.SUCCESS,
            happened_at=dt.datetime(2026, 11, 22, 10, 55, 23, tzinfo=BEIJING),
            fee_milli_fen=53_000,
            is_fee_stated=True,
            note="交易 充值",
        ),
        TheirRow(
            line_no=6,
            kind=BillRowKind.REFUND,
            number="RX1",
            provider_no="2026112222001458860515315453",
            amount_fen=3000,
            is_incoming=False,
            outcome=Outcome.SUCCESS,
            happened_at=dt.datetime(2026, 11, 22, 11, 56, 48, tzinfo=BEIJING),
            payment_no="RC1",
            fee_milli_fen=-18_000,
            is_fee_stated=True,
            note="退款 充值",
        ),
    ]


def test_an_unpacked_table_is_read_the_same() -> None:
    lines = ["#账号：[20880]", TRADE_HEADER, PAYMENT, REFUND, *TRADE_END]
    events = trades("\r\n".join(lines).encode("gbk"))
    assert [(row.number, row.amount_fen) for row in rows(events)] == [("RC1", 8888), ("RX1", 3000)]
    assert problems(events) == []


def test_the_account_flow_tells_payments_refunds_payouts_and_the_rest() -> None:
    events = movements(flow(*FLOW_ROWS))
    assert [(row.kind, row.number, row.payment_no, row.amount_fen, row.is_incoming) for row in rows(events)] == [
        (BillRowKind.PAYMENT, "RC1", "", 8888, True),
        (BillRowKind.OTHER, "RC1", "", 53, False),
        (BillRowKind.REFUND, "", "RC1", 3000, False),
        (BillRowKind.PAYOUT, "WD1", "", 5000, False),
        (BillRowKind.OTHER, "", "", 112, True),
    ]
    assert [row.balance_fen for row in rows(events)] == [108_888, 108_835, 105_835, 100_835, 100_947]
    assert problems(events) == [] and unread(events) == []


def test_rows_that_make_no_sense_stop_nothing() -> None:
    broken = [
        PAYMENT.rsplit(",", 1)[0],
        PAYMENT.replace("10:55:23", "25:55:23"),
        PAYMENT.replace("88.88,88.88", "-88.88,88.88"),
        PAYMENT.replace("88.88,88.88", "0.00,88.88"),
        PAYMENT.replace("88.88,88.88", "88.885,88.88"),
        PAYMENT.replace("88.88,88.88", "八,88.88"),
        PAYMENT.replace("RC1", "充值"),
        REFUND.replace("-30.00,-30.00", "30.00,-30.00"),
        PAYMENT.replace("充值", '"充值', 1),
    ]
    events = trades(trade(*broken, PAYMENT, REFUND))
    assert [reason for _, reason in unread(events)] == [
        "cells_miscounted",
        "time_malformed",
        "amount_sign_wrong",
        "amount_not_positive",
        "amount_not_whole_fen",
        "amount_malformed",
        "number_malformed",
        "amount_sign_wrong",
        "cells_malformed",
    ]
    assert [row.line_no for row in rows(events)] == [14, 15]
    assert problems(events) == []


def test_flow_rows_of_two_amounts_or_none_are_for_review() -> None:
    both = FLOW_ROWS[0].replace("88.88,0.00", "88.88,-1.00")
    none = FLOW_ROWS[0].replace("88.88,0.00", "0.00,0.00")
    assert unread(movements(flow(both, none, *FLOW_ROWS))) == [(4, "amount_sign_wrong"), (5, "amount_not_positive")]


def test_one_line_of_another_encoding_is_one_row_for_review() -> None:
    lines = ["#账号：[20880]", TRADE_HEADER, "ROW", PAYMENT, REFUND, *TRADE_END]
    content = "\r\n".join(lines).encode("gbk").replace(b"ROW", b"\xff\xff,\x80")
    events = trades(content)
    assert unread(events) == [(3, "not_gb18030")]
    assert [row.line_no for row in rows(events)] == [4, 5]


UNPACKED = "\r\n".join(["#账号：[20880]", TRADE_HEADER, PAYMENT, REFUND, *TRADE_END])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ["empty"]),
        (b"#\r\n", ["empty"]),
        (b"PK", ["zip_malformed"]),
        (trade(PAYMENT, REFUND)[:-30], ["zip_malformed"]),
        (packed("#", name="other"), ["details_missing"]),
        (packed("#", more={"x_业务明细.csv": "#"}), ["details_missing"]),
        (b"\xff\xff", ["not_gb18030"]),
        (TRADE_HEADER.encode(), ["not_gb18030"]),
        (flow(*FLOW_ROWS), ["columns_unknown"]),
        (trade(header=f"{TRADE_HEADER},{TRADE_HEADER}"), ["columns_unknown"]),
        (trade(PAYMENT, end=["#"]), ["summary_missing"]),
        (trade(PAYMENT, REFUND, end=TRADE_END[:2]), ["summary_malformed"]),
        (trade(PAYMENT, PAYMENT, REFUND), ["count_mismatch", "total_mismatch"]),
        (trade(PAYMENT, REFUND.replace("-30.00,-30.00", "-30.00,-30.01")), ["total_mismatch"]),
    ],
)
def test_what_is_wrong_with_a_file_is_named(content: bytes, expected: list[str]) -> None:
    assert problems(trades(content)) == expected


def test_a_file_of_another_account_is_not_read() -> None:
    events = trades(trade(PAYMENT, REFUND), account="2099")
    assert events == [FileProblem("account_mismatch", "20880", is_fatal=True)]


def test_a_row_after_the_end_is_for_review() -> None:
    events = trades(trade(PAYMENT, REFUND, end=[*TRADE_END, PAYMENT]))
    assert [reason for _, reason in unread(events)] == ["after_summary"]
    assert len(rows(events)) == 2


def test_bytes_spoilt_within_the_zip_are_named() -> None:
    content = bytearray(trade(PAYMENT, REFUND))
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as archive:
        entry = archive.infolist()[0]
    content[entry.header_offset + 30 + len(entry.filename.encode()) + 200] ^= 0xFF
    assert problems(trades(bytes(content))) == ["zip_malformed"]


def test_every_truncation_is_named() -> None:
    whole = trade(PAYMENT, REFUND)
    for size in range(0, len(whole), 37):
        assert problems(trades(whole[:size])), size


def test_an_endless_line_is_not_taken() -> None:
    long = PAYMENT.replace("充值", "x" * 300_000)
    assert unread(trades(trade(long, PAYMENT, REFUND))) == [(5, "line_too_long")]


def test_a_table_that_grows_too_far_is_not_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alipay, "MAX_TABLE_BYTES", 10 * values.MAX_LINE_BYTES)
    assert problems(trades(trade(*[PAYMENT] * 5000))) == ["details_too_large"]


@pytest.mark.parametrize(
    ("fault", "numbers", "expected"),
    [
        ("", ["AT0001", "AT0002"], []),
        ("bill_missing_row", ["AT0002"], []),
        ("bill_extra_row", ["AT0001", "AT0002", "EXTRA202611220001"], []),
        ("bill_wrong_summary", ["AT0001", "AT0002"], ["total_mismatch"]),
        ("bill_cut", ["AT0001"], ["summary_missing"]),
    ],
)
@pytest.mark.parametrize("kind", ["trade", "signcustomer"])
def test_the_simulators_faults_of_a_file_are_named(
    kind: str, fault: str, numbers: list[str], expected: list[str]
) -> None:
    content = simulated_file(kind=kind, faults=frozenset({fault}))
    events = trades(content) if kind == "trade" else movements(content)
    assert [row.number for row in rows(events)] == numbers
    assert problems(events) == expected


def test_a_file_of_another_day_is_named() -> None:
    events = trades(simulated_file())
    assert list(check_day(events, day=DAY)) == events
    other = list(check_day(events, day=dt.date(2026, 11, 21)))
    assert other == [*events, FileProblem("day_mismatch", "asked for 2026-11-21, rows are of 2026-11-22")]
    assert list(check_day([], day=DAY)) == []
    night = rows(events)[0]._replace(happened_at=dt.datetime(2026, 11, 22, 16, 0, tzinfo=dt.UTC))
    assert problems(list(check_day([night], day=DAY))) == ["day_mismatch"]
    assert problems(list(check_day([night, *events], day=DAY))) == []
