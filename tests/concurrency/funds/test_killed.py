"""kill -9 in the middle of postings, of the posting process and of MariaDB: every time the books are clean.

Nothing acknowledged is lost, nothing is booked twice, and what was in doubt is booked at most once by its repetition.
The seed is printed; PAYSYS_KILL_SEED repeats it (who is killed when and what is posted; not the scheduler's part).
"""

from __future__ import annotations

import io
import json
import os
import random
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connections

from funds import proof
from funds.services import ledger
from paysys import proofs
from tests.concurrency.funds.board import State
from tests.concurrency.funds.crew import Crew
from tests.concurrency.funds.servers import LedgerServer

pytestmark = pytest.mark.usefixtures("committed_db")
POSTERS = 4
PROCESS_KILLS, PROCESS_KILLS_NIGHTLY = 8, 50
SERVER_KILLS, SERVER_KILLS_NIGHTLY = 2, 10
CONTROL_KILLS = 20
"""A control must be found within so many kills; each has a better than even chance."""


@pytest.fixture
def seed() -> int:
    chosen = int(os.environ.get("PAYSYS_KILL_SEED") or random.randrange(2**32))
    print(f"PAYSYS_KILL_SEED={chosen}")
    return chosen


@pytest.fixture
def scratch_ledger(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Empty tables of the same shape in a database of their own: a control breaks these books and not the session's."""
    connection = connections[ledger.alias()]
    name = f"test_paysys_scratch_{uuid.uuid4().hex[:12]}"
    with connection.cursor() as cursor:
        cursor.execute("SHOW FULL TABLES WHERE Table_type = 'BASE TABLE'")
        tables = [row[0] for row in cursor.fetchall()]
        cursor.execute(f"CREATE DATABASE {name}")
        for table in tables:
            cursor.execute(f"CREATE TABLE {name}.{table} LIKE {table}")
    connection.close()
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "NAME", name)
        yield
        connection.close()
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name}")


def assert_money_proves() -> None:
    """`manage.py money prove` as an operator types it."""
    output = io.StringIO()
    call_command("money", "prove", "--json", stdout=output)
    assert json.loads(output.getvalue())["balanced"] is True


def test_posters_killed_at_random_moments_leave_clean_books(tmp_path: Path, seed: int, nightly: bool) -> None:
    kills = PROCESS_KILLS_NIGHTLY if nightly else PROCESS_KILLS
    with Crew(tmp_path, size=POSTERS, seed=seed) as crew:
        for _ in range(kills):
            crew.let_work(shortest=0.05, longest=0.6)
            crew.kill_one()
            crew.rest()
            assert crew.check(proofs.prove) == []
            crew.replace_the_dead()
        crew.let_work(shortest=0.3, longest=0.3)
        crew.rest()
        assert crew.check(proofs.prove) == []
        figures = crew.figures
    assert_money_proves()
    print(figures)
    inside = sum(figures.states_at_death[state.name] for state in (State.POSTING, State.COMMITTING))
    assert figures.kills == kills
    assert inside >= kills // 8
    assert figures.lost_in_doubt + figures.committed_in_doubt >= inside // 2
    assert figures.journals >= 20 * kills
    assert figures.refused > 0


@pytest.mark.kills_services
def test_mariadb_killed_at_random_moments_leaves_clean_books(tmp_path: Path, seed: int, nightly: bool) -> None:
    kills = SERVER_KILLS_NIGHTLY if nightly else SERVER_KILLS
    server, away = LedgerServer(tmp_path / "mariadb.log"), []
    with Crew(tmp_path, size=POSTERS, seed=seed) as crew:
        for _ in range(kills):
            crew.let_work(shortest=0.2, longest=1.0)
            connections.close_all()
            server.kill()
            away.append(round(server.start(), 1))
            crew.let_work(shortest=0.2, longest=0.4)
            crew.rest()
            assert crew.check(proofs.prove) == []
        figures = crew.figures
    assert_money_proves()
    print(figures, f"seconds away: {away}")
    assert figures.cut_off >= kills // 2
    assert figures.journals >= 50 * kills


@pytest.mark.parametrize(
    ("fault", "finding"),
    [
        ("acknowledges_early", "acknowledged but lost: "),
        ("repeats_under_new_references", "booked from nowhere: "),
        ("posts_without_transaction", "proof: "),
    ],
)
def test_control_the_same_kills_find_a_poster_that_does_it_wrong(
    tmp_path: Path, scratch_ledger: None, seed: int, fault: str, finding: str
) -> None:
    """Clean without a kill, so the kills alone bring it to light."""
    with Crew(tmp_path, size=1, seed=seed, fault=fault) as crew:
        crew.let_work(shortest=0.2, longest=0.2)
        crew.rest()
        assert crew.check(proof.prove) == []
        found: list[str] = []
        while not found and crew.figures.kills < CONTROL_KILLS:
            crew.let_work(shortest=0.03, longest=0.1)
            crew.kill_one()
            found = crew.check(proof.prove)
            crew.replace_the_dead()
            crew.let_work(shortest=0.05, longest=0.05)
            crew.rest()
            found = found or crew.check(proof.prove)
        print(fault, crew.figures.kills, found)
        assert any(line.startswith(finding) for line in found), found
