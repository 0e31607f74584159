"""WeChat's bills as streams: the shared cases, the simulator's layouts, and what may be wrong with a file."""

from __future__ import annotations

import datetime as dt
import io

import pytest

from gateway.ports import BillRowKind, Outcome
from reconciliation.domain.bills import wechat
from reconciliation.domain.records import Event, FileProblem, TheirRow, UnreadRow
from simulator.wechat import bill_files
from tests.contract.gateway.test_wechat_bills import (
    FLOW,
    FLOW_HEADER,
    HEADER,
    MCHID,
    PAID,
    SUMMARY,
    TOTALS,
    TRADES,
    file,
)
from tests.contract.gateway.test_wechat_cases import shared_cases

BEIJING = dt.timezone(dt.timedelta(hours=8))


def trades(content: bytes, *, mchid: str = "") -> list[Event]:
    return list(wechat.read_trades(io.BytesIO(content), mchid=mchid))


def problems(events: list[Event]) -> list[str]:
    return [event.code for event in events if isinstance(event, FileProblem)]


def rows(events: list[Event]) -> list[TheirRow]:
    return [event for event in events if isinstance(event, TheirRow)]


def test_a_trade_bill_is_read_whole() -> None:
    payment, refund = rows(trades(TRADES, mchid=MCHID))
    assert payment == TheirRow(
        line_no=2,
        kind=BillRowKind.PAYMENT,
        number="RC0001",
        provider_no="4200001234",
        amount_fen=8888,
        is_incoming=True,
        outcome=Outcome.SUCCESS,
        happened_at=dt.datetime(2026, 11, 22, 10, 0, 5, tzinfo=BEIJING),
        fee_milli_fen=53300,
        is_fee_stated=True,
        note="SUCCESS",
    )
    assert (refund.kind, refund.number, refund.payment_no) == (BillRowKind.REFUND, "RF0001", "RC0001")
    assert (refund.amount_fen, refund.fee_milli_fen, refund.outcome) == (3000, -18000, Outcome.PENDING)
    assert len(trades(TRADES)) == 2


def test_a_fund_flow_has_payouts_and_their_returns() -> None:
    events = list(wechat.read_fund_flow(io.BytesIO(FLOW)))
    assert [(row.kind, row.number, row.amount_fen, row.is_incoming) for row in rows(events)][3:6] == [
        (BillRowKind.PAYOUT, "WD0001", 2000, False),
        (BillRowKind.PAYOUT, "WD0001", 2000, True),
        (BillRowKind.PAYOUT, "WD0002", 100, False),
    ]
    assert problems(events) == []


def test_the_official_sample_is_named_incomplete() -> None:
    case = shared_cases("bill_02_wechat_trade_2022")[0]
    events = trades(case["input"]["text"].encode())
    (row,) = rows(events)
    assert (row.number, row.amount_fen) == (case["expected"]["out_trade_no"], case["expected"]["order_amount_fen"])
    assert problems(events) == [
        "count_mismatch",
        "total_mismatch",
        "total_mismatch",
        "total_mismatch",
        "total_mismatch",
    ]


def test_every_official_layout_is_known_by_its_header() -> None:
    case = shared_cases("bill_04_wechat_headers_official")[0]
    for kind in ("ALL", "SUCCESS", "REFUND"):
        assert set(case["expected"][kind]) >= wechat.TRADE_COLUMNS
        content = bill_files.render(kind=kind, rows=[], faults=bill_files.Faults())
        assert trades(content) == []


def test_a_row_that_makes_no_sense_stops_nothing() -> None:
    broken = [
        PAID.replace("`88.88,`0.00,`0,`0", "`88.88"),
        PAID.replace("`4200001234", "4200001234"),
        PAID.replace("10:00:05", "25:00:05"),
        PAID.replace("`88.88,`0.00,`\x00", "x").replace("`SUCCESS", "`PAID"),
        PAID.replace(MCHID, "1999999999"),
        PAID.replace("`RC0001", "`充值"),
        PAID.replace("`0.60%,`88.88", "`0.60%,`-1.00"),
    ]
    events = trades(file(HEADER, *broken, PAID, TOTALS, SUMMARY), mchid=MCHID)
    assert [event.reason for event in events if isinstance(event, UnreadRow)] == [
        "cells_miscounted",
        "cell_unquoted",
        "time_malformed",
        "state_unknown",
        "merchant_mismatch",
        "number_malformed",
        "amount_not_positive",
    ]
    assert [row.line_no for row in rows(events)] == [9]
    assert "count_mismatch" in problems(events)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ["empty"]),
        (TRADES[:5], ["not_utf8"]),
        (TRADES.decode().encode("gbk", "ignore"), ["not_utf8"]),
        (file(FLOW_HEADER), ["columns_unknown"]),
        (file(f"{HEADER},{HEADER}"), ["columns_unknown"]),
        (file(HEADER, PAID), ["summary_missing"]),
        (file(HEADER, PAID, TOTALS), ["summary_missing"]),
        (file(HEADER, PAID, TOTALS, "`1,`2"), ["summary_malformed"]),
        (TRADES.replace(b"`2,`88.88,`30.00", b"`3,`88.88,`30.00"), ["count_mismatch"]),
        (TRADES.replace(b"`2,`88.88,`30.00", b"`2,`88.88,`30.01"), ["total_mismatch"]),
    ],
)
def test_what_is_wrong_with_a_file_is_named(content: bytes, expected: list[str]) -> None:
    assert problems(trades(content)) == expected


def test_one_line_of_another_encoding_is_one_row_for_review() -> None:
    content = TRADES.replace("`充值,".encode(), "`充值,".encode("gbk"), 1)
    events = trades(content)
    assert [(event.line_no, event.reason) for event in events if isinstance(event, UnreadRow)] == [(2, "not_utf8")]
    assert [row.number for row in rows(events)] == ["RF0001"]


def test_a_row_after_the_summary_is_for_review() -> None:
    events = trades(TRADES + f"{PAID}\r\n".encode())
    assert [event.reason for event in events if isinstance(event, UnreadRow)] == ["after_summary"]
    assert len(rows(events)) == 2


def test_an_endless_line_is_not_taken() -> None:
    content = file(HEADER, PAID.replace("充值", "x" * 70_000), PAID, TOTALS, SUMMARY)
    assert [event.line_no for event in trades(content) if isinstance(event, UnreadRow)] == [2]


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        (bill_files.Faults(), []),
        (bill_files.Faults(wrong_summary=True), ["count_mismatch"]),
        (bill_files.Faults(cut=True), ["summary_missing"]),
    ],
)
@pytest.mark.parametrize("kind", ["ALL", "SUCCESS", "FUND_FLOW"])
def test_the_simulators_faults_of_a_file_are_named(kind: str, faults: bill_files.Faults, expected: list[str]) -> None:
    day = dt.date(2026, 11, 22)
    blank = bill_files._blank(kind, day)
    number = "业务凭证号" if kind == "FUND_FLOW" else "商户订单号"
    content = bill_files.render(
        kind=kind, rows=[{**blank, number: "AT0001"}, {**blank, number: "AT0002"}], faults=faults
    )
    read = wechat.read_fund_flow if kind == "FUND_FLOW" else wechat.read_trades
    events = list(read(io.BytesIO(content)))
    assert problems(events) == expected
    kept = ["AT0001"] if faults.cut else ["AT0001", "AT0002"]
    assert [row.number for row in rows(events)] == kept
