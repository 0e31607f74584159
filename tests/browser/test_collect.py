"""A collection as payers and the merchant see it: scanned with WeChat, with Alipay and by a plain phone, and paid.

Wallets are played: WeChat's bridge is a function of the test that pays at the simulator, and the other two are led to
the simulator's own page. axe looks at every page. What a first visit loads, and after how long it answers to a finger,
is printed.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from collect.models import Code, Collection
from collect.services import codes
from foundation import clock, push, redis
from identity import selectors as identity
from tests.browser.conftest import Desk
from tests.integration.collect.codes_and_collections import (
    ALIPAY_AGENT,
    PHONE_AGENT,
    WECHAT_AGENT,
    Shop,
    code_of,
    opened,
    paid,
    shop,
)
from tests.system import System

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True}
MAX_BYTES = 50 * 1024
MAX_INTERACTIVE_MS = 1_000
SERIOUS = ("serious", "critical")
WAIT_MS = 30_000
BRIDGE = """
window.WeixinJSBridge = { invoke: (name, payment, done) =>
  window.payInWallet(name, payment).then((said) => done({ err_msg: said })) };
"""


@dataclass
class Phone:
    """One payer's phone."""

    desk: Desk

    @property
    def page(self) -> Page:
        return self.desk.page

    def scan(self, code: Code) -> Page:
        return self.desk.open(f"/c/{code.pk}")

    def look(self, title: str) -> None:
        """Keeps a picture, and asks axe."""
        self.desk.shoot(title)
        found = Axe().run(self.page).response["violations"]
        faults = [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in SERIOUS]
        assert faults == [], f"{title}: {faults}"

    def type_amount(self, text: str) -> None:
        for key in text:
            self.page.click(f".pad button:text-is('{key}')")
        assert self.page.input_value("#amount") == text

    def weight(self) -> dict[str, int]:
        """Bytes on the wire, heads included, of everything that a first visit loaded."""
        loaded = "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
        return dict(self.page.evaluate(f"{loaded}.map((one) => [one.name, one.transferSize])"))

    def interactive_ms(self) -> float:
        """When the deferred script has run: keys and buttons answer."""
        timing = "performance.getEntriesByType('navigation')[0]"
        return float(self.page.evaluate(f"{timing}.domContentLoadedEventEnd"))


class Phones:
    def __init__(self, browser: Browser, system: System) -> None:
        self.browser, self.system = browser, system
        self.made: list[Phone] = []

    def of(self, name: str, agent: str, *, locale: str = "zh-CN", **more: Any) -> Phone:
        context = self.browser.new_context(locale=locale, user_agent=agent, **{**PHONE, **more})
        self.made.append(Phone(Desk(context, self.system.base_url, name)))
        return self.made[-1]


@pytest.fixture
def phones(chromium: Browser, system: System, committed_db: None) -> Iterator[Phones]:
    made = Phones(chromium, system)
    yield made
    wrong = {phone.desk.name: phone.desk.wrong for phone in made.made if phone.desk.wrong}
    for phone in made.made:
        phone.page.context.close()
    assert wrong == {}


def events_of(here: Shop) -> list[tuple[str, Any]]:
    """What the merchant's push channel has for the manager."""
    owner = identity.push_owner(employee_id=here.manager.pk)
    rows: Any = redis.client().xrange(push.stream_key(owner))
    return [
        (fields["event"], json.loads(push.Stored(id=key, event=fields["event"], sealed=fields["data"]).data()))
        for key, fields in rows
    ]


def heard(here: Shop, collection_id: str) -> dict[str, Any]:
    """The live notice of that collection, which must come exactly once."""
    deadline = time.monotonic() + WAIT_MS / 1000
    while True:
        found = [data for event, data in events_of(here) if event == "collect.paid"]
        mine = [data for data in found if data["collection"] == collection_id]
        if mine:
            assert len(mine) == 1
            return mine[0]
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def pay_at_simulator(phone: Phone) -> None:
    """Presses "pay" on the simulator's page that the phone was led to, and comes back to ours."""
    own = re.compile(r"/c/[0-9a-z]+/[0-9a-z]+$")
    phone.page.wait_for_url(lambda address: not own.search(address), timeout=WAIT_MS)
    phone.page.click("button[value=pay]")
    phone.page.wait_for_load_state()


def assert_paid(phone: Phone, here: Shop, code: Code, *, amount_fen: int, channel: str) -> None:
    phone.page.wait_for_selector("#result", timeout=WAIT_MS)
    row = Collection.objects.get(code=code)
    assert (row.state, row.amount_fen, row.channel) == ("PAID", amount_fen, channel)
    text = phone.desk.text()
    assert all(part in text for part in (row.pk, row.provider_no, "Corner shop"))
    data = heard(here, row.pk)
    assert (data["amount_fen"], data["channel"], data["code"], data["sound"]) == (amount_fen, channel, code.pk, True)


def test_a_plain_phone_chooses_and_pays_by_the_wallets_page(system: System, phones: Phones) -> None:
    here = shop()
    code = code_of(here.manager, subject="两杯咖啡")
    phone = phones.of("plain", PHONE_AGENT)
    phone.scan(code)
    loaded, interactive = phone.weight(), phone.interactive_ms()
    weight = sum(loaded.values())
    print(f"\npage weight {weight} bytes in {len(loaded)} files, interactive after {interactive:.0f} ms")
    phone.look("amount")
    phone.type_amount("8.88")
    phone.look("typed")
    phone.page.click("button[value='wechat:h5']")
    pay_at_simulator(phone)
    phone.desk.open(f"/c/{code.pk}/{Collection.objects.get(code=code).pk}")
    assert_paid(phone, here, code, amount_fen=888, channel="wechat")
    phone.look("paid")
    assert len(loaded) == 3  # page, style, script
    assert 3_000 < weight < MAX_BYTES
    assert interactive < MAX_INTERACTIVE_MS


def test_in_alipay_it_is_alipays_own_page(system: System, phones: Phones) -> None:
    here = shop()
    code = code_of(here.manager, amount_fen=12_345, subject="Chair")
    phone = phones.of("alipay", ALIPAY_AGENT, locale="en-US")
    phone.scan(code)
    phone.look("amount")
    assert phone.page.locator("[name=way]").count() == 1
    phone.page.dblclick("button[value='alipay:h5']")
    pay_at_simulator(phone)
    phone.desk.open(f"/c/{code.pk}/{Collection.objects.get(code=code).pk}")
    assert_paid(phone, here, code, amount_fen=12_345, channel="alipay")
    phone.look("paid")


def test_in_wechat_the_wallet_opens_by_itself(system: System, phones: Phones) -> None:
    """WeChat is asked silently who pays; then its bridge takes the payment, once for a double click."""
    here = shop()
    code = code_of(here.manager, subject="两杯咖啡")
    phone = phones.of("wechat", WECHAT_AGENT)
    taken: list[str] = []

    def pay_in_wallet(name: str, payment: dict[str, str]) -> str:
        taken.append(name)
        answer = system.simulate("POST", "pay", {"payment": {"kind": "jsapi", **payment}})
        return f"get_brand_wcpay_request:{'ok' if answer.ok else 'fail'}"

    phone.page.expose_function("payInWallet", pay_in_wallet)
    phone.page.add_init_script(BRIDGE)
    phone.scan(code)
    assert phone.page.url.partition("#")[0].endswith(f"/c/{code.pk}")  # WeChat's mark stays behind it
    phone.look("amount")
    phone.type_amount("66.6")
    phone.page.dblclick("button[value='wechat:jsapi']")
    assert_paid(phone, here, code, amount_fen=6_660, channel="wechat")
    assert taken == ["getBrandWCPayRequest"]
    phone.look("paid")


def test_the_result_comes_without_javascript(system: System, phones: Phones) -> None:
    """The desk shows a code, another phone pays it; the page refreshes itself."""
    here = shop()
    code = code_of(here.manager)
    phone = phones.of("no-script", "Mozilla/5.0 (X11; Linux x86_64) Chrome/130.0", java_script_enabled=False)
    phone.scan(code)
    phone.page.fill("#amount", "0.01")
    phone.page.click("button[value='wechat:native']")
    phone.page.wait_for_selector("img.code")
    phone.desk.shoot("code")
    payment = {"kind": "code_url", "code_url": code_url(system, code)}
    assert system.simulate("POST", "pay", {"payment": payment}).status_code < 300
    assert_paid(phone, here, code, amount_fen=1, channel="wechat")
    phone.desk.shoot("paid")


def code_url(system: System, code: Code) -> str:
    """What the QR code on the page says: the same payment, begun again under its own number."""
    from collect.services import collecting

    view = collecting.get(collection_id=Collection.objects.get(code=code).pk, now=clock.now())
    return str(view.payment["code_url"])


def test_pages_of_codes_that_cannot_be_paid(phones: Phones) -> None:
    here = shop()
    off, once = code_of(here.manager), code_of(here.manager, is_once=True, amount_fen=100)
    codes.disable_code(code_id=off.pk, enterprise_id=off.enterprise_id, now=clock.now())
    phone = phones.of("refused", WECHAT_AGENT, locale="en-US")
    for title, path in (
        ("disabled", f"/c/{off.pk}"),
        ("unknown", f"/c/{codes.issue_id()}"),
    ):
        phone.desk.open(path)
        phone.look(title)
    row = opened(once, here.wechat, amount_fen=100)
    Collection.objects.filter(pk=row.pk).update(state="CLOSED", ended_at=clock.now(), once_code=None)
    phone.desk.open(f"/c/{once.pk}/{row.pk}")
    phone.look("closed")
    phone.desk.open(f"/c/{once.pk}/poster")
    phone.look("poster")
    refused = [text for text in phone.desk.wrong if "404" in text or "410" in text]
    phone.desk.wrong = [text for text in phone.desk.wrong if text not in refused]
    assert len(refused) == 2  # Chromium's own words about the two answers


def test_a_hostile_amount_is_told_on_the_page(phones: Phones) -> None:
    here = shop()
    code = code_of(here.manager)
    phone = phones.of("hostile", PHONE_AGENT, locale="en-US")
    page = phone.scan(code)
    for text, told in (("0", "more than zero"), ("50000.01", "No more than 50,000"), ("1e3", "at most two decimals")):
        page.fill("#amount", text)
        page.click("button[value='alipay:h5']")
        assert told in page.inner_text("#wrong")
    phone.look("refused")
    assert not Collection.objects.filter(code=code).exists()


def test_the_receipt_of_a_payment_is_read_again_later(phones: Phones) -> None:
    here = shop()
    row = paid(code_of(here.manager, subject="Tea"), here.alipay, amount_fen=1_234)
    phone = phones.of("receipt", ALIPAY_AGENT)
    phone.desk.open(f"/c/{row.code_id}/{row.pk}")
    phone.look("receipt")
    assert "12.34" in phone.desk.text()
