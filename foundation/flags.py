"""Grey release (灰度发布): what is new is switched on for some enterprises and employees before it is for all.

A flag (`foundation.models.Flag`, set in the admin with history) says for whom, in this order; the first that speaks
decides: everyone yes or no · an employee by name · his enterprise by name · a share of the enterprises · a share of
the employees. Shares go by a hash of flag and number, so an employee who is in stays in while the share grows, his
colleagues are in with him when it is one of enterprises, and every process says the same without asking anybody.

Every process reads the flags at most once a second, at its next question, as risk/services/tables.py does: a change
counts everywhere within two seconds. While the database is away the last answer stays; a flag that nobody set is off.
"""

from __future__ import annotations

import functools
import hashlib
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
from django.db import Error as DatabaseProblem

from foundation.db import roles
from foundation.models import Flag

logger = structlog.get_logger("flags")

ORDER_NUMBER_2 = "order_number_version_2"
"""New order numbers have version 2 (routed by the account) instead of the one of the settings."""
KNOWN = {ORDER_NUMBER_2: "New order numbers are of version 2, whatever PAYSYS_ORDER_NUMBER_VERSION says."}
"""Flags that the code asks, and what they switch."""

LOOK_SECONDS = 1.0
"""Age of the last look after which the flags are read again; half of the two seconds promised."""
PARTS = 1000
"""Shares are in tenths of a percent."""
CODES = re.compile(r"[\s,;]+")


@dataclass(frozen=True, kw_only=True)
class Person:
    """An employee as flags know him: numbers for the shares, codes for the names."""

    employee_id: int
    employee_code: str
    enterprise_id: int
    enterprise_code: str


class Directory(Protocol):
    """Who knows employees and enterprises; told by `use_directory`, for the foundation knows neither."""

    def find_person(self, *, employee_id: int) -> Person | None: ...

    def list_enterprises(self, *, limit: int) -> Sequence[Enterprise]: ...


@dataclass(frozen=True, kw_only=True)
class Enterprise:
    """One line of the admin's page of who is in."""

    id: int
    code: str
    name: str
    employee_ids: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a flag says. `enterprises` are codes, `employees` "enterprise/employee"; shares of PARTS."""

    name: str
    everyone: bool | None = None
    employees: frozenset[str] = frozenset()
    enterprises: frozenset[str] = frozenset()
    enterprise_share: int = 0
    employee_share: int = 0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Whether one is in, and by what: "everyone", "employee", "enterprise", "enterprise share", "employee share"."""

    is_in: bool
    by: str = ""


OUT = Answer(is_in=False)

_lock = threading.Lock()
_rules: dict[str, Rule] = {}
_looked_at: float | None = None
_directory: Directory | None = None


def use_directory(directory: Directory) -> None:
    """Called once, when all apps are there."""
    global _directory
    _directory = directory


def is_active(name: str, *, employee_id: int) -> bool:
    """Whether the flag is on for the employee. Reads the database at most once a second; never raises for one away."""
    rule = _current().get(name)
    return rule is not None and answer(rule, employee_id=employee_id).is_in


def answer(rule: Rule, *, employee_id: int) -> Answer:
    """What the rule says to an employee. Who he is, is looked up only where it matters, once for a process."""
    if rule.everyone is not None:
        return Answer(is_in=rule.everyone, by="everyone")
    if rule.employees or rule.enterprises or rule.enterprise_share:
        person = _find_person(employee_id)
        if person is not None and f"{person.enterprise_code}/{person.employee_code}" in rule.employees:
            return Answer(is_in=True, by="employee")
        if person is not None and (found := answer_for_enterprise(rule, person.enterprise_id, person.enterprise_code)):
            return found
    if _part(rule.name, "employee", employee_id) < rule.employee_share:
        return Answer(is_in=True, by="employee share")
    return OUT


def answer_for_enterprise(rule: Rule, enterprise_id: int, code: str) -> Answer | None:
    """What the rule says to all employees of an enterprise alike; None when it asks further."""
    if rule.everyone is not None:
        return Answer(is_in=rule.everyone, by="everyone")
    if code in rule.enterprises:
        return Answer(is_in=True, by="enterprise")
    if _part(rule.name, "enterprise", enterprise_id) < rule.enterprise_share:
        return Answer(is_in=True, by="enterprise share")
    return None


def rule_of(flag: Flag) -> Rule:
    """The rule of a row of the table, which need not be saved."""
    return Rule(
        name=flag.name,
        everyone=flag.everyone,
        employees=frozenset(filter(None, CODES.split(flag.employees))),
        enterprises=frozenset(filter(None, CODES.split(flag.enterprises))),
        enterprise_share=flag.enterprise_percent * PARTS // 100,
        employee_share=int((flag.percent or 0) * PARTS / 100),
    )


def forget() -> None:
    """Makes the next question of this process look again (after a change made here, and in tests)."""
    global _looked_at
    with _lock:
        _looked_at = None
        _rules.clear()
        _person.cache_clear()


def list_enterprises(*, limit: int) -> Sequence[Enterprise]:
    """Enterprises and their employees, of the directory; the first `limit`."""
    return _directory.list_enterprises(limit=limit) if _directory else ()


def _find_person(employee_id: int) -> Person | None:
    """None also while the database is away: names and shares of enterprises reach nobody then."""
    try:
        return _person(employee_id)
    except DatabaseProblem as error:
        logger.warning("employee not looked up", employee_id=employee_id, error=repr(error))
        return None


@functools.lru_cache(maxsize=65_536)
def _person(employee_id: int) -> Person | None:
    """Kept for ever: employees do not change their enterprise or their code."""
    return _directory.find_person(employee_id=employee_id) if _directory else None


def _part(name: str, kind: str, number: int) -> int:
    """0 … PARTS - 1, the same in every process; another flag deals anew."""
    digest = hashlib.blake2b(f"{name}:{kind}:{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % PARTS


def _current() -> dict[str, Rule]:
    # Who comes second goes on with what is loaded; only the very first look is waited for.
    if _is_old() and _lock.acquire(blocking=_looked_at is None):
        try:
            if _is_old():
                _look()
        finally:
            _lock.release()
    return _rules


def _is_old() -> bool:
    return _looked_at is None or time.monotonic() - _looked_at > LOOK_SECONDS


def _look() -> None:
    global _rules, _looked_at
    try:
        found = {flag.name: rule_of(flag) for flag in Flag.objects.using(roles.alias_for("default")).all()}
    except DatabaseProblem as error:
        logger.warning("flags not read, the last ones stay", error=repr(error))
    else:
        if found != _rules:
            logger.info("flags changed", names=sorted(found))
        _rules = found
    _looked_at = time.monotonic()
