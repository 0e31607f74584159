"""Changed copies of genuine notices, in masses: none is believed unless it says exactly what the original says.

Nobody here has a provider's key, so every change is one that anybody on the way, or anybody who saw a notice once,
could make. The seed of a run is printed; PAYSYS_NOTICE_FUZZ_SEED repeats it.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import json
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_plus, urlencode

import pytest
from django.test import Client, override_settings

from foundation import clock
from gateway.adapters.alipay import AlipayAdapter
from gateway.adapters.alipay import client as alipay_client
from gateway.adapters.kuaiqian import signing as kuaiqian_signing
from gateway.adapters.kuaiqian.signing import md5_upper
from gateway.adapters.wechat import WechatAdapter
from gateway.adapters.wechat import notices as wechat_notices
from gateway.models import Notice
from gateway.ports import NoticeFact, NoticeInvalid, NoticeReader
from orders.domain.records import NewOrder
from orders.domain.states import OrderKind
from orders.services import numbers, opening
from tests import worlds
from tests.contract.gateway.alipay_provider import REFUND_NO, AlipayProvider
from tests.contract.gateway.kuaiqian_provider import (
    GATEWAY_KEY,
    NOTICE,
    REDIRECT_URL,
    Bill99,
    bill99,
    running_bill99,
)
from tests.contract.gateway.provider import (
    Provider,
    refund_notice_data,
    transaction_data,
    transfer_notice_data,
)
from tests.contract.gateway.test_kuaiqian_notices import fields as kuaiqian_fields
from tests.contract.gateway.test_kuaiqian_notices import payout as kuaiqian_payout
from tests.contract.gateway.test_kuaiqian_notices import query as kuaiqian_query
from tests.contract.gateway.test_kuaiqian_notices import sealed as kuaiqian_sealed

__all__ = ["bill99", "running_bill99"]

NOW = dt.datetime(2026, 11, 23, 2, 5, tzinfo=dt.UTC)
FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
SEED_VARIABLE = "PAYSYS_NOTICE_FUZZ_SEED"
MASS, MASS_NIGHTLY = 2_000, 100_000
SIGNED, SIGNED_NIGHTLY = 300, 6_000
BY_HTTP, BY_HTTP_NIGHTLY = 300, 2_000

HOSTILE_SUBJECT = "x&total_amount=88.88&trade_no=2026112322001412345678901234&trade_status=TRADE_SUCCESS&version=1.0"
HOSTILE_EXT = "x&payResult=10&errCode=y"
"""What a payer would write where he may write something, to be read as fields of their own."""

Message = tuple[dict[str, str], bytes]
Mutator = Callable[[Random, Message], Message]


@pytest.fixture
def random() -> Random:
    """A fresh seed each run, printed so that a failure can be repeated."""
    seed = int(os.environ.get(SEED_VARIABLE) or secrets.randbits(48))
    print(f"{SEED_VARIABLE}={seed}")
    return Random(seed)


@pytest.fixture(scope="module")
def alipay(tmp_path_factory: pytest.TempPathFactory) -> AlipayProvider:
    return AlipayProvider.create(tmp_path_factory.mktemp("alipay-fuzz"))


@pytest.fixture(scope="module")
def alipay_adapter(alipay: AlipayProvider) -> AlipayAdapter:
    return alipay.adapter()


# --- genuine notices --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """A genuine notice and what it says. `shape`: form, json or xml."""

    name: str
    shape: str
    adapter: NoticeReader
    message: Message
    now: dt.datetime
    path: str = ""

    def read(self, message: Message) -> NoticeFact:
        headers, body = message
        fact = self.adapter.read_notice(headers=headers, body=body, now=self.now)
        # The answer to a payout is sealed anew each time, with fresh random keys, so no two are the same.
        return dataclasses.replace(fact, answer=None) if self.shape == "xml" else fact


@pytest.fixture
def samples(adapter: WechatAdapter, provider: Provider, alipay: AlipayProvider, bill99: Bill99) -> list[Sample]:
    return [*wechat_samples(adapter, provider), *alipay_samples(alipay), *kuaiqian_samples(bill99)]


def wechat_samples(adapter: WechatAdapter, provider: Provider) -> list[Sample]:
    contents = {
        "TRANSACTION.SUCCESS": transaction_data(attach="x"),
        "REFUND.SUCCESS": refund_notice_data(),
        "MCHTRANSFER.BILL.FINISHED": transfer_notice_data(),
    }
    return [
        Sample(f"wechat {kind}", "json", adapter, provider.notice(data, event_type=kind, now=NOW), NOW)
        for kind, data in contents.items()
    ]


def alipay_samples(alipay: AlipayProvider) -> list[Sample]:
    adapter = alipay.adapter()
    contents = {
        "paid": alipay.notice(),
        "empty and odd": alipay.notice(body="", subject="a+b % &1=１ %2B%26"),
        "refund": alipay.notice(refund_fee="30.00", gmt_refund="2026-11-23 09:59:59.123", out_biz_no=REFUND_NO),
        "waits": alipay.notice(trade_status="WAIT_BUYER_PAY", gmt_payment=None),
    }
    return [
        Sample(f"alipay {name}", "form", adapter, (FORM, alipay.signed_body(content)), NOW)
        for name, content in contents.items()
    ]


def kuaiqian_samples(bill99: Bill99) -> list[Sample]:
    pki, md5 = bill99.adapter(), bill99.adapter(sign_type="1")
    odd = kuaiqian_fields(ext1="a+b % payAmount=1 %26", ext2="１ %2B=")
    weak = kuaiqian_fields(signType="1")
    weak_body = urlencode({**weak, "signMsg": md5_upper(bill99.text(weak, NOTICE, key=GATEWAY_KEY))}).encode()
    return [
        Sample("kuaiqian paid", "form", pki, ({}, kuaiqian_query(bill99, kuaiqian_fields())), NOW),
        Sample("kuaiqian odd", "form", pki, ({}, kuaiqian_query(bill99, odd)), NOW),
        Sample("kuaiqian failed", "form", pki, ({}, kuaiqian_query(bill99, kuaiqian_fields(payResult="11"))), NOW),
        Sample("kuaiqian md5", "form", md5, ({}, weak_body), NOW),
        Sample("kuaiqian payout", "xml", pki, ({}, kuaiqian_sealed(bill99, kuaiqian_payout())), NOW),
    ]


def hostile_samples(alipay: AlipayProvider, bill99: Bill99) -> list[Sample]:
    """Unpaid ones in which the payer wrote something."""
    unpaid = alipay.notice(trade_status="WAIT_BUYER_PAY", gmt_payment=None, subject=HOSTILE_SUBJECT)
    failed = kuaiqian_fields(payResult="11", errCode="51", ext2=HOSTILE_EXT)
    return [
        Sample("alipay hostile", "form", alipay.adapter(), (FORM, alipay.signed_body(unpaid)), NOW),
        Sample("kuaiqian hostile", "form", bill99.adapter(), ({}, kuaiqian_query(bill99, failed)), NOW),
    ]


# --- changes of bytes -------------------------------------------------------------------------------------------------

JUNK = [b"", b" ", b"\x00", b"\n", b"\r\n", b"\xef\xbb\xbf", b"\xff\xfe", b"&", b"=", b"{}", b"[]", b"<", b"%", b"+"]
LOOKALIKES = str.maketrans("0123456789acepox=&", "０１２３４５６７８９асерох＝＆")
CODECS = ["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "gbk", "utf-7", "cp037"]
HUGE = ["9" * 400, "1e999", "0" * 300 + "1", "-1", "A" * 70_000, "1" * 5_000, "0x22b8", "８８８８", "88.880", "+8888"]
NESTED = ['{"a":' * 40 + "1" + "}" * 40, "[" * 3_000, '{"total":1}', "[]", "null", "true", '""']


def bytes_flipped(random: Random, message: Message) -> Message:
    headers, body = message
    changed = bytearray(body)
    for _ in range(random.choice([1, 1, 1, 2, 8])):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return headers, bytes(changed)


def bytes_spliced(random: Random, message: Message) -> Message:
    """A piece removed, doubled, moved, or replaced by junk."""
    headers, body = message
    start = random.randrange(len(body) + 1)
    end = min(len(body), start + random.choice([1, 2, 7, 40, 300]))
    piece = random.choice([b"", body[start:end] * 2, random.choice(JUNK), random.randbytes(end - start)])
    if random.random() < 0.2:
        place = random.randrange(start + 1)
        return headers, body[:place] + body[start:end] + body[place:start] + body[end:]
    return headers, body[:start] + piece + body[end:]


def cut(random: Random, message: Message) -> Message:
    headers, body = message
    place = random.randrange(len(body) + 1)
    return headers, random.choice([body[:place], body[place:]])


def padded(random: Random, message: Message) -> Message:
    headers, body = message
    junk = random.choice(JUNK) * random.choice([1, 1, 2, 100])
    return headers, random.choice([junk + body, body + junk])


def encoded(random: Random, message: Message) -> Message:
    headers, body = message
    text = body.decode("utf-8", "replace")
    return headers, text.encode(random.choice(CODECS), "replace")


def lookalikes(random: Random, message: Message) -> Message:
    headers, body = message
    text = body.decode("utf-8", "replace")
    start = random.randrange(len(text) + 1)
    end = start + random.choice([1, 3, 20, len(text)])
    return headers, (text[:start] + text[start:end].translate(LOOKALIKES) + text[end:]).encode()


def case_changed(random: Random, message: Message) -> Message:
    headers, body = message
    start = random.randrange(len(body) + 1)
    end = start + random.choice([1, 5, 50, len(body)])
    return headers, body[:start] + body[start:end].swapcase() + body[end:]


# --- changes of headers -----------------------------------------------------------------------------------------------

ODD_VALUES = ["", " ", "0", "-1", "null", "\x00", "A" * 9_000, "签名", "\ud800", "WECHATPAY/SIGNTEST/AAAA", "gbk"]


def header_changed(random: Random, message: Message) -> Message:
    headers, body = dict(message[0]), message[1]
    name = random.choice([*headers, "X-Odd"])
    value = headers.get(name, "")
    match random.randrange(8):
        case 0:
            headers.pop(name, None)
        case 1:
            headers[name] = random.choice(ODD_VALUES)
        case 2:
            headers[random.choice([name.lower(), name.upper(), name.swapcase()])] = random.choice(
                [value, "0", value * 2]
            )
        case 3:
            headers[name] = random.choice([f" {value}", f"{value} ", f"{value}\n", f"{value}=", f"{value},{value}"])
        case 4:
            headers[name] = value.translate(LOOKALIKES)
        case 5 if value:
            place = random.randrange(len(value))
            headers[name] = value[:place] + chr(ord(value[place]) ^ 1) + value[place + 1 :]
        case 6:
            other = random.choice(list(headers) or [name])
            headers[name], headers[other] = headers.get(other, ""), value
        case _:
            headers["Content-Type"] = random.choice(
                [
                    "text/xml",
                    "application/json; charset=gbk",
                    "multipart/form-data; boundary=x",
                    "",
                    "\x00",
                    "x" * 5_000,
                ]
            )
    return headers, body


# --- changes of forms and query strings -------------------------------------------------------------------------------


def form_changed(random: Random, message: Message) -> Message:
    """One change that knows what a form is: its fields, their order, and the ways to write the same character."""
    headers, body = message
    pairs = [part.partition("=")[::2] for part in body.decode("utf-8", "replace").split("&")]
    at = random.randrange(len(pairs))
    name, value = pairs[at]
    plain = unquote_plus(value)
    match random.randrange(14):
        case 0:
            del pairs[at]
        case 1:
            other = random.choice([value, "", "1", "0.01", "TRADE_CLOSED", "11", quote(random.choice(HUGE))])
            pairs.insert(random.choice([0, at, at + 1, len(pairs)]), (name, other))
        case 2:
            random.shuffle(pairs)
        case 3:
            pairs[at] = (random.choice([name.upper(), f"{name}[]", f"{name}%00", f"%20{name}", f"+{name}", ""]), value)
        case 4:
            pairs[at] = (name, quote(random.choice([*HUGE, *NESTED, plain.translate(LOOKALIKES), plain + " "])))
        case 5:
            pairs[at] = (name, "".join(f"%{byte:02X}" for byte in plain.encode()))
        case 6:
            pairs[at] = (name, random.choice([value.replace("+", "%20"), value.replace("%2B", "+"), value.lower()]))
        case 7:
            pairs[at] = (name, random.choice([quote(value), plain.replace("&", "%26"), value + "%", value + "%FF"]))
        case 8 if at + 1 < len(pairs):  # the neighbour becomes a part of this value
            after, other = pairs.pop(at + 1)
            pairs[at] = (name, f"{value}%26{after}%3D{other}")
        case 9:  # what was a part of a value becomes a field of its own
            pairs[at] = (name, value.replace("%26", "&").replace("%3D", "="))
        case 10:
            pairs.append(
                (random.choice(["charset", "sign_type", "signType", "refund_fee", "gmt_refund", "key"]), "gbk")
            )
        case 11:
            pairs.append((random.choice(["out_biz_no", "aggregatePay", "errCode", "fee", "body", "odd"]), ""))
        case 12:
            wanted = random.choice(
                ["total_amount", "payAmount", "orderId", "out_trade_no", "trade_status", "payResult"]
            )
            forged = random.choice(["1", "999999.00", "RC9", "TRADE_SUCCESS", "10", "TRADE_CLOSED"])
            pairs = [(key, forged if key == wanted else old) for key, old in pairs]
        case _:
            return headers, random.choice([b";", b"&&", b"\n", b"%26"]).join(f"{n}={v}".encode() for n, v in pairs)
    return headers, "&".join(f"{name}={value}" for name, value in pairs).encode("utf-8", "replace")


def fields_read_anew(random: Random, message: Message) -> Message:
    """The same signed text cut into other fields: providers join `name=value` by `&` and escape nothing.

    What looks like further fields in a value becomes them, and the fields that followed become a part of the last one.
    """
    headers, body = message
    pairs = [part.partition("=")[::2] for part in body.decode("utf-8", "replace").split("&")]
    plain = {name: unquote_plus(value) for name, value in pairs}
    is_alipay = "sign_type" in plain
    unsigned = {"sign", "sign_type"} if is_alipay else {"signMsg"}
    order = sorted(set(plain) - unsigned) if is_alipay else [name for name in NOTICE if plain.get(name)]
    hosts = [name for name in order if "&" in plain[name]]
    start = order.index(random.choice(hosts)) if hosts and random.random() < 0.7 else random.randrange(len(order) + 1)
    text = "&".join(f"{name}={plain[name]}" for name in order[start:])
    names = random.sample([*order, *NOTICE], 3) if random.random() < 0.2 else [*order, *NOTICE, "refund_fee"]
    found: dict[str, str] = {name: plain[name] for name in order[:start]}
    last = ""
    for part in text.split("&"):
        name, mark, value = part.partition("=")
        if mark and name in names and name not in found and (not last or random.random() < 0.8):
            last = name
            found[name] = value
        elif last:
            found[last] += f"&{part}"
    found.update({name: plain[name] for name in unsigned if name in plain})
    return headers, urlencode(found).encode("utf-8", "replace")


# --- changes of JSON and XML ------------------------------------------------------------------------------------------


def json_changed(random: Random, message: Message) -> Message:
    """One change that keeps the body JSON: fields removed, renamed, doubled, moved, other types, huge, nested."""
    headers, body = message
    try:
        content = json.loads(body)
    except ValueError:
        return headers, body + b"}"
    if not isinstance(content, dict) or not content:
        return headers, b"{}"
    inner = content.get("resource")
    target = inner if isinstance(inner, dict) and inner and random.random() < 0.5 else content
    name = random.choice(list(target))
    match random.randrange(7):
        case 0:
            del target[name]
        case 1:
            target[name] = random.choice([None, True, 1, 1.5, 10**30, [], {}, [target[name]], {"a": target[name]}])
        case 2:
            target[name] = random.choice([*HUGE, *NESTED])
        case 3:
            target[name.upper()] = target.pop(name)
        case 4:
            content["id"] = random.choice(["EV-OTHER", secrets_of(random), "", "事件", "x" * 65])
            content["event_type"] = random.choice(["TRANSACTION.SUCCESS", "REFUND.SUCCESS", "REFUND.CLOSED", "X"])
        case 5:
            text = json.dumps(content, ensure_ascii=random.random() < 0.5, sort_keys=True)
            return headers, text.encode("utf-8", "replace")
        case _:
            text = json.dumps(content, ensure_ascii=False)
            twice = f"{{{json.dumps(name)}: {random.choice(['1', 'null', json.dumps(HUGE[0])])}, "
            return headers, (twice + text[1:]).encode("utf-8", "replace")
    return headers, json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")


def secrets_of(random: Random) -> str:
    return f"{random.getrandbits(128):032x}"


def sealed_part_changed(random: Random, message: Message) -> Message:
    """A bit inside of base64 text, so that the form of the message stays right."""
    headers, body = message
    marks = [mark for mark in (b'"ciphertext": "', b"Data>", b"signedData>", b"sign=", b"signMsg=") if mark in body]
    if not marks:
        return bytes_flipped(random, message)
    mark = random.choice(marks)
    start = body.index(mark) + len(mark)
    end = min((body.find(stop, start) for stop in (b'"', b"<", b"&") if body.find(stop, start) > 0), default=len(body))
    try:
        raw = bytearray(base64.b64decode(unquote_plus(body[start:end].decode("ascii"))))
    except ValueError:
        return bytes_flipped(random, message)
    if not raw:
        return bytes_flipped(random, message)
    raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)
    text = base64.b64encode(bytes(raw)).decode()
    return headers, body[:start] + (
        quote(text, safe="") if b"=" in mark and b'"' not in mark else text
    ).encode() + body[end:]


def xml_changed(random: Random, message: Message) -> Message:
    headers, body = message
    text = body.decode("utf-8", "replace")
    places = [place for place, mark in enumerate(text) if mark == "<"]
    if len(places) < 3:
        return bytes_spliced(random, message)
    first, last = sorted(random.sample(places, 2))
    match random.randrange(5):
        case 0:
            text = text[:first] + text[last:]
        case 1:
            text = text[:last] + text[first:last] + text[last:]
        case 2:
            text = text[:first] + random.choice(["<!-- x -->", "<a/>", " ", "&#0;", "<![CDATA[x]]>"]) + text[first:]
        case 3:
            text = '<!DOCTYPE a [<!ENTITY b "bb">]>' + text[text.find("?>") + 2 :]
        case _:
            text = text.replace("utf-8", random.choice(["gbk", "utf-16", "us-ascii", "x-odd"])).replace(
                "UTF-8", random.choice(["gbk", "utf-16", "us-ascii", "x-odd"])
            )
    return headers, text.encode()


GENERAL: list[Mutator] = [
    bytes_flipped,
    bytes_spliced,
    cut,
    padded,
    encoded,
    lookalikes,
    case_changed,
    header_changed,
    sealed_part_changed,
]
SPECIAL: Mapping[str, list[Mutator]] = {
    "form": [*[form_changed] * 8, *[fields_read_anew] * 3],
    "json": [*[json_changed] * 4, *[header_changed] * 3],
    "xml": [xml_changed] * 4,
}


def changed(random: Random, sample: Sample) -> tuple[Message, str]:
    """A message that differs from the sample's in at least one byte or header, and what was done to it."""
    message, done = sample.message, []
    while message == sample.message or random.random() < 0.25:
        mutator = random.choice([*GENERAL, *SPECIAL[sample.shape]])
        message = mutator(random, message)
        done.append(mutator.__name__)
        if len(done) > 6:
            message = (message[0], message[1] + b"?")
    return message, "+".join(done)


# --- the run ----------------------------------------------------------------------------------------------------------


@dataclass
class Report:
    """What became of the mutations.

    `wrong`: believed with another meaning, or an exception that is no refusal. `alarms`: refused, but as something the
    provider had signed, which calls staff.
    """

    believed: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)


def meaning(sample: Sample) -> NoticeFact | None:
    """None when even the genuine notice is refused: then no change of it may be believed."""
    try:
        return sample.read(sample.message)
    except NoticeInvalid:
        return None


def fuzz(samples: list[Sample], random: Random, count: int) -> Report:
    report = Report()
    meanings = {sample.name: meaning(sample) for sample in samples}
    for _ in range(count):
        sample = random.choice(samples)
        message, done = changed(random, sample)
        try:
            fact = sample.read(message)
        except NoticeInvalid as refusal:
            report.refused[f"{sample.name}: {refusal.reason}"] += 1
            if refusal.is_signed:
                report.alarms.append(f"{sample.name} after {done} counts as signed: {refusal.reason} {message!r:.900}")
        except Exception as error:  # whatever it is: that it came out is the finding
            report.wrong.append(f"{sample.name} after {done} raised {error!r:.300}: {message!r:.900}")
        else:
            report.believed[sample.name] += 1
            if fact != meanings[sample.name]:
                report.wrong.append(f"{sample.name} after {done} says {fact!r:.400}: {message!r:.900}")
    print(f"{count} mutations: {report.believed.total()} said the same, {report.refused.total()} were refused")
    print("said the same:", dict(report.believed), "reasons:", len(report.refused), "alarms:", len(report.alarms))
    return report


def test_no_changed_notice_is_believed_with_another_meaning(
    samples: list[Sample], random: Random, nightly: bool
) -> None:
    count = MASS_NIGHTLY if nightly else MASS
    assert [sample.name for sample in samples if meaning(sample) is None] == []
    report = fuzz(samples, random, count)
    assert report.wrong == []
    assert report.believed.total() + report.refused.total() == count
    assert {name.partition(":")[0] for name in report.refused} == {sample.name for sample in samples}
    assert report.believed, "no harmless change at all: the mutations are too coarse to find a weak check"


def test_a_value_that_reads_like_further_fields_does_not_become_them(
    alipay: AlipayProvider, bill99: Bill99, random: Random, nightly: bool
) -> None:
    report = fuzz(hostile_samples(alipay, bill99), random, MASS_NIGHTLY // 20 if nightly else MASS // 4)
    assert report.wrong == []


def test_a_refunds_notice_does_not_become_a_payments_when_its_fields_are_swallowed(
    alipay: AlipayProvider, alipay_adapter: AlipayAdapter
) -> None:
    """The shortest case of the above: the signed text is the same to the byte, only cut elsewhere."""
    content = alipay.notice(refund_fee="30.00", gmt_refund="2026-11-23 09:59:59.123", out_biz_no=REFUND_NO)
    signature = dict(parse_qsl(alipay.signed_body(content).decode()))["sign"]
    content["gmt_create"] += f"&gmt_payment={content.pop('gmt_payment')}&gmt_refund={content.pop('gmt_refund')}"
    content["receipt_amount"] += f"&refund_fee={content.pop('refund_fee')}"
    body = urlencode({**content, "sign_type": "RSA2", "sign": signature}).encode()
    with pytest.raises(NoticeInvalid):
        alipay_adapter.read_notice(headers=FORM, body=body, now=NOW)


def test_the_run_would_find_an_adapter_that_does_not_verify(
    samples: list[Sample], random: Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: without the checks of signatures, forgeries of every channel are found."""
    monkeypatch.setattr(wechat_notices, "rsa_verify", lambda *args: True)
    monkeypatch.setattr(alipay_client, "is_signed", lambda *args: True)
    monkeypatch.setattr(kuaiqian_signing, "is_signed_rsa", lambda **kwargs: True)
    monkeypatch.setattr(kuaiqian_signing, "is_same_hex", lambda *args: True)
    found: set[str] = set()
    for _ in range(6):  # one round seldom misses a channel, for the seed is another one each time
        report = fuzz(samples, random, MASS)
        found |= {line.partition(" ")[0] for line in report.wrong if " says NoticeFact(" in line}
        if len(found) == 3:
            break
    assert found == {"wechat", "alipay", "kuaiqian"}


def test_the_run_would_find_an_exception_that_is_no_refusal(
    samples: list[Sample], random: Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = alipay_client.is_signed

    def breaks(*args: Any) -> bool:
        if not real(*args):
            raise KeyError("odd")
        return True

    monkeypatch.setattr(alipay_client, "is_signed", breaks)
    report = fuzz([sample for sample in samples if sample.name == "alipay refund"], random, 200)
    assert [line for line in report.wrong if " raised KeyError('odd')" in line]


# --- odd contents under a right signature -----------------------------------------------------------------------------


def odd_values(random: Random, content: Mapping[str, str]) -> dict[str, str]:
    """Flat text fields, one to three of them changed."""
    changed_content = dict(content)
    for name in random.sample(list(content), random.choice([1, 1, 2, 3])):
        value = content[name]
        odd = ["", " " + value, value + "\n", value.translate(LOOKALIKES), "\x00", "签名", *HUGE, *NESTED]
        changed_content[name] = random.choice(odd)
        if random.random() < 0.2:
            del changed_content[name]
    return changed_content


def signed_oddities(
    random: Random,
    adapter: WechatAdapter,
    provider: Provider,
    alipay_adapter: AlipayAdapter,
    alipay: AlipayProvider,
    bill99: Bill99,
) -> tuple[NoticeReader, Message]:
    match random.randrange(4):
        case 0:
            kind, data = random.choice(
                [
                    ("TRANSACTION.SUCCESS", transaction_data()),
                    ("REFUND.SUCCESS", refund_notice_data()),
                    ("MCHTRANSFER.BILL.FINISHED", transfer_notice_data()),
                ]
            )
            plain = json.dumps({**data, "resource": data.get("amount")}).encode()
            _, plain = random.choice([json_changed, json_changed, bytes_spliced, encoded])(random, ({}, plain))
            return adapter, provider.notice(plain, event_type=kind, now=NOW)
        case 1:
            extra = random.choice([{}, {"refund_fee": "1.00", "gmt_refund": "x", "out_biz_no": REFUND_NO}])
            return alipay_adapter, (FORM, alipay.signed_body(odd_values(random, alipay.notice(**extra))))
        case 2:
            return bill99.adapter(), ({}, kuaiqian_query(bill99, odd_values(random, kuaiqian_fields())))
        case _:
            content = {name: value.replace("\x00", "") for name, value in odd_values(random, kuaiqian_payout()).items()}
            return bill99.adapter(), ({}, kuaiqian_sealed(bill99, content))


def test_odd_contents_under_a_right_signature_raise_nothing_but_refusals(
    adapter: WechatAdapter,
    provider: Provider,
    alipay_adapter: AlipayAdapter,
    alipay: AlipayProvider,
    bill99: Bill99,
    random: Random,
    nightly: bool,
) -> None:
    refused: Counter[str] = Counter()
    believed = 0
    for _ in range(SIGNED_NIGHTLY if nightly else SIGNED):
        reader, (headers, body) = signed_oddities(random, adapter, provider, alipay_adapter, alipay, bill99)
        try:
            fact = reader.read_notice(headers=headers, body=body, now=NOW)
        except NoticeInvalid as refusal:
            refused[refusal.reason] += 1
        else:
            believed += 1
            assert fact.number.isascii() and fact.number.replace("_", "").replace("-", "").isalnum()
            assert len(fact.number) <= 64
            assert fact.result.amount_fen is None or 0 < fact.result.amount_fen < 2**63
    print(f"believed {believed}, refused {refused.total()} for {len(refused)} reasons")
    assert believed and len(refused) > 20


# --- by HTTP ----------------------------------------------------------------------------------------------------------

PAID_FEN = 8888


def open_attempt(employee: Any, channel: str) -> str:
    """An unpaid recharge; the number of its attempt."""
    order_no = numbers.issue(prefix=numbers.Prefix.RECHARGE, account_id=employee.pk)
    attempt_no = numbers.issue_attempt(order_no=order_no)
    new = NewOrder(
        order_no=order_no,
        kind=OrderKind.RECHARGE,
        amount_fen=PAID_FEN,
        employee_id=employee.pk,
        enterprise_id=employee.enterprise_id,
        subject="x",
    )
    now = clock.now()
    opening.open_order(new=new, now=now)
    opening.open_attempt(
        order_no=order_no, attempt_no=attempt_no, channel=channel, scene="native", amount_fen=PAID_FEN, now=now
    )
    return attempt_no


@pytest.fixture
def channels(provider: Provider, alipay: AlipayProvider, bill99: Bill99) -> Iterator[None]:
    """All three set up with our own keys; nothing is sent."""
    away = "http://127.0.0.1:1"
    short = {"connect_timeout_seconds": 0.2, "read_timeout_seconds": 0.2}
    with override_settings(
        WECHAT={"base_url": away, "credentials_file": str(provider.credentials_file), **short},
        ALIPAY={
            "gateway_url": away,
            "credentials_file": str(alipay.credentials_file),
            "timeout_seconds": 0.2,
        },
        KUAIQIAN={
            "base_url": away,
            "card_base_url": away,
            "credentials_file": bill99.credentials_file(),
            "redirect_url": REDIRECT_URL,
            **short,
        },
    ):
        yield


def fresh_samples(employee: Any, provider: Provider, alipay: AlipayProvider, bill99: Bill99) -> list[Sample]:
    """Notices of this moment, each of an order of its own."""
    now = clock.now()
    local = now.astimezone(clock.BUSINESS_ZONE)
    deal_no = str(secrets.randbelow(10**12))
    data = transaction_data(
        out_trade_no=open_attempt(employee, "wechat"), transaction_id=f"42{secrets_of(Random())[:20]}"
    )
    trade = alipay.notice(
        out_trade_no=open_attempt(employee, "alipay"),
        notify_id=secrets_of(Random()),
        notify_time=f"{local:%Y-%m-%d %H:%M:%S}",
        gmt_payment=f"{local:%Y-%m-%d %H:%M:%S}",
    )
    deal = kuaiqian_fields(orderId=open_attempt(employee, "kuaiqian"), dealId=deal_no, dealTime=f"{local:%Y%m%d%H%M%S}")
    reader = bill99.adapter()
    return [
        Sample("wechat", "json", reader, provider.notice(data, now=now), now, "/notify/wechat"),
        Sample("alipay", "form", reader, (FORM, alipay.signed_body(trade)), now, "/notify/alipay"),
        Sample("kuaiqian", "form", reader, ({}, kuaiqian_query(bill99, deal)), now, "/notify/kuaiqian"),
        Sample(
            "payout", "xml", reader, ({}, kuaiqian_sealed(bill99, kuaiqian_payout())), now, "/notify/kuaiqian/payout"
        ),
    ]


def send(sample: Sample, message: Message) -> int:
    """The status that the endpoint answers with."""
    headers, body = message
    environ = {}
    kind = "application/octet-stream"
    for name, value in headers.items():
        wire = value.encode("utf-8", "replace").decode("latin-1")  # how a server hands bytes over
        if name.lower() == "content-type":
            kind = wire
        else:
            environ["HTTP_" + name.upper().replace("-", "_")] = wire
    client = Client(raise_request_exception=False)
    if sample.path == "/notify/kuaiqian":
        return client.get(sample.path, QUERY_STRING=body.decode("latin-1"), **environ).status_code
    return client.generic("POST", sample.path, body, content_type=kind, **environ).status_code


@pytest.mark.django_db(databases="__all__")
@pytest.mark.usefixtures("channels")
def test_changed_notices_by_http_credit_nothing_and_break_nothing(
    provider: Provider, alipay: AlipayProvider, bill99: Bill99, random: Random, nightly: bool
) -> None:
    employee = worlds.make_world(1).employees[0]
    samples = fresh_samples(employee, provider, alipay, bill99)
    payments = samples[:3]
    answers: Counter[int] = Counter()
    credited: set[str] = set()
    before = Notice.objects.count()
    count = BY_HTTP_NIGHTLY if nightly else BY_HTTP
    for turn in range(count):
        sample = random.choice(samples)
        message, done = changed(random, sample)
        status = send(sample, message)
        answers[status] += 1
        assert status < 500, f"{sample.name} after {done}: {status} for {message!r:.900}"
        if status in (200, 204):
            assert sample in payments
            credited.add(sample.name)
        assert worlds.wallet_of(employee) == (PAID_FEN * len(credited), 0), f"{sample.name} after {done}"
        if turn == count // 2:
            assert [send(each, each.message) for each in payments] == [204, 200, 200]
            credited = {each.name for each in payments}
    print(f"{count} by HTTP: {dict(answers)}")
    assert worlds.wallet_of(employee) == (PAID_FEN * 3, 0)
    assert answers[401] > count // 2
    assert Notice.objects.count() > before + count // 2
