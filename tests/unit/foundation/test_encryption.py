"""Every column that something is closed for is registered, so that no key change forgets one."""

from __future__ import annotations

import ast
import functools
import importlib
from collections.abc import Sequence
from pathlib import Path

from django.apps import apps
from django.conf import settings

from collect.api.page import PAYER_COOKIE_COLUMN
from foundation import encryption, push

OURS = (
    "collect",
    "foundation",
    "funds",
    "gateway",
    "identity",
    "orders",
    "payments",
    "paysys",
    "reconciliation",
    "redpacket",
    "risk",
    "withdrawals",
)
CLOSERS = {"encrypt", "encrypt_bytes", "rotated"}


@functools.cache
def _sources() -> Sequence[tuple[Path, Sequence[ast.AST]]]:
    """Files of ours that speak of foundation.crypto, with all their nodes."""
    root = Path(settings.BASE_DIR)
    found = []
    for path in sorted(file for app in OURS for file in (root / app).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "crypto" in text and path not in (root / "foundation/crypto.py", root / "foundation/encryption.py"):
            found.append((path, list(ast.walk(ast.parse(text)))))
    return found


def _closed_for() -> dict[str, str]:
    """The `column` of each call that closes something → where; a call that this cannot read fails the test."""
    root = Path(settings.BASE_DIR)
    found: dict[str, str] = {}
    for path, nodes in _sources():
        for node in nodes:
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOSERS):
                continue
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "crypto"):
                continue
            column = next(keyword.value for keyword in node.keywords if keyword.arg == "column")
            if isinstance(column, ast.Name):
                module = importlib.import_module(".".join(path.relative_to(root).with_suffix("").parts))
                found[getattr(module, column.id)] = f"{path.relative_to(root)}:{node.lineno}"
            else:
                assert isinstance(column, ast.Constant), f"{path}:{node.lineno}"
                found[column.value] = f"{path.relative_to(root)}:{node.lineno}"
    return found


NOT_STORED = (push.COLUMN, PAYER_COOKIE_COLUMN)
"""What ends within a day by itself: events in Redis, and the payer's own cookie."""


def test_every_column_that_something_is_closed_for_is_registered() -> None:
    closed = _closed_for()
    registered = {column.closed_as for column in encryption.columns()}
    missing = {name: where for name, where in closed.items() if name not in registered and name not in NOT_STORED}
    assert missing == {}
    assert registered - closed.keys() == set()
    assert len(closed) >= 12


def test_nobody_closes_without_the_module_s_name() -> None:
    """`from foundation.crypto import encrypt` would be a call that the test above does not see."""
    for path, nodes in _sources():
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and node.module == "foundation.crypto":
                assert not CLOSERS & {name.name for name in node.names}, path


def test_columns_and_their_indexes_are_fields_of_one_table() -> None:
    for column in encryption.columns():
        names = {column.field, *((*column.index.fields, *column.index.needs) if column.index else ())}
        assert names <= {item.attname for item in column.model._meta.concrete_fields}, column.name
        assert column.model in apps.get_models()
        assert column.closed_as.partition(".")[0] == column.model._meta.db_table


def test_what_is_named_like_an_index_is_registered_or_signed() -> None:
    """`*_index` columns of tables with closed columns: a forgotten one would find nothing after a key change."""
    registered = {
        f"{column.model._meta.db_table}.{name}"
        for column in encryption.columns()
        if column.index
        for name in column.index.fields
    }
    # Approvals are signed over these two, and nothing is looked up by them.
    signed = {"withdrawals_withdrawal.payee_index", "withdrawals_withdrawal.payee_name_index"}
    named = {
        f"{model._meta.db_table}.{item.attname}"
        for model in {column.model for column in encryption.columns()}
        for item in model._meta.concrete_fields
        if item.attname.endswith("_index")
    }
    assert named - registered == signed
