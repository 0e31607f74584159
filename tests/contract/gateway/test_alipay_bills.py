"""Alipay's bill files: what is read from them, what is refused, and every way in which fetching one can end."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests
from celery.exceptions import SoftTimeLimitExceeded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.adapters.alipay import AlipayAdapter, bills
from gateway.ports import Bill, BillInvalid, BillKind, BillRow, BillRowKind, BillState, Outcome
from tests.contract.gateway.alipay_provider import DONE, AlipayProvider, Reply, failure_node

DAY = dt.date(2026, 11, 22)
TRADE_HEADER = (
    "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,"
    "商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,"
    "商家红包消费金额（元）,卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注"
)
PAYMENT = (
    "2026112222001458860515315453\t,RC1\t,交易\t,充值,2026-11-22 10:55:16,2026-11-22 10:55:23,\t,\t,\t,\t,"
    "*某(602***@qq.com)\t,88.88,88.88,0.00,0.00,0.00,0.00,0.00,,0.00\t,0.00,\t,-0.53,0.00,充值"
)
REFUND = (
    "2026112222001458860515315453\t,RC1\t,退款\t,充值,2026-11-22 10:55:16,2026-11-22 11:56:48,\t,\t,\t,\t,"
    "*某(602***@qq.com)\t,-30.00,-30.00,0.00,0.00,0.00,0.00,0.00,,0.00\t,0.00,RX1\t,0.18,0.00,充值"
)
TRADE_END = [
    "#-----------------------------------------业务明细列表结束------------------------------------",
    "#交易合计：1笔，商家实收共88.88元，商家优惠共0.00元",
    "#退款合计：1笔，商家实收退款共-30.00元，商家优惠退款共0.00元",
    "#导出时间：[2026年11月23日 05:46:49]",
]
FLOW_HEADER = (
    "账务流水号,业务流水号,商户订单号,商品名称,发生时间,对方账号,"
    "收入金额（+元）,支出金额（-元）,账户余额（元）,交易渠道,业务类型,备注"
)
FLOW_END = [
    "#-----------------------------------------账务明细列表结束------------------------------------",
    "#支出合计：3笔，共-80.53元",
    "#收入合计：2笔，共90.00元",
    "#导出时间：[2026年11月23日 05:46:49]",
]
FLOW_ROWS = [
    "1\t,2026112222001\t,RC1\t,充值,2026-11-22 10:55:23,某 (a@b.com)\t,88.88,0.00,1088.88,支付宝,在线支付,",
    "2\t,2026112222001\t,RC1\t,充值,2026-11-22 10:55:23,某 (a@b.com)\t,0.00,-0.53,1088.35,支付宝,收费,",
    "3\t,2026112222001\t,RC1\t,充值,2026-11-22 11:56:48,某 (a@b.com)\t,0.00,-30.00,1058.35,支付宝,交易退款,",
    "4\t,2026112222002\t,WD1\t,,2026-11-22 12:00:00,某 (c@d.com)\t,0.00,-50.00,1008.35,支付宝,转账,提现",
    "5\t,2026112222003\t,\t,,2026-11-22 13:00:00,某 (c@d.com)\t,1.12,0.00,1009.47,支付宝,其它,",
]


def packed(
    *lines: str, name: str = "20880000000000000156_20261122_业务明细", more: Mapping[str, str] | None = None
) -> bytes:
    """A zip as Alipay makes it: GBK contents, names given in GBK by the cp437 detour."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, text in {f"{name}.csv": "\r\n".join(lines), f"{name}(汇总).csv": "#", **(more or {})}.items():
            archive.writestr(entry, text.encode("gbk"))
    return target.getvalue()


def trade(*rows: str, end: list[str] | None = None, header: str = TRADE_HEADER) -> bytes:
    return packed("#支付宝业务明细查询", "#账号：[20880]", "#--业务明细列表--", header, *rows, *(end or TRADE_END))


def flow(*rows: str, end: list[str] | None = None) -> bytes:
    name = "20880000000000000156_20261122_账务明细"
    return packed("#支付宝账务明细查询", "#--账务明细列表--", FLOW_HEADER, *rows, *(end or FLOW_END), name=name)


@pytest.fixture(scope="module")
def running_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlipayProvider]:
    made = AlipayProvider.create(tmp_path_factory.mktemp("alipay"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def provider(running_provider: AlipayProvider) -> AlipayProvider:
    running_provider.reply = Reply()
    running_provider.seen.clear()
    running_provider.files.clear()
    return running_provider


@pytest.fixture(scope="module")
def adapter(running_provider: AlipayProvider) -> AlipayAdapter:
    return running_provider.adapter()


def beijing(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(f"{text}+08:00")


def test_the_trade_bill_is_read_to_the_last_cell(adapter: AlipayAdapter) -> None:
    content = adapter.read_bill(kind=BillKind.TRADE, content=trade(PAYMENT, REFUND))
    assert content.rows == (
        BillRow(
            line_no=5,
            kind=BillRowKind.PAYMENT,
            number="RC1",
            provider_no="2026112222001458860515315453",
            amount_fen=8888,
            is_incoming=True,
            outcome=Outcome.SUCCESS,
            happened_at=beijing("2026-11-22T10:55:23"),
            fee_milli_fen=53_000,
            note="充值",
        ),
        BillRow(
            line_no=6,
            kind=BillRowKind.REFUND,
            number="RX1",
            provider_no="2026112222001458860515315453",
            amount_fen=3000,
            is_incoming=False,
            outcome=Outcome.SUCCESS,
            happened_at=beijing("2026-11-22T11:56:48"),
            payment_no="RC1",
            provider_payment_no="2026112222001458860515315453",
            fee_milli_fen=-18_000,
            note="充值",
        ),
    )
    assert content.problems == ()
    assert content.summary["交易合计"] == "1笔，商家实收共88.88元，商家优惠共0.00元"


def test_the_account_flow_tells_payments_refunds_payouts_and_the_rest(adapter: AlipayAdapter) -> None:
    content = adapter.read_bill(kind=BillKind.FUND_FLOW, content=flow(*FLOW_ROWS))
    assert [(row.kind, row.number, row.payment_no, row.amount_fen, row.is_incoming) for row in content.rows] == [
        (BillRowKind.PAYMENT, "RC1", "", 8888, True),
        (BillRowKind.OTHER, "RC1", "", 53, False),
        (BillRowKind.REFUND, "", "RC1", 3000, False),
        (BillRowKind.PAYOUT, "WD1", "", 5000, False),
        (BillRowKind.OTHER, "", "", 112, True),
    ]
    assert [row.balance_fen for row in content.rows] == [108888, 108835, 105835, 100835, 100947]
    assert content.problems == ()


def test_names_in_gbk_without_the_flag_are_found(adapter: AlipayAdapter) -> None:
    content = trade(PAYMENT, REFUND)
    for name in ("20880000000000000156_20261122_业务明细.csv", "20880000000000000156_20261122_业务明细(汇总).csv"):
        assert name.encode() in content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        texts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for number, text in enumerate(texts.values()):
            archive.writestr("P" * (len("20880000000000000156_20261122_业务明细.csv".encode("gbk")) + 6 * number), text)
    raw = target.getvalue()
    for name in reversed(list(texts)):
        encoded = name.encode("gbk")
        raw = raw.replace(b"P" * len(encoded), encoded)
    assert len(adapter.read_bill(kind=BillKind.TRADE, content=raw).rows) == 2


@pytest.mark.parametrize(
    ("end", "problems"),
    [
        ([TRADE_END[0], TRADE_END[1].replace("88.88", "88.89"), *TRADE_END[2:]], ("incoming_total_mismatch",)),
        ([TRADE_END[0], TRADE_END[1].replace("1笔", "2笔"), *TRADE_END[2:]], ("incoming_total_mismatch",)),
        ([*TRADE_END[:2], TRADE_END[2].replace("-30.00", "30.00")], ("outgoing_total_mismatch",)),
        ([TRADE_END[0]], ("incoming_total_missing", "outgoing_total_missing")),
        ([TRADE_END[0], "#交易合计：some", TRADE_END[2]], ("incoming_total_missing",)),
    ],
)
def test_totals_that_do_not_fit_are_reported(adapter: AlipayAdapter, end: list[str], problems: tuple[str, ...]) -> None:
    assert adapter.read_bill(kind=BillKind.TRADE, content=trade(PAYMENT, REFUND, end=end)).problems == problems


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("88.88,88.88", "88.888,88.88", "amount_malformed"),
        ("88.88,88.88", "-88.88,88.88", "amount_sign_wrong"),
        ("88.88,88.88", "0.00,88.88", "amount_sign_wrong"),
        ("88.88,88.88", "NaN,88.88", "amount_malformed"),
        ("88.88,88.88", '"1,088.88",88.88', "amount_malformed"),
        ("2026-11-22 10:55:23", "2026/11/22 10:55", "time_malformed"),
        ("2026112222001458860515315453", "", "支付宝交易号_missing"),
        (",充值,2026", ",one, two,2026", "row_malformed"),
        ("\t,\t,\t,\t,", "\t,", "row_malformed"),
        (",充值,2026", ',"open,2026', "row_malformed"),
    ],
)
def test_a_row_that_cannot_be_read_refuses_the_whole_file_and_names_its_line(
    adapter: AlipayAdapter, old: str, new: str, reason: str
) -> None:
    with pytest.raises(BillInvalid) as caught:
        adapter.read_bill(kind=BillKind.TRADE, content=trade(PAYMENT.replace(old, new), REFUND))
    assert (caught.value.reason, caught.value.line_no) == (reason, 5)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "zip_malformed"),
        (b"PK\x03\x04 and nothing", "zip_malformed"),
        (packed(name="other"), "details_missing"),
        (packed("x", more={"another_业务明细.csv": "x"}), "details_missing"),
        (packed("#only", "#comments"), "details_incomplete"),
        (packed("a,b,c"), "columns_unknown"),
        (trade(header=TRADE_HEADER.replace("备注", "订单金额（元）")), "columns_unknown"),
        (packed(TRADE_HEADER, PAYMENT), "details_incomplete"),
        (trade(PAYMENT, end=[*TRADE_END, REFUND]), "row_malformed"),
        (flow(*FLOW_ROWS), "columns_unknown"),
    ],
)
def test_a_file_that_is_not_this_bill_is_refused(adapter: AlipayAdapter, content: bytes, reason: str) -> None:
    with pytest.raises(BillInvalid) as caught:
        adapter.read_bill(kind=BillKind.TRADE, content=content)
    assert caught.value.reason == reason


def test_a_flow_row_with_both_amounts_is_refused_and_one_with_none_is_reported(adapter: AlipayAdapter) -> None:
    both, none = FLOW_ROWS[0].replace("0.00", "-1.00"), FLOW_ROWS[0].replace("88.88,0.00", "0.00,0.00")
    with pytest.raises(BillInvalid, match="amount_sign_wrong"):
        adapter.read_bill(kind=BillKind.FUND_FLOW, content=flow(both))
    assert "zero_amount_line_4" in adapter.read_bill(kind=BillKind.FUND_FLOW, content=flow(none)).problems


def test_a_table_that_is_too_large_is_refused_unread(adapter: AlipayAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bills, "MAX_TABLE_BYTES", 100)
    with pytest.raises(BillInvalid, match="details_too_large"):
        adapter.read_bill(kind=BillKind.TRADE, content=trade(PAYMENT, REFUND))


def test_every_truncation_is_refused(adapter: AlipayAdapter) -> None:
    content = trade(PAYMENT, REFUND)
    for length in range(0, len(content) - 1, 23):
        with pytest.raises(BillInvalid):
            adapter.read_bill(kind=BillKind.TRADE, content=content[:length])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from([BillKind.TRADE, BillKind.FUND_FLOW]))
def test_whatever_the_bytes_only_a_refusal_comes_out(
    adapter: AlipayAdapter, data: st.DataObject, kind: BillKind
) -> None:
    content = bytearray(trade(PAYMENT, REFUND))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(BillInvalid):
        assert adapter.read_bill(kind=kind, content=bytes(content)).summary


@pytest.mark.parametrize("kind", [BillKind.TRADE_PAID, BillKind.TRADE_REFUND])
def test_kinds_that_alipay_has_not_are_our_own_bug(
    adapter: AlipayAdapter, provider: AlipayProvider, kind: BillKind
) -> None:
    assert adapter.bill_kinds == {BillKind.TRADE, BillKind.FUND_FLOW}
    with pytest.raises(ValueError, match="no bill"):
        adapter.download_bill(day=DAY, kind=kind)
    with pytest.raises(ValueError, match="no bill"):
        adapter.read_bill(kind=kind, content=b"")
    assert provider.seen == []


# --- fetching ---


@pytest.mark.parametrize(("kind", "word"), [(BillKind.TRADE, "trade"), (BillKind.FUND_FLOW, "signcustomer")])
def test_a_bill_is_asked_for_and_fetched(
    adapter: AlipayAdapter, provider: AlipayProvider, kind: BillKind, word: str
) -> None:
    content = trade(PAYMENT)
    provider.files["/file.zip"] = content
    provider.reply = Reply(node={**DONE, "bill_download_url": f"{provider.url}/file.zip?sign=x"})
    assert adapter.download_bill(day=DAY, kind=kind) == Bill(state=BillState.READY, content=content)
    assert provider.seen[0].content == {"bill_type": word, "bill_date": "2026-11-22"}


@pytest.mark.parametrize(
    ("node", "state", "code"),
    [
        (failure_node("40004", "isp.bill_not_exist"), BillState.NO_BILL, "bill_not_exist"),
        (failure_node("40002", "isp.bill_not_exist"), BillState.NO_BILL, "bill_not_exist"),
        (failure_node("40004", "BILL_NOT_EXIST"), BillState.NO_BILL, "bill_not_exist"),
        (failure_node("20000", "isp.bill_not_exist"), BillState.UNKNOWN, "isp.bill_not_exist"),
        (failure_node("20000", "isp.unknow-error"), BillState.UNKNOWN, "isp.unknow-error"),
        (failure_node("40004", "SYSTEM_ERROR"), BillState.UNKNOWN, "system_error"),
        (failure_node("40004", "something.new"), BillState.UNKNOWN, "something.new"),
        (DONE, BillState.UNKNOWN, "address_malformed"),
        ({**DONE, "bill_download_url": "file:///etc/passwd"}, BillState.UNKNOWN, "address_malformed"),
        ({**DONE, "bill_download_url": "https://"}, BillState.UNKNOWN, "address_malformed"),
        ({**DONE, "bill_download_url": "http://[bad"}, BillState.UNKNOWN, "address_malformed"),
        ({**DONE, "bill_download_url": 7}, BillState.UNKNOWN, "address_malformed"),
        ({**DONE, "bill_download_url": "http://127.0.0.1:1/file"}, BillState.UNKNOWN, "network_error"),
    ],
)
def test_everything_else_is_no_file(
    adapter: AlipayAdapter, provider: AlipayProvider, node: dict[str, Any], state: BillState, code: str
) -> None:
    provider.reply = Reply(node=node)
    bill = adapter.download_bill(day=DAY, kind=BillKind.TRADE)
    assert (bill.state, bill.code, bill.content) == (state, code, b"")


def test_a_plain_address_is_not_followed_from_a_protected_gateway(provider: AlipayProvider) -> None:
    assert bills._is_fetchable("https://dwbillcenter.alipay.com/x", "https://openapi.alipay.com/gateway.do")
    assert not bills._is_fetchable("http://dwbillcenter.alipay.com/x", "https://openapi.alipay.com/gateway.do")


@pytest.mark.parametrize("signature", ["wrong", "none"])
def test_an_unsigned_address_is_not_followed(adapter: AlipayAdapter, provider: AlipayProvider, signature: str) -> None:
    provider.files["/file.zip"] = trade(PAYMENT)
    provider.reply = Reply(node={**DONE, "bill_download_url": f"{provider.url}/file.zip"}, signature=signature)
    assert adapter.download_bill(day=DAY, kind=BillKind.TRADE).state is BillState.UNKNOWN


def test_what_comes_from_the_address_must_be_a_zip_and_not_too_large(
    adapter: AlipayAdapter, provider: AlipayProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.reply = Reply(node={**DONE, "bill_download_url": f"{provider.url}/file.zip"})
    provider.files["/file.zip"] = b"<html>try later</html>"
    bill = adapter.download_bill(day=DAY, kind=BillKind.TRADE)
    assert (bill.state, bill.code, bill.content) == (BillState.UNKNOWN, "zip_malformed", b"<html>try later</html>")
    monkeypatch.setattr(bills, "MAX_ZIP_BYTES", 10)
    bill = adapter.download_bill(day=DAY, kind=BillKind.TRADE)
    assert (bill.state, bill.code, bill.content) == (BillState.UNKNOWN, "bill_too_large", b"")


def test_an_address_that_answers_an_error_or_nothing_is_unknown(
    adapter: AlipayAdapter, provider: AlipayProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.reply = Reply(node={**DONE, "bill_download_url": f"{provider.url}/gone"}, status=200)
    real = bills._fetch

    def refused(address: str, timeout_seconds: float) -> Bill:
        """The server answers 404 from the second request on."""
        provider.reply = Reply(node={}, status=404)
        return real(address, timeout_seconds)

    monkeypatch.setattr(bills, "_fetch", refused)
    assert adapter.download_bill(day=DAY, kind=BillKind.TRADE).code == "http_404"
    monkeypatch.setattr(bills, "_fetch", real)
    provider.reply = Reply(node={**DONE, "bill_download_url": f"{provider.url}/gone"})

    def silent(*args: Any, **kwargs: Any) -> None:
        raise requests.ReadTimeout

    monkeypatch.setattr(requests, "get", silent)
    assert adapter.download_bill(day=DAY, kind=BillKind.TRADE).code == "timeout"

    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(requests, "get", interrupted)
    with pytest.raises(SoftTimeLimitExceeded):
        adapter.download_bill(day=DAY, kind=BillKind.TRADE)
