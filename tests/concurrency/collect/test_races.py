"""Several people at the same receiving accounts in the same moment, with real commits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from django.db import connections

from collect.models import Binding
from collect.services import binding
from collect.services.binding import BindingExists
from tests.integration.collect import merchants
from tests.integration.collect.merchants import NOW

pytestmark = pytest.mark.usefixtures("committed_db")
ROUNDS = 5


def together(works: Sequence[Callable[[], Binding]]) -> list[Binding | Exception]:
    """Each in a thread and on a connection of its own, released at once; results or errors in order."""
    start, answers = threading.Barrier(len(works)), [None] * len(works)

    def run(place: int) -> None:
        start.wait()
        try:
            answers[place] = works[place]()
        except Exception as error:
            answers[place] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


def test_switches_in_the_same_moment_leave_one_account_in_use() -> None:
    for _ in range(ROUNDS):
        employee = merchants.merchant()
        rows = [merchants.approved(employee) for _ in range(4)]
        works = [partial(binding.activate, binding_id=row.pk, actor="staff:1", now=NOW) for row in rows]
        answers = together(works)
        assert [answer for answer in answers if not isinstance(answer, Binding)] == []
        states = sorted(Binding.objects.filter(enterprise_id=employee.enterprise_id).values_list("state", flat=True))
        assert states == ["ACTIVE", "DISABLED", "DISABLED", "DISABLED"]


def test_one_of_several_enterprises_gets_a_number() -> None:
    for _ in range(ROUNDS):
        number, rivals = merchants.wechat_number(), [merchants.merchant() for _ in range(4)]
        answers = together([partial(merchants.draft, rival, number=number) for rival in rivals])
        refusals = [answer for answer in answers if isinstance(answer, Exception)]
        assert [type(refusal) for refusal in refusals] == [BindingExists] * 3
        assert Binding.objects.filter(sub_merchant_no=number).count() == 1


def test_the_same_proposal_sent_four_times_at_once_is_one() -> None:
    for _ in range(ROUNDS):
        employee, number = merchants.merchant(), merchants.wechat_number()
        answers = together([partial(merchants.draft, employee, number=number)] * 4)
        assert len({answer.pk for answer in answers}) == 1
        row = Binding.objects.get(sub_merchant_no=number)
        assert list(row.events.values_list("state", flat=True)) == ["DRAFT"]
