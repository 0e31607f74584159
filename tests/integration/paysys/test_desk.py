"""The finance desk: what each role sees, what is found by Ctrl-K, what is stuck; one broken tile breaks no other."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.cache import cache
from django.db import OperationalError, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import translation
from django_redis.exceptions import ConnectionInterrupted

from foundation import clock, desk, notifications
from foundation.desk import Asking, Chart, Found, Panel, Section, Series, Stuck, StuckKind, Tile
from foundation.models import JobRun
from funds import selectors as funds
from funds.desk import read_flows
from orders import selectors as orders
from paysys import roles
from paysys.admin import board, drawing
from paysys.proofs import ProveBooks
from redpacket.models import RedPacket
from tests import worlds
from tests.integration.redpacket.packets import send_lucky
from tests.integration.redpacket.people import make_people
from tests.integration.withdrawals import people
from withdrawals.models import Withdrawal

pytestmark = pytest.mark.django_db(databases="__all__")
QUERIES_OF_A_DESK = 90
"""Of a superuser, who sees all tiles and kinds of stuck money, with nothing kept; some go to each database."""


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    cache.delete_pattern("desk:*")  # type: ignore[attr-defined]
    yield
    cache.delete_pattern("desk:*")  # type: ignore[attr-defined]


def member(*codenames: str, role: str = "", is_superuser: bool = False) -> tuple[Client, User]:
    user = User.objects.create_user(uuid.uuid4().hex[:20], is_staff=True, is_superuser=is_superuser)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    user.groups.set(Group.objects.filter(name=role))
    client = Client(headers={"accept-language": "en"})
    client.force_login(user)
    return client, user


def asking(*may: str, user_id: int = 0) -> Asking:
    return Asking(now=clock.now(), user_id=user_id, may=lambda name: "*" in may or name in may)


def found(client: Client, text: str) -> list[tuple[str, str]]:
    """(link, title) of what Ctrl-K shows."""
    page = client.get(reverse("admin:search"), {"extended": "1", "s": text}).content.decode()
    return re.findall(r'href="([^"]+)"\s+data-title="([^"]*)"', page)


def links(client: Client, text: str) -> list[str]:
    return [link for link, _title in found(client, text)]


# --- Search ----------------------------------------------------------------------------------------------------------


def test_any_number_leads_to_its_page() -> None:
    boss, _user = member(is_superuser=True)
    employee = people.rich(500_000)
    order = orders.search(text="", kind="RECHARGE", limit=1)[0]
    order = orders.get_order(order_no=order.order_no)
    attempt = order.attempts[0]
    journal = next(iter(funds.list_journals(order_no=order.order_no)))
    withdrawal = people.apply(employee, 10_000)
    Withdrawal.objects.filter(pk=withdrawal.pk).update(payout_no=uuid.uuid4().hex, provider_no=uuid.uuid4().hex)
    withdrawal.refresh_from_db()
    packet = send_lucky(make_people(count=2), total_fen=500, count=2).packet
    person = worlds.make_world(1).employees[0]
    order_page = reverse("admin:orders_orderindex_change", args=[order.order_no])
    withdrawal_page = reverse("admin:withdrawals_withdrawal_change", args=[withdrawal.pk])
    packet_page = reverse("admin:redpacket_redpacket_change", args=[packet.pk])
    person_page = reverse("admin:identity_employee_change", args=[person.pk])
    expected = {
        order.order_no: order_page,
        order.order_no[:31]: order_page,
        attempt.attempt_no: order_page,
        str(journal.pk): reverse("admin:funds_journal_change", args=[journal.pk]),
        journal.reference: reverse("admin:funds_journal_change", args=[journal.pk]),
        withdrawal.order_no: withdrawal_page,
        withdrawal.order_no[:31]: withdrawal_page,
        str(withdrawal.payout_no): withdrawal_page,
        str(withdrawal.payout_no)[:10]: withdrawal_page,
        withdrawal.provider_no: withdrawal_page,
        packet.pk: packet_page,
        packet.pk[:12]: packet_page,
        packet.funding_order_no: packet_page,
        str(person.pk): person_page,
        f"{person.enterprise.code}/{person.code}": person_page,
        f"  {person.enterprise.code}/{person.code[:3]} ": person_page,
        person.enterprise.code: reverse("admin:identity_enterprise_change", args=[person.enterprise_id]),
        "Journals": reverse("admin:funds_journal_changelist"),
    }
    assert {text: link for text, link in expected.items() if link not in links(boss, text)} == {}


def test_what_is_written_exactly_so_comes_first() -> None:
    boss, _user = member(is_superuser=True)
    world = worlds.make_world(3)
    assert found(boss, world.employees[1].name)[0][1].startswith(world.employees[1].name)
    order_no = worlds.give_money(world.employees[0], 700)
    assert found(boss, order_no)[0] == (reverse("admin:orders_orderindex_change", args=[order_no]), order_no)


def test_nobody_finds_what_he_may_not_see() -> None:
    person = worlds.make_world(1).employees[0]
    order_no = worlds.give_money(person, 900)
    clerk, _user = member()
    for text in (order_no, str(person.pk), f"{person.enterprise.code}/{person.code}", "Journals", "Orders"):
        assert links(clerk, text) == [], text
    reader, _user = member("view_employee")
    assert links(reader, order_no) == []
    assert links(reader, f"{person.enterprise.code}/{person.code}") == [
        reverse("admin:identity_employee_change", args=[person.pk])
    ]
    assert Client().get(reverse("admin:search"), {"s": order_no}).status_code == 302


@pytest.mark.parametrize(
    "text", ["", "   ", "%", "_______", "红包", "😀" * 40, "x" * 5_000, "\x00", "'; --", "/", "9" * 40]
)
def test_nothing_that_can_be_typed_breaks_the_search(text: str) -> None:
    boss, _user = member(is_superuser=True)
    for extended in ({}, {"extended": "1"}):
        answer = boss.get(reverse("admin:search"), {"s": text, **extended})
        assert answer.status_code == 200
    assert [link for link in links(boss, text) if "/change/" in link and text == "%"] == []


def test_a_finder_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(text: str, limit: int) -> list[Found]:
        raise OperationalError("away")

    monkeypatch.setitem(desk._finders, "broken", desk.Finder(name="broken", permissions=(), find=fail))
    boss, _user = member(is_superuser=True)
    person = worlds.make_world(1).employees[0]
    assert reverse("admin:identity_employee_change", args=[person.pk]) in links(boss, str(person.pk))


# --- Tiles -----------------------------------------------------------------------------------------------------------


def test_each_role_sees_the_tiles_of_its_permissions_and_no_others() -> None:
    for role in roles.ROLES:
        client, user = member(role=role.name)
        page = client.get(reverse("admin:index"))
        assert page.status_code == 200
        content = page.content.decode()
        for tile in desk.tiles().values():
            may = desk.may_any(user.has_perm, tile.permissions)
            assert (f'id="desk-{tile.name.replace(".", "")}"' in content) == may, (role.name, tile.name)
        assert "could not be read" not in content


def test_what_waits_is_counted_with_amount_and_age() -> None:
    client, user = member("approve_withdrawal", "assign_withdrawal", "view_withdrawal")
    before = Withdrawal.objects.filter(state="APPLIED").count()
    rows = [people.apply(people.rich(), amount) for amount in (12_300, 4_500)]
    Withdrawal.objects.filter(pk=rows[0].pk).update(assigned_to=user, created_at=clock.now() - dt.timedelta(hours=5))
    tile = desk.tiles()["withdrawals.waiting"].read(asking("*", user_id=user.pk))
    assert tile.figure == str(before + 2)
    assert tile.tone is desk.Tone.WARNING
    mine = [line for line in tile.lines if line.link.endswith("assigned=me")]
    assert [line.value for line in mine] == ["1"]
    page = client.get(reverse("admin:index")).content.decode()
    assert "Withdrawals that wait for approval" in page
    assert "Assigned to me" in page
    assert ">5 h</time>" in page or before


def test_money_in_and_out_of_today_by_channel() -> None:
    person = worlds.make_world(1).employees[0]

    def wechat() -> str:
        lines = read_flows(asking("*")).lines
        return next((str(line.value) for line in lines if line.label == "wechat"), "¥0.00")

    before = int(wechat()[1:].replace(",", "").replace(".", ""))
    worlds.give_money(person, 12_345)
    assert int(wechat()[1:].replace(",", "").replace(".", "")) == before + 12_345
    shown = read_flows(asking("*")).chart
    assert shown is not None
    assert len(shown.labels) == 14
    assert shown.labels[-1] == f"{clock.business_date(clock.now()):%m-%d}"
    assert shown.series[0].values[-1] >= before + 12_345


@pytest.mark.parametrize(
    ("state", "report", "figure", "tone"),
    [
        ("DONE", {"lines": 30, "broken": []}, "balanced", "good"),
        ("DONE", {"lines": 30, "broken": ["a", "b"]}, "2 do not hold", "wrong"),
        ("FAILED", {}, "the proof failed", "wrong"),
        ("RUNNING", {}, "running", "plain"),
    ],
)
def test_the_proof_of_the_books_is_said_as_it_ended(
    state: str, report: dict[str, object], figure: str, tone: str
) -> None:
    moment = clock.now() + dt.timedelta(seconds=1)
    JobRun.objects.create(name=ProveBooks.name, state=state, started_at=moment, report=report)
    panel = desk.tiles()["paysys.proof"].read(asking("*"))
    assert (str(panel.figure), panel.tone.value) == (figure, tone)


def test_a_proof_of_the_day_before_yesterday_is_a_warning() -> None:
    JobRun.objects.filter(name=ProveBooks.name).delete()
    started = clock.now() - dt.timedelta(hours=40)
    JobRun.objects.create(name=ProveBooks.name, state="DONE", started_at=started, report={"lines": 3, "broken": []})
    assert desk.tiles()["paysys.proof"].read(asking("*")).tone is desk.Tone.WARNING


def test_notices_are_one_s_own() -> None:
    mine, other = member()[1], member()[1]
    for user, title in ((mine, "for me"), (other, "for another")):
        notifications.notify(
            key=uuid.uuid4().hex,
            recipient_ids=[user.pk],
            title_en=title,
            title_zh=title,
            link=reverse("admin:index"),
            now=clock.now(),
        )
    panel = desk.tiles()["paysys.notices"].read(asking(user_id=mine.pk))
    assert (panel.figure, [str(line.label) for line in panel.lines]) == ("1", ["for me"])


def test_a_tile_that_fails_says_so_and_breaks_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(asking: Asking) -> Panel:
        raise RuntimeError("secret inside")

    broken = Tile(name="test.broken", title="Broken", section=Section.STATE, order=1, permissions=(), read=fail)
    monkeypatch.setitem(desk._tiles, broken.name, broken)
    page = member(is_superuser=True)[0].get(reverse("admin:index"))
    content = page.content.decode()
    assert page.status_code == 200
    assert content.count("This could not be read just now.") == 1
    assert "secret inside" not in content
    assert "Proof of the books" in content


def test_an_answer_is_kept_for_its_seconds_by_language_and_for_one_person(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def read(asking: Asking) -> Panel:
        calls.append(asking.user_id)
        return Panel(figure=str(len(calls)))

    kept = Tile(name="test.kept", title="Kept", section=Section.STATE, order=1, permissions=(), read=read, seconds=60)
    own = Tile(
        name="test.own",
        title="Own",
        section=Section.STATE,
        order=2,
        permissions=(),
        read=read,
        seconds=60,
        is_personal=True,
    )
    monkeypatch.setattr(desk, "_tiles", {kept.name: kept})
    first, second = asking(user_id=1), asking(user_id=2)
    assert [board.read_tiles(one)[0][1][0].panel for one in (first, second, first)] == [Panel(figure="1")] * 3
    monkeypatch.setattr(desk, "_tiles", {own.name: own})
    figures = [board.read_tiles(one)[0][1][0].panel for one in (first, second, first)]
    assert figures == [Panel(figure="2"), Panel(figure="3"), Panel(figure="2")]
    assert calls == [1, 1, 2]


def test_without_redis_the_desk_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_args: object, **_kwargs: object) -> None:
        raise ConnectionInterrupted(connection=None)

    monkeypatch.setattr(type(cache._connections[cache._alias]), "get", away)  # type: ignore[attr-defined]
    monkeypatch.setattr(type(cache._connections[cache._alias]), "set", away)  # type: ignore[attr-defined]
    page = member(role="auditor")[0].get(reverse("admin:index"))
    assert page.status_code == 200
    assert "could not be read" not in page.content.decode()


def test_the_desk_asks_the_databases_a_bounded_number_of_times() -> None:
    client, _user = member(is_superuser=True)
    client.get(reverse("admin:index"))
    cache.delete_pattern("desk:*")  # type: ignore[attr-defined]
    captured = [CaptureQueriesContext(connections[alias]) for alias in connections]
    for one in captured:
        one.__enter__()
    client.get(reverse("admin:index"))
    asked = sum(len(one) for one in captured)
    for one in captured:
        one.__exit__(None, None, None)
    assert asked <= QUERIES_OF_A_DESK


# --- Charts ----------------------------------------------------------------------------------------------------------


def test_a_chart_is_drawn_to_scale_and_told_as_a_table() -> None:
    chart = Chart(
        title="Money",
        labels=("a", "b"),
        series=(Series(name="In", values=(100, 50)), Series(name="Out", values=(0, -20))),
        is_money=True,
    )
    drawn = drawing.draw(chart)
    room = drawing.HEIGHT - drawing.BOTTOM - drawing.TOP
    assert [bar.height for bar in drawn.bars] == [room, 0.0, room / 2, 0.0]
    assert all(round(bar.y + bar.height, 1) == drawn.base for bar in drawn.bars)
    assert drawn.top == "¥1.00"
    assert drawn.rows == (("a", ("¥1.00", "¥0.00")), ("b", ("¥0.50", "-¥0.20")))
    assert [bar.title for bar in drawn.bars][-1] == "b Out: -¥0.20"


@pytest.mark.parametrize("values", [(), (0,), (0, 0, 0)])
def test_a_chart_of_nothing_is_drawn(values: tuple[int, ...]) -> None:
    labels = tuple(str(number) for number in range(len(values)))
    drawn = drawing.draw(Chart(title="", labels=labels, series=(Series(name="x", values=values),)))
    assert [bar.height for bar in drawn.bars] == [0.0] * len(values)


# --- Stuck money -----------------------------------------------------------------------------------------------------


def stuck_row(name: str, *may: str) -> board.Row:
    cache.delete_pattern("desk:*")  # type: ignore[attr-defined]
    return next(row for row in board.read_stuck(asking(*may)) if row.kind.name == name)


def test_a_withdrawal_is_stuck_from_its_age_on_with_its_amount() -> None:
    row = people.apply(people.rich(), 23_400)
    limit = desk.kinds()["withdrawals.applied"].limit
    before = stuck_row("withdrawals.applied", "*").found
    Withdrawal.objects.filter(pk=row.pk).update(created_at=clock.now() - limit + dt.timedelta(minutes=5))
    assert stuck_row("withdrawals.applied", "*").found == before
    moment = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    Withdrawal.objects.filter(pk=row.pk).update(created_at=moment)
    after = stuck_row("withdrawals.applied", "*").found
    assert before is not None
    assert after is not None
    assert (after.count, after.amount_fen) == (before.count + 1, (before.amount_fen or 0) + 23_400)
    assert after.oldest == moment
    assert after.examples[0] == (row.pk, reverse("admin:withdrawals_withdrawal_change", args=[row.pk]))
    page = member("view_withdrawal")[0].get(reverse("admin:desk_stuck")).content.decode()
    assert row.pk in page
    assert "Nobody has approved or rejected them." in page
    assert "Unpaid orders past their life" not in page


def test_a_packet_past_its_end_is_stuck() -> None:
    packet = send_lucky(make_people(count=2), total_fen=700, count=2).packet
    before = stuck_row("redpacket.unexpired", "*").found
    RedPacket.objects.filter(pk=packet.pk).update(expires_at=clock.now() - dt.timedelta(hours=2))
    after = stuck_row("redpacket.unexpired", "*").found
    assert before is not None
    assert after is not None
    assert (after.count - before.count, (after.amount_fen or 0) - (before.amount_fen or 0)) == (1, 700)


def test_the_board_shows_what_is_there_first_and_what_could_not_be_read_on_top(monkeypatch: pytest.MonkeyPatch) -> None:
    def kind(name: str, found: Stuck | None) -> StuckKind:
        def read(now: dt.datetime) -> Stuck:
            if found is None:
                raise OperationalError("away")
            return found

        limit = dt.timedelta(minutes=5)
        return StuckKind(name=name, title=name, limit=limit, cause="c", step="s", permissions=(), read=read)

    made = [
        kind("none", Stuck(count=0, amount_fen=0)),
        kind("small", Stuck(count=9, amount_fen=10)),
        kind("large", Stuck(count=1, amount_fen=900)),
        kind("broken", None),
    ]
    monkeypatch.setattr(desk, "_kinds", {one.name: one for one in made})
    rows = board.read_stuck(asking())
    assert [row.kind.name for row in rows] == ["broken", "large", "small", "none"]
    assert [row.amount for row in rows] == ["", "¥9.00", "¥0.10", "¥0.00"]
    assert "could not be read" in member()[0].get(reverse("admin:desk_stuck")).content.decode()


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (dt.timedelta(seconds=59), "0 min"),
        (dt.timedelta(minutes=59), "59 min"),
        (dt.timedelta(hours=47), "47 h"),
        (dt.timedelta(hours=49), "2 days"),
    ],
)
def test_ages_are_said_in_one_unit(span: dt.timedelta, text: str) -> None:
    with translation.override("en"):
        assert desk.span_text(span) == text
