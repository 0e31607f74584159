"""The priority queue on the real RabbitMQ and on Redis, and who is rung for when."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator

import pytest
from celery import Celery
from django.conf import settings
from kombu import Exchange, Queue

from foundation import clock
from gateway import selectors
from gateway.domain.routing import ClientClass
from gateway.models import ClientGrade
from gateway.ports import CODE_NOT_FOUND, Outcome, Result
from gateway.services import calls
from identity.models import Employee
from orders import selectors as orders
from orders.domain.records import NewOrder
from orders.domain.states import AttemptState, OrderKind
from orders.services import numbers, opening
from payments import tasks
from payments.domain.priorities import AGE_STEP, HIGHEST, priority_of
from payments.jobs import RingChecks
from payments.services import priorities
from paysys import programs
from tests import worlds

AT_ONCE = dt.timedelta(0)
VIP = {"client_class": ClientClass.VIP, "is_wallet_funded": True}
ORDINARY = {"client_class": ClientClass.ORDINARY, "is_wallet_funded": False}


class Waiting:
    """The queue as a worker with nothing prefetched sees it."""

    def __init__(self, app: Celery, queue: Queue) -> None:
        self.connection = app.connection_for_read()
        self.queue = queue(self.connection.default_channel)
        self.queue.declare()

    def take(self) -> str:
        """Number in the message that goes first."""
        message = self.queue.get(no_ack=True)
        assert message is not None, "the queue is empty"
        return str(message.payload[0][0])

    def close(self) -> None:
        self.queue.delete()
        self.connection.release()


@pytest.fixture(params=["rabbitmq", "redis"])
def waiting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Waiting]:
    """A queue of our own, declared exactly as the settings declare `provider`."""
    name = f"provider-{uuid.uuid4().hex}"
    broker = settings.CELERY_BROKER_URL if request.param == "rabbitmq" else settings.REDIS_URL
    (declared,) = (queue for queue in settings.CELERY_TASK_QUEUES if queue.name == priorities.QUEUE)
    arguments = declared.queue_arguments if request.param == "rabbitmq" else None
    queue = Queue(name, Exchange(name), name, queue_arguments=arguments)
    monkeypatch.delenv("CELERY_BROKER_URL", raising=False)  # Celery would prefer it to what it is told
    with Celery("priorities", broker=broker, set_as_current=False) as app:
        app.conf.task_queues = [queue]
        assert app.connection_for_write().transport.driver_type == ("amqp" if request.param == "rabbitmq" else "redis")
        monkeypatch.setattr(priorities, "current_app", app)
        monkeypatch.setattr(priorities, "QUEUE", name)
        made = Waiting(app, queue)
        yield made
        made.close()


def send(number: str, who: dict[str, object], waited: dt.timedelta = AT_ONCE) -> None:
    priorities.send(task=priorities.TASK, number=number, priority=priority_of(**who, waited=waited))


def test_who_counts_more_goes_first_and_equals_keep_their_order(waiting: Waiting) -> None:
    for number in ("ordinary-1", "ordinary-2"):
        send(number, ORDINARY)
    for number in ("vip-1", "vip-2"):
        send(number, VIP)
    assert [waiting.take() for _ in range(4)] == ["vip-1", "vip-2", "ordinary-1", "ordinary-2"]


def served_in_round(waiting: Waiting, *, age: dt.timedelta, rounds: int = 12) -> int:
    """When the one ordinary row is served while twice as many VIPs come as are served; 0 for never.

    A round is RING_AGAIN: whoever still waits is rung again, longest due first, with what its wait makes of its
    priority; the round's earlier bells have expired, and workers drop those unserved. They serve four rows.
    """
    done: set[str] = set()
    rows = {"ordinary": (ORDINARY, 0)}
    for turn in range(rounds):
        rows |= {f"vip-{turn}-{one}": (VIP, turn) for one in range(8)}
        for number, (who, since) in rows.items():
            if number not in done:
                send(f"{number}@{turn}", who, age * (turn - since))
        served: list[str] = []
        while len(served) < 4:
            number, _, rung = waiting.take().partition("@")
            if int(rung) == turn:
                served.append(number)
        done |= set(served)
        if "ordinary" in done:
            return turn + 1
    return 0


def test_waiting_raises_a_row_so_that_none_starves_under_twice_the_load(waiting: Waiting) -> None:
    steps_to_the_top = HIGHEST - priority_of(**ORDINARY, waited=AT_ONCE)
    assert served_in_round(waiting, age=AGE_STEP) in range(3, steps_to_the_top + 2)


def test_without_ageing_it_would_starve(waiting: Waiting) -> None:
    """The control: the queue is strict, so the test above can fail."""
    assert served_in_round(waiting, age=AT_ONCE) == 0


# --- Rows that are due ----------------------------------------------------------------------------------------------


def undecided(employee: Employee, *, due: dt.datetime) -> str:
    """An attempt whose check comes at `due`."""
    order_no = numbers.issue(prefix=numbers.Prefix.RECHARGE, account_id=employee.pk)
    new = NewOrder(
        order_no=order_no,
        kind=OrderKind.RECHARGE,
        amount_fen=100,
        employee_id=employee.pk,
        enterprise_id=employee.enterprise_id,
        subject="x",
    )
    opening.open_order(new=new, now=clock.now())
    attempt_no = numbers.issue_attempt(order_no=order_no)
    opening.open_attempt(
        order_no=order_no,
        attempt_no=attempt_no,
        channel="wechat",
        scene="native",
        amount_fen=100,
        now=clock.now(),
        next_check_at=due,
    )
    return attempt_no


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    seen: list[tuple[str, int]] = []
    monkeypatch.setattr(priorities, "send", lambda *, task, number, priority: seen.append((number, priority)))
    return seen


@pytest.mark.django_db(databases="__all__")
def test_due_rows_are_rung_once_by_class_and_wait(sent: list[tuple[str, int]]) -> None:
    now = clock.now()
    plain, vip = worlds.make_world(1).employees[0], worlds.make_world(1).employees[0]
    ClientGrade.objects.create(enterprise_id=vip.enterprise_id, client_class="VIP")
    selectors.forget()
    fresh, old = undecided(plain, due=now), undecided(plain, due=now - dt.timedelta(seconds=45))
    first, later = undecided(vip, due=now), undecided(vip, due=now + dt.timedelta(seconds=1))
    RingChecks().run(now=now)
    mine = {fresh, old, first, later}
    assert [one for one in sent if one[0] in mine] == [(first, 6), (old, 4), (fresh, 1)]
    sent.clear()
    RingChecks().run(now=now)
    assert [one for one in sent if one[0] in mine] == []
    selectors.forget()


@pytest.mark.django_db(databases="__all__")
def test_a_bell_asks_once_and_a_stale_one_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def query(*, channel: str, attempt_no: str) -> Result:
        asked.append(attempt_no)
        return Result(outcome=Outcome.UNKNOWN, code=CODE_NOT_FOUND)

    monkeypatch.setattr(calls, "query", query)
    attempt_no = undecided(worlds.make_world(1).employees[0], due=clock.now())
    assert tasks.check_attempt(attempt_no) is True
    assert tasks.check_attempt(attempt_no) is False
    assert asked == [attempt_no]
    row = orders.get_attempt(attempt_no=attempt_no)
    assert (row.state, row.tries, row.next_check_at is not None) == (AttemptState.CREATED, 1, True)


def test_a_worker_listens_to_every_queue_that_anything_is_sent_to() -> None:
    command = programs.worker()
    listens = set(command[command.index("--queues") + 1].split(","))
    sent = {priorities.QUEUE, settings.CELERY_TASK_DEFAULT_QUEUE, "settle", "callbacks", "reconciliation"}
    assert listens == sent
    assert command[-1] != programs.worker()[-1]  # the name of the node
