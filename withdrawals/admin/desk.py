"""The desk of withdrawals: queue, page, decisions alone and in bulk. Nothing is changed but through the services.

Permissions are asked for on every page, of superusers as of others; that the second person is another one, and not the
applicant, the services and the database say to everybody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import Case, Count, IntegerField, Q, QuerySet, Sum, Value, When
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from foundation import clock
from foundation.admin_base import ReadOnlyAdmin
from foundation.admin_reveal import RevealAdmin
from foundation.errors import InvalidRequest, PaysysError
from foundation.money import yuan_display
from foundation.words import code_word
from identity import selectors as identity
from identity.services import staff_codes
from withdrawals.admin.words import actor_names, error_text, staff_id, when
from withdrawals.domain.states import AT_PROVIDER, WithdrawalState
from withdrawals.models import REASON_MIN_LENGTH, Decision, PayoutPolicy, Reissue, Withdrawal
from withdrawals.services import approving, sending
from withdrawals.services.approving import Approver

APPROVE, ASSIGN, OPERATE, PROPOSE, APPROVE_REISSUE = (
    f"withdrawals.{name}"
    for name in ("approve_withdrawal", "assign_withdrawal", "operate_payouts", "propose_reissue", "approve_reissue")
)
PENDING_FIRST = Case(
    When(state=WithdrawalState.APPLIED.value, then=Value(0)), default=Value(1), output_field=IntegerField()
).asc()
MAX_BULK = 100
CHANGE = "admin:withdrawals_withdrawal_change"


def right(text: str) -> SafeString:
    return format_html('<div style="text-align: right; white-space: nowrap">{}</div>', text)


class AssignedFilter(admin.SimpleListFilter):
    title = _("assigned")
    parameter_name = "assigned"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("me", _("to me")), ("nobody", _("to nobody"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Withdrawal]) -> QuerySet[Withdrawal]:
        if self.value() == "me":
            return queryset.filter(assigned_to_id=staff_id(request))
        return queryset.filter(assigned_to=None) if self.value() == "nobody" else queryset


@admin.register(Withdrawal)
class WithdrawalAdmin(RevealAdmin, ReadOnlyAdmin):
    """List, page and decisions; see the module."""

    revealed = (("payee_account", _("payee")), ("payee_name", _("holder")))
    actions = ("approve_many",)  # type: ignore[assignment]
    list_display = (
        "order_no", "state_text", "amount", "channel", "payee_masked", "employee_id", "review", "approvals",
        "assigned_to", "age",
    )  # fmt: skip
    list_filter = ("state", "channel", "needs_review", AssignedFilter)
    list_select_related = ("assigned_to",)
    search_fields = ("=order_no",)
    search_help_text = _("Order, payout or provider's number, or an employee's id (exact)")
    ordering = (PENDING_FIRST, "created_at", "order_no")
    list_per_page = 20
    change_list_template = "admin/withdrawals/change_list.html"

    def has_view_permission(self, request: HttpRequest, obj: Withdrawal | None = None) -> bool:
        wanted = ("withdrawals.view_withdrawal", APPROVE, ASSIGN, OPERATE, PROPOSE, APPROVE_REISSUE)
        return any(request.user.has_perm(permission) for permission in wanted)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        views: list[tuple[str, Callable[..., HttpResponse]]] = [
            ("approve", self.approve_view),
            ("reject", self.reject_view),
            ("comment", self.comment_view),
            ("assign", self.assign_view),
            ("check", self.check_view),
        ]
        return [
            path("bulk/", wrap(self.bulk_view), name="withdrawals_withdrawal_bulk"),
            *(
                path(f"<str:order_no>/{name}/", wrap(view), name=f"withdrawals_withdrawal_{name}")
                for name, view in views
            ),
            *super().get_urls(),
        ]

    # --- the list -----------------------------------------------------------------------------------------------------

    @admin.display(description=_("state"), ordering="state")
    def state_text(self, row: Withdrawal) -> SafeString | str:
        word = code_word(row.state)
        return format_html("<strong>{}</strong>", word) if row.state == WithdrawalState.APPLIED else word

    @admin.display(description=_("amount"), ordering="amount_fen")
    def amount(self, row: Withdrawal) -> SafeString:
        return right(yuan_display(row.amount_fen))

    @admin.display(description=_("risk review"), boolean=True, ordering="needs_review")
    def review(self, row: Withdrawal) -> bool:
        return row.needs_review

    @admin.display(description=_("approvals"))
    def approvals(self, row: Any) -> str:
        said = sum(1 for item in row.decisions.all() if item.round == row.approval_round and item.word == "APPROVE")
        return gettext("%(said)s of %(needed)s") % {"said": said, "needed": row.approvals_needed}

    @admin.display(description=_("age"), ordering="created_at")
    def age(self, row: Withdrawal) -> SafeString:
        return format_html('<span class="nowrap">{}</span>', timesince(row.created_at, clock.now(), depth=1))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Withdrawal]:
        return super().get_queryset(request).prefetch_related("decisions")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Withdrawal], search_term: str
    ) -> tuple[QuerySet[Withdrawal], bool]:
        """Exact numbers only; anything that is none finds nothing."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if not term.isascii():
            return queryset.none(), False
        wanted = Q(order_no=term[:32]) | Q(payout_no=term[:32]) | Q(provider_no=term[:64])
        if term.isdecimal() and len(term) < 19:
            wanted |= Q(employee_id=int(term))
        return queryset.filter(wanted), False

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return super().get_actions(request) if request.user.has_perm(APPROVE) else {}

    @admin.action(description=_("Approve the chosen ones…"))
    def approve_many(self, request: HttpRequest, queryset: QuerySet[Withdrawal]) -> HttpResponse | None:
        return self._bulk_page(request, list(queryset.order_by("created_at", "order_no")[:MAX_BULK]))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        answer = super().changelist_view(request, {**(extra_context or {}), "paused": _paused()})
        shown = getattr(answer, "context_data", {}).get("cl")
        if shown is not None:
            total = shown.queryset.order_by().aggregate(count=Count("pk"), fen=Sum("amount_fen"))
            page = [row.amount_fen for row in shown.result_list]
            answer.context_data |= {
                "filter_count": total["count"],
                "filter_amount": yuan_display(total["fen"] or 0),
                "page_count": len(page),
                "page_amount": yuan_display(sum(page)),
            }
        return answer

    # --- one withdrawal -----------------------------------------------------------------------------------------------

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self._row(request, object_id)
        return TemplateResponse(request, "admin/withdrawals/page.html", self._context(request, row, row.order_no))

    def _row(self, request: HttpRequest, order_no: str) -> Withdrawal:
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = None
        if order_no.isascii():
            found = Withdrawal.objects.select_related("assigned_to").filter(pk=order_no[:32]).first()
        if found is None:
            raise Http404
        return found

    def _context(self, request: HttpRequest, row: Withdrawal, title: str) -> dict[str, Any]:
        events = list(row.events.order_by("version"))
        decisions = list(row.decisions.select_related("decided_by").order_by("id"))
        names = actor_names(event.actor for event in events)
        present = [item for item in decisions if item.round == row.approval_round]
        approved = [item for item in present if item.word == Decision.Word.APPROVE]
        is_waiting = row.state == WithdrawalState.APPLIED
        is_own = staff_codes.own_employee_id(user_id=staff_id(request)) == row.employee_id
        has_spoken = any(item.decided_by_id == staff_id(request) for item in present)
        user = request.user
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "row": row,
            "amount": yuan_display(row.amount_fen),
            "fee": yuan_display(row.fee_fen),
            "employee": identity.get_employees(employee_ids=[row.employee_id]).get(row.employee_id),
            "age": timesince(row.created_at, clock.now(), depth=1),
            "events": [{"event": event, "who": names[event.actor], "at": when(event.happened_at)} for event in events],
            "decisions": decisions,
            "approvals": self.approvals(row),
            "approved_by": [item.decided_by.get_username() for item in approved],
            "reissues": list(Reissue.objects.filter(withdrawal=row).order_by("-id")),
            "digest": approving.digest_of(row),
            "paused": _paused(),
            "is_own": is_own and is_waiting,
            "must_be_another": is_waiting and has_spoken,
            "can_decide": is_waiting and user.has_perm(APPROVE) and not is_own and not has_spoken,
            "can_assign": is_waiting and user.has_perm(ASSIGN),
            "can_check": row.state in AT_PROVIDER and user.has_perm(OPERATE),
            "can_reissue": row.state == WithdrawalState.UNKNOWN and user.has_perm(PROPOSE),
            "minimum": REASON_MIN_LENGTH,
            "reveal_address": self.reveal_address(request, row),
        }

    # --- deciding -----------------------------------------------------------------------------------------------------

    def approve_view(self, request: HttpRequest, order_no: str) -> HttpResponse:
        def decide(row: Withdrawal) -> Withdrawal:
            return approving.approve(
                order_no=row.order_no,
                approver=_approver(request),
                seen_digest=request.POST.get("digest", ""),
                comment=request.POST.get("reason", "")[:400],
                now=clock.now(),
            )

        return self._step(request, order_no, "approve", gettext("Approve %s"), APPROVE, decide)

    def reject_view(self, request: HttpRequest, order_no: str) -> HttpResponse:
        def decide(row: Withdrawal) -> Withdrawal:
            reason = _reason(request)
            return approving.reject(
                order_no=row.order_no,
                approver=_approver(request),
                seen_digest=request.POST.get("digest", ""),
                reason=reason,
                now=clock.now(),
            )

        return self._step(request, order_no, "reject", gettext("Reject %s"), APPROVE, decide)

    def comment_view(self, request: HttpRequest, order_no: str) -> HttpResponse:
        def decide(row: Withdrawal) -> Withdrawal:
            return approving.ask_back(
                order_no=row.order_no, actor=_actor(request), comment=_reason(request), now=clock.now()
            )

        return self._step(request, order_no, "comment", gettext("Ask back about %s"), ASSIGN, decide)

    def assign_view(self, request: HttpRequest, order_no: str) -> HttpResponse:
        people = get_user_model().objects.filter(is_staff=True, is_active=True).order_by("username")

        def decide(row: Withdrawal) -> Withdrawal:
            wanted = request.POST.get("to", "")
            to = people.filter(pk=int(wanted)).first() if wanted.isdecimal() and len(wanted) < 10 else None
            if wanted and to is None:
                raise InvalidRequest({"problem": gettext("Choose a member of staff.")})
            return approving.assign(
                order_no=row.order_no, to_user_id=to.pk if to else None, actor=_actor(request), now=clock.now()
            )

        return self._step(request, order_no, "assign", gettext("Assign %s"), ASSIGN, decide, {"people": people})

    def check_view(self, request: HttpRequest, order_no: str) -> HttpResponse:
        """Asks the provider at once; what it says is acted on as in the background."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm(OPERATE):
            raise PermissionDenied
        row = self._row(request, order_no)
        try:
            state = sending.check(order_no=row.order_no, now=clock.now())
        except PaysysError as error:
            messages.error(request, error_text(error))
        else:
            messages.success(request, gettext("The provider was asked: %s.") % code_word(state.value))
        return HttpResponseRedirect(reverse(CHANGE, args=[row.order_no]))

    def _step(
        self,
        request: HttpRequest,
        order_no: str,
        action: str,
        title: str,
        permission: str,
        decide: Callable[[Withdrawal], Withdrawal],
        more: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """One page for all steps: GET asks, POST makes one call and leads back; a refusal is said on the page."""
        if not request.user.has_perm(permission):
            raise PermissionDenied
        row = self._row(request, order_no)
        if request.method == "POST":
            try:
                row = decide(row)
            except PaysysError as error:
                messages.error(request, error_text(error))
                row = self._row(request, order_no)
            else:
                messages.success(
                    request, gettext("%(no)s is %(state)s.") % {"no": row.order_no, "state": code_word(row.state)}
                )
                return HttpResponseRedirect(reverse(CHANGE, args=[row.order_no]))
        if row.state != WithdrawalState.APPLIED:
            return HttpResponseRedirect(reverse(CHANGE, args=[row.order_no]))
        context = self._context(request, row, title % row.order_no)
        context |= {"action": action, "typed_reason": request.POST.get("reason", "")[:500], **(more or {})}
        return TemplateResponse(request, "admin/withdrawals/decide.html", context)

    # --- many at once -------------------------------------------------------------------------------------------------

    def _bulk_page(self, request: HttpRequest, rows: list[Withdrawal]) -> HttpResponse:
        if not request.user.has_perm(APPROVE):
            raise PermissionDenied
        own = staff_codes.own_employee_id(user_id=staff_id(request))
        items: list[dict[str, Any]] = [
            {"row": row, "amount": yuan_display(row.amount_fen), "why": _why_not(request, row, own)} for row in rows
        ]
        eligible = [item for item in items if not item["why"]]
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Approve several withdrawals"),
            "opts": self.opts,
            "items": [{**item, "digest": approving.digest_of(item["row"])} for item in items],
            "eligible": len(eligible),
            "chosen": len(items),
            "total": yuan_display(sum(item["row"].amount_fen for item in eligible)),
        }
        return TemplateResponse(request, "admin/withdrawals/bulk.html", context)

    def bulk_view(self, request: HttpRequest) -> HttpResponse:
        """One code for the batch; each withdrawal is decided by itself and has its own result."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm(APPROVE):
            raise PermissionDenied
        pairs = [text.partition(":") for text in request.POST.getlist("item")[:MAX_BULK]]
        try:
            approver = _approver(request)
        except PaysysError as error:
            messages.error(request, error_text(error))
            numbers = [number for number, _colon, _digest in pairs if number.isascii()]
            rows = Withdrawal.objects.filter(pk__in=numbers).prefetch_related("decisions").order_by("created_at")
            return self._bulk_page(request, list(rows))
        results = [_approve_one(number, digest, approver) for number, _colon, digest in pairs]
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Results"),
            "opts": self.opts,
            "results": results,
            "done": sum(1 for result in results if result["is_done"]),
        }
        return TemplateResponse(request, "admin/withdrawals/results.html", context)


def _approve_one(number: str, digest: str, approver: Approver) -> dict[str, Any]:
    try:
        row = approving.approve(order_no=number, approver=approver, seen_digest=digest, comment="", now=clock.now())
    except PaysysError as error:
        return {"order_no": number, "is_done": False, "text": error_text(error)}
    return {"order_no": number, "is_done": True, "text": code_word(row.state)}


def _why_not(request: HttpRequest, row: Withdrawal, own_employee_id: int | None) -> str:
    """Why this person cannot approve it now; empty when he can."""
    if row.state != WithdrawalState.APPLIED:
        return gettext("it does not wait for approval (%s)") % code_word(row.state)
    if row.employee_id == own_employee_id:
        return gettext("it is your own")
    spoken = [item for item in row.decisions.all() if item.round == row.approval_round]
    if any(item.decided_by_id == staff_id(request) for item in spoken):
        return gettext("you have decided about it already")
    return ""


def _approver(request: HttpRequest) -> Approver:
    """The member of staff, his code used up. Raises what staff_codes.verify does."""
    user: Any = request.user
    device = staff_codes.verify(user=user, code=request.POST.get("code", "")[:64], now=clock.now())
    return Approver(
        user_id=user.pk,
        name=user.get_username(),
        employee_id=staff_codes.own_employee_id(user_id=user.pk),
        code_device=device,
    )


def _actor(request: HttpRequest) -> str:
    return f"staff:{staff_id(request)}"


def _reason(request: HttpRequest) -> str:
    """What was typed; judged before a code is used up for nothing. Raises InvalidRequest."""
    text = request.POST.get("reason", "").strip()
    if len(text) < REASON_MIN_LENGTH:
        problem = gettext("Give a reason of at least %s characters.") % REASON_MIN_LENGTH
        raise InvalidRequest({"problem": problem})
    return text[:500]


def _paused() -> list[PayoutPolicy]:
    return list(PayoutPolicy.objects.filter(is_paused=True).order_by("channel"))
