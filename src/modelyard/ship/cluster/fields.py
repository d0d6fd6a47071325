"""What differs between two states of a Kubernetes object, field by field, for people."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from modelyard.ship.cluster.pods import RELEASE

#: Written by the cluster itself, or telling nothing of what runs.
_NOISE = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
_NUMBERED = "deployment.kubernetes.io/revision"
#: Fields of a list's item that its path says already, or that go without saying.
_NAMING = frozenset({"name", "kind", "group"})
_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")
_SHOWN = 200
_LINES = 12
#: Paths that are said shortly: what an object consists of is known.
_SHORT = (
    ("spec.template.spec.containers[modelyard].", ""),
    ("spec.template.spec.", "pod."),
    ("spec.template.", "pod."),
    ("spec.", ""),
    ("metadata.", ""),
)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """One line for each field that is another one, shortly: ``image: a -> b``; of Secrets only what changed, hashed.

    Parameters
    ----------
    before, after : mapping
        The object as it is, and as the cluster says that it would be.
    """
    old, new = dict(_fields(before)), dict(_fields(after))
    paths = [path for path in (*old, *(path for path in new if path not in old)) if old.get(path) != new.get(path)]
    lines = [f"{_short(path)}: {_said(old.get(path))} -> {_said(new.get(path))}" for path in paths]
    return (*lines[:_LINES], *([f"... and {len(lines) - _LINES} more"] if len(lines) > _LINES else []))


def _fields(item: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every single value by its path; empty lists and maps are the same as none."""
    secret = item.get("kind") == "Secret"
    for key, value in item.items():
        if key in {"status", "apiVersion", "kind"}:
            continue
        if key == "metadata":
            yield from _flat(key, _quiet(value))
        elif secret and key == "data":
            yield from _flat(key, {name: _digest(text) for name, text in (value or {}).items()})
        else:
            yield from _flat(key, value)


def _quiet(metadata: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in metadata.items() if key not in _NOISE}
    for part, unsaid in (("labels", RELEASE), ("annotations", _NUMBERED)):
        kept[part] = {key: value for key, value in (kept.get(part) or {}).items() if key != unsaid}
    return kept


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{path}.{key}", inner)
    elif isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        for at, inner in enumerate(value):
            said = {key: each for key, each in inner.items() if key not in _NAMING or "name" not in inner}
            yield from _flat(f"{path}[{inner.get('name') or at}]", said or "there")
    elif value not in (None, [], ""):
        yield path, value


def shortened(text: str) -> str:
    """With digests cut to what tells them apart."""
    return _DIGEST.sub(r"\1…", text)


def _digest(text: str) -> str:
    return f"sha256 {hashlib.sha256(base64.b64decode(text)).hexdigest()[:12]}"


def _short(path: str) -> str:
    for long, short in _SHORT:
        if path.startswith(long):
            return short + path[len(long) :]
    return path


def _said(value: Any) -> str:
    if value is None:
        return "(none)"
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = shortened(" ".join(text.split()))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
