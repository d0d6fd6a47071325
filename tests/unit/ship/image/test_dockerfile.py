"""Dockerfiles: 0 findings, and nothing that a user typed begins another line or another word."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidRequest
from modelyard.ship import layout
from modelyard.ship.image.dockerfile import MARK, Wanted, render

#: What Docker reads as the beginning of an instruction.
INSTRUCTION = re.compile(r"^\s*([A-Za-z]+)\s", re.M)
NASTY = [
    "\n",
    "\r",
    "\\",
    '"',
    "'",
    "$",
    "`",
    "#",
    "\u2028",
    "\u202e",
    "\x00",
    "\x85",
    "${BASE}",
    "\\\n",
    "日",
    "é",
    " ",
]


def instructions(text: str) -> list[str]:
    """The instructions of a Dockerfile, each with its continued lines, as Docker reads them."""
    lines = [line for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    return re.sub(r"\\[ \t]*\n", "", "\n".join(lines)).split("\n")


def words(wanted: Wanted) -> list[str]:
    return [line.split()[0] for line in instructions(render(wanted))]


PLAIN = words(Wanted(base="python:3.11-slim", python="3.11", labels={"a": "b"}))


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(base="python:3.11-slim", python="3.11", labels={"a": "b"}),
        Wanted(base="registry.example:5000/a/b@sha256:" + "0" * 64, python="3.12", models=False),
        Wanted(base="python:3.11-slim", python="3.11", extras=("convert",), labels={"x.y": 'q"u\\o$te #'}),
        Wanted(base="python:3.11", python="3.11", whole_base=True, labels={"a": "b"}),
    ],
)
def test_a_linter_finds_nothing(tmp_path: Path, wanted: Wanted) -> None:
    (tmp_path / "Dockerfile").write_text(render(wanted))
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([linter, "--no-color", tmp_path / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
    assert "hadolint" not in render(wanted)  # nothing is waved through


def test_the_linter_would_find_something(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /x && pip install numpy\n")
    linter = Path(sys.executable).parent / "hadolint"
    assert subprocess.run([linter, tmp_path / "Dockerfile"], capture_output=True, timeout=60).returncode == 1


def test_what_it_says() -> None:
    text = render(Wanted(base="python:3.11-slim", python="3.11", labels={"a": "b"}))
    assert text.startswith(f"{MARK}\n")
    assert "ARG BASE=python:3.11-slim\n" in text
    assert text.count("FROM ") == 2
    assert "--no-index --find-links /build/wheelhouse --require-hashes --no-deps" in text
    assert f"\nUSER {layout.USER}:{layout.USER}\n" in text
    assert "\nSTOPSIGNAL SIGTERM\n" in text
    assert f"COPY models/ {layout.BUNDLES}/" in text
    assert '\nENTRYPOINT ["python3", "-m", "modelyard", "serve", ' in text
    assert "libseccomp" not in text


def test_an_image_without_models_serves_what_is_mounted() -> None:
    text = render(Wanted(base="python:3.11-slim", python="3.11", models=False))
    assert "COPY models/" not in text
    assert str(layout.MOUNTED) in text.splitlines()[-1]
    assert "--soname libseccomp.so.2" in render(Wanted(base="python:3.11-slim", python="3.11", extras=("convert",)))


def test_a_base_that_is_kept_whole() -> None:
    text = render(Wanted(base="python:3.11-slim", python="3.11", whole_base=True))
    assert "FROM scratch" not in text
    assert "/slim" not in text.replace("/slim.py", "")


@given(st.text(st.one_of(st.characters(), st.sampled_from("\n\r\\\"'$`# \u2028\u202e\x85")), max_size=40))
@example('a" \nRUN rm -rf / #')
@example("${BASE}\\")
@example("\\")
@example('"')
def test_no_label_breaks_out(value: str) -> None:
    try:
        text = render(Wanted(base="python:3.11-slim", python="3.11", labels={"a": value}))
    except InvalidRequest:
        assert not value.isprintable()
        return
    assert [line.split()[0] for line in instructions(text)] == PLAIN
    line = next(each for each in instructions(text) if each.startswith("LABEL "))
    assert "$" not in re.sub(r"\\[\\$\"]", "", line)  # nothing is filled in
    quoted = re.fullmatch(r'LABEL a="((?:[^"\\]|\\.)*)"', line)  # one word
    assert quoted is not None
    assert re.sub(r"\\(.)", r"\1", quoted[1]) == value


@given(st.text(st.one_of(st.characters(), st.sampled_from("\n=\"' $#")), min_size=1, max_size=20))
@example("a\nRUN x")
@example("a b")
@example("a=b")
@example("-a")
def test_no_key_of_a_label_breaks_out(key: str) -> None:
    try:
        text = render(Wanted(base="python:3.11-slim", python="3.11", labels={key: "v"}))
    except InvalidRequest:
        assert not re.fullmatch(r"[A-Za-z0-9]+", key)
        return
    assert [line.split()[0] for line in instructions(text)] == PLAIN
    assert f'LABEL {key}="v"' in instructions(text)


@given(st.builds("".join, st.lists(st.sampled_from(["python", ":3.11", "@sha256:", "/", "a.b", *NASTY]), max_size=6)))
@example("python:3.11\nRUN x")
@example("python:3.11 AS x")
@example("$(x)")
@example("")
def test_no_base_breaks_out(base: str) -> None:
    try:
        text = render(Wanted(base=base, python="3.11", labels={"a": "b"}))
    except InvalidRequest:
        return
    assert re.fullmatch(r"[A-Za-z0-9._/:@\[\]-]+", base)
    assert [line.split()[0] for line in instructions(text)] == PLAIN


@pytest.mark.parametrize("base", ["oci:/srv/base", "archive:base.tar"])
def test_a_base_of_this_machine_alone_is_refused(base: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot stand on a layout") as caught:
        render(Wanted(base=base, python="3.11"))
    assert "--format oci" in caught.value.hint


def test_too_long_a_label_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="value that cannot be one"):
        render(Wanted(base="python:3.11-slim", python="3.11", labels={"a": "b" * 4097}))
