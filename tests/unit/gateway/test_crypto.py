"""Encrypted values open only with their key, in their column, unchanged; keys rotate; equal text is found."""

from __future__ import annotations

import base64

import pytest
from django.test import override_settings

from foundation import crypto

OLD, NEW = b"o" * 32, b"n" * 32
COLUMN = "gateway_credential.secret"

pytestmark = pytest.mark.usefixtures("ring")


@pytest.fixture
def ring() -> object:
    with override_settings(ENCRYPTION_KEYS={"2026": OLD, "2027": NEW}):
        yield


def test_a_value_comes_back_and_is_never_closed_twice_the_same() -> None:
    first, second = (crypto.encrypt("密钥 secret", column=COLUMN) for _ in range(2))
    assert first != second
    assert first.startswith("v1:2027:")
    assert len(base64.b64decode(first.split(":")[2])) == 12 + len("密钥 secret".encode()) + 16
    assert [crypto.decrypt(text, column=COLUMN) for text in (first, second)] == ["密钥 secret"] * 2


def test_the_form_is_aes_256_gcm_with_the_column_as_associated_data() -> None:
    """Fixed vector: an independent construction of the same text opens."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    closed = AESGCM(OLD).encrypt(b"0" * 12, b"abc", COLUMN.encode())
    assert crypto.decrypt(f"v1:2026:{base64.b64encode(b'0' * 12 + closed).decode()}", column=COLUMN) == "abc"


def test_a_value_of_another_column_or_changed_by_a_bit_does_not_open() -> None:
    stored = crypto.encrypt("secret", column=COLUMN)
    with pytest.raises(crypto.CannotDecrypt):
        crypto.decrypt(stored, column="gateway_credential.note")
    blob = bytearray(base64.b64decode(stored.split(":")[2]))
    for position in (0, 12, len(blob) - 1):
        changed = bytearray(blob)
        changed[position] ^= 1
        with pytest.raises(crypto.CannotDecrypt):
            crypto.decrypt(f"v1:2027:{base64.b64encode(bytes(changed)).decode()}", column=COLUMN)


@pytest.mark.parametrize(
    "stored", ["", "secret", "v2:2027:AAAA", "v1:2028:AAAA", "v1:2027:", "v1:2027:AAAA", "v1:2027:****", "v1::AAAA"]
)
def test_what_is_not_of_the_form_is_refused(stored: str) -> None:
    with pytest.raises(crypto.CannotDecrypt):
        crypto.decrypt(stored, column=COLUMN)


def test_a_new_key_closes_and_the_old_one_goes_once_all_is_rotated() -> None:
    with override_settings(ENCRYPTION_KEYS={"2026": OLD}):
        stored = crypto.encrypt("secret", column=COLUMN)
    fresh = crypto.rotated(stored, column=COLUMN)
    assert (crypto.key_id(stored), crypto.key_id(fresh)) == ("2026", "2027")
    assert crypto.rotated(fresh, column=COLUMN) == fresh
    with override_settings(ENCRYPTION_KEYS={"2027": NEW}):
        assert crypto.decrypt(fresh, column=COLUMN) == "secret"
        with pytest.raises(crypto.CannotDecrypt):
            crypto.decrypt(stored, column=COLUMN)


def test_the_blind_index_is_equal_for_equal_text_of_one_column_and_keyed() -> None:
    index = crypto.blind_index("13800000000", column=COLUMN)
    assert len(index) == 64
    assert crypto.blind_index("13800000000", column=COLUMN) == index
    assert crypto.blind_index("13800000001", column=COLUMN) != index
    assert crypto.blind_index("13800000000", column="other.column") != index
    with override_settings(ENCRYPTION_KEYS={"2026": OLD, "2028": b"x" * 32}):
        assert crypto.blind_index("13800000000", column=COLUMN) == index
    with override_settings(ENCRYPTION_KEYS={"2026": NEW}):
        assert crypto.blind_index("13800000000", column=COLUMN) != index


def test_keys_come_from_the_environment_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSYS_ENCRYPTION_KEYS", f"a:{'00' * 32}, b:{'11' * 32}")
    with override_settings(ENCRYPTION_KEYS=None):
        assert crypto.key_ring() == {"a": bytes(32), "b": b"\x11" * 32}
        assert crypto.key_id(crypto.encrypt("x", column=COLUMN)) == "b"


@pytest.mark.parametrize("value", ["a:00", "a:zz", "nonsense", f":{'00' * 32}", f"a:{'00' * 31}"])
def test_malformed_keys_stop_everything(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PAYSYS_ENCRYPTION_KEYS", value)
    with override_settings(ENCRYPTION_KEYS=None), pytest.raises(crypto.KeysUnusable):
        crypto.encrypt("x", column=COLUMN)


def test_production_has_no_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAYSYS_ENCRYPTION_KEYS", raising=False)
    with override_settings(ENCRYPTION_KEYS=None):
        assert list(crypto.key_ring()) == ["dev"]
        with override_settings(ENVIRONMENT="production"), pytest.raises(crypto.KeysUnusable):
            crypto.key_ring()
