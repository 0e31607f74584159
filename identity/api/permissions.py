"""Who may call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from identity.models import Employee

if TYPE_CHECKING:  # DRF imports this module while its own views are being imported
    from rest_framework.views import APIView


class IsEmployee(BasePermission):
    """A logged-in employee."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.user, Employee)


class RequiresToken(IsEmployee):
    """Calls that move an employee's money (marked T in api.md).

    The one place where validator tokens (X-Pay-Token, X-Pay-Seq) are checked once the validator exists; until then a
    logged-in employee passes.
    """
