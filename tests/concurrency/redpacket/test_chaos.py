"""A rush of grabs over HTTP while kill -9 hits Redis, its master under Sentinels, MariaDB, worker and web at random.

Afterwards nobody has two shares, no acknowledged grab is lost, nothing is paid beyond a packet, and all money is in
wallets or back with the sender. PAYSYS_KILL_SEED repeats who is hit when (not the scheduler's part), PAYSYS_KILLS is
how often.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import DatabaseError, connections
from pytest_django import Settings
from redis.exceptions import RedisError

from foundation import clock, redis
from payments.domain.people import Person
from payments.services import numbers
from redpacket.domain.states import PacketKind, PacketState, RefundState
from redpacket.models import RedPacket, Share
from redpacket.services import expiry, janitor, send, settlement
from tests import worlds
from tests.books import assert_books_balance
from tests.concurrency.funds.servers import LedgerServer
from tests.concurrency.redpacket.redises import Group, wait_for
from tests.concurrency.redpacket.rush import Rush
from tests.integration.redpacket.packets import end_lifetime
from tests.integration.redpacket.people import People, give_money, wallet
from tests.system import System

pytestmark = [pytest.mark.usefixtures("committed_db"), pytest.mark.kills_services]
KILLS, KILLS_NIGHTLY = 5, 100
PEOPLE, SHARES, TOTAL_FEN = 40, 30, 3_000
CLIENTS = 12
HEAL_SECONDS = 60.0


@pytest.fixture
def seed() -> int:
    chosen = int(os.environ.get("PAYSYS_KILL_SEED") or random.randrange(2**32))
    print(f"PAYSYS_KILL_SEED={chosen}")
    return chosen


@pytest.fixture
def group(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    with Group(tmp_path / "redis") as running:
        settings.REDIS_SENTINELS = running.addresses
        monkeypatch.setattr(redis, "breaker", redis.Breaker())
        yield running


class Chaos:
    """The system under the rush, and the blows it can be dealt. Every blow returns when what was hit is up again."""

    def __init__(self, directory: Path, group: Group) -> None:
        self.group = group
        self.system = System(directory)
        for process in (self.system.web, self.system.worker, self.system.relay):
            process.env["PAYSYS_REDIS_SENTINELS"] = ",".join(group.addresses)
            process.env["PYTHONFAULTHANDLER"] = "1"
        self.database = LedgerServer(directory / "mariadb.log")
        self.blows: dict[str, Callable[[], None]] = {
            "web": self.hit_web,
            "worker": self.hit_worker,
            "redis with its file": lambda: self.hit_redis(is_empty=False),
            "redis without its file": lambda: self.hit_redis(is_empty=True),
            "sentinels' master": self.hit_master,
            "mariadb": self.hit_database,
        }

    def hit_web(self) -> None:
        self.system.web.kill()
        self.system.start("web")

    def hit_worker(self) -> None:
        self.system.worker.kill()
        self.system.worker.start()

    def hit_redis(self, *, is_empty: bool) -> None:
        """Up again before the Sentinels notice; without its file the replica becomes empty as well."""
        master = self.group.master
        master.kill()
        master.start(is_empty=is_empty)
        wait_for(lambda: self.group.master.client.role()[0] == "master", "a master")

    def hit_master(self) -> None:
        master = self.group.master
        master.kill()
        wait_for(lambda: self.group.master is not master, "the Sentinels named the other one")
        wait_for(lambda: self.group.master.client.role()[0] == "master", "it is the master")
        master.start(replica_of=self.group.master)

    def hit_database(self) -> None:
        self.database.kill()
        self.database.start()

    def picture(self) -> str:
        """What everybody does at the moment of a failure. Ends the processes: SIGABRT makes them show their stacks."""
        lines = []
        for process in (self.system.web, self.system.worker, self.system.relay):
            assert process.popen is not None
            lines.append(f"--- {process.name}: status {process.popen.poll()}")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.popen.pid, signal.SIGABRT)
            time.sleep(1.0)
            lines.append(process.log.read_text(errors="replace")[-20_000:])
        for node in self.group.nodes:
            with contextlib.suppress(RedisError):
                lines.append(f"--- {node.name}: {node.client.role()}")
        try:
            with connections["default"].cursor() as cursor:
                for statement in ("SHOW FULL PROCESSLIST", "SELECT * FROM information_schema.innodb_trx"):
                    cursor.execute(statement)
                    lines += [f"--- {statement}", *map(str, cursor.fetchall())]
        except DatabaseError as error:
            lines.append(f"--- the database: {error!r}")
        return "\n".join(lines)


def send_packet(people: People) -> RedPacket:
    """Also while Redis is away, and again when the database went away in the middle: the number is the key."""
    order_no = ""
    deadline = time.monotonic() + HEAL_SECONDS
    while True:
        try:
            order_no = order_no or numbers.issue(
                prefix=numbers.Prefix.REDPACKET_SEND, account_id=people.sender.employee_id
            )
            return send.send_packet(
                order_no=order_no,
                sender=people.sender,
                new=send.NewPacket(kind=PacketKind.LUCKY, total_fen=TOTAL_FEN, count=SHARES, group_id=people.group_id),
                pay=send.PayBy(source="wallet"),
                now=clock.now(),
            ).packet
        except DatabaseError:
            assert time.monotonic() < deadline, "the database does not come back"
            connections.close_all()
            time.sleep(0.05)


def test_a_rush_survives_kills_at_random_moments(tmp_path: Path, group: Group, seed: int, nightly: bool) -> None:
    kills = int(os.environ.get("PAYSYS_KILLS") or (KILLS_NIGHTLY if nightly else KILLS))
    chooser, done = random.Random(seed), Counter[str]()
    world = worlds.make_world(PEOPLE)
    members = tuple(Person(employee_id=one.pk, enterprise_id=world.enterprise.pk) for one in world.employees)
    people = People(enterprise_id=world.enterprise.pk, group_id=world.group.pk, members=members)
    tokens = {employee.pk: worlds.token_of(employee) for employee in world.employees}
    budget_fen = (kills + 1) * 2 * TOTAL_FEN
    give_money(people.sender, amount_fen=budget_fen)
    chaos = Chaos(tmp_path, group)
    packets: list[RedPacket] = []
    rush = Rush(port=chaos.system.port, tokens=tokens, clients=CLIENTS, seed=seed)
    try:
        chaos.system.start("web", "worker", "relay")
        rush.start()
        names = [name for _ in range(kills // len(chaos.blows) + 1) for name in chaos.blows]
        chooser.shuffle(names)
        for name in names[:kills]:
            packets += [send_packet(people) for _ in range(2)]
            for packet in packets[-2:]:
                rush.add(packet)
            time.sleep(chooser.uniform(0.0, 0.35))
            chaos.blows[name]()
            connections.close_all()
            done[name] += 1
            group.wait_until_whole()
            assert rush.compare([packet.pk for packet in packets]) == []
            rush.wait_until_fewer(2 * PEOPLE, seconds=HEAL_SECONDS)
        packets.append(send_packet(people))
        rush.add(packets[-1])
        rush.wait_until_fewer(1, seconds=HEAL_SECONDS)
        healed_at = time.monotonic()
        rush.stop()
        ids = [packet.pk for packet in packets]
        assert rush.compare(ids) == []
        waiting = Share.objects.filter(packet_id__in=ids, receiver_id__isnull=False, settled_at=None)
        wait_for(lambda: not waiting.exists(), "worker and relay settled all", seconds=HEAL_SECONDS)
        settle_seconds = time.monotonic() - healed_at
    except AssertionError as error:
        raise AssertionError(f"{error}\n{chaos.picture()}") from error
    finally:
        rush.ends.set()
        chaos.system.stop()
    end_all(packets)
    lost = rush.compare(ids)
    free = Share.objects.filter(packet_id__in=ids, receiver_id=None).count()
    print(
        f"{kills} kills {dict(done)}; answers {dict(sorted(rush.statuses.items()))}; {len(rush.answers)} grabs "
        f"acknowledged, {len(lost)} lost or changed; {free} of {len(ids) * SHARES} shares went back; slowest answer "
        f"{rush.slowest_seconds:.1f} s; settled {settle_seconds:.1f} s after the last answer"
    )
    assert lost == []
    assert sum(sum(wallet(person)) for person in people.members) == budget_fen
    assert set(RedPacket.objects.filter(pk__in=ids).values_list("state", flat=True)) <= {
        PacketState.EXHAUSTED.value,
        PacketState.EXPIRED.value,
    }
    assert_books_balance()
    assert len(rush.answers) >= len(ids) * SHARES * 9 // 10
    assert free <= len(ids) * SHARES // 10


def end_all(packets: list[RedPacket]) -> None:
    """What is left goes back: the janitor, the end of every packet, the sweep of settlements."""
    janitor.return_pending()
    for packet in packets:
        if RedPacket.objects.get(pk=packet.pk).state == PacketState.OPEN:
            end_lifetime(packet)
            expiry.expire_packet(packet=packet, now=clock.now())
        ended = RedPacket.objects.get(pk=packet.pk)
        if ended.refund_state == RefundState.DUE:
            assert expiry.return_rest(packet=ended, now=clock.now())
        settlement.settle_packet(packet_id=packet.pk, now=clock.now())
