"""Validator tokens in tests, got as a client gets them: from the owner's push stream, nowhere else."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from foundation import clock, push, redis
from identity import selectors
from identity.models import Employee
from identity.services import validator
from identity.services.validator import Kind, PresentedToken
from identity.validator_lua import token_key


@dataclass
class Token:
    """A token as it came, and the next number of it."""

    text: str
    sequence: int
    data: dict[str, Any] = field(default_factory=dict)

    def headers(self, sequence: int | str | None = None) -> dict[str, str]:
        """Headers of one call; without an argument the next number, counting up."""
        if sequence is None:
            sequence, self.sequence = self.sequence, self.sequence + 1
        return {"X-Pay-Token": self.text, "X-Pay-Seq": str(sequence)}

    def shown(self, employee: Employee, sequence: int | str, fingerprint: str) -> PresentedToken:
        return PresentedToken(
            key=token_key(self.text), employee_id=employee.pk, sequence=str(sequence), fingerprint=fingerprint
        )


def events_of(employee: Employee) -> list[tuple[str, str, dict[str, Any]]]:
    """(id, event, data) of everything in the employee's stream."""
    rows: Any = redis.client().xrange(push.stream_key(selectors.push_owner(employee_id=employee.pk)))
    stored = [push.Stored(id=row_id, event=fields["event"], sealed=fields["data"]) for row_id, fields in rows]
    return [(one.id, one.event, json.loads(one.data())) for one in stored]


def pushed_token(employee: Employee, request_id: str) -> Token:
    """The token that a request caused, from the stream."""
    found = [data for _, event, data in events_of(employee) if event == "validator.token"]
    [data] = [data for data in found if data["request_id"] == request_id]
    return Token(text=data["token"], sequence=data["sequence"], data=data)


def new_token(employee: Employee, kind: Kind = Kind.SESSION) -> Token:
    """Asks for a token and takes it from the stream."""
    return pushed_token(employee, validator.issue(employee=employee, kind=kind, now=clock.now()))
