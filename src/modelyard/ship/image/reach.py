"""Which of Modelyard's modules an image needs: what its commands can reach, and what can be imported there at all.

Read off the sources, so no list has to follow when modules come and go. What trains, administers or makes images stays
out, together with the libraries that it needs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import modelyard

#: What an image has beside the standard library, by the name it is imported by; then what its extras add.
_LIBRARIES = {"modelyard", "numpy", "onnxruntime", "msgspec", "orjson", "simdjson", "httptools", "uvloop", "click"} | {
    *("cryptography", "joserfc", "hpack", "google", "backports", "urllib3", "packaging"),
}
_ADDED = {
    "convert": {"sqlalchemy", "alembic", "psutil", "onnx", "skl2onnx", "sklearn", "pandas", "joblib", "skops", "yaml"}
    | {"scipy", "pyseccomp"},
    "clouds": {"obstore"},
}
#: What is started in an image, and rooms that are there whole: what reads and writes bodies is found by its short name.
_ROOTS = ("__main__.py", "cli/serve.py", "cli/pull.py", "cli/explain.py", "serve/")
#: ... and, where foreign files are opened, what fills a registry; Alembic looks into its folder.
_CONVERTING = (
    *("cli/import_.py", "cli/model.py", "cli/predict.py", "cli/doctor.py", "cli/key.py"),
    *("model/worker.py", "model/formats/", "model/translate/", "store/migrations/"),
)
_SHARED = {"main.py", "root.py", "errors.py", "screen.py", "__init__.py"}
_IMPORT = re.compile(r"^([ \t]*)(?:from\s+([\w.]+)\s+import\s+(\([^)]*\)|[^\n]+)|import\s+([^\n]+))", re.M)
_NAMED = re.compile(r"\"(modelyard(?:\.\w+)+)\"")


def sources(extras: Iterable[str] = ()) -> dict[str, bytes]:
    """The files of the package that an image with these extras has, by their path below it."""
    root, extras = Path(modelyard.__file__).parent, frozenset(extras)
    paths = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    raw = {name: path.read_bytes() for name, path in paths.items() if "__pycache__/" not in name}
    kept = _reached(_Sources(raw), extras)
    folders = {name.rpartition("/")[0] for name in kept}
    beside = {name for name in raw if not name.endswith((".py", ".lock")) and name.rpartition("/")[0] in folders}
    return {name: raw[name] for name in sorted(kept | beside)}


class _Sources:
    """The package's modules, by file: what each imports at its top, and what else it names."""

    def __init__(self, raw: Mapping[str, bytes]) -> None:
        texts = {name: content.decode() for name, content in raw.items() if name.endswith(".py")}
        self.files = {_module(name): name for name in texts}
        self.at_top = {name: self._own(_imported(text, at_top=True)) for name, text in texts.items()}
        self.anywhere = {
            name: self._own(_imported(text)) | (set(_NAMED.findall(text)) & self.files.keys())
            for name, text in texts.items()
        }

    def _own(self, imported: set[str]) -> set[str]:
        """Names in a module of ours are that module; modules of others are their first word."""
        return {self._resolved(name) for name in imported}

    def _resolved(self, name: str) -> str:
        if not name.startswith("modelyard."):
            return name.partition(".")[0]
        return name if name in self.files else name.rpartition(".")[0]


def _reached(sources: _Sources, extras: frozenset[str]) -> set[str]:
    """Files of the modules that the commands can reach through modules that can be imported."""
    libraries = _LIBRARIES.union(*(_ADDED[extra] for extra in extras)) | sys.stdlib_module_names
    usable = _usable(sources, libraries)
    roots = (*_ROOTS, *_CONVERTING) if "convert" in extras else _ROOTS
    waiting = [name for name in usable if name.startswith(roots)]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in found or name not in usable:
            continue
        found.add(name)
        named = {sources.files[each] for each in sources.anywhere[name] if each in sources.files}
        waiting += [each for each in named if not _is_command(each)] + _packages(name, sources)
    return found


def _usable(sources: _Sources, libraries: set[str]) -> set[str]:
    """Files of the modules whose imports at their top can all be met; the same holds for the packages they lie in."""
    usable = set(sources.at_top)
    while True:
        modules = {_module(name) for name in usable} | libraries
        lost = {n for n in usable if not sources.at_top[n] <= modules or not usable.issuperset(_packages(n, sources))}
        if not lost:
            return usable
        usable -= lost


def _imported(text: str, *, at_top: bool = False) -> set[str]:
    """Dotted names that the text imports: anywhere, or whenever it is imported itself."""
    found: set[str] = set()
    for indent, module, names, plain in _IMPORT.findall(text):
        if at_top and indent:
            continue
        parts = re.sub(r"#[^\n]*", "", names or plain).strip("() \n").split(",")
        words = [part.split()[0] for part in parts if part.strip()]
        found |= {f"{module}.{word}" if module else word for word in words}
    return found


def _is_command(name: str) -> bool:
    """Whether the file is a command, which the table of all commands names; an image has those that it begins with."""
    return name.startswith("cli/") and not name.startswith("cli/_") and name.rpartition("/")[2] not in _SHARED


def _packages(name: str, sources: _Sources) -> list[str]:
    """Files of the packages that a module lies in; a folder may be none."""
    parts = name.split("/")[:-1]
    files = ["/".join([*parts[:depth], "__init__.py"]) for depth in range(len(parts) + 1)]
    return [file for file in files if file in sources.at_top]


def _module(name: str) -> str:
    inner = name.removesuffix(".py").removesuffix("__init__").strip("/").replace("/", ".")
    return f"modelyard.{inner}" if inner else "modelyard"
