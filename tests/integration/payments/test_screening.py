"""Risk control in front of recharges, transfers and red packets: refused before anything is opened or moved."""

from __future__ import annotations

import datetime as dt

import pytest

from foundation import clock, outbox
from foundation.db import roles
from identity.models import Employee
from orders import selectors as orders
from orders.domain.states import OrderKind, OrderState
from orders.services import numbers
from payments.domain.people import Person
from payments.services import recharging, screening, transferring
from redpacket.domain.states import PacketKind
from redpacket.models import RedPacket
from redpacket.services import send
from risk.domain.facts import Action
from risk.models import Reservation
from risk.services import lists
from risk.services.deciding import RiskRejected
from risk.services.lists import NewEntry
from tests import worlds
from tests.integration.risk.asking import staff

pytestmark = pytest.mark.django_db(databases="__all__")


def block(employee: Employee) -> None:
    entry = NewEntry(
        kind="BLOCK",
        subject_kind="EMPLOYEE",
        value=f"{employee.enterprise.code}/{employee.code}",
        expires_on=clock.business_date(clock.now()) + dt.timedelta(days=3),
        reason="stolen telephone",
    )
    lists.add(entries=[entry], staff_id=staff().pk, now=clock.now())


def person(employee: Employee) -> Person:
    return Person(employee_id=employee.pk, enterprise_id=employee.enterprise_id)


def number(employee: Employee, prefix: numbers.Prefix) -> str:
    return numbers.issue(prefix=prefix, account_id=employee.pk)


def test_who_is_blocked_moves_nothing() -> None:
    thief, colleague = worlds.make_world(2).employees
    worlds.give_money(thief, 1_000)
    block(thief)
    transfer_no = number(thief, numbers.Prefix.TRANSFER)
    with pytest.raises(RiskRejected) as refused:
        transferring.transfer(
            order_no=transfer_no,
            payer=person(thief),
            to_code=colleague.code,
            amount_fen=100,
            memo="",
            now=clock.now(),
        )
    assert refused.value.details == {"rule": "BLOCK_LIST"}
    recharge_no = number(thief, numbers.Prefix.RECHARGE)
    with pytest.raises(RiskRejected):
        recharging.recharge(
            order_no=recharge_no,
            payer=person(thief),
            amount_fen=100,
            channel="wechat",
            scene="native",
            now=clock.now(),
        )
    packet_no = number(thief, numbers.Prefix.REDPACKET_SEND)
    new = send.NewPacket(kind=PacketKind.NORMAL, total_fen=100, count=1, receiver_code=colleague.code, greeting="")
    with pytest.raises(RiskRejected):
        send.send_packet(
            order_no=packet_no, sender=person(thief), new=new, pay=send.PayBy(source="wallet"), now=clock.now()
        )
    assert [orders.find_order(order_no=one) for one in (transfer_no, recharge_no, packet_no)] == [None] * 3
    assert not RedPacket.objects.filter(sender_id=thief.pk).exists()
    assert worlds.wallet_of(thief) == (1_000, 0)
    assert not Reservation.objects.filter(employee_id=thief.pk).exists()


def test_nobody_transfers_to_who_is_blocked() -> None:
    payer, thief = worlds.make_world(2).employees
    worlds.give_money(payer, 1_000)
    block(thief)
    with pytest.raises(RiskRejected):
        transferring.transfer(
            order_no=number(payer, numbers.Prefix.TRANSFER),
            payer=person(payer),
            to_code=thief.code,
            amount_fen=100,
            memo="",
            now=clock.now(),
        )
    assert worlds.wallet_of(payer) == (1_000, 0)


def test_what_ended_unpaid_counts_no_more() -> None:
    payer, colleague = worlds.make_world(2).employees
    order_no = number(payer, numbers.Prefix.TRANSFER)
    with pytest.raises(Exception, match="insufficient_funds"):
        transferring.transfer(
            order_no=order_no,
            payer=person(payer),
            to_code=colleague.code,
            amount_fen=100,
            memo="",
            now=clock.now(),
        )
    found = orders.get_order(order_no=order_no)
    assert (found.state, found.kind) == (OrderState.CLOSED, OrderKind.TRANSFER)
    held = Reservation.objects.get(action=Action.TRANSFER, reference=order_no)
    assert held.state == "HELD"
    for alias in roles.all_aliases():
        outbox.drain(using=alias, now=clock.now)
    held.refresh_from_db()
    assert held.state == "RETURNED"
    screening.release(kind="RETURN", order_no=order_no, now=clock.now())
