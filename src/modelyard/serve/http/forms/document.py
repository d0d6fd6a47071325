"""A JSON document as TensorFlow Serving and MLflow read it: with ``NaN`` and ``Infinity``, and nothing said twice.

The forms decode well-formed bodies straight into typed values. What does not fit comes here: it may hold a token that
JSON does not have, or it is wrong and needs words.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from modelyard.core.errors import InvalidRequest, WrongType, nearest

_KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "nothing"}

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse(body: bytes | bytearray | memoryview) -> Any:
    """The document in these bytes.

    Raises
    ------
    InvalidRequest
        It is not JSON, is nested too deeply, names a member twice, or has a number that no float can hold.
    """
    try:
        text = bytes(body).decode()
        found = json.loads(text, object_pairs_hook=_once, parse_float=_finite)
        if _SURROGATE.search(text):
            json.dumps(found, ensure_ascii=False).encode()  # fails for half a character
        return found
    except RecursionError as exc:
        raise InvalidRequest(what="the JSON is nested too deeply") from exc
    except ValueError as exc:  # bytes that are not UTF-8, and a number of thousands of digits, too
        raise InvalidRequest(what="the body is not valid JSON", cause=str(exc)[:200]) from exc


def kind(value: Any) -> str:
    """What a parsed value is, for a sentence: ``a list``, ``an object``, ``text``, ``a number``."""
    return _KINDS.get(type(value), "a number")


def expect_object(value: Any, what: str) -> dict[str, Any]:
    """The value, which is an object; else `WrongType` with `what` as its name."""
    if not isinstance(value, dict):
        raise WrongType(field=what, expected="an object", got=kind(value), where="")
    return value


def members(value: Any, known: Sequence[str], what: str = "body") -> dict[str, Any]:
    """The value, which is an object with none but these members; misspelt ones are refused, not ignored."""
    found = expect_object(value, what)
    for name in found:
        if name not in known:
            near = nearest(name, known)
            cause = f"did you mean {near!r}?" if near else f"known are: {', '.join(known)}"
            raise InvalidRequest(what=f"the {what} has an unknown member {name[:80]!r}", cause=cause)
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise InvalidRequest(what=f"{twice[:80]!r} is sent twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # the token Infinity does not come here
        raise InvalidRequest(what=f"the number {text[:20]} is too large")
    return number
