"""A rush of grabs over HTTP by many clients, who write down every answer they got: the history of `faults.md` I12."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence

from redpacket.models import RedPacket, Share

TIMEOUT_SECONDS = 15.0
PAUSE_SECONDS = 0.05
"""After an answer that is none (the server is away, busy, limiting): the person clicks again."""
CLIENTS_SHOWN = 12
FINAL = frozenset({200, 409, 410})
"""A share, all gone, too late: the person stops."""


class Rush:
    """`clients` threads grab for the employees of `tokens` (employee id → access token); start and stop once."""

    def __init__(self, *, port: int, tokens: Mapping[int, str], clients: int, seed: int) -> None:
        self.port, self.tokens, self.clients = port, dict(tokens), clients
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.tasks: list[tuple[str, int]] = []
        self.running = 0
        self.answers: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
        """(packet, employee) → every (share, fen) that was acknowledged to him."""
        self.statuses: Counter[int] = Counter()
        """HTTP statuses; 0 is a connection that broke or refused."""
        self.slowest_seconds = 0.0
        self.recent: deque[tuple[int, str]] = deque(maxlen=CLIENTS_SHOWN)
        self.asked_at: dict[int, float] = {}
        """Thread → when he asked what is not answered yet."""
        self.ends = threading.Event()
        self.troubles: list[BaseException] = []
        """What ended a client early: his click would otherwise wait for ever."""
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        self.ends.set()
        for thread in self.threads:
            thread.join(TIMEOUT_SECONDS * 2)
        assert not any(thread.is_alive() for thread in self.threads)

    def add(self, packet: RedPacket) -> None:
        """Everybody wants the packet; half of them click twice, at two clients."""
        wishes = [(packet.pk, employee) for employee in self.tokens]
        wishes += self.random.sample(wishes, len(wishes) // 2)
        self.random.shuffle(wishes)
        with self.lock:
            self.tasks = [*reversed(wishes), *self.tasks]

    def wait_until_fewer(self, number: int, *, seconds: float) -> None:
        """Until fewer than `number` clicks wait for a final answer; fails with what was answered instead."""
        deadline = time.monotonic() + seconds
        while True:
            with self.lock:
                left = len(self.tasks) + self.running
            if left < number:
                return
            assert not self.troubles, repr(self.troubles)
            assert time.monotonic() < deadline, f"{left} clicks without a final answer: {self._last_words()}"
            time.sleep(0.02)

    def _last_words(self) -> str:
        with self.lock:
            ages = sorted((round(time.monotonic() - at, 1) for at in self.asked_at.values()), reverse=True)
            return f"{dict(self.statuses)}; of late {list(self.recent)}; {len(ages)} are being asked, for {ages} s"

    def _run(self) -> None:
        try:
            self._click_on()
        except BaseException as error:
            self.troubles.append(error)
            raise

    def _click_on(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        while not self.ends.is_set():
            with self.lock:
                task = self.tasks.pop() if self.tasks else None
                self.running += task is not None
            if task is None:
                time.sleep(0.005)
                continue
            try:
                is_final = self._click(connection, *task)
            finally:
                with self.lock:
                    self.running -= 1
            with self.lock:
                if not is_final:
                    self.tasks.insert(self.random.randrange(len(self.tasks) + 1), task)
            if not is_final:
                time.sleep(PAUSE_SECONDS)
        connection.close()

    def _click(self, connection: http.client.HTTPConnection, packet_id: str, employee: int) -> bool:
        began = time.monotonic()
        with self.lock:
            self.asked_at[threading.get_ident()] = began
        status, body = 0, b""
        try:
            headers = {"Authorization": f"Bearer {self.tokens[employee]}", "Content-Length": "0"}
            connection.request("POST", f"/api/v1/redpackets/{packet_id}/grab", headers=headers)
            response = connection.getresponse()
            status, body = response.status, response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            status = 0
        with self.lock:
            del self.asked_at[threading.get_ident()]
            self.statuses[status] += 1
            self.recent.append((status, body[:80].decode(errors="replace")))
            self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
            if status == 200:
                answer = json.loads(body)
                self.answers[packet_id, employee].append((answer["share_no"], answer["amount_fen"]))
        return status in FINAL

    def compare(self, packet_ids: Sequence[str]) -> list[str]:
        """What was acknowledged against the database: lost, changed and doubled grabs, in words."""
        with self.lock:
            history = {key: list(found) for key, found in self.answers.items() if key[0] in set(packet_ids)}
        owned = {
            (packet_id, receiver_id): (share_no, fen)
            for packet_id, receiver_id, share_no, fen in Share.objects.filter(
                packet_id__in=packet_ids, receiver_id__isnull=False
            ).values_list("packet_id", "receiver_id", "share_no", "amount_fen")
        }
        findings = []
        for key, found in history.items():
            if len(set(found)) > 1:
                findings.append(f"answered differently: {key} {set(found)}")
            if owned.get(key) != found[0]:
                findings.append(f"acknowledged but lost: {key} {found[0]}, in the database {owned.get(key)}")
        return findings
