"""No two processes ever hold the same node id, and a returned one starts after its former holder's time."""

from __future__ import annotations

import datetime as dt

import pytest

from foundation import nodes
from foundation.models import NodeLease
from foundation.nodes import Lessee, Node
from tests.concurrency.foundation.crowd import together

pytestmark = pytest.mark.usefixtures("committed_db")

LONG_AGO = dt.datetime(2001, 1, 1, 0, 0, 0, 123_000, tzinfo=dt.UTC)


def test_lessees_at_once_get_different_ids() -> None:
    found = together([Lessee().current for _ in range(12)])
    assert all(isinstance(node, Node) for node in found), found
    assert len({node.node_id for node in found if isinstance(node, Node)}) == 12


def test_a_lessee_keeps_its_id() -> None:
    lessee = Lessee()
    assert [lessee.current() for _ in range(3)] == [lessee.current()] * 3


def test_an_id_whose_lease_ended_is_taken_over_by_one_and_lost_by_its_holder() -> None:
    old = Lessee().current()
    NodeLease.objects.filter(node_id=old.node_id).update(leased_until=LONG_AGO)
    found = together([Lessee().current for _ in range(6)])
    heirs = [node for node in found if isinstance(node, Node) and node.node_id == old.node_id]
    floor_ms = int(LONG_AGO.timestamp() * 1000)
    assert heirs == [Node(old.node_id, old.fence + 1, floor_ms)]
    assert len({node.node_id for node in found if isinstance(node, Node)}) == 6
    until = NodeLease.objects.get(node_id=old.node_id).leased_until
    assert nodes._renew(old) is False
    assert NodeLease.objects.get(node_id=old.node_id).leased_until == until
    assert nodes._renew(heirs[0]) is True


def test_an_id_is_not_taken_before_its_lease_surely_ended() -> None:
    old = Lessee().current()
    moment = nodes.transactions.database_now(using="default")
    just_ended = moment - dt.timedelta(seconds=nodes.SAFETY_SECONDS - 10)
    NodeLease.objects.filter(node_id=old.node_id).update(leased_until=just_ended)
    assert Lessee().current().node_id != old.node_id
