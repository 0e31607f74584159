"""Figures of employees by month and of enterprises by day."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext

from foundation import clock
from foundation.db import roles
from redpacket.models import RedPacket, Share
from redpacket.services import announcing, statistics
from redpacket.services.statistics import EnterpriseFigures, Figures
from tests import worlds
from tests.integration.redpacket.packets import send_lucky
from tests.integration.redpacket.people import People, employee_of, make_people
from tests.integration.redpacket.test_api import Caller

pytestmark = pytest.mark.django_db(databases="__all__")

NEW_YEAR = clock.day_start(dt.date(2026, 1, 1))
"""2025-12-31 16:00 in UTC."""
MICROSECOND = dt.timedelta(microseconds=1)


@pytest.fixture
def people() -> People:
    return make_people(count=3)


def sent_at(people: People, moment: dt.datetime, *, total_fen: int) -> str:
    packet = send_lucky(people, total_fen=total_fen, count=2).packet
    RedPacket.objects.filter(pk=packet.pk).update(opened_at=moment)
    return packet.pk


def end(packet_id: str, moment: dt.datetime, *, claims: dict[int, int], rest_fen: int) -> None:
    """Closes a packet: receiver → fen of his share, in the order of the claims."""
    for share_no, (receiver, amount_fen) in enumerate(claims.items(), start=1):
        Share.objects.filter(packet_id=packet_id, share_no=share_no).update(
            receiver_id=receiver, claimed_at=moment, amount_fen=amount_fen
        )
    RedPacket.objects.filter(pk=packet_id).update(
        state="EXPIRED" if rest_fen else "EXHAUSTED",
        closed_at=moment,
        rest_fen=rest_fen,
        refund_no=packet_id[:20] if rest_fen else "",
        refund_state="DUE" if rest_fen else "NONE",
    )
    assert announcing.conclude_packet(packet_id=packet_id, now=moment)


def test_a_year_of_an_employee(people: People) -> None:
    sender, first, second = people.members
    january = sent_at(people, NEW_YEAR, total_fen=500)
    sent_at(people, NEW_YEAR - MICROSECOND, total_fen=70)  # the year before
    open_one = sent_at(people, clock.day_start(dt.date(2026, 12, 31)), total_fen=90)
    end(january, NEW_YEAR, claims={first.employee_id: 300, second.employee_id: 200}, rest_fen=0)
    Share.objects.filter(packet_id=open_one, share_no=1).update(
        receiver_id=first.employee_id, claimed_at=clock.day_start(dt.date(2027, 1, 1)) - MICROSECOND, amount_fen=80
    )
    mine = statistics.get_person_year(person=sender, year=2026)
    assert mine.total == Figures(sent_count=2, sent_fen=590)
    assert (mine.months[0], mine.months[11]) == (
        Figures(sent_count=1, sent_fen=500),
        Figures(sent_count=1, sent_fen=90),
    )
    assert set(mine.months[1:11]) == {Figures()}
    luckiest = statistics.get_person_year(person=first, year=2026)
    assert luckiest.months[0] == Figures(received_count=1, received_fen=300, best_luck_count=1)
    assert luckiest.months[11] == Figures(received_count=1, received_fen=80)  # not closed: no best luck yet
    assert luckiest.total == Figures(received_count=2, received_fen=380, best_luck_count=1)
    assert statistics.get_person_year(person=second, year=2026).total == Figures(received_count=1, received_fen=200)
    assert statistics.get_person_year(person=sender, year=2025).total == Figures(sent_count=1, sent_fen=70)
    assert statistics.get_person_year(person=sender, year=2027).total == Figures()


def test_unpaid_packets_are_not_counted(people: People) -> None:
    packet_id = sent_at(people, NEW_YEAR, total_fen=500)
    RedPacket.objects.filter(pk=packet_id).update(state="DRAFT", opened_at=None, expires_at=None)
    assert statistics.get_person_year(person=people.sender, year=2026).total == Figures()
    assert statistics.get_enterprise_days(enterprise_id=people.enterprise_id, month=dt.date(2026, 1, 1)) == {}


def test_the_endpoint_answers_for_the_caller(people: People) -> None:
    employee = employee_of(people.sender)
    caller = Caller(employee=employee, token=worlds.token_of(employee))
    sent_at(people, NEW_YEAR, total_fen=500)
    answer = caller.get("redpackets/statistics?year=2026").json()
    figures = dataclasses.asdict(Figures(sent_count=1, sent_fen=500))
    assert (answer["year"], answer["total"]) == (2026, figures)
    assert answer["months"][0] == {"month": 1, **figures}
    assert [row["month"] for row in answer["months"]] == list(range(1, 13))
    with clock.frozen(clock.now()):
        assert caller.get("redpackets/statistics").json()["year"] == clock.business_date(clock.now()).year
    for bad in ("1999", "3000", "x", "2026.5"):
        assert caller.get(f"redpackets/statistics?year={bad}").status_code == 400
    assert Client().get("/api/v1/redpackets/statistics").status_code == 401


def test_days_of_an_enterprise(people: People) -> None:
    day = dt.date(2026, 1, 31)
    early = sent_at(people, clock.day_start(day), total_fen=500)
    sent_at(people, clock.day_start(dt.date(2026, 2, 1)) - MICROSECOND, total_fen=100)
    sent_at(people, clock.day_start(dt.date(2026, 2, 1)), total_fen=60)
    end(early, clock.day_start(day), claims={people.members[1].employee_id: 300}, rest_fen=200)
    strangers = make_people(count=2)
    sent_at(strangers, NEW_YEAR, total_fen=5)
    january = EnterpriseFigures(packets=2, total_fen=600, returned_fen=200)
    month = dt.date(2026, 1, 15)
    assert statistics.get_enterprise_days(enterprise_id=people.enterprise_id, month=month) == {day: january}
    ids = [people.enterprise_id, strangers.enterprise_id]
    assert statistics.get_enterprise_totals(enterprise_ids=ids, month=month) == {
        people.enterprise_id: january,
        strangers.enterprise_id: EnterpriseFigures(packets=1, total_fen=5),
    }
    assert january.kept_fen == 400
    december = statistics.get_enterprise_totals(enterprise_ids=ids, month=dt.date(2026, 12, 31))
    assert december == {}


def test_every_figure_is_read_by_an_index_of_its_owner(people: People) -> None:
    connection = connections[roles.alias_for("redpacket")]
    sent_at(people, NEW_YEAR, total_fen=500)
    with CaptureQueriesContext(connection) as queries:
        statistics.get_person_year(person=people.sender, year=2026)
        statistics.get_enterprise_days(enterprise_id=people.enterprise_id, month=dt.date(2026, 1, 1))
        statistics.get_enterprise_totals(enterprise_ids=[people.enterprise_id], month=dt.date(2026, 1, 1))
    assert len(queries) == 4
    keys = []
    with connection.cursor() as cursor:
        for query in queries.captured_queries:
            cursor.execute(f"EXPLAIN {query['sql']}")
            keys.append([row[4] or "" for row in cursor.fetchall()])  # possible_keys: the plan itself depends on size
    wanted = [
        "redpacket_sender_opened",
        "share_received",
        "redpacket_enterprise_opened",
        "redpacket_enterprise_opened",
    ]
    assert [any(name in row for row in found) for name, found in zip(wanted, keys, strict=True)] == [True] * 4, keys


def test_staff_see_the_totals_of_enterprises() -> None:
    people = make_people(count=2)
    sent_at(people, NEW_YEAR, total_fen=12_345)
    staff, client = User.objects.create_user("statistician", password="x", is_staff=True), Client()
    client.force_login(staff)
    address = f"/admin/redpacket/redpacket/statistics/?month=2026-01&enterprise={people.enterprise_id}"
    assert client.get(address).status_code == 403
    staff.user_permissions.add(Permission.objects.get(codename="view_redpacket"))
    client.force_login(User.objects.get(pk=staff.pk))  # a session ends with the role it began with
    answer = client.get(address)
    page = answer.content.decode()
    assert answer.status_code == 200
    assert page.count('<tr class="day">') == 1
    assert "2026-01-01" in page
    assert page.split('<tr class="sum">')[1].split("</tr>")[0].count("¥123.45") == 2
    for odd in ("?month=x&enterprise=x&page=x", "?month=0001-01", f"?enterprise={10**17}", ""):
        assert client.get(f"/admin/redpacket/redpacket/statistics/{odd}").status_code == 200
    assert "/admin/redpacket/redpacket/statistics/" in client.get("/admin/redpacket/redpacket/").content.decode()
