"""Limits and grey releases in the admin: what they are, what is measured, who is in; every change with its reason.

The page of limits shows every limit of every web process as it stands (`foundation.limiter_figures`), with the advice
that Little's law gives, and sets it in a click. What staff set counts in all processes within two seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from redis.exceptions import RedisError

from foundation import flags, limiter_figures, limiter_settings
from foundation.admin_base import HistoryAdmin, ModelAdmin
from foundation.limiter_advice import Verdict
from foundation.limiter_figures import Process, Seen
from foundation.limiter_settings import ENDPOINT_PREFIX, SLOTS, WINDOWS
from foundation.models import Flag, Limit

MAX_AMOUNT = 1_000_000
MAX_WAITING = 10_000
MAX_WAIT_MS = 10_000
MAX_WINDOW_SECONDS = 86_400
ENTERPRISES_SHOWN = 100
VERDICTS = {
    Verdict.TOO_LITTLE: _("not enough was measured"),
    Verdict.RIGHT: _("as it should be"),
    Verdict.FEWER: _("fewer would let as many through, each sooner"),
    Verdict.MORE: _("more would be used"),
}


def is_window(name: str) -> bool:
    """True for a limit that counts requests within seconds; the others are slots of a process."""
    return name in WINDOWS or name.startswith(ENDPOINT_PREFIX)


class LimitForm(forms.ModelForm):
    """A limit of either kind; the fields of the other kind must be empty."""

    class Meta:
        model = Limit
        fields = ("name", "amount", "seconds", "waiting", "wait_ms", "reason")
        help_texts = {
            "name": _(
                "Slots of each web process: web, staff, notices. Requests within a time: caller, address, strikes, or "
                "“endpoint:POST api/v1/transfers” for one endpoint."
            ),
            "amount": _("Of slots 1 or more. Of requests 0 means no limit."),
            "seconds": _("Only for limits of requests."),
            "waiting": _("Only for slots; empty: a quarter as many as there are slots."),
            "wait_ms": _("Only for slots; empty: as in the settings."),
        }

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"].strip()
        if name in SLOTS or is_window(name) or name in _seen_names():
            return name
        known = ", ".join([*SLOTS, *WINDOWS, ENDPOINT_PREFIX + "…"])
        raise forms.ValidationError(gettext("There is no such limit. Known are: %(names)s.") % {"names": known})

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or {}
        name = found.get("name")
        if name is None:
            return found
        amount, seconds = found.get("amount"), found.get("seconds")
        if is_window(name):
            _refuse_filled(self, found, ("waiting", "wait_ms"))
            if not seconds:
                self.add_error("seconds", gettext("Within how many seconds?"))
            elif seconds > MAX_WINDOW_SECONDS:
                self.add_error("seconds", gettext("A day at most."))
        else:
            _refuse_filled(self, found, ("seconds",))
            if amount == 0:
                self.add_error("amount", gettext("Without a slot nobody is served: one at least."))
            if (found.get("waiting") or 0) > MAX_WAITING:
                self.add_error("waiting", gettext("%(most)s at most.") % {"most": MAX_WAITING})
            if (found.get("wait_ms") or 0) > MAX_WAIT_MS:
                self.add_error("wait_ms", gettext("%(most)s at most.") % {"most": MAX_WAIT_MS})
        if (amount or 0) > MAX_AMOUNT:
            self.add_error("amount", gettext("%(most)s at most.") % {"most": MAX_AMOUNT})
        return found


def _refuse_filled(form: forms.ModelForm, found: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if found.get(name) is not None:
            form.add_error(name, gettext("Not for a limit of this kind: leave it empty."))


@dataclass(frozen=True, kw_only=True)
class Line:
    """One limiter of one process, as the page shows it."""

    process: str
    seen: Seen
    verdict: str
    is_of_concern: bool


def _gather() -> list[Process] | None:
    """None without Redis: the figures are for looking at only."""
    try:
        return limiter_figures.gather()
    except RedisError:
        return None


def _seen_names() -> set[str]:
    return {seen.name for process in _gather() or () for seen in process.limiters}


def _lines(processes: list[Process]) -> list[Line]:
    return [
        Line(
            process=process.name,
            seen=seen,
            verdict=str(VERDICTS[seen.advice.verdict]),
            is_of_concern=seen.advice.verdict in (Verdict.FEWER, Verdict.MORE),
        )
        for process in processes
        for seen in process.limiters
    ]


def _defaults() -> list[dict[str, Any]]:
    """What counts where staff have set nothing."""
    slots = [(name, limiter_settings.default_size(name)) for name in SLOTS]
    windows = [(name, limiter_settings.default_window(name)) for name in WINDOWS]
    return [
        *(
            {"name": name, "amount": size.slots, "waiting": size.waiting, "wait": size.wait_seconds}
            for name, size in slots
        ),
        *({"name": name, "amount": window.requests, "seconds": window.seconds} for name, window in windows),
    ]


@admin.register(Limit)
class LimitAdmin(HistoryAdmin):
    """Limits that staff have set, below them what all web processes see now."""

    form = LimitForm
    list_display = ("name", "amount", "seconds", "waiting", "wait_ms", "reason")
    history_list_display = ("amount", "seconds", "waiting", "wait_ms", "reason")
    change_list_template = "admin/foundation/limits.html"
    actions = None

    def get_readonly_fields(self, request: HttpRequest, obj: Limit | None = None) -> tuple[str, ...]:
        return ("name",) if obj is not None else ()

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """The links of the live table fill the form with what they advise."""
        return {name: request.GET[name] for name in ("name", "amount") if name in request.GET}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        processes = _gather()
        live = {
            "is_redis_away": processes is None,
            "lines": _lines(processes or []),
            "recent_seconds": limiter_figures.RECENT_SECONDS,
            "defaults": _defaults(),
        }
        return super().changelist_view(request, {**(extra_context or {}), **live})


class FlagForm(forms.ModelForm):
    """For whom a flag is on. Names are checked by who is in, shown below the form."""

    percent = forms.DecimalField(
        label=_("share of employees (%)"), required=False, min_value=0, max_value=100, decimal_places=1
    )
    enterprise_percent = forms.IntegerField(label=_("share of enterprises (%)"), min_value=0, max_value=100)

    class Meta:
        model = Flag
        fields = ("name", "everyone", "enterprises", "enterprise_percent", "employees", "percent", "reason")
        help_texts = {
            "everyone": _("Yes: on for all; no: off for all; unknown: as said below."),
            "enterprises": _("Codes of enterprises, by spaces, commas or lines."),
            "employees": _("Employees as enterprise/employee, by spaces, commas or lines."),
        }

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name not in flags.KNOWN:
            known = ", ".join(sorted(flags.KNOWN))
            raise forms.ValidationError(
                gettext("The code asks for no such flag. It asks for: %(names)s.") % {"names": known}
            )
        return name


@dataclass(frozen=True, kw_only=True)
class Reached:
    """An enterprise on the page of who is in."""

    enterprise: flags.Enterprise
    by: str
    employees_in: int


def list_reached(rule: flags.Rule) -> list[Reached]:
    """The first ENTERPRISES_SHOWN enterprises, and how many of their employees the rule lets in."""
    found = []
    for enterprise in flags.list_enterprises(limit=ENTERPRISES_SHOWN):
        whole = flags.answer_for_enterprise(rule, enterprise.id, enterprise.code)
        answers = [flags.answer(rule, employee_id=employee) for employee in enterprise.employee_ids]
        found.append(
            Reached(
                enterprise=enterprise,
                by=whole.by if whole is not None and whole.is_in else "",
                employees_in=sum(answer.is_in for answer in answers),
            )
        )
    return found


@admin.register(Flag)
class FlagAdmin(HistoryAdmin):
    """Grey releases: what a flag switches, for whom, who is in, and every change."""

    form = FlagForm
    list_display = ("name", "everyone", "enterprise_percent", "percent", "reason")
    history_list_display = ("everyone", "enterprises", "enterprise_percent", "employees", "percent", "reason")
    change_form_template = "admin/foundation/flag.html"
    actions = None

    def get_readonly_fields(self, request: HttpRequest, obj: Flag | None = None) -> tuple[str, ...]:
        return ("name",) if obj is not None else ()

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        row = kwargs.get("obj")
        more = {
            "reached": list_reached(flags.rule_of(row)) if row is not None else [],
            "known": flags.KNOWN,
            "shown": ENTERPRISES_SHOWN,
        }
        return super().render_change_form(request, {**context, **more}, **kwargs)

    def save_model(self, request: HttpRequest, obj: Flag, form: forms.ModelForm, change: bool) -> None:
        super().save_model(request, obj, form, change)
        flags.forget()

    def delete_model(self, request: HttpRequest, obj: Flag) -> None:
        super().delete_model(request, obj)
        flags.forget()


class ChangeAdmin(ModelAdmin):
    """All changes of one kind by time, deleted rows too; nobody edits them."""

    list_filter = ("history_type", "name")
    search_fields = ("name", "reason")
    ordering = ("-history_date",)
    actions = None
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Limit.history.model)
class LimitChangeAdmin(ChangeAdmin):
    list_display = ("history_date", "history_user", "history_type", "name", "amount", "seconds", "reason")


@admin.register(Flag.history.model)
class FlagChangeAdmin(ChangeAdmin):
    list_display = ("history_date", "history_user", "history_type", "name", "everyone", "enterprises", "reason")
