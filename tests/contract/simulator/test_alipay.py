"""The simulated Alipay as a merchant sees it: the real SDK where it can say it, hand-made requests where it cannot."""

from __future__ import annotations

import base64
import datetime as dt
import io
import itertools
import json
import time
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from alipay import AliPay, DCAliPay
from alipay.exceptions import AliPayException, AliPayValidationError
from alipay.utils import AliPayConfig
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from simulator import server
from simulator.alipay import wire
from simulator.clock import BEIJING
from simulator.keyfiles import load_private, load_public
from tests.contract.simulator.merchant import Received, Receiver

TRANSFER = {"product_code": "TRANS_ACCOUNT_NO_PWD", "biz_scene": "DIRECT_TRANSFER"}


class Shop:
    """One merchant of the simulated Alipay."""

    def __init__(self, *, directory: Path, url: str, receiver: Receiver) -> None:
        self.url, self.receiver = url, receiver
        self.held = json.loads((directory / "alipay.json").read_text())
        texts = {name: (directory / value).read_text() for name, value in self.held.items() if name.endswith("_file")}
        self.key = load_private(directory / self.held["app_private_key_file"])
        self.alipay_key = load_public(directory / self.held["alipay_public_key_file"])
        self.sdk = AliPay(
            appid=self.held["app_id"],
            app_private_key_string=texts["app_private_key_file"],
            alipay_public_key_string=texts["alipay_public_key_file"],
            config=AliPayConfig(timeout=5),
        )
        self.certified = DCAliPay(
            appid=self.held["app_id"],
            app_private_key_string=texts["app_private_key_file"],
            app_public_key_cert_string=texts["app_certificate_file"],
            alipay_public_key_cert_string=texts["alipay_certificate_file"],
            alipay_root_cert_string=texts["alipay_root_certificate_file"],
        )
        for client in (self.sdk, self.certified):
            client._gateway = f"{url}/gateway.do"

    def precreate(self, number: str, total: str = "1.00", **more: Any) -> dict[str, Any]:
        return dict(
            self.sdk.api_alipay_trade_precreate(
                "充值 + recharge", number, total, notify_url=f"{self.receiver.url}/notify/alipay", **more
            )
        )

    def paid(self, number: str, total: str = "1.00") -> Received:
        """A paid trade; its notice."""
        self.control("pay", {"payment": {"kind": "code_url", "code_url": self.precreate(number, total)["qr_code"]}})
        return self.receiver.next()

    def control(self, path: str, body: Any, status: int = 200) -> Any:
        answer = requests.post(f"{self.url}/_sim/{path}", json=body, timeout=5)
        assert answer.status_code == status, answer.text
        return answer.json()

    def parameters(self, method: str, content: Any, **changes: str | None) -> dict[str, str]:
        """A request signed without the SDK; `sign` is over everything given, None leaves a parameter out."""
        values: dict[str, str | None] = {
            "app_id": self.held["app_id"],
            "method": method,
            "format": "JSON",
            "charset": "utf-8",
            "sign_type": "RSA2",
            "timestamp": f"{dt.datetime.now(BEIJING):%Y-%m-%d %H:%M:%S}",
            "version": "1.0",
            "biz_content": content if isinstance(content, str) else json.dumps(content),
            **changes,
        }
        given = {name: value for name, value in values.items() if value is not None}
        given.setdefault("sign", wire.sign(key=self.key, message=wire.request_text(given)))
        return given

    def ask(self, method: str, content: Any, **changes: str | None) -> dict[str, Any]:
        """The node of the answer."""
        return self.answer(requests.post(f"{self.url}/gateway.do", data=self.parameters(method, content, **changes)))

    @staticmethod
    def answer(response: requests.Response) -> dict[str, Any]:
        assert response.status_code == 200
        body = response.json()
        (node,) = [value for name, value in body.items() if name.endswith("_response")]
        return {**node, "_signed": "sign" in body}


@pytest.fixture
def shop(simulator: server.Handle, directory: Path, receiver: Receiver) -> Shop:
    return Shop(directory=directory, url=simulator.url, receiver=receiver)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Alipay's receiver says `success`; its answers can be replaced one by one."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    made = Receiver()
    made.stop()
    answers: list[tuple[int, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, text = answers.pop(0) if answers else (200, b"success")
            made.received.put(Received(path=self.path, headers=dict(self.headers), body=body, at=time.monotonic()))
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
    made.url = f"http://127.0.0.1:{listening.server_address[1]}"
    monkeypatch.setattr(made, "answers", answers, raising=False)
    yield made
    listening.shutdown()
    listening.server_close()


def form(received: Received) -> dict[str, str]:
    return dict(parse_qsl(received.body.decode(), keep_blank_values=True, strict_parsing=True))


# --- the real SDK in both directions ---


def test_the_sdk_pays_queries_refunds_and_reads_the_notices(shop: Shop) -> None:
    made = shop.precreate("T1", "88.88")
    assert (made["code"], made["out_trade_no"]) == ("10000", "T1")
    assert made["qr_code"].startswith("https://qr.alipay.com/bax")
    assert shop.sdk.api_alipay_trade_query(out_trade_no="T1")["sub_code"] == "ACQ.TRADE_NOT_EXIST"
    paid = shop.control("pay", {"payment": {"kind": "code_url", "code_url": made["qr_code"]}})
    assert (paid["attempt_no"], paid["state"]) == ("T1", "SUCCESS")
    queried = shop.sdk.api_alipay_trade_query(out_trade_no="T1")
    assert (queried["trade_status"], queried["total_amount"], queried["trade_no"]) == (
        "TRADE_SUCCESS",
        "88.88",
        paid["transaction_id"],
    )
    assert shop.sdk.api_alipay_trade_query(trade_no=paid["transaction_id"])["out_trade_no"] == "T1"
    notice = form(shop.receiver.next())
    signature = notice.pop("sign")
    assert shop.sdk.verify(dict(notice), signature)
    assert not shop.sdk.verify({**notice, "total_amount": "88.89"}, signature)
    assert (notice["trade_status"], notice["total_amount"], notice["subject"]) == (
        "TRADE_SUCCESS",
        "88.88",
        "充值 + recharge",
    )
    assert (notice["app_id"], notice["seller_id"]) == (shop.held["app_id"], shop.held["seller_id"])
    refund = {"out_trade_no": "T1", "out_request_no": "R1"}
    assert [shop.sdk.api_alipay_trade_refund("30.00", **refund)["fund_change"] for _ in range(2)] == ["Y", "N"]
    found = shop.sdk.api_alipay_trade_fastpay_refund_query("R1", out_trade_no="T1")
    assert (found["refund_status"], found["refund_amount"], found["total_amount"]) == (
        "REFUND_SUCCESS",
        "30.00",
        "88.88",
    )
    again = form(shop.receiver.next())
    assert (again["trade_status"], again["refund_fee"], again["out_biz_no"]) == ("TRADE_SUCCESS", "30.00", "R1")
    assert again["notify_id"] != notice["notify_id"]
    rest = shop.sdk.api_alipay_trade_refund("58.88", out_trade_no="T1", out_request_no="R2")
    assert (rest["fund_change"], rest["refund_fee"]) == ("Y", "88.88")
    last = form(shop.receiver.next())
    assert (last["trade_status"], last["refund_fee"], last["out_biz_no"]) == ("TRADE_CLOSED", "88.88", "R2")
    signature = last.pop("sign")
    assert shop.sdk.verify(last, signature)


@pytest.mark.parametrize("name", ["page", "wap"])
def test_the_sdks_pages_open_and_pay(shop: Shop, name: str) -> None:
    sign = getattr(shop.sdk, f"api_alipay_trade_{name}_pay")
    query = sign("充值", "T1", "1.00", return_url="https://shop.example.com/", notify_url=f"{shop.receiver.url}/n")
    opened = requests.get(f"{shop.url}/gateway.do?{query}", timeout=5)
    assert (opened.status_code, urlsplit(opened.url).path) == (200, "/pay")
    assert shop.sdk.api_alipay_trade_query(out_trade_no="T1")["trade_status"] == "WAIT_BUYER_PAY"
    shop.control("pay", {"payment": {"kind": "redirect", "url": f"{shop.url}/gateway.do?{query}"}})
    assert form(shop.receiver.next())["out_trade_no"] == "T1"
    page = requests.get(opened.url, timeout=5).text
    link = page.partition('href="https://shop.example.com/?')[2].partition('"')[0].replace("&amp;", "&")
    returned = dict(parse_qsl(link))
    signature = returned.pop("sign")
    assert "trade_status" not in returned
    assert shop.sdk.verify(returned, signature)
    spoilt = requests.get(f"{shop.url}/gateway.do?{query.replace('1.00', '0.01')}", timeout=5)
    assert (spoilt.status_code, "isv.invalid-signature" in spoilt.text) == (400, True)


def test_the_sdk_closes_only_what_waits(shop: Shop) -> None:
    code = shop.precreate("T1")["qr_code"]
    assert shop.sdk.api_alipay_trade_close(out_trade_no="T1")["sub_code"] == "ACQ.TRADE_NOT_EXIST"
    requests.get(f"{shop.url}/pay", params={"code_url": code}, timeout=5)
    assert shop.sdk.api_alipay_trade_close(out_trade_no="T1")["code"] == "10000"
    assert shop.sdk.api_alipay_trade_close(out_trade_no="T1")["sub_code"] == "ACQ.TRADE_STATUS_ERROR"
    shop.paid("T2")
    assert shop.sdk.api_alipay_trade_close(out_trade_no="T2")["sub_code"] == "ACQ.TRADE_STATUS_ERROR"
    assert shop.precreate("T1")["sub_code"] == "ACQ.TRADE_HAS_CLOSE"
    assert shop.precreate("T2")["sub_code"] == "ACQ.TRADE_HAS_SUCCESS"


def test_the_sdk_transfers_with_certificates_only(shop: Shop) -> None:
    made = shop.certified.api_alipay_fund_trans_uni_transfer(
        "W1", "ALIPAY_LOGON_ID", "payee@example.com", "50.00", name="张三", order_title="提现", remark="提现"
    )
    assert (made["code"], made["status"], made["out_biz_no"]) == ("10000", "SUCCESS", "W1")
    content = {**TRANSFER, "out_biz_no": "W1"}
    found = shop.sdk.server_api("alipay.fund.trans.common.query", content)
    assert (found["status"], found["trans_amount"], found["order_id"]) == ("SUCCESS", "50.00", made["order_id"])
    payee = {"identity": "2088622190161234", "identity_type": "ALIPAY_USER_ID"}
    asked = {**TRANSFER, "out_biz_no": "W2", "trans_amount": "50.00", "order_title": "x", "payee_info": payee}
    assert shop.sdk.server_api("alipay.fund.trans.uni.transfer", asked)["code"] == "40006"
    assert shop.sdk.server_api("alipay.fund.trans.common.query", {**TRANSFER, "out_biz_no": "W2"})["sub_code"] == (
        "ORDER_NOT_EXIST"
    )
    assert shop.certified.server_api("alipay.fund.trans.uni.transfer", asked)["status"] == "SUCCESS"


def test_the_sdk_gets_the_bill_of_a_day(shop: Shop) -> None:
    shop.paid("T1", "88.88")
    today = f"{dt.datetime.now(BEIJING):%Y-%m-%d}"
    asked = {"bill_type": "trade", "bill_date": today}
    method = "alipay.data.dataservice.bill.downloadurl.query"
    assert shop.sdk.server_api(method, asked)["sub_code"] == "isp.bill_not_exist"
    shop.control("clock", {"bill_offset_seconds": 2 * 86_400})
    url = shop.sdk.server_api(method, asked)["bill_download_url"]
    with zipfile.ZipFile(io.BytesIO(requests.get(url, timeout=5).content)) as archive:
        entries = {entry.filename.encode("cp437").decode("gbk"): entry for entry in archive.infolist()}
        assert not any(entry.flag_bits & 0x800 for entry in entries.values()), "GBK without the UTF-8 flag"
        stem = f"{shop.held['seller_id']}0156_{today.replace('-', '')}_业务明细"
        assert set(entries) == {f"{stem}.csv", f"{stem}(汇总).csv"}
        lines = archive.read(entries[f"{stem}.csv"]).decode("gbk").splitlines()
    assert lines[0] == "#支付宝业务明细查询"
    assert len(lines[4].split(",")) == 25
    assert lines[5].split(",")[1:3] == ["T1\t", "交易\t"]
    assert lines[7] == "#交易合计：1笔，商家实收共88.88元，商家优惠共0.00元"
    assert requests.get(url.replace("/bill/", "/bill/0"), timeout=5).status_code == 404


# --- strictness ---


@pytest.mark.parametrize(
    ("changes", "sub_code", "is_signed"),
    [
        ({"app_id": "2021000000000000"}, "isv.invalid-app-id", False),
        ({"app_id": None}, "isv.invalid-app-id", False),
        ({"method_": "alipay.trade.cancel"}, "isv.invalid-method", False),
        ({"sign": "AAAA"}, "isv.invalid-signature", True),
        ({"sign": ""}, "isv.invalid-signature", True),
        ({"charset": "gbk"}, "isv.invalid-charset", True),
        ({"charset": None}, "isv.invalid-charset", True),
        ({"sign_type": "RSA"}, "isv.invalid-sign-type", True),
        ({"version": "2.0"}, "isv.invalid-version", True),
        ({"format": "XML"}, "isv.invalid-format", True),
        ({"odd": "1"}, "isv.invalid-parameter", True),
        ({"timestamp": None}, "isv.invalid-timestamp", True),
        ({"timestamp": "2026-11-23T10:00:00"}, "isv.invalid-timestamp", True),
        ({"timestamp": f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M:%S}"}, "isv.invalid-timestamp", True),
        ({"app_cert_sn": "0" * 32}, "isv.invalid-cert-sn", True),
        ({"notify_url": "http://pay.example.com/notify"}, "isv.invalid-notify-url", True),
        ({"biz_content": "not json"}, "isv.invalid-parameter", True),
        ({"biz_content": "[]"}, "isv.invalid-parameter", True),
        ({"biz_content": None}, "isv.invalid-parameter", True),
    ],
)
def test_a_request_that_is_not_as_documented_is_refused(
    shop: Shop, changes: dict[str, str | None], sub_code: str, is_signed: bool
) -> None:
    changes = dict(changes)
    content = {"out_trade_no": "T1", "total_amount": "1.00", "subject": "x"}
    method = changes.pop("method_", None) or "alipay.trade.precreate"
    answer = shop.ask(method, content, **changes)
    assert (answer["code"], answer["sub_code"], answer["_signed"]) == ("40002", sub_code, is_signed)
    assert requests.get(f"{shop.url}/_sim/books", timeout=5).json()["payments"] == []


def test_get_and_post_and_a_mixture_are_one_request_but_no_name_comes_twice(shop: Shop) -> None:
    content = {"out_trade_no": "T1", "total_amount": "1.00", "subject": "x"}
    parameters = shop.parameters("alipay.trade.precreate", content)
    url = f"{shop.url}/gateway.do"
    body = {"biz_content": parameters["biz_content"]}
    rest = {name: value for name, value in parameters.items() if name != "biz_content"}
    for response in (
        requests.get(url, params=parameters, timeout=5),
        requests.post(url, data=parameters, timeout=5),
        requests.post(url, params=rest, data=body, timeout=5),
    ):
        assert shop.answer(response)["code"] == "10000"
    twice = shop.answer(requests.post(url, params=parameters, data=body, timeout=5))
    assert (twice["sub_code"], twice["_signed"]) == ("isv.invalid-parameter", False)


@pytest.mark.parametrize(
    "change",
    [
        {"out_trade_no": ""},
        {"out_trade_no": "x" * 65},
        {"out_trade_no": "T-1"},
        {"out_trade_no": None},
        {"total_amount": "0.00"},
        {"total_amount": "0"},
        {"total_amount": "1.001"},
        {"total_amount": "-1.00"},
        {"total_amount": 1.0},
        {"total_amount": "100000000.01"},
        {"subject": ""},
        {"subject": "a=b"},
        {"subject": "x" * 257},
        {"time_expire": "2020-01-01 00:00:00"},
        {"time_expire": "tomorrow"},
        {"amount": "1.00"},
    ],
)
def test_biz_content_is_read_strictly(shop: Shop, change: dict[str, Any]) -> None:
    content = {"out_trade_no": "T1", "total_amount": "1.00", "subject": "x", **change}
    answer = shop.ask("alipay.trade.precreate", content)
    assert (answer["code"], answer["sub_code"], answer["_signed"]) == ("40004", "ACQ.INVALID_PARAMETER", True)
    assert requests.get(f"{shop.url}/_sim/books", timeout=5).json()["payments"] == []


def test_the_signature_is_over_the_raw_text_with_escaped_slashes(shop: Shop) -> None:
    parameters = shop.parameters("alipay.trade.precreate", {"out_trade_no": "T1", "total_amount": "1", "subject": "x"})
    text = requests.post(f"{shop.url}/gateway.do", data=parameters, timeout=5).text
    node = text.partition('"alipay_trade_precreate_response":')[2].partition(',"alipay_cert_sn"')[0]
    assert '"qr_code":"https:\\/\\/qr.alipay.com\\/bax' in node
    signature = base64.b64decode(json.loads(text)["sign"])
    shop.alipay_key.verify(signature, node.encode(), PKCS1v15(), SHA256())


def test_another_request_under_the_same_number_is_inconsistent(shop: Shop) -> None:
    assert shop.precreate("T1", "1.00")["qr_code"] == shop.precreate("T1", "1.00")["qr_code"]
    assert shop.precreate("T1", "1.01")["sub_code"] == "ACQ.CONTEXT_INCONSISTENT"
    shop.paid("T2")
    asked = {"out_trade_no": "T2", "out_request_no": "R1"}
    shop.sdk.api_alipay_trade_refund("0.30", **asked)
    assert shop.sdk.api_alipay_trade_refund("0.31", **asked)["sub_code"] == "ACQ.DISCORDANT_REPEAT_REQUEST"
    assert shop.sdk.api_alipay_trade_refund("0.71", out_trade_no="T2", out_request_no="R2")["sub_code"] == (
        "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL"
    )
    shop.precreate("T3")
    assert shop.sdk.api_alipay_trade_refund("0.10", out_trade_no="T3", out_request_no="R3")["sub_code"] == (
        "ACQ.TRADE_NOT_EXIST"
    )
    empty = shop.sdk.api_alipay_trade_fastpay_refund_query("R9", out_trade_no="T2")
    assert empty == {"code": "10000", "msg": "Success"}


# --- faults ---


def test_a_forged_answer_does_not_verify_and_the_deed_is_done(shop: Shop) -> None:
    rule = {"fault": "response_bad_signature", "channel": "alipay", "operation": "precreate", "times": 1}
    requests.put(f"{shop.url}/_sim/faults", json={"rules": [rule], "seed": 1}, timeout=5)
    with pytest.raises(AliPayValidationError):
        shop.precreate("T1")
    assert [row["attempt_no"] for row in requests.get(f"{shop.url}/_sim/books", timeout=5).json()["payments"]] == ["T1"]


def test_an_unsigned_error_is_an_exception_of_the_sdk(shop: Shop) -> None:
    shop.sdk._appid = "2021000000000000"
    with pytest.raises(AliPayException, match=r"isv\.invalid-app-id"):
        shop.sdk.api_alipay_trade_query(out_trade_no="T1")


def test_notices_are_repeated_on_alipays_schedule_until_the_exact_answer(directory: Path, receiver: Receiver) -> None:
    handle = server.start(directory=directory, notice_retry_scale=0.0005, notice_timeout_seconds=0.5)
    try:
        shop = Shop(directory=directory, url=handle.url, receiver=receiver)
        receiver.answers += [(200, b"SUCCESS"), (500, b"success"), (200, b"success\n"), (302, b"success")]
        first = shop.paid("T1")
        tries = [first, *[receiver.next() for _ in range(4)]]
        assert receiver.is_silent(0.3)
    finally:
        handle.stop()
    waits = [later.at - earlier.at for earlier, later in itertools.pairwise(tries)]
    for wait, seconds in zip(waits, (240, 600, 600, 3600), strict=True):
        assert wait == pytest.approx(seconds * 0.0005, abs=0.15)
    forms = [form(each) for each in tries]
    assert len({each["notify_id"] for each in forms}) == 1
    for each in forms:
        signature = each.pop("sign")
        assert shop.sdk.verify(each, signature)


def test_the_whole_schedule_has_eight_deliveries_in_about_a_day(simulator: server.Handle) -> None:
    from simulator.alipay.channel import AlipayChannel

    waits = AlipayChannel.retry_seconds
    assert (len(waits) + 1, sum(waits) / 3600) == (8, 24.4)


def test_pages_name_the_channel(shop: Shop) -> None:
    code = shop.precreate("T1", "88.88")["qr_code"]
    page = requests.get(f"{shop.url}/pay", params={"code_url": code}, timeout=5).text
    assert "支付宝 · Alipay" in page
    assert "¥88.88" in page
    assert "返回商户" not in page
