"""The scripts on a real Redis; no database."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator

import pytest
from redis.crc import key_slot
from redis.exceptions import NoScriptError
from redis.exceptions import TimeoutError as TimedOut

from foundation import clock, ids, redis
from redpacket import cache
from redpacket.cache import Admission, Code, Contents, Rates, Ticket

ENTERPRISE = 7
ALICE, BOB, CAROL, STRANGER = 11, 12, 13, 99
FIRST, SECOND = Ticket(share_no=1, amount_fen=120), Ticket(share_no=2, amount_fen=380)


@pytest.fixture
def packet_id() -> Iterator[str]:
    packet = ids.new_id()
    yield packet
    cache.forget(packet_id=packet)
    redis.client().delete(f"rp:{{{packet}}}:build")


def publish(packet: str, *, state: str = "OPEN", expires_in_seconds: float = 600, **more: object) -> None:
    now = clock.now()
    fields: dict[str, object] = {"free": [FIRST, SECOND], "taken": {}, "members": [ALICE, BOB, CAROL], **more}
    expires_at = now + dt.timedelta(seconds=expires_in_seconds)
    cache.publish(
        contents=Contents(packet_id=packet, state=state, enterprise_id=ENTERPRISE, expires_at=expires_at, **fields),  # type: ignore[arg-type]
        now=now,
    )


def admit(packet: str, employee: int, *, enterprise: int = ENTERPRISE) -> Admission:
    """The answer without the ids, which must be the caller's."""
    answer = cache.admit(packet_id=packet, employee_id=employee, enterprise_id=enterprise)
    assert (answer.employee_id, answer.enterprise_id) == (employee, enterprise)
    return dataclasses.replace(answer, employee_id=0, enterprise_id=0)


def dump(packet: str) -> dict[str, object]:
    meta, free, taken, pending, members = cache.keys_of(packet)
    client = redis.client()
    return {
        "state": client.hget(meta, "state"),
        "list": client.lrange(free, 0, -1),
        "taken": client.hgetall(taken),
        "pending": client.zrange(pending, 0, -1),
        "members": client.smembers(members),
    }


def test_shares_are_handed_out_in_stored_order_and_then_it_is_empty(packet_id: str) -> None:
    publish(packet_id)
    assert admit(packet_id, ALICE) == Admission(code=Code.TAKEN, ticket=FIRST)
    assert admit(packet_id, BOB) == Admission(code=Code.TAKEN, ticket=SECOND)
    assert admit(packet_id, CAROL) == Admission(code=Code.EMPTY)
    assert dump(packet_id) == {
        "state": "OPEN",
        "list": [],
        "taken": {"11": "1:120", "12": "2:380"},
        "pending": ["11", "12"],
        "members": {"11", "12", "13"},
    }


def test_a_repeat_gets_the_same_share_before_and_after_the_confirmation(packet_id: str) -> None:
    publish(packet_id)
    assert admit(packet_id, ALICE) == Admission(code=Code.TAKEN, ticket=FIRST)
    assert admit(packet_id, ALICE) == Admission(code=Code.TAKEN, ticket=FIRST)
    cache.confirm(packet_id=packet_id, employee_id=ALICE, ticket=FIRST)
    assert admit(packet_id, ALICE) == Admission(code=Code.ALREADY, ticket=FIRST)
    assert dump(packet_id)["list"] == ["2:380"]
    assert dump(packet_id)["pending"] == []


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("EXHAUSTED", Code.EMPTY),
        ("EXPIRED", Code.EXPIRED),
        ("CANCELLED", Code.NOT_OPEN),
        ("DRAFT", Code.NOT_OPEN),
    ],
)
def test_a_packet_that_is_not_open_refuses_but_remembers(packet_id: str, state: str, code: Code) -> None:
    publish(packet_id, state=state, taken={BOB: SECOND}, free=[FIRST])
    before = dump(packet_id)
    assert admit(packet_id, ALICE) == Admission(code=code)
    assert admit(packet_id, BOB) == Admission(code=Code.ALREADY, ticket=SECOND)
    assert dump(packet_id) == before


def test_expiry_follows_the_clock_of_redis(packet_id: str) -> None:
    publish(packet_id, expires_in_seconds=-0.001, taken={BOB: SECOND}, free=[FIRST])
    before = dump(packet_id)
    assert admit(packet_id, ALICE) == Admission(code=Code.EXPIRED)
    assert admit(packet_id, BOB) == Admission(code=Code.ALREADY, ticket=SECOND)
    assert dump(packet_id) == before


def test_who_may_not_grab_is_refused_and_nothing_moves(packet_id: str) -> None:
    publish(packet_id)
    before = dump(packet_id)
    assert admit(packet_id, STRANGER) == Admission(code=Code.FORBIDDEN)
    assert admit(packet_id, ALICE, enterprise=8) == Admission(code=Code.FOREIGN)
    assert dump(packet_id) == before


def test_an_unknown_packet_is_missing_and_no_key_appears(packet_id: str) -> None:
    assert admit(packet_id, ALICE) == Admission(code=Code.MISSING)
    cache.confirm(packet_id=packet_id, employee_id=ALICE, ticket=FIRST)
    assert cache.give_back(packet_id=packet_id, employee_id=ALICE, ticket=FIRST) is False
    cache.mark(packet_id=packet_id, state="EXPIRED")
    assert redis.client().exists(*cache.keys_of(packet_id)) == 0


def test_a_share_given_back_goes_to_the_next_one(packet_id: str) -> None:
    publish(packet_id, free=[FIRST])
    admit(packet_id, ALICE)
    assert cache.give_back(packet_id=packet_id, employee_id=ALICE, ticket=FIRST) is True
    assert cache.give_back(packet_id=packet_id, employee_id=ALICE, ticket=FIRST) is False
    assert admit(packet_id, BOB) == Admission(code=Code.TAKEN, ticket=FIRST)


def test_a_confirmed_share_can_neither_be_given_back_nor_discarded(packet_id: str) -> None:
    publish(packet_id)
    admit(packet_id, ALICE)
    cache.confirm(packet_id=packet_id, employee_id=ALICE, ticket=FIRST)
    before = dump(packet_id)
    assert cache.give_back(packet_id=packet_id, employee_id=ALICE, ticket=FIRST) is False
    assert cache.discard(packet_id=packet_id, employee_id=ALICE, ticket=FIRST) is False
    assert dump(packet_id) == before


def test_a_discarded_share_is_gone_and_its_taker_gets_the_next(packet_id: str) -> None:
    publish(packet_id)
    admit(packet_id, ALICE)
    assert cache.discard(packet_id=packet_id, employee_id=ALICE, ticket=SECOND) is False
    assert cache.discard(packet_id=packet_id, employee_id=ALICE, ticket=FIRST) is True
    assert admit(packet_id, ALICE) == Admission(code=Code.TAKEN, ticket=SECOND)
    assert dump(packet_id)["list"] == []


def test_confirming_another_share_frees_the_reserved_one(packet_id: str) -> None:
    publish(packet_id)
    admit(packet_id, ALICE)
    cache.confirm(packet_id=packet_id, employee_id=ALICE, ticket=Ticket(share_no=9, amount_fen=5))
    assert dump(packet_id)["list"] == ["2:380", "1:120"]
    assert dump(packet_id)["taken"] == {"11": "9:5"}
    cache.confirm(packet_id=packet_id, employee_id=ALICE, ticket=Ticket(share_no=9, amount_fen=5))
    assert dump(packet_id)["list"] == ["2:380", "1:120"]


def test_every_key_ends_by_itself(packet_id: str) -> None:
    publish(packet_id, free=[FIRST], expires_in_seconds=100)
    admit(packet_id, ALICE)
    cache.give_back(packet_id=packet_id, employee_id=ALICE, ticket=FIRST)  # the list was empty and is made again
    admit(packet_id, BOB)
    cache.confirm(packet_id=packet_id, employee_id=CAROL, ticket=SECOND)
    cache.give_back(packet_id=packet_id, employee_id=BOB, ticket=FIRST)
    admit(packet_id, ALICE)
    client = redis.client()
    lives = {key: client.ttl(key) for key in client.scan_iter(f"rp:{{{packet_id}}}:*")}
    assert set(lives) == set(cache.keys_of(packet_id)) - {cache.keys_of(packet_id)[1]}
    assert all(3600 < seconds <= 3700 for seconds in lives.values()), lives


def test_publishing_again_replaces_everything(packet_id: str) -> None:
    publish(packet_id)
    admit(packet_id, ALICE)
    publish(packet_id, free=[SECOND], taken={BOB: FIRST}, members=[BOB])
    assert dump(packet_id) == {
        "state": "OPEN",
        "list": ["2:380"],
        "taken": {"12": "1:120"},
        "pending": [],
        "members": {"12"},
    }


def test_marking_changes_the_state_only(packet_id: str) -> None:
    publish(packet_id)
    cache.mark(packet_id=packet_id, state="EXPIRED")
    assert admit(packet_id, ALICE) == Admission(code=Code.EXPIRED)
    assert dump(packet_id)["list"] == ["1:120", "2:380"]


def test_pending_shares_are_listed_by_age(packet_id: str) -> None:
    publish(packet_id)
    admit(packet_id, ALICE)
    now = cache.clock()
    soon, before = now + dt.timedelta(seconds=1), now - dt.timedelta(seconds=5)
    assert cache.list_pending(packet_ids=[packet_id, "0" * 32], older_than=soon) == [(packet_id, ALICE, FIRST)]
    assert cache.list_pending(packet_ids=[packet_id], older_than=before) == []


def test_there_is_one_builder_at_a_time(packet_id: str) -> None:
    token = cache.lock_build(packet_id=packet_id)
    assert token is not None
    assert cache.lock_build(packet_id=packet_id) is None
    cache.unlock_build(packet_id=packet_id, token="somebody else's")
    assert cache.lock_build(packet_id=packet_id) is None
    cache.unlock_build(packet_id=packet_id, token=token)
    assert cache.lock_build(packet_id=packet_id) is not None


def test_all_keys_of_a_packet_share_one_hash_slot(packet_id: str) -> None:
    slots = {key_slot(key.encode()) for key in cache.keys_of(packet_id)}
    assert len(slots) == 1


def test_who_hammers_gets_exactly_his_rate_and_moves_nothing(packet_id: str) -> None:
    """Three at once, then one every hundred seconds; a refused call pays nothing, so the wait does not grow."""
    employee = int(ids.new_id()[:12], 16)
    publish(packet_id, members=[employee])
    slow = SlowRates(employee_per_second=1, employee_burst=3, packet_per_second=0, packet_burst=0)
    answers = [
        cache.admit(packet_id=packet_id, employee_id=employee, enterprise_id=ENTERPRISE, rates=slow) for _ in range(6)
    ]
    assert [answer.code for answer in answers] == [Code.TAKEN] * 3 + [Code.LIMITED] * 3
    assert {answer.wait_seconds for answer in answers[3:]} == {100}
    assert dump(packet_id)["list"] == ["2:380"]
    redis.client().delete(f"rp:rate:{employee}")


def test_a_packet_has_a_limit_of_its_own(packet_id: str) -> None:
    publish(packet_id)
    slow = SlowRates(employee_per_second=0, employee_burst=0, packet_per_second=1, packet_burst=2)
    codes = [
        cache.admit(packet_id=packet_id, employee_id=employee, enterprise_id=ENTERPRISE, rates=slow).code
        for employee in (ALICE, BOB, CAROL)
    ]
    assert codes == [Code.TAKEN, Code.TAKEN, Code.LIMITED]
    assert CAROL not in {int(who) for who in redis.client().hkeys(cache.keys_of(packet_id)[2])}
    redis.client().delete(f"rp:{{{packet_id}}}:rate")


class SlowRates(Rates):
    """A call pays for a hundred seconds, so that no test waits or depends on the machine."""

    def arguments(self) -> tuple[int, int, int, int]:
        employee, employee_burst, packet, packet_burst = super().arguments()
        return employee * 100, employee_burst, packet * 100, packet_burst


class SlowLine:
    """A connection whose script is not known there, and whose second answer does not come in time."""

    def __init__(self) -> None:
        self.asked: list[bool] = []

    def send_packed_command(self, command: list[bytes], *, check_health: bool) -> None:
        assert check_health is False

    def read_response(self, *, disconnect_on_error: bool = False) -> object:
        self.asked.append(disconnect_on_error)
        if len(self.asked) == 1:
            raise NoScriptError("NOSCRIPT No matching script.")
        raise TimedOut("not in time")


def test_a_line_whose_answer_may_still_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the thread's next grab would read the answer of this one. Sentinels' connections keep it unless told."""
    line = SlowLine()
    monkeypatch.setattr(cache._line, "connection", line)
    with pytest.raises(TimedOut):
        cache._ask([(cache._mark, ["k1:meta"], ["OPEN"])])
    assert line.asked == [True, True]
