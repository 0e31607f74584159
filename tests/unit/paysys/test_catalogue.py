"""The Chinese catalogue: nothing untranslated, nothing left over, no placeholder lost, compiled as it is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib import admin
from django.contrib.admin.utils import label_for_field
from django.db.models import Model
from django.template.loader import get_template
from django.utils import translation

from bootstrap import catalogue
from foundation.words import code_word
from paysys.admin import words
from tests.system import ROOT

KNOWN = catalogue.translations(catalogue.read())
HOLE = re.compile(r"%\(\w+\)[sd]|%[sd%]|\{\w*\}")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
PLAIN = re.compile(r"[\d.]+|id|ID|UUID|CRON|IP", re.IGNORECASE)
"""Names that are the same in both languages."""
NOT_WORDS = {"sub appid", "QR", "CSV"}
TEXT = re.compile(r"[A-Za-z]{3,}[A-Za-z' ,.]*")
BILINGUAL = {"400.html", "403.html", "403_csrf.html", "404.html", "413.html", "500.html", "error.html", "article.html"}
"""Pages that say everything in both languages by themselves: some are shown when nothing of ours works."""
EXAMPLES = {"BLOCK,CARD,", "reported stolen", "sub", "appid"}
"""Text of pages that is data: an example of a file, a provider's own word."""


@pytest.fixture(scope="module")
def wanted() -> dict[catalogue.Key, str | tuple[str, ...]]:
    return catalogue.list_wanted()


def test_everything_marked_is_translated_and_nothing_else_is_kept(wanted: dict[catalogue.Key, object]) -> None:
    assert sorted(key for key in wanted if not KNOWN.get(key)) == [], "run `make messages` and translate these"
    assert sorted(KNOWN.keys() - wanted.keys()) == [], "nobody says these any more: run `make messages`"


def test_the_search_for_strings_finds_what_it_should(wanted: dict[catalogue.Key, object]) -> None:
    """A control: without it an extractor that finds nothing would pass."""
    of_python, of_template, of_plural = ("", "Desk"), ("", "Approve and post"), ("", "%(number)s order matches.")
    of_name, of_code, of_theme = ("", "account snapshots"), ("code", "APPLIED"), ("", "Search apps and models...")
    assert {of_python, of_template, of_plural, of_name, of_code, of_theme} <= wanted.keys()
    assert len(wanted) > 1_000


def test_no_placeholder_is_lost_or_made_up(wanted: dict[catalogue.Key, str | tuple[str, ...]]) -> None:
    for key, ids in wanted.items():
        allowed = [sorted(HOLE.findall(text)) for text in ([ids] if isinstance(ids, str) else ids)]
        assert sorted(HOLE.findall(KNOWN[key])) in allowed, (key, KNOWN[key])


def test_what_is_compiled_is_what_is_written() -> None:
    assert catalogue.compiled() == {key: text for key, text in KNOWN.items() if text}


OURS = [model for model in admin.site._registry if model._meta.app_label in words.OURS]


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_every_list_speaks_chinese(model: type[Model]) -> None:
    """Title, columns, filters, actions and search: also what nobody marked for translation."""
    shown = admin.site._registry[model]
    with translation.override("zh-hans"):
        said = [str(model._meta.verbose_name), str(model._meta.verbose_name_plural)]
        said += [str(model._meta.app_config.verbose_name)] if model._meta.app_config else []
        columns = [name for name in shown.list_display if name not in ("__str__", "action_checkbox")]
        said += [str(label_for_field(name, model, shown)) for name in columns]
        said += [str(getattr(item, "title", "")) for item in shown.list_filter if isinstance(item, type)]
        said += [str(shown.search_help_text or "")]
        said += [str(getattr(getattr(shown, name, None), "short_description", "")) for name in shown.actions or ()]
        for inline in (one(model, admin.site) for one in shown.inlines):
            said += [str(inline.verbose_name_plural)]
            said += [str(label_for_field(name, inline.model, inline)) for name in inline.fields or ()]
    wrong = [text for text in said if text and not CHINESE.search(text) and not PLAIN.fullmatch(text)]
    assert [text for text in wrong if text not in NOT_WORDS] == []


def _name(path: Path) -> str:
    return str(path).rpartition("/templates/")[2]


def _pages() -> list[Path]:
    found = (path for place in ("", *catalogue.APPS) for path in (ROOT / place / "templates").rglob("*.html"))
    return sorted(path for path in found if path.name not in BILINGUAL)


@pytest.mark.parametrize("path", _pages(), ids=_name)
def test_no_page_says_a_word_past_the_catalogue(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"\{% blocktranslate\b.*?\{% endblocktranslate %\}", " ", text, flags=re.DOTALL)
    text = re.sub(r"\{% block (?:body_class|coltype)[^%]*%\}.*?\{% endblock %\}", " ", text, flags=re.DOTALL)
    text = re.sub(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", " ", text, flags=re.DOTALL)
    text = re.sub(r"<(style|script|svg)\b.*?</\1>|<!--.*?-->", " ", text, flags=re.DOTALL)
    said = re.findall(r'(?:aria-label|title|placeholder|alt)="([^"]*[A-Za-z]{2}[^"]*)"', text)
    said += re.findall(r'<input type="submit"[^>]* value="([^"]*[A-Za-z]{2}[^"]*)"', text)
    said += [word.strip() for word in TEXT.findall(re.sub(r"<[^>]*>|&\w+;", " ", text))]
    assert [word for word in said if word and word not in NOT_WORDS | EXAMPLES] == []
    get_template(_name(path))


def test_codes_are_shown_by_their_words() -> None:
    with translation.override("zh-hans"):
        assert [code_word(code) for code in ("APPLIED", "wechat", "", None)] == ["待审批", "微信", "", ""]
        assert code_word("NO_SUCH_CODE") == "NO_SUCH_CODE"
    with translation.override("en"):
        assert code_word("APPLIED") == "APPLIED"
