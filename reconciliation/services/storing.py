"""Raw bills on disk: RECONCILIATION_ROOT/<first two digits>/<SHA-256>, mode 0600, written and synced before their row.

A row always has its file. The same content again is stored once. Nothing is ever removed here.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import secrets
from pathlib import Path
from typing import IO

from django.conf import settings

from foundation import attachments
from foundation.errors import Broken, Rejected
from reconciliation.models import RawFile, Run
from reconciliation.services import trail

MAX_BYTES = 1024 * 1024 * 1024
"""Some three million rows; what is larger is no bill."""
CHUNK = 1024 * 1024


class BillTooLarge(Rejected):
    code = "bill_too_large"
    http_status = 413
    message_en = "The file is larger than 1 GB."
    message_zh = "文件超过 1 GB。"


class BillEmpty(Rejected):
    code = "bill_empty"
    http_status = 422
    message_en = "The file is empty."
    message_zh = "文件为空。"


class RawFileDamaged(Broken):
    """The file of a row is missing, or its content is no longer what its hash says."""

    code = "raw_file_damaged"


def store(
    *,
    run: Run,
    stream: IO[bytes],
    now: dt.datetime,
    name: str = "",
    provider_hash: str = "",
    is_hash_wrong: bool = False,
    user_id: int | None = None,
) -> RawFile:
    """Keeps the bytes and their row; the same content of a run again is the first row. Call it outside transactions.

    Raises BillTooLarge, BillEmpty.
    """
    digest, size = _keep(stream)
    row, _ = RawFile.objects.using(trail.alias()).get_or_create(
        run=run,
        sha256=digest,
        defaults={
            "size_bytes": size,
            "name": attachments.clean_name(name) if name else "",
            "provider_hash": provider_hash[:80],
            "is_hash_wrong": is_hash_wrong,
            "uploaded_by_id": user_id,
            "stored_at": now,
        },
    )
    return row


def open_file(*, file: RawFile) -> IO[bytes]:
    """The bytes, after they were proved against their hash. The caller closes it. Raises RawFileDamaged."""
    path = _path(file.sha256)
    try:
        stream = path.open("rb")
    except FileNotFoundError as error:
        raise RawFileDamaged({"file": file.sha256, "problem": "missing"}) from error
    digest = hashlib.sha256()
    while chunk := stream.read(CHUNK):
        digest.update(chunk)
    if digest.hexdigest() != file.sha256:
        stream.close()
        raise RawFileDamaged({"file": file.sha256, "problem": "changed"})
    stream.seek(0)
    return stream


def _keep(stream: IO[bytes]) -> tuple[str, int]:
    """Written beside its place, synced, then moved there: a reader sees the whole file or none."""
    root = Path(settings.RECONCILIATION_ROOT)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = root / f".{secrets.token_hex(16)}"
    digest, size = hashlib.sha256(), 0
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            while chunk := stream.read(CHUNK):
                size += len(chunk)
                if size > MAX_BYTES:
                    raise BillTooLarge({"max_bytes": MAX_BYTES})
                digest.update(chunk)
                file.write(chunk)
            if not size:
                raise BillEmpty
            file.flush()
            os.fsync(file.fileno())
        path = _path(digest.hexdigest())
        path.parent.mkdir(mode=0o700, exist_ok=True)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    for directory in (path.parent, root):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return digest.hexdigest(), size


def _path(digest: str) -> Path:
    return Path(settings.RECONCILIATION_ROOT) / digest[:2] / digest
