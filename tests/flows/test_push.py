"""A killed push process: clients come back with Last-Event-ID and miss nothing; and no token stands in any log."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from foundation import push
from identity import selectors
from identity.models import Employee
from identity.services.validator import EVENT
from paysys import programs
from paysys.supervisor import free_port
from tests import worlds
from tests.integration.paysys.streams import Event, Reader
from tests.system import Process, System

pytestmark = pytest.mark.usefixtures("committed_db")
TOTAL, WAIT_SECONDS = 150, 60.0
KILLS, KILLS_BY_NIGHT = 1, 5


class Listener(threading.Thread):
    """A client as docs/VALIDATOR.md asks for: it opens the stream again and says what it has seen last."""

    def __init__(self, port: int, token: str) -> None:
        super().__init__(daemon=True)
        self.port, self.token = port, token
        self.events: list[Event] = []
        self.opened = 0
        self.is_over = threading.Event()
        self.last_id = ""

    def run(self) -> None:
        while not self.is_over.is_set():
            try:
                self._read_one_stream()
            except (OSError, http.client.HTTPException):
                self.is_over.wait(0.05)

    def _read_one_stream(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        headers = {"Authorization": f"Bearer {self.token}"}
        if self.last_id:
            headers["Last-Event-ID"] = self.last_id
        try:
            connection.request("GET", "/api/v1/push/events", headers=headers)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            self.opened += 1
            reader = Reader(last_id=self.last_id)  # half an event of a broken stream is forgotten with it
            while not self.is_over.is_set():
                chunk = answer.read1(65536)
                if not chunk:
                    return
                self.events += reader.feed(chunk)
                self.last_id = reader.last_id
        finally:
            connection.close()


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    running = System(tmp_path)
    running.env["PAYSYS_LOG_LEVEL"] = "DEBUG"  # the most that a log can tell
    yield running
    running.stop()


@pytest.fixture
def channel(system: System, tmp_path: Path) -> Iterator[tuple[Process, int]]:
    port = free_port()
    process = Process("push", programs.push(port=port), system.env, tmp_path)
    process.start()
    yield process, port
    process.stop()


def until(condition: object, what: str) -> None:
    assert callable(condition)
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def owner_of(employee: Employee) -> str:
    return selectors.push_owner(employee_id=employee.pk)


def test_clients_of_a_killed_push_process_miss_nothing(channel: tuple[Process, int], nightly: bool) -> None:
    """Events go on while nobody listens; each of two people gets his own, all of them, in order, once."""
    process, port = channel
    kills = KILLS_BY_NIGHT if nightly else KILLS
    people = worlds.make_world(2).employees
    listeners = [Listener(port, worlds.token_of(person)) for person in people]
    for listener in listeners:
        listener.start()
    try:
        until(lambda: all(listener.last_id for listener in listeners), "no stream was opened")
        for number in range(TOTAL):
            for person in people:
                push.publish(owner=owner_of(person), event="test.counted", data={"number": number, "of": person.pk})
            if number % (TOTAL // kills) == TOTAL // kills // 2:
                process.kill()
            elif number % (TOTAL // kills) == TOTAL // kills // 2 + 10:  # ten events while no process is there
                opened = [listener.opened for listener in listeners]
                process.start()
                until(
                    lambda before=opened: all(one.opened > then for one, then in zip(listeners, before, strict=True)),
                    "nobody came back",
                )
        until(lambda: all(len(listener.events) >= TOTAL for listener in listeners), "events are missing")
    finally:
        for listener in listeners:
            listener.is_over.set()
    for listener, person in zip(listeners, people, strict=True):
        assert [event.data for event in listener.events] == [{"number": n, "of": person.pk} for n in range(TOTAL)]
        assert listener.opened == kills + 1


def test_no_token_stands_in_a_log_or_an_answer(system: System, channel: tuple[Process, int], tmp_path: Path) -> None:
    """Web and push at log level DEBUG; every way a token is used, the refused ones too."""
    process, port = channel
    payer = worlds.make_world(2).employees[0]
    worlds.give_money(payer, 1_000)
    access_token = worlds.token_of(payer)
    listener = Listener(port, access_token)
    listener.start()
    system.start("web")
    try:
        until(lambda: listener.last_id, process.tail())
        answers = [system.api(access_token, "POST", "validator/tokens", {"kind": kind}) for kind in ("session", "once")]
        until(lambda: len(listener.events) == 2, "no tokens came")
        tokens = [event.data for event in listener.events if event.name == EVENT]
        for data in tokens:
            for sequence, key in ((data["sequence"], "k1"), (data["sequence"], "k2"), (1, "k3"), ("x", "k4")):
                answers.append(
                    requests.post(
                        f"{system.base_url}/api/v1/transfers",
                        json={"to_employee": "e0002", "amount_fen": 1, "memo": "x"},
                        headers={
                            "Authorization": f"Bearer {access_token}",
                            "Idempotency-Key": f"{data['kind']}-{key}",
                            "X-Pay-Token": data["token"],
                            "X-Pay-Seq": str(sequence),
                        },
                        timeout=30,
                    )
                )
    finally:
        listener.is_over.set()
    assert [answer.status_code for answer in answers] == [202, 202, 201, 403, 403, 403, 201, 403, 403, 403]
    assert [set(answer.json()) for answer in answers[:2]] == [{"request_id"}] * 2
    system.stop()
    process.stop()
    secrets = [data["token"] for data in tokens] + [data["token"].partition(".")[2] for data in tokens] + [access_token]
    shown = [answer.text + json.dumps(dict(answer.headers)) for answer in answers]
    logs = [path.read_text(errors="replace") for path in tmp_path.glob("*.log")]
    assert sum(map(len, logs)) > 0, "nothing was logged: the scan would prove nothing"
    assert [text for text in shown + logs if any(secret in text for secret in secrets)] == []
