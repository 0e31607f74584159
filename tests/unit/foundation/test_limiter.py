"""Bounded admission: slots, those who wait, those who are refused, and what is measured of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from foundation import limiter
from foundation.limiter import Full, Limiter, Second, Size


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def make(slots: int, waiting: int = 0, wait_seconds: float = 5.0, clock: Callable[[], float] | None = None) -> Limiter:
    size = Size(slots=slots, waiting=waiting, wait_seconds=wait_seconds)
    return Limiter(name="probe", size=size, clock=clock or Hand())


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_the_next_one_is_refused_when_all_slots_are_taken_and_admitted_when_one_came_free() -> None:
    own = make(2)
    first, _ = own.enter("a"), own.enter("b")
    with pytest.raises(Full) as refused:
        own.enter("a")
    assert (refused.value.http_status, refused.value.code) == (503, "busy")
    assert (refused.value.retry_after_seconds, refused.value.details) == (1, {"limiter": "probe"})
    own.leave("a", first)
    own.enter("a")
    seen = own.figures()
    assert (seen.in_use, seen.waiting, seen.admitted, seen.waited, seen.refused) == (2, 0, 3, 0, 1)
    assert (seen.endpoints["a"].admitted, seen.endpoints["a"].refused, seen.endpoints["a"].in_use) == (2, 1, 1)
    assert (seen.endpoints["b"].admitted, seen.endpoints["b"].refused, seen.endpoints["b"].in_use) == (1, 0, 1)


def test_a_slot_is_given_back_when_the_work_fails() -> None:
    own = make(1)
    for _ in range(3):
        with pytest.raises(KeyError), own.slot("a"):
            raise KeyError
    assert own.figures().in_use == 0
    assert own.figures().admitted == 3


def test_who_waits_gets_the_slots_in_the_order_of_coming() -> None:
    own = make(1, waiting=3)
    held = own.enter()
    order: list[int] = []

    def come(number: int) -> None:
        with own.slot():
            order.append(number)

    threads = []
    for number in range(3):
        threads.append(threading.Thread(target=come, args=(number,)))
        threads[-1].start()
        until(lambda: own.figures().waiting == len(threads))
    with pytest.raises(Full):  # three wait already
        own.enter()
    own.leave(limiter.OTHER, held)
    for thread in threads:
        thread.join(10)
    assert order == [0, 1, 2]
    seen = own.figures()
    assert (seen.in_use, seen.waiting, seen.admitted, seen.waited, seen.refused) == (0, 0, 4, 3, 1)


def test_patience_ends_and_a_slot_that_comes_later_is_lost_to_nobody() -> None:
    own = make(1, waiting=1, wait_seconds=0.05)
    held = own.enter()
    began = time.monotonic()
    with pytest.raises(Full):
        own.enter()
    assert 0.045 <= time.monotonic() - began < 5
    own.leave(limiter.OTHER, held)
    with own.slot():
        pass
    seen = own.figures()
    assert (seen.in_use, seen.waiting, seen.refused) == (0, 0, 1)


def test_nobody_waits_for_slots_that_are_stuck() -> None:
    clock = Hand()
    own = make(2, waiting=2, wait_seconds=5.0, clock=clock)
    own.enter()
    clock.at += 4.0
    own.enter()
    clock.at += 5.0  # the one taken last, too, is held longer than anybody waits
    began = time.monotonic()
    with pytest.raises(Full):
        own.enter()
    assert time.monotonic() - began < 2
    assert own.figures().waiting == 0


def test_nobody_waits_whose_turn_will_not_come_in_time() -> None:
    """Requests of 10 s, all begun together; patience 4 s. Who comes 5 s later would wait in vain."""
    clock = Hand()
    own = make(2, waiting=2, wait_seconds=4.0, clock=clock)
    early = own.enter()
    clock.at += 10.0
    own.leave(limiter.OTHER, early)
    own.enter()
    clock.at += 2.0
    second = own.enter()
    clock.at += 3.0  # the first slot is expected in 5 s
    with pytest.raises(Full):
        own.enter()
    assert own.figures().waiting == 0
    clock.at += 3.5
    own.leave(limiter.OTHER, second)
    second = own.enter()  # 6.5 s among those of 10 s: slots are expected in 1.2 s and 9.7 s, so one may wait, not two
    began: list[float] = []
    thread = threading.Thread(target=lambda: began.append(own.enter()))
    thread.start()
    until(lambda: own.figures().waiting == 1)
    with pytest.raises(Full):
        own.enter()
    own.leave(limiter.OTHER, second)
    thread.join(10)
    assert (len(began), own.figures().refused) == (1, 2)


def test_more_slots_go_to_who_waits_and_fewer_are_reached_as_they_come_free() -> None:
    own = make(1, waiting=2)
    held = own.enter()
    began: list[float] = []
    thread = threading.Thread(target=lambda: began.append(own.enter()))
    thread.start()
    until(lambda: own.figures().waiting == 1)
    own.resize(Size(slots=2, waiting=2, wait_seconds=5.0))
    thread.join(10)
    assert (len(began), own.figures().in_use) == (1, 2)
    own.resize(Size(slots=1, waiting=0, wait_seconds=5.0))
    own.leave(limiter.OTHER, held)
    assert own.figures().in_use == 1
    with pytest.raises(Full):
        own.enter()
    own.leave(limiter.OTHER, began[0])
    own.enter()
    assert own.figures().in_use == 1


def test_concurrency_and_latency_are_measured_by_the_second() -> None:
    clock = Hand()
    own = make(2, clock=clock)
    first = own.enter()
    clock.at = 100.5
    second = own.enter()
    with pytest.raises(Full):
        own.enter()
    clock.at = 101.25
    own.leave(limiter.OTHER, first)
    clock.at = 104.0
    own.leave(limiter.OTHER, second)
    clock.at = 110.0  # nothing happens for a while: no rows
    assert own.figures().seconds == (
        Second(at=100, busy_seconds=1.5, refused=1, most_in_use=2),
        Second(at=101, finished=1, held_seconds=1.25, busy_seconds=1.25, most_in_use=2),
        Second(at=102, busy_seconds=1.0, most_in_use=1),
        Second(at=103, busy_seconds=1.0, most_in_use=1),
        Second(at=104, finished=1, held_seconds=3.5, most_in_use=1),
    )


def test_a_very_long_request_does_not_fill_the_window_one_by_one() -> None:
    clock = Hand()
    own = make(1, clock=clock)
    own.enter()
    clock.at += 10_000_000.0
    assert len(own.figures().seconds) == 1


def test_names_of_endpoints_are_bounded() -> None:
    own = make(1)
    for number in range(limiter.MAX_ENDPOINTS + 50):
        with own.slot(f"e{number}"):
            pass
    seen = own.figures().endpoints
    assert len(seen) == limiter.MAX_ENDPOINTS + 1
    assert (seen[limiter.OTHER].admitted, seen[limiter.OTHER].in_use) == (50, 0)


def test_a_crowd_never_holds_more_than_the_slots_and_everybody_is_told_something() -> None:
    own = Limiter(name="crowd", size=Size(slots=3, waiting=4, wait_seconds=0.02))
    lock = threading.Lock()
    inside = most = 0
    outcomes: list[bool] = []

    def come() -> None:
        nonlocal inside, most
        for _ in range(60):
            try:
                with own.slot():
                    with lock:
                        inside += 1
                        most = max(most, inside)
                    time.sleep(0.0005)
                    with lock:
                        inside -= 1
            except Full:
                outcomes.append(False)
            else:
                outcomes.append(True)

    threads = [threading.Thread(target=come) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = own.figures()
    assert most == 3
    assert (seen.in_use, seen.waiting) == (0, 0)
    assert (seen.admitted, seen.refused) == (outcomes.count(True), outcomes.count(False))
    assert len(outcomes) == 960


def test_a_decorated_function_holds_a_slot_of_the_named_limiter() -> None:
    own_name = "test.decorated"

    @limiter.limited(own_name, Size(slots=1, waiting=0, wait_seconds=0))
    def outer(depth: int) -> str:
        """Said by the function."""
        return "done" if depth == 0 else outer(depth - 1)

    assert (outer(0), outer.__doc__) == ("done", "Said by the function.")
    with pytest.raises(Full):
        outer(1)
    seen = limiter.all_named()[own_name].figures()
    assert (seen.in_use, seen.admitted, seen.refused) == (0, 2, 1)


@pytest.mark.parametrize("wrong", [{"slots": 0}, {"waiting": -1}, {"wait_seconds": -0.1}])
def test_a_limiter_without_slots_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="slot"):
        Size(**{"slots": 1, "waiting": 0, "wait_seconds": 0, **wrong})
