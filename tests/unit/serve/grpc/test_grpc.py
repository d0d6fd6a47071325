"""Whether gRPC can be spoken at all, and where."""

from __future__ import annotations

import sys

import click
import pytest

from modelyard.cli.serve import _grpc_port
from modelyard.core.errors import MissingExtra
from modelyard.serve.grpc import missing


def test_everything_is_here() -> None:
    assert missing() == ""


@pytest.mark.parametrize(("module", "library"), [("hpack", "hpack"), ("google.protobuf", "protobuf")])
def test_what_is_missing_has_its_packages_name(monkeypatch: pytest.MonkeyPatch, module: str, library: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert missing() == library
    assert _grpc_port(port=8080, grpc_port=None, no_grpc=False) is None
    with pytest.raises(MissingExtra, match=f"gRPC needs {library}") as caught:
        _grpc_port(port=8080, grpc_port=9000, no_grpc=False)
    assert "modelyard[grpc]" in caught.value.hint


@pytest.mark.parametrize(
    ("port", "grpc_port", "no_grpc", "chosen"),
    [
        (8080, None, False, 8081),
        (0, None, False, 0),
        (65535, None, False, 0),
        (8080, 9000, False, 9000),
        (8080, 0, False, 0),
        (8080, None, True, None),
    ],
)
def test_the_port_is_the_next_one_unless_told_otherwise(
    port: int, grpc_port: int | None, no_grpc: bool, chosen: int | None
) -> None:
    assert _grpc_port(port=port, grpc_port=grpc_port, no_grpc=no_grpc) == chosen


def test_a_port_and_none_at_once() -> None:
    with pytest.raises(click.UsageError):
        _grpc_port(port=8080, grpc_port=9000, no_grpc=True)
