"""Shapes of red packets in the API (design api.md); amounts in fen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from foundation.api.serializers import FenIntegerField, StrictIntegerField, StrictSerializer, TextField
from foundation.money import MAX_FEN
from identity.models import Employee
from payments.api.serializers import CHANNELS, SCENES, OrderSerializer, PaymentSerializer
from redpacket.domain.states import PacketKind, PacketState
from redpacket.models import Share
from redpacket.selectors import PacketView
from redpacket.services.send import WALLET, PayBy

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
    pay = PayField()


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


class RedPacketDetailSerializer(RedPacketSerializer):
    shares = ShareSerializer(many=True, help_text="the claimed shares, oldest claim first")


class RedPacketAnswerSerializer(serializers.Serializer):
    redpacket = RedPacketDetailSerializer()


class RedPacketSentSerializer(serializers.Serializer):
    redpacket = RedPacketSerializer()
    order = OrderSerializer()
    payment = PaymentSerializer()


class RedPacketPageSerializer(serializers.Serializer):
    items = RedPacketSerializer(many=True)
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


def packet_detail(view: PacketView, people: Mapping[int, Employee], *, viewer_id: int) -> dict[str, Any]:
    """As `packet_data`, with the claimed shares."""
    shares = [{**_share(share), "receiver": _person(people, share.receiver_id)} for share in view.shares]
    return {**packet_data(view, people, viewer_id=viewer_id), "shares": ShareSerializer(shares, many=True).data}


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
