"""Celery entries of callbacks to business backends, with the bell that rings them, and of checks at providers."""

from __future__ import annotations

from celery import shared_task

from foundation import bells, clock
from payments.services import callbacks_out, priorities

QUEUE = "callbacks"


@shared_task(name="payments.send_callbacks")
def send_callbacks() -> int:
    """Sends what is due; carries nothing, so a lost or doubled message does no harm. Returns how many were accepted."""
    return callbacks_out.send_due()


@shared_task(name=priorities.TASK)
def check_attempt(attempt_no: str) -> bool:
    """Asks the provider about one attempt; rung in the order of payments.services.priorities."""
    return priorities.check(attempt_no=attempt_no, now=clock.now())


def is_due() -> bool:
    """The relay's question."""
    return callbacks_out.is_due(now=clock.now())


bells.register(bells.Bell(name="payments.callbacks", due=is_due, task="payments.send_callbacks", queue=QUEUE))
