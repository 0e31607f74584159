"""Endpoints of red packets. Each parses, makes one service call and translates the answer."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import get_language
from django.views.decorators.http import require_safe
from drf_spectacular.utils import OpenApiParameter, extend_schema
from redis.exceptions import RedisError
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from foundation import clock
from foundation.api import cursors, idempotency
from foundation.api.schema import IDEMPOTENCY_HEADER, error_responses
from foundation.api.serializers import read
from identity import selectors as identity
from identity.api.permissions import IsEmployee, RequiresToken, presented_token
from identity.models import Employee
from payments.api.serializers import OrderSerializer
from payments.domain.people import Person
from payments.services import numbers
from redpacket import selectors
from redpacket.api import front_door
from redpacket.api.serializers import (
    ClaimListQuery,
    ClaimPageSerializer,
    GrabAnswerSerializer,
    ReadingSerializer,
    RedPacketAnswerSerializer,
    RedPacketListQuery,
    RedPacketPageSerializer,
    RedPacketRequest,
    RedPacketSentSerializer,
    StatisticsQuery,
    StatisticsSerializer,
    claims_cursor,
    claims_data,
    packet_data,
    packet_detail,
    packet_listed,
    reading_data,
    statistics_data,
)
from redpacket.domain import rules
from redpacket.domain.articles import Article
from redpacket.domain.states import PacketKind
from redpacket.models import Share
from redpacket.selectors import PacketView
from redpacket.services import articles, grab, send, statistics

_SHARE_ID = re.compile(r"[1-9][0-9]{0,17}")
"""What fits into a BIGINT."""
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing inline, nothing from elsewhere, in nobody's frame."""


def _person(request: Request) -> Person:
    employee = request.user
    assert isinstance(employee, Employee)  # the permission class lets nobody else through
    return Person(employee_id=employee.pk, enterprise_id=employee.enterprise_id)


def _people(views: Iterable[PacketView]) -> dict[int, Employee]:
    """The employees that the packets name."""
    wanted: set[int | None] = set()
    for view in views:
        wanted |= {view.packet.sender_id, view.packet.receiver_id, *(share.receiver_id for share in view.shares)}
        wanted.add(view.best.receiver_id if view.best else None)
    return _employees(wanted)


def _receivers(shares: Sequence[Share]) -> dict[int, Employee]:
    return _employees({share.receiver_id for share in shares})


def _employees(wanted: set[int | None]) -> dict[int, Employee]:
    return identity.get_employees(employee_ids=[employee_id for employee_id in wanted if employee_id is not None])


class RedPacketsView(APIView):
    """Send a red packet; list the sent and the received ones."""

    def get_permissions(self) -> list[BasePermission]:
        return [IsEmployee(), RequiresToken()] if self.request.method == "POST" else [IsEmployee()]

    @extend_schema(
        operation_id="redpackets_create",
        request=RedPacketRequest,
        responses={201: RedPacketSentSerializer, **error_responses(400, 401, 403, 404, 409, 413, 415, 422, 503)},
        parameters=[IDEMPOTENCY_HEADER],
    )
    def post(self, request: Request) -> Response:
        data = read(RedPacketRequest, request)
        sender = _person(request)
        new = send.NewPacket(
            kind=PacketKind(data["kind"].upper()),
            total_fen=data["total_fen"],
            count=data["count"],
            receiver_code=data.get("receiver", ""),
            group_id=data.get("group", ""),
            greeting=data["greeting"],
            lifetime_seconds=data.get("expires_in_seconds"),
            cover=data["cover"],
            article=Article(**data["article"]) if "article" in data else None,
        )

        def work(order_no: str) -> Response:
            sent = send.send_packet(order_no=order_no, sender=sender, new=new, pay=data["pay"], now=clock.now())
            view = selectors.get_view(packet_id=sent.packet.pk, viewer=sender)
            answer = {
                "redpacket": packet_data(view, _people([view]), viewer_id=sender.employee_id),
                "order": OrderSerializer(sent.order).data,
                "payment": dict(sent.payment),
            }
            return Response(answer, status=201)

        return idempotency.respond(
            request=request,
            endpoint="redpackets",
            reserve=lambda: numbers.issue(prefix=numbers.Prefix.REDPACKET_SEND, account_id=sender.employee_id),
            work=work,
        )

    @extend_schema(
        operation_id="redpackets_list",
        parameters=[
            OpenApiParameter("box", str, enum=["sent", "received"], required=True),
            OpenApiParameter("cursor", str),
            OpenApiParameter("limit", int),
        ],
        responses={200: RedPacketPageSerializer, **error_responses(400, 401)},
    )
    def get(self, request: Request) -> Response:
        query = RedPacketListQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        data = query.validated_data
        viewer = _person(request)
        list_box = selectors.list_sent if data["box"] == "sent" else selectors.list_received
        after = _after(data.get("cursor", ""), box=data["box"])
        page = list_box(viewer=viewer, after=after, limit=data["limit"])
        people = _people(page.items)
        items = [packet_listed(view, people, viewer_id=viewer.employee_id) for view in page.items]
        cursor = cursors.encode([data["box"], *page.next_after]) if page.next_after else None
        return Response({"items": items, "next_cursor": cursor})


def _after(cursor: str, *, box: str) -> list[str] | None:
    """The position that a cursor of this box names."""
    if not cursor:
        return None
    match cursors.decode(cursor):
        case ["sent", str(packet_id)] if box == "sent" and rules.is_packet_id(packet_id):
            return [packet_id]
        case ["received", str(claimed_at), str(share_id)] if box == "received" and _SHARE_ID.fullmatch(share_id):
            return [cursors.moment(claimed_at).isoformat(), share_id]
        case _:
            raise cursors.bad_cursor()


class RedPacketView(APIView):
    """One packet with its first claimed shares: for its sender and for those it goes to."""

    @extend_schema(
        operation_id="redpackets_retrieve",
        responses={200: RedPacketAnswerSerializer, **error_responses(401, 404)},
    )
    def get(self, request: Request, packet_id: str) -> Response:
        viewer = _person(request)
        view = selectors.get_view(packet_id=packet_id, viewer=viewer)
        return Response({"redpacket": packet_detail(view, _people([view]), viewer_id=viewer.employee_id)})


class ClaimsView(APIView):
    """The claimed shares of a packet, oldest claim first: for its sender and for those it goes to."""

    @extend_schema(
        operation_id="redpackets_claims",
        parameters=[OpenApiParameter("cursor", str), OpenApiParameter("limit", int)],
        responses={200: ClaimPageSerializer, **error_responses(400, 401, 404)},
    )
    def get(self, request: Request, packet_id: str) -> Response:
        query = ClaimListQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        data = query.validated_data
        packet = selectors.get_visible(packet_id=packet_id, viewer=_person(request))
        after = _after_claim(data.get("cursor", ""), packet_id=packet.pk)
        page = selectors.list_claims(packet_id=packet.pk, after=after, limit=data["limit"])
        items = claims_data(page.items, _receivers(page.items))
        return Response({"items": items, "next_cursor": claims_cursor(packet.pk, page.next_after)})


def _after_claim(cursor: str, *, packet_id: str) -> list[str] | None:
    """The position that a cursor of this packet names."""
    if not cursor:
        return None
    match cursors.decode(cursor):
        case [str(of), str(claimed_at), str(share_no)] if of == packet_id and _SHARE_ID.fullmatch(share_no):
            return [cursors.moment(claimed_at).isoformat(), share_no]
        case _:
            raise cursors.bad_cursor()


class ReadingView(APIView):
    """Start reading the article of a packet; call it again after `seconds_left`, then the packet can be grabbed."""

    @extend_schema(
        operation_id="redpackets_reading",
        request=None,
        responses={200: ReadingSerializer, **error_responses(401, 403, 404, 409)},
    )
    def post(self, request: Request, packet_id: str) -> Response:
        progress = articles.read_article(packet_id=packet_id, reader=_person(request), now=clock.now())
        return Response(reading_data(progress))


class StatisticsView(APIView):
    """What the caller sent and received in a year, by month."""

    @extend_schema(
        operation_id="redpackets_statistics",
        parameters=[OpenApiParameter("year", int, description="the present one when left out")],
        responses={200: StatisticsSerializer, **error_responses(400, 401)},
    )
    def get(self, request: Request) -> Response:
        query = StatisticsQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        year = query.validated_data.get("year", clock.business_date(clock.now()).year)
        return Response(statistics_data(statistics.read_person_year(person=_person(request), year=year)))


@require_safe
def article_page(request: HttpRequest, packet_id: str) -> HttpResponse:
    """The page of an article packet. It says nothing of the packet: its script asks the API as who logs in there."""
    if not rules.is_packet_id(packet_id):
        raise Http404
    is_chinese = (get_language() or "").startswith("zh")
    response = render(request, "redpacket/article.html", {"packet_id": packet_id, "is_chinese": is_chinese})
    response["Content-Security-Policy"] = PAGE_POLICY
    return response


class GrabView(APIView):
    """Grab a share. Needs no idempotency key: packet and employee are its key.

    The twin of `redpacket.api.front_door`, which answers the usual requests before Django sees them. It asks the same
    service, who knows from Redis who calls; the database is asked for the caller only where that is not possible.
    """

    def get_permissions(self) -> list[BasePermission]:
        """A POST looks itself; the validator token is consumed by the script of the grab."""
        return [] if self.request.method == "POST" else [IsEmployee()]

    def get_throttles(self) -> list[BaseThrottle]:
        """A POST's employee is judged by the script of the grab, which knows him without the database."""
        return [] if self.request.method == "POST" else super().get_throttles()

    def perform_authentication(self, request: Request) -> None:
        if request.method != "POST":
            super().perform_authentication(request)

    @extend_schema(
        operation_id="redpackets_grab",
        request=None,
        responses={200: GrabAnswerSerializer, **error_responses(400, 401, 403, 404, 409, 410, 429, 503)},
    )
    def post(self, request: Request, packet_id: str) -> Response:
        result = self._by_session(request, packet_id) or self._by_employee(request, packet_id)
        return Response(dataclasses.asdict(result))

    def _by_session(self, request: Request, packet_id: str) -> grab.GrabResult | None:
        """As the front door; None for requests that it does not take, and when Redis is away or the door is shut."""
        if not rules.is_packet_id(packet_id) or not front_door.has_no_body(request.META):
            return None
        try:
            return grab.grab_with_access_token(
                packet_id=packet_id,
                access_token=front_door.access_token(request.META),
                presented=front_door.presented(request.META, request.path),
                now=clock.now(),
            )
        except (front_door.Unusual, grab.KeptOut, RedisError):
            return None

    def _by_employee(self, request: Request, packet_id: str) -> grab.GrabResult:
        """The caller by the database; works without Redis."""
        if not IsEmployee().has_permission(request, self):
            self.permission_denied(request)
        for throttle in super().get_throttles():
            throttle.allow_request(request, self)  # those of ours raise what they refuse with
        return grab.grab(
            packet_id=packet_id, employee=_person(request), now=clock.now(), presented=presented_token(request)
        )
