"""XML by the schema of docs/xml.md: ``<rows><row><field name="x">1</field></row></rows>``, answered in the same words.

The parser is expat alone. What makes XML dangerous is refused when it begins: document types, entities, processing
instructions, nesting. Nothing is ever fetched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from xml.parsers import expat

from modelyard.core.cells import from_cell_rows
from modelyard.core.errors import InvalidRequest, Unsupported
from modelyard.core.schema import has_columns
from modelyard.core.signature import Signature
from modelyard.core.tensor import Array
from modelyard.serve.http.forms.answers import AnswerTable
from modelyard.serve.http.forms.delimited import texts, values

PROBLEM = b"application/problem+xml"
_OPEN = ("rows", "row", "field")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_ENCODINGS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_ESCAPES = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;"}
_ESCAPES |= {ord(mark): f"&#{ord(mark)};" for mark in "\t\n\r"}
# What XML cannot say at all becomes the mark for a character that could not be shown.
_ESCAPES |= {code: "\ufffd" for code in [*range(32), 0xFFFE, 0xFFFF] if code not in _ESCAPES}


class XmlForm:
    """Rows of text fields for one version; made once, when it is first asked so."""

    MEDIA: ClassVar[tuple[bytes, ...]] = (b"application/xml", b"text/xml")
    CONTENT_TYPE: ClassVar[bytes] = b"application/xml"

    def __init__(self, signature: Signature, name: str, version: int) -> None:
        self._signature = signature
        self._about = f' model="{escaped(name)}" version="{version}"'
        self._table = AnswerTable(signature)

    @staticmethod
    def reads(signature: Signature) -> bool:
        """Whether questions fit this form: a field holds one value."""
        return has_columns(signature)

    @staticmethod
    def writes(signature: Signature, *, full: bool) -> bool:
        """Whether answers fit this form: all do."""
        del signature, full
        return True

    def decode(self, body: bytes | bytearray) -> tuple[Array, ...]:
        """The arranged arrays of the rows; a `ModelyardError` says what does not fit."""
        if not has_columns(self._signature):
            raise Unsupported(what="XML for a model that takes whole tensors", hint="send them as JSON or Arrow")
        return from_cell_rows(self._signature, _Document().read(bytes(body)))

    def encode(self, outputs: Sequence[Array]) -> bytes:
        """A row of fields for each row; missing values are empty."""
        return self._write(outputs, "", full=False)

    def encode_full(self, outputs: Sequence[Array]) -> bytes:
        """The same with the model, its version, and a field a class."""
        return self._write(outputs, self._about, full=True)

    def _write(self, outputs: Sequence[Array], about: str, *, full: bool) -> bytes:
        columns = {name: values(array) for name, array in self._table.flat(outputs, full=full)}
        return write_rows("predictions", columns, about).encode()


def write_rows(root: str, columns: Mapping[str, Sequence[Any]], about: str = "") -> str:
    """A document of these columns, a row each; None is an empty field, truth values are ``true`` and ``false``."""
    starts = [f'<field name="{escaped(name)}"' for name in columns]
    rows = zip(*(texts(column) for column in columns.values()), strict=True)
    lines = ["<row>" + "".join(map(_field, starts, row)) + "</row>\n" for row in rows]
    return f"{_HEAD}<{root}{about}>\n{''.join(lines)}</{root}>\n"


def _field(start: str, value: Any) -> str:
    return f"{start}/>" if value is None or value == "" else f"{start}>{escaped(str(value))}</field>"


def escaped(text: str) -> str:
    """The text as it may stand in an element or an attribute."""
    return text.translate(_ESCAPES)


def problem(members: Mapping[str, Any]) -> bytes:
    """A problem as XML by appendix B of RFC 9457."""
    inner = "".join(_member(name, value) for name, value in members.items())
    return f'{_HEAD}<problem xmlns="urn:ietf:rfc:7807">{inner}</problem>\n'.encode(errors="replace")


def _member(name: str, value: Any) -> str:
    name = name if _NAME.fullmatch(name) else "i"
    if isinstance(value, Mapping):
        inner = "".join(_member(str(key), item) for key, item in value.items())
    elif isinstance(value, (list, tuple)):
        inner = "".join(_member("i", item) for item in value)
    else:
        inner = escaped(str(value))
    return f"<{name}>{inner}</{name}>"


class _Document:
    """Follows one document from tag to tag."""

    def __init__(self) -> None:
        self._rows: list[dict[str, str]] = []
        self._depth = 0
        self._name = ""
        self._text: list[str] = []
        self._parser = expat.ParserCreate("utf-8")
        self._parser.buffer_text = True
        self._parser.XmlDeclHandler = self._declared
        self._parser.StartDoctypeDeclHandler = self._refused_doctype
        self._parser.ProcessingInstructionHandler = self._refused_instruction
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters

    def read(self, body: bytes) -> list[dict[str, str]]:
        """The rows of a whole document."""
        try:
            self._parser.Parse(body, True)  # noqa: FBT003 - it takes no keywords
        except expat.ExpatError as exc:
            words = expat.ErrorString(exc.code)
            raise InvalidRequest(what=f"the body is not well-formed XML (line {exc.lineno}): {words}") from exc
        return self._rows

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        expected = _OPEN[self._depth] if self._depth < len(_OPEN) else None
        if tag != expected:
            place = "in a <field>" if expected is None else f"where a <{expected}> is due"
            raise self._wrong(f"<{tag[:40]}> {place}")
        self._depth += 1
        if tag == "row":
            self._rows.append({})
        known = {name: value for name, value in attributes.items() if not name.startswith("xmlns")}
        if tag == "field":
            self._begin_field(known)
        elif known:
            raise self._wrong(f"attribute {min(known)[:40]!r} of <{tag}>")

    def _begin_field(self, attributes: dict[str, str]) -> None:
        if set(attributes) != {"name"}:
            raise self._wrong("a <field> has the attribute name, and no other")
        self._name = attributes["name"]
        self._text = []
        if self._name in self._rows[-1]:
            raise InvalidRequest(what=f"{self._name[:80]!r} is sent twice")

    def _end(self, tag: str) -> None:
        self._depth -= 1
        if tag == "field":
            self._rows[-1][self._name] = "".join(self._text)

    def _characters(self, text: str) -> None:
        if self._depth == len(_OPEN):
            self._text.append(text)
        elif text.strip():
            raise self._wrong(f"text outside a <field>: {text.strip()[:40]!r}")

    def _declared(self, version: str, encoding: str | None, standalone: int) -> None:
        del version, standalone
        if encoding is not None and encoding.lower() not in _ENCODINGS:
            raise Unsupported(what=f"XML in {encoding[:40]!r}", hint="send it in UTF-8")

    def _refused_doctype(self, *about: Any) -> None:
        del about
        raise self._wrong("a document type; entities and everything external are refused")

    def _refused_instruction(self, target: str, text: str) -> None:
        del text
        raise self._wrong(f"a processing instruction {target[:40]!r}")

    def _wrong(self, what: str) -> InvalidRequest:
        return InvalidRequest(
            what=f"the XML has {what} (line {self._parser.CurrentLineNumber})", hint="see docs/xml.md"
        )
