"""What may be dangerous stands in one known place each: readers of XML, calls to other servers, tables for people.

The places themselves are tested where they are (billion laughs and external entities in tests/contract/gateway,
callback addresses in tests/integration/payments/test_business_callbacks.py); here, that no further one appears unseen.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.adapters import wechat_legacy
from gateway.adapters.kuaiqian import markup
from gateway.adapters.wechat_legacy import AnswerMismatch
from tests.system import ROOT

NOT_SHIPPED = {".venv", ".local", "tests", "benchmarks", ".git"}
XML_READERS = {
    "gateway/adapters/kuaiqian/markup.py",
    "gateway/adapters/wechat_legacy.py",
    "simulator/kuaiqian/wire.py",
    "simulator/wechat/legacy.py",
}
"""Each refuses a document type before anything is expanded."""
XML_MODULES = ("xml.etree", "xml.parsers", "xml.dom", "xml.sax", "lxml", "xmlrpc", "plistlib", "bs4")
HARMLESS = {("xml.sax.saxutils", "escape")}
TABLES_FOR_PROVIDERS = {"simulator/alipay/bills.py"}
"""Alipay's own form of a bill; no person opens it."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT)
        if not NOT_SHIPPED & set(name.parts):
            yield str(name), ast.parse(path.read_text(encoding="utf-8"))


MODULES = dict(modules())


def imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(module, name) of every import; the name is "" where a module is imported whole."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


def test_xml_is_read_in_known_places() -> None:
    assert len(MODULES) > 200
    found = {
        path
        for path, tree in MODULES.items()
        if any(f"{one[0]}.{one[1]}".startswith(XML_MODULES) for one in imported(tree) if one not in HARMLESS)
    }
    assert found == XML_READERS


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
HOSTILE = {
    "billion laughs": f'<!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]><x>&l9;</x>',
    "a file": '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
    "an address": '<!DOCTYPE x [<!ENTITY e SYSTEM "http://127.0.0.1:9/">]><x>&e;</x>',
    "a document type elsewhere": '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><x/>',
    "a parameter entity": '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://127.0.0.1:9/"> %p;]><x/>',
    "an unknown entity": "<x>&nobody;</x>",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_hostile_xml_is_refused_by_every_reader_of_answers(name: str, encoding: str) -> None:
    """In UTF-16 as well, where a look at the bytes would not find the declaration."""
    content = HOSTILE[name].encode(encoding)
    with pytest.raises(markup.MarkupInvalid):
        markup.parse(content)
    with pytest.raises(AnswerMismatch):
        wechat_legacy.read_xml(content)


def test_every_call_to_another_server_has_a_time_out_and_follows_no_redirect() -> None:
    """A redirect would lead a judged address to another, inside of our network."""
    found, careless = 0, []
    for path, tree in MODULES.items():
        if path.startswith(("simulator/", "paysys/demo/")):
            continue  # they ask what they started themselves
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if not isinstance(node.func.value, ast.Name) or node.func.value.id != "requests":
                continue
            if node.func.attr not in ("get", "post", "put", "patch", "delete", "request", "Session"):
                continue
            found += 1
            given = {word.arg: word.value for word in node.keywords}
            follows = given.get("allow_redirects")
            if "timeout" not in given or not isinstance(follows, ast.Constant) or follows.value is not False:
                careless.append(f"{path}:{node.lineno}")
    assert found >= 4
    assert careless == []


def test_addresses_that_others_set_are_called_by_the_one_careful_sender() -> None:
    """`callback_url` of business backends is the only address that staff can set; clients can set none that we call.

    The CRM's is the settings', and is called by the same sender.
    """
    callers = {path for path, tree in MODULES.items() if ("payments.services", "callback_sending") in imported(tree)}
    assert callers == {"payments/services/callbacks_out.py", "collect/services/crm.py"}
    models = [path for path in MODULES if Path(path).name == "models.py"]
    named = {
        (path, node.targets[0].id)
        for path in models
        for node in ast.walk(MODULES[path])
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and "url" in node.targets[0].id.lower()
    }
    assert named == {
        ("payments/models.py", "callback_url"),
        ("redpacket/models.py", "article_url"),  # the reader's browser opens it, we never do
    }


def test_tables_for_people_are_written_by_the_one_helper() -> None:
    writers = {
        path
        for path, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in ("writer", "DictWriter")
        and isinstance(node.value, ast.Name)
        and node.value.id == "csv"
    }
    assert writers - TABLES_FOR_PROVIDERS == {"foundation/exports.py"}
