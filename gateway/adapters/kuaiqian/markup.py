"""XML, read strictly and written by hand.

The reader is expat without a document type: a DTD, an entity declaration or a processing instruction ends it, so no
entity but the five predefined ones is ever expanded and nothing is fetched. Names are compared without namespace and
without regard to case, as the sources disagree about `pay2bank…` and `pay2Bank…`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape

MAX_BYTES = 256 * 1024
MAX_DEPTH = 12
MAX_NODES = 2_000
DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'


class MarkupInvalid(Exception):
    """The bytes are not XML as 99bill writes it. `reason` is lower-case machine text."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass
class Node:
    """One element; `name` without namespace, in lower case."""

    name: str
    parts: list[str] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.parts).strip()

    def all(self, name: str) -> list[Node]:
        return [child for child in self.children if child.name == name.lower()]

    def child(self, name: str) -> Node:
        """The only child of this name; MarkupInvalid when there is none or more than one."""
        found = self.all(name)
        if len(found) != 1:
            raise MarkupInvalid(f"{name.lower()}_{'repeated' if found else 'missing'}")
        return found[0]

    def value(self, name: str) -> str:
        """Text of the only child of this name, "" when there is none; MarkupInvalid when there are more."""
        found = self.all(name)
        if len(found) > 1:
            raise MarkupInvalid(f"{name.lower()}_repeated")
        return found[0].text if found else ""


def parse(content: bytes) -> Node:
    """The root element. Raises MarkupInvalid and nothing else, whatever the bytes are."""
    if len(content) > MAX_BYTES:
        raise MarkupInvalid("xml_too_large")
    reader = _Reader()
    parser = expat.ParserCreate(encoding="utf-8", namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.data
    parser.StartDoctypeDeclHandler = reader.refuse
    parser.EntityDeclHandler = reader.refuse
    parser.ProcessingInstructionHandler = reader.refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise MarkupInvalid("xml_malformed") from error
    if reader.root is None:
        raise MarkupInvalid("xml_malformed")
    return reader.root


class _Reader:
    def __init__(self) -> None:
        self.root: Node | None = None
        self._open: list[Node] = []
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if len(self._open) >= MAX_DEPTH or self._count > MAX_NODES:
            raise MarkupInvalid("xml_too_large")
        node = Node(name.rpartition(" ")[2].lower())
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        self._open.append(node)

    def end(self, name: str) -> None:
        self._open.pop()

    def data(self, text: str) -> None:
        if self._open:
            self._open[-1].parts.append(text)

    def refuse(self, *_: Any) -> None:
        raise MarkupInvalid("xml_forbidden")


def element(name: str, *children: str, attributes: str = "") -> str:
    """`<name>children</name>`; children are XML already. `attributes`: with its leading space."""
    return f"<{name}{attributes}>{''.join(children)}</{name}>"


def texts(fields: dict[str, str]) -> str:
    """One element per field, values escaped."""
    return "".join(element(name, escape(value)) for name, value in fields.items())
