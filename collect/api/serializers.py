"""Shapes of scan to collect in the API (design api.md); amounts in fen."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.urls import reverse
from rest_framework import serializers

from collect.domain import addresses, rules
from collect.domain.rules import CodeKind
from collect.domain.states import BindingState, CodeState, CollectionState, CrmState
from collect.models import Binding, Code, Collection
from collect.selectors import MAX_DAYS, By, Figures, Wanted
from foundation import clock
from foundation.api.serializers import FenIntegerField, StrictIntegerField, StrictSerializer, TextField
from identity.models import Employee
from payments.api.serializers import PaymentSerializer

CHANNELS = list(rules.CHANNELS)
PAYER_SCENES = ["native", "h5", "jsapi"]
STATES = [state.value for state in CollectionState]
FIRST_YEAR, LAST_YEAR = 2020, 2100
"""Of statistics; before it there was no platform."""
DEFAULT_DAYS = 30


class MerchantRequest(StrictSerializer):
    channel = serializers.ChoiceField(choices=CHANNELS)
    sub_merchant_no = TextField(max_length=32, help_text="WeChat: sub_mchid; Alipay: the merchant's user id (2088…)")
    sub_appid = TextField(required=False, allow_blank=True, default="", max_length=32)
    display_name = TextField(max_length=rules.SUBJECT_MAX_CHARACTERS, help_text="what payers read")


class CodeRequest(StrictSerializer):
    """`order` needs amount, subject and CRM order, and serves once."""

    kind = serializers.ChoiceField(choices=[kind.value for kind in CodeKind])
    amount_fen = FenIntegerField(
        required=False, max_value=rules.MAX_AMOUNT_FEN, help_text="left out: the payer types it (`plain` only)"
    )
    subject = TextField(required=False, allow_blank=True, default="", max_length=rules.SUBJECT_MAX_CHARACTERS)
    crm_order_no = TextField(required=False, allow_blank=True, default="", max_length=64)
    is_once = serializers.BooleanField(required=False, default=False, help_text="ends with its first payment")
    expires_in_seconds = StrictIntegerField(
        required=False, min_value=60, max_value=366 * 86_400, help_text="left out: until it is disabled"
    )


class PayerRequest(StrictSerializer):
    """`scene` says where the payer is: `native` shows a QR code, `h5` opens the wallet from a phone's browser."""

    amount_fen = StrictIntegerField(required=False, help_text="needed where the code has no amount of its own")
    channel = serializers.ChoiceField(choices=CHANNELS)
    scene = serializers.ChoiceField(choices=PAYER_SCENES, required=False, default="native")
    openid = TextField(required=False, allow_blank=True, default="", max_length=64, help_text="for `jsapi`")


class CollectionRefundRequest(StrictSerializer):
    amount_fen = FenIntegerField(max_value=rules.MAX_AMOUNT_FEN)
    reason = TextField(max_length=60)


def _in_calendar(value: dt.date) -> None:
    """Near the ends of the calendar moving to another time zone overflows."""
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise serializers.ValidationError(f"must lie between the years {FIRST_YEAR} and {LAST_YEAR}")


class CodeListQuery(StrictSerializer):
    cursor = serializers.CharField(required=False, allow_blank=True, max_length=400)
    limit = serializers.IntegerField(required=False, min_value=1, max_value=100, default=20)
    state = serializers.ChoiceField(choices=[state.value for state in CodeState], required=False)


class CollectionFilterQuery(StrictSerializer):
    """What collections can be narrowed by; `from` counts, `to` is the first moment that does not."""

    state = serializers.ChoiceField(choices=STATES, required=False)
    channel = serializers.ChoiceField(choices=CHANNELS, required=False)
    code = serializers.CharField(required=False, max_length=16)
    created_from = serializers.DateTimeField(required=False, validators=[_in_calendar])
    created_to = serializers.DateTimeField(required=False, validators=[_in_calendar])

    def get_fields(self) -> dict[str, Any]:
        """`from` is a word of Python: the two moments are declared by longer names than the query has."""
        fields = super().get_fields()
        fields["from"], fields["to"] = fields.pop("created_from"), fields.pop("created_to")
        return fields

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "from" in attrs and "to" in attrs and attrs["from"] >= attrs["to"]:
            raise serializers.ValidationError({"to": ["must be later than from"]})
        if not rules.is_id(attrs.get("code", "2" * rules.ID_LENGTH)):
            raise serializers.ValidationError({"code": ["not the id of a code"]})
        return attrs

    def wanted(self) -> Wanted:
        data = self.validated_data
        return Wanted(
            state=data.get("state", ""),
            channel=data.get("channel", ""),
            code_id=data.get("code", ""),
            created_from=data.get("from"),
            created_to=data.get("to"),
        )


class CollectionListQuery(CollectionFilterQuery):
    cursor = serializers.CharField(required=False, allow_blank=True, max_length=400)
    limit = serializers.IntegerField(required=False, min_value=1, max_value=100, default=20)


class StatisticsQuery(StrictSerializer):
    """Business days; both count. Left out: the last DEFAULT_DAYS up to today."""

    first = serializers.DateField(required=False, validators=[_in_calendar])
    last = serializers.DateField(required=False, validators=[_in_calendar])
    by = serializers.ChoiceField(choices=[by.value for by in By], required=False, default=By.DAY.value)

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        fields["from"], fields["to"] = fields.pop("first"), fields.pop("last")
        return fields

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        last = attrs.setdefault("to", clock.business_date(clock.now()))
        first = attrs.setdefault("from", last - dt.timedelta(days=DEFAULT_DAYS - 1))
        if not 0 <= (last - first).days < MAX_DAYS:
            raise serializers.ValidationError({"to": [f"not before from, and at most {MAX_DAYS} days"]})
        return attrs


class StatementQuery(StrictSerializer):
    month = serializers.RegexField(r"^20[2-9][0-9]-(0[1-9]|1[0-2])$", help_text="YYYY-MM")


# --- answers ----------------------------------------------------------------------------------------------------------


class MerchantSerializer(serializers.Serializer):
    """A receiving account. Staff verify, approve and switch it; money goes to the one that is ACTIVE."""

    id = serializers.CharField()
    channel = serializers.ChoiceField(choices=CHANNELS)
    sub_merchant_no = serializers.CharField()
    sub_appid = serializers.CharField()
    display_name = serializers.CharField()
    state = serializers.ChoiceField(choices=[state.value for state in BindingState])
    created_at = serializers.DateTimeField()
    approved_at = serializers.DateTimeField(allow_null=True)


class MerchantAnswerSerializer(serializers.Serializer):
    merchant = MerchantSerializer()


class MerchantListSerializer(serializers.Serializer):
    items = MerchantSerializer(many=True)


class CollectorSerializer(serializers.Serializer):
    employee = serializers.CharField(help_text="the employee's code")
    name = serializers.CharField()


class CodeSerializer(serializers.Serializer):
    id = serializers.CharField()
    kind = serializers.ChoiceField(choices=[kind.value for kind in CodeKind])
    amount_fen = serializers.IntegerField(allow_null=True, help_text="null: the payer types it")
    subject = serializers.CharField()
    crm_order_no = serializers.CharField()
    is_once = serializers.BooleanField()
    state = serializers.ChoiceField(choices=[state.value for state in CodeState])
    is_payable = serializers.BooleanField(help_text="active and not over")
    collector = CollectorSerializer()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    svg_url = serializers.CharField()
    png_url = serializers.CharField()
    poster_url = serializers.CharField(help_text="a page to print")


class CodeAnswerSerializer(serializers.Serializer):
    code = CodeSerializer()
    url = serializers.CharField(help_text="what the QR code says: the payer's page")


class CodePageSerializer(serializers.Serializer):
    items = CodeSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class PayerStartedSerializer(serializers.Serializer):
    payment_no = serializers.CharField(help_text="for `collect/payments/{payment_no}`; nobody guesses it")
    state = serializers.ChoiceField(choices=STATES)
    amount_fen = serializers.IntegerField()
    expires_at = serializers.DateTimeField()
    payment = PaymentSerializer()


class PayerViewSerializer(serializers.Serializer):
    """What the payer may know of his payment: also his receipt."""

    payment_no = serializers.CharField()
    state = serializers.ChoiceField(choices=STATES)
    merchant = serializers.CharField(help_text="who receives the money")
    subject = serializers.CharField()
    channel = serializers.ChoiceField(choices=CHANNELS)
    amount_fen = serializers.IntegerField()
    refunded_fen = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    paid_at = serializers.DateTimeField(allow_null=True)
    provider_no = serializers.CharField(help_text="the channel's number of the payment; empty until it is paid")


class CollectionSerializer(serializers.Serializer):
    """A collection as the merchant sees it."""

    id = serializers.CharField()
    order_no = serializers.CharField()
    code = serializers.CharField()
    kind = serializers.ChoiceField(choices=[kind.value for kind in CodeKind])
    subject = serializers.CharField()
    crm_order_no = serializers.CharField()
    collector = CollectorSerializer()
    channel = serializers.ChoiceField(choices=CHANNELS)
    amount_fen = serializers.IntegerField()
    refunded_fen = serializers.IntegerField()
    state = serializers.ChoiceField(choices=STATES)
    provider_no = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    paid_at = serializers.DateTimeField(allow_null=True)


class CollectionDetailSerializer(CollectionSerializer):
    crm_state = serializers.ChoiceField(
        choices=[state.value for state in CrmState],
        allow_null=True,
        help_text="of its record in the CRM, if it has one",
    )


class CollectionAnswerSerializer(serializers.Serializer):
    collection = CollectionDetailSerializer()


class CollectionPageSerializer(serializers.Serializer):
    items = CollectionSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class CollectionRefundSerializer(serializers.Serializer):
    refund_no = serializers.CharField()
    order_no = serializers.CharField(help_text="of the collection")
    amount_fen = serializers.IntegerField()
    state = serializers.CharField()
    refunded_fen = serializers.IntegerField(help_text="of the collection, all refunds together")


class CollectionRefundAnswerSerializer(serializers.Serializer):
    refund = CollectionRefundSerializer()


class CollectFiguresSerializer(serializers.Serializer):
    count = serializers.IntegerField(help_text="collections that were paid")
    amount_fen = serializers.IntegerField()
    refunded_fen = serializers.IntegerField(help_text="what of this was given back, whenever")
    net_fen = serializers.IntegerField()


class CollectLineSerializer(CollectFiguresSerializer):
    key = serializers.CharField(help_text="day, code, employee's code or channel; empty: all codes that serve once")
    name = serializers.CharField(help_text="the code's subject or the employee's name")


class CollectStatisticsSerializer(serializers.Serializer):
    by = serializers.ChoiceField(choices=[by.value for by in By])
    total = CollectFiguresSerializer()
    items = CollectLineSerializer(many=True)

    def get_fields(self) -> dict[str, Any]:
        days = {"from": serializers.DateField(), "to": serializers.DateField()}
        return {**days, **super().get_fields()}


class CollectStatementSerializer(serializers.Serializer):
    """A month. Money went to the merchant's own accounts; the platform held none of it."""

    month = serializers.CharField()
    enterprise = serializers.CharField()
    total = CollectFiguresSerializer()
    days = CollectLineSerializer(many=True)
    channels = CollectLineSerializer(many=True)


# --- from models to shapes --------------------------------------------------------------------------------------------


def payer_url(code_id: str) -> str:
    """What stands in the QR code."""
    base: str = settings.PUBLIC_BASE_URL
    return base.rstrip("/") + addresses.page_path(code_id)


def merchant_data(row: Binding) -> dict[str, Any]:
    return dict(MerchantSerializer(row).data)


def code_data(row: Code, now: dt.datetime) -> dict[str, Any]:
    same = ("kind", "amount_fen", "subject", "crm_order_no", "is_once", "state", "created_at", "expires_at", "ended_at")
    is_over = row.expires_at is not None and row.expires_at <= now
    return dict(
        CodeSerializer(
            {
                **{name: getattr(row, name) for name in same},
                "id": row.pk,
                "is_payable": row.state == CodeState.ACTIVE and not is_over,
                "collector": _collector(row.employee),
                "svg_url": reverse("collect_svg", args=[row.pk]),
                "png_url": reverse("collect_png", args=[row.pk]),
                "poster_url": addresses.poster_path(row.pk),
            }
        ).data
    )


def code_answer(row: Code, now: dt.datetime) -> dict[str, Any]:
    return {"code": code_data(row, now), "url": payer_url(row.pk)}


def collection_data(row: Collection) -> dict[str, Any]:
    return dict(CollectionSerializer(_collection(row)).data)


def collection_detail(row: Collection) -> dict[str, Any]:
    record = getattr(row, "crm_record", None)
    return dict(CollectionDetailSerializer({**_collection(row), "crm_state": record.state if record else None}).data)


def _collection(row: Collection) -> dict[str, Any]:
    same = (
        *("order_no", "channel", "amount_fen", "refunded_fen", "state", "provider_no"),
        *("created_at", "expires_at", "paid_at"),
    )
    code = row.code
    return {
        **{name: getattr(row, name) for name in same},
        **{name: getattr(code, name) for name in ("kind", "subject", "crm_order_no")},
        "id": row.pk,
        "code": row.code_id,
        "collector": _collector(code.employee),
    }


def _collector(employee: Employee) -> dict[str, str]:
    return {"employee": employee.code, "name": employee.name}


def figures_data(figures: Figures) -> dict[str, int]:
    return dict(CollectFiguresSerializer(figures).data)


def lines_data(figures: Mapping[Any, Figures], names: Mapping[Any, tuple[str, str]]) -> list[dict[str, Any]]:
    """One line for each key; `names`: key → (what it is called outside, its name), where it is not the key itself."""
    found = []
    for key, value in figures.items():
        shown, name = names.get(key, (str(key), ""))
        found.append({"key": shown, "name": name, **figures_data(value)})
    return found
