"""The trainers' door: late imports, and a missing library named as the extra that brings it."""

import subprocess
import sys

import pytest

from modelyard.core.errors import MissingExtra, NotFound
from modelyard.lab.train import TRAINERS, trainer


def test_the_door_brings_nothing_heavy():
    code = "import sys, modelyard.lab.train; print([m for m in ('sklearn', 'pandas', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_library_is_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, TRAINERS["logistic"], raising=False)
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(MissingExtra) as caught:
        trainer("logistic")
    assert caught.value.hint == 'pip install "modelyard[train]"'
    assert "sklearn" in caught.value.detail


def test_an_unknown_family_names_the_known():
    with pytest.raises(NotFound, match="no model family 'deep'"):
        trainer("deep")
