"""Strict input: unknown fields are refused, and an integer is an integer (not 1.5, not "10", not true)."""

from __future__ import annotations

import json
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request

from foundation.errors import InvalidRequest
from foundation.money import MAX_FEN


class StrictSerializer(serializers.Serializer):
    """A request body of which every field is known."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = sorted(str(name) for name in set(data) - set(self.fields))
            if unknown:
                raise serializers.ValidationError({name: ["unknown field"] for name in unknown[:20]})
        return super().to_internal_value(data)


class StrictIntegerField(serializers.IntegerField):
    """JSON integers only, within 64 bits."""

    default_error_messages = {"not_integer": "must be an integer"}

    def __init__(self, **options: Any) -> None:
        options.setdefault("min_value", -(2**63))
        options.setdefault("max_value", 2**63 - 1)
        super().__init__(**options)

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            self.fail("not_integer")
        return data


class FenIntegerField(StrictIntegerField):
    """An amount: a positive integer of fen, at most MAX_FEN."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("min_value", 1)
        options.setdefault("max_value", MAX_FEN)
        super().__init__(**options)


class TextField(serializers.CharField):
    """JSON strings only (DRF's own field takes numbers, too)."""

    default_error_messages = {"not_text": "must be a string"}

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("not_text")
        return super().to_internal_value(data)


def read(serializer_class: type[serializers.Serializer], request: Request) -> dict[str, Any]:
    """The validated body; raises a validation error (400 invalid_request with details per field)."""
    data = _body(request)
    if not isinstance(data, dict):
        raise InvalidRequest({"body": ["must be a JSON object"]})
    serializer = serializer_class(data=data)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def _body(request: Request) -> Any:
    """The parsed body, without what JSON can say but no column or answer can hold."""
    try:
        data = request.data
        json.dumps(data, ensure_ascii=False).encode()
    except RecursionError as error:  # thousands of brackets
        raise InvalidRequest({"body": ["nested too deeply"]}) from error
    except UnicodeEncodeError as error:  # half of a surrogate pair, such as "\\ud800"
        raise InvalidRequest({"body": ["not valid Unicode"]}) from error
    return data
