"""The generated part of `docs/performance.md`: what stands between its two markers is written by `make bench`."""

from __future__ import annotations

from pathlib import Path

from benchmarks.environments import ROOT

PAGE = ROOT / "docs" / "performance.md"
BEGIN = "<!-- table: made by make bench -->"
END = "<!-- end of table -->"


def block(page: str) -> str:
    """What stands between the markers."""
    _, _, rest = page.partition(BEGIN)
    inside, end, _ = rest.partition(END)
    assert end, "docs/performance.md has lost its markers"
    return inside.strip("\n")


def with_block(page: str, text: str) -> str:
    """The page with another block."""
    block(page)
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{text.strip(chr(10))}\n\n{END}{after}"


def write(text: str, page: Path = PAGE) -> None:
    """Put the text between the page's markers."""
    page.write_text(with_block(page.read_text(encoding="utf-8"), text), encoding="utf-8")
