"""Examine: a bundle that was made somewhere else is looked at as hostile before it becomes a version here."""

from __future__ import annotations

import msgspec

from modelyard.core.manifest import MODEL
from modelyard.core.reference import check_name
from modelyard.model import golden
from modelyard.model.bundle import Bundle, seal
from modelyard.model.inspect import inspect, match
from modelyard.model.runtime import load


def examined(bundle: Bundle, name: str = "") -> Bundle:
    """The bundle under this name (its own without one), its graph checked, its golden rows asked again.

    Under another name it is another bundle, which nobody has signed.

    Raises
    ------
    InvalidName
        It cannot be called so.
    HostileModel, InvalidModel
        Its graph may not be served, or does not answer as it says.
    """
    called = check_name(name or bundle.manifest.name)
    match(bundle.manifest.signature, inspect(bundle.files[MODEL]))
    golden.check(load(bundle), bundle.samples, bundle.manifest.name)
    if called == bundle.manifest.name:
        return bundle
    return seal(msgspec.structs.replace(bundle.manifest, name=called), bundle.files)
