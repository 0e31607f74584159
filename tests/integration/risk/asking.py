"""What the tests of risk share: people, requests, staff, versions."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid

from django.contrib.auth.models import Permission, User
from django.db import transaction

from foundation.db import roles
from risk.domain.facts import Action, FactValue
from risk.domain.tables import Outcome, Row, Thresholds
from risk.models import RuleSet, RuleVersion
from risk.services import deciding, reserving, tables, versions
from risk.services.deciding import Subject, Verdict
from tests.worlds import NOW

KNOWN: dict[str, FactValue] = {"account_age_days": 100, "card_is_new": False, "card_is_second_class": False}
ABILITIES = (
    "edit_rules",
    "approve_rules",
    "edit_lists",
    "confirm_lists",
    "view_ruleset",
    "view_ruleversion",
    "view_decision",
    "view_listentry",
)
_people = itertools.count(uuid.uuid4().int % 10**15)


def person(**more: object) -> Subject:
    """Somebody nobody has seen before."""
    number = next(_people)
    values: dict = {"employee_id": number, "enterprise_id": number, **more}
    return Subject(**values)


def reference() -> str:
    return uuid.uuid4().hex


def ask(
    subject: Subject,
    amount_fen: int = 10_000,
    *,
    ref: str = "",
    now: dt.datetime = NOW,
    channel: str = "kuaiqian",
    action: Action = Action.WITHDRAWAL,
    known: dict[str, FactValue] | None = None,
) -> Verdict:
    """One request as withdrawals makes it: decided and, unless rejected, reserved, in one commit."""
    with transaction.atomic(using=roles.alias_for("default")):
        verdict = deciding.decide(
            action=action,
            subject=subject,
            amount_fen=amount_fen,
            channel=channel,
            reference=ref or reference(),
            known=KNOWN if known is None and action is Action.WITHDRAWAL else known,
            now=now,
        )
        if verdict.outcome is not Outcome.REJECT:
            reserving.reserve(verdict=verdict, now=now)
    return verdict


def staff(*abilities: str) -> User:
    """A fresh member of staff with these permissions of risk (all when none is named)."""
    user = User.objects.create_user(f"s{uuid.uuid4().hex[:12]}", password="x", is_staff=True)
    wanted = Permission.objects.filter(content_type__app_label="risk", codename__in=abilities or ABILITIES)
    user.user_permissions.set(wanted)
    return user


def row(code: str, expression: str, action: str = "REJECT", **more: object) -> Row:
    values: dict = {
        "position": 1,
        "code": code,
        "title_en": code,
        "title_zh": code,
        "expression": expression,
        "action": action,
        "reason_en": f"reason {code}",
        "reason_zh": f"原因 {code}",
        **more,
    }
    return Row(**values)


def submitted(
    maker: User, rows: list[Row], thresholds: Thresholds | None = None, action: Action = Action.WITHDRAWAL
) -> RuleVersion:
    version = versions.create_draft(action=action, staff_id=maker.pk, now=NOW)
    errors = versions.save_draft(
        version_id=version.pk,
        rows=rows,
        thresholds=thresholds or Thresholds(),
        note="For a test.",
        staff_id=maker.pk,
        now=NOW,
    )
    assert errors == []
    return versions.submit(version_id=version.pk, staff_id=maker.pk, now=NOW)


def approve(version: RuleVersion, checker: User) -> RuleVersion:
    fresh = RuleVersion.objects.select_related("rule_set").get(pk=version.pk)
    return versions.approve(version_id=version.pk, seen=versions.seen_token(fresh), staff_id=checker.pk, now=NOW)


def activate(rows: list[Row], thresholds: Thresholds | None = None, action: Action = Action.WITHDRAWAL) -> RuleVersion:
    """Makes these rows the active table, by two people."""
    version = approve(submitted(staff(), rows, thresholds, action), staff())
    tables.forget()
    return version


def rule_set(action: Action = Action.WITHDRAWAL) -> RuleSet:
    return RuleSet.objects.get(action=action)
