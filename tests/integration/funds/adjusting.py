"""What the tests of adjustments share: staff, evidence, drafts."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.contrib.auth.models import Permission, User

from foundation import attachments
from funds.domain.adjustments import Evidence
from funds.domain.entries import AccountRef, Bucket, Category, Line, employee_account, platform_account
from funds.models import Adjustment
from funds.services import adjustments
from identity.models import Employee
from tests.worlds import NOW

PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF\n"
REASON = "Customer was charged twice on 22 November."
ABILITIES = ("propose_adjustment", "approve_adjustment", "view_adjustment")


def staff(*abilities: str, name: str = "") -> User:
    """A fresh member of staff with these permissions of funds (all three when none is named)."""
    user = User.objects.create_user(name or f"s{uuid.uuid4().hex[:12]}", password="x", is_staff=True)
    wanted = Permission.objects.filter(content_type__app_label="funds", codename__in=abilities or ABILITIES)
    user.user_permissions.set(wanted)
    return user


@dataclass(frozen=True)
class Team:
    maker: User
    checker: User
    other: User


def team() -> Team:
    return Team(maker=staff(), checker=staff(), other=staff())


def evidence(content: bytes = PDF, name: str = "receipt.pdf") -> Evidence:
    stored = attachments.store(content=content, name=name, stored_by_id=1, now=NOW)
    return Evidence(digest=stored.digest, name=stored.name)


def account(employee: Employee) -> AccountRef:
    return employee_account(employee.pk, employee.enterprise_id)


def line(where: AccountRef, amount_fen: int, category: Category | None = None) -> Line:
    meaning = category or (Category.PLATFORM if where.is_platform else Category.INCOME)
    return Line(account=where, bucket=Bucket.AVAILABLE, amount_fen=amount_fen, category=meaning)


def loss_to(employee: Employee, amount_fen: int) -> tuple[Line, Line]:
    """5090 loss → 2010 of the employee."""
    return line(platform_account("5090"), -amount_fen), line(account(employee), amount_fen)


def draft(lines: Sequence[Line], **changes: object) -> adjustments.Draft:
    values: dict = {
        "request_key": uuid.uuid4().hex,
        "reason": REASON,
        "lines": tuple(lines),
        "evidence": (evidence(),),
        **changes,
    }
    return adjustments.Draft(**values)


def proposed(maker: User, lines: Sequence[Line], **changes: object) -> Adjustment:
    return adjustments.propose(draft=draft(lines, **changes), staff_id=maker.pk, now=NOW)


def approve(row: Adjustment, checker: User) -> Adjustment:
    return adjustments.approve(number=row.number, seen_digest=row.digest, staff_id=checker.pk, now=NOW)
