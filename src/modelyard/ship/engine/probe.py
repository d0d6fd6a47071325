"""A model of one line, y = 2x, for the trial of an image that brings no model of its own."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec

from modelyard.core.manifest import MODEL, SAMPLES, Manifest, Samples, Source, Task
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensor import Datatype
from modelyard.model.bundle import Bundle, seal

NAME = "probe"
#: ONNX: MatMul by 2, Add 0. To write it anew takes a library that servers have not.
_GRAPH = base64.b64decode(
    "CAg6uwEKHgoFaW5wdXQKBXNsb3BlEgZzY2FsZWQiBk1hdE11bAokCgZzY2FsZWQKCWludGVyY2VwdBIKcHJlZGljdGlvbiIDQWRkEgZsaW5lYXIq"
    "FQgBEAtCBXNsb3BlSggAAAAAAAAAQCoZCAEQC0IJaW50ZXJjZXB0SggAAAAAAAAAAFobCgVpbnB1dBISChAICxIMCgYSBHJvd3MKAggBYhwKCnBy"
    "ZWRpY3Rpb24SDgoMCAsSCAoGEgRyb3dzQgQKABAR"
)

_BUNDLE, _MOUNTED = "bundle", "mounted"


def lend(folder: Path, *, foreign: bool) -> tuple[Path, Path]:
    """Lay it out in this folder: as its bundle, and as it is mounted, readable by whom a container runs as.

    `foreign` is for images that open other servers' folders: what is mounted is a repository of Triton's then.
    """
    bundle, whole, mounted = probe(), folder / _BUNDLE, folder / _MOUNTED
    lent = mounted / NAME / "1"
    for place in (whole, lent):
        place.mkdir(parents=True)
    bundle.write(whole)
    if foreign:
        (lent / MODEL).write_bytes(bundle.files[MODEL])
    else:
        bundle.write(lent)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return whole, mounted


def probe() -> Bundle:
    """The same bundle every time."""
    signature = Signature(
        inputs=(TensorSpec(name="input", datatype=Datatype.FP64, shape=(-1, 1)),),
        outputs=(TensorSpec(name="prediction", datatype=Datatype.FP64, shape=(-1,)),),
        prediction="prediction",
    )
    manifest = Manifest(
        name=NAME, task=Task.REGRESSION, signature=signature, files={}, source=Source(format="onnx", file="probe.onnx")
    )
    samples = Samples(rows=[{"input": [1.0]}, {"input": [3.0]}], outputs={"prediction": [2.0, 6.0]})
    return seal(manifest, {MODEL: _GRAPH, SAMPLES: msgspec.json.encode(samples)})
