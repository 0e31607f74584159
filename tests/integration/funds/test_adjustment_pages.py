"""Adjustments as staff meet them: form, list, page, decisions, evidence and notices, driven as a browser would."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from foundation import attachments, clock, outbox
from foundation.models import Alert, Attachment, OutboxEvent, StaffNotice
from funds.domain.adjustments import Evidence
from funds.domain.entries import Category, platform_account
from funds.models import Adjustment, AdjustmentEvidence, AdjustmentLine, Journal
from funds.services import adjustments
from identity.models import Employee
from tests import worlds
from tests.books import assert_books_balance
from tests.integration.funds import adjusting
from tests.integration.funds.adjusting import PDF, REASON, Team, account, approve, line, loss_to, proposed
from tests.worlds import NOW

pytestmark = pytest.mark.django_db(databases="__all__")

LIST = "admin:funds_adjustment_changelist"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, settings: Settings) -> Path:
    settings.ATTACHMENT_ROOT = tmp_path / "attachments"
    settings.LANGUAGE_CODE = "en"
    return tmp_path / "attachments"


@pytest.fixture
def team() -> Team:
    return adjusting.team()


@pytest.fixture
def employee() -> Employee:
    """Somebody with ¥100.00."""
    person = worlds.make_world(1).employees[0]
    worlds.give_money(person, 10_000)
    return person


def browser(user: User) -> Client:
    client = Client(headers={"accept-language": "en"})
    client.force_login(user)
    return client


def address(row: Adjustment, page: str, *more: object) -> str:
    return reverse(f"admin:funds_adjustment_{page}", args=[row.pk, *more])


def text_of(client: Client, url: str, **query: str) -> str:
    answer = client.get(url, query)
    assert answer.status_code == 200, (url, answer.status_code)
    return answer.content.decode()


def hidden(page: str, name: str) -> str:
    found = re.search(rf'<input type="hidden" name="{name}" value="([^"]*)"', page)
    assert found is not None, name
    return found.group(1)


def pdf(name: str = "receipt.pdf") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, PDF, content_type="application/pdf")


def filled(page: str, employee: Employee, **changes: object) -> dict[str, object]:
    """The form filled in: ¥1,234.56 from 5090 to the employee."""
    owner = f"{employee.enterprise.code}/{employee.code}"
    return {
        "request_key": hidden(page, "request_key"),
        "kept": hidden(page, "kept"),
        "reason": REASON,
        "order_no": "",
        "evidence": [pdf()],
        "line1-account": "5090",
        "line1-debit": "1,234.56",
        "line2-account": "2010",
        "line2-owner": owner,
        "line2-category": "INCOME",
        "line2-credit": "1234.56",
        **changes,
    }


def propose(client: Client, employee: Employee, **changes: object) -> Adjustment:
    page = text_of(client, reverse("admin:funds_adjustment_add"))
    answer = client.post(reverse("admin:funds_adjustment_add"), filled(page, employee, **changes))
    assert answer.status_code == 302, answer.content.decode()
    return Adjustment.objects.order_by("-pk")[0]


def deliver(*rows: Adjustment) -> None:
    """Delivers these events only: what tests that commit left behind is put aside (and comes back at roll-back)."""
    numbers = [row.number for row in rows]
    OutboxEvent.objects.using("funds").filter(done_at=None).exclude(key__in=numbers).update(done_at=NOW)
    outbox.drain(using="funds", now=clock.now)


def notices(user: User) -> list[tuple[str, str, bool]]:
    rows = StaffNotice.objects.filter(recipient_id=user.pk).order_by("id")
    return [(row.title_en, row.link, row.read_at is not None) for row in rows]


# --- proposing ------------------------------------------------------------------------------------------------------


def test_the_form_turns_typed_yuan_into_exact_fen(team: Team, employee: Employee) -> None:
    client = browser(team.maker)
    row = propose(client, employee)
    assert (row.reason, row.total_fen, row.proposed_by_name) == (REASON, 123_456, team.maker.username)
    lines = AdjustmentLine.objects.filter(adjustment=row).order_by("line_no")
    assert list(lines.values_list("code", "owner_id", "amount_fen", "category")) == [
        ("5090", "", -123_456, "PLATFORM"),
        ("2010", str(employee.pk), 123_456, "INCOME"),
    ]
    assert list(AdjustmentEvidence.objects.filter(adjustment=row).values_list("name", flat=True)) == ["receipt.pdf"]
    assert Attachment.objects.filter(digest=hashlib.sha256(PDF).hexdigest()).count() == 1


def test_the_same_form_sent_twice_proposes_once(team: Team, employee: Employee) -> None:
    client = browser(team.maker)
    page = text_of(client, reverse("admin:funds_adjustment_add"))
    answers = [
        client.post(reverse("admin:funds_adjustment_add"), filled(page, employee, evidence=[pdf()])) for _ in range(2)
    ]
    assert answers[0]["Location"] == answers[1]["Location"]
    assert Adjustment.objects.filter(request_key=hidden(page, "request_key")).count() == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"line1-debit": "1,23.45"}, "Line 1: Type the amount in yuan"),
        ({"line1-debit": "1.005"}, "Line 1: Type the amount in yuan"),
        ({"line1-debit": "1e3"}, "Line 1: Type the amount in yuan"),
        ({"line1-debit": "-5"}, "Line 1: Type the amount in yuan"),
        ({"line1-debit": "0.00"}, "Line 1: The amount must not be zero"),
        ({"line1-debit": "1234.57"}, "do not sum to zero"),
        ({"line1-debit": ""}, "Line 1: Type an amount on one side"),
        ({"line1-credit": "1"}, "Line 1: Type an amount on one side"),
        ({"line1-account": ""}, "Line 1: Choose an account"),
        ({"line1-account": "9999"}, "Line 1: Select a valid choice"),
        ({"line1-category": "INCOME"}, "Line 1: Accounts of the platform have no category"),
        ({"line2-category": ""}, "Line 2: Choose what this means"),
        ({"line2-owner": "nobody/e1"}, "Line 2: There is no employee"),
        ({"reason": "too short"}, "at least 10 characters"),
        ({"evidence": []}, "1 to 5 evidence files"),
        ({"evidence": [SimpleUploadedFile("a.pdf", b"\x7fELF\x00")]}, "a.pdf: Only PDF"),
        ({"request_key": "../../etc/passwd....."}, "Open the form again"),
        ({"kept": "forged:list"}, "Attach the evidence again"),
        ({"order_no": "订单"}, "not ASCII"),
    ],
)
def test_a_wrong_form_comes_back_with_what_is_wrong(
    team: Team, employee: Employee, changes: dict[str, object], words: str
) -> None:
    client = browser(team.maker)
    before = Adjustment.objects.count()
    page = text_of(client, reverse("admin:funds_adjustment_add"))
    answer = client.post(reverse("admin:funds_adjustment_add"), filled(page, employee, **changes))
    assert answer.status_code == 200
    shown = answer.content.decode()
    assert words in shown
    if "reason" not in changes:
        assert REASON in shown
    assert Adjustment.objects.count() == before


def test_a_file_that_arrived_is_not_asked_for_again(team: Team, employee: Employee) -> None:
    client = browser(team.maker)
    url = reverse("admin:funds_adjustment_add")
    page = client.post(url, filled(text_of(client, url), employee, reason="too short")).content.decode()
    assert "receipt.pdf is attached already" in page
    answer = client.post(url, filled(page, employee, evidence=[]))
    assert answer.status_code == 302
    row = Adjustment.objects.order_by("-pk")[0]
    assert list(AdjustmentEvidence.objects.filter(adjustment=row).values_list("name", flat=True)) == ["receipt.pdf"]


def test_a_file_larger_than_the_limit_is_refused(
    team: Team, employee: Employee, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "MAX_BYTES", len(PDF) - 1)
    client, url = browser(team.maker), reverse("admin:funds_adjustment_add")
    before = Attachment.objects.count()
    answer = client.post(url, filled(text_of(client, url), employee))
    assert "receipt.pdf: The file is larger than 10 MB." in answer.content.decode()
    assert Attachment.objects.count() == before


def test_a_journal_leads_to_its_opposite(team: Team, employee: Employee) -> None:
    order_no = worlds.give_money(employee, 4_000)
    journal = Journal.objects.get(kind="recharge", reference=order_no)
    client = browser(adjusting.staff("propose_adjustment", "view_adjustment", "view_journal"))
    url = f"{reverse('admin:funds_adjustment_add')}?reverses={journal.pk}"
    assert url in text_of(client, reverse("admin:funds_journal_change", args=[journal.pk]))
    page = text_of(client, url)
    assert page.count("¥40.00") == 2
    assert order_no in page
    sent = {key: value for key, value in filled(page, employee).items() if not key.startswith("line")}
    answer = client.post(url, {**sent, "order_no": order_no, "line1-account": "3010", "line1-credit": "9"})
    assert answer.status_code == 302
    row = Adjustment.objects.order_by("-pk")[0]
    assert (row.reverses_id, row.total_fen, row.order_no) == (journal.pk, 4_000, order_no)
    approve(row, team.checker)
    assert worlds.wallet_of(employee) == (10_000, 0)
    assert client.get(url).status_code == 302  # reversed already: back to the journals
    shown = text_of(client, reverse("admin:funds_journal_change", args=[Adjustment.objects.get(pk=row.pk).journal_id]))
    assert address(row, "change") in shown
    assert client.get(f"{reverse('admin:funds_adjustment_add')}?reverses=99999999999").status_code == 302


# --- looking --------------------------------------------------------------------------------------------------------


def test_the_list_shows_what_waits_first(team: Team, employee: Employee) -> None:
    oldest = proposed(team.maker, loss_to(employee, 111))
    decided = proposed(team.maker, loss_to(employee, 222))
    approve(decided, team.checker)
    rejected = proposed(team.other, loss_to(employee, 333))
    adjustments.reject(number=rejected.number, staff_id=team.checker.pk, reason="no", now=NOW)
    newest = proposed(team.other, loss_to(employee, 123_456_789), order_no="RC1")
    client = browser(team.checker)
    with clock.frozen(NOW + dt.timedelta(hours=3)):
        answer = client.get(reverse(LIST))
        ours = {oldest.pk, decided.pk, rejected.pk, newest.pk}  # tests that commit left others
        mine = [row.pk for row in answer.context["cl"].result_list if row.pk in ours]
        shown = answer.content.decode()
    assert mine == [newest.pk, oldest.pk, rejected.pk, decided.pk]
    assert "¥1,234,567.89" in shown
    assert "3\xa0hours ago" in shown
    for query, expected in (
        ({"state__exact": "APPROVED"}, [decided.pk]),
        ({"proposed_by_name": team.other.username}, [newest.pk, rejected.pk]),
        ({"q": oldest.number}, [oldest.pk]),
        ({"q": "RC1"}, [newest.pk]),
        ({"q": "没有这个"}, []),
        ({"proposed_at__gte": "2026-11-23 00:00:00+08:00"}, []),
    ):
        found = client.get(reverse(LIST), query).context["cl"].result_list
        assert [row.pk for row in found if row.pk in ours] == expected, query


def test_the_page_says_everything(team: Team, employee: Employee) -> None:
    order_no = worlds.give_money(employee, 500)
    row = proposed(team.maker, loss_to(employee, 250_000), order_no=order_no, reason="<b>bold</b> & long enough")
    approve(row, team.checker)
    row.refresh_from_db()
    page = text_of(browser(adjusting.staff("view_adjustment")), address(row, "change"))
    for words in (
        row.number,
        "5090 Loss written off",
        "2010 Customer available",
        f"First (e0001), {employee.enterprise.name}",
        reverse("admin:identity_employee_change", args=[employee.pk]),
        "¥2,500.00",
        team.maker.username,
        team.checker.username,
        "&lt;b&gt;bold&lt;/b&gt; &amp; long enough",
        address(row, "evidence", 1),
        reverse("admin:funds_journal_change", args=[row.journal_id]),
        f"{reverse('admin:orders_orderindex_changelist')}?q={order_no}",
        "2026-11-22 10:00:00",
    ):
        assert words in page, words
    assert "250000" not in page
    assert "Approve…" not in page


def test_buttons_are_for_those_who_may(team: Team, employee: Employee) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    buttons = ("approve", "reject", "withdraw")
    for user, expected in (
        (team.maker, ["withdraw"]),
        (team.checker, ["approve", "reject"]),
        (adjusting.staff("view_adjustment"), []),
    ):
        page = text_of(browser(user), address(row, "change"))
        assert [button for button in buttons if f'href="{address(row, button)}"' in page] == expected


def test_strangers_and_staff_without_permission_get_nothing(team: Team, employee: Employee) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    clerk = browser(User.objects.create_user("clerk", password="x", is_staff=True))
    pages = [
        reverse(LIST),
        reverse("admin:funds_adjustment_add"),
        *(address(row, page) for page in ("change", "approve", "reject", "withdraw")),
        address(row, "evidence", 1),
    ]
    for url in pages:
        assert clerk.get(url).status_code == 403, url
        assert clerk.post(url, {"reason": "x"}).status_code == 403, url
        assert Client().get(url).status_code == 302, url
    looker = browser(adjusting.staff("view_adjustment"))
    for url in (
        reverse("admin:funds_adjustment_add"),
        *(address(row, page) for page in ("approve", "reject", "withdraw")),
    ):
        assert looker.post(url, {"reason": "x"}).status_code == 403, url
    row.refresh_from_db()
    assert row.state == "PROPOSED"


def test_nothing_is_changed_or_deleted_in_the_admin(team: Team, employee: Employee) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    boss = browser(User.objects.create_superuser("boss", password="x"))
    boss.post(address(row, "change"), {"reason": "Another reason, long enough", "_save": "Save"})
    assert boss.post(address(row, "delete"), {"post": "yes"}).status_code == 403
    boss.post(reverse(LIST), {"action": "delete_selected", "_selected_action": row.pk, "post": "yes"})
    row.refresh_from_db()
    assert (row.state, row.reason) == ("PROPOSED", REASON)
    assert boss.get(reverse("admin:funds_adjustment_change", args=[10**9])).status_code == 404
    assert boss.get(f"{reverse(LIST)}x1/change/").status_code == 404


# --- deciding -------------------------------------------------------------------------------------------------------


def test_the_checker_sees_balances_before_and_after_and_posts(team: Team, employee: Employee) -> None:
    row = proposed(team.maker, (*loss_to(employee, 2_500), line(platform_account("4030", "brand-new"), 1),
                                line(platform_account("3010"), -1)))  # fmt: skip
    client = browser(team.checker)
    page = text_of(client, address(row, "approve"))
    assert "¥100.00" in page
    assert "¥125.00" in page
    assert page.count("account is opened") >= 1
    assert not Journal.objects.filter(reference=row.number).exists()
    answer = client.post(address(row, "approve"), {"digest": hidden(page, "digest"), "reason": "seen"}, follow=True)
    assert f"{row.number} is approved." in answer.content.decode()
    row.refresh_from_db()
    assert (row.state, row.decided_by_id, row.decision_reason) == ("APPROVED", team.checker.pk, "seen")
    assert worlds.wallet_of(employee) == (12_500, 0)
    assert client.get(address(row, "approve")).status_code == 302
    assert_books_balance()


def test_a_decision_without_the_page_is_refused(team: Team, employee: Employee) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    answer = browser(team.checker).post(address(row, "approve"), {})
    assert "not what was proposed" in answer.content.decode()
    row.refresh_from_db()
    assert (row.state, worlds.wallet_of(employee)) == ("PROPOSED", (10_000, 0))


def test_decisions_need_the_csrf_token(team: Team, employee: Employee) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    client = Client(enforce_csrf_checks=True)
    client.force_login(team.checker)
    for page in ("approve", "reject"):
        assert client.post(address(row, page), {"digest": row.digest, "reason": "x"}).status_code == 403
    row.refresh_from_db()
    assert row.state == "PROPOSED"


def test_an_uncovered_balance_is_said_and_the_proposal_stays(team: Team, employee: Employee) -> None:
    lines = (line(account(employee), -1_010_000, Category.CONSUMPTION), line(platform_account("4090"), 1_010_000))
    row = proposed(team.maker, lines)
    client = browser(team.checker)
    page = text_of(client, address(row, "approve"))
    assert "-¥10,000.00" in page
    assert "not covered" in page
    shown = client.post(address(row, "approve"), {"digest": row.digest, "reason": "typed note"}).content.decode()
    assert "The balance is not sufficient. Missing: ¥10,000.00." in shown
    assert "typed note" in shown
    row.refresh_from_db()
    assert (row.state, worlds.wallet_of(employee)) == ("PROPOSED", (10_000, 0))


def test_the_maker_cannot_decide_by_the_pages_either(team: Team, employee: Employee) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    client = browser(team.maker)
    assert "another person must decide" in text_of(client, address(row, "approve"))
    for page in ("approve", "reject"):
        shown = client.post(address(row, page), {"digest": row.digest, "reason": "mine"}).content.decode()
        assert "another person must" in shown
    row.refresh_from_db()
    assert row.state == "PROPOSED"
    assert client.post(address(row, "withdraw")).status_code == 302
    row.refresh_from_db()
    assert row.state == "WITHDRAWN"


def test_the_second_checker_reads_who_was_first(team: Team, employee: Employee) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    client = browser(team.other)
    digest = hidden(text_of(client, address(row, "approve")), "digest")
    approve(row, team.checker)
    answer = client.post(address(row, "approve"), {"digest": digest}, follow=True)
    assert f"By {team.checker.username} at 2026-11-22 10:00:00: APPROVED." in answer.content.decode()
    assert worlds.wallet_of(employee) == (10_100, 0)


def test_a_rejection_keeps_its_reason(team: Team, employee: Employee) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    client = browser(team.checker)
    assert "needs a reason" in client.post(address(row, "reject"), {"reason": " "}).content.decode()
    assert client.post(address(row, "reject"), {"reason": "The receipt is unreadable."}).status_code == 302
    page = text_of(client, address(row, "change"))
    assert "The receipt is unreadable." in page
    assert worlds.wallet_of(employee) == (10_000, 0)


def test_rows_changed_behind_our_back_are_shown_with_a_warning(team: Team, employee: Employee) -> None:
    """A forged proposal without lines: the page opens and says so, and nothing can be posted."""
    row = proposed(team.maker, loss_to(employee, 100))
    values = {field.attname: getattr(row, field.attname) for field in Adjustment._meta.concrete_fields}
    forged = Adjustment.objects.create(**{**values, "id": None, "number": "ADJFORGED", "request_key": "forged"})
    client = browser(team.checker)
    assert "not what was proposed" in text_of(client, address(forged, "change"))
    shown = client.post(address(forged, "approve"), {"digest": forged.digest}).content.decode()
    assert "not what was proposed" in shown
    assert Alert.objects.filter(code="adjustment_changed", subject="ADJFORGED").exists()


# --- evidence -------------------------------------------------------------------------------------------------------


def test_evidence_is_saved_never_shown(team: Team, employee: Employee) -> None:
    stored = attachments.store(content=b"a,b\n1,2\n", name='../../凭证 "1".html', stored_by_id=1, now=NOW)
    evidence = (Evidence(digest=stored.digest, name=stored.name), adjusting.evidence())
    row = proposed(team.maker, loss_to(employee, 100), evidence=evidence)
    client = browser(team.checker)
    answer = client.get(address(row, "evidence", 1))
    assert answer.content == b"a,b\n1,2\n"
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert answer["Content-Disposition"] == (
        "attachment; filename=\"__ _1_.html.txt\"; filename*=UTF-8''%E5%87%AD%E8%AF%81%20%221%22.html.txt"
    )
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer["Cache-Control"].startswith("private, no-store")
    assert client.get(address(row, "evidence", 2)).content == PDF
    assert client.get(address(row, "evidence", 3)).status_code == 404


def test_damaged_evidence_is_not_handed_out(team: Team, employee: Employee, root: Path) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    next(path for path in root.rglob("*") if path.is_file()).write_bytes(b"%PDF-1.7 another")
    answer = browser(team.checker).get(address(row, "evidence", 1), follow=True)
    assert "missing or damaged" in answer.content.decode()


# --- notices --------------------------------------------------------------------------------------------------------


def test_checkers_hear_of_a_proposal_and_the_maker_of_the_decision(team: Team, employee: Employee) -> None:
    outsider = adjusting.staff("view_adjustment", "propose_adjustment")
    inactive = adjusting.staff()
    inactive.is_active = False
    inactive.save()
    row = proposed(team.maker, loss_to(employee, 123_456))
    deliver(row)
    title = f"Adjustment {row.number} of ¥1,234.56 by {team.maker.username} waits for approval"
    told = (title, address(row, "change"), False)
    assert (notices(team.checker), notices(team.other)) == ([told], [told])
    assert (notices(team.maker), notices(outsider), notices(inactive)) == ([], [], [])
    approve(row, team.checker)
    deliver(row)
    title = f"Your adjustment {row.number} of ¥1,234.56 was approved by {team.checker.username}"
    assert notices(team.maker) == [(title, address(row, "change"), False)]
    assert len(notices(team.checker)) == 1


def test_a_repeated_delivery_tells_nobody_twice(team: Team, employee: Employee) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    deliver(row)
    OutboxEvent.objects.using("funds").filter(key=row.number).update(done_at=None, next_at=NOW)
    deliver(row)
    assert len(notices(team.checker)) == 1


@pytest.mark.parametrize("is_rejected", [True, False])
def test_rejection_and_withdrawal_are_told(team: Team, employee: Employee, is_rejected: bool) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    deliver(row)
    if is_rejected:
        adjustments.reject(number=row.number, staff_id=team.checker.pk, reason="no", now=NOW)
    else:
        adjustments.withdraw(number=row.number, staff_id=team.maker.pk, now=NOW)
    deliver(row)
    to_maker = [title for title, _, _ in notices(team.maker)]
    to_checker = [title for title, _, _ in notices(team.checker)][1:]
    if is_rejected:
        assert to_maker == [f"Your adjustment {row.number} of ¥1.00 was rejected by {team.checker.username}"]
        assert to_checker == []
    else:
        assert (to_maker, to_checker) == (
            [],
            [f"Adjustment {row.number} of ¥1.00 was withdrawn by {team.maker.username}"],
        )


def test_nobody_to_approve_raises_an_alert(employee: Employee) -> None:
    User.objects.update(is_active=False)
    maker = adjusting.staff("propose_adjustment")
    row = proposed(maker, loss_to(employee, 100))
    deliver(row)
    assert Alert.objects.get(code="nobody_to_notify").subject == f"funds.adjustment_proposed:{row.number}"


def test_everybody_sees_his_own_notices_and_opening_one_reads_it(team: Team, employee: Employee) -> None:
    row = proposed(team.maker, loss_to(employee, 100))
    second = proposed(team.maker, loss_to(employee, 200))
    deliver(row, second)
    client, stranger = browser(team.checker), browser(User.objects.create_user("clerk", password="x", is_staff=True))
    inbox = reverse("admin:foundation_staffnotice_changelist")
    assert "2 unread notices" in text_of(client, reverse(LIST))
    page = text_of(client, inbox)
    assert "Notices for me: 2 unread" in page
    assert row.number in page
    theirs = text_of(stranger, inbox)
    assert "Notices for me: 0 unread" in theirs
    assert row.number not in theirs
    notice = StaffNotice.objects.get(recipient_id=team.checker.pk, key__endswith=row.number)
    opened = reverse("admin:foundation_staffnotice_change", args=[notice.pk])
    assert stranger.get(opened)["Location"] == inbox
    notice.refresh_from_db()
    assert notice.read_at is None
    assert client.get(opened)["Location"] == address(row, "change")
    notice.refresh_from_db()
    assert notice.read_at is not None
    assert "1 unread notice<" in text_of(client, reverse(LIST))
    read_all = reverse("admin:foundation_staffnotice_read_all")
    assert client.get(read_all).status_code == 405
    assert stranger.post(read_all).status_code == 302
    assert StaffNotice.objects.filter(recipient_id=team.checker.pk, read_at=None).count() == 1
    assert client.post(read_all).status_code == 302
    assert StaffNotice.objects.filter(recipient_id=team.checker.pk, read_at=None).count() == 0
    assert StaffNotice.objects.filter(recipient_id=team.other.pk, read_at=None).count() == 2
    assert second.number in text_of(client, inbox)


def test_a_notice_never_leads_to_another_site(team: Team) -> None:
    inbox = reverse("admin:foundation_staffnotice_changelist")
    for number, link in enumerate(("https://example.com/", "//example.com", "javascript:alert(1)", "")):
        notice = StaffNotice.objects.create(
            recipient_id=team.maker.pk, key=f"k{number}", title_en="t", title_zh="标题", link=link, created_at=NOW
        )
        opened = browser(team.maker).get(reverse("admin:foundation_staffnotice_change", args=[notice.pk]))
        assert opened["Location"] == inbox
    chinese = browser(team.maker).get(inbox, headers={"accept-language": "zh-hans"})
    assert "标题" in chinese.content.decode()
