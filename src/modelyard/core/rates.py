"""Rate classes: how much a caller may ask of a model. Keys name their class; under the empty name, the usual one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from modelyard.core.errors import InvalidName, InvalidRequest
from modelyard.core.identity import Permission, Scope, Verb, parse_scope

#: What the class without a name is called where a name has to be typed.
USUAL = "usual"

_MOST = 1e12
_FIELDS = ("requests_s", "burst", "requests_day", "rows_day", "in_flight")


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What each caller of a class may ask of each model; what is None is not limited.

    Parameters
    ----------
    models : str
        Of which models: a name, in which ``*`` stands for any number of characters.
    requests_s : float, optional
        Requests a second, in the long run.
    burst : int, optional
        Requests at once after a quiet while; None for one second's worth, and at least 1.
    requests_day, rows_day : int, optional
        Requests and rows of one day of UTC.
    in_flight : int, optional
        Requests that are being answered at the same time.
    """

    models: str = "*"
    requests_s: float | None = None
    burst: int | None = None
    requests_day: int | None = None
    rows_day: int | None = None
    in_flight: int | None = None

    def __post_init__(self) -> None:
        given = {name: value for name in _FIELDS if (value := getattr(self, name)) is not None}
        if not given:
            raise ValueError("a rate limits something")
        for name, value in given.items():
            least = 0.001 if name == "requests_s" else 1
            if not least <= value <= _MOST:
                raise ValueError(f"{name} is {value}, and has to be {least} to {_MOST:.0f}")
        if self.burst is not None and self.requests_s is None:
            raise ValueError("a burst belongs to a number of requests a second")
        try:
            parse_scope(f"model:{self.models}:predict")
        except InvalidName as exc:
            raise ValueError(f"{self.models[:80]!r} is not a pattern of model names") from exc

    @property
    def at_once(self) -> int:
        """Requests at once after a quiet while."""
        return self.burst or max(1, int(self.requests_s or 1))

    def holds_for(self, model: str) -> bool:
        """Whether it is about this model."""
        return Scope(Verb.PREDICT, self.models).covers(Permission(Verb.PREDICT, model))


#: By the name of the class; one for each pattern.
Rates = Mapping[str, tuple[Rate, ...]]


def chosen(rates: Iterable[Rate], model: str) -> Rate | None:
    """The rate that holds for this model: of those whose pattern is true of it, the one with the longest pattern."""
    return max((rate for rate in rates if rate.holds_for(model)), key=lambda rate: len(rate.models), default=None)


def read(raw: bytes) -> dict[str, tuple[Rate, ...]]:
    """Rate classes in these bytes; none where there are none, `InvalidRequest` when they are not rate classes."""
    if not raw:
        return {}
    try:
        return msgspec.json.decode(raw, type=dict[str, tuple[Rate, ...]])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidRequest(what=f"the rate classes are not valid: {exc}", hint="modelyard rate list") from exc


def write(rates: Rates) -> bytes:
    """Back to bytes."""
    return msgspec.json.format(msgspec.json.encode(rates, order="sorted"), indent=2) + b"\n"
