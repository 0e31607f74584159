"""Open event streams: memory for each, and how long an event takes to reach its client.

    python -m benchmarks.push [connections] [events]

Starts a redis-server and a push process of its own, with SQLite in a temporary directory; publisher, clients and push
process share the machine. Latency is from before the publishing call until the client has read the line.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from paysys import programs
from paysys.supervisor import ROOT, free_port, redis_binary

RATE_PER_SECOND = 500
PER_EMPLOYEE = 4


def memory_kib(group: int) -> int:
    """Resident memory of the process group: granian's parent and its worker."""
    total = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) == group:
                    lines = (entry / "status").read_text().splitlines()
                    total += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
            except (ProcessLookupError, FileNotFoundError):
                continue
    return total


def make_people(count: int) -> list[tuple[int, list[str]]]:
    """(employee id, access tokens) of employees with PER_EMPLOYEE log-ins each."""
    import datetime as dt

    from foundation import clock
    from identity.models import AccessToken, Employee, Enterprise
    from identity.services import login

    enterprise = Enterprise.objects.create(code="bench", name="Bench")
    rows = [Employee(enterprise=enterprise, code=f"e{number}", name="x", password="!") for number in range(count)]
    Employee.objects.bulk_create(rows)
    now, people = clock.now(), []
    for employee in Employee.objects.all():
        tokens = [secrets.token_urlsafe(32) for _ in range(PER_EMPLOYEE)]
        AccessToken.objects.bulk_create(
            AccessToken(
                digest=login.digest_of(token), employee=employee, created_at=now, expires_at=now + dt.timedelta(hours=1)
            )
            for token in tokens
        )
        people.append((employee.pk, tokens))
    return people


async def listen(port: int, token: str, opened: asyncio.Event, delays: list[float], refused: list[str]) -> None:
    """As a client does: who is told 503 asks again a second later; `refused` counts them."""
    while not await read_stream(port, token, opened, delays):
        refused.append(token)
        await asyncio.sleep(1)


async def read_stream(port: int, token: str, opened: asyncio.Event, delays: list[float]) -> bool:
    """False: it was refused. Else reads until the stream ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"GET /api/v1/push/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    writer.write(head.encode())
    try:
        if b" 200 " not in await reader.readline():
            return False
        while line := await reader.readline():
            if line.startswith(b"id: "):
                opened.set()
            elif line.startswith(b"data: "):
                delays.append(time.monotonic() - json.loads(line[6:])["at"])
    finally:
        writer.close()
    return True


async def measure(port: int, group: int, people: list[tuple[int, list[str]]], events: int) -> None:
    from foundation import push

    before = memory_kib(group)
    delays: list[float] = []
    refused: list[str] = []
    tasks, gates = [], []
    began = time.monotonic()
    for _, tokens in people:
        for token in tokens:
            gates.append(asyncio.Event())
            tasks.append(asyncio.create_task(listen(port, token, gates[-1], delays, refused)))
    await asyncio.wait_for(asyncio.gather(*(gate.wait() for gate in gates)), 120)
    took, after = time.monotonic() - began, memory_kib(group)
    print(f"connections            {len(tasks)}, opened in {took:.1f} s, {len(refused)} told 503 at first")
    print(f"memory                 {before} KiB -> {after} KiB: {(after - before) / len(tasks):.1f} KiB per connection")
    started = time.monotonic()
    for number in range(events):
        employee_id = people[number * 7919 % len(people)][0]
        await asyncio.to_thread(
            push.publish, owner=f"employee:{employee_id}", event="bench.tick", data={"at": time.monotonic()}
        )
        await asyncio.sleep(max(0.0, started + (number + 1) / RATE_PER_SECOND - time.monotonic()))
    deadline = time.monotonic() + 10
    while len(delays) < events * PER_EMPLOYEE and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    cuts = statistics.quantiles(delays, n=100)
    rate = events / (time.monotonic() - started)
    print(f"delivered              {len(delays)} of {events * PER_EMPLOYEE} ({rate:.0f} events/s published)")
    print(f"delay                  p50 {cuts[49] * 1e3:.1f}, p99 {cuts[98] * 1e3:.1f}, max {max(delays) * 1e3:.1f} ms")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    connections = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    events = int(sys.argv[2]) if len(sys.argv) > 2 else 5_000
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with tempfile.TemporaryDirectory() as directory:
        port, redis_port = free_port(), free_port()
        os.environ.update(
            DJANGO_SETTINGS_MODULE="paysys.settings.dev",
            DATABASE_URL=f"sqlite:///{directory}/bench.sqlite3",
            REDIS_URL=f"redis://127.0.0.1:{redis_port}/0",
            PAYSYS_LOG_LEVEL="WARNING",
        )
        own_redis = subprocess.Popen(
            [redis_binary(), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", directory],
            stdout=subprocess.DEVNULL,
        )
        server = None
        try:
            import django
            from django.core.management import call_command

            django.setup()
            call_command("migrate", verbosity=0)
            people = make_people(-(-connections // PER_EMPLOYEE))
            server = subprocess.Popen(programs.push(port=port), cwd=ROOT, start_new_session=True)
            for _ in range(300):
                try:
                    asyncio.run(asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 1))
                    break
                except OSError:
                    time.sleep(0.1)
            time.sleep(2)
            asyncio.run(measure(port, server.pid, people, events))
        finally:
            if server is not None:
                os.killpg(server.pid, signal.SIGTERM)
                server.wait()
            own_redis.terminate()
            own_redis.wait()


if __name__ == "__main__":
    main()
