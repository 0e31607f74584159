"""A crowd scans and pays while a fifth of all calls and notices go wrong: no collection is lost, none is told twice.

Payers pay, go away, or pay after their time; the CRM refuses now and then. At the end each payment that the provider
keeps is a PAID collection that reached the CRM by its one number, each late one went back, and the books balance.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import random
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.management import call_command
from django.db import connections
from pytest_django import Settings

from collect.domain.rules import CodeKind
from collect.models import Code, Collection, CrmRecord
from collect.services import collecting, crm
from foundation import clock
from foundation.errors import Busy, Rejected
from gateway.services import health
from orders import selectors as orders
from payments.services import checking
from tests.books import assert_books_balance
from tests.flows.payments.storm import RULES, TIMEOUTS, deliver_leased, end_here, listed
from tests.flows.payments.storm_verdict import ProviderBooks, read_books
from tests.flows.payments.test_storm import name_anew
from tests.integration.collect.codes_and_collections import code_of, shop
from tests.integration.payments.business import Receiver, receiving
from tests.system import System

pytestmark = pytest.mark.usefixtures("committed_db")
PAYMENTS, NIGHTLY_PAYMENTS = 40, 1_000
ACTIONS = {"pays": 60, "pays too late": 20, "goes away": 20}
WAYS = (("wechat", "native"), ("wechat", "h5"), ("alipay", "native"), ("alipay", "h5"))
AT_ONCE = 6
SETTLE_SECONDS = 90.0
CLOSED_FOR_SURE = dt.timedelta(hours=1)


@pytest.fixture
def crm_receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def stormy(tmp_path: Path, committed_db: None, settings: Settings, crm_receiver: Receiver) -> Iterator[System]:
    """All processes, with providers that are waited for only two seconds; this process talks to the same providers."""
    call_command("sync_schedule", verbosity=0)
    system = System(tmp_path)
    system.env.update(TIMEOUTS)
    system.simulator.command += ["--notice-retry-scale", "0.1"]
    name_anew(system.worker)
    for channel in ("wechat", "alipay"):
        health.reset(channel=channel)
    settings.PUBLIC_BASE_URL = system.base_url
    url, directory = system.simulator_url, tmp_path / "simulator"
    wechat, alipay = str(directory / "credentials.json"), str(directory / "alipay.json")
    settings.WECHAT = {**settings.WECHAT, "base_url": url, "credentials_file": wechat}
    settings.ALIPAY = {**settings.ALIPAY, "gateway_url": f"{url}/gateway.do", "credentials_file": alipay}
    settings.COLLECT_CRM_URL = f"{crm_receiver.url}/sales-orders"
    settings.COLLECT_CRM_SECRET = "c" * 32
    try:
        yield system.start("simulator", "web", "worker", "relay")
    finally:
        system.stop()


@dataclass
class Crowd:
    """Payers of one shop. `begun`: collection id by payer; `answers`: what they were told."""

    system: System
    seed: int
    codes: list[Code]
    begun: dict[int, str] = field(default_factory=dict)
    tried: dict[str, str] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)

    def come(self, number: int) -> None:
        try:
            self._come(number)
        finally:
            connections.close_all()

    def _come(self, number: int) -> None:
        chance = random.Random(f"{self.seed}/{number}")
        (action,) = chance.choices(list(ACTIONS), weights=list(ACTIONS.values()))
        channel, scene = chance.choice(WAYS)
        code = self.codes[number]
        body: dict[str, Any] = {"channel": channel, "scene": scene}
        if code.amount_fen is None:
            body["amount_fen"] = chance.randint(1, 50_000)
        bought = self._begin(code, body)
        if bought is None:
            return
        self.begun[number] = bought["payment_no"]
        self.tried[bought["payment_no"]] = action
        if action == "goes away":
            return
        if action == "pays too late":
            end_here(Collection.objects.get(pk=bought["payment_no"]).order_no)
        answer = self.system.simulate("POST", "pay", {"payment": bought["payment"]})
        assert answer.status_code in (200, 409), answer.text

    def _begin(self, code: Code, body: dict[str, Any]) -> dict[str, Any] | None:
        """Clicks with the same key until there is an answer; None for a certain no."""
        key, ends = uuid.uuid4().hex, time.monotonic() + 30
        while time.monotonic() < ends:
            answer = requests.post(
                f"{self.system.base_url}/api/v1/collect/codes/{code.pk}/payments",
                json=body,
                headers={"Idempotency-Key": key},
                timeout=30,
            )
            said = "" if answer.ok else f" {answer.json()['error']['code']}"
            self.answers[f"{answer.status_code}{said}"] += 1
            if answer.status_code == 201:
                found: dict[str, Any] = answer.json()
                return found if found["state"] == "OPEN" and found["payment"]["kind"] != "none" else None
            if answer.status_code in (409, 410, 422):
                return None
            time.sleep(0.3)
        self.answers["gave up"] += 1
        return None

    def rows(self) -> list[Collection]:
        return list(Collection.objects.filter(code__in=self.codes).select_related("code"))

    def books(self) -> ProviderBooks:
        return read_books(self.system.simulate("GET", "books").json())


def attempt_of(row: Collection) -> str:
    return orders.get_order(order_no=row.order_no).attempts[0].attempt_no


def wrong_of(crowd: Crowd, receiver: Receiver) -> list[str]:
    """What does not agree between provider, collections and CRM; empty at rest."""
    books, wrong = crowd.books(), []
    told: dict[str, set[bytes]] = defaultdict(set)
    for event, body in zip(receiver.events(), receiver.bodies, strict=True):
        told[event["collection_no"]].add(body)
    for row in crowd.rows():
        number = attempt_of(row)
        kept = books.paid.get(number, 0) - books.refunded.get(number, 0)
        if row.state == "OPEN":
            wrong.append(f"{row.pk} is open")
        if kept != (row.amount_fen if row.state == "PAID" else 0):
            wrong.append(f"{row.pk} is {row.state}, the merchant has {kept} of {row.amount_fen} fen")
        is_told = row.state == "PAID" and row.code.kind == CodeKind.ORDER
        if len(told.get(row.pk, ())) != int(is_told):
            wrong.append(f"{row.pk} is {row.state}, the CRM was told {len(told.get(row.pk, ()))} things of it")
        if is_told and CrmRecord.objects.get(pk=row.pk).state != "DELIVERED":
            wrong.append(f"{row.pk}: the CRM's record is not delivered")
    return wrong


def look_again(crowd: Crowd, *, tick: int) -> None:
    """What the timed jobs do, without their waiting; a late payment whose notice was lost is told of again."""
    books, now = crowd.books(), clock.now()
    backs = defaultdict(list)
    for listed_one in listed(crowd.codes[0].employee_id):
        backs[listed_one.original_order_no].append(listed_one)
    for row in crowd.rows():
        order = orders.get_order(order_no=row.order_no)
        with contextlib.suppress(Rejected, Busy):
            for one in (order, *backs[row.order_no]):
                for attempt in one.attempts:
                    if attempt.is_open:
                        checking.check_attempt(attempt=attempt, now=now)
            if row.state == "OPEN":
                collecting.close(collection_id=row.pk, now=now + CLOSED_FOR_SURE)
        attempt = order.attempts[0]
        if row.state == "CLOSED" and books.paid.get(attempt.attempt_no) and not books.refunded.get(attempt.attempt_no):
            crowd.system.simulate("POST", "notices/resend", {"attempt_no": attempt.attempt_no})
    crm.send_due(now=lambda: clock.now() + tick * dt.timedelta(minutes=2))
    deliver_leased()


def test_a_storm_of_collections_loses_and_doubles_nothing(
    stormy: System, crm_receiver: Receiver, nightly: bool
) -> None:
    size = NIGHTLY_PAYMENTS if nightly else PAYMENTS
    here, chance = shop(), random.Random(1)
    codes = [
        code_of(
            here.manager, kind=CodeKind.ORDER, amount_fen=chance.randint(1, 50_000), subject="Tea", crm_order_no=f"S{n}"
        )
        if n % 2
        else code_of(here.manager)
        for n in range(size)
    ]
    crm_receiver.statuses = [chance.choice((204, 204, 500, 503)) for _ in range(size // 4)]
    crowd = Crowd(system=stormy, seed=1, codes=codes)
    started = time.monotonic()
    assert stormy.simulate("PUT", "faults", {"rules": RULES, "seed": 1}).status_code == 200
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(crowd.come, range(size)))
    rules = stormy.simulate("GET", "faults").json()["rules"]
    hits = sum(rule["hits"] for rule in rules)
    stormy.simulate("DELETE", "faults")
    assert hits > size / 10, rules
    ends, tick = time.monotonic() + SETTLE_SECONDS + size / 5, 0
    while wrong := wrong_of(crowd, crm_receiver):
        assert time.monotonic() < ends, "\n".join(wrong)
        tick += 1
        look_again(crowd, tick=tick)
        time.sleep(0.3)
    states = Counter(row.state for row in crowd.rows())
    books = crowd.books()
    late = [row for row in crowd.rows() if row.state == "CLOSED" and attempt_of(row) in books.refunded]
    print(
        f"\n{size} payers in {time.monotonic() - started:.0f} s, {hits} faults: {dict(states)}, {len(late)} late ones "
        f"returned, CRM told {len(crm_receiver.bodies)} times of "
        f"{len({event['collection_no'] for event in crm_receiver.events()})}; answers {dict(crowd.answers)}"
    )
    assert states["PAID"] > size / 4
    assert states["CLOSED"] > 0
    assert late != []
    assert not any(answer.startswith("500") for answer in crowd.answers)
    assert_books_balance()
