"""What is kept of questions and answers: nothing, unless an operator says so for a model."""

from __future__ import annotations

from typing import Literal

import msgspec

_MOST_DAYS = 3650
_MOST_COLUMNS = 1000


class Auditing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """That each prediction of a model leaves a line, without a value: who, when, which version, how much, how it ended.

    Parameters
    ----------
    policy : str
        What becomes of predictions when lines cannot be written fast enough: ``drop`` answers them and counts the lines
        that are missing, ``block`` refuses them.
    pseudonyms : bool
        Whether callers stand in it under pseudonyms.
    days : float
        How long lines are kept.
    """

    policy: Literal["drop", "block"] = "drop"
    pseudonyms: bool = False
    days: float = 30.0

    def __post_init__(self) -> None:
        _check_days(self.days)


class Capture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """That a sample of a model's questions and answers is kept, encrypted.

    Parameters
    ----------
    sample : float
        Which part of the requests, above 0 and up to 1; chosen by their ids, alike in every worker.
    columns : tuple of str
        The inputs and outputs that are kept; nothing else is.
    days : float
        How long.
    subject : str
        Name of the input that says whom a row is about, so that a person can be erased; empty for none. Whether its
        values are kept too is said by `columns`; without that, a pseudonym is.
    """

    sample: float
    columns: tuple[str, ...]
    days: float
    subject: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.sample <= 1:
            raise ValueError(f"the sample is {self.sample:g}, and has to be above 0 and at most 1")
        if not 1 <= len(set(self.columns)) == len(self.columns) <= _MOST_COLUMNS or not all(self.columns):
            raise ValueError("name the columns that are kept, each once")
        _check_days(self.days)


class Privacy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What is kept of one model's predictions; None for nothing of that kind."""

    audit: Auditing | None = None
    capture: Capture | None = None

    def __bool__(self) -> bool:
        return self.audit is not None or self.capture is not None


class Journaling(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What workers write down, and where.

    Parameters
    ----------
    folder : str
        Where their journals lie; empty when nothing is written down.
    secret : str
        The file of the secret that pseudonyms are made with.
    public : str
        The key for which captures are encrypted: X25519, raw, base64. Workers do not have its other half.
    turn : int
        Grows when workers are to close what they have begun, and begin anew.
    models : dict of str to Privacy
        Of which models.
    """

    folder: str = ""
    secret: str = ""
    public: str = ""
    turn: int = 0
    models: dict[str, Privacy] = {}


def _check_days(days: float) -> None:
    if not 0 < days <= _MOST_DAYS:
        raise ValueError(f"kept for {days:g} days, and it has to be above 0 and at most {_MOST_DAYS}")
