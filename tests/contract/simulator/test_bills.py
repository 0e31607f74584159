"""Daily bills with the real SDK: the files, the address, the morning, the faults. The parser here is the test's own."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import json
from typing import Any

import pytest
import requests

from simulator.clock import BEIJING
from tests.contract.simulator.merchant import Merchant

DAY_SECONDS = 86_400


def today() -> str:
    return f"{dt.datetime.now(tz=BEIJING):%Y-%m-%d}"


def next_morning(hour: int = 10, minute: int = 0) -> float:
    """Seconds from now to this hour of tomorrow, Beijing."""
    now = dt.datetime.now(tz=BEIJING)
    return ((now + dt.timedelta(days=1)).replace(hour=hour, minute=minute, second=30) - now).total_seconds()


@pytest.fixture
def filled(merchant: Merchant) -> Merchant:
    """1.00 and 2.50 paid, 0.30 returned, 0.40 refused to be returned, 0.50 paid out and 0.60 paid out and returned."""
    merchant.paid("RC00000001", 100)
    merchant.paid("RC00000002", 250, description="a,b\nc")
    merchant.refund("RF1", "RC00000001", 30, 100)
    merchant.wait_refund("RF1", "SUCCESS")
    merchant.faults({"fault": "refund_closed"})
    merchant.refund("RF2", "RC00000002", 40, 250)
    merchant.wait_refund("RF2", "CLOSED")
    merchant.faults()
    for number, amount in (("WD1", 50), ("WD2", 60)):
        merchant.transfer(number, amount)
        merchant.control("POST", f"payouts/{number}", {"result": "success"})
    merchant.control("POST", "payouts/WD2", {"result": "returned"})
    merchant.control("POST", "clock", {"bill_offset_seconds": next_morning()})
    return merchant


def ask(merchant: Merchant, kind: str = "ALL", **more: Any) -> tuple[int, dict[str, Any]]:
    if kind == "FUND_FLOW":
        status, text = merchant.sdk.fundflow_bill(bill_date=today(), **more)
    else:
        status, text = merchant.sdk.trade_bill(bill_date=today(), bill_type=kind, **more)
    return status, json.loads(text)


def fetch(merchant: Merchant, kind: str = "ALL") -> tuple[bytes, str]:
    """The unpacked file and the hash that was announced."""
    status, answer = ask(merchant, kind)
    assert (status, answer["hash_type"]) == (200, "SHA1"), answer
    status, packed = merchant.sdk.download_bill(answer["download_url"])
    assert status == 200
    return gzip.decompress(packed), answer["hash_value"]


def read(content: bytes) -> tuple[list[dict[str, str]], dict[str, str]]:
    assert content.startswith(b"\xef\xbb\xbf")
    lines = content.decode("utf-8-sig").split("\r\n")
    assert lines.pop() == ""
    header, totals_header = lines[0].split(","), lines[-2].split(",")
    rows = []
    for line in lines[1:-2]:
        cells = line.split(",")
        assert len(cells) == len(header)
        assert all(cell.startswith("`") for cell in cells)
        rows.append({name: cell[1:] for name, cell in zip(header, cells, strict=True)})
    totals = [cell.removeprefix("`") for cell in lines[-1].split(",")]
    return rows, dict(zip(totals_header, totals, strict=True))


@pytest.mark.parametrize(
    ("kind", "columns", "states", "totals"),
    [
        (
            "ALL",
            27,
            ["SUCCESS", "SUCCESS", "REFUND", "REFUND"],
            {
                "总交易单数": "4",
                "应结订单总金额": "3.50",
                "退款总金额": "0.70",
                "充值券退款总金额": "0.00",
                "手续费总金额": "0.00000",
                "订单总金额": "3.50",
                "申请退款总金额": "0.70",
            },
        ),
        (
            "SUCCESS",
            20,
            ["SUCCESS", "SUCCESS"],
            {"总交易单数": "2", "应结订单总金额": "3.50", "手续费总金额": "0.00000", "订单总金额": "3.50"},
        ),
        (
            "REFUND",
            29,
            ["REFUND", "REFUND"],
            {
                "总交易单数": "2",
                "应结订单总金额": "0.00",
                "退款总金额": "0.70",
                "充值券退款总金额": "0.00",
                "手续费总金额": "0.00000",
                "订单总金额": "0.00",
                "申请退款总金额": "0.70",
            },
        ),
    ],
)
def test_trade_bills(filled: Merchant, kind: str, columns: int, states: list[str], totals: dict[str, str]) -> None:
    content, announced = fetch(filled, kind)
    assert hashlib.sha1(content, usedforsecurity=False).hexdigest() == announced
    rows, summed = read(content)
    assert len(rows[0]) == columns
    assert [row["交易状态"] for row in rows] == states
    assert summed == totals
    assert {row["商户号"] for row in rows} == {filled.held["mchid"]}
    if kind != "SUCCESS":
        assert [(row["商户退款单号"], row["申请退款金额"], row["退款状态"]) for row in rows[-2:]] == [
            ("RF1", "0.30", "SUCCESS"),
            ("RF2", "0.40", "FAIL"),
        ]
    if kind != "REFUND":
        assert [row["商品名称"] for row in rows[:2]] == ["充值 / recharge", "a\\ b\\nc"]


def test_the_fund_flow_holds_payouts_and_balances(filled: Merchant) -> None:
    rows, totals = read(fetch(filled, "FUND_FLOW")[0])
    assert [(row["业务凭证号"], row["业务名称"], row["收支类型"], row["收支金额(元)"]) for row in rows] == [
        ("RC00000001", "交易", "收入", "1.00"),
        ("RC00000002", "交易", "收入", "2.50"),
        ("RF1", "退款", "支出", "0.30"),
        ("WD1", "商家转账", "支出", "0.50"),
        ("WD2", "商家转账", "支出", "0.60"),
        ("WD2", "商家转账", "收入", "0.60"),
    ]
    assert [row["账户结余(元)"][-6:] for row in rows] == ["001.00", "003.50", "003.20", "002.70", "002.10", "002.70"]
    assert totals == {
        "资金流水总笔数": "6.0",
        "收入笔数": "3.0",
        "收入金额": "4.10",
        "支出笔数": "3.0",
        "支出金额": "1.40",
    }


def test_plain_files_and_the_address(filled: Merchant) -> None:
    target = f"/v3/bill/tradebill?bill_date={today()}"
    answer = filled.request("GET", target)
    filled.assert_signed(answer)
    url = answer.json()["download_url"]
    assert url.startswith(f"{filled.url}/v3/billdownload/file?token=")
    path = url.removeprefix(filled.url)
    file = filled.request("GET", path)
    assert file.status_code == 200
    assert "Wechatpay-Signature" not in file.headers
    assert hashlib.sha1(file.content, usedforsecurity=False).hexdigest() == answer.json()["hash_value"]
    assert requests.get(url, timeout=5).status_code == 401
    assert filled.request("GET", path, signed_target="/v3/billdownload/file").status_code == 401
    other = filled.request("GET", f"{path}x")
    assert (other.status_code, other.json()["code"]) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("morning", "days", "status", "code"),
    [
        (None, 0, 400, "INVALID_REQUEST"),
        ((2, 0), 0, 400, "STATEMENT_CREATING"),
        ((9, 59), 0, 400, "STATEMENT_CREATING"),
        ((10, 0), 0, 200, None),
        ((2, 0), 1, 200, None),
        ((10, 0), 120, 400, "INVALID_REQUEST"),
    ],
)
def test_a_bill_is_there_from_ten_on(
    filled: Merchant, morning: tuple[int, int] | None, days: int, status: int, code: str | None
) -> None:
    """The offset is worked out here: one from the time of collection would be minutes old in a long run."""
    offset = next_morning(*morning) + days * DAY_SECONDS if morning else 0.0
    filled.control("POST", "clock", {"bill_offset_seconds": offset})
    answered, answer = ask(filled)
    assert (answered, answer.get("code")) == (status, code)


def test_a_day_without_movements_has_no_bill(merchant: Merchant) -> None:
    merchant.native("RC00000001")
    merchant.control("POST", "clock", {"bill_offset_seconds": next_morning()})
    for kind in ("ALL", "FUND_FLOW"):
        assert ask(merchant, kind)[1]["code"] == "NO_STATEMENT_EXIST"
    assert ask(merchant, "FUND_FLOW", account_type="FEES")[1]["code"] == "NO_STATEMENT_EXIST"


@pytest.mark.parametrize(
    "query",
    [
        "bill_type=ALL",
        "bill_date=2026-1-1",
        "bill_date=20260101",
        "bill_date=today",
        f"bill_date={today()}&bill_type=SOME",
        f"bill_date={today()}&tar_type=ZIP",
    ],
)
def test_what_is_not_documented_is_refused(filled: Merchant, query: str) -> None:
    answer = filled.request("GET", f"/v3/bill/tradebill?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "PARAM_ERROR")


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "code"), [("bill_not_ready", "STATEMENT_CREATING"), ("bill_empty", "NO_STATEMENT_EXIST")]
    )
    def test_no_file(self, filled: Merchant, fault: str, code: str) -> None:
        filled.faults({"fault": fault, "operation": "trade_bill", "attempt_no": today(), "times": 1})
        assert ask(filled)[1]["code"] == code
        assert ask(filled)[0] == 200

    def test_a_wrong_hash(self, filled: Merchant) -> None:
        filled.faults({"fault": "bill_wrong_hash"})
        content, announced = fetch(filled)
        assert hashlib.sha1(content, usedforsecurity=False).hexdigest() != announced
        assert len(read(content)[0]) == 4

    @pytest.mark.parametrize("kind", ["ALL", "FUND_FLOW"])
    def test_rows_that_differ_under_a_summary_that_fits(self, filled: Merchant, kind: str) -> None:
        number, amount = ("业务凭证号", "收支金额(元)") if kind == "FUND_FLOW" else ("商户订单号", "订单金额")
        count = "资金流水总笔数" if kind == "FUND_FLOW" else "总交易单数"
        genuine = read(fetch(filled, kind)[0])[0]
        filled.faults({"script": ["bill_extra_row", "bill_missing_row", "bill_changed_row"]})
        for expected in (
            [(row[number], row[amount]) for row in genuine] + [(f"EXTRA{today().replace('-', '')}0001", "1.00")],
            [(row[number], row[amount]) for row in genuine[1:]],
            [(genuine[0][number], "1.01"), *((row[number], row[amount]) for row in genuine[1:])],
        ):
            content, announced = fetch(filled, kind)
            rows, totals = read(content)
            assert [(row[number], row[amount]) for row in rows] == expected
            assert int(totals[count].removesuffix(".0")) == len(rows)
            assert hashlib.sha1(content, usedforsecurity=False).hexdigest() == announced

    def test_a_cut_file_and_a_wrong_summary(self, filled: Merchant) -> None:
        genuine = fetch(filled)[0]
        filled.faults({"script": ["bill_cut", "bill_wrong_summary"]})
        cut = fetch(filled)[0]
        assert genuine.startswith(cut)
        assert "总交易单数" not in cut.decode("utf-8-sig")
        rows, totals = read(fetch(filled)[0])
        assert (len(rows), totals["总交易单数"]) == (4, "5")

    def test_a_download_that_fails(self, filled: Merchant) -> None:
        filled.faults({"fault": "system_error_not_done", "operation": "bill_download", "times": 1})
        _, answer = ask(filled)
        assert filled.sdk.download_bill(answer["download_url"])[0] == 500
        assert filled.sdk.download_bill(answer["download_url"])[0] == 200


def test_the_books_can_be_had_as_a_bill_at_any_time(filled: Merchant) -> None:
    genuine = fetch(filled, "FUND_FLOW")[0]
    filled.faults({"fault": "bill_missing_row"})
    url = f"{filled.url}/_sim/bills/wechat"
    file = requests.get(url, params={"day": today(), "kind": "FUND_FLOW"}, timeout=5)
    assert (file.status_code, file.content) == (200, genuine)
    assert file.headers["Content-Disposition"] == f'attachment; filename="wechat_fund_flow_{today()}.csv"'
    assert requests.get(url, params={"day": today(), "kind": "SOME"}, timeout=5).status_code == 400
    assert requests.get(url, params={"day": "now", "kind": "ALL"}, timeout=5).status_code == 400
    assert requests.get(f"{filled.url}/_sim/bills/nobody", params={"day": today()}, timeout=5).status_code == 404
    books = filled.books(f"?day={today()}")
    assert [(row["payout_no"], row["state"]) for row in books["payouts"]] == [("WD1", "SUCCESS"), ("WD2", "RETURNED")]
    assert books["totals"]["paid_out_fen"] == 50
