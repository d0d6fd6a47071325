"""Compressed bodies both ways: what fits is unfolded, what does not is refused, bombs stop at the limit."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backports import zstd

from modelyard.core.errors import InvalidRequest, TooLarge, Unsupported
from modelyard.serve.http.encoding import AWAY_BYTES, WORTH_BYTES, inflated
from tests.models import linear_bundle
from tests.unit.serve.desk import Desk, served

TEXT = b'{"feature": [1, 2, 3]}' * 10


def bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED = {
    b"gzip": gzip.compress(TEXT),
    b"x-gzip": gzip.compress(TEXT[:7]) + gzip.compress(TEXT[7:]),
    b"deflate": zlib.compress(TEXT),
    b"zstd": zstd.compress(TEXT),
    b"identity": TEXT,
    b"gzip, zstd": zstd.compress(gzip.compress(TEXT)),
}


@pytest.mark.parametrize("name", PACKED)
def test_bodies_are_unfolded(name: bytes) -> None:
    assert inflated(PACKED[name], {b"content-encoding": name}, len(TEXT)) == TEXT


def test_deflate_is_read_bare_too() -> None:
    assert inflated(bare(TEXT), {b"content-encoding": b"deflate"}, 1000) == TEXT


@pytest.mark.parametrize("name", [b"gzip", b"deflate", b"zstd"])
def test_a_bomb_stops_at_the_limit(name: bytes) -> None:
    big = b"\0" * 50_000_000
    packed = {b"gzip": gzip.compress, b"deflate": zlib.compress, b"zstd": zstd.compress}[name](big)
    with pytest.raises(TooLarge, match="1000 bytes"):
        inflated(packed, {b"content-encoding": name}, 1000)


@pytest.mark.parametrize("name", [b"gzip", b"deflate", b"zstd"])
@pytest.mark.parametrize("cut", [1, 4, 10])
def test_a_torn_body_is_refused(name: bytes, cut: int) -> None:
    with pytest.raises(InvalidRequest, match="Content-Encoding"):
        inflated(PACKED[name][:-cut], {b"content-encoding": name}, 1000)


def test_what_is_not_compressed_at_all_is_refused() -> None:
    for name in (b"gzip", b"deflate", b"zstd"):
        with pytest.raises(InvalidRequest):
            inflated(b"plain", {b"content-encoding": name}, 1000)
    with pytest.raises(Unsupported, match="br"):
        inflated(b"plain", {b"content-encoding": b"br"}, 1000)


UNPACK: dict[str, Any] = {"gzip": gzip.decompress, "deflate": zlib.decompress, "zstd": zstd.decompress}


@pytest.mark.parametrize("name", UNPACK)
@pytest.mark.parametrize("rows", [200, 5000])  # compressed on the loop, and in a thread
def test_large_answers_are_compressed_for_who_takes_them(tmp_path: Path, name: str, rows: int) -> None:
    desk = Desk(tmp_path)
    desk.serve(served(desk.page, linear_bundle()))
    rows_sent = {"feature": [number / 7 for number in range(rows)]}
    plain = desk.ask("POST", "/models/linear/predict", rows_sent)
    assert (len(plain.body) > AWAY_BYTES) == (rows == 5000)
    assert len(plain.body) > WORTH_BYTES
    packed = desk.ask("POST", "/models/linear/predict", rows_sent, accept_encoding=f"br, {name}")
    assert packed.headers["content-encoding"] == name
    assert packed.headers["vary"] == "accept-encoding"
    assert len(packed.body) < len(plain.body)
    assert int(packed.headers["content-length"]) == len(packed.body)
    assert UNPACK[name](packed.body) == plain.body


@pytest.mark.parametrize("accepted", ["identity", "br", "gzip;q=0", "*;q=0", "gzip;q=x"])
def test_who_takes_none_gets_none(tmp_path: Path, accepted: str) -> None:
    desk = Desk(tmp_path)
    desk.serve(served(desk.page, linear_bundle()))
    answer = desk.ask("POST", "/models/linear/predict", {"feature": list(range(500))}, accept_encoding=accepted)
    assert "content-encoding" not in answer.headers


def test_the_better_liked_is_taken_and_small_answers_are_left_alone(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.serve(served(desk.page, linear_bundle()))
    wanted = "zstd;q=0.1, gzip;q=0.9"
    answer = desk.ask("POST", "/models/linear/predict", {"feature": list(range(500))}, accept_encoding=wanted)
    assert answer.headers["content-encoding"] == "gzip"
    small = desk.ask("POST", "/models/linear/predict", {"feature": 3}, accept_encoding=wanted)
    assert "content-encoding" not in small.headers


def test_what_does_not_become_smaller_is_sent_as_it_is(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.serve(served(desk.page, linear_bundle()))
    raw = np.random.default_rng(0).random(20_000).tobytes()
    for content, encoding in ((raw, None), (np.arange(20_000.0).tobytes(), "gzip")):
        about = {"inference_header_content_length": "0", "content_type": "application/octet-stream"}
        answer = desk.ask("POST", "/v2/models/linear/infer", content, accept_encoding="gzip", **about)
        assert answer.status == 200
        assert answer.headers.get("content-encoding") == encoding
