"""A foreign folder, looked at from outside: bounded in size and depth, and never left, not by a link either."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from modelyard.core.errors import InvalidModel, MissingExtra, NotFound

MAX_SETTINGS_BYTES = 1 << 20
MAX_ENTRIES = 20_000
MAX_DEPTH = 8
MAX_NESTED = 64
_MIB = 1 << 20


class View:
    """One folder and what is below it.

    Parameters
    ----------
    path : Path
        The folder; itself it may be a link.
    root : Path or None
        The folder that may not be left; by default this one.
    """

    def __init__(self, path: Path, root: Path | None = None) -> None:
        if not path.is_dir():
            raise NotFound(what="folder", name=str(path), hint="check the path")
        self.path = path.resolve()
        self.root = root or self.path
        self.name = self.path.name or "root"

    def label(self, path: Path) -> str:
        """The path as a person reads it: relative to the folder."""
        resolved = path if path.is_absolute() else self.path / path
        return str(PurePosixPath(resolved.relative_to(self.path))) if resolved.is_relative_to(self.path) else path.name

    def has(self, name: str) -> bool:
        """Whether there is a file of this relative path."""
        return (self.path / name).is_file()

    def inside(self, name: str) -> Path:
        """The file or folder of this path (relative, or absolute and inside); `InvalidModel` when it leads outside."""
        path = self.path / name
        real = path.resolve()
        if not real.is_relative_to(self.root):
            way = "is a link that leads" if path.is_symlink() and ".." not in name else "leads"
            raise InvalidModel(
                what=f"{name[:120]!r} {way} out of the folder {self.root.name!r}",
                cause="only what lies in the folder is read",
                hint="copy the file into the folder",
            )
        if not real.exists():
            raise NotFound(what="file", name=name[:120], known=sorted(self.files()), hint="put it into the folder")
        return real

    def sub(self, name: str) -> View:
        """The folder below of this path, with the same border; `NotFound` when it is none."""
        return View(self.inside(name), self.root)

    def text(self, name: str) -> str:
        """A settings file, as UTF-8 text of bounded size."""
        path = self.inside(name)
        if path.stat().st_size > MAX_SETTINGS_BYTES:
            raise InvalidModel(what=f"{name} is larger than {MAX_SETTINGS_BYTES // _MIB} MiB", hint="it is a text file")
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as exc:
            raise InvalidModel(what=f"{name} is not UTF-8 text") from exc
        except OSError as exc:
            raise InvalidModel(what=f"{name} cannot be read: {exc.strerror}") from exc

    def json(self, name: str) -> Any:
        """A JSON file."""
        try:
            return json.loads(self.text(name))
        except (ValueError, RecursionError) as exc:
            raise InvalidModel(what=f"{name} is not valid JSON", cause=str(exc)[:200]) from exc

    def table(self, name: str) -> dict[str, Any]:
        """A JSON or YAML file that holds an object."""
        found = self.json(name) if name.endswith(".json") else self.yaml(name)
        if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
            raise InvalidModel(what=f"{name} does not hold an object with names")
        return found

    def yaml(self, name: str) -> Any:
        """A YAML file, read by the safe loader: plain data, no tags that make objects, no aliases."""
        try:
            import yaml  # noqa: PLC0415 - of an extra, and only for folders that have YAML
        except ImportError as exc:
            raise MissingExtra(what=f"reading {name}", library="PyYAML", extra="convert") from exc
        text = self.text(name)
        try:
            depth = 0
            for event in yaml.parse(text, Loader=yaml.SafeLoader):
                depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
                if depth > MAX_NESTED:
                    raise InvalidModel(what=f"{name} is nested more than {MAX_NESTED} deep")
                if isinstance(event, yaml.AliasEvent):
                    raise InvalidModel(what=f"{name} uses YAML aliases, which hide any amount of data in a few lines")
            return yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError, ValueError) as exc:
            words = " ".join(str(exc).split())
            raise InvalidModel(what=f"{name} is not YAML that can be read safely", cause=words[:200]) from exc

    def folders(self) -> list[str]:
        """Names of the folders in it, hidden ones and links left out."""
        return sorted(
            item.name for item in self._items() if item.is_dir() and not item.is_symlink() and item.name[0] not in "._"
        )

    def files(self) -> list[str]:
        """Names of the files in it."""
        return sorted(item.name for item in self._items() if item.is_file())

    def find(self, name: str, *, depth: int = MAX_DEPTH) -> list[str]:
        """Relative paths of all files of this name, at most so deep."""
        return sorted(found for found in self._walk(self.path, depth) if found.rpartition("/")[2] == name)

    def summary(self) -> str:
        """What one sees at a glance."""
        names = [*(f"{name}/" for name in self.folders()), *self.files()]
        return ", ".join(names[:10]) + (f", … ({len(names)} in all)" if len(names) > 10 else "") if names else "nothing"

    def _items(self) -> list[Path]:
        try:
            return list(self.path.iterdir())
        except OSError as exc:
            raise InvalidModel(what=f"the folder {self.name!r} cannot be read: {exc.strerror}") from exc

    def _walk(self, start: Path, depth: int) -> Iterator[str]:
        seen = 0
        open_folders = [(start, 0)]
        while open_folders:
            folder, level = open_folders.pop()
            for item in View(folder, self.root)._items():
                seen += 1
                if seen > MAX_ENTRIES:
                    raise InvalidModel(
                        what=f"the folder {self.name!r} holds more than {MAX_ENTRIES} files and folders",
                        hint="give the folder of the models alone",
                    )
                if item.is_file():
                    yield str(PurePosixPath(item.relative_to(self.path)))
                elif item.is_dir() and not item.is_symlink() and item.name[0] not in "._" and level < depth:
                    open_folders.append((item, level + 1))
