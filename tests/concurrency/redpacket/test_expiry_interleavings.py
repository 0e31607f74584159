"""The last grabs, two sweepers and a settlement, statement by statement in orders that seeds decide: always exact.

PAYSYS_INTERLEAVING_SEED begins elsewhere; a failure names the seed that repeats it.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from foundation import clock
from foundation.db import roles
from payments.domain.people import Person
from payments.services import numbers
from redpacket.domain.states import PacketKind, PacketState, RefundState
from redpacket.models import RedPacket, Share
from redpacket.services import claiming, closing, expiry, send, settlement
from redpacket.services.claiming import Verdict
from tests.books import assert_books_balance
from tests.concurrency.redpacket.interleaving import Conductor
from tests.integration.redpacket.packets import amounts, claims, end_lifetime
from tests.integration.redpacket.people import People, give_money, make_people, wallet

pytestmark = pytest.mark.usefixtures("committed_db")
TRIES, TRIES_NIGHTLY = 60, 1_000
TOTAL_FEN, SHARES, RUSHING = 100, 3, 3
"""One share is grabbed before; three people rush for the other two."""


def send_one(people: People) -> RedPacket:
    sent = send.send_packet(
        order_no=numbers.issue(prefix=numbers.Prefix.REDPACKET_SEND, account_id=people.sender.employee_id),
        sender=people.sender,
        new=send.NewPacket(kind=PacketKind.LUCKY, total_fen=TOTAL_FEN, count=SHARES, group_id=people.group_id),
        pay=send.PayBy(source="wallet"),
        now=clock.now(),
    )
    return sent.packet


def claim(packet: RedPacket, person: Person) -> claiming.Claim:
    return claiming.claim_any(packet_id=packet.pk, employee_id=person.employee_id, now=clock.now())


def works_on(packet: RedPacket, rushing: list[Person]) -> list[Callable[[], object]]:
    return [
        *(partial(claim, packet, person) for person in rushing),
        lambda: end_lifetime(packet),
        *[lambda: expiry.expire_packet(packet=packet, now=clock.now())] * 2,
        lambda: settlement.settle_packet(packet_id=packet.pk, now=clock.now()),
    ]


def test_expiry_races_with_the_last_grabs(nightly: bool) -> None:
    tries = TRIES_NIGHTLY if nightly else TRIES
    first_seed = int(os.environ.get("PAYSYS_INTERLEAVING_SEED") or random.randrange(2**32))
    print(f"PAYSYS_INTERLEAVING_SEED={first_seed}")
    people = make_people(count=RUSHING + 2)
    early, *rushing = people.members[1:]
    give_money(people.sender, amount_fen=TRIES_NIGHTLY * TOTAL_FEN)
    ends: Counter[tuple[str, int]] = Counter()
    with Conductor(alias=roles.alias_for("redpacket"), size=RUSHING + 4) as conductor:
        for seed in range(first_seed, first_seed + tries):
            packet = send_one(people)
            assert claim(packet, early).verdict is Verdict.GRABBED
            outcomes = conductor.play(works_on(packet, rushing), seed=seed)
            ends[check(packet, rushing, outcomes, seed)] += 1
    print(dict(ends), f"{conductor.steps} statements in seeded order, {conductor.blocked} of them waited for a lock")
    assert sum(sum(wallet(person)) for person in people.members) == TRIES_NIGHTLY * TOTAL_FEN
    assert_books_balance()
    assert {state for state, _ in ends} == {PacketState.EXPIRED.value, PacketState.EXHAUSTED.value}
    assert {winners for _, winners in ends} == {0, 1, 2}
    assert conductor.blocked >= tries // 20


def check(packet: RedPacket, rushing: list[Person], outcomes: list[object], seed: int) -> tuple[str, int]:
    """Exactly one end, and every fen has exactly one owner; (state, winners of the rush)."""
    answers = outcomes[: len(rushing)]
    assert not any(isinstance(outcome, Exception) for outcome in outcomes), (seed, outcomes)
    won = {
        answer.ticket.share_no: person.employee_id
        for person, answer in zip(rushing, answers, strict=True)
        if isinstance(answer, claiming.Claim) and answer.verdict is Verdict.GRABBED and answer.ticket is not None
    }
    refused = {answer.verdict for answer in answers if isinstance(answer, claiming.Claim)} - {Verdict.GRABBED}
    assert refused <= {Verdict.EXPIRED, Verdict.EMPTY, Verdict.TAKEN}, (seed, refused)
    expiry.expire_packet(packet=packet, now=clock.now())
    settlement.settle_packet(packet_id=packet.pk, now=clock.now())
    ended = RedPacket.objects.get(pk=packet.pk)
    found = claims(packet)
    assert won.items() <= found.items(), (seed, won, found)
    assert len(found) == len(won) + 1, (seed, won, found)
    claimed_fen = sum(amounts(packet)[share_no] for share_no in found)
    rest_fen = TOTAL_FEN - claimed_fen
    expected = PacketState.EXPIRED if rest_fen else PacketState.EXHAUSTED
    assert (ended.state, ended.rest_fen) == (expected, rest_fen), seed
    if rest_fen:
        assert expiry.return_rest(packet=ended, now=clock.now()) is True
        assert RedPacket.objects.get(pk=packet.pk).refund_state == RefundState.SUCCESS, seed
    assert not Share.objects.filter(packet_id=packet.pk, receiver_id__isnull=False, settled_at=None).exists(), seed
    assert closing.exhaust_if_settled(packet_id=packet.pk, now=clock.now()) is False
    return ended.state, len(won)
