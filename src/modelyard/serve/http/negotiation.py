"""What ``Accept`` and ``Content-Type`` say (RFC 9110): which media type suits a client best."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

ANYTHING = b"*/*"
_XML = (b"application/problem+xml", b"application/xml", b"text/xml")
_JSON = (b"application/problem+json", b"application/json")


def media_type(value: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """The type in a ``Content-Type`` and its parameters, all in lower case and without quotes."""
    name, *rest = value.lower().split(b";")
    pairs = (item.partition(b"=") for item in rest)
    return name.strip(), {key.strip(): text.strip().strip(b'"') for key, _, text in pairs if key.strip()}


@lru_cache(maxsize=256)
def _weights(accept: bytes) -> dict[bytes, float]:
    """Weight by media range; parameters other than ``q`` are not looked at."""
    found: dict[bytes, float] = {}
    for item in accept.split(b","):
        name, parameters = media_type(item)
        if name:
            found[name] = max(found.get(name, 0.0), _weight(parameters.get(b"q", b"1")))
    return found


def _weight(text: bytes) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0


def weight(accept: bytes, media: bytes) -> float:
    """How welcome a media type is, from 0 (not at all) to 1: by the most specific range that covers it."""
    weights = _weights(accept)
    for covering in (media, media.partition(b"/")[0] + b"/*", ANYTHING):
        if covering in weights:
            return weights[covering]
    return 0.0


def ranked(accept: bytes, offered: Iterable[bytes]) -> list[bytes]:
    """The offered types that are welcome, best first; of equals those that are offered first."""
    weighed = [(weight(accept, media), media) for media in offered]
    return [media for found, media in sorted(weighed, key=lambda pair: -pair[0]) if found > 0]


@lru_cache(maxsize=256)
def prefers_xml(accept: bytes, content_type: bytes) -> bool:
    """Whether an error is told in XML: what ``Accept`` likes better, else what the question came in."""
    if accept in {b"", ANYTHING}:
        return media_type(content_type)[0] in _XML
    return max(weight(accept, media) for media in _XML) > max(weight(accept, media) for media in _JSON)
