"""Tables of the gateway, all in the default database: notices, channels and secrets, decisions and calls."""

from __future__ import annotations

from gateway.models.channels import SECRET_COLUMN, ChannelSetting, ClientGrade, Credential
from gateway.models.notices import Notice
from gateway.models.records import AttemptReceiver, CallRecord, RoutingDecision

__all__ = [
    "SECRET_COLUMN",
    "AttemptReceiver",
    "CallRecord",
    "ChannelSetting",
    "ClientGrade",
    "Credential",
    "Notice",
    "RoutingDecision",
]
