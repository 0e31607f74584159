"""All rows are closed anew while the command is killed, others write, and keys come and go."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from foundation import crypto, encryption
from foundation.db import transactions
from tests.concurrency.foundation.closed_notes import COLUMN, INDEX_KEYS, KEYS, note_model, variable
from tests.system import ROOT, environment

TABLE = "test_closed_note"
ROWS = 2_000
MANY_ROWS = 1_000_000
PATIENCE_SECONDS = 600.0

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def note(committed_db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Any]]:
    """An empty table, under the old keys alone."""
    monkeypatch.setattr(encryption, "_columns", dict(encryption._columns))
    model = note_model()
    _know(settings, "old", index="first")
    with connections["default"].cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {TABLE}")
    with connections["default"].schema_editor() as editor:
        editor.create_model(model)
    yield model
    with connections["default"].schema_editor() as editor:
        editor.delete_model(model)


def _know(settings: Settings, *kids: str, index: str = "") -> None:
    settings.ENCRYPTION_KEYS = {kid: KEYS[kid] for kid in kids}
    if index:
        settings.BLIND_INDEX_KEYS = {kid: INDEX_KEYS[kid] for kid in index.split()}


def fill(note: type[Any], count: int) -> None:
    """Note n says "n"; each third has nothing in the second column, each fifth no present index."""
    for start in range(1, count + 1, 5_000):
        rows = []
        for number in range(start, min(start + 5_000, count + 1)):
            index = crypto.blind_index(f"{number}:{number}", column=COLUMN)
            rows.append(
                note(
                    id=number,
                    text=crypto.encrypt(str(number), column=COLUMN),
                    second=crypto.encrypt(f"second {number}", column=COLUMN) if number % 3 else "",
                    text_index=index,
                    present_index=index if number % 5 else None,
                )
            )
        note.objects.using("default").bulk_create(rows, batch_size=5_000)


def start(*arguments: str) -> subprocess.Popen[str]:
    keys = {"PAYSYS_ENCRYPTION_KEYS": variable(KEYS), "PAYSYS_BLIND_INDEX_KEYS": variable(INDEX_KEYS)}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.concurrency.foundation.closed_notes", "rotate", "--table", TABLE, *arguments],
        cwd=ROOT,
        env=environment(**keys),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until_closed(note: type[Any], count: int, child: subprocess.Popen[str]) -> int:
    """Waits until the child has closed so many rows; returns how many they are."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends:
        done = int(note.objects.using("default").filter(text__startswith="v1:new:").count())
        if done >= count:
            return done
        assert child.poll() is None, child.stdout and child.stdout.read()
        time.sleep(0.01 if count < ROWS else 1.0)  # counting a million rows is work, too
    raise AssertionError("the command closes nothing")


def check_all(note: type[Any], count: int, index_key: str, settings: Settings) -> None:
    """Every row says what it said, under the new keys alone."""
    _know(settings, "new", index=index_key)
    seen = 0
    for row in note.objects.using("default").order_by("id").iterator(chunk_size=5_000):
        seen += 1
        assert crypto.decrypt(row.text, column=COLUMN) == str(row.id)
        assert (crypto.decrypt(row.second, column=COLUMN) if row.second else "") == (
            f"second {row.id}" if row.id % 3 else ""
        )
        index = crypto.blind_index(f"{row.id}:{row.id}", column=COLUMN)
        assert (row.text_index, row.present_index) == (index, index if row.id % 5 else None)
    assert seen == count


def test_killed_it_goes_on_where_work_is_left(
    note: type[Any], settings: Settings, nightly: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    count = MANY_ROWS if nightly else ROWS
    fill(note, count)
    first = str(note.objects.using("default").get(pk=1).text)
    began = time.monotonic()
    slowly = [] if nightly else ["--batch", "20", "--pause", "0.02"]
    child = start(*slowly)
    wait_until_closed(note, count // 10, child)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    half = int(note.objects.using("default").filter(text__startswith="v1:new:").count())
    assert count // 10 <= half < count

    child = start(*slowly)
    wait_until_closed(note, half + count // 10, child)
    child.send_signal(signal.SIGTERM)
    said, _ = child.communicate(timeout=PATIENCE_SECONDS)
    assert child.returncode == 1, said
    assert "stopped; start it again" in said
    third = int(note.objects.using("default").filter(text__startswith="v1:new:").count())
    assert half + count // 10 <= third < count

    child = start()
    said, _ = child.communicate(timeout=3600)
    assert child.returncode == 0, said
    assert f"{TABLE}: {count - third} rows closed with new" in said
    assert said.endswith("nothing is left to close\n")
    with capsys.disabled():
        print(f"\nrotation of {count} rows, killed and stopped once each: {time.monotonic() - began:.1f} s")
    check_all(note, count, "second", settings)
    with pytest.raises(crypto.CannotDecrypt):
        crypto.decrypt(first, column=COLUMN)


def test_a_change_of_somebody_else_is_not_lost(
    note: type[Any], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(note, 30)
    changed = crypto.encrypt("changed", column=COLUMN)
    _know(settings, "old", "new")
    real = transactions.run
    meddled: list[int] = []

    def meddle(work: Any, *, using: str) -> Any:
        # Between the reading and the writing of the first batch.
        if not meddled:
            meddled.append(note.objects.using("default").filter(pk=7).update(text=changed))
        return real(work, using=using)

    monkeypatch.setattr(transactions, "run", meddle)
    done = encryption.rotate(table=TABLE, batch_rows=10)
    assert (done.closed, done.left, done.unopened, meddled) == (30, 0, 0, [1])
    _know(settings, "new")
    row = note.objects.using("default").get(pk=7)
    assert (row.text[:7], crypto.decrypt(row.text, column=COLUMN)) == ("v1:new:", "changed")


def test_what_is_changed_every_time_is_left_and_said(
    note: type[Any], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(note, 3)
    changes = iter([crypto.encrypt(str(number), column=COLUMN) for number in range(100)])
    _know(settings, "old", "new")
    real = transactions.run

    def meddle(work: Any, *, using: str) -> Any:
        note.objects.using("default").filter(pk=2).update(text=next(changes))
        return real(work, using=using)

    monkeypatch.setattr(transactions, "run", meddle)
    with pytest.raises(CommandError, match=f"{TABLE}: 1 rows were changed by others each time"):
        call_command("encryption", "rotate", "--table", TABLE, stdout=io.StringIO())
    assert crypto.key_id(note.objects.using("default").get(pk=2).text) == "old"


def test_a_row_that_cannot_be_opened_is_named_and_stops_no_other(note: type[Any], settings: Settings) -> None:
    fill(note, 20)
    rows = note.objects.using("default")
    rows.filter(pk=4).update(second=crypto.encrypt("x", column="other.column"))
    before = rows.get(pk=4)
    _know(settings, "old", "new")
    with pytest.raises(CommandError, match=f"{TABLE}: 1 rows cannot be opened \\(4 "):
        call_command("encryption", "rotate", "--table", TABLE, stdout=io.StringIO())
    after = rows.get(pk=4)
    assert (after.text, after.second) == (before.text, before.second)
    assert encryption.count_by_key(table=TABLE) == {
        f"{TABLE}.second": {"new": 14 - 1, "old": 1},
        f"{TABLE}.text": {"new": 19, "old": 1},
    }


def test_status_counts_rows_by_key(note: type[Any], settings: Settings) -> None:
    fill(note, 10)
    note.objects.using("default").filter(pk=3).update(text="open")
    _know(settings, "old", "new")
    encryption.rotate(table=TABLE, batch_rows=4, stop=lambda: True)
    out = io.StringIO()
    call_command("encryption", "status", "--json", "--table", TABLE, stdout=out)
    answer = json.loads(out.getvalue())
    # The first batch was notes 1 to 4, of which 3 is not closed at all; note 3 has no second text.
    assert answer["columns"] == {f"{TABLE}.second": {"new": 3, "old": 4}, f"{TABLE}.text": {"?": 1, "new": 3, "old": 6}}
    assert (answer["newest"], answer["may_go"], answer["guarded_indexes"]) == ("new", [], {})


def test_a_batch_is_written_by_one_statement(note: type[Any], settings: Settings) -> None:
    fill(note, 30)
    _know(settings, "old", "new", index="first second")
    assert encryption.count_due(table=TABLE) == 30
    with CaptureQueriesContext(connections["default"]) as seen:
        done = encryption.rotate(table=TABLE, batch_rows=10)
    assert done.closed == 30
    assert sum(query["sql"].startswith("UPDATE") for query in seen.captured_queries) == 3
    check_all(note, 30, "second", settings)
    _know(settings, "old", "new")
    assert encryption.count_due(table=TABLE) == 0


def test_progress_says_how_much_is_done_and_how_long_it_takes(
    note: type[Any], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(note, 30)
    _know(settings, "old", "new")
    monkeypatch.setattr("foundation.management.commands.encryption.SAY_EVERY_SECONDS", 0.0)
    out = io.StringIO()
    call_command("encryption", "rotate", "--table", TABLE, "--batch", "20", stdout=out)
    first, second, *rest = out.getvalue().splitlines()
    assert re.fullmatch(f"{TABLE}: 20 rows closed, 20 of 30 read, [0-9]+ a second, about [0-9]+ s left", first)
    assert re.fullmatch(f"{TABLE}: 30 rows closed, 30 of 30 read, [0-9]+ a second, about 0 s left", second)
    assert rest == [f"{TABLE}: 30 rows closed with new", "nothing is left to close"]


def test_text_of_every_kind_comes_back_as_it_was(note: type[Any], settings: Settings) -> None:
    """Quotes, percent signs and backslashes inside, empty and long text, rows of which only one column is old."""
    texts = ["'", '"', "%s", "\\", "%%(x)s", "汉字 🧧", "x" * 150]
    for number, text in enumerate(texts, 1):
        note.objects.using("default").create(id=number, text=crypto.encrypt(text, column=COLUMN), text_index="i")
    note.objects.using("default").create(id=100, text=None, second=crypto.encrypt("", column=COLUMN), text_index="i")
    _know(settings, "old", "new")
    fresh = crypto.encrypt("new already", column=COLUMN)
    note.objects.using("default").filter(pk=1).update(second=fresh)
    assert encryption.rotate(table=TABLE).closed == len(texts) + 1
    _know(settings, "new")
    rows = note.objects.using("default")
    found = rows.filter(pk__lt=100).order_by("pk").values_list("text", flat=True)
    assert [crypto.decrypt(stored, column=COLUMN) for stored in found] == texts
    assert rows.get(pk=1).second == fresh
    assert (rows.get(pk=100).text, crypto.decrypt(rows.get(pk=100).second, column=COLUMN)) == (None, "")


def test_indexes_follow_a_second_key_though_the_closing_key_stays(note: type[Any], settings: Settings) -> None:
    fill(note, 20)
    _know(settings, "old", index="first second")
    wanted = crypto.blind_indexes("7:7", column=COLUMN)
    assert note.objects.using("default").filter(text_index__in=wanted).count() == 1
    done = encryption.rotate(table=TABLE)
    assert (done.closed, encryption.rotate(table=TABLE).closed) == (20, 0)
    _know(settings, "old", index="second")
    found = note.objects.using("default").get(text_index=crypto.blind_index("7:7", column=COLUMN))
    assert (found.pk, crypto.decrypt(found.text, column=COLUMN)) == (7, "7")
