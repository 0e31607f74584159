"""Claims of one commit: what is plain is committed together, the rest is left to the single claim."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError, connections
from django.test.utils import CaptureQueriesContext

from foundation import clock
from foundation.db import roles
from payments.domain.people import Person
from redpacket.cache import Ticket
from redpacket.domain.states import PacketState
from redpacket.models import RedPacket, Share
from redpacket.services import claiming, grab
from redpacket.services.claiming import Wanted
from tests.integration.redpacket.packets import amounts, claims, end_lifetime, send_lucky
from tests.integration.redpacket.people import make_people

pytestmark = pytest.mark.django_db(databases="__all__")


def want(packet: RedPacket, share_no: int, person: Person) -> Wanted:
    ticket = Ticket(share_no=share_no, amount_fen=amounts(packet)[share_no])
    return Wanted(packet_id=packet.pk, ticket=ticket, employee_id=person.employee_id)


def together(*wanted: Wanted) -> list[bool]:
    return claiming.claim_together(wanted=wanted, now=clock.now())


def test_shares_of_several_packets_are_claimed_by_two_statements() -> None:
    people = make_people(count=4)
    first, second = (send_lucky(people, total_fen=500, count=3).packet for _ in range(2))
    wanted = [want(first, 3, people.members[0]), want(second, 1, people.members[0])]
    wanted += [want(first, 1, people.members[1]), want(first, 2, people.members[2])]
    with CaptureQueriesContext(connections[roles.alias_for("redpacket")]) as captured:
        assert together(*wanted) == [True] * 4
    texts = [query["sql"].split(" ")[0] for query in captured.captured_queries]
    assert [text for text in texts if text in ("SELECT", "UPDATE")] == ["SELECT", "UPDATE"]
    ids = [person.employee_id for person in people.members]
    assert claims(first) == {3: ids[0], 1: ids[1], 2: ids[2]}
    assert claims(second) == {1: ids[0]}
    assert Share.objects.filter(packet_id=first.pk, claimed_at=None).count() == 0


def test_one_bad_claim_never_hurts_the_others() -> None:
    """A share that is gone, a second share for one employee, a closed packet: each is left out, the rest is done."""
    people = make_people(count=6)
    packet, closed = (send_lucky(people, total_fen=600, count=5).packet for _ in range(2))
    Share.objects.filter(packet_id=packet.pk, share_no=1).update(
        receiver_id=people.members[5].employee_id, claimed_at=clock.now()
    )
    end_lifetime(closed)
    wanted = [
        want(packet, 1, people.members[0]),  # gone
        want(packet, 2, people.members[1]),
        want(packet, 3, people.members[5]),  # he has one
        want(closed, 1, people.members[1]),  # too late
        want(packet, 4, people.members[2]),
        want(packet, 4, people.members[3]),  # a rival in the same batch
        want(packet, 5, people.members[2]),  # the same employee again
    ]
    assert together(*wanted) == [False, True, False, False, True, False, False]
    ids = [person.employee_id for person in people.members]
    assert claims(packet) == {1: ids[5], 2: ids[1], 4: ids[2]}
    assert claims(closed) == {}


@pytest.mark.parametrize("state", [PacketState.DRAFT, PacketState.CANCELLED])
def test_nothing_is_claimed_of_a_packet_that_is_not_open(state: PacketState) -> None:
    people = make_people(count=2)
    packet = send_lucky(people, total_fen=500, count=2).packet
    RedPacket.objects.filter(pk=packet.pk).update(state=state)
    assert together(want(packet, 1, people.members[0])) == [False]
    assert claims(packet) == {}


def test_a_packet_that_does_not_exist_claims_nothing() -> None:
    ticket = Ticket(share_no=1, amount_fen=1)
    assert together(Wanted(packet_id="0" * 32, ticket=ticket, employee_id=1)) == [False]
    assert together() == []


def test_the_update_walks_the_index_of_share_numbers() -> None:
    """By the index of receivers it would lock other free shares, and batches would wait for each other."""
    people = make_people(count=2)
    packet = send_lucky(people, total_fen=500, count=2).packet
    alias = roles.alias_for("redpacket")
    with CaptureQueriesContext(connections[alias]) as captured:
        together(want(packet, 1, people.members[0]))
    update = next(query["sql"] for query in captured.captured_queries if query["sql"].startswith("UPDATE"))
    with connections[alias].cursor() as cursor:
        cursor.execute(f"EXPLAIN {update}".replace("%", "%%"))
        columns = [column[0] for column in cursor.description]
        plan = dict(zip(columns, cursor.fetchone(), strict=True))
    assert (plan["type"], plan["key"]) == ("range", "share_packet_no")


def test_a_broken_batch_is_made_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(count=2)
    packet = send_lucky(people, total_fen=500, count=2).packet

    def break_down(**_: Any) -> list[bool]:
        raise OperationalError(1213, "Deadlock found")

    monkeypatch.setattr(claiming, "claim_together", break_down)
    result = grab.grab(packet_id=packet.pk, employee=people.members[1], now=clock.now())
    assert result.result == "grabbed"
    assert claims(packet) == {result.share_no: people.members[1].employee_id}
