"""Whose account an attempt pays into, when it is not ours (service-provider mode)."""

from __future__ import annotations

import datetime as dt

from django.db import IntegrityError, transaction

from foundation.db import roles
from foundation.errors import Broken
from gateway.models import AttemptReceiver
from gateway.ports import Receiver


def assign(*, attempt_no: str, channel: str, receiver: Receiver, now: dt.datetime) -> None:
    """Fixes the account before the provider hears of the attempt; repeating with the same one changes nothing.

    Raises Broken for another one: the provider may know the attempt under the first already.
    """
    try:
        with transaction.atomic(using=roles.alias_for("default")):
            AttemptReceiver.objects.create(
                attempt_no=attempt_no,
                channel=channel,
                account_no=receiver.account_no,
                appid=receiver.appid,
                created_at=now,
            )
    except IntegrityError as refusal:
        row = AttemptReceiver.objects.filter(pk=attempt_no).first()
        if row is None or (row.channel, row.account_no, row.appid) != (channel, receiver.account_no, receiver.appid):
            raise Broken({"attempt_no": attempt_no, "reason": "assigned to another receiver"}) from refusal
