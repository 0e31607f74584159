"""Staff find packets, shares and settlements, and can change none of them."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from foundation import clock
from redpacket.models import RedPacket, Settlement, Share
from redpacket.services import grab, settlement
from tests.integration.redpacket.packets import send_lucky
from tests.integration.redpacket.people import make_people

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root-of-redpacket", password="correct-horse-battery"))
    return client


@pytest.fixture
def packet() -> RedPacket:
    people = make_people(count=2)
    packet = send_lucky(people, total_fen=500, count=2).packet
    grab.grab(packet_id=packet.pk, employee=people.sender, now=clock.now())
    settlement.settle_packet(packet_id=packet.pk, now=clock.now())
    return packet


def test_packets_are_found_by_their_numbers_and_lead_to_their_shares(staff: Client, packet: RedPacket) -> None:
    for text in (packet.pk, packet.funding_order_no, str(packet.sender_id)):
        page = staff.get("/admin/redpacket/redpacket/", {"q": text})
        assert page.status_code == 200
        assert packet.pk in page.content.decode()
    page = staff.get(f"/admin/redpacket/redpacket/{packet.pk}/change/").content.decode()
    assert f"/admin/redpacket/share/?packet__id__exact={packet.pk}" in page
    assert f"/admin/redpacket/settlement/?packet__id__exact={packet.pk}" in page
    assert f"/admin/orders/orderindex/?q={packet.funding_order_no}" in page
    assert f"/admin/identity/employee/{packet.sender_id}/change/" in page
    assert "¥5.00" in page
    shares = staff.get("/admin/redpacket/share/", {"packet__id__exact": packet.pk}).content.decode()
    assert shares.count("field-share_no") == 2
    assert f"/admin/redpacket/redpacket/{packet.pk}/change/" in shares


def test_shares_are_found_by_their_receipt(staff: Client, packet: RedPacket) -> None:
    share = Share.objects.get(packet_id=packet.pk, settled_at__isnull=False)
    page = staff.get("/admin/redpacket/share/", {"q": share.receipt_no}).content.decode()
    assert page.count("field-share_no") == 1
    assert staff.get(f"/admin/redpacket/share/{share.pk}/change/").status_code == 200
    assert f"/admin/orders/orderindex/?q={share.receipt_no}" in page
    batch = Settlement.objects.get(packet_id=packet.pk)
    batches = staff.get("/admin/redpacket/settlement/", {"q": packet.pk}).content.decode()
    assert f"/admin/redpacket/share/?settlement__id__exact={batch.pk}" in batches
    assert staff.get("/admin/redpacket/share/", {"settlement__id__exact": batch.pk}).status_code == 200
    assert staff.get(f"/admin/redpacket/settlement/{batch.pk}/change/").status_code == 200


def test_nothing_can_be_changed(staff: Client, packet: RedPacket) -> None:
    assert staff.get("/admin/redpacket/redpacket/add/").status_code == 403
    address = f"/admin/redpacket/redpacket/{packet.pk}/change/"
    assert staff.post(address, {"state": "CANCELLED", "total_fen": "1"}).status_code == 403
    assert staff.post(f"/admin/redpacket/redpacket/{packet.pk}/delete/", {"post": "yes"}).status_code == 403
    packet.refresh_from_db()
    assert (packet.state, packet.total_fen) == ("OPEN", 500)
