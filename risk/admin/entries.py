"""Block and allow lists: add, confirm, remove, import with preview. Values are shown masked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from foundation import clock
from foundation.admin_base import ReadOnlyAdmin
from foundation.admin_reveal import RevealAdmin
from foundation.errors import PaysysError
from risk.admin.forms import EntryForm, ImportForm
from risk.admin.words import error_text, staff_id
from risk.models import ListEntry
from risk.services import lists
from risk.services.staff import CONFIRM_LISTS, EDIT_LISTS

SALT = "risk.list.import"
PREVIEW_SECONDS = 1800
"""A preview that is older is shown again before anything is added."""


class StandingFilter(admin.SimpleListFilter):
    """What an entry does now."""

    title = _("standing")
    parameter_name = "standing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("now", _("counts now")), ("waiting", _("waits for a second person")), ("over", _("over"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        now, wanted = clock.now(), self.value()
        running = queryset.filter(removed_at__isnull=True, expires_at__gt=now)
        waiting = running.filter(kind=ListEntry.Kind.ALLOW, confirmed_at__isnull=True)
        if wanted == "waiting":
            return waiting
        if wanted == "now":
            return running.exclude(pk__in=waiting.values("pk"))
        return queryset.exclude(pk__in=running.values("pk")) if wanted == "over" else queryset


@admin.register(ListEntry)
class ListEntryAdmin(RevealAdmin, ReadOnlyAdmin):
    """See the module."""

    revealed = (("value_closed", _("value")),)
    list_display = (
        "value_shown",
        "kind",
        "subject_kind",
        "standing",
        "reason",
        "expires_at",
        "added_by_name",
        "added_at",
    )
    list_filter = (StandingFilter, "kind", "subject_kind")
    search_fields = ("value_shown", "reason", "added_by_name")
    ordering = ("-id",)
    list_per_page = 20
    change_list_template = "admin/risk/entries.html"

    def has_view_permission(self, request: HttpRequest, obj: ListEntry | None = None) -> bool:
        wanted = ("risk.view_listentry", EDIT_LISTS, CONFIRM_LISTS)
        return any(request.user.has_perm(permission) for permission in wanted)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(EDIT_LISTS)

    @admin.display(description=_("standing"))
    def standing(self, row: ListEntry) -> str:
        if row.removed_at is not None:
            return gettext("removed")
        if row.expires_at <= clock.now():
            return gettext("ran out")
        if row.kind == ListEntry.Kind.ALLOW and row.confirmed_at is None:
            return gettext("waits for a second person")
        return gettext("counts")

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("import/", wrap(self.import_view), name="risk_listentry_import"),
            path("<int:pk>/<str:step>/step/", wrap(self.step_view), name="risk_listentry_step"),
            *super().get_urls(),
        ]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self._need(request, EDIT_LISTS)
        form = EntryForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                added = lists.add(
                    entries=[lists.NewEntry(**form.cleaned_data)], staff_id=staff_id(request), now=clock.now()
                )
            except PaysysError as error:
                form.add_error(None, error_text(error))
            else:
                self._say(request, added)
                return HttpResponseRedirect(reverse("admin:risk_listentry_changelist"))
        context = self._context(request, gettext("Add to a list")) | {"form": form}
        return TemplateResponse(request, "admin/risk/form.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self._row(request, object_id)
        context = self._context(request, str(row)) | {
            "row": row,
            "standing": self.standing(row),
            "can_confirm": self._can_confirm(request, row),
            "can_remove": row.removed_at is None and request.user.has_perm(EDIT_LISTS),
            "reveal_address": self.reveal_address(request, row),
        }
        return TemplateResponse(request, "admin/risk/entry.html", context)

    def step_view(self, request: HttpRequest, pk: int, step: str) -> HttpResponse:
        """POST: confirm or remove."""
        if step not in ("confirm", "remove"):
            raise Http404
        row = self._row(request, pk)
        self._need(request, CONFIRM_LISTS if step == "confirm" else EDIT_LISTS)
        if request.method == "POST":
            who, now = staff_id(request), clock.now()
            try:
                if step == "confirm":
                    lists.confirm(entry_id=pk, staff_id=who, now=now)
                else:
                    lists.remove(entry_id=pk, reason=request.POST.get("reason", ""), staff_id=who, now=now)
            except PaysysError as error:
                messages.error(request, error_text(error))
            else:
                messages.success(request, gettext("Done."))
        return HttpResponseRedirect(reverse("admin:risk_listentry_change", args=[row.pk]))

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """File or text → preview of every line → added by a second POST with the signed text."""
        self._need(request, EDIT_LISTS)
        form, lines, signed = ImportForm(), [], ""
        if request.method == "POST":
            try:
                if "signed" in request.POST:
                    return self._import(request)
                form = ImportForm(request.POST, request.FILES)
                if form.is_valid():
                    lines = lists.preview(text=form.cleaned_data["text"], now=clock.now())
                    signed = signing.dumps([staff_id(request), form.cleaned_data["text"]], salt=SALT, compress=True)
            except PaysysError as error:
                form.add_error(None, error_text(error)) if form.is_bound else messages.error(request, error_text(error))
            except signing.BadSignature:
                messages.error(request, gettext("The preview is too old. Choose the file again."))
        problems = [line for line in lines if line.problem]
        context = self._context(request, gettext("Import into the lists")) | {
            "form": form if problems or not lines else ImportForm(),  # what is right is not shown once more
            "lines": lines,
            "problem_count": len(problems),
            "new_count": sum(not line.problem and not line.is_known for line in lines),
            "signed": "" if problems else signed,
            "columns": ",".join(lists.CSV_COLUMNS),
        }
        return TemplateResponse(request, "admin/risk/import.html", context)

    def _import(self, request: HttpRequest) -> HttpResponse:
        who, text = signing.loads(request.POST["signed"], salt=SALT, max_age=PREVIEW_SECONDS)
        if who != staff_id(request):
            raise signing.BadSignature("another person's preview")
        now = clock.now()
        lines = lists.preview(text=text, now=now)
        wrong = next((line for line in lines if line.problem), None)
        if wrong is not None:  # such as an expiry that was today's when the preview was shown
            raise lists.EntryInvalid({"problem": f"Line {wrong.number}: {wrong.problem}"})
        entries = [line.entry for line in lines if line.entry is not None]
        self._say(request, lists.add(entries=entries, staff_id=who, now=now))
        return HttpResponseRedirect(reverse("admin:risk_listentry_changelist"))

    @staticmethod
    def _say(request: HttpRequest, added: Sequence[ListEntry]) -> None:
        if not added:
            messages.warning(request, gettext("Nothing was added: all of it is on the list already."))
            return
        messages.success(request, gettext("%d entries were added.") % len(added))
        if any(row.kind == ListEntry.Kind.ALLOW for row in added):
            messages.warning(request, gettext("Allow entries count when another person has confirmed them."))

    @staticmethod
    def _need(request: HttpRequest, permission: str) -> None:
        if not request.user.has_perm(permission):
            raise PermissionDenied

    @staticmethod
    def _can_confirm(request: HttpRequest, row: ListEntry) -> bool:
        is_waiting = row.kind == ListEntry.Kind.ALLOW and row.confirmed_at is None and row.removed_at is None
        return is_waiting and row.added_by_id != staff_id(request) and request.user.has_perm(CONFIRM_LISTS)

    def _row(self, request: HttpRequest, key: str | int) -> ListEntry:
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = ListEntry.objects.filter(pk=key).first() if str(key).isdecimal() and len(str(key)) < 19 else None
        if found is None:
            raise Http404
        return found

    def _context(self, request: HttpRequest, title: str) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "title": title, "opts": self.opts}
