"""Callbacks to business backends: made once by the events, sent signed, retried for a day, paused, replayed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import Client

from foundation import clock
from foundation.errors import InvalidRequest
from foundation.models import Alert
from foundation.outbox import Event
from orders import selectors as orders
from orders.domain.states import OrderKind
from payments import callbacks, tasks
from payments.domain import signing
from payments.domain.people import Person
from payments.jobs import PurgeCallbacks, SendCallbacks
from payments.models import LONG_AGO, BusinessApp, CallbackDelivery, CallbackTry
from payments.services import business_payments, businesses, callback_sending, callbacks_out, closing
from payments.services.callbacks_out import NotReplayable
from tests import worlds
from tests.integration.payments.business import Receiver, Shop, open_shop, receiving

pytestmark = pytest.mark.usefixtures("committed_db")
State = CallbackDelivery.State


@pytest.fixture
def world() -> worlds.World:
    return worlds.make_world(1)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture
def shop(world: worlds.World, receiver: Receiver) -> Iterator[Shop]:
    BusinessApp.objects.update(is_active=False)  # what other tests left must not be sent to
    yield open_shop(world.enterprise.pk, f"{receiver.url}/cb?from=pay")
    BusinessApp.objects.update(is_active=False)


def ask(shop: Shop) -> str:
    body = {"business_order_no": f"B-{uuid.uuid4().hex}", "amount_fen": 1_250, "subject": "咖啡"}
    return str(shop.post(body, key=uuid.uuid4().hex).json()["order"]["order_no"])


def paid(shop: Shop) -> CallbackDelivery:
    """A queued callback."""
    made = callbacks_out.note_paid(order_no=ask(shop), now=clock.now())
    assert made is not None
    return made


def send(at: dt.datetime | None = None) -> int:
    return callbacks_out.send_due(now=lambda: at or clock.now())


def reload(delivery: CallbackDelivery) -> CallbackDelivery:
    delivery.refresh_from_db()
    return delivery


def log(delivery: CallbackDelivery) -> list[tuple[int | None, str]]:
    return list(CallbackTry.objects.filter(delivery=delivery).order_by("id").values_list("http_status", "note"))


def event(topic: str, payload: dict[str, Any]) -> Event:
    return Event(alias="default", topic=topic, key="k", payload=payload, created_at=clock.now(), tries=1)


# --- What is told ---------------------------------------------------------------------------------------------------


def test_a_paid_order_is_told_once_with_everything(shop: Shop, receiver: Receiver, world: worlds.World) -> None:
    worlds.give_money(world.employees[0], 2_000)
    order_no = ask(shop)
    payer = Person(employee_id=world.employees[0].pk, enterprise_id=world.enterprise.pk)
    business_payments.pay_from_wallet(order_no=order_no, payer=payer, now=clock.now())
    told = event("payments.order_paid", {"order_no": order_no, "kind": "PAYMENT"})
    with clock.frozen(worlds.NOW):
        callbacks.tell_paid(told)
    callbacks.tell_paid(told)
    assert send() == 1
    assert receiver.events() == [
        {
            "event_id": f"paid:{order_no}",
            "sequence": 1,
            "product_id": shop.app.product_id,
            "business_order_no": orders.get_order(order_no=order_no).business_no,
            "order_no": order_no,
            "refund_no": None,
            "amount_fen": 1_250,
            "state": "SUCCESS",
            "request_time": "2026-11-22T10:00:00+08:00",
        }
    ]
    assert send() == 0


def test_other_orders_are_told_to_nobody(world: worlds.World) -> None:
    order_no = worlds.give_money(world.employees[0], 100)
    assert callbacks_out.note_paid(order_no=order_no, now=clock.now()) is None
    callbacks.tell_paid(event("payments.order_paid", {"order_no": order_no, "kind": OrderKind.RECHARGE.value}))
    assert not CallbackDelivery.objects.filter(order_no=order_no).exists()


def test_a_closed_order_is_told(shop: Shop, receiver: Receiver) -> None:
    order_no = ask(shop)
    assert closing.end_unpaid(order_no=order_no, reason="closed", now=clock.now())
    callbacks.tell_closed(event("payments.order_closed", {"order_no": order_no, "kind": "PAYMENT"}))
    assert send() == 1
    assert [(row["event_id"], row["state"]) for row in receiver.events()] == [(f"closed:{order_no}", "CLOSED")]


def test_refunds_are_told_with_their_own_amount_and_counted(
    shop: Shop, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_no = ask(shop)
    original = orders.get_order(order_no=order_no)
    callbacks_out.note_paid(order_no=order_no, now=clock.now())
    for number, state, kind in (
        ("RF1", "SUCCESS", OrderKind.REDPACKET_REFUND),
        ("RF2", "FAILED", OrderKind.REDPACKET_REFUND),
        ("RT1", "SUCCESS", OrderKind.RETURN),
    ):
        refund = dataclasses.replace(
            original, order_no=f"{number}{order_no[3:]}", amount_fen=200, kind=kind, original_order_no=order_no
        )
        monkeypatch.setattr(callbacks_out.orders, "get_order", lambda order_no, found=refund: found)
        callbacks.tell_refunded(event("payments.refund_finished", {"refund_no": refund.order_no, "state": state}))
    assert send() == 3
    assert sorted((row["sequence"], row["state"], row["amount_fen"]) for row in receiver.events()) == [
        (1, "SUCCESS", 1_250),
        (2, "REFUNDED", 200),
        (3, "REFUND_FAILED", 200),
    ]


def test_events_at_the_same_moment_make_one_callback(shop: Shop) -> None:
    order_no = ask(shop)
    gate = threading.Barrier(4)

    def work(_: int) -> CallbackDelivery | None:
        gate.wait()
        try:
            return callbacks_out.note_paid(order_no=order_no, now=clock.now())
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert len({made.pk for made in pool.map(work, range(4)) if made is not None}) == 1
    assert list(CallbackDelivery.objects.filter(order_no=order_no).values_list("sequence", flat=True)) == [1]


# --- How it is sent -------------------------------------------------------------------------------------------------


def test_a_callback_is_signed_like_a_request(shop: Shop, receiver: Receiver) -> None:
    delivery = paid(shop)
    assert send() == 1
    headers, body = receiver.headers[0], receiver.bodies[0]
    message = signing.SignedMessage(
        method="POST",
        target="/cb?from=pay",
        timestamp=headers["X-Pay-Timestamp"],
        nonce=headers["X-Pay-Nonce"],
        body=body,
    )
    assert headers["path"] == "/cb?from=pay"
    assert headers["X-Pay-App"] == shop.app.product_id
    assert headers["X-Pay-Signature"] == signing.sign(secret=shop.secret, message=message)
    assert signing.is_fresh(timestamp=message.timestamp, nonce=message.nonce, now=clock.now())
    assert (reload(delivery).state, delivery.tries, log(delivery)) == (State.DELIVERED, 1, [(204, "")])


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 500, 503])
def test_anything_but_2xx_is_sent_again_byte_for_byte(shop: Shop, receiver: Receiver, status: int) -> None:
    receiver.statuses, receiver.location = [status], f"{receiver.url}/elsewhere"
    delivery = paid(shop)
    now = clock.now()
    assert send(now) == 0
    waits = (reload(delivery).next_at - now).total_seconds()
    assert (delivery.state, delivery.tries) == (State.WAITING, 1)
    assert 15 <= waits <= 18
    assert send(now + dt.timedelta(seconds=14)) == 0
    assert len(receiver.bodies) == 1
    assert send(now + dt.timedelta(seconds=19)) == 1
    assert receiver.bodies[0] == receiver.bodies[1]
    assert receiver.headers[0]["X-Pay-Nonce"] != receiver.headers[1]["X-Pay-Nonce"]
    assert [row["path"] for row in receiver.headers] == ["/cb?from=pay"] * 2
    assert log(delivery) == [(status, ""), (204, "")]


def test_a_receiver_that_is_down_is_retried_for_a_day_and_then_dead(shop: Shop, receiver: Receiver) -> None:
    receiver.statuses = [500] * 100
    delivery = paid(shop)
    start, moments = delivery.created_at, []
    while reload(delivery).state == State.WAITING:
        app = BusinessApp.objects.get(pk=shop.app.pk)
        moment = max(delivery.next_at, app.paused_until)
        moments.append(moment)
        send(moment)
    assert moments[-2] < start + dt.timedelta(hours=24) <= moments[-1]
    assert len(moments) == delivery.tries == len(receiver.bodies)
    assert 28 <= len(moments) <= 34
    assert len({json.dumps(row) for row in receiver.events()}) == 1
    alert = Alert.objects.get(code="callback_dead", subject=delivery.event_id)
    assert (alert.times, alert.context["tries"]) == (1, delivery.tries)
    assert send(moments[-1] + dt.timedelta(days=2)) == 0


def test_the_breaker_leaves_a_failing_receiver_alone_and_lets_one_probe(shop: Shop, receiver: Receiver) -> None:
    receiver.statuses = [500] * 6
    waiting = [paid(shop) for _ in range(8)]
    now = clock.now()
    assert send(now) == 0
    assert len(receiver.bodies) == 5
    app = BusinessApp.objects.get(pk=shop.app.pk)
    assert (app.failures_in_row, app.paused_until) == (5, now + dt.timedelta(seconds=30))
    assert not callbacks_out.is_due(now=now + dt.timedelta(seconds=29))
    probe = now + dt.timedelta(seconds=30)
    assert callbacks_out.is_due(now=probe)
    assert send(probe) == 0
    assert len(receiver.bodies) == 6
    assert send(probe + dt.timedelta(seconds=61)) == 8
    assert BusinessApp.objects.get(pk=shop.app.pk).failures_in_row == 0
    assert {reload(row).state for row in waiting} == {State.DELIVERED}


def test_a_failing_receiver_holds_up_no_other(shop: Shop, receiver: Receiver, world: worlds.World) -> None:
    broken = open_shop(world.enterprise.pk, "http://127.0.0.1:9/cb")
    lost, found = paid(broken), paid(shop)
    assert send() == 1
    assert (reload(lost).state, reload(found).state) == (State.WAITING, State.DELIVERED)
    assert log(lost) == [(None, "ConnectionRefusedError")]


def test_one_worker_at_a_time_serves_a_receiver(shop: Shop, receiver: Receiver) -> None:
    paid(shop)
    now = clock.now()
    BusinessApp.objects.filter(pk=shop.app.pk).update(leased_until=now + dt.timedelta(seconds=40))
    assert not callbacks_out.is_due(now=now)
    assert send(now) == 0
    assert receiver.bodies == []
    assert send(now + dt.timedelta(seconds=41)) == 1


def test_callbacks_of_a_switched_off_app_wait(shop: Shop, receiver: Receiver) -> None:
    paid(shop)
    BusinessApp.objects.filter(pk=shop.app.pk).update(is_active=False)
    assert send() == 0
    assert receiver.bodies == []
    BusinessApp.objects.filter(pk=shop.app.pk).update(is_active=True)
    assert send() == 1


def test_a_secret_that_cannot_be_opened_stops_only_its_own(shop: Shop, world: worlds.World) -> None:
    broken = open_shop(world.enterprise.pk, shop.app.callback_url)
    lost, found = paid(broken), paid(shop)
    BusinessApp.objects.filter(pk=broken.app.pk).update(secret="v1:dev:AAAA")
    assert send() == 1
    assert reload(found).state == State.DELIVERED
    assert log(lost) == [(None, "cannot_decrypt")]


def test_the_task_sends_and_the_bell_knows_when(shop: Shop, receiver: Receiver) -> None:
    assert not tasks.is_due()
    paid(shop)
    assert tasks.is_due()
    assert tasks.send_callbacks() == 1
    assert not tasks.is_due()


def test_the_timed_job_sends_what_no_bell_rang_for(shop: Shop, receiver: Receiver) -> None:
    waiting = paid(shop)
    later = callbacks_out.note_closed(order_no=ask(shop), now=clock.now() + dt.timedelta(hours=1))
    assert later is not None
    assert SendCallbacks().run(now=clock.now()) == {"accepted": 1}
    assert [reload(waiting).state, reload(later).state] == [State.DELIVERED, State.WAITING]
    assert len(receiver.bodies) == 1
    assert SendCallbacks().run(now=clock.now()) == {"accepted": 0}


def test_old_tries_of_ended_callbacks_go_and_replays_stay(shop: Shop, receiver: Receiver) -> None:
    receiver.statuses = [500]
    delivery = paid(shop)
    send()
    send(delivery.next_at + dt.timedelta(hours=1))
    callbacks_out.replay(delivery_id=delivery.pk, reason="they lost it", staff="ann", now=clock.now())
    waiting = log(delivery)
    assert [status for status, _ in waiting] == [500, 204, None]
    old = clock.now() - dt.timedelta(days=91)
    CallbackTry.objects.filter(delivery=delivery).update(happened_at=old)
    PurgeCallbacks().run(now=clock.now())
    assert log(delivery) == waiting, "still being sent"
    BusinessApp.objects.update(leased_until=LONG_AGO)  # it was let go of in the hour that was jumped over
    assert send() == 1
    PurgeCallbacks().run(now=clock.now() - dt.timedelta(days=2))
    assert len(log(delivery)) == 4
    PurgeCallbacks().run(now=clock.now())
    assert log(delivery) == [(None, "replayed by ann: they lost it"), (204, "")]
    assert reload(delivery).state == State.DELIVERED


# --- Where it is not sent -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.2:{port}/",
        "http://localhost.localdomain.:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://0.0.0.0:{port}/",
        "http://0:{port}/",
        "http://0177.0.0.2:{port}/",
        "http://2130706434:{port}/",
        "http://0x7f000002:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1:{port}/",
        "http://a..b:{port}/",
    ],
)
def test_addresses_inside_are_never_called(receiver: Receiver, url: str) -> None:
    port = receiver.url.rpartition(":")[2]
    answer = callback_sending.send(url=url.format(port=port), product_id="p", secret="s", body=b"{}")
    assert answer.status == 0
    assert receiver.bodies == []


def test_a_name_is_resolved_once_and_every_address_judged(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    port = int(receiver.url.rpartition(":")[2])
    asked: list[str] = []

    def resolve(*answers: str) -> None:
        def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answer, port)) for answer in answers]

        monkeypatch.setattr(callback_sending.socket, "getaddrinfo", getaddrinfo)

    resolve("127.0.0.1", "10.0.0.1")
    url = f"http://shop.example:{port}/cb"
    answer = callback_sending.send(url=url, product_id="p", secret="s", body=b"{}")
    assert (answer.status, receiver.bodies) == (0, [])
    assert answer.note.startswith("refused address")
    monkeypatch.setattr(
        callback_sending.socket, "create_connection", lambda address, timeout: connect(address, timeout)
    )
    connected: list[Any] = []

    def connect(address: Any, timeout: float) -> socket.socket:
        connected.append(address)
        line = socket.socket()
        line.settimeout(timeout)
        line.connect(address)
        return line

    resolve("127.0.0.1")
    asked.clear()
    answer = callback_sending.send(url=url, product_id="p", secret="s", body=b"{}")
    assert (answer.status, asked, connected) == (204, ["shop.example"], [("127.0.0.1", port)])
    assert receiver.headers[0]["Host"] == f"shop.example:{port}"


def test_a_long_answer_is_not_read_to_its_end(receiver: Receiver) -> None:
    receiver.padding = 5_000_000
    answer = callback_sending.send(url=receiver.url, product_id="p", secret="s", body=b"{}")
    assert (answer.status, answer.note) == (204, "") or (answer.status, len(answer.note)) == (204, 200)


def test_an_answer_that_drips_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback_sending, "TOTAL_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def drip() -> None:
            line, _ = server.accept()
            with line:
                try:
                    line.sendall(b"HTTP/1.1 200 OK\r\n")
                    while not stop.wait(0.05):
                        line.sendall(b"X")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        started = time.monotonic()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        answer = callback_sending.send(url=url, product_id="p", secret="s", body=b"{}")
        took = time.monotonic() - started
        stop.set()
        thread.join()
    assert (answer.status, answer.note) == (0, "TimeoutError")
    assert took < 2.0


def test_tls_is_verified(receiver: Receiver) -> None:
    url = receiver.url.replace("http://", "https://")
    answer = callback_sending.send(url=url, product_id="p", secret="s", body=b"{}")
    assert (answer.status, receiver.bodies) == (0, [])
    assert "SSL" in answer.note


# --- Replay and the admin -------------------------------------------------------------------------------------------


def test_a_replay_sends_the_same_event_again_and_says_why(shop: Shop, receiver: Receiver) -> None:
    delivery = paid(shop)
    with pytest.raises(NotReplayable):
        callbacks_out.replay(delivery_id=delivery.pk, reason="why", staff="olga", now=clock.now())
    assert send() == 1
    for reason in ("", "  ", "x" * 201):
        with pytest.raises(InvalidRequest):
            callbacks_out.replay(delivery_id=delivery.pk, reason=reason, staff="olga", now=clock.now())
    assert send() == 0
    callbacks_out.replay(delivery_id=delivery.pk, reason="lost at the shop", staff="olga", now=clock.now())
    assert send() == 1
    assert receiver.bodies[0] == receiver.bodies[1]
    assert log(delivery) == [(204, ""), (None, "replayed by olga: lost at the shop"), (204, "")]


@pytest.fixture
def staff() -> Client:
    user = User.objects.create_superuser(username=f"s{uuid.uuid4().hex[:10]}", password=worlds.PASSWORD)
    client = Client()
    client.force_login(user)
    return client


def test_staff_replays_after_giving_a_reason(shop: Shop, receiver: Receiver, staff: Client) -> None:
    delivery = paid(shop)
    send()
    page = "/admin/payments/callbackdelivery/"
    chosen = {"action": "replay", "_selected_action": [delivery.pk]}
    asked = staff.post(page, chosen)
    assert b'name="reason"' in asked.content
    assert reload(delivery).state == State.DELIVERED
    assert staff.post(page, {**chosen, "reason": "asked by phone"}).status_code == 302
    assert reload(delivery).state == State.WAITING
    shown = staff.get(f"{page}{delivery.pk}/change/").content.decode()
    assert "asked by phone" in shown


def test_who_may_only_look_cannot_replay(shop: Shop) -> None:
    user = User.objects.create_user(username=f"v{uuid.uuid4().hex[:10]}", password=worlds.PASSWORD, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client = Client()
    client.force_login(user)
    delivery = paid(shop)
    send()
    chosen = {"action": "replay", "_selected_action": [delivery.pk], "reason": "because"}
    client.post("/admin/payments/callbackdelivery/", chosen)
    assert reload(delivery).state == State.DELIVERED
    assert client.get("/admin/payments/callbackdelivery/").status_code == 200
    assert client.post(f"/admin/payments/businessapp/{shop.app.pk}/rotate/").status_code == 403


def test_staff_registers_a_business_and_sees_its_secret_once(staff: Client, world: worlds.World) -> None:
    product_id = f"p{uuid.uuid4().hex[:10]}"
    form = {
        "product_id": product_id,
        "name": "New shop",
        "enterprise": world.enterprise.pk,
        "callback_url": "http://127.0.0.1:9/cb",
    }
    refused = staff.post("/admin/payments/businessapp/add/", {**form, "callback_url": "ftp://x/"})
    assert refused.status_code == 200
    assert not BusinessApp.objects.filter(pk=product_id).exists()
    made = staff.post("/admin/payments/businessapp/add/", form)
    app = BusinessApp.objects.get(pk=product_id)
    secret = businesses.current_secret(app)
    assert made.status_code == 200
    assert "no-store" in made.headers["Cache-Control"]
    assert secret in made.content.decode()
    shown = staff.get(f"/admin/payments/businessapp/{product_id}/change/").content.decode()
    assert secret not in shown
    assert app.secret not in shown
    assert hashlib.sha256(secret.encode()).hexdigest() not in shown


def test_staff_rotates_and_switches_off(staff: Client, shop: Shop) -> None:
    page = f"/admin/payments/businessapp/{shop.app.pk}"
    assert staff.get(f"{page}/rotate/").status_code == 405
    rotated = staff.post(f"{page}/rotate/")
    app = BusinessApp.objects.get(pk=shop.app.pk)
    secrets = businesses.valid_secrets(app, now=clock.now())
    assert secrets[0] in rotated.content.decode()
    assert secrets[1:] == [shop.secret]
    staff.post(f"{page}/rotate/", {"stolen": "1"})
    app = BusinessApp.objects.get(pk=shop.app.pk)
    assert businesses.valid_secrets(app, now=clock.now()) == [businesses.current_secret(app)]
    form = {"name": "Renamed", "callback_url": shop.app.callback_url}
    assert staff.post(f"{page}/change/", form).status_code == 302
    app = BusinessApp.objects.get(pk=shop.app.pk)
    assert (app.name, app.is_active) == ("Renamed", False)


def test_workers_at_the_same_moment_send_each_callback_once(shop: Shop, receiver: Receiver) -> None:
    wanted = {paid(shop).event_id for _ in range(6)}
    gate = threading.Barrier(4)

    def work(_: int) -> int:
        gate.wait()
        try:
            return send()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) == 6
    sent = [row["event_id"] for row in receiver.events()]
    assert len(sent) == 6
    assert set(sent) == wanted
