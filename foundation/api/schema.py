"""Pieces of the OpenAPI schema that every endpoint shares."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers


class ErrorDetailSerializer(serializers.Serializer):
    code = serializers.CharField()
    message = serializers.CharField()
    details = serializers.DictField()
    request_id = serializers.CharField()


class ErrorSerializer(serializers.Serializer):
    """The one shape of errors."""

    error = ErrorDetailSerializer()


IDEMPOTENCY_HEADER = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    required=True,
    description="1-64 printable ASCII characters; the same key and body give the first answer again.",
)


def error_responses(*statuses: int) -> dict[int, type[ErrorSerializer]]:
    """`{status: ErrorSerializer}` for extend_schema's responses; 503 is always one: a server behind us may be away."""
    return dict.fromkeys(sorted({*statuses, 503}), ErrorSerializer)
