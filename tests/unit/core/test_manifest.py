"""The manifest: canonical bytes, and refusals of what is no manifest."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core.errors import CorruptBundle
from modelyard.core.manifest import FORMAT_VERSION, Manifest, Source, Task, read_manifest
from tests.models import linear_bundle, linear_signature, mixed_bundle

RAW = mixed_bundle().manifest.to_bytes()


def test_bytes_are_canonical_and_read_back() -> None:
    manifest = Manifest(
        name="m", task=Task.REGRESSION, signature=linear_signature(), files={}, source=Source(format="x")
    )
    raw = manifest.to_bytes()
    document = json.loads(raw)
    assert list(document) == sorted(document)
    assert raw.endswith(b"}\n")
    assert read_manifest(raw) == manifest
    assert read_manifest(raw).to_bytes() == raw


def test_bytes_stay_what_was_read() -> None:
    """A later version with more fields must not give an old bundle a new digest."""
    odd = RAW.replace(b"\n", b"\r\n")
    assert read_manifest(odd).to_bytes() == odd
    renamed = msgspec.structs.replace(read_manifest(odd), name="other")
    assert b'"other"' in renamed.to_bytes()


def test_a_newer_format_says_upgrade() -> None:
    raw = RAW.replace(b'"format_version": 1', b'"format_version": 99')
    with pytest.raises(CorruptBundle, match="format version 99") as caught:
        read_manifest(raw, "churn")
    assert caught.value.hint == "pip install --upgrade modelyard"
    assert FORMAT_VERSION == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"format_version": "1"}',
        b'{"format_version": 1}',
        b"\xff\xfe",
        b'{"format_version": 1, "name": "\xff"}',
        b"[" * 100_000,
        b'{"x":' * 100_000,
        RAW[:-3],
        RAW.replace(b'"task"', b'"tusk"'),
        RAW.replace(b'"classification"', b'"magic"'),
        RAW.replace(b'"BYTES"', b'"FP32"'),  # a category in a tensor of numbers
        RAW.replace(b'"prediction": "label"', b'"prediction": "nobody"'),
    ],
)
def test_what_is_no_manifest(raw: bytes) -> None:
    with pytest.raises(CorruptBundle):
        read_manifest(raw, "churn")


@given(st.integers(0, len(RAW) - 1), st.integers(0, 255))
@settings(deadline=None, max_examples=200)
def test_a_changed_byte_is_refused_or_read_never_a_crash(at: int, byte: int) -> None:
    changed = RAW[:at] + bytes([byte]) + RAW[at + 1 :]
    try:
        manifest = read_manifest(changed)
    except CorruptBundle:
        return
    assert manifest.to_bytes() == changed


def test_the_lineage_of_a_bundle_is_kept() -> None:
    manifest = read_manifest(linear_bundle(slope=3.0).manifest.to_bytes())
    assert manifest.lineage.parameters["slope"] == 3.0
    assert manifest.metrics[0].baseline == 2.5
