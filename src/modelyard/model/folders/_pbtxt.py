"""The text format of protocol buffers, as config.pbtxt is written: fields, blocks and lists, without a schema.

Without a schema nothing is dropped: a field that nobody here knows is still there to be named to the user.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from modelyard.core.errors import InvalidModel

#: A message: every field with all its values, in order; a value is text, a number, a truth value or a message.
Message = dict[str, list[Any]]

MAX_DEPTH = 16
_TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*)
      | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<word>[A-Za-z_][\w.]*|[-+]?\.?\d[\w.+-]*|-[A-Za-z]+)
      | (?P<sign>[{}<>\[\]:;,/])""",
    flags=re.VERBOSE,
)
_CLOSING = {"{": "}", "<": ">"}


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


def parse(text: str, name: str) -> Message:
    """The message in this text.

    Raises
    ------
    InvalidModel
        It is not in the text format; says the line.
    """
    return _Reader(list(_tokens(text, name)), name).message("", 0)


def _tokens(text: str, name: str) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise _broken(name, line, f"{text[at : at + 12]!r} cannot stand there")
        if found.lastgroup != "skip":
            yield _Token(str(found.lastgroup), found.group(), line)
        line += found.group().count("\n")
        at = found.end()


class _Reader:
    def __init__(self, tokens: list[_Token], name: str) -> None:
        self._tokens = tokens
        self._at = 0
        self._name = name

    def message(self, closing: str, depth: int) -> Message:
        """Fields up to the closing sign, or to the end of the text."""
        if depth > MAX_DEPTH:
            raise self._trouble(f"blocks are nested more than {MAX_DEPTH} deep")
        fields: Message = {}
        while (token := self._peek()) is not None and not (token.kind == "sign" and token.text == closing):
            name = self._next()
            if name.kind != "word":
                raise self._trouble(f"{name.text!r} stands where a field's name should")
            values = fields.setdefault(name.text, [])
            values += self._values(depth)
            while self._is(";") or self._is(","):
                self._next()
        return fields

    def _values(self, depth: int) -> list[Any]:
        colon = self._is(":")
        if colon:
            self._next()
        if self._is("["):
            return self._list(depth)
        if not colon and not (self._is("{") or self._is("<")):
            raise self._trouble("a ':' or a block is missing")
        return [self._value(depth)]

    def _list(self, depth: int) -> list[Any]:
        self._next()
        values: list[Any] = []
        while not self._is("]"):
            values.append(self._value(depth))
            if self._is(","):
                self._next()
            elif not self._is("]"):
                raise self._trouble("a list misses a ',' or its ']'")
        self._next()
        return values

    def _value(self, depth: int) -> Any:
        token = self._next()
        if token.kind == "sign" and token.text in _CLOSING:
            closing = _CLOSING[token.text]
            message = self.message(closing, depth + 1)
            if not self._is(closing):
                raise self._trouble(f"a block that was opened in line {token.line} is not closed")
            self._next()
            return message
        if token.kind == "text":
            return self._joined(token)
        if token.kind == "word":
            return _scalar(token.text)
        raise self._trouble(f"{token.text!r} stands where a value should")

    def _joined(self, token: _Token) -> str:
        """Texts that stand side by side are one."""
        parts = [self._unquoted(token)]
        while (after := self._peek()) is not None and after.kind == "text":
            parts.append(self._unquoted(self._next()))
        return "".join(parts)

    def _unquoted(self, token: _Token) -> str:
        try:
            return str(ast.literal_eval(token.text))
        except (ValueError, SyntaxError) as exc:
            raise self._trouble(f"{token.text[:40]} is not a text") from exc

    def _peek(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _is(self, sign: str) -> bool:
        token = self._peek()
        return token is not None and token.kind == "sign" and token.text == sign

    def _next(self) -> _Token:
        token = self._peek()
        if token is None:
            raise self._trouble("it ends in the middle")
        self._at += 1
        return token

    def _trouble(self, what: str) -> InvalidModel:
        before = self._tokens[min(self._at, len(self._tokens)) - 1] if self._tokens else _Token("", "", 1)
        return _broken(self._name, before.line, what)


def _scalar(text: str) -> Any:
    if text in {"true", "True", "false", "False"}:
        return text in {"true", "True"}
    for number in (lambda: int(text, 0), lambda: int(text), lambda: float(text.rstrip("fF"))):
        try:
            return number() if text[0] in "+-.0123456789" else text
        except ValueError:
            continue
    return text


def _broken(name: str, line: int, what: str) -> InvalidModel:
    return InvalidModel(what=f"{name}, line {line}: {what}")
