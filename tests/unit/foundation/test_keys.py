"""Keys from a file that only its owner reads; blind indexes by keys of their own, which can be changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.test import override_settings

from foundation import crypto

A, B = "aa" * 32, "bb" * 32
COLUMN = "withdrawals_bankcard.card_no"
NUMBER = "6222020200001234"


@pytest.fixture
def keys_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "encryption.keys"
    path.write_text(f"# the first\n2026:{A}\n")
    path.chmod(0o600)
    monkeypatch.setenv("PAYSYS_ENCRYPTION_KEYS_FILE", str(path))
    monkeypatch.setenv("PAYSYS_ENCRYPTION_KEYS", f"other:{B}")
    return path


def test_the_file_goes_before_the_variable_and_a_new_key_in_it_counts_at_once(keys_file: Path) -> None:
    stored = crypto.encrypt(NUMBER, column=COLUMN)
    assert (crypto.key_id(stored), list(crypto.key_ring())) == ("2026", ["2026"])
    keys_file.write_text(f"2026:{A}\n2027:{B}\n")
    assert crypto.key_id(crypto.encrypt("x", column=COLUMN)) == "2027"
    assert crypto.decrypt(stored, column=COLUMN) == NUMBER
    keys_file.write_text(f"2027:{B}\n")
    with pytest.raises(crypto.CannotDecrypt):
        crypto.decrypt(stored, column=COLUMN)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_file_that_others_may_read_is_refused(keys_file: Path, mode: int) -> None:
    crypto.key_ring()
    keys_file.chmod(mode)
    with pytest.raises(crypto.KeysUnusable):
        crypto.key_ring()


@pytest.mark.parametrize("text", ["", "# nothing\n", "2026\n", f"2026:{A}\n2026:{B}\n", f"a-name-too-long:{A}\n"])
def test_a_file_without_a_sound_key_is_refused(keys_file: Path, text: str) -> None:
    keys_file.write_text(text)
    with pytest.raises(crypto.KeysUnusable):
        crypto.key_ring()


def test_a_file_that_is_missing_or_a_directory_is_refused(keys_file: Path) -> None:
    keys_file.unlink()
    with pytest.raises(crypto.KeysUnusable):
        crypto.key_ring()
    os.mkdir(keys_file, 0o700)
    with pytest.raises(crypto.KeysUnusable):
        crypto.key_ring()


def test_the_index_outlives_every_encryption_key_once_it_has_keys_of_its_own() -> None:
    old, new = bytes.fromhex(A), bytes.fromhex(B)
    with override_settings(ENCRYPTION_KEYS={"2026": old}):
        first = crypto.blind_index(NUMBER, column=COLUMN)
        assert not crypto.has_own_index_keys()
    with override_settings(ENCRYPTION_KEYS={"2027": new}, BLIND_INDEX_KEYS={"2026": old}):
        assert crypto.blind_index(NUMBER, column=COLUMN) == first
        assert crypto.has_own_index_keys()


def test_while_an_index_key_changes_both_find_and_the_newest_writes() -> None:
    old, new = bytes.fromhex(A), bytes.fromhex(B)
    with override_settings(BLIND_INDEX_KEYS={"2026": old}):
        before = crypto.blind_index(NUMBER, column=COLUMN)
    with override_settings(BLIND_INDEX_KEYS={"2026": old, "2027": new}):
        written = crypto.blind_index(NUMBER, column=COLUMN)
        assert crypto.blind_indexes(NUMBER, column=COLUMN) == [written, before]
    with override_settings(BLIND_INDEX_KEYS={"2027": new}):
        assert crypto.blind_indexes(NUMBER, column=COLUMN) == [written]
    assert written != before


def test_a_closed_authenticator_secret_fits_its_column() -> None:
    with override_settings(ENCRYPTION_KEYS={"k" * 12: bytes.fromhex(A)}):
        stored = crypto.encrypt_bytes(bytes(range(20)), column="identity_authenticator.secret")
        assert len(stored) == 80
        assert crypto.decrypt_bytes(stored, column="identity_authenticator.secret") == bytes(range(20))
        binary = crypto.encrypt_bytes(b"\xff\xfe", column=COLUMN)
        with pytest.raises(crypto.CannotDecrypt):
            crypto.decrypt(binary, column=COLUMN)
