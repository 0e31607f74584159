"""Files that support something staff did: stored once by content, checked by content, never executed, never served.

The bytes lie at ATTACHMENT_ROOT/<first two digits>/<SHA-256 of the content>, without name or extension, mode 0600. The
file is written and synced before its row is committed: a row always has its file, and a file without a row (a crash
between the two) is harmless because the same content is stored at the same place again. Others refer to an attachment
by its digest; there is no foreign key and no transaction across databases.

The type is told by the first bytes, never by the name or by what the browser claims.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import os
import re
import secrets
import unicodedata
import zipfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from django.conf import settings
from django.http import HttpResponse

from foundation.db import roles
from foundation.errors import Broken, NotFound, Rejected
from foundation.models import Attachment

MAX_BYTES = 10 * 1024 * 1024
"""A scanned contract of some pages; anything larger does not belong into an approval."""
NAME_MAX_LENGTH = 120

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
EXTENSIONS = {
    "application/pdf": (".pdf",),
    "image/png": (".png",),
    "image/jpeg": (".jpg", ".jpeg"),
    XLSX: (".xlsx",),
    "application/zip": (".zip",),
    "text/csv": (".csv",),
    "text/plain": (".txt",),
}
"""What may be stored, and the endings its downloads may have (the first one is added where the name has another)."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""What no text contains: tab, line feed and carriage return are all it needs."""


class AttachmentTooLarge(Rejected):
    code = "attachment_too_large"
    http_status = 413
    message_en = "The file is larger than 10 MB."
    message_zh = "文件超过 10 MB。"


class AttachmentTypeRefused(Rejected):
    code = "attachment_type_refused"
    http_status = 415
    message_en = "Only PDF, PNG, JPEG, XLSX, ZIP, CSV and plain UTF-8 text can be attached."
    message_zh = "仅支持 PDF、PNG、JPEG、XLSX、ZIP、CSV 和 UTF-8 纯文本文件。"


class AttachmentDamaged(Broken):
    """The file of a row is missing, or its content is no longer what its digest says."""

    code = "attachment_damaged"


@dataclass(frozen=True, kw_only=True)
class StoredAttachment:
    """An attachment as others refer to it: by `digest`; `name` is for display only."""

    digest: str
    name: str
    content_type: str
    size_bytes: int


def store(*, content: bytes, name: str, stored_by_id: int, now: dt.datetime) -> StoredAttachment:
    """Stores a file of 1 byte … MAX_BYTES and its row (role default); returns how to refer to it.

    Call it before the transaction that refers to the digest. The same content again stores nothing and answers with
    the name given now. Raises AttachmentTooLarge, AttachmentTypeRefused.
    """
    if len(content) > MAX_BYTES:
        raise AttachmentTooLarge({"max_bytes": MAX_BYTES, "bytes": len(content)})
    shown = clean_name(name)
    content_type = content_type_of(content, shown)
    digest = hashlib.sha256(content).hexdigest()
    path = _path(digest)
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        _write(path, content)
    row = Attachment(
        digest=digest,
        name=shown,
        content_type=content_type,
        size_bytes=len(content),
        stored_by_id=stored_by_id,
        stored_at=now,
    )
    Attachment.objects.using(_alias()).bulk_create([row], ignore_conflicts=True)
    return StoredAttachment(digest=digest, name=shown, content_type=content_type, size_bytes=len(content))


def find(*, digest: str) -> StoredAttachment:
    """The attachment of that digest; NotFound for anything else, such as a path."""
    row = None
    if _DIGEST.fullmatch(digest):
        row = Attachment.objects.using(_alias()).filter(digest=digest).first()
    if row is None:
        raise NotFound({"attachment": digest[:64]})
    return StoredAttachment(digest=row.digest, name=row.name, content_type=row.content_type, size_bytes=row.size_bytes)


def read(*, digest: str) -> bytes:
    """The content, proved against its digest. Raises NotFound, AttachmentDamaged."""
    find(digest=digest)
    try:
        content = _path(digest).read_bytes()
    except FileNotFoundError as error:
        raise AttachmentDamaged({"attachment": digest, "problem": "missing"}) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise AttachmentDamaged({"attachment": digest, "problem": "changed"})
    return content


def download(*, digest: str, name: str) -> HttpResponse:
    """The answer that hands the file out: always saved, never shown, never guessed at. The caller checks permission."""
    stored = find(digest=digest)
    response = HttpResponse(read(digest=digest), content_type=_http_type(stored.content_type))
    response["Content-Disposition"] = _disposition(_download_name(clean_name(name), stored.content_type))
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["Cache-Control"] = "private, no-store"
    return response


def clean_name(name: str) -> str:
    """The last part of a path of any system, without control or direction characters, 1 … NAME_MAX_LENGTH long."""
    last = re.split(r"[/\\]", name)[-1]
    shown = "".join(letter for letter in last if unicodedata.category(letter)[0] != "C").strip(" .")
    if len(shown) > NAME_MAX_LENGTH:
        stem, ending = os.path.splitext(shown)
        shown = stem[: NAME_MAX_LENGTH - len(ending)] + ending if len(ending) <= 10 else shown[:NAME_MAX_LENGTH]
    return shown or "attachment"


def content_type_of(content: bytes, name: str) -> str:
    """The type by the content itself; the name only tells CSV from other text. Raises AttachmentTypeRefused."""
    if content.startswith(b"%PDF-"):
        return "application/pdf"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith(b"PK\x03\x04"):
        return _zip_type(content)
    if _is_text(content):
        return "text/csv" if name.lower().endswith(".csv") else "text/plain"
    raise AttachmentTypeRefused({"name": name})


def _zip_type(content: bytes) -> str:
    """XLSX when it holds a workbook; other Office files and broken archives are refused, macros would hide there."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise AttachmentTypeRefused({"problem": "broken archive"}) from error
    if "[Content_Types].xml" not in names:
        return "application/zip"
    if "xl/workbook.xml" in names and "xl/vbaProject.bin" not in names:
        return XLSX
    raise AttachmentTypeRefused({"problem": "office file that is no plain workbook"})


def _is_text(content: bytes) -> bool:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    return bool(text.strip()) and _CONTROLS.search(text) is None


def _write(path: Path, content: bytes) -> None:
    """Written beside its place, synced, then moved there: a reader sees the whole file or none."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.parent / f".{secrets.token_hex(16)}"
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _path(digest: str) -> Path:
    """Where the content of a checked digest lies."""
    if not _DIGEST.fullmatch(digest):
        raise ValueError("not a digest")
    return Path(settings.ATTACHMENT_ROOT) / digest[:2] / digest


def _http_type(content_type: str) -> str:
    return f"{content_type}; charset=utf-8" if content_type.startswith("text/") else content_type


def _download_name(name: str, content_type: str) -> str:
    """`name` with an ending that fits its content: "invoice.exe" that is a PDF becomes "invoice.exe.pdf"."""
    endings = EXTENSIONS[content_type]
    return name if name.lower().endswith(endings) else name + endings[0]


def _disposition(name: str) -> str:
    """RFC 6266: an ASCII name for old clients and the true one in UTF-8."""
    plain = "".join(letter if letter.isascii() and letter not in '"\\' else "_" for letter in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _alias() -> str:
    return roles.alias_for("default")
