"""The demo story: a client that knows only `.local/demo.json`, HTTP and JSON. It imports no app.

    python -m paysys.demo.story .local/demo.json

Every step is real input over HTTP; every figure in the table is read back from the API. Exit status 0 means that every
step is green and the books balance.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from paysys.demo.channel import Channel, ChannelError

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT_SECONDS = 30
WAIT_SECONDS = 60.0
"""No step of the story takes longer on two cores; the expiry alone waits for its packet's life."""
PACKET_LIFE_SECONDS = 10


class StoryError(Exception):
    """A step did not end as it must; the text says what was seen."""


@dataclass(frozen=True)
class Row:
    """One line of the table printed at the end."""

    step: str
    amount: str
    number: str
    state: str


def yuan(fen: int) -> str:
    """¥88.88"""
    return f"¥{fen // 100:,}.{fen % 100:02d}"


class Api:
    """One employee's HTTP client, with his push channel open."""

    def __init__(self, base_url: str, push_url: str, person: dict[str, Any]) -> None:
        self.base_url = base_url
        self.name = person["employee"]
        self.session = requests.Session()
        token = self.call("POST", "auth/login", {key: person[key] for key in ("enterprise", "employee", "password")})
        self.session.headers["Authorization"] = f"Bearer {token['access_token']}"
        self.channel = Channel(
            push_url,
            token["access_token"],
            lambda kind: str(self.call("POST", "validator/tokens", {"kind": kind})["request_id"]),
        )

    def request(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, headers: dict[str, str] | None = None
    ) -> requests.Response:
        headers = {**(headers or {}), **({"Idempotency-Key": key} if key else {})}
        return self.session.request(
            method, f"{self.base_url}/api/v1/{path}", json=body, headers=headers, timeout=TIMEOUT_SECONDS
        )

    def call(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> Any:
        return self._good(self.request(method, path, body, key=key))

    def fresh(self, path: str, body: Any = None, *, key: str | None = None) -> requests.Response:
        """A POST that moves money: with the token that came over the push channel and a number of its own."""
        token, number = self.channel.take()
        return self.request("POST", path, body, key=key, headers={"X-Pay-Token": token, "X-Pay-Seq": str(number)})

    def pay(self, path: str, body: Any = None, *, key: str | None = None) -> Any:
        """As `fresh`, and a refusal ends the story."""
        return self._good(self.fresh(path, body, key=key))

    @staticmethod
    def _good(answer: requests.Response) -> Any:
        if answer.status_code >= 400:
            path = answer.request.path_url
            raise StoryError(f"{answer.request.method} {path} answered {answer.status_code}: {answer.text[:300]}")
        return answer.json()

    def wallet(self) -> dict[str, int]:
        return self.call("GET", "wallet")


class Story:
    """The steps in order; each returns the rows it adds to the table."""

    def __init__(self, world: dict[str, Any]) -> None:
        self.world = world
        group = world["groups"][0]
        members = [person for person in world["employees"] if group["id"] in person["group_ids"]]
        self.group_id = group["id"]
        with ThreadPoolExecutor(8) as pool:
            self.people = list(pool.map(lambda person: Api(world["base_url"], world["push_url"], person), members))
        self.sender = self.people[0]
        self.rows: list[Row] = []

    def steps(self) -> list[tuple[str, Callable[[], None]]]:
        return [
            ("recharge ¥100.00 by a WeChat scan", self.recharge),
            ("the same notification again, three times", self.repeat_notice),
            ("forged, stale, cut and wrong-amount notifications", self.bad_notices),
            ("a captured transfer: used number, stolen token, none at all", self.captured),
            ("lucky packet of ¥88.88 in 10 shares, 15 people grab at once", self.rush),
            ("everybody grabs again", self.grab_again),
            ("settled into wallets", self.settled),
            ("second packet half grabbed, third one paid by WeChat", self.send_short_lived),
            ("both expire: the rest comes back, WeChat refunds", self.expiry),
        ]

    # --- steps ----------------------------------------------------------------------------------------------------

    def recharge(self) -> None:
        before = self.sender.wallet()["available_fen"]
        bought = self.sender.call(
            "POST", "recharges", {"amount_fen": 10_000, "channel": "wechat", "scene": "native"}, key=new_key()
        )
        self.order_no = bought["order"]["order_no"]
        self.attempt_no = bought["order"]["attempts"][0]["attempt_no"]
        self.pay(bought["payment"])
        self.wait_for(
            lambda: self.sender.wallet()["available_fen"] == before + 10_000,
            "the wallet shows 10 000 fen more",
        )
        state = self.sender.call("GET", f"orders/{self.order_no}")["order"]["state"]
        expect(state == "SUCCESS", f"the order is {state}")
        self.rows.append(Row("recharge", yuan(10_000), self.order_no, state))

    def captured(self) -> None:
        """Somebody replays what he saw on the wire, and asks without a token at all."""
        before = self.sender.wallet()
        token, number = self.sender.channel.take()
        shown = {"X-Pay-Token": token, "X-Pay-Seq": str(number)}
        body = {"to_employee": self.people[1].name, "amount_fen": 1, "memo": "again"}
        self._refused(self.sender.request("POST", "transfers", body, key=new_key()), "token_invalid", "no token")
        poor = {**body, "amount_fen": 9_999_999}
        first = self.sender.request("POST", "transfers", poor, key=new_key(), headers=shown)
        expect(first.status_code == 422, f"a transfer of too much answered {first.status_code}")
        again = self.sender.request("POST", "transfers", body, key=new_key(), headers=shown)
        self._refused(again, "sequence_used", "a used number")
        stolen = self.people[2].request("POST", "transfers", body, key=new_key(), headers=shown)
        self._refused(stolen, "token_invalid", "somebody else's token")
        expect(self.sender.wallet() == before, "a refused transfer moved money")

    def _refused(self, answer: requests.Response, code: str, what: str) -> None:
        seen = (answer.status_code, answer.json().get("error", {}).get("code"))
        expect(seen == (403, code), f"a transfer with {what} answered {seen}")
        self.rows.append(Row(f"transfer with {what}", yuan(0), "", f"refused 403 {code}"))

    def repeat_notice(self) -> None:
        before = self.sender.wallet()
        result = self.simulator("POST", "notices/resend", {"attempt_no": self.attempt_no, "times": 3})
        statuses = [delivery["status"] for delivery in result["deliveries"]]
        expect(all(status in (200, 204) for status in statuses), f"repeated notices were answered {statuses}")
        expect(self.sender.wallet() == before, "a repeated notification moved money")
        self.rows.append(Row("notification repeated 3x", yuan(0), self.order_no, "nothing moved"))

    def bad_notices(self) -> None:
        before = self.sender.wallet()
        for tamper in ("signature", "stale", "truncate", "amount"):
            result = self.simulator("POST", "notices/resend", {"attempt_no": self.attempt_no, "tamper": tamper})
            status = result["deliveries"][0]["status"]
            expect(400 <= status < 500, f"a notice with {tamper} was answered {status}")
            self.rows.append(Row(f"notification: {tamper}", yuan(0), self.order_no, f"refused {status}"))
        expect(self.sender.wallet() == before, "a bad notification moved money")

    def rush(self) -> None:
        self.before_rush = {person.name: person.wallet()["available_fen"] for person in self.people}
        body = {"kind": "lucky", "total_fen": 8_888, "count": 10, "group": self.group_id, "pay": "wallet"}
        packet = self.sender.pay("redpackets", {**body, "greeting": "恭喜发财"}, key=new_key())
        self.packet_id = packet["redpacket"]["id"]
        self.wait_open(self.packet_id, self.sender)
        with ThreadPoolExecutor(len(self.people)) as pool:
            answers = list(pool.map(lambda person: person.fresh(f"redpackets/{self.packet_id}/grab"), self.people))
        self.grabbed = {
            person.name: answer.json()["amount_fen"]
            for person, answer in zip(self.people, answers, strict=True)
            if answer.status_code == 200
        }
        refused = [answer.json()["error"]["code"] for answer in answers if answer.status_code != 200]
        expect(len(self.grabbed) == 10, f"{len(self.grabbed)} people grabbed a share")
        expect(sum(self.grabbed.values()) == 8_888, f"the shares sum to {sum(self.grabbed.values())}")
        expect(refused == ["redpacket_empty"] * 5, f"the others were told {refused}")
        self.rows.append(
            Row(
                "red packet grabbed by 10 of 15",
                yuan(8_888),
                packet["order"]["order_no"],
                packet["order"]["state"],
            )
        )

    def grab_again(self) -> None:
        for person in self.people:
            answer = person.fresh(f"redpackets/{self.packet_id}/grab")
            if person.name in self.grabbed:
                seen = (answer.status_code, answer.json().get("result"), answer.json().get("amount_fen"))
                expect(seen == (200, "already", self.grabbed[person.name]), f"a repeated grab answered {seen}")
            else:
                expect(answer.status_code == 409, f"a late grab answered {answer.status_code}")
        self.rows.append(Row("15 repeated grabs", yuan(0), self.packet_id, "nothing moved"))

    def settled(self) -> None:
        expected = {name: fen + self.grabbed.get(name, 0) for name, fen in self.before_rush.items()}
        expected[self.sender.name] -= 8_888
        self.wait_for(
            lambda: {person.name: person.wallet()["available_fen"] for person in self.people} == expected,
            "all ten shares are in the wallets",
        )
        expect(self.sender.wallet()["frozen_fen"] == 0, "money is still frozen")
        state = self.packet(self.packet_id, self.sender)["state"]
        self.rows.append(Row("10 shares settled", yuan(8_888), self.packet_id, state))

    def send_short_lived(self) -> None:
        """Two packets that nobody empties: one from the wallet, half grabbed, one paid by WeChat, not grabbed."""
        self.before_expiry = self.sender.wallet()["available_fen"]
        life = {"expires_in_seconds": PACKET_LIFE_SECONDS}
        half = {"kind": "lucky", "total_fen": 1_000, "count": 10, "group": self.group_id, "pay": "wallet", **life}
        self.half_id = self.sender.pay("redpackets", half, key=new_key())["redpacket"]["id"]
        receiver = self.people[1].name
        scan = {"channel": "wechat", "scene": "native"}
        paid = {"kind": "normal", "total_fen": 520, "count": 1, "receiver": receiver, "pay": scan, **life}
        self.by_wechat = self.sender.pay("redpackets", paid, key=new_key())
        self.pay(self.by_wechat["payment"])
        self.wait_open(self.half_id, self.sender)
        self.wait_open(self.by_wechat["redpacket"]["id"], self.sender)
        self.half_taken = sum(
            person.pay(f"redpackets/{self.half_id}/grab")["amount_fen"] for person in self.people[1:6]
        )
        self.rows.append(Row("second packet half grabbed", yuan(self.half_taken), self.half_id, "OPEN"))

    def expiry(self) -> None:
        rest = 1_000 - self.half_taken
        expected = {"available_fen": self.before_expiry - self.half_taken, "frozen_fen": 0, "currency": "CNY"}
        attempt_no = self.by_wechat["order"]["attempts"][0]["attempt_no"]
        self.wait_for(lambda: self.refunded_at_provider(attempt_no) == 520, "WeChat refunds 520 fen")
        self.wait_for(lambda: self.sender.wallet() == expected, f"the rest of {rest} fen comes back, nothing is frozen")
        for packet_id, amount, what in (
            (self.half_id, rest, "expired, rest back in the wallet"),
            (self.by_wechat["redpacket"]["id"], 520, "expired, refunded to WeChat"),
        ):
            state = self.packet(packet_id, self.sender)["state"]
            expect(state == "EXPIRED", f"the packet is {state}")
            self.rows.append(Row(what, yuan(amount), packet_id, state))
        late = self.people[7].fresh(f"redpackets/{self.half_id}/grab")
        expect(late.status_code == 410, f"a grab after expiry answered {late.status_code}")

    # --- helpers --------------------------------------------------------------------------------------------------

    def simulator(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(
            method, f"{self.world['simulator_url']}/_sim/{path}", json=body, timeout=TIMEOUT_SECONDS
        )
        expect(answer.status_code < 400, f"simulator {path} answered {answer.status_code}: {answer.text[:300]}")
        return answer.json()

    def pay(self, payment: dict[str, Any]) -> None:
        self.simulator("POST", "pay", {"payment": payment})

    def refunded_at_provider(self, attempt_no: str) -> int:
        refunds = self.simulator("GET", "books")["refunds"]
        return sum(
            row["amount_fen"] for row in refunds if row["attempt_no"] == attempt_no and row["state"] == "SUCCESS"
        )

    def packet(self, packet_id: str, person: Api) -> dict[str, Any]:
        answer = person.call("GET", f"redpackets/{packet_id}")
        return answer.get("redpacket", answer)

    def wait_open(self, packet_id: str, person: Api) -> None:
        self.wait_for(lambda: self.packet(packet_id, person)["state"] == "OPEN", "the packet opens")

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise StoryError(f"not within {WAIT_SECONDS:.0f} s: {what}")
            time.sleep(0.2)


def expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise StoryError(otherwise)


def new_key() -> str:
    return uuid.uuid4().hex


def prove_books() -> bool:
    """`manage.py money prove`, with its figures printed."""
    result = subprocess.run([sys.executable, "manage.py", "money", "prove"], cwd=ROOT, check=False)
    return result.returncode == 0


def print_table(rows: list[Row]) -> None:
    widths = [
        max(len(getattr(row, name)) for row in [*rows, Row("step", "amount", "number", "state")])
        for name in Row.__annotations__
    ]
    line = "+".join("-" * (width + 2) for width in widths)
    for index, row in enumerate([Row("step", "amount", "number", "state"), *rows]):
        step, amount, number, state = row.step, row.amount, row.number, row.state
        print(f" {step:<{widths[0]}} | {amount:>{widths[1]}} | {number:<{widths[2]}} | {state:<{widths[3]}}")
        if index == 0:
            print(line)


def main() -> int:
    world = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    started = time.monotonic()
    print("\nThe story\n", flush=True)
    try:
        story = Story(world)
        steps = story.steps()
        for number, (title, step) in enumerate(steps, start=1):
            print(f"  [{number}/{len(steps)}] {title} …", flush=True)
            begun = time.monotonic()
            step()
            print(f"  [{number}/{len(steps)}] ok ({time.monotonic() - begun:.1f} s)", flush=True)
    except (StoryError, ChannelError, requests.RequestException, KeyError) as error:
        print(f"\n  FAILED: {error!r}", flush=True)
        return 1
    print()
    print_table(story.rows)
    print("", flush=True)
    is_balanced = prove_books()
    print(f"\nstory told in {time.monotonic() - started:.1f} s", flush=True)
    return 0 if is_balanced else 1


if __name__ == "__main__":
    sys.exit(main())
