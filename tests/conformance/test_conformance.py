"""Every row of the conformance table, as tests; the table's own program can fail, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.serving import Served
from tests.conformance import Check, __main__, checks, openapi
from tests.conformance.servers import SERVERS, Servers


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with Servers(tmp_path_factory.mktemp("conformance")) as running:
        yield running


ROWS = [pytest.param(row, id=row.name, marks=[pytest.mark.long] * row.long) for row in checks()]


@pytest.mark.parametrize("row", ROWS)
def test_conformance(row: Check, servers: Servers) -> None:
    row.run(servers.get(row.server))


def test_the_bare_addresses_keep_the_documents_word(servers: Servers) -> None:
    """The long row in short: no versions and aliases, which are the same handlers."""
    openapi.everything(servers.get("openapi"), "--exclude-path-regex", r"[{]|/v2/$", examples=4)


@pytest.mark.long
def test_every_model_keeps_the_documents_word(servers: Servers) -> None:
    openapi.everything(servers.get("openapi of all"), examples=40)
    openapi.valid_rows(servers.get("openapi of all"), examples=200)


def test_every_check_names_a_server_that_there_is() -> None:
    assert {row.server for row in checks()} <= set(SERVERS)


def _rows(*, broken: bool) -> list[Check]:
    def fine(server: Served) -> None:
        assert server is not None

    async def bad(server: Served) -> None:
        raise AssertionError("the sky\nfell")

    return [Check("one", "well", "usual", fine), *([Check("two", "badly", "usual", bad)] if broken else [])]


@pytest.mark.parametrize("broken", [False, True])
def test_the_table_counts_what_failed(
    broken: bool, servers: Servers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(__main__, "checks", lambda: _rows(broken=broken))
    monkeypatch.setattr(__main__, "Servers", lambda folder: _Lent(folder, servers))
    assert __main__.main([]) == int(broken)
    text = capsys.readouterr().out
    assert ("AssertionError: the sky" in text) == broken
    assert text.splitlines()[-1] == ("1 passed, 1 failed" if broken else "1 passed, 0 failed")


def test_words_that_no_row_contains_are_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["no such client"]) == 2
    assert "no such client" in capsys.readouterr().err


class _Lent(Servers):
    """Servers that run already and go on running."""

    def __init__(self, folder: Path, running: Servers) -> None:
        super().__init__(folder)
        self._lent = running

    def get(self, name: str) -> Served:
        return self._lent.get(name)
