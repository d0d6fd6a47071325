"""Show: the version, its aliases, its bundle, and one row to try."""

from __future__ import annotations

import pytest

from modelyard.control.actions.home import Home
from modelyard.control.actions.publish import publish
from modelyard.control.actions.show import show
from modelyard.core.errors import CorruptBundle, NotFound
from modelyard.core.manifest import MODEL
from modelyard.core.reference import parse_reference
from modelyard.model.bundle import seal
from tests.models import linear_bundle


def test_show(home: Home) -> None:
    bundle = linear_bundle()
    publish(home, bundle, ["production", "blue"])
    shown = show(home, parse_reference("linear"))
    assert (str(shown.version), shown.aliases, shown.bundle) == ("linear@1", ("blue", "production"), bundle)
    assert shown.example == {"feature": 1.0}


def test_no_golden_rows(home: Home) -> None:
    bundle = linear_bundle()
    publish(home, seal(bundle.manifest, {MODEL: bundle.files[MODEL]}))
    shown = show(home, parse_reference("linear"))
    with pytest.raises(NotFound, match="no example row in 'linear@1'"):
        _ = shown.example


def test_a_changed_byte(home: Home) -> None:
    version = publish(home, linear_bundle())
    (home.settings.blobs / "sha256" / version.digest).write_bytes(b"{}")
    with pytest.raises(CorruptBundle):
        show(home, parse_reference("linear"))
