"""Block and allow lists: add, confirm, remove, and import from CSV after a preview.

A block counts from its commit on. An allow entry outranks all rules, so a second person confirms it first, and it ends
after 90 days at most. Nothing is deleted.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from foundation import clock, crypto, ids, outbox
from foundation.db import roles, transactions
from foundation.errors import NotFound, Rejected
from identity import selectors as identity
from identity.models import Employee, Enterprise
from risk.domain.versions import LISTS_CHANGED
from risk.models import ListEntry
from risk.services import staff as people
from risk.services.gathering import value_indexes

logger = structlog.get_logger("risk")

ALLOW_MAX_DAYS = 90
BLOCK_MAX_DAYS = 3650
REASON_MAX_LENGTH = 200
IMPORT_MAX_LINES = 1000
IMPORT_MAX_BYTES = 100_000
CSV_COLUMNS = ("list", "what", "value", "expires", "reason")
CLOSED_COLUMN = "risk_listentry.value_closed"
ALLOWABLE = frozenset({ListEntry.Subject.EMPLOYEE, ListEntry.Subject.ENTERPRISE, ListEntry.Subject.CARD})
"""What an allow entry can be about: a phone or an address is too easily somebody else's."""


class EntryInvalid(Rejected):
    """400: `details.problem` says what is wrong."""

    code = "risk_entry_invalid"
    message_en = "The list entry is not valid."
    message_zh = "名单条目不合法。"


class EntrySamePerson(Rejected):
    """409: who added an allow entry cannot confirm it."""

    code = "risk_entry_same_person"
    http_status = 409
    message_en = "You added this entry: another person must confirm it."
    message_zh = "该条目由您添加，须由他人确认。"


class EntryOver(Rejected):
    """409: removed, or confirmed, before."""

    code = "risk_entry_over"
    http_status = 409
    message_en = "This entry was removed or confirmed already."
    message_zh = "该条目已被移除或确认。"


@dataclass(frozen=True, kw_only=True)
class NewEntry:
    """What a person typed. `expires_on` is the last business day on which it counts."""

    kind: str
    subject_kind: str
    value: str
    expires_on: dt.date
    reason: str


@dataclass(frozen=True, kw_only=True)
class PreviewLine:
    """One line of a CSV file: what it would add, or the problem. `is_known`: it is on the list already, skipped."""

    number: int
    cells: tuple[str, ...]
    shown: str = ""
    problem: str = ""
    is_known: bool = False
    entry: NewEntry | None = None


@dataclass(frozen=True, kw_only=True)
class _Value:
    plain: str
    shown: str
    indexes: tuple[str, ...]
    """The one that is written first."""

    @property
    def index(self) -> str:
        return self.indexes[0]


def add(*, entries: Sequence[NewEntry], staff_id: int, now: dt.datetime) -> list[ListEntry]:
    """Adds all entries in one commit, or none; those that are on their list already are left out.

    Raises PermissionDenied, EntryInvalid. Sent twice, the second adds nothing.
    """
    person = people.find(staff_id=staff_id, permission=people.EDIT_LISTS)
    checked = [(_check(entry, now), entry) for entry in entries]
    alias = roles.alias_for("default")

    def work() -> list[ListEntry]:
        known = _known_indexes([(entry.kind, index) for value, entry in checked for index in value.indexes], now)
        added = []
        for value, entry in checked:
            if any((entry.kind, index) in known for index in value.indexes):
                continue
            known.add((entry.kind, value.index))
            added.append(
                ListEntry.objects.using(alias).create(
                    kind=entry.kind,
                    subject_kind=entry.subject_kind,
                    value_index=value.index,
                    value_closed=crypto.encrypt(value.plain, column=CLOSED_COLUMN),
                    value_shown=value.shown,
                    reason=entry.reason.strip(),
                    expires_at=clock.day_start(entry.expires_on + dt.timedelta(days=1)),
                    added_by_id=person.user_id,
                    added_by_name=person.username,
                    added_at=now,
                )
            )
        if added:
            _announce(now)
        return added

    made = transactions.run(work, using=alias)
    logger.info("list entries added", staff_id=person.user_id, entries=[row.pk for row in made])
    return made


def confirm(*, entry_id: int, staff_id: int, now: dt.datetime) -> ListEntry:
    """The second person lets an allow entry count. Locks it. The same person again: the first answer.

    Raises PermissionDenied, NotFound, EntrySamePerson, EntryOver.
    """
    person = people.find(staff_id=staff_id, permission=people.CONFIRM_LISTS)

    def work() -> ListEntry:
        row = _lock(entry_id)
        if row.confirmed_by_id == person.user_id:
            return row
        if row.kind != ListEntry.Kind.ALLOW or row.removed_at or row.confirmed_at or row.expires_at <= now:
            raise EntryOver({"entry": entry_id})
        if row.added_by_id == person.user_id:
            raise EntrySamePerson({"entry": entry_id})
        row.confirmed_by_id, row.confirmed_by_name, row.confirmed_at = person.user_id, person.username, now
        row.save(update_fields=["confirmed_by_id", "confirmed_by_name", "confirmed_at"])
        _announce(now)
        return row

    return transactions.run(work, using=roles.alias_for("default"))


def remove(*, entry_id: int, reason: str, staff_id: int, now: dt.datetime) -> ListEntry:
    """Takes an entry off its list for a reason of 1 … 200 characters. Locks it. Again: the first answer.

    Raises PermissionDenied, NotFound, EntryInvalid.
    """
    person = people.find(staff_id=staff_id, permission=people.EDIT_LISTS)
    given = reason.strip()
    if not 1 <= len(given) <= REASON_MAX_LENGTH:
        raise EntryInvalid({"problem": "Give a reason."})

    def work() -> ListEntry:
        row = _lock(entry_id)
        if row.removed_at is not None:
            return row
        row.removed_by_id, row.removed_by_name, row.removed_at = person.user_id, person.username, now
        row.removal_reason = given
        row.save(update_fields=["removed_by_id", "removed_by_name", "removed_at", "removal_reason"])
        _announce(now)
        return row

    return transactions.run(work, using=roles.alias_for("default"))


def preview(*, text: str, now: dt.datetime) -> list[PreviewLine]:
    """Reads a CSV file (list, what, value, expires as YYYY-MM-DD, reason; a header line is skipped); writes nothing.

    Raises EntryInvalid when it is empty, too long or no CSV.
    """
    if len(text.encode()) > IMPORT_MAX_BYTES:
        raise EntryInvalid({"problem": f"The file is larger than {IMPORT_MAX_BYTES // 1000} kB."})
    try:
        rows = [row for row in csv.reader(io.StringIO(text.lstrip("\ufeff")), strict=True) if any(row)]
    except csv.Error as error:
        raise EntryInvalid({"problem": f"Not a CSV file: {error}"}) from error
    if rows and tuple(cell.strip().lower() for cell in rows[0]) == CSV_COLUMNS:
        rows = rows[1:]
    if not 1 <= len(rows) <= IMPORT_MAX_LINES:
        raise EntryInvalid({"problem": f"The file must have 1 to {IMPORT_MAX_LINES} lines."})
    lines = [_preview_line(number, tuple(cell.strip() for cell in row), now) for number, row in enumerate(rows, 1)]
    return _mark_known(lines, now)


def _preview_line(number: int, cells: tuple[str, ...], now: dt.datetime) -> PreviewLine:
    if len(cells) != len(CSV_COLUMNS):
        return PreviewLine(number=number, cells=cells, problem=f"Needs {len(CSV_COLUMNS)} columns.")
    try:
        expires_on = dt.date.fromisoformat(cells[3])
    except ValueError:
        return PreviewLine(number=number, cells=cells, problem="The date must be like 2026-12-31.")
    entry = NewEntry(
        kind=cells[0].upper(),
        subject_kind=cells[1].upper(),
        value=cells[2],
        expires_on=expires_on,
        reason=cells[4],
    )
    try:
        value = _check(entry, now)
    except EntryInvalid as error:
        return PreviewLine(number=number, cells=cells, problem=str(error.details["problem"]))
    return PreviewLine(number=number, cells=cells, shown=value.shown, entry=entry)


def _mark_known(lines: Sequence[PreviewLine], now: dt.datetime) -> list[PreviewLine]:
    """What is on its list already, or stands twice in the file, is skipped."""
    keys = {
        line.number: [(line.entry.kind, index) for index in _check(line.entry, now).indexes]
        for line in lines
        if line.entry
    }
    known = _known_indexes([key for several in keys.values() for key in several], now)
    marked = []
    for line in lines:
        several = keys.get(line.number, [])
        is_known = any(key in known for key in several)
        known.update(several)
        marked.append(
            PreviewLine(
                number=line.number,
                cells=line.cells,
                shown=line.shown,
                problem=line.problem,
                is_known=is_known,
                entry=line.entry,
            )
        )
    return marked


def _check(entry: NewEntry, now: dt.datetime) -> _Value:
    """The value in its one form. Raises EntryInvalid."""
    if entry.kind not in ListEntry.Kind.values:
        raise _problem("The list is BLOCK or ALLOW.")
    if entry.subject_kind not in ListEntry.Subject.values:
        raise _problem("The second column is EMPLOYEE, ENTERPRISE, CARD, PHONE or ADDRESS.")
    is_allow = entry.kind == ListEntry.Kind.ALLOW
    if is_allow and entry.subject_kind not in ALLOWABLE:
        raise _problem("Only employees, enterprises and cards can be on the allow list.")
    if not 1 <= len(entry.reason.strip()) <= REASON_MAX_LENGTH:
        raise _problem(f"Give a reason of 1 to {REASON_MAX_LENGTH} characters.")
    days = (entry.expires_on - clock.business_date(now)).days
    most = ALLOW_MAX_DAYS if is_allow else BLOCK_MAX_DAYS
    if not 0 <= days <= most:
        raise _problem(f"It must end between today and in {most} days.")
    plain, shown = _normalised(entry.subject_kind, entry.value.strip())
    indexes = tuple(value_indexes(subject_kind=entry.subject_kind, value=plain))
    return _Value(plain=plain, shown=shown, indexes=indexes)


def _normalised(subject_kind: str, typed: str) -> tuple[str, str]:
    """(what is compared, what is shown)."""
    if subject_kind == ListEntry.Subject.EMPLOYEE:
        return _employee(typed)
    if subject_kind == ListEntry.Subject.ENTERPRISE:
        enterprise = _enterprise(typed)
        if enterprise is None:
            raise _problem(f"There is no enterprise {typed!r}.")
        return str(enterprise.pk), enterprise.code
    if subject_kind == ListEntry.Subject.ADDRESS:
        try:
            address = str(ipaddress.ip_address(typed))
        except ValueError as error:
            raise _problem(f"{typed!r} is no network address.") from error
        return address, address
    digits = re.sub(r"[ -]", "", typed)
    if subject_kind == ListEntry.Subject.CARD:
        if re.fullmatch(r"[0-9]{12,19}", digits) is None:
            raise _problem("A card number has 12 to 19 digits.")
        return digits, f"**** {digits[-4:]}"
    if re.fullmatch(r"1[0-9]{10}", digits) is None:
        raise _problem("A phone number has 11 digits and starts with 1.")
    return digits, f"{digits[:3]}****{digits[-4:]}"


def _employee(typed: str) -> tuple[str, str]:
    """By "enterprise code/employee code", or by id."""
    enterprise_code, slash, employee_code = (part.strip() for part in typed.partition("/"))
    found: Employee | None = None
    if slash and employee_code.isascii():
        enterprise = _enterprise(enterprise_code)
        found = Employee.objects.filter(enterprise=enterprise, code=employee_code).first() if enterprise else None
    elif _is_id(typed):
        found = identity.get_employees(employee_ids=[int(typed)]).get(int(typed))
    if found is None:
        raise _problem(f"There is no employee {typed!r}: write enterprise code/employee code, or an id.")
    return str(found.pk), f"{found.enterprise.code}/{found.code}"[:64]


def _enterprise(typed: str) -> Enterprise | None:
    if not typed.isascii():
        return None
    found = Enterprise.objects.filter(code=typed).first()
    return Enterprise.objects.filter(pk=int(typed)).first() if found is None and _is_id(typed) else found


def _is_id(typed: str) -> bool:
    return typed.isascii() and typed.isdigit() and len(typed) <= 18


def _problem(text: str) -> EntryInvalid:
    return EntryInvalid({"problem": text})


def _known_indexes(keys: Sequence[tuple[str, str]], now: dt.datetime) -> set[tuple[str, str]]:
    rows = ListEntry.objects.using(roles.alias_for("default")).filter(
        value_index__in=[index for _, index in keys], removed_at__isnull=True, expires_at__gt=now
    )
    return set(rows.values_list("kind", "value_index"))


def _lock(entry_id: int) -> ListEntry:
    row = ListEntry.objects.using(roles.alias_for("default")).select_for_update().filter(pk=entry_id).first()
    if row is None:
        raise NotFound({"entry": entry_id})
    return row


def _announce(now: dt.datetime) -> None:
    outbox.publish(using=roles.alias_for("default"), topic=LISTS_CHANGED, key=ids.new_id(), payload={}, now=now)
