"""Attachments: stored by content, judged by content, found by digest only, handed out as they came or not at all."""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
from pathlib import Path

import pytest
from django.conf import settings as project
from pytest_django import Settings

from foundation import attachments
from foundation.errors import NotFound
from foundation.models import Attachment
from paysys.settings import base
from tests.worlds import NOW

pytestmark = pytest.mark.django_db(databases="__all__")

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
PDF = b"%PDF-1.7\n%%EOF\n"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, settings: Settings) -> Path:
    settings.ATTACHMENT_ROOT = tmp_path / "attachments"
    return tmp_path / "attachments"


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name in names:
            made.writestr(name, "x")
    return buffer.getvalue()


def store(content: bytes, name: str = "file.bin") -> attachments.StoredAttachment:
    return attachments.store(content=content, name=name, stored_by_id=7, now=NOW)


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_a_file_lies_at_its_digest_for_the_service_user_only(root: Path) -> None:
    stored = store(PDF, "凭证.pdf")
    digest = hashlib.sha256(PDF).hexdigest()
    assert stored == attachments.StoredAttachment(
        digest=digest, name="凭证.pdf", content_type="application/pdf", size_bytes=len(PDF)
    )
    assert files(root) == [root / digest[:2] / digest]
    assert stat.S_IMODE((root / digest[:2] / digest).stat().st_mode) == 0o600
    row = Attachment.objects.get(digest=digest)
    assert (row.name, row.size_bytes, row.stored_by_id, row.stored_at) == ("凭证.pdf", len(PDF), 7, NOW)
    assert attachments.read(digest=digest) == PDF
    assert attachments.find(digest=digest) == stored


def test_the_same_content_is_stored_once_under_any_name(root: Path) -> None:
    first, second = store(PDF, "a.pdf"), store(PDF, "b.pdf")
    assert (first.digest, second.name) == (second.digest, "b.pdf")
    assert len(files(root)) == 1
    assert list(Attachment.objects.filter(digest=first.digest).values_list("name", flat=True)) == ["a.pdf"]


def test_storing_again_repairs_a_damaged_file() -> None:
    digest = store(PDF).digest
    Path(project.ATTACHMENT_ROOT, digest[:2], digest).write_bytes(b"broken")
    with pytest.raises(attachments.AttachmentDamaged):
        attachments.read(digest=digest)
    store(PDF)
    assert attachments.read(digest=digest) == PDF


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (PDF, "x", "application/pdf"),
        (PNG, "photo.exe", "image/png"),
        (b"\xff\xd8\xff\xe0rest", "p.jpg", "image/jpeg"),
        (archive("[Content_Types].xml", "xl/workbook.xml"), "b.xlsx", attachments.XLSX),
        (archive("scan1.pdf"), "scans.zip", "application/zip"),
        ("姓名,金额\n张三,1.00\n".encode(), "LIST.CSV", "text/csv"),
        ("\ufeffa,b\r\n1,2\r\n".encode(), "bom.csv", "text/csv"),
        (b"plain words", "note", "text/plain"),
        (b"<script>alert(1)</script>", "page.html", "text/plain"),
    ],
)
def test_the_type_is_told_by_the_content(content: bytes, name: str, expected: str) -> None:
    assert store(content, name).content_type == expected


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "empty.pdf"),
        (b"   \n", "blank.txt"),
        (b"\x7fELF\x02\x01", "tool.pdf"),
        (b"MZ\x90\x00", "invoice.pdf"),
        (b"GIF89a\x00\x01", "a.gif"),
        ("汉字".encode("gbk"), "gbk.csv"),
        (b"text with \x00 in it", "a.txt"),
        (b"text with \x1b[31m in it", "a.txt"),
        (b"PK\x03\x04 broken", "a.zip"),
        (archive("[Content_Types].xml", "word/document.xml"), "a.docx"),
        (archive("[Content_Types].xml", "xl/workbook.xml", "xl/vbaProject.bin"), "macro.xlsm"),
        (b" %PDF-1.7\x00", "late.pdf"),
    ],
)
def test_everything_else_is_refused_and_leaves_nothing(root: Path, content: bytes, name: str) -> None:
    with pytest.raises(attachments.AttachmentTypeRefused):
        store(content, name)
    assert not root.exists()
    assert not Attachment.objects.filter(name=name).exists()


def test_ten_megabytes_are_the_limit(root: Path) -> None:
    body = PDF + b"0" * (attachments.MAX_BYTES - len(PDF))
    assert store(body).size_bytes == 10 * 1024 * 1024
    with pytest.raises(attachments.AttachmentTooLarge):
        store(body + b"0")
    assert len(files(root)) == 1


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/etc/cron.d/x", "x"),
        ("..", "attachment"),
        ("", "attachment"),
        ("a\r\nSet-Cookie: x=1.pdf", "aSet-Cookie: x=1.pdf"),
        ("gpj.\u202eexe.pdf", "gpj.exe.pdf"),
        (" 凭证 .pdf. ", "凭证 .pdf"),
        ("n" * 200 + ".pdf", "n" * 116 + ".pdf"),
    ],
)
def test_names_are_for_display_only(root: Path, given: str, shown: str) -> None:
    stored = store(PDF, given)
    assert stored.name == shown
    assert files(root) == [root / stored.digest[:2] / stored.digest]


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64, "0" * 64 + "\n", "零" * 64])
def test_only_a_stored_digest_is_found(digest: str) -> None:
    store(PDF)
    for ask in (attachments.find, attachments.read):
        with pytest.raises(NotFound):
            ask(digest=digest)


def test_a_row_without_its_file_is_damage() -> None:
    digest = store(PDF).digest
    Path(project.ATTACHMENT_ROOT, digest[:2], digest).unlink()
    with pytest.raises(attachments.AttachmentDamaged):
        attachments.download(digest=digest, name="x.pdf")


def test_a_failed_write_leaves_no_row_and_no_half_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(attachments.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store(PDF, "never.pdf")
    assert files(root) == []
    assert not Attachment.objects.filter(name="never.pdf").exists()


def test_downloads_are_saved_under_a_fitting_name() -> None:
    answer = attachments.download(digest=store(PDF).digest, name="evil.html")
    assert answer["Content-Disposition"] == "attachment; filename=\"evil.html.pdf\"; filename*=UTF-8''evil.html.pdf"
    assert answer["Content-Type"] == "application/pdf"
    assert (answer["X-Content-Type-Options"], answer.content) == ("nosniff", PDF)


def test_the_usual_place_is_below_nothing_that_is_served() -> None:
    place = base.ATTACHMENT_ROOT.resolve()
    served = {Path(root).resolve() for root in (base.STATIC_ROOT, project.STATIC_ROOT)}
    assert served.isdisjoint([place, *place.parents])
