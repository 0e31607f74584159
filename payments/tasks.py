"""Celery entry of the callbacks to business backends, and the bell that rings it."""

from __future__ import annotations

from celery import shared_task

from foundation import bells, clock
from payments.services import callbacks_out

QUEUE = "callbacks"


@shared_task(name="payments.send_callbacks")
def send_callbacks() -> int:
    """Sends what is due; carries nothing, so a lost or doubled message does no harm. Returns how many were accepted."""
    return callbacks_out.send_due()


def is_due() -> bool:
    """The relay's question."""
    return callbacks_out.is_due(now=clock.now())


bells.register(bells.Bell(name="payments.callbacks", due=is_due, task="payments.send_callbacks", queue=QUEUE))
