"""99bill's side, asked by hand: what it takes, what it refuses, how it notifies. Signed with cryptography alone."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import hashlib
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from simulator import server
from simulator.kuaiqian import wire

WAIT_SECONDS = 5.0
BEIJING = dt.timezone(dt.timedelta(hours=8))
ACCEPTED = "<result>1</result><redirecturl>http://127.0.0.1/done</redirecturl>"
ORDER_ANSWER = (
    *("version", "signType", "merchantAcctId", "errCode", "currentPage", "pageCount", "pageSize", "recordCount"),
)
REFUND_ANSWER = (
    *("version", "signType", "merchantAcctId", "recordCount", "pageCount", "currentPage", "pageSize", "errCode"),
)
NOTICE = (
    *("merchantAcctId", "version", "language", "signType", "payType", "bankId", "orderId", "orderTime", "orderAmount"),
    *("bindCard", "bindMobile", "dealId", "bankDealId", "dealTime", "payAmount", "fee", "ext1", "ext2", "payResult"),
    *("aggregatePay", "errCode"),
)
ORDER_DETAIL = (
    *("orderId", "orderAmount", "orderTime", "dealTime", "payResult", "payType", "payAmount", "fee", "dealId"),
)
CASHIER = "/gateway/recvMerchantInfoAction.htm"


@dataclasses.dataclass(frozen=True)
class Received:
    method: str
    path: str
    query: dict[str, str]
    body: bytes


class Inbox:
    """The merchant's address. `answers` are used up one by one, then ACCEPTED; `make` words the answer to a POST."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str]] = []
        self.make: Callable[[bytes], str] = lambda body: ""
        self.received: queue.Queue[Received] = queue.Queue()
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._take(b"")

            def do_POST(self) -> None:
                self._take(self.rfile.read(int(self.headers["Content-Length"])))

            def _take(self, body: bytes) -> None:
                parts = urlsplit(self.path)
                query = dict(parse_qsl(parts.query, keep_blank_values=True))
                status, text = inbox.answers.pop(0) if inbox.answers else (200, inbox.make(body) if body else ACCEPTED)
                inbox.received.put(Received(self.command, parts.path, query, body))
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def next(self) -> Received:
        return self.received.get(timeout=WAIT_SECONDS)

    def is_silent(self, seconds: float) -> bool:
        time.sleep(seconds)
        return self.received.empty()


class Shop:
    """One merchant of 99bill against one running simulator."""

    def __init__(self, *, directory: Path, url: str, inbox: Inbox) -> None:
        self.url, self.inbox = url, inbox
        self.held: dict[str, str] = json.loads((directory / "kuaiqian.json").read_text())
        self.is_pki = self.held["sign_type"] == "4"
        self.key: Any = load_pem_private_key(
            (directory / self.held["merchant_private_key_file"]).read_bytes(), None, unsafe_skip_rsa_key_validation=True
        )
        self.platform_key: Any = load_pem_public_key((directory / self.held["platform_public_key_file"]).read_bytes())
        self.account = f"{self.held['member_code']}01"

    def sign(self, text: str, md5_end: str) -> str:
        if not self.is_pki:
            return hashlib.md5((text + md5_end).encode()).hexdigest().upper()
        return base64.b64encode(self.key.sign(text.encode(), PKCS1v15(), SHA256())).decode()

    def is_genuine(self, text: str, signature: str, md5_end: str) -> bool:
        if not self.is_pki:
            return hashlib.md5((text + md5_end).encode()).hexdigest().upper() == signature
        try:
            self.platform_key.verify(base64.b64decode(signature), text.encode(), PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        return True

    def form(self, order_id: str, **changes: str) -> dict[str, str]:
        """A signed request of the gateway; a changed value of "" leaves the field out."""
        given = {
            "inputCharset": "1",
            "bgUrl": f"{self.inbox.url}/notify/kuaiqian",
            "version": "v2.0",
            "language": "1",
            "signType": self.held["sign_type"],
            "merchantAcctId": self.account,
            "orderId": order_id,
            "orderAmount": "100",
            "orderTime": compact(time.time()),
            "productName": "充值 & recharge",
            "productNum": "1",
            "ext1": "",
            "payType": "00",
            "redoFlag": "0",
            "orderTimeOut": "600",
            **changes,
        }
        fields = {name: value for name, value in given.items() if value}
        return {**fields, "signMsg": self.sign(joined(fields), f"&key={self.held['gateway_key']}")}

    def arrive(self, form: dict[str, str], path: str = CASHIER) -> requests.Response:
        return requests.post(self.url + path, data=form, timeout=WAIT_SECONDS, allow_redirects=False)

    def pay(self, form: dict[str, str], status: int = 200, **more: Any) -> Any:
        payment = {"kind": "form", "action": f"https://www.99bill.com{CASHIER}", "method": "POST", "fields": form}
        return self.control("POST", "pay", {"payment": payment, **more}, status=status)

    def control(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = requests.request(method, f"{self.url}/_sim/{path}", json=body, timeout=WAIT_SECONDS)
        assert answer.status_code == status, answer.text
        return answer.json()

    def ask(self, path: str, fields: dict[str, str], answer_order: tuple[str, ...], **changes: str) -> dict[str, Any]:
        """A signed question; the answer, whose signature is right."""
        end = f"&key={self.held['query_key']}"
        text = joined(fields)
        signature = self.sign(text + end, "") if self.is_pki else self.sign(text, end)
        sent = {**fields, "signMsg": signature, **changes}
        answer = requests.post(f"{self.url}/gatewayapi/{path}", json=sent, timeout=WAIT_SECONDS).json()
        signed = joined({name: answer[name] for name in answer_order if answer[name]}) + end
        assert self.is_genuine(signed, answer["signMsg"], "")
        return answer

    def query(self, order_id: str, **changes: str) -> dict[str, Any]:
        fields = {
            "inputCharset": "1",
            "version": "v2.0",
            "signType": "2" if self.is_pki else "1",
            "merchantAcctId": self.account,
            "queryType": "0",
            "queryMode": "1",
            "requestPage": "1",
            "orderId": order_id,
        }
        return self.ask("gatewayOrderQuery.do", fields, ORDER_ANSWER, **changes)

    def refund(self, refund_no: str, order_id: str, amount: str, /, **changes: str) -> dict[str, str]:
        fields = {
            "merchant_id": self.held["member_code"],
            "version": "bill_drawback_api_1",
            "command_type": "001",
            "orderid": order_id,
            "amount": amount,
            "postdate": compact(time.time()),
            "txOrder": refund_no,
        }
        if self.is_pki:
            sent = {**fields, "mac": self.sign(joined(fields), ""), **changes}
            url = f"{self.url}/gatewayapi/recievedrawbackPKI.do"
            found: dict[str, str] = requests.post(url, json=sent, timeout=WAIT_SECONDS).json()
            return found
        text = "".join(f"{name}={value}" for name, value in fields.items())
        sent = {**fields, "mac": self.sign(text, f"merchant_key={self.held['refund_key']}"), **changes}
        answer = requests.post(f"{self.url}/webapp/receiveDrawbackAction.do", data=sent, timeout=WAIT_SECONDS)
        return {child.name.lower(): child.text for child in wire.parse(answer.content).children}

    def query_refund(self, refund_no: str, *, days_ago: int = 0) -> dict[str, Any]:
        day = dt.datetime.now(BEIJING) - dt.timedelta(days=days_ago)
        fields = {
            "version": "v2.0",
            "signType": "2" if self.is_pki else "1",
            "merchantAcctId": self.account,
            "startDate": f"{day - dt.timedelta(days=1):%Y%m%d}",
            "endDate": f"{day:%Y%m%d}",
            "orderId": refund_no,
            "requestPage": "1",
        }
        return self.ask("gatewayRefundQuery.do", fields, REFUND_ANSWER)

    # --- Payouts ------------------------------------------------------------------------------------------------------

    def sealed(self, plain: str, **how: Any) -> str:
        return wire.seal(own=self.key, other=self.platform_key, hash_name="sha1", plain=plain.encode(), **how)

    def unsealed(self, sealed: wire.Element) -> wire.Element:
        return wire.parse(wire.unseal(own=self.key, other=self.platform_key, hash_name="sha1", sealed=sealed))

    def message(self, root: str, head: str, body: str, sealed: str, member: str = "") -> bytes:
        top = wire.leaves_of({"version": "1.0", "memberCode": member or self.held["member_code"]})
        return wire.element(root, wire.element(head, top), wire.element(body, sealed)).encode()

    def pay_out(self, payout_no: str, *, member: str = "", **changes: str) -> tuple[str, wire.Element | None]:
        """errorCode and what is sealed."""
        order = {
            "orderId": payout_no,
            "bankName": "工商银行",
            "branchName": "",
            "creditName": "张三",
            "mobile": "",
            "bankAcctId": "6222020000000000000",
            "amount": "5000",
            "province": "",
            "city": "",
            "remark": "提现",
            "feeAction": "1",
            **changes,
        }
        return self.post_payout(self.sealed(wire.element("pay2BankOrder", wire.leaves_of(order))), member=member)

    def post_payout(self, sealed: str, *, member: str = "") -> tuple[str, wire.Element | None]:
        body = self.message("pay2BankRequest", "pay2bankHead", "requestBody", sealed, member)
        return self._answer(f"{self.url}/fo-pay/pay2bank/pay", body)

    def query_payout(self, payout_no: str, *, days: int = 7) -> tuple[str, wire.Element | None]:
        now = dt.datetime.now(BEIJING)
        fields = {
            "targetPage": "1",
            "pageSize": "20",
            "startDate": f"{now - dt.timedelta(days=days - 1):%Y-%m-%d %H:%M:%S}",
            "endDate": f"{now + dt.timedelta(days=1):%Y-%m-%d %H:%M:%S}",
            "orderId": payout_no,
        }
        plain = wire.element("pay2BankSearchRequestParam", wire.leaves_of(fields))
        body = self.message("pay2BankSearchRequest", "pay2bankSearchHead", "searchRequestBody", self.sealed(plain))
        return self._answer(f"{self.url}/fo-pay-query/pay2bank/query", body)

    def status_of(self, payout_no: str) -> str:
        code, result = self.query_payout(payout_no)
        assert (code, result is not None) == ("0000", True)
        assert result is not None
        rows = [{child.name: child.text for child in row.children} for row in result.children]
        return ",".join(row["status"] for row in rows if row["orderId"] == payout_no)

    def _answer(self, url: str, body: bytes) -> tuple[str, wire.Element | None]:
        answer = requests.post(url, data=body, timeout=WAIT_SECONDS)
        content = wire.parse(answer.content).children[1]
        found = {child.name: child for child in content.children}
        sealed = found.get("sealDataType")
        return found["errorCode"].text, self.unsealed(sealed) if sealed else None


def joined(fields: dict[str, str]) -> str:
    return "&".join(f"{name}={value}" for name, value in fields.items())


def compact(seconds: float) -> str:
    return f"{dt.datetime.fromtimestamp(seconds, BEIJING):%Y%m%d%H%M%S}"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.stop()


@pytest.fixture(params=["4", "1"], ids=["pki", "md5"])
def shop(request: pytest.FixtureRequest, directory: Path, inbox: Inbox) -> Iterator[Shop]:
    held = json.loads((directory / "kuaiqian.json").read_text())
    (directory / "kuaiqian.json").write_text(json.dumps({**held, "sign_type": request.param}))
    handle = server.start(
        directory=directory,
        notice_retry_scale=0.01,
        refund_delay_seconds=0.1,
        notice_timeout_seconds=1.0,
        kuaiqian_payout_notify_url=f"{inbox.url}/notify/kuaiqian/payout",
    )
    yield Shop(directory=directory, url=handle.url, inbox=inbox)
    handle.stop()


@pytest.fixture
def pki_shop(directory: Path, inbox: Inbox) -> Iterator[Shop]:
    handle = server.start(
        directory=directory,
        notice_retry_scale=0.01,
        refund_delay_seconds=0.1,
        notice_timeout_seconds=1.0,
        kuaiqian_payout_notify_url=f"{inbox.url}/notify/kuaiqian/payout",
    )
    yield Shop(directory=directory, url=handle.url, inbox=inbox)
    handle.stop()


# --- The gateway ------------------------------------------------------------------------------------------------------


def test_a_browser_arrives_chooses_a_bank_and_pays(shop: Shop) -> None:
    arrived = shop.arrive(shop.form("RC1"))
    assert (arrived.status_code, arrived.headers["Location"][:25]) == (303, "/pay?code_url=kuaiqian%3A")
    page = requests.get(shop.url + arrived.headers["Location"], timeout=WAIT_SECONDS)
    assert ("¥1.00" in page.text, '<option value="CMB">' in page.text) == (True, True)
    code = dict(parse_qsl(urlsplit(arrived.headers["Location"]).query))["code_url"]
    wrong = {"code_url": code, "action": "pay", "bank": "XYZ"}
    assert requests.post(f"{shop.url}/pay", data=wrong, timeout=WAIT_SECONDS).status_code == 400
    paid = requests.post(f"{shop.url}/pay", data={**wrong, "bank": "CMB"}, timeout=WAIT_SECONDS)
    assert "支付成功" in paid.text
    assert shop.inbox.next().query["bankId"] == "CMB"


def test_a_person_may_decline_and_the_order_stays_open(shop: Shop) -> None:
    arrived = shop.arrive(shop.form("RC1"))
    code = dict(parse_qsl(urlsplit(arrived.headers["Location"]).query))["code_url"]
    requests.post(f"{shop.url}/pay", data={"code_url": code, "action": "decline"}, timeout=WAIT_SECONDS)
    assert shop.query("RC1")["errCode"] == "31005"
    assert shop.pay(shop.form("RC1"))["state"] == "SUCCESS"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"merchantAcctId": "1009999999901"}, "10002"),
        ({"version": "v1.0"}, "10003"),
        ({"redoFlag": "1"}, "10003"),
        ({"signType": "9"}, "10004"),
        ({"orderId": "a/b"}, "10008"),
        ({"orderAmount": "1.00"}, "10009"),
        ({"orderAmount": "0"}, "10009"),
        ({"productName": ""}, "10010"),
        ({"payType": ""}, "10011"),
        ({"orderTime": "2026-11-23"}, "10012"),
        ({"orderTime": "20991231235959"}, "10012"),
        ({"orderTimeOut": "1h"}, "10013"),
        ({"bgUrl": "http://shop.example.com/notify"}, "10014"),
        ({"orderTime": "20200101000000", "orderTimeOut": "60"}, "30002"),
        ({"unheardOf": "1"}, "10001"),
    ],
)
def test_a_request_that_is_not_as_documented_is_refused(shop: Shop, changes: dict[str, str], code: str) -> None:
    answer = shop.arrive(shop.form("RC1", **changes))
    assert (answer.status_code, f"errCode={code} " in answer.text) == (400, True), answer.text
    assert shop.control("GET", "books")["payments"] == []


def test_a_request_changed_after_signing_is_refused(shop: Shop) -> None:
    for name, value in (("orderAmount", "1"), ("bgUrl", "http://127.0.0.1:9/x"), ("signMsg", ""), ("payerName", "x")):
        answer = shop.arrive({**shop.form("RC1"), name: value})
        assert (answer.status_code, "errCode=20001" in answer.text) == (400, True)
    shop.pay({**shop.form("RC1"), "orderAmount": "1"}, status=409)
    assert shop.control("GET", "books")["payments"] == []


def test_an_order_is_signed_in_the_documented_order_however_it_arrives(shop: Shop) -> None:
    assert shop.arrive(dict(reversed(shop.form("RC1").items()))).status_code == 303


def test_an_unpaid_order_may_arrive_again_but_not_as_another(shop: Shop) -> None:
    first = shop.arrive(shop.form("RC1"))
    again = shop.arrive(shop.form("RC1", orderTimeOut="500"))
    assert again.headers["Location"] == first.headers["Location"]
    assert "errCode=30003" in shop.arrive(shop.form("RC1", orderAmount="101")).text
    shop.pay(shop.form("RC1"))
    assert shop.pay(shop.form("RC1"), status=409)["message"].endswith("the order is already paid")


def test_nobody_pays_after_the_time_of_the_order(shop: Shop) -> None:
    form = shop.form("RC1")
    assert shop.arrive(form).status_code == 303
    shop.control("POST", "clock", {"offset_seconds": 601})
    shop.pay(form, status=409)
    assert shop.query("RC1")["errCode"] == "31005"


def test_the_mobile_gateway_wants_its_own_version(shop: Shop) -> None:
    path = "/mobilegateway/recvMerchantInfoAction.htm"
    assert shop.arrive(shop.form("RC1"), path).status_code == 400
    form = shop.form("RC1", version="mobile1.0")
    assert shop.arrive(form, path).status_code == 303
    answer = requests.get(f"{shop.url}{path}", params=form, timeout=WAIT_SECONDS, allow_redirects=False)
    assert answer.status_code == 303


# --- Notices ----------------------------------------------------------------------------------------------------------


def genuine(shop: Shop, received: Received) -> bool:
    signed = {name: received.query[name] for name in NOTICE if received.query.get(name)}
    return shop.is_genuine(joined(signed), received.query["signMsg"], f"&key={shop.held['gateway_key']}")


def test_a_payment_is_notified_by_a_signed_get(shop: Shop) -> None:
    paid = shop.pay(shop.form("RC1", orderAmount="888", ext1="附加"))
    received = shop.inbox.next()
    assert (received.method, received.path, received.body) == ("GET", "/notify/kuaiqian", b"")
    assert genuine(shop, received)
    assert set(received.query) == {*NOTICE, "signMsg"}
    assert {name: received.query[name] for name in ("merchantAcctId", "orderId", "payAmount", "payResult", "ext1")} == {
        "merchantAcctId": shop.account,
        "orderId": "RC1",
        "payAmount": "888",
        "payResult": "10",
        "ext1": "附加",
    }
    assert received.query["dealId"] == paid["transaction_id"]
    assert shop.inbox.is_silent(0.4)


@pytest.mark.parametrize(
    "refusal",
    [
        (500, ACCEPTED),
        (302, ACCEPTED),
        (200, ""),
        (200, "success"),
        (200, "<result>0</result><redirecturl>http://x/</redirecturl>"),
        (200, "<result>1</result>"),
        (200, f"<html>{ACCEPTED}</html>"),
    ],
)
def test_a_notice_is_repeated_until_it_is_answered_exactly(shop: Shop, refusal: tuple[int, str]) -> None:
    shop.inbox.answers = [refusal, refusal]
    shop.pay(shop.form("RC1"))
    received = [shop.inbox.next() for _ in range(3)]
    assert all(genuine(shop, each) for each in received)
    assert len({each.query["dealId"] for each in received}) == 1
    assert shop.inbox.is_silent(0.7)


def resend(shop: Shop, tamper: str) -> Received:
    shop.control("POST", "notices/resend", {"attempt_no": "RC1", "tamper": tamper})
    return shop.inbox.next()


def test_what_is_tampered_with(shop: Shop) -> None:
    shop.pay(shop.form("RC1"))
    first = shop.inbox.next()
    assert not genuine(shop, resend(shop, "signature"))
    other = resend(shop, "amount")
    assert (genuine(shop, other), other.query["payAmount"], other.query["orderAmount"]) == (True, "101", "100")
    stale = resend(shop, "stale")
    assert genuine(shop, stale)
    assert stale.query["dealTime"] < first.query["dealTime"][:8]
    cut = resend(shop, "truncate").query
    assert len(cut.get("signMsg", "")) < len(first.query["signMsg"])


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ({"fault": "notice_never"}, []),
        ({"fault": "notice_duplicate", "copies": 2}, [True, True, True]),
        ({"fault": "notice_late", "delay_seconds": 0.3}, [True]),
        ({"fault": "notice_tampered", "tamper": "signature"}, [False, True]),
        ({"fault": "notice_signtest"}, [False, True]),
        ({"fault": "notice_stale"}, [True, True]),
    ],
)
def test_the_faults_of_notices(shop: Shop, rule: dict[str, Any], wanted: list[bool]) -> None:
    shop.control("PUT", "faults", {"rules": [{**rule, "channel": "kuaiqian"}], "seed": 1})
    shop.pay(shop.form("RC1"))
    assert [genuine(shop, shop.inbox.next()) for _ in wanted] == wanted
    assert shop.inbox.is_silent(0.4)


# --- Queries and refunds ----------------------------------------------------------------------------------------------


def test_the_query_shows_paid_orders_and_reasons_for_the_others(shop: Shop) -> None:
    assert shop.query("RC1")["errCode"] == "31003"
    shop.arrive(shop.form("RC1"))
    assert shop.query("RC1")["errCode"] == "31005"
    paid = shop.pay(shop.form("RC1"))
    answer = shop.query("RC1")
    (row,) = answer["orderDetail"]
    assert (answer["errCode"], answer["recordCount"]) == ("", "1")
    assert (row["orderId"], row["payResult"], row["payAmount"]) == ("RC1", "10", "100")
    assert row["dealId"] == paid["transaction_id"]
    text = "&".join(
        f"{name}={row[name]}"
        for name in [
            "orderId",
            "orderAmount",
            "orderTime",
            "dealTime",
            "payResult",
            "payType",
            "payAmount",
            "fee",
            "dealId",
        ]
    )
    assert shop.is_genuine(f"{text}&key={shop.held['query_key']}", row["signInfo"], "")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"signMsg": "AAAA"}, "11003"),
        ({"orderId": "RC2"}, "11003"),
        ({"merchantAcctId": "1"}, "20001"),
        ({"version": "v1.0"}, "10002"),
        ({"signType": "4"}, "10002"),
        ({"more": "1"}, "00000"),
        ({"queryMode": ""}, "00000"),
    ],
)
def test_a_question_that_is_not_signed_as_documented_is_refused(shop: Shop, changes: dict[str, str], code: str) -> None:
    shop.pay(shop.form("RC1"))
    answer = shop.query("RC1", **changes)
    assert (answer["errCode"], answer["orderDetail"]) == (code, [])


def test_refunds_are_accepted_settled_and_never_exceed_what_was_paid(shop: Shop) -> None:
    shop.pay(shop.form("RC1"))
    assert shop.refund("RF1", "RC1", "0.6")["result"] == "Y"
    again = shop.refund("RF1", "RC1", "0.6")
    assert (again["result"], again["code"]) == ("N", "TXORDER_REPEATED")
    assert shop.refund("RF2", "RC1", "0.41")["result"] == "N"
    assert shop.refund("RF3", "RC1", "0.40")["result"] == "Y"
    wait_for(lambda: all(shop.query_refund(no)["results"][0]["status"] == "1" for no in ("RF1", "RF3")))
    (row,) = shop.query_refund("RF1")["results"]
    assert (row["orderId"], row["rOrderId"], row["orderAmout"]) == ("RF1", "RC1", "60")
    assert shop.query_refund("RF2")["errCode"] == "10012"
    assert shop.query_refund("RF1", days_ago=5)["errCode"] == "10012"
    assert shop.control("GET", "books")["totals"]["refunded_fen"] == 100


@pytest.mark.parametrize(
    ("amount", "order_id", "changes"),
    [
        ("0", "RC1", {}),
        ("1.001", "RC1", {}),
        ("-1", "RC1", {}),
        ("1", "RC9", {}),
        ("1", "RC1", {"mac": "AAAA"}),
        ("1", "RC1", {"amount": "2"}),
        ("1", "RC1", {"postdate": "20200101000000"}),
    ],
)
def test_a_refund_that_must_not_be_is_refused(shop: Shop, amount: str, order_id: str, changes: dict[str, str]) -> None:
    shop.pay(shop.form("RC1", orderAmount="1000"))
    assert shop.refund("RF1", order_id, amount, **changes)["result"] == "N"
    assert shop.control("GET", "books")["refunds"] == []


@pytest.mark.parametrize(("fault", "status"), [("refund_closed", "2"), ("refund_abnormal", "0")])
def test_refunds_that_end_otherwise(shop: Shop, fault: str, status: str) -> None:
    shop.control("PUT", "faults", {"rules": [{"fault": fault, "channel": "kuaiqian"}], "seed": 1})
    shop.pay(shop.form("RC1"))
    assert shop.refund("RF1", "RC1", "1")["result"] == "Y"
    wait_for(lambda: shop.control("GET", "books")["refunds"][0]["state"] != "PROCESSING")
    assert shop.query_refund("RF1")["results"][0]["status"] == status


# --- Payouts ----------------------------------------------------------------------------------------------------------


def receipt(shop: Shop, body: bytes) -> str:
    """The answer that 99bill wants to a payout's notice."""
    plain = shop.sealed("<got/>") + wire.leaf("isReceived", "1")
    return (
        shop.message("notifyResponse", "notifyHead", "notifyResponseBody", plain)
        .decode()
        .join(["<?xml version='1.0'?>", ""])
    )


def noticed(shop: Shop, received: Received) -> dict[str, str]:
    assert (received.method, received.path) == ("POST", "/notify/kuaiqian/payout")
    content = wire.parse(received.body).children[1]
    return {child.name: child.text for child in shop.unsealed(content.children[0]).children}


def test_a_payout_is_accepted_paid_and_told_until_it_is_receipted(pki_shop: Shop) -> None:
    pki_shop.inbox.make = lambda body: receipt(pki_shop, body)
    pki_shop.inbox.answers = [(200, "<result>1</result>"), (500, "")]
    code, plain = pki_shop.pay_out("WD1")
    assert (code, plain is not None) == ("0000", True)
    told = [noticed(pki_shop, pki_shop.inbox.next()) for _ in range(3)]
    assert pki_shop.inbox.is_silent(0.8)
    assert told[0] == told[1] == told[2]
    wanted = {"merchant_id": "WD1", "status": "111", "amt": "5000", "membercode": pki_shop.held["member_code"]}
    assert {name: told[0][name] for name in wanted} == wanted
    assert pki_shop.status_of("WD1") == "111"


def test_a_paid_payout_may_come_back(pki_shop: Shop) -> None:
    pki_shop.inbox.make = lambda body: receipt(pki_shop, body)
    rule = {"fault": "payout_returned", "channel": "kuaiqian"}
    pki_shop.control("PUT", "faults", {"rules": [rule], "seed": 1})
    assert pki_shop.pay_out("WD1")[0] == "0000"
    assert [noticed(pki_shop, pki_shop.inbox.next())["status"] for _ in range(2)] == ["111", "114"]
    assert pki_shop.status_of("WD1") == "114"


def test_a_payout_may_fail_or_be_decided_by_hand(pki_shop: Shop) -> None:
    pki_shop.inbox.make = lambda body: receipt(pki_shop, body)
    pki_shop.control("PUT", "faults", {"rules": [{"fault": "payout_failed", "times": 1}], "seed": 1})
    pki_shop.pay_out("WD1")
    assert noticed(pki_shop, pki_shop.inbox.next())["status"] == "112"
    pki_shop.pay_out("WD2")
    assert noticed(pki_shop, pki_shop.inbox.next())["status"] == "111"
    pki_shop.control("POST", "payouts/WD2", {"result": "returned"})
    assert noticed(pki_shop, pki_shop.inbox.next())["status"] == "114"
    assert (pki_shop.status_of("WD1"), pki_shop.status_of("WD2"), pki_shop.status_of("WD9")) == ("112", "114", "")


def test_a_payout_number_serves_once(pki_shop: Shop) -> None:
    assert pki_shop.pay_out("WD1")[0] == "0000"
    assert pki_shop.pay_out("WD1")[0] == "1105"
    assert pki_shop.pay_out("WD1", amount="5001")[0] == "1105"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"orderId": "a b"}, "1101"),
        ({"amount": "50.00"}, "1102"),
        ({"creditName": ""}, "1103"),
        ({"bankAcctId": "62220200000000x0"}, "1103"),
        ({"feeAction": "2"}, "1104"),
        ({"bankCode": "ICBC"}, "1001"),
    ],
)
def test_a_payout_that_is_not_as_documented_is_refused(pki_shop: Shop, changes: dict[str, str], code: str) -> None:
    assert pki_shop.pay_out("WD1", **changes) == (code, None)
    assert pki_shop.status_of("WD1") == ""


def test_a_payout_that_is_not_sealed_by_the_merchant_is_refused(pki_shop: Shop) -> None:
    assert pki_shop.pay_out("WD1", member="10099999999") == ("1002", None)
    plain = wire.element("pay2BankOrder", wire.leaf("orderId", "WD1"))
    assert pki_shop.post_payout(pki_shop.sealed(plain, signed=b"another")) == ("1002", None)
    assert pki_shop.post_payout(pki_shop.sealed(plain)) == ("1001", None)
    assert pki_shop.post_payout("<sealDataType/>") == ("1002", None)
    assert pki_shop.query_payout("WD1", days=8)[0] == "1201"
    assert pki_shop.status_of("WD1") == ""


# --- Cards ------------------------------------------------------------------------------------------------------------


def verify(shop: Shop, card_no: str, *, password: str = "") -> dict[str, str]:
    space = "http://www.99bill.com/mas_cnp_merchant_interface"
    held = shop.held
    fields = {
        "merchantId": held["card_merchant_id"],
        "terminalId": held["card_terminal_id"],
        "customerId": "V1",
        "externalRefNumber": "V1",
        "pan": card_no,
        "bindType": "0",
    }
    content = wire.element("indAuthContent", wire.leaves_of(fields))
    body = wire.element("MasMessage", wire.leaf("version", "1.0"), content, attributes=f' xmlns="{space}"')
    answer = requests.post(
        f"{shop.url}/cnp/ind_auth",
        data=body.encode(),
        auth=(held["card_merchant_id"], password or held["card_password"]),
        timeout=WAIT_SECONDS,
    )
    return {child.name.partition(" ")[2]: child.text for child in wire.parse(answer.content).children[1].children}


@pytest.mark.parametrize(
    ("card_no", "code"),
    [
        ("6222020000000000000", "00"),
        ("6222020000000000117", "HX"),
        ("6222020000000000125", "HZ"),
        ("6222020000000000133", "HW"),
        ("6222020000000000141", "14"),
        ("6222020000000000166", "C0"),
    ],
)
def test_cards_are_confirmed_but_for_the_test_cards(pki_shop: Shop, card_no: str, code: str) -> None:
    answer = verify(pki_shop, card_no)
    assert (answer["responseCode"], answer["externalRefNumber"]) == (code, "V1")
    assert "pan" not in answer


def test_a_card_question_without_the_password_is_refused(pki_shop: Shop) -> None:
    assert verify(pki_shop, "6222020000000000000", password="x")["errorCode"] == "B.MGW.0110"


# --- The program ------------------------------------------------------------------------------------------------------


def test_a_restart_keeps_orders_and_notices(directory: Path, inbox: Inbox) -> None:
    handle = server.start(directory=directory)
    shop = Shop(directory=directory, url=handle.url, inbox=inbox)
    inbox.answers = [(500, "")]
    shop.pay(shop.form("RC1"))
    shop.inbox.next()
    handle.stop()
    handle = server.start(directory=directory, notice_retry_scale=0.01)
    try:
        again = Shop(directory=directory, url=handle.url, inbox=inbox)
        assert again.query("RC1")["errCode"] == ""
        again.control("POST", "notices/resend", {"attempt_no": "RC1"})
        assert genuine(again, inbox.next())
    finally:
        handle.stop()
