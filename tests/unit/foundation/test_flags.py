"""For whom a flag is on: the order of its rules, and shares that grow without throwing anybody out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from foundation import flags
from foundation.flags import OUT, Answer, Enterprise, Person, Rule


class Tens:
    """Employee 123 is e123 of enterprise 12, code "c12"; numbers below ten are nobody's."""

    asked = 0

    def find_person(self, *, employee_id: int) -> Person | None:
        self.asked += 1
        if employee_id < 10:
            return None
        number = employee_id // 10
        return Person(
            employee_id=employee_id,
            employee_code=f"e{employee_id}",
            enterprise_id=number,
            enterprise_code=f"c{number}",
        )

    def list_enterprises(self, *, limit: int) -> Sequence[Enterprise]:
        return ()


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tens]:
    directory = Tens()
    monkeypatch.setattr(flags, "_directory", directory)
    flags._person.cache_clear()
    yield directory
    flags._person.cache_clear()


def ask(employee_id: int, **values: object) -> Answer:
    return flags.answer(Rule(name="probe", **values), employee_id=employee_id)  # type: ignore[arg-type]


@pytest.mark.usefixtures("people")
def test_the_first_rule_that_speaks_decides() -> None:
    everything = {
        "employees": frozenset({"c12/e123"}),
        "enterprises": frozenset({"c12"}),
        "enterprise_share": 1000,
        "employee_share": 1000,
    }
    assert ask(123, everyone=False, **everything) == Answer(is_in=False, by="everyone")
    assert ask(123, everyone=True) == Answer(is_in=True, by="everyone")
    assert ask(123, **everything) == Answer(is_in=True, by="employee")
    assert ask(124, **everything) == Answer(is_in=True, by="enterprise")
    assert ask(131, **everything) == Answer(is_in=True, by="enterprise share")
    assert ask(131, employee_share=1000) == Answer(is_in=True, by="employee share")
    assert ask(131) == OUT
    assert ask(131, employees=frozenset({"c12/e131", "e131"}), enterprises=frozenset({"12"})) == OUT


@pytest.mark.usefixtures("people")
def test_a_number_that_is_no_employees_is_reached_by_shares_of_employees_only() -> None:
    assert ask(7, enterprise_share=1000, enterprises=frozenset({"c0"})) == OUT
    assert ask(7, employee_share=1000).by == "employee share"


@pytest.mark.parametrize("kind", ["enterprise_share", "employee_share"])
@pytest.mark.usefixtures("people")
def test_a_share_grows_around_those_who_are_in(kind: str) -> None:
    everybody = range(10, 20_010)
    inside: set[int] = set()
    for share in (0, 10, 100, 250, 500, 999, 1000):
        found = {employee for employee in everybody if ask(employee, **{kind: share}).is_in}
        assert inside <= found
        assert abs(len(found) / len(everybody) - share / 1000) < 0.03
        inside = found
    assert inside == set(everybody)


@pytest.mark.usefixtures("people")
def test_colleagues_are_in_together_when_the_share_is_one_of_enterprises() -> None:
    for number in range(1, 300):
        answers = {ask(number * 10 + place, enterprise_share=300).is_in for place in range(10)}
        assert len(answers) == 1


def test_another_flag_deals_anew() -> None:
    one = {n for n in range(2000) if flags.answer(Rule(name="a", employee_share=500), employee_id=n).is_in}
    two = {n for n in range(2000) if flags.answer(Rule(name="b", employee_share=500), employee_id=n).is_in}
    assert 300 < len(one & two) < 700


def test_the_shares_are_the_same_for_ever() -> None:
    """Who is in today is in tomorrow, after an upgrade too."""
    found = [n for n in range(120) if flags.answer(Rule(name="a", employee_share=100), employee_id=n).is_in]
    assert found == [34, 61, 62, 73, 76, 79, 112, 114]


def test_who_an_employee_is_is_looked_up_once_and_only_where_it_matters(people: Tens) -> None:
    ask(123, employee_share=500)
    ask(123, everyone=True)
    assert people.asked == 0
    for _ in range(5):
        ask(123, enterprise_share=1)
    assert people.asked == 1
