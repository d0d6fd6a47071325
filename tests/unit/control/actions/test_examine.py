"""What came from somewhere else is looked at as hostile."""

from __future__ import annotations

import msgspec
import pytest

from modelyard.control.actions.examine import examined
from modelyard.core.errors import InvalidModel, InvalidName
from modelyard.model.bundle import seal
from tests.models import linear_bundle

BUNDLE = linear_bundle()


def test_its_own_name_changes_nothing() -> None:
    assert examined(BUNDLE) is BUNDLE
    assert examined(BUNDLE, "linear") is BUNDLE


def test_another_name_is_another_bundle() -> None:
    renamed = examined(BUNDLE, "area")
    assert renamed.manifest.name == "area"
    assert renamed.digest != BUNDLE.digest
    assert dict(renamed.files) == dict(BUNDLE.files)
    with pytest.raises(InvalidName):
        examined(BUNDLE, "Not One")


def test_a_name_of_its_own_is_looked_at_too() -> None:
    with pytest.raises(InvalidName):
        examined(seal(msgspec.structs.replace(BUNDLE.manifest, name="a/../b"), BUNDLE.files))


def test_a_signature_that_is_not_the_graphs_is_refused() -> None:
    wide = linear_bundle(slope=2.0).manifest.signature
    inputs = (msgspec.structs.replace(wide.inputs[0], name="other"),)
    changed = msgspec.structs.replace(BUNDLE.manifest, signature=msgspec.structs.replace(wide, inputs=inputs))
    with pytest.raises(InvalidModel):
        examined(seal(changed, BUNDLE.files))
