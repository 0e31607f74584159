"""The OpenAPI schema of an operation: which ones need a validator token stands there by itself."""

from __future__ import annotations

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter

from identity.api.permissions import SEQUENCE_HEADER, TOKEN_HEADER, RequiresToken

IN_ITS_OWN_SCRIPT = {"redpackets_grab"}
"""Operations that consume the token themselves, without the permission class."""
SOMETIMES = {"orders_attempts_create"}
"""Operations that need a token for some bodies only: paying from the wallet."""


class Schema(AutoSchema):
    """Adds X-Pay-Token and X-Pay-Seq to the operations that consume a number."""

    def get_override_parameters(self) -> list[Any]:
        parameters = list(super().get_override_parameters())
        name = self.get_operation_id()
        is_always = name in IN_ITS_OWN_SCRIPT or any(
            isinstance(permission, RequiresToken) for permission in self.view.get_permissions()
        )
        if is_always or name in SOMETIMES:
            parameters += _headers(is_required=is_always)
        return parameters


def _headers(*, is_required: bool) -> list[OpenApiParameter]:
    when = "" if is_required else "When `channel` is `wallet`: "
    texts = {
        TOKEN_HEADER: "the validator token, which event `validator.token` of GET push/events brought",
        SEQUENCE_HEADER: "a number of the token that no other request used: `sequence`, `sequence+1`, …",
    }
    return [
        OpenApiParameter(name, str, OpenApiParameter.HEADER, required=is_required, description=when + text)
        for name, text in texts.items()
    ]
