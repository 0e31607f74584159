"""A business backend as its owner would write it: docs/examples/business_client.py against our real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from typing import Any

import pytest

from foundation import clock
from funds.domain.entries import enterprise_account
from funds.selectors import get_wallet
from payments.models import CallbackDelivery
from payments.services import businesses, callbacks_out
from paysys.supervisor import free_port
from tests import worlds
from tests.books import assert_books_balance
from tests.flows.test_recharge import wait_for
from tests.system import ROOT, System

pytestmark = pytest.mark.usefixtures("committed_db")
AMOUNT_FEN = 1_250


@pytest.fixture
def world() -> worlds.World:
    return worlds.make_world(1)


def start_client(system: System, world: worlds.World, *, callbacks: int) -> subprocess.Popen[str]:
    port = free_port()
    made = businesses.register(
        product_id=f"shop-{uuid.uuid4().hex[:12]}",
        name="Shop",
        enterprise_id=world.enterprise.pk,
        callback_url=f"http://127.0.0.1:{port}/callbacks?from=pay",
        now=clock.now(),
    )
    options = {
        "--base-url": system.base_url,
        "--product-id": made.app.product_id,
        "--secret": made.secret,
        "--amount-fen": str(AMOUNT_FEN),
        "--subject": "Two coffees",
        "--listen-port": str(port),
        "--callbacks": str(callbacks),
    }
    script = str(ROOT / "docs" / "examples" / "business_client.py")
    command = [sys.executable, "-S", script, *[word for pair in options.items() for word in pair]]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def line(client: subprocess.Popen[str]) -> dict[str, Any]:
    assert client.stdout is not None
    text = client.stdout.readline()
    assert text, client.stderr.read() if client.stderr else ""
    found: dict[str, Any] = json.loads(text)
    return found


def enterprise_fen(world: worlds.World) -> int:
    return get_wallet(account=enterprise_account(world.enterprise.pk)).available_fen


def attempt(system: System, world: worlds.World, order_no: str, body: dict[str, str]) -> dict[str, Any]:
    token = worlds.token_of(world.employees[0])
    answer = system.api(token, "POST", f"orders/{order_no}/attempts", body, key=uuid.uuid4().hex)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_payment_by_scan_reaches_the_business_and_a_replay_is_the_same_event(
    system: System, world: worlds.World
) -> None:
    client = start_client(system, world, callbacks=2)
    try:
        order = line(client)["order"]
        assert (order["kind"], order["state"], order["amount_fen"]) == ("PAYMENT", "PENDING", AMOUNT_FEN)
        bought = attempt(system, world, order["order_no"], {"channel": "wechat", "scene": "native"})
        assert system.simulate("POST", "pay", {"payment": bought["payment"]}).status_code == 200
        first = line(client)
        assert first["repeated"] is False
        told = first["callback"]
        assert (told["order_no"], told["state"], told["amount_fen"]) == (order["order_no"], "SUCCESS", AMOUNT_FEN)
        assert (told["event_id"], told["sequence"]) == (f"paid:{order['order_no']}", 1)
        delivery = CallbackDelivery.objects.get(event_id=told["event_id"])
        wait_until_delivered(delivery)
        callbacks_out.replay(delivery_id=delivery.pk, reason="test", staff="tester", now=clock.now())
        assert line(client) == {"callback": told, "repeated": True}
        shown = line(client)["order"]
        assert (shown["order_no"], shown["state"]) == (order["order_no"], "SUCCESS")
        assert client.wait(10) == 0
    finally:
        client.kill()
        client.communicate()
    assert enterprise_fen(world) == AMOUNT_FEN
    assert worlds.wallet_of(world.employees[0]) == (0, 0)
    assert_books_balance()


def test_a_payment_from_the_wallet_reaches_the_business(system: System, world: worlds.World) -> None:
    worlds.give_money(world.employees[0], 2_000)
    client = start_client(system, world, callbacks=1)
    try:
        order = line(client)["order"]
        bought = attempt(system, world, order["order_no"], {"channel": "wallet"})
        assert (bought["order"]["state"], bought["payment"]) == ("SUCCESS", {"kind": "none"})
        told = line(client)["callback"]
        assert (told["order_no"], told["state"], told["sequence"]) == (order["order_no"], "SUCCESS", 1)
        assert line(client)["order"]["state"] == "SUCCESS"
        assert client.wait(10) == 0
    finally:
        client.kill()
        client.communicate()
    assert enterprise_fen(world) == AMOUNT_FEN
    assert worlds.wallet_of(world.employees[0]) == (750, 0)
    assert_books_balance()


def wait_until_delivered(delivery: CallbackDelivery) -> None:
    """The receiver prints before the worker has written down that it was accepted."""

    def is_delivered() -> bool:
        delivery.refresh_from_db()
        return delivery.state == CallbackDelivery.State.DELIVERED

    wait_for(is_delivered, "the worker noted the acceptance")
