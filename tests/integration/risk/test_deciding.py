"""Decisions on MariaDB: shipped limits, lists, order of what counts, the log, and what they cost."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from risk.domain.facts import Action
from risk.domain.tables import Outcome, Thresholds
from risk.models import Counter, Decision, Reservation, RuleSet
from risk.services import deciding, reserving, tables
from tests.integration.risk.asking import KNOWN, activate, ask, person, reference, row
from tests.worlds import NOW

pytestmark = pytest.mark.django_db(databases="__all__")


def test_the_fourth_withdrawal_of_a_day_is_rejected_until_tomorrow() -> None:
    who = person()
    assert [ask(who).outcome for _ in range(3)] == [Outcome.PASS] * 3
    fourth = ask(who)
    assert (fourth.outcome, fourth.rule_code) == (Outcome.REJECT, "DAILY_COUNT")
    assert fourth.until == dt.datetime(2026, 11, 22, 16, 0, tzinfo=dt.UTC)
    assert fourth.reason_zh == "每天最多提现 3 次，请明天再试。"
    assert Reservation.objects.filter(employee_id=who.employee_id).count() == 3
    error = fourth.refusal()
    assert (error.code, error.http_status) == ("risk_rejected", 422)
    assert error.details == {"rule": "DAILY_COUNT", "until": "2026-11-23T00:00:00+08:00"}
    assert error.message("zh-hans") == fourth.reason_zh
    assert error.message("en").startswith("You can withdraw 3 times")


def test_the_business_day_is_that_of_shanghai() -> None:
    who = person()
    late = dt.datetime(2026, 11, 22, 15, 59, 59, tzinfo=dt.UTC)
    assert [ask(who, now=late).outcome for _ in range(4)][-1] is Outcome.REJECT
    assert ask(who, now=late + dt.timedelta(seconds=1)).outcome is Outcome.PASS


def test_ten_thousand_yuan_a_day_are_allowed_to_the_fen() -> None:
    who = person()
    assert ask(who, 999_999).outcome is Outcome.PASS
    over = ask(who, 2)
    assert (over.outcome, over.rule_code) == (Outcome.REJECT, "DAILY_AMOUNT")
    assert ask(who, 1).outcome is Outcome.PASS
    assert Counter.objects.get(name=f"withdrawal:e{who.employee_id}:20261122").amount_fen == 1_000_000


def test_the_log_says_what_was_known_and_what_hit() -> None:
    who = person()
    verdict = ask(who, 1_000_001)
    logged = Decision.objects.get(pk=verdict.decision_id)
    assert logged.version_id == RuleSet.objects.get(action="withdrawal").active_id
    assert (logged.outcome, logged.hits, logged.errors) == ("REJECT", ["DAILY_AMOUNT"], [])
    assert logged.facts == {
        **KNOWN,
        "amount_fen": 1_000_001,
        "channel": "kuaiqian",
        "enterprise": str(who.enterprise_id),
        "hour_of_day": 10,
        "count_today": 0,
        "amount_today_fen": 0,
        "channel_count_today": 0,
        "channel_amount_today_fen": 0,
        "count_this_year": 0,
        "amount_this_year_fen": 0,
        "count_7_days": 0,
        "amount_7_days_fen": 0,
        "tries_10_minutes": 0,
        "tries_1_hour": 0,
        "rejections_24_hours": 0,
        "on_block_list": False,
        "on_allow_list": False,
        "card_amount_today_fen": 0,
        "card_amount_this_year_fen": 0,
    }


def test_counts_windows_and_cards_are_facts_of_the_next_request() -> None:
    who = person(card_no="6222020200001111")
    ask(who, 100, channel="wechat")
    ask(who, 20, now=NOW + dt.timedelta(minutes=30))
    ask(who, 2_000_000, now=NOW + dt.timedelta(minutes=40))
    facts = Decision.objects.get(pk=ask(who, 3, now=NOW + dt.timedelta(minutes=45)).decision_id).facts
    assert (facts["count_today"], facts["amount_today_fen"]) == (2, 120)
    assert (facts["channel_count_today"], facts["channel_amount_today_fen"]) == (1, 20)
    assert (facts["count_this_year"], facts["count_7_days"], facts["amount_7_days_fen"]) == (2, 2, 120)
    assert (facts["tries_10_minutes"], facts["tries_1_hour"], facts["rejections_24_hours"]) == (1, 3, 1)
    assert (facts["card_amount_today_fen"], facts["card_amount_this_year_fen"]) == (120, 120)
    next_day = ask(who, 4, now=NOW + dt.timedelta(days=8))
    later = Decision.objects.get(pk=next_day.decision_id).facts
    assert (later["count_today"], later["count_7_days"], later["count_this_year"]) == (0, 0, 3)


def test_facts_cost_two_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LOOK_SECONDS", 600.0)
    who = person(card_no="6222020200001111", phone="13800000000", address="203.0.113.9")
    ask(who, 100)
    with transaction.atomic(), CaptureQueriesContext(connection) as seen:
        verdict = deciding.decide(
            action=Action.WITHDRAWAL,
            subject=who,
            amount_fen=1,
            channel="kuaiqian",
            reference=reference(),
            known=KNOWN,
            now=NOW,
        )
        reserving.reserve(verdict=verdict, now=NOW)
    statements = [query["sql"].split()[0] for query in seen.captured_queries]
    assert statements == ["SELECT", "SELECT", "INSERT", "UPDATE", "INSERT"]
    assert "FOR UPDATE" in seen.captured_queries[0]["sql"]


def test_the_same_reference_gets_the_first_answer() -> None:
    who, ref = person(), reference()
    first = ask(who, ref=ref)
    again = ask(who, ref=ref)
    assert (again.outcome, again.decision_id, again.is_repeat) == (Outcome.PASS, first.decision_id, True)
    assert Counter.objects.get(name=f"withdrawal:e{who.employee_id}:20261122").count == 1
    refused, other = reference(), person()
    rejected = ask(other, 1_000_001, ref=refused)
    assert ask(other, 1_000_001, ref=refused).decision_id == rejected.decision_id
    assert Decision.objects.filter(reference=refused).count() == 1


def test_a_missing_or_mistyped_fact_of_the_caller_is_a_review_where_a_rule_needs_it() -> None:
    activate([row("YOUNG", "account_age_days < 7"), row("DAILY_COUNT", "count_today >= 3")])
    who = person()
    assert ask(who).outcome is Outcome.PASS
    for known in ({}, {"account_age_days": None}, {"account_age_days": True}, {"account_age_days": -1}):
        verdict = ask(who, known=known)
        assert (verdict.outcome, verdict.rule_code) == (Outcome.REVIEW, "RULE_ERROR"), known
        assert "YOUNG" in Decision.objects.get(pk=verdict.decision_id).errors
        reserving.give_back(action=Action.WITHDRAWAL, reference=verdict.asked.reference, now=NOW)


def test_callers_cannot_overwrite_what_risk_counts() -> None:
    with pytest.raises(ValueError, match="count_today"):
        ask(person(), known={**KNOWN, "count_today": 0})


def test_without_usable_rules_everything_is_reviewed() -> None:
    RuleSet.objects.filter(action="transfer").update(active=None)
    tables.forget()
    verdict = ask(person(), action=Action.TRANSFER, channel="wallet")
    assert (verdict.outcome, verdict.rule_code) == (Outcome.REVIEW, "NO_RULES")


def test_scores_add_up_to_review_and_reject() -> None:
    activate(
        [
            row("LARGE", "amount_fen >= 500", "SCORE", score=40),
            row("NEW_CARD", "card_is_new", "SCORE", score=30),
            row("NIGHT", "hour_of_day == 10", "SCORE", score=20),
        ],
        Thresholds(review_score=60, reject_score=90),
    )
    who = person()
    assert ask(who, 499).score == 20
    assert ask(who, 500).outcome is Outcome.REVIEW
    high = ask(who, 500, known={**KNOWN, "card_is_new": True})
    assert (high.outcome, high.rule_code, high.score) == (Outcome.REJECT, "SCORE", 90)


def test_shadow_rows_are_logged_and_change_nothing() -> None:
    activate([row("DAILY_COUNT", "count_today >= 3"), row("STRICT", "amount_fen > 1", mode="SHADOW")])
    verdict = ask(person(), 2)
    assert verdict.outcome is Outcome.PASS
    assert Decision.objects.get(pk=verdict.decision_id).shadow_hits == ["STRICT"]


def test_second_class_templates_work_once_switched_on() -> None:
    rows, _ = tables.selectors.get_content(version_id=RuleSet.objects.get(action="withdrawal").active_id)
    assert [item.mode for item in rows if item.code.startswith("SECOND_CLASS")] == ["OFF", "OFF"]
    yearly = next(item for item in rows if item.code == "SECOND_CLASS_YEAR")
    activate([row("SECOND_CLASS_YEAR", yearly.expression, until="YEAR")])
    card, known = "6222020200002222", {**KNOWN, "card_is_second_class": True}
    for number in range(20):
        assert ask(person(card_no=card), 1_000_000, known=known).outcome is Outcome.PASS, number
    over = ask(person(card_no=card), 1, known=known)
    assert over.rule_code == "SECOND_CLASS_YEAR"
    assert over.until == dt.datetime(2026, 12, 31, 16, 0, tzinfo=dt.UTC)
    assert ask(person(card_no=card), 1).outcome is Outcome.PASS


def test_a_malformed_call_is_our_bug() -> None:
    for amount_fen, ref in ((0, "a"), (-1, "a"), (1, "x" * 65), (1, "编号")):
        with pytest.raises(ValueError, match="not a"):
            ask(person(), amount_fen, ref=ref)


def test_a_verdict_can_be_kept_after_a_rollback() -> None:
    who = person()
    verdicts = []
    with pytest.raises(RuntimeError), transaction.atomic():
        verdicts.append(
            deciding.decide(
                action=Action.WITHDRAWAL,
                subject=who,
                amount_fen=1_000_001,
                channel="kuaiqian",
                reference=reference(),
                known=KNOWN,
                now=NOW,
            )
        )
        raise RuntimeError
    rows = Decision.objects.filter(employee_id=who.employee_id)
    assert rows.count() == 0
    deciding.keep(verdict=verdicts[0])
    deciding.keep(verdict=verdicts[0])
    assert [(kept.outcome, kept.rule_code) for kept in rows] == [("REJECT", "DAILY_AMOUNT")]
