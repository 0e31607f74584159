"""The API against its own OpenAPI schema: requests generated from it, by schemathesis, on the real application.

No 5xx but a documented 503; every status, content type, header and body as the schema says. Half of the requests fit
the schema, half break it. Requests that fit get known things put in (own orders, packets, colleagues, the right
password), or nearly all would end at "not found". The seed is printed; PAYSYS_API_FUZZ_SEED repeats it.
"""

from __future__ import annotations

import math
import os
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from random import Random
from typing import Any

import hypothesis
import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.test import override_settings
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks as conformance

from foundation import clock, ids
from payments.domain import signing
from payments.services import businesses
from payments.services.businesses import Registered
from tests import worlds
from tests.contract.gateway.alipay_provider import AlipayProvider
from tests.contract.gateway.kuaiqian_provider import REDIRECT_URL, Bill99
from tests.contract.gateway.provider import Provider, Reply
from tests.worlds import PASSWORD, World

SEED_VARIABLE = "PAYSYS_API_FUZZ_SEED"
REQUESTS, REQUESTS_NIGHTLY = 1_000, 20_000
START_FEN = 10_000_000
SIGN_MARK = "X-Fuzz-Sign"
BROKEN_TOKENS = ["Bearer x", "Bearer ", "bearer " + "a" * 200, "Basic eDp5", "", "Bearer\u00a0x"]


@dataclass
class Stage:
    """Who calls, and what he may know. `known`: values by the name of the parameter or field they are good for."""

    world: World
    token: str
    colleague_token: str
    business: Registered
    known: dict[str, list[Any]]
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


@pytest.fixture
def channels(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """WeChat answers; the other two sign pages for the payer's browser, and whatever they must ask for is away."""
    away = "http://127.0.0.1:1"
    alipay = AlipayProvider.create(tmp_path_factory.mktemp("api-alipay"))
    bill99 = Bill99.create(tmp_path_factory.mktemp("api-bill99"))
    times = {"connect_timeout_seconds": 2.0, "read_timeout_seconds": 2.0}
    with override_settings(
        WECHAT={"base_url": provider.url, "credentials_file": str(provider.credentials_file), **times},
        ALIPAY={"gateway_url": away, "credentials_file": str(alipay.credentials_file), "timeout_seconds": 2.0},
        KUAIQIAN={
            "base_url": away,
            "card_base_url": away,
            "credentials_file": bill99.credentials_file(),
            "redirect_url": REDIRECT_URL,
            **times,
        },
    ):
        yield


@pytest.fixture
def stage(committed_db: None) -> Stage:
    world = worlds.make_world(3)
    own, colleague, _ = world.employees
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
    }
    return Stage(
        world=world,
        token=worlds.token_of(own),
        colleague_token=worlds.token_of(colleague),
        business=business,
        known=known,
    )


def with_known_things(random: Random, case: Any, known: dict[str, list[Any]]) -> None:
    """Puts what the caller may know into a request that fits the schema."""
    body = case.body if isinstance(case.body, dict) else {}
    for container in (case.path_parameters or {}, case.query or {}, body):
        for name in list(container):
            if known.get(name) and random.random() < 0.85:
                container[name] = random.choice(known[name][-40:])
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


def learn(answer: Any, known: dict[str, list[Any]]) -> None:
    """Numbers and cursors of an answer, for the requests that follow."""
    if not isinstance(answer, dict):
        return
    order, packet = answer.get("order"), answer.get("redpacket")
    if isinstance(order, dict):
        known["order_no"].append(order["order_no"])
    if isinstance(packet, dict):
        known["packet_id"].append(packet["id"])
    if answer.get("next_cursor"):
        known["cursor"].append(answer["next_cursor"])


def log_in(random: Random, case: Any, stage: Stage) -> None:
    """A good token nearly always; else one that schemathesis made up, a broken one, or none."""
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


def fuzz(operation: Any, stage: Stage, *, mode: GenerationMode, count: int, seed: int) -> None:
    """`count` requests to one operation; every kind of failure is kept in the stage once."""
    random = Random(f"{seed} {operation.label} {mode}")

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
        response = case.call()
        stage.statuses[f"{operation.label} {response.status_code}"] += 1
        try:
            assert_as_documented(case, response)
        except (AssertionError, FailureGroup) as failure:
            kinds = failure.exceptions if isinstance(failure, FailureGroup) else [failure]
            name = ", ".join(sorted({type(kind).__name__ for kind in kinds}))
            stage.failures.setdefault(f"{operation.label} {response.status_code} {name}", str(failure)[:3000])
        else:
            if response.status_code < 300:
                learn(response.json(), stage.known)

    run()


class SigningApp:
    """The application behind a business backend that signs what it sends, byte by byte as it goes out."""

    def __init__(self, business: Registered) -> None:
        self.business = business
        self.application = get_wsgi_application()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ.pop("HTTP_X_FUZZ_SIGN", ""):
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = BytesIO(body)
            message = signing.SignedMessage(
                method=environ["REQUEST_METHOD"],
                target=WSGIRequest(environ).get_full_path(),
                timestamp=str(int(clock.now().timestamp())),
                nonce=secrets.token_hex(12),
                body=body,
            )
            environ["HTTP_X_PAY_APP"] = self.business.app.product_id
            environ["HTTP_X_PAY_TIMESTAMP"] = message.timestamp
            environ["HTTP_X_PAY_NONCE"] = message.nonce
            environ["HTTP_X_PAY_SIGNATURE"] = signing.sign(secret=self.business.secret, message=message)
        return self.application(environ, start_response)


def as_a_server_would(app: Any) -> Any:
    """The in-process transport leaves letters beyond latin-1 in PATH_INFO; a server hands over bytes (PEP 3333)."""

    def handed_over(environ: dict[str, Any], start_response: Any) -> Any:
        path = environ.get("PATH_INFO", "")
        if any(ord(letter) > 255 for letter in path):
            environ["PATH_INFO"] = path.encode("utf-8", "surrogatepass").decode("latin-1")
        return app(environ, start_response)

    return handed_over


def load(stage: Stage) -> Any:
    load_all_checks()
    app = SigningApp(stage.business)
    return schemathesis.openapi.from_wsgi("/api/schema/", as_a_server_would(app), config=schemathesis.Config())


@pytest.mark.usefixtures("channels")
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
    reached = {line.rpartition(" ")[0] for line in stage.statuses if line.endswith((" 200", " 201"))}
    assert {operation.label for operation in operations} - reached == set(), "never succeeded: its code was not reached"


def test_the_run_would_find_a_500_an_undocumented_status_and_a_wrong_body(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    schema = load(stage)
    del schema.raw_schema["paths"]["/api/v1/redpackets/{packet_id}"]["get"]["responses"]["404"]
    schema.raw_schema["components"]["schemas"]["GroupListAnswer"]["properties"]["items"] = {"type": "string"}

    def breaks(**kwargs: Any) -> None:
        raise KeyError("odd")

    monkeypatch.setattr("funds.api.views.selectors.get_wallet", breaks)
    for path in ("/api/v1/wallet", "/api/v1/groups", "/api/v1/redpackets/{packet_id}"):
        fuzz(schema[path]["GET"], stage, mode=GenerationMode.POSITIVE, count=3, seed=1)
    assert sorted(stage.failures) == [
        "GET /api/v1/groups 200 JsonSchemaError",
        "GET /api/v1/redpackets/{packet_id} 404 UndefinedStatusCode",
        "GET /api/v1/wallet 500 AssertionError",
    ]
