"""A captured request in any variation: refused, or answered as the first time; never does money move again.

Somebody saw everything of one call, headers and body, and sends variations of it. 500 here, 10 000 by night, from a
seed that a failure prints.
"""

from __future__ import annotations

import random
import secrets
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from foundation import redis
from identity.models import Employee
from identity.validator_lua import WINDOW, token_key
from tests import worlds
from tests.validating import new_token

VARIATIONS, VARIATIONS_BY_NIGHT = 500, 10_000
PER_CAPTURE = 50
START_FEN = 100_000


@dataclass(frozen=True)
class Call:
    """All of one request."""

    path: str
    body: dict[str, Any]
    access_token: str
    key: str
    token: str
    sequence: str

    def send(self, client: Client) -> Any:
        return client.post(
            f"/api/v1/{self.path}",
            self.body,
            content_type="application/json",
            headers={
                "Authorization": f"Bearer {self.access_token}",
                "Idempotency-Key": self.key,
                "X-Pay-Token": self.token,
                "X-Pay-Seq": self.sequence,
            },
        )


@dataclass
class Scene:
    """Who is there: the victim, who paid with `captured`; his next calls; a colleague and an outsider."""

    random: random.Random
    captured: Call
    later: list[Call]
    colleague_token: str
    outsider_token: str

    def fresh_key(self) -> str:
        return f"{self.random.getrandbits(64):x}"


Variation = Callable[[Scene], tuple[Call, set[str]]]
"""The call to send, and what may be answered."""

USED, INVALID = {"sequence_used"}, {"token_invalid"}


def other_key(scene: Scene) -> tuple[Call, set[str]]:
    return replace(scene.captured, key=scene.fresh_key()), USED


def other_amount(scene: Scene) -> tuple[Call, set[str]]:
    body = {**scene.captured.body, "amount_fen": scene.random.randint(2, 900)}
    return replace(scene.captured, body=body, key=scene.random.choice([scene.captured.key, scene.fresh_key()])), USED


def other_receiver(scene: Scene) -> tuple[Call, set[str]]:
    return replace(scene.captured, body={**scene.captured.body, "to_employee": "e0003"}), USED


def other_memo(scene: Scene) -> tuple[Call, set[str]]:
    return replace(scene.captured, body={**scene.captured.body, "memo": scene.fresh_key()}), USED


def other_endpoint(scene: Scene) -> tuple[Call, set[str]]:
    body = {"kind": "normal", "total_fen": 1, "count": 1, "receiver": "e0003", "pay": "wallet"}
    return replace(scene.captured, path="redpackets", body=body), USED


def earlier_or_later_number(scene: Scene) -> tuple[Call, set[str]]:
    """Numbers of other calls in any order: all used."""
    taken = scene.random.choice(scene.later)
    return replace(scene.captured, sequence=taken.sequence, key=scene.fresh_key()), USED


def number_before_the_first(scene: Scene) -> tuple[Call, set[str]]:
    number = int(scene.captured.sequence) - scene.random.randint(1, 9_000)
    return replace(scene.captured, sequence=str(number), key=scene.fresh_key()), USED


def number_beyond_the_window(scene: Scene) -> tuple[Call, set[str]]:
    number = int(scene.later[-1].sequence) + 1 + WINDOW + scene.random.randint(1, 10**6)
    return replace(scene.captured, sequence=str(number), key=scene.fresh_key()), USED


def number_written_otherwise(scene: Scene) -> tuple[Call, set[str]]:
    """The same number, or the next good one, in another spelling; a header's outer blanks are no spelling."""
    number = int(scene.later[-1].sequence) + 1
    spelled = scene.random.choice(
        [f"0{number}", f"+{number}", f"{number}.0", f"{number:#x}", f"{number}e0", f"-{number}"]
    )
    return replace(scene.captured, sequence=spelled, key=scene.fresh_key()), USED | INVALID


def somebody_else(scene: Scene) -> tuple[Call, set[str]]:
    """The victim's token with a log-in of another one; used and unused numbers."""
    number = str(int(scene.later[-1].sequence) + scene.random.randint(-3, WINDOW))
    access_token = scene.random.choice([scene.colleague_token, scene.outsider_token])
    body = {**scene.captured.body, "to_employee": scene.random.choice(["e0002", "e0003"])}
    return replace(scene.captured, access_token=access_token, body=body, sequence=number), INVALID


def token_changed(scene: Scene) -> tuple[Call, set[str]]:
    """One character of the token, with a number that would be good."""
    place = scene.random.randrange(len(scene.captured.token))
    letter = scene.random.choice([c for c in "abcXYZ019-_." if c != scene.captured.token[place]])
    token = scene.captured.token[:place] + letter + scene.captured.token[place + 1 :]
    number = str(int(scene.later[-1].sequence) + 1)
    return replace(scene.captured, token=token, sequence=number, key=scene.fresh_key()), INVALID


def token_guessed(scene: Scene) -> tuple[Call, set[str]]:
    """The label is known, the 128 bits are not."""
    token = scene.captured.token.partition(".")[0] + "." + secrets.token_urlsafe(16)
    return replace(scene.captured, token=token, key=scene.fresh_key()), INVALID


def token_left_out(scene: Scene) -> tuple[Call, set[str]]:
    changes = scene.random.choice([{"token": ""}, {"sequence": ""}, {"token": "", "sequence": ""}])
    return replace(scene.captured, **changes, key=scene.fresh_key()), INVALID


def unchanged(scene: Scene) -> tuple[Call, set[str]]:
    """Nothing changed: the first answer, word by word."""
    return scene.random.choice([scene.captured, *scene.later]), {"replayed"}


VARIATIONS_KNOWN: list[Variation] = [
    other_key,
    other_amount,
    other_receiver,
    other_memo,
    other_endpoint,
    earlier_or_later_number,
    number_before_the_first,
    number_beyond_the_window,
    number_written_otherwise,
    somebody_else,
    token_changed,
    token_guessed,
    token_left_out,
    unchanged,
]


def outcome_of(answer: Any) -> str:
    if answer.status_code == 201 and answer.headers.get("Idempotent-Replayed") == "true":
        return "replayed"
    return str(answer.json().get("error", {}).get("code", answer.status_code))


def make_scene(client: Client, people: list[Employee], outsider: Employee, rng: random.Random) -> Scene:
    """The victim makes three transfers with one token, each a fen."""
    victim, colleague = people[0], people[1]
    token = new_token(victim)
    access_token = worlds.token_of(victim)
    calls = [
        Call(
            path="transfers",
            body={"to_employee": "e0002", "amount_fen": 1, "memo": "lunch"},
            access_token=access_token,
            key=uuid.uuid4().hex,
            token=token.text,
            sequence=str(token.sequence + place),
        )
        for place in range(3)
    ]
    assert [call.send(client).status_code for call in calls] == [201, 201, 201]
    return Scene(
        random=rng,
        captured=calls[0],
        later=calls[1:],
        colleague_token=worlds.token_of(colleague),
        outsider_token=worlds.token_of(outsider),
    )


@pytest.mark.usefixtures("committed_db")
def test_no_variation_of_a_captured_request_moves_money(client: Client, settings: Settings, nightly: bool) -> None:
    settings.VALIDATOR = "required"
    settings.VALIDATOR_TOKENS_PER_MINUTE = 0  # by night the victim asks for 200 of them within minutes
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    people, outsider = worlds.make_world(3).employees, worlds.make_world(3).employees[0]
    for somebody in (*people[:2], outsider):
        worlds.give_money(somebody, START_FEN)
    outcomes: Counter[str] = Counter()
    total = VARIATIONS_BY_NIGHT if nightly else VARIATIONS
    for _ in range(total // PER_CAPTURE):
        scene = make_scene(client, people, outsider, rng)
        before = [worlds.wallet_of(somebody) for somebody in (*people, outsider)]
        for place in range(PER_CAPTURE):
            variation = VARIATIONS_KNOWN[(place + rng.randrange(len(VARIATIONS_KNOWN))) % len(VARIATIONS_KNOWN)]
            call, allowed = variation(scene)
            outcome = outcome_of(call.send(client))
            assert outcome in allowed, f"seed {seed}, {variation.__name__}: {outcome}, {call}"
            outcomes[f"{variation.__name__}: {outcome}"] += 1
        assert [worlds.wallet_of(somebody) for somebody in (*people, outsider)] == before, f"seed {seed}"
        redis.client().delete(token_key(scene.captured.token))  # the token's end: now even the same call is too late
        for call in (scene.captured, replace(scene.captured, key=scene.fresh_key()), *scene.later):
            assert outcome_of(call.send(client)) == "token_invalid", f"seed {seed}"
        assert [worlds.wallet_of(somebody) for somebody in (*people, outsider)] == before, f"seed {seed}"
    assert sum(outcomes.values()) == total
    assert {name.partition(":")[0] for name in outcomes} == {one.__name__ for one in VARIATIONS_KNOWN}
    print(f"\n{total} variations, seed {seed}:", dict(sorted(outcomes.items())))
