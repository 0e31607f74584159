"""The merchants' endpoints of scan to collect. Each parses, makes one service call and translates the answer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from collect import selectors
from collect.api import exports
from collect.api.serializers import (
    CodeAnswerSerializer,
    CodeListQuery,
    CodePageSerializer,
    CodeRequest,
    CollectionAnswerSerializer,
    CollectionFilterQuery,
    CollectionListQuery,
    CollectionPageSerializer,
    CollectStatementSerializer,
    CollectStatisticsSerializer,
    MerchantAnswerSerializer,
    MerchantListSerializer,
    MerchantRequest,
    StatementQuery,
    StatisticsQuery,
    code_answer,
    code_data,
    collection_data,
    collection_detail,
    figures_data,
    lines_data,
    merchant_data,
    payer_url,
)
from collect.api.throttles import PayerThrottle
from collect.domain import rules
from collect.domain.rules import CodeKind
from collect.domain.states import CodeState
from collect.models import Code
from collect.selectors import By, Figures, Viewer
from collect.services import binding, codes, pictures
from collect.services.binding import Maker
from collect.services.codes import CodeWish, Collector
from foundation import clock
from foundation.api import cursors
from foundation.api.schema import error_responses
from foundation.api.serializers import read
from foundation.errors import PermissionDenied
from foundation.exports import Cell, csv_lines
from identity import selectors as identity
from identity.models import Employee

PICTURE_SECONDS = 86_400
"""A code's picture never changes."""
CURSOR, LIMIT = OpenApiParameter("cursor", str), OpenApiParameter("limit", int)
_MOMENTS = (
    OpenApiParameter("from", OpenApiTypes.DATETIME, description="begun then or later"),
    OpenApiParameter("to", OpenApiTypes.DATETIME, description="begun before"),
)
_FILTERS = (
    OpenApiParameter("state", str, enum=["OPEN", "PAID", "CLOSED", "REFUNDED"]),
    OpenApiParameter("channel", str, enum=list(rules.CHANNELS)),
    OpenApiParameter("code", str, description="the id of a collection code"),
    *_MOMENTS,
)


def employee_of(request: Request) -> Employee:
    employee = request.user
    assert isinstance(employee, Employee)  # the permission class lets nobody else through
    return employee


def viewer_of(request: Request) -> Viewer:
    me = employee_of(request)
    return selectors.get_viewer(employee_id=me.pk, enterprise_id=me.enterprise_id)


def _after(cursor: str, kind: str) -> list[str] | None:
    """The position that a cursor of this list names."""
    if not cursor:
        return None
    match cursors.decode(cursor):
        case [str(of), str(at), str(key)] if of == kind and rules.is_id(key):
            return [cursors.moment(at).isoformat(), key]
        case _:
            raise cursors.bad_cursor()


def _cursor(kind: str, position: Sequence[str] | None) -> str | None:
    return cursors.encode([kind, *position]) if position else None


class AnyAccept(DefaultContentNegotiation):
    """For endpoints that answer a file: whatever is accepted, refusals are JSON."""

    def select_renderer(
        self, request: Request, renderers: Iterable[Any], format_suffix: str | None = None
    ) -> tuple[Any, str]:
        first = next(iter(renderers))
        return first, first.media_type


def _csv(rows: Iterable[Sequence[Cell]], name: str) -> StreamingHttpResponse:
    answer = StreamingHttpResponse(csv_lines(rows), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    answer["Cache-Control"] = "no-store"
    return answer


# --- receiving accounts -----------------------------------------------------------------------------------------------


class MerchantsView(APIView):
    """Bind a receiving account of the own enterprise; list them. For its collection managers."""

    @extend_schema(
        operation_id="collect_merchants_create",
        request=MerchantRequest,
        responses={201: MerchantAnswerSerializer, **error_responses(400, 401, 403, 409, 413, 415)},
    )
    def post(self, request: Request) -> Response:
        """Nothing goes there before staff have verified it, others of them approved it, and it is taken into use."""
        data = read(MerchantRequest, request)
        viewer = _manager(request)
        row = binding.propose(
            enterprise_id=viewer.enterprise_id,
            maker=Maker(employee_id=viewer.employee_id),
            now=clock.now(),
            **data,
        )
        return Response({"merchant": merchant_data(row)}, status=201)

    @extend_schema(
        operation_id="collect_merchants_list",
        responses={200: MerchantListSerializer, **error_responses(401, 403)},
    )
    def get(self, request: Request) -> Response:
        rows = selectors.list_bindings(enterprise_id=_manager(request).enterprise_id)
        return Response({"items": [merchant_data(row) for row in rows]})


def _manager(request: Request) -> Viewer:
    viewer = viewer_of(request)
    if not viewer.is_manager:
        raise PermissionDenied({"reason": "for collection managers of the enterprise"})
    return viewer


# --- codes ------------------------------------------------------------------------------------------------------------


class CodesView(APIView):
    """Make a collection code; list the own ones (a manager: the enterprise's)."""

    @extend_schema(
        operation_id="collect_codes_create",
        request=CodeRequest,
        responses={201: CodeAnswerSerializer, **error_responses(400, 401, 413, 415)},
    )
    def post(self, request: Request) -> Response:
        data = read(CodeRequest, request)
        me = employee_of(request)
        now = clock.now()
        row = codes.create_code(
            code_id=codes.issue_id(),
            collector=Collector(employee_id=me.pk, enterprise_id=me.enterprise_id),
            wish=CodeWish(**{**data, "kind": CodeKind(data["kind"])}),
            now=now,
        )
        return Response(code_answer(row, now), status=201)

    @extend_schema(
        operation_id="collect_codes_list",
        parameters=[
            CURSOR,
            LIMIT,
            OpenApiParameter("state", str, enum=[state.value for state in CodeState]),
        ],
        responses={200: CodePageSerializer, **error_responses(400, 401)},
    )
    def get(self, request: Request) -> Response:
        query = CodeListQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        data = query.validated_data
        rows, position = selectors.list_codes(
            viewer=viewer_of(request),
            state=data.get("state", ""),
            after=_after(data.get("cursor", ""), "codes"),
            limit=data["limit"],
        )
        now = clock.now()
        return Response({"items": [code_data(row, now) for row in rows], "next_cursor": _cursor("codes", position)})


class CodeView(APIView):
    """One code of the own."""

    @extend_schema(
        operation_id="collect_codes_retrieve", responses={200: CodeAnswerSerializer, **error_responses(401, 404)}
    )
    def get(self, request: Request, code_id: str) -> Response:
        row = selectors.get_own_code(code_id=code_id, viewer=viewer_of(request))
        return Response(code_answer(row, clock.now()))


class CodeDisableView(APIView):
    """End a code: nobody begins a payment with it any more."""

    @extend_schema(
        operation_id="collect_codes_disable",
        request=None,
        responses={200: CodeAnswerSerializer, **error_responses(401, 404, 410)},
    )
    def post(self, request: Request, code_id: str) -> Response:
        viewer, now = viewer_of(request), clock.now()
        selectors.get_own_code(code_id=code_id, viewer=viewer)
        codes.disable_code(code_id=code_id, enterprise_id=viewer.enterprise_id, now=now)
        return Response(code_answer(selectors.get_own_code(code_id=code_id, viewer=viewer), now))


class _PictureView(APIView):
    """For whoever was shown the code: it stands on posters."""

    authentication_classes: Sequence[Any] = ()
    permission_classes: Sequence[Any] = ()
    throttle_classes = (*APIView.throttle_classes, PayerThrottle)
    content_negotiation_class = AnyAccept

    def answer(self, code_id: str, kind: str) -> HttpResponse:
        url = payer_url(selectors.get_code(code_id=code_id).pk)
        is_svg = kind == "svg"
        content = pictures.draw_svg(url=url) if is_svg else pictures.draw_png(url=url)
        answer = HttpResponse(content, content_type="image/svg+xml" if is_svg else "image/png")
        answer["Cache-Control"] = f"public, max-age={PICTURE_SECONDS}"
        return answer


class SvgView(_PictureView):
    """The QR code as SVG."""

    @extend_schema(
        operation_id="collect_codes_svg",
        responses={(200, "image/svg+xml"): OpenApiTypes.BINARY, **error_responses(404, 429)},
    )
    def get(self, request: Request, code_id: str) -> HttpResponse:
        return self.answer(code_id, "svg")


class PngView(_PictureView):
    """The QR code as PNG."""

    @extend_schema(
        operation_id="collect_codes_png",
        responses={(200, "image/png"): OpenApiTypes.BINARY, **error_responses(404, 429)},
    )
    def get(self, request: Request, code_id: str) -> HttpResponse:
        return self.answer(code_id, "png")


# --- the merchant's collections ---------------------------------------------------------------------------------------


class CollectionsView(APIView):
    """Collections of the own codes (a manager: the enterprise's), newest first."""

    @extend_schema(
        operation_id="collect_collections_list",
        parameters=[CURSOR, LIMIT, *_FILTERS],
        responses={200: CollectionPageSerializer, **error_responses(400, 401)},
    )
    def get(self, request: Request) -> Response:
        query = CollectionListQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        data = query.validated_data
        rows, position = selectors.list_collections(
            viewer=viewer_of(request),
            wanted=query.wanted(),
            after=_after(data.get("cursor", ""), "collections"),
            limit=data["limit"],
        )
        items = [collection_data(row) for row in rows]
        return Response({"items": items, "next_cursor": _cursor("collections", position)})


class CollectionsCsvView(APIView):
    """The same list as a table for spreadsheets, without pages."""

    content_negotiation_class = AnyAccept

    @extend_schema(
        operation_id="collect_collections_export",
        parameters=list(_FILTERS),
        responses={(200, "text/csv"): OpenApiTypes.STR, **error_responses(400, 401)},
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        query = CollectionFilterQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        rows = selectors.export_collections(viewer=viewer_of(request), wanted=query.wanted())
        return _csv(exports.collection_rows(rows), f"collections-{clock.business_date(clock.now())}")


class OneCollectionView(APIView):
    """One collection."""

    @extend_schema(
        operation_id="collect_collections_retrieve",
        responses={200: CollectionAnswerSerializer, **error_responses(401, 404)},
    )
    def get(self, request: Request, collection_id: str) -> Response:
        row = selectors.get_own_collection(collection_id=collection_id, viewer=viewer_of(request))
        return Response({"collection": collection_detail(row)})


# --- statistics, statements -------------------------------------------------------------------------------------------


class StatisticsView(APIView):
    """What was collected, by day, code, employee or channel: of the own codes (a manager: of the enterprise)."""

    @extend_schema(
        operation_id="collect_statistics",
        parameters=[
            OpenApiParameter("from", OpenApiTypes.DATE, description="business day; 29 days before `to` if left out"),
            OpenApiParameter("to", OpenApiTypes.DATE, description="business day, counts too; today if left out"),
            OpenApiParameter("by", str, enum=[by.value for by in By], description="`day` if left out"),
        ],
        responses={200: CollectStatisticsSerializer, **error_responses(400, 401)},
    )
    def get(self, request: Request) -> Response:
        query = StatisticsQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        data = query.validated_data
        viewer, by = viewer_of(request), By(data["by"])
        figures = _figures(viewer, first=data["from"], last=data["to"], by=by)
        content = {
            "from": data["from"],
            "to": data["to"],
            "by": by.value,
            "total": figures_data(sum(figures.values(), Figures())),
            "items": lines_data(figures, _names(figures, by)),
        }
        return Response(content)


def _figures(viewer: Viewer, *, first: dt.date, last: dt.date, by: By) -> dict[Any, Figures]:
    return selectors.get_statistics(
        enterprise_id=viewer.enterprise_id,
        employee_id=None if viewer.is_manager else viewer.employee_id,
        first=first,
        last=last,
        by=by,
    )


def _names(figures: dict[Any, Figures], by: By) -> dict[Any, tuple[str, str]]:
    """How keys of the figures are shown."""
    if by is By.EMPLOYEE:
        people = identity.get_employees(employee_ids=list(figures))
        return {key: (person.code, person.name) for key, person in people.items()}
    if by is By.CODE:
        rows = Code.objects.filter(pk__in=[key for key in figures if key]).values_list("pk", "subject")
        return {key: (key, subject) for key, subject in rows}
    return {}


class StatementView(APIView):
    """The statement of a month."""

    @extend_schema(
        operation_id="collect_statement",
        parameters=[OpenApiParameter("month", str, required=True, description="YYYY-MM")],
        responses={200: CollectStatementSerializer, **error_responses(400, 401)},
    )
    def get(self, request: Request) -> Response:
        month, days, channels, total = _statement(request)
        content = {
            "month": month,
            "enterprise": employee_of(request).enterprise.name,
            "total": figures_data(total),
            "days": lines_data(days, {}),
            "channels": lines_data(channels, {}),
        }
        return Response(content)


class StatementCsvView(APIView):
    """The statement of a month as a table for spreadsheets."""

    content_negotiation_class = AnyAccept

    @extend_schema(
        operation_id="collect_statement_export",
        parameters=[OpenApiParameter("month", str, required=True, description="YYYY-MM")],
        responses={(200, "text/csv"): OpenApiTypes.STR, **error_responses(400, 401)},
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        month, days, channels, total = _statement(request)
        return _csv(exports.statement_rows(days=days, channels=channels, total=total), f"statement-{month}")


def _statement(request: Request) -> tuple[str, dict[Any, Figures], dict[Any, Figures], Figures]:
    query = StatementQuery(data=request.query_params.dict())
    query.is_valid(raise_exception=True)
    month: str = query.validated_data["month"]
    first, last = selectors.month_days(dt.date.fromisoformat(f"{month}-01"))
    viewer = viewer_of(request)
    days = _figures(viewer, first=first, last=last, by=By.DAY)
    channels = _figures(viewer, first=first, last=last, by=By.CHANNEL)
    return month, days, channels, sum(days.values(), Figures())
