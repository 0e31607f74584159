"""Shapes of red packets in the API (design api.md); amounts in fen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from foundation.api import cursors
from foundation.api.serializers import FenIntegerField, StrictIntegerField, StrictSerializer, TextField
from foundation.money import MAX_FEN
from identity.models import Employee
from payments.api.serializers import CHANNELS, SCENES, OrderSerializer, PaymentSerializer
from redpacket.domain import articles, rules
from redpacket.domain.states import PacketKind, PacketState
from redpacket.models import Share
from redpacket.selectors import PacketView
from redpacket.services import statistics
from redpacket.services.articles import Progress
from redpacket.services.send import WALLET, PayBy
from redpacket.services.statistics import PersonYear

KINDS = [kind.value.lower() for kind in PacketKind]


class PayChannelRequest(StrictSerializer):
    channel = serializers.ChoiceField(choices=CHANNELS)
    scene = serializers.ChoiceField(choices=SCENES)


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string", "enum": [WALLET]},
            {
                "type": "object",
                "properties": {
                    "channel": {"type": "string", "enum": CHANNELS},
                    "scene": {"type": "string", "enum": SCENES},
                },
                "required": ["channel", "scene"],
                "additionalProperties": False,
            },
        ]
    }
)
class PayField(serializers.Field):
    """`"wallet"` or `{channel, scene}`."""

    default_error_messages = {"invalid": 'Must be "wallet" or an object with channel and scene.'}

    def to_internal_value(self, data: Any) -> PayBy:
        if data == WALLET:
            return PayBy(source=WALLET)
        if not isinstance(data, Mapping):
            self.fail("invalid")
        request = PayChannelRequest(data=data)
        request.is_valid(raise_exception=True)
        return PayBy(source=request.validated_data["channel"], scene=request.validated_data["scene"])

    def to_representation(self, value: PayBy) -> Any:
        return value.source if value.source == WALLET else {"channel": value.source, "scene": value.scene}


class ArticleRequest(StrictSerializer):
    url = TextField(max_length=articles.URL_MAX_CHARACTERS)
    reading_seconds = StrictIntegerField(min_value=articles.MIN_READING_SECONDS, max_value=articles.MAX_READING_SECONDS)


class RedPacketRequest(StrictSerializer):
    """`receiver` is an employee's code of the own enterprise (normal), `group` a group's id (lucky)."""

    kind = serializers.ChoiceField(choices=KINDS)
    total_fen = FenIntegerField(max_value=MAX_FEN)
    count = StrictIntegerField(min_value=1)
    receiver = TextField(required=False, max_length=32)
    group = TextField(required=False, max_length=32)
    greeting = TextField(required=False, allow_blank=True, default="")
    expires_in_seconds = StrictIntegerField(
        required=False, min_value=1, help_text="life from the opening on; at most, and by default, the platform's"
    )
    cover = serializers.ChoiceField(choices=rules.COVERS, required=False, default=rules.DEFAULT_COVER)
    article = ArticleRequest(required=False, help_text="the packet opens for who has read the article this long")
    pay = PayField()


class ClaimListQuery(StrictSerializer):
    cursor = serializers.CharField(required=False, allow_blank=True, max_length=400)
    limit = serializers.IntegerField(required=False, min_value=1, max_value=200, default=50)


class StatisticsQuery(StrictSerializer):
    year = serializers.IntegerField(required=False, min_value=statistics.FIRST_YEAR, max_value=statistics.LAST_YEAR)


class RedPacketListQuery(StrictSerializer):
    box = serializers.ChoiceField(choices=["sent", "received"])
    cursor = serializers.CharField(required=False, allow_blank=True, max_length=400)
    limit = serializers.IntegerField(required=False, min_value=1, max_value=100, default=20)


class PersonSerializer(serializers.Serializer):
    employee = serializers.CharField(help_text="the employee's code")
    name = serializers.CharField()


class OwnShareSerializer(serializers.Serializer):
    share_no = serializers.IntegerField()
    amount_fen = serializers.IntegerField()
    claimed_at = serializers.DateTimeField()
    is_settled = serializers.BooleanField(help_text="true when the money is in the wallet")


class ShareSerializer(OwnShareSerializer):
    receiver = PersonSerializer()


class RedPacketSerializer(serializers.Serializer):
    """A packet; `rest_fen` is known when it has closed, `mine` is the caller's own share."""

    id = serializers.CharField()
    kind = serializers.ChoiceField(choices=KINDS)
    state = serializers.ChoiceField(choices=[state.value for state in PacketState])
    total_fen = serializers.IntegerField()
    count = serializers.IntegerField()
    claimed_fen = serializers.IntegerField()
    claimed_count = serializers.IntegerField()
    rest_fen = serializers.IntegerField(allow_null=True)
    greeting = serializers.CharField()
    sender = PersonSerializer()
    receiver = PersonSerializer(allow_null=True)
    group = serializers.CharField(allow_null=True)
    order_no = serializers.CharField(allow_null=True, help_text="the order that pays it; for its sender only")
    created_at = serializers.DateTimeField()
    opened_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    closed_at = serializers.DateTimeField(allow_null=True)
    mine = OwnShareSerializer(allow_null=True)


class ArticleSerializer(serializers.Serializer):
    url = serializers.CharField()
    reading_seconds = serializers.IntegerField()


class BestLuckSerializer(serializers.Serializer):
    """The luckiest share (手气最佳) of a lucky packet; of equal ones the one claimed first."""

    share_no = serializers.IntegerField()
    amount_fen = serializers.IntegerField()
    receiver = PersonSerializer()
    is_mine = serializers.BooleanField()


class RedPacketListedSerializer(RedPacketSerializer):
    cover = serializers.ChoiceField(choices=rules.COVERS)
    article = ArticleSerializer(allow_null=True, help_text="it must be read before the packet can be grabbed")
    best_luck = BestLuckSerializer(allow_null=True, help_text="known when the packet is exhausted or has expired")


class RedPacketDetailSerializer(RedPacketListedSerializer):
    shares = ShareSerializer(many=True, help_text="the first claimed shares, oldest claim first")
    claims_cursor = serializers.CharField(allow_null=True, help_text="where `claims` goes on; null: these are all")


class RedPacketAnswerSerializer(serializers.Serializer):
    redpacket = RedPacketDetailSerializer()


class RedPacketSentSerializer(serializers.Serializer):
    redpacket = RedPacketSerializer()
    order = OrderSerializer()
    payment = PaymentSerializer()


class ClaimPageSerializer(serializers.Serializer):
    items = ShareSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class ReadingSerializer(serializers.Serializer):
    """How far the caller's reading is; at 0 seconds left he may grab."""

    started_at = serializers.DateTimeField()
    reading_seconds = serializers.IntegerField()
    seconds_left = serializers.IntegerField()


class FiguresSerializer(serializers.Serializer):
    sent_count = serializers.IntegerField(help_text="packets that opened")
    sent_fen = serializers.IntegerField()
    received_count = serializers.IntegerField(help_text="shares claimed")
    received_fen = serializers.IntegerField()
    best_luck_count = serializers.IntegerField(help_text="closed lucky packets whose best share is the caller's")


class MonthSerializer(FiguresSerializer):
    month = serializers.IntegerField(min_value=1, max_value=12)


class StatisticsSerializer(serializers.Serializer):
    year = serializers.IntegerField()
    total = FiguresSerializer()
    months = MonthSerializer(many=True, help_text="January to December, business time")


class RedPacketPageSerializer(serializers.Serializer):
    items = RedPacketListedSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class GrabAnswerSerializer(serializers.Serializer):
    result = serializers.ChoiceField(choices=["grabbed", "already"])
    amount_fen = serializers.IntegerField()
    share_no = serializers.IntegerField()


def packet_data(view: PacketView, people: Mapping[int, Employee], *, viewer_id: int) -> dict[str, Any]:
    """`redpacket` of api.md; `people` holds the employees that it names."""
    packet = view.packet
    fields = {
        "id": packet.pk,
        "kind": packet.kind.lower(),
        "claimed_fen": view.claimed_fen,
        "claimed_count": view.claimed_count,
        "sender": _person(people, packet.sender_id),
        "receiver": None if packet.receiver_id is None else _person(people, packet.receiver_id),
        "group": packet.group_id or None,
        "order_no": packet.funding_order_no if packet.sender_id == viewer_id else None,
        "mine": None if view.mine is None else _share(view.mine),
    }
    same = ("state", "total_fen", "count", "rest_fen", "greeting", "created_at", "opened_at", "expires_at", "closed_at")
    return dict(RedPacketSerializer({**fields, **{name: getattr(packet, name) for name in same}}).data)


def packet_listed(view: PacketView, people: Mapping[int, Employee], *, viewer_id: int) -> dict[str, Any]:
    """As `packet_data`, with cover, article and best luck."""
    packet, best = view.packet, view.best
    article = {"url": packet.article_url, "reading_seconds": packet.reading_seconds} if packet.article_url else None
    luck = None
    if best is not None:
        luck = {
            "share_no": best.share_no,
            "amount_fen": best.amount_fen,
            "receiver": _person(people, best.receiver_id),
            "is_mine": best.receiver_id == viewer_id,
        }
    return {
        **packet_data(view, people, viewer_id=viewer_id),
        "cover": packet.cover,
        "article": article,
        "best_luck": luck,
    }


def packet_detail(view: PacketView, people: Mapping[int, Employee], *, viewer_id: int) -> dict[str, Any]:
    """As `packet_listed`, with the first claimed shares and where the others follow."""
    return {
        **packet_listed(view, people, viewer_id=viewer_id),
        "shares": claims_data(view.shares, people),
        "claims_cursor": claims_cursor(view.packet.pk, view.claims_after),
    }


def claims_data(shares: Iterable[Share], people: Mapping[int, Employee]) -> Any:
    rows = [{**_share(share), "receiver": _person(people, share.receiver_id)} for share in shares]
    return ShareSerializer(rows, many=True).data


def claims_cursor(packet_id: str, after: Sequence[str] | None) -> str | None:
    """The cursor of a position in the claims of this packet."""
    return cursors.encode([packet_id, *after]) if after else None


def reading_data(progress: Progress) -> dict[str, Any]:
    return dict(ReadingSerializer(progress).data)


def statistics_data(year: PersonYear) -> dict[str, Any]:
    months = [{"month": number, **asdict(figures)} for number, figures in enumerate(year.months, start=1)]
    return dict(StatisticsSerializer({"year": year.year, "total": year.total, "months": months}).data)


def _share(share: Share) -> dict[str, Any]:
    return {
        "share_no": share.share_no,
        "amount_fen": share.amount_fen,
        "claimed_at": share.claimed_at,
        "is_settled": share.settled_at is not None,
    }


def _person(people: Mapping[int, Employee], employee_id: int | None) -> dict[str, str]:
    employee = people[employee_id] if employee_id is not None else None
    assert employee is not None
    return {"employee": employee.code, "name": employee.name}
