"""A crowd of seeded payers against real processes and providers that fail on purpose, and the way back to calm.

What a payer does follows from (seed, his number) alone; what fails at the providers from the seed, the rules and the
order in which calls arrive. Any size: a Storm is told how many payers come and who dies meanwhile.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import requests
from django.db import connections

from foundation import clock, outbox
from foundation.db import roles
from foundation.errors import Busy, Rejected
from funds import selectors as funds
from funds.domain.entries import enterprise_account, platform_account
from orders import selectors as orders
from orders.domain.records import OrderRecord
from orders.domain.states import AttemptState, OrderKind, OrderState
from orders.services import advancing
from payments.domain import signing
from payments.services import checking, closing
from payments.services.business_payments import ANYBODY
from paysys.celery import app as celery
from tests import worlds
from tests.flows.payments.storm_verdict import (
    ENTERPRISE,
    PURCHASES,
    WALLET,
    OurBooks,
    ProviderBooks,
    Verdict,
    judge,
    read_books,
)
from tests.system import System

SCENES = {"wechat": ("native", "page"), "alipay": ("native", "page", "h5"), "kuaiqian": ("page", "h5")}
CHANNELS = tuple(SCENES)
ACTIONS = {
    "pays": 44,
    "pays twice": 18,
    "pays while it closes": 15,
    "closes, then pays": 8,
    "pays too late": 8,
    "goes away": 7,
}
"""What payers do, and how many of a hundred. Too late: we took the attempt for closed, the provider did not."""
CLOSING_ACTIONS = ("pays while it closes", "closes, then pays")
BUSINESS_SHARE = 0.4
"""Of the orders; the others are recharges."""
PAYERS_AT_ONCE = 8
PATIENCE_SECONDS = 4.0
"""After that somebody who is told "still at it" clicks anew: a new request, perhaps a second order."""
GIVE_UP_SECONDS = 20.0
SETTLE_AT_ONCE = 4
RACE_SECONDS = 0.1
"""About what our close takes, so that either may be first."""
TICK_SECONDS = 4.0
"""How often beat's two jobs of the payment platform are rung; the worker runs them, killed or not."""
JOBS = ("payments.check_attempts", "payments.close_expired")
PROVIDER_LIFE = dt.timedelta(hours=1)
"""Longer than the providers leave an order open."""

RULES: list[dict[str, Any]] = [
    {"fault": "response_bad_signature", "rate": 0.04},
    {"fault": "response_malformed", "rate": 0.03},
    {"fault": "system_error_but_done", "rate": 0.04},
    {"fault": "system_error_not_done", "rate": 0.03},
    {"fault": "unknown_code_but_done", "rate": 0.02},
    {"fault": "unknown_code_not_done", "rate": 0.02},
    {"fault": "timeout_after_effect", "rate": 0.02, "delay_seconds": 2.5},
    {"fault": "timeout_before_effect", "rate": 0.02, "delay_seconds": 2.5},
    {"fault": "notice_never", "rate": 0.06},
    {"fault": "notice_duplicate", "rate": 0.05, "copies": 2},
    {"fault": "notice_late", "rate": 0.04, "delay_seconds": 4.0},
    {"fault": "notice_out_of_order", "rate": 0.04, "delay_seconds": 3.0},
    {"fault": "notice_tampered", "rate": 0.02},
    {"fault": "notice_tampered", "rate": 0.01, "tamper": "amount"},
    {"fault": "notice_tampered", "rate": 0.01, "tamper": "truncate"},
    {"fault": "notice_stale", "rate": 0.01},
]
"""A fifth of all calls and a fifth of all notices."""
TIMEOUTS = {
    "WECHAT_READ_TIMEOUT_SECONDS": "2.0",
    "ALIPAY_TIMEOUT_SECONDS": "2.0",
    "KUAIQIAN_READ_TIMEOUT_SECONDS": "2.0",
}


@dataclass(frozen=True, kw_only=True)
class Shop:
    """The business backend that asks for payments."""

    product_id: str
    secret: str


@dataclass
class Storm:
    """One run. `answers` counts what clients were told; `tried` what they did, by the order's number."""

    system: System
    seed: int
    size: int
    world: worlds.World
    shop: Shop
    tokens: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    tried: dict[str, str] = field(default_factory=dict)
    begun: int = 0
    resent: set[str] = field(default_factory=set)
    ticks: int = 0
    hits: list[str] = field(default_factory=list)
    before: dict[tuple[str, str], int] = field(default_factory=dict)
    _settled: dict[str, OrderRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tokens = [worlds.token_of(person) for person in self.world.employees]
        self.before = platform_balances()

    # --- the crowd --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Every payer, PAYERS_AT_ONCE at a time, while the rules are in force and the timed jobs run."""
        answer = self.system.simulate("PUT", "faults", {"rules": RULES, "seed": self.seed})
        assert answer.status_code == 200, answer.text
        with self.ticking(), ThreadPoolExecutor(PAYERS_AT_ONCE) as pool:
            list(pool.map(self._come, range(self.size)))

    @contextlib.contextmanager
    def ticking(self) -> Iterator[None]:
        """Rings the timed jobs as beat does, only more often."""
        over = threading.Event()

        def tick() -> None:
            while not over.wait(TICK_SECONDS):
                for job in JOBS:
                    celery.send_task("foundation.run_job", [job], queue="default", expires=TICK_SECONDS)
                self.ticks += 1

        ticker = threading.Thread(target=tick)
        ticker.start()
        try:
            yield
        finally:
            over.set()
            ticker.join()

    def _come(self, number: int) -> None:
        """One payer."""
        self.begun += 1
        chance = random.Random(f"{self.seed}/{number}")
        (action,) = chance.choices(list(ACTIONS), weights=list(ACTIONS.values()))
        first, second = chance.sample(CHANNELS, 2)
        scene, second_scene = chance.choice(SCENES[first]), chance.choice(SCENES[second])
        amount_fen, token = chance.randint(1, 50_000), self.tokens[number % len(self.tokens)]
        is_business, is_for_anybody = chance.random() < BUSINESS_SHARE, chance.random() < 0.5
        if is_business and action == "pays twice" and not is_for_anybody and chance.random() < 0.4:
            second, second_scene = WALLET, ""
        if is_business:
            payer = "" if is_for_anybody and action not in CLOSING_ACTIONS else self._code_of(number)
            order_no = self._ask_for_payment(amount_fen, payer)
            if order_no is None:
                return
            bought = self._try(token, order_no, first, scene)
        else:
            body = {"amount_fen": amount_fen, "channel": first, "scene": scene}
            bought = self._ask(lambda key: self._click(token, "recharges", body, key))
            order_no = "" if bought is None else bought["order"]["order_no"]
        if order_no:
            self.tried[order_no] = action
        if bought is not None:
            self._act(action, chance, token, bought, (second, second_scene))

    def _act(
        self, action: str, chance: random.Random, token: str, bought: dict[str, Any], other: tuple[str, str]
    ) -> None:
        order_no = bought["order"]["order_no"]
        if action == "pays":
            self._pay(bought)
        elif action == "pays twice":
            another = self._try(token, order_no, *other)
            self._pay(bought)
            self._pay(another)
        elif action == "pays while it closes":
            closer = threading.Thread(target=self._click, args=(token, f"orders/{order_no}/close", None, ""))
            closer.start()
            time.sleep(chance.random() * RACE_SECONDS)
            self._pay(bought)
            closer.join()
        elif action == "closes, then pays":
            self._click(token, f"orders/{order_no}/close", None, "")
            self._pay(bought)
        elif action == "pays too late":
            with_connections(end_here)(order_no)
            self._pay(bought)

    def _code_of(self, number: int) -> str:
        return self.world.employees[number % len(self.world.employees)].code

    def _try(self, token: str, order_no: str, channel: str, scene: str) -> dict[str, Any] | None:
        body = {"channel": channel, "scene": scene} if scene else {"channel": channel}
        return self._ask(lambda key: self._click(token, f"orders/{order_no}/attempts", body, key))

    def _ask_for_payment(self, amount_fen: int, employee: str) -> str | None:
        """A business backend asks until it knows the number: its own order number stays the same."""
        body = {"business_order_no": uuid.uuid4().hex, "amount_fen": amount_fen, "subject": "Storm"}
        if employee:
            body["employee"] = employee
        answer = self._ask(lambda key: self._signed("POST", "payments", body, key))
        return None if answer is None else str(answer["order"]["order_no"])

    def _ask(self, click: Callable[[str], requests.Response | None]) -> dict[str, Any] | None:
        """Clicks until there is something to pay with; None when the answer is a certain no."""
        ends = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < ends:
            key, patient_until = uuid.uuid4().hex, time.monotonic() + PATIENCE_SECONDS
            while time.monotonic() < patient_until:
                answer = click(key)
                if answer is not None and answer.status_code == 201:
                    found: dict[str, Any] = answer.json()
                    return found
                code = "" if answer is None else answer.json()["error"]["code"]
                if answer is not None and answer.status_code in (409, 422) and code != "request_in_progress":
                    return None
                time.sleep(0.3)
        self.answers["gave up"] += 1
        return None

    def _click(self, token: str, path: str, body: dict[str, Any] | None, key: str) -> requests.Response | None:
        """One request; None when the server was not there or died over it."""
        return self._noted(lambda: self.system.api(token, "POST", path, body, key=key))

    def _signed(self, method: str, path: str, body: dict[str, Any], key: str) -> requests.Response | None:
        """One request of the business backend, signed anew."""
        content = json.dumps(body).encode()
        message = signing.SignedMessage(
            method=method,
            target=f"/api/v1/{path}",
            timestamp=str(int(time.time())),
            nonce=uuid.uuid4().hex,
            body=content,
        )
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": key,
            signing.APP_HEADER: self.shop.product_id,
            signing.TIMESTAMP_HEADER: message.timestamp,
            signing.NONCE_HEADER: message.nonce,
            signing.SIGNATURE_HEADER: signing.sign(secret=self.shop.secret, message=message),
        }
        url = f"{self.system.base_url}{message.target}"
        return self._noted(lambda: requests.request(method, url, data=content, headers=headers, timeout=30))

    def _noted(self, send: Callable[[], requests.Response]) -> requests.Response | None:
        try:
            answer = send()
        except requests.RequestException:
            self.answers["no answer"] += 1
            return None
        code = "" if answer.ok else f" {answer.json()['error']['code']}"
        self.answers[f"{answer.status_code}{code}"] += 1
        return answer

    def _pay(self, bought: dict[str, Any] | None) -> None:
        if bought is None or bought["payment"]["kind"] == "none":
            return
        answer = self.system.simulate("POST", "pay", {"payment": bought["payment"]})
        assert answer.status_code in (200, 409), answer.text

    # --- afterwards -------------------------------------------------------------------------------------------------

    def settle(self, *, seconds: float) -> float:
        """The faults are over: what the timed jobs do, without their waiting, until nothing is open; the seconds used.

        The real worker and relay go on beside it. A late payment whose notice was lost is told of again, as providers
        do for a day and bills do afterwards. What nobody paid ends when its time at the provider is over. Fails with
        the list of what stays undecided.
        """
        rules = self.system.simulate("GET", "faults").json()["rules"]
        self.hits = [f"{rule['fault']} {rule['hits']} of {rule['draws']}" for rule in rules]
        self.system.simulate("DELETE", "faults")
        started, is_over = time.monotonic(), False
        with self.ticking():
            while left := self._unfinished():
                assert time.monotonic() - started < seconds, "\n".join(
                    ["stuck:", *(f"{row.order_no} {row.state.value} {row.amount_fen} fen" for row in left)]
                )
                if not is_over and all(self._waits_for_its_time(row) for row in left):
                    self._let_time_pass()
                    is_over = True
                deliver_leased()
                settle_all([row.order_no for row in left], age=PROVIDER_LIFE if is_over else closing.PROOF_AGE)
                time.sleep(0.2)
        return time.monotonic() - started

    def _let_time_pass(self) -> None:
        """At the providers: unpaid orders end there for good, and the clock goes back for signatures' sake."""
        for offset in (PROVIDER_LIFE.total_seconds(), 0.0):
            self.system.simulate("POST", "clock", {"offset_seconds": offset})
            self.books()

    @staticmethod
    def _waits_for_its_time(order: OrderRecord) -> bool:
        """99bill has no close: an unpaid form is over when its time is."""
        has_open = [row for row in order.attempts if row.is_open]
        return order.kind in PURCHASES and bool(has_open) and all(row.channel == "kuaiqian" for row in has_open)

    def _unfinished(self) -> list[OrderRecord]:
        """Orders that may still change by themselves; those that cannot are not read again."""
        found, books = self.orders(), self.books()
        returned = {row.business_no for row in found.values() if row.kind is OrderKind.RETURN}
        left = []
        for order in found.values():
            if order.order_no in self._settled:
                continue
            owed = [
                row
                for row in order.attempts
                if order.kind in PURCHASES
                and row.attempt_no in books.paid
                and not row.is_effective
                and row.attempt_no not in returned
            ]
            for row in owed:
                if row.state is AttemptState.CLOSED:
                    self.system.simulate("POST", "notices/resend", {"attempt_no": row.attempt_no})
                    self.resent.add(row.attempt_no)
            if owed or order.state is OrderState.PENDING or any(row.is_open for row in order.attempts):
                left.append(order)
            else:
                self._settled[order.order_no] = order
        return left

    def books(self) -> ProviderBooks:
        return read_books(self.system.simulate("GET", "books").json())

    def orders(self, *, is_fresh: bool = False) -> dict[str, OrderRecord]:
        """Every order of these people and of their enterprise's business backend, and what goes back of them.

        `is_fresh`: those that `settle` has seen settled are read again, too.
        """
        known = {} if is_fresh else self._settled
        owners = [*(person.pk for person in self.world.employees), ANYBODY]
        numbers = [
            row.order_no for owner in owners for row in listed(owner) if row.enterprise_id == self.world.enterprise.pk
        ]
        return {number: known.get(number) or orders.get_order(order_no=number) for number in numbers}

    def ours(self) -> OurBooks:
        """Our whole side, read afresh."""
        wallets = {person.pk: worlds.wallet_of(person) for person in self.world.employees}
        shop = funds.get_wallet(account=enterprise_account(self.world.enterprise.pk))
        platform = {place: fen - self.before[place] for place, fen in platform_balances().items()}
        return OurBooks(
            orders=self.orders(is_fresh=True),
            wallets={**wallets, ENTERPRISE: (shop.available_fen, shop.frozen_fen)},
            platform=platform,
        )

    def verdict(self) -> Verdict:
        return judge(ours=self.ours(), books=self.books(), tried=self.tried)

    def report(self, verdict: Verdict, note: str) -> str:
        """What is printed of a run."""
        answers = ", ".join(f"{what} {count}" for what, count in sorted(self.answers.items()))
        lines = [
            f"seed {self.seed}, {self.size} payers, {note}",
            "faults: " + ", ".join(self.hits),
            verdict.table(),
            f"answers to clients: {answers}",
            f"late payments told of again: {len(self.resent)}; jobs rung {self.ticks} times",
        ]
        return "\n".join(lines)


def platform_balances() -> dict[tuple[str, str], int]:
    return {
        (code, channel): funds.platform_balance_fen(account=platform_account(code, channel))
        for code in ("1110", "2320", "2410")
        for channel in CHANNELS
    }


def listed(owner: int) -> Iterator[OrderRecord]:
    """All orders of an employee, newest first."""
    before = None
    while True:
        page = orders.list_orders(employee_id=owner, limit=100, before=before)
        yield from page.items
        before = page.next_after
        if before is None:
            return


def deliver_leased() -> None:
    """What a killed worker had leased comes again when its lease is over; here a minute early, beside the worker."""
    lease = dt.timedelta(seconds=outbox.LEASE_SECONDS)
    outbox.drain(using=roles.alias_for("funds"), now=lambda: clock.now() + lease)


def settle_all(order_nos: list[str], *, age: dt.timedelta) -> None:
    """`settle_one` for each, SETTLE_AT_ONCE at a time."""
    with ThreadPoolExecutor(SETTLE_AT_ONCE) as pool:
        list(pool.map(with_connections(lambda order_no: settle_one(order_no, age=age)), order_nos))


def settle_one(order_no: str, *, age: dt.timedelta) -> None:
    """One look at an open order, as the jobs have it `age` later; the next round looks again."""
    now = clock.now()
    with contextlib.suppress(Rejected, Busy):
        order = orders.get_order(order_no=order_no)
        for attempt in order.attempts:
            if attempt.is_open and attempt.channel != WALLET:
                checking.check_attempt(attempt=attempt, now=now)
        present = orders.get_order(order_no=order_no)
        if present.kind in PURCHASES and present.state is OrderState.PENDING:
            closing.close_order(order_no=order_no, now=now + age)


def end_here(order_no: str) -> None:
    """The order ends with us as if the provider had said "closed"; a notice may have been quicker."""
    for attempt in orders.get_order(order_no=order_no).attempts:
        advancing.advance_attempt(
            attempt_no=attempt.attempt_no, target=AttemptState.CLOSED, fields={"next_check_at": None}
        )
    closing.end_unpaid(order_no=order_no, reason="closed", now=clock.now())


def with_connections(work: Callable[[str], None]) -> Callable[[str], None]:
    """`work` in a thread of a pool: its connections end with it."""

    def run(order_no: str) -> None:
        try:
            work(order_no)
        finally:
            connections.close_all()

    return run
