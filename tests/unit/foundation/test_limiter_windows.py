"""After how many seconds the next request fits into a sliding window."""

from __future__ import annotations

import pytest

from foundation.limiter_windows import wait_seconds


@pytest.mark.parametrize(
    ("counted", "expected"),
    [
        # ten within sixty seconds, all of them in the running window, which began this moment
        ((0, 0.0, 10, 120.0), 60),
        # … and which ends in seven seconds
        ((0, 0.0, 10, 67.0), 7),
        # the window before counts whole, and slides out: one of its ten is gone after a tenth of the time
        ((10, 60.0, 0, 120.0), 1),
        ((10, 60.0, 1, 120.0), 6),
        ((10, 60.0, 5, 120.0), 30),
        ((10, 30.0, 5, 90.0), 1),
        # a limit that was lowered meanwhile: twenty counted, ten allowed
        ((0, 0.0, 20, 120.0), 90),
        ((0, 0.0, 0, 0.0), 1),
    ],
)
def test_the_wait_is_until_enough_has_slid_out(counted: tuple[int, float, int, float], expected: int) -> None:
    assert wait_seconds(requests=10, seconds=60, counted=counted) == expected
