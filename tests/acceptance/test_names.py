"""Five hundred hostile names, and digests that are none: refused wherever one is taken, and no path is made of one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from modelyard.control.actions.home import Home, open_home
from modelyard.control.actions.publish import publish
from modelyard.core.errors import ModelyardError
from modelyard.core.reference import check_alias, check_name, parse_reference
from modelyard.core.settings import Settings
from modelyard.store.blobs import open_blobs
from tests.acceptance.serving import Served, home_with
from tests.models import linear_bundle

_STEMS = ("linear", "x", "etc/passwd", "secrets/pepper-1", "modelyard.db")
_AROUND = (
    "../{}", "../../../{}", "/{}", "//{}", "{}/", "{}/..", "./{}", "{}/../{}", "..\\{}", "..%2f{}", "%2e%2e%2f{}",
    "%2f{}", "%252f{}", "..%c0%af{}", "%00{}", "{}%00", "{}\0", "\0{}", "{}\0.onnx", "{}\n", "\n{}", "{}\r\n",
    " {}", "{} ", "{}.", ".{}", "~/{}", "~{}", "${{HOME}}/{}", "$({})", "`{}`", "{};ls", "{}|ls", "{}&", "'{}",
    '"{}"', "{}' OR '1'='1", "{}\"--", "file:///{}", "http://evil/{}", "\\\\host\\{}", "c:\\{}", "{}:stream",
    "{}::$DATA", "{}*", "{}?", "[{}]",
    "{}#x", "{}@../x", "{}@%2f", "{}\u202e", "\u200b{}", "{}\u0301", "\ufeff{}", "\u2215{}", "\uff0e\uff0e\uff0f{}",
    "{}\u00e9", "{}\u0131", "{}\u2024\u2024", "\x1b[31m{}", "{}\x7f", "-{}", "{}-", "--{}", "-rf {}", "{}_", "_{}",
    "{{{{{}}}}}", "<script>{}</script>", "{}\t", "CON.{}", "{}.lock", ".git/{}", "{}\u2028", "{}\x85", "{}\u0000\u0000",
)  # fmt: skip
_CONFUSABLE = (
    "lin\u0435ar",
    "\uff4cinear",
    "line\u0430r",
    "\u0049inear",
    "LINEAR",
    "Linear",
    "l\u0131near",
    "linear\u00ad",
)
_LONG = ("a" * 64, "a" * 300, "a" * 100_000, "a-" * 32, "../" * 100 + "x", "\u00e9" * 300, "a" * 4096 + "/../x")
_OTHERS = (
    "",
    " ",
    ".",
    "..",
    "...",
    "/",
    "\\",
    "\0",
    "-",
    "--",
    "@",
    "@1",
    "\ud800",
    "con\ud800",
    "a\udcff",
    "\U0001f600",
)
NAMES = tuple(
    dict.fromkeys(
        [around.format(stem, stem) for around, stem in itertools.product(_AROUND, _STEMS)]
        + [name + more for name in _CONFUSABLE for more in ("", "/", ".", " ", "\0", "_", "/..")]
        + [*_CONFUSABLE, *_LONG, *_OTHERS]
        + [f"linear{chr(code)}" for code in range(128) if not chr(code).isalnum() and chr(code) not in "-"]
    )
)
DIGESTS = (
    *("", "0", "g" * 64, "A" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n", " " + "0" * 63, "../" + "0" * 61),
    *("/etc/passwd", "..", "sha256:" + "0" * 57, "\0" * 64, "\uff10" * 64, "0" * 62 + "/.", "%2e" * 21 + "0"),
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("names") / "home"
    home_with(home, linear_bundle())
    with Served(home, "--repository", "explicit", "linear") as server:
        yield server


def _tree(*folders: Path) -> set[str]:
    return {str(path) for folder in folders for path in folder.rglob("*")}


def _taken(take: Callable[[str], object], names: tuple[str, ...]) -> list[str]:
    """Those that were taken, or refused by anything but a sentence that can be printed."""
    taken = []
    for name in names:
        try:
            take(name)
        except ModelyardError as exc:
            if not exc.detail.isprintable() or len(exc.detail) > 1000:
                taken.append(f"{name[:40]!r}: {exc.detail!r}")
        else:
            taken.append(name[:40])
    return taken


@pytest.mark.row("MOD-03")
def test_no_hostile_name_is_a_models(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Neither a model's, nor an alias's, nor one that is published under; nothing is written for one that is tried."""
    assert len(NAMES) >= 500
    home, bundle = open_home(Settings(home=tmp_path / "home")), linear_bundle()
    before = _tree(tmp_path)

    def publish_as(name: str) -> object:
        renamed = msgspec.structs.replace(bundle.manifest, name=name)
        return publish(home, type(bundle)(renamed, bundle.files))

    assert _taken(check_name, NAMES) == []
    assert _taken(check_alias, NAMES) == []
    assert _taken(lambda name: parse_reference(f"{name}@1"), NAMES) == []
    assert _taken(publish_as, tuple(name for name in NAMES if name.isprintable())[:100]) == []
    assert _versions(home) == []
    new = {path for path in _tree(tmp_path) - before if "/blobs/" not in path}  # kept until they are collected
    assert new == set()
    record_property("number", f"{len(NAMES)} of {len(NAMES)} names refused as a model's, an alias's and a version's")


def _versions(home: Home) -> list[str]:
    return [model.name for model in home.catalogue.models()]


@pytest.mark.row("MOD-03")
def test_no_hostile_name_is_served(served: Served, record_property: Callable[[str, object], None]) -> None:
    """In addresses, written in two ways, and in a repository's calls: no answer but a refusal."""
    wrong, asked, before = [], 0, _tree(served.home)
    places = ("/models/{}", "/v2/models/{}/ready", "/v1/models/{}", "/v2/repository/models/{}/load")
    for name in NAMES:
        raw = name.encode("utf-8", "surrogatepass")
        for place in places:
            method = "POST" if place.endswith("load") else "GET"
            status = served.ask(method, place.format(quote(raw, safe="")), b"{}" if method == "POST" else None)[0]
            asked += 1
            if status not in {400, 404, 405, 414} and not (status == 200 and _means_linear(name)):
                wrong.append((place, name[:40], status))
    assert wrong == []
    assert _tree(served.home) - before == set()
    record_property("number", f"{asked:,} of {asked:,} addresses with such names refused")


def _means_linear(name: str) -> bool:
    return name.rstrip("@") == "linear"


@pytest.mark.row("MOD-03")
def test_what_is_no_digest_finds_no_file(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    blobs = open_blobs((tmp_path / "blobs").as_uri())
    (tmp_path / "blobs" / "outside").write_bytes(b"secret")
    found = []
    for digest in DIGESTS:
        for use in (blobs.get, blobs.delete, lambda digest: blobs.put([b"x"], digest=digest)):
            try:
                use(digest)
            except (ModelyardError, ValueError):
                continue
            found.append(digest)
    assert found == []
    assert (tmp_path / "blobs" / "outside").read_bytes() == b"secret"
    record_property("number", f"{len(DIGESTS)} of {len(DIGESTS)} bad digests refused by get, delete and put")
