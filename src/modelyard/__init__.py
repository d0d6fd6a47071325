"""Modelyard: from a trained model or a CSV to a fast, safe, versioned API.

``modelyard.load("name@2").predict(rows)`` asks a version in this process, ``modelyard.Client(url).predict(rows)`` a
server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelyard.client.http import Client
    from modelyard.client.local import Model, load
    from modelyard.core.errors import ModelyardError

__version__ = "0.1.0"
__all__ = ["Client", "Model", "ModelyardError", "__version__", "load"]

# Imported when first used: `import modelyard` and `modelyard --help` must not pay for numpy.
_HOMES = {
    "Client": "modelyard.client.http",
    "Model": "modelyard.client.local",
    "ModelyardError": "modelyard.core.errors",
    "load": "modelyard.client.local",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'modelyard' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
