"""HTTP load from one process: keep-alive connections, requests made beforehand, latencies to the microsecond.

Open loop: request i is due at i / rate, whatever became of those before; its latency counts from that moment, so a
server that stalls is not spared. Closed loop (rate 0): every connection sends its next request when it has its answer.
Reads one JSON line {host, port, rate, connections, seconds, requests: file} from standard input, writes one back.
"""

from __future__ import annotations

import json
import resource
import select
import socket
import sys
import time
from collections import Counter, deque
from pathlib import Path


class Connection:
    """One keep-alive connection with at most one request under way."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self.buffer = b""

    def send(self, request: bytes, due: float) -> None:
        self.due, self.buffer = due, b""
        self.socket.sendall(request)

    def read(self) -> tuple[int, bytes] | None:
        """Status and body when the answer is whole."""
        chunk = self.socket.recv(65536)
        if not chunk:
            raise ConnectionError("the server hung up")
        self.buffer += chunk
        head, mark, body = self.buffer.partition(b"\r\n\r\n")
        if not mark:
            return None
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        return (int(head[9:12]), body) if len(body) >= length else None


def name_of(status: int, body: bytes) -> str:
    """ "grabbed", "already", the error's code, or the status."""
    for mark in (b'"result":"', b'"code":"'):
        at = body.find(mark)
        if at >= 0:
            return body[at + len(mark) :].split(b'"', 1)[0].decode()
    return str(status)


def run(order: dict) -> dict:  # type: ignore[type-arg]
    """Sends the requests; returns counts, latencies in ms by answer, and the time it took."""
    lines = Path(order["requests"]).read_bytes().split(b"\n\n\n")
    head = b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n"
    requests = [first + head + rest + b"\r\n\r\n" for first, _, rest in (line.partition(b"\n") for line in lines)]
    rate, seconds = order["rate"], order["seconds"]
    connections = [Connection(order["host"], order["port"]) for _ in range(order["connections"])]
    by_descriptor = {one.socket.fileno(): one for one in connections}
    poll = select.epoll()
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN)
    idle = deque(connections)
    found: dict[str, list[float]] = {}
    counts: Counter[str] = Counter()
    total = len(requests) if rate else 10**9
    sent = done = most_late = 0
    cpu, began = time.process_time(), time.perf_counter()
    while done < total:
        moment = time.perf_counter() - began
        if not rate and moment >= seconds:
            total = sent
            if done >= total:
                break
        while idle and sent < total and (not rate or sent / rate <= moment):
            idle.popleft().send(requests[sent % len(requests)], sent / rate if rate else moment)
            sent += 1
        if rate:
            most_late = max(most_late, int(moment * rate) - sent)
        wait = max(0.0, sent / rate - moment) if rate and sent < total and idle else 1.0
        for descriptor, _ in poll.poll(min(wait, 1.0)):
            one = by_descriptor[descriptor]
            answer = one.read()
            if answer is None:
                continue
            name = name_of(*answer)
            counts[name] += 1
            found.setdefault(name, []).append((time.perf_counter() - began - one.due) * 1000)
            idle.append(one)
            done += 1
    elapsed = time.perf_counter() - began
    return {
        "seconds": elapsed,
        "done": done,
        "counts": dict(counts),
        "latencies": {name: summary(values) for name, values in found.items()},
        "cpu_seconds": time.process_time() - cpu,
        "most_waiting": most_late,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def summary(values: list[float]) -> dict[str, float]:
    """p50, p99, p999 and the longest, in ms."""
    ordered = sorted(values)
    at = lambda share: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 2)  # noqa: E731
    return {"p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": round(ordered[-1], 2)}


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.stdin.readline()))), flush=True)
