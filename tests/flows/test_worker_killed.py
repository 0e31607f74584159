"""Kill -9 of the worker in the middle of settlement, again and again: every grab settles exactly once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from funds import selectors as funds
from orders.domain.numbers import Prefix
from payments.domain.people import Person
from payments.services import numbers
from redpacket.domain.states import PacketKind, PacketState
from redpacket.models import RedPacket, Settlement, Share
from redpacket.services import grab, send
from tests import worlds
from tests.books import assert_books_balance
from tests.system import System

KILLS, NIGHTLY_KILLS = 8, 20
PEOPLE = 600
ROUND_SECONDS = 30.0


@pytest.fixture
def workers(tmp_path: Path, committed_db: None) -> Iterator[System]:
    running = System(tmp_path)
    try:
        yield running.start("relay", "worker")
    finally:
        running.stop()


def wait_for_a_new_batch(packet_id: str, *, after: int) -> int:
    """Number of the batch that the worker fixes next: at this moment it is in the middle of settling it."""
    deadline = time.monotonic() + ROUND_SECONDS
    batches = Settlement.objects.filter(packet_id=packet_id, batch_no__gt=after)
    while time.monotonic() < deadline:
        found = batches.order_by("batch_no").values_list("batch_no", flat=True).first()
        if found is not None:
            return found
        time.sleep(0.001)
    raise AssertionError("the worker fixed no batch")


def test_worker_killed_in_the_middle_of_settlement(nightly: bool, workers: System) -> None:
    kills = NIGHTLY_KILLS if nightly else KILLS
    world = worlds.make_world(PEOPLE)
    sender = world.employees[0]
    worlds.give_money(sender, 600_000)
    sent = send.send_packet(
        order_no=numbers.issue(prefix=Prefix.REDPACKET_SEND, account_id=sender.pk),
        sender=Person(employee_id=sender.pk, enterprise_id=sender.enterprise_id),
        new=send.NewPacket(kind=PacketKind.LUCKY, total_fen=500_000, count=PEOPLE, group_id=world.group.pk),
        pay=send.PayBy(source="wallet"),
        now=worlds.clock.now(),
    )
    packet_id = sent.packet.pk
    may_go_on = threading.Semaphore(0)
    amounts: dict[int, int] = {}

    def grab_all() -> None:
        for person in world.employees:
            may_go_on.acquire()
            who = Person(employee_id=person.pk, enterprise_id=person.enterprise_id)
            result = grab.grab(packet_id=packet_id, employee=who, now=worlds.clock.now())
            assert result.result == "grabbed"
            amounts[person.pk] = result.amount_fen

    grabber = threading.Thread(target=grab_all)
    grabber.start()
    in_the_middle, batch_no = 0, 0
    for _ in range(kills):
        for _ in range(PEOPLE // kills - 5):
            may_go_on.release()
        batch_no = wait_for_a_new_batch(packet_id, after=batch_no)
        workers.worker.kill()
        in_the_middle += Settlement.objects.filter(packet_id=packet_id, batch_no=batch_no, state="ASSIGNED").exists()
        workers.worker.start()
    for _ in range(PEOPLE):
        may_go_on.release()
    grabber.join()

    deadline = time.monotonic() + 90
    while Share.objects.filter(packet_id=packet_id, settled_at=None).exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    shares = list(Share.objects.filter(packet_id=packet_id))
    assert [share.share_no for share in shares if share.settled_at is None] == []
    assert len(amounts) == PEOPLE
    assert sum(amounts.values()) == 500_000
    expected = {person.pk: amounts[person.pk] for person in world.employees}
    expected[sender.pk] += 100_000
    assert {person.pk: worlds.wallet_of(person)[0] for person in world.employees} == expected
    assert worlds.wallet_of(sender)[1] == 0
    assert len({share.receipt_no for share in shares}) == PEOPLE
    settled = [row for row in funds.list_journals(order_no=sent.order.order_no) if row.kind == "share_settlement"]
    assert sum(row.credit_total_fen for row in settled) == 500_000
    while RedPacket.objects.get(pk=packet_id).state != PacketState.EXHAUSTED and time.monotonic() < deadline:
        time.sleep(0.2)
    assert RedPacket.objects.get(pk=packet_id).state == PacketState.EXHAUSTED
    print(f"{kills} kills, {in_the_middle} of them between a batch's fixing and its posting, {len(settled)} journals")
    assert len(settled) >= kills
    assert in_the_middle >= kills // 2
    assert_books_balance()
