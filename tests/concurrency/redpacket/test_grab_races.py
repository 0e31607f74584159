"""Many grabs at once, with real threads, commits and Redis; and the race that shows without the guard."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis as redis_library
from django.conf import settings
from django.db import connections

from foundation import clock, redis
from foundation.errors import Busy, PaysysError
from payments.domain.people import Person
from redpacket import cache
from redpacket.domain.states import PacketState
from redpacket.models import RedPacket, Settlement, Share
from redpacket.services import claiming, closing, expiry, grab, settlement
from redpacket.services.grab import GrabResult, RedPacketEmpty, RedPacketExpired
from tests.books import assert_books_balance
from tests.integration.redpacket.packets import amounts, claims, end_lifetime, send_lucky
from tests.integration.redpacket.people import make_people, wallet

pytestmark = pytest.mark.usefixtures("committed_db")

THREADS = 200


@pytest.fixture(autouse=True)
def enough_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """This one process stands for many: its pool must not be what refuses."""
    client = redis_library.Redis.from_url(settings.REDIS_URL, decode_responses=True, max_connections=2 * THREADS)
    monkeypatch.setattr(redis, "client", lambda: client)


def run_together(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Starts all calls at the same moment, one thread each; results or exceptions in order."""
    barrier = threading.Barrier(len(calls))
    outcomes: list[Any] = [None] * len(calls)

    def body(position: int, call: Callable[[], Any]) -> None:
        try:
            barrier.wait(timeout=60)
            outcomes[position] = call()
        except Exception as error:  # the test looks at it
            outcomes[position] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=body, args=item, daemon=True) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not any(thread.is_alive() for thread in threads)
    return outcomes


def grab_call(packet: RedPacket, person: Person, grab_once: Callable[..., GrabResult]) -> Callable[[], GrabResult]:
    return lambda: grab_once(packet_id=packet.pk, employee=person, now=clock.now())


def clicks(packet: RedPacket, people: Sequence[Person], grab_once: Callable[..., GrabResult]) -> list[Any]:
    """THREADS clicks: every one of the people clicks, many of them twice at the same moment."""
    calls = [grab_call(packet, people[number % len(people)], grab_once) for number in range(THREADS)]
    return run_together(calls)


def shares_by_person(people: Sequence[Person], outcomes: Sequence[Any]) -> dict[int, set[int]]:
    """Employee → share numbers that his clicks were answered with."""
    found: dict[int, set[int]] = {}
    for number, outcome in enumerate(outcomes):
        if isinstance(outcome, GrabResult):
            found.setdefault(people[number % len(people)].employee_id, set()).add(outcome.share_no)
    return found


def test_200_clicks_at_once_on_100_shares() -> None:
    people = make_people(count=120)
    packet = send_lucky(people, total_fen=12_345, count=100).packet
    outcomes = clicks(packet, people.members, grab.grab)
    assert {type(outcome) for outcome in outcomes} <= {GrabResult, RedPacketEmpty}, outcomes
    answered = shares_by_person(people.members, outcomes)
    assert len(answered) == 100
    assert all(len(numbers) == 1 for numbers in answered.values())
    assert claims(packet) == {numbers.pop(): employee for employee, numbers in answered.items()}
    grabbed = [outcome for outcome in outcomes if isinstance(outcome, GrabResult) and outcome.result == "grabbed"]
    assert Counter(outcome.share_no for outcome in grabbed) == dict.fromkeys(range(1, 101), 1)
    assert {outcome.share_no: outcome.amount_fen for outcome in grabbed} == amounts(packet)
    assert sum(outcome.amount_fen for outcome in grabbed) == 12_345
    settlement.settle_packet(packet_id=packet.pk, now=clock.now())
    packet.refresh_from_db()
    assert packet.state == PacketState.EXHAUSTED
    assert sum(sum(wallet(person)) for person in people.members) == 12_345
    assert_books_balance()


class NaiveBook:
    """What the control keeps instead of the database: no unique key, no condition in the update."""

    def __init__(self) -> None:
        self.written: list[tuple[int, int]] = []


def naive_grab(book: NaiveBook) -> Callable[..., GrabResult]:
    """LPOP and HSETNX in two steps, then an update without a condition: the design without the guard."""

    def grab_once(*, packet_id: str, employee: Person, now: Any) -> GrabResult:
        _, free, taken, _, _ = cache.keys_of(packet_id)
        if redis.client().hexists(taken, str(employee.employee_id)):
            raise RedPacketEmpty()
        text = redis.client().lpop(free)
        if text is None:
            raise RedPacketEmpty()
        ticket = cache.Ticket.parse(str(text))
        if not redis.client().hsetnx(taken, str(employee.employee_id), ticket.text()):
            raise RedPacketEmpty()  # the share that was popped is lost
        book.written.append((employee.employee_id, ticket.share_no))
        return GrabResult(result="grabbed", amount_fen=ticket.amount_fen, share_no=ticket.share_no)

    return grab_once


def test_control_two_steps_lose_shares_under_the_same_clicks() -> None:
    """The same clicks on the two-step design: repeated clicks pop shares that nobody ever gets."""
    lost = 0
    for _ in range(5):
        people = make_people(count=100)
        packet = send_lucky(people, total_fen=12_345, count=100).packet
        book = NaiveBook()
        clicks(packet, people.members, naive_grab(book))
        assert redis.client().llen(cache.keys_of(packet.pk)[1]) == 0
        lost += 100 - len({share_no for _, share_no in book.written})
        if lost:
            break
    assert lost > 0


def unguarded_claim(*, packet_id: str, ticket: cache.Ticket, employee_id: int, now: Any) -> claiming.Claim:
    """Reads, then writes without a condition: the claim without the guard."""
    share = Share.objects.get(packet_id=packet_id, share_no=ticket.share_no)
    if share.receiver_id is not None:
        return claiming.Claim(verdict=claiming.Verdict.TAKEN)
    gate.wait(timeout=30)
    Share.objects.filter(pk=share.pk).update(receiver_id=employee_id, claimed_at=now)
    return claiming.Claim(verdict=claiming.Verdict.GRABBED, ticket=ticket)


gate = threading.Barrier(2)


@pytest.mark.parametrize(("claim", "winners"), [(claiming.claim_share, 1), (unguarded_claim, 2)])
def test_two_nodes_that_were_handed_the_same_share(claim: Callable[..., claiming.Claim], winners: int) -> None:
    """After a failover Redis hands out one share twice: the condition lets one have it, without it both believe so."""
    people = make_people(count=2)
    packet = send_lucky(people, total_fen=500, count=1).packet
    ticket = cache.Ticket(share_no=1, amount_fen=500)
    calls = [
        lambda person=person: claim(packet_id=packet.pk, ticket=ticket, employee_id=person.employee_id, now=clock.now())
        for person in people.members
    ]
    verdicts = [outcome.verdict for outcome in run_together(calls)]
    assert verdicts.count(claiming.Verdict.GRABBED) == winners
    settlement.settle_packet(packet_id=packet.pk, now=clock.now())


def test_one_employee_on_many_nodes_gets_one_share_without_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = redis_library.Redis.from_url("redis://127.0.0.1:1/0")
    people = make_people(count=30)
    packet = send_lucky(people, total_fen=500, count=20).packet
    monkeypatch.setattr(grab, "_database_paths", threading.BoundedSemaphore(16))
    monkeypatch.setattr(grab, "DATABASE_PATH_WAIT_SECONDS", 60)
    with monkeypatch.context() as patch:
        patch.setattr(redis, "client", lambda: broken)
        calls = [grab_call(packet, people.members[number % 30], grab.grab) for number in range(90)]
        outcomes = run_together(calls)
    assert {type(outcome) for outcome in outcomes} <= {GrabResult, RedPacketEmpty, Busy}, outcomes
    answered = shares_by_person(people.members, outcomes)
    assert all(len(numbers) == 1 for numbers in answered.values())
    assert claims(packet) == {numbers.pop(): employee for employee, numbers in answered.items()}
    assert len(claims(packet)) == 20
    settlement.settle_packet(packet_id=packet.pk, now=clock.now())


def test_grabs_race_with_the_expiry() -> None:
    """Every share is either claimed or returned: claimed + rest = total, in the middle of a wave of grabs."""
    met = False
    for _ in range(10):
        people = make_people(count=40)
        packet = send_lucky(people, total_fen=4_000, count=40).packet

        def end(packet: RedPacket = packet) -> None:
            while len(claims(packet)) < 5:
                time.sleep(0.001)
            end_lifetime(packet)
            expiry.expire_packet(packet=packet, now=clock.now())

        outcomes = run_together([*(grab_call(packet, person, grab.grab) for person in people.members), end])
        winners = [outcome for outcome in outcomes if isinstance(outcome, GrabResult)]
        refused = [outcome for outcome in outcomes[:-1] if isinstance(outcome, PaysysError)]
        assert {type(outcome) for outcome in refused} <= {RedPacketExpired}, refused
        assert len(winners) + len(refused) == 40
        assert outcomes[-1] is None
        packet.refresh_from_db()
        claimed_fen = sum(amounts(packet)[number] for number in claims(packet))
        assert len(claims(packet)) == len(winners)
        assert packet.rest_fen is not None
        assert packet.rest_fen + claimed_fen == 4_000
        settlement.settle_packet(packet_id=packet.pk, now=clock.now())
        expiry.expire_due(now=clock.now())
        assert sum(sum(wallet(person)) for person in people.members) == 4_000
        met = bool(winners) and bool(refused)
        if met:
            break
    assert met
    assert_books_balance()


def read_without_lock(packet_id: str) -> claiming.Verdict | None:
    """The packet's state by a plain read: the claim without the guard."""
    state = RedPacket.objects.values_list("state", flat=True).get(pk=packet_id)
    return None if state == PacketState.OPEN else claiming.Verdict.EXPIRED


@pytest.mark.parametrize(
    ("look", "verdict", "sum_fen"),
    [
        (claiming._lock_open_packet, claiming.Verdict.EXPIRED, 500),
        (read_without_lock, claiming.Verdict.GRABBED, 1_000),
    ],
)
def test_a_claim_while_the_rest_is_being_counted(
    monkeypatch: pytest.MonkeyPatch, look: Callable[..., Any], verdict: claiming.Verdict, sum_fen: int
) -> None:
    """The expiry has counted the rest and not committed: the lock makes the claim wait, else the share counts twice."""
    people = make_people(count=1)
    packet = send_lucky(people, total_fen=500, count=1).packet
    counted, claimed = threading.Event(), threading.Event()
    close = closing._close

    def close_slowly(*arguments: Any) -> PacketState:
        counted.set()
        claimed.wait(timeout=1.0)
        return close(*arguments)

    def claim() -> claiming.Claim:
        counted.wait(timeout=30)
        ticket = cache.Ticket(share_no=1, amount_fen=500)
        employee_id = people.sender.employee_id
        outcome = claiming.claim_share(packet_id=packet.pk, ticket=ticket, employee_id=employee_id, now=clock.now())
        claimed.set()
        return outcome

    def end() -> None:
        end_lifetime(packet)
        expiry.expire_packet(packet=packet, now=clock.now())

    monkeypatch.setattr(closing, "_close", close_slowly)
    monkeypatch.setattr(claiming, "_lock_open_packet", look)
    outcome = run_together([claim, end])[0]
    packet.refresh_from_db()
    assert packet.rest_fen is not None
    assert outcome.verdict is verdict
    assert packet.rest_fen + sum(amounts(packet)[number] for number in claims(packet)) == sum_fen
    Share.objects.filter(packet_id=packet.pk).update(receiver_id=None, claimed_at=None)  # mends what the control broke
    expiry.expire_due(now=clock.now())


def test_many_workers_settle_each_share_once() -> None:
    people = make_people(count=30)
    packet = send_lucky(people, total_fen=3_000, count=30).packet
    for person in people.members:
        grab.grab(packet_id=packet.pk, employee=person, now=clock.now())
    worker = lambda: settlement.settle_packet(packet_id=packet.pk, now=clock.now())  # noqa: E731
    outcomes = run_together([worker] * 8)
    assert sum(outcome.shares for outcome in outcomes) == 30
    assert set(Settlement.objects.filter(packet_id=packet.pk).values_list("state", flat=True)) == {"POSTED"}
    assert wallet(people.sender)[1] == 0
    assert sum(wallet(person)[0] for person in people.members) == 3_000
    packet.refresh_from_db()
    assert packet.state == PacketState.EXHAUSTED
    assert_books_balance()


def test_many_builders_make_the_keys_once(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(count=20)
    packet = send_lucky(people, total_fen=500, count=20).packet
    cache.forget(packet_id=packet.pk)
    built: list[str] = []
    publish = cache.publish

    def count(**arguments: Any) -> None:
        built.append(arguments["contents"].packet_id)
        publish(**arguments)

    monkeypatch.setattr(cache, "publish", count)
    outcomes = run_together([grab_call(packet, person, grab.grab) for person in people.members])
    assert all(isinstance(outcome, GrabResult) for outcome in outcomes), outcomes
    assert built == [packet.pk]
    assert len(claims(packet)) == 20
    settlement.settle_packet(packet_id=packet.pk, now=clock.now())
