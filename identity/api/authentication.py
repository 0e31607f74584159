"""`Authorization: Bearer …`: an employee's access token."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from foundation import clock
from foundation.errors import NotAuthenticated
from identity.models import Employee
from identity.services import login

MAX_TOKEN_LENGTH = 128


def bearer_token(header: str) -> str | None:
    """The token in an Authorization header, None without one. Raises NotAuthenticated for anything else."""
    if not header:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_LENGTH:
        raise NotAuthenticated()
    return token


class EmployeeTokenAuthentication(BaseAuthentication):
    """Sets request.user to the Employee; a wrong token is 401, no header leaves the request anonymous."""

    def authenticate(self, request: Request) -> tuple[Employee, str] | None:
        token = bearer_token(request.headers.get("Authorization", ""))
        if token is None:
            return None
        return login.authenticate_token(token=token, now=clock.now()), token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class EmployeeTokenScheme(OpenApiAuthenticationExtension):
    """The security scheme in the OpenAPI schema."""

    target_class = "identity.api.authentication.EmployeeTokenAuthentication"
    name = "employeeToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "access_token of POST auth/login"}
