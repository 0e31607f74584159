"""Adjustments in the admin: a list with what waits first, a form to propose, pages to approve, reject and withdraw.

Every page makes one call of the service, which asks for permissions and for the second person itself; what the buttons
show is only a help. Nothing can be changed or deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Case, QuerySet, Value, When
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import truncatechars
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from foundation import attachments, clock, ids, notifications
from foundation.admin_base import ModelAdmin
from foundation.errors import PaysysError
from foundation.money import yuan_display
from funds import selectors
from funds.admin.adjustment_forms import (
    CATEGORY_NAMES,
    LINE_ROWS,
    LineForm,
    ProposeForm,
    error_text,
    sign_evidence,
    title_text,
    too_large,
)
from funds.domain.adjustments import Evidence
from funds.domain.chart import CHART
from funds.domain.entries import AccountRef, Line, OwnerKind
from funds.models import Adjustment, AdjustmentEvidence
from funds.services import adjustments
from identity import selectors as identity

logger = structlog.get_logger("adjustments")

PENDING_FIRST = Case(When(state=Adjustment.State.PROPOSED, then=Value(0)), default=Value(1)).asc()


@admin.register(Adjustment)
class AdjustmentAdmin(ModelAdmin):
    """List, page, form and decisions; see the module."""

    actions = None
    list_display = ("number", "state_text", "total", "reason_text", "proposed_by_name", "age", "decision")
    list_filter = ("state", "proposed_by_name", "proposed_at")
    search_fields = ("=number", "=order_no", "reason")
    search_help_text = _("Number or order number (exact), or words of the reason")
    ordering = (PENDING_FIRST, "-id")
    list_per_page = 20
    show_full_result_count = False

    def has_view_permission(self, request: HttpRequest, obj: Adjustment | None = None) -> bool:
        return any(
            request.user.has_perm(permission)
            for permission in ("funds.view_adjustment", adjustments.MAY_PROPOSE, adjustments.MAY_APPROVE)
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(adjustments.MAY_PROPOSE)

    def has_change_permission(self, request: HttpRequest, obj: Adjustment | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Adjustment | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/approve/", wrap(self.approve_view), name="funds_adjustment_approve"),
            path("<int:pk>/reject/", wrap(self.reject_view), name="funds_adjustment_reject"),
            path("<int:pk>/withdraw/", wrap(self.withdraw_view), name="funds_adjustment_withdraw"),
            path("<int:pk>/evidence/<int:no>/", wrap(self.evidence_view), name="funds_adjustment_evidence"),
            *super().get_urls(),
        ]

    # --- the list -----------------------------------------------------------------------------------------------------

    @admin.display(description=_("state"), ordering="state")
    def state_text(self, row: Adjustment) -> SafeString | str:
        if row.state == Adjustment.State.PROPOSED:
            return format_html("<strong>{}</strong>", row.get_state_display())
        return row.get_state_display()

    @admin.display(description=_("amount"), ordering="total_fen")
    def total(self, row: Adjustment) -> SafeString:
        return format_html('<div style="text-align: right; white-space: nowrap">{}</div>', yuan_display(row.total_fen))

    @admin.display(description=_("reason"))
    def reason_text(self, row: Adjustment) -> SafeString:
        return format_html('<div style="min-width: 10em">{}</div>', truncatechars(row.reason, 60))

    @admin.display(description=_("proposed"), ordering="proposed_at")
    def age(self, row: Adjustment) -> SafeString:
        since = timesince(row.proposed_at, clock.now(), depth=1)
        return format_html('<span class="nowrap">{}</span>', gettext("%(age)s ago") % {"age": since})

    @admin.display(description=_("decided by"), ordering="decided_at")
    def decision(self, row: Adjustment) -> str:
        if row.decided_at is None:
            return ""
        who = row.decided_by_name or row.proposed_by_name
        return f"{who}, {row.decided_at.astimezone(clock.BUSINESS_ZONE):%Y-%m-%d %H:%M}"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Adjustment]:
        return super().get_queryset(request).select_related("journal", "reverses")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        unread = notifications.count_unread(recipient_id=_staff_id(request))
        return super().changelist_view(request, {**(extra_context or {}), "unread_notices": unread})

    # --- one adjustment -----------------------------------------------------------------------------------------------

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self._row(request, object_id)
        return TemplateResponse(request, "admin/funds/adjustment/page.html", self._context(request, row, row.number))

    def evidence_view(self, request: HttpRequest, pk: int, no: int) -> HttpResponse:
        """Hands a file out to who may see the adjustment; each download is in the log."""
        row = self._row(request, pk)
        item = AdjustmentEvidence.objects.filter(adjustment=row, evidence_no=no).first()
        if item is None:
            raise Http404
        try:
            answer = attachments.download(digest=item.digest, name=item.name)
        except PaysysError as error:
            messages.error(request, error_text(adjustments.EvidenceUnreadable()))
            logger.error("evidence unreadable", number=row.number, evidence_no=no, error=str(error))
            return HttpResponseRedirect(_address(row))
        logger.info("evidence downloaded", number=row.number, evidence_no=no, staff_id=_staff_id(request))
        return answer

    # --- proposing ----------------------------------------------------------------------------------------------------

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        opposite = None
        if request.GET.get("reverses", "").isdecimal():
            try:
                opposite = adjustments.opposite_of(journal_id=int(request.GET["reverses"][:18]))
            except PaysysError as error:
                messages.error(request, error_text(error))
                return HttpResponseRedirect(reverse("admin:funds_journal_changelist"))
        if request.method == "POST":
            return self._propose(request, opposite)
        order_no = opposite.order_no if opposite else request.GET.get("order_no", "")[:32]
        form = ProposeForm(initial={"request_key": ids.new_id(), "order_no": order_no})
        rows = [LineForm(number=number) for number in range(1, LINE_ROWS + 1)]
        return self._form_page(request, form, rows, opposite, kept=[])

    def _propose(self, request: HttpRequest, opposite: adjustments.Opposite | None) -> HttpResponse:
        form = ProposeForm(request.POST, request.FILES)
        rows = [LineForm(request.POST, number=number) for number in range(1, LINE_ROWS + 1)]
        is_valid = form.is_valid()
        kept = list(form.cleaned_data.get("kept") or [])
        kept += self._store_files(request, form, {item.digest for item in kept})
        is_valid = (opposite is not None or all(row.is_valid() for row in rows)) and is_valid and not form.errors
        if is_valid:
            lines = opposite.lines if opposite else [row.cleaned_data["line"] for row in rows]
            draft = adjustments.Draft(
                request_key=form.cleaned_data["request_key"],
                reason=form.cleaned_data["reason"],
                lines=tuple(line for line in lines if line is not None),
                evidence=tuple(kept),
                order_no=form.cleaned_data["order_no"],
                reverses_id=opposite.journal_id if opposite else None,
            )
            try:
                row = adjustments.propose(draft=draft, staff_id=_staff_id(request), now=clock.now())
            except PaysysError as error:
                form.add_error(None, error_text(error))
            else:
                messages.success(request, gettext("Proposed. It is posted when another person approves it."))
                return HttpResponseRedirect(_address(row))
        return self._form_page(request, form, rows, opposite, kept)

    @staticmethod
    def _store_files(request: HttpRequest, form: ProposeForm, known: set[str]) -> list[Evidence]:
        """Stores what was attached, refusals go to the form; files are kept even when something else is wrong."""
        stored = []
        for file in request.FILES.getlist("evidence"):
            name = attachments.clean_name(file.name or "")
            try:
                if too_large(file):
                    raise attachments.AttachmentTooLarge({"bytes": file.size})
                kept = attachments.store(
                    content=file.read(), name=name, stored_by_id=_staff_id(request), now=clock.now()
                )
            except (attachments.AttachmentTooLarge, attachments.AttachmentTypeRefused) as error:
                form.add_error("evidence", f"{name}: {error_text(error)}")
                continue
            if kept.digest not in known:
                known.add(kept.digest)
                stored.append(Evidence(digest=kept.digest, name=kept.name))
        return stored

    def _form_page(
        self,
        request: HttpRequest,
        form: ProposeForm,
        rows: Sequence[LineForm],
        opposite: adjustments.Opposite | None,
        kept: Sequence[Evidence],
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("Propose an adjustment"),
            "opts": self.opts,
            "form": form,
            "rows": rows,
            "opposite": opposite,
            "opposite_lines": _shown_lines(opposite.lines) if opposite else [],
            "kept": kept,
            "kept_signed": sign_evidence(kept),
        }
        return TemplateResponse(request, "admin/funds/adjustment/propose.html", context)

    # --- deciding -----------------------------------------------------------------------------------------------------

    def approve_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Asks with the balances before and after; a POST posts."""

        def decide(row: Adjustment) -> Adjustment:
            return adjustments.approve(
                number=row.number,
                seen_digest=request.POST.get("digest", ""),
                staff_id=_staff_id(request),
                note=request.POST.get("reason", ""),
                now=clock.now(),
            )

        return self._decision(request, pk, "approve", adjustments.MAY_APPROVE, decide)

    def reject_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        def decide(row: Adjustment) -> Adjustment:
            return adjustments.reject(
                number=row.number,
                staff_id=_staff_id(request),
                reason=request.POST.get("reason", ""),
                now=clock.now(),
            )

        return self._decision(request, pk, "reject", adjustments.MAY_APPROVE, decide)

    def withdraw_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        def decide(row: Adjustment) -> Adjustment:
            return adjustments.withdraw(number=row.number, staff_id=_staff_id(request), now=clock.now())

        return self._decision(request, pk, "withdraw", adjustments.MAY_PROPOSE, decide)

    def _decision(self, request: HttpRequest, pk: int, action: str, permission: str, decide: Any) -> HttpResponse:
        """One page for the three: GET asks, POST decides and leads back; a refusal is said on the page itself."""
        if not request.user.has_perm(permission):
            raise PermissionDenied
        row = self._row(request, pk)
        if request.method == "POST":
            try:
                row = decide(row)
            except PaysysError as error:
                messages.error(request, _refusal(error))
                row.refresh_from_db()
            else:
                said = gettext("%(number)s is %(state)s.")
                messages.success(request, said % {"number": row.number, "state": row.get_state_display()})
                return HttpResponseRedirect(_address(row))
        if row.state != Adjustment.State.PROPOSED:
            return HttpResponseRedirect(_address(row))
        titles = {
            "approve": gettext("Approve adjustment %s"),
            "reject": gettext("Reject adjustment %s"),
            "withdraw": gettext("Withdraw adjustment %s"),
        }
        context = self._context(request, row, titles[action] % row.number)
        context |= {"action": action, "typed_reason": request.POST.get("reason", "")[:500]}
        if action == "approve":
            context["effects"] = _shown_effects(_stored_lines(request, row))
        return TemplateResponse(request, "admin/funds/adjustment/decide.html", context)

    # --- what pages share ---------------------------------------------------------------------------------------------

    def _row(self, request: HttpRequest, key: str | int) -> Adjustment:
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_queryset(request).filter(pk=key).first() if str(key).isdecimal() else None
        if row is None:
            raise Http404
        return row

    def _context(self, request: HttpRequest, row: Adjustment, title: str) -> dict[str, Any]:
        is_waiting = row.state == Adjustment.State.PROPOSED
        is_maker = row.proposed_by_id == _staff_id(request)
        may_decide = request.user.has_perm(adjustments.MAY_APPROVE)
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "row": row,
            "total": yuan_display(row.total_fen),
            "age": timesince(row.proposed_at, clock.now(), depth=1),
            "lines": _shown_lines(_stored_lines(request, row)),
            "evidence": list(AdjustmentEvidence.objects.filter(adjustment=row).order_by("evidence_no")),
            "timeline": _timeline(row),
            "can_decide": is_waiting and may_decide and not is_maker,
            "must_be_another": is_waiting and may_decide and is_maker,
            "can_withdraw": is_waiting and is_maker and request.user.has_perm(adjustments.MAY_PROPOSE),
        }


def _staff_id(request: HttpRequest) -> int:
    return int(request.user.pk or 0)


def _address(row: Adjustment) -> str:
    return reverse("admin:funds_adjustment_change", args=[row.pk])


def _stored_lines(request: HttpRequest, row: Adjustment) -> tuple[Line, ...]:
    """The lines, or none and a warning when the stored rows make no adjustment: somebody changed the database."""
    try:
        return adjustments.content_of(row).lines
    except ValueError as error:
        messages.error(request, f"{error_text(adjustments.AdjustmentChanged())} {error}")
        return ()


def _refusal(error: PaysysError) -> str:
    """A refusal with its amount, which staff read in yuan."""
    missing_fen = error.details.get("missing_fen")
    text = error_text(error)
    return text if missing_fen is None else gettext("%s Missing: %s.") % (text, yuan_display(missing_fen))


def _timeline(row: Adjustment) -> list[dict[str, Any]]:
    steps = [{"at": row.proposed_at, "who": row.proposed_by_name, "what": _("proposed"), "text": row.reason}]
    if row.decided_at is not None:
        steps.append(
            {
                "at": row.decided_at,
                "who": row.decided_by_name or row.proposed_by_name,
                "what": row.get_state_display(),
                "text": row.decision_reason,
            }
        )
    return steps


def _owner_texts(accounts: Sequence[AccountRef]) -> dict[AccountRef, str]:
    """Whose account it is, by name: "员工01 (e01), acme"."""
    employee_ids = [int(ref.owner_id) for ref in accounts if ref.owner_kind == OwnerKind.EMPLOYEE]
    employees = identity.get_employees(employee_ids=employee_ids)
    texts = {}
    for ref in accounts:
        texts[ref] = ref.owner_id
        if ref.owner_kind == OwnerKind.EMPLOYEE and int(ref.owner_id) in employees:
            employee = employees[int(ref.owner_id)]
            texts[ref] = f"{employee.name} ({employee.code}), {employee.enterprise.name}"
        elif ref.owner_kind == OwnerKind.ENTERPRISE:
            texts[ref] = gettext("enterprise %s") % ref.owner_id
    return texts


def _shown_lines(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Lines as accountants read them: debit left, credit right, both positive."""
    owners = _owner_texts([line.account for line in lines])
    return [
        {
            "account": title_text(CHART[line.account.code]),
            "owner": owners[line.account],
            "is_employee": line.account.owner_kind == OwnerKind.EMPLOYEE,
            "owner_id": line.account.owner_id,
            "category": CATEGORY_NAMES[line.category],
            "debit": yuan_display(-line.amount_fen) if line.amount_fen < 0 else "",
            "credit": yuan_display(line.amount_fen) if line.amount_fen > 0 else "",
        }
        for line in lines
    ]


def _shown_effects(lines: Sequence[Line]) -> list[dict[str, Any]]:
    shown = _shown_lines(lines)
    for row, effect in zip(shown, selectors.list_effects(lines=lines), strict=True):
        row |= {
            "before": yuan_display(effect.before_fen),
            "after": yuan_display(effect.after_fen),
            "is_new": effect.is_new,
            "is_short": effect.after_fen < 0 and not effect.line.account.is_platform,
        }
    return shown
