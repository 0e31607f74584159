"""Rule sets and their versions: draft, cell errors, dry run, submit, approve, diff, rollback. No JavaScript anywhere.

Every step makes one call of the service, which asks for permissions and for the second person itself; what the buttons
show is only a help.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from foundation import clock
from foundation.admin_base import ReadOnlyAdmin
from foundation.errors import PaysysError
from foundation.money import yuan_display
from risk import selectors
from risk.admin.forms import ACTION_TEXTS, MODE_TEXTS, UNTIL_TEXTS, ContentForm, RowForm
from risk.admin.words import action_text, cell_text, error_text, fact_rows, is_chinese, staff_id
from risk.domain.facts import Action
from risk.domain.tables import Row, Thresholds
from risk.domain.versions import COLUMNS, RowChange
from risk.models import RuleSet, RuleVersion
from risk.services import dry_runs, versions
from risk.services.staff import APPROVE_RULES, EDIT_RULES

DRY_RUN_DAYS = (1, 7, 30, 90)
COLUMN_TEXTS = {
    "title_en": _("title (English)"),
    "title_zh": _("title (Chinese)"),
    "expression": _("when"),
    "action": _("action"),
    "score": _("score"),
    "mode": _("mode"),
    "reason_en": _("reason (English)"),
    "reason_zh": _("reason (Chinese)"),
    "until": _("until"),
}


def _may_see(request: HttpRequest) -> bool:
    wanted = ("risk.view_ruleversion", "risk.view_ruleset", EDIT_RULES, APPROVE_RULES)
    return any(request.user.has_perm(permission) for permission in wanted)


@admin.register(RuleSet)
class RuleSetAdmin(ReadOnlyAdmin):
    """One line per guarded action; its page lists the versions."""

    list_display = ("name", "active_version", "waiting", "generation", "activated_at")
    list_select_related = ("active",)
    ordering = ("id",)

    def has_view_permission(self, request: HttpRequest, obj: RuleSet | None = None) -> bool:
        return _may_see(request)

    @admin.display(description=_("action"), ordering="action")
    def name(self, row: RuleSet) -> str:
        return action_text(row.action)

    @admin.display(description=_("active version"))
    def active_version(self, row: RuleSet) -> str:
        return f"v{row.active.number}" if row.active else "–"

    @admin.display(description=_("waiting for approval"))
    def waiting(self, row: RuleSet) -> int:
        return RuleVersion.objects.filter(rule_set=row, state=RuleVersion.State.SUBMITTED).count()

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not _may_see(request):
            raise PermissionDenied
        row = RuleSet.objects.filter(pk=object_id).first() if object_id.isdecimal() else None
        if row is None:
            raise Http404
        context = {
            **self.admin_site.each_context(request),
            "title": action_text(row.action),
            "opts": self.opts,
            "row": row,
            "versions": RuleVersion.objects.filter(rule_set=row).order_by("-number")[:100],
            "can_edit": request.user.has_perm(EDIT_RULES),
            "facts": fact_rows(row.action),
        }
        return TemplateResponse(request, "admin/risk/ruleset.html", context)


def _need_editor(request: HttpRequest) -> None:
    """The services ask again; here so that nobody is shown a form that he cannot send."""
    if not request.user.has_perm(EDIT_RULES):
        raise PermissionDenied


@admin.register(RuleVersion)
class RuleVersionAdmin(ReadOnlyAdmin):
    """One version: its page, its editing, its steps."""

    list_display = ("__str__", "state", "note", "made_by_name", "submitted_at", "decided_by_name", "decided_at")
    list_filter = ("state", "rule_set")
    list_select_related = ("rule_set",)
    search_fields = ("note", "made_by_name", "rows__code")
    ordering = ("-id",)
    list_per_page = 20

    def has_view_permission(self, request: HttpRequest, obj: RuleVersion | None = None) -> bool:
        return _may_see(request)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        pages: list[tuple[str, str, Callable[..., HttpResponse]]] = [
            ("new/<str:action>/", "draft", self.draft_view),
            ("<int:pk>/content/", "content", self.content_view),
            ("<int:pk>/rows/add/", "row_add", self.row_view),
            ("<int:pk>/rows/<int:position>/", "row", self.row_view),
            ("<int:pk>/rows/<int:position>/remove/", "row_remove", self.row_remove_view),
            ("<int:pk>/dry-run/", "dry_run", self.dry_run_view),
            ("<int:pk>/diff/", "diff", self.diff_view),
            ("<int:pk>/<str:step>/step/", "step", self.step_view),
        ]
        urls = [path(route, wrap(view), name=f"risk_ruleversion_{name}") for route, name, view in pages]
        return [*urls, *super().get_urls()]

    # --- one version --------------------------------------------------------------------------------------------------

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        version = self._version(request, object_id)
        rows, thresholds = selectors.get_content(version_id=version.pk)
        errors = versions.cell_errors(action=Action(version.rule_set.action), rows=rows, thresholds=thresholds)
        context = self._context(request, version, str(version)) | {
            "rows": [_shown_row(row, [item for item in errors if item.position == row.position]) for row in rows],
            "table_errors": [cell_text(item) for item in errors if item.position == 0],
            "is_wrong": bool(errors),
        }
        return TemplateResponse(request, "admin/risk/version.html", context)

    def diff_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Against the active version, or the one named by ?against=id."""
        version = self._version(request, pk)
        wanted = request.GET.get("against", "")
        against_id = int(wanted) if wanted.isdecimal() and len(wanted) < 19 else version.rule_set.active_id
        try:
            changes = versions.changes(version_id=pk, against_id=against_id)
        except PaysysError as error:
            raise Http404 from error
        others = RuleVersion.objects.filter(rule_set=version.rule_set).exclude(pk=pk).order_by("-number")[:50]
        other = RuleVersion.objects.filter(pk=against_id).first() if against_id else None
        context = self._context(request, version, gettext("Differences of %s") % version) | {
            "changes": [_shown_change(change) for change in changes],
            "others": others,
            "other": other,
            "is_other_threshold": other is not None
            and (other.review_score, other.reject_score) != (version.review_score, version.reject_score),
        }
        return TemplateResponse(request, "admin/risk/diff.html", context)

    def dry_run_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What this version would have said to the requests of the last days."""
        version = self._version(request, pk)
        asked = request.GET.get("days", "30")
        days = int(asked) if asked in [str(choice) for choice in DRY_RUN_DAYS] else 30
        try:
            found = dry_runs.dry_run(version_id=pk, since=clock.now() - dt.timedelta(days=days))
        except PaysysError as error:
            messages.error(request, error_text(error))
            return HttpResponseRedirect(_address(version))
        context = self._context(request, version, gettext("Dry run of %s") % version) | {
            "run": found,
            "days": days,
            "choices": DRY_RUN_DAYS,
            "changed_total": yuan_display(found.changed_fen),
            "moves": [{"move": move, "total": yuan_display(move.total_fen)} for move in found.moves],
            "changes": [
                {"change": change, "amount": yuan_display(change.decision.amount_fen)} for change in found.changes
            ],
        }
        return TemplateResponse(request, "admin/risk/dry_run.html", context)

    # --- drafts -------------------------------------------------------------------------------------------------------

    def draft_view(self, request: HttpRequest, action: str) -> HttpResponse:
        """POST: a new draft, of the active version or of the one named by copy_of."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        _need_editor(request)
        copy_of = request.POST.get("copy_of", "")
        if action not in list(Action):
            raise Http404
        try:
            version = versions.create_draft(
                action=Action(action),
                staff_id=staff_id(request),
                now=clock.now(),
                copy_of_id=int(copy_of) if copy_of.isdecimal() and len(copy_of) < 19 else None,
            )
        except PaysysError as error:
            messages.error(request, error_text(error))
            return HttpResponseRedirect(reverse("admin:risk_ruleset_changelist"))
        return HttpResponseRedirect(_address(version))

    def content_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Note and thresholds of a draft."""
        _need_editor(request)
        version = self._version(request, pk)
        rows, thresholds = selectors.get_content(version_id=pk)
        form = ContentForm(request.POST or None, initial={"note": version.note, **asdict(thresholds)})
        is_sent = request.method == "POST" and form.is_valid()
        if is_sent and self._save(request, version, rows, form.thresholds(), form.cleaned_data["note"], form):
            return HttpResponseRedirect(_address(version))
        context = self._context(request, version, gettext("Note and scores of %s") % version) | {"form": form}
        return TemplateResponse(request, "admin/risk/form.html", context)

    def row_view(self, request: HttpRequest, pk: int, position: int = 0) -> HttpResponse:
        """One row of a draft; stored also when cells are wrong, which are then shown beside them."""
        _need_editor(request)
        version = self._version(request, pk)
        rows, thresholds = selectors.get_content(version_id=pk)
        old = next((row for row in rows if row.position == position), None)
        if position and old is None:
            raise Http404
        initial = asdict(old) if old else {"position": len(rows) + 1}
        form = RowForm(request.POST or None, initial=initial)
        if request.method == "POST" and form.is_valid():
            new = form.row()
            kept = [row for row in rows if row is not old]
            place = min(new.position, len(kept) + 1)
            kept.insert(place - 1, new)
            if self._save(request, version, kept, thresholds, version.note, form, place):
                return HttpResponseRedirect(_address(version))
            if not form.non_field_errors() and old is None:  # stored with wrong cells: go on with the row that is there
                messages.warning(request, _cells_text(form))
                return HttpResponseRedirect(reverse("admin:risk_ruleversion_row", args=[pk, place]))
        elif request.method != "POST" and old is not None:
            form = _with_errors(version, rows, thresholds, old)
        title = gettext("Row %(position)s of %(version)s") % {"position": position or len(rows) + 1, "version": version}
        context = self._context(request, version, title) | {"form": form, "facts": fact_rows(version.rule_set.action)}
        return TemplateResponse(request, "admin/risk/form.html", context)

    def row_remove_view(self, request: HttpRequest, pk: int, position: int) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        _need_editor(request)
        version = self._version(request, pk)
        rows, thresholds = selectors.get_content(version_id=pk)
        self._save(request, version, [row for row in rows if row.position != position], thresholds, version.note, None)
        return HttpResponseRedirect(_address(version))

    def _save(
        self,
        request: HttpRequest,
        version: RuleVersion,
        rows: Sequence[Row],
        thresholds: Thresholds,
        note: str,
        form: ContentForm | RowForm | None,
        place: int = 0,
    ) -> bool:
        """Stores the draft; False when the service refused it or a cell of this form is wrong, which then shows it."""
        try:
            errors = versions.save_draft(
                version_id=version.pk,
                rows=rows,
                thresholds=thresholds,
                note=note,
                staff_id=staff_id(request),
                now=clock.now(),
            )
        except PaysysError as error:
            if form is None:
                messages.error(request, error_text(error))
            else:
                form.add_error(None, error_text(error))
            return False
        own = [item for item in errors if form is not None and item.position == place and item.column in form.fields]
        for item in own:
            if form is not None:
                form.add_error(item.column, cell_text(item))
        return not own

    # --- steps --------------------------------------------------------------------------------------------------------

    def step_view(self, request: HttpRequest, pk: int, step: str) -> HttpResponse:
        """One page for all steps: GET asks, POST takes it; a refusal is said on the page itself."""
        version = self._version(request, pk)
        if step not in STEPS:
            raise Http404
        permission, title, _label = STEPS[step]
        if not request.user.has_perm(permission):
            raise PermissionDenied
        if request.method == "POST":
            try:
                result = self._take(request, version, step)
            except PaysysError as error:
                messages.error(request, error_text(error))
                version = self._version(request, pk)
            else:
                if result is None:
                    messages.success(request, gettext("The draft was discarded."))
                    return HttpResponseRedirect(reverse("admin:risk_ruleset_change", args=[version.rule_set_id]))
                said = gettext("%(version)s is %(state)s.")
                messages.success(request, said % {"version": result, "state": result.get_state_display()})
                return HttpResponseRedirect(_address(result))
        context = self._context(request, version, str(title) % version) | {
            "step": step,
            "label": STEPS[step][2],
            "seen": versions.seen_token(version),
            "changes": [_shown_change(change) for change in versions.changes(version_id=pk)],
            "typed_reason": request.POST.get("reason", "")[:500],
        }
        return TemplateResponse(request, "admin/risk/step.html", context)

    @staticmethod
    def _take(request: HttpRequest, version: RuleVersion, step: str) -> RuleVersion | None:
        who, now, reason = staff_id(request), clock.now(), request.POST.get("reason", "")
        if step == "submit":
            return versions.submit(version_id=version.pk, staff_id=who, now=now)
        if step == "approve":
            seen = request.POST.get("seen", "")
            return versions.approve(version_id=version.pk, seen=seen, staff_id=who, now=now, note=reason)
        if step == "refuse":
            return versions.refuse(version_id=version.pk, reason=reason, staff_id=who, now=now)
        if step == "rollback":
            return versions.propose_rollback(version_id=version.pk, reason=reason, staff_id=who, now=now)
        versions.discard_draft(version_id=version.pk, staff_id=who)
        return None

    # --- what pages share ---------------------------------------------------------------------------------------------

    def _version(self, request: HttpRequest, key: str | int) -> RuleVersion:
        if not _may_see(request):
            raise PermissionDenied
        found = None
        if str(key).isdecimal() and len(str(key)) < 19:
            found = RuleVersion.objects.select_related("rule_set__active", "based_on").filter(pk=key).first()
        if found is None:
            raise Http404
        return found

    def _context(self, request: HttpRequest, version: RuleVersion, title: str) -> dict[str, Any]:
        is_maker = version.made_by_id == staff_id(request)
        may_edit, may_approve = (request.user.has_perm(name) for name in (EDIT_RULES, APPROVE_RULES))
        state, states = version.state, RuleVersion.State
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "version": version,
            "can_copy": may_edit,
            "can_write": may_edit and is_maker and state == states.DRAFT,
            "can_decide": may_approve and not is_maker and state == states.SUBMITTED,
            "must_be_another": may_approve and is_maker and state == states.SUBMITTED,
            "can_roll_back": may_edit and state == states.RETIRED,
        }


STEPS = {
    "submit": (EDIT_RULES, _("Submit %s"), _("Submit for approval")),
    "approve": (APPROVE_RULES, _("Approve %s"), _("Approve: active at once")),
    "refuse": (APPROVE_RULES, _("Refuse %s"), _("Refuse")),
    "rollback": (EDIT_RULES, _("Go back to %s"), _("Propose going back")),
    "discard": (EDIT_RULES, _("Discard %s"), _("Discard the draft")),
}


def _address(version: RuleVersion) -> str:
    return reverse("admin:risk_ruleversion_change", args=[version.pk])


def _cells_text(form: RowForm) -> str:
    return " ".join(str(text) for texts in form.errors.values() for text in texts)


def _with_errors(version: RuleVersion, rows: Sequence[Row], thresholds: Thresholds, row: Row) -> RowForm:
    """The form of a stored row with what is wrong in its cells now."""
    form = RowForm(asdict(row))
    form.is_valid()
    form.errors.clear()
    for item in versions.cell_errors(action=Action(version.rule_set.action), rows=rows, thresholds=thresholds):
        if item.position == row.position and item.column in form.fields:
            form.add_error(item.column, cell_text(item))
    return form


def _shown_row(row: Row, errors: Sequence[Any] = ()) -> dict[str, Any]:
    return {
        "row": replace(row),
        "title": row.title_zh if is_chinese() else row.title_en,
        "reason": row.reason_zh if is_chinese() else row.reason_en,
        "action": ACTION_TEXTS.get(row.action, row.action),  # type: ignore[call-overload]
        "mode": MODE_TEXTS.get(row.mode, row.mode),  # type: ignore[call-overload]
        "until": UNTIL_TEXTS.get(row.until, row.until),  # type: ignore[call-overload]
        "errors": [{"column": COLUMN_TEXTS.get(item.column, item.column), "text": cell_text(item)} for item in errors],
    }


def _shown_change(change: RowChange) -> dict[str, Any]:
    """A row of the diff: cells before and after."""
    names = change.columns if change.before and change.after else COLUMNS
    cells = [
        {
            "name": COLUMN_TEXTS[name],
            "before": getattr(change.before, name) if change.before else "",
            "after": getattr(change.after, name) if change.after else "",
        }
        for name in names
    ]
    kind = "added" if change.before is None else "removed" if change.after is None else "changed"
    return {"code": change.code, "kind": kind, "cells": cells, "is_moved": change.is_moved}
