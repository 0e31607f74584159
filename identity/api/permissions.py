"""Who may call, and whether a call that moves money is fresh (X-Pay-Token, X-Pay-Seq)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from foundation.errors import InvalidRequest
from identity.models import Employee
from identity.services import validator
from identity.services.validator import PresentedToken
from identity.validator_lua import MAX_TOKEN_LENGTH, fingerprint_of, token_key

if TYPE_CHECKING:  # DRF imports this module while its own views are being imported
    from rest_framework.views import APIView

TOKEN_HEADER, SEQUENCE_HEADER = "X-Pay-Token", "X-Pay-Seq"
MAX_SEQUENCE_LENGTH = 12


class IsEmployee(BasePermission):
    """A logged-in employee."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.user, Employee)


class RequiresToken(IsEmployee):
    """Calls that move an employee's money (marked T in api.md): consumes the number that the request shows.

    Raises TokenInvalid, SequenceUsed and Busy. A view that consumes it in a script of its own (the grab) does not use
    this class but `presented_token`, or the number would be gone before the script looks.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not super().has_permission(request, view):
            return False
        presented = presented_token(request)
        if presented is not None:
            validator.consume(presented=presented)
        return True


def presented_token(request: Request) -> PresentedToken | None:
    """The token that an employee's request shows, not consumed yet. Raises TokenInvalid where one is missing.

    None: it shows none and settings.VALIDATOR lets that pass. Who gets one must consume it before anything moves:
    `consume_token` of identity/validator_lua.py in a script, or validator.consume.
    """
    employee = request.user
    assert isinstance(employee, Employee)  # IsEmployee came first
    token = request.headers.get(TOKEN_HEADER, "")
    sequence = request.headers.get(SEQUENCE_HEADER, "")
    if not token and not sequence and not validator.is_required():
        return None
    if not token or not sequence or max(len(token) - MAX_TOKEN_LENGTH, len(sequence) - MAX_SEQUENCE_LENGTH) > 0:
        raise validator.TokenInvalid({"headers": [TOKEN_HEADER, SEQUENCE_HEADER]})
    fingerprint = fingerprint_of(
        method=request.method or "",
        path=request.path,
        idempotency_key=request.headers.get("Idempotency-Key", ""),
        body=_canonical_body(request),
    )
    return PresentedToken(key=token_key(token), employee_id=employee.pk, sequence=sequence, fingerprint=fingerprint)


def _canonical_body(request: Request) -> bytes:
    """The parsed body in one form, as the idempotency key sees it; "" without one."""
    try:
        return json.dumps(request.data, sort_keys=True, separators=(",", ":")).encode()
    except RecursionError as error:  # thousands of brackets
        raise InvalidRequest({"body": ["nested too deeply"]}) from error
