"""The API against its own OpenAPI schema: requests generated from it, by schemathesis, sent to a real web process.

The web process is started as in production (granian) on a free port and the databases of this test run. No 5xx but a
documented 503; every status, content type, header and body as the schema says. Half of the requests fit the schema,
half break it. Requests that fit get known things put in (own orders, packets, colleagues, the right password), or
nearly all would end at "not found". The seed is printed; PAYSYS_API_FUZZ_SEED repeats it.
"""

from __future__ import annotations

import math
import os
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks as conformance

from collect.models import Manager
from foundation import clock, crypto, ids
from identity.api.permissions import SEQUENCE_HEADER, TOKEN_HEADER
from identity.models import PHONE_COLUMN, Employee
from payments.domain import signing
from payments.domain.people import Person
from payments.services import business_payments, businesses
from payments.services.businesses import Registered
from tests import worlds
from tests.contract.gateway.alipay_provider import AlipayProvider
from tests.contract.gateway.kuaiqian_provider import REDIRECT_URL, Bill99
from tests.contract.gateway.provider import Provider, Reply
from tests.integration.collect import merchants
from tests.integration.collect.codes_and_collections import code_of, paid
from tests.integration.withdrawals import people
from tests.system import System
from tests.worlds import PASSWORD, World

SEED_VARIABLE = "PAYSYS_API_FUZZ_SEED"
REQUESTS, REQUESTS_NIGHTLY = 1_000, 20_000
START_FEN = 10_000_000
SIGN_MARK = "X-Fuzz-Sign"
SUCCESSES = (" 200", " 201", " 202", " 204")
NEEDS_A_CODE = {"POST /api/v1/bank-cards", "PUT /api/v1/wechat-account", "PUT /api/v1/auth/password"}
"""A code that only a short message tells, or the old password, whose change would end the callers' log-ins.

These, and notices without a provider's signature, are refused here, always.
"""
BROKEN_TOKENS = ["Bearer x", "Bearer ", "bearer " + "a" * 200, "Basic eDp5", "", "Bearer\u00a0x"]


@dataclass
class Stage:
    """Who calls, and what he may know. `known`: values by the name of the parameter or field they are good for."""

    world: World
    token: str
    colleague_token: str
    business: Registered
    known: dict[str, list[Any]]
    url: str
    statuses: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)


class TalkingProvider(Provider):
    """WeChat in short: every payment is prepared, none is known when asked for, each can be closed."""

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        prepared = {
            "code_url": "weixin://wxpay/bizpayurl?pr=1",
            "h5_url": "https://wx.example.com/1",
            "prepay_id": "wx1",
        }
        self.reply = Reply(data=prepared)
        if handler.path.endswith("/close"):
            self.reply = Reply(status=204)
        elif handler.command == "GET":
            self.reply = Reply(status=404, data={"code": "ORDER_NOT_EXIST", "message": "x"})
        super()._answer(handler)


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    made = TalkingProvider.create(tmp_path_factory.mktemp("api-provider"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def web(provider: Provider, tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[System]:
    """The web process. WeChat answers; the others sign pages for the payer's browser, and else they are away."""
    away = "http://127.0.0.1:1"
    directory = tmp_path_factory.mktemp("api-web")
    alipay = AlipayProvider.create(tmp_path_factory.mktemp("api-alipay"))
    bill99 = Bill99.create(tmp_path_factory.mktemp("api-bill99"))
    running = System(directory)
    running.web.env |= {
        "WECHAT_BASE_URL": provider.url,
        "WECHAT_CREDENTIALS_FILE": str(provider.credentials_file),
        "ALIPAY_GATEWAY_URL": away,
        "ALIPAY_CREDENTIALS_FILE": str(alipay.credentials_file),
        "KUAIQIAN_BASE_URL": away,
        "KUAIQIAN_CARD_BASE_URL": away,
        "KUAIQIAN_CREDENTIALS_FILE": bill99.credentials_file(),
        "KUAIQIAN_REDIRECT_URL": REDIRECT_URL,
    }
    try:
        yield running.start("web")
    finally:
        running.stop()


@pytest.fixture
def stage(committed_db: None, web: System) -> Stage:
    world = worlds.make_world(3)
    own, colleague, _ = world.employees
    people.bind_payees(own)
    for employee in (own, colleague):
        type(employee).objects.filter(pk=employee.pk).update(phone=crypto.encrypt("13812345678", column=PHONE_COLUMN))
    orders = [worlds.give_money(own, START_FEN) for _ in range(2)]
    worlds.give_money(colleague, START_FEN)
    foreign = worlds.make_world(2)
    business = businesses.register(
        product_id=f"p{secrets.token_hex(8)}",
        name="Shop",
        enterprise_id=world.enterprise.pk,
        callback_url="https://shop.example.com/paid",
        now=clock.now(),
    )
    known = {
        "order_no": [*orders, worlds.give_money(foreign.employees[0], 100)],
        "packet_id": [ids.new_id()],
        "to_employee": [colleague.code, colleague.code, own.code, "e9999"],
        "receiver": [colleague.code, own.code, "e9999"],
        "employees": [[own.code, colleague.code], ["e9999"]],
        "group": [str(world.group.pk), str(foreign.group.pk)],
        "pay": ["wallet", "wallet", {"channel": "wechat", "scene": "native"}, {"channel": "alipay", "scene": "page"}],
        "enterprise": [world.enterprise.code],
        "employee": [own.code, colleague.code],
        "password": [PASSWORD],
        "amount_fen": [1, 100, 5_000_000, 5_000_001],
        "total_fen": [3, 100, 200_000],
        "count": [1, 2, 3],
        "expires_in_seconds": [1, 60, 86_400],
        "cursor": [],
        "/api/v1/refunds order_no": [paid_to(business, own) for _ in range(3)],
        "/api/v1/refunds amount_fen": [1, 2],
        "/api/v1/withdrawals amount_fen": [10_000],
        "/api/v1/withdrawals channel": ["wechat"],
        "/api/v1/refunds/{refund_no} refund_no": [],
        "/api/v1/orders/{order_no}/close order_no": [],
        "/api/v1/bank-cards/{card_id} card_id": [str(people.bind_card(own).pk) for _ in range(5)],
        "/api/v1/withdrawals/{order_no} order_no": [people.apply(own).order_no],
        **collecting_of(own),
    }
    known["/api/v1/withdrawals/{order_no}/cancel order_no"] = known["/api/v1/withdrawals/{order_no} order_no"]
    return Stage(
        world=world,
        token=worlds.token_of(own),
        colleague_token=worlds.token_of(colleague),
        business=business,
        known=known,
        url=web.base_url,
    )


def collecting_of(own: Employee) -> dict[str, list[Any]]:
    """What a manager of collecting knows: codes of all kinds and collections of his."""
    Manager.objects.create(employee=own, appointed_by=merchants.staff("boss"), appointed_at=clock.now())
    account = merchants.active(own)
    codes = [code_of(own), code_of(own, amount_fen=100), code_of(own, is_once=True, amount_fen=100)]
    rows = [paid(codes[0], account, amount_fen=500) for _ in range(3)]
    return {
        "code_id": [code.pk for code in codes],
        "/api/v1/collect/codes/{code_id}/disable code_id": [code_of(own).pk for _ in range(3)],
        "code": [codes[0].pk],
        "collection_id": [row.pk for row in rows],
        "payment_no": [row.pk for row in rows],
        "sub_merchant_no": [merchants.wechat_number() for _ in range(5)],
        "/api/v1/collect/merchants channel": ["wechat"],
        "sub_appid": [""],
        "display_name": ["Second shop"],
        "/api/v1/collect/codes kind": ["plain"],
        "/api/v1/collect/codes subject": ["Tea"],
        "/api/v1/collect/codes crm_order_no": [""],
        "/api/v1/collect/codes amount_fen": [1, 5_000_000],
        "month": ["2026-11", "2026-02"],
        "/api/v1/collect/statistics from": ["2026-11-01"],
        "/api/v1/collect/statistics to": ["2026-11-30"],
    }


def paid_to(business: Registered, employee: Employee) -> str:
    """Number of an order of the business that the employee has paid from the wallet."""
    number = business_payments.issue_number(app=business.app, employee_code=employee.code)
    business_payments.open_payment(
        order_no=number,
        app=business.app,
        business_order_no=ids.new_id(),
        amount_fen=10_000,
        subject="x",
        employee_code=employee.code,
        expires_in_seconds=None,
        now=clock.now(),
    )
    payer = Person(employee_id=employee.pk, enterprise_id=employee.enterprise_id)
    business_payments.pay_from_wallet(order_no=number, payer=payer, now=clock.now())
    return number


def with_known_things(random: Random, case: Any, known: dict[str, list[Any]]) -> None:
    """Puts what the caller may know into a request that fits the schema."""
    body = case.body if isinstance(case.body, dict) else {}
    for container in (case.path_parameters or {}, case.query or {}, body):
        for name in list(container):
            good = known.get(f"{case.operation.path} {name}") or known.get(name)
            if good and random.random() < 0.85:
                container[name] = random.choice(good[-40:])
    if case.operation.path.endswith("/attempts") and random.random() < 0.85:
        body.setdefault("scene", "page")
    if body.get("kind") in ("normal", "lucky") and random.random() < 0.8:
        wanted, other = ("group", "receiver") if body["kind"] == "lucky" else ("receiver", "group")
        body.pop(other, None)
        body[wanted] = known[wanted][0]
        body["count"] = min(3, body["count"]) if wanted == "group" else 1
        body["greeting"] = body.get("greeting", "")[:20]
    if case.query and random.random() < 0.3:
        case.query.pop(random.choice(list(case.query)), None)
    if "Idempotency-Key" in (case.headers or {}) and random.random() < 0.9:
        case.headers["Idempotency-Key"] = random.choice([*[ids.new_id()] * 9, "used-before"])


def learn(path: str, answer: Any, known: dict[str, list[Any]]) -> None:
    """Numbers and cursors of an answer, for the requests that follow."""
    if not isinstance(answer, dict):
        return
    if path == "/api/v1/recharges":
        known["/api/v1/orders/{order_no}/close order_no"].append(answer["order"]["order_no"])
    if path == "/api/v1/refunds":
        known["/api/v1/refunds/{refund_no} refund_no"].append(answer["order"]["order_no"])
    if path.endswith("/payments") and "payment_no" in answer:
        known["payment_no"].append(answer["payment_no"])
    if path == "/api/v1/collect/codes" and "code" in answer:
        known["/api/v1/collect/codes/{code_id}/disable code_id"].append(answer["code"]["id"])
    order, packet = answer.get("order"), answer.get("redpacket")
    if isinstance(order, dict):
        known["order_no"].append(order["order_no"])
    if isinstance(packet, dict):
        known["packet_id"].append(packet["id"])
    if answer.get("next_cursor"):
        known["cursor"].append(answer["next_cursor"])


def log_in(random: Random, case: Any, stage: Stage) -> None:
    """A good token nearly always; else one that schemathesis made up, a broken one, or none.

    Validator tokens come over the push channel alone: nearly always none is sent (settings.VALIDATOR lets that pass
    here), else a made-up one.
    """
    if random.random() < 0.95:
        case.headers.pop(TOKEN_HEADER, None)
        case.headers.pop(SEQUENCE_HEADER, None)
    if random.random() < 0.03:
        return
    case.headers.pop("Authorization", None)
    schemes = {name for one in case.operation.definition.raw.get("security", []) for name in one}
    if "signedRequest" in schemes and (len(schemes) == 1 or random.random() < 0.2):
        case.headers.pop(signing.SIGNATURE_HEADER, None)
        case.headers[SIGN_MARK] = "1"
        return
    if random.random() < 0.95:
        case.headers["Authorization"] = f"Bearer {random.choice([stage.token, stage.token, stage.colleague_token])}"
    elif random.random() < 0.8:
        case.headers["Authorization"] = random.choice(BROKEN_TOKENS)


def assert_as_documented(case: Any, response: Any) -> None:
    """Raises schemathesis' FailureGroup, or AssertionError for a 5xx that is no 503."""
    assert response.status_code < 500 or response.status_code == 503, (
        f"{response.status_code} {response.text[:400]}\n{case.as_curl_command()[:1500]}"
    )
    case.validate_response(
        response,
        checks=[
            conformance.status_code_conformance,
            conformance.content_type_conformance,
            conformance.response_headers_conformance,
            conformance.response_schema_conformance,
        ],
    )


def shares(operations: list[Any], total: int) -> list[tuple[Any, GenerationMode, int]]:
    """How many requests of which kind each operation gets: `total` in all, few where there is nothing to vary.

    Any text is a good path, so an operation with nothing else cannot be asked wrongly.
    """
    few = max(5, total // 500)
    fixed, found = 0, []
    for operation in operations:
        names = {one.name for one in operation.iter_parameters()} - {"Authorization", signing.SIGNATURE_HEADER}
        if not names and not operation.body:
            found.append((operation, GenerationMode.POSITIVE, few))
            fixed += few
            continue
        found.append((operation, GenerationMode.POSITIVE, 0))
        if operation.body or names - {one.name for one in operation.path_parameters}:
            found.append((operation, GenerationMode.NEGATIVE, 0))
    each = math.ceil((total - fixed) / sum(1 for *_, count in found if not count))
    return [(operation, mode, count or each) for operation, mode, count in found]


def fuzz(operation: Any, stage: Stage, *, mode: GenerationMode, count: int, seed: int, base_url: str = "") -> None:
    """`count` requests to one operation; every kind of failure is kept in the stage once."""
    random = Random(f"{seed} {operation.label} {mode}")
    session = SigningSession(stage.business)

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode), turn=st.integers(0, 2**62))
    def run(case: Any, turn: int) -> None:  # the turn makes also operations without parameters differ each time
        if mode is GenerationMode.POSITIVE:
            with_known_things(random, case, stage.known)
        log_in(random, case, stage)
        response = case.call(base_url=base_url or stage.url, session=session, timeout=30)
        stage.statuses[f"{operation.label} {response.status_code}"] += 1
        try:
            assert_as_documented(case, response)
        except (AssertionError, FailureGroup) as failure:
            kinds = failure.exceptions if isinstance(failure, FailureGroup) else [failure]
            name = ", ".join(sorted({type(kind).__name__ for kind in kinds}))
            stage.failures.setdefault(f"{operation.label} {response.status_code} {name}", str(failure)[:3000])
        else:
            if response.status_code < 300 and response.headers.get("Content-Type") == "application/json":
                learn(operation.path, response.json(), stage.known)

    run()


class SigningSession(requests.Session):
    """A caller's connection; signs what a business backend sends, byte by byte as it goes out."""

    def __init__(self, business: Registered) -> None:
        super().__init__()
        self.business = business
        self.trust_env = False

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        if request.headers.pop(SIGN_MARK, ""):
            body = request.body or b""
            message = signing.SignedMessage(
                method=request.method or "",
                target=request.path_url,
                timestamp=str(int(clock.now().timestamp())),
                nonce=secrets.token_hex(12),
                body=body.encode() if isinstance(body, str) else body,
            )
            signature = {
                signing.APP_HEADER: self.business.app.product_id,
                signing.TIMESTAMP_HEADER: message.timestamp,
                signing.NONCE_HEADER: message.nonce,
                signing.SIGNATURE_HEADER: signing.sign(secret=self.business.secret, message=message),
            }
            request.headers.update(signature)
        return super().send(request, **kwargs)


def load(stage: Stage) -> Any:
    load_all_checks()
    return schemathesis.openapi.from_url(f"{stage.url}/api/schema/", config=schemathesis.Config())


def test_every_answer_is_as_the_schema_says(stage: Stage, nightly: bool) -> None:
    seed = int(os.environ.get(SEED_VARIABLE) or secrets.randbits(48))
    print(f"{SEED_VARIABLE}={seed}")
    operations = [found.ok() for found in load(stage).get_all_operations()]
    operations.sort(key=lambda operation: operation.path.count("{"))  # first what makes orders, then what needs one
    wanted = REQUESTS_NIGHTLY if nightly else REQUESTS
    for operation, mode, count in shares(operations, wanted):
        fuzz(operation, stage, mode=mode, count=count, seed=seed)
        print(f"{stage.statuses.total():6} of {wanted}, {len(stage.failures)} failures: {operation.label}", flush=True)
    for line, times in sorted(stage.statuses.items()):
        print(f"{times:6} {line}")
    print(stage.statuses.total(), "requests")
    assert not stage.failures, "\n\n".join(stage.failures.values())
    assert stage.statuses.total() >= wanted
    reached = {line.rpartition(" ")[0] for line in stage.statuses if line.endswith(SUCCESSES)}
    never = {operation.label for operation in operations} - reached
    print("never succeeded:", sorted(never))
    assert len(reached) > len(operations) / 2, "most requests ended at the door"
    if nightly:  # a thousand requests give each operation some twenty good ones: one may miss all of them by chance
        assert {label for label in never if "/notify/" not in label} <= NEEDS_A_CODE, "its code was not reached"


class Breaking(BaseHTTPRequestHandler):
    """A server with a bug: 500 with the right shape."""

    def do_GET(self) -> None:
        body = b'{"error": {"code": "internal_error", "message": "x", "details": {}, "request_id": "x"}}'
        self.send_response(500)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base
        pass


@pytest.fixture
def broken_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Breaking)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_run_would_find_a_500_an_undocumented_status_and_a_wrong_body(stage: Stage, broken_url: str) -> None:
    """The control."""
    schema = load(stage)
    del schema.raw_schema["paths"]["/api/v1/redpackets/{packet_id}"]["get"]["responses"]["404"]
    schema.raw_schema["components"]["schemas"]["GroupListAnswer"]["properties"]["items"] = {"type": "string"}
    for path, url in (
        ("/api/v1/wallet", broken_url),
        ("/api/v1/groups", ""),
        ("/api/v1/redpackets/{packet_id}", ""),
    ):
        fuzz(schema[path]["GET"], stage, mode=GenerationMode.POSITIVE, count=3, seed=1, base_url=url)
    assert sorted(stage.failures) == [
        "GET /api/v1/groups 200 JsonSchemaError",
        "GET /api/v1/redpackets/{packet_id} 404 UndefinedStatusCode",
        "GET /api/v1/wallet 500 AssertionError",
    ]
