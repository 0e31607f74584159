"""Risk control as staff meet it, driven as a browser without JavaScript would: rules, dry run, lists, decision log."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from foundation import clock
from risk import selectors
from risk.domain.tables import Outcome
from risk.models import ListEntry, RuleVersion
from tests.integration.risk.asking import ask, person, reference, rule_set, staff

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture(autouse=True)
def _english(settings: Settings) -> None:
    settings.LANGUAGE_CODE = "en"


def browser(user: User, language: str = "en") -> Client:
    client = Client(headers={"accept-language": language})
    client.force_login(user)
    return client


def url(name: str, *args: object) -> str:
    return reverse(f"admin:risk_{name}", args=args)


def page(client: Client, address: str, **query: str) -> str:
    answer = client.get(address, query)
    assert answer.status_code == 200, (address, answer.status_code)
    return answer.content.decode()


def post(client: Client, address: str, **data: object) -> str:
    answer = client.post(address, data, follow=True)
    assert answer.status_code == 200, (address, answer.status_code)
    return answer.content.decode()


def hidden(text: str, name: str) -> str:
    found = re.search(rf'<input type="hidden" name="{name}" value="([^"]*)"', text)
    assert found is not None, name
    return found.group(1)


def row_form(**changes: object) -> dict[str, object]:
    return {
        "position": 1,
        "code": "SMALL",
        "title_en": "Small only",
        "title_zh": "仅限小额",
        "expression": "amount_fen > 500",
        "action": "REJECT",
        "score": 0,
        "mode": "LIVE",
        "until": "DAY",
        "reason_en": "Too much.",
        "reason_zh": "金额过大。",
        **changes,
    }


def draft_of(client: Client) -> RuleVersion:
    client.post(url("ruleversion_draft", "withdrawal"))
    found = RuleVersion.objects.filter(rule_set=rule_set()).order_by("-number").first()
    assert found is not None
    return found


def test_a_rule_from_draft_to_active_and_back_by_two_people() -> None:
    maker, checker = browser(staff("edit_rules")), browser(staff("approve_rules"))
    assert "New draft" in page(maker, url("ruleset_change", rule_set().pk))
    assert "New draft" not in page(checker, url("ruleset_change", rule_set().pk))
    version = draft_of(maker)
    text = post(maker, url("ruleversion_row_add", version.pk), **row_form())
    assert "amount_fen &gt; 500" in text
    rows, _ = selectors.get_content(version_id=version.pk)
    assert [(row.position, row.code) for row in rows[:2]] == [(1, "SMALL"), (2, "ALLOW_LIST")]
    assert "Say what changes" in post(maker, url("ruleversion_step", version.pk, "submit"))
    post(maker, url("ruleversion_content", version.pk), note="Only small ones", review_score=10, reject_score=20)
    ask(person(), 400, now=clock.now())
    ask(person(), 70_000, now=clock.now())
    run = page(maker, url("ruleversion_dry_run", version.pk), days="1")
    assert "1 of 2 requests would end otherwise, ¥700.00 in all." in run
    assert "/admin/risk/decision/" in run
    assert "is submitted" in post(maker, url("ruleversion_step", version.pk, "submit"))
    assert maker.get(url("ruleversion_step", version.pk, "approve")).status_code == 403
    asked = page(checker, url("ruleversion_step", version.pk, "approve"))
    assert "Only small ones" in asked
    assert "SMALL" in asked
    old = rule_set().active_id
    done = post(checker, url("ruleversion_step", version.pk, "approve"), seen=hidden(asked, "seen"), reason="fine")
    assert "is active" in done
    assert ask(person(), 501).outcome is Outcome.REJECT
    diff = page(checker, url("ruleversion_diff", version.pk), against=str(old))
    assert "SMALL" in diff
    assert "0 / 0 → 10 / 20" in diff
    assert "is submitted" in post(maker, url("ruleversion_step", old, "rollback"), reason="too strict")


def test_a_misspelt_fact_is_shown_at_its_cell_with_a_suggestion_and_can_be_put_right() -> None:
    maker = browser(staff())
    version = draft_of(maker)
    text = post(maker, url("ruleversion_row_add", version.pk), **row_form(expression="amonut_fen > 500"))
    assert "There is no fact “amonut_fen” here. Did you mean “amount_fen”?" in text
    stored = url("ruleversion_row", version.pk, 1)
    assert 'id="id_expression_error"' in page(maker, stored)
    shown = page(maker, url("ruleversion_change", version.pk))
    assert "This table has wrong cells" in shown
    assert "Did you mean" in shown
    assert "是否指“amount_fen”" in page(browser(staff(), "zh-hans"), url("ruleversion_change", version.pk))
    refused = post(maker, stored, **row_form(expression='channel =~ "a+"'))
    assert "Regular expressions are not allowed." in refused
    post(maker, stored, **row_form(position=3))
    rows, _ = selectors.get_content(version_id=version.pk)
    assert [row.code for row in rows[:3]] == ["ALLOW_LIST", "BLOCK_LIST", "SMALL"]
    assert "This table has wrong cells" not in page(maker, url("ruleversion_change", version.pk))
    post(maker, url("ruleversion_row_remove", version.pk, 3))
    assert len(selectors.get_content(version_id=version.pk)[0]) == len(rows) - 1
    assert "discarded" in post(maker, url("ruleversion_step", version.pk, "discard"))
    assert not RuleVersion.objects.filter(pk=version.pk).exists()


def test_a_refusal_needs_a_reason_and_the_maker_cannot_decide() -> None:
    maker, checker = browser(staff()), browser(staff())
    version = draft_of(maker)
    post(maker, url("ruleversion_content", version.pk), note="n", review_score=0, reject_score=0)
    post(maker, url("ruleversion_step", version.pk, "submit"))
    assert "another person must decide it" in page(maker, url("ruleversion_change", version.pk))
    asked = page(maker, url("ruleversion_step", version.pk, "approve"))
    said = post(maker, url("ruleversion_step", version.pk, "approve"), seen=hidden(asked, "seen"))
    assert "another person must decide it" in said
    assert "Give a reason." in post(checker, url("ruleversion_step", version.pk, "refuse"))
    assert "is refused" in post(checker, url("ruleversion_step", version.pk, "refuse"), reason="not now")
    assert RuleVersion.objects.get(pk=version.pk).state == "REFUSED"


def test_the_decision_log_is_found_by_reference_and_shows_why() -> None:
    auditor, who, ref = browser(staff("view_decision")), person(), reference()
    decision = ask(who, 1_000_001, ref=ref).decision_id
    listed = page(auditor, url("decision_changelist"), q=ref)
    assert listed.count(ref) >= 1
    assert "DAILY_AMOUNT" in listed
    assert page(auditor, url("decision_changelist"), q=str(who.employee_id)).count("DAILY_AMOUNT") >= 1
    shown = page(auditor, url("decision_change", decision))
    active = rule_set().active
    assert active is not None
    for part in (
        "REJECT",
        "¥10,000.01",
        "amount_today_fen",
        "You can withdraw ¥10,000 a day",
        f"v{active.number}",
        "not counted",
    ):
        assert part in shown, part
    assert auditor.post(url("decision_change", decision), {"outcome": "PASS"}).status_code in (200, 403)
    assert auditor.get(url("decision_add")).status_code == 403


def test_list_entries_are_added_confirmed_by_another_and_removed() -> None:
    maker, checker = browser(staff("edit_lists")), browser(staff("confirm_lists"))
    last_day = f"{clock.business_date(clock.now()):%Y-%m-%d}"
    form = {"kind": "ALLOW", "subject_kind": "CARD", "value": "6222020200008888", "expires_on": last_day}
    assert "Please correct" in post(maker, url("listentry_add"), **form)
    said = post(maker, url("listentry_add"), **form, reason="known customer")
    assert "1 entries were added." in said
    row = ListEntry.objects.get(value_shown="**** 8888")
    assert "waits for a second person" in page(maker, url("listentry_changelist"), standing="waiting")
    assert maker.post(url("listentry_step", row.pk, "confirm")).status_code == 403
    assert ">counts<" in post(checker, url("listentry_step", row.pk, "confirm"))
    assert "12 to 19 digits" in post(maker, url("listentry_add"), **{**form, "value": "1"}, reason="x")
    post(maker, url("listentry_step", row.pk, "remove"), reason="left")
    row.refresh_from_db()
    assert (row.removal_reason, row.confirmed_by_id is not None) == ("left", True)


def test_a_csv_is_previewed_before_anything_is_added() -> None:
    maker = browser(staff("edit_lists"))
    day = f"{clock.business_date(clock.now()):%Y-%m-%d}"
    wrong = f"BLOCK,PHONE,13800001111,{day},spam\nBLOCK,PHONE,1,{day},spam\n"
    text = post(maker, url("listentry_import"), file=SimpleUploadedFile("l.csv", wrong.encode()))
    assert "1 lines are wrong" in text
    assert 'name="signed"' not in text
    text = post(maker, url("listentry_import"), text=wrong.splitlines()[0])
    assert "1 of 1 lines would be added." in text
    assert "13800001111" not in text
    assert not ListEntry.objects.filter(value_shown="138****1111").exists()
    signed = hidden(text, "signed")
    assert browser(staff("edit_lists")).post(url("listentry_import"), {"signed": signed}).status_code == 200
    assert not ListEntry.objects.filter(value_shown="138****1111").exists()
    assert "1 entries were added." in post(maker, url("listentry_import"), signed=signed)
    assert "Nothing was added" in post(maker, url("listentry_import"), signed=signed)
    assert ListEntry.objects.filter(value_shown="138****1111").count() == 1


def test_strangers_see_nothing() -> None:
    clerk = browser(User.objects.create_user("clerk-of-risk", password="x", is_staff=True))
    version = rule_set().active_id
    for address in (
        url("ruleset_change", rule_set().pk),
        url("ruleversion_change", version),
        url("ruleversion_dry_run", version),
        url("ruleversion_diff", version),
        url("ruleversion_step", version, "approve"),
        url("listentry_import"),
        url("listentry_add"),
        url("decision_changelist"),
    ):
        assert clerk.get(address).status_code == 403, address
        assert Client().get(address).status_code == 302, address


def test_no_page_needs_javascript_of_ours() -> None:
    maker = browser(staff())
    version = draft_of(maker)
    pages = [
        url("ruleset_change", rule_set().pk),
        url("ruleversion_change", version.pk),
        url("ruleversion_row", version.pk, 1),
        url("ruleversion_content", version.pk),
        url("ruleversion_diff", version.pk),
        url("ruleversion_dry_run", version.pk),
        url("ruleversion_step", version.pk, "submit"),
        url("listentry_import"),
        url("listentry_add"),
        url("listentry_changelist"),
    ]
    for address in pages:
        text = page(maker, address)
        assert "onclick" not in text, address
        assert not re.search(r"<script(?![^>]*src=)", text), address
