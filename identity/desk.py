"""People on the finance desk: employees and enterprises by id, code or name."""

from __future__ import annotations

from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from foundation import desk
from foundation.desk import Finder, Found
from identity.models import Employee, Enterprise

MAX_ID = 2**63 - 1


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= MAX_ID


def find_employees(text: str, limit: int) -> list[Found]:
    """By id, by code ("acme/e01" or "e01", its beginning too), or by the beginning of the name."""
    enterprise, slash, code = text.partition("/")
    if slash:
        wanted = Q(enterprise__code=enterprise[:32], code__startswith=code[:32]) if text.isascii() else Q(pk=None)
    else:
        wanted = Q(name__startswith=text)
        wanted |= Q(code__startswith=text[:32]) if text.isascii() else Q()
        wanted |= Q(pk=int(text)) if _is_id(text) else Q()
    rows = Employee.objects.filter(wanted).select_related("enterprise")[: limit * 4]
    first = sorted(rows, key=lambda row: (text not in (str(row.pk), row.code, row.name), row.code, row.pk))
    return [
        Found(
            title=f"{row.name} · {row.enterprise.code}/{row.code}",
            description=f"{gettext('employee')} · {row.enterprise.name}",
            link=reverse("admin:identity_employee_change", args=[row.pk]),
            icon="badge",
        )
        for row in first[:limit]
    ]


def find_enterprises(text: str, limit: int) -> list[Found]:
    wanted = Q(name__startswith=text) | (Q(code__startswith=text[:32]) if text.isascii() else Q())
    return [
        Found(
            title=f"{row.name} · {row.code}",
            description=str(_("enterprise")),
            link=reverse("admin:identity_enterprise_change", args=[row.pk]),
            icon="apartment",
        )
        for row in Enterprise.objects.filter(wanted).order_by("code")[:limit]
    ]


desk.register(
    Finder(name="identity.employees", permissions=("identity.view_employee",), find=find_employees),
    Finder(name="identity.enterprises", permissions=("identity.view_enterprise",), find=find_enterprises),
)
