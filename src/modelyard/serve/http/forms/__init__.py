"""Bodies: each file turns one kind of bytes into arranged arrays, and outputs back. Contracts share them.

Forms that media types name stand in `FORMS`: a file here, a line a media type, a line in docs/contracts.md. They are
imported when they are first asked for, so that a library that nobody uses costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import ClassVar, Protocol, cast

from modelyard.core.errors import MissingExtra
from modelyard.core.signature import Signature
from modelyard.core.tensor import Array, Arrays

_HERE = "modelyard.serve.http.forms."
#: The form of each media type, by its module and class.
FORMS: dict[bytes, str] = {
    b"application/json": "rows:RowForm",
    b"text/json": "rows:RowForm",
    b"text/csv": "delimited:CsvForm",
    b"application/csv": "delimited:CsvForm",
    b"application/xml": "markup:XmlForm",
    b"text/xml": "markup:XmlForm",
    b"application/vnd.apache.parquet": "columnar:ParquetForm",
    b"application/x-parquet": "columnar:ParquetForm",
    b"application/vnd.apache.arrow.stream": "columnar:ArrowForm",
    b"application/vnd.apache.arrow.file": "columnar:ArrowFileForm",
    b"application/vnd.msgpack": "packed:MessagePackForm",
    b"application/msgpack": "packed:MessagePackForm",
    b"application/x-msgpack": "packed:MessagePackForm",
    b"application/x-npy": "npy:NpyForm",
}
#: The media types by which clients are told of the forms: each one's first.
OFFERED: tuple[str, ...] = tuple({target: media.decode() for media, target in reversed(FORMS.items())}.values())[::-1]
_LIBRARIES = {"columnar": ("pyarrow", "arrow")}  # and the extra that brings it


class Form(Protocol):
    """One kind of body for one version of a model."""

    #: Media types that mean it, and the value of ``Content-Type`` on its answers.
    MEDIA: ClassVar[tuple[bytes, ...]]
    CONTENT_TYPE: ClassVar[bytes]

    def __init__(self, signature: Signature, name: str, version: int) -> None: ...

    @staticmethod
    def reads(signature: Signature) -> bool:
        """Whether questions to this signature fit the form."""
        ...

    @staticmethod
    def writes(signature: Signature, *, full: bool) -> bool:
        """Whether its answers fit the form."""
        ...

    def decode(self, body: bytes | bytearray) -> Arrays:
        """The arranged arrays that the body stands for; a `ModelyardError` says what does not fit.

        Several threads may call it at once: large bodies are read beside the event loop.
        """
        ...

    def encode(self, outputs: Sequence[Array]) -> bytes:
        """One prediction a row."""
        ...

    def encode_full(self, outputs: Sequence[Array]) -> bytes:
        """The same with class probabilities."""
        ...


def form(media: bytes) -> type[Form]:
    """The form of a media type in `FORMS`, imported; `MissingExtra` where its library is not installed."""
    module, _, name = FORMS[media].partition(":")
    try:
        return cast(type[Form], getattr(import_module(_HERE + module), name))
    except ModuleNotFoundError as exc:
        library, extra = _LIBRARIES.get(module, ("", ""))
        if exc.name is None or exc.name.partition(".")[0] != library:
            raise
        raise MissingExtra(what=media.decode(), library=library, extra=extra) from exc


def installed(media: str) -> bool:
    """Whether the library that this form needs is there, without importing it."""
    library, _ = _LIBRARIES.get(FORMS[media.encode()].partition(":")[0], ("", ""))
    return not library or find_spec(library) is not None
