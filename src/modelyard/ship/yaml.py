"""YAML: written so that every reader sees what was meant, and read as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from modelyard.core.errors import InvalidRequest, MissingExtra

_WIDTH = 4096  # no line is folded: a folded line is hard to compare with another


def dump(value: Any) -> str:
    """One document: block style, keys in their order, text of several lines as it is, the same for the same value.

    Parameters
    ----------
    value : plain data
        Dicts, lists and tuples, text, numbers, booleans, None. Text that a reader of YAML 1.1 could take for something
        else (``no``, ``1e3``, ``0x1``) is quoted.
    """
    yaml = _yaml()
    plain: Any = yaml.SafeDumper  # the library has no types

    class Dumper(plain):  # type: ignore[misc]  # as above
        """Lists are indented below their key, nothing is abbreviated by an anchor."""

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:  # noqa: FBT001, FBT002
            return super().increase_indent(flow, indentless=False)

        def ignore_aliases(self, data: Any) -> bool:
            return True

    Dumper.add_representer(str, _text)
    Dumper.add_representer(tuple, lambda dumper, items: dumper.represent_list(list(items)))
    text: str = yaml.dump(
        value, Dumper=Dumper, default_flow_style=False, sort_keys=False, allow_unicode=True, width=_WIDTH
    )
    return text


def dump_all(values: Iterable[Any]) -> str:
    """Several documents, each after a line ``---``."""
    return "".join(f"---\n{dump(value)}" for value in values)


def load(text: str, what: str = "the YAML") -> Any:
    """The document as plain data; `InvalidRequest` when it is not one. Tags that would make objects are refused."""
    return _read(text, what, "safe_load")


def load_all(text: str, what: str = "the YAML") -> list[Any]:
    """Every document, as `load` reads one; empty ones are left out."""
    return [each for each in _read(text, what, "safe_load_all") if each is not None]


def _read(text: str, what: str, how: str) -> Any:
    yaml = _yaml()
    try:
        found = getattr(yaml, how)(text)
        return list(found) if how.endswith("all") else found
    except (yaml.YAMLError, RecursionError, ValueError) as exc:
        raise InvalidRequest(what=f"{what} cannot be read", cause=" ".join(str(exc).split())[:300]) from exc


def _text(dumper: Any, text: str) -> Any:
    """As a block where it has several lines and a block can hold it; quoted where it could be read as another type."""
    lines = text.split("\n")
    plain = all(line == line.rstrip() and line.isprintable() for line in lines)
    style = "'" if _ambiguous(text) else None
    if not plain or len(lines) > 1:
        style = "|" if plain and lines[0] and not lines[0].startswith(" ") else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _ambiguous(text: str) -> bool:
    """Whether some reader takes it for a number or a truth: readers of 1.1 and of 1.2 differ, so both are heard."""
    if text.lower() in {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", ""}:
        return True
    return text[:1] in set("0123456789+-.") and text.replace("_", "").strip("+-.")[:1].isdigit()


def _yaml() -> Any:
    try:
        import yaml  # noqa: PLC0415 - heavy, and an extra
    except ImportError as exc:
        raise MissingExtra(what="writing this", library="pyyaml", extra="ship") from exc
    return yaml
