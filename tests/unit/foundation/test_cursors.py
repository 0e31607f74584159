"""Cursors come back as they went out, and nothing else comes back at all."""

from __future__ import annotations

import base64
import datetime as dt

import pytest

from foundation.api import cursors
from foundation.errors import InvalidRequest


@pytest.mark.parametrize("values", [[1], ["2026-11-22T10:00:00+08:00", "PA1"], [], [2**63], [None, True]])
def test_a_cursor_decodes_to_what_was_encoded(values: list[object]) -> None:
    text = cursors.encode(values)
    assert text.isascii()
    assert set("+/= ") & set(text) == set()  # goes into an address as it is
    assert cursors.decode(text) == values


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "!!!!",
        "企业",
        "\x00",
        encoded(b"\xff\xfe"),
        encoded(b"{}"),
        encoded(b'"text"'),
        encoded(b"1"),
        encoded(b"[1"),
        encoded(b"[" * 100_000),
        encoded(b"[" + b"9" * 5000 + b"]"),
        encoded('["企业"]'.encode()),
        encoded(b'["\\ud800"]'),
    ],
    ids=lambda cursor: ascii(cursor)[:20],
)
def test_anything_else_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        cursors.decode(cursor)
    assert refused.value.details == {"cursor": ["not a cursor of this list"]}


def test_a_moment_is_read_in_utc() -> None:
    assert cursors.moment("2026-11-22T10:00:00.000001+08:00") == dt.datetime(2026, 11, 22, 2, 0, 0, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-22T10:00:00",
        "yesterday",
        "",
        5,
        None,
        [],
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "1999-12-31T00:00:00+00:00",
    ],
)
def test_a_moment_without_zone_or_at_the_calendars_end_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest):
        cursors.moment(value)
