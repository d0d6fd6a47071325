"""The bill of materials of an image: CycloneDX 1.6 in JSON, the same for the same image. It has no times in it."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import modelyard
from modelyard.core.errors import InvalidRequest
from modelyard.core.imagename import parse_image
from modelyard.core.manifest import MANIFEST, read_manifest
from modelyard.ship.image.wheels import digest_of
from modelyard.ship.shipment import Shipment

_OWN = "modelyard"
#: A licence as text is a name of it only when it is short; whole texts lie beside the package.
_LICENCE_NAME = 80

Component = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What an image is made of.

    Parameters
    ----------
    shipment : Shipment
        Models and the image's name.
    version : str
        Of the image: its tag.
    wheels : tuple of Path
        Packages, Modelyard's own among them.
    base, base_digest : str
        The image below, as it was named; ``sha256:...`` of its manifest, empty where nobody looked.
    debian : mapping of str to str
        Debian packages of which files are kept, each as the package manager writes of it; see `slim.owners`.
    """

    shipment: Shipment
    version: str
    wheels: tuple[Path, ...]
    base: str
    base_digest: str = ""
    debian: Mapping[str, str] = field(default_factory=dict)


def bill(contents: Contents) -> bytes:
    """The document."""
    packages = [_package(wheel) for wheel in contents.wheels]
    parts = [*packages, *(_debian(stanza) for _, stanza in sorted(contents.debian.items())), _base(contents)]
    parts += _models(contents.shipment)
    parts.sort(key=lambda part: str(part["bom-ref"]))
    image = {
        "type": "container",
        "bom-ref": f"image:{contents.shipment.name}:{contents.version}",
        "name": contents.shipment.name,
        "version": contents.version,
    }
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": image, "tools": {"components": [_tool()]}},
        "components": parts,
        "dependencies": _dependencies(image, parts),
    }
    document["serialNumber"] = f"urn:uuid:{_serial(document)}"
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _package(wheel: Path) -> Component:
    """One Python package, by what its wheel says of itself."""
    said = _metadata(wheel)
    name, version = str(said["Name"]).lower().replace("_", "-"), str(said["Version"])
    purl = f"pkg:pypi/{quote(name)}@{quote(version)}"
    component: Component = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "hashes": [_hash(digest_of(wheel))],
    }
    if summary := said["Summary"]:
        component["description"] = str(summary)
    if licences := _licences(said):
        component["licenses"] = licences
    return component


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(
            each for each in archive.namelist() if each.endswith(".dist-info/METADATA") and each.count("/") == 1
        )
        return HeaderParser().parsestr(archive.read(name).decode())


def _licences(said: Message) -> list[Component]:
    """The licence, as an expression where the package has one, else by the names that it is given."""
    if expression := said["License-Expression"]:
        return [{"expression": str(expression)}]
    text = str(said["License"] or "").strip()
    if text and len(text) <= _LICENCE_NAME and "\n" not in text:
        return [{"license": {"name": text}}]
    words = [str(each) for each in said.get_all("Classifier") or []]
    named = sorted({word.rpartition(" :: ")[2] for word in words if word.startswith("License :: ")})
    return [{"license": {"name": name}} for name in named]


def _debian(stanza: str) -> Component:
    said = HeaderParser().parsestr(stanza)
    name, version, machine = (str(said[key]) for key in ("Package", "Version", "Architecture"))
    purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={quote(machine)}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _base(contents: Contents) -> Component:
    component: Component = {"type": "container", "bom-ref": f"base:{contents.base}", "name": contents.base}
    digest = contents.base_digest
    try:
        named = parse_image(contents.base)
    except InvalidRequest:  # a layout or an archive of this machine
        named = None
    digest = digest or (named.digest if named else "")
    if not digest:
        return component
    component |= {"version": digest, "hashes": [_hash(digest.removeprefix("sha256:"))]}
    if named:
        last = named.repository.rpartition("/")[2]
        tag = f"&tag={quote(named.tag)}" if named.tag else ""
        component["purl"] = f"pkg:oci/{last}@{quote(digest)}?repository_url={quote(named.place, safe='/')}{tag}"
    return component


def _models(shipment: Shipment) -> list[Component]:
    """The models; each with its files."""
    return [_model(str(model), model.digest, shipment.bundles[model.digest]) for model in shipment.models]


def _model(label: str, digest: str, folder: Path) -> Component:
    manifest = read_manifest((folder / MANIFEST).read_bytes(), label)
    name, _, version = label.partition("@")
    files = [
        {"type": "file", "bom-ref": f"model:{label}/{file}", "name": file, "hashes": [_hash(entry.sha256)]}
        for file, entry in sorted(manifest.files.items())
    ]
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{label}",
        "name": name,
        "version": version,
        "hashes": [_hash(digest)],
        "modelCard": {"modelParameters": {"task": str(manifest.task)}},
        "components": files,
        "properties": [{"name": "modelyard:runtime", "value": manifest.runtime}],
    }


def _tool() -> Component:
    return {"type": "application", "name": _OWN, "version": modelyard.__version__}


def _dependencies(image: Component, parts: Iterable[Component]) -> list[Component]:
    refs = [str(part["bom-ref"]) for part in parts]
    return [{"ref": image["bom-ref"], "dependsOn": refs}, *({"ref": ref} for ref in refs)]


def _hash(digest: str) -> Component:
    return {"alg": "SHA-256", "content": digest}


def _serial(document: Component) -> UUID:
    """A number that is the document's own: another document, another number."""
    return UUID(bytes=hashlib.sha256(json.dumps(document, sort_keys=True).encode()).digest()[:16], version=4)
