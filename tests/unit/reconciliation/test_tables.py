"""Mapped tables: bank statements in either style, saved answers of 99bill, and mappings that cannot be."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from gateway.ports import BillRowKind, Outcome
from reconciliation.domain.bills import tables
from reconciliation.domain.bills.tables import KUAIQIAN, Layout, LayoutInvalid
from reconciliation.domain.records import Event, FileProblem, TheirRow, UnreadRow

BEIJING = dt.timezone(dt.timedelta(hours=8))
BANK = Layout(
    number="附言",
    time="交易时间",
    income="收入",
    expense="支出",
    balance="余额",
    provider_no="流水号",
    kind="摘要",
    kinds={"代付": BillRowKind.PAYOUT, "来账": BillRowKind.PAYMENT},
    encoding="gb18030",
    time_format="%Y%m%d %H:%M:%S",
    end="合计",
)
HEADER = "流水号,交易时间,摘要,收入,支出,余额,附言"
ROWS = (
    'B1,20261122 09:00:00,来账,"1,000.00",,"6,000.00",RC1',
    "B2,20261122 10:00:00,代付,,50.00,5950.00,WD1",
    "B3,20261122 11:00:00,手续费,,0.50,5949.50,",
)


def bank(*lines: str, layout: Layout = BANK) -> list[Event]:
    return list(tables.read([f"{line}\r\n".encode(layout.encoding) for line in lines], layout=layout))


def problems(events: list[Event]) -> list[str]:
    return [event.code for event in events if isinstance(event, FileProblem)]


def unread(events: list[Event]) -> list[tuple[int, str]]:
    return [(event.line_no, event.reason) for event in events if isinstance(event, UnreadRow)]


def rows(events: list[Event]) -> list[TheirRow]:
    return [event for event in events if isinstance(event, TheirRow)]


def test_a_statement_is_read_below_its_titles() -> None:
    events = bank("某银行对账单", "账号,6222", HEADER, *ROWS, "合计,,,1000.00,50.50,,")
    assert [(row.kind, row.number, row.amount_fen, row.is_incoming, row.balance_fen) for row in rows(events)] == [
        (BillRowKind.PAYMENT, "RC1", 100_000, True, 600_000),
        (BillRowKind.PAYOUT, "WD1", 5_000, False, 595_000),
        (BillRowKind.OTHER, "", 50, False, 594_950),
    ]
    assert rows(events)[0].happened_at == dt.datetime(2026, 11, 22, 9, 0, tzinfo=BEIJING)
    assert not rows(events)[0].is_fee_stated
    assert len(events) == 3


def test_a_missing_row_shows_in_the_balances() -> None:
    events = bank(HEADER, ROWS[0], ROWS[2], "合计,,,,,,")
    assert events[1] == FileProblem("balance_mismatch", "line 3: 600000 -50 is not 594950")
    assert len(rows(events)) == 2


def test_rows_that_make_no_sense_stop_nothing() -> None:
    broken = [
        ROWS[1].replace("20261122", "20261322"),
        ROWS[1].replace(",50.00", "1.00,50.00"),
        ROWS[1].replace(",50.00", ","),
        ROWS[1].replace("50.00,5", '"50,00",5'),
        ROWS[1].replace("WD1", "提现"),
        f"{ROWS[1]},",
        f'"{ROWS[1]}',
    ]
    events = bank(HEADER, *broken, *ROWS, "合计,,,,,,", ROWS[0])
    assert unread(events) == [
        (2, "time_malformed"),
        (3, "amount_sign_wrong"),
        (4, "amount_not_positive"),
        (5, "amount_malformed"),
        (6, "number_malformed"),
        (7, "cells_miscounted"),
        (8, "cells_malformed"),
        (13, "after_summary"),
    ]
    assert [row.number for row in rows(events)] == ["RC1", "WD1", ""]
    assert problems(events) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([], ["empty"]),
        ([b"a,b\n"], ["columns_unknown"]),
        ([b"a,b\n"] * 40, ["columns_unknown"]),
        ([b"\xff\xff\n"], ["encoding_wrong"]),
        ([f"{HEADER},收入\n".encode("gbk")], ["columns_unknown"]),
        ([f"{HEADER}\n".encode("gbk"), f"{ROWS[0]}\n".encode("gbk")], ["summary_missing"]),
    ],
)
def test_what_is_wrong_with_a_file_is_named(content: list[bytes], expected: list[str]) -> None:
    assert problems(list(tables.read(content, layout=BANK))) == expected


def test_saved_answers_of_99bill_are_in_fen() -> None:
    lines = [
        "orderId,orderAmount,payAmount,dealId,dealTime,fee,payResult",
        "RC1,8888,8888,99001,20261122105523,53,10",
        "RC2,100,100,99002,20261122105524,,11",
        "RC3,100,100,99003,20261122105524,,77",
        "RC4,1.5,1.5,99004,20261122105524,,10",
        "RC5,100,100,99005,2026-11-22 10:55,,10",
    ]
    events = bank(*lines, layout=KUAIQIAN)
    assert rows(events) == [
        TheirRow(
            line_no=2,
            kind=BillRowKind.PAYMENT,
            number="RC1",
            provider_no="99001",
            amount_fen=8888,
            is_incoming=True,
            outcome=Outcome.SUCCESS,
            happened_at=dt.datetime(2026, 11, 22, 10, 55, 23, tzinfo=BEIJING),
            fee_milli_fen=53_000,
            is_fee_stated=True,
        ),
        TheirRow(
            line_no=3,
            kind=BillRowKind.PAYMENT,
            number="RC2",
            provider_no="99002",
            amount_fen=100,
            is_incoming=True,
            outcome=Outcome.FAILED,
            happened_at=dt.datetime(2026, 11, 22, 10, 55, 24, tzinfo=BEIJING),
        ),
    ]
    assert unread(events) == [(4, "state_unknown"), (5, "amount_not_whole_fen"), (6, "time_malformed")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"number": ""}, "number_or_time_missing"),
        ({"time": ""}, "number_or_time_missing"),
        ({"amount": ""}, "amount_columns_wrong"),
        ({"income": "c", "expense": "d"}, "amount_columns_wrong"),
        ({"income": "c"}, "amount_columns_wrong"),
        ({"amount": "", "expense": "c"}, "amount_columns_wrong"),
        ({"encoding": "utf-7"}, "encoding_unknown"),
        ({"delimiter": "x"}, "delimiter_unknown"),
        ({"note": "b"}, "column_mapped_twice"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(changes: dict[str, Any], reason: str) -> None:
    Layout(number="a", time="t", amount="b")
    with pytest.raises(LayoutInvalid, match=f"^{reason}$"):
        Layout(**{"number": "a", "time": "t", "amount": "b", **changes})
