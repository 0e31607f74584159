"""Neighbouring days: what waits, what is paired, what is a difference; and clean days, in which nothing is one."""

from __future__ import annotations

import datetime as dt
import io
import random
from collections.abc import Mapping, Sequence

import pytest

from gateway.ports import BillRowKind, Outcome
from reconciliation.domain import matching
from reconciliation.domain.bills import wechat
from reconciliation.domain.bills.days import check_day
from reconciliation.domain.carrying import Fate, Waiting, judge
from reconciliation.domain.effects import BookLine, Sided, excess_fen, suspense_lines
from reconciliation.domain.matching import Finding, Kind
from reconciliation.domain.records import OurRow, TheirRow
from simulator.wechat import bill_files

BEIJING = dt.timezone(dt.timedelta(hours=8))
DAY = dt.datetime(2026, 11, 22, tzinfo=BEIJING)
NEXT = DAY + dt.timedelta(days=1)
PAYMENT, REFUND, PAYOUT = BillRowKind.PAYMENT, BillRowKind.REFUND, BillRowKind.PAYOUT
S = Outcome.SUCCESS


def our(number: str, at: dt.datetime, kind: BillRowKind = PAYMENT, amount_fen: int = 100) -> OurRow:
    return OurRow(kind, number, amount_fen, S, at, kind is PAYMENT)


def their(number: str, at: dt.datetime, kind: BillRowKind = PAYMENT, amount_fen: int = 100) -> TheirRow:
    return TheirRow(2, kind, number, f"P{number}", amount_fen, kind is PAYMENT, S, at)


def ours_only(row: OurRow) -> Finding:
    return Finding(Kind.OURS_ONLY, row.number, (row,), (), row.amount_fen)


def theirs_only(row: TheirRow) -> Finding:
    return Finding(Kind.THEIRS_ONLY, row.number, (), (row,), row.amount_fen)


def verdict(
    finding: Finding,
    our_pool: Mapping[matching.Key, Waiting] | None = None,
    their_pool: Mapping[matching.Key, Waiting] | None = None,
    known: Mapping[matching.Key, OurRow] | None = None,
) -> tuple[Fate, Kind, int | None, bool]:
    (one,) = judge(
        [finding],
        start=DAY,
        end=NEXT,
        our_pool=our_pool or {},
        their_pool=their_pool or {},
        known=known or {},
        tolerance=500,
    )
    return one.fate, one.finding.kind, one.carried_id, one.is_ours_elsewhere


NOON, EVE = DAY + dt.timedelta(hours=12), DAY + dt.timedelta(hours=23, minutes=59)
KEY = ("PAYMENT", "A")


def test_only_what_is_near_midnight_waits() -> None:
    assert verdict(ours_only(our("A", NOON))) == (Fate.DIFFERENT, Kind.OURS_ONLY, None, False)
    assert verdict(theirs_only(their("A", NOON))) == (Fate.DIFFERENT, Kind.THEIRS_ONLY, None, False)
    assert verdict(ours_only(our("A", EVE))) == (Fate.CARRIED, Kind.OURS_ONLY, None, False)
    assert verdict(theirs_only(their("A", DAY))) == (Fate.CARRIED, Kind.THEIRS_ONLY, None, False)
    assert verdict(theirs_only(their("A", NOON, REFUND)))[0] is Fate.CARRIED
    assert verdict(theirs_only(their("", EVE))) == (Fate.DIFFERENT, Kind.THEIRS_ONLY, None, False)


def test_a_partner_of_another_day_is_found() -> None:
    waiting = {KEY: Waiting(7, our("A", EVE - dt.timedelta(days=1)), None)}
    assert verdict(theirs_only(their("A", DAY)), our_pool=waiting) == (Fate.MATCHED, Kind.MATCH, 7, False)
    assert verdict(theirs_only(their("A", DAY, amount_fen=101)), our_pool=waiting)[:3] == (
        Fate.DIFFERENT, Kind.AMOUNT, 7,
    )  # fmt: skip
    there = {KEY: Waiting(8, None, their("A", EVE))}
    assert verdict(ours_only(our("A", NOON)), their_pool=there) == (Fate.MATCHED, Kind.MATCH, 8, False)


def test_our_row_of_any_state_is_known() -> None:
    late = our("A", NEXT + dt.timedelta(seconds=3))
    assert verdict(theirs_only(their("A", EVE)), known={KEY: late}) == (Fate.MATCHED, Kind.MATCH, None, True)
    open_one = our("A", NOON)._replace(outcome=Outcome.PENDING)
    assert verdict(theirs_only(their("A", NOON)), known={KEY: open_one}) == (Fate.DIFFERENT, Kind.STATE, None, False)


@pytest.mark.parametrize(
    ("sided", "is_fee", "excess", "lines"),
    [
        (Sided(PAYMENT, True, None, 100, "", "SUCCESS", None, None), False, 100, (("1110", -100), ("2910", 100))),
        (Sided(PAYMENT, True, 100, None, "SUCCESS", "", None, None), False, -100, (("1110", 100), ("1910", -100))),
        (Sided(PAYMENT, True, 100, 130, "SUCCESS", "SUCCESS", None, None), False, 30, (("1110", -30), ("2910", 30))),
        (Sided(REFUND, False, 100, None, "SUCCESS", "", None, None), False, 100, (("1110", -100), ("2910", 100))),
        (Sided(PAYOUT, False, None, 70, "", "SUCCESS", None, None), False, -70, (("1120", 70), ("1910", -70))),
        (Sided(PAYMENT, True, 100, 100, "PENDING", "SUCCESS", 0, 0), False, 100, (("1110", -100), ("2910", 100))),
        (Sided(PAYMENT, True, 9, 9, "SUCCESS", "SUCCESS", 600, 1601), True, -2, (("1110", 2), ("1910", -2))),
        (Sided(PAYMENT, True, 9, 9, "SUCCESS", "SUCCESS", 1600, 600), True, 1, (("1110", -1), ("2910", 1))),
    ],
)
def test_what_is_written_off_brings_our_account_to_the_bill(
    sided: Sided, is_fee: bool, excess: int, lines: Sequence[tuple[str, int]]
) -> None:
    assert excess_fen(sided, is_fee=is_fee) == excess
    assert suspense_lines(sided.row_kind, excess) == tuple(BookLine(*line) for line in lines)


# --- clean days -----------------------------------------------------------------------------------------------------


def _bill_row(number: str, refund_no: str, amount_fen: int, at: dt.datetime) -> dict[str, str]:
    yuan = f"{amount_fen // 100}.{amount_fen % 100:02d}"
    row = dict.fromkeys(bill_files.COLUMNS["ALL"], "") | {
        "交易时间": f"{at.astimezone(BEIJING):%Y-%m-%d %H:%M:%S}",
        "微信订单号": f"4200{number}",
        "商户订单号": number,
        "交易状态": "REFUND" if refund_no else "SUCCESS",
    }
    for name in ("应结订单金额", "代金券金额", "退款金额", "充值券退款金额", "手续费", "订单金额", "申请退款金额"):
        row[name] = "0.00"
    if refund_no:
        return row | {
            "微信退款单号": f"5030{refund_no}",
            "商户退款单号": refund_no,
            "退款金额": yuan,
            "申请退款金额": yuan,
            "退款状态": "SUCCESS",
        }
    return row | {"应结订单金额": yuan, "订单金额": yuan}


def _days(seed: int, days: int, size: int) -> tuple[list[list[OurRow]], list[bytes]]:
    """Books and bills of `days` days that say the same, each by its own clock: up to five minutes apart at midnight,
    and one payment in fifty is heard of hours later."""
    draw = random.Random(seed)
    books: list[list[OurRow]] = [[] for _ in range(days + 2)]
    bills: list[list[dict[str, str]]] = [[] for _ in range(days + 2)]
    for index in range(days * size):
        at = DAY + dt.timedelta(days=index // size, seconds=draw.choice((draw.randrange(86_400), 86_395, 2)))
        lag = draw.choice((-300, -1, 0, 1, 30, 300)) if draw.random() > 0.02 else draw.randrange(4 * 3600)
        heard = max(DAY, at + dt.timedelta(seconds=lag))
        amount_fen, number = draw.randrange(1, 10_000_00), f"AT{index:06d}"
        books[(heard - DAY).days].append(our(number, heard, amount_fen=amount_fen))
        bills[(at - DAY).days].append(_bill_row(number, "", amount_fen, at))
        if draw.random() < 0.05:
            back = at + dt.timedelta(seconds=draw.randrange(20 * 3600))
            asked = back + dt.timedelta(seconds=draw.choice((-20, 0, 20)))
            books[max(0, (asked - DAY).days)].append(our(f"RF{index:06d}", asked, REFUND, amount_fen))
            bills[(back - DAY).days].append(_bill_row(number, f"RF{index:06d}", amount_fen, back))
    for rows in bills:
        draw.shuffle(rows)
    files = [bill_files.render(kind="ALL", rows=rows, faults=bill_files.Faults()) for rows in bills]
    return books, files


def _reconcile(books: list[list[OurRow]], files: list[bytes]) -> list[Finding]:
    """Day after day with the pools in memory; what still waits at the end is a difference, too."""
    our_pool: dict[matching.Key, Waiting] = {}
    their_pool: dict[matching.Key, Waiting] = {}
    different: list[Finding] = []
    for place, (rows, file) in enumerate(zip(books, files, strict=True)):
        start = DAY + dt.timedelta(days=place)
        events = list(check_day(wechat.read_trades(io.BytesIO(file)), day=start.date()))
        theirs = [event for event in events if isinstance(event, TheirRow)]
        assert len(theirs) == len(events), [event for event in events if not isinstance(event, TheirRow)]
        findings = matching.match(sorted(rows, key=matching.our_key), sorted(theirs, key=matching.their_key))
        for one in judge(
            list(findings),
            start=start,
            end=start + dt.timedelta(days=1),
            our_pool=our_pool,
            their_pool=their_pool,
            known={},
            tolerance=500,
        ):
            row = (one.finding.ours or one.finding.theirs)[0]
            key = (row.kind.value, row.number)
            if one.carried_id is not None:
                our_pool.pop(key, None)
                their_pool.pop(key, None)
            if one.fate is Fate.DIFFERENT:
                different.append(one.finding)
            elif one.fate is Fate.CARRIED and one.finding.ours:
                our_pool[key] = Waiting(1, one.finding.ours[0], None)
            elif one.fate is Fate.CARRIED:
                their_pool[key] = Waiting(1, None, one.finding.theirs[0])
    return [*different, *(Finding(Kind.OURS_ONLY, key[1], (), (), 0) for key in (*our_pool, *their_pool))]


def test_clean_days_raise_no_alarm(nightly: bool) -> None:
    for seed in range(100 if nightly else 3):
        books, files = _days(seed, days=10, size=60)
        assert sum(map(len, books)) >= 600
        assert _reconcile(books, files) == [], seed


def test_one_wrong_fen_in_clean_days_is_found() -> None:
    books, files = _days(1, days=3, size=60)
    place, victim = next((place, row) for place, row in enumerate(books[1]) if row.kind is PAYMENT)
    books[1][place] = victim._replace(amount_fen=victim.amount_fen + 1)
    assert [(one.kind, one.number, one.value_fen) for one in _reconcile(books, files)] == [
        (Kind.AMOUNT, victim.number, 1)
    ]
