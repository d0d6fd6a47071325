"""The profile is plain data that survives JSON."""

from __future__ import annotations

import msgspec
import pytest

from modelyard.core.profile import FeatureProfile, Profile


def test_it_is_read_as_it_was_written() -> None:
    number = FeatureProfile(count=3, missing=1, minimum=0.5, maximum=2.0, mean=1.25, edges=(0.5, 2.0), counts=(2,))
    words = FeatureProfile(count=3, categories={"a": 2}, other=1)
    profile = Profile(rows=3, features={"x": number, "c": words}, predictions=number)
    assert msgspec.json.decode(msgspec.json.encode(profile), type=Profile) == profile


def test_strangers_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"rows": 1, "features": {}, "more": 1}', type=Profile)
