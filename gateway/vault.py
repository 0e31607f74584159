"""Stored credentials as files that exist in memory only: what the adapters read, never written to a disk.

Each file is an anonymous memory file (memfd_create, Linux) under /proc/self/fd, for the life of the process: its path
is never used twice, so it can be part of a key. A rotation costs a few of them.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import os
from collections.abc import Mapping
from typing import Any

from foundation import crypto
from foundation.db import roles
from gateway import selectors
from gateway.models import SECRET_COLUMN, Credential


def credentials_file(*, channel: str, now: dt.datetime) -> str:
    """Path of the channel's active credentials; "" when none are stored.

    Raises ValueError when the set is not complete or not readable, crypto.CannotDecrypt, crypto.KeysUnusable.
    """
    versions = selectors.list_active_credentials(channel=channel, now=now)
    return _file_of(tuple((version.id, version.fingerprint) for version in versions)) if versions else ""


@functools.cache  # the files themselves stay, too
def _file_of(versions: tuple[tuple[int, str], ...]) -> str:
    rows = Credential.objects.using(roles.alias_for("default")).filter(pk__in=[key for key, _ in versions])
    return write_files({row.name: crypto.decrypt(row.secret, column=SECRET_COLUMN) for row in rows})


def write_files(contents: Mapping[str, str]) -> str:
    """Path of CREDENTIALS_FILE among `contents` (name → text), with the names of the other files as their paths."""
    try:
        data: dict[str, Any] = dict(json.loads(contents[selectors.CREDENTIALS_FILE]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{selectors.CREDENTIALS_FILE} is missing or no JSON object") from error
    for key, name in data.items():
        if not key.endswith("_file") or not name:
            continue
        if name not in contents:
            raise ValueError(f"{name} ({key}) is not among the active credentials")
        data[key] = _memory_file(name, contents[name])
    return _memory_file(selectors.CREDENTIALS_FILE, json.dumps(data))


def _memory_file(name: str, text: str) -> str:
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(text.encode())
    return f"/proc/self/fd/{descriptor}"
