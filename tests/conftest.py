"""Fixtures that several rooms share."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from modelyard.control.actions.home import Home, open_home
from modelyard.core.settings import Settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job, and so would be all that it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a home that is not there yet."""
    return Settings(home=tmp_path / "home")


@pytest.fixture
def home(settings: Settings) -> Home:
    """A new, empty home: a real database and real files."""
    return open_home(settings)
