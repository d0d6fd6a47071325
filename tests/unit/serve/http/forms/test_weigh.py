"""Claims are added up before anything is unfolded, and damaged ones are refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from modelyard.core.errors import InvalidRequest, TooLarge, Unsupported
from modelyard.serve.http.forms.weigh import PIECES, UNFOLDED_BYTES, VALUES, Scales, weigh_batches, weigh_pages
from tests.unit.serve.http.forms.bodies import ipc, parquet

TABLE = pa.table({"a": np.arange(1000.0), "b": [str(at % 7) for at in range(1000)]})


def messages(body: bytes) -> list[tuple[memoryview, memoryview]]:
    return [
        (memoryview(message.metadata), memoryview(message.body or b""))
        for message in pa.ipc.MessageReader.open_stream(body)
    ]


def test_a_limit_is_a_limit() -> None:
    for claim in ({"size_bytes": UNFOLDED_BYTES}, {"values": VALUES}):
        scales = Scales()
        scales.add(**claim)
        with pytest.raises(TooLarge):
            scales.add(size_bytes=1, values=1)
    scales = Scales()
    for _ in range(PIECES):
        scales.add()
    with pytest.raises(TooLarge, match="pages or batches"):
        scales.add()
    with pytest.raises(InvalidRequest):
        Scales().add(size_bytes=-1)


@pytest.mark.parametrize(
    "options", [{}, {"data_page_version": "2.0"}, {"use_dictionary": False}, {"row_group_size": 10}]
)
def test_honest_parquet_passes(options: dict[str, object]) -> None:
    weigh_pages(parquet(TABLE, **options))


def test_pages_are_weighed_by_their_own_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of 1000 doubles unfolds to 8000 bytes, and one of 1000 values to 1000 values."""
    body = parquet(TABLE.select(["a"]), use_dictionary=False, compression="zstd")
    monkeypatch.setattr("modelyard.serve.http.forms.weigh.UNFOLDED_BYTES", 7_999)
    with pytest.raises(TooLarge, match="unfolded"):
        weigh_pages(body)
    monkeypatch.setattr("modelyard.serve.http.forms.weigh.UNFOLDED_BYTES", 9_000)
    weigh_pages(body)
    monkeypatch.setattr("modelyard.serve.http.forms.weigh.VALUES", 999)
    with pytest.raises(TooLarge, match="values"):
        weigh_pages(body)


def test_shared_beginnings_are_refused_by_the_page_itself() -> None:
    for version in ("1.0", "2.0"):
        body = parquet(
            TABLE, use_dictionary=False, column_encoding={"b": "DELTA_BYTE_ARRAY"}, data_page_version=version
        )
        with pytest.raises(Unsupported):
            weigh_pages(body)


@pytest.mark.parametrize("body", [b"", b"PAR1", b"PAR1\xff\xff\xff\xffPAR1", b"PAR1" + bytes(5) + b"PAR1", b"x" * 99])
def test_no_footer(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        weigh_pages(body)


def test_a_footer_of_endless_structs_is_refused_soon() -> None:
    for footer in (b"\x1c" * 100_000, b"\x19\xfc\xff\xff\xff\x0f" * 100, b"\x49\xfc" + b"\xa0\x8d\x06" + bytes(99_000)):
        with pytest.raises(InvalidRequest):
            weigh_pages(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")


def test_batches_are_weighed_by_what_they_unfold_to(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"a": np.zeros(100_000)})
    for compression in (None, "zstd", "lz4"):
        body = ipc(table, compression=compression)
        monkeypatch.setattr("modelyard.serve.http.forms.weigh.UNFOLDED_BYTES", 799_999)
        with pytest.raises(TooLarge):
            weigh_batches(messages(body))
        monkeypatch.setattr("modelyard.serve.http.forms.weigh.UNFOLDED_BYTES", 810_000)
        weigh_batches(messages(body))


def test_dictionaries_are_weighed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    words = pa.array(["x" * 100_000, "y"]).dictionary_encode()
    body = ipc(pa.table({"a": words}), compression="zstd")
    monkeypatch.setattr("modelyard.serve.http.forms.weigh.UNFOLDED_BYTES", 99_999)
    with pytest.raises(TooLarge):
        weigh_batches(messages(body))


def test_a_broken_flatbuffer_is_refused() -> None:
    for metadata in (b"", b"\x04", b"\xff\xff\xff\x7f" * 4):
        with pytest.raises(InvalidRequest):
            weigh_batches([(memoryview(metadata), memoryview(b""))])
