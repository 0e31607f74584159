"""Private Redis servers of a test, on free loopback ports: a master, a replica and three Sentinels."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import redis
from redis.exceptions import RedisError

from paysys.supervisor import free_port
from tests import provision
from tests.system import Process

MASTER_NAME = "paysys"
START_SECONDS = 30.0
DOWN_AFTER_MS = 1000
"""Silence after which a Sentinel takes the master for dead; the agreement and the promotion follow."""


def wait_for(condition: Callable[[], bool], what: str, *, seconds: float = START_SECONDS) -> None:
    """Polls until the condition holds; a Redis that is away counts as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except RedisError:
            pass
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


class Node:
    """One Redis server with its data directory."""

    def __init__(self, directory: Path, name: str) -> None:
        self.port = free_port()
        self.data = directory / name
        self.data.mkdir()
        self.name = name
        program = provision.find_program(name="redis-server")
        assert program is not None, "redis-server is not installed"
        self.program, self.logs = program, directory
        self.process: Process | None = None
        self.client = redis.Redis(port=self.port, socket_timeout=2, decode_responses=True)

    def start(self, *, replica_of: Node | None = None, is_empty: bool = False) -> Node:
        """Starts with what the append-only file holds, or with nothing."""
        if is_empty:
            shutil.rmtree(self.data)
            self.data.mkdir()
        command = [
            *(self.program, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.data)),
            *("--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"),
            *("--repl-diskless-sync-delay", "0"),
            *(("--replicaof", "127.0.0.1", str(replica_of.port)) if replica_of is not None else ()),
        ]
        self.process = Process(self.name, command, dict(os.environ), self.logs).start()
        wait_for(lambda: bool(self.client.ping()), f"{self.name} answers")
        return self

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()


class Group:
    """A master, a replica and three Sentinels; use as a context manager."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.nodes = [Node(directory, "redis-a"), Node(directory, "redis-b")]
        self.ports = [free_port() for _ in range(3)]
        self.sentinels = [self._sentinel(directory, number, port) for number, port in enumerate(self.ports)]

    def _sentinel(self, directory: Path, number: int, port: int) -> Process:
        lines = [
            f"port {port}",
            "bind 127.0.0.1",
            f'dir "{directory}"',
            f"sentinel monitor {MASTER_NAME} 127.0.0.1 {self.nodes[0].port} 2",
            f"sentinel down-after-milliseconds {MASTER_NAME} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {MASTER_NAME} 3000",
        ]
        file = directory / f"sentinel-{number}.conf"
        file.write_text("\n".join(lines) + "\n")
        command = [self.nodes[0].program, str(file), "--sentinel"]
        return Process(f"sentinel-{number}", command, dict(os.environ), directory)

    def __enter__(self) -> Group:
        self.nodes[0].start()
        self.nodes[1].start(replica_of=self.nodes[0])
        for sentinel in self.sentinels:
            sentinel.start()
        self.wait_until_whole()
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self.sentinels, *self.nodes]:
            process.stop()

    @property
    def addresses(self) -> list[str]:
        """What PAYSYS_REDIS_SENTINELS takes."""
        return [f"127.0.0.1:{port}" for port in self.ports]

    @property
    def master(self) -> Node:
        """The node that the first Sentinel names."""
        sentinel = redis.Redis(port=self.ports[0], socket_timeout=2, decode_responses=True)
        _, port = sentinel.sentinel_get_master_addr_by_name(MASTER_NAME)
        return next(node for node in self.nodes if node.port == int(port))

    @property
    def replica(self) -> Node:
        master = self.master
        return next(node for node in self.nodes if node is not master)

    def wait_until_whole(self) -> None:
        """The replica follows, and every Sentinel knows the others and the replica."""
        for port in self.ports:
            sentinel = redis.Redis(port=port, socket_timeout=2, decode_responses=True)
            wait_for(lambda sentinel=sentinel: _is_whole(sentinel), "the Sentinels know each other")
        # A former master that came back by itself says "master" until the Sentinels have told it.
        wait_for(
            lambda: self.replica.client.info("replication").get("master_link_status") == "up", "the replica follows"
        )


def _is_whole(sentinel: redis.Redis) -> bool:
    state = sentinel.sentinel_masters()[MASTER_NAME]
    return (state["num-other-sentinels"], state["num-slaves"]) == (2, 1) and not state["is_sdown"]
