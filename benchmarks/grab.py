"""Grabs over real HTTP: granian as in production, MariaDB, Redis, and a worker that settles at the same time.

    python3 -m tests.provision run -- .venv/bin/python -m benchmarks.grab [--rate 800] [--seconds 10] [--json]

Saturated, each for a slice, in turns: a bare hello, a bare Django view with one Redis call, refused grabs at the front
door and at its DRF twin. Then open loop: winners and losers 1:3 at `--rate`, winners only at `--winners-rate`. Every
claim is committed before its answer; at the end all shares must be settled and the books balance to the fen. CPU is
what the processes used by themselves, from /proc; the load generator's is not in the sum.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import databases, measure

WORKERS = 2
EMPLOYEES = 2000
"""One enterprise, one group; every employee grabs every packet once."""
SHARES = 500
"""Of a mixed packet: 500 win, 1 500 are late."""
STAGGER = 8
"""Mixed packets under way at once, in different phases, so that the mix is 1:3 at every moment."""
SATURATING_CONNECTIONS = 32
SATURATED_SECONDS = 20.0
"""Longer than this a saturated case tells nothing new, however long the open loop is."""
OPEN_CONNECTIONS = 256
INSTANT = 1e6
"""Requests a second: more than any machine sends, so that all are due at once."""
LITERAL_RATE = 50.0
"""Grabs a second that the literal design settles on two cores without falling behind."""
COSTED_PACKETS = 4
SETTLE_PAUSE_SECONDS = 0.05
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Result:
    """One case: rates per second, CPU in µs per answer by process, latencies in ms by answer."""

    name: str
    offered: float
    achieved: float
    counts: dict[str, int]
    latencies: dict[str, dict[str, float]]
    cpu: dict[str, float]
    most_waiting: int

    @property
    def server_cpu(self) -> float:
        return sum(spent for name, spent in self.cpu.items() if name != "load")


def cpu_seconds(process_id: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def children(process_id: int) -> list[int]:
    """The process and all below it."""
    found = [process_id]
    for task in Path(f"/proc/{process_id}/task").glob("*/children"):
        for child in task.read_text().split():
            found += children(int(child))
    return found


class Servers:
    """granian and the settling worker, the product's or the literal design's; `spent` tells CPU, of the servers too."""

    def __init__(self, threads: int, directory: Path, *, is_literal: bool = False) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.rounds = directory / "rounds"
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "paysys.settings.test", "PAYSYS_LOG_LEVEL": "ERROR"}
        granian = str(Path(sys.executable).parent / "granian")
        options = f"--interface wsgi --host 127.0.0.1 --port {self.port} --workers {WORKERS} --no-ws --log-level error"
        web = [granian, *options.split(), "--blocking-threads", str(threads), "benchmarks.grab_app:application"]
        settler = [sys.executable, "-m", "benchmarks.grab", "--settle-into", str(self.rounds)]
        if is_literal:
            environment["DJANGO_SETTINGS_MODULE"] = "benchmarks.grab_literal_settings"
            web[-1] = "benchmarks.grab_literal:application"
            worker = f"--quiet --app benchmarks.grab_literal worker --concurrency {WORKERS} --loglevel ERROR"
            settler = [sys.executable, "-m", "celery", *worker.split()]
        self.processes = {
            name: subprocess.Popen(command, env=environment, start_new_session=True)
            for name, command in (("web", web), ("settle", settler))
        }

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                time.sleep(1)
                return
            time.sleep(0.1)
        raise databases.CannotRun("granian does not answer")

    def stop(self) -> None:
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def spent(self) -> dict[str, float]:
        """CPU seconds so far, by process; a server on another machine is left out."""
        found = {name: sum(map(cpu_seconds, children(one.pid))) for name, one in self.processes.items()}
        for name, process_id in server_ids().items():
            with contextlib.suppress(OSError):
                found[name] = cpu_seconds(process_id)
        return found


def server_ids() -> dict[str, int]:
    """Process ids of Redis and MariaDB, as they tell them."""
    from django.db import connection

    from foundation import redis

    found = {"redis": int(redis.client().info("server")["process_id"])}
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@pid_file, @@datadir")
        name, directory = cursor.fetchone()
    with contextlib.suppress(OSError, ValueError):
        found["mariadb"] = int((Path(directory) / name).read_text())
    return found


@dataclass(frozen=True, kw_only=True)
class World:
    """The people of the run and what is needed to send packets among them."""

    sender: Any
    group_id: str
    tokens: list[str]


def make_world(employees: int = EMPLOYEES) -> World:
    from foundation import clock
    from identity.models import AccessToken
    from identity.services import login
    from payments.domain.people import Person
    from tests import worlds

    made = worlds.make_world(employees)
    now = clock.now()
    tokens = [f"bench-{made.enterprise.pk}-{employee.pk}" for employee in made.employees]
    AccessToken.objects.bulk_create(
        [
            AccessToken(
                digest=login.digest_of(token),
                employee=employee,
                created_at=now,
                expires_at=now + dt.timedelta(hours=12),
            )
            for token, employee in zip(tokens, made.employees, strict=True)
        ]
    )
    worlds.give_money(made.employees[0], 10**12)
    sender = Person(employee_id=made.employees[0].pk, enterprise_id=made.enterprise.pk)
    return World(sender=sender, group_id=made.group.pk, tokens=tokens)


def send_packet(world: World, *, count: int) -> str:
    from foundation import clock
    from payments.services import numbers
    from redpacket.domain.states import PacketKind
    from redpacket.services import send
    from redpacket.services.send import NewPacket, PayBy

    order_no = numbers.issue(prefix=numbers.Prefix.REDPACKET_SEND, account_id=world.sender.employee_id)
    new = NewPacket(kind=PacketKind.LUCKY, total_fen=count * 100, count=count, group_id=world.group_id)
    return send.send_packet(
        order_no=order_no, sender=world.sender, new=new, pay=PayBy(source="wallet"), now=clock.now()
    ).packet.pk


def request(path: str, token: str = "") -> bytes:
    """One request for the load generator: the first line, then its headers."""
    return f"POST {path}\n".encode() + (f"Authorization: Bearer {token}".encode() if token else b"X-Bench: 1")


def grabs(packet_id: str, tokens: Sequence[str], *, prefix: str = "") -> list[bytes]:
    return [request(f"{prefix}/api/v1/redpackets/{packet_id}/grab", token) for token in tokens]


def mixed(packet_ids: Sequence[str], tokens: Sequence[str], rng: random.Random) -> list[bytes]:
    """Every employee grabs every packet once; packets begin one after the other, STAGGER of them run at once."""
    step = len(tokens) // STAGGER
    places = []
    for number, packet_id in enumerate(packet_ids):
        shuffled = rng.sample(tokens, len(tokens))
        places += [(number * step + at, one) for at, one in enumerate(grabs(packet_id, shuffled))]
    return [one for _, one in sorted(places, key=lambda place: place[0])]


def load(servers: Servers, name: str, requests: Sequence[bytes], *, rate: float, seconds: float) -> Result:
    """Runs the load generator; CPU per answer of everybody meanwhile."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\n\n\n".join(requests))
        file.flush()
        order = {
            "host": "127.0.0.1",
            "port": servers.port,
            "rate": rate,
            "seconds": seconds,
            "connections": OPEN_CONNECTIONS if rate else SATURATING_CONNECTIONS,
            "requests": file.name,
        }
        before = servers.spent()
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.grab_load"],
            input=json.dumps(order) + "\n",
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        after = servers.spent()
    answer = json.loads(done.stdout)
    cpu = {one: (after[one] - before[one]) / answer["done"] * 1e6 for one in after}
    cpu["load"] = answer["cpu_seconds"] / answer["done"] * 1e6
    return Result(
        name=name,
        offered=rate,
        achieved=answer["done"] / answer["seconds"],
        counts=answer["counts"],
        latencies=answer["latencies"],
        cpu={one: round(spent, 1) for one, spent in cpu.items()},
        most_waiting=answer["most_waiting"],
    )


def settle(file: Path) -> None:
    """The worker: settles what is due, and writes when each round that found something began and ended."""
    import django

    django.setup()
    from foundation import clock
    from redpacket.services import settlement

    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    with file.open("a", buffering=1) as log:
        while not stopped:
            now = clock.now()
            if settlement.settle_due(now=now).shares:
                log.write(f"{now.timestamp():.6f} {time.time():.6f}\n")
            else:
                time.sleep(SETTLE_PAUSE_SECONDS)


def wait_until_settled(packet_ids: Sequence[str]) -> None:
    from redpacket.models import Share

    deadline = time.monotonic() + 120
    while Share.objects.filter(packet_id__in=packet_ids, receiver_id__isnull=False, settled_at=None).exists():
        if time.monotonic() > deadline:
            raise RuntimeError("claims are not settled after two minutes")
        time.sleep(0.05)


def settle_lags(servers: Servers, packet_ids: Sequence[str]) -> dict[str, float]:
    """ms from a claim to the end of the worker's round that settled it."""
    from benchmarks.grab_load import summary
    from redpacket.models import Share

    ends = {}
    for line in servers.rounds.read_text().splitlines():
        began, ended = line.split()
        ends[began] = float(ended)
    rows = Share.objects.filter(packet_id__in=packet_ids, settled_at__isnull=False)
    lags = []
    for claimed_at, settled_at in rows.values_list("claimed_at", "settled_at"):
        ended = ends.get(f"{settled_at.timestamp():.6f}")
        lags.append((max(ended or 0.0, settled_at.timestamp()) - claimed_at.timestamp()) * 1000)
    return summary(lags)


def saturated(servers: Servers, world: World, *, seconds: float, rounds: int) -> dict[str, list[Result]]:
    """Slices in turns; every second round in the opposite order."""
    packet_id = send_packet(world, count=1)
    cases = {
        "bare hello": [request("/hello")],
        "bare Django view, one Redis call": [request("/bare")],
        "refusals, front door": grabs(packet_id, world.tokens),
        "refusals, DRF twin": grabs(packet_id, world.tokens, prefix="/twin"),
    }
    load(servers, "warm-up", grabs(packet_id, world.tokens), rate=500, seconds=0)
    found: dict[str, list[Result]] = {name: [] for name in cases}
    for number in range(rounds):
        for name in list(cases) if number % 2 == 0 else list(reversed(cases)):
            found[name].append(load(servers, name, cases[name], rate=0, seconds=seconds / rounds))
    return found


def open_loop(
    servers: Servers, world: World, name: str, *, rate: float, seconds: float, shares: int
) -> tuple[Result, dict[str, float]]:
    """Sends packets first, then the load; the result and the settlement's lag."""
    packets = max(1, round(rate * seconds / EMPLOYEES))
    ids = [send_packet(world, count=shares) for _ in range(packets)]
    requests = mixed(ids, world.tokens, random.Random(1))
    result = load(servers, name, requests, rate=rate, seconds=seconds)
    wait_until_settled(ids)
    winners = result.counts.get("grabbed", 0)
    if set(result.counts) - {"grabbed", "redpacket_empty"} or winners != shares * packets:
        raise RuntimeError(f"{name}: {result.counts}, {shares * packets} winners expected")
    return result, settle_lags(servers, ids)


def rush(servers: Servers, *, shares: int) -> tuple[Result, dict[str, float]]:
    """One packet, twice as many employees as shares, all of them in the same instant; result and settlement's lag.

    Times count from the beginning of the rush. Every share must have exactly one owner, the packet's sum be exact.
    """
    from django.db.models import Count, Sum

    from redpacket.models import Share

    world = make_world(2 * shares)
    packet_id = send_packet(world, count=shares)
    requests = grabs(packet_id, random.Random(2).sample(world.tokens, len(world.tokens)))
    result = load(servers, f"{shares:,} shares, {2 * shares:,} employees", requests, rate=INSTANT, seconds=0)
    wait_until_settled([packet_id])
    taken = Share.objects.filter(packet_id=packet_id, receiver_id__isnull=False)
    owned = taken.aggregate(people=Count("receiver_id", distinct=True), fen=Sum("amount_fen"))
    if result.counts != {"grabbed": shares, "redpacket_empty": shares} or owned != {
        "people": shares,
        "fen": shares * 100,
    }:
        raise RuntimeError(f"the rush is not exact: {result.counts}, {owned}")
    return result, settle_lags(servers, [packet_id])


def literal_packet(world: World) -> str:
    """The literal design's tables and a packet of a share for everybody, in Redis."""
    from django.db import connection

    from benchmarks import grab_literal
    from foundation import ids, redis
    from identity.models import AccessToken
    from identity.services import login

    if grab_literal.Wallet._meta.db_table not in connection.introspection.table_names():
        with connection.schema_editor() as editor:
            for table in grab_literal.TABLES:
                editor.create_model(table)
    digests = [login.digest_of(token) for token in world.tokens]
    people = AccessToken.objects.filter(digest__in=digests).values_list("employee_id", flat=True)
    grab_literal.Wallet.objects.bulk_create(
        [
            grab_literal.Wallet(employee_id=one, balance_fen=10**12 if one == world.sender.employee_id else 0)
            for one in people
        ]
    )
    packet_id, store = ids.new_id(), redis.client()
    store.set(f"literal:{packet_id}:sender", world.sender.employee_id)
    store.rpush(f"literal:{packet_id}:shares", *([100] * len(world.tokens)))
    return packet_id


def wait_for_literal(packet_id: str, shares: int) -> None:
    from benchmarks import grab_literal

    deadline = time.monotonic() + 300
    while grab_literal.Order.objects.filter(packet_id=packet_id).count() < shares:
        if time.monotonic() > deadline:
            raise RuntimeError("the literal design's tasks are not done after five minutes")
        time.sleep(0.2)


def cost_of_settled(
    servers: Servers, name: str, requests: Sequence[bytes], *, rate: float, drained: Callable[[], None]
) -> dict[str, float]:
    """CPU in µs a grab by process, the load generator left out, from the first request to the last settlement."""
    before = servers.spent()
    result = load(servers, name, requests, rate=rate, seconds=0)
    if result.counts != {"grabbed": len(requests)}:
        raise RuntimeError(f"{name}: {result.counts}")
    drained()
    after = servers.spent()
    found = {one: (after[one] - before[one]) / len(requests) * 1e6 for one in after}
    return {**found, "all": sum(found.values()), "per_second": result.achieved}


def against_literal(servers: Servers, world: World, *, rate: float, threads: int) -> dict[str, dict[str, float]]:
    """What a settled grab costs: the literal design at the rate it keeps up with, twin and front door at theirs."""
    found = {}
    with running(threads, is_literal=True) as literal:
        packet_id = literal_packet(world)
        requests = [request(f"/literal/{packet_id}/grab", token) for token in world.tokens]
        found["literal design"] = cost_of_settled(
            literal,
            "literal design",
            requests,
            rate=LITERAL_RATE,
            drained=lambda: wait_for_literal(packet_id, len(requests)),
        )
    for name, prefix in (("DRF twin", "/twin"), ("front door", "")):
        ids = [send_packet(world, count=len(world.tokens)) for _ in range(COSTED_PACKETS)]
        requests = [one for packet_id in ids for one in grabs(packet_id, world.tokens, prefix=prefix)]
        found[name] = cost_of_settled(
            servers, name, requests, rate=rate, drained=lambda ids=ids: wait_until_settled(ids)
        )
    heads = ("per s", "web", "settle", "Redis", "MariaDB", "all")
    print(f"\n{'CPU µs a settled grab':24}" + "".join(f"{head:>9}" for head in heads) + f"{'less':>9}")
    for name, row in found.items():
        row["times_less"] = found["literal design"]["all"] / row["all"]
        columns = [row["per_second"], row["web"], row["settle"], row["redis"], row.get("mariadb", 0.0), row["all"]]
        print(f"{name:24}" + "".join(f"{one:9,.0f}" for one in columns) + f"{row['times_less']:8.1f}x")
    return found


def middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def print_saturated(found: dict[str, list[Result]]) -> dict[str, dict[str, float]]:
    """Medians and ratios inside a round; returns them for the JSON line."""
    hello, bare = found["bare hello"], found["bare Django view, one Redis call"]
    facts = {}
    print(f"{'saturated, 32 connections':36}{'per s':>9}{'web µs':>8}{'Redis µs':>9}{'all µs':>8}", end="")
    print(f"{'rate/hello':>12}{'CPU hello/':>12}{'rate/bare':>11}")
    for name, results in found.items():
        facts[name] = {
            "per_second": middle([one.achieved for one in results]),
            "web_us": middle([one.cpu["web"] for one in results]),
            "redis_us": middle([one.cpu["redis"] for one in results]),
            "all_us": middle([one.server_cpu for one in results]),
            "rate_to_hello": middle([one.achieved / base.achieved for one, base in zip(results, hello, strict=True)]),
            "cpu_of_hello": middle(
                [base.cpu["web"] / one.cpu["web"] for one, base in zip(results, hello, strict=True)]
            ),
            "rate_to_bare": middle([one.achieved / base.achieved for one, base in zip(results, bare, strict=True)]),
        }
        row = facts[name]
        print(
            f"{name:36}{row['per_second']:9,.0f}{row['web_us']:8.0f}{row['redis_us']:9.0f}{row['all_us']:8.0f}"
            f"{row['rate_to_hello']:12.2f}{row['cpu_of_hello']:12.2f}{row['rate_to_bare']:11.2f}"
        )
    return facts


def print_open(result: Result, lag: dict[str, float], *, literal_us: float = 0.0) -> None:
    """`literal_us`: what the literal design needs for a settled grab; 0 when it was not measured, or not all won."""
    cores = result.server_cpu * result.achieved / 1e6
    print(f"\n{result.name}: {result.offered:,.0f}/s offered, {result.achieved:,.0f}/s answered {result.counts}")
    for name, times in result.latencies.items():
        print(f"  {name:18} ms: " + "  ".join(f"{key} {value:,.1f}" for key, value in times.items()))
    print("  settle lag         ms: " + "  ".join(f"{key} {value:,.0f}" for key, value in lag.items()))
    split = "  ".join(f"{name} {spent:,.0f}" for name, spent in result.cpu.items())
    print(f"  CPU µs an answer: {split}   in all without load {result.server_cpu:,.0f} = {cores:.2f} cores")
    if literal_us:
        print(f"  {literal_us / result.server_cpu:.1f}x less than the literal design")


@contextlib.contextmanager
def running(threads: int, *, is_literal: bool = False) -> Iterator[Servers]:
    with tempfile.TemporaryDirectory() as directory:
        servers = Servers(threads, Path(directory), is_literal=is_literal)
        try:
            servers.wait()
            yield servers
        finally:
            servers.stop()


def measure_all(options: Any) -> dict[str, Any]:
    from tests.books import assert_books_balance

    world = make_world()
    with running(options.threads) as servers:
        slices = saturated(servers, world, seconds=min(options.seconds, SATURATED_SECONDS), rounds=options.rounds)
        facts = print_saturated(slices)
        cases = [("winners and losers 1:3", options.rate, SHARES), ("winners only", options.winners_rate, EMPLOYEES)]
        costs = {}
        if options.costs_rate:
            costs = against_literal(servers, world, rate=options.costs_rate, threads=options.threads)
        opened = []
        for name, rate, shares in cases:
            if rate:
                result, lag = open_loop(servers, world, name, rate=rate, seconds=options.seconds, shares=shares)
                is_settled = shares == EMPLOYEES  # all answers are winners'
                print_open(result, lag, literal_us=costs["literal design"]["all"] if costs and is_settled else 0.0)
                opened.append({**asdict(result), "settle_lag": lag})
        if options.rush:
            result, lag = rush(servers, shares=options.rush)
            print_open(result, lag)
            print(f"  {options.rush / (result.latencies['grabbed']['max'] / 1000):,.0f} winners/s until the last share")
            opened.append({**asdict(result), "settle_lag": lag})
    assert_books_balance()
    print("\nbooks balance to the fen")
    return {"saturated": facts, "costs": costs, "open": opened, "threads": options.threads}


def main(arguments: Sequence[str]) -> int:
    """Runs, prints, returns 0; 2 when there is no MariaDB to run on."""
    parser = measure.parser("grab", (__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=float, default=800, help="grabs a second, winners and losers 1:3 (0: leave out)")
    parser.add_argument("--winners-rate", type=float, default=1000, help="grabs a second that all win (0: leave out)")
    parser.add_argument(
        "--costs-rate", type=float, default=800, help="grabs a second beside the literal design (0: out)"
    )
    parser.add_argument("--rush", type=int, default=0, help="shares of one packet, twice as many employees at once")
    parser.add_argument("--threads", type=int, default=8, help="blocking threads of each web process")
    parser.add_argument("--settle-into", type=Path, help=measure.argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.settle_into:
        settle(options.settle_into)
        return 0
    limits = ("EMPLOYEE_GRABS_PER_SECOND", "EMPLOYEE_GRABS_AT_ONCE", "PACKET_GRABS_PER_SECOND", "PACKET_GRABS_AT_ONCE")
    os.environ.update({f"PAYSYS_REDPACKET_{name}": "1000000" for name in limits})  # counted, never reached
    try:
        with databases.bench_databases():
            facts = measure_all(options)
    except databases.CannotRun as error:
        print(f"benchmarks.grab: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps({"benchmark": "grab", **facts}, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
