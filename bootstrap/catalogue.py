"""`python -m bootstrap.catalogue`: brings the Chinese catalogue up to what the source says, and compiles it.

What must be translated: every string that our Python code and templates mark, the names of models and fields of lists
(`paysys.admin.words`), the codes of CODES, and of the theme's strings those that Django's own catalogues lack. New ones
are written with an empty translation, which a test then finds; those that nobody says any more are dropped. Babel reads
and writes the files, so that gettext is needed nowhere; people who run the platform take the compiled file as it is.
"""

from __future__ import annotations

import datetime as dt
import gettext
import io
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
PO = ROOT / "paysys" / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"
MO = PO.with_suffix(".mo")
APPS = (
    "foundation",
    "identity",
    "orders",
    "funds",
    "gateway",
    "risk",
    "payments",
    "withdrawals",
    "redpacket",
    "collect",
    "reconciliation",
    "paysys",
)
THEME_PARTS = ("*.py", "mixins/*.py", "templatetags/*.py", "templates/**/*.html", "contrib/simple_history/**/*.html")
KEYWORDS = {
    **dict.fromkeys(("_", "_now", "gettext", "gettext_lazy", "gettext_noop"), None),
    **dict.fromkeys(("ngettext", "ngettext_lazy"), (1, 2)),
    **dict.fromkeys(("pgettext", "pgettext_lazy"), ((1, "c"), 2)),
}
CONTEXT = "code"
"""Of the words for codes: `foundation.words.code_word` looks there first."""

Key = tuple[str, str]
"""(context, message id); the first of a plural's two ids."""


def _python(text: str) -> Iterator[tuple[str, str | tuple[str, ...]]]:
    for _line, message, _comments, context in extract("python", io.BytesIO(text.encode()), keywords=KEYWORDS):
        yield context or "", message


def _template(text: str) -> Iterator[tuple[str, str | tuple[str, ...]]]:
    """Django turns a template into lines of Python; their indentation means nothing."""
    from django.utils.translation.template import templatize

    yield from _python("\n".join(line.strip() for line in templatize(text).splitlines()))


def _messages(files: Iterable[Path]) -> dict[Key, str | tuple[str, ...]]:
    found: dict[Key, str | tuple[str, ...]] = {}
    for path in sorted(files):
        text = path.read_text(encoding="utf-8")
        for context, message in _template(text) if path.suffix == ".html" else _python(text):
            ids = message if isinstance(message, str) else tuple(message)
            found[context, ids if isinstance(ids, str) else ids[0]] = ids
    return found


def list_codes() -> list[str]:
    """Every code that pages show by its word: states and kinds of the domains, and values of choices of the lists."""
    from funds.domain.chart import OwnerKind
    from funds.domain.entries import Bucket, Category
    from gateway import registry
    from orders.domain.states import AttemptState, OrderKind, OrderState
    from paysys.admin import words
    from redpacket.domain.states import PacketState, SettlementState
    from risk.domain.facts import FactType, Unit
    from risk.domain.tables import Outcome
    from withdrawals.domain.states import WithdrawalState

    states = (OrderKind, OrderState, AttemptState, PacketState, SettlementState, WithdrawalState)
    codes = {
        one.value for kind in (*states, Bucket, Category, OwnerKind, Outcome, FactType, Unit) for one in kind if one
    }
    codes |= set(words.list_values())
    said = [*(ROOT / "funds" / "domain").glob("*.py"), *(ROOT / "withdrawals" / "services").glob("*.py")]
    written = {kind for path in said for kind in re.findall(r'\bkind="(\w+)"', path.read_text(encoding="utf-8"))}
    return sorted(codes | set(registry.codes()) | written | {"wallet"})


def list_wanted() -> dict[Key, str | tuple[str, ...]]:
    """Everything that must be in the catalogue. Needs Django to be set up."""
    import unfold
    from django.utils import translation

    from paysys.admin import words

    ours = [path for app in APPS for path in (ROOT / app).rglob("*.py") if "migrations" not in path.parts]
    pages = [path for place in ("", *APPS) for path in (ROOT / place / "templates").rglob("*.html")]
    wanted = _messages([*ours, *pages])
    with translation.override(None):
        wanted |= {("", name): name for name in words.list_names()}
    wanted |= {(CONTEXT, code): code for code in list_codes()}
    theme = Path(unfold.__file__).parent
    django = _of_django()
    theirs = _messages(path for part in THEME_PARTS for path in theme.glob(part))
    return wanted | {key: ids for key, ids in theirs.items() if key not in wanted and key[1] not in django}


def _of_django() -> set[str]:
    """What Django says in Chinese by itself, where the theme's pages find it."""
    import django

    found: set[str] = set()
    for part in ("conf", "contrib/admin", "contrib/auth"):
        path = Path(django.__file__).parent / part / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.mo"
        with path.open("rb") as file:
            catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        found |= {key if isinstance(key, str) else key[0] for key in catalogue}
    return found


def read() -> Catalog:
    """The catalogue as it stands."""
    with PO.open("rb") as file:
        return read_po(file, locale="zh_Hans")


def translations(catalogue: Catalog) -> dict[Key, str]:
    """Key → Chinese, "" where there is none."""
    return {
        (one.context or "", one.id if isinstance(one.id, str) else one.id[0]): one.string
        if isinstance(one.string, str)
        else "".join(one.string or ())
        for one in catalogue
        if one.id
    }


def compiled() -> dict[Key, str]:
    """Key → Chinese of the compiled file."""
    with MO.open("rb") as file:
        catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    found = {}
    for key, text in catalogue.items():
        context, mark, message = (key if isinstance(key, str) else key[0]).rpartition("\x04")
        if message:
            found[context if mark else "", message] = text
    return found


def write(known: dict[Key, str]) -> int:
    """Writes both files with everything wanted, translated as `known` says. Returns how many have no translation."""
    moment = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
    catalogue = Catalog(
        locale="zh_Hans",
        project="paysys",
        version="1",
        copyright_holder="",
        msgid_bugs_address="paysys",
        last_translator="paysys",
        language_team="paysys",
        creation_date=moment,
        revision_date=moment,
        fuzzy=False,
        header_comment="# Simplified Chinese of the admin. Kept by `make messages`.",
    )
    for key, ids in sorted(list_wanted().items()):
        text = known.get(key, "")
        catalogue.add(ids, text if isinstance(ids, str) else (text,), context=key[0] or None)
    PO.parent.mkdir(parents=True, exist_ok=True)
    with PO.open("wb") as file:
        write_po(file, catalogue, no_location=True, omit_header=False, sort_output=True, width=0)
    with MO.open("wb") as file:
        write_mo(file, catalogue)
    return sum(not text for text in translations(catalogue).values())


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "paysys.settings.dev")
    import django

    django.setup()
    missing = write(translations(read()) if PO.exists() else {})
    sys.stdout.write(f"{PO.relative_to(ROOT)}: {missing} without a translation\n")
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
