"""QR codes as files."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from collect.services import pictures

URL = "https://pay.example.com/c/23456789abcdef"


def test_the_svg_is_one_document_without_scripts_or_styles() -> None:
    picture = pictures.draw_svg(url=URL)
    root = ElementTree.fromstring(picture)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert b"<script" not in picture
    assert b"style" not in picture


def test_the_png_is_square_with_its_quiet_zone() -> None:
    picture = pictures.draw_png(url=URL)
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = int.from_bytes(picture[16:20]), int.from_bytes(picture[20:24])
    assert width == height
    modules = width // pictures.SCALE - 2 * pictures.QUIET_ZONE_MODULES
    assert (modules - 21) % 4 == 0  # a QR code's side: 21, 25, 29, …


def test_another_url_is_another_picture() -> None:
    assert pictures.draw_png(url=URL) == pictures.draw_png(url=URL)
    assert pictures.draw_png(url=URL) != pictures.draw_png(url=URL[:-1] + "g")
