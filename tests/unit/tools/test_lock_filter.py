"""The embedded lock: the same pins without the packages that need a compiler."""

from pathlib import Path

import pytest

from bootstrap.venv import (
    COMPILED_REQUIREMENTS,
    REPOSITORY,
    filter_lock,
    get_stamp,
    is_installed,
    write_embedded_lock,
)

LOCK = """\
kombu==5.7.0 \\
    --hash=sha256:aaaa \\
    --hash=sha256:bbbb
    # via celery
mysqlclient==2.3.1 \\
    --hash=sha256:cccc \\
    --hash=sha256:dddd
    # via -r requirements.in
orjson==3.13.0 ; python_full_version < '3.15' \\
    --hash=sha256:eeee
    # via -r requirements.in
"""


def test_drops_the_whole_block_and_nothing_else() -> None:
    assert filter_lock(text=LOCK, without=["mysqlclient"]) == (
        "kombu==5.7.0 \\\n"
        "    --hash=sha256:aaaa \\\n"
        "    --hash=sha256:bbbb\n"
        "    # via celery\n"
        "orjson==3.13.0 ; python_full_version < '3.15' \\\n"
        "    --hash=sha256:eeee\n"
        "    # via -r requirements.in\n"
    )


def test_drops_the_last_block() -> None:
    assert filter_lock(text=LOCK, without=["orjson", "kombu"]) == (
        "mysqlclient==2.3.1 \\\n    --hash=sha256:cccc \\\n    --hash=sha256:dddd\n    # via -r requirements.in\n"
    )


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("Some_Name==1 \\\n    --hash=sha256:aa\n", "some-name"),
        ("some.name[extra]==1 \\\n    --hash=sha256:aa\n", "Some_Name"),
        ("some-name @ https://example.org/a.whl \\\n    --hash=sha256:aa\n", "some-name"),
    ],
)
def test_finds_every_spelling(written: str, asked: str) -> None:
    assert filter_lock(text=written + "zlib==1\n", without=[asked]) == "zlib==1\n"


def test_keeps_packages_whose_name_only_begins_alike() -> None:
    text = "mysqlclient-extras==1\nmysqlclient==2\n    --hash=sha256:aa\n# a remark\n"
    assert filter_lock(text=text, without=["mysqlclient"]) == "mysqlclient-extras==1\n# a remark\n"


def test_refuses_a_name_that_the_lock_does_not_have() -> None:
    with pytest.raises(ValueError, match="not in the lock: psycopg"):
        filter_lock(text=LOCK, without=["mysqlclient", "psycopg"])


def test_embedded_lock_of_this_project_is_the_lock_less_the_driver(tmp_path: Path) -> None:
    source = REPOSITORY / "requirements.txt"
    target = write_embedded_lock(source=source, target=tmp_path / "local" / "embedded.txt")
    pins = {line.split(" ")[0] for line in source.read_text().splitlines() if "==" in line.split(" ")[0]}
    kept = {line.split(" ")[0] for line in target.read_text().splitlines() if "==" in line.split(" ")[0]}
    assert len(kept) > 20
    assert {pin.split("==")[0] for pin in pins - kept} == set(COMPILED_REQUIREMENTS)
    assert kept < pins


def test_installation_is_current_only_for_the_same_lock_and_python(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text("kombu==5.7.0\n")
    stamp = get_stamp(lock=lock, python="/usr/bin/python3.11")
    assert not is_installed(variant="test", stamp=stamp, venv=tmp_path)
    (tmp_path / ".stamp-test").write_text(stamp + "\n")
    assert is_installed(variant="test", stamp=stamp, venv=tmp_path)
    assert not is_installed(variant="embedded", stamp=stamp, venv=tmp_path)
    other_python = get_stamp(lock=lock, python="/usr/bin/python3.12")
    assert not is_installed(variant="test", stamp=other_python, venv=tmp_path)
    lock.write_text("kombu==5.7.1\n")
    changed = get_stamp(lock=lock, python="/usr/bin/python3.11")
    assert not is_installed(variant="test", stamp=changed, venv=tmp_path)
