"""The storm: a crowd pays through all channels while a fifth of all calls and notices go wrong, and processes die.

Afterwards no paid order is lost, none is kept twice, none is closed with its money kept, and wallets and ledger agree
with the providers' books to the fen. PAYSYS_STORM_ORDERS, PAYSYS_STORM_KILLS and PAYSYS_STORM_SEED set a run's size
and repeat it.
"""

from __future__ import annotations

import os
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from django.core.management import call_command
from pytest_django import Settings

from foundation import clock
from gateway.services import health
from orders.domain.states import OrderState
from payments.services import businesses
from paysys.supervisor import free_port
from tests import worlds
from tests.books import assert_books_balance
from tests.flows.payments.storm import CHANNELS, TIMEOUTS, Shop, Storm
from tests.flows.payments.storm_verdict import ENTERPRISE, OurBooks, ProviderBooks, judge
from tests.system import Process, System

pytestmark = pytest.mark.usefixtures("committed_db")
ORDERS, NIGHTLY_ORDERS = 150, 10_000
KILLS, NIGHTLY_KILLS = 3, 50
ORDERS_PER_PERSON = 15
SETTLE_SECONDS, SETTLE_SECONDS_PER_ORDER = 45.0, 0.1


@pytest.fixture
def stormy(tmp_path: Path, committed_db: None, settings: Settings) -> Iterator[System]:
    """All processes, with providers that are waited for only two seconds; this process talks to the same providers."""
    call_command("sync_schedule", verbosity=0)
    system = System(tmp_path)
    system.env.update(TIMEOUTS)
    system.simulator.command += ["--notice-retry-scale", "0.1"]
    name_anew(system.worker)
    for channel in CHANNELS:
        health.reset(channel=channel)
    settings.PUBLIC_BASE_URL = system.base_url
    url, directory = system.simulator_url, tmp_path / "simulator"
    settings.WECHAT = {
        **settings.WECHAT,
        "base_url": url,
        "credentials_file": str(directory / "credentials.json"),
    }
    settings.ALIPAY = {
        **settings.ALIPAY,
        "gateway_url": f"{url}/gateway.do",
        "credentials_file": str(directory / "alipay.json"),
    }
    settings.KUAIQIAN = {
        **settings.KUAIQIAN,
        "base_url": url,
        "card_base_url": url,
        "credentials_file": str(directory / "kuaiqian.json"),
    }
    try:
        yield system.start("simulator", "web", "worker", "relay")
    finally:
        system.stop()


def name_anew(worker: Process) -> None:
    """The broker lets go of a dead worker's queue a moment later: until then its name is taken."""
    worker.command = [word for word in worker.command if not word.startswith("--hostname=")]
    worker.command.append(f"--hostname=storm-{uuid.uuid4().hex[:8]}@%h")


def make_storm(system: System, nightly: bool) -> Storm:
    size = int(os.environ.get("PAYSYS_STORM_ORDERS", NIGHTLY_ORDERS if nightly else ORDERS))
    seed = int(os.environ.get("PAYSYS_STORM_SEED", random.SystemRandom().randrange(10**6) if nightly else 1))
    print(f"\nseed {seed}, {size} payers")
    world = worlds.make_world(max(size // ORDERS_PER_PERSON, 1))
    app = businesses.register(
        product_id=f"storm-{uuid.uuid4().hex[:12]}",
        name="Storm",
        enterprise_id=world.enterprise.pk,
        callback_url=f"http://127.0.0.1:{free_port()}/nobody-listens",
        now=clock.now(),
    )
    return Storm(
        system=system, seed=seed, size=size, world=world, shop=Shop(product_id=app.app.product_id, secret=app.secret)
    )


def finish(storm: Storm, started: float, *, note: str = "") -> None:
    """The faults end, everything comes to rest, and both sides' books are compared."""
    seconds = time.monotonic() - started
    settled = storm.settle(seconds=SETTLE_SECONDS + SETTLE_SECONDS_PER_ORDER * storm.size)
    ours, books = storm.ours(), storm.books()
    verdict = judge(ours=ours, books=books, tried=storm.tried)
    print(storm.report(verdict, f"{seconds:.1f} s, at rest after {settled:.1f} s more{note}"))
    assert verdict.wrong == [], f"seed {storm.seed}\n" + "\n".join(verdict.wrong)
    assert_books_balance()
    assert_the_verdict_can_fail(storm, ours, books)


def assert_the_verdict_can_fail(storm: Storm, ours: OurBooks, books: ProviderBooks) -> None:
    """The control: one thing doctored on either side, and the verdict is another."""
    returned = next(iter(books.refunded))
    kept = next(number for number in books.paid if number not in books.refunded)
    amount_fen = books.paid[kept]
    order = next(row for row in ours.orders.values() if row.effective_attempt_no == kept)
    person = storm.world.employees[0].pk
    available_fen = ours.wallets[person][0]
    doctored_books = (
        replace(books, refunded={number: fen for number, fen in books.refunded.items() if number != returned}),
        replace(books, refunded={**books.refunded, kept: amount_fen}),
        replace(books, refunded={**books.refunded, returned: books.refunded[returned] - 1}),
        replace(books, paid={**books.paid, kept: amount_fen + 1}),
        replace(books, paid={number: fen for number, fen in books.paid.items() if number != kept}),
        replace(books, paid={**books.paid, "AT-nobody": 1}, channels={**books.channels, "AT-nobody": "wechat"}),
    )
    doctored_ours = (
        replace(ours, orders={**ours.orders, order.order_no: replace(order, state=OrderState.CLOSED)}),
        replace(ours, wallets={**ours.wallets, person: (available_fen + 1, 0)}),
        replace(ours, wallets={**ours.wallets, ENTERPRISE: (ours.wallets[ENTERPRISE][0] - 1, 0)}),
        replace(ours, platform={**ours.platform, ("2410", "alipay"): -1}),
    )
    for changed in doctored_books:
        assert judge(ours=ours, books=changed, tried=storm.tried).wrong != []
    for other in doctored_ours:
        assert judge(ours=other, books=books, tried=storm.tried).wrong != []


def test_a_storm_of_faults_loses_and_doubles_nothing(stormy: System, nightly: bool) -> None:
    storm = make_storm(stormy, nightly)
    started = time.monotonic()
    storm.run()
    rules = stormy.simulate("GET", "faults").json()["rules"]
    hits = sum(rule["hits"] for rule in rules)
    assert hits > storm.size / 10, rules
    assert set(storm.tried.values()) >= {"pays", "pays twice", "pays while it closes", "pays too late"}
    assert not any(what.startswith("500") for what in storm.answers), storm.answers
    finish(storm, started)


def test_a_lost_notice_is_reported_until_somebody_asks(stormy: System) -> None:
    """The control with a planted fault: paid, never told, not asked yet."""
    storm = make_storm(stormy, nightly=False)
    person, token = storm.world.employees[0], storm.tokens[0]
    rules = [{"fault": "notice_never", "rate": 1.0}]
    assert stormy.simulate("PUT", "faults", {"rules": rules, "seed": 1}).status_code == 200
    body = {"amount_fen": 700, "channel": "wechat", "scene": "native"}
    bought = stormy.api(token, "POST", "recharges", body, key=uuid.uuid4().hex).json()
    assert stormy.simulate("POST", "pay", {"payment": bought["payment"]}).status_code == 200
    order_no, attempt_no = bought["order"]["order_no"], bought["order"]["attempts"][0]["attempt_no"]
    assert storm.verdict().wrong == [
        f"{order_no}: PENDING keeps {{'{attempt_no}': 700}}, it may keep {{}}",
        f"{order_no}: PENDING in the end",
        f"{attempt_no}: PENDING in the end",
        "1110 of wechat: moved by 0 fen, by the provider's books -700",
    ]
    storm.settle(seconds=SETTLE_SECONDS)
    assert storm.verdict().wrong == []
    assert worlds.wallet_of(person) == (700, 0)


class Killer(threading.Thread):
    """kill -9 of web or worker at `kills` random points of the crowd's progress; each is started again at once."""

    def __init__(self, storm: Storm, *, kills: int) -> None:
        super().__init__()
        self.storm, self.kills, self.killed = storm, kills, Counter[str]()
        self.over = threading.Event()

    def run(self) -> None:
        chance = random.Random(f"{self.storm.seed}/kills")
        victims: list[Process] = [self.storm.system.web, self.storm.system.worker]
        points = sorted(chance.sample(range(self.storm.size // 20, self.storm.size * 19 // 20), self.kills))
        order = victims + chance.choices(victims, k=self.kills - len(victims))
        for point, victim in zip(points, order, strict=True):
            while self.storm.begun < point and not self.over.wait(0.02):
                pass
            victim.kill()
            self.killed[victim.name] += 1
            if victim is self.storm.system.worker:
                name_anew(victim)
            victim.start()


def test_a_storm_that_kills_web_and_worker_loses_and_doubles_nothing(stormy: System, nightly: bool) -> None:
    storm = make_storm(stormy, nightly)
    kills = int(os.environ.get("PAYSYS_STORM_KILLS", NIGHTLY_KILLS if nightly else KILLS))
    killer = Killer(storm, kills=kills)
    started = time.monotonic()
    killer.start()
    try:
        storm.run()
    finally:
        killer.over.set()
        killer.join()
    assert sum(killer.killed.values()) == kills
    assert min(killer.killed.values()) >= 1
    finish(storm, started, note=f", killed {dict(killer.killed)}")
