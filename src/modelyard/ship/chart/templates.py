"""Templates of Helm, derived from objects with marks for values: with all there can be, and without each part.

So nobody writes an object twice. What a part adds stands between ``{{- if }}`` and ``{{- end }}``, a mark becomes the
value that it stands for. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.ship import yaml


@dataclass(frozen=True)
class Code:
    """A value that Helm computes: an expression, without its braces.

    Parameters
    ----------
    text : str
        The expression.
    block : bool
        Whether it is a list or a mapping, to be indented below its key.
    """

    text: str
    block: bool = False


@dataclass(frozen=True)
class Each:
    """One item of a list for each of a list of texts that Helm has."""

    text: str


@dataclass(frozen=True)
class When:
    """A key or an item that is there under a condition only."""

    condition: str
    value: Any


@dataclass(frozen=True)
class Either:
    """A value under a condition, and another one without."""

    condition: str
    value: Any
    other: Any


#: A part that can be left out: the condition under which it is there, and the whole without it.
Part = tuple[str, Any]
_NOTHING = object()


def fold(whole: Any, parts: Sequence[Part]) -> Any:
    """The whole, with what depends on a part marked so.

    Parameters
    ----------
    whole : plain data
        With every part.
    parts : sequence of (str, plain data)
        For each part its condition, and the same data without it.
    """
    parts = [(condition, without) for condition, without in parts if without != whole]
    if not parts:
        return whole
    filled = all(without for _, without in parts)  # a key with nothing below it would be null, not empty
    if filled and isinstance(whole, dict) and all(isinstance(without, dict) for _, without in parts):
        return _fold_fields(whole, parts)
    if filled and isinstance(whole, list) and all(isinstance(without, list) for _, without in parts):
        named = _fold_fields(_named(whole), [(condition, _named(without)) for condition, without in parts])
        return list(named.values())
    (condition, without), *others = parts
    if others:
        raise ValueError(f"{whole!r} depends on {condition} and on {others[0][0]}")
    return Either(condition, whole, without)


def _fold_fields(whole: dict[str, Any], parts: Sequence[Part]) -> dict[str, Any]:
    folded: dict[str, Any] = {}
    for key, value in whole.items():
        missing = [condition for condition, without in parts if key not in without]
        inner = fold(value, [(condition, without[key]) for condition, without in parts if key in without])
        folded[key] = When(every(missing), inner) if missing else inner
    for condition, without in parts:
        folded |= {key: When(f"not ({condition})", without[key]) for key in without if key not in whole}
    return folded


def every(conditions: Sequence[str]) -> str:
    """The condition that all of them hold; empty where there are none."""
    return "".join(conditions) if len(conditions) < 2 else f"and {' '.join(f'({each})' for each in conditions)}"


def _named(items: list[Any]) -> dict[str, Any]:
    """Items of a list by what tells them apart, so that one can be missing."""
    named: dict[str, Any] = {}
    for item in items:
        name = item.get("name") or item.get("type") or "" if isinstance(item, dict) else str(item)
        while name in named:
            name += "+"
        named[name] = item
    return named


def marked(value: Any, marks: Mapping[str, str | Each]) -> Any:
    """The same, every mark replaced by the expression that it stands for.

    Parameters
    ----------
    value : plain data
        Strings may hold marks, numbers may be one.
    marks : mapping of str to str or Each
        Expression by mark; a number's mark is its decimal digits. What stands for an `Each` is an item of a list.
    """
    if isinstance(value, dict):
        return {_key(key, marks): marked(item, marks) for key, item in value.items()}
    if isinstance(value, list):
        return [marked(item, marks) for item in value]
    if isinstance(value, When):
        return When(value.condition, marked(value.value, marks))
    if isinstance(value, Either):
        return Either(value.condition, marked(value.value, marks), marked(value.other, marks))
    if isinstance(value, int) and not isinstance(value, bool) and str(value) in marks:
        return Code(f"int {marks[str(value)]}")
    return _text(value, marks) if isinstance(value, str) else value


def _key(key: str, marks: Mapping[str, str | Each]) -> str:
    if any(mark in key for mark in marks):
        raise ValueError(f"a mark in a key: {key}")
    return key


def _text(text: str, marks: Mapping[str, str | Each]) -> Any:
    """A text with marks: the value itself, or a format with the values in their places."""
    if isinstance(marks.get(text), Each):
        return marks[text]
    if text in marks:
        return Code(f"{_said(text, marks)} | quote")
    found = re.findall("|".join(map(re.escape, sorted(marks, key=len, reverse=True))), text)
    if not found:
        return text
    form = text.replace("%", "%%")
    for mark in found:
        form = form.replace(mark, "%s", 1)
    return Code(f'printf "{form}" {" ".join(f"({_said(mark, marks)})" for mark in found)} | quote')


def _said(mark: str, marks: Mapping[str, str | Each]) -> str:
    """The expression as text: a number of values.yaml is a float to Helm, which would write 1e+06."""
    return f"int64 {marks[mark]} | toString" if mark.isdigit() else str(marks[mark])


def written(value: Any, depth: int = 0) -> str:
    """As a template: block YAML, each condition on a line of its own."""
    pad = "  " * depth
    if isinstance(value, dict):
        return "".join(_field(key, item, depth) for key, item in value.items())
    lines = []
    for item in value:
        if isinstance(item, Each):
            lines.append(f"{pad}{{{{- range {item.text} }}}}\n{pad}- {{{{ . | quote }}}}\n{pad}{{{{- end }}}}\n")
            continue
        inner = item.value if isinstance(item, When) else item
        text = f"{pad}- {_scalar(inner)}\n" if _flat(inner) else _item(written(inner, depth + 1), depth)
        lines.append(_under(item.condition, text, pad) if isinstance(item, When) else text)
    return "".join(lines)


def _item(text: str, depth: int) -> str:
    """The lines of a mapping as an item of a list; its first line must be no condition."""
    at = 2 * depth
    return f"{text[:at]}- {text[at + 2 :]}"


def _field(key: str, value: Any, depth: int) -> str:
    pad = "  " * depth
    name = yaml.dump(key).strip().removesuffix("\n...").strip()
    if isinstance(value, When):
        return _under(value.condition, _field(key, value.value, depth), pad)
    if isinstance(value, Either) and not (_flat(value.value) and _flat(value.other)):
        one, other = _field(key, value.value, depth), _field(key, value.other, depth)
        return f"{pad}{{{{- if {value.condition} }}}}\n{one}{pad}{{{{- else }}}}\n{other}{pad}{{{{- end }}}}\n"
    if isinstance(value, Code) and value.block:
        return f"{pad}{name}:\n{pad}  {{{{- toYaml {value.text} | nindent {2 * depth + 2} }}}}\n"
    if _flat(value):
        return f"{pad}{name}: {_scalar(value)}\n"
    return f"{pad}{name}:\n{written(value, depth + 1)}"


def _under(condition: str, text: str, pad: str) -> str:
    return f"{pad}{{{{- if {condition} }}}}\n{text}{pad}{{{{- end }}}}\n"


def _flat(value: Any) -> bool:
    """Whether it is written on one line."""
    if isinstance(value, Code):
        return not value.block
    return not isinstance(value, When) and not (isinstance(value, (dict, list)) and value)


def _scalar(value: Any) -> str:
    if isinstance(value, Code):
        return f"{{{{ {value.text} }}}}"
    if isinstance(value, Either):
        return f"{{{{ if {value.condition} }}}}{_scalar(value.value)}{{{{ else }}}}{_scalar(value.other)}{{{{ end }}}}"
    return yaml.dump(value).removesuffix("...\n").strip()
