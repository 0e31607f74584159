"""Bills through the adapter: asking, fetching, checking, and reading files of every layout."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import json
from typing import Any

import pytest

from gateway.adapters.wechat import WechatAdapter, bill_files
from gateway.ports import BillInvalid, BillKind, BillRow, BillRowKind, BillState, Outcome
from simulator.wechat.bill_files import COLUMNS
from tests.contract.gateway.provider import MCHID, Provider, Reply
from tests.contract.gateway.test_wechat_cases import shared_cases

DAY = dt.date(2026, 11, 22)
BEIJING = dt.timezone(dt.timedelta(hours=8))
HEADER = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,应结订单金额,"
    "代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注"
)
TOTALS = "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
PAID = (
    f"`2026-11-22 10:00:05,`wx0123456789abcdef,`{MCHID},`0,`,`4200001234,`RC0001,`oU,`NATIVE,`SUCCESS,`OTHERS,`CNY,"
    "`88.88,`0.00,`0,`0,`0.00,`0.00,`,`,`充值,`,`0.53300,`0.60%,`88.88,`0.00,`"
)
BACK = (
    f"`2026-11-22 11:00:00,`wx0123456789abcdef,`{MCHID},`0,`,`4200001234,`RC0001,`oU,`NATIVE,`REFUND,`OTHERS,`CNY,"
    "`0.00,`0.00,`5030001234,`RF0001,`30.00,`0.00,`ORIGINAL,`PROCESSING,`充值,`,`-0.18000,`0.60%,`0.00,`30.00,`"
)
SUMMARY = "`2,`88.88,`30.00,`0.00,`0.35300,`88.88,`30.00"
FLOW_HEADER = (
    "记账时间,微信支付业务单号,资金流水单号,业务名称,业务类型,收支类型,收支金额(元),账户结余(元),"
    "资金变更提交申请人,备注,业务凭证号"
)
FLOW_TOTALS = "资金流水总笔数,收入笔数,收入金额,支出笔数,支出金额"
FLOW_ROWS = [
    "`2026-11-22 10:00:05,`4200001234,`4200001234,`交易,`交易,`收入,`88.88,`100.00,`system,`,`RC0001",
    "`2026-11-22 10:00:05,`4200001234,`4200001235,`扣除交易手续费,`交易手续费,`支出,`0.53,`99.47,`system,`,`RC0001",
    "`2026-11-22 11:00:00,`5030001234,`4200001234,`退款,`退款,`支出,`30.00,`69.47,`system,`退款总金额30.00元,`RF0001",
    "`2026-11-22 12:00:00,`1330001234,`1330001234,`商家转账,`商家转账,`支出,`20.00,`49.47,`system,`,`WD0001",
    "`2026-11-22 12:30:00,`1330001234,`1330001235,`商家转账,`转账退款,`收入,`20.00,`69.47,`system,`,`WD0001",
    "`2026-11-22 13:00:00,`1000001234,`1000001234,`企业付款,`企业付款,`支出,`1.00,`68.47,`system,`,`WD0002",
    "`2026-11-22 14:00:00,`9000001234,`9000001234,`充值,`充值,`收入,`5.00,`73.47,`finance,`,`",
]
FLOW_SUMMARY = "`7.0,`3.0,`113.88,`4.0,`51.53"


def file(*lines: str, end: str = "\r\n", mark: str = "\ufeff") -> bytes:
    return (mark + "".join(f"{line}{end}" for line in lines)).encode()


TRADES = file(HEADER, PAID, BACK, TOTALS, SUMMARY)
FLOW = file(FLOW_HEADER, *FLOW_ROWS, FLOW_TOTALS, FLOW_SUMMARY)


def moment(hour: int, minute: int = 0, second: int = 0) -> dt.datetime:
    return dt.datetime(2026, 11, 22, hour, minute, second, tzinfo=BEIJING)


def sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def address(provider: Provider, content: bytes, **changes: Any) -> Reply:
    data = {
        "hash_type": "SHA1",
        "hash_value": sha1(content),
        "download_url": f"{provider.url}/v3/billdownload/file?token=abc%2F1",
        **changes,
    }
    return Reply(data=data)


def packed(content: bytes) -> Reply:
    return Reply(content=gzip.compress(content), signature="none")


class TestDownload:
    @pytest.mark.parametrize(
        ("kind", "path"),
        [
            (BillKind.TRADE, "/v3/bill/tradebill?bill_date=2026-11-22&bill_type=ALL&tar_type=GZIP"),
            (BillKind.TRADE_PAID, "/v3/bill/tradebill?bill_date=2026-11-22&bill_type=SUCCESS&tar_type=GZIP"),
            (BillKind.TRADE_REFUND, "/v3/bill/tradebill?bill_date=2026-11-22&bill_type=REFUND&tar_type=GZIP"),
            (BillKind.FUND_FLOW, "/v3/bill/fundflowbill?bill_date=2026-11-22&account_type=BASIC&tar_type=GZIP"),
        ],
    )
    def test_a_bill_is_asked_for_fetched_and_checked(
        self, adapter: WechatAdapter, provider: Provider, kind: BillKind, path: str
    ) -> None:
        provider.replies = [address(provider, TRADES), packed(TRADES)]
        bill = adapter.download_bill(day=DAY, kind=kind)
        assert (bill.state, bill.is_checked, bill.code) == (BillState.READY, True, "")
        assert bill.content == TRADES
        assert bill.provider_hash == f"sha1:{sha1(TRADES)}"
        assert [seen.path for seen in provider.seen] == [path, "/v3/billdownload/file?token=abc%2F1"]
        assert all(provider.request_is_signed_by_merchant(seen) for seen in provider.seen)

    def test_a_file_that_is_not_packed_is_taken(self, adapter: WechatAdapter, provider: Provider) -> None:
        provider.replies = [address(provider, TRADES), Reply(content=TRADES, signature="none")]
        assert adapter.download_bill(day=DAY, kind=BillKind.TRADE).content == TRADES

    def test_the_hash_may_be_of_the_packed_file(self, adapter: WechatAdapter, provider: Provider) -> None:
        sent = gzip.compress(TRADES)
        provider.replies = [address(provider, sent), Reply(content=sent, signature="none")]
        bill = adapter.download_bill(day=DAY, kind=BillKind.TRADE)
        assert (bill.state, bill.content, bill.is_checked) == (BillState.READY, TRADES, True)

    def test_a_wrong_hash_keeps_the_file_as_evidence_only(self, adapter: WechatAdapter, provider: Provider) -> None:
        provider.replies = [address(provider, b"another file"), packed(TRADES)]
        bill = adapter.download_bill(day=DAY, kind=BillKind.TRADE)
        assert (bill.state, bill.code, bill.is_checked) == (BillState.UNKNOWN, "hash_mismatch", False)
        assert bill.content == TRADES
        assert bill.provider_hash == f"sha1:{sha1(b'another file')}"

    @pytest.mark.parametrize(
        ("reply", "state", "code"),
        [
            (
                Reply(status=400, data={"code": "STATEMENT_CREATING"}, signature="none"),
                BillState.NOT_READY,
                "statement_creating",
            ),
            (
                Reply(status=400, data={"code": "NO_STATEMENT_EXIST"}, signature="none"),
                BillState.NO_BILL,
                "no_statement_exist",
            ),
            (Reply(status=500, data={"code": "NO_STATEMENT_EXIST"}), BillState.UNKNOWN, "no_statement_exist"),
            (Reply(status=400, data={"code": "TOMORROW"}, signature="none"), BillState.UNKNOWN, "tomorrow"),
            (Reply(status=502, text="<html>"), BillState.UNKNOWN, "http_502"),
            (Reply(data={}, signature="wrong"), BillState.UNKNOWN, "answer_unverified"),
            (Reply(text="{"), BillState.UNKNOWN, "json_malformed"),
            (Reply(data={}), BillState.UNKNOWN, "download_url_missing"),
            (Reply(data={}, delay_seconds=1.0), BillState.UNKNOWN, "timeout"),
        ],
    )
    def test_without_an_address_nothing_is_fetched(
        self, adapter: WechatAdapter, provider: Provider, reply: Reply, state: BillState, code: str
    ) -> None:
        provider.reply = reply
        bill = adapter.download_bill(day=DAY, kind=BillKind.TRADE)
        assert (bill.state, bill.code, bill.content) == (state, code, b"")
        assert len(provider.seen) == 1

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"download_url": "https://example.com/v3/billdownload/file?token=1"}, "download_url_foreign"),
            ({"hash_type": "MD5"}, "hash_type_unknown"),
            ({"hash_value": ""}, "hash_value_missing"),
        ],
    )
    def test_a_doubtful_address_is_not_followed(
        self, adapter: WechatAdapter, provider: Provider, changes: dict[str, str], code: str
    ) -> None:
        provider.reply = address(provider, TRADES, **changes)
        bill = adapter.download_bill(day=DAY, kind=BillKind.TRADE)
        assert (bill.state, bill.code) == (BillState.UNKNOWN, code)
        assert len(provider.seen) == 1

    @pytest.mark.parametrize(
        ("reply", "code"),
        [
            (Reply(content=gzip.compress(TRADES)[:-20], signature="none"), "content_malformed"),
            (Reply(content=b"\x1f\x8bnonsense", signature="none"), "content_malformed"),
            (Reply(content=TRADES[:-20], signature="none"), "hash_mismatch"),
            (Reply(status=400, data={"code": "INVALID_REQUEST"}, signature="none"), "download_http_400"),
            (Reply(content=TRADES, signature="none", delay_seconds=1.0), "timeout"),
        ],
    )
    def test_a_file_that_is_not_whole_is_no_bill(
        self, adapter: WechatAdapter, provider: Provider, reply: Reply, code: str
    ) -> None:
        provider.replies = [address(provider, TRADES), reply]
        bill = adapter.download_bill(day=DAY, kind=BillKind.TRADE)
        assert (bill.state, bill.code) == (BillState.UNKNOWN, code)


class TestTrades:
    def test_payments_and_refunds(self, adapter: WechatAdapter) -> None:
        read = adapter.read_bill(kind=BillKind.TRADE, content=TRADES)
        assert read.rows == (
            BillRow(
                line_no=2,
                kind=BillRowKind.PAYMENT,
                number="RC0001",
                provider_no="4200001234",
                amount_fen=8888,
                is_incoming=True,
                outcome=Outcome.SUCCESS,
                happened_at=moment(10, 0, 5),
                fee_milli_fen=53_300,
                note="SUCCESS",
            ),
            BillRow(
                line_no=3,
                kind=BillRowKind.REFUND,
                number="RF0001",
                provider_no="5030001234",
                amount_fen=3000,
                is_incoming=False,
                outcome=Outcome.PENDING,
                happened_at=moment(11),
                payment_no="RC0001",
                provider_payment_no="4200001234",
                fee_milli_fen=-18_000,
                note="REFUND PROCESSING",
            ),
        )
        assert read.summary["总交易单数"] == "2"
        assert read.problems == ()

    @pytest.mark.parametrize(
        ("summary", "problems"),
        [
            (SUMMARY.replace("`2,", "`3,", 1), ("count_mismatch 总交易单数",)),
            (SUMMARY.replace("`30.00,`0.00", "`30.01,`0.00"), ("total_mismatch 退款总金额",)),
            (SUMMARY.replace("0.35300", "0.35301"), ("total_mismatch 手续费总金额",)),
        ],
    )
    def test_a_summary_that_does_not_fit_is_told(
        self, adapter: WechatAdapter, summary: str, problems: tuple[str, ...]
    ) -> None:
        read = adapter.read_bill(kind=BillKind.TRADE, content=file(HEADER, PAID, BACK, TOTALS, summary))
        assert read.problems == problems
        assert len(read.rows) == 2

    def test_a_state_nobody_documented_is_told_and_counted_for_nothing(self, adapter: WechatAdapter) -> None:
        content = file(HEADER, PAID.replace("`SUCCESS", "`MELTED"), BACK, TOTALS, SUMMARY)
        read = adapter.read_bill(kind=BillKind.TRADE, content=content)
        assert (read.rows[0].kind, read.rows[0].outcome) == (BillRowKind.OTHER, Outcome.UNKNOWN)
        assert read.problems == ("state_unknown line 2",)

    @pytest.mark.parametrize(
        ("content", "reason", "line_no"),
        [
            (b"", "empty", 0),
            (b"\xff\xfe", "not_utf8", 0),
            (file(HEADER, PAID, BACK), "summary_missing", 0),
            (file(HEADER, PAID, TOTALS), "summary_malformed", 0),
            (file(HEADER, PAID, BACK[:-3], TOTALS, SUMMARY), "cells_miscounted", 3),
            (file(HEADER, PAID, BACK.replace("`CNY", "CNY"), TOTALS, SUMMARY), "cell_unquoted", 3),
            (file(HEADER, PAID.replace("`88.88", "`8e2"), BACK, TOTALS, SUMMARY), "amount_malformed", 2),
            (file(HEADER, PAID.replace("`88.88", "`88.885"), BACK, TOTALS, SUMMARY), "amount_malformed", 2),
            (file(HEADER, PAID.replace("`88.88", "`-88.88"), BACK, TOTALS, SUMMARY), "amount_malformed", 2),
            (file(HEADER, PAID.replace("11-22", "13-22"), BACK, TOTALS, SUMMARY), "time_malformed", 2),
            (file(HEADER, PAID.replace(MCHID, "1900000002"), BACK, TOTALS, SUMMARY), "merchant_mismatch", 2),
            (file(HEADER.replace("订单金额,申请", "申请退款金额,申请"), PAID, TOTALS, SUMMARY), "column_repeated", 1),
            (file(HEADER.replace("商户订单号", "单号"), PAID, BACK, TOTALS, SUMMARY), "column_missing 商户订单号", 2),
            (file(HEADER, PAID, BACK, TOTALS, SUMMARY.replace("`2,", "`two,")), "count_malformed 总交易单数", 5),
        ],
    )
    def test_what_cannot_be_read_is_refused_whole(
        self, adapter: WechatAdapter, content: bytes, reason: str, line_no: int
    ) -> None:
        with pytest.raises(BillInvalid) as caught:
            adapter.read_bill(kind=BillKind.TRADE, content=content)
        assert (caught.value.reason, caught.value.line_no) == (reason, line_no)

    def test_the_old_layout_of_24_columns(self) -> None:
        header = (
            "交易时间,公众账号ID,商户号,子商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,总金额,代金券或立减优惠金额,"
            "微信退款单号,商户退款单号,退款金额,代金券或立减优惠退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率"
        )
        row = (
            "`2014-11-10 16：33：45,`wx2,`10000100,`0,`1000,`1001,`RC0001,`oU,`MICROPAY,`SUCCESS,`CFT,`CNY,`0.01,"
            "`0.0,`0,`0,`0,`0,`,`,`测试,`,`0,`0.60%"
        )
        totals = "总交易单数,总交易额,总退款金额,总代金券或立减优惠退款金额,手续费总金额"
        read = bill_files.read_trades(file(header, row, totals, "`1,`0.01,`0.0,`0.0,`0", end="\n", mark=""))
        (only,) = read.rows
        assert (only.number, only.amount_fen, only.fee_milli_fen) == ("RC0001", 1, 0)
        assert only.happened_at == dt.datetime(2014, 11, 10, 16, 33, 45, tzinfo=BEIJING)
        assert read.problems == ()


class TestFundFlow:
    def test_movements_of_every_kind(self, adapter: WechatAdapter) -> None:
        read = adapter.read_bill(kind=BillKind.FUND_FLOW, content=FLOW)
        assert read.problems == ()
        assert [
            (row.kind.value, row.number, row.amount_fen, row.is_incoming, row.balance_fen) for row in read.rows
        ] == [
            ("PAYMENT", "RC0001", 8888, True, 10000),
            ("OTHER", "RC0001", 53, False, 9947),
            ("REFUND", "RF0001", 3000, False, 6947),
            ("PAYOUT", "WD0001", 2000, False, 4947),
            ("PAYOUT", "WD0001", 2000, True, 6947),
            ("PAYOUT", "WD0002", 100, False, 6847),
            ("OTHER", "", 500, True, 7347),
        ]
        assert {row.outcome for row in read.rows} == {Outcome.SUCCESS}
        assert read.rows[0].happened_at == moment(10, 0, 5)

    def test_full_width_brackets_in_the_header(self, adapter: WechatAdapter) -> None:
        content = FLOW.decode().replace("(元)", "（元）").encode()
        assert adapter.read_bill(kind=BillKind.FUND_FLOW, content=content).problems == ()

    @pytest.mark.parametrize(
        ("summary", "problems"),
        [
            (FLOW_SUMMARY.replace("7.0", "8.0"), ("count_mismatch 资金流水总笔数",)),
            (FLOW_SUMMARY.replace("113.88", "113.87"), ("total_mismatch 收入金额",)),
            (FLOW_SUMMARY.replace("4.0", "5"), ("count_mismatch 支出笔数",)),
        ],
    )
    def test_a_summary_that_does_not_fit_is_told(
        self, adapter: WechatAdapter, summary: str, problems: tuple[str, ...]
    ) -> None:
        content = file(FLOW_HEADER, *FLOW_ROWS, FLOW_TOTALS, summary)
        assert adapter.read_bill(kind=BillKind.FUND_FLOW, content=content).problems == problems

    def test_a_direction_nobody_documented_is_refused(self, adapter: WechatAdapter) -> None:
        content = file(FLOW_HEADER, FLOW_ROWS[0].replace("收入", "不变"), FLOW_TOTALS, "`1,`1,`88.88,`0,`0.00")
        with pytest.raises(BillInvalid, match="direction_unknown"):
            adapter.read_bill(kind=BillKind.FUND_FLOW, content=content)


OWN_SAMPLE = {
    "id": "own",
    "input": {"text": "\n".join([HEADER, PAID, TOTALS, "`12,`88.88,`0.06,`0.00,`0.53300,`0.06,`0.06"])},
    "expected": {
        "rows": 1,
        "out_trade_no": "RC0001",
        "order_amount_fen": 8888,
        "summary": {"总交易单数": "12", "订单总金额": "0.06"},
    },
}


@pytest.mark.parametrize("case", [OWN_SAMPLE, *shared_cases("bill_02")], ids=lambda case: case["id"])
def test_a_sample_that_shows_one_of_twelve_rows(case: dict[str, Any]) -> None:
    read = bill_files.read_trades(case["input"]["text"].encode())
    expected = case["expected"]
    assert len(read.rows) == expected["rows"]
    assert (read.rows[0].number, read.rows[0].amount_fen) == (expected["out_trade_no"], expected["order_amount_fen"])
    assert {name: read.summary[name] for name in expected["summary"]} == expected["summary"]
    assert "count_mismatch 总交易单数" in read.problems
    assert "total_mismatch 订单总金额" in read.problems


def test_published_headers_are_those_of_the_files_here() -> None:
    assert list(COLUMNS["ALL"]) == HEADER.split(",")
    for case in shared_cases("bill_04"):
        expected = case["expected"]
        assert {kind: list(COLUMNS[kind]) for kind in ("ALL", "SUCCESS", "REFUND")} == {
            kind: expected[kind] for kind in ("ALL", "SUCCESS", "REFUND")
        }
        assert TOTALS.split(",") == expected["summary_ALL_REFUND"]


@pytest.mark.parametrize("kind", ["ALL", "SUCCESS"])
def test_columns_are_found_by_name(kind: str) -> None:
    cells = dict(zip(HEADER.split(","), PAID.split(","), strict=True))
    row = ",".join(cells[name] for name in COLUMNS[kind])
    totals, values = "总交易单数,应结订单总金额,手续费总金额,订单总金额", "`1,`88.88,`0.53300,`88.88"
    read = bill_files.read_trades(file(",".join(COLUMNS[kind]), row, totals, values))
    assert read.problems == ()
    assert read.rows[0].amount_fen == 8888


def test_a_kind_that_wechat_has_not_is_our_bug(adapter: WechatAdapter, provider: Provider) -> None:
    assert adapter.bill_kinds == frozenset(BillKind)
    assert json.dumps(sorted(adapter.bill_kinds)) == '["FUND_FLOW", "TRADE", "TRADE_PAID", "TRADE_REFUND"]'
    assert provider.seen == []
