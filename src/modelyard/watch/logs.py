"""The one way in which log records become text: a line each, whatever is in them, and never a value that was sent."""

from __future__ import annotations

import logging
from traceback import extract_tb
from types import TracebackType
from typing import TextIO

_FRAMES = 8


class OneLine(logging.Formatter):
    r"""Time, level, message; what does not print is escaped (``\n``, ``\x1b``), so that nobody writes a line more.

    Of exceptions it says the type and the places in the code, not their texts: those may hold what a caller sent.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        text = f"{self.formatTime(record)} {record.levelname} {record.getMessage()}"
        if record.exc_info and record.exc_info[1] is not None:
            text += f" | {_trace(record.exc_info[1])}"
        if text.isprintable():
            return text
        return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def configure(stream: TextIO) -> None:
    """Have everything that this process logs written to this stream, so."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(OneLine())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _trace(exc: BaseException) -> str:
    """Types and places, the innermost exception last."""
    said: list[str] = []
    current: BaseException | None = exc
    while current is not None and len(said) < _FRAMES:
        said.append(f"{type(current).__name__} at {_places(current.__traceback__)}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return " from ".join(said)


def _places(trace: TracebackType | None) -> str:
    frames = extract_tb(trace)[-_FRAMES:]
    return " < ".join(f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in reversed(frames)) or "-"


def _short(name: str) -> str:
    """The end of a path: where something is installed is nobody's business."""
    return "/".join(name.rsplit("/", 3)[-3:])
