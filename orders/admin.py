"""Orders in the admin: one list over the 16 tables, found by any number, one page per order; nothing can be changed."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from foundation import clock
from foundation.admin_base import ReadOnlyAdmin
from foundation.errors import NotFound
from foundation.money import MAX_FEN, fen_from_yuan_text, yuan_display
from orders import selectors
from orders.domain.pages import Key
from orders.domain.states import AttemptState, OrderKind, OrderState
from orders.models import OrderIndex
from orders.selectors import staff, timeline
from orders.selectors.staff import ListedOrder, OrderFilter, OrderSlice, Patience, Totals

KINDS: Mapping[str, Promise] = {
    OrderKind.RECHARGE: _("recharge"),
    OrderKind.PAYMENT: _("payment"),
    OrderKind.COLLECT: _("collection"),
    OrderKind.TRANSFER: _("transfer"),
    OrderKind.TRANSFER_RECEIPT: _("transfer received"),
    OrderKind.REDPACKET_SEND: _("red packet sent"),
    OrderKind.REDPACKET_RECEIPT: _("red packet received"),
    OrderKind.REDPACKET_REFUND: _("red packet returned"),
    OrderKind.RETURN: _("refund"),
    OrderKind.WITHDRAWAL: _("withdrawal"),
}
STATES: Mapping[str, Promise] = {
    OrderState.CREATED: _("created"),
    OrderState.PENDING: _("pending"),
    OrderState.SUCCESS: _("success"),
    OrderState.FAILED: _("failed"),
    OrderState.CLOSED: _("closed"),
    OrderState.INVALID: _("invalid"),
}
ATTEMPT_ONLY_STATES: Mapping[str, Promise] = {AttemptState.UNKNOWN: _("unknown")}
ENTRY_KINDS: Mapping[str, Promise] = {
    timeline.EntryKind.ORDER: _("order"),
    timeline.EntryKind.ATTEMPT: _("attempt"),
    timeline.EntryKind.JOURNAL: _("journal"),
    timeline.EntryKind.NOTICE: _("notice"),
    timeline.EntryKind.OUTBOX: _("event"),
    timeline.EntryKind.RISK: _("risk"),
    timeline.EntryKind.CALL: _("call"),
    timeline.EntryKind.PAYOUT: _("payout"),
    timeline.EntryKind.CALLBACK: _("callback"),
    timeline.EntryKind.ADJUSTMENT: _("adjustment"),
    timeline.EntryKind.AUDIT: _("staff"),
}
CHANNELS = ("wechat", "alipay", "kuaiqian", "wallet")
"""Suggested only: any other name can be typed, for a channel is a row of the gateway's registry, not of ours."""
PAGES_AROUND = 2
MAX_ID = 2**63 - 1
LIST = "admin:orders_orderindex_changelist"
CURSOR = re.compile(r"(\d{1,17})\.([0-9A-Za-z]{32})?")
DATE = re.compile(r"(20\d\d)(?:-(\d\d)(?:-(\d\d))?)?")
GROUPED = re.compile(r"\d{1,3}(,\d{3})+(\.\d{1,2})?")


def kind_label(kind: str) -> str:
    return str(KINDS.get(kind, kind))


def state_label(state: str) -> str:
    return str({**STATES, **ATTEMPT_ONLY_STATES}.get(state, state))


# --- What is asked for -----------------------------------------------------------------------------------------------


class YuanField(forms.Field):
    """An amount typed in yuan, as shown ("¥1,234.50") or plain ("1234.5"); its value is integer fen, never a float."""

    def to_python(self, value: Any) -> Any:
        text = str(value or "").strip().lstrip("¥￥").strip()
        if not text:
            return None
        if GROUPED.fullmatch(text):
            text = text.replace(",", "")
        try:
            fen = fen_from_yuan_text(text)
        except ValueError as error:
            raise forms.ValidationError(_("Enter yuan with at most two decimals, such as 1234.50.")) from error
        if not 0 <= fen <= MAX_FEN:
            raise forms.ValidationError(_("This amount is out of range."))
        return fen


class MomentField(forms.Field):
    """A day or a minute of business time; its value is the half-open span (begin, end) it stands for, in UTC."""

    def to_python(self, value: Any) -> Any:
        text = str(value or "").strip().replace("T", " ")
        if not text:
            return None
        for form, length in (
            ("%Y-%m-%d", dt.timedelta(days=1)),
            ("%Y-%m-%d %H:%M", dt.timedelta(minutes=1)),
            ("%Y-%m-%d %H:%M:%S", dt.timedelta(seconds=1)),
        ):
            try:
                begin = dt.datetime.strptime(text, form).replace(tzinfo=clock.BUSINESS_ZONE)
            except ValueError:
                continue
            if 2000 <= begin.year < 2100:
                return begin.astimezone(dt.UTC), (begin + length).astimezone(dt.UTC)
        raise forms.ValidationError(_("Enter a day or a minute, such as 2026-11-22 or 2026-11-22 14:30."))


class FilterForm(forms.Form):
    """The filters of the list; a field in error shows no orders at all, for fewer filters would show wrong totals."""

    kind = forms.ChoiceField(label=_("Kind"), required=False, choices=[("", _("all")), *KINDS.items()])
    state = forms.ChoiceField(label=_("State"), required=False, choices=[("", _("all")), *STATES.items()])
    channel = forms.RegexField(
        label=_("Channel"),
        required=False,
        regex=r"^[0-9A-Za-z_-]{1,16}$",
        widget=forms.TextInput(attrs={"list": "channels", "autocomplete": "off"}),
    )
    enterprise = forms.IntegerField(label=_("Enterprise"), required=False, min_value=1, max_value=MAX_ID)
    employee = forms.IntegerField(label=_("Employee"), required=False, min_value=1, max_value=MAX_ID)
    amount_from = YuanField(label=_("Amount from (¥)"), required=False)
    amount_to = YuanField(label=_("Amount to (¥)"), required=False)
    created_from = MomentField(label=_("Created from"), required=False)
    created_to = MomentField(label=_("Created to (inclusive)"), required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("enterprise", "employee"):
            self.fields[name].widget = forms.TextInput(attrs={"inputmode": "numeric"})
        for name in ("amount_from", "amount_to"):
            self.fields[name].widget.attrs["inputmode"] = "decimal"
        for name in ("created_from", "created_to"):
            self.fields[name].widget.attrs.update(placeholder="2026-11-22 14:30", autocomplete="off")

    def clean(self) -> None:
        data = self.cleaned_data
        if None not in (data.get("amount_from"), data.get("amount_to")) and data["amount_from"] > data["amount_to"]:
            self.add_error("amount_to", _("This is less than the amount from."))
        begin, end = data.get("created_from"), data.get("created_to")
        if begin and end and begin[0] >= end[1]:
            self.add_error("created_to", _("This is before the time from."))

    def order_filter(self) -> OrderFilter:
        """Of a valid form."""
        data = self.cleaned_data
        return OrderFilter(
            kind=data["kind"],
            state=data["state"],
            channel=data["channel"],
            enterprise_id=data["enterprise"],
            employee_id=data["employee"],
            amount_from_fen=data["amount_from"],
            amount_to_fen=data["amount_to"],
            created_from=data["created_from"][0] if data["created_from"] else None,
            created_before=data["created_to"][1] if data["created_to"] else None,
        )


@dataclass(frozen=True, kw_only=True)
class Period:
    """A year, month or day of the business calendar; as text "2026", "2026-11", "2026-11-22"."""

    year: int
    month: int | None = None
    day: int | None = None

    def __str__(self) -> str:
        parts = [f"{self.year:04d}"]
        parts += [f"{part:02d}" for part in (self.month, self.day) if part is not None]
        return "-".join(parts)

    @classmethod
    def parse(cls, text: str) -> Period | None:
        """None for what is no period of this calendar."""
        match = DATE.fullmatch(text)
        if match is None:
            return None
        year, month, day = (None if part is None else int(part) for part in match.groups())
        try:
            dt.date(year or 0, month or 1, day or 1)
        except ValueError:
            return None
        return cls(year=year or 0, month=month, day=day)

    @property
    def first(self) -> dt.date:
        return dt.date(self.year, self.month or 1, self.day or 1)

    @property
    def behind(self) -> dt.date:
        """The first day after it."""
        if self.day is not None:
            return self.first + dt.timedelta(days=1)
        if self.month is not None:
            return (self.first + dt.timedelta(days=31)).replace(day=1)
        return dt.date(self.year + 1, 1, 1)

    @property
    def span(self) -> tuple[dt.datetime, dt.datetime]:
        """From inclusive to exclusive."""
        return _midnight(self.first), _midnight(self.behind)

    @property
    def parent(self) -> Period | None:
        if self.day is not None:
            return Period(year=self.year, month=self.month)
        return Period(year=self.year) if self.month is not None else None

    @property
    def label(self) -> str:
        if self.day is not None:
            return date_format(self.first, "DATE_FORMAT")
        return date_format(self.first, "YEAR_MONTH_FORMAT") if self.month is not None else str(self.year)

    def within(self, wanted: OrderFilter) -> OrderFilter:
        begin, end = self.span
        return replace(
            wanted,
            created_from=max(begin, wanted.created_from or begin),
            created_before=min(end, wanted.created_before or end),
        )


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day, tzinfo=clock.BUSINESS_ZONE).astimezone(dt.UTC)


class Address:
    """The query of the list page: filters that stay, and the place in it that each link sets anew."""

    FILTERS = (*FilterForm.base_fields, "on")
    PLACES = ("page", "as_of", "older", "newer", "wait")

    def __init__(self, request: HttpRequest) -> None:
        given = {name: request.GET.get(name, "").strip()[:64] for name in (*self.FILTERS, *self.PLACES, "q")}
        self.values = {name: text for name, text in given.items() if text}

    def get(self, name: str) -> str:
        return self.values.get(name, "")

    def link(self, **changes: object) -> str:
        """The list with these filters or this place instead; "" or None drops one."""
        kept = {name: self.values[name] for name in self.FILTERS if name in self.values}
        kept.update({name: str(value) for name, value in changes.items() if value})
        for name, value in changes.items():
            if not value:
                kept.pop(name, None)
        return f"{reverse(LIST)}?{urlencode(kept)}" if kept else reverse(LIST)

    def hidden(self, *names: str) -> list[tuple[str, str]]:
        return [(name, self.values[name]) for name in names if name in self.values]


def _cursor_text(key: Key) -> str:
    moment, order_no = key
    return f"{(moment - EPOCH) // dt.timedelta(microseconds=1)}.{order_no}"


def _cursor_key(text: str) -> Key | None:
    """None for what `_cursor_text` cannot have made."""
    match = CURSOR.fullmatch(text)
    if match is None:
        return None
    try:
        return EPOCH + dt.timedelta(microseconds=int(match[1])), match[2] or ""
    except OverflowError:
        return None


EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


# --- What is shown ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Link:
    """`url` empty: shown without one. `count` None: not counted."""

    text: str
    url: str = ""
    count: int | None = None
    is_current: bool = False


def _chips(form: FilterForm, address: Address, period: Period | None) -> list[Link]:
    """What is filtered by; each leads to the list without it."""
    chips = []
    for name, field in form.fields.items():
        text = address.get(name)
        if not text:
            continue
        shown = {"kind": kind_label, "state": state_label}.get(name, str)(text)
        if name.startswith("amount") and name not in form.errors:
            shown = yuan_display(form.cleaned_data[name])
            chips.append(Link(text=f"{str(field.label).replace(' (¥)', '')}: {shown}", url=address.link(**{name: ""})))
            continue
        chips.append(Link(text=f"{field.label}: {shown}", url=address.link(**{name: ""})))
    if period is not None:
        chips.append(Link(text=f"{_now('Date')}: {period.label}", url=address.link(on="")))
    return chips


@dataclass(frozen=True, kw_only=True)
class Calendar:
    """One level of the drill-down: where it can go up, where down, and whether days were counted in time."""

    up: Link | None
    current: str
    links: list[Link]
    is_uncounted: bool = False
    count: int | None = None
    """Of all its days, where they were counted."""


def _calendar(
    address: Address,
    period: Period | None,
    wanted: OrderFilter,
    bounds: tuple[dt.datetime, dt.datetime] | None,
    patience: Patience,
) -> Calendar | None:
    """Years and months come from the oldest and newest order; only the days of one month are counted."""
    if bounds is None:
        return None
    first, last = (clock.business_date(moment) for moment in bounds)
    everything = Link(text=_now("All dates"), url=address.link(on=""))
    if period is None:
        periods = [Period(year=year) for year in range(first.year, last.year + 1)]
        return Calendar(up=None, current=_now("All dates"), links=_period_links(address, periods))
    parent = period.parent
    up = everything if parent is None else Link(text=parent.label, url=address.link(on=parent))
    if period.month is None:
        months = [Period(year=period.year, month=month) for month in range(1, 13)]
        shown = [month for month in months if month.first <= last and month.behind > first]
        return Calendar(up=up, current=period.label, links=_period_links(address, shown))
    if period.day is not None:
        one = dt.timedelta(days=1)
        near = [day for day in (period.first - one, period.first, period.first + one) if first <= day <= last]
        days = [Period(year=day.year, month=day.month, day=day.day) for day in near]
        return Calendar(up=up, current=period.label, links=_period_links(address, days, current=period))
    length = (period.behind - period.first).days
    days = [Period(year=period.year, month=period.month, day=day) for day in range(1, length + 1)]
    days = [day for day in days if first <= day.first <= last]
    counts = staff.count_days(wanted=wanted, days=[day.span for day in days], patience=patience)
    links = [
        Link(
            text=str(day.day),
            url=address.link(on=day) if counts is None or counts[place] else "",
            count=None if counts is None else counts[place],
        )
        for place, day in enumerate(days)
    ]
    return Calendar(
        up=up,
        current=period.label,
        links=links,
        is_uncounted=counts is None,
        count=None if counts is None else sum(counts),
    )


def _period_links(address: Address, periods: Sequence[Period], *, current: Period | None = None) -> list[Link]:
    return [
        Link(
            text=date_format(period.first, "MONTH_DAY_FORMAT") if period.day is not None else period.label,
            url=address.link(on=period),
            is_current=period == current,
        )
        for period in periods
    ]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in the list the page stands: a numbered page (1 when nothing is asked), or next to a key."""

    page: int | None = 1
    as_of: dt.datetime | None = None
    older: Key | None = None
    newer: Key | None = None
    notes: tuple[str, ...] = ()


def _place(address: Address, now: dt.datetime) -> Place:
    """What was asked for; what cannot be read leads to the newest page, with a note."""
    for name in ("older", "newer"):
        if address.get(name):
            key = _cursor_key(address.get(name))
            if key is not None:
                return Place(page=None, older=key) if name == "older" else Place(page=None, newer=key)
            return Place(notes=(_now("The place in the list was not understood; this is the newest page."),))
    text = address.get("page")
    if not text:
        return Place()
    as_of_key = _cursor_key(address.get("as_of"))
    as_of = min(as_of_key[0], now) if as_of_key else now
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        return Place(notes=(_now("There is no such page; this is the newest one."),))
    page = int(text)
    if page > staff.MAX_PAGE:
        note = _now("Numbered pages end at %(page)s. Go on from here with “older”, or narrow the filter.")
        return Place(page=staff.MAX_PAGE, as_of=as_of, notes=(note % {"page": f"{staff.MAX_PAGE:,}"},))
    return Place(page=page, as_of=as_of)


def _slice(place: Place, wanted: OrderFilter, newest: dt.datetime | None, patience: Patience) -> OrderSlice:
    if place.newer is not None:
        found = staff.list_newer(wanted=wanted, after=place.newer, patience=patience)
        if found.has_newer or found.is_too_slow:
            return found
        # Near the top a page would be short: show the newest whole one instead.
        return staff.list_older(wanted=wanted, before=None, newest=newest, patience=patience)
    if place.page is not None and place.page > 1 and place.as_of is not None:
        return staff.list_numbered(wanted=wanted, page=place.page, as_of=place.as_of, patience=patience)
    return staff.list_older(wanted=wanted, before=place.older, newest=newest, patience=patience)


@dataclass(frozen=True, kw_only=True)
class Pager:
    newest: str
    newer: str
    older: str
    pages: list[Link | None]
    """None stands for a gap."""


def _pager(address: Address, place: Place, found: OrderSlice, totals: Totals, now: dt.datetime) -> Pager:
    keys = [order.key for order in found.orders]
    newer = older = ""
    if place.newer is not None and found.searched_to is not None:
        newer = address.link(newer=_cursor_text((found.searched_to, "")))
    elif found.has_newer and keys:
        newer = address.link(newer=_cursor_text(keys[0]))
    if place.newer is None and found.searched_to is not None:
        older = address.link(older=_cursor_text((found.searched_to, "")))
    elif found.has_older and keys:
        older = address.link(older=_cursor_text(keys[-1]))
    is_first = place.page == 1 or (place.page is None and not found.has_newer)
    return Pager(
        newest="" if is_first else address.link(),
        newer=newer,
        older=older,
        pages=_numbered(address, place, found, totals, now),
    )


def _numbered(address: Address, place: Place, found: OrderSlice, totals: Totals, now: dt.datetime) -> list[Link | None]:
    """1 … 6 7 8 … last; the last one only as far as it is known."""
    if place.page is None or found.searched_to is not None:
        return []
    last = place.page + (1 if found.has_older else 0)
    if totals.count is not None:
        last = max(last, -(-totals.count // staff.PAGE_SIZE))
    last = min(last, staff.MAX_PAGE)
    if last <= 1:
        return []
    as_of = _cursor_text((place.as_of or now, ""))
    around = range(place.page - PAGES_AROUND, place.page + PAGES_AROUND + 1)
    shown = sorted({page for page in (1, last, *around) if 1 <= page <= max(last, place.page)})
    links: list[Link | None] = []
    for before, page in zip([0, *shown], shown, strict=False):
        if page > before + 1:
            links.append(None)
        url = address.link(page=page, as_of=as_of) if page > 1 else address.link()
        links.append(Link(text=f"{page:,}", url=url, is_current=page == place.page))
    return links


def _row(order: ListedOrder) -> dict[str, Any]:
    return {
        "order": order,
        "kind": kind_label(order.kind),
        "state": state_label(order.state),
        "amount": yuan_display(order.amount_fen),
        "refunded": yuan_display(order.refunded_fen) if order.refunded_fen else "",
        "refunding": yuan_display(order.refunding_fen) if order.refunding_fen else "",
    }


def _shown_totals(totals: Totals, orders: Sequence[ListedOrder]) -> dict[str, Any]:
    """The filter's as far as they are known, and those of the page."""
    return {
        "totals": totals,
        "count": "" if totals.count is None else f"{totals.count:,}",
        "amount": "" if totals.amount_fen is None else yuan_display(totals.amount_fen),
        "refunded": "" if totals.refunded_fen is None else yuan_display(totals.refunded_fen),
        "page_count": len(orders),
        "page_amount": yuan_display(sum(order.amount_fen for order in orders)),
        "page_refunded": yuan_display(sum(order.refunded_fen for order in orders)),
    }


@admin.register(OrderIndex)
class OrderAdmin(ReadOnlyAdmin):
    """List and page are drawn from the selectors, so that each question reads every table once and nothing is saved."""

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> None:
        """There is no table behind the model: delete and history pages find nothing and lead back."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        address = Address(request)
        text = address.get("q")
        context = self._search(text) if text else self._list(request, address)
        if len(context.get("only", ())) == 1:
            return HttpResponseRedirect(reverse("admin:orders_orderindex_change", args=context["only"]))
        page = {
            **self.admin_site.each_context(request),
            "title": _("Orders"),
            "opts": self.opts,
            "text": text,
            **context,
        }
        return TemplateResponse(request, "admin/orders/list.html", page)

    @staticmethod
    def _search(text: str) -> dict[str, Any]:
        found = staff.find(text=text)
        return {
            "is_search": True,
            "only": [] if found.is_cut else [order.order_no for order in found.orders],
            "rows": [_row(order) for order in found.orders],
            "is_cut": found.is_cut,
            "limit": staff.SEARCH_LIMIT,
            "prefix_length": staff.PREFIX_LENGTH,
            "form": FilterForm(),
            "channels": CHANNELS,
        }

    @staticmethod
    def _list(request: HttpRequest, address: Address) -> dict[str, Any]:
        now = clock.now()
        form = FilterForm(address.values)
        period = Period.parse(address.get("on"))
        context: dict[str, Any] = {"form": form, "channels": CHANNELS, "hidden": address.hidden("on")}
        if not form.is_valid():
            return {**context, "chips": _chips(form, address, period), "is_refused": True}
        place = _place(address, now)
        notes = list(place.notes)
        if address.get("on") and period is None:
            notes.append(_now("The date was not understood; all dates are shown."))
        wanted = form.order_filter()
        if period is not None:
            wanted = period.within(wanted)
        bounds = staff.get_bounds()
        is_patient = address.get("wait") == "1"
        patience = staff.LONG if is_patient else staff.USUAL
        found = _slice(place, wanted, bounds[1] if bounds else None, patience)
        calendar = _calendar(address, period, wanted, bounds, patience)
        known_count = calendar.count if calendar else None
        totals = staff.get_totals(wanted=wanted, known_count=known_count, patience=patience)
        return {
            **context,
            "chips": _chips(form, address, period),
            "clear": reverse(LIST),
            "calendar": calendar,
            "rows": [_row(order) for order in found.orders],
            "found": found,
            "notes": notes,
            "sums": _shown_totals(totals, found.orders),
            "patient": "" if is_patient else address.link(wait=1, older=address.get("older")),
            "pager": _pager(address, place, found, totals, now),
        }

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            order = selectors.get_order(order_no=object_id)
        except NotFound as error:
            raise Http404 from error
        pointing = staff.list_pointing(order_no=order.order_no, business_no=order.business_no)
        refunds = [row for row in pointing.orders if row.original_order_no == order.order_no]
        subject = timeline.Subject(order=order, refund_nos=tuple(row.order_no for row in refunds))
        entries, sections = timeline.gather(subject=subject, may=request.user.has_perm)
        deeds = timeline.list_deeds(subject=subject, may=request.user.has_perm)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Order %(number)s") % {"number": order.order_no},
            "opts": self.opts,
            "order": order,
            "deeds": deeds,
            "kind": kind_label(order.kind),
            "state": state_label(order.state),
            "amount": yuan_display(order.amount_fen),
            "refunded": yuan_display(order.refunded_fen),
            "refunding": yuan_display(order.refunding_fen) if order.refunding_fen else "",
            "attempts": [
                {"attempt": row, "state": state_label(row.state), "amount": yuan_display(row.amount_fen)}
                for row in order.attempts
            ],
            "is_redpacket": order.kind.startswith("REDPACKET"),
            "refunds": [_row(row) for row in refunds],
            "related": [_row(row) for row in pointing.orders if row not in refunds],
            "is_cut": pointing.is_cut,
            "limit": staff.SEARCH_LIMIT,
            "entries": [
                {
                    "entry": entry,
                    "kind": str(ENTRY_KINDS[entry.kind]),
                    "title": _entry_title(entry),
                    "amount": "" if entry.amount_fen is None else yuan_display(entry.amount_fen),
                }
                for entry in entries
            ],
            "sections": [
                {"section": section, "tables": [_table(table) for table in section.tables]} for section in sections
            ],
        }
        return TemplateResponse(request, "admin/orders/page.html", context)


def _entry_title(entry: timeline.TimelineEntry) -> str:
    """States in words; titles of other apps as they come."""
    if entry.kind in (timeline.EntryKind.ORDER, timeline.EntryKind.ATTEMPT):
        return _now("paid") if entry.title == "PAID" else state_label(entry.title)
    return entry.title


def _table(table: timeline.DetailTable) -> dict[str, Any]:
    """Rows as pairs of column and cell with amounts in yuan."""
    return {
        "table": table,
        "rows": [
            [
                {
                    "column": column,
                    "cell": cell,
                    "amount": "" if cell.amount_fen is None else yuan_display(cell.amount_fen),
                }
                for column, cell in zip(table.columns, row, strict=True)
            ]
            for row in table.rows
        ],
    }
