"""Who of the staff may do what, asked again at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model

from foundation.errors import PermissionDenied

EDIT_RULES = "risk.edit_rules"
APPROVE_RULES = "risk.approve_rules"
EDIT_LISTS = "risk.edit_lists"
CONFIRM_LISTS = "risk.confirm_lists"


@dataclass(frozen=True, kw_only=True)
class Staff:
    user_id: int
    username: str


def find(*, staff_id: int, permission: str) -> Staff:
    """The active member of staff, if he holds `permission` now. Raises PermissionDenied."""
    user: Any = get_user_model().objects.filter(pk=staff_id, is_active=True, is_staff=True).first()
    if user is None or not user.has_perm(permission):
        raise PermissionDenied({"permission": permission})
    return Staff(user_id=user.pk, username=user.get_username())
